/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The real policy, used as the store uses it: sectors come in until the high
 * watermark, 90 % of the limit; then a hand goes over them in the order of
 * their numbers, and those leave that a sample of all finds cold enough, until
 * the low watermark, 85 %.  The limit is such that it holds as many sectors as the
 * others, on average: 1 / 0.875 of the capacity.
 */

#include "cache.h"
#include "policy.h"

#include <stdlib.h>

enum { SAMPLE = 4096 };

struct cache {
  struct policy *policy;
  uint32_t distinct, resident, high, low, hand;
  uint64_t occupancy, accesses;
  uint32_t *histories;
  bool *present;
  uint64_t random;
  struct candidate sample[SAMPLE];
  sector_heat heats[];
};

static void destroy(void *opaque) {
  struct cache *cache = opaque;
  policy_destroy(cache->policy);
  free(cache->histories);
  free(cache->present);
  free(cache);
}

static void *create(uint32_t capacity, uint32_t distinct) {
  struct cache *cache = calloc(1, sizeof(*cache) + distinct * sizeof(sector_heat));
  if (!cache)
    return NULL;
  cache->histories = calloc(distinct, sizeof(*cache->histories));
  cache->present = calloc(distinct, sizeof(*cache->present));
  double limit = capacity / 0.875;
  cache->distinct = distinct;
  cache->high = (uint32_t)(0.9 * limit + 0.5);
  cache->low = (uint32_t)(0.85 * limit + 0.5);
  if (!cache->histories || !cache->present || policy_create(capacity, &cache->policy)) {
    destroy(cache);
    return NULL;
  }
  return cache;
}

static uint64_t key_of(uint32_t sector) {
  uint64_t key = sector + UINT64_C(0x9e3779b97f4a7c15);
  key = (key ^ key >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  key = (key ^ key >> 27) * UINT64_C(0x94d049bb133111eb);
  return key ^ key >> 31;
}

/* Scores of sectors at random, as the store takes them from its table of heats. */
static unsigned take_sample(struct cache *cache) {
  unsigned count = 0;
  if (cache->resident <= SAMPLE) {
    for (uint32_t sector = 0; sector < cache->distinct; sector++)
      if (cache->present[sector])
        cache->sample[count++] = (struct candidate){
            .score = policy_score(cache->policy, cache->heats[sector]), .place = sector};
    return count;
  }
  for (unsigned tries = 0; tries < 64 * SAMPLE && count < SAMPLE; tries++) {
    cache->random = cache->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    uint32_t sector = (uint32_t)((cache->random >> 32) * cache->distinct >> 32);
    if (cache->present[sector])
      cache->sample[count++] = (struct candidate){
          .score = policy_score(cache->policy, cache->heats[sector]), .place = sector};
  }
  return count;
}

static void leave(struct cache *cache, uint32_t sector) {
  cache->present[sector] = false;
  cache->histories[sector] = policy_leave(cache->policy, key_of(sector), cache->heats[sector]);
  cache->resident--;
}

/* One turn of the hand at most. */
static void sweep(struct cache *cache, uint32_t cut) {
  for (uint32_t seen = 0; seen < cache->distinct && cache->resident > cache->low; seen++) {
    uint32_t sector = cache->hand;
    if (cache->present[sector] && policy_score(cache->policy, cache->heats[sector]) <= cut)
      leave(cache, sector);
    cache->hand = cache->hand + 1 < cache->distinct ? cache->hand + 1 : 0;
  }
}

static void evict(struct cache *cache) {
  while (cache->resident > cache->low) {
    unsigned count = take_sample(cache);
    sweep(cache, policy_cut(cache->policy, cache->sample, count, cache->resident - cache->low,
                            cache->resident));
  }
}

static bool play(void *opaque, uint32_t sector) {
  struct cache *cache = opaque;
  cache->accesses++;
  cache->occupancy += cache->resident;
  if (cache->present[sector]) {
    policy_touch(cache->policy, key_of(sector), &cache->heats[sector]);
    return true;
  }
  if (cache->resident >= cache->high)
    evict(cache);
  cache->heats[sector] =
      policy_enter(cache->policy, key_of(sector), cache->histories[sector], PRIORITY_DEFAULT);
  cache->present[sector] = true;
  cache->resident++;
  return false;
}

double cache_policy_occupancy(void *opaque) {
  const struct cache *cache = opaque;
  return (double)cache->occupancy / (double)cache->accesses;
}

const struct cache_kind cache_policy = {"policy", create, play, destroy};
