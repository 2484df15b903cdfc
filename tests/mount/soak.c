/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Long use in little time: trees are made, written, read, listed, renamed, given attributes and
 * removed, over and over, while the daemon's memory and descriptors are measured.  Each cycle ends
 * with nothing left and the kernel's caches dropped: then the daemon must take as much as after the
 * second cycle, and the volume must be as empty as at the start.
 *
 *     soak [--operations N] [--cycles N] [--processes N] [--seed N] [--bound KIB] [--most KIB]
 *          [--unbounded] *          --daemon PID DIRECTORY
 *
 * --most: how much it may take at all.  --unbounded: memory is shown only (sanitizers keep what is
 * freed).
 */

#include "../casefs/dice.h"
#include "spellings.h"
#include "stress.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { SLACK = 2 << 20 /* bytes that the volume's own records may vary by */ };
enum { PLACES = 8, FILES = 400, LARGEST = 60000, CHUNK = 8192, CYCLES = 100 };

/* A file of a process: at most one name at a time. */
struct file {
  bool exists, linked;
  uint32_t size;
  uint64_t seed, place;
};

struct worker {
  unsigned number;
  struct dice dice;
  struct file files[FILES];
  unsigned char bytes[LARGEST];
};

static struct {
  const char *directory;
  uint64_t operations, cycles, seed, bound, most, daemon;
  unsigned processes;
  bool unbounded;
} settings = {
    .operations = 200000, .cycles = 5, .seed = 1, .bound = 16384, .most = 131072, .processes = 4};

struct shared {
  atomic_uint_fast64_t operations;
  uint64_t cycle;
};

static struct shared *shared;

/* ---------------------------------------------------------------- operations */

static void path_of(struct worker *worker, char path[SPELLING], unsigned file) {
  char plain[SPELLING];
  snprintf(plain, sizeof plain, "dir%" PRIu64 "/some-file-%u", worker->files[file].place, file);
  spell(path, plain, settings.seed & 1 ? dice_roll(&worker->dice) : 0);
}

static void write_file(struct worker *worker, unsigned number, int flags) {
  char path[SPELLING];
  struct file *file = &worker->files[number];
  file->seed = dice_roll(&worker->dice);
  /* Mostly small ones. */
  uint64_t limit = (uint64_t)LARGEST >> dice_below(&worker->dice, 10);
  file->size = (uint32_t)dice_below(&worker->dice, limit + 1);
  dice_fill(worker->bytes, file->size, file->seed);
  path_of(worker, path, number);
  note("write %s, %u bytes", path, file->size);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | flags, 0644);
  if (fd < 0)
    fail_errno("opening %s", path);
  for (uint32_t done = 0; done < file->size; done += CHUNK) {
    size_t count = file->size - done < CHUNK ? file->size - done : CHUNK;
    if (write(fd, worker->bytes + done, count) != (ssize_t)count)
      fail_errno("writing %s", path);
  }
  if (dice_below(&worker->dice, 200) == 0 && fsync(fd) != 0)
    fail_errno("syncing %s", path);
  if (close(fd) != 0)
    fail_errno("closing %s", path);
  file->exists = true;
}

static void read_file(struct worker *worker, unsigned number) {
  static unsigned char found[LARGEST + 1];
  char path[SPELLING];
  struct file *file = &worker->files[number];
  path_of(worker, path, number);
  note("read %s", path);
  int fd = open(path, O_RDONLY);
  ssize_t got = fd < 0 ? -1 : read(fd, found, sizeof found);
  if (got < 0)
    fail_errno("reading %s", path);
  close(fd);
  dice_fill(worker->bytes, file->size, file->seed);
  if ((uint32_t)got != file->size || memcmp(found, worker->bytes, file->size) != 0)
    fail("%s has %zd bytes that are not the %u written", path, got, file->size);
}

static void rename_file(struct worker *worker, unsigned number) {
  char path[SPELLING], to[SPELLING];
  path_of(worker, path, number);
  worker->files[number].place = dice_below(&worker->dice, PLACES);
  path_of(worker, to, number);
  note("rename %s to %s", path, to);
  if (rename(path, to) != 0)
    fail_errno("renaming %s to %s", path, to);
}

static void link_file(struct worker *worker, unsigned number) {
  char path[SPELLING], other[SPELLING];
  struct file *file = &worker->files[number];
  path_of(worker, path, number);
  snprintf(other, sizeof other, "link%u", number);
  note("%s %s", file->linked ? "unlink" : "link", other);
  if ((file->linked ? unlink(other) : link(path, other)) != 0)
    fail_errno("linking %s", path);
  file->linked = !file->linked;
}

static void remove_file(struct worker *worker, unsigned number) {
  char path[SPELLING];
  path_of(worker, path, number);
  note("remove %s", path);
  int fd = dice_below(&worker->dice, 4) ? -1 : open(path, O_RDONLY);
  if (unlink(path) != 0)
    fail_errno("removing %s", path);
  if (fd >= 0)
    close(fd);
  if (worker->files[number].linked)
    link_file(worker, number);
  worker->files[number].exists = false;
}

static void give_attributes(struct worker *worker, unsigned number) {
  char path[SPELLING], name[32], value[300], list[8192];
  path_of(worker, path, number);
  snprintf(name, sizeof name, "user.number%u", (unsigned)dice_below(&worker->dice, 4));
  size_t size = dice_below(&worker->dice, sizeof value);
  memset(value, 'v', size);
  note("attribute %s of %s, %zu bytes", name, path, size);
  if (setxattr(path, name, value, size, 0) != 0)
    fail_errno("setting %s of %s", name, path);
  if (getxattr(path, name, list, sizeof list) != (ssize_t)size)
    fail_errno("%s of %s has another size than the %zu set", name, path, size);
  if (listxattr(path, list, sizeof list) <= 0)
    fail_errno("attributes of %s", path);
  if (dice_below(&worker->dice, 2) && removexattr(path, name) != 0)
    fail_errno("removing %s of %s", name, path);
}

static void list_place(struct worker *worker) {
  char name[16];
  unsigned wanted = 0, found = 0;
  uint64_t place = dice_below(&worker->dice, PLACES);
  for (unsigned i = 0; i < FILES; i++)
    wanted += worker->files[i].exists && worker->files[i].place == place;
  snprintf(name, sizeof name, "dir%" PRIu64, place);
  note("list %s", name);
  DIR *stream = opendir(name);
  if (!stream)
    fail_errno("opening %s", name);
  for (struct dirent *entry; (entry = readdir(stream));)
    found += entry->d_name[0] != '.';
  closedir(stream);
  if (found != wanted)
    fail("%s lists %u files instead of %u", name, found, wanted);
}

static void look_around(struct worker *worker, unsigned number) {
  char path[SPELLING];
  struct stat status;
  path_of(worker, path, number);
  bool there = stat(path, &status) == 0;
  if (there != worker->files[number].exists)
    fail("%s is %sthere", path, there ? "" : "not ");
  if (there && status.st_size != worker->files[number].size)
    fail("%s has %ld bytes, not %u", path, (long)status.st_size, worker->files[number].size);
}

static void step(struct worker *worker) {
  unsigned number = (unsigned)dice_below(&worker->dice, FILES);
  struct file *file = &worker->files[number];
  uint64_t chosen = dice_below(&worker->dice, 100);
  if (chosen < 20)
    look_around(worker, number);
  else if (chosen < 22)
    list_place(worker);
  else if (!file->exists) {
    file->place = dice_below(&worker->dice, PLACES);
    write_file(worker, number, O_EXCL);
  } else if (chosen < 50)
    read_file(worker, number);
  else if (chosen < 62)
    rename_file(worker, number);
  else if (chosen < 70)
    write_file(worker, number, 0);
  else if (chosen < 75)
    link_file(worker, number);
  else if (chosen < 83)
    give_attributes(worker, number);
  else
    remove_file(worker, number);
}

static void make_directories(unsigned number) {
  char name[PATH_MAX];
  snprintf(name, sizeof name, "%s/soak%u", settings.directory, number);
  if (mkdir(name, 0755) != 0 || chdir(name) != 0)
    fail_errno("making %s", name);
  for (unsigned i = 0; i < PLACES; i++) {
    snprintf(name, sizeof name, "dir%u", i);
    if (mkdir(name, 0755) != 0)
      fail_errno("making %s", name);
  }
}

static void work(unsigned number, void *context) {
  static struct worker worker;
  char name[PATH_MAX];
  (void)context;
  worker.number = number;
  worker.dice = dice_seed((settings.seed * CYCLES + shared->cycle) * 1000 + number);
  make_directories(number);
  uint64_t count = settings.operations / settings.cycles / settings.processes;
  for (uint64_t i = 0; i < count; i++) {
    step(&worker);
    if (i % 1000 == 999)
      atomic_fetch_add(&shared->operations, 1000);
  }
  if (chdir("/") != 0)
    fail_errno("leaving");
  snprintf(name, sizeof name, "%s/soak%u", settings.directory, number);
  remove_tree(name);
}

/* --------------------------------------------------------------- measurement */

struct sample {
  uint64_t rss, descriptors, threads; /* KiB */
  uint64_t files, free;               /* of the volume */
};

static uint64_t status_field(const char *field) {
  char path[64], line[256];
  uint64_t value = UINT64_MAX;
  snprintf(path, sizeof path, "/proc/%" PRIu64 "/status", settings.daemon);
  FILE *file = fopen(path, "r");
  if (!file)
    fail_errno("the daemon's %s", path);
  while (fgets(line, sizeof line, file))
    if (strncmp(line, field, strlen(field)) == 0)
      value = strtoull(line + strlen(field) + 1, NULL, 10);
  fclose(file);
  if (value == UINT64_MAX)
    fail("%s does not have %s", path, field);
  return value;
}

static uint64_t count_descriptors(void) {
  char path[64];
  uint64_t count = 0;
  snprintf(path, sizeof path, "/proc/%" PRIu64 "/fd", settings.daemon);
  DIR *stream = opendir(path);
  if (!stream)
    fail_errno("opening %s", path);
  for (struct dirent *entry; (entry = readdir(stream));)
    count += entry->d_name[0] != '.';
  closedir(stream);
  return count;
}

static struct sample take_sample(void) {
  struct statvfs volume;
  if (statvfs(settings.directory, &volume) != 0)
    fail_errno("statvfs of %s", settings.directory);
  return (struct sample){status_field("VmRSS"), count_descriptors(), status_field("Threads"),
                         volume.f_files - volume.f_ffree, volume.f_bfree * volume.f_frsize};
}

static void show(const char *when, const struct sample *sample) {
  printf("soak: %-9s %9" PRIu64 " operations, memory %7" PRIu64 " KiB, %" PRIu64
         " descriptors, %" PRIu64 " threads, %" PRIu64 " nodes, %" PRIu64 " KiB free\n",
         when, (uint64_t)shared->operations, sample->rss, sample->descriptors, sample->threads,
         sample->files, sample->free >> 10);
  fflush(stdout);
}

/* Nothing is used, and the kernel forgets what it knows.  Space comes back with later commits. */
static struct sample rest(const struct sample *start) {
  struct sample sample;
  for (int i = 0; i < 40; i++) {
    if (!drop_caches('3'))
      fail_errno("dropping caches");
    int fd = open(settings.directory, O_RDONLY | O_DIRECTORY);
    if (fd < 0 || fsync(fd) != 0 || close(fd) != 0)
      fail_errno("syncing %s", settings.directory);
    usleep(100000);
    sample = take_sample();
    if (start && i >= 5 && sample.files == start->files && sample.free >= start->free)
      break;
    if (!start && i >= 5)
      break;
  }
  return sample;
}

static void check(const struct sample *start, const struct sample *middle,
                  const struct sample *now) {
  if (now->files != start->files)
    fail("%" PRIu64 " nodes are left instead of %" PRIu64, now->files, start->files);
  if (now->free + SLACK < start->free)
    fail("%" PRIu64 " KiB of space did not come back", (start->free - now->free) >> 10);
  if (now->descriptors > start->descriptors)
    fail("the daemon has %" PRIu64 " descriptors instead of %" PRIu64, now->descriptors,
         start->descriptors);
  if (settings.unbounded)
    return;
  if (now->rss > settings.most)
    fail("the daemon takes %" PRIu64 " KiB, more than %" PRIu64, now->rss, settings.most);
  if (middle && now->rss > middle->rss + settings.bound)
    fail("the daemon takes %" PRIu64 " KiB, more than %" PRIu64 " above the %" PRIu64
         " in the middle",
         now->rss, settings.bound, middle->rss);
}

static int run_cycles(void) {
  struct sample start = rest(NULL), now, middle;
  uint64_t half = (settings.cycles + 1) / 2;
  show("start", &start);
  for (shared->cycle = 1; shared->cycle <= settings.cycles; shared->cycle++) {
    char when[32];
    if (run_processes(settings.processes, work, NULL) != 0)
      return 1;
    now = rest(&start);
    snprintf(when, sizeof when, "cycle %" PRIu64, shared->cycle);
    show(when, &now);
    check(&start, shared->cycle > half ? &middle : NULL, &now);
    if (shared->cycle == half)
      middle = now;
  }
  return 0;
}

static void parse(int argc, char **argv) {
  static const struct option options[] = {
      {"operations", required_argument, NULL, 'n'},
      {"cycles", required_argument, NULL, 'c'},
      {"processes", required_argument, NULL, 'p'},
      {"seed", required_argument, NULL, 's'},
      {"bound", required_argument, NULL, 'b'},
      {"daemon", required_argument, NULL, 'd'},
      {"most", required_argument, NULL, 'm'},
      {"unbounded", no_argument, NULL, 'u'},
      {0},
  };
  for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
    switch (option) {
    case 'n':
      settings.operations = number_argument(optarg);
      break;
    case 'c':
      settings.cycles = number_argument(optarg);
      break;
    case 'p':
      settings.processes = (unsigned)number_argument(optarg);
      break;
    case 's':
      settings.seed = number_argument(optarg);
      break;
    case 'b':
      settings.bound = number_argument(optarg);
      break;
    case 'm':
      settings.most = number_argument(optarg);
      break;
    case 'd':
      settings.daemon = number_argument(optarg);
      break;
    case 'u':
      settings.unbounded = true;
      break;
    default:
      exit(2);
    }
  if (optind != argc - 1 || !settings.daemon || settings.cycles < 3 || settings.cycles >= CYCLES ||
      !settings.processes) {
    fputs("usage: soak [--operations N] [--cycles N (3 to 99)] [--processes N] [--seed N]\n"
          "            [--bound KIB] [--most KIB] [--unbounded] --daemon PID DIRECTORY\n",
          stderr);
    exit(2);
  }
  settings.directory = argv[optind];
}

int main(int argc, char **argv) {
  parse(argc, argv);
  set_repeat("soak --operations %" PRIu64 " --cycles %" PRIu64 " --processes %u --seed %" PRIu64
             " --daemon PID %s",
             settings.operations, settings.cycles, settings.processes, settings.seed,
             settings.directory);
  shared = shared_memory(sizeof *shared);
  double start = seconds_now();
  if (run_cycles() != 0)
    return 1;
  double seconds = seconds_now() - start;
  printf("soak: %" PRIu64 " operations (%.0f a second), nothing left%s\n",
         (uint64_t)shared->operations, (double)shared->operations / seconds,
         settings.unbounded ? "" : ", memory within its bounds");
  return 0;
}
