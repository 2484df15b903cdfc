/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Random operations in a small tree, by three actors: root, and two users who change at times.
 */

#include "posix.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  ROUND = 400,  /* lines in one tree */
  STEP = 50,    /* between two looks at all of it */
  REMOUNT = 10, /* rounds from one remount to the next */
};

static const char *one_of(struct dice *dice, const char *const *words, size_t count) {
  return words[dice_below(dice, count)];
}
#define ONE_OF(dice, ...)                                                                          \
  one_of((dice), (const char *const[]){__VA_ARGS__},                                               \
         sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

/* ------------------------------------------------------------------------ words */

struct path {
  char text[256];
};

static struct path any_path(struct dice *dice) {
  struct path path = {""};
  if (dice_below(dice, 40) == 0) {
    strcpy(path.text,
           ONE_OF(dice, ".", "..", "a/.", "a/..", "d/../a", "./a", "''", "/", "a//b", "{n*255}",
                  "{n*256}", "d/{\\xc3\\xa9*100}", "\\xe2\\x82\\xac", "a/", "d/", "d/e/"));
    return path;
  }
  /* Mostly where something may be, else anywhere. */
  if (dice_below(dice, 4)) {
    strcpy(path.text, ONE_OF(dice, "a", "b", "c", "f", "d/a", "d/b", "d/c", "d/e/a", "d/e/b", "g/a",
                             "g/b", "g"));
  } else {
    for (int depth = (int)dice_below(dice, 3); depth > 0; depth--)
      strcat(path.text, ONE_OF(dice, "d/", "e/", "d/e/", "a/"));
    strcat(path.text, ONE_OF(dice, "a", "b", "c", "d", "e", "f"));
  }
  if (dice_below(dice, 60) == 0)
    strcat(path.text, "/");
  return path;
}

static struct path any_file(struct dice *dice) {
  struct path path;
  if (dice_below(dice, 4) > 0)
    return any_path(dice);
  snprintf(path.text, sizeof path.text, "&%d", (int)dice_below(dice, 4));
  return path;
}

static unsigned any_mode(struct dice *dice) {
  static const unsigned modes[] = {0644,  0755,  0777,  0700, 0600, 0666, 01777, 02775,
                                   04755, 02755, 06711, 0,    0444, 0555, 0111,  0222};
  if (dice_below(dice, 4) == 0)
    return (unsigned)dice_below(dice, 010000);
  return modes[dice_below(dice, sizeof modes / sizeof *modes)];
}

static unsigned any_directory_mode(struct dice *dice) {
  static const unsigned modes[] = {0755, 0777, 01777, 0777, 0775, 0700};
  return dice_below(dice, 10) ? modes[dice_below(dice, sizeof modes / sizeof *modes)]
                              : any_mode(dice);
}

static unsigned any_user(struct dice *dice) {
  return dice_below(dice, 4) ? (unsigned)(1000 + dice_below(dice, 4)) : 0;
}

static int any_slot(struct dice *dice) {
  return (int)dice_below(dice, 4);
}

static uint64_t any_offset(struct dice *dice) {
  uint64_t offset = dice_below(dice, 1u << dice_below(dice, 19));
  return dice_below(dice, 3) ? offset : offset & ~UINT64_C(4095);
}

static uint64_t any_length(struct dice *dice) {
  return dice_below(dice, 1u << dice_below(dice, 17));
}

static const char *any_xattr(struct dice *dice) {
  return ONE_OF(dice, "user.one", "user.two", "user.three", "trusted.one", "security.one", "user.",
                "nonsense.one");
}

/* -------------------------------------------------------------------- operations */

typedef void generate_function(struct dice *dice, char *line, size_t size);

static void make_open(struct dice *dice, char *line, size_t size) {
  char flags[128] = "";
  strcat(flags, ONE_OF(dice, "rd", "wr", "rdwr", "rdwr", "rdwr"));
  static const char *const more[] = {"creat",     "excl", "trunc",    "append",
                                     "directory", "path", "nofollow", "noatime"};
  static const unsigned odds[] = {2, 10, 8, 8, 30, 25, 12, 15};
  for (size_t i = 0; i < sizeof more / sizeof *more; i++)
    if (dice_below(dice, odds[i]) == 0) {
      strcat(flags, ",");
      strcat(flags, more[i]);
    }
  snprintf(line, size, "open %d %s %s %o", any_slot(dice), any_path(dice).text, flags,
           any_mode(dice) & ~02000u);
}

static void make_reopen(struct dice *dice, char *line, size_t size) {
  snprintf(line, size, "reopen %d %d %s", any_slot(dice), any_slot(dice),
           ONE_OF(dice, "rd", "rdwr", "wr,append", "wr,trunc"));
}

static void make_close(struct dice *dice, char *line, size_t size) {
  snprintf(line, size, "close %d", any_slot(dice));
}

static void make_mkdir(struct dice *dice, char *line, size_t size) {
  snprintf(line, size, "mkdir %s %o", any_path(dice).text, any_directory_mode(dice));
}

static void make_remove(struct dice *dice, char *line, size_t size) {
  snprintf(line, size, "%s %s", ONE_OF(dice, "rmdir", "unlink", "unlink"), any_path(dice).text);
}

static void make_special(struct dice *dice, char *line, size_t size) {
  snprintf(line, size, "mknod %s %s %o 1 3", any_path(dice).text,
           ONE_OF(dice, "fifo", "socket", "regular", "char"), any_mode(dice) & ~02000u);
}

static void make_link(struct dice *dice, char *line, size_t size) {
  snprintf(line, size, "link %s %s%s", any_file(dice).text, any_path(dice).text,
           dice_below(dice, 5) ? "" : " follow");
}

static void make_symlink(struct dice *dice, char *line, size_t size) {
  snprintf(line, size, "symlink %s %s",
           dice_below(dice, 3) ? any_path(dice).text : ONE_OF(dice, "d", "../a", "nowhere", "f"),
           any_path(dice).text);
}

static void make_rename(struct dice *dice, char *line, size_t size) {
  snprintf(line, size, "rename %s %s%s", any_path(dice).text, any_path(dice).text,
           ONE_OF(dice, "", "", "", "", " noreplace", " exchange"));
}

/* Setgid is given to directories only: posix-expected.c tells why not to files. */
static void make_chmod(struct dice *dice, char *line, size_t size) {
  if (dice_below(dice, 5))
    snprintf(line, size, "chmod %s %o", any_file(dice).text, any_mode(dice) & ~02000u);
  else
    snprintf(line, size, "chmod %s %s", ONE_OF(dice, "d/", "d/e/", "a/", "e/"),
             ONE_OF(dice, "2777", "3777", "2775", "2750"));
}

static void make_chown(struct dice *dice, char *line, size_t size) {
  int user = dice_below(dice, 4) ? (int)any_user(dice) : -1;
  int group = dice_below(dice, 4) ? (int)any_user(dice) : -1;
  snprintf(line, size, "chown %s %d %d%s", any_file(dice).text, user, group,
           dice_below(dice, 3) ? "" : " nofollow");
}

static void make_truncate(struct dice *dice, char *line, size_t size) {
  /* By path never to the size it has: posix-expected.c, "truncate to the size it has". */
  if (dice_below(dice, 2))
    snprintf(line, size, "truncate %s %" PRIu64, any_path(dice).text, dice_below(dice, 300000) + 1);
  else
    snprintf(line, size, "ftruncate %d %" PRIu64, any_slot(dice), any_offset(dice));
}

static void make_utimes(struct dice *dice, char *line, size_t size) {
  const char *times[] = {"now", "omit", "1000000000.123456700", "-100.500000000",
                         "4102444800.999999900"};
  snprintf(line, size, "utimes %s %s %s%s", any_file(dice).text, one_of(dice, times, 5),
           one_of(dice, times, 5), dice_below(dice, 3) ? "" : " nofollow");
}

static void make_look(struct dice *dice, char *line, size_t size) {
  const char *verb = ONE_OF(dice, "stat", "lstat", "readlink", "ls", "born", "inodes");
  if (!strcmp(verb, "stat") || !strcmp(verb, "ls"))
    snprintf(line, size, "%s %s", verb, any_file(dice).text);
  else
    snprintf(line, size, "%s %s", verb, any_path(dice).text);
}

static void make_access(struct dice *dice, char *line, size_t size) {
  snprintf(line, size, "access %s %s%s", any_path(dice).text,
           ONE_OF(dice, "f", "r", "w", "x", "rw", "rwx"), dice_below(dice, 2) ? "" : " effective");
}

static void make_setxattr(struct dice *dice, char *line, size_t size) {
  snprintf(line, size, "setxattr %s %s %" PRIu64 " %" PRIu64 " %s%s", any_file(dice).text,
           any_xattr(dice), dice_below(dice, 1u << dice_below(dice, 11)), dice_below(dice, 100),
           ONE_OF(dice, "any", "any", "create", "replace"), dice_below(dice, 4) ? "" : " nofollow");
}

static void make_xattr(struct dice *dice, char *line, size_t size) {
  struct path place = any_file(dice);
  switch (dice_below(dice, 4)) {
  case 0:
    snprintf(line, size, "removexattr %s %s", place.text, any_xattr(dice));
    break;
  case 1:
    snprintf(line, size, "listxattr %s", place.text);
    break;
  default:
    snprintf(line, size, "getxattr %s %s", place.text, any_xattr(dice));
  }
}

static void make_acl(struct dice *dice, char *line, size_t size) {
  const char *kind = ONE_OF(dice, "access", "default");
  const char *acl = ONE_OF(dice, "u::rwx,u:1001:r-x,g::r-x,m::rwx,o::---", "u::rw-,g::r--,o::r--",
                           "u::rwx,g::rwx,g:1002:rwx,m::r-x,o::--x", "none",
                           "u::rwx,u:1002:rwx,g::---,m::rwx,o::rwx");
  if (dice_below(dice, 3) == 0)
    snprintf(line, size, "getacl %s %s", any_file(dice).text, kind);
  else
    snprintf(line, size, "setacl %s %s %s", any_file(dice).text, kind, acl);
}

static void make_write(struct dice *dice, char *line, size_t size) {
  if (dice_below(dice, 2))
    snprintf(line, size, "write %d %" PRIu64 " %" PRIu64, any_slot(dice), any_length(dice),
             dice_below(dice, 1000));
  else
    snprintf(line, size, "pwrite %d %" PRIu64 " %" PRIu64 " %" PRIu64 "%s", any_slot(dice),
             any_offset(dice), any_length(dice), dice_below(dice, 1000),
             dice_below(dice, 8) ? "" : " append");
}

static void make_read(struct dice *dice, char *line, size_t size) {
  if (dice_below(dice, 2))
    snprintf(line, size, "read %d %" PRIu64, any_slot(dice), any_length(dice));
  else
    snprintf(line, size, "pread %d %" PRIu64 " %" PRIu64, any_slot(dice), any_offset(dice),
             any_length(dice));
}

static void make_seek(struct dice *dice, char *line, size_t size) {
  snprintf(line, size, "seek %d %" PRIu64 " %s", any_slot(dice), any_offset(dice),
           ONE_OF(dice, "set", "cur", "end"));
}

static void make_allocate(struct dice *dice, char *line, size_t size) {
  snprintf(line, size, "allocate %d %s %" PRIu64 " %" PRIu64, any_slot(dice),
           ONE_OF(dice, "plain", "keep", "punch,keep", "zero", "zero,keep"), any_offset(dice),
           any_length(dice));
}

static void make_copy(struct dice *dice, char *line, size_t size) {
  if (dice_below(dice, 3))
    snprintf(line, size, "copy %d %" PRIu64 " %d %" PRIu64 " %" PRIu64, any_slot(dice),
             any_offset(dice), any_slot(dice), any_offset(dice), any_length(dice));
  else
    snprintf(line, size, "copy %d - %d - %" PRIu64, any_slot(dice), any_slot(dice),
             any_length(dice));
}

static void make_flush(struct dice *dice, char *line, size_t size) {
  snprintf(line, size, "%s %d", ONE_OF(dice, "fsync", "fdatasync", "advise", "advise"),
           any_slot(dice));
}

static void make_map(struct dice *dice, char *line, size_t size) {
  int map = (int)dice_below(dice, MAPS);
  switch (dice_below(dice, 5)) {
  case 0:
    snprintf(line, size, "map %d %d %" PRIu64 " 64K rw %s", map, any_slot(dice),
             dice_below(dice, 4) * 65536, ONE_OF(dice, "shared", "shared", "private"));
    break;
  case 1:
    snprintf(line, size, "msync %d", map);
    break;
  case 2:
    snprintf(line, size, "peek %d %" PRIu64 " %" PRIu64, map, dice_below(dice, 60000),
             dice_below(dice, 5000));
    break;
  default:
    snprintf(line, size, "store %d %" PRIu64 " {xyz*%" PRIu64 "}", map, dice_below(dice, 60000),
             dice_below(dice, 1500) + 1);
  }
}

static void make_lock(struct dice *dice, char *line, size_t size) {
  if (dice_below(dice, 4) == 0)
    snprintf(line, size, "flock %d %s", any_slot(dice),
             ONE_OF(dice, "shared", "exclusive", "none"));
  else
    snprintf(line, size, "%s %d %s %" PRIu64 " %" PRIu64,
             ONE_OF(dice, "lock", "ofdlock", "getlock", "getofdlock"), any_slot(dice),
             ONE_OF(dice, "rd", "wr", "wr"), dice_below(dice, 20), dice_below(dice, 10));
}

static void make_directory_walk(struct dice *dice, char *line, size_t size) {
  snprintf(line, size, "%s %s", ONE_OF(dice, "seeks", "inodes", "ls"),
           ONE_OF(dice, "d", ".", "d/e", "a"));
}

static void make_umask(struct dice *dice, char *line, size_t size) {
  snprintf(line, size, "umask %s", ONE_OF(dice, "022", "002", "077", "0", "027"));
}

static void make_place(struct dice *dice, char *line, size_t size) {
  snprintf(line, size, "%s", ONE_OF(dice, "getcwd", "same a b", "same d/a a", "statfs ."));
}

static const struct {
  unsigned weight;
  generate_function *function;
} generators[] = {
    {28, make_open},   {3, make_reopen},   {2, make_close},  {8, make_mkdir},
    {9, make_remove},  {6, make_special},  {8, make_link},   {6, make_symlink},
    {16, make_rename}, {8, make_chmod},    {6, make_chown},  {8, make_truncate},
    {6, make_utimes},  {14, make_look},    {6, make_access}, {8, make_setxattr},
    {8, make_xattr},   {6, make_acl},      {18, make_write}, {14, make_read},
    {5, make_seek},    {6, make_allocate}, {5, make_copy},   {3, make_flush},
    {12, make_map},    {6, make_lock},     {2, make_umask},  {2, make_directory_walk},
    {2, make_place},
};

static void make_operation(struct dice *dice, char *line, size_t size) {
  unsigned sum = 0;
  for (size_t i = 0; i < sizeof generators / sizeof *generators; i++)
    sum += generators[i].weight;
  uint64_t roll = dice_below(dice, sum);
  for (size_t i = 0; i < sizeof generators / sizeof *generators; i++) {
    if (roll < generators[i].weight) {
      generators[i].function(dice, line, size);
      return;
    }
    roll -= generators[i].weight;
  }
}

/* A line of a round, on its own memory. */
static char *make_line(struct dice *dice, size_t index) {
  char operation[1024], *line;
  int actor = dice_below(dice, 2) ? 0 : (int)dice_below(dice, ACTORS);
  int written;
  if (index % STEP == STEP - 1)
    return strdup("tree");
  if (actor > 0 && dice_below(dice, 30) == 0)
    snprintf(operation, sizeof operation, "as %s",
             ONE_OF(dice, "1001:1001", "1002:1002:1001", "1001:1002", "0:0", "1003:1003:1002"));
  else
    make_operation(dice, operation, sizeof operation);
  if (dice_below(dice, 40) == 0 && strncmp(operation, "as ", 3))
    written = asprintf(&line, "%d: times .,d: %s", actor, operation);
  else
    written = asprintf(&line, "%d: %s", actor, operation);
  if (written < 0)
    die("out of memory");
  return line;
}

/* ------------------------------------------------------------------------- rounds */

static const char *const beginnings[] = {
    "chmod . 0777",
    "mkdir d 0777",
    "chmod d 0777",
    "mkdir d/e 0755",
    "chmod d/e 1777",
    "mkdir g 0755",
    "open 0 a rdwr,creat 0666",
    "write 0 30000 1",
    "open 1 d/a rdwr,creat 0644",
    "write 1 5000 2",
    "open 2 d/e/b rdwr,creat 0600",
    "chown d/e/b 1001 1001",
    "open 3 g/a rdwr,creat 0755",
    "chown g/a 1002 1002",
    "chown g 1002 1001",
    "chmod g 0775",
    "1: open 0 a rdwr",
    "1: open 1 d/a rd",
    "1: open 2 d/e/b rdwr",
    "2: open 0 d/a rdwr",
    "2: open 1 g/a rdwr",
    "1: as 1001:1001",
    "2: as 1002:1002:1001",
};

/* Where the round left off: its length, or the line that differed unexpectedly. */
static size_t run_round(struct engine *engine, char **lines, size_t count, const char *title) {
  for (size_t i = 0; i < count; i++) {
    if (engine_perform(engine, lines[i]))
      continue;
    struct difference difference = {
        "random",
        title,
        lines[i],
        {engine->sides[REFERENCE].result.bytes, engine->sides[SUBJECT].result.bytes}};
    const struct expectation *expectation = expectation_of(&difference);
    report_difference(&difference, getenv("POSIX_VERBOSE") != NULL);
    if (!expectation)
      return i;
    if (!expectation->only_access_time) /* from here on the two may go other ways */
      return count;
  }
  return count;
}

/* Afterwards both must still be the same, and the subject as it was. */
static void remounted_well(struct engine *engine, const char *title) {
  engine_perform(engine, "tree");
  bool were_same =
      !strcmp(engine->sides[REFERENCE].result.bytes, engine->sides[SUBJECT].result.bytes);
  if (!engine_remount(engine))
    report_difference(&(struct difference){"random", title, "remount", {"as it was", "another"}},
                      false);
  if (!engine_perform(engine, "tree") && were_same)
    report_difference(&(struct difference){"random",
                                           title,
                                           "tree after a remount",
                                           {engine->sides[REFERENCE].result.bytes,
                                            engine->sides[SUBJECT].result.bytes}},
                      false);
}

void random_run(struct engine *engine, uint64_t seed, uint64_t operations) {
  enum { BEGINNINGS = sizeof beginnings / sizeof *beginnings, REDUCED = 12 };
  char *lines[BEGINNINGS + ROUND];
  uint64_t until = engine->operations + operations;
  unsigned reduced = 0;
  for (uint64_t round = 0; engine->operations < until; round++) {
    char title[64];
    struct dice dice = dice_seed(seed * 1000003 + round);
    snprintf(title, sizeof title, "seed %" PRIu64 ", round %" PRIu64, seed, round);
    for (size_t i = 0; i < BEGINNINGS; i++)
      lines[i] = strdup(beginnings[i]);
    for (size_t i = 0; i < ROUND; i++)
      lines[BEGINNINGS + i] = make_line(&dice, i);
    engine_begin(engine);
    size_t stopped = run_round(engine, lines, BEGINNINGS + ROUND, title);
    if (engine->remount && round % REMOUNT == 0)
      remounted_well(engine, title);
    engine_end(engine);
    if (stopped < BEGINNINGS + ROUND && reduced++ < REDUCED)
      reduce(engine, lines, stopped + 1);
    for (size_t i = 0; i < BEGINNINGS + ROUND; i++)
      free(lines[i]);
  }
}
