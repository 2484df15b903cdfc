/* SPDX-License-Identifier: BSD-3-Clause */

#include "journal.h"
#include "../mount/stress.h"
#include "cells.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *allocate(size_t count, size_t size) {
  void *memory = calloc(count, size);
  if (!memory)
    fail("no memory for %zu times %zu bytes", count, size);
  return memory;
}

void journal_init(struct journal *journal, const struct layout *layout, bool has_base) {
  uint64_t cells = layout_cells(layout);
  memset(journal, 0, sizeof *journal);
  journal->layout = *layout;
  journal->start = allocate(cells, sizeof *journal->start);
  journal->current = allocate(cells, sizeof *journal->current);
  journal->uncertain = allocate(cells, sizeof *journal->uncertain);
  journal->races = races_new(layout_races(layout), layout->threads);
  journal->next_number = 1;
  for (uint64_t number = 0; has_base && number < cells; number++)
    journal->start[number] = base_value(layout_address(layout, number).cell);
  memcpy(journal->current, journal->start, cells * sizeof *journal->start);
  journal_new_round(journal);
}

void journal_new_round(struct journal *journal) {
  for (uint64_t number = 0; number < layout_races(&journal->layout); number++)
    races_reset(journal->races, number, journal->start[number]);
  for (unsigned i = 0; i < journal->layout.threads; i++) {
    struct track *track = &journal->tracks[i];
    track->count = 0;
    atomic_store(&track->finished, 0);
    for (unsigned volume = 0; volume < MAX_VOLUMES; volume++)
      atomic_store(&track->safe[volume], 0);
  }
  journal->round_number = atomic_load(&journal->next_number);
}

/* ---------------------------------------------------------------------- steps */

static void make_room(struct track *track) {
  if (track->count < track->room)
    return;
  track->room = track->room ? track->room * 2 : 4096;
  track->steps = realloc(track->steps, track->room * sizeof *track->steps);
  if (!track->steps)
    fail("no memory for %zu steps", track->room);
}

size_t journal_begin(struct journal *journal, unsigned thread, const struct step *step) {
  struct track *track = &journal->tracks[thread];
  make_room(track);
  track->steps[track->count] = *step;
  return track->count++;
}

static uint64_t value_after(const struct journal *journal, const struct step *step,
                            uint64_t number) {
  return value_in_cell(step->value, layout_address(&journal->layout, number).cell);
}

void journal_end(struct journal *journal, unsigned thread, size_t index, enum step_state state) {
  struct track *track = &journal->tracks[thread];
  struct step *step = &track->steps[index];
  step->state = (uint8_t)state;
  for (uint64_t number = step->first; number < step->first + step->count; number++) {
    if (state == STEP_DONE)
      journal->current[number] = value_after(journal, step, number);
    journal->uncertain[number] = state == STEP_FAILED;
  }
  atomic_store(&track->finished, index + 1);
}

void journal_flush_begin(struct journal *journal, unsigned volume, struct journal_flush *flush) {
  flush->volume = volume;
  for (unsigned i = 0; i < journal->layout.threads; i++)
    flush->covered[i] = atomic_load(&journal->tracks[i].finished);
}

void journal_flush_end(struct journal *journal, const struct journal_flush *flush) {
  for (unsigned i = 0; i < journal->layout.threads; i++) {
    _Atomic size_t *safe = &journal->tracks[i].safe[flush->volume];
    size_t seen = atomic_load(safe);
    while (seen < flush->covered[i] &&
           !atomic_compare_exchange_weak(safe, &seen, flush->covered[i]))
      ;
  }
}

/* ---------------------------------------------------------------- one cell */

static bool is_durable(const struct journal *journal, const struct track *track, size_t index) {
  const struct step *step = &track->steps[index];
  unsigned volume = layout_address(&journal->layout, step->first).volume;
  return step->state == STEP_DONE && (step->fua || index < atomic_load(&track->safe[volume]));
}

static bool covers(const struct step *step, uint64_t first, uint64_t count) {
  return step->first < first + count && first < step->first + step->count;
}

/* Nothing before this step may be seen. */
static bool is_floor(const struct journal *journal, const struct track *track, size_t index,
                     enum journal_rule rule) {
  return rule == RULE_ALIVE ? track->steps[index].state == STEP_DONE
                            : is_durable(journal, track, index);
}

static bool cell_permits(const struct journal *journal, uint64_t number, uint64_t value,
                         enum journal_rule rule) {
  const struct track *track = &journal->tracks[layout_owner(&journal->layout, number)];
  for (size_t i = track->count; i-- > 0;) {
    if (!covers(&track->steps[i], number, 1))
      continue;
    if (value_after(journal, &track->steps[i], number) == value)
      return true;
    if (is_floor(journal, track, i, rule))
      return false;
  }
  return journal->start[number] == value;
}

/* ------------------------------------------------------------- violations */

static void tell_steps(const struct journal *journal, uint64_t number) {
  static const char *const states[] = {"sent", "done", "failed"};
  const struct track *track = &journal->tracks[layout_owner(&journal->layout, number)];
  note("the round began with %" PRIx64, journal->start[number]);
  for (size_t i = 0; i < track->count; i++) {
    const struct step *step = &track->steps[i];
    if (covers(step, number, 1))
      note("step %zu of %zu: %c of cells %" PRIu64 " + %u (of %" PRIu64 "), value %" PRIx64
           ", %s%s",
           i, track->count, step->letter, number - step->first, step->count, step->first,
           value_after(journal, step, number), states[step->state],
           is_durable(journal, track, i) ? ", durable" : "");
  }
}

static _Noreturn void violation(const struct journal *journal, uint64_t number,
                                const unsigned char *bytes, const char *when) {
  struct cell_address address = layout_address(&journal->layout, number);
  uint64_t value, place = cell_place(address.volume, address.cell);
  char found[CELL_TEXT_SIZE];
  cell_describe(bytes, found);
  bool sound = cell_parse(bytes, place, &value);
  if (number >= layout_races(&journal->layout))
    tell_steps(journal, number);
  else
    races_tell(journal->races, number);
  if (sound && value == 0)
    snprintf(found, sizeof found, "zeros");
  fail("%s: volume %u, byte %" PRIu64 " (sector %" PRIu64 ", cell %" PRIu64 " of it): found %s; "
       "the last is %" PRIx64 "%s",
       when, address.volume, address.cell * CELL, address.cell / SECTOR_CELLS,
       address.cell % SECTOR_CELLS, found, journal->current[number],
       journal->uncertain[number] ? ", or of a failed step" : "");
}

static uint64_t parse(const struct journal *journal, uint64_t number, const unsigned char *bytes,
                      const char *when) {
  struct cell_address address = layout_address(&journal->layout, number);
  uint64_t value;
  if (!cell_parse(bytes, cell_place(address.volume, address.cell), &value))
    violation(journal, number, bytes, when);
  return value;
}

void journal_check_read(struct journal *journal, uint64_t number, const unsigned char *bytes) {
  uint64_t value = parse(journal, number, bytes, "a read");
  if (value == journal->current[number] && !journal->uncertain[number])
    return;
  if (!journal->uncertain[number] || !cell_permits(journal, number, value, RULE_ALIVE))
    violation(journal, number, bytes, "a read");
}

/* ----------------------------------------------------------------- sectors */

struct sector_state {
  uint64_t values[SECTOR_CELLS];
};

static void apply_step(const struct journal *journal, const struct step *step, uint64_t first,
                       struct sector_state *state) {
  for (unsigned i = 0; i < SECTOR_CELLS; i++)
    if (covers(step, first + i, 1))
      state->values[i] = value_after(journal, step, first + i);
}

/* Whether a sector is as it was at one moment since its last durable step.  A failed step may
 * have been done or not; then its cells say all that can be said. */
static bool sector_permits(const struct journal *journal, uint64_t first,
                           const struct sector_state *found) {
  const struct track *track = &journal->tracks[layout_owner(&journal->layout, first)];
  struct sector_state state;
  memcpy(state.values, &journal->start[first], sizeof state.values);
  bool same = memcmp(&state, found, sizeof state) == 0;
  for (size_t i = 0; i < track->count; i++) {
    if (!covers(&track->steps[i], first, SECTOR_CELLS))
      continue;
    if (track->steps[i].state == STEP_FAILED)
      return true;
    apply_step(journal, &track->steps[i], first, &state);
    same = (same && !is_durable(journal, track, i)) || memcmp(&state, found, sizeof state) == 0;
  }
  return same;
}

static void check_own_sector(const struct journal *journal, uint64_t first,
                             const unsigned char *bytes) {
  struct sector_state found;
  for (unsigned i = 0; i < SECTOR_CELLS; i++)
    found.values[i] = parse(journal, first + i, bytes + i * CELL, "a sector after the crash");
  if (memcmp(found.values, &journal->current[first], sizeof found.values) != 0 &&
      !sector_permits(journal, first, &found))
    violation(journal, first, bytes,
              "a sector after the crash is of several moments; its first cell");
}

static void check_race_sector(const struct journal *journal, uint64_t first,
                              const unsigned char *bytes) {
  uint64_t value = parse(journal, first, bytes, "a race");
  for (unsigned i = 1; i < SECTOR_CELLS; i++)
    if (parse(journal, first + i, bytes + i * CELL, "a race") != value)
      violation(journal, first + i, bytes + i * CELL,
                "a sector that is always written as a whole has a cell of another request");
}

/* --------------------------------------------------------------- settling */

static void settle_race(struct journal *journal, uint64_t number, const unsigned char *bytes,
                        enum journal_rule rule) {
  uint64_t value = parse(journal, number, bytes, "a race at the end");
  uint64_t now = races_now(journal->races);
  bool good = rule == RULE_ALIVE ? races_permit(journal->races, number, value, now, now + 1)
                                 : value == 0 || value == journal->start[number] ||
                                       value_number(value) >= journal->round_number;
  if (!good)
    violation(journal, number, bytes, "a race at the end");
}

static void settle_own(struct journal *journal, uint64_t number, const unsigned char *bytes,
                       enum journal_rule rule, struct journal_counts *counts) {
  const char *when = rule == RULE_ALIVE ? "at the end of a round" : "after a crash";
  uint64_t value = parse(journal, number, bytes, when);
  bool latest = value == journal->current[number];
  if (!latest || journal->uncertain[number]) {
    bool lenient = rule == RULE_CRASHED || journal->uncertain[number];
    if (!lenient || !cell_permits(journal, number, value, rule))
      violation(journal, number, bytes, when);
  }
  if (rule == RULE_CRASHED) {
    counts->survivors += journal->start[number] != journal->current[number];
    counts->lost += !latest;
  }
}

static void settle_cell(struct journal *journal, uint64_t number, const unsigned char *bytes,
                        enum journal_rule rule, struct journal_counts *counts) {
  counts->cells++;
  if (number < layout_races(&journal->layout))
    settle_race(journal, number, bytes, rule);
  else
    settle_own(journal, number, bytes, rule, counts);
}

/* Called after all checks of its sector, which compare with what was before. */
static void keep_cell(struct journal *journal, unsigned volume, uint64_t cell,
                      const unsigned char *bytes) {
  uint64_t number = layout_number(&journal->layout, volume, cell), value;
  cell_parse(bytes, cell_place(volume, cell), &value);
  journal->start[number] = journal->current[number] = value;
  journal->uncertain[number] = 0;
}

void journal_settle(struct journal *journal, unsigned volume, uint64_t cell, uint64_t count,
                    const unsigned char *bytes, enum journal_rule rule,
                    struct journal_counts *counts) {
  for (uint64_t i = 0; i < count; i++)
    settle_cell(journal, layout_number(&journal->layout, volume, cell + i), bytes + i * CELL, rule,
                counts);
  for (uint64_t i = 0; i + SECTOR_CELLS <= count; i += SECTOR_CELLS) {
    uint64_t number = layout_number(&journal->layout, volume, cell + i);
    if (layout_is_aligned_race(&journal->layout, number))
      check_race_sector(journal, number, bytes + i * CELL);
    else if (rule == RULE_CRASHED && layout_sector_is_whole(&journal->layout, number))
      check_own_sector(journal, number, bytes + i * CELL);
  }
  for (uint64_t i = 0; i < count; i++)
    keep_cell(journal, volume, cell + i, bytes + i * CELL);
}
