/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a client of the control socket may ask for.
 */

#ifndef SECTORS_CONTROL_COMMANDS_H
#define SECTORS_CONTROL_COMMANDS_H

#include "control-answer.h"
#include "control-log.h"
#include "exports.h"

#include <jansson.h>
#include <stddef.h>

/* One client's view of the server. */
struct session {
  struct exports *exports;
  struct event_log *events;
  uint64_t started_ns; /* of the server, on clock_ns */

  /* How far a long command has come: tells the client, and returns other than
   * 0 if it went away or the server stops. */
  sectors_progress_function progress;
  void *opaque;
};

/* The answer to one line, without its newline; the bytes may be anything.
 * NULL if there is no memory for it. */
json_t *answer_to(const struct session *session, const char *line, size_t length);

#endif
