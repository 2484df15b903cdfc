/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Contents.  With the kernel's writeback cache, writes come here in large pieces, later, and the
 * kernel minds size and times; what reads find there already is not asked for.
 */

#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#define COPY_PIECE ((size_t)1 << 20)
#define COPY_AT_ONCE                                                                               \
  ((size_t)64 << 20) /* of one request, as others wait for the file meanwhile                      \
                      */

/* Opening needs nothing: with this answer the kernel asks no more, nor does it tell of closing. */
void handle_open(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *file) {
  (void)id;
  (void)file;
  fuse_reply_err(request, ENOSYS);
}

void handle_read(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset,
                 struct fuse_file_info *file) {
  struct mount *mount = mount_of(request);
  casefs_node *node;
  void *buffer = thread_buffer(size);
  int64_t r = buffer ? inode_open(&mount->inodes, id, &node) : -ENOMEM;
  if (r == 0) {
    r = casefs_read(node, buffer, size, (uint64_t)offset);
    if (r > 0 && !(file->flags & O_NOATIME))
      touch_accessed(mount, node);
    casefs_node_close(node);
  }
  if (r < 0)
    reply_error(request, (int)r);
  else
    fuse_reply_buf(request, buffer, (size_t)r);
}

/* What comes from the kernel's cache was written before, at a time that the kernel knows and tells.
 * It comes when a file is closed: then the volume brings it to the tree, while what was made
 * beside it is near. */
static int64_t write_cached(struct mount *mount, casefs_node *node, const char *buffer, size_t size,
                            off_t offset) {
  int64_t r = casefs_write_back(node, buffer, size, (uint64_t)offset);
  inode_settle(&mount->inodes, casefs_node_id(node));
  return r;
}

void handle_write(fuse_req_t request, fuse_ino_t id, const char *buffer, size_t size, off_t offset,
                  struct fuse_file_info *file) {
  struct mount *mount = mount_of(request);
  casefs_node *node;
  int64_t r = inode_open(&mount->inodes, id, &node);
  if (r == 0) {
    r = file->writepage ? write_cached(mount, node, buffer, size, offset)
                        : casefs_write(node, buffer, size, (uint64_t)offset);
    casefs_node_close(node);
  }
  if (r < 0)
    reply_error(request, (int)r);
  else
    fuse_reply_write(request, (size_t)r);
}

/* A commit makes all durable; so also what a directory has. */
void handle_fsync(fuse_req_t request, fuse_ino_t id, int only_data, struct fuse_file_info *file) {
  (void)id;
  (void)only_data;
  (void)file;
  struct mount *mount = mount_of(request);
  reply_result(request, mount->options.read_only ? 0 : casefs_sync(mount->volume));
}

/* The kernel says nothing of rights to these two. */
static void clear_set_id_of_others(fuse_req_t request, fuse_ino_t id) {
  const struct fuse_ctx *context = fuse_req_ctx(request);
  struct mount *mount = mount_of(request);
  if (mount->clears_set_id && context->uid != 0)
    clear_set_id(mount, id, context->gid);
}

/* -------------------------------------------------------------------- allocation */

static int size_of(casefs_node *node, uint64_t *size) {
  struct casefs_attributes attributes;
  int r = casefs_get_attributes(node, &attributes);
  if (r == 0)
    *size = attributes.size;
  return r;
}

static int allocate_range(casefs_node *node, int mode, uint64_t offset, uint64_t length) {
  bool keep_size = mode & FALLOC_FL_KEEP_SIZE;
  switch (mode & ~FALLOC_FL_KEEP_SIZE) {
  case 0:
    return casefs_allocate(node, offset, length, keep_size);
  case FALLOC_FL_PUNCH_HOLE:
    return keep_size ? casefs_punch(node, offset, length) : -EOPNOTSUPP;
  case FALLOC_FL_ZERO_RANGE: {
    int r = casefs_punch(node, offset, length);
    return r < 0 ? r : casefs_allocate(node, offset, length, keep_size);
  }
  default:
    return -EOPNOTSUPP;
  }
}

void handle_fallocate(fuse_req_t request, fuse_ino_t id, int mode, off_t offset, off_t length,
                      struct fuse_file_info *file) {
  (void)file;
  struct mount *mount = mount_of(request);
  pthread_mutex_t *times = inode_times_lock(&mount->inodes, id);
  struct casefs_attributes before;
  casefs_node *node;
  clear_set_id_of_others(request, id);
  int r = inode_open(&mount->inodes, id, &node);
  if (r == 0) {
    pthread_mutex_lock(times);
    r = casefs_get_attributes(node, &before);
    if (r == 0)
      r = allocate_range(node, mode, (uint64_t)offset, (uint64_t)length);
    if (r == 0)
      stamp_change(mount, node, &before);
    pthread_mutex_unlock(times);
    casefs_node_close(node);
  }
  reply_result(request, r);
}

/* ------------------------------------------------------------------------- holes */

static bool is_hole(const struct casefs_extent *extent) {
  return extent->kind == CASEFS_EXTENT_HOLE || extent->kind == CASEFS_EXTENT_UNWRITTEN;
}

/* Where the first hole, or the first data, is from an offset on; the end counts as a hole. */
static int seek(casefs_node *node, uint64_t offset, bool hole, uint64_t *found) {
  struct casefs_extent extent;
  uint64_t size = 0;
  int r = size_of(node, &size);
  if (r < 0)
    return r;
  if (offset >= size)
    return -ENXIO;
  while ((r = casefs_get_extent(node, offset, &extent)) > 0 && is_hole(&extent) != hole)
    offset = extent.offset + extent.count;
  if (r == 0 && !hole)
    return -ENXIO;
  *found = offset < size ? offset : size;
  return r < 0 ? r : 0;
}

void seek_and_reply(fuse_req_t request, uint64_t id, off_t offset, int whence) {
  casefs_node *node;
  uint64_t found = 0;
  int r = inode_open(&mount_of(request)->inodes, id, &node);
  if (r == 0) {
    r = seek(node, (uint64_t)offset, whence == SEEK_HOLE, &found);
    casefs_node_close(node);
  }
  if (r < 0)
    reply_error(request, r);
  else
    fuse_reply_lseek(request, (off_t)found);
}

/* The kernel asks without having written back what was written to the file. */
void handle_lseek(fuse_req_t request, fuse_ino_t id, off_t offset, int whence,
                  struct fuse_file_info *file) {
  (void)file;
  if (whence != SEEK_HOLE && whence != SEEK_DATA)
    reply_error(request, -EINVAL);
  else if (offset < 0)
    reply_error(request, -ENXIO);
  else if (!mount_of(request)->options.writeback || mount_of(request)->options.read_only)
    seek_and_reply(request, id, offset, whence);
  else if (!seek_after_writing_back(request, id, offset, whence))
    reply_error(request, -ENOMEM);
}

/* ----------------------------------------------------------------------- copying */

/* A piece of at most COPY_PIECE bytes, or of a hole.  Returns its length, 0 at the end. */
static int64_t copy_piece(casefs_node *from, uint64_t from_offset, casefs_node *to,
                          uint64_t to_offset, size_t length, void *buffer) {
  struct casefs_extent extent;
  uint64_t end = 0;
  int r = casefs_get_extent(from, from_offset, &extent);
  if (r <= 0)
    return r;
  uint64_t left = extent.offset + extent.count - from_offset;
  if (is_hole(&extent) && (r = size_of(to, &end)) == 0 && to_offset >= end) {
    length = left < length ? (size_t)left : length;
    r = casefs_truncate(to, to_offset + length);
    return r < 0 ? r : (int64_t)length;
  }
  int64_t got = casefs_read(from, buffer, length < COPY_PIECE ? length : COPY_PIECE, from_offset);
  return got <= 0 ? got : casefs_write(to, buffer, (size_t)got, to_offset);
}

/* How much was copied; an error only if it is nothing. */
static int64_t copy_range(casefs_node *from, uint64_t from_offset, casefs_node *to,
                          uint64_t to_offset, size_t length, void *buffer) {
  size_t done = 0;
  int64_t r = 1;
  while (done < length && r > 0) {
    r = copy_piece(from, from_offset + done, to, to_offset + done, length - done, buffer);
    if (r > 0)
      done += (size_t)r;
  }
  return done > 0 ? (int64_t)done : r;
}

void handle_copy_file_range(fuse_req_t request, fuse_ino_t from, off_t from_offset,
                            struct fuse_file_info *from_file, fuse_ino_t to, off_t to_offset,
                            struct fuse_file_info *to_file, size_t length, int flags) {
  (void)from_file;
  (void)to_file;
  struct mount *mount = mount_of(request);
  pthread_mutex_t *times = inode_times_lock(&mount->inodes, to);
  struct casefs_attributes before;
  casefs_node *source, *target;
  void *buffer = thread_buffer(COPY_PIECE);
  if (flags != 0 || !buffer) {
    reply_error(request, flags != 0 ? -EINVAL : -ENOMEM);
    return;
  }
  clear_set_id_of_others(request, to);
  int64_t r = inode_open(&mount->inodes, from, &source);
  if (r == 0) {
    r = inode_open(&mount->inodes, to, &target);
    if (r == 0) {
      pthread_mutex_lock(times);
      r = casefs_get_attributes(target, &before);
      if (r == 0)
        r = copy_range(source, (uint64_t)from_offset, target, (uint64_t)to_offset,
                       length < COPY_AT_ONCE ? length : COPY_AT_ONCE, buffer);
      if (r > 0)
        stamp_change(mount, target, &before);
      pthread_mutex_unlock(times);
      casefs_node_close(target);
    }
    casefs_node_close(source);
  }
  if (r < 0)
    reply_error(request, (int)r);
  else
    fuse_reply_write(request, (size_t)r);
}
