/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The tiers below plain memory: what they share, and the threads that move
 * sectors down.  The files of the tiers:
 *
 *   read.c       reading what is in memory, and having the rest fetched
 *   sector.c     changes of a sector's state, and what they add up to
 *   fetch.c      bringing sectors up: from compression, spill, image, base
 *   writeback.c  bringing sectors down safely: to spill and image
 *   evict.c      choosing victims, compressing, dropping
 *   discard.c    trim and zero of volumes that have something below
 *   tiers.c      set up, watermarks, writers that wait, events
 */

#ifndef SECTORS_TIERS_H
#define SECTORS_TIERS_H

#include "backing.h"
#include "bases.h"
#include "buffers.h"
#include "policy.h"
#include "store.h"
#include "units.h"

enum {
  EVICTORS = 2,
  WINDOW = 4096, /* sectors looked at together when victims are chosen */
  WINDOW_LEAVES = 1024,
};

struct evictor;

struct tiers {
  struct policy *policy;
  struct units *units;
  sector_heat *heat; /* by slot */
  uint64_t heat_bytes;
  struct buffers buffers;
  struct bases bases;
  char *spill; /* a folder, or NULL */
  _Atomic enum sectors_compression compress;
  _Atomic unsigned high; /* percent of the limit */
  _Atomic unsigned low;

  /* Evictors sleep on work, writers without room on freed. */
  pthread_mutex_t lock;
  pthread_cond_t work;
  pthread_cond_t freed;
  pthread_cond_t quiet; /* nobody waits for it but who waits for time to pass */
  struct evictor *evictors[EVICTORS];
  _Atomic unsigned next_evictor;   /* that a thread takes */
  pthread_t threads[EVICTORS + 1]; /* the last one writes old dirty sectors back */
  unsigned running;
  _Atomic bool stopping;
  _Atomic unsigned asleep;
  _Atomic uint64_t wanted; /* sectors that waiting writers need */
  _Atomic uint64_t moved;  /* sectors that evictors moved out, ever */
  uint64_t vain_rounds;    /* times all of memory was looked at and nothing could go */
  int vain_error;          /* why */
  _Atomic uint64_t throttle_ns;
  _Atomic uint64_t sector_ns; /* what moving a sector out takes of late */

  /* The hand that goes around all sectors, looking for victims. */
  pthread_mutex_t sweeping;
  uint64_t hand_volume; /* its number */
  uint64_t hand_sector;
  _Atomic uint64_t circles;
  uint64_t compact_volume; /* the same for compaction */
  uint64_t compact_sector;
  _Atomic unsigned transfers; /* on their way to a store below */
  _Atomic uint32_t threshold; /* scores up to this go */
  _Atomic uint32_t median;    /* of the scores of what is in memory */
  _Atomic uint64_t resident;  /* sectors in memory, of all volumes */
};

/* -------------------------------------------------------------------- tiers.c */

void tiers_destroy(sectors_store *store);
int tiers_start(sectors_store *store);
void tiers_stop(sectors_store *store);

/* Give a new volume what is below it.  0, or a negative errno with *problem filled. */
int tiers_open_volume(sectors_volume *volume, const struct sectors_volume_options *options,
                      char problem[SECTORS_PROBLEM_TEXT]);
void tiers_close_volume(sectors_volume *volume);

/* The volume is as if it had none. */
void tiers_close_base(sectors_volume *volume);

/* Wake the evictors if the high watermark is passed. */
void tiers_charged(sectors_store *store);

/* Wait for so many sectors of room, outside of any request.  0 to try again; else why there
 * is none. */
int tiers_wait_for_room(sectors_store *store, uint64_t sectors);

/* Slow a writer of so many bytes down, the more the nearer the limit is. */
void tiers_throttle(sectors_store *store, uint64_t bytes);

/* The number of sectors charged down to which evictors are to go. */
uint64_t tiers_goal(sectors_store *store);

void tiers_event(sectors_store *store, enum sectors_event_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Note that home, or base, failed with error, or works (0). */
void tiers_note_home(sectors_volume *volume, int error);
void tiers_note_base(sectors_volume *volume, int error);

/* ------------------------------------------------------------------- sector.c */

static inline uint64_t sector_key(const sectors_volume *volume, uint64_t sector) {
  uint64_t key =
      (sector + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ volume->number * UINT64_C(0xc2b2ae3d27d4eb4f);
  key ^= key >> 32;
  key *= UINT64_C(0xd6e8feb86659fd93);
  return key ^ key >> 32;
}

/* Whether reading an unlocked, or own, sector needs more than memory. */
static inline bool needs_fetch(const sectors_volume *volume, uint64_t value) {
  if (value & (WORD_RESIDENT | WORD_ZERO))
    return false;
  return value & (WORD_COMPRESSED | WORD_STORED) || volume->shows_below;
}

/* Whether the volume has an image and that does not have the sector's data. */
static inline bool is_dirty(uint64_t value) {
  return value & (WORD_RESIDENT | WORD_COMPRESSED | WORD_ZERO) && !(value & WORD_STORED);
}

/* The state of a sector of zeros. */
static inline uint64_t zero_state(const sectors_volume *volume) {
  return volume->shows_below ? WORD_ZERO : 0;
}

/* Whether the sector is STORED and nothing else, so that its slot field is a history. */
static inline bool is_below(uint64_t value) {
  return (value & (WORD_STATE & ~(WORD_STIFF | WORD_RESERVED))) == WORD_STORED;
}

/* What changes of sectors of a volume add up to. */
struct tally {
  int64_t live;
  int64_t reserved;
  int64_t compressed;
  int64_t below;
  int64_t dirty;
};

void tally_change(struct tally *tally, const sectors_volume *volume, uint64_t before,
                  uint64_t after);
void tally_commit(const struct tally *tally, sectors_volume *volume);

static inline unsigned word_place(const sector_word *word) {
  return (unsigned)((uintptr_t)word % sizeof(struct node) / sizeof *word);
}

/* Turn a locked word from value to the state that flags and slot say, with
 * BUSY as it is, and unlock it.  Frees the slot and the part of a unit that it had,
 * with their share of the limit; tallies. */
void sector_settle(sectors_volume *volume, sector_word *word, uint64_t value, uint64_t flags,
                   uint32_t slot, struct tally *tally);

/* Tell the policy about a sector that leaves memory, with its heat, and return
 * its history. */
uint32_t sector_history(sectors_volume *volume, uint64_t sector, uint64_t value);

/* Tell the policy that resident sectors are used; seen are their words. */
void sectors_touch(sectors_volume *volume, uint64_t sector, const uint64_t *seen, unsigned count);

/* -------------------------------------------------------------------- fetch.c */

enum fetch_mode {
  FETCH_READ,    /* keep it in memory if it deserves that */
  FETCH_SCAN,    /* the same of a read in order, after which it is hardly wanted soon */
  FETCH_PRELOAD, /* keep it if there is room, and do not count it as a read */
  FETCH_KEEP,    /* it must be in memory, or known for zeros, afterwards */
};

/* Get the sectors from first on, up to last of the same leaf, whose data is not
 * plain in memory.  data is one of the store's buffers.  Returns how many it got,
 * their data in data; 0 if the first one needs no fetching any more; or a
 * negative errno, with FETCH_KEEP -ENOSPC too: no room. */
int fetch(sectors_volume *volume, uint64_t first, uint64_t last, unsigned char *data,
          enum fetch_mode mode);

/* Note a read; returns whether it goes on where another ended, for long. */
bool fetch_is_sequential(sectors_volume *volume, uint64_t count, uint64_t offset);

/* ---------------------------------------------------------------- writeback.c */

struct transfer;

/* What to do with a sector once it is safe below. */
enum transfer_purpose { TRANSFER_KEEP, TRANSFER_DROP };

/* NULL if there is no memory. */
struct transfer *transfer_begin(sectors_volume *volume, enum transfer_purpose purpose);

/* Make place for one more sector, writing what the transfer has if it is full.  Outside of
 * any request, since it may wait for I/O.  0, or what that failed with. */
int transfer_prepare(struct transfer *transfer);

/* Take a sector of a leaf into the transfer, for which there is place, inside a request.
 * Returns 0 if it is not to be written (any more), or was taken; -EBUSY if it is BUSY or
 * its range is guarded; -EIO if its data cannot be had. */
int transfer_add(struct transfer *transfer, struct node *leaf, uint64_t sector);

/* Write all that is in the transfer, make it durable if the volume is, and only then mark
 * it as stored.  0 or the first error; what was not made safe stays as it was. */
int transfer_finish(struct transfer *transfer);

/* Sectors that were dropped, ever, by this transfer. */
uint64_t transfer_dropped(const struct transfer *transfer);

void transfer_end(struct transfer *transfer);

/* Make what was written to the image durable.  0, or a negative errno. */
int flush_image(sectors_volume *volume);

/* Write all dirty sectors of a range back and make them durable. */
int write_back_range(sectors_volume *volume, uint64_t first, uint64_t last);

/* Make all that was acknowledged before durable. */
int flush_volume(sectors_volume *volume, sectors_progress_function progress, void *opaque);

/* -------------------------------------------------------------------- evict.c */

struct evictor *evictor_create(sectors_store *store);
void evictor_destroy(struct evictor *evictor);

enum evict_mode {
  EVICT_COLD, /* what the policy likes least, never what is pinned */
  EVICT_GC,   /* the same, but pinned sectors too if nothing else is left */
};

/* One step: look at some sectors and move the coldest of them out, so that in the end
 * no more than goal sectors are charged.  Returns how many went; *error is set if
 * a store below failed. */
uint64_t evict_step(struct evictor *evictor, enum evict_mode mode, uint64_t goal, int *error);

/* Move the sectors of a range out, whatever they are. */
int evict_range(sectors_volume *volume, uint64_t first, uint64_t last);

/* ------------------------------------------------------------------ discard.c */

enum discard_kind {
  DISCARD_HOLE,     /* give the space back */
  DISCARD_ALLOCATE, /* keep it for later writes */
};

/* Make whole sectors, first to last, read as zeros. */
int discard_sectors(sectors_volume *volume, uint64_t first, uint64_t last, enum discard_kind kind);

/* Make the sectors of a range that have a word holes, or, over a base, ZERO.  What is below
 * is not told. */
void forget_sectors(sectors_volume *volume, uint64_t sector, uint64_t last);

/* Zero again what is nowhere but in the image of such a range: it was zeroed there, but
 * may have come back. */
int discard_again(sectors_volume *volume, uint64_t first, uint64_t last);

#endif
