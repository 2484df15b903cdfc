/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where sectors are: extents for clients, and the map for people.
 *
 * Both come from the words, a stretch of them at a time, and, where a word says
 * nothing and something is below, from the extents of what is below.  That
 * may need I/O, so it is asked for outside the walk.
 */

#include "tiers.h"

#include <errno.h>

enum { STRETCH = 256 }; /* pieces gathered in one walk */

struct piece {
  uint64_t first; /* sectors */
  uint64_t last;
  uint64_t flags; /* of the words, those of WORD_STATE */
  uint64_t heat;  /* the sum of percents, for the map */
};

/* What makes two sectors different for who asks. */
typedef uint64_t (*piece_flags)(const sectors_volume *volume, uint64_t value);

struct walk {
  sectors_volume *volume;
  piece_flags flags_of;
  bool with_heat;
  unsigned count;
  struct piece pieces[STRETCH];
};

static void add_piece(struct walk *walk, struct piece piece) {
  struct piece *last = walk->count > 0 ? &walk->pieces[walk->count - 1] : NULL;
  if (last && last->flags == piece.flags) {
    last->last = piece.last;
    last->heat += piece.heat;
  } else {
    walk->pieces[walk->count++] = piece;
  }
}

static unsigned heat_of(sectors_volume *volume, uint64_t value) {
  struct tiers *tiers = volume->store->tiers;
  if (!tiers || !(value & WORD_RESIDENT))
    return 0;
  return policy_percent(tiers->policy,
                        atomic_load_explicit(&tiers->heat[word_slot(value)], memory_order_relaxed));
}

/* Gather pieces from a sector on.  Returns the sector after the last piece. */
static uint64_t gather(struct walk *walk, uint64_t sector, uint64_t last) {
  sectors_volume *volume = walk->volume;
  uint64_t done = sector;
  struct node *leaf;
  struct epoch_token token = epoch_enter(&volume->store->epoch);
  walk->count = 0;
  while (walk->count < STRETCH - 1 && (leaf = index_next(&volume->index, &sector, last))) {
    if (sector > done)
      add_piece(walk, (struct piece){
                          .first = done, .last = sector - 1, .flags = walk->flags_of(volume, 0)});
    uint64_t end = sector | (NODE_WORDS - 1);
    end = end < last ? end : last;
    for (; sector <= end && walk->count < STRETCH; sector++) {
      uint64_t value =
          atomic_load_explicit(&leaf->words[sector % NODE_WORDS], memory_order_relaxed);
      struct piece piece = {
          .first = sector, .last = sector, .flags = walk->flags_of(volume, value)};
      if (walk->with_heat)
        piece.heat = heat_of(volume, value);
      add_piece(walk, piece);
    }
    done = sector;
  }
  bool ended = walk->count < STRETCH - 1;
  epoch_leave(&volume->store->epoch, token);
  if (ended && done <= last) {
    add_piece(walk,
              (struct piece){.first = done, .last = last, .flags = walk->flags_of(volume, 0)});
    done = last + 1;
  }
  return done;
}

/* ------------------------------------------------------------ what is below */

typedef int (*below_function)(void *opaque, uint64_t offset, uint64_t count,
                              enum sectors_tier tier);

struct below_walk {
  sectors_volume *volume;
  below_function function;
  void *opaque;
  uint64_t end; /* of the base, up to a sector */
  int stopped;
};

static int base_extent(void *opaque, uint64_t offset, uint64_t count, bool is_hole) {
  struct below_walk *walk = opaque;
  walk->stopped =
      walk->function(walk->opaque, offset, count, is_hole ? SECTORS_TIER_NONE : SECTORS_TIER_BASE);
  return walk->stopped;
}

static int walk_base(struct below_walk *walk, uint64_t count, uint64_t offset) {
  sectors_volume *volume = walk->volume;
  uint64_t size = volume->base ? backing_size(volume->base) : 0;
  uint64_t within = offset >= size ? 0 : count < size - offset ? count : size - offset;
  if (within > 0 && backing_extents(volume->base, within, offset, base_extent, walk) < 0)
    base_extent(walk, offset, within, false); /* nothing is known */
  if (walk->stopped == 0 && within < count)
    walk->stopped =
        walk->function(walk->opaque, offset + within, count - within, SECTORS_TIER_NONE);
  return walk->stopped;
}

static int image_extent(void *opaque, uint64_t offset, uint64_t count, bool is_hole) {
  struct below_walk *walk = opaque;
  if (is_hole)
    return walk_base(walk, count, offset);
  walk->stopped = walk->function(walk->opaque, offset, count, SECTORS_TIER_IMAGE);
  return walk->stopped;
}

/* Report what a range is of which memory knows nothing. */
static int walk_below(sectors_volume *volume, uint64_t count, uint64_t offset,
                      below_function function, void *opaque) {
  struct below_walk walk = {.volume = volume, .function = function, .opaque = opaque};
  if (!volume->durable)
    return walk_base(&walk, count, offset);
  if (backing_extents(volume->home, count, offset, image_extent, &walk) < 0 && walk.stopped == 0)
    walk.stopped = function(opaque, offset, count, SECTORS_TIER_IMAGE); /* nothing is known */
  return walk.stopped;
}

/* ------------------------------------------------------------------- extents */

struct extent_walk {
  sectors_extent_function function;
  void *opaque;
  uint64_t start; /* bytes: of the extent being gathered */
  uint64_t end;   /* and up to where it goes so far */
  enum sectors_extent type;
  int stopped;
};

/* The range goes on up to end with that type. */
static void extend_to(struct extent_walk *walk, uint64_t end, enum sectors_extent type) {
  if (walk->stopped)
    return;
  if (type != walk->type) {
    if (walk->end > walk->start)
      walk->stopped =
          walk->function(walk->opaque, walk->start, walk->end - walk->start, walk->type);
    walk->start = walk->end;
    walk->type = type;
  }
  walk->end = end;
}

static uint64_t extent_flags(const sectors_volume *volume, uint64_t value) {
  if (value & (WORD_RESIDENT | WORD_COMPRESSED))
    return WORD_RESIDENT;
  if (value & WORD_ZERO)
    return WORD_ZERO;
  if (value & WORD_STORED && !volume->durable)
    return WORD_RESIDENT;
  return value & WORD_RESERVED;
}

static int extend_below(void *opaque, uint64_t offset, uint64_t count, enum sectors_tier tier) {
  struct extent_walk *walk = opaque;
  extend_to(walk, offset + count,
            tier == SECTORS_TIER_NONE ? SECTORS_EXTENT_HOLE : SECTORS_EXTENT_DATA);
  return walk->stopped;
}

int sectors_extents(sectors_volume *volume, uint64_t count, uint64_t offset,
                    sectors_extent_function function, void *opaque) {
  if (!volume_has(volume, count, offset))
    return -EINVAL;
  if (count == 0)
    return 0;
  unsigned shift = volume->store->sector_shift;
  struct walk words = {.volume = volume, .flags_of = extent_flags};
  struct extent_walk walk = {
      .function = function, .opaque = opaque, .start = offset, .end = offset};
  uint64_t sector = offset >> shift, last = (offset + count - 1) >> shift;
  while (sector <= last && !walk.stopped) {
    sector = gather(&words, sector, last);
    for (unsigned i = 0; i < words.count && !walk.stopped; i++) {
      const struct piece *piece = &words.pieces[i];
      uint64_t end = (piece->last + 1) << shift;
      end = end < offset + count ? end : offset + count;
      if (piece->flags == 0 && volume->shows_below)
        walk_below(volume, end - walk.end, walk.end, extend_below, &walk);
      else if (piece->flags == WORD_RESIDENT)
        extend_to(&walk, end, SECTORS_EXTENT_DATA);
      else
        extend_to(&walk, end,
                  piece->flags == WORD_RESERVED ? SECTORS_EXTENT_RESERVED : SECTORS_EXTENT_HOLE);
    }
  }
  if (!walk.stopped)
    walk.stopped = function(opaque, walk.start, offset + count - walk.start, walk.type);
  return walk.stopped;
}

/* ----------------------------------------------------------------------- map */

struct map_walk {
  sectors_map_function function;
  void *opaque;
  struct sectors_map_entry entry;
  int stopped;
};

static uint64_t map_flags(const sectors_volume *volume, uint64_t value) {
  uint64_t flags =
      value & (WORD_RESIDENT | WORD_COMPRESSED | WORD_ZERO | WORD_STORED | WORD_RESERVED);
  if (!volume->durable && flags & (WORD_RESIDENT | WORD_COMPRESSED))
    flags &= ~WORD_STORED;
  if (volume->durable && flags == WORD_STORED)
    flags = 0;
  return flags;
}

static int map_entry(struct map_walk *walk, uint64_t end, enum sectors_tier tier, int dirty,
                     unsigned heat, unsigned priority) {
  walk->entry.count = end - walk->entry.offset;
  walk->entry.tier = tier;
  walk->entry.dirty = dirty;
  walk->entry.heat = heat;
  walk->entry.priority = priority;
  if (walk->entry.count > 0)
    walk->stopped = walk->function(walk->opaque, &walk->entry);
  walk->entry.offset = end;
  return walk->stopped;
}

static int map_below(void *opaque, uint64_t offset, uint64_t count, enum sectors_tier tier) {
  struct map_walk *walk = opaque;
  return map_entry(walk, offset + count, tier, 0, 0, walk->entry.priority);
}

static enum sectors_tier tier_of(uint64_t flags) {
  if (flags & WORD_RESIDENT)
    return SECTORS_TIER_MEMORY;
  if (flags & WORD_COMPRESSED)
    return SECTORS_TIER_COMPRESSED;
  return flags == WORD_STORED ? SECTORS_TIER_SPILL : SECTORS_TIER_NONE;
}

/* Report a piece, cut where priorities change. */
static void map_piece(struct map_walk *walk, sectors_volume *volume, const struct piece *piece,
                      uint64_t end) {
  unsigned shift = volume->store->sector_shift;
  unsigned heat = (unsigned)(piece->heat / (piece->last - piece->first + 1));
  while (walk->entry.offset < end && !walk->stopped) {
    uint64_t start = walk->entry.offset, sector = start >> shift;
    uint64_t last = priority_last(&volume->priorities, sector);
    unsigned priority = priority_of(&volume->priorities, sector);
    uint64_t until = last < piece->last ? (last + 1) << shift : end;
    walk->entry.priority = priority;
    if (piece->flags == 0 && volume->shows_below)
      walk_below(volume, until - start, start, map_below, walk);
    else
      map_entry(walk, until, tier_of(piece->flags), volume->durable && is_dirty(piece->flags), heat,
                priority);
  }
}

int sectors_map(sectors_volume *volume, uint64_t count, uint64_t offset,
                sectors_map_function function, void *opaque) {
  if (!volume_has(volume, count, offset))
    return -EINVAL;
  if (count == 0)
    return 0;
  unsigned shift = volume->store->sector_shift;
  struct walk words = {.volume = volume, .flags_of = map_flags, .with_heat = true};
  struct map_walk walk = {.function = function, .opaque = opaque, .entry.offset = offset};
  uint64_t sector = offset >> shift, last = (offset + count - 1) >> shift;
  while (sector <= last && !walk.stopped) {
    sector = gather(&words, sector, last);
    for (unsigned i = 0; i < words.count && !walk.stopped; i++) {
      uint64_t end = (words.pieces[i].last + 1) << shift;
      map_piece(&walk, volume, &words.pieces[i], end < offset + count ? end : offset + count);
    }
  }
  return walk.stopped;
}
