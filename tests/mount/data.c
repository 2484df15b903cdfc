/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What files hold, against a model in memory: reads, writes, mappings, truncations, holes,
 * allocations, copies, direct I/O, syncs, replaced and removed files, dropped caches and remounts,
 * in random order, by several processes with files of their own.
 *
 *     data [--operations N] [--processes N] [--files N] [--size BYTES] [--rounds N] [--seed N]
 *          [--remount COMMAND] [--without OPERATION]... [--verbose] DIRECTORY
 *
 * --operations is for each process.  They are split into rounds; between two of them caches are
 * dropped, and the command (a shell's) may unmount and mount again.  What a mount does not support
 * is counted, not failed.  A failure prints the seed and what was done last.
 */

#include "../casefs/dice.h"
#include "stress.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
  PAGE = 4096,
  MAX_FILES = 16,
  MAX_PROCESSES = 64,
  NAME = 32,
};

enum handle { CACHED, APPEND, DIRECT, HANDLES };

/* A file and what it must hold.  All that happens to it happens from base on: what is before is a
 * hole, so that offsets can be large. */
struct file {
  char name[NAME];
  uint64_t base, size;
  unsigned char *bytes;
  int handles[HANDLES];
};

enum operation {
  READ,
  WRITE,
  WRITE_APPEND,
  MAP_READ,
  MAP_WRITE,
  TRUNCATE,
  PUNCH,
  ZERO,
  ALLOCATE,
  COPY,
  SEEK,
  DIRECT_READ,
  DIRECT_WRITE,
  SYNC,
  REOPEN,
  FORGET,
  STATUS,
  REPLACE,
  REMOVE,
  COMPARE,
  OPERATIONS
};

static struct {
  const char *name;
  unsigned weight;
} kinds[OPERATIONS] = {
    [READ] = {"read", 120},
    [WRITE] = {"write", 150},
    [WRITE_APPEND] = {"append", 40},
    [MAP_READ] = {"map-read", 60},
    [MAP_WRITE] = {"map-write", 60},
    [TRUNCATE] = {"truncate", 60},
    [PUNCH] = {"punch", 50},
    [ZERO] = {"zero", 40},
    [ALLOCATE] = {"allocate", 40},
    [COPY] = {"copy", 60},
    [SEEK] = {"seek", 60},
    [DIRECT_READ] = {"direct-read", 40},
    [DIRECT_WRITE] = {"direct-write", 40},
    [SYNC] = {"sync", 15},
    [REOPEN] = {"reopen", 20},
    [FORGET] = {"forget", 20},
    [STATUS] = {"status", 40},
    [REPLACE] = {"replace", 6},
    [REMOVE] = {"remove", 6},
    [COMPARE] = {"compare", 10},
};

struct counts {
  uint64_t done[OPERATIONS], unsupported[OPERATIONS];
};

struct settings {
  const char *directory, *remount;
  uint64_t operations, size, seed, rounds;
  unsigned processes, files;
  bool verbose;
};

static struct settings settings = {
    .operations = 20000, .size = 256 << 10, .seed = 1, .rounds = 4, .processes = 4, .files = 3};

/* Of one process. */
struct run {
  unsigned number;
  struct dice dice;
  struct file *files;
  struct counts *counts;
  unsigned char *buffer; /* of settings.size, aligned to pages */
  uint64_t step;
};

struct everything {
  struct file files[MAX_PROCESSES][MAX_FILES];
  struct counts counts[MAX_PROCESSES];
  uint64_t round;
};

/* ------------------------------------------------------------------ handles */

static void close_file(struct file *file) {
  for (int i = 0; i < HANDLES; i++) {
    if (file->handles[i] >= 0 && close(file->handles[i]) != 0)
      fail_errno("closing %s", file->name);
    file->handles[i] = -1;
  }
}

static int open_handle(struct file *file, int flags) {
  int fd = open(file->name, O_RDWR | flags);
  if (fd < 0 && !(errno == EINVAL && flags == O_DIRECT))
    fail_errno("opening %s", file->name);
  return fd;
}

static void open_file(struct file *file) {
  file->handles[CACHED] = open_handle(file, 0);
  file->handles[APPEND] = open_handle(file, O_APPEND);
  file->handles[DIRECT] = open_handle(file, O_DIRECT);
}

/* An empty file of that name, which must not exist. */
static void make_file(struct file *file) {
  int fd = open(file->name, O_RDWR | O_CREAT | O_EXCL, 0600);
  if (fd < 0)
    fail_errno("making %s", file->name);
  if (file->base && ftruncate(fd, (off_t)file->base) != 0)
    fail_errno("truncating %s to %" PRIu64, file->name, file->base);
  if (close(fd) != 0)
    fail_errno("closing %s", file->name);
  file->size = 0;
}

static off_t place(const struct file *file, uint64_t offset) {
  return (off_t)(file->base + offset);
}

/* --------------------------------------------------------------- comparing */

static void differs(const struct file *file, const char *how, uint64_t offset,
                    const unsigned char *found, uint64_t count) {
  uint64_t at = 0;
  while (found[at] == file->bytes[offset + at])
    at++;
  uint64_t last = count - 1;
  while (found[last] == file->bytes[offset + last])
    last--;
  fail("%s of %s (base %" PRIu64 ", %" PRIu64 " bytes): from %" PRIu64 " to %" PRIu64
       " wrong, first byte %02x instead of %02x",
       how, file->name, file->base, file->size, offset + at, offset + last, found[at],
       file->bytes[offset + at]);
}

static void compare(const struct file *file, const char *how, uint64_t offset,
                    const unsigned char *found, uint64_t count) {
  if (count && memcmp(found, file->bytes + offset, count) != 0)
    differs(file, how, offset, found, count);
}

static void check_read(struct run *run, struct file *file, int fd, const char *how, uint64_t offset,
                       uint64_t count) {
  uint64_t rest = offset < file->size ? file->size - offset : 0;
  uint64_t wanted = count < rest ? count : rest;
  ssize_t got = pread(fd, run->buffer, count, place(file, offset));
  if (got < 0)
    fail_errno("%s of %" PRIu64 " at %" PRIu64 " of %s", how, count, offset, file->name);
  if ((uint64_t)got != wanted)
    fail("%s of %" PRIu64 " at %" PRIu64 " of %s (%" PRIu64 " bytes) gave %zd bytes", how, count,
         offset, file->name, file->size, got);
  compare(file, how, offset, run->buffer, wanted);
}

static void check_size(struct file *file) {
  struct stat status;
  if (fstat(file->handles[CACHED], &status) != 0)
    fail_errno("status of %s", file->name);
  if ((uint64_t)status.st_size != file->base + file->size)
    fail("%s has %" PRIu64 " bytes, not %" PRIu64, file->name, (uint64_t)status.st_size,
         file->base + file->size);
  if (stat(file->name, &status) != 0 || (uint64_t)status.st_size != file->base + file->size)
    fail("%s has another size by name", file->name);
}

static void check_all(struct run *run, struct file *file) {
  check_size(file);
  check_read(run, file, file->handles[CACHED], "comparison", 0, settings.size);
}

/* ------------------------------------------------------------------ ranges */

/* Mostly near a boundary of pages, or anywhere. */
static uint64_t choose_offset(struct dice *dice, uint64_t below) {
  uint64_t offset = dice_below(dice, below);
  switch (dice_below(dice, 4)) {
  case 0:
    return offset / PAGE * PAGE;
  case 1:
    offset = offset / PAGE * PAGE + dice_below(dice, 7);
    return offset < 3 ? 0 : offset - 3 < below ? offset - 3 : below - 1;
  default:
    return offset;
  }
}

static uint64_t choose_count(struct dice *dice, uint64_t most) {
  static const uint64_t limits[] = {16, 600, 2 * PAGE, 8 * PAGE, 64 * PAGE, UINT64_MAX};
  uint64_t limit = limits[dice_below(dice, 6)];
  if (limit > most)
    limit = most;
  uint64_t count = 1 + dice_below(dice, limit);
  return dice_below(dice, 3) == 0 && count > PAGE ? count / PAGE * PAGE : count;
}

static struct file *choose_file(struct run *run) {
  return &run->files[dice_below(&run->dice, settings.files)];
}

/* The model's side of writing; what is between the old end and the range is zeros. */
static void model_write(struct file *file, uint64_t offset, const unsigned char *bytes,
                        uint64_t count) {
  if (offset > file->size)
    memset(file->bytes + file->size, 0, offset - file->size);
  memmove(file->bytes + offset, bytes, count);
  if (offset + count > file->size)
    file->size = offset + count;
}

static void model_resize(struct file *file, uint64_t size) {
  if (size > file->size)
    memset(file->bytes + file->size, 0, size - file->size);
  file->size = size;
}

/* New bytes for a write: mostly noise, sometimes zeros. */
static void fill(struct run *run, uint64_t count) {
  if (dice_below(&run->dice, 12) == 0)
    memset(run->buffer, 0, count);
  else
    dice_fill(run->buffer, count, dice_roll(&run->dice));
}

/* -------------------------------------------------------------- operations */

/* Whether the operation is to be counted as done; not where it is unsupported. */
typedef bool operate(struct run *run, struct file *file);

static bool do_read(struct run *run, struct file *file) {
  uint64_t offset = choose_offset(&run->dice, settings.size);
  uint64_t count = choose_count(&run->dice, settings.size);
  enum handle handle = dice_below(&run->dice, 4) ? CACHED : APPEND;
  note("read %s %" PRIu64 " + %" PRIu64, file->name, offset, count);
  check_read(run, file, file->handles[handle], "read", offset, count);
  return true;
}

static void expect_written(const char *how, const struct file *file, ssize_t got, uint64_t count) {
  if (got < 0)
    fail_errno("%s of %" PRIu64 " bytes to %s", how, count, file->name);
  if ((uint64_t)got != count)
    fail("%s of %" PRIu64 " bytes to %s wrote %zd", how, count, file->name, got);
}

static bool do_write(struct run *run, struct file *file) {
  uint64_t offset = choose_offset(&run->dice, settings.size);
  uint64_t count = choose_count(&run->dice, settings.size - offset);
  note("write %s %" PRIu64 " + %" PRIu64, file->name, offset, count);
  fill(run, count);
  uint64_t part = dice_below(&run->dice, count + 1);
  struct iovec parts[] = {{run->buffer, part}, {run->buffer + part, count - part}};
  ssize_t got = dice_below(&run->dice, 2)
                    ? pwritev(file->handles[CACHED], parts, 2, place(file, offset))
                    : pwrite(file->handles[CACHED], run->buffer, count, place(file, offset));
  expect_written("write", file, got, count);
  model_write(file, offset, run->buffer, count);
  return true;
}

static bool do_append(struct run *run, struct file *file) {
  if (file->size == settings.size)
    return true;
  uint64_t count = choose_count(&run->dice, settings.size - file->size);
  note("append %s %" PRIu64, file->name, count);
  fill(run, count);
  expect_written("append", file, write(file->handles[APPEND], run->buffer, count), count);
  model_write(file, file->size, run->buffer, count);
  return true;
}

/* A part of the file mapped whole pages wide; *start is where the mapping begins in the file. */
static unsigned char *map(struct file *file, uint64_t offset, uint64_t count, uint64_t *start,
                          uint64_t *length) {
  *start = offset / PAGE * PAGE;
  *length = (offset + count - *start + PAGE - 1) / PAGE * PAGE;
  unsigned char *mapping = mmap(NULL, *length, PROT_READ | PROT_WRITE, MAP_SHARED,
                                file->handles[CACHED], place(file, *start));
  if (mapping == MAP_FAILED)
    fail_errno("mapping %s", file->name);
  return mapping;
}

static bool do_map_read(struct run *run, struct file *file) {
  if (file->size == 0)
    return true;
  uint64_t offset = choose_offset(&run->dice, file->size), start, length;
  uint64_t count = choose_count(&run->dice, file->size - offset);
  note("map-read %s %" PRIu64 " + %" PRIu64, file->name, offset, count);
  unsigned char *mapping = map(file, offset, count, &start, &length);
  uint64_t inside = file->size - start < length ? file->size - start : length;
  compare(file, "mapping", start, mapping, inside);
  for (uint64_t i = inside; i < length; i++)
    if (mapping[i] != 0)
      fail("%s is mapped with %02x behind its end at %" PRIu64, file->name, mapping[i], start + i);
  munmap(mapping, length);
  return true;
}

static bool do_map_write(struct run *run, struct file *file) {
  if (file->size == 0)
    return true;
  uint64_t offset = choose_offset(&run->dice, file->size), start, length;
  uint64_t count = choose_count(&run->dice, file->size - offset);
  static const int how[] = {0, 0, MS_ASYNC, MS_SYNC};
  int sync = how[dice_below(&run->dice, 4)];
  note("map-write %s %" PRIu64 " + %" PRIu64 " msync %d", file->name, offset, count, sync);
  fill(run, count);
  unsigned char *mapping = map(file, offset, count, &start, &length);
  memcpy(mapping + (offset - start), run->buffer, count);
  if (sync && msync(mapping, length, sync) != 0)
    fail_errno("msync of %s", file->name);
  munmap(mapping, length);
  model_write(file, offset, run->buffer, count);
  return true;
}

static bool do_truncate(struct run *run, struct file *file) {
  uint64_t size = choose_offset(&run->dice, settings.size + 1);
  if (dice_below(&run->dice, 8) == 0)
    size = 0;
  note("truncate %s %" PRIu64 " -> %" PRIu64, file->name, file->size, size);
  int error = dice_below(&run->dice, 3) ? ftruncate(file->handles[CACHED], place(file, size))
                                        : truncate(file->name, place(file, size));
  if (error)
    fail_errno("truncating %s from %" PRIu64 " to %" PRIu64, file->name, file->size, size);
  model_resize(file, size);
  return true;
}

/* One kind of fallocate; false if there is no such kind here. */
static bool range_operation(struct run *run, struct file *file, const char *name, int mode) {
  uint64_t offset = choose_offset(&run->dice, settings.size);
  uint64_t count = choose_count(&run->dice, settings.size - offset);
  note("%s mode %d %s (%" PRIu64 ") %" PRIu64 " + %" PRIu64, name, mode, file->name, file->size,
       offset, count);
  if (fallocate(file->handles[CACHED], mode, place(file, offset), (off_t)count) != 0) {
    if (errno == EOPNOTSUPP)
      return false;
    fail_errno("%s of %s", name, file->name);
  }
  if (!(mode & FALLOC_FL_KEEP_SIZE) && offset + count > file->size)
    model_resize(file, offset + count);
  if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && offset < file->size) {
    uint64_t rest = file->size - offset;
    memset(file->bytes + offset, 0, count < rest ? count : rest);
  }
  return true;
}

static bool do_punch(struct run *run, struct file *file) {
  return range_operation(run, file, "punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
}

static bool do_zero(struct run *run, struct file *file) {
  int keep = dice_below(&run->dice, 2) ? FALLOC_FL_KEEP_SIZE : 0;
  return range_operation(run, file, "zero", FALLOC_FL_ZERO_RANGE | keep);
}

static bool do_allocate(struct run *run, struct file *file) {
  int keep = dice_below(&run->dice, 2) ? FALLOC_FL_KEEP_SIZE : 0;
  return range_operation(run, file, "allocate", keep);
}

/* The whole range, in as many calls as it takes. */
static bool copy_range(const struct file *from, uint64_t source, const struct file *to,
                       uint64_t target, uint64_t count) {
  off_t in = place(from, source), out = place(to, target);
  for (uint64_t done = 0; done < count;) {
    ssize_t got =
        copy_file_range(from->handles[CACHED], &in, to->handles[CACHED], &out, count - done, 0);
    if (got < 0 && errno == EOPNOTSUPP && done == 0)
      return false;
    if (got < 0)
      fail_errno("copying %" PRIu64 " bytes from %s to %s", count, from->name, to->name);
    if (got == 0)
      fail("copying %" PRIu64 " bytes from %s to %s stopped after %" PRIu64, count, from->name,
           to->name, done);
    done += (uint64_t)got;
  }
  return true;
}

static bool do_copy(struct run *run, struct file *to) {
  const struct file *from = choose_file(run);
  if (from->size == 0)
    return true;
  uint64_t source = choose_offset(&run->dice, from->size);
  uint64_t target = choose_offset(&run->dice, settings.size);
  if (dice_below(&run->dice, 2)) { /* where blocks could be shared */
    source = source / PAGE * PAGE;
    target = target / PAGE * PAGE;
  }
  uint64_t most =
      from->size - source < settings.size - target ? from->size - source : settings.size - target;
  uint64_t count = choose_count(&run->dice, most);
  note("copy %s %" PRIu64 " + %" PRIu64 " -> %s %" PRIu64, from->name, source, count, to->name,
       target);
  if (from == to && source < target + count && target < source + count) {
    off_t in = place(from, source), out = place(to, target);
    if (copy_file_range(from->handles[CACHED], &in, to->handles[CACHED], &out, count, 0) != -1 ||
        errno != EINVAL)
      fail("copying a range of %s over itself was not refused with EINVAL", to->name);
    return true;
  }
  if (!copy_range(from, source, to, target, count))
    return false;
  model_write(to, target, from->bytes + source, count);
  return true;
}

static void expect_zeros(const struct file *file, uint64_t from, uint64_t to) {
  for (uint64_t i = from; i < to; i++)
    if (file->bytes[i] != 0)
      fail("%s has data at %" PRIu64 ", which SEEK says is a hole from %" PRIu64 " to %" PRIu64,
           file->name, i, from, to);
}

/* lseek, with offsets as in the model; -1 for ENXIO. */
static int64_t seek(struct file *file, uint64_t offset, int whence) {
  off_t found = lseek(file->handles[CACHED], place(file, offset), whence);
  if (found < 0 && errno != ENXIO)
    fail_errno("seeking in %s", file->name);
  if (found >= 0 &&
      ((uint64_t)found < file->base + offset || (uint64_t)found > file->base + file->size))
    fail("%s from %" PRIu64 " of %s led to %" PRIu64,
         whence == SEEK_DATA ? "SEEK_DATA" : "SEEK_HOLE", offset, file->name,
         (uint64_t)found - file->base);
  return found < 0 ? -1 : (int64_t)((uint64_t)found - file->base);
}

/* From there to the end, data and holes in turn; holes must be zeros. */
static bool do_seek(struct run *run, struct file *file) {
  uint64_t offset = choose_offset(&run->dice, settings.size);
  note("seek %s (%" PRIu64 ") from %" PRIu64, file->name, file->size, offset);
  if (offset >= file->size) {
    if (seek(file, offset, SEEK_DATA) != -1 || seek(file, offset, SEEK_HOLE) != -1)
      fail("seeking from %" PRIu64 ", behind the end of %s, did not give ENXIO", offset,
           file->name);
    return true;
  }
  for (unsigned stuck = 0; offset < file->size;) {
    int64_t data = seek(file, offset, SEEK_DATA);
    expect_zeros(file, offset, data < 0 ? file->size : (uint64_t)data);
    if (data < 0)
      break;
    /* Zeros that were data may have become a hole meanwhile, but not for ever. */
    int64_t hole = seek(file, (uint64_t)data, SEEK_HOLE);
    stuck = hole > data ? 0 : stuck + 1;
    if (hole < data || stuck > 5)
      fail("data of %s at %" PRId64 " ends at %" PRId64, file->name, data, hole);
    offset = (uint64_t)hole;
  }
  return true;
}

static bool do_direct_read(struct run *run, struct file *file) {
  uint64_t offset = choose_offset(&run->dice, settings.size) / PAGE * PAGE;
  uint64_t count = (choose_count(&run->dice, settings.size) + PAGE - 1) / PAGE * PAGE;
  note("direct-read %s %" PRIu64 " + %" PRIu64, file->name, offset, count);
  if (file->handles[DIRECT] < 0)
    return false;
  check_read(run, file, file->handles[DIRECT], "direct read", offset, count);
  return true;
}

static bool do_direct_write(struct run *run, struct file *file) {
  uint64_t offset = choose_offset(&run->dice, settings.size) / PAGE * PAGE;
  uint64_t most = settings.size - offset;
  uint64_t count = (choose_count(&run->dice, most) + PAGE - 1) / PAGE * PAGE;
  note("direct-write %s %" PRIu64 " + %" PRIu64, file->name, offset, count);
  if (file->handles[DIRECT] < 0)
    return false;
  fill(run, count);
  expect_written("direct write", file,
                 pwrite(file->handles[DIRECT], run->buffer, count, place(file, offset)), count);
  model_write(file, offset, run->buffer, count);
  return true;
}

static bool do_sync(struct run *run, struct file *file) {
  uint64_t how = dice_below(&run->dice, 8);
  note("sync %s %" PRIu64, file->name, how);
  int fd = file->handles[CACHED];
  int error = how == 0   ? syncfs(fd)
              : how < 3  ? fsync(fd)
              : how == 3 ? sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE)
                         : fdatasync(fd);
  if (error)
    fail_errno("syncing %s", file->name);
  return true;
}

static bool do_reopen(struct run *run, struct file *file) {
  note("reopen %s", file->name);
  close_file(file);
  open_file(file);
  if (dice_below(&run->dice, 2))
    check_all(run, file);
  return true;
}

static bool do_forget(struct run *run, struct file *file) {
  bool sync = dice_below(&run->dice, 2), all = dice_below(&run->dice, 2000) == 0;
  note("forget %s%s%s", file->name, sync ? " synced" : "", all ? " and all caches" : "");
  if (sync && fdatasync(file->handles[CACHED]) != 0)
    fail_errno("syncing %s", file->name);
  if (posix_fadvise(file->handles[CACHED], 0, 0, POSIX_FADV_DONTNEED) != 0)
    fail("POSIX_FADV_DONTNEED of %s failed", file->name);
  if (all)
    drop_caches('3');
  return true;
}

static bool do_status(struct run *run, struct file *file) {
  (void)run;
  note("status %s", file->name);
  check_size(file);
  return true;
}

/* A new file takes the name; the old one, still open, keeps what it holds. */
static bool do_replace(struct run *run, struct file *file) {
  struct file fresh = *file;
  snprintf(fresh.name, NAME, "new%u", run->number);
  note("replace %s", file->name);
  make_file(&fresh);
  if (rename(fresh.name, file->name) != 0)
    fail_errno("renaming %s to %s", fresh.name, file->name);
  check_read(run, file, file->handles[CACHED], "read of the replaced file", 0, settings.size);
  close_file(file);
  file->size = 0;
  open_file(file);
  check_size(file);
  return true;
}

/* Without a name it can still be read and written; then it is made anew. */
static bool do_remove(struct run *run, struct file *file) {
  note("remove %s", file->name);
  if (unlink(file->name) != 0)
    fail_errno("removing %s", file->name);
  do_write(run, file);
  check_read(run, file, file->handles[CACHED], "read of the removed file", 0, settings.size);
  close_file(file);
  make_file(file);
  open_file(file);
  return true;
}

static bool do_compare(struct run *run, struct file *file) {
  note("compare %s", file->name);
  check_all(run, file);
  return true;
}

static operate *const operations[OPERATIONS] = {
    [READ] = do_read,
    [WRITE] = do_write,
    [WRITE_APPEND] = do_append,
    [MAP_READ] = do_map_read,
    [MAP_WRITE] = do_map_write,
    [TRUNCATE] = do_truncate,
    [PUNCH] = do_punch,
    [ZERO] = do_zero,
    [ALLOCATE] = do_allocate,
    [COPY] = do_copy,
    [SEEK] = do_seek,
    [DIRECT_READ] = do_direct_read,
    [DIRECT_WRITE] = do_direct_write,
    [SYNC] = do_sync,
    [REOPEN] = do_reopen,
    [FORGET] = do_forget,
    [STATUS] = do_status,
    [REPLACE] = do_replace,
    [REMOVE] = do_remove,
    [COMPARE] = do_compare,
};

/* ------------------------------------------------------------------- rounds */

static enum operation choose_operation(struct dice *dice) {
  static uint64_t total;
  if (total == 0)
    for (int i = 0; i < OPERATIONS; i++)
      total += kinds[i].weight;
  uint64_t chosen = dice_below(dice, total);
  int operation = 0;
  while (chosen >= kinds[operation].weight)
    chosen -= kinds[operation++].weight;
  return (enum operation)operation;
}

static void enter_directory(unsigned number) {
  char name[PATH_MAX];
  snprintf(name, sizeof name, "%s/data%u", settings.directory, number);
  if (chdir(name) != 0)
    fail_errno("entering %s", name);
}

static void operate_round(unsigned number, void *context) {
  struct everything *everything = context;
  struct run run = {
      .number = number, .files = everything->files[number], .counts = &everything->counts[number]};
  run.dice = dice_seed(dice_mix(settings.seed) + everything->round * MAX_PROCESSES + number);
  run.buffer = shared_memory(settings.size);
  enter_directory(number);
  for (unsigned i = 0; i < settings.files; i++) {
    open_file(&run.files[i]);
    check_all(&run, &run.files[i]);
  }
  for (run.step = 0; run.step < settings.operations / settings.rounds; run.step++) {
    enum operation kind = choose_operation(&run.dice);
    bool done = operations[kind](&run, choose_file(&run));
    run.counts->done[kind] += done;
    run.counts->unsupported[kind] += !done;
    if (settings.verbose && run.step % 10000 == 0)
      fprintf(stderr, "process %u: %" PRIu64 " operations\n", number, run.step);
  }
  for (unsigned i = 0; i < settings.files; i++) {
    check_all(&run, &run.files[i]);
    close_file(&run.files[i]);
  }
}

static void prepare(unsigned number, void *context) {
  static const uint64_t bases[] = {0, 0, 0, UINT64_C(3) << 30, (UINT64_C(1) << 40) + 5 * PAGE};
  struct everything *everything = context;
  char name[PATH_MAX];
  snprintf(name, sizeof name, "%s/data%u", settings.directory, number);
  remove_tree(name);
  if (mkdir(name, 0700) != 0)
    fail_errno("making %s", name);
  enter_directory(number);
  for (unsigned i = 0; i < settings.files; i++) {
    struct file *file = &everything->files[number][i];
    snprintf(file->name, NAME, "file%u", i);
    file->base = bases[(i + 3 * number) % 5];
    make_file(file);
  }
}

static void remount(void) {
  drop_caches('3');
  if (settings.remount && system(settings.remount) != 0)
    fail("'%s' failed", settings.remount);
}

static void report(const struct everything *everything, double seconds) {
  uint64_t total = 0;
  for (int kind = 0; kind < OPERATIONS; kind++) {
    uint64_t done = 0, unsupported = 0;
    for (unsigned i = 0; i < settings.processes; i++) {
      done += everything->counts[i].done[kind];
      unsupported += everything->counts[i].unsupported[kind];
    }
    total += done;
    if (unsupported)
      printf("data: %" PRIu64 " of %s are not supported here\n", unsupported, kinds[kind].name);
  }
  printf("data: %" PRIu64 " operations by %u processes in %" PRIu64
         " rounds, no difference (%.0f a second, seed %" PRIu64 ")\n",
         total, settings.processes, settings.rounds, (double)total / seconds, settings.seed);
}

static void leave_out(const char *name) {
  for (int kind = 0; kind < OPERATIONS; kind++)
    if (strcmp(kinds[kind].name, name) == 0) {
      kinds[kind].weight = 0;
      return;
    }
  fail("there is no operation '%s'", name);
}

static void parse(int argc, char **argv) {
  static const struct option options[] = {
      {"operations", required_argument, NULL, 'n'}, {"processes", required_argument, NULL, 'p'},
      {"files", required_argument, NULL, 'f'},      {"size", required_argument, NULL, 'b'},
      {"rounds", required_argument, NULL, 'r'},     {"seed", required_argument, NULL, 's'},
      {"remount", required_argument, NULL, 'm'},    {"verbose", no_argument, NULL, 'v'},
      {"without", required_argument, NULL, 'w'},    {0},
  };
  for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
    switch (option) {
    case 'n':
      settings.operations = number_argument(optarg);
      break;
    case 'p':
      settings.processes = (unsigned)number_argument(optarg);
      break;
    case 'f':
      settings.files = (unsigned)number_argument(optarg);
      break;
    case 'b':
      settings.size = number_argument(optarg) / PAGE * PAGE;
      break;
    case 'r':
      settings.rounds = number_argument(optarg);
      break;
    case 's':
      settings.seed = number_argument(optarg);
      break;
    case 'm':
      settings.remount = optarg;
      break;
    case 'w':
      leave_out(optarg);
      break;
    case 'v':
      settings.verbose = true;
      break;
    default:
      exit(2);
    }
  if (optind != argc - 1 || !settings.files || settings.files > MAX_FILES || !settings.processes ||
      settings.processes > MAX_PROCESSES || !settings.rounds || !settings.size) {
    fputs("usage: data [--operations N] [--processes N] [--files N] [--size BYTES] [--rounds N]\n"
          "            [--seed N] [--remount COMMAND] [--without OPERATION]...\n"
          "            [--verbose] DIRECTORY\n",
          stderr);
    exit(2);
  }
  settings.directory = argv[optind];
}

int main(int argc, char **argv) {
  parse(argc, argv);
  set_repeat("data --operations %" PRIu64 " --processes %u --files %u --size %" PRIu64
             " --rounds %" PRIu64 " --seed %" PRIu64 " %s",
             settings.operations, settings.processes, settings.files, settings.size,
             settings.rounds, settings.seed, settings.directory);
  struct everything *everything = shared_memory(sizeof *everything);
  for (unsigned i = 0; i < settings.processes; i++)
    for (unsigned file = 0; file < settings.files; file++)
      everything->files[i][file].bytes = shared_memory(settings.size);
  double start = seconds_now();
  if (run_processes(settings.processes, prepare, everything) != 0)
    return 1;
  for (; everything->round < settings.rounds; everything->round++) {
    if (run_processes(settings.processes, operate_round, everything) != 0)
      return 1;
    if (everything->round + 1 < settings.rounds)
      remount();
  }
  report(everything, seconds_now() - start);
  return 0;
}
