/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The ranges of a device that a file's data takes.
 */

#ifndef CASEFS_EXTENTS_H
#define CASEFS_EXTENTS_H

#include "tool.h"

struct device_range {
  uint64_t offset, count; /* bytes */
};

/* In order of offsets, with neighbours made one.  All zeros at the start. */
struct device_ranges {
  struct device_range *ranges;
  size_t length, room;
  uint64_t bytes; /* of all of them */
};

/* Fill ranges from an open file or stream; with a failure reported. */
bool device_ranges_of(const struct target *target, struct device_ranges *ranges);
void device_ranges_clear(struct device_ranges *ranges);

/* Why a file has no ranges, to stand behind a colon or "because". */
const char *why_no_ranges(const struct target *target);

#endif
