/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Inside the NBD device: many requests under way at once, over one or more connections.
 *
 *      read, write, ...   split at cell borders into pieces
 *            |
 *            v
 *      requests in flight, found by their cell      struct pipeline, under its lock
 *            |                          ^
 *            v nbd_aio_*                | on_completion
 *      connection 0 .. n-1              |           libnbd handles, each with its own lock
 *            |                          |
 *            +-----> thread per connection: poll, nbd_aio_notify_*
 *
 * A write copies its bytes and returns when they are queued.  Requests in flight never overlap
 * where one of them changes something: who comes later waits for the earlier one.  So a read sees
 * every write that has returned, whichever connection and order the server works in.
 *
 * Failure: the first write or server flush that fails is kept, and every later write, discard and
 * flush is -EIO.  The first connection that ends ends all: every request, under way or later, is
 * -EIO at once.
 *
 * Every function may be called from any thread at any time, except where it says otherwise.
 * Offsets and counts are in whole blocks, and counts are not 0.
 */

#ifndef CASEFS_NBD_PIPELINE_H
#define CASEFS_NBD_PIPELINE_H

#include <libnbd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pipeline;

/* A pipeline without connections.  cell: bytes of the largest request, a power of two of at least a
 * block.  NULL: no memory. */
struct pipeline *pipeline_create(uint64_t cell);

/* Add a connected handle, to the same export of the same server.  The pipeline owns it, also on an
 * error (a negative errno; no thread).  Not while requests are under way, and at most
 * PIPELINE_CONNECTIONS times. */
#define PIPELINE_CONNECTIONS 4
int pipeline_add(struct pipeline *pipeline, struct nbd_handle *handle);

/* Wait for all that is under way, disconnect, and free all.  No other call may be under way. */
void pipeline_destroy(struct pipeline *pipeline);

int pipeline_read(struct pipeline *pipeline, void *buffer, size_t count, uint64_t offset);

/* Send NBD_CMD_CACHE, which the server must have offered, and return when it has answered. */
int pipeline_preload(struct pipeline *pipeline, uint64_t count, uint64_t offset);

/* Queue a write of a copy. */
int pipeline_write(struct pipeline *pipeline, const void *buffer, size_t count, uint64_t offset);

/* Write, and return when the server has answered.  flags: LIBNBD_CMD_FLAG_*. */
int pipeline_write_and_wait(struct pipeline *pipeline, const void *buffer, size_t count,
                            uint64_t offset, uint32_t flags);

/* Queue a discard.  -EOPNOTSUPP: an earlier one taught that the server cannot. */
int pipeline_discard(struct pipeline *pipeline, uint64_t count, uint64_t offset);

/* Wait for the writes queued before.  Not while another of these calls is under way. */
int pipeline_await_writes(struct pipeline *pipeline);

/* Send NBD_CMD_FLUSH, and return when the server has answered: for the writes it had answered. */
int pipeline_flush_server(struct pipeline *pipeline);

#endif
