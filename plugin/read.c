/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reading.  No lock is taken of what is in memory: see word.h.  What is not there
 * is fetched, outside of the request (fetch.c), and the read goes on after it.
 */

#include "copy.h"
#include "tiers.h"

#include <errno.h>
#include <string.h>

/* Copy from a sector that writers keep changing: lock them out.  Only data is
 * locked, so that no empty leaf is kept from being unlinked.  False if its data has to
 * be fetched. */
static bool read_locked(sectors_volume *volume, sector_word *word, unsigned char *buffer,
                        uint64_t start, uint64_t count) {
  sectors_store *store = volume->store;
  uint64_t value;
  if (word_lock_if(word, WORD_RESIDENT, &value)) {
    unsigned char *memory = arena_address(&store->arena, word_slot(value));
    copy_from_sector(buffer, memory + start, count);
    word_unlock(word, value);
    return true;
  }
  if (needs_fetch(volume, atomic_load(word)))
    return false;
  memset(buffer, 0, count);
  return true;
}

/* Read up to count bytes at offset of the leaf that begins at a sector, both inside it.
 * Neighbours in memory are copied at once.  Returns how many bytes it read: it ends
 * before a sector that has to be fetched. */
static uint64_t read_leaf(sectors_volume *volume, struct node *leaf, uint64_t leaf_sector,
                          unsigned char *buffer, uint64_t count, uint64_t offset) {
  sectors_store *store = volume->store;
  const uint64_t size = UINT64_C(1) << store->sector_shift, wanted = count;
  unsigned failures = 0;
  while (count > 0) {
    unsigned first = (unsigned)(offset >> store->sector_shift), words = 1;
    uint64_t start = offset % size, bytes = size - start;
    uint64_t seen[NODE_WORDS];
    seen[0] = word_settled(&leaf->words[first]);
    if (!(seen[0] & WORD_RESIDENT)) {
      if (needs_fetch(volume, seen[0]))
        return wanted - count;
      bytes = bytes < count ? bytes : count;
      memset(buffer, 0, bytes);
    } else {
      uint32_t slot = word_slot(seen[0]);
      for (; bytes < count; bytes += size) {
        seen[words] = atomic_load_explicit(&leaf->words[first + words], memory_order_acquire);
        if ((seen[words] & (WORD_LOCK | WORD_RESIDENT)) != WORD_RESIDENT ||
            word_slot(seen[words]) != slot + words)
          break;
        words++;
      }
      bytes = bytes < count ? bytes : count;
      copy_from_sector(buffer, (unsigned char *)arena_address(&store->arena, slot) + start, bytes);
      word_fence();
      bool changed = false;
      for (unsigned i = 0; i < words; i++)
        changed |= atomic_load_explicit(&leaf->words[first + i], memory_order_relaxed) != seen[i];
      if (changed && ++failures < 8)
        continue;
      if (changed) {
        bytes = size - start < count ? size - start : count;
        if (!read_locked(volume, &leaf->words[first], buffer, start, bytes))
          return wanted - count;
        failures = 0;
      } else if (store->tiers) {
        sectors_touch(volume, leaf_sector + first, seen, words);
      }
    }
    buffer += bytes;
    offset += bytes;
    count -= bytes;
  }
  return wanted;
}

/* Read what is in memory, from offset on.  Returns how many bytes that was. */
static uint64_t read_memory(sectors_volume *volume, unsigned char *to, uint64_t count,
                            uint64_t offset) {
  sectors_store *store = volume->store;
  const uint64_t leaf_size = (uint64_t)NODE_WORDS << store->sector_shift, wanted = count;
  struct epoch_token token = epoch_enter(&store->epoch);
  while (count > 0) {
    uint64_t start = offset % leaf_size, sector = offset >> store->sector_shift;
    uint64_t bytes = leaf_size - start < count ? leaf_size - start : count, done = bytes;
    struct node *leaf = index_find(&volume->index, sector);
    if (leaf)
      done = read_leaf(volume, leaf, leaf_start(sector), to, bytes, start);
    else if (volume->shows_below)
      done = 0;
    else
      memset(to, 0, bytes);
    to += done;
    offset += done;
    count -= done;
    if (done < bytes)
      break;
  }
  epoch_leave(&store->epoch, token);
  return wanted - count;
}

/* Fetch the sector at offset and those after it that the read needs, up to the leaf's
 * end, or more if it goes on there.  Returns how many bytes of the read that was. */
static int64_t read_missing(sectors_volume *volume, unsigned char *to, uint64_t count,
                            uint64_t offset, bool sequential) {
  sectors_store *store = volume->store;
  unsigned shift = store->sector_shift;
  uint64_t first = offset >> shift, last = (offset + count - 1) >> shift;
  uint64_t end = leaf_last(first), volume_last = (sectors_volume_size(volume) - 1) >> shift;
  unsigned char *buffer = buffers_take(&store->tiers->buffers);
  if (!buffer)
    return -ENOMEM;
  if (last > end || sequential)
    last = end < volume_last ? end : volume_last;
  int got = fetch(volume, first, last, buffer, sequential ? FETCH_SCAN : FETCH_READ);
  uint64_t bytes = 0;
  if (got > 0) {
    uint64_t skip = offset - (first << shift), have = ((uint64_t)got << shift) - skip;
    bytes = have < count ? have : count;
    memcpy(to, buffer + skip, bytes);
    if (have > count)
      atomic_fetch_add_explicit(&volume->read_ahead, (have - count) >> shift, memory_order_relaxed);
  }
  buffers_give(&store->tiers->buffers, buffer);
  return got < 0 ? got : (int64_t)bytes;
}

static void count_bytes(_Atomic uint64_t *counter, uint64_t bytes) {
  if (bytes > 0)
    atomic_fetch_add_explicit(counter, bytes, memory_order_relaxed);
}

static int read_tiers(sectors_volume *volume, unsigned char *to, uint64_t count, uint64_t offset) {
  uint64_t hits = 0, misses = 0;
  unsigned rounds = 0;
  int error = 0;
  bool sequential = fetch_is_sequential(volume, count, offset);
  while (count > 0 && error == 0) {
    int64_t done = (int64_t)read_memory(volume, to, count, offset);
    hits += (uint64_t)done;
    if (done == 0) {
      done = read_missing(volume, to, count, offset, sequential);
      if (done == 0)
        backoff(&rounds);
      misses += done > 0 ? (uint64_t)done : 0;
    }
    if (done < 0) {
      error = (int)done;
    } else {
      to += done;
      offset += (uint64_t)done;
      count -= (uint64_t)done;
    }
  }
  count_bytes(&volume->hits, hits);
  count_bytes(&volume->misses, misses);
  return error;
}

int sectors_read(sectors_volume *volume, void *buffer, size_t count, uint64_t offset) {
  if (!volume_has(volume, count, offset))
    return -EINVAL;
  if (volume->store->tiers)
    return read_tiers(volume, buffer, count, offset);
  read_memory(volume, buffer, count, offset);
  return 0;
}
