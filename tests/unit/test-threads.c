/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Many threads on one store.  Every sector carries who wrote it and where it
 * belongs, so a sector of another volume, a torn sector, or freed memory that
 * shows through is seen at once.
 */

#include "audit.h"
#include "sectors.h"

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

#include <cmocka.h>

enum {
  SECTOR = 4096,
  THREADS = 8,
  SPAN = 256, /* sectors that the threads fight over, in each volume */
  MOST = 24,  /* sectors in one request */
  LEAF = 64,  /* sectors in a leaf of the index */
};

#ifndef ROUNDS
#define ROUNDS 20000
#endif

/* What a sector holds: the same stamp, over and over. */
struct stamp {
  uint32_t volume;
  uint32_t sector;
  uint64_t version; /* never 0 */
};

struct field {
  sectors_store *store;
  sectors_volume *volumes[2];
  uint64_t base;
  bool scattered; /* each request is one sector, alone in its leaf */
  _Atomic uint64_t version;
  _Atomic unsigned problems;
  _Atomic unsigned refusals;
  _Atomic bool over;
};

struct worker {
  pthread_t thread;
  struct field *field;
  uint64_t seed;
};

static uint64_t next_random(uint64_t *state, uint64_t below) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state % below;
}

static void stamp_sectors(unsigned char *buffer, uint32_t volume, uint32_t first, uint32_t count,
                          uint64_t version) {
  for (uint32_t i = 0; i < count; i++) {
    struct stamp stamp = {volume + 1, first + i, version};
    for (unsigned at = 0; at < SECTOR; at += sizeof stamp)
      memcpy(buffer + i * SECTOR + at, &stamp, sizeof stamp);
  }
}

static void problem(struct field *field, const char *what, uint32_t sector) {
  if (atomic_fetch_add(&field->problems, 1) < 5)
    fprintf(stderr, "sector %u: %s\n", sector, what);
}

/* A sector is all zeros, or one whole stamp that belongs here. */
static void check_sector(struct field *field, const unsigned char *bytes, uint32_t volume,
                         uint32_t sector) {
  struct stamp stamp;
  memcpy(&stamp, bytes, sizeof stamp);
  if (memcmp(bytes, bytes + sizeof stamp, SECTOR - sizeof stamp) != 0)
    problem(field, "is torn", sector);
  else if (stamp.version == 0 && stamp.volume == 0 && stamp.sector == 0)
    return;
  else if (stamp.volume != volume + 1)
    problem(field, "belongs to another volume", sector);
  else if (stamp.sector != sector)
    problem(field, "belongs elsewhere", sector);
}

static void *fight(void *argument) {
  struct worker *worker = argument;
  struct field *field = worker->field;
  unsigned char *buffer = malloc(MOST * SECTOR);
  uint32_t span = field->scattered ? 4 : SPAN, most = field->scattered ? 1 : MOST;
  uint32_t stride = field->scattered ? LEAF : 1;
  for (int round = 0; round < ROUNDS && buffer; round++) {
    uint32_t volume = (uint32_t)next_random(&worker->seed, 2);
    uint32_t count = 1 + (uint32_t)next_random(&worker->seed, most);
    uint32_t first = (uint32_t)next_random(&worker->seed, span - count) * stride;
    uint64_t offset = field->base + (uint64_t)first * SECTOR, bytes = (uint64_t)count * SECTOR;
    int error = 0;
    switch (next_random(&worker->seed, 8)) {
    case 0:
      error = sectors_trim(field->volumes[volume], bytes, offset);
      break;
    case 1:
      error = sectors_zero(field->volumes[volume], bytes, offset);
      break;
    case 2:
      memset(buffer, 0, bytes);
      error = sectors_write(field->volumes[volume], buffer, bytes, offset);
      break;
    case 3:
    case 4:
    case 5:
      stamp_sectors(buffer, volume, first, count, 1 + atomic_fetch_add(&field->version, 1));
      error = sectors_write(field->volumes[volume], buffer, bytes, offset);
      break;
    default:
      error = sectors_read(field->volumes[volume], buffer, bytes, offset);
      for (uint32_t i = 0; i < count && error == 0; i++)
        check_sector(field, buffer + i * SECTOR, volume, first + i);
    }
    if (error == -ENOSPC)
      atomic_fetch_add(&field->refusals, 1);
    else if (error != 0)
      problem(field, strerror(-error), first);
  }
  free(buffer);
  return NULL;
}

static void *keep_reclaiming(void *argument) {
  struct field *field = argument;
  while (!atomic_load(&field->over))
    sectors_store_reclaim(field->store);
  return NULL;
}

static void run_fight(uint64_t limit_sectors, bool background, bool scattered) {
  struct field field = {.base = UINT64_C(1) << 50, .scattered = scattered};
  pthread_t reclaimer;
  struct worker workers[THREADS];
  assert_int_equal(sectors_store_create(limit_sectors * SECTOR, SECTOR, &field.store), 0);
  assert_int_equal(sectors_volume_create(field.store, "one", UINT64_C(1) << 60, &field.volumes[0]),
                   0);
  assert_int_equal(sectors_volume_create(field.store, "two", UINT64_C(1) << 60, &field.volumes[1]),
                   0);
  if (background)
    assert_int_equal(sectors_store_start(field.store), 0);
  else
    assert_int_equal(pthread_create(&reclaimer, NULL, keep_reclaiming, &field), 0);
  for (int i = 0; i < THREADS; i++) {
    workers[i] = (struct worker){.field = &field, .seed = 1234567 + (uint64_t)i * 7919};
    assert_int_equal(pthread_create(&workers[i].thread, NULL, fight, &workers[i]), 0);
  }
  for (int i = 0; i < THREADS; i++)
    pthread_join(workers[i].thread, NULL);
  atomic_store(&field.over, true);
  if (!background)
    pthread_join(reclaimer, NULL);
  assert_int_equal(field.problems, 0);
  if (limit_sectors < SPAN)
    assert_true(field.refusals > 0);
  assert_int_equal(audit(field.store), 0);
  for (int i = 0; i < 2; i++)
    assert_int_equal(sectors_trim(field.volumes[i], UINT64_C(1) << 60, 0), 0);
  struct sectors_store_statistics statistics;
  assert_int_equal(audit(field.store), 0);
  sectors_store_statistics(field.store, &statistics);
  assert_int_equal(statistics.charged, 0);
  sectors_store_destroy(field.store);
}

static void fight_with_room(void **state) {
  (void)state;
  run_fight(4096, true, false);
}

static void fight_while_reclaiming(void **state) {
  (void)state;
  run_fight(4096, false, false);
}

/* Leaves that come and go all the time. */
static void fight_over_leaves(void **state) {
  (void)state;
  run_fight(4096, true, true);
  run_fight(4096, false, true);
}

static void fight_at_the_limit(void **state) {
  (void)state;
  run_fight(150, true, false);
}

/* Parts of one sector, each written by its own thread: none may be lost,
 * though some of them write zeros, which frees sectors. */
enum { PART = 512 };

struct part_writer {
  pthread_t thread;
  sectors_volume *volume;
  unsigned part;
  bool wrong;
};

static void *write_part(void *argument) {
  struct part_writer *writer = argument;
  unsigned char bytes[PART], got[PART];
  for (int round = 0; round < ROUNDS; round++) {
    memset(bytes, round % 3 == 0 ? 0 : round % 255 + 1, PART);
    int error = round % 9 == 0 ? sectors_trim(writer->volume, PART, writer->part * PART)
                               : sectors_write(writer->volume, bytes, PART, writer->part * PART);
    if (error == 0)
      error = sectors_read(writer->volume, got, PART, writer->part * PART);
    writer->wrong |= error != 0 || memcmp(bytes, got, PART) != 0;
  }
  return NULL;
}

static void parts_of_one_sector(void **state) {
  (void)state;
  sectors_store *store;
  sectors_volume *volume;
  struct part_writer writers[SECTOR / PART];
  assert_int_equal(sectors_store_create(1 << 20, SECTOR, &store), 0);
  assert_int_equal(sectors_volume_create(store, "one", SECTOR, &volume), 0);
  for (unsigned i = 0; i < SECTOR / PART; i++) {
    writers[i] = (struct part_writer){.volume = volume, .part = i};
    assert_int_equal(pthread_create(&writers[i].thread, NULL, write_part, &writers[i]), 0);
  }
  for (unsigned i = 0; i < SECTOR / PART; i++)
    pthread_join(writers[i].thread, NULL);
  for (unsigned i = 0; i < SECTOR / PART; i++)
    assert_false(writers[i].wrong);
  assert_int_equal(audit(store), 0);
  sectors_store_destroy(store);
}

/* Reads of many large sectors at once, while single ones are written again in
 * place: each sector is as some write left it, never half. */
enum { LARGE = 65536, LARGE_SECTORS = 64, WRITERS = 2 };

struct rewriter {
  pthread_t thread;
  sectors_volume *volume;
  uint64_t seed;
  _Atomic bool *over;
  bool failed;
};

static void *rewrite_single_sectors(void *argument) {
  struct rewriter *rewriter = argument;
  unsigned char *sector = malloc(LARGE);
  for (unsigned round = 0; !atomic_load(rewriter->over); round++) {
    memset(sector, (int)(round % 255 + 1), LARGE);
    uint64_t offset = next_random(&rewriter->seed, LARGE_SECTORS) * LARGE;
    rewriter->failed |= sectors_write(rewriter->volume, sector, LARGE, offset) != 0;
  }
  free(sector);
  return NULL;
}

static void large_reads_are_not_torn(void **state) {
  (void)state;
  enum { SIZE = LARGE * LARGE_SECTORS };
  sectors_store *store;
  sectors_volume *volume;
  struct rewriter rewriters[WRITERS];
  _Atomic bool over = false;
  unsigned char *buffer = malloc(SIZE);
  unsigned torn = 0;
  memset(buffer, 1, SIZE);
  assert_int_equal(sectors_store_create(2 * SIZE, LARGE, &store), 0);
  assert_int_equal(sectors_volume_create(store, "one", SIZE, &volume), 0);
  assert_int_equal(sectors_write(volume, buffer, SIZE, 0), 0);
  for (unsigned i = 0; i < WRITERS; i++) {
    rewriters[i] = (struct rewriter){.volume = volume, .seed = 4711 + i, .over = &over};
    pthread_create(&rewriters[i].thread, NULL, rewrite_single_sectors, &rewriters[i]);
  }
  for (int round = 0; round < ROUNDS / 40; round++) {
    assert_int_equal(sectors_read(volume, buffer, SIZE, 0), 0);
    for (const unsigned char *sector = buffer; sector < buffer + SIZE; sector += LARGE)
      torn += *sector == 0 || memcmp(sector, sector + 1, LARGE - 1) != 0;
  }
  atomic_store(&over, true);
  for (unsigned i = 0; i < WRITERS; i++) {
    pthread_join(rewriters[i].thread, NULL);
    assert_false(rewriters[i].failed);
  }
  assert_int_equal(torn, 0);
  assert_int_equal(audit(store), 0);
  free(buffer);
  sectors_store_destroy(store);
}

/* All threads write until there is no room.  What was acknowledged is there,
 * what was refused is not, and the limit was used up. */
struct filler {
  pthread_t thread;
  sectors_volume *volume;
  unsigned number;
  unsigned char acknowledged[512];
};

static void *fill_until_full(void *argument) {
  struct filler *filler = argument;
  unsigned char *buffer = malloc(4 * SECTOR);
  memset(buffer, (int)filler->number + 1, 4 * SECTOR);
  for (unsigned i = 0; i < 512; i++)
    filler->acknowledged[i] = sectors_write(filler->volume, buffer, 4 * SECTOR,
                                            (i * THREADS + filler->number) * 4 * SECTOR) == 0;
  free(buffer);
  return NULL;
}

static void limit_hit_by_all(void **state) {
  (void)state;
  enum { LIMIT = 4096 };
  sectors_store *store;
  sectors_volume *volume;
  struct filler fillers[THREADS];
  uint64_t acknowledged = 0;
  unsigned char buffer[4 * SECTOR];
  assert_int_equal(sectors_store_create(LIMIT * SECTOR, SECTOR, &store), 0);
  assert_int_equal(sectors_volume_create(store, "one", 1 << 30, &volume), 0);
  for (unsigned i = 0; i < THREADS; i++) {
    fillers[i] = (struct filler){.volume = volume, .number = i};
    assert_int_equal(pthread_create(&fillers[i].thread, NULL, fill_until_full, &fillers[i]), 0);
  }
  for (unsigned i = 0; i < THREADS; i++)
    pthread_join(fillers[i].thread, NULL);
  for (unsigned i = 0; i < THREADS; i++) {
    for (unsigned j = 0; j < 512; j++) {
      int expected = fillers[i].acknowledged[j] ? (int)i + 1 : 0;
      assert_int_equal(sectors_read(volume, buffer, sizeof buffer, (j * THREADS + i) * 4 * SECTOR),
                       0);
      for (unsigned at = 0; at < sizeof buffer; at++)
        if (buffer[at] != expected)
          fail_msg("byte %u of request %u of thread %u is %d, not %d", at, j, i, buffer[at],
                   expected);
      acknowledged += 4 * fillers[i].acknowledged[j];
    }
  }
  assert_in_range(acknowledged, LIMIT - LIMIT / 64 - 16, LIMIT);
  assert_int_equal(audit(store), 0);
  sectors_store_destroy(store);
}

/* Each thread has one sector, in a leaf of its own, which it writes and trims
 * over and over.  There is just room for all of them and their leaves, so none
 * is refused, though most of the free room is in leaves not yet freed. */
struct tenant {
  pthread_t thread;
  sectors_volume *volume;
  uint64_t offset;
  unsigned refusals;
};

static void *move_in_and_out(void *argument) {
  struct tenant *tenant = argument;
  unsigned char data[SECTOR];
  memset(data, 1, SECTOR);
  for (int round = 0; round < ROUNDS; round++) {
    tenant->refusals += sectors_write(tenant->volume, data, SECTOR, tenant->offset) != 0;
    sectors_trim(tenant->volume, SECTOR, tenant->offset);
  }
  return NULL;
}

static void just_room_for_all(void **state) {
  (void)state;
  enum { INDEX_PAGES = 3 };
  sectors_store *store;
  sectors_volume *volume, *other;
  struct tenant tenants[THREADS];
  assert_int_equal(sectors_store_create(64 * SECTOR, SECTOR, &store), 0);
  assert_int_equal(sectors_volume_create(store, "one", 1 << 30, &volume), 0);
  assert_int_equal(sectors_volume_create(store, "other", 1 << 30, &other), 0);
  assert_int_equal(sectors_zero(other, (64 - THREADS - INDEX_PAGES) * SECTOR, 0), 0);
  for (unsigned i = 0; i < THREADS; i++) {
    tenants[i] = (struct tenant){.volume = volume, .offset = (uint64_t)i * LEAF * SECTOR};
    assert_int_equal(pthread_create(&tenants[i].thread, NULL, move_in_and_out, &tenants[i]), 0);
  }
  for (unsigned i = 0; i < THREADS; i++)
    pthread_join(tenants[i].thread, NULL);
  for (unsigned i = 0; i < THREADS; i++)
    assert_int_equal(tenants[i].refusals, 0);
  assert_int_equal(audit(store), 0);
  sectors_store_destroy(store);
}

/* All threads write the same reserved range: together they must not take more
 * memory than the range, nor wait for memory that cannot come. */
enum { RESERVED_BYTES = 48 << 20 };

static void *write_reserved(void *argument) {
  sectors_volume *volume = argument;
  unsigned char *buffer = malloc(RESERVED_BYTES);
  memset(buffer, 1, RESERVED_BYTES);
  int error = sectors_write(volume, buffer, RESERVED_BYTES, 0);
  free(buffer);
  return error == 0 ? NULL : argument;
}

static void reserved_range_written_by_all(void **state) {
  (void)state;
  sectors_store *store;
  sectors_volume *volume;
  pthread_t threads[THREADS];
  struct sectors_store_statistics statistics;
  assert_int_equal(sectors_store_create(64 << 20, SECTOR, &store), 0);
  assert_int_equal(sectors_volume_create(store, "one", 1 << 30, &volume), 0);
  assert_int_equal(sectors_zero(volume, RESERVED_BYTES, 0), 0);
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, write_reserved, volume), 0);
  for (int i = 0; i < THREADS; i++) {
    void *failed;
    pthread_join(threads[i], &failed);
    assert_null(failed);
  }
  sectors_store_statistics(store, &statistics);
  assert_int_equal(statistics.live, RESERVED_BYTES);
  assert_true(statistics.resident <= statistics.limit);
  assert_int_equal(audit(store), 0);
  sectors_store_destroy(store);
}

/* A trim to the end of a volume touches nothing beyond, should it grow. */
static void *trim_to_the_end(void *argument) {
  sectors_trim(argument, (8 << 20) + 100, 0);
  return NULL;
}

static void growing_while_trimming(void **state) {
  (void)state;
  const uint64_t size = (8 << 20) + 100;
  sectors_store *store;
  sectors_volume *volume;
  unsigned char *buffer = malloc(size);
  memset(buffer, 1, size);
  assert_int_equal(sectors_store_create(64 << 20, SECTOR, &store), 0);
  assert_int_equal(sectors_volume_create(store, "one", size, &volume), 0);
  for (int i = 0; i < 200; i++) {
    pthread_t thread;
    char got[5];
    assert_int_equal(sectors_volume_resize(volume, size), 0);
    assert_int_equal(sectors_write(volume, buffer, size, 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, trim_to_the_end, volume), 0);
    assert_int_equal(sectors_volume_resize(volume, 1 << 30), 0);
    assert_int_equal(sectors_write(volume, "hello", 5, size), 0);
    pthread_join(thread, NULL);
    assert_int_equal(sectors_read(volume, got, 5, size), 0);
    assert_memory_equal(got, "hello", 5);
  }
  free(buffer);
  sectors_store_destroy(store);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(fight_with_room),
      cmocka_unit_test(fight_while_reclaiming),
      cmocka_unit_test(fight_over_leaves),
      cmocka_unit_test(fight_at_the_limit),
      cmocka_unit_test(parts_of_one_sector),
      cmocka_unit_test(large_reads_are_not_torn),
      cmocka_unit_test(limit_hit_by_all),
      cmocka_unit_test(just_room_for_all),
      cmocka_unit_test(reserved_range_written_by_all),
      cmocka_unit_test(growing_while_trimming),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
