/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Names for nodes that have none: "#<id>" in the directory lost+found of the root.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

#define LOST_AND_FOUND "lost+found"
#define MAX_TRIES 1000u

/* The directory for what was lost, made if need be.  Something else may have its name. */
static int lost_and_found(casefs_volume *volume, casefs_node **directory) {
  const struct casefs_creation creation = {.type = CASEFS_DIRECTORY, .mode = 0700};
  char name[32] = LOST_AND_FOUND;
  casefs_node *root;
  int r = casefs_open_root(volume, &root);
  if (r < 0)
    return r;
  for (unsigned i = 1; i < MAX_TRIES; i++) {
    struct casefs_attributes attributes;
    int length = (int)strlen(name);
    r = casefs_lookup(root, name, (size_t)length, &attributes, NULL);
    if (r == 0 && attributes.type == CASEFS_DIRECTORY && attributes.links > 0)
      r = casefs_open_at(root, name, (size_t)length, directory);
    else if (r == -ENOENT)
      r = casefs_create(root, name, (size_t)length, &creation, directory);
    else
      r = r < 0 ? r : -EEXIST;
    if (r != -EEXIST)
      break;
    snprintf(name, sizeof name, LOST_AND_FOUND "~%u", i);
  }
  casefs_node_close(root);
  return r;
}

/* Collect the removal of the names that a directory still has where it cannot be reached. */
static int collect_old_names(casefs_volume *volume, uint64_t id) {
  struct tree_record found;
  struct key key;
  int r = 0;
  key_start(&key, id, RECORD_LINK);
  while (r == 0) {
    r = tree_seek_prefix(&volume->tree, &key, KEY_PREFIX, &found);
    if (r < 0 || found.key.length <= KEY_PREFIX + 8)
      break;
    uint64_t parent = load64_big(found.key.bytes + KEY_PREFIX);
    const char *name = (const char *)found.key.bytes + KEY_PREFIX + 8;
    size_t length = found.key.length - KEY_PREFIX - 8;
    struct node_record record;
    struct key entry;
    uint32_t folded;
    batch_remove(&volume->batch, &found.key);
    key_name(&entry, parent, RECORD_ENTRY, name, length, &folded);
    batch_remove(&volume->batch, &entry);
    if (node_fetch(volume, parent, &record) == 0 && record.size > 0) {
      record.size--;
      node_store(volume, parent, &record);
      node_publish(volume, parent, &record);
    }
    key = found.key;
    key_after(&key);
  }
  return r == -ENOENT ? 0 : r;
}

/* A name that is free there. */
static int choose_name(casefs_volume *volume, uint64_t directory, uint64_t id, char *name,
                       size_t size) {
  struct found_entry found;
  int length = snprintf(name, size, "#%" PRIu64, id), r = -EEXIST;
  for (unsigned i = 1; r == -EEXIST && i < MAX_TRIES; i++) {
    r = entry_find(volume, directory, true, name, (size_t)length, &found);
    r = r == 0 ? -EEXIST : r;
    if (r == -EEXIST)
      length = snprintf(name, size, "#%" PRIu64 "~%u", id, i);
  }
  return r == -ENOENT ? length : r;
}

static int collect_name(casefs_volume *volume, uint64_t id, uint64_t directory) {
  uint8_t value[ENTRY_RECORD_SIZE];
  struct node_record record, parent;
  char name[64];
  struct key key;
  uint32_t folded;
  int r = node_fetch(volume, id, &record);
  int length = r < 0 ? r : choose_name(volume, directory, id, name, sizeof name);
  if (length < 0)
    return length;
  if (record.type == CASEFS_DIRECTORY)
    r = collect_old_names(volume, id);
  if (r == 0)
    r = node_fetch(volume, directory, &parent);
  if (r < 0)
    return r;
  key_name(&key, directory, RECORD_ENTRY, name, (size_t)length, &folded);
  entry_record_encode(id, record.type, value);
  batch_put(&volume->batch, &key, value, sizeof value);
  key_link(&key, id, directory, name, (size_t)length);
  batch_put(&volume->batch, &key, NULL, 0);
  put_orphan(volume, id, false);
  record.links = 1;
  record.parent = record.type == CASEFS_DIRECTORY ? directory : 0;
  node_store(volume, id, &record);
  node_publish(volume, id, &record);
  parent.size++;
  node_store(volume, directory, &parent);
  node_publish(volume, directory, &parent);
  return 0;
}

int repair_rescue(casefs_volume *volume, uint64_t id) {
  casefs_node *directory;
  unsigned tries = 0;
  int r = lost_and_found(volume, &directory);
  if (r < 0)
    return r;
  do {
    r = change_begin(volume);
    if (r < 0)
      break;
    r = collect_name(volume, id, casefs_node_id(directory));
    if (r == 0)
      r = change_apply(volume, PURPOSE_REMOVE);
    change_end(volume);
  } while (try_again(volume, r, &tries));
  casefs_node_close(directory);
  return r;
}
