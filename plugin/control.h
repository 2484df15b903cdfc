/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The control socket: one JSON object per line in, one or more per line out.
 * The protocol is described in nbdkit-sectors-plugin(1).  What the commands do
 * is in control-commands.h; here are the socket and its clients.
 */

#ifndef SECTORS_CONTROL_H
#define SECTORS_CONTROL_H

#include "control-commands.h"

struct control;

/* Make the socket, for this user only, or for the one whom the server is by
 * control_start, where that one may; a dead server's socket is replaced.
 * NULL with the error reported. */
struct control *control_create(const char *path, struct exports *exports, struct event_log *events);

/* Start answering, each client in a thread of its own.  0, or -1 with the error
 * reported. */
int control_start(struct control *control);

/* Stop answering, cutting long commands short, and remove the socket if it is
 * this server's.  NULL is allowed. */
void control_destroy(struct control *control);

#endif
