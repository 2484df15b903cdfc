/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Units: neighbouring sectors compressed together, in memory.
 *
 * A unit holds 1 to UNIT_SECTORS sectors that lie in one aligned group of
 * so many, compressed as one frame.  It is kept in granules of 256 bytes,
 * chained through slots of the arena, so that its bytes count at their true
 * size and any free granules serve any unit (granules.h).
 *
 * A unit is named by its reference, which is never 0.  Each of its sectors is
 * there until it is dropped; with the last one the unit is freed.
 *
 * Locking: who calls unit_read, unit_drop, unit_mask or unit_stamp has the word
 * of one of its sectors locked (for the first two: of those in mask), and the
 * word names the unit.  That keeps the unit alive.  Different sectors of a unit
 * may be read and dropped at the same time.
 *
 * What is lost.  A sector that is dropped keeps its room until its whole unit
 * is gone (statistics: dropped).  And when many units go, slots stay behind of
 * which others still use a part, until new units fill them: after nine in ten
 * units of 64 KiB went at random, what is left takes 1.1 times its bytes;
 * of single sectors, 3 times, which is about what they take uncompressed
 * (bytes against packed).  Both are cured by making units again: unit_read
 * what is there, unit_make, unit_drop; the new unit goes where there is room
 * in slots that were begun.
 *
 * Besides, each thread that works at the same time as others needs a context:
 * at 4 KiB sectors 215 KiB with lz4; with zstd 310 KiB to read, 635 KiB to write too.
 * Up to 16 idle ones are kept.
 */

#ifndef SECTORS_UNITS_H
#define SECTORS_UNITS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct sectors_store;

/* The sectors of an aligned group; by measurement (units.c). */
enum { UNIT_SHIFT = 4, UNIT_SECTORS = 1 << UNIT_SHIFT };

/* More than 64 KiB in a unit compress little better, and make reading one sector
 * slow.  So where sectors are larger than 4 KiB, units of fewer are best. */
enum { UNIT_SPAN_SHIFT = 16 };

enum unit_method { UNIT_NONE, UNIT_LZ4, UNIT_ZSTD };

struct units; /* the pool, one for each store that compresses */

/* Make a pool that takes its memory from the store (store_reserve_room and
 * store_take, store_give).  0 or -ENOMEM. */
int units_create(struct sectors_store *store, struct units **units);
void units_destroy(struct units *units);

/* How many neighbouring sectors are best made one unit: a power of two. */
uint32_t units_span(const struct units *units);

/* Compress the sectors of a group whose bits are set in mask (bit i: sector i
 * of the group), which lie one after the other at data.  stamp is kept for
 * unit_stamp.  Returns 0 and sets *reference; -E2BIG if that saves less than a
 * quarter (nothing is kept), or -ENOSPC (the limit; or the system has no memory
 * to work with). */
int unit_make(struct units *units, enum unit_method method, const void *data, uint32_t mask,
              uint32_t stamp, uint32_t *reference);

/* Decompress the sectors in mask, all of which the caller has locked, to
 * data, one after the other in ascending order.  0, or -EIO: the
 * checksum is wrong, which only a fault of memory can cause. */
int unit_read(struct units *units, uint32_t reference, uint32_t mask, void *data);

/* Drop the sectors in mask; the last ones to go free the unit. */
void unit_drop(struct units *units, uint32_t reference, uint32_t mask);

/* The sectors that are there, and the stamp it was made with.  The first is a hint:
 * true at some moment of the call. */
uint32_t unit_mask(struct units *units, uint32_t reference);
uint32_t unit_stamp(struct units *units, uint32_t reference);

/* Change the stamp, with the word of one of its sectors locked. */
void unit_set_stamp(struct units *units, uint32_t reference, uint32_t stamp);

/* The sectors that its frame has, dropped or not; with the word of one locked. */
uint32_t unit_framed(struct units *units, uint32_t reference);

/* Where a unit begins in memory: for tests. */
void *unit_address(const struct units *units, uint32_t reference);

struct units_statistics {
  uint64_t units;
  uint64_t sectors; /* that are there */
  uint64_t dropped; /* sectors that are not, and still take room in a unit's frame */
  uint64_t bytes;   /* of memory, in slots, that the pool takes */
  uint64_t packed;  /* bytes of compressed data in those */
  uint64_t refused; /* sectors, ever, found incompressible */
  uint64_t working; /* bytes of contexts and tables, which the store's limit does not count */
};
void units_statistics(struct units *units, struct units_statistics *statistics);

#endif
