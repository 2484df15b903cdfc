/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Attributes kept as they are, each in a stream of its own, or, of what has no streams, in an EA.
 */

#include "xattr-parts.h"

#include "../../fs/format.h"
#include "../../fs/windows.h"

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

/* Streams and EAs are matched without case, and cannot have all bytes in their names. */
static bool is_escaped(char c) {
  return (c >= 'A' && c <= 'Z') || (uint8_t)c >= 0x80 || c == '%' || ea_name_check(&c, 1) < 0;
}

/* The stream or EA that keeps an attribute; 0 if its name would be too long. */
static size_t place_of(const char *name, char place[KEPT_NAME_ROOM]) {
  static const char digits[] = "0123456789ABCDEF";
  size_t length = PREFIX;
  memcpy(place, XATTR_PREFIX, PREFIX);
  for (; *name && length + 3 < KEPT_NAME_ROOM; name++) {
    if (is_escaped(*name)) {
      place[length++] = '%';
      place[length++] = digits[(uint8_t)*name >> 4];
      place[length++] = digits[(uint8_t)*name & 15];
    } else {
      place[length++] = *name;
    }
  }
  return *name || length > CASEFS_MAX_EA_NAME ? 0 : length;
}

static int digit_of(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool kept_name_of(const char *place, size_t length, char name[NAME_ROOM]) {
  char again[KEPT_NAME_ROOM];
  size_t used = 0;
  if (!xattr_is_hidden_stream(place, length))
    return false;
  for (size_t i = PREFIX; i < length && used + 1 < NAME_ROOM; i++) {
    bool escaped = place[i] == '%' && i + 2 < length;
    int high = escaped ? digit_of(place[i + 1]) : 0;
    int low = escaped ? digit_of(place[i + 2]) : 0;
    if (high < 0 || low < 0)
      return false;
    name[used++] = escaped ? (char)(high << 4 | low) : place[i];
    i += escaped ? 2 : 0;
  }
  name[used] = '\0';
  /* Only what is found by the name that it has. */
  return place_of(name, again) == length && memcmp(again, place, length) == 0;
}

/* -------------------------------------------------------------------- in streams
 *
 * The length in 4 bytes, and the value: so one write replaces it.  A stream that a crash has left
 * without a value has no length yet: nothing is there. */

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

static int get_in_stream(casefs_node *node, const char *place, size_t length, void *value,
                         size_t size) {
  casefs_node *stream;
  int r = casefs_open_stream(node, place, length, 0, &stream);
  if (r < 0)
    return r == -ENOENT ? -ENODATA : r;
  r = read_value(stream, value, size);
  casefs_node_close(stream);
  return r;
}

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

static int set_in_stream(casefs_node *node, const char *place, size_t length, const void *value,
                         size_t size) {
  casefs_node *stream;
  bool fresh = true;
  int r = casefs_open_stream(node, place, length, O_CREAT, &stream);
  if (r < 0)
    return r;
  r = write_value(stream, value, size, &fresh);
  casefs_node_close(stream);
  if (r < 0 && fresh)
    casefs_remove_stream(node, place, length);
  return r;
}

static int remove_in_stream(casefs_node *node, const char *place, size_t length) {
  int r = casefs_remove_stream(node, place, length);
  return r == -ENOENT ? -ENODATA : r;
}

/* ------------------------------------------------------------------------ in EAs
 *
 * A zero byte, and the value: there are no empty EAs. */

static int get_in_ea(casefs_node *node, const char *place, size_t length, void *value,
                     size_t size) {
  for (;;) {
    int found = casefs_get_ea(node, place, length, NULL, 0, NULL);
    if (found < 1)
      return found < 0 ? found : -EUCLEAN;
    if (size == 0)
      return found - 1;
    uint8_t *bytes = malloc((size_t)found);
    if (!bytes)
      return -ENOMEM;
    int r = casefs_get_ea(node, place, length, bytes, (size_t)found, NULL);
    bool grown = r == -ERANGE;
    if (r > 0)
      r = hand_out(bytes + 1, (size_t)r - 1, value, size);
    free(bytes);
    if (!grown)
      return r;
  }
}

static int set_in_ea(casefs_node *node, const char *place, size_t length, const void *value,
                     size_t size) {
  uint8_t *bytes = malloc(1 + size);
  if (!bytes)
    return -ENOMEM;
  bytes[0] = 0;
  if (size > 0)
    memcpy(bytes + 1, value, size);
  int r = casefs_set_ea(node, place, length, bytes, 1 + size, 0);
  free(bytes);
  return r == -EFBIG || r == -ENAMETOOLONG ? -ENOSPC : r;
}

static int remove_in_ea(casefs_node *node, const char *place, size_t length) {
  int r = casefs_get_ea(node, place, length, NULL, 0, NULL);
  return r < 0 ? r : casefs_set_ea(node, place, length, NULL, 0, 0);
}

/* ------------------------------------------------------------------- in either */

bool is_kept_ea(const struct casefs_attributes *attributes, const char *name) {
  return !may_have_streams(attributes) && xattr_is_hidden_stream(name, strlen(name));
}

bool may_keep(const struct casefs_attributes *attributes) {
  return may_have_streams(attributes) ? attributes->streams > 0 : attributes->ea_size > 0;
}

int xattr_get_kept(casefs_node *node, const char *name, void *value, size_t size) {
  struct casefs_attributes attributes;
  char place[KEPT_NAME_ROOM];
  int r = casefs_get_attributes(node, &attributes);
  if (r < 0)
    return r;
  size_t length = may_keep(&attributes) ? place_of(name, place) : 0;
  if (length == 0)
    return -ENODATA;
  return may_have_streams(&attributes) ? get_in_stream(node, place, length, value, size)
                                       : get_in_ea(node, place, length, value, size);
}

int xattr_set_kept(casefs_node *node, const char *name, const void *value, size_t size) {
  struct casefs_attributes attributes;
  char place[KEPT_NAME_ROOM];
  size_t length = place_of(name, place);
  int r = casefs_get_attributes(node, &attributes);
  if (r < 0)
    return r;
  if (attributes.type == CASEFS_STREAM)
    return -EOPNOTSUPP;
  if (size > XATTR_LARGEST)
    return -E2BIG;
  if (length == 0)
    return -ERANGE;
  return may_have_streams(&attributes) ? set_in_stream(node, place, length, value, size)
                                       : set_in_ea(node, place, length, value, size);
}

int xattr_remove_kept(casefs_node *node, const char *name) {
  struct casefs_attributes attributes;
  char place[KEPT_NAME_ROOM];
  int r = casefs_get_attributes(node, &attributes);
  if (r < 0)
    return r;
  size_t length = may_keep(&attributes) ? place_of(name, place) : 0;
  if (length == 0)
    return -ENODATA;
  return may_have_streams(&attributes) ? remove_in_stream(node, place, length)
                                       : remove_in_ea(node, place, length);
}
