/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Bases that volumes share: opened once, closed with the last one.  What opens, reads and
 * closes is replaced by what counts.
 */

#include "bases.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define URI "nbd://host/golden"

static struct bases bases;
static char places[8]; /* what is opened points to one of these */
static unsigned opened, closed;
static int open_error, read_error;
static bool no_memory;
static void (*while_opening)(void);

int __wrap_backing_open(const char *place, bool read_only, uint64_t size, struct backing **backing,
                        char problem[BACKING_PROBLEM]);
int __wrap_backing_open(const char *place, bool read_only, uint64_t size, struct backing **backing,
                        char problem[BACKING_PROBLEM]) {
  void (*meanwhile)(void) = while_opening;
  (void)size;
  assert_true(read_only);
  while_opening = NULL;
  if (meanwhile)
    meanwhile();
  if (open_error != 0) {
    strcpy(problem, place);
    return open_error;
  }
  assert_true(opened < sizeof places);
  *backing = (struct backing *)&places[opened++];
  return 0;
}

void __wrap_backing_close(struct backing *backing);
void __wrap_backing_close(struct backing *backing) {
  assert_in_range((char *)backing - places, 0, opened - 1);
  closed++;
}

int __wrap_backing_read(struct backing *backing, void *buffer, uint64_t count, uint64_t offset);
int __wrap_backing_read(struct backing *backing, void *buffer, uint64_t count, uint64_t offset) {
  (void)backing;
  (void)offset;
  memset(buffer, 0, count);
  return read_error;
}

const char *__wrap_backing_name(const struct backing *backing);
const char *__wrap_backing_name(const struct backing *backing) {
  (void)backing;
  return URI;
}

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size) {
  return no_memory ? NULL : __real_calloc(count, size);
}

static struct backing *must_open(const char *place) {
  char problem[BACKING_PROBLEM] = "";
  struct backing *base = NULL;
  assert_int_equal(bases_open(&bases, place, &base, problem), 0);
  assert_string_equal(problem, "");
  return base;
}

static int begin(void **state) {
  (void)state;
  opened = closed = 0;
  open_error = read_error = 0;
  no_memory = false;
  while_opening = NULL;
  bases_init(&bases);
  return 0;
}

static int end(void **state) {
  (void)state;
  assert_null(bases.first);
  assert_int_equal(opened, closed);
  bases_destroy(&bases);
  return 0;
}

static void servers_are_shared(void **state) {
  (void)state;
  struct backing *one = must_open(URI), *two = must_open(URI), *other = must_open(URI "2");
  assert_ptr_equal(one, two);
  assert_ptr_not_equal(one, other);
  assert_int_equal(opened, 2);
  bases_close(&bases, one);
  assert_int_equal(closed, 0);
  bases_close(&bases, two);
  assert_int_equal(closed, 1);
  bases_close(&bases, must_open(URI)); /* again, anew */
  assert_int_equal(opened, 3);
  bases_close(&bases, other);
}

static void files_are_not(void **state) {
  (void)state;
  struct backing *one = must_open("/golden.img"), *two = must_open("/golden.img");
  assert_ptr_not_equal(one, two);
  bases_close(&bases, one);
  assert_int_equal(closed, 1);
  bases_close(&bases, two);
}

static void a_server_that_is_away(void **state) {
  (void)state;
  char problem[BACKING_PROBLEM];
  struct backing *base;
  open_error = -ECONNREFUSED;
  assert_int_equal(bases_open(&bases, URI, &base, problem), -ECONNREFUSED);
  assert_string_equal(problem, URI);
  open_error = 0;
  struct backing *first = must_open(URI);
  read_error = -EIO;
  assert_int_equal(bases_open(&bases, URI, &base, problem), -EIO);
  assert_non_null(strstr(problem, URI));
  assert_int_equal(closed, 0); /* the first one has it still */
  read_error = 0;
  assert_ptr_equal(must_open(URI), first);
  bases_close(&bases, first);
  bases_close(&bases, first);
}

static struct backing *quicker;

static void open_quicker(void) {
  quicker = must_open(URI);
}

static void two_at_once(void **state) {
  (void)state;
  while_opening = open_quicker;
  struct backing *slower = must_open(URI);
  assert_ptr_equal(slower, quicker);
  assert_int_equal(opened, 2);
  assert_int_equal(closed, 1);
  bases_close(&bases, slower);
  bases_close(&bases, quicker);
}

static void no_memory_to_share(void **state) {
  (void)state;
  char problem[BACKING_PROBLEM] = "";
  struct backing *base;
  no_memory = true;
  assert_int_equal(bases_open(&bases, URI, &base, problem), -ENOMEM);
  no_memory = false;
  assert_int_equal(closed, 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
  const struct CMUnitTest tests[] = {
      TEST(servers_are_shared), TEST(files_are_not),      TEST(a_server_that_is_away),
      TEST(two_at_once),        TEST(no_memory_to_share),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
