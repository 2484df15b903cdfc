/* SPDX-License-Identifier: BSD-3-Clause */

#include "canvas.h"
#include "map.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum {
  COLUMNS = 64, /* cells in a line: a power of two keeps the offsets round */
  CELL = 12,    /* with the gap to the next */
  GAP = 1,
  LEFT = 76, /* for the offsets */
  TOP = 84,
  RIGHT = 28,
  LEGEND = 128, /* below the cells */
  LABELS = 24,  /* lines of cells with offsets, at most */
};

static const struct paint ink = {0.13, 0.15, 0.18}, faint = {0.45, 0.48, 0.52}, paper = {1, 1, 1},
                          empty = {0.945, 0.95, 0.957}, alarm = {0.85, 0.12, 0.15};

/* Each tier cold and hot; between the two by heat. */
static const struct paint cold[TIERS] = {
    [TIER_MEMORY] = {0.76, 0.92, 0.78}, [TIER_COMPRESSED] = {0.74, 0.89, 0.96},
    [TIER_SPILL] = {0.99, 0.87, 0.70},  [TIER_IMAGE] = {0.87, 0.82, 0.95},
    [TIER_BASE] = {0.84, 0.86, 0.89},
};
static const struct paint hot[TIERS] = {
    [TIER_MEMORY] = {0.02, 0.42, 0.16}, [TIER_COMPRESSED] = {0.02, 0.38, 0.58},
    [TIER_SPILL] = {0.80, 0.36, 0.02},  [TIER_IMAGE] = {0.38, 0.16, 0.62},
    [TIER_BASE] = {0.32, 0.36, 0.42},
};

static struct paint paint_of(enum tier tier, unsigned heat) {
  double share = (heat > 100 ? 100 : heat) / 100.0;
  return (struct paint){
      cold[tier].red + share * (hot[tier].red - cold[tier].red),
      cold[tier].green + share * (hot[tier].green - cold[tier].green),
      cold[tier].blue + share * (hot[tier].blue - cold[tier].blue),
  };
}

/* A cell: the tiers it has, each as high as its share, one on the other; a red
 * corner if some of it is not saved, a dark edge on the left if it is pinned. */
static void draw_cell(struct canvas *canvas, double x, double y, const struct cell *cell) {
  const double side = CELL - GAP;
  double bottom = y + side;
  canvas->rectangle(canvas, x, y, side, side, empty);
  for (int tier = 0; tier < TIERS; tier++) {
    double height = cell->length > 0 ? side * (double)cell->bytes[tier] / (double)cell->length : 0;
    if (cell->bytes[tier] == 0)
      continue;
    if (height < 2) /* to be seen at all */
      height = 2;
    if (bottom - height < y)
      height = bottom - y;
    canvas->rectangle(canvas, x, bottom - height, side, height,
                      paint_of((enum tier)tier, cell->heat));
    bottom -= height;
  }
  if (cell->dirty > 0)
    canvas->rectangle(canvas, x + side - 4, y, 4, 4, alarm);
  if (cell->priority >= 9 && held_in(cell) > 0)
    canvas->rectangle(canvas, x, y, 2, side, ink);
}

static size_t lines_of(const struct map *map) {
  return (map->count + COLUMNS - 1) / COLUMNS;
}

static void draw_heading(struct canvas *canvas, const struct map *map) {
  char line[512];
  snprintf(line, sizeof line, "Volume %s", map->name);
  canvas->text(canvas, LEFT, 34, 18, true, ANCHOR_START, ink, line);
  uint64_t begin = map->cells[0].offset, length = map->cells[0].length;
  uint64_t end = map->cells[map->count - 1].offset + map->cells[map->count - 1].length;
  snprintf(line, sizeof line, "%s of it, from %s to %s; each cell is %s, each line %s",
           begin == 0 && end == map->size ? "all" : "a part", EXACT(begin), EXACT(end),
           EXACT(length), EXACT(length * COLUMNS));
  if (begin == 0 && end == map->size)
    snprintf(line, sizeof line, "%s; each cell is %s, each line %s", EXACT(end), EXACT(length),
             EXACT(length * COLUMNS));
  canvas->text(canvas, LEFT, 58, 12, false, ANCHOR_START, faint, line);
  char when[64];
  time_t now = time(NULL);
  struct tm parts;
  strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", localtime_r(&now, &parts));
  canvas->text(canvas, LEFT + COLUMNS * CELL - GAP, 34, 11, false, ANCHOR_END, faint, when);
}

static void draw_cells(struct canvas *canvas, const struct map *map) {
  size_t lines = lines_of(map), step = 1;
  while (lines / step > LABELS)
    step *= 2;
  for (size_t i = 0; i < map->count; i++) {
    size_t line = i / COLUMNS;
    double y = TOP + (double)line * CELL;
    if (i % COLUMNS == 0 && line % step == 0)
      canvas->text(canvas, LEFT - 8, y + CELL - 3, 10, false, ANCHOR_END, faint,
                   EXACT(map->cells[i].offset));
    draw_cell(canvas, LEFT + (double)(i % COLUMNS) * CELL, y, &map->cells[i]);
  }
}

enum { SHADES = 6, NAMES = 92, SIZES = 240, SECOND = 330 };

/* On the left the tiers and what they hold, on the right the marks. */
static void draw_legend(struct canvas *canvas, const struct map *map, double top) {
  double y = top;
  canvas->text(canvas, LEFT, y, 11, true, ANCHOR_START, ink, "cold");
  canvas->text(canvas, LEFT + SHADES * CELL, y, 11, true, ANCHOR_END, ink, "hot");
  for (int tier = 0; tier < TIERS; tier++) {
    y += 20;
    for (unsigned i = 0; i < SHADES; i++)
      canvas->rectangle(canvas, LEFT + i * CELL, y - 10, CELL - GAP, CELL - GAP,
                        paint_of((enum tier)tier, i * 100 / (SHADES - 1)));
    canvas->text(canvas, LEFT + NAMES, y, 12, false, ANCHOR_START, ink, tier_names[tier]);
    canvas->text(canvas, LEFT + SIZES, y, 12, false, ANCHOR_END, ink, SIZE(map->bytes[tier]));
  }
  const struct cell unsaved = {.length = 2, .bytes = {[TIER_MEMORY] = 2}, .dirty = 1, .heat = 40};
  const struct cell pinned = {.length = 2, .bytes = {[TIER_MEMORY] = 2}, .heat = 40, .priority = 9};
  const struct cell part = {.length = 2, .bytes = {[TIER_MEMORY] = 1}, .heat = 40};
  const struct cell nothing = {.length = 2};
  char unsaved_text[80];
  snprintf(unsaved_text, sizeof unsaved_text, "some of it is not saved yet (%s in all)",
           SIZE(map->dirty));
  const struct {
    const struct cell *cell;
    const char *text;
  } marks[] = {{&unsaved, unsaved_text},
               {&pinned, "pinned: priority 9 or 10"},
               {&part, "half of it holds data"},
               {&nothing, "holds nothing"}};
  y = top;
  for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
    y += 20;
    draw_cell(canvas, LEFT + SECOND, y - 10, marks[i].cell);
    canvas->text(canvas, LEFT + SECOND + 20, y, 12, false, ANCHOR_START, ink, marks[i].text);
  }
}

static bool ends_in(const char *path, const char *ending) {
  size_t length = strlen(path), wanted = strlen(ending);
  return length > wanted && strcasecmp(path + length - wanted, ending) == 0;
}

bool check_picture(const char *path) {
  if (ends_in(path, ".svg") || (ends_in(path, ".png") && canvas_has_png()))
    return true;
  if (ends_in(path, ".png"))
    complain("'%s' cannot be made: this sectorsctl was built without cairo; give FILE.svg", path);
  else
    complain("'%s' is no name for a picture; give FILE.svg%s", path,
             canvas_has_png() ? " or FILE.png" : "");
  return false;
}

bool draw_map(const struct map *map, const char *path) {
  if (map->count == 0) {
    complain("the map is empty");
    return false;
  }
  double cells = (double)lines_of(map) * CELL;
  double width = LEFT + COLUMNS * CELL + RIGHT, height = TOP + cells + LEGEND + 24;
  struct canvas *canvas =
      ends_in(path, ".png") ? canvas_png(path, width, height) : canvas_svg(path, width, height);
  if (!canvas)
    return false;
  canvas->rectangle(canvas, 0, 0, width, height, paper);
  draw_heading(canvas, map);
  draw_cells(canvas, map);
  draw_legend(canvas, map, TOP + cells + 30);
  return canvas->finish(canvas);
}
