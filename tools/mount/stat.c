/* SPDX-License-Identifier: BSD-3-Clause */

#include "mount.h"

#include "../casefs/text.h"
#include "acl.h"

#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#define DAY ((uint64_t)86400 * 10000000) /* in units of 100 ns */

/* --------------------------------------------------------------------- telling */

static mode_t type_bits(enum casefs_type type) {
  switch (type) {
  case CASEFS_DIRECTORY:
    return S_IFDIR;
  case CASEFS_SYMLINK:
    return S_IFLNK;
  case CASEFS_FIFO:
    return S_IFIFO;
  case CASEFS_SOCKET:
    return S_IFSOCK;
  case CASEFS_CHARACTER_DEVICE:
    return S_IFCHR;
  case CASEFS_BLOCK_DEVICE:
    return S_IFBLK;
  default:
    return S_IFREG;
  }
}

static void fill(struct mount *mount, const struct casefs_attributes *attributes,
                 const struct casefs_attributes *owner, struct stat *status) {
  const struct shown *shown = &mount->options.xattrs.shown;
  bool directory = attributes->type == CASEFS_DIRECTORY;
  uint32_t mask = directory ? shown->directory_mask : shown->file_mask;
  *status = (struct stat){
      .st_ino = attributes->id,
      .st_mode = type_bits(attributes->type) | (owner->mode & ~mask),
      .st_nlink = attributes->links,
      .st_uid = shown->force_uid ? shown->uid : owner->uid,
      .st_gid = shown->force_gid ? shown->gid : owner->gid,
      .st_rdev = makedev((unsigned)(attributes->rdev >> 32), (unsigned)attributes->rdev),
      .st_size = (off_t)(directory ? 0 : attributes->size),
      .st_blksize = CASEFS_BLOCK_SIZE,
      .st_blocks = (blkcnt_t)(attributes->allocated / 512),
      .st_atim = time_to_unix(attributes->accessed),
      .st_mtim = time_to_unix(attributes->modified),
      .st_ctim = time_to_unix(attributes->changed),
  };
  if (attributes->type == CASEFS_STREAM) {
    status->st_mode = S_IFREG | (owner->mode & 0666 & ~shown->file_mask);
    status->st_nlink = 1;
  } else if (directory) {
    /* Something to see in a listing; du(1) counts blocks. */
    status->st_size = (off_t)(attributes->size * 32);
  }
}

int stat_of(struct mount *mount, const struct casefs_attributes *attributes, struct stat *status) {
  struct casefs_attributes owner = *attributes;
  if (attributes->type == CASEFS_STREAM) {
    casefs_node *file;
    int r = inode_open(&mount->inodes, attributes->parent, &file);
    if (r == 0) {
      r = casefs_get_attributes(file, &owner);
      casefs_node_close(file);
    }
    if (r < 0)
      return r;
  }
  fill(mount, attributes, &owner, status);
  return 0;
}

int stat_of_node(struct mount *mount, casefs_node *node, struct stat *status) {
  struct casefs_attributes attributes;
  int r = casefs_get_attributes(node, &attributes);
  return r < 0 ? r : stat_of(mount, &attributes, status);
}

void handle_getattr(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *file) {
  (void)file;
  struct mount *mount = mount_of(request);
  casefs_node *node;
  struct stat status;
  int r = inode_open(&mount->inodes, id, &node);
  if (r == 0) {
    r = stat_of_node(mount, node, &status);
    casefs_node_close(node);
  }
  if (r < 0)
    reply_error(request, r);
  else
    fuse_reply_attr(request, &status, FOREVER);
}

/* ----------------------------------------------------------------------- statx */

/* The answer to FUSE_STATX (protocol 7.39), which holds what statx(2) gives, byte for byte. */
struct statx_answer {
  struct fuse_out_header header;
  uint64_t valid;
  uint32_t valid_nanoseconds, flags;
  uint64_t spare[2];
  struct statx statx;
};
_Static_assert(sizeof(struct statx) == 256, "as in the protocol");

static struct statx_timestamp stamp_of(struct timespec time) {
  return (struct statx_timestamp){.tv_sec = time.tv_sec, .tv_nsec = (uint32_t)time.tv_nsec};
}

static void fill_statx(const struct stat *status, uint64_t created, struct statx *statx) {
  *statx = (struct statx){
      .stx_mask = STATX_BASIC_STATS | STATX_BTIME,
      .stx_blksize = (uint32_t)status->st_blksize,
      .stx_nlink = (uint32_t)status->st_nlink,
      .stx_uid = status->st_uid,
      .stx_gid = status->st_gid,
      .stx_mode = (uint16_t)status->st_mode,
      .stx_ino = status->st_ino,
      .stx_size = (uint64_t)status->st_size,
      .stx_blocks = (uint64_t)status->st_blocks,
      .stx_atime = stamp_of(status->st_atim),
      .stx_btime = stamp_of(time_to_unix(created)),
      .stx_ctime = stamp_of(status->st_ctim),
      .stx_mtime = stamp_of(status->st_mtim),
      .stx_rdev_major = major(status->st_rdev),
      .stx_rdev_minor = minor(status->st_rdev),
  };
}

void handle_statx(struct mount *mount, uint64_t unique, uint64_t id) {
  struct statx_answer answer = {.valid = (uint64_t)FOREVER};
  struct casefs_attributes attributes;
  struct stat status;
  casefs_node *node;
  int r = inode_open(&mount->inodes, id, &node);
  if (r == 0) {
    r = casefs_get_attributes(node, &attributes);
    casefs_node_close(node);
  }
  if (r == 0)
    r = stat_of(mount, &attributes, &status);
  if (r == 0)
    fill_statx(&status, attributes.created, &answer.statx);
  size_t size = r < 0 ? sizeof answer.header : sizeof answer;
  answer.header = (struct fuse_out_header){.len = (uint32_t)size, .error = r, .unique = unique};
  /* It fails if the request was aborted; then nobody waits for it. */
  ssize_t written = write(fuse_session_fd(mount->session), &answer, size);
  (void)written;
}

/* -------------------------------------------------------------------- changing */

static uint64_t time_to_set(bool now, struct timespec time) {
  return now ? casefs_now() : time_from_unix(time);
}

static unsigned attributes_to_set(const struct stat *status, int to_set,
                                  struct casefs_attributes *attributes) {
  unsigned mask = 0;
  if (to_set & FUSE_SET_ATTR_MODE) {
    mask |= CASEFS_MODE;
    attributes->mode = status->st_mode & 07777;
  }
  if (to_set & FUSE_SET_ATTR_UID) {
    mask |= CASEFS_UID;
    attributes->uid = status->st_uid;
  }
  if (to_set & FUSE_SET_ATTR_GID) {
    mask |= CASEFS_GID;
    attributes->gid = status->st_gid;
  }
  if (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW)) {
    mask |= CASEFS_ACCESSED;
    attributes->accessed = time_to_set(to_set & FUSE_SET_ATTR_ATIME_NOW, status->st_atim);
  }
  if (to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) {
    mask |= CASEFS_MODIFIED;
    attributes->modified = time_to_set(to_set & FUSE_SET_ATTR_MTIME_NOW, status->st_mtim);
  }
  if (to_set & FUSE_SET_ATTR_CTIME) {
    mask |= CASEFS_CHANGED;
    attributes->changed = time_to_set(false, status->st_ctim);
  }
  return mask;
}

/* Where a node's times were set behind the kernel's back (inode_times_set), it still writes back
 * the time of modification it knew before: that is left out until it sends one of its own. */
static int without_old_times(struct mount *mount, uint64_t id, const struct stat *status,
                             int to_set) {
  const int times = FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_CTIME;
  uint64_t set = inode_times_set(&mount->inodes, id);
  if (set == 0 || !(to_set & FUSE_SET_ATTR_MTIME))
    return to_set;
  if ((to_set & (times | FUSE_SET_ATTR_ATIME)) == times && time_from_unix(status->st_mtim) <= set)
    return to_set & ~FUSE_SET_ATTR_MTIME;
  inode_set_times(&mount->inodes, id, 0);
  return to_set;
}

/* The kernel stamps what it unlinks, also if nothing is left of it. */
static bool is_of_no_use(casefs_node *node, int to_set) {
  struct casefs_attributes attributes;
  return (to_set & ~(FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_CTIME)) == 0 && to_set != 0 &&
         casefs_get_attributes(node, &attributes) == 0 && attributes.links == 0;
}

uint32_t without_set_id(const struct casefs_attributes *attributes, uint32_t gid, bool in_group) {
  uint32_t mode = attributes->mode;
  if (attributes->type == CASEFS_DIRECTORY)
    return mode;
  if (mode & S_ISGID && (mode & S_IXGRP || !(in_group || gid == attributes->gid)))
    mode &= ~(uint32_t)S_ISGID;
  return mode & ~(uint32_t)S_ISUID;
}

/* Whether it is chown(2) with -1 for both: of a file, the only one that comes with the time of
 * change alone, which the kernel does not keep of others. */
static bool is_empty_chown(enum casefs_type type, int to_set) {
  return type != CASEFS_DIRECTORY && to_set == (type == CASEFS_FILE ? FUSE_SET_ATTR_CTIME : 0);
}

/* Nothing to set at all, of a file, comes before a write. */
static bool may_take_set_id(int to_set) {
  const int owner = FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID | FUSE_SET_ATTR_KILL_SUID;
  return !(to_set & FUSE_SET_ATTR_MODE) &&
         (to_set & owner || to_set == FUSE_SET_ATTR_CTIME || to_set == 0);
}

/* Of who changes a file's owner or, without the right to leave them, its size. */
static int take_set_id(fuse_req_t request, casefs_node *node, struct stat *status, int *to_set) {
  const struct fuse_ctx *context = fuse_req_ctx(request);
  struct casefs_attributes attributes;
  if (!may_take_set_id(*to_set))
    return 0;
  int r = casefs_get_attributes(node, &attributes);
  if (r < 0 || !(attributes.mode & (S_ISUID | S_ISGID)))
    return r;
  if (is_empty_chown(attributes.type, *to_set) && context->uid != 0 &&
      context->uid != attributes.uid)
    return -EPERM;
  bool in_group = context->uid == 0 || caller_in_group(request, attributes.gid);
  uint32_t mode = without_set_id(&attributes, context->gid, in_group);
  if (mode != attributes.mode) {
    status->st_mode = mode;
    *to_set |= FUSE_SET_ATTR_MODE;
  }
  return 0;
}

static int set_attributes(casefs_node *node, const struct stat *status, int to_set) {
  struct casefs_attributes attributes;
  unsigned mask = attributes_to_set(status, to_set, &attributes);
  int r = 0;
  /* To change nothing is a change too: chown(2) with -1 for both. */
  if (mask == 0 && !(to_set & FUSE_SET_ATTR_SIZE)) {
    mask = CASEFS_CHANGED;
    attributes.changed = casefs_now();
  }
  if (to_set & FUSE_SET_ATTR_SIZE)
    r = casefs_truncate(node, (uint64_t)status->st_size);
  if (r == 0 && mask & CASEFS_MODE)
    r = acl_change_mode(node, attributes.mode);
  if (r == 0 && mask != 0)
    r = casefs_set_attributes(node, mask, &attributes);
  return r;
}

/* What mount options show is not what could be changed. */
static bool is_shown_otherwise(const struct shown *shown, int to_set) {
  return (to_set & FUSE_SET_ATTR_UID && shown->force_uid) ||
         (to_set & FUSE_SET_ATTR_GID && shown->force_gid);
}

void handle_setattr(fuse_req_t request, fuse_ino_t id, struct stat *status, int to_set,
                    struct fuse_file_info *file) {
  (void)file;
  struct mount *mount = mount_of(request);
  casefs_node *node;
  if (is_shown_otherwise(&mount->options.xattrs.shown, to_set)) {
    reply_error(request, -EPERM);
    return;
  }
  int r = inode_open(&mount->inodes, id, &node);
  if (r == 0) {
    pthread_mutex_t *times = inode_times_lock(&mount->inodes, id);
    if (mount->clears_set_id)
      r = take_set_id(request, node, status, &to_set);
    pthread_mutex_lock(times);
    if (r == 0 && !is_of_no_use(node, to_set))
      r = set_attributes(node, status, without_old_times(mount, id, status, to_set));
    pthread_mutex_unlock(times);
    if (r == 0)
      r = stat_of_node(mount, node, status);
    casefs_node_close(node);
  }
  if (r < 0)
    reply_error(request, r);
  else
    fuse_reply_attr(request, status, FOREVER);
}

/* After fallocate(2) and copy_file_range(2): with the writeback cache the kernel has stamped the
 * file already, and may have told so before; otherwise it is for us. */
void stamp_change(struct mount *mount, casefs_node *node, const struct casefs_attributes *before) {
  struct casefs_attributes attributes = *before;
  if (!mount->options.writeback)
    attributes.modified = attributes.changed = casefs_now();
  /* What was changed is so, whether or not its time can be told. */
  casefs_set_attributes(node, CASEFS_MODIFIED | CASEFS_CHANGED, &attributes);
}

static bool is_access_due(struct mount *mount, const struct casefs_attributes *attributes,
                          uint64_t now) {
  if (mount->options.atime == ATIME_ALWAYS)
    return true;
  return attributes->accessed <= attributes->modified ||
         attributes->accessed <= attributes->changed || attributes->accessed + DAY <= now;
}

void touch_accessed(struct mount *mount, casefs_node *node) {
  struct casefs_attributes attributes;
  uint64_t now = casefs_now();
  if (mount->options.read_only || mount->options.atime == ATIME_NEVER ||
      casefs_get_attributes(node, &attributes) < 0 || !is_access_due(mount, &attributes, now))
    return;
  attributes.accessed = now;
  /* A volume that is full or has failed can still be read. */
  casefs_set_attributes(node, CASEFS_ACCESSED | CASEFS_KEEP_CHANGED, &attributes);
}

/* ---------------------------------------------------------------------- statfs */

void handle_statfs(fuse_req_t request, fuse_ino_t id) {
  (void)id;
  struct mount *mount = mount_of(request);
  struct casefs_statistics statistics;
  casefs_volume_statistics(mount->volume, &statistics);
  /* A file takes about a quarter of a kilobyte, and ids do not run out. */
  uint64_t more = statistics.free / 256;
  struct statvfs status = {
      .f_bsize = CASEFS_BLOCK_SIZE,
      .f_frsize = CASEFS_BLOCK_SIZE,
      .f_blocks = statistics.size / CASEFS_BLOCK_SIZE,
      .f_bfree = (statistics.free + statistics.reserved) / CASEFS_BLOCK_SIZE,
      .f_bavail = statistics.free / CASEFS_BLOCK_SIZE,
      .f_files = statistics.nodes + more,
      .f_ffree = more,
      .f_favail = more,
      .f_fsid = mount->fsid,
      .f_namemax = CASEFS_MAX_NAME_UNITS,
  };
  fuse_reply_statfs(request, &status);
}
