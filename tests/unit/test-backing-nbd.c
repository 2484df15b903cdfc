/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Backing stores on NBD servers: nbdkit, its plugins and filters.  What hangs is ended by an
 * alarm.
 */

#include "backing-exercise.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { DEADLINE = 120, MOST_ARGUMENTS = 24 };

#ifndef ROUNDS
#define ROUNDS 1000
#endif

/* ------------------------------------------------------------------------ servers */

static struct server {
  pid_t pid;
  char uri[256];
} server;

static void nap(unsigned milliseconds) {
  nanosleep(
      &(struct timespec){.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000},
      NULL);
}

static int64_t milliseconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void end_server(int signal) {
  if (server.pid > 0) {
    kill(server.pid, signal);
    waitpid(server.pid, NULL, 0);
  }
  server.pid = 0;
}

static int end_test(void **state) {
  (void)state;
  end_server(SIGKILL);
  alarm(0);
  return 0;
}

static int start_test(void **state) {
  (void)state;
  alarm(DEADLINE);
  return 0;
}

static void run_server(const char **arguments) {
  int log = open(in_folder("server.log"), O_WRONLY | O_CREAT | O_APPEND, 0600);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  alarm(DEADLINE);
  execvp("nbdkit", (char **)arguments);
  _exit(127);
}

/* Start nbdkit on a socket in the folder; its arguments up to NULL.  false: it does not run. */
static bool try_server(const char *first, ...) {
  const char *socket = in_folder("socket"), *pidfile = in_folder("pid");
  const char *arguments[MOST_ARGUMENTS] = {"nbdkit", "-f", "-U", socket, "-P", pidfile};
  unsigned count = 6;
  va_list rest;
  va_start(rest, first);
  for (const char *next = first; next && count < MOST_ARGUMENTS - 1; next = va_arg(rest, char *))
    arguments[count++] = next;
  va_end(rest);
  unlink(socket);
  unlink(pidfile);
  server.pid = fork();
  if (server.pid == 0)
    run_server(arguments);
  snprintf(server.uri, sizeof server.uri, "nbd+unix:///?socket=%s", socket);
  struct stat status;
  while (stat(pidfile, &status) < 0 || status.st_size == 0) {
    if (waitpid(server.pid, NULL, WNOHANG) != 0) {
      server.pid = 0;
      return false;
    }
    nap(5);
  }
  return true;
}

/* Where there is no nbdkit, or not that plugin or filter, the test is skipped. */
#define start_server(...)                                                                          \
  do {                                                                                             \
    if (!try_server(__VA_ARGS__, NULL))                                                            \
      skip();                                                                                      \
  } while (0)

static char *disk(uint64_t size) {
  static char path[128];
  snprintf(path, sizeof path, "%s", in_folder("disk"));
  make_file(path, size);
  return path;
}

/* How many lines of the log filter's file have that in them. */
static unsigned count_logged(const char *text) {
  char line[1024];
  unsigned found = 0;
  FILE *file = fopen(in_folder("requests.log"), "r");
  while (file && fgets(line, sizeof line, file))
    found += strstr(line, text) != NULL;
  if (file)
    fclose(file);
  return found;
}

static char *log_to(void) {
  static char argument[160];
  unlink(in_folder("requests.log"));
  snprintf(argument, sizeof argument, "logfile=%s", in_folder("requests.log"));
  return argument;
}

/* ------------------------------------------------------------------- what is right */

static void with_memory(void **state) {
  (void)state;
  start_server("memory", "64M");
  struct backing *backing = must_open(server.uri, false, 0);
  assert_int_equal(backing_size(backing), 64 * MIB);
  exercise(backing);
  assert_int_equal(backing_resize(backing, MIB), -ENOTSUP);
  assert_true(backing_used(backing) == UINT64_MAX);
  assert_false(backing_knows_holes(backing, BLOCK));
  must_write(backing, MIB, 0, 5);
  backing_close(backing);
  backing = must_open(server.uri, true, 128 * MIB);
  must_hold(backing, MIB, 0, 5);
  must_hold(backing, MIB, 100 * MIB, 0);
  unsigned char *bytes = make_bytes(BLOCK, 1);
  assert_int_equal(backing_write(backing, bytes, BLOCK, 0), -EROFS);
  free(bytes);
  backing_close(backing);
}

static void with_file(void **state) {
  (void)state;
  start_server("file", disk(64 * MIB));
  struct backing *backing = must_open(server.uri, false, 64 * MIB);
  exercise(backing);
  assert_int_equal(backing_zero(backing, 64 * MIB, 0), 0);
  must_write(backing, MIB, MIB, 1);
  assert_string_equal(extents_of(backing, 64 * MIB, 0), "h1048576 d1048576 h65011712 ");
  assert_string_equal(extents_of(backing, 2 * BLOCK, MIB - BLOCK), "h4096 d4096 ");
  backing_close(backing);
}

static void with_limits(void **state) {
  (void)state;
  start_server("--filter=blocksize-policy", "memory", "64M", "blocksize-minimum=4096",
               "blocksize-preferred=65536", "blocksize-maximum=98304",
               "blocksize-error-policy=error");
  struct backing *backing = must_open(server.uri, false, 0);
  exercise(backing);
  backing_close(backing);
  end_server(SIGTERM);
  start_server("--filter=blocksize-policy", "memory", "64M", "blocksize-minimum=8192",
               "blocksize-preferred=8192", "blocksize-maximum=1M", "blocksize-error-policy=error");
  must_refuse(server.uri, false, 0, -EOPNOTSUPP, "requests of 4096 bytes are needed");
}

static void zeros_and_allocation(void **state) {
  (void)state;
  start_server("--filter=log", "memory", "64M", log_to());
  struct backing *backing = must_open(server.uri, false, 0);
  assert_int_equal(backing_zero(backing, MIB, 0), 0);
  assert_int_equal(count_logged("Zero"), 2); /* the request and its return */
  assert_int_equal(count_logged("trim=1 fua"), 1);
  assert_int_equal(backing_allocate(backing, MIB, 0), 0);
  assert_int_equal(count_logged("trim=0 fua"), 1);
  assert_int_equal(count_logged("Write"), 0);
  backing_close(backing);
}

static void without_zeros(void **state) {
  (void)state;
  start_server("--filter=log", "--filter=nozero", "memory", "64M", log_to());
  struct backing *backing = must_open(server.uri, false, 0);
  exercise(backing);
  assert_int_equal(count_logged("Zero"), 0);
  assert_int_equal(count_logged("Trim"), 0);
  backing_close(backing);
}

static void without_status(void **state) {
  (void)state;
  start_server("--no-sr", "memory", "64M");
  struct backing *backing = must_open(server.uri, false, 0);
  exercise(backing);
  assert_string_equal(extents_of(backing, MIB, 0), "d1048576 ");
  assert_string_equal(extents_of(backing, MIB, 64 * MIB - BLOCK), "d4096 h1044480 ");
  backing_close(backing);
}

static void one_connection(void **state) {
  (void)state;
  start_server("--filter=limit", "memory", "64M", "limit=1");
  struct backing *backing = must_open(server.uri, false, 0);
  exercise(backing);
  backing_close(backing);
}

static void against_model(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++) {
    if (i == 0)
      start_server("memory", "64M");
    else if (i == 1)
      start_server("file", disk(64 * MIB));
    else
      start_server("--filter=multi-conn", "--filter=delay", "memory", "64M", "delay-write=1ms",
                   "multi-conn-mode=disable");
    struct backing *backing = must_open(server.uri, false, 0);
    struct outcome outcome = compare_with_model(backing, i == 2 ? ROUNDS / 10 : ROUNDS);
    assert_int_equal(outcome.differences, 0);
    assert_int_equal(outcome.errors, 0);
    backing_close(backing);
    end_server(SIGTERM);
  }
}

static void over_tls(void **state) {
  (void)state;
  char keys[160], uri[512];
  FILE *file = fopen(in_folder("keys"), "w");
  fprintf(file, "alice:0123456789abcdef0123456789abcdef\n");
  fclose(file);
  snprintf(keys, sizeof keys, "--tls-psk=%s", in_folder("keys"));
  start_server("--tls=require", keys, "memory", "64M");
  must_refuse(server.uri, false, 0, -ENOTSUP, "cannot be used");
  snprintf(uri, sizeof uri, "nbds+unix://alice@/?socket=%s&tls-psk-file=%s", in_folder("socket"),
           in_folder("keys"));
  struct backing *backing = must_open(uri, false, 0);
  backing_set_patience(backing, 2000, 100);
  exercise(backing);
  end_server(SIGKILL);
  signal(SIGPIPE, SIG_DFL);
  unsigned char *bytes = make_bytes(MIB, 1);
  for (int i = 0; i < 5; i++)
    assert_true(backing_write(backing, bytes, MIB, 0) < 0);
  assert_true(backing_flush(backing) < 0);
  free(bytes);
  backing_close(backing);
}

/* The connections go with the fork. */
static void after_fork(void **state) {
  (void)state;
  start_server("memory", "64M");
  struct backing *backing = must_open(server.uri, false, 0);
  must_write(backing, MIB, 0, 1);
  pid_t pid = fork();
  if (pid == 0) {
    exercise(backing);
    must_write(backing, MIB, 0, 2);
    _exit(0);
  }
  int status;
  waitpid(pid, &status, 0);
  assert_int_equal(status, 0);
  backing_close(backing);
}

/* --------------------------------------------------------------- servers that end */

static void restarted(void **state) {
  (void)state;
  char *path = disk(64 * MIB);
  for (int round = 0; round < 3; round++) {
    start_server("file", path);
    struct backing *backing = must_open(server.uri, false, 0);
    must_write(backing, MIB, 0, 1);
    assert_int_equal(backing_flush(backing), 0);
    must_write(backing, MIB, MIB, 2);
    uint64_t losses = backing_losses(backing);
    end_server(SIGKILL);
    start_server("file", path);
    if (round == 0)
      must_hold(backing, MIB, 0, 1); /* noticed by a read */
    if (round == 1)
      must_write(backing, MIB, 3 * MIB, 1); /* or a write */
    assert_int_equal(backing_flush(backing), -EIO);
    assert_int_not_equal(backing_losses(backing), losses);
    must_write(backing, MIB, MIB, 2);
    assert_int_equal(backing_flush(backing), 0);
    must_hold(backing, MIB, MIB, 2);
    end_server(SIGKILL);
    start_server("file", path);
    assert_int_equal(backing_flush(backing), 0); /* nothing was written since */
    backing_close(backing);
    end_server(SIGKILL);
  }
}

/* Cut the oldest of our connections. */
static void cut_first_connection(void) {
  for (int fd = 3; fd < 64; fd++)
    if (shutdown(fd, SHUT_RDWR) == 0)
      return;
  fail();
}

static void must_read(struct backing *backing) {
  unsigned char *bytes = make_bytes(BLOCK, 1);
  assert_int_equal(backing_read(backing, bytes, BLOCK, 0), 0);
  free(bytes);
}

/* What was written over a connection that is lost may be lost, even though others are there. */
static void one_connection_lost(void **state) {
  (void)state;
  start_server("file", disk(64 * MIB));
  struct backing *backing = must_open(server.uri, false, 0);
  must_write(backing, BLOCK, 0, 1);
  assert_int_equal(rename(in_folder("socket"), in_folder("hidden")), 0);
  cut_first_connection();
  must_read(backing);
  assert_int_equal(backing_flush(backing), -EIO);
  assert_int_equal(backing_flush(backing), 0);
  backing_close(backing);
}

/* A flush over a connection to a new server is no flush of what the old one had, also if the
 * end of the other connections was not noticed yet. */
static void restarted_and_noticed_late(void **state) {
  (void)state;
  char *path = disk(64 * MIB);
  start_server("file", path);
  struct backing *backing = must_open(server.uri, false, 0);
  assert_int_equal(rename(in_folder("socket"), in_folder("hidden")), 0);
  cut_first_connection();
  must_read(backing);
  must_write(backing, BLOCK, 0, 1); /* over another */
  end_server(SIGKILL);
  start_server("file", path);
  nap(1100);
  assert_int_equal(backing_submit(backing, NULL, 0), 0); /* makes the first connection anew */
  assert_int_equal(backing_flush(backing), -EIO);
  backing_close(backing);
}

static void *write_a_megabyte(void *argument) {
  must_write(argument, MIB, 0, 3);
  return NULL;
}

/* Calls wait for the server to come back; if it does not, they fail, at once from then on,
 * until it is there again. */
static void waiting_for_it(void **state) {
  (void)state;
  char *path = disk(64 * MIB);
  pthread_t thread;
  start_server("file", path);
  struct backing *backing = must_open(server.uri, false, 0);
  end_server(SIGKILL);
  pthread_create(&thread, NULL, write_a_megabyte, backing);
  nap(300);
  start_server("file", path);
  pthread_join(thread, NULL);
  must_hold(backing, MIB, 0, 3);

  backing_set_patience(backing, 30000, 300);
  end_server(SIGKILL);
  unsigned char *bytes = make_bytes(BLOCK, 1);
  int64_t start = milliseconds_now();
  assert_int_equal(backing_read(backing, bytes, BLOCK, 0), -EIO);
  assert_true(milliseconds_now() - start >= 300);
  start = milliseconds_now();
  for (int i = 0; i < 1000; i++)
    assert_int_equal(backing_read(backing, bytes, BLOCK, 0), -EIO);
  assert_int_equal(backing_flush(backing), -EIO);
  assert_int_equal(backing_zero(backing, BLOCK, 0), -EIO);
  assert_int_equal(backing_allocate(backing, BLOCK, 0), -EIO);
  assert_string_equal(extents_of(backing, MIB, 0), "failed");
  assert_true(milliseconds_now() - start < 1000 * 20);
  start_server("file", path);
  int result;
  for (int i = 0; (result = backing_read(backing, bytes, BLOCK, 0)) < 0 && i < 1000; i++)
    nap(10);
  assert_int_equal(result, 0);
  assert_int_equal(backing_flush(backing), -EIO);
  exercise(backing);
  free(bytes);
  backing_close(backing);
}

/* A server that does not answer.  (nbdkit 1.32 aborts when a client goes while it works in
 * parallel for it; hence the filter.) */
static void stopped(void **state) {
  (void)state;
  start_server("--filter=noparallel", "memory", "64M", "serialize=requests");
  struct backing *backing = must_open(server.uri, false, 0);
  unsigned char *bytes = make_bytes(4 * MIB, 1);
  must_write(backing, MIB, 0, 1);
  backing_set_patience(backing, 200, 200);
  kill(server.pid, SIGSTOP);
  waitpid(server.pid, NULL, WUNTRACED);
  int64_t start = milliseconds_now();
  assert_int_equal(backing_read(backing, bytes, BLOCK, 0), -EIO);
  int64_t took = milliseconds_now() - start;
  assert_true(took >= 200 && took < 20000);
  assert_int_equal(backing_write(backing, bytes, 4 * MIB, 0), -EIO);
  assert_int_equal(backing_flush(backing), -EIO);
  backing_set_patience(backing, 20000, 5000);
  kill(server.pid, SIGCONT);
  int result;
  for (int i = 0; (result = backing_write(backing, bytes, 4 * MIB, 0)) < 0 && i < 1000; i++)
    nap(10);
  assert_int_equal(result, 0);
  assert_int_equal(backing_flush(backing), -EIO); /* the write began before the reconnection */
  must_write(backing, 4 * MIB, 0, 1);
  assert_int_equal(backing_flush(backing), 0);
  must_hold(backing, 4 * MIB, 0, 1);
  free(bytes);
  backing_close(backing);
}

/* A server that is slow, but not that slow. */
static void slow(void **state) {
  (void)state;
  start_server("--filter=delay", "memory", "64M", "delay-read=300ms");
  struct backing *backing = must_open(server.uri, false, 0);
  backing_set_patience(backing, 20000, 200);
  must_write(backing, BLOCK, 0, 1);
  must_hold(backing, BLOCK, 0, 1);
  backing_close(backing);
}

struct hammering {
  struct backing *backing;
  struct outcome outcome;
};

static void *hammer(void *argument) {
  struct hammering *hammering = argument;
  hammering->outcome = compare_with_model(hammering->backing, ROUNDS * 4);
  return NULL;
}

/* Killed again and again under load.  The file plugin keeps what it was given, so nothing
 * may be missing; flushes may fail. */
static void killed_under_load(void **state) {
  (void)state;
  char *path = disk(64 * MIB);
  pthread_t thread;
  start_server("file", path);
  struct hammering hammering = {.backing = must_open(server.uri, false, 0)};
  backing_set_patience(hammering.backing, 60000, 60000);
  pthread_create(&thread, NULL, hammer, &hammering);
  for (int i = 0; i < 10; i++) {
    nap(50);
    end_server(SIGKILL);
    if (!try_server("file", path, NULL))
      fail();
  }
  pthread_join(thread, NULL);
  assert_int_equal(hammering.outcome.differences, 0);
  backing_close(hammering.backing);
}

/* It ends whenever it is asked for something, and somebody starts it again. */
static void deadly_request(void **state) {
  (void)state;
  static const char script[] =
      "while rm -f '%1$s' && nbdkit -f -U '%1$s' eval get_size='echo 1M' can_write='exit 0' "
      "can_flush='exit 0' pread='kill -9 $PPID' 2>/dev/null; [ $? = 137 ]; do :; done";
  char command[1024];
  start_server("memory", "1M"); /* skips where there is none */
  end_server(SIGTERM);
  unlink(in_folder("socket"));
  snprintf(command, sizeof command, script, in_folder("socket"));
  pid_t pid = fork();
  if (pid == 0) {
    setpgid(0, 0);
    alarm(DEADLINE);
    execl("/bin/sh", "sh", "-c", command, NULL);
    _exit(127);
  }
  for (int i = 0; i < 1000 && access(in_folder("socket"), F_OK) != 0; i++)
    nap(10);
  nap(100);
  struct backing *backing = must_open(server.uri, false, 0);
  backing_set_patience(backing, 5000, 1000);
  unsigned char *bytes = make_bytes(BLOCK, 1);
  assert_int_equal(backing_read(backing, bytes, BLOCK, 0), -EIO);
  kill(-pid, SIGKILL);
  waitpid(pid, NULL, 0);
  free(bytes);
  backing_close(backing);
}

static void comes_back_smaller(void **state) {
  (void)state;
  start_server("memory", "64M");
  struct backing *backing = must_open(server.uri, false, 0);
  backing_set_patience(backing, 5000, 200);
  end_server(SIGKILL);
  start_server("memory", "32M");
  unsigned char *bytes = make_bytes(BLOCK, 1);
  assert_int_equal(backing_read(backing, bytes, BLOCK, 0), -EIO);
  end_server(SIGKILL);
  start_server("-r", "memory", "64M");
  nap(1100);
  assert_int_equal(backing_read(backing, bytes, BLOCK, 0), -EIO);
  free(bytes);
  backing_close(backing);
}

/* ------------------------------------------------------------------- their errors */

static void their_errors(void **state) {
  (void)state;
  static const struct {
    const char *parameter;
    int error;
  } cases[] = {{"error=EIO", -EIO}, {"error=ENOSPC", -ENOSPC}, {"error=EPERM", -EPERM}};
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    start_server("--filter=error", "memory", "64M", cases[i].parameter, "error-rate=100%");
    struct backing *backing = must_open(server.uri, false, 0);
    unsigned char *bytes = make_bytes(3 * MIB, 1);
    assert_int_equal(backing_read(backing, bytes, 3 * MIB, 0), cases[i].error);
    assert_int_equal(backing_write(backing, bytes, 3 * MIB, 0), cases[i].error);
    assert_int_equal(backing_zero(backing, MIB, 0), cases[i].error);
    assert_int_equal(backing_allocate(backing, MIB, 0), cases[i].error);
    assert_string_equal(extents_of(backing, MIB, 0), "failed");
    free(bytes);
    backing_close(backing);
    end_server(SIGTERM);
  }
}

static void their_failing_flush(void **state) {
  (void)state;
  start_server("eval", "get_size=echo 16M", "pread=head -c $3 /dev/zero", "pwrite=cat >/dev/null",
               "can_write=exit 0", "can_flush=exit 0",
               "flush=test -e $tmpdir/failed || { touch $tmpdir/failed; echo EIO >&2; exit 1; }");
  struct backing *backing = must_open(server.uri, false, 0);
  must_write(backing, BLOCK, 0, 1);
  uint64_t losses = backing_losses(backing);
  assert_int_equal(backing_flush(backing), -EIO);
  assert_true(backing_losses(backing) > losses);
  assert_int_equal(backing_flush(backing), 0);
  backing_close(backing);
}

/* Many failures among many that do not: each request has its own. */
static void some_errors(void **state) {
  (void)state;
  start_server("--filter=error", "memory", "64M", "error-pread=ENOSPC", "error-pread-rate=50%");
  struct backing *backing = must_open(server.uri, false, 0);
  enum { MANY = 200 };
  struct backing_request requests[MANY];
  unsigned char *bytes = make_bytes(MANY * BLOCK, 1);
  for (unsigned i = 0; i < MANY; i++)
    requests[i] = (struct backing_request){.operation = i % 2 ? BACKING_READ : BACKING_WRITE,
                                           .buffer = bytes + i * BLOCK,
                                           .count = BLOCK,
                                           .offset = i * BLOCK};
  assert_int_equal(backing_submit(backing, requests, MANY), -ENOSPC);
  unsigned failed = 0;
  for (unsigned i = 0; i < MANY; i++) {
    failed += requests[i].result == -ENOSPC;
    assert_true(requests[i].result == 0 || (i % 2 && requests[i].result == -ENOSPC));
  }
  assert_true(failed > 10 && failed < 90);
  free(bytes);
  backing_close(backing);
}

/* ----------------------------------------------------------------------- refusals */

static void refusals(void **state) {
  (void)state;
  char uri[256];
  start_server("-r", "memory", "64M");
  must_refuse(server.uri, false, 0, -EROFS, "is read-only; an image must be writable");
  backing_close(must_open(server.uri, true, 0));
  end_server(SIGTERM);
  start_server("memory", "64M");
  must_refuse(server.uri, false, 64 * MIB + 1, -ENOSPC, "has 67108864 bytes, and the volume 67108");
  end_server(SIGTERM);
  start_server("memory", "0");
  must_refuse(server.uri, false, 0, -EINVAL, "is empty");
  end_server(SIGTERM);
  start_server("eval", "get_size=echo 16M", "pread=head -c $3 /dev/zero", "pwrite=cat >/dev/null",
               "can_write=exit 0");
  must_refuse(server.uri, false, 0, -EOPNOTSUPP, "has no flush");
  end_server(SIGTERM);
  snprintf(uri, sizeof uri, "nbd+unix:///?socket=%s", in_folder("nobody"));
  must_refuse(uri, false, 0, -ENOENT, "No such file or directory");
  must_refuse("nbd+unix:///no-socket-given", false, 0, -EINVAL, "cannot be used");
  must_refuse("nbd://localhost:1/", true, 0, -ECONNREFUSED, "Connection refused");
}

static void passwords(void **state) {
  (void)state;
  static const char *const uris[] = {"nbd://me:secret@localhost:1/", "nbds://me:secret@[::1/",
                                     "nbd+unix://me:secret@/x", "nbd://me:secret@localhost:99999/"};
  for (unsigned i = 0; i < sizeof uris / sizeof *uris; i++) {
    char problem[BACKING_PROBLEM] = "";
    struct backing *backing = NULL;
    assert_true(backing_open(uris[i], false, 0, &backing, problem) < 0);
    if (strstr(problem, "secret") || !strstr(problem, "me@"))
      fail_msg("%s", problem);
  }
}

/* A server that takes the connection and says nothing is given up after a while; here it ends. */
static void silent_at_start(void **state) {
  (void)state;
  char uri[256];
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, in_folder("deaf"), sizeof address.sun_path - 1);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  snprintf(uri, sizeof uri, "nbd+unix:///?socket=%s", in_folder("deaf"));
  must_refuse(uri, false, 0, -ECONNREFUSED, "Connection refused");
  close(fd);
}

#define backing_test(function) cmocka_unit_test_setup_teardown(function, start_test, end_test)

int main(void) {
  const struct CMUnitTest tests[] = {
      backing_test(with_memory),
      backing_test(with_file),
      backing_test(with_limits),
      backing_test(zeros_and_allocation),
      backing_test(without_zeros),
      backing_test(without_status),
      backing_test(one_connection),
      backing_test(against_model),
      backing_test(over_tls),
      backing_test(after_fork),
      backing_test(restarted),
      backing_test(one_connection_lost),
      backing_test(restarted_and_noticed_late),
      backing_test(waiting_for_it),
      backing_test(stopped),
      backing_test(slow),
      backing_test(killed_under_load),
      backing_test(deadly_request),
      backing_test(comes_back_smaller),
      backing_test(their_errors),
      backing_test(their_failing_flush),
      backing_test(some_errors),
      backing_test(refusals),
      backing_test(passwords),
      backing_test(silent_at_start),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
