/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Paths: from text to nodes, and back.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "volume.h"

#define MAX_SYMLINKS 40u

/* What is left of a path that is being walked. */
struct walk {
  casefs_volume *volume;
  casefs_node *at; /* where the walk is */
  const char *rest;
  bool nofollow;
  unsigned symlinks; /* followed so far */
};

static const char *skip(const char *path, char separator) {
  while (*path == separator)
    path++;
  return path;
}

/* The length of the first part. */
static size_t part_length(const char *path, char separator) {
  const char *end = strchr(path, separator);
  return end ? (size_t)(end - path) : strlen(path);
}

static bool is_part(const char *part, size_t length, const char *text) {
  return strlen(text) == length && memcmp(part, text, length) == 0;
}

static void move(struct walk *walk, casefs_node *to) {
  casefs_node_close(walk->at);
  walk->at = to;
}

/* Up one directory; the root is its own parent. */
static int walk_up(struct walk *walk) {
  struct node_record record = node_record_of(walk->at);
  casefs_node *parent;
  if (record.type != CASEFS_DIRECTORY)
    return -ENOTDIR;
  int r = node_open(walk->volume, record.parent, &parent);
  if (r == 0)
    move(walk, parent);
  return r;
}

static int walk_path(struct walk *walk, const char *path);

/* The node found is a symbolic link: go where it leads from the directory it is in. */
static int follow(struct walk *walk, casefs_node *link) {
  char target[CASEFS_MAX_SYMLINK + 1];
  int length = casefs_readlink(link, target, CASEFS_MAX_SYMLINK);
  casefs_node_close(link);
  if (length < 0)
    return length;
  target[length] = '\0';
  if (++walk->symlinks > MAX_SYMLINKS)
    return -ELOOP;
  if (*target == '/') {
    casefs_node *root;
    int r = node_open(walk->volume, CASEFS_ROOT_ID, &root);
    if (r < 0)
      return r;
    move(walk, root);
  }
  bool nofollow = walk->nofollow;
  walk->nofollow = false;
  int r = walk_path(walk, target);
  walk->nofollow = nofollow;
  return r;
}

/* One part that is a name, as it stands. */
static int walk_name(struct walk *walk, const char *name, size_t length, bool last) {
  casefs_node *found;
  if (is_part(name, length, "."))
    return 0;
  if (is_part(name, length, ".."))
    return walk_up(walk);
  int r = casefs_open_at(walk->at, name, length, &found);
  if (r < 0)
    return r;
  if (node_record_of(found).type == CASEFS_SYMLINK && !(last && walk->nofollow))
    return follow(walk, found);
  move(walk, found);
  return 0;
}

/* "C:" at the beginning of a path from Windows. */
static const char *skip_drive(const char *part) {
  bool letter = (*part >= 'a' && *part <= 'z') || (*part >= 'A' && *part <= 'Z');
  return letter && part[1] == ':' && (part[2] == '\\' || part[2] == '\0') ? part + 2 : part;
}

/* "file:stream", with an optional ":$DATA" at its end. */
static int walk_stream(struct walk *walk, const char *part, size_t length) {
  const char *colon = memchr(part, ':', length);
  casefs_node *stream;
  if (!colon || colon == part)
    return -ENOENT;
  size_t stream_length = length - (size_t)(colon + 1 - part);
  if (stream_length > 6 && memcmp(part + length - 6, ":$DATA", 6) == 0)
    stream_length -= 6;
  int r = walk_name(walk, part, (size_t)(colon - part), false);
  if (r == 0)
    r = casefs_open_stream(walk->at, colon + 1, stream_length, 0, &stream);
  if (r == 0)
    move(walk, stream);
  return r == -EINVAL ? -ENOENT : r;
}

/* Whether there is such an entry where the walk is: then the part is its name. */
static bool is_entry(struct walk *walk, const char *part, size_t length) {
  struct casefs_attributes attributes;
  return casefs_lookup(walk->at, part, length, &attributes, NULL) == 0;
}

/* A part that is not a name here, but has '\' in it: several parts. */
static int walk_windows(struct walk *walk, const char *part, size_t length, bool last) {
  char *copy = strndup(part, length);
  if (!copy)
    return -ENOMEM;
  int r = 0;
  for (const char *at = skip(skip_drive(copy), '\\'); r == 0 && *at;) {
    size_t here = part_length(at, '\\');
    const char *next = skip(at + here, '\\');
    bool end = last && !*next && at[here] == '\0';
    if (!*next && memchr(at, ':', here) && !is_entry(walk, at, here))
      r = walk_stream(walk, at, here);
    else
      r = walk_name(walk, at, here, end);
    if (r == 0 && at[here] == '\\' && node_record_of(walk->at).type != CASEFS_DIRECTORY)
      r = -ENOTDIR;
    at = next;
  }
  free(copy);
  return r;
}

static int walk_part(struct walk *walk, const char *part, size_t length, bool last) {
  if (!memchr(part, '\\', length) && !memchr(part, ':', length))
    return walk_name(walk, part, length, last);
  if (is_entry(walk, part, length))
    return walk_name(walk, part, length, last);
  if (memchr(part, '\\', length))
    return walk_windows(walk, part, length, last);
  return last ? walk_stream(walk, part, length) : -ENOENT;
}

static int walk_path(struct walk *walk, const char *path) {
  int r = 0;
  for (path = skip(path, '/'); r == 0 && *path;) {
    size_t length = part_length(path, '/');
    const char *next = skip(path + length, '/');
    /* A slash at the end wants a directory, so that a symbolic link is followed. */
    bool last = !*next && path[length] == '\0';
    r = walk_part(walk, path, length, last);
    if (r == 0 && path[length] == '/' && node_record_of(walk->at).type != CASEFS_DIRECTORY)
      r = -ENOTDIR;
    path = next;
  }
  return r;
}

/* Whether a path says itself that it starts at the root. */
static bool is_absolute(const char *path) {
  return *path == '/' || *path == '\\' || skip_drive(path) != path;
}

static int start_walk(struct walk *walk, casefs_volume *volume, casefs_node *from,
                      const char *path) {
  *walk = (struct walk){.volume = volume};
  if (!from || is_absolute(path))
    return node_open(volume, CASEFS_ROOT_ID, &walk->at);
  walk->at = casefs_node_hold(from);
  return 0;
}

int casefs_open_path(casefs_volume *volume, casefs_node *from, const char *path, unsigned flags,
                     casefs_node **node) {
  struct walk walk;
  if (flags & ~(unsigned)CASEFS_NOFOLLOW)
    return -EINVAL;
  int r = start_walk(&walk, volume, from, path);
  if (r < 0)
    return volume_result(volume, r);
  walk.nofollow = flags & CASEFS_NOFOLLOW;
  r = walk_path(&walk, path);
  if (r < 0)
    casefs_node_close(walk.at);
  else
    *node = walk.at;
  return volume_result(volume, r);
}

/* Where the last part of a path begins, and how long it is; 0: there is none. */
static const char *last_part(const char *path, char separator, size_t *length) {
  const char *end = path + strlen(path);
  while (end > path && end[-1] == separator)
    end--;
  const char *start = end;
  while (start > path && start[-1] != separator)
    start--;
  *length = (size_t)(end - start);
  return start;
}

int casefs_open_parent(casefs_volume *volume, casefs_node *from, const char *path,
                       casefs_node **directory, const char **name, size_t *length) {
  struct walk walk;
  const char *last = last_part(path, '/', length);
  size_t windows_length;
  const char *windows = last_part(last, '\\', &windows_length);
  /* "C:\" alone is the root. */
  if (windows_length > 0 && skip_drive(windows) == windows + 2 && memchr(last, '\\', *length))
    windows_length = 0;

  /* As in walk_windows: the parent of "a\b" is a, unless the directory has "a\b". */
  int r = start_walk(&walk, volume, from, path);
  if (r < 0)
    return volume_result(volume, r);
  char *head = strndup(path, (size_t)(last - path));
  r = head ? walk_path(&walk, head) : -ENOMEM;
  free(head);
  if (r == 0 && memchr(last, '\\', *length)) {
    struct casefs_attributes attributes;
    r = casefs_lookup(walk.at, last, *length, &attributes, NULL);
    if (r == -ENOENT || r == -ENAMETOOLONG) {
      if (windows_length > 0 && windows + windows_length > last + *length)
        windows_length = (size_t)(last + *length - windows);
      r = windows > last ? walk_windows(&walk, last, (size_t)(windows - last), false) : 0;
      last = windows;
      *length = windows_length;
    }
  }
  if (r == 0 && node_record_of(walk.at).type != CASEFS_DIRECTORY)
    r = -ENOTDIR;
  if (r < 0) {
    casefs_node_close(walk.at);
    return volume_result(volume, r);
  }
  *directory = walk.at;
  *name = last;
  return 0;
}

/* Put one name in front of what is in the buffer's end. */
static int prepend(char *buffer, size_t *start, const uint8_t *name, size_t length) {
  if (*start < length + 1)
    return -ERANGE;
  *start -= length;
  memcpy(buffer + *start, name, length);
  buffer[--*start] = '/';
  return 0;
}

/* The first link of a node: the directory and the name in it. */
static int first_link(casefs_volume *volume, uint64_t id, struct tree_record *record) {
  struct key key;
  key_start(&key, id, RECORD_LINK);
  int r = tree_seek_prefix(&volume->tree, &key, KEY_PREFIX, record);
  return r == 0 && record->key.length <= KEY_PREFIX + 8 ? -EUCLEAN : r;
}

static int next_link(casefs_node *node, struct casefs_cursor *cursor, uint64_t *directory,
                     char *name) {
  struct tree_record record;
  struct key key;
  if (cursor->length > sizeof cursor->key)
    return -EINVAL;
  key_start(&key, node->id, RECORD_LINK);
  key_append(&key, cursor->key, cursor->length);
  if (cursor->length > 0)
    key_after(&key);
  int r = tree_seek_prefix(&node->volume->tree, &key, KEY_PREFIX, &record);
  if (r < 0)
    return r == -ENOENT ? 0 : r;
  if (record.key.length <= KEY_PREFIX + 8 || record.key.length > KEY_PREFIX + 8 + CASEFS_MAX_NAME)
    return -EUCLEAN;
  size_t length = record.key.length - KEY_PREFIX - 8;
  *directory = load64_big(record.key.bytes + KEY_PREFIX);
  memcpy(name, record.key.bytes + KEY_PREFIX + 8, length);
  name[length] = '\0';
  cursor->length = record.key.length - KEY_PREFIX;
  memcpy(cursor->key, record.key.bytes + KEY_PREFIX, cursor->length);
  return 1;
}

int casefs_next_link(casefs_node *node, struct casefs_cursor *cursor, uint64_t *directory,
                     char *name) {
  return volume_result(node->volume, next_link(node, cursor, directory, name));
}

/* The stream's name in its node. */
static int stream_name(casefs_volume *volume, uint64_t owner, uint64_t id,
                       struct tree_record *record) {
  struct key key;
  key_start(&key, owner, RECORD_STREAM);
  for (;;) {
    int r = tree_seek_prefix(&volume->tree, &key, KEY_PREFIX, record);
    if (r < 0 || (record->length == ENTRY_RECORD_SIZE && load64(record->value) == id))
      return r;
    key = record->key;
    key_after(&key);
  }
}

static int build_path(casefs_node *node, char *buffer, size_t *start) {
  casefs_volume *volume = node->volume;
  struct node_record node_record = node_record_of(node);
  struct tree_record record;
  uint64_t id = node->id;
  int r = 0;
  if (node_record.type == CASEFS_STREAM) {
    r = stream_name(volume, node_record.parent, id, &record);
    uint32_t offset = r == 0 ? key_name_offset(record.key.bytes, record.key.length) : 0;
    if (r == 0)
      r = prepend(buffer, start, record.key.bytes + offset, record.key.length - offset);
    if (r == 0)
      buffer[*start] = ':';
    id = node_record.parent;
  }
  while (r == 0 && id != CASEFS_ROOT_ID) {
    r = first_link(volume, id, &record);
    if (r == 0)
      r = prepend(buffer, start, record.key.bytes + KEY_PREFIX + 8,
                  record.key.length - KEY_PREFIX - 8);
    id = load64_big(record.key.bytes + KEY_PREFIX);
  }
  return r;
}

int casefs_path(casefs_node *node, char *buffer, size_t size) {
  if (size < 2)
    return -ERANGE;
  size_t start = size - 1;
  buffer[start] = '\0';
  int r = build_path(node, buffer, &start);
  if (r < 0)
    return volume_result(node->volume, r);
  if (start == size - 1)
    buffer[--start] = '/';
  memmove(buffer, buffer + start, size - start);
  return (int)(size - start - 1);
}
