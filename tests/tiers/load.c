/* SPDX-License-Identifier: BSD-3-Clause */

#include "load.h"
#include "../casefs/dice.h"
#include "../mount/stress.h"
#include "cells.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CELLS = 2048 }; /* 1 MiB in one request */

const char *const load_names[LOAD_KINDS] = {"read",  "write", "zero",  "trim",
                                            "cache", "flush", "status"};

struct worker {
  struct load *load;
  unsigned number;
  struct dice dice;
  uint64_t seldom; /* flushes are that much rarer in this round, and FUA too */
  struct nbd_handle *nbd[MAX_VOLUMES];
  bool dead;
  uint64_t *mine; /* blocks of this thread */
  uint64_t mine_count;
  uint64_t next; /* the cell after the last request, for sequential ones */
  unsigned char *buffer;
  uint64_t *values;
};

static struct worker workers[MAX_THREADS];
static pthread_t threads[MAX_THREADS];

uint64_t microseconds_now(void) {
  return (uint64_t)(seconds_now() * 1e6);
}

struct nbd_handle *load_connect(const struct load *load, unsigned volume) {
  struct nbd_handle *nbd = nbd_create();
  if (!nbd)
    fail("libnbd: %s", nbd_get_error());
  nbd_set_strict_mode(nbd, 0);
  if (nbd_set_export_name(nbd, load->exports[volume]) == -1 ||
      nbd_add_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == -1 ||
      nbd_connect_unix(nbd, load->socket) == -1) {
    nbd_close(nbd);
    return NULL;
  }
  return nbd;
}

/* ------------------------------------------------------------------- results */

static void begin_request(struct worker *worker) {
  atomic_store(&worker->load->since[worker->number], microseconds_now());
}

static void note_slowest(struct load *load, uint64_t taken) {
  uint64_t seen = atomic_load(&load->slowest);
  while (seen < taken && !atomic_compare_exchange_weak(&load->slowest, &seen, taken))
    ;
}

static bool is_allowed(const struct load *load, enum load_kind kind, int error) {
  unsigned allowed = atomic_load(&load->allowed);
  if (allowed & ALLOW_ERRORS)
    return true;
  return (allowed & ALLOW_NO_SPACE) && error == ENOSPC && (kind == LOAD_WRITE || kind == LOAD_ZERO);
}

/* True if the request was done.  Else it failed in a way that is allowed, or the server is
 * gone (worker->dead). */
static bool end_request(struct worker *worker, enum load_kind kind, unsigned volume, int result,
                        uint64_t bytes) {
  struct load *load = worker->load;
  int error = result == -1 ? nbd_get_errno() : 0;
  uint64_t began = atomic_exchange(&load->since[worker->number], 0);
  note_slowest(load, microseconds_now() - began);
  if (result != -1) {
    load->requests[kind]++;
    load->bytes[kind] += bytes;
    return true;
  }
  if (nbd_aio_is_dead(worker->nbd[volume]) || nbd_aio_is_closed(worker->nbd[volume])) {
    worker->dead = true;
    if (!(atomic_load(&load->allowed) & ALLOW_DEATH))
      fail("the server hung up at a %s: %s", load_names[kind], nbd_get_error());
    return false;
  }
  if (!is_allowed(load, kind, error))
    fail("a %s of volume %u failed: %s", load_names[kind], volume, nbd_get_error());
  load->failed[kind]++;
  return false;
}

/* -------------------------------------------------------------------- places */

static const struct layout *layout_of(const struct worker *worker) {
  return &worker->load->journal->layout;
}

/* Most requests are small; some are as large as a whole block. */
static uint64_t choose_count(struct worker *worker) {
  switch (dice_below(&worker->dice, 16)) {
  case 0:
    return 1 + dice_below(&worker->dice, MOST_CELLS);
  case 1:
  case 2:
    return 1 + dice_below(&worker->dice, 512);
  case 3:
  case 4:
  case 5:
    return 1 + dice_below(&worker->dice, 40);
  default:
    return SECTOR_CELLS * (1 + dice_below(&worker->dice, 4));
  }
}

struct place {
  uint64_t first, count; /* cells, all in one block */
};

static uint64_t choose_block(struct worker *worker) {
  uint64_t hot = worker->mine_count < 4 ? worker->mine_count : worker->mine_count / 4;
  if (dice_below(&worker->dice, 2))
    return worker->mine[dice_below(&worker->dice, hot)];
  return worker->mine[dice_below(&worker->dice, worker->mine_count)];
}

static uint64_t align(uint64_t cell) {
  return cell / SECTOR_CELLS * SECTOR_CELLS;
}

static struct place choose_in_block(struct worker *worker, uint64_t block) {
  uint64_t cells = layout_block_cells(layout_of(worker), block);
  struct place place = {0, choose_count(worker)};
  if (place.count > cells)
    place.count = cells;
  place.first = dice_below(&worker->dice, cells - place.count + 1);
  /* A few sectors at the front of each block are asked for often. */
  if (dice_below(&worker->dice, 3) == 0)
    place.first =
        dice_below(&worker->dice, cells - place.count < 256 ? cells - place.count + 1 : 256);
  place.first += block * BLOCK_CELLS;
  struct cell_address address = layout_address(layout_of(worker), place.first);
  uint64_t over = address.cell % SECTOR_CELLS;
  if (place.count % SECTOR_CELLS == 0 && place.first % BLOCK_CELLS >= over &&
      dice_below(&worker->dice, 4))
    place.first -= over;
  return place;
}

/* Where the last request ended, if that is inside a block of this thread. */
static bool go_on(struct worker *worker, struct place *place) {
  const struct layout *layout = layout_of(worker);
  uint64_t block = worker->next / BLOCK_CELLS, within = worker->next % BLOCK_CELLS;
  if (within == 0 || within >= layout_block_cells(layout, block))
    return false;
  *place = (struct place){worker->next, choose_count(worker)};
  if (within + place->count > layout_block_cells(layout, block))
    place->count = layout_block_cells(layout, block) - within;
  return true;
}

static struct place choose_own(struct worker *worker) {
  struct place place;
  if (dice_below(&worker->dice, 3) || !go_on(worker, &place))
    place = choose_in_block(worker, choose_block(worker));
  worker->next = place.first + place.count;
  return place;
}

/* The turn of this thread, or a part of it, in a block of many owners. */
static struct place choose_turn(struct worker *worker) {
  const struct layout *layout = layout_of(worker);
  uint64_t block = layout->volumes + dice_below(&worker->dice, layout->volumes);
  if (block >= layout->blocks)
    return choose_own(worker);
  uint64_t cells = layout_block_cells(layout, block), base = block * BLOCK_CELLS;
  uint64_t within = dice_below(&worker->dice, cells) / TURN_CELLS * TURN_CELLS;
  while (within < cells && layout_owner(layout, base + within) != worker->number)
    within += TURN_CELLS;
  if (within >= cells)
    return choose_own(worker);
  uint64_t room = cells - within < TURN_CELLS ? cells - within : TURN_CELLS;
  uint64_t skip = dice_below(&worker->dice, room);
  return (struct place){base + within + skip, 1 + dice_below(&worker->dice, room - skip)};
}

static struct place choose_race(struct worker *worker) {
  const struct layout *layout = layout_of(worker);
  uint64_t block = dice_below(&worker->dice, layout->volumes), base = block * BLOCK_CELLS;
  uint64_t cells = layout_block_cells(layout, block);
  bool aligned = dice_below(&worker->dice, 2) || cells < BLOCK_CELLS;
  uint64_t from = aligned ? 0 : ALIGNED_RACE_CELLS;
  uint64_t to = aligned ? align(cells < ALIGNED_RACE_CELLS ? cells : ALIGNED_RACE_CELLS) : cells;
  uint64_t count = 1 + dice_below(&worker->dice, 64);
  /* Only a few places, that they are fought for. */
  uint64_t first =
      from + dice_below(&worker->dice, 16) * ((to - from) / 16) + dice_below(&worker->dice, 64);
  if (aligned) {
    first = align(first);
    count = align(count + SECTOR_CELLS - 1);
  }
  if (first >= to)
    first = to - SECTOR_CELLS;
  return (struct place){base + first, first + count > to ? to - first : count};
}

/* --------------------------------------------------------------------- reads */

static uint64_t offset_of(const struct worker *worker, uint64_t number) {
  return layout_address(layout_of(worker), number).cell * CELL;
}

static unsigned volume_of(const struct worker *worker, uint64_t number) {
  return layout_address(layout_of(worker), number).volume;
}

static bool read_cells(struct worker *worker, struct place place) {
  unsigned volume = volume_of(worker, place.first);
  begin_request(worker);
  int result = nbd_pread(worker->nbd[volume], worker->buffer, place.count * CELL,
                         offset_of(worker, place.first), 0);
  return end_request(worker, LOAD_READ, volume, result, place.count * CELL);
}

static void read_own(struct worker *worker, struct place place) {
  if (!read_cells(worker, place))
    return;
  for (uint64_t i = 0; i < place.count; i++)
    journal_check_read(worker->load->journal, place.first + i, worker->buffer + i * CELL);
}

/* From and to the middle of cells; compared where they were read. */
static void read_bytes(struct worker *worker, struct place place) {
  unsigned volume = volume_of(worker, place.first);
  size_t from = (size_t)dice_below(&worker->dice, CELL);
  size_t to = place.count * CELL - (size_t)dice_below(&worker->dice, CELL - from);
  unsigned char wanted[CELL];
  begin_request(worker);
  int result = nbd_pread(worker->nbd[volume], worker->buffer + from, to - from,
                         offset_of(worker, place.first) + from, 0);
  if (!end_request(worker, LOAD_READ, volume, result, to - from))
    return;
  for (uint64_t i = 0; i < place.count; i++) {
    const struct journal *journal = worker->load->journal;
    struct cell_address address = layout_address(&journal->layout, place.first + i);
    size_t begin = i * CELL < from ? from : i * CELL,
           end = (i + 1) * CELL > to ? to : (i + 1) * CELL;
    if (begin >= end || journal->uncertain[place.first + i])
      continue;
    cell_fill(wanted, cell_place(address.volume, address.cell), journal->current[place.first + i]);
    if (memcmp(worker->buffer + begin, wanted + (begin - i * CELL), end - begin) != 0)
      fail("a read of %zu bytes at %" PRIu64 " of volume %u: cell %" PRIu64
           " is not what value %" PRIx64 " left",
           to - from, address.cell * CELL - i * CELL + from, address.volume, address.cell,
           journal->current[place.first + i]);
  }
}

static uint64_t parse_race(struct worker *worker, uint64_t number, const unsigned char *bytes) {
  struct cell_address address = layout_address(layout_of(worker), number);
  char found[CELL_TEXT_SIZE];
  uint64_t value;
  if (cell_parse(bytes, cell_place(address.volume, address.cell), &value))
    return value;
  cell_describe(bytes, found);
  fail("a read in a race: volume %u, byte %" PRIu64 ": found %s", address.volume,
       address.cell * CELL, found);
}

static void read_race(struct worker *worker, struct place place) {
  struct races *races = worker->load->journal->races;
  uint64_t begun = races_read_begin(races, worker->number), first_value = 0;
  bool done = read_cells(worker, place);
  uint64_t ended = races_now(races);
  for (uint64_t i = 0; done && i < place.count; i++) {
    uint64_t number = place.first + i;
    uint64_t value = parse_race(worker, number, worker->buffer + i * CELL);
    bool permitted = races_permit(races, number, value, begun, ended);
    if (!permitted)
      races_tell(races, number);
    if (!permitted)
      fail("a read in a race: volume %u, byte %" PRIu64 " holds value %" PRIx64
           ", which was overwritten before the read began, or never written",
           volume_of(worker, number), offset_of(worker, number), value);
    if (number % BLOCK_CELLS % SECTOR_CELLS == 0 || i == 0)
      first_value = value;
    if (layout_is_aligned_race(layout_of(worker), number) && value != first_value)
      fail("a read in a race: the sector at byte %" PRIu64 " of volume %u has parts of two writes, "
           "%" PRIx64 " and %" PRIx64,
           offset_of(worker, number) / 4096 * 4096, volume_of(worker, number), first_value, value);
  }
  races_read_end(races, worker->number);
}

/* ------------------------------------------------------------------- changes */

static int send_in_parts(struct nbd_handle *nbd, const unsigned char *bytes, size_t count,
                         uint64_t offset, size_t first) {
  int result = nbd_pwrite(nbd, bytes, first, offset, 0);
  return result == -1 ? -1 : nbd_pwrite(nbd, bytes + first, count - first, offset + first, 0);
}

static void fill_buffer(struct worker *worker, struct place place, uint64_t value) {
  for (uint64_t i = 0; i < place.count; i++) {
    struct cell_address address = layout_address(layout_of(worker), place.first + i);
    cell_fill(worker->buffer + i * CELL, cell_place(address.volume, address.cell),
              value_in_cell(value, address.cell));
  }
}

struct change {
  enum load_kind kind;
  uint64_t value;
  uint32_t flags;
  bool split;
};

static struct change choose_change(struct worker *worker) {
  struct change change = {.kind = LOAD_WRITE};
  uint64_t number = atomic_fetch_add(&worker->load->journal->next_number, 1);
  uint64_t dice = dice_below(&worker->dice, 20);
  if (dice == 0)
    change.kind = LOAD_ZERO;
  else if (dice < 3)
    change.kind = LOAD_TRIM;
  else
    change.value = value_make(number, (enum cell_kind)(dice == 3 ? CELL_ZEROS : 1 + dice % 3));
  if (change.kind == LOAD_ZERO && dice_below(&worker->dice, 2))
    change.flags = LIBNBD_CMD_FLAG_NO_HOLE;
  if (dice_below(&worker->dice, 12 * worker->seldom) == 0)
    change.flags |= LIBNBD_CMD_FLAG_FUA;
  change.split = change.kind == LOAD_WRITE && worker->load->split && !change.flags &&
                 dice_below(&worker->dice, 8) == 0;
  return change;
}

static bool send_change(struct worker *worker, struct place place, const struct change *change) {
  unsigned volume = volume_of(worker, place.first);
  struct nbd_handle *nbd = worker->nbd[volume];
  uint64_t bytes = place.count * CELL, offset = offset_of(worker, place.first);
  int result;
  begin_request(worker);
  if (change->kind == LOAD_TRIM)
    result = nbd_trim(nbd, bytes, offset, change->flags);
  else if (change->kind == LOAD_ZERO)
    result = nbd_zero(nbd, bytes, offset, change->flags);
  else if (change->split)
    result = send_in_parts(nbd, worker->buffer, bytes, offset,
                           1 + (size_t)dice_below(&worker->dice, bytes - 1));
  else
    result = nbd_pwrite(nbd, worker->buffer, bytes, offset, change->flags);
  return end_request(worker, change->kind, volume, result, bytes);
}

static char letter_of(const struct change *change) {
  if (change->kind == LOAD_WRITE)
    return change->flags & LIBNBD_CMD_FLAG_FUA ? 'W' : 'w';
  return change->kind == LOAD_TRIM ? 't' : 'z';
}

static void change_own(struct worker *worker, struct place place) {
  struct journal *journal = worker->load->journal;
  struct change change = choose_change(worker);
  struct step step = {.first = place.first,
                      .count = (uint32_t)place.count,
                      .value = change.value,
                      .fua = change.flags & LIBNBD_CMD_FLAG_FUA,
                      .letter = letter_of(&change)};
  if (change.kind == LOAD_WRITE)
    fill_buffer(worker, place, change.value);
  size_t index = journal_begin(journal, worker->number, &step);
  bool done = send_change(worker, place, &change);
  if (!worker->dead)
    journal_end(journal, worker->number, index, done ? STEP_DONE : STEP_FAILED);
}

static void change_race(struct worker *worker, struct place place) {
  struct races *races = worker->load->journal->races;
  struct change change = choose_change(worker);
  change.split = false;
  for (uint64_t i = 0; i < place.count; i++)
    worker->values[i] =
        value_in_cell(change.value, layout_address(layout_of(worker), place.first + i).cell);
  if (change.kind == LOAD_WRITE)
    fill_buffer(worker, place, change.value);
  uint64_t begun = races_write_begin(races, place.first, worker->values, place.count);
  if (begun == 0) {
    worker->load->skipped++;
    return;
  }
  bool done = send_change(worker, place, &change);
  races_write_end(races, place.first, place.count, begun, done ? RACE_DONE : RACE_UNKNOWN);
}

/* -------------------------------------------------------------- other requests */

static void flush_volume(struct worker *worker, unsigned volume) {
  struct journal_flush flush;
  journal_flush_begin(worker->load->journal, volume, &flush);
  begin_request(worker);
  int result = nbd_flush(worker->nbd[volume], 0);
  if (end_request(worker, LOAD_FLUSH, volume, result, 0))
    journal_flush_end(worker->load->journal, &flush);
}

static void cache_place(struct worker *worker, struct place place) {
  unsigned volume = volume_of(worker, place.first);
  if (nbd_can_cache(worker->nbd[volume]) != 1)
    return;
  begin_request(worker);
  int result =
      nbd_cache(worker->nbd[volume], place.count * CELL, offset_of(worker, place.first), 0);
  end_request(worker, LOAD_CACHE, volume, result, place.count * CELL);
}

struct status_check {
  const struct worker *worker;
  struct place place;
};

/* What is said to be zeros must be that; whether it is a hole depends on what is below. */
static int check_status(void *opaque, const char *context, uint64_t offset, uint32_t *entries,
                        size_t count, int *error) {
  const struct status_check *check = opaque;
  const struct journal *journal = check->worker->load->journal;
  uint64_t begin = offset_of(check->worker, check->place.first);
  uint64_t end = begin + check->place.count * CELL;
  (void)context, (void)error;
  for (size_t i = 0; i < count; i += 2) {
    uint64_t next = offset + entries[i];
    if (entries[i] == 0)
      fail("block status: an extent of no length at %" PRIu64, offset);
    if (entries[i + 1] & LIBNBD_STATE_ZERO)
      for (uint64_t at = (offset + CELL - 1) / CELL * CELL; at + CELL <= next && at < end;
           at += CELL) {
        uint64_t number = check->place.first + (at - begin) / CELL;
        if (journal->current[number] != 0 && !journal->uncertain[number])
          fail("block status: byte %" PRIu64 " of volume %u is said to be zeros (%u), but value "
               "%" PRIx64 " was written there",
               at, volume_of(check->worker, number), entries[i + 1], journal->current[number]);
      }
    offset = next;
  }
  return 0;
}

static void ask_status(struct worker *worker, struct place place) {
  unsigned volume = volume_of(worker, place.first);
  struct status_check check = {worker, place};
  nbd_extent_callback callback = {.callback = check_status, .user_data = &check};
  if (nbd_can_meta_context(worker->nbd[volume], LIBNBD_CONTEXT_BASE_ALLOCATION) != 1)
    return;
  begin_request(worker);
  int result = nbd_block_status(worker->nbd[volume], place.count * CELL,
                                offset_of(worker, place.first), callback, 0);
  end_request(worker, LOAD_STATUS, volume, result, place.count * CELL);
}

/* -------------------------------------------------------------------- threads */

static void work_on_race(struct worker *worker) {
  struct place place = choose_race(worker);
  if (dice_below(&worker->dice, 2))
    change_race(worker, place);
  else
    read_race(worker, place);
}

static void work_on_own(struct worker *worker) {
  struct place place = dice_below(&worker->dice, 5) ? choose_own(worker) : choose_turn(worker);
  uint64_t dice = dice_below(&worker->dice, 64);
  if (dice < 30)
    change_own(worker, place);
  else if (dice < 54)
    read_own(worker, place);
  else if (dice < 57)
    read_bytes(worker, place);
  else if (dice < 59)
    cache_place(worker, place);
  else if (dice < 62)
    ask_status(worker, place);
  else if (dice_below(&worker->dice, worker->seldom) == 0)
    flush_volume(worker, volume_of(worker, place.first));
}

static void *work(void *opaque) {
  struct worker *worker = opaque;
  struct load *load = worker->load;
  const struct track *track = &load->journal->tracks[worker->number];
  while (!worker->dead && !atomic_load(&load->stop) && track->count < load->most_steps)
    if (dice_below(&worker->dice, 8) == 0)
      work_on_race(worker);
    else
      work_on_own(worker);
  atomic_store(&load->since[worker->number], 0);
  return NULL;
}

static void find_blocks(struct worker *worker) {
  const struct layout *layout = layout_of(worker);
  worker->mine_count = 0;
  for (uint64_t block = 0; block < layout->blocks; block++)
    if (layout_kind(layout, block) == BLOCK_OWNED && layout_block_cells(layout, block) > 0 &&
        layout_owner(layout, block * BLOCK_CELLS) == worker->number)
      worker->mine[worker->mine_count++] = block;
  if (worker->mine_count == 0)
    fail("the volumes are too small: thread %u has no block", worker->number);
}

static void prepare_worker(struct worker *worker, struct load *load, unsigned number) {
  worker->load = load;
  worker->number = number;
  worker->dice = dice_seed(load->seed * MAX_THREADS + number);
  worker->seldom = UINT64_C(1) << 2 * (load->seed % 4);
  worker->dead = false;
  if (!worker->mine) {
    worker->mine = calloc(layout_of(worker)->blocks, sizeof *worker->mine);
    worker->buffer = malloc((size_t)MOST_CELLS * CELL);
    worker->values = calloc(MOST_CELLS, sizeof *worker->values);
  }
  if (!worker->mine || !worker->buffer || !worker->values)
    fail("no memory for thread %u", number);
  find_blocks(worker);
  for (unsigned volume = 0; volume < layout_of(worker)->volumes; volume++)
    if (!(worker->nbd[volume] = load_connect(load, volume)))
      fail("connecting thread %u: %s", number, nbd_get_error());
}

void load_start(struct load *load) {
  unsigned count = load->journal->layout.threads;
  atomic_store(&load->stop, false);
  for (unsigned i = 0; i < count; i++)
    prepare_worker(&workers[i], load, i);
  for (unsigned i = 0; i < count; i++)
    if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0)
      fail("no thread %u", i);
}

void load_join(struct load *load) {
  for (unsigned i = 0; i < load->journal->layout.threads; i++) {
    pthread_join(threads[i], NULL);
    for (unsigned volume = 0; volume < load->journal->layout.volumes; volume++) {
      nbd_shutdown(workers[i].nbd[volume], 0); /* it may be gone */
      nbd_close(workers[i].nbd[volume]);
    }
  }
}
