/* SPDX-License-Identifier: BSD-3-Clause */

#include "buffers.h"

#include <stddef.h>
#include <sys/mman.h>

void buffers_init(struct buffers *buffers, uint64_t bytes, unsigned most) {
  *buffers = (struct buffers){.bytes = bytes, .most = most};
  pthread_mutex_init(&buffers->lock, NULL);
  pthread_cond_init(&buffers->returned, NULL);
}

void buffers_destroy(struct buffers *buffers) {
  while (buffers->free_count > 0)
    munmap(buffers->free[--buffers->free_count], buffers->bytes);
  pthread_mutex_destroy(&buffers->lock);
  pthread_cond_destroy(&buffers->returned);
}

/* With the lock held: a buffer, or NULL. */
static unsigned char *take(struct buffers *buffers) {
  if (buffers->free_count > 0)
    return buffers->free[--buffers->free_count];
  if (buffers->made == buffers->most)
    return NULL;
  void *memory =
      mmap(NULL, buffers->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return NULL;
  buffers->made++;
  return memory;
}

unsigned char *buffers_take(struct buffers *buffers) {
  unsigned char *buffer;
  pthread_mutex_lock(&buffers->lock);
  while (!(buffer = take(buffers)) && buffers->made > 0)
    pthread_cond_wait(&buffers->returned, &buffers->lock);
  pthread_mutex_unlock(&buffers->lock);
  return buffer;
}

unsigned char *buffers_take_more(struct buffers *buffers) {
  unsigned char *buffer = NULL;
  pthread_mutex_lock(&buffers->lock);
  if (buffers->free_count + buffers->most - buffers->made > buffers->most / READERS_SHARE)
    buffer = take(buffers);
  pthread_mutex_unlock(&buffers->lock);
  return buffer;
}

void buffers_give(struct buffers *buffers, unsigned char *buffer) {
  pthread_mutex_lock(&buffers->lock);
  buffers->free[buffers->free_count++] = buffer;
  pthread_cond_signal(&buffers->returned);
  pthread_mutex_unlock(&buffers->lock);
}
