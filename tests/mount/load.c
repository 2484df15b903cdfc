/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Hundreds of threads on what they share: parts of one file side by side, a journal that all append
 * to, a counter behind a lock, a directory that fills and empties under those who list it, and
 * a file that is truncated and extended while others read it.
 *
 *     load [--processes N] [--threads N] [--operations N] [--seed N] DIRECTORY
 *
 * --operations is for each thread.
 */

#include "../casefs/dice.h"
#include "stress.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
  WORKERS = 1024,
  RECORD = 1000,  /* bytes; several share a page */
  RECORDS = 8,    /* of each worker */
  ENTRY = 64,     /* of the journal */
  BREATH = 65536, /* largest size of the file that grows and shrinks */
};

struct worker {
  unsigned number;
  pthread_t thread;
  struct dice dice;
  int stripes, journal, counter, breathing;
  uint64_t versions[RECORDS];
  uint64_t entries;
  bool has_file;
};

struct shared {
  atomic_uint_fast64_t counted, entries[WORKERS], steps;
};

static struct {
  unsigned processes, threads;
  uint64_t operations, seed;
} settings = {.processes = 2, .threads = 100, .operations = 200, .seed = 1};

static struct shared *shared;

static int open_shared(const char *name, int flags) {
  int fd = open(name, O_RDWR | flags, 0600);
  if (fd < 0)
    fail_errno("opening %s", name);
  return fd;
}

/* ------------------------------------------------------------------- stripes */

static off_t place_of(const struct worker *worker, unsigned record) {
  unsigned workers = settings.processes * settings.threads;
  return (off_t)(record * workers + worker->number) * RECORD;
}

static void record_bytes(unsigned char bytes[RECORD], const struct worker *worker,
                         unsigned record) {
  memset(bytes, 0, RECORD);
  if (worker->versions[record])
    dice_fill(bytes, RECORD,
              ((uint64_t)worker->number << 32 | record << 24) + worker->versions[record]);
}

static void write_record(struct worker *worker, unsigned record) {
  unsigned char bytes[RECORD];
  worker->versions[record]++;
  record_bytes(bytes, worker, record);
  note("write record %u", record);
  if (pwrite(worker->stripes, bytes, RECORD, place_of(worker, record)) != RECORD)
    fail_errno("writing record %u", record);
}

static void check_record(struct worker *worker, unsigned record) {
  unsigned char wanted[RECORD], found[RECORD] = {0};
  record_bytes(wanted, worker, record);
  note("read record %u", record);
  if (pread(worker->stripes, found, RECORD, place_of(worker, record)) < 0)
    fail_errno("reading record %u", record);
  if (memcmp(wanted, found, RECORD) != 0)
    fail("record %u of thread %u has other bytes than written last", record, worker->number);
}

/* ------------------------------------------------- journal, counter and others */

static void append(struct worker *worker) {
  char entry[ENTRY + 1];
  snprintf(entry, sizeof entry, "%08u %012" PRIu64 " %041d\n", worker->number, ++worker->entries,
           0);
  note("append");
  if (write(worker->journal, entry, ENTRY) != ENTRY)
    fail_errno("appending");
  atomic_store(&shared->entries[worker->number], worker->entries);
}

static void count(struct worker *worker) {
  uint64_t value = 0;
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  note("count");
  if (fcntl(worker->counter, F_OFD_SETLKW, &lock) != 0)
    fail_errno("locking");
  if (pread(worker->counter, &value, sizeof value, 0) < 0)
    fail_errno("reading the counter");
  value++;
  if (pwrite(worker->counter, &value, sizeof value, 0) != sizeof value)
    fail_errno("writing the counter");
  lock.l_type = F_UNLCK;
  if (fcntl(worker->counter, F_OFD_SETLK, &lock) != 0)
    fail_errno("unlocking");
  atomic_fetch_add(&shared->counted, 1);
}

/* Each byte there is 'b' or, in a hole, 0, whatever the size is just now. */
static void breathe(struct worker *worker) {
  static const unsigned char letters[4] = {'b', 'b', 'b', 'b'};
  unsigned char found[512];
  off_t offset = (off_t)dice_below(&worker->dice, BREATH);
  note("breathe at %ld", (long)offset);
  switch (dice_below(&worker->dice, 4)) {
  case 0:
    if (ftruncate(worker->breathing, offset) != 0)
      fail_errno("truncating");
    return;
  case 1:
    if (pwrite(worker->breathing, letters, sizeof letters, offset) != sizeof letters)
      fail_errno("writing");
    return;
  }
  ssize_t got = pread(worker->breathing, found, sizeof found, offset);
  if (got < 0)
    fail_errno("reading");
  for (ssize_t i = 0; i < got; i++)
    if (found[i] != 'b' && found[i] != 0)
      fail("there is %02x at %ld, where only b was written", found[i], (long)offset + i);
}

static void check_listed(const struct worker *worker, const char *name) {
  unsigned found = 0;
  DIR *stream = opendir("crowd");
  if (!stream)
    fail_errno("opening the directory");
  for (struct dirent *entry; (entry = readdir(stream));)
    found += strcmp(entry->d_name, name) == 0;
  closedir(stream);
  if (found != (worker->has_file ? 1 : 0))
    fail("%s, which is %sthere, is listed %u times", name, worker->has_file ? "" : "not ", found);
}

static void join_crowd(struct worker *worker) {
  char name[32], path[64];
  struct stat status;
  snprintf(name, sizeof name, "one-of-many-%u", worker->number);
  snprintf(path, sizeof path, "crowd/%s", name);
  note("%s %s", worker->has_file ? "leave" : "join", path);
  if (worker->has_file ? unlink(path) : mknod(path, S_IFREG | 0600, 0))
    fail_errno("%s %s", worker->has_file ? "removing" : "making", path);
  worker->has_file = !worker->has_file;
  if ((stat(path, &status) == 0) != worker->has_file)
    fail("%s is %sthere at once", path, worker->has_file ? "not " : "");
  if (dice_below(&worker->dice, 20) == 0)
    check_listed(worker, name);
}

static void look(struct worker *worker) {
  struct stat status;
  struct statvfs volume;
  note("look");
  if (fstat(worker->stripes, &status) != 0 || statvfs(".", &volume) != 0)
    fail_errno("status");
  if (dice_below(&worker->dice, 30) == 0 && fsync(worker->stripes) != 0)
    fail_errno("sync");
}

/* ---------------------------------------------------------------------- runs */

static void step(struct worker *worker) {
  unsigned record = (unsigned)dice_below(&worker->dice, RECORDS);
  uint64_t chosen = dice_below(&worker->dice, 10);
  if (chosen < 2)
    write_record(worker, record);
  else if (chosen < 4)
    check_record(worker, record);
  else if (chosen < 5)
    append(worker);
  else if (chosen < 6)
    count(worker);
  else if (chosen < 7)
    breathe(worker);
  else if (chosen < 9)
    join_crowd(worker);
  else
    look(worker);
}

static void *work(void *context) {
  struct worker *worker = context;
  worker->stripes = open_shared("stripes", 0);
  worker->journal = open_shared("journal", O_APPEND);
  worker->counter = open_shared("counter", 0);
  worker->breathing = open_shared("breathing", 0);
  for (uint64_t i = 0; i < settings.operations; i++)
    step(worker);
  for (unsigned i = 0; i < RECORDS; i++)
    check_record(worker, i);
  if (worker->has_file)
    join_crowd(worker);
  close(worker->stripes);
  close(worker->journal);
  close(worker->counter);
  close(worker->breathing);
  atomic_fetch_add(&shared->steps, settings.operations);
  return NULL;
}

static void run_threads(unsigned process, void *context) {
  static struct worker workers[WORKERS];
  (void)context;
  for (unsigned i = 0; i < settings.threads; i++) {
    workers[i].number = process * settings.threads + i;
    workers[i].dice = dice_seed(settings.seed * WORKERS + workers[i].number);
    int error = pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    if (error)
      fail("thread %u: %s", i, strerror(error));
  }
  for (unsigned i = 0; i < settings.threads; i++)
    pthread_join(workers[i].thread, NULL);
}

static void check_journal(void) {
  char entry[ENTRY + 1] = "";
  static uint64_t last[WORKERS];
  int fd = open_shared("journal", 0);
  ssize_t got;
  while ((got = read(fd, entry, ENTRY)) == ENTRY) {
    unsigned number;
    uint64_t serial;
    if (sscanf(entry, "%u %" SCNu64 " ", &number, &serial) != 2 || number >= WORKERS ||
        entry[ENTRY - 1] != '\n')
      fail("the journal has a torn entry: '%s'", entry);
    if (serial != ++last[number])
      fail("entry %" PRIu64 " of thread %u comes where %" PRIu64 " should", serial, number,
           last[number]);
  }
  if (got != 0)
    fail("the journal ends with %zd bytes of an entry", got);
  close(fd);
  for (unsigned i = 0; i < WORKERS; i++)
    if (last[i] != shared->entries[i])
      fail("thread %u wrote %" PRIu64 " entries, but %" PRIu64 " are there", i,
           (uint64_t)shared->entries[i], last[i]);
}

static void check_end(void) {
  uint64_t value = 0;
  int fd = open_shared("counter", 0);
  if (pread(fd, &value, sizeof value, 0) < 0)
    fail_errno("reading the counter");
  close(fd);
  if (value != shared->counted)
    fail("the counter is %" PRIu64 " after counting %" PRIu64 " times", value,
         (uint64_t)shared->counted);
  check_journal();
  if (rmdir("crowd") != 0)
    fail_errno("removing the directory, which must be empty");
}

static void prepare(void) {
  remove_tree("load");
  if (mkdir("load", 0700) != 0 || chdir("load") != 0 || mkdir("crowd", 0700) != 0)
    fail_errno("making directories");
  close(open_shared("stripes", O_CREAT));
  close(open_shared("journal", O_CREAT));
  close(open_shared("counter", O_CREAT));
  close(open_shared("breathing", O_CREAT));
}

static void parse(int argc, char **argv) {
  static const struct option options[] = {
      {"processes", required_argument, NULL, 'p'},
      {"threads", required_argument, NULL, 't'},
      {"operations", required_argument, NULL, 'n'},
      {"seed", required_argument, NULL, 's'},
      {0},
  };
  for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
    if (option == 'p')
      settings.processes = (unsigned)number_argument(optarg);
    else if (option == 't')
      settings.threads = (unsigned)number_argument(optarg);
    else if (option == 'n')
      settings.operations = number_argument(optarg);
    else if (option == 's')
      settings.seed = number_argument(optarg);
    else
      exit(2);
  if (optind != argc - 1 || settings.processes * settings.threads > WORKERS) {
    fputs("usage: load [--processes N] [--threads N] [--operations N] [--seed N] DIRECTORY\n",
          stderr);
    exit(2);
  }
  if (chdir(argv[optind]) != 0)
    fail_errno("entering %s", argv[optind]);
}

int main(int argc, char **argv) {
  parse(argc, argv);
  shared = shared_memory(sizeof *shared);
  prepare();
  double start = seconds_now();
  if (run_processes(settings.processes, run_threads, NULL) != 0)
    return 1;
  check_end();
  if (chdir("..") != 0)
    fail_errno("leaving");
  remove_tree("load");
  printf("load: %" PRIu64
         " steps by %u processes of %u threads, no difference (%.1f s, seed %" PRIu64 ")\n",
         (uint64_t)shared->steps, settings.processes, settings.threads, seconds_now() - start,
         settings.seed);
  return 0;
}
