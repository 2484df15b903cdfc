/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which sectors stay in memory.
 *
 * No single rule is good at everything.  Least recently used loses to a scan and
 * gets nothing out of a loop larger than memory; frequency clings to what was hot
 * yesterday.  So the policy remembers of each sector, in 32 bits (heat.h), what any
 * rule may want: when it was last accessed, how often (fading by half in 16 x the
 * memory's worth of accesses), and whether it came back since it came in.
 * That stays with the sector when it leaves, so one that comes back is known.
 * Seven judges make a score of it:
 *
 *   RECENCY    last access: work that moves on
 *   TWICE      recency; more than one visit counts as four memories younger
 *   PAIRS      recency, but what came back is done with: read, then written back
 *   AGED_1, 4  visits, halved for each one (four) memories of age
 *   FREQUENCY  visits, halved for each sixteen
 *   KEEP       visits, doubled for what came back; of the others, the young go
 *              first, except the very youngest: keeps a part of a loop
 *
 * Which is right changes, and is found by trying (contest.c; Waldspurger and
 * others, "Cache Modeling and Optimization using Miniature Simulations", USENIX
 * ATC 2017): sectors whose key hashes into a sample are played, at each access, on
 * seven miniature memories of up to 512 sectors, one for each judge.  The one with
 * most hits lately judges the real memory.  Nothing else has to be moved then:
 * heats mean the same to all, and only the scores change.
 *
 * Time is counted in ticks: of distinct accesses, as many as a 64th of the memory
 * holds sectors.  Further accesses in a tick change nothing, so touching a hot
 * sector is two loads; and a read followed at once by a write is one visit.
 *
 * Priority is worth two octaves a step: 6 instead of 5 counts like four times
 * the visits.  It is part of the heat and adds to any judge's score; what is
 * pinned comes after everything else.  Nothing else is boosted or aged by hand:
 * visits boost, and fade whether anybody looks or not.
 *
 * The store compares scores of one moment only.  It takes a cut from some
 * thousands of random sectors (policy_cut) and sweeps in sector order: a
 * fixed share of each stretch of neighbours, who all have the same age, would cost
 * up to twenty points of hit ratio (measured; loops and shifting hot sets).
 *
 * Measured (tests/policy/run; hit ratio at 5, 10, 25 and 50 % of the data, points
 * ahead of or behind the best of LRU, ARC, S3-FIFO and W-TinyLFU on each):
 * Zipf 0.7 to 1.2 +1.6 to -0.1, scan + Zipf +1.0 to -0.2, loops +4.4 to -0.4 but
 * -2.4 for one loop at 50 %, shifting and drifting hot sets +0.3 to -0.3; recorded
 * work +3.4 to -0.9, but -2.9 for a package install at 10 % and -3.4 for a build that
 * is short of memory at 25 %.  Scans mixed into a Zipf access by access: -2.7 at 50 %.
 *
 * Threads: heats are single words and all is relaxed; a race loses a touch.  The
 * contest has a mutex that is only ever tried: who finds it taken skips the sample.
 * It takes 124 KiB, whatever the size of the memory.
 */

#include "policy.h"
#include "contest.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct policy {
  _Atomic uint32_t now;        /* ticks */
  _Atomic uint32_t counted;    /* accesses in this tick */
  _Atomic uint32_t tick;       /* accesses that make one */
  _Atomic uint32_t count_mask; /* keys without these bits are counted */
  _Atomic uint32_t sample;     /* keys whose upper half is at most that are in the contest */
  _Atomic uint32_t judge;
  pthread_mutex_t lock; /* of the contest */
  struct contest *contest;
};

int policy_create(uint64_t capacity, struct policy **result) {
  struct policy *policy = calloc(1, sizeof(*policy));
  if (!policy)
    return -ENOMEM;
  policy->contest = contest_create();
  if (!policy->contest) {
    free(policy);
    return -ENOMEM;
  }
  pthread_mutex_init(&policy->lock, NULL);
  policy->judge = JUDGE_KEEP;
  policy_resize(policy, capacity);
  *result = policy;
  return 0;
}

void policy_destroy(struct policy *policy) {
  if (!policy)
    return;
  pthread_mutex_destroy(&policy->lock);
  contest_destroy(policy->contest);
  free(policy);
}

size_t policy_bytes(const struct policy *policy) {
  return sizeof(*policy) + contest_bytes();
}

void policy_resize(struct policy *policy, uint64_t capacity) {
  uint64_t tick = capacity / TICKS_PER_CAPACITY;
  if (tick > UINT32_MAX / 2)
    tick = UINT32_MAX / 2;
  if (!tick)
    tick = 1;
  uint32_t mask = 0;
  while (mask < 15 && tick / (mask + 1) > 8)
    mask = 2 * mask + 1;
  uint64_t sample = UINT32_MAX;
  unsigned mini = (unsigned)capacity;
  if (capacity > CONTEST_CAPACITY) {
    mini = CONTEST_CAPACITY;
    sample = (UINT64_C(1) << 32) * CONTEST_CAPACITY / capacity;
  }
  pthread_mutex_lock(&policy->lock);
  contest_reset(policy->contest, mini);
  pthread_mutex_unlock(&policy->lock);
  atomic_store_explicit(&policy->tick, (uint32_t)tick, memory_order_relaxed);
  atomic_store_explicit(&policy->count_mask, mask, memory_order_relaxed);
  atomic_store_explicit(&policy->sample, (uint32_t)sample, memory_order_relaxed);
}

static uint32_t current_tick(const struct policy *policy) {
  return atomic_load_explicit(&policy->now, memory_order_relaxed);
}

static void count_access(struct policy *policy, uint64_t key) {
  uint32_t mask = atomic_load_explicit(&policy->count_mask, memory_order_relaxed);
  if (key & mask)
    return;
  uint32_t tick = atomic_load_explicit(&policy->tick, memory_order_relaxed);
  uint32_t counted =
      atomic_fetch_add_explicit(&policy->counted, mask + 1, memory_order_relaxed) + mask + 1;
  if (counted >= tick && counted - (mask + 1) < tick) {
    atomic_fetch_sub_explicit(&policy->counted, tick, memory_order_relaxed);
    atomic_fetch_add_explicit(&policy->now, 1, memory_order_relaxed);
  }
}

static void compete(struct policy *policy, uint64_t key, uint32_t now) {
  if (key >> 32 > atomic_load_explicit(&policy->sample, memory_order_relaxed))
    return;
  if (pthread_mutex_trylock(&policy->lock))
    return;
  enum judge judge = atomic_load_explicit(&policy->judge, memory_order_relaxed);
  uint32_t tag = (uint32_t)(key ^ key >> 32) * 0x9e3779b1u;
  enum judge next = contest_access(policy->contest, tag ^ tag >> 15, now, judge);
  if (next != judge)
    atomic_store_explicit(&policy->judge, next, memory_order_relaxed);
  pthread_mutex_unlock(&policy->lock);
}

static uint32_t mix(uint64_t key, uint32_t now) {
  return (uint32_t)(key >> 17) ^ now * 0x9e3779b1u;
}

static uint32_t visit(struct policy *policy, uint64_t key, uint32_t history) {
  uint32_t now = current_tick(policy);
  count_access(policy, key);
  compete(policy, key, now);
  if (!history)
    return heat_new(now);
  return heat_visited(history, now, mix(key, now));
}

uint32_t policy_enter(struct policy *policy, uint64_t key, uint32_t history, unsigned priority) {
  return policy_with_priority(visit(policy, key, history), priority);
}

uint32_t policy_miss(struct policy *policy, uint64_t key, uint32_t history) {
  return visit(policy, key, history);
}

uint32_t policy_leave(struct policy *policy, uint64_t key, uint32_t heat) {
  (void)policy;
  (void)key;
  return (heat & ~HEAT_RETURNED) | HEAT_KNOWN;
}

static __attribute__((noinline)) void touch_again(struct policy *policy, uint64_t key,
                                                  sector_heat *heat, uint32_t seen, uint32_t now) {
  uint32_t next = heat_visited(seen, now, mix(key, now)) | HEAT_RETURNED;
  atomic_compare_exchange_strong_explicit(heat, &seen, next, memory_order_relaxed,
                                          memory_order_relaxed);
  count_access(policy, key);
  compete(policy, key, now);
}

void policy_touch(struct policy *policy, uint64_t key, sector_heat *heat) {
  uint32_t seen = atomic_load_explicit(heat, memory_order_relaxed);
  uint32_t now = current_tick(policy);
  if (heat_age(seen, now))
    touch_again(policy, key, heat, seen, now);
}

unsigned policy_priority(uint32_t heat) {
  return heat_priority(heat);
}

uint32_t policy_with_priority(uint32_t heat, unsigned priority) {
  return (heat & ((UINT32_C(1) << HEAT_PRIORITY_SHIFT) - 1)) | HEAT_KNOWN |
         (uint32_t)priority << HEAT_PRIORITY_SHIFT;
}

/* The worth of a heat in 16ths of an octave; may be negative. */
static int32_t worth(enum judge judge, uint32_t heat, uint32_t now) {
  int32_t age = (int32_t)heat_age(heat, now);
  int32_t visits = (int32_t)heat_visits(heat);
  int32_t recency = -(int32_t)steps_of((uint32_t)age + 1); /* 0 to -256 */
  switch (judge) {
  case JUDGE_RECENCY:
    return recency;
  case JUDGE_TWICE:
    return 4 * (visits < OCTAVE ? visits : OCTAVE) - age * OCTAVE / TICKS_PER_CAPACITY;
  case JUDGE_PAIRS:
    return recency - (heat & HEAT_RETURNED ? 6 * OCTAVE : 0);
  case JUDGE_AGED_1:
    return visits - age * OCTAVE / TICKS_PER_CAPACITY;
  case JUDGE_AGED_4:
    return visits - age * OCTAVE / (4 * TICKS_PER_CAPACITY);
  case JUDGE_FREQUENCY:
    return visits - age * OCTAVE / VISITS_HALVE;
  default:
    if (heat & HEAT_RETURNED)
      return visits + OCTAVE;
    return age < 2 ? visits : visits - (recency + 256) / OCTAVE;
  }
}

enum { STEPS_PER_PRIORITY = 2 * OCTAVE };

uint32_t heat_score(enum judge judge, uint32_t heat, uint32_t now) {
  int32_t priority = (int32_t)heat_priority(heat);
  int32_t steps = worth(judge, heat, now) + (priority - PRIORITY_DEFAULT) * STEPS_PER_PRIORITY;
  steps += 1 << 16;
  if (steps < 0)
    steps = 0;
  uint32_t recency = 255 - steps_of(heat_age(heat, now) + 1);
  uint32_t pinned = priority >= PRIORITY_PINNED ? UINT32_C(1) << 31 : 0;
  return pinned | (uint32_t)steps << 8 | (recency & 255);
}

uint32_t policy_score(const struct policy *policy, uint32_t heat) {
  return heat_score(atomic_load_explicit(&policy->judge, memory_order_relaxed), heat,
                    current_tick(policy));
}

uint32_t policy_history_score(const struct policy *policy, uint32_t history) {
  return policy_score(policy, history);
}

/* One visit just now is 50; each factor of two in visits per time is worth 5. */
unsigned policy_percent(const struct policy *policy, uint32_t heat) {
  int32_t age = (int32_t)heat_age(heat, current_tick(policy));
  int32_t steps = (int32_t)heat_visits(heat) - (int32_t)steps_of((uint32_t)age + 1);
  int32_t percent = 50 + 5 * steps / OCTAVE;
  return percent < 0 ? 0 : percent > 100 ? 100 : (unsigned)percent;
}

static void swap(struct candidate *a, struct candidate *b) {
  struct candidate kept = *a;
  *a = *b;
  *b = kept;
}

static uint32_t median(uint32_t a, uint32_t b, uint32_t c) {
  if (a > b) {
    uint32_t kept = a;
    a = b;
    b = kept;
  }
  return c < a ? a : c > b ? b : c;
}

void policy_choose(struct policy *policy, struct candidate *candidates, unsigned count,
                   unsigned wanted) {
  (void)policy;
  while (wanted > 0 && wanted < count) {
    uint32_t pivot =
        median(candidates[0].score, candidates[count / 2].score, candidates[count - 1].score);
    unsigned low = 0, high = count;
    /* [0, low) less than the pivot, [low, i) equal, [high, count) more. */
    for (unsigned i = 0; i < high;) {
      if (candidates[i].score < pivot)
        swap(&candidates[i++], &candidates[low++]);
      else if (candidates[i].score > pivot)
        swap(&candidates[i], &candidates[--high]);
      else
        i++;
    }
    if (wanted < low)
      count = low;
    else if (wanted <= high)
      return;
    else
      candidates += high, count -= high, wanted -= high;
  }
}

uint32_t policy_cut(struct policy *policy, struct candidate *sample, unsigned count,
                    uint64_t wanted, uint64_t resident) {
  unsigned share = count;
  /* Rather a tenth too few: the rest goes with the next sample, while a cut
   * that is too high evicts what should stay. */
  if (wanted < resident)
    share = (unsigned)((double)count * 0.9 * (double)wanted / (double)resident + 0.99);
  if (!count || !share)
    return 0;
  policy_choose(policy, sample, count, share);
  uint32_t cut = 0;
  for (unsigned i = 0; i < share; i++)
    if (sample[i].score > cut)
      cut = sample[i].score;
  return cut;
}
