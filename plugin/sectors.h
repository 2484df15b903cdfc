/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libsectors: sparse disks in memory, under one budget.
 *
 * A store owns memory, up to a limit.  Volumes are disks in that store: sparse
 * vectors of sectors.  A sector takes memory when something other than zeros
 * is written to it, and gives it back when it is trimmed or zeroed.
 *
 * A store may have tiers below its memory: sectors that are seldom used are
 * compressed, or move to the volume's image, or to an anonymous spill file.
 * A volume with an image is durable; one with a base shows the base's contents
 * wherever nothing was written.
 *
 * Conventions
 *   - Functions return 0, or a negative errno; each names the ones it returns.
 *   - Offsets and counts are bytes and need no alignment.  A range must lie
 *     inside the volume (offset + count <= size), else -EINVAL.
 *   - Every function may be called from any thread at any time, except where
 *     it says otherwise.  Nothing here prints, exits or keeps global state.
 *   - Buffers belong to the caller and must not change during a call.
 *
 * What concurrent, overlapping requests see: a read sees each sector as some
 * write left it, never half a write to that sector; which of two overlapping
 * writes wins is decided sector by sector.
 */

#ifndef SECTORS_H
#define SECTORS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sectors_store sectors_store;
typedef struct sectors_volume sectors_volume;

#define SECTORS_DEFAULT_SECTOR_SIZE 4096u /* or the page size of the machine, if larger */
#define SECTORS_MIN_SECTOR_SIZE 4096u     /* or the page size of the machine, if larger */
#define SECTORS_MAX_SECTOR_SIZE 65536u
#define SECTORS_MIN_LIMIT_SECTORS 64u /* the smallest memory limit, in sectors */
#define SECTORS_MAX_LIMIT_SECTORS (UINT64_C(1) << 31)
#define SECTORS_MAX_VOLUME_SIZE ((uint64_t)INT64_MAX)
#define SECTORS_MAX_NAME 255u /* bytes, without the terminating zero */

/* ------------------------------------------------------------------ store */

/* Create a store that holds at most memory_limit bytes: sectors, reservations
 * and metadata together.  sector_size is a power of two from
 * SECTORS_MIN_SECTOR_SIZE to SECTORS_MAX_SECTOR_SIZE, or 0 for the default.
 * No memory is taken yet, only address space.
 *
 * Errors: -EINVAL (sector size, or a limit under SECTORS_MIN_LIMIT_SECTORS or
 * over SECTORS_MAX_LIMIT_SECTORS sectors), -ENOMEM (address space). */
int sectors_store_create(uint64_t memory_limit, uint32_t sector_size, sectors_store **store);

/* What a store has below plain memory. */
enum sectors_compression { SECTORS_COMPRESS_NONE, SECTORS_COMPRESS_LZ4, SECTORS_COMPRESS_ZSTD };

struct sectors_tiers {
  const char *spill; /* the folder of spill files, or NULL for no spill; copied */
  enum sectors_compression compress;
  unsigned high_watermark; /* percent of the limit at which moving out begins; 0: the default */
  unsigned low_watermark;  /* and at which it ends; 0: the default */
};

#define SECTORS_DEFAULT_HIGH_WATERMARK 90u
#define SECTORS_DEFAULT_LOW_WATERMARK 85u
#define SECTORS_MIN_TIERED_LIMIT (UINT64_C(8) << 20) /* bytes: the smallest limit with tiers */

/* Give a store tiers, before it has volumes and before it is started.
 *
 * Errors: -EINVAL (watermarks not 1 <= low <= high <= 99, or a limit under
 * SECTORS_MIN_TIERED_LIMIT), -EBUSY (it has volumes, or was started), -ENOMEM. */
int sectors_store_set_tiers(sectors_store *store, const struct sectors_tiers *tiers);

/* Change what was set, at any time.  A smaller limit takes effect at once for
 * writers, and what is over it is moved out by and by (or now: sectors_store_gc).
 *
 * Errors: -EINVAL (a limit as in create; not enough for what is pinned or
 * has no place below, so nothing was changed: -ENOSPC; more than the memory
 * that the machine has: -ENOMEM). */
int sectors_store_set_limit(sectors_store *store, uint64_t memory_limit);
int sectors_store_set_watermarks(sectors_store *store, unsigned high, unsigned low);

/* -EOPNOTSUPP if the store was made without tiers. */
int sectors_store_set_compression(sectors_store *store, enum sectors_compression compress);

/* Called with how far a long call has come, in bytes, some ten times a second;
 * returns 0 to go on, else the call ends with -ECANCELED.  May be NULL. */
typedef int (*sectors_progress_function)(void *opaque, uint64_t done, uint64_t total);

/* Move the coldest sectors out of memory, the pinned last, until what the store
 * has charged is at most target bytes.  Returns 0, or why it ended earlier:
 * -ENOSPC (what is left has no place below, or that is full), -EIO and others
 * (a store below failed), -ECANCELED. */
int sectors_store_gc(sectors_store *store, uint64_t target, sectors_progress_function progress,
                     void *opaque);

/* Make every volume that has an image durable, before the store is destroyed.
 * Returns 0, or the first error; the others are tried all the same. */
int sectors_store_finish(sectors_store *store, sectors_progress_function progress, void *opaque);

/* Called with one sentence for each notable event: a store below that failed,
 * came back or is full, memory that is short, and the like.  From any thread,
 * and with locks held: it must not call into the store. */
enum sectors_event_kind { SECTORS_EVENT_NOTE, SECTORS_EVENT_WARNING, SECTORS_EVENT_ERROR };
typedef void (*sectors_event_function)(void *opaque, enum sectors_event_kind kind,
                                       const char *sentence);
void sectors_store_on_event(sectors_store *store, sectors_event_function function, void *opaque);

/* Start the background threads, which give freed memory back to the system and
 * move cold sectors down the tiers.
 * Apart from create so that a server can create its store before it forks and
 * start the thread after.  Call it once.  A store that was never started keeps
 * freed memory for reuse until sectors_store_reclaim.
 *
 * Errors: -EAGAIN or -ENOMEM (no thread), -EALREADY (it was started). */
int sectors_store_start(sectors_store *store);

/* Give all memory that holds no data back to the system, now.
 * Returns when it is done; requests go on meanwhile. */
void sectors_store_reclaim(sectors_store *store);

/* Stop the background thread and free the store with all its volumes.
 * The caller makes sure that no other call is under way.  NULL is allowed. */
void sectors_store_destroy(sectors_store *store);

struct sectors_store_statistics {
  uint64_t limit;        /* bytes the store may take */
  uint64_t charged;      /* bytes of the limit in use: live + reserved + index pages +
                            compressed + buffers of I/O */
  uint64_t live;         /* bytes of sectors that are plain in memory */
  uint64_t reserved;     /* bytes promised to zeroed ranges that take no memory */
  uint64_t metadata;     /* bytes of index pages and of tables about sector memory */
  uint64_t free_reserve; /* bytes of memory kept, holding nothing, for reuse */
  uint64_t resident;     /* what the store adds to RSS: live + metadata + free_reserve +
                            compressed_memory + buffers */
  uint32_t sector_size;  /* bytes */
  uint32_t volumes;      /* number of them */

  /* Of tiers; all 0 without. */
  uint32_t high_watermark;    /* percent of the limit */
  uint32_t low_watermark;     /* percent of the limit */
  uint32_t compression;       /* enum sectors_compression */
  uint64_t buffers;           /* bytes of buffers for I/O below */
  uint64_t compressed;        /* bytes of sectors that are compressed in memory */
  uint64_t compressed_memory; /* bytes of memory those take */
  uint64_t incompressible;    /* bytes of sectors, ever, that compression did not help */
  uint64_t throttle_ns;       /* time, ever, that writers were made to wait for room */
};

/* The counters of a store.  They are exact when no request is under way. */
void sectors_store_statistics(sectors_store *store, struct sectors_store_statistics *statistics);

/* ---------------------------------------------------------------- volumes */

/* Create a volume of size bytes, 1 to SECTORS_MAX_VOLUME_SIZE, reading as
 * zeros.  name is 1 to SECTORS_MAX_NAME bytes of UTF-8 without '/' and control
 * characters, unique in the store, and is copied.  The store owns the volume.
 *
 * Errors: -EINVAL (size or name), -EEXIST (name), -ENOMEM. */
int sectors_volume_create(sectors_store *store, const char *name, uint64_t size,
                          sectors_volume **volume);

/* Remove a volume and free all it holds.
 * The caller makes sure that no other call uses the volume. */
void sectors_volume_remove(sectors_volume *volume);

/* The volume of that name, or NULL. */
sectors_volume *sectors_volume_find(sectors_store *store, const char *name);

/* The volume created after this one, or the oldest for NULL; NULL at the end.
 * The caller makes sure that the volume is not removed meanwhile. */
sectors_volume *sectors_volume_next(sectors_store *store, sectors_volume *volume);

/* Whether name may name a volume: 0, or -EINVAL. */
int sectors_volume_check_name(const char *name);

const char *sectors_volume_name(const sectors_volume *volume);
uint64_t sectors_volume_size(const sectors_volume *volume);

/* Change a volume's size.  What lies past a smaller size is freed, and reads
 * as zeros if the volume grows again.  The caller makes sure that no request
 * past the smaller size is under way.  An image that is a file changes its size
 * too.
 *
 * Errors: -EINVAL (size), -ENOTSUP (the image is an NBD export), and those of the
 * stores below. */
int sectors_volume_resize(sectors_volume *volume, uint64_t size);

/* What a volume has below memory. */
struct sectors_volume_options {
  const char *image; /* its durable home: a file or an NBD URI; or NULL */
  const char *base;  /* what it shows where nothing was written: the same; or NULL */
  int priority;      /* of all its sectors, 0 to 10; -1: the default, 5 */
};

#define SECTORS_PROBLEM_TEXT 512u

/* Create a volume with an image, or a base, or both.  size 0 takes the
 * image's size, or else the base's.  An image is locked against other servers; it is
 * made if its file does not exist.  Without an image, a volume of a store with
 * spill= moves its cold sectors there.  options may be NULL.
 *
 * Errors: those of sectors_volume_create, and those of the stores below; then
 * *problem is a sentence that names the offending thing, else it is empty. */
int sectors_volume_open(sectors_store *store, const char *name, uint64_t size,
                        const struct sectors_volume_options *options, sectors_volume **volume,
                        char problem[SECTORS_PROBLEM_TEXT]);

/* Whether flush means something: the volume has an image. */
int sectors_volume_is_durable(const sectors_volume *volume);

/* The names of what is below, or NULL.  They live as long as the volume. */
const char *sectors_volume_image(const sectors_volume *volume);
const char *sectors_volume_base(const sectors_volume *volume);

struct sectors_volume_statistics {
  uint64_t size;          /* bytes, virtual */
  uint64_t live;          /* bytes of sectors that are plain in memory */
  uint64_t reserved;      /* bytes promised to zeroed ranges that take no memory */
  uint64_t metadata;      /* bytes of the volume's index nodes */
  uint64_t zero_detected; /* bytes written, ever, in sectors found to be all zeros */
  uint64_t trimmed;       /* bytes of data, ever, freed by trim or zero */

  /* Of tiers; all 0 without. */
  uint64_t compressed;   /* bytes of sectors that are compressed in memory */
  uint64_t dirty;        /* bytes of sectors that the image does not have yet */
  uint64_t below;        /* bytes of sectors that only the spill file has */
  uint64_t below_used;   /* bytes of disk that image or spill take; UINT64_MAX: not known */
  uint64_t hits;         /* bytes read, ever, that were plain in memory */
  uint64_t misses;       /* bytes read, ever, that were not */
  uint64_t swapped_in;   /* bytes, ever, read from image, spill or base */
  uint64_t swapped_out;  /* bytes, ever, written to image or spill */
  uint64_t out_requests; /* writes, ever, that this took */
  uint64_t decompressed; /* bytes of sectors, ever, brought back from compression */
  uint64_t evicted;      /* bytes, ever, dropped from memory because it was short */
  uint64_t preloaded;    /* bytes, ever, brought in by sectors_cache */
  uint64_t read_ahead;   /* bytes, ever, brought in because reads were sequential */
  int error;             /* 0, or the negative errno with which the store below fails now */
  int priority;          /* of sectors that no range says otherwise of */
};

void sectors_volume_statistics(sectors_volume *volume,
                               struct sectors_volume_statistics *statistics);

/* --------------------------------------------------------------- requests */

/* Read count bytes at offset.
 * Errors: -EINVAL (range); what a store below fails with, mostly -EIO. */
int sectors_read(sectors_volume *volume, void *buffer, size_t count, uint64_t offset);

/* Write count bytes at offset.  All memory is set aside before the first byte
 * is copied: on an error nothing was written.  Sectors written with zeros only
 * take no memory.  With tiers a write may have to wait for room.
 *
 * Errors: -EINVAL (range), -ENOSPC (the limit, and nothing can be moved out; or
 * the system has no memory), or what a store below fails with. */
int sectors_write(sectors_volume *volume, const void *buffer, size_t count, uint64_t offset);

/* Make count bytes at offset read as zeros, and free what they held, also
 * in the stores below.
 * Errors: -EINVAL (range); with tiers those of sectors_write too. */
int sectors_trim(sectors_volume *volume, uint64_t count, uint64_t offset);

/* Make count bytes at offset read as zeros, taking no memory for them but
 * keeping their space reserved: later writes there cannot fail with -ENOSPC,
 * until the range is trimmed.  Of a volume with an image or spill, the space is
 * reserved there.  On an error nothing was changed.
 *
 * Errors: -EINVAL (range), -ENOSPC (the limit), or what a store below fails with. */
int sectors_zero(sectors_volume *volume, uint64_t count, uint64_t offset);

/* Make all that was written before the call durable, if the volume has an
 * image.  After an error nothing that was written since the last success is
 * known to be; it stays in memory, and the next flush tries again.
 * Errors: those of the image. */
int sectors_flush(sectors_volume *volume);

/* The same for the sectors of a range only: for writes with FUA. */
int sectors_flush_range(sectors_volume *volume, uint64_t count, uint64_t offset);

/* Bring a range into memory, as far as there is room for it without moving
 * hotter sectors out.  Errors: -EINVAL (range); those of the stores below. */
int sectors_cache(sectors_volume *volume, uint64_t count, uint64_t offset);

/* Move a range out of memory, whatever its heat or priority.
 * Errors: -EINVAL (range), -EOPNOTSUPP (there is nothing below), -ENOSPC and others
 * of the stores below: those sectors stay in memory. */
int sectors_drop(sectors_volume *volume, uint64_t count, uint64_t offset);

/* Set the priority of a range, or with count 0 at offset 0 of all the volume:
 * 0 goes first, 8 last, 9 and 10 are pinned: they leave memory only by
 * sectors_store_gc and sectors_drop.  It holds also for sectors that come later.
 * Errors: -EINVAL (range or priority), -EOPNOTSUPP (no tiers), -ENOMEM, -E2BIG (too many
 * ranges). */
int sectors_set_priority(sectors_volume *volume, uint64_t count, uint64_t offset,
                         unsigned priority);

/* Where sectors are. */
enum sectors_tier {
  SECTORS_TIER_NONE,       /* reads as zeros */
  SECTORS_TIER_MEMORY,     /* plain in memory */
  SECTORS_TIER_COMPRESSED, /* compressed in memory */
  SECTORS_TIER_SPILL,      /* in the spill file */
  SECTORS_TIER_IMAGE,      /* in the image */
  SECTORS_TIER_BASE,       /* in the base */
};

struct sectors_map_entry {
  uint64_t offset; /* bytes */
  uint64_t count;  /* bytes */
  enum sectors_tier tier;
  unsigned heat;     /* 0 cold to 100 hot; the mean of its sectors */
  unsigned priority; /* 0 to 10 */
  int dirty;         /* the image does not have it yet */
};

/* Report where the sectors of a range are: as sectors_extents does, and with
 * the same rules for the function. */
typedef int (*sectors_map_function)(void *opaque, const struct sectors_map_entry *entry);
int sectors_map(sectors_volume *volume, uint64_t count, uint64_t offset,
                sectors_map_function function, void *opaque);

enum sectors_extent {
  SECTORS_EXTENT_HOLE,     /* reads as zeros, takes no space */
  SECTORS_EXTENT_RESERVED, /* reads as zeros, its space is reserved */
  SECTORS_EXTENT_DATA,     /* holds data */
};

/* Called for each extent, in ascending order; returns 0 to go on, else the
 * walk ends there. */
typedef int (*sectors_extent_function)(void *opaque, uint64_t offset, uint64_t count,
                                       enum sectors_extent type);

/* Report the extents of count bytes at offset, from metadata alone.  They
 * cover the range from its first byte without gaps, are clamped to it, and
 * neighbours differ in type.  The function is called without any lock held,
 * but must not call into the same store.
 *
 * Returns 0, or what the function returned to end the walk.
 * Errors: -EINVAL (range). */
int sectors_extents(sectors_volume *volume, uint64_t count, uint64_t offset,
                    sectors_extent_function function, void *opaque);

#ifdef __cplusplus
}
#endif

#endif
