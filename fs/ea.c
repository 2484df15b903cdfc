/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Extended attributes as Windows has them.
 */

#include <errno.h>
#include <string.h>

#include "volume.h"
#include "windows.h"

#define NEED_EA 0x80u
#define MAX_HEADER (2u + CASEFS_MAX_EA_NAME) /* flags, length of name, name */

/* The key of an attribute up to its part number. */
static void key_ea(struct key *key, uint64_t id, const char *name, size_t length) {
  char folded[CASEFS_MAX_EA_NAME];
  ea_name_fold(name, length, folded);
  key_start(key, id, RECORD_EA);
  key_append(key, folded, length);
  key_append(key, "", 1);
}

/* What FILE_FULL_EA_INFORMATION counts an attribute as. */
static uint32_t packed_size(size_t name, size_t value) {
  return (uint32_t)(5 + name + value);
}

int casefs_get_ea(casefs_node *node, const char *name, size_t length, void *value, size_t size,
                  uint8_t *flags) {
  uint8_t header[MAX_HEADER];
  struct key key;
  int r = ea_name_check(name, length);
  if (r < 0)
    return r;
  key_ea(&key, node->id, name, length);
  r = parts_get(node->volume, &key, header, 2 + length, value, size);
  if (r >= 0 && flags)
    *flags = header[0];
  return volume_result(node->volume, r);
}

static int set(casefs_node *node, const char *name, size_t length, const void *value, size_t size,
               uint8_t flags) {
  casefs_volume *volume = node->volume;
  uint8_t header[MAX_HEADER];
  struct node_record record = node_record_of(node);
  struct key key;
  key_ea(&key, node->id, name, length);
  int old = parts_get(volume, &key, NULL, 2 + length, NULL, 0);
  if (old < 0 && old != -ENODATA)
    return old;
  if (old < 0 && size == 0)
    return 0;
  if (old >= 0)
    record.ea_size -= packed_size(length, (size_t)old);
  if (size > 0) {
    if (record.ea_size + packed_size(length, size) > CASEFS_MAX_EA_PACKED)
      return -EFBIG;
    record.ea_size += packed_size(length, size);
    header[0] = flags;
    header[1] = (uint8_t)length;
    memcpy(header + 2, name, length);
    parts_put(volume, &key, header, 2 + length, value, size, old);
  } else {
    parts_remove(volume, &key, old);
  }
  record.changed = casefs_now();
  node_store(volume, node->id, &record);
  int r = change_apply(volume, size > 0 ? PURPOSE_NORMAL : PURPOSE_REMOVE);
  if (r == 0)
    node_set_record(node, &record);
  return r;
}

int casefs_set_ea(casefs_node *node, const char *name, size_t length, const void *value,
                  size_t size, uint8_t flags) {
  unsigned tries = 0;
  int r = ea_name_check(name, length);
  if (r == 0 && (flags & ~NEED_EA || node_record_of(node).type == CASEFS_STREAM))
    r = -EINVAL;
  if (r == 0 && size > CASEFS_MAX_EA_VALUE)
    r = -ENAMETOOLONG;
  if (r < 0)
    return r;
  do {
    r = change_begin(node->volume);
    if (r < 0)
      return r;
    r = set(node, name, length, value, size, flags);
    change_end(node->volume);
  } while (try_again(node->volume, r, &tries));
  return r;
}

int casefs_next_ea(casefs_node *node, struct casefs_cursor *cursor, struct casefs_ea *ea) {
  struct tree_record record;
  struct key key;
  key_start(&key, node->id, RECORD_EA);
  if (cursor->length > CASEFS_MAX_EA_NAME + 1)
    return -EINVAL;
  key_append(&key, cursor->key, cursor->length);
  /* All parts of the one before lie between its fold and this. */
  if (cursor->length > 0)
    key_append(&key, "\xFF\xFF\xFF", 3);
  int r = tree_seek_prefix(&node->volume->tree, &key, KEY_PREFIX, &record);
  if (r < 0)
    return r == -ENOENT ? 0 : volume_result(node->volume, r);
  uint32_t name = record.key.length - KEY_PREFIX - 3;
  if (record.key.length < KEY_PREFIX + 4 || name > CASEFS_MAX_EA_NAME || record.length < 6 + name ||
      record.value[5] != name || load16_big(record.key.bytes + record.key.length - 2) != 0)
    return volume_result(node->volume, -EUCLEAN);
  ea->length = load32(record.value);
  ea->flags = record.value[4];
  memcpy(ea->name, record.value + 6, name);
  ea->name[name] = '\0';
  cursor->length = name + 1;
  memcpy(cursor->key, record.key.bytes + KEY_PREFIX, cursor->length);
  return 1;
}
