/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Plays traces on LRU, ARC, S3-FIFO, W-TinyLFU and the real policy, and prints
 * a table of hit ratios.
 *
 * usage: policy-simulate [--check POINTS] [NAME | FILE]...
 */

#include "cache.h"
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct cache_kind *const kinds[] = {&cache_lru, &cache_arc, &cache_s3_fifo,
                                                 &cache_w_tinylfu, &cache_policy};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]), REFERENCES = KINDS - 1 };
static const unsigned percents[] = {5, 10, 25, 50};

static double allowed = 2; /* points behind the best */
static unsigned lines, behind;

static double hit_percent(const struct cache_kind *kind, const struct trace *trace,
                          uint32_t capacity) {
  void *cache = kind->create(capacity, trace->distinct);
  if (!cache) {
    fprintf(stderr, "Not enough memory.\n");
    exit(2);
  }
  size_t hits = 0;
  for (size_t i = 0; i < trace->count; i++)
    hits += kind->access(cache, trace->sectors[i]);
  kind->destroy(cache);
  return 100.0 * (double)hits / (double)trace->count;
}

static void print_head(void) {
  printf("%-16s %6s", "trace", "memory");
  for (unsigned i = 0; i < KINDS; i++)
    printf(" %9s", kinds[i]->name);
  printf(" %9s\n", "- best");
}

static void play_at(const struct trace *trace, unsigned percent) {
  uint32_t capacity = (uint32_t)((uint64_t)trace->distinct * percent / 100);
  double best = 0, ours = 0;
  printf("%-16s %4u %%", trace->name, percent);
  for (unsigned i = 0; i < KINDS; i++) {
    ours = hit_percent(kinds[i], trace, capacity ? capacity : 1);
    if (i < REFERENCES && ours > best)
      best = ours;
    printf(" %9.2f", ours);
    fflush(stdout);
  }
  bool is_behind = ours < best - allowed;
  printf(" %+9.2f%s\n", ours - best, is_behind ? " BEHIND" : "");
  lines++;
  behind += is_behind;
}

static void play_all(struct trace *trace) {
  for (unsigned i = 0; i < sizeof(percents) / sizeof(percents[0]); i++)
    play_at(trace, percents[i]);
  trace_free(trace);
}

static bool is_generated(const char *name) {
  for (unsigned i = 0; trace_names[i]; i++)
    if (!strcmp(name, trace_names[i]))
      return true;
  return false;
}

static void play_named(const char *name) {
  struct trace trace;
  if (is_generated(name) ? trace_generate(name, &trace) : trace_read(name, &trace))
    exit(2);
  play_all(&trace);
}

int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  print_head();
  for (unsigned i = 0; argc == 1 && trace_names[i]; i++)
    play_named(trace_names[i]);
  for (int i = 1; i < argc; i++)
    play_named(argv[i]);
  printf("%u of %u lines within %.1f points of the best.\n", lines - behind, lines, allowed);
  return behind > 0;
}
