/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The sector word: everything the index knows about one sector.
 *
 *    63            32 31      10 9                              0
 *   +----------------+----------+--------------------------------+
 *   |   slot field   | version  |             flags              |
 *   +----------------+----------+--------------------------------+
 *
 *   LOCK        a request owns the sector: only it may change word or memory
 *   RESIDENT    the sector's data is in the memory slot of that number
 *   RESERVED    one sector of the limit is set aside for this sector, also
 *               while it holds nothing; stays until the sector is trimmed
 *   FRESH       with LOCK: a slot is set aside, not yet filled; the slot's
 *               first eight bytes keep the word as it was before
 *   FROZEN      the node is being unlinked; nothing is or will be here again
 *   COMPRESSED  the data is in the compressed unit of that reference (units.h)
 *   STORED      the volume's image or spill file holds the same data
 *   BUSY        data, copied from here, is on its way to the store below
 *   ZERO        reads as zeros, whatever is below
 *   STIFF       with RESIDENT: compression did not help
 *   version     grows whenever the lock is dropped
 *
 * Where the data of an unlocked sector is:
 *
 *   RESIDENT           in memory; STORED: and below, so that it may be dropped
 *   COMPRESSED         in memory, compressed; STORED: and below
 *   STORED             below only; the slot field has the policy's history
 *   ZERO               nowhere; STORED: and what is below reads as zeros too
 *   none of these      a hole; but with an image or a base: whatever is there
 *
 *                  write                      compress
 *      hole, ZERO -------> RESIDENT ---------------------> COMPRESSED
 *          ^                | ^  ^ \                        |  |
 *          |  trim, zero    | |  |  `-----------------------'  |
 *          +----------------+ |  |     read, write             |
 *          |       write back | | write                        | write back
 *          |                  v |                              v
 *          |          RESIDENT|STORED ---- drop ----> STORED <-+
 *          |                  ^                         |  |
 *          |                  +-------- read -----------+  |
 *          +--------------------- trim, zero --------------+
 *
 * Each arrow is taken with the word locked.  Writing back does not hold the
 * lock while it waits for the store below: it copies the data, marks the word
 * BUSY, and when the data is safe looks whether the word is still the same;
 * only then the sector becomes STORED.  If not, it is still to be written.  A
 * BUSY sector is not written back a second time, so writes below never overtake
 * each other.
 *
 * Writers take LOCK.  Readers do not: they note the word, copy, and look
 * whether the word is still the same.  If not they copy again.  Memory of
 * slots stays mapped as long as the store lives, so a late reader copies
 * nonsense at worst, and never keeps it.
 */

#ifndef SECTORS_WORD_H
#define SECTORS_WORD_H

#include "backoff.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define WORD_LOCK UINT64_C(1)
#define WORD_RESIDENT UINT64_C(2)
#define WORD_RESERVED UINT64_C(4)
#define WORD_FRESH UINT64_C(8)
#define WORD_FROZEN UINT64_C(16)
#define WORD_COMPRESSED UINT64_C(32)
#define WORD_STORED UINT64_C(64)
#define WORD_BUSY UINT64_C(128)
#define WORD_ZERO UINT64_C(256)
#define WORD_STIFF UINT64_C(512)
#define WORD_VERSION_ONE UINT64_C(1024)
#define WORD_VERSION_MASK UINT64_C(0xfffffc00)

/* The flags that say where a sector is. */
#define WORD_STATE                                                                                 \
  (WORD_RESIDENT | WORD_RESERVED | WORD_COMPRESSED | WORD_STORED | WORD_ZERO | WORD_STIFF)

/* The flags that make a sector more than a hole. */
#define WORD_OCCUPIED (WORD_LOCK | WORD_FRESH | WORD_BUSY | WORD_STATE)

/* The same where a sector that is STORED alone is as good as a hole: an image
 * holds it all the same. */
#define WORD_IN_USE (WORD_OCCUPIED & ~WORD_STORED)

typedef _Atomic uint64_t sector_word;

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#endif

/* The order that the protocol of readers and writers above needs between a
 * word and the bytes it stands for.  ThreadSanitizer knows no fences; under it
 * the bytes themselves are copied with ordered loads and stores (copy.c). */
static inline void word_fence(void) {
#ifndef THREAD_SANITIZER
  atomic_thread_fence(memory_order_acq_rel);
#endif
}

static inline uint32_t word_slot(uint64_t value) {
  return (uint32_t)(value >> 32);
}

/* The unlocked word that follows value: the next version, with these flags. */
static inline uint64_t word_next(uint64_t value, uint64_t flags, uint32_t slot) {
  return (uint64_t)slot << 32 | ((value + WORD_VERSION_ONE) & WORD_VERSION_MASK) | flags;
}

/* Take the lock, waiting for it, if the word has one of the flags needed (or
 * none are), and set *value to the word without it.  False if it has not, or
 * is frozen; of a frozen word, look the leaf up again. */
static inline bool word_lock_if(sector_word *word, uint64_t needed, uint64_t *value) {
  unsigned rounds = 0;
  for (;;) {
    uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);
    if (seen & WORD_FROZEN || (needed && !(seen & needed)))
      return false;
    if (seen & WORD_LOCK) {
      backoff(&rounds);
    } else if (atomic_compare_exchange_weak_explicit(word, &seen, seen | WORD_LOCK,
                                                     memory_order_seq_cst, memory_order_relaxed)) {
      word_fence();
      *value = seen;
      return true;
    }
  }
}

static inline bool word_lock(sector_word *word, uint64_t *value) {
  return word_lock_if(word, 0, value);
}

/* Take the lock if nobody has it: set *value to the word without it. */
static inline bool word_try_lock(sector_word *word, uint64_t *value) {
  uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);
  if (seen & (WORD_FROZEN | WORD_LOCK) ||
      !atomic_compare_exchange_strong(word, &seen, seen | WORD_LOCK))
    return false;
  word_fence();
  *value = seen;
  return true;
}

/* The word once no writer is changing the sector's memory. */
static inline uint64_t word_settled(sector_word *word) {
  unsigned rounds = 0;
  for (;;) {
    uint64_t seen = atomic_load_explicit(word, memory_order_acquire);
    if ((seen & (WORD_LOCK | WORD_RESIDENT)) != (WORD_LOCK | WORD_RESIDENT))
      return seen;
    backoff(&rounds);
  }
}

/* Drop the lock, leaving the word as value, which word_next made. */
static inline void word_unlock(sector_word *word, uint64_t value) {
  atomic_store_explicit(word, value, memory_order_release);
}

#endif
