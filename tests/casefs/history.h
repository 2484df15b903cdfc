/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The states that a volume went through, and which of them another one holds.
 */

#ifndef CASEFS_TEST_HISTORY_H
#define CASEFS_TEST_HISTORY_H

#include "emulator.h"
#include "model.h"

struct history {
  struct model **states;
  size_t count, room;
};

/* Add a copy of the model as the next state; the first is number 0. */
void history_note(struct history *history, const struct model *model);
void history_destroy(struct history *history);

/* The number of the state that the volume holds, of those that the marks allow; or -1 with a
 * difference in message. */
int history_find(const struct history *history, struct emulator_marks marks, casefs_volume *volume,
                 char message[MODEL_MESSAGE]);

/* Whether a volume that nobody has open is without problems: 0, or -1 with the first in message. */
int check_volume(struct casefs_device *device, char message[MODEL_MESSAGE]);

/* A formatted volume of that size, perhaps with what a text makes on it, and the model of it. */
int make_volume(uint64_t size, bool insensitive, const char *text, struct image **image,
                struct model **model, char message[MODEL_MESSAGE]);

#endif
