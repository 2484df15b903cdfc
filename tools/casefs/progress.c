/* SPDX-License-Identifier: BSD-3-Clause */

#include "progress.h"
#include "text.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { BAR = 30 };

static const double first_after = 1, every = 0.1; /* seconds */

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

void progress_start(struct progress *progress, const char *what, bool bytes) {
  *progress = (struct progress){.what = what, .bytes = bytes};
  progress->terminal = isatty(STDERR_FILENO);
  progress->started = now();
}

static void draw_bar(double share) {
  int full = (int)(share * BAR + 0.5);
  fputs(" [", stderr);
  for (int i = 0; i < BAR; i++)
    fputc(i < full ? '#' : '.', stderr);
  fprintf(stderr, "] %3.0f%%", share * 100);
}

static void draw_left(double seconds) {
  uint64_t left = (uint64_t)(seconds + 0.5);
  fprintf(stderr, ", %" PRIu64 ":%02u left", left / 60, (unsigned)(left % 60));
}

static void draw(const struct progress *progress, uint64_t done, uint64_t total, double passed) {
  char text[SIZE_TEXT];
  fprintf(stderr, "\r\033[K%s", progress->what);
  double share = total > 0 ? (double)done / (double)total : 0;
  share = share > 1 ? 1 : share;
  if (total > 0)
    draw_bar(share);
  fprintf(stderr, " %s", size_text(done, progress->bytes, text));
  if (total > 0)
    fprintf(stderr, " of %s", size_text(total, progress->bytes, text));
  if (progress->bytes)
    fprintf(stderr, ", %s/s", size_text((uint64_t)((double)done / passed), true, text));
  if (share > 0)
    draw_left(passed * (1 - share) / share);
  fflush(stderr);
}

void progress_update(struct progress *progress, uint64_t done, uint64_t total) {
  if (!progress->terminal)
    return;
  double time = now();
  if (time - progress->started < first_after || time - progress->shown < every)
    return;
  draw(progress, done, total, time - progress->started);
  progress->shown = time;
  progress->drawn = true;
}

void progress_clear(struct progress *progress) {
  if (progress->drawn)
    fputs("\r\033[K", stderr);
  progress->drawn = false;
  progress->shown = 0;
}
