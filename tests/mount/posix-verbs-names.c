/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Verbs on names: making, linking, renaming and removing.
 */

#include "posix.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef RENAME_WHITEOUT
#define RENAME_WHITEOUT 4
#endif

static const struct word rename_words[] = {
    {"noreplace", RENAME_NOREPLACE},
    {"exchange", RENAME_EXCHANGE},
    {"whiteout", RENAME_WHITEOUT},
    {"unknown", 64},
    {NULL, 0},
};

static const struct word type_words[] = {
    {"regular", S_IFREG},   {"fifo", S_IFIFO},
    {"char", S_IFCHR},      {"block", S_IFBLK},
    {"socket", S_IFSOCK},   {"symlink", S_IFLNK},
    {"directory", S_IFDIR}, {"none", 0},
    {"unknown", 0070000},   {NULL, 0},
};

/* mkdir FILE MODE */
static void verb_mkdir(struct actor *actor, char **words, int count, struct text *result) {
  struct target target = actor_target(actor, words[0]);
  mode_t mode = count > 1 ? words_mode(words[1]) : 0755;
  text_add_result(result, mkdirat(target.fd, target.path, mode));
}

static void verb_rmdir(struct actor *actor, char **words, int count, struct text *result) {
  struct target target = actor_target(actor, words[0]);
  text_add_result(result, unlinkat(target.fd, target.path, AT_REMOVEDIR));
  (void)count;
}

static void verb_unlink(struct actor *actor, char **words, int count, struct text *result) {
  struct target target = actor_target(actor, words[0]);
  text_add_result(result, unlinkat(target.fd, target.path, 0));
  (void)count;
}

/* mknod FILE TYPE MODE [MAJOR MINOR] */
static void verb_mknod(struct actor *actor, char **words, int count, struct text *result) {
  struct target target = actor_target(actor, words[0]);
  mode_t mode = (mode_t)words_flags(type_words, words[1]) | words_mode(words[2]);
  dev_t device =
      count > 4 ? makedev((unsigned)words_size(words[3]), (unsigned)words_size(words[4])) : 0;
  text_add_result(result, mknodat(target.fd, target.path, mode, device));
}

/* make FILE TYPE: something of that type; "full" is a directory with an entry, "null" a device
 * that can be opened. */
static void verb_make(struct actor *actor, char **words, int count, struct text *result) {
  struct target target = actor_target(actor, words[0]);
  const char *type = words[1];
  int error;
  if (!strcmp(type, "absent"))
    error = 0;
  else if (!strcmp(type, "dangling") || !strcmp(type, "symlink"))
    error = symlinkat("nowhere", target.fd, target.path);
  else if (!strcmp(type, "null"))
    error = mknodat(target.fd, target.path, S_IFCHR | 0666, makedev(1, 3));
  else if (!strcmp(type, "directory"))
    error = mkdirat(target.fd, target.path, 0755);
  else if (!strcmp(type, "full")) {
    char inside[4096];
    snprintf(inside, sizeof inside, "%s/inside", target.path);
    error = mkdirat(target.fd, target.path, 0755);
    error = error ? error : mknodat(target.fd, inside, S_IFREG | 0644, 0);
  } else
    error = mknodat(target.fd, target.path, (mode_t)words_flags(type_words, type) | 0644,
                    makedev(240, 1));
  text_add_result(result, error);
  (void)count;
}

/* link OLD NEW [follow] */
static void verb_link(struct actor *actor, char **words, int count, struct text *result) {
  struct target old = actor_target(actor, words[0]), new = actor_target(actor, words[1]);
  int flags = count > 2 ? AT_SYMLINK_FOLLOW : 0;
  if (old.whole)
    flags |= AT_EMPTY_PATH;
  text_add_result(result, linkat(old.fd, old.path, new.fd, new.path, flags));
}

/* linkproc SLOT NEW: by /proc/self/fd, as one names an O_TMPFILE */
static void verb_linkproc(struct actor *actor, char **words, int count, struct text *result) {
  char path[64];
  struct target new = actor_target(actor, words[1]);
  snprintf(path, sizeof path, "self/fd/%d", actor_slot(actor, words[0]));
  text_add_result(result, linkat(actor->proc, path, new.fd, new.path, AT_SYMLINK_FOLLOW));
  (void)count;
}

static void verb_symlink(struct actor *actor, char **words, int count, struct text *result) {
  struct target new = actor_target(actor, words[1]);
  text_add_result(result, symlinkat(words[0], new.fd, new.path));
  (void)count;
}

/* readlink FILE [SIZE] */
static void verb_readlink(struct actor *actor, char **words, int count, struct text *result) {
  static char buffer[8192];
  struct target target = actor_target(actor, words[0]);
  size_t size = count > 1 ? (size_t)words_size(words[1]) : sizeof buffer - 1;
  ssize_t length = readlinkat(target.fd, target.path, buffer, size);
  text_add_result(result, length);
  if (length < 0)
    return;
  buffer[length] = 0;
  text_add(result, " ");
  text_add_name(result, buffer);
}

/* rename OLD NEW [FLAGS] */
static void verb_rename(struct actor *actor, char **words, int count, struct text *result) {
  struct target old = actor_target(actor, words[0]), new = actor_target(actor, words[1]);
  unsigned flags = count > 2 ? (unsigned)words_flags(rename_words, words[2]) : 0;
  text_add_result(result, renameat2(old.fd, old.path, new.fd, new.path, flags));
}

/* --------------------------------------------------------------------- sockets */

static void set_address(struct sockaddr_un *address, const char *path) {
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  snprintf(address->sun_path, sizeof address->sun_path, "%.107s", path);
}

/* bind SLOT FILE: a socket that listens */
static void verb_bind(struct actor *actor, char **words, int count, struct text *result) {
  struct sockaddr_un address;
  set_address(&address, words[1]);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  int error = bind(fd, (struct sockaddr *)&address, sizeof address);
  error = error ? error : listen(fd, 4);
  text_add_result(result, error);
  if (error)
    close(fd);
  else
    actor_fill_slot(actor, words[0], fd);
  (void)count;
}

static void verb_connect(struct actor *actor, char **words, int count, struct text *result) {
  struct sockaddr_un address;
  set_address(&address, words[0]);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  text_add_result(result, connect(fd, (struct sockaddr *)&address, sizeof address));
  close(fd);
  (void)actor;
  (void)count;
}

/* --------------------------------------------------------------------- programs */

/* exec FILE: its status, or the error of execve; a program `effective` says whose rights it has */
static void verb_exec(struct actor *actor, char **words, int count, struct text *result) {
  int channel[2], status = 0, error = 0;
  if (pipe2(channel, O_CLOEXEC))
    die("pipe: %m");
  pid_t child = fork();
  if (child == 0) {
    char *const arguments[] = {words[0], NULL}, *const environment[] = {NULL};
    actor_leave_place(actor);
    execve(words[0], arguments, environment);
    error = errno;
    _exit(write(channel[1], &error, sizeof error) != sizeof error);
  }
  close(channel[1]);
  ssize_t length = read(channel[0], &error, sizeof error);
  close(channel[0]);
  waitpid(child, &status, 0);
  errno = error;
  if (length > 0)
    text_add_result(result, -1);
  else
    text_add(result, "status %x", (unsigned)status);
  (void)count;
}

/* copyin PROGRAM FILE: a file of the system's, from its root, into the case */
static void verb_copyin(struct actor *actor, char **words, int count, struct text *result) {
  static char buffer[1 << 16];
  int from = openat(actor->root, words[0], O_RDONLY | O_CLOEXEC);
  int to = open(words[1], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
  ssize_t length = 0;
  if (from < 0)
    die("%s: %m", words[0]);
  while (to >= 0 && (length = read(from, buffer, sizeof buffer)) > 0)
    if (write(to, buffer, (size_t)length) != length)
      break;
  text_add_result(result, to < 0 ? -1 : length);
  close(from);
  if (to >= 0)
    close(to);
  (void)count;
}

const struct verb name_verbs[] = {
    {"mkdir", verb_mkdir, 1},       {"rmdir", verb_rmdir, 1},     {"unlink", verb_unlink, 1},
    {"mknod", verb_mknod, 3},       {"make", verb_make, 2},       {"link", verb_link, 2},
    {"linkproc", verb_linkproc, 2}, {"symlink", verb_symlink, 2}, {"readlink", verb_readlink, 1},
    {"rename", verb_rename, 2},     {"bind", verb_bind, 2},       {"connect", verb_connect, 1},
    {"exec", verb_exec, 1},         {"copyin", verb_copyin, 2},   {NULL, NULL, 0},
};
