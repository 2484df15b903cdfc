/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Bringing sectors down safely.
 *
 * A transfer gathers sectors of a volume: it copies each to a buffer with the
 * word locked, marks the word BUSY, and lets go of it.  Sectors that follow
 * each other make one request.  Then it writes, flushes if the volume has an
 * image, and at last looks at each word again: is it still the one that was
 * noted, the sector is STORED, and may be dropped.  If anything failed in between,
 * or the sector was written to meanwhile, it stays as it was: in memory, and dirty.
 *
 * A flush of an image that failed says nothing about which earlier writes are
 * safe, and a later one that succeeds does not vouch for them (the system
 * forgets them).  So every transfer that was under way when a flush failed counts as
 * failed, whoever did the flush, and its sectors are written again.  What was zeroed
 * in the image since the last good flush is zeroed again too.
 */

#include "tiers.h"

#include "copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
  TRANSFER_SECTORS = 4096,
  TRANSFER_REQUESTS = 512,
  TRANSFER_BUFFERS = 6,

  /* An NBD server that came back makes the next flush fail, or two of them: what was
   * written before may be lost.  So it is written again, before the client is told. */
  FLUSH_TRIES = 4,
};

struct record {
  sector_word *word;
  uint64_t noted; /* the word as it was left */
  uint64_t sector;
};

struct transfer {
  sectors_volume *volume;
  enum transfer_purpose purpose;
  int error;             /* the first one since transfer_finish */
  uint64_t lost_flushes; /* of the volume when the first record was made */
  uint64_t dropped;
  unsigned count;
  unsigned unwritten; /* sectors, of the last records */
  unsigned buffers;
  uint64_t used; /* bytes of the last buffer */
  unsigned char *buffer[TRANSFER_BUFFERS];
  unsigned requests;
  struct backing_request request[TRANSFER_REQUESTS];
  struct record record[TRANSFER_SECTORS];
};

struct transfer *transfer_begin(sectors_volume *volume, enum transfer_purpose purpose) {
  struct transfer *transfer = malloc(sizeof *transfer);
  if (!transfer)
    return NULL;
  transfer->volume = volume;
  transfer->purpose = purpose;
  transfer->error = 0;
  transfer->dropped = 0;
  transfer->count = transfer->unwritten = transfer->requests = 0;
  transfer->used = 0;
  transfer->buffers = 1;
  transfer->buffer[0] = buffers_take(&volume->store->tiers->buffers);
  if (transfer->buffer[0]) {
    atomic_fetch_add(&volume->store->tiers->transfers, 1);
    return transfer;
  }
  free(transfer);
  return NULL;
}

void transfer_end(struct transfer *transfer) {
  atomic_fetch_sub(&transfer->volume->store->tiers->transfers, 1);
  while (transfer->buffers > 0)
    buffers_give(&transfer->volume->store->tiers->buffers, transfer->buffer[--transfer->buffers]);
  free(transfer);
}

uint64_t transfer_dropped(const struct transfer *transfer) {
  return transfer->dropped;
}

/* ------------------------------------------------------------------- writing */

/* Write what is in the buffers, which are free then. */
static void write_buffers(struct transfer *transfer) {
  sectors_volume *volume = transfer->volume;
  struct buffers *buffers = &volume->store->tiers->buffers;
  if (transfer->requests > 0 && transfer->error == 0) {
    atomic_store(&volume->home_used, true);
    transfer->error = backing_submit(volume->home, transfer->request, transfer->requests);
    atomic_store(&volume->unflushed, true);
    tiers_note_home(volume, transfer->error);
    atomic_fetch_add_explicit(&volume->out_requests, transfer->requests, memory_order_relaxed);
    atomic_fetch_add_explicit(&volume->swapped_out, transfer->unwritten, memory_order_relaxed);
  }
  transfer->requests = transfer->unwritten = 0;
  transfer->used = 0;
  while (transfer->buffers > 1)
    buffers_give(buffers, transfer->buffer[--transfer->buffers]);
}

/* Zero again what a failed flush left in doubt: of each range what holds nothing
 * since.  (Sectors of it that were written since have a word, for as long as
 * there are such ranges: see evict.c, forget_leaf.) */
static int zero_again(sectors_volume *volume) {
  struct zeroed_ranges *zeroed = &volume->zeroed;
  uint64_t last = (sectors_volume_size(volume) - 1) >> volume->store->sector_shift;
  int error = 0;
  for (unsigned i = 0; error == 0 && i < atomic_load(&zeroed->count); i++) {
    struct zeroed_range range = zeroed->ranges[i];
    if (range.last > last)
      range.last = last; /* the volume became smaller */
    if (range.first <= last)
      error = discard_again(volume, range.first, range.last);
  }
  return error;
}

int flush_image(sectors_volume *volume) {
  int error = 0;
  pthread_mutex_lock(&volume->image_lock);
  if (atomic_load(&volume->unflushed)) {
    if (volume->zeroed.redo)
      error = zero_again(volume);
    unsigned zeroed = atomic_load(&volume->zeroed.count);
    atomic_store(&volume->unflushed, false);
    if (error == 0)
      error = backing_flush(volume->home);
    tiers_note_home(volume, error);
    if (error == 0) {
      zeroed_forget(&volume->zeroed, zeroed);
      volume->zeroed.redo = false;
    } else {
      atomic_store(&volume->unflushed, true);
      atomic_fetch_add(&volume->lost_flushes, 1);
      volume->zeroed.redo = true;
    }
  }
  pthread_mutex_unlock(&volume->image_lock);
  return error;
}

/* ---------------------------------------------------------------- completing */

static void add_dirty(sectors_volume *volume, uint64_t sector) {
  if (dirty_add(&volume->dirty_leaves, sector / NODE_WORDS) != 0)
    atomic_store(&volume->dirty_unknown, true);
}

/* What a sector that is safe below becomes. */
static void settle_safe(struct transfer *transfer, const struct record *record, uint64_t value,
                        struct tally *tally) {
  sectors_volume *volume = transfer->volume;
  uint64_t plain = value & ~WORD_BUSY;
  if (value & WORD_ZERO) {
    sector_settle(volume, record->word, plain, 0, 0, tally);
  } else if (transfer->purpose == TRANSFER_DROP) {
    uint32_t history = sector_history(volume, record->sector, value);
    sector_settle(volume, record->word, plain, WORD_STORED, history, tally);
    transfer->dropped++;
  } else {
    sector_settle(volume, record->word, plain, (value & WORD_STATE) | WORD_STORED, word_slot(value),
                  tally);
  }
}

static void complete(struct transfer *transfer) {
  sectors_volume *volume = transfer->volume;
  struct tally tally = {0};
  uint64_t zeros_at = UINT64_MAX;
  for (unsigned i = 0; i < transfer->count; i++) {
    struct record *record = &transfer->record[i];
    uint64_t value = 0;
    word_lock(record->word, &value); /* BUSY, so never frozen */
    if (transfer->error == 0 && value == record->noted) {
      if (value & WORD_ZERO)
        zeros_at = record->sector;
      settle_safe(transfer, record, value, &tally);
    } else {
      if (volume->durable)
        add_dirty(volume, record->sector);
      word_unlock(record->word, word_next(value, value & WORD_STATE, word_slot(value)));
    }
    bool leaf_ends = i + 1 == transfer->count ||
                     transfer->record[i + 1].sector / NODE_WORDS != record->sector / NODE_WORDS;
    if (leaf_ends && zeros_at != UINT64_MAX) {
      struct epoch_token token = epoch_enter(&volume->store->epoch);
      index_prune(volume->store, &volume->index, zeros_at);
      epoch_leave(&volume->store->epoch, token);
      zeros_at = UINT64_MAX;
    }
  }
  tally_commit(&tally, volume);
  transfer->count = 0;
}

int transfer_finish(struct transfer *transfer) {
  sectors_volume *volume = transfer->volume;
  write_buffers(transfer);
  if (transfer->count > 0 && transfer->error == 0 && volume->durable) {
    transfer->error = flush_image(volume);
    if (transfer->error == 0 && atomic_load(&volume->lost_flushes) != transfer->lost_flushes)
      transfer->error = -EIO;
  }
  complete(transfer);
  int error = transfer->error;
  transfer->error = 0;
  return error;
}

/* -------------------------------------------------------------------- adding */

/* A place for one more sector's data in the buffers, or NULL. */
static unsigned char *next_place(struct transfer *transfer) {
  struct buffers *buffers = &transfer->volume->store->tiers->buffers;
  uint64_t bytes = UINT64_C(1) << transfer->volume->store->sector_shift;
  if (transfer->used + bytes > buffers->bytes) {
    unsigned char *more = transfer->buffers < TRANSFER_BUFFERS ? buffers_take_more(buffers) : NULL;
    if (!more)
      return NULL;
    transfer->buffer[transfer->buffers++] = more;
    transfer->used = 0;
  }
  return transfer->buffer[transfer->buffers - 1] + transfer->used;
}

/* Add to the last request what follows it, or make another one. */
static void add_request(struct transfer *transfer, enum backing_operation operation, void *data,
                        uint64_t sector) {
  unsigned shift = transfer->volume->store->sector_shift;
  uint64_t bytes = UINT64_C(1) << shift, offset = sector << shift;
  uint64_t size = sectors_volume_size(transfer->volume);
  if (transfer->volume->durable && offset < size && bytes > size - offset)
    bytes = size - offset; /* the last one of an odd size */
  struct backing_request *last =
      transfer->requests ? &transfer->request[transfer->requests - 1] : NULL;
  if (last && last->operation == operation && last->offset + last->count == offset &&
      (operation == BACKING_ZERO || (unsigned char *)last->buffer + last->count == data)) {
    last->count += bytes;
  } else {
    transfer->request[transfer->requests++] = (struct backing_request){
        .operation = operation, .buffer = data, .count = bytes, .offset = offset};
  }
  if (operation == BACKING_WRITE)
    transfer->used += UINT64_C(1) << shift;
  transfer->unwritten++;
}

/* Whether a sector in this state has to be written. */
static bool is_unwritten(const sectors_volume *volume, uint64_t value) {
  if (value & WORD_ZERO && !volume->durable)
    return false;
  return is_dirty(value);
}

/* Copy the data of a locked sector. */
static int copy_out(struct transfer *transfer, sector_word *word, uint64_t value,
                    unsigned char *to) {
  sectors_store *store = transfer->volume->store;
  uint64_t bytes = UINT64_C(1) << store->sector_shift;
  if (value & WORD_COMPRESSED)
    return unit_read(store->tiers->units, word_slot(value), 1u << word_place(word) % UNIT_SECTORS,
                     to);
  if (value & WORD_ZERO)
    memset(to, 0, bytes);
  else
    copy_from_sector(to, arena_address(&store->arena, word_slot(value)), bytes);
  return 0;
}

/* Drop a locked sector that is safe already, if the transfer is to.  Unlocks. */
static void drop_clean(struct transfer *transfer, sector_word *word, uint64_t value,
                       uint64_t sector) {
  sectors_volume *volume = transfer->volume;
  struct tally tally = {0};
  if (transfer->purpose == TRANSFER_DROP && value & WORD_STORED &&
      value & (WORD_RESIDENT | WORD_COMPRESSED)) {
    uint32_t history = sector_history(volume, sector, value);
    sector_settle(volume, word, value, WORD_STORED, history, &tally);
    tally_commit(&tally, volume);
    transfer->dropped++;
  } else {
    word_unlock(word, value);
  }
}

int transfer_prepare(struct transfer *transfer) {
  if (transfer->count == TRANSFER_SECTORS) {
    int error = transfer_finish(transfer);
    if (error != 0)
      return error;
  }
  if (transfer->requests == TRANSFER_REQUESTS || !next_place(transfer))
    write_buffers(transfer);
  if (transfer->count == 0)
    transfer->lost_flushes = atomic_load(&transfer->volume->lost_flushes);
  return transfer->error;
}

int transfer_add(struct transfer *transfer, struct node *leaf, uint64_t sector) {
  sectors_volume *volume = transfer->volume;
  sector_word *word = &leaf->words[sector % NODE_WORDS];
  unsigned char *place = next_place(transfer);
  uint64_t value;
  if (!word_lock(word, &value))
    return 0;
  if (!is_unwritten(volume, value)) {
    drop_clean(transfer, word, value, sector);
    return 0;
  }
  if (value & WORD_BUSY || guard_covers(&volume->guard, sector, sector)) {
    word_unlock(word, value);
    return -EBUSY;
  }
  bool punch = value & WORD_ZERO && !volume->base;
  int error = punch ? 0 : copy_out(transfer, word, value, place);
  if (error != 0) {
    word_unlock(word, value);
    return error;
  }
  uint64_t noted = word_next(value, (value & WORD_STATE) | WORD_BUSY, word_slot(value));
  word_unlock(word, noted);
  transfer->record[transfer->count++] =
      (struct record){.word = word, .noted = noted, .sector = sector};
  add_request(transfer, punch ? BACKING_ZERO : BACKING_WRITE, punch ? NULL : place, sector);
  return 0;
}

/* ------------------------------------------------------- all that is dirty */

/* Add a sector, waiting where it has to; the leaf is looked up again after waiting. */
static int add_waiting(struct transfer *transfer, uint64_t sector) {
  sectors_volume *volume = transfer->volume;
  unsigned rounds = 0;
  for (;;) {
    int error = transfer_prepare(transfer);
    if (error != 0)
      return error;
    struct epoch_token token = epoch_enter(&volume->store->epoch);
    struct node *leaf = index_find(&volume->index, sector);
    error = leaf ? transfer_add(transfer, leaf, sector) : 0;
    epoch_leave(&volume->store->epoch, token);
    if (error != -EBUSY)
      return error;
    error = transfer_finish(transfer); /* others may wait for what we have */
    if (error != 0)
      return error;
    guard_wait(&volume->guard, sector, sector);
    backoff(&rounds);
  }
}

/* Add the dirty sectors of a leaf from first to last.  A locked sector may become
 * dirty when it is unlocked, so it counts as one. */
static int add_leaf(struct transfer *transfer, uint64_t first, uint64_t last) {
  sectors_volume *volume = transfer->volume;
  for (uint64_t sector = first; sector <= last; sector++) {
    struct epoch_token token = epoch_enter(&volume->store->epoch);
    struct node *leaf = index_find(&volume->index, sector);
    uint64_t wanted = sector;
    for (; leaf && wanted <= last; wanted++) {
      uint64_t value = atomic_load(&leaf->words[wanted % NODE_WORDS]);
      if (value & WORD_LOCK || is_unwritten(volume, value))
        break;
    }
    epoch_leave(&volume->store->epoch, token);
    if (!leaf || wanted > last)
      return 0;
    int error = add_waiting(transfer, wanted);
    if (error != 0)
      return error;
    sector = wanted;
  }
  return 0;
}

static int write_back_range_once(sectors_volume *volume, uint64_t first, uint64_t last) {
  struct transfer *transfer = transfer_begin(volume, TRANSFER_KEEP);
  int error = transfer ? 0 : -ENOMEM;
  for (uint64_t sector = first; error == 0 && sector <= last;) {
    uint64_t end = sector | (NODE_WORDS - 1);
    error = add_leaf(transfer, sector, end < last ? end : last);
    sector = end + 1;
  }
  if (transfer) {
    int finished = transfer_finish(transfer);
    error = error ? error : finished;
    transfer_end(transfer);
  }
  return error ? error : flush_image(volume);
}

int write_back_range(sectors_volume *volume, uint64_t first, uint64_t last) {
  int result = volume->durable ? -EIO : 0;
  for (unsigned tries = 0; result == -EIO && tries < FLUSH_TRIES; tries++)
    result = write_back_range_once(volume, first, last);
  return result;
}

/* All leaves that there are, for when nobody knows which are dirty. */
static uint64_t *all_leaves(sectors_volume *volume, uint64_t *count) {
  uint64_t *leaves = NULL, room = 0, sector = 0, last = UINT64_MAX >> 1;
  *count = 0;
  struct epoch_token token = epoch_enter(&volume->store->epoch);
  while (index_next(&volume->index, &sector, last)) {
    if (*count == room) {
      room = room ? room * 2 : 1024;
      uint64_t *larger = realloc(leaves, room * sizeof *leaves);
      if (!larger) {
        free(leaves);
        leaves = NULL;
        break;
      }
      leaves = larger;
    }
    leaves[(*count)++] = sector / NODE_WORDS;
    sector = (sector | (NODE_WORDS - 1)) + 1;
  }
  epoch_leave(&volume->store->epoch, token);
  return leaves;
}

/* What there is to write back, as leaves; NULL and *error if that cannot be told. */
static uint64_t *take_dirty(sectors_volume *volume, uint64_t *count, int *error) {
  if (!atomic_exchange(&volume->dirty_unknown, false))
    return dirty_take(&volume->dirty_leaves, count);
  uint64_t *leaves = all_leaves(volume, count);
  if (!leaves && *count > 0) {
    atomic_store(&volume->dirty_unknown, true);
    *count = 0;
    *error = -ENOMEM;
  }
  return leaves;
}

static int write_back_all(sectors_volume *volume, sectors_progress_function progress,
                          void *opaque) {
  uint64_t count = 0, done = 0, total = atomic_load(&volume->dirty);
  unsigned shift = volume->store->sector_shift;
  int error = 0;
  struct transfer *transfer = transfer_begin(volume, TRANSFER_KEEP);
  if (!transfer)
    return -ENOMEM;
  uint64_t *leaves = take_dirty(volume, &count, &error);
  uint64_t i = 0;
  for (; error == 0 && i < count; i++) {
    uint64_t before = transfer->count;
    error = add_leaf(transfer, leaves[i] * NODE_WORDS, leaves[i] * NODE_WORDS + NODE_WORDS - 1);
    done += transfer->count >= before ? transfer->count - before : transfer->count;
    if (error == 0 && progress && i % 64 == 63 &&
        progress(opaque, done << shift, (done > total ? done : total) << shift) != 0)
      error = -ECANCELED;
  }
  int finished = transfer_finish(transfer);
  transfer_end(transfer);
  error = error ? error : finished;
  /* The leaf that failed, and those not reached, are dirty still. */
  for (i = i > 0 ? i - 1 : 0; error != 0 && i < count; i++)
    add_dirty(volume, leaves[i] * NODE_WORDS);
  free(leaves);
  return error ? error : flush_image(volume);
}

/* -------------------------------------------------------------------- flushes
 *
 * One flush of a volume works at a time.  Those that come meanwhile wait for
 * the next one, which is for all of them. */

int flush_volume(sectors_volume *volume, sectors_progress_function progress, void *opaque) {
  if (!volume->durable)
    return 0;
  pthread_mutex_lock(&volume->flush_lock);
  uint64_t own = ++volume->flushes_asked;
  while (volume->flushes_good < own && volume->flushes_bad < own) {
    if (volume->flushing) {
      pthread_cond_wait(&volume->flush_done, &volume->flush_lock);
      continue;
    }
    uint64_t up_to = volume->flushes_asked;
    volume->flushing = true;
    pthread_mutex_unlock(&volume->flush_lock);
    int result = -EIO;
    for (unsigned tries = 0; result == -EIO && tries < FLUSH_TRIES; tries++)
      result = write_back_all(volume, progress, opaque);
    pthread_mutex_lock(&volume->flush_lock);
    volume->flushing = false;
    if (result == 0) {
      volume->flushes_good = up_to;
    } else {
      volume->flushes_bad = up_to;
      volume->flush_error = result;
    }
    pthread_cond_broadcast(&volume->flush_done);
  }
  int error = volume->flushes_good >= own ? 0 : volume->flush_error;
  pthread_mutex_unlock(&volume->flush_lock);
  return error;
}
