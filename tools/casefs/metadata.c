/* SPDX-License-Identifier: BSD-3-Clause */

#include "metadata.h"

#include "../../fs/windows.h"
#include "ea-list.h"
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

const char *const metadata_part_names[METADATA_PARTS][2] = {
    [METADATA_SECURITY] = {"security descriptor", "security descriptors"},
    [METADATA_EA] = {"extended attribute", "extended attributes"},
    [METADATA_STREAM] = {"named stream", "named streams"},
    [METADATA_REPARSE] = {"reparse point", "reparse points"},
    [METADATA_ATTRIBUTES] = {"set of DOS attributes", "sets of DOS attributes"},
};

void metadata_clear(struct metadata *metadata) {
  free(metadata->security);
  free(metadata->reparse);
  for (size_t i = 0; i < metadata->ea_count; i++) {
    free(metadata->eas[i].name);
    free(metadata->eas[i].value);
  }
  free(metadata->eas);
  for (size_t i = 0; i < metadata->stream_count; i++) {
    free(metadata->streams[i].name);
    free(metadata->streams[i].data);
    casefs_node_close(metadata->streams[i].node);
  }
  free(metadata->streams);
  *metadata = (struct metadata){0};
}

bool metadata_is_empty(const struct metadata *metadata) {
  return !metadata->has_dos_attributes && !metadata->has_times && metadata->security_length == 0 &&
         metadata->reparse_length == 0 && metadata->ea_count == 0 && metadata->stream_count == 0;
}

void metadata_add_ea(struct metadata *metadata, const char *name, size_t name_length, uint8_t flags,
                     void *value, size_t length) {
  metadata->eas = resized(metadata->eas, (metadata->ea_count + 1) * sizeof *metadata->eas);
  metadata->eas[metadata->ea_count++] =
      (struct metadata_ea){copied(name, name_length), name_length, flags, value, length};
}

void metadata_add_stream(struct metadata *metadata, const char *name, size_t name_length,
                         casefs_node *node, void *data, uint64_t size) {
  size_t bytes = (metadata->stream_count + 1) * sizeof *metadata->streams;
  metadata->streams = resized(metadata->streams, bytes);
  metadata->streams[metadata->stream_count++] =
      (struct metadata_stream){copied(name, name_length), name_length, node, data, size};
}

/* ---------------------------------------------- FILE_FULL_EA_INFORMATION lists */

int metadata_parse_eas(struct metadata *metadata, const void *list, size_t size) {
  struct ea_item item;
  size_t at = 0;
  int result;
  while ((result = ea_list_next(list, size, &at, &item)) > 0)
    if (item.length > 0)
      metadata_add_ea(metadata, item.name, item.name_length, item.flags,
                      copied(item.value, item.length), item.length);
  return result;
}

void *metadata_list_eas(const struct metadata *metadata, bool closed, size_t *size) {
  uint8_t *list = NULL;
  size_t used = 0;
  for (size_t i = 0; i < metadata->ea_count; i++) {
    const struct metadata_ea *ea = &metadata->eas[i];
    size_t room = ea_item_room(ea->name_length, ea->length);
    bool last = i + 1 == metadata->ea_count;
    list = resized(list, used + room);
    void *value = ea_item_write(list + used, ea->name, ea->name_length, ea->flags, ea->length,
                                last && !closed ? 0 : room);
    memcpy(value, ea->value, ea->length);
    used += last && !closed ? ea_item_size(ea->name_length, ea->length) : room;
  }
  *size = used;
  return list;
}

/* ----------------------------------------------------------------- reading */

/* A value that may grow between asking for its length and getting it. */
static int read_value(casefs_node *node, int (*get)(casefs_node *, void *, size_t), void **value,
                      size_t *size) {
  int length = get(node, NULL, 0);
  while (length >= 0) {
    *value = resized(*value, (size_t)length);
    int got = get(node, *value, (size_t)length);
    if (got >= 0) {
      *size = (size_t)got;
      return 0;
    }
    length = got == -ERANGE ? get(node, NULL, 0) : got;
  }
  return length == -ENODATA ? 0 : length;
}

static int read_eas(casefs_node *node, struct metadata *metadata) {
  struct casefs_cursor cursor = {0};
  struct casefs_ea ea;
  int result;
  while ((result = casefs_next_ea(node, &cursor, &ea)) > 0) {
    size_t name_length = strlen(ea.name);
    void *value = allocate(ea.length);
    int length = casefs_get_ea(node, ea.name, name_length, value, ea.length, NULL);
    if (length < 0) {
      free(value);
      return length;
    }
    metadata_add_ea(metadata, ea.name, name_length, ea.flags, value, (size_t)length);
  }
  return result;
}

static int read_streams(casefs_node *node, struct metadata *metadata) {
  struct casefs_cursor cursor = {0};
  struct casefs_attributes attributes;
  struct casefs_entry entry;
  casefs_node *stream;
  int result;
  while ((result = casefs_next_stream(node, &cursor, &entry, &attributes)) > 0) {
    result = casefs_open_stream(node, entry.name, entry.name_length, 0, &stream);
    if (result < 0)
      return result;
    metadata_add_stream(metadata, entry.name, entry.name_length, stream, NULL, attributes.size);
  }
  return result;
}

int metadata_read(casefs_node *node, const struct casefs_attributes *attributes,
                  struct metadata *metadata) {
  int error = 0;
  if (attributes->has_security)
    error = read_value(node, casefs_get_security, &metadata->security, &metadata->security_length);
  if (error == 0 && attributes->reparse_tag)
    error = read_value(node, casefs_get_reparse, &metadata->reparse, &metadata->reparse_length);
  if (error == 0 && attributes->ea_size)
    error = read_eas(node, metadata);
  if (error == 0 && attributes->streams)
    error = read_streams(node, metadata);
  return error;
}

/* ---------------------------------------------------------------- contents */

static bool is_data(enum casefs_extent_kind kind) {
  return kind != CASEFS_EXTENT_HOLE && kind != CASEFS_EXTENT_UNWRITTEN;
}

static int copy_range(casefs_node *from, casefs_node *to, uint64_t start, uint64_t end,
                      void *buffer, size_t capacity) {
  while (start < end) {
    size_t count = end - start < capacity ? (size_t)(end - start) : capacity;
    int64_t got = casefs_read(from, buffer, count, start);
    if (got > 0)
      got = casefs_write(to, buffer, (size_t)got, start);
    if (got <= 0)
      return (int)got;
    start += (uint64_t)got;
  }
  return 0;
}

int copy_contents(casefs_node *from, casefs_node *to, uint64_t size, void *buffer,
                  size_t capacity) {
  struct casefs_extent extent;
  uint64_t at = 0;
  int result = 0;
  while (at < size && (result = casefs_get_extent(from, at, &extent)) > 0) {
    uint64_t end = extent.offset + extent.count;
    result = is_data(extent.kind) ? copy_range(from, to, at, end, buffer, capacity) : 0;
    if (result < 0)
      return result;
    at = end;
  }
  return result < 0 ? result : casefs_truncate(to, size);
}

/* ----------------------------------------------------------------- writing */

static int write_stream(casefs_node *node, const struct metadata_stream *stream, void *buffer,
                        size_t size) {
  casefs_node *made;
  int error = casefs_open_stream(node, stream->name, stream->name_length, O_CREAT, &made);
  if (error < 0)
    return error;
  error = casefs_truncate(made, 0);
  if (error == 0 && stream->node)
    error = copy_contents(stream->node, made, stream->size, buffer, size);
  else if (error == 0 && stream->size > 0) {
    int64_t written = casefs_write(made, stream->data, (size_t)stream->size, 0);
    error = written < 0 ? (int)written : written < (int64_t)stream->size ? -EIO : 0;
  }
  casefs_node_close(made);
  return error;
}

static int remove_streams(casefs_node *node) {
  struct casefs_cursor cursor = {0};
  struct casefs_entry entry;
  int result;
  while ((result = casefs_next_stream(node, &cursor, &entry, NULL)) > 0) {
    result = casefs_remove_stream(node, entry.name, entry.name_length);
    if (result < 0)
      return result;
  }
  return result;
}

static int remove_eas(casefs_node *node) {
  struct casefs_cursor cursor = {0};
  struct casefs_ea ea;
  int result;
  while ((result = casefs_next_ea(node, &cursor, &ea)) > 0) {
    result = casefs_set_ea(node, ea.name, strlen(ea.name), NULL, 0, 0);
    if (result < 0)
      return result;
  }
  return result;
}

static int remove_reparse(casefs_node *node) {
  static const uint8_t no_guid[16];
  uint8_t data[CASEFS_MAX_REPARSE];
  int length = casefs_get_reparse(node, data, sizeof data);
  if (length < 0)
    return length == -ENODATA ? 0 : length;
  uint32_t tag = reparse_tag(data);
  bool microsoft = tag & 0x80000000u;
  return casefs_remove_reparse(node, tag, microsoft ? no_guid : data + 8);
}

/* The first error, unless it says that this value cannot be kept at all. */
static void note(int error, enum metadata_part part, int *result, unsigned lost[METADATA_PARTS]) {
  if (error == -EINVAL || error == -ENAMETOOLONG || error == -EFBIG || error == -EILSEQ)
    lost[part]++;
  else if (error < 0 && *result == 0)
    *result = error;
}

static int remove_all(casefs_node *node) {
  int error = casefs_set_security(node, NULL, 0);
  if (error == 0)
    error = remove_eas(node);
  if (error == 0)
    error = remove_streams(node);
  return error == 0 ? remove_reparse(node) : error;
}

int metadata_write(casefs_node *node, const struct metadata *metadata, bool replace, void *buffer,
                   size_t size, unsigned lost[METADATA_PARTS]) {
  int result = replace ? remove_all(node) : 0;
  if (metadata->security_length)
    note(casefs_set_security(node, metadata->security, metadata->security_length),
         METADATA_SECURITY, &result, lost);
  for (size_t i = 0; i < metadata->ea_count; i++) {
    const struct metadata_ea *ea = &metadata->eas[i];
    note(casefs_set_ea(node, ea->name, ea->name_length, ea->value, ea->length, ea->flags),
         METADATA_EA, &result, lost);
  }
  for (size_t i = 0; i < metadata->stream_count; i++)
    note(write_stream(node, &metadata->streams[i], buffer, size), METADATA_STREAM, &result, lost);
  if (metadata->reparse_length)
    note(casefs_set_reparse(node, metadata->reparse, metadata->reparse_length), METADATA_REPARSE,
         &result, lost);
  return result;
}
