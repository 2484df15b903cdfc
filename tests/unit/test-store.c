/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the header promises, one promise a test.
 */

#include "audit.h"
#include "sectors.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { SECTOR = 4096 };

static const uint64_t mebibyte = 1 << 20, gibibyte = 1 << 30;

struct fixture {
  sectors_store *store;
  sectors_volume *volume;
};

static struct fixture open_volume(uint64_t limit, uint64_t size) {
  struct fixture fixture;
  assert_int_equal(sectors_store_create(limit, SECTOR, &fixture.store), 0);
  assert_int_equal(sectors_volume_create(fixture.store, "one", size, &fixture.volume), 0);
  return fixture;
}

static void close_volume(struct fixture *fixture) {
  assert_int_equal(audit(fixture->store), 0);
  sectors_store_destroy(fixture->store);
}

static struct sectors_store_statistics statistics_of(sectors_store *store) {
  struct sectors_store_statistics statistics;
  sectors_store_statistics(store, &statistics);
  return statistics;
}

/* Resident memory; 0 with a sanitizer, which takes several bytes for each. */
static uint64_t rss(void) {
  uint64_t size, resident = 0;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return 0;
#endif
  FILE *file = fopen("/proc/self/statm", "r");
  assert_non_null(file);
  assert_int_equal(fscanf(file, "%" SCNu64 " %" SCNu64, &size, &resident), 2);
  fclose(file);
  return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void pause_ms(long ms) {
  nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* Wait until what the process holds beyond idle keeps the promise for that
 * many live bytes; false after five seconds.  (The promise is one second; the
 * benchmark measures that on a quiet machine, and this one may be busy.) */
static bool memory_comes_back(uint64_t idle, uint64_t live) {
  for (int i = 0; i < 100; i++) {
    if (rss() <= idle + live + live / 20 + 16 * mebibyte)
      return true;
    pause_ms(50);
  }
  fprintf(stderr, "idle %" PRIu64 ", live %" PRIu64 ", resident now %" PRIu64 "\n", idle, live,
          rss());
  return false;
}

static void write_all(sectors_volume *volume, uint64_t start, uint64_t end) {
  unsigned char *buffer = malloc(mebibyte);
  memset(buffer, 0x5a, mebibyte);
  for (uint64_t offset = start; offset < end; offset += mebibyte)
    assert_int_equal(sectors_write(volume, buffer, mebibyte, offset), 0);
  free(buffer);
}

static void bad_arguments(void **state) {
  (void)state;
  sectors_store *store;
  sectors_volume *volume;
  char byte = 1, name[300];
  assert_int_equal(sectors_store_create(gibibyte, 3000, &store), -EINVAL);
  assert_int_equal(sectors_store_create(gibibyte, 512, &store), -EINVAL);
  assert_int_equal(sectors_store_create(gibibyte, 1 << 17, &store), -EINVAL);
  assert_int_equal(sectors_store_create(0, SECTOR, &store), -EINVAL);
  assert_int_equal(sectors_store_create(63 * SECTOR, SECTOR, &store), -EINVAL);
  assert_int_equal(sectors_store_create(UINT64_MAX, SECTOR, &store), -EINVAL);
  struct fixture f = open_volume(mebibyte, 10000);
  memset(name, 'x', sizeof name - 1);
  name[sizeof name - 1] = '\0';
  assert_int_equal(sectors_volume_create(f.store, "one", 1, &volume), -EEXIST);
  assert_int_equal(sectors_volume_create(f.store, "", 1, &volume), -EINVAL);
  assert_int_equal(sectors_volume_create(f.store, "a/b", 1, &volume), -EINVAL);
  assert_int_equal(sectors_volume_create(f.store, "a\nb", 1, &volume), -EINVAL);
  assert_int_equal(sectors_volume_create(f.store, name, 1, &volume), -EINVAL);
  static const char *const not_utf8[] = {
      "\xff", "a\x80", "\xc0\xaf", "\xe2\x82", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3"};
  for (size_t i = 0; i < sizeof not_utf8 / sizeof not_utf8[0]; i++)
    assert_int_equal(sectors_volume_check_name(not_utf8[i]), -EINVAL);
  assert_int_equal(sectors_volume_check_name("\xc3\xa9\xe2\x82\xac\xf0\x9f\x92\xbe x"), 0);
  assert_int_equal(sectors_volume_create(f.store, "two", 0, &volume), -EINVAL);
  assert_int_equal(sectors_volume_create(f.store, "two", UINT64_MAX, &volume), -EINVAL);
  assert_int_equal(sectors_read(f.volume, &byte, 1, 10000), -EINVAL);
  assert_int_equal(sectors_write(f.volume, &byte, 1, 10000), -EINVAL);
  assert_int_equal(sectors_write(f.volume, &byte, 1, UINT64_MAX), -EINVAL);
  assert_int_equal(sectors_trim(f.volume, 2, 9999), -EINVAL);
  assert_int_equal(sectors_trim(f.volume, UINT64_MAX, 1), -EINVAL);
  assert_int_equal(sectors_zero(f.volume, 10001, 0), -EINVAL);
  assert_int_equal(sectors_cache(f.volume, 10001, 0), -EINVAL);
  assert_int_equal(sectors_write(f.volume, &byte, 0, 10000), 0);
  assert_int_equal(sectors_trim(f.volume, 0, 10000), 0);
  assert_int_equal(sectors_zero(f.volume, 0, 10000), 0);
  close_volume(&f);
}

static void volumes_by_name(void **state) {
  (void)state;
  struct fixture f = open_volume(mebibyte, 10000);
  sectors_volume *two;
  assert_int_equal(sectors_volume_create(f.store, "two", SECTORS_MAX_VOLUME_SIZE, &two), 0);
  assert_ptr_equal(sectors_volume_find(f.store, "two"), two);
  assert_null(sectors_volume_find(f.store, "three"));
  assert_ptr_equal(sectors_volume_next(f.store, NULL), f.volume);
  assert_ptr_equal(sectors_volume_next(f.store, f.volume), two);
  assert_null(sectors_volume_next(f.store, two));
  assert_string_equal(sectors_volume_name(two), "two");
  assert_int_equal(sectors_volume_size(two), SECTORS_MAX_VOLUME_SIZE);
  assert_int_equal(sectors_write(two, "x", 1, SECTORS_MAX_VOLUME_SIZE - 1), 0);
  assert_int_equal(statistics_of(f.store).volumes, 2);
  sectors_volume_remove(two);
  assert_null(sectors_volume_find(f.store, "two"));
  assert_int_equal(statistics_of(f.store).volumes, 1);
  assert_int_equal(statistics_of(f.store).live, 0);
  close_volume(&f);
}

static void a_write_over_the_limit_changes_nothing(void **state) {
  (void)state;
  struct fixture f = open_volume(mebibyte, gibibyte);
  static unsigned char data[2 << 20], got[2 << 20];
  memset(data, 1, sizeof data);
  assert_int_equal(sectors_write(f.volume, data, mebibyte / 2, mebibyte), 0);
  struct sectors_store_statistics before = statistics_of(f.store);
  memset(data, 2, sizeof data);
  assert_int_equal(sectors_write(f.volume, data, 2 * mebibyte, mebibyte / 2), -ENOSPC);
  assert_int_equal(sectors_read(f.volume, got, 2 * mebibyte, mebibyte / 2), 0);
  for (uint64_t i = 0; i < sizeof got; i++)
    assert_int_equal(got[i], i >= mebibyte / 2 && i < mebibyte);
  struct sectors_store_statistics after = statistics_of(f.store);
  assert_int_equal(before.charged, after.charged);
  assert_int_equal(sectors_write(f.volume, data, mebibyte / 2, mebibyte), 0); /* in place */
  assert_int_equal(sectors_trim(f.volume, gibibyte, 0), 0);
  assert_int_equal(sectors_write(f.volume, data, mebibyte / 2, 0), 0);
  close_volume(&f);
}

static void all_of_the_limit_can_be_used(void **state) {
  (void)state;
  const uint64_t sectors = 1024;
  struct fixture f = open_volume(sectors * SECTOR, gibibyte);
  unsigned char data[SECTOR];
  uint64_t written = 0;
  memset(data, 3, sizeof data);
  while (sectors_write(f.volume, data, SECTOR, written * SECTOR) == 0)
    written++;
  assert_in_range(written, sectors - sectors / 64, sectors - 1); /* the index takes the rest */
  for (uint64_t i = 0; i < written; i++)                         /* rewriting needs nothing */
    assert_int_equal(sectors_write(f.volume, data, SECTOR, i * SECTOR), 0);
  for (int i = 0; i < 1000; i++) { /* and what is freed can be used at once */
    assert_int_equal(sectors_trim(f.volume, 64 * SECTOR, 0), 0);
    for (uint64_t j = 0; j < 63; j++) /* but for a page of the index */
      assert_int_equal(sectors_write(f.volume, data, SECTOR, j * SECTOR), 0);
  }
  close_volume(&f);
}

static void reserved_space_is_there(void **state) {
  (void)state;
  struct fixture f = open_volume(mebibyte, gibibyte);
  unsigned char data[SECTOR];
  uint64_t i = 64;
  memset(data, 4, sizeof data);
  assert_int_equal(sectors_zero(f.volume, 64 * SECTOR, 0), 0);
  assert_int_equal(statistics_of(f.store).reserved, 64 * SECTOR);
  assert_int_equal(statistics_of(f.store).live, 0);
  while (sectors_write(f.volume, data, SECTOR, i * SECTOR) == 0)
    i++;
  for (uint64_t j = 0; j < 64; j++)
    assert_int_equal(sectors_write(f.volume, data, SECTOR, j * SECTOR), 0);
  memset(data, 0, sizeof data); /* zeros keep the reservation, trimming ends it */
  assert_int_equal(sectors_write(f.volume, data, SECTOR, 0), 0);
  assert_int_equal(statistics_of(f.store).reserved, SECTOR);
  memset(data, 5, sizeof data);
  assert_int_equal(sectors_write(f.volume, data, SECTOR, i * SECTOR), -ENOSPC);
  assert_int_equal(sectors_trim(f.volume, SECTOR, 0), 0);
  assert_int_equal(sectors_write(f.volume, data, SECTOR, i * SECTOR), 0);
  assert_int_equal(sectors_zero(f.volume, gibibyte, 0), -ENOSPC);
  close_volume(&f);
}

static void zeros_take_no_memory(void **state) {
  (void)state;
  struct fixture f = open_volume(64 * mebibyte, 4 * gibibyte);
  unsigned char *zeros = calloc(1, mebibyte);
  uint64_t before = rss();
  struct sectors_volume_statistics statistics;
  for (uint64_t offset = 0; offset < gibibyte; offset += mebibyte)
    assert_int_equal(sectors_write(f.volume, zeros, mebibyte, offset), 0);
  assert_int_equal(statistics_of(f.store).charged, 0);
  assert_true(rss() < before + 8 * mebibyte);
  sectors_volume_statistics(f.volume, &statistics);
  assert_int_equal(statistics.zero_detected, gibibyte);
  write_all(f.volume, 0, 8 * mebibyte);
  assert_int_equal(statistics_of(f.store).live, 8 * mebibyte);
  for (uint64_t offset = 0; offset < 8 * mebibyte; offset += mebibyte)
    assert_int_equal(sectors_write(f.volume, zeros, mebibyte, offset), 0);
  assert_int_equal(statistics_of(f.store).live, 0);
  free(zeros);
  close_volume(&f);
}

/* Of a write of data and zeros, the whole sectors of zeros count, whatever was
 * there before; a part of a sector does not, nor does trimming. */
static void zeros_among_data_are_counted(void **state) {
  (void)state;
  struct fixture f = open_volume(mebibyte, gibibyte);
  struct sectors_volume_statistics statistics;
  static unsigned char data[8 * SECTOR];
  memset(data, 9, sizeof data);
  assert_int_equal(sectors_write(f.volume, data, 4 * SECTOR, 0), 0);
  memset(data + SECTOR / 2, 0, 3 * SECTOR); /* a half, two whole, a half */
  memset(data + 6 * SECTOR, 0, SECTOR);     /* one whole */
  for (uint64_t i = 1; i <= 2; i++) {
    assert_int_equal(sectors_write(f.volume, data + SECTOR / 2, 7 * SECTOR, SECTOR / 2), 0);
    sectors_volume_statistics(f.volume, &statistics);
    assert_int_equal(statistics.zero_detected, i * 3 * SECTOR);
    assert_int_equal(statistics.live, 5 * SECTOR);
  }
  assert_int_equal(sectors_trim(f.volume, 8 * SECTOR, 0), 0);
  sectors_volume_statistics(f.volume, &statistics);
  assert_int_equal(statistics.zero_detected, 6 * SECTOR);
  assert_int_equal(statistics.live, 0);
  close_volume(&f);
}

static void freed_memory_shows_nowhere(void **state) {
  (void)state;
  struct fixture f = open_volume(2 * mebibyte, gibibyte);
  sectors_volume *two;
  static unsigned char got[SECTOR];
  assert_int_equal(sectors_volume_create(f.store, "two", gibibyte, &two), 0);
  write_all(f.volume, 0, mebibyte);
  assert_int_equal(sectors_trim(f.volume, mebibyte, 0), 0);
  for (uint64_t i = 0; i < 128; i++) /* one byte into each recycled sector */
    assert_int_equal(sectors_write(two, "x", 1, i * SECTOR + i), 0);
  for (uint64_t i = 0; i < 128; i++) {
    assert_int_equal(sectors_read(two, got, SECTOR, i * SECTOR), 0);
    for (uint64_t j = 0; j < SECTOR; j++)
      assert_int_equal(got[j], j == i ? 'x' : 0);
  }
  close_volume(&f);
}

static void memory_follows_the_data(void **state) {
  (void)state;
  const uint64_t size = 256 * mebibyte;
  struct fixture f = open_volume(gibibyte, UINT64_C(1) << 40);
  unsigned char data[SECTOR];
  memset(data, 6, sizeof data);
  assert_int_equal(sectors_store_start(f.store), 0);
  uint64_t idle = rss();
  write_all(f.volume, 0, size);
  assert_true(rss() == 0 || rss() >= idle + size * 9 / 10);
  assert_true(memory_comes_back(idle, size));
  for (uint64_t i = 0; i < size; i += 2 * SECTOR) /* every second sector */
    assert_int_equal(sectors_trim(f.volume, SECTOR, i), 0);
  assert_int_equal(statistics_of(f.store).live, size / 2);
  assert_true(memory_comes_back(idle, size / 2));
  for (uint64_t i = 0; i < size; i += 16 * SECTOR) /* all but one in sixteen */
    assert_int_equal(sectors_trim(f.volume, 15 * SECTOR, i), 0);
  assert_int_equal(statistics_of(f.store).live, size / 16);
  assert_true(memory_comes_back(idle, size / 16));
  assert_int_equal(sectors_trim(f.volume, UINT64_C(1) << 40, 0), 0);
  assert_true(memory_comes_back(idle, 0));
  sectors_store_reclaim(f.store);
  assert_int_equal(statistics_of(f.store).charged, 0);
  for (uint64_t i = 0; i < size; i += SECTOR) /* and it can all be used again */
    assert_int_equal(sectors_write(f.volume, data, SECTOR, i), 0);
  close_volume(&f);
}

/* What was just trimmed is kept for a while, and used before new memory. */
static void freed_memory_is_reused_first(void **state) {
  (void)state;
  const uint64_t size = 64 * mebibyte;
  struct fixture f = open_volume(gibibyte, UINT64_C(1) << 40);
  assert_int_equal(sectors_store_start(f.store), 0);
  write_all(f.volume, 0, size);
  uint64_t resident = statistics_of(f.store).resident;
  for (int i = 1; i <= 10; i++) {
    assert_int_equal(sectors_trim(f.volume, size, 0), 0);
    write_all(f.volume, 0, size);
    assert_true(statistics_of(f.store).resident <= resident + 4 * mebibyte);
  }
  close_volume(&f);
}

/* A little later it is still there for reuse; then all but a reserve goes. */
static void freed_memory_waits_a_while(void **state) {
  (void)state;
  const uint64_t size = 64 * mebibyte;
  struct fixture f = open_volume(gibibyte, UINT64_C(1) << 40);
  assert_int_equal(sectors_store_start(f.store), 0);
  write_all(f.volume, 0, size);
  pause_ms(1000); /* the background thread is asleep by now */
  double trimmed = seconds();
  assert_int_equal(sectors_trim(f.volume, size, 0), 0);
  pause_ms(200);
  uint64_t kept = statistics_of(f.store).free_reserve;
  if (seconds() < trimmed + 0.4) /* a busy machine may have slept through it */
    assert_true(kept >= size);
  for (int i = 0; i < 100 && statistics_of(f.store).free_reserve > 5 * mebibyte; i++)
    pause_ms(50);
  assert_in_range(statistics_of(f.store).free_reserve, 3 * mebibyte, 5 * mebibyte);
  assert_int_equal(statistics_of(f.store).charged, 0); /* the index is gone, too */
  close_volume(&f);
}

/* Without a background thread, unlinked nodes wait until room is short. */
static void unlinked_nodes_are_no_loss(void **state) {
  (void)state;
  struct fixture f = open_volume(64 * SECTOR, UINT64_C(1) << 60);
  for (uint64_t i = 0; i < 1000; i++) {
    assert_int_equal(sectors_write(f.volume, "x", 1, i << 50), 0);
    assert_int_equal(sectors_trim(f.volume, SECTOR, i << 50), 0);
  }
  for (uint64_t i = 0; i < 1000; i++) {
    assert_int_equal(sectors_zero(f.volume, SECTOR, i << 50), 0);
    assert_int_equal(sectors_trim(f.volume, SECTOR, i << 50), 0);
  }
  close_volume(&f);
}

/* Index nodes go back in the background although no sector was freed. */
static void nodes_come_back(void **state) {
  (void)state;
  struct fixture f = open_volume(gibibyte, UINT64_C(1) << 60);
  assert_int_equal(sectors_store_start(f.store), 0);
  for (int round = 0; round < 3; round++) {
    for (uint64_t i = 0; i < 2000; i++)
      assert_int_equal(sectors_zero(f.volume, SECTOR, i << 40), 0);
    for (int i = 0; i < 300; i++) /* long enough for the thread to fall asleep */
      pause_ms(1);
    assert_int_equal(sectors_trim(f.volume, UINT64_C(1) << 60, 0), 0);
    for (int i = 0; i < 100 && statistics_of(f.store).charged > 0; i++)
      pause_ms(50);
    assert_int_equal(statistics_of(f.store).charged, 0);
  }
  close_volume(&f);
}

/* Zeros in one leaf and data in the next: the first leaf is empty after. */
static void a_write_can_empty_a_leaf(void **state) {
  (void)state;
  struct fixture f = open_volume(mebibyte, gibibyte);
  static unsigned char data[2 * SECTOR];
  memset(data, 8, sizeof data);
  assert_int_equal(sectors_write(f.volume, data, 2 * SECTOR, 63 * SECTOR), 0);
  memset(data, 0, SECTOR);
  assert_int_equal(sectors_write(f.volume, data, 2 * SECTOR, 63 * SECTOR), 0);
  assert_int_equal(statistics_of(f.store).live, SECTOR);
  close_volume(&f);
}

static void sparse_data_costs_little(void **state) {
  (void)state;
  const uint64_t size = UINT64_C(1) << 60, count = 20000;
  struct fixture f = open_volume(gibibyte, size);
  unsigned char data[SECTOR];
  uint64_t random = 88172645463325252u, before = rss();
  memset(data, 7, sizeof data);
  for (uint64_t i = 0; i < count; i++) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    assert_int_equal(sectors_write(f.volume, data, SECTOR, random % (size / SECTOR) * SECTOR), 0);
  }
  struct sectors_store_statistics statistics = statistics_of(f.store);
  assert_int_equal(statistics.live, count * SECTOR);
  assert_true(statistics.resident <= 3 * statistics.live);
  assert_true(rss() - before <= 3 * statistics.live);
  assert_int_equal(sectors_trim(f.volume, size, 0), 0);
  sectors_store_reclaim(f.store);
  assert_int_equal(statistics_of(f.store).charged, 0);
  assert_true(rss() <= before + 16 * mebibyte);
  close_volume(&f);
}

static void dense_metadata_is_small(void **state) {
  (void)state;
  struct fixture f = open_volume(gibibyte, gibibyte);
  write_all(f.volume, 0, 512 * mebibyte);
  struct sectors_store_statistics statistics = statistics_of(f.store);
  assert_true(statistics.metadata * 200 <= statistics.live); /* 0.5 % */
  assert_in_range(statistics.charged, statistics.live, statistics.live + statistics.metadata);
  close_volume(&f);
}

static void resizing(void **state) {
  (void)state;
  struct fixture f = open_volume(64 * mebibyte, 10 * mebibyte);
  unsigned char byte = 1;
  write_all(f.volume, 0, 10 * mebibyte);
  assert_int_equal(sectors_volume_resize(f.volume, 0), -EINVAL);
  assert_int_equal(sectors_volume_resize(f.volume, 5 * mebibyte + 100), 0);
  assert_int_equal(statistics_of(f.store).live, 5 * mebibyte + SECTOR);
  assert_int_equal(sectors_read(f.volume, &byte, 1, 5 * mebibyte + 100), -EINVAL);
  assert_int_equal(sectors_volume_resize(f.volume, SECTORS_MAX_VOLUME_SIZE), 0);
  assert_int_equal(sectors_read(f.volume, &byte, 1, 5 * mebibyte + 99), 0);
  assert_int_equal(byte, 0x5a);
  assert_int_equal(sectors_read(f.volume, &byte, 1, 5 * mebibyte + 100), 0);
  assert_int_equal(byte, 0);
  assert_int_equal(sectors_write(f.volume, "x", 1, SECTORS_MAX_VOLUME_SIZE - 1), 0);
  close_volume(&f);
}

static int stop_at_once(void *opaque, uint64_t offset, uint64_t count, enum sectors_extent type) {
  (void)offset, (void)type;
  *(uint64_t *)opaque = count;
  return 42;
}

static void extents_of_huge_ranges(void **state) {
  (void)state;
  struct fixture f = open_volume(mebibyte, SECTORS_MAX_VOLUME_SIZE);
  uint64_t count = 0;
  assert_int_equal(sectors_write(f.volume, "x", 1, UINT64_C(1) << 62), 0);
  assert_int_equal(sectors_extents(f.volume, SECTORS_MAX_VOLUME_SIZE - 5, 5, stop_at_once, &count),
                   42);
  assert_int_equal(count, (UINT64_C(1) << 62) - 5);
  assert_int_equal(sectors_extents(f.volume, 10, UINT64_C(1) << 62, stop_at_once, &count), 42);
  assert_int_equal(count, 10);
  assert_int_equal(sectors_trim(f.volume, SECTORS_MAX_VOLUME_SIZE, 0), 0);
  assert_int_equal(sectors_extents(f.volume, SECTORS_MAX_VOLUME_SIZE, 0, stop_at_once, &count), 42);
  assert_int_equal(count, SECTORS_MAX_VOLUME_SIZE);
  close_volume(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bad_arguments),
      cmocka_unit_test(volumes_by_name),
      cmocka_unit_test(a_write_over_the_limit_changes_nothing),
      cmocka_unit_test(all_of_the_limit_can_be_used),
      cmocka_unit_test(reserved_space_is_there),
      cmocka_unit_test(zeros_take_no_memory),
      cmocka_unit_test(zeros_among_data_are_counted),
      cmocka_unit_test(freed_memory_shows_nowhere),
      cmocka_unit_test(memory_follows_the_data),
      cmocka_unit_test(freed_memory_is_reused_first),
      cmocka_unit_test(freed_memory_waits_a_while),
      cmocka_unit_test(unlinked_nodes_are_no_loss),
      cmocka_unit_test(nodes_come_back),
      cmocka_unit_test(a_write_can_empty_a_leaf),
      cmocka_unit_test(sparse_data_costs_little),
      cmocka_unit_test(dense_metadata_is_small),
      cmocka_unit_test(resizing),
      cmocka_unit_test(extents_of_huge_ranges),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
