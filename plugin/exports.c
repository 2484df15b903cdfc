/* SPDX-License-Identifier: BSD-3-Clause */

#include "exports.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void exports_init(struct exports *exports, sectors_store *store) {
  *exports = (struct exports){.store = store};
  pthread_mutex_init(&exports->lock, NULL);
}

void exports_destroy(struct exports *exports) {
  while (exports->first) {
    struct export *export = exports->first;
    exports->first = export->next;
    free(export);
  }
  pthread_mutex_destroy(&exports->lock);
}

/* With the lock held. */
static struct export *find(struct exports *exports, const char *name) {
  struct export *export = exports->first;
  while (export && strcmp(sectors_volume_name(export->volume), name) != 0)
    export = export->next;
  return export;
}

/* With the lock held.  NULL with errno set. */
static struct export *add(struct exports *exports, const char *name, uint64_t size) {
  struct export *export = calloc(1, sizeof *export);
  if (!export)
    return NULL;
  int error = sectors_volume_create(exports->store, name, size, &export->volume);
  if (error != 0) {
    free(export);
    errno = -error;
    return NULL;
  }
  struct export **end = &exports->first;
  while (*end)
    end = &(*end)->next;
  *end = export;
  exports->count++;
  return export;
}

int exports_add(struct exports *exports, const char *name, uint64_t size) {
  pthread_mutex_lock(&exports->lock);
  int error = add(exports, name, size) ? 0 : -errno;
  pthread_mutex_unlock(&exports->lock);
  return error;
}

struct connection *exports_open(struct exports *exports, const char *name, uint64_t size,
                                uint32_t most) {
  struct connection *connection = calloc(1, sizeof *connection);
  if (!connection)
    return NULL;
  int error = 0;
  pthread_mutex_lock(&exports->lock);
  struct export *export = find(exports, name);
  if (!export && size == 0) {
    error = ENOENT;
  } else if (!export && sectors_volume_check_name(name) != 0) {
    error = EINVAL;
  } else if (!export && exports->count >= most) {
    error = ENOSPC;
  } else if (!export) {
    export = add(exports, name, size);
    error = export ? 0 : errno;
  }
  if (export) {
    connection->export = export;
    connection->next = export->connections;
    export->connections = connection;
  }
  pthread_mutex_unlock(&exports->lock);
  if (export)
    return connection;
  free(connection);
  errno = error;
  return NULL;
}

void exports_close(struct exports *exports, struct connection *connection) {
  struct export *export = connection->export;
  pthread_mutex_lock(&exports->lock);
  struct connection **link = &export->connections;
  while (*link != connection)
    link = &(*link)->next;
  *link = connection->next;
  add_requests(&export->closed, &connection->requests);
  pthread_mutex_unlock(&exports->lock);
  free(connection);
}

uint32_t export_requests(const struct export *export, struct request_counters *sum) {
  uint32_t connections = 0;
  add_requests(sum, &export->closed);
  for (const struct connection *open = export->connections; open; open = open->next) {
    add_requests(sum, &open->requests);
    connections++;
  }
  return connections;
}
