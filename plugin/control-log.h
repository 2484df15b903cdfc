/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The last notable events of a server, numbered, for the control socket.
 */

#ifndef SECTORS_CONTROL_LOG_H
#define SECTORS_CONTROL_LOG_H

#include "sectors.h"

#include <pthread.h>
#include <stdint.h>
#include <time.h>

enum { EVENTS_KEPT = 1000 };

struct event {
  uint64_t sequence; /* counted from 1 */
  struct timespec time;
  enum sectors_event_kind kind;
  char *sentence;
};

struct event_log {
  pthread_mutex_t lock;
  uint64_t next;                  /* the sequence number of the next event */
  struct event ring[EVENTS_KEPT]; /* number n is at n % EVENTS_KEPT, if it was not replaced */
};

void event_log_init(struct event_log *log);
void event_log_destroy(struct event_log *log);

/* Any thread may add; what there is no memory for is left out. */
void event_log_add(struct event_log *log, enum sectors_event_kind kind, const char *sentence);

#endif
