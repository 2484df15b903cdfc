/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Moving sectors out of memory.
 *
 * At each step the policy names a score, from a sample of sectors all over
 * memory, up to which sectors have to go so that the goal is reached.  A hand goes
 * around the sectors of all volumes, in the order of their numbers; those it
 * comes by that score no more are victims.  They are compressed, if that is asked
 * for and helps; else written below, in order, and dropped when that is safe.
 */

#include "tiers.h"

#include "copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
  SAMPLE = 4096,          /* sectors all over memory by which the others are judged */
  SAMPLE_TRIES = 2,       /* slots looked at for each */
  LEAST_VICTIMS = 64,     /* sectors worth a step */
  COMPRESSED_VICTIMS = 4, /* one of so many compressed sectors goes below, if there are too many */
  MAX_GROUP_UNITS = 8,    /* units that a group of sectors may be scattered over */
  FEW_GROUP_UNITS = 3,    /* the same when much of compressed memory is of no use */
  USELESS_SHARE = 4,      /* much is one dropped sector to so many that are there */
  COMPACT_GROUPS = 64,    /* looked at in one step */
  COMPRESSED_SHARE = 2,   /* one of so many bytes of the limit; what is more moves below */
  INDEX_SHARE = 16,       /* the same of histories of sectors that an image has */
  MAX_WINDOW_VOLUMES = 64,
};

struct victim {
  sectors_volume *volume;
  uint64_t sector;
};

struct evictor {
  sectors_store *store;
  unsigned count;
  unsigned volumes;
  uint32_t cut;        /* scores up to this go */
  unsigned compressed; /* candidates that are compressed */
  uint64_t random;
  bool compressed_too; /* compressed sectors move below as well */
  bool vain;           /* nothing could go in the last step */
  bool forgets;        /* the index is large: forget histories */
  bool compacts;       /* much of compressed memory is of no use */
  struct candidate sample[SAMPLE];
  struct candidate candidates[WINDOW];
  struct victim window[WINDOW];
  struct victim victims[WINDOW];
  sectors_volume *used[MAX_WINDOW_VOLUMES];
};

struct evictor *evictor_create(sectors_store *store) {
  struct evictor *evictor = calloc(1, sizeof *evictor);
  if (evictor)
    evictor->store = store;
  return evictor;
}

void evictor_destroy(struct evictor *evictor) {
  free(evictor);
}

/* ----------------------------------------------------------------- gathering */

/* Whether a resident sector can go anywhere. */
static bool has_way_out(const sectors_volume *volume, uint64_t value) {
  if (volume->home)
    return true;
  return atomic_load_explicit(&volume->store->tiers->compress, memory_order_relaxed) !=
             SECTORS_COMPRESS_NONE &&
         !(value & (WORD_STIFF | WORD_RESERVED));
}

/* Ask the policy for the score up to which so many sectors have to go. */
static void find_cut(struct evictor *evictor, enum evict_mode mode, uint64_t wanted) {
  sectors_store *store = evictor->store;
  struct tiers *tiers = store->tiers;
  uint64_t slots = (uint64_t)atomic_load(&store->arena.opened) * store->arena.slab_slots;
  uint64_t resident = atomic_load(&tiers->resident);
  unsigned count = 0;
  for (unsigned i = 0; slots > 0 && i < SAMPLE * SAMPLE_TRIES && count < SAMPLE; i++) {
    evictor->random = evictor->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    uint64_t slot = (evictor->random >> 20) % slots;
    uint32_t heat = atomic_load_explicit(&tiers->heat[slot], memory_order_relaxed);
    if (heat == 0 || (mode == EVICT_COLD && policy_is_pinned(heat)))
      continue;
    evictor->sample[count++].score = policy_score(tiers->policy, heat);
  }
  evictor->cut =
      count > 0 ? policy_cut(tiers->policy, evictor->sample, count, wanted, resident) : UINT32_MAX;
  atomic_store(&tiers->threshold, evictor->cut);
  if (count > 0)
    atomic_store(&tiers->median,
                 policy_cut(tiers->policy, evictor->sample, count, count / 2, count));
}

static void gather_leaf(struct evictor *evictor, sectors_volume *volume, struct node *leaf,
                        uint64_t first, enum evict_mode mode) {
  struct tiers *tiers = evictor->store->tiers;
  for (unsigned i = (unsigned)(first % NODE_WORDS); i < NODE_WORDS && evictor->count < WINDOW;
       i++) {
    uint64_t value = atomic_load_explicit(&leaf->words[i], memory_order_relaxed);
    uint32_t score;
    if (value & (WORD_LOCK | WORD_BUSY | WORD_FROZEN))
      continue;
    if (value & WORD_RESIDENT) {
      uint32_t heat = atomic_load_explicit(&tiers->heat[word_slot(value)], memory_order_relaxed);
      if (!has_way_out(volume, value) || (mode == EVICT_COLD && policy_is_pinned(heat)))
        continue;
      score = policy_score(tiers->policy, heat);
      if (score > evictor->cut)
        continue;
    } else if (value & WORD_COMPRESSED && volume->home && evictor->compressed_too) {
      if (!word_try_lock(&leaf->words[i], &value))
        continue;
      uint32_t stamp = value & WORD_COMPRESSED ? unit_stamp(tiers->units, word_slot(value)) : 0;
      word_unlock(&leaf->words[i], value);
      score = policy_history_score(tiers->policy, stamp);
      evictor->compressed++;
    } else {
      continue;
    }
    evictor->candidates[evictor->count] =
        (struct candidate){.score = score, .place = evictor->count};
    evictor->window[evictor->count++] =
        (struct victim){.volume = volume, .sector = (first & ~(uint64_t)(NODE_WORDS - 1)) + i};
  }
}

/* The volume at the hand, or after it; with its use counted.  NULL at the end. */
static sectors_volume *volume_at_hand(sectors_store *store) {
  pthread_mutex_lock(&store->volumes_lock);
  sectors_volume *volume = store->volumes;
  while (volume && volume->number < store->tiers->hand_volume)
    volume = volume->next;
  if (volume)
    atomic_fetch_add(&volume->users, 1);
  pthread_mutex_unlock(&store->volumes_lock);
  return volume;
}

/* Forget the histories of a leaf that has nothing else: its sectors are in the image. */
static void forget_leaf(struct evictor *evictor, sectors_volume *volume, uint64_t sector) {
  if (evictor->forgets && volume->durable)
    index_prune(evictor->store, &volume->index, sector);
}

/* Go on with the hand in one volume.  Returns whether it came to the volume's end. */
static bool gather_volume(struct evictor *evictor, sectors_volume *volume, unsigned *leaves,
                          enum evict_mode mode) {
  struct tiers *tiers = evictor->store->tiers;
  uint64_t last = UINT64_MAX >> 1;
  struct epoch_token token = epoch_enter(&evictor->store->epoch);
  struct node *leaf = NULL;
  while (*leaves > 0 && evictor->count < WINDOW &&
         (leaf = index_next(&volume->index, &tiers->hand_sector, last))) {
    gather_leaf(evictor, volume, leaf, tiers->hand_sector, mode);
    if (evictor->count == WINDOW) {
      tiers->hand_sector = evictor->window[WINDOW - 1].sector + 1;
      break;
    }
    forget_leaf(evictor, volume, tiers->hand_sector);
    tiers->hand_sector = (tiers->hand_sector | (NODE_WORDS - 1)) + 1;
    --*leaves;
  }
  epoch_leave(&evictor->store->epoch, token);
  return *leaves > 0 && evictor->count < WINDOW;
}

/* Collect a window, of so many that have to go; the volumes in it are in use until release_volumes.
 */
static void gather(struct evictor *evictor, enum evict_mode mode, uint64_t wanted) {
  sectors_store *store = evictor->store;
  struct tiers *tiers = store->tiers;
  struct units_statistics units = {0};
  unsigned leaves = WINDOW_LEAVES;
  uint64_t limit = atomic_load(&store->limit);
  units_statistics(tiers->units, &units);
  evictor->compressed_too = mode == EVICT_GC || evictor->vain ||
                            wanted > atomic_load(&tiers->resident) / 2 ||
                            units.bytes >> store->sector_shift > limit / COMPRESSED_SHARE;
  evictor->compacts = units.dropped * USELESS_SHARE > units.sectors;
  evictor->forgets = atomic_load(&store->nodes.pages) > limit / INDEX_SHARE;
  evictor->count = evictor->compressed = evictor->volumes = 0;
  pthread_mutex_lock(&tiers->sweeping);
  uint64_t circles = tiers->circles;
  while (evictor->volumes < MAX_WINDOW_VOLUMES) {
    sectors_volume *volume = volume_at_hand(store);
    if (!volume) {
      tiers->hand_volume = tiers->hand_sector = 0;
      if (tiers->circles++ != circles || leaves == 0)
        break; /* once around is enough for one step */
      continue;
    }
    evictor->used[evictor->volumes++] = volume;
    if (volume->number != tiers->hand_volume) {
      tiers->hand_volume = volume->number;
      tiers->hand_sector = 0;
    }
    if (!gather_volume(evictor, volume, &leaves, mode))
      break;
    tiers->hand_volume++;
    tiers->hand_sector = 0;
  }
  pthread_mutex_unlock(&tiers->sweeping);
}

static void release_volumes(struct evictor *evictor) {
  while (evictor->volumes > 0)
    atomic_fetch_sub(&evictor->used[--evictor->volumes]->users, 1);
}

/* ------------------------------------------------------------------ choosing */

static int compare_victims(const void *a, const void *b) {
  const struct victim *left = a, *right = b;
  if (left->volume != right->volume)
    return left->volume->number < right->volume->number ? -1 : 1;
  return (left->sector > right->sector) - (left->sector < right->sector);
}

/* Pick the victims of the window, at most so many.  Returns their number. */
static unsigned choose(struct evictor *evictor, uint64_t most) {
  unsigned wanted = evictor->count - evictor->compressed;
  wanted += (evictor->compressed + COMPRESSED_VICTIMS - 1) / COMPRESSED_VICTIMS;
  if (most < LEAST_VICTIMS)
    most = LEAST_VICTIMS;
  if (wanted > most)
    wanted = (unsigned)most;
  policy_choose(evictor->store->tiers->policy, evictor->candidates, evictor->count, wanted);
  for (unsigned i = 0; i < wanted; i++)
    evictor->victims[i] = evictor->window[evictor->candidates[i].place];
  qsort(evictor->victims, wanted, sizeof *evictor->victims, compare_victims);
  return wanted;
}

/* ---------------------------------------------------------------- compressing */

/* The sectors of one group on their way to a unit. */
struct group {
  sectors_volume *volume;
  struct node *leaf;
  uint64_t first; /* sector: of the group */
  uint32_t taken; /* those that are BUSY for this, and in data */
  uint32_t stamp;
  unsigned char *data;
  unsigned count;
  uint64_t noted[UNIT_SECTORS];
};

static sector_word *group_word(const struct group *group, unsigned i) {
  return &group->leaf->words[(group->first + i) % NODE_WORDS];
}

/* Take one sector into the group, after those before it. */
static void take_sector(struct group *group, unsigned i, uint64_t wanted_state) {
  sectors_volume *volume = group->volume;
  sectors_store *store = volume->store;
  uint64_t bytes = UINT64_C(1) << store->sector_shift, value;
  unsigned char *to = group->data + group->count * bytes;
  sector_word *word = group_word(group, i);
  if (!word_try_lock(word, &value))
    return;
  bool fits = value & wanted_state && !(value & (WORD_BUSY | WORD_STIFF));
  if (!volume->home && value & WORD_RESERVED)
    fits = false;
  if (fits && value & WORD_RESIDENT)
    copy_from_sector(to, arena_address(&store->arena, word_slot(value)), bytes);
  else if (fits)
    fits = unit_read(store->tiers->units, word_slot(value), 1u << i, to) == 0;
  if (!fits) {
    word_unlock(word, value);
    return;
  }
  uint32_t history = value & WORD_RESIDENT ? sector_history(volume, group->first + i, value)
                                           : unit_stamp(store->tiers->units, word_slot(value));
  if (policy_history_score(store->tiers->policy, history) >=
      policy_history_score(store->tiers->policy, group->stamp))
    group->stamp = history;
  group->noted[i] = word_next(value, (value & WORD_STATE) | WORD_BUSY, word_slot(value));
  word_unlock(word, group->noted[i]);
  group->taken |= 1u << i;
  group->count++;
}

/* The units that sectors of a group are in. */
struct members {
  unsigned count;
  uint32_t reference[UNIT_SECTORS];
  uint32_t present[UNIT_SECTORS]; /* sectors of the group */
  uint32_t framed[UNIT_SECTORS];
};

static struct members find_members(const struct group *group, uint32_t span) {
  struct units *units = group->volume->store->tiers->units;
  struct members members = {0};
  for (unsigned i = 0; i < UNIT_SECTORS; i++) {
    sector_word *word = group_word(group, i);
    uint64_t value = atomic_load_explicit(word, memory_order_relaxed);
    if (!(span >> i & 1) || !(value & WORD_COMPRESSED) || value & WORD_BUSY ||
        !word_try_lock(word, &value))
      continue;
    if (value & WORD_COMPRESSED && !(value & WORD_BUSY)) {
      unsigned j = 0;
      while (j < members.count && members.reference[j] != word_slot(value))
        j++;
      if (j == members.count) {
        members.reference[members.count++] = word_slot(value);
        members.framed[j] = unit_framed(units, word_slot(value));
      }
      members.present[j] |= 1u << i;
    }
    word_unlock(word, value);
  }
  return members;
}

static unsigned bits_in(uint32_t mask) {
  return (unsigned)__builtin_popcount(mask);
}

/* The compressed sectors of the group, of those in span, that are to be merged with so many
 * new ones, or without any: those of units that are mostly of no use any more, or no larger than
 * what comes; and all if they are scattered over many units. */
static uint32_t to_merge(const struct group *group, uint32_t span, unsigned news, bool compacts) {
  struct members members = find_members(group, span);
  unsigned most = compacts ? FEW_GROUP_UNITS : MAX_GROUP_UNITS;
  uint32_t all = 0, some = 0;
  for (unsigned j = 0; j < members.count; j++) {
    unsigned framed = bits_in(members.framed[j]), present = bits_in(members.present[j]);
    all |= members.present[j];
    if ((framed - present) * (compacts ? USELESS_SHARE : 2) >= framed ||
        (news >= FEW_GROUP_UNITS && present <= news))
      some |= members.present[j];
  }
  return members.count + (news > 0) >= most ? all : some;
}

/* Let a sector be that was on its way. */
static void let_be(sector_word *word, uint64_t value, uint64_t more) {
  word_unlock(word, word_next(value, (value & WORD_STATE) | more, word_slot(value)));
}

/* Settle the sectors of a group: those that did not change are now in the unit.
 * Returns how many left plain memory. */
static uint64_t settle_group(struct group *group, uint32_t unit, int error) {
  sectors_volume *volume = group->volume;
  struct units *units = volume->store->tiers->units;
  struct tally tally = {0};
  uint64_t moved = 0;
  for (unsigned i = 0; i < UNIT_SECTORS; i++) {
    uint64_t value = 0;
    if (!(group->taken >> i & 1))
      continue;
    sector_word *word = group_word(group, i);
    word_lock(word, &value);
    if (error != 0 || value != group->noted[i]) {
      if (error == 0)
        unit_drop(units, unit, 1u << i);
      else if (error == -E2BIG && value == group->noted[i] && value & WORD_RESIDENT)
        value |= WORD_STIFF;
      if (volume->durable && is_dirty(value) &&
          dirty_add(&volume->dirty_leaves, (group->first + i) / NODE_WORDS) != 0)
        atomic_store(&volume->dirty_unknown, true);
      let_be(word, value, 0);
      continue;
    }
    if (value & WORD_COMPRESSED)
      unit_drop(units, word_slot(value), 1u << i);
    moved += (value & WORD_RESIDENT) != 0;
    sector_settle(volume, word, value & ~WORD_BUSY,
                  WORD_COMPRESSED | (value & (WORD_STORED | WORD_RESERVED)), unit, &tally);
  }
  tally_commit(&tally, volume);
  return moved;
}

static enum unit_method unit_method(sectors_store *store) {
  switch (atomic_load(&store->tiers->compress)) {
  case SECTORS_COMPRESS_LZ4:
    return UNIT_LZ4;
  case SECTORS_COMPRESS_ZSTD:
    return UNIT_ZSTD;
  default:
    return UNIT_NONE;
  }
}

/* Compress the sectors in mask, which are among those in span, of the group that starts at
 * first.  Returns how many left plain memory. */
static uint64_t compress_group(sectors_volume *volume, uint64_t first, uint32_t span, uint32_t mask,
                               bool compacts) {
  sectors_store *store = volume->store;
  struct group group = {.volume = volume, .first = first};
  enum unit_method method = unit_method(store);
  uint32_t unit = 0;
  if (method == UNIT_NONE)
    return 0; /* just now somebody has set it so */
  group.data = buffers_take(&store->tiers->buffers);
  if (!group.data)
    return 0;
  struct epoch_token token = epoch_enter(&store->epoch);
  group.leaf = index_find(&volume->index, first);
  if (group.leaf) {
    uint32_t merge = to_merge(&group, span, bits_in(mask), compacts);
    for (unsigned i = 0; i < UNIT_SECTORS; i++)
      if (mask >> i & 1)
        take_sector(&group, i, WORD_RESIDENT);
      else if (merge >> i & 1)
        take_sector(&group, i, WORD_COMPRESSED);
  }
  epoch_leave(&store->epoch, token);
  uint64_t moved = 0;
  if (group.taken != 0) {
    int error = unit_make(store->tiers->units, method, group.data, group.taken, group.stamp, &unit);
    moved = settle_group(&group, unit, error);
    if (moved > 0)
      atomic_fetch_add_explicit(&volume->evicted, moved, memory_order_relaxed);
  }
  buffers_give(&store->tiers->buffers, group.data);
  return moved;
}

/* Whether a sector in this state is to be compressed rather than moved below. */
static bool compresses(sectors_volume *volume, uint64_t sector, bool compressed_too) {
  struct tiers *tiers = volume->store->tiers;
  if (compressed_too && volume->home)
    return false;
  if (atomic_load_explicit(&tiers->compress, memory_order_relaxed) == SECTORS_COMPRESS_NONE)
    return false;
  struct epoch_token token = epoch_enter(&volume->store->epoch);
  struct node *leaf = index_find(&volume->index, sector);
  uint64_t value = leaf ? atomic_load(&leaf->words[sector % NODE_WORDS]) : 0;
  epoch_leave(&volume->store->epoch, token);
  return (value & (WORD_RESIDENT | WORD_STIFF)) == WORD_RESIDENT;
}

/* Compress those of the victims, all of one volume, that can be, and keep the
 * others at the front.  Returns how many left plain memory; *count becomes the number of
 * others. */
static uint64_t compress_victims(struct evictor *evictor, struct victim *victims, unsigned *count) {
  sectors_volume *volume = victims[0].volume;
  uint32_t sectors = units_span(evictor->store->tiers->units);
  unsigned kept = 0;
  uint64_t moved = 0;
  for (unsigned i = 0; i < *count;) {
    uint64_t start = victims[i].sector & ~(uint64_t)(sectors - 1);
    uint64_t first = start & ~(uint64_t)(UNIT_SECTORS - 1);
    uint32_t span = ((1u << sectors) - 1) << (start - first), mask = 0;
    for (; i < *count && victims[i].sector - start < sectors; i++) {
      if (compresses(volume, victims[i].sector, evictor->compressed_too))
        mask |= 1u << (victims[i].sector - first);
      else
        victims[kept++] = victims[i];
    }
    if (mask != 0)
      moved += compress_group(volume, first, span, mask, evictor->compacts);
  }
  *count = kept;
  return moved;
}

/* Go on to the next leaf, and around.  Returns its first sector's group with the volume in
 * use, or a NULL volume. */
static struct victim next_to_compact(sectors_store *store) {
  struct tiers *tiers = store->tiers;
  struct victim place = {0};
  pthread_mutex_lock(&tiers->sweeping);
  pthread_mutex_lock(&store->volumes_lock);
  sectors_volume *volume = store->volumes;
  while (volume && volume->number < tiers->compact_volume)
    volume = volume->next;
  if (volume)
    atomic_fetch_add(&volume->users, 1);
  pthread_mutex_unlock(&store->volumes_lock);
  if (!volume) {
    tiers->compact_volume = tiers->compact_sector = 0;
  } else {
    if (volume->number != tiers->compact_volume)
      tiers->compact_sector = 0;
    tiers->compact_volume = volume->number;
    struct epoch_token token = epoch_enter(&store->epoch);
    bool found = index_next(&volume->index, &tiers->compact_sector, UINT64_MAX >> 1) != NULL;
    epoch_leave(&store->epoch, token);
    place = (struct victim){.volume = found ? volume : NULL, .sector = tiers->compact_sector};
    if (found) {
      tiers->compact_sector = (tiers->compact_sector | (UNIT_SECTORS - 1)) + 1;
    } else {
      tiers->compact_volume++;
      tiers->compact_sector = 0;
      atomic_fetch_sub(&volume->users, 1);
    }
  }
  pthread_mutex_unlock(&tiers->sweeping);
  return place;
}

/* Make some groups anew whose units are of little use.  Returns how many sectors of the
 * limit that freed. */
static uint64_t compact(struct evictor *evictor) {
  sectors_store *store = evictor->store;
  uint32_t sectors = units_span(store->tiers->units);
  struct units_statistics before, after;
  units_statistics(store->tiers->units, &before);
  if (!evictor->compacts || unit_method(store) == UNIT_NONE)
    return 0;
  for (unsigned i = 0; i < COMPACT_GROUPS; i++) {
    struct victim place = next_to_compact(store);
    if (!place.volume)
      continue;
    uint64_t first = place.sector & ~(uint64_t)(UNIT_SECTORS - 1);
    for (uint32_t start = 0; start < UNIT_SECTORS; start += sectors)
      compress_group(place.volume, first, ((1u << sectors) - 1) << start, 0, true);
    atomic_fetch_sub(&place.volume->users, 1);
  }
  units_statistics(store->tiers->units, &after);
  return before.bytes > after.bytes ? (before.bytes - after.bytes) >> store->sector_shift : 0;
}

/* ------------------------------------------------------------------- evicting */

/* Move victims, all of one volume and in order, to the store below it. */
static uint64_t move_below(const struct victim *victims, unsigned count, int *error) {
  sectors_volume *volume = victims[0].volume;
  struct transfer *transfer = transfer_begin(volume, TRANSFER_DROP);
  if (!transfer) {
    *error = -ENOMEM;
    return 0;
  }
  int result = 0;
  for (unsigned i = 0; i < count && result == 0; i++) {
    result = transfer_prepare(transfer);
    if (result != 0)
      break;
    struct epoch_token token = epoch_enter(&volume->store->epoch);
    struct node *leaf = index_find(&volume->index, victims[i].sector);
    if (leaf)
      transfer_add(transfer, leaf, victims[i].sector); /* what is busy is left for later */
    epoch_leave(&volume->store->epoch, token);
  }
  int finished = transfer_finish(transfer);
  result = result ? result : finished;
  uint64_t dropped = transfer_dropped(transfer);
  transfer_end(transfer);
  if (result != 0)
    *error = result;
  atomic_fetch_add_explicit(&volume->evicted, dropped, memory_order_relaxed);
  return dropped;
}

/* Move sorted victims out.  Returns how many went. */
static uint64_t evict(struct evictor *evictor, struct victim *victims, unsigned count, int *error) {
  uint64_t moved = 0;
  for (unsigned i = 0; i < count;) {
    sectors_volume *volume = victims[i].volume;
    unsigned group = 1;
    while (i + group < count && victims[i + group].volume == volume)
      group++;
    unsigned others = group;
    moved += compress_victims(evictor, victims + i, &others);
    if (others > 0 && volume->home)
      moved += move_below(victims + i, others, error);
    i += group;
  }
  return moved;
}

uint64_t evict_step(struct evictor *evictor, enum evict_mode mode, uint64_t goal, int *error) {
  uint64_t charged = atomic_load(&evictor->store->charged);
  uint64_t wanted = charged > goal ? charged - goal : 0;
  if (wanted == 0)
    return 0;
  find_cut(evictor, mode, wanted);
  gather(evictor, mode, wanted);
  unsigned count = choose(evictor, wanted);
  uint64_t moved = evict(evictor, evictor->victims, count, error);
  release_volumes(evictor);
  moved += compact(evictor);
  evictor->vain = moved == 0;
  return moved;
}

int evict_range(sectors_volume *volume, uint64_t first, uint64_t last) {
  int error = 0;
  if (!volume->home)
    return -EOPNOTSUPP;
  struct transfer *transfer = transfer_begin(volume, TRANSFER_DROP);
  if (!transfer)
    return -ENOMEM;
  while (error == 0 && first <= last) {
    error = transfer_prepare(transfer);
    if (error != 0)
      break;
    struct epoch_token token = epoch_enter(&volume->store->epoch);
    struct node *leaf = index_next(&volume->index, &first, last);
    if (leaf)
      transfer_add(transfer, leaf, first); /* what is busy stays */
    epoch_leave(&volume->store->epoch, token);
    if (!leaf)
      break;
    first++;
  }
  int finished = transfer_finish(transfer);
  transfer_end(transfer);
  return error ? error : finished;
}
