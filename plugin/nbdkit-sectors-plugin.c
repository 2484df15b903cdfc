/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The nbdkit plugin: nbdkit's callbacks, over libsectors.
 */

#include "control-log.h"
#include "control.h"
#include "exports.h"
#include "sectors.h"
#include "settings.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

enum {
  /* Clients that honour it keep nbdkit's buffers, one for each thread, small. */
  MAX_REQUEST = 4 << 20,
  /* nbdkit sends each extent by itself, so a very long list costs more than
   * asking again from where it ended. */
  MAX_EXTENTS = 1024,
};

static sectors_store *store;
static struct exports exports;
static struct event_log events;
static struct control *control;
static bool survives_hangups;
static bool running; /* from after_fork to the end */

/* ------------------------------------------------------------ configuration */

static int sectors_plugin_config(const char *key, const char *value) {
  return settings_set(key, value);
}

static int sectors_plugin_config_complete(void) {
  return settings_complete();
}

static void sectors_plugin_dump(void) {
  printf("sectors_version=%s\n", SECTORS_VERSION);
  printf("sectors_min_sector_size=%u\n", least_sector_size());
  printf("sectors_max_sector_size=%u\n", SECTORS_MAX_SECTOR_SIZE);
  printf("sectors_max_volumes=%d\n", MOST_VOLUMES);
  printf("sectors_control_protocol=%d\n", CONTROL_PROTOCOL_VERSION);
  printf("sectors_compress=none,lz4,zstd\n");
  printf("sectors_min_tiered_limit=%" PRIu64 "\n", SECTORS_MIN_TIERED_LIMIT);
}

/* Whether the server survives a client that hangs up while a reply is being
 * sent in several pieces, or while several requests of it are under way.
 * Servers before 1.34 abort ("Assertion `sock >= 0' failed"), and every disk
 * is lost; nbdkit_disconnect came with 1.34. */
static bool server_survives_hangups(void) {
  return dlsym(RTLD_DEFAULT, "nbdkit_disconnect") != NULL;
}

/* Requests of one connection one after the other is the quickest for a disk
 * in memory: a pool of threads for each connection costs more than it brings
 * (DESIGN.md).  Where requests may have to wait for a disk or a network, others
 * of the same connection should not wait with them, if the server can do that
 * safely.  Connections are served in parallel either way. */
static int sectors_plugin_thread_model(void) {
  survives_hangups = server_survives_hangups();
  if (settings.thread_model == THREADS_SERIALIZE_REQUESTS)
    return NBDKIT_THREAD_MODEL_SERIALIZE_REQUESTS;
  if (settings.thread_model == THREADS_AUTO)
    return survives_hangups && settings_have_slow_tier() ? NBDKIT_THREAD_MODEL_PARALLEL
                                                         : NBDKIT_THREAD_MODEL_SERIALIZE_REQUESTS;
  if (!survives_hangups)
    fprintf(stderr, "nbdkit: sectors: warning: this nbdkit is older than 1.34 and may abort, "
                    "losing all disks, when a client hangs up; "
                    "thread-model=serialize-requests avoids that\n");
  return NBDKIT_THREAD_MODEL_PARALLEL;
}

/* -------------------------------------------------------------- start and end */

/* Called with locks of the store held, from any thread: it only prints and notes. */
static void note_event(void *opaque, enum sectors_event_kind kind, const char *sentence) {
  event_log_add(opaque, kind, sentence);
  if (kind == SECTORS_EVENT_NOTE)
    nbdkit_debug("%s", sentence);
  else
    nbdkit_error("%s%s", kind == SECTORS_EVENT_WARNING ? "warning: " : "", sentence);
}

/* What a client gets that asks for a name which is not there. */
static struct demand demanded(void) {
  return (struct demand){
      .size = settings.on_demand.size,
      .options = {.base = settings.on_demand.base, .priority = settings.on_demand.priority},
      .most = settings.max_volumes,
  };
}

/* A base that does not open is told of here, not to the first client. */
static int try_demand(void) {
  char problem[SECTORS_PROBLEM_TEXT];
  struct demand demand = demanded();
  int error = exports_try(&exports, &demand, problem);
  if (error == 0)
    return 0;
  nbdkit_error("cannot make volumes on demand: %s", *problem ? problem : strerror(-error));
  return -1;
}

static int make_volumes(void) {
  for (struct declared_volume *volume = settings.volumes; volume; volume = volume->next) {
    char problem[SECTORS_PROBLEM_TEXT];
    struct sectors_volume_options options = {
        .image = volume->image, .base = volume->base, .priority = volume->priority};
    int error = exports_add(&exports, volume->name, volume->size, &options, MOST_VOLUMES, problem);
    if (error != 0) {
      nbdkit_error("cannot make volume '%s': %s", volume->name,
                   *problem ? problem : strerror(-error));
      return -1;
    }
  }
  return 0;
}

static int make_store(void) {
  char limit[SIZE_TEXT];
  struct sectors_tiers tiers = {
      .spill = settings.spill,
      .compress = settings.compress,
      .high_watermark = settings.high_watermark,
      .low_watermark = settings.low_watermark,
  };
  int error = sectors_store_create(settings.memory_limit, settings.sector_size, &store);
  if (error == 0) {
    sectors_store_on_event(store, note_event, &events);
    if (settings_have_tiers())
      error = sectors_store_set_tiers(store, &tiers);
  }
  if (error == 0)
    return 0;
  errno = -error;
  nbdkit_error("cannot make a store of memory-limit=%s: %m",
               size_text(settings.memory_limit, limit));
  return -1;
}

static int sectors_plugin_get_ready(void) {
  event_log_init(&events);
  if (make_store() != 0)
    return -1;
  exports_init(&exports, store);
  if (try_demand() != 0 || make_volumes() != 0)
    return -1;
  if (settings.control) {
    control = control_create(settings.control, &exports, &events);
    if (!control)
      return -1;
  }
  return 0;
}

/* Threads do not survive a fork, so they start here. */
static int sectors_plugin_after_fork(void) {
  int error = sectors_store_start(store);
  if (error != 0) {
    errno = -error;
    nbdkit_error("cannot start the threads that work in the background: %m");
    return -1;
  }
  running = true;
  return control ? control_start(control) : 0;
}

/* --------------------------------------------------------------- writing back */

/* When the progress of the last writing back is told, on a clock_ns. */
struct farewell {
  uint64_t next_ns;
};

enum { FIRST_WORD_NS = 1000000000 };
#define NEXT_WORD_NS UINT64_C(3000000000)

static double mebibytes(uint64_t bytes) {
  return (double)bytes / (1 << 20);
}

/* nbdkit_debug is seen by nobody, and these are no errors. */
static int say_goodbye(void *opaque, uint64_t bytes, uint64_t total) {
  struct farewell *farewell = opaque;
  uint64_t now = clock_ns();
  if (now < farewell->next_ns)
    return 0;
  farewell->next_ns = now + NEXT_WORD_NS;
  fprintf(stderr, "nbdkit: sectors: writing back to the images: %.1fM of %.1fM\n", mebibytes(bytes),
          mebibytes(total));
  return 0;
}

/* What could not be saved, volume by volume. */
static void report_losses(int error) {
  bool reported = false;
  for (const struct export *export = exports.first; export; export = export->next) {
    struct sectors_volume_statistics statistics;
    sectors_volume_statistics(export->volume, &statistics);
    if (!sectors_volume_is_durable(export->volume) || statistics.dirty == 0)
      continue;
    nbdkit_error("volume '%s': %" PRIu64 " bytes could not be written back to '%s' and are lost: "
                 "%s",
                 sectors_volume_name(export->volume), statistics.dirty,
                 QUOTE(sectors_volume_image(export->volume)),
                 strerror(statistics.error != 0 ? -statistics.error : -error));
    reported = true;
  }
  if (!reported)
    nbdkit_error("the images could not be made durable at the end: %s", strerror(-error));
}

/* After the last connection was closed, and before the server ends.  nbdkit
 * waits for this as long as it takes. */
static void sectors_plugin_cleanup(void) {
  if (!running)
    return;
  running = false;
  control_destroy(control);
  control = NULL;
  struct farewell farewell = {.next_ns = clock_ns() + FIRST_WORD_NS};
  int error = sectors_store_finish(store, say_goodbye, &farewell);
  if (error != 0)
    report_losses(error);
}

static void sectors_plugin_unload(void) {
  sectors_plugin_cleanup(); /* if the server left it out */
  control_destroy(control);
  if (store) {
    exports_destroy(&exports);
    sectors_store_destroy(store);
    event_log_destroy(&events);
  }
  settings_free();
}

/* ------------------------------------------------------------------- exports */

static const char *sectors_plugin_default_export(int readonly, int is_tls) {
  char name[SECTORS_MAX_NAME + 1];
  (void)readonly, (void)is_tls;
  exports_default(&exports, DEFAULT_VOLUME, name);
  return nbdkit_strdup_intern(name);
}

/* Nothing of where an image or base is: that is no client's business. */
static const char *describe(const sectors_volume *volume) {
  char size[SIZE_TEXT];
  return nbdkit_printf_intern("%s of %s",
                              sectors_volume_is_durable(volume) ? "durable disk, memory first,"
                              : sectors_volume_base(volume)     ? "disk in memory over a base"
                                                                : "sparse RAM disk",
                              size_text(sectors_volume_size(volume), size));
}

static int sectors_plugin_list_exports(int readonly, int is_tls, struct nbdkit_exports *list) {
  (void)readonly, (void)is_tls;
  int result = 0;
  pthread_mutex_lock(&exports.lock);
  for (struct export *export = exports.first; export && result == 0; export = export->next)
    result = nbdkit_add_export(list, sectors_volume_name(export->volume), describe(export->volume));
  pthread_mutex_unlock(&exports.lock);
  return result;
}

static void *sectors_plugin_open(int readonly) {
  (void)readonly;
  char standard[SECTORS_MAX_NAME + 1], problem[SECTORS_PROBLEM_TEXT];
  struct demand demand = demanded();
  const char *name = nbdkit_export_name();
  if (!name)
    return NULL;
  if (*name == '\0') {
    exports_default(&exports, DEFAULT_VOLUME, standard);
    name = standard;
  }
  struct connection *connection = exports_open(&exports, name, &demand, problem);
  if (connection)
    return connection;
  int error = errno;
  if (error == ECONNABORTED) /* another client's call tells why */
    error = EIO;
  else if (*problem)
    nbdkit_error("cannot make volume '%s': %s", QUOTE(name), problem);
  else if (error == ENOENT)
    nbdkit_error("there is no volume '%s' here; list the exports to see which there are",
                 QUOTE(name));
  else if (error == EINVAL)
    nbdkit_error("'%s' cannot name a volume; use 1 to %u bytes of UTF-8 without '/' and "
                 "control characters",
                 QUOTE(name), SECTORS_MAX_NAME);
  else if (error == ENOSPC)
    nbdkit_error("volume '%s' is not made: there are %" PRIu32 " already, and "
                 "max-volumes=%" PRIu32,
                 QUOTE(name), exports.count, settings.max_volumes);
  else if (error == EBUSY)
    nbdkit_error("volume '%s' is being resized or removed; try again", QUOTE(name));
  else
    nbdkit_error("cannot open volume '%s': %s", QUOTE(name), strerror(error));
  nbdkit_set_error(error);
  return NULL;
}

static void sectors_plugin_close(void *handle) {
  exports_close(&exports, handle);
}

static sectors_volume *volume_of(void *handle) {
  return ((struct connection *)handle)->export->volume;
}

static const char *sectors_plugin_export_description(void *handle) {
  return describe(volume_of(handle));
}

static int64_t sectors_plugin_get_size(void *handle) {
  return (int64_t)sectors_volume_size(volume_of(handle));
}

static int sectors_plugin_block_size(void *handle, uint32_t *minimum, uint32_t *preferred,
                                     uint32_t *maximum) {
  (void)handle;
  *minimum = 1;
  *preferred = settings.sector_size;
  *maximum = MAX_REQUEST;
  return 0;
}

static int yes(void *handle) {
  (void)handle;
  return 1;
}

static int no(void *handle) {
  (void)handle;
  return 0;
}

/* Whether a volume has something below that may fail, or be slow. */
static bool has_something_below(const sectors_volume *volume) {
  return settings.spill || sectors_volume_image(volume) || sectors_volume_base(volume);
}

/* Zeroing a part of a sector, or over a base, may have to read or write below;
 * whether it will is not known before. */
static int sectors_plugin_can_fast_zero(void *handle) {
  return !has_something_below(volume_of(handle));
}

/* Writes with FUA are made durable alone (sectors_flush_range); where nothing
 * is durable, there is nothing that could be lost but by losing all. */
static int sectors_plugin_can_fua(void *handle) {
  (void)handle;
  return NBDKIT_FUA_NATIVE;
}

static int sectors_plugin_can_cache(void *handle) {
  (void)handle;
  return NBDKIT_CACHE_NATIVE;
}

/* ------------------------------------------------------------------ requests */

/* Say once that the limit is reached, and again after memory was freed. */
static _Atomic bool limit_reported;

/* If it is not the limit but a store below that is full, an event told so. */
static void report_limit(sectors_volume *volume) {
  char limit[SIZE_TEXT];
  struct sectors_volume_statistics statistics;
  struct sectors_store_statistics total;
  if (atomic_exchange(&limit_reported, true))
    return;
  sectors_volume_statistics(volume, &statistics);
  sectors_store_statistics(store, &total);
  if (statistics.error != 0)
    return;
  size_text(total.limit, limit);
  if (settings_have_tiers())
    nbdkit_error("volume '%s': no space: memory-limit=%s is reached, and nothing more can be moved "
                 "out of memory; lower a priority of 9 or 10, trim, or raise the limit",
                 sectors_volume_name(volume), limit);
  else
    nbdkit_error("volume '%s': no space: memory-limit=%s is reached; trim, or delete files on "
                 "a file system mounted with discard, to make room",
                 sectors_volume_name(volume), limit);
}

/* What a client is told.  nbdkit makes EINVAL of what NBD has no number for,
 * as if the client had been wrong; and to ENOTSUP for a zero request it writes
 * zeros instead, which goes wrong before 1.44. */
static int errno_for_client(int error) {
  switch (error) {
  case EDQUOT:
  case EFBIG:
  case ENOSPC:
    return ENOSPC;
  case EINVAL:
  case ENOMEM:
    return error;
  default:
    return EIO;
  }
}

/* Count a request, and turn its result into nbdkit's.  A store below that fails
 * is reported once by an event, not for each request that it fails. */
static int done(void *handle, enum operation operation, uint64_t bytes, uint64_t started,
                int result) {
  struct connection *connection = handle;
  sectors_volume *volume = connection->export->volume;
  count_request(&connection->requests, operation, bytes, clock_ns() - started, result);
  if (result == 0)
    return 0;
  int error = errno_for_client(-result);
  if (error == ENOSPC)
    report_limit(volume);
  else if (error != EIO || !has_something_below(volume))
    nbdkit_error("volume '%s': %s: %s", sectors_volume_name(volume), operation_names[operation],
                 strerror(-result));
  errno = error;
  return -1;
}

/* The second half of a request with FUA. */
static int make_durable(void *handle, uint32_t flags, int result, uint64_t count, uint64_t offset) {
  return result == 0 && flags & NBDKIT_FLAG_FUA
             ? sectors_flush_range(volume_of(handle), count, offset)
             : result;
}

static int sectors_plugin_pread(void *handle, void *buffer, uint32_t count, uint64_t offset,
                                uint32_t flags) {
  (void)flags;
  uint64_t started = clock_ns();
  int result = sectors_read(volume_of(handle), buffer, count, offset);
  return done(handle, OPERATION_READ, count, started, result);
}

static int sectors_plugin_pwrite(void *handle, const void *buffer, uint32_t count, uint64_t offset,
                                 uint32_t flags) {
  uint64_t started = clock_ns();
  int result = sectors_write(volume_of(handle), buffer, count, offset);
  result = make_durable(handle, flags, result, count, offset);
  return done(handle, OPERATION_WRITE, count, started, result);
}

static int sectors_plugin_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags) {
  uint64_t started = clock_ns();
  int result = sectors_trim(volume_of(handle), count, offset);
  atomic_store(&limit_reported, false);
  result = make_durable(handle, flags, result, count, offset);
  return done(handle, OPERATION_TRIM, count, started, result);
}

/* Where nothing is below, both kinds only touch the index, so each is fast
 * enough for FAST_ZERO; elsewhere nbdkit lets no such request through. */
static int sectors_plugin_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags) {
  uint64_t started = clock_ns();
  int result;
  if (flags & NBDKIT_FLAG_MAY_TRIM) {
    result = sectors_trim(volume_of(handle), count, offset);
    atomic_store(&limit_reported, false);
  } else {
    result = sectors_zero(volume_of(handle), count, offset);
  }
  result = make_durable(handle, flags, result, count, offset);
  return done(handle, OPERATION_ZERO, count, started, result);
}

static int sectors_plugin_flush(void *handle, uint32_t flags) {
  (void)flags;
  uint64_t started = clock_ns();
  int result = sectors_flush(volume_of(handle));
  return done(handle, OPERATION_FLUSH, 0, started, result);
}

static int sectors_plugin_cache(void *handle, uint32_t count, uint64_t offset, uint32_t flags) {
  (void)flags;
  uint64_t started = clock_ns();
  int result = sectors_cache(volume_of(handle), count, offset);
  return done(handle, OPERATION_CACHE, count, started, result);
}

/* The extents still to be added to nbdkit's list. */
struct extents_reply {
  struct nbdkit_extents *list;
  unsigned left;
  int error;
};

static int add_extent(void *opaque, uint64_t offset, uint64_t count, enum sectors_extent type) {
  static const uint32_t types[] = {
      [SECTORS_EXTENT_HOLE] = NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO,
      [SECTORS_EXTENT_RESERVED] = NBDKIT_EXTENT_ZERO,
      [SECTORS_EXTENT_DATA] = 0,
  };
  struct extents_reply *reply = opaque;
  if (nbdkit_add_extent(reply->list, offset, count, types[type]) != 0)
    reply->error = -errno;
  reply->left--;
  return reply->error != 0 || reply->left == 0;
}

/* On a server that does not survive hang-ups a reply holds one extent only,
 * which goes out in one piece; clients ask again from where it ends. */
static int sectors_plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                                  struct nbdkit_extents *extents) {
  uint64_t started = clock_ns();
  struct extents_reply reply = {
      .list = extents,
      .left = flags & NBDKIT_FLAG_REQ_ONE || !survives_hangups ? 1 : MAX_EXTENTS,
  };
  int result = sectors_extents(volume_of(handle), count, offset, add_extent, &reply);
  if (result > 0)
    result = reply.error;
  return done(handle, OPERATION_EXTENTS, count, started, result);
}

static struct nbdkit_plugin plugin = {
    .name = "sectors",
    .longname = "nbdkit sectors plugin",
    .version = SECTORS_VERSION,
    .description = "disks in memory that take memory only for what is written, and more below",
    .unload = sectors_plugin_unload,
    .config = sectors_plugin_config,
    .config_complete = sectors_plugin_config_complete,
    .config_help = settings_help,
    .magic_config_key = "size",
    .dump_plugin = sectors_plugin_dump,
    .thread_model = sectors_plugin_thread_model,
    .get_ready = sectors_plugin_get_ready,
    .after_fork = sectors_plugin_after_fork,
    .cleanup = sectors_plugin_cleanup,
    .list_exports = sectors_plugin_list_exports,
    .default_export = sectors_plugin_default_export,
    .open = sectors_plugin_open,
    .close = sectors_plugin_close,
    .export_description = sectors_plugin_export_description,
    .get_size = sectors_plugin_get_size,
    .block_size = sectors_plugin_block_size,
    .can_write = yes,
    .can_flush = yes,
    .can_trim = yes,
    .can_zero = yes,
    .can_fast_zero = sectors_plugin_can_fast_zero,
    .can_extents = yes,
    .can_fua = sectors_plugin_can_fua,
    .can_multi_conn = yes,
    .can_cache = sectors_plugin_can_cache,
    .is_rotational = no,
    .pread = sectors_plugin_pread,
    .pwrite = sectors_plugin_pwrite,
    .trim = sectors_plugin_trim,
    .zero = sectors_plugin_zero,
    .flush = sectors_plugin_flush,
    .cache = sectors_plugin_cache,
    .extents = sectors_plugin_extents,
    .errno_is_preserved = 1,
};

NBDKIT_REGISTER_PLUGIN(plugin)
