/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Volumes as nbdkit serves them: exports, their connections, and what is
 * counted of their requests.  An export lives until the server ends; no
 * connection opening or closing changes that.
 */

#ifndef SECTORS_EXPORTS_H
#define SECTORS_EXPORTS_H

#include "requests.h"
#include "sectors.h"

#include <pthread.h>
#include <stdbool.h>

/* One client's use of an export. */
struct connection {
  struct connection *next;
  struct export *export;
  struct request_counters requests;
};

struct export {
  struct export *next;
  sectors_volume *volume;
  struct connection *connections; /* open ones */
  struct request_counters closed; /* the requests of those that were closed */
};

struct exports {
  sectors_store *store;
  pthread_mutex_t lock; /* the lists; not taken by requests */
  struct export *first; /* oldest first */
  uint32_t count;
};

void exports_init(struct exports *exports, sectors_store *store);

/* Frees the exports, not the store. */
void exports_destroy(struct exports *exports);

/* Make a volume and its export.  0, or a negative errno of
 * sectors_volume_create. */
int exports_add(struct exports *exports, const char *name, uint64_t size);

/* Open the export of that name; if there is none, size is not 0 and there are
 * fewer than most, make one of that size.  Returns the connection, or NULL
 * with errno set: ENOENT no such export, EINVAL not a name, ENOSPC too many,
 * ENOMEM. */
struct connection *exports_open(struct exports *exports, const char *name, uint64_t size,
                                uint32_t most);

void exports_close(struct exports *exports, struct connection *connection);

/* With the lock held: all requests of an export so far, added to sum, and the
 * number of its open connections. */
uint32_t export_requests(const struct export *export, struct request_counters *sum);

#endif
