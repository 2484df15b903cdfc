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

static int add(struct exports *exports, const char *name, uint64_t size) {
  char problem[SECTORS_PROBLEM_TEXT];
  return exports_add(exports, name, size, NULL, 100, problem);
}

static int start(void **state) {
  struct fixture *fixture = malloc(sizeof *fixture);
  if (!fixture || sectors_store_create(1 << 20, 4096, &fixture->store) != 0)
    return -1;
  exports_init(&fixture->exports, fixture->store);
  *state = fixture;
  return add(&fixture->exports, "declared", 4096);
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
  assert_int_equal(add(exports, "declared", 4096), -EEXIST);
  assert_int_equal(add(exports, "a/b", 4096), -EINVAL);
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

/* However many allocations it takes, and whichever of them fails. */
static void no_memory(void **state) {
  struct exports *exports = &((struct fixture *)*state)->exports;
  struct connection *connection = NULL;
  uint32_t before = exports->count;
  unsigned refusals = 0;
  for (unsigned n = 1; !connection && n < 100; n++) {
    fail_at = n;
    errno = 0;
    connection = exports_open(exports, "new", 4096, 10);
    fail_at = 0;
    if (connection)
      break;
    refusals++;
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(exports->count, before);
    assert_null(sectors_volume_find(exports->store, "new"));
  }
  assert_non_null(connection);
  assert_true(refusals >= 4); /* connection, export, volume, name */
  exports_close(exports, connection);
}

static void too_many(void **state) {
  struct exports *exports = &((struct fixture *)*state)->exports;
  char problem[SECTORS_PROBLEM_TEXT];
  assert_int_equal(exports_add(exports, "second", 4096, NULL, 1, problem), -EUSERS);
  assert_int_equal(exports_add(exports, "a/b", 4096, NULL, 2, problem), -EINVAL);
  assert_int_equal(exports_add(exports, "declared", 4096, NULL, 2, problem), -EEXIST);
  assert_int_equal(exports->count, 1);
  assert_int_equal(exports_add(exports, "second", 4096, NULL, 2, problem), 0);
}

/* Who changes a volume has it alone. */
static void changing(void **state) {
  struct exports *exports = &((struct fixture *)*state)->exports;
  struct export *export, *used;
  assert_int_equal(exports_change(exports, "unknown", &export), -ENOENT);
  struct connection *open = exports_open(exports, "declared", 0, 2);
  assert_int_equal(exports_change(exports, "declared", &export), -EBUSY);
  exports_close(exports, open);
  used = exports_use(exports, "declared");
  assert_non_null(used);
  assert_int_equal(exports_change(exports, "declared", &export), -EALREADY);
  exports_release(exports, used);
  assert_int_equal(exports_change(exports, "declared", &export), 0);
  assert_int_equal(exports_change(exports, "declared", &used), -EALREADY);
  assert_null(exports_use(exports, "declared"));
  assert_null(exports_use_next(exports, NULL));
  expect_refusal(exports, "declared", 8192, 9, EBUSY);
  exports_finish(exports, export, false);
  open = exports_open(exports, "declared", 0, 2);
  assert_non_null(open);
  exports_close(exports, open);
  assert_int_equal(exports_change(exports, "declared", &export), 0);
  exports_finish(exports, export, true);
  expect_refusal(exports, "declared", 0, 9, ENOENT);
  assert_null(sectors_volume_find(exports->store, "declared"));
  assert_int_equal(exports->count, 0);
}

static void walking(void **state) {
  struct exports *exports = &((struct fixture *)*state)->exports;
  struct export *export, *at = NULL;
  char name[SECTORS_MAX_NAME + 1];
  add(exports, "second", 4096);
  add(exports, "third", 4096);
  assert_int_equal(exports_change(exports, "second", &export), 0);
  at = exports_use_next(exports, at);
  assert_string_equal(sectors_volume_name(at->volume), "declared");
  at = exports_use_next(exports, at);
  assert_string_equal(sectors_volume_name(at->volume), "third");
  assert_null(exports_use_next(exports, at));
  exports_finish(exports, export, true);
  exports_default(exports, "third", name);
  assert_string_equal(name, "third");
  exports_default(exports, "second", name);
  assert_string_equal(name, "declared");
  while ((at = exports->first)) {
    assert_int_equal(exports_change(exports, sectors_volume_name(at->volume), &export), 0);
    exports_finish(exports, export, true);
  }
  exports_default(exports, "second", name);
  assert_string_equal(name, "second");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(opening, start, stop),
      cmocka_unit_test_setup_teardown(counting, start, stop),
      cmocka_unit_test(extreme_latencies),
      cmocka_unit_test_setup_teardown(no_memory, start, stop),
      cmocka_unit_test_setup_teardown(too_many, start, stop),
      cmocka_unit_test_setup_teardown(changing, start, stop),
      cmocka_unit_test_setup_teardown(walking, start, stop),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
