/* SPDX-License-Identifier: BSD-3-Clause */

#include "control-map.h"

#include "control-statistics.h"

#include <stdbool.h>
#include <stdlib.h>

enum {
  MAX_ENTRIES = 20000, /* of a map as it is; the client asks again for the rest */
  ENTRIES_A_LOOK = 4096,
  SMALLEST_STEP = 4096,
  TIERS = SECTORS_TIER_BASE + 1,
};

static const char *const tier_names[TIERS] = {
    [SECTORS_TIER_NONE] = "none",
    [SECTORS_TIER_MEMORY] = "memory",
    [SECTORS_TIER_COMPRESSED] = "compressed",
    [SECTORS_TIER_SPILL] = "spill",
    [SECTORS_TIER_IMAGE] = "image",
    [SECTORS_TIER_BASE] = "base",
};

/* A walk over the map of a range. */
struct walk {
  json_t *list;
  uint64_t offset, count; /* the range */
  uint64_t at;            /* how far it has come */
  unsigned entries;       /* seen */
  sectors_progress_function progress;
  void *opaque;
  struct part *parts;
  uint64_t step; /* bytes of a part; a power of two */
  int usual;     /* priority */
  struct sectors_map_entry last;
};

/* Whether to end: the client went away, or would have to wait long. */
static bool is_enough(struct walk *walk, const struct sectors_map_entry *entry) {
  walk->at = entry->offset + entry->count;
  return ++walk->entries % ENTRIES_A_LOOK == 0 &&
         walk->progress(walk->opaque, walk->at - walk->offset, walk->count) != 0;
}

/* ------------------------------------------------------------------ as it is */

static int add_entry(void *opaque, const struct sectors_map_entry *entry) {
  struct walk *walk = opaque;
  json_t *object = json_object();
  set_number(object, "offset", entry->offset);
  set_number(object, "length", entry->count);
  json_object_set_new(object, "tier",
                      json_string((unsigned)entry->tier < TIERS ? tier_names[entry->tier] : "?"));
  set_number(object, "heat", entry->heat);
  set_number(object, "priority", entry->priority);
  json_object_set_new(object, "dirty", json_boolean(entry->dirty));
  json_array_append_new(walk->list, object);
  return is_enough(walk, entry) || walk->entries == MAX_ENTRIES;
}

static void map_entries(json_t *answer, sectors_volume *volume, struct walk *walk) {
  sectors_map(volume, walk->count, walk->offset, add_entry, walk);
  json_object_set(answer, "map", walk->list);
  if (walk->at < walk->offset + walk->count)
    set_number(answer, "next", walk->at);
}

/* -------------------------------------------------------------------- summed up */

struct part {
  uint64_t bytes[TIERS];
  uint64_t dirty;
  double heat; /* of each byte that is somewhere, added up */
  unsigned priority;
};

static int add_to_parts(void *opaque, const struct sectors_map_entry *entry) {
  struct walk *walk = opaque;
  uint64_t at = entry->offset - walk->offset, end = at + entry->count;
  while (at < end) {
    struct part *part = &walk->parts[at / walk->step];
    uint64_t part_end = (at / walk->step + 1) * walk->step;
    uint64_t count = (part_end < end ? part_end : end) - at;
    if ((unsigned)entry->tier < TIERS)
      part->bytes[entry->tier] += count;
    if (entry->tier != SECTORS_TIER_NONE)
      part->heat += (double)entry->heat * (double)count;
    if (entry->dirty)
      part->dirty += count;
    if (entry->priority > part->priority)
      part->priority = entry->priority;
    at += count;
  }
  return is_enough(walk, entry);
}

static json_t *part_json(const struct part *part, uint64_t offset, uint64_t length) {
  uint64_t held = 0;
  json_t *object = json_object();
  set_number(object, "offset", offset);
  set_number(object, "length", length);
  for (unsigned tier = SECTORS_TIER_NONE + 1; tier < TIERS; tier++) {
    held += part->bytes[tier];
    if (part->bytes[tier] > 0)
      set_number(object, tier_names[tier], part->bytes[tier]);
  }
  if (part->dirty > 0)
    set_number(object, "dirty", part->dirty);
  set_number(object, "heat", held > 0 ? (uint64_t)(part->heat / (double)held + 0.5) : 0);
  set_number(object, "priority", part->priority);
  return object;
}

/* False if there is no memory. */
static bool map_parts(json_t *answer, sectors_volume *volume, struct walk *walk,
                      uint32_t resolution) {
  walk->step = SMALLEST_STEP; /* powers of two make offsets that people can read */
  while ((walk->count - 1) / walk->step >= resolution)
    walk->step *= 2;
  uint64_t parts = (walk->count - 1) / walk->step + 1;
  walk->parts = calloc(parts, sizeof *walk->parts);
  if (!walk->parts)
    return false;
  sectors_map(volume, walk->count, walk->offset, add_to_parts, walk);
  for (uint64_t i = 0; i < parts; i++) {
    uint64_t begin = i * walk->step;
    uint64_t length = walk->count - begin < walk->step ? walk->count - begin : walk->step;
    json_array_append_new(walk->list, part_json(&walk->parts[i], walk->offset + begin, length));
  }
  free(walk->parts);
  json_object_set(answer, "cells", walk->list);
  return true;
}

json_t *map_json(json_t *answer, sectors_volume *volume, uint64_t count, uint64_t offset,
                 uint32_t resolution, sectors_progress_function progress, void *opaque) {
  struct walk walk = {
      .list = json_array(),
      .offset = offset,
      .count = count,
      .at = offset,
      .progress = progress,
      .opaque = opaque,
  };
  bool made = true;
  json_object_set_new(answer, "name", json_string(sectors_volume_name(volume)));
  set_number(answer, "size", sectors_volume_size(volume));
  if (resolution > 0)
    made = map_parts(answer, volume, &walk, resolution);
  else
    map_entries(answer, volume, &walk);
  json_decref(walk.list);
  if (made)
    return answer;
  json_decref(answer);
  return NULL;
}

/* --------------------------------------------------------------- priorities */

static void end_range(struct walk *walk) {
  json_t *object;
  if (walk->last.count == 0 || (int)walk->last.priority == walk->usual)
    return;
  object = json_object();
  set_number(object, "offset", walk->last.offset);
  set_number(object, "length", walk->last.count);
  set_number(object, "priority", walk->last.priority);
  json_array_append_new(walk->list, object);
}

static int add_priority(void *opaque, const struct sectors_map_entry *entry) {
  struct walk *walk = opaque;
  if (walk->last.count > 0 && walk->last.priority == entry->priority) {
    walk->last.count += entry->count;
  } else {
    end_range(walk);
    walk->last = *entry;
  }
  return is_enough(walk, entry);
}

json_t *priorities_json(json_t *answer, sectors_volume *volume, uint64_t count, uint64_t offset,
                        sectors_progress_function progress, void *opaque) {
  struct sectors_volume_statistics statistics;
  sectors_volume_statistics(volume, &statistics);
  struct walk walk = {
      .list = json_array(),
      .offset = offset,
      .count = count,
      .at = offset,
      .progress = progress,
      .opaque = opaque,
      .usual = statistics.priority,
  };
  sectors_map(volume, count, offset, add_priority, &walk);
  end_range(&walk);
  json_object_set_new(answer, "priority", json_integer(statistics.priority));
  json_object_set_new(answer, "ranges", walk.list);
  return answer;
}
