/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Sector memory: one range of address space, cut into slabs of 2 MiB, cut
 * into slots of one sector.
 *
 *   base                                                     opened
 *    |-- slab 0 --|-- slab 1 --|-- slab 2 --|  ...              |  PROT_NONE ...
 *
 * A slot is taken, or free; and a free slot is warm (the system has memory
 * behind it, from an earlier use) or cold (it has none).  Warm slots are taken
 * first: they cost no page fault, and the memory in use never grows while
 * there is some to reuse.  arena_release makes warm slots cold, in bulk.
 *
 * Slots are taken in runs of neighbours where they can be, so that a large
 * request is few large copies.  Each slab has its own short lock, threads
 * prefer different slabs, and two bitmaps tell which slabs have something.
 *
 * Who takes slots has them accounted for first (store_reserve).  There are
 * more slots than the largest limit can account for, so a search always ends;
 * slots taken beyond what was accounted for would make it wait for ever.
 */

#ifndef SECTORS_ARENA_H
#define SECTORS_ARENA_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
  SLAB_SHIFT = 21,
  SLAB_MAX_SLOTS = (1 << SLAB_SHIFT) / 4096,
  ARENA_SHARDS = 16,
};

struct slab {
  _Atomic uint32_t lock;
  uint16_t warm;                        /* free slots with memory behind them */
  uint16_t cold;                        /* free slots without */
  uint64_t free[SLAB_MAX_SLOTS / 64];   /* bit set: the slot is free */
  uint64_t backed[SLAB_MAX_SLOTS / 64]; /* bit set: there is memory behind the slot */
};

struct arena {
  unsigned char *base; /* aligned to a slab */
  void *mapping;       /* what mmap returned, around base */
  uint64_t mapping_size;
  unsigned sector_shift;
  uint32_t slab_slots;
  uint32_t slabs_max;
  struct slab *slabs;          /* slabs_max of them; touched when opened */
  _Atomic uint64_t *with_warm; /* bit set: the slab has warm slots */
  _Atomic uint64_t *with_cold; /* bit set: the slab has cold slots */
  pthread_mutex_t opening;     /* one slab at a time */
  _Atomic uint32_t opened;     /* slabs below this are usable */
  _Atomic uint64_t warm;       /* free slots in all slabs, by kind */
  _Atomic uint64_t cold;
  _Atomic bool release_failed; /* the system last refused to take memory back */
  struct {
    _Alignas(64) _Atomic uint32_t slab; /* where this shard's threads look first */
  } shards[ARENA_SHARDS];
};

/* Set aside address space for slots of 1 << sector_shift bytes, at least
 * capacity bytes of them.  Returns 0 or -ENOMEM. */
int arena_init(struct arena *arena, uint64_t capacity, unsigned sector_shift);

/* Unmap everything. */
void arena_destroy(struct arena *arena);

static inline void *arena_address(const struct arena *arena, uint32_t slot) {
  return arena->base + ((uint64_t)slot << arena->sector_shift);
}

static inline uint32_t arena_slot(const struct arena *arena, const void *address) {
  return (uint32_t)((uint64_t)((const unsigned char *)address - arena->base) >>
                    arena->sector_shift);
}

/* Take a run of 1 to wanted neighbouring slots.  They have memory behind them,
 * holding anything.  Returns their number and sets *first, or -ENOMEM when the
 * system has no memory to give. */
int arena_take(struct arena *arena, uint32_t wanted, uint32_t *first);

/* Free a run of slots, which become warm. */
void arena_give(struct arena *arena, uint32_t first, uint32_t count);

/* Return the memory of up to slots warm slots to the system, whole slabs first.
 * Returns how many became cold; sets release_failed if the system refused some,
 * and clears it if not. */
uint64_t arena_release(struct arena *arena, uint64_t slots);

/* Bytes of the tables about slots that are in use. */
uint64_t arena_table_bytes(const struct arena *arena);

#endif
