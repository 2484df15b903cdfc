/* SPDX-License-Identifier: BSD-3-Clause */

#include "samba-blobs.h"

#include "../../fs/casefs.h"
#include "../../fs/format.h"

#include <stdio.h>
#include <string.h>

static size_t align(size_t at, size_t to) {
  return (at + to - 1) & ~(to - 1);
}

/* ------------------------------------------------------------------ attributes
 *
 *   a zero-terminated string, aligned to 2; u16 version; u16 version; aligned to 4;
 *   3:  u32 valid, u32 attributes, u32, u64, u64, u64 created, u64
 *   4:  u32 valid, u32 attributes, aligned to 8, u64, u64 created
 *   5:  u32 valid, u32 attributes, u64 created
 *
 * The string is the attributes, "0x22", or nothing.
 */
enum { VALID_ATTRIBUTES = 1, VALID_CREATED = 0x10 };

bool samba_parse_attributes(const void *value, size_t size, struct samba_attributes *attributes) {
  const uint8_t *bytes = value;
  size_t at = align(strnlen(value, size) + 1, 2);
  if (at + 4 > size)
    return false;
  unsigned version = load16(bytes + at);
  at = align(at + 4, 4);
  size_t created = version == 3 ? at + 28 : version == 4 ? align(at + 8, 8) + 8 : at + 8;
  if (version < 3 || version > 5 || created + 8 > size)
    return false;
  uint32_t valid = load32(bytes + at);
  *attributes = (struct samba_attributes){
      .has_attributes = valid & VALID_ATTRIBUTES,
      .has_created = valid & VALID_CREATED,
      .attributes = load32(bytes + at + 4),
      .created = load64(bytes + created),
  };
  return true;
}

size_t samba_write_attributes(const struct samba_attributes *attributes, bool with_text,
                              uint8_t value[SAMBA_ATTRIBUTES_ROOM]) {
  memset(value, 0, SAMBA_ATTRIBUTES_ROOM);
  int text = with_text
                 ? snprintf((char *)value, SAMBA_ATTRIBUTES_ROOM, "0x%x", attributes->attributes)
                 : 0;
  size_t at = align((size_t)text + 1, 2);
  store16(value + at, 5);
  store16(value + at + 2, 5);
  at = align(at + 4, 4);
  store32(value + at, (attributes->has_attributes ? VALID_ATTRIBUTES : 0u) |
                          (attributes->has_created ? VALID_CREATED : 0u));
  store32(value + at + 4, attributes->attributes);
  store64(value + at + 8, attributes->created);
  return at + 16;
}

/* -------------------------------------------------------------------- security
 *
 *   u16 version; u16 version; u32 not 0;
 *   1:  the descriptor
 *   2:  u32 not 0; 16 bytes of checksum; the descriptor
 *   3:  u32 not 0; u16 type; 64 bytes of checksum; aligned to 4; the descriptor
 *   4:  as 3, then a zero-terminated string instead of alignment; aligned to 4; u64 time;
 *       64 bytes of checksum; the descriptor
 */
enum { REFERENCE = 0x20000, DESCRIPTOR_HEADER = 20 };

/* Where the descriptor begins; 0: nowhere. */
static size_t descriptor_start(const uint8_t *value, size_t size) {
  if (size < SAMBA_SECURITY_HEADER || load16(value) != load16(value + 2) || load32(value + 4) == 0)
    return 0;
  const size_t string = SAMBA_SECURITY_HEADER + 4 + 2 + 64;
  switch (load16(value)) {
  case 1:
    return SAMBA_SECURITY_HEADER;
  case 2:
    return SAMBA_SECURITY_HEADER + 4 + 16;
  case 3:
    return align(string, 4);
  case 4:
    if (size <= string || !memchr(value + string, '\0', size - string))
      return 0;
    return align(string + strlen((const char *)value + string) + 1, 4) + 8 + 64;
  default:
    return 0;
  }
}

/* Make the four offsets of a descriptor count from somewhere else; false if one counts from before
 * that. */
static bool move_offsets(uint8_t *descriptor, int64_t distance) {
  for (size_t at = 4; at < DESCRIPTOR_HEADER; at += 4) {
    int64_t offset = load32(descriptor + at);
    if (offset != 0 && offset + distance <= 0)
      return false;
    if (offset != 0)
      store32(descriptor + at, (uint32_t)(offset + distance));
  }
  return true;
}

size_t samba_parse_security(const void *value, size_t size, void *descriptor) {
  size_t start = descriptor_start(value, size);
  if (start == 0 || start + DESCRIPTOR_HEADER > size)
    return 0;
  size_t length = size - start;
  memcpy(descriptor, (const uint8_t *)value + start, length);
  bool valid =
      move_offsets(descriptor, -(int64_t)start) && casefs_security_check(descriptor, length) == 0;
  return valid ? length : 0;
}

void samba_write_security(const void *descriptor, size_t length, void *value) {
  uint8_t *bytes = value;
  store16(bytes, 1);
  store16(bytes + 2, 1);
  store32(bytes + 4, REFERENCE);
  memcpy(bytes + SAMBA_SECURITY_HEADER, descriptor, length);
  move_offsets(bytes + SAMBA_SECURITY_HEADER, SAMBA_SECURITY_HEADER);
}
