/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Inside mount.casefs: what the files that answer the kernel's requests share.
 *
 *   main.c        starts, mounts, ends
 *   options.c     the command line
 *   session.c     what is agreed with the kernel, replies, messages
 *   protocol.c    what libfuse does not know
 *   workers.c     the threads that serve requests
 *   signals.c     how it is ended
 *   errands.c     what has to wait for the kernel
 *   inode.c       nodes the kernel knows
 *   stat.c        attributes
 *   entries.c     names: look up, make, remove, rename
 *   listing.c     directories read
 *   data.c        contents read and written
 *   flags.c       ioctls: chattr(1)
 *   extended.c    extended attributes, over xattrs.h and acl.h
 *
 * Handlers reply exactly once.  `r` is 0 or a negative errno, as in the library.
 */

#ifndef CASEFS_MOUNT_MOUNT_H
#define CASEFS_MOUNT_MOUNT_H

#define FUSE_USE_VERSION 312

#include "inode.h"
#include "options.h"

#include <fuse_lowlevel.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define FOREVER 1e9          /* seconds: nobody but this mount changes the volume */
#define NEGATIVE_TIMEOUT 1.0 /* that a name is missing, where case matters */

struct errand;
struct listing;

enum stage { STARTING, MOUNTED, ENDED };

/* Errands of one kind, run one after the other by a thread. */
struct errand_queue {
  struct mount *mount;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t filled;
  struct errand *first, *last;
  bool started, ending;
};

/* The threads that serve requests: see workers.c. */
struct workers {
  pthread_t threads[MAX_THREADS], watch;
  unsigned count;
  bool watched, spins;

  pthread_mutex_t lock;
  pthread_cond_t unparked, happened, ended;
  int parked;      /* lock; for a moment -1, before the first one is there */
  unsigned wanted; /* lock; of those parked, woken and not yet awake */

  unsigned trimmed;   /* the watch's: taken, when it last gave memory back */
  uint64_t trim_time; /* nanoseconds */

  _Atomic bool ending, watch_sleeps;
  _Atomic unsigned reading, alive;
  _Atomic unsigned taken;      /* requests, modulo 2^32 */
  _Atomic uint64_t busy_until; /* nanoseconds: no spinning before */
};

struct mount {
  struct mount_options options;
  struct casefs_device *device;
  casefs_volume *volume;
  struct fuse_session *session;
  struct inode_table inodes;
  pthread_mutex_t listings_lock;
  struct listing *listings; /* directories that are open */
  uint32_t fsid;
  struct workers workers;
  struct errand_queue entry_errands, page_errands;
  _Atomic bool clears_set_id; /* agreed with the kernel (protocol.c) */
  _Atomic bool agreed;
  pthread_mutex_t ending; /* held while a signal is followed */
  enum stage stage;       /* ending */
  _Atomic bool failure_told;
  _Atomic bool background; /* messages go to the system's log */
};

/* ------------------------------------------------------------------- session.c */

struct mount *mount_of(fuse_req_t request);

/* Reply r < 0 as an error; the first failure of the volume is told once. */
void reply_error(fuse_req_t request, int r);
/* Reply success, or the error r. */
void reply_result(fuse_req_t request, int r);

/* One sentence on the standard error, or to the system's log. */
void log_message(struct mount *mount, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A buffer of this thread for that many bytes, or NULL: valid until it is asked for the next. */
void *thread_buffer(size_t size);

/* Mount, and serve until it is unmounted.  ready is called when it is mounted.  Returns an exit
 * status. */
int session_run(struct mount *mount, void (*ready)(struct mount *mount));

/* At the end of a thread. */
void free_thread_buffer(void);

/* Make the kernel drop what it knows of a node's attributes. */
void forget_attributes(struct mount *mount, uint64_t id);

/* ------------------------------------------------------------------ protocol.c */

/* After mounting, before the first request. */
int protocol_extend(struct mount *mount);
/* Answer a request, by libfuse or without. */
void protocol_process(struct mount *mount, const struct fuse_buf *request);
bool protocol_is_long(const struct fuse_buf *request);
/* Before a change of a file's contents by a member of that group who has no right to leave what
 * gives its rights: set-ID bits and capabilities. */
void clear_set_id(struct mount *mount, uint64_t id, uint32_t gid);

/* ------------------------------------------------------------------- workers.c */

/* Start as many of the threads as there is memory for: false if it is none. */
bool workers_start(struct mount *mount);
/* Return when they have ended, as the volume was unmounted. */
void workers_wait(struct mount *mount);
/* Make all end, and return when they have; until workers_join. */
void workers_stop(struct mount *mount);
void workers_join(struct mount *mount);

/* ------------------------------------------------------------------- signals.c */

/* Call before any other thread is started, as they are to inherit what is blocked. */
bool signals_start(struct mount *mount);
/* Say that it is mounted, and before what that needs is given up, that it has ended: returns when
 * no signal is being followed. */
void signals_enter(struct mount *mount, enum stage stage);

/* ------------------------------------------------------------------- errands.c */

bool errands_start(struct mount *mount);
/* Run what is left, and end. */
void errands_stop(struct mount *mount);
/* Make the kernel drop an entry, soon. */
void forget_entry(struct mount *mount, uint64_t directory, const char *name);
/* Have the kernel write back what it has of a file from offset on, then call seek_and_reply.
 * Returns false, without a reply, for lack of memory. */
bool seek_after_writing_back(fuse_req_t request, uint64_t id, off_t offset, int whence);

/* --------------------------------------------------------------------- stat.c */

/* What stat(2) tells of a node.  Of a stream, its file's owner and mode. */
int stat_of(struct mount *mount, const struct casefs_attributes *attributes, struct stat *status);
int stat_of_node(struct mount *mount, casefs_node *node, struct stat *status);
/* Answer a statx(2), with the time of creation, which libfuse 3.14 does not know. */
void handle_statx(struct mount *mount, uint64_t unique, uint64_t id);

/* A mode without the bits that a change by a member of that group (or of others, in_group) takes
 * away: set-user-ID, and set-group-ID if the group may execute or the caller is not in it. */
uint32_t without_set_id(const struct casefs_attributes *attributes, uint32_t gid, bool in_group);

void handle_getattr(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *file);
void handle_setattr(fuse_req_t request, fuse_ino_t id, struct stat *status, int to_set,
                    struct fuse_file_info *file);
void handle_statfs(fuse_req_t request, fuse_ino_t id);
/* Give a file that was changed on behalf of the kernel the times that it had, or, without the
 * writeback cache, the time now.  From before the change on, hold inode_times_lock. */
void stamp_change(struct mount *mount, casefs_node *node, const struct casefs_attributes *before);
/* The node was read: its access time, as the options have it. */
void touch_accessed(struct mount *mount, casefs_node *node);

/* ------------------------------------------------------------------ entries.c */

/* The entry of a name as this mount matches names: ENOENT...  stored may be NULL. */
int find_entry(struct mount *mount, casefs_node *directory, const char *name,
               struct casefs_attributes *attributes, char *stored);
/* How long the kernel may keep an entry of that type in a directory, found by that name. */
double entry_timeout(struct mount *mount, const struct casefs_attributes *directory,
                     enum casefs_type type);

void handle_lookup(fuse_req_t request, fuse_ino_t parent, const char *name);
void handle_forget(fuse_req_t request, fuse_ino_t id, uint64_t lookups);
void handle_forget_multi(fuse_req_t request, size_t count, struct fuse_forget_data *forgets);
void handle_mknod(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void handle_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode);
void handle_symlink(fuse_req_t request, const char *target, fuse_ino_t parent, const char *name);
void handle_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
                   struct fuse_file_info *file);
void handle_link(fuse_req_t request, fuse_ino_t id, fuse_ino_t parent, const char *name);
void handle_unlink(fuse_req_t request, fuse_ino_t parent, const char *name);
void handle_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name);
void handle_rename(fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                   const char *new_name, unsigned flags);
void handle_readlink(fuse_req_t request, fuse_ino_t id);

/* ------------------------------------------------------------------ listing.c */

/* Close those that are still open, at the end. */
void listings_close(struct mount *mount);
void handle_opendir(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *file);
void handle_readdir(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset,
                    struct fuse_file_info *file);
void handle_readdirplus(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset,
                        struct fuse_file_info *file);
void handle_releasedir(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *file);

/* --------------------------------------------------------------------- data.c */

void handle_open(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *file);
void handle_read(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset,
                 struct fuse_file_info *file);
void handle_write(fuse_req_t request, fuse_ino_t id, const char *buffer, size_t size, off_t offset,
                  struct fuse_file_info *file);
void handle_fsync(fuse_req_t request, fuse_ino_t id, int only_data, struct fuse_file_info *file);
void handle_fallocate(fuse_req_t request, fuse_ino_t id, int mode, off_t offset, off_t length,
                      struct fuse_file_info *file);
void handle_lseek(fuse_req_t request, fuse_ino_t id, off_t offset, int whence,
                  struct fuse_file_info *file);
/* Answer where data or a hole is. */
void seek_and_reply(fuse_req_t request, uint64_t id, off_t offset, int whence);
void handle_copy_file_range(fuse_req_t request, fuse_ino_t from, off_t from_offset,
                            struct fuse_file_info *from_file, fuse_ino_t to, off_t to_offset,
                            struct fuse_file_info *to_file, size_t length, int flags);

/* -------------------------------------------------------------------- flags.c */

void handle_ioctl(fuse_req_t request, fuse_ino_t id, unsigned command, void *argument,
                  struct fuse_file_info *file, unsigned flags, const void *input, size_t input_size,
                  size_t output_size);

/* ----------------------------------------------------------------- extended.c */

void handle_getxattr(fuse_req_t request, fuse_ino_t id, const char *name, size_t size);
void handle_setxattr(fuse_req_t request, fuse_ino_t id, const char *name, const char *value,
                     size_t size, int flags);
void handle_listxattr(fuse_req_t request, fuse_ino_t id, size_t size);
void handle_removexattr(fuse_req_t request, fuse_ino_t id, const char *name);

/* Whether the caller is in a group. */
bool caller_in_group(fuse_req_t request, uint32_t gid);

#endif
