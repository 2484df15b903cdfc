/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Inside the file store: many direct reads and writes of a file at once, by the
 * kernel's asynchronous input and output (io_submit).
 *
 * It only makes things faster.  What it did not do in full, for whatever reason,
 * the caller does again in the usual way, and learns of errors there.
 */

#ifndef SECTORS_BACKING_BATCH_H
#define SECTORS_BACKING_BATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

enum {
  BATCH_RUNS = 32,    /* at once, of one caller */
  BATCH_PARTS = 256,  /* buffers of one batch; the kernel's limit for one run is 1024 */
  BATCH_CONTEXTS = 8, /* callers at once; for more there is enough going on already */
};

/* A range of a file. */
struct batch_run {
  struct iovec *parts;
  unsigned part_count;
  unsigned first; /* the caller's */
  bool writing;
  uint64_t count, offset;
  bool complete; /* set: all of it was done */
};

/* The kernel's queues, made when they are first needed. */
struct batch_contexts {
  pthread_mutex_t lock; /* for all below */
  pid_t owner;          /* a fork leaves the queues to the parent */
  bool used[BATCH_CONTEXTS];
  unsigned long contexts[BATCH_CONTEXTS]; /* 0: not made yet */
  atomic_bool unusable;                   /* the system refused */
};

void batch_prepare(struct batch_contexts *contexts);
void batch_destroy(struct batch_contexts *contexts);

/* Try all of the runs, at most BATCH_RUNS, and wait for them. */
void batch_try(struct batch_contexts *contexts, int fd, struct batch_run *runs, unsigned count);

#endif
