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
#include <sys/un.h>
#include <unistd.h>

struct settings settings = {
    .max_volumes = DEFAULT_MAX_VOLUMES,
    .limit_percent = DEFAULT_LIMIT_PERCENT,
};

const char settings_help[] =
    "[size=]SIZE               The size of the disk, such as 100G.\n"
    "volume=NAME:SIZE          A disk served as the export NAME; can be repeated.\n"
    "on-demand=SIZE            Make a disk of this size for each new export name.\n"
    "max-volumes=N             The most disks there may be (default 256).\n"
    "memory-limit=SIZE|N%      The most memory all disks take (default 80%).\n"
    "sector-size=SIZE          The unit of allocation, 4K to 64K (default 4K).\n"
    "thread-model=MODEL        auto (default), serialize-requests or parallel.\n"
    "control=SOCKET            Serve statistics on this Unix socket; see sectorsctl(1).";

/* ------------------------------------------------------------------- values */

static const char units[] = "KMGTPE";

const char *size_text(uint64_t size, char *buffer) {
  unsigned unit = 0;
  while (unit < strlen(units) && size != 0 && size % 1024 == 0) {
    size /= 1024;
    unit++;
  }
  snprintf(buffer, SIZE_TEXT, "%" PRIu64 "%.1s", size, unit > 0 ? &units[unit - 1] : "");
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

/* A size as nbdkit writes them (nbdkit(1)): digits, then nothing, b, s (512
 * bytes) or a power of 1024, in either case.  False if it is not one, or is
 * over SECTORS_MAX_VOLUME_SIZE. */
static bool parse_size(const char *text, uint64_t *size) {
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
  *volume = (struct declared_volume){.name = copy, .size = size};
  *end = volume;
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
    return set_volume_size(key, value, &settings.on_demand);
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
  nbdkit_error("'%s' is not a parameter of the sectors plugin; see nbdkit sectors --help",
               QUOTE(key));
  return -1;
}

int settings_complete(void) {
  char limit[SIZE_TEXT], bound[SIZE_TEXT];
  uint64_t available = available_memory("");
  uint32_t declared = 0;
  if (settings.sector_size == 0)
    settings.sector_size = least_sector_size();
  uint64_t smallest = SECTORS_MIN_LIMIT_SECTORS * (uint64_t)settings.sector_size;
  uint64_t largest = SECTORS_MAX_LIMIT_SECTORS * settings.sector_size;
  for (struct declared_volume *volume = settings.volumes; volume; volume = volume->next)
    declared++;
  if (declared == 0 && settings.on_demand == 0) {
    nbdkit_error("there is no disk to serve; give a size, such as: nbdkit sectors 100G");
    return -1;
  }
  if (settings.on_demand != 0 && settings.max_volumes < declared) {
    nbdkit_error("max-volumes: %" PRIu32 " is less than the %" PRIu32 " volumes declared; "
                 "give at least that",
                 settings.max_volumes, declared);
    return -1;
  }
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

void settings_free(void) {
  while (settings.volumes) {
    struct declared_volume *volume = settings.volumes;
    settings.volumes = volume->next;
    free(volume->name);
    free(volume);
  }
  free(settings.control);
  settings.control = NULL;
}
