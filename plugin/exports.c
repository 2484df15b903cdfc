/* SPDX-License-Identifier: BSD-3-Clause */

#include "exports.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void exports_init(struct exports *exports, sectors_store *store) {
  *exports = (struct exports){.store = store};
  pthread_mutex_init(&exports->lock, NULL);
  pthread_cond_init(&exports->settled, NULL);
}

void exports_destroy(struct exports *exports) {
  while (exports->first) {
    struct export *export = exports->first;
    exports->first = export->next;
    free(export);
  }
  pthread_cond_destroy(&exports->settled);
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

/* ------------------------------------------------------------------- claims */

/* These are called with the lock held; await and end_claim give it up meanwhile. */

static struct claim *find_claim(struct exports *exports, const char *name) {
  struct claim *claim = exports->claims;
  while (claim && strcmp(claim->name, name) != 0)
    claim = claim->next;
  return claim;
}

/* Wait until a claim is done.  Returns whether a volume wanted by exports_open
 * could not be made. */
static bool await(struct exports *exports, struct claim *claim) {
  claim->waiters++;
  while (!claim->done)
    pthread_cond_wait(&exports->settled, &exports->lock);
  bool refused = claim->refused;
  if (--claim->waiters == 0)
    pthread_cond_broadcast(&exports->settled);
  return refused;
}

static void begin_claim(struct exports *exports, struct claim *claim, const char *name) {
  *claim = (struct claim){.next = exports->claims, .name = name};
  exports->claims = claim;
}

/* The claim is on its owner's stack, so those who wait must have done with it. */
static void end_claim(struct exports *exports, struct claim *claim) {
  struct claim **link = &exports->claims;
  while (*link != claim)
    link = &(*link)->next;
  *link = claim->next;
  claim->done = true;
  pthread_cond_broadcast(&exports->settled);
  while (claim->waiters > 0)
    pthread_cond_wait(&exports->settled, &exports->lock);
}

/* ------------------------------------------------------------------- volumes */

/* With the lock held and the name claimed.  The lock is given up while the volume
 * opens: its image or base may be at a server that takes its time.  0, or a
 * negative errno. */
static int make(struct exports *exports, const char *name, uint64_t size,
                const struct sectors_volume_options *options, uint32_t most, struct export **result,
                char problem[SECTORS_PROBLEM_TEXT]) {
  if (exports->count >= most)
    return -EUSERS;
  struct export *export = calloc(1, sizeof *export);
  if (!export)
    return -ENOMEM;
  exports->count++;
  pthread_mutex_unlock(&exports->lock);
  int error = sectors_volume_open(exports->store, name, size, options, &export->volume, problem);
  pthread_mutex_lock(&exports->lock);
  if (error != 0) {
    exports->count--;
    free(export);
    return error;
  }
  append(exports, export);
  *result = export;
  return 0;
}

int exports_add(struct exports *exports, const char *name, uint64_t size,
                const struct sectors_volume_options *options, uint32_t most,
                char problem[SECTORS_PROBLEM_TEXT]) {
  struct export *export;
  struct claim *other, claim;
  *problem = '\0';
  pthread_mutex_lock(&exports->lock);
  while ((other = find_claim(exports, name)))
    await(exports, other);
  begin_claim(exports, &claim, name);
  int error =
      find(exports, name) ? -EEXIST : make(exports, name, size, options, most, &export, problem);
  end_claim(exports, &claim);
  pthread_mutex_unlock(&exports->lock);
  return error;
}

int exports_try(struct exports *exports, const struct demand *demand,
                char problem[SECTORS_PROBLEM_TEXT]) {
  sectors_volume *volume;
  *problem = '\0';
  if (demand->size == 0)
    return 0;
  int error = sectors_volume_open(exports->store, "tried", demand->size, &demand->options, &volume,
                                  problem);
  if (error == 0)
    sectors_volume_remove(volume);
  return error;
}

/* --------------------------------------------------------------- connections */

/* With the lock held. */
static void attach(struct export *export, struct connection *connection) {
  connection->export = export;
  connection->next = export->connections;
  export->connections = connection;
}

/* What exports_open fails with, of what making the volume failed with. */
static int errno_of_making(int error, const char *problem) {
  switch (-error) {
  case EUSERS:
  case EDQUOT:
  case ENOSPC:
    return ENOSPC;
  case ENOMEM:
    return ENOMEM;
  default:
    return *problem ? EIO : -error;
  }
}

/* With the lock held, which is given up meanwhile.  The connection is there before
 * anybody else can find the volume, so it is not removed from under it. */
static int make_and_attach(struct exports *exports, const char *name, const struct demand *demand,
                           struct connection *connection, char problem[SECTORS_PROBLEM_TEXT]) {
  struct export *export;
  struct claim claim;
  begin_claim(exports, &claim, name);
  int error = make(exports, name, demand->size, &demand->options, demand->most, &export, problem);
  if (error == 0)
    attach(export, connection);
  claim.refused = error != 0;
  end_claim(exports, &claim);
  return error == 0 ? 0 : errno_of_making(error, problem);
}

/* With the lock held, which may be given up meanwhile.  0, or an errno. */
static int find_and_attach(struct exports *exports, const char *name, const struct demand *demand,
                           struct connection *connection, char problem[SECTORS_PROBLEM_TEXT]) {
  struct export *export;
  struct claim *claim;
  while (!(export = find(exports, name)) && demand->size != 0 &&
         (claim = find_claim(exports, name)))
    if (await(exports, claim))
      return ECONNABORTED;
  if (export && export->changing)
    return EBUSY;
  if (export)
    attach(export, connection);
  else if (demand->size == 0)
    return ENOENT;
  else if (sectors_volume_check_name(name) != 0)
    return EINVAL;
  else
    return make_and_attach(exports, name, demand, connection, problem);
  return 0;
}

struct connection *exports_open(struct exports *exports, const char *name,
                                const struct demand *demand, char problem[SECTORS_PROBLEM_TEXT]) {
  *problem = '\0';
  struct connection *connection = calloc(1, sizeof *connection);
  if (!connection)
    return NULL;
  pthread_mutex_lock(&exports->lock);
  int error = find_and_attach(exports, name, demand, connection, problem);
  pthread_mutex_unlock(&exports->lock);
  if (error == 0)
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

/* ------------------------------------------------------- use without a connection */

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

/* With the lock held, which is given up meanwhile.  The store knows the name until
 * the end, so nobody may make a volume of that name before. */
static void remove_export(struct exports *exports, struct export *export) {
  char name[SECTORS_MAX_NAME + 1];
  struct claim claim;
  struct export **link = &exports->first;
  while (*link != export)
    link = &(*link)->next;
  *link = export->next;
  strcpy(name, sectors_volume_name(export->volume));
  begin_claim(exports, &claim, name);
  pthread_mutex_unlock(&exports->lock);
  sectors_volume_remove(export->volume);
  free(export);
  pthread_mutex_lock(&exports->lock);
  exports->count--;
  end_claim(exports, &claim);
}

void exports_finish(struct exports *exports, struct export *export, bool remove) {
  pthread_mutex_lock(&exports->lock);
  export->changing = false;
  if (remove)
    remove_export(exports, export);
  pthread_mutex_unlock(&exports->lock);
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
