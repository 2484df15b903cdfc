/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Named streams: nodes with data that belong to another node.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "volume.h"

/* A stream's record under its node, whatever its spelling. */
static int find_stream(casefs_node *node, const char *name, size_t length,
                       struct found_entry *found) {
  struct tree_record record;
  struct key key;
  uint32_t folded;
  key_name(&key, node->id, RECORD_STREAM, name, length, &folded);
  key.length = folded;
  int r = tree_seek_prefix(&node->volume->tree, &key, folded, &record);
  if (r < 0)
    return r;
  found->key = record.key;
  r = entry_record_decode(&found->id, &found->type, record.value, record.length);
  struct node_record stream;
  if (r == 0)
    r = node_fetch(node->volume, found->id, &stream);
  if (r == 0 && (stream.type != CASEFS_STREAM || stream.parent != node->id))
    r = -EUCLEAN;
  return r;
}

static void put_stream(casefs_node *node, const char *name, size_t length, uint64_t id) {
  uint8_t value[ENTRY_RECORD_SIZE];
  struct key key;
  uint32_t folded;
  key_name(&key, node->id, RECORD_STREAM, name, length, &folded);
  entry_record_encode(id, CASEFS_STREAM, value);
  batch_put(&node->volume->batch, &key, value, sizeof value);
}

/* Store the node's own record with the batch. */
static int apply(casefs_node *node, struct node_record *record, enum purpose purpose) {
  record->changed = casefs_now();
  node_store(node->volume, node->id, record);
  int r = change_apply(node->volume, purpose);
  if (r == 0)
    node_set_record(node, record);
  return r;
}

static int create_stream(casefs_node *node, const char *name, size_t length, casefs_node **opened) {
  struct node_record record = node_record_of(node);
  uint64_t now = casefs_now();
  struct node_record stream = {.type = CASEFS_STREAM,
                               .links = 1,
                               .parent = node->id,
                               .created = now,
                               .modified = now,
                               .accessed = now,
                               .changed = now};
  if (record.links == 0)
    return -ENOENT;
  if (record.streams == UINT32_MAX)
    return -EMLINK;
  casefs_node *prepared = node_prepare(node->volume);
  if (!prepared)
    return -ENOMEM;
  uint64_t id = new_id(node->volume);
  put_stream(node, name, length, id);
  node_store(node->volume, id, &stream);
  record.streams++;
  int r = apply(node, &record, PURPOSE_NORMAL);
  if (r < 0) {
    node_discard(prepared);
    return r;
  }
  *opened = node_open_prepared(prepared, id, &stream);
  return 0;
}

/* What may have streams: files and directories. */
static int check_owner(casefs_node *node) {
  uint8_t type = node_record_of(node).type;
  return type == CASEFS_FILE || type == CASEFS_DIRECTORY ? 0 : -EINVAL;
}

static int find_or_create(casefs_node *node, const char *name, size_t length, int flags,
                          casefs_node **stream) {
  struct found_entry found;
  int r = change_begin(node->volume);
  if (r < 0)
    return r;
  r = find_stream(node, name, length, &found);
  if (r == -ENOENT)
    r = create_stream(node, name, length, stream);
  else if (r == 0)
    r = flags & O_EXCL ? -EEXIST : node_open(node->volume, found.id, stream);
  change_end(node->volume);
  return r;
}

int casefs_open_stream(casefs_node *node, const char *name, size_t length, int flags,
                       casefs_node **stream) {
  struct found_entry found;
  unsigned tries = 0;
  int r = check_owner(node);
  if (r == 0)
    r = stream_name_check(name, length);
  if (r == 0 && flags & ~(O_CREAT | O_EXCL))
    r = -EINVAL;
  if (r < 0)
    return r;
  if (!(flags & O_CREAT)) {
    r = find_stream(node, name, length, &found);
    if (r == 0)
      r = node_open(node->volume, found.id, stream);
    return volume_result(node->volume, r);
  }
  do
    r = find_or_create(node, name, length, flags, stream);
  while (try_again(node->volume, r, &tries));
  return r;
}

static int remove_stream(casefs_node *node, const char *name, size_t length, bool frugal) {
  casefs_volume *volume = node->volume;
  struct node_record record = node_record_of(node), stream;
  struct found_entry found;
  bool rest;
  int r = find_stream(node, name, length, &found);
  if (r == 0)
    r = node_fetch(volume, found.id, &stream);
  if (r < 0)
    return r;
  stream.links = 0;
  batch_remove(&volume->batch, &found.key);
  r = node_remove(volume, found.id, &stream, frugal, &rest);
  if (r < 0) {
    change_abandon(volume);
    return r;
  }
  record.streams--;
  r = apply(node, &record, PURPOSE_REMOVE);
  if (r < 0)
    return r;
  node_lost_name(volume, found.id, &stream, rest);
  return 0;
}

int casefs_remove_stream(casefs_node *node, const char *name, size_t length) {
  unsigned tries = 0;
  int r = check_owner(node);
  if (r == 0)
    r = stream_name_check(name, length);
  if (r < 0)
    return r;
  do {
    r = change_begin(node->volume);
    if (r < 0)
      return r;
    r = remove_stream(node, name, length, tries > 0);
    change_end(node->volume);
  } while (try_again(node->volume, r, &tries));
  return r;
}

static int rename_stream(casefs_node *node, const char *old_name, size_t old_length,
                         const char *new_name, size_t new_length) {
  struct node_record record = node_record_of(node);
  struct found_entry from, to;
  int r = find_stream(node, old_name, old_length, &from);
  if (r < 0)
    return r;
  r = find_stream(node, new_name, new_length, &to);
  if (r == 0 && to.id != from.id)
    return -EEXIST;
  if (r < 0 && r != -ENOENT)
    return r;
  batch_remove(&node->volume->batch, &from.key);
  put_stream(node, new_name, new_length, from.id);
  return apply(node, &record, PURPOSE_NORMAL);
}

int casefs_rename_stream(casefs_node *node, const char *old_name, size_t old_length,
                         const char *new_name, size_t new_length) {
  unsigned tries = 0;
  int r = check_owner(node);
  if (r == 0)
    r = stream_name_check(old_name, old_length);
  if (r == 0)
    r = stream_name_check(new_name, new_length);
  if (r < 0)
    return r;
  do {
    r = change_begin(node->volume);
    if (r < 0)
      return r;
    r = rename_stream(node, old_name, old_length, new_name, new_length);
    change_end(node->volume);
  } while (try_again(node->volume, r, &tries));
  return r;
}
