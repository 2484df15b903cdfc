/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A disk in memory that fails on demand, and remembers what was asked of it, so
 * that what a power cut at any moment could have left can be made afterwards.
 *
 *   recording:  write write FLUSH write discard write-durable write | FLUSH ...
 *                                 ^--------- pending ------------^ ^ cut
 *
 * After a cut, everything before the last flush is there, and durable writes
 * that returned; of the other pending ones any may be, whole or by sectors, and
 * so may the one that was under way.
 */

#ifndef CASEFS_TEST_EMULATOR_H
#define CASEFS_TEST_EMULATOR_H

#include "casefs.h"
#include "image.h"

#include <stdbool.h>

enum emulator_request {
  EMULATOR_READ,
  EMULATOR_WRITE,
  EMULATOR_FLUSH,
  EMULATOR_DISCARD,
  EMULATOR_REQUESTS
};

/* ---------------------------------------------------------------- the device */

struct emulator;

/* A disk with the bytes of that image, which stays the caller's. */
struct emulator *emulator_open(const struct image *image);
void emulator_close(struct emulator *emulator); /* NULL is allowed */

/* Valid until the emulator is closed; closing the device closes nothing. */
struct casefs_device *emulator_device(struct emulator *emulator);

/* What the disk holds now, as one who reads it sees it.  The caller's. */
struct image *emulator_image(struct emulator *emulator);

/* Fill what is discarded with garbage that follows from the seed; 0: keep it. */
void emulator_set_garbage(struct emulator *emulator, uint64_t seed);

/* Fail the nth request of that kind from now, counted from 1, or from it on for ever.  A write
 * that fails has done a part of its work, if torn.  nth 0: do not fail. */
void emulator_fail(struct emulator *emulator, enum emulator_request kind, uint64_t nth,
                   bool for_ever, int error);
void emulator_set_torn(struct emulator *emulator, bool torn);

/* Neither count nor fail requests for a while. */
void emulator_suspend(struct emulator *emulator, bool suspended);

/* Cut the power at the nth write from now: it and everything after it fails, reads too. */
void emulator_cut(struct emulator *emulator, uint64_t nth);

/* Since opening. */
uint64_t emulator_count(struct emulator *emulator, enum emulator_request kind);
uint64_t emulator_bytes(struct emulator *emulator, enum emulator_request kind);

/* How many calls of this thread are inside the disk: what they allocate is not the library's. */
extern _Thread_local unsigned emulator_inside;

/* ------------------------------------------------------------- the recording */

/* What was known when an event was issued.  The recorder of a workload says it: states are
 * numbered, and a state between the two must be what a cut leaves. */
struct emulator_marks {
  unsigned durable; /* the last state known to be durable */
  unsigned issued;  /* the last state asked for */
};

struct event {
  enum emulator_request kind; /* write, flush or discard */
  bool durable;
  uint64_t first, count; /* pages */
  struct image_page **pages;
  struct emulator_marks marks;
};

struct recording {
  struct image *start;
  struct event *events;
  size_t count, room;
  struct emulator_marks end; /* after the last event */
};

/* Record from now on. */
void emulator_record(struct emulator *emulator);
void emulator_mark(struct emulator *emulator, struct emulator_marks marks);
/* End recording; the caller's. */
struct recording *emulator_recorded(struct emulator *emulator);
void recording_destroy(struct recording *recording); /* NULL is allowed */

/* ---------------------------------------------------------------- power cuts */

struct playback {
  const struct recording *recording;
  size_t cut;           /* the event under way when the power goes; their count: after all */
  size_t flushed;       /* events from here to cut are pending */
  struct image *stable; /* everything before flushed */
};

void playback_start(struct playback *playback, const struct recording *recording);
void playback_end(struct playback *playback);
/* Go to the next cut; false: this was the last. */
bool playback_next(struct playback *playback);
/* How many events have a choice: the pending and the one under way. */
size_t playback_choices(const struct playback *playback);
struct emulator_marks playback_marks(const struct playback *playback);

/* The image after the cut.  keep: bit i of byte i / 8 says whether the i-th choice is kept.
 * tear: 0, or a seed for which sectors of the kept are there: always of the one under way, now and
 * then of others.  The caller's. */
struct image *playback_survivor(const struct playback *playback, const unsigned char *keep,
                                uint64_t tear);

#endif
