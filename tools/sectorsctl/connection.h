/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Talking to a server over its control socket (protocol version 1, see
 * nbdkit-sectors-plugin(1)).
 */

#ifndef SECTORSCTL_CONNECTION_H
#define SECTORSCTL_CONNECTION_H

#include <jansson.h>
#include <stdio.h>

/* A stream from the server, or NULL with the error reported. */
FILE *connect_to(const char *path);

/* Send a request, whose version this adds, and return the answer, or NULL with
 * the error reported.  Takes the request.  Meanwhile, how far the server has
 * come is shown on the standard error if that is a terminal. */
json_t *ask(FILE *server, json_t *request);

/* The answer, good or bad, without a word; NULL if there was none. */
json_t *exchange(FILE *server, json_t *request);

/* ask of a command without arguments. */
json_t *ask_for(FILE *server, const char *command);

#endif
