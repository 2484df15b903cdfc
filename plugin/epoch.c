/* SPDX-License-Identifier: BSD-3-Clause */

#include "epoch.h"

#include "backoff.h"

uint32_t thread_number(void) {
  static _Atomic uint32_t threads;
  static _Thread_local uint32_t number; /* 0: none yet */
  if (number == 0)
    number = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) + 1;
  return number;
}

void epoch_init(struct epoch *epoch) {
  atomic_init(&epoch->phase, 0);
  pthread_mutex_init(&epoch->waiting, NULL);
  for (int i = 0; i < EPOCH_SHARDS; i++) {
    atomic_init(&epoch->shards[i].active[0], 0);
    atomic_init(&epoch->shards[i].active[1], 0);
  }
}

void epoch_destroy(struct epoch *epoch) {
  pthread_mutex_destroy(&epoch->waiting);
}

void epoch_wait(struct epoch *epoch) {
  pthread_mutex_lock(&epoch->waiting);
  uint32_t old = atomic_fetch_xor(&epoch->phase, 1) & 1;
  for (int i = 0; i < EPOCH_SHARDS; i++) {
    unsigned rounds = 0;
    while (atomic_load(&epoch->shards[i].active[old]) != 0)
      backoff(&rounds);
  }
  pthread_mutex_unlock(&epoch->waiting);
}
