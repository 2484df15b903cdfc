/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Directories: entries by name, and what makes and unmakes them.
 *
 * An entry's key holds the folded name, then the name.  All spellings of one
 * folded name stand together, so that a lookup without case is one seek, and
 * whether a directory has case changes nothing in its entries.
 */

#include <errno.h>
#include <string.h>

#include "page.h"
#include "volume.h"

/* -------------------------------------------------------------------- looking up */

static int decode_entry(const struct tree_record *record, struct found_entry *found) {
  found->key = record->key;
  int r = entry_record_decode(&found->id, &found->type, record->value, record->length);
  return r == 0 && (found->id == CASEFS_ROOT_ID || found->type == CASEFS_STREAM) ? -EUCLEAN : r;
}

int entry_find(casefs_volume *volume, uint64_t directory, bool insensitive, const char *name,
               size_t length, struct found_entry *found) {
  struct tree_record record;
  struct key key;
  uint32_t folded;
  key_name(&key, directory, RECORD_ENTRY, name, length, &folded);
  int r;
  if (insensitive) {
    key.length = folded;
    r = tree_seek_prefix(&volume->tree, &key, folded, &record);
  } else {
    r = tree_get(&volume->tree, &key, &record);
  }
  return r < 0 ? r : decode_entry(&record, found);
}

/* 0, -ENOTDIR, or what is wrong with the name. */
static int check_name(casefs_node *directory, const char *name, size_t length,
                      struct node_record *record) {
  *record = node_record_of(directory);
  return record->type == CASEFS_DIRECTORY ? name_check(name, length) : -ENOTDIR;
}

static int find_in(casefs_node *directory, const char *name, size_t length,
                   struct found_entry *found) {
  struct node_record record;
  int r = check_name(directory, name, length, &record);
  return r < 0 ? r
               : entry_find(directory->volume, directory->id, record.insensitive, name, length,
                            found);
}

int casefs_open_at(casefs_node *directory, const char *name, size_t length, casefs_node **node) {
  struct found_entry found;
  int r = find_in(directory, name, length, &found);
  if (r == 0)
    r = node_open(directory->volume, found.id, node);
  return volume_result(directory->volume, r);
}

/* The name in an entry's key, zero-terminated; its length. */
static int copy_name(const struct key *key, char *name) {
  uint32_t offset = key_name_offset(key->bytes, key->length);
  if (offset == 0 || key->length == offset || key->length - offset > CASEFS_MAX_NAME)
    return -EUCLEAN;
  memcpy(name, key->bytes + offset, key->length - offset);
  name[key->length - offset] = '\0';
  return (int)(key->length - offset);
}

static int look_up(casefs_node *directory, bool folded, const char *name, size_t length,
                   struct casefs_attributes *attributes, char *stored) {
  struct found_entry found;
  struct node_record record;
  int r = check_name(directory, name, length, &record);
  if (r == 0)
    r = entry_find(directory->volume, directory->id, record.insensitive || folded, name, length,
                   &found);
  if (r == 0)
    r = node_fetch(directory->volume, found.id, &record);
  if (r == 0 && stored)
    r = copy_name(&found.key, stored);
  if (r >= 0)
    attributes_of(found.id, &record, attributes);
  return volume_result(directory->volume, r < 0 ? r : 0);
}

int casefs_lookup(casefs_node *directory, const char *name, size_t length,
                  struct casefs_attributes *attributes, char *stored) {
  return look_up(directory, false, name, length, attributes, stored);
}

int casefs_lookup_folded(casefs_node *directory, const char *name, size_t length,
                         struct casefs_attributes *attributes, char *stored) {
  return look_up(directory, true, name, length, attributes, stored);
}

/* ----------------------------------------------------------------------- listing */

/* The next record of a kind after the cursor, whose key it becomes: 1, or 0 at the end. */
static int next_name(casefs_node *node, enum record_type type, struct casefs_cursor *cursor,
                     struct casefs_entry *entry) {
  struct tree_record record;
  struct key key;
  key_start(&key, node->id, type);
  if (cursor->length > sizeof cursor->key)
    return -EINVAL;
  key_append(&key, cursor->key, cursor->length);
  if (cursor->length > 0)
    key_after(&key);
  int r = tree_seek_prefix(&node->volume->tree, &key, KEY_PREFIX, &record);
  if (r < 0)
    return r == -ENOENT ? 0 : r;
  uint8_t entry_type;
  r = entry_record_decode(&entry->id, &entry_type, record.value, record.length);
  if (r == 0)
    r = copy_name(&record.key, entry->name);
  if (r < 0)
    return r;
  entry->type = entry_type;
  entry->name_length = (uint32_t)r;
  cursor->length = record.key.length - KEY_PREFIX;
  memcpy(cursor->key, record.key.bytes + KEY_PREFIX, cursor->length);
  return 1;
}

/* The same with the attributes of what it names; what is removed meanwhile is skipped. */
static int next_with_attributes(casefs_node *node, enum record_type type,
                                struct casefs_cursor *cursor, struct casefs_entry *entry,
                                struct casefs_attributes *attributes) {
  struct node_record record;
  int r;
  do {
    r = next_name(node, type, cursor, entry);
    if (r == 1 && attributes) {
      int s = node_fetch(node->volume, entry->id, &record);
      r = s < 0 ? s : r;
    }
  } while (r == -ENOENT);
  if (r == 1 && attributes)
    attributes_of(entry->id, &record, attributes);
  return volume_result(node->volume, r);
}

int casefs_next_entry(casefs_node *directory, struct casefs_cursor *cursor,
                      struct casefs_entry *entry, struct casefs_attributes *attributes) {
  if (node_record_of(directory).type != CASEFS_DIRECTORY)
    return -ENOTDIR;
  return next_with_attributes(directory, RECORD_ENTRY, cursor, entry, attributes);
}

int casefs_next_stream(casefs_node *node, struct casefs_cursor *cursor, struct casefs_entry *entry,
                       struct casefs_attributes *attributes) {
  return next_with_attributes(node, RECORD_STREAM, cursor, entry, attributes);
}

int casefs_seek_entry(casefs_node *directory, const char *name, size_t length,
                      struct casefs_cursor *cursor) {
  struct node_record record;
  struct key key;
  uint32_t folded;
  int r = check_name(directory, name, length, &record);
  if (r < 0)
    return r;
  key_name(&key, directory->id, RECORD_ENTRY, name, length, &folded);
  if (record.insensitive) {
    /* No name has this byte: past all spellings. */
    key.length = folded;
    key_append(&key, "\xFF", 1);
  }
  cursor->length = key.length - KEY_PREFIX;
  memcpy(cursor->key, key.bytes + KEY_PREFIX, cursor->length);
  return 0;
}

int casefs_readlink(casefs_node *node, char *buffer, size_t size) {
  struct tree_record record;
  struct key key;
  if (node_record_of(node).type != CASEFS_SYMLINK)
    return -EINVAL;
  key_start(&key, node->id, RECORD_TARGET);
  int r = tree_get(&node->volume->tree, &key, &record);
  if (r < 0)
    return volume_result(node->volume, r == -ENOENT ? -EUCLEAN : r);
  if (size < record.length)
    return -ERANGE;
  memcpy(buffer, record.value, record.length);
  return (int)record.length;
}

/* ------------------------------------------------------------- parts of a change */

/* Collect the link that leads back from a node, and the entry.  The link comes first: for a new
 * node these are keys in order, which keeps leaves full. */
static void put_name(casefs_volume *volume, uint64_t directory, const char *name, size_t length,
                     uint64_t id, uint8_t type) {
  uint8_t value[ENTRY_RECORD_SIZE];
  struct key key;
  uint32_t folded;
  key_link(&key, id, directory, name, length);
  batch_put(&volume->batch, &key, NULL, 0);
  key_name(&key, directory, RECORD_ENTRY, name, length, &folded);
  entry_record_encode(id, type, value);
  batch_put(&volume->batch, &key, value, sizeof value);
}

/* Collect the removal of an entry that was found, and of its link. */
static void remove_name(casefs_volume *volume, uint64_t directory,
                        const struct found_entry *entry) {
  uint32_t offset = key_name_offset(entry->key.bytes, entry->key.length);
  struct key link;
  key_link(&link, entry->id, directory, (const char *)entry->key.bytes + offset,
           entry->key.length - offset);
  batch_remove(&volume->batch, &entry->key);
  batch_remove(&volume->batch, &link);
}

/* A directory has gained or lost entries: in memory, to be stored with the next commit. */
static void count_entries(casefs_node *directory, int64_t change, uint64_t now) {
  pthread_mutex_lock(&directory->lock);
  /* Only a damaged volume has a count that is too low. */
  if (change >= 0 || directory->record.size > 0)
    directory->record.size += (uint64_t)change;
  directory->record.modified = directory->record.changed = now;
  pthread_mutex_unlock(&directory->lock);
}

/* A directory that can be changed: it still has a name. */
static int check_live(casefs_node *directory) {
  return node_record_of(directory).links > 0 ? 0 : -ENOENT;
}

/* Whether a name is free in a directory: 0, -EEXIST or an error. */
static int check_free(casefs_node *directory, const char *name, size_t length) {
  struct found_entry found;
  int r = find_in(directory, name, length, &found);
  return r == 0 ? -EEXIST : r == -ENOENT ? 0 : r;
}

/* ------------------------------------------------------------------------ creating */

static int check_creation(const struct casefs_creation *creation) {
  bool symlink = creation->type == CASEFS_SYMLINK;
  if (creation->type < CASEFS_FILE || creation->type > CASEFS_BLOCK_DEVICE ||
      creation->mode > 07777 || creation->dos_attributes & ~CASEFS_DOS_SETTABLE ||
      (symlink &&
       (creation->target_length == 0 || memchr(creation->target, 0, creation->target_length))) ||
      (creation->rdev != 0 && creation->type != CASEFS_CHARACTER_DEVICE &&
       creation->type != CASEFS_BLOCK_DEVICE) ||
      (creation->sensitive && creation->insensitive))
    return -EINVAL;
  if (symlink && creation->target_length > CASEFS_MAX_SYMLINK)
    return -ENAMETOOLONG;
  if (creation->security_length > CASEFS_MAX_SECURITY)
    return -ENAMETOOLONG;
  return creation->security_length > 0
             ? casefs_security_check(creation->security, creation->security_length)
             : 0;
}

static struct node_record new_record(casefs_node *directory, const struct casefs_creation *creation,
                                     uint64_t now) {
  bool is_directory = creation->type == CASEFS_DIRECTORY;
  bool inherited = node_record_of(directory).insensitive;
  return (struct node_record){
      .type = (uint8_t)creation->type,
      .mode = (uint16_t)creation->mode,
      .uid = creation->uid,
      .gid = creation->gid,
      .rdev = creation->rdev,
      .links = 1,
      .dos_attributes = creation->dos_attributes,
      .size = creation->type == CASEFS_SYMLINK ? creation->target_length : 0,
      .created = creation->created ? creation->created : now,
      .modified = creation->modified ? creation->modified : now,
      .accessed = creation->accessed ? creation->accessed : now,
      .changed = creation->changed ? creation->changed : now,
      .parent = is_directory ? directory->id : 0,
      .insensitive = is_directory && (creation->insensitive || (inherited && !creation->sensitive)),
  };
}

/* *opened, if it is not NULL, becomes the node. */
static int create(casefs_node *directory, const char *name, size_t length,
                  const struct casefs_creation *creation, casefs_node **opened) {
  casefs_volume *volume = directory->volume;
  uint64_t now = casefs_now();
  int r = check_live(directory);
  if (r == 0)
    r = check_free(directory, name, length);
  if (r == 0)
    r = node_touch(directory, PURPOSE_NORMAL);
  if (r < 0)
    return r;
  struct node_record record = new_record(directory, creation, now);
  casefs_node *prepared = opened ? node_prepare(volume) : NULL;
  if (opened && !prepared)
    return -ENOMEM;
  uint64_t id = new_id(volume);
  r = descriptor_store(volume, &record, creation->security, creation->security_length);
  if (r < 0) {
    change_abandon(volume);
    node_discard(prepared);
    return r;
  }
  node_store(volume, id, &record);
  put_name(volume, directory->id, name, length, id, record.type);
  if (record.type == CASEFS_SYMLINK) {
    struct key key;
    key_start(&key, id, RECORD_TARGET);
    batch_put(&volume->batch, &key, creation->target, creation->target_length);
  }
  r = change_apply(volume, PURPOSE_NORMAL);
  if (r < 0) {
    node_discard(prepared);
    return r;
  }
  if (opened)
    *opened = node_open_prepared(prepared, id, &record);
  volume->superblock.nodes++;
  count_entries(directory, 1, now);
  return 0;
}

int casefs_create(casefs_node *directory, const char *name, size_t length,
                  const struct casefs_creation *creation, casefs_node **node) {
  struct node_record record;
  unsigned tries = 0;
  int r = check_name(directory, name, length, &record);
  if (r == 0)
    r = check_creation(creation);
  if (r < 0)
    return r;
  do {
    r = change_begin(directory->volume);
    if (r < 0)
      return r;
    r = create(directory, name, length, creation, node);
    change_end(directory->volume);
  } while (try_again(directory->volume, r, &tries));
  return r;
}

/* -------------------------------------------------------------------------- links */

static int add_link(casefs_node *node, casefs_node *directory, const char *name, size_t length) {
  casefs_volume *volume = node->volume;
  uint64_t now = casefs_now();
  struct node_record record = node_record_of(node);
  if (record.type == CASEFS_DIRECTORY || record.type == CASEFS_STREAM)
    return -EPERM;
  if (record.links == 0)
    return -ENOENT;
  if (record.links == CASEFS_MAX_LINKS)
    return -EMLINK;
  int r = check_live(directory);
  if (r == 0)
    r = check_free(directory, name, length);
  if (r == 0)
    r = node_touch(directory, PURPOSE_NORMAL);
  if (r < 0)
    return r;
  record.links++;
  record.changed = now;
  put_name(volume, directory->id, name, length, node->id, record.type);
  node_store(volume, node->id, &record);
  r = change_apply(volume, PURPOSE_NORMAL);
  if (r < 0)
    return r;
  node_set_record(node, &record);
  count_entries(directory, 1, now);
  return 0;
}

int casefs_link(casefs_node *node, casefs_node *directory, const char *name, size_t length) {
  struct node_record record;
  unsigned tries = 0;
  int r = check_name(directory, name, length, &record);
  if (r == 0 && node->volume != directory->volume)
    r = -EINVAL;
  if (r < 0)
    return r;
  do {
    r = change_begin(node->volume);
    if (r < 0)
      return r;
    r = add_link(node, directory, name, length);
    change_end(node->volume);
  } while (try_again(node->volume, r, &tries));
  return r;
}

/* A name of a node has gone, and is not in the batch any more: collect what follows for the node.
 * *rest as node_remove has it, if that was the last name. */
static int lose_name(casefs_volume *volume, uint64_t id, struct node_record *record, uint64_t now,
                     bool frugal, bool *rest) {
  *rest = false;
  record->links--;
  record->changed = now;
  if (record->links == 0)
    return node_remove(volume, id, record, frugal, rest);
  node_store(volume, id, record);
  return 0;
}

/* Whether an entry may go: 0, -EISDIR, -ENOTDIR, -ENOTEMPTY. */
static int check_unlink(const struct node_record *record, bool want_directory) {
  bool is_directory = record->type == CASEFS_DIRECTORY;
  if (want_directory != is_directory)
    return is_directory ? -EISDIR : -ENOTDIR;
  return is_directory && record->size > 0 ? -ENOTEMPTY : 0;
}

static int unlink_entry(casefs_node *directory, const struct found_entry *entry,
                        bool want_directory, bool frugal) {
  casefs_volume *volume = directory->volume;
  struct node_record record;
  uint64_t now = casefs_now();
  bool rest;
  int r = node_fetch(volume, entry->id, &record);
  if (r == 0)
    r = check_unlink(&record, want_directory);
  if (r == 0)
    r = node_touch(directory, PURPOSE_REMOVE);
  if (r < 0)
    return r;
  remove_name(volume, directory->id, entry);
  r = lose_name(volume, entry->id, &record, now, frugal, &rest);
  if (r == 0)
    r = change_apply(volume, PURPOSE_REMOVE);
  else
    change_abandon(volume);
  if (r < 0)
    return r;
  count_entries(directory, -1, now);
  node_lost_name(volume, entry->id, &record, rest);
  return 0;
}

static int unlink_name(casefs_node *directory, const char *name, size_t length,
                       bool want_directory) {
  struct found_entry found;
  unsigned tries = 0;
  int r;
  do {
    r = change_begin(directory->volume);
    if (r < 0)
      return r;
    r = find_in(directory, name, length, &found);
    if (r == 0)
      r = unlink_entry(directory, &found, want_directory, tries > 0);
    change_end(directory->volume);
  } while (try_again(directory->volume, r, &tries));
  return r;
}

int casefs_unlink(casefs_node *directory, const char *name, size_t length) {
  return unlink_name(directory, name, length, false);
}

int casefs_rmdir(casefs_node *directory, const char *name, size_t length) {
  return unlink_name(directory, name, length, true);
}

/* ----------------------------------------------------------------------- renaming */

/* Whether `directory` is the node of that id or somewhere below it. */
static int is_below(casefs_node *directory, uint64_t id) {
  uint64_t at = directory->id;
  for (uint64_t steps = directory->volume->superblock.nodes; at != id && at != CASEFS_ROOT_ID;) {
    struct node_record record;
    int r = node_fetch(directory->volume, at, &record);
    if (r < 0)
      return r;
    if (steps-- == 0)
      return -EUCLEAN;
    at = record.parent;
  }
  return at == id;
}

/* One side of a rename. */
struct side {
  casefs_node *directory;
  const char *name;
  size_t length;
  struct found_entry entry;
  struct node_record record; /* of the entry's node */
  bool exists;
};

static int find_side(struct side *side) {
  int r = find_in(side->directory, side->name, side->length, &side->entry);
  side->exists = r == 0;
  if (r == 0)
    r = node_fetch(side->directory->volume, side->entry.id, &side->record);
  return r;
}

/* Put a node under its new directory and name; a directory's parent is in its record. */
static void move_to(casefs_volume *volume, uint64_t id, struct node_record *record,
                    const struct side *to, const char *name, size_t length, uint64_t now) {
  put_name(volume, to->directory->id, name, length, id, record->type);
  record->changed = now;
  if (record->type == CASEFS_DIRECTORY)
    record->parent = to->directory->id;
  node_store(volume, id, record);
}

static int touch_both(struct side *from, struct side *to) {
  int r = node_touch(from->directory, PURPOSE_NORMAL);
  return r < 0 ? r : node_touch(to->directory, PURPOSE_NORMAL);
}

static int rename_entry(struct side *from, struct side *to, bool replaces) {
  casefs_volume *volume = from->directory->volume;
  uint64_t now = casefs_now();
  bool rest = false;
  int r = touch_both(from, to);
  if (r < 0)
    return r;
  remove_name(volume, from->directory->id, &from->entry);
  if (replaces) {
    remove_name(volume, to->directory->id, &to->entry);
    r = lose_name(volume, to->entry.id, &to->record, now, false, &rest);
  }
  if (r < 0) {
    change_abandon(volume);
    return r;
  }
  move_to(volume, from->entry.id, &from->record, to, to->name, to->length, now);
  r = change_apply(volume, replaces ? PURPOSE_SHRINK : PURPOSE_NORMAL);
  if (r < 0)
    return r;
  count_entries(from->directory, -1, now);
  count_entries(to->directory, replaces ? 0 : 1, now);
  node_publish(volume, from->entry.id, &from->record);
  if (replaces)
    node_lost_name(volume, to->entry.id, &to->record, rest);
  return 0;
}

static int exchange(struct side *from, struct side *to) {
  casefs_volume *volume = from->directory->volume;
  uint64_t now = casefs_now();
  char from_name[CASEFS_MAX_NAME + 1], to_name[CASEFS_MAX_NAME + 1];
  int r = touch_both(from, to);
  if (r < 0)
    return r;
  int from_length = copy_name(&from->entry.key, from_name);
  int to_length = copy_name(&to->entry.key, to_name);
  if (from_length < 0 || to_length < 0)
    return -EUCLEAN;
  remove_name(volume, from->directory->id, &from->entry);
  remove_name(volume, to->directory->id, &to->entry);
  move_to(volume, from->entry.id, &from->record, to, to_name, (size_t)to_length, now);
  move_to(volume, to->entry.id, &to->record, from, from_name, (size_t)from_length, now);
  r = change_apply(volume, PURPOSE_NORMAL);
  if (r < 0)
    return r;
  count_entries(from->directory, 0, now);
  count_entries(to->directory, 0, now);
  node_publish(volume, from->entry.id, &from->record);
  node_publish(volume, to->entry.id, &to->record);
  return 0;
}

/* A directory may not come to be below itself. */
static int check_loop(const struct side *moved, casefs_node *into) {
  if (moved->record.type != CASEFS_DIRECTORY)
    return 0;
  int r = is_below(into, moved->entry.id);
  return r == 1 ? -EINVAL : r;
}

/* Whether one node may take another's name. */
static int check_replace(const struct side *from, const struct side *to) {
  bool from_directory = from->record.type == CASEFS_DIRECTORY;
  bool to_directory = to->record.type == CASEFS_DIRECTORY;
  if (from_directory && !to_directory)
    return -ENOTDIR;
  if (!from_directory && to_directory)
    return -EISDIR;
  return to_directory && to->record.size > 0 ? -ENOTEMPTY : 0;
}

static int rename_sides(struct side *from, struct side *to, unsigned flags) {
  int r = check_live(to->directory);
  if (r == 0)
    r = find_side(from);
  if (r < 0)
    return r;
  r = find_side(to);
  if (r < 0 && r != -ENOENT)
    return r;
  /* The same entry under another spelling, or the same. */
  bool same_entry = to->exists && from->directory->id == to->directory->id &&
                    key_compare(from->entry.key.bytes, from->entry.key.length, to->entry.key.bytes,
                                to->entry.key.length) == 0;
  if (flags & CASEFS_RENAME_EXCHANGE) {
    if (!to->exists)
      return -ENOENT;
    if (from->entry.id == to->entry.id)
      return 0;
    r = check_loop(from, to->directory);
    if (r == 0)
      r = check_loop(to, from->directory);
    return r < 0 ? r : exchange(from, to);
  }
  if (same_entry) {
    uint32_t offset = key_name_offset(from->entry.key.bytes, from->entry.key.length);
    bool same_spelling = from->entry.key.length - offset == to->length &&
                         memcmp(from->entry.key.bytes + offset, to->name, to->length) == 0;
    return same_spelling ? 0 : rename_entry(from, to, false);
  }
  if (to->exists && flags & CASEFS_RENAME_NOREPLACE)
    return -EEXIST;
  if (to->exists && from->entry.id == to->entry.id)
    return 0;
  r = check_loop(from, to->directory);
  if (r == 0 && to->exists)
    r = check_replace(from, to);
  return r < 0 ? r : rename_entry(from, to, to->exists);
}

int casefs_rename(casefs_node *from, const char *old_name, size_t old_length, casefs_node *to,
                  const char *new_name, size_t new_length, unsigned flags) {
  struct node_record record;
  unsigned tries = 0;
  if (from->volume != to->volume || flags & ~(CASEFS_RENAME_NOREPLACE | CASEFS_RENAME_EXCHANGE) ||
      flags == (CASEFS_RENAME_NOREPLACE | CASEFS_RENAME_EXCHANGE))
    return -EINVAL;
  int r = check_name(from, old_name, old_length, &record);
  if (r == 0)
    r = check_name(to, new_name, new_length, &record);
  if (r < 0)
    return r;
  do {
    struct side source = {.directory = from, .name = old_name, .length = old_length};
    struct side target = {.directory = to, .name = new_name, .length = new_length};
    r = change_begin(from->volume);
    if (r < 0)
      return r;
    r = rename_sides(&source, &target, flags);
    change_end(from->volume);
  } while (try_again(from->volume, r, &tries));
  return r;
}

/* --------------------------------------------------------------------- the case flag */

/* Two neighbours with the same folded name: -EEXIST, and their names. */
static int find_collision(casefs_node *directory, char *first, char *second) {
  struct tree_record record;
  struct key key, previous = {.length = 0};
  uint32_t previous_folded = 0;
  key_start(&key, directory->id, RECORD_ENTRY);
  for (;;) {
    int r = tree_seek_prefix(&directory->volume->tree, &key, KEY_PREFIX, &record);
    if (r < 0)
      return r == -ENOENT ? 0 : r;
    uint32_t folded = key_name_offset(record.key.bytes, record.key.length);
    if (folded == previous_folded && memcmp(previous.bytes, record.key.bytes, folded) == 0) {
      r = first ? copy_name(&previous, first) : 0;
      if (r >= 0 && second)
        r = copy_name(&record.key, second);
      return r < 0 ? r : -EEXIST;
    }
    previous = key = record.key;
    previous_folded = folded;
    key_after(&key);
  }
}

int casefs_set_case(casefs_node *directory, bool insensitive, char *first, char *second) {
  casefs_volume *volume = directory->volume;
  unsigned tries = 0;
  int r;
  if (node_record_of(directory).type != CASEFS_DIRECTORY)
    return -ENOTDIR;
  do {
    r = change_begin(volume);
    if (r < 0)
      return r;
    struct node_record record = node_record_of(directory);
    if (insensitive && !record.insensitive)
      r = find_collision(directory, first, second);
    if (r == 0 && insensitive != record.insensitive) {
      record.insensitive = insensitive;
      record.changed = casefs_now();
      node_store(volume, directory->id, &record);
      r = change_apply(volume, PURPOSE_NORMAL);
      if (r == 0)
        node_set_record(directory, &record);
    }
    change_end(volume);
  } while (try_again(volume, r, &tries));
  return r;
}
