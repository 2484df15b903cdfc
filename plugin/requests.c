/* SPDX-License-Identifier: BSD-3-Clause */

#include "requests.h"

#include <time.h>

const char *const operation_names[OPERATIONS] = {
    [OPERATION_READ] = "read",   [OPERATION_WRITE] = "write",     [OPERATION_ZERO] = "zero",
    [OPERATION_TRIM] = "trim",   [OPERATION_EXTENTS] = "extents", [OPERATION_CACHE] = "cache",
    [OPERATION_FLUSH] = "flush",
};

uint64_t clock_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void add(_Atomic uint64_t *counter, uint64_t amount) {
  atomic_fetch_add_explicit(counter, amount, memory_order_relaxed);
}

static uint64_t get(const _Atomic uint64_t *counter) {
  return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Bucket 4 * p + q counts latencies from (4 + q) * 2^p / 4 ns. */
static unsigned bucket_of(uint64_t nanoseconds) {
  if (nanoseconds < 4)
    nanoseconds = 4;
  unsigned power = 63 - (unsigned)__builtin_clzll(nanoseconds);
  unsigned quarter = (unsigned)(nanoseconds >> (power - 2)) & 3;
  unsigned bucket = 4 * power + quarter;
  return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

/* The end of a bucket. */
static uint64_t bucket_end(unsigned bucket) {
  return (uint64_t)(4 + bucket % 4 + 1) << (bucket / 4) >> 2;
}

void count_request(struct request_counters *counters, enum operation operation, uint64_t bytes,
                   uint64_t nanoseconds, int error) {
  struct operation_counters *counter = &counters->operations[operation];
  add(&counter->count, 1);
  if (error)
    add(&counter->errors, 1);
  else
    add(&counter->bytes, bytes);
  add(&counter->nanoseconds, nanoseconds);
  add(&counter->latency[bucket_of(nanoseconds)], 1);
}

void add_requests(struct request_counters *sum, const struct request_counters *counters) {
  for (int i = 0; i < OPERATIONS; i++) {
    const struct operation_counters *from = &counters->operations[i];
    struct operation_counters *to = &sum->operations[i];
    add(&to->count, get(&from->count));
    add(&to->errors, get(&from->errors));
    add(&to->bytes, get(&from->bytes));
    add(&to->nanoseconds, get(&from->nanoseconds));
    for (int bucket = 0; bucket < LATENCY_BUCKETS; bucket++)
      add(&to->latency[bucket], get(&from->latency[bucket]));
  }
}

uint64_t latency_percentile(const struct operation_counters *counters, double share) {
  uint64_t total = 0, seen = 0;
  for (int i = 0; i < LATENCY_BUCKETS; i++)
    total += get(&counters->latency[i]);
  for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
    seen += get(&counters->latency[i]);
    if (seen > 0 && (double)seen >= share * (double)total)
      return bucket_end(i);
  }
  return 0;
}
