/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where the sectors of a volume are, as the control socket tells it.
 */

#ifndef SECTORS_CONTROL_MAP_H
#define SECTORS_CONTROL_MAP_H

#include "sectors.h"

#include <jansson.h>

/* Add the map of a range to the answer: as it is, up to a length at which it is
 * cut, or, if resolution is not 0, summed up in so many parts at most.  progress
 * is asked now and then whether to go on.  Takes the answer; NULL if there is no
 * memory. */
json_t *map_json(json_t *answer, sectors_volume *volume, uint64_t count, uint64_t offset,
                 uint32_t resolution, sectors_progress_function progress, void *opaque);

/* Add the priority of the volume, and the parts of the range that have another. */
json_t *priorities_json(json_t *answer, sectors_volume *volume, uint64_t count, uint64_t offset,
                        sectors_progress_function progress, void *opaque);

#endif
