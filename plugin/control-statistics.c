/* SPDX-License-Identifier: BSD-3-Clause */

#include "control-statistics.h"

#include "memory.h"
#include "settings.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void set_number(json_t *object, const char *key, uint64_t number) {
  json_object_set_new(object, key, json_integer((json_int_t)number));
}

json_t *text_json(const char *text) {
  if (!text)
    return json_null();
  json_t *json = json_string(text);
  char *copy = json ? NULL : strdup(text);
  if (!copy)
    return json;
  for (unsigned char *at = (unsigned char *)copy; *at;) {
    size_t length = utf8_length(at);
    if (length == 0)
      *at = '?';
    at += length > 0 ? length : 1;
  }
  json = json_string(copy);
  free(copy);
  return json;
}

/* A share of a whole, 0 to 1; 0 of nothing. */
static void set_share(json_t *object, const char *key, uint64_t part, uint64_t whole) {
  json_object_set_new(object, key, json_real(whole > 0 ? (double)part / (double)whole : 0));
}

/* ----------------------------------------------------------------- requests */

static json_t *operation_json(const struct operation_counters *counters) {
  uint64_t count = atomic_load(&counters->count);
  json_t *operation = json_object(), *latency = json_object();
  set_number(operation, "count", count);
  set_number(operation, "errors", atomic_load(&counters->errors));
  set_number(operation, "bytes", atomic_load(&counters->bytes));
  set_number(latency, "total", atomic_load(&counters->nanoseconds));
  set_number(latency, "p50", latency_percentile(counters, 0.5));
  set_number(latency, "p90", latency_percentile(counters, 0.9));
  set_number(latency, "p99", latency_percentile(counters, 0.99));
  set_number(latency, "max", latency_percentile(counters, 1));
  json_object_set_new(operation, "latency_ns", latency);
  return operation;
}

static json_t *requests_json(const struct request_counters *requests) {
  json_t *object = json_object();
  for (int i = 0; i < OPERATIONS; i++)
    json_object_set_new(object, operation_names[i], operation_json(&requests->operations[i]));
  return object;
}

/* ------------------------------------------------------------------ volumes */

/* Figures that add up over volumes, and where they are in the structure. */
static const struct {
  const char *key;
  size_t offset;
} sums[] = {
#define SUM(key, member)                                                                           \
  { key, offsetof(struct sectors_volume_statistics, member) }
    SUM("virtual", size),
    SUM("live", live),
    SUM("reserved", reserved),
    SUM("zero_detected", zero_detected),
    SUM("trimmed", trimmed),
    SUM("compressed", compressed),
    SUM("dirty", dirty),
    SUM("below", below),
    SUM("hits", hits),
    SUM("misses", misses),
    SUM("swapped_in", swapped_in),
    SUM("swapped_out", swapped_out),
    SUM("out_requests", out_requests),
    SUM("decompressed", decompressed),
    SUM("evicted", evicted),
    SUM("preloaded", preloaded),
    SUM("read_ahead", read_ahead),
#undef SUM
};

static uint64_t *sum_in(struct sectors_volume_statistics *statistics, size_t i) {
  return (uint64_t *)(void *)((char *)statistics + sums[i].offset);
}

/* The sum of all volumes so far. */
struct sum {
  struct sectors_volume_statistics statistics;
  struct request_counters requests;
  uint64_t below_used; /* of the volumes of which it is known */
  bool below_used_known;
};

static void set_volume_statistics(json_t *object, struct sectors_volume_statistics *statistics) {
  for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++)
    set_number(object, sums[i].key, *sum_in(statistics, i));
  set_share(object, "hit_rate", statistics->hits, statistics->hits + statistics->misses);
  json_object_set_new(object, "error",
                      statistics->error != 0 ? text_json(strerror(-statistics->error))
                                             : json_null());
}

static void set_below_used(json_t *object, bool known, uint64_t used) {
  json_object_set_new(object, "below_used", known ? json_integer((json_int_t)used) : json_null());
}

static bool has_file_below(const sectors_volume *volume) {
  return sectors_volume_image(volume) || settings.spill;
}

/* What a volume is, in the list of volumes and in the statistics. */
static void set_declaration(json_t *object, const sectors_volume *volume, int priority) {
  json_object_set_new(object, "name", json_string(sectors_volume_name(volume)));
  json_object_set_new(object, "image", text_json(sectors_volume_image(volume)));
  json_object_set_new(object, "base", text_json(sectors_volume_base(volume)));
  json_object_set_new(object, "priority", json_integer(priority));
}

/* Add a volume to the sum, and return what there is to say of it. */
static json_t *volume_json(const struct export *export, struct sum *sum) {
  struct sectors_volume_statistics statistics;
  json_t *object = json_object();
  struct request_counters *own = calloc(1, sizeof *own);
  sectors_volume_statistics(export->volume, &statistics);
  set_declaration(object, export->volume, statistics.priority);
  set_volume_statistics(object, &statistics);
  set_number(object, "metadata", statistics.metadata);
  bool known = has_file_below(export->volume) && statistics.below_used != UINT64_MAX;
  set_below_used(object, known, statistics.below_used);
  if (own) {
    set_number(object, "connections", export_requests(export, own));
    json_object_set_new(object, "requests", requests_json(own));
    add_requests(&sum->requests, own);
    free(own);
  }
  for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++)
    *sum_in(&sum->statistics, i) += *sum_in(&statistics, i);
  if (sum->statistics.error == 0)
    sum->statistics.error = statistics.error;
  sum->below_used += known ? statistics.below_used : 0;
  sum->below_used_known |= known;
  return object;
}

json_t *volumes_json(struct exports *exports) {
  json_t *volumes = json_array();
  pthread_mutex_lock(&exports->lock);
  for (struct export *export = exports->first; export; export = export->next) {
    struct sectors_volume_statistics statistics;
    json_t *object = json_object();
    uint64_t connections = 0;
    sectors_volume_statistics(export->volume, &statistics);
    set_declaration(object, export->volume, statistics.priority);
    set_number(object, "size", statistics.size);
    for (const struct connection *open = export->connections; open; open = open->next)
      connections++;
    set_number(object, "connections", connections);
    json_array_append_new(volumes, object);
  }
  pthread_mutex_unlock(&exports->lock);
  return volumes;
}

/* -------------------------------------------------------------------- total */

static void set_store_statistics(json_t *total, const struct sectors_store_statistics *store) {
  set_number(total, "metadata", store->metadata);
  set_number(total, "free_reserve", store->free_reserve);
  set_number(total, "resident", store->resident);
  set_number(total, "charged", store->charged);
  set_number(total, "limit", store->limit);
  set_number(total, "sector_size", store->sector_size);
  set_number(total, "buffers", store->buffers);
  set_number(total, "compressed_memory", store->compressed_memory);
  json_object_set_new(total, "compression_ratio",
                      json_real(store->compressed_memory > 0
                                    ? (double)store->compressed / (double)store->compressed_memory
                                    : 0));
  set_number(total, "incompressible", store->incompressible);
  set_number(total, "throttle_ns", store->throttle_ns);
  set_number(total, "high_watermark", store->high_watermark);
  set_number(total, "low_watermark", store->low_watermark);
  json_object_set_new(
      total, "compression",
      json_string(store->compression < 3 ? compression_names[store->compression] : "unknown"));
  json_object_set_new(total, "spill", text_json(settings.spill));
}

json_t *statistics_json(struct exports *exports, uint64_t started_ns) {
  struct sectors_store_statistics store;
  struct sum *sum = calloc(1, sizeof *sum);
  if (!sum)
    return NULL;
  json_t *statistics = json_object(), *total = json_object(), *volumes = json_array();
  pthread_mutex_lock(&exports->lock);
  for (struct export *export = exports->first; export; export = export->next)
    json_array_append_new(volumes, volume_json(export, sum));
  pthread_mutex_unlock(&exports->lock);
  sectors_store_statistics(exports->store, &store);
  sum->statistics.live = store.live;
  sum->statistics.reserved = store.reserved;
  sum->statistics.compressed = store.compressed;
  set_volume_statistics(total, &sum->statistics);
  set_store_statistics(total, &store);
  set_below_used(total, sum->below_used_known, sum->below_used);
  set_number(total, "process_rss", resident_memory());
  set_number(total, "uptime_ns", clock_ns() - started_ns);
  json_object_set_new(total, "requests", requests_json(&sum->requests));
  free(sum);
  json_object_set_new(statistics, "server_version", json_string(SECTORS_VERSION));
  set_number(statistics, "pid", (uint64_t)getpid());
  json_object_set_new(statistics, "total", total);
  json_object_set_new(statistics, "volumes", volumes);
  return statistics;
}
