/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The contest of the judges: which way to judge heats would have had most hits
 * lately, found by playing a sample of the accesses on miniature memories.
 */

#ifndef SECTORS_CONTEST_H
#define SECTORS_CONTEST_H

#include "heat.h"

#include <stddef.h>

struct contest;

struct contest *contest_create(void); /* NULL: no memory */
void contest_destroy(struct contest *contest);
size_t contest_bytes(void);

/* Start over, with miniatures of so many sectors. */
enum { CONTEST_CAPACITY = 512 };
void contest_reset(struct contest *contest, unsigned capacity);

/* A sector of the sample is accessed.  Returns the judge to follow. */
enum judge contest_access(struct contest *contest, uint32_t tag, uint32_t now, enum judge current);

#endif
