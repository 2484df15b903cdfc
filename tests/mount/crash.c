/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Writers on a mount whose daemon is about to die, and the check of what is there afterwards.
 *
 *     crash run [--writers N] [--seed N] [--seconds N] [--ordered] RECORD DIRECTORY
 *     crash verify [--exact] RECORD DIRECTORY
 *
 * run ends with 0 when the mount has died, or after that time.  What was synced must be there
 * afterwards, of anything else only what was once written to that place.  POSIX promises that
 * fsync saves a file's data and attributes, and a directory's entries when called for the
 * directory.  --ordered: also that any sync saves all names that this writer made before.
 * verify --exact: the mount did not die but end; nothing may be missing.
 */

#include "crash.h"
#include "../casefs/dice.h"
#include "stress.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

struct run {
  struct crash_record *record;
  const char *directory;
  unsigned writers;
  uint64_t seed, seconds;
  bool ordered;
  double end;
};

/* One writer's side of it. */
struct work {
  struct run *run;
  struct crash_writer *writer;
  struct dice dice;
};

/* ---------------------------------------------------------------- the record */

void crash_fill(unsigned char bytes[CRASH_UNIT], uint64_t token, uint64_t unit, uint64_t version) {
  uint64_t head[3] = {token, unit, version};
  dice_fill(bytes, CRASH_UNIT, dice_mix(token) ^ dice_mix(unit + 77) ^ version);
  memcpy(bytes, head, sizeof head);
}

void crash_path(char path[SPELLING], unsigned slot) {
  snprintf(path, SPELLING, "place%u/name%02u", slot / CRASH_NAMES, slot % CRASH_NAMES);
}

static void add_candidate(struct crash_slot *slot, unsigned object) {
  if (slot->count == 0)
    slot->count = 1; /* at first it is durably nothing */
  if (slot->count == CRASH_CANDIDATES)
    fail("a name has too many candidates");
  slot->candidates[slot->count++] = object;
}

/* The entries of a directory are durable as they are. */
static void settle_place(struct crash_writer *writer, unsigned place) {
  for (unsigned i = place * CRASH_NAMES; i < (place + 1) * CRASH_NAMES; i++) {
    struct crash_slot *slot = &writer->slots[i];
    slot->candidates[0] = crash_current(slot);
    slot->count = 1;
  }
}

static bool is_candidate(const struct crash_writer *writer, unsigned object) {
  for (unsigned i = 0; i < CRASH_SLOTS; i++)
    for (unsigned j = 0; j < writer->slots[i].count; j++)
      if (writer->slots[i].candidates[j] == object)
        return true;
  return false;
}

/* An unused object, initialized: 1 + its index, or 0 if too many may still be there. */
static unsigned new_object(struct crash_writer *writer, bool directory) {
  for (unsigned i = 0; i < CRASH_OBJECTS; i++) {
    struct crash_object *object = &writer->objects[i];
    if (is_candidate(writer, i + 1))
      continue;
    memset(object, 0, sizeof *object);
    object->token = (uint64_t)(getpid() & 0xffff) << 40 | ++writer->tokens;
    object->directory = directory;
    object->modes = 1;
    return i + 1;
  }
  return 0;
}

static void add_history(struct crash_object *object, char letter) {
  size_t length = strlen(object->history);
  if (length + 1 == sizeof object->history)
    memmove(object->history, object->history + 1, length--);
  object->history[length] = letter;
  object->history[length + 1] = 0;
}

static void data_is_durable(struct crash_object *object) {
  for (unsigned i = 0; i < CRASH_UNITS; i++) {
    struct crash_unit *unit = &object->units[i];
    unit->durable = unit->current;
    unit->floor = object->version;
    unit->zeroed_since = false;
  }
  object->least_size = object->largest_size = object->size;
}

static void attributes_are_durable(struct crash_object *object, int fd) {
  struct stat status;
  object->modes = UINT64_C(1) << object->mode;
  object->durable_label = object->label;
  if (fstat(fd, &status) == 0) {
    object->modified = status.st_mtim;
    object->modified_known = true;
  }
}

static void note_size(struct crash_object *object, uint64_t size) {
  if (size < object->least_size)
    object->least_size = size;
  if (size > object->largest_size)
    object->largest_size = size;
}

/* ----------------------------------------------------------------- surviving */

/* The mount is gone, in one of the ways in which programs hear of it; anything else is a fault. */
static void expect(bool good, const char *what, const char *path) {
  if (good)
    return;
  if (errno == ENOTCONN || errno == ECONNABORTED || errno == EIO || errno == ENODEV ||
      errno == EROFS)
    _exit(0);
  fail_errno("%s of %s", what, path);
}

static void dead_mapping(int signal) {
  (void)signal;
  _exit(0);
}

static void spelled(struct work *work, char path[SPELLING], unsigned slot) {
  char plain[SPELLING];
  crash_path(plain, slot);
  /* The directory must be found under any spelling too. */
  spell(path, plain, dice_roll(&work->dice));
}

static int open_object(struct work *work, unsigned slot, int flags) {
  char path[SPELLING];
  spelled(work, path, slot);
  int fd = open(path, flags, 0600);
  expect(fd >= 0, "opening", path);
  return fd;
}

/* ---------------------------------------------------------------- operations */

static void sync_place(struct work *work, unsigned place) {
  char name[16];
  snprintf(name, sizeof name, "place%u", place);
  note("sync %s", name);
  int fd = open(name, O_RDONLY | O_DIRECTORY);
  expect(fd >= 0, "opening", name);
  expect(fsync(fd) == 0, "sync", name);
  close(fd);
  settle_place(work->writer, place);
  atomic_fetch_add(&work->run->record->syncs, 1);
}

static void names_are_durable(struct work *work) {
  atomic_fetch_add(&work->run->record->syncs, 1);
  for (unsigned place = 0; work->run->ordered && place < CRASH_PLACES; place++)
    settle_place(work->writer, place);
}

/* Room for one more candidate of that slot. */
static void make_room(struct work *work, unsigned slot) {
  if (work->writer->slots[slot].count + 2 > CRASH_CANDIDATES)
    sync_place(work, slot / CRASH_NAMES);
}

static void sync_object(struct work *work, struct crash_object *object, int fd, bool data_only) {
  note("sync %" PRIx64 "%s", object->token, data_only ? " data" : "");
  add_history(object, data_only ? 'd' : 's');
  expect((data_only ? fdatasync(fd) : fsync(fd)) == 0, "sync", "a file");
  data_is_durable(object);
  if (!data_only)
    attributes_are_durable(object, fd);
  names_are_durable(work);
}

static void create(struct work *work, unsigned slot) {
  char path[SPELLING];
  struct stat status;
  bool directory = dice_below(&work->dice, 5) == 0;
  make_room(work, slot);
  unsigned index = new_object(work->writer, directory);
  if (!index) {
    for (unsigned place = 0; place < CRASH_PLACES; place++)
      sync_place(work, place);
    return;
  }
  struct crash_object *object = &work->writer->objects[index - 1];
  add_candidate(&work->writer->slots[slot], index);
  spelled(work, path, slot);
  note("create %s as %" PRIx64 "%s", path, object->token, directory ? ", a directory" : "");
  if (directory) {
    expect(mkdir(path, 0700) == 0, "making", path);
    expect(stat(path, &status) == 0, "status", path);
  } else {
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    expect(fd >= 0, "making", path);
    expect(fstat(fd, &status) == 0, "status", path);
    close(fd);
  }
  object->id = status.st_ino;
}

/* All but the bytes themselves: what units of the range may be from now on. */
static uint64_t will_write(struct crash_object *object, uint64_t first, uint64_t count,
                           char letter) {
  uint64_t version = ++object->version;
  add_history(object, letter);
  object->modified_known = false;
  for (uint64_t i = first; i < first + count; i++)
    object->units[i].current = version;
  if (first + count > object->size)
    object->size = first + count;
  note_size(object, object->size);
  return version;
}

static void will_zero(struct crash_object *object, uint64_t first, uint64_t count) {
  object->version++;
  object->modified_known = false;
  for (uint64_t i = first; i < first + count; i++) {
    object->units[i].current = 0;
    object->units[i].zeroed_since = true;
  }
}

static void fill_units(unsigned char *bytes, const struct crash_object *object, uint64_t first,
                       uint64_t count, uint64_t version) {
  for (uint64_t i = 0; i < count; i++)
    crash_fill(bytes + i * CRASH_UNIT, object->token, first + i, version);
}

static void write_units(struct work *work, struct crash_object *object, int fd, uint64_t first,
                        uint64_t count, bool durable) {
  unsigned char bytes[CRASH_UNITS * CRASH_UNIT];
  uint64_t version = will_write(object, first, count, durable ? 'W' : 'w');
  note("write %" PRIx64 " version %" PRIu64 ", units %" PRIu64 " + %" PRIu64 "%s", object->token,
       version, first, count, durable ? ", durably" : "");
  fill_units(bytes, object, first, count, version);
  /* A mount that dies may have taken a part of it; then the rest is refused. */
  for (uint64_t done = 0; done < count * CRASH_UNIT;) {
    struct iovec part = {bytes + done, count * CRASH_UNIT - done};
    ssize_t got =
        pwritev2(fd, &part, 1, (off_t)(first * CRASH_UNIT + done), durable ? RWF_DSYNC : 0);
    expect(got > 0, "writing", "a file");
    done += (uint64_t)got;
  }
  if (!durable)
    return;
  for (uint64_t i = first; i < first + count; i++) {
    object->units[i].durable = version;
    object->units[i].floor = version;
    object->units[i].zeroed_since = false;
  }
  if (object->least_size < first + count)
    object->least_size = first + count;
  names_are_durable(work);
}

static void map_units(struct crash_object *object, int fd, uint64_t first, uint64_t count) {
  if (first + count > object->size)
    return;
  note("map %" PRIx64 " units %" PRIu64 " + %" PRIu64, object->token, first, count);
  unsigned char *mapping =
      mmap(NULL, CRASH_UNITS * CRASH_UNIT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  expect(mapping != MAP_FAILED, "mapping", "a file");
  uint64_t version = will_write(object, first, count, 'm');
  fill_units(mapping + first * CRASH_UNIT, object, first, count, version);
  munmap(mapping, CRASH_UNITS * CRASH_UNIT);
}

static void resize(struct crash_object *object, int fd, uint64_t size) {
  note("truncate %" PRIx64 " from %" PRIu64 " to %" PRIu64, object->token, object->size, size);
  add_history(object, 't');
  if (size < object->size)
    will_zero(object, size, object->size - size);
  object->modified_known = false;
  object->size = size;
  note_size(object, size);
  expect(ftruncate(fd, (off_t)(size * CRASH_UNIT)) == 0, "truncating", "a file");
}

static void punch(struct crash_object *object, int fd, uint64_t first, uint64_t count) {
  note("punch %" PRIx64 " units %" PRIu64 " + %" PRIu64, object->token, first, count);
  add_history(object, 'p');
  will_zero(object, first, count);
  expect(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(first * CRASH_UNIT),
                   (off_t)(count * CRASH_UNIT)) == 0,
         "punching", "a file");
}

static void change_mode(struct work *work, struct crash_object *object, int fd) {
  unsigned mode = (unsigned)dice_below(&work->dice, 64);
  note("mode of %" PRIx64 ": %o", object->token, 0600 + mode);
  add_history(object, 'c');
  object->modes |= UINT64_C(1) << mode;
  object->mode = mode;
  expect(fchmod(fd, 0600 + mode) == 0, "mode", "a file");
}

static void change_label(struct crash_object *object, int fd) {
  uint64_t label = ++object->label;
  add_history(object, 'l');
  note("label of %" PRIx64 ": %" PRIu64, object->token, label);
  expect(fsetxattr(fd, "user.label", &label, sizeof label, 0) == 0, "label", "a file");
}

static void change_file(struct work *work, struct crash_object *object, int fd) {
  uint64_t first = dice_below(&work->dice, CRASH_UNITS);
  uint64_t most = CRASH_UNITS - first < 20 ? CRASH_UNITS - first : 20;
  uint64_t count = 1 + dice_below(&work->dice, most);
  switch (dice_below(&work->dice, 16)) {
  case 0:
    resize(object, fd, first);
    break;
  case 1:
    punch(object, fd, first, count);
    break;
  case 2:
    map_units(object, fd, first, count);
    break;
  case 3:
    change_mode(work, object, fd);
    break;
  case 4:
    change_label(object, fd);
    break;
  case 5:
    write_units(work, object, fd, first, count, true);
    break;
  case 6:
  case 7:
    sync_object(work, object, fd, false);
    break;
  case 8:
    sync_object(work, object, fd, true);
    break;
  default:
    write_units(work, object, fd, first, count, false);
  }
}

static void use_file(struct work *work, unsigned slot) {
  struct crash_object *object =
      &work->writer->objects[crash_current(&work->writer->slots[slot]) - 1];
  int fd = open_object(work, slot, O_RDWR);
  for (uint64_t steps = 1 + dice_below(&work->dice, 6); steps; steps--)
    change_file(work, object, fd);
  close(fd);
}

static void take_away(struct work *work, unsigned slot, struct crash_object *object) {
  char path[SPELLING];
  make_room(work, slot);
  spelled(work, path, slot);
  note("remove %s", path);
  object->remove_tried = true;
  add_candidate(&work->writer->slots[slot], 0);
  expect((object->directory ? rmdir(path) : unlink(path)) == 0, "removing", path);
}

static void move(struct work *work, unsigned from, unsigned to) {
  char path[SPELLING], target[SPELLING];
  struct crash_writer *writer = work->writer;
  make_room(work, from);
  make_room(work, to);
  unsigned moved = crash_current(&writer->slots[from]),
           replaced = crash_current(&writer->slots[to]);
  if (from == to ||
      (replaced && writer->objects[replaced - 1].directory != writer->objects[moved - 1].directory))
    return;
  spelled(work, path, from);
  spelled(work, target, to);
  note("rename %s to %s%s", path, target, replaced ? ", which is there" : "");
  if (replaced)
    writer->objects[replaced - 1].remove_tried = true;
  add_history(&writer->objects[moved - 1], 'r');
  add_candidate(&writer->slots[from], 0);
  add_candidate(&writer->slots[to], moved);
  expect(rename(path, target) == 0, "renaming", path);
}

/* As programs save a document: a new file, synced, takes the name of the old one. */
static void save(struct work *work, unsigned slot, unsigned temporary) {
  struct crash_writer *writer = work->writer;
  if (temporary == slot || crash_current(&writer->slots[temporary]))
    return;
  create(work, temporary);
  unsigned index = crash_current(&writer->slots[temporary]);
  if (!index || writer->objects[index - 1].directory)
    return;
  int fd = open_object(work, temporary, O_RDWR);
  write_units(work, &writer->objects[index - 1], fd, 0, 1 + dice_below(&work->dice, CRASH_UNITS),
              false);
  sync_object(work, &writer->objects[index - 1], fd, false);
  close(fd);
  move(work, temporary, slot);
}

static void step(struct work *work) {
  unsigned slot = (unsigned)dice_below(&work->dice, CRASH_SLOTS);
  unsigned other = (unsigned)dice_below(&work->dice, CRASH_SLOTS);
  unsigned index = crash_current(&work->writer->slots[slot]);
  uint64_t chosen = dice_below(&work->dice, 20);
  atomic_fetch_add(&work->run->record->operations, 1);
  if (chosen == 0)
    sync_place(work, slot / CRASH_NAMES);
  else if (!index)
    create(work, slot);
  else if (chosen < 3)
    take_away(work, slot, &work->writer->objects[index - 1]);
  else if (chosen < 6)
    move(work, slot, other);
  else if (chosen < 8)
    save(work, slot, other);
  else if (!work->writer->objects[index - 1].directory)
    use_file(work, slot);
}

/* ---------------------------------------------------------------------- runs */

static void enter(const struct run *run, unsigned number) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/writer%u", run->directory, number);
  expect(chdir(path) == 0, "entering", path);
}

static void write_until_death(unsigned number, void *context) {
  struct run *run = context;
  struct work work = {.run = run, .writer = &run->record->writers[number]};
  work.dice = dice_seed((run->seed + run->record->runs) * CRASH_WRITERS + number);
  signal(SIGBUS, dead_mapping);
  enter(run, number);
  while (run->seconds == 0 || seconds_now() < run->end)
    step(&work);
}

static void sync_directory(const char *path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY);
  expect(fd >= 0 && fsync(fd) == 0, "syncing", path);
  close(fd);
}

/* In a process of its own, as the mount may die meanwhile. */
static void make_places(unsigned number, void *context) {
  const struct run *run = context;
  char path[PATH_MAX];
  (void)number;
  for (unsigned writer = 0; writer < CRASH_WRITERS; writer++) {
    snprintf(path, sizeof path, "%s/writer%u", run->directory, writer);
    expect(mkdir(path, 0700) == 0 || errno == EEXIST, "making", path);
    for (unsigned place = 0; place < CRASH_PLACES; place++) {
      snprintf(path, sizeof path, "%s/writer%u/place%u", run->directory, writer, place);
      expect(mkdir(path, 0700) == 0 || errno == EEXIST, "making", path);
    }
    snprintf(path, sizeof path, "%s/writer%u", run->directory, writer);
    sync_directory(path);
  }
  sync_directory(run->directory);
  run->record->prepared = true;
}

static struct crash_record *open_record(const char *path) {
  int fd = open(path, O_RDWR | O_CREAT, 0600);
  if (fd < 0 || ftruncate(fd, sizeof(struct crash_record)) != 0)
    fail_errno("the record %s", path);
  void *record = mmap(NULL, sizeof(struct crash_record), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (record == MAP_FAILED)
    fail_errno("mapping the record %s", path);
  close(fd);
  return record;
}

static int run_writers(struct run *run) {
  run->record->runs++;
  run->end = seconds_now() + (double)run->seconds;
  if (!run->record->prepared && run_processes(1, make_places, run) != 0)
    return 1;
  if (!run->record->prepared)
    return 0; /* it died early */
  return run_processes(run->writers, write_until_death, run) != 0;
}

static _Noreturn void usage(void) {
  fputs("usage: crash run [--writers N] [--seed N] [--seconds N] [--ordered] RECORD DIRECTORY\n"
        "       crash verify [--exact] RECORD DIRECTORY\n",
        stderr);
  exit(2);
}

int main(int argc, char **argv) {
  static const struct option options[] = {
      {"writers", required_argument, NULL, 'w'}, {"seed", required_argument, NULL, 's'},
      {"seconds", required_argument, NULL, 'd'}, {"ordered", no_argument, NULL, 'o'},
      {"exact", no_argument, NULL, 'e'},         {0},
  };
  struct run run = {.writers = 4, .seed = 1};
  bool exact = false;
  for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
    if (option == 'w')
      run.writers = (unsigned)number_argument(optarg);
    else if (option == 's')
      run.seed = number_argument(optarg);
    else if (option == 'd')
      run.seconds = number_argument(optarg);
    else if (option == 'o')
      run.ordered = true;
    else if (option == 'e')
      exact = true;
    else
      usage();
  if (argc - optind != 3 || run.writers > CRASH_WRITERS)
    usage();
  run.record = open_record(argv[optind + 1]);
  run.directory = argv[optind + 2];
  if (strcmp(argv[optind], "run") == 0)
    return run_writers(&run);
  if (strcmp(argv[optind], "verify") != 0)
    usage();
  crash_verify(run.record, run.directory, exact);
  printf("crash: %" PRIu64 " operations, %" PRIu64 " syncs so far, all as it must be\n",
         run.record->operations, run.record->syncs);
  return 0;
}
