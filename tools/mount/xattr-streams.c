/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Named streams as extended attributes.
 */

#include "xattr-parts.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/xattr.h>

/* ------------------------------------------------------------------------- one */

static int open_existing(const struct xattr_request *request, const char *name, size_t length,
                         casefs_node **stream) {
  if (request->attributes.streams == 0)
    return -ENODATA;
  int r = casefs_open_stream(request->node, name, length, 0, stream);
  return r == -ENOENT ? -ENODATA : r;
}

static int read_stream(casefs_node *stream, bool samba, void *value, size_t size) {
  struct casefs_attributes attributes;
  size_t extra = samba ? 1 : 0;
  int r = casefs_get_attributes(stream, &attributes);
  if (r < 0)
    return r;
  if (attributes.size + extra > XATTR_LARGEST)
    return -E2BIG;
  size_t length = (size_t)attributes.size;
  if (size == 0)
    return (int)(length + extra);
  if (size < length + extra)
    return -ERANGE;
  int64_t got = casefs_read(stream, value, length, 0);
  if (got < 0)
    return (int)got;
  if (samba)
    ((char *)value)[got] = '\0';
  return (int)got + (int)extra;
}

int stream_get(const struct xattr_request *request, const char *name, size_t length, bool samba,
               void *value, size_t size) {
  casefs_node *stream;
  int r = open_existing(request, name, length, &stream);
  if (r < 0)
    return r;
  r = read_stream(stream, samba, value, size);
  casefs_node_close(stream);
  return r;
}

/* A crash in between leaves the new value with the end of a longer old one. */
static int write_stream(casefs_node *stream, const void *value, size_t size) {
  struct casefs_attributes attributes;
  int r = casefs_get_attributes(stream, &attributes);
  if (r < 0)
    return r;
  int64_t written = size > 0 ? casefs_write(stream, value, size, 0) : 0;
  if (written != (int64_t)size)
    return written < 0 ? (int)written : -EIO;
  return attributes.size > size ? casefs_truncate(stream, size) : 0;
}

int stream_set(const struct xattr_request *request, const char *name, size_t length, bool samba,
               const void *value, size_t size, int flags) {
  casefs_node *stream;
  if (!may_have_streams(&request->attributes))
    return -EOPNOTSUPP;
  if (size > XATTR_LARGEST)
    return -E2BIG;
  if (samba && size > 0 && ((const char *)value)[size - 1] == '\0')
    size--;
  int r = open_existing(request, name, length, &stream);
  bool fresh = r == -ENODATA;
  if (r < 0 && !fresh)
    return r;
  r = check_flags(!fresh, flags);
  if (r < 0 && !fresh)
    casefs_node_close(stream);
  if (r == 0 && fresh)
    r = casefs_open_stream(request->node, name, length, O_CREAT, &stream);
  if (r < 0)
    return r;
  r = write_stream(stream, value, size);
  casefs_node_close(stream);
  if (r < 0 && fresh)
    casefs_remove_stream(request->node, name, length);
  return r;
}

int stream_remove(const struct xattr_request *request, const char *name, size_t length) {
  if (request->attributes.streams == 0)
    return -ENODATA;
  int r = casefs_remove_stream(request->node, name, length);
  return r == -ENOENT ? -ENODATA : r;
}

/* ------------------------------------------------------------------------- all */

int stream_names(const struct xattr_request *request, void *value, size_t size) {
  struct casefs_cursor cursor = {0};
  struct casefs_entry entry;
  char *names = value;
  size_t used = 0;
  int r = 0;
  while (request->attributes.streams > 0 &&
         (r = casefs_next_stream(request->node, &cursor, &entry, NULL)) > 0) {
    if (xattr_is_hidden_stream(entry.name, entry.name_length))
      continue;
    size_t at = used > 0 ? used + 1 : 0;
    if (at + entry.name_length > XATTR_LARGEST)
      return -E2BIG;
    if (size > 0 && at + entry.name_length > size)
      return -ERANGE;
    if (size > 0 && at > 0)
      names[at - 1] = '\0';
    if (size > 0)
      memcpy(names + at, entry.name, entry.name_length);
    used = at + entry.name_length;
  }
  return r < 0 ? r : (int)used;
}
