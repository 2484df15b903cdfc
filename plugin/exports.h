/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Volumes as nbdkit serves them: exports, their connections, and what is
 * counted of their requests.  An export lives until it is removed by
 * exports_finish, or the server ends; no connection opening or closing changes
 * that.
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
  unsigned users;                 /* of exports_use: it stays while there are any */
  bool changing;                  /* by exports_change: no connection may open */
};

/* A name whose volume is being made or removed.  That may take its time, so the
 * lock is not held meanwhile; who wants the same name waits until it is done. */
struct claim {
  struct claim *next;
  const char *name;
  unsigned waiters;
  bool done;
  bool refused; /* a volume wanted by exports_open, which could not be made */
};

struct exports {
  sectors_store *store;
  pthread_mutex_t lock;   /* the lists; not taken by requests */
  pthread_cond_t settled; /* a claim is done, or all who waited for it have seen that */
  struct claim *claims;
  struct export *first; /* oldest first */
  uint32_t count;       /* and those that are being made */
};

/* What is made for a client that asks for a name which is not there. */
struct demand {
  uint64_t size; /* 0: nothing */
  struct sectors_volume_options options;
  uint32_t most; /* volumes that there may be then */
};

void exports_init(struct exports *exports, sectors_store *store);

/* Frees the exports, not the store. */
void exports_destroy(struct exports *exports);

/* Make a volume and its export; options as of sectors_volume_open, whose errors
 * and sentences these are too.  -EUSERS: there are as many as most.  Where the
 * name is being made or removed, it waits for the end of that. */
int exports_add(struct exports *exports, const char *name, uint64_t size,
                const struct sectors_volume_options *options, uint32_t most,
                char problem[SECTORS_PROBLEM_TEXT]);

/* Open the export of that name; if there is none, make what demand says.  Those
 * who ask for the same new name meanwhile get that one volume too, or fail with
 * it.  Returns the connection, or NULL with errno set:
 *  - EIO, ENOSPC, ENOMEM with *problem filled: something below cannot be opened;
 *  - else *problem is empty: ENOENT no such export, EINVAL not a name, ENOSPC too
 *    many, EBUSY it is being resized or removed, ENOMEM;
 *  - ECONNABORTED: it was being made for another client, and that failed; the call
 *    of that one tells why. */
struct connection *exports_open(struct exports *exports, const char *name,
                                const struct demand *demand, char problem[SECTORS_PROBLEM_TEXT]);

/* Whether what demand says can be made now: it is, and removed again.  To be
 * called while there are no volumes.  0, or an error as of sectors_volume_open. */
int exports_try(struct exports *exports, const struct demand *demand,
                char problem[SECTORS_PROBLEM_TEXT]);

void exports_close(struct exports *exports, struct connection *connection);

/* Use the volume of that name outside of a connection, until exports_release:
 * it stays meanwhile.  NULL if there is none. */
struct export *exports_use(struct exports *exports, const char *name);
void exports_release(struct exports *exports, struct export *export);

/* The same of the next volume after one in use, which is released, or of the
 * first for NULL; NULL at the end. */
struct export *exports_use_next(struct exports *exports, struct export *export);

/* Begin to resize or remove a volume.  Nobody can open or use it until
 * exports_finish.  0, -ENOENT (no such volume), -EBUSY (a connection is open),
 * -EALREADY (somebody uses or changes it already). */
int exports_change(struct exports *exports, const char *name, struct export **export);

/* Done with exports_change: the volume goes, or stays. */
void exports_finish(struct exports *exports, struct export *export, bool remove);

/* Copy the name that a client means by "": preferred if there is such a volume,
 * else the oldest one's, else preferred all the same. */
void exports_default(struct exports *exports, const char *preferred,
                     char name[SECTORS_MAX_NAME + 1]);

/* With the lock held: all requests of an export so far, added to sum, and the
 * number of its open connections. */
uint32_t export_requests(const struct export *export, struct request_counters *sum);

#endif
