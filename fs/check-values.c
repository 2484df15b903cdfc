/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a node has besides names and data: extended attributes, a reparse point, a target; and
 * the records of the volume: descriptors, fold table.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "windows.h"

#define EA_HEADER 6u /* and the name */
#define NEED_EA 0x80u
#define DESCRIPTOR_HEADER 24u

/* --------------------------------------------------------------- values in parts
 * Their records come one after the other; the value is judged when it is whole. */

static uint8_t parts_type(const struct parts *parts) {
  return key_type(&parts->prefix);
}

/* Whether a record is of the value that is under way. */
static bool parts_continue(const struct parts *parts, const struct record *record) {
  return parts->open && record->key_length == parts->prefix.length + 2 &&
         memcmp(record->key, parts->prefix.bytes, parts->prefix.length) == 0;
}

static uint32_t part_size(const struct parts *parts) {
  uint32_t left = parts->length - parts->next * PART_SIZE;
  return left < PART_SIZE ? left : PART_SIZE;
}

static uint32_t part_count(const struct parts *parts) {
  return parts->length > PART_SIZE ? (parts->length + PART_SIZE - 1) / PART_SIZE : 1;
}

/* Begin a value with its first record, whose header is that long; longest is what it may be. */
static int parts_begin(struct check *check, const struct record *record, uint32_t header,
                       uint32_t longest) {
  struct parts *parts = &check->parts;
  int r = parts_finish(check);
  if (r != 0)
    return r;
  if (!check->value && !(check->value = malloc(CASEFS_MAX_SECURITY)))
    return -ENOMEM;
  parts->open = true;
  parts->bad = record->length < header;
  parts->next = parts->filled = 0;
  parts->prefix.length = record->key_length - 2;
  memcpy(parts->prefix.bytes, record->key, parts->prefix.length);
  parts->seen.count = 0;
  parts->length = parts->bad ? 0 : load32(record->value);
  if (parts->length > longest) {
    parts->bad = true;
    parts->length = 0;
  }
  return 0;
}

/* Take a record in, past its header. */
static int parts_take(struct check *check, const struct record *record, uint32_t header) {
  struct parts *parts = &check->parts;
  uint16_t part = load16_big(record->key + record->key_length - 2);
  if (part != parts->next || part >= part_count(parts) ||
      record->length != header + part_size(parts))
    parts->bad = true;
  if (!parts->bad && record->length > header) {
    memcpy(check->value + parts->filled, record->value + header, record->length - header);
    parts->filled += record->length - header;
  }
  parts->next++;
  return id_list_add(&parts->seen, part);
}

/* Remove all parts of a value. */
static int parts_drop(struct check *check) {
  const struct parts *parts = &check->parts;
  int r = 0;
  for (size_t i = 0; r == 0 && i < parts->seen.count; i++) {
    struct key key;
    key_part(&key, &parts->prefix, (uint16_t)parts->seen.ids[i]);
    r = plan_remove(check, &key);
  }
  return r;
}

static int finish_ea(struct check *check) {
  struct group *group = &check->group;
  struct parts *parts = &check->parts;
  uint32_t name = parts->prefix.length - KEY_PREFIX - 1;
  if (group->nameless)
    return 0;
  if (parts->bad || parts->length == 0)
    return report(check, PROBLEM_EA, group->id, 0) ? parts_drop(check) : 0;
  uint64_t packed = 5 + name + parts->length;
  if (group->ea_packed + packed > CASEFS_MAX_EA_PACKED &&
      report(check, PROBLEM_EA_PACKED, group->id, 0))
    return parts_drop(check);
  group->ea_packed += packed;
  return 0;
}

static int finish_reparse(struct check *check) {
  struct group *group = &check->group;
  struct parts *parts = &check->parts;
  bool directory = group->present && group->record.type == CASEFS_DIRECTORY;
  if (group->nameless)
    return 0;
  if (parts->bad || reparse_check(check->value, parts->length, directory || !group->present) < 0)
    return report(check, PROBLEM_REPARSE, group->id, 0) ? parts_drop(check) : 0;
  group->has_reparse = true;
  group->tag = reparse_tag(check->value);
  return 0;
}

/* Put a descriptor's first part again with the right hash. */
static int mend_hash(struct check *check, uint64_t hash) {
  struct parts *parts = &check->parts;
  uint8_t bytes[DESCRIPTOR_HEADER + PART_SIZE] = {0};
  uint32_t size = parts->length < PART_SIZE ? parts->length : PART_SIZE;
  struct key key;
  store32(bytes, parts->length);
  store64(bytes + 8, check->descriptor_users);
  store64(bytes + 16, hash);
  memcpy(bytes + DESCRIPTOR_HEADER, check->value, size);
  key_part(&key, &parts->prefix, 0);
  return plan_put(check, &key, bytes, DESCRIPTOR_HEADER + size);
}

static int finish_descriptor(struct check *check) {
  struct parts *parts = &check->parts;
  uint64_t id = load64_big(parts->prefix.bytes + KEY_PREFIX);
  if (parts->bad || casefs_security_check(check->value, parts->length) < 0)
    return report(check, PROBLEM_DESCRIPTOR, id, 0) ? parts_drop(check) : 0;
  uint64_t hash = checksum(check->value, parts->length);
  check->security_sum -= check->descriptor_users * pair_hash(id, 0);
  check->hash_sum += pair_hash(hash, id);
  check->descriptors_unused |= check->descriptor_users == 0;
  if (hash == check->descriptor_hash || !report(check, PROBLEM_DESCRIPTOR_SUM, id, 0))
    return 0;
  return mend_hash(check, hash);
}

int parts_finish(struct check *check) {
  struct parts *parts = &check->parts;
  if (!parts->open)
    return 0;
  parts->open = false;
  parts->bad |= parts->next != part_count(parts);
  switch (parts_type(parts)) {
  case RECORD_EA:
    return finish_ea(check);
  case RECORD_REPARSE:
    return finish_reparse(check);
  default:
    return finish_descriptor(check);
  }
}

/* -------------------------------------------------------------- records of a node */

/* A part that does not belong to a value that has begun. */
static int stray_part(struct check *check, const struct record *record,
                      enum problem_number number) {
  int r = parts_finish(check);
  if (r != 0 || check->group.nameless)
    return r;
  return report(check, number, check->group.id, 0) ? plan_remove_record(check, record) : 0;
}

static bool is_first_part(const struct record *record) {
  return load16_big(record->key + record->key_length - 2) == 0;
}

static bool ea_name_is_right(const struct record *record, uint32_t length) {
  const char *name = (const char *)record->value + EA_HEADER;
  char folded[CASEFS_MAX_EA_NAME];
  if (record->length < EA_HEADER + length || record->value[5] != length ||
      record->value[4] & ~NEED_EA || ea_name_check(name, length) < 0)
    return false;
  ea_name_fold(name, length, folded);
  return memcmp(folded, record->key + KEY_PREFIX, length) == 0;
}

int check_ea(struct check *check, const struct record *record) {
  check->group.sound = true;
  if (parts_continue(&check->parts, record))
    return parts_take(check, record, 0);
  if (record->key_length < KEY_PREFIX + 4 ||
      record->key_length > KEY_PREFIX + 3 + CASEFS_MAX_EA_NAME ||
      record->key[record->key_length - 3] != 0 || !is_first_part(record))
    return stray_part(check, record, PROBLEM_EA);
  uint32_t name = record->key_length - KEY_PREFIX - 3;
  if (!ea_name_is_right(record, name))
    return stray_part(check, record, PROBLEM_EA_NAME);
  int r = parts_begin(check, record, EA_HEADER + name, CASEFS_MAX_EA_VALUE);
  return r != 0 ? r : parts_take(check, record, EA_HEADER + name);
}

int check_reparse(struct check *check, const struct record *record) {
  check->group.sound = true;
  if (parts_continue(&check->parts, record))
    return parts_take(check, record, 0);
  if (record->key_length != KEY_PREFIX + 2 || !is_first_part(record))
    return stray_part(check, record, PROBLEM_REPARSE);
  int r = parts_begin(check, record, 4, CASEFS_MAX_REPARSE);
  return r != 0 ? r : parts_take(check, record, 4);
}

int check_target(struct check *check, const struct record *record) {
  struct group *group = &check->group;
  int r = parts_finish(check);
  if (r != 0)
    return r;
  if (record->key_length != KEY_PREFIX || record->length == 0 ||
      record->length > CASEFS_MAX_SYMLINK)
    return report(check, PROBLEM_TARGET, group->id, 0) ? plan_remove_record(check, record) : 0;
  group->sound = group->has_target = true;
  group->target_length = record->length;
  return 0;
}

/* ------------------------------------------------------------ records of the volume */

int check_descriptor(struct check *check, const struct record *record) {
  if (parts_continue(&check->parts, record))
    return parts_take(check, record, 0);
  if (record->key_length != KEY_PREFIX + 10 || !is_first_part(record))
    return stray_part(check, record, PROBLEM_DESCRIPTOR);
  uint64_t id = load64_big(record->key + KEY_PREFIX);
  if (id == 0 || id >= LIMIT_ID)
    return stray_part(check, record, PROBLEM_DESCRIPTOR);
  int r = parts_begin(check, record, DESCRIPTOR_HEADER, CASEFS_MAX_SECURITY);
  if (id > check->highest_id)
    check->highest_id = id;
  if (r == 0 && !check->parts.bad) {
    check->descriptor_users = load64(record->value + 8);
    check->descriptor_hash = load64(record->value + 16);
  }
  return r != 0 ? r : parts_take(check, record, DESCRIPTOR_HEADER);
}

int check_descriptor_hash(struct check *check, const struct record *record) {
  int r = parts_finish(check);
  if (r != 0)
    return r;
  if (record->key_length != KEY_PREFIX + 16 || record->length != 0)
    return report(check, PROBLEM_DESCRIPTOR_HASH, 0, 0) ? plan_remove_record(check, record) : 0;
  check->hash_sum -=
      pair_hash(load64_big(record->key + KEY_PREFIX), load64_big(record->key + KEY_PREFIX + 8));
  return 0;
}

int check_fold_table(struct check *check, const struct record *record) {
  uint8_t table[FOLD_TABLE_MAX];
  size_t length = fold_table_encode(table);
  struct key key;
  if (record->key_length != KEY_PREFIX)
    return report(check, PROBLEM_KEY, 0, 0, RECORD_FOLD_TABLE) ? plan_remove_record(check, record)
                                                               : 0;
  check->fold_seen = true;
  if ((record->length == length && memcmp(record->value, table, length) == 0) ||
      !report(check, PROBLEM_FOLD_TABLE, 0, 0))
    return 0;
  key_start(&key, 0, RECORD_FOLD_TABLE);
  return plan_put(check, &key, table, length);
}
