/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Numbers that look random and are the same each time.
 */

#ifndef CASEFS_TEST_DICE_H
#define CASEFS_TEST_DICE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct dice {
  uint64_t state;
};

static inline uint64_t dice_mix(uint64_t value) {
  value += 0x9e3779b97f4a7c15u;
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9u;
  value = (value ^ value >> 27) * 0x94d049bb133111ebu;
  return value ^ value >> 31;
}

static inline struct dice dice_seed(uint64_t seed) {
  return (struct dice){dice_mix(seed)};
}

static inline uint64_t dice_roll(struct dice *dice) {
  return dice_mix(dice->state++);
}

/* 0 to below - 1 */
static inline uint64_t dice_below(struct dice *dice, uint64_t below) {
  return dice_roll(dice) % below;
}

/* Bytes that follow from the seed; those of a shorter run are the beginning of a longer one's. */
static inline void dice_fill(void *buffer, size_t count, uint64_t seed) {
  unsigned char *bytes = buffer;
  uint64_t start = dice_mix(seed);
  for (size_t i = 0; i < count; i += 8) {
    uint64_t value = dice_mix(start + i);
    memcpy(bytes + i, &value, count - i < 8 ? count - i : 8);
  }
}

#endif
