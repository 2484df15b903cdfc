/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A backing store in a regular file or a block device.
 *
 * Direct input and output, where the file system takes it: what is here is what
 * memory is not to hold, so the system's cache should not hold it either.  The
 * last bytes of a file whose size is not a multiple of the alignment go through
 * a second descriptor without O_DIRECT; the kernel keeps the two coherent.
 *
 * Locks are those of the open file description, so they survive a fork and end
 * with the last descriptor.  An image is locked exclusively, as a whole.  Of a base
 * those bytes are locked that QEMU locks when it reads an image and lets nobody else write
 * (block/file-posix.c there): so QEMU, other bases and this get along, while writers of any
 * kind are kept out.
 */

#include "backing-batch.h"
#include "backing-kind.h"
#include "backing-signal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
  /* What QEMU locks, from its RAW_LOCK_PERM_BASE and RAW_LOCK_SHARED_BASE. */
  QEMU_READS = 100,
  QEMU_WRITES = 101,
  QEMU_RESIZES = 103,
  QEMU_NO_WRITER = 201,
  QEMU_NO_RESIZER = 203,
};

struct file_backing {
  struct backing backing;
  int fd;
  int tail_fd; /* not O_DIRECT; -1 if not needed */
  bool block;  /* a block device */
  bool spill;
  atomic_bool direct;
  struct batch_contexts contexts;
  atomic_bool no_punch, no_zero_range; /* the system said that it cannot */
};

static struct file_backing *of(struct backing *backing) {
  return (struct file_backing *)backing;
}

static bool is_unsupported(int error) {
  return error == -EOPNOTSUPP || error == -ENOSYS || error == -ENOTTY;
}

/* ------------------------------------------------------------ reading, writing */

/* Go on without O_DIRECT. */
static void drop_direct(struct file_backing *file) {
  int flags = fcntl(file->fd, F_GETFL);
  if (flags >= 0)
    fcntl(file->fd, F_SETFL, flags & ~O_DIRECT);
  atomic_store(&file->direct, false);
}

/* A part of a range: bytes done, or a negative errno. */
static ssize_t transfer_some(int fd, bool writing, const struct iovec *parts, int count,
                             uint64_t offset) {
  ssize_t done =
      writing ? pwritev(fd, parts, count, (off_t)offset) : preadv(fd, parts, count, (off_t)offset);
  if (done < 0)
    return -errno;
  return done > 0 ? done : -EIO; /* the file was cut short by somebody */
}

/* Take done bytes off the front. */
static void advance(struct iovec **parts, int *count, size_t done) {
  while (*count > 0 && done >= (*parts)->iov_len) {
    done -= (*parts)->iov_len;
    ++*parts;
    --*count;
  }
  if (*count > 0) {
    (*parts)->iov_base = (char *)(*parts)->iov_base + done;
    (*parts)->iov_len -= done;
  }
}

/* All of a range.  Changes parts.  -EINVAL may mean that the system wants another alignment for
 * O_DIRECT than ours, after a short write too. */
static int transfer(struct file_backing *file, int fd, bool writing, struct iovec *parts, int count,
                    uint64_t offset) {
  advance(&parts, &count, 0);
  while (count > 0) {
    bool direct = fd == file->fd && atomic_load(&file->direct);
    ssize_t done = transfer_some(fd, writing, parts, count, offset);
    if (done == -EINVAL && direct)
      drop_direct(file);
    else if (done < 0 && done != -EINTR)
      return (int)done;
    else if (done > 0) {
      advance(&parts, &count, (size_t)done);
      offset += (uint64_t)done;
    }
  }
  return 0;
}

/* One request, whose end may be the file's and not aligned. */
static int transfer_one(struct file_backing *file, bool writing, void *buffer, uint64_t count,
                        uint64_t offset) {
  uint64_t tail = count % BACKING_ALIGNMENT;
  if (tail == 0 || !atomic_load(&file->direct) || file->tail_fd < 0)
    tail = 0;
  struct iovec body = {buffer, count - tail};
  int result = transfer(file, file->fd, writing, &body, 1, offset);
  if (result < 0 || tail == 0)
    return result;
  struct iovec end = {(char *)buffer + (count - tail), tail};
  return transfer(file, file->tail_fd, writing, &end, 1, offset + (count - tail));
}

/* ------------------------------------------------------------------ making zeros */

static int call_fallocate(struct file_backing *file, int mode, uint64_t count, uint64_t offset) {
  int result;
  do
    result = fallocate(file->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)count);
  while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : 0;
}

static int write_zeros(struct file_backing *file, uint64_t count, uint64_t offset) {
  int result = 0;
  for (uint64_t piece; count > 0 && result == 0; count -= piece, offset += piece) {
    piece = count < BACKING_ZEROS ? count : BACKING_ZEROS;
    result = transfer_one(file, true, backing_zeros, piece, offset);
  }
  return result;
}

/* What a file cannot do once, it never can. */
static int try_fallocate(struct file_backing *file, atomic_bool *cannot, int mode, uint64_t count,
                         uint64_t offset) {
  if (atomic_load(cannot))
    return -EOPNOTSUPP;
  int result = call_fallocate(file, mode, count, offset);
  if (!is_unsupported(result))
    return result;
  atomic_store(cannot, true);
  return -EOPNOTSUPP;
}

static int zero_keeping_space(struct file_backing *file, uint64_t count, uint64_t offset) {
  int result = try_fallocate(file, &file->no_zero_range, FALLOC_FL_ZERO_RANGE, count, offset);
  return result == -EOPNOTSUPP ? write_zeros(file, count, offset) : result;
}

/* Of a block device the kernel promises zeros after a punch, or refuses it. The last block of
 * a file is given back only if it is named whole. */
static int zero_range(struct file_backing *file, uint64_t count, uint64_t offset) {
  uint64_t whole = count;
  if (!file->block && offset + count == backing_size(&file->backing))
    whole += -count % BACKING_ALIGNMENT;
  int result = try_fallocate(file, &file->no_punch, FALLOC_FL_PUNCH_HOLE, whole, offset);
  return result == -EOPNOTSUPP ? zero_keeping_space(file, count, offset) : result;
}

/* Past RLIMIT_FSIZE, which may be lowered at any time, writing raises SIGXFSZ besides EFBIG. */
static int file_allocate(struct backing *backing, uint64_t count, uint64_t offset) {
  struct signal_guard guard;
  guard_signal(&guard, SIGXFSZ, true);
  int result = zero_keeping_space(of(backing), count, offset);
  unguard_signal(&guard, SIGXFSZ);
  return result;
}

/* -------------------------------------------------------------------- requests */

static int do_one(struct file_backing *file, struct backing_request *request) {
  uint64_t count = backing_inside(&file->backing, request);
  if (count == 0)
    return 0;
  if (request->operation == BACKING_ZERO)
    return zero_range(file, count, request->offset);
  return transfer_one(file, request->operation == BACKING_WRITE, request->buffer, count,
                      request->offset);
}

static bool is_joinable(struct file_backing *file, const struct backing_request *request) {
  return request->operation != BACKING_ZERO && request->count > 0 &&
         request->count % BACKING_ALIGNMENT == 0 &&
         backing_inside(&file->backing, request) == request->count;
}

/* Whether a request goes on where a run ends: one system call does both. */
static bool continues(const struct batch_run *run, const struct backing_request *request) {
  return run->writing == (request->operation == BACKING_WRITE) &&
         run->offset + run->count == request->offset;
}

/* Reads and writes that are under way together. */
struct batch {
  unsigned run_count, part_count;
  struct batch_run runs[BATCH_RUNS];
  struct iovec parts[BATCH_PARTS];
};

/* Returns false if there is no room. */
static bool add_to_batch(struct batch *batch, const struct backing_request *request,
                         unsigned index) {
  struct batch_run *last = batch->run_count > 0 ? &batch->runs[batch->run_count - 1] : NULL;
  if (batch->part_count == BATCH_PARTS)
    return false;
  if (!last || !continues(last, request)) {
    if (batch->run_count == BATCH_RUNS)
      return false;
    last = &batch->runs[batch->run_count++];
    *last = (struct batch_run){.parts = &batch->parts[batch->part_count],
                               .first = index,
                               .writing = request->operation == BACKING_WRITE,
                               .offset = request->offset};
  }
  batch->parts[batch->part_count++] = (struct iovec){request->buffer, request->count};
  last->part_count++;
  last->count += request->count;
  return true;
}

static void do_batch(struct file_backing *file, struct batch *batch,
                     struct backing_request *requests) {
  if (batch->run_count > 1 && atomic_load(&file->direct))
    batch_try(&file->contexts, file->fd, batch->runs, batch->run_count);
  for (unsigned i = 0; i < batch->run_count; i++) {
    struct batch_run *run = &batch->runs[i];
    if (run->complete)
      continue;
    unsigned count = run->part_count;
    int result = transfer(file, file->fd, run->writing, run->parts, (int)count, run->offset);
    for (unsigned part = 0; part < count; part++)
      requests[run->first + part].result = result;
  }
}

static void submit(struct file_backing *file, struct backing_request *requests, unsigned count) {
  struct batch batch;
  for (unsigned next = 0; next < count;) {
    batch.run_count = batch.part_count = 0;
    while (next < count && is_joinable(file, &requests[next]) &&
           add_to_batch(&batch, &requests[next], next))
      next++;
    do_batch(file, &batch, requests);
    if (next < count && !is_joinable(file, &requests[next])) {
      requests[next].result = do_one(file, &requests[next]);
      next++;
    }
  }
}

static bool changes_something(const struct backing_request *requests, unsigned count) {
  unsigned i = 0;
  while (i < count && requests[i].operation == BACKING_READ)
    i++;
  return i < count;
}

static void file_submit(struct backing *backing, struct backing_request *requests, unsigned count) {
  struct signal_guard guard;
  guard_signal(&guard, SIGXFSZ, changes_something(requests, count));
  submit(of(backing), requests, count);
  unguard_signal(&guard, SIGXFSZ);
}

int backing_file_sync(struct backing *backing) {
  int result;
  do
    result = fdatasync(of(backing)->fd);
  while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : 0;
}

/* A spill is gone with the process: there is nothing to make durable. */
static int file_flush(struct backing *backing) {
  return of(backing)->spill ? 0 : backing_file_sync(backing);
}

/* ------------------------------------------------------- what is known of a file */

/* Where the next data begins (whence SEEK_DATA), or the next hole (SEEK_HOLE).  At most end. */
static int64_t seek_next(struct file_backing *file, int whence, uint64_t from, uint64_t end) {
  off_t found = lseek(file->fd, (off_t)from, whence);
  if (found < 0)
    return errno == ENXIO ? (int64_t)end : -errno;
  if ((uint64_t)found < from)
    return -EIO;
  return (uint64_t)found < end ? (int64_t)found : (int64_t)end;
}

/* A file system that cannot tell has only data. */
static int file_extents(struct backing *backing, uint64_t count, uint64_t offset,
                        struct extent_sink *sink) {
  struct file_backing *file = of(backing);
  uint64_t end = offset + count;
  if (file->block)
    return extent_sink_add(sink, count, false);
  int result = 0;
  while (offset < end && result == 0) {
    int64_t data = seek_next(file, SEEK_DATA, offset, end);
    if (data == -EINVAL || is_unsupported((int)data))
      return extent_sink_add(sink, end - offset, false);
    int64_t hole =
        data < 0 || (uint64_t)data == end ? data : seek_next(file, SEEK_HOLE, (uint64_t)data, end);
    if (data < 0 || hole < 0)
      return (int)(data < 0 ? data : hole);
    if (data == hole && (uint64_t)data < end)
      return -EIO; /* it changes under us, or does not know */
    result = extent_sink_add(sink, (uint64_t)data - offset, true);
    if (result == 0)
      result = extent_sink_add(sink, (uint64_t)(hole - data), false);
    offset = (uint64_t)hole;
  }
  return result;
}

static uint64_t file_used(struct backing *backing) {
  struct stat status;
  if (of(backing)->block || fstat(of(backing)->fd, &status) < 0)
    return UINT64_MAX;
  return (uint64_t)status.st_blocks * 512;
}

static bool file_knows_holes(struct backing *backing, uint32_t granularity) {
  struct file_backing *file = of(backing);
  if (file->block || file->spill)
    return false;
  return backing_tells_holes(backing->name, file->fd, !backing->read_only, granularity);
}

static void file_close(struct backing *backing) {
  struct file_backing *file = of(backing);
  batch_destroy(&file->contexts);
  if (file->tail_fd >= 0)
    close(file->tail_fd);
  if (file->fd >= 0)
    close(file->fd);
  backing_destroy(backing);
}

/* ------------------------------------------------------------------- tail, size */

/* The same file without O_DIRECT; if that is not to be had, the whole of it is used so. */
static void open_tail(struct file_backing *file, uint64_t size) {
  char path[64];
  if (size % BACKING_ALIGNMENT == 0 || file->tail_fd >= 0 || !atomic_load(&file->direct))
    return;
  snprintf(path, sizeof path, "/proc/self/fd/%d", file->fd);
  file->tail_fd = open(path, (file->backing.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
  if (file->tail_fd < 0)
    drop_direct(file);
}

/* A write past RLIMIT_FSIZE would raise a signal in the middle of things. */
static bool passes_limit(uint64_t size) {
  struct rlimit limit;
  return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
         size > limit.rlim_cur;
}

static int set_size(struct file_backing *file, uint64_t size) {
  if (passes_limit(size))
    return -EFBIG;
  int result;
  do
    result = ftruncate(file->fd, (off_t)size);
  while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : 0;
}

static int file_resize(struct backing *backing, uint64_t size) {
  struct file_backing *file = of(backing);
  if (file->block)
    return -ENOTSUP;
  if (file->spill)
    size += -size % BACKING_ALIGNMENT;
  int result = set_size(file, size);
  if (result == 0 && !file->spill && fsync(file->fd) < 0)
    result = -errno;
  if (result < 0)
    return result;
  open_tail(file, size);
  atomic_store(&backing->size, size);
  return 0;
}

static const struct backing_operations file_operations = {
    .submit = file_submit,
    .allocate = file_allocate,
    .flush = file_flush,
    .extents = file_extents,
    .resize = file_resize,
    .used = file_used,
    .knows_holes = file_knows_holes,
    .close = file_close,
};

/* ---------------------------------------------------------------------- opening */

static int make_file_backing(const char *name, bool read_only, struct file_backing **file,
                             char problem[BACKING_PROBLEM]) {
  struct file_backing *made = calloc(1, sizeof *made);
  if (!made || backing_prepare(&made->backing, &file_operations, name, read_only) < 0) {
    free(made);
    return backing_refuse(problem, -ENOMEM, "There is no memory to open '%.300s'.", name);
  }
  made->fd = made->tail_fd = -1;
  batch_prepare(&made->contexts);
  *file = made;
  return 0;
}

/* Not when it is opened: where that is refused, O_CREAT may have made the file all the same. */
static void try_direct(struct file_backing *file) {
  int flags = fcntl(file->fd, F_GETFL);
  atomic_store(&file->direct, flags >= 0 && fcntl(file->fd, F_SETFL, flags | O_DIRECT) == 0);
}

/* open, with O_DIRECT if that can be had. */
static int open_direct(struct file_backing *file, const char *path, int flags, mode_t mode) {
  file->fd = open(path, flags, mode);
  if (file->fd < 0)
    return -errno;
  try_direct(file);
  return 0;
}

/* ------------------------------------------------------------------------ spill */

/* Where the file system has no files without a name: one that loses it at once. */
static int open_and_unlink(struct file_backing *file, const char *folder) {
  static const char name[] = "/.sectors-spill-XXXXXX";
  size_t length = strlen(folder);
  char *path = malloc(length + sizeof name);
  if (!path)
    return -ENOMEM;
  memcpy(path, folder, length);
  memcpy(path + length, name, sizeof name);
  file->fd = mkostemp(path, O_CLOEXEC);
  int result = file->fd < 0 ? -errno : 0;
  if (result == 0 && unlink(path) < 0)
    result = -errno;
  free(path);
  if (result == 0)
    try_direct(file);
  return result;
}

/* O_EXCL: nobody can give it a name later. */
static int open_anonymous(struct file_backing *file, const char *folder) {
  int result = open_direct(file, folder, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
  if (result == -EOPNOTSUPP || result == -EISDIR || result == -EINVAL || result == -ENOENT)
    result = open_and_unlink(file, folder);
  return result;
}

static int check_folder(const char *folder, char problem[BACKING_PROBLEM]) {
  struct stat status;
  if (stat(folder, &status) < 0 && errno == ENOENT)
    return backing_refuse(problem, -ENOENT,
                          "The folder '%.300s' for spill does not exist; make it, or name another.",
                          folder);
  if (stat(folder, &status) < 0)
    return backing_refuse(problem, -errno, "The folder '%.300s' for spill cannot be used: %s.",
                          folder, strerror(errno));
  if (!S_ISDIR(status.st_mode))
    return backing_refuse(problem, -ENOTDIR,
                          "'%.300s' is not a folder; spill needs a folder, in which it makes a "
                          "file without a name.",
                          folder);
  return 0;
}

static int explain_spill(const char *folder, int error, char problem[BACKING_PROBLEM]) {
  if (error == -EACCES || error == -EPERM || error == -EROFS)
    return backing_refuse(problem, error,
                          "The folder '%.300s' for spill is not writable (%s); name one that is.",
                          folder, strerror(-error));
  return backing_refuse(problem, error, "No file can be made in the folder '%.300s' for spill: %s.",
                        folder, strerror(-error));
}

static int size_spill(struct file_backing *file, const char *folder, uint64_t size,
                      char problem[BACKING_PROBLEM]) {
  size += -size % BACKING_ALIGNMENT;
  if (passes_limit(size))
    return backing_refuse(problem, -EFBIG,
                          "This process may not write a file of %llu bytes (ulimit -f), which the "
                          "spill in '%.300s' would be; raise that limit.",
                          (unsigned long long)size, folder);
  int result = size > INT64_MAX ? -EFBIG : set_size(file, size);
  if (result == -EFBIG)
    return backing_refuse(
        problem, result,
        "The file system of the folder '%.300s' cannot hold a file of %llu bytes, "
        "as spill needs it for a volume of that size; name a folder on one that "
        "can, such as XFS, or make the volume smaller.",
        folder, (unsigned long long)size);
  if (result < 0)
    return backing_refuse(problem, result,
                          "The spill in the folder '%.300s' cannot be made %llu bytes large: %s.",
                          folder, (unsigned long long)size, strerror(-result));
  atomic_store(&file->backing.size, size);
  return 0;
}

int backing_open_spill(const char *folder, uint64_t size, struct backing **backing,
                       char problem[BACKING_PROBLEM]) {
  struct file_backing *file;
  int result = check_folder(folder, problem);
  if (result == 0)
    result = make_file_backing(folder, false, &file, problem);
  if (result < 0)
    return result;
  file->spill = true;
  result = open_anonymous(file, folder);
  result =
      result < 0 ? explain_spill(folder, result, problem) : size_spill(file, folder, size, problem);
  if (result < 0)
    file_close(&file->backing);
  else
    *backing = &file->backing;
  return result;
}

/* ------------------------------------------------------------- images and bases */

static const char *role(bool read_only) {
  return read_only ? "base" : "image";
}

static const char *kind_of(mode_t mode) {
  switch (mode & S_IFMT) {
  case S_IFDIR:
    return "a folder";
  case S_IFIFO:
    return "a FIFO";
  case S_IFSOCK:
    return "a socket";
  case S_IFCHR:
    return "a character device";
  default:
    return "of an unknown kind";
  }
}

static int check_kind(const char *path, mode_t mode, bool read_only,
                      char problem[BACKING_PROBLEM]) {
  if (S_ISREG(mode) || S_ISBLK(mode))
    return 0;
  return backing_refuse(problem, S_ISDIR(mode) ? -EISDIR : -EINVAL,
                        "The %s '%.300s' is %s; it must be a file, a block device or an NBD URI.",
                        role(read_only), path, kind_of(mode));
}

static int explain_open(const char *path, bool read_only, int error,
                        char problem[BACKING_PROBLEM]) {
  struct stat status;
  if (error == -ENOENT && read_only)
    return backing_refuse(problem, error, "The base '%.300s' does not exist.", path);
  if (error == -EBUSY)
    return backing_refuse(problem, error,
                          "The %s '%.300s' is in use: it is mounted, or another program has it.",
                          role(read_only), path);
  if ((error == -EACCES || error == -EPERM) && stat(path, &status) == 0)
    return backing_refuse(problem, error,
                          "The %s '%.300s' cannot be opened for %s: it belongs to user %u, and its "
                          "mode is %03o (%s).",
                          role(read_only), path, read_only ? "reading" : "reading and writing",
                          status.st_uid, status.st_mode & 07777u, strerror(-error));
  return backing_refuse(problem, error, "The %s '%.300s' cannot be opened: %s.", role(read_only),
                        path, strerror(-error));
}

/* Make an image.  Its mode is what the umask leaves, as for a file made by dd or qemu-img. */
static int create_image(struct file_backing *file, const char *path, uint64_t size,
                        char problem[BACKING_PROBLEM]) {
  if (size == 0)
    return backing_refuse(
        problem, -ENOENT,
        "The image '%.300s' does not exist, and no size is given to make it with; "
        "give a size, or make it with truncate -s SIZE.",
        path);
  int result = open_direct(file, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0666);
  if (result == -EEXIST)
    return backing_refuse(problem, result,
                          "The image '%.300s' is a symbolic link to nothing, or was made just now "
                          "by another program; name the file itself.",
                          path);
  return result < 0 ? explain_open(path, false, result, problem) : 0;
}

/* O_NONBLOCK: what became a FIFO since it was looked at does not block. */
static int open_existing(struct file_backing *file, const char *path, bool block) {
  int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  flags |= file->backing.read_only ? O_RDONLY : O_RDWR;
  flags |= block && !file->backing.read_only ? O_EXCL : 0;
  return open_direct(file, path, flags, 0);
}

static int open_place(struct file_backing *file, const char *path, uint64_t size, bool *created,
                      char problem[BACKING_PROBLEM]) {
  bool read_only = file->backing.read_only;
  struct stat status;
  if (stat(path, &status) < 0) {
    if (errno != ENOENT || read_only)
      return explain_open(path, read_only, -errno, problem);
    int result = create_image(file, path, size, problem);
    *created = result == 0;
    return result;
  }
  int result = check_kind(path, status.st_mode, read_only, problem);
  if (result < 0)
    return result;
  result = open_existing(file, path, S_ISBLK(status.st_mode));
  if (result < 0)
    return explain_open(path, read_only, result, problem);
  if (fstat(file->fd, &status) < 0)
    return explain_open(path, read_only, -errno, problem);
  file->block = S_ISBLK(status.st_mode);
  return check_kind(path, status.st_mode, read_only, problem);
}

static int set_lock(int fd, short type, off_t start, off_t length) {
  struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
  return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

/* Whether somebody has a lock on a byte. */
static bool is_locked(int fd, off_t byte) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
  return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static int lock_base(int fd) {
  static const off_t bytes[] = {QEMU_READS, QEMU_NO_WRITER, QEMU_NO_RESIZER};
  for (unsigned i = 0; i < sizeof bytes / sizeof *bytes; i++) {
    int result = set_lock(fd, F_RDLCK, bytes[i], 1);
    if (result < 0)
      return result;
  }
  return is_locked(fd, QEMU_WRITES) || is_locked(fd, QEMU_RESIZES) ? -EAGAIN : 0;
}

/* Where the file system knows no locks, there are none. */
static int lock_file(struct file_backing *file, const char *path, char problem[BACKING_PROBLEM]) {
  bool read_only = file->backing.read_only;
  int result = read_only ? lock_base(file->fd) : set_lock(file->fd, F_WRLCK, 0, 0);
  if (result == -EAGAIN || result == -EACCES)
    return backing_refuse(problem, -EBUSY,
                          read_only
                              ? "The base '%.300s' is in use: another program writes to it."
                              : "The image '%.300s' is in use: another program, or another volume, "
                                "has it open; it can be the image of one volume only.",
                          path);
  if (result == -ENOLCK || result == -EINVAL || is_unsupported(result))
    return 0;
  if (result < 0)
    return backing_refuse(problem, result, "The %s '%.300s' cannot be locked: %s.", role(read_only),
                          path, strerror(-result));
  return 0;
}

/* A new name is durable when its folder is. */
static int sync_folder(const char *path) {
  char *copy = realpath(path, NULL);
  if (!copy)
    return -errno;
  int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free(copy);
  if (fd < 0)
    return -errno;
  int result = fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
  close(fd);
  return result;
}

static int size_new_image(struct file_backing *file, const char *path, uint64_t size,
                          char problem[BACKING_PROBLEM]) {
  int result = set_size(file, size);
  if (result == 0 && fsync(file->fd) < 0)
    result = -errno;
  if (result == 0)
    result = sync_folder(path);
  if (result == -EFBIG)
    return backing_refuse(
        problem, result,
        "The image '%.300s' cannot be made: its file system, or the limit of this "
        "process (ulimit -f), allows no file of %llu bytes; another place or a "
        "smaller volume is needed.",
        path, (unsigned long long)size);
  if (result < 0)
    return backing_refuse(problem, result,
                          "The image '%.300s' cannot be made %llu bytes large: %s.", path,
                          (unsigned long long)size, strerror(-result));
  return 0;
}

static int find_size(struct file_backing *file, const char *path, uint64_t *size,
                     char problem[BACKING_PROBLEM]) {
  struct stat status;
  int result = file->block ? ioctl(file->fd, BLKGETSIZE64, size) : fstat(file->fd, &status);
  if (result < 0)
    return backing_refuse(problem, -errno, "The size of '%.300s' cannot be found out: %s.", path,
                          strerror(errno));
  if (!file->block)
    *size = (uint64_t)status.st_size;
  return 0;
}

static int check_size(struct file_backing *file, const char *path, uint64_t size, uint64_t wanted,
                      char problem[BACKING_PROBLEM]) {
  bool read_only = file->backing.read_only;
  if (wanted == 0 && size == 0)
    return backing_refuse(problem, -EINVAL,
                          "The %s '%.300s' is empty, and no size is given; a volume needs one.",
                          role(read_only), path);
  if (read_only)
    return 0;
  if (size < wanted && file->block)
    return backing_refuse(problem, -ENOSPC,
                          "The image '%.300s' has %llu bytes, and the volume %llu; a block device "
                          "at least as large is needed.",
                          path, (unsigned long long)size, (unsigned long long)wanted);
  if (size < wanted)
    return backing_refuse(
        problem, -ENOSPC,
        "The image '%.300s' has %llu bytes, and the volume %llu; truncate -s %llu "
        "would make it as large.",
        path, (unsigned long long)size, (unsigned long long)wanted, (unsigned long long)wanted);
  if (!file->block && passes_limit(size))
    return backing_refuse(problem, -EFBIG,
                          "The image '%.300s' has %llu bytes, more than this process may write "
                          "(ulimit -f); raise that limit.",
                          path, (unsigned long long)size);
  return 0;
}

static int prepare_place(struct file_backing *file, const char *path, uint64_t wanted, bool created,
                         char problem[BACKING_PROBLEM]) {
  uint64_t size = wanted;
  int result = lock_file(file, path, problem);
  if (result == 0 && created)
    result = size_new_image(file, path, wanted, problem);
  if (result == 0)
    result = find_size(file, path, &size, problem);
  if (result == 0)
    result = check_size(file, path, size, wanted, problem);
  if (result < 0)
    return result;
  open_tail(file, size);
  atomic_store(&file->backing.size, size);
  return 0;
}

int backing_open_file(const char *path, bool read_only, uint64_t size, struct backing **backing,
                      char problem[BACKING_PROBLEM]) {
  struct file_backing *file;
  bool created = false;
  if (*path == '\0')
    return backing_refuse(problem, -EINVAL, "The name of the %s is empty; name a file.",
                          role(read_only));
  int result = make_file_backing(path, read_only, &file, problem);
  if (result < 0)
    return result;
  result = open_place(file, path, size, &created, problem);
  if (result == 0)
    result = prepare_place(file, path, size, created, problem);
  if (result < 0) {
    if (created && result != -EBUSY) /* else another process has already taken it up */
      unlink(path);
    file_close(&file->backing);
    return result;
  }
  *backing = &file->backing;
  return 0;
}
