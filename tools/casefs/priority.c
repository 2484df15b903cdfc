/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The verbs priority and preload: which files are to be in memory.
 */

#include "progress.h"
#include "text.h"
#include "tiers.h"
#include "verbs.h"

#include <string.h>

enum {
  MOST_PRIORITY = 10,
  MOST_PRELOAD = 64 << 20, /* bytes asked for at once, so that it can be interrupted */
};

struct options {
  struct tiers tiers;
  unsigned priority;
};

/* Whether a target can have extents. */
static bool is_file(const struct target *target) {
  struct casefs_attributes attributes;
  int error = casefs_get_attributes(target->node, &attributes);
  if (error < 0)
    complain("cannot read '%s': %s", target->argument, reason(error));
  else if (attributes.type == CASEFS_FILE || attributes.type == CASEFS_STREAM)
    return true;
  else
    complain("'%s' is a %s, and this needs files or streams", target->argument,
             type_name(attributes.type));
  return false;
}

static bool take_tiers_options(int count, char **arguments, struct tiers *tiers) {
  static const struct option long_options[] = {TIERS_OPTIONS, {0}};
  int letter;
  while ((letter = getopt_long(count, arguments, "", long_options, NULL)) >= 0)
    if (!tiers_take_option(tiers, letter))
      return false;
  return true;
}

/* ----------------------------------------------------------------- priority */

static bool prioritize(struct target *target, void *context) {
  struct options *options = context;
  struct device_ranges ranges;
  if (!is_file(target) || !device_ranges_of(target, &ranges))
    return false;
  bool good = ranges.length > 0;
  if (!good)
    complain("'%s' has no place of its own on the device: %s", target->argument,
             why_no_ranges(target));
  for (size_t i = 0; good && i < ranges.length && !interrupted(); i++)
    good = tiers_prioritize(&options->tiers, target->session, &ranges.ranges[i], options->priority);
  device_ranges_clear(&ranges);
  return good;
}

static int run_priority(int count, char **arguments) {
  struct options options = {0};
  uint64_t priority;
  if (!take_tiers_options(count, arguments, &options.tiers))
    return EXIT_USAGE;
  if (count - optind < 2)
    return misused("give files, as DEVICE:/PATH, and a priority from 0 to %d", MOST_PRIORITY);
  if (!parse_number(arguments[--count], MOST_PRIORITY, &priority))
    return misused("'%s' is not a priority: 0 leaves memory first, 8 last, 9 and %d never",
                   arguments[count], MOST_PRIORITY);
  options.priority = (unsigned)priority;
  int status = for_each_target(count - optind, arguments + optind, false, 0, prioritize, &options);
  tiers_end(&options.tiers);
  return status;
}

const struct verb verb_priority = {
    .name = "priority",
    .usage = "[--control=SOCKET [--volume=NAME]] DEVICE:/FILE[:STREAM]... NUMBER",
    .summary = "Say how long files stay in the memory of the server",
    .help = "NUMBER is 0, which leaves memory first, to 8, last; 9 and 10 stay in memory.  It\n"
            "holds for where the files lie now: what is written later lies elsewhere.\n"
            "\n" TIERS_HELP,
    .run = run_priority,
};

/* ------------------------------------------------------------------ preload */

/* One range, in parts. */
static bool preload_range(struct tiers *tiers, const struct target *target,
                          const struct device_range *range, struct progress *progress,
                          uint64_t *done, uint64_t total) {
  struct device_range left = *range;
  while (left.count > 0 && !interrupted()) {
    struct device_range part = left;
    part.count = left.count < MOST_PRELOAD ? left.count : MOST_PRELOAD;
    if (!tiers_preload(tiers, target->session, &part))
      return false;
    left.offset += part.count;
    left.count -= part.count;
    *done += part.count;
    progress_update(progress, *done, total);
  }
  return true;
}

static bool preload(struct target *target, void *context) {
  struct options *options = context;
  struct device_ranges ranges;
  struct progress progress;
  uint64_t done = 0;
  if (!is_file(target) || !device_ranges_of(target, &ranges))
    return false;
  bool good = true;
  if (ranges.length == 0) {
    print_name(stdout, target->argument, strlen(target->argument));
    printf(": nothing to load: %s\n", why_no_ranges(target));
  }
  progress_start(&progress, "loading", true);
  for (size_t i = 0; good && i < ranges.length && !interrupted(); i++)
    good =
        preload_range(&options->tiers, target, &ranges.ranges[i], &progress, &done, ranges.bytes);
  progress_clear(&progress);
  device_ranges_clear(&ranges);
  return good;
}

static int run_preload(int count, char **arguments) {
  struct options options = {0};
  if (!take_tiers_options(count, arguments, &options.tiers))
    return EXIT_USAGE;
  if (optind == count)
    return misused("give files, as DEVICE:/PATH");
  int status = for_each_target(count - optind, arguments + optind, false, 0, preload, &options);
  tiers_end(&options.tiers);
  return status;
}

const struct verb verb_preload = {
    .name = "preload",
    .usage = "[--control=SOCKET [--volume=NAME]] DEVICE:/FILE[:STREAM]...",
    .summary = "Bring files into the memory of the server",
    .help = "As far as there is room without moving out what is used more.  Without --control,\n"
            "by NBD's CACHE request, where the server offers that.\n"
            "\n" TIERS_HELP,
    .run = run_preload,
};
