/* SPDX-License-Identifier: BSD-3-Clause */

#include "text.h"
#include "verbs.h"

#include <errno.h>

struct options {
  bool keep;     /* make nothing */
  unsigned mask; /* the times to set */
  unsigned now;  /* those of them that are to be the time then */
  struct casefs_attributes times;
};

static bool set_times(casefs_node *node, const char *name, const struct options *options) {
  struct casefs_attributes times = options->times;
  if (options->now & CASEFS_ACCESSED)
    times.accessed = casefs_now();
  if (options->now & CASEFS_MODIFIED)
    times.modified = casefs_now();
  int error = casefs_set_attributes(node, options->mask, &times);
  if (error < 0)
    complain("cannot set the times of '%s': %s", name, reason(error));
  return error >= 0;
}

static bool touch_root(struct sessions *sessions, const char *argument,
                       const struct options *options) {
  struct target target;
  if (!target_open(sessions, argument, true, 0, &target))
    return false;
  bool good = set_times(target.node, target.argument, options);
  target_close(&target);
  return good;
}

static bool names_root(const char *argument) {
  struct location location;
  if (!location_parse_node(argument, &location))
    return false;
  size_t i = 0;
  while (location.path[i] == '/' || location.path[i] == '\\' || location.path[i] == '.')
    i++;
  bool root = location.path[i] == '\0';
  location_clear(&location);
  return root;
}

static bool touch(struct sessions *sessions, const char *argument, const struct options *options) {
  struct target target;
  casefs_node *node = NULL;
  if (names_root(argument))
    return touch_root(sessions, argument, options);
  if (!target_open_parent(sessions, argument, true, &target))
    return false;
  int error = target_open_or_make(&target, options->keep, &node);
  bool good = error >= 0;
  if (error < 0)
    complain("cannot make '%s': %s", target.argument, reason(error));
  else if (error == 0)
    good = set_times(node, target.argument, options);
  casefs_node_close(node);
  target_close(&target);
  return good;
}

static void choose_times(struct options *options, unsigned mask, uint64_t time) {
  options->mask |= mask;
  if (mask & CASEFS_ACCESSED)
    options->times.accessed = time;
  if (mask & CASEFS_MODIFIED)
    options->times.modified = time;
  if (mask & CASEFS_CREATED)
    options->times.created = time;
  if (mask & CASEFS_CHANGED)
    options->times.changed = time;
}

static bool take_options(int count, char **arguments, struct options *options) {
  static const struct option long_options[] = {{"no-create", no_argument, NULL, 'c'},
                                               {"time", required_argument, NULL, 't'},
                                               {"created", required_argument, NULL, 'C'},
                                               {"changed", required_argument, NULL, 'G'},
                                               {0}};
  unsigned which = 0;
  uint64_t time = 0, other;
  bool given = false;
  int letter;
  while ((letter = getopt_long(count, arguments, "cat:m", long_options, NULL)) >= 0) {
    if (letter == '?')
      return false;
    if (letter == 'c')
      options->keep = true;
    else if (letter == 'a' || letter == 'm')
      which |= letter == 'a' ? CASEFS_ACCESSED : CASEFS_MODIFIED;
    else if (!parse_time(optarg, &other)) {
      complain("'%s' is not a time such as 2024-05-01T12:34:56.5Z, 2024-05-01, @1714567890 or now",
               optarg);
      return false;
    } else if (letter == 't') {
      time = other;
      given = true;
    } else
      choose_times(options, letter == 'C' ? CASEFS_CREATED : CASEFS_CHANGED, other);
  }
  if (which == 0 && (options->mask == 0 || given))
    which = CASEFS_ACCESSED | CASEFS_MODIFIED;
  choose_times(options, which, time);
  options->now = given ? 0 : which;
  return true;
}

static int run_touch(int count, char **arguments) {
  struct options options = {0};
  struct sessions sessions = {0};
  bool good = true;
  if (!take_options(count, arguments, &options))
    return EXIT_USAGE;
  if (optind == count)
    return misused("give a file, as DEVICE:/PATH");
  for (int i = optind; i < count && !interrupted(); i++)
    good = touch(&sessions, arguments[i], &options) && good;
  good = sessions_close(&sessions) && good;
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

const struct verb verb_touch = {
    .name = "touch",
    .usage = "[-acm] [-t TIME] [--created=TIME] [--changed=TIME] DEVICE:/PATH...",
    .summary = "Make empty files, or set the times of those that exist",
    .help = "TIME is ISO 8601 (2024-05-01T12:34:56.1234567Z; local time without zone),\n"
            "@SECONDS since 1970, or now.\n"
            "\n"
            "  -c, --no-create     make nothing\n"
            "  -a                  the time of access only\n"
            "  -m                  the time of modification only\n"
            "  -t, --time=TIME     that time instead of now\n"
            "      --created=TIME  the time of creation; alone: no other\n"
            "      --changed=TIME  the time of the last change; alone: no other\n",
    .run = run_touch,
};
