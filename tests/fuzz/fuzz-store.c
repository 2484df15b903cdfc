/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libFuzzer target: steps from the input, done to a store and to a plain array.
 * The first bytes choose limit, sector size and where in the volume; then each
 * step takes 8 bytes.
 */

#include "model.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const uint32_t sector_sizes[] = {4096, 4096, 4096, 8192};
  static const uint64_t sizes[] = {3 << 20, UINT64_C(1) << 40, SECTORS_MAX_VOLUME_SIZE};
  struct model model;
  if (size < 4)
    return 0;
  uint32_t sector_size = sector_sizes[data[1] % 4];
  uint64_t volume_size = sizes[data[2] % 3];
  uint64_t window = (uint64_t)MODEL_SECTORS * sector_size, base = 0;
  if (volume_size > window) /* sector-aligned: at 0, at the end, or across a large boundary */
    base = data[3] % 3 == 0   ? 0
           : data[3] % 3 == 1 ? (volume_size - window) / sector_size * sector_size
                              : volume_size / 2 / sector_size * sector_size - 64 * sector_size;
  if (volume_size <= window + base)
    base = 0;
  if (model_create(&model, SECTORS_MIN_LIMIT_SECTORS + data[0], sector_size, volume_size, base) !=
      0)
    abort();
  for (const uint8_t *step = data + 4; step + 8 <= data + size; step += 8) {
    uint32_t offset, count = 0;
    memcpy(&offset, step + 1, 4);
    memcpy(&count, step + 5, 2);
    if (step[7] & 1) /* more often than not, whole sectors */
      offset = offset % MODEL_SECTORS * sector_size, count = (count % 70) * sector_size;
    if (model_step(&model, step[0] % MODEL_STEPS, step[0] / 16, offset, count, step[7]) != 0)
      abort();
  }
  if (model_check(&model) != 0)
    abort();
  model_destroy(&model);
  return 0;
}
