/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Operations done to a model and to a volume, and what they answer compared.
 */

#include "apply.h"
#include "workload.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void watch(struct world *world, bool begins) {
  if (world->watch)
    world->watch(begins);
}

/* --------------------------------------------------------------- being wrong */

__attribute__((format(printf, 3, 4))) static enum world_outcome
wrong(struct world *world, const struct operation *operation, const char *format, ...) {
  va_list arguments;
  int length = snprintf(world->message, MODEL_MESSAGE, "%.400s: ", operation->text);
  va_start(arguments, format);
  vsnprintf(world->message + length, MODEL_MESSAGE - (size_t)length, format, arguments);
  va_end(arguments);
  return WORLD_WRONG;
}

static const char *say(int64_t result, char buffer[64]) {
  if (result < 0)
    snprintf(buffer, 64, "%.62s", strerrorname_np((int)-result));
  else
    snprintf(buffer, 64, "%" PRId64, result);
  return buffer;
}

static enum world_outcome wrong_result(struct world *world, const struct operation *operation,
                                       int64_t is, int64_t should) {
  char is_text[64], should_text[64];
  return wrong(world, operation, "returned %s, should be %s", say(is, is_text),
               say(should, should_text));
}

/* ------------------------------------------------------------------ learning */

/* The stream of a node, of the model and of the volume. */
static int open_modelled_stream(struct model_node *stream, casefs_node *owner, casefs_node **node) {
  const struct model_dictionary *streams = &stream->owner->streams;
  for (size_t i = 0; i < streams->count; i++)
    if (streams->items[i].node == stream)
      return casefs_open_stream(owner, (const char *)streams->items[i].name.bytes,
                                streams->items[i].name.length, 0, node);
  return -ENOENT;
}

static int open_modelled(struct world *world, struct model_node *model, casefs_node **node) {
  for (int i = 0; i < WORLD_HELD; i++)
    if (world->held[i].model == model) {
      *node = casefs_node_hold(world->held[i].node);
      return 0;
    }
  if (model->attributes.type != CASEFS_STREAM)
    return casefs_open_id(world->volume, model->attributes.id, node);
  casefs_node *owner;
  int error = open_modelled(world, model->owner, &owner);
  if (error)
    return error;
  error = open_modelled_stream(model, owner, node);
  casefs_node_close(owner);
  return error;
}

/* Whether anything leads to it: a name, or an open handle. */
static bool can_be_reached(const struct world *world, const struct model_node *model) {
  bool reached = model->attributes.links > 0 || model == world->model->root;
  for (int i = 0; i < WORLD_HELD; i++)
    reached = reached || world->held[i].model == model;
  return reached;
}

static bool is_now(uint64_t time, uint64_t before) {
  return time >= before && time <= casefs_now();
}

/* Times of a new node are those it was created with, or now. */
static bool learn_new(struct casefs_attributes *own, const struct casefs_attributes *is,
                      uint64_t before) {
  uint64_t *times[] = {&own->created, &own->modified, &own->accessed, &own->changed};
  const uint64_t got[] = {is->created, is->modified, is->accessed, is->changed};
  for (int i = 0; i < 4; i++)
    if (*times[i] == 0 && is_now(got[i], before))
      *times[i] = got[i];
    else if (*times[i] != got[i])
      return false;
  return true;
}

/* Those of an old one stay, or become now. */
static bool learn_old(struct casefs_attributes *own, const struct casefs_attributes *is,
                      uint64_t before) {
  bool right = (is->modified == own->modified || is_now(is->modified, before)) &&
               (is->changed == own->changed || is_now(is->changed, before)) &&
               is->accessed == own->accessed && is->created == own->created;
  own->modified = is->modified;
  own->changed = is->changed;
  return right;
}

static enum world_outcome learn_one(struct world *world, const struct operation *operation,
                                    struct model_node *node, uint64_t before) {
  casefs_node *open;
  struct casefs_attributes is;
  int error = open_modelled(world, node, &open);
  if (error == 0) {
    error = casefs_get_attributes(open, &is);
    casefs_node_close(open);
  }
  if (error)
    return wrong(world, operation, "then node %" PRIu64 " cannot be opened: %s",
                 node->attributes.id, strerror(-error));
  struct casefs_attributes old = node->attributes;
  bool right = node->added ? learn_new(&node->attributes, &is, before)
                           : learn_old(&node->attributes, &is, before);
  if (right)
    return WORLD_DONE;
  return wrong(world, operation,
               "then node %" PRIu64 " has the times %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64
               ", had %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64 ", now is %" PRIx64,
               old.id, is.created, is.modified, is.accessed, is.changed, old.created, old.modified,
               old.accessed, old.changed, before);
}

static enum world_outcome learn_id(struct world *world, const struct operation *operation,
                                   struct model_node *node, uint64_t id) {
  if (id <= world->last_id)
    return wrong(world, operation, "made id %" PRIu64 " after id %" PRIu64, id, world->last_id);
  world->last_id = node->attributes.id = id;
  return WORLD_DONE;
}

/* Take over what only the volume could know: ids and the time of now. */
static enum world_outcome learn(struct world *world, const struct operation *operation,
                                uint64_t before, uint64_t id) {
  struct model *model = world->model;
  enum world_outcome outcome = WORLD_DONE;
  for (size_t i = 0; i < model->touched_count && outcome == WORLD_DONE; i++)
    if (model->touched[i]->added)
      outcome = learn_id(world, operation, model->touched[i], id);
  for (size_t i = 0; i < model->touched_count && outcome == WORLD_DONE; i++)
    if (can_be_reached(world, model->touched[i]))
      outcome = learn_one(world, operation, model->touched[i], before);
  model_settle(model);
  return outcome;
}

/* ------------------------------------------------------------- looking closer */

/* What a query that failed, and should not have, comes to. */
static enum world_outcome judge(struct world *world, const struct operation *operation,
                                int64_t result) {
  if (result == 0)
    return WORLD_DONE;
  return world_tolerance(result) & world->tolerated ? WORLD_REFUSED
                                                    : wrong_result(world, operation, result, 0);
}

static enum world_outcome look(struct world *world, const struct operation *operation) {
  struct casefs_attributes attributes;
  struct model_place place;
  char stored[CASEFS_MAX_NAME + 1];
  casefs_node *directory = NULL;
  const char *name;
  size_t length;
  model_find(world->model, operation->word[0], &place);
  if (!place.directory)
    return WORLD_DONE;
  watch(world, true);
  int error = apply_walk(world->root, operation->word[0], &directory, &name, &length);
  if (error == 0)
    error = casefs_lookup(directory, name, length, &attributes, stored);
  casefs_node_close(directory);
  watch(world, false);
  if (error)
    return judge(world, operation, error);
  const struct model_item *item = model_lookup(place.directory, place.name, place.length);
  if (attributes.id != item->node->attributes.id)
    return wrong(world, operation, "found node %" PRIu64 ", should be %" PRIu64, attributes.id,
                 item->node->attributes.id);
  if (strlen(stored) != item->name.length || memcmp(stored, item->name.bytes, item->name.length))
    return wrong(world, operation, "is stored as \"%s\"", stored);
  return WORLD_DONE;
}

/* List from somewhere in the middle on. */
static enum world_outcome list(struct world *world, const struct operation *operation,
                               casefs_node *directory) {
  struct casefs_cursor cursor = {0};
  struct casefs_entry entry;
  struct model_place place;
  model_find(world->model, operation->word[0], &place);
  const struct model_dictionary *entries = &place.node->entries;
  if (place.node->attributes.type != CASEFS_DIRECTORY)
    return WORLD_DONE;
  size_t i = entries->count / 2;
  if (i > 0) {
    const struct model_blob *name = &entries->items[i - 1].name;
    int error = casefs_seek_entry(directory, (const char *)name->bytes, name->length, &cursor);
    if (error)
      return judge(world, operation, error);
  }
  for (; i <= entries->count; i++) {
    watch(world, true);
    int result = casefs_next_entry(directory, &cursor, &entry, NULL);
    watch(world, false);
    if (result < 0)
      return judge(world, operation, result);
    if (result != (i < entries->count))
      return wrong_result(world, operation, result, i < entries->count);
    if (result == 1 && (entry.id != entries->items[i].node->attributes.id ||
                        entry.name_length != entries->items[i].name.length))
      return wrong(world, operation, "listed \"%s\" as entry %zu", entry.name, i);
  }
  return WORLD_DONE;
}

static enum world_outcome look_closer(struct world *world, const struct operation *operation,
                                      const struct apply_handles *handles, int64_t result) {
  if (result < 0)
    return WORLD_DONE;
  bool read = operation->kind == OPERATION_READ || operation->kind == OPERATION_HELD_READ;
  for (int64_t i = 0; read && i < result; i++)
    if (apply_data[i] != apply_model_data[i])
      return wrong(world, operation, "byte %" PRId64 " is %02x, should be %02x", i, apply_data[i],
                   apply_model_data[i]);
  if (operation->kind == OPERATION_LOOK)
    return look(world, operation);
  if (operation->kind == OPERATION_LIST)
    return list(world, operation, handles->node);
  return WORLD_DONE;
}

/* ---------------------------------------------------------------- open handles */

/* The modelled node that the operation would hold, or NULL. */
static struct model_node *find_held(struct world *world, const struct operation *operation) {
  struct model_place place;
  struct model_node *stream;
  if (model_find(world->model, operation->word[0], &place) != 0 || !place.node)
    return NULL;
  if (operation->kind == OPERATION_HOLD)
    return place.node;
  return model_open_stream(world->model, place.node, operation->word[1], strlen(operation->word[1]),
                           0, &stream) == 0
             ? stream
             : NULL;
}

static enum world_outcome hold(struct world *world, const struct operation *operation) {
  bool stream = operation->kind == OPERATION_HOLD_STREAM;
  size_t slot = operation->number[0] % WORLD_HELD;
  struct apply_handles handles = {0};
  struct model_node *model = find_held(world, operation);
  if (world->held[slot].node)
    return WORLD_DONE;
  watch(world, true);
  int error = apply_open(world->root, operation->word[0], &handles.node);
  if (error == 0 && stream)
    error = casefs_open_stream(handles.node, operation->word[1], strlen(operation->word[1]), 0,
                               &handles.second);
  watch(world, false);
  enum world_outcome outcome = WORLD_DONE;
  if (error && (world_tolerance(error) & world->tolerated))
    outcome = WORLD_REFUSED;
  else if ((error == 0) != (model != NULL))
    outcome = wrong_result(world, operation, error, model ? 0 : -ENOENT);
  else if (model) {
    model_hold(model);
    world->held[slot].model = model;
    world->held[slot].node = casefs_node_hold(stream ? handles.second : handles.node);
  }
  apply_close(&handles);
  return outcome;
}

static void release(struct world *world, size_t slot) {
  if (!world->held[slot].node)
    return;
  watch(world, true);
  casefs_node_close(world->held[slot].node);
  watch(world, false);
  model_close(world->model, world->held[slot].model);
  world->held[slot].node = NULL;
  world->held[slot].model = NULL;
}

static int64_t held_on_model(struct world *world, const struct operation *operation, size_t count) {
  struct model_node *node = world->held[operation->number[0] % WORLD_HELD].model;
  const uint64_t *number = operation->number + 1;
  if (operation->kind == OPERATION_HELD_READ)
    return model_read(node, apply_model_data, apply_bounded(number[1]), number[0]);
  if (operation->kind == OPERATION_HELD_TRUNCATE)
    return model_truncate(world->model, node, number[0]);
  return model_write(world->model, node, apply_content(number[2], apply_bounded(number[1])), count,
                     number[0]);
}

static int64_t held_on_volume(struct world *world, const struct operation *operation) {
  casefs_node *node = world->held[operation->number[0] % WORLD_HELD].node;
  const uint64_t *number = operation->number + 1;
  if (operation->kind == OPERATION_HELD_READ)
    return casefs_read(node, apply_data, apply_bounded(number[1]), number[0]);
  if (operation->kind == OPERATION_HELD_TRUNCATE)
    return casefs_truncate(node, number[0]);
  return casefs_write(node, apply_content(number[2], apply_bounded(number[1])),
                      apply_bounded(number[1]), number[0]);
}

/* ----------------------------------------------------------------- the world */

unsigned world_tolerance(int64_t error) {
  return error == -ENOSPC   ? TOLERATE_NO_SPACE
         : error == -ENOMEM ? TOLERATE_NO_MEMORY
         : error == -EIO    ? TOLERATE_IO
                            : 0;
}

static bool uses_held(const struct operation *operation) {
  return operation->kind == OPERATION_HELD_WRITE || operation->kind == OPERATION_HELD_TRUNCATE ||
         operation->kind == OPERATION_HELD_READ;
}

static int64_t on_model(struct world *world, const struct operation *operation, bool rehearsal,
                        size_t count) {
  world->model->rehearsal = rehearsal;
  return uses_held(operation) ? held_on_model(world, operation, count)
                              : apply_to_model(world->model, operation, count);
}

/* A full volume can always delete. */
static unsigned tolerated(const struct world *world, const struct operation *operation) {
  bool removal = operation->kind == OPERATION_UNLINK || operation->kind == OPERATION_RMDIR ||
                 operation->kind == OPERATION_STREAM_REMOVE;
  return world->tolerated & ~(removal ? TOLERATE_NO_SPACE : 0u);
}

/* How many bytes the operation is asked to write. */
static size_t asked(const struct operation *operation) {
  switch (operation->kind) {
  case OPERATION_WRITE:
  case OPERATION_STREAM_WRITE:
    return apply_bounded(operation->number[1]);
  case OPERATION_HELD_WRITE:
    return apply_bounded(operation->number[2]);
  case OPERATION_APPEND:
    return apply_bounded(operation->number[0]);
  default:
    return 0;
  }
}

static enum world_outcome change(struct world *world, const struct operation *operation) {
  struct apply_handles handles = {0};
  uint64_t id = 0, before = casefs_now();
  watch(world, true);
  int64_t result = uses_held(operation)
                       ? held_on_volume(world, operation)
                       : apply_to_volume(world->volume, world->root, operation, &handles, &id);
  watch(world, false);
  int64_t expected = on_model(world, operation, true, asked(operation));
  bool partial = asked(operation) && result >= 0 && result < expected && world->tolerated;
  enum world_outcome outcome = WORLD_DONE;
  if (result != expected && (world_tolerance(result) & tolerated(world, operation)))
    outcome = WORLD_REFUSED;
  else if (result != expected && !partial)
    outcome = wrong_result(world, operation, result, expected);
  else if (result >= 0)
    on_model(world, operation, false, partial ? (size_t)result : asked(operation));
  if (outcome == WORLD_DONE)
    outcome = learn(world, operation, before, id);
  if (outcome == WORLD_DONE)
    outcome = look_closer(world, operation, &handles, result);
  watch(world, true);
  apply_close(&handles);
  watch(world, false);
  return outcome;
}

enum world_outcome world_step(struct world *world, const struct operation *operation) {
  int64_t result;
  switch (operation->kind) {
  case OPERATION_SYNC:
    watch(world, true);
    result = casefs_sync(world->volume);
    watch(world, false);
    return judge(world, operation, result);
  case OPERATION_HOLD:
  case OPERATION_HOLD_STREAM:
    return hold(world, operation);
  case OPERATION_RELEASE:
    release(world, operation->number[0] % WORLD_HELD);
    return WORLD_DONE;
  default:
    if (uses_held(operation) && !world->held[operation->number[0] % WORLD_HELD].node)
      return WORLD_DONE;
    return change(world, operation);
  }
}

enum world_outcome world_run(struct world *world, const char *text) {
  struct operation operation;
  while ((text = operation_parse(text, &operation)) && operation.kind != OPERATION_KINDS)
    if (world_step(world, &operation) == WORLD_WRONG)
      return WORLD_WRONG;
  if (text)
    return WORLD_DONE;
  snprintf(world->message, MODEL_MESSAGE, "not an operation: %.800s", operation.text);
  return WORLD_WRONG;
}

void world_try(casefs_volume *volume, const struct operation *operation) {
  struct world world = {.volume = volume};
  struct apply_handles handles = {0};
  uint64_t id;
  if (operation->kind == OPERATION_SYNC)
    casefs_sync(volume);
  if (operation->kind >= OPERATION_HOLD || casefs_open_root(volume, &world.root) != 0)
    return;
  apply_to_volume(volume, world.root, operation, &handles, &id);
  apply_close(&handles);
  casefs_node_close(world.root);
}

int world_start(struct world *world, casefs_volume *volume, struct model *model) {
  *world = (struct world){.model = model, .volume = volume};
  struct casefs_statistics statistics;
  casefs_volume_statistics(volume, &statistics);
  world->last_id = statistics.next_id - 1;
  return casefs_open_root(volume, &world->root);
}

void world_end(struct world *world) {
  for (size_t i = 0; i < WORLD_HELD; i++)
    release(world, i);
  casefs_node_close(world->root);
  world->root = NULL;
}

int world_compare(struct world *world) {
  struct model *scanned;
  if (model_scan(world->volume, &scanned, world->message) != 0)
    return -1;
  int result = model_compare(scanned, world->model, world->message);
  model_destroy(scanned);
  return result;
}
