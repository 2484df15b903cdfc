/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Heat: what the policy remembers of one sector, in 32 bits.
 *
 *    31      28 27    26       25 24        16 15           0
 *   +----------+-----+-----------+------------+--------------+
 *   | priority |  1  | RETURNED  |   visits   |    stamp     |
 *   +----------+-----+-----------+------------+--------------+
 *
 *   stamp     the tick of the last access
 *   visits    how often it was accessed, as a small float; fades with time
 *   RETURNED  it was accessed again since it came into memory
 *
 * A history is the same without RETURNED; the 1 keeps it from being 0.
 */

#ifndef SECTORS_HEAT_H
#define SECTORS_HEAT_H

#include <stdbool.h>
#include <stdint.h>

#define HEAT_STAMP UINT32_C(0xffff)
#define HEAT_RETURNED (UINT32_C(1) << 25)
#define HEAT_KNOWN (UINT32_C(1) << 26)

enum {
  HEAT_VISITS_SHIFT = 16,
  HEAT_VISITS_MASK = 0x1ff,
  HEAT_PRIORITY_SHIFT = 28,
  TICKS_PER_CAPACITY = 64, /* a tick: so many accesses as a 64th of memory holds sectors */
  OCTAVE = 16,             /* steps of visits and of logarithms in a factor of two */
  OCTAVE_SHIFT = 4,
};

/* The logarithm to base two in steps of a 16th, linear between powers of two;
 * of 1 up. */
static inline uint32_t steps_of(uint32_t value) {
  uint32_t octave = 31 - (uint32_t)__builtin_clz(value);
  return octave * OCTAVE + (uint32_t)(((uint64_t)value << OCTAVE_SHIFT >> octave) & (OCTAVE - 1));
}

/* 16 times what steps_of gave these steps for. */
static inline uint64_t value_of(uint32_t steps) {
  return (uint64_t)(OCTAVE + (steps & (OCTAVE - 1))) << (steps >> OCTAVE_SHIFT);
}

static inline uint32_t heat_age(uint32_t heat, uint32_t now) {
  return (now - heat) & HEAT_STAMP;
}

static inline uint32_t heat_visits(uint32_t heat) {
  return heat >> HEAT_VISITS_SHIFT & HEAT_VISITS_MASK;
}

static inline uint32_t heat_priority(uint32_t heat) {
  return heat >> HEAT_PRIORITY_SHIFT;
}

/* Visits halve in so many ticks. */
enum { VISITS_HALVE = 16 * TICKS_PER_CAPACITY };

/* One visit more.  A step of a large number stands for many visits: it is taken
 * with that probability. */
static inline uint32_t heat_visited(uint32_t heat, uint32_t now, uint32_t random) {
  uint32_t steps = heat_visits(heat);
  uint32_t faded = heat_age(heat, now) * OCTAVE / VISITS_HALVE;
  uint64_t visits = OCTAVE;
  if (steps >= faded)
    visits += value_of(steps - faded);
  else
    visits += OCTAVE >> ((faded - steps) >> OCTAVE_SHIFT < 5 ? (faded - steps) >> OCTAVE_SHIFT : 5);
  uint32_t octave = 63 - (uint32_t)__builtin_clzll(visits) - OCTAVE_SHIFT;
  visits += random & ((UINT32_C(1) << octave) - 1);
  if (visits >> (octave + OCTAVE_SHIFT + 1))
    octave++;
  steps = octave * OCTAVE + (uint32_t)((visits >> octave) & (OCTAVE - 1));
  if (steps > HEAT_VISITS_MASK)
    steps = HEAT_VISITS_MASK;
  return (heat & ~(HEAT_STAMP | HEAT_VISITS_MASK << HEAT_VISITS_SHIFT)) | HEAT_KNOWN |
         steps << HEAT_VISITS_SHIFT | (now & HEAT_STAMP);
}

/* The heat of a sector that nobody visited before. */
static inline uint32_t heat_new(uint32_t now) {
  return HEAT_KNOWN | (now & HEAT_STAMP);
}

/* The ways to judge a heat; policy.c says what each is for. */
enum judge {
  JUDGE_RECENCY,
  JUDGE_TWICE,
  JUDGE_PAIRS,
  JUDGE_AGED_1,
  JUDGE_AGED_4,
  JUDGE_FREQUENCY,
  JUDGE_KEEP,
  JUDGES,
};

/* The lowest go first. */
uint32_t heat_score(enum judge judge, uint32_t heat, uint32_t now);

#endif
