/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A device on an NBD server, over libnbd.
 *
 * Over several connections if the server allows it (NBD_FLAG_CAN_MULTI_CONN: then a flush on one
 * covers what was answered on all).  nbd-pipeline.h tells how requests are ordered.
 *
 * There is no reconnecting: when a connection ends, every request fails with -EIO.  A server that
 * was gone may have lost writes that it had acknowledged but not flushed, and nobody here still has
 * them: going on would mix old and new contents without a sign.  The volume's last commit is whole,
 * and opening it again gets it.
 *
 * A process that forks keeps its threads only in the parent: open the device after.
 */

#include "device.h"
#include "nbd-connect.h"
#include "nbd-pipeline.h"

#include <stdlib.h>
#include <string.h>

#ifndef NBD_PIECE
#define NBD_PIECE (512 << 10)
#endif
#ifndef NBD_CONNECTIONS
#define NBD_CONNECTIONS PIPELINE_CONNECTIONS
#endif

enum {
  PIECE = NBD_PIECE,          /* bytes of the usual largest request */
  MOST_PIECE = 4 << 20,       /* if the server prefers larger ones */
  DEFAULT_MAXIMUM = 32 << 20, /* of a request, where the server does not say */
  CONNECT_SECONDS = 30,       /* for connecting and the handshake */
  ANOTHER_SECONDS = 2,        /* for a further connection, which is not needed */
  EACH_PARALLEL = 4,          /* requests that keep a connection busy */
};

struct nbd_device {
  struct casefs_device device;
  struct casefs_device_operations operations; /* of it: those that the server can do */
  struct pipeline *pipeline;
  unsigned connections;
  bool can_flush, can_fua;
};

static struct nbd_device *of(struct casefs_device *device) {
  return (struct nbd_device *)device;
}

/* --------------------------------------------------------------- operations */

static int nbd_device_read(struct casefs_device *device, void *buffer, size_t count,
                           uint64_t offset) {
  return pipeline_read(of(device)->pipeline, buffer, count, offset);
}

/* A server that has no NBD_CMD_FLUSH has, as the NBD protocol would have it, nothing to flush: then
 * what it has answered is durable. */
static int flush_answered(struct nbd_device *nbd) {
  return nbd->can_flush ? pipeline_flush_server(nbd->pipeline) : 0;
}

static int nbd_device_write(struct casefs_device *device, const void *buffer, size_t count,
                            uint64_t offset, bool durable) {
  struct nbd_device *nbd = of(device);
  if (device->read_only)
    return -EROFS;
  if (!durable)
    return pipeline_write(nbd->pipeline, buffer, count, offset);
  uint32_t flags = nbd->can_fua ? LIBNBD_CMD_FLAG_FUA : 0;
  int result = pipeline_write_and_wait(nbd->pipeline, buffer, count, offset, flags);
  return result < 0 || nbd->can_fua ? result : flush_answered(nbd);
}

static int nbd_device_flush(struct casefs_device *device) {
  struct nbd_device *nbd = of(device);
  int result = pipeline_await_writes(nbd->pipeline);
  return result < 0 || device->read_only ? result : flush_answered(nbd);
}

static int nbd_device_discard(struct casefs_device *device, uint64_t count, uint64_t offset) {
  return device->read_only ? -EROFS : pipeline_discard(of(device)->pipeline, count, offset);
}

static int nbd_device_preload(struct casefs_device *device, uint64_t count, uint64_t offset) {
  return pipeline_preload(of(device)->pipeline, count, offset);
}

static void nbd_device_close(struct casefs_device *device) {
  pipeline_destroy(of(device)->pipeline);
  free(device);
}

/* All but what only some servers can. */
static const struct casefs_device_operations nbd_operations = {
    .read = nbd_device_read,
    .write = nbd_device_write,
    .flush = nbd_device_flush,
    .close = nbd_device_close,
};

/* ------------------------------------------------------------------ opening */

/* The largest power of two that is at most value. */
static uint64_t power_below(uint64_t value) {
  uint64_t power = 1;
  while (power <= value / 2)
    power *= 2;
  return power;
}

static int refuse_request_size(char **error, const char *uri, const char *which, int64_t size) {
  return device_refuse(error, -EOPNOTSUPP,
                       "cannot use the NBD server '%s': its %s request is %lld bytes, and casefs "
                       "needs %u",
                       uri, which, (long long)size, CASEFS_BLOCK_SIZE);
}

/* The size of the largest request to use, from what the server says of them. */
static int choose_piece(struct nbd_handle *handle, const char *uri, uint64_t *piece, char **error) {
  int64_t minimum = nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM);
  int64_t preferred = nbd_get_block_size(handle, LIBNBD_SIZE_PREFERRED);
  int64_t maximum = nbd_get_block_size(handle, LIBNBD_SIZE_MAXIMUM);
  if (maximum <= 0)
    maximum = DEFAULT_MAXIMUM;
  if (minimum > CASEFS_BLOCK_SIZE)
    return refuse_request_size(error, uri, "smallest", minimum);
  if (maximum < CASEFS_BLOCK_SIZE)
    return refuse_request_size(error, uri, "largest", maximum);
  int64_t wish = preferred > PIECE ? preferred : PIECE;
  wish = wish < MOST_PIECE ? wish : MOST_PIECE;
  *piece = power_below((uint64_t)(wish < maximum ? wish : maximum));
  return 0;
}

static int examine_server(struct nbd_device *nbd, struct nbd_handle *handle, const char *uri,
                          unsigned flags, char **error) {
  int64_t size = nbd_get_size(handle);
  if (size < 0)
    return refuse_by_libnbd(error, uri);
  nbd->can_flush = nbd_can_flush(handle) == 1;
  nbd->can_fua = nbd_can_fua(handle) == 1;
  nbd->operations = nbd_operations;
  if (nbd_can_trim(handle) == 1)
    nbd->operations.discard = nbd_device_discard;
  if (nbd_can_cache(handle) == 1)
    nbd->operations.preload = nbd_device_preload;
  nbd->device.size = device_whole_blocks((uint64_t)size);
  nbd->device.read_only = flags & CASEFS_DEVICE_READ_ONLY || nbd_is_read_only(handle) != 0;
  return 0;
}

/* Whether a further connection reaches the same thing as the first. */
static bool is_alike(struct nbd_handle *handle, struct nbd_handle *first) {
  return nbd_get_size(handle) == nbd_get_size(first) &&
         nbd_is_read_only(handle) == nbd_is_read_only(first) && nbd_can_multi_conn(handle) == 1;
}

/* Further connections, as many as the server gives. */
static void add_connections(struct nbd_device *nbd, const char *uri, struct nbd_handle *first) {
  struct nbd_handle *handle;
  while (nbd->connections < NBD_CONNECTIONS &&
         connect_nbd_server(uri, ANOTHER_SECONDS, &handle, NULL) == 0) {
    if (!is_alike(handle, first)) {
      nbd_close(handle);
      return;
    }
    if (pipeline_add(nbd->pipeline, handle) < 0)
      return;
    nbd->connections++;
  }
}

/* The device over a connected handle, which it owns, also on an error. */
static int set_up(struct nbd_device *nbd, struct nbd_handle *handle, const char *uri,
                  unsigned flags, char **error) {
  uint64_t piece = 0;
  int result = examine_server(nbd, handle, uri, flags, error);
  if (result == 0)
    result = choose_piece(handle, uri, &piece, error);
  if (result < 0) {
    nbd_close(handle);
    return result;
  }
  nbd->pipeline = pipeline_create(piece);
  if (!nbd->pipeline) {
    nbd_close(handle);
    return refuse_server(error, uri, -ENOMEM, strerror(ENOMEM));
  }
  bool several = nbd_can_multi_conn(handle) == 1;
  result = pipeline_add(nbd->pipeline, handle);
  if (result < 0) {
    pipeline_destroy(nbd->pipeline);
    return refuse_server(error, uri, result, strerror(-result));
  }
  nbd->connections = 1;
  if (several)
    add_connections(nbd, uri, handle);
  nbd->device.operations = &nbd->operations;
  nbd->device.parallel = EACH_PARALLEL * nbd->connections;
  return 0;
}

static int open_guarded(struct nbd_device *nbd, const char *uri, unsigned flags, char **error) {
  struct nbd_handle *handle;
  int result = connect_nbd_server(uri, CONNECT_SECONDS, &handle, error);
  return result < 0 ? result : set_up(nbd, handle, uri, flags, error);
}

int casefs_device_open_nbd(const char *uri, unsigned flags, struct casefs_device **device,
                           char **error) {
  if (error)
    *error = NULL;
  if (flags & ~(unsigned)DEVICE_FLAGS)
    return device_refuse(error, -EINVAL, "'%s' is to be opened with unknown flags", uri);
  struct nbd_device *nbd = calloc(1, sizeof *nbd);
  if (!nbd)
    return refuse_server(error, uri, -ENOMEM, strerror(ENOMEM));
  struct signal_guard guard = guard_signal(true);
  int result = open_guarded(nbd, uri, flags, error);
  unguard_signal(&guard);
  if (result < 0)
    free(nbd);
  else
    *device = &nbd->device;
  return result;
}
