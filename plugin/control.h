/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The control socket: one JSON object per line in, one per line out.  The
 * protocol is described in nbdkit-sectors-plugin(1).
 */

#ifndef SECTORS_CONTROL_H
#define SECTORS_CONTROL_H

#include "exports.h"

#define CONTROL_PROTOCOL_VERSION 1

struct control;

/* Make the socket, for this user only, or for the one whom the server is by
 * control_start, where that one may; a dead server's socket is replaced.
 * NULL with the error reported. */
struct control *control_create(const char *path, struct exports *exports);

/* Start answering, in a thread.  0, or -1 with the error reported. */
int control_start(struct control *control);

/* Stop answering, and remove the socket if it is this server's.  NULL is allowed. */
void control_destroy(struct control *control);

#endif
