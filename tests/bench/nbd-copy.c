/* SPDX-License-Identifier: BSD-3-Clause */
/* nbd-copy: how fast casefs moves bytes to and from a device.
 *
 * nbd-copy up FILE DEVICE BYTES [THREADS]     from FILE to DEVICE, with a flush at the end
 * nbd-copy down DEVICE FILE BYTES [THREADS]   from DEVICE to FILE
 * nbd-copy latency DEVICE COUNT               reads of 4 KiB, one after the other
 *
 * Each thread takes the next 1 MiB, reads it here and writes it there.  Prints seconds, or
 * microseconds for each read.  To be run in turns with nbdcopy(1), which does the same. */

#include "casefs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST = 1 << 20, MOST_THREADS = 64 };

struct copy {
  struct casefs_device *device;
  int file;
  bool up;
  uint64_t bytes;
  _Atomic uint64_t next;
  _Atomic int error;
};

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int fail(const char *what, int error) {
  fprintf(stderr, "nbd-copy: %s: %s\n", what, strerror(-error));
  return 1;
}

static int move(struct copy *copy, void *buffer, size_t count, uint64_t offset) {
  if (copy->up) {
    if (pread(copy->file, buffer, count, (off_t)offset) != (ssize_t)count)
      return -EIO;
    return copy->device->operations->write(copy->device, buffer, count, offset, false);
  }
  int error = copy->device->operations->read(copy->device, buffer, count, offset);
  if (error == 0 && pwrite(copy->file, buffer, count, (off_t)offset) != (ssize_t)count)
    error = -EIO;
  return error;
}

static void *work(void *argument) {
  struct copy *copy = argument;
  void *buffer = aligned_alloc(4096, REQUEST);
  uint64_t offset;
  while (buffer && (offset = atomic_fetch_add(&copy->next, REQUEST)) < copy->bytes) {
    uint64_t left = copy->bytes - offset;
    int error = move(copy, buffer, left < REQUEST ? (size_t)left : REQUEST, offset);
    if (error < 0)
      atomic_store(&copy->error, error);
  }
  free(buffer);
  return NULL;
}

static double run(struct copy *copy, unsigned threads) {
  pthread_t ids[MOST_THREADS];
  unsigned started = 0;
  double start = now();
  while (started < threads && pthread_create(&ids[started], NULL, work, copy) == 0)
    started++;
  for (unsigned i = 0; i < started; i++)
    pthread_join(ids[i], NULL);
  if (copy->up) {
    int error = copy->device->operations->flush(copy->device);
    if (error < 0)
      atomic_store(&copy->error, error);
  }
  return now() - start;
}

static int copy_main(int argc, char **argv) {
  struct copy copy = {.up = strcmp(argv[1], "up") == 0, .bytes = strtoull(argv[4], NULL, 10)};
  const char *file = argv[copy.up ? 2 : 3], *device = argv[copy.up ? 3 : 2];
  unsigned threads = argc > 5 ? (unsigned)atoi(argv[5]) : 4;
  char *text;
  if (threads == 0 || threads > MOST_THREADS)
    return fail("threads", -EINVAL);
  double start = now();
  copy.file = open(file, copy.up ? O_RDONLY : O_WRONLY | O_CREAT, 0666);
  if (copy.file < 0)
    return fail(file, -errno);
  int error =
      casefs_device_open(device, copy.up ? 0 : CASEFS_DEVICE_READ_ONLY, 0, &copy.device, &text);
  if (error < 0)
    return fail(text ? text : device, error);
  copy.bytes -= copy.bytes % CASEFS_BLOCK_SIZE;
  if (copy.bytes > copy.device->size)
    return fail("the device is smaller", -ENOSPC);
  double seconds = run(&copy, threads);
  casefs_device_close(copy.device);
  close(copy.file);
  if (copy.error)
    return fail("copying", copy.error);
  printf("%.3f s copying, %.3f s with opening and closing\n", seconds, now() - start);
  return 0;
}

static int latency_main(char **argv) {
  struct casefs_device *device;
  char *text;
  uint64_t count = strtoull(argv[3], NULL, 10), random = 88172645463325252u;
  void *buffer = aligned_alloc(4096, 4096);
  int error =
      buffer ? casefs_device_open(argv[2], CASEFS_DEVICE_READ_ONLY, 0, &device, &text) : -ENOMEM;
  if (error < 0)
    return fail(argv[2], error);
  double start = now();
  for (uint64_t i = 0; i < count && error == 0; i++) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    error = device->operations->read(device, buffer, 4096, random % (device->size / 4096) * 4096);
  }
  double seconds = now() - start;
  casefs_device_close(device);
  free(buffer);
  if (error < 0)
    return fail("reading", error);
  printf("%.2f us for each read\n", seconds * 1e6 / (double)count);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 4 && strcmp(argv[1], "latency") == 0)
    return latency_main(argv);
  if (argc >= 5 && (strcmp(argv[1], "up") == 0 || strcmp(argv[1], "down") == 0))
    return copy_main(argc, argv);
  fprintf(stderr, "usage: nbd-copy up FILE DEVICE BYTES [THREADS]\n"
                  "       nbd-copy down DEVICE FILE BYTES [THREADS]\n"
                  "       nbd-copy latency DEVICE COUNT\n");
  return 2;
}
