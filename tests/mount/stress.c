/* SPDX-License-Identifier: BSD-3-Clause */

#include "stress.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LOG_LINES = 24, LOG_LINE = 160, REPEAT = 400, PROCESSES = 1024 };

static _Thread_local char log_lines[LOG_LINES][LOG_LINE];
static _Thread_local uint64_t logged;
static char repeat_with[REPEAT];

void note(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(log_lines[logged++ % LOG_LINES], LOG_LINE, format, arguments);
  va_end(arguments);
}

void set_repeat(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(repeat_with, sizeof repeat_with, format, arguments);
  va_end(arguments);
}

/* All of it in one write, so that what several processes say does not mix. */
static _Noreturn void fail_with(const char *reason, const char *format, va_list arguments) {
  static char text[LOG_LINES * LOG_LINE + 2000];
  static bool failing;
  if (__atomic_test_and_set(&failing, __ATOMIC_SEQ_CST))
    for (;;)
      pause(); /* another thread is about to end this process */
  size_t length = (size_t)snprintf(text, sizeof text, "%s: ", program_invocation_short_name);
  length += (size_t)vsnprintf(text + length, 1000, format, arguments);
  length +=
      (size_t)snprintf(text + length, 500, "%s%s\n", reason ? ": " : "", reason ? reason : "");
  uint64_t first = logged > LOG_LINES ? logged - LOG_LINES : 0;
  for (uint64_t line = first; line < logged; line++)
    length += (size_t)snprintf(text + length, LOG_LINE + 20, "  %s\n", log_lines[line % LOG_LINES]);
  if (repeat_with[0])
    length += (size_t)snprintf(text + length, REPEAT + 20, "  repeat: %s\n", repeat_with);
  ssize_t written = write(STDERR_FILENO, text, length);
  _exit(written >= 0 ? 1 : 3);
}

void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fail_with(NULL, format, arguments);
}

void fail_errno(const char *format, ...) {
  const char *reason = strerror(errno);
  va_list arguments;
  va_start(arguments, format);
  fail_with(reason, format, arguments);
}

double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

uint64_t number_argument(const char *text) {
  char *end;
  errno = 0;
  uint64_t number = strtoull(text, &end, 0);
  if (errno || end == text || *end)
    fail("'%s' is not a number", text);
  return number;
}

void *shared_memory(size_t size) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    fail_errno("%zu bytes of shared memory", size);
  return memory;
}

static pid_t start_process(unsigned number, void (*work)(unsigned number, void *context),
                           void *context) {
  fflush(NULL);
  pid_t pid = fork();
  if (pid < 0)
    fail_errno("fork");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    work(number, context);
    fflush(NULL);
    _exit(0);
  }
  return pid;
}

unsigned run_processes(unsigned count, void (*work)(unsigned number, void *context),
                       void *context) {
  pid_t pids[PROCESSES];
  unsigned failed = 0;
  if (count > PROCESSES)
    fail("at most %d processes, not %u", PROCESSES, count);
  for (unsigned i = 0; i < count; i++)
    pids[i] = start_process(i, work, context);
  for (unsigned i = 0; i < count; i++) {
    int status;
    if (waitpid(pids[i], &status, 0) != pids[i])
      fail_errno("waiting for process %u", i);
    if (WIFSIGNALED(status))
      fprintf(stderr, "%s: process %u ended by signal %d\n", program_invocation_short_name, i,
              WTERMSIG(status));
    failed += status != 0;
  }
  return failed;
}

bool drop_caches(char what) {
  int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
  bool dropped = fd >= 0 && write(fd, &what, 1) == 1;
  if (fd >= 0)
    close(fd);
  return dropped;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where) {
  (void)status;
  (void)type;
  (void)where;
  if (remove(path) != 0)
    fail_errno("removing %s", path);
  return 0;
}

void remove_tree(const char *path) {
  if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
    fail_errno("removing %s", path);
}
