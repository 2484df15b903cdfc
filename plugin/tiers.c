/* SPDX-License-Identifier: BSD-3-Clause */

#include "tiers.h"

#include "backoff.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum {
  EVICTOR_REST_MS = 200,      /* after looking at everything in vain */
  VAIN_ROUNDS = 2 * EVICTORS, /* so many, and a writer is told that there is no room */
  LEAST_WAIT_NS = 500000000,  /* and no sooner */
  ROOM_CHECK_MS = 20,
  MOST_THROTTLE_NS = 20000000, /* for one request */
  BUFFER_SHARE = 512,          /* of the limit, for each buffer */
  MAX_BUFFER = 512 << 10,
  FEW_BUFFERS = 12, /* with a limit under MUCH_MEMORY */
  MIN_BUFFER = 64 << 10,
  LEAST_LIMIT_SECTORS = 2048,

  /* Dirty sectors are written back when they are that old, or so much of the limit. */
  WRITE_BACK_CHECK_MS = 1000,
  DIRTY_SHARE = 4,
};

#define MUCH_MEMORY (UINT64_C(128) << 20)
#define CALM_NS UINT64_C(5000000000) /* without failures, and a store works again */
#define DIRTY_AGE_NS UINT64_C(10000000000)

static uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
}

/* ------------------------------------------------------------------- events */

void sectors_store_on_event(sectors_store *store, sectors_event_function function, void *opaque) {
  pthread_mutex_lock(&store->event_lock);
  store->event = function;
  store->event_opaque = opaque;
  pthread_mutex_unlock(&store->event_lock);
}

void tiers_event(sectors_store *store, enum sectors_event_kind kind, const char *format, ...) {
  char sentence[768];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(sentence, sizeof sentence, format, arguments);
  va_end(arguments);
  pthread_mutex_lock(&store->event_lock);
  if (store->event)
    store->event(store->event_opaque, kind, sentence);
  pthread_mutex_unlock(&store->event_lock);
}

/* Note how a request to a store below ended.  A failure is reported once, until there
 * were only successes for a while. */
static void note(sectors_volume *volume, struct failure *failure, int error, const char *what,
                 const struct backing *backing) {
  if (error == 0 && !atomic_load_explicit(&failure->reported, memory_order_relaxed))
    return;
  uint64_t now = now_ns();
  atomic_store(&failure->error, error);
  if (error != 0) {
    atomic_store(&failure->last_ns, now);
    if (!atomic_exchange(&failure->reported, true))
      tiers_event(volume->store, SECTORS_EVENT_ERROR, "volume '%s': its %s '%s' fails: %s",
                  volume->name, what, backing_name(backing), strerror(-error));
  } else if (now > atomic_load(&failure->last_ns) + CALM_NS && /* another may fail just now */
             atomic_exchange(&failure->reported, false)) {
    tiers_event(volume->store, SECTORS_EVENT_NOTE, "volume '%s': its %s '%s' works again",
                volume->name, what, backing_name(backing));
  }
}

void tiers_note_home(sectors_volume *volume, int error) {
  note(volume, &volume->home_failure, error, volume->durable ? "image" : "spill file in",
       volume->home);
}

void tiers_note_base(sectors_volume *volume, int error) {
  note(volume, &volume->base_failure, error, "base", volume->base);
}

/* ---------------------------------------------------------------- watermarks */

static uint64_t percent_of_limit(sectors_store *store, unsigned percent) {
  return atomic_load(&store->limit) / 100 * percent;
}

uint64_t tiers_goal(sectors_store *store) {
  struct tiers *tiers = store->tiers;
  uint64_t low = percent_of_limit(store, atomic_load(&tiers->low));
  uint64_t room = atomic_load(&store->room), wanted = atomic_load(&tiers->wanted);
  uint64_t left = wanted < room ? room - wanted : 0;
  return left < low ? left : low;
}

static bool is_high(sectors_store *store) {
  struct tiers *tiers = store->tiers;
  return atomic_load_explicit(&store->charged, memory_order_relaxed) >
             percent_of_limit(store, atomic_load_explicit(&tiers->high, memory_order_relaxed)) ||
         atomic_load_explicit(&tiers->wanted, memory_order_relaxed) > 0;
}

void tiers_charged(sectors_store *store) {
  struct tiers *tiers = store->tiers;
  if (!tiers || atomic_load_explicit(&tiers->asleep, memory_order_relaxed) == 0 || !is_high(store))
    return;
  pthread_mutex_lock(&tiers->lock);
  pthread_cond_broadcast(&tiers->work);
  pthread_mutex_unlock(&tiers->lock);
}

static void wait_ms(pthread_cond_t *condition, pthread_mutex_t *lock, unsigned ms) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += (long)ms * 1000000;
  until.tv_sec += until.tv_nsec / 1000000000;
  until.tv_nsec %= 1000000000;
  pthread_cond_timedwait(condition, lock, &until);
}

int tiers_wait_for_room(sectors_store *store, uint64_t sectors) {
  struct tiers *tiers = store->tiers;
  uint64_t started = now_ns(), progress = started;
  int error = 0;
  atomic_fetch_add(&tiers->wanted, sectors);
  pthread_mutex_lock(&tiers->lock);
  uint64_t rounds = tiers->vain_rounds, seen = atomic_load(&tiers->moved);
  if (tiers->running == 0)
    error = -ENOSPC;
  while (error == 0) {
    uint64_t charged = atomic_load(&store->charged), room = atomic_load(&store->room);
    if (charged + sectors <= room)
      break;
    uint64_t moved = atomic_load(&tiers->moved);
    if (moved != seen) { /* others were quicker to take it */
      seen = moved;
      rounds = tiers->vain_rounds;
      progress = now_ns();
    }
    if (tiers->vain_rounds - rounds >= VAIN_ROUNDS && now_ns() - progress > LEAST_WAIT_NS) {
      error = tiers->vain_error;
      break;
    }
    pthread_cond_broadcast(&tiers->work);
    wait_ms(&tiers->freed, &tiers->lock, ROOM_CHECK_MS);
  }
  pthread_mutex_unlock(&tiers->lock);
  atomic_fetch_sub(&tiers->wanted, sectors);
  atomic_fetch_add(&tiers->throttle_ns, now_ns() - started);
  return error;
}

void tiers_throttle(sectors_store *store, uint64_t bytes) {
  struct tiers *tiers = store->tiers;
  uint64_t charged = atomic_load_explicit(&store->charged, memory_order_relaxed);
  uint64_t high = percent_of_limit(store, atomic_load(&tiers->high));
  uint64_t room = atomic_load(&store->room);
  if (charged <= high || room <= high)
    return;
  uint64_t over = (charged - high) * 256 / (room - high);
  uint64_t sectors = (bytes >> store->sector_shift) + 1;
  uint64_t ns = sectors * atomic_load(&tiers->sector_ns) * (over > 256 ? 256 : over) / 256;
  if (ns > MOST_THROTTLE_NS)
    ns = MOST_THROTTLE_NS;
  if (ns < 1000)
    return;
  nanosleep(&(struct timespec){.tv_nsec = (long)ns}, NULL);
  atomic_fetch_add(&tiers->throttle_ns, ns);
}

/* ------------------------------------------------------------------ evictors */

/* Memory was freed: tell who waits for it. */
static void tell_freed(struct tiers *tiers) {
  pthread_mutex_lock(&tiers->lock);
  pthread_cond_broadcast(&tiers->freed);
  pthread_mutex_unlock(&tiers->lock);
}

/* Note how long moving out takes, averaged. */
static void note_speed(struct tiers *tiers, uint64_t ns, uint64_t sectors) {
  uint64_t old = atomic_load(&tiers->sector_ns), one = ns / sectors / EVICTORS;
  atomic_store(&tiers->sector_ns, old == 0 ? one : (old * 7 + one) / 8);
}

/* Move sectors out until the goal is reached.  Returns 0, or why there is nothing more
 * that could go. */
static int evict_to_goal(sectors_store *store, struct evictor *evictor) {
  struct tiers *tiers = store->tiers;
  uint64_t circles = atomic_load(&tiers->circles), seen = atomic_load(&tiers->moved);
  unsigned rounds = 0;
  while (!tiers->stopping && atomic_load(&store->charged) > tiers_goal(store)) {
    uint64_t started = now_ns();
    int error = 0;
    uint64_t moved = evict_step(evictor, EVICT_COLD, tiers_goal(store), &error);
    if (moved > 0) {
      note_speed(tiers, now_ns() - started, moved);
      atomic_fetch_add(&tiers->moved, moved);
      tell_freed(tiers);
      circles = atomic_load(&tiers->circles);
    } else if (error != 0) {
      return error;
    } else if (atomic_load(&tiers->transfers) > 0 || atomic_load(&tiers->moved) != seen) {
      backoff(&rounds); /* what others have under way may be all that can go */
      circles = atomic_load(&tiers->circles);
      seen = atomic_load(&tiers->moved);
    } else if (atomic_load(&tiers->circles) - circles > 2 * EVICTORS) {
      return -ENOSPC;
    }
  }
  return 0;
}

static void *evictor_thread(void *argument) {
  sectors_store *store = argument;
  struct tiers *tiers = store->tiers;
  struct evictor *evictor = tiers->evictors[atomic_fetch_add(&tiers->next_evictor, 1) % EVICTORS];
  pthread_mutex_lock(&tiers->lock);
  while (!tiers->stopping) {
    if (!is_high(store)) {
      atomic_fetch_add(&tiers->asleep, 1);
      if (!is_high(store))
        wait_ms(&tiers->work, &tiers->lock, 1000);
      atomic_fetch_sub(&tiers->asleep, 1);
      continue;
    }
    pthread_mutex_unlock(&tiers->lock);
    int error = evict_to_goal(store, evictor);
    if (error != 0)
      node_pool_settle(store);
    pthread_mutex_lock(&tiers->lock);
    pthread_cond_broadcast(&tiers->freed);
    if (error == 0) {
      wait_ms(&tiers->work, &tiers->lock, 1); /* for who waits to take what is free now */
    } else {
      tiers->vain_error = error;
      tiers->vain_rounds++;
      wait_ms(&tiers->work, &tiers->lock, atomic_load(&tiers->wanted) ? 10 : EVICTOR_REST_MS);
    }
  }
  pthread_mutex_unlock(&tiers->lock);
  return NULL;
}

/* ---------------------------------------------------------------- writing back
 *
 * Without being asked, so that a flush, or the end of the server, finds little to do, and so
 * that an image which failed is tried again. */

static bool is_due(sectors_volume *volume) {
  uint64_t dirty = volume->durable ? atomic_load(&volume->dirty) : 0, now = now_ns();
  if (dirty == 0)
    volume->dirty_since = 0;
  else if (volume->dirty_since == 0)
    volume->dirty_since = now;
  return dirty > 0 && (now - volume->dirty_since > DIRTY_AGE_NS ||
                       dirty > atomic_load(&volume->store->limit) / DIRTY_SHARE);
}

/* The first volume after a number that is due, in use; or NULL. */
static sectors_volume *next_due(sectors_store *store, uint64_t number) {
  pthread_mutex_lock(&store->volumes_lock);
  sectors_volume *volume = store->volumes;
  while (volume && (volume->number <= number || !is_due(volume)))
    volume = volume->next;
  if (volume)
    atomic_fetch_add(&volume->users, 1);
  pthread_mutex_unlock(&store->volumes_lock);
  return volume;
}

static void *write_back_thread(void *argument) {
  sectors_store *store = argument;
  struct tiers *tiers = store->tiers;
  pthread_mutex_lock(&tiers->lock);
  while (!tiers->stopping) {
    wait_ms(&tiers->quiet, &tiers->lock, WRITE_BACK_CHECK_MS);
    pthread_mutex_unlock(&tiers->lock);
    uint64_t number = 0;
    for (sectors_volume *volume; !tiers->stopping && (volume = next_due(store, number));) {
      if (flush_volume(volume, NULL, NULL) == 0)
        volume->dirty_since = 0;
      number = volume->number;
      atomic_fetch_sub(&volume->users, 1);
    }
    pthread_mutex_lock(&tiers->lock);
  }
  pthread_mutex_unlock(&tiers->lock);
  return NULL;
}

int tiers_start(sectors_store *store) {
  struct tiers *tiers = store->tiers;
  while (tiers->running < EVICTORS + 1) {
    int error =
        pthread_create(&tiers->threads[tiers->running], NULL,
                       tiers->running < EVICTORS ? evictor_thread : write_back_thread, store);
    if (error != 0)
      return -error;
    tiers->running++;
  }
  return 0;
}

void tiers_stop(sectors_store *store) {
  struct tiers *tiers = store->tiers;
  pthread_mutex_lock(&tiers->lock);
  tiers->stopping = true;
  pthread_cond_broadcast(&tiers->work);
  pthread_cond_broadcast(&tiers->quiet);
  pthread_mutex_unlock(&tiers->lock);
  while (tiers->running > 0)
    pthread_join(tiers->threads[--tiers->running], NULL);
  tiers->stopping = false;
}

/* -------------------------------------------------------- create and destroy */

static bool watermarks_are_right(unsigned high, unsigned low) {
  return low >= 1 && low <= high && high <= 99;
}

static uint64_t buffer_bytes(uint64_t limit) {
  uint64_t bytes = MIN_BUFFER;
  _Static_assert(MIN_BUFFER >= SECTORS_MAX_SECTOR_SIZE && MIN_BUFFER >= 1 << UNIT_SPAN_SHIFT,
                 "a sector and a unit fit a buffer");
  while (bytes < MAX_BUFFER && bytes * 2 <= limit / BUFFER_SHARE)
    bytes *= 2;
  return bytes;
}

/* What set_tiers made before the rest cannot fail. */
static void free_tiers(struct tiers *tiers) {
  for (unsigned i = 0; i < EVICTORS; i++)
    evictor_destroy(tiers->evictors[i]);
  units_destroy(tiers->units);
  policy_destroy(tiers->policy);
  if (tiers->heat)
    munmap(tiers->heat, tiers->heat_bytes);
  free(tiers->spill);
  free(tiers);
}

/* What needs memory; free_tiers frees it, also if this fails half-way. */
static int make_parts(sectors_store *store, struct tiers *tiers, const char *spill) {
  uint64_t slots = (uint64_t)store->arena.slabs_max * store->arena.slab_slots;
  tiers->heat_bytes = slots * sizeof *tiers->heat;
  void *heat = mmap(NULL, tiers->heat_bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (heat == MAP_FAILED)
    return -ENOMEM;
  tiers->heat = heat;
  int error = policy_create(atomic_load(&store->limit), &tiers->policy);
  if (error == 0)
    error = units_create(store, &tiers->units);
  for (unsigned i = 0; error == 0 && i < EVICTORS; i++)
    if (!(tiers->evictors[i] = evictor_create(store)))
      error = -ENOMEM;
  if (error == 0 && spill && !(tiers->spill = strdup(spill)))
    error = -ENOMEM;
  return error;
}

int sectors_store_set_tiers(sectors_store *store, const struct sectors_tiers *wanted) {
  uint64_t limit = atomic_load(&store->limit) << store->sector_shift;
  unsigned high = wanted->high_watermark ? wanted->high_watermark : SECTORS_DEFAULT_HIGH_WATERMARK;
  unsigned low = wanted->low_watermark ? wanted->low_watermark : SECTORS_DEFAULT_LOW_WATERMARK;
  if (low > high && wanted->low_watermark == 0)
    low = high;
  if (!watermarks_are_right(high, low) || limit < SECTORS_MIN_TIERED_LIMIT ||
      limit >> store->sector_shift < LEAST_LIMIT_SECTORS)
    return -EINVAL;
  if (store->tiers || store->volumes || store->started)
    return -EBUSY;
  struct tiers *tiers = calloc(1, sizeof *tiers);
  if (!tiers)
    return -ENOMEM;
  store->tiers = tiers;
  int error = make_parts(store, tiers, wanted->spill);
  if (error != 0) {
    free_tiers(tiers);
    store->tiers = NULL;
    return error;
  }
  atomic_init(&tiers->compress, wanted->compress);
  atomic_init(&tiers->high, high);
  atomic_init(&tiers->low, low);
  buffers_init(&tiers->buffers, buffer_bytes(limit),
               limit < MUCH_MEMORY ? FEW_BUFFERS : MAX_BUFFERS);
  atomic_fetch_add(&store->charged, buffers_bytes(&tiers->buffers) >> store->sector_shift);
  pthread_mutex_init(&tiers->lock, NULL);
  pthread_mutex_init(&tiers->sweeping, NULL);
  bases_init(&tiers->bases);
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&tiers->work, &monotonic);
  pthread_cond_init(&tiers->freed, &monotonic);
  pthread_cond_init(&tiers->quiet, &monotonic);
  pthread_condattr_destroy(&monotonic);
  store_set_room(store);
  return 0;
}

void tiers_destroy(sectors_store *store) {
  struct tiers *tiers = store->tiers;
  if (!tiers)
    return;
  buffers_destroy(&tiers->buffers);
  pthread_cond_destroy(&tiers->work);
  pthread_cond_destroy(&tiers->freed);
  pthread_cond_destroy(&tiers->quiet);
  pthread_mutex_destroy(&tiers->lock);
  pthread_mutex_destroy(&tiers->sweeping);
  bases_destroy(&tiers->bases);
  free_tiers(tiers);
  store->tiers = NULL;
}

/* ------------------------------------------------------------------- volumes */

static void say(char *problem, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(char *problem, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(problem, SECTORS_PROBLEM_TEXT, format, arguments);
  va_end(arguments);
}

/* The size that a volume takes over from what is below it. */
static int take_size(sectors_volume *volume, char *problem) {
  uint64_t size = backing_size(volume->durable ? volume->home : volume->base);
  if (size == 0 || size > SECTORS_MAX_VOLUME_SIZE) {
    say(problem, "'%s' has %" PRIu64 " bytes; a volume has 1 to 2^63-1",
        backing_name(volume->durable ? volume->home : volume->base), size);
    return -EINVAL;
  }
  atomic_store(&volume->size, size);
  return 0;
}

int tiers_open_volume(sectors_volume *volume, const struct sectors_volume_options *options,
                      char problem[SECTORS_PROBLEM_TEXT]) {
  struct tiers *tiers = volume->store->tiers;
  uint64_t size = sectors_volume_size(volume);
  uint64_t mask = (UINT64_C(1) << volume->store->sector_shift) - 1;
  int error = 0;
  _Static_assert(BACKING_PROBLEM <= SECTORS_PROBLEM_TEXT, "a problem fits");
  if (options && options->image) {
    error = backing_open(options->image, false, size, &volume->home, problem);
    volume->durable = error == 0;
  }
  if (error == 0 && options && options->base)
    error = bases_open(&tiers->bases, options->base, &volume->base, problem);
  if (error == 0 && size == 0)
    error = take_size(volume, problem);
  if (error == 0 && volume->durable && volume->base &&
      !backing_knows_holes(volume->home, 1u << volume->store->sector_shift)) {
    say(problem,
        "image '%s' cannot tell holes from zeros in units of %" PRIu64
        " bytes, as it must over a base; use a file on ext4, XFS or Btrfs, or a larger sector-size",
        backing_name(volume->home), mask + 1);
    error = -EINVAL;
  }
  size = sectors_volume_size(volume);
  if (error == 0 && volume->durable && size % BACKING_ALIGNMENT != 0 &&
      size != backing_size(volume->home)) {
    say(problem,
        "a volume of %" PRIu64 " bytes ends inside a block of image '%s'; give a "
        "multiple of %u, or the size of the image",
        size, backing_name(volume->home), BACKING_ALIGNMENT);
    error = -EINVAL;
  }
  if (error == 0 && !volume->durable && tiers && tiers->spill)
    error = backing_open_spill(tiers->spill, (size + mask) & ~mask, &volume->home, problem);
  volume->shows_below = volume->durable || volume->base;
  if (volume->durable) {
    volume->index.in_use = WORD_IN_USE;
    volume->index.keep_all = &volume->zeroed.count;
  }
  return error;
}

void tiers_close_base(sectors_volume *volume) {
  if (volume->base)
    bases_close(&volume->store->tiers->bases, volume->base);
  volume->base = NULL;
}

void tiers_close_volume(sectors_volume *volume) {
  backing_close(volume->home);
  tiers_close_base(volume);
}

/* --------------------------------------------------------- changes, and by hand */

int sectors_store_set_watermarks(sectors_store *store, unsigned high, unsigned low) {
  if (!store->tiers)
    return -EOPNOTSUPP;
  if (!watermarks_are_right(high, low))
    return -EINVAL;
  atomic_store(&store->tiers->high, high);
  atomic_store(&store->tiers->low, low);
  tiers_charged(store);
  return 0;
}

int sectors_store_set_compression(sectors_store *store, enum sectors_compression compress) {
  if (!store->tiers)
    return -EOPNOTSUPP;
  if (compress > SECTORS_COMPRESS_ZSTD)
    return -EINVAL;
  atomic_store(&store->tiers->compress, compress);
  return 0;
}

int sectors_store_gc(sectors_store *store, uint64_t target, sectors_progress_function progress,
                     void *opaque) {
  struct tiers *tiers = store->tiers;
  uint64_t goal = target >> store->sector_shift, start = atomic_load(&store->charged);
  enum evict_mode mode = EVICT_COLD;
  int result = 0;
  if (start <= goal)
    return 0;
  if (!tiers)
    return -ENOSPC;
  struct evictor *evictor = evictor_create(store);
  if (!evictor)
    return -ENOMEM;
  uint64_t circles = atomic_load(&tiers->circles), told = now_ns();
  while (result == 0 && atomic_load(&store->charged) > goal) {
    int error = 0;
    uint64_t moved = evict_step(evictor, mode, goal, &error);
    node_pool_settle(store);
    uint64_t charged = atomic_load(&store->charged);
    if (moved > 0) {
      circles = atomic_load(&tiers->circles);
      tell_freed(tiers);
    } else if (error != 0) {
      result = error;
    } else if (atomic_load(&tiers->circles) - circles > 2 * EVICTORS) {
      result = mode == EVICT_GC ? -ENOSPC : 0;
      mode = EVICT_GC;
      circles = atomic_load(&tiers->circles);
    }
    if (progress && now_ns() - told > 100000000) {
      told = now_ns();
      uint64_t done = start > charged ? start - charged : 0;
      if (progress(opaque, done << store->sector_shift, (start - goal) << store->sector_shift) != 0)
        result = -ECANCELED;
    }
  }
  evictor_destroy(evictor);
  return result;
}

int sectors_store_finish(sectors_store *store, sectors_progress_function progress, void *opaque) {
  int result = 0;
  for (sectors_volume *volume = sectors_volume_next(store, NULL); volume;
       volume = sectors_volume_next(store, volume)) {
    int error = flush_volume(volume, progress, opaque);
    result = result ? result : error;
  }
  return result;
}

/* Sectors in memory that are pinned. */
static uint64_t pinned_sectors(sectors_store *store) {
  uint64_t slots = (uint64_t)atomic_load(&store->arena.opened) * store->arena.slab_slots;
  uint64_t pinned = 0;
  for (uint64_t slot = 0; slot < slots; slot++) {
    uint32_t heat = atomic_load_explicit(&store->tiers->heat[slot], memory_order_relaxed);
    pinned += heat != 0 && policy_is_pinned(heat);
  }
  return pinned;
}

/* Sectors of the limit that cannot come free, at least. */
static uint64_t held_sectors(sectors_store *store) {
  uint64_t held = atomic_load(&store->nodes.pages), stuck = 0;
  uint64_t pinned = store->tiers ? pinned_sectors(store) : 0;
  bool compresses = store->tiers && atomic_load(&store->tiers->compress) != SECTORS_COMPRESS_NONE;
  if (store->tiers)
    held += buffers_bytes(&store->tiers->buffers) >> store->sector_shift;
  for (sectors_volume *volume = sectors_volume_next(store, NULL); volume;
       volume = sectors_volume_next(store, volume)) {
    held += atomic_load(&volume->reserved);
    if (!volume->home && !compresses)
      stuck += atomic_load(&volume->live);
  }
  return held + (stuck > pinned ? stuck : pinned);
}

int sectors_store_set_limit(sectors_store *store, uint64_t memory_limit) {
  uint64_t limit = memory_limit >> store->sector_shift;
  if (limit < (store->tiers ? LEAST_LIMIT_SECTORS : SECTORS_MIN_LIMIT_SECTORS) ||
      limit > SECTORS_MAX_LIMIT_SECTORS ||
      (store->tiers && memory_limit < SECTORS_MIN_TIERED_LIMIT))
    return -EINVAL;
  if (limit > store->capacity)
    return -ENOMEM;
  if (limit < atomic_load(&store->limit) && limit < held_sectors(store))
    return -ENOSPC;
  atomic_store(&store->limit, limit);
  store_set_room(store);
  if (store->tiers) {
    policy_resize(store->tiers->policy, limit);
    tiers_charged(store);
  }
  return 0;
}
