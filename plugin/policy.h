/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which sectors stay in memory.
 *
 * Each resident sector has a heat, 32 bits in a table beside its slot, and
 * each sector that was resident leaves a history, 32 bits in its word.  Heat is
 * made from frequency, recency and priority; the coldest go first.  The store
 * looks at a window of thousands of sectors at once and takes the coldest, so
 * there are no lists to maintain: touching a sector is a load, and seldom a
 * store.
 */

#ifndef SECTORS_POLICY_H
#define SECTORS_POLICY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  PRIORITY_LOWEST = 0,
  PRIORITY_DEFAULT = 5,
  PRIORITY_PINNED = 9, /* and 10: stay until an explicit gc */
  PRIORITY_HIGHEST = 10,
};

typedef _Atomic uint32_t sector_heat;

struct policy;

/* Make a policy for about so many resident sectors; seldom changed.  0 or -ENOMEM. */
int policy_create(uint64_t capacity, struct policy **policy);
void policy_destroy(struct policy *policy);
/* Bytes that a policy takes, besides the heats and histories. */
size_t policy_bytes(const struct policy *policy);
void policy_resize(struct policy *policy, uint64_t capacity);

/* All of the following may be called from any thread at any time.
 * key says which sector of which volume it is: any mix of both numbers. */

/* A sector becomes resident; history is what policy_leave returned when it last
 * was, or 0.  Returns its heat. */
uint32_t policy_enter(struct policy *policy, uint64_t key, uint32_t history, unsigned priority);

/* A resident sector is read or written. */
void policy_touch(struct policy *policy, uint64_t key, sector_heat *heat);

/* A sector leaves memory.  Returns its history, not 0. */
uint32_t policy_leave(struct policy *policy, uint64_t key, uint32_t heat);

/* A sector that left memory was asked for, and is not taken in.  Returns its
 * new history. */
uint32_t policy_miss(struct policy *policy, uint64_t key, uint32_t history);

/* How much a sector deserves its memory; the lowest go first.  Takes the two
 * from heat, or from history for one that left (compressed sectors have one). */
uint32_t policy_score(const struct policy *policy, uint32_t heat);
uint32_t policy_history_score(const struct policy *policy, uint32_t history);

unsigned policy_priority(uint32_t heat);
uint32_t policy_with_priority(uint32_t heat, unsigned priority);

static inline bool policy_is_pinned(uint32_t heat) {
  return policy_priority(heat) >= PRIORITY_PINNED;
}

/* For people: 0 cold to 100 hot. */
unsigned policy_percent(const struct policy *policy, uint32_t heat);

/* The candidates for eviction that a window holds. */
struct candidate {
  uint32_t score;
  uint32_t place; /* the caller's */
};

/* Move the wanted candidates with the lowest scores to the front, in any
 * order.  Equal scores go as the policy likes. */
void policy_choose(struct policy *policy, struct candidate *candidates, unsigned count,
                   unsigned wanted);

/* The score up to which sectors have to leave, so that wanted of the resident
 * ones do.  The sample holds candidates from places at random, a thousand or
 * so; it is reordered. */
uint32_t policy_cut(struct policy *policy, struct candidate *sample, unsigned count,
                    uint64_t wanted, uint64_t resident);

#endif
