/* SPDX-License-Identifier: BSD-3-Clause */

#include "races.h"
#include "../mount/stress.h"
#include "layout.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { MOST_WRITES = 24 };

struct race_write {
  uint64_t value;
  uint64_t begun, ended; /* ended: UINT64_MAX while it is under way */
  bool certain;          /* it was done; otherwise, maybe */
};

struct race_cell {
  atomic_flag lock;
  unsigned count;
  struct race_write writes[MOST_WRITES];
};

struct races {
  _Atomic uint64_t clock;
  unsigned threads;
  _Atomic uint64_t reading_since[MAX_THREADS]; /* UINT64_MAX: is not */
  struct race_cell cells[];
};

struct races *races_new(uint64_t cells, unsigned threads) {
  struct races *races = calloc(1, sizeof *races + cells * sizeof *races->cells);
  if (!races)
    fail("no memory for %ju racing cells", (uintmax_t)cells);
  races->clock = 1;
  races->threads = threads;
  for (unsigned i = 0; i < MAX_THREADS; i++)
    races->reading_since[i] = UINT64_MAX;
  return races;
}

void races_reset(struct races *races, uint64_t cell, uint64_t value) {
  races->cells[cell].count = 1;
  races->cells[cell].writes[0] = (struct race_write){value, 0, 0, true};
}

static void lock(struct race_cell *cell) {
  while (atomic_flag_test_and_set_explicit(&cell->lock, memory_order_acquire))
    ;
}

static void unlock(struct race_cell *cell) {
  atomic_flag_clear_explicit(&cell->lock, memory_order_release);
}

/* Whether a read that began then cannot find this write any more. */
static bool is_covered(const struct race_cell *cell, const struct race_write *write,
                       uint64_t begun) {
  for (unsigned i = 0; i < cell->count; i++) {
    const struct race_write *later = &cell->writes[i];
    if (later->certain && later->begun > write->ended && later->ended < begun)
      return true;
  }
  return false;
}

static void forget_covered(struct race_cell *cell, uint64_t oldest_read) {
  struct race_cell kept = {.count = 0};
  for (unsigned i = 0; i < cell->count; i++)
    if (!is_covered(cell, &cell->writes[i], oldest_read))
      kept.writes[kept.count++] = cell->writes[i];
  for (unsigned i = 0; i < kept.count; i++)
    cell->writes[i] = kept.writes[i];
  cell->count = kept.count;
}

static uint64_t oldest_read(struct races *races) {
  uint64_t oldest = atomic_load(&races->clock);
  for (unsigned i = 0; i < races->threads; i++)
    if (races->reading_since[i] < oldest)
      oldest = races->reading_since[i];
  return oldest;
}

static void forget_write(struct race_cell *cell, uint64_t begun) {
  for (unsigned i = 0; i < cell->count; i++)
    if (cell->writes[i].begun == begun) {
      cell->writes[i] = cell->writes[--cell->count];
      return;
    }
}

static void take_back(struct races *races, uint64_t first, uint64_t count, uint64_t begun) {
  for (uint64_t i = 0; i < count; i++) {
    struct race_cell *cell = &races->cells[first + i];
    lock(cell);
    forget_write(cell, begun);
    unlock(cell);
  }
}

uint64_t races_write_begin(struct races *races, uint64_t first, const uint64_t *values,
                           uint64_t count) {
  uint64_t begun = atomic_fetch_add(&races->clock, 1) + 1;
  for (uint64_t i = 0; i < count; i++) {
    struct race_cell *cell = &races->cells[first + i];
    lock(cell);
    if (cell->count > 4)
      forget_covered(cell, oldest_read(races));
    bool room = cell->count < MOST_WRITES;
    if (room)
      cell->writes[cell->count++] = (struct race_write){values[i], begun, UINT64_MAX, false};
    unlock(cell);
    if (!room) {
      take_back(races, first, i, begun);
      return 0;
    }
  }
  return begun;
}

void races_write_end(struct races *races, uint64_t first, uint64_t count, uint64_t begun,
                     enum race_result result) {
  uint64_t ended = atomic_fetch_add(&races->clock, 1) + 1;
  for (uint64_t i = 0; i < count; i++) {
    struct race_cell *cell = &races->cells[first + i];
    lock(cell);
    for (unsigned j = 0; j < cell->count; j++)
      if (cell->writes[j].begun == begun) {
        cell->writes[j].ended = ended;
        cell->writes[j].certain = result == RACE_DONE;
      }
    unlock(cell);
  }
}

/* Said before the time is taken, so that no writer forgets what the read may still find. */
uint64_t races_read_begin(struct races *races, unsigned thread) {
  races->reading_since[thread] = 0;
  uint64_t begun = atomic_fetch_add(&races->clock, 1) + 1;
  races->reading_since[thread] = begun;
  return begun;
}

uint64_t races_now(struct races *races) {
  return atomic_fetch_add(&races->clock, 1) + 1;
}

void races_read_end(struct races *races, unsigned thread) {
  races->reading_since[thread] = UINT64_MAX;
}

bool races_permit(struct races *races, uint64_t number, uint64_t value, uint64_t begun,
                  uint64_t ended) {
  struct race_cell *cell = &races->cells[number];
  bool permitted = false;
  lock(cell);
  for (unsigned i = 0; i < cell->count && !permitted; i++) {
    const struct race_write *write = &cell->writes[i];
    permitted = write->value == value && write->begun < ended && !is_covered(cell, write, begun);
  }
  unlock(cell);
  return permitted;
}

void races_tell(struct races *races, uint64_t number) {
  const struct race_cell *cell = &races->cells[number];
  for (unsigned i = 0; i < cell->count; i++)
    note("value %" PRIx64 ", from %" PRIu64 " to %" PRIu64 "%s", cell->writes[i].value,
         cell->writes[i].begun, cell->writes[i].ended, cell->writes[i].certain ? "" : ", perhaps");
}
