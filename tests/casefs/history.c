/* SPDX-License-Identifier: BSD-3-Clause */

#include "history.h"

#include "workload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void history_note(struct history *history, const struct model *model) {
  if (history->count == history->room) {
    history->room = history->room ? 2 * history->room : 16;
    history->states = realloc(history->states, history->room * sizeof *history->states);
    if (!history->states)
      abort();
  }
  history->states[history->count++] = model_clone(model);
}

void history_destroy(struct history *history) {
  for (size_t i = 0; i < history->count; i++)
    model_destroy(history->states[i]);
  free(history->states);
  *history = (struct history){0};
}

int history_find(const struct history *history, struct emulator_marks marks, casefs_volume *volume,
                 char message[MODEL_MESSAGE]) {
  struct model *scanned;
  struct casefs_statistics statistics;
  char difference[MODEL_MESSAGE];
  if (model_scan(volume, &scanned, message) != 0)
    return -1;
  casefs_volume_statistics(volume, &statistics);
  size_t nodes = scanned->nodes;
  int state = (int)marks.issued;
  bool found = false;
  for (; state >= (int)marks.durable && !found; state -= !found)
    found = model_compare(scanned, history->states[state], difference) == 0;
  model_destroy(scanned);
  if (!found) {
    snprintf(message, MODEL_MESSAGE, "none of states %u to %u: of the first, %.900s", marks.durable,
             marks.issued, difference);
    return -1;
  }
  if (statistics.nodes == nodes)
    return state;
  snprintf(message, MODEL_MESSAGE, "%zu nodes, %" PRIu64 " by the statistics", nodes,
           statistics.nodes);
  return -1;
}

static void note_problem(void *context, const struct casefs_problem *problem) {
  char *message = context;
  if (!message[0])
    snprintf(message, MODEL_MESSAGE, "problem %u of node %" PRIu64 ": %.800s", problem->number,
             problem->id, problem->text);
}

int check_volume(struct casefs_device *device, char message[MODEL_MESSAGE]) {
  struct casefs_check_options options = {
      .flags = CASEFS_CHECK_DATA,
      .context = message,
      .problem = note_problem,
  };
  struct casefs_check_result result = {0};
  message[0] = 0;
  int error = casefs_check(device, &options, &result);
  if (error)
    snprintf(message, MODEL_MESSAGE, "checking: %s", strerror(-error));
  return error || result.problems ? -1 : 0;
}

static int fill_volume(casefs_volume *volume, const char *text, struct model **model,
                       char message[MODEL_MESSAGE]) {
  struct world world;
  if (model_scan(volume, model, message) != 0)
    return -1;
  int error = world_start(&world, volume, *model);
  if (error == 0 && text && world_run(&world, text) == WORLD_WRONG)
    error = -EIO;
  if (error == 0)
    error = world_compare(&world);
  if (error)
    memcpy(message, world.message, MODEL_MESSAGE);
  world_end(&world);
  return error;
}

int make_volume(uint64_t size, bool insensitive, const char *text, struct image **image,
                struct model **model, char message[MODEL_MESSAGE]) {
  struct image *empty = image_create(size);
  struct emulator *emulator = emulator_open(empty);
  struct casefs_format_options options = {.case_insensitive = insensitive, .uuid = {1}};
  casefs_volume *volume = NULL;
  int error = casefs_format(emulator_device(emulator), &options);
  message[0] = 0;
  image_destroy(empty);
  if (error == 0)
    error = casefs_open(emulator_device(emulator), NULL, &volume);
  if (error == 0)
    error = fill_volume(volume, text, model, message);
  int closing = casefs_close(volume);
  if (error == 0)
    error = closing;
  if (error && !message[0])
    snprintf(message, MODEL_MESSAGE, "making a volume: %s", strerror(-error));
  *image = emulator_image(emulator);
  emulator_close(emulator);
  return error ? -1 : 0;
}
