/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Each operation done to a model, and to a volume by the library's functions.
 */

#include "apply.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

unsigned char apply_data[OPERATION_DATA], apply_model_data[OPERATION_DATA];

static unsigned char blob[CASEFS_MAX_SECURITY];

size_t apply_bounded(uint64_t count) {
  return count < OPERATION_DATA ? (size_t)count : OPERATION_DATA;
}

const void *apply_content(uint64_t seed, size_t count) {
  if (seed == 0)
    memset(apply_data, 0, count);
  else
    dice_fill(apply_data, count, seed);
  return apply_data;
}

/* What a creating operation creates. */
static struct casefs_creation creation_of(const struct operation *operation) {
  struct casefs_creation creation = {.type = CASEFS_DIRECTORY, .mode = 0755};
  switch (operation->kind) {
  case OPERATION_CREATE_FULL:
    return make_creation(operation->number[0], blob);
  case OPERATION_CREATE:
    creation.type = CASEFS_FILE;
    creation.mode = 0644;
    break;
  case OPERATION_MKDIR_SENSITIVE:
    creation.sensitive = true;
    break;
  case OPERATION_MKDIR_INSENSITIVE:
    creation.insensitive = true;
    break;
  case OPERATION_SYMLINK:
    creation.type = CASEFS_SYMLINK;
    creation.target = operation->word[1];
    creation.target_length = strlen(operation->word[1]);
    break;
  case OPERATION_SPECIAL:
    creation.type = (enum casefs_type)operation->number[0];
    creation.rdev = operation->number[1];
    break;
  default:
    break;
  }
  return creation;
}

static unsigned rename_flags(enum operation_kind kind) {
  return kind == OPERATION_EXCHANGE           ? CASEFS_RENAME_EXCHANGE
         : kind == OPERATION_RENAME_NOREPLACE ? CASEFS_RENAME_NOREPLACE
                                              : 0;
}

static uint32_t tag_of(const unsigned char *reparse) {
  return reparse[0] | (uint32_t)reparse[1] << 8 | (uint32_t)reparse[2] << 16 |
         (uint32_t)reparse[3] << 24;
}

/* -------------------------------------------------------------- on the model */

/* How many bytes are written is known only from what the volume did: count says it. */
static int64_t model_of_two(struct model *model, const struct operation *operation,
                            const struct model_place *old) {
  struct model_place new;
  int error = model_find(model, operation->word[1], &new);
  if (error)
    return error;
  if (!new.directory)
    return -EINVAL;
  if (operation->kind == OPERATION_LINK)
    return old->node ? model_link(model, old->node, new.directory, new.name, new.length) : -ENOENT;
  if (!old->directory)
    return -EINVAL;
  return model_rename(model, old->directory, old->name, old->length, new.directory, new.name,
                      new.length, rename_flags(operation->kind));
}

static int64_t model_of_name(struct model *model, const struct operation *operation,
                             const struct model_place *place) {
  struct casefs_creation creation;
  struct model_node *made;
  if (!place->directory)
    return -EINVAL;
  switch (operation->kind) {
  case OPERATION_UNLINK:
    return model_unlink(model, place->directory, place->name, place->length);
  case OPERATION_RMDIR:
    return model_rmdir(model, place->directory, place->name, place->length);
  default:
    creation = creation_of(operation);
    return model_make(model, place->directory, place->name, place->length, &creation, &made);
  }
}

static int64_t model_of_stream(struct model *model, const struct operation *operation,
                               struct model_node *node, size_t count) {
  const char *name = operation->word[1];
  const uint64_t *number = operation->number;
  size_t length = strlen(name);
  struct model_node *stream = NULL;
  int flags = O_CREAT | (number[0] ? O_EXCL : 0);
  switch (operation->kind) {
  case OPERATION_STREAM_CREATE:
    return model_open_stream(model, node, name, length, flags, &stream);
  case OPERATION_STREAM_REMOVE:
    return model_remove_stream(model, node, name, length);
  case OPERATION_STREAM_RENAME:
    return model_rename_stream(model, node, name, length, operation->word[2],
                               strlen(operation->word[2]));
  default:
    break;
  }
  int error = model_open_stream(model, node, name, length, 0, &stream);
  if (error)
    return error;
  if (operation->kind == OPERATION_STREAM_TRUNCATE)
    return model_truncate(model, stream, number[0]);
  return model_write(model, stream, apply_content(number[2], apply_bounded(number[1])), count,
                     number[0]);
}

static int64_t model_of_node(struct model *model, const struct operation *operation,
                             struct model_node *node, size_t count) {
  const uint64_t *number = operation->number;
  const char *word = operation->word[1];
  struct casefs_attributes attributes;
  size_t length;
  switch (operation->kind) {
  case OPERATION_WRITE:
    return model_write(model, node, apply_content(number[2], apply_bounded(number[1])), count,
                       number[0]);
  case OPERATION_APPEND:
    return model_write(model, node, apply_content(number[1], apply_bounded(number[0])), count,
                       node->attributes.size);
  case OPERATION_TRUNCATE:
    return model_truncate(model, node, number[0]);
  case OPERATION_PUNCH:
    return model_punch(model, node, number[0], number[1]);
  case OPERATION_ALLOCATE:
    return model_allocate(model, node, number[0], number[1], number[2] != 0);
  case OPERATION_READ:
    return model_read(node, apply_model_data, apply_bounded(number[1]), number[0]);
  case OPERATION_EA_SET:
    return model_set_ea(model, node, word, strlen(word),
                        apply_content(number[1], apply_bounded(number[0])),
                        apply_bounded(number[0]), (uint8_t)number[2]);
  case OPERATION_EA_REMOVE:
    return model_set_ea(model, node, word, strlen(word), NULL, 0, 0);
  case OPERATION_SECURITY_SET:
    length = make_security(number[0], blob);
    return model_set_security(model, node, blob, length);
  case OPERATION_SECURITY_REMOVE:
    return model_set_security(model, node, NULL, 0);
  case OPERATION_REPARSE_SET:
    length = make_reparse(number[0], (size_t)number[1], blob);
    return model_set_reparse(model, node, blob, length);
  case OPERATION_REPARSE_REMOVE:
    make_reparse(number[0], 0, blob);
    return model_remove_reparse(model, node, tag_of(blob), blob + 8);
  case OPERATION_SET_CASE:
    return model_set_case(model, node, number[0] != 0);
  case OPERATION_SET_ATTRIBUTES:
    attributes = make_attributes(number[1]);
    return model_set_attributes(model, node, (unsigned)number[0], &attributes);
  case OPERATION_LOOK:
  case OPERATION_LIST:
    return 0;
  default:
    return model_of_stream(model, operation, node, count);
  }
}

int64_t apply_to_model(struct model *model, const struct operation *operation, size_t count) {
  struct model_place place;
  if (operation->kind == OPERATION_LABEL)
    return model_set_label(model, operation->word[0]);
  int error = model_find(model, operation->word[0], &place);
  if (error)
    return error;
  switch (operation->kind) {
  case OPERATION_LINK:
  case OPERATION_RENAME:
  case OPERATION_RENAME_NOREPLACE:
  case OPERATION_EXCHANGE:
    return model_of_two(model, operation, &place);
  case OPERATION_CREATE:
  case OPERATION_CREATE_FULL:
  case OPERATION_MKDIR:
  case OPERATION_MKDIR_SENSITIVE:
  case OPERATION_MKDIR_INSENSITIVE:
  case OPERATION_SYMLINK:
  case OPERATION_SPECIAL:
  case OPERATION_UNLINK:
  case OPERATION_RMDIR:
    return model_of_name(model, operation, &place);
  default:
    break;
  }
  if (!place.node && place.directory->attributes.type != CASEFS_DIRECTORY)
    return -ENOTDIR;
  if (!place.node) /* a name that cannot be says so */
    error = model_check_name(MODEL_ENTRY_NAME, place.name, place.length);
  if (!place.node)
    return error ? error : -ENOENT;
  return model_of_node(model, operation, place.node, count);
}

/* ------------------------------------------------------------- on the volume */

void apply_close(struct apply_handles *handles) {
  casefs_node_close(handles->directory);
  casefs_node_close(handles->node);
  casefs_node_close(handles->second);
}

int apply_walk(casefs_node *root, const char *path, casefs_node **directory, const char **name,
               size_t *length) {
  *directory = casefs_node_hold(root);
  for (;;) {
    path += strspn(path, "/");
    size_t part = strcspn(path, "/");
    const char *rest = path + part + strspn(path + part, "/");
    if (!*rest) {
      *name = path;
      *length = part;
      return 0;
    }
    casefs_node *next;
    int error = casefs_open_at(*directory, path, part, &next);
    casefs_node_close(*directory);
    *directory = error ? NULL : next;
    if (error)
      return error;
    path = rest;
  }
}

int apply_open(casefs_node *root, const char *path, casefs_node **node) {
  casefs_node *directory;
  const char *name;
  size_t length;
  int error = apply_walk(root, path, &directory, &name, &length);
  if (error)
    return error;
  if (length == 0) {
    *node = directory;
    return 0;
  }
  error = casefs_open_at(directory, name, length, node);
  casefs_node_close(directory);
  return error;
}

static int64_t volume_of_two(casefs_node *root, const struct operation *operation,
                             struct apply_handles *handles, uint64_t *id) {
  const char *old_name, *new_name;
  size_t old_length, new_length;
  int error;
  (void)id;
  if (operation->kind == OPERATION_LINK)
    error = apply_open(root, operation->word[0], &handles->node);
  else
    error = apply_walk(root, operation->word[0], &handles->node, &old_name, &old_length);
  if (error == 0)
    error = apply_walk(root, operation->word[1], &handles->directory, &new_name, &new_length);
  if (error)
    return error;
  if (operation->kind == OPERATION_LINK)
    return casefs_link(handles->node, handles->directory, new_name, new_length);
  return casefs_rename(handles->node, old_name, old_length, handles->directory, new_name,
                       new_length, rename_flags(operation->kind));
}

static int64_t volume_of_name(casefs_node *root, const struct operation *operation,
                              struct apply_handles *handles, uint64_t *id) {
  const char *name;
  size_t length;
  struct casefs_creation creation;
  int error = apply_walk(root, operation->word[0], &handles->directory, &name, &length);
  if (error)
    return error;
  switch (operation->kind) {
  case OPERATION_UNLINK:
    return casefs_unlink(handles->directory, name, length);
  case OPERATION_RMDIR:
    return casefs_rmdir(handles->directory, name, length);
  default:
    creation = creation_of(operation);
    error = casefs_create(handles->directory, name, length, &creation, &handles->node);
    if (error == 0)
      *id = casefs_node_id(handles->node);
    return error;
  }
}

static int64_t volume_of_stream(const struct operation *operation, struct apply_handles *handles,
                                uint64_t *id) {
  const char *name = operation->word[1];
  const uint64_t *number = operation->number;
  size_t length = strlen(name);
  int error;
  switch (operation->kind) {
  case OPERATION_STREAM_REMOVE:
    return casefs_remove_stream(handles->node, name, length);
  case OPERATION_STREAM_RENAME:
    return casefs_rename_stream(handles->node, name, length, operation->word[2],
                                strlen(operation->word[2]));
  case OPERATION_STREAM_CREATE:
    error = casefs_open_stream(handles->node, name, length, O_CREAT | (number[0] ? O_EXCL : 0),
                               &handles->second);
    if (error == 0)
      *id = casefs_node_id(handles->second);
    return error;
  default:
    break;
  }
  error = casefs_open_stream(handles->node, name, length, 0, &handles->second);
  if (error)
    return error;
  if (operation->kind == OPERATION_STREAM_TRUNCATE)
    return casefs_truncate(handles->second, number[0]);
  return casefs_write(handles->second, apply_content(number[2], apply_bounded(number[1])),
                      apply_bounded(number[1]), number[0]);
}

static int64_t volume_append(casefs_node *node, const struct operation *operation) {
  struct casefs_attributes attributes;
  size_t count = apply_bounded(operation->number[0]);
  int error = casefs_get_attributes(node, &attributes);
  return error ? error
               : casefs_write(node, apply_content(operation->number[1], count), count,
                              attributes.size);
}

static int64_t volume_of_node(const struct operation *operation, struct apply_handles *handles,
                              uint64_t *id) {
  const uint64_t *number = operation->number;
  const char *word = operation->word[1];
  casefs_node *node = handles->node;
  struct casefs_attributes attributes;
  char first[CASEFS_MAX_NAME + 1], second[CASEFS_MAX_NAME + 1];
  size_t length;
  switch (operation->kind) {
  case OPERATION_WRITE:
    return casefs_write(node, apply_content(number[2], apply_bounded(number[1])),
                        apply_bounded(number[1]), number[0]);
  case OPERATION_APPEND:
    return volume_append(node, operation);
  case OPERATION_TRUNCATE:
    return casefs_truncate(node, number[0]);
  case OPERATION_PUNCH:
    return casefs_punch(node, number[0], number[1]);
  case OPERATION_ALLOCATE:
    return casefs_allocate(node, number[0], number[1], number[2] != 0);
  case OPERATION_READ:
    return casefs_read(node, apply_data, apply_bounded(number[1]), number[0]);
  case OPERATION_EA_SET:
    return casefs_set_ea(node, word, strlen(word),
                         apply_content(number[1], apply_bounded(number[0])),
                         apply_bounded(number[0]), (uint8_t)number[2]);
  case OPERATION_EA_REMOVE:
    return casefs_set_ea(node, word, strlen(word), NULL, 0, 0);
  case OPERATION_SECURITY_SET:
    length = make_security(number[0], blob);
    return casefs_set_security(node, blob, length);
  case OPERATION_SECURITY_REMOVE:
    return casefs_set_security(node, NULL, 0);
  case OPERATION_REPARSE_SET:
    length = make_reparse(number[0], (size_t)number[1], blob);
    return casefs_set_reparse(node, blob, length);
  case OPERATION_REPARSE_REMOVE:
    make_reparse(number[0], 0, blob);
    return casefs_remove_reparse(node, tag_of(blob), blob + 8);
  case OPERATION_SET_CASE:
    return casefs_set_case(node, number[0] != 0, first, second);
  case OPERATION_SET_ATTRIBUTES:
    attributes = make_attributes(number[1]);
    return casefs_set_attributes(node, (unsigned)number[0], &attributes);
  case OPERATION_LOOK:
  case OPERATION_LIST:
    return 0;
  default:
    return volume_of_stream(operation, handles, id);
  }
}

int64_t apply_to_volume(casefs_volume *volume, casefs_node *root, const struct operation *operation,
                        struct apply_handles *handles, uint64_t *id) {
  switch (operation->kind) {
  case OPERATION_LABEL:
    return casefs_set_label(volume, operation->word[0]);
  case OPERATION_LINK:
  case OPERATION_RENAME:
  case OPERATION_RENAME_NOREPLACE:
  case OPERATION_EXCHANGE:
    return volume_of_two(root, operation, handles, id);
  case OPERATION_CREATE:
  case OPERATION_CREATE_FULL:
  case OPERATION_MKDIR:
  case OPERATION_MKDIR_SENSITIVE:
  case OPERATION_MKDIR_INSENSITIVE:
  case OPERATION_SYMLINK:
  case OPERATION_SPECIAL:
  case OPERATION_UNLINK:
  case OPERATION_RMDIR:
    return volume_of_name(root, operation, handles, id);
  default:
    break;
  }
  int error = apply_open(root, operation->word[0], &handles->node);
  return error ? error : volume_of_node(operation, handles, id);
}
