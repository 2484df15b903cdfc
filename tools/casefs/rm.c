/* SPDX-License-Identifier: BSD-3-Clause */

#include "progress.h"
#include "verbs.h"
#include "walk.h"

#include <errno.h>

struct options {
  bool recursive, force;
  bool failed, fatal; /* an error occurred; one that concerns all that is left */
  struct progress progress;
  uint64_t removed;
};

static bool report(struct options *options, const char *path, int error) {
  if (error >= 0) {
    progress_update(&options->progress, ++options->removed, 0);
    return true;
  }
  options->failed = true;
  options->fatal = options->fatal || is_fatal(error);
  progress_clear(&options->progress);
  complain("cannot remove '%s': %s", path, reason(error));
  return false;
}

/* Remove what a walk stands at: a directory the second time, when it is empty. */
static bool remove_item(const struct walk_item *item, struct options *options) {
  const struct casefs_entry *entry = item->entry;
  int error = 0;
  if (item->after)
    error = casefs_rmdir(item->directory, entry->name, entry->name_length);
  else if (entry->type != CASEFS_DIRECTORY)
    error = casefs_unlink(item->directory, entry->name, entry->name_length);
  else
    return true;
  if (error == -ENOTEMPTY && options->failed)
    return false; /* what stayed in it was reported */
  return report(options, item->path, error);
}

static bool remove_contents(casefs_node *directory, const char *path, struct options *options) {
  struct walk *walk = walk_start(directory, path, 0);
  struct walk_item item;
  bool good = true;
  int result;
  while (!interrupted() && !options->fatal && (result = walk_next(walk, &item)) != 0)
    good = (result < 0 ? report(options, walk_failed_path(walk), result)
                       : remove_item(&item, options)) &&
           good;
  walk_end(walk);
  return good && !interrupted();
}

static bool remove_directory(const struct target *target, uint64_t id, struct options *options) {
  casefs_node *directory;
  if (!options->recursive) {
    complain("'%s' is a directory; rm -r removes it with all in it", target->argument);
    return false;
  }
  int error = casefs_open_id(target->session->volume, id, &directory);
  if (error < 0)
    return report(options, target->argument, error);
  bool empty = remove_contents(directory, target->argument, options);
  casefs_node_close(directory);
  return empty && report(options, target->argument,
                         casefs_rmdir(target->directory, target->name, target->name_length));
}

static bool remove_target(const struct target *target, struct options *options) {
  struct casefs_attributes attributes;
  int error =
      casefs_lookup(target->directory, target->name, target->name_length, &attributes, NULL);
  if (error == -ENOENT && options->force)
    return true;
  if (error < 0)
    return report(options, target->argument, error);
  if (attributes.type == CASEFS_DIRECTORY)
    return remove_directory(target, attributes.id, options);
  return report(options, target->argument,
                casefs_unlink(target->directory, target->name, target->name_length));
}

/* Whether the directory of an argument is missing, which -f does not mind. */
static bool is_missing(struct sessions *sessions, const char *argument) {
  struct location location;
  casefs_node *directory = NULL;
  const char *name;
  size_t length;
  if (!location_parse_node(argument, &location))
    return false;
  const struct session *session = session_open(sessions, location.device, true);
  int error =
      session ? casefs_open_parent(session->volume, NULL, location.path, &directory, &name, &length)
              : -EIO;
  if (error >= 0)
    casefs_node_close(directory);
  location_clear(&location);
  return error == -ENOENT;
}

static bool remove_argument(struct sessions *sessions, const char *argument,
                            struct options *options) {
  struct target target;
  if (options->force && is_missing(sessions, argument))
    return true;
  if (!target_open_parent(sessions, argument, true, &target))
    return false;
  bool good = remove_target(&target, options);
  target_close(&target);
  return good;
}

static int run_rm(int count, char **arguments) {
  static const struct option long_options[] = {
      {"recursive", no_argument, NULL, 'r'}, {"force", no_argument, NULL, 'f'}, {0}};
  struct options options = {0};
  struct sessions sessions = {0};
  bool good = true;
  int letter;
  while ((letter = getopt_long(count, arguments, "rRf", long_options, NULL)) >= 0) {
    if (letter == 'r' || letter == 'R')
      options.recursive = true;
    else if (letter == 'f')
      options.force = true;
    else
      return EXIT_USAGE;
  }
  if (optind == count && !options.force)
    return misused("give what to remove, as DEVICE:/PATH");
  progress_start(&options.progress, "removed", false);
  for (int i = optind; i < count && !interrupted() && !options.fatal; i++)
    good = remove_argument(&sessions, arguments[i], &options) && good;
  progress_clear(&options.progress);
  good = sessions_close(&sessions) && good;
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

const struct verb verb_rm = {
    .name = "rm",
    .usage = "[-rf] DEVICE:/PATH...",
    .summary = "Remove files, and directories with all in them",
    .help = "  -r, --recursive  directories too, with all that is in them\n"
            "  -f, --force      do not mind what does not exist\n",
    .run = run_rm,
};
