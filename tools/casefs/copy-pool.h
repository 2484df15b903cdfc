/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Threads that work off a stack of tasks.  The last task added is the first to run, so that a walk
 * through a tree goes into depth and remembers little.
 */

#ifndef COPY_POOL_H
#define COPY_POOL_H

#include <stddef.h>

struct pool;

/* To be embedded.  run frees it. */
struct task {
  struct task *next;
  void (*run)(struct task *task, void *scratch);
};

/* Each thread has scratch bytes of its own, page-aligned.  NULL without memory. */
struct pool *pool_new(unsigned threads, size_t scratch);
void pool_free(struct pool *pool);

/* Add a task; tasks may add tasks. */
void pool_add(struct pool *pool, struct task *task);

/* Run all tasks, with the calling thread as one of the threads, until none is left. */
void pool_run(struct pool *pool);

#endif
