/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the policy promises, whatever it has learned.
 */

#include "policy.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { CAPACITY = 2000, SECTORS = 20 * CAPACITY };

/* A memory as the store has it, which takes in whatever is asked for. */
struct memory {
  struct policy *policy;
  unsigned resident;
  bool present[SECTORS];
  uint32_t histories[SECTORS];
  unsigned priorities[SECTORS];
  struct candidate candidates[SECTORS];
  sector_heat heats[SECTORS];
};

static uint64_t key_of(uint32_t sector) {
  uint64_t key = (sector + 1) * UINT64_C(0x9e3779b97f4a7c15);
  key = (key ^ key >> 32) * UINT64_C(0xd6e8feb86659fd93);
  return key ^ key >> 32;
}

static int make_memory(void **state) {
  struct memory *memory = calloc(1, sizeof(*memory));
  if (!memory || policy_create(CAPACITY, &memory->policy))
    return -1;
  for (unsigned i = 0; i < SECTORS; i++)
    memory->priorities[i] = PRIORITY_DEFAULT;
  *state = memory;
  return 0;
}

static int free_memory(void **state) {
  struct memory *memory = *state;
  policy_destroy(memory->policy);
  free(memory);
  return 0;
}

static void evict(struct memory *memory, unsigned wanted) {
  unsigned count = 0;
  for (uint32_t i = 0; i < SECTORS; i++)
    if (memory->present[i])
      memory->candidates[count++] =
          (struct candidate){policy_score(memory->policy, memory->heats[i]), i};
  policy_choose(memory->policy, memory->candidates, count, wanted);
  for (unsigned i = 0; i < wanted; i++) {
    uint32_t sector = memory->candidates[i].place;
    memory->present[sector] = false;
    memory->histories[sector] = policy_leave(memory->policy, key_of(sector), memory->heats[sector]);
    assert_int_not_equal(memory->histories[sector], 0);
  }
  memory->resident -= wanted;
}

static void ask(struct memory *memory, uint32_t sector) {
  if (memory->present[sector]) {
    policy_touch(memory->policy, key_of(sector), &memory->heats[sector]);
    return;
  }
  if (memory->resident == CAPACITY)
    evict(memory, CAPACITY / 20);
  memory->heats[sector] = policy_enter(memory->policy, key_of(sector), memory->histories[sector],
                                       memory->priorities[sector]);
  memory->present[sector] = true;
  memory->resident++;
}

static void ask_range(struct memory *memory, uint32_t first, uint32_t count) {
  for (uint32_t i = 0; i < count; i++)
    ask(memory, first + i);
}

static unsigned count_present(const struct memory *memory, uint32_t first, uint32_t count) {
  unsigned present = 0;
  for (uint32_t i = 0; i < count; i++)
    present += memory->present[first + i];
  return present;
}

/* A hot set of half the memory, while cold sectors come by. */
static void heat_up(struct memory *memory, unsigned rounds) {
  for (unsigned i = 0; i < rounds; i++) {
    ask_range(memory, 0, CAPACITY / 2);
    ask_range(memory, CAPACITY + i % 40 * 100, 100);
  }
}

static void test_hot_stays(void **state) {
  struct memory *memory = *state;
  heat_up(memory, 60);
  assert_in_range(count_present(memory, 0, CAPACITY / 2), CAPACITY / 2 * 98 / 100, CAPACITY / 2);
}

static void test_scan_does_not_flush(void **state) {
  struct memory *memory = *state;
  heat_up(memory, 20);
  ask_range(memory, 5 * CAPACITY, 15 * CAPACITY); /* more than seven times the memory */
  assert_in_range(count_present(memory, 0, CAPACITY / 2), CAPACITY / 2 * 9 / 10, CAPACITY / 2);
}

static void test_newest_is_not_first(void **state) {
  struct memory *memory = *state;
  for (uint32_t i = 0; i < SECTORS; i++) {
    ask(memory, i);
    if (i > 0)
      assert_true(memory->present[i - 1]);
  }
}

static void test_priority_stays(void **state) {
  struct memory *memory = *state;
  for (uint32_t i = 0; i < CAPACITY / 4; i++) {
    memory->priorities[i] = 8;
    memory->priorities[CAPACITY + i] = 0;
  }
  ask_range(memory, 0, CAPACITY / 4);
  ask_range(memory, CAPACITY, CAPACITY / 4);
  ask_range(memory, 2 * CAPACITY, CAPACITY / 4);
  assert_int_equal(count_present(memory, CAPACITY, CAPACITY / 4), CAPACITY / 4);
  ask_range(memory, 4 * CAPACITY, CAPACITY);
  assert_int_equal(count_present(memory, 0, CAPACITY / 4), CAPACITY / 4);
  assert_int_equal(count_present(memory, CAPACITY, CAPACITY / 4), 0);
}

static void test_pinned_goes_last(void **state) {
  struct memory *memory = *state;
  for (uint32_t i = 0; i < CAPACITY / 2; i++)
    memory->priorities[i] = i & 1 ? PRIORITY_PINNED : PRIORITY_HIGHEST;
  ask_range(memory, 0, CAPACITY / 2);
  for (unsigned i = 0; i < 40; i++)
    for (uint32_t j = 0; j < 10; j++)
      ask_range(memory, CAPACITY + j * 200, 200);
  assert_int_equal(count_present(memory, 0, CAPACITY / 2), CAPACITY / 2);
  evict(memory, memory->resident - CAPACITY / 2);
  assert_int_equal(count_present(memory, 0, CAPACITY / 2), CAPACITY / 2);
  assert_true(policy_is_pinned(memory->heats[0]));
  assert_false(policy_is_pinned(policy_with_priority(memory->heats[0], 8)));
}

static void test_history_brings_frequency_back(void **state) {
  struct memory *memory = *state;
  heat_up(memory, 40);
  uint32_t known = policy_leave(memory->policy, key_of(7), memory->heats[7]);
  known = policy_miss(memory->policy, key_of(7), known);
  uint32_t back = policy_enter(memory->policy, key_of(7), known, PRIORITY_DEFAULT);
  uint32_t fresh = policy_enter(memory->policy, key_of(SECTORS), 0, PRIORITY_DEFAULT);
  assert_true(policy_score(memory->policy, back) > policy_score(memory->policy, fresh));
  assert_true(policy_percent(memory->policy, back) > policy_percent(memory->policy, fresh));
  assert_in_range(policy_percent(memory->policy, back), 1, 100);
}

static void test_priority_is_kept(void **state) {
  struct memory *memory = *state;
  for (unsigned priority = PRIORITY_LOWEST; priority <= PRIORITY_HIGHEST; priority++) {
    uint32_t heat = policy_enter(memory->policy, key_of(1), 0, priority);
    assert_int_equal(policy_priority(heat), priority);
    sector_heat table = heat;
    for (unsigned i = 0; i < 100; i++)
      policy_enter(memory->policy, key_of(i), 0, PRIORITY_DEFAULT);
    policy_touch(memory->policy, key_of(1), &table);
    assert_int_equal(policy_priority(table), priority);
    assert_int_equal(policy_priority(policy_leave(memory->policy, key_of(1), table)), priority);
  }
}

static void test_choose_takes_the_lowest(void **state) {
  struct memory *memory = *state;
  enum { COUNT = 500 };
  uint32_t random = 1;
  for (unsigned wanted = 0; wanted <= COUNT; wanted += 7) {
    struct candidate candidates[COUNT];
    uint32_t seen[COUNT] = {0}, below = 0, above = UINT32_MAX;
    for (unsigned i = 0; i < COUNT; i++) {
      random = random * 1664525 + 1013904223;
      candidates[i] = (struct candidate){random >> 16 & (wanted & 1 ? 7 : 0xfff), i};
    }
    policy_choose(memory->policy, candidates, COUNT, wanted);
    for (unsigned i = 0; i < COUNT; i++) {
      seen[candidates[i].place]++;
      if (i < wanted && candidates[i].score > below)
        below = candidates[i].score;
      if (i >= wanted && candidates[i].score < above)
        above = candidates[i].score;
    }
    assert_true(below <= above);
    for (unsigned i = 0; i < COUNT; i++)
      assert_int_equal(seen[i], 1);
  }
}

static void test_tiny_and_huge(void **state) {
  (void)state;
  static const uint64_t capacities[] = {0, 1, 2, 63, 64, 1000, UINT32_MAX, UINT64_MAX};
  for (unsigned i = 0; i < sizeof(capacities) / sizeof(capacities[0]); i++) {
    struct policy *policy;
    assert_int_equal(policy_create(capacities[i], &policy), 0);
    for (uint32_t j = 0; j < 20000; j++)
      assert_int_not_equal(policy_enter(policy, key_of(j % 3000), 0, PRIORITY_DEFAULT), 0);
    policy_resize(policy, capacities[sizeof(capacities) / sizeof(capacities[0]) - 1 - i]);
    for (uint32_t j = 0; j < 20000; j++)
      policy_miss(policy, key_of(j), 0);
    policy_destroy(policy);
  }
  policy_destroy(NULL);
}

static void *work(void *opaque) {
  struct memory *memory = opaque;
  for (uint32_t i = 0; i < 100000; i++) {
    uint32_t sector = i * 7 % CAPACITY;
    policy_touch(memory->policy, key_of(sector), &memory->heats[sector]);
    if (i % 5 == 0)
      atomic_store(&memory->heats[sector], policy_enter(memory->policy, key_of(sector), 0, 3));
    if (i % 9 == 0)
      policy_miss(memory->policy, key_of(i), policy_leave(memory->policy, key_of(i), 0));
    if (i % 5000 == 0)
      policy_resize(memory->policy, CAPACITY + i);
    policy_score(memory->policy, memory->heats[sector]);
  }
  return NULL;
}

static void test_threads(void **state) {
  struct memory *memory = *state;
  pthread_t threads[4];
  for (unsigned i = 0; i < CAPACITY; i++)
    memory->heats[i] = policy_enter(memory->policy, key_of(i), 0, 3);
  for (unsigned i = 0; i < 4; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, work, memory), 0);
  for (unsigned i = 0; i < 4; i++)
    pthread_join(threads[i], NULL);
  for (unsigned i = 0; i < CAPACITY; i++)
    assert_int_equal(policy_priority(memory->heats[i]), 3);
}

#define WITH_MEMORY(test) cmocka_unit_test_setup_teardown(test, make_memory, free_memory)

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_MEMORY(test_hot_stays),           WITH_MEMORY(test_scan_does_not_flush),
      WITH_MEMORY(test_newest_is_not_first), WITH_MEMORY(test_priority_stays),
      WITH_MEMORY(test_pinned_goes_last),    WITH_MEMORY(test_history_brings_frequency_back),
      WITH_MEMORY(test_priority_is_kept),    WITH_MEMORY(test_choose_takes_the_lowest),
      cmocka_unit_test(test_tiny_and_huge),  WITH_MEMORY(test_threads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
