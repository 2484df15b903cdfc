/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Small sets that a volume with tiers keeps, each with its own lock:
 *
 *   - the leaves that may have sectors which the image does not have yet,
 *   - the ranges that a trim is changing in the store below right now,
 *   - the ranges zeroed in an image since it was last flushed,
 *   - the priorities of ranges.
 */

#ifndef SECTORS_RANGES_H
#define SECTORS_RANGES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* -------------------------------------------------------------- dirty leaves
 *
 * Leaves by number (sector / NODE_WORDS).  A dirty sector that nobody has
 * locked is in a leaf of the set, or in one that a flush has taken out and is
 * working on.  So who makes a sector dirty adds its leaf while it has the
 * word locked, before; and a flush that takes a leaf out waits for the locks of its
 * words. */

struct dirty_leaves {
  pthread_mutex_t lock;
  uint64_t *table; /* open addressing; leaf + 1, 0 is free */
  uint64_t slots;  /* a power of two, or 0 */
  uint64_t count;
};

void dirty_init(struct dirty_leaves *dirty);
void dirty_destroy(struct dirty_leaves *dirty);

/* 0 or -ENOMEM. */
int dirty_add(struct dirty_leaves *dirty, uint64_t leaf);

/* Take all of them out, sorted: *count of them at the address returned, which
 * the caller frees.  NULL if there are none. */
uint64_t *dirty_take(struct dirty_leaves *dirty, uint64_t *count);

/* ----------------------------------------------------------- guarded ranges
 *
 * While a range is guarded nothing else is read from or written to the store
 * below there.  Who starts such I/O has the words of its sectors locked, or
 * BUSY, before it asks guard_covers; who guards a range does so before it looks
 * at those words.  So one of the two sees the other. */

struct guarded {
  struct guarded *next;
  uint64_t first; /* sectors */
  uint64_t last;
};

struct guard {
  _Atomic unsigned count;
  pthread_mutex_t lock;
  pthread_cond_t left;
  struct guarded *ranges;
};

void guard_init(struct guard *guard);
void guard_destroy(struct guard *guard);

/* Guard a range, waiting until no other that overlaps is.  range is the caller's
 * and stays until guard_leave. */
void guard_enter(struct guard *guard, struct guarded *range, uint64_t first, uint64_t last);
/* The same if none is; false if one is. */
bool guard_try_enter(struct guard *guard, struct guarded *range, uint64_t first, uint64_t last);
void guard_leave(struct guard *guard, struct guarded *range);

/* Whether any of the sectors is guarded. */
bool guard_covers(struct guard *guard, uint64_t first, uint64_t last);

/* Wait until none is; holding no lock of a sector, nor one that is BUSY. */
void guard_wait(struct guard *guard, uint64_t first, uint64_t last);

/* ------------------------------------------------------------ zeroed ranges
 *
 * In the order in which they were zeroed, so that a flush forgets those from
 * before it. */

enum { MAX_ZEROED_RANGES = 4096 };

struct zeroed_range {
  uint64_t first; /* sectors */
  uint64_t last;
};

struct zeroed_ranges {
  pthread_mutex_t lock;
  _Atomic unsigned count;
  bool redo; /* a flush failed: it is not known whether they are zero */
  struct zeroed_range *ranges;
};

void zeroed_init(struct zeroed_ranges *zeroed);
void zeroed_destroy(struct zeroed_ranges *zeroed);

/* 0, -ENOMEM, or -E2BIG: flush first. */
int zeroed_add(struct zeroed_ranges *zeroed, uint64_t first, uint64_t last);

/* Which of up to 64 sectors are in one of them: bit i for the sector first + i. */
uint64_t zeroed_mask(struct zeroed_ranges *zeroed, uint64_t first, unsigned count);

/* Forget the oldest. */
void zeroed_forget(struct zeroed_ranges *zeroed, unsigned count);

/* --------------------------------------------------------------- priorities */

enum { MAX_PRIORITY_RANGES = 65536 };

struct priority_range {
  uint64_t first; /* sectors */
  uint64_t last;
  unsigned priority;
};

struct priorities {
  _Atomic unsigned of_volume;
  _Atomic unsigned count;
  pthread_mutex_t lock;
  struct priority_range *ranges; /* ascending, apart; of other priority than the volume */
};

void priorities_init(struct priorities *priorities, unsigned of_volume);
void priorities_destroy(struct priorities *priorities);

/* Set the priority of a range: 0, -ENOMEM, or -E2BIG. */
int priorities_set(struct priorities *priorities, uint64_t first, uint64_t last, unsigned priority);

/* Set the priority of the volume, forgetting all ranges. */
void priorities_set_volume(struct priorities *priorities, unsigned priority);

unsigned priority_of(struct priorities *priorities, uint64_t sector);

/* The last of the sectors from this one on that have the same priority. */
uint64_t priority_last(struct priorities *priorities, uint64_t sector);

#endif
