/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Trim and zero where something is below.
 *
 * The range is guarded, so that nothing new is read from or written to the store
 * below, and what is under way there is waited for.  Then the store is told to
 * zero the range.  Only when it has done so, memory forgets the sectors; if it fails
 * they are still there, and count as not stored.
 */

#include "tiers.h"

#include "backoff.h"

#include <errno.h>

/* Sectors of a leaf: from first to the leaf's end, or to last. */
static uint64_t part_last(uint64_t first, uint64_t last) {
  uint64_t end = first | (NODE_WORDS - 1);
  return end < last ? end : last;
}

/* Wait until no sector of the range is on its way below, and count none that is in
 * memory as stored there. */
static void settle_range(sectors_volume *volume, uint64_t sector, uint64_t last) {
  sectors_store *store = volume->store;
  struct tally tally = {0};
  unsigned rounds = 0;
  while (sector <= last) {
    bool busy = false;
    struct epoch_token token = epoch_enter(&store->epoch);
    struct node *leaf = index_next(&volume->index, &sector, last);
    uint64_t end = part_last(sector, last);
    for (; leaf && sector <= end && !busy; sector += !busy) {
      sector_word *word = &leaf->words[sector % NODE_WORDS];
      uint64_t value = atomic_load(word);
      if (!(value & (WORD_LOCK | WORD_BUSY | WORD_STORED)) || !word_lock(word, &value))
        continue;
      busy = value & WORD_BUSY;
      if (!busy && value & WORD_STORED && value & (WORD_RESIDENT | WORD_COMPRESSED)) {
        if (volume->durable && dirty_add(&volume->dirty_leaves, sector / NODE_WORDS) != 0)
          atomic_store(&volume->dirty_unknown, true);
        sector_settle(volume, word, value, value & WORD_STATE & ~WORD_STORED, word_slot(value),
                      &tally);
      } else {
        word_unlock(word, value);
      }
    }
    epoch_leave(&store->epoch, token);
    if (!leaf)
      break;
    if (busy)
      backoff(&rounds);
  }
  tally_commit(&tally, volume);
}

void forget_sectors(sectors_volume *volume, uint64_t sector, uint64_t last) {
  sectors_store *store = volume->store;
  const uint64_t state = volume->base && !volume->durable ? WORD_ZERO : 0;
  struct tally tally = {0};
  while (sector <= last) {
    struct epoch_token token = epoch_enter(&store->epoch);
    struct node *leaf = index_next(&volume->index, &sector, last);
    uint64_t start = sector, end = part_last(sector, last);
    for (; leaf && sector <= end; sector++) {
      sector_word *word = &leaf->words[sector % NODE_WORDS];
      uint64_t value = atomic_load(word);
      if (value & WORD_OCCUPIED && word_lock(word, &value))
        sector_settle(volume, word, value, state, 0, &tally);
    }
    if (leaf)
      index_prune(store, &volume->index, start);
    epoch_leave(&store->epoch, token);
    if (!leaf)
      break;
  }
  if (tally.live < 0)
    atomic_fetch_add_explicit(&volume->trimmed, (uint64_t)-tally.live, memory_order_relaxed);
  tally_commit(&tally, volume);
}

/* The bytes of a range of sectors, which ends where the volume does. */
static uint64_t range_bytes(const sectors_volume *volume, uint64_t first, uint64_t last) {
  unsigned shift = volume->store->sector_shift;
  uint64_t start = first << shift, size = sectors_volume_size(volume);
  uint64_t bytes = (last - first + 1) << shift;
  return volume->durable && bytes > size - start ? size - start : bytes;
}

/* ------------------------------------------------------- over a base, or not
 *
 * What a base has must stay hidden.  Without an image, zeroed sectors
 * get the state ZERO, where the base is not a hole.  An image has zeros written there,
 * because in an image over a base a hole means that the base shows. */

struct hidden {
  sectors_volume *volume;
  int error;
};

/* Make one sector ZERO, whatever it was.  0, -ENOSPC, or -EAGAIN. */
static int hide_sector(sectors_volume *volume, uint64_t sector) {
  sectors_store *store = volume->store;
  struct tally tally = {0};
  struct node *leaf;
  uint64_t value;
  struct epoch_token token = epoch_enter(&store->epoch);
  int error = index_make(store, &volume->index, sector, &leaf);
  if (error == 0 && word_lock(&leaf->words[sector % NODE_WORDS], &value))
    sector_settle(volume, &leaf->words[sector % NODE_WORDS], value, WORD_ZERO, 0, &tally);
  else if (error == 0)
    error = -EAGAIN; /* frozen */
  epoch_leave(&store->epoch, token);
  tally_commit(&tally, volume);
  return error;
}

static int hide_sectors(sectors_volume *volume, uint64_t first, uint64_t last) {
  unsigned rounds = 0;
  for (uint64_t sector = first; sector <= last;) {
    int error = hide_sector(volume, sector);
    if (error == -ENOSPC)
      error = tiers_wait_for_room(volume->store, NODE_WORDS) == 0 ? -EAGAIN : -ENOSPC;
    if (error == -EAGAIN)
      backoff(&rounds);
    else if (error != 0)
      return error;
    else
      sector++;
  }
  return 0;
}

/* Write zeros, which are no hole, to the image. */
static int write_zeros(sectors_volume *volume, uint64_t count, uint64_t offset) {
  static _Alignas(BACKING_ALIGNMENT) unsigned char zeros[1 << 18];
  int error = 0;
  while (error == 0 && count > 0) {
    uint64_t part = count < sizeof zeros ? count : sizeof zeros;
    error = backing_write(volume->home, zeros, part, offset);
    offset += part;
    count -= part;
  }
  return error;
}

static int hide_extent(void *opaque, uint64_t offset, uint64_t count, bool is_hole) {
  struct hidden *hidden = opaque;
  sectors_volume *volume = hidden->volume;
  unsigned shift = volume->store->sector_shift;
  uint64_t first = offset >> shift, last = (offset + count - 1) >> shift;
  if (is_hole && volume->durable)
    hidden->error = backing_zero(volume->home, count, offset);
  else if (volume->durable)
    hidden->error = write_zeros(volume, count, offset);
  else if (!is_hole)
    hidden->error = hide_sectors(volume, first, last);
  return hidden->error != 0;
}

/* Hide what the base has of a range. */
static int hide_base(sectors_volume *volume, uint64_t first, uint64_t last) {
  struct hidden hidden = {.volume = volume};
  unsigned shift = volume->store->sector_shift;
  uint64_t start = first << shift, bytes = range_bytes(volume, first, last);
  uint64_t mask = (UINT64_C(1) << shift) - 1;
  uint64_t size = (backing_size(volume->base) + mask) & ~mask;
  if (start < size) {
    uint64_t within = bytes < size - start ? bytes : size - start;
    int error = backing_extents(volume->base, within, start, hide_extent, &hidden);
    if (error < 0) /* nothing is known: hide it all */
      hide_extent(&hidden, start, within, false);
  }
  if (hidden.error == 0 && volume->durable && start + bytes > size) {
    uint64_t from = start > size ? start : size;
    hidden.error = backing_zero(volume->home, start + bytes - from, from);
  }
  return hidden.error;
}

/* Tell the store below. */
static int zero_below(sectors_volume *volume, uint64_t first, uint64_t last,
                      enum discard_kind kind) {
  uint64_t offset = first << volume->store->sector_shift;
  uint64_t bytes = range_bytes(volume, first, last);
  int error = 0;
  if (volume->home &&
      (volume->durable || atomic_load(&volume->home_used) || kind == DISCARD_ALLOCATE)) {
    if (volume->durable && volume->base)
      error = hide_base(volume, first, last);
    else if (kind == DISCARD_ALLOCATE)
      error = backing_allocate(volume->home, bytes, offset);
    else
      error = backing_zero(volume->home, bytes, offset);
    atomic_store(&volume->unflushed, true);
    tiers_note_home(volume, error);
  }
  return error;
}

/* Remember what was zeroed in an image, until it is flushed: where that cannot be remembered,
 * flush now.  (An image over a base has zeros written, as data is: a file only,
 * which keeps them.) */
static int remember_zeroed(sectors_volume *volume, uint64_t first, uint64_t last) {
  if (!volume->durable || volume->base || zeroed_add(&volume->zeroed, first, last) == 0)
    return 0;
  return flush_image(volume);
}

int discard_sectors(sectors_volume *volume, uint64_t first, uint64_t last, enum discard_kind kind) {
  struct guarded range;
  guard_enter(&volume->guard, &range, first, last);
  settle_range(volume, first, last);
  int error = zero_below(volume, first, last, kind);
  if (error == 0)
    error = remember_zeroed(volume, first, last);
  if (error == 0 && volume->base && !volume->durable)
    error = hide_base(volume, first, last);
  if (error == 0)
    forget_sectors(volume, first, last);
  guard_leave(&volume->guard, &range);
  return error;
}

int discard_again(sectors_volume *volume, uint64_t first, uint64_t last) {
  sectors_store *store = volume->store;
  unsigned shift = store->sector_shift;
  struct guarded range;
  int error = 0;
  if (!guard_try_enter(&volume->guard, &range, first, last))
    return -EIO; /* it is being zeroed just now; the next flush tries again */
  uint64_t sector = first;
  while (error == 0 && sector <= last) {
    /* The gap up to the next sector that has a word. */
    struct epoch_token token = epoch_enter(&store->epoch);
    uint64_t gap = sector, next = sector;
    struct node *leaf = index_next(&volume->index, &next, last);
    uint64_t end = part_last(next, last);
    while (leaf && next <= end && !(atomic_load(&leaf->words[next % NODE_WORDS]) & WORD_OCCUPIED))
      next++;
    bool gap_ends = leaf && next <= end;
    epoch_leave(&store->epoch, token);
    if (!leaf)
      next = last + 1;
    if (next > gap)
      error = backing_zero(volume->home, range_bytes(volume, gap, next - 1), gap << shift);
    sector = next + gap_ends;
  }
  guard_leave(&volume->guard, &range);
  return error;
}
