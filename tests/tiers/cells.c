/* SPDX-License-Identifier: BSD-3-Clause */

#include "cells.h"
#include "../casefs/dice.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { HEAD_WORDS = 3, CELL_WORDS = CELL / 8 };

static uint64_t mark = UINT64_C(0x6c6c65632072756f);

void cells_set_seed(uint64_t seed) {
  mark = dice_mix(seed) | 1;
}

uint64_t value_make(uint64_t number, enum cell_kind kind) {
  return kind == CELL_ZEROS ? 0 : number << 2 | (uint64_t)kind;
}

uint64_t value_number(uint64_t value) {
  return value >> 2;
}

uint64_t value_in_cell(uint64_t value, uint64_t cell) {
  if ((value & 3) == CELL_MIX && dice_mix(value ^ cell / SECTOR_CELLS) & 1)
    return 0;
  return value;
}

uint64_t base_value(uint64_t cell) {
  return dice_mix(cell / 128) & 1 ? VALUE_BASE : 0;
}

void cell_fill(unsigned char bytes[CELL], uint64_t place, uint64_t value) {
  uint64_t words[CELL_WORDS] = {mark, place, value};
  uint64_t start = dice_mix(value) ^ place;
  if (value == 0) {
    memset(bytes, 0, CELL);
    return;
  }
  for (unsigned i = HEAD_WORDS; i < CELL_WORDS; i++)
    words[i] = (value & 3) == CELL_TEXT && i % 8 ? start : dice_mix(start + i);
  memcpy(bytes, words, CELL);
}

bool cell_parse(const unsigned char bytes[CELL], uint64_t place, uint64_t *value) {
  unsigned char wanted[CELL];
  uint64_t head[HEAD_WORDS];
  memcpy(head, bytes, sizeof head);
  *value = head[0] == mark ? head[2] : 0;
  cell_fill(wanted, place, *value);
  return memcmp(bytes, wanted, CELL) == 0;
}

void cell_describe(const unsigned char bytes[CELL], char text[CELL_TEXT_SIZE]) {
  uint64_t head[HEAD_WORDS], value;
  memcpy(head, bytes, sizeof head);
  if (head[0] != mark)
    snprintf(text, CELL_TEXT_SIZE,
             "nothing that was ever written: %016" PRIx64 " %016" PRIx64 " %016" PRIx64, head[0],
             head[1], head[2]);
  else
    snprintf(text, CELL_TEXT_SIZE, "%s of cell %" PRIu64 " of volume %" PRIu64 ", value %" PRIx64,
             cell_parse(bytes, head[1], &value) ? "the contents" : "damaged contents",
             head[1] % MAX_CELLS, head[1] / MAX_CELLS, head[2]);
}
