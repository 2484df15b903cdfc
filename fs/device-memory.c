/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A device in process memory: one volume of a sector store.  Memory follows what is written, and is
 * given back when it is discarded.
 */

#include "device.h"

#include "sectors.h"

#include <stdlib.h>
#include <unistd.h>

#define MOST_SECTORS ((uint64_t)1 << 31) /* of the largest limit that a store takes */

struct memory_device {
  struct casefs_device device;
  sectors_store *store;
  sectors_volume *volume;
};

static struct memory_device *of(struct casefs_device *device) {
  return (struct memory_device *)device;
}

static int memory_read(struct casefs_device *device, void *buffer, size_t count, uint64_t offset) {
  return sectors_read(of(device)->volume, buffer, count, offset);
}

/* Without memory the store says -ENOSPC, which to casefs means a full volume: here the device
 * failed. */
static int memory_write(struct casefs_device *device, const void *buffer, size_t count,
                        uint64_t offset, bool durable) {
  (void)durable;
  if (device->read_only)
    return -EROFS;
  int result = sectors_write(of(device)->volume, buffer, count, offset);
  return result == -ENOSPC ? -EIO : result;
}

static int memory_flush(struct casefs_device *device) {
  (void)device;
  return 0;
}

static int memory_discard(struct casefs_device *device, uint64_t count, uint64_t offset) {
  if (device->read_only)
    return -EROFS;
  return sectors_trim(of(device)->volume, count, offset);
}

/* A store without tiers has no place for priorities: all of it stays in memory anyway. */
static int memory_prioritize(struct casefs_device *device, uint64_t count, uint64_t offset,
                             unsigned priority) {
  int result = sectors_set_priority(of(device)->volume, count, offset, priority);
  return result == -EOPNOTSUPP ? 0 : result;
}

static int memory_preload(struct casefs_device *device, uint64_t count, uint64_t offset) {
  return sectors_cache(of(device)->volume, count, offset);
}

/* Who walks over a map. */
struct mapping {
  casefs_place_function function;
  void *context;
};

static int hand_place_on(void *opaque, const struct sectors_map_entry *entry) {
  static const enum casefs_tier tiers[] = {
      [SECTORS_TIER_NONE] = CASEFS_TIER_NONE,
      [SECTORS_TIER_MEMORY] = CASEFS_TIER_MEMORY,
      [SECTORS_TIER_COMPRESSED] = CASEFS_TIER_COMPRESSED,
      [SECTORS_TIER_SPILL] = CASEFS_TIER_SPILL,
      [SECTORS_TIER_IMAGE] = CASEFS_TIER_IMAGE,
      [SECTORS_TIER_BASE] = CASEFS_TIER_BASE,
  };
  const struct mapping *mapping = opaque;
  struct casefs_place place = {
      .offset = entry->offset,
      .count = entry->count,
      .tier = tiers[entry->tier],
      .heat = entry->heat,
      .priority = entry->priority,
      .dirty = entry->dirty != 0,
  };
  return mapping->function(mapping->context, &place);
}

static int memory_map(struct casefs_device *device, uint64_t count, uint64_t offset,
                      casefs_place_function function, void *context) {
  struct mapping mapping = {function, context};
  return sectors_map(of(device)->volume, count, offset, hand_place_on, &mapping);
}

static void memory_close(struct casefs_device *device) {
  sectors_store_destroy(of(device)->store);
  free(device);
}

static const struct casefs_device_operations memory_operations = {
    .read = memory_read,
    .write = memory_write,
    .flush = memory_flush,
    .discard = memory_discard,
    .close = memory_close,
    .prioritize = memory_prioritize,
    .preload = memory_preload,
    .map = memory_map,
};

/* Bytes of memory that the system may give: swap and compression counted in generously. */
static uint64_t conceivable_memory(void) {
  long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  return pages > 0 && page > 0 ? 4 * (uint64_t)pages * (uint64_t)page : (uint64_t)1 << 40;
}

/* A limit that data of that size, with index and tables, does not reach before the system's memory
 * is at its end.  The store takes address space for it. */
static uint64_t generous_limit(uint64_t size) {
  uint64_t most = conceivable_memory(), store_most = MOST_SECTORS * SECTORS_DEFAULT_SECTOR_SIZE;
  uint64_t limit = size / 4 * 5 + 16 * SECTORS_MIN_LIMIT_SECTORS * SECTORS_DEFAULT_SECTOR_SIZE;
  if (size > most)
    limit = most;
  return limit < store_most ? limit : store_most;
}

static int create_volume(struct memory_device *memory, uint64_t size) {
  int result = sectors_store_create(generous_limit(size), 0, &memory->store);
  if (result == 0)
    result = sectors_volume_create(memory->store, "casefs", size, &memory->volume);
  if (result == 0)
    result = sectors_store_start(memory->store);
  return result;
}

int casefs_device_open_memory(uint64_t size, struct casefs_device **device) {
  size = device_whole_blocks(size);
  if (size == 0 || size > CASEFS_MAX_SIZE)
    return -EINVAL;
  struct memory_device *memory = calloc(1, sizeof *memory);
  if (!memory)
    return -ENOMEM;
  int result = create_volume(memory, size);
  if (result < 0) {
    memory_close(&memory->device);
    return result;
  }
  memory->device.operations = &memory_operations;
  memory->device.size = size;
  memory->device.exclusive = true;
  memory->device.parallel = 4;
  *device = &memory->device;
  return 0;
}
