/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The plugin's parameters.
 */

#ifndef SECTORS_SETTINGS_H
#define SECTORS_SETTINGS_H

#include "sectors.h"

#include <stdbool.h>
#include <stdint.h>

enum {
  DEFAULT_LIMIT_PERCENT = 80,
  DEFAULT_MAX_VOLUMES = 256,
  MOST_VOLUMES = 10000,      /* what nbdkit can list */
  MIN_TIERED_SECTORS = 2048, /* of a memory limit with tiers, besides SECTORS_MIN_TIERED_LIMIT */
};

/* The name of the volume that size= makes. */
#define DEFAULT_VOLUME "default"

struct declared_volume {
  struct declared_volume *next;
  char *name;    /* NULL: those made on demand */
  uint64_t size; /* 0: its image's, or else its base's */
  char *image;   /* absolute path or NBD URI, or NULL */
  char *base;    /* the same */
  int priority;  /* -1: the default */
  bool implied;  /* only image=, base= or priority= told of it so far */
};

enum thread_model_setting { THREADS_AUTO, THREADS_SERIALIZE_REQUESTS, THREADS_PARALLEL };

struct settings {
  struct declared_volume *volumes;  /* in the order given */
  struct declared_volume on_demand; /* what is made on demand; of size 0: nothing */
  uint32_t max_volumes;
  uint64_t memory_limit; /* bytes; 0 until settings_complete */
  unsigned limit_percent;
  uint32_t sector_size; /* 0 until settings_complete, unless given */
  enum thread_model_setting thread_model;
  char *control;                /* absolute path of the control socket, or NULL */
  struct declared_volume *last; /* the one that image=, base= and priority= speak of */
  char *spill;                  /* absolute path of a folder, or NULL */
  enum sectors_compression compress;
  unsigned high_watermark, low_watermark; /* percent; 0: the default */
};

extern struct settings settings;

/* Take one parameter.  0, or -1 with the error reported. */
int settings_set(const char *key, const char *value);

/* Check the parameters against each other and the machine.
 * 0, or -1 with the error reported. */
int settings_complete(void);

void settings_free(void);

/* Whether there is anything below plain memory. */
bool settings_have_tiers(void);

/* Whether some of that is slow: a disk, or a network. */
bool settings_have_slow_tier(void);

/* A place where an image or base is: an NBD URI as it is, or an absolute path.
 * Allocated; or NULL with a sentence about the value, which names key, written. */
enum { PLACE_PROBLEM = 512 };
char *parse_place(const char *key, const char *value, char problem[PLACE_PROBLEM]);

/* The size of the smallest sectors that this machine can have; the default. */
uint32_t least_sector_size(void);

extern const char settings_help[];

/* A value as error messages show it: control characters and what is not UTF-8
 * escaped, so that no client writes lines of its own into a log, or commands to
 * the terminal that shows it; and cut if it is long. */
enum { QUOTE_TEXT = 96 };
const char *quote_text(const char *value, char *buffer);
#define QUOTE(value) quote_text((value), (char[QUOTE_TEXT]){0})

/* A size as nbdkit writes them (nbdkit(1)): digits, then nothing, b, s (512
 * bytes) or a power of 1024, in either case.  False if it is not one, or is
 * over SECTORS_MAX_VOLUME_SIZE. */
bool parse_size(const char *text, uint64_t *size);

/* A compression by its name; false if there is none of it. */
bool parse_compression(const char *text, enum sectors_compression *compression);
extern const char *const compression_names[3];

/* Whether a place is the base of the volumes that are made on demand, even if there
 * is none of them at the moment. */
bool is_base_on_demand(const char *place);

/* Whether two places of images or bases are one; links to files are followed. */
bool same_place(const char *one, const char *other);

/* Write a size like 1G or 1536K; exact.  buffer has SIZE_TEXT bytes. */
enum { SIZE_TEXT = 32 };
const char *size_text(uint64_t size, char *buffer);

#endif
