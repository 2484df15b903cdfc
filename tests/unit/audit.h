/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A walk of everything a store is made of, compared with its counters.
 */

#ifndef SECTORS_TEST_AUDIT_H
#define SECTORS_TEST_AUDIT_H

#include "sectors.h"

/* 0 if the counters of the store and its volumes equal what is there, no slot
 * is used twice or lost, none has memory that is not accounted for, and no word
 * is left locked.  Otherwise says on stderr what differs and returns -1.  No
 * request may be under way; the background thread is stopped. */
int audit(sectors_store *store);

#endif
