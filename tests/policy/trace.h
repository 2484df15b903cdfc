/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Traces: sequences of accesses to sectors.
 */

#ifndef TRACE_H
#define TRACE_H

#include <stddef.h>
#include <stdint.h>

struct trace {
  char name[64];
  uint32_t *sectors; /* one for each access, numbered from 0 without gaps in
                        the order of the sector numbers */
  size_t count;
  uint32_t distinct;
};

/* Make a generated trace by its name (one of trace_names, which ends with
 * NULL), or read a file that trace.py made, or one of 64-bit sector numbers in
 * this machine's byte order.  Says what is wrong on stderr and returns -1. */
extern const char *const trace_names[];
int trace_generate(const char *name, struct trace *trace);
int trace_read(const char *path, struct trace *trace);
void trace_free(struct trace *trace);

#endif
