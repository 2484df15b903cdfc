/* SPDX-License-Identifier: BSD-3-Clause */

#include "ranges.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------- dirty leaves */

enum { LEAST_DIRTY_SLOTS = 64 };

void dirty_init(struct dirty_leaves *dirty) {
  *dirty = (struct dirty_leaves){0};
  pthread_mutex_init(&dirty->lock, NULL);
}

void dirty_destroy(struct dirty_leaves *dirty) {
  free(dirty->table);
  pthread_mutex_destroy(&dirty->lock);
}

/* Where a leaf is in the table, or would be. */
static uint64_t *dirty_slot(uint64_t *table, uint64_t slots, uint64_t leaf) {
  uint64_t i = (leaf * UINT64_C(0x9e3779b97f4a7c15)) >> 20;
  while (table[i & (slots - 1)] != 0 && table[i & (slots - 1)] != leaf + 1)
    i++;
  return &table[i & (slots - 1)];
}

static int dirty_grow(struct dirty_leaves *dirty) {
  uint64_t slots = dirty->slots ? dirty->slots * 2 : LEAST_DIRTY_SLOTS;
  uint64_t *table = calloc(slots, sizeof *table);
  if (!table)
    return -ENOMEM;
  for (uint64_t i = 0; i < dirty->slots; i++)
    if (dirty->table[i] != 0)
      *dirty_slot(table, slots, dirty->table[i] - 1) = dirty->table[i];
  free(dirty->table);
  dirty->table = table;
  dirty->slots = slots;
  return 0;
}

int dirty_add(struct dirty_leaves *dirty, uint64_t leaf) {
  int error = 0;
  pthread_mutex_lock(&dirty->lock);
  if (dirty->count * 2 >= dirty->slots)
    error = dirty_grow(dirty);
  /* One place is enough where the table cannot grow. */
  if (dirty->count + 1 < dirty->slots) {
    uint64_t *slot = dirty_slot(dirty->table, dirty->slots, leaf);
    dirty->count += *slot == 0;
    *slot = leaf + 1;
    error = 0;
  }
  pthread_mutex_unlock(&dirty->lock);
  return error;
}

static int compare_numbers(const void *a, const void *b) {
  uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
  return (left > right) - (left < right);
}

uint64_t *dirty_take(struct dirty_leaves *dirty, uint64_t *count) {
  pthread_mutex_lock(&dirty->lock);
  uint64_t *table = dirty->table, slots = dirty->slots;
  *count = dirty->count;
  dirty->table = NULL;
  dirty->slots = dirty->count = 0;
  pthread_mutex_unlock(&dirty->lock);
  uint64_t found = 0;
  for (uint64_t i = 0; i < slots; i++)
    if (table[i] != 0)
      table[found++] = table[i] - 1;
  if (found > 0)
    qsort(table, found, sizeof *table, compare_numbers);
  return table;
}

/* ----------------------------------------------------------- guarded ranges */

void guard_init(struct guard *guard) {
  atomic_init(&guard->count, 0);
  guard->ranges = NULL;
  pthread_mutex_init(&guard->lock, NULL);
  pthread_cond_init(&guard->left, NULL);
}

void guard_destroy(struct guard *guard) {
  pthread_mutex_destroy(&guard->lock);
  pthread_cond_destroy(&guard->left);
}

/* With the lock held. */
static bool overlaps(const struct guard *guard, uint64_t first, uint64_t last) {
  for (const struct guarded *range = guard->ranges; range; range = range->next)
    if (first <= range->last && range->first <= last)
      return true;
  return false;
}

/* With the lock held. */
static void hang_in(struct guard *guard, struct guarded *range, uint64_t first, uint64_t last) {
  *range = (struct guarded){.next = guard->ranges, .first = first, .last = last};
  guard->ranges = range;
  atomic_fetch_add(&guard->count, 1);
}

void guard_enter(struct guard *guard, struct guarded *range, uint64_t first, uint64_t last) {
  pthread_mutex_lock(&guard->lock);
  while (overlaps(guard, first, last))
    pthread_cond_wait(&guard->left, &guard->lock);
  hang_in(guard, range, first, last);
  pthread_mutex_unlock(&guard->lock);
}

bool guard_try_enter(struct guard *guard, struct guarded *range, uint64_t first, uint64_t last) {
  pthread_mutex_lock(&guard->lock);
  bool free = !overlaps(guard, first, last);
  if (free)
    hang_in(guard, range, first, last);
  pthread_mutex_unlock(&guard->lock);
  return free;
}

void guard_leave(struct guard *guard, struct guarded *range) {
  pthread_mutex_lock(&guard->lock);
  struct guarded **link = &guard->ranges;
  while (*link != range)
    link = &(*link)->next;
  *link = range->next;
  atomic_fetch_sub(&guard->count, 1);
  pthread_cond_broadcast(&guard->left);
  pthread_mutex_unlock(&guard->lock);
}

bool guard_covers(struct guard *guard, uint64_t first, uint64_t last) {
  if (atomic_load(&guard->count) == 0)
    return false;
  pthread_mutex_lock(&guard->lock);
  bool covers = overlaps(guard, first, last);
  pthread_mutex_unlock(&guard->lock);
  return covers;
}

void guard_wait(struct guard *guard, uint64_t first, uint64_t last) {
  pthread_mutex_lock(&guard->lock);
  while (overlaps(guard, first, last))
    pthread_cond_wait(&guard->left, &guard->lock);
  pthread_mutex_unlock(&guard->lock);
}

/* ------------------------------------------------------------ zeroed ranges */

void zeroed_init(struct zeroed_ranges *zeroed) {
  atomic_init(&zeroed->count, 0);
  zeroed->redo = false;
  zeroed->ranges = NULL;
  pthread_mutex_init(&zeroed->lock, NULL);
}

void zeroed_destroy(struct zeroed_ranges *zeroed) {
  free(zeroed->ranges);
  pthread_mutex_destroy(&zeroed->lock);
}

int zeroed_add(struct zeroed_ranges *zeroed, uint64_t first, uint64_t last) {
  int error = 0;
  pthread_mutex_lock(&zeroed->lock);
  unsigned count = atomic_load(&zeroed->count);
  if (!zeroed->ranges)
    zeroed->ranges = malloc(MAX_ZEROED_RANGES * sizeof *zeroed->ranges);
  if (!zeroed->ranges) {
    error = -ENOMEM;
  } else if (count == MAX_ZEROED_RANGES) {
    error = -E2BIG;
  } else {
    zeroed->ranges[count] = (struct zeroed_range){.first = first, .last = last};
    atomic_store(&zeroed->count, count + 1);
  }
  pthread_mutex_unlock(&zeroed->lock);
  return error;
}

uint64_t zeroed_mask(struct zeroed_ranges *zeroed, uint64_t first, unsigned count) {
  uint64_t mask = 0, last = first + count - 1;
  if (atomic_load(&zeroed->count) == 0)
    return 0;
  pthread_mutex_lock(&zeroed->lock);
  for (unsigned i = 0; i < atomic_load(&zeroed->count); i++) {
    struct zeroed_range range = zeroed->ranges[i];
    if (range.first > last || range.last < first)
      continue;
    uint64_t from = range.first > first ? range.first - first : 0;
    uint64_t to = range.last < last ? range.last - first : count - 1;
    mask |= UINT64_MAX << from & UINT64_MAX >> (63 - to);
  }
  pthread_mutex_unlock(&zeroed->lock);
  return mask;
}

void zeroed_forget(struct zeroed_ranges *zeroed, unsigned count) {
  pthread_mutex_lock(&zeroed->lock);
  unsigned left = atomic_load(&zeroed->count) - count;
  if (count > 0)
    memmove(zeroed->ranges, zeroed->ranges + count, left * sizeof *zeroed->ranges);
  atomic_store(&zeroed->count, left);
  pthread_mutex_unlock(&zeroed->lock);
}

/* --------------------------------------------------------------- priorities */

void priorities_init(struct priorities *priorities, unsigned of_volume) {
  atomic_init(&priorities->of_volume, of_volume);
  atomic_init(&priorities->count, 0);
  priorities->ranges = NULL;
  pthread_mutex_init(&priorities->lock, NULL);
}

void priorities_destroy(struct priorities *priorities) {
  free(priorities->ranges);
  pthread_mutex_destroy(&priorities->lock);
}

void priorities_set_volume(struct priorities *priorities, unsigned priority) {
  pthread_mutex_lock(&priorities->lock);
  atomic_store(&priorities->count, 0);
  atomic_store(&priorities->of_volume, priority);
  free(priorities->ranges);
  priorities->ranges = NULL;
  pthread_mutex_unlock(&priorities->lock);
}

/* Append a range, joined to the last one if they meet and agree. */
static void append(struct priority_range *ranges, unsigned *count, struct priority_range range) {
  struct priority_range *last = *count > 0 ? &ranges[*count - 1] : NULL;
  if (last && last->priority == range.priority && last->last + 1 == range.first)
    last->last = range.last;
  else
    ranges[(*count)++] = range;
}

int priorities_set(struct priorities *priorities, uint64_t first, uint64_t last,
                   unsigned priority) {
  int error = 0;
  pthread_mutex_lock(&priorities->lock);
  unsigned old = atomic_load(&priorities->count), count = 0;
  bool plain = priority == atomic_load(&priorities->of_volume), done = plain;
  struct priority_range set = {.first = first, .last = last, .priority = priority};
  struct priority_range *ranges = malloc((old + 2) * sizeof *ranges);
  if (!ranges) {
    error = -ENOMEM;
  } else {
    for (unsigned i = 0; i < old; i++) {
      struct priority_range range = priorities->ranges[i];
      if (range.first < first) {
        struct priority_range before = range;
        before.last = range.last < first ? range.last : first - 1;
        append(ranges, &count, before);
      }
      if (!done && range.last > first) {
        append(ranges, &count, set);
        done = true;
      }
      if (range.last > last) {
        if (range.first <= last)
          range.first = last + 1;
        append(ranges, &count, range);
      }
    }
    if (!done)
      append(ranges, &count, set);
    if (count > MAX_PRIORITY_RANGES) {
      free(ranges);
      error = -E2BIG;
    } else {
      free(priorities->ranges);
      priorities->ranges = ranges;
      atomic_store(&priorities->count, count);
    }
  }
  pthread_mutex_unlock(&priorities->lock);
  return error;
}

/* With the lock held: the first range that ends at the sector or after it, or their number. */
static unsigned find_range(const struct priorities *priorities, uint64_t sector) {
  unsigned low = 0, high = atomic_load(&priorities->count);
  while (low < high) {
    unsigned middle = low + (high - low) / 2;
    if (priorities->ranges[middle].last < sector)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

unsigned priority_of(struct priorities *priorities, uint64_t sector) {
  unsigned priority = atomic_load_explicit(&priorities->of_volume, memory_order_relaxed);
  if (atomic_load_explicit(&priorities->count, memory_order_relaxed) == 0)
    return priority;
  pthread_mutex_lock(&priorities->lock);
  unsigned i = find_range(priorities, sector);
  if (i < atomic_load(&priorities->count) && priorities->ranges[i].first <= sector)
    priority = priorities->ranges[i].priority;
  pthread_mutex_unlock(&priorities->lock);
  return priority;
}

uint64_t priority_last(struct priorities *priorities, uint64_t sector) {
  uint64_t last = UINT64_MAX;
  pthread_mutex_lock(&priorities->lock);
  unsigned i = find_range(priorities, sector);
  if (i < atomic_load(&priorities->count)) {
    const struct priority_range *range = &priorities->ranges[i];
    last = range->first <= sector ? range->last : range->first - 1;
  }
  pthread_mutex_unlock(&priorities->lock);
  return last;
}
