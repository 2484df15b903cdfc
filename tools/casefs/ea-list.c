/* SPDX-License-Identifier: BSD-3-Clause
 *
 *   0  4  offset of the next, from this one; 0: the last
 *   4  1  flags
 *   5  1  length of the name, without its zero
 *   6  2  length of the value
 *   8     name, zero, value
 */

#include "ea-list.h"

#include "../../fs/format.h"

#include <errno.h>
#include <string.h>

enum { HEADER = 8, ALIGNMENT = 4 };

size_t ea_item_size(size_t name_length, size_t length) {
  return HEADER + name_length + 1 + length;
}

size_t ea_item_room(size_t name_length, size_t length) {
  return (ea_item_size(name_length, length) + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
}

int ea_list_next(const void *list, size_t size, size_t *at, struct ea_item *item) {
  const uint8_t *bytes = (const uint8_t *)list + *at;
  size_t left = size - *at;
  if (left == 0)
    return 0;
  if (left < HEADER)
    return -EINVAL;
  size_t next = load32(bytes), name_length = bytes[5], length = load16(bytes + 6);
  size_t used = ea_item_size(name_length, length);
  if (used > left || name_length == 0 || bytes[HEADER + name_length] != '\0' ||
      (next != 0 && (next < used || next > left || next % ALIGNMENT != 0)))
    return -EINVAL;
  *item = (struct ea_item){(const char *)bytes + HEADER, name_length, bytes[4],
                           bytes + used - length, length};
  *at = next == 0 ? size : *at + next;
  return 1;
}

void *ea_item_write(void *place, const char *name, size_t name_length, uint8_t flags, size_t length,
                    size_t next) {
  uint8_t *bytes = place;
  size_t used = ea_item_size(name_length, length);
  store32(bytes, (uint32_t)next);
  bytes[4] = flags;
  bytes[5] = (uint8_t)name_length;
  store16(bytes + 6, (uint16_t)length);
  memcpy(bytes + HEADER, name, name_length);
  bytes[HEADER + name_length] = '\0';
  if (next > used)
    memset(bytes + used, 0, next - used);
  return bytes + used - length;
}
