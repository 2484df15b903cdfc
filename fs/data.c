/* SPDX-License-Identifier: BSD-3-Clause
 *
 * File data.  What is written gathers in the node's buffer, one range of at most
 * BUFFER_SIZE, until that is full, something else is written, or a commit comes:
 * then it is settled.  Settling finds new blocks, writes them, and collects the
 * new extents.  Large aligned writes go the same way without the buffer.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "volume.h"

#define BUFFER_SIZE ((size_t)MAX_EXTENT_BLOCKS * BLOCK_SIZE)
#define DIRECT_SIZE ((size_t)64 << 10)    /* writes from this size on need no buffer */
#define BUFFERED_LIMIT ((size_t)16 << 20) /* bytes in the buffers of all nodes */
#define REMOVED_AT_ONCE 256u              /* extents that one change removes */
#define ALLOCATED_AT_ONCE 64u             /* unwritten extents that one change adds */
#define NO_LIMIT UINT64_MAX

static uint64_t blocks_for(uint64_t bytes) {
  return bytes / BLOCK_SIZE + (bytes % BLOCK_SIZE != 0);
}

/* 0, -EISDIR or -EINVAL. */
static int check_data_node(casefs_node *node) {
  uint8_t type = node_record_of(node).type;
  return type == CASEFS_DIRECTORY                       ? -EISDIR
         : type == CASEFS_FILE || type == CASEFS_STREAM ? 0
                                                        : -EINVAL;
}

/* ---------------------------------------------------------------------- extents */

/* An extent with the record that it points into. */
struct mapping {
  struct extent extent;
  struct tree_record record;
};

static int decode_mapping(casefs_volume *volume, struct mapping *mapping) {
  return extent_decode(&mapping->extent, &mapping->record.key, mapping->record.value,
                       mapping->record.length, volume->tree.blocks);
}

/* The extent that covers a block of a file, or else the first after it.  -ENOENT. */
static int find_extent(casefs_volume *volume, uint64_t id, uint64_t block,
                       struct mapping *mapping) {
  struct key key;
  key_extent(&key, id, block);
  int r = tree_seek_back(&volume->tree, &key, &mapping->record);
  if (r < 0 && r != -ENOENT)
    return r;
  if (r == 0 && mapping->record.key.length == key.length &&
      memcmp(mapping->record.key.bytes, key.bytes, KEY_PREFIX) == 0) {
    r = decode_mapping(volume, mapping);
    if (r < 0 || mapping->extent.first + extent_blocks(&mapping->extent) > block)
      return r;
  }
  r = tree_seek_prefix(&volume->tree, &key, KEY_PREFIX, &mapping->record);
  return r < 0 ? r : decode_mapping(volume, mapping);
}

/* Collect an extent: header, then detail. */
static void put_extent(casefs_volume *volume, uint64_t id, const struct extent *extent) {
  uint8_t value[EXTENT_INLINE_HEADER + MAX_INLINE];
  uint32_t length = extent_header_encode(extent, value);
  uint32_t detail = extent->kind == EXTENT_DATA     ? 4 * extent->count
                    : extent->kind == EXTENT_INLINE ? extent->count
                                                    : 0;
  if (detail > 0)
    memcpy(value + length, extent->detail, detail);
  struct key key;
  key_extent(&key, id, extent->first);
  batch_put(&volume->batch, &key, value, length + detail);
}

/* Collect the part of an extent of blocks that begins `skip` blocks in. */
static void put_extent_part(casefs_volume *volume, uint64_t id, const struct extent *extent,
                            uint64_t skip, uint64_t count) {
  struct extent part = *extent;
  part.first += skip;
  part.block += skip;
  part.count = (uint32_t)count;
  if (part.kind == EXTENT_DATA)
    part.detail += 4 * skip;
  put_extent(volume, id, &part);
}

/* Collect the removal of what maps count blocks from first on: at most `limit` extents, *more tells
 * whether there are others.  With unwritten not NULL, blocks of unwritten extents are not freed but
 * put there, by block from first on. */
static int unmap(casefs_volume *volume, uint64_t id, uint64_t first, uint64_t count, unsigned limit,
                 struct node_record *record, uint64_t *unwritten, bool *more) {
  uint64_t last = count > NO_LIMIT - first ? NO_LIMIT : first + count;
  struct mapping mapping;
  const struct extent *extent = &mapping.extent;

  *more = false;
  for (uint64_t block = first; block < last; limit--) {
    int r = find_extent(volume, id, block, &mapping);
    if (r == -ENOENT || (r == 0 && extent->first >= last))
      return 0;
    if (r < 0)
      return r;
    if (limit == 0) {
      *more = true;
      return 0;
    }
    uint64_t blocks = extent_blocks(extent), end = extent->first + blocks;
    uint64_t left = extent->first < first ? first - extent->first : 0;
    uint64_t right = end > last ? end - last : 0;
    uint64_t middle = blocks - left - right;
    if (left > 0)
      put_extent_part(volume, id, extent, 0, left);
    else
      batch_remove(&volume->batch, &mapping.record.key);
    if (right > 0)
      put_extent_part(volume, id, extent, blocks - right, right);
    if (extent->kind != EXTENT_INLINE)
      record->blocks -= middle < record->blocks ? middle : record->blocks;
    if (extent->kind == EXTENT_UNWRITTEN && unwritten)
      for (uint64_t i = 0; i < middle; i++)
        unwritten[extent->first + left + i - first] = extent->block + left + i;
    else if (extent->kind != EXTENT_INLINE)
      r = free_blocks(volume, extent->block + left, middle);
    if (r < 0)
      return r;
    block = end;
  }
  return 0;
}

int data_remove_extents(casefs_volume *volume, uint64_t id, uint64_t first, unsigned limit,
                        struct node_record *record, bool *more) {
  return unmap(volume, id, first, NO_LIMIT, limit, record, NULL, more);
}

/* ----------------------------------------------------------------------- reading */

/* Whether blocks of a data extent, `skip` blocks in, are what was written. */
static bool sums_match(const struct extent *extent, uint64_t skip, const uint8_t *bytes,
                       uint64_t count) {
  for (uint64_t i = 0; i < count; i++)
    if ((uint32_t)checksum(bytes + i * BLOCK_SIZE, BLOCK_SIZE) !=
        load32(extent->detail + 4 * (skip + i)))
      return false;
  return true;
}

/* Read whole blocks of a data extent. */
static int read_blocks(casefs_volume *volume, const struct extent *extent, uint64_t skip,
                       uint8_t *bytes, uint64_t count) {
  int r =
      device_read(volume->device, bytes, count * BLOCK_SIZE, (extent->block + skip) * BLOCK_SIZE);
  return r < 0 ? r : sums_match(extent, skip, bytes, count) ? 0 : -EUCLEAN;
}

/* Read from an extent of data: as much of count bytes as it has, at least one. */
static int64_t read_data_extent(casefs_volume *volume, const struct extent *extent, uint8_t *buffer,
                                size_t count, uint64_t offset) {
  uint64_t skip = offset / BLOCK_SIZE - extent->first;
  size_t in_block = offset % BLOCK_SIZE;
  if (in_block == 0 && count >= BLOCK_SIZE) {
    uint64_t blocks = count / BLOCK_SIZE;
    if (blocks > extent->count - skip)
      blocks = extent->count - skip;
    int r = read_blocks(volume, extent, skip, buffer, blocks);
    return r < 0 ? r : (int64_t)(blocks * BLOCK_SIZE);
  }
  uint8_t block[BLOCK_SIZE];
  int r = read_blocks(volume, extent, skip, block, 1);
  if (r < 0)
    return r;
  if (count > BLOCK_SIZE - in_block)
    count = BLOCK_SIZE - in_block;
  memcpy(buffer, block + in_block, count);
  return (int64_t)count;
}

static int64_t read_inline_extent(const struct extent *extent, uint8_t *buffer, size_t count,
                                  uint64_t offset) {
  size_t in_block = offset % BLOCK_SIZE;
  if (count > BLOCK_SIZE - in_block)
    count = BLOCK_SIZE - in_block;
  memset(buffer, 0, count);
  if (in_block < extent->count) {
    size_t have = extent->count - in_block;
    memcpy(buffer, extent->detail + in_block, have < count ? have : count);
  }
  return (int64_t)count;
}

/* Read what one mapping tells, at least one byte. */
static int64_t read_mapping(casefs_volume *volume, int found, const struct mapping *mapping,
                            uint8_t *buffer, size_t count, uint64_t offset) {
  const struct extent *extent = &mapping->extent;
  uint64_t block = offset / BLOCK_SIZE;
  if (found == -ENOENT || extent->first > block) {
    if (found == 0 && extent->first * BLOCK_SIZE - offset < count)
      count = extent->first * BLOCK_SIZE - offset;
    memset(buffer, 0, count);
    return (int64_t)count;
  }
  if (extent->kind == EXTENT_DATA)
    return read_data_extent(volume, extent, buffer, count, offset);
  if (extent->kind == EXTENT_INLINE)
    return read_inline_extent(extent, buffer, count, offset);
  uint64_t end = (extent->first + extent->count) * BLOCK_SIZE;
  if (end - offset < count)
    count = end - offset;
  memset(buffer, 0, count);
  return (int64_t)count;
}

static bool same_record(const struct tree_record *a, const struct tree_record *b) {
  return a->key.length == b->key.length && a->length == b->length &&
         memcmp(a->key.bytes, b->key.bytes, a->key.length) == 0 &&
         memcmp(a->value, b->value, a->length) == 0;
}

/* Read what the tree and the device hold, past the node's buffer. */
static int read_mapped(casefs_volume *volume, uint64_t id, uint8_t *buffer, size_t count,
                       uint64_t offset) {
  struct mapping mapping, failed;
  bool has_failed = false;

  while (count > 0) {
    int r = find_extent(volume, id, offset / BLOCK_SIZE, &mapping);
    if (r < 0 && r != -ENOENT)
      return r;
    int64_t done = read_mapping(volume, r, &mapping, buffer, count, offset);
    if (done == -EUCLEAN && !(has_failed && same_record(&failed.record, &mapping.record))) {
      /* The file may have been written meanwhile, and the blocks used again: look once more. */
      failed.record = mapping.record;
      has_failed = true;
      continue;
    }
    if (done < 0)
      return (int)done;
    has_failed = false;
    buffer += done;
    offset += (uint64_t)done;
    count -= (size_t)done;
  }
  return 0;
}

/* Copy what the node's buffer has of a range that begins in it; or return how far it is to the
 * buffer, as a negative number of bytes. */
static int64_t read_buffered(const casefs_node *node, uint8_t *buffer, size_t count,
                             uint64_t offset) {
  uint64_t end = node->buffer_start + node->buffer_length;
  if (node->buffer_length > 0 && offset >= node->buffer_start && offset < end) {
    if (count > end - offset)
      count = end - offset;
    memcpy(buffer, node->buffer + (offset - node->buffer_start), count);
    return (int64_t)count;
  }
  if (node->buffer_length > 0 && offset < node->buffer_start && node->buffer_start - offset < count)
    count = node->buffer_start - offset;
  return -(int64_t)count;
}

int64_t casefs_read(casefs_node *node, void *buffer, size_t count, uint64_t offset) {
  int r = check_data_node(node);
  if (r < 0)
    return r;
  uint8_t *bytes = buffer;
  size_t done = 0;
  while (done < count) {
    size_t part = count - done;
    if (part > INT32_MAX)
      part = INT32_MAX;
    pthread_mutex_lock(&node->lock);
    uint64_t size = node->record.size;
    if (offset >= size) {
      pthread_mutex_unlock(&node->lock);
      break;
    }
    if (part > size - offset)
      part = size - offset;
    int64_t here = read_buffered(node, bytes + done, part, offset);
    pthread_mutex_unlock(&node->lock);
    if (here < 0) {
      here = -here;
      r = read_mapped(node->volume, node->id, bytes + done, (size_t)here, offset);
      if (r < 0)
        return done > 0 ? (int64_t)done : volume_result(node->volume, r);
    }
    done += (size_t)here;
    offset += (uint64_t)here;
  }
  volume_trim(node->volume);
  return (int64_t)done;
}

/* ----------------------------------------------------------------------- settling */

static bool is_zero(const uint8_t *bytes, size_t count) {
  return bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0;
}

/* Blocks of one file to be written, in order. */
struct settling {
  casefs_volume *volume;
  uint64_t id;
  struct node_record *record;
  const uint8_t *data;
  uint64_t first, count;
  uint64_t unwritten[MAX_EXTENT_BLOCKS]; /* block to write to that is the file's already, or 0 */
  bool pieces_only;
};

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
  put_extent(
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
    put_extent(
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
    put_extent(settling->volume, settling->id,
               &(struct extent){last, EXTENT_INLINE, length, 0, data});
  return true;
}

/* Give blocks that nothing maps any more their places. */
static int place_blocks(struct settling *settling) {
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
  int r = unmap(volume, id, first, count, MAX_EXTENT_BLOCKS + 1, record, settling.unwritten, &more);
  return r < 0 ? r : place_blocks(&settling);
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
      r = read_mapped(node->volume, node->id, bytes,
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

/* The tree's part of settling a range: its way down, and a split, for node and extent. */
static uint64_t quads_for_settling(const casefs_volume *volume) {
  return 2 * ((uint64_t)volume->tree.level + 3);
}

/* How many of a file's blocks have no unwritten extent to be written to. */
static int count_new_blocks(casefs_node *node, uint64_t first, uint64_t count,
                            uint64_t *new_blocks) {
  struct mapping mapping;
  *new_blocks = count;
  for (uint64_t block = first; node->record.blocks > 0 && block < first + count;) {
    int r = find_extent(node->volume, node->id, block, &mapping);
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
static int write_direct(casefs_node *node, const uint8_t *data, uint64_t first, uint64_t count) {
  casefs_volume *volume = node->volume;
  struct promise promise = {0};
  int r = node->unsettled ? node_settle(node) : 0;
  if (r == 0)
    r = promise_writing(node, &promise, quads_for_settling(volume), first, count);
  if (r < 0)
    return r;
  bool pieces_only = promise.pieces > 0;
  release_promise(volume, &promise);
  struct node_record record = node_record_of(node);
  if (record.size < (first + count) * BLOCK_SIZE)
    record.size = (first + count) * BLOCK_SIZE;
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

/* Begin a buffer at a block, with the bytes before offset that are there already. */
static int start_buffer(casefs_node *node, uint64_t offset) {
  uint64_t start = offset - offset % BLOCK_SIZE;
  size_t head = offset % BLOCK_SIZE;
  uint64_t size = node->record.size;
  int r = grow_buffer(node, BLOCK_SIZE);
  if (r < 0)
    return r;
  memset(node->buffer, 0, head);
  if (head > 0 && start < size)
    r = read_mapped(node->volume, node->id, node->buffer,
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
  uint64_t quads = node->buffer_length > 0 ? 0 : quads_for_settling(node->volume);
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
static int64_t write_buffered(casefs_node *node, const uint8_t *data, size_t count,
                              uint64_t offset) {
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
    r = start_buffer(node, offset);
  if (r == 0)
    r = grow_buffer(node, blocks_for(length) * BLOCK_SIZE);
  if (r < 0)
    return r;
  pthread_mutex_lock(&node->lock);
  memcpy(node->buffer + at, data, count);
  node->buffer_length = length;
  if (node->record.size < offset + count)
    node->record.size = offset + count;
  node->record.modified = node->record.changed = casefs_now();
  pthread_mutex_unlock(&node->lock);
  node->volume->changes++;
  return (int64_t)count;
}

static int64_t write_some(casefs_node *node, const uint8_t *data, size_t count, uint64_t offset) {
  if (offset % BLOCK_SIZE == 0 && count >= DIRECT_SIZE) {
    uint64_t blocks = count / BLOCK_SIZE;
    if (blocks > MAX_EXTENT_BLOCKS)
      blocks = MAX_EXTENT_BLOCKS;
    int r = write_direct(node, data, offset / BLOCK_SIZE, blocks);
    return r < 0 ? r : (int64_t)(blocks * BLOCK_SIZE);
  }
  /* Up to where a whole block begins that is large enough to go directly. */
  if (count >= DIRECT_SIZE + BLOCK_SIZE && node->buffer_length == 0)
    count = BLOCK_SIZE - offset % BLOCK_SIZE;
  return write_buffered(node, data, count, offset);
}

/* Remove the extents past the end, in as many changes as it takes. */
static int remove_past_end(casefs_node *node) {
  casefs_volume *volume = node->volume;
  bool more = true;
  int r = 0;
  while (r == 0 && more) {
    struct node_record record = node_record_of(node);
    r = data_remove_extents(volume, node->id, blocks_for(record.size), REMOVED_AT_ONCE, &record,
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

/* Nothing that an unfinished truncation has left may show when a file grows. */
static int finish_truncation(casefs_node *node) {
  return node->volume->truncations_left ? remove_past_end(node) : 0;
}

int64_t casefs_write(casefs_node *node, const void *buffer, size_t count, uint64_t offset) {
  const uint8_t *data = buffer;
  unsigned tries = 0;
  size_t done = 0;
  int64_t r = check_data_node(node);

  if (r < 0)
    return r;
  if (offset > CASEFS_MAX_SIZE || count > CASEFS_MAX_SIZE - offset)
    return -EFBIG;
  do {
    r = change_begin(node->volume);
    if (r < 0)
      break;
    if (node_record_of(node).size < offset + count)
      r = finish_truncation(node);
    while (r >= 0 && done < count) {
      r = write_some(node, data + done, count - done, offset + done);
      if (r > 0)
        done += (size_t)r;
    }
    change_end(node->volume);
  } while (try_again(node->volume, r, &tries));
  return done > 0 || r >= 0 ? (int64_t)done : r;
}

/* ----------------------------------------------------------------- size and holes */

/* Have the last, partial block of a file that is to end at `size` in the buffer, so that what
 * follows in it can be cut off. */
static int buffer_last_block(casefs_node *node, uint64_t size) {
  struct mapping mapping;
  uint64_t start = size - size % BLOCK_SIZE;

  if (start == size || (node->buffer_length > 0 && node->buffer_start <= start &&
                        node->buffer_start + node->buffer_length >= size))
    return 0;
  int r = find_extent(node->volume, node->id, start / BLOCK_SIZE, &mapping);
  if (r == -ENOENT || (r == 0 && (mapping.extent.first > start / BLOCK_SIZE ||
                                  mapping.extent.kind == EXTENT_UNWRITTEN)))
    return 0;
  if (r == 0 && node->buffer_length > 0)
    r = node_settle(node);
  if (r == 0)
    r = node_touch(node, PURPOSE_SHRINK);
  if (r == 0)
    r = promise_space(node->volume, &node->promise, quads_for_settling(node->volume), 1,
                      PURPOSE_SHRINK);
  return r == 0 ? start_buffer(node, size) : r;
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
  r = data_remove_extents(volume, node->id, blocks_for(size), REMOVED_AT_ONCE, &record, &more);
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
  int r = finish_truncation(node);
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
  int r = check_data_node(node);
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
  int r = read_mapped(node->volume, node->id, bytes, BLOCK_SIZE, start);
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
  return place_blocks(&settling);
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
  int r = promise_space(volume, &promise, quads_for_settling(volume), ends ? 2 : 0, PURPOSE_SHRINK);
  bool pieces_only = promise.pieces > 0;
  release_promise(volume, &promise);
  if (r < 0)
    return r;
  struct node_record record = node_record_of(node);
  uint64_t first = ends ? offset / BLOCK_SIZE : blocks_for(offset);
  uint64_t last = ends || end == record.size ? blocks_for(end) : end / BLOCK_SIZE;
  *more = false;
  if (first < last)
    r = unmap(volume, node->id, first, last - first, REMOVED_AT_ONCE, &record, NULL, more);
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
  int r = check_data_node(node);
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
  struct mapping mapping;
  for (unsigned extents = 0; *block < last && extents < ALLOCATED_AT_ONCE;) {
    int r = find_extent(node->volume, node->id, *block, &mapping);
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
    r = promise_space(node->volume, &promise, quads_for_settling(node->volume), want,
                      PURPOSE_NORMAL);
    bool pieces_only = promise.pieces > 0;
    release_promise(node->volume, &promise);
    struct block_run run;
    if (r == 0)
      r = allocate_blocks(node->volume, want, pieces_only, &run);
    if (r < 0)
      return r;
    put_extent(node->volume, node->id,
               &(struct extent){*block, EXTENT_UNWRITTEN, (uint32_t)run.count, run.block, NULL});
    record->blocks += run.count;
    *block += run.count;
    extents++;
  }
  return 0;
}

static int allocate(casefs_node *node, uint64_t offset, uint64_t end, bool keep_size) {
  int r = finish_truncation(node);
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
  int r = check_data_node(node);
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

/* --------------------------------------------------------------------- the map */

static void describe_mapping(const struct extent *extent, uint64_t offset,
                             struct casefs_extent *out) {
  uint64_t skip = offset / BLOCK_SIZE - extent->first;
  out->kind = extent->kind == EXTENT_DATA     ? CASEFS_EXTENT_DATA
              : extent->kind == EXTENT_INLINE ? CASEFS_EXTENT_INLINE
                                              : CASEFS_EXTENT_UNWRITTEN;
  out->count = (extent->first + extent_blocks(extent)) * BLOCK_SIZE - offset;
  if (extent->kind != EXTENT_INLINE)
    out->device_offset = (extent->block + skip) * BLOCK_SIZE + offset % BLOCK_SIZE;
}

int casefs_get_extent(casefs_node *node, uint64_t offset, struct casefs_extent *out) {
  struct mapping mapping;
  int r = check_data_node(node);
  if (r < 0)
    return r;
  pthread_mutex_lock(&node->lock);
  uint64_t size = node->record.size, start = node->buffer_start;
  uint64_t end = start + node->buffer_length;
  bool buffered = node->buffer_length > 0;
  pthread_mutex_unlock(&node->lock);
  if (offset >= size)
    return 0;
  *out = (struct casefs_extent){CASEFS_EXTENT_HOLE, offset, size - offset, 0};
  if (buffered && offset >= start && offset < end) {
    out->kind = CASEFS_EXTENT_MEMORY;
    out->count = end - offset;
    return 1;
  }
  r = find_extent(node->volume, node->id, offset / BLOCK_SIZE, &mapping);
  if (r < 0 && r != -ENOENT)
    return volume_result(node->volume, r);
  if (r == 0 && mapping.extent.first <= offset / BLOCK_SIZE)
    describe_mapping(&mapping.extent, offset, out);
  else if (r == 0)
    out->count = mapping.extent.first * BLOCK_SIZE - offset;
  if (buffered && offset < start && out->count > start - offset)
    out->count = start - offset;
  if (out->count > size - offset)
    out->count = size - offset;
  return 1;
}
