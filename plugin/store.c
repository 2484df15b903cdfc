/* SPDX-License-Identifier: BSD-3-Clause */

#include "store.h"

#include "backoff.h"
#include "tiers.h"
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

  LAST_ROOM_SHARE = 64, /* of the limit */
  MAX_LAST_ROOM = 1 << 20,
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

static int reserve_up_to(sectors_store *store, uint64_t sectors, uint64_t most) {
  uint64_t charged = atomic_load_explicit(&store->charged, memory_order_relaxed);
  do {
    if (charged > most || sectors > most - charged)
      return -ENOSPC;
  } while (!atomic_compare_exchange_weak(&store->charged, &charged, charged + sectors));
  return 0;
}

int store_reserve(sectors_store *store, uint64_t sectors) {
  return reserve_up_to(store, sectors, atomic_load(&store->room));
}

int store_reserve_room(sectors_store *store, uint64_t sectors) {
  return reserve_up_to(store, sectors, atomic_load(&store->limit));
}

/* Moving sectors out may take memory before it gives some back: compressed units do.
 * That much is left for it. */
void store_set_room(sectors_store *store) {
  uint64_t limit = atomic_load(&store->limit), last = 0;
  if (store->tiers) {
    last = limit / LAST_ROOM_SHARE;
    if (last > (uint64_t)MAX_LAST_ROOM >> store->sector_shift)
      last = (uint64_t)MAX_LAST_ROOM >> store->sector_shift;
  }
  atomic_store(&store->room, limit - last);
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

/* The limit may grow to what the machine has: only address space is set aside for it. */
static uint64_t most_memory(uint64_t limit, unsigned sector_shift) {
  uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
  machine >>= sector_shift;
  if (machine > SECTORS_MAX_LIMIT_SECTORS)
    machine = SECTORS_MAX_LIMIT_SECTORS;
  return machine > limit ? machine : limit;
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
  store->capacity = most_memory(limit, store->sector_shift);
  int error =
      arena_init(&store->arena, store->capacity << store->sector_shift, store->sector_shift);
  if (error != 0 && store->capacity > limit) { /* as where locked memory is limited */
    store->capacity = limit;
    error = arena_init(&store->arena, memory_limit, store->sector_shift);
  }
  if (error != 0) {
    free(store);
    return error;
  }
  atomic_init(&store->limit, limit);
  atomic_init(&store->room, limit);
  pthread_mutex_init(&store->event_lock, NULL);
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
  if (error == 0 && store->tiers)
    error = -tiers_start(store);
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
  if (store->tiers)
    tiers_stop(store);
}

void sectors_store_reclaim(sectors_store *store) {
  node_pool_settle(store);
  arena_release(&store->arena, UINT64_MAX);
}

static void free_volume(sectors_volume *volume);

void sectors_store_destroy(sectors_store *store) {
  if (!store)
    return;
  store_stop(store);
  /* All that the volumes hold goes with the arena. */
  while (store->volumes) {
    sectors_volume *volume = store->volumes;
    store->volumes = volume->next;
    free_volume(volume);
  }
  tiers_destroy(store);
  node_pool_destroy(&store->nodes);
  epoch_destroy(&store->epoch);
  arena_destroy(&store->arena);
  pthread_cond_destroy(&store->wake);
  pthread_mutex_destroy(&store->thread_lock);
  pthread_mutex_destroy(&store->volumes_lock);
  pthread_mutex_destroy(&store->event_lock);
  free(store);
}

static void add_tiers(sectors_store *store, struct sectors_store_statistics *statistics) {
  struct tiers *tiers = store->tiers;
  struct units_statistics units;
  units_statistics(tiers->units, &units);
  statistics->metadata += statistics->live / (1u << store->sector_shift) * sizeof *tiers->heat;
  statistics->high_watermark = atomic_load(&tiers->high);
  statistics->low_watermark = atomic_load(&tiers->low);
  statistics->compression = atomic_load(&tiers->compress);
  statistics->buffers = buffers_bytes(&tiers->buffers);
  statistics->compressed = units.sectors << store->sector_shift;
  statistics->compressed_memory = units.bytes;
  statistics->incompressible = units.refused << store->sector_shift;
  statistics->throttle_ns = atomic_load(&tiers->throttle_ns);
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
  if (store->tiers)
    add_tiers(store, statistics);
  statistics->resident = statistics->live + statistics->metadata + statistics->free_reserve +
                         statistics->compressed_memory + statistics->buffers;
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

static void free_volume(sectors_volume *volume) {
  tiers_close_volume(volume);
  dirty_destroy(&volume->dirty_leaves);
  guard_destroy(&volume->guard);
  zeroed_destroy(&volume->zeroed);
  priorities_destroy(&volume->priorities);
  pthread_mutex_destroy(&volume->image_lock);
  pthread_mutex_destroy(&volume->flush_lock);
  pthread_cond_destroy(&volume->flush_done);
  free(volume->name);
  free(volume);
}

/* A volume that is in no store yet, or NULL. */
static sectors_volume *new_volume(sectors_store *store, const char *name, uint64_t size) {
  sectors_volume *volume = calloc(1, sizeof *volume);
  char *copy = strdup(name);
  if (!volume || !copy) {
    free(volume);
    free(copy);
    return NULL;
  }
  volume->store = store;
  volume->name = copy;
  atomic_init(&volume->size, size);
  dirty_init(&volume->dirty_leaves);
  guard_init(&volume->guard);
  zeroed_init(&volume->zeroed);
  priorities_init(&volume->priorities, PRIORITY_DEFAULT);
  pthread_mutex_init(&volume->image_lock, NULL);
  pthread_mutex_init(&volume->flush_lock, NULL);
  pthread_cond_init(&volume->flush_done, NULL);
  return volume;
}

/* Hang a volume into its store: 0, or -EEXIST. */
static int add_volume(sectors_store *store, sectors_volume *volume) {
  pthread_mutex_lock(&store->volumes_lock);
  bool exists = find_volume(store, volume->name) != NULL;
  if (!exists) {
    sectors_volume **end = &store->volumes;
    while (*end)
      end = &(*end)->next;
    volume->number = ++store->volumes_made;
    *end = volume;
    store->volume_count++;
  }
  pthread_mutex_unlock(&store->volumes_lock);
  return exists ? -EEXIST : 0;
}

int sectors_volume_open(sectors_store *store, const char *name, uint64_t size,
                        const struct sectors_volume_options *options, sectors_volume **result,
                        char problem[SECTORS_PROBLEM_TEXT]) {
  bool has_place = options && (options->image || options->base);
  int priority = options ? options->priority : -1;
  problem[0] = '\0';
  if (sectors_volume_check_name(name) != 0 || (size == 0 && !has_place) ||
      size > SECTORS_MAX_VOLUME_SIZE || priority > PRIORITY_HIGHEST || (has_place && !store->tiers))
    return -EINVAL;
  sectors_volume *volume = new_volume(store, name, size);
  if (!volume)
    return -ENOMEM;
  if (priority >= 0)
    priorities_set_volume(&volume->priorities, (unsigned)priority);
  int error = tiers_open_volume(volume, options, problem);
  if (error == 0)
    error = add_volume(store, volume);
  if (error != 0) {
    free_volume(volume);
    return error;
  }
  *result = volume;
  return 0;
}

int sectors_volume_create(sectors_store *store, const char *name, uint64_t size,
                          sectors_volume **result) {
  char problem[SECTORS_PROBLEM_TEXT];
  return sectors_volume_open(store, name, size, NULL, result, problem);
}

static void empty_volume(sectors_volume *volume) {
  unsigned shift = volume->store->sector_shift;
  tiers_close_base(volume);
  forget_sectors(volume, 0, (sectors_volume_size(volume) - 1) >> shift);
}

void sectors_volume_remove(sectors_volume *volume) {
  sectors_store *store = volume->store;
  unsigned rounds = 0;
  flush_volume(volume, NULL, NULL);
  pthread_mutex_lock(&store->volumes_lock);
  sectors_volume **link = &store->volumes;
  while (*link != volume)
    link = &(*link)->next;
  *link = volume->next;
  store->volume_count--;
  pthread_mutex_unlock(&store->volumes_lock);
  while (atomic_load(&volume->users) > 0)
    backoff(&rounds);
  empty_volume(volume);
  free_volume(volume);
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

int sectors_volume_is_durable(const sectors_volume *volume) {
  return volume->durable;
}

const char *sectors_volume_image(const sectors_volume *volume) {
  return volume->durable ? backing_name(volume->home) : NULL;
}

const char *sectors_volume_base(const sectors_volume *volume) {
  return volume->base ? backing_name(volume->base) : NULL;
}

int sectors_volume_resize(sectors_volume *volume, uint64_t size) {
  uint64_t mask = (UINT64_C(1) << volume->store->sector_shift) - 1;
  if (size == 0 || size > SECTORS_MAX_VOLUME_SIZE ||
      (volume->durable && size % BACKING_ALIGNMENT != 0))
    return -EINVAL;
  uint64_t old = sectors_volume_size(volume);
  int error = 0;
  if (size < old)
    error = sectors_trim(volume, old - size, size);
  if (error == 0 && volume->durable)
    error = backing_resize(volume->home, size);
  else if (error == 0 && volume->home)
    error = backing_resize(volume->home, (size + mask) & ~mask);
  if (error == 0)
    atomic_store(&volume->size, size);
  return error;
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
      .compressed = atomic_load(&volume->compressed) << shift,
      .dirty = volume->durable ? atomic_load(&volume->dirty) << shift : 0,
      .below = volume->durable ? 0 : atomic_load(&volume->below) << shift,
      .below_used = volume->home ? backing_used(volume->home) : 0,
      .hits = atomic_load(&volume->hits),
      .misses = atomic_load(&volume->misses),
      .swapped_in = atomic_load(&volume->swapped_in) << shift,
      .swapped_out = atomic_load(&volume->swapped_out) << shift,
      .out_requests = atomic_load(&volume->out_requests),
      .decompressed = atomic_load(&volume->decompressed) << shift,
      .evicted = atomic_load(&volume->evicted) << shift,
      .preloaded = atomic_load(&volume->preloaded) << shift,
      .read_ahead = atomic_load(&volume->read_ahead) << shift,
      .error = atomic_load(&volume->home_failure.error) ? atomic_load(&volume->home_failure.error)
                                                        : atomic_load(&volume->base_failure.error),
      .priority = (int)atomic_load(&volume->priorities.of_volume),
  };
}
