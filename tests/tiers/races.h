/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What may be read from cells that several threads write at the same time: each as if the
 * requests had been done one after the other, in some order that agrees with the time of day.
 *
 * A write may be seen by a read unless it began after the read ended, or another write began after
 * it ended and ended before the read began.
 */

#ifndef TIERS_RACES_H
#define TIERS_RACES_H

#include <stdbool.h>
#include <stdint.h>

struct races;

/* For so many cells and threads. */
struct races *races_new(uint64_t cells, unsigned threads);

/* Between rounds: a cell holds this value for certain. */
void races_reset(struct races *races, uint64_t cell, uint64_t value);

/* A thread begins to write values[i] to the cells first + i.  Returns the time, or 0 if too much
 * is going on there: then nothing was noted, and the thread does something else. */
uint64_t races_write_begin(struct races *races, uint64_t first, const uint64_t *values,
                           uint64_t count);

enum race_result { RACE_DONE, RACE_UNKNOWN };
void races_write_end(struct races *races, uint64_t first, uint64_t count, uint64_t begun,
                     enum race_result result);

/* A thread begins to read; it has the value begun for races_permit after races_read_end. */
uint64_t races_read_begin(struct races *races, unsigned thread);
uint64_t races_now(struct races *races);
void races_read_end(struct races *races, unsigned thread);

/* Whether a read from begun to ended may have found that value. */
bool races_permit(struct races *races, uint64_t cell, uint64_t value, uint64_t begun,
                  uint64_t ended);

/* Note what is known of a cell, for a failure's report. */
void races_tell(struct races *races, uint64_t cell);

#endif
