/* SPDX-License-Identifier: BSD-3-Clause */

#include "tiers.h"

static int64_t is_live(uint64_t value) {
  return (value & WORD_RESIDENT) != 0;
}

static int64_t is_reserved(uint64_t value) {
  return (value & (WORD_RESERVED | WORD_RESIDENT)) == WORD_RESERVED;
}

static int64_t is_compressed(uint64_t value) {
  return (value & WORD_COMPRESSED) != 0;
}

void tally_change(struct tally *tally, const sectors_volume *volume, uint64_t before,
                  uint64_t after) {
  tally->live += is_live(after) - is_live(before);
  tally->reserved += is_reserved(after) - is_reserved(before);
  if (!volume->store->tiers)
    return;
  tally->compressed += is_compressed(after) - is_compressed(before);
  tally->below += is_below(after) - is_below(before);
  if (volume->durable)
    tally->dirty += is_dirty(after) - is_dirty(before);
}

static void add(_Atomic uint64_t *counter, int64_t change) {
  if (change != 0)
    atomic_fetch_add_explicit(counter, (uint64_t)change, memory_order_relaxed);
}

void tally_commit(const struct tally *tally, sectors_volume *volume) {
  add(&volume->live, tally->live);
  if (volume->store->tiers)
    add(&volume->store->tiers->resident, tally->live);
  add(&volume->reserved, tally->reserved);
  add(&volume->compressed, tally->compressed);
  add(&volume->below, tally->below);
  add(&volume->dirty, tally->dirty);
}

void sector_settle(sectors_volume *volume, sector_word *word, uint64_t value, uint64_t flags,
                   uint32_t slot, struct tally *tally) {
  sectors_store *store = volume->store;
  tally_change(tally, volume, value, flags);
  if (value & WORD_COMPRESSED && !(flags & WORD_COMPRESSED))
    unit_drop(store->tiers->units, word_slot(value), 1u << word_place(word) % UNIT_SECTORS);
  if (value & WORD_RESIDENT && !(flags & WORD_RESIDENT) && store->tiers)
    atomic_store_explicit(&store->tiers->heat[word_slot(value)], 0, memory_order_relaxed);
  word_unlock(word, word_next(value, flags | (value & WORD_BUSY), slot));
  if (value & WORD_RESIDENT && !(flags & WORD_RESIDENT)) {
    store_give_slots(store, word_slot(value), 1);
    if (!(flags & WORD_RESERVED))
      store_unreserve(store, 1);
  }
}

uint32_t sector_history(sectors_volume *volume, uint64_t sector, uint64_t value) {
  struct tiers *tiers = volume->store->tiers;
  if (value & WORD_RESIDENT)
    return policy_leave(tiers->policy, sector_key(volume, sector),
                        atomic_load_explicit(&tiers->heat[word_slot(value)], memory_order_relaxed));
  if (value & WORD_COMPRESSED)
    return unit_stamp(tiers->units, word_slot(value));
  return is_below(value) ? word_slot(value) : 0;
}

void sectors_touch(sectors_volume *volume, uint64_t sector, const uint64_t *seen, unsigned count) {
  struct tiers *tiers = volume->store->tiers;
  for (unsigned i = 0; i < count; i++)
    policy_touch(tiers->policy, sector_key(volume, sector + i), &tiers->heat[word_slot(seen[i])]);
}
