/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory in pieces smaller than a sector: slots of the arena, cut into
 * granules of 256 bytes.
 *
 * Granules are taken in runs of neighbours, as long as can be had, but any free
 * granules serve any taker: nothing is lost between them.  A slot goes back to
 * the store as soon as all of its granules are free.
 *
 * Fresh memory is taken in runs of whole slots.  What is wanted beyond whole
 * slots is put into slots that others have begun, the fullest that have room
 * for it; and when more than one granule in so many lies free in slots that were
 * begun, those are filled before a fresh slot is taken.  So who frees a long run
 * gives back most of its slots at once, and the others are filled up again.
 *
 * A granule's number fits 32 bits, so only the first TiB of the arena is used.
 *
 * Locks: one for the slots of each slab, shared among slabs; held for the
 * bookkeeping of one run.
 */

#ifndef SECTORS_GRANULES_H
#define SECTORS_GRANULES_H

#include <stdbool.h>
#include <stdint.h>

enum { GRANULE_SHIFT = 8, GRANULE = 1 << GRANULE_SHIFT };

struct sectors_store;
struct granules; /* a pool */

struct granule_run {
  uint32_t first;
  uint32_t count;
};

/* The highest number is never that of a granule. */
#define NO_GRANULE UINT32_MAX

/* Make a pool that takes its slots from the store.  0 or -ENOMEM. */
int granules_create(struct sectors_store *store, struct granules **pool);
void granules_destroy(struct granules *pool);

/* Take 1 to wanted neighbouring granules, at most 65,535; the count is 0 if there is
 * no room.  They hold anything. */
struct granule_run granules_take(struct granules *pool, uint32_t wanted);

/* Free a run, or a part of one. */
void granules_give(struct granules *pool, struct granule_run run);

void *granule_address(const struct granules *pool, uint32_t granule);

/* Whether there is memory behind a run that may be any numbers. */
bool granules_exist(const struct granules *pool, struct granule_run run);

/* Bytes of memory that the pool takes in slots, and of the tables about it. */
uint64_t granules_bytes(struct granules *pool);
uint64_t granules_table_bytes(struct granules *pool);

#endif
