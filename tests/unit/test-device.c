/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Devices: their names, memory, files and block devices.  Link with the system calls wrapped:
 * -Wl,--wrap=pread,--wrap=pwrite,--wrap=pwritev2,--wrap=fdatasync,--wrap=fallocate
 */

#include "device-exercise.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { BLOCK = CASEFS_BLOCK_SIZE, MIB = 1 << 20 };

/* -------------------------------------------------------------------- faults */

/* What the wrapped calls do instead: fail with that errno, or a part of the work. */
static struct {
  int read, write, write_dsync, sync, discard;
  bool piecemeal;
  unsigned interruptions;
  unsigned syncs; /* calls seen */
} faults;

ssize_t __real_pread(int fd, void *buffer, size_t count, off_t offset);
ssize_t __real_pwrite(int fd, const void *buffer, size_t count, off_t offset);
ssize_t __real_pwritev2(int fd, const struct iovec *vector, int length, off_t offset, int flags);
int __real_fdatasync(int fd);
int __real_fallocate(int fd, int mode, off_t offset, off_t count);
ssize_t __wrap_pread(int fd, void *buffer, size_t count, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *buffer, size_t count, off_t offset);
ssize_t __wrap_pwritev2(int fd, const struct iovec *vector, int length, off_t offset, int flags);
int __wrap_fdatasync(int fd);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t count);

static int failing(int error) {
  if (error == 0 && faults.interruptions > 0) {
    faults.interruptions--;
    error = EINTR;
  }
  errno = error ? error : errno;
  return error != 0;
}

static size_t part(size_t count) {
  return faults.piecemeal && count > 1000 ? 1000 : count;
}

ssize_t __wrap_pread(int fd, void *buffer, size_t count, off_t offset) {
  return failing(faults.read) ? -1 : __real_pread(fd, buffer, part(count), offset);
}

ssize_t __wrap_pwrite(int fd, const void *buffer, size_t count, off_t offset) {
  return failing(faults.write) ? -1 : __real_pwrite(fd, buffer, part(count), offset);
}

ssize_t __wrap_pwritev2(int fd, const struct iovec *vector, int length, off_t offset, int flags) {
  struct iovec one = {vector->iov_base, part(vector->iov_len)};
  return failing(faults.write_dsync) ? -1 : __real_pwritev2(fd, &one, length, offset, flags);
}

int __wrap_fdatasync(int fd) {
  faults.syncs++;
  return failing(faults.sync) ? -1 : __real_fdatasync(fd);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t count) {
  return failing(faults.discard) ? -1 : __real_fallocate(fd, mode, offset, count);
}

static int no_faults(void **state) {
  (void)state;
  memset(&faults, 0, sizeof faults);
  return 0;
}

/* --------------------------------------------------------------------- names */

static void sizes(void **state) {
  (void)state;
  static const struct {
    const char *text;
    uint64_t size;
  } good[] = {
      {"0", 0},
      {"4096", 4096},
      {"4K", 4096},
      {"4k", 4096},
      {"1KiB", 1024},
      {"64M", 64 << 20},
      {"1G", 1 << 30},
      {"2TiB", (uint64_t)2 << 40},
      {"512B", 512},
      {"3P", (uint64_t)3 << 50},
      {"7E", (uint64_t)7 << 60},
      {"9223372036854775807", CASEFS_MAX_SIZE},
  };
  static const char *const bad[] = {"",     "K",   "-1",
                                    " 1",   "1 K", "1KB",
                                    "1.5G", "1X",  "1Ki",
                                    "0x10", "8E",  "9223372036854775808",
                                    "1KK",  "+1",  "99999999999999999999999"};
  uint64_t size;
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    assert_int_equal(device_parse_size(good[i].text, &size), 0);
    assert_int_equal(size, good[i].size);
  }
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_int_equal(device_parse_size(bad[i], &size), -EINVAL);
}

static void make_socket(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  close(fd);
}

static void bad_names(void **state) {
  (void)state;
  must_refuse("", 0, 0, -EINVAL, "empty");
  must_refuse("mem:", 0, 0, -EINVAL, "'mem:' is not a size");
  must_refuse("mem:lots", 0, 0, -EINVAL, "mem:lots");
  must_refuse("mem:1K", 0, 0, -EINVAL, "smaller than a block");
  must_refuse("mem:4K", 64, 0, -EINVAL, "unknown flags");
  must_refuse(in_folder("absent"), 0, 0, -ENOENT, "absent': No such file or directory");
  must_refuse(in_folder("absent"), CASEFS_DEVICE_READ_ONLY, 0, -ENOENT, "No such file");
  must_refuse(in_folder("absent"), CASEFS_DEVICE_READ_ONLY | CASEFS_DEVICE_CREATE, 0, -EINVAL,
              "reading only");
  must_refuse(in_folder("no/such"), CASEFS_DEVICE_CREATE, MIB, -ENOENT, "No such file");
  must_refuse(folder, 0, 0, -EISDIR, "is a directory; a file, a block device");
  must_refuse("/dev/null", 0, 0, -EINVAL, "is a character device;");
  mkfifo(in_folder("fifo"), 0600);
  must_refuse(in_folder("fifo"), 0, 0, -EINVAL, "is a FIFO;");
  must_refuse(in_folder("fifo"), CASEFS_DEVICE_CREATE, MIB, -EINVAL, "is a FIFO;");
  make_socket(in_folder("socket"));
  must_refuse(in_folder("socket"), 0, 0, -EINVAL, "is a socket;");
  must_refuse("nbd+unix:///?socket=/nonexistent/socket", 0, 0, -ENOENT, "No such file");
}

static void close_nothing(void **state) {
  (void)state;
  casefs_device_close(NULL);
}

/* -------------------------------------------------------------------- memory */

static void memory(void **state) {
  (void)state;
  struct casefs_device *device = must_open("mem:16M", 0, 0);
  assert_int_equal(device->size, 16 * MIB);
  assert_true(device->exclusive && !device->read_only);
  exercise(device);
  assert_int_equal(device_discard(device, device->size, 0), 0);
  casefs_device_close(device);
}

static void memory_filled_up(void **state) {
  (void)state;
  static const char *const names[] = {"mem:4K", "mem:1M", "mem:33M"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    struct casefs_device *device = must_open(names[i], 0, 0);
    for (uint64_t at = 0; at < device->size; at += BLOCK)
      must_write(device, BLOCK, at, 1, false);
    casefs_device_close(device);
  }
}

struct places {
  struct casefs_place places[4];
  unsigned count, most;
};

static int note_place(void *context, const struct casefs_place *place) {
  struct places *places = context;
  assert_true(places->count < sizeof places->places / sizeof places->places[0]);
  places->places[places->count++] = *place;
  return places->count == places->most ? 77 : 0;
}

static void must_be_place(const struct casefs_place *place, uint64_t offset, uint64_t count,
                          enum casefs_tier tier) {
  assert_int_equal(place->offset, offset);
  assert_int_equal(place->count, count);
  assert_int_equal(place->tier, tier);
  assert_false(place->dirty);
}

/* All of it stays in memory, whatever its priority. */
static void memory_in_places(void **state) {
  (void)state;
  struct casefs_device *device = must_open("mem:1M", 0, 0);
  const struct casefs_device_operations *operations = device->operations;
  struct places places = {0};
  uint8_t bytes[3 * BLOCK];
  memset(bytes, 5, sizeof bytes);
  assert_int_equal(operations->write(device, bytes, sizeof bytes, BLOCK, false), 0);
  assert_int_equal(operations->prioritize(device, BLOCK, 2 * BLOCK, 9), 0);
  assert_int_equal(operations->prioritize(device, BLOCK, 2 * BLOCK, 11), -EINVAL);
  assert_int_equal(operations->preload(device, 8 * BLOCK, 0), 0);
  assert_int_equal(operations->map(device, 3 * BLOCK, BLOCK, note_place, &places), 0);
  assert_int_equal(places.count, 1);
  must_be_place(&places.places[0], BLOCK, 3 * BLOCK, CASEFS_TIER_MEMORY);
  places = (struct places){.most = 1};
  assert_int_equal(operations->map(device, 8 * BLOCK, 0, note_place, &places), 77);
  assert_int_equal(places.count, 1);
  must_be_place(&places.places[0], 0, BLOCK, CASEFS_TIER_NONE);
  casefs_device_close(device);
}

static void memory_without_end(void **state) {
  (void)state;
  struct casefs_device *device = must_open("mem:6E", 0, 0);
  must_write(device, MIB, device->size - MIB, 1, false);
  must_hold(device, MIB, device->size - MIB, 1);
  casefs_device_close(device);
  device = must_open("mem:1M", CASEFS_DEVICE_READ_ONLY, 0);
  assert_true(device->read_only);
  casefs_device_close(device);
}

/* --------------------------------------------------------------------- files */

static void file(void **state) {
  (void)state;
  struct casefs_device *device = must_open(in_folder("file"), CASEFS_DEVICE_CREATE, 16 * MIB + 100);
  assert_int_equal(device->size, 16 * MIB);
  assert_true(device->exclusive && !device->read_only);
  exercise(device);
  must_write(device, MIB, 0, 7, false);
  casefs_device_close(device);

  struct stat status;
  assert_int_equal(stat(in_folder("file"), &status), 0);
  assert_int_equal(status.st_size, 16 * MIB + 100);
  device = must_open(in_folder("file"), CASEFS_DEVICE_CREATE, MIB); /* does not shrink */
  assert_int_equal(device->size, 16 * MIB);
  must_hold(device, MIB, 0, 7);
  casefs_device_close(device);
  device = must_open(in_folder("file"), CASEFS_DEVICE_CREATE, 32 * MIB); /* grows */
  assert_int_equal(device->size, 32 * MIB);
  must_hold(device, MIB, 0, 7);
  casefs_device_close(device);
}

static void file_read_only(void **state) {
  (void)state;
  char block[BLOCK] = {0};
  casefs_device_close(must_open(in_folder("ro"), CASEFS_DEVICE_CREATE, MIB));
  chmod(in_folder("ro"), 0400);
  struct casefs_device *device = must_open(in_folder("ro"), CASEFS_DEVICE_READ_ONLY, 0);
  assert_true(device->read_only && !device->exclusive);
  assert_int_equal(device_read(device, block, BLOCK, 0), 0);
  assert_int_equal(device_write(device, block, BLOCK, 0, false), -EROFS);
  assert_int_equal(device_discard(device, BLOCK, 0), -EROFS);
  assert_int_equal(device_flush(device), 0);
  casefs_device_close(device);
}

/* What opening for writing gives in another process. */
static int open_elsewhere(const char *path, unsigned flags) {
  pid_t child = fork();
  if (child == 0) {
    struct casefs_device *device;
    _exit(-casefs_device_open(path, flags, 0, &device, NULL));
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? -WEXITSTATUS(status) : -1000;
}

static void lock(void **state) {
  (void)state;
  const char *path = in_folder("locked");
  struct casefs_device *reader, *writer = must_open(path, CASEFS_DEVICE_CREATE, MIB);
  must_refuse(path, 0, 0, -EBUSY, "open for writing elsewhere");
  must_refuse(path, CASEFS_DEVICE_CREATE, 2 * MIB, -EBUSY, "open for writing elsewhere");
  assert_int_equal(open_elsewhere(path, 0), -EBUSY);
  assert_int_equal(open_elsewhere(path, CASEFS_DEVICE_READ_ONLY), 0);
  reader = must_open(path, CASEFS_DEVICE_READ_ONLY, 0);
  close(open(path, O_RDWR)); /* a lock of the old kind would be lost by this */
  assert_int_equal(open_elsewhere(path, 0), -EBUSY);
  casefs_device_close(writer);
  assert_int_equal(open_elsewhere(path, 0), 0);
  casefs_device_close(must_open(path, 0, 0));
  casefs_device_close(reader);
}

static void cut_short(void **state) {
  (void)state;
  char blocks[4 * BLOCK];
  struct casefs_device *device = must_open(in_folder("cut"), CASEFS_DEVICE_CREATE, MIB);
  must_write(device, MIB, 0, 1, false);
  assert_int_equal(truncate(in_folder("cut"), 100 * BLOCK + 17), 0);
  must_hold(device, 100 * BLOCK, 0, 1);
  assert_int_equal(device_read(device, blocks, 4 * BLOCK, 98 * BLOCK), -EIO);
  assert_int_equal(device_read(device, blocks, BLOCK, 200 * BLOCK), -EIO);
  casefs_device_close(device);
}

static void piecemeal(void **state) {
  (void)state;
  struct casefs_device *device = must_open(in_folder("pieces"), CASEFS_DEVICE_CREATE, MIB);
  faults.piecemeal = true;
  for (int durable = 0; durable < 2; durable++) {
    faults.interruptions = 7;
    must_write(device, MIB, 0, 1 + durable, durable);
    faults.interruptions = 7;
    must_hold(device, MIB, 0, 1 + durable);
    faults.interruptions = 2;
    assert_int_equal(device_flush(device), 0);
    faults.interruptions = 2;
    assert_int_equal(device_discard(device, BLOCK, 0), 0);
  }
  casefs_device_close(device);
}

static void without_dsync(void **state) {
  (void)state;
  struct casefs_device *device = must_open(in_folder("dsync"), CASEFS_DEVICE_CREATE, MIB);
  must_write(device, BLOCK, 0, 1, true);
  assert_int_equal(faults.syncs, 0);
  faults.write_dsync = EOPNOTSUPP;
  must_write(device, BLOCK, 0, 2, true);
  must_hold(device, BLOCK, 0, 2);
  assert_int_equal(faults.syncs, 1);
  casefs_device_close(device);
}

/* Each way in which a sync fails, once: it stays. */
static void failed_sync(void **state) {
  (void)state;
  char block[BLOCK] = {0};
  for (int way = 0; way < 3; way++) {
    struct casefs_device *device = must_open(in_folder("sync"), CASEFS_DEVICE_CREATE, MIB);
    must_write(device, BLOCK, 0, 1, false);
    faults.write_dsync = way == 1 ? EIO : way == 2 ? ENOSYS : 0;
    faults.sync = ENOSPC;
    assert_int_equal(way == 0 ? device_flush(device) : device_write(device, block, BLOCK, 0, true),
                     -EIO);
    no_faults(NULL);
    assert_int_equal(device_flush(device), -EIO);
    assert_int_equal(device_write(device, block, BLOCK, 0, false), -EIO);
    assert_int_equal(device_write(device, block, BLOCK, 0, true), -EIO);
    assert_int_equal(faults.syncs, 0);
    assert_int_equal(device_read(device, block, BLOCK, 0), 0);
    casefs_device_close(device);
  }
}

static void failed_requests(void **state) {
  (void)state;
  static const int errors[] = {EIO, ENOSPC, EDQUOT, EFBIG};
  char block[BLOCK] = {0};
  struct casefs_device *device = must_open(in_folder("fails"), CASEFS_DEVICE_CREATE, MIB);
  for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
    faults.read = faults.write = errors[i];
    assert_int_equal(device_read(device, block, BLOCK, 0), -EIO);
    assert_int_equal(device_write(device, block, BLOCK, 0, false), -EIO);
    no_faults(NULL);
    must_write(device, BLOCK, 0, i, false);
    must_hold(device, BLOCK, 0, i);
  }
  faults.discard = EIO;
  assert_int_equal(device_discard(device, BLOCK, 0), -EIO);
  faults.discard = EOPNOTSUPP;
  assert_int_equal(device_discard(device, BLOCK, 0), -EOPNOTSUPP);
  faults.discard = 0; /* not asked again */
  assert_int_equal(device_discard(device, BLOCK, 0), -EOPNOTSUPP);
  casefs_device_close(device);
}

static void discard_gives_space_back(void **state) {
  (void)state;
  struct stat before, after;
  struct casefs_device *device = must_open(in_folder("holes"), CASEFS_DEVICE_CREATE, 4 * MIB);
  must_write(device, 4 * MIB, 0, 1, false);
  assert_int_equal(device_flush(device), 0);
  stat(in_folder("holes"), &before);
  int result = device_discard(device, 2 * MIB, MIB);
  stat(in_folder("holes"), &after);
  must_hold(device, MIB, 0, 1);
  must_hold(device, MIB, 3 * MIB, 1);
  casefs_device_close(device);
  assert_int_equal(after.st_size, 4 * MIB);
  if (result == -EOPNOTSUPP)
    skip();
  assert_int_equal(result, 0);
  assert_true(after.st_blocks <= before.st_blocks - 2 * MIB / 512);
}

/* A small file system that is full is the device's failure, not a full volume. */
static void full_file_system(void **state) {
  (void)state;
  char block[BLOCK] = {1};
  const char *point = in_folder("small");
  mkdir(point, 0700);
  if (mount("tmpfs", point, "tmpfs", 0, "size=256k") < 0)
    skip();
  struct casefs_device *device = must_open(in_folder("small/file"), CASEFS_DEVICE_CREATE, MIB);
  int result = 0;
  for (uint64_t at = 0; at < device->size && result == 0; at += BLOCK)
    result = device_write(device, block, BLOCK, at, false);
  casefs_device_close(device);
  umount2(point, MNT_DETACH);
  assert_int_equal(result, -EIO);
}

/* With a limit on the size of files: said when opening, for SIGXFSZ would come later. */
static void limited_file_size(void **state) {
  (void)state;
  const char *path = in_folder("limited"), *absent = in_folder("not-made");
  casefs_device_close(must_open(path, CASEFS_DEVICE_CREATE, 4 * MIB));
  pid_t child = fork();
  if (child == 0) {
    struct rlimit limit = {MIB, MIB};
    struct casefs_device *device;
    setrlimit(RLIMIT_FSIZE, &limit);
    bool good = casefs_device_open(path, 0, 0, &device, NULL) == -EFBIG;
    good = good && casefs_device_open(path, CASEFS_DEVICE_READ_ONLY, 0, &device, NULL) == 0;
    good =
        good && casefs_device_open(absent, CASEFS_DEVICE_CREATE, 2 * MIB, &device, NULL) == -EFBIG;
    good = good && access(absent, F_OK) < 0;
    good = good && casefs_device_open(absent, CASEFS_DEVICE_CREATE, MIB, &device, NULL) == 0;
    _exit(good ? 0 : 1);
  }
  int status;
  waitpid(child, &status, 0);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void direct(void **state) {
  (void)state;
  const char *path = in_folder("direct");
  struct casefs_device *device;
  unsigned flags = CASEFS_DEVICE_CREATE | CASEFS_DEVICE_DIRECT;
  int result = casefs_device_open(path, flags, 16 * MIB, &device, NULL);
  if (result == -EINVAL)
    skip();
  assert_int_equal(result, 0);
  exercise(device); /* with malloc's buffers, which are not aligned */
  void *aligned = aligned_alloc(BLOCK, MIB);
  fill(aligned, MIB, 5 * MIB, 9);
  assert_int_equal(device_write(device, aligned, MIB, 5 * MIB, true), 0);
  memset(aligned, 0, MIB);
  assert_int_equal(device_read(device, aligned, MIB, 5 * MIB), 0);
  free(aligned);
  must_hold(device, MIB, 5 * MIB, 9);
  casefs_device_close(device);
}

/* ------------------------------------------------------------- block devices */

/* A loop device over the file, or -1. */
static int attach_loop(const char *path, char *name, size_t size) {
  int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
  int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
  close(control);
  snprintf(name, size, "/dev/loop%d", number);
  int loop = number < 0 ? -1 : open(name, O_RDWR | O_CLOEXEC);
  int backing = open(path, O_RDWR | O_CLOEXEC);
  if (loop >= 0 && ioctl(loop, LOOP_SET_FD, backing) < 0) {
    close(loop);
    loop = -1;
  }
  close(backing);
  return loop;
}

static void block_device(void **state) {
  (void)state;
  char name[64];
  casefs_device_close(must_open(in_folder("loop"), CASEFS_DEVICE_CREATE, 16 * MIB));
  int loop = attach_loop(in_folder("loop"), name, sizeof name);
  if (loop < 0)
    skip();
  struct casefs_device *device = must_open(name, CASEFS_DEVICE_CREATE, 64 * MIB);
  assert_int_equal(device->size, 16 * MIB);
  assert_true(device->exclusive);
  must_refuse(name, 0, 0, -EBUSY, "in use");
  exercise(device);
  casefs_device_close(device);
  device = must_open(name, CASEFS_DEVICE_READ_ONLY | CASEFS_DEVICE_DIRECT, 0);
  must_hold(device, BLOCK, BLOCK, 0);
  casefs_device_close(device);
  ioctl(loop, LOOP_CLR_FD);
  close(loop);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sizes),
      cmocka_unit_test(bad_names),
      cmocka_unit_test(close_nothing),
      cmocka_unit_test(memory),
      cmocka_unit_test(memory_filled_up),
      cmocka_unit_test(memory_in_places),
      cmocka_unit_test(memory_without_end),
      cmocka_unit_test(file),
      cmocka_unit_test(file_read_only),
      cmocka_unit_test(lock),
      cmocka_unit_test(cut_short),
      cmocka_unit_test_teardown(piecemeal, no_faults),
      cmocka_unit_test_teardown(without_dsync, no_faults),
      cmocka_unit_test_teardown(failed_sync, no_faults),
      cmocka_unit_test_teardown(failed_requests, no_faults),
      cmocka_unit_test(discard_gives_space_back),
      cmocka_unit_test(full_file_system),
      cmocka_unit_test(limited_file_size),
      cmocka_unit_test(direct),
      cmocka_unit_test(block_device),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
