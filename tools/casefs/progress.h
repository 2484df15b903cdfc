/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How far something is: a line on the standard error, kept up to date; only on a terminal, and
 * only for what takes more than a second.
 */

#ifndef CASEFS_PROGRESS_H
#define CASEFS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
  const char *what; /* "copying", stands before the numbers */
  bool bytes;       /* of what is counted: print as sizes, with a rate */
  bool terminal, drawn;
  double started, shown; /* seconds */
};

void progress_start(struct progress *progress, const char *what, bool bytes);
/* total 0: not known.  Cheap enough for every file or block.  From one thread at a time. */
void progress_update(struct progress *progress, uint64_t done, uint64_t total);
/* Clear the line.  Also before printing something else; the next update draws it again. */
void progress_clear(struct progress *progress);

#endif
