/* SPDX-License-Identifier: BSD-3-Clause */

#include "verbs.h"

#include <errno.h>

struct options {
  unsigned flags; /* enum casefs_rename_flags */
  bool exactly;   /* the destination is a name, even if it is a directory */
};

/* The id of what a target names, or 0. */
static uint64_t id_of(const struct target *target) {
  struct casefs_attributes attributes;
  int error =
      casefs_lookup(target->directory, target->name, target->name_length, &attributes, NULL);
  return error < 0 ? 0 : attributes.id;
}

static const char *rename_reason(int error, const struct options *options) {
  if (error == -EINVAL)
    return "a directory cannot be moved into itself";
  if (error == -EEXIST && options->flags & CASEFS_RENAME_NOREPLACE)
    return "the new name is taken";
  if (error == -ENOENT && options->flags & CASEFS_RENAME_EXCHANGE)
    return "both must exist to change places";
  if (error == -ENOTEMPTY)
    return "the directory it would replace is not empty";
  if (error == -EISDIR)
    return "it is no directory, and would replace one";
  if (error == -ENOTDIR)
    return "it is a directory, and would replace what is none";
  return reason(error);
}

static bool move_to(const struct target *from, const char *destination, struct sessions *sessions,
                    const struct options *options, uint64_t id) {
  struct target to;
  const char *name = options->exactly ? NULL : from->name;
  if (!target_open_destination(sessions, destination, name, from->name_length, id, &to))
    return false;
  int error = 0;
  bool same_volume = from->session == to.session;
  if (same_volume)
    error = casefs_rename(from->directory, from->name, from->name_length, to.directory, to.name,
                          to.name_length, options->flags);
  if (!same_volume)
    complain("cannot move '%s' to '%s': they are on two devices; copy it with casefs cp, and then "
             "remove it",
             from->argument, to.argument);
  else if (error < 0)
    complain("cannot move '%s' to '%s': %s", from->argument, to.argument,
             rename_reason(error, options));
  target_close(&to);
  return same_volume && error >= 0;
}

static bool move(const char *source, const char *destination, struct sessions *sessions,
                 const struct options *options) {
  struct target from;
  if (!target_open_parent(sessions, source, true, &from))
    return false;
  uint64_t id = id_of(&from);
  if (id == 0)
    complain("cannot move '%s': %s", from.argument, reason(-ENOENT));
  bool good = id != 0 && move_to(&from, destination, sessions, options, id);
  target_close(&from);
  return good;
}

static bool is_directory(struct sessions *sessions, const char *argument) {
  struct target target;
  struct casefs_attributes attributes = {0};
  if (!target_open(sessions, argument, true, 0, &target))
    return false;
  int error = casefs_get_attributes(target.node, &attributes);
  bool directory = error >= 0 && attributes.type == CASEFS_DIRECTORY;
  if (!directory)
    complain("'%s' is not a directory, and several things are to be moved there", argument);
  target_close(&target);
  return directory;
}

static int move_all(int count, char **arguments, const struct options *options) {
  struct sessions sessions = {0};
  const char *destination = arguments[count - 1];
  bool good = count == 2 || is_directory(&sessions, destination);
  for (int i = 0; (good || i > 0) && i < count - 1 && !interrupted(); i++)
    good = move(arguments[i], destination, &sessions, options) && good;
  good = sessions_close(&sessions) && good;
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run_mv(int count, char **arguments) {
  static const struct option long_options[] = {{"no-clobber", no_argument, NULL, 'n'},
                                               {"exchange", no_argument, NULL, 'x'},
                                               {"no-target-directory", no_argument, NULL, 'T'},
                                               {0}};
  struct options options = {0};
  int letter;
  while ((letter = getopt_long(count, arguments, "nT", long_options, NULL)) >= 0) {
    if (letter == 'n')
      options.flags |= CASEFS_RENAME_NOREPLACE;
    else if (letter == 'x')
      options.flags |= CASEFS_RENAME_EXCHANGE;
    else if (letter != 'T')
      return EXIT_USAGE;
    options.exactly = options.exactly || letter != 'n';
  }
  count -= optind;
  arguments += optind;
  if (count < 2)
    return misused("give what to move and where to, such as DEVICE:/old DEVICE:/new");
  if (options.exactly && count != 2)
    return misused("--exchange and --no-target-directory take two names, and %d were given", count);
  if (options.flags == (CASEFS_RENAME_NOREPLACE | CASEFS_RENAME_EXCHANGE))
    return misused("--no-clobber and --exchange exclude each other");
  return move_all(count, arguments, &options);
}

const struct verb verb_mv = {
    .name = "mv",
    .usage = "[-nT] DEVICE:/OLD DEVICE:/NEW\n"
             "[-n] DEVICE:/PATH... DEVICE:/DIRECTORY\n"
             "--exchange DEVICE:/ONE DEVICE:/OTHER",
    .summary = "Rename or move within a volume",
    .help = "A new name that differs from the old one in nothing but case is a new spelling.\n"
            "\n"
            "  -n, --no-clobber           fail if the new name is taken\n"
            "      --exchange             let the two change places\n"
            "  -T, --no-target-directory  NEW is a name, not a directory to move into\n",
    .run = run_mv,
};
