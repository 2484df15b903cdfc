/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Nobody waits for a commit's I/O but who asked for it: while one stands still in the device,
 * reading goes on, and so does changing.  The alarm ends a test that waits after all.
 */

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <pthread.h>

#include <cmocka.h>

#include "casefs.h"

enum { DEADLINE = 60 }; /* seconds, far more than it takes */

/* A device whose writes wait at a gate while it is shut. */
static struct {
  struct casefs_device device;
  struct casefs_device *below;
  _Atomic bool shut;
  sem_t arrived, opened;
} gate;

static int gate_read(struct casefs_device *device, void *buffer, size_t count, uint64_t offset) {
  (void)device;
  return gate.below->operations->read(gate.below, buffer, count, offset);
}

static int gate_write(struct casefs_device *device, const void *buffer, size_t count,
                      uint64_t offset, bool durable) {
  (void)device;
  if (gate.shut) {
    gate.shut = false; /* one waits, and with it the commit */
    sem_post(&gate.arrived);
    sem_wait(&gate.opened);
  }
  return gate.below->operations->write(gate.below, buffer, count, offset, durable);
}

static int gate_flush(struct casefs_device *device) {
  (void)device;
  return gate.below->operations->flush(gate.below);
}

static const struct casefs_device_operations operations = {
    .read = gate_read, .write = gate_write, .flush = gate_flush};

static void *sync_volume(void *volume) {
  return (void *)(intptr_t)casefs_sync(volume);
}

static void create(casefs_node *root, const char *name, casefs_node **node) {
  struct casefs_creation creation = {.type = CASEFS_FILE};
  assert_int_equal(casefs_create(root, name, strlen(name), &creation, node), 0);
}

static void a_commit_at_a_standstill(void **state) {
  (void)state;
  struct casefs_attributes attributes;
  struct casefs_cursor cursor = {0};
  struct casefs_entry entry;
  casefs_volume *volume;
  casefs_node *root, *file;
  pthread_t thread;
  void *result;
  char text[8];

  alarm(DEADLINE);
  assert_int_equal(casefs_device_open_memory(16 << 20, &gate.below), 0);
  gate.device = *gate.below;
  gate.device.operations = &operations;
  sem_init(&gate.arrived, 0, 0);
  sem_init(&gate.opened, 0, 0);
  assert_int_equal(casefs_format(&gate.device, NULL), 0);
  assert_int_equal(casefs_open(&gate.device, NULL, &volume), 0);
  assert_int_equal(casefs_open_root(volume, &root), 0);
  create(root, "one", &file);
  assert_int_equal(casefs_write(file, "content", 7, 0), 7);

  gate.shut = true;
  assert_int_equal(pthread_create(&thread, NULL, sync_volume, volume), 0);
  sem_wait(&gate.arrived);

  assert_int_equal(casefs_lookup(root, "one", 3, &attributes, NULL), 0);
  assert_int_equal(attributes.size, 7);
  assert_int_equal(casefs_read(file, text, sizeof text, 0), 7);
  assert_memory_equal(text, "content", 7);
  assert_int_equal(casefs_next_entry(root, &cursor, &entry, NULL), 1);
  create(root, "two", NULL);
  assert_int_equal(casefs_write(file, "CON", 3, 0), 3);
  assert_int_equal(casefs_rename(root, "two", 3, root, "three", 5, 0), 0);
  assert_int_equal(casefs_read(file, text, sizeof text, 0), 7);
  assert_memory_equal(text, "CONtent", 7);

  sem_post(&gate.opened);
  pthread_join(thread, &result);
  assert_null(result);

  /* What was changed meanwhile is in the next commit. */
  casefs_node_close(file);
  casefs_node_close(root);
  assert_int_equal(casefs_close(volume), 0);
  assert_int_equal(casefs_open(&gate.device, NULL, &volume), 0);
  assert_int_equal(casefs_open_path(volume, NULL, "/three", 0, &file), 0);
  casefs_node_close(file);
  assert_int_equal(casefs_close(volume), 0);
  casefs_device_close(gate.below);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_commit_at_a_standstill)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
