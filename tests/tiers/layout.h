/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Who writes where.  The volumes are cut into blocks, whose borders lie inside sectors.  Most
 * blocks belong to one thread; in some every few cells have another owner, so that threads write to
 * the same sectors; and some are written by all threads at once.
 *
 * Cells of all volumes are numbered together: block after block, the volumes taking turns.
 */

#ifndef TIERS_LAYOUT_H
#define TIERS_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

enum {
  BLOCK_CELLS = 10237, /* about 5 MiB */
  TURN_CELLS = 15,     /* in blocks of many owners */
  ALIGNED_RACE_CELLS = BLOCK_CELLS / 2 / 8 * 8,
  MAX_THREADS = 64,
  MAX_VOLUMES = 8,
};

enum block_kind { BLOCK_OWNED, BLOCK_TURNS, BLOCK_RACE };

struct layout {
  uint64_t seed;
  unsigned threads, volumes;
  uint64_t volume_cells; /* of each volume */
  uint64_t blocks;       /* of all volumes */
};

struct cell_address {
  unsigned volume;
  uint64_t cell;
};

void layout_make(struct layout *layout, uint64_t seed, unsigned threads, unsigned volumes,
                 uint64_t volume_size);

/* The numbers of cells are below this; not all of them exist. */
uint64_t layout_cells(const struct layout *layout);

enum block_kind layout_kind(const struct layout *layout, uint64_t block);

/* The cells that a block has. */
uint64_t layout_block_cells(const struct layout *layout, uint64_t block);

/* The thread that alone writes a cell; meaningless in blocks of kind BLOCK_RACE. */
unsigned layout_owner(const struct layout *layout, uint64_t number);

struct cell_address layout_address(const struct layout *layout, uint64_t number);
uint64_t layout_number(const struct layout *layout, unsigned volume, uint64_t cell);

/* Whether all cells of the sector that this cell begins have one owner. */
bool layout_sector_is_whole(const struct layout *layout, uint64_t number);

/* Cells with numbers below this are in blocks of kind BLOCK_RACE, and no others. */
uint64_t layout_races(const struct layout *layout);

/* In the first half of a block of kind BLOCK_RACE only whole sectors are written. */
bool layout_is_aligned_race(const struct layout *layout, uint64_t number);

#endif
