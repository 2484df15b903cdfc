/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Both sides in lock step: a line goes to the actors of both, and what they answer is compared.
 */

#include "posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE = 120000 }; /* milliseconds */

static const char *const side_names[SIDES] = {"the reference", "the subject"};

/* ------------------------------------------------------------------- processes */

static void start_actor(struct side *side, int index) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
    die("socketpair: %m");
  pid_t child = fork();
  if (child < 0)
    die("fork: %m");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(pair[0]);
    actor_run(pair[1], index, side->pids);
  }
  close(pair[1]);
  side->sockets[index] = pair[0];
  side->pids[index] = child;
}

static void start_side(struct side *side, const char *root) {
  side->root = root;
  snprintf(side->place, sizeof side->place, "%s/posix-case", root);
  side->pids =
      mmap(NULL, ACTORS * sizeof(pid_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (side->pids == MAP_FAILED)
    die("mmap: %m");
  for (int i = 0; i < ACTORS; i++)
    start_actor(side, i);
}

void engine_start(struct engine *engine, const char *reference, const char *subject) {
  start_side(&engine->sides[REFERENCE], reference);
  start_side(&engine->sides[SUBJECT], subject);
}

void engine_stop(struct engine *engine) {
  for (int i = 0; i < SIDES; i++) {
    struct side *side = &engine->sides[i];
    for (int j = 0; j < ACTORS; j++) {
      kill(side->pids[j], SIGKILL);
      waitpid(side->pids[j], NULL, 0);
      close(side->sockets[j]);
    }
    text_free(&side->result);
    munmap(side->pids, ACTORS * sizeof(pid_t));
  }
}

/* --------------------------------------------------------------------- messages */

static void send_line(const struct side *side, int actor, const char *line) {
  char message[sizeof(uint32_t) + LINE];
  uint32_t length = (uint32_t)strlen(line);
  if (length >= LINE)
    die("a line of %u bytes", length);
  memcpy(message, &length, sizeof length);
  memcpy(message + sizeof length, line, length);
  size_t count = sizeof length + length;
  if (send(side->sockets[actor], message, count, MSG_NOSIGNAL) != (ssize_t)count)
    die("an actor of %s is gone, before '%s'", side->root, line);
}

static void receive(const struct side *side, int actor, void *buffer, size_t count,
                    const char *line) {
  char *at = buffer;
  while (count > 0) {
    struct pollfd ready = {.fd = side->sockets[actor], .events = POLLIN};
    if (poll(&ready, 1, PATIENCE) == 0)
      die("%s: no answer in %d seconds to '%s'", side->root, PATIENCE / 1000, line);
    ssize_t length = read(side->sockets[actor], at, count);
    if (length <= 0)
      die("an actor of %s died at '%s'", side->root, line);
    at += length;
    count -= (size_t)length;
  }
}

static void receive_result(struct side *side, int actor, const char *line) {
  uint32_t length;
  char buffer[65536];
  receive(side, actor, &length, sizeof length, line);
  text_clear(&side->result);
  while (length > 0) {
    uint32_t part = length < sizeof buffer ? length : sizeof buffer;
    receive(side, actor, buffer, part, line);
    text_append(&side->result, buffer, part);
    length -= part;
  }
  text_append(&side->result, "", 0);
}

static bool compare_results(struct engine *engine, const char *line) {
  struct side *reference = &engine->sides[REFERENCE], *subject = &engine->sides[SUBJECT];
  for (int i = 0; i < SIDES; i++)
    if (!strncmp(engine->sides[i].result.bytes, "ENOTCONN", 8))
      die("%s is gone, at '%s'", side_names[i], line);
  engine->compared++;
  if (engine->trace)
    printf("%s -> %.200s\n", line, reference->result.bytes);
  return !strcmp(reference->result.bytes, subject->result.bytes);
}

static const char *actor_of_line(const char *line, int *actor) {
  *actor = 0;
  if (line[0] >= '0' && line[0] < '0' + ACTORS && line[1] == ':') {
    *actor = line[0] - '0';
    line += 2;
    line += strspn(line, " ");
  }
  return line;
}

static int actor_number(const char *word) {
  if (word[0] < '0' || word[0] >= '0' + ACTORS)
    die("'%s' is no actor", word);
  return word[0] - '0';
}

bool engine_perform(struct engine *engine, const char *line) {
  int actor;
  const char *operation = actor_of_line(line, &actor);
  engine->operations++;
  if (!strncmp(operation, "start ", 6)) {
    for (int i = 0; i < SIDES; i++) {
      send_line(&engine->sides[i], actor_number(operation + 6), operation + 8);
      text_clear(&engine->sides[i].result);
    }
    usleep(50000); /* so that it waits when the next line comes */
    return true;
  }
  if (!strncmp(operation, "finish ", 7))
    actor = actor_number(operation + 7);
  else
    for (int i = 0; i < SIDES; i++)
      send_line(&engine->sides[i], actor, operation);
  for (int i = 0; i < SIDES; i++)
    receive_result(&engine->sides[i], actor, line);
  return compare_results(engine, line);
}

/* ------------------------------------------------------------------------ cases */

static void tell_actors(struct engine *engine, bool begin) {
  char line[LINE];
  for (int i = 0; i < SIDES; i++)
    for (int j = 0; j < ACTORS; j++) {
      struct side *side = &engine->sides[i];
      snprintf(line, sizeof line, begin ? "begin %s" : "end", side->place);
      send_line(side, j, line);
      receive_result(side, j, line);
      if (strcmp(side->result.bytes, "0"))
        die("%s: %s", line, side->result.bytes);
    }
}

void engine_begin(struct engine *engine) {
  for (int i = 0; i < SIDES; i++) {
    char path[8192];
    snprintf(path, sizeof path, "%s/case", engine->sides[i].place);
    if (mkdir(engine->sides[i].place, 0755) || mkdir(path, 0755))
      die("cannot make %s: %m", path);
  }
  tell_actors(engine, true);
  engine->cases++;
}

static char *exact_state(struct engine *engine) {
  struct side *subject = &engine->sides[SUBJECT];
  send_line(subject, 0, "tree exact");
  receive_result(subject, 0, "tree exact");
  return strdup(subject->result.bytes);
}

bool engine_remount(struct engine *engine) {
  char *before = exact_state(engine);
  tell_actors(engine, false);
  if (system(engine->remount))
    die("'%s' failed", engine->remount);
  tell_actors(engine, true);
  char *after = exact_state(engine);
  bool same = !strcmp(before, after);
  if (!same) {
    printf("after unmounting and mounting again the subject is another:\n");
    report_results(before, after);
  }
  free(before);
  free(after);
  return same;
}

static void remove_below(int parent, const char *name) {
  const struct dirent *entry;
  int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR *directory = fd < 0 ? NULL : fdopendir(fd);
  if (!directory)
    die("cannot remove %s: %m", name);
  while ((entry = readdir(directory))) {
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
      continue;
    if (unlinkat(fd, entry->d_name, 0) == 0)
      continue;
    if (errno != EISDIR)
      die("cannot remove what a case has left: %s: %m", entry->d_name);
    remove_below(fd, entry->d_name);
  }
  closedir(directory);
  if (unlinkat(parent, name, AT_REMOVEDIR))
    die("cannot remove what a case has left: %s: %m", name);
}

void engine_end(struct engine *engine) {
  tell_actors(engine, false);
  for (int i = 0; i < SIDES; i++)
    remove_below(AT_FDCWD, engine->sides[i].place);
}
