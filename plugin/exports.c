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

/* With the lock held. */
static void append(struct exports *exports, struct export *export) {
  struct export **end = &exports->first;
  while (*end)
    end = &(*end)->next;
  *end = export;
}

/* With the lock held: make a volume with nothing of its own below it, which is
 * done at once.  NULL with errno set. */
static struct export *add(struct exports *exports, const char *name, uint64_t size) {
  char problem[SECTORS_PROBLEM_TEXT];
  struct export *export = calloc(1, sizeof *export);
  if (!export)
    return NULL;
  int error = sectors_volume_open(exports->store, name, size, NULL, &export->volume, problem);
  if (error != 0) {
    free(export);
    errno = -error;
    return NULL;
  }
  append(exports, export);
  exports->count++;
  return export;
}

/* The lock is not held while the volume opens: its image may be at a server
 * that takes its time.  The store sees to it that a name is given once. */
int exports_add(struct exports *exports, const char *name, uint64_t size,
                const struct sectors_volume_options *options, uint32_t most,
                char problem[SECTORS_PROBLEM_TEXT]) {
  *problem = '\0';
  struct export *export = calloc(1, sizeof *export);
  if (!export)
    return -ENOMEM;
  pthread_mutex_lock(&exports->lock);
  bool room = exports->count < most;
  exports->count += room;
  pthread_mutex_unlock(&exports->lock);
  int error =
      room ? sectors_volume_open(exports->store, name, size, options, &export->volume, problem)
           : -EUSERS;
  pthread_mutex_lock(&exports->lock);
  if (error == 0)
    append(exports, export);
  else
    exports->count -= room;
  pthread_mutex_unlock(&exports->lock);
  if (error != 0)
    free(export);
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
  if (export && export->changing) {
    error = EBUSY;
    export = NULL;
  } else if (!export && size == 0) {
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

struct export *exports_use(struct exports *exports, const char *name) {
  pthread_mutex_lock(&exports->lock);
  struct export *export = find(exports, name);
  if (export && export->changing)
    export = NULL;
  if (export)
    export->users++;
  pthread_mutex_unlock(&exports->lock);
  return export;
}

void exports_release(struct exports *exports, struct export *export) {
  pthread_mutex_lock(&exports->lock);
  export->users--;
  pthread_mutex_unlock(&exports->lock);
}

struct export *exports_use_next(struct exports *exports, struct export *export) {
  pthread_mutex_lock(&exports->lock);
  struct export *next = export ? export->next : exports->first;
  while (next && next->changing)
    next = next->next;
  if (next)
    next->users++;
  if (export)
    export->users--;
  pthread_mutex_unlock(&exports->lock);
  return next;
}

int exports_change(struct exports *exports, const char *name, struct export **export) {
  int error = 0;
  pthread_mutex_lock(&exports->lock);
  *export = find(exports, name);
  if (!*export)
    error = -ENOENT;
  else if ((*export)->connections)
    error = -EBUSY;
  else if ((*export)->users > 0 || (*export)->changing)
    error = -EALREADY;
  else
    (*export)->changing = true;
  pthread_mutex_unlock(&exports->lock);
  return error;
}

void exports_finish(struct exports *exports, struct export *export, bool remove) {
  pthread_mutex_lock(&exports->lock);
  export->changing = false;
  if (remove) {
    struct export **link = &exports->first;
    while (*link != export)
      link = &(*link)->next;
    *link = export->next;
    exports->count--;
  }
  pthread_mutex_unlock(&exports->lock);
  if (remove) {
    sectors_volume_remove(export->volume);
    free(export);
  }
}

void exports_default(struct exports *exports, const char *preferred,
                     char name[SECTORS_MAX_NAME + 1]) {
  pthread_mutex_lock(&exports->lock);
  const struct export *export = find(exports, preferred);
  if (!export)
    export = exports->first;
  strcpy(name, export ? sectors_volume_name(export->volume) : preferred);
  pthread_mutex_unlock(&exports->lock);
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
