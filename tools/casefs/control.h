/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The control socket of an nbdkit sectors server, as nbdkit-sectors-plugin(1) describes it: one
 * JSON object per line there, one or more per line back.
 */

#ifndef CASEFS_CONTROL_H
#define CASEFS_CONTROL_H

#include <jansson.h>

struct control;

/* Connect; NULL with the failure reported. */
struct control *control_open(const char *path);
void control_close(struct control *control); /* NULL is allowed */

/* Send a request, which is released, and return the answer, for the caller to release; or NULL with
 * the failure reported.  The protocol's version is put in here. */
json_t *control_ask(struct control *control, json_t *request);

#endif
