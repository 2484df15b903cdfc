/* SPDX-License-Identifier: BSD-3-Clause */

#include "map.h"

#include "connection.h"
#include "text.h"
#include "verbs.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

const char *const tier_keys[TIERS] = {"memory", "compressed", "spill", "image", "base"};
const char *const tier_names[TIERS] = {"memory", "compressed", "spill file", "image", "base"};

enum {
  PICTURE_CELLS = 4096, /* at most */
  MARGIN = 10,          /* columns before the cells of a line */
  MOST_COLUMNS = 128,
};

/* ------------------------------------------------------------------ the data */

struct map *map_of(const json_t *answer) {
  const json_t *cells = member(answer, "cells"), *object;
  struct map *map = calloc(1, sizeof *map);
  size_t i;
  if (map) {
    map->name = strdup(text(answer, "name"));
    map->cells = calloc(json_array_size(cells) + 1, sizeof *map->cells);
  }
  if (!map || !map->name || !map->cells) {
    complain("no memory for the map");
    map_free(map);
    return NULL;
  }
  map->size = number(answer, "size");
  json_array_foreach(cells, i, object) {
    struct cell *cell = &map->cells[map->count++];
    cell->offset = number(object, "offset");
    cell->length = number(object, "length");
    cell->dirty = number(object, "dirty");
    cell->heat = (unsigned)number(object, "heat");
    cell->priority = (unsigned)number(object, "priority");
    for (int tier = 0; tier < TIERS; tier++) {
      cell->bytes[tier] = number(object, tier_keys[tier]);
      map->bytes[tier] += cell->bytes[tier];
    }
    map->dirty += cell->dirty;
  }
  return map;
}

void map_free(struct map *map) {
  if (!map)
    return;
  free(map->name);
  free(map->cells);
  free(map);
}

enum tier tier_of(const struct cell *cell) {
  int most = TIERS;
  for (int tier = 0; tier < TIERS; tier++)
    if (cell->bytes[tier] > 0 && (most == TIERS || cell->bytes[tier] > cell->bytes[most]))
      most = tier;
  return (enum tier)most;
}

uint64_t held_in(const struct cell *cell) {
  uint64_t held = 0;
  for (int tier = 0; tier < TIERS; tier++)
    held += cell->bytes[tier];
  return held;
}

/* -------------------------------------------------------------- for a terminal */

static const char letters[TIERS + 1] = "mcsib";

/* Of 256 colours: each tier cold, warm and hot. */
static const unsigned char shades[TIERS][3] = {
    {22, 29, 78}, {24, 31, 74}, {94, 136, 215}, {54, 97, 141}, {238, 242, 248}};

static void print_cell(const struct cell *cell, bool colours) {
  enum tier tier = tier_of(cell);
  if (tier == TIERS) {
    fputs(colours ? "\033[2m.\033[0m" : ".", stdout);
    return;
  }
  int heat = cell->heat >= 67 ? 2 : cell->heat >= 34 ? 1 : 0;
  int letter = cell->dirty > 0 ? letters[tier] - 'a' + 'A' : letters[tier];
  if (colours)
    printf("\033[48;5;%d;38;5;%dm%c\033[0m", shades[tier][heat], heat == 2 ? 16 : 255, letter);
  else
    putchar(letter);
}

static void print_legend(const struct map *map, bool colours) {
  putchar('\n');
  for (int tier = 0; tier < TIERS; tier++) {
    if (map->bytes[tier] == 0)
      continue;
    printf("%*s", MARGIN, "");
    for (int heat = 0; heat < 3; heat++) {
      struct cell cell = {.heat = (unsigned)heat * 50};
      cell.bytes[tier] = 1;
      print_cell(&cell, colours);
    }
    printf(" %-12s %8s\n", tier_names[tier], SIZE(map->bytes[tier]));
  }
  printf("%*s.   holds nothing%s\n", MARGIN, "", colours ? "; brighter is hotter" : "");
  if (map->dirty > 0)
    printf("%*sM   capital: some of it is not saved yet, %s in all\n", MARGIN, "",
           SIZE(map->dirty));
}

void print_map(const struct map *map, int columns) {
  bool colours = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
  printf("volume %s, %s, a character is %s\n\n", map->name, SIZE(map->size),
         SIZE(map->count > 0 ? map->cells[0].length : 0));
  for (size_t i = 0; i < map->count; i++) {
    if (i % (size_t)columns == 0)
      printf("%*s  ", MARGIN - 2, EXACT(map->cells[i].offset));
    print_cell(&map->cells[i], colours);
    if ((i + 1) % (size_t)columns == 0 || i + 1 == map->count)
      putchar('\n');
  }
  print_legend(map, colours);
}

/* ------------------------------------------------------------------- the verb */

bool check_map(struct options *options) {
  return check_range(options) && (!options->output || check_picture(options->output));
}

/* The cells of a line, and how many lines there may be: a power of two keeps
 * the offsets of lines round. */
static int terminal_columns(int *lines) {
  struct winsize size = {.ws_col = 80, .ws_row = 25};
  if (isatty(STDOUT_FILENO))
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
  int columns = 32;
  while (columns * 2 <= MOST_COLUMNS && columns * 2 + MARGIN <= size.ws_col)
    columns *= 2;
  *lines = size.ws_row > 20 ? size.ws_row - 10 : 10;
  return columns;
}

static json_t *map_request(const struct options *options, const char *key, json_int_t value) {
  json_t *request = json_pack("{s:s, s:s}", "command", "map", "volume", options->volume);
  if (options->has_range)
    json_object_set_new(request, "offset", json_integer((json_int_t)options->offset));
  if (options->has_range && options->length != UINT64_MAX)
    json_object_set_new(request, "length", json_integer((json_int_t)options->length));
  if (key)
    json_object_set_new(request, key, json_integer(value));
  return request;
}

/* Add what the server cut off the end of the map.  False with the error reported. */
static bool complete(FILE *server, const struct options *options, json_t *answer) {
  const json_t *next;
  uint64_t end = options->has_range && options->length != UINT64_MAX
                     ? options->offset + options->length
                     : number(answer, "size");
  while ((next = member(answer, "next"))) {
    uint64_t offset = (uint64_t)json_integer_value(next);
    json_t *request = map_request(options, "offset", (json_int_t)offset);
    json_object_set_new(request, "length", json_integer((json_int_t)(end - offset)));
    json_t *more = ask(server, request);
    if (!more)
      return false;
    json_array_extend(json_object_get(answer, "map"), json_object_get(more, "map"));
    json_object_del(answer, "next");
    if (member(more, "next"))
      json_object_set(answer, "next", json_object_get(more, "next"));
    json_decref(more);
  }
  return true;
}

static bool print_map_json(FILE *server, const struct options *options) {
  json_t *answer = ask(server, map_request(options, NULL, 0));
  if (!answer || !complete(server, options, answer)) {
    json_decref(answer);
    return false;
  }
  json_object_del(answer, "version");
  json_object_del(answer, "ok");
  json_dumpf(answer, stdout, JSON_INDENT(2));
  putchar('\n');
  json_decref(answer);
  return true;
}

bool show_map(FILE *server, const struct options *options) {
  int lines, columns = terminal_columns(&lines);
  bool done = true;
  if (options->json && !options->output)
    return print_map_json(server, options);
  json_t *answer = ask(server, map_request(options, "resolution",
                                           options->output ? PICTURE_CELLS : columns * lines));
  struct map *map = answer ? map_of(answer) : NULL;
  json_decref(answer);
  if (map && options->output)
    done = draw_map(map, options->output);
  else if (map)
    print_map(map, columns);
  done &= map != NULL;
  map_free(map);
  return done;
}
