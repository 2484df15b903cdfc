/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Ways to show the statistics that a server sends (control protocol, command
 * "stats"; see nbdkit-sectors-plugin(1)).
 */

#ifndef SECTORSCTL_STATISTICS_H
#define SECTORSCTL_STATISTICS_H

#include <jansson.h>

/* For people.  before, if not NULL, are statistics taken earlier; then
 * requests and bytes are shown for each second since. */
void print_text(const json_t *statistics, const json_t *before);

/* For Prometheus: its text exposition format, version 0.0.4. */
void print_prometheus(const json_t *statistics);

/* The operations, as the statistics name them. */
enum { OPERATION_COUNT = 7 };
extern const char *const operations[OPERATION_COUNT];

const json_t *requests_of(const json_t *object, const char *operation);

/* Whether there is anything below plain memory. */
int has_tiers(const json_t *statistics);

#endif
