/* SPDX-License-Identifier: BSD-3-Clause */

#include "backing-exercise.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

char folder[64];

/* ---------------------------------------------------------------------- opening */

struct backing *must_open(const char *place, bool read_only, uint64_t size) {
  char problem[BACKING_PROBLEM] = "no sentence";
  struct backing *backing = NULL;
  int result = backing_open(place, read_only, size, &backing, problem);
  if (result < 0)
    fail_msg("%s: %d: %s", place, result, problem);
  return backing;
}

struct backing *must_open_spill(const char *place, uint64_t size) {
  char problem[BACKING_PROBLEM] = "no sentence";
  struct backing *backing = NULL;
  int result = backing_open_spill(place, size, &backing, problem);
  if (result < 0)
    fail_msg("%s: %d: %s", place, result, problem);
  return backing;
}

static void check_refusal(const char *place, int result, int error, const char *problem,
                          const char *sentence) {
  size_t length = strlen(problem);
  if (result != error || !strstr(problem, sentence) || strstr(problem, "nbd_") || length == 0 ||
      problem[length - 1] != '.')
    fail_msg("'%s': %d, not %d: %s", place, result, error, problem);
}

void must_refuse(const char *place, bool read_only, uint64_t size, int error,
                 const char *sentence) {
  char problem[BACKING_PROBLEM] = "no sentence";
  struct backing *backing = NULL;
  int result = backing_open(place, read_only, size, &backing, problem);
  check_refusal(place, result, error, problem, sentence);
  assert_null(backing);
}

void must_refuse_spill(const char *place, uint64_t size, int error, const char *sentence) {
  char problem[BACKING_PROBLEM] = "no sentence";
  struct backing *backing = NULL;
  int result = backing_open_spill(place, size, &backing, problem);
  check_refusal(place, result, error, problem, sentence);
  assert_null(backing);
}

/* --------------------------------------------------------------- reading, writing */

unsigned char *make_bytes(size_t count, unsigned version) {
  unsigned char *bytes = aligned_alloc(BLOCK, (count + BLOCK - 1) / BLOCK * BLOCK);
  assert_non_null(bytes);
  for (size_t at = 0; at < count; at++)
    bytes[at] = version == 0 ? 0 : (unsigned char)(version * 31 + at / 512 + at % 7 + 1);
  return bytes;
}

void must_write(struct backing *backing, size_t count, uint64_t offset, unsigned version) {
  unsigned char *bytes = make_bytes(count, version);
  assert_int_equal(backing_write(backing, bytes, count, offset), 0);
  free(bytes);
}

bool holds(struct backing *backing, size_t count, uint64_t offset, unsigned version) {
  unsigned char *expected = make_bytes(count, version), *found = make_bytes(count, 77);
  assert_int_equal(backing_read(backing, found, count, offset), 0);
  bool same = memcmp(expected, found, count) == 0;
  free(expected);
  free(found);
  return same;
}

void must_hold(struct backing *backing, size_t count, uint64_t offset, unsigned version) {
  if (!holds(backing, count, offset, version))
    fail_msg("%zu bytes at %llu are not version %u", count, (unsigned long long)offset, version);
}

struct text {
  char text[4096];
  uint64_t at;
  bool last_is_hole, bad;
};

static int add_text(void *opaque, uint64_t offset, uint64_t count, bool is_hole) {
  struct text *text = opaque;
  size_t length = strlen(text->text);
  text->bad |= offset != text->at || count == 0 || (length > 0 && is_hole == text->last_is_hole);
  text->at = offset + count;
  text->last_is_hole = is_hole;
  snprintf(text->text + length, sizeof text->text - length, "%c%llu ", is_hole ? 'h' : 'd',
           (unsigned long long)count);
  return 0;
}

const char *extents_of(struct backing *backing, uint64_t count, uint64_t offset) {
  static struct text text;
  text = (struct text){.at = offset};
  int result = backing_extents(backing, count, offset, add_text, &text);
  if (result < 0)
    return "failed";
  return text.bad || text.at != offset + count ? "bad" : text.text;
}

static void exercise_many(struct backing *backing) {
  enum { MANY = 200 };
  struct backing_request requests[MANY];
  unsigned char *bytes = make_bytes(MANY * BLOCK, 9), *found = make_bytes(MANY * BLOCK, 8);
  for (unsigned i = 0; i < MANY; i++) /* some neighbours, some not */
    requests[i] = (struct backing_request){.operation = BACKING_WRITE,
                                           .buffer = bytes + i * BLOCK,
                                           .count = BLOCK,
                                           .offset = (uint64_t)(i + i / 3) * BLOCK,
                                           .result = 1};
  assert_int_equal(backing_submit(backing, requests, MANY), 0);
  for (unsigned i = 0; i < MANY; i++) {
    assert_int_equal(requests[i].result, 0);
    requests[i].operation = BACKING_READ;
    requests[i].buffer = found + i * BLOCK;
  }
  requests[7].operation = BACKING_ZERO;
  memset(bytes + 7 * BLOCK, 0, BLOCK);
  assert_int_equal(backing_submit(backing, requests, MANY), 0);
  must_hold(backing, BLOCK, requests[7].offset, 0);
  memset(found + 7 * BLOCK, 0, BLOCK);
  assert_memory_equal(bytes, found, MANY * BLOCK);
  free(bytes);
  free(found);
}

void exercise(struct backing *backing) {
  static const size_t counts[] = {BLOCK, 3 * BLOCK, MIB, 3 * MIB + BLOCK, 20 * MIB};
  for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++) {
    must_write(backing, counts[i], MIB, i + 1);
    must_hold(backing, counts[i], MIB, i + 1);
  }
  assert_int_equal(backing_zero(backing, MIB, 2 * MIB), 0);
  must_hold(backing, MIB, 2 * MIB, 0);
  assert_int_equal(backing_allocate(backing, MIB + BLOCK, 4 * MIB), 0);
  must_hold(backing, MIB + BLOCK, 4 * MIB, 0);
  must_write(backing, BLOCK, 4 * MIB, 5);
  must_hold(backing, BLOCK, 4 * MIB, 5);
  assert_int_equal(backing_flush(backing), 0);
  exercise_many(backing);
  assert_int_equal(backing_submit(backing, NULL, 0), 0);
  assert_int_equal(backing_zero(backing, backing_size(backing), 0), 0);
  must_hold(backing, 30 * MIB, 0, 0);
  must_write(backing, BLOCK, backing_size(backing) - BLOCK, 3);
  unsigned char *bytes = make_bytes(2 * BLOCK, 4);
  uint64_t size = backing_size(backing);
  assert_int_equal(backing_read(backing, bytes, 2 * BLOCK, size - BLOCK), 0);
  for (unsigned i = 0; i < BLOCK; i++)
    assert_int_equal(bytes[BLOCK + i], 0);
  assert_int_equal(backing_read(backing, bytes, 2 * BLOCK, size + BLOCK), 0);
  assert_int_equal(bytes[0], 0);
  assert_int_equal(backing_write(backing, bytes, 2 * BLOCK, size - BLOCK), -EINVAL);
  assert_int_equal(backing_write(backing, bytes, BLOCK, UINT64_MAX - BLOCK + 1), -EINVAL);
  assert_int_equal(backing_zero(backing, 2 * BLOCK, size - BLOCK), -EINVAL);
  assert_int_equal(backing_allocate(backing, BLOCK, size), -EINVAL);
  assert_int_equal(backing_read(backing, bytes, 2 * BLOCK, UINT64_MAX - BLOCK + 1), -EINVAL);
  free(bytes);
}

/* --------------------------------------------------------------------- the model */

enum { THREADS = 6, RANGE = 64, MOST_REQUESTS = 24 };

/* Block b of thread t is at (b * THREADS + t): threads meet everywhere but in a block. */
struct worker {
  struct backing *backing;
  unsigned index, rounds;
  uint64_t seed;
  unsigned char *model, *buffer;
  struct outcome outcome;
};

static unsigned pick(struct worker *worker, unsigned below) {
  worker->seed = worker->seed * 6364136223846793005u + 1442695040888963407u;
  return (unsigned)(worker->seed >> 33) % below;
}

static void make_request(struct worker *worker, struct backing_request *request, unsigned block,
                         unsigned char *buffer) {
  request->operation = (enum backing_operation)pick(worker, 3);
  request->buffer = buffer;
  request->count = BLOCK;
  request->offset = (uint64_t)(block * THREADS + worker->index) * BLOCK;
  if (request->operation == BACKING_WRITE)
    memset(buffer, (int)pick(worker, 256), BLOCK);
}

static void check_request(struct worker *worker, const struct backing_request *request,
                          unsigned block) {
  unsigned char *model = worker->model + block * BLOCK;
  if (request->operation == BACKING_WRITE)
    memcpy(model, request->buffer, BLOCK);
  else if (request->operation == BACKING_ZERO)
    memset(model, 0, BLOCK);
  else
    worker->outcome.differences += memcmp(model, request->buffer, BLOCK) != 0;
}

static void one_round(struct worker *worker) {
  struct backing_request requests[MOST_REQUESTS];
  unsigned blocks[MOST_REQUESTS];
  unsigned count = 1 + pick(worker, pick(worker, 2) ? MOST_REQUESTS : 2);
  unsigned block = pick(worker, RANGE), stride = 1 + 2 * pick(worker, 3);
  for (unsigned i = 0; i < count; i++) {
    blocks[i] = (block + i * stride) % RANGE; /* RANGE is a power of two: no block twice */
    make_request(worker, &requests[i], blocks[i], worker->buffer + i * BLOCK);
  }
  int result = backing_submit(worker->backing, requests, count);
  worker->outcome.errors += result != 0;
  for (unsigned i = 0; i < count && result == 0; i++)
    check_request(worker, &requests[i], blocks[i]);
  if (pick(worker, 50) == 0)
    worker->outcome.errors += backing_flush(worker->backing) != 0;
}

static void *work(void *argument) {
  struct worker *worker = argument;
  for (unsigned round = 0; round < worker->rounds; round++)
    one_round(worker);
  return NULL;
}

struct outcome compare_with_model(struct backing *backing, unsigned rounds) {
  struct worker workers[THREADS] = {0};
  pthread_t threads[THREADS];
  struct outcome sum = {0};
  assert_int_equal(backing_zero(backing, (uint64_t)THREADS * RANGE * BLOCK, 0), 0);
  for (unsigned i = 0; i < THREADS; i++) {
    workers[i] = (struct worker){.backing = backing, .index = i, .rounds = rounds, .seed = i + 1};
    workers[i].model = make_bytes(RANGE * BLOCK, 0);
    workers[i].buffer = make_bytes(MOST_REQUESTS * BLOCK, 0);
    pthread_create(&threads[i], NULL, work, &workers[i]);
  }
  for (unsigned i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    sum.differences += workers[i].outcome.differences;
    sum.errors += workers[i].outcome.errors;
    free(workers[i].model);
    free(workers[i].buffer);
  }
  return sum;
}

/* ------------------------------------------------------------------------- files */

int make_folder(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "/var/tmp/backing-test-XXXXXX");
  return mkdtemp(folder) ? 0 : -1;
}

int remove_folder(void **state) {
  char command[128];
  (void)state;
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  return system(command) == 0 ? 0 : -1;
}

const char *in_folder(const char *name) {
  static char paths[8][128];
  static unsigned next;
  char *path = paths[next++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", folder, name);
  return path;
}

void make_file(const char *path, uint64_t size) {
  unlink(path);
  int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
  assert_true(fd >= 0);
  assert_int_equal(ftruncate(fd, (off_t)size), 0);
  close(fd);
}
