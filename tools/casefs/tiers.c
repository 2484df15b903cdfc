/* SPDX-License-Identifier: BSD-3-Clause */

#include "tiers.h"
#include "control.h"
#include "text.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

enum { TIERS = CASEFS_TIER_BASE + 1 };

/* As the control protocol has them. */
static const char *const tier_names[TIERS] = {
    [CASEFS_TIER_NONE] = "none",   [CASEFS_TIER_MEMORY] = "memory",
    [CASEFS_TIER_SPILL] = "spill", [CASEFS_TIER_COMPRESSED] = "compressed",
    [CASEFS_TIER_IMAGE] = "image", [CASEFS_TIER_BASE] = "base",
};

/* What a session's device is at the server. */
struct tiers_route {
  struct tiers_route *next;
  const struct session *session;
  char *volume;
};

const char *tier_name(enum casefs_tier tier) {
  return (unsigned)tier < TIERS ? tier_names[tier] : "unknown";
}

bool tiers_take_option(struct tiers *tiers, int letter) {
  if (letter == 'C')
    tiers->socket = optarg;
  else if (letter == 'N')
    tiers->volume = optarg;
  return letter == 'C' || letter == 'N';
}

bool tiers_can_map(const struct tiers *tiers, const struct session *session) {
  return tiers->socket || tiers->volume || session->device->operations->map;
}

/* --------------------------------------------------------- names of volumes */

static int hex_digit(char character) {
  static const char digits[] = "0123456789abcdef";
  const char *found = character ? strchr(digits, tolower((unsigned char)character)) : NULL;
  return found ? (int)(found - digits) : -1;
}

static char *percent_decoded(const char *text, size_t length) {
  char *decoded = allocate(length + 1);
  size_t used = 0;
  for (size_t i = 0; i < length; i++) {
    int high = text[i] == '%' && length - i > 2 ? hex_digit(text[i + 1]) : -1;
    int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
    decoded[used++] = low >= 0 ? (char)(high << 4 | low) : text[i];
    i += low >= 0 ? 2 : 0;
  }
  return decoded;
}

/* The export that an NBD URI names, "" if it names none or the device is no URI; the caller's to
 * free. */
static char *export_of(const char *device) {
  const char *authority = strstr(device, "://");
  const char *path = authority ? strchr(authority + 3, '/') : NULL;
  const char *query = authority ? strpbrk(authority + 3, "?#") : NULL;
  if (!path || (query && query < path))
    return copied("", 0);
  return percent_decoded(path + 1, strcspn(path + 1, "?#"));
}

/* Of the server's volumes, the one of that name; for "" the one that a client gets who names none.
 * NULL if there is none. */
static const json_t *find_volume(const json_t *volumes, const char *name) {
  const json_t *volume;
  size_t i;
  json_array_foreach(volumes, i, volume) {
    const char *its = json_string_value(json_object_get(volume, "name"));
    if (its && strcmp(its, *name ? name : "default") == 0)
      return volume;
  }
  return *name ? NULL : json_array_get(volumes, 0);
}

/* Whether a volume of the server can be what the session has open: a wrong one would be acted on
 * at places that are not the file's. */
static bool is_that_size(const json_t *volume, const char *name, const struct session *session) {
  uint64_t size = (uint64_t)json_integer_value(json_object_get(volume, "virtual"));
  if (size - size % CASEFS_BLOCK_SIZE == session->device->size)
    return true;
  complain(
      "'%s' is not the volume '%s' of that server, which has another size; --volume=NAME names "
      "the right one",
      session->name, name);
  return false;
}

/* The server's volume that the session has open, its name the caller's to free; or NULL with the
 * failure reported. */
static char *choose_volume(struct tiers *tiers, const struct session *session) {
  char *wanted =
      tiers->volume ? copied(tiers->volume, strlen(tiers->volume)) : export_of(session->name);
  json_t *answer = control_ask(tiers->control, json_pack("{s:s}", "command", "stats"));
  const json_t *volumes = json_object_get(json_object_get(answer, "statistics"), "volumes");
  const json_t *volume = find_volume(volumes, wanted);
  const char *name = json_string_value(json_object_get(volume, "name"));
  char *chosen = NULL;
  if (answer && !name)
    complain("the server at '%s' has no volume '%s'; --volume=NAME names another", tiers->socket,
             wanted);
  else if (answer && is_that_size(volume, name, session))
    chosen = copied(name, strlen(name));
  json_decref(answer);
  free(wanted);
  return chosen;
}

/* ---------------------------------------------------------------- the routes */

static bool reach_server(struct tiers *tiers, const struct session *session) {
  if (!tiers->socket) {
    complain(
        "'%s' cannot be asked itself; give the control socket of the nbdkit sectors server that "
        "has it with --control=SOCKET",
        session->name);
    return false;
  }
  if (!tiers->control)
    tiers->control = control_open(tiers->socket);
  return tiers->control != NULL;
}

/* The server's volume that a session has open, looked for once; or NULL with the failure
 * reported. */
static const char *volume_of(struct tiers *tiers, const struct session *session) {
  struct tiers_route *route = tiers->routes;
  while (route && route->session != session)
    route = route->next;
  if (route)
    return route->volume;
  char *volume = reach_server(tiers, session) ? choose_volume(tiers, session) : NULL;
  if (!volume)
    return NULL;
  route = allocate(sizeof *route);
  *route = (struct tiers_route){tiers->routes, session, volume};
  tiers->routes = route;
  return volume;
}

void tiers_end(struct tiers *tiers) {
  while (tiers->routes) {
    struct tiers_route *route = tiers->routes;
    tiers->routes = route->next;
    free(route->volume);
    free(route);
  }
  control_close(tiers->control);
  tiers->control = NULL;
}

/* Say how the device itself failed. */
static bool device_did(const struct session *session, int result) {
  if (result < 0)
    complain("'%s' failed: %s", session->name, reason(result));
  return result >= 0;
}

static json_t *request_of(const char *volume, const char *command,
                          const struct device_range *range) {
  return json_pack("{s:s, s:s, s:I, s:I}", "command", command, "volume", volume, "offset",
                   (json_int_t)range->offset, "length", (json_int_t)range->count);
}

/* Ask for something that is done or not. */
static bool did(struct tiers *tiers, json_t *request) {
  json_t *answer = control_ask(tiers->control, request);
  json_decref(answer);
  return answer != NULL;
}

bool tiers_prioritize(struct tiers *tiers, const struct session *session,
                      const struct device_range *range, unsigned priority) {
  struct casefs_device *device = session->device;
  if (!tiers->socket && device->operations->prioritize)
    return device_did(
        session, device->operations->prioritize(device, range->count, range->offset, priority));
  const char *volume = volume_of(tiers, session);
  if (!volume)
    return false;
  json_t *request = request_of(volume, "priority", range);
  json_object_set_new(request, "priority", json_integer(priority));
  return did(tiers, request);
}

bool tiers_preload(struct tiers *tiers, const struct session *session,
                   const struct device_range *range) {
  struct casefs_device *device = session->device;
  if (!tiers->socket && device->operations->preload)
    return device_did(session, device->operations->preload(device, range->count, range->offset));
  const char *volume = volume_of(tiers, session);
  return volume && did(tiers, request_of(volume, "preload", range));
}

/* ------------------------------------------------------------------- the map */

static bool tier_by_name(const char *name, enum casefs_tier *tier) {
  for (unsigned i = 0; name && i < TIERS; i++)
    if (strcmp(name, tier_names[i]) == 0) {
      *tier = (enum casefs_tier)i;
      return true;
    }
  return false;
}

/* Take one entry of the server's map, which must go on where the one before ended. */
static bool read_place(const json_t *entry, const struct device_range *left,
                       struct casefs_place *place) {
  json_int_t offset, count, heat = 0, priority = 0;
  const char *tier;
  int dirty = 0;
  json_t *unqualified = (json_t *)(uintptr_t)entry; /* it is only read */
  if (json_unpack(unqualified, "{s:I, s:I, s:s, s?I, s?I, s?b}", "offset", &offset, "length",
                  &count, "tier", &tier, "heat", &heat, "priority", &priority, "dirty",
                  &dirty) != 0)
    return false;
  if (offset < 0 || (uint64_t)offset != left->offset || count <= 0 ||
      (uint64_t)count > left->count || heat < 0 || heat > 100 || priority < 0 || priority > 10)
    return false;
  *place = (struct casefs_place){.offset = (uint64_t)offset,
                                 .count = (uint64_t)count,
                                 .heat = (unsigned)heat,
                                 .priority = (unsigned)priority,
                                 .dirty = dirty != 0};
  return tier_by_name(tier, &place->tier);
}

/* Hand the entries of an answer on, and shorten left by them; false if they make no sense. */
static bool take_entries(const json_t *entries, struct device_range *left,
                         casefs_place_function function, void *context) {
  const json_t *entry;
  size_t i;
  json_array_foreach(entries, i, entry) {
    struct casefs_place place;
    if (!read_place(entry, left, &place))
      return false;
    function(context, &place);
    left->offset += place.count;
    left->count -= place.count;
  }
  return json_array_size(entries) > 0;
}

/* A server may cut a long map short: then it is asked for the rest. */
static bool map_by_server(struct tiers *tiers, const char *volume, const struct device_range *range,
                          casefs_place_function function, void *context) {
  struct device_range left = *range;
  bool good = true;
  while (good && left.count > 0 && !interrupted()) {
    json_t *answer = control_ask(tiers->control, request_of(volume, "map", &left));
    if (!answer)
      return false;
    good = take_entries(json_object_get(answer, "map"), &left, function, context);
    json_decref(answer);
  }
  if (!good)
    complain("the map that the server at '%s' sent makes no sense", tiers->socket);
  return good;
}

bool tiers_map(struct tiers *tiers, const struct session *session, const struct device_range *range,
               casefs_place_function function, void *context) {
  struct casefs_device *device = session->device;
  if (!tiers->socket && device->operations->map)
    return device_did(
        session, device->operations->map(device, range->count, range->offset, function, context));
  const char *volume = volume_of(tiers, session);
  return volume && map_by_server(tiers, volume, range, function, context);
}
