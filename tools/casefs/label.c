/* SPDX-License-Identifier: BSD-3-Clause */

#include "verbs.h"

#include <errno.h>
#include <string.h>

static bool show_label(struct target *target, void *context) {
  struct casefs_statistics statistics;
  (void)context;
  casefs_volume_statistics(target->session->volume, &statistics);
  puts(statistics.label);
  return true;
}

static bool set_label(struct target *target, void *context) {
  const char *label = context;
  int error = casefs_set_label(target->session->volume, label);
  if (error == -ENAMETOOLONG)
    complain("'%.200s' is too long for a label: it may have %u UTF-16 units", label,
             CASEFS_MAX_LABEL_UNITS);
  else if (error == -EILSEQ)
    complain("the label is not valid UTF-8");
  else if (error < 0)
    complain("cannot set the label of '%s': %s", target->location.device, reason(error));
  return error >= 0;
}

static int run_label(int count, char **arguments) {
  static const struct option options[] = {{0}};
  if (getopt_long(count, arguments, "", options, NULL) >= 0)
    return EXIT_USAGE;
  char *label = count - optind == 2 ? arguments[--count] : NULL;
  if (count - optind > 1)
    return misused("give a device, and perhaps a new label");
  if (!arguments_or_root(&count, &arguments))
    return EXIT_USAGE;
  return for_each_target(1, arguments, label != NULL, 0, label ? set_label : show_label, label);
}

const struct verb verb_label = {
    .name = "label",
    .usage = "[DEVICE [LABEL]]",
    .summary = "Show or set the label of a volume",
    .help = "An empty LABEL removes it.\n",
    .run = run_label,
};
