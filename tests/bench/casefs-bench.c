/* SPDX-License-Identifier: BSD-3-Clause */
/* casefsload: casefs and its peers in process, for tests/bench/casefs.
 *
 *   casefsload nodes COUNT sensitive|insensitive random|sequential CACHE_MIB DIRTY_MIB FOLDER
 *   casefsload growth LARGEST CACHE_MIB DIRTY_MIB FOLDER
 *   casefsload memory create|list|lookup IMAGE COUNT CACHE_MIB DIRTY_MIB
 *   casefsload commit COUNT FOLDER
 *   casefsload syncs IMAGE FOLDER MILLISECONDS THREADS
 *   casefsload large up|down DEVICE FILE THREADS
 *   casefsload format DEVICE
 *
 * Each prints one object of JSON.  Sizes of 0 MiB are the defaults of casefs_open; FOLDER, on
 * tmpfs, is where LMDB has its file.  Times are in seconds.
 */

#include "casefs-bench.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* splitmix64 */
uint64_t next_random(uint64_t *state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

void check(int64_t result, const char *what) {
  if (result >= 0)
    return;
  fprintf(stderr, "casefsload: %s: %s\n", what, strerror((int)-result));
  exit(1);
}

void *allocate(size_t size) {
  void *memory = malloc(size ? size : 1);
  if (!memory)
    abort();
  return memory;
}

uint64_t number(const char *text) {
  char *end;
  uint64_t value = strtoull(text, &end, 10);
  if (*text == '\0' || *end != '\0') {
    fprintf(stderr, "casefsload: %s: not a number\n", text);
    exit(2);
  }
  return value;
}

void run_threads(unsigned count, const struct thread_work *work) {
  pthread_t *threads = allocate(count * sizeof *threads);
  for (unsigned i = 0; i < count; i++)
    check(-pthread_create(&threads[i], NULL, work[i].run, work[i].argument), "a thread");
  for (unsigned i = 0; i < count; i++)
    pthread_join(threads[i], NULL);
  free(threads);
}

/* --------------------------------------------------------------- file names */

void make_name(uint32_t index, file_name name) {
  memcpy(name, "File-", 5);
  for (unsigned i = 12; i >= 5; i--, index /= 10)
    name[i] = (char)('0' + index % 10);
  memcpy(name + 13, ".Txt", sizeof ".Txt");
}

void respell(file_name name) {
  for (; *name; name++)
    if ((*name | 0x20) >= 'a' && (*name | 0x20) <= 'z')
      *name ^= 0x20;
}

void shuffle(uint32_t *numbers, uint32_t count, uint64_t *state) {
  for (uint32_t i = count; i > 1; i--) {
    uint32_t j = (uint32_t)(next_random(state) % i), number_j = numbers[j];
    numbers[j] = numbers[i - 1];
    numbers[i - 1] = number_j;
  }
}

uint32_t *shuffled(uint32_t count, uint64_t seed) {
  uint32_t *numbers = allocate(count * sizeof *numbers);
  for (uint32_t i = 0; i < count; i++)
    numbers[i] = i;
  shuffle(numbers, count, &seed);
  return numbers;
}

/* --------------------------------------------------------- a device that counts */

struct counting {
  struct casefs_device device;
  struct casefs_device *inner;
  struct counts *counts;
  unsigned delay; /* microseconds */
};

static struct counting *of(struct casefs_device *device) {
  return (struct counting *)device;
}

static void wait_for(const struct counting *counting) {
  struct timespec delay = {.tv_sec = counting->delay / 1000000,
                           .tv_nsec = counting->delay % 1000000 * 1000L};
  if (counting->delay > 0)
    nanosleep(&delay, NULL);
}

static int counting_read(struct casefs_device *device, void *buffer, size_t count,
                         uint64_t offset) {
  struct casefs_device *inner = of(device)->inner;
  of(device)->counts->reads++;
  return inner->operations->read(inner, buffer, count, offset);
}

static int counting_write(struct casefs_device *device, const void *buffer, size_t count,
                          uint64_t offset, bool durable) {
  struct counting *counting = of(device);
  counting->counts->writes++;
  counting->counts->durable += durable;
  counting->counts->bytes += count;
  if (durable)
    wait_for(counting);
  return counting->inner->operations->write(counting->inner, buffer, count, offset, durable);
}

static int counting_flush(struct casefs_device *device) {
  struct counting *counting = of(device);
  counting->counts->flushes++;
  wait_for(counting);
  return counting->inner->operations->flush(counting->inner);
}

static int counting_discard(struct casefs_device *device, uint64_t count, uint64_t offset) {
  struct casefs_device *inner = of(device)->inner;
  return inner->operations->discard ? inner->operations->discard(inner, count, offset) : 0;
}

static void counting_close(struct casefs_device *device) {
  casefs_device_close(of(device)->inner);
  free(device);
}

static const struct casefs_device_operations counting_operations = {
    .read = counting_read,
    .write = counting_write,
    .flush = counting_flush,
    .discard = counting_discard,
    .close = counting_close,
};

struct casefs_device *counting_device(struct casefs_device *inner, struct counts *counts,
                                      unsigned delay) {
  struct counting *counting = allocate(sizeof *counting);
  *counting = (struct counting){*inner, inner, counts, delay};
  counting->device.operations = &counting_operations;
  return &counting->device;
}

/* ------------------------------------------------------------- files of a directory */

void files_create(struct files *files, struct casefs_device *device, bool insensitive,
                  uint64_t cache_size, uint64_t dirty_limit, unsigned delay) {
  struct casefs_format_options format = {.case_insensitive = insensitive};
  struct casefs_open_options options = {.cache_size = cache_size, .dirty_limit = dirty_limit};
  struct casefs_creation creation = {.type = CASEFS_DIRECTORY, .mode = 0755};
  casefs_node *root;

  *files = (struct files){0};
  check(casefs_format(device, &format), "format");
  files->device = counting_device(device, &files->counts, delay);
  check(casefs_open(files->device, &options, &files->volume), "open");
  check(casefs_open_root(files->volume, &root), "root");
  check(casefs_create(root, "files", 5, &creation, &files->directory), "mkdir");
  casefs_node_close(root);
}

void files_create_memory(struct files *files, bool insensitive, uint64_t cache_size,
                         uint64_t dirty_limit) {
  struct casefs_device *device;
  check(casefs_device_open_memory(VOLUME_SIZE, &device), "memory");
  files_create(files, device, insensitive, cache_size, dirty_limit, 0);
}

void files_close(struct files *files) {
  casefs_node_close(files->directory);
  check(casefs_close(files->volume), "close");
  casefs_device_close(files->device);
}

struct casefs_statistics files_statistics(struct files *files) {
  struct casefs_statistics statistics;
  casefs_volume_statistics(files->volume, &statistics);
  return statistics;
}

double files_make(struct files *files, const file_name *names, uint32_t count) {
  struct casefs_creation creation = {.type = CASEFS_FILE, .mode = 0644};
  double start = seconds();
  for (uint32_t i = 0; i < count; i++)
    check(casefs_create(files->directory, names[i], NAME_LENGTH, &creation, NULL), "create");
  return seconds() - start;
}

double files_find(struct files *files, const file_name *names, uint32_t count) {
  struct casefs_attributes attributes;
  double start = seconds();
  for (uint32_t i = 0; i < count; i++)
    check(casefs_lookup(files->directory, names[i], NAME_LENGTH, &attributes, NULL), "lookup");
  return seconds() - start;
}

double files_remove(struct files *files, const file_name *names, uint32_t count) {
  double start = seconds();
  for (uint32_t i = 0; i < count; i++)
    check(casefs_unlink(files->directory, names[i], NAME_LENGTH), "unlink");
  return seconds() - start;
}

double files_sync(struct files *files) {
  double start = seconds();
  check(casefs_sync(files->volume), "sync");
  return seconds() - start;
}

double files_list(struct files *files, uint64_t count, bool attributes) {
  struct casefs_cursor cursor = {0};
  struct casefs_entry entry;
  struct casefs_attributes found;
  uint64_t listed = 0;
  int result;
  double start = seconds();
  while ((result = casefs_next_entry(files->directory, &cursor, &entry,
                                     attributes ? &found : NULL)) == 1)
    listed++;
  check(result, "list");
  if (listed != count) {
    fprintf(stderr, "casefsload: %llu entries of %llu\n", (unsigned long long)listed,
            (unsigned long long)count);
    exit(1);
  }
  return seconds() - start;
}

/* ------------------------------------------------------------------------- main */

static const struct {
  const char *name;
  int (*run)(int count, char **arguments);
  int arguments;
} parts[] = {
    {"nodes", nodes_main, 6},   {"growth", growth_main, 4}, {"memory", memory_main, 5},
    {"commit", commit_main, 2}, {"syncs", syncs_main, 4},   {"large", large_main, 4},
    {"format", format_main, 1},
};

int main(int argc, char **argv) {
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (argc == parts[i].arguments + 2 && strcmp(argv[1], parts[i].name) == 0)
      return parts[i].run(argc - 2, argv + 2);
  fprintf(stderr, "casefsload is run by tests/bench/casefs; its source tells how.\n");
  return 2;
}
