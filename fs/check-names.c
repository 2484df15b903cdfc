/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Names: links, entries and streams, first each by itself, then against what
 * they lead to.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "page.h"

/* ------------------------------------------------------------------------- sums */

uint64_t name_hash(uint64_t id, uint64_t directory, const void *name, size_t length) {
  uint8_t bytes[16 + CASEFS_MAX_NAME];
  store64(bytes, id);
  store64(bytes + 8, directory);
  memcpy(bytes + 16, name, length);
  return checksum(bytes, 16 + length);
}

uint64_t pair_hash(uint64_t a, uint64_t b) {
  uint64_t words[2] = {a, b};
  return checksum(words, sizeof words);
}

/* ------------------------------------------------------------------ one by one */

/* The name in a link's, entry's or stream's key. */
static bool name_of(const struct record *record, const char **name, size_t *length) {
  uint32_t offset = record_type(record) == RECORD_LINK
                        ? KEY_PREFIX + 8
                        : key_name_offset(record->key, record->key_length);
  if (offset == 0 || offset >= record->key_length)
    return false;
  *name = (const char *)record->key + offset;
  *length = record->key_length - offset;
  return (record_type(record) == RECORD_STREAM ? stream_name_check(*name, *length)
                                               : name_check(*name, *length)) == 0;
}

static int drop(struct check *check, const struct record *record, enum problem_number number) {
  return report(check, number, check->group.id, 0) ? plan_remove_record(check, record) : 0;
}

int check_link(struct check *check, const struct record *record) {
  struct group *group = &check->group;
  const char *name;
  size_t length;
  if (!name_of(record, &name, &length) || record->length != 0 || group->id == CASEFS_ROOT_ID)
    return drop(check, record, PROBLEM_LINK);
  uint64_t directory = load64_big(record->key + KEY_PREFIX);
  if (group->links++ == 0) {
    group->link.length = record->key_length;
    memcpy(group->link.bytes, record->key, record->key_length);
  }
  group->sound = true;
  group->parent_link |= directory == group->record.parent;
  check->name_sum -= name_hash(group->id, directory, name, length);
  return 0;
}

/* An entry or stream under a wrong fold is put under the right one, unless that is taken. */
static int refold(struct check *check, const struct record *record, const struct key *right) {
  struct tree_record found;
  int r = closer(check);
  if (r == 0)
    r = tree_get(&check->tree, right, &found);
  if (r == -ENOENT)
    r = plan_put(check, right, record->value, record->length);
  return r == 0 ? plan_remove_record(check, record) : r;
}

#define MAX_SUFFIX 48u

/* A name that is free beside the others, made of one that is taken and its node's number; a long
 * name gives way to that. */
static int free_name(struct check *check, const struct record *record, const char *name,
                     size_t length, uint64_t id, char *other, size_t *other_length) {
  bool stream = record_type(record) == RECORD_STREAM;
  unsigned tries = 0;
  int r = closer(check);
  for (size_t cut = length; r == 0;) {
    struct tree_record found;
    struct key key;
    uint32_t folded;
    memcpy(other, name, cut);
    *other_length = cut + (size_t)snprintf(other + cut, MAX_SUFFIX, "~%" PRIu64 "~%u", id, tries);
    if ((stream ? stream_name_check : name_check)(other, *other_length) < 0) {
      cut--;
      continue;
    }
    key_name(&key, record_id(record), record_type(record), other, *other_length, &folded);
    key.length = folded;
    r = tree_seek_prefix(&check->tree, &key, folded, &found);
    tries++;
  }
  return r == -ENOENT ? 0 : r;
}

/* Two names of one fold where there may be one: the later gets another. */
static int rename_twin(struct check *check, const struct record *record, const char *name,
                       size_t length, uint64_t id) {
  char other[CASEFS_MAX_NAME + MAX_SUFFIX];
  size_t other_length = 0;
  struct key key;
  uint32_t folded;
  int r = free_name(check, record, name, length, id, other, &other_length);
  if (r < 0)
    return r;
  key_name(&key, record_id(record), record_type(record), other, other_length, &folded);
  r = plan_put(check, &key, record->value, record->length);
  if (r == 0)
    r = plan_remove_record(check, record);
  if (r != 0 || record_type(record) == RECORD_STREAM)
    return r;
  key_link(&key, id, record_id(record), name, length);
  r = plan_remove(check, &key);
  key_link(&key, id, record_id(record), other, other_length);
  return r == 0 ? plan_put(check, &key, NULL, 0) : r;
}

/* What entries and streams have in common.  *done: it was dealt with. */
static int check_name(struct check *check, const struct record *record, uint64_t *id, uint8_t *type,
                      bool *done) {
  struct group *group = &check->group;
  bool stream = record_type(record) == RECORD_STREAM;
  const char *name;
  size_t length;
  struct key key;
  uint32_t folded;
  *done = true;
  if (!name_of(record, &name, &length) ||
      entry_record_decode(id, type, record->value, record->length) < 0 ||
      (*type == CASEFS_STREAM) != stream)
    return drop(check, record, stream ? PROBLEM_STREAM : PROBLEM_ENTRY);
  group->sound = true;
  key_name(&key, group->id, record_type(record), name, length, &folded);
  if (key.length != record->key_length || memcmp(key.bytes, record->key, key.length) != 0)
    return report(check, stream ? PROBLEM_STREAM_FOLD : PROBLEM_ENTRY_FOLD, group->id, 0,
                  (int)length, name)
               ? refold(check, record, &key)
               : 0;
  bool twin = folded == group->name.length && memcmp(key.bytes, group->name.bytes, folded) == 0;
  group->name.length = folded;
  memcpy(group->name.bytes, key.bytes, folded);
  *done = false;
  if (twin && (stream || (group->present && group->record.insensitive)) &&
      report(check, stream ? PROBLEM_STREAM_TWICE : PROBLEM_ENTRY_TWICE, group->id, 0, (int)length,
             name)) {
    *done = true;
    return rename_twin(check, record, name, length, *id);
  }
  return 0;
}

int check_entry(struct check *check, const struct record *record) {
  struct group *group = &check->group;
  const char *name;
  size_t length;
  uint64_t id;
  uint8_t type;
  bool done;
  int r = check_name(check, record, &id, &type, &done);
  if (r != 0 || done)
    return r;
  name_of(record, &name, &length);
  group->entries++;
  check->name_sum += name_hash(id, group->id, name, length);
  check->type_sum += pair_hash(id, type);
  return 0;
}

int check_stream(struct check *check, const struct record *record) {
  uint64_t id;
  uint8_t type;
  bool done;
  int r = check_name(check, record, &id, &type, &done);
  if (r != 0 || done)
    return r;
  check->group.streams++;
  check->stream_sum += pair_hash(id, check->group.id);
  return 0;
}

/* ------------------------------------------------------- entries against links */

static bool same_key(const struct key *key, const struct record *record) {
  return key->length == record->key_length && memcmp(key->bytes, record->key, key->length) == 0;
}

static int get(struct check *check, const struct key *key, struct tree_record *found) {
  int r = closer(check);
  return r < 0 ? r : tree_get(&check->tree, key, found);
}

/* Whether a record is there: 1 or 0. */
static int is_there(struct check *check, const struct key *key) {
  struct tree_record found;
  int r = get(check, key, &found);
  return r == 0 ? 1 : r == -ENOENT ? 0 : r;
}

/* Whether a directory has another link than this one. */
static int has_other_link(struct check *check, uint64_t id, const struct key *link) {
  struct tree_record found;
  struct key key;
  key_start(&key, id, RECORD_LINK);
  int r = closer(check);
  while (r == 0) {
    r = tree_seek_prefix(&check->tree, &key, KEY_PREFIX, &found);
    if (r < 0)
      break;
    if (key_compare(found.key.bytes, found.key.length, link->bytes, link->length) != 0)
      return 1;
    key = found.key;
    key_after(&key);
  }
  return r == -ENOENT ? 0 : r;
}

static int closer_entry(struct check *check, const struct record *record) {
  uint64_t directory = record_id(record), id;
  struct node_record node;
  const char *name;
  size_t length;
  struct key link;
  uint8_t type, value[ENTRY_RECORD_SIZE];
  if (!name_of(record, &name, &length) ||
      entry_record_decode(&id, &type, record->value, record->length) < 0)
    return 0;
  int r = closer_node(check, id, &node);
  if (r == -ENOENT || (r == 0 && id == CASEFS_ROOT_ID))
    return report(check, PROBLEM_ENTRY_NO_NODE, directory, 0, (int)length, name, id)
               ? plan_remove_record(check, record)
               : 0;
  if (r < 0)
    return r == -EUCLEAN ? 0 : r;
  if (node.type == CASEFS_STREAM) {
    if (!report(check, PROBLEM_ENTRY_TYPE, directory, 0, (int)length, name, (unsigned)type, id,
                (unsigned)node.type))
      return 0;
    return plan_remove_record(check, record);
  }
  key_link(&link, id, directory, name, length);
  r = is_there(check, &link);
  if (r == 0) {
    int other = node.type == CASEFS_DIRECTORY ? has_other_link(check, id, &link) : 0;
    if (other < 0 || !report(check, PROBLEM_ENTRY_NO_LINK, directory, 0, (int)length, name, id))
      return other < 0 ? other : 0;
    r = other ? plan_remove_record(check, record) : plan_put(check, &link, NULL, 0);
    if (other || r != 0)
      return r;
  }
  if (r < 0)
    return r;
  if (node.type == type || !report(check, PROBLEM_ENTRY_TYPE, directory, 0, (int)length, name,
                                   (unsigned)type, id, (unsigned)node.type))
    return 0;
  struct key key = {.length = record->key_length};
  memcpy(key.bytes, record->key, record->key_length);
  entry_record_encode(id, node.type, value);
  return plan_put(check, &key, value, sizeof value);
}

/* Whether the node that an entry leads to has it among its links, in whatever spelling: 1 or 0. */
static int is_held(struct check *check, uint64_t directory, const struct tree_record *entry) {
  uint32_t offset = key_name_offset(entry->key.bytes, entry->key.length);
  struct node_record node;
  struct key link;
  uint64_t id;
  uint8_t type;
  if (offset == 0 || entry->key.length - offset > CASEFS_MAX_NAME ||
      entry_record_decode(&id, &type, entry->value, entry->length) < 0)
    return 0;
  int r = closer_node(check, id, &node);
  if (r < 0)
    return r == -ENOENT || r == -EUCLEAN ? 0 : r;
  key_link(&link, id, directory, (const char *)entry->key.bytes + offset,
           entry->key.length - offset);
  return is_there(check, &link);
}

/* A link whose entry is lost: the entry is made again where there is room for it. */
static int restore_entry(struct check *check, const struct record *record, uint64_t directory,
                         const struct key *entry, uint32_t folded) {
  struct node_record parent, node;
  struct tree_record found;
  struct key key = *entry;
  uint8_t value[ENTRY_RECORD_SIZE];
  int r = closer_node(check, directory, &parent);
  if (r == 0)
    r = closer_node(check, record_id(record), &node);
  bool right_place = r == 0 && (node.type != CASEFS_DIRECTORY || node.parent == directory);
  if (right_place && parent.type == CASEFS_DIRECTORY && parent.links > 0 && node.links > 0) {
    if (parent.insensitive)
      key.length = folded;
    r = tree_seek_prefix(&check->tree, &key, key.length, &found);
    if (r == 0 && !parent.insensitive && found.key.length != entry->length)
      r = -ENOENT;
    if (r == -ENOENT) {
      entry_record_encode(record_id(record), node.type, value);
      return plan_put(check, entry, value, sizeof value);
    }
    /* If the one that has its place goes in this round, there will be. */
    if (r == 0 && (r = is_held(check, directory, &found)) == 0)
      return 0;
  }
  return r < 0 && r != -ENOENT ? r : plan_remove_record(check, record);
}

static int closer_link(struct check *check, const struct record *record) {
  uint64_t id = record_id(record), found_id = 0;
  struct tree_record found;
  const char *name;
  size_t length;
  struct key entry;
  uint32_t folded;
  uint8_t type;
  if (!name_of(record, &name, &length))
    return 0;
  uint64_t directory = load64_big(record->key + KEY_PREFIX);
  key_name(&entry, directory, RECORD_ENTRY, name, length, &folded);
  int r = get(check, &entry, &found);
  if (r == 0 && entry_record_decode(&found_id, &type, found.value, found.length) < 0)
    found_id = 0;
  if (r < 0 && r != -ENOENT)
    return r;
  if (r == -ENOENT || found_id != id)
    return report(check, PROBLEM_LINK_NO_ENTRY, id, 0, (int)length, name, directory)
               ? restore_entry(check, record, directory, &entry, folded)
               : 0;
  /* A directory is in one place: where its parent is. */
  struct node_record node;
  r = closer_node(check, id, &node);
  if (r < 0 || node.type != CASEFS_DIRECTORY)
    return r == -EUCLEAN || r == -ENOENT ? 0 : r;
  struct key link;
  key_link(&link, id, directory, name, length);
  if (directory == node.parent && same_key(&check->group.link, record))
    return 0;
  if (!report(check, PROBLEM_DIRECTORY_LINKS, id, 0, (int)length, name, directory))
    return 0;
  r = plan_remove(check, &entry);
  return r == 0 ? plan_remove_record(check, record) : r;
}

/* Remember which of a directory's links is the one in its parent: the first. */
static int choose_link(struct check *check, const struct record *record) {
  struct group *group = &check->group;
  struct node_record node;
  if (!group->any || group->id != record_id(record))
    *group = (struct group){.id = record_id(record), .any = true};
  if (group->link.length > 0)
    return 0;
  int r = closer_node(check, group->id, &node);
  if (r < 0 || load64_big(record->key + KEY_PREFIX) != node.parent)
    return r == -ENOENT || r == -EUCLEAN ? 0 : r;
  group->link.length = record->key_length;
  memcpy(group->link.bytes, record->key, record->key_length);
  return 0;
}

static int closer_name(struct check *check, const struct record *record) {
  if (record->key_length <= KEY_PREFIX || record_id(record) == 0)
    return 0;
  if (record_type(record) == RECORD_ENTRY)
    return closer_entry(check, record);
  if (record_type(record) != RECORD_LINK || record->key_length <= KEY_PREFIX + 8)
    return 0;
  int r = choose_link(check, record);
  return r == 0 ? closer_link(check, record) : r;
}

int check_names(struct check *check) {
  if (check->name_sum == 0 && check->type_sum == 0 && !check->names_suspect)
    return 0;
  check->group = (struct group){0};
  return walk_records(check, "names", closer_name);
}

/* -------------------------------------------------- streams against their nodes */

/* Whether a node has a stream record that leads to a stream: 1, with the first one's key, or 0. */
static int has_stream(struct check *check, uint64_t node, uint64_t stream, struct key *key) {
  struct tree_record found;
  key_start(key, node, RECORD_STREAM);
  int r = closer(check);
  while (r == 0) {
    uint64_t id;
    uint8_t type;
    r = tree_seek_prefix(&check->tree, key, KEY_PREFIX, &found);
    if (r < 0)
      break;
    *key = found.key;
    if (entry_record_decode(&id, &type, found.value, found.length) == 0 && id == stream)
      return 1;
    key_after(key);
  }
  return r == -ENOENT ? 0 : r;
}

/* A stream that has several names in its node keeps the first. */
static int closer_twice(struct check *check, const struct record *record, uint64_t id,
                        const char *name, size_t length) {
  const struct id_list *named = &check->named_streams;
  size_t at = (size_t)id_list_find(named, id);
  struct key first;
  if (at + 1 >= named->count || named->ids[at + 1] != id)
    return 0;
  int r = has_stream(check, record_id(record), id, &first);
  if (r < 0 || same_key(&first, record) ||
      !report(check, PROBLEM_STREAM_AGAIN, record_id(record), 0, (int)length, name, id))
    return r < 0 ? r : 0;
  return plan_remove_record(check, record);
}

static int closer_stream_name(struct check *check, const struct record *record) {
  uint64_t owner = record_id(record), id;
  struct node_record node;
  const char *name;
  size_t length;
  uint8_t type;
  if (!name_of(record, &name, &length) ||
      entry_record_decode(&id, &type, record->value, record->length) < 0)
    return 0;
  int r = closer_node(check, id, &node);
  if (r < 0 && r != -ENOENT)
    return r == -EUCLEAN ? 0 : r;
  /* A node that lost its record and was taken for a file: it is a stream. */
  bool taken_for_file = r == 0 && node.type == CASEFS_FILE && node.links == 0;
  if (r == -ENOENT || (node.type != CASEFS_STREAM && !taken_for_file))
    return report(check, PROBLEM_STREAM_NO_NODE, owner, 0, (int)length, name, id)
               ? plan_remove_record(check, record)
               : 0;
  if (node.type == CASEFS_STREAM && node.parent == owner)
    return closer_twice(check, record, id, name, length);
  bool named = node.type == CASEFS_STREAM && id_list_find(&check->named_streams, id) >= 0;
  if (!report(check, PROBLEM_STREAM_PARENT, owner, 0, (int)length, name, id, node.parent))
    return 0;
  if (named)
    return plan_remove_record(check, record);
  node.type = CASEFS_STREAM;
  node.parent = owner;
  node.links = 1;
  return plan_node(check, id, &node);
}

/* A stream without a name gets one; without a node it becomes a file. */
static int closer_stream(struct check *check, uint64_t id, struct node_record *node) {
  struct node_record owner;
  struct key key;
  uint32_t folded;
  char name[32];
  uint8_t value[ENTRY_RECORD_SIZE];
  if (node->links == 0)
    return 0;
  if (id_list_find(&check->named_streams, id) >= 0 ||
      !report(check, PROBLEM_STREAM_NAMELESS, id, 0, node->parent))
    return 0;
  int r = node->parent == 0 ? -ENOENT : closer_node(check, node->parent, &owner);
  if (r == 0 && (owner.type == CASEFS_FILE || owner.type == CASEFS_DIRECTORY) && owner.links > 0) {
    int length = snprintf(name, sizeof name, "#%" PRIu64, id);
    key_name(&key, node->parent, RECORD_STREAM, name, (size_t)length, &folded);
    entry_record_encode(id, CASEFS_STREAM, value);
    return plan_put(check, &key, value, sizeof value);
  }
  node->type = CASEFS_FILE;
  node->parent = 0;
  node->links = 0;
  node->mode = 0600;
  return plan_node(check, id, node);
}

static int visit_stream(struct check *check, const struct record *record) {
  struct node_record node;
  if (record->key_length < KEY_PREFIX || record_id(record) == 0)
    return 0;
  if (record_type(record) == RECORD_STREAM)
    return closer_stream_name(check, record);
  if (record_type(record) != RECORD_NODE ||
      node_record_decode(&node, record->value, record->length) < 0 || node.type != CASEFS_STREAM)
    return 0;
  return closer_stream(check, record_id(record), &node);
}

/* The streams that their node has a name for. */
static int collect_stream(struct check *check, const struct record *record) {
  struct node_record node;
  uint64_t id;
  uint8_t type;
  if (record->key_length < KEY_PREFIX || record_id(record) == 0 ||
      record_type(record) != RECORD_STREAM ||
      entry_record_decode(&id, &type, record->value, record->length) < 0)
    return 0;
  int r = closer_node(check, id, &node);
  if (r < 0)
    return r == -ENOENT || r == -EUCLEAN ? 0 : r;
  return node.type == CASEFS_STREAM && node.parent == record_id(record)
             ? id_list_add(&check->named_streams, id)
             : 0;
}

int check_streams(struct check *check) {
  if (check->stream_sum == 0)
    return 0;
  check->named_streams.count = 0;
  int r = walk_records(check, "streams", collect_stream);
  id_list_sort(&check->named_streams);
  return r == 0 ? walk_records(check, "streams", visit_stream) : r;
}

/* ------------------------------------------------------------------------- paths */

#define MAX_DEPTH 100u

/* The first name of a node: of a link, or of a stream in its node. */
static int first_name(struct check *check, uint64_t id, struct tree_record *found, uint64_t *parent,
                      bool *stream) {
  struct node_record node;
  struct key key;
  int r = closer_node(check, id, &node);
  *stream = r == 0 && node.type == CASEFS_STREAM;
  if (*stream) {
    *parent = node.parent;
    r = has_stream(check, node.parent, id, &key);
    found->key = key;
    return r == 1 ? 0 : -ENOENT;
  }
  key_start(&key, id, RECORD_LINK);
  if (r == 0 || r == -ENOENT)
    r = tree_seek_prefix(&check->tree, &key, KEY_PREFIX, found);
  if (r < 0 || found->key.length <= KEY_PREFIX + 8)
    return r < 0 ? r : -ENOENT;
  *parent = load64_big(found->key.bytes + KEY_PREFIX);
  return 0;
}

void describe_node(struct check *check, uint64_t id, char *text, size_t size) {
  struct tree_record found;
  size_t at = size - 1;
  text[at] = '\0';
  for (unsigned depth = 0; id != CASEFS_ROOT_ID && depth < MAX_DEPTH; depth++) {
    bool stream;
    uint64_t parent;
    if (first_name(check, id, &found, &parent, &stream) < 0)
      break;
    uint32_t offset = stream ? key_name_offset(found.key.bytes, found.key.length) : KEY_PREFIX + 8;
    size_t length = found.key.length - offset;
    if (offset == 0 || length + 4 > at)
      break;
    at -= length;
    memcpy(text + at, found.key.bytes + offset, length);
    text[--at] = stream ? ':' : '/';
    id = parent;
  }
  if (id != CASEFS_ROOT_ID && at >= 4) {
    at -= 3;
    memcpy(text + at, "...", 3);
  }
  memmove(text, text + at, size - at);
}
