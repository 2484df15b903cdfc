/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A volume as a side of a copy.
 */

#include "copy-sides.h"

#include <errno.h>
#include <string.h>

enum { DOS_ARCHIVE = 0x20 }; /* FILE_ATTRIBUTE_ARCHIVE */

static void close_node(struct handle *handle) {
  casefs_node_close(handle->node);
  *handle = NO_HANDLE;
}

/* The volume stands for its device. */
static uint64_t device_of(const casefs_node *node) {
  return (uintptr_t)casefs_node_volume(node);
}

/* ----------------------------------------------------------------- reading */

static int open_entry(const struct handle *directory, const char *name, enum opening opening,
                      casefs_node **node) {
  if (*name == '\0') {
    *node = casefs_node_hold(directory->node);
    return 0;
  }
  if (opening == OPEN_ENTRY)
    return casefs_open_at(directory->node, name, strlen(name), node);
  return casefs_open_path(casefs_node_volume(directory->node), directory->node, name,
                          opening == OPEN_FOLLOW ? 0 : CASEFS_NOFOLLOW, node);
}

static int read_target(struct object *object) {
  object->target = allocate(CASEFS_MAX_SYMLINK + 1);
  int length = casefs_readlink(object->handle.node, object->target, CASEFS_MAX_SYMLINK);
  object->target_length = length < 0 ? 0 : (size_t)length;
  return length < 0 ? length : 0;
}

static void volume_close(struct object *object) {
  close_node(&object->handle);
  free(object->target);
  object->target = NULL;
}

static int volume_open_object(const struct handle *directory, const char *name,
                              enum casefs_type type, enum opening opening, struct object *object) {
  (void)type;
  *object = (struct object){.handle = NO_HANDLE, .device = device_of(directory->node)};
  int error = open_entry(directory, name, opening, &object->handle.node);
  if (error == 0)
    error = casefs_get_attributes(object->handle.node, &object->attributes);
  if (error == 0 && object->attributes.type == CASEFS_SYMLINK)
    error = read_target(object);
  if (error < 0)
    volume_close(object);
  /* A small file is read whole sooner than its extents are asked for. */
  object->sparse =
      object->attributes.size > 64 << 10 && object->attributes.allocated < object->attributes.size;
  return error;
}

/* No volume should hold another, but one that was made to harm could: "../.profile". */
static bool is_name(const struct casefs_entry *entry) {
  const char *name = entry->name;
  return entry->name_length > 0 && strlen(name) == entry->name_length && !strchr(name, '/') &&
         strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int volume_list(struct object *directory, void *buffer, struct listing *listing) {
  struct casefs_cursor cursor = {0};
  struct casefs_entry entry;
  int result, damage = 0;
  (void)buffer;
  while ((result = casefs_next_entry(directory->handle.node, &cursor, &entry, NULL)) > 0) {
    if (is_name(&entry))
      listing_add(listing, entry.name, entry.name_length, entry.type);
    else
      damage = -EUCLEAN;
  }
  return result < 0 ? result : damage;
}

static bool is_data(enum casefs_extent_kind kind) {
  return kind != CASEFS_EXTENT_HOLE && kind != CASEFS_EXTENT_UNWRITTEN;
}

static int volume_next_data(struct object *file, uint64_t offset, uint64_t *start, uint64_t *end) {
  struct casefs_extent extent;
  int result;
  while ((result = casefs_get_extent(file->handle.node, offset, &extent)) > 0 &&
         !is_data(extent.kind))
    offset = extent.offset + extent.count;
  *start = offset;
  *end = result > 0 ? extent.offset + extent.count : offset;
  return result;
}

static int64_t volume_read(struct object *file, void *buffer, size_t count, uint64_t offset) {
  return casefs_read(file->handle.node, buffer, count, offset);
}

static int volume_metadata(struct object *object, enum copy_metadata wanted,
                           struct metadata *metadata, unsigned lost[METADATA_PARTS]) {
  const struct casefs_attributes *attributes = &object->attributes;
  bool all = wanted == COPY_METADATA_NTFS_3G || wanted == COPY_METADATA_SAMBA;
  (void)lost;
  metadata->dos_attributes = attributes->dos_attributes & CASEFS_DOS_SETTABLE;
  metadata->created = attributes->created;
  metadata->modified = attributes->modified;
  metadata->accessed = attributes->accessed;
  metadata->changed = attributes->changed;
  /* What nearly every file of Windows has is not worth an attribute elsewhere. */
  metadata->has_dos_attributes = all || metadata->dos_attributes & ~(uint32_t)DOS_ARCHIVE;
  metadata->has_times = all;
  return metadata_read(object->handle.node, attributes, metadata);
}

const struct source volume_source = {
    .open = volume_open_object,
    .close = volume_close,
    .list = volume_list,
    .next_data = volume_next_data,
    .read = volume_read,
    .metadata = volume_metadata,
};

/* ----------------------------------------------------------------- writing */

static int open_volume_directory(const struct handle *directory, const char *name,
                                 struct handle *handle) {
  *handle = NO_HANDLE;
  return open_entry(directory, name, OPEN_ENTRY, &handle->node);
}

static int volume_make(const struct handle *directory, const char *name, const struct object *like,
                       struct handle *handle) {
  const struct casefs_attributes *attributes = &like->attributes;
  bool is_stream = attributes->type == CASEFS_STREAM;
  struct casefs_creation creation = {
      .type = is_stream ? CASEFS_FILE : attributes->type,
      .mode = attributes->mode,
      .uid = attributes->uid,
      .gid = attributes->gid,
      .rdev = attributes->rdev,
      .dos_attributes = attributes->dos_attributes & CASEFS_DOS_SETTABLE,
      .created = attributes->created,
      .modified = attributes->modified,
      .accessed = attributes->accessed,
      .changed = attributes->changed,
      .target = like->target,
      .target_length = like->target_length,
  };
  if (attributes->type == CASEFS_DIRECTORY && like->handle.node) {
    creation.insensitive = attributes->case_insensitive;
    creation.sensitive = !attributes->case_insensitive;
  }
  *handle = NO_HANDLE;
  return casefs_create(directory->node, name, strlen(name), &creation, &handle->node);
}

static int volume_look(const struct handle *directory, const char *name,
                       struct standing *standing) {
  struct casefs_attributes attributes;
  int error = casefs_lookup(directory->node, name, strlen(name), &attributes, standing->name);
  standing->type = attributes.type;
  standing->device = device_of(directory->node);
  standing->id = attributes.id;
  return error;
}

static int volume_open_file(const struct handle *directory, const char *name,
                            const struct standing *standing, struct handle *handle) {
  int error = open_volume_directory(directory, name, handle);
  if (error == 0 && casefs_node_id(handle->node) != standing->id)
    error = -EAGAIN;
  if (error == 0)
    error = casefs_truncate(handle->node, 0);
  if (error < 0)
    close_node(handle);
  return error;
}

static int volume_remove(const struct handle *directory, const char *name) {
  return casefs_unlink(directory->node, name, strlen(name));
}

static int64_t volume_write(struct handle *file, const void *buffer, size_t count,
                            uint64_t offset) {
  const char *bytes = buffer;
  size_t done = 0;
  while (done < count) {
    int64_t some = casefs_write(file->node, bytes + done, count - done, offset + done);
    if (some <= 0)
      return some < 0 ? some : -EIO;
    done += (size_t)some;
  }
  return (int64_t)done;
}

static int volume_set_size(struct handle *file, uint64_t size) {
  return casefs_truncate(file->node, size);
}

static int volume_set_metadata(struct handle *handle, const struct metadata *metadata, bool replace,
                               enum copy_metadata wanted, void *buffer,
                               unsigned lost[METADATA_PARTS]) {
  (void)wanted;
  return metadata_write(handle->node, metadata, replace, buffer, COPY_BUFFER, lost);
}

static int volume_finish(const struct handle *directory, const char *name, struct handle *handle,
                         const struct object *like, bool fresh, bool changed) {
  unsigned mask = CASEFS_MODIFIED | CASEFS_ACCESSED | CASEFS_CHANGED;
  (void)directory, (void)name;
  if (fresh && !changed)
    return 0;
  if (!fresh)
    mask |= CASEFS_MODE | CASEFS_UID | CASEFS_GID;
  /* What is not from a volume does not know these for sure. */
  if (!fresh && like->handle.node)
    mask |= CASEFS_DOS_ATTRIBUTES | CASEFS_CREATED;
  return casefs_set_attributes(handle->node, mask, &like->attributes);
}

/* Another name changes a node; a copy of it with all its names is as old as the node was. */
static int link_unchanged(casefs_node *node, casefs_node *directory, const char *name) {
  struct casefs_attributes attributes;
  int error = casefs_get_attributes(node, &attributes);
  if (error == 0)
    error = casefs_link(node, directory, name, strlen(name));
  return error == 0 ? casefs_set_attributes(node, CASEFS_CHANGED, &attributes) : error;
}

static int volume_link(const struct handle *top, const char *path, uint64_t id,
                       const struct handle *directory, const char *name) {
  casefs_node *node;
  (void)path;
  int error = casefs_open_id(casefs_node_volume(top->node), id, &node);
  if (error < 0)
    return error;
  error = link_unchanged(node, directory->node, name);
  casefs_node_close(node);
  return error;
}

const struct destination volume_destination = {
    .open_directory = open_volume_directory,
    .make = volume_make,
    .look = volume_look,
    .open_file = volume_open_file,
    .remove = volume_remove,
    .write = volume_write,
    .set_size = volume_set_size,
    .metadata = volume_set_metadata,
    .finish = volume_finish,
    .link = volume_link,
    .close = close_node,
};
