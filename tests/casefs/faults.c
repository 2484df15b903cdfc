/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What can be refused is refused: each allocation and each request to the disk
 * fails once, and from some number on for ever, for every number.  An operation
 * then does its work or returns its error having changed nothing; and what is
 * on the disk is a state between the last that was synced and the last asked
 * for.  The linker replaces the allocating functions (--wrap, see
 * CMakeLists.txt).
 */

#include "emulator.h"
#include "history.h"
#include "workload.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The larger builds with sanitizers try only every so manieth number. */
#ifndef FAULTS_STEP
#define FAULTS_STEP 1
#endif

enum { VOLUME_SIZE = 4 << 20 };

static const char script[] =
    "create-full /n 4; write /n 0 300 1; append /n 9000 2; append /n 100000 3; sync\n"
    "mkdir-insensitive /i/dir; create /i/dir/x; rename /i/dir/X /i/dir/y; rename /i/dir /moved\n"
    "link /n /moved/n; exchange /n /a; unlink /moved/N; rename /b /moved/b; truncate /moved/b "
    "5000\n"
    "symlink /t where; special /f 6 77; punch /moved/b 0 4096; allocate /a 0 100000 1\n"
    "stream-create /a new 1; stream-write /a new 0 9000 5; stream-rename /a new newer; sync\n"
    "ea-set /a EA 30000 6 0; ea-set /a ea 10 7 128; ea-remove /a EA; security-set /a 3\n"
    "security-set /d 4; security-remove /d; reparse-set /empty 3 5000; reparse-remove /empty 3\n"
    "set-attributes /a 0xff 9; set-case / 1; look /A; list /; read /a 0 200000; label short\n"
    "hold /a 0; unlink /a; held-write 0 0 40000 8; sync; release 0; rmdir /empty; unlink /d/e/x\n"
    "hold-stream /moved/b s 1; unlink /moved/b; held-write 1 100 9000 9; held-read 1 0 9100\n"
    "release 1; rmdir /d/e; stream-remove /d u; rename-noreplace /s /z; write /n 50 200000 11; "
    "truncate /n 0\n"
    "write /n 0 2000 12; write /n 1000000 9000 13; sync; create /last; unlink /n";

/* ------------------------------------------------------------- refused memory */

static bool armed;       /* faults happen only inside the library's calls */
static bool for_ever;    /* all allocations from fail_at on fail, not only one */
static unsigned fail_at; /* counted from 1 */
static unsigned calls;

static bool refused(void) {
  if (!armed || emulator_inside)
    return false;
  calls++;
  return calls == fail_at || (for_ever && calls > fail_at);
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
int __real_posix_memalign(void **memory, size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);

static void *no_memory(void) {
  errno = ENOMEM;
  return NULL;
}

void *__wrap_malloc(size_t size) {
  return refused() ? no_memory() : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
  return refused() ? no_memory() : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) {
  return refused() ? no_memory() : __real_realloc(old, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
  return refused() ? no_memory() : __real_aligned_alloc(alignment, size);
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t size) {
  return refused() ? ENOMEM : __real_posix_memalign(memory, alignment, size);
}

static void arm(bool on) {
  armed = on;
}

static void start_counting(unsigned n, bool ever) {
  calls = 0;
  fail_at = n;
  for_ever = ever;
}

/* -------------------------------------------------------------------- the base */

static struct image *base_image;
static struct model *base_model;

static int make_base(void **state) {
  char message[MODEL_MESSAGE];
  (void)state;
  if (make_volume(VOLUME_SIZE, false, starting_tree, &base_image, &base_model, message) == 0)
    return 0;
  print_error("%s\n", message);
  return -1;
}

static int free_base(void **state) {
  (void)state;
  image_destroy(base_image);
  model_destroy(base_model);
  return 0;
}

/* What goes on during one attempt, for messages. */
static char attempt[256];

#define expect(condition, ...)                                                                     \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      print_error("%s: ", attempt);                                                                \
      print_error(__VA_ARGS__);                                                                    \
      print_error("\n");                                                                           \
      fail();                                                                                      \
    }                                                                                              \
  } while (0)

static void expect_clean(struct emulator *emulator) {
  char message[MODEL_MESSAGE];
  expect(check_volume(emulator_device(emulator), message) == 0, "%s", message);
}

/* ------------------------------------------------------------ without memory */

static casefs_volume *open_without_memory(struct emulator *emulator,
                                          const struct casefs_open_options *options) {
  casefs_volume *volume = NULL;
  arm(true);
  int error = casefs_open(emulator_device(emulator), options, &volume);
  arm(false);
  expect(error == 0 || error == -ENOMEM, "opening: %s", strerror(-error));
  if (error == 0)
    return volume;
  error = casefs_open(emulator_device(emulator), options, &volume);
  expect(error == 0, "opening again: %s", strerror(-error));
  return volume;
}

static void run_without_memory(struct world *world, const char *text) {
  static struct operation operation;
  while ((text = operation_parse(text, &operation)) && operation.kind != OPERATION_KINDS) {
    unsigned before = calls;
    enum world_outcome outcome = world_step(world, &operation);
    expect(outcome != WORLD_WRONG, "%s", world->message);
    bool failed = before < fail_at && calls >= fail_at;
    if (failed || outcome == WORLD_REFUSED)
      expect(world_compare(world) == 0, "after \"%s\" failed: %s", operation.text, world->message);
  }
  expect(text, "the script is wrong: %s", operation.text);
}

/* Returns whether a fault happened. */
static bool operations_with_fault(unsigned n, bool ever,
                                  const struct casefs_open_options *options) {
  struct emulator *emulator = emulator_open(base_image);
  struct model *model = model_clone(base_model);
  struct world world;
  snprintf(attempt, sizeof attempt, "allocation %u fails %s", n, ever ? "for ever" : "once");
  emulator_set_garbage(emulator, n);
  start_counting(n, ever);
  casefs_volume *volume = open_without_memory(emulator, options);
  expect(world_start(&world, volume, model) == 0, "opening the root");
  world.tolerated = TOLERATE_NO_MEMORY;
  world.watch = arm;
  run_without_memory(&world, script);
  world.watch = NULL;
  int error = casefs_sync(volume);
  expect(error == 0, "syncing with memory again: %s", strerror(-error));
  expect(world_compare(&world) == 0, "at the end: %s", world.message);
  world_end(&world);
  error = casefs_close(volume);
  expect(error == 0, "closing: %s", strerror(-error));
  expect_clean(emulator);
  emulator_close(emulator);
  model_destroy(model);
  return calls >= n;
}

static void all_operations(bool ever) {
  const struct casefs_open_options ways[] = {
      {0}, {.dirty_limit = 16 << 10, .cache_size = 16 << 10}, {.dirty_limit = 1, .cache_size = 1}};
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    unsigned n = 1;
    while (operations_with_fault(n, ever, &ways[i]))
      n += FAULTS_STEP;
    assert_true(n > 50);
  }
}

static void each_allocation_fails_once(void **state) {
  (void)state;
  all_operations(false);
}

static void each_allocation_fails_for_ever(void **state) {
  (void)state;
  all_operations(true);
}

/* Whatever closing cannot do for want of memory, it frees the volume, and loses nothing synced. */
static bool closing_with_fault(unsigned n, bool ever) {
  struct emulator *emulator = emulator_open(base_image);
  struct model *model = model_clone(base_model);
  struct history history = {0};
  struct world world;
  casefs_volume *volume;
  char message[MODEL_MESSAGE];
  snprintf(attempt, sizeof attempt, "allocation %u of closing fails", n);
  start_counting(n, ever);
  assert_int_equal(casefs_open(emulator_device(emulator), NULL, &volume), 0);
  assert_int_equal(world_start(&world, volume, model), 0);
  history_note(&history, model);
  expect(world_run(&world, "write /a 0 50000 1") == WORLD_DONE, "%s", world.message);
  history_note(&history, model);
  world_end(&world);
  arm(true);
  int error = casefs_close(volume);
  arm(false);
  expect(error == 0 || error == -ENOMEM, "closing: %s", strerror(-error));
  expect_clean(emulator);
  assert_int_equal(casefs_open(emulator_device(emulator), NULL, &volume), 0);
  struct emulator_marks marks = {error == 0, 1};
  expect(history_find(&history, marks, volume, message) >= 0, "%s", message);
  assert_int_equal(casefs_close(volume), 0);
  emulator_close(emulator);
  history_destroy(&history);
  model_destroy(model);
  return calls >= n;
}

static void closing_without_memory(void **state) {
  (void)state;
  for (unsigned n = 1; closing_with_fault(n, false); n++)
    ;
  for (unsigned n = 1; closing_with_fault(n, true); n++)
    ;
}

static void formatting_without_memory(void **state) {
  (void)state;
  for (unsigned n = 1, failed = 1; failed; n++) {
    struct image *empty = image_create(VOLUME_SIZE);
    struct emulator *emulator = emulator_open(empty);
    snprintf(attempt, sizeof attempt, "allocation %u of formatting fails", n);
    start_counting(n, n % 2);
    arm(true);
    int error = casefs_format(emulator_device(emulator), NULL);
    arm(false);
    failed = calls >= n;
    expect(error == 0 || error == -ENOMEM, "formatting: %s", strerror(-error));
    if (error == 0)
      expect_clean(emulator);
    emulator_close(emulator);
    image_destroy(empty);
  }
}

static void checking_without_memory(void **state) {
  (void)state;
  for (unsigned n = 1, failed = 1; failed; n += FAULTS_STEP) {
    struct emulator *emulator = emulator_open(base_image);
    struct casefs_check_options options = {.flags = n % 4 < 2 ? CASEFS_CHECK_DATA : 0};
    struct casefs_check_result result = {0};
    snprintf(attempt, sizeof attempt, "allocation %u of checking fails", n);
    start_counting(n, n % 2);
    arm(true);
    int error = casefs_check(emulator_device(emulator), &options, &result);
    arm(false);
    failed = calls >= n;
    expect(error == 0 || error == -ENOMEM, "checking: %s", strerror(-error));
    expect(error || result.problems == 0, "it saw problems");
    emulator_close(emulator);
  }
}

/* ----------------------------------------------------------- requests that fail */

static const char *const request_names[] = {"read", "write", "flush", "discard"};

struct fault {
  enum emulator_request kind;
  unsigned n;
  bool for_ever, torn;
  int error;
  const struct casefs_open_options *options;
};

static struct emulator *watched;

/* Only requests from inside the operations fail, not those of looking at what they did. */
static void let_fail(bool on) {
  emulator_suspend(watched, !on);
}

static bool has_failed(casefs_volume *volume) {
  struct casefs_statistics statistics;
  casefs_volume_statistics(volume, &statistics);
  expect(!statistics.failure || statistics.read_only, "it has failed, but may be written");
  return statistics.failure != 0;
}

/* After a write or flush has failed, nothing can be changed; reading goes on. */
static void expect_read_only(struct world *world) {
  static const char *const changes[] = {
      "create /more",  "write /d/c 0 1 1",       "unlink /d/c",     "mkdir /more",
      "label more",    "set-attributes /d 1 1",  "truncate /d/c 1", "sync",
      "set-case /i 0", "ea-set /d/c NEW 10 1 0", "link /d/c /more", "rename /d/c /more",
  };
  static struct operation operation;
  world->tolerated = TOLERATE_IO;
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    operation_parse(changes[i], &operation);
    enum world_outcome outcome = world_step(world, &operation);
    expect(outcome == WORLD_REFUSED, "\"%s\" went through (%s)", changes[i], world->message);
  }
  expect(world_compare(world) == 0, "reading what is in memory: %s", world->message);
}

/* What the disk holds, and what a power cut now would leave. */
static void expect_survivor(const struct image *image, const struct history *history,
                            struct emulator_marks marks, const char *which) {
  char message[MODEL_MESSAGE];
  casefs_volume *volume;
  struct emulator *emulator = emulator_open(image);
  expect(check_volume(emulator_device(emulator), message) == 0, "%s: %s", which, message);
  int error = casefs_open(emulator_device(emulator), NULL, &volume);
  expect(error == 0, "%s: opening: %s", which, strerror(-error));
  expect(history_find(history, marks, volume, message) >= 0, "%s: %s", which, message);
  error = casefs_close(volume);
  expect(error == 0, "%s: closing: %s", which, strerror(-error));
  expect_clean(emulator);
  emulator_close(emulator);
}

static void expect_survivors(struct emulator *emulator, const struct history *history,
                             struct emulator_marks marks, uint64_t seed) {
  struct image *now = emulator_image(emulator);
  struct recording *recording = emulator_recorded(emulator);
  struct playback playback;
  struct dice dice = dice_seed(seed);
  unsigned char keep[512];
  expect_survivor(now, history, marks, "the disk");
  image_destroy(now);
  playback_start(&playback, recording);
  while (playback_next(&playback))
    ;
  for (int i = 0; i < 3; i++) {
    for (size_t j = 0; j < sizeof keep; j++)
      keep[j] = i == 0 ? 0 : (unsigned char)dice_roll(&dice);
    struct image *image = playback_survivor(&playback, keep, i == 2 ? seed + 1 : 0);
    expect_survivor(image, history, marks, "a power cut");
    image_destroy(image);
  }
  playback_end(&playback);
  recording_destroy(recording);
}

/* Run the script, noting the states; returns whether the volume has failed. */
static bool run_with_fault(struct world *world, const struct fault *fault, struct history *history,
                           struct emulator_marks *marks) {
  static struct operation operation;
  const char *text = script;
  while ((text = operation_parse(text, &operation)) && operation.kind != OPERATION_KINDS) {
    enum world_outcome outcome = world_step(world, &operation);
    bool failed = has_failed(world->volume);
    expect(outcome != WORLD_WRONG, "%s", world->message);
    expect(outcome != WORLD_REFUSED || failed || fault->kind == EMULATOR_READ, "\"%s\" was refused",
           operation.text);
    if (outcome == WORLD_REFUSED)
      expect(world_compare(world) == 0, "after \"%s\" failed: %s", operation.text, world->message);
    history_note(history, world->model);
    marks->issued = (unsigned)history->count - 1;
    if (operation.kind == OPERATION_SYNC && outcome == WORLD_DONE && !failed)
      marks->durable = marks->issued;
    if (failed)
      return true;
  }
  return false;
}

/* Open, run and close; what may be on the disk then. */
static struct emulator_marks use_with_fault(struct emulator *emulator, const struct fault *fault,
                                            struct history *history) {
  struct model *model = model_clone(base_model);
  struct emulator_marks marks = {0};
  struct world world;
  casefs_volume *volume;
  history_note(history, model);
  int error = casefs_open(emulator_device(emulator), fault->options, &volume);
  if (error == 0) {
    let_fail(false);
    expect(world_start(&world, volume, model) == 0, "opening the root");
    world.watch = let_fail;
    world.tolerated = fault->kind == EMULATOR_DISCARD ? 0 : TOLERATE_IO;
    bool failed = run_with_fault(&world, fault, history, &marks);
    if (failed)
      expect_read_only(&world);
    let_fail(true);
    world_end(&world);
    error = casefs_close(volume);
    expect(!failed || error, "closing a failed volume said nothing");
    if (error == 0)
      marks.durable = marks.issued;
  }
  bool happened = emulator_count(emulator, fault->kind) >= fault->n;
  expect(error == 0 || (happened && error == -EIO && fault->kind != EMULATOR_DISCARD),
         "opening or closing: %s", strerror(-error));
  model_destroy(model);
  return marks;
}

/* Returns whether a fault happened. */
static bool requests_with_fault(const struct fault *fault) {
  struct emulator *emulator = watched = emulator_open(base_image);
  struct history history = {0};
  snprintf(attempt, sizeof attempt, "%s %u fails %s%s with %s", request_names[fault->kind],
           fault->n, fault->for_ever ? "for ever" : "once", fault->torn ? " halfway" : "",
           strerror(-fault->error));
  emulator_set_garbage(emulator, fault->n);
  emulator_set_torn(emulator, fault->torn);
  emulator_record(emulator);
  emulator_fail(emulator, fault->kind, fault->n, fault->for_ever, fault->error);
  struct emulator_marks marks = use_with_fault(emulator, fault, &history);
  bool happened = emulator_count(emulator, fault->kind) >= fault->n;
  emulator_fail(emulator, fault->kind, 0, false, 0);
  expect_survivors(emulator, &history, marks, fault->n);
  emulator_close(emulator);
  history_destroy(&history);
  return happened;
}

static void all_requests(enum emulator_request kind) {
  const struct casefs_open_options small = {.dirty_limit = 16 << 10, .cache_size = 16 << 10};
  const struct casefs_open_options normal = {0};
  for (unsigned way = 0; way < 8; way++) {
    struct fault fault = {
        .kind = kind,
        .n = 1,
        .for_ever = way & 1,
        .error = way & 2 && kind != EMULATOR_READ ? -ENOSPC : -EIO,
        .torn = way & 2,
        .options = way & 4 ? &small : &normal,
    };
    for (; requests_with_fault(&fault); fault.n += FAULTS_STEP)
      ;
    assert_true(fault.n > 1);
  }
}

static void each_read_fails(void **state) {
  (void)state;
  all_requests(EMULATOR_READ);
}

static void each_write_fails(void **state) {
  (void)state;
  all_requests(EMULATOR_WRITE);
}

static void each_flush_fails(void **state) {
  (void)state;
  all_requests(EMULATOR_FLUSH);
}

static void each_discard_fails(void **state) {
  (void)state;
  all_requests(EMULATOR_DISCARD);
}

/* Whatever the device calls it, its failure is EIO, and nothing that means something else. */
static void errors_of_the_device_are_eio(void **state) {
  static const int errors[] = {-ENOSPC, -ENOENT, -ETIMEDOUT, -EUCLEAN, -EBUSY, -ENODATA};
  (void)state;
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
    for (unsigned n = 1, happened = 1; happened && n < 40; n++) {
      struct emulator *emulator = emulator_open(base_image);
      struct casefs_check_result result;
      struct model *model;
      casefs_volume *volume = NULL;
      char message[MODEL_MESSAGE] = "";
      snprintf(attempt, sizeof attempt, "read %u fails with %s", n, strerror(-errors[i]));
      emulator_fail(emulator, EMULATOR_READ, n, true, errors[i]);
      int error = casefs_open(emulator_device(emulator), NULL, &volume);
      expect(error == 0 || error == -EIO, "opening: %s", strerror(-error));
      if (error == 0 && model_scan(volume, &model, message) == 0)
        model_destroy(model);
      expect(!message[0] || strstr(message, strerror(EIO)), "reading: %s", message);
      if (error == 0)
        casefs_close(volume);
      happened = emulator_count(emulator, EMULATOR_READ) >= n;
      emulator_close(emulator);
      emulator = emulator_open(base_image);
      emulator_fail(emulator, EMULATOR_READ, n, true, errors[i]);
      error = casefs_check(emulator_device(emulator), &(struct casefs_check_options){0}, &result);
      expect(error == 0 || error == -EIO, "checking: %s", strerror(-error));
      emulator_close(emulator);
    }
}

/* A device that fails while it is formatted says so. */
static void formatting_with_faults(void **state) {
  (void)state;
  for (unsigned kind = EMULATOR_WRITE; kind <= EMULATOR_FLUSH; kind++)
    for (unsigned n = 1, happened = 1; happened; n++) {
      struct image *empty = image_create(VOLUME_SIZE);
      struct emulator *emulator = emulator_open(empty);
      snprintf(attempt, sizeof attempt, "%s %u of formatting fails", request_names[kind], n);
      emulator_fail(emulator, (enum emulator_request)kind, n, false, -EIO);
      int error = casefs_format(emulator_device(emulator), NULL);
      happened = emulator_count(emulator, (enum emulator_request)kind) >= n;
      expect(error == (happened ? -EIO : 0), "formatting: %s", strerror(-error));
      emulator_close(emulator);
      image_destroy(empty);
    }
}

static void power_goes_in_mid_operation(void **state) {
  (void)state;
  for (unsigned n = 1, happened = 1; happened; n += FAULTS_STEP) {
    struct emulator *emulator = watched = emulator_open(base_image);
    struct model *model = model_clone(base_model);
    struct world world;
    casefs_volume *volume;
    snprintf(attempt, sizeof attempt, "the power goes at write %u", n);
    emulator_cut(emulator, n);
    int error = casefs_open(emulator_device(emulator), NULL, &volume);
    if (error == 0) {
      expect(world_start(&world, volume, model) == 0, "opening the root");
      world.tolerated = TOLERATE_IO;
      expect(world_run(&world, script) != WORLD_WRONG, "%s", world.message);
      world_end(&world);
      error = casefs_close(volume);
    }
    happened = emulator_count(emulator, EMULATOR_WRITE) >= n;
    expect(error == (happened ? -EIO : 0), "closing: %s", strerror(-error));
    emulator_close(emulator);
    model_destroy(model);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(formatting_without_memory),
      cmocka_unit_test(checking_without_memory),
      cmocka_unit_test(closing_without_memory),
      cmocka_unit_test(each_allocation_fails_once),
      cmocka_unit_test(each_allocation_fails_for_ever),
      cmocka_unit_test(formatting_with_faults),
      cmocka_unit_test(power_goes_in_mid_operation),
      cmocka_unit_test(each_read_fails),
      cmocka_unit_test(each_write_fails),
      cmocka_unit_test(each_flush_fails),
      cmocka_unit_test(each_discard_fails),
      cmocka_unit_test(errors_of_the_device_are_eio),
  };
  return cmocka_run_group_tests(tests, make_base, free_base);
}
