/* SPDX-License-Identifier: BSD-3-Clause */

#include "model.h"

#include "audit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int complain(const char *what, uint64_t is, uint64_t should) {
  fprintf(stderr, "model: %s: is %" PRIu64 ", should be %" PRIu64 "\n", what, is, should);
  return -1;
}

int model_create(struct model *model, uint64_t limit_sectors, uint32_t sector_size, uint64_t size,
                 uint64_t base) {
  static const char *const names[MODEL_VOLUMES] = {"one", "two"};
  memset(model, 0, sizeof *model);
  model->limit = limit_sectors;
  model->sector_size = sector_size;
  model->window = (uint64_t)MODEL_SECTORS * sector_size;
  if (size - base < model->window) /* the last sector of a volume may be a part of one */
    model->window = size - base;
  int error = sectors_store_create(limit_sectors * sector_size, sector_size, &model->store);
  for (int i = 0; i < MODEL_VOLUMES && error == 0; i++) {
    struct model_volume *volume = &model->volumes[i];
    volume->base = base;
    volume->bytes = calloc(MODEL_SECTORS, sector_size);
    error = volume->bytes ? sectors_volume_create(model->store, names[i], size, &volume->volume)
                          : -ENOMEM;
  }
  return error;
}

void model_destroy(struct model *model) {
  sectors_store_destroy(model->store);
  for (int i = 0; i < MODEL_VOLUMES; i++)
    free(model->volumes[i].bytes);
}

static bool all_zero(const unsigned char *bytes, uint64_t count) {
  return bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0;
}

static bool sector_is_zero(const struct model *model, const struct model_volume *volume,
                           uint64_t sector) {
  return all_zero(volume->bytes + sector * model->sector_size, model->sector_size);
}

static enum sectors_extent sector_type(const struct model *model, const struct model_volume *volume,
                                       uint64_t sector) {
  if (!sector_is_zero(model, volume, sector))
    return SECTORS_EXTENT_DATA;
  return volume->reserved[sector] ? SECTORS_EXTENT_RESERVED : SECTORS_EXTENT_HOLE;
}

/* How many more sectors of the limit the request could rightly ask for.  Each
 * leaf it may have to make takes a page at most, and so does each directory
 * above. */
static uint64_t fair_demand(const struct model *model, const struct model_volume *volume,
                            enum model_step step, uint64_t first, uint64_t last) {
  uint64_t demand = (last - first) / 64 + 2 + 9;
  for (uint64_t sector = first; sector <= last; sector++)
    demand += (step == MODEL_WRITE || step == MODEL_ZERO) &&
              sector_type(model, volume, sector) == SECTORS_EXTENT_HOLE;
  return demand;
}

/* Bytes from a pattern; runs of zeros are part of it. */
static void fill(unsigned char *bytes, uint64_t count, uint32_t pattern) {
  uint32_t state = pattern * 2654435761u + 1;
  for (uint64_t i = 0; i < count; i++) {
    if (i % 1024 == 0)
      state = state * 1664525u + 1013904223u;
    bytes[i] = state >> 28 < 5 ? 0 : (unsigned char)(state >> 24 ^ i);
  }
}

static int write_step(struct model *model, struct model_volume *volume, enum model_step step,
                      uint64_t offset, uint64_t count, uint32_t pattern) {
  struct sectors_store_statistics before;
  uint64_t first = offset / model->sector_size, last = (offset + count - 1) / model->sector_size;
  unsigned char *payload = calloc(count, 1);
  int error;
  if (!payload)
    return -1;
  sectors_store_statistics(model->store, &before);
  if (step == MODEL_WRITE)
    fill(payload, count, pattern);
  if (step == MODEL_ZERO)
    error = sectors_zero(volume->volume, count, volume->base + offset);
  else
    error = sectors_write(volume->volume, payload, count, volume->base + offset);
  if (error == 0) {
    memcpy(volume->bytes + offset, payload, count);
    for (uint64_t i = first; i <= last && step == MODEL_ZERO; i++)
      volume->reserved[i] = true;
  } else if (error == -ENOSPC) {
    uint64_t demand = fair_demand(model, volume, step, first, last);
    model->refusals++;
    error = before.charged / model->sector_size + demand > model->limit
                ? 0
                : complain("sectors free when a request got ENOSPC",
                           model->limit - before.charged / model->sector_size, demand);
  } else {
    error = complain("result of a request", (uint64_t)-error, 0);
  }
  free(payload);
  return error;
}

static int read_step(struct model_volume *volume, uint64_t offset, uint64_t count) {
  unsigned char *got = malloc(count);
  if (!got)
    return -1;
  memset(got, 0xee, count);
  int error = sectors_read(volume->volume, got, count, volume->base + offset);
  if (error == 0 && memcmp(got, volume->bytes + offset, count) != 0)
    error = complain("bytes read at", offset, offset);
  free(got);
  return error;
}

int model_step(struct model *model, enum model_step step, unsigned which, uint64_t offset,
               uint64_t count, uint32_t pattern) {
  struct model_volume *volume = &model->volumes[which % MODEL_VOLUMES];
  offset %= model->window;
  if (count == 0)
    count = 1;
  if (count > model->window - offset)
    count = model->window - offset;
  switch (step) {
  case MODEL_READ:
    return read_step(volume, offset, count);
  case MODEL_RECLAIM:
    sectors_store_reclaim(model->store);
    return 0;
  case MODEL_TRIM:
    memset(volume->bytes + offset, 0, count);
    for (uint64_t i = 0; i < MODEL_SECTORS; i++)
      if (i * model->sector_size >= offset &&
          ((i + 1) * model->sector_size <= offset + count || offset + count == model->window))
        volume->reserved[i] = false;
    return sectors_trim(volume->volume, count, volume->base + offset);
  default:
    return write_step(model, volume, step, offset, count, pattern);
  }
}

/* The walk of extents, compared sector by sector. */
struct extent_check {
  const struct model *model;
  const struct model_volume *volume;
  uint64_t expected; /* offset where the next extent should begin */
  int type;          /* of the one before; -1: none */
};

static int check_extent(void *opaque, uint64_t offset, uint64_t count, enum sectors_extent type) {
  struct extent_check *check = opaque;
  uint64_t size = check->model->sector_size, start = offset - check->volume->base;
  if (offset != check->expected || count == 0)
    return complain("start of an extent", offset, check->expected);
  if ((int)type == check->type)
    return complain("neighbouring extents of one type", type, !type);
  for (uint64_t sector = start / size; sector <= (start + count - 1) / size; sector++)
    if (sector_type(check->model, check->volume, sector) != type)
      return complain("type of an extent", type, sector_type(check->model, check->volume, sector));
  check->expected = offset + count;
  check->type = (int)type;
  return 0;
}

static int check_volume(struct model *model, struct model_volume *volume) {
  struct sectors_volume_statistics statistics;
  uint64_t live = 0, reserved = 0;
  struct extent_check check = {model, volume, volume->base, -1};
  if (read_step(volume, 0, model->window) != 0 ||
      sectors_extents(volume->volume, model->window, volume->base, check_extent, &check) != 0)
    return -1;
  if (check.expected != volume->base + model->window)
    return complain("end of the extents", check.expected, volume->base + model->window);
  for (uint64_t i = 0; i < MODEL_SECTORS; i++) {
    live += sector_type(model, volume, i) == SECTORS_EXTENT_DATA;
    reserved += sector_type(model, volume, i) == SECTORS_EXTENT_RESERVED;
  }
  sectors_volume_statistics(volume->volume, &statistics);
  if (statistics.live != live * model->sector_size)
    return complain("live bytes", statistics.live, live * model->sector_size);
  if (statistics.reserved != reserved * model->sector_size)
    return complain("reserved bytes", statistics.reserved, reserved * model->sector_size);
  return 0;
}

int model_check(struct model *model) {
  for (int i = 0; i < MODEL_VOLUMES; i++)
    if (check_volume(model, &model->volumes[i]) != 0)
      return -1;
  return audit(model->store);
}
