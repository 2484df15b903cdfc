/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Truncating, punching holes, and setting blocks aside.
 */

#include "data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ALLOCATED_AT_ONCE 64u /* unwritten extents that one change adds */

/* Remove the extents past the end, in as many changes as it takes. */
static int remove_past_end(casefs_node *node) {
  casefs_volume *volume = node->volume;
  bool more = true;
  int r = 0;
  while (r == 0 && more) {
    struct node_record record = node_record_of(node);
    r = data_remove_extents(volume, node->id, blocks_for(record.size), EXTENTS_AT_ONCE, &record,
                            &more);
    if (r < 0) {
      change_abandon(volume);
      break;
    }
    if (!more && record.links > 0)
      put_orphan(volume, node->id, false);
    node_store(volume, node->id, &record);
    r = change_apply(volume, PURPOSE_REMOVE);
    if (r == 0)
      node_set_record(node, &record);
  }
  volume->truncations_left |= r < 0;
  return r;
}

int data_finish_truncation(casefs_node *node) {
  return node->volume->truncations_left ? remove_past_end(node) : 0;
}

/* Have the last, partial block of a file that is to end at `size` in the buffer, so that what
 * follows in it can be cut off. */
static int buffer_last_block(casefs_node *node, uint64_t size) {
  struct data_mapping mapping;
  uint64_t start = size - size % BLOCK_SIZE;

  if (start == size || (node->buffer_length > 0 && node->buffer_start <= start &&
                        node->buffer_start + node->buffer_length >= size))
    return 0;
  int r = data_find_extent(node->volume, node->id, start / BLOCK_SIZE, &mapping);
  if (r == -ENOENT || (r == 0 && (mapping.extent.first > start / BLOCK_SIZE ||
                                  mapping.extent.kind == EXTENT_UNWRITTEN)))
    return 0;
  if (r == 0 && node->buffer_length > 0)
    r = node_settle(node);
  if (r == 0)
    r = node_touch(node, PURPOSE_SHRINK);
  if (r == 0)
    r = promise_space(node->volume, &node->promise, data_quads(node->volume), 1, PURPOSE_SHRINK);
  return r == 0 ? data_start_buffer(node, size) : r;
}

/* Cut what is past the size off the buffer, and set the record. */
static void cut_buffer(casefs_node *node, const struct node_record *record) {
  pthread_mutex_lock(&node->lock);
  if (node->buffer_start >= record->size)
    node->buffer_length = 0;
  else if (node->buffer_start + node->buffer_length > record->size)
    node->buffer_length = (size_t)(record->size - node->buffer_start);
  node->record = *record;
  pthread_mutex_unlock(&node->lock);
}

static int shrink(casefs_node *node, uint64_t size) {
  casefs_volume *volume = node->volume;
  bool more;
  int r = buffer_last_block(node, size);
  if (r < 0)
    return r;
  struct node_record record = node_record_of(node);
  record.size = size;
  record.modified = record.changed = casefs_now();
  r = data_remove_extents(volume, node->id, blocks_for(size), EXTENTS_AT_ONCE, &record, &more);
  if (r < 0) {
    change_abandon(volume);
    return r;
  }
  if (more)
    put_orphan(volume, node->id, true);
  node_store(volume, node->id, &record);
  r = change_apply(volume, size % BLOCK_SIZE == 0 ? PURPOSE_REMOVE : PURPOSE_SHRINK);
  if (r < 0)
    return r;
  cut_buffer(node, &record);
  return more ? remove_past_end(node) : 0;
}

/* The longer file's new end reads as zeros: there is nothing past the old one. */
static int extend(casefs_node *node, uint64_t size) {
  int r = data_finish_truncation(node);
  if (r == 0)
    r = node_touch(node, PURPOSE_NORMAL);
  if (r < 0)
    return r;
  pthread_mutex_lock(&node->lock);
  uint64_t end = node->buffer_start + node->buffer_length;
  if (node->buffer_length > 0 && end == node->record.size && end % BLOCK_SIZE != 0) {
    /* The tree may still have what a truncation has cut off in this block. */
    size_t rest = BLOCK_SIZE - end % BLOCK_SIZE;
    if (rest > size - end)
      rest = (size_t)(size - end);
    memset(node->buffer + node->buffer_length, 0, rest);
    node->buffer_length += rest;
  }
  node->record.size = size;
  node->record.modified = node->record.changed = casefs_now();
  pthread_mutex_unlock(&node->lock);
  node->volume->changes++;
  return 0;
}

int casefs_truncate(casefs_node *node, uint64_t size) {
  unsigned tries = 0;
  int r = data_check_node(node);
  if (r == 0 && size > CASEFS_MAX_SIZE)
    r = -EFBIG;
  if (r < 0)
    return r;
  do {
    r = change_begin(node->volume);
    if (r < 0)
      return r;
    r = size < node_record_of(node).size ? shrink(node, size) : extend(node, size);
    change_end(node->volume);
  } while (try_again(node->volume, r, &tries));
  return r;
}

/* Collect a block of which a part becomes zeros, and which nothing maps any more. */
static int place_punched(casefs_node *node, struct node_record *record, uint64_t block,
                         uint64_t offset, uint64_t end, bool pieces_only) {
  uint8_t bytes[BLOCK_SIZE];
  uint64_t start = block * BLOCK_SIZE;
  uint64_t from = offset > start ? offset - start : 0;
  uint64_t to = end - start < BLOCK_SIZE ? end - start : BLOCK_SIZE;
  int r = data_read_mapped(node->volume, node->id, bytes, BLOCK_SIZE, start);
  if (r < 0)
    return r;
  memset(bytes + from, 0, to - from);
  struct settling settling = {.volume = node->volume,
                              .id = node->id,
                              .record = record,
                              .data = bytes,
                              .first = block,
                              .count = 1,
                              .pieces_only = pieces_only};
  return data_place_blocks(&settling);
}

/* Collect what keeps something of the two blocks at the ends of a range. */
static int place_ends(casefs_node *node, struct node_record *record, uint64_t offset, uint64_t end,
                      bool pieces_only) {
  uint64_t first = offset / BLOCK_SIZE, last = end / BLOCK_SIZE;
  bool tail = end % BLOCK_SIZE != 0 && end < record->size;
  int r = 0;
  if (offset % BLOCK_SIZE != 0)
    r = place_punched(node, record, first, offset, end, pieces_only);
  if (r == 0 && tail && (last != first || offset % BLOCK_SIZE == 0))
    r = place_punched(node, record, last, offset, end, pieces_only);
  return r;
}

/* One change, which does all but the rest of very many extents. */
static int punch_some(casefs_node *node, uint64_t offset, uint64_t end, bool ends, bool *more) {
  casefs_volume *volume = node->volume;
  struct promise promise = {0};
  int r = promise_space(volume, &promise, data_quads(volume), ends ? 2 : 0, PURPOSE_SHRINK);
  bool pieces_only = promise.pieces > 0;
  release_promise(volume, &promise);
  if (r < 0)
    return r;
  struct node_record record = node_record_of(node);
  uint64_t first = ends ? offset / BLOCK_SIZE : blocks_for(offset);
  uint64_t last = ends || end == record.size ? blocks_for(end) : end / BLOCK_SIZE;
  *more = false;
  if (first < last)
    r = data_unmap(volume, node->id, first, last - first, EXTENTS_AT_ONCE, &record, NULL, more);
  if (r == 0 && ends)
    r = place_ends(node, &record, offset, end, pieces_only);
  if (r < 0) {
    change_abandon(volume);
    return r;
  }
  record.modified = record.changed = casefs_now();
  node_store(volume, node->id, &record);
  r = change_apply(volume, PURPOSE_SHRINK);
  if (r == 0)
    node_set_record(node, &record);
  return r;
}

static int punch(casefs_node *node, uint64_t offset, uint64_t end) {
  bool more;
  int r = node->unsettled ? node_settle(node) : 0;
  if (r == 0)
    r = punch_some(node, offset, end, true, &more);
  while (r == 0 && more)
    r = punch_some(node, offset, end, false, &more);
  return r;
}

int casefs_punch(casefs_node *node, uint64_t offset, uint64_t count) {
  unsigned tries = 0;
  int r = data_check_node(node);
  if (r < 0)
    return r;
  do {
    r = change_begin(node->volume);
    if (r < 0)
      return r;
    uint64_t size = node_record_of(node).size;
    uint64_t end = count > size || offset > size - count ? size : offset + count;
    if (offset < end)
      r = punch(node, offset, end);
    change_end(node->volume);
  } while (try_again(node->volume, r, &tries));
  return r;
}

/* Collect unwritten extents for the holes from *block on, some of them; moves *block on. */
static int fill_holes(casefs_node *node, uint64_t *block, uint64_t last,
                      struct node_record *record) {
  struct data_mapping mapping;
  for (unsigned extents = 0; *block < last && extents < ALLOCATED_AT_ONCE;) {
    int r = data_find_extent(node->volume, node->id, *block, &mapping);
    if (r < 0 && r != -ENOENT)
      return r;
    uint64_t end = r == -ENOENT || mapping.extent.first > last ? last : mapping.extent.first;
    if (end <= *block) {
      *block = mapping.extent.first + extent_blocks(&mapping.extent);
      continue;
    }
    uint64_t want = end - *block;
    if (want > MAX_UNWRITTEN_BLOCKS)
      want = MAX_UNWRITTEN_BLOCKS;
    struct promise promise = {0};
    r = promise_space(node->volume, &promise, data_quads(node->volume), want, PURPOSE_NORMAL);
    bool pieces_only = promise.pieces > 0;
    release_promise(node->volume, &promise);
    struct block_run run;
    if (r == 0)
      r = allocate_blocks(node->volume, want, pieces_only, &run);
    if (r < 0)
      return r;
    data_put_extent(
        node->volume, node->id,
        &(struct extent){*block, EXTENT_UNWRITTEN, (uint32_t)run.count, run.block, NULL});
    record->blocks += run.count;
    *block += run.count;
    extents++;
  }
  return 0;
}

static int allocate(casefs_node *node, uint64_t offset, uint64_t end, bool keep_size) {
  int r = data_finish_truncation(node);
  if (r == 0 && node->unsettled)
    r = node_settle(node);
  for (uint64_t block = offset / BLOCK_SIZE; r == 0 && block < blocks_for(end);) {
    struct node_record record = node_record_of(node);
    r = fill_holes(node, &block, blocks_for(end), &record);
    if (r < 0) {
      change_abandon(node->volume);
      return r;
    }
    record.changed = casefs_now();
    if (block >= blocks_for(end) && !keep_size && record.size < end) {
      record.size = end;
      record.modified = record.changed;
    }
    node_store(node->volume, node->id, &record);
    r = change_apply(node->volume, PURPOSE_SETTLE);
    if (r == 0)
      node_set_record(node, &record);
  }
  return r;
}

int casefs_allocate(casefs_node *node, uint64_t offset, uint64_t count, bool keep_size) {
  unsigned tries = 0;
  int r = data_check_node(node);
  if (r == 0 && count == 0)
    r = -EINVAL;
  if (r == 0 && (offset > CASEFS_MAX_SIZE || count > CASEFS_MAX_SIZE - offset))
    r = -EFBIG;
  if (r < 0)
    return r;
  do {
    r = change_begin(node->volume);
    if (r < 0)
      return r;
    r = allocate(node, offset, offset + count, keep_size);
    change_end(node->volume);
  } while (try_again(node->volume, r, &tries));
  return r;
}
