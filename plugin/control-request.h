/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Requests of the control socket, as far as they can be checked without looking
 * at the server: what the bytes of a line are, which members a command takes,
 * and what their values may be.
 */

#ifndef SECTORS_CONTROL_REQUEST_H
#define SECTORS_CONTROL_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOST_PARTS_OF_A_MAP 65536

enum argument {
  ARGUMENT_BASE,
  ARGUMENT_COMPRESSION,
  ARGUMENT_FORCE,
  ARGUMENT_HIGH_WATERMARK,
  ARGUMENT_IMAGE,
  ARGUMENT_LENGTH,
  ARGUMENT_LOW_WATERMARK,
  ARGUMENT_MEMORY_LIMIT,
  ARGUMENT_NAME,
  ARGUMENT_OFFSET,
  ARGUMENT_PRIORITY,
  ARGUMENT_RESOLUTION,
  ARGUMENT_SINCE,
  ARGUMENT_SIZE,
  ARGUMENT_TARGET,
  ARGUMENT_VOLUME,
  ARGUMENTS,
};

/* What of a request was understood. */
struct request {
  bool given[ARGUMENTS];
  const char *text[ARGUMENTS]; /* of the JSON object */
  uint64_t number[ARGUMENTS];
  bool percent; /* target is one */
};

/* The object on a line, without its newline; the bytes may be anything.  NULL
 * with the answer that says what is wrong. */
json_t *read_object(const char *line, size_t length, json_t **answer);

/* Take the members of a command's object; required and optional say which, each
 * a bit.  The texts are the object's.  NULL, or the answer that says what is
 * wrong. */
json_t *understand(json_t *object, const char *command, unsigned required, unsigned optional,
                   struct request *request);

/* Its name in the object. */
const char *argument_name(enum argument argument);

#endif
