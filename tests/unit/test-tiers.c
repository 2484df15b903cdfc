/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Volumes that are larger than memory, of every kind, against plain arrays:
 * random requests from several threads, each with a part of the volume of its own
 * that shares leaves with the others', and with sectors moved around meanwhile.
 */

#include "store.h"
#include "tiers.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef STEPS
#define STEPS 2500
#endif

enum {
  THREADS = 3,
  SECTOR = 4096,
  SECTORS = 6144, /* 24 MiB, in 8 MiB of memory */
  PIECE = 24,     /* sectors that a thread has in a row */
  OWN = SECTORS / THREADS,
  ODD_END = 1024, /* bytes that the volume's last sector lacks */
};

struct setting {
  bool spill, image, base;
  enum sectors_compression compress;
  bool odd;
};

struct world {
  sectors_store *store;
  sectors_volume *volume;
  struct setting setting;
  uint64_t size;
  unsigned char *bytes; /* what the volume should hold */
  char image[64], base[64];
  _Atomic bool stop;
};

struct worker {
  struct world *world;
  unsigned number;
  uint64_t random;
  int failures;
};

static uint64_t next_random(uint64_t *state, uint64_t below) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state % below;
}

/* ------------------------------------------------------------------- set up */

static void make_file(char *path, uint64_t size, bool with_data) {
  strcpy(path, "/tmp/test-tiers-XXXXXX");
  int file = mkstemp(path);
  assert_true(file >= 0);
  assert_int_equal(ftruncate(file, (off_t)size), 0);
  unsigned char sector[SECTOR];
  for (uint64_t i = 0; with_data && i < size / SECTOR; i++) {
    memset(sector, (int)(i % 250 + 1), sizeof sector);
    if (i % 5 < 3)
      assert_int_equal(pwrite(file, sector, sizeof sector, (off_t)(i * SECTOR)), sizeof sector);
  }
  close(file);
}

static void open_store(struct world *world) {
  char problem[SECTORS_PROBLEM_TEXT];
  struct sectors_tiers tiers = {.spill = world->setting.spill ? "/tmp" : NULL,
                                .compress = world->setting.compress};
  struct sectors_volume_options options = {
      .image = world->setting.image ? world->image : NULL,
      .base = world->setting.base ? world->base : NULL,
      .priority = -1,
  };
  assert_int_equal(sectors_store_create(8 << 20, SECTOR, &world->store), 0);
  assert_int_equal(sectors_store_set_tiers(world->store, &tiers), 0);
  int error =
      sectors_volume_open(world->store, "v", world->size, &options, &world->volume, problem);
  if (error != 0)
    fprintf(stderr, "%s\n", problem);
  assert_int_equal(error, 0);
  assert_int_equal(sectors_store_start(world->store), 0);
}

static void read_base_bytes(struct world *world) {
  int file = open(world->base, O_RDONLY);
  assert_true(pread(file, world->bytes, world->size, 0) > 0);
  close(file);
}

/* ------------------------------------------------------------------ requests */

/* Sector i of a worker's, in the volume. */
static uint64_t own_sector(const struct worker *worker, uint64_t i) {
  return (i / PIECE * THREADS + worker->number) * PIECE + i % PIECE;
}

static void fill(unsigned char *bytes, uint64_t count, uint64_t *random) {
  uint64_t kind = next_random(random, 4), value = next_random(random, UINT64_MAX);
  for (uint64_t i = 0; i < count; i++) {
    if (kind == 0) /* random */
      value = value * UINT64_C(6364136223846793005) + 1442695040888963407;
    else if (i % 512 == 0)
      value += 77;
    bytes[i] = kind == 1 && i / SECTOR % 2 ? 0 : (unsigned char)(value >> 56);
  }
  if (kind == 3)
    memset(bytes, 0, count);
}

static int complain(const char *what, uint64_t offset, uint64_t count, int result) {
  fprintf(stderr, "%s of %" PRIu64 " at %" PRIu64 " (sector %" PRIu64 "): %s\n", what, count,
          offset, offset / SECTOR, result ? strerror(-result) : "wrong data");
  return 1;
}

static int check(struct world *world, unsigned char *buffer, uint64_t count, uint64_t offset) {
  int result = sectors_read(world->volume, buffer, count, offset);
  if (result == 0 && memcmp(buffer, world->bytes + offset, count) == 0)
    return 0;
  if (result == 0) {
    uint64_t i = 0;
    while (buffer[i] == world->bytes[offset + i])
      i++;
    fprintf(stderr, "at byte %" PRIu64 " of it: is %u, should be %u; ", i, buffer[i],
            world->bytes[offset + i]);
  }
  return complain("read", offset, count, result);
}

struct extent_check {
  struct world *world;
  uint64_t next;
  int failures;
};

static int check_extent(void *opaque, uint64_t offset, uint64_t count, enum sectors_extent type) {
  struct extent_check *extents = opaque;
  const unsigned char *bytes = extents->world->bytes + offset;
  if (offset != extents->next || count == 0)
    extents->failures += complain("extent: gap", offset, count, -EINVAL);
  extents->next = offset + count;
  if (type != SECTORS_EXTENT_DATA && (bytes[0] != 0 || memcmp(bytes, bytes + 1, count - 1) != 0))
    extents->failures += complain("extent: hole with data", offset, count, -EINVAL);
  return 0;
}

static int check_extents(struct world *world, uint64_t count, uint64_t offset) {
  struct extent_check extents = {.world = world, .next = offset};
  int result = sectors_extents(world->volume, count, offset, check_extent, &extents);
  if (result != 0 || extents.next != offset + count)
    return complain("extents", offset, count, result ? result : -EINVAL);
  return extents.failures;
}

static int step(struct worker *worker) {
  static _Thread_local unsigned char buffer[PIECE * SECTOR];
  struct world *world = worker->world;
  uint64_t *random = &worker->random;
  uint64_t first = next_random(random, OWN), most = PIECE - first % PIECE;
  uint64_t count = SECTOR * (1 + next_random(random, most)),
           offset = own_sector(worker, first) * SECTOR;
  if (next_random(random, 3) == 0) { /* not aligned */
    uint64_t skip = next_random(random, count - 1);
    offset += skip;
    count = 1 + next_random(random, count - skip);
  }
  if (offset >= world->size)
    return 0;
  if (count > world->size - offset)
    count = world->size - offset;
  int result = 0;
  const char *what = "";
  switch (next_random(random, 16)) {
  case 0:
  case 1:
  case 2:
  case 3:
  case 4:
  case 5:
    what = "write";
    fill(buffer, count, random);
    result = sectors_write(world->volume, buffer, count, offset);
    if (result == 0)
      memcpy(world->bytes + offset, buffer, count);
    break;
  case 6:
    what = "trim";
    result = sectors_trim(world->volume, count, offset);
    if (result == 0)
      memset(world->bytes + offset, 0, count);
    break;
  case 7:
    what = "zero";
    result = sectors_zero(world->volume, count, offset);
    if (result == 0)
      memset(world->bytes + offset, 0, count);
    break;
  case 8:
    what = "flush of a range";
    result = sectors_flush_range(world->volume, count, offset);
    break;
  case 9:
    what = "cache";
    result = sectors_cache(world->volume, count, offset);
    break;
  case 10:
    what = "drop";
    result = sectors_drop(world->volume, count, offset);
    if (result == -EOPNOTSUPP)
      result = 0;
    break;
  case 11:
    return check_extents(world, count, offset);
  default:
    return check(world, buffer, count, offset);
  }
  return result ? complain(what, offset, count, result) : 0;
}

static void *work(void *argument) {
  struct worker *worker = argument;
  for (unsigned i = 0; i < STEPS && worker->failures < 3; i++)
    worker->failures += step(worker);
  return NULL;
}

/* Meanwhile: flushes, collections, other priorities. */
static void *disturb(void *argument) {
  struct world *world = argument;
  uint64_t random = 4711;
  int failures = 0;
  while (!atomic_load(&world->stop)) {
    int result = 0;
    switch (next_random(&random, 4)) {
    case 0:
      result = sectors_flush(world->volume);
      break;
    case 1:
      sectors_store_gc(world->store, next_random(&random, 8 << 20), NULL, NULL);
      break;
    case 2:
      result = sectors_set_priority(world->volume, SECTOR * (1 + next_random(&random, 100)),
                                    SECTOR * next_random(&random, SECTORS - 128),
                                    (unsigned)next_random(&random, 11));
      break;
    default:
      if (world->setting.compress)
        sectors_store_set_compression(world->store,
                                      (enum sectors_compression)next_random(&random, 3));
    }
    if (result != 0)
      failures += complain("disturbing", 0, 0, result);
    usleep(2000);
  }
  return failures ? argument : NULL;
}

static int check_all(struct world *world) {
  static unsigned char buffer[1 << 18];
  int failures = 0;
  for (uint64_t offset = 0; offset < world->size && failures < 5; offset += sizeof buffer) {
    uint64_t count = world->size - offset < sizeof buffer ? world->size - offset : sizeof buffer;
    failures += check(world, buffer, count, offset);
  }
  return failures;
}

/* The image file itself is what the volume is. */
static int check_image(struct world *world) {
  static unsigned char buffer[1 << 18];
  int file = open(world->image, O_RDONLY), failures = 0;
  for (uint64_t offset = 0; offset < world->size; offset += sizeof buffer) {
    uint64_t count = world->size - offset < sizeof buffer ? world->size - offset : sizeof buffer;
    if (pread(file, buffer, count, (off_t)offset) != (ssize_t)count ||
        memcmp(buffer, world->bytes + offset, count) != 0)
      failures += complain("image", offset, count, 0);
  }
  close(file);
  return failures;
}

static void run(struct setting setting) {
  struct world world = {.setting = setting};
  struct worker workers[THREADS];
  pthread_t threads[THREADS], disturber;
  world.size = (uint64_t)SECTORS * SECTOR - (setting.odd ? ODD_END : 0);
  world.bytes = calloc(SECTORS, SECTOR);
  if (setting.image)
    make_file(world.image, world.size, false);
  if (setting.base) {
    make_file(world.base, (uint64_t)SECTORS / 2 * SECTOR, true);
    read_base_bytes(&world);
  }
  open_store(&world);
  assert_int_equal(check_all(&world), 0);
  pthread_create(&disturber, NULL, disturb, &world);
  for (unsigned i = 0; i < THREADS; i++) {
    workers[i] = (struct worker){.world = &world, .number = i, .random = 88172645463325252u + i};
    pthread_create(&threads[i], NULL, work, &workers[i]);
  }
  int failures = 0;
  for (unsigned i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    failures += workers[i].failures;
  }
  atomic_store(&world.stop, true);
  void *disturbed;
  pthread_join(disturber, &disturbed);
  failures += disturbed != NULL;
  failures += check_all(&world);
  struct sectors_store_statistics statistics;
  sectors_store_statistics(world.store, &statistics);
  assert_true(statistics.charged <= statistics.limit);
  assert_int_equal(failures, 0);
  if (setting.image) {
    assert_int_equal(sectors_flush(world.volume), 0);
    if (!setting.base)
      assert_int_equal(check_image(&world), 0);
    sectors_store_destroy(world.store);
    open_store(&world); /* again, over the same image */
    assert_int_equal(check_all(&world), 0);
  }
  sectors_volume_remove(world.volume);
  node_pool_settle(world.store);
  sectors_store_statistics(world.store, &statistics);
  assert_int_equal(statistics.charged, statistics.buffers);
  assert_int_equal(statistics.live + statistics.compressed, 0);
  sectors_store_destroy(world.store);
  free(world.bytes);
  if (setting.image)
    unlink(world.image);
  if (setting.base)
    unlink(world.base);
}

static void spill(void **state) {
  (void)state;
  run((struct setting){.spill = true});
  run((struct setting){.spill = true, .odd = true});
}

static void image(void **state) {
  (void)state;
  run((struct setting){.image = true});
  run((struct setting){.image = true, .odd = true});
}

static void compressed(void **state) {
  (void)state;
  run((struct setting){.spill = true, .compress = SECTORS_COMPRESS_LZ4});
  run((struct setting){.image = true, .compress = SECTORS_COMPRESS_ZSTD});
}

static void base(void **state) {
  (void)state;
  run((struct setting){.spill = true, .base = true});
  run((struct setting){.spill = true, .base = true, .compress = SECTORS_COMPRESS_LZ4});
}

static void image_over_base(void **state) {
  (void)state;
  run((struct setting){.image = true, .base = true});
  run((struct setting){.image = true, .base = true, .compress = SECTORS_COMPRESS_LZ4});
}

/* ------------------------------------------------------------ what stays
 *
 * The same policy as in test-policy, but in a store: who goes is found out by
 * its threads. */

enum { MIB = 1 << 20 };

static struct world small_world(void) {
  struct world world = {.setting = {.spill = true}, .size = 24 * MIB};
  open_store(&world);
  return world;
}

static int add_memory(void *opaque, const struct sectors_map_entry *entry) {
  if (entry->tier == SECTORS_TIER_MEMORY)
    *(uint64_t *)opaque += entry->count;
  return 0;
}

static uint64_t in_memory(struct world *world, uint64_t count, uint64_t offset) {
  uint64_t bytes = 0;
  assert_int_equal(sectors_map(world->volume, count, offset, add_memory, &bytes), 0);
  return bytes;
}

/* Write, or read, MiB by MiB; 0 or the first error. */
static int pass(struct world *world, uint64_t count, uint64_t offset, bool writes) {
  static unsigned char buffer[MIB];
  int error = 0;
  for (uint64_t done = 0; done < count && error == 0; done += MIB) {
    memset(buffer, (int)(done / MIB + 1), sizeof buffer);
    error = writes ? sectors_write(world->volume, buffer, MIB, offset + done)
                   : sectors_read(world->volume, buffer, MIB, offset + done);
  }
  return error;
}

static void hot_stays(void **state) {
  (void)state;
  struct world world = small_world();
  assert_int_equal(pass(&world, 24 * MIB, 0, true), 0);
  for (unsigned i = 0; i < 12; i++) { /* a hot MiB among others */
    assert_int_equal(pass(&world, MIB, 5 * MIB, false), 0);
    assert_int_equal(pass(&world, 3 * MIB, (8 + i) * MIB, false), 0);
  }
  assert_int_equal(pass(&world, 24 * MIB, 0, false), 0); /* one scan */
  assert_true(in_memory(&world, MIB, 5 * MIB) >= MIB / 10 * 9);
  sectors_store_destroy(world.store);
}

/* Data of which so much of each sector is noise: it takes that much when it is compressed. */
static void write_noise(struct world *world, uint64_t count, uint64_t offset, unsigned noise) {
  unsigned char sector[SECTOR] = {0};
  uint64_t random = 7;
  for (uint64_t end = offset + count; offset < end; offset += SECTOR) {
    for (unsigned i = 0; i < noise; i++)
      sector[i] = (unsigned char)next_random(&random, 256);
    assert_int_equal(sectors_write(world->volume, sector, SECTOR, offset), 0);
  }
}

/* Reading in order leaves compressed data where it is, however often: to bring it up would only
 * make others be compressed. */
static void scans_leave_compressed(void **state) {
  (void)state;
  enum { DATA = 11 * MIB, REQUEST = 64 << 10, BEFORE_IT_IS_A_SCAN = 4 * REQUEST };
  static unsigned char buffer[REQUEST];
  struct world world = {.setting = {.compress = SECTORS_COMPRESS_LZ4}, .size = DATA};
  open_store(&world);
  write_noise(&world, DATA, 0, SECTOR / 2);
  assert_int_equal(sectors_store_gc(world.store, 0, NULL, NULL), -ENOSPC); /* all that can go */
  uint64_t before = in_memory(&world, DATA, 0);
  assert_true(before < MIB);
  for (unsigned i = 0; i < 5; i++)
    for (uint64_t offset = 0; offset < DATA; offset += REQUEST)
      assert_int_equal(sectors_read(world.volume, buffer, REQUEST, offset), 0);
  assert_true(in_memory(&world, DATA, 0) <= before + BEFORE_IT_IS_A_SCAN);
  sectors_store_destroy(world.store);
}

/* Where nothing else is left, compressed data moves below too, however little it is. */
static void compressed_makes_room(void **state) {
  (void)state;
  struct world world = {.setting = {.spill = true, .compress = SECTORS_COMPRESS_LZ4},
                        .size = 24 * MIB};
  open_store(&world);
  write_noise(&world, 7 * MIB, 0, SECTOR / 2);
  assert_int_equal(sectors_store_gc(world.store, 5 * MIB, NULL, NULL), 0);
  assert_int_equal(sectors_set_priority(world.volume, 5 * MIB, 8 * MIB, 9), 0);
  write_noise(&world, 5 * MIB, 8 * MIB, SECTOR);
  assert_int_equal(in_memory(&world, 5 * MIB, 8 * MIB), 5 * MIB);
  sectors_store_destroy(world.store);
}

static void *switch_compression(void *argument) {
  struct world *world = argument;
  for (unsigned i = 0; !atomic_load(&world->stop); i++)
    sectors_store_set_compression(world->store, (enum sectors_compression)(i % 3));
  return NULL;
}

/* The way to compress changes at any moment, also to none. */
static void compression_is_switched(void **state) {
  (void)state;
  struct world world = {.setting = {.spill = true, .compress = SECTORS_COMPRESS_ZSTD},
                        .size = 24 * MIB};
  pthread_t switcher;
  open_store(&world);
  assert_int_equal(pthread_create(&switcher, NULL, switch_compression, &world), 0);
  for (unsigned i = 0; i < 4; i++) {
    assert_int_equal(pass(&world, 24 * MIB, 0, true), 0);
    assert_int_equal(pass(&world, 24 * MIB, 0, false), 0);
  }
  atomic_store(&world.stop, true);
  pthread_join(switcher, NULL);
  sectors_store_destroy(world.store);
}

static void pinned_stays(void **state) {
  (void)state;
  struct world world = small_world();
  assert_int_equal(sectors_set_priority(world.volume, 3 * MIB, 0, 9), 0);
  assert_int_equal(pass(&world, 24 * MIB, 0, true), 0);
  assert_int_equal(pass(&world, 20 * MIB, 4 * MIB, false), 0);
  assert_int_equal(in_memory(&world, 3 * MIB, 0), 3 * MIB);

  /* Only pinned data is left: refused, and nothing is lost by that. */
  assert_int_equal(sectors_set_priority(world.volume, 0, 0, 10), 0);
  assert_int_equal(pass(&world, 24 * MIB, 0, true), -ENOSPC);
  assert_int_equal(pass(&world, 24 * MIB, 0, false), 0);
  assert_int_equal(sectors_store_set_limit(world.store, 7 * MIB), -EINVAL);

  /* An explicit collection takes them all the same. */
  assert_int_equal(sectors_store_gc(world.store, 3 * MIB, NULL, NULL), 0);
  assert_true(in_memory(&world, 24 * MIB, 0) <= 3 * MIB);
  assert_int_equal(sectors_set_priority(world.volume, 0, 0, 5), 0);
  assert_int_equal(pass(&world, 24 * MIB, 0, true), 0);
  sectors_store_destroy(world.store);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(spill),
      cmocka_unit_test(image),
      cmocka_unit_test(compressed),
      cmocka_unit_test(base),
      cmocka_unit_test(image_over_base),
      cmocka_unit_test(hot_stays),
      cmocka_unit_test(pinned_stays),
      cmocka_unit_test(scans_leave_compressed),
      cmocka_unit_test(compressed_makes_room),
      cmocka_unit_test(compression_is_switched),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
