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
  BUFFERS = 12,
  BUFFERS_FOR_READERS = 4, /* of those; who writes back takes more than one only above that */
};

struct buffers {
  uint64_t bytes; /* of each */
  pthread_mutex_t lock;
  pthread_cond_t returned;
  unsigned made;
  unsigned free_count;
  unsigned char *free[BUFFERS];
};

/* bytes is a multiple of the page size. */
void buffers_init(struct buffers *buffers, uint64_t bytes);
void buffers_destroy(struct buffers *buffers);

/* One buffer, aligned to a page; waits for it.  NULL if the system has no
 * memory and no buffer was ever made.  Who waits holds no lock of a sector. */
unsigned char *buffers_take(struct buffers *buffers);

/* One more for who has one already, or NULL if there are few. */
unsigned char *buffers_take_more(struct buffers *buffers);

void buffers_give(struct buffers *buffers, unsigned char *buffer);

#endif
