/* SPDX-License-Identifier: BSD-3-Clause */

#include "copy-sides.h"
#include "progress.h"
#include "tar.h"
#include "text.h"
#include "verbs.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <locale.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A directory that gets its times when everything is in it. */
struct pending {
  uint64_t id;
  unsigned mask;
  struct casefs_attributes attributes;
};

struct import {
  struct archive *archive;
  casefs_node *top;
  struct node_set *made; /* by this import */
  struct pending *pending;
  size_t pending_count, pending_room;
  /* The directory that was used last, and those above it, open: entries come together. */
  char *path;
  struct level {
    casefs_node *directory;
    size_t end; /* of its name in path */
  } * levels;
  size_t depth, level_room;
  char *buffer; /* of COPY_BUFFER bytes */
  unsigned lost[METADATA_PARTS];
  bool no_clobber;
  struct progress progress;
  uint64_t bytes;
  bool failed, ended;
};

/* What an entry of the archive says of a node. */
struct entry {
  struct archive_entry *archived;
  char *path; /* clean: no empty parts, no "." */
  const char *name;
  struct casefs_creation creation;
  struct metadata metadata;
  bool ours;       /* made by casefs export, so that it tells everything */
  char *stream_of; /* not NULL: it is a stream of that node */
};

/* ---------------------------------------------------------------- messages */

static void fail(struct import *import, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void fail(struct import *import, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  progress_clear(&import->progress);
  complain_arguments(format, arguments);
  va_end(arguments);
  import->failed = true;
}

static void fail_entry(struct import *import, const char *path, int error) {
  import->ended =
      error == -ENOSPC || error == -EROFS || error == -EIO || error == -ESTALE || error == -ENOMEM;
  if (import->ended)
    fail(import, "the import ends at '%s': %s", path, reason(error));
  else
    fail(import, "cannot import '%s': %s", path, reason(error));
}

/* ------------------------------------------------------------------ entries */

/* The parts of a path, without what goes nowhere; NULL if it leads upwards. */
static char *clean_path(const char *path) {
  char *clean = allocate(strlen(path) + 1), *end = clean;
  while (*path) {
    size_t length = strcspn(path, "/");
    if (length == 2 && memcmp(path, "..", 2) == 0) {
      free(clean);
      return NULL;
    }
    if (length > 0 && !(length == 1 && *path == '.')) {
      if (end > clean)
        *end++ = '/';
      memcpy(end, path, length);
      end += length;
    }
    path += length + (path[length] == '/');
  }
  *end = '\0';
  return clean;
}

static void *duplicate(const void *bytes, size_t size) {
  return copied(bytes, size);
}

static void take_times(struct entry *entry, const char *text) {
  struct casefs_creation *creation = &entry->creation;
  uint64_t times[4];
  if (sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &times[0], &times[1], &times[2],
             &times[3]) != 4)
    return;
  entry->ours = true;
  creation->created = times[0];
  creation->modified = times[1];
  creation->accessed = times[2];
  creation->changed = times[3];
}

static void take_stream(struct entry *entry, const char *value, size_t size) {
  size_t length = strnlen(value, size);
  if (length == size)
    return;
  size_t count = size - length - 1;
  metadata_add_stream(&entry->metadata, value, length, NULL, duplicate(value + length + 1, count),
                      count);
}

static void take_case(struct entry *entry, const char *text) {
  entry->creation.sensitive = strcmp(text, "sensitive") == 0;
  entry->creation.insensitive = strcmp(text, "insensitive") == 0;
}

/* One of ours: see tar.h.  text is the value with a zero behind. */
static void take_value(struct import *import, struct entry *entry, const char *name,
                       const char *text, size_t size) {
  struct metadata *metadata = &entry->metadata;
  if (strcmp(name, TAR_TIMES) == 0)
    take_times(entry, text);
  else if (strcmp(name, TAR_ATTRIBUTES) == 0)
    entry->creation.dos_attributes = (uint32_t)strtoul(text, NULL, 16) & CASEFS_DOS_SETTABLE;
  else if (strcmp(name, TAR_CASE) == 0)
    take_case(entry, text);
  else if (strcmp(name, TAR_TYPE) == 0 && strcmp(text, "socket") == 0)
    entry->creation.type = CASEFS_SOCKET;
  else if (strcmp(name, TAR_STREAM_OF) == 0 && !entry->stream_of)
    entry->stream_of = clean_path(text);
  else if (strncmp(name, TAR_STREAM, strlen(TAR_STREAM)) == 0)
    take_stream(entry, text, size);
  else if (strcmp(name, TAR_EA) == 0 && metadata_parse_eas(metadata, text, size) < 0)
    import->lost[METADATA_EA]++;
  else if (strcmp(name, TAR_SECURITY) == 0 && !metadata->security && size > 0) {
    metadata->security = duplicate(text, size);
    metadata->security_length = size;
  } else if (strcmp(name, TAR_REPARSE) == 0 && !metadata->reparse && size > 0) {
    metadata->reparse = duplicate(text, size);
    metadata->reparse_length = size;
  }
}

static void take_values(struct import *import, struct entry *entry) {
  const char *name;
  const void *value;
  size_t size;
  archive_entry_xattr_reset(entry->archived);
  while (archive_entry_xattr_next(entry->archived, &name, &value, &size) == ARCHIVE_OK) {
    char *text = size > 0 ? copied(value, size) : copied("", 0);
    if (strncmp(name, "casefs.", 7) == 0) {
      take_value(import, entry, name, text, size);
      free(text);
    } else if (size > 0) {
      metadata_take_samba(&entry->metadata, name, text, size, import->lost);
    } else {
      free(text);
    }
  }
}

static enum casefs_type type_of(mode_t type) {
  switch (type) {
  case AE_IFDIR:
    return CASEFS_DIRECTORY;
  case AE_IFLNK:
    return CASEFS_SYMLINK;
  case AE_IFIFO:
    return CASEFS_FIFO;
  case AE_IFSOCK:
    return CASEFS_SOCKET;
  case AE_IFCHR:
    return CASEFS_CHARACTER_DEVICE;
  case AE_IFBLK:
    return CASEFS_BLOCK_DEVICE;
  default:
    return CASEFS_FILE;
  }
}

/* libarchive reads the fraction of a time before 1970 as it stands: -1.25 as -1 s and 250 ms. */
static uint64_t time_of(int64_t seconds, long nanoseconds) {
  if (seconds < 0 && nanoseconds > 0) {
    seconds--;
    nanoseconds = 1000000000 - nanoseconds;
  }
  return time_from_unix((struct timespec){.tv_sec = seconds, .tv_nsec = nanoseconds});
}

/* What tar itself knows.  Times it does not tell are now. */
static void take_header(struct entry *entry) {
  struct archive_entry *archived = entry->archived;
  struct casefs_creation *creation = &entry->creation;
  creation->type = type_of(archive_entry_filetype(archived));
  creation->mode = archive_entry_perm(archived) & 07777;
  creation->uid = (uint32_t)archive_entry_uid(archived);
  creation->gid = (uint32_t)archive_entry_gid(archived);
  creation->rdev = (uint64_t)archive_entry_rdevmajor(archived) << 32 |
                   (uint32_t)archive_entry_rdevminor(archived);
  creation->modified = time_of(archive_entry_mtime(archived), archive_entry_mtime_nsec(archived));
  creation->accessed = creation->created = creation->changed = creation->modified;
  if (archive_entry_atime_is_set(archived))
    creation->accessed = time_of(archive_entry_atime(archived), archive_entry_atime_nsec(archived));
  if (archive_entry_ctime_is_set(archived))
    creation->changed = time_of(archive_entry_ctime(archived), archive_entry_ctime_nsec(archived));
  if (archive_entry_birthtime_is_set(archived))
    creation->created =
        time_of(archive_entry_birthtime(archived), archive_entry_birthtime_nsec(archived));
  if (creation->type == CASEFS_SYMLINK) {
    creation->target = archive_entry_symlink(archived);
    creation->target_length = creation->target ? strlen(creation->target) : 0;
  }
}

/* Attributes of DOS and times that came as those of Samba. */
static void take_foreign(struct entry *entry) {
  if (entry->metadata.has_dos_attributes)
    entry->creation.dos_attributes = entry->metadata.dos_attributes;
  if (entry->metadata.has_times && entry->metadata.created)
    entry->creation.created = entry->metadata.created;
}

static void clear_entry(struct entry *entry) {
  free(entry->path);
  free(entry->stream_of);
  metadata_clear(&entry->metadata);
}

static bool read_entry(struct import *import, struct archive_entry *archived, struct entry *entry) {
  const char *path = archive_entry_pathname(archived);
  *entry = (struct entry){.archived = archived};
  entry->path = path ? clean_path(path) : NULL;
  if (!entry->path) {
    fail(import, "'%s' was not imported: its path leads upwards", path ? path : "");
    return false;
  }
  const char *slash = strrchr(entry->path, '/');
  entry->name = slash ? slash + 1 : entry->path;
  take_header(entry);
  take_values(import, entry);
  take_foreign(entry);
  return true;
}

/* -------------------------------------------------------------- directories */

/* Open or make one directory; symbolic links are not followed. */
static int enter(casefs_node *directory, const char *name, size_t length, casefs_node **node) {
  struct casefs_attributes attributes;
  struct casefs_creation creation = creation_of(CASEFS_DIRECTORY, 0777);
  int error = casefs_open_at(directory, name, length, node);
  if (error == -ENOENT)
    return casefs_create(directory, name, length, &creation, node);
  if (error < 0)
    return error;
  error = casefs_get_attributes(*node, &attributes);
  if (error == 0 && attributes.type != CASEFS_DIRECTORY)
    error = -ENOTDIR;
  if (error < 0)
    casefs_node_close(*node);
  return error;
}

static casefs_node *last_directory(const struct import *import) {
  return import->depth > 0 ? import->levels[import->depth - 1].directory : import->top;
}

static void push_level(struct import *import, casefs_node *directory, size_t end) {
  if (import->depth == import->level_room) {
    import->level_room = import->level_room ? 2 * import->level_room : 64;
    import->levels = resized(import->levels, import->level_room * sizeof *import->levels);
  }
  import->levels[import->depth++] = (struct level){directory, end};
}

static void pop_levels(struct import *import, size_t depth) {
  while (import->depth > depth)
    casefs_node_close(import->levels[--import->depth].directory);
}

/* Leave the directories that are not above the first length bytes of path. */
static void leave(struct import *import, const char *path, size_t length) {
  size_t same = 0, depth = 0;
  if (import->path)
    while (same < length && import->path[same] == path[same])
      same++;
  while (depth < import->depth && import->levels[depth].end <= same &&
         (import->levels[depth].end == length || path[import->levels[depth].end] == '/'))
    depth++;
  pop_levels(import, depth);
}

/* The directory that an entry is in, borrowed. */
static int open_parent(struct import *import, const struct entry *entry, casefs_node **parent) {
  size_t length = entry->name > entry->path ? (size_t)(entry->name - entry->path) - 1 : 0;
  leave(import, entry->path, length);
  free(import->path);
  import->path = copied(entry->path, length);
  size_t at = import->depth > 0 ? import->levels[import->depth - 1].end + 1 : 0;
  while (at < length) {
    size_t part = strcspn(entry->path + at, "/");
    casefs_node *next;
    int error = enter(last_directory(import), entry->path + at, part, &next);
    if (error < 0)
      return error;
    push_level(import, next, at + part);
    at += part + 1;
  }
  *parent = last_directory(import);
  return 0;
}

/* The node of a clean path, links not followed. */
static int open_existing(struct import *import, const char *path, casefs_node **node) {
  struct entry entry = {.path = (char *)(uintptr_t)path, .name = path};
  const char *slash = strrchr(path, '/');
  casefs_node *parent;
  if (*path == '\0') {
    *node = casefs_node_hold(import->top);
    return 0;
  }
  if (slash)
    entry.name = slash + 1;
  int error = open_parent(import, &entry, &parent);
  if (error < 0)
    return error;
  return casefs_open_at(parent, entry.name, strlen(entry.name), node);
}

static void add_pending(struct import *import, uint64_t id, unsigned mask,
                        const struct entry *entry) {
  const struct casefs_creation *creation = &entry->creation;
  if (import->pending_count == import->pending_room) {
    import->pending_room = import->pending_room ? 2 * import->pending_room : 64;
    import->pending = resized(import->pending, import->pending_room * sizeof *import->pending);
  }
  struct pending *pending = &import->pending[import->pending_count++];
  *pending = (struct pending){.id = id, .mask = mask};
  pending->attributes.mode = creation->mode;
  pending->attributes.uid = creation->uid;
  pending->attributes.gid = creation->gid;
  pending->attributes.dos_attributes = creation->dos_attributes;
  pending->attributes.created = creation->created;
  pending->attributes.modified = creation->modified;
  pending->attributes.accessed = creation->accessed;
  pending->attributes.changed = creation->changed;
}

enum {
  TIMES = CASEFS_MODIFIED | CASEFS_ACCESSED | CASEFS_CHANGED,
  ALL = TIMES | CASEFS_MODE | CASEFS_UID | CASEFS_GID | CASEFS_CREATED | CASEFS_DOS_ATTRIBUTES,
};

static void finish_directories(struct import *import) {
  while (import->pending_count > 0 && !import->ended) {
    const struct pending *pending = &import->pending[--import->pending_count];
    casefs_node *node;
    int error = casefs_open_id(casefs_node_volume(import->top), pending->id, &node);
    if (error == 0) {
      error = casefs_set_attributes(node, pending->mask, &pending->attributes);
      casefs_node_close(node);
    }
    if (error < 0 && error != -ENOENT)
      fail_entry(import, "the attributes of directories", error);
  }
}

/* ------------------------------------------------------------------- nodes */

/* Whether a node that stands in the way may be removed; if not, that was said. */
static bool may_replace(struct import *import, const struct entry *entry,
                        const struct casefs_attributes *standing, const char *stored) {
  if (node_set_has(import->made, 0, standing->id) && strcmp(stored, entry->name) != 0) {
    fail(import, "'%s' was not imported: '%s' was already, and without case the two names are one",
         entry->path, stored);
    return false;
  }
  if (import->no_clobber)
    return false;
  if (standing->type == CASEFS_DIRECTORY) {
    fail(import, "'%s' was not imported: there is a directory of that name", entry->path);
    return false;
  }
  return true;
}

/* Make room for an entry where something stands: 1; 0: it shall stay; or a negative errno. */
static int make_room(struct import *import, casefs_node *parent, const struct entry *entry) {
  struct casefs_attributes standing;
  char stored[CASEFS_MAX_NAME + 1];
  size_t length = strlen(entry->name);
  int error = casefs_lookup(parent, entry->name, length, &standing, stored);
  if (error < 0)
    return error;
  if (!may_replace(import, entry, &standing, stored))
    return 0;
  error = casefs_unlink(parent, entry->name, length);
  return error < 0 ? error : 1;
}

static int put_block(casefs_node *node, const char *bytes, size_t size, int64_t offset) {
  while (size > 0) {
    int64_t written = casefs_write(node, bytes, size, (uint64_t)offset);
    if (written <= 0)
      return written < 0 ? (int)written : -EIO;
    bytes += written;
    size -= (size_t)written;
    offset += written;
  }
  return 0;
}

/* Copy the contents of the entry to a file or stream. */
static void put_contents(struct import *import, casefs_node *node, const struct entry *entry) {
  const void *block;
  size_t size;
  int64_t offset;
  int error = 0, result = ARCHIVE_OK;
  while (error == 0 && !interrupted() &&
         (result = archive_read_data_block(import->archive, &block, &size, &offset)) ==
             ARCHIVE_OK) {
    error = put_block(node, block, size, offset);
    import->bytes += size;
    progress_update(&import->progress, import->bytes, 0);
  }
  if (error == 0)
    error = casefs_truncate(node, (uint64_t)archive_entry_size(entry->archived));
  if (error < 0) {
    fail_entry(import, entry->path, error);
  } else if (result < ARCHIVE_WARN) {
    fail(import, "the archive is damaged at '%s': %s", entry->path,
         archive_error_string(import->archive));
    import->ended = result == ARCHIVE_FATAL;
  }
}

/* Contents, metadata and at last the times of a node that was made. */
static void fill_node(struct import *import, casefs_node *node, const struct entry *entry,
                      bool fresh) {
  const struct casefs_creation *creation = &entry->creation;
  struct casefs_attributes attributes;
  if (creation->type == CASEFS_FILE)
    put_contents(import, node, entry);
  if (import->ended)
    return;
  int error = metadata_write(node, &entry->metadata, !fresh && entry->ours, import->buffer,
                             COPY_BUFFER, import->lost);
  if (error == 0 && creation->type == CASEFS_DIRECTORY) {
    error = casefs_get_attributes(node, &attributes);
    add_pending(import, attributes.id, fresh ? TIMES : ALL, entry);
  } else if (error == 0) {
    attributes = (struct casefs_attributes){.modified = creation->modified,
                                            .accessed = creation->accessed,
                                            .changed = creation->changed};
    error = casefs_set_attributes(node, TIMES, &attributes);
  }
  if (error < 0)
    fail_entry(import, entry->path, error);
}

/* A directory that is there already becomes like the entry. */
static int adopt_directory(struct import *import, casefs_node *parent, const struct entry *entry,
                           casefs_node **node) {
  const struct casefs_creation *creation = &entry->creation;
  int error = *entry->name ? enter(parent, entry->name, strlen(entry->name), node) : 0;
  if (*entry->name == '\0')
    *node = casefs_node_hold(parent);
  if (error == 0 && (creation->insensitive || creation->sensitive)) {
    error = casefs_set_case(*node, creation->insensitive, NULL, NULL);
    if (error == -EEXIST) {
      fail(import, "'%s' stays case-sensitive: two names in it differ in nothing but case",
           entry->path);
      error = 0;
    }
    if (error < 0)
      casefs_node_close(*node);
  }
  return error;
}

/* Whether a directory of that name stands there and may take the entry's part. */
static bool is_adoptable(struct import *import, casefs_node *parent, const struct entry *entry) {
  struct casefs_attributes standing;
  char stored[CASEFS_MAX_NAME + 1];
  if (*entry->name == '\0')
    return true;
  return entry->creation.type == CASEFS_DIRECTORY &&
         casefs_lookup(parent, entry->name, strlen(entry->name), &standing, stored) == 0 &&
         standing.type == CASEFS_DIRECTORY &&
         (!node_set_has(import->made, 0, standing.id) || strcmp(stored, entry->name) == 0);
}

/* Make or find the node.  Returns 1 with *node and *fresh set; 0: it shall not be; or an errno. */
static int make_node(struct import *import, casefs_node *parent, const struct entry *entry,
                     casefs_node **node, bool *fresh) {
  *fresh = !is_adoptable(import, parent, entry);
  if (!*fresh) {
    int error = adopt_directory(import, parent, entry, node);
    return error < 0 ? error : 1;
  }
  size_t length = strlen(entry->name);
  int error = casefs_create(parent, entry->name, length, &entry->creation, node);
  if (error == -EEXIST) {
    error = make_room(import, parent, entry);
    if (error <= 0)
      return error;
    error = casefs_create(parent, entry->name, length, &entry->creation, node);
  }
  return error < 0 ? error : 1;
}

static void import_node(struct import *import, casefs_node *parent, const struct entry *entry) {
  casefs_node *node;
  bool fresh;
  int result = make_node(import, parent, entry, &node, &fresh);
  if (result < 0)
    fail_entry(import, entry->path, result);
  if (result <= 0)
    return;
  node_set_add(import->made, 0, casefs_node_id(node));
  fill_node(import, node, entry, fresh);
  casefs_node_close(node);
}

/* Another name changes a node, but not when it is unpacked with all its names. */
static int link_unchanged(casefs_node *node, casefs_node *directory, const char *name) {
  struct casefs_attributes attributes;
  int error = casefs_get_attributes(node, &attributes);
  if (error == 0)
    error = casefs_link(node, directory, name, strlen(name));
  return error == 0 ? casefs_set_attributes(node, CASEFS_CHANGED, &attributes) : error;
}

static int make_link(struct import *import, casefs_node *node, const struct entry *entry) {
  casefs_node *parent;
  int error = open_parent(import, entry, &parent);
  if (error == 0)
    error = link_unchanged(node, parent, entry->name);
  if (error == -EEXIST) {
    error = make_room(import, parent, entry);
    if (error > 0)
      error = link_unchanged(node, parent, entry->name);
  }
  return error;
}

static void import_link(struct import *import, const struct entry *entry) {
  casefs_node *node;
  const char *target = archive_entry_hardlink(entry->archived);
  char *path = clean_path(target);
  int error = path ? open_existing(import, path, &node) : -ENOENT;
  free(path);
  if (error < 0) {
    fail(import, "cannot link '%s' to '%s': %s", entry->path, target, reason(error));
    return;
  }
  error = make_link(import, node, entry);
  casefs_node_close(node);
  if (error < 0)
    fail_entry(import, entry->path, error);
}

/* An entry that is a long stream of a node before it. */
static void import_stream(struct import *import, const struct entry *entry) {
  const char *colon = strrchr(entry->path, ':');
  struct casefs_attributes attributes;
  casefs_node *node, *stream;
  if (!colon)
    return;
  int error = open_existing(import, entry->stream_of, &node);
  if (error == 0) {
    error = casefs_get_attributes(node, &attributes);
    if (error == 0)
      error = casefs_open_stream(node, colon + 1, strlen(colon + 1), O_CREAT, &stream);
    if (error == 0) {
      put_contents(import, stream, entry);
      casefs_node_close(stream);
      error = casefs_set_attributes(node, TIMES, &attributes);
    }
    casefs_node_close(node);
  }
  if (error < 0)
    fail_entry(import, entry->path, error);
}

static void import_named(struct import *import, const struct entry *entry) {
  casefs_node *parent;
  int error = open_parent(import, entry, &parent);
  if (error < 0)
    fail_entry(import, entry->path, error);
  else
    import_node(import, parent, entry);
}

static void import_entry(struct import *import, struct archive_entry *archived) {
  struct entry entry;
  if (!read_entry(import, archived, &entry))
    return;
  if (entry.stream_of)
    import_stream(import, &entry);
  else if (*entry.path == '\0' && entry.creation.type != CASEFS_DIRECTORY)
    fail(import, "an entry of the archive has no name, and was not imported");
  else if (archive_entry_hardlink(archived))
    import_link(import, &entry);
  else
    import_named(import, &entry);
  clear_entry(&entry);
}

/* ----------------------------------------------------------------- archives */

static bool open_archive(struct import *import, const char *file) {
  struct archive *archive = import->archive = archive_read_new();
  bool good = archive && archive_read_support_format_tar(archive) >= ARCHIVE_WARN &&
              archive_read_support_format_empty(archive) >= ARCHIVE_WARN &&
              archive_read_support_filter_all(archive) >= ARCHIVE_WARN;
  if (good)
    good = file ? archive_read_open_filename(archive, file, COPY_BUFFER) == ARCHIVE_OK
                : archive_read_open_fd(archive, STDIN_FILENO, COPY_BUFFER) == ARCHIVE_OK;
  if (!good)
    complain("cannot read '%s': %s", file ? file : "the standard input",
             archive ? archive_error_string(archive) : "no memory is left");
  return good;
}

static void import_entries(struct import *import, const char *file) {
  struct archive_entry *entry;
  int result = ARCHIVE_OK;
  /* A warning is about names that are not of this locale, which is what is wanted. */
  while (!import->ended && !interrupted() &&
         (result = archive_read_next_header(import->archive, &entry)) != ARCHIVE_EOF) {
    if (result < ARCHIVE_WARN) {
      fail(import, "'%s' is no tar archive, or damaged: %s", file ? file : "the standard input",
           archive_error_string(import->archive));
      return;
    }
    import_entry(import, entry);
  }
  finish_directories(import);
}

static void report_lost(struct import *import) {
  for (unsigned part = 0; part < METADATA_PARTS; part++)
    if (import->lost[part])
      fail(import, "%u %s in the archive were malformed, and left out", import->lost[part],
           metadata_part_names[part][1]);
}

static bool import_from(casefs_node *top, const char *file, bool no_clobber) {
  struct import import = {.top = top, .no_clobber = no_clobber};
  bool good = open_archive(&import, file);
  if (good) {
    import.made = node_set_new();
    import.buffer = allocate(COPY_BUFFER);
    progress_start(&import.progress, "importing", true);
    import_entries(&import, file);
    progress_clear(&import.progress);
    report_lost(&import);
    pop_levels(&import, 0);
    free(import.levels);
    free(import.path);
    free(import.pending);
    free(import.buffer);
    node_set_free(import.made);
  }
  archive_read_free(import.archive);
  return good && !import.failed && !interrupted();
}

/* The directory to import into, made if only its name is missing. */
static int open_top(struct session *session, const char *path, casefs_node **node) {
  const char *name;
  size_t length;
  casefs_node *parent;
  int error = casefs_open_path(session->volume, NULL, path, 0, node);
  if (error != -ENOENT)
    return error;
  error = casefs_open_parent(session->volume, NULL, path, &parent, &name, &length);
  if (error == 0) {
    error = enter(parent, name, length, node);
    casefs_node_close(parent);
  }
  return error;
}

static bool import_to(const char *argument, const char *file, bool no_clobber) {
  struct sessions sessions = {0};
  struct location location;
  casefs_node *top = NULL;
  bool good = false;
  if (!location_parse_node(argument, &location))
    return false;
  struct session *session = session_open(&sessions, location.device, true);
  int error = session ? open_top(session, location.path, &top) : 0;
  if (error < 0)
    complain("cannot open '%s': %s", argument, reason(error));
  else if (session)
    good = import_from(top, file, no_clobber);
  if (error == 0)
    casefs_node_close(top);
  location_clear(&location);
  return sessions_close(&sessions) && good;
}

static int run_import(int count, char **arguments) {
  static const struct option options[] = {{"no-clobber", no_argument, NULL, 'n'}, {0}};
  bool no_clobber = false;
  int letter;
  while ((letter = getopt_long(count, arguments, "n", options, NULL)) >= 0) {
    if (letter != 'n')
      return EXIT_USAGE;
    no_clobber = true;
  }
  count -= optind;
  arguments += optind;
  if (count != 2)
    return misused("give an archive, or -, and where to, such as FILE.tar DEVICE:/");
  /* Here names are bytes: in any other locale libarchive would normalize them. */
  setlocale(LC_CTYPE, "C");
  const char *file = strcmp(arguments[0], "-") == 0 ? NULL : arguments[0];
  return import_to(arguments[1], file, no_clobber) ? EXIT_SUCCESS : EXIT_FAILURE;
}

const struct verb verb_import = {
    .name = "import",
    .usage = "[-n] FILE DEVICE:/DIRECTORY",
    .summary = "Unpack a tar archive into a directory",
    .help = "FILE, or - for the standard input, may be compressed.  Of an archive that casefs\n"
            "export made everything is kept, of others what they tell.\n"
            "\n"
            "  -n, --no-clobber  leave what exists as it is\n",
    .run = run_import,
};
