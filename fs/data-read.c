/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Extents of file data, and reading them.
 */

#include "data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int data_check_node(casefs_node *node) {
  uint8_t type = node_record_of(node).type;
  return type == CASEFS_DIRECTORY                       ? -EISDIR
         : type == CASEFS_FILE || type == CASEFS_STREAM ? 0
                                                        : -EINVAL;
}

/* ---------------------------------------------------------------------- extents */

static int decode_mapping(casefs_volume *volume, struct data_mapping *mapping) {
  return extent_decode(&mapping->extent, &mapping->record.key, mapping->record.value,
                       mapping->record.length, volume->tree.blocks);
}

int data_find_extent(casefs_volume *volume, uint64_t id, uint64_t block,
                     struct data_mapping *mapping) {
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

void data_put_extent(casefs_volume *volume, uint64_t id, const struct extent *extent) {
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
  data_put_extent(volume, id, &part);
}

int data_unmap(casefs_volume *volume, uint64_t id, uint64_t first, uint64_t count, unsigned limit,
               struct node_record *record, uint64_t *unwritten, bool *more) {
  uint64_t last = count > NO_LIMIT - first ? NO_LIMIT : first + count;
  struct data_mapping mapping;
  const struct extent *extent = &mapping.extent;

  *more = false;
  for (uint64_t block = first; block < last; limit--) {
    int r = data_find_extent(volume, id, block, &mapping);
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
  return data_unmap(volume, id, first, NO_LIMIT, limit, record, NULL, more);
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
static int64_t read_mapping(casefs_volume *volume, int found, const struct data_mapping *mapping,
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

int data_read_mapped(casefs_volume *volume, uint64_t id, uint8_t *buffer, size_t count,
                     uint64_t offset) {
  struct data_mapping mapping, failed;
  bool has_failed = false;

  while (count > 0) {
    int r = data_find_extent(volume, id, offset / BLOCK_SIZE, &mapping);
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
  int r = data_check_node(node);
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
      r = data_read_mapped(node->volume, node->id, bytes + done, (size_t)here, offset);
      if (r < 0)
        return done > 0 ? (int64_t)done : volume_result(node->volume, r);
    }
    done += (size_t)here;
    offset += (uint64_t)here;
  }
  volume_trim(node->volume);
  return (int64_t)done;
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
  struct data_mapping mapping;
  int r = data_check_node(node);
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
  r = data_find_extent(node->volume, node->id, offset / BLOCK_SIZE, &mapping);
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
