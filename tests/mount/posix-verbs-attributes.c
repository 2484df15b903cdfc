/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Verbs on attributes: mode, owner, size, times, access, extended attributes, ACLs.
 */

#include "posix.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static const struct word xattr_words[] = {
    {"any", 0}, {"create", XATTR_CREATE}, {"replace", XATTR_REPLACE}, {NULL, 0}};

/* Calls follow a symbolic link unless the last argument is this. */
static bool says_nofollow(char **words, int count) {
  return count > 0 && !strcmp(words[count - 1], "nofollow");
}

static char type_letter(mode_t mode) {
  return "?pc?d?b?-?l?s???"[mode >> 12 & 15];
}

/* ------------------------------------------------------------------------- stat */

static void add_stat(struct text *result, const struct stat *stat) {
  text_add(result, "%c%04o %u:%u", type_letter(stat->st_mode), stat->st_mode & 07777, stat->st_uid,
           stat->st_gid);
  if (!S_ISDIR(stat->st_mode))
    text_add(result, " links=%lu size=%lld", (unsigned long)stat->st_nlink,
             (long long)stat->st_size);
  if (S_ISCHR(stat->st_mode) || S_ISBLK(stat->st_mode))
    text_add(result, " device=%u:%u", major(stat->st_rdev), minor(stat->st_rdev));
}

static void stat_target(struct actor *actor, const char *word, int flags, struct text *result) {
  struct target target = actor_target(actor, word);
  struct stat stat;
  if (target.whole)
    flags |= AT_EMPTY_PATH;
  if (fstatat(target.fd, target.path, &stat, flags))
    text_add_result(result, -1);
  else
    add_stat(result, &stat);
}

static void verb_stat(struct actor *actor, char **words, int count, struct text *result) {
  stat_target(actor, words[0], 0, result);
  (void)count;
}

static void verb_lstat(struct actor *actor, char **words, int count, struct text *result) {
  stat_target(actor, words[0], AT_SYMLINK_NOFOLLOW, result);
  (void)count;
}

/* nlink FILE: of a directory too */
static void verb_nlink(struct actor *actor, char **words, int count, struct text *result) {
  struct target target = actor_target(actor, words[0]);
  struct stat stat;
  int error = fstatat(target.fd, target.path, &stat, target.whole ? AT_EMPTY_PATH : 0);
  text_add_result(result, error ? -1 : (long)stat.st_nlink);
  (void)count;
}

/* blocks FILE: in which relation to the size */
static void verb_blocks(struct actor *actor, char **words, int count, struct text *result) {
  struct target target = actor_target(actor, words[0]);
  struct stat stat;
  if (fstatat(target.fd, target.path, &stat, target.whole ? AT_EMPTY_PATH : 0))
    text_add_result(result, -1);
  else
    text_add(result, "%s", stat.st_blocks * 512 < stat.st_size ? "fewer than the size" : "all");
  (void)count;
}

/* stamps FILE: access and modification times, if they are not now */
static void verb_stamps(struct actor *actor, char **words, int count, struct text *result) {
  struct target target = actor_target(actor, words[0]);
  struct stat stat;
  int flags = AT_SYMLINK_NOFOLLOW | (target.whole ? AT_EMPTY_PATH : 0);
  if (fstatat(target.fd, target.path, &stat, flags)) {
    text_add_result(result, -1);
    return;
  }
  text_add_time(result, &stat.st_atim);
  text_add(result, " ");
  text_add_time(result, &stat.st_mtim);
  (void)count;
}

/* same FILE FILE */
static void verb_same(struct actor *actor, char **words, int count, struct text *result) {
  struct stat stats[2];
  for (int i = 0; i < 2; i++) {
    struct target target = actor_target(actor, words[i]);
    if (fstatat(target.fd, target.path, &stats[i],
                AT_SYMLINK_NOFOLLOW | (target.whole ? AT_EMPTY_PATH : 0))) {
      text_add_result(result, -1);
      return;
    }
  }
  bool same = stats[0].st_ino == stats[1].st_ino && stats[0].st_dev == stats[1].st_dev;
  text_add(result, "%s", same ? "same" : "others");
  (void)count;
}

/* born FILE: whether statx tells when, and that it was not after the change */
static void verb_born(struct actor *actor, char **words, int count, struct text *result) {
  struct target target = actor_target(actor, words[0]);
  struct statx statx_;
  int flags = AT_SYMLINK_NOFOLLOW | (target.whole ? AT_EMPTY_PATH : 0);
  if (statx(target.fd, target.path, flags, STATX_BASIC_STATS | STATX_BTIME, &statx_)) {
    text_add_result(result, -1);
    return;
  }
  bool right = statx_.stx_btime.tv_sec < statx_.stx_ctime.tv_sec + 1;
  text_add(result, "%s", !(statx_.stx_mask & STATX_BTIME) ? "untold" : right ? "before" : "after");
  (void)count;
}

/* statfs FILE: what must hold on any file system */
static void verb_statfs(struct actor *actor, char **words, int count, struct text *result) {
  struct target target = actor_target(actor, words[0]);
  struct statvfs fs;
  if (target.whole ? fstatvfs(target.fd, &fs) : statvfs(target.path, &fs)) {
    text_add_result(result, -1);
    return;
  }
  text_add(result, "block %lu fragment %lu%s%s%s name-max %lu flags %lx", fs.f_bsize, fs.f_frsize,
           fs.f_blocks > 0 ? " size" : "", fs.f_bfree <= fs.f_blocks ? " free<=size" : "",
           fs.f_bavail <= fs.f_bfree ? " avail<=free" : "", fs.f_namemax,
           fs.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC));
  (void)count;
}

/* ------------------------------------------------------------------ mode, owner */

/* chmod FILE MODE */
static void verb_chmod(struct actor *actor, char **words, int count, struct text *result) {
  struct target target = actor_target(actor, words[0]);
  mode_t mode = words_mode(words[1]);
  text_add_result(result, target.whole ? fchmod(target.fd, mode)
                                       : fchmodat(target.fd, target.path, mode, 0));
  (void)count;
}

/* chown FILE UID GID [nofollow] */
static void verb_chown(struct actor *actor, char **words, int count, struct text *result) {
  struct target target = actor_target(actor, words[0]);
  int flags = says_nofollow(words, count) ? AT_SYMLINK_NOFOLLOW : 0;
  flags |= target.whole ? AT_EMPTY_PATH : 0;
  text_add_result(result, fchownat(target.fd, target.path, (uid_t)words_size(words[1]),
                                   (gid_t)words_size(words[2]), flags));
}

static void verb_truncate(struct actor *actor, char **words, int count, struct text *result) {
  text_add_result(result, truncate(words[0], words_size(words[1])));
  (void)actor;
  (void)count;
}

/* ------------------------------------------------------------------------- times */

static struct timespec time_word(const char *word) {
  struct timespec time = {0, 0};
  char *end;
  if (!strcmp(word, "now"))
    time.tv_nsec = UTIME_NOW;
  else if (!strcmp(word, "omit"))
    time.tv_nsec = UTIME_OMIT;
  else {
    time.tv_sec = strtoll(word, &end, 10);
    time.tv_nsec = *end ? strtol(end + 1, NULL, 10) : 0;
  }
  return time;
}

/* utimes FILE ACCESSED MODIFIED [nofollow]: now, omit, SECONDS.NANOSECONDS */
static void verb_utimes(struct actor *actor, char **words, int count, struct text *result) {
  struct target target = actor_target(actor, words[0]);
  struct timespec times[2] = {time_word(words[1]), time_word(words[2])};
  int flags = says_nofollow(words, count) ? AT_SYMLINK_NOFOLLOW : 0;
  text_add_result(result, target.whole ? futimens(target.fd, times)
                                       : utimensat(target.fd, target.path, times, flags));
}

/* utimesnull FILE */
static void verb_utimesnull(struct actor *actor, char **words, int count, struct text *result) {
  struct target target = actor_target(actor, words[0]);
  text_add_result(result, target.whole ? futimens(target.fd, NULL)
                                       : utimensat(target.fd, target.path, NULL, 0));
  (void)count;
}

/* access FILE MODE [effective]: of r, w, x, and f */
static void verb_access(struct actor *actor, char **words, int count, struct text *result) {
  struct target target = actor_target(actor, words[0]);
  int mode = F_OK;
  mode |= strchr(words[1], 'r') ? R_OK : 0;
  mode |= strchr(words[1], 'w') ? W_OK : 0;
  mode |= strchr(words[1], 'x') ? X_OK : 0;
  int flags = target.whole ? AT_EMPTY_PATH : 0;
  flags |= count > 2 && !strcmp(words[2], "effective") ? AT_EACCESS : 0;
  flags |= says_nofollow(words, count) ? AT_SYMLINK_NOFOLLOW : 0;
  text_add_result(result, syscall(SYS_faccessat2, target.fd, target.path, mode, flags));
}

/* -------------------------------------------------------------- extended attributes */

static int set_xattr(struct target target, const char *name, const void *value, size_t length,
                     int flags, bool nofollow) {
  if (target.whole)
    return fsetxattr(target.fd, name, value, length, flags);
  return nofollow ? lsetxattr(target.path, name, value, length, flags)
                  : setxattr(target.path, name, value, length, flags);
}

static ssize_t get_xattr(struct target target, const char *name, void *value, size_t size,
                         bool nofollow) {
  if (target.whole)
    return fgetxattr(target.fd, name, value, size);
  return nofollow ? lgetxattr(target.path, name, value, size)
                  : getxattr(target.path, name, value, size);
}

/* setxattr FILE NAME LENGTH SEED any|create|replace [nofollow] */
static void verb_setxattr(struct actor *actor, char **words, int count, struct text *result) {
  static char value[1 << 17];
  size_t length = (size_t)words_size(words[2]);
  if (length > sizeof value)
    die("%zu bytes are too many", length);
  dice_fill(value, length, (uint64_t)words_size(words[3]));
  text_add_result(result,
                  set_xattr(actor_target(actor, words[0]), words[1], value, length,
                            (int)words_flags(xattr_words, words[4]), says_nofollow(words, count)));
}

/* setcapability FILE: cap_net_raw=ep */
static void verb_setcapability(struct actor *actor, char **words, int count, struct text *result) {
  static const unsigned char value[20] = {1, 0, 0, 2, 0, 0x20};
  text_add_result(result, set_xattr(actor_target(actor, words[0]), "security.capability", value,
                                    sizeof value, 0, false));
  (void)count;
}

/* getxattr FILE NAME [SIZE] [nofollow] */
static void verb_getxattr(struct actor *actor, char **words, int count, struct text *result) {
  static char value[1 << 17];
  bool nofollow = says_nofollow(words, count);
  size_t size = count - nofollow > 2 ? (size_t)words_size(words[2]) : sizeof value;
  ssize_t length = get_xattr(actor_target(actor, words[0]), words[1], value, size, nofollow);
  text_add_result(result, length);
  if (length > 0 && size > 0)
    text_add(result, " %016lx", text_hash(value, (size_t)length));
}

/* removexattr FILE NAME [nofollow] */
static void verb_removexattr(struct actor *actor, char **words, int count, struct text *result) {
  struct target target = actor_target(actor, words[0]);
  text_add_result(result, target.whole                  ? fremovexattr(target.fd, words[1])
                          : says_nofollow(words, count) ? lremovexattr(target.path, words[1])
                                                        : removexattr(target.path, words[1]));
}

static int compare_names(const void *left, const void *right) {
  return strcmp(*(char *const *)left, *(char *const *)right);
}

static void add_names(struct text *result, char *list, size_t length) {
  char *names[1024];
  size_t count = 0;
  for (char *name = list; name < list + length && count < 1024; name += strlen(name) + 1)
    names[count++] = name;
  qsort(names, count, sizeof *names, compare_names);
  for (size_t i = 0; i < count; i++) {
    text_add(result, " ");
    text_add_name(result, names[i]);
  }
}

/* listxattr FILE [SIZE] [nofollow] */
static void verb_listxattr(struct actor *actor, char **words, int count, struct text *result) {
  static char list[1 << 17];
  struct target target = actor_target(actor, words[0]);
  bool nofollow = says_nofollow(words, count);
  size_t size = count - nofollow > 1 ? (size_t)words_size(words[1]) : sizeof list;
  ssize_t length = target.whole ? flistxattr(target.fd, list, size)
                   : nofollow   ? llistxattr(target.path, list, size)
                                : listxattr(target.path, list, size);
  text_add_result(result, length);
  if (length > 0 && size > 0)
    add_names(result, list, (size_t)length);
}

/* -------------------------------------------------------------------------- ACLs */

static void put16(unsigned char *at, unsigned value) {
  at[0] = (unsigned char)value;
  at[1] = (unsigned char)(value >> 8);
}

static void put32(unsigned char *at, uint32_t value) {
  put16(at, value & 0xffff);
  put16(at + 2, value >> 16);
}

/* "u::rw-" and so on; returns the tag, and moves behind the qualifier. */
static unsigned acl_tag(const char **text, uint32_t *id) {
  char kind = **text;
  const char *at = strchr(*text, ':');
  char *end;
  if (!at)
    die("'%s' is no ACL entry", *text);
  *id = UINT32_MAX;
  bool named = at[1] != ':';
  if (named)
    *id = (uint32_t)strtoul(at + 1, &end, 10);
  *text = named ? end + 1 : at + 2;
  return kind == 'u' ? 1 + named : kind == 'g' ? 4 + 4 * named : kind == 'm' ? 16 : 32;
}

/* setacl FILE access|default u::rwx,u:1001:r--,g::r-x,m::rwx,o::---; "none": empty */
static void verb_setacl(struct actor *actor, char **words, int count, struct text *result) {
  unsigned char value[4 + 8 * 32];
  size_t length = 4;
  put32(value, 2);
  for (const char *at = strcmp(words[2], "none") ? words[2] : ""; *at && length < sizeof value;) {
    uint32_t id;
    unsigned tag = acl_tag(&at, &id);
    unsigned rights = (at[0] == 'r') * 4u + (at[1] == 'w') * 2u + (at[2] == 'x') * 1u;
    put16(value + length, tag);
    put16(value + length + 2, rights);
    put32(value + length + 4, id);
    length += 8;
    at += 3;
    at += *at == ',';
  }
  text_add_result(result, set_xattr(actor_target(actor, words[0]),
                                    strcmp(words[1], "default") ? "system.posix_acl_access"
                                                                : "system.posix_acl_default",
                                    value, length, 0, false));
  (void)count;
}

static void add_acl(struct text *result, const unsigned char *value, ssize_t length) {
  for (ssize_t at = 4; at + 8 <= length; at += 8) {
    unsigned tag = value[at], rights = value[at + 2];
    uint32_t id = (uint32_t)(value[at + 4] | value[at + 5] << 8 | value[at + 6] << 16 |
                             (unsigned)value[at + 7] << 24);
    text_add(result, " %c:", tag < 4 ? 'u' : tag < 16 ? 'g' : tag == 16 ? 'm' : 'o');
    if (tag == 2 || tag == 8)
      text_add(result, "%u", id);
    text_add(result, ":%c%c%c", rights & 4 ? 'r' : '-', rights & 2 ? 'w' : '-',
             rights & 1 ? 'x' : '-');
  }
}

/* getacl FILE access|default */
static void verb_getacl(struct actor *actor, char **words, int count, struct text *result) {
  unsigned char value[1024];
  ssize_t length = get_xattr(actor_target(actor, words[0]),
                             strcmp(words[1], "default") ? "system.posix_acl_access"
                                                         : "system.posix_acl_default",
                             value, sizeof value, false);
  text_add_result(result, length);
  if (length > 0)
    add_acl(result, value, length);
  (void)count;
}

/* flags FILE: whether those of chattr(1) can be read */
static void verb_flags(struct actor *actor, char **words, int count, struct text *result) {
  int fd = open(words[0], O_RDONLY | O_CLOEXEC | O_NONBLOCK), flags = 0;
  text_add_result(result, fd < 0 ? -1 : ioctl(fd, FS_IOC_GETFLAGS, &flags));
  if (fd >= 0)
    close(fd);
  (void)actor;
  (void)count;
}

const struct verb attribute_verbs[] = {
    {"stat", verb_stat, 1},
    {"lstat", verb_lstat, 1},
    {"nlink", verb_nlink, 1},
    {"blocks", verb_blocks, 1},
    {"stamps", verb_stamps, 1},
    {"same", verb_same, 2},
    {"born", verb_born, 1},
    {"statfs", verb_statfs, 1},
    {"chmod", verb_chmod, 2},
    {"chown", verb_chown, 3},
    {"truncate", verb_truncate, 2},
    {"utimes", verb_utimes, 3},
    {"utimesnull", verb_utimesnull, 1},
    {"access", verb_access, 2},
    {"setxattr", verb_setxattr, 5},
    {"setcapability", verb_setcapability, 1},
    {"getxattr", verb_getxattr, 2},
    {"removexattr", verb_removexattr, 2},
    {"listxattr", verb_listxattr, 1},
    {"setacl", verb_setacl, 3},
    {"getacl", verb_getacl, 2},
    {"flags", verb_flags, 1},
    {NULL, NULL, 0},
};
