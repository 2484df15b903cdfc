/* SPDX-License-Identifier: BSD-3-Clause */

#include "store.h"

#include "utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ------------------------------------------------- giving memory back, later
 *
 * Freed memory stays warm for a while, because who trims often writes again
 * soon, and a warm slot is several times quicker to fill than a cold one.  The
 * background thread looks every TICK.  What has not been needed during the
 * last IDLE_TICKS goes back to the system, but for a reserve; what exceeds
 * BURST beyond the reserve goes at once, so that giving back starts early
 * when there is much of it.  Reserve and index together stay well below the
 * 5 % + 16 MiB that a store may keep beyond its data.
 *
 * A system that refuses to take memory back (one before Linux 5.18, if it is
 * locked) mostly goes on to refuse it.  So the thread does not keep asking, but
 * asks again after RETRY, or when more was freed. */

enum {
  TICK_MS = 100,
  RETRY_MS = 10000,
  IDLE_TICKS = 5,
  RESERVE_BYTES = 4 << 20,
  RESERVE_SHARE = 64, /* and one byte in so many live ones */
  BURST_BYTES = 1 << 30,
};

/* In sectors. */
static uint64_t live_sectors(sectors_store *store) {
  uint64_t live = 0;
  pthread_mutex_lock(&store->volumes_lock);
  for (sectors_volume *volume = store->volumes; volume; volume = volume->next)
    live += atomic_load(&volume->live);
  pthread_mutex_unlock(&store->volumes_lock);
  return live;
}

static uint64_t warm_reserve(sectors_store *store) {
  return (RESERVE_BYTES >> store->sector_shift) + live_sectors(store) / RESERVE_SHARE;
}

/* What the thread knows of the recent past. */
struct history {
  uint64_t warm[IDLE_TICKS]; /* warm slots at each tick */
  unsigned ticks;            /* of those, how many are filled */
};

static void forget(struct history *history) {
  history->ticks = 0;
}

/* One look.  Returns whether there may be more to do. */
static bool tick(sectors_store *store, struct history *history) {
  node_pool_settle(store);

  uint64_t reserve = warm_reserve(store);
  uint64_t warm = atomic_load(&store->arena.warm);
  if (warm <= reserve || atomic_load(&store->arena.release_failed)) {
    forget(history);
    return false;
  }
  memmove(history->warm + 1, history->warm, sizeof history->warm - sizeof history->warm[0]);
  history->warm[0] = warm;
  if (history->ticks < IDLE_TICKS)
    history->ticks++;

  uint64_t unneeded = 0;
  if (history->ticks == IDLE_TICKS) {
    unneeded = warm;
    for (unsigned i = 0; i < IDLE_TICKS; i++)
      if (history->warm[i] < unneeded)
        unneeded = history->warm[i];
    unneeded = unneeded > reserve ? unneeded - reserve : 0;
  }
  uint64_t burst = reserve + ((uint64_t)BURST_BYTES >> store->sector_shift);
  if (warm > burst && warm - burst > unneeded)
    unneeded = warm - burst;
  if (unneeded > 0) {
    uint64_t released = arena_release(&store->arena, unneeded);
    for (unsigned i = 0; i < history->ticks; i++)
      history->warm[i] -= history->warm[i] < released ? history->warm[i] : released;
  }
  return true;
}

/* Whether the thread has a reason to be awake. */
static bool has_work(sectors_store *store) {
  return atomic_load(&store->nodes.retired) != 0 ||
         (atomic_load(&store->arena.warm) > warm_reserve(store) &&
          !atomic_load(&store->arena.release_failed));
}

/* The time that it will be in ms. */
static struct timespec after_ms(unsigned ms) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  time.tv_nsec += (long)(ms % 1000) * 1000000;
  time.tv_sec += ms / 1000 + time.tv_nsec / 1000000000;
  time.tv_nsec %= 1000000000;
  return time;
}

static void sleep_ms(sectors_store *store, unsigned ms) {
  struct timespec until = after_ms(ms);
  while (!store->stopping &&
         pthread_cond_timedwait(&store->wake, &store->thread_lock, &until) != ETIMEDOUT)
    ;
}

/* Sleep until there is a reason to be awake; with thread_lock held. */
static void wait_for_work(sectors_store *store) {
  atomic_store(&store->asleep, true);
  if (!has_work(store) && !store->stopping) {
    struct timespec retry = after_ms(RETRY_MS);
    if (atomic_load(&store->arena.release_failed))
      pthread_cond_timedwait(&store->wake, &store->thread_lock, &retry);
    else
      pthread_cond_wait(&store->wake, &store->thread_lock);
  }
  atomic_store(&store->asleep, false);
  atomic_store(&store->arena.release_failed, false);
}

static void *background(void *argument) {
  sectors_store *store = argument;
  struct history history = {0};
  pthread_mutex_lock(&store->thread_lock);
  while (!store->stopping) {
    pthread_mutex_unlock(&store->thread_lock);
    bool more = tick(store, &history);
    pthread_mutex_lock(&store->thread_lock);
    if (!more)
      wait_for_work(store);
    sleep_ms(store, TICK_MS);
  }
  pthread_mutex_unlock(&store->thread_lock);
  return NULL;
}

void store_freed(sectors_store *store) {
  if (!atomic_load(&store->asleep))
    return;
  pthread_mutex_lock(&store->thread_lock);
  if (atomic_load(&store->asleep))
    pthread_cond_signal(&store->wake);
  pthread_mutex_unlock(&store->thread_lock);
}

/* ------------------------------------------------------------------- budget */

int store_reserve(sectors_store *store, uint64_t sectors) {
  uint64_t limit = atomic_load(&store->limit);
  uint64_t charged = atomic_load_explicit(&store->charged, memory_order_relaxed);
  do {
    if (charged > limit || sectors > limit - charged)
      return -ENOSPC;
  } while (!atomic_compare_exchange_weak(&store->charged, &charged, charged + sectors));
  return 0;
}

void store_unreserve(sectors_store *store, uint64_t sectors) {
  if (sectors > 0)
    atomic_fetch_sub(&store->charged, sectors);
}

int store_take(sectors_store *store, uint32_t wanted, uint32_t *first) {
  return arena_take(&store->arena, wanted, first);
}

void store_give_slots(sectors_store *store, uint32_t first, uint32_t count) {
  arena_give(&store->arena, first, count);
  store_freed(store);
}

void store_give(sectors_store *store, uint32_t first, uint32_t count) {
  store_give_slots(store, first, count);
  store_unreserve(store, count);
}

/* -------------------------------------------------------- create and destroy */

static bool is_power_of_two(uint64_t number) {
  return number != 0 && (number & (number - 1)) == 0;
}

int sectors_store_create(uint64_t memory_limit, uint32_t sector_size, sectors_store **result) {
  long page_size = sysconf(_SC_PAGESIZE);
  if (sector_size == 0)
    sector_size = page_size > (long)SECTORS_DEFAULT_SECTOR_SIZE ? (uint32_t)page_size
                                                                : SECTORS_DEFAULT_SECTOR_SIZE;
  if (!is_power_of_two(sector_size) || sector_size < SECTORS_MIN_SECTOR_SIZE ||
      sector_size > SECTORS_MAX_SECTOR_SIZE || sector_size < page_size)
    return -EINVAL;
  uint64_t limit = memory_limit / sector_size;
  if (limit < SECTORS_MIN_LIMIT_SECTORS || limit > SECTORS_MAX_LIMIT_SECTORS)
    return -EINVAL;

  sectors_store *store = aligned_alloc(_Alignof(sectors_store), sizeof *store);
  if (!store)
    return -ENOMEM;
  memset(store, 0, sizeof *store);
  store->sector_shift = (unsigned)__builtin_ctz(sector_size);
  int error = arena_init(&store->arena, memory_limit, store->sector_shift);
  if (error != 0) {
    free(store);
    return error;
  }
  atomic_init(&store->limit, limit);
  epoch_init(&store->epoch);
  node_pool_init(&store->nodes);
  pthread_mutex_init(&store->thread_lock, NULL);
  pthread_mutex_init(&store->volumes_lock, NULL);
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&store->wake, &monotonic);
  pthread_condattr_destroy(&monotonic);
  *result = store;
  return 0;
}

int sectors_store_start(sectors_store *store) {
  if (store->started)
    return -EALREADY;
  int error = pthread_create(&store->thread, NULL, background, store);
  store->started = error == 0;
  return -error;
}

void store_stop(sectors_store *store) {
  if (!store->started)
    return;
  pthread_mutex_lock(&store->thread_lock);
  store->stopping = true;
  pthread_cond_signal(&store->wake);
  pthread_mutex_unlock(&store->thread_lock);
  pthread_join(store->thread, NULL);
  store->started = store->stopping = false;
}

void sectors_store_reclaim(sectors_store *store) {
  node_pool_settle(store);
  arena_release(&store->arena, UINT64_MAX);
}

void sectors_store_destroy(sectors_store *store) {
  if (!store)
    return;
  store_stop(store);
  /* All that the volumes hold goes with the arena. */
  while (store->volumes) {
    sectors_volume *volume = store->volumes;
    store->volumes = volume->next;
    free(volume->name);
    free(volume);
  }
  node_pool_destroy(&store->nodes);
  epoch_destroy(&store->epoch);
  arena_destroy(&store->arena);
  pthread_cond_destroy(&store->wake);
  pthread_mutex_destroy(&store->thread_lock);
  pthread_mutex_destroy(&store->volumes_lock);
  free(store);
}

void sectors_store_statistics(sectors_store *store, struct sectors_store_statistics *statistics) {
  unsigned shift = store->sector_shift;
  uint64_t live = 0, reserved = 0;
  pthread_mutex_lock(&store->volumes_lock);
  for (sectors_volume *volume = store->volumes; volume; volume = volume->next) {
    live += atomic_load(&volume->live);
    reserved += atomic_load(&volume->reserved);
  }
  uint32_t volumes = store->volume_count;
  pthread_mutex_unlock(&store->volumes_lock);
  *statistics = (struct sectors_store_statistics){
      .limit = atomic_load(&store->limit) << shift,
      .charged = atomic_load(&store->charged) << shift,
      .live = live << shift,
      .reserved = reserved << shift,
      .metadata = (atomic_load(&store->nodes.pages) << shift) + arena_table_bytes(&store->arena),
      .free_reserve = atomic_load(&store->arena.warm) << shift,
      .sector_size = 1u << shift,
      .volumes = volumes,
  };
  statistics->resident = statistics->live + statistics->metadata + statistics->free_reserve;
}

/* ----------------------------------------------------------------- volumes */

int sectors_volume_check_name(const char *name) {
  size_t length = strlen(name);
  if (length == 0 || length > SECTORS_MAX_NAME)
    return -EINVAL;
  for (size_t i = 0, step; i < length; i += step) {
    const unsigned char *text = (const unsigned char *)name + i;
    step = utf8_length(text);
    if (step == 0 || utf8_is_control(text) || *text == '/')
      return -EINVAL;
  }
  return 0;
}

/* With volumes_lock held. */
static sectors_volume *find_volume(sectors_store *store, const char *name) {
  sectors_volume *volume = store->volumes;
  while (volume && strcmp(volume->name, name) != 0)
    volume = volume->next;
  return volume;
}

int sectors_volume_create(sectors_store *store, const char *name, uint64_t size,
                          sectors_volume **result) {
  if (sectors_volume_check_name(name) != 0 || size == 0 || size > SECTORS_MAX_VOLUME_SIZE)
    return -EINVAL;
  sectors_volume *volume = calloc(1, sizeof *volume);
  char *copy = strdup(name);
  if (!volume || !copy) {
    free(volume);
    free(copy);
    return -ENOMEM;
  }
  volume->store = store;
  volume->name = copy;
  atomic_init(&volume->size, size);

  pthread_mutex_lock(&store->volumes_lock);
  bool exists = find_volume(store, name) != NULL;
  if (!exists) {
    sectors_volume **end = &store->volumes;
    while (*end)
      end = &(*end)->next;
    *end = volume;
    store->volume_count++;
  }
  pthread_mutex_unlock(&store->volumes_lock);
  if (exists) {
    free(volume->name);
    free(volume);
    return -EEXIST;
  }
  *result = volume;
  return 0;
}

void sectors_volume_remove(sectors_volume *volume) {
  sectors_store *store = volume->store;
  sectors_trim(volume, sectors_volume_size(volume), 0);
  pthread_mutex_lock(&store->volumes_lock);
  sectors_volume **link = &store->volumes;
  while (*link != volume)
    link = &(*link)->next;
  *link = volume->next;
  store->volume_count--;
  pthread_mutex_unlock(&store->volumes_lock);
  free(volume->name);
  free(volume);
}

sectors_volume *sectors_volume_find(sectors_store *store, const char *name) {
  pthread_mutex_lock(&store->volumes_lock);
  sectors_volume *volume = find_volume(store, name);
  pthread_mutex_unlock(&store->volumes_lock);
  return volume;
}

sectors_volume *sectors_volume_next(sectors_store *store, sectors_volume *volume) {
  pthread_mutex_lock(&store->volumes_lock);
  sectors_volume *next = volume ? volume->next : store->volumes;
  pthread_mutex_unlock(&store->volumes_lock);
  return next;
}

const char *sectors_volume_name(const sectors_volume *volume) {
  return volume->name;
}

uint64_t sectors_volume_size(const sectors_volume *volume) {
  return atomic_load(&volume->size);
}

int sectors_volume_resize(sectors_volume *volume, uint64_t size) {
  if (size == 0 || size > SECTORS_MAX_VOLUME_SIZE)
    return -EINVAL;
  uint64_t old = sectors_volume_size(volume);
  if (size < old)
    sectors_trim(volume, old - size, size);
  atomic_store(&volume->size, size);
  return 0;
}

void sectors_volume_statistics(sectors_volume *volume,
                               struct sectors_volume_statistics *statistics) {
  unsigned shift = volume->store->sector_shift;
  *statistics = (struct sectors_volume_statistics){
      .size = sectors_volume_size(volume),
      .live = atomic_load(&volume->live) << shift,
      .reserved = atomic_load(&volume->reserved) << shift,
      .metadata = atomic_load(&volume->index.nodes) * sizeof(struct node),
      .zero_detected = atomic_load(&volume->zero_detected) << shift,
      .trimmed = atomic_load(&volume->trimmed) << shift,
  };
}
