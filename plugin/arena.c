/* SPDX-License-Identifier: BSD-3-Clause */

#include "arena.h"

#include "backoff.h"
#include "epoch.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

enum {
  SPARE_SLABS = 64,        /* slots beyond the capacity, so that a search soon ends */
  FAULT_AHEAD = 64 * 1024, /* bytes made warm at once when slots are taken one by one */
};

#define NO_SLAB UINT32_MAX

struct run {
  uint32_t first; /* slot, in the slab */
  uint32_t count;
};

/* ------------------------------------------------------------ slabs, locked */

static void slab_lock(struct slab *slab) {
  unsigned rounds = 0;
  while (atomic_exchange_explicit(&slab->lock, 1, memory_order_acquire) != 0)
    backoff(&rounds);
}

static void slab_unlock(struct slab *slab) {
  atomic_store_explicit(&slab->lock, 0, memory_order_release);
}

static void set_bits(uint64_t *bits, struct run run) {
  for (uint32_t i = run.first; i < run.first + run.count; i++)
    bits[i / 64] |= UINT64_C(1) << i % 64;
}

static void clear_bits(uint64_t *bits, struct run run) {
  for (uint32_t i = run.first; i < run.first + run.count; i++)
    bits[i / 64] &= ~(UINT64_C(1) << i % 64);
}

/* The free slots 64 * i to 64 * i + 63 of one kind. */
static uint64_t free_slots(const struct slab *slab, bool warm, uint32_t i) {
  return slab->free[i] & (warm ? slab->backed[i] : ~slab->backed[i]);
}

/* The first run of free slots of one kind at or after from, cut to wanted;
 * its count is 0 if there is none. */
static struct run find_run(const struct slab *slab, uint32_t slots, bool warm, uint32_t from,
                           uint32_t wanted) {
  struct run run = {.first = from};
  while (run.first < slots) {
    uint64_t bits = free_slots(slab, warm, run.first / 64) >> run.first % 64;
    if (bits != 0) {
      run.first += (uint32_t)__builtin_ctzll(bits);
      break;
    }
    run.first = (run.first / 64 + 1) * 64;
  }
  while (run.first + run.count < slots && run.count < wanted) {
    uint32_t next = run.first + run.count;
    uint64_t bits = ~(free_slots(slab, warm, next / 64) >> next % 64);
    uint32_t more = bits == 0 ? 64 : (uint32_t)__builtin_ctzll(bits);
    if (more == 0)
      break;
    run.count += more;
  }
  if (run.count > wanted)
    run.count = wanted;
  return run;
}

/* Note that a slab's number of free slots of one kind changes by delta. */
static void count_free(struct arena *arena, uint32_t index, bool warm, int delta) {
  struct slab *slab = &arena->slabs[index];
  uint16_t *in_slab = warm ? &slab->warm : &slab->cold;
  _Atomic uint64_t *bitmap = warm ? arena->with_warm : arena->with_cold;
  uint64_t bit = UINT64_C(1) << index % 64;
  uint16_t before = *in_slab;
  *in_slab = (uint16_t)(before + delta);
  if (before == 0 && *in_slab != 0)
    atomic_fetch_or_explicit(&bitmap[index / 64], bit, memory_order_relaxed);
  else if (before != 0 && *in_slab == 0)
    atomic_fetch_and_explicit(&bitmap[index / 64], ~bit, memory_order_relaxed);
  atomic_fetch_add(warm ? &arena->warm : &arena->cold, (uint64_t)(int64_t)delta);
}

/* Take the run away from the free slots, which are of one kind. */
static void remove_run(struct arena *arena, uint32_t index, bool warm, struct run run) {
  clear_bits(arena->slabs[index].free, run);
  count_free(arena, index, warm, -(int)run.count);
}

/* Put the run among the free slots of one kind. */
static void insert_run(struct arena *arena, uint32_t index, bool warm, struct run run) {
  struct slab *slab = &arena->slabs[index];
  set_bits(slab->free, run);
  if (warm)
    set_bits(slab->backed, run);
  else
    clear_bits(slab->backed, run);
  count_free(arena, index, warm, (int)run.count);
}

/* ----------------------------------------------------------- start and end */

static void *map(uint64_t size, int protection) {
  void *address = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return address == MAP_FAILED ? NULL : address;
}

static uint64_t bitmap_size(const struct arena *arena) {
  return (arena->slabs_max + 63) / 64 * sizeof *arena->with_warm;
}

int arena_init(struct arena *arena, uint64_t capacity, unsigned sector_shift) {
  const uint64_t slab_size = UINT64_C(1) << SLAB_SHIFT;
  *arena = (struct arena){
      .sector_shift = sector_shift,
      .slab_slots = UINT32_C(1) << (SLAB_SHIFT - sector_shift),
      .slabs_max = (uint32_t)((capacity + slab_size - 1) / slab_size) + SPARE_SLABS,
  };
  arena->mapping_size = (arena->slabs_max + 1) * slab_size;
  arena->mapping = map(arena->mapping_size, PROT_NONE);
  arena->slabs = map(arena->slabs_max * sizeof *arena->slabs, PROT_READ | PROT_WRITE);
  arena->with_warm = map(bitmap_size(arena), PROT_READ | PROT_WRITE);
  arena->with_cold = map(bitmap_size(arena), PROT_READ | PROT_WRITE);
  pthread_mutex_init(&arena->opening, NULL);
  if (!arena->mapping || !arena->slabs || !arena->with_warm || !arena->with_cold) {
    arena_destroy(arena);
    return -ENOMEM;
  }
  uintptr_t start = ((uintptr_t)arena->mapping + slab_size - 1) & ~(uintptr_t)(slab_size - 1);
  arena->base = (unsigned char *)start;
  /* Memory is to follow the data page by page; huge pages would fill the gaps
   * again that trimming made.  A kernel without huge pages refuses: fine. */
  madvise(arena->mapping, arena->mapping_size, MADV_NOHUGEPAGE);
  for (int i = 0; i < ARENA_SHARDS; i++)
    atomic_init(&arena->shards[i].slab, NO_SLAB);
  return 0;
}

void arena_destroy(struct arena *arena) {
  if (arena->mapping)
    munmap(arena->mapping, arena->mapping_size);
  if (arena->slabs)
    munmap(arena->slabs, arena->slabs_max * sizeof *arena->slabs);
  if (arena->with_warm)
    munmap((void *)arena->with_warm, bitmap_size(arena));
  if (arena->with_cold)
    munmap((void *)arena->with_cold, bitmap_size(arena));
  pthread_mutex_destroy(&arena->opening);
}

uint64_t arena_table_bytes(const struct arena *arena) {
  return (uint64_t)atomic_load(&arena->opened) * sizeof *arena->slabs;
}

/* ------------------------------------------------------------------ taking */

/* Make one more slab usable.  Returns its index, NO_SLAB if there is none
 * left, or -ENOMEM in *error. */
static uint32_t open_slab(struct arena *arena, int *error) {
  pthread_mutex_lock(&arena->opening);
  uint32_t index = atomic_load(&arena->opened);
  void *start = arena->base + ((uint64_t)index << SLAB_SHIFT);
  if (index == arena->slabs_max) {
    index = NO_SLAB;
  } else if (mprotect(start, UINT64_C(1) << SLAB_SHIFT, PROT_READ | PROT_WRITE) != 0) {
    *error = -ENOMEM;
    index = NO_SLAB;
  } else {
    slab_lock(&arena->slabs[index]);
    insert_run(arena, index, false, (struct run){.count = arena->slab_slots});
    slab_unlock(&arena->slabs[index]);
    atomic_store(&arena->opened, index + 1);
  }
  pthread_mutex_unlock(&arena->opening);
  return index;
}

/* A slab with free slots of one kind, at or after start if there is one, else
 * before it; or NO_SLAB. */
static uint32_t find_slab(struct arena *arena, bool warm, uint32_t start) {
  if (atomic_load_explicit(warm ? &arena->warm : &arena->cold, memory_order_relaxed) == 0)
    return NO_SLAB;
  _Atomic uint64_t *bitmap = warm ? arena->with_warm : arena->with_cold;
  uint32_t words = (atomic_load(&arena->opened) + 63) / 64;
  uint32_t first = start == NO_SLAB ? 0 : start / 64;
  for (uint32_t i = 0; i < words; i++) {
    uint32_t word = (first + i) % words;
    uint64_t bits = atomic_load_explicit(&bitmap[word], memory_order_relaxed);
    if (bits != 0)
      return word * 64 + (uint32_t)__builtin_ctzll(bits);
  }
  return NO_SLAB;
}

/* Take a run of one kind out of a slab; its count is 0 if there is none. */
static struct run take_run(struct arena *arena, uint32_t index, bool warm, uint32_t wanted) {
  struct slab *slab = &arena->slabs[index];
  slab_lock(slab);
  struct run run = find_run(slab, arena->slab_slots, warm, 0, wanted);
  if (run.count != 0)
    remove_run(arena, index, warm, run);
  slab_unlock(slab);
  return run;
}

static void give_run(struct arena *arena, uint32_t index, bool warm, struct run run) {
  if (run.count == 0)
    return;
  struct slab *slab = &arena->slabs[index];
  slab_lock(slab);
  insert_run(arena, index, warm, run);
  slab_unlock(slab);
}

static unsigned char *run_address(const struct arena *arena, uint32_t index, struct run run) {
  return arena->base + ((uint64_t)index << SLAB_SHIFT) +
         ((uint64_t)run.first << arena->sector_shift);
}

static uint64_t run_bytes(const struct arena *arena, struct run run) {
  return (uint64_t)run.count << arena->sector_shift;
}

/* Give memory back to the system; locked memory (nbdkit --swap) asks for
 * another request than memory that is not. */
static bool release_memory(void *address, uint64_t size) {
  return madvise(address, size, MADV_DONTNEED) == 0 ||
         madvise(address, size, MADV_DONTNEED_LOCKED) == 0;
}

/* Have the system put memory behind a run taken cold: many page faults in one
 * call.  A kernel before 5.14 cannot, and puts it there at the first store. */
static int warm_run(const struct arena *arena, uint32_t index, struct run run) {
  if (madvise(run_address(arena, index, run), run_bytes(arena, run), MADV_POPULATE_WRITE) == 0 ||
      errno == EINVAL)
    return 0;
  return -ENOMEM;
}

/* Take a cold run from a slab and warm it; of more than wanted, the rest
 * becomes warm free slots. */
static int take_cold(struct arena *arena, uint32_t index, uint32_t wanted, struct run *run) {
  uint32_t ahead = FAULT_AHEAD >> arena->sector_shift;
  *run = take_run(arena, index, false, wanted > ahead ? wanted : ahead);
  if (run->count == 0)
    return 0;
  int error = warm_run(arena, index, *run);
  if (error != 0) {
    /* A part of it may have got memory, which nobody would account for.  Should
     * the system not take that back, the run is cold all the same: who takes it
     * next had better ask than be killed for touching it. */
    release_memory(run_address(arena, index, *run), run_bytes(arena, *run));
    give_run(arena, index, false, *run);
    run->count = 0;
    return error;
  }
  if (run->count > wanted) {
    struct run rest = {.first = run->first + wanted, .count = run->count - wanted};
    run->count = wanted;
    give_run(arena, index, true, rest);
  }
  return 0;
}

int arena_take(struct arena *arena, uint32_t wanted, uint32_t *first) {
  _Atomic uint32_t *favourite = &arena->shards[thread_number() % ARENA_SHARDS].slab;
  unsigned rounds = 0;
  assert(wanted > 0);
  for (;;) {
    uint32_t index = atomic_load_explicit(favourite, memory_order_relaxed);
    struct run run = {0};
    int error = 0;
    if (index != NO_SLAB)
      run = take_run(arena, index, true, wanted);
    if (run.count == 0) {
      uint32_t warm = find_slab(arena, true, index);
      if (warm != NO_SLAB) {
        index = warm;
        run = take_run(arena, index, true, wanted);
      }
    }
    if (run.count == 0 && index != NO_SLAB)
      error = take_cold(arena, index, wanted, &run);
    if (run.count == 0 && error == 0) {
      uint32_t cold = find_slab(arena, false, index);
      if (cold == NO_SLAB)
        cold = open_slab(arena, &error);
      if (cold != NO_SLAB) {
        index = cold;
        error = take_cold(arena, index, wanted, &run);
      }
    }
    if (run.count != 0) {
      atomic_store_explicit(favourite, index, memory_order_relaxed);
      *first = index * arena->slab_slots + run.first;
      return (int)run.count;
    }
    if (error != 0)
      return error;
    backoff(&rounds);
  }
}

/* ----------------------------------------------------------- giving back */

void arena_give(struct arena *arena, uint32_t first, uint32_t count) {
  while (count > 0) {
    uint32_t index = first / arena->slab_slots;
    struct run run = {.first = first % arena->slab_slots, .count = count};
    if (run.count > arena->slab_slots - run.first)
      run.count = arena->slab_slots - run.first;
    give_run(arena, index, true, run);
    first += run.count;
    count -= run.count;
  }
}

/* Make a slab cold in one piece, if it is wholly free and has at most that many
 * warm slots, however these alternate with cold ones.  All its slots are taken
 * while the memory goes, so that nobody fills them meanwhile.  Returns how many
 * were warm; 0 also if the slab is not like that, or the system refused. */
static uint32_t release_whole_slab(struct arena *arena, uint32_t index, uint64_t most) {
  struct slab *slab = &arena->slabs[index];
  const struct run all = {.count = arena->slab_slots};
  slab_lock(slab);
  uint32_t warm = slab->warm, cold = slab->cold;
  bool whole = warm + cold == arena->slab_slots && warm > 0 && warm <= most;
  if (whole) {
    clear_bits(slab->free, all);
    count_free(arena, index, true, -(int)warm);
    count_free(arena, index, false, -(int)cold);
  }
  slab_unlock(slab);
  if (!whole)
    return 0;
  if (release_memory(run_address(arena, index, all), run_bytes(arena, all))) {
    give_run(arena, index, false, all);
    return warm;
  }
  atomic_store(&arena->release_failed, true);
  slab_lock(slab);
  set_bits(slab->free, all); /* as they were: the bits of backed are still there */
  count_free(arena, index, true, (int)warm);
  count_free(arena, index, false, (int)cold);
  slab_unlock(slab);
  return 0;
}

/* Make the warm runs of a slab cold, until released reaches slots.  A run is
 * taken while its memory goes, so that nobody fills it meanwhile. */
static void release_runs(struct arena *arena, uint32_t index, uint64_t slots, uint64_t *released) {
  struct run run = {0};
  while (*released < slots) {
    struct slab *slab = &arena->slabs[index];
    uint64_t left = slots - *released;
    slab_lock(slab);
    run = find_run(slab, arena->slab_slots, true, run.first + run.count,
                   left < arena->slab_slots ? (uint32_t)left : arena->slab_slots);
    if (run.count != 0)
      remove_run(arena, index, true, run);
    slab_unlock(slab);
    if (run.count == 0)
      return;
    bool done = release_memory(run_address(arena, index, run), run_bytes(arena, run));
    give_run(arena, index, !done, run);
    if (!done) {
      atomic_store(&arena->release_failed, true);
      return;
    }
    *released += run.count;
  }
}

uint64_t arena_release(struct arena *arena, uint64_t slots) {
  uint64_t released = 0;
  atomic_store(&arena->release_failed, false);
  for (int whole = 1; whole >= 0; whole--) {
    /* From the far end: slabs near the start fill up again first. */
    for (uint32_t i = (atomic_load(&arena->opened) + 63) / 64; i-- > 0 && released < slots;) {
      uint64_t bits = atomic_load_explicit(&arena->with_warm[i], memory_order_relaxed);
      while (bits != 0 && released < slots) {
        uint32_t bit = 63 - (uint32_t)__builtin_clzll(bits);
        uint32_t index = i * 64 + bit;
        bits &= ~(UINT64_C(1) << bit);
        if (whole)
          released += release_whole_slab(arena, index, slots - released);
        else
          release_runs(arena, index, slots, &released);
      }
    }
  }
  return released;
}
