/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The figures of a server, as the control socket tells them; each is described
 * in nbdkit-sectors-plugin(1).
 */

#ifndef SECTORS_CONTROL_STATISTICS_H
#define SECTORS_CONTROL_STATISTICS_H

#include "exports.h"

#include <jansson.h>

/* All of it; started_ns is when the server started, on clock_ns.  NULL if there is no
 * memory. */
json_t *statistics_json(struct exports *exports, uint64_t started_ns);

/* What volumes there are: an array. */
json_t *volumes_json(struct exports *exports);

/* A text of the outside world, perhaps NULL (then JSON's null); bytes that are not UTF-8
 * become question marks. */
json_t *text_json(const char *text);

void set_number(json_t *object, const char *key, uint64_t number);

#endif
