/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Requests that change no data: flush, preload, drop, priorities.
 */

#include "tiers.h"

#include <errno.h>

int sectors_flush(sectors_volume *volume) {
  return flush_volume(volume, NULL, NULL);
}

int sectors_flush_range(sectors_volume *volume, uint64_t count, uint64_t offset) {
  unsigned shift = volume->store->sector_shift;
  if (!volume_has(volume, count, offset))
    return -EINVAL;
  if (count == 0)
    return 0;
  return write_back_range(volume, offset >> shift, (offset + count - 1) >> shift);
}

/* Whether the sector's data could come into memory. */
static bool is_absent(sectors_volume *volume, uint64_t sector) {
  struct epoch_token token = epoch_enter(&volume->store->epoch);
  struct node *leaf = index_find(&volume->index, sector);
  uint64_t value = leaf ? atomic_load(&leaf->words[sector % NODE_WORDS]) : 0;
  epoch_leave(&volume->store->epoch, token);
  return needs_fetch(volume, value);
}

/* Whether preloading may go on: it stops where others would have to leave. */
static bool has_room(sectors_store *store) {
  return atomic_load(&store->charged) <
         atomic_load(&store->limit) / 100 * atomic_load(&store->tiers->high);
}

int sectors_cache(sectors_volume *volume, uint64_t count, uint64_t offset) {
  sectors_store *store = volume->store;
  if (!volume_has(volume, count, offset))
    return -EINVAL;
  if (count == 0 || !store->tiers)
    return 0;
  uint64_t sector = offset >> store->sector_shift;
  uint64_t last = (offset + count - 1) >> store->sector_shift;
  unsigned char *buffer = buffers_take(&store->tiers->buffers);
  int got = buffer ? 0 : -ENOMEM;
  while (got >= 0 && sector <= last && has_room(store)) {
    uint64_t end = sector | (NODE_WORDS - 1);
    got = is_absent(volume, sector)
              ? fetch(volume, sector, end < last ? end : last, buffer, FETCH_PRELOAD)
              : 0;
    if (got > 0)
      atomic_fetch_add_explicit(&volume->preloaded, (uint64_t)got, memory_order_relaxed);
    sector += got > 0 ? (uint64_t)got : 1;
  }
  if (buffer)
    buffers_give(&store->tiers->buffers, buffer);
  return got < 0 ? got : 0;
}

int sectors_drop(sectors_volume *volume, uint64_t count, uint64_t offset) {
  unsigned shift = volume->store->sector_shift;
  if (!volume_has(volume, count, offset))
    return -EINVAL;
  if (count == 0)
    return 0;
  return evict_range(volume, offset >> shift, (offset + count - 1) >> shift);
}

/* Change the priority of sectors that are in memory. */
static void change_heat(sectors_volume *volume, uint64_t sector, uint64_t last, unsigned priority) {
  sectors_store *store = volume->store;
  while (sector <= last) {
    struct epoch_token token = epoch_enter(&store->epoch);
    struct node *leaf = index_next(&volume->index, &sector, last);
    uint64_t end = sector | (NODE_WORDS - 1), value;
    for (; leaf && sector <= end && sector <= last; sector++) {
      sector_word *word = &leaf->words[sector % NODE_WORDS];
      if (!word_lock_if(word, WORD_RESIDENT, &value))
        continue;
      sector_heat *heat = &store->tiers->heat[word_slot(value)];
      atomic_store(heat, policy_with_priority(atomic_load(heat), priority));
      word_unlock(word, value);
    }
    epoch_leave(&store->epoch, token);
    if (!leaf)
      break;
  }
}

int sectors_set_priority(sectors_volume *volume, uint64_t count, uint64_t offset,
                         unsigned priority) {
  unsigned shift = volume->store->sector_shift;
  uint64_t size = sectors_volume_size(volume);
  if (!volume_has(volume, count, offset) || priority > PRIORITY_HIGHEST)
    return -EINVAL;
  if (!volume->store->tiers)
    return -EOPNOTSUPP;
  bool all = offset == 0 && (count == 0 || count == size);
  if (count == 0 && !all)
    return 0;
  uint64_t first = offset >> shift, last = (offset + (all ? size : count) - 1) >> shift;
  int error = 0;
  if (all)
    priorities_set_volume(&volume->priorities, priority);
  else
    error = priorities_set(&volume->priorities, first, last, priority);
  if (error == 0)
    change_heat(volume, first, last, priority);
  return error;
}
