/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Exports: opened by name, made on demand within bounds, counted, and whole
 * after each allocation that fails (the linker replaces calloc and strdup); and
 * made once however many ask (it replaces sectors_volume_open, and
 * sectors_volume_remove, by ones that can be held up).
 */

#include "exports.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

/* Volumes whose names begin with "slow" take until they are let go; if told so,
 * they cannot be made then. */
static struct {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool held, fails;
  unsigned calls, inside;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

int __real_sectors_volume_open(sectors_store *store, const char *name, uint64_t size,
                               const struct sectors_volume_options *options,
                               sectors_volume **volume, char problem[SECTORS_PROBLEM_TEXT]);
int __wrap_sectors_volume_open(sectors_store *store, const char *name, uint64_t size,
                               const struct sectors_volume_options *options,
                               sectors_volume **volume, char problem[SECTORS_PROBLEM_TEXT]);
void __real_sectors_volume_remove(sectors_volume *volume);
void __wrap_sectors_volume_remove(sectors_volume *volume);

static bool pass_gate(const char *name) {
  if (strncmp(name, "slow", 4) != 0)
    return true;
  pthread_mutex_lock(&gate.lock);
  gate.calls++;
  gate.inside++;
  pthread_cond_broadcast(&gate.changed);
  while (gate.held)
    pthread_cond_wait(&gate.changed, &gate.lock);
  gate.inside--;
  bool good = !gate.fails;
  pthread_mutex_unlock(&gate.lock);
  return good;
}

static void set_gate(bool held, bool fails) {
  pthread_mutex_lock(&gate.lock);
  gate.held = held;
  gate.fails = fails;
  if (held)
    gate.calls = 0;
  pthread_cond_broadcast(&gate.changed);
  pthread_mutex_unlock(&gate.lock);
}

static void await_gate(unsigned inside) {
  pthread_mutex_lock(&gate.lock);
  while (gate.inside < inside)
    pthread_cond_wait(&gate.changed, &gate.lock);
  pthread_mutex_unlock(&gate.lock);
}

int __wrap_sectors_volume_open(sectors_store *store, const char *name, uint64_t size,
                               const struct sectors_volume_options *options,
                               sectors_volume **volume, char problem[SECTORS_PROBLEM_TEXT]) {
  if (pass_gate(name))
    return __real_sectors_volume_open(store, name, size, options, volume, problem);
  strcpy(problem, "It is away.");
  return -ECONNREFUSED;
}

void __wrap_sectors_volume_remove(sectors_volume *volume) {
  pass_gate(sectors_volume_name(volume));
  __real_sectors_volume_remove(volume);
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

static struct connection *open_export(struct exports *exports, const char *name, uint64_t size,
                                      uint32_t most) {
  struct demand demand = {.size = size, .options.priority = -1, .most = most};
  char problem[SECTORS_PROBLEM_TEXT];
  struct connection *connection = exports_open(exports, name, &demand, problem);
  assert_string_equal(problem, "");
  return connection;
}

static void expect_refusal(struct exports *exports, const char *name, uint64_t size, uint32_t most,
                           int error) {
  errno = 0;
  assert_null(open_export(exports, name, size, most));
  assert_int_equal(errno, error);
}

static void opening(void **state) {
  struct exports *exports = &((struct fixture *)*state)->exports;
  assert_int_equal(add(exports, "declared", 4096), -EEXIST);
  assert_int_equal(add(exports, "a/b", 4096), -EINVAL);
  struct connection *one = open_export(exports, "declared", 0, 2);
  struct connection *two = open_export(exports, "declared", 0, 2);
  assert_non_null(one);
  assert_ptr_equal(one->export, two->export);
  expect_refusal(exports, "unknown", 0, 2, ENOENT);
  expect_refusal(exports, "a\nb", 8192, 2, EINVAL);
  struct connection *made = open_export(exports, "made", 8192, 2);
  assert_int_equal(sectors_volume_size(made->export->volume), 8192);
  expect_refusal(exports, "too many", 8192, 2, ENOSPC);
  exports_close(exports, made);
  made = open_export(exports, "made", 1, 2); /* it outlives its connections */
  assert_int_equal(sectors_volume_size(made->export->volume), 8192);
  exports_close(exports, made);
  exports_close(exports, one);
  exports_close(exports, two);
}

static void counting(void **state) {
  struct exports *exports = &((struct fixture *)*state)->exports;
  struct request_counters *sum = calloc(1, sizeof *sum);
  struct connection *one = open_export(exports, "declared", 0, 1);
  struct connection *two = open_export(exports, "declared", 0, 1);
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
    connection = open_export(exports, "new", 4096, 10);
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
  struct connection *open = open_export(exports, "declared", 0, 2);
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
  open = open_export(exports, "declared", 0, 2);
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

/* ------------------------------------------------------------------ many at once */

enum { CLIENTS = 20 };

struct client {
  pthread_t thread;
  struct exports *exports;
  const char *name;
  struct connection *connection;
  int error;
  char problem[SECTORS_PROBLEM_TEXT];
};

static void *client_thread(void *argument) {
  struct client *client = argument;
  struct demand demand = {.size = 8192, .options.priority = 7, .most = 30};
  client->connection = exports_open(client->exports, client->name, &demand, client->problem);
  client->error = client->connection ? 0 : errno;
  return NULL;
}

static void start_clients(struct exports *exports, const char *name, struct client *clients) {
  for (unsigned i = 0; i < CLIENTS; i++) {
    clients[i] = (struct client){.exports = exports, .name = name};
    assert_int_equal(pthread_create(&clients[i].thread, NULL, client_thread, &clients[i]), 0);
  }
}

static void join_clients(struct client *clients) {
  for (unsigned i = 0; i < CLIENTS; i++)
    pthread_join(clients[i].thread, NULL);
}

/* Until so many wait for the one claim there is. */
static void await_waiters(struct exports *exports, unsigned wanted) {
  for (unsigned waiters = 0; waiters < wanted;) {
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    pthread_mutex_lock(&exports->lock);
    waiters = exports->claims ? exports->claims->waiters : 0;
    pthread_mutex_unlock(&exports->lock);
  }
}

/* Nobody else waits for a volume that takes its time, and those who want it get one. */
static void one_volume_for_all(void **state) {
  struct exports *exports = &((struct fixture *)*state)->exports;
  struct client clients[CLIENTS];
  char name[SECTORS_MAX_NAME + 1];
  set_gate(true, false);
  start_clients(exports, "slow", clients);
  await_waiters(exports, CLIENTS - 1);
  await_gate(1);
  assert_int_equal(exports->count, 2);
  struct connection *other = open_export(exports, "declared", 0, 1);
  assert_non_null(other);
  exports_close(exports, other);
  other = open_export(exports, "new", 4096, 9);
  assert_non_null(other);
  exports_close(exports, other);
  exports_default(exports, "slow", name);
  assert_string_equal(name, "declared");
  expect_refusal(exports, "slow", 0, 9, ENOENT); /* who would not make it does not wait */
  expect_refusal(exports, "another", 4096, 3, ENOSPC);
  set_gate(false, false);
  join_clients(clients);
  assert_int_equal(gate.calls, 1);
  assert_int_equal(exports->count, 3);
  assert_null(exports->claims);
  for (unsigned i = 0; i < CLIENTS; i++) {
    assert_non_null(clients[i].connection);
    assert_ptr_equal(clients[i].connection->export, clients[0].connection->export);
  }
  sectors_volume *volume = clients[0].connection->export->volume;
  struct sectors_volume_statistics statistics;
  sectors_volume_statistics(volume, &statistics);
  assert_int_equal(statistics.size, 8192);
  assert_int_equal(statistics.priority, 7);
  for (unsigned i = 0; i < CLIENTS; i++)
    exports_close(exports, clients[i].connection);
}

/* All who asked fail with it, one of them says why, and the next one tries again. */
static void one_failure_for_all(void **state) {
  struct exports *exports = &((struct fixture *)*state)->exports;
  struct client clients[CLIENTS];
  unsigned told = 0;
  set_gate(true, false);
  start_clients(exports, "slow", clients);
  await_waiters(exports, CLIENTS - 1);
  set_gate(false, true);
  join_clients(clients);
  set_gate(false, false);
  for (unsigned i = 0; i < CLIENTS; i++) {
    assert_null(clients[i].connection);
    if (*clients[i].problem) {
      assert_int_equal(clients[i].error, EIO);
      assert_string_equal(clients[i].problem, "It is away.");
      told++;
    } else {
      assert_int_equal(clients[i].error, ECONNABORTED);
    }
  }
  assert_int_equal(told, 1);
  assert_int_equal(gate.calls, 1);
  assert_int_equal(exports->count, 1);
  struct connection *connection = open_export(exports, "slow", 8192, 9);
  assert_non_null(connection);
  exports_close(exports, connection);
}

static void *add_thread(void *argument) {
  struct client *client = argument;
  client->error = exports_add(client->exports, client->name, 4096, NULL, 30, client->problem);
  return NULL;
}

/* An adder of a volume, and a client who waits for it, when both are done. */
static void add_and_open(struct exports *exports, bool fails, struct client *adder,
                         struct client *opener) {
  *adder = *opener = (struct client){.exports = exports, .name = "slow"};
  set_gate(true, false);
  assert_int_equal(pthread_create(&adder->thread, NULL, add_thread, adder), 0);
  await_gate(1);
  assert_int_equal(pthread_create(&opener->thread, NULL, client_thread, opener), 0);
  await_waiters(exports, 1);
  set_gate(false, fails);
  pthread_join(adder->thread, NULL);
  pthread_join(opener->thread, NULL);
  set_gate(false, false);
}

/* A volume that somebody makes otherwise is opened if it comes to be; if not,
 * that says nothing about one made on demand, so the client tries that itself. */
static void added_meanwhile(void **state) {
  struct exports *exports = &((struct fixture *)*state)->exports;
  struct client adder, opener;
  add_and_open(exports, true, &adder, &opener);
  assert_int_equal(adder.error, -ECONNREFUSED);
  assert_int_equal(opener.error, EIO);
  assert_int_equal(gate.calls, 2);
  add_and_open(exports, false, &adder, &opener);
  assert_int_equal(adder.error, 0);
  assert_non_null(opener.connection);
  assert_int_equal(sectors_volume_size(opener.connection->export->volume), 4096);
  assert_int_equal(gate.calls, 1);
  exports_close(exports, opener.connection);
}

static void *remove_thread(void *argument) {
  struct client *client = argument;
  struct export *export;
  client->error = exports_change(client->exports, client->name, &export);
  if (client->error == 0)
    exports_finish(client->exports, export, true);
  return NULL;
}

/* Who asks for a volume that is just removed gets a new one. */
static void removed_meanwhile(void **state) {
  struct exports *exports = &((struct fixture *)*state)->exports;
  assert_int_equal(add(exports, "slow", 4096), 0);
  struct client remover = {.exports = exports, .name = "slow"}, opener = remover;
  set_gate(true, false);
  assert_int_equal(pthread_create(&remover.thread, NULL, remove_thread, &remover), 0);
  await_gate(1);
  assert_int_equal(pthread_create(&opener.thread, NULL, client_thread, &opener), 0);
  await_waiters(exports, 1);
  expect_refusal(exports, "slow", 0, 9, ENOENT);
  set_gate(false, false);
  pthread_join(remover.thread, NULL);
  pthread_join(opener.thread, NULL);
  assert_int_equal(remover.error, 0);
  assert_non_null(opener.connection);
  assert_int_equal(sectors_volume_size(opener.connection->export->volume), 8192);
  assert_int_equal(exports->count, 2);
  exports_close(exports, opener.connection);
}

static void trying(void **state) {
  struct exports *exports = &((struct fixture *)*state)->exports;
  struct demand demand = {.options = {.base = "/", .priority = -1}};
  char problem[SECTORS_PROBLEM_TEXT];
  assert_int_equal(exports_try(exports, &demand, problem), 0); /* of nothing */
  demand.size = 4096;
  assert_int_equal(exports_try(exports, &demand, problem), -EINVAL); /* a store without tiers */
  demand.options.base = NULL;
  assert_int_equal(exports_try(exports, &demand, problem), 0);
  assert_null(sectors_volume_find(exports->store, "tried"));
  assert_int_equal(exports->count, 1);
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
      cmocka_unit_test_setup_teardown(one_volume_for_all, start, stop),
      cmocka_unit_test_setup_teardown(one_failure_for_all, start, stop),
      cmocka_unit_test_setup_teardown(added_meanwhile, start, stop),
      cmocka_unit_test_setup_teardown(removed_meanwhile, start, stop),
      cmocka_unit_test_setup_teardown(trying, start, stop),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
