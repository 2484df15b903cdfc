/* SPDX-License-Identifier: BSD-3-Clause */

#include "local.h"
#include "verbs.h"

static bool cat_target(struct target *target, void *context) {
  (void)context;
  return print_contents(target->node, target->argument);
}

static int run_cat(int count, char **arguments) {
  static const struct option options[] = {{0}};
  if (getopt_long(count, arguments, "", options, NULL) >= 0)
    return EXIT_USAGE;
  if (optind == count)
    return misused("give a file to print, as DEVICE:/PATH");
  return for_each_target(count - optind, arguments + optind, false, 0, cat_target, NULL);
}

const struct verb verb_cat = {
    .name = "cat",
    .usage = "DEVICE:/FILE[:STREAM]...",
    .summary = "Print what files or their streams hold",
    .help = "",
    .run = run_cat,
};
