/* SPDX-License-Identifier: BSD-3-Clause */

#include "json.h"
#include "local.h"
#include "text.h"
#include "verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

/* ---------------------------------------------------------------------- ls */

struct listing {
  bool json, several;
  struct json_list list;
};

static void show(const char *path, const struct casefs_entry *entry,
                 const struct casefs_attributes *attributes, struct listing *listing) {
  if (listing->json) {
    json_t *object = json_object();
    json_object_set_new(object, "path", json_name(path, strlen(path)));
    json_object_set_new(object, "name", json_name(entry->name, entry->name_length));
    json_object_set_new(object, "size", json_integer((json_int_t)attributes->size));
    json_object_set_new(object, "allocated", json_integer((json_int_t)attributes->allocated));
    json_list_add(&listing->list, object);
    return;
  }
  printf("%12" PRIu64 "  ", attributes->size);
  if (listing->several) {
    print_name(stdout, path, strlen(path));
    putchar(':');
  }
  print_name(stdout, entry->name, entry->name_length);
  putchar('\n');
}

static bool list_target(struct target *target, void *context) {
  struct casefs_cursor cursor = {0};
  struct casefs_entry entry;
  struct casefs_attributes attributes;
  int result;
  while ((result = casefs_next_stream(target->node, &cursor, &entry, &attributes)) > 0)
    show(target->argument, &entry, &attributes, context);
  if (result < 0)
    complain("cannot list the streams of '%s': %s", target->argument, reason(result));
  return result >= 0;
}

static int run_ls(int count, char **arguments) {
  static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};
  struct listing listing = {0};
  int letter;
  while ((letter = getopt_long(count, arguments, "", options, NULL)) >= 0) {
    if (letter == '?')
      return EXIT_USAGE;
    listing.json = true;
  }
  if (!arguments_or_root(&count, &arguments))
    return EXIT_USAGE;
  listing.several = count > 1;
  int status = for_each_target(count, arguments, false, 0, list_target, &listing);
  if (listing.json)
    json_list_end(&listing.list);
  return status;
}

/* ---------------------------------------------------------- the other actions */

static bool report(const struct target *target, const char *name, const char *what, int error) {
  if (error == -ENOENT)
    complain("'%s' has no stream '%s'", target->argument, name);
  else if (error == -EEXIST)
    complain("cannot %s stream '%s' of '%s': the name is another stream's", what, name,
             target->argument);
  else if (error == -EINVAL)
    complain("cannot %s stream '%s' of '%s': its name is not allowed (1 to 255 UTF-16 units, no "
             "':', '/' or '\\'), or that is something that has no streams",
             what, name, target->argument);
  else if (error < 0)
    complain("cannot %s stream '%s' of '%s': %s", what, name, target->argument, reason(error));
  return error >= 0;
}

static bool no_options(int count, char **arguments, int least, int most) {
  static const struct option options[] = {{0}};
  if (getopt_long(count, arguments, "", options, NULL) >= 0)
    return false;
  if (count - optind >= least && (most == 0 || count - optind <= most))
    return true;
  complain("give a file as DEVICE:/PATH and %s",
           most == 2   ? "the name of one of its streams"
           : most == 3 ? (least == 3 ? "the old and the new name of a stream"
                                     : "the name of a stream, and perhaps a local file")
                       : "names of its streams");
  return false;
}

static bool cat_stream(struct target *target, void *context) {
  const char *name = context;
  casefs_node *stream;
  if (!report(target, name, "open",
              casefs_open_stream(target->node, name, strlen(name), 0, &stream)))
    return false;
  bool good = print_contents(stream, target->argument);
  casefs_node_close(stream);
  return good;
}

static int run_cat(int count, char **arguments) {
  if (!no_options(count, arguments, 2, 2))
    return EXIT_USAGE;
  return for_each_target(1, arguments + optind, false, 0, cat_stream, arguments[optind + 1]);
}

struct source {
  const char *stream, *path;
  FILE *file;
};

/* Open a stream, made if it is missing: *made tells. */
static int open_or_make(casefs_node *node, const char *name, bool *made, casefs_node **stream) {
  int error = casefs_open_stream(node, name, strlen(name), O_CREAT | O_EXCL, stream);
  *made = error >= 0;
  return error == -EEXIST ? casefs_open_stream(node, name, strlen(name), 0, stream) : error;
}

static bool put_stream(struct target *target, void *context) {
  const struct source *source = context;
  casefs_node *stream;
  bool made;
  if (!report(target, source->stream, "make",
              open_or_make(target->node, source->stream, &made, &stream)))
    return false;
  bool good = store_contents(stream, target->argument, source->file, source->path);
  casefs_node_close(stream);
  if (!good && made) /* half of it is of no use */
    casefs_remove_stream(target->node, source->stream, strlen(source->stream));
  return good;
}

static int run_put(int count, char **arguments) {
  if (!no_options(count, arguments, 2, 3))
    return EXIT_USAGE;
  struct source source = {.stream = arguments[optind + 1],
                          .path = count - optind == 3 ? arguments[optind + 2] : "-"};
  source.file = local_open(source.path);
  if (!source.file)
    return EXIT_FAILURE;
  int status = for_each_target(1, arguments + optind, true, 0, put_stream, &source);
  if (source.file != stdin)
    fclose(source.file);
  return status;
}

static bool remove_streams(struct target *target, void *context) {
  char **names = context;
  bool good = true;
  for (; *names; names++)
    good = report(target, *names, "remove",
                  casefs_remove_stream(target->node, *names, strlen(*names))) &&
           good;
  return good;
}

static int run_rm(int count, char **arguments) {
  if (!no_options(count, arguments, 2, 0))
    return EXIT_USAGE;
  return for_each_target(1, arguments + optind, true, 0, remove_streams, arguments + optind + 1);
}

static bool rename_stream(struct target *target, void *context) {
  char **names = context;
  int error =
      casefs_rename_stream(target->node, names[0], strlen(names[0]), names[1], strlen(names[1]));
  return report(target, error == -EEXIST || error == -EINVAL ? names[1] : names[0],
                error == -EEXIST || error == -EINVAL ? "make" : "rename", error);
}

static int run_mv(int count, char **arguments) {
  if (!no_options(count, arguments, 3, 3))
    return EXIT_USAGE;
  return for_each_target(1, arguments + optind, true, 0, rename_stream, arguments + optind + 1);
}

static int run_stream(int count, char **arguments) {
  static const struct action actions[] = {{"ls", run_ls}, {"cat", run_cat}, {"put", run_put},
                                          {"rm", run_rm}, {"mv", run_mv},   {0}};
  return run_action(actions, count, arguments);
}

const struct verb verb_stream = {
    .name = "stream",
    .usage = "ls [--json] DEVICE:/PATH...\n"
             "cat DEVICE:/PATH NAME\n"
             "put DEVICE:/PATH NAME [LOCAL]\n"
             "rm DEVICE:/PATH NAME...\n"
             "mv DEVICE:/PATH OLD NEW",
    .summary = "List, read, write, remove and rename named streams",
    .help = "ls prints the sizes and names of streams; put makes or replaces one, from a local\n"
            "file or else from the standard input.\n"
            "\n"
            "      --json  ls: as a JSON array\n",
    .run = run_stream,
};
