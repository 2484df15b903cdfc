/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Values that may be longer than a record: FORMAT.md, section 5.4.
 */

#include <errno.h>
#include <string.h>

#include "volume.h"

#define MAX_HEADER 300u

static uint16_t part_count(uint64_t length) {
  return (uint16_t)(length > PART_SIZE ? (length + PART_SIZE - 1) / PART_SIZE : 1);
}

/* How long part number `part` of a value is. */
static size_t part_length(uint64_t length, uint16_t part) {
  uint64_t left = length - (uint64_t)part * PART_SIZE;
  return left < PART_SIZE ? (size_t)left : PART_SIZE;
}

int parts_get(casefs_volume *volume, const struct key *prefix, void *header, size_t header_length,
              void *value, size_t size) {
  struct tree_record record;
  struct key key;

  key_part(&key, prefix, 0);
  int r = tree_get(&volume->tree, &key, &record);
  if (r < 0)
    return r == -ENOENT ? -ENODATA : r;
  size_t skip = 4 + header_length;
  if (record.length < skip)
    return -EUCLEAN;
  uint32_t length = load32(record.value);
  if (header)
    memcpy(header, record.value + 4, header_length);
  if (length > CASEFS_MAX_SECURITY)
    return -EUCLEAN;
  if (size == 0)
    return (int)length;
  if (size < length)
    return -ERANGE;
  for (uint16_t part = 0;;) {
    if (record.length != skip + part_length(length, part))
      return -EUCLEAN;
    memcpy((uint8_t *)value + (size_t)part * PART_SIZE, record.value + skip, record.length - skip);
    if (++part == part_count(length))
      return (int)length;
    skip = 0;
    key_part(&key, prefix, part);
    r = tree_get(&volume->tree, &key, &record);
    if (r < 0)
      return r == -ENOENT ? -EUCLEAN : r;
  }
}

void parts_put(casefs_volume *volume, const struct key *prefix, const void *header,
               size_t header_length, const void *value, size_t length, int64_t old) {
  uint8_t bytes[4 + MAX_HEADER + PART_SIZE];
  uint16_t count = part_count(length);
  struct key key;

  for (uint16_t part = 0; part < count; part++) {
    size_t skip = 0, here = part_length(length, part);
    if (part == 0) {
      store32(bytes, (uint32_t)length);
      if (header_length > 0)
        memcpy(bytes + 4, header, header_length);
      skip = 4 + header_length;
    }
    if (here > 0)
      memcpy(bytes + skip, (const uint8_t *)value + (size_t)part * PART_SIZE, here);
    key_part(&key, prefix, part);
    batch_put(&volume->batch, &key, bytes, skip + here);
  }
  for (uint16_t part = count; old >= 0 && part < part_count((uint64_t)old); part++) {
    key_part(&key, prefix, part);
    batch_remove(&volume->batch, &key);
  }
}

void parts_remove(casefs_volume *volume, const struct key *prefix, int64_t old) {
  struct key key;
  for (uint16_t part = 0; old >= 0 && part < part_count((uint64_t)old); part++) {
    key_part(&key, prefix, part);
    batch_remove(&volume->batch, &key);
  }
}
