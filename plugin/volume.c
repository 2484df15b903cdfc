/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Requests on volumes.
 *
 * A write goes over its sectors three times.  First, holding nothing, it
 * counts what it will need, sets that aside and takes the memory, so that page
 * faults happen while nobody waits.  Then it locks its sector words in
 * ascending order, giving those that need memory a slot; here it may still
 * fail, and undo what it did.  At last it copies, and unlocks as it goes.
 * Requests that overlap wait for each other, in one order, so there is no
 * deadlock; requests that do not overlap never meet.
 *
 * A trim takes the words one by one: it needs nothing, so it cannot fail.
 *
 * With tiers a write that covers a sector in part, whose data is not in memory,
 * undoes what it did, has the data fetched, and starts again; so no lock is
 * held over I/O here.  Trims of such volumes are in discard.c.
 */

#include "copy.h"
#include "tiers.h"

#include <errno.h>
#include <string.h>

enum {
  SPARE_RUNS = 16,
  /* Space may be there yet, in index nodes that were just unlinked: what found
   * none frees those, and tries again.  But others may take that space first,
   * and unlink nodes in their turn.  Of eight threads that write and trim in a
   * store which just holds them all, with one more try one write in a few
   * thousand was refused, with two one in some ten thousand, with eight none on
   * a quiet machine, and one in a hundred thousand on a busy one, where a thread
   * is stopped at the worst moments again and again.  So there are more; but
   * one for which no node was freed counts for several, as it has little hope. */
  TRIES_FOR_SPACE = 64,
  VAIN_TRY = 8,
  SECTORS_FOR_INDEX = 4, /* that a write may need besides its data */
};

struct request {
  sectors_volume *volume;
  sectors_store *store;
  struct epoch_token token;

  uint64_t offset; /* bytes: the range is [offset, end) */
  uint64_t end;
  uint64_t first; /* the sectors it touches, first to last */
  uint64_t last;
  const unsigned char *payload; /* of a write, at offset; else NULL */

  struct node *leaf; /* the leaf last used, and the sector it starts at */
  uint64_t leaf_start;

  /* Set aside for this request, not used yet. */
  uint64_t charge; /* sectors of the limit */
  uint64_t wanted; /* slots it expects to take yet */
  unsigned spares; /* runs of slots in spare */

  uint64_t missing; /* the sector that -EAGAIN is about: its data has to be fetched */

  /* What it changed, to be made known at its end. */
  struct tally tally;
  uint64_t uncharged;
  bool emptied;         /* it left holes, so that leaves may be empty */
  uint32_t freed_first; /* a run of slots to free */
  uint32_t freed_count;

  struct {
    uint32_t first;
    uint32_t count;
  } spare[SPARE_RUNS];
};

/* ------------------------------------------------------------ begin and end */

static uint64_t sector_size(const struct request *request) {
  return UINT64_C(1) << request->store->sector_shift;
}

/* count is not 0. */
static struct request begin(sectors_volume *volume, uint64_t count, uint64_t offset,
                            const void *payload) {
  unsigned shift = volume->store->sector_shift;
  struct request request;
  memset(&request, 0, offsetof(struct request, spare)); /* the rest counts for nothing yet */
  request.volume = volume;
  request.store = volume->store;
  request.token = epoch_enter(&volume->store->epoch);
  request.offset = offset;
  request.end = offset + count;
  request.first = offset >> shift;
  request.last = (offset + count - 1) >> shift;
  request.payload = payload;
  return request;
}

static void flush_freed(struct request *request) {
  if (request->freed_count > 0)
    store_give_slots(request->store, request->freed_first, request->freed_count);
  request->freed_count = 0;
}

static void free_slot(struct request *request, uint32_t slot) {
  if (request->freed_count > 0 && slot == request->freed_first + request->freed_count) {
    request->freed_count++;
    return;
  }
  flush_freed(request);
  request->freed_first = slot;
  request->freed_count = 1;
}

static void end(struct request *request) {
  sectors_volume *volume = request->volume;
  flush_freed(request);
  while (request->spares > 0) {
    request->spares--;
    store_give_slots(request->store, request->spare[request->spares].first,
                     request->spare[request->spares].count);
  }
  tally_commit(&request->tally, volume);
  store_unreserve(request->store, request->charge + request->uncharged);
  epoch_leave(&request->store->epoch, request->token);
}

/* ------------------------------------------------------------------- sectors */

/* The part of a sector that the request covers. */
struct part {
  uint64_t start; /* bytes from the sector's start */
  uint64_t count;
};

static struct part part_of(const struct request *request, uint64_t sector) {
  uint64_t start = sector << request->store->sector_shift;
  uint64_t from = request->offset > start ? request->offset - start : 0;
  uint64_t to =
      request->end - start < sector_size(request) ? request->end - start : sector_size(request);
  return (struct part){.start = from, .count = to - from};
}

static bool is_whole(const struct request *request, struct part part) {
  return part.count == sector_size(request);
}

/* Whether the part is all there is of its sector, the last of a volume. */
static bool ends_volume(const struct request *request, uint64_t sector, struct part part) {
  uint64_t start = sector << request->store->sector_shift;
  return part.start == 0 && start + part.count == sectors_volume_size(request->volume);
}

static const unsigned char *payload_of(const struct request *request, uint64_t sector) {
  uint64_t start = sector << request->store->sector_shift;
  return request->payload + (start > request->offset ? start - request->offset : 0);
}

static bool payload_is_zero(const struct request *request, uint64_t sector) {
  return is_zero(payload_of(request, sector), part_of(request, sector).count);
}

static unsigned char *memory_of(const struct request *request, uint32_t slot) {
  return arena_address(&request->store->arena, slot);
}

/* The leaf of a sector, from the request's memory if it can be, or NULL. */
static struct node *leaf_of(struct request *request, uint64_t sector) {
  if (!request->leaf || request->leaf_start != leaf_start(sector)) {
    request->leaf = index_find(&request->volume->index, sector);
    request->leaf_start = leaf_start(sector);
  }
  return request->leaf;
}

/* The same for a request that has the sector locked, so that there is one. */
static sector_word *word_of(struct request *request, uint64_t sector) {
  return &leaf_of(request, sector)->words[place_in_leaf(sector)];
}

/* What the word of a FRESH sector was: its slot keeps it until it is filled. */
static uint64_t word_before(const struct request *request, uint64_t value) {
  uint64_t before = value & UINT32_MAX;
  if (!(value & WORD_FRESH) || !request->payload)
    return value;
  if (request->store->tiers)
    memcpy(&before, memory_of(request, word_slot(value)), sizeof before);
  return before;
}

/* Drop the compressed data of a locked sector, which cannot be needed any more.
 * Returns the word without. */
static uint64_t drop_compressed(struct request *request, sector_word *word, uint64_t value) {
  if (!(value & WORD_COMPRESSED))
    return value;
  unit_drop(request->store->tiers->units, word_slot(word_before(request, value)),
            1u << word_place(word) % UNIT_SECTORS);
  tally_change(&request->tally, request->volume, value, value & ~WORD_COMPRESSED);
  return value & ~WORD_COMPRESSED;
}

/* Turn a locked word from value to the state that flags and slot say, unlock
 * it, and keep account. */
static void settle_word(struct request *request, sector_word *word, uint64_t value, uint64_t flags,
                        uint32_t slot) {
  bool was_charged = value & (WORD_RESIDENT | WORD_RESERVED | WORD_FRESH);
  bool had_slot = value & WORD_RESIDENT || (value & WORD_FRESH && request->payload);
  if (!(flags & WORD_COMPRESSED))
    value = drop_compressed(request, word, value);
  if (had_slot && !(flags & WORD_RESIDENT) && request->store->tiers)
    atomic_store_explicit(&request->store->tiers->heat[word_slot(value)], 0, memory_order_relaxed);
  word_unlock(word, word_next(value, flags | (value & WORD_BUSY), slot));
  tally_change(&request->tally, request->volume, value, flags);
  request->emptied |= !(flags & WORD_STATE);
  if (was_charged && !(flags & (WORD_RESIDENT | WORD_RESERVED)))
    request->uncharged++;
  if (had_slot && !(flags & WORD_RESIDENT))
    free_slot(request, word_slot(value));
}

/* Unlink the leaves of the request that are empty now. */
static void prune(struct request *request) {
  request->leaf = NULL;
  for (uint64_t sector = request->first; sector <= request->last; sector = leaf_last(sector) + 1)
    index_prune(request->store, &request->volume->index, sector);
}

/* ------------------------------------------- setting aside, locking, undoing */

/* Count, without locks, the sectors of the limit that the request will need. */
static uint64_t count_charge(struct request *request) {
  uint64_t charge = 0;
  if (!request->payload) { /* a reservation: what is neither live nor reserved yet */
    charge = request->last - request->first + 1;
    uint64_t sector = request->first;
    for (struct node *leaf; (leaf = index_next(&request->volume->index, &sector, request->last));) {
      uint64_t last = leaf_last(sector) < request->last ? leaf_last(sector) : request->last;
      for (; sector <= last; sector++)
        charge -= (atomic_load_explicit(&leaf->words[place_in_leaf(sector)], memory_order_relaxed) &
                   (WORD_RESIDENT | WORD_RESERVED)) != 0;
    }
    return charge;
  }
  for (uint64_t sector = request->first; sector <= request->last; sector++) {
    struct node *leaf = leaf_of(request, sector);
    uint64_t value =
        leaf ? atomic_load_explicit(&leaf->words[place_in_leaf(sector)], memory_order_relaxed) : 0;
    charge += !(value & (WORD_RESIDENT | WORD_RESERVED)) && !payload_is_zero(request, sector);
  }
  return charge;
}

/* Take slots for the request, as many as it wants or as runs fit. */
static int take_spare(struct request *request) {
  while (request->wanted > 0 && request->spares < SPARE_RUNS) {
    uint32_t most = request->wanted < UINT32_MAX ? (uint32_t)request->wanted : UINT32_MAX;
    int taken = store_take(request->store, most, &request->spare[request->spares].first);
    if (taken < 0)
      return -ENOSPC;
    request->spare[request->spares++].count = (uint32_t)taken;
    request->wanted -= (uint32_t)taken;
  }
  return 0;
}

/* Take the first of the spare slots, or a new one.  0 or -ENOSPC. */
static int take_slot(struct request *request, uint32_t *slot) {
  if (request->spares == 0) {
    if (request->wanted == 0)
      request->wanted = 1;
    int error = take_spare(request);
    if (error != 0)
      return error;
  }
  *slot = request->spare[0].first++;
  if (--request->spare[0].count == 0)
    memmove(request->spare, request->spare + 1, --request->spares * sizeof request->spare[0]);
  return 0;
}

static int take_charge(struct request *request) {
  if (request->charge == 0)
    return store_reserve(request->store, 1);
  request->charge--;
  return 0;
}

/* Give the slot of a sector that comes into memory its heat. */
static void enter_memory(struct request *request, uint64_t sector, uint64_t value, uint32_t slot) {
  struct tiers *tiers = request->store->tiers;
  sectors_volume *volume = request->volume;
  if (!tiers)
    return;
  copy_to_sector(memory_of(request, slot), &value, sizeof value); /* see word_before */
  uint32_t heat =
      policy_enter(tiers->policy, sector_key(volume, sector), sector_history(volume, sector, value),
                   priority_of(&volume->priorities, sector));
  atomic_store_explicit(&tiers->heat[slot], heat, memory_order_relaxed);
}

/* What tiers need before a locked word may change.  0, -EAGAIN if data of it has
 * to be fetched first, or -ENOSPC. */
static int prepare_tiers(struct request *request, uint64_t value, uint64_t sector) {
  sectors_volume *volume = request->volume;
  if (needs_fetch(volume, value) && !is_whole(request, part_of(request, sector)) &&
      !ends_volume(request, sector, part_of(request, sector))) {
    request->missing = sector;
    return -EAGAIN;
  }
  if (volume->durable && !is_dirty(value) &&
      dirty_add(&volume->dirty_leaves, sector / NODE_WORDS) != 0)
    return -ENOSPC;
  return 0;
}

/* Give a locked word all it will need.  0, or -ENOSPC or -EAGAIN with nothing changed. */
static int prepare_word(struct request *request, sector_word *word, uint64_t value,
                        uint64_t sector) {
  if (request->store->tiers) {
    int error = prepare_tiers(request, value, sector);
    if (error != 0)
      return error;
  }
  if (value & WORD_RESIDENT)
    return 0;
  bool needs_slot = request->payload && !payload_is_zero(request, sector);
  bool needs_charge = !(value & WORD_RESERVED) && (needs_slot || !request->payload);
  uint32_t slot = 0;
  if (needs_charge && take_charge(request) != 0)
    return -ENOSPC;
  if (needs_slot && take_slot(request, &slot) != 0) {
    request->charge += needs_charge;
    return -ENOSPC;
  }
  if (needs_slot) {
    enter_memory(request, sector, value, slot);
    value = (value & UINT32_MAX) | (uint64_t)slot << 32;
  }
  if (needs_slot || needs_charge)
    atomic_store_explicit(word, value | WORD_LOCK | WORD_FRESH, memory_order_release);
  return 0;
}

/* Unlock the sectors from the first to before end_sector as they were. */
static void undo(struct request *request, uint64_t end_sector) {
  for (uint64_t sector = request->first; sector < end_sector; sector++) {
    sector_word *word = word_of(request, sector);
    uint64_t value = atomic_load(word) & ~WORD_LOCK;
    settle_word(request, word, value, value & WORD_STATE, word_slot(word_before(request, value)));
  }
}

/* Lock all sectors of the request, each with all it will need.
 * 0, or -ENOSPC or -EAGAIN with nothing changed. */
static int lock_sectors(struct request *request) {
  for (uint64_t sector = request->first; sector <= request->last; sector++) {
    uint64_t value;
    unsigned rounds = 0;
    int error = 0;
    while (error == 0) {
      struct node *leaf = leaf_of(request, sector);
      if (!leaf)
        error = index_make(request->store, &request->volume->index, sector, &leaf);
      request->leaf = leaf;
      if (leaf && word_lock(&leaf->words[place_in_leaf(sector)], &value))
        break;
      request->leaf = NULL; /* it was frozen: look again, once it has been unlinked */
      backoff(&rounds);
    }
    if (error == 0) {
      sector_word *word = word_of(request, sector);
      error = prepare_word(request, word, value, sector);
      if (error != 0)
        word_unlock(word, value);
    }
    if (error != 0) {
      undo(request, sector);
      return error;
    }
  }
  return 0;
}

/* Set all aside, and lock.  0, or -ENOSPC or -EAGAIN with nothing changed. */
static int prepare(struct request *request) {
  uint64_t charge = count_charge(request);
  if (charge > 0) {
    int error = store_reserve(request->store, charge);
    if (error != 0)
      return error;
    request->charge = charge;
  }
  /* No more slots than were charged: those of reserved sectors are taken under
   * their locks, or many writers would each take them.  See arena.h. */
  request->wanted = request->payload ? charge : 0;
  int error = take_spare(request);
  if (error == 0)
    error = lock_sectors(request);
  if (error != 0)
    prune(request);
  return error;
}

/* Have a sector's data fetched into memory.  0, or a negative errno. */
static int fetch_missing(sectors_volume *volume, uint64_t sector) {
  struct buffers *buffers = &volume->store->tiers->buffers;
  unsigned char *buffer = buffers_take(buffers);
  if (!buffer)
    return -ENOMEM;
  int result = fetch(volume, sector, sector, buffer, FETCH_KEEP);
  buffers_give(buffers, buffer);
  return result < 0 ? result : 0;
}

/* What a request of so many bytes does that failed with error, outside of it.
 * Returns 0 to try again, or the error to end with. */
static int try_again(sectors_volume *volume, int error, uint64_t missing, uint64_t bytes,
                     unsigned *tries) {
  sectors_store *store = volume->store;
  if (error == -EAGAIN)
    error = fetch_missing(volume, missing);
  if (error != -ENOSPC)
    return error;
  if (store->tiers) {
    node_pool_settle(store);
    return tiers_wait_for_room(store, (bytes >> store->sector_shift) + SECTORS_FOR_INDEX);
  }
  *tries += node_pool_settle(store) ? 1 : VAIN_TRY;
  return *tries <= TRIES_FOR_SPACE ? 0 : -ENOSPC;
}

/* ------------------------------------------------------------------- zeroing */

/* Zero a part of a locked, resident sector; it may turn out empty.  flags are
 * what the word keeps if it does. */
static void clear_part(struct request *request, sector_word *word, uint64_t value, struct part part,
                       uint64_t flags) {
  unsigned char *memory = memory_of(request, word_slot(value));
  clear_sector(memory + part.start, part.count);
  if (is_zero(memory, sector_size(request)))
    settle_word(request, word, value, flags | zero_state(request->volume), 0);
  else
    settle_word(request, word, value, flags | WORD_RESIDENT, word_slot(value));
}

/* Make the request's range zeros, freeing sectors, which cannot fail.
 * Reservations are kept for sectors covered in part, and if keep_reserved. */
static void clear_range(struct request *request, bool keep_reserved) {
  uint64_t sector = request->first;
  struct node *leaf;
  while ((leaf = index_next(&request->volume->index, &sector, request->last))) {
    uint64_t start = sector;
    uint64_t last = leaf_last(sector) < request->last ? leaf_last(sector) : request->last;
    for (; sector <= last; sector++) {
      sector_word *word = &leaf->words[place_in_leaf(sector)];
      struct part part = part_of(request, sector);
      bool covered = is_whole(request, part) || ends_volume(request, sector, part);
      uint64_t kept = keep_reserved || !covered ? WORD_RESERVED : 0;
      uint64_t value = atomic_load_explicit(word, memory_order_relaxed);
      if (!(value & WORD_OCCUPIED & ~kept) || !word_lock(word, &value))
        continue;
      if (value & WORD_RESIDENT && !is_whole(request, part))
        clear_part(request, word, value, part, value & kept);
      else
        settle_word(request, word, value, value & kept, 0);
    }
    index_prune(request->store, &request->volume->index, start);
  }
}

static void count_trimmed(struct request *request) {
  if (request->tally.live < 0)
    atomic_fetch_add_explicit(&request->volume->trimmed, (uint64_t)-request->tally.live,
                              memory_order_relaxed);
}

static int write_zeros(sectors_volume *volume, uint64_t count, uint64_t offset) {
  static const unsigned char zeros[SECTORS_MAX_SECTOR_SIZE];
  return count == 0 ? 0 : sectors_write(volume, zeros, count, offset);
}

/* Trim or zero where there are tiers: whole sectors go, parts are written with zeros. */
static int discard(sectors_volume *volume, uint64_t count, uint64_t offset,
                   enum discard_kind kind) {
  unsigned shift = volume->store->sector_shift;
  uint64_t mask = (UINT64_C(1) << shift) - 1, end = offset + count;
  uint64_t from = (offset + mask) & ~mask, to = end & ~mask;
  if (end == sectors_volume_size(volume))
    to = (end + mask) & ~mask;
  if (from >= to) /* inside one sector, or two */
    from = to = from < end ? from : end;
  int error = write_zeros(volume, from - offset, offset);
  if (error == 0 && to > from)
    error = discard_sectors(volume, from >> shift, (to - 1) >> shift, kind);
  if (error == 0 && end > to)
    error = write_zeros(volume, end - to, to);
  return error;
}

int sectors_trim(sectors_volume *volume, uint64_t count, uint64_t offset) {
  if (!volume_has(volume, count, offset))
    return -EINVAL;
  if (count == 0)
    return 0;
  if (volume->store->tiers)
    return discard(volume, count, offset, DISCARD_HOLE);
  struct request request = begin(volume, count, offset, NULL);
  clear_range(&request, false);
  count_trimmed(&request);
  end(&request);
  return 0;
}

/* Turn the locked sectors of the request into reserved zeros. */
static void reserve_sectors(struct request *request) {
  for (uint64_t sector = request->first; sector <= request->last; sector++) {
    sector_word *word = word_of(request, sector);
    uint64_t value = atomic_load(word) & ~WORD_LOCK;
    struct part part = part_of(request, sector);
    if (value & WORD_RESIDENT && !is_whole(request, part))
      clear_part(request, word, value, part, WORD_RESERVED);
    else
      settle_word(request, word, value, WORD_RESERVED, 0);
  }
}

static int zero_once(sectors_volume *volume, uint64_t count, uint64_t offset, uint64_t *missing) {
  struct request request = begin(volume, count, offset, NULL);
  int error = prepare(&request);
  if (error == 0) {
    reserve_sectors(&request);
    count_trimmed(&request);
  }
  *missing = request.missing;
  end(&request);
  return error;
}

int sectors_zero(sectors_volume *volume, uint64_t count, uint64_t offset) {
  if (!volume_has(volume, count, offset))
    return -EINVAL;
  if (count == 0)
    return 0;
  if (volume->home || volume->base)
    return discard(volume, count, offset, DISCARD_ALLOCATE);
  for (unsigned tries = 0;;) {
    uint64_t missing;
    int error = zero_once(volume, count, offset, &missing);
    if (error == 0)
      return 0;
    error = try_again(volume, error, missing, count, &tries);
    if (error != 0)
      return error;
  }
}

/* ------------------------------------------------------------------- writing */

/* Whether the locked sector takes its payload as a whole. */
static bool takes_whole(struct request *request, uint64_t sector) {
  return is_whole(request, part_of(request, sector)) && !payload_is_zero(request, sector);
}

/* Tell the policy of sectors that were in memory already, and are written again. */
static void touch_rewritten(struct request *request, uint64_t sector, const uint64_t *values,
                            unsigned count) {
  for (unsigned i = 0; i < count; i++)
    if (!(values[i] & WORD_FRESH))
      sectors_touch(request->volume, sector + i, &values[i], 1);
}

/* The word of a sector that this request is about to fill, without what it will not need. */
static uint64_t locked_value(struct request *request, sector_word *word) {
  uint64_t value = atomic_load(word) & ~WORD_LOCK;
  return drop_compressed(request, word, value);
}

/* Copy the payload of a locked sector and of those after it that are whole
 * and follow in memory too, and unlock them.  Returns the sector after. */
static uint64_t fill_run(struct request *request, uint64_t sector) {
  sector_word *words = word_of(request, sector);
  uint64_t values[NODE_WORDS];
  values[0] = locked_value(request, &words[0]);
  uint32_t slot = word_slot(values[0]);
  uint64_t last = leaf_last(sector) < request->last ? leaf_last(sector) : request->last;
  unsigned count = 1;
  for (; sector + count <= last && takes_whole(request, sector + count); count++) {
    if (word_slot(atomic_load(&words[count])) != slot + count)
      break;
    values[count] = locked_value(request, &words[count]);
  }
  copy_to_sector(memory_of(request, slot), payload_of(request, sector),
                 (uint64_t)count << request->store->sector_shift);
  if (request->store->tiers)
    touch_rewritten(request, sector, values, count);
  for (unsigned i = 0; i < count; i++)
    settle_word(request, &words[i], values[i], WORD_RESIDENT | (values[i] & WORD_RESERVED),
                slot + i);
  return sector + count;
}

/* Copy the payload of a locked sector covered in part. */
static void fill_part(struct request *request, uint64_t sector) {
  sector_word *word = word_of(request, sector);
  uint64_t value = locked_value(request, word);
  struct part part = part_of(request, sector);
  const unsigned char *payload = payload_of(request, sector);
  unsigned char *memory = memory_of(request, word_slot(value));
  uint64_t kept = value & WORD_RESERVED;
  if (!(value & (WORD_RESIDENT | WORD_FRESH))) { /* zeros on zeros */
    settle_word(request, word, value, kept | zero_state(request->volume), 0);
  } else if (value & WORD_RESIDENT && is_zero(payload, part.count)) {
    clear_part(request, word, value, part, kept);
  } else {
    if (value & WORD_FRESH) {
      uint64_t after = part.start + part.count;
      clear_sector(memory, part.start);
      clear_sector(memory + after, sector_size(request) - after);
    }
    copy_to_sector(memory + part.start, payload, part.count);
    settle_word(request, word, value, kept | WORD_RESIDENT, word_slot(value));
  }
}

/* Fill the locked sectors of the request.  Returns how many whole sectors
 * turned out to be zeros. */
static uint64_t fill_sectors(struct request *request) {
  uint64_t zeros = 0;
  for (uint64_t sector = request->first; sector <= request->last;) {
    if (takes_whole(request, sector)) {
      sector = fill_run(request, sector);
      continue;
    }
    if (is_whole(request, part_of(request, sector))) {
      sector_word *word = word_of(request, sector);
      uint64_t value = atomic_load(word) & ~WORD_LOCK;
      settle_word(request, word, value, (value & WORD_RESERVED) | zero_state(request->volume), 0);
      zeros++;
    } else {
      fill_part(request, sector);
    }
    sector++;
  }
  return zeros;
}

static uint64_t whole_sectors(const struct request *request) {
  uint64_t mask = sector_size(request) - 1;
  uint64_t from = (request->offset + mask) & ~mask, to = request->end & ~mask;
  return to > from ? (to - from) >> request->store->sector_shift : 0;
}

static void count_zeros(struct request *request, uint64_t sectors) {
  if (sectors > 0)
    atomic_fetch_add_explicit(&request->volume->zero_detected, sectors, memory_order_relaxed);
}

/* Whether a write of zeros may take the short way of clearing what there is. */
static bool clears(const sectors_volume *volume, const void *buffer, size_t count) {
  return !volume->store->tiers && is_zero(buffer, count);
}

static int write_once(sectors_volume *volume, const void *buffer, size_t count, uint64_t offset,
                      uint64_t *missing) {
  struct request request = begin(volume, count, offset, buffer);
  int error = 0;
  if (clears(volume, buffer, count)) {
    clear_range(&request, true);
    count_zeros(&request, whole_sectors(&request));
  } else {
    error = prepare(&request);
    if (error == 0) {
      uint64_t zeros = fill_sectors(&request);
      count_zeros(&request, zeros);
      if (request.emptied)
        prune(&request);
    }
  }
  *missing = request.missing;
  end(&request);
  return error;
}

int sectors_write(sectors_volume *volume, const void *buffer, size_t count, uint64_t offset) {
  struct tiers *tiers = volume->store->tiers;
  if (!volume_has(volume, count, offset))
    return -EINVAL;
  if (count == 0)
    return 0;
  if (tiers)
    tiers_throttle(volume->store, count);
  for (unsigned tries = 0;;) {
    uint64_t missing;
    int error = write_once(volume, buffer, count, offset, &missing);
    if (tiers)
      tiers_charged(volume->store);
    if (error == 0)
      return 0;
    error = try_again(volume, error, missing, count, &tries);
    if (error != 0)
      return error;
  }
}
