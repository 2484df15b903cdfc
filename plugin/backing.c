/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What is common to all backing stores: checks of requests, single requests,
 * flushes, and extents.
 *
 * A flush is good only if nothing was lost since the writes that it is to cover.
 * So losses are counted: each write notes the count at which it began
 * (oldest_write keeps the least), and a flush that finds a higher count fails,
 * once.  Only one flush runs at a time: the system may tell of a failure to one
 * of two flushes only, and the other must not be called good.  Who comes
 * while one runs waits for the next, which serves all who wait.
 */

#include "backing.h"

#include "backing-kind.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Not const, or it would be a megabyte of the program's file. */
unsigned char backing_zeros[BACKING_ZEROS] __attribute__((aligned(BACKING_ALIGNMENT)));

int backing_refuse(char problem[BACKING_PROBLEM], int code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(problem, BACKING_PROBLEM, format, arguments);
  va_end(arguments);
  return code;
}

/* --------------------------------------------------------- opening, closing */

int backing_prepare(struct backing *backing, const struct backing_operations *operations,
                    const char *name, bool read_only) {
  backing->name = strdup(name);
  if (!backing->name)
    return -ENOMEM;
  backing->operations = operations;
  backing->read_only = read_only;
  atomic_init(&backing->size, 0);
  atomic_init(&backing->losses, 0);
  atomic_init(&backing->oldest_write, UINT64_MAX);
  pthread_mutex_init(&backing->flush_lock, NULL);
  pthread_cond_init(&backing->flushed, NULL);
  return 0;
}

void backing_destroy(struct backing *backing) {
  pthread_cond_destroy(&backing->flushed);
  pthread_mutex_destroy(&backing->flush_lock);
  free(backing->name);
  free(backing);
}

int backing_open(const char *place, bool read_only, uint64_t size, struct backing **backing,
                 char problem[BACKING_PROBLEM]) {
  if (size > INT64_MAX)
    return backing_refuse(problem, -EINVAL, "'%.300s' cannot be of %llu bytes: no file can.", place,
                          (unsigned long long)size);
  return backing_is_uri(place) ? backing_open_nbd(place, read_only, size, backing, problem)
                               : backing_open_file(place, read_only, size, backing, problem);
}

void backing_close(struct backing *backing) {
  if (backing)
    backing->operations->close(backing);
}

uint64_t backing_size(const struct backing *backing) {
  return atomic_load_explicit(&backing->size, memory_order_relaxed);
}

const char *backing_name(const struct backing *backing) {
  return backing->name;
}

bool backing_knows_holes(struct backing *backing, uint32_t granularity) {
  return backing->operations->knows_holes(backing, granularity);
}

uint64_t backing_used(struct backing *backing) {
  return backing->operations->used(backing);
}

int backing_resize(struct backing *backing, uint64_t size) {
  if (backing->read_only)
    return -EROFS;
  return size > INT64_MAX ? -EFBIG : backing->operations->resize(backing, size);
}

/* ------------------------------------------------------------------ requests */

static bool is_inside(const struct backing *backing, uint64_t count, uint64_t offset) {
  uint64_t size = backing_size(backing);
  return offset <= size && count <= size - offset;
}

static int check_change(const struct backing *backing, uint64_t count, uint64_t offset) {
  if (backing->read_only)
    return -EROFS;
  return is_inside(backing, count, offset) ? 0 : -EINVAL;
}

static int check_request(const struct backing *backing, struct backing_request *request) {
  if (request->operation != BACKING_READ)
    return check_change(backing, request->count, request->offset);
  if (request->count > UINT64_MAX - request->offset)
    return -EINVAL;
  uint64_t inside = backing_inside(backing, request);
  memset((char *)request->buffer + inside, 0, request->count - inside);
  return 0;
}

/* A write has begun when losses was that. */
static void note_write(struct backing *backing, uint64_t losses) {
  uint64_t oldest = atomic_load(&backing->oldest_write);
  while (losses < oldest && !atomic_compare_exchange_weak(&backing->oldest_write, &oldest, losses))
    ;
}

int backing_submit(struct backing *backing, struct backing_request *requests, unsigned count) {
  uint64_t losses = atomic_load(&backing->losses);
  bool changes = false;
  for (unsigned i = 0; i < count; i++) {
    int result = check_request(backing, &requests[i]);
    if (result < 0) {
      for (unsigned all = 0; all < count; all++)
        requests[all].result = result;
      return result;
    }
    changes |= requests[i].operation != BACKING_READ;
    requests[i].result = 0;
  }
  backing->operations->submit(backing, requests, count);
  if (changes)
    note_write(backing, losses);
  int first = 0;
  for (unsigned i = 0; i < count && first == 0; i++)
    first = requests[i].result;
  return first;
}

static int submit_one(struct backing *backing, enum backing_operation operation, void *buffer,
                      uint64_t count, uint64_t offset) {
  struct backing_request request = {
      .operation = operation, .buffer = buffer, .count = count, .offset = offset};
  return backing_submit(backing, &request, 1);
}

int backing_read(struct backing *backing, void *buffer, uint64_t count, uint64_t offset) {
  return submit_one(backing, BACKING_READ, buffer, count, offset);
}

int backing_write(struct backing *backing, const void *buffer, uint64_t count, uint64_t offset) {
  void *bytes = (void *)(uintptr_t)buffer; /* only read */
  return submit_one(backing, BACKING_WRITE, bytes, count, offset);
}

int backing_zero(struct backing *backing, uint64_t count, uint64_t offset) {
  return submit_one(backing, BACKING_ZERO, NULL, count, offset);
}

int backing_allocate(struct backing *backing, uint64_t count, uint64_t offset) {
  uint64_t losses = atomic_load(&backing->losses);
  int result = check_change(backing, count, offset);
  if (result < 0 || count == 0)
    return result;
  result = backing->operations->allocate(backing, count, offset);
  note_write(backing, losses);
  return result;
}

/* ------------------------------------------------------------------- flushing */

void backing_note_loss(struct backing *backing) {
  atomic_fetch_add(&backing->losses, 1);
}

uint64_t backing_losses(struct backing *backing) {
  return atomic_load(&backing->losses);
}

static int flush_now(struct backing *backing) {
  uint64_t oldest = atomic_exchange(&backing->oldest_write, UINT64_MAX);
  int result = backing->operations->flush(backing);
  if (result < 0)
    backing_note_loss(backing);
  else if (oldest < atomic_load(&backing->losses))
    result = -EIO;
  return result;
}

/* With the lock held, which is given up meanwhile. */
static void run_flush(struct backing *backing) {
  uint64_t number = ++backing->flushes_begun;
  backing->flushing = true;
  pthread_mutex_unlock(&backing->flush_lock);
  int result = flush_now(backing);
  pthread_mutex_lock(&backing->flush_lock);
  backing->flushing = false;
  backing->flushes_ended = number;
  if (result < 0) {
    backing->failed_flush = number;
    backing->flush_error = result;
  }
  pthread_cond_broadcast(&backing->flushed);
}

/* If a later flush than the awaited one failed, that is returned: then who
 * waited may write again without need, which does no harm. */
int backing_flush(struct backing *backing) {
  if (backing->read_only)
    return 0;
  pthread_mutex_lock(&backing->flush_lock);
  uint64_t awaited = backing->flushes_begun + 1;
  while (backing->flushes_ended < awaited) {
    if (backing->flushing)
      pthread_cond_wait(&backing->flushed, &backing->flush_lock);
    else
      run_flush(backing);
  }
  int result = backing->failed_flush >= awaited ? backing->flush_error : 0;
  pthread_mutex_unlock(&backing->flush_lock);
  return result;
}

/* -------------------------------------------------------------------- extents */

/* Joins neighbours that are alike, and keeps to the range. */
struct extent_sink {
  backing_extent_function function;
  void *opaque;
  uint64_t offset; /* of the pending extent */
  uint64_t count;  /* of it; 0 if there is none */
  uint64_t left;   /* bytes of the range after it */
  bool is_hole;
};

static int pass_on(struct extent_sink *sink) {
  if (sink->count == 0)
    return 0;
  int result = sink->function(sink->opaque, sink->offset, sink->count, sink->is_hole);
  sink->offset += sink->count;
  sink->count = 0;
  return result;
}

int extent_sink_add(struct extent_sink *sink, uint64_t count, bool is_hole) {
  if (count > sink->left)
    count = sink->left;
  if (count == 0)
    return 0;
  int result = sink->is_hole != is_hole ? pass_on(sink) : 0;
  sink->is_hole = is_hole;
  sink->count += count;
  sink->left -= count;
  return result;
}

int backing_extents(struct backing *backing, uint64_t count, uint64_t offset,
                    backing_extent_function function, void *opaque) {
  if (count > UINT64_MAX - offset)
    return -EINVAL;
  struct extent_sink sink = {
      .function = function, .opaque = opaque, .offset = offset, .left = count};
  uint64_t size = backing_size(backing);
  uint64_t inside = offset < size ? size - offset : 0;
  inside = inside < count ? inside : count;
  int result = inside ? backing->operations->extents(backing, inside, offset, &sink) : 0;
  if (result == 0)
    result = extent_sink_add(&sink, count - inside, true);
  return result ? result : pass_on(&sink);
}
