/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Grace periods, so that index nodes can be freed while requests walk the
 * index without a lock.
 *
 * A request runs between epoch_enter and epoch_leave.  Who unlinks a node
 * calls epoch_wait before freeing it: that returns when every request which
 * could have seen the node has left.  Requests never wait for anything here.
 *
 * Requests count themselves in one of two phases, in a counter that few
 * threads share.  epoch_wait turns the phase over, and waits until the
 * counters of the old phase are zero.  A request that read the phase just
 * before it turned notices when it looks again, and starts over; so a request
 * counted in the new phase began after the unlinking, and cannot see the node.
 */

#ifndef SECTORS_EPOCH_H
#define SECTORS_EPOCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

enum { EPOCH_SHARDS = 32 };

struct epoch {
  _Atomic uint32_t phase;  /* the lowest bit is the current phase */
  pthread_mutex_t waiting; /* one grace period at a time */
  struct {
    _Alignas(64) _Atomic uint32_t active[2]; /* requests under way, by phase */
  } shards[EPOCH_SHARDS];
};

/* Where a request counted itself. */
struct epoch_token {
  uint32_t shard;
  uint32_t phase;
};

/* A small number that is this thread's, to spread threads over shards. */
uint32_t thread_number(void);

static inline struct epoch_token epoch_enter(struct epoch *epoch) {
  struct epoch_token token = {.shard = thread_number() % EPOCH_SHARDS};
  for (;;) {
    token.phase = atomic_load_explicit(&epoch->phase, memory_order_relaxed) & 1;
    atomic_fetch_add(&epoch->shards[token.shard].active[token.phase], 1);
    if ((atomic_load(&epoch->phase) & 1) == token.phase)
      return token;
    atomic_fetch_sub(&epoch->shards[token.shard].active[token.phase], 1);
  }
}

static inline void epoch_leave(struct epoch *epoch, struct epoch_token token) {
  atomic_fetch_sub_explicit(&epoch->shards[token.shard].active[token.phase], 1,
                            memory_order_release);
}

void epoch_init(struct epoch *epoch);
void epoch_destroy(struct epoch *epoch);

/* Wait until every request that was under way has left.  Not to be called
 * from inside a request. */
void epoch_wait(struct epoch *epoch);

#endif
