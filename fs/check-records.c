/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Records, one by one and by node: what can be judged from the records of one id.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

/* ------------------------------------------------------------------------ lists */

int id_list_add(struct id_list *list, uint64_t id) {
  if (list->count == list->capacity) {
    size_t capacity = list->capacity ? 2 * list->capacity : 64;
    uint64_t *ids = realloc(list->ids, capacity * sizeof *ids);
    if (!ids)
      return -ENOMEM;
    list->ids = ids;
    list->capacity = capacity;
  }
  list->ids[list->count++] = id;
  return 0;
}

static int compare_ids(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

void id_list_sort(struct id_list *list) {
  if (list->count > 1)
    qsort(list->ids, list->count, sizeof *list->ids, compare_ids);
}

ptrdiff_t id_list_find(const struct id_list *list, uint64_t id) {
  size_t low = 0, high = list->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (list->ids[middle] < id)
      low = middle + 1;
    else
      high = middle;
  }
  return low < list->count && list->ids[low] == id ? (ptrdiff_t)low : -1;
}

void id_list_free(struct id_list *list) {
  free(list->ids);
  *list = (struct id_list){0};
}

static int add_directory(struct check *check, uint64_t id, uint64_t parent) {
  if (check->directory_count == check->directory_capacity) {
    size_t capacity = check->directory_capacity ? 2 * check->directory_capacity : 64;
    struct directory *directories = realloc(check->directories, capacity * sizeof *directories);
    if (!directories)
      return -ENOMEM;
    check->directories = directories;
    check->directory_capacity = capacity;
  }
  check->directories[check->directory_count++] =
      (struct directory){.id = id, .parent = parent, .reached = false};
  return 0;
}

static int add_miscount(struct check *check, const struct group *group) {
  if (check->miscount_count == check->miscount_capacity) {
    size_t capacity = check->miscount_capacity ? 2 * check->miscount_capacity : 64;
    struct miscount *miscounts = realloc(check->miscounts, capacity * sizeof *miscounts);
    if (!miscounts)
      return -ENOMEM;
    check->miscounts = miscounts;
    check->miscount_capacity = capacity;
  }
  check->miscounts[check->miscount_count++] =
      (struct miscount){group->id, group->links, group->entries, group->streams};
  return 0;
}

/* ---------------------------------------------------------------- beginning a node */

static int malformed(struct check *check, const struct record *record) {
  uint64_t id = record->key_length >= KEY_PREFIX ? record_id(record) : 0;
  unsigned type = record->key_length >= KEY_PREFIX ? record_type(record) : 0;
  return report(check, PROBLEM_KEY, id, 0, type) ? plan_remove_record(check, record) : 0;
}

static void start_group(struct check *check, uint64_t id) {
  struct group *group = &check->group;
  *group = (struct group){
      .id = id, .any = true, .orphan = id_list_find(&check->orphans, id) >= 0, .type_lost = true};
  if (id > check->highest_id && id < LIMIT_ID)
    check->highest_id = id;
}

/* The type of a node whose record is lost, by the entry that its first link names. */
static uint8_t type_by_entry(struct check *check) {
  const struct key *link = &check->group.link;
  struct tree_record found;
  struct key key;
  uint32_t folded;
  uint64_t id;
  uint8_t type;
  if (link->length == 0)
    return 0;
  key_name(&key, load64_big(link->bytes + KEY_PREFIX), RECORD_ENTRY,
           (const char *)link->bytes + KEY_PREFIX + 8, link->length - KEY_PREFIX - 8, &folded);
  int r = closer(check);
  if (r == 0)
    r = tree_get(&check->tree, &key, &found);
  if (r < 0 && r != -ENOENT && r != -EUCLEAN)
    check->error = r;
  return r == 0 && entry_record_decode(&id, &type, found.value, found.length) == 0 &&
                 id == check->group.id
             ? type
             : 0;
}

static uint8_t type_by_records(struct check *check) {
  const struct group *group = &check->group;
  if (group->id == CASEFS_ROOT_ID || group->entries > 0)
    return CASEFS_DIRECTORY;
  if (group->has_target)
    return CASEFS_SYMLINK;
  uint8_t type = group->extents_end > 0 ? CASEFS_FILE : type_by_entry(check);
  return type != 0 && type != CASEFS_STREAM ? type : CASEFS_FILE;
}

/* A record for a node that has lost its own. */
static void invent_record(struct check *check) {
  struct group *group = &check->group;
  uint64_t now = check->superblock.commit_time;
  uint8_t type = group->type_lost ? type_by_records(check) : group->record.type;
  if (group->malformed) {
    group->record.type = type;
    if (type != CASEFS_DIRECTORY)
      group->record.insensitive = false;
    if (group->record.size == 0)
      group->record.size = type == CASEFS_DIRECTORY ? group->entries : group->data_end;
    group->present = group->changed = true;
    return;
  }
  group->record = (struct node_record){
      .type = type,
      .mode = 0600,
      .created = now,
      .modified = now,
      .accessed = now,
      .changed = now,
      .size = group->data_end,
      .links = group->id == CASEFS_ROOT_ID ? 1 : (uint32_t)group->links,
      .reparse_tag = group->tag,
  };
  if (group->record.type == CASEFS_DIRECTORY) {
    group->record.mode = 0700;
    group->record.size = group->entries;
    group->record.parent = CASEFS_ROOT_ID;
  }
  group->present = group->changed = true;
}

/* Take what can be had of a malformed record. */
static void salvage_record(struct group *group, const struct record *record) {
  uint8_t bytes[NODE_RECORD_SIZE] = {0};
  memcpy(bytes, record->value,
         record->length < NODE_RECORD_SIZE ? record->length : NODE_RECORD_SIZE);
  group->type_lost = bytes[0] < CASEFS_FILE || bytes[0] > CASEFS_STREAM;
  group->malformed = true;
  if (group->type_lost)
    bytes[0] = CASEFS_FILE;
  bytes[1] &= 1;
  if (load64(bytes + 16) > CASEFS_MAX_SIZE)
    store64(bytes + 16, 0);
  if (load64(bytes + 24) > MAX_BLOCKS)
    store64(bytes + 24, 0);
  node_record_decode(&group->record, bytes, sizeof bytes);
}

static int check_node_record(struct check *check, const struct record *record) {
  struct group *group = &check->group;
  if (record->key_length != KEY_PREFIX)
    return malformed(check, record);
  group->sound = true;
  if (node_record_decode(&group->record, record->value, record->length) < 0) {
    salvage_record(group, record);
    return 0;
  }
  group->present = true;
  if (group->id == CASEFS_ROOT_ID && group->record.type != CASEFS_DIRECTORY) {
    group->changed = report(check, PROBLEM_ROOT, group->id, 0);
    group->record.type = CASEFS_DIRECTORY;
  }
  group->nameless = group->orphan && group->record.links == 0 && group->id != CASEFS_ROOT_ID;
  return 0;
}

/* ----------------------------------------------------------------- finishing a node */

/* Whether a value in the node's record is to be corrected. */
static bool differs(struct check *check, enum problem_number number, uint64_t *value,
                    uint64_t right) {
  if (*value == right || !report(check, number, check->group.id, 0, *value, right))
    return false;
  *value = right;
  return check->group.changed = true;
}

static bool has_data(const struct node_record *record) {
  return record->type == CASEFS_FILE || record->type == CASEFS_STREAM;
}

static void finish_bits(struct check *check) {
  struct group *group = &check->group;
  struct node_record *record = &group->record;
  if (record->mode > 07777 && report(check, PROBLEM_MODE, group->id, 0, (unsigned)record->mode)) {
    record->mode &= 07777;
    group->changed = true;
  }
  if (record->dos_attributes & ~CASEFS_DOS_SETTABLE &&
      report(check, PROBLEM_ATTRIBUTES, group->id, 0, record->dos_attributes)) {
    record->dos_attributes &= CASEFS_DOS_SETTABLE;
    group->changed = true;
  }
  if (record->insensitive && record->type != CASEFS_DIRECTORY &&
      report(check, PROBLEM_CASE_FLAG, group->id, 0)) {
    record->insensitive = false;
    group->changed = true;
  }
}

/* The size of what is neither file nor directory; and that data ends at it. */
static void finish_size(struct check *check) {
  struct group *group = &check->group;
  struct node_record *record = &group->record;
  if (record->type == CASEFS_SYMLINK) {
    if (group->has_target)
      differs(check, PROBLEM_SIZE, &record->size, group->target_length);
  } else if (has_data(record)) {
    if (!group->orphan && group->data_end > record->size)
      differs(check, PROBLEM_SIZE, &record->size, group->data_end);
  } else if (record->type != CASEFS_DIRECTORY) {
    differs(check, PROBLEM_SIZE, &record->size, 0);
  }
}

static void finish_metadata(struct check *check) {
  struct group *group = &check->group;
  struct node_record *record = &group->record;
  uint64_t ea_size = record->ea_size;
  differs(check, PROBLEM_BLOCKS, &record->blocks, group->extent_blocks);
  if (group->nameless)
    return;
  differs(check, PROBLEM_EA_SIZE, &ea_size, group->ea_packed);
  record->ea_size = (uint32_t)ea_size;
  if (!group->has_reparse && record->reparse_tag != 0 &&
      report(check, PROBLEM_NO_REPARSE, group->id, 0, record->reparse_tag)) {
    record->reparse_tag = 0;
    group->changed = true;
  } else if (group->has_reparse && record->reparse_tag != group->tag &&
             report(check, PROBLEM_REPARSE_TAG, group->id, 0, record->reparse_tag, group->tag)) {
    record->reparse_tag = group->tag;
    group->changed = true;
  }
}

static uint64_t link_directory(const struct group *group) {
  return load64_big(group->link.bytes + KEY_PREFIX);
}

static void finish_parent(struct check *check) {
  struct group *group = &check->group;
  struct node_record *record = &group->record;
  if (record->type == CASEFS_STREAM || group->nameless)
    return;
  if (record->type != CASEFS_DIRECTORY)
    differs(check, PROBLEM_PARENT, &record->parent, 0);
  else if (group->id == CASEFS_ROOT_ID)
    differs(check, PROBLEM_PARENT, &record->parent, CASEFS_ROOT_ID);
  else if (group->links > 0 && !group->parent_link)
    differs(check, PROBLEM_PARENT, &record->parent, link_directory(group));
  check->names_suspect |= record->type == CASEFS_DIRECTORY && group->links > 1;
}

static int finish_target(struct check *check) {
  static const char unknown[] = "?";
  struct group *group = &check->group;
  struct key key;
  if (group->record.type != CASEFS_SYMLINK || group->has_target || group->nameless ||
      !report(check, PROBLEM_NO_TARGET, group->id, 0))
    return 0;
  key_start(&key, group->id, RECORD_TARGET);
  group->record.size = sizeof unknown - 1;
  group->changed = true;
  return plan_put(check, &key, unknown, sizeof unknown - 1);
}

/* Counts that depend on what others say of the node are compared later. */
static int finish_counts(struct check *check) {
  struct group *group = &check->group;
  struct node_record *record = &group->record;
  bool wrong;
  if (record->type == CASEFS_STREAM) {
    if (!group->nameless)
      check->stream_sum -= pair_hash(group->id, record->parent);
    wrong = (record->links == 0 && !group->orphan) || record->links > 1 || record->streams != 0;
  } else if (group->nameless) {
    wrong = group->links > 0 || (record->type == CASEFS_DIRECTORY && group->entries > 0);
  } else {
    bool root = group->id == CASEFS_ROOT_ID;
    wrong = record->links != (root ? 1 : group->links) || (!root && group->links == 0) ||
            record->streams != group->streams ||
            (record->type == CASEFS_DIRECTORY && record->size != group->entries);
    check->type_sum -= group->links * pair_hash(group->id, record->type);
  }
  if (record->security != 0)
    check->security_sum += pair_hash(record->security, 0);
  return wrong ? add_miscount(check, group) : 0;
}

static int finish_orphan(struct check *check) {
  struct group *group = &check->group;
  struct key key;
  bool right =
      group->orphan && (group->nameless || (has_data(&group->record) && group->record.links > 0));
  if (!group->orphan)
    return 0;
  if (right || !report(check, PROBLEM_ORPHAN, group->id, 0))
    return 0;
  key_start(&key, 0, RECORD_ORPHAN);
  key_append64(&key, group->id);
  return plan_remove(check, &key);
}

static void count_node(struct check *check) {
  struct casefs_check_result *result = check->result;
  uint8_t type = check->group.record.type;
  check->nodes += type != CASEFS_STREAM;
  *(type == CASEFS_FILE        ? &result->files
    : type == CASEFS_DIRECTORY ? &result->directories
    : type == CASEFS_STREAM    ? &result->streams
                               : &result->others) += 1;
}

static int finish_node(struct check *check) {
  struct group *group = &check->group;
  int r = 0;
  finish_bits(check);
  finish_size(check);
  finish_metadata(check);
  finish_parent(check);
  count_node(check);
  r = finish_target(check);
  if (r == 0)
    r = finish_counts(check);
  if (r == 0)
    r = finish_orphan(check);
  if (r == 0 && group->record.type == CASEFS_DIRECTORY && !group->nameless)
    r = add_directory(check, group->id, group->record.parent);
  return r;
}

static int finish_group(struct check *check) {
  struct group *group = &check->group;
  int r = parts_finish(check);
  if (r != 0 || !group->any || group->id == 0 || !group->sound)
    return r;
  if (group->orphan)
    r = id_list_add(&check->orphans_seen, group->id);
  if (r < 0)
    return r;
  if (group->present) {
    r = finish_node(check);
  } else {
    /* What an invented record says is judged in the next round. */
    invent_record(check);
    if (!report(check, group->malformed ? PROBLEM_NODE : PROBLEM_NO_NODE, group->id, 0))
      return 0;
  }
  return r == 0 && group->changed ? plan_node(check, group->id, &group->record) : r;
}

/* ------------------------------------------------------------------ all records */

static int check_orphan(struct check *check, const struct record *record) {
  if (record->key_length != KEY_PREFIX + 8 || record->length != 0)
    return malformed(check, record);
  return id_list_add(&check->orphans, load64_big(record->key + KEY_PREFIX));
}

static int check_volume_record(struct check *check, const struct record *record) {
  switch (record_type(record)) {
  case RECORD_FOLD_TABLE:
    return check_fold_table(check, record);
  case RECORD_SECURITY:
    return check_descriptor(check, record);
  case RECORD_SECURITY_HASH:
    return check_descriptor_hash(check, record);
  case RECORD_ORPHAN:
    return check_orphan(check, record);
  default:
    return malformed(check, record);
  }
}

/* Which types of nodes have records of a kind. */
static bool node_has(uint8_t type, uint8_t kind) {
  switch (kind) {
  case RECORD_ENTRY:
    return type == CASEFS_DIRECTORY;
  case RECORD_STREAM:
    return type == CASEFS_FILE || type == CASEFS_DIRECTORY;
  case RECORD_REPARSE:
    return type != CASEFS_STREAM && type != CASEFS_SYMLINK;
  case RECORD_TARGET:
    return type == CASEFS_SYMLINK;
  case RECORD_EXTENT:
    return type == CASEFS_FILE || type == CASEFS_STREAM;
  default:
    return type != CASEFS_STREAM;
  }
}

static int check_own_record(struct check *check, const struct record *record) {
  switch (record_type(record)) {
  case RECORD_LINK:
    return check_link(check, record);
  case RECORD_ENTRY:
    return check_entry(check, record);
  case RECORD_STREAM:
    return check_stream(check, record);
  case RECORD_EA:
    return check_ea(check, record);
  case RECORD_REPARSE:
    return check_reparse(check, record);
  case RECORD_TARGET:
    return check_target(check, record);
  case RECORD_EXTENT:
    return check_extent(check, record);
  default:
    return malformed(check, record);
  }
}

static int check_record(struct check *check, const struct record *record) {
  struct group *group = &check->group;
  int r = 0;
  if (record->key_length < KEY_PREFIX)
    return malformed(check, record);
  if (!group->any || record_id(record) != group->id) {
    r = finish_group(check);
    if (r != 0)
      return r;
    start_group(check, record_id(record));
  }
  if (group->id == 0)
    return check_volume_record(check, record);
  if (group->id >= LIMIT_ID)
    return report(check, PROBLEM_ID, group->id, 0) ? plan_remove_record(check, record) : 0;
  uint8_t kind = record_type(record);
  if (kind == RECORD_NODE)
    return check_node_record(check, record);
  if (group->present && kind <= RECORD_EXTENT && !node_has(group->record.type, kind))
    return report(check, PROBLEM_STRAY, group->id, 0, (unsigned)kind)
               ? plan_remove_record(check, record)
               : 0;
  return check_own_record(check, record);
}

/* Orphan records of nodes that are not there. */
static int check_orphans(struct check *check) {
  int r = 0;
  for (size_t i = 0; r == 0 && i < check->orphans.count; i++) {
    uint64_t id = check->orphans.ids[i];
    struct key key;
    if (id_list_find(&check->orphans_seen, id) >= 0 || !report(check, PROBLEM_ORPHAN, id, 0))
      continue;
    key_start(&key, 0, RECORD_ORPHAN);
    key_append64(&key, id);
    r = plan_remove(check, &key);
  }
  return r;
}

static int add_root(struct check *check) {
  if (!report(check, PROBLEM_NO_ROOT, CASEFS_ROOT_ID, 0))
    return 0;
  check->group = (struct group){.id = CASEFS_ROOT_ID};
  invent_record(check);
  return plan_node(check, CASEFS_ROOT_ID, &check->group.record);
}

static int add_fold_table(struct check *check) {
  uint8_t table[FOLD_TABLE_MAX];
  size_t length = fold_table_encode(table);
  struct key key;
  if (!report(check, PROBLEM_NO_FOLD_TABLE, 0, 0))
    return 0;
  key_start(&key, 0, RECORD_FOLD_TABLE);
  return plan_put(check, &key, table, length);
}

/* What the superblock counts. */
static void check_totals(struct check *check) {
  struct superblock *superblock = &check->superblock;
  uint8_t table[FOLD_TABLE_MAX];
  uint64_t sum = checksum(table, fold_table_encode(table));
  if (superblock->next_id <= check->highest_id) {
    check->superblock_changed |=
        report(check, PROBLEM_NEXT_ID, 0, 0, superblock->next_id, check->highest_id);
    superblock->next_id = check->highest_id + 1;
  }
  if (superblock->nodes != check->nodes) {
    check->superblock_changed |=
        report(check, PROBLEM_NODE_COUNT, 0, 0, superblock->nodes, check->nodes);
    superblock->nodes = check->nodes;
  }
  if (superblock->fold_checksum != sum) {
    check->superblock_changed |= report(check, PROBLEM_FOLD_CHECKSUM, 0, 0);
    superblock->fold_checksum = sum;
  }
}

int check_records(struct check *check) {
  int r = walk_records(check, "records", check_record);
  if (r == 0 && !check->torn)
    r = finish_group(check);
  if (r != 0 || check->torn)
    return r;
  if (!check->fold_seen)
    r = add_fold_table(check);
  if (r == 0)
    r = check_orphans(check);
  if (r == 0 && (check->directory_count == 0 || check->directories[0].id != CASEFS_ROOT_ID) &&
      plan_empty(check))
    r = add_root(check);
  if (plan_empty(check))
    check_totals(check);
  return r;
}
