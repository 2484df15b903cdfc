/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The NBD device, against nbdkit: its plugins, its filters, and the sectors plugin, whose path is
 * SECTORS_PLUGIN (the environment's goes first).  What hangs is ended by an alarm.
 */

#include "device-exercise.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
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

enum { BLOCK = CASEFS_BLOCK_SIZE, MIB = 1 << 20, DEADLINE = 120, MOST_ARGUMENTS = 24 };

#ifndef ROUNDS
#define ROUNDS 3000
#endif

/* ------------------------------------------------------------------- servers */

static struct server {
  pid_t pid;
  char uri[256];
} server;

static void nap(void) {
  nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
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

static const char *plugin_path(void) {
  const char *path = getenv("SECTORS_PLUGIN");
#ifdef SECTORS_PLUGIN
  path = path ? path : SECTORS_PLUGIN;
#endif
  return path ? path : "/nonexistent";
}

static bool serves_ours(const char **arguments) {
  while (*arguments && strcmp(*arguments, plugin_path()) != 0)
    arguments++;
  return *arguments;
}

/* In the child.  Our plugin, if sanitized, needs the sanitizer's runtime from the start. */
static void run_server(const char **arguments) {
  const char *preload = serves_ours(arguments) ? getenv("SECTORS_PRELOAD") : NULL;
  int log = open(in_folder("server.log"), O_WRONLY | O_CREAT | O_APPEND, 0600);
  setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
  if (preload)
    setenv("LD_PRELOAD", preload, 1);
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
    nap();
  }
  return true;
}

/* Where there is no nbdkit, or not that plugin or filter, the test is skipped. */
#define start_server(...)                                                                          \
  do {                                                                                             \
    if (!try_server(__VA_ARGS__, NULL))                                                            \
      skip();                                                                                      \
  } while (0)

/* Whether the log that the filter wrote has that in it. */
static bool logged(const char *text) {
  static char log[MIB];
  FILE *file = fopen(in_folder("requests.log"), "r");
  size_t length = file ? fread(log, 1, sizeof log - 1, file) : 0;
  log[length] = '\0';
  if (file)
    fclose(file);
  return strstr(log, text);
}

static char *log_to(void) {
  static char argument[160];
  unlink(in_folder("requests.log"));
  snprintf(argument, sizeof argument, "logfile=%s", in_folder("requests.log"));
  return argument;
}

/* -------------------------------------------------------------- what is right */

static void with_memory_plugin(void **state) {
  (void)state;
  start_server("memory", "64M");
  struct casefs_device *device = must_open(server.uri, 0, 0);
  assert_int_equal(device->size, 64 * MIB);
  assert_true(!device->exclusive && !device->read_only && device->parallel > 4);
  exercise(device);
  assert_non_null(device->operations->discard);
  assert_int_equal(device_discard(device, device->size, 0), 0);
  must_write(device, MIB, 3 * MIB, 5, false);
  casefs_device_close(device);
  device = must_open(server.uri, CASEFS_DEVICE_READ_ONLY, 0); /* closing wrote everything */
  must_hold(device, MIB, 3 * MIB, 5);
  casefs_device_close(device);
}

static void with_sectors_plugin(void **state) {
  (void)state;
  start_server(plugin_path(), "64M");
  struct casefs_device *device = must_open(server.uri, 0, 0);
  assert_true(device->parallel > 4);
  exercise(device);
  must_write(device, 48 * MIB, 0, 1, false); /* more than what may be in flight */
  must_hold(device, 48 * MIB, 0, 1);
  casefs_device_close(device);
}

static void odd_sizes(void **state) {
  (void)state;
  start_server("memory", "1000001");
  struct casefs_device *device = must_open(server.uri, 0, 0);
  assert_int_equal(device->size, 1000001 / BLOCK * BLOCK);
  must_write(device, device->size, 0, 1, true);
  must_hold(device, device->size, 0, 1);
  casefs_device_close(device);
  end_server(SIGTERM);

  start_server("memory", "5E");
  device = must_open(server.uri, 0, 0);
  must_write(device, MIB, device->size - MIB, 2, false);
  assert_int_equal(device_discard(device, (uint64_t)3 << 30, 0), 0);
  must_hold(device, MIB, device->size - MIB, 2);
  casefs_device_close(device);
}

static void over_tls(void **state) {
  (void)state;
  char keys[160], uri[512];
  FILE *file = fopen(in_folder("keys"), "w");
  fprintf(file, "alice:0123456789abcdef0123456789abcdef\n");
  fclose(file);
  snprintf(keys, sizeof keys, "--tls-psk=%s", in_folder("keys"));
  start_server("--tls=require", keys, "memory", "64M");
  must_refuse(server.uri, 0, 0, -ENOTSUP, "cannot use the NBD server");
  snprintf(uri, sizeof uri, "nbds+unix://alice@/?socket=%s&tls-psk-file=%s", in_folder("socket"),
           in_folder("keys"));
  struct casefs_device *device = must_open(uri, 0, 0);
  exercise(device);
  end_server(SIGKILL);
  char block[BLOCK] = {0};
  signal(SIGPIPE, SIG_DFL);
  for (int i = 0; i < 50; i++) {
    device_write(device, block, BLOCK, 0, false);
    nap();
  }
  assert_int_equal(device_flush(device), -EIO);
  casefs_device_close(device);
}

/* ---------------------------------------------- what goes on at the same time */

enum { THREADS = 6, STRIPE = 8, STRIPES = 24 };

/* A thread has every THREADS-th stripe of blocks to itself, so that threads meet in the device's
 * cells but not in a block, and knows what each of its blocks holds. */
struct worker {
  struct casefs_device *device;
  unsigned index;
  uint64_t seed;
  uint64_t versions[STRIPES * STRIPE]; /* 0: nobody knows */
  unsigned problems;
  int error; /* the first */
};

static uint64_t stripe_offset(const struct worker *worker, unsigned stripe) {
  return (uint64_t)(stripe * THREADS + worker->index) * STRIPE * BLOCK;
}

static void check_blocks(struct worker *worker, const unsigned char *found, unsigned first,
                         unsigned count, uint64_t offset) {
  unsigned char expected[BLOCK];
  for (unsigned i = 0; i < count; i++) {
    if (worker->versions[first + i] == 0)
      continue;
    fill(expected, BLOCK, offset + i * BLOCK, worker->versions[first + i]);
    worker->problems += memcmp(expected, found + i * BLOCK, BLOCK) != 0;
  }
}

static int one_step(struct worker *worker, unsigned char *buffer, uint64_t version) {
  unsigned stripe = (unsigned)next_random(&worker->seed, STRIPES);
  unsigned start = (unsigned)next_random(&worker->seed, STRIPE);
  unsigned count = 1 + (unsigned)next_random(&worker->seed, STRIPE - start);
  unsigned first = stripe * STRIPE + start;
  uint64_t offset = stripe_offset(worker, stripe) + start * BLOCK;
  unsigned choice = (unsigned)next_random(&worker->seed, 16);
  int result = 0;
  if (choice < 8) {
    fill(buffer, count * BLOCK, offset, version);
    result = device_write(worker->device, buffer, count * BLOCK, offset, choice == 0);
    memset(buffer, 0x55, count * BLOCK);
  } else if (choice < 10) {
    result = device_discard(worker->device, count * BLOCK, offset);
  } else {
    result = device_read(worker->device, buffer, count * BLOCK, offset);
    if (result == 0)
      check_blocks(worker, buffer, first, count, offset);
  }
  for (unsigned i = 0; i < count && choice < 10; i++)
    worker->versions[first + i] = choice < 8 ? version : 0;
  return result;
}

static void *hammer(void *argument) {
  struct worker *worker = argument;
  unsigned char *buffer = malloc(STRIPE * BLOCK);
  for (uint64_t round = 1; round <= ROUNDS && worker->error == 0; round++)
    worker->error = one_step(worker, buffer, round * THREADS + worker->index);
  free(buffer);
  return NULL;
}

static struct worker workers[THREADS];
static pthread_t threads[THREADS];

static void start_hammering(struct casefs_device *device) {
  memset(workers, 0, sizeof workers);
  for (unsigned i = 0; i < THREADS; i++) {
    workers[i].device = device;
    workers[i].index = i;
    workers[i].seed = 0x2545f4914f6cdd1du + i;
    assert_int_equal(pthread_create(&threads[i], NULL, hammer, &workers[i]), 0);
  }
}

static void end_hammering(void) {
  for (unsigned i = 0; i < THREADS; i++)
    pthread_join(threads[i], NULL);
}

static void hammer_server(void) {
  struct casefs_device *device = must_open(server.uri, 0, 0);
  start_hammering(device);
  for (int i = 0; i < 20; i++) {
    assert_int_equal(device_flush(device), 0);
    nap();
  }
  end_hammering();
  assert_int_equal(device_flush(device), 0);
  for (unsigned i = 0; i < THREADS; i++) {
    assert_int_equal(workers[i].error, 0);
    assert_int_equal(workers[i].problems, 0);
    for (unsigned b = 0; b < STRIPES * STRIPE; b++)
      if (workers[i].versions[b] != 0)
        must_hold(device, BLOCK, stripe_offset(&workers[i], b / STRIPE) + b % STRIPE * BLOCK,
                  workers[i].versions[b]);
  }
  casefs_device_close(device);
}

static void hammered_memory(void **state) {
  (void)state;
  start_server("memory", "64M");
  hammer_server();
}

static void hammered_sectors(void **state) {
  (void)state;
  start_server(plugin_path(), "64M");
  hammer_server();
}

/* Nothing that a reader may rely on is the server's order: here it is a mess. */
static void hammered_disorder(void **state) {
  (void)state;
  start_server("--filter=delay", "memory", "64M", "delay-write=1ms", "delay-trim=3ms");
  hammer_server();
}

static void hammered_small_requests(void **state) {
  (void)state;
  start_server("--filter=blocksize-policy", "memory", "64M", "blocksize-minimum=512",
               "blocksize-preferred=4096", "blocksize-maximum=8192",
               "blocksize-error-policy=error");
  hammer_server();
}

/* ------------------------------------------------------------ what goes wrong */

static void killed_in_the_middle(void **state) {
  (void)state;
  char block[BLOCK] = {0};
  for (int round = 0; round < 8; round++) {
    start_server("--filter=delay", "memory", "64M", "delay-write=1ms");
    struct casefs_device *device = must_open(server.uri, 0, 0);
    start_hammering(device);
    for (int i = 0; i < 3 * round; i++)
      nap();
    end_server(SIGKILL);
    end_hammering();
    for (unsigned i = 0; i < THREADS; i++) {
      assert_int_equal(workers[i].problems, 0);
      assert_int_equal(workers[i].error, -EIO);
    }
    assert_int_equal(device_read(device, block, BLOCK, 0), -EIO);
    assert_int_equal(device_write(device, block, BLOCK, 0, false), -EIO);
    assert_int_equal(device_write(device, block, BLOCK, 0, true), -EIO);
    assert_int_equal(device_discard(device, BLOCK, 0), -EIO);
    assert_int_equal(device_flush(device), -EIO);
    casefs_device_close(device);
  }
}

/* Killed while nothing is under way: the first request already finds it dead. */
static void killed_while_idle(void **state) {
  (void)state;
  char block[BLOCK] = {0};
  start_server("memory", "64M");
  struct casefs_device *device = must_open(server.uri, 0, 0);
  must_write(device, BLOCK, 0, 1, true);
  end_server(SIGKILL);
  assert_int_equal(device_read(device, block, BLOCK, 0), -EIO);
  device_write(device, block, BLOCK, 0, false);
  assert_int_equal(device_flush(device), -EIO);
  casefs_device_close(device);
}

static void *flush_it(void *argument) {
  device_flush(argument);
  return NULL;
}

/* A server that does not answer, and then ends: who waits is let go. */
static void killed_while_all_wait(void **state) {
  (void)state;
  pthread_t flusher;
  start_server("memory", "64M");
  struct casefs_device *device = must_open(server.uri, 0, 0);
  kill(server.pid, SIGSTOP);
  start_hammering(device);
  pthread_create(&flusher, NULL, flush_it, device);
  for (int i = 0; i < 20; i++)
    nap();
  end_server(SIGKILL);
  end_hammering();
  pthread_join(flusher, NULL);
  for (unsigned i = 0; i < THREADS; i++)
    assert_int_equal(workers[i].error, -EIO);
  casefs_device_close(device);
}

static void failing_writes(void **state) {
  (void)state;
  char block[BLOCK] = {0};
  static const char *const errors[] = {"error-pwrite=EIO", "error-pwrite=ENOSPC"};
  for (int durable = 0; durable < 2; durable++) {
    start_server("--filter=error", "memory", "64M", errors[durable], "error-pwrite-rate=100%");
    struct casefs_device *device = must_open(server.uri, 0, 0);
    assert_int_equal(device_write(device, block, BLOCK, 0, durable), durable ? -EIO : 0);
    assert_int_equal(device_flush(device), -EIO);
    assert_int_equal(device_flush(device), -EIO);
    assert_int_equal(device_write(device, block, BLOCK, 0, false), -EIO);
    assert_int_equal(device_read(device, block, BLOCK, 0), 0);
    casefs_device_close(device);
    end_server(SIGTERM);
  }
}

static void failing_reads(void **state) {
  (void)state;
  char blocks[2 * BLOCK] = {0};
  start_server("--filter=error", "memory", "64M", "error-pread=EIO", "error-pread-rate=100%");
  struct casefs_device *device = must_open(server.uri, 0, 0);
  assert_int_equal(device_read(device, blocks, 2 * BLOCK, 0), -EIO);
  must_write(device, BLOCK, 0, 1, true); /* reads do not stay failed, and fail nothing else */
  assert_int_equal(device_flush(device), 0);
  casefs_device_close(device);
}

static void failing_flush_and_trim(void **state) {
  (void)state;
  char block[BLOCK] = {0};
  start_server("eval", "get_size=echo 16M", "pread=head -c $3 /dev/zero", "pwrite=cat >/dev/null",
               "can_write=exit 0", "can_flush=exit 0", "flush=echo EIO >&2; exit 1",
               "can_trim=exit 0", "trim=echo EOPNOTSUPP >&2; exit 1");
  struct casefs_device *device = must_open(server.uri, 0, 0);
  assert_int_equal(device_discard(device, BLOCK, 0), 0); /* queued */
  assert_int_equal(device_write(device, block, BLOCK, 0, false), 0);
  assert_int_equal(device_discard(device, BLOCK, BLOCK), -EOPNOTSUPP);
  assert_int_equal(device_flush(device), -EIO);
  assert_int_equal(device_write(device, block, BLOCK, 0, false), -EIO);
  assert_int_equal(device_flush(device), -EIO);
  casefs_device_close(device);
}

/* --------------------------------------------------------- what servers can do */

static void read_only_export(void **state) {
  (void)state;
  char block[BLOCK] = {0};
  start_server("-r", "memory", "64M");
  struct casefs_device *device = must_open(server.uri, 0, 0);
  assert_true(device->read_only);
  assert_int_equal(device_read(device, block, BLOCK, 0), 0);
  assert_int_equal(device_write(device, block, BLOCK, 0, false), -EROFS);
  assert_int_equal(device_flush(device), 0);
  casefs_device_close(device);
}

static void asked_for_read_only(void **state) {
  (void)state;
  start_server("memory", "64M");
  struct casefs_device *device = must_open(server.uri, CASEFS_DEVICE_READ_ONLY, 0);
  assert_true(device->read_only);
  casefs_device_close(device);
}

static void request_sizes(void **state) {
  (void)state;
  start_server("--filter=blocksize-policy", "memory", "64M", "blocksize-minimum=4096",
               "blocksize-preferred=65536", "blocksize-maximum=98304",
               "blocksize-error-policy=error");
  struct casefs_device *device = must_open(server.uri, 0, 0);
  exercise(device);
  casefs_device_close(device);
  end_server(SIGTERM);

  start_server("--filter=blocksize-policy", "memory", "64M", "blocksize-minimum=8192",
               "blocksize-preferred=8192", "blocksize-maximum=1M", "blocksize-error-policy=error");
  must_refuse(server.uri, 0, 0, -EOPNOTSUPP, "smallest request is 8192 bytes");
}

/* Neither flush, FUA, trim nor several connections. */
static void plain_server(void **state) {
  (void)state;
  char pread[200], pwrite[200], path[128];
  snprintf(path, sizeof path, "%s", in_folder("plain"));
  snprintf(pread, sizeof pread,
           "pread=dd if=%s iflag=skip_bytes,count_bytes skip=$4 count=$3 status=none", path);
  snprintf(pwrite, sizeof pwrite,
           "pwrite=dd of=%s oflag=seek_bytes seek=$4 conv=notrunc status=none", path);
  int fd = open(path, O_RDWR | O_CREAT, 0600);
  assert_int_equal(ftruncate(fd, 16 * MIB), 0);
  close(fd);
  start_server("eval", "get_size=echo 16M", pread, pwrite, "can_write=exit 0");
  struct casefs_device *device = must_open(server.uri, 0, 0);
  assert_int_equal(device->parallel, 4);
  assert_null(device->operations->discard);
  assert_int_equal(device_discard(device, BLOCK, 0), 0);
  exercise(device);
  casefs_device_close(device);
}

static void durable_with_fua(void **state) {
  (void)state;
  start_server("--filter=log", "memory", "64M", log_to());
  struct casefs_device *device = must_open(server.uri, 0, 0);
  must_write(device, BLOCK, 0, 1, false);
  assert_false(logged("fua=1"));
  must_write(device, BLOCK, 0, 1, true);
  assert_true(logged("fua=1"));
  assert_false(logged("Flush"));
  assert_int_equal(device_flush(device), 0);
  assert_true(logged("Flush"));
  casefs_device_close(device);
}

static void durable_without_fua(void **state) {
  (void)state;
  start_server("--filter=log", "--filter=fua", "memory", "64M", log_to());
  struct casefs_device *device = must_open(server.uri, 0, 0);
  must_write(device, BLOCK, 0, 1, true);
  assert_true(logged("Flush"));
  assert_false(logged("fua=1"));
  casefs_device_close(device);
}

static void one_connection_only(void **state) {
  (void)state;
  start_server("--filter=limit", "memory", "64M", "limit=1");
  struct casefs_device *device = must_open(server.uri, 0, 0);
  assert_int_equal(device->parallel, 4);
  exercise(device);
  casefs_device_close(device);
}

static void unreachable(void **state) {
  (void)state;
  char uri[256];
  snprintf(uri, sizeof uri, "nbd+unix:///?socket=%s", in_folder("nobody"));
  must_refuse(uri, 0, 0, -ENOENT, "No such file or directory");
  snprintf(uri, sizeof uri, "nbd+unix:///no-socket-given");
  must_refuse(uri, 0, 0, -EINVAL, "cannot use the NBD server");

  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", in_folder("deaf"));
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  snprintf(uri, sizeof uri, "nbd+unix:///?socket=%s", in_folder("deaf"));
  must_refuse(uri, 0, 0, -ECONNREFUSED, "Connection refused");
  close(fd);
  struct casefs_device *device;
  assert_int_equal(casefs_device_open("nbd://localhost:1/", 0, 0, &device, NULL), -ECONNREFUSED);
}

#define device_test(function) cmocka_unit_test_setup_teardown(function, start_test, end_test)

int main(void) {
  const struct CMUnitTest tests[] = {
      device_test(with_memory_plugin),
      device_test(with_sectors_plugin),
      device_test(odd_sizes),
      device_test(over_tls),
      device_test(hammered_memory),
      device_test(hammered_sectors),
      device_test(hammered_disorder),
      device_test(hammered_small_requests),
      device_test(killed_in_the_middle),
      device_test(killed_while_idle),
      device_test(killed_while_all_wait),
      device_test(failing_writes),
      device_test(failing_reads),
      device_test(failing_flush_and_trim),
      device_test(read_only_export),
      device_test(asked_for_read_only),
      device_test(request_sizes),
      device_test(plain_server),
      device_test(durable_with_fua),
      device_test(durable_without_fua),
      device_test(one_connection_only),
      device_test(unreachable),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
