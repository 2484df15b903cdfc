/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the system can refuse is refused: each call that takes memory or a
 * thread fails once, and from some call on for ever, for every number of that
 * call.  The linker replaces those calls (--wrap, see CMakeLists.txt).
 */

#include "audit.h"
#include "sectors.h"
#include "store.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <cmocka.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

/* ---------------------------------------------------------------- the faults */

static _Atomic bool armed; /* faults happen only inside the library's calls */
static bool for_ever;      /* all calls from fail_at on fail, not only one */
static unsigned fail_at;   /* counted from 1 */
static _Atomic unsigned calls;
static int madvise_error = ENOMEM;
static _Atomic unsigned releases; /* calls that gave memory back */
static bool halfway;              /* memory is given for half of what is asked, then refused */

/* Of all calls only this advice to madvise fails, if it is not ANY. */
enum { ANY = -1, NONE = -2 };
static int only_advice = ANY;

static bool refused_advice(int advice) {
  if (!armed || (only_advice != ANY && only_advice != advice))
    return false;
  unsigned call = ++calls;
  return call == fail_at || (for_ever && call > fail_at);
}

static bool refused(void) {
  return refused_advice(NONE);
}

void *__real_calloc(size_t count, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
char *__real_strdup(const char *text);
void *__real_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
int __real_mprotect(void *address, size_t size, int protection);
int __real_madvise(void *address, size_t size, int advice);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__wrap_strdup(const char *text);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
int __wrap_mprotect(void *address, size_t size, int protection);
int __wrap_madvise(void *address, size_t size, int advice);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);

static void *no_memory(void) {
  errno = ENOMEM;
  return NULL;
}

void *__wrap_calloc(size_t count, size_t size) {
  return refused() ? no_memory() : __real_calloc(count, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
  return refused() ? no_memory() : __real_aligned_alloc(alignment, size);
}

char *__wrap_strdup(const char *text) {
  return refused() ? no_memory() : __real_strdup(text);
}

void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
  if (!refused())
    return __real_mmap(address, size, protection, flags, fd, offset);
  no_memory();
  return MAP_FAILED;
}

int __wrap_mprotect(void *address, size_t size, int protection) {
  if (!refused())
    return __real_mprotect(address, size, protection);
  no_memory();
  return -1;
}

int __wrap_madvise(void *address, size_t size, int advice) {
  releases += advice == MADV_DONTNEED;
  /* Both kinds of giving back are one to the tests. */
  if (!refused_advice(advice == MADV_DONTNEED_LOCKED ? MADV_DONTNEED : advice))
    return __real_madvise(address, size, advice);
  if (halfway && advice == MADV_POPULATE_WRITE)
    __real_madvise(address, size / 2, advice);
  errno = madvise_error;
  return -1;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument) {
  return refused() ? EAGAIN : __real_pthread_create(thread, attributes, start, argument);
}

/* What another thread does just before space is set aside; then nothing. */
static void (*meanwhile)(sectors_store *store);

int __real_store_reserve(sectors_store *store, uint64_t count);
int __wrap_store_reserve(sectors_store *store, uint64_t count);

int __wrap_store_reserve(sectors_store *store, uint64_t count) {
  void (*happens)(sectors_store *) = meanwhile;
  meanwhile = NULL;
  if (happens)
    happens(store);
  return __real_store_reserve(store, count);
}

/* -------------------------------------------------------------- the scenario */

enum { SECTOR = 4096, MEBIBYTE = 1 << 20, CHUNK = 3 * MEBIBYTE };

static unsigned char ones[CHUNK], twos[CHUNK], got[CHUNK];

static void expect_chunk(sectors_volume *volume, const unsigned char *expected, uint64_t offset) {
  static const unsigned char zeros[CHUNK];
  assert_int_equal(sectors_read(volume, got, CHUNK, offset), 0);
  assert_memory_equal(got, expected ? expected : zeros, CHUNK);
}

static bool succeeds(int error, int allowed) {
  if (error != 0)
    assert_int_equal(error, allowed);
  return error == 0;
}

static void use_volume(sectors_store *store, sectors_volume *volume) {
  const uint64_t far = UINT64_C(1) << 50;
  const unsigned char *here = NULL, *there = NULL;
  if (succeeds(sectors_write(volume, ones, CHUNK, 0), -ENOSPC))
    here = ones;
  expect_chunk(volume, here, 0);
  if (succeeds(sectors_write(volume, ones, CHUNK, far), -ENOSPC))
    there = ones;
  if (succeeds(sectors_write(volume, twos, CHUNK, 0), -ENOSPC))
    here = twos;
  expect_chunk(volume, here, 0);
  expect_chunk(volume, there, far);
  assert_int_equal(sectors_trim(volume, CHUNK, far), 0);
  sectors_store_reclaim(store);
  expect_chunk(volume, NULL, far);
  succeeds(sectors_zero(volume, CHUNK, far), -ENOSPC);
  expect_chunk(volume, NULL, far);
  there = NULL;
  if (succeeds(sectors_write(volume, twos, CHUNK, far), -ENOSPC))
    there = twos;
  expect_chunk(volume, here, 0);
  expect_chunk(volume, there, far);
}

/* Returns whether a fault happened. */
static bool run(unsigned n, bool start) {
  sectors_store *store = NULL;
  sectors_volume *volume = NULL;
  calls = 0;
  fail_at = n;
  armed = true;
  if (succeeds(sectors_store_create(64 * MEBIBYTE, SECTOR, &store), -ENOMEM)) {
    if (start && !succeeds(sectors_store_start(store), -EAGAIN))
      armed = for_ever; /* it may be tried again */
    if (succeeds(sectors_volume_create(store, "one", UINT64_C(1) << 60, &volume), -ENOMEM))
      use_volume(store, volume);
  }
  armed = false;
  if (store)
    assert_int_equal(audit(store), 0);
  sectors_store_destroy(store);
  return calls >= n;
}

static void run_all(bool start) {
  unsigned n = 1;
  memset(ones, 1, CHUNK);
  memset(twos, 2, CHUNK);
  while (run(n, start))
    n++;
  assert_true(n > (only_advice == ANY ? 10 : 1));
}

static void each_call_fails_once(void **state) {
  (void)state;
  for_ever = false;
  run_all(true);
}

static void each_call_fails_for_ever(void **state) {
  (void)state;
  for_ever = true;
  run_all(false);
}

/* A kernel that knows none of our advice works all the same. */
static void old_kernel(void **state) {
  (void)state;
  for_ever = false;
  madvise_error = EINVAL;
  run_all(true);
  madvise_error = ENOMEM;
}

/* The system takes no advice of one kind, at one call or from there on. */
static void only_advice_fails(void **state) {
  (void)state;
  static const int advices[] = {MADV_NOHUGEPAGE, MADV_POPULATE_WRITE, MADV_DONTNEED};
  for (size_t i = 0; i < sizeof advices / sizeof advices[0]; i++) {
    only_advice = advices[i];
    for_ever = false;
    run_all(true);
    for_ever = true;
    run_all(true);
  }
  only_advice = ANY;
}

/* Memory that was given before there was no more is not forgotten. */
static void memory_for_a_part(void **state) {
  (void)state;
  only_advice = MADV_POPULATE_WRITE;
  for_ever = halfway = true;
  run_all(false);
  halfway = false;
  only_advice = ANY;
}

/* After a fault has passed, all is as if it had not been. */
static void recovery(void **state) {
  (void)state;
  sectors_store *store;
  sectors_volume *volume;
  for_ever = true;
  assert_int_equal(sectors_store_create(64 * MEBIBYTE, SECTOR, &store), 0);
  assert_int_equal(sectors_volume_create(store, "one", UINT64_C(1) << 60, &volume), 0);
  calls = 0;
  fail_at = 1;
  armed = true;
  assert_int_equal(sectors_write(volume, ones, CHUNK, 12345), -ENOSPC);
  armed = false;
  assert_int_equal(audit(store), 0);
  assert_int_equal(sectors_write(volume, ones, CHUNK, 12345), 0);
  expect_chunk(volume, ones, 12345);
  assert_int_equal(audit(store), 0);
  sectors_store_destroy(store);
}

/* The last page of the index, taken by another thread just before, has nodes
 * for both. */
static void take_the_last_page(sectors_store *store) {
  struct node *leaf;
  assert_int_equal(index_make(store, &store->volumes->index, 0, &leaf), 0);
}

static void nodes_of_another_threads_page(void **state) {
  (void)state;
  const uint64_t sector = 1 << 20;
  sectors_store *store;
  sectors_volume *volume;
  struct node *leaf;
  assert_int_equal(sectors_store_create(64 * SECTOR, SECTOR, &store), 0);
  assert_int_equal(sectors_volume_create(store, "one", UINT64_C(1) << 40, &volume), 0);
  assert_int_equal(store_reserve(store, 63), 0);
  meanwhile = take_the_last_page;
  struct epoch_token token = epoch_enter(&store->epoch);
  assert_int_equal(index_make(store, &volume->index, sector, &leaf), 0);
  index_prune(store, &volume->index, 0);
  index_prune(store, &volume->index, sector);
  epoch_leave(&store->epoch, token);
  store_unreserve(store, 63);
  assert_int_equal(audit(store), 0);
  assert_int_equal(store->charged, 0);
  sectors_store_destroy(store);
}

/* A slab that is free goes back in one piece, though every second of its
 * sectors went before. */
static void free_slabs_go_back_whole(void **state) {
  (void)state;
  enum { SLABS = 4, SIZE = SLABS * 2 * MEBIBYTE };
  sectors_store *store;
  sectors_volume *volume;
  assert_int_equal(sectors_store_create(64 * MEBIBYTE, SECTOR, &store), 0);
  assert_int_equal(sectors_volume_create(store, "one", SIZE, &volume), 0);
  memset(ones, 1, CHUNK);
  for (uint64_t offset = 0; offset < SIZE; offset += MEBIBYTE)
    assert_int_equal(sectors_write(volume, ones, MEBIBYTE, offset), 0);
  for (uint64_t offset = 0; offset < SIZE; offset += 2 * SECTOR)
    assert_int_equal(sectors_trim(volume, SECTOR, offset), 0);
  sectors_store_reclaim(store);
  assert_int_equal(sectors_trim(volume, SIZE, 0), 0);
  releases = 0;
  sectors_store_reclaim(store);
  assert_in_range(releases, SLABS, SLABS + 1); /* and one for the index */
  struct sectors_store_statistics statistics;
  sectors_store_statistics(store, &statistics);
  assert_int_equal(statistics.free_reserve, 0);
  assert_int_equal(audit(store), 0);
  sectors_store_destroy(store);
}

static bool memory_is_back(sectors_store *store) {
  struct sectors_store_statistics statistics;
  for (int i = 0; i < 100; i++) {
    sectors_store_statistics(store, &statistics);
    if (statistics.free_reserve <= 5 * MEBIBYTE)
      return true;
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
  }
  return false;
}

/* A system that refused to take memory back is asked again when more is freed. */
static void refused_memory_goes_back_later(void **state) {
  (void)state;
  enum { SIZE = 32 * MEBIBYTE };
  sectors_store *store;
  sectors_volume *volume;
  memset(ones, 1, CHUNK);
  assert_int_equal(sectors_store_create(64 * MEBIBYTE, SECTOR, &store), 0);
  assert_int_equal(sectors_volume_create(store, "one", SIZE, &volume), 0);
  assert_int_equal(sectors_store_start(store), 0);
  for (uint64_t offset = 0; offset < SIZE; offset += MEBIBYTE)
    assert_int_equal(sectors_write(volume, ones, MEBIBYTE, offset), 0);
  only_advice = MADV_DONTNEED;
  calls = 0;
  fail_at = 1;
  for_ever = true;
  armed = true;
  assert_int_equal(sectors_trim(volume, SIZE - MEBIBYTE, 0), 0);
  for (int i = 0; i < 100 && !atomic_load(&store->arena.release_failed); i++)
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
  assert_true(store->arena.release_failed);
  for (int i = 0; i < 100 && !atomic_load(&store->asleep); i++)
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
  unsigned asked = calls;
  nanosleep(&(struct timespec){.tv_nsec = 800000000}, NULL);
  assert_int_equal(calls, asked); /* it is not asked all the time */
  armed = false;
  assert_int_equal(sectors_trim(volume, SIZE, 0), 0);
  assert_true(memory_is_back(store));
  assert_int_equal(audit(store), 0); /* which ends the thread */
  only_advice = ANY;
  sectors_store_destroy(store);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_call_fails_once),
      cmocka_unit_test(each_call_fails_for_ever),
      cmocka_unit_test(old_kernel),
      cmocka_unit_test(only_advice_fails),
      cmocka_unit_test(memory_for_a_part),
      cmocka_unit_test(recovery),
      cmocka_unit_test(refused_memory_goes_back_later),
      cmocka_unit_test(free_slabs_go_back_whole),
      cmocka_unit_test(nodes_of_another_threads_page),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
