/* SPDX-License-Identifier: BSD-3-Clause */

#include "control-commands.h"

#include "control-answer.h"
#include "control-map.h"
#include "control-request.h"
#include "control-statistics.h"
#include "memory.h"
#include "settings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  SLICE = 8 << 20,     /* bytes that a long command does between two looks at the client */
  FLUSH_LOOK_MS = 100, /* between two looks at what a flush has done */
};

/* ------------------------------------------------------------------ volumes */

static json_t *no_volume(const char *name) {
  return fail(-ENOENT, "there is no volume '%s' here; the command volumes lists those there are",
              QUOTE(name));
}

/* A range of a volume, the whole of it if none is given. */
struct range {
  uint64_t offset;
  uint64_t count;
  bool whole; /* none was given */
};

/* NULL, or what is wrong. */
static json_t *find_range(const struct request *request, const sectors_volume *volume,
                          struct range *range) {
  uint64_t size = sectors_volume_size(volume);
  uint64_t offset = request->given[ARGUMENT_OFFSET] ? request->number[ARGUMENT_OFFSET] : 0;
  uint64_t left = offset < size ? size - offset : 0;
  uint64_t count = request->given[ARGUMENT_LENGTH] ? request->number[ARGUMENT_LENGTH] : left;
  *range = (struct range){
      .offset = offset,
      .count = count,
      .whole = !request->given[ARGUMENT_OFFSET] && !request->given[ARGUMENT_LENGTH],
  };
  if (offset >= size)
    return refuse("offset: %" PRIu64 " is past the end of volume '%s', which has %" PRIu64 " bytes",
                  offset, sectors_volume_name(volume), size);
  if (count > left)
    return refuse("length: %" PRIu64 " bytes at %" PRIu64 " reach past the end of volume '%s', "
                  "which has %" PRIu64 " bytes",
                  count, offset, sectors_volume_name(volume), size);
  if (count == 0)
    return refuse("length: the range is empty; give at least 1 byte");
  return NULL;
}

/* Whether the store was started with tiers. */
static bool has_tiers(const struct session *session) {
  struct sectors_store_statistics statistics;
  sectors_store_statistics(session->exports->store, &statistics);
  return statistics.high_watermark > 0;
}

static json_t *run_volumes(const struct session *session, const struct request *request) {
  (void)request;
  return success_with("volumes", volumes_json(session->exports));
}

/* Whether a volume that is there has the place as its image, or, if the place
 * is to be an image, as its base.  Writes that volume's name. */
static bool is_taken(const struct session *session, const char *place, bool image,
                     char name[SECTORS_MAX_NAME + 1]) {
  bool taken = false;
  struct exports *exports = session->exports;
  pthread_mutex_lock(&exports->lock);
  for (struct export *export = exports->first; export && !taken; export = export->next) {
    const char *theirs = sectors_volume_image(export->volume);
    taken = theirs && same_place(place, theirs);
    theirs = sectors_volume_base(export->volume);
    taken |= image && theirs && same_place(place, theirs);
    if (taken)
      strcpy(name, sectors_volume_name(export->volume));
  }
  pthread_mutex_unlock(&exports->lock);
  return taken;
}

/* The image or base of a new volume: *place is allocated, or NULL if none is
 * wanted.  NULL, or what is wrong. */
static json_t *find_place(const struct session *session, const struct request *request,
                          enum argument argument, char **place) {
  const char *key = argument_name(argument), *value = request->text[argument];
  char problem[PLACE_PROBLEM], other[SECTORS_MAX_NAME + 1];
  *place = NULL;
  if (!value)
    return NULL;
  if (!has_tiers(session))
    return refuse("%s: this server has memory only; start it with spill, compress, image or base "
                  "to make such volumes",
                  key);
  if (*value != '/' && !strstr(value, "://"))
    return refuse("%s: '%s' is neither a path from the root folder, since the server is not in "
                  "your folder, nor an NBD URI",
                  key, QUOTE(value));
  *place = parse_place(key, value, problem);
  if (!*place)
    return refuse("%s", problem);
  json_t *answer = NULL;
  if (argument == ARGUMENT_IMAGE && is_base_on_demand(*place))
    answer = fail(-EBUSY, "%s: '%s' is the base of the volumes made on demand; give another", key,
                  QUOTE(*place));
  else if (is_taken(session, *place, argument == ARGUMENT_IMAGE, other))
    answer =
        fail(-EBUSY, "%s: '%s' is in use by volume '%s'; give another", key, QUOTE(*place), other);
  if (!answer)
    return NULL;
  free(*place);
  *place = NULL;
  return answer;
}

static json_t *create(const struct session *session, const char *name, uint64_t size,
                      const struct sectors_volume_options *options) {
  char problem[SECTORS_PROBLEM_TEXT];
  int error = exports_add(session->exports, name, size, options, MOST_VOLUMES, problem);
  if (error == 0)
    return success();
  if (*problem)
    return fail(error, "volume '%s' is not made: %s", name, problem);
  if (error == -EEXIST)
    return fail(error, "there is a volume '%s' already; give another name", name);
  if (error == -EUSERS)
    return fail(error, "volume '%s' is not made: there are %d already, and no more can be served",
                name, MOST_VOLUMES);
  return fail(error, "volume '%s' is not made: %s", name, strerror(-error));
}

static json_t *run_create(const struct session *session, const struct request *request) {
  const char *name = request->text[ARGUMENT_NAME];
  uint64_t size = request->number[ARGUMENT_SIZE];
  char *image = NULL, *base = NULL;
  if (sectors_volume_check_name(name) != 0)
    return refuse("name: '%s' cannot name a volume; use 1 to %u bytes of UTF-8 without '/' and "
                  "control characters",
                  QUOTE(name), SECTORS_MAX_NAME);
  if (size == 0 && (request->given[ARGUMENT_SIZE] ||
                    (!request->given[ARGUMENT_IMAGE] && !request->given[ARGUMENT_BASE])))
    return refuse("size: give 1 to 2^63-1 bytes; it can be left out only with an image or base");
  json_t *answer = find_place(session, request, ARGUMENT_IMAGE, &image);
  if (!answer)
    answer = find_place(session, request, ARGUMENT_BASE, &base);
  if (!answer && image && base && same_place(image, base))
    answer = refuse("base: '%s' is the image too; give a base that nobody writes to", QUOTE(base));
  if (!answer) {
    struct sectors_volume_options options = {
        .image = image,
        .base = base,
        .priority =
            request->given[ARGUMENT_PRIORITY] ? (int)request->number[ARGUMENT_PRIORITY] : -1};
    answer = create(session, name, size, &options);
  }
  free(image);
  free(base);
  return answer;
}

/* Take a volume that nobody uses.  NULL, or why not. */
static json_t *take_volume(const struct session *session, const struct request *request,
                           const char *what, struct export **export) {
  const char *name = request->text[ARGUMENT_NAME];
  int error = exports_change(session->exports, name, export);
  if (error == -ENOENT)
    return no_volume(name);
  if (error == -EBUSY)
    return fail(error,
                "volume '%s' cannot be %s while clients are connected to it; disconnect "
                "them first",
                QUOTE(name), what);
  if (error == -EALREADY)
    return fail(-EBUSY,
                "volume '%s' cannot be %s while another command works on it; try again "
                "when that has ended",
                QUOTE(name), what);
  return NULL;
}

static json_t *run_resize(const struct session *session, const struct request *request) {
  struct export *export;
  uint64_t size = request->number[ARGUMENT_SIZE];
  if (size == 0)
    return refuse("size: 0 is not the size of a disk; give 1 to 2^63-1 bytes");
  json_t *answer = take_volume(session, request, "resized", &export);
  if (answer)
    return answer;
  const char *name = sectors_volume_name(export->volume);
  int error = sectors_volume_resize(export->volume, size);
  if (error == 0)
    answer = success();
  else if (error == -ENOTSUP)
    answer = fail(error,
                  "volume '%s' keeps its size: that of its image, an NBD export, cannot be "
                  "changed from here",
                  name);
  else
    answer = fail(error, "volume '%s' cannot be resized: %s", name, strerror(-error));
  exports_finish(session->exports, export, false);
  return answer;
}

/* ---------------------------------------------------------------- durability */

/* A flush under way in a thread of its own, so that somebody can tell of it. */
struct flushing {
  sectors_volume *volume;
  int result;
};

static void *flush_thread(void *argument) {
  struct flushing *flushing = argument;
  flushing->result = sectors_flush(flushing->volume);
  return NULL;
}

static uint64_t dirty_bytes(sectors_volume *volume) {
  struct sectors_volume_statistics statistics;
  sectors_volume_statistics(volume, &statistics);
  return statistics.dirty;
}

static int join_soon(pthread_t thread) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += FLUSH_LOOK_MS * 1000000L;
  until.tv_sec += until.tv_nsec / 1000000000;
  until.tv_nsec %= 1000000000;
  return pthread_timedjoin_np(thread, NULL, &until);
}

/* Flush one volume.  done bytes of total were flushed before, of others.  A
 * flush is not cut short when the client goes away: it does no harm.  0, or a
 * negative errno; *gone says whether the client went away. */
static int flush_volume(const struct session *session, sectors_volume *volume, uint64_t done,
                        uint64_t total, bool *gone) {
  struct flushing flushing = {.volume = volume};
  uint64_t before = dirty_bytes(volume);
  pthread_t thread;
  *gone = false;
  if (pthread_create(&thread, NULL, flush_thread, &flushing) != 0)
    return sectors_flush(volume); /* then without telling */
  while (join_soon(thread) != 0) {
    uint64_t left = dirty_bytes(volume);
    uint64_t now = done + (left < before ? before - left : 0);
    if (!*gone && session->progress(session->opaque, now < total ? now : total, total) != 0)
      *gone = true;
  }
  return flushing.result;
}

static json_t *flush_failed(sectors_volume *volume, int error) {
  return fail(error, "volume '%s' is not durable: writing back to '%s' failed: %s",
              sectors_volume_name(volume), QUOTE(sectors_volume_image(volume)), strerror(-error));
}

static json_t *flush_one(const struct session *session, const char *name) {
  json_t *answer;
  bool gone;
  struct export *export = exports_use(session->exports, name);
  if (!export)
    return no_volume(name);
  if (sectors_volume_is_durable(export->volume)) {
    int error = flush_volume(session, export->volume, 0, dirty_bytes(export->volume), &gone);
    answer =
        error == 0 ? success_with("flushed", json_integer(1)) : flush_failed(export->volume, error);
  } else {
    answer = fail(-EOPNOTSUPP, "volume '%s' has no image, so nothing of it can be made durable",
                  QUOTE(name));
  }
  exports_release(session->exports, export);
  return answer;
}

static uint64_t dirty_in_all(const struct session *session) {
  uint64_t total = 0;
  struct export *export = NULL;
  while ((export = exports_use_next(session->exports, export)))
    if (sectors_volume_is_durable(export->volume))
      total += dirty_bytes(export->volume);
  return total;
}

/* All are tried; the first failure is told. */
static json_t *flush_all(const struct session *session) {
  uint64_t total = dirty_in_all(session), done = 0;
  json_int_t flushed = 0;
  json_t *answer = NULL;
  struct export *export = NULL;
  bool gone = false;
  while ((export = exports_use_next(session->exports, export))) {
    uint64_t before = dirty_bytes(export->volume);
    if (gone || !sectors_volume_is_durable(export->volume))
      continue;
    int error = flush_volume(session, export->volume, done, total, &gone);
    done += before;
    flushed += error == 0;
    if (error != 0 && !answer)
      answer = flush_failed(export->volume, error);
  }
  return answer ? answer : success_with("flushed", json_integer(flushed));
}

static json_t *run_flush(const struct session *session, const struct request *request) {
  const char *name = request->text[ARGUMENT_VOLUME];
  return name ? flush_one(session, name) : flush_all(session);
}

static json_t *run_remove(const struct session *session, const struct request *request) {
  struct export *export;
  bool gone = false;
  json_t *answer = take_volume(session, request, "removed", &export);
  if (answer)
    return answer;
  sectors_volume *volume = export->volume;
  if (sectors_volume_is_durable(volume) && request->number[ARGUMENT_FORCE] == 0) {
    int error = flush_volume(session, volume, 0, dirty_bytes(volume), &gone);
    if (error != 0)
      answer = fail(error,
                    "volume '%s' stays: %" PRIu64 " bytes of it cannot be written back to '%s': "
                    "%s; mend that, or use force and lose them",
                    sectors_volume_name(volume), dirty_bytes(volume),
                    QUOTE(sectors_volume_image(volume)), strerror(-error));
  }
  exports_finish(session->exports, export, !answer && !gone);
  return answer ? answer : success();
}

/* ------------------------------------------------------------ what is where */

static json_t *run_gc(const struct session *session, const struct request *request) {
  struct sectors_store_statistics statistics;
  sectors_store *store = session->exports->store;
  uint64_t target = request->number[ARGUMENT_TARGET];
  char wanted[SIZE_TEXT], text[SIZE_TEXT];
  sectors_store_statistics(store, &statistics);
  if (request->percent)
    target = statistics.limit / 100 * target + statistics.limit % 100 * target / 100;
  int error = sectors_store_gc(store, target, session->progress, session->opaque);
  sectors_store_statistics(store, &statistics);
  uint64_t grain = statistics.charged > 8 << 20 ? (1 << 20) - 1 : (1 << 10) - 1;
  size_text(target, wanted);
  size_text((statistics.charged + grain) & ~grain, text); /* nobody needs all the digits */
  if (error == 0)
    return success_with("charged", json_integer((json_int_t)statistics.charged));
  if (error == -ENOSPC)
    return fail(error,
                "memory is at %s and cannot be brought down to %s: what is left has no "
                "place below, or the place below is full",
                text, wanted);
  return fail(error, "memory is at %s and was not brought down to %s: %s", text, wanted,
              strerror(-error));
}

/* The next extent with data, from offset on. */
static int first_data(void *opaque, uint64_t offset, uint64_t count, enum sectors_extent type) {
  struct range *found = opaque;
  if (type != SECTORS_EXTENT_DATA)
    return 0;
  found->offset = offset;
  found->count = count;
  return 1;
}

typedef int (*range_function)(sectors_volume *volume, uint64_t count, uint64_t offset);

/* Do it to all data of a range, a slice at a time, skipping what holds none. */
static int for_data(const struct session *session, sectors_volume *volume,
                    const struct range *range, range_function function) {
  uint64_t at = range->offset, end = range->offset + range->count;
  while (at < end) {
    struct range data = {.offset = end};
    int result = sectors_extents(volume, end - at, at, first_data, &data);
    if (result < 0)
      return result;
    for (at = data.offset; at < data.offset + data.count;) {
      uint64_t left = data.offset + data.count - at;
      uint64_t count = left < SLICE ? left : SLICE;
      if (session->progress(session->opaque, at - range->offset, range->count) != 0)
        return -ECANCELED;
      result = function(volume, count, at);
      if (result < 0)
        return result;
      at += count;
    }
  }
  return 0;
}

static uint64_t preloaded_bytes(sectors_volume *volume) {
  struct sectors_volume_statistics statistics;
  sectors_volume_statistics(volume, &statistics);
  return statistics.preloaded;
}

/* Of a volume in use; range is of it. */
typedef json_t *(*volume_command)(const struct session *session, const struct request *request,
                                  sectors_volume *volume, const struct range *range);

static json_t *preload(const struct session *session, const struct request *request,
                       sectors_volume *volume, const struct range *range) {
  (void)request;
  uint64_t before = preloaded_bytes(volume);
  int error = for_data(session, volume, range, sectors_cache);
  if (error != 0)
    return fail(error, "volume '%s' is not all brought into memory: %s",
                sectors_volume_name(volume), strerror(-error));
  return success_with("preloaded", json_integer((json_int_t)(preloaded_bytes(volume) - before)));
}

static json_t *drop(const struct session *session, const struct request *request,
                    sectors_volume *volume, const struct range *range) {
  (void)request;
  const char *name = sectors_volume_name(volume);
  int error = for_data(session, volume, range, sectors_drop);
  if (error == 0)
    return success();
  if (error == -EOPNOTSUPP)
    return fail(error, "volume '%s' has nothing below memory to which its data could move", name);
  if (error == -ENOSPC)
    return fail(error, "volume '%s' is not all moved out of memory: the place below is full", name);
  return fail(error, "volume '%s' is not all moved out of memory: %s", name, strerror(-error));
}

static json_t *priority(const struct session *session, const struct request *request,
                        sectors_volume *volume, const struct range *range) {
  if (!request->given[ARGUMENT_PRIORITY])
    return priorities_json(success(), volume, range->count, range->offset, session->progress,
                           session->opaque);
  int error = sectors_set_priority(volume, range->whole ? 0 : range->count,
                                   range->whole ? 0 : range->offset,
                                   (unsigned)request->number[ARGUMENT_PRIORITY]);
  if (error == 0)
    return success();
  if (error == -E2BIG)
    return fail(error,
                "volume '%s' has too many ranges with priorities of their own; set one for "
                "the whole volume, or for larger ranges",
                sectors_volume_name(volume));
  return fail(error, "the priority of volume '%s' cannot be set: %s", sectors_volume_name(volume),
              strerror(-error));
}

static json_t *map(const struct session *session, const struct request *request,
                   sectors_volume *volume, const struct range *range) {
  if (request->given[ARGUMENT_RESOLUTION] && request->number[ARGUMENT_RESOLUTION] == 0)
    return refuse("resolution: 0 parts show nothing; give 1 to %d", MOST_PARTS_OF_A_MAP);
  json_t *answer =
      map_json(success(), volume, range->count, range->offset,
               (uint32_t)request->number[ARGUMENT_RESOLUTION], session->progress, session->opaque);
  return answer ? answer : fail(-ENOMEM, "the server has no memory for this map");
}

static json_t *on_volume(const struct session *session, const struct request *request,
                         volume_command command) {
  struct range range;
  const char *name = request->text[ARGUMENT_VOLUME];
  struct export *export = exports_use(session->exports, name);
  if (!export)
    return no_volume(name);
  json_t *answer = find_range(request, export->volume, &range);
  if (!answer)
    answer = command(session, request, export->volume, &range);
  exports_release(session->exports, export);
  return answer;
}

static json_t *run_preload(const struct session *session, const struct request *request) {
  return on_volume(session, request, preload);
}

static json_t *run_drop(const struct session *session, const struct request *request) {
  return on_volume(session, request, drop);
}

static json_t *run_priority(const struct session *session, const struct request *request) {
  return on_volume(session, request, priority);
}

static json_t *run_map(const struct session *session, const struct request *request) {
  return on_volume(session, request, map);
}

/* -------------------------------------------------------------- the server */

static json_t *run_stats(const struct session *session, const struct request *request) {
  (void)request;
  json_t *statistics = statistics_json(session->exports, session->started_ns);
  return statistics ? success_with("statistics", statistics)
                    : fail(-ENOMEM, "the server has no memory to answer");
}

static json_t *settings_now(sectors_store *store) {
  struct sectors_store_statistics now;
  sectors_store_statistics(store, &now);
  json_t *answer = success();
  set_number(answer, "memory_limit", now.limit);
  set_number(answer, "high_watermark", now.high_watermark);
  set_number(answer, "low_watermark", now.low_watermark);
  json_object_set_new(answer, "compression",
                      json_string(now.compression < 3 ? compression_names[now.compression] : "?"));
  return answer;
}

static json_t *set_limit(const struct session *session, uint64_t limit) {
  sectors_store *store = session->exports->store;
  char text[SIZE_TEXT];
  uint64_t available = available_memory("");
  size_text(limit, text);
  if (limit > available)
    return fail(-ENOMEM,
                "memory_limit: %s is more than the %" PRIu64 "M of memory that this machine, or "
                "its control group, has; give less",
                text, available >> 20);
  int error = sectors_store_set_limit(store, limit);
  if (error == 0)
    return NULL;
  if (error == -EINVAL)
    return fail(error, "memory_limit: %s is not between %s and 2^31 sectors", text,
                has_tiers(session) ? "8M, or 2048 sectors if that is more," : "64 sectors");
  if (error == -ENOSPC)
    return fail(error,
                "memory_limit: %s does not suffice for what is pinned, or has no place below "
                "memory; give more",
                text);
  return fail(error, "memory_limit: %s cannot be set: %s", text, strerror(-error));
}

/* All is checked first, so that a wrong part leaves nothing half set. */
static json_t *run_set(const struct session *session, const struct request *request) {
  struct sectors_store_statistics now;
  enum sectors_compression compression = SECTORS_COMPRESS_NONE;
  sectors_store *store = session->exports->store;
  bool marks = request->given[ARGUMENT_HIGH_WATERMARK] || request->given[ARGUMENT_LOW_WATERMARK];
  bool compress = request->given[ARGUMENT_COMPRESSION];
  sectors_store_statistics(store, &now);
  uint64_t high = request->given[ARGUMENT_HIGH_WATERMARK] ? request->number[ARGUMENT_HIGH_WATERMARK]
                                                          : now.high_watermark;
  uint64_t low = request->given[ARGUMENT_LOW_WATERMARK] ? request->number[ARGUMENT_LOW_WATERMARK]
                                                        : now.low_watermark;
  if (!marks && !compress && !request->given[ARGUMENT_MEMORY_LIMIT])
    return refuse("there is nothing to set; give memory_limit, high_watermark, low_watermark or "
                  "compression");
  if ((marks || compress) && !has_tiers(session))
    return fail(-EOPNOTSUPP, "this server has memory only; start it with spill, compress, image "
                             "or base to set watermarks or compression");
  if (marks && (low == 0 || low > high))
    return refuse("high_watermark, low_watermark: %" PRIu64 "%% and %" PRIu64 "%% do not go "
                  "together; give 1 <= low <= high <= 99",
                  high, low);
  if (compress && !parse_compression(request->text[ARGUMENT_COMPRESSION], &compression))
    return refuse("compression: '%s' is not a way to compress; give none, lz4 or zstd",
                  QUOTE(request->text[ARGUMENT_COMPRESSION]));
  json_t *answer = request->given[ARGUMENT_MEMORY_LIMIT]
                       ? set_limit(session, request->number[ARGUMENT_MEMORY_LIMIT])
                       : NULL;
  if (answer)
    return answer;
  int error = marks ? sectors_store_set_watermarks(store, (unsigned)high, (unsigned)low) : 0;
  if (error == 0 && compress)
    error = sectors_store_set_compression(store, compression);
  return error == 0 ? settings_now(store)
                    : fail(error, "not all could be set: %s", strerror(-error));
}

static json_t *event_json(const struct event *event) {
  static const char *const kinds[] = {
      [SECTORS_EVENT_NOTE] = "note",
      [SECTORS_EVENT_WARNING] = "warning",
      [SECTORS_EVENT_ERROR] = "error",
  };
  struct tm parts;
  char time[32], whole[48];
  gmtime_r(&event->time.tv_sec, &parts);
  strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &parts);
  snprintf(whole, sizeof whole, "%s.%03ldZ", time, event->time.tv_nsec / 1000000);
  return json_pack("{s:I, s:s, s:s, s:o}", "sequence", (json_int_t)event->sequence, "time", whole,
                   "kind", kinds[event->kind], "sentence", text_json(event->sentence));
}

static json_t *run_log(const struct session *session, const struct request *request) {
  struct event_log *log = session->events;
  json_t *list = json_array(), *answer = success();
  uint64_t after = request->number[ARGUMENT_SINCE];
  pthread_mutex_lock(&log->lock);
  uint64_t first = log->next > EVENTS_KEPT ? log->next - EVENTS_KEPT : 1;
  if (after >= first)
    first = after < log->next ? after + 1 : log->next;
  for (uint64_t i = first; i < log->next; i++)
    json_array_append_new(list, event_json(&log->ring[i % EVENTS_KEPT]));
  set_number(answer, "last", log->next - 1);
  pthread_mutex_unlock(&log->lock);
  json_object_set_new(answer, "events", list);
  return answer;
}

/* ---------------------------------------------------------------- all of them */

#define TAKES(argument) (1u << ARGUMENT_##argument)
#define RANGE (TAKES(OFFSET) | TAKES(LENGTH))

static const struct command {
  const char *name;
  json_t *(*run)(const struct session *session, const struct request *request);
  unsigned required, optional; /* arguments, as bits */
} commands[] = {
    {"stats", run_stats, 0, 0},
    {"volumes", run_volumes, 0, 0},
    {"create", run_create, TAKES(NAME), TAKES(SIZE) | TAKES(IMAGE) | TAKES(BASE) | TAKES(PRIORITY)},
    {"remove", run_remove, TAKES(NAME), TAKES(FORCE)},
    {"resize", run_resize, TAKES(NAME) | TAKES(SIZE), 0},
    {"gc", run_gc, TAKES(TARGET), 0},
    {"preload", run_preload, TAKES(VOLUME), RANGE},
    {"drop", run_drop, TAKES(VOLUME), RANGE},
    {"priority", run_priority, TAKES(VOLUME), RANGE | TAKES(PRIORITY)},
    {"flush", run_flush, 0, TAKES(VOLUME)},
    {"map", run_map, TAKES(VOLUME), RANGE | TAKES(RESOLUTION)},
    {"set", run_set, 0,
     TAKES(MEMORY_LIMIT) | TAKES(HIGH_WATERMARK) | TAKES(LOW_WATERMARK) | TAKES(COMPRESSION)},
    {"log", run_log, 0, TAKES(SINCE)},
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static const char command_names[] =
    "stats, volumes, create, remove, resize, gc, preload, drop, priority, flush, map, set, log";

static json_t *run(const struct session *session, const struct command *command, json_t *object) {
  struct request request;
  json_t *answer =
      understand(object, command->name, command->required, command->optional, &request);
  return answer ? answer : command->run(session, &request);
}

/* Of an object that was read. */
static json_t *answer_object(const struct session *session, json_t *object) {
  const json_t *name = json_object_get(object, "command");
  const json_t *version = json_object_get(object, "version");
  if (!json_is_string(name))
    return refuse("the request has no command; send {\"command\": \"stats\"}");
  if (version && !json_is_integer(version))
    return refuse("version: give the number %d", CONTROL_PROTOCOL_VERSION);
  if (version && json_integer_value(version) != CONTROL_PROTOCOL_VERSION)
    return refuse("this server speaks version %d of the protocol only", CONTROL_PROTOCOL_VERSION);
  for (unsigned i = 0; i < COMMANDS; i++)
    if (strcmp(commands[i].name, json_string_value(name)) == 0)
      return run(session, &commands[i], object);
  return refuse("the command '%s' is not known; this server knows: %s",
                QUOTE(json_string_value(name)), command_names);
}

json_t *answer_to(const struct session *session, const char *line, size_t length) {
  json_t *answer, *object = read_object(line, length, &answer);
  if (!object)
    return answer;
  answer = answer_object(session, object);
  json_decref(object);
  return answer;
}
