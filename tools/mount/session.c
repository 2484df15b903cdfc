/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Between libfuse and the handlers: what is negotiated with the kernel, replies, messages.
 */

#include "mount.h"

#include "../casefs/tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#define READ_AHEAD_KIB 1024u

/* ------------------------------------------------------------------------ messages */

static void log_arguments(struct mount *mount, const char *format, va_list arguments) {
  if (mount->background)
    vsyslog(LOG_DAEMON | LOG_ERR, format, arguments);
  else
    complain_arguments(format, arguments);
}

void log_message(struct mount *mount, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  log_arguments(mount, format, arguments);
  va_end(arguments);
}

struct mount *mount_of(fuse_req_t request) {
  return fuse_req_userdata(request);
}

/* The volume's failure, once: each program that meets it gets an error of its own. */
static void tell_failure(struct mount *mount) {
  struct casefs_statistics statistics;
  casefs_volume_statistics(mount->volume, &statistics);
  if (statistics.failure == 0 || atomic_exchange(&mount->failure_told, true))
    return;
  log_message(
      mount,
      "%s: %s; the volume is read-only until it is mounted again, and what was changed since the "
      "last sync may be lost",
      mount->options.source,
      statistics.failure == -ESTALE ? "another program has taken the volume over"
                                    : "writing to the device failed");
}

/* -ESTALE makes the kernel look the name up again, which is of no use here. */
static int number_for_kernel(int r) {
  return r == -ESTALE ? EIO : -r;
}

void reply_error(fuse_req_t request, int r) {
  if (r == -EIO || r == -EROFS || r == -ESTALE)
    tell_failure(mount_of(request));
  fuse_reply_err(request, number_for_kernel(r));
}

void reply_result(fuse_req_t request, int r) {
  if (r < 0)
    reply_error(request, r);
  else
    fuse_reply_err(request, 0);
}

/* ------------------------------------------------------------------- thread buffers */

static _Thread_local void *buffer;
static _Thread_local size_t buffer_size;

void *thread_buffer(size_t size) {
  if (size <= buffer_size && buffer)
    return buffer;
  size_t larger = size < 65536 ? 65536 : size;
  free(buffer);
  buffer = malloc(larger);
  buffer_size = buffer ? larger : 0;
  return buffer;
}

void free_thread_buffer(void) {
  free(buffer);
  buffer = NULL;
  buffer_size = 0;
}

/* --------------------------------------------------------------------- negotiation */

static void handle_init(void *data, struct fuse_conn_info *connection) {
  struct mount *mount = data;
  const unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS |
                          FUSE_CAP_DONT_MASK | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
                          FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_IOCTL_DIR |
                          FUSE_CAP_EXPLICIT_INVAL_DATA |
                          (mount->options.writeback ? FUSE_CAP_WRITEBACK_CACHE : 0) |
                          (mount->options.permissions ? FUSE_CAP_POSIX_ACL : 0);
  connection->want = wanted & connection->capable;
  connection->time_gran = 100;
  /* A read waits behind those writes in the background that were there before. */
  connection->max_background = 16;
  connection->congestion_threshold = 12;
}

static const struct fuse_lowlevel_ops operations = {
    .init = handle_init,
    .lookup = handle_lookup,
    .forget = handle_forget,
    .forget_multi = handle_forget_multi,
    .getattr = handle_getattr,
    .setattr = handle_setattr,
    .readlink = handle_readlink,
    .mknod = handle_mknod,
    .mkdir = handle_mkdir,
    .unlink = handle_unlink,
    .rmdir = handle_rmdir,
    .symlink = handle_symlink,
    .rename = handle_rename,
    .link = handle_link,
    .open = handle_open,
    .read = handle_read,
    .write = handle_write,
    .fsync = handle_fsync,
    .opendir = handle_opendir,
    .readdir = handle_readdir,
    .readdirplus = handle_readdirplus,
    .releasedir = handle_releasedir,
    .fsyncdir = handle_fsync,
    .statfs = handle_statfs,
    .setxattr = handle_setxattr,
    .getxattr = handle_getxattr,
    .listxattr = handle_listxattr,
    .removexattr = handle_removexattr,
    .create = handle_create,
    .ioctl = handle_ioctl,
    .fallocate = handle_fallocate,
    .copy_file_range = handle_copy_file_range,
    .lseek = handle_lseek,
};

/* --------------------------------------------------------------- the kernel's caches */

void forget_attributes(struct mount *mount, uint64_t id) {
  fuse_lowlevel_notify_inval_inode(mount->session, id, -1, 0);
}

/* ------------------------------------------------------------------------- running */

static struct fuse_session *new_session(struct mount *mount) {
  char *option = formatted("-o%s", mount->options.fuse);
  char *values[] = {"mount.casefs", option, "-d", NULL};
  struct fuse_args arguments = FUSE_ARGS_INIT(mount->options.debug ? 3 : 2, values);
  struct fuse_session *session =
      fuse_session_new(&arguments, &operations, sizeof operations, mount);
  fuse_opt_free_args(&arguments);
  free(option);
  return session;
}

/* As /proc/self/mountinfo writes spaces and the like: \040. */
static void unescape(char *text) {
  char *end = text;
  for (unsigned code; *text; end++)
    if (sscanf(text, "\\%3o", &code) == 1) {
      *end = (char)code;
      text += 4;
    } else {
      *end = *text++;
    }
  *end = '\0';
}

/* The device number of a mount.  Nothing here may ask the file system itself: if the daemon were
 * killed while one of its own threads waits for an answer, neither could ever end. */
static bool find_device(const char *point, unsigned *major_number, unsigned *minor_number) {
  FILE *mounts = fopen("/proc/self/mountinfo", "r");
  char *line = NULL, *place;
  size_t capacity = 0;
  bool found = false;
  while (mounts && getline(&line, &capacity, mounts) > 0) {
    unsigned numbers[2];
    if (sscanf(line, "%*u %*u %u:%u %*s %ms", &numbers[0], &numbers[1], &place) != 3)
      continue;
    unescape(place);
    if (strcmp(place, point) == 0) { /* of several, the last is on top */
      *major_number = numbers[0];
      *minor_number = numbers[1];
      found = true;
    }
    free(place);
  }
  free(line);
  if (mounts)
    fclose(mounts);
  return found;
}

/* The kernel reads 128 KiB ahead of who reads in sequence, however large requests may be; only root
 * can say otherwise, and nothing is lost where it cannot be. */
static void read_further_ahead(const char *point) {
  unsigned numbers[2];
  char path[64];
  if (!find_device(point, &numbers[0], &numbers[1]))
    return;
  snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/read_ahead_kb", numbers[0], numbers[1]);
  FILE *setting = fopen(path, "w");
  if (!setting)
    return;
  fprintf(setting, "%u\n", READ_AHEAD_KIB);
  fclose(setting);
}

static int serve(struct mount *mount, void (*ready)(struct mount *mount)) {
  bool started = workers_start(mount);
  if (started) {
    read_further_ahead(mount->options.point);
    signals_enter(mount, MOUNTED);
    ready(mount);
  } else {
    log_message(mount, "threads cannot be started: no memory is left");
    workers_stop(mount);
  }
  workers_wait(mount);
  signals_enter(mount, ENDED);
  workers_join(mount);
  return started ? EXIT_SUCCESS : EXIT_SYSTEM;
}

/* libfuse's messages go where ours go.  When it has ended, all there is to say is that it was
 * unmounted before. */
static struct mount *message_mount;

static void take_message(enum fuse_log_level level, const char *format, va_list arguments) {
  struct mount *mount = message_mount;
  if (level > FUSE_LOG_WARNING && !mount->options.debug)
    return;
  if (mount->stage != ENDED)
    log_arguments(mount, format, arguments);
}

int session_run(struct mount *mount, void (*ready)(struct mount *mount)) {
  message_mount = mount;
  fuse_set_log_func(take_message);
  mount->session = new_session(mount);
  if (!mount->session)
    return EXIT_INVOCATION;
  /* libfuse says on the standard error what is wrong. */
  int status = EXIT_MOUNT;
  if (fuse_session_mount(mount->session, mount->options.point) == 0) {
    if (protocol_extend(mount) != 0)
      log_message(mount, "libfuse does not take more of the protocol: writing will be slower");
    status = errands_start(mount) ? serve(mount, ready) : EXIT_SYSTEM;
    errands_stop(mount);
    fuse_session_unmount(mount->session);
  }
  fuse_session_destroy(mount->session);
  return status;
}
