/* SPDX-License-Identifier: BSD-3-Clause */

#include "modes.h"
#include "text.h"
#include "verbs.h"

#include <errno.h>
#include <string.h>

struct options {
  bool parents;
  struct casefs_creation creation;
};

/* Go from *node, which is closed, to a directory in it, made if it is missing. */
static int enter(casefs_node **node, const char *name, const struct options *options) {
  struct casefs_attributes attributes;
  casefs_node *next;
  int error = casefs_open_path(casefs_node_volume(*node), *node, name, 0, &next);
  if (error == -ENOENT)
    error = casefs_create(*node, name, strlen(name), &options->creation, &next);
  if (error < 0)
    return error;
  casefs_node_close(*node);
  *node = next;
  error = casefs_get_attributes(next, &attributes);
  return error < 0 ? error : attributes.type == CASEFS_DIRECTORY ? 0 : -ENOTDIR;
}

/* Enter each part of a path, which are apart by one of the separators. */
static int enter_all(casefs_node **node, const char *path, const char *separators,
                     const struct options *options) {
  int error = 0;
  for (path += strspn(path, separators); error >= 0 && *path; path += strspn(path, separators)) {
    size_t length = strcspn(path, separators);
    char *part = copied(path, length);
    casefs_node *next;
    /* A name may have backslashes; if there is no such one, they are separators. */
    bool several = !strchr(separators, '\\') && strchr(part, '\\');
    if (several && casefs_open_path(casefs_node_volume(*node), *node, part, 0, &next) < 0)
      error = enter_all(node, part, "/\\", options);
    else {
      if (several)
        casefs_node_close(next);
      error = enter(node, part, options);
    }
    free(part);
    path += length;
  }
  return error;
}

/* Make each directory of the path that is missing, from the root on. */
static int make_parents(const struct target *target, const struct options *options) {
  const char *path = target->location.path;
  bool drive = *path && path[1] == ':' && path[2] == '\\';
  casefs_node *node;
  int error = casefs_open_root(target->session->volume, &node);
  if (error < 0)
    return error;
  error = enter_all(&node, drive ? path + 2 : path, "/", options);
  casefs_node_close(node);
  return error;
}

static const char *mkdir_reason(int error) {
  if (error == -EINVAL)
    return "'.' and '..' are not names, nor is anything with '/' or a zero byte in it";
  return reason(error);
}

static bool make_directory(struct sessions *sessions, const char *argument,
                           const struct options *options) {
  struct target target = {0};
  int error;
  if (options->parents) {
    if (!location_parse_node(argument, &target.location))
      return false;
    target.session = session_open(sessions, target.location.device, true);
    error = target.session ? make_parents(&target, options) : 1;
  } else {
    if (!target_open_parent(sessions, argument, true, &target))
      return false;
    error =
        casefs_create(target.directory, target.name, target.name_length, &options->creation, NULL);
  }
  if (error < 0)
    complain("cannot make directory '%s': %s", argument, mkdir_reason(error));
  target_close(&target);
  return error == 0;
}

static int run_mkdir(int count, char **arguments) {
  static const struct option long_options[] = {{"parents", no_argument, NULL, 'p'},
                                               {"mode", required_argument, NULL, 'm'},
                                               {"case", required_argument, NULL, 'c'},
                                               {0}};
  struct options options = {.creation = creation_of(CASEFS_DIRECTORY, 0777)};
  struct sessions sessions = {0};
  bool good = true;
  int letter;
  while ((letter = getopt_long(count, arguments, "pm:", long_options, NULL)) >= 0) {
    if (letter == 'p') {
      options.parents = true;
    } else if (letter == 'm') {
      if (!mode_apply(optarg, 0777, true, &options.creation.mode))
        return misused("--mode: '%s' is not a mode such as 755 or u=rwx,go=rx", optarg);
    } else if (letter == 'c') {
      options.creation.sensitive = strcmp(optarg, "sensitive") == 0;
      options.creation.insensitive = strcmp(optarg, "insensitive") == 0;
      if (!options.creation.sensitive && !options.creation.insensitive)
        return misused("--case: '%s' is neither sensitive nor insensitive", optarg);
    } else {
      return EXIT_USAGE;
    }
  }
  if (optind == count)
    return misused("give the directory to make, as DEVICE:/PATH");
  for (int i = optind; i < count && !interrupted(); i++)
    good = make_directory(&sessions, arguments[i], &options) && good;
  good = sessions_close(&sessions) && good;
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

const struct verb verb_mkdir = {
    .name = "mkdir",
    .usage = "[-p] [-m MODE] [--case=sensitive|insensitive] DEVICE:/PATH...",
    .summary = "Make directories",
    .help =
        "  -p, --parents    those above it too where they are missing; one that exists is well\n"
        "  -m, --mode=MODE  permissions, as of chmod\n"
        "      --case=CASE  sensitive or insensitive, instead of as the one it is in\n",
    .run = run_mkdir,
};
