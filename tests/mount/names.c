/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Names without case, one step after the other: after each step every spelling must tell the same
 * truth at once, however the kernel was primed with lookups of other spellings before.  Each
 * scenario runs with all pairs of spellings.
 *
 *     names [--foreign] DIRECTORY
 *
 * The directory must be insensitive.  --foreign: it is not of casefs, so nothing is expected of
 * casefs's own ways to spell anew and to change the flag.
 */

#include "spellings.h"
#include "stress.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef FS_CASEFOLD_FL
#define FS_CASEFOLD_FL 0x40000000
#endif

enum { SPELLINGS = 6 };

/* When all spellings are looked up, so that the kernel remembers something of each. */
enum priming { NEVER = 0, BEFORE = 1, AFTER = 2, ALWAYS = 3, PRIMINGS = 4 };

static char spellings[SPELLINGS][SPELLING];
static enum priming priming;
static bool foreign;
static unsigned long scenarios_run, checks_made;

/* ------------------------------------------------------------------- checks */

static void must(long result, const char *what, int line) {
  note("line %d: %s", line, what);
  if (result < 0)
    fail_errno("line %d: %s failed", line, what);
}

static void refused(long result, int error, const char *what, int line) {
  note("line %d: %s, refused", line, what);
  if (result >= 0)
    fail("line %d: %s succeeded instead of '%s'", line, what, strerror(error));
  if (errno != error)
    fail_errno("line %d: %s failed otherwise than with '%s'", line, what, strerror(error));
}

#define MUST(call) must((call), #call, __LINE__)
#define REFUSED(error, call) refused((call), (error), #call, __LINE__)

/* Entries of the directory that are spellings of that name; *stored: the last one's. */
static unsigned count_entries(const char *directory, const char *name, char stored[SPELLING],
                              ino_t *id) {
  DIR *stream = opendir(directory);
  unsigned found = 0;
  if (!stream)
    fail_errno("opening directory %s", directory);
  for (struct dirent *entry; (entry = readdir(stream));)
    if (same_name(entry->d_name, name)) {
      found++;
      *id = entry->d_ino;
      snprintf(stored, SPELLING, "%.63s", entry->d_name);
    }
  closedir(stream);
  return found;
}

static ino_t id_of(const char *name) {
  struct stat status;
  if (lstat(name, &status) != 0)
    fail_errno("status of %s", name);
  return status.st_ino;
}

static void absent(const char *spelling, int line) {
  struct stat status;
  refused(lstat(spelling, &status), ENOENT, "lstat", line);
  refused(access(spelling, F_OK), ENOENT, "access", line);
  refused(open(spelling, O_PATH), ENOENT, "open", line);
  refused(truncate(spelling, 0), ENOENT, "truncate", line);
}

static void none_at(int line) {
  char stored[SPELLING];
  ino_t id;
  for (int i = 0; i < SPELLINGS; i++) {
    note("line %d: none as %s", line, spellings[i]);
    absent(spellings[i], line);
  }
  if (count_entries(".", spellings[0], stored, &id) != 0)
    fail("line %d: %s is listed though it is gone", line, stored);
  checks_made += SPELLINGS * 4 + 1;
}

static void same_node(const char *spelling, ino_t id, int line) {
  struct stat status;
  note("line %d: there as %s", line, spelling);
  if (lstat(spelling, &status) != 0)
    fail_errno("line %d: %s is not found", line, spelling);
  if (status.st_ino != id)
    fail("line %d: %s is node %lu, not %lu", line, spelling, (unsigned long)status.st_ino,
         (unsigned long)id);
  int fd = open(spelling, O_PATH | O_NOFOLLOW);
  if (fd < 0)
    fail_errno("line %d: opening %s", line, spelling);
  if (fstat(fd, &status) != 0 || status.st_ino != id)
    fail("line %d: %s opens another node than it names", line, spelling);
  close(fd);
}

static void all_at(ino_t id, const char *as, int line) {
  char stored[SPELLING];
  ino_t listed = 0;
  for (int i = 0; i < SPELLINGS; i++)
    same_node(spellings[i], id, line);
  unsigned entries = count_entries(".", spellings[0], stored, &listed);
  if (entries != 1)
    fail("line %d: %s is listed %u times", line, spellings[0], entries);
  if (listed != id)
    fail("line %d: %s is listed with number %lu, not %lu", line, stored, (unsigned long)listed,
         (unsigned long)id);
  if (as && strcmp(stored, as) != 0)
    fail("line %d: listed as %s, not %s", line, stored, as);
  checks_made += SPELLINGS * 2 + 1;
}

/* No spelling finds anything; or all find that node, and the listing has it once, as that. */
#define NONE() none_at(__LINE__)
#define ALL(id, as) all_at((id), (as), __LINE__)

/* Let the kernel see each spelling now, whatever comes of it. */
static void prime(enum priming when) {
  struct stat status;
  if (!(priming & when))
    return;
  for (int i = 0; i < SPELLINGS; i++) {
    (void)!stat(spellings[i], &status);
    (void)!access(spellings[i], R_OK);
    int fd = open(spellings[i], O_RDONLY | O_NONBLOCK);
    if (fd >= 0)
      close(fd);
  }
}

static int create(const char *name, int flags, const char *content) {
  int fd = open(name, O_RDWR | O_CREAT | flags, 0600);
  if (fd < 0)
    return -1;
  int error = write(fd, content, strlen(content)) == (ssize_t)strlen(content) ? 0 : -1;
  return close(fd) == 0 ? error : -1;
}

static void holds(const char *name, const char *content) {
  char found[64] = "";
  int fd = open(name, O_RDONLY);
  if (fd < 0 || read(fd, found, sizeof found - 1) < 0)
    fail_errno("reading %s", name);
  close(fd);
  if (strcmp(found, content) != 0)
    fail("%s holds '%s', not '%s'", name, found, content);
}

static nlink_t links_of(const char *name) {
  struct stat status;
  if (lstat(name, &status) != 0)
    fail_errno("status of %s", name);
  return status.st_nlink;
}

/* ---------------------------------------------------------------- scenarios */

/* Made as a, used as b, and as c afterwards. */
typedef void scenario(const char *a, const char *b, const char *c);

static void create_and_refuse(const char *a, const char *b, const char *c) {
  prime(BEFORE);
  MUST(create(a, O_EXCL, "first"));
  prime(AFTER);
  ALL(id_of(a), a);
  REFUSED(EEXIST, open(b, O_CREAT | O_EXCL | O_RDWR, 0600));
  REFUSED(EEXIST, mkdir(b, 0700));
  REFUSED(EEXIST, symlink("x", b));
  REFUSED(EEXIST, mknod(b, S_IFIFO | 0600, 0));
  MUST(create("other", O_EXCL, "other"));
  REFUSED(EEXIST, link("other", b));
  REFUSED(EEXIST, renameat2(AT_FDCWD, "other", AT_FDCWD, b, RENAME_NOREPLACE));
  MUST(create(b, 0, "again"));
  holds(c, "again");
  ALL(id_of(a), a);
  MUST(create(c, O_TRUNC, "new"));
  holds(a, "new");
}

static void unlink_and_create(const char *a, const char *b, const char *c) {
  prime(BEFORE);
  MUST(create(a, O_EXCL, "first"));
  prime(AFTER);
  MUST(unlink(b));
  NONE();
  prime(BEFORE);
  MUST(create(c, O_EXCL, "second"));
  ALL(id_of(c), c);
  holds(a, "second");
  holds(b, "second");
  MUST(unlink(a));
  NONE();
}

static void rename_away(const char *a, const char *b, const char *c) {
  prime(BEFORE);
  MUST(create(a, O_EXCL, "first"));
  ino_t id = id_of(a);
  prime(AFTER);
  MUST(rename(b, "other"));
  NONE();
  same_node("OTHER", id, __LINE__);
  MUST(create(c, O_EXCL, "second"));
  ALL(id_of(c), c);
  holds("Other", "first");
  MUST(rename("oTHER", a)); /* over it */
  ALL(id, NULL);
  holds(b, "first");
  REFUSED(ENOENT, unlink("other"));
}

static void replace(const char *a, const char *b, const char *c) {
  prime(BEFORE);
  MUST(create(a, O_EXCL, "old"));
  int fd = open(c, O_RDONLY);
  prime(AFTER);
  MUST(create("temporary", O_EXCL, "new"));
  ino_t id = id_of("Temporary");
  MUST(rename("temporary", b));
  ALL(id, NULL);
  holds(a, "new");
  holds(c, "new");
  char found[4] = "";
  MUST(pread(fd, found, 3, 0));
  if (strcmp(found, "old") != 0)
    fail("the replaced file holds '%s'", found);
  struct stat status;
  MUST(fstat(fd, &status));
  if (status.st_nlink != 0)
    fail("the replaced file has %lu links", (unsigned long)status.st_nlink);
  close(fd);
}

static void spell_anew(const char *a, const char *b, const char *c) {
  if (foreign)
    return;
  prime(BEFORE);
  MUST(create(a, O_EXCL, "first"));
  ino_t id = id_of(b);
  prime(AFTER);
  MUST(setxattr(c, "system.casefs_name", b, strlen(b), 0));
  ALL(id, b);
  char stored[SPELLING] = "";
  MUST(getxattr(c, "system.casefs_name", stored, sizeof stored - 1));
  if (strcmp(stored, b) != 0)
    fail("system.casefs_name is '%s', not '%s'", stored, b);
  REFUSED(EINVAL, setxattr(c, "system.casefs_name", "unrelated", 9, 0));
  ALL(id, b);
  /* As a rename of the same name the kernel may swallow it; nothing else may come of it. */
  MUST(rename(b, a));
  ALL(id, NULL);
  MUST(unlink(a));
  NONE();
}

static void spell_directory_anew(const char *a, const char *b, const char *c) {
  if (foreign)
    return;
  prime(BEFORE);
  MUST(mkdir(a, 0700));
  ino_t id = id_of(b);
  prime(AFTER);
  MUST(setxattr(c, "system.casefs_name", b, strlen(b), 0));
  ALL(id, b);
  MUST(rename(a, c));
  ALL(id, NULL);
  MUST(rmdir(a));
  NONE();
}

static void exchange(const char *a, const char *b, const char *c) {
  prime(BEFORE);
  MUST(create(a, O_EXCL, "first"));
  MUST(create("other", O_EXCL, "other"));
  ino_t id = id_of(a), other = id_of("other");
  prime(AFTER);
  MUST(renameat2(AT_FDCWD, b, AT_FDCWD, "OTHER", RENAME_EXCHANGE));
  ALL(other, NULL);
  same_node("Other", id, __LINE__);
  holds(c, "other");
  MUST(unlink(c));
  NONE();
  holds("otheR", "first");
}

static void links(const char *a, const char *b, const char *c) {
  prime(BEFORE);
  MUST(create(a, O_EXCL, "first"));
  prime(AFTER);
  MUST(link(b, "other"));
  if (links_of(a) != 2 || links_of("Other") != 2)
    fail("two names, but %lu and %lu links", (unsigned long)links_of(a),
         (unsigned long)links_of("Other"));
  REFUSED(EEXIST, link("other", c));
  MUST(unlink(b));
  NONE();
  if (links_of("OTHER") != 1)
    fail("one name, but %lu links", (unsigned long)links_of("OTHER"));
  MUST(link("other", c));
  ALL(id_of("other"), c);
  MUST(rename(a, "OTHER")); /* two names of one file: nothing is done */
  ALL(id_of("other"), c);
  MUST(unlink("other"));
  holds(b, "first");
}

static void removed_but_open(const char *a, const char *b, const char *c) {
  char found[8] = "";
  prime(BEFORE);
  MUST(create(a, O_EXCL, "first"));
  int fd = open(b, O_RDWR);
  prime(AFTER);
  MUST(unlink(c));
  NONE();
  MUST(create(b, O_EXCL, "other"));
  MUST(pwrite(fd, "FIRST", 5, 0));
  MUST(pread(fd, found, 5, 0));
  if (strcmp(found, "FIRST") != 0)
    fail("the removed file holds '%s'", found);
  struct stat status;
  MUST(fstat(fd, &status));
  if (status.st_nlink != 0 || status.st_ino == id_of(a))
    fail("the removed file is still linked, or the new one");
  holds(a, "other");
  close(fd);
  ALL(id_of(c), b);
}

static void directories(const char *a, const char *b, const char *c) {
  char path[8 * SPELLING];
  prime(BEFORE);
  MUST(mkdir(a, 0700));
  ino_t id = id_of(b);
  prime(AFTER);
  ALL(id, a);
  REFUSED(EEXIST, mkdir(b, 0700));
  REFUSED(EEXIST, open(b, O_CREAT | O_EXCL | O_RDWR, 0600));
  REFUSED(EISDIR, unlink(b));
  snprintf(path, sizeof path, "%s/Inner", b);
  MUST(create(path, O_EXCL, "inner"));
  snprintf(path, sizeof path, "%s/iNNER", c);
  holds(path, "inner");
  REFUSED(ENOTEMPTY, rmdir(b));
  MUST(rename(c, "other"));
  NONE();
  same_node("OTHER", id, __LINE__);
  REFUSED(ENOENT, open(path, O_RDONLY));
  holds("OTHER/INNER", "inner");
  MUST(mkdir(b, 0700));
  ALL(id_of(b), b);
  REFUSED(ENOENT, open(path, O_RDONLY));
  MUST(rmdir(a));
  NONE();
  MUST(create(c, O_EXCL, "a file now"));
  ALL(id_of(a), c);
  holds(b, "a file now");
}

static void inside(const char *a, const char *b, const char *c) {
  MUST(mkdir(a, 0700));
  ino_t id = id_of(a);
  prime(AFTER);
  int outside = open(".", O_RDONLY | O_DIRECTORY), within = open(c, O_RDONLY | O_DIRECTORY);
  MUST(outside);
  MUST(within);
  MUST(chdir(b));
  MUST(create("Here", O_EXCL, "here"));
  MUST(renameat(outside, c, outside, "other"));
  holds("hERE", "here");
  same_node("../OTHER", id, __LINE__);
  same_node(".", id, __LINE__);
  MUST(unlinkat(within, "HERE", 0));
  MUST(unlinkat(outside, "Other", AT_REMOVEDIR));
  REFUSED(ENOENT, open("new", O_CREAT | O_RDWR, 0600));
  REFUSED(ENOENT, openat(within, "new", O_CREAT | O_RDWR, 0600));
  struct stat status;
  MUST(fstat(within, &status));
  MUST(fchdir(outside));
  NONE();
  close(outside);
  close(within);
  MUST(mkdir(b, 0700));
  ALL(id_of(c), b);
}

static void move_between(const char *a, const char *b, const char *c) {
  char from[8 * SPELLING], to[8 * SPELLING];
  MUST(mkdir("left", 0700));
  MUST(mkdir("right", 0700));
  snprintf(from, sizeof from, "left/%s", a);
  MUST(create(from, O_EXCL, "moved"));
  ino_t id = id_of(from);
  for (int i = 0; i < SPELLINGS && priming; i++) {
    snprintf(to, sizeof to, "RIGHT/%s", spellings[i]);
    REFUSED(ENOENT, access(to, F_OK));
    snprintf(to, sizeof to, "LEFT/%s", spellings[i]);
    MUST(access(to, F_OK));
  }
  snprintf(from, sizeof from, "Left/%s", b);
  snprintf(to, sizeof to, "Right/%s", c);
  MUST(rename(from, to));
  MUST(chdir("left"));
  NONE();
  MUST(chdir("../rIGHT"));
  ALL(id, c);
  MUST(chdir(".."));
}

static void attributes(const char *a, const char *b, const char *c) {
  struct stat status;
  MUST(create(a, O_EXCL, "1234567"));
  prime(AFTER);
  MUST(chmod(b, 0640));
  MUST(stat(c, &status));
  if ((status.st_mode & 07777) != 0640)
    fail("mode %o instead of 640", status.st_mode & 07777);
  MUST(truncate(b, 3));
  holds(c, "123");
  MUST(stat(a, &status));
  if (status.st_size != 3)
    fail("size %ld instead of 3", (long)status.st_size);
  MUST(setxattr(a, "user.check", "value", 5, 0));
  MUST(getxattr(b, "user.check", NULL, 0));
  MUST(removexattr(c, "user.check"));
  REFUSED(ENODATA, getxattr(a, "user.check", NULL, 0));
}

static void symbolic(const char *a, const char *b, const char *c) {
  char found[SPELLING] = "";
  MUST(create("target", O_EXCL, "target"));
  prime(BEFORE);
  MUST(symlink("TARGET", a));
  ino_t id = id_of(a);
  prime(AFTER);
  ALL(id, a);
  holds(b, "target");
  MUST(readlink(c, found, sizeof found - 1));
  if (strcmp(found, "TARGET") != 0)
    fail("the link leads to '%s'", found);
  MUST(unlink(c));
  NONE();
  MUST(create(b, O_EXCL, "plain"));
  holds(a, "plain");
  holds("Target", "target");
}

static void replace_directory(const char *a, const char *b, const char *c) {
  char path[8 * SPELLING];
  MUST(mkdir(a, 0700));
  prime(AFTER);
  MUST(mkdir("other", 0700));
  MUST(create("other/file", O_EXCL, "inside"));
  ino_t id = id_of("other");
  MUST(rename("OTHER", b));
  ALL(id, NULL);
  snprintf(path, sizeof path, "%s/FILE", c);
  holds(path, "inside");
  MUST(mkdir("another", 0700));
  REFUSED(ENOTEMPTY, rename("another", a));
  REFUSED(EINVAL, rename(b, path));
}

static int set_case(const char *directory, bool insensitive) {
  int fd = open(directory, O_RDONLY | O_DIRECTORY), flags = 0;
  if (fd < 0 || ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0)
    fail_errno("flags of %s", directory);
  flags = insensitive ? flags | FS_CASEFOLD_FL : flags & ~FS_CASEFOLD_FL;
  int error = ioctl(fd, FS_IOC_SETFLAGS, &flags);
  close(fd);
  return error;
}

/* What was remembered of a directory that minded case does not count once it does not, and the
 * other way.  Only with some spellings, as changing the flag may wait until such memories end. */
static void change_flag(const char *a, const char *b, const char *c) {
  if (foreign || priming != ALWAYS || a != spellings[0] || (b != spellings[1] && b != spellings[4]))
    return;
  MUST(mkdir("place", 0700));
  MUST(set_case("place", false));
  MUST(chdir("place"));
  prime(BEFORE);
  REFUSED(ENOENT, access(b, F_OK));
  MUST(set_case(".", true));
  MUST(create(a, O_EXCL, "first"));
  ALL(id_of(a), a);
  MUST(unlink(b));
  NONE();
  MUST(mkdir(a, 0700));
  prime(AFTER);
  REFUSED(ENOTEMPTY, set_case(".", false));
  MUST(rmdir(c));
  MUST(set_case(".", false));
  MUST(mkdir(a, 0700));
  REFUSED(ENOENT, access(b, F_OK));
  MUST(create(b, O_EXCL, "second"));
  same_node(a, id_of(a), __LINE__);
  if (id_of(a) == id_of(b))
    fail("%s and %s are one node where case matters", a, b);
  MUST(chdir(".."));
}

/* Long paths of parts that are each spelled otherwise. */
static void deep(const char *a, const char *b, const char *c) {
  char path[8 * SPELLING];
  MUST(mkdir(a, 0700));
  prime(AFTER);
  snprintf(path, sizeof path, "%s/%s", b, c);
  MUST(mkdir(path, 0700));
  snprintf(path, sizeof path, "%s/%s/%s", c, a, b);
  MUST(create(path, O_EXCL, "deep"));
  ino_t id = id_of(path);
  for (int i = 0; i < SPELLINGS; i++) {
    snprintf(path, sizeof path, "%s/%s/%s", spellings[i], spellings[(i + 1) % SPELLINGS],
             spellings[(i + 2) % SPELLINGS]);
    same_node(path, id, __LINE__);
  }
  snprintf(path, sizeof path, "%s/%s", a, a);
  MUST(rename(path, "other"));
  for (int i = 0; i < SPELLINGS; i++) {
    snprintf(path, sizeof path, "%s/%s", spellings[i], spellings[(i + 1) % SPELLINGS]);
    REFUSED(ENOENT, access(path, F_OK));
  }
  snprintf(path, sizeof path, "OTHER/%s", a);
  same_node(path, id, __LINE__);
}

static const struct {
  const char *name;
  scenario *run;
} scenarios[] = {
    {"create and refuse", create_and_refuse},
    {"unlink and create", unlink_and_create},
    {"rename away", rename_away},
    {"replace", replace},
    {"spell anew", spell_anew},
    {"spell a directory anew", spell_directory_anew},
    {"exchange", exchange},
    {"links", links},
    {"removed but open", removed_but_open},
    {"directories", directories},
    {"inside a directory", inside},
    {"move between directories", move_between},
    {"attributes", attributes},
    {"symbolic links", symbolic},
    {"replace a directory", replace_directory},
    {"change the flag", change_flag},
    {"deep paths", deep},
};

/* ---------------------------------------------------------------------- all */

static void run_one(size_t number, int a, int b) {
  const char *third = spellings[(a + b + 1) % SPELLINGS];
  note("%s: a = %s, b = %s, c = %s, primed %d", scenarios[number].name, spellings[a], spellings[b],
       third, priming);
  if (mkdir("scenario", 0700) != 0 || chdir("scenario") != 0)
    fail_errno("a directory for '%s'", scenarios[number].name);
  scenarios[number].run(spellings[a], spellings[b], third);
  if (chdir("..") != 0)
    fail_errno("leaving the directory of '%s'", scenarios[number].name);
  remove_tree("scenario");
  scenarios_run++;
}

static void run_pairs(size_t number) {
  for (int a = 0; a < SPELLINGS; a++)
    for (int b = 0; b < SPELLINGS; b++)
      for (int when = NEVER; when < PRIMINGS; when++) {
        priming = (enum priming)when;
        set_repeat("%s: a = %s, b = %s, primed %d", scenarios[number].name, spellings[a],
                   spellings[b], priming);
        run_one(number, a, b);
      }
}

static void run_all(const char *name) {
  static const uint64_t upper[SPELLINGS] = {0, UINT64_MAX, 1, 0x5555, 0xaaaa, 0x40};
  for (int i = 0; i < SPELLINGS; i++)
    spell(spellings[i], name, upper[i]);
  for (size_t number = 0; number < sizeof scenarios / sizeof scenarios[0]; number++)
    run_pairs(number);
}

int main(int argc, char **argv) {
  static const struct option options[] = {{"foreign", no_argument, NULL, 'f'}, {0}};
  for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
    if (option == 'f')
      foreign = true;
    else
      return 2;
  if (optind != argc - 1 || chdir(argv[optind]) != 0) {
    fputs("usage: names [--foreign] DIRECTORY\n", stderr);
    return 2;
  }
  double start = seconds_now();
  remove_tree("scenario");
  run_all("readmefile");
  run_all("gr\xc3\xb6\xc3\x9f\x65 \xc3\xa4\xc3\xa9.txt"); /* two-byte letters, a sharp s, a space */
  printf("names: %lu scenarios, %lu checks of all spellings, no difference (%.1f s)\n",
         scenarios_run, checks_made, seconds_now() - start);
  return 0;
}
