/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The store inside: what volumes, index and background thread share.
 */

#ifndef SECTORS_STORE_H
#define SECTORS_STORE_H

#include "arena.h"
#include "epoch.h"
#include "index.h"
#include "ranges.h"
#include "sectors.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct backing;
struct tiers;

struct sectors_store {
  struct arena arena;
  struct epoch epoch;
  struct node_pool nodes;
  unsigned sector_shift;

  /* The budget, in sectors.  charged <= limit, always, unless the limit was
   * lowered; and charged = sectors that are live + sectors that are reserved only +
   * index pages + slots of compressed units + buffers + what requests under way
   * have set aside.  Requests leave the last room to who moves sectors out. */
  _Atomic uint64_t limit;
  _Atomic uint64_t room; /* of the limit */
  _Atomic uint64_t charged;

  uint64_t capacity; /* the largest limit there can be */

  struct tiers *tiers; /* NULL: plain memory is all there is */

  pthread_mutex_t event_lock;
  sectors_event_function event;
  void *event_opaque;

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
  uint64_t volumes_made; /* ever */
};

enum { VOLUME_STREAMS = 8 };

/* Whether a store below fails. */
struct failure {
  _Atomic int error;        /* what it failed with, last; 0 after a success */
  _Atomic bool reported;    /* the failure was; its end is not yet */
  _Atomic uint64_t last_ns; /* when it failed last */
};

struct sectors_volume {
  sectors_store *store;
  sectors_volume *next;
  char *name;
  _Atomic uint64_t size; /* bytes */
  struct index index;

  /* What is below; set when the volume is made. */
  struct backing *home; /* its image or spill file, or NULL */
  struct backing *base; /* or NULL */
  bool durable;         /* home is an image */
  bool shows_below;     /* a sector of which nothing is known is as home or base have it */

  struct dirty_leaves dirty_leaves; /* of a durable volume */
  struct guard guard;
  struct priorities priorities;
  uint64_t number;            /* makes keys of sectors differ between volumes */
  _Atomic unsigned users;     /* background threads at work in it; it is not freed meanwhile */
  _Atomic bool home_used;     /* something may be in the spill file */
  _Atomic bool dirty_unknown; /* dirty_leaves is not complete: look at all leaves */
  uint64_t dirty_since;       /* ns; 0: not seen dirty; the write-back thread has it */
  struct failure home_failure;
  struct failure base_failure;

  /* The image: what was written to it and is not known to be safe yet.  See
   * writeback.c. */
  pthread_mutex_t image_lock;    /* one flush of it at a time */
  _Atomic bool unflushed;        /* something was written since the last good flush */
  _Atomic uint64_t lost_flushes; /* failed ones, ever */
  struct zeroed_ranges zeroed;   /* zeroed there since the last good flush */

  /* Flushes that wait for each other. */
  pthread_mutex_t flush_lock;
  pthread_cond_t flush_done;
  bool flushing;
  uint64_t flushes_asked; /* numbers */
  uint64_t flushes_good;  /* those up to this succeeded */
  uint64_t flushes_bad;   /* those after it, up to this, failed */
  int flush_error;

  _Atomic uint64_t streams[VOLUME_STREAMS]; /* where sequential reads would go on, | length */
  _Atomic unsigned next_stream;

  /* In sectors.  live counts words that are RESIDENT; reserved counts words
   * that are RESERVED and not RESIDENT; compressed those COMPRESSED; below those
   * only STORED; dirty those whose data the image does not have. */
  _Atomic uint64_t live;
  _Atomic uint64_t reserved;
  _Atomic uint64_t compressed;
  _Atomic uint64_t below;
  _Atomic uint64_t dirty;

  _Atomic uint64_t zero_detected; /* sectors, ever */
  _Atomic uint64_t trimmed;       /* sectors, ever */

  /* Of tiers; sectors, ever. */
  _Atomic uint64_t hits;
  _Atomic uint64_t misses;
  _Atomic uint64_t swapped_in;
  _Atomic uint64_t swapped_out;
  _Atomic uint64_t out_requests; /* a number of them */
  _Atomic uint64_t decompressed;
  _Atomic uint64_t evicted;
  _Atomic uint64_t preloaded;
  _Atomic uint64_t read_ahead;
};

/* Whether the range lies inside the volume. */
static inline bool volume_has(const sectors_volume *volume, uint64_t count, uint64_t offset) {
  uint64_t size = atomic_load(&volume->size);
  return offset <= size && count <= size - offset;
}

/* Stop the background thread, if it was started; it may be started again. */
void store_stop(sectors_store *store);

/* Set sectors of the limit aside: 0, or -ENOSPC. */
int store_reserve(sectors_store *store, uint64_t sectors);

/* The same for who moves sectors out, and may use the last room. */
int store_reserve_room(sectors_store *store, uint64_t sectors);

/* Work out room from the limit. */
void store_set_room(sectors_store *store);

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
