/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Security descriptors, stored once per content with the number of nodes that
 * have it (as NTFS does in $Secure).
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "volume.h"

/* After the length: zero, users, hash. */
#define HEADER 20u

struct stored {
  uint64_t users, hash;
  uint32_t length;
  uint8_t *bytes;
};

static void key_descriptor(struct key *key, uint64_t id) {
  key_start(key, 0, RECORD_SECURITY);
  key_append64(key, id);
}

static void key_hash(struct key *key, uint64_t hash, uint64_t id) {
  key_start(key, 0, RECORD_SECURITY_HASH);
  key_append64(key, hash);
  key_append64(key, id);
}

static int load(casefs_volume *volume, uint64_t id, struct stored *stored) {
  uint8_t header[HEADER];
  struct key key;
  key_descriptor(&key, id);
  int length = parts_get(volume, &key, header, HEADER, NULL, 0);
  if (length < 0)
    return length == -ENODATA ? -EUCLEAN : length;
  *stored = (struct stored){.users = load64(header + 4),
                            .hash = load64(header + 12),
                            .length = (uint32_t)length,
                            .bytes = malloc((size_t)length + 1)};
  if (!stored->bytes)
    return -ENOMEM;
  int r = parts_get(volume, &key, NULL, HEADER, stored->bytes, (size_t)length);
  if (r < 0)
    free(stored->bytes);
  return r < 0 ? r : 0;
}

/* Collect a descriptor with another number of users; none: it goes. */
static void put(casefs_volume *volume, uint64_t id, const struct stored *stored, bool is_new) {
  uint8_t header[HEADER] = {0};
  struct key key, hash;
  key_descriptor(&key, id);
  key_hash(&hash, stored->hash, id);
  if (stored->users == 0) {
    parts_remove(volume, &key, stored->length);
    batch_remove(&volume->batch, &hash);
    return;
  }
  store64(header + 4, stored->users);
  store64(header + 12, stored->hash);
  parts_put(volume, &key, header, HEADER, stored->bytes, stored->length, -1);
  if (is_new)
    batch_put(&volume->batch, &hash, NULL, 0);
}

/* One more or one less node has it. */
static int count_user(casefs_volume *volume, uint64_t id, int change) {
  struct stored stored;
  int r = load(volume, id, &stored);
  if (r < 0)
    return r;
  stored.users += (uint64_t)(int64_t)change;
  put(volume, id, &stored, false);
  free(stored.bytes);
  return 0;
}

/* The descriptor of that content.  -ENOENT. */
static int find(casefs_volume *volume, uint64_t hash, const void *bytes, size_t length,
                uint64_t *id) {
  struct tree_record record;
  struct key key;
  key_hash(&key, hash, 0);
  for (;;) {
    int r = tree_seek_prefix(&volume->tree, &key, KEY_PREFIX + 8, &record);
    if (r < 0)
      return r;
    if (record.key.length != KEY_PREFIX + 16)
      return -EUCLEAN;
    *id = load64_big(record.key.bytes + KEY_PREFIX + 8);
    struct stored stored;
    r = load(volume, *id, &stored);
    if (r < 0)
      return r;
    bool same = stored.length == length && memcmp(stored.bytes, bytes, length) == 0;
    free(stored.bytes);
    if (same)
      return 0;
    key_hash(&key, hash, *id + 1);
  }
}

static int add(casefs_volume *volume, const void *bytes, size_t length, uint64_t *id) {
  uint64_t hash = checksum(bytes, length);
  int r = find(volume, hash, bytes, length, id);
  if (r == 0)
    return count_user(volume, *id, 1);
  if (r != -ENOENT)
    return r;
  *id = new_id(volume);
  struct stored stored = {1, hash, (uint32_t)length, (uint8_t *)bytes};
  put(volume, *id, &stored, true);
  return 0;
}

int descriptor_store(casefs_volume *volume, struct node_record *record, const void *descriptor,
                     size_t length) {
  uint64_t id = 0;
  if (length > 0) {
    int r = find(volume, checksum(descriptor, length), descriptor, length, &id);
    if (r == 0 && id == record->security)
      return 0;
    if (r < 0 && r != -ENOENT)
      return r;
  }
  int r = record->security ? count_user(volume, record->security, -1) : 0;
  if (r == 0 && length > 0)
    r = add(volume, descriptor, length, &id);
  if (r == 0)
    record->security = length > 0 ? id : 0;
  return r;
}

int casefs_get_security(casefs_node *node, void *buffer, size_t size) {
  struct node_record record = node_record_of(node);
  struct key key;
  if (record.security == 0)
    return -ENODATA;
  key_descriptor(&key, record.security);
  int r = parts_get(node->volume, &key, NULL, HEADER, buffer, size);
  return volume_result(node->volume, r);
}

int casefs_set_security(casefs_node *node, const void *descriptor, size_t length) {
  unsigned tries = 0;
  int r = 0;
  if (length > CASEFS_MAX_SECURITY)
    return -ENAMETOOLONG;
  if (node_record_of(node).type == CASEFS_STREAM)
    return -EINVAL;
  if (length > 0)
    r = casefs_security_check(descriptor, length);
  if (r < 0)
    return r;
  casefs_volume *volume = node->volume;
  do {
    r = change_begin(volume);
    if (r < 0)
      return r;
    struct node_record record = node_record_of(node);
    record.changed = casefs_now();
    r = descriptor_store(volume, &record, descriptor, length);
    if (r == 0) {
      node_store(volume, node->id, &record);
      r = change_apply(volume, PURPOSE_NORMAL);
    }
    if (r == 0)
      node_set_record(node, &record);
    change_end(volume);
  } while (try_again(volume, r, &tries));
  return r;
}
