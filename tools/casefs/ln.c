/* SPDX-License-Identifier: BSD-3-Clause */

#include "verbs.h"

#include <errno.h>
#include <string.h>

/* The last part of a path. */
static const char *last_part(const char *path, size_t *length) {
  size_t end = strlen(path);
  while (end > 0 && path[end - 1] == '/')
    end--;
  size_t begin = end;
  while (begin > 0 && path[begin - 1] != '/')
    begin--;
  *length = end - begin;
  return path + begin;
}

static bool report(const char *from, const char *to, int error) {
  if (error == -EPERM)
    complain("cannot link '%s': a directory has one name only; ln -s makes a symbolic link", from);
  else if (error == -ENAMETOOLONG && strlen(from) > CASEFS_MAX_SYMLINK)
    complain("cannot link to '%.40s...': a target may have %u bytes", from, CASEFS_MAX_SYMLINK);
  else if (error < 0)
    complain("cannot make '%s' a link to '%s': %s", to, from, reason(error));
  return error >= 0;
}

static bool make_symlink(struct sessions *sessions, const char *to_what, const char *link) {
  struct casefs_creation creation = creation_of(CASEFS_SYMLINK, 0777);
  struct target target;
  size_t length;
  const char *name = last_part(to_what, &length);
  creation.mode = 0777;
  creation.target = to_what;
  creation.target_length = strlen(to_what);
  if (!target_open_destination(sessions, link, length > 0 ? name : NULL, length, 0, &target))
    return false;
  bool good =
      report(to_what, target.argument,
             casefs_create(target.directory, target.name, target.name_length, &creation, NULL));
  target_close(&target);
  return good;
}

static bool make_link(struct sessions *sessions, const char *existing, const char *link) {
  struct target from, to;
  casefs_node *node = NULL;
  if (!target_open_parent(sessions, existing, true, &from))
    return false;
  bool good = target_open_destination(sessions, link, from.name, from.name_length, 0, &to);
  if (good && from.session != to.session) {
    complain("'%s' and '%s' are on two devices, and a link cannot lead from one to the other",
             from.argument, to.argument);
    good = false;
  } else if (good) {
    int error = casefs_open_at(from.directory, from.name, from.name_length, &node);
    if (error >= 0)
      error = casefs_link(node, to.directory, to.name, to.name_length);
    good = report(from.argument, to.argument, error);
    casefs_node_close(node);
  }
  target_close(&from);
  target_close(&to);
  return good;
}

static int run_ln(int count, char **arguments) {
  static const struct option options[] = {{"symbolic", no_argument, NULL, 's'}, {0}};
  struct sessions sessions = {0};
  bool symbolic = false;
  int letter;
  while ((letter = getopt_long(count, arguments, "s", options, NULL)) >= 0) {
    if (letter != 's')
      return EXIT_USAGE;
    symbolic = true;
  }
  if (count - optind != 2)
    return misused("give two names: what to link to, and the link");
  const char *to_what = arguments[optind], *link = arguments[optind + 1];
  if (symbolic && *to_what == '\0')
    return misused("a symbolic link needs a target that is not empty");
  bool good =
      symbolic ? make_symlink(&sessions, to_what, link) : make_link(&sessions, to_what, link);
  good = sessions_close(&sessions) && good;
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

const struct verb verb_ln = {
    .name = "ln",
    .usage = "DEVICE:/FILE DEVICE:/LINK\n"
             "-s TARGET DEVICE:/LINK",
    .summary = "Give a file another name, or make a symbolic link",
    .help = "If LINK is a directory, the link is made in it.\n"
            "\n"
            "  -s, --symbolic  make a symbolic link; TARGET is kept as it is given\n",
    .run = run_ln,
};
