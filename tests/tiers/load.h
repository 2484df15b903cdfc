/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The load: threads, each with a connection to each volume, that send requests of all kinds and
 * check what they read.
 */

#ifndef TIERS_LOAD_H
#define TIERS_LOAD_H

#include "journal.h"

#include <libnbd.h>
#include <pthread.h>

enum load_kind { LOAD_READ, LOAD_WRITE, LOAD_ZERO, LOAD_TRIM, LOAD_CACHE, LOAD_FLUSH, LOAD_STATUS };
enum { LOAD_KINDS = LOAD_STATUS + 1 };
extern const char *const load_names[LOAD_KINDS];

/* What may go wrong at the moment, without being a fault of the server. */
enum {
  ALLOW_NO_SPACE = 1, /* requests that need room may fail with ENOSPC */
  ALLOW_ERRORS = 2,   /* requests may fail */
  ALLOW_DEATH = 4,    /* the server may go away */
};

struct load {
  struct journal *journal;
  const char *socket;
  const char *exports[MAX_VOLUMES];
  uint64_t seed; /* of this round */
  bool split;    /* some writes are sent in two parts, which meet inside a cell */
  uint64_t most_steps;
  _Atomic unsigned allowed;
  _Atomic bool stop;

  /* Sums. */
  _Atomic uint64_t requests[LOAD_KINDS], bytes[LOAD_KINDS], failed[LOAD_KINDS];
  _Atomic uint64_t skipped; /* writes of a race that was too busy to be kept track of */
  _Atomic uint64_t slowest; /* request, in microseconds */

  /* When the request under way was sent, in microseconds, or 0. */
  _Atomic uint64_t since[MAX_THREADS];
};

/* Run the load until load->stop is set, or the server died. */
void load_start(struct load *load);
void load_join(struct load *load);

/* A connection to a volume; NULL if the server does not take it. */
struct nbd_handle *load_connect(const struct load *load, unsigned volume);

uint64_t microseconds_now(void);

#endif
