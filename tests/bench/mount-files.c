/* SPDX-License-Identifier: BSD-3-Clause */
/* mount-files: work on files of a mounted file system, for tests/bench/mount.
 *
 *   mount-files small FOLDER PROCESSES BATCHES FILES BYTES
 *   mount-files write FILE MIB 0|1         (1: fsync at the end, counted)
 *   mount-files read FILE                  (its pages are dropped before)
 *   mount-files fsync FOLDER create|overwrite THREADS MILLISECONDS
 *   mount-files getattr FILE THREADS COUNT
 *
 * Each prints one object of JSON.  Times are in seconds.
 *
 * small: each process, in a folder of its own, makes FILES files of BYTES bytes, reads them, asks
 * for their attributes, and unlinks them; BATCHES times, all processes waiting for each other
 * between the phases.  Few files in a batch keep out of the figures what a peer does badly with
 * many (passthrough_ll searches a list of all it knows).
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST = 1 << 20, BLOCK = 4096, MOST_THREADS = 64 };

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void check(bool good, const char *what) {
  if (good)
    return;
  fprintf(stderr, "mount-files: %s: %s\n", what, strerror(errno));
  exit(1);
}

static unsigned number(const char *text) {
  char *end;
  unsigned long value = strtoul(text, &end, 10);
  if (*text == '\0' || *end != '\0') {
    fprintf(stderr, "mount-files: %s: not a number\n", text);
    exit(2);
  }
  return (unsigned)value;
}

/* Bytes that are neither zero nor alike. */
static void fill(unsigned char *buffer, size_t count, uint64_t seed) {
  uint64_t state = seed + 1;
  for (size_t i = 0; i < count; i++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    buffer[i] = (unsigned char)(state >> 56);
  }
}

/* -------------------------------------------------------------- small files */

enum { PHASES = 4 };
static const char *const phase_names[PHASES] = {"create", "read", "stat", "unlink"};

struct small_work {
  unsigned files, bytes, batches;
  char *data;
  pthread_barrier_t *barrier;
};

typedef void (*phase)(int folder, const char *name, const struct small_work *work);

static void create_file(int folder, const char *name, const struct small_work *work) {
  int file = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL, 0644);
  check(file >= 0, name);
  check(write(file, work->data, work->bytes) == (ssize_t)work->bytes, name);
  check(close(file) == 0, name);
}

static void read_file(int folder, const char *name, const struct small_work *work) {
  int file = openat(folder, name, O_RDONLY);
  check(file >= 0, name);
  check(read(file, work->data, work->bytes) == (ssize_t)work->bytes, name);
  close(file);
}

static void stat_file(int folder, const char *name, const struct small_work *work) {
  struct stat status;
  check(fstatat(folder, name, &status, 0) == 0, name);
  check((size_t)status.st_size == work->bytes, "a file's size");
}

static void unlink_file(int folder, const char *name, const struct small_work *work) {
  (void)work;
  check(unlinkat(folder, name, 0) == 0, name);
}

static const phase phases[PHASES] = {create_file, read_file, stat_file, unlink_file};

/* times: of the phases, added up; from when the last process is ready to when the last is done. */
static void work_small(int folder, const struct small_work *work, double times[PHASES]) {
  char name[32];
  for (unsigned batch = 0; batch < work->batches; batch++)
    for (unsigned i = 0; i < PHASES; i++) {
      pthread_barrier_wait(work->barrier);
      double start = seconds();
      for (unsigned file = 0; file < work->files; file++) {
        snprintf(name, sizeof name, "File-%06u.txt", file);
        phases[i](folder, name, work);
      }
      pthread_barrier_wait(work->barrier);
      times[i] += seconds() - start;
    }
}

static int open_folder(const char *parent, unsigned process) {
  char path[4096];
  snprintf(path, sizeof path, "%s/process-%u", parent, process);
  check(mkdir(path, 0755) == 0 || errno == EEXIST, path);
  int folder = open(path, O_RDONLY | O_DIRECTORY);
  check(folder >= 0, path);
  return folder;
}

static pthread_barrier_t *shared_barrier(unsigned processes) {
  pthread_barrierattr_t attributes;
  pthread_barrier_t *barrier =
      mmap(NULL, sizeof *barrier, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  check(barrier != MAP_FAILED, "memory");
  pthread_barrierattr_init(&attributes);
  pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_barrier_init(barrier, &attributes, processes);
  return barrier;
}

/* One that fails ends all, since the others wait for it. */
static void wait_for_children(unsigned count) {
  int status;
  for (unsigned i = 0; i < count; i++) {
    check(wait(&status) > 0, "wait");
    if (status != 0)
      exit(1);
  }
}

static void small(char **argument) {
  unsigned processes = number(argument[1]);
  struct small_work work = {.batches = number(argument[2]),
                            .files = number(argument[3]),
                            .bytes = number(argument[4]),
                            .barrier = shared_barrier(processes)};
  double times[PHASES] = {0};
  work.data = malloc(work.bytes);
  check(work.data != NULL, "memory");
  fill((unsigned char *)work.data, work.bytes, 1);
  for (unsigned process = 1; process < processes; process++)
    if (fork() == 0) {
      work_small(open_folder(argument[0], process), &work, times);
      _exit(0);
    }
  work_small(open_folder(argument[0], 0), &work, times);
  wait_for_children(processes - 1);
  double count = (double)processes * work.batches * work.files;
  for (unsigned i = 0; i < PHASES; i++)
    printf("%s\"%s\": %f", i == 0 ? "{" : ", ", phase_names[i], count / times[i]);
  printf("}\n");
}

/* ------------------------------------------------------------ one large file */

static void write_large(char **argument) {
  unsigned requests = number(argument[1]);
  bool sync = number(argument[2]) != 0;
  unsigned char *buffer = malloc(REQUEST);
  check(buffer != NULL, "memory");
  fill(buffer, REQUEST, 1);
  double start = seconds();
  int file = open(argument[0], O_WRONLY | O_CREAT | O_TRUNC, 0644);
  check(file >= 0, argument[0]);
  for (unsigned i = 0; i < requests; i++) {
    memcpy(buffer, &i, sizeof i);
    check(write(file, buffer, REQUEST) == REQUEST, argument[0]);
  }
  check(!sync || fsync(file) == 0, "fsync");
  check(close(file) == 0, argument[0]);
  printf("{\"seconds\": %f}\n", seconds() - start);
}

static void read_large(char **argument) {
  unsigned char *buffer = malloc(REQUEST);
  int file = open(argument[0], O_RDONLY);
  check(buffer != NULL && file >= 0, argument[0]);
  check(fsync(file) == 0, "fsync");
  check(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0, "fadvise");
  double start = seconds();
  unsigned request = 0, stamp;
  ssize_t count;
  while ((count = read(file, buffer, REQUEST)) > 0) {
    memcpy(&stamp, buffer, sizeof stamp);
    check(count == REQUEST && stamp == request++, "what was read");
  }
  check(count == 0, argument[0]);
  printf("{\"seconds\": %f, \"mib\": %u}\n", seconds() - start, request);
}

/* --------------------------------------------------------------------- fsync */

struct fsync_work {
  int folder;
  unsigned thread;
  bool create;
  double end;
  uint64_t count;
};

/* A new file each time, or another block's worth over the same one. */
static void fsync_once(const struct fsync_work *work, const unsigned char *data) {
  char name[64];
  if (work->create)
    snprintf(name, sizeof name, "File-%u-%" PRIu64, work->thread, work->count);
  else
    snprintf(name, sizeof name, "File-%u", work->thread);
  int file = openat(work->folder, name, O_WRONLY | O_CREAT, 0644);
  check(file >= 0, name);
  check(write(file, data, BLOCK) == BLOCK, name);
  check(fsync(file) == 0, "fsync");
  check(close(file) == 0, name);
}

static void *run_fsync(void *argument) {
  struct fsync_work *work = argument;
  unsigned char data[BLOCK];
  fill(data, sizeof data, work->thread);
  for (; seconds() < work->end; work->count++) {
    memcpy(data, &work->count, sizeof work->count);
    fsync_once(work, data);
  }
  return NULL;
}

static void run_threads(void *(*run)(void *), void *works, size_t size, unsigned threads) {
  pthread_t ids[MOST_THREADS];
  for (unsigned i = 0; i < threads; i++)
    check(pthread_create(&ids[i], NULL, run, (char *)works + i * size) == 0, "a thread");
  for (unsigned i = 0; i < threads; i++)
    pthread_join(ids[i], NULL);
}

static unsigned thread_count(const char *text) {
  unsigned threads = number(text);
  return threads < MOST_THREADS ? threads : MOST_THREADS;
}

static void fsyncs(char **argument) {
  struct fsync_work works[MOST_THREADS];
  unsigned threads = thread_count(argument[2]);
  int folder = open(argument[0], O_RDONLY | O_DIRECTORY);
  check(folder >= 0, argument[0]);
  double start = seconds();
  for (unsigned i = 0; i < threads; i++)
    works[i] = (struct fsync_work){.folder = folder,
                                   .thread = i,
                                   .create = strcmp(argument[1], "create") == 0,
                                   .end = start + number(argument[3]) / 1e3};
  run_threads(run_fsync, works, sizeof *works, threads);
  double taken = seconds() - start;
  uint64_t count = 0;
  for (unsigned i = 0; i < threads; i++)
    count += works[i].count;
  printf("{\"count\": %" PRIu64 ", \"seconds\": %f}\n", count, taken);
}

/* ---------------------------------------------------------------- round trips */

struct getattr_work {
  int file;
  unsigned count;
};

/* The kernel is told not to answer from its cache. */
static void *run_getattr(void *argument) {
  const struct getattr_work *work = argument;
  struct statx status;
  for (unsigned i = 0; i < work->count; i++)
    check(statx(work->file, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &status) ==
              0,
          "statx");
  return NULL;
}

static void getattrs(char **argument) {
  struct getattr_work works[MOST_THREADS];
  unsigned threads = thread_count(argument[1]), count = number(argument[2]);
  int file = open(argument[0], O_RDONLY);
  check(file >= 0, argument[0]);
  for (unsigned i = 0; i < threads; i++)
    works[i] = (struct getattr_work){.file = file, .count = count};
  double start = seconds();
  run_threads(run_getattr, works, sizeof *works, threads);
  printf("{\"count\": %u, \"seconds\": %f}\n", count * threads, seconds() - start);
}

/* ---------------------------------------------------------------------- main */

static const struct command {
  const char *name;
  int arguments;
  void (*run)(char **argument);
} commands[] = {{"small", 5, small},
                {"write", 3, write_large},
                {"read", 1, read_large},
                {"fsync", 4, fsyncs},
                {"getattr", 3, getattrs}};

int main(int count, char **arguments) {
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
    if (count >= 2 && strcmp(arguments[1], commands[i].name) == 0 &&
        count - 2 == commands[i].arguments) {
      commands[i].run(arguments + 2);
      return 0;
    }
  fprintf(stderr, "usage: see the source, %s\n", __FILE__);
  return 2;
}
