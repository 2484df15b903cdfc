/* SPDX-License-Identifier: BSD-3-Clause */
/* storebench: the sector store in process, against plain memory.
 *
 *   storebench [MIB]
 *
 * One round of all measurements, on MIB (1024) MiB of data, printed as one line of JSON.  The
 * driver runs it several times and takes medians; each run is a fresh process, so each has fresh
 * memory.  Store and plain memory take turns in short slices and touch the same sectors in the
 * same order.  Times are in seconds, rates in operations per second.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "sectors.h"

#define SECTOR 4096u
#define REQUEST (256u << 10) /* of sequential writes */
#define SLICE 50000u         /* operations of a side before it is the other's turn */
#define SLICES 6u
#define HOLES ((uint64_t)1 << 40)
#define MAX_THREADS 16u
#define THREAD_SECONDS 0.15

/* What is measured: a volume of a store, or as much plain memory. */
struct side {
  sectors_volume *volume; /* NULL: plain memory */
  unsigned char *memory;
};

static uint64_t amount; /* bytes of data */

static double seconds(void) {
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* splitmix64 */
static uint64_t next_random(uint64_t *state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15u);

  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static void check(int result, const char *what) {
  if (result < 0) {
    fprintf(stderr, "storebench: %s: %s\n", what, strerror(-result));
    exit(1);
  }
}

static void do_read(const struct side *side, unsigned char *buffer, size_t count, uint64_t offset) {
  if (side->volume != NULL)
    check(sectors_read(side->volume, buffer, count, offset), "read");
  else
    memcpy(buffer, side->memory + offset, count);
}

static void do_write(const struct side *side, const unsigned char *buffer, size_t count,
                     uint64_t offset) {
  if (side->volume != NULL)
    check(sectors_write(side->volume, buffer, count, offset), "write");
  else
    memcpy(side->memory + offset, buffer, count);
}

static unsigned char *random_buffer(size_t size) {
  unsigned char *buffer = aligned_alloc(SECTOR, size);
  uint64_t state = 1;

  if (buffer == NULL)
    abort();
  for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
    uint64_t word = next_random(&state) | 1;

    memcpy(buffer + i, &word, sizeof word);
  }
  return buffer;
}

static unsigned char *plain_memory(int advice) {
  unsigned char *memory =
      mmap(NULL, amount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  if (memory == MAP_FAILED) {
    perror("storebench: mmap");
    exit(1);
  }
  madvise(memory, amount, advice);
  return memory;
}

/* Writes everything once, in order; the time it took. */
static double fill(const struct side *side, const unsigned char *buffer) {
  double start = seconds();

  for (uint64_t offset = 0; offset < amount; offset += REQUEST)
    do_write(side, buffer, REQUEST, offset);
  return seconds() - start;
}

static double timed_trim(sectors_volume *volume, uint64_t count) {
  double start = seconds();

  check(sectors_trim(volume, count, 0), "trim");
  return seconds() - start;
}

/* The same sectors in the same order for each side; the time it took. */
static double slice(const struct side *side, bool write, const uint32_t *order,
                    unsigned char *buffer) {
  double start = seconds();

  for (unsigned i = 0; i < SLICE; i++) {
    if (write)
      do_write(side, buffer, SECTOR, (uint64_t)order[i] * SECTOR);
    else
      do_read(side, buffer, SECTOR, (uint64_t)order[i] * SECTOR);
  }
  return seconds() - start;
}

/* Rates of random sectors for each side, in turns. */
static void random_sectors(const struct side *sides, unsigned count, bool write, double *rates) {
  static uint32_t order[SLICE];
  unsigned char *buffer = random_buffer(SECTOR);
  double times[8] = {0};
  uint64_t state = write;

  for (unsigned turn = 0; turn < SLICES; turn++) {
    for (unsigned i = 0; i < SLICE; i++)
      order[i] = (uint32_t)(next_random(&state) % (amount / SECTOR));
    for (unsigned i = 0; i < count; i++)
      times[(i + turn) % count] += slice(&sides[(i + turn) % count], write, order, buffer);
  }
  for (unsigned i = 0; i < count; i++)
    rates[i] = (double)SLICES * SLICE / times[i];
  free(buffer);
}

struct worker {
  const struct side *side;
  bool write;
  uint64_t seed, operations;
  pthread_t thread;
};

static pthread_barrier_t barrier;
static bool stop;

static void *run_worker(void *data) {
  struct worker *worker = data;
  unsigned char *buffer = random_buffer(SECTOR);
  uint64_t state = worker->seed, operations = 0;

  pthread_barrier_wait(&barrier);
  while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
    uint64_t offset = next_random(&state) % (amount / SECTOR) * SECTOR;

    if (worker->write)
      do_write(worker->side, buffer, SECTOR, offset);
    else
      do_read(worker->side, buffer, SECTOR, offset);
    operations++;
  }
  worker->operations = operations;
  free(buffer);
  return NULL;
}

/* The rate of random sectors that this many threads reach together. */
static double threads_rate(const struct side *side, unsigned count, bool write) {
  struct worker workers[MAX_THREADS];
  struct timespec pause = {.tv_nsec = (long)(THREAD_SECONDS * 1e9)};
  double start, elapsed;
  uint64_t operations = 0;

  stop = false;
  pthread_barrier_init(&barrier, NULL, count + 1);
  for (unsigned i = 0; i < count; i++) {
    workers[i] = (struct worker){.side = side, .write = write, .seed = i + 1};
    if (pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]) != 0)
      abort();
  }
  pthread_barrier_wait(&barrier);
  start = seconds();
  nanosleep(&pause, NULL);
  __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
  elapsed = seconds() - start;
  for (unsigned i = 0; i < count; i++) {
    pthread_join(workers[i].thread, NULL);
    operations += workers[i].operations;
  }
  pthread_barrier_destroy(&barrier);
  return (double)operations / elapsed;
}

static void print_random(const char *name, const struct side *sides, bool write) {
  double rates[3];

  random_sectors(sides, 3, write, rates);
  printf("\"%s\": {\"store\": %.0f, \"plain\": %.0f, \"plain_huge\": %.0f}, ", name, rates[0],
         rates[1], rates[2]);
}

static void print_threads(const char *name, const struct side *sides, bool write) {
  static const unsigned counts[] = {1, 2, 16};
  const char *separator = "";

  printf("\"%s_threads\": {", name);
  for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++) {
    double store = threads_rate(&sides[0], counts[i], write);
    double plain = threads_rate(&sides[1], counts[i], write);

    printf("%s\"%u\": {\"store\": %.0f, \"plain\": %.0f}", separator, counts[i], store, plain);
    separator = ", ";
  }
  printf("}, ");
}

/* Leaves both sides filled. */
static void print_fill(const struct side *sides) {
  unsigned char *buffer = random_buffer(REQUEST);
  double plain_fresh = fill(&sides[1], buffer), plain_again = fill(&sides[1], buffer);
  double fresh = fill(&sides[0], buffer);
  double trimmed = timed_trim(sides[0].volume, amount);
  double again = fill(&sides[0], buffer);

  printf("\"fill\": {\"fresh\": %.6f, \"again\": %.6f, \"plain_fresh\": %.6f, "
         "\"plain_again\": %.6f}, \"trim_data\": %.6f, ",
         fresh, again, plain_fresh, plain_again, trimmed);
  fill(&sides[2], buffer);
  free(buffer);
}

static void print_holes(sectors_store *store) {
  sectors_volume *holes;

  check(sectors_volume_create(store, "holes", 2 * HOLES, &holes), "create");
  printf("\"trim_holes\": %.9f", timed_trim(holes, HOLES));
}

int main(int argc, char *argv[]) {
  struct side sides[3] = {{0}};
  sectors_store *store;

  amount = (argc > 1 ? strtoull(argv[1], NULL, 10) : 1024) << 20;
  if (amount < REQUEST) {
    fprintf(stderr, "usage: storebench [MIB]\n");
    return 2;
  }
  check(sectors_store_create(2 * amount, 0, &store), "create");
  check(sectors_store_start(store), "start");
  check(sectors_volume_create(store, "data", amount, &sides[0].volume), "create");
  sides[1].memory = plain_memory(MADV_NOHUGEPAGE);
  sides[2].memory = plain_memory(MADV_HUGEPAGE);

  printf("{\"bytes\": %llu, ", (unsigned long long)amount);
  print_fill(sides);
  print_random("read", sides, false);
  print_random("write", sides, true);
  print_threads("read", sides, false);
  print_threads("write", sides, true);
  print_holes(store);
  printf("}\n");
  sectors_store_destroy(store);
  return 0;
}
