/* SPDX-License-Identifier: BSD-3-Clause */

#include "watch.h"

#include "connection.h"
#include "screen.h"
#include "statistics.h"
#include "text.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { HISTORY = 60 }; /* of the little curves, in frames */

/* What is drawn from: statistics now and one frame before, if there was one. */
struct view {
  struct screen screen;
  const json_t *now, *before;
  double interval; /* seconds between the two; 0: there is no before */
  double period;   /* seconds, wanted */
  double history[OPERATION_COUNT][HISTORY];
};

/* A counter's growth for each second. */
static double rate(const struct view *view, const json_t *now, const json_t *before,
                   const char *key) {
  uint64_t value = number(now, key), was = number(before, key);
  return before && view->interval > 0 && value > was ? (double)(value - was) / view->interval : 0;
}

static const json_t *total_of(const json_t *statistics) {
  return member(statistics, "total");
}

static double total_rate(const struct view *view, const char *key) {
  return rate(view, total_of(view->now), total_of(view->before), key);
}

/* Right-aligned, in a field of so many columns. */
static void put_field(struct screen *screen, enum colour colour, int columns, const char *value) {
  put(screen, colour, " %*s", columns, value);
}

/* A rate of bytes; nothing stands out. */
static void put_rate(struct screen *screen, int columns, double bytes) {
  put_field(screen, bytes < 1 ? COLOUR_DIM : COLOUR_PLAIN, columns,
            bytes < 1 ? "-" : SIZE((uint64_t)bytes));
}

/* ------------------------------------------------------------------- heading */

static void draw_heading(struct view *view) {
  struct screen *screen = &view->screen;
  const json_t *total = total_of(view->now);
  char right[64];
  snprintf(right, sizeof right, "every %gs, q ends", view->period);
  put(screen, COLOUR_BOLD, "sectors %s", text(view->now, "server_version"));
  put(screen, COLOUR_PLAIN, "  process %" PRIu64 ", up %s", number(view->now, "pid"),
      UPTIME(number(total, "uptime_ns")));
  put_to(screen, screen->columns - (int)strlen(right));
  put(screen, COLOUR_DIM, "%s", right);
  put_line(screen);
  put_line(screen);
}

/* -------------------------------------------------------------------- memory */

static const struct piece {
  const char *key, *name;
  enum colour colour;
} pieces[] = {
    {"live", "data", COLOUR_MEMORY},
    {"compressed_memory", "compressed", COLOUR_COMPRESSED},
    {"reserved", "reserved", COLOUR_RESERVED},
    {"metadata", "index", COLOUR_METADATA},
    {"buffers", "buffers", COLOUR_BUFFERS},
};

enum { PIECES = sizeof pieces / sizeof pieces[0] };

/* Whether a watermark stands in this cell of the bar. */
static bool is_mark(const json_t *total, int cell, int cells) {
  int high = (int)(number(total, "high_watermark") * (uint64_t)cells / 100);
  int low = (int)(number(total, "low_watermark") * (uint64_t)cells / 100);
  return number(total, "high_watermark") > 0 && (cell == high || cell == low);
}

static void draw_bar(struct view *view, int cells) {
  struct screen *screen = &view->screen;
  const json_t *total = total_of(view->now);
  double limit = (double)number(total, "limit"), filled = 0;
  int cell = 0;
  for (int i = 0; i < PIECES; i++) {
    filled += limit > 0 ? (double)number(total, pieces[i].key) / limit * cells : 0;
    for (; cell < cells && cell < (int)(filled + 0.5); cell++)
      put(screen, pieces[i].colour, "%s", screen->unicode ? "█" : "#");
  }
  for (; cell < cells; cell++)
    put(screen, COLOUR_DIM, "%s",
        is_mark(total, cell, cells) ? (screen->unicode ? "┊" : "|")
                                    : (screen->unicode ? "░" : "."));
}

static void draw_memory(struct view *view) {
  struct screen *screen = &view->screen;
  const json_t *total = total_of(view->now);
  uint64_t charged = number(total, "charged"), limit = number(total, "limit");
  double share = limit > 0 ? 100.0 * (double)charged / (double)limit : 0;
  char figures[64];
  snprintf(figures, sizeof figures, "  %s of %s, %.0f%%", SIZE(charged), SIZE(limit), share);
  put(screen, COLOUR_BOLD, "memory  ");
  draw_bar(view, screen->columns - 8 - (int)strlen(figures));
  put(screen, share > 97 ? COLOUR_ALARM : COLOUR_BOLD, "%s", figures);
  put_line(screen);
  put(screen, COLOUR_PLAIN, "       ");
  for (int i = 0; i < PIECES; i++) {
    if (i > 1 && number(total, pieces[i].key) == 0)
      continue;
    put(screen, pieces[i].colour, " %s", screen->unicode ? "■" : "#");
    put(screen, COLOUR_PLAIN, " %s %s ", pieces[i].name, SIZE(number(total, pieces[i].key)));
    if (strcmp(pieces[i].key, "compressed_memory") == 0)
      put(screen, COLOUR_DIM, "(%.1f:1) ", fraction(total, "compression_ratio"));
  }
  put_line(screen);
}

static void draw_below(struct view *view) {
  struct screen *screen = &view->screen;
  const json_t *total = total_of(view->now);
  if (!has_tiers(view->now))
    return;
  put(screen, COLOUR_BOLD, "below   ");
  put(screen, COLOUR_PLAIN, "in ");
  put(screen, COLOUR_BELOW, "%s/s", SIZE((uint64_t)total_rate(view, "swapped_in")));
  put(screen, COLOUR_PLAIN, "  out ");
  put(screen, COLOUR_BELOW, "%s/s", SIZE((uint64_t)total_rate(view, "swapped_out")));
  put(screen, COLOUR_PLAIN, "  not saved yet %s", SIZE(number(total, "dirty")));
  if (json_is_integer(member(total, "below_used")))
    put(screen, COLOUR_PLAIN, "  disk used %s", SIZE(number(total, "below_used")));
  double waited = total_rate(view, "throttle_ns") / 1e7;
  if (waited >= 0.5)
    put(screen, COLOUR_RESERVED, "  writers wait");
  put_line(screen);
  double hits = total_rate(view, "hits"), misses = total_rate(view, "misses");
  put(screen, COLOUR_BOLD, "reads   ");
  if (hits + misses > 0)
    put(screen, COLOUR_PLAIN, "%.1f%% from memory now, ", 100 * hits / (hits + misses));
  put(screen, COLOUR_PLAIN, "%.1f%% since the start", 100 * fraction(total, "hit_rate"));
  put_line(screen);
}

/* ------------------------------------------------------------------ requests */

/* The last values as a curve of one line. */
static void draw_curve(struct view *view, const double *history, int columns) {
  static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  static const char *const letters[] = {"_", "_", ".", ".", "-", "-", "=", "#"};
  double most = 0;
  for (int i = 0; i < HISTORY; i++)
    most = history[i] > most ? history[i] : most;
  columns = columns < HISTORY ? columns : HISTORY;
  for (int i = HISTORY - columns; i < HISTORY; i++) {
    int level = most > 0 ? (int)(history[i] / most * 7 + 0.5) : 0;
    put(&view->screen, history[i] > 0 ? COLOUR_MEMORY : COLOUR_DIM, "%s",
        view->screen.unicode ? blocks[level] : letters[level]);
  }
}

static void draw_operation(struct view *view, int i) {
  struct screen *screen = &view->screen;
  const json_t *now = requests_of(total_of(view->now), operations[i]);
  const json_t *before = requests_of(total_of(view->before), operations[i]);
  const json_t *latency = member(now, "latency_ns");
  double requests = rate(view, now, before, "count");
  double busy = rate(view, latency, member(before, "latency_ns"), "total");
  if (number(now, "count") == 0)
    return;
  put(screen, requests > 0 ? COLOUR_PLAIN : COLOUR_DIM, "%-8s", operations[i]);
  put_field(screen, requests > 0 ? COLOUR_PLAIN : COLOUR_DIM, 7,
            requests > 0 ? COUNT(requests) : "-");
  put_rate(screen, 8, rate(view, now, before, "bytes"));
  put_field(screen, requests > 0 ? COLOUR_PLAIN : COLOUR_DIM, 8,
            requests > 0 ? DURATION((uint64_t)(busy / requests)) : "-");
  put_field(screen, COLOUR_DIM, 8, DURATION(number(latency, "p50")));
  put_field(screen, COLOUR_DIM, 8, DURATION(number(latency, "p99")));
  uint64_t errors = number(now, "errors");
  put_field(screen, errors > 0 ? COLOUR_ALARM : COLOUR_DIM, 7,
            errors > 0 ? COUNT((double)errors) : "-");
  put(screen, COLOUR_PLAIN, "  ");
  draw_curve(view, view->history[i], screen->columns - screen->column);
  put_line(screen);
}

static void draw_requests(struct view *view) {
  put_line(&view->screen);
  put(&view->screen, COLOUR_BOLD, "%-8s %7s %8s %8s %8s %8s %7s", "requests", "per s", "bytes/s",
      "now", "p50", "p99", "errors");
  put_line(&view->screen);
  for (int i = 0; i < OPERATION_COUNT; i++)
    draw_operation(view, i);
}

/* ------------------------------------------------------------------- volumes */

/* The statistics of the volume that has this name before. */
static const json_t *volume_before(const struct view *view, const char *name) {
  const json_t *volume;
  size_t i;
  json_array_foreach(member(view->before, "volumes"), i,
                     volume) if (strcmp(text(volume, "name"), name) == 0) return volume;
  return NULL;
}

static void draw_volume(struct view *view, const json_t *now, int names) {
  struct screen *screen = &view->screen;
  const json_t *before = volume_before(view, text(now, "name"));
  bool tiers = has_tiers(view->now);
  bool fails = *text(now, "error") != '\0';
  int columns = screen->columns;
  screen->columns = names < columns ? names : columns; /* where a long name is cut */
  put(screen, fails ? COLOUR_ALARM : COLOUR_PLAIN, "%s", text(now, "name"));
  screen->columns = columns;
  put_to(screen, names);
  put_field(screen, COLOUR_PLAIN, 7, SIZE(number(now, "virtual")));
  put_field(screen, COLOUR_MEMORY, 7, SIZE(number(now, "live")));
  if (tiers) {
    put_field(screen, COLOUR_COMPRESSED, 7, SIZE(number(now, "compressed")));
    put_field(screen, COLOUR_BELOW, 7,
              json_is_integer(member(now, "below_used")) ? SIZE(number(now, "below_used")) : "-");
    put_field(screen, COLOUR_PLAIN, 7, SIZE(number(now, "dirty")));
    char hits[FIELD];
    snprintf(hits, sizeof hits, "%.0f%%", 100 * fraction(now, "hit_rate"));
    put_field(screen, COLOUR_PLAIN, 5, hits);
    put(screen, COLOUR_PLAIN, " %4" PRIu64, number(now, "priority"));
  }
  put_rate(screen, 8, rate(view, requests_of(now, "read"), requests_of(before, "read"), "bytes"));
  put_rate(screen, 8, rate(view, requests_of(now, "write"), requests_of(before, "write"), "bytes"));
  put(screen, COLOUR_PLAIN, " %5" PRIu64, number(now, "connections"));
  if (fails)
    put(screen, COLOUR_ALARM, "  %s", text(now, "error"));
  put_line(screen);
}

/* Columns for names: as many as the longest needs, and the others leave. */
static int name_columns(const struct view *view) {
  const json_t *volume;
  size_t i;
  int longest = 8, most = view->screen.columns - (has_tiers(view->now) ? 77 : 40);
  json_array_foreach(member(view->now, "volumes"), i, volume) {
    int columns = columns_of(text(volume, "name"));
    longest = columns > longest ? columns : longest;
  }
  return longest < most ? longest : most > 8 ? most : 8;
}

static void draw_volumes(struct view *view) {
  struct screen *screen = &view->screen;
  const json_t *volumes = member(view->now, "volumes"), *volume;
  int names = name_columns(view);
  size_t i, count = json_array_size(volumes);
  put_line(screen);
  put(screen, COLOUR_BOLD, "volume");
  put_to(screen, names);
  put(screen, COLOUR_BOLD, " %7s %7s", "size", "memory");
  if (has_tiers(view->now))
    put(screen, COLOUR_BOLD, " %7s %7s %7s %5s %4s", "compr.", "disk", "unsaved", "hits", "prio");
  put(screen, COLOUR_BOLD, " %8s %8s %5s", "read/s", "write/s", "conn.");
  put_line(screen);
  json_array_foreach(volumes, i, volume) {
    if (screen->line + 1 >= screen->lines && i + 1 < count) {
      put(screen, COLOUR_DIM, "... and %zu more", count - i);
      return;
    }
    draw_volume(view, volume, names);
  }
}

/* ---------------------------------------------------------------- the screen */

static void remember(struct view *view) {
  for (int i = 0; i < OPERATION_COUNT; i++) {
    double *history = view->history[i];
    memmove(history, history + 1, (HISTORY - 1) * sizeof *history);
    history[HISTORY - 1] = rate(view, requests_of(total_of(view->now), operations[i]),
                                requests_of(total_of(view->before), operations[i]), "count");
  }
}

static bool draw(struct view *view) {
  if (!screen_begin(&view->screen))
    return false;
  draw_heading(view);
  draw_memory(view);
  draw_below(view);
  draw_requests(view);
  draw_volumes(view);
  return screen_end(&view->screen);
}

static double clock_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Draw until the next statistics are due.  False if it is to end. */
static bool show_until(struct view *view, double due) {
  for (;;) {
    double left = due - clock_seconds();
    if (!draw(view))
      return false;
    int key = left > 0 ? screen_wait(left) : screen_wait(0);
    if (key == 'q' || key == 'Q' || key < 0)
      return false;
    if (due - clock_seconds() <= 0)
      return true;
  }
}

/* Frames until the user has enough (true) or the server is gone (false); nothing
 * is said of that, since this screen goes. */
static bool show_frames(FILE *server, struct view *view) {
  json_t *before = NULL, *answer = NULL;
  bool going = true;
  while (going) {
    double due = clock_seconds() + view->period;
    answer = exchange(server, json_pack("{s:s}", "command", "stats"));
    if (!member(answer, "statistics")) {
      json_decref(answer);
      going = !screen_is_over();
      break;
    }
    view->now = member(answer, "statistics");
    view->before = member(before, "statistics");
    view->interval = ((double)number(total_of(view->now), "uptime_ns") -
                      (double)number(total_of(view->before), "uptime_ns")) /
                     1e9;
    if (!before)
      view->interval = 0;
    remember(view);
    going = show_until(view, due);
    json_decref(before);
    before = answer;
  }
  json_decref(before);
  return !going;
}

bool watch_screen(FILE *server, double seconds) {
  struct view *view = calloc(1, sizeof *view);
  bool ended = false;
  if (!view) {
    complain("no memory");
    return false;
  }
  view->period = seconds;
  if (screen_open(&view->screen)) {
    ended = show_frames(server, view);
    screen_close(&view->screen);
    if (!ended)
      complain("the server went away");
  }
  free(view);
  return ended;
}

bool watch_text(FILE *server, double seconds) {
  struct timespec pause = {.tv_sec = (time_t)seconds};
  pause.tv_nsec = (long)((seconds - (double)pause.tv_sec) * 1e9);
  json_t *before = NULL, *answer;
  bool shown = true;
  while (shown && (answer = ask_for(server, "stats"))) {
    print_text(member(answer, "statistics"), member(before, "statistics"));
    putchar('\n');
    shown = fflush(stdout) == 0;
    json_decref(before);
    before = answer;
    if (shown)
      nanosleep(&pause, NULL);
  }
  json_decref(before);
  return false; /* the server went away, or the output did */
}
