/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The bases of a store's volumes.  An NBD export that many volumes have as
 * their base is opened once for all of them: each opening takes up to four
 * connections, and threads at the server.  A file costs little, and is opened
 * for each volume, so that one made after the file was replaced has the new one.
 */

#ifndef SECTORS_BASES_H
#define SECTORS_BASES_H

#include "backing.h"

#include <pthread.h>

struct shared_base;

struct bases {
  pthread_mutex_t lock; /* the list; not held while a base is opened or closed */
  struct shared_base *first;
};

void bases_init(struct bases *bases);

/* All bases are closed by now. */
void bases_destroy(struct bases *bases);

/* Open a base, as backing_open does; errors and sentences are the same.  One that others
 * have open is asked for its first bytes, so a server that is away is noticed here. */
int bases_open(struct bases *bases, const char *place, struct backing **base,
               char problem[BACKING_PROBLEM]);

void bases_close(struct bases *bases, struct backing *base);

#endif
