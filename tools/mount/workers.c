/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The threads that serve requests.
 *
 * Most requests take a few microseconds, much less than waking a thread for them does.  So as few
 * threads as possible take part, and the last one looks for a while whether another request comes
 * before it sleeps:
 *
 *   parked    waits to be needed
 *   reading   looks for requests, for SPIN; then it parks, or, the last one, sleeps in poll
 *   working   answers one
 *
 * Somebody is to read while others work: who gets a request, and nobody else reads, wakes one more
 * if another request waits already, or if this one takes long (protocol_is_long).  What takes long
 * without looking so, as it has to wait for a slow device, the watch notices: when nobody reads,
 * and nothing was taken for a millisecond, it wakes one more.
 */

#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SPIN 50000u               /* nanoseconds */
#define BUSY_TIME 50000000u       /* nanoseconds without spinning where the processors are busy */
#define WATCH_STEP 1000000        /* nanoseconds */
#define TRIM_INTERVAL 1000000000u /* nanoseconds */
#define WATCH_STEPS 100           /* without a request, after which the watch sleeps */

/* ------------------------------------------------------------------------- parking */

/* One of those parked, or about to, reads from now on; the lock is held. */
static void unpark(struct workers *workers) {
  workers->parked--;
  workers->reading++;
  workers->wanted++;
  pthread_cond_signal(&workers->unparked);
}

/* Wake one that is parked, if there is one. */
static void wake_one(struct workers *workers) {
  pthread_mutex_lock(&workers->lock);
  if (workers->parked > 0)
    unpark(workers);
  pthread_mutex_unlock(&workers->lock);
}

/* Returns false at the end. */
static bool park(struct workers *workers) {
  pthread_mutex_lock(&workers->lock);
  workers->parked++;
  while (workers->wanted == 0 && !workers->ending)
    pthread_cond_wait(&workers->unparked, &workers->lock);
  bool wanted = workers->wanted > 0;
  if (wanted)
    workers->wanted--;
  pthread_mutex_unlock(&workers->lock);
  return wanted;
}

/* Read no longer, unless nobody else does. */
static bool give_up_reading(struct workers *workers) {
  unsigned reading = workers->reading;
  while (reading > 1)
    if (atomic_compare_exchange_weak(&workers->reading, &reading, reading - 1))
      return true;
  return false;
}

static void wake_all(struct workers *workers) {
  pthread_mutex_lock(&workers->lock);
  workers->ending = true;
  pthread_cond_broadcast(&workers->unparked);
  pthread_cond_signal(&workers->happened);
  pthread_mutex_unlock(&workers->lock);
}

/* --------------------------------------------------------------------------- watch */

static uint64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* What was freed in pieces stays with the process otherwise. */
static void give_memory_back(struct workers *workers) {
  uint64_t now = nanoseconds();
  if (workers->taken == workers->trimmed || now - workers->trim_time < TRIM_INTERVAL)
    return;
  workers->trimmed = workers->taken;
  workers->trim_time = now;
  malloc_trim(0);
}

static void sleep_until_needed(struct workers *workers, unsigned seen) {
  pthread_mutex_lock(&workers->lock);
  workers->watch_sleeps = true;
  while (workers->taken == seen && !workers->ending)
    pthread_cond_wait(&workers->happened, &workers->lock);
  workers->watch_sleeps = false;
  pthread_mutex_unlock(&workers->lock);
}

static void wake_watch(struct workers *workers) {
  pthread_mutex_lock(&workers->lock);
  pthread_cond_signal(&workers->happened);
  pthread_mutex_unlock(&workers->lock);
}

static void *watch(void *data) {
  struct workers *workers = data;
  const struct timespec step = {.tv_nsec = WATCH_STEP};
  unsigned seen = workers->taken, quiet = 0;
  while (!workers->ending) {
    nanosleep(&step, NULL);
    unsigned taken = workers->taken;
    quiet = taken == seen ? quiet + 1 : 0;
    seen = taken;
    if (quiet > 0 && workers->reading == 0)
      wake_one(workers);
    else if (quiet > WATCH_STEPS) {
      give_memory_back(workers);
      sleep_until_needed(workers, seen);
    }
  }
  return NULL;
}

/* ------------------------------------------------------------------------- reading */

/* Whether a request waits, or one comes within that many milliseconds (-1: for ever). */
static bool is_pending(struct mount *mount, int timeout) {
  struct pollfd device = {.fd = fuse_session_fd(mount->session), .events = POLLIN};
  return poll(&device, 1, timeout) > 0;
}

/* Let others run, and return whether to go on looking.  Who looks is not woken, and waits for its
 * turn as any; so where others want the processor for long, it is better to sleep. */
static bool spin(struct workers *workers, uint64_t start, uint64_t now) {
  if (!workers->spins || now - start >= SPIN || now < workers->busy_until)
    return false;
  sched_yield();
  uint64_t then = nanoseconds();
  if (then - now > SPIN)
    workers->busy_until = then + BUSY_TIME;
  return true;
}

/* Get a request: its size, 0 at the end, or -EAGAIN: park. */
static int receive(struct mount *mount, struct fuse_buf *request) {
  uint64_t start = 0;
  for (;;) {
    int r = fuse_session_receive_buf(mount->session, request);
    if (r != -EAGAIN && r != -EINTR)
      return r < 0 ? 0 : r;
    uint64_t now = nanoseconds();
    start = start ? start : now;
    if (spin(&mount->workers, start, now))
      continue;
    if (give_up_reading(&mount->workers))
      return -EAGAIN;
    is_pending(mount, -1);
    start = 0;
  }
}

static void serve_request(struct mount *mount, const struct fuse_buf *request) {
  struct workers *workers = &mount->workers;
  workers->taken++;
  bool alone = --workers->reading == 0;
  if (workers->watch_sleeps)
    wake_watch(workers);
  if (alone && (protocol_is_long(request) || is_pending(mount, 0)))
    wake_one(workers);
  protocol_process(mount, request);
  workers->reading++;
}

static void *work(void *data) {
  struct mount *mount = data;
  struct workers *workers = &mount->workers;
  struct fuse_buf request = {0};
  int r = -EAGAIN;
  while (r != 0 && (r != -EAGAIN || park(workers))) {
    r = receive(mount, &request);
    if (r > 0)
      serve_request(mount, &request);
  }
  /* Who meets the end tells the others. */
  wake_all(workers);
  free(request.mem);
  free_thread_buffer();
  pthread_mutex_lock(&workers->lock);
  workers->alive--;
  pthread_cond_signal(&workers->ended);
  pthread_mutex_unlock(&workers->lock);
  return NULL;
}

/* ------------------------------------------------------------------------ lifetime */

static bool is_multiprocessor(void) {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 1;
}

bool workers_start(struct mount *mount) {
  struct workers *workers = &mount->workers;
  int device = fuse_session_fd(mount->session);
  pthread_mutex_init(&workers->lock, NULL);
  pthread_cond_init(&workers->unparked, NULL);
  pthread_cond_init(&workers->happened, NULL);
  pthread_cond_init(&workers->ended, NULL);
  workers->spins = is_multiprocessor();
  if (fcntl(device, F_SETFL, fcntl(device, F_GETFL) | O_NONBLOCK) != 0)
    return false;
  workers->watched = pthread_create(&workers->watch, NULL, watch, workers) == 0;
  while (workers->count < mount->options.threads) {
    workers->alive++;
    if (pthread_create(&workers->threads[workers->count], NULL, work, mount) != 0) {
      workers->alive--;
      break;
    }
    workers->count++;
  }
  pthread_mutex_lock(&workers->lock);
  unpark(workers);
  pthread_mutex_unlock(&workers->lock);
  return workers->watched && workers->count > 0;
}

void workers_wait(struct mount *mount) {
  struct workers *workers = &mount->workers;
  pthread_mutex_lock(&workers->lock);
  while (workers->alive > 0)
    pthread_cond_wait(&workers->ended, &workers->lock);
  pthread_mutex_unlock(&workers->lock);
}

void workers_join(struct mount *mount) {
  struct workers *workers = &mount->workers;
  if (workers->count == 0)
    wake_all(workers);
  for (unsigned i = 0; i < workers->count; i++)
    pthread_join(workers->threads[i], NULL);
  if (workers->watched)
    pthread_join(workers->watch, NULL);
}

/* Those that wait for a request are woken; again and again, as one may have been just about to. */
void workers_stop(struct mount *mount) {
  struct workers *workers = &mount->workers;
  fuse_session_exit(mount->session);
  wake_all(workers);
  while (workers->alive > 0) {
    for (unsigned i = 0; i < workers->count; i++)
      pthread_kill(workers->threads[i], SIGUSR1);
    usleep(10000);
  }
}
