/* SPDX-License-Identifier: BSD-3-Clause
 *
 * S3-FIFO, after algorithm 1 of Yang et al., "FIFO queues are all you need for
 * cache eviction", SOSP 2023: a small queue of a tenth, a main queue of nine,
 * a ghost queue that remembers as many as the main one holds, two bits of
 * frequency.
 */

#include "cache.h"

#include <stdlib.h>

enum where { OUT, SMALL, MAIN, GHOST };

struct s3_fifo {
  uint32_t small, main; /* most of each */
  struct list lists[4];
  uint8_t *where, *frequency;
  struct link links[];
};

static void *create(uint32_t capacity, uint32_t distinct) {
  struct s3_fifo *cache = calloc(1, sizeof(*cache) + distinct * (sizeof(struct link) + 2));
  if (!cache)
    return NULL;
  cache->small = capacity / 10 ? capacity / 10 : 1;
  cache->main = capacity - cache->small;
  cache->where = (uint8_t *)(cache->links + distinct);
  cache->frequency = cache->where + distinct;
  for (unsigned i = 0; i < 4; i++)
    list_clear(&cache->lists[i]);
  return cache;
}

static void move(struct s3_fifo *cache, uint32_t sector, enum where to) {
  if (cache->where[sector] != OUT)
    list_remove(&cache->lists[cache->where[sector]], cache->links, sector);
  cache->where[sector] = (uint8_t)to;
  if (to != OUT)
    list_push(&cache->lists[to], cache->links, sector);
}

static void evict_from_main(struct s3_fifo *cache) {
  while (cache->lists[MAIN].count) {
    uint32_t sector = cache->lists[MAIN].tail;
    if (!cache->frequency[sector]) {
      move(cache, sector, OUT);
      return;
    }
    cache->frequency[sector]--;
    move(cache, sector, MAIN);
  }
}

static void evict_from_small(struct s3_fifo *cache) {
  while (cache->lists[SMALL].count) {
    uint32_t sector = cache->lists[SMALL].tail;
    if (cache->frequency[sector] > 1) {
      cache->frequency[sector] = 0;
      move(cache, sector, MAIN);
      if (cache->lists[MAIN].count > cache->main)
        evict_from_main(cache);
    } else {
      move(cache, sector, GHOST);
      if (cache->lists[GHOST].count > cache->main)
        move(cache, cache->lists[GHOST].tail, OUT);
      return;
    }
  }
}

static void make_room(struct s3_fifo *cache) {
  while (cache->lists[SMALL].count + cache->lists[MAIN].count >= cache->small + cache->main)
    if (cache->lists[SMALL].count >= cache->small || !cache->lists[MAIN].count)
      evict_from_small(cache);
    else
      evict_from_main(cache);
}

static bool play(void *opaque, uint32_t sector) {
  struct s3_fifo *cache = opaque;
  if (cache->where[sector] == SMALL || cache->where[sector] == MAIN) {
    if (cache->frequency[sector] < 3)
      cache->frequency[sector]++;
    return true;
  }
  bool ghost = cache->where[sector] == GHOST;
  if (ghost)
    move(cache, sector, OUT);
  make_room(cache);
  cache->frequency[sector] = 0;
  move(cache, sector, ghost ? MAIN : SMALL);
  return false;
}

const struct cache_kind cache_s3_fifo = {"S3-FIFO", create, play, free};
