/* SPDX-License-Identifier: BSD-3-Clause
 *
 * chmod and chown.
 */

#include "modes.h"
#include "text.h"
#include "verbs.h"
#include "walk.h"

#include <string.h>

struct options {
  bool recursive;
  const char *mode;
  unsigned mask; /* CASEFS_UID, CASEFS_GID */
  uint32_t uid, gid;
};

static int change(casefs_node *node, const struct options *options) {
  struct casefs_attributes attributes;
  int error = casefs_get_attributes(node, &attributes);
  if (error < 0)
    return error;
  if (!options->mode) {
    attributes.uid = options->uid;
    attributes.gid = options->gid;
    return casefs_set_attributes(node, options->mask, &attributes);
  }
  mode_apply(options->mode, attributes.mode, attributes.type == CASEFS_DIRECTORY, &attributes.mode);
  return casefs_set_attributes(node, CASEFS_MODE, &attributes);
}

static int change_node(void *context, casefs_node *node, const char *path) {
  int error = change(node, context);
  if (error < 0)
    complain("cannot change '%s': %s", path, reason(error));
  return error;
}

/* The permissions of a symbolic link mean nothing. */
static bool is_wanted(void *context, const struct casefs_entry *entry) {
  const struct options *options = context;
  return !options->mode || entry->type != CASEFS_SYMLINK;
}

static bool change_target(struct target *target, void *context) {
  const struct options *options = context;
  struct casefs_attributes attributes = {0};
  if (change_node(context, target->node, target->argument) < 0)
    return false;
  if (!options->recursive || casefs_get_attributes(target->node, &attributes) < 0 ||
      attributes.type != CASEFS_DIRECTORY)
    return true;
  return walk_nodes(target->node, target->argument, is_wanted, change_node, context);
}

static bool take_options(int count, char **arguments, struct options *options) {
  static const struct option long_options[] = {{"recursive", no_argument, NULL, 'R'}, {0}};
  int letter;
  while ((letter = getopt_long(count, arguments, "+R", long_options, NULL)) >= 0) {
    if (letter != 'R')
      return false;
    options->recursive = true;
  }
  return true;
}

static int run_chmod(int count, char **arguments) {
  struct options options = {0};
  uint32_t ignored;
  if (!take_options(count, arguments, &options))
    return EXIT_USAGE;
  if (count - optind < 2)
    return misused("give a mode and what to change, such as u+rw DEVICE:/PATH");
  options.mode = arguments[optind];
  if (!mode_apply(options.mode, 0, false, &ignored))
    return misused("'%s' is not a mode such as 755, u+rwx or go=u-w", options.mode);
  return for_each_target(count - optind - 1, arguments + optind + 1, true, 0, change_target,
                         &options);
}

/* "UID", "UID:GID" or ":GID". */
static bool parse_owner(const char *text, struct options *options) {
  const char *colon = strchr(text, ':');
  char *owner = colon ? copied(text, (size_t)(colon - text)) : copied(text, strlen(text));
  uint64_t uid = 0, gid = 0;
  bool good = true;
  if (*owner || !colon) {
    options->mask |= CASEFS_UID;
    good = parse_number(owner, UINT32_MAX, &uid);
  }
  if (colon && (colon[1] || colon == text)) {
    options->mask |= CASEFS_GID;
    good = parse_number(colon + 1, UINT32_MAX, &gid) && good;
  }
  free(owner);
  options->uid = (uint32_t)uid;
  options->gid = (uint32_t)gid;
  return good;
}

static int run_chown(int count, char **arguments) {
  struct options options = {0};
  if (!take_options(count, arguments, &options))
    return EXIT_USAGE;
  if (count - optind < 2)
    return misused("give an owner and what to change, such as 1000:1000 DEVICE:/PATH");
  if (!parse_owner(arguments[optind], &options))
    return misused("'%s' is not an owner: UID, UID:GID or :GID, in numbers", arguments[optind]);
  return for_each_target(count - optind - 1, arguments + optind + 1, true, CASEFS_NOFOLLOW,
                         change_target, &options);
}

const struct verb verb_chmod = {
    .name = "chmod",
    .usage = "[-R] MODE DEVICE:/PATH...",
    .summary = "Change permission bits",
    .help = "MODE is octal, or clauses such as u+rwx, go=r, a+X, g=u, apart by commas.\n"
            "\n"
            "  -R, --recursive  also all that is in directories\n",
    .run = run_chmod,
};

const struct verb verb_chown = {
    .name = "chown",
    .usage = "[-R] UID[:GID] DEVICE:/PATH...\n"
             "[-R] :GID DEVICE:/PATH...",
    .summary = "Change owner and group",
    .help = "A symbolic link is itself changed.\n"
            "\n"
            "  -R, --recursive  also all that is in directories\n",
    .run = run_chown,
};
