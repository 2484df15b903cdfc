/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libsectors: sparse disks in memory, under one budget.
 *
 * A store owns memory, up to a limit.  Volumes are disks in that store: sparse
 * vectors of sectors.  A sector takes memory when something other than zeros
 * is written to it, and gives it back when it is trimmed or zeroed.
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

/* Start the background thread, which gives freed memory back to the system.
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
  uint64_t charged;      /* bytes of the limit in use: live + reserved + index pages */
  uint64_t live;         /* bytes of sectors that hold data */
  uint64_t reserved;     /* bytes promised to zeroed ranges that take no memory */
  uint64_t metadata;     /* bytes of index pages and of tables about sector memory */
  uint64_t free_reserve; /* bytes of memory kept, holding nothing, for reuse */
  uint64_t resident;     /* live + metadata + free_reserve: what the store adds to RSS */
  uint32_t sector_size;  /* bytes */
  uint32_t volumes;      /* number of them */
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
 * past the smaller size is under way.
 *
 * Errors: -EINVAL (size). */
int sectors_volume_resize(sectors_volume *volume, uint64_t size);

struct sectors_volume_statistics {
  uint64_t size;          /* bytes, virtual */
  uint64_t live;          /* bytes of sectors that hold data */
  uint64_t reserved;      /* bytes promised to zeroed ranges that take no memory */
  uint64_t metadata;      /* bytes of the volume's index nodes */
  uint64_t zero_detected; /* bytes written, ever, in sectors found to be all zeros */
  uint64_t trimmed;       /* bytes of data, ever, freed by trim or zero */
};

void sectors_volume_statistics(sectors_volume *volume,
                               struct sectors_volume_statistics *statistics);

/* --------------------------------------------------------------- requests */

/* Read count bytes at offset.  Errors: -EINVAL (range). */
int sectors_read(sectors_volume *volume, void *buffer, size_t count, uint64_t offset);

/* Write count bytes at offset.  All memory is set aside before the first byte
 * is copied: on an error nothing was written.  Sectors written with zeros only
 * take no memory.
 *
 * Errors: -EINVAL (range), -ENOSPC (the limit; or the system has no memory). */
int sectors_write(sectors_volume *volume, const void *buffer, size_t count, uint64_t offset);

/* Make count bytes at offset read as zeros, and free what they held. */
/* Errors: -EINVAL (range). */
int sectors_trim(sectors_volume *volume, uint64_t count, uint64_t offset);

/* Make count bytes at offset read as zeros, taking no memory for them but
 * keeping their space reserved: later writes there cannot fail with -ENOSPC,
 * until the range is trimmed.  On an error nothing was changed.
 *
 * Errors: -EINVAL (range), -ENOSPC (the limit). */
int sectors_zero(sectors_volume *volume, uint64_t count, uint64_t offset);

/* Make what was written durable, and make a range quick to read.  All sectors
 * of this store are in memory and live as long as it does, so neither has
 * anything to wait for.  Errors: -EINVAL (range). */
int sectors_flush(sectors_volume *volume);
int sectors_cache(sectors_volume *volume, uint64_t count, uint64_t offset);

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
