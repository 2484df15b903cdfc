/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A process that makes the calls of one side: its slots, rights and directory.
 */

#include "posix.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* --------------------------------------------------------------------- slots */

static int slot_number(const char *word) {
  char *end;
  long number = strtol(word, &end, 10);
  if (end == word || number < 0 || number >= SLOTS)
    die("'%s' is no slot", word);
  return (int)number;
}

int actor_slot(struct actor *actor, const char *word) {
  int fd = actor->slots[slot_number(word)];
  return fd < 0 ? 999 : fd;
}

void actor_fill_slot(struct actor *actor, const char *word, int fd) {
  int number = slot_number(word);
  if (fd < 0)
    return;
  if (actor->slots[number] >= 0)
    close(actor->slots[number]);
  actor->slots[number] = fd;
}

struct target actor_target(struct actor *actor, const char *word) {
  if (word[0] != '&')
    return (struct target){AT_FDCWD, word, false};
  const char *slash = strchr(word, '/');
  return (struct target){actor_slot(actor, word + 1), slash ? slash + 1 : "", !slash};
}

/* --------------------------------------------------------------------- rights */

void actor_as_root(struct actor *actor) {
  if (actor->uid)
    setfsuid(0);
}

void actor_as_itself(struct actor *actor) {
  if (actor->uid)
    setfsuid(actor->uid);
}

static void become(struct actor *actor, uid_t uid, gid_t gid, const gid_t *list, size_t count) {
  if (setresuid(0, 0, 0) || setgroups(count, list) || setresgid(gid, gid, gid) ||
      (uid && setresuid(uid, uid, 0)))
    die("cannot become %u:%u: %m", uid, gid);
  prctl(PR_SET_DUMPABLE, 1);
  actor->uid = uid;
}

/* as UID:GID[:GROUP,...] */
static void verb_as(struct actor *actor, char **words, int count, struct text *result) {
  gid_t list[8];
  size_t list_count = 0;
  char *at;
  uid_t uid = (uid_t)strtoul(words[0], &at, 10);
  gid_t gid = *at == ':' ? (gid_t)strtoul(at + 1, &at, 10) : uid;
  while (*at && list_count < 8)
    list[list_count++] = (gid_t)strtoul(at + 1, &at, 10);
  become(actor, uid, gid, list, list_count);
  text_add(result, "0");
  (void)count;
}

static void verb_umask(struct actor *actor, char **words, int count, struct text *result) {
  text_add(result, "%04o", umask(words_mode(words[0])));
  (void)actor;
  (void)count;
}

/* -------------------------------------------------------------------- begin, end */

static void forget_everything(struct actor *actor) {
  become(actor, 0, 0, NULL, 0);
  for (int i = 0; i < SLOTS; i++) {
    if (actor->slots[i] >= 0)
      close(actor->slots[i]);
    actor->slots[i] = -1;
  }
  for (int i = 0; i < MAPS; i++) {
    if (actor->maps[i].address) {
      munmap(actor->maps[i].address, actor->maps[i].length);
      close(actor->maps[i].file);
    }
    actor->maps[i].address = NULL;
  }
  umask(022);
}

static void leave_place(struct actor *actor) {
  if (fchdir(actor->root) || chroot("."))
    die("chroot: %m");
}

void actor_leave_place(struct actor *actor) {
  int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (here < 0 || seteuid(0))
    die("cannot leave: %m");
  leave_place(actor);
  if (fchdir(here) || seteuid(actor->uid))
    die("cannot go back: %m");
  close(here);
}

/* begin DIRECTORY: as a new process, chrooted there, in its directory "case" */
static void verb_begin(struct actor *actor, char **words, int count, struct text *result) {
  forget_everything(actor);
  leave_place(actor);
  text_add_result(result, chroot(words[0]) || chdir("/case") ? -1 : 0);
  (void)count;
}

static void verb_end(struct actor *actor, char **words, int count, struct text *result) {
  forget_everything(actor);
  leave_place(actor);
  text_add(result, "0");
  (void)words;
  (void)count;
}

/* -------------------------------------------------------------------------- cwd */

static void verb_chdir(struct actor *actor, char **words, int count, struct text *result) {
  struct target target = actor_target(actor, words[0]);
  text_add_result(result, target.whole ? fchdir(target.fd) : chdir(target.path));
  (void)count;
}

static void verb_getcwd(struct actor *actor, char **words, int count, struct text *result) {
  char path[8192];
  if (!getcwd(path, sizeof path))
    text_add_result(result, -1);
  else
    text_add_name(result, path);
  (void)actor;
  (void)words;
  (void)count;
}

/* tree [exact] */
static void verb_tree(struct actor *actor, char **words, int count, struct text *result) {
  actor_as_root(actor);
  int here = open(".", O_PATH | O_CLOEXEC);
  tree_list(result, count > 0);
  if (here >= 0 && fchdir(here) == 0)
    close(here);
  actor_as_itself(actor);
  (void)words;
}

static void verb_sleep(struct actor *actor, char **words, int count, struct text *result) {
  usleep((useconds_t)words_size(words[0]) * 1000);
  text_add(result, "0");
  (void)actor;
  (void)count;
}

static const struct verb actor_verbs[] = {
    {"as", verb_as, 1},       {"umask", verb_umask, 1}, {"begin", verb_begin, 1},
    {"end", verb_end, 0},     {"chdir", verb_chdir, 1}, {"getcwd", verb_getcwd, 0},
    {"sleep", verb_sleep, 1}, {"tree", verb_tree, 0},   {NULL, NULL, 0},
};

/* -------------------------------------------------------------------- dispatch */

static const struct verb *find_verb(const char *name) {
  const struct verb *tables[] = {actor_verbs,     name_verbs, data_verbs,
                                 attribute_verbs, lock_verbs, directory_verbs};
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
    for (const struct verb *verb = tables[i]; verb->name; verb++)
      if (!strcmp(verb->name, name))
        return verb;
  die("there is no verb '%s'", name);
}

static void perform_words(struct actor *actor, char *line, struct text *result) {
  static struct text storage;
  char *words[WORDS + 1] = {0};
  char *copy = strdup(line);
  int count = words_split(line, words, &storage);
  if (count == 0)
    die("an empty line");
  const struct verb *verb = find_verb(words[0]);
  if (count - 1 < verb->least)
    die("%s: %d arguments are too few", copy, count - 1);
  errno = 0;
  verb->function(actor, words + 1, count - 1, result);
  free(copy);
}

/* ----------------------------------------------------------------------- times */

struct watched {
  char name[512];
  bool created; /* by the operation */
  int fd;
  struct stat before, after;
};

static int64_t nanoseconds(const struct timespec *time) {
  return time->tv_sec * INT64_C(1000000000) + time->tv_nsec;
}

static int64_t current_time(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return nanoseconds(&now);
}

static char time_change(int64_t before, int64_t after, int64_t from, int64_t until) {
  if (before == after)
    return '=';
  return after >= from && after <= until ? '+' : '*';
}

static int watch_before(struct watched watched[], char *names) {
  int count = 0;
  for (char *save, *name = strtok_r(names, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
    struct watched *one = &watched[count++];
    one->created = name[0] == '+';
    snprintf(one->name, sizeof one->name, "%s", name + one->created);
    one->fd = one->created ? -1 : open(one->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    memset(&one->before, 0, sizeof one->before);
    if (!one->created && (one->fd < 0 || fstat(one->fd, &one->before)))
      one->before.st_mode = 0;
    if (count == 8)
      break;
  }
  return count;
}

static void watch_after(struct watched *one, int64_t from, int64_t until, struct text *result) {
  int error = one->created ? lstat(one->name, &one->after) : fstat(one->fd, &one->after);
  text_add(result, " %s[", one->name);
  if (error)
    text_add_result(result, -1);
  else {
    int64_t modified = nanoseconds(&one->after.st_mtim), changed = nanoseconds(&one->after.st_ctim);
    char m = time_change(nanoseconds(&one->before.st_mtim), modified, from, until);
    char c = time_change(nanoseconds(&one->before.st_ctim), changed, from, until);
    char a = time_change(nanoseconds(&one->before.st_atim), nanoseconds(&one->after.st_atim), from,
                         until);
    text_add(result, "a%cm%cc%c", a, m, c);
    if (m == '+' && c == '+' && llabs(modified - changed) > 100000000)
      text_add(result, " m!=c");
  }
  text_add(result, "]");
  if (one->fd >= 0)
    close(one->fd);
}

/* times FILE,...: verb ... */
static void perform_watched(struct actor *actor, char *line, struct text *result) {
  static struct watched watched[8];
  char *names = line + strlen("times "), *end = strstr(names, ": ");
  if (!end)
    die("%s: where is the verb?", line);
  *end = 0;
  actor_as_root(actor);
  int count = watch_before(watched, names);
  actor_as_itself(actor);
  struct timespec pause = {0, 2 * actor->tick + 2000000};
  nanosleep(&pause, NULL);
  int64_t from = current_time() - 10 * actor->tick; /* the kernel's idea of it lags */
  perform_words(actor, end + 2, result);
  int64_t until = current_time() + actor->tick;
  actor_as_root(actor);
  for (int i = 0; i < count; i++)
    watch_after(&watched[i], from, until, result);
  actor_as_itself(actor);
}

void actor_perform(struct actor *actor, char *line, struct text *result) {
  if (strncmp(line, "times ", 6))
    perform_words(actor, line, result);
  else
    perform_watched(actor, line, result);
}

/* ----------------------------------------------------------------------- serving */

static bool read_all(int fd, void *buffer, size_t count) {
  char *at = buffer;
  while (count > 0) {
    ssize_t done = read(fd, at, count);
    if (done <= 0)
      return false;
    at += done;
    count -= (size_t)done;
  }
  return true;
}

static void write_all(int fd, const void *buffer, size_t count) {
  const char *at = buffer;
  while (count > 0) {
    ssize_t done = write(fd, at, count);
    if (done <= 0)
      _exit(2);
    at += done;
    count -= (size_t)done;
  }
}

static void wake(int number) {
  (void)number; /* only to interrupt a call */
}

void actor_run(int socket, int index, pid_t *pids) {
  static struct actor actor;
  static char line[LINE];
  struct text result = {0};
  struct timespec resolution;
  clock_getres(CLOCK_REALTIME_COARSE, &resolution);
  actor.root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  actor.proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
  actor.index = index;
  actor.pids = pids;
  actor.tick = resolution.tv_nsec;
  for (int i = 0; i < SLOTS; i++)
    actor.slots[i] = -1;
  struct sigaction interrupt = {.sa_handler = wake};
  sigaction(SIGALRM, &interrupt, NULL);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  pids[index] = getpid();
  uint32_t length;
  while (read_all(socket, &length, sizeof length) && length < LINE &&
         read_all(socket, line, length)) {
    line[length] = 0;
    text_clear(&result);
    actor_perform(&actor, line, &result);
    length = (uint32_t)result.length;
    write_all(socket, &length, sizeof length);
    write_all(socket, result.bytes, length);
  }
  _exit(0);
}
