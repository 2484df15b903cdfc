/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Extents that cannot stay as they are.  Whatever part of the data has the right
 * checksum is kept, on blocks that are this extent's alone; the rest becomes a hole.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

/* What becomes of a block. */
enum fate { LOSE, KEEP, MOVE };

struct salvage {
  struct check *check;
  casefs_volume *volume;
  uint64_t id, first, block;
  uint32_t count;
  const uint8_t *sums;
  bool own;
  uint8_t *data; /* of all blocks */
  uint8_t fates[MAX_EXTENT_BLOCKS];
};

/* The blocks of the file that no other extent has: from *low to *high. */
static int free_range(struct salvage *salvage, uint64_t *low, uint64_t *high) {
  struct tree_record found;
  struct extent extent;
  struct key key;
  int r = -ENOENT;
  if (salvage->first > 0) {
    key_extent(&key, salvage->id, salvage->first - 1);
    r = tree_seek_back(&salvage->volume->tree, &key, &found);
  }
  if (r == 0 && memcmp(found.key.bytes, key.bytes, KEY_PREFIX) == 0 &&
      extent_decode(&extent, &found.key, found.value, found.length,
                    salvage->volume->superblock.blocks) == 0 &&
      extent.first + extent_blocks(&extent) > *low)
    *low = extent.first + extent_blocks(&extent);
  if (r < 0 && r != -ENOENT)
    return r;
  key_extent(&key, salvage->id, salvage->first);
  key_after(&key);
  r = tree_seek_prefix(&salvage->volume->tree, &key, KEY_PREFIX, &found);
  if (r == 0 && found.key.length == KEY_PREFIX + 8 &&
      load64_big(found.key.bytes + KEY_PREFIX) < *high)
    *high = load64_big(found.key.bytes + KEY_PREFIX);
  return r == -ENOENT ? 0 : r;
}

static bool is_readable(struct salvage *salvage, uint32_t i) {
  uint8_t *bytes = salvage->data + (size_t)i * BLOCK_SIZE;
  uint64_t block = salvage->block + i;
  return block < salvage->check->device->size / BLOCK_SIZE &&
         device_read(salvage->check->device, bytes, BLOCK_SIZE, block * BLOCK_SIZE) == 0 &&
         (uint32_t)checksum(bytes, BLOCK_SIZE) == load32(salvage->sums + 4 * (size_t)i);
}

/* Bytes past the size are cut off; returns whether there were any but zeros. */
static bool cut_tail(uint8_t *bytes, size_t size) {
  bool cut = false;
  for (size_t i = size; i < BLOCK_SIZE; i++) {
    cut |= bytes[i] != 0;
    bytes[i] = 0;
  }
  return cut;
}

static int judge(struct salvage *salvage) {
  struct node_record node;
  uint64_t low = salvage->first, high = salvage->first + salvage->count;
  int r = salvage->own ? 0 : free_range(salvage, &low, &high);
  if (r == 0 && (r = node_fetch(salvage->volume, salvage->id, &node)) < 0) {
    node.size = 0;
    r = r == -ENOENT || r == -EUCLEAN ? 0 : r;
  }
  for (uint32_t i = 0; r == 0 && i < salvage->count; i++) {
    uint64_t at = salvage->first + i;
    uint8_t fate = at < low || at >= high || !is_readable(salvage, i) ? LOSE
                   : salvage->own                                     ? KEEP
                                                                      : MOVE;
    if (fate != LOSE && at == node.size / BLOCK_SIZE && node.size % BLOCK_SIZE != 0 &&
        cut_tail(salvage->data + (size_t)i * BLOCK_SIZE, node.size % BLOCK_SIZE))
      fate = MOVE;
    salvage->fates[i] = fate;
  }
  return r;
}

static void put_extent(struct salvage *salvage, uint32_t at, uint32_t count, uint64_t block) {
  uint8_t value[EXTENT_HEADER + 4 * MAX_EXTENT_BLOCKS];
  struct extent extent = {salvage->first + at, EXTENT_DATA, count, block, NULL};
  uint32_t length = extent_header_encode(&extent, value);
  struct key key;
  for (uint32_t i = 0; i < count; i++)
    store32(value + length + 4 * (size_t)i,
            (uint32_t)checksum(salvage->data + (size_t)(at + i) * BLOCK_SIZE, BLOCK_SIZE));
  key_extent(&key, salvage->id, extent.first);
  batch_put(&salvage->volume->batch, &key, value, length + 4 * (size_t)count);
}

static int move_blocks(struct salvage *salvage, uint32_t at, uint32_t count) {
  int r = 0;
  while (r == 0 && count > 0) {
    struct block_run run;
    r = allocate_blocks(salvage->volume, count, false, &run);
    if (r == 0)
      r = device_write(salvage->check->device, salvage->data + (size_t)at * BLOCK_SIZE,
                       run.count * BLOCK_SIZE, run.block * BLOCK_SIZE, false);
    if (r < 0)
      return r;
    put_extent(salvage, at, (uint32_t)run.count, run.block);
    at += (uint32_t)run.count;
    count -= (uint32_t)run.count;
  }
  return r;
}

static int collect(struct salvage *salvage) {
  int r = judge(salvage);
  for (uint32_t i = 0, end; r == 0 && i < salvage->count; i = end) {
    enum fate fate = salvage->fates[i];
    for (end = i + 1; end < salvage->count && salvage->fates[end] == fate;)
      end++;
    if (fate == KEEP)
      put_extent(salvage, i, end - i, salvage->block + i);
    else if (fate == MOVE)
      r = move_blocks(salvage, i, end - i);
    if (r == 0 && fate != KEEP && salvage->own)
      r = free_blocks(salvage->volume, salvage->block + i, end - i);
  }
  return r;
}

/* An inline extent, of which only the count can be wrong, or the place taken. */
static int collect_inline(struct salvage *salvage, const struct key *key, const uint8_t *value,
                          uint32_t length) {
  uint8_t bytes[MAX_EXTENT_RECORD];
  uint64_t low = salvage->first, high = salvage->first + 1;
  uint32_t count = length - EXTENT_INLINE_HEADER;
  int r = free_range(salvage, &low, &high);
  if (r < 0 || count == 0 || count > MAX_INLINE || low >= high)
    return r;
  struct extent extent = {salvage->first, EXTENT_INLINE, count, 0, NULL};
  extent_header_encode(&extent, bytes);
  memcpy(bytes + EXTENT_INLINE_HEADER, value + EXTENT_INLINE_HEADER, count);
  batch_put(&salvage->volume->batch, key, bytes, EXTENT_INLINE_HEADER + count);
  return 0;
}

/* As much of the extent as makes sense: its length tells how many checksums there are. */
static int collect_extent(struct salvage *salvage, const struct record *record) {
  struct key key = {.length = record->key_length};
  memcpy(key.bytes, record->key, record->key_length);
  batch_remove(&salvage->volume->batch, &key);
  if (record->key_length != KEY_PREFIX + 8 || record->length < EXTENT_INLINE_HEADER)
    return 0;
  salvage->first = load64_big(record->key + KEY_PREFIX);
  if (salvage->first > CASEFS_MAX_SIZE / BLOCK_SIZE)
    return 0;
  bool no_kind = record->value[0] < EXTENT_DATA || record->value[0] > EXTENT_INLINE;
  if (record->value[0] == EXTENT_INLINE ||
      (no_kind && load32(record->value + 4) == record->length - EXTENT_INLINE_HEADER))
    return collect_inline(salvage, &key, record->value, record->length);
  if (record->value[0] == EXTENT_UNWRITTEN || record->length < EXTENT_HEADER + 4)
    return 0;
  uint64_t most = CASEFS_MAX_SIZE / BLOCK_SIZE + 1 - salvage->first;
  salvage->count = (record->length - EXTENT_HEADER) / 4;
  if (salvage->count > MAX_EXTENT_BLOCKS)
    salvage->count = MAX_EXTENT_BLOCKS;
  if (salvage->count > most)
    salvage->count = (uint32_t)most;
  salvage->block = load64(record->value + 8);
  salvage->sums = record->value + EXTENT_HEADER;
  if (salvage->block > MAX_BLOCKS)
    return 0;
  return collect(salvage);
}

int repair_extent(struct check *check, casefs_volume *volume, const struct record *record,
                  bool own) {
  unsigned tries = 0;
  int r;
  if (!check->data && !(check->data = malloc((size_t)MAX_EXTENT_BLOCKS * BLOCK_SIZE)))
    return -ENOMEM;
  do {
    struct salvage salvage = {
        .check = check, .volume = volume, .id = record_id(record), .own = own, .data = check->data};
    r = change_begin(volume);
    if (r < 0)
      return r;
    r = collect_extent(&salvage, record);
    if (r == 0)
      r = change_apply(volume, PURPOSE_REMOVE);
    change_end(volume);
  } while (try_again(volume, r, &tries));
  return r;
}

bool repair_has_data(struct check *check, const struct key *key, const uint8_t *value,
                     uint32_t length) {
  struct extent extent;
  uint8_t block[BLOCK_SIZE];
  if (key->length < KEY_PREFIX || key_type(key) != RECORD_EXTENT)
    return true;
  if (extent_decode(&extent, key, value, length, check->superblock.blocks) < 0)
    return false;
  if (extent.kind != EXTENT_DATA)
    return extent.kind == EXTENT_INLINE;
  for (uint32_t i = 0; i < extent.count; i++)
    if (device_read(check->device, block, BLOCK_SIZE, (extent.block + i) * BLOCK_SIZE) == 0 &&
        (uint32_t)checksum(block, BLOCK_SIZE) == load32(extent.detail + 4 * (size_t)i))
      return true;
  return false;
}
