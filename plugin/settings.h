/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The plugin's parameters.
 */

#ifndef SECTORS_SETTINGS_H
#define SECTORS_SETTINGS_H

#include <stdint.h>

enum {
  DEFAULT_LIMIT_PERCENT = 80,
  DEFAULT_MAX_VOLUMES = 256,
  MOST_VOLUMES = 10000, /* what nbdkit can list */
};

/* The name of the volume that size= makes. */
#define DEFAULT_VOLUME "default"

struct declared_volume {
  struct declared_volume *next;
  char *name;
  uint64_t size;
};

enum thread_model_setting { THREADS_AUTO, THREADS_SERIALIZE_REQUESTS, THREADS_PARALLEL };

struct settings {
  struct declared_volume *volumes; /* in the order given */
  uint64_t on_demand;              /* size of volumes made on demand; 0: none are */
  uint32_t max_volumes;
  uint64_t memory_limit; /* bytes; 0 until settings_complete */
  unsigned limit_percent;
  uint32_t sector_size; /* 0 until settings_complete, unless given */
  enum thread_model_setting thread_model;
  char *control; /* absolute path of the control socket, or NULL */
};

extern struct settings settings;

/* Take one parameter.  0, or -1 with the error reported. */
int settings_set(const char *key, const char *value);

/* Check the parameters against each other and the machine.
 * 0, or -1 with the error reported. */
int settings_complete(void);

void settings_free(void);

/* The size of the smallest sectors that this machine can have; the default. */
uint32_t least_sector_size(void);

extern const char settings_help[];

/* A value as error messages show it: control characters and what is not UTF-8
 * escaped, so that no client writes lines of its own into a log, or commands to
 * the terminal that shows it; and cut if it is long. */
enum { QUOTE_TEXT = 96 };
const char *quote_text(const char *value, char *buffer);
#define QUOTE(value) quote_text((value), (char[QUOTE_TEXT]){0})

/* Write a size like 1G or 1536K; exact.  buffer has SIZE_TEXT bytes. */
enum { SIZE_TEXT = 32 };
const char *size_text(uint64_t size, char *buffer);

#endif
