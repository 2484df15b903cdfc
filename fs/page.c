/* SPDX-License-Identifier: BSD-3-Clause */

#include "page.h"

#include <errno.h>
#include <string.h>

static const uint8_t magic[4] = {'C', 'F', 'T', 'N'};

/* In memory, bytes 26 and 27 count the bytes in gaps between records; on a device they are zero. */
static uint32_t gaps(const uint8_t *page) {
  return load16(page + 26);
}

static uint32_t heap(const uint8_t *page) {
  return load16(page + 24);
}

static void set_counts(uint8_t *page, unsigned count, uint32_t new_heap, uint32_t new_gaps) {
  store16(page + 6, (uint16_t)count);
  store16(page + 24, (uint16_t)new_heap);
  store16(page + 26, (uint16_t)new_gaps);
}

void page_create(uint8_t *page, unsigned level, const uint8_t *uuid) {
  memset(page, 0, PAGE_HEADER);
  memcpy(page, magic, sizeof magic);
  page[4] = (uint8_t)level;
  memcpy(page + 28, uuid, 4);
  set_counts(page, 0, NODE_SIZE, 0);
}

uint32_t page_used(const uint8_t *page) {
  return 2 * page_count(page) + NODE_SIZE - heap(page) - gaps(page);
}

int key_compare(const uint8_t *a, uint32_t a_length, const uint8_t *b, uint32_t b_length) {
  int order = memcmp(a, b, a_length < b_length ? a_length : b_length);
  return order ? order : (a_length > b_length) - (a_length < b_length);
}

void page_compact(const uint8_t *page, uint8_t *to) {
  unsigned count = page_count(page);
  uint32_t end = NODE_SIZE;

  memcpy(to, page, PAGE_HEADER);
  for (unsigned i = 0; i < count; i++) {
    const uint8_t *record = page_record(page, i);
    uint32_t size = 4u + load16(record) + load16(record + 2);
    end -= size;
    memcpy(to + end, record, size);
    store16(to + PAGE_HEADER + 2 * i, (uint16_t)end);
  }
  memset(to + PAGE_HEADER + 2 * count, 0, end - PAGE_HEADER - 2 * count);
  set_counts(to, count, end, 0);
}

void page_insert(uint8_t *page, unsigned i, const uint8_t *key, uint32_t key_length,
                 const uint8_t *value, uint32_t value_length) {
  unsigned count = page_count(page);
  uint32_t size = 4 + key_length + value_length;

  if (heap(page) - PAGE_HEADER - 2 * count < size + 2) {
    uint8_t copy[NODE_SIZE];
    page_compact(page, copy);
    memcpy(page, copy, NODE_SIZE);
  }
  uint32_t start = heap(page) - size;
  uint8_t *slot = page + PAGE_HEADER + 2 * i;
  memmove(slot + 2, slot, 2 * (count - i));
  store16(slot, (uint16_t)start);
  store16(page + start, (uint16_t)key_length);
  store16(page + start + 2, (uint16_t)value_length);
  memcpy(page + start + 4, key, key_length);
  if (value_length > 0)
    memcpy(page + start + 4 + key_length, value, value_length);
  set_counts(page, count + 1, start, gaps(page));
}

void page_remove(uint8_t *page, unsigned i) {
  unsigned count = page_count(page);
  const uint8_t *record = page_record(page, i);
  uint32_t size = 4u + load16(record) + load16(record + 2);
  bool lowest = record == page + heap(page);
  uint8_t *slot = page + PAGE_HEADER + 2 * i;

  memmove(slot, slot + 2, 2 * (count - i - 1));
  if (count == 1)
    set_counts(page, 0, NODE_SIZE, 0);
  else if (lowest)
    set_counts(page, count - 1, heap(page) + size, gaps(page));
  else
    set_counts(page, count - 1, heap(page), gaps(page) + size);
}

void page_split(uint8_t *page, unsigned i, uint8_t *to) {
  unsigned count = page_count(page);

  for (unsigned j = i; j < count; j++) {
    const uint8_t *record = page_record(page, j);
    uint32_t key_length = load16(record), value_length = load16(record + 2);
    page_insert(to, j - i, record + 4, key_length, record + 4 + key_length, value_length);
  }
  for (unsigned j = count; j > i; j--)
    page_remove(page, j - 1);
}

/* Whether record i is inside the page, from heap on, and has lengths that its level allows. */
static bool record_is_sound(const uint8_t *page, unsigned i) {
  uint32_t offset = load16(page + PAGE_HEADER + 2 * i);
  if (offset < heap(page) || offset + 4 > NODE_SIZE)
    return false;
  uint32_t key_length = load16(page + offset), value_length = load16(page + offset + 2);
  if (key_length == 0 || key_length > MAX_KEY || 4 + key_length + value_length > MAX_RECORD ||
      offset + 4 + key_length + value_length > NODE_SIZE)
    return false;
  return page_level(page) == 0 || value_length == POINTER_SIZE;
}

/* Whether a pointer in an inner page may be followed. */
static bool pointer_is_sound(const uint8_t *page, unsigned i, uint64_t volume_blocks) {
  uint32_t length;
  struct pointer child = load_pointer(page_value(page, i, &length));
  return child.block >= FIRST_BLOCK && child.block % QUAD_BLOCKS == 0 &&
         child.block <= volume_blocks - RING_SLOTS - QUAD_BLOCKS &&
         child.generation <= load64(page + 8);
}

/* Whether the records stand one after the other from heap to the end, none shared or overlapping.
 */
static bool records_fill_heap(const uint8_t *page) {
  uint8_t starts[NODE_SIZE / 8] = {0};
  unsigned count = page_count(page), found = 0;
  for (unsigned i = 0; i < count; i++) {
    uint32_t offset = load16(page + PAGE_HEADER + 2 * i);
    starts[offset / 8] |= (uint8_t)(1u << offset % 8);
  }
  for (uint32_t at = heap(page); at < NODE_SIZE; found++) {
    if (!(starts[at / 8] & 1u << at % 8))
      return false;
    at += 4u + load16(page + at) + load16(page + at + 2);
  }
  return found == count;
}

int page_check(const uint8_t *page, struct pointer pointer, unsigned level, const uint8_t *uuid,
               uint64_t volume_blocks) {
  unsigned count = page_count(page);

  if (memcmp(page, magic, sizeof magic) != 0 || page_level(page) != level ||
      load64(page + 8) != pointer.generation || load64(page + 16) != pointer.block ||
      gaps(page) != 0 || memcmp(page + 28, uuid, 4) != 0 || heap(page) > NODE_SIZE ||
      PAGE_HEADER + 2 * count > heap(page) || (level > 0 && count == 0))
    return -EUCLEAN;
  for (unsigned i = 0; i < count; i++) {
    if (!record_is_sound(page, i) || (level > 0 && !pointer_is_sound(page, i, volume_blocks)))
      return -EUCLEAN;
    if (i > 0) {
      uint32_t length, previous_length;
      const uint8_t *key = page_key(page, i, &length);
      const uint8_t *previous = page_key(page, i - 1, &previous_length);
      if (key_compare(previous, previous_length, key, length) >= 0)
        return -EUCLEAN;
    }
  }
  return records_fill_heap(page) ? 0 : -EUCLEAN;
}
