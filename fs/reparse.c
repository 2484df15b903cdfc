/* SPDX-License-Identifier: BSD-3-Clause */

#include <errno.h>
#include <string.h>

#include "volume.h"
#include "windows.h"

static int load(casefs_node *node, void *buffer, size_t size) {
  struct key key;
  key_start(&key, node->id, RECORD_REPARSE);
  return parts_get(node->volume, &key, NULL, 0, buffer, size);
}

int casefs_get_reparse(casefs_node *node, void *buffer, size_t size) {
  if (node_record_of(node).reparse_tag == 0)
    return -ENODATA;
  return volume_result(node->volume, load(node, buffer, size));
}

/* Store a node's record together with the batch. */
static int apply(casefs_node *node, struct node_record *record, enum purpose purpose) {
  record->changed = casefs_now();
  node_store(node->volume, node->id, record);
  int r = change_apply(node->volume, purpose);
  if (r == 0)
    node_set_record(node, record);
  return r;
}

static const uint8_t *guid_of(const uint8_t *data) {
  return data + 8;
}

static int set(casefs_node *node, const void *data, size_t length) {
  uint8_t old[CASEFS_MAX_REPARSE];
  struct node_record record = node_record_of(node);
  struct key key;
  int old_length = -1;
  if (record.type == CASEFS_DIRECTORY && record.size > 0)
    return -ENOTEMPTY;
  if (record.reparse_tag != 0) {
    old_length = load(node, old, sizeof old);
    if (old_length < 0)
      return old_length;
    if (!reparse_same(old, reparse_tag(data), guid_of(data)))
      return -EEXIST;
  }
  key_start(&key, node->id, RECORD_REPARSE);
  parts_put(node->volume, &key, NULL, 0, data, length, old_length);
  record.reparse_tag = reparse_tag(data);
  return apply(node, &record, PURPOSE_NORMAL);
}

int casefs_set_reparse(casefs_node *node, const void *data, size_t length) {
  unsigned tries = 0;
  uint8_t type = node_record_of(node).type;
  if (type == CASEFS_STREAM || type == CASEFS_SYMLINK)
    return -EINVAL;
  int r = reparse_check(data, length, type == CASEFS_DIRECTORY);
  if (r < 0)
    return r;
  do {
    r = change_begin(node->volume);
    if (r < 0)
      return r;
    r = set(node, data, length);
    change_end(node->volume);
  } while (try_again(node->volume, r, &tries));
  return r;
}

static int remove_point(casefs_node *node, uint32_t tag, const uint8_t guid[16]) {
  static const uint8_t no_guid[16];
  uint8_t old[CASEFS_MAX_REPARSE];
  struct node_record record = node_record_of(node);
  struct key key;
  if (record.reparse_tag == 0)
    return -ENODATA;
  int length = load(node, old, sizeof old);
  if (length < 0)
    return length;
  if (!reparse_same(old, tag, guid ? guid : no_guid))
    return -EINVAL;
  key_start(&key, node->id, RECORD_REPARSE);
  parts_remove(node->volume, &key, length);
  record.reparse_tag = 0;
  return apply(node, &record, PURPOSE_REMOVE);
}

int casefs_remove_reparse(casefs_node *node, uint32_t tag, const uint8_t guid[16]) {
  unsigned tries = 0;
  int r;
  do {
    r = change_begin(node->volume);
    if (r < 0)
      return r;
    r = remove_point(node, tag, guid);
    change_end(node->volume);
  } while (try_again(node->volume, r, &tries));
  return r;
}
