/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Backing stores: where sectors are that memory does not hold.
 *
 * A backing store is an array of bytes that reads as zeros where nothing was
 * written.  Sector n of a volume is at n << sector_shift in it.  There are two
 * kinds: a file (backing-file.c) and an NBD export (backing-nbd.c); they serve
 * as spill, as image and as base.
 *
 * All functions may be called from any thread at the same time, and block
 * until they are done.  The callers keep requests that overlap apart, except
 * that reads may overlap anything: what such a read returns is thrown away.
 * Offsets, counts and buffers are aligned to BACKING_ALIGNMENT, but for the
 * end of a store whose size is not.  Errors are negative errnos; -ENOSPC and
 * -EDQUOT mean that the store is full, others that it failed.
 *
 * A store that lost its server is not lost: each call tries to reach it again
 * (see backing-nbd.c for how long), and fails with -EIO, -ETIMEDOUT or the like
 * if it cannot.  After a reconnection nothing that was written since the last
 * successful backing_flush may be taken for safe; the callers write it again.
 */

#ifndef SECTORS_BACKING_H
#define SECTORS_BACKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BACKING_ALIGNMENT 4096u

struct backing;

/* One sentence about what went wrong, for the user: it names the offending
 * thing and what would be right. */
enum { BACKING_PROBLEM = 512 };

/* Make an anonymous file of size bytes in a folder, for this process only: it
 * has no name, so it is gone with the process, however that ends, and no other
 * user can open it.
 * 0, or a negative errno with *problem filled. */
int backing_open_spill(const char *folder, uint64_t size, struct backing **backing,
                       char problem[BACKING_PROBLEM]);

/* Open a file or an NBD URI (nbd, nbds, nbd+unix, nbds+unix, nbd+vsock, nbds+vsock) as
 * the image of a volume (writable, locked against other users), or as a base
 * (read_only).  A volume of size bytes will use it; size 0 takes the store's
 * own.  A base may be of another size than the volume: what is past its end
 * reads as zeros.  An image must be at least as large as the volume; a file
 * that does not exist yet is made as a sparse one of that size, and a longer one is
 * left as long as it is.  0, or a negative errno with *problem filled. */
int backing_open(const char *place, bool read_only, uint64_t size, struct backing **backing,
                 char problem[BACKING_PROBLEM]);

/* NULL is allowed.  Does not flush. */
void backing_close(struct backing *backing);

/* Bytes of the store. */
uint64_t backing_size(const struct backing *backing);

/* How messages name it: a path, or the URI without password. */
const char *backing_name(const struct backing *backing);

/* Whether holes can be told from zeros that were written, in units of
 * granularity bytes: what an image over a base needs.  To be asked once, before
 * the store is used: of a file it is tried out, on an anonymous one in the same
 * folder, and space of the image that was allocated but never written is given back.
 * Never true of an NBD server.  It is about backing_write only: what
 * backing_zero and backing_allocate make are holes. */
bool backing_knows_holes(struct backing *backing, uint32_t granularity);

enum backing_operation { BACKING_READ, BACKING_WRITE, BACKING_ZERO };

/* One of many requests.  A read past the end of the store gives zeros there.
 * BACKING_ZERO makes a range read as zeros, giving its space back where the
 * store can (a hole); if not, writing zeros. */
struct backing_request {
  enum backing_operation operation;
  void *buffer; /* of a read or write */
  uint64_t count;
  uint64_t offset;
  int result; /* set: 0, or a negative errno */
};

/* Do all of the requests, as many at once as the store likes, and wait for
 * them.  Returns 0, or the first error among the results. */
int backing_submit(struct backing *backing, struct backing_request *requests, unsigned count);

/* backing_submit of one. */
int backing_read(struct backing *backing, void *buffer, uint64_t count, uint64_t offset);
int backing_write(struct backing *backing, const void *buffer, uint64_t count, uint64_t offset);
int backing_zero(struct backing *backing, uint64_t count, uint64_t offset);

/* Make a range read as zeros, but keep its space, so that writing there needs
 * no more; where the store cannot do that it writes zeros. */
int backing_allocate(struct backing *backing, uint64_t count, uint64_t offset);

/* Make all that was written before durable (of a spill: nothing is done).  -EIO
 * if that cannot be said; after a reconnection it may take writing and flushing
 * again more than once.  Cheap to call from many threads: one flush serves
 * all who came before it began. */
int backing_flush(struct backing *backing);

/* How often what was written and not yet flushed may have been lost: by a
 * reconnection, or a failed flush.  backing_flush tells only those who wait for
 * the flush that finds it out.  So where several threads write and flush, each
 * takes this before its first write and again after a flush that was
 * good: if the two differ, it writes again. */
uint64_t backing_losses(struct backing *backing);

/* Call function for the extents of a range, in ascending order and without
 * gaps, neighbours differing: is_hole says that it reads as zeros and takes no
 * space.  The function returns 0 to go on.  Nothing past the range, nor of zero
 * length.  Returns 0, what the function returned, or a negative errno (nothing
 * is known: take all for data). */
typedef int (*backing_extent_function)(void *opaque, uint64_t offset, uint64_t count, bool is_hole);
int backing_extents(struct backing *backing, uint64_t count, uint64_t offset,
                    backing_extent_function function, void *opaque);

/* Change the size of a file that is an image or spill; -ENOTSUP for NBD. */
int backing_resize(struct backing *backing, uint64_t size);

/* Bytes that the store takes on its disk, or UINT64_MAX if nobody can tell. */
uint64_t backing_used(struct backing *backing);

#endif
