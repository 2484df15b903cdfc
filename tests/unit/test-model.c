/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Random steps to a store and to a plain array: the same bytes, extents,
 * counters and structure after each, whatever was refused in between.
 */

#include "model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#ifndef STEPS_DIVISOR
#define STEPS_DIVISOR 1
#endif

static uint64_t random_state;

static uint64_t next_random(uint64_t below) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state % below;
}

static uint64_t random_count(const struct model *model) {
  switch (next_random(4)) {
  case 0:
    return 1 + next_random(600);
  case 1:
    return model->sector_size * (1 + next_random(4));
  case 2:
    return 1 + next_random(8 * model->sector_size);
  default:
    return 1 + next_random(model->sector_size * 100);
  }
}

static void run_model(uint64_t limit, uint32_t sector_size, uint64_t size, uint64_t base,
                      unsigned steps) {
  struct model model;
  random_state = limit * 1000003 + sector_size + size + base + 88172645463325252u;
  assert_int_equal(model_create(&model, limit, sector_size, size, base), 0);
  for (unsigned i = 0; i < steps / STEPS_DIVISOR; i++) {
    uint64_t offset = next_random(model.window), count = random_count(&model);
    if (next_random(2))
      offset -= offset % sector_size;
    enum model_step step = (enum model_step)next_random(MODEL_STEPS);
    assert_int_equal(model_step(&model, step, (unsigned)next_random(2), offset, count, (uint32_t)i),
                     0);
    if (i % 16 == 0)
      assert_int_equal(model_check(&model), 0);
  }
  assert_int_equal(model_check(&model), 0);
  if (STEPS_DIVISOR == 1 && limit < model.window / sector_size && limit < MODEL_SECTORS / 2)
    assert_true(model.refusals > 0);
  model_destroy(&model);
}

static const uint64_t tebibyte = UINT64_C(1) << 40;

static void with_room(void **state) {
  (void)state;
  run_model(4096, 4096, tebibyte, 0, 3000);
}

static void at_the_limit(void **state) {
  (void)state;
  run_model(64, 4096, tebibyte, 0, 3000);
  run_model(120, 4096, tebibyte, 0, 3000);
}

static void across_the_middle(void **state) {
  (void)state;
  run_model(200, 4096, tebibyte, tebibyte / 2 - 100 * 4096, 2000);
}

static void at_the_very_end(void **state) {
  (void)state;
  uint64_t base = SECTORS_MAX_VOLUME_SIZE / 4096 * 4096 - 150 * 4096;
  run_model(200, 4096, SECTORS_MAX_VOLUME_SIZE, base, 2000);
}

static void odd_size(void **state) {
  (void)state;
  run_model(100, 4096, 123457, 0, 2000);
}

static void larger_sectors(void **state) {
  (void)state;
  run_model(100, 16384, tebibyte, 0, 1000);
  run_model(100, 65536, tebibyte, 0, 500);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(with_room),         cmocka_unit_test(at_the_limit),
      cmocka_unit_test(across_the_middle), cmocka_unit_test(at_the_very_end),
      cmocka_unit_test(odd_size),          cmocka_unit_test(larger_sectors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
