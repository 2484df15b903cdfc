/* SPDX-License-Identifier: BSD-3-Clause */

#include "settings.h"

#include "memory.h"
#include "sectors.h"
#include "utf8.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct settings settings = {
    .max_volumes = DEFAULT_MAX_VOLUMES,
    .limit_percent = DEFAULT_LIMIT_PERCENT,
    .on_demand = {.priority = -1},
};

const char settings_help[] =
    "[size=]SIZE               The size of the disk, such as 100G.\n"
    "volume=NAME:SIZE          A disk served as the export NAME; can be repeated.\n"
    "on-demand=SIZE            Make a disk of this size for each new export name.\n"
    "max-volumes=N             The most disks there may be (default 256).\n"
    "memory-limit=SIZE|N%      The most memory all disks take (default 80%).\n"
    "sector-size=SIZE          The unit of allocation, 4K to 64K (default 4K).\n"
    "thread-model=MODEL        auto (default), serialize-requests or parallel.\n"
    "control=SOCKET            Answer sectorsctl(1) on this Unix socket.\n"
    "\n"
    "Below memory:\n"
    "spill=FOLDER              Move seldom used data to files without names in this folder.\n"
    "compress=METHOD           Compress it in memory before: none (default), lz4 or zstd.\n"
    "high-watermark=N%         Of memory-limit: when that begins (default 90%).\n"
    "low-watermark=N%          And when it ends (default 85%).\n"
    "image=PATH|URI            The durable home of the volume given before: file or NBD URI.\n"
    "base=PATH|URI             What that volume shows where nothing was written.\n"
    "priority=N                How long its data stays in memory, 0 to 10 (default 5).\n"
    "                          After on-demand=, these two are of all volumes made so.";

/* ------------------------------------------------------------------- values */

static const char units[] = "KMGTPE";

const char *size_text(uint64_t size, char *buffer) {
  unsigned unit = 0;
  while (unit < strlen(units) && size != 0 && size % 1024 == 0) {
    size /= 1024;
    unit++;
  }
  const char suffix[2] = {unit > 0 ? units[unit - 1] : '\0'};
  snprintf(buffer, SIZE_TEXT, "%" PRIu64 "%s", size, suffix);
  return buffer;
}

const char *quote_text(const char *value, char *buffer) {
  char *to = buffer, *end = buffer + QUOTE_TEXT - sizeof "\\xff...";
  while (*value && to < end) {
    const unsigned char *text = (const unsigned char *)value;
    size_t length = utf8_length(text);
    if (length == 0 || utf8_is_control(text)) {
      to += sprintf(to, "\\x%02x", *text);
      length = 1;
    } else {
      memcpy(to, value, length);
      to += length;
    }
    value += length;
  }
  strcpy(to, *value ? "..." : "");
  return buffer;
}

bool parse_size(const char *text, uint64_t *size) {
  char *after;
  if (!isdigit((unsigned char)*text))
    return false;
  uint64_t number = strtoull(text, &after, 10), unit = 1;
  if (number > SECTORS_MAX_VOLUME_SIZE)
    return false;
  if (*after != '\0') {
    const char *power = strchr(units, toupper((unsigned char)*after));
    if (power)
      unit = UINT64_C(1) << 10 * (power - units + 1);
    else if (*after == 's')
      unit = 512;
    else if (*after != 'b')
      return false;
    if (after[1] != '\0')
      return false;
  }
  if (number > SECTORS_MAX_VOLUME_SIZE / unit)
    return false;
  *size = number * unit;
  return true;
}

static int set_volume_size(const char *key, const char *value, uint64_t *size) {
  if (parse_size(value, size) && *size > 0)
    return 0;
  nbdkit_error("%s: '%s' is not the size of a disk; give 1 to 2^63-1 bytes, "
               "as a number or with K, M, G, T, P or E, such as 100G",
               key, QUOTE(value));
  return -1;
}

/* Declare a volume, or a part of one: size is 0 for the volume that image=,
 * base= and priority= imply before any other. */
static int add_volume(const char *key, const char *name, uint64_t size) {
  struct declared_volume **end = &settings.volumes;
  uint32_t count = 1;
  if (sectors_volume_check_name(name) != 0) {
    nbdkit_error("%s: '%s' cannot name a volume; use 1 to %u bytes of UTF-8 "
                 "without '/' and control characters",
                 key, QUOTE(name), SECTORS_MAX_NAME);
    return -1;
  }
  for (; *end; end = &(*end)->next, count++) {
    if (strcmp((*end)->name, name) == 0 && (*end)->implied) {
      (*end)->size = size;
      (*end)->implied = false;
      settings.last = *end;
      return 0;
    }
    if (strcmp((*end)->name, name) == 0) {
      nbdkit_error("%s: there is already a volume '%s'; give each its own name", key, name);
      return -1;
    }
  }
  if (count > MOST_VOLUMES) {
    nbdkit_error("%s: volume '%s' is one too many; at most %d can be served", key, name,
                 MOST_VOLUMES);
    return -1;
  }
  struct declared_volume *volume = calloc(1, sizeof *volume);
  char *copy = strdup(name);
  if (!volume || !copy) {
    nbdkit_error("%s: no memory for volume '%s'", key, name);
    free(volume);
    free(copy);
    return -1;
  }
  *volume =
      (struct declared_volume){.name = copy, .size = size, .priority = -1, .implied = size == 0};
  *end = volume;
  settings.last = volume;
  return 0;
}

static int set_volume(const char *key, const char *value) {
  const char *colon = strrchr(value, ':');
  uint64_t size;
  if (!colon) {
    nbdkit_error("%s: '%s' has no size; give NAME:SIZE, such as scratch:100G", key, QUOTE(value));
    return -1;
  }
  char *name = strndup(value, (size_t)(colon - value));
  if (!name) {
    nbdkit_error("%s: no memory for '%s'", key, QUOTE(value));
    return -1;
  }
  int result = set_volume_size(key, colon + 1, &size);
  if (result == 0)
    result = add_volume(key, name, size);
  free(name);
  return result;
}

/* What follows is of the volumes made on demand.  Given twice, it would not be
 * clear which of them. */
static int set_on_demand(const char *key, const char *value) {
  if (settings.on_demand.size != 0) {
    nbdkit_error("%s: '%s' is one too many; all volumes made on demand are alike, so give it once",
                 key, QUOTE(value));
    return -1;
  }
  settings.last = &settings.on_demand;
  return set_volume_size(key, value, &settings.on_demand.size);
}

static int set_memory_limit(const char *key, const char *value) {
  size_t length = strlen(value);
  if (length > 1 && value[length - 1] == '%') {
    char *after;
    unsigned long percent = isdigit((unsigned char)*value) ? strtoul(value, &after, 10) : 0;
    if (percent >= 1 && percent <= 100 && after == value + length - 1) {
      settings.limit_percent = (unsigned)percent;
      settings.memory_limit = 0;
      return 0;
    }
  } else if (parse_size(value, &settings.memory_limit) && settings.memory_limit > 0) {
    return 0;
  }
  nbdkit_error("%s: '%s' is not an amount of memory; give a size such as 8G, or "
               "1%% to 100%% of the memory there is",
               key, QUOTE(value));
  return -1;
}

uint32_t least_sector_size(void) {
  long page_size = sysconf(_SC_PAGESIZE);
  return page_size > (long)SECTORS_MIN_SECTOR_SIZE ? (uint32_t)page_size : SECTORS_MIN_SECTOR_SIZE;
}

static int set_sector_size(const char *key, const char *value) {
  uint64_t size;
  char text[SIZE_TEXT];
  if (parse_size(value, &size) && size >= SECTORS_MIN_SECTOR_SIZE &&
      size <= SECTORS_MAX_SECTOR_SIZE && (size & (size - 1)) == 0) {
    settings.sector_size = (uint32_t)size;
    if (size >= least_sector_size())
      return 0;
    nbdkit_error("%s: '%s' is less than a page of this machine's memory; give at least %s", key,
                 QUOTE(value), size_text(least_sector_size(), text));
    return -1;
  }
  nbdkit_error("%s: '%s' is not a sector size; give 4K, 8K, 16K, 32K or 64K", key, QUOTE(value));
  return -1;
}

static int set_max_volumes(const char *key, const char *value) {
  char *after = NULL;
  unsigned long number = isdigit((unsigned char)*value) ? strtoul(value, &after, 10) : 0;
  if (number >= 1 && number <= MOST_VOLUMES && *after == '\0') {
    settings.max_volumes = (uint32_t)number;
    return 0;
  }
  nbdkit_error("%s: '%s' is not a number of volumes; give 1 to %d", key, QUOTE(value),
               MOST_VOLUMES);
  return -1;
}

static int set_thread_model(const char *key, const char *value) {
  if (strcmp(value, "auto") == 0) {
    settings.thread_model = THREADS_AUTO;
  } else if (strcmp(value, "serialize-requests") == 0) {
    settings.thread_model = THREADS_SERIALIZE_REQUESTS;
  } else if (strcmp(value, "parallel") == 0) {
    settings.thread_model = THREADS_PARALLEL;
  } else {
    nbdkit_error("%s: '%s' is not a thread model; give auto, serialize-requests or "
                 "parallel",
                 key, QUOTE(value));
    return -1;
  }
  return 0;
}

static int set_control(const char *key, const char *value) {
  const size_t longest = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
  free(settings.control);
  /* An absolute path, since the server leaves this folder. */
  settings.control = *value == '\0' ? NULL : nbdkit_absolute_path(value);
  if (!settings.control || strlen(settings.control) > longest) {
    nbdkit_error("%s: '%s' cannot name a Unix socket; its full path may have 1 to %zu "
                 "bytes",
                 key, QUOTE(value), longest);
    return -1;
  }
  return 0;
}

/* --------------------------------------------------------------- below memory */

static const char *const nbd_schemes[] = {"nbd://",       "nbds://",      "nbd+unix://",
                                          "nbds+unix://", "nbd+vsock://", "nbds+vsock://"};

static bool is_nbd_uri(const char *value) {
  for (size_t i = 0; i < sizeof nbd_schemes / sizeof nbd_schemes[0]; i++)
    if (strncmp(value, nbd_schemes[i], strlen(nbd_schemes[i])) == 0)
      return true;
  return false;
}

/* Whether it begins like a URI: a scheme and "://". */
static bool looks_like_uri(const char *value) {
  size_t length =
      strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+.-0123456789");
  return length > 0 && strncmp(value + length, "://", 3) == 0;
}

/* A socket named by a path that is not absolute could not be found again when
 * the connection breaks: the server has left the folder by then. */
static bool has_relative_socket(const char *uri) {
  const char *socket = strstr(uri, "?socket=");
  if (!socket)
    socket = strstr(uri, "&socket=");
  if (!socket)
    return false;
  socket += strlen("?socket=");
  return *socket != '/' && strncasecmp(socket, "%2f", 3) != 0;
}

char *parse_place(const char *key, const char *value, char problem[PLACE_PROBLEM]) {
  char *place = NULL;
  if (*value == '\0') {
    snprintf(problem, PLACE_PROBLEM, "%s: it is empty; give the path of a file, or an NBD URI",
             key);
  } else if (is_nbd_uri(value) && has_relative_socket(value)) {
    snprintf(problem, PLACE_PROBLEM,
             "%s: '%s' names its socket by a path that is not absolute, which would not be found "
             "again after the server has left this folder; give socket=/FULL/PATH",
             key, QUOTE(value));
  } else if (!is_nbd_uri(value) && looks_like_uri(value)) {
    snprintf(problem, PLACE_PROBLEM,
             "%s: '%s' is not an NBD URI; these begin with nbd://, nbds://, nbd+unix://, "
             "nbds+unix://, nbd+vsock:// or nbds+vsock://",
             key, QUOTE(value));
  } else {
    place = is_nbd_uri(value) ? strdup(value) : nbdkit_absolute_path(value);
    if (!place)
      snprintf(problem, PLACE_PROBLEM, "%s: no memory for '%s'", key, QUOTE(value));
  }
  return place;
}

/* How messages name a volume: TITLE_TEXT holds any. */
enum { TITLE_TEXT = SECTORS_MAX_NAME + sizeof "volume ''" };

static const char *title_text(const struct declared_volume *volume, char *buffer) {
  if (!volume->name)
    return "volumes made on demand";
  snprintf(buffer, TITLE_TEXT, "volume '%s'", volume->name);
  return buffer;
}
#define TITLE(volume) title_text((volume), (char[TITLE_TEXT]){0})

/* The volume that image=, base= and priority= speak of, or NULL. */
static struct declared_volume *volume_meant(const char *key) {
  if (!settings.last && add_volume(key, DEFAULT_VOLUME, 0) != 0)
    return NULL;
  return settings.last;
}

static int set_place(const char *key, const char *value) {
  struct declared_volume *volume = volume_meant(key);
  char problem[PLACE_PROBLEM];
  if (!volume)
    return -1;
  bool image = strcmp(key, "image") == 0;
  if (image && volume == &settings.on_demand) {
    nbdkit_error("image: '%s' cannot be shared by all volumes made on demand, each volume needs "
                 "its own; declare it with volume=, or make it with sectorsctl volumes create",
                 QUOTE(value));
    return -1;
  }
  char **place = image ? &volume->image : &volume->base;
  if (*place) {
    nbdkit_error("%s: '%s' is one too many for %s, where '%s' was given before; give one after "
                 "each %s",
                 key, QUOTE(value), TITLE(volume), QUOTE(*place),
                 image ? "size= or volume=" : "size=, volume= or on-demand=");
    return -1;
  }
  *place = parse_place(key, value, problem);
  if (*place)
    return 0;
  nbdkit_error("%s", problem);
  return -1;
}

static int set_priority(const char *key, const char *value) {
  struct declared_volume *volume = volume_meant(key);
  char *after = NULL;
  if (!volume)
    return -1;
  unsigned long number = isdigit((unsigned char)*value) ? strtoul(value, &after, 10) : 11;
  if (number <= 10 && *after == '\0') {
    volume->priority = (int)number;
    return 0;
  }
  nbdkit_error("%s: '%s' is not a priority; give 0 (leaves memory first) to 10 (pinned)", key,
               QUOTE(value));
  return -1;
}

static int set_spill(const char *key, const char *value) {
  free(settings.spill);
  settings.spill = *value == '\0' ? NULL : nbdkit_absolute_path(value);
  if (settings.spill)
    return 0;
  nbdkit_error("%s: '%s' cannot name a folder; give one on a disk, such as /var/tmp", key,
               QUOTE(value));
  return -1;
}

const char *const compression_names[3] = {
    [SECTORS_COMPRESS_NONE] = "none",
    [SECTORS_COMPRESS_LZ4] = "lz4",
    [SECTORS_COMPRESS_ZSTD] = "zstd",
};

bool parse_compression(const char *text, enum sectors_compression *compression) {
  for (unsigned i = 0; i < sizeof compression_names / sizeof compression_names[0]; i++) {
    if (strcmp(text, compression_names[i]) == 0) {
      *compression = (enum sectors_compression)i;
      return true;
    }
  }
  return false;
}

static int set_compression(const char *key, const char *value) {
  if (parse_compression(value, &settings.compress))
    return 0;
  nbdkit_error("%s: '%s' is not a way to compress; give none, lz4 or zstd", key, QUOTE(value));
  return -1;
}

static int set_watermark(const char *key, const char *value, unsigned *watermark) {
  char *after = NULL;
  unsigned long percent = isdigit((unsigned char)*value) ? strtoul(value, &after, 10) : 0;
  if (percent >= 1 && percent <= 99 && strcmp(after, "%") == 0) {
    *watermark = (unsigned)percent;
    return 0;
  }
  nbdkit_error("%s: '%s' is not a share of memory-limit; give 1%% to 99%%", key, QUOTE(value));
  return -1;
}

bool settings_have_slow_tier(void) {
  bool slow = settings.spill || settings.on_demand.base;
  for (const struct declared_volume *volume = settings.volumes; volume; volume = volume->next)
    slow |= volume->image || volume->base;
  return slow;
}

bool settings_have_tiers(void) {
  return settings.compress != SECTORS_COMPRESS_NONE || settings_have_slow_tier();
}

bool same_place(const char *one, const char *other) {
  struct stat a, b;
  if (strcmp(one, other) == 0)
    return true;
  return !is_nbd_uri(one) && !is_nbd_uri(other) && stat(one, &a) == 0 && stat(other, &b) == 0 &&
         a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool is_base_on_demand(const char *place) {
  return settings.on_demand.base && same_place(place, settings.on_demand.base);
}

static int refuse_base(const struct declared_volume *owner, const struct declared_volume *volume) {
  nbdkit_error("base: '%s' is the image of volume '%s', which changes what it holds; give %s a "
               "base that nobody writes to",
               QUOTE(owner->image), owner->name, TITLE(volume));
  return -1;
}

/* An image is one volume's only, and nobody's base: its contents change. */
static int check_image(const struct declared_volume *owner) {
  for (const struct declared_volume *volume = settings.volumes; volume; volume = volume->next) {
    if (volume != owner && volume->image && same_place(owner->image, volume->image)) {
      nbdkit_error("image: '%s' is given for the volumes '%s' and '%s'; give each its own",
                   QUOTE(owner->image), owner->name, volume->name);
      return -1;
    }
    if (volume->base && same_place(owner->image, volume->base))
      return refuse_base(owner, volume);
  }
  return is_base_on_demand(owner->image) ? refuse_base(owner, &settings.on_demand) : 0;
}

/* What came before any declaration is of the volume 'default'.  Beside on-demand=
 * that is hardly ever what was meant, as that volume would not be served without. */
static int refuse_implied(const struct declared_volume *volume) {
  if (volume->image)
    nbdkit_error("image: '%s' comes before any disk is declared, and volumes made on demand "
                 "have none; give it after size= or volume=",
                 QUOTE(volume->image));
  else if (volume->base)
    nbdkit_error("base: '%s' comes before any disk is declared; give it after on-demand= for "
                 "the volumes made on demand, or after size= or volume=",
                 QUOTE(volume->base));
  else
    nbdkit_error("priority: %d comes before any disk is declared; give it after on-demand= for "
                 "the volumes made on demand, or after size= or volume=",
                 volume->priority);
  return -1;
}

static int check_volumes(void) {
  for (const struct declared_volume *volume = settings.volumes; volume; volume = volume->next) {
    if (volume->implied && settings.on_demand.size != 0)
      return refuse_implied(volume);
    if (volume->size == 0 && !volume->image && !volume->base) {
      nbdkit_error("there is no disk to serve; give a size, such as: nbdkit sectors 100G");
      return -1;
    }
    if (volume->image && check_image(volume) != 0)
      return -1;
  }
  return 0;
}

static int check_spill(void) {
  struct stat status;
  if (!settings.spill)
    return 0;
  if (stat(settings.spill, &status) != 0) {
    nbdkit_error("spill: there is no folder '%s': %m", QUOTE(settings.spill));
    return -1;
  }
  if (S_ISDIR(status.st_mode))
    return 0;
  nbdkit_error("spill: '%s' is not a folder; give one on a disk, such as /var/tmp",
               QUOTE(settings.spill));
  return -1;
}

static int check_watermarks(void) {
  unsigned *high = &settings.high_watermark, *low = &settings.low_watermark;
  if ((*high != 0 || *low != 0) && !settings_have_tiers()) {
    nbdkit_error("%s-watermark: there is nothing below memory to which data could move; give "
                 "spill, compress, image or base too",
                 *high != 0 ? "high" : "low");
    return -1;
  }
  if (*high == 0)
    *high = SECTORS_DEFAULT_HIGH_WATERMARK;
  if (*low == 0) /* as far below as the defaults are, if they do not fit */
    *low = *high >= SECTORS_DEFAULT_LOW_WATERMARK ? SECTORS_DEFAULT_LOW_WATERMARK
           : *high > 5                            ? *high - 5
                                                  : 1;
  if (*low <= *high)
    return 0;
  nbdkit_error("low-watermark: %u%% is more than the %u%% of high-watermark; give less", *low,
               *high);
  return -1;
}

static int check_tiers(void) {
  char limit[SIZE_TEXT], least[SIZE_TEXT];
  uint64_t bound = SECTORS_MIN_TIERED_LIMIT;
  if (bound < MIN_TIERED_SECTORS * (uint64_t)settings.sector_size)
    bound = MIN_TIERED_SECTORS * (uint64_t)settings.sector_size;
  if (check_volumes() != 0 || check_spill() != 0 || check_watermarks() != 0)
    return -1;
  if (!settings_have_tiers() || settings.memory_limit >= bound)
    return 0;
  nbdkit_error("memory-limit: %s is too little with spill, compress, image or base; give at "
               "least %s",
               size_text(settings.memory_limit, limit), size_text(bound, least));
  return -1;
}

/* --------------------------------------------------------------- all of them */

int settings_set(const char *key, const char *value) {
  uint64_t size;
  if (strcmp(key, "size") == 0) {
    if (set_volume_size(key, value, &size) != 0)
      return -1;
    return add_volume(key, DEFAULT_VOLUME, size);
  }
  if (strcmp(key, "volume") == 0)
    return set_volume(key, value);
  if (strcmp(key, "on-demand") == 0)
    return set_on_demand(key, value);
  if (strcmp(key, "max-volumes") == 0)
    return set_max_volumes(key, value);
  if (strcmp(key, "memory-limit") == 0)
    return set_memory_limit(key, value);
  if (strcmp(key, "sector-size") == 0)
    return set_sector_size(key, value);
  if (strcmp(key, "thread-model") == 0)
    return set_thread_model(key, value);
  if (strcmp(key, "control") == 0)
    return set_control(key, value);
  if (strcmp(key, "image") == 0 || strcmp(key, "base") == 0)
    return set_place(key, value);
  if (strcmp(key, "priority") == 0)
    return set_priority(key, value);
  if (strcmp(key, "spill") == 0)
    return set_spill(key, value);
  if (strcmp(key, "compress") == 0)
    return set_compression(key, value);
  if (strcmp(key, "high-watermark") == 0)
    return set_watermark(key, value, &settings.high_watermark);
  if (strcmp(key, "low-watermark") == 0)
    return set_watermark(key, value, &settings.low_watermark);
  nbdkit_error("'%s' is not a parameter of the sectors plugin; see nbdkit sectors --help",
               QUOTE(key));
  return -1;
}

/* Settle the limit, and check it against what a store and the machine can have. */
static int check_limit(void) {
  char limit[SIZE_TEXT], bound[SIZE_TEXT];
  uint64_t available = available_memory("");
  uint64_t smallest = SECTORS_MIN_LIMIT_SECTORS * (uint64_t)settings.sector_size;
  uint64_t largest = SECTORS_MAX_LIMIT_SECTORS * settings.sector_size;
  if (settings.memory_limit == 0) {
    settings.memory_limit = available / 100 * settings.limit_percent;
    if (settings.memory_limit > largest)
      settings.memory_limit = largest;
  }
  if (settings.memory_limit < smallest) {
    nbdkit_error("memory-limit: %s is too little; give at least %s, which is %u sectors",
                 size_text(settings.memory_limit, limit), size_text(smallest, bound),
                 SECTORS_MIN_LIMIT_SECTORS);
    return -1;
  }
  if (settings.memory_limit > available) {
    nbdkit_error("memory-limit: %s is more than the %" PRIu64 "M of memory that this machine, "
                 "or its control group, has; give less",
                 size_text(settings.memory_limit, limit), available >> 20);
    return -1;
  }
  if (settings.memory_limit > largest) {
    nbdkit_error("memory-limit: %s is more than %s, which is 2^31 sectors; give less, or a larger "
                 "sector-size",
                 size_text(settings.memory_limit, limit), size_text(largest, bound));
    return -1;
  }
  return 0;
}

int settings_complete(void) {
  uint32_t declared = 0;
  if (settings.sector_size == 0)
    settings.sector_size = least_sector_size();
  for (struct declared_volume *volume = settings.volumes; volume; volume = volume->next)
    declared++;
  if (declared == 0 && settings.on_demand.size == 0) {
    nbdkit_error("there is no disk to serve; give a size, such as: nbdkit sectors 100G");
    return -1;
  }
  if (settings.on_demand.size != 0 && settings.max_volumes < declared) {
    nbdkit_error("max-volumes: %" PRIu32 " is less than the %" PRIu32 " volumes declared; "
                 "give at least that",
                 settings.max_volumes, declared);
    return -1;
  }
  return check_limit() != 0 ? -1 : check_tiers();
}

void settings_free(void) {
  while (settings.volumes) {
    struct declared_volume *volume = settings.volumes;
    settings.volumes = volume->next;
    free(volume->name);
    free(volume->image);
    free(volume->base);
    free(volume);
  }
  settings.last = NULL;
  free(settings.on_demand.base);
  settings.on_demand.base = NULL;
  free(settings.control);
  settings.control = NULL;
  free(settings.spill);
  settings.spill = NULL;
}
