/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where the bytes of a device are, and what of them is to be in memory: asked of the server
 * that holds it, over its control socket; or, if none was named, of the device itself.
 */

#ifndef CASEFS_TIERS_H
#define CASEFS_TIERS_H

#include "extents.h"
#include "tool.h"

struct control;
struct tiers_route;

struct tiers {
  const char *socket; /* of the server, or NULL; --control */
  const char *volume; /* or NULL: the one that the device's URI names; --volume */
  struct control *control;
  struct tiers_route *routes; /* what of the devices is known, the latest first */
};

#define TIERS_OPTIONS                                                                              \
  {"control", required_argument, NULL, 'C'}, {                                                     \
    "volume", required_argument, NULL, 'N'                                                         \
  }
#define TIERS_HELP                                                                                 \
  "      --control=SOCKET  the control socket of the nbdkit sectors server\n"                      \
  "      --volume=NAME     of the server's volumes, the one that DEVICE is; else the one\n"        \
  "                        that its URI names\n"

/* Take one of TIERS_OPTIONS by its letter, from optarg; false if it is another. */
bool tiers_take_option(struct tiers *tiers, int letter);
/* Close what was opened. */
void tiers_end(struct tiers *tiers);

/* Whether to ask for maps of a session's device: it can tell, or who can was named. */
bool tiers_can_map(const struct tiers *tiers, const struct session *session);

bool tiers_prioritize(struct tiers *tiers, const struct session *session,
                      const struct device_range *range, unsigned priority);
bool tiers_preload(struct tiers *tiers, const struct session *session,
                   const struct device_range *range);
/* The function is called for each place, in order; what it returns must be 0. */
bool tiers_map(struct tiers *tiers, const struct session *session, const struct device_range *range,
               casefs_place_function function, void *context);

const char *tier_name(enum casefs_tier tier);

#endif
