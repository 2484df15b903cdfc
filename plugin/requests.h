/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Counts and latencies of requests, by operation.
 */

#ifndef SECTORS_REQUESTS_H
#define SECTORS_REQUESTS_H

#include <stdatomic.h>
#include <stdint.h>

enum operation {
  OPERATION_READ,
  OPERATION_WRITE,
  OPERATION_ZERO,
  OPERATION_TRIM,
  OPERATION_EXTENTS,
  OPERATION_CACHE,
  OPERATION_FLUSH,
  OPERATIONS,
};

extern const char *const operation_names[OPERATIONS];

/* Latencies are counted in buckets, four to each power of two nanoseconds. */
enum { LATENCY_BUCKETS = 4 * 40 };

struct operation_counters {
  _Atomic uint64_t count;
  _Atomic uint64_t errors;
  _Atomic uint64_t bytes;
  _Atomic uint64_t nanoseconds;
  _Atomic uint64_t latency[LATENCY_BUCKETS];
};

/* The requests of one connection, or of many added up.  Any thread may count
 * and add at any time. */
struct request_counters {
  struct operation_counters operations[OPERATIONS];
};

/* Nanoseconds of a clock that only goes forward. */
uint64_t clock_ns(void);

/* Count a request that took so long; error is 0 if it succeeded. */
void count_request(struct request_counters *counters, enum operation operation, uint64_t bytes,
                   uint64_t nanoseconds, int error);

void add_requests(struct request_counters *sum, const struct request_counters *counters);

/* The latency, in nanoseconds, that the given share (0 to 1) of requests did
 * not exceed, to within a quarter; 0 if there were none. */
uint64_t latency_percentile(const struct operation_counters *counters, double share);

#endif
