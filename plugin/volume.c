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
 */

#include "copy.h"
#include "store.h"

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

  /* What it changed, to be made known at its end. */
  int64_t live;
  int64_t reserved;
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

static bool in_volume(const sectors_volume *volume, uint64_t count, uint64_t offset) {
  uint64_t size = sectors_volume_size(volume);
  return offset <= size && count <= size - offset;
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
  if (request->live != 0)
    atomic_fetch_add_explicit(&volume->live, (uint64_t)request->live, memory_order_relaxed);
  if (request->reserved != 0)
    atomic_fetch_add_explicit(&volume->reserved, (uint64_t)request->reserved, memory_order_relaxed);
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

static uint64_t leaf_start(uint64_t sector) {
  return sector & ~(uint64_t)(NODE_WORDS - 1);
}

static uint64_t leaf_last(uint64_t sector) {
  return sector | (NODE_WORDS - 1);
}

static unsigned place_in_leaf(uint64_t sector) {
  return (unsigned)(sector % NODE_WORDS);
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

/* Turn a locked word from value to the state that flags and slot say, unlock
 * it, and keep account. */
static void settle_word(struct request *request, sector_word *word, uint64_t value, uint64_t flags,
                        uint32_t slot) {
  bool was_reserved = (value & (WORD_RESERVED | WORD_RESIDENT)) == WORD_RESERVED;
  bool is_reserved = (flags & (WORD_RESERVED | WORD_RESIDENT)) == WORD_RESERVED;
  bool was_charged = value & (WORD_RESIDENT | WORD_RESERVED | WORD_FRESH);
  bool had_slot = value & WORD_RESIDENT || (value & WORD_FRESH && request->payload);
  word_unlock(word, word_next(value, flags, slot));
  request->live += !!(flags & WORD_RESIDENT) - !!(value & WORD_RESIDENT);
  request->reserved += is_reserved - was_reserved;
  request->emptied |= flags == 0;
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

/* ------------------------------------------------------------------- reading */

/* Copy from a sector that writers keep changing: lock them out.  Only data is
 * locked, so that no empty leaf is kept from being unlinked. */
static void read_locked(sectors_store *store, sector_word *word, unsigned char *buffer,
                        struct part part) {
  uint64_t value;
  if (word_lock_if(word, WORD_RESIDENT, &value)) {
    unsigned char *memory = arena_address(&store->arena, word_slot(value));
    copy_from_sector(buffer, memory + part.start, part.count);
    word_unlock(word, value);
  } else {
    memset(buffer, 0, part.count);
  }
}

/* Read count bytes at offset of a leaf, both inside it.  Neighbours in memory
 * are copied at once. */
static void read_leaf(sectors_store *store, struct node *leaf, unsigned char *buffer,
                      uint64_t count, uint64_t offset) {
  const uint64_t size = UINT64_C(1) << store->sector_shift;
  unsigned failures = 0;
  while (count > 0) {
    unsigned first = (unsigned)(offset >> store->sector_shift), words = 1;
    uint64_t start = offset % size, bytes = size - start;
    uint64_t seen[NODE_WORDS];
    seen[0] = word_settled(&leaf->words[first]);
    if (!(seen[0] & WORD_RESIDENT)) {
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
        read_locked(store, &leaf->words[first], buffer, (struct part){start, bytes});
        failures = 0;
      }
    }
    buffer += bytes;
    offset += bytes;
    count -= bytes;
  }
}

int sectors_read(sectors_volume *volume, void *buffer, size_t count, uint64_t offset) {
  sectors_store *store = volume->store;
  const uint64_t leaf_size = (uint64_t)NODE_WORDS << store->sector_shift;
  unsigned char *to = buffer;
  if (!in_volume(volume, count, offset))
    return -EINVAL;
  struct epoch_token token = epoch_enter(&store->epoch);
  while (count > 0) {
    uint64_t start = offset % leaf_size;
    uint64_t bytes = leaf_size - start < count ? leaf_size - start : count;
    struct node *leaf = index_find(&volume->index, offset >> store->sector_shift);
    if (leaf)
      read_leaf(store, leaf, to, bytes, start);
    else
      memset(to, 0, bytes);
    to += bytes;
    offset += bytes;
    count -= bytes;
  }
  epoch_leave(&store->epoch, token);
  return 0;
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

/* Give a locked word all it will need.  0, or -ENOSPC with nothing changed. */
static int prepare_word(struct request *request, sector_word *word, uint64_t value,
                        uint64_t sector) {
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
  if (needs_slot || needs_charge)
    atomic_store_explicit(word, value | WORD_LOCK | WORD_FRESH | (uint64_t)slot << 32,
                          memory_order_release);
  return 0;
}

/* Unlock the sectors from the first to before end_sector as they were. */
static void undo(struct request *request, uint64_t end_sector) {
  for (uint64_t sector = request->first; sector < end_sector; sector++) {
    sector_word *word = word_of(request, sector);
    uint64_t value = atomic_load(word) & ~WORD_LOCK;
    settle_word(request, word, value, value & (WORD_RESIDENT | WORD_RESERVED),
                value & WORD_RESIDENT ? word_slot(value) : 0);
  }
}

/* Lock all sectors of the request, each with all it will need.
 * 0, or -ENOSPC with nothing changed. */
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

/* Set all aside, and lock.  0, or -ENOSPC with nothing changed. */
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

/* What a request does that found no space, outside of it.  Returns whether to
 * try again. */
static bool make_room(sectors_store *store, unsigned *tries) {
  *tries += node_pool_settle(store) ? 1 : VAIN_TRY;
  return *tries <= TRIES_FOR_SPACE;
}

/* ------------------------------------------------------------------- zeroing */

/* Zero a part of a locked, resident sector; it may turn out empty.  flags are
 * what the word keeps if it does. */
static void clear_part(struct request *request, sector_word *word, uint64_t value, struct part part,
                       uint64_t flags) {
  unsigned char *memory = memory_of(request, word_slot(value));
  clear_sector(memory + part.start, part.count);
  if (is_zero(memory, sector_size(request)))
    settle_word(request, word, value, flags, 0);
  else
    settle_word(request, word, value, flags | WORD_RESIDENT, word_slot(value));
}

/* Whether the part is all there is of its sector, the last of a volume. */
static bool ends_volume(const struct request *request, uint64_t sector, struct part part) {
  uint64_t start = sector << request->store->sector_shift;
  return part.start == 0 && start + part.count == sectors_volume_size(request->volume);
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
  if (request->live < 0)
    atomic_fetch_add_explicit(&request->volume->trimmed, (uint64_t)-request->live,
                              memory_order_relaxed);
}

int sectors_trim(sectors_volume *volume, uint64_t count, uint64_t offset) {
  if (!in_volume(volume, count, offset))
    return -EINVAL;
  if (count == 0)
    return 0;
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

static int zero_once(sectors_volume *volume, uint64_t count, uint64_t offset) {
  struct request request = begin(volume, count, offset, NULL);
  int error = prepare(&request);
  if (error == 0) {
    reserve_sectors(&request);
    count_trimmed(&request);
  }
  end(&request);
  return error;
}

int sectors_zero(sectors_volume *volume, uint64_t count, uint64_t offset) {
  if (!in_volume(volume, count, offset))
    return -EINVAL;
  if (count == 0)
    return 0;
  int error = zero_once(volume, count, offset);
  for (unsigned tries = 0; error == -ENOSPC && make_room(volume->store, &tries);)
    error = zero_once(volume, count, offset);
  return error;
}

/* ------------------------------------------------------------------- writing */

/* Whether the locked sector takes its payload as a whole. */
static bool takes_whole(struct request *request, uint64_t sector) {
  return is_whole(request, part_of(request, sector)) && !payload_is_zero(request, sector);
}

/* Copy the payload of a locked sector and of those after it that are whole
 * and follow in memory too, and unlock them.  Returns the sector after. */
static uint64_t fill_run(struct request *request, uint64_t sector) {
  sector_word *words = word_of(request, sector);
  uint64_t values[NODE_WORDS];
  values[0] = atomic_load(&words[0]) & ~WORD_LOCK;
  uint32_t slot = word_slot(values[0]);
  uint64_t last = leaf_last(sector) < request->last ? leaf_last(sector) : request->last;
  unsigned count = 1;
  for (; sector + count <= last && takes_whole(request, sector + count); count++) {
    values[count] = atomic_load(&words[count]) & ~WORD_LOCK;
    if (word_slot(values[count]) != slot + count)
      break;
  }
  copy_to_sector(memory_of(request, slot), payload_of(request, sector),
                 (uint64_t)count << request->store->sector_shift);
  for (unsigned i = 0; i < count; i++)
    settle_word(request, &words[i], values[i], WORD_RESIDENT | (values[i] & WORD_RESERVED),
                slot + i);
  return sector + count;
}

/* Copy the payload of a locked sector covered in part. */
static void fill_part(struct request *request, uint64_t sector) {
  sector_word *word = word_of(request, sector);
  uint64_t value = atomic_load(word) & ~WORD_LOCK;
  struct part part = part_of(request, sector);
  const unsigned char *payload = payload_of(request, sector);
  unsigned char *memory = memory_of(request, word_slot(value));
  uint64_t kept = value & WORD_RESERVED;
  if (!(value & (WORD_RESIDENT | WORD_FRESH))) { /* zeros on zeros */
    settle_word(request, word, value, kept, 0);
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
      settle_word(request, word, value, value & WORD_RESERVED, 0);
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

static int write_once(sectors_volume *volume, const void *buffer, size_t count, uint64_t offset) {
  struct request request = begin(volume, count, offset, buffer);
  int error = 0;
  if (is_zero(buffer, count)) {
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
  end(&request);
  return error;
}

int sectors_write(sectors_volume *volume, const void *buffer, size_t count, uint64_t offset) {
  if (!in_volume(volume, count, offset))
    return -EINVAL;
  if (count == 0)
    return 0;
  int error = write_once(volume, buffer, count, offset);
  for (unsigned tries = 0; error == -ENOSPC && make_room(volume->store, &tries);)
    error = write_once(volume, buffer, count, offset);
  return error;
}

/* ----------------------------------------------------------- flush and cache */

int sectors_flush(sectors_volume *volume) {
  (void)volume;
  return 0;
}

int sectors_cache(sectors_volume *volume, uint64_t count, uint64_t offset) {
  return in_volume(volume, count, offset) ? 0 : -EINVAL;
}

/* ------------------------------------------------------------------- extents */

struct extent_walk {
  sectors_extent_function function;
  void *opaque;
  uint64_t start; /* bytes: of the extent being gathered */
  enum sectors_extent type;
  int stopped;
};

/* The range from here, in bytes, is of that type. */
static void walk_to(struct extent_walk *walk, uint64_t here, enum sectors_extent type) {
  if (type == walk->type || walk->stopped)
    return;
  if (here > walk->start)
    walk->stopped = walk->function(walk->opaque, walk->start, here - walk->start, walk->type);
  walk->start = here;
  walk->type = type;
}

static enum sectors_extent extent_type(uint64_t value) {
  if (value & WORD_RESIDENT)
    return SECTORS_EXTENT_DATA;
  return value & WORD_RESERVED ? SECTORS_EXTENT_RESERVED : SECTORS_EXTENT_HOLE;
}

int sectors_extents(sectors_volume *volume, uint64_t count, uint64_t offset,
                    sectors_extent_function function, void *opaque) {
  if (!in_volume(volume, count, offset))
    return -EINVAL;
  if (count == 0)
    return 0;
  unsigned shift = volume->store->sector_shift;
  struct epoch_token token = epoch_enter(&volume->store->epoch);
  struct extent_walk walk = {.function = function, .opaque = opaque, .start = offset};
  uint64_t sector = offset >> shift, last = (offset + count - 1) >> shift, done = sector;
  struct node *leaf;
  while (!walk.stopped && (leaf = index_next(&volume->index, &sector, last))) {
    if (sector > done)
      walk_to(&walk, done << shift > offset ? done << shift : offset, SECTORS_EXTENT_HOLE);
    for (; sector <= last && !walk.stopped; sector++) {
      uint64_t value =
          atomic_load_explicit(&leaf->words[place_in_leaf(sector)], memory_order_relaxed);
      walk_to(&walk, sector << shift > offset ? sector << shift : offset, extent_type(value));
      if (sector == leaf_last(sector)) {
        sector++;
        break;
      }
    }
    done = sector;
  }
  if (done <= last)
    walk_to(&walk, done << shift > offset ? done << shift : offset, SECTORS_EXTENT_HOLE);
  if (!walk.stopped)
    walk.stopped = function(opaque, walk.start, offset + count - walk.start, walk.type);
  epoch_leave(&volume->store->epoch, token);
  return walk.stopped;
}
