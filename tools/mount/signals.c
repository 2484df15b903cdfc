/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Ending when it is asked for: a signal unmounts, and the daemon ends because it is unmounted.
 */

#include "mount.h"

#include "../casefs/tool.h"

#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNMOUNT_TRIES 10

static sigset_t signals_of_end(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGHUP);
  return set;
}

/* A real unmounting, so that the kernel brings all that it has not yet written; the workers go on
 * meanwhile.  by_force: also while it is in use, and nothing is brought any more. */
static int unmount_once(struct mount *mount, bool by_force) {
  if (geteuid() == 0)
    return umount2(mount->options.point,
                   UMOUNT_NOFOLLOW | (by_force ? MNT_DETACH | MNT_FORCE : 0)) == 0
               ? 0
               : -errno;
  pid_t child = fork();
  if (child == 0) {
    execlp("fusermount3", "fusermount3", by_force ? "-uqz" : "-uq", "--", mount->options.point,
           (char *)NULL);
    _exit(127);
  }
  int status;
  if (child < 0 || waitpid(child, &status, 0) != child)
    return -errno;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

/* Bring what the kernel has not yet written: it has to be written before the connection ends. */
static void flush_kernel(struct mount *mount) {
  pid_t child = fork();
  if (child == 0) {
    execlp("sync", "sync", "-f", "--", mount->options.point, (char *)NULL);
    _exit(127);
  }
  if (child > 0)
    waitpid(child, NULL, 0);
}

static void end_mount(struct mount *mount) {
  int r = -EBUSY;
  for (int i = 0; i < UNMOUNT_TRIES && r == -EBUSY; i++) {
    r = unmount_once(mount, false);
    if (r == -EBUSY)
      usleep(100000);
  }
  if (r == 0 || r == -EINVAL || r == -ENOENT) /* or somebody else has unmounted it */
    return;
  log_message(mount, "%s is still in use: what was written is kept, but open files end here",
              mount->options.point);
  flush_kernel(mount);
  workers_stop(mount);
  unmount_once(mount, true);
}

/* Before it is mounted there is nothing to end, and when it has ended neither. */
static void *await_signals(void *data) {
  struct mount *mount = data;
  sigset_t set = signals_of_end();
  int number;
  while (sigwait(&set, &number) == 0) {
    pthread_mutex_lock(&mount->ending);
    if (mount->stage == STARTING)
      _exit(128 + number);
    if (mount->stage == MOUNTED)
      end_mount(mount);
    pthread_mutex_unlock(&mount->ending);
  }
  return NULL;
}

/* Of SIGUSR1, by which workers are woken. */
static void ignore(int number) {
  (void)number;
}

bool signals_start(struct mount *mount) {
  sigset_t set = signals_of_end();
  pthread_t thread;
  pthread_mutex_init(&mount->ending, NULL);
  struct sigaction interrupt = {.sa_handler = ignore};
  sigaction(SIGUSR1, &interrupt, NULL);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  bool started = pthread_create(&thread, NULL, await_signals, mount) == 0;
  if (started)
    pthread_detach(thread);
  return started;
}

void signals_enter(struct mount *mount, enum stage stage) {
  pthread_mutex_lock(&mount->ending);
  mount->stage = stage;
  pthread_mutex_unlock(&mount->ending);
}
