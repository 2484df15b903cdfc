/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A store beside a plain array that says what it should hold.  Each step does
 * the same to both; model_check compares all there is to compare.
 */

#ifndef SECTORS_TEST_MODEL_H
#define SECTORS_TEST_MODEL_H

#include "sectors.h"

#include <stdbool.h>
#include <stdint.h>

enum {
  MODEL_VOLUMES = 2,
  MODEL_SECTORS = 200, /* modelled of each volume */
};

struct model_volume {
  sectors_volume *volume;
  uint64_t base; /* where in the volume the modelled window begins */
  unsigned char *bytes;
  bool reserved[MODEL_SECTORS];
};

struct model {
  sectors_store *store;
  uint64_t limit;
  uint32_t sector_size;
  uint64_t window; /* bytes modelled of each volume */
  struct model_volume volumes[MODEL_VOLUMES];
  unsigned refusals; /* requests that ended with -ENOSPC */
};

enum model_step {
  MODEL_WRITE,
  MODEL_WRITE_ZEROS,
  MODEL_ZERO,
  MODEL_TRIM,
  MODEL_READ,
  MODEL_RECLAIM,
  MODEL_STEPS
};

/* All return 0, or -1 having said on stderr what went wrong. */

/* A store whose limit is that many sectors, with volumes of size bytes; the
 * windows lie at base. */
int model_create(struct model *model, uint64_t limit_sectors, uint32_t sector_size, uint64_t size,
                 uint64_t base);

/* Do one step to count bytes at offset of a window, cut to it. */
int model_step(struct model *model, enum model_step step, unsigned volume, uint64_t offset,
               uint64_t count, uint32_t pattern);

int model_check(struct model *model);

void model_destroy(struct model *model);

#endif
