/* SPDX-License-Identifier: BSD-3-Clause */

#include "control-log.h"

#include <stdlib.h>
#include <string.h>

void event_log_init(struct event_log *log) {
  *log = (struct event_log){.next = 1};
  pthread_mutex_init(&log->lock, NULL);
}

void event_log_destroy(struct event_log *log) {
  for (unsigned i = 0; i < EVENTS_KEPT; i++)
    free(log->ring[i].sentence);
  pthread_mutex_destroy(&log->lock);
}

void event_log_add(struct event_log *log, enum sectors_event_kind kind, const char *sentence) {
  char *copy = strdup(sentence);
  if (!copy)
    return;
  pthread_mutex_lock(&log->lock);
  struct event *event = &log->ring[log->next % EVENTS_KEPT];
  char *old = event->sentence;
  *event = (struct event){.sequence = log->next++, .kind = kind, .sentence = copy};
  clock_gettime(CLOCK_REALTIME, &event->time);
  pthread_mutex_unlock(&log->lock);
  free(old);
}
