/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The store inside: what volumes, index and background thread share.
 */

#ifndef SECTORS_STORE_H
#define SECTORS_STORE_H

#include "arena.h"
#include "epoch.h"
#include "index.h"
#include "sectors.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct sectors_store {
  struct arena arena;
  struct epoch epoch;
  struct node_pool nodes;
  unsigned sector_shift;

  /* The budget, in sectors.  charged <= limit, always; and charged = sectors
   * that are live + sectors that are reserved only + index pages + what
   * requests under way have set aside. */
  _Atomic uint64_t limit;
  _Atomic uint64_t charged;

  /* The background thread sleeps on wake while asleep is set. */
  pthread_t thread;
  pthread_mutex_t thread_lock;
  pthread_cond_t wake;
  bool started;
  bool stopping;
  _Atomic bool asleep;

  pthread_mutex_t volumes_lock; /* the list and its length */
  sectors_volume *volumes;      /* oldest first */
  uint32_t volume_count;
};

struct sectors_volume {
  sectors_store *store;
  sectors_volume *next;
  char *name;
  _Atomic uint64_t size; /* bytes */
  struct index index;

  /* In sectors.  live counts words that are RESIDENT; reserved counts words
   * that are RESERVED and not RESIDENT. */
  _Atomic uint64_t live;
  _Atomic uint64_t reserved;

  _Atomic uint64_t zero_detected; /* sectors, ever */
  _Atomic uint64_t trimmed;       /* sectors, ever */
};

/* Stop the background thread, if it was started; it may be started again. */
void store_stop(sectors_store *store);

/* Set sectors of the limit aside: 0, or -ENOSPC. */
int store_reserve(sectors_store *store, uint64_t sectors);

/* Hand back what store_reserve set aside. */
void store_unreserve(sectors_store *store, uint64_t sectors);

/* Take 1 to wanted slots that have been set aside; see arena_take. */
int store_take(sectors_store *store, uint32_t wanted, uint32_t *first);

/* Wake the background thread if it sleeps: slots or nodes were freed. */
void store_freed(sectors_store *store);

/* Free slots, and hand back their share of the limit. */
void store_give(sectors_store *store, uint32_t first, uint32_t count);

/* Free slots, keeping their share of the limit. */
void store_give_slots(sectors_store *store, uint32_t first, uint32_t count);

#endif
