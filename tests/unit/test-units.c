/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Compressed units: what goes in comes out, and all memory comes back.
 */

#include "store.h"
#include "units.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <zstd.h>

#include <cmocka.h>

/* ------------------------------------------------ calls that are made to fail */

static unsigned fail_at;       /* the call that fails, counted down; 0: none */
static bool fail_from;         /* and all after it */
static bool far_slots;         /* store_take returns slots that no reference can name */
static _Atomic uint32_t given; /* the slot that store_give was last called with */

static bool fails(void) {
  if (fail_at == 0)
    return false;
  if (fail_at > 1) {
    fail_at--;
    return false;
  }
  fail_at = fail_from;
  return true;
}

#define WRAPPED(type, name, parameters, arguments, failure)                                        \
  type __real_##name parameters;                                                                   \
  type __wrap_##name parameters;                                                                   \
  type __wrap_##name parameters {                                                                  \
    return fails() ? failure : __real_##name arguments;                                            \
  }

WRAPPED(void *, calloc, (size_t count, size_t size), (count, size), NULL)
WRAPPED(void *, malloc, (size_t size), (size), NULL)
WRAPPED(void *, aligned_alloc, (size_t alignment, size_t size), (alignment, size), NULL)
WRAPPED(void *, mmap,
        (void *address, size_t size, int protection, int flags, int file, off_t offset),
        (address, size, protection, flags, file, offset), MAP_FAILED)
WRAPPED(ZSTD_CCtx *, ZSTD_createCCtx, (void), (), NULL)
WRAPPED(ZSTD_DCtx *, ZSTD_createDCtx, (void), (), NULL)

int __real_store_take(sectors_store *store, uint32_t wanted, uint32_t *first);
int __wrap_store_take(sectors_store *store, uint32_t wanted, uint32_t *first);
int __wrap_store_take(sectors_store *store, uint32_t wanted, uint32_t *first) {
  if (fails())
    return -ENOMEM;
  if (!far_slots)
    return __real_store_take(store, wanted, first);
  *first = UINT32_MAX / 16;
  return (int)wanted;
}

void __real_store_give(sectors_store *store, uint32_t first, uint32_t count);
void __wrap_store_give(sectors_store *store, uint32_t first, uint32_t count);
void __wrap_store_give(sectors_store *store, uint32_t first, uint32_t count) {
  atomic_store(&given, first);
  if (far_slots)
    store_unreserve(store, count);
  else
    __real_store_give(store, first, count);
}

/* ------------------------------------------------------------------ fixture */

enum {
  ALL = (int)((UINT64_C(1) << UNIT_SECTORS) - 1),
  THREADS = 4,
};

#ifndef ROUNDS
#define ROUNDS 4000
#endif

static const uint64_t mebibyte = 1 << 20;
static const enum unit_method methods[] = {UNIT_LZ4, UNIT_ZSTD};

struct fixture {
  sectors_store *store;
  struct units *units;
  uint32_t sector;
  unsigned char *data;  /* of one unit */
  unsigned char *again; /* the same, read */
};

static struct fixture open_units(uint32_t sector, uint64_t limit) {
  struct fixture f = {.sector = sector};
  assert_int_equal(sectors_store_create(limit, sector, &f.store), 0);
  assert_int_equal(units_create(f.store, &f.units), 0);
  f.data = malloc((size_t)UNIT_SECTORS * sector);
  f.again = malloc((size_t)UNIT_SECTORS * sector);
  return f;
}

static struct units_statistics statistics_of(struct units *units) {
  struct units_statistics statistics;
  units_statistics(units, &statistics);
  return statistics;
}

/* Nothing is left of any unit. */
static void assert_empty(struct fixture *f) {
  struct units_statistics s = statistics_of(f->units);
  assert_int_equal(s.units, 0);
  assert_int_equal(s.sectors, 0);
  assert_int_equal(s.dropped, 0);
  assert_int_equal(s.bytes, 0);
  assert_int_equal(s.packed, 0);
  assert_int_equal(atomic_load(&f->store->charged), 0);
}

static void close_units(struct fixture *f) {
  assert_empty(f);
  units_destroy(f->units);
  sectors_store_destroy(f->store);
  free(f->data);
  free(f->again);
}

static uint64_t next_random(uint64_t *state, uint64_t below) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state % below;
}

/* Bytes of so many values, with no other order in them. */
static void fill_noise(unsigned char *data, size_t size, unsigned values, uint64_t seed) {
  uint64_t state = seed + 1;
  for (size_t i = 0; i < size; i++)
    data[i] = (unsigned char)next_random(&state, values);
}

/* Words of eight bytes, from so many: the fewer words, the better it
 * compresses. */
static void fill(unsigned char *data, size_t size, unsigned words, uint64_t seed) {
  uint64_t state = seed + 1;
  for (size_t i = 0; i < size; i += 8) {
    uint64_t word = (seed + 1 + next_random(&state, words)) * 0x9e3779b97f4a7c15u;
    memcpy(data + i, &word, sizeof word);
  }
}

static uint32_t bits_in(uint32_t mask) {
  return (uint32_t)__builtin_popcount(mask);
}

/* The sectors in mask, of data that holds those in framed. */
static bool holds(const struct fixture *f, const unsigned char *data, uint32_t framed,
                  uint32_t mask, const unsigned char *picked) {
  for (uint32_t i = 0; i < UNIT_SECTORS; i++) {
    uint32_t bit = UINT32_C(1) << i;
    if ((mask & bit) == 0)
      continue;
    if (memcmp(data + (size_t)bits_in(framed & (bit - 1)) * f->sector, picked, f->sector) != 0)
      return false;
    picked += f->sector;
  }
  return true;
}

static uint32_t random_mask(uint64_t *state, uint32_t among) {
  uint32_t mask;
  do
    mask = (uint32_t)next_random(state, UINT64_C(1) << 32) & among;
  while (mask == 0);
  return mask;
}

/* -------------------------------------------------------------------- one */

static void round_trip(void **state) {
  (void)state;
  static const unsigned words[] = {1, 2, 60, 300};
  uint64_t seed = 1;
  for (uint32_t sector = 4096; sector <= 65536; sector *= 2) {
    struct fixture f = open_units(sector, 64 * mebibyte);
    for (unsigned i = 0; i < 96; i++) {
      uint32_t framed = i < 4 ? (uint32_t)ALL : random_mask(&seed, ALL), reference = 0;
      fill(f.data, (size_t)UNIT_SECTORS * sector, words[i % 4], i);
      assert_int_equal(unit_make(f.units, methods[i / 4 % 2], f.data, framed, i + 7, &reference),
                       0);
      assert_int_not_equal(reference, 0);
      assert_int_equal(unit_mask(f.units, reference), framed);
      assert_int_equal(unit_stamp(f.units, reference), i + 7);
      for (unsigned j = 0; j < 8; j++) {
        uint32_t mask = j == 0 ? framed : j == 1 ? framed & -framed : random_mask(&seed, framed);
        memset(f.again, 0xee, (size_t)UNIT_SECTORS * sector);
        assert_int_equal(unit_read(f.units, reference, mask, f.again), 0);
        assert_true(holds(&f, f.data, framed, mask, f.again));
        if (mask != (uint32_t)ALL)
          assert_int_equal(f.again[(size_t)bits_in(mask) * sector], 0xee);
      }
      unit_drop(f.units, reference, framed);
    }
    close_units(&f);
  }
}

/* Sectors go one by one, or several at a time, in any order. */
static void dropped_in_any_order(void **state) {
  (void)state;
  uint64_t seed = 3;
  struct fixture f = open_units(4096, 16 * mebibyte);
  fill(f.data, (size_t)UNIT_SECTORS * f.sector, 8, 1);
  for (unsigned i = 0; i < 200; i++) {
    uint32_t framed = random_mask(&seed, ALL), left = framed, reference;
    assert_int_equal(unit_make(f.units, methods[i % 2], f.data, framed, 0, &reference), 0);
    while (left != 0) {
      assert_int_equal(unit_mask(f.units, reference), left);
      assert_int_equal(unit_framed(f.units, reference), framed);
      assert_int_equal(statistics_of(f.units).sectors, bits_in(left));
      assert_int_equal(statistics_of(f.units).dropped, bits_in(framed & ~left));
      assert_int_equal(unit_read(f.units, reference, left, f.again), 0);
      assert_true(holds(&f, f.data, framed, left, f.again));
      uint32_t mask = i % 3 == 0 ? random_mask(&seed, left) : left & -left;
      unit_drop(f.units, reference, mask);
      left &= ~mask;
    }
    assert_empty(&f);
  }
  close_units(&f);
}

/* What does not become a quarter smaller is left alone. */
static void incompressible(void **state) {
  (void)state;
  for (uint32_t sector = 4096; sector <= 65536; sector *= 4) {
    struct fixture f = open_units(sector, 16 * mebibyte);
    uint32_t reference = 99;
    for (unsigned i = 0; i < 2; i++) {
      fill_noise(f.data, (size_t)UNIT_SECTORS * sector, 256, 1);
      assert_int_equal(unit_make(f.units, methods[i], f.data, ALL, 0, &reference), -E2BIG);
      assert_int_equal(unit_make(f.units, methods[i], f.data, 4, 0, &reference), -E2BIG);
      fill_noise(f.data, (size_t)UNIT_SECTORS * sector, 140, 1); /* 7.1 bits of 8 */
      assert_int_equal(unit_make(f.units, methods[i], f.data, ALL, 0, &reference), -E2BIG);
    }
    assert_int_equal(statistics_of(f.units).refused, 2 * (2 * UNIT_SECTORS + 1));
    close_units(&f);
  }
}

static void flip(unsigned char *bytes, size_t bit) {
  bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
}

/* As many units as are remembered. */
enum { REMEMBERED = 8 };

/* Read when so many others were read last that the unit is not remembered. */
static int read_fresh(struct fixture *f, const uint32_t others[REMEMBERED], uint32_t reference,
                      uint32_t mask) {
  for (unsigned i = 0; i < REMEMBERED; i++)
    assert_int_equal(unit_read(f->units, others[i], 1, f->again), 0);
  memset(f->again, 0xee, (size_t)UNIT_SECTORS * f->sector);
  return unit_read(f->units, reference, mask, f->again);
}

/* Any bit of the frame that changes is noticed; and whatever happens to the
 * header, a read brings what is right or nothing. */
static void corruption_is_noticed(void **state) {
  (void)state;
  enum { HEADER_BITS = 32 * 8 };
  struct fixture f = open_units(4096, 16 * mebibyte);
  size_t all = (size_t)UNIT_SECTORS * f.sector;
  for (unsigned i = 0; i < 2; i++) {
    uint32_t reference, others[REMEMBERED];
    fill(f.data, all, 40, 2);
    for (unsigned j = 0; j < REMEMBERED; j++)
      assert_int_equal(unit_make(f.units, methods[i], f.data, 3, 0, &others[j]), 0);
    size_t end = statistics_of(f.units).packed;
    fill(f.data, all, 40, 1);
    assert_int_equal(unit_make(f.units, methods[i], f.data, ALL, 0, &reference), 0);
    unsigned char *bytes = unit_address(f.units, reference);
    end = statistics_of(f.units).packed - end;
    assert_true(end > 2000); /* and the first fragment is longer than that */
    for (size_t bit = HEADER_BITS; bit < (size_t)2000 * 8; bit += 251) {
      flip(bytes, bit);
      assert_int_equal(unit_read(f.units, reference, ALL, f.again), -EIO);
      assert_int_equal(read_fresh(&f, others, reference, 2), -EIO);
      flip(bytes, bit);
    }
    for (size_t bit = 0; bit < HEADER_BITS; bit++) {
      flip(bytes, bit);
      int error = read_fresh(&f, others, reference, 2);
      assert_true(error == 0 || error == -EIO);
      assert_true(error == -EIO || memcmp(f.data + f.sector, f.again, f.sector) == 0);
      assert_int_equal(f.again[f.sector], 0xee); /* nothing but one sector was written */
      flip(bytes, bit);
    }
    assert_int_equal(unit_read(f.units, reference, ALL, f.again), 0);
    assert_memory_equal(f.data, f.again, all);
    unit_drop(f.units, reference, ALL);
    for (unsigned j = 0; j < REMEMBERED; j++)
      unit_drop(f.units, others[j], 3);
  }
  close_units(&f);
}

/* What is remembered of the last unit read is never taken for another one that
 * came to the same place. */
static void nothing_is_remembered_wrongly(void **state) {
  (void)state;
  struct fixture f = open_units(4096, 16 * mebibyte);
  uint32_t before = 0;
  unsigned same = 0;
  for (unsigned i = 0; i < 400; i++) {
    uint32_t reference;
    fill(f.data, (size_t)UNIT_SECTORS * f.sector, 40, i / 2 % 3);
    assert_int_equal(unit_make(f.units, methods[i / 7 % 2], f.data, ALL, 0, &reference), 0);
    same += reference == before;
    before = reference;
    for (unsigned j = 0; j < 12; j++) {
      uint32_t sector = i % 2 ? j : j * 7 % UNIT_SECTORS;
      assert_int_equal(unit_read(f.units, reference, UINT32_C(1) << sector, f.again), 0);
      assert_memory_equal(f.again, f.data + (size_t)sector * f.sector, f.sector);
    }
    unit_drop(f.units, reference, ALL);
  }
  assert_true(same > 300);
  close_units(&f);
}

/* The units of one group, of which sectors are read in turn, and that are replaced one by
 * one: what is remembered of some never shows in others. */
static void sectors_of_many_units(void **state) {
  (void)state;
  enum { KEPT = 5, REPLACED = 300 };
  struct fixture f = open_units(4096, 16 * mebibyte);
  size_t all = (size_t)UNIT_SECTORS * f.sector;
  unsigned char *kept = malloc(KEPT * all);
  uint32_t references[KEPT] = {0}, masks[KEPT] = {0};
  uint64_t seed = 11;
  assert_non_null(kept);
  for (unsigned round = 0; round < REPLACED; round++) {
    unsigned replaced = round % KEPT;
    unsigned char *bytes = kept + replaced * all;
    if (references[replaced] != 0)
      unit_drop(f.units, references[replaced], masks[replaced]);
    masks[replaced] = random_mask(&seed, ALL);
    fill(bytes, all, 40, round);
    assert_int_equal(unit_make(f.units, methods[round / 3 % 2], bytes, masks[replaced], 0,
                               &references[replaced]),
                     0);
    for (unsigned sector = 0; sector < UNIT_SECTORS; sector++) {
      for (unsigned i = 0; i < KEPT; i++) {
        uint32_t bit = UINT32_C(1) << sector, below = bits_in(masks[i] & (bit - 1));
        if (!(masks[i] & bit))
          continue;
        assert_int_equal(unit_read(f.units, references[i], bit, f.again), 0);
        assert_memory_equal(f.again, kept + i * all + below * f.sector, f.sector);
      }
    }
  }
  for (unsigned i = 0; i < KEPT; i++)
    unit_drop(f.units, references[i], masks[i]);
  assert_empty(&f);
  free(kept);
  close_units(&f);
}

/* ------------------------------------------------------------------ memory */

/* At the limit a unit is made whole or not at all, and the store's last
 * granule can be used. */
static void at_the_limit(void **state) {
  (void)state;
  enum { MOST = 4000 };
  uint64_t seed = 5;
  for (uint32_t sector = 4096; sector <= 65536; sector *= 4) {
    struct fixture f = open_units(sector, 4 * mebibyte);
    static uint32_t references[MOST], masks[MOST];
    unsigned count = 0, refusals = 0;
    while (refusals < 20 && count < MOST) {
      uint32_t framed = random_mask(&seed, ALL);
      fill(f.data, (size_t)UNIT_SECTORS * sector, 3 + count % 20, count);
      struct units_statistics before = statistics_of(f.units);
      int error = unit_make(f.units, methods[count % 2], f.data, framed, 0, &references[count]);
      struct units_statistics after = statistics_of(f.units);
      assert_int_equal(atomic_load(&f.store->charged) * sector, after.bytes);
      if (error == 0) {
        masks[count++] = framed;
        continue;
      }
      assert_int_equal(error, -ENOSPC);
      assert_int_equal(after.units, before.units);
      assert_int_equal(after.packed, before.packed);
      refusals++;
    }
    assert_int_equal(refusals, 20);
    struct units_statistics full = statistics_of(f.units);
    assert_true(full.bytes <= 4 * mebibyte);
    assert_true(full.packed > 3 * mebibyte);
    for (unsigned i = 0; i < count; i++)
      unit_drop(f.units, references[i], masks[i]);
    close_units(&f);
  }
}

/* Units come and go in random order; each keeps its data, and what they take
 * stays close to what they hold while new ones come. */
static void memory_is_used_well(void **state) {
  (void)state;
  enum { KEPT = 400 };
  static struct {
    uint32_t reference, framed;
    uint64_t seed;
    unsigned words;
  } kept[KEPT];
  uint64_t seed = 7;
  struct fixture f = open_units(4096, 64 * mebibyte);
  memset(kept, 0, sizeof kept);
  for (unsigned round = 0; round < ROUNDS; round++) {
    unsigned i = (unsigned)next_random(&seed, KEPT);
    if (kept[i].reference != 0) {
      fill(f.data, (size_t)bits_in(kept[i].framed) * f.sector, kept[i].words, kept[i].seed);
      assert_int_equal(unit_read(f.units, kept[i].reference, kept[i].framed, f.again), 0);
      assert_true(holds(&f, f.data, kept[i].framed, kept[i].framed, f.again));
      unit_drop(f.units, kept[i].reference, kept[i].framed);
    }
    kept[i].framed = round % 3 == 0   ? (uint32_t)ALL
                     : round % 3 == 1 ? UINT32_C(1) << round % UNIT_SECTORS
                                      : random_mask(&seed, ALL);
    kept[i].seed = round;
    kept[i].words = 8U << round % 5;
    fill(f.data, (size_t)bits_in(kept[i].framed) * f.sector, kept[i].words, kept[i].seed);
    assert_int_equal(
        unit_make(f.units, methods[round % 2], f.data, kept[i].framed, round, &kept[i].reference),
        0);
    struct units_statistics s = statistics_of(f.units);
    /* Half a granule, a header and two more links for each; and what is spare. */
    if (s.units == KEPT)
      assert_true(s.bytes < s.packed + s.packed / 64 + s.units * (128 + 32 + 16) + mebibyte / 2);
  }
  for (unsigned i = 0; i < KEPT; i++)
    if (kept[i].reference != 0)
      unit_drop(f.units, kept[i].reference, kept[i].framed);
  close_units(&f);
}

/* Many units of one sector, of all sizes: fragments of every kind. */
static void small_units(void **state) {
  (void)state;
  enum { UNITS = 6000 };
  static uint32_t references[UNITS];
  struct fixture f = open_units(4096, 64 * mebibyte);
  for (unsigned round = 0; round < 3; round++) {
    for (unsigned i = 0; i < UNITS; i++) {
      fill(f.data, f.sector, 10 + i % 97 * 4, i);
      if (references[i] != 0) {
        assert_int_equal(unit_read(f.units, references[i], 8, f.again), 0);
        assert_memory_equal(f.data, f.again, f.sector);
      }
      if (references[i] != 0 && (i * 7 + round) % 3 == 0) {
        unit_drop(f.units, references[i], 8);
        references[i] = 0;
      }
      if (references[i] == 0)
        assert_int_equal(unit_make(f.units, methods[1], f.data, 8, 0, &references[i]), 0);
    }
  }
  for (unsigned i = 0; i < UNITS; i++) {
    fill(f.data, f.sector, 10 + i % 97 * 4, i);
    assert_int_equal(unit_read(f.units, references[i], 8, f.again), 0);
    assert_memory_equal(f.data, f.again, f.sector);
    unit_drop(f.units, references[i], 8);
    references[i] = 0;
  }
  close_units(&f);
}

/* Memory full of units of one granule, of which some go: what they leave is in
 * pieces, and a large unit still finds its place there. */
static void pieces_are_used(void **state) {
  (void)state;
  enum { GRANULES = 4096 }; /* in the limit */
  static uint32_t references[GRANULES];
  static const unsigned every[] = {2, 8};
  struct fixture f = open_units(4096, mebibyte);
  for (unsigned i = 0; i < 2; i++) {
    uint32_t large[64], count = 0, gone = 0, size = 0;
    fill(f.data, f.sector, 1, 1);
    while (count < GRANULES && unit_make(f.units, UNIT_LZ4, f.data, 1, 0, &references[count]) == 0)
      count++;
    assert_int_equal(count, GRANULES); /* all of it was used */
    assert_int_equal(statistics_of(f.units).bytes, mebibyte);
    for (unsigned j = 0; j < GRANULES; j += every[i], gone++)
      unit_drop(f.units, references[j], 1);
    assert_int_equal(statistics_of(f.units).bytes, mebibyte);

    fill(f.data, (size_t)UNIT_SECTORS * f.sector, 60, 1);
    for (count = 0; count < 64; count++) {
      uint64_t before = statistics_of(f.units).packed;
      if (unit_make(f.units, UNIT_LZ4, f.data, ALL, 0, &large[count]) != 0)
        break;
      size = (uint32_t)(statistics_of(f.units).packed - before);
    }
    assert_true(size > 2000);
    /* Of each piece 248 bytes are for the frame, and 224 of the first. */
    assert_int_equal(count, gone / ((size + 24 + 247) / 248));
    while (count > 0) {
      assert_int_equal(unit_read(f.units, large[--count], ALL, f.again), 0);
      assert_memory_equal(f.data, f.again, (size_t)UNIT_SECTORS * f.sector);
      unit_drop(f.units, large[count], ALL);
    }
    for (unsigned j = 0; j < GRANULES; j++)
      if (j % every[i] != 0)
        unit_drop(f.units, references[j], 1);
    assert_empty(&f);
  }
  close_units(&f);
}

/* Pieces are used before fresh slots are. */
static void pieces_are_used_first(void **state) {
  (void)state;
  enum { UNITS = 8192 };
  static uint32_t references[UNITS];
  struct fixture f = open_units(4096, 64 * mebibyte);
  fill(f.data, (size_t)UNIT_SECTORS * f.sector, 1, 1);
  for (unsigned i = 0; i < UNITS; i++)
    assert_int_equal(unit_make(f.units, UNIT_LZ4, f.data, 1, 0, &references[i]), 0);
  uint64_t bytes = statistics_of(f.units).bytes;
  for (unsigned i = 0; i < UNITS; i += 2)
    unit_drop(f.units, references[i], 1);
  uint32_t large[8];
  fill(f.data, (size_t)UNIT_SECTORS * f.sector, 60, 1);
  for (unsigned i = 0; i < 8; i++)
    assert_int_equal(unit_make(f.units, UNIT_LZ4, f.data, ALL, 0, &large[i]), 0);
  assert_int_equal(statistics_of(f.units).bytes, bytes);
  for (unsigned i = 0; i < 8; i++)
    unit_drop(f.units, large[i], ALL);
  for (unsigned i = 1; i < UNITS; i += 2)
    unit_drop(f.units, references[i], 1);
  close_units(&f);
}

/* -------------------------------------------------------------------- faults */

static void no_memory_to_begin_with(void **state) {
  (void)state;
  sectors_store *store;
  struct units *units = NULL;
  assert_int_equal(sectors_store_create(16 * mebibyte, 4096, &store), 0);
  unsigned failures = 0;
  for (unsigned at = 1;; at++) {
    fail_at = at;
    int error = units_create(store, &units);
    bool reached = fail_at == 0;
    fail_at = 0;
    if (error == 0 && !reached)
      break;
    assert_int_equal(error, -ENOMEM);
    failures++;
  }
  assert_true(failures >= 8);
  units_destroy(units);
  units_destroy(NULL);
  sectors_store_destroy(store);
}

/* Making a unit may fail for want of memory, reading may not. */
static void no_memory_to_work_with(void **state) {
  (void)state;
  struct fixture f = open_units(4096, 16 * mebibyte);
  size_t all = (size_t)UNIT_SECTORS * f.sector;
  uint32_t reference = 0;
  fill(f.data, all, 30, 1);
  for (unsigned i = 0; i < 2; i++) {
    for (unsigned at = 1;; at++) {
      fail_at = at;
      int error = unit_make(f.units, methods[i], f.data, ALL, 0, &reference);
      bool reached = fail_at == 0;
      fail_at = 0;
      if (error == 0 && !reached)
        break;
      if (error == 0) /* it made do without, or with less */
        unit_drop(f.units, reference, ALL);
      else
        assert_int_equal(error, -ENOSPC);
      assert_empty(&f);
    }
    fail_at = 1;
    fail_from = true;
    int error = unit_read(f.units, reference, ALL, f.again);
    fail_at = fail_from = 0;
    assert_int_equal(error, 0);
    assert_memory_equal(f.data, f.again, all);
    unit_drop(f.units, reference, ALL);
  }
  close_units(&f);
}

static void slots_without_a_name(void **state) {
  (void)state;
  struct fixture f = open_units(4096, 16 * mebibyte);
  uint32_t reference = 99;
  fill(f.data, (size_t)UNIT_SECTORS * f.sector, 30, 1);
  far_slots = true;
  int error = unit_make(f.units, UNIT_LZ4, f.data, ALL, 0, &reference);
  far_slots = false;
  assert_int_equal(error, -ENOSPC);
  assert_int_equal(atomic_load(&given), UINT32_MAX / 16);
  assert_int_equal(reference, 99);
  close_units(&f);
}

/* What threads work with is counted, and a pool's tables are small. */
static void working_memory(void **state) {
  (void)state;
  struct fixture f = open_units(4096, 64 * mebibyte);
  uint64_t before = statistics_of(f.units).working;
  uint32_t reference;
  fill(f.data, (size_t)UNIT_SECTORS * f.sector, 30, 1);
  assert_int_equal(unit_make(f.units, UNIT_ZSTD, f.data, ALL, 0, &reference), 0);
  assert_int_equal(unit_read(f.units, reference, 1, f.again), 0);
  uint64_t after = statistics_of(f.units).working;
  assert_true(before > 128 * 1024 && after > before + 256 * 1024);
  assert_true(after < mebibyte);
  unit_drop(f.units, reference, ALL);
  assert_int_equal(units_span(f.units), 16);
  close_units(&f);
  f = open_units(65536, 64 * mebibyte);
  assert_int_equal(units_span(f.units), 1);
  close_units(&f);
}

/* ----------------------------------------------------------------- threads */

struct crowd {
  struct fixture *f;
  pthread_barrier_t barrier;
  uint32_t reference;
  _Atomic unsigned problems;
};

struct member {
  pthread_t thread;
  struct crowd *crowd;
  unsigned number;
};

/* Each thread has its own sectors of the same unit. */
static void *share(void *argument) {
  struct member *member = argument;
  struct crowd *crowd = member->crowd;
  struct fixture *f = crowd->f;
  unsigned char *buffer = malloc((size_t)UNIT_SECTORS * f->sector);
  uint32_t own = 0;
  for (uint32_t i = member->number; i < UNIT_SECTORS; i += THREADS)
    own |= UINT32_C(1) << i;
  for (unsigned round = 0; round < ROUNDS / 8; round++) {
    if (member->number == 0 &&
        unit_make(f->units, methods[round % 2], f->data, ALL, round, &crowd->reference) != 0)
      atomic_fetch_add(&crowd->problems, 1);
    pthread_barrier_wait(&crowd->barrier);
    uint32_t left = own;
    while (left != 0) {
      if (unit_read(f->units, crowd->reference, left, buffer) != 0 ||
          !holds(f, f->data, ALL, left, buffer))
        atomic_fetch_add(&crowd->problems, 1);
      unit_drop(f->units, crowd->reference, left & -left);
      left &= left - 1;
    }
    pthread_barrier_wait(&crowd->barrier);
  }
  free(buffer);
  return NULL;
}

/* Each thread has its own units, of the same slots. */
static void *churn(void *argument) {
  enum { KEPT = 24 };
  struct member *member = argument;
  struct fixture *f = member->crowd->f;
  unsigned char *data = malloc((size_t)UNIT_SECTORS * f->sector);
  unsigned char *again = malloc((size_t)UNIT_SECTORS * f->sector);
  uint32_t references[KEPT] = {0}, masks[KEPT];
  uint64_t seed = member->number + 11;
  for (unsigned round = 0; round < ROUNDS / 2 + KEPT; round++) {
    unsigned i = round < ROUNDS / 2 ? (unsigned)next_random(&seed, KEPT) : round - ROUNDS / 2;
    if (references[i] != 0) {
      fill(data, (size_t)bits_in(masks[i]) * f->sector, 3, member->number * KEPT + i);
      if (unit_read(f->units, references[i], masks[i], again) != 0 ||
          memcmp(data, again, (size_t)bits_in(masks[i]) * f->sector) != 0)
        atomic_fetch_add(&member->crowd->problems, 1);
      unit_drop(f->units, references[i], masks[i]);
      references[i] = 0;
    }
    if (round >= ROUNDS / 2)
      continue;
    masks[i] = random_mask(&seed, ALL);
    fill(data, (size_t)bits_in(masks[i]) * f->sector, 3, member->number * KEPT + i);
    int error = unit_make(f->units, methods[round % 2], data, masks[i], round, &references[i]);
    if (error == -ENOSPC)
      references[i] = 0;
    else if (error != 0)
      atomic_fetch_add(&member->crowd->problems, 1);
  }
  free(data);
  free(again);
  return NULL;
}

static void run_crowd(struct fixture *f, void *(*function)(void *)) {
  struct crowd crowd = {.f = f};
  struct member members[THREADS];
  pthread_barrier_init(&crowd.barrier, NULL, THREADS);
  for (unsigned i = 0; i < THREADS; i++) {
    members[i] = (struct member){.crowd = &crowd, .number = i};
    assert_int_equal(pthread_create(&members[i].thread, NULL, function, &members[i]), 0);
  }
  for (unsigned i = 0; i < THREADS; i++)
    pthread_join(members[i].thread, NULL);
  pthread_barrier_destroy(&crowd.barrier);
  assert_int_equal(crowd.problems, 0);
}

static void threads_share_a_unit(void **state) {
  (void)state;
  struct fixture f = open_units(4096, 16 * mebibyte);
  fill(f.data, (size_t)UNIT_SECTORS * f.sector, 6, 1);
  run_crowd(&f, share);
  close_units(&f);
}

static void threads_share_slots(void **state) {
  (void)state;
  struct fixture f = open_units(4096, mebibyte); /* less than they want */
  run_crowd(&f, churn);
  close_units(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(round_trip),
      cmocka_unit_test(dropped_in_any_order),
      cmocka_unit_test(incompressible),
      cmocka_unit_test(corruption_is_noticed),
      cmocka_unit_test(nothing_is_remembered_wrongly),
      cmocka_unit_test(sectors_of_many_units),
      cmocka_unit_test(at_the_limit),
      cmocka_unit_test(memory_is_used_well),
      cmocka_unit_test(small_units),
      cmocka_unit_test(pieces_are_used),
      cmocka_unit_test(pieces_are_used_first),
      cmocka_unit_test(no_memory_to_begin_with),
      cmocka_unit_test(no_memory_to_work_with),
      cmocka_unit_test(slots_without_a_name),
      cmocka_unit_test(working_memory),
      cmocka_unit_test(threads_share_a_unit),
      cmocka_unit_test(threads_share_slots),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
