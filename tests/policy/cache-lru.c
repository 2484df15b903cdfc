/* SPDX-License-Identifier: BSD-3-Clause */

#include "cache.h"

#include <stdlib.h>

struct lru {
  uint32_t capacity;
  struct list list;
  bool *present;
  struct link links[];
};

static void *create(uint32_t capacity, uint32_t distinct) {
  struct lru *lru = calloc(1, sizeof(*lru) + distinct * (sizeof(struct link) + 1));
  if (!lru)
    return NULL;
  lru->capacity = capacity;
  lru->present = (bool *)(lru->links + distinct);
  list_clear(&lru->list);
  return lru;
}

static bool play(void *cache, uint32_t sector) {
  struct lru *lru = cache;
  bool hit = lru->present[sector];
  if (hit)
    list_remove(&lru->list, lru->links, sector);
  else if (lru->list.count == lru->capacity)
    lru->present[list_pop(&lru->list, lru->links)] = false;
  list_push(&lru->list, lru->links, sector);
  lru->present[sector] = true;
  return hit;
}

const struct cache_kind cache_lru = {"LRU", create, play, free};
