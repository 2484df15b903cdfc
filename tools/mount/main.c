/* SPDX-License-Identifier: BSD-3-Clause
 *
 * mount.casefs: a casefs volume as a directory.
 */

#include "mount.h"

#include "../casefs/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

/* ---------------------------------------------------------------------- background */

static int ready_pipe = -1; /* in the background: where the parent waits */

/* Go to the background before anything is opened, as connections and threads would not come along.
 * The parent waits until the mount is there, or what was wrong has been said, and exits. */
static void go_to_background(void) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    complain("no pipe can be made: %s", strerror(errno));
    exit(EXIT_SYSTEM);
  }
  pid_t child = fork();
  if (child < 0) {
    complain("no process can be started: %s", strerror(errno));
    exit(EXIT_SYSTEM);
  }
  if (child > 0) {
    unsigned char status;
    int raw;
    close(ends[1]);
    if (read(ends[0], &status, 1) == 1)
      _exit(status);
    /* It ended before it was ready. */
    _exit(waitpid(child, &raw, 0) == child && WIFEXITED(raw) ? WEXITSTATUS(raw) : EXIT_SYSTEM);
  }
  close(ends[0]);
  ready_pipe = ends[1];
  setsid();
}

static void detach_streams(void) {
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0)
    return;
  for (int i = 0; i < 3; i++)
    dup2(null, i);
  if (null > 2)
    close(null);
}

/* It is mounted: let the parent go. */
static void end_waiting(struct mount *mount) {
  if (ready_pipe < 0)
    return;
  openlog("mount.casefs", LOG_PID, LOG_DAEMON);
  mount->background = true;
  detach_streams();
  ssize_t written = write(ready_pipe, "", 1);
  (void)written;
  close(ready_pipe);
}

/* ------------------------------------------------------------------------- volumes */

/* A volume in memory is made on the spot. */
static bool format_memory(struct mount *mount) {
  struct casefs_format_options format = {.case_insensitive =
                                             mount->options.case_view == CASE_INSENSITIVE,
                                         .uid = getuid(),
                                         .gid = getgid()};
  if (strncmp(mount->options.device, "mem:", 4) != 0)
    return true;
  if (mount->options.case_view == CASE_INSENSITIVE)
    mount->options.case_view = CASE_VOLUME;
  int r = casefs_format(mount->device, &format);
  if (r < 0)
    complain("a volume cannot be made on '%s': %s", mount->options.source, reason(r));
  return r == 0;
}

static bool open_volume(struct mount *mount) {
  const struct mount_options *options = &mount->options;
  struct casefs_open_options open = {.read_only = options->read_only,
                                     .cache_size = options->cache_size,
                                     .commit_interval = options->commit * 1000,
                                     .no_discard = options->no_discard};
  mount->device = device_open(options->device, options->read_only ? CASEFS_DEVICE_READ_ONLY : 0, 0);
  return mount->device && format_memory(mount) &&
         volume_open(mount->device, options->source, &open, &mount->volume);
}

static uint32_t fsid_of(casefs_volume *volume) {
  struct casefs_statistics statistics;
  uint32_t id;
  casefs_volume_statistics(volume, &statistics);
  memcpy(&id, statistics.uuid, sizeof id);
  return id;
}

static int serve(struct mount *mount) {
  if (!open_volume(mount))
    return EXIT_MOUNT;
  if (mount->options.fake)
    return EXIT_SUCCESS;
  mount->fsid = fsid_of(mount->volume);
  if (inodes_create(&mount->inodes, mount->volume) < 0) {
    complain("no memory is left");
    return EXIT_SYSTEM;
  }
  pthread_mutex_init(&mount->listings_lock, NULL);
  int status = session_run(mount, end_waiting);
  listings_close(mount);
  inodes_destroy(&mount->inodes);
  return status;
}

/* What the last sync says is the last chance to tell that something is lost. */
static int close_volume(struct mount *mount, int status) {
  int r = casefs_close(mount->volume);
  if (r < 0 && !mount->options.read_only) {
    log_message(mount, "%s: what was changed since the last sync is lost: %s",
                mount->options.source, reason(r));
    status = status == EXIT_SUCCESS ? EXIT_MOUNT : status;
  }
  casefs_device_close(mount->device);
  return status;
}

int main(int count, char **arguments) {
  struct mount mount = {0};
  /* What threads free is given back to few arenas, not kept in one for each. */
  mallopt(M_ARENA_MAX, 2);
  tool_start("mount.casefs");
  int status = options_parse(count, arguments, &mount.options);
  if (status >= 0) {
    options_clear(&mount.options);
    return status;
  }
  if (!mount.options.foreground && !mount.options.fake)
    go_to_background();
  if (!signals_start(&mount)) {
    complain("threads cannot be started: no memory is left");
    return EXIT_SYSTEM;
  }
  /* Nothing is to be held that could be unmounted. */
  if (chdir("/") != 0)
    complain("'/' cannot be entered: %s", strerror(errno));
  status = close_volume(&mount, serve(&mount));
  options_clear(&mount.options);
  return status;
}
