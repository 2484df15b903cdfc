/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Inside the backing stores: a signal that a system call or a library raises in
 * the middle of things, and that would end the process.  It is kept from the
 * calling thread meanwhile, and taken away before it could arrive.
 */

#ifndef SECTORS_BACKING_SIGNAL_H
#define SECTORS_BACKING_SIGNAL_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <time.h>

struct signal_guard {
  bool used;
  sigset_t mask;
};

/* If one is pending already, it is not ours. */
static inline void guard_signal(struct signal_guard *guard, int number, bool needed) {
  sigset_t pending, only;
  guard->used = false;
  if (!needed || sigpending(&pending) < 0 || sigismember(&pending, number))
    return;
  sigemptyset(&only);
  sigaddset(&only, number);
  guard->used = pthread_sigmask(SIG_BLOCK, &only, &guard->mask) == 0;
}

static inline void unguard_signal(const struct signal_guard *guard, int number) {
  static const struct timespec at_once = {0, 0};
  sigset_t only;
  if (!guard->used)
    return;
  sigemptyset(&only);
  sigaddset(&only, number);
  while (sigtimedwait(&only, NULL, &at_once) < 0 && errno == EINTR)
    ;
  pthread_sigmask(SIG_SETMASK, &guard->mask, NULL);
}

#endif
