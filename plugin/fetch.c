/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Bringing sectors up.  The words of the sectors are locked meanwhile, so that nobody
 * fetches a sector twice, and who trims or writes it waits; all others go on.
 * The locks also keep the leaf: no grace period is held up by slow I/O.
 */

#include "tiers.h"

#include "copy.h"

#include <errno.h>
#include <string.h>

enum { PLENTY_FOR_COMPRESSED = 50 }; /* percent of the limit */

struct fetched {
  sectors_volume *volume;
  struct node *leaf; /* NULL: there is no room for one */
  uint64_t first;
  unsigned count;
  unsigned char *data;
  uint32_t stamp; /* of the unit they are in, before this fetch */
  uint64_t values[NODE_WORDS];
};

static sector_word *word_at(const struct fetched *fetched, unsigned i) {
  return &fetched->leaf->words[(fetched->first + i) % NODE_WORDS];
}

static uint64_t sector_bytes(const sectors_volume *volume) {
  return UINT64_C(1) << volume->store->sector_shift;
}

/* Whether two sectors can be fetched together. */
static bool same_source(uint64_t one, uint64_t other, const sectors_volume *volume) {
  if ((one | other) & WORD_COMPRESSED)
    return one & other & WORD_COMPRESSED && word_slot(one) == word_slot(other);
  return volume->durable || !((one ^ other) & WORD_STORED);
}

static void unlock_all(struct fetched *fetched) {
  for (unsigned i = 0; i < fetched->count; i++)
    word_unlock(word_at(fetched, i), fetched->values[i]);
  fetched->count = 0;
}

/* Lock the sectors from first on that can be fetched together.  False if the
 * first need not be fetched any more, or is to be looked at again. */
static bool lock_run(struct fetched *fetched, uint64_t last) {
  uint64_t value;
  if (!word_lock(word_at(fetched, 0), &value))
    return false;
  fetched->values[0] = value;
  fetched->count = 1;
  if (!needs_fetch(fetched->volume, value)) {
    unlock_all(fetched);
    return false;
  }
  while (fetched->first + fetched->count <= last) {
    sector_word *word = word_at(fetched, fetched->count);
    uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);
    if (!needs_fetch(fetched->volume, seen) ||
        !same_source(fetched->values[0], seen, fetched->volume) || !word_try_lock(word, &value))
      break;
    fetched->values[fetched->count++] = value;
    if (!needs_fetch(fetched->volume, value) ||
        !same_source(fetched->values[0], value, fetched->volume)) {
      word_unlock(word, value);
      fetched->count--;
      break;
    }
  }
  return true;
}

/* ----------------------------------------------------------------- reading */

/* Read from base; what is past its end is zeros. */
static int read_base(sectors_volume *volume, unsigned char *data, uint64_t count, uint64_t offset) {
  int error = backing_read(volume->base, data, count, offset);
  tiers_note_base(volume, error);
  return error;
}

struct image_over_base {
  sectors_volume *volume;
  unsigned char *data;
  uint64_t start;
  int error;
};

static int read_extent(void *opaque, uint64_t offset, uint64_t count, bool is_hole) {
  struct image_over_base *over = opaque;
  unsigned char *to = over->data + (offset - over->start);
  if (is_hole) {
    over->error = read_base(over->volume, to, count, offset);
  } else {
    over->error = backing_read(over->volume->home, to, count, offset);
    tiers_note_home(over->volume, over->error);
  }
  return over->error != 0;
}

/* Read sectors that are below into data; value is what they have in common. */
static int read_below(sectors_volume *volume, uint64_t value, unsigned char *data, uint64_t first,
                      unsigned sectors) {
  uint64_t count = (uint64_t)sectors << volume->store->sector_shift;
  uint64_t offset = first << volume->store->sector_shift;
  int error;
  if (volume->durable && volume->base) {
    struct image_over_base over = {.volume = volume, .data = data, .start = offset};
    error = backing_extents(volume->home, count, offset, read_extent, &over);
    if (error == 0 || over.error != 0)
      error = over.error;
    else
      tiers_note_home(volume, error);
  } else if (volume->durable || value & WORD_STORED) {
    error = backing_read(volume->home, data, count, offset);
    tiers_note_home(volume, error);
  } else {
    error = read_base(volume, data, count, offset);
  }
  if (error == 0)
    atomic_fetch_add_explicit(&volume->swapped_in, sectors, memory_order_relaxed);
  return error;
}

/* What was zeroed in an image, and not flushed, may come back there when its server crashes.
 * Sectors of which nothing else is known since are zeros, whatever it says. */
static void clear_zeroed(struct fetched *fetched) {
  sectors_volume *volume = fetched->volume;
  uint64_t bytes = sector_bytes(volume);
  uint64_t mask = zeroed_mask(&volume->zeroed, fetched->first, fetched->count);
  for (unsigned i = 0; mask != 0 && i < fetched->count; i++)
    if (mask >> i & 1 && !(fetched->leaf && fetched->values[i] & WORD_STORED))
      memset(fetched->data + i * bytes, 0, bytes);
}

static uint32_t unit_bits(const struct fetched *fetched) {
  uint32_t mask = 0;
  for (unsigned i = 0; i < fetched->count; i++)
    mask |= 1u << (fetched->first + i) % UNIT_SECTORS;
  return mask;
}

static int read_data(struct fetched *fetched) {
  sectors_volume *volume = fetched->volume;
  uint64_t value = fetched->values[0];
  if (!(value & WORD_COMPRESSED)) {
    int error = read_below(volume, value, fetched->data, fetched->first, fetched->count);
    if (error == 0)
      clear_zeroed(fetched);
    return error;
  }
  struct tiers *tiers = volume->store->tiers;
  atomic_fetch_add_explicit(&volume->decompressed, fetched->count, memory_order_relaxed);
  fetched->stamp = unit_stamp(tiers->units, word_slot(value));
  unit_set_stamp(tiers->units, word_slot(value),
                 policy_miss(tiers->policy, sector_key(volume, fetched->first), fetched->stamp));
  return unit_read(tiers->units, word_slot(value), unit_bits(fetched), fetched->data);
}

/* -------------------------------------------------------------- taking in */

/* Whether a sector is to be kept in memory, where that is no must.  One that is below is
 * kept if it would not be the next to go.  One that is compressed has a place in memory
 * already, and bringing it up makes work later: it has to have been as hot as half of
 * what is in memory, before this access, and this one no scan. */
static bool deserves_memory(const struct fetched *fetched, uint64_t value, uint32_t history,
                            enum fetch_mode mode) {
  sectors_store *store = fetched->volume->store;
  struct tiers *tiers = store->tiers;
  uint64_t charged = atomic_load_explicit(&store->charged, memory_order_relaxed);
  bool is_compressed = value & WORD_COMPRESSED;
  uint64_t plenty = atomic_load(&store->limit) / 100 *
                    (is_compressed ? PLENTY_FOR_COMPRESSED : atomic_load(&tiers->high));
  if (charged < plenty)
    return true;
  if (mode == FETCH_PRELOAD || (mode == FETCH_SCAN && is_compressed))
    return false;
  return is_compressed
             ? policy_history_score(tiers->policy, fetched->stamp) > atomic_load(&tiers->median)
             : policy_history_score(tiers->policy, history) > atomic_load(&tiers->threshold);
}

/* Settle a fetched sector that stays where it is. */
static void leave_below(struct fetched *fetched, unsigned i, uint32_t history) {
  struct tiers *tiers = fetched->volume->store->tiers;
  uint64_t value = fetched->values[i];
  if (value & WORD_COMPRESSED || (!fetched->volume->durable && !(value & WORD_STORED))) {
    word_unlock(word_at(fetched, i), value);
    return;
  }
  struct tally tally = {0};
  history = policy_miss(tiers->policy, sector_key(fetched->volume, fetched->first + i), history);
  sector_settle(fetched->volume, word_at(fetched, i), value, WORD_STORED, history, &tally);
  tally_commit(&tally, fetched->volume);
}

/* The flags of a sector that is now in memory too. */
static uint64_t resident_flags(const sectors_volume *volume, uint64_t value) {
  uint64_t stored = value & WORD_STORED;
  if (!(value & WORD_COMPRESSED) && volume->durable)
    stored = WORD_STORED;
  return WORD_RESIDENT | stored | (value & WORD_RESERVED);
}

/* Settle one fetched sector.  0, or -ENOSPC if it must be in memory and has no
 * room: it is left as it was. */
static int take_in(struct fetched *fetched, unsigned i, enum fetch_mode mode) {
  sectors_volume *volume = fetched->volume;
  sectors_store *store = volume->store;
  uint64_t value = fetched->values[i], sector = fetched->first + i;
  unsigned char *data = fetched->data + (uint64_t)i * sector_bytes(volume);
  uint32_t history = sector_history(volume, sector, value), slot;
  struct tally tally = {0};

  if (!(value & WORD_COMPRESSED) && is_zero(data, sector_bytes(volume))) {
    /* What is below reads as zeros: nothing to remember, but for who writes to a part. */
    uint64_t flags = 0;
    if (mode == FETCH_KEEP)
      flags = zero_state(volume);
    else if (!volume->durable)
      flags = value & WORD_STORED;
    if (flags & WORD_ZERO && volume->durable &&
        dirty_add(&volume->dirty_leaves, sector / NODE_WORDS) != 0) {
      word_unlock(word_at(fetched, i), value);
      return -ENOSPC;
    }
    sector_settle(volume, word_at(fetched, i), value, flags, 0, &tally);
    tally_commit(&tally, volume);
    return 0;
  }
  if (mode != FETCH_KEEP && !deserves_memory(fetched, value, history, mode)) {
    leave_below(fetched, i, history);
    return 0;
  }
  if (store_reserve(store, 1) != 0) {
    leave_below(fetched, i, history);
    return mode == FETCH_KEEP ? -ENOSPC : 0;
  }
  if (store_take(store, 1, &slot) < 0) {
    store_unreserve(store, 1);
    leave_below(fetched, i, history);
    return mode == FETCH_KEEP ? -ENOSPC : 0;
  }
  copy_to_sector(arena_address(&store->arena, slot), data, sector_bytes(volume));
  uint32_t heat = policy_enter(store->tiers->policy, sector_key(volume, sector), history,
                               priority_of(&volume->priorities, sector));
  atomic_store_explicit(&store->tiers->heat[slot], heat, memory_order_relaxed);
  sector_settle(volume, word_at(fetched, i), value, resident_flags(volume, value), slot, &tally);
  tally_commit(&tally, volume);
  return 0;
}

/* ------------------------------------------------------------------ fetching */

/* Find or make the leaf and lock the run.  Returns whether to go on. */
static bool begin_fetch(struct fetched *fetched, uint64_t last) {
  sectors_volume *volume = fetched->volume;
  sectors_store *store = volume->store;
  struct epoch_token token = epoch_enter(&store->epoch);
  fetched->leaf = index_find(&volume->index, fetched->first);
  if (!fetched->leaf && volume->shows_below &&
      index_make(store, &volume->index, fetched->first, &fetched->leaf) != 0)
    fetched->leaf = NULL;
  bool locked = fetched->leaf && lock_run(fetched, last);
  bool guarded =
      locked && guard_covers(&volume->guard, fetched->first, fetched->first + fetched->count - 1);
  if (guarded)
    unlock_all(fetched);
  epoch_leave(&store->epoch, token);
  if (guarded)
    guard_wait(&volume->guard, fetched->first, last);
  return (locked && !guarded) || (!fetched->leaf && volume->shows_below);
}

/* There is no room for a leaf: read what is below, and look whether there is still none. */
static int fetch_without_leaf(struct fetched *fetched, uint64_t last) {
  sectors_volume *volume = fetched->volume;
  sectors_store *store = volume->store;
  fetched->count = (unsigned)(last - fetched->first + 1);
  int error = read_below(volume, 0, fetched->data, fetched->first, fetched->count);
  if (error != 0)
    return error;
  clear_zeroed(fetched);
  struct epoch_token token = epoch_enter(&store->epoch);
  bool appeared = index_find(&volume->index, fetched->first) != NULL;
  epoch_leave(&store->epoch, token);
  return appeared ? 0 : (int)fetched->count;
}

static void prune_leaf(sectors_volume *volume, uint64_t sector) {
  struct epoch_token token = epoch_enter(&volume->store->epoch);
  index_prune(volume->store, &volume->index, sector);
  epoch_leave(&volume->store->epoch, token);
}

int fetch(sectors_volume *volume, uint64_t first, uint64_t last, unsigned char *data,
          enum fetch_mode mode) {
  uint64_t most = volume->store->tiers->buffers.bytes >> volume->store->sector_shift;
  if (last - first >= most)
    last = first + most - 1;
  struct fetched fetched = {.volume = volume, .first = first, .data = data};
  if (!begin_fetch(&fetched, last))
    return 0;
  if (!fetched.leaf)
    return mode == FETCH_KEEP ? -ENOSPC : fetch_without_leaf(&fetched, last);
  unsigned count = fetched.count;
  int error = read_data(&fetched);
  if (error != 0) {
    unlock_all(&fetched);
    prune_leaf(volume, first);
    return error;
  }
  bool all_zeros = is_zero(data, (uint64_t)count << volume->store->sector_shift);
  for (unsigned i = 0; i < count; i++) {
    int result = take_in(&fetched, i, mode);
    error = error ? error : result;
  }
  if (all_zeros)
    prune_leaf(volume, first);
  tiers_charged(volume->store);
  return error ? error : (int)count;
}

/* --------------------------------------------------------- sequential reads
 *
 * Each stream is where a read ended and how much was read up to there without a gap,
 * in one word: the end in units of 4 KiB, and the length in powers of two. */

enum {
  STREAM_SHIFT = 12,
  STREAM_LENGTH_BITS = 6,
  SEQUENTIAL_LENGTH = 3, /* log2 of that many reads in a row */
};

bool fetch_is_sequential(sectors_volume *volume, uint64_t count, uint64_t offset) {
  const uint64_t length_mask = (1 << STREAM_LENGTH_BITS) - 1;
  uint64_t start = offset >> STREAM_SHIFT, end = (offset + count) >> STREAM_SHIFT;
  for (unsigned i = 0; i < VOLUME_STREAMS; i++) {
    uint64_t stream = atomic_load_explicit(&volume->streams[i], memory_order_relaxed);
    if (stream != 0 && stream >> STREAM_LENGTH_BITS == start) {
      uint64_t length = stream & length_mask;
      length += length < length_mask;
      atomic_store_explicit(&volume->streams[i], end << STREAM_LENGTH_BITS | length,
                            memory_order_relaxed);
      return length >= SEQUENTIAL_LENGTH;
    }
  }
  unsigned next = atomic_fetch_add_explicit(&volume->next_stream, 1, memory_order_relaxed);
  atomic_store_explicit(&volume->streams[next % VOLUME_STREAMS], end << STREAM_LENGTH_BITS | 1,
                        memory_order_relaxed);
  return false;
}
