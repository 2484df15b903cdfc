/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One large file into a volume and out of it, through the library; and making a volume.
 */

#include "casefs-bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REQUEST = 1 << 20, MOST_THREADS = 64 };

struct copy {
  casefs_node *node;
  int file;
  bool up;
  uint64_t bytes;
  atomic_ullong next;
};

static void *copy_requests(void *argument) {
  struct copy *copy = argument;
  uint8_t *buffer = allocate(REQUEST);
  uint64_t offset;

  while ((offset = atomic_fetch_add(&copy->next, REQUEST)) < copy->bytes) {
    uint64_t left = copy->bytes - offset;
    size_t count = left < REQUEST ? (size_t)left : REQUEST;
    int64_t first = copy->up ? pread(copy->file, buffer, count, (off_t)offset)
                             : casefs_read(copy->node, buffer, count, offset);
    check(first == (int64_t)count ? 0 : first < 0 && !copy->up ? first : -EIO, "read");
    int64_t second = copy->up ? casefs_write(copy->node, buffer, count, offset)
                              : pwrite(copy->file, buffer, count, (off_t)offset);
    check(second == (int64_t)count ? 0 : second < 0 && copy->up ? second : -EIO, "write");
  }
  free(buffer);
  return NULL;
}

static struct casefs_device *open_device(const char *name, bool writing) {
  struct casefs_device *device;
  char *error = NULL;
  int result = casefs_device_open(name, writing ? 0 : CASEFS_DEVICE_READ_ONLY, 0, &device, &error);
  check(result, error ? error : name);
  return device;
}

static void open_node(struct copy *copy, casefs_volume *volume) {
  struct casefs_creation creation = {.type = CASEFS_FILE, .mode = 0644};
  casefs_node *root;

  if (!copy->up) {
    struct casefs_attributes attributes;
    check(casefs_open_path(volume, NULL, "large", 0, &copy->node), "large");
    check(casefs_get_attributes(copy->node, &attributes), "stat");
    copy->bytes = attributes.size;
    return;
  }
  check(casefs_open_root(volume, &root), "root");
  check(casefs_create(root, "large", 5, &creation, &copy->node), "create");
  casefs_node_close(root);
}

int large_main(int argument_count, char **arguments) {
  struct copy copy = {.up = strcmp(arguments[0], "up") == 0};
  unsigned threads = (unsigned)number(arguments[3]);
  struct thread_work work[MOST_THREADS];
  struct casefs_open_options options = {.read_only = !copy.up};
  casefs_volume *volume;
  struct stat status;

  (void)argument_count;
  if (threads == 0 || threads > MOST_THREADS)
    check(-EINVAL, "THREADS");
  copy.file = open(arguments[2], copy.up ? O_RDONLY : O_WRONLY | O_CREAT, 0666);
  check(copy.file < 0 || fstat(copy.file, &status) < 0 ? -errno : 0, arguments[2]);
  copy.bytes = (uint64_t)status.st_size;

  double start = seconds();
  struct casefs_device *device = open_device(arguments[1], copy.up);
  check(casefs_open(device, &options, &volume), "open");
  open_node(&copy, volume);
  for (unsigned i = 0; i < threads; i++)
    work[i] = (struct thread_work){copy_requests, &copy};
  double opened = seconds();
  run_threads(threads, work);
  double copied = seconds();
  casefs_node_close(copy.node);
  check(casefs_close(volume), "close");
  casefs_device_close(device);
  printf("{\"bytes\": %llu, \"copy\": %.6f, \"all\": %.6f}\n", (unsigned long long)copy.bytes,
         copied - opened, seconds() - start);
  return 0;
}

int format_main(int argument_count, char **arguments) {
  (void)argument_count;
  double start = seconds();
  struct casefs_device *device = open_device(arguments[0], true);
  double opened = seconds();
  check(casefs_format(device, NULL), "format");
  double formatted = seconds();
  casefs_device_close(device);
  printf("{\"open\": %.6f, \"format\": %.6f}\n", opened - start, formatted - opened);
  return 0;
}
