/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Plays traces on LRU, ARC, S3-FIFO, W-TinyLFU and the real policy, and prints
 * a table of hit ratios.
 *
 * usage: policy-simulate [--cost] [--all] [NAME | FILE]...
 *
 * Without names, or with --all, it plays the generated traces; then the files.
 * Its status is 1 when the policy is more than two points behind the best of
 * the others anywhere, but for the known cases in the table below.  --cost
 * measures the policy's time as well.
 */

#include "cache.h"
#include "policy.h"
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct cache_kind *const kinds[] = {&cache_lru, &cache_arc, &cache_s3_fifo,
                                                 &cache_w_tinylfu, &cache_policy};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]), REFERENCES = KINDS - 1 };
static const unsigned percents[] = {5, 10, 25, 50};

static const double allowed = 2; /* points behind the best */

/* Where the policy is further behind, and is let off until somebody finds better. */
static const struct known {
  const char *trace;
  unsigned percent;
  double allowed;
} known[] = {
    {"loop", 50, 3}, /* of it 0.9 is the distance of the watermarks */
    {"scan-mixed", 50, 3.2},
    {"package-install", 10, 3.5},
    {"kernel-build-small", 25, 4},
};
static unsigned lines, behind, wrong;

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
  printf("%-18s %6s", "trace", "memory");
  for (unsigned i = 0; i < KINDS; i++)
    printf(" %9s", kinds[i]->name);
  printf(" %9s\n", "- best");
}

static double allowed_at(const char *trace, unsigned percent) {
  for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
    if (!strcmp(trace, known[i].trace) && percent == known[i].percent)
      return known[i].allowed;
  return allowed;
}

static void play_at(const struct trace *trace, unsigned percent) {
  uint32_t capacity = (uint32_t)((uint64_t)trace->distinct * percent / 100);
  double best = 0, ours = 0;
  printf("%-18s %4u %%", trace->name, percent);
  for (unsigned i = 0; i < KINDS; i++) {
    ours = hit_percent(kinds[i], trace, capacity ? capacity : 1);
    if (i < REFERENCES && ours > best)
      best = ours;
    printf(" %9.2f", ours);
    fflush(stdout);
  }
  bool is_behind = ours < best - allowed;
  bool is_wrong = ours < best - allowed_at(trace->name, percent);
  printf(" %+9.2f%s\n", ours - best, is_wrong ? " WRONG" : is_behind ? " BEHIND" : "");
  lines++;
  behind += is_behind;
  wrong += is_wrong;
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

/* Nanoseconds per access to resident sectors of a gigabyte, for a Zipf
 * distribution and for sectors in turn, each of which is another cache line of
 * the table of heats; and per access that misses. */
static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

enum { RESIDENT = 1 << 18, TOUCHES = 20000000, ENTRIES = 2000000 };

static uint64_t key_of(uint64_t sector) {
  uint64_t key = (sector + 1) * UINT64_C(0x9e3779b97f4a7c15);
  return key ^ key >> 32;
}

static double touch_cost(struct policy *policy, sector_heat *heats, const struct trace *trace) {
  double begin = now();
  size_t at = 0;
  for (size_t i = 0; i < TOUCHES; i++) {
    uint32_t sector = trace ? trace->sectors[at] : (uint32_t)(i % RESIDENT);
    at = trace && at + 1 < trace->count ? at + 1 : 0;
    policy_touch(policy, key_of(sector), &heats[sector]);
  }
  return (now() - begin) / TOUCHES;
}

static double enter_cost(struct policy *policy, sector_heat *heats) {
  double begin = now();
  for (uint32_t i = 0; i < ENTRIES; i++) {
    uint32_t history = policy_leave(policy, key_of(i), heats[i % RESIDENT]);
    heats[i % RESIDENT] = policy_enter(policy, key_of(i), history, PRIORITY_DEFAULT);
  }
  return (now() - begin) / ENTRIES;
}

static void print_cost(void) {
  struct policy *policy;
  struct trace trace;
  sector_heat *heats = calloc(RESIDENT, sizeof(*heats));
  if (!heats || policy_create(RESIDENT, &policy) || trace_generate("zipf-0.9", &trace))
    exit(2);
  for (uint32_t i = 0; i < RESIDENT; i++)
    heats[i] = policy_enter(policy, key_of(i), 0, PRIORITY_DEFAULT);
  printf("\n1 GiB of resident sectors, ns per access: Zipf 0.9 %.1f",
         touch_cost(policy, heats, &trace));
  printf(", all in turn %.1f", touch_cost(policy, heats, NULL));
  printf(", leaving and entering %.1f\n", enter_cost(policy, heats));
  printf("%zu bytes per resident sector, and %zu in all\n", sizeof(*heats), policy_bytes(policy));
  policy_destroy(policy);
  trace_free(&trace);
  free(heats);
}

int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  bool cost = argc > 1 && !strcmp(argv[1], "--cost");
  argc -= cost;
  argv += cost;
  bool all = argc > 1 && !strcmp(argv[1], "--all");
  print_head();
  for (unsigned i = 0; (all || argc == 1) && trace_names[i]; i++)
    play_named(trace_names[i]);
  for (int i = 1 + all; i < argc; i++)
    play_named(argv[i]);
  printf("%u of %u lines within %.1f points of the best.\n", lines - behind, lines, allowed);
  if (cost)
    print_cost();
  return wrong > 0;
}
