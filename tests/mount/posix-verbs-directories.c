/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Verbs on directories: listing them, seeking in them, and listing while they change.
 *
 * Orders and offsets are a file system's own: what is compared is which entries came, how often.
 */

#include "posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ENTRIES = 8192 };

struct listing {
  char *names[ENTRIES];
  unsigned char types[ENTRIES];
  ino_t inodes[ENTRIES];
  long offsets[ENTRIES]; /* telldir before it */
  size_t count;
};

static struct listing listing;

static void listing_clear(void) {
  for (size_t i = 0; i < listing.count; i++)
    free(listing.names[i]);
  listing.count = 0;
}

/* The next entry into the listing: false at the end. */
static bool listing_next(DIR *directory) {
  long offset = telldir(directory);
  errno = 0;
  const struct dirent *entry = readdir(directory);
  if (!entry || listing.count == ENTRIES)
    return false;
  listing.names[listing.count] = strdup(entry->d_name);
  listing.types[listing.count] = entry->d_type;
  listing.inodes[listing.count] = entry->d_ino;
  listing.offsets[listing.count++] = offset;
  return true;
}

static bool is_dots(const char *name) {
  return !strcmp(name, ".") || !strcmp(name, "..");
}

/* The directory of a word, open for reading; answers what went wrong. */
static DIR *directory_of(struct actor *actor, const char *word, struct text *result) {
  struct target target = actor_target(actor, word);
  const char *path = target.whole ? "." : target.path;
  int fd = openat(target.fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *directory = fd < 0 ? NULL : fdopendir(fd);
  if (!directory)
    text_add_result(result, -1);
  return directory;
}

static int compare_indices(const void *left, const void *right) {
  return strcmp(listing.names[*(const size_t *)left], listing.names[*(const size_t *)right]);
}

static char letter_of_type(unsigned char type) {
  return "?pc?d?b?-?l?s?w?"[type & 15];
}

/* The numbers of the entries in the order of their names. */
static const size_t *in_order(void) {
  static size_t order[ENTRIES];
  for (size_t i = 0; i < listing.count; i++)
    order[i] = i;
  qsort(order, listing.count, sizeof *order, compare_indices);
  return order;
}

static void add_listing(struct text *result) {
  const size_t *order = in_order();
  text_add(result, "%zu:", listing.count);
  for (size_t i = 0; i < listing.count; i++) {
    text_add(result, " %c", letter_of_type(listing.types[order[i]]));
    text_add_name(result, listing.names[order[i]]);
  }
}

/* ls FILE: all entries and their types */
static void verb_ls(struct actor *actor, char **words, int count, struct text *result) {
  DIR *directory = directory_of(actor, words[0], result);
  if (!directory)
    return;
  listing_clear();
  while (listing_next(directory))
    continue;
  int error = errno;
  add_listing(result);
  if (error) {
    errno = error;
    text_add(result, " ");
    text_add_result(result, -1);
  }
  closedir(directory);
  (void)count;
}

/* inodes FILE: whether the entries have the inode numbers that stat tells */
static void verb_inodes(struct actor *actor, char **words, int count, struct text *result) {
  DIR *directory = directory_of(actor, words[0], result);
  struct stat stat;
  if (!directory)
    return;
  listing_clear();
  while (listing_next(directory))
    continue;
  text_add(result, "%zu", listing.count);
  const size_t *order = in_order();
  for (size_t i = 0; i < listing.count; i++) {
    const char *name = listing.names[order[i]];
    if (fstatat(dirfd(directory), name, &stat, AT_SYMLINK_NOFOLLOW) ||
        stat.st_ino != listing.inodes[order[i]]) {
      text_add(result, " not ");
      text_add_name(result, name);
    }
  }
  closedir(directory);
  (void)count;
}

/* fill DIRECTORY COUNT PREFIX: empty files PREFIX00000 and on */
static void verb_fill(struct actor *actor, char **words, int count, struct text *result) {
  char name[4096];
  long number = words_size(words[1]), made = 0;
  for (long i = 0; i < number; i++) {
    snprintf(name, sizeof name, "%s/%s%05ld", words[0], words[2], i);
    made += mknod(name, S_IFREG | 0644, 0) == 0;
  }
  text_add_result(result, made);
  (void)actor;
  (void)count;
}

/* --------------------------------------------------------------------- while it changes */

/* How often each name that starts with the prefix came, of that many. */
static void add_tally(struct text *result, const char *prefix, long number) {
  unsigned char *times = calloc((size_t)number + 1, 1);
  long once = 0, missed = 0;
  for (size_t i = 0; i < listing.count; i++) {
    size_t length = strlen(prefix);
    if (strncmp(listing.names[i], prefix, length))
      continue;
    long index = strtol(listing.names[i] + length, NULL, 10);
    if (index < number && times[index] < 255)
      times[index]++;
  }
  for (long i = 0; i < number; i++) {
    once += times[i] == 1;
    missed += times[i] == 0;
  }
  text_add(result, "%ld once, %ld never, %ld again and again", once, missed,
           number - once - missed);
  free(times);
}

/* seeks DIRECTORY: go back to each place that telldir told, in an order all mixed up */
static void verb_seeks(struct actor *actor, char **words, int count, struct text *result) {
  DIR *directory = directory_of(actor, words[0], result);
  size_t wrong = 0;
  if (!directory)
    return;
  listing_clear();
  while (listing_next(directory))
    continue;
  for (size_t i = 0; i < listing.count; i++) {
    size_t index = i * 7919 % listing.count;
    seekdir(directory, listing.offsets[index]);
    const struct dirent *entry = readdir(directory);
    wrong += !entry || strcmp(entry->d_name, listing.names[index]) != 0;
  }
  text_add(result, "%zu entries, %zu not found again", listing.count, wrong);
  closedir(directory);
  (void)count;
}

/* deleting DIRECTORY: remove each entry as it comes */
static void verb_deleting(struct actor *actor, char **words, int count, struct text *result) {
  DIR *directory = directory_of(actor, words[0], result);
  const struct dirent *entry;
  long removed = 0, left = 0;
  if (!directory)
    return;
  while ((entry = readdir(directory)))
    if (!is_dots(entry->d_name))
      removed += unlinkat(dirfd(directory), entry->d_name, 0) == 0;
  rewinddir(directory);
  while ((entry = readdir(directory)))
    left += !is_dots(entry->d_name);
  text_add(result, "%ld removed, %ld left", removed, left);
  closedir(directory);
  (void)count;
}

/* creating DIRECTORY COUNT PREFIX: make files while reading it; those of before came once each */
static void verb_creating(struct actor *actor, char **words, int count, struct text *result) {
  DIR *directory = directory_of(actor, words[0], result);
  char name[512];
  long made = 0, number = words_size(words[1]);
  if (!directory)
    return;
  listing_clear();
  while (listing_next(directory))
    if (made < number) {
      snprintf(name, sizeof name, "new%ld-%zu", made * 7919 % 10007, listing.count);
      made += mknodat(dirfd(directory), name, S_IFREG | 0644, 0) == 0;
    }
  add_tally(result, words[2], number);
  closedir(directory);
  (void)count;
}

/* renaming DIRECTORY COUNT PREFIX: rename every odd one while reading; the even ones came once */
static void verb_renaming(struct actor *actor, char **words, int count, struct text *result) {
  DIR *directory = directory_of(actor, words[0], result);
  char old[512], new[512];
  long number = words_size(words[1]), step = 0;
  if (!directory)
    return;
  listing_clear();
  while (listing_next(directory) && number > 0) {
    snprintf(old, sizeof old, "odd%05ld", step % number);
    snprintf(new, sizeof new, "moved%05ld", step * 31 % number);
    renameat(dirfd(directory), old, dirfd(directory), new);
    step++;
  }
  add_tally(result, words[2], number);
  closedir(directory);
  (void)count;
}

static void remove_listed(DIR *directory, size_t from) {
  for (size_t i = from; i < listing.count; i++)
    if (!is_dots(listing.names[i]))
      unlinkat(dirfd(directory), listing.names[i], 0);
}

/* resuming DIRECTORY COUNT PREFIX: read a half, remove it, seek to where it ended, read on; at the
 * end all are removed */
static void verb_resuming(struct actor *actor, char **words, int count, struct text *result) {
  DIR *directory = directory_of(actor, words[0], result);
  size_t half = (size_t)words_size(words[1]) / 2;
  if (!directory)
    return;
  listing_clear();
  while (listing.count < half && listing_next(directory))
    continue;
  long place = telldir(directory);
  remove_listed(directory, 0);
  seekdir(directory, listing.offsets[half > 0 ? half - 1 : 0]);
  readdir(directory);
  seekdir(directory, place);
  while (listing_next(directory))
    continue;
  remove_listed(directory, half);
  add_tally(result, words[2], words_size(words[1]));
  closedir(directory);
  (void)count;
}

/* restarting DIRECTORY COUNT PREFIX: as resuming, but between the two it goes to the start once */
static void verb_restarting(struct actor *actor, char **words, int count, struct text *result) {
  DIR *directory = directory_of(actor, words[0], result);
  size_t half = (size_t)words_size(words[1]) / 2;
  if (!directory)
    return;
  listing_clear();
  while (listing.count < half && listing_next(directory))
    continue;
  long place = telldir(directory);
  remove_listed(directory, 0);
  seekdir(directory, listing.offsets[0]);
  readdir(directory);
  seekdir(directory, place);
  while (listing_next(directory))
    continue;
  remove_listed(directory, half);
  add_tally(result, words[2], words_size(words[1]));
  closedir(directory);
  (void)count;
}

/* rewinding DIRECTORY: what was made and removed after the opening is seen after rewinddir */
static void verb_rewinding(struct actor *actor, char **words, int count, struct text *result) {
  DIR *directory = directory_of(actor, words[0], result);
  if (!directory)
    return;
  while (readdir(directory))
    continue;
  mknodat(dirfd(directory), "made-after", S_IFREG | 0644, 0);
  unlinkat(dirfd(directory), "removed-after", 0);
  rewinddir(directory);
  listing_clear();
  while (listing_next(directory))
    continue;
  add_listing(result);
  closedir(directory);
  (void)count;
}

/* small DIRECTORY SIZE: getdents64 with a buffer of that size only */
static void verb_small(struct actor *actor, char **words, int count, struct text *result) {
  static char buffer[1 << 16];
  struct target target = actor_target(actor, words[0]);
  int fd = openat(target.fd, target.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  long length = -1, entries = 0;
  while (fd >= 0 && (length = syscall(SYS_getdents64, fd, buffer, words_size(words[1]))) > 0)
    for (long at = 0; at < length; entries++)
      at += ((const struct dirent64 *)(buffer + at))->d_reclen;
  text_add_result(result, length);
  text_add(result, " %ld", entries);
  if (fd >= 0)
    close(fd);
  (void)count;
}

const struct verb directory_verbs[] = {
    {"ls", verb_ls, 1},
    {"inodes", verb_inodes, 1},
    {"fill", verb_fill, 3},
    {"seeks", verb_seeks, 1},
    {"deleting", verb_deleting, 1},
    {"creating", verb_creating, 3},
    {"renaming", verb_renaming, 3},
    {"resuming", verb_resuming, 3},
    {"restarting", verb_restarting, 3},
    {"rewinding", verb_rewinding, 1},
    {"small", verb_small, 2},
    {NULL, NULL, 0},
};
