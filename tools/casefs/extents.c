/* SPDX-License-Identifier: BSD-3-Clause */

#include "extents.h"
#include "text.h"

static void add_range(struct device_ranges *ranges, const struct casefs_extent *extent) {
  if (ranges->length == ranges->room) {
    ranges->room = ranges->room > 0 ? 2 * ranges->room : 16;
    ranges->ranges = resized(ranges->ranges, ranges->room * sizeof *ranges->ranges);
  }
  ranges->ranges[ranges->length++] = (struct device_range){extent->device_offset, extent->count};
}

static int compare_ranges(const void *left, const void *right) {
  uint64_t a = ((const struct device_range *)left)->offset;
  uint64_t b = ((const struct device_range *)right)->offset;
  return (a > b) - (a < b);
}

/* The last block of a file is the file's as a whole. */
static uint64_t whole_blocks(uint64_t count) {
  return (count + CASEFS_BLOCK_SIZE - 1) / CASEFS_BLOCK_SIZE * CASEFS_BLOCK_SIZE;
}

static void sort_and_merge(struct device_ranges *ranges) {
  size_t kept = 0;
  if (ranges->length == 0)
    return;
  qsort(ranges->ranges, ranges->length, sizeof *ranges->ranges, compare_ranges);
  for (size_t i = 0; i < ranges->length; i++) {
    struct device_range range = ranges->ranges[i];
    range.count = whole_blocks(range.count);
    ranges->bytes += range.count;
    struct device_range *last = kept > 0 ? &ranges->ranges[kept - 1] : NULL;
    if (last && last->offset + last->count == range.offset)
      last->count += range.count;
    else
      ranges->ranges[kept++] = range;
  }
  ranges->length = kept;
}

bool device_ranges_of(const struct target *target, struct device_ranges *ranges) {
  struct casefs_extent extent = {0};
  int result;
  *ranges = (struct device_ranges){0};
  while ((result = casefs_get_extent(target->node, extent.offset + extent.count, &extent)) > 0 &&
         !interrupted())
    if (extent.kind == CASEFS_EXTENT_DATA || extent.kind == CASEFS_EXTENT_UNWRITTEN)
      add_range(ranges, &extent);
  if (result < 0) {
    complain("cannot read all extents of '%s': %s", target->argument, reason(result));
    device_ranges_clear(ranges);
    return false;
  }
  sort_and_merge(ranges);
  return true;
}

void device_ranges_clear(struct device_ranges *ranges) {
  free(ranges->ranges);
  *ranges = (struct device_ranges){0};
}

const char *why_no_ranges(const struct target *target) {
  struct casefs_extent extent;
  struct casefs_attributes attributes;
  uint64_t at = 0;
  if (casefs_get_attributes(target->node, &attributes) == 0 && attributes.size == 0)
    return "it is empty";
  while (casefs_get_extent(target->node, at, &extent) > 0) {
    if (extent.kind == CASEFS_EXTENT_INLINE)
      return "it is so small that it lies in the volume's metadata";
    at = extent.offset + extent.count;
  }
  return "all of it is holes";
}
