/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Buffers for I/O to the stores below and for compression: so many, and no
 * more, made when they are first needed.  Who finds none waits for one.
 */

#ifndef SECTORS_BUFFERS_H
#define SECTORS_BUFFERS_H

#include <pthread.h>
#include <stdint.h>

enum {
  MAX_BUFFERS = 24,
  READERS_SHARE = 2, /* one of so many; who writes back takes more than one only of the others */
};

struct buffers {
  uint64_t bytes; /* of each */
  unsigned most;  /* buffers */
  pthread_mutex_t lock;
  pthread_cond_t returned;
  unsigned made;
  unsigned free_count;
  unsigned char *free[MAX_BUFFERS];
};

/* At most so many buffers of bytes, which is a multiple of the page size. */
void buffers_init(struct buffers *buffers, uint64_t bytes, unsigned most);
void buffers_destroy(struct buffers *buffers);

/* The memory that all of them take. */
static inline uint64_t buffers_bytes(const struct buffers *buffers) {
  return buffers->most * buffers->bytes;
}

/* One buffer, aligned to a page; waits for it.  NULL if the system has no
 * memory and no buffer was ever made.  Who waits holds no lock of a sector. */
unsigned char *buffers_take(struct buffers *buffers);

/* One more for who has one already, or NULL if there are few. */
unsigned char *buffers_take_more(struct buffers *buffers);

void buffers_give(struct buffers *buffers, unsigned char *buffer);

#endif
