/* SPDX-License-Identifier: BSD-3-Clause */

#include "layout.h"
#include "../casefs/dice.h"
#include "cells.h"

void layout_make(struct layout *layout, uint64_t seed, unsigned threads, unsigned volumes,
                 uint64_t volume_size) {
  uint64_t cells = volume_size / CELL;
  *layout = (struct layout){
      .seed = seed,
      .threads = threads,
      .volumes = volumes,
      .volume_cells = cells,
      .blocks = (cells + BLOCK_CELLS - 1) / BLOCK_CELLS * volumes,
  };
}

uint64_t layout_cells(const struct layout *layout) {
  return layout->blocks * BLOCK_CELLS;
}

/* Of each volume the first block is a race, and the second has many owners. */
enum block_kind layout_kind(const struct layout *layout, uint64_t block) {
  if (block < layout->volumes)
    return BLOCK_RACE;
  if (block < UINT64_C(2) * layout->volumes)
    return BLOCK_TURNS;
  /* And some later ones, of those that nobody needs. */
  return block > UINT64_C(3) * (layout->volumes + layout->threads) &&
                 dice_mix(layout->seed ^ dice_mix(block)) % 10 == 0
             ? BLOCK_TURNS
             : BLOCK_OWNED;
}

uint64_t layout_block_cells(const struct layout *layout, uint64_t block) {
  uint64_t first = block / layout->volumes * BLOCK_CELLS;
  uint64_t left = layout->volume_cells - first;
  return left < BLOCK_CELLS ? left : BLOCK_CELLS;
}

unsigned layout_owner(const struct layout *layout, uint64_t number) {
  uint64_t block = number / BLOCK_CELLS;
  uint64_t dice = dice_mix(dice_mix(layout->seed + 1) ^ block);
  /* Dealt out evenly, so that none gets nothing. */
  if (layout_kind(layout, block) == BLOCK_OWNED)
    return (unsigned)(block % layout->threads);
  return (unsigned)((number % BLOCK_CELLS / TURN_CELLS + dice % layout->threads) % layout->threads);
}

struct cell_address layout_address(const struct layout *layout, uint64_t number) {
  uint64_t block = number / BLOCK_CELLS;
  return (struct cell_address){
      .volume = (unsigned)(block % layout->volumes),
      .cell = block / layout->volumes * BLOCK_CELLS + number % BLOCK_CELLS,
  };
}

uint64_t layout_number(const struct layout *layout, unsigned volume, uint64_t cell) {
  return (cell / BLOCK_CELLS * layout->volumes + volume) * BLOCK_CELLS + cell % BLOCK_CELLS;
}

bool layout_sector_is_whole(const struct layout *layout, uint64_t number) {
  struct cell_address address = layout_address(layout, number);
  uint64_t block = number / BLOCK_CELLS;
  return address.cell % SECTOR_CELLS == 0 &&
         number % BLOCK_CELLS + SECTOR_CELLS <= layout_block_cells(layout, block) &&
         layout_kind(layout, block) == BLOCK_OWNED;
}

bool layout_is_aligned_race(const struct layout *layout, uint64_t number) {
  return number < layout_races(layout) && number % BLOCK_CELLS < ALIGNED_RACE_CELLS &&
         number % BLOCK_CELLS / SECTOR_CELLS * SECTOR_CELLS + SECTOR_CELLS <=
             layout_block_cells(layout, number / BLOCK_CELLS);
}

uint64_t layout_races(const struct layout *layout) {
  return (uint64_t)layout->volumes * BLOCK_CELLS;
}
