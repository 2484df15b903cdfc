/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a phase wants to be changed, kept until the phase is over.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define PLAN_BYTES                                                                                 \
  ((size_t)16 << 20) /* about what a plan may take; the next round does the rest                   \
                      */

static int add_step(struct check *check, enum step_kind kind, const void *key, uint32_t key_length,
                    const void *value, size_t length) {
  struct plan *plan = check->plan;
  if (!plan || check->silent)
    return 0;
  if (plan->count == plan->capacity) {
    size_t capacity = plan->capacity ? 2 * plan->capacity : 64;
    struct step *steps = realloc(plan->steps, capacity * sizeof *steps);
    if (!steps)
      return -ENOMEM;
    plan->steps = steps;
    plan->capacity = capacity;
  }
  if (plan->size - plan->used < key_length + length) {
    size_t size = 2 * plan->size + key_length + length + BLOCK_SIZE;
    uint8_t *bytes = realloc(plan->bytes, size);
    if (!bytes)
      return -ENOMEM;
    plan->bytes = bytes;
    plan->size = size;
  }
  plan->steps[plan->count++] = (struct step){kind, plan->used, key_length, (uint32_t)length};
  memcpy(plan->bytes + plan->used, key, key_length);
  if (length > 0)
    memcpy(plan->bytes + plan->used + key_length, value, length);
  plan->used += key_length + length;
  return 0;
}

int plan_put(struct check *check, const struct key *key, const void *value, size_t length) {
  return add_step(check, STEP_PUT, key->bytes, key->length, value, length);
}

int plan_remove(struct check *check, const struct key *key) {
  return add_step(check, STEP_REMOVE, key->bytes, key->length, NULL, 0);
}

int plan_remove_record(struct check *check, const struct record *record) {
  return add_step(check, STEP_REMOVE, record->key, record->key_length, NULL, 0);
}

int plan_node(struct check *check, uint64_t id, const struct node_record *record) {
  uint8_t bytes[NODE_RECORD_SIZE];
  struct key key;
  key_node(&key, id);
  node_record_encode(record, bytes);
  return plan_put(check, &key, bytes, sizeof bytes);
}

int plan_rescue(struct check *check, uint64_t id) {
  struct key key;
  key_node(&key, id);
  return add_step(check, STEP_RESCUE, key.bytes, key.length, NULL, 0);
}

int plan_extent(struct check *check, const struct record *record, bool own) {
  return add_step(check, own ? STEP_OWN_EXTENT : STEP_EXTENT, record->key, record->key_length,
                  record->value, record->length);
}

bool plan_empty(const struct check *check) {
  return !check->plan || check->plan->count == 0;
}

bool plan_full(const struct check *check) {
  return check->plan && check->plan->used + check->plan->count * sizeof(struct step) > PLAN_BYTES;
}

void plan_clear(struct plan *plan) {
  free(plan->steps);
  free(plan->bytes);
  *plan = (struct plan){0};
}
