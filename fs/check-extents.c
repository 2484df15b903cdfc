/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Extents, and the data in them.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define LAST_BLOCK (CASEFS_MAX_SIZE / BLOCK_SIZE) /* that a file can have */

static bool all_zeros(const uint8_t *bytes, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (bytes[i] != 0)
      return false;
  return true;
}

/* The last block, which the size cuts, ends in zeros. */
static int check_tail(struct check *check, const struct record *record,
                      const struct extent *extent) {
  const struct group *group = &check->group;
  uint64_t size = group->record.size, last = size / BLOCK_SIZE;
  size_t tail = size % BLOCK_SIZE;
  if (tail == 0 || group->orphan || !group->present || last < extent->first ||
      last >= extent->first + extent->count)
    return 0;
  const uint8_t *block = check->data + (last - extent->first) * BLOCK_SIZE;
  if (all_zeros(block + tail, BLOCK_SIZE - tail) ||
      !report(check, PROBLEM_DATA_PAST_END, group->id, last * BLOCK_SIZE))
    return 0;
  return plan_extent(check, record, true);
}

static int read_data(struct check *check, const struct extent *extent) {
  if (!check->data && !(check->data = malloc((size_t)MAX_EXTENT_BLOCKS * BLOCK_SIZE)))
    return -ENOMEM;
  return device_read(check->device, check->data, (size_t)extent->count * BLOCK_SIZE,
                     extent->block * BLOCK_SIZE);
}

/* Compare checksums.  Whether the device fails for good shows elsewhere. */
static int check_data(struct check *check, const struct record *record,
                      const struct extent *extent) {
  uint64_t bad = 0;
  int r = read_data(check, extent);
  if (r == -ENOMEM)
    return r;
  for (uint32_t i = 0; i < extent->count; i++)
    bad += r < 0 || (uint32_t)checksum(check->data + (size_t)i * BLOCK_SIZE, BLOCK_SIZE) !=
                        load32(extent->detail + 4 * (size_t)i);
  if (bad == 0)
    return check_tail(check, record, extent);
  return report(check, PROBLEM_DATA, check->group.id, extent->first * BLOCK_SIZE, bad)
             ? plan_extent(check, record, true)
             : 0;
}

/* An extent that cannot stay as it is: keep what can be read of it. */
static int misplaced(struct check *check, const struct record *record, const struct extent *extent,
                     enum problem_number number, uint64_t offset) {
  bool mend = report(check, number, check->group.id, offset);
  int r = extent->kind == EXTENT_INLINE
              ? 0
              : marks_fill(mend ? &check->dropped : &check->used, extent->block, extent->count);
  return r == 0 && mend ? plan_extent(check, record, false) : r;
}

/* An extent that makes no sense: what it may have for blocks stays untouched while it is mended. */
static int malformed(struct check *check, const struct record *record) {
  uint64_t block = record->length >= EXTENT_HEADER ? load64(record->value + 8) : 0;
  uint64_t end = check->superblock.blocks - RING_SLOTS;
  uint64_t count = record->length >= EXTENT_HEADER ? (record->length - EXTENT_HEADER) / 4 : 0;
  if (!report(check, PROBLEM_EXTENT, check->group.id, 0))
    return 0;
  int r = plan_extent(check, record, false);
  if (block < FIRST_BLOCK || block >= end)
    return r;
  return r == 0 ? marks_fill(&check->dropped, block, count < end - block ? count : end - block) : r;
}

/* Mark an extent's blocks as used, unless some are already. */
static int mark_extent(struct check *check, const struct record *record,
                       const struct extent *extent) {
  uint64_t first;
  if (marks_overlap(&check->used, extent->block, extent->count, &first))
    return misplaced(check, record, extent, PROBLEM_EXTENT_SHARED, first * BLOCK_SIZE);
  check->result->data_blocks += extent->count;
  return space_add(&check->used, extent->block, extent->count);
}

/* How far the bytes of an extent go, if that is past the end. */
static void note_end(struct group *group, const struct extent *extent) {
  uint64_t start = extent->first * BLOCK_SIZE, end = start + extent->count;
  if (extent->kind == EXTENT_UNWRITTEN)
    return;
  if (extent->kind == EXTENT_DATA) {
    uint64_t last = extent->first + extent->count - 1;
    if (last * BLOCK_SIZE < group->record.size)
      return;
    end = last == LAST_BLOCK ? CASEFS_MAX_SIZE : (last + 1) * BLOCK_SIZE;
  }
  if (end > group->data_end)
    group->data_end = end;
}

int check_extent(struct check *check, const struct record *record) {
  struct group *group = &check->group;
  struct extent extent;
  struct key key = {.length = record->key_length};
  memcpy(key.bytes, record->key, record->key_length);
  int r = parts_finish(check);
  if (r != 0)
    return r;
  group->sound = true;
  if (extent_decode(&extent, &key, record->value, record->length, check->superblock.blocks) < 0 ||
      extent.first + extent_blocks(&extent) - 1 > LAST_BLOCK)
    return malformed(check, record);
  if (extent.first < group->extents_end)
    return misplaced(check, record, &extent, PROBLEM_EXTENT_OVERLAP, extent.first * BLOCK_SIZE);
  group->extents_end = extent.first + extent_blocks(&extent);
  note_end(group, &extent);
  if (extent.kind == EXTENT_INLINE)
    return 0;
  group->extent_blocks += extent.count;
  r = mark_extent(check, record, &extent);
  if (r == 0 && extent.kind == EXTENT_DATA && check->options.flags & CASEFS_CHECK_DATA)
    r = check_data(check, record, &extent);
  return r;
}
