/* SPDX-License-Identifier: BSD-3-Clause */

#include "check.h"

int plan_put(struct check *check, const struct key *key, const void *value, size_t length) {
  (void)check, (void)key, (void)value, (void)length;
  return 0;
}

int plan_remove(struct check *check, const struct key *key) {
  (void)check, (void)key;
  return 0;
}

int plan_remove_record(struct check *check, const struct record *record) {
  (void)check, (void)record;
  return 0;
}

int plan_node(struct check *check, uint64_t id, const struct node_record *record) {
  (void)check, (void)id, (void)record;
  return 0;
}

int plan_rescue(struct check *check, uint64_t id) {
  (void)check, (void)id;
  return 0;
}

int plan_clone(struct check *check, const struct record *record) {
  (void)check, (void)record;
  return 0;
}

bool plan_empty(const struct check *check) {
  (void)check;
  return true;
}
