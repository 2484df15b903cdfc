/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the load writes: cells of 512 bytes that say which cell of which volume they are, and
 * with which write they came, so that whatever a read returns can be judged.
 *
 * A value stands for a cell's contents.  0 is zeros; any other is given to one request only, and
 * its lowest bits say what the bytes look like.
 */

#ifndef TIERS_CELLS_H
#define TIERS_CELLS_H

#include <stdbool.h>
#include <stdint.h>

enum { CELL = 512, SECTOR_CELLS = 8 };

enum cell_kind {
  CELL_ZEROS = 0,  /* value 0 */
  CELL_RANDOM = 1, /* incompressible */
  CELL_TEXT = 2,   /* compressible, about four to one */
  CELL_MIX = 3,    /* incompressible, but some sectors of the request are zeros */
};

/* The base of a volume holds this value where it is not zeros. */
#define VALUE_BASE (UINT64_C(1) << 60 | CELL_TEXT)

/* The largest volume, in cells; a place is the cell's number and above it the volume's. */
#define MAX_CELLS (UINT64_C(1) << 40)

static inline uint64_t cell_place(unsigned volume, uint64_t cell) {
  return (uint64_t)volume * MAX_CELLS + cell;
}

/* Chosen once, so that what earlier runs left is not taken for this run's. */
void cells_set_seed(uint64_t seed);

/* The value of a request with this number. */
uint64_t value_make(uint64_t number, enum cell_kind kind);
uint64_t value_number(uint64_t value);

/* What a request of that value leaves in a cell. */
uint64_t value_in_cell(uint64_t value, uint64_t cell);

/* What the base has in a cell. */
uint64_t base_value(uint64_t cell);

void cell_fill(unsigned char bytes[CELL], uint64_t place, uint64_t value);

/* The value that a cell holds; false if it is none of this place. */
bool cell_parse(const unsigned char bytes[CELL], uint64_t place, uint64_t *value);

/* For people: what a damaged cell looks like. */
enum { CELL_TEXT_SIZE = 200 };
void cell_describe(const unsigned char bytes[CELL], char text[CELL_TEXT_SIZE]);

#endif
