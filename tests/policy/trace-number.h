/* SPDX-License-Identifier: BSD-3-Clause */

#ifndef TRACE_NUMBER_H
#define TRACE_NUMBER_H

#include "trace.h"

/* Set the accesses of a trace to these sectors, numbered anew without gaps, in
 * the same order.  0, or -1: no memory. */
int trace_number(struct trace *trace, const uint64_t *sectors, size_t count);

#endif
