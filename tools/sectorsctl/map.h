/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A volume's map: where its data is, in cells of equal length.
 */

#ifndef SECTORSCTL_MAP_H
#define SECTORSCTL_MAP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum tier { TIER_MEMORY, TIER_COMPRESSED, TIER_SPILL, TIER_IMAGE, TIER_BASE, TIERS };

/* As the protocol names them, and as people do. */
extern const char *const tier_keys[TIERS];
extern const char *const tier_names[TIERS];

struct cell {
  uint64_t offset, length;
  uint64_t bytes[TIERS];
  uint64_t dirty;
  unsigned heat;     /* 0 to 100 */
  unsigned priority; /* the highest in it */
};

struct map {
  char *name; /* of the volume */
  uint64_t size;
  size_t count;
  struct cell *cells;
  uint64_t bytes[TIERS]; /* of all cells */
  uint64_t dirty;
};

/* Of the server's answer; NULL with the error reported. */
struct map *map_of(const json_t *answer);
void map_free(struct map *map);

/* What most of a cell's data is in; TIERS if it holds none. */
enum tier tier_of(const struct cell *cell);

uint64_t held_in(const struct cell *cell);

/* On the terminal, or for a pipe, so many cells in a line. */
void print_map(const struct map *map, int columns);

/* As a picture, of the kind that the name of the file ends in.  False with the
 * error reported. */
bool draw_map(const struct map *map, const char *path);

/* Whether a picture can have this name; false with the reason reported. */
bool check_picture(const char *path);

#endif
