/* SPDX-License-Identifier: BSD-3-Clause */

#include "copy-pool.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct pool {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  struct task *tasks; /* to be run */
  unsigned running;   /* tasks that are being run, and may add others */
  unsigned waiting;   /* threads */
  unsigned threads;
  size_t scratch;
  char *memory;     /* of the threads, one after the other */
  unsigned started; /* threads that have taken their part of memory */
};

struct pool *pool_new(unsigned threads, size_t scratch) {
  struct pool *pool = calloc(1, sizeof *pool);
  if (!pool)
    return NULL;
  pool->threads = threads;
  pool->scratch = scratch;
  pool->memory = aligned_alloc(4096, threads * scratch);
  if (!pool->memory) {
    free(pool);
    return NULL;
  }
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->changed, NULL);
  return pool;
}

void pool_free(struct pool *pool) {
  if (!pool)
    return;
  pthread_mutex_destroy(&pool->lock);
  pthread_cond_destroy(&pool->changed);
  free(pool->memory);
  free(pool);
}

void pool_add(struct pool *pool, struct task *task) {
  pthread_mutex_lock(&pool->lock);
  task->next = pool->tasks;
  pool->tasks = task;
  if (pool->waiting)
    pthread_cond_signal(&pool->changed);
  pthread_mutex_unlock(&pool->lock);
}

/* The next task, or NULL when there will be none.  Called with the lock. */
static struct task *take(struct pool *pool) {
  while (!pool->tasks && pool->running) {
    pool->waiting++;
    pthread_cond_wait(&pool->changed, &pool->lock);
    pool->waiting--;
  }
  struct task *task = pool->tasks;
  if (task) {
    pool->tasks = task->next;
    pool->running++;
  }
  return task;
}

static void *work(void *argument) {
  struct pool *pool = argument;
  struct task *task;
  pthread_mutex_lock(&pool->lock);
  char *scratch = pool->memory + pool->scratch * pool->started++;
  while ((task = take(pool))) {
    pthread_mutex_unlock(&pool->lock);
    task->run(task, scratch);
    pthread_mutex_lock(&pool->lock);
    if (--pool->running == 0)
      pthread_cond_broadcast(&pool->changed);
  }
  pthread_mutex_unlock(&pool->lock);
  return NULL;
}

void pool_run(struct pool *pool) {
  pthread_t *others = calloc(pool->threads, sizeof *others);
  unsigned count = 0;
  pool->started = 0;
  /* Fewer threads than wished for do as well. */
  while (others && count < pool->threads - 1 &&
         pthread_create(&others[count], NULL, work, pool) == 0)
    count++;
  work(pool);
  for (unsigned i = 0; i < count; i++)
    pthread_join(others[i], NULL);
  free(others);
}
