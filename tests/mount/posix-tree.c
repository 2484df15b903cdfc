/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The state of a case: every object with all that can be compared, a line each.
 */

#include "posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { LINKED = 4096 };

/* Objects with several names, and the first name of each. */
struct linked {
  ino_t inode;
  char *path;
};

struct walk {
  struct text *result;
  bool exact;
  struct linked linked[LINKED];
  size_t linked_count;
};

static void add_link_names(struct walk *walk, const struct stat *stat, const char *path) {
  text_add(walk->result, " links=%lu", (unsigned long)stat->st_nlink);
  if (stat->st_nlink < 2)
    return;
  for (size_t i = 0; i < walk->linked_count; i++)
    if (walk->linked[i].inode == stat->st_ino) {
      text_add(walk->result, " is %s", walk->linked[i].path);
      return;
    }
  if (walk->linked_count < LINKED)
    walk->linked[walk->linked_count++] = (struct linked){stat->st_ino, strdup(path)};
}

static void add_contents(struct walk *walk, const char *name) {
  static char buffer[1 << 20];
  int fd = open(name, O_RDONLY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
  uint64_t hash = 0;
  ssize_t length = -1, sum = 0;
  while (fd >= 0 && sum < (16 << 20) && (length = read(fd, buffer, sizeof buffer)) > 0) {
    hash = dice_mix(hash ^ text_hash(buffer, (size_t)length));
    sum += length;
  }
  text_add(walk->result, " ");
  if (length < 0)
    text_add_result(walk->result, -1);
  else
    text_add(walk->result, "%zd:%016lx", sum, hash);
  if (fd >= 0)
    close(fd);
}

static void add_target(struct walk *walk, const char *name) {
  char target[4200];
  ssize_t length = readlink(name, target, sizeof target - 1);
  text_add(walk->result, " -> ");
  if (length < 0)
    text_add_result(walk->result, -1);
  else {
    target[length] = 0;
    text_add_name(walk->result, target);
  }
}

static int compare_strings(const void *left, const void *right) {
  return strcmp(*(char *const *)left, *(char *const *)right);
}

static void add_xattrs(struct walk *walk, const char *name) {
  static char list[1 << 16], value[1 << 16];
  char *names[256];
  size_t count = 0;
  ssize_t length = llistxattr(name, list, sizeof list);
  if (length < 0 && errno != EOPNOTSUPP) {
    text_add(walk->result, " xattrs:");
    text_add_result(walk->result, -1);
  }
  for (char *at = list; at < list + length && count < 256; at += strlen(at) + 1)
    names[count++] = at;
  qsort(names, count, sizeof *names, compare_strings);
  for (size_t i = 0; i < count; i++) {
    ssize_t size = lgetxattr(name, names[i], value, sizeof value);
    text_add(walk->result, " ");
    text_add_name(walk->result, names[i]);
    text_add(walk->result, "=");
    text_add_result(walk->result, size);
    if (size > 0)
      text_add(walk->result, ":%016lx", text_hash(value, (size_t)size));
  }
}

static void add_object(struct walk *walk, const char *path, const char *name,
                       const struct stat *stat) {
  struct text *result = walk->result;
  text_add_name(result, path);
  text_add(result, " %06o %u:%u", stat->st_mode, stat->st_uid, stat->st_gid);
  if (!S_ISDIR(stat->st_mode)) {
    add_link_names(walk, stat, path);
    text_add(result, " size=%lld", (long long)stat->st_size);
  }
  if (walk->exact)
    text_add(result, " modified=%lld.%09ld changed=%lld.%09ld", (long long)stat->st_mtim.tv_sec,
             stat->st_mtim.tv_nsec, (long long)stat->st_ctim.tv_sec, stat->st_ctim.tv_nsec);
  else if (!S_ISFIFO(stat->st_mode)) { /* posix-expected.c: "times of a fifo" */
    text_add(result, " modified=");
    text_add_time(result, &stat->st_mtim);
  }
  if (S_ISREG(stat->st_mode))
    add_contents(walk, name);
  else if (S_ISLNK(stat->st_mode))
    add_target(walk, name);
  else if (S_ISCHR(stat->st_mode) || S_ISBLK(stat->st_mode))
    text_add(result, " device=%u:%u", major(stat->st_rdev), minor(stat->st_rdev));
  add_xattrs(walk, name);
  text_add(result, "\n");
}

static int not_dots(const struct dirent *entry) {
  return strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
}

static int compare_entries(const struct dirent **left, const struct dirent **right) {
  return strcmp((*left)->d_name, (*right)->d_name);
}

/* The current directory and all below. */
static void walk_here(struct walk *walk, const char *path) {
  struct dirent **entries;
  int count = scandir(".", &entries, not_dots, compare_entries);
  if (count < 0) {
    text_add(walk->result, "%s: ", path);
    text_add_result(walk->result, -1);
    text_add(walk->result, "\n");
  }
  for (int i = 0; i < count; i++) {
    const char *name = entries[i]->d_name;
    struct text below = {0};
    struct stat stat;
    text_add(&below, "%s%s%s", path, *path ? "/" : "", name);
    if (lstat(name, &stat)) {
      text_add_name(walk->result, below.bytes);
      text_add(walk->result, " ");
      text_add_result(walk->result, -1);
      text_add(walk->result, "\n");
    } else {
      add_object(walk, below.bytes, name, &stat);
      if (S_ISDIR(stat.st_mode) && chdir(name) == 0) {
        walk_here(walk, below.bytes);
        if (chdir(".."))
          die("chdir ..: %m");
      }
    }
    text_free(&below);
    free(entries[i]);
  }
  if (count >= 0)
    free(entries);
}

void tree_list(struct text *result, bool exact) {
  static struct walk walk;
  struct stat stat;
  walk.result = result;
  walk.exact = exact;
  walk.linked_count = 0;
  if (chdir("/case") || lstat(".", &stat)) {
    text_add_result(result, -1);
    return;
  }
  add_object(&walk, ".", ".", &stat);
  walk_here(&walk, "");
  for (size_t i = 0; i < walk.linked_count; i++)
    free(walk.linked[i].path);
}
