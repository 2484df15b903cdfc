/* SPDX-License-Identifier: BSD-3-Clause */

#include "json.h"
#include "text.h"
#include "tiers.h"
#include "verbs.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { TIERS = CASEFS_TIER_BASE + 1 };

/* What one tier has of a file. */
struct tier_share {
  uint64_t bytes;
  double heat, priority; /* sums of those of the bytes */
  uint64_t dirty;        /* of the bytes */
};

struct options {
  bool json, printed;
  struct json_list list;
  struct tiers tiers;
};

/* ------------------------------------------------------------------ volumes */

static void print_number(const char *key, uint64_t number) {
  printf("%-12s %" PRIu64 "\n", key, number);
}

static void print_size(const char *key, uint64_t bytes) {
  char text[SIZE_TEXT];
  printf("%-12s %" PRIu64 " (%s)\n", key, bytes, size_text(bytes, true, text));
}

static void print_string(const char *key, const char *value) {
  char *safe = displayable(value, strlen(value));
  printf("%-12s %s\n", key, safe);
  free(safe);
}

static void print_volume(const char *device, const struct casefs_statistics *statistics) {
  char uuid[37];
  print_string("device:", device);
  print_string("label:", statistics->label);
  print_string("uuid:", uuid_text(statistics->uuid, uuid));
  print_string("root:", statistics->case_insensitive ? "insensitive" : "sensitive");
  print_size("size:", statistics->size);
  print_size("free:", statistics->free);
  print_size("reserved:", statistics->reserved);
  print_number("nodes:", statistics->nodes);
  print_number("next id:", statistics->next_id);
  print_number("generation:", statistics->generation);
  print_number("tree depth:", statistics->tree_depth);
  print_size("deferred:", statistics->deferred);
}

static json_t *volume_object(const char *device, const struct casefs_statistics *statistics) {
  json_t *object = json_object();
  char uuid[37];
  json_object_set_new(object, "device", json_name(device, strlen(device)));
  json_object_set_new(object, "label", json_name(statistics->label, strlen(statistics->label)));
  json_object_set_new(object, "uuid", json_string(uuid_text(statistics->uuid, uuid)));
  json_object_set_new(object, "root_case",
                      json_string(statistics->case_insensitive ? "insensitive" : "sensitive"));
  json_object_set_new(object, "size", json_integer((json_int_t)statistics->size));
  json_object_set_new(object, "free", json_integer((json_int_t)statistics->free));
  json_object_set_new(object, "reserved", json_integer((json_int_t)statistics->reserved));
  json_object_set_new(object, "nodes", json_integer((json_int_t)statistics->nodes));
  json_object_set_new(object, "next_id", json_integer((json_int_t)statistics->next_id));
  json_object_set_new(object, "generation", json_integer((json_int_t)statistics->generation));
  json_object_set_new(object, "tree_depth", json_integer(statistics->tree_depth));
  json_object_set_new(object, "deferred", json_integer((json_int_t)statistics->deferred));
  return object;
}

static bool show_volume(const struct target *target, struct options *options) {
  struct casefs_statistics statistics;
  casefs_volume_statistics(target->session->volume, &statistics);
  if (options->json)
    json_list_add(&options->list, volume_object(target->location.device, &statistics));
  else
    print_volume(target->location.device, &statistics);
  return true;
}

/* ------------------------------------------------------------------ extents */

static const char *kind_name(enum casefs_extent_kind kind) {
  static const char *const names[] = {[CASEFS_EXTENT_HOLE] = "hole",
                                      [CASEFS_EXTENT_DATA] = "data",
                                      [CASEFS_EXTENT_UNWRITTEN] = "unwritten",
                                      [CASEFS_EXTENT_INLINE] = "inline",
                                      [CASEFS_EXTENT_MEMORY] = "memory"};
  return (unsigned)kind < sizeof names / sizeof names[0] ? names[kind] : "unknown";
}

static bool is_placed(const struct casefs_extent *extent) {
  return extent->kind == CASEFS_EXTENT_DATA || extent->kind == CASEFS_EXTENT_UNWRITTEN;
}

static json_t *extent_object(const struct casefs_extent *extent) {
  json_t *object = json_object();
  json_object_set_new(object, "kind", json_string(kind_name(extent->kind)));
  json_object_set_new(object, "offset", json_integer((json_int_t)extent->offset));
  json_object_set_new(object, "count", json_integer((json_int_t)extent->count));
  if (is_placed(extent))
    json_object_set_new(object, "device_offset", json_integer((json_int_t)extent->device_offset));
  return object;
}

static void print_extent(const struct casefs_extent *extent) {
  printf("%20" PRIu64 " %20" PRIu64 "  %-9s", extent->offset, extent->count,
         kind_name(extent->kind));
  if (is_placed(extent))
    printf(" %20" PRIu64, extent->device_offset);
  putchar('\n');
}

static int sum_place(void *context, const struct casefs_place *place) {
  struct tier_share *share = (struct tier_share *)context + place->tier;
  share->bytes += place->count;
  share->heat += (double)place->count * place->heat;
  share->priority += (double)place->count * place->priority;
  share->dirty += place->dirty ? place->count : 0;
  return 0;
}

static bool sum_places(const struct target *target, struct options *options,
                       struct tier_share shares[TIERS]) {
  struct device_ranges ranges;
  bool good = device_ranges_of(target, &ranges);
  for (size_t i = 0; good && i < ranges.length && !interrupted(); i++)
    good = tiers_map(&options->tiers, target->session, &ranges.ranges[i], sum_place, shares);
  device_ranges_clear(&ranges);
  return good;
}

static void print_shares(const struct tier_share shares[TIERS]) {
  printf("%-12s %20s %8s %8s %20s\n", "where", "bytes", "heat", "priority", "dirty bytes");
  for (unsigned i = 0; i < TIERS; i++) {
    const struct tier_share *share = &shares[i];
    double bytes = (double)share->bytes;
    if (share->bytes > 0)
      printf("%-12s %20" PRIu64 " %8.0f %8.1f %20" PRIu64 "\n", tier_name((enum casefs_tier)i),
             share->bytes, share->heat / bytes, share->priority / bytes, share->dirty);
  }
}

static json_t *shares_array(const struct tier_share shares[TIERS]) {
  json_t *array = json_array();
  for (unsigned i = 0; i < TIERS; i++) {
    const struct tier_share *share = &shares[i];
    double bytes = (double)share->bytes;
    if (share->bytes > 0)
      json_array_append_new(
          array, json_pack("{s:s, s:I, s:f, s:f, s:I}", "tier", tier_name((enum casefs_tier)i),
                           "bytes", (json_int_t)share->bytes, "heat", share->heat / bytes,
                           "priority", share->priority / bytes, "dirty", (json_int_t)share->dirty));
  }
  return array;
}

/* Where the bytes of a file are by now: in object, if it is not NULL, or printed. */
static bool show_tiers(const struct target *target, struct options *options, json_t *object) {
  struct tier_share shares[TIERS] = {0};
  if (!tiers_can_map(&options->tiers, target->session))
    return true;
  if (!sum_places(target, options, shares))
    return false;
  if (object)
    json_object_set_new(object, "tiers", shares_array(shares));
  else
    print_shares(shares);
  return true;
}

static bool show_extents(const struct target *target, struct options *options) {
  struct casefs_extent extent = {0};
  json_t *extents = json_array();
  int result = 0;
  if (!options->json) {
    print_string("file:", target->argument);
    printf("%20s %20s  %-9s %20s\n", "offset", "bytes", "kind", "device offset");
  }
  while (!interrupted() &&
         (result = casefs_get_extent(target->node, extent.offset + extent.count, &extent)) > 0) {
    if (options->json)
      json_array_append_new(extents, extent_object(&extent));
    else
      print_extent(&extent);
  }
  if (result < 0)
    complain("cannot read all extents of '%s': %s", target->argument, reason(result));
  json_t *object = options->json ? json_object() : NULL;
  if (object) {
    json_object_set_new(object, "path", json_name(target->argument, strlen(target->argument)));
    json_object_set(object, "extents", extents);
  }
  bool good = result >= 0 && show_tiers(target, options, object);
  if (object)
    json_list_add(&options->list, object);
  json_decref(extents);
  return good;
}

/* --------------------------------------------------------------------- verb */

static bool show(struct target *target, void *context) {
  struct options *options = context;
  struct casefs_attributes attributes;
  int error = casefs_get_attributes(target->node, &attributes);
  if (error < 0) {
    complain("cannot read '%s': %s", target->argument, reason(error));
    return false;
  }
  if (options->printed && !options->json)
    putchar('\n');
  options->printed = true;
  if (attributes.id == CASEFS_ROOT_ID)
    return show_volume(target, options);
  if (attributes.type == CASEFS_FILE || attributes.type == CASEFS_STREAM)
    return show_extents(target, options);
  complain("'%s' is a %s, which has no extents; casefs stat shows its attributes", target->argument,
           type_name(attributes.type));
  return false;
}

static int run_info(int count, char **arguments) {
  static const struct option long_options[] = {
      {"json", no_argument, NULL, 'j'}, TIERS_OPTIONS, {0}};
  struct options options = {0};
  int letter;
  while ((letter = getopt_long(count, arguments, "", long_options, NULL)) >= 0) {
    if (letter == '?')
      return EXIT_USAGE;
    if (!tiers_take_option(&options.tiers, letter))
      options.json = true;
  }
  if (!arguments_or_root(&count, &arguments))
    return EXIT_USAGE;
  int status = for_each_target(count, arguments, false, CASEFS_NOFOLLOW, show, &options);
  tiers_end(&options.tiers);
  if (options.json)
    json_list_end(&options.list);
  return status;
}

const struct verb verb_info = {
    .name = "info",
    .usage = "[--json] [DEVICE...]\n"
             "[--json] [--control=SOCKET [--volume=NAME]] DEVICE:/FILE[:STREAM]...",
    .summary = "Show what a volume is like, or where a file lies on its device",
    .help = "With --control, also in which of the server's tiers, and how hot it is.\n"
            "\n"
            "      --json            as a JSON array\n" TIERS_HELP,
    .run = run_info,
};
