/* SPDX-License-Identifier: BSD-3-Clause */

#include "epoch.h"

#include "backoff.h"

uint32_t thread_number(void) {
  static _Atomic uint32_t threads;
  /* 0: none yet.  Of a library that is loaded late, a thread's variables are otherwise
   * allocated when it first uses them, and found by a call each time; room for a few words is
   * always there. */
  static _Thread_local uint32_t number __attribute__((tls_model("initial-exec")));
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
