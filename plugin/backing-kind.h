/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Inside the backing stores: what a kind of store implements, and what
 * backing.c does for all of them.
 */

#ifndef SECTORS_BACKING_KIND_H
#define SECTORS_BACKING_KIND_H

#include "backing.h"

#include <pthread.h>
#include <stdatomic.h>

/* Takes the extents of a range, one after the other. */
struct extent_sink;

/* The functions of backing.h, with requests already checked: writes and zeros
 * are inside the store, and allowed; reads may pass its end (backing_inside).
 * Flushes come one at a time; extents are asked for inside the store only. */
struct backing_operations {
  void (*submit)(struct backing *backing, struct backing_request *requests, unsigned count);
  int (*allocate)(struct backing *backing, uint64_t count, uint64_t offset);
  int (*flush)(struct backing *backing);
  int (*extents)(struct backing *backing, uint64_t count, uint64_t offset,
                 struct extent_sink *sink);
  int (*resize)(struct backing *backing, uint64_t size);
  uint64_t (*used)(struct backing *backing);
  bool (*knows_holes)(struct backing *backing, uint32_t granularity);
  void (*close)(struct backing *backing); /* ends with backing_destroy */
};

struct backing {
  const struct backing_operations *operations;
  char *name; /* for messages */
  bool read_only;
  _Atomic uint64_t size;
  _Atomic uint64_t losses; /* see backing_losses; only grows */
  /* The least value of losses at which a write since the last flush began;
   * UINT64_MAX if there was none. */
  _Atomic uint64_t oldest_write;

  /* Flushes are numbered; one runs at a time, and serves all who came before
   * it began. */
  pthread_mutex_t flush_lock; /* for all below */
  pthread_cond_t flushed;
  bool flushing;
  uint64_t flushes_begun, flushes_ended;
  uint64_t failed_flush; /* number of the last one that failed */
  int flush_error;       /* of that one */
};

/* Set the fields up.  -ENOMEM: nothing is to be undone. */
int backing_prepare(struct backing *backing, const struct backing_operations *operations,
                    const char *name, bool read_only);
void backing_destroy(struct backing *backing);

/* To be called, by any thread, when writes that were answered but not flushed
 * may be lost. */
void backing_note_loss(struct backing *backing);

/* Bytes of a request that are inside the store. */
static inline uint64_t backing_inside(const struct backing *backing,
                                      const struct backing_request *request) {
  uint64_t size = atomic_load_explicit(&backing->size, memory_order_relaxed);
  uint64_t left = request->offset < size ? size - request->offset : 0;
  return request->count < left ? request->count : left;
}

/* The next extent.  0, or what the caller's function returned, which ends it. */
int extent_sink_add(struct extent_sink *sink, uint64_t count, bool is_hole);

/* Put a sentence into problem.  Returns code. */
int backing_refuse(char problem[BACKING_PROBLEM], int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Zeros to write from. */
enum { BACKING_ZEROS = 1 << 20 };
extern unsigned char backing_zeros[BACKING_ZEROS];

bool backing_is_uri(const char *place);
int backing_open_file(const char *path, bool read_only, uint64_t size, struct backing **backing,
                      char problem[BACKING_PROBLEM]);
int backing_open_nbd(const char *uri, bool read_only, uint64_t size, struct backing **backing,
                     char problem[BACKING_PROBLEM]);

/* fdatasync of a file, spill too.  0 or a negative errno. */
int backing_file_sync(struct backing *backing);

/* backing_knows_holes of a file that is open; if writable, allocated space that was never written
 * is given back. */
bool backing_tells_holes(const char *path, int fd, bool writable, uint32_t granularity);

/* How long a store on an NBD server waits: for any sign of life while requests
 * are under way, and for a server to come back.  For tests. */
void backing_set_patience(struct backing *backing, unsigned answer_milliseconds,
                          unsigned reconnect_milliseconds);

#endif
