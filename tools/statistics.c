/* SPDX-License-Identifier: BSD-3-Clause */

#include "statistics.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const char *const operations[] = {"read",    "write", "zero", "trim",
                                         "extents", "cache", "flush"};

enum { OPERATION_COUNT = sizeof operations / sizeof operations[0] };

static const json_t *member(const json_t *object, const char *key) {
  return json_object_get(object, key);
}

static uint64_t number(const json_t *object, const char *key) {
  return (uint64_t)json_integer_value(member(object, key));
}

static const char *text(const json_t *object, const char *key) {
  const char *value = json_string_value(member(object, key));
  return value ? value : "";
}

static const json_t *requests_of(const json_t *object, const char *operation) {
  return member(member(object, "requests"), operation);
}

/* --------------------------------------------------------------- for people */

enum { FIELD = 16 };

/* A number of bytes in at most three digits and a unit, like 1.2G. */
static const char *size(uint64_t bytes, char *buffer) {
  static const char units[] = "BKMGTPE";
  double value = (double)bytes;
  unsigned unit = 0;
  while (value >= 1000 && unit < sizeof units - 2) {
    value /= 1024;
    unit++;
  }
  if (unit == 0)
    snprintf(buffer, FIELD, "%" PRIu64, bytes);
  else
    snprintf(buffer, FIELD, value < 9.95 ? "%.1f%c" : "%.0f%c", value, units[unit]);
  return buffer;
}

static const char *duration(uint64_t nanoseconds, char *buffer) {
  static const char *const units[] = {"ns", "us", "ms", "s"};
  double value = (double)nanoseconds;
  unsigned unit = 0;
  while (value >= 1000 && unit < 3) {
    value /= 1000;
    unit++;
  }
  snprintf(buffer, FIELD, value < 9.95 && unit > 0 ? "%.1f%s" : "%.0f%s", value, units[unit]);
  return buffer;
}

static const char *uptime(uint64_t nanoseconds, char *buffer) {
  uint64_t seconds = nanoseconds / 1000000000;
  uint64_t days = seconds / 86400, hours = seconds / 3600 % 24, minutes = seconds / 60 % 60;
  if (days > 0)
    snprintf(buffer, FIELD, "%" PRIu64 "d %" PRIu64 "h", days, hours);
  else if (hours > 0)
    snprintf(buffer, FIELD, "%" PRIu64 "h %" PRIu64 "m", hours, minutes);
  else
    snprintf(buffer, FIELD, "%" PRIu64 "m %" PRIu64 "s", minutes, seconds % 60);
  return buffer;
}

static void print_size(const json_t *object, const char *key) {
  char buffer[FIELD];
  printf(" %10s", size(number(object, key), buffer));
}

static void print_volume(const char *name, const json_t *volume) {
  printf("%-20s", name);
  print_size(volume, "virtual");
  print_size(volume, "live");
  print_size(volume, "reserved");
  print_size(volume, "metadata");
  print_size(volume, "zero_detected");
  print_size(volume, "trimmed");
  putchar('\n');
}

static void print_memory(const json_t *total) {
  char live[FIELD], index[FIELD], reserve[FIELD], resident[FIELD], charged[FIELD], limit[FIELD],
      process[FIELD];
  uint64_t most = number(total, "limit");
  double used = most > 0 ? 100.0 * (double)number(total, "charged") / (double)most : 0;
  printf("memory: live %s + metadata %s + free reserve %s = resident %s (whole process %s)\n",
         size(number(total, "live"), live), size(number(total, "metadata"), index),
         size(number(total, "free_reserve"), reserve), size(number(total, "resident"), resident),
         size(number(total, "process_rss"), process));
  printf("limit:  %s of %s used (%.1f%%)\n", size(number(total, "charged"), charged),
         size(most, limit), used);
}

/* How much a counter grew, for each second; all of it if before is NULL. */
static uint64_t growth(const json_t *now, const json_t *before, const char *key, double seconds) {
  uint64_t grown = number(now, key) - (before ? number(before, key) : 0);
  return before && seconds > 0 ? (uint64_t)((double)grown / seconds + 0.5) : grown;
}

static void print_operation(const char *name, const json_t *now, const json_t *before,
                            double seconds) {
  char bytes[FIELD], p50[FIELD], p90[FIELD], p99[FIELD], max[FIELD];
  const json_t *latency = member(now, "latency_ns");
  if (number(now, "count") == 0)
    return;
  printf("%-10s %12" PRIu64 " %10s %10" PRIu64 " %9s %9s %9s %9s\n", name,
         growth(now, before, "count", seconds), size(growth(now, before, "bytes", seconds), bytes),
         number(now, "errors"), duration(number(latency, "p50"), p50),
         duration(number(latency, "p90"), p90), duration(number(latency, "p99"), p99),
         duration(number(latency, "max"), max));
}

void print_text(const json_t *statistics, const json_t *before) {
  const json_t *total = member(statistics, "total"), *volume;
  const json_t *total_before = member(before, "total");
  double seconds =
      ((double)number(total, "uptime_ns") - (double)number(total_before, "uptime_ns")) / 1e9;
  char buffer[FIELD];
  size_t i;
  printf("sectors %s, process %" PRIu64 ", up %s\n\n", text(statistics, "server_version"),
         number(statistics, "pid"), uptime(number(total, "uptime_ns"), buffer));
  printf("%-20s %10s %10s %10s %10s %10s %10s\n", "volume", "virtual", "live", "reserved",
         "metadata", "zeros", "trimmed");
  json_array_foreach(member(statistics, "volumes"), i, volume)
      print_volume(text(volume, "name"), volume);
  print_volume("total", total);
  putchar('\n');
  print_memory(total);
  printf("\n%-10s %12s %10s %10s %9s %9s %9s %9s\n", "requests", before ? "per s" : "count",
         before ? "bytes/s" : "bytes", "errors", "p50", "p90", "p99", "max");
  for (int j = 0; j < OPERATION_COUNT; j++)
    print_operation(operations[j], requests_of(total, operations[j]),
                    before ? requests_of(total_before, operations[j]) : NULL, seconds);
}

/* ----------------------------------------------------------- for Prometheus */

/* A label's value: backslash, quote and newline are escaped. */
static void print_label_value(const char *value) {
  for (; *value; value++) {
    if (*value == '\\' || *value == '"')
      putchar('\\');
    putchar(*value);
  }
}

static void print_header(const char *name, const char *type, const char *help) {
  printf("# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A metric of the whole server. */
static void print_total(const json_t *statistics, const char *name, const char *key,
                        const char *help) {
  print_header(name, "gauge", help);
  printf("%s %" PRIu64 "\n", name, number(member(statistics, "total"), key));
}

/* A metric with one sample for each volume. */
static void print_volumes(const json_t *statistics, const char *name, const char *type,
                          const char *key, const char *help) {
  const json_t *volume;
  size_t i;
  print_header(name, type, help);
  json_array_foreach(member(statistics, "volumes"), i, volume) {
    printf("%s{volume=\"", name);
    print_label_value(text(volume, "name"));
    printf("\"} %" PRIu64 "\n", number(volume, key));
  }
}

static void print_request_labels(const char *name, const json_t *volume, const char *operation) {
  printf("%s{volume=\"", name);
  print_label_value(text(volume, "name"));
  printf("\",operation=\"%s\"", operation);
}

/* A counter with one sample for each volume and operation. */
static void print_requests(const json_t *statistics, const char *name, const char *key,
                           const char *help) {
  const json_t *volume;
  size_t i;
  print_header(name, "counter", help);
  json_array_foreach(member(statistics, "volumes"), i, volume) {
    for (int j = 0; j < OPERATION_COUNT; j++) {
      print_request_labels(name, volume, operations[j]);
      printf("} %" PRIu64 "\n", number(requests_of(volume, operations[j]), key));
    }
  }
}

static void print_latencies(const json_t *statistics) {
  static const char name[] = "sectors_request_duration_seconds";
  static const struct {
    const char *quantile, *key;
  } quantiles[] = {{"0.5", "p50"}, {"0.9", "p90"}, {"0.99", "p99"}, {"1", "max"}};
  const json_t *volume;
  size_t i;
  print_header(name, "summary", "Time that requests took inside the plugin.");
  json_array_foreach(member(statistics, "volumes"), i, volume) {
    for (int j = 0; j < OPERATION_COUNT; j++) {
      const json_t *operation = requests_of(volume, operations[j]);
      const json_t *latency = member(operation, "latency_ns");
      for (unsigned k = 0; k < sizeof quantiles / sizeof quantiles[0]; k++) {
        print_request_labels(name, volume, operations[j]);
        printf(",quantile=\"%s\"} %.9f\n", quantiles[k].quantile,
               (double)number(latency, quantiles[k].key) / 1e9);
      }
      print_request_labels("sectors_request_duration_seconds_sum", volume, operations[j]);
      printf("} %.9f\n", (double)number(latency, "total") / 1e9);
      print_request_labels("sectors_request_duration_seconds_count", volume, operations[j]);
      printf("} %" PRIu64 "\n", number(operation, "count"));
    }
  }
}

void print_prometheus(const json_t *statistics) {
  print_total(statistics, "sectors_limit_bytes", "limit", "The most memory all volumes take.");
  print_total(statistics, "sectors_charged_bytes", "charged", "What of the limit is in use.");
  print_total(statistics, "sectors_resident_bytes", "resident",
              "Memory in use: data, metadata and free reserve.");
  print_total(statistics, "sectors_metadata_bytes", "metadata", "Memory of the index.");
  print_total(statistics, "sectors_free_reserve_bytes", "free_reserve",
              "Freed memory kept for reuse.");
  print_total(statistics, "sectors_process_resident_bytes", "process_rss",
              "Resident memory of the whole server.");
  print_volumes(statistics, "sectors_volume_virtual_bytes", "gauge", "virtual",
                "Size of the volume.");
  print_volumes(statistics, "sectors_volume_live_bytes", "gauge", "live",
                "Sectors that hold data.");
  print_volumes(statistics, "sectors_volume_reserved_bytes", "gauge", "reserved",
                "Zeroed sectors whose space is reserved.");
  print_volumes(statistics, "sectors_volume_metadata_bytes", "gauge", "metadata",
                "Index nodes of the volume.");
  print_volumes(statistics, "sectors_volume_connections", "gauge", "connections",
                "Open connections.");
  print_volumes(statistics, "sectors_volume_zero_detected_bytes_total", "counter", "zero_detected",
                "Bytes written in sectors that were all zeros.");
  print_volumes(statistics, "sectors_volume_trimmed_bytes_total", "counter", "trimmed",
                "Bytes of data freed by trim or zero requests.");
  print_requests(statistics, "sectors_requests_total", "count", "Requests.");
  print_requests(statistics, "sectors_request_errors_total", "errors", "Requests that failed.");
  print_requests(statistics, "sectors_request_bytes_total", "bytes",
                 "Bytes of requests that succeeded.");
  print_latencies(statistics);
}
