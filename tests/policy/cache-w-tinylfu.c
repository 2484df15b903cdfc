/* SPDX-License-Identifier: BSD-3-Clause
 *
 * W-TinyLFU as Caffeine has it: a window (1 % at first) in front of a segmented
 * LRU (80 % protected), admission by a sketch of 4-bit counters that are halved
 * each 10 x capacity accesses, and hill climbing of the window's size.
 */

#include "cache.h"

#include <stdlib.h>

enum where { OUT, WINDOW, PROBATION, PROTECTED };

struct w_tinylfu {
  uint32_t capacity, window, protected; /* most of the two */
  struct list lists[4];
  /* The sketch. */
  uint8_t *counters;
  uint32_t width_mask;
  uint32_t additions;
  /* The climber. */
  uint32_t accesses, hits;
  double last_rate, step;
  uint64_t random;
  uint8_t *where;
  struct link links[];
};

enum { ROWS = 4 };

static void *create(uint32_t capacity, uint32_t distinct) {
  struct w_tinylfu *cache = calloc(1, sizeof(*cache) + distinct * (sizeof(struct link) + 1));
  if (!cache)
    return NULL;
  uint32_t width = 16;
  while (width < 4 * (uint64_t)capacity)
    width *= 2;
  cache->width_mask = width - 1;
  cache->counters = calloc(ROWS, width);
  if (!cache->counters) {
    free(cache);
    return NULL;
  }
  cache->capacity = capacity;
  cache->window = capacity / 100 ? capacity / 100 : 1;
  cache->protected = (uint32_t)(0.8 * (capacity - cache->window));
  cache->step = -0.0625 * capacity;
  cache->where = (uint8_t *)(cache->links + distinct);
  for (unsigned i = 0; i < 4; i++)
    list_clear(&cache->lists[i]);
  return cache;
}

static void destroy(void *opaque) {
  struct w_tinylfu *cache = opaque;
  free(cache->counters);
  free(cache);
}

static uint8_t *counter(struct w_tinylfu *cache, uint32_t sector, unsigned row) {
  uint64_t hash = (sector + 1 + ((uint64_t)row << 40)) * UINT64_C(0x9e3779b97f4a7c15);
  hash = (hash ^ hash >> 32) * UINT64_C(0xd6e8feb86659fd93);
  return &cache->counters[(size_t)row * (cache->width_mask + 1) + (hash >> 33 & cache->width_mask)];
}

static unsigned frequency(struct w_tinylfu *cache, uint32_t sector) {
  unsigned least = 15;
  for (unsigned row = 0; row < ROWS; row++)
    if (*counter(cache, sector, row) < least)
      least = *counter(cache, sector, row);
  return least;
}

static void halve(struct w_tinylfu *cache) {
  for (size_t i = 0; i < (size_t)ROWS * (cache->width_mask + 1); i++)
    cache->counters[i] /= 2;
  cache->additions /= 2;
}

static void record(struct w_tinylfu *cache, uint32_t sector) {
  bool added = false;
  for (unsigned row = 0; row < ROWS; row++) {
    uint8_t *place = counter(cache, sector, row);
    if (*place < 15) {
      (*place)++;
      added = true;
    }
  }
  if (added && ++cache->additions >= 10 * (uint64_t)cache->capacity)
    halve(cache);
}

static void move(struct w_tinylfu *cache, uint32_t sector, enum where to) {
  if (cache->where[sector] != OUT)
    list_remove(&cache->lists[cache->where[sector]], cache->links, sector);
  cache->where[sector] = (uint8_t)to;
  if (to != OUT)
    list_push(&cache->lists[to], cache->links, sector);
}

static uint32_t resident(const struct w_tinylfu *cache) {
  return cache->lists[WINDOW].count + cache->lists[PROBATION].count + cache->lists[PROTECTED].count;
}

/* A few are admitted by chance, against attacks on the hash. */
static bool admit(struct w_tinylfu *cache, uint32_t candidate, uint32_t victim) {
  unsigned theirs = frequency(cache, candidate), other = frequency(cache, victim);
  if (theirs > other)
    return true;
  if (theirs <= 5)
    return false;
  cache->random = cache->random * UINT64_C(6364136223846793005) + 1442695040888963407;
  return !(cache->random >> 57);
}

/* The candidate has just left the window for probation. */
static void evict(struct w_tinylfu *cache, uint32_t candidate) {
  uint32_t victim = cache->lists[PROBATION].tail;
  if (victim == NO_SECTOR || victim == candidate)
    victim = cache->lists[PROTECTED].tail;
  if (victim == NO_SECTOR)
    victim = candidate;
  move(cache, admit(cache, candidate, victim) ? victim : candidate, OUT);
}

static void settle(struct w_tinylfu *cache) {
  while (cache->lists[WINDOW].count > cache->window) {
    uint32_t candidate = cache->lists[WINDOW].tail;
    move(cache, candidate, PROBATION);
    if (resident(cache) > cache->capacity)
      evict(cache, candidate);
  }
  while (resident(cache) > cache->capacity) {
    uint32_t victim = cache->lists[PROBATION].tail;
    move(cache, victim != NO_SECTOR ? victim : cache->lists[PROTECTED].tail, OUT);
  }
  while (cache->lists[PROTECTED].count > cache->protected)
    move(cache, cache->lists[PROTECTED].tail, PROBATION);
}

static void resize_window(struct w_tinylfu *cache, double change) {
  double window = cache->window + change;
  double most = 0.8 * cache->capacity;
  if (window > most)
    window = most;
  if (window < 1)
    window = 1;
  uint32_t grown = (uint32_t)window;
  /* A larger window takes from probation, a smaller one gives to it. */
  while (cache->lists[WINDOW].count < grown && cache->lists[PROBATION].count &&
         grown > cache->window) {
    move(cache, cache->lists[PROBATION].tail, WINDOW);
  }
  cache->window = grown;
  cache->protected = (uint32_t)(0.8 * (cache->capacity - cache->window));
  while (cache->lists[WINDOW].count > cache->window)
    move(cache, cache->lists[WINDOW].tail, PROBATION);
  while (cache->lists[PROTECTED].count > cache->protected)
    move(cache, cache->lists[PROTECTED].tail, PROBATION);
}

/* The sample is 10 x capacity accesses; the step shrinks by 2 % each time,
 * and is full again after the hit rate changed by 5 points. */
static void climb(struct w_tinylfu *cache) {
  if (cache->accesses < 10 * (uint64_t)cache->capacity)
    return;
  double rate = (double)cache->hits / cache->accesses;
  double change = rate - cache->last_rate;
  double amount = change >= 0 ? cache->step : -cache->step;
  double full = 0.0625 * cache->capacity;
  double size = change >= 0.05 || change <= -0.05 ? full : 0.98 * (amount < 0 ? -amount : amount);
  cache->step = amount < 0 ? -size : size;
  cache->last_rate = rate;
  cache->accesses = cache->hits = 0;
  resize_window(cache, amount);
}

static bool play(void *opaque, uint32_t sector) {
  struct w_tinylfu *cache = opaque;
  record(cache, sector);
  enum where where = cache->where[sector];
  bool hit = where != OUT;
  move(cache, sector, where == PROBATION ? PROTECTED : hit ? where : WINDOW);
  settle(cache);
  cache->accesses++;
  cache->hits += hit;
  climb(cache);
  return hit;
}

const struct cache_kind cache_w_tinylfu = {"W-TinyLFU", create, play, destroy};
