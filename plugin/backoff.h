/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Waiting for another thread that is about to finish: first spin, then give
 * the processor away, at last sleep.  Start with *rounds = 0.
 */

#ifndef SECTORS_BACKOFF_H
#define SECTORS_BACKOFF_H

#include <sched.h>
#include <time.h>

static inline void backoff(unsigned *rounds) {
  unsigned round = (*rounds)++;
  if (round < 32) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  } else if (round < 1000) {
    sched_yield();
  } else {
    nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
  }
}

#endif
