/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What sectorsctl can do.  Each verb returns true if it did it, else it has
 * reported why not.
 */

#ifndef SECTORSCTL_VERBS_H
#define SECTORSCTL_VERBS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* The command line after SOCKET and VERB. */
struct options {
  char **words; /* what is no option; checked for number by the verb's entry */
  int count;
  bool json;
  bool prometheus;
  bool watch;
  double seconds; /* of watch */
  bool follow;
  bool force;
  const char *image;
  const char *base;
  const char *priority;
  const char *output;

  /* What words were found to mean, by a verb's check. */
  const char *volume;
  bool has_range;
  uint64_t offset, length; /* length: UINT64_MAX to the end */
  int level;               /* a priority; -1: none */
};

bool show_statistics(FILE *server, const struct options *options);
bool manage_volumes(FILE *server, const struct options *options);
bool collect(FILE *server, const struct options *options);
bool preload(FILE *server, const struct options *options);
bool drop(FILE *server, const struct options *options);
bool prioritize(FILE *server, const struct options *options);
bool flush(FILE *server, const struct options *options);
bool show_map(FILE *server, const struct options *options);
bool set(FILE *server, const struct options *options);
bool show_log(FILE *server, const struct options *options);

/* Checks of a command line, before the server is asked: true, or false with
 * the error reported. */
bool check_volumes(struct options *options);
bool check_target(struct options *options);
bool check_range(struct options *options);    /* VOLUME [RANGE] */
bool check_priority(struct options *options); /* VOLUME [RANGE] [N] */
bool check_map(struct options *options);
bool check_settings(struct options *options);

#endif
