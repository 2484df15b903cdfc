/* SPDX-License-Identifier: BSD-3-Clause
 *
 * posix-compare: the same operations on two file systems, and what they answer compared.
 *
 *   cases (text) ──┐
 *                  ├─> engine ──> actors of the reference ──> calls in one directory
 *   random lines ──┘      │   └─> actors of the subject ────> calls in the other
 *                         └─> results compared, differences looked up in the table
 *
 * An operation is a line of text:   verb argument...   e.g.  rename d/a b noreplace
 * posix-verbs.c lists the verbs.  What differs by nature between two file systems (inode numbers,
 * sizes of directories) is in no result.
 *
 * The actors are chrooted to the case, so that nothing random comes near the rest of the system.
 *
 *   FILE       a path, from the directory of the case; &3 what is open in slot 3; &3/name from
 * there 1: verb    done by actor 1, a process of its own (0 where nothing is said) start 1 verb ...
 * the same without waiting for the result, which  finish 1  fetches times d,d/f,+new: verb ...
 * tells also which times change, of d and d/f; those of new after it
 *
 * In words: \xHH is a byte, {ab*3} is ababab, '' is nothing.
 */

#ifndef CASEFS_POSIX_H
#define CASEFS_POSIX_H

#include "../casefs/dice.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

enum {
  ACTORS = 3,
  SLOTS = 8,
  MAPS = 2,
  WORDS = 16,       /* in a line */
  DATA = 4u << 20,  /* bytes that one call moves at most */
  LINE = 16u << 10, /* bytes of a line */
};

/* ----------------------------------------------------------------------- text */

struct text {
  char *bytes; /* ends with a zero, if not NULL */
  size_t length, size;
};

void text_clear(struct text *text);
void text_free(struct text *text);
void text_append(struct text *text, const char *bytes, size_t length);
__attribute__((format(printf, 2, 3))) void text_add(struct text *text, const char *format, ...);
/* The name of errno, or the value if it is not negative. */
void text_add_result(struct text *text, long value);
/* Bytes so that they can be read, and are one word. */
void text_add_name(struct text *text, const char *name);
uint64_t text_hash(const void *bytes, size_t length);
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

/* ---------------------------------------------------------------------- words */

struct word {
  const char *name;
  long value;
};

/* Split a line in place into at most WORDS words and undo their escapes. */
int words_split(char *line, char *words[WORDS], struct text *storage);
/* "rdwr,creat": the sum; ends the program at a word that is not there. */
long words_flags(const struct word *table, const char *names);
long words_size(const char *word); /* 12, 4K, -1, 3M+1 */
mode_t words_mode(const char *word);

/* --------------------------------------------------------------------- actors */

/* The state of a process that makes the calls of one side. */
struct actor {
  int index;
  pid_t *pids;      /* of all actors of the side, shared */
  int root, proc;   /* the system's root directory and its /proc, from before the chroot */
  int slots[SLOTS]; /* -1: empty */
  struct {
    char *address;
    size_t length;
    uint64_t offset;
    int file; /* opened with O_PATH: its size can be asked */
  } maps[MAPS];
  uid_t uid; /* whose rights it has now */
  long tick; /* nanoseconds between two times that the kernel tells apart */
};

/* What a verb works on.  A slot alone has an empty path and `whole`. */
struct target {
  int fd;
  const char *path;
  bool whole;
};

struct target actor_target(struct actor *actor, const char *word);
int actor_slot(struct actor *actor, const char *word); /* 999 where none is open: EBADF */
void actor_fill_slot(struct actor *actor, const char *word, int fd);
/* Look at something with root's rights, and go back to those the actor has. */
void actor_as_root(struct actor *actor);
void actor_as_itself(struct actor *actor);
/* In a child process: see all of the system again, as a program needs it that is run. */
void actor_leave_place(struct actor *actor);
/* Serve lines from the socket until it ends. */
__attribute__((noreturn)) void actor_run(int socket, int index, pid_t *pids);
void actor_perform(struct actor *actor, char *line, struct text *result);

typedef void verb_function(struct actor *actor, char **words, int count, struct text *result);
struct verb {
  const char *name;
  verb_function *function;
  int least; /* arguments */
};
extern const struct verb name_verbs[], data_verbs[], attribute_verbs[], lock_verbs[],
    directory_verbs[];

/* exact: times of modification and change to the nanosecond, as one side alone keeps them */
void tree_list(struct text *result, bool exact);
/* A time that lies within a day of now is told as "now". */
void text_add_time(struct text *text, const struct timespec *time);

/* --------------------------------------------------------------------- engine */

struct side {
  const char *root;
  char place[4096]; /* what the actors see as their root; the case is in its directory "case" */
  pid_t *pids;
  int sockets[ACTORS];
  struct text result;
};

enum { REFERENCE, SUBJECT, SIDES };

/* The two, lock step by lock step. */
struct engine {
  struct side sides[SIDES];
  uint64_t operations, compared;
  uint64_t cases;      /* begun */
  bool trace;          /* print every line and the reference's answer */
  const char *remount; /* a command that unmounts both and mounts them again, or NULL */
};

void engine_start(struct engine *engine, const char *reference, const char *subject);
void engine_stop(struct engine *engine);
/* A new empty directory on both sides, actors as new. */
void engine_begin(struct engine *engine);
void engine_end(struct engine *engine);
/* Remount both while the actors are elsewhere, and print what the subject has forgotten by that. */
bool engine_remount(struct engine *engine);
/* True if both answered the same; the answers are in sides[].result. */
bool engine_perform(struct engine *engine, const char *line);

/* ---------------------------------------------------------------- differences */

struct expectation {
  const char *name;
  const char *reason;
  const char *line;      /* fnmatch(3) patterns: the operation, */
  const char *reference; /* what the reference answers, */
  const char *subject;   /* what the other does */
  const char *group;     /* the scripted group in which it must occur; NULL: random ones only */
  bool only_access_time; /* and nothing else but access times may differ */
  uint64_t seen;
};

extern struct expectation expectations[];
extern const size_t expectation_count;

struct difference {
  const char *group, *title, *line;
  const char *results[SIDES];
};

/* The entry of the table for it, or NULL. */
struct expectation *expectation_of(const struct difference *difference);
/* What is in one and not in the other, line by line. */
void report_results(const char *reference, const char *subject);
void report_difference(const struct difference *difference, bool verbose);
/* Prints the counts; true if all differences were expected, and, with complete, all expected
 * ones of the groups that ran occurred. */
bool report_summary(const struct engine *engine, const char *only, bool complete);

/* ------------------------------------------------------------------- contents */

struct case_group {
  const char *name;
  const char *script;
};
extern const struct case_group groups[];
extern const size_t group_count;

void script_run(struct engine *engine, const struct case_group *group);
void random_run(struct engine *engine, uint64_t seed, uint64_t operations);
/* The shortest of these lines that still answer differently, to stdout. */
void reduce(struct engine *engine, char *const *lines, size_t count);

#endif
