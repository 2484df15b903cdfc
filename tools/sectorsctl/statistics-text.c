/* SPDX-License-Identifier: BSD-3-Clause */

#include "statistics.h"
#include "text.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

const char *const operations[OPERATION_COUNT] = {"read",    "write", "zero", "trim",
                                                 "extents", "cache", "flush"};

const json_t *requests_of(const json_t *object, const char *operation) {
  return member(member(object, "requests"), operation);
}

int has_tiers(const json_t *statistics) {
  return number(member(statistics, "total"), "high_watermark") > 0;
}

static void print_sizes(const json_t *object, const char *const *keys) {
  for (; *keys; keys++) {
    const json_t *value = member(object, *keys);
    printf(" %10s", json_is_integer(value) ? SIZE(number(object, *keys)) : "-");
  }
}

enum { NAME_COLUMNS = 20 };

static void print_table(const json_t *statistics, const char *heading, const char *const *keys,
                        const char *const *titles) {
  const json_t *volume;
  size_t i;
  printf("%-*s", NAME_COLUMNS, heading);
  for (const char *const *title = titles; *title; title++)
    printf(" %10s", *title);
  putchar('\n');
  json_array_foreach(member(statistics, "volumes"), i, volume) {
    print_padded(text(volume, "name"), NAME_COLUMNS);
    print_sizes(volume, keys);
    putchar('\n');
  }
  print_padded("total", NAME_COLUMNS);
  print_sizes(member(statistics, "total"), keys);
  putchar('\n');
}

static void print_volumes(const json_t *statistics) {
  static const char *const keys[] = {"virtual",       "live",    "reserved", "metadata",
                                     "zero_detected", "trimmed", NULL};
  static const char *const titles[] = {"virtual", "live",    "reserved", "metadata",
                                       "zeros",   "trimmed", NULL};
  print_table(statistics, "volume", keys, titles);
}

/* Where the data is, and how it came there. */
static void print_tiers(const json_t *statistics) {
  static const char *const keys[] = {"compressed", "dirty",       "below",   "below_used",
                                     "swapped_in", "swapped_out", "evicted", NULL};
  static const char *const titles[] = {"compressed", "dirty", "below",   "disk",
                                       "in",         "out",   "evicted", NULL};
  const json_t *volume;
  size_t i;
  print_table(statistics, "tiers", keys, titles);
  json_array_foreach(member(statistics, "volumes"), i, volume) {
    const char *name = text(volume, "name");
    if (*text(volume, "image"))
      printf("  %s: image %s\n", name, text(volume, "image"));
    if (*text(volume, "base"))
      printf("  %s: base %s\n", name, text(volume, "base"));
    if (*text(volume, "error"))
      printf("  %s: FAILING: %s\n", name, text(volume, "error"));
  }
  putchar('\n');
}

static double percent(uint64_t part, uint64_t whole) {
  return whole > 0 ? 100.0 * (double)part / (double)whole : 0;
}

static void print_memory(const json_t *total, bool tiers) {
  printf("memory: live %s + metadata %s + free reserve %s", SIZE(number(total, "live")),
         SIZE(number(total, "metadata")), SIZE(number(total, "free_reserve")));
  if (tiers)
    printf(" + compressed %s + buffers %s", SIZE(number(total, "compressed_memory")),
           SIZE(number(total, "buffers")));
  printf(" = resident %s (whole process %s)\n", SIZE(number(total, "resident")),
         SIZE(number(total, "process_rss")));
  printf("limit:  %s of %s used (%.1f%%)", SIZE(number(total, "charged")),
         SIZE(number(total, "limit")), percent(number(total, "charged"), number(total, "limit")));
  if (tiers)
    printf("; moving out from %" PRIu64 "%% to %" PRIu64 "%%", number(total, "high_watermark"),
           number(total, "low_watermark"));
  putchar('\n');
}

static void print_cache(const json_t *total) {
  printf("reads:  %.1f%% from memory (%s of %s); preloaded %s, read ahead %s\n",
         100 * fraction(total, "hit_rate"), SIZE(number(total, "hits")),
         SIZE(number(total, "hits") + number(total, "misses")), SIZE(number(total, "preloaded")),
         SIZE(number(total, "read_ahead")));
  if (strcmp(text(total, "compression"), "none") != 0 || number(total, "compressed") > 0)
    printf("compression: %s; %s in %s (%.2f:1), did not help %s\n", text(total, "compression"),
           SIZE(number(total, "compressed")), SIZE(number(total, "compressed_memory")),
           fraction(total, "compression_ratio"), SIZE(number(total, "incompressible")));
  if (number(total, "throttle_ns") > 0)
    printf("writers waited %s for room, all together\n", DURATION(number(total, "throttle_ns")));
}

/* How much a counter grew, for each second; all of it if before is NULL. */
static uint64_t growth(const json_t *now, const json_t *before, const char *key, double seconds) {
  uint64_t grown = number(now, key) - (before ? number(before, key) : 0);
  return before && seconds > 0 ? (uint64_t)((double)grown / seconds + 0.5) : grown;
}

static void print_operation(const char *name, const json_t *now, const json_t *before,
                            double seconds) {
  const json_t *latency = member(now, "latency_ns");
  if (number(now, "count") == 0)
    return;
  printf("%-10s %12" PRIu64 " %10s %10" PRIu64 " %9s %9s %9s %9s\n", name,
         growth(now, before, "count", seconds), SIZE(growth(now, before, "bytes", seconds)),
         number(now, "errors"), DURATION(number(latency, "p50")), DURATION(number(latency, "p90")),
         DURATION(number(latency, "p99")), DURATION(number(latency, "max")));
}

void print_text(const json_t *statistics, const json_t *before) {
  const json_t *total = member(statistics, "total");
  const json_t *total_before = member(before, "total");
  double seconds =
      ((double)number(total, "uptime_ns") - (double)number(total_before, "uptime_ns")) / 1e9;
  printf("sectors %s, process %" PRIu64 ", up %s\n\n", text(statistics, "server_version"),
         number(statistics, "pid"), UPTIME(number(total, "uptime_ns")));
  print_volumes(statistics);
  putchar('\n');
  if (has_tiers(statistics))
    print_tiers(statistics);
  print_memory(total, has_tiers(statistics));
  if (has_tiers(statistics))
    print_cache(total);
  printf("\n%-10s %12s %10s %10s %9s %9s %9s %9s\n", "requests", before ? "per s" : "count",
         before ? "bytes/s" : "bytes", "errors", "p50", "p90", "p99", "max");
  for (int i = 0; i < OPERATION_COUNT; i++)
    print_operation(operations[i], requests_of(total, operations[i]),
                    before ? requests_of(total_before, operations[i]) : NULL, seconds);
}
