/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What is written gathers in the node's buffer, one range of at most
 * BUFFER_SIZE, until that is full, something else is written, or a commit comes:
 * then it is settled.  Settling finds new blocks, writes them, and collects the
 * new extents.  Large aligned writes go the same way without the buffer.
 */

#include "data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_SIZE ((size_t)MAX_EXTENT_BLOCKS * BLOCK_SIZE)
#define DIRECT_SIZE ((size_t)64 << 10)    /* writes from this size on need no buffer */
#define BUFFERED_LIMIT ((size_t)16 << 20) /* bytes in the buffers of all nodes */

/* ----------------------------------------------------------------------- settling */

static bool is_zero(const uint8_t *bytes, size_t count) {
  return bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0;
}

/* Write blocks to where they are to be, and collect their extent. */
static int settle_extent(struct settling *settling, uint64_t at, struct block_run run) {
  uint8_t sums[4 * MAX_EXTENT_BLOCKS];
  const uint8_t *data = settling->data + at * BLOCK_SIZE;
  for (uint64_t i = 0; i < run.count; i++)
    store32(sums + 4 * i, (uint32_t)checksum(data + i * BLOCK_SIZE, BLOCK_SIZE));
  settling->volume->written += run.count * BLOCK_SIZE;
  int r = device_write(settling->volume->device, data, run.count * BLOCK_SIZE,
                       run.block * BLOCK_SIZE, false);
  if (r < 0)
    return volume_fail(settling->volume, r);
  data_put_extent(
      settling->volume, settling->id,
      &(struct extent){settling->first + at, EXTENT_DATA, (uint32_t)run.count, run.block, sums});
  settling->record->blocks += run.count;
  return 0;
}

/* Blocks that are zeros: a hole, or unwritten where blocks were set aside. */
static void settle_zeros(struct settling *settling, uint64_t at, uint64_t count) {
  for (uint64_t i = at, end; i < at + count; i = end) {
    uint64_t block = settling->unwritten[i];
    end = i + 1;
    if (block == 0)
      continue;
    while (end < at + count && settling->unwritten[end] == block + (end - i))
      end++;
    data_put_extent(
        settling->volume, settling->id,
        &(struct extent){settling->first + i, EXTENT_UNWRITTEN, (uint32_t)(end - i), block, NULL});
    settling->record->blocks += end - i;
  }
}

/* Blocks that are data. */
static int settle_data(struct settling *settling, uint64_t at, uint64_t count) {
  while (count > 0) {
    struct block_run run = {settling->unwritten[at], 1};
    int r = 0;
    if (run.block != 0) {
      while (run.count < count && settling->unwritten[at + run.count] == run.block + run.count)
        run.count++;
    } else {
      uint64_t want = 1;
      while (want < count && settling->unwritten[at + want] == 0)
        want++;
      r = allocate_blocks(settling->volume, want, settling->pieces_only, &run);
    }
    if (r == 0)
      r = settle_extent(settling, at, run);
    if (r < 0)
      return r;
    at += run.count;
    count -= run.count;
  }
  return 0;
}

/* The end of a file that is short enough for the metadata.  Returns whether it was. */
static bool settle_inline(struct settling *settling) {
  uint64_t last = settling->first + settling->count - 1;
  const uint8_t *data = settling->data + (settling->count - 1) * BLOCK_SIZE;
  uint64_t size = settling->record->size;
  if (size <= last * BLOCK_SIZE || size - last * BLOCK_SIZE > MAX_INLINE ||
      settling->unwritten[settling->count - 1] != 0)
    return false;
  uint32_t length = (uint32_t)(size - last * BLOCK_SIZE);
  if (!is_zero(data, length))
    data_put_extent(settling->volume, settling->id,
                    &(struct extent){last, EXTENT_INLINE, length, 0, data});
  return true;
}

int data_place_blocks(struct settling *settling) {
  const uint8_t *data = settling->data;
  uint64_t count = settle_inline(settling) ? settling->count - 1 : settling->count;
  int r = 0;
  for (uint64_t at = 0, end; r == 0 && at < count; at = end) {
    bool zero = is_zero(data + at * BLOCK_SIZE, BLOCK_SIZE);
    for (end = at + 1; end < count && is_zero(data + end * BLOCK_SIZE, BLOCK_SIZE) == zero;)
      end++;
    if (zero)
      settle_zeros(settling, at, end - at);
    else
      r = settle_data(settling, at, end - at);
  }
  return r;
}

/* Collect count whole blocks of data, at most MAX_EXTENT_BLOCKS, as the file's contents from block
 * `first` on; record->size is the new size. */
static int settle_blocks(casefs_volume *volume, uint64_t id, struct node_record *record,
                         const uint8_t *data, uint64_t first, uint64_t count, bool pieces_only) {
  struct settling settling = {.volume = volume,
                              .id = id,
                              .record = record,
                              .data = data,
                              .first = first,
                              .count = count,
                              .pieces_only = pieces_only};
  bool more;
  int r = data_unmap(volume, id, first, count, MAX_EXTENT_BLOCKS + 1, record, settling.unwritten,
                     &more);
  return r < 0 ? r : data_place_blocks(&settling);
}

int data_settle(casefs_node *node, struct node_record *record, bool pieces_only) {
  uint64_t end = node->buffer_start + node->buffer_length;
  size_t tail = end % BLOCK_SIZE;
  int r = 0;

  if (node->buffer_length == 0)
    return 0;
  if (tail != 0) {
    /* The rest of the last block; the buffer always has room for whole blocks. */
    size_t rest = BLOCK_SIZE - tail;
    uint8_t *bytes = node->buffer + node->buffer_length;
    memset(bytes, 0, rest);
    if (end < record->size)
      r = data_read_mapped(node->volume, node->id, bytes,
                           rest < record->size - end ? rest : (size_t)(record->size - end), end);
  }
  if (r == 0)
    r = settle_blocks(node->volume, node->id, record, node->buffer, node->buffer_start / BLOCK_SIZE,
                      blocks_for(node->buffer_length), pieces_only);
  return r;
}

void data_drop_buffer(casefs_node *node) {
  pthread_mutex_lock(&node->lock);
  node->volume->buffered -= node->buffer_capacity;
  free(node->buffer);
  node->buffer = NULL;
  node->buffer_length = node->buffer_capacity = 0;
  pthread_mutex_unlock(&node->lock);
}

/* ------------------------------------------------------------------------- writing */

uint64_t data_quads(const casefs_volume *volume) {
  return 2 * ((uint64_t)volume->tree.level + 3);
}

/* How many of a file's blocks have no unwritten extent to be written to. */
static int count_new_blocks(casefs_node *node, uint64_t first, uint64_t count,
                            uint64_t *new_blocks) {
  struct data_mapping mapping;
  *new_blocks = count;
  for (uint64_t block = first; node->record.blocks > 0 && block < first + count;) {
    int r = data_find_extent(node->volume, node->id, block, &mapping);
    if (r == -ENOENT || (r == 0 && mapping.extent.first >= first + count))
      break;
    if (r < 0)
      return r;
    uint64_t start = mapping.extent.first > first ? mapping.extent.first : first;
    uint64_t end = mapping.extent.first + extent_blocks(&mapping.extent);
    if (end > first + count)
      end = first + count;
    if (mapping.extent.kind == EXTENT_UNWRITTEN)
      *new_blocks -= end - start;
    block = end;
  }
  return 0;
}

/* Promise space for writing blocks of a file; what was set aside for them keeps its promise. */
static int promise_writing(casefs_node *node, struct promise *promise, uint64_t quads,
                           uint64_t first, uint64_t count) {
  uint64_t new_blocks;
  int r = count_new_blocks(node, first, count, &new_blocks);
  return r < 0 ? r
               : promise_space(node->volume, promise, quads, new_blocks,
                               new_blocks > 0 ? PURPOSE_NORMAL : PURPOSE_SHRINK);
}

/* Whole blocks, from the caller's memory to the device. */
static int write_direct(casefs_node *node, const uint8_t *data, uint64_t first, uint64_t count,
                        bool stamp) {
  casefs_volume *volume = node->volume;
  struct promise promise = {0};
  int r = node->unsettled ? node_settle(node) : 0;
  if (r == 0)
    r = promise_writing(node, &promise, data_quads(volume), first, count);
  if (r < 0)
    return r;
  bool pieces_only = promise.pieces > 0;
  release_promise(volume, &promise);
  struct node_record record = node_record_of(node);
  if (record.size < (first + count) * BLOCK_SIZE)
    record.size = (first + count) * BLOCK_SIZE;
  if (stamp)
    record.modified = record.changed = casefs_now();
  r = settle_blocks(volume, node->id, &record, data, first, count, pieces_only);
  if (r < 0) {
    change_abandon(volume);
    return r;
  }
  node_store(volume, node->id, &record);
  r = change_apply(volume, PURPOSE_SETTLE);
  if (r == 0)
    node_set_record(node, &record);
  return r;
}

/* Let the buffer hold `length` bytes, up to BUFFER_SIZE. */
static int grow_buffer(casefs_node *node, size_t length) {
  if (length <= node->buffer_capacity)
    return 0;
  size_t capacity = node->buffer_capacity ? node->buffer_capacity : BLOCK_SIZE;
  while (capacity < length)
    capacity *= 4;
  if (capacity > BUFFER_SIZE)
    capacity = BUFFER_SIZE;
  pthread_mutex_lock(&node->lock);
  uint8_t *grown = realloc(node->buffer, capacity);
  if (grown) {
    node->volume->buffered += capacity - node->buffer_capacity;
    node->buffer = grown;
    node->buffer_capacity = capacity;
  }
  pthread_mutex_unlock(&node->lock);
  return grown ? 0 : -ENOMEM;
}

int data_start_buffer(casefs_node *node, uint64_t offset) {
  uint64_t start = offset - offset % BLOCK_SIZE;
  size_t head = offset % BLOCK_SIZE;
  uint64_t size = node->record.size;
  int r = grow_buffer(node, BLOCK_SIZE);
  if (r < 0)
    return r;
  memset(node->buffer, 0, head);
  if (head > 0 && start < size)
    r = data_read_mapped(node->volume, node->id, node->buffer,
                         head < size - start ? head : (size_t)(size - start), start);
  if (r < 0)
    return r;
  pthread_mutex_lock(&node->lock);
  node->buffer_start = start;
  node->buffer_length = head;
  pthread_mutex_unlock(&node->lock);
  return 0;
}

/* Promise space for a buffer that begins at start and has that length, if it has none yet. */
static int promise_buffer(casefs_node *node, uint64_t start, size_t length) {
  uint64_t had = node->buffer_length > 0 ? blocks_for(node->buffer_length) : 0;
  uint64_t need = blocks_for(length);
  uint64_t quads = node->buffer_length > 0 ? 0 : data_quads(node->volume);
  return need == had && quads == 0
             ? 0
             : promise_writing(node, &node->promise, quads, start / BLOCK_SIZE + had, need - had);
}

static bool fits_buffer(const casefs_node *node, uint64_t offset) {
  return node->buffer_length > 0 && offset >= node->buffer_start &&
         offset <= node->buffer_start + node->buffer_length &&
         offset < node->buffer_start + BUFFER_SIZE;
}

/* Put bytes in the buffer; returns how many it took. */
static int64_t write_buffered(casefs_node *node, const uint8_t *data, size_t count, uint64_t offset,
                              bool stamp) {
  int r = 0;
  if (node->buffer_length > 0 && !fits_buffer(node, offset))
    r = node_settle(node);
  if (r == 0 && node->volume->buffered > BUFFERED_LIMIT)
    r = settle_all(node->volume);
  if (r == 0)
    r = node_touch(node, PURPOSE_SHRINK);
  uint64_t start = node->buffer_length > 0 ? node->buffer_start : offset - offset % BLOCK_SIZE;
  size_t at = (size_t)(offset - start);
  if (count > BUFFER_SIZE - at)
    count = BUFFER_SIZE - at;
  size_t length = at + count > node->buffer_length ? at + count : node->buffer_length;
  if (r == 0)
    r = promise_buffer(node, start, length);
  if (r == 0 && node->buffer_length == 0)
    r = data_start_buffer(node, offset);
  if (r == 0)
    r = grow_buffer(node, blocks_for(length) * BLOCK_SIZE);
  if (r < 0)
    return r;
  pthread_mutex_lock(&node->lock);
  memcpy(node->buffer + at, data, count);
  node->buffer_length = length;
  if (node->record.size < offset + count)
    node->record.size = offset + count;
  if (stamp)
    node->record.modified = node->record.changed = casefs_now();
  pthread_mutex_unlock(&node->lock);
  node->volume->changes++;
  return (int64_t)count;
}

static int64_t write_some(casefs_node *node, const uint8_t *data, size_t count, uint64_t offset,
                          bool stamp) {
  if (offset % BLOCK_SIZE == 0 && count >= DIRECT_SIZE) {
    uint64_t blocks = count / BLOCK_SIZE;
    if (blocks > MAX_EXTENT_BLOCKS)
      blocks = MAX_EXTENT_BLOCKS;
    int r = write_direct(node, data, offset / BLOCK_SIZE, blocks, stamp);
    return r < 0 ? r : (int64_t)(blocks * BLOCK_SIZE);
  }
  /* Up to where a whole block begins that is large enough to go directly. */
  if (count >= DIRECT_SIZE + BLOCK_SIZE && node->buffer_length == 0)
    count = BLOCK_SIZE - offset % BLOCK_SIZE;
  return write_buffered(node, data, count, offset, stamp);
}

static int64_t write_all(casefs_node *node, const void *buffer, size_t count, uint64_t offset,
                         bool stamp) {
  const uint8_t *data = buffer;
  unsigned tries = 0;
  size_t done = 0;
  int64_t r = data_check_node(node);

  if (r < 0)
    return r;
  if (offset > CASEFS_MAX_SIZE || count > CASEFS_MAX_SIZE - offset)
    return -EFBIG;
  do {
    r = change_begin(node->volume);
    if (r < 0)
      break;
    if (node_record_of(node).size < offset + count)
      r = data_finish_truncation(node);
    while (r >= 0 && done < count) {
      r = write_some(node, data + done, count - done, offset + done, stamp);
      if (r > 0)
        done += (size_t)r;
    }
    change_end(node->volume);
  } while (try_again(node->volume, r, &tries));
  return done > 0 || r >= 0 ? (int64_t)done : r;
}

int64_t casefs_write(casefs_node *node, const void *buffer, size_t count, uint64_t offset) {
  return write_all(node, buffer, count, offset, true);
}

int64_t casefs_write_back(casefs_node *node, const void *buffer, size_t count, uint64_t offset) {
  return write_all(node, buffer, count, offset, false);
}
