/* SPDX-License-Identifier: BSD-3-Clause */

#include "statistics.h"
#include "text.h"

#include <inttypes.h>

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

/* A metric of the whole server; what is not known is left out. */
static void print_total(const json_t *statistics, const char *name, const char *type,
                        const char *key, const char *help) {
  const json_t *value = member(member(statistics, "total"), key);
  print_header(name, type, help);
  if (json_is_integer(value))
    printf("%s %" PRIu64 "\n", name, (uint64_t)json_integer_value(value));
  else if (json_is_real(value))
    printf("%s %.6g\n", name, json_real_value(value));
}

/* A metric with one sample for each volume of which it is known. */
static void print_volumes(const json_t *statistics, const char *name, const char *type,
                          const char *key, const char *help) {
  const json_t *volume;
  size_t i;
  print_header(name, type, help);
  json_array_foreach(member(statistics, "volumes"), i, volume) {
    if (!json_is_integer(member(volume, key)))
      continue;
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

/* 1 for each volume whose store below fails. */
static void print_failing(const json_t *statistics) {
  static const char name[] = "sectors_volume_failing";
  const json_t *volume;
  size_t i;
  print_header(name, "gauge", "1 while the image or spill file of the volume fails, else 0.");
  json_array_foreach(member(statistics, "volumes"), i, volume) {
    printf("%s{volume=\"", name);
    print_label_value(text(volume, "name"));
    printf("\"} %d\n", json_is_string(member(volume, "error")));
  }
}

static void print_throttle(const json_t *statistics) {
  static const char name[] = "sectors_throttle_seconds_total";
  print_header(name, "counter", "Time that writers waited for room.");
  printf("%s %.9f\n", name, (double)number(member(statistics, "total"), "throttle_ns") / 1e9);
}

/* Of the whole server. */
static const struct {
  const char *name, *type, *key, *help;
} totals[] = {
    {"sectors_limit_bytes", "gauge", "limit", "The most memory all volumes take."},
    {"sectors_charged_bytes", "gauge", "charged", "What of the limit is in use."},
    {"sectors_resident_bytes", "gauge", "resident",
     "Memory in use: data, metadata, free reserve, compressed data and buffers."},
    {"sectors_metadata_bytes", "gauge", "metadata", "Memory of the index."},
    {"sectors_free_reserve_bytes", "gauge", "free_reserve", "Freed memory kept for reuse."},
    {"sectors_process_resident_bytes", "gauge", "process_rss",
     "Resident memory of the whole server."},
    {"sectors_buffers_bytes", "gauge", "buffers", "Memory of requests to images and spill files."},
    {"sectors_compressed_memory_bytes", "gauge", "compressed_memory",
     "Memory that compressed data takes."},
    {"sectors_compression_ratio", "gauge", "compression_ratio",
     "Size of compressed data before by after; 0 without any."},
    {"sectors_incompressible_bytes_total", "counter", "incompressible",
     "Bytes that compression did not help."},
    {"sectors_high_watermark_percent", "gauge", "high_watermark",
     "The share of the limit at which moving out begins; 0 without tiers."},
    {"sectors_low_watermark_percent", "gauge", "low_watermark",
     "The share of the limit at which it ends; 0 without tiers."},
};

/* Of each volume. */
static const struct {
  const char *name, *type, *key, *help;
} of_volumes[] = {
    {"sectors_volume_virtual_bytes", "gauge", "virtual", "Size of the volume."},
    {"sectors_volume_live_bytes", "gauge", "live", "Sectors that hold data, plain in memory."},
    {"sectors_volume_reserved_bytes", "gauge", "reserved",
     "Zeroed sectors whose space is reserved."},
    {"sectors_volume_metadata_bytes", "gauge", "metadata", "Index nodes of the volume."},
    {"sectors_volume_connections", "gauge", "connections", "Open connections."},
    {"sectors_volume_priority", "gauge", "priority", "Priority of the volume, 0 to 10."},
    {"sectors_volume_compressed_bytes", "gauge", "compressed",
     "Sectors that are compressed in memory, at their full size."},
    {"sectors_volume_dirty_bytes", "gauge", "dirty", "Sectors that the image does not have yet."},
    {"sectors_volume_below_bytes", "gauge", "below", "Sectors that only the spill file has."},
    {"sectors_volume_below_used_bytes", "gauge", "below_used",
     "Disk that image or spill file take, where it is known."},
    {"sectors_volume_zero_detected_bytes_total", "counter", "zero_detected",
     "Bytes written in sectors that were all zeros."},
    {"sectors_volume_trimmed_bytes_total", "counter", "trimmed",
     "Bytes of data freed by trim or zero requests."},
    {"sectors_volume_hits_bytes_total", "counter", "hits", "Bytes read that were plain in memory."},
    {"sectors_volume_misses_bytes_total", "counter", "misses", "Bytes read that were not."},
    {"sectors_volume_swapped_in_bytes_total", "counter", "swapped_in",
     "Bytes read from image, spill file or base."},
    {"sectors_volume_swapped_out_bytes_total", "counter", "swapped_out",
     "Bytes written to image or spill file."},
    {"sectors_volume_out_requests_total", "counter", "out_requests", "Writes that this took."},
    {"sectors_volume_decompressed_bytes_total", "counter", "decompressed",
     "Bytes brought back from compression."},
    {"sectors_volume_evicted_bytes_total", "counter", "evicted",
     "Bytes that left memory because it was short."},
    {"sectors_volume_preloaded_bytes_total", "counter", "preloaded",
     "Bytes brought into memory on request."},
    {"sectors_volume_read_ahead_bytes_total", "counter", "read_ahead",
     "Bytes brought into memory because reads were sequential."},
};

void print_prometheus(const json_t *statistics) {
  for (size_t i = 0; i < sizeof totals / sizeof totals[0]; i++)
    print_total(statistics, totals[i].name, totals[i].type, totals[i].key, totals[i].help);
  print_throttle(statistics);
  for (size_t i = 0; i < sizeof of_volumes / sizeof of_volumes[0]; i++)
    print_volumes(statistics, of_volumes[i].name, of_volumes[i].type, of_volumes[i].key,
                  of_volumes[i].help);
  print_failing(statistics);
  print_requests(statistics, "sectors_requests_total", "count", "Requests.");
  print_requests(statistics, "sectors_request_errors_total", "errors", "Requests that failed.");
  print_requests(statistics, "sectors_request_bytes_total", "bytes",
                 "Bytes of requests that succeeded.");
  print_latencies(statistics);
}
