/* SPDX-License-Identifier: BSD-3-Clause */
/* mount-null: the least a FUSE daemon can do, for tests/bench/mount: what a request costs by
 * itself.
 *
 * The root directory has one empty file, "file".  Nothing is cached by the kernel, so that each
 * look-up and each question for attributes is a request, answered from constants.
 *
 *   mount-null [-s] -f DIRECTORY
 *
 * Served by libfuse's own loop; or, with -s, by one thread that looks for the next request for a
 * while before it sleeps.
 */

#define FUSE_USE_VERSION 34

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { FILE_ID = 2, LOOK = 50000 /* nanoseconds */ };

static struct stat status_of(fuse_ino_t node) {
  return (struct stat){.st_ino = node,
                       .st_mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644,
                       .st_nlink = 1};
}

static void null_lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
  struct fuse_entry_param entry = {.ino = FILE_ID, .attr = status_of(FILE_ID)};
  if (parent == FUSE_ROOT_ID && strcmp(name, "file") == 0)
    fuse_reply_entry(request, &entry);
  else
    fuse_reply_err(request, ENOENT);
}

static void null_getattr(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *info) {
  struct stat status = status_of(node);
  (void)info;
  fuse_reply_attr(request, &status, 0);
}

static const struct fuse_lowlevel_ops operations = {
    .lookup = null_lookup,
    .getattr = null_getattr,
};

static int64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Returns when another request may be there. */
static void wait_for_request(int device, int64_t since) {
  struct pollfd pending = {.fd = device, .events = POLLIN};
  if (nanoseconds() - since < LOOK)
    sched_yield();
  else
    poll(&pending, 1, -1);
}

static int loop_looking(struct fuse_session *session) {
  struct fuse_buf request = {0};
  int device = fuse_session_fd(session), r = -EAGAIN;
  int64_t last = nanoseconds();
  fcntl(device, F_SETFL, fcntl(device, F_GETFL) | O_NONBLOCK);
  while (!fuse_session_exited(session) && (r > 0 || r == -EAGAIN || r == -EINTR)) {
    r = fuse_session_receive_buf(session, &request);
    if (r > 0) {
      fuse_session_process_buf(session, &request);
      last = nanoseconds();
    } else if (r == -EAGAIN) {
      wait_for_request(device, last);
    }
  }
  free(request.mem);
  return 0;
}

static int serve(struct fuse_session *session, const struct fuse_cmdline_opts *options) {
  int result = 1;
  if (fuse_session_mount(session, options->mountpoint) == 0) {
    if (fuse_set_signal_handlers(session) == 0) {
      struct fuse_loop_config config = {.max_idle_threads = 10};
      result =
          options->singlethread ? loop_looking(session) : fuse_session_loop_mt(session, &config);
      fuse_remove_signal_handlers(session);
    }
    fuse_session_unmount(session);
  }
  return result;
}

int main(int count, char **arguments) {
  struct fuse_args args = FUSE_ARGS_INIT(count, arguments);
  struct fuse_cmdline_opts options;
  if (fuse_parse_cmdline(&args, &options) != 0 || options.mountpoint == NULL)
    return 2;
  struct fuse_session *session = fuse_session_new(&args, &operations, sizeof operations, NULL);
  int result = session ? serve(session, &options) : 1;
  if (session)
    fuse_session_destroy(session);
  free(options.mountpoint);
  fuse_opt_free_args(&args);
  return result;
}
