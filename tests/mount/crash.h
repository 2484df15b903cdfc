/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the writers of crash.c did, in a file outside of the mount, and what of it must be there
 * after the daemon's death.  Each change is noted before it is tried, and what a sync promises
 * after it has returned; so at any moment the record says what may be found.
 */

#ifndef MOUNT_CRASH_H
#define MOUNT_CRASH_H

#include "spellings.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

enum {
  CRASH_WRITERS = 8,
  CRASH_PLACES = 3,                         /* directories of a writer */
  CRASH_NAMES = 12,                         /* in each */
  CRASH_SLOTS = CRASH_PLACES * CRASH_NAMES, /* of a writer */
  CRASH_OBJECTS = 120,                      /* files and directories of a writer */
  CRASH_UNITS = 64,                         /* of a file */
  CRASH_UNIT = 512,                         /* bytes: does not cross pages, so is never torn */
  CRASH_CANDIDATES = 8,
};

/* A part of a file that is always written whole: a stamp of the file, the place and the version. */
struct crash_unit {
  uint64_t current;  /* version, 0: zeros */
  uint64_t durable;  /* as of the last sync */
  uint64_t floor;    /* what is not the durable version must be newer than this */
  bool zeroed_since; /* may be zeros though the durable version is not */
};

struct crash_object {
  uint64_t token;   /* 0: not in use */
  uint64_t id;      /* inode number, 0: it was not told yet */
  uint64_t version; /* the last that was given out */
  bool directory;
  bool remove_tried;                       /* unlinked or replaced, perhaps */
  uint64_t size, least_size, largest_size; /* in units; the latter two since the last sync */
  uint64_t modes;                          /* bit m: mode 0600 + m is possible */
  unsigned mode;
  uint64_t label, durable_label; /* of the extended attribute, 0: none */
  bool modified_known;           /* nothing was written since the sync that left it at this */
  struct timespec modified;
  char history[32]; /* letters of what was done to it last, for failures */
  struct crash_unit units[CRASH_UNITS];
};

/* A name: what it may lead to, 1 + the object's index or 0 for nothing.  The first is the durable
 * one, the last the current one. */
struct crash_slot {
  unsigned count;
  unsigned candidates[CRASH_CANDIDATES];
};

struct crash_writer {
  struct crash_slot slots[CRASH_SLOTS];
  struct crash_object objects[CRASH_OBJECTS];
  uint64_t tokens; /* given out */
};

struct crash_record {
  bool prepared; /* the directories are there, durably */
  uint64_t runs;
  atomic_uint_fast64_t operations, syncs;
  struct crash_writer writers[CRASH_WRITERS];
};

static inline unsigned crash_current(const struct crash_slot *slot) {
  return slot->count ? slot->candidates[slot->count - 1] : 0;
}

static inline unsigned crash_durable(const struct crash_slot *slot) {
  return slot->count ? slot->candidates[0] : 0;
}

/* The stamp that a unit of that file, place and version holds. */
void crash_fill(unsigned char bytes[CRASH_UNIT], uint64_t token, uint64_t unit, uint64_t version);

/* "place1/name05", in lower case. */
void crash_path(char path[SPELLING], unsigned slot);

/* Compare what is mounted at directory with the record, and make the record what was found.
 * exact: after a clean end nothing may be missing but what the last operation of each did. */
void crash_verify(struct crash_record *record, const char *directory, bool exact);

#endif
