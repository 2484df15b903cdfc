/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Caches to compare: what each policy would hold.
 */

#ifndef CACHE_H
#define CACHE_H

#include <stdbool.h>
#include <stdint.h>

/* Each of these plays one access after the other on a cache of so many
 * sectors, out of sectors 0 to distinct - 1. */
struct cache_kind {
  const char *name;
  void *(*create)(uint32_t capacity, uint32_t distinct); /* NULL: no memory */
  bool (*access)(void *cache, uint32_t sector);          /* whether it was there */
  void (*destroy)(void *cache);
};

extern const struct cache_kind cache_lru, cache_arc, cache_s3_fifo, cache_w_tinylfu;
extern const struct cache_kind cache_policy; /* plugin/policy.c */

/* How many sectors the cache of cache_policy held on average. */
double cache_policy_occupancy(void *cache);

/* Lists of sectors.  A sector is in one list at most. */
enum { NO_SECTOR = UINT32_MAX };

struct list {
  uint32_t head, tail; /* newest, oldest */
  uint32_t count;
};

struct link {
  uint32_t newer, older;
};

static inline void list_clear(struct list *list) {
  *list = (struct list){NO_SECTOR, NO_SECTOR, 0};
}

static inline void list_push(struct list *list, struct link *links, uint32_t sector) {
  links[sector] = (struct link){NO_SECTOR, list->head};
  if (list->head != NO_SECTOR)
    links[list->head].newer = sector;
  else
    list->tail = sector;
  list->head = sector;
  list->count++;
}

static inline void list_remove(struct list *list, struct link *links, uint32_t sector) {
  struct link link = links[sector];
  if (link.newer != NO_SECTOR)
    links[link.newer].older = link.older;
  else
    list->head = link.older;
  if (link.older != NO_SECTOR)
    links[link.older].newer = link.newer;
  else
    list->tail = link.newer;
  list->count--;
}

/* The oldest, taken out, or NO_SECTOR. */
static inline uint32_t list_pop(struct list *list, struct link *links) {
  uint32_t sector = list->tail;
  if (sector != NO_SECTOR)
    list_remove(list, links, sector);
  return sector;
}

#endif
