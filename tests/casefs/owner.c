/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The owner's mark, on a device without a lock of its own: a plain file, in place
 * of an NBD export.
 */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "format.h"

#define SIZE ((uint64_t)4 << 20)

static char path[64];

/* A device over a plain descriptor. */
struct unlocked {
  struct casefs_device device;
  int fd;
};

static int fd_of(struct casefs_device *device) {
  return ((struct unlocked *)device)->fd;
}

static int unlocked_read(struct casefs_device *device, void *buffer, size_t count,
                         uint64_t offset) {
  return pread(fd_of(device), buffer, count, (off_t)offset) == (ssize_t)count ? 0 : -EIO;
}

static int unlocked_write(struct casefs_device *device, const void *buffer, size_t count,
                          uint64_t offset, bool durable) {
  (void)durable;
  return pwrite(fd_of(device), buffer, count, (off_t)offset) == (ssize_t)count ? 0 : -EIO;
}

static int unlocked_flush(struct casefs_device *device) {
  (void)device;
  return 0;
}

static const struct casefs_device_operations operations = {
    .read = unlocked_read, .write = unlocked_write, .flush = unlocked_flush};

static struct unlocked make_device(void) {
  struct unlocked unlocked = {{.operations = &operations, .size = SIZE, .parallel = 1},
                              open(path, O_RDWR)};
  assert_true(unlocked.fd >= 0);
  return unlocked;
}

static int set_up(void **state) {
  (void)state;
  strcpy(path, "/tmp/casefs-owner-XXXXXX");
  int fd = mkstemp(path);
  assert_int_equal(ftruncate(fd, (off_t)SIZE), 0);
  close(fd);
  struct unlocked device = make_device();
  assert_int_equal(casefs_format(&device.device, NULL), 0);
  close(device.fd);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  return unlink(path);
}

static void read_mark(struct owner_mark *mark) {
  uint8_t bytes[BLOCK_SIZE];
  struct unlocked device = make_device();
  assert_int_equal(unlocked_read(&device.device, bytes, BLOCK_SIZE, OWNER_BLOCK * BLOCK_SIZE), 0);
  owner_mark_decode(mark, bytes);
  close(device.fd);
}

static void write_mark(const struct owner_mark *mark) {
  uint8_t bytes[BLOCK_SIZE];
  struct unlocked device = make_device();
  owner_mark_encode(mark, bytes);
  assert_int_equal(
      unlocked_write(&device.device, bytes, BLOCK_SIZE, OWNER_BLOCK * BLOCK_SIZE, false), 0);
  close(device.fd);
}

static void make_file(casefs_volume *volume, const char *name, int expected) {
  struct casefs_creation creation = {.type = CASEFS_FILE};
  casefs_node *root;
  assert_int_equal(casefs_open_root(volume, &root), 0);
  assert_int_equal(casefs_create(root, name, strlen(name), &creation, NULL), expected);
  casefs_node_close(root);
}

static void a_second_writer_is_refused(void **state) {
  (void)state;
  struct unlocked first = make_device(), second = make_device();
  casefs_volume *a, *b;
  struct owner_mark mark;
  assert_int_equal(casefs_open(&first.device, NULL, &a), 0);
  read_mark(&mark);
  assert_true(mark.open);
  assert_int_equal(mark.process, getpid());
  assert_int_equal(casefs_open(&second.device, NULL, &b), -EBUSY);
  /* Reading is allowed, and the owner goes on. */
  struct casefs_open_options reading = {.read_only = true};
  assert_int_equal(casefs_open(&second.device, &reading, &b), 0);
  assert_int_equal(casefs_close(b), 0);
  make_file(a, "still mine", 0);
  assert_int_equal(casefs_close(a), 0);
  read_mark(&mark);
  assert_false(mark.open);
  assert_int_equal(casefs_open(&second.device, NULL, &b), 0);
  assert_int_equal(casefs_close(b), 0);
  close(first.fd);
  close(second.fd);
}

static void a_killed_owner_is_taken_over(void **state) {
  (void)state;
  pid_t child = fork();
  if (child == 0) {
    struct unlocked device = make_device();
    casefs_volume *volume;
    struct casefs_creation creation = {.type = CASEFS_FILE};
    casefs_node *root;
    if (casefs_open(&device.device, NULL, &volume) < 0 || casefs_open_root(volume, &root) < 0 ||
        casefs_create(root, "synced", 6, &creation, NULL) < 0 || casefs_sync(volume) < 0)
      _exit(1);
    raise(SIGKILL);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status));
  struct owner_mark mark;
  read_mark(&mark);
  assert_true(mark.open);

  struct unlocked device = make_device();
  struct casefs_attributes attributes;
  casefs_volume *volume;
  casefs_node *root;
  assert_int_equal(casefs_open(&device.device, NULL, &volume), 0);
  assert_int_equal(casefs_open_root(volume, &root), 0);
  assert_int_equal(casefs_lookup(root, "synced", 6, &attributes, NULL), 0);
  casefs_node_close(root);
  assert_int_equal(casefs_close(volume), 0);
  close(device.fd);
}

/* An owner on another machine, which has stopped. */
static void a_silent_owner_is_taken_over(void **state) {
  (void)state;
  struct owner_mark mark = {.open = true, .heartbeat = 7, .interval = 100, .process = 1};
  memset(mark.owner, 0x55, sizeof mark.owner);
  memset(mark.boot_id, 0x66, sizeof mark.boot_id);
  write_mark(&mark);
  struct unlocked device = make_device();
  casefs_volume *volume;
  assert_int_equal(casefs_open(&device.device, NULL, &volume), 0);
  read_mark(&mark);
  assert_int_equal(mark.process, getpid());
  assert_int_equal(casefs_close(volume), 0);
  close(device.fd);
}

/* Whose mark was replaced writes no superblock any more. */
static void who_was_taken_over_stops(void **state) {
  (void)state;
  struct unlocked device = make_device();
  struct superblock before, after;
  casefs_volume *volume;
  struct owner_mark mark;
  uint8_t bytes[BLOCK_SIZE];
  assert_int_equal(casefs_open(&device.device, NULL, &volume), 0);
  assert_int_equal(casefs_sync(volume), 0);
  struct casefs_statistics statistics;
  casefs_volume_statistics(volume, &statistics);
  uint64_t block = superblock_block(statistics.generation + 1, SIZE / BLOCK_SIZE, 0);
  assert_int_equal(unlocked_read(&device.device, bytes, BLOCK_SIZE, block * BLOCK_SIZE), 0);
  int was = superblock_decode(&before, bytes);
  read_mark(&mark);
  memset(mark.owner, 0x77, sizeof mark.owner);
  write_mark(&mark);
  /* Its heartbeat may notice first: then the change itself is refused. */
  struct casefs_creation creation = {.type = CASEFS_FILE};
  casefs_node *root;
  assert_int_equal(casefs_open_root(volume, &root), 0);
  int r = casefs_create(root, "lost", 4, &creation, NULL);
  assert_true(r == 0 || r == -ESTALE);
  casefs_node_close(root);
  assert_int_equal(casefs_sync(volume), -ESTALE);
  make_file(volume, "more", -ESTALE);
  assert_int_equal(casefs_close(volume), -ESTALE);
  assert_int_equal(unlocked_read(&device.device, bytes, BLOCK_SIZE, block * BLOCK_SIZE), 0);
  assert_int_equal(superblock_decode(&after, bytes), was);
  if (was == 0)
    assert_int_equal(after.generation, before.generation);
  read_mark(&mark);
  assert_int_equal(mark.owner[0], 0x77);
  close(device.fd);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_second_writer_is_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_killed_owner_is_taken_over, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_silent_owner_is_taken_over, set_up, tear_down),
      cmocka_unit_test_setup_teardown(who_was_taken_over_stops, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
