/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Names without case, by many processes and threads at once, each under a spelling of its own
 * choice.  What must hold, whoever comes when:
 *
 *   locks     a name made with O_EXCL, mkdir, symlink, mknod, link or rename without replacing has
 *             one winner; he alone sees it, under all spellings, until he takes it away
 *   tokens    files and directories that are only exchanged and moved to free names: none gets
 *             lost or doubled
 *   targets   files that are replaced by renaming: the name always leads to a whole file
 *   own       files of one worker among the others': each step has just the outcome it must have,
 *             at once, under all spellings
 *
 * At the end, when all is quiet, every spelling agrees with the listing.
 *
 *     races [--processes N] [--threads N] [--operations N | --seconds N] [--seed N]
 *           [--foreign] [--one-spelling] DIRECTORY
 *
 * The directory must be insensitive, or there is but one spelling.  --foreign: it is not of casefs.
 */

#include "../casefs/dice.h"
#include "spellings.h"
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
#include <sys/xattr.h>
#include <unistd.h>

enum {
  PLACES = 3,      /* directories */
  LOCKS = 4,       /* names in each */
  TOKEN_NAMES = 8, /* in each */
  TOKENS = 14,
  TARGETS = 3, /* in each */
  OWN = 3,     /* files of each worker */
  WORKERS = 1024,
  CONTENT = 3000,
  PATH = 160,
};

struct own {
  bool exists;
  unsigned place;
  uint64_t content;
};

struct worker {
  unsigned number;
  pthread_t thread;
  struct dice dice;
  uint64_t serial; /* of what it makes */
};

struct shared {
  atomic_uint holders[PLACES][LOCKS]; /* 1 + worker */
  struct own own[WORKERS][OWN];
  atomic_uint_fast64_t won, lost, moved, blocked, replaced, read, steps;
};

static struct {
  unsigned processes, threads;
  uint64_t operations, seed;
  double seconds, end;
  bool foreign, one_spelling;
} settings = {.processes = 4, .threads = 8, .operations = 500, .seed = 1};

static struct shared *shared;

/* -------------------------------------------------------------------- names */

/* A path of a name of that kind, spelled at random. */
static void path_of(struct worker *worker, char path[PATH], unsigned place, const char *kind,
                    unsigned number) {
  char plain[SPELLING], spelled[SPELLING];
  snprintf(plain, sizeof plain, "%s-s\xc3\xbc\xc3\x9f-%u", kind, number);
  spell(spelled, plain, settings.one_spelling ? 0 : dice_roll(&worker->dice));
  snprintf(path, PATH, "place%u/%s", place, spelled);
}

static void private_path(struct worker *worker, char path[PATH], const char *kind) {
  snprintf(path, PATH, "private/%s%u", kind, worker->number);
}

/* Content starts with a line that says what it is; the rest follows from the serial number. */
static void make_content(unsigned char content[CONTENT], const char *kind, unsigned number,
                         uint64_t serial) {
  dice_fill(content, CONTENT, serial);
  memset(content, 0, SPELLING);
  snprintf((char *)content, SPELLING, "%s %u %" PRIu64, kind, number, serial);
}

static int create(const char *path, int flags, const char *kind, unsigned number, uint64_t serial) {
  unsigned char content[CONTENT];
  int fd = open(path, O_RDWR | O_CREAT | flags, 0600);
  if (fd < 0)
    return -1;
  make_content(content, kind, number, serial);
  if (write(fd, content, CONTENT) != CONTENT)
    fail_errno("writing %s", path);
  return fd;
}

/* Whether it is whole, and of that kind and number. */
static void check_content(int fd, const char *path, const char *kind, unsigned number,
                          bool may_be_short) {
  unsigned char found[CONTENT], wanted[CONTENT];
  char found_kind[SPELLING];
  unsigned found_number;
  uint64_t serial;
  ssize_t got = pread(fd, found, CONTENT, 0);
  if (got < 0)
    fail_errno("reading %s", path);
  if (may_be_short && got < CONTENT)
    return;
  if (got != CONTENT)
    fail("%s has %zd bytes, not %d", path, got, CONTENT);
  if (found[SPELLING - 1] != 0 ||
      sscanf((char *)found, "%63s %u %" SCNu64, found_kind, &found_number, &serial) != 3)
    fail("%s does not say what it is", path);
  make_content(wanted, found_kind, found_number, serial);
  if (memcmp(found, wanted, CONTENT) != 0)
    fail("%s, '%s', has the wrong bytes", path, (char *)found);
  if (strcmp(found_kind, kind) != 0 || (number != UINT32_MAX && number != found_number))
    fail("%s holds '%s'", path, (char *)found);
}

static uint64_t new_serial(struct worker *worker) {
  return (uint64_t)(worker->number + 1) << 40 | ++worker->serial;
}

/* Entries of a directory that are spellings of the path's name. */
static unsigned count_entries(const char *path) {
  char directory[PATH];
  snprintf(directory, sizeof directory, "%.*s", (int)(strchr(path, '/') - path), path);
  const char *name = strchr(path, '/') + 1;
  unsigned found = 0;
  DIR *stream = opendir(directory);
  if (!stream)
    fail_errno("opening %s", directory);
  for (struct dirent *entry; (entry = readdir(stream));)
    found += same_name(entry->d_name, name);
  closedir(stream);
  return found;
}

/* What one alone may change is the same for him under every spelling; id 0: it is not there. */
static void check_spellings(struct worker *worker, unsigned place, const char *kind,
                            unsigned number, ino_t id) {
  char path[PATH];
  struct stat status;
  for (int i = 0; i < 3; i++) {
    path_of(worker, path, place, kind, number);
    int error = lstat(path, &status);
    if (error && errno != ENOENT)
      fail_errno("status of %s", path);
    if (error && id)
      fail("%s is there under another spelling, but not under this", path);
    if (!error && !id)
      fail("%s is still there, node %lu", path, (unsigned long)status.st_ino);
    if (!error && status.st_ino != id)
      fail("%s is node %lu, not %lu", path, (unsigned long)status.st_ino, (unsigned long)id);
  }
  if (dice_below(&worker->dice, 8) == 0) {
    unsigned entries = count_entries(path);
    if (entries != (id ? 1 : 0))
      fail("%s is listed %u times", path, entries);
  }
}

static ino_t id_of(const char *path) {
  struct stat status;
  if (lstat(path, &status) != 0)
    fail_errno("status of %s", path);
  return status.st_ino;
}

/* -------------------------------------------------------------------- locks */

enum way { BY_OPEN, BY_MKDIR, BY_SYMLINK, BY_MKNOD, BY_LINK, BY_RENAME, WAYS };

static int rename_new(const char *from, const char *to) {
  return renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
}

/* 0, or the errno of not getting it.  *fd: of the file if it was made by opening. */
static int try_lock(struct worker *worker, const char *path, unsigned number, enum way way,
                    int *fd) {
  char own[PATH];
  int error = 0;
  private_path(worker, own, "lock");
  *fd = -1;
  switch (way) {
  case BY_OPEN:
    *fd = create(path, O_EXCL, "lock", number, new_serial(worker));
    return *fd >= 0 ? 0 : errno;
  case BY_MKDIR:
    error = mkdir(path, 0700);
    break;
  case BY_SYMLINK:
    error = symlink("nowhere", path);
    break;
  case BY_MKNOD:
    error = mknod(path, S_IFIFO | 0600, 0);
    break;
  default:
    close(create(own, O_TRUNC, "lock", number, new_serial(worker)));
    error = way == BY_LINK ? link(own, path) : rename_new(own, path);
  }
  return error ? errno : 0;
}

static void check_links(const char *path, nlink_t wanted) {
  struct stat status;
  if (lstat(path, &status) != 0)
    fail_errno("status of %s", path);
  if (status.st_nlink != wanted)
    fail("%s has %lu links, not %lu", path, (unsigned long)status.st_nlink, (unsigned long)wanted);
}

/* While he has it, the winner may do with the name what he likes. */
static void use_lock(struct worker *worker, unsigned place, unsigned number, enum way way) {
  char path[PATH], own[PATH];
  path_of(worker, path, place, "lock", number);
  private_path(worker, own, "lock");
  ino_t id = id_of(path);
  check_spellings(worker, place, "lock", number, id);
  if (way == BY_LINK) {
    check_links(path, 2);
    check_links(own, 2);
  }
  if (way == BY_OPEN || way == BY_RENAME) {
    check_links(path, 1);
    if (open(path, O_RDWR | O_CREAT | O_EXCL, 0600) >= 0 || errno != EEXIST)
      fail("%s could be made twice", path);
    if (dice_below(&worker->dice, 2)) { /* another file in its place */
      close(create(own, O_TRUNC, "lock", number, new_serial(worker)));
      id = id_of(own);
      if (rename(own, path) != 0)
        fail_errno("renaming over %s", path);
    }
  }
  if (!settings.foreign && way != BY_SYMLINK && way != BY_MKNOD &&
      dice_below(&worker->dice, 4) == 0) {
    char other[PATH];
    path_of(worker, other, place, "lock", number);
    const char *name = strchr(other, '/') + 1;
    if (setxattr(path, "system.casefs_name", name, strlen(name), 0) != 0)
      fail_errno("spelling %s as %s", path, name);
  }
  check_spellings(worker, place, "lock", number, id);
}

static void take_away(struct worker *worker, unsigned place, unsigned number, enum way way,
                      int fd) {
  char path[PATH], own[PATH];
  path_of(worker, path, place, "lock", number);
  private_path(worker, own, "lock");
  atomic_store(&shared->holders[place][number], 0);
  int error = way == BY_MKDIR                                       ? rmdir(path)
              : way != BY_LINK && dice_below(&worker->dice, 3) == 0 ? rename(path, own)
                                                                    : unlink(path);
  if (error)
    fail_errno("taking %s away", path);
  if (way == BY_LINK)
    check_links(own, 1);
  if (way != BY_MKDIR && unlink(own) != 0 && errno != ENOENT)
    fail_errno("removing %s", own);
  if (fd >= 0) {
    check_content(fd, "a removed file", "lock", number, false);
    close(fd);
  }
}

static void step_lock(struct worker *worker) {
  unsigned place = (unsigned)dice_below(&worker->dice, PLACES);
  unsigned number = (unsigned)dice_below(&worker->dice, LOCKS);
  enum way way = (enum way)dice_below(&worker->dice, WAYS);
  char path[PATH];
  int fd;
  path_of(worker, path, place, "lock", number);
  int error = try_lock(worker, path, number, way, &fd);
  note("lock %s by way %d: %d", path, way, error);
  if (error == EEXIST) {
    atomic_fetch_add(&shared->lost, 1);
    return;
  }
  if (error)
    fail("making %s by way %d: %s", path, way, strerror(error));
  unsigned other = atomic_exchange(&shared->holders[place][number], worker->number + 1);
  if (other != 0)
    fail("%s was made by worker %u while worker %u had it", path, worker->number, other - 1);
  atomic_fetch_add(&shared->won, 1);
  use_lock(worker, place, number, way);
  take_away(worker, place, number, way, fd);
}

/* ------------------------------------------------------------------- tokens */

static void step_token(struct worker *worker) {
  char from[PATH], to[PATH];
  unsigned first = (unsigned)dice_below(&worker->dice, PLACES * TOKEN_NAMES);
  unsigned second = (unsigned)dice_below(&worker->dice, PLACES * TOKEN_NAMES);
  int flags = dice_below(&worker->dice, 2) ? RENAME_NOREPLACE : RENAME_EXCHANGE;
  path_of(worker, from, first % PLACES, "token", first / PLACES);
  path_of(worker, to, second % PLACES, "token", second / PLACES);
  int error = renameat2(AT_FDCWD, from, AT_FDCWD, to, (unsigned)flags);
  note("token %s -> %s flags %d: %d", from, to, flags, error ? errno : 0);
  if (error && errno != ENOENT && !(errno == EEXIST && flags == RENAME_NOREPLACE))
    fail_errno("moving %s to %s", from, to);
  atomic_fetch_add(error ? &shared->blocked : &shared->moved, 1);
}

/* The number of the token at a path, or -1; *id: the node that is at the path. */
static int read_token(const char *path, ino_t *id) {
  struct stat status;
  char found[SPELLING] = "";
  unsigned number;
  int fd = open(path, O_RDONLY);
  if (fd < 0 && errno == ENOENT)
    return -1;
  if (fd < 0 || fstat(fd, &status) != 0)
    fail_errno("opening %s", path);
  *id = status.st_ino;
  int file = S_ISDIR(status.st_mode)
                 ? openat(fd, settings.one_spelling ? "Inner" : "INNER", O_RDONLY)
                 : fd;
  if (file < 0)
    fail_errno("opening the file in %s", path);
  check_content(file, path, "token", UINT32_MAX, false);
  if (pread(file, found, sizeof found - 1, 0) < 0 || sscanf(found, "token %u ", &number) != 1)
    fail("%s holds '%s'", path, found);
  if (file != fd)
    close(file);
  close(fd);
  return (int)number;
}

static void make_token(unsigned number) {
  struct worker worker = {.dice = dice_seed(number)};
  char path[PATH], inner[PATH + 8];
  path_of(&worker, path, number % PLACES, "token", number / PLACES);
  snprintf(inner, sizeof inner, "%s/Inner", path);
  if (number % 2 && mkdir(path, 0700) != 0)
    fail_errno("making %s", path);
  int fd = create(number % 2 ? inner : path, O_EXCL, "token", number, number);
  if (fd < 0)
    fail_errno("making %s", path);
  close(fd);
}

/* ------------------------------------------------------------------ targets */

static void step_target(struct worker *worker) {
  char path[PATH], fresh[PATH];
  unsigned place = (unsigned)dice_below(&worker->dice, PLACES);
  unsigned number = (unsigned)dice_below(&worker->dice, TARGETS);
  path_of(worker, path, place, "target", number);
  private_path(worker, fresh, "target");
  close(create(fresh, O_EXCL, "target", number, new_serial(worker)));
  note("replace %s", path);
  if (rename(fresh, path) != 0)
    fail_errno("replacing %s", path);
  atomic_fetch_add(&shared->replaced, 1);
}

static void read_target(struct worker *worker) {
  char path[PATH];
  unsigned place = (unsigned)dice_below(&worker->dice, PLACES);
  unsigned number = (unsigned)dice_below(&worker->dice, TARGETS);
  path_of(worker, path, place, "target", number);
  note("read %s", path);
  int fd = open(path, O_RDONLY);
  if (fd < 0)
    fail_errno("opening %s, which is always there", path);
  check_content(fd, path, "target", number, false);
  close(fd);
}

static void read_lock(struct worker *worker) {
  char path[PATH];
  struct stat status;
  unsigned place = (unsigned)dice_below(&worker->dice, PLACES);
  unsigned number = (unsigned)dice_below(&worker->dice, LOCKS);
  path_of(worker, path, place, "lock", number);
  note("read %s", path);
  int fd = open(path, O_RDONLY | O_NONBLOCK);
  if (fd < 0 && errno == ENOENT)
    return;
  if (fd < 0 || fstat(fd, &status) != 0)
    fail_errno("opening %s", path);
  if (S_ISREG(status.st_mode))
    check_content(fd, path, "lock", number, true);
  close(fd);
}

static void step_read(struct worker *worker) {
  char path[PATH];
  ino_t id;
  atomic_fetch_add(&shared->read, 1);
  switch (dice_below(&worker->dice, 3)) {
  case 0:
    read_target(worker);
    break;
  case 1:
    read_lock(worker);
    break;
  default:
    path_of(worker, path, (unsigned)dice_below(&worker->dice, PLACES), "token",
            (unsigned)dice_below(&worker->dice, TOKEN_NAMES));
    note("read %s", path);
    read_token(path, &id);
  }
}

/* ---------------------------------------------------------------------- own */

static void own_kind(char kind[SPELLING], const struct worker *worker) {
  snprintf(kind, SPELLING, "own%u", worker->number);
}

static void create_own(struct worker *worker, struct own *own, unsigned number, const char *kind) {
  char path[PATH];
  own->place = (unsigned)dice_below(&worker->dice, PLACES);
  check_spellings(worker, own->place, kind, number, 0);
  path_of(worker, path, own->place, kind, number);
  own->content = new_serial(worker);
  note("create %s", path);
  int fd = create(path, O_EXCL, kind, number, own->content);
  if (fd < 0)
    fail_errno("making %s", path);
  close(fd);
  own->exists = true;
  check_spellings(worker, own->place, kind, number, id_of(path));
}

static void move_own(struct worker *worker, struct own *own, unsigned number, const char *kind) {
  char path[PATH], to[PATH];
  unsigned place = (unsigned)dice_below(&worker->dice, PLACES);
  path_of(worker, path, own->place, kind, number);
  path_of(worker, to, place, kind, number);
  ino_t id = id_of(path);
  note("move %s to %s", path, to);
  if (rename(path, to) != 0)
    fail_errno("renaming %s to %s", path, to);
  if (place != own->place)
    check_spellings(worker, own->place, kind, number, 0);
  own->place = place;
  check_spellings(worker, own->place, kind, number, id);
}

static void remove_own(struct worker *worker, struct own *own, unsigned number, const char *kind) {
  char path[PATH];
  path_of(worker, path, own->place, kind, number);
  note("remove %s", path);
  if (unlink(path) != 0)
    fail_errno("removing %s", path);
  own->exists = false;
  check_spellings(worker, own->place, kind, number, 0);
}

static void check_own(struct worker *worker, const struct own *own, unsigned number,
                      const char *kind) {
  char path[PATH];
  path_of(worker, path, own->place, kind, number);
  note("check %s", path);
  int fd = open(path, O_RDONLY);
  if (fd < 0)
    fail_errno("opening %s", path);
  check_content(fd, path, kind, number, false);
  close(fd);
}

static void step_own(struct worker *worker) {
  char kind[SPELLING];
  unsigned number = (unsigned)dice_below(&worker->dice, OWN);
  struct own *own = &shared->own[worker->number][number];
  own_kind(kind, worker);
  if (!own->exists)
    create_own(worker, own, number, kind);
  else if (dice_below(&worker->dice, 3) == 0)
    remove_own(worker, own, number, kind);
  else if (dice_below(&worker->dice, 2) == 0)
    move_own(worker, own, number, kind);
  else
    check_own(worker, own, number, kind);
}

/* --------------------------------------------------------------------- runs */

static bool goes_on(uint64_t done) {
  return settings.seconds > 0 ? seconds_now() < settings.end : done < settings.operations;
}

static void *work(void *context) {
  struct worker *worker = context;
  char own[PATH];
  for (uint64_t done = 0; goes_on(done); done++) {
    uint64_t chosen = dice_below(&worker->dice, 10);
    if (chosen < 3)
      step_lock(worker);
    else if (chosen < 5)
      step_token(worker);
    else if (chosen < 6)
      step_target(worker);
    else if (chosen < 8)
      step_read(worker);
    else
      step_own(worker);
    atomic_fetch_add(&shared->steps, 1);
  }
  private_path(worker, own, "lock");
  unlink(own);
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

static void prepare(void) {
  char path[PATH];
  struct worker worker = {.dice = dice_seed(0)};
  remove_tree("races");
  if (mkdir("races", 0700) != 0 || chdir("races") != 0 || mkdir("private", 0700) != 0)
    fail_errno("making directories");
  for (unsigned place = 0; place < PLACES; place++) {
    snprintf(path, sizeof path, "place%u", place);
    if (mkdir(path, 0700) != 0)
      fail_errno("making %s", path);
    for (unsigned i = 0; i < TARGETS; i++) {
      path_of(&worker, path, place, "target", i);
      int fd = create(path, O_EXCL, "target", i, i);
      if (fd < 0)
        fail_errno("making %s", path);
      close(fd);
    }
  }
  for (unsigned i = 0; i < TOKENS; i++)
    make_token(i);
}

/* Each spelling of a name leads to the same node, of which there is one entry, or to none. */
static ino_t check_quiet(struct worker *worker, unsigned place, const char *kind, unsigned number) {
  char path[PATH];
  struct stat status;
  path_of(worker, path, place, kind, number);
  ino_t id = lstat(path, &status) == 0 ? status.st_ino : 0;
  for (int i = 0; i < 5; i++)
    check_spellings(worker, place, kind, number, id);
  if (count_entries(path) != (id ? 1 : 0))
    fail("%s is listed %u times", path, count_entries(path));
  if (id && S_ISREG(status.st_mode))
    check_links(path, 1);
  return id;
}

static void check_tokens(struct worker *worker) {
  char path[PATH];
  unsigned seen[TOKENS] = {0};
  for (unsigned name = 0; name < PLACES * TOKEN_NAMES; name++) {
    ino_t id = check_quiet(worker, name % PLACES, "token", name / PLACES), opened = 0;
    path_of(worker, path, name % PLACES, "token", name / PLACES);
    int token = read_token(path, &opened);
    if ((token >= 0) != (id != 0) || (token >= 0 && opened != id))
      fail("%s opens node %lu, but its status is of %lu", path, (unsigned long)opened,
           (unsigned long)id);
    if (token >= TOKENS || (token >= 0 && seen[token]++))
      fail("token %d is there twice, or was never made", token);
  }
  for (unsigned i = 0; i < TOKENS; i++)
    if (!seen[i])
      fail("token %u is lost", i);
}

static void check_end(void) {
  struct worker worker = {.dice = dice_seed(settings.seed)};
  char kind[SPELLING];
  for (unsigned place = 0; place < PLACES; place++) {
    for (unsigned i = 0; i < LOCKS; i++)
      if (check_quiet(&worker, place, "lock", i) != 0)
        fail("lock %u in place %u is still there", i, place);
    for (unsigned i = 0; i < TARGETS; i++)
      if (check_quiet(&worker, place, "target", i) == 0)
        fail("target %u in place %u is gone", i, place);
  }
  check_tokens(&worker);
  for (unsigned i = 0; i < settings.processes * settings.threads; i++)
    for (unsigned number = 0; number < OWN; number++) {
      const struct own *own = &shared->own[i][number];
      worker.number = i;
      own_kind(kind, &worker);
      for (unsigned place = 0; place < PLACES; place++)
        if ((check_quiet(&worker, place, kind, number) != 0) !=
            (own->exists && own->place == place))
          fail("file %u of worker %u is %sin place %u", number, i, own->exists ? "not " : "",
               place);
      if (own->exists)
        check_own(&worker, own, number, kind);
    }
}

/* By other spellings than they were made; then the directories must be empty. */
static void remove_all(void) {
  struct worker worker = {.dice = dice_seed(settings.seed + 1)};
  char place[PATH], path[PATH + SPELLING + 300], spelled[SPELLING];
  for (unsigned i = 0; i < PLACES; i++) {
    snprintf(place, sizeof place, "place%u", i);
    DIR *stream = opendir(place);
    for (struct dirent *entry; stream && (entry = readdir(stream));) {
      if (entry->d_name[0] == '.')
        continue;
      spell(spelled, entry->d_name, settings.one_spelling ? 0 : dice_roll(&worker.dice));
      snprintf(path, sizeof path, "%s/%s/Inner", place, spelled);
      unlink(path);
      snprintf(path, sizeof path, "%s/%s", place, spelled);
      if (remove(path) != 0)
        fail_errno("removing %s, listed as %s", path, entry->d_name);
    }
    closedir(stream);
    if (rmdir(place) != 0)
      fail_errno("removing %s", place);
  }
  if (rmdir("private") != 0 || chdir("..") != 0 || rmdir("races") != 0)
    fail_errno("removing the directories");
}

static void parse(int argc, char **argv) {
  static const struct option options[] = {
      {"processes", required_argument, NULL, 'p'},  {"threads", required_argument, NULL, 't'},
      {"operations", required_argument, NULL, 'n'}, {"seconds", required_argument, NULL, 'd'},
      {"seed", required_argument, NULL, 's'},       {"foreign", no_argument, NULL, 'f'},
      {"one-spelling", no_argument, NULL, 'o'},     {0},
  };
  for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
    switch (option) {
    case 'p':
      settings.processes = (unsigned)number_argument(optarg);
      break;
    case 't':
      settings.threads = (unsigned)number_argument(optarg);
      break;
    case 'n':
      settings.operations = number_argument(optarg);
      break;
    case 'd':
      settings.seconds = (double)number_argument(optarg);
      break;
    case 's':
      settings.seed = number_argument(optarg);
      break;
    case 'o':
      settings.one_spelling = true;
      break;
    case 'f':
      settings.foreign = true;
      break;
    default:
      exit(2);
    }
  if (optind != argc - 1 || settings.processes * settings.threads - 1 >= WORKERS) {
    fputs("usage: races [--processes N] [--threads N] [--operations N | --seconds N] [--seed N]\n"
          "             [--foreign] [--one-spelling] DIRECTORY\n",
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
  settings.end = start + settings.seconds;
  if (run_processes(settings.processes, run_threads, NULL) != 0)
    return 1;
  double seconds = seconds_now() - start;
  check_end();
  remove_all();
  printf("races: %" PRIu64 " steps by %u processes of %u threads: locks won %" PRIu64
         " and lost %" PRIu64 ", moved %" PRIu64 " (blocked %" PRIu64 "), replaced %" PRIu64
         ", read %" PRIu64 "; no violation (%.1f s, seed %" PRIu64 ")\n",
         shared->steps, settings.processes, settings.threads, shared->won, shared->lost,
         shared->moved, shared->blocked, shared->replaced, shared->read, seconds, settings.seed);
  return 0;
}
