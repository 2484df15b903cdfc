/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What each cell may hold.  Each thread keeps a list of its steps: the requests that change cells.
 * A step is sent, then done or failed; and it is durable once a flush that was sent after it was
 * done has succeeded, or if it was done with FUA.
 *
 * On a server that lives, a cell holds what the last done step left, or any failed step after
 * that one.  After a crash it may hold what the last durable step left, or any step after that
 * one, done or not; and each sector as a whole is as it was at one moment.
 */

#ifndef TIERS_JOURNAL_H
#define TIERS_JOURNAL_H

#include "layout.h"
#include "races.h"

#include <stdatomic.h>
#include <stddef.h>

enum step_state { STEP_SENT, STEP_DONE, STEP_FAILED };

struct step {
  uint64_t first; /* number of its first cell */
  uint32_t count;
  uint8_t state;
  bool fua;
  char letter;    /* for people */
  uint64_t value; /* 0: made zeros of them */
};

struct track {
  struct step *steps;
  _Atomic size_t finished;          /* steps that are done or failed */
  _Atomic size_t safe[MAX_VOLUMES]; /* steps of that volume before this one are flushed */
  size_t count, room;
};

struct journal {
  struct layout layout;
  uint64_t *start;    /* of each cell, its value when the round began, for certain and durably */
  uint64_t *current;  /* and after the steps that are done */
  uint8_t *uncertain; /* a failed step is later than current */
  struct races *races;
  struct track tracks[MAX_THREADS];
  _Atomic uint64_t next_number; /* of values */
  uint64_t round_number;        /* next_number when the round began */
};

enum journal_rule { RULE_ALIVE, RULE_CRASHED };

/* What the checks found, besides violations, which end the program. */
struct journal_counts {
  uint64_t cells;     /* looked at */
  uint64_t survivors; /* after a crash: cells with a step since the round began */
  uint64_t lost;      /* after a crash: cells that went back to a step before the last */
};

/* has_base: the volumes begin with base_value. */
void journal_init(struct journal *journal, const struct layout *layout, bool has_base);

/* A step is about to be sent.  Its index, for journal_end. */
size_t journal_begin(struct journal *journal, unsigned thread, const struct step *step);
void journal_end(struct journal *journal, unsigned thread, size_t index, enum step_state state);

/* A flush of a volume: note what it covers, before it is sent; and that it succeeded. */
struct journal_flush {
  unsigned volume;
  size_t covered[MAX_THREADS];
};
void journal_flush_begin(struct journal *journal, unsigned volume, struct journal_flush *flush);
void journal_flush_end(struct journal *journal, const struct journal_flush *flush);

/* A thread has read a cell that it owns. */
void journal_check_read(struct journal *journal, uint64_t number, const unsigned char *bytes);

/* Nobody is at work: check count cells of a volume from a sector's border on, which were read, and
 * take what they hold for certain. */
void journal_settle(struct journal *journal, unsigned volume, uint64_t cell, uint64_t count,
                    const unsigned char *bytes, enum journal_rule rule,
                    struct journal_counts *counts);

/* Nobody is at work, and all is settled and durable. */
void journal_new_round(struct journal *journal);

#endif
