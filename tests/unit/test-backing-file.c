/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Backing stores in files: spill, image and base.  Link with the system calls wrapped that
 * CMakeLists.txt tells.
 */

#include "backing-exercise.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef ROUNDS
#define ROUNDS 500
#endif

/* ------------------------------------------------------------------------ faults */

/* What the wrapped calls do instead: fail with that errno, or do a part of the work. */
static struct {
  int read, write, sync, punch, zero_range, truncate, tmpfile, batch;
  bool piecemeal, no_direct, direct_einval;
  unsigned interruptions;
  unsigned syncs, batches, seen_fallocates; /* calls seen */
} faults;

ssize_t __real_preadv(int fd, const struct iovec *parts, int count, off_t offset);
ssize_t __real_pwritev(int fd, const struct iovec *parts, int count, off_t offset);
int __real_fdatasync(int fd);
int __real_fallocate(int fd, int mode, off_t offset, off_t count);
int __real_ftruncate(int fd, off_t size);
int __real_fcntl(int fd, int command, long argument);
int __real_open(const char *path, int flags, mode_t mode);
long __real_syscall(long number, long a, long b, long c, long d, long e);
ssize_t __wrap_preadv(int fd, const struct iovec *parts, int count, off_t offset);
ssize_t __wrap_pwritev(int fd, const struct iovec *parts, int count, off_t offset);
int __wrap_fdatasync(int fd);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t count);
int __wrap_ftruncate(int fd, off_t size);
int __wrap_fcntl(int fd, int command, long argument);
int __wrap_open(const char *path, int flags, mode_t mode);
long __wrap_syscall(long number, long a, long b, long c, long d, long e);

static bool failing(int error) {
  if (error == 0 && __atomic_load_n(&faults.interruptions, __ATOMIC_RELAXED) > 0) {
    __atomic_fetch_sub(&faults.interruptions, 1, __ATOMIC_RELAXED);
    error = EINTR;
  }
  errno = error ? error : errno;
  return error != 0;
}

static bool fails_direct(int fd) {
  if (!faults.direct_einval || !(fcntl(fd, F_GETFL) & O_DIRECT))
    return false;
  errno = EINVAL;
  return true;
}

/* The first block only, or the first 512 bytes of it. */
static struct iovec part_of(const struct iovec *parts) {
  size_t most = parts->iov_len > 512 ? parts->iov_len / 2 / 512 * 512 : parts->iov_len;
  return (struct iovec){parts->iov_base, most};
}

ssize_t __wrap_preadv(int fd, const struct iovec *parts, int count, off_t offset) {
  struct iovec one = part_of(parts);
  if (failing(faults.read) || fails_direct(fd))
    return -1;
  return faults.piecemeal ? __real_preadv(fd, &one, 1, offset)
                          : __real_preadv(fd, parts, count, offset);
}

ssize_t __wrap_pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  struct iovec one = part_of(parts);
  if (failing(faults.write) || fails_direct(fd))
    return -1;
  return faults.piecemeal ? __real_pwritev(fd, &one, 1, offset)
                          : __real_pwritev(fd, parts, count, offset);
}

int __wrap_fdatasync(int fd) {
  __atomic_fetch_add(&faults.syncs, 1, __ATOMIC_RELAXED);
  return failing(faults.sync) ? -1 : __real_fdatasync(fd);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t count) {
  __atomic_fetch_add(&faults.seen_fallocates, 1, __ATOMIC_RELAXED);
  if (failing(mode & FALLOC_FL_PUNCH_HOLE ? faults.punch : faults.zero_range))
    return -1;
  return __real_fallocate(fd, mode, offset, count);
}

int __wrap_ftruncate(int fd, off_t size) {
  return failing(faults.truncate) ? -1 : __real_ftruncate(fd, size);
}

int __wrap_open(const char *path, int flags, mode_t mode) {
  int error = (flags & O_TMPFILE) == O_TMPFILE ? faults.tmpfile : 0;
  errno = error ? error : errno;
  return error ? -1 : __real_open(path, flags, mode);
}

int __wrap_fcntl(int fd, int command, long argument) {
  if (command == F_SETFL && argument & O_DIRECT && faults.no_direct) {
    errno = EINVAL;
    return -1;
  }
  return __real_fcntl(fd, command, argument);
}

long __wrap_syscall(long number, long a, long b, long c, long d, long e) {
  if (number == SYS_io_submit) {
    __atomic_fetch_add(&faults.batches, 1, __ATOMIC_RELAXED);
    if (faults.batch && faults.batch != EIO) {
      errno = faults.batch;
      return -1;
    }
    if (faults.batch == EIO && b > 3)
      b = 3; /* takes a few only */
  }
  return __real_syscall(number, a, b, c, d, e);
}

static int no_faults(void **state) {
  (void)state;
  memset(&faults, 0, sizeof faults);
  return 0;
}

/* ------------------------------------------------------------------ what is right */

static void image(void **state) {
  (void)state;
  const char *path = in_folder("image");
  unlink(path);
  mode_t mask = umask(027);
  struct backing *backing = must_open(path, false, 32 * MIB);
  umask(mask);
  struct stat status;
  assert_int_equal(stat(path, &status), 0);
  assert_int_equal(status.st_mode & 07777, 0640);
  assert_int_equal(status.st_size, 32 * MIB);
  assert_true(status.st_blocks * 512 < MIB);
  assert_int_equal(backing_size(backing), 32 * MIB);
  assert_string_equal(backing_name(backing), path);
  exercise(backing);
  must_write(backing, MIB, 5 * MIB, 4);
  backing_close(backing);
  backing = must_open(path, false, 0);
  assert_int_equal(backing_size(backing), 32 * MIB);
  must_hold(backing, MIB, 5 * MIB, 4);
  backing_close(backing);
  backing = must_open(path, false, 20 * MIB); /* left as long as it is */
  assert_int_equal(backing_size(backing), 32 * MIB);
  backing_close(backing);
}

static void image_through_link(void **state) {
  (void)state;
  make_file(in_folder("target"), MIB);
  unlink(in_folder("link"));
  assert_int_equal(symlink("target", in_folder("link")), 0);
  struct backing *backing = must_open(in_folder("link"), false, MIB);
  must_write(backing, BLOCK, 0, 1);
  must_refuse(in_folder("target"), false, MIB, -EBUSY, "in use");
  backing_close(backing);
  unlink(in_folder("target"));
  must_refuse(in_folder("link"), false, MIB, -EEXIST, "symbolic link to nothing");
  must_refuse(in_folder("link"), true, MIB, -ENOENT, "does not exist");
}

static void odd_sizes(void **state) {
  (void)state;
  static const uint64_t sizes[] = {1, 511, 4095, 4097, MIB + 512, 3 * MIB + 1000};
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    uint64_t size = sizes[i], last = size / BLOCK * BLOCK;
    unlink(in_folder("odd"));
    struct backing *backing = must_open(in_folder("odd"), false, size);
    must_write(backing, size, 0, 6);
    must_hold(backing, size, 0, 6);
    must_write(backing, size - last, last, 7);
    must_hold(backing, size - last, last, 7);
    unsigned char *bytes = make_bytes(2 * BLOCK, 4);
    assert_int_equal(backing_read(backing, bytes, 2 * BLOCK, last), 0);
    for (uint64_t at = size - last; at < 2 * BLOCK; at++)
      assert_int_equal(bytes[at], 0);
    free(bytes);
    assert_int_equal(backing_allocate(backing, size, 0), 0);
    must_hold(backing, size, 0, 0);
    must_write(backing, size, 0, 6);
    assert_int_equal(backing_zero(backing, size, 0), 0);
    assert_true(backing_used(backing) < BLOCK);
    assert_int_equal(backing_flush(backing), 0);
    backing_close(backing);
    struct stat status;
    assert_int_equal(stat(in_folder("odd"), &status), 0);
    assert_int_equal(status.st_size, size);
  }
}

static void base(void **state) {
  (void)state;
  make_file(in_folder("base"), 0);
  must_refuse(in_folder("base"), true, 0, -EINVAL, "is empty");
  make_file(in_folder("base"), 3 * BLOCK + 100);
  struct backing *backing = must_open(in_folder("base"), false, 0);
  must_write(backing, 3 * BLOCK + 100, 0, 5);
  backing_close(backing);
  chmod(in_folder("base"), 0444);
  backing = must_open(in_folder("base"), true, 64 * MIB);
  struct backing *again = must_open(in_folder("base"), true, BLOCK);
  assert_int_equal(backing_size(backing), 3 * BLOCK + 100);
  must_hold(backing, 3 * BLOCK + 100, 0, 5);
  must_hold(backing, MIB, MIB, 0);
  assert_string_equal(extents_of(backing, MIB, MIB), "h1048576 ");
  unsigned char *bytes = make_bytes(BLOCK, 1);
  assert_int_equal(backing_write(backing, bytes, BLOCK, 0), -EROFS);
  assert_int_equal(backing_zero(backing, BLOCK, 0), -EROFS);
  assert_int_equal(backing_allocate(backing, BLOCK, 0), -EROFS);
  assert_int_equal(backing_resize(backing, BLOCK), -EROFS);
  assert_int_equal(backing_flush(backing), 0);
  free(bytes);
  backing_close(again);
  backing_close(backing);
}

static void spill(void **state) {
  (void)state;
  char link[128], path[256];
  unsigned syncs = faults.syncs;
  struct backing *backing = must_open_spill(folder, 32 * MIB + 5);
  assert_int_equal(backing_size(backing), 32 * MIB + BLOCK);
  exercise(backing);
  assert_int_equal(faults.syncs, syncs);
  bool found = false;
  for (int fd = 3; fd < 64; fd++) {
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    if (strncmp(path, folder, strlen(folder)) != 0)
      continue;
    struct stat status;
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(status.st_nlink, 0);
    assert_non_null(strstr(path, "(deleted)"));
    assert_int_not_equal(linkat(AT_FDCWD, link, AT_FDCWD, in_folder("linked"), AT_SYMLINK_FOLLOW),
                         0);
    found = true;
  }
  assert_true(found);
  char command[128];
  snprintf(command, sizeof command, "test -z \"$(find '%s' -name '.sectors*')\"", folder);
  assert_int_equal(system(command), 0);
  backing_close(backing);
}

/* The same where files without names are not to be had; all of the tests above without O_DIRECT. */
static void spill_without_tmpfile(void **state) {
  faults.tmpfile = EOPNOTSUPP;
  spill(state);
  faults.no_direct = true;
  spill(state);
}

static void without_direct(void **state) {
  faults.no_direct = true;
  image(state);
  odd_sizes(state);
  base(state);
  spill(state);
}

static void direct_refused_later(void **state) {
  (void)state;
  faults.direct_einval = true;
  faults.batch = EINVAL;
  unlink(in_folder("later"));
  struct backing *backing = must_open(in_folder("later"), false, 32 * MIB);
  exercise(backing);
  backing_close(backing);
}

static void without_holes(void **state) {
  (void)state;
  for (int i = 0; i < 2; i++) {
    unlink(in_folder("whole"));
    faults.punch = EOPNOTSUPP;
    faults.zero_range = i ? EOPNOTSUPP : 0;
    struct backing *backing = must_open(in_folder("whole"), false, 32 * MIB);
    exercise(backing);
    assert_true(backing_used(backing) >= 31 * MIB);
    unsigned seen = faults.seen_fallocates;
    assert_int_equal(backing_zero(backing, BLOCK, 0), 0);
    assert_int_equal(faults.seen_fallocates - seen, i ? 0 : 1);
    backing_close(backing);
  }
}

static void extents(void **state) {
  (void)state;
  unlink(in_folder("extents"));
  struct backing *backing = must_open(in_folder("extents"), false, MIB);
  assert_string_equal(extents_of(backing, MIB, 0), "h1048576 ");
  must_write(backing, 2 * BLOCK, 4 * BLOCK, 1);
  must_write(backing, BLOCK, 255 * BLOCK, 1);
  assert_string_equal(extents_of(backing, MIB, 0), "h16384 d8192 h1019904 d4096 ");
  assert_string_equal(extents_of(backing, BLOCK, 5 * BLOCK), "d4096 ");
  assert_string_equal(extents_of(backing, 2 * BLOCK, 255 * BLOCK), "d4096 h4096 ");
  assert_string_equal(extents_of(backing, 0, 0), "");
  assert_string_equal(extents_of(backing, BLOCK, 1 << 30), "h4096 ");
  assert_int_equal(backing_zero(backing, BLOCK, 4 * BLOCK), 0);
  assert_string_equal(extents_of(backing, 8 * BLOCK, 0), "h20480 d4096 h8192 ");
  backing_close(backing);
}

static void telling_holes(void **state) {
  (void)state;
  make_file(in_folder("holes"), MIB);
  struct backing *backing = must_open(in_folder("holes"), false, MIB);
  must_write(backing, BLOCK, 8 * BLOCK, 1);
  assert_int_equal(backing_allocate(backing, MIB / 2, MIB / 2), 0);
  assert_true(backing_used(backing) > MIB / 2);
  assert_true(backing_knows_holes(backing, BLOCK));
  assert_true(backing_knows_holes(backing, 16 * BLOCK));
  assert_false(backing_knows_holes(backing, BLOCK / 2));
  assert_false(backing_knows_holes(backing, 0));
  assert_true(backing_used(backing) < MIB / 4); /* what was not written was given back */
  must_hold(backing, BLOCK, 8 * BLOCK, 1);
  assert_string_equal(extents_of(backing, MIB, 0), "h32768 d4096 h1011712 ");
  faults.punch = faults.zero_range = EOPNOTSUPP;
  assert_false(backing_knows_holes(backing, BLOCK));
  backing_close(backing);
}

static void resizing(void **state) {
  (void)state;
  unlink(in_folder("resized"));
  struct backing *backing = must_open(in_folder("resized"), false, MIB);
  must_write(backing, MIB, 0, 3);
  assert_int_equal(backing_resize(backing, 2 * MIB + 100), 0);
  assert_int_equal(backing_size(backing), 2 * MIB + 100);
  must_write(backing, MIB + 100, MIB, 4);
  must_hold(backing, MIB + 100, MIB, 4);
  assert_int_equal(backing_resize(backing, BLOCK), 0);
  must_hold(backing, MIB, BLOCK, 0);
  assert_int_equal(backing_resize(backing, UINT64_MAX), -EFBIG);
  must_refuse(in_folder("resized"), false, BLOCK, -EBUSY, "in use"); /* still locked */
  backing_close(backing);
  backing = must_open_spill(folder, MIB);
  assert_int_equal(backing_resize(backing, 2 * MIB + 1), 0);
  assert_int_equal(backing_size(backing), 2 * MIB + BLOCK);
  backing_close(backing);
}

static void batches(void **state) {
  (void)state;
  unlink(in_folder("batch"));
  struct backing *backing = must_open(in_folder("batch"), false, 32 * MIB);
  exercise(backing);
  assert_true(faults.batches > 0);
  faults.batch = EIO; /* a few at a time */
  exercise(backing);
  faults.batch = EAGAIN; /* none */
  exercise(backing);
  backing_close(backing);
}

static void against_model(void **state) {
  (void)state;
  for (int i = 0; i < 4; i++) {
    unlink(in_folder("model"));
    faults.no_direct = i == 1;
    faults.batch = i == 2 ? EAGAIN : 0;
    struct backing *backing =
        i == 3 ? must_open_spill(folder, 32 * MIB) : must_open(in_folder("model"), false, 32 * MIB);
    struct outcome outcome = compare_with_model(backing, ROUNDS);
    assert_int_equal(outcome.differences, 0);
    assert_int_equal(outcome.errors, 0);
    backing_close(backing);
  }
}

/* --------------------------------------------------------------- what goes wrong */

static void piecemeal(void **state) {
  (void)state;
  unlink(in_folder("pieces"));
  faults.piecemeal = true;
  faults.batch = EAGAIN;
  faults.interruptions = 20;
  struct backing *backing = must_open(in_folder("pieces"), false, 32 * MIB);
  exercise(backing);
  faults.interruptions = 3;
  assert_int_equal(backing_flush(backing), 0);
  assert_int_equal(faults.interruptions, 0);
  faults.interruptions = 3;
  assert_int_equal(backing_zero(backing, BLOCK, 0), 0);
  assert_int_equal(faults.interruptions, 0);
  faults.interruptions = 2;
  assert_int_equal(backing_resize(backing, MIB), 0);
  assert_int_equal(faults.interruptions, 0);
  backing_close(backing);
}

static void errors(void **state) {
  (void)state;
  static const int numbers[] = {ENOSPC, EDQUOT, EIO};
  unlink(in_folder("errors"));
  struct backing *backing = must_open(in_folder("errors"), false, MIB);
  unsigned char *bytes = make_bytes(2 * BLOCK, 1);
  for (unsigned i = 0; i < 3; i++) {
    faults.read = faults.write = faults.punch = faults.zero_range = numbers[i];
    faults.batch = EAGAIN;
    struct backing_request requests[] = {
        {.operation = BACKING_WRITE, .buffer = bytes, .count = BLOCK, .offset = 0},
        {.operation = BACKING_WRITE, .buffer = bytes, .count = BLOCK, .offset = 5 * BLOCK},
        {.operation = BACKING_WRITE, .buffer = bytes, .count = BLOCK, .offset = 6 * BLOCK},
    };
    assert_int_equal(backing_submit(backing, requests, 3), -numbers[i]);
    for (unsigned r = 0; r < 3; r++)
      assert_int_equal(requests[r].result, -numbers[i]);
    assert_int_equal(backing_read(backing, bytes, BLOCK, 0), -numbers[i]);
    assert_int_equal(backing_zero(backing, BLOCK, 0), -numbers[i]);
    assert_int_equal(backing_allocate(backing, BLOCK, 0), -numbers[i]);
    no_faults(NULL);
    assert_int_equal(backing_write(backing, bytes, BLOCK, 0), 0);
  }
  free(bytes);
  backing_close(backing);
}

/* One that failed, and who has its token sees it; after that it is good again. */
static void failing_flush(void **state) {
  (void)state;
  unlink(in_folder("flush"));
  struct backing *backing = must_open(in_folder("flush"), false, MIB);
  uint64_t losses = backing_losses(backing);
  must_write(backing, BLOCK, 0, 1);
  faults.sync = EIO;
  assert_int_equal(backing_flush(backing), -EIO);
  faults.sync = 0;
  assert_int_equal(backing_flush(backing), 0);
  assert_int_not_equal(backing_losses(backing), losses);
  losses = backing_losses(backing);
  must_write(backing, BLOCK, 0, 1);
  assert_int_equal(backing_flush(backing), 0);
  assert_int_equal(backing_losses(backing), losses);
  must_write(backing, BLOCK, 0, 1);
  backing_note_loss(backing);
  assert_int_equal(backing_flush(backing), -EIO);
  assert_int_equal(backing_flush(backing), 0);
  backing_note_loss(backing); /* nothing was written */
  assert_int_equal(backing_flush(backing), 0);
  backing_close(backing);
}

/* A file that is cut short under us. */
static void cut_short(void **state) {
  (void)state;
  unlink(in_folder("cut"));
  struct backing *backing = must_open(in_folder("cut"), false, MIB);
  assert_int_equal(truncate(in_folder("cut"), BLOCK), 0);
  unsigned char *bytes = make_bytes(2 * BLOCK, 1);
  assert_int_equal(backing_read(backing, bytes, 2 * BLOCK, 0), -EIO);
  assert_int_equal(backing_read(backing, bytes, BLOCK, 8 * BLOCK), -EIO);
  free(bytes);
  backing_close(backing);
}

static void refused_places(void **state) {
  (void)state;
  const char *path = in_folder("place");
  must_refuse(folder, false, MIB, -EISDIR, "is a folder");
  must_refuse(folder, true, MIB, -EISDIR, "is a folder");
  must_refuse("", false, MIB, -EINVAL, "is empty");
  must_refuse("/dev/null", false, MIB, -EINVAL, "a character device");
  assert_int_equal(mkfifo(path, 0600), 0);
  must_refuse(path, false, MIB, -EINVAL, "a FIFO");
  must_refuse(path, true, 0, -EINVAL, "a FIFO");
  unlink(path);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  must_refuse(path, false, MIB, -EINVAL, "a socket");
  close(fd);
  unlink(path);
  must_refuse(path, true, MIB, -ENOENT, "does not exist");
  must_refuse(path, false, 0, -ENOENT, "no size is given");
  assert_int_not_equal(access(path, F_OK), 0);
  must_refuse(in_folder("none/image"), false, MIB, -ENOENT, "No such file");
  make_file(path, MIB);
  must_refuse(path, false, MIB + 1, -ENOSPC, "has 1048576 bytes, and the volume 1048577");
  must_refuse(path, false, MIB + 1, -ENOSPC, "truncate -s 1048577 would");
  struct stat status;
  assert_int_equal(stat(path, &status), 0);
  assert_int_equal(status.st_size, MIB);
  must_refuse(in_folder("huge"), false, UINT64_MAX, -EINVAL, "no file can");
  faults.truncate = EFBIG;
  must_refuse(in_folder("huge"), false, MIB, -EFBIG, "allows no file of 1048576 bytes");
  assert_int_not_equal(access(in_folder("huge"), F_OK), 0);
  faults.truncate = EIO;
  must_refuse(in_folder("huge"), false, MIB, -EIO, "cannot be made");
}

static void refused_folders(void **state) {
  (void)state;
  must_refuse_spill(in_folder("missing"), MIB, -ENOENT, "does not exist; make it");
  make_file(in_folder("file"), 0);
  must_refuse_spill(in_folder("file"), MIB, -ENOTDIR, "is not a folder");
  must_refuse_spill(in_folder("file/below"), MIB, -ENOTDIR, "cannot be used");
  must_refuse_spill(folder, (uint64_t)INT64_MAX, -EFBIG, "cannot hold a file of");
  faults.truncate = EFBIG;
  must_refuse_spill(folder, MIB, -EFBIG, "cannot hold a file of 1048576 bytes");
  faults.truncate = EIO;
  must_refuse_spill(folder, MIB, -EIO, "cannot be made 1048576 bytes large");
  faults.tmpfile = EROFS;
  must_refuse_spill(folder, MIB, -EROFS, "is not writable");
}

static void limited_size(void **state) {
  (void)state;
  struct rlimit limit, less;
  getrlimit(RLIMIT_FSIZE, &limit);
  less = limit;
  less.rlim_cur = MIB;
  make_file(in_folder("large"), 2 * MIB);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &less), 0);
  must_refuse_spill(folder, 2 * MIB, -EFBIG, "ulimit -f");
  must_refuse(in_folder("limited"), false, 2 * MIB, -EFBIG, "ulimit -f");
  must_refuse(in_folder("large"), false, 2 * MIB, -EFBIG, "ulimit -f");
  backing_close(must_open(in_folder("large"), true, 0));
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* ------------------------------------------------------------------- in a child */

/* Run a function in a process of its own; if that may be, as nobody. */
static bool passes_in_child(void (*function)(void *), void *argument, bool as_nobody) {
  pid_t pid = fork();
  if (pid == 0) {
    if (as_nobody && (setgid(65534) < 0 || setuid(65534) < 0))
      _exit(1);
    function(argument);
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void expect_open(const char *place, bool read_only, int expected, const char *sentence) {
  char problem[BACKING_PROBLEM] = "";
  struct backing *backing = NULL;
  int result = backing_open(place, read_only, 0, &backing, problem);
  if (result != expected || !strstr(problem, sentence)) {
    fprintf(stderr, "%s: %d: %s\n", place, result, problem);
    _exit(1);
  }
  backing_close(backing);
}

static void open_as_somebody_else(void *argument) {
  char problem[BACKING_PROBLEM], link[64];
  struct backing *backing;
  expect_open(in_folder("theirs"), false, -EACCES, "it belongs to user 0, and its mode is 640");
  expect_open(in_folder("theirs"), true, -EACCES, "cannot be opened for reading: it belongs");
  if (backing_open_spill(folder, MIB, &backing, problem) != -EACCES ||
      !strstr(problem, "is not writable"))
    _exit(1);
  for (int fd = 3; fd < 64; fd++) {
    snprintf(link, sizeof link, "/proc/%d/fd/%d", *(pid_t *)argument, fd);
    if (open(link, O_RDONLY) >= 0)
      _exit(1);
  }
}

static void somebody_elses(void **state) {
  (void)state;
  pid_t pid = getpid();
  if (getuid() != 0)
    skip();
  make_file(in_folder("theirs"), MIB);
  chmod(in_folder("theirs"), 0640);
  chmod(folder, 0755);
  struct backing *backing = must_open_spill(folder, MIB);
  assert_true(passes_in_child(open_as_somebody_else, &pid, true));
  backing_close(backing);
}

static void expect_in_use(void *argument) {
  (void)argument;
  expect_open(in_folder("locked"), false, -EBUSY, "is in use");
  expect_open(in_folder("locked"), true, -EBUSY, "is in use");
}

static void expect_base_only(void *argument) {
  (void)argument;
  expect_open(in_folder("locked"), false, -EBUSY, "is in use");
  expect_open(in_folder("locked"), true, 0, "");
}

static void locks(void **state) {
  (void)state;
  make_file(in_folder("locked"), MIB);
  struct backing *backing = must_open(in_folder("locked"), false, 0);
  assert_true(passes_in_child(expect_in_use, NULL, false));
  expect_in_use(NULL); /* in this process too */
  backing_close(backing);
  backing = must_open(in_folder("locked"), true, 0);
  assert_true(passes_in_child(expect_base_only, NULL, false));
  expect_base_only(NULL);
  backing_close(backing);
  backing_close(must_open(in_folder("locked"), false, 0));
}

static void open_and_go(void *argument) {
  struct backing **unused = argument;
  char problem[BACKING_PROBLEM];
  int ready[2];
  (void)unused;
  if (backing_open(in_folder("locked"), false, 0, unused, problem) < 0 || pipe(ready) < 0)
    _exit(1);
  if (fork() > 0)
    return; /* the parent ends, as a server's that goes to the background */
  alarm(20);
  while (access(in_folder("stop"), F_OK) != 0)
    usleep(2000);
  unsigned char *bytes = make_bytes(4 * BLOCK, 3);
  struct backing_request requests[2] = {
      {.operation = BACKING_WRITE, .buffer = bytes, .count = BLOCK, .offset = 0},
      {.operation = BACKING_WRITE, .buffer = bytes, .count = BLOCK, .offset = 9 * BLOCK}};
  _exit(backing_submit(*unused, requests, 2) == 0 ? 0 : 1);
}

/* The lock is the child's too, and so is what is read and written. */
static void survives_fork(void **state) {
  (void)state;
  struct backing *backing = NULL;
  make_file(in_folder("locked"), MIB);
  unlink(in_folder("stop"));
  assert_true(passes_in_child(open_and_go, &backing, false));
  expect_in_use(NULL);
  make_file(in_folder("stop"), 0);
  char problem[BACKING_PROBLEM];
  for (int i = 0; i < 500 && backing_open(in_folder("locked"), false, 0, &backing, problem); i++)
    usleep(2000);
  assert_non_null(backing);
  must_hold(backing, BLOCK, 9 * BLOCK, 3);
  backing_close(backing);
}

/* The kernel's queues stay behind; the child makes its own. */
static void batch_in_child(void *argument) {
  exercise(argument);
  unsigned before = faults.batches;
  exercise(argument);
  if (faults.batches - before < 2) /* it was given up */
    _exit(1);
}

static void batches_survive_fork(void **state) {
  (void)state;
  unlink(in_folder("forked"));
  struct backing *backing = must_open(in_folder("forked"), false, 32 * MIB);
  exercise(backing);
  unsigned before = faults.batches;
  assert_true(passes_in_child(batch_in_child, backing, false));
  exercise(backing);
  assert_true(faults.batches > before);
  backing_close(backing);
}

static bool run_quietly(const char *format, const char *path) {
  char command[512];
  snprintf(command, sizeof command, format, path);
  return system(command) == 0;
}

/* QEMU's programs, if there are any, keep to these locks too. */
static void locks_and_qemu(void **state) {
  (void)state;
  static const char write[] = "qemu-io -f raw -c 'write 0 4k' '%s' >/dev/null 2>&1";
  static const char read[] = "qemu-io -r -f raw -c 'read 0 4k' '%s' >/dev/null 2>&1";
  const char *path = in_folder("shared");
  make_file(path, MIB);
  if (!run_quietly(write, path))
    skip();
  struct backing *backing = must_open(path, false, 0);
  assert_false(run_quietly(write, path));
  assert_false(run_quietly(read, path));
  backing_close(backing);
  backing = must_open(path, true, 0);
  assert_false(run_quietly(write, path));
  assert_true(run_quietly(read, path));
  backing_close(backing);
  assert_true(run_quietly(write, path));
}

/* What QEMU locks when it has an image open for writing. */
static void locked_by_writer(void **state) {
  (void)state;
  make_file(in_folder("locked"), MIB);
  int fd = open(in_folder("locked"), O_RDWR);
  struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 2};
  assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
  expect_in_use(NULL);
  lock.l_type = F_UNLCK;
  lock.l_start = 101;
  lock.l_len = 1;
  assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
  expect_base_only(NULL);
  close(fd);
}

static void uris(void **state) {
  (void)state;
  assert_true(backing_is_uri("nbd://host"));
  assert_true(backing_is_uri("NBDS+UNIX:///x?socket=y"));
  assert_true(backing_is_uri("nbd+vsock://2"));
  assert_false(backing_is_uri("nbd:host"));
  assert_false(backing_is_uri("./nbd://host"));
  assert_false(backing_is_uri("nbd"));
}

#define backing_test(function) cmocka_unit_test_setup(function, no_faults)

int main(void) {
  const struct CMUnitTest tests[] = {
      backing_test(image),
      backing_test(image_through_link),
      backing_test(odd_sizes),
      backing_test(base),
      backing_test(spill),
      backing_test(spill_without_tmpfile),
      backing_test(without_direct),
      backing_test(direct_refused_later),
      backing_test(without_holes),
      backing_test(extents),
      backing_test(telling_holes),
      backing_test(resizing),
      backing_test(batches),
      backing_test(against_model),
      backing_test(piecemeal),
      backing_test(errors),
      backing_test(failing_flush),
      backing_test(cut_short),
      backing_test(refused_places),
      backing_test(refused_folders),
      backing_test(limited_size),
      backing_test(somebody_elses),
      backing_test(locks),
      backing_test(survives_fork),
      backing_test(batches_survive_fork),
      backing_test(locks_and_qemu),
      backing_test(locked_by_writer),
      backing_test(uris),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
