/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Exports: opened by name, made on demand within bounds, counted, and whole
 * after each allocation that fails (the linker replaces calloc and strdup).
 */

#include "exports.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static unsigned fail_at; /* counted down to 1; 0: nothing fails */

void *__real_calloc(size_t count, size_t size);
char *__real_strdup(const char *text);
void *__wrap_calloc(size_t count, size_t size);
char *__wrap_strdup(const char *text);

static bool refused(void) {
  return fail_at > 0 && --fail_at == 0;
}

void *__wrap_calloc(size_t count, size_t size) {
  if (!refused())
    return __real_calloc(count, size);
  errno = ENOMEM;
  return NULL;
}

char *__wrap_strdup(const char *text) {
  if (!refused())
    return __real_strdup(text);
  errno = ENOMEM;
  return NULL;
}

struct fixture {
  sectors_store *store;
  struct exports exports;
};

static int start(void **state) {
  struct fixture *fixture = malloc(sizeof *fixture);
  if (!fixture || sectors_store_create(1 << 20, 4096, &fixture->store) != 0)
    return -1;
  exports_init(&fixture->exports, fixture->store);
  *state = fixture;
  return exports_add(&fixture->exports, "declared", 4096);
}

static int stop(void **state) {
  struct fixture *fixture = *state;
  exports_destroy(&fixture->exports);
  sectors_store_destroy(fixture->store);
  free(fixture);
  return 0;
}

static void expect_refusal(struct exports *exports, const char *name, uint64_t size, uint32_t most,
                           int error) {
  errno = 0;
  assert_null(exports_open(exports, name, size, most));
  assert_int_equal(errno, error);
}

static void opening(void **state) {
  struct exports *exports = &((struct fixture *)*state)->exports;
  assert_int_equal(exports_add(exports, "declared", 4096), -EEXIST);
  assert_int_equal(exports_add(exports, "a/b", 4096), -EINVAL);
  struct connection *one = exports_open(exports, "declared", 0, 2);
  struct connection *two = exports_open(exports, "declared", 0, 2);
  assert_non_null(one);
  assert_ptr_equal(one->export, two->export);
  expect_refusal(exports, "unknown", 0, 2, ENOENT);
  expect_refusal(exports, "a\nb", 8192, 2, EINVAL);
  struct connection *made = exports_open(exports, "made", 8192, 2);
  assert_int_equal(sectors_volume_size(made->export->volume), 8192);
  expect_refusal(exports, "too many", 8192, 2, ENOSPC);
  exports_close(exports, made);
  made = exports_open(exports, "made", 1, 2); /* it outlives its connections */
  assert_int_equal(sectors_volume_size(made->export->volume), 8192);
  exports_close(exports, made);
  exports_close(exports, one);
  exports_close(exports, two);
}

static void counting(void **state) {
  struct exports *exports = &((struct fixture *)*state)->exports;
  struct request_counters *sum = calloc(1, sizeof *sum);
  struct connection *one = exports_open(exports, "declared", 0, 1);
  struct connection *two = exports_open(exports, "declared", 0, 1);
  for (uint64_t i = 1; i <= 100; i++)
    count_request(&one->requests, OPERATION_READ, 4096, i * 1000, 0);
  count_request(&two->requests, OPERATION_READ, 4096, 1000000, EIO);
  exports_close(exports, one);
  assert_int_equal(export_requests(exports->first, sum), 1);
  const struct operation_counters *reads = &sum->operations[OPERATION_READ];
  assert_int_equal(reads->count, 101);
  assert_int_equal(reads->errors, 1);
  assert_int_equal(reads->bytes, 100 * 4096);
  assert_int_equal(reads->nanoseconds, 5050 * 1000 + 1000000);
  assert_in_range(latency_percentile(reads, 0.5), 50000, 62500); /* to within a quarter */
  assert_in_range(latency_percentile(reads, 0.99), 99000, 125000);
  assert_in_range(latency_percentile(reads, 1), 1000000, 1250000);
  assert_int_equal(latency_percentile(&sum->operations[OPERATION_TRIM], 0.5), 0);
  exports_close(exports, two);
  free(sum);
}

static void extreme_latencies(void **state) {
  (void)state;
  struct request_counters *counters = calloc(1, sizeof *counters);
  count_request(counters, OPERATION_FLUSH, 0, 0, 0);
  assert_in_range(latency_percentile(&counters->operations[OPERATION_FLUSH], 1), 1, 5);
  count_request(counters, OPERATION_FLUSH, 0, UINT64_MAX, 0);
  assert_true(latency_percentile(&counters->operations[OPERATION_FLUSH], 1) > 1000000000);
  free(counters);
}

static void no_memory(void **state) {
  struct exports *exports = &((struct fixture *)*state)->exports;
  uint32_t before = exports->count;
  for (unsigned n = 1; n <= 4; n++) {
    fail_at = n; /* connection, export, volume, name */
    errno = 0;
    assert_null(exports_open(exports, "new", 4096, 10));
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(exports->count, before);
    assert_null(sectors_volume_find(exports->store, "new"));
  }
  fail_at = 0;
  struct connection *connection = exports_open(exports, "new", 4096, 10);
  assert_non_null(connection);
  exports_close(exports, connection);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(opening, start, stop),
      cmocka_unit_test_setup_teardown(counting, start, stop),
      cmocka_unit_test(extreme_latencies),
      cmocka_unit_test_setup_teardown(no_memory, start, stop),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
