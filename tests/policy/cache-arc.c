/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ARC, after figure 4 of Megiddo and Modha, "ARC: A Self-Tuning, Low Overhead
 * Replacement Cache", FAST 2003.
 */

#include "cache.h"

#include <stdlib.h>

enum where { OUT, T1, T2, B1, B2 };

struct arc {
  double target; /* p: of T1 */
  uint32_t capacity;
  struct list lists[5];
  uint8_t *where;
  struct link links[];
};

static void *create(uint32_t capacity, uint32_t distinct) {
  struct arc *arc = calloc(1, sizeof(*arc) + distinct * (sizeof(struct link) + 1));
  if (!arc)
    return NULL;
  arc->capacity = capacity;
  arc->where = (uint8_t *)(arc->links + distinct);
  for (unsigned i = 0; i < 5; i++)
    list_clear(&arc->lists[i]);
  return arc;
}

static void move(struct arc *arc, uint32_t sector, enum where to) {
  if (arc->where[sector] != OUT)
    list_remove(&arc->lists[arc->where[sector]], arc->links, sector);
  arc->where[sector] = (uint8_t)to;
  if (to != OUT)
    list_push(&arc->lists[to], arc->links, sector);
}

static uint32_t count(const struct arc *arc, enum where where) {
  return arc->lists[where].count;
}

static void replace(struct arc *arc, bool in_b2) {
  uint32_t t1 = count(arc, T1);
  if (t1 && (t1 > arc->target || (in_b2 && t1 == arc->target)))
    move(arc, arc->lists[T1].tail, B1);
  else
    move(arc, arc->lists[T2].tail, B2);
}

static double larger(double a, double b) {
  return a > b ? a : b;
}

static double smaller(double a, double b) {
  return a < b ? a : b;
}

/* Case IV: a sector that ARC remembers nothing of. */
static void make_room(struct arc *arc) {
  uint32_t l1 = count(arc, T1) + count(arc, B1), l2 = count(arc, T2) + count(arc, B2);
  if (l1 == arc->capacity) {
    if (count(arc, T1) < arc->capacity) {
      move(arc, arc->lists[B1].tail, OUT);
      replace(arc, false);
    } else {
      move(arc, arc->lists[T1].tail, OUT);
    }
  } else if (l1 + l2 >= arc->capacity) {
    if (l1 + l2 == 2 * arc->capacity)
      move(arc, arc->lists[B2].tail, OUT);
    replace(arc, false);
  }
}

static bool play(void *cache, uint32_t sector) {
  struct arc *arc = cache;
  double b1 = count(arc, B1), b2 = count(arc, B2);
  switch (arc->where[sector]) {
  case T1:
  case T2:
    move(arc, sector, T2);
    return true;
  case B1:
    arc->target = smaller(arc->target + larger(b2 / b1, 1), arc->capacity);
    replace(arc, false);
    move(arc, sector, T2);
    return false;
  case B2:
    arc->target = larger(arc->target - larger(b1 / b2, 1), 0);
    replace(arc, true);
    move(arc, sector, T2);
    return false;
  default:
    make_room(arc);
    move(arc, sector, T1);
    return false;
  }
}

const struct cache_kind cache_arc = {"ARC", create, play, free};
