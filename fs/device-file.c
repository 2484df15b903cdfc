/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A device in a regular file or a block device.
 *
 * A writer holds an open-file-description lock on the whole file, so that neither another process
 * nor this one opens it for writing a second time; a block device is opened O_EXCL besides, which
 * also keeps it from being mounted.  A reader takes no lock.
 *
 * The kernel reports a failed write-back once, and may then call the lost pages clean.  So the
 * first failure of a sync is kept, and every later write and flush fails with it.
 *
 * Whatever keeps the host from storing bytes is -EIO here, also a full host file system: to casefs
 * -ENOSPC means that the volume is full, and that deleting helps.
 */

#include "device.h"

#include <fcntl.h>
#include <libgen.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
  ALIGNMENT = 4096,       /* of buffers, for O_DIRECT: enough for any sector size up to this */
  BOUNCE_SIZE = 1 << 20,  /* bytes copied at a time where the caller's buffer is not aligned */
  FILE_PARALLEL = 4,      /* the page cache answers; a few threads keep it busy */
  UNCACHED_PARALLEL = 16, /* the medium answers; its queue is deeper */
};

struct file_device {
  struct casefs_device device;
  int fd;
  bool block; /* a block device, not a regular file */
  bool direct;
  atomic_bool failed;     /* a sync failed; stays */
  atomic_bool no_discard; /* the system said that it cannot */
  atomic_bool no_dsync;   /* the system does not know RWF_DSYNC */
};

static struct file_device *of(struct casefs_device *device) {
  return (struct file_device *)device;
}

/* ----------------------------------------------------------------- requests */

/* One system call of a transfer: bytes done, or a negative errno. */
typedef ssize_t transfer_function(struct file_device *file, void *buffer, size_t count,
                                  uint64_t offset);

static ssize_t read_some(struct file_device *file, void *buffer, size_t count, uint64_t offset) {
  ssize_t done = pread(file->fd, buffer, count, (off_t)offset);
  return done < 0 ? -errno : done;
}

static ssize_t write_some(struct file_device *file, void *buffer, size_t count, uint64_t offset) {
  ssize_t done = pwrite(file->fd, buffer, count, (off_t)offset);
  return done < 0 ? -errno : done;
}

static ssize_t write_some_durably(struct file_device *file, void *buffer, size_t count,
                                  uint64_t offset) {
  struct iovec vector = {buffer, count};
  ssize_t done = pwritev2(file->fd, &vector, 1, (off_t)offset, RWF_DSYNC);
  return done < 0 ? -errno : done;
}

/* What casefs is told of an error of the host (see the top). */
static int device_error(int error) {
  return error == -ENOMEM ? -ENOMEM : -EIO;
}

/* The whole of a range.  No progress is an error: the file was cut short.  Returns the system's own
 * error. */
static int transfer(struct file_device *file, transfer_function *function, void *buffer,
                    size_t count, uint64_t offset) {
  unsigned char *at = buffer;
  while (count > 0) {
    ssize_t done = function(file, at, count, offset);
    if (done == -EINTR)
      continue;
    if (done <= 0)
      return done < 0 ? (int)done : -EIO;
    at += done;
    count -= (size_t)done;
    offset += (uint64_t)done;
  }
  return 0;
}

/* O_DIRECT with a buffer that is not aligned: through one that is. */
static int transfer_bounced(struct file_device *file, transfer_function *function, void *buffer,
                            size_t count, uint64_t offset) {
  bool reading = function == read_some;
  size_t size = count < BOUNCE_SIZE ? count : BOUNCE_SIZE;
  unsigned char *bounce = aligned_alloc(ALIGNMENT, size);
  if (!bounce)
    return -ENOMEM;
  int result = 0;
  for (size_t done = 0; done < count && result == 0; done += size) {
    if (size > count - done)
      size = count - done;
    if (!reading)
      memcpy(bounce, (unsigned char *)buffer + done, size);
    result = transfer(file, function, bounce, size, offset + done);
    if (reading && result == 0)
      memcpy((unsigned char *)buffer + done, bounce, size);
  }
  free(bounce);
  return result;
}

static int transfer_aligned(struct file_device *file, transfer_function *function, void *buffer,
                            size_t count, uint64_t offset) {
  if (file->direct && (uintptr_t)buffer % ALIGNMENT != 0)
    return transfer_bounced(file, function, buffer, count, offset);
  return transfer(file, function, buffer, count, offset);
}

static int sync_data(struct file_device *file) {
  int result;
  do
    result = fdatasync(file->fd);
  while (result < 0 && errno == EINTR);
  if (result < 0)
    atomic_store(&file->failed, true);
  return result < 0 ? -EIO : 0;
}

static bool is_unsupported(int error) {
  return error == -EOPNOTSUPP || error == -ENOSYS || error == -EINVAL;
}

static int write_durably(struct file_device *file, void *buffer, size_t count, uint64_t offset) {
  if (!atomic_load(&file->no_dsync)) {
    int result = transfer_aligned(file, write_some_durably, buffer, count, offset);
    if (!is_unsupported(result)) {
      if (result < 0 && result != -ENOMEM)
        atomic_store(&file->failed, true);
      return result;
    }
    atomic_store(&file->no_dsync, true);
  }
  int result = transfer_aligned(file, write_some, buffer, count, offset);
  return result < 0 ? result : sync_data(file);
}

static int file_read(struct casefs_device *device, void *buffer, size_t count, uint64_t offset) {
  int result = transfer_aligned(of(device), read_some, buffer, count, offset);
  return result < 0 ? device_error(result) : 0;
}

static int file_write(struct casefs_device *device, const void *buffer, size_t count,
                      uint64_t offset, bool durable) {
  struct file_device *file = of(device);
  void *bytes = (void *)(uintptr_t)buffer; /* only read */
  if (device->read_only)
    return -EROFS;
  if (atomic_load(&file->failed))
    return -EIO;
  int result = durable ? write_durably(file, bytes, count, offset)
                       : transfer_aligned(file, write_some, bytes, count, offset);
  return result < 0 ? device_error(result) : 0;
}

static int file_flush(struct casefs_device *device) {
  struct file_device *file = of(device);
  if (device->read_only)
    return 0;
  return atomic_load(&file->failed) ? -EIO : sync_data(file);
}

static int discard_range(struct file_device *file, uint64_t count, uint64_t offset) {
  uint64_t range[2] = {offset, count};
  int result;
  do
    result = file->block ? ioctl(file->fd, BLKDISCARD, range)
                         : fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                     (off_t)offset, (off_t)count);
  while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : 0;
}

static int file_discard(struct casefs_device *device, uint64_t count, uint64_t offset) {
  struct file_device *file = of(device);
  if (device->read_only)
    return -EROFS;
  if (atomic_load(&file->no_discard))
    return -EOPNOTSUPP;
  int result = discard_range(file, count, offset);
  if (result == -EOPNOTSUPP || result == -ENOSYS || result == -ENOTTY)
    atomic_store(&file->no_discard, true);
  return result;
}

/* Closing gives the lock up. */
static void file_close(struct casefs_device *device) {
  if (of(device)->fd >= 0)
    close(of(device)->fd);
  free(device);
}

static const struct casefs_device_operations file_operations = {
    .read = file_read,
    .write = file_write,
    .flush = file_flush,
    .discard = file_discard,
    .close = file_close,
};

/* ------------------------------------------------------------------ opening */

static const char *kind_of(mode_t mode) {
  switch (mode & S_IFMT) {
  case S_IFDIR:
    return "a directory";
  case S_IFIFO:
    return "a FIFO";
  case S_IFSOCK:
    return "a socket";
  case S_IFCHR:
    return "a character device";
  default:
    return "something else";
  }
}

static int check_kind(const char *path, mode_t mode, char **error) {
  if (S_ISREG(mode) || S_ISBLK(mode))
    return 0;
  return device_refuse(error, S_ISDIR(mode) ? -EISDIR : -EINVAL,
                       "'%s' is %s; a file, a block device, an NBD URI or mem:SIZE is needed", path,
                       kind_of(mode));
}

static int explain_open(const char *path, unsigned flags, bool block, int result, char **error) {
  if (block && result == -EBUSY)
    return device_refuse(error, result, "'%s' is in use: it is mounted, or open elsewhere", path);
  if (result == -EINVAL && flags & CASEFS_DEVICE_DIRECT)
    return device_refuse(error, result, "the file system of '%s' has no direct input and output",
                         path);
  return device_refuse(error, result, "cannot open '%s': %s", path, strerror(-result));
}

static int open_flags(unsigned flags) {
  /* O_NONBLOCK: what became a FIFO since it was looked at does not block. */
  int result = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  result |= flags & CASEFS_DEVICE_READ_ONLY ? O_RDONLY : O_RDWR;
  return result | (flags & CASEFS_DEVICE_DIRECT ? O_DIRECT : 0);
}

/* Open the descriptor; *created tells whether the file was made here. */
static int open_descriptor(struct file_device *file, const char *path, unsigned flags,
                           bool *created, char **error) {
  struct stat before, opened;
  bool exists = stat(path, &before) == 0;
  if (!exists && (errno != ENOENT || !(flags & CASEFS_DEVICE_CREATE)))
    return explain_open(path, flags, false, -errno, error);
  if (exists) {
    int result = check_kind(path, before.st_mode, error);
    if (result < 0)
      return result;
  }
  file->block = exists && S_ISBLK(before.st_mode);
  bool writing = !(flags & CASEFS_DEVICE_READ_ONLY);
  int excluding = file->block && writing ? O_EXCL : 0;
  file->fd = open(path, open_flags(flags) | (exists ? excluding : O_CREAT | O_EXCL), 0666);
  if (file->fd < 0)
    return explain_open(path, flags, file->block, -errno, error);
  *created = !exists;
  if (fstat(file->fd, &opened) < 0)
    return explain_open(path, flags, file->block, -errno, error);
  if (exists && (opened.st_mode & S_IFMT) != (before.st_mode & S_IFMT))
    return device_refuse(error, -EINVAL, "'%s' was replaced while it was opened", path);
  return 0;
}

/* Where the file system knows no locks, the volume's own mark of its owner has to do. */
static int lock_file(struct file_device *file, const char *path, char **error) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  if (fcntl(file->fd, F_OFD_SETLK, &lock) == 0) {
    file->device.exclusive = true;
    return 0;
  }
  if (errno == EAGAIN || errno == EACCES)
    return device_refuse(error, -EBUSY, "'%s' is open for writing elsewhere", path);
  if (errno == ENOLCK || errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)
    return 0;
  return device_refuse(error, -errno, "cannot lock '%s': %s", path, strerror(errno));
}

/* A write past RLIMIT_FSIZE would raise SIGXFSZ, in the middle of things and in somebody else's
 * program.  Said here instead. */
static int check_size_limit(const char *path, uint64_t size, char **error) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ||
      size <= limit.rlim_cur)
    return 0;
  return device_refuse(error, -EFBIG,
                       "'%s' of %llu bytes is larger than this process may write (ulimit -f)", path,
                       (unsigned long long)size);
}

/* A new name is durable when its directory is. */
static int sync_directory(const char *path) {
  char *copy = strdup(path);
  if (!copy)
    return -ENOMEM;
  int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free(copy);
  if (fd < 0)
    return -errno;
  int result = fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
  close(fd);
  return result;
}

/* A size that is on the medium before anything relies on it. */
static int extend_file(struct file_device *file, const char *path, uint64_t from, uint64_t size,
                       char **error) {
  if (size > CASEFS_MAX_SIZE)
    return device_refuse(error, -EINVAL, "'%s' cannot be that large", path);
  int result = check_size_limit(path, size, error);
  if (result < 0)
    return result;
  if (from < size && ftruncate(file->fd, (off_t)size) < 0)
    result = -errno;
  if (result == 0 && fsync(file->fd) < 0)
    result = -errno;
  if (result == 0)
    result = sync_directory(path);
  if (result < 0)
    device_refuse(error, result, "cannot give '%s' its size: %s", path, strerror(-result));
  return result;
}

static int find_size(struct file_device *file, const char *path, uint64_t *size, char **error) {
  struct stat status;
  int result = file->block ? ioctl(file->fd, BLKGETSIZE64, size) : fstat(file->fd, &status);
  if (result < 0)
    return device_refuse(error, -errno, "cannot find out the size of '%s': %s", path,
                         strerror(errno));
  if (!file->block)
    *size = (uint64_t)status.st_size;
  return 0;
}

static int prepare_file(struct file_device *file, const char *path, unsigned flags,
                        uint64_t create_size, char **error) {
  uint64_t size;
  bool writing = !(flags & CASEFS_DEVICE_READ_ONLY);
  int result = writing ? lock_file(file, path, error) : 0;
  if (result == 0)
    result = find_size(file, path, &size, error);
  if (result == 0 && flags & CASEFS_DEVICE_CREATE && !file->block) {
    result = extend_file(file, path, size, create_size, error);
    size = size < create_size ? create_size : size;
  } else if (result == 0 && writing && !file->block) {
    result = check_size_limit(path, size, error);
  }
  if (result < 0)
    return result;
  file->direct = flags & CASEFS_DEVICE_DIRECT;
  file->device.size = device_whole_blocks(size);
  file->device.read_only = !writing;
  file->device.parallel = file->block || file->direct ? UNCACHED_PARALLEL : FILE_PARALLEL;
  return 0;
}

int casefs_device_open_file(const char *path, unsigned flags, uint64_t create_size,
                            struct casefs_device **device, char **error) {
  if (error)
    *error = NULL;
  if (flags & ~(unsigned)DEVICE_FLAGS)
    return device_refuse(error, -EINVAL, "'%s' is to be opened with unknown flags", path);
  if (flags & CASEFS_DEVICE_READ_ONLY && flags & CASEFS_DEVICE_CREATE)
    return device_refuse(error, -EINVAL, "'%s' cannot be created for reading only", path);
  if (*path == '\0')
    return device_refuse(error, -EINVAL, "the name of the device is empty");
  struct file_device *file = calloc(1, sizeof *file);
  if (!file)
    return device_refuse(error, -ENOMEM, "cannot open '%s': %s", path, strerror(ENOMEM));
  file->device.operations = &file_operations;
  file->fd = -1;
  bool created = false;
  int result = open_descriptor(file, path, flags, &created, error);
  if (result == 0)
    result = prepare_file(file, path, flags, create_size, error);
  if (result < 0) {
    if (created && result != -EBUSY) /* else another process has already taken it up */
      unlink(path);
    file_close(&file->device);
    return result;
  }
  *device = &file->device;
  return 0;
}
