/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Security descriptors against the nodes that have them, and against their hashes.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define HEADER 24u

struct user_count {
  uint64_t id, stored, counted;
};

/* Descriptors in order of their ids, while they are counted. */
struct user_counts {
  struct user_count *counts;
  size_t count, capacity;
};

static struct user_count *find(const struct user_counts *counts, uint64_t id) {
  size_t low = 0, high = counts->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (counts->counts[middle].id == id)
      return &counts->counts[middle];
    if (counts->counts[middle].id < id)
      low = middle + 1;
    else
      high = middle;
  }
  return NULL;
}

static int add(struct user_counts *counts, uint64_t id, uint64_t stored) {
  if (counts->count == counts->capacity) {
    size_t capacity = counts->capacity ? 2 * counts->capacity : 64;
    struct user_count *grown = realloc(counts->counts, capacity * sizeof *grown);
    if (!grown)
      return -ENOMEM;
    counts->counts = grown;
    counts->capacity = capacity;
  }
  counts->counts[counts->count++] = (struct user_count){id, stored, 0};
  return 0;
}

/* The first part of a descriptor. */
static bool is_descriptor(const struct record *record) {
  return record->key_length == KEY_PREFIX + 10 && record_id(record) == 0 &&
         record_type(record) == RECORD_SECURITY && record->length >= HEADER &&
         load16_big(record->key + KEY_PREFIX + 8) == 0;
}

static void hash_key(struct key *key, uint64_t hash, uint64_t id) {
  key_start(key, 0, RECORD_SECURITY_HASH);
  key_append64(key, hash);
  key_append64(key, id);
}

/* A descriptor is found by its hash. */
static int check_is_found(struct check *check, const struct record *record) {
  uint64_t id = load64_big(record->key + KEY_PREFIX);
  struct tree_record found;
  struct key key;
  hash_key(&key, load64(record->value + 16), id);
  int r = closer(check);
  if (r == 0)
    r = tree_get(&check->tree, &key, &found);
  return r == -ENOENT && report(check, PROBLEM_DESCRIPTOR_HASH, id, 0)
             ? plan_put(check, &key, NULL, 0)
         : r == -ENOENT ? 0
                        : r;
}

/* A hash leads to a descriptor of that hash. */
static int check_leads(struct check *check, const struct record *record) {
  struct tree_record found;
  struct key key;
  if (record->key_length != KEY_PREFIX + 16)
    return 0;
  uint64_t id = load64_big(record->key + KEY_PREFIX + 8);
  key_start(&key, 0, RECORD_SECURITY);
  key_append64(&key, id);
  key_append16(&key, 0);
  int r = closer(check);
  if (r == 0)
    r = tree_get(&check->tree, &key, &found);
  bool right = r == 0 && found.length >= HEADER &&
               load64(found.value + 16) == load64_big(record->key + KEY_PREFIX);
  if (right || (r < 0 && r != -ENOENT))
    return r;
  return report(check, PROBLEM_DESCRIPTOR_HASH, id, 0) ? plan_remove_record(check, record) : 0;
}

static int count_user(struct check *check, const struct record *record) {
  struct user_counts *counts = check->users;
  struct node_record node;
  if (record->key_length != KEY_PREFIX ||
      node_record_decode(&node, record->value, record->length) < 0 || node.security == 0)
    return 0;
  struct user_count *count = find(counts, node.security);
  if (count) {
    count->counted++;
    return 0;
  }
  if (!report(check, PROBLEM_NO_DESCRIPTOR, record_id(record), 0, node.security))
    return 0;
  node.security = 0;
  return plan_node(check, record_id(record), &node);
}

static int visit(struct check *check, const struct record *record) {
  if (record->key_length < KEY_PREFIX)
    return 0;
  if (is_descriptor(record)) {
    int r = add(check->users, load64_big(record->key + KEY_PREFIX), load64(record->value + 8));
    return r < 0 ? r : check_is_found(check, record);
  }
  if (record_id(record) == 0)
    return record_type(record) == RECORD_SECURITY_HASH ? check_leads(check, record) : 0;
  return record_type(record) == RECORD_NODE ? count_user(check, record) : 0;
}

/* Put a descriptor's first part with another number of users; without any, remove it. */
static int mend_users(struct check *check, const struct user_count *count) {
  struct tree_record found;
  struct key key, prefix;
  key_start(&prefix, 0, RECORD_SECURITY);
  key_append64(&prefix, count->id);
  key_part(&key, &prefix, 0);
  int r = closer(check);
  if (r == 0)
    r = tree_get(&check->tree, &key, &found);
  if (r < 0)
    return r;
  if (count->counted > 0) {
    store64(found.value + 8, count->counted);
    return plan_put(check, &key, found.value, found.length);
  }
  hash_key(&key, load64(found.value + 16), count->id);
  r = plan_remove(check, &key);
  for (uint16_t part = 0; r == 0 && part < CASEFS_MAX_SECURITY / PART_SIZE; part++) {
    key_part(&key, &prefix, part);
    r = plan_remove(check, &key);
  }
  return r;
}

int check_descriptors(struct check *check) {
  struct user_counts counts = {0};
  if (check->security_sum == 0 && check->hash_sum == 0 && !check->descriptors_unused)
    return 0;
  check->users = &counts;
  int r = walk_records(check, "descriptors", visit);
  check->users = NULL;
  for (size_t i = 0; r == 0 && i < counts.count; i++) {
    const struct user_count *count = &counts.counts[i];
    if ((count->stored != count->counted || count->stored == 0) &&
        report(check, PROBLEM_DESCRIPTOR_USERS, count->id, 0, count->stored, count->counted))
      r = mend_users(check, count);
  }
  free(counts.counts);
  return r;
}
