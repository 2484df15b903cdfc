/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Attributes kept as they are, each in a stream of its own.
 */

#include "xattr-parts.h"

#include "../../fs/format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { PREFIX = sizeof XATTR_PREFIX - 1, HEADER = 4 };

bool xattr_is_hidden_stream(const char *name, size_t length) {
  return length >= PREFIX && strncasecmp(name, XATTR_PREFIX, PREFIX) == 0;
}

/* ----------------------------------------------------------------------- names */

/* Streams are matched without case, and cannot have all bytes in their names. */
static bool is_escaped(char c) {
  return (c >= 'A' && c <= 'Z') || (uint8_t)c >= 0x80 || strchr("%:\\/", c);
}

/* The stream that keeps an attribute; 0 if its name would be too long. */
static size_t stream_name_of(const char *name, char stream[KEPT_NAME_ROOM]) {
  static const char digits[] = "0123456789ABCDEF";
  size_t length = PREFIX;
  memcpy(stream, XATTR_PREFIX, PREFIX);
  for (; *name && length + 3 < KEPT_NAME_ROOM; name++) {
    if (is_escaped(*name)) {
      stream[length++] = '%';
      stream[length++] = digits[(uint8_t)*name >> 4];
      stream[length++] = digits[(uint8_t)*name & 15];
    } else {
      stream[length++] = *name;
    }
  }
  return *name || length > CASEFS_MAX_NAME_UNITS ? 0 : length;
}

static int digit_of(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool kept_name_of(const char *stream, size_t length, char name[NAME_ROOM]) {
  char again[KEPT_NAME_ROOM];
  size_t used = 0;
  if (!xattr_is_hidden_stream(stream, length))
    return false;
  for (size_t i = PREFIX; i < length && used + 1 < NAME_ROOM; i++) {
    bool escaped = stream[i] == '%' && i + 2 < length;
    int high = escaped ? digit_of(stream[i + 1]) : 0;
    int low = escaped ? digit_of(stream[i + 2]) : 0;
    if (high < 0 || low < 0)
      return false;
    name[used++] = escaped ? (char)(high << 4 | low) : stream[i];
    i += escaped ? 2 : 0;
  }
  name[used] = '\0';
  /* Only what is found by the name that it has. */
  return stream_name_of(name, again) == length && memcmp(again, stream, length) == 0;
}

/* --------------------------------------------------------------------- reading */

/* A stream that a crash has left without its value has no header yet: nothing is there. */
static int read_value(casefs_node *stream, void *value, size_t size) {
  uint8_t small[1024], *buffer = small;
  size_t room = size > 0 ? sizeof small : HEADER;
  int result;
  for (;;) {
    int64_t got = casefs_read(stream, buffer, room, 0);
    uint32_t length = got >= HEADER ? load32(buffer) : 0;
    if (got < HEADER)
      result = got < 0 ? (int)got : -ENODATA;
    else if (length > XATTR_LARGEST || (HEADER + length > got && got < (int64_t)room))
      result = -EUCLEAN;
    else if (size > 0 && size >= length && HEADER + length > got) {
      if (buffer != small)
        free(buffer);
      room = HEADER + length;
      buffer = malloc(room);
      if (!buffer)
        return -ENOMEM;
      continue;
    } else {
      result = hand_out(buffer + HEADER, length, value, size);
    }
    break;
  }
  if (buffer != small)
    free(buffer);
  return result;
}

int xattr_get_kept(casefs_node *node, const char *name, void *value, size_t size) {
  struct casefs_attributes attributes;
  char stream_name[KEPT_NAME_ROOM];
  casefs_node *stream;
  int r = casefs_get_attributes(node, &attributes);
  if (r < 0)
    return r;
  size_t length = attributes.streams > 0 ? stream_name_of(name, stream_name) : 0;
  if (length == 0)
    return -ENODATA;
  r = casefs_open_stream(node, stream_name, length, 0, &stream);
  if (r < 0)
    return r == -ENOENT ? -ENODATA : r;
  r = read_value(stream, value, size);
  casefs_node_close(stream);
  return r;
}

/* -------------------------------------------------------------------- changing */

/* One write, which is atomic; what an older value has more is then cut off, if that is possible. */
static int write_value(casefs_node *stream, const void *value, size_t size, bool *fresh) {
  struct casefs_attributes attributes;
  int r = casefs_get_attributes(stream, &attributes);
  if (r < 0)
    return r;
  *fresh = attributes.size < HEADER;
  uint8_t *bytes = malloc(HEADER + size);
  if (!bytes)
    return -ENOMEM;
  store32(bytes, (uint32_t)size);
  if (size > 0)
    memcpy(bytes + HEADER, value, size);
  int64_t written = casefs_write(stream, bytes, HEADER + size, 0);
  free(bytes);
  if (written != (int64_t)(HEADER + size))
    return written < 0 ? (int)written : -EIO;
  if (attributes.size > HEADER + size)
    casefs_truncate(stream, HEADER + size);
  return 0;
}

int xattr_set_kept(casefs_node *node, const char *name, const void *value, size_t size) {
  struct casefs_attributes attributes;
  char stream_name[KEPT_NAME_ROOM];
  size_t length = stream_name_of(name, stream_name);
  casefs_node *stream;
  bool fresh = true;
  int r = casefs_get_attributes(node, &attributes);
  if (r < 0)
    return r;
  if (!may_have_streams(&attributes))
    return -EOPNOTSUPP;
  if (size > XATTR_LARGEST)
    return -E2BIG;
  if (length == 0)
    return -ERANGE;
  r = casefs_open_stream(node, stream_name, length, O_CREAT, &stream);
  if (r < 0)
    return r;
  r = write_value(stream, value, size, &fresh);
  casefs_node_close(stream);
  if (r < 0 && fresh)
    casefs_remove_stream(node, stream_name, length);
  return r;
}

int xattr_remove_kept(casefs_node *node, const char *name) {
  struct casefs_attributes attributes;
  char stream_name[KEPT_NAME_ROOM];
  int r = casefs_get_attributes(node, &attributes);
  if (r < 0)
    return r;
  size_t length = attributes.streams > 0 ? stream_name_of(name, stream_name) : 0;
  if (length == 0)
    return -ENODATA;
  r = casefs_remove_stream(node, stream_name, length);
  return r == -ENOENT ? -ENODATA : r;
}
