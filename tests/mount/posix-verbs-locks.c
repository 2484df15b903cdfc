/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Verbs on locks: flock(2), of processes (POSIX), and of open files (OFD).
 */

#include "posix.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/time.h>
#include <unistd.h>

static const struct word flock_words[] = {
    {"shared", LOCK_SH}, {"exclusive", LOCK_EX}, {"none", LOCK_UN}, {NULL, 0}};

static const struct word lock_words[] = {
    {"rd", F_RDLCK}, {"wr", F_WRLCK}, {"none", F_UNLCK}, {NULL, 0}};

/* Interrupt the call that follows, if it waits that long. */
static void limit_wait(unsigned milliseconds) {
  struct itimerval timer = {{0, 0}, {milliseconds / 1000, milliseconds % 1000 * 1000}};
  setitimer(ITIMER_REAL, &timer, NULL);
}

/* flock SLOT shared|exclusive|none */
static void verb_flock(struct actor *actor, char **words, int count, struct text *result) {
  int how = (int)words_flags(flock_words, words[1]) | LOCK_NB;
  text_add_result(result, flock(actor_slot(actor, words[0]), how));
  (void)count;
}

/* waitflock SLOT shared|exclusive MILLISECONDS */
static void verb_waitflock(struct actor *actor, char **words, int count, struct text *result) {
  limit_wait((unsigned)words_size(words[2]));
  int error = flock(actor_slot(actor, words[0]), (int)words_flags(flock_words, words[1]));
  text_add_result(result, error);
  limit_wait(0);
  (void)count;
}

/* SLOT rd|wr|none START LENGTH [cur|end] */
static struct flock lock_of(char **words, int count) {
  struct flock lock = {
      .l_type = (short)words_flags(lock_words, words[1]),
      .l_start = words_size(words[2]),
      .l_len = words_size(words[3]),
      .l_whence = SEEK_SET,
  };
  if (count > 4)
    lock.l_whence = strcmp(words[4], "cur") ? SEEK_END : SEEK_CUR;
  return lock;
}

static void set_lock(struct actor *actor, int command, char **words, int count,
                     struct text *result) {
  struct flock lock = lock_of(words, count);
  text_add_result(result, fcntl(actor_slot(actor, words[0]), command, &lock));
}

static void verb_lock(struct actor *actor, char **words, int count, struct text *result) {
  set_lock(actor, F_SETLK, words, count, result);
}

static void verb_ofdlock(struct actor *actor, char **words, int count, struct text *result) {
  set_lock(actor, F_OFD_SETLK, words, count, result);
}

/* waitlock SLOT rd|wr START LENGTH: for two seconds at most */
static void verb_waitlock(struct actor *actor, char **words, int count, struct text *result) {
  limit_wait(2000);
  set_lock(actor, F_SETLKW, words, count, result);
  limit_wait(0);
}

static void add_owner(struct actor *actor, pid_t pid, struct text *result) {
  for (int i = 0; i < ACTORS; i++)
    if (actor->pids[i] == pid) {
      text_add(result, " of actor %d", i);
      return;
    }
  text_add(result, " of %s", pid == -1 ? "an open file" : "somebody");
}

static void get_lock(struct actor *actor, int command, char **words, int count,
                     struct text *result) {
  struct flock lock = lock_of(words, count);
  int error = fcntl(actor_slot(actor, words[0]), command, &lock);
  text_add_result(result, error);
  if (error)
    return;
  text_add(result, " %s", lock.l_type == F_UNLCK ? "none" : lock.l_type == F_RDLCK ? "rd" : "wr");
  if (lock.l_type == F_UNLCK)
    return;
  text_add(result, " %ld %ld", (long)lock.l_start, (long)lock.l_len);
  add_owner(actor, lock.l_pid, result);
}

static void verb_getlock(struct actor *actor, char **words, int count, struct text *result) {
  get_lock(actor, F_GETLK, words, count, result);
}

static void verb_getofdlock(struct actor *actor, char **words, int count, struct text *result) {
  get_lock(actor, F_OFD_GETLK, words, count, result);
}

const struct verb lock_verbs[] = {
    {"flock", verb_flock, 2},
    {"waitflock", verb_waitflock, 3},
    {"lock", verb_lock, 4},
    {"ofdlock", verb_ofdlock, 4},
    {"waitlock", verb_waitlock, 4},
    {"getlock", verb_getlock, 4},
    {"getofdlock", verb_getofdlock, 4},
    {NULL, NULL, 0},
};
