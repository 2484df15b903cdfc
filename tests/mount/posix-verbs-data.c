/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Verbs on open files: opening, reading, writing, holes, copying, mapping.
 */

#include "posix.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static const struct word open_words[] = {
    {"rd", O_RDONLY},
    {"wr", O_WRONLY},
    {"rdwr", O_RDWR},
    {"neither", O_ACCMODE},
    {"creat", O_CREAT},
    {"excl", O_EXCL},
    {"trunc", O_TRUNC},
    {"append", O_APPEND},
    {"nofollow", O_NOFOLLOW},
    {"directory", O_DIRECTORY},
    {"path", O_PATH},
    {"tmpfile", O_TMPFILE},
    {"direct", O_DIRECT},
    {"sync", O_SYNC},
    {"dsync", O_DSYNC},
    {"noatime", O_NOATIME},
    {NULL, 0},
};

static const struct word whence_words[] = {
    {"set", SEEK_SET},   {"cur", SEEK_CUR}, {"end", SEEK_END}, {"data", SEEK_DATA},
    {"hole", SEEK_HOLE}, {"unknown", 99},   {NULL, 0},
};

static const struct word allocate_words[] = {
    {"plain", 0},
    {"keep", FALLOC_FL_KEEP_SIZE},
    {"punch", FALLOC_FL_PUNCH_HOLE},
    {"zero", FALLOC_FL_ZERO_RANGE},
    {"collapse", FALLOC_FL_COLLAPSE_RANGE},
    {"insert", FALLOC_FL_INSERT_RANGE},
    {"unshare", FALLOC_FL_UNSHARE_RANGE},
    {NULL, 0},
};

/* What calls read into and write from: as O_DIRECT wants it. */
static char *data_buffer(void) {
  static char *buffer;
  if (!buffer && posix_memalign((void **)&buffer, 4096, DATA))
    die("out of memory");
  return buffer;
}

static size_t data_length(const char *word) {
  long length = words_size(word);
  if (length < 0 || length > DATA)
    die("%ld bytes are too many", length);
  return (size_t)length;
}

static void add_bytes(struct text *result, ssize_t length) {
  text_add_result(result, length);
  if (length > 0)
    text_add(result, " %016lx", text_hash(data_buffer(), (size_t)length));
}

/* --------------------------------------------------------------------- opening */

/* open SLOT FILE FLAGS [MODE]: never waits */
static void verb_open(struct actor *actor, char **words, int count, struct text *result) {
  struct target target = actor_target(actor, words[1]);
  int flags = (int)words_flags(open_words, words[2]) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  int fd = openat(target.fd, target.path, flags, count > 3 ? words_mode(words[3]) : 0644);
  actor_fill_slot(actor, words[0], fd);
  text_add_result(result, fd < 0 ? -1 : 0);
}

/* reopen SLOT OPENED FLAGS: through /proc/self/fd */
static void verb_reopen(struct actor *actor, char **words, int count, struct text *result) {
  char path[64];
  int flags = (int)words_flags(open_words, words[2]) | O_CLOEXEC | O_NONBLOCK;
  snprintf(path, sizeof path, "self/fd/%d", actor_slot(actor, words[1]));
  int fd = openat(actor->proc, path, flags, 0644);
  actor_fill_slot(actor, words[0], fd);
  text_add_result(result, fd < 0 ? -1 : 0);
  (void)count;
}

static void verb_dup(struct actor *actor, char **words, int count, struct text *result) {
  int fd = fcntl(actor_slot(actor, words[1]), F_DUPFD_CLOEXEC, 0);
  actor_fill_slot(actor, words[0], fd);
  text_add_result(result, fd < 0 ? -1 : 0);
  (void)count;
}

static void verb_close(struct actor *actor, char **words, int count, struct text *result) {
  int fd = actor_slot(actor, words[0]);
  text_add_result(result, close(fd));
  if (fd != 999)
    actor->slots[strtol(words[0], NULL, 10)] = -1;
  (void)count;
}

/* getfl SLOT */
static void verb_getfl(struct actor *actor, char **words, int count, struct text *result) {
  int flags = fcntl(actor_slot(actor, words[0]), F_GETFL);
  text_add_result(result, flags < 0 ? -1 : flags & (O_ACCMODE | O_APPEND | O_SYNC | O_PATH));
  (void)count;
}

/* setfl SLOT FLAGS */
static void verb_setfl(struct actor *actor, char **words, int count, struct text *result) {
  text_add_result(result, fcntl(actor_slot(actor, words[0]), F_SETFL,
                                O_NONBLOCK | (int)words_flags(open_words, words[1])));
  (void)count;
}

/* -------------------------------------------------------------- reading, writing */

/* write SLOT LENGTH SEED */
static void verb_write(struct actor *actor, char **words, int count, struct text *result) {
  size_t length = data_length(words[1]);
  dice_fill(data_buffer(), length, (uint64_t)words_size(words[2]));
  text_add_result(result, write(actor_slot(actor, words[0]), data_buffer(), length));
  (void)count;
}

/* put SLOT TEXT */
static void verb_put(struct actor *actor, char **words, int count, struct text *result) {
  text_add_result(result, write(actor_slot(actor, words[0]), words[1], strlen(words[1])));
  (void)count;
}

/* pwrite SLOT OFFSET LENGTH SEED [append] */
static void verb_pwrite(struct actor *actor, char **words, int count, struct text *result) {
  size_t length = data_length(words[2]);
  struct iovec vector = {data_buffer(), length};
  dice_fill(data_buffer(), length, (uint64_t)words_size(words[3]));
  text_add_result(result, pwritev2(actor_slot(actor, words[0]), &vector, 1, words_size(words[1]),
                                   count > 4 ? RWF_APPEND : 0));
}

/* read SLOT LENGTH */
static void verb_read(struct actor *actor, char **words, int count, struct text *result) {
  add_bytes(result, read(actor_slot(actor, words[0]), data_buffer(), data_length(words[1])));
  (void)count;
}

/* pread SLOT OFFSET LENGTH */
static void verb_pread(struct actor *actor, char **words, int count, struct text *result) {
  add_bytes(result, pread(actor_slot(actor, words[0]), data_buffer(), data_length(words[2]),
                          words_size(words[1])));
  (void)count;
}

/* get SLOT OFFSET LENGTH: as text */
static void verb_get(struct actor *actor, char **words, int count, struct text *result) {
  char *buffer = data_buffer();
  ssize_t length = pread(actor_slot(actor, words[0]), buffer, data_length(words[2]) & 1023,
                         words_size(words[1]));
  text_add_result(result, length);
  if (length > 0) {
    buffer[length] = 0;
    text_add(result, " ");
    text_add_name(result, buffer);
  }
  (void)count;
}

/* seek SLOT OFFSET WHENCE */
static void verb_seek(struct actor *actor, char **words, int count, struct text *result) {
  text_add_result(result, lseek(actor_slot(actor, words[0]), words_size(words[1]),
                                (int)words_flags(whence_words, words[2])));
  (void)count;
}

/* extents SLOT: where data begins and ends */
static void verb_extents(struct actor *actor, char **words, int count, struct text *result) {
  int fd = actor_slot(actor, words[0]);
  off_t at = 0;
  for (int i = 0; i < 100 && at >= 0; i++) {
    at = lseek(fd, at, i % 2 ? SEEK_HOLE : SEEK_DATA);
    text_add(result, "%s", i ? " " : "");
    text_add_result(result, at);
  }
  (void)count;
}

static void verb_ftruncate(struct actor *actor, char **words, int count, struct text *result) {
  text_add_result(result, ftruncate(actor_slot(actor, words[0]), words_size(words[1])));
  (void)count;
}

/* allocate SLOT MODE OFFSET LENGTH */
static void verb_allocate(struct actor *actor, char **words, int count, struct text *result) {
  text_add_result(result,
                  fallocate(actor_slot(actor, words[0]), (int)words_flags(allocate_words, words[1]),
                            words_size(words[2]), words_size(words[3])));
  (void)count;
}

/* Where one asks for -, the file's own position is used. */
static loff_t *offset_of(const char *word, loff_t *offset) {
  if (!strcmp(word, "-"))
    return NULL;
  *offset = words_size(word);
  return offset;
}

/* copy FROM OFFSET TO OFFSET LENGTH */
static void verb_copy(struct actor *actor, char **words, int count, struct text *result) {
  loff_t from = 0, to = 0;
  loff_t *from_offset = offset_of(words[1], &from), *to_offset = offset_of(words[3], &to);
  ssize_t length =
      copy_file_range(actor_slot(actor, words[0]), from_offset, actor_slot(actor, words[2]),
                      to_offset, (size_t)words_size(words[4]), 0);
  text_add_result(result, length);
  text_add(result, " %ld %ld", (long)from, (long)to);
  (void)count;
}

/* send TO FROM LENGTH */
static void verb_send(struct actor *actor, char **words, int count, struct text *result) {
  text_add_result(result, sendfile(actor_slot(actor, words[0]), actor_slot(actor, words[1]), NULL,
                                   (size_t)words_size(words[2])));
  (void)count;
}

static void verb_fsync(struct actor *actor, char **words, int count, struct text *result) {
  text_add_result(result, fsync(actor_slot(actor, words[0])));
  (void)count;
}

static void verb_fdatasync(struct actor *actor, char **words, int count, struct text *result) {
  text_add_result(result, fdatasync(actor_slot(actor, words[0])));
  (void)count;
}

static void verb_syncfs(struct actor *actor, char **words, int count, struct text *result) {
  text_add_result(result, syncfs(actor_slot(actor, words[0])));
  (void)count;
}

/* advise SLOT: forget what is cached, so that the next look asks the file system */
static void verb_advise(struct actor *actor, char **words, int count, struct text *result) {
  int fd = actor_slot(actor, words[0]);
  fdatasync(fd);
  errno = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  text_add_result(result, errno ? -1 : 0);
  (void)count;
}

/* ------------------------------------------------------------------------ maps */

static sigjmp_buf bus_error;

static void on_bus_error(int number) {
  (void)number;
  siglongjmp(bus_error, 1);
}

static int map_number(const char *word) {
  long number = strtol(word, NULL, 10);
  if (number < 0 || number >= MAPS)
    die("'%s' is no map", word);
  return (int)number;
}

static void unmap(struct actor *actor, int number) {
  if (actor->maps[number].address) {
    munmap(actor->maps[number].address, actor->maps[number].length);
    close(actor->maps[number].file);
  }
  actor->maps[number].address = NULL;
}

/* map MAP SLOT OFFSET LENGTH PROTECTION shared|private */
static void verb_map(struct actor *actor, char **words, int count, struct text *result) {
  int number = map_number(words[0]), protection = 0;
  size_t length = (size_t)words_size(words[3]);
  protection |= strchr(words[4], 'r') ? PROT_READ : 0;
  protection |= strchr(words[4], 'w') ? PROT_WRITE : 0;
  protection |= strchr(words[4], 'x') ? PROT_EXEC : 0;
  char *address =
      mmap(NULL, length, protection, strcmp(words[5], "shared") ? MAP_PRIVATE : MAP_SHARED,
           actor_slot(actor, words[1]), words_size(words[2]));
  text_add_result(result, address == MAP_FAILED ? -1 : 0);
  if (address == MAP_FAILED)
    return;
  unmap(actor, number);
  actor->maps[number].address = address;
  actor->maps[number].length = length;
  actor->maps[number].offset = (uint64_t)words_size(words[2]);
  char path[64];
  snprintf(path, sizeof path, "self/fd/%d", actor_slot(actor, words[1]));
  actor->maps[number].file = openat(actor->proc, path, O_PATH | O_CLOEXEC);
  (void)count;
}

/* A place in a map, or NULL. */
static char *mapped(struct actor *actor, const char *map, const char *offset, size_t length) {
  int number = map_number(map);
  size_t at = (size_t)words_size(offset);
  if (!actor->maps[number].address || at + length > actor->maps[number].length)
    return NULL;
  return actor->maps[number].address + at;
}

/* poke MAP OFFSET TEXT */
static void verb_poke(struct actor *actor, char **words, int count, struct text *result) {
  char *volatile at = mapped(actor, words[0], words[1], strlen(words[2]));
  signal(SIGBUS, on_bus_error);
  signal(SIGSEGV, on_bus_error);
  if (!at)
    text_add(result, "not mapped");
  else if (sigsetjmp(bus_error, 1))
    text_add(result, "a signal");
  else {
    memcpy(at, words[2], strlen(words[2]));
    text_add(result, "done");
  }
  signal(SIGBUS, SIG_DFL);
  signal(SIGSEGV, SIG_DFL);
  (void)count;
}

/* store MAP OFFSET TEXT: only what lies before the file's end */
static void verb_store(struct actor *actor, char **words, int count, struct text *result) {
  int number = map_number(words[0]);
  struct stat stat;
  size_t end = (size_t)words_size(words[1]) + strlen(words[2]);
  if (!actor->maps[number].address || fstat(actor->maps[number].file, &stat))
    text_add(result, "not mapped");
  else if ((uint64_t)stat.st_size < actor->maps[number].offset + end)
    text_add(result, "beyond the end");
  else
    verb_poke(actor, words, count, result);
}

/* peek MAP OFFSET LENGTH */
static void verb_peek(struct actor *actor, char **words, int count, struct text *result) {
  size_t length = data_length(words[2]);
  char *volatile at = mapped(actor, words[0], words[1], length);
  signal(SIGBUS, on_bus_error);
  signal(SIGSEGV, on_bus_error);
  if (!at)
    text_add(result, "not mapped");
  else if (sigsetjmp(bus_error, 1))
    text_add(result, "a signal");
  else {
    memcpy(data_buffer(), at, length);
    add_bytes(result, (ssize_t)length);
  }
  signal(SIGBUS, SIG_DFL);
  signal(SIGSEGV, SIG_DFL);
  (void)count;
}

static void verb_msync(struct actor *actor, char **words, int count, struct text *result) {
  int number = map_number(words[0]);
  if (!actor->maps[number].address)
    text_add(result, "not mapped");
  else
    text_add_result(result,
                    msync(actor->maps[number].address, actor->maps[number].length, MS_SYNC));
  (void)count;
}

static void verb_unmap(struct actor *actor, char **words, int count, struct text *result) {
  unmap(actor, map_number(words[0]));
  text_add(result, "0");
  (void)count;
}

const struct verb data_verbs[] = {
    {"open", verb_open, 3},
    {"reopen", verb_reopen, 3},
    {"dup", verb_dup, 2},
    {"close", verb_close, 1},
    {"getfl", verb_getfl, 1},
    {"setfl", verb_setfl, 2},
    {"write", verb_write, 3},
    {"put", verb_put, 2},
    {"pwrite", verb_pwrite, 4},
    {"read", verb_read, 2},
    {"pread", verb_pread, 3},
    {"get", verb_get, 3},
    {"seek", verb_seek, 3},
    {"extents", verb_extents, 1},
    {"ftruncate", verb_ftruncate, 2},
    {"allocate", verb_allocate, 4},
    {"copy", verb_copy, 5},
    {"send", verb_send, 3},
    {"fsync", verb_fsync, 1},
    {"fdatasync", verb_fdatasync, 1},
    {"syncfs", verb_syncfs, 1},
    {"advise", verb_advise, 1},
    {"map", verb_map, 6},
    {"poke", verb_poke, 3},
    {"peek", verb_peek, 3},
    {"msync", verb_msync, 1},
    {"unmap", verb_unmap, 1},
    {"store", verb_store, 3},
    {NULL, NULL, 0},
};
