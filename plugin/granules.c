/* SPDX-License-Identifier: BSD-3-Clause */

#include "granules.h"

#include "store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
  SHARDS = 8,        /* locks */
  MAX_IN_SLOT = 256, /* granules, at most */
  MAX_RUN = 65535,   /* granules, at most */
  SPARE_SHARE = 128, /* one free granule in so many, in slots that were begun, is
                        allowed; with fewer, runs get shorter to no advantage */
  SPARE_ALWAYS = 1024,
};

_Static_assert(SECTORS_MAX_SECTOR_SIZE >> GRANULE_SHIFT <= MAX_IN_SLOT, "granules of a slot");

#define NO_SLOT UINT32_MAX

/* Slots that were begun and not filled are in lists, by how many of their
 * granules are free. */
struct neighbours {
  uint32_t previous, next; /* slots, or NO_SLOT */
};

struct shard {
  _Alignas(64) pthread_mutex_t lock;
  _Atomic uint64_t free;                     /* granules in the lists */
  uint64_t with_slots[MAX_IN_SLOT / 64 + 1]; /* bit n: there are slots with n free granules */
  uint32_t lists[MAX_IN_SLOT + 1];
};

struct granules {
  sectors_store *store;
  unsigned sector_shift;
  uint32_t per_slot;  /* granules */
  uint32_t slots_max; /* slots below this can be named */
  uint64_t *used;     /* bit set: the granule is in use; touched when used */
  struct neighbours *neighbours;
  uint64_t used_bytes, neighbours_bytes; /* of the two tables */
  _Atomic uint64_t slots;
  _Atomic uint64_t taken; /* granules */
  struct shard shards[SHARDS];
};

/* ------------------------------------------------- one slot, with its lock held */

static struct shard *shard_of(struct granules *pool, uint32_t slot) {
  return &pool->shards[(slot >> (SLAB_SHIFT - pool->sector_shift)) % SHARDS];
}

/* The bits of a slot's granules from first on, up to 64 of them. */
static uint64_t used_bits(const struct granules *pool, uint32_t slot, uint32_t first) {
  uint64_t bit = (uint64_t)slot * pool->per_slot + first;
  uint64_t bits = pool->used[bit / 64] >> bit % 64;
  uint32_t count = pool->per_slot - first;
  return count < 64 ? bits & ((UINT64_C(1) << count) - 1) : bits;
}

static uint32_t free_in_slot(const struct granules *pool, uint32_t slot) {
  uint32_t used = 0;
  for (uint32_t i = 0; i < pool->per_slot; i += 64)
    used += (uint32_t)__builtin_popcountll(used_bits(pool, slot, i));
  return pool->per_slot - used;
}

static void change_bits(struct granules *pool, uint32_t slot, struct granule_run run, bool use) {
  uint64_t bit = (uint64_t)slot * pool->per_slot + run.first;
  for (uint32_t i = 0; i < run.count; i++, bit++) {
    if (use)
      pool->used[bit / 64] |= UINT64_C(1) << bit % 64;
    else
      pool->used[bit / 64] &= ~(UINT64_C(1) << bit % 64);
  }
}

/* Slots that are wholly used or wholly free are in no list. */
static bool has_list(const struct granules *pool, uint32_t free) {
  return free > 0 && free < pool->per_slot;
}

static void leave_list(struct granules *pool, struct shard *shard, uint32_t slot, uint32_t free) {
  if (!has_list(pool, free))
    return;
  struct neighbours *neighbours = &pool->neighbours[slot];
  if (neighbours->previous != NO_SLOT)
    pool->neighbours[neighbours->previous].next = neighbours->next;
  else
    shard->lists[free] = neighbours->next;
  if (neighbours->next != NO_SLOT)
    pool->neighbours[neighbours->next].previous = neighbours->previous;
  if (shard->lists[free] == NO_SLOT)
    shard->with_slots[free / 64] &= ~(UINT64_C(1) << free % 64);
  atomic_fetch_sub_explicit(&shard->free, free, memory_order_relaxed);
}

static void enter_list(struct granules *pool, struct shard *shard, uint32_t slot, uint32_t free) {
  if (!has_list(pool, free))
    return;
  uint32_t next = shard->lists[free];
  pool->neighbours[slot] = (struct neighbours){.previous = NO_SLOT, .next = next};
  if (next != NO_SLOT)
    pool->neighbours[next].previous = slot;
  shard->lists[free] = slot;
  shard->with_slots[free / 64] |= UINT64_C(1) << free % 64;
  atomic_fetch_add_explicit(&shard->free, free, memory_order_relaxed);
}

/* Use or free a run, which begins at granule run.first of the slot.  Returns how
 * many granules of the slot are free then. */
static uint32_t change_slot(struct granules *pool, struct shard *shard, uint32_t slot,
                            struct granule_run run, bool use) {
  uint32_t before = free_in_slot(pool, slot);
  uint32_t after = use ? before - run.count : before + run.count;
  leave_list(pool, shard, slot, before);
  change_bits(pool, slot, run, use);
  enter_list(pool, shard, slot, after);
  return after;
}

/* ------------------------------------------------------------- begun slots */

/* A slot with at least so many free granules, the fullest of those; if there is
 * none and any will do, the one with most.  NO_SLOT if there is none. */
static uint32_t find_slot(const struct granules *pool, const struct shard *shard, uint32_t wanted,
                          bool any) {
  for (uint32_t free = wanted; free < pool->per_slot; free = (free / 64 + 1) * 64) {
    uint64_t bits = shard->with_slots[free / 64] >> free % 64;
    if (bits != 0)
      return shard->lists[free + (uint32_t)__builtin_ctzll(bits)];
  }
  for (uint32_t i = MAX_IN_SLOT / 64 + 1; any && i-- > 0;) {
    if (shard->with_slots[i] != 0)
      return shard->lists[i * 64 + 63 - (uint32_t)__builtin_clzll(shard->with_slots[i])];
  }
  return NO_SLOT;
}

/* The first run of free granules in a slot that has wanted of them, else the
 * longest. */
static struct granule_run find_run(const struct granules *pool, uint32_t slot, uint32_t wanted) {
  struct granule_run best = {0}, run = {0};
  for (uint32_t i = 0; i < pool->per_slot && best.count < wanted; i++) {
    if (used_bits(pool, slot, i) & 1)
      run = (struct granule_run){.first = i + 1};
    else if (++run.count > best.count)
      best = run;
  }
  return best;
}

/* Take up to wanted granules from a slot that was begun; the count is 0 if there
 * is none that has as many, or, where any will do, none at all. */
static struct granule_run take_begun(struct granules *pool, uint32_t wanted, bool any) {
  unsigned start = thread_number();
  struct granule_run run = {0};
  for (unsigned i = 0; i < SHARDS && run.count == 0; i++) {
    struct shard *shard = &pool->shards[(start + i) % SHARDS];
    if (atomic_load_explicit(&shard->free, memory_order_relaxed) == 0)
      continue;
    pthread_mutex_lock(&shard->lock);
    uint32_t slot = find_slot(pool, shard, wanted, any);
    if (slot != NO_SLOT) {
      run = find_run(pool, slot, wanted);
      change_slot(pool, shard, slot, run, true);
      run.first += slot * pool->per_slot;
    }
    pthread_mutex_unlock(&shard->lock);
  }
  return run;
}

/* ------------------------------------------------------------- fresh slots */

/* Set room aside for slots, and take neighbouring ones: as many as wanted, or
 * fewer.  Returns their number, 0 if there is no room. */
static uint32_t take_slots(struct granules *pool, uint32_t wanted, uint32_t *first) {
  sectors_store *store = pool->store;
  while (wanted > 0 && store_reserve_room(store, wanted) != 0)
    wanted /= 2;
  if (wanted == 0)
    return 0;
  int taken = store_take(store, wanted, first);
  uint32_t count = taken > 0 ? (uint32_t)taken : 0;
  store_unreserve(store, wanted - count);
  if (count > 0 && (uint64_t)*first + count > pool->slots_max) {
    store_give(store, *first, count);
    return 0;
  }
  return count;
}

/* Take up to wanted granules of fresh slots. */
static struct granule_run take_fresh(struct granules *pool, uint32_t wanted) {
  uint32_t per_slot = pool->per_slot, slot = 0;
  uint32_t slots = take_slots(pool, (wanted + per_slot - 1) / per_slot, &slot);
  if (slots == 0)
    return (struct granule_run){0};
  atomic_fetch_add_explicit(&pool->slots, slots, memory_order_relaxed);
  struct granule_run run = {.first = slot * per_slot, .count = slots * per_slot};
  if (run.count > wanted)
    run.count = wanted;
  struct shard *shard = shard_of(pool, slot);
  pthread_mutex_lock(&shard->lock);
  for (uint32_t left = run.count; left > 0; slot++) {
    uint32_t count = left < per_slot ? left : per_slot;
    change_slot(pool, shard, slot, (struct granule_run){.count = count}, true);
    left -= count;
  }
  pthread_mutex_unlock(&shard->lock);
  return run;
}

/* Whether so much lies free in slots that were begun that fresh ones are not
 * to be taken, even if that makes shorter runs. */
static bool has_spare(struct granules *pool) {
  uint64_t taken = atomic_load_explicit(&pool->taken, memory_order_relaxed);
  uint64_t slots = atomic_load_explicit(&pool->slots, memory_order_relaxed);
  return slots * pool->per_slot > taken + taken / SPARE_SHARE + SPARE_ALWAYS;
}

struct granule_run granules_take(struct granules *pool, uint32_t wanted) {
  struct granule_run run = {0};
  if (wanted > MAX_RUN)
    wanted = MAX_RUN;
  uint32_t beyond = wanted % pool->per_slot; /* whole slots */
  if (has_spare(pool))
    run = take_begun(pool, wanted, true);
  else if (wanted < pool->per_slot)
    run = take_begun(pool, wanted, false);
  else
    wanted -= beyond; /* which the caller will ask for next */
  if (run.count == 0)
    run = take_fresh(pool, wanted);
  if (run.count == 0)
    run = take_begun(pool, wanted, true);
  atomic_fetch_add_explicit(&pool->taken, run.count, memory_order_relaxed);
  return run;
}

void granules_give(struct granules *pool, struct granule_run run) {
  uint32_t per_slot = pool->per_slot;
  uint32_t slot = run.first / per_slot, index = run.first % per_slot;
  uint32_t first = NO_SLOT, slots = 0; /* that become free: they lie together */
  atomic_fetch_sub_explicit(&pool->taken, run.count, memory_order_relaxed);
  struct shard *shard = shard_of(pool, slot);
  pthread_mutex_lock(&shard->lock);
  for (uint32_t left = run.count; left > 0; slot++, index = 0) {
    uint32_t count = left < per_slot - index ? left : per_slot - index;
    left -= count;
    struct granule_run part = {.first = index, .count = count};
    if (change_slot(pool, shard, slot, part, false) == per_slot && slots++ == 0)
      first = slot;
  }
  pthread_mutex_unlock(&shard->lock);
  if (slots == 0)
    return;
  atomic_fetch_sub_explicit(&pool->slots, slots, memory_order_relaxed);
  store_give(pool->store, first, slots);
}

/* ---------------------------------------------------------------- the pool */

void *granule_address(const struct granules *pool, uint32_t granule) {
  return pool->store->arena.base + ((uint64_t)granule << GRANULE_SHIFT);
}

static uint64_t granules_opened(const struct granules *pool) {
  return (uint64_t)atomic_load(&pool->store->arena.opened) << (SLAB_SHIFT - GRANULE_SHIFT);
}

bool granules_exist(const struct granules *pool, struct granule_run run) {
  uint64_t opened = granules_opened(pool);
  return run.count != 0 && run.first < opened && run.count <= opened - run.first;
}

uint64_t granules_bytes(struct granules *pool) {
  return atomic_load(&pool->slots) << pool->sector_shift;
}

uint64_t granules_table_bytes(struct granules *pool) {
  uint64_t opened = granules_opened(pool);
  return opened / 8 + opened / pool->per_slot * sizeof *pool->neighbours;
}

static void *map_table(uint64_t size) {
  void *table =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return table == MAP_FAILED ? NULL : table;
}

static void unmap_table(void *table, uint64_t size) {
  if (table)
    munmap(table, size);
}

static int make_tables(struct granules *pool) {
  const struct arena *arena = &pool->store->arena;
  uint64_t slots = (uint64_t)arena->slabs_max * arena->slab_slots;
  uint64_t nameable = NO_GRANULE / pool->per_slot;
  pool->slots_max = (uint32_t)(slots < nameable ? slots : nameable);
  pool->used_bytes = ((uint64_t)pool->slots_max * pool->per_slot / 64 + 1) * sizeof *pool->used;
  pool->neighbours_bytes = (uint64_t)pool->slots_max * sizeof *pool->neighbours;
  pool->used = map_table(pool->used_bytes);
  pool->neighbours = map_table(pool->neighbours_bytes);
  return pool->used && pool->neighbours ? 0 : -ENOMEM;
}

int granules_create(struct sectors_store *store, struct granules **result) {
  struct granules *pool = aligned_alloc(_Alignof(struct granules), sizeof *pool);
  if (!pool)
    return -ENOMEM;
  memset(pool, 0, sizeof *pool);
  pool->store = store;
  pool->sector_shift = store->sector_shift;
  pool->per_slot = UINT32_C(1) << (store->sector_shift - GRANULE_SHIFT);
  for (int i = 0; i < SHARDS; i++) {
    pthread_mutex_init(&pool->shards[i].lock, NULL);
    for (int j = 0; j <= MAX_IN_SLOT; j++)
      pool->shards[i].lists[j] = NO_SLOT;
  }
  if (make_tables(pool) != 0) {
    granules_destroy(pool);
    return -ENOMEM;
  }
  *result = pool;
  return 0;
}

void granules_destroy(struct granules *pool) {
  if (!pool)
    return;
  unmap_table(pool->used, pool->used_bytes);
  unmap_table(pool->neighbours, pool->neighbours_bytes);
  for (int i = 0; i < SHARDS; i++)
    pthread_mutex_destroy(&pool->shards[i].lock);
  free(pool);
}
