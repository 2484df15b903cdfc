/* SPDX-License-Identifier: BSD-3-Clause */

#include "copy-sides.h"
#include "progress.h"
#include "tar.h"
#include "text.h"
#include "verbs.h"
#include "walk.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { HOLE = 1 << 30 };

struct export {
  struct archive *archive;
  struct archive_entry *entry;
  struct link_table *links;
  char *buffer; /* of COPY_BUFFER bytes */
  char *zeros;  /* HOLE bytes that take no memory */
  struct progress progress;
  uint64_t bytes;
  bool failed; /* a node could not be read, or written: was said */
  bool ended;  /* the archive cannot be written any further */
};

/* A node to be written. */
struct item {
  casefs_node *node;
  const struct casefs_attributes *attributes;
  const char *path;
};

static void fail_node(struct export *export, const char *path, int error) {
  progress_clear(&export->progress);
  complain("cannot read '%s': %s", path, reason(error));
  export->failed = true;
}

static bool fail_archive(struct export *export, const char *path) {
  progress_clear(&export->progress);
  const char *text = archive_error_string(export->archive);
  if (!export->ended)
    complain("the archive ends at '%s': %s", path, text ? text : "it cannot be written");
  export->failed = export->ended = true;
  return false;
}

/* ------------------------------------------------------------------ headers */

static mode_t mode_of(const struct casefs_attributes *attributes) {
  static const mode_t kinds[] = {
      [CASEFS_FILE] = AE_IFREG,         [CASEFS_DIRECTORY] = AE_IFDIR,
      [CASEFS_SYMLINK] = AE_IFLNK,      [CASEFS_FIFO] = AE_IFIFO,
      [CASEFS_SOCKET] = AE_IFREG,       [CASEFS_CHARACTER_DEVICE] = AE_IFCHR,
      [CASEFS_BLOCK_DEVICE] = AE_IFBLK, [CASEFS_STREAM] = AE_IFREG,
  };
  return kinds[attributes->type] | attributes->mode;
}

static void add_value(struct export *export, const char *name, const void *value, size_t size) {
  archive_entry_xattr_add_entry(export->entry, name, value, size);
}

static void add_text(struct export *export, const char *name, const char *text) {
  add_value(export, name, text, strlen(text));
}

/* libarchive writes seconds and their fraction one after the other, also before 1970, where that is
 * another time: give it what makes the text right.  (Not the last second before 1970: no "-0".) */
static struct timespec as_text(uint64_t time) {
  struct timespec result = time_to_unix(time);
  if (result.tv_sec < -1 && result.tv_nsec > 0) {
    result.tv_sec++;
    result.tv_nsec = 1000000000 - result.tv_nsec;
  } else if (result.tv_sec == -1) {
    result.tv_nsec = 0;
  }
  return result;
}

static void set_attributes(struct export *export, const struct casefs_attributes *attributes) {
  struct archive_entry *entry = export->entry;
  struct timespec modified = as_text(attributes->modified);
  struct timespec accessed = as_text(attributes->accessed);
  bool file = attributes->type == CASEFS_FILE || attributes->type == CASEFS_STREAM;
  archive_entry_set_mode(entry, mode_of(attributes));
  archive_entry_set_uid(entry, attributes->uid);
  archive_entry_set_gid(entry, attributes->gid);
  archive_entry_set_mtime(entry, modified.tv_sec, modified.tv_nsec);
  archive_entry_set_atime(entry, accessed.tv_sec, accessed.tv_nsec);
  archive_entry_set_size(entry, file ? (int64_t)attributes->size : 0);
  if (attributes->type == CASEFS_CHARACTER_DEVICE || attributes->type == CASEFS_BLOCK_DEVICE) {
    archive_entry_set_rdevmajor(entry, (dev_t)(attributes->rdev >> 32));
    archive_entry_set_rdevminor(entry, (dev_t)(attributes->rdev & UINT32_MAX));
  }
}

static void add_attributes(struct export *export, const struct casefs_attributes *attributes) {
  char text[96];
  snprintf(text, sizeof text, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, attributes->created,
           attributes->modified, attributes->accessed, attributes->changed);
  add_text(export, TAR_TIMES, text);
  if (attributes->dos_attributes) {
    snprintf(text, sizeof text, "%" PRIx32, attributes->dos_attributes);
    add_text(export, TAR_ATTRIBUTES, text);
  }
  if (attributes->type == CASEFS_DIRECTORY)
    add_text(export, TAR_CASE, attributes->case_insensitive ? "insensitive" : "sensitive");
  if (attributes->type == CASEFS_SOCKET)
    add_text(export, TAR_TYPE, "socket");
}

static bool fits_header(const struct metadata_stream *stream, size_t used) {
  return stream->size <= TAR_STREAM_LIMIT && used + stream->size <= TAR_HEADER_LIMIT;
}

/* Name, zero, contents. */
static int add_stream(struct export *export, const struct metadata_stream *stream,
                      unsigned number) {
  size_t length = stream->name_length + 1, size = length + (size_t)stream->size;
  char *value = allocate(size);
  memcpy(value, stream->name, length);
  int64_t got = casefs_read(stream->node, value + length, (size_t)stream->size, 0);
  if (got >= 0) {
    char *name = formatted(TAR_STREAM "%u", number);
    add_value(export, name, value, size);
    free(name);
  }
  free(value);
  return got < 0 ? (int)got : 0;
}

/* What fits; marks by a NULL node what is done. */
static int add_streams(struct export *export, struct metadata *metadata) {
  size_t used = 0;
  unsigned number = 0;
  for (size_t i = 0; i < metadata->stream_count; i++) {
    struct metadata_stream *stream = &metadata->streams[i];
    if (!fits_header(stream, used))
      continue;
    int error = add_stream(export, stream, number++);
    if (error < 0)
      return error;
    used += (size_t)stream->size;
    casefs_node_close(stream->node);
    stream->node = NULL;
  }
  return 0;
}

static int add_metadata(struct export *export, struct metadata *metadata) {
  size_t size;
  void *eas = metadata_list_eas(metadata, false, &size);
  if (eas)
    add_value(export, TAR_EA, eas, size);
  free(eas);
  if (metadata->security_length)
    add_value(export, TAR_SECURITY, metadata->security, metadata->security_length);
  if (metadata->reparse_length)
    add_value(export, TAR_REPARSE, metadata->reparse, metadata->reparse_length);
  return add_streams(export, metadata);
}

static int add_target(struct export *export, const struct item *item) {
  char target[CASEFS_MAX_SYMLINK + 1];
  int length = casefs_readlink(item->node, target, sizeof target - 1);
  if (length < 0)
    return length;
  target[length] = '\0';
  archive_entry_copy_symlink(export->entry, target);
  return 0;
}

static bool is_data(enum casefs_extent_kind kind) {
  return kind != CASEFS_EXTENT_HOLE && kind != CASEFS_EXTENT_UNWRITTEN;
}

/* Tell where data is, if there are holes. */
static int add_extents(struct export *export, const struct item *item) {
  struct casefs_extent extent;
  uint64_t at = 0, size = item->attributes->size;
  int result = 0;
  bool holes = false;
  while (at < size && (result = casefs_get_extent(item->node, at, &extent)) > 0) {
    at = extent.offset + extent.count;
    if (is_data(extent.kind))
      archive_entry_sparse_add_entry(export->entry, (int64_t)extent.offset,
                                     (int64_t)((at < size ? at : size) - extent.offset));
    else
      holes = true;
  }
  if (holes && archive_entry_sparse_count(export->entry) == 0)
    archive_entry_sparse_add_entry(export->entry, (int64_t)size, 0); /* nothing but a hole */
  if (!holes)
    archive_entry_sparse_clear(export->entry);
  return result < 0 ? result : 0;
}

/* ----------------------------------------------------------------- contents */

/* Zeros, which the archive leaves out where it was told of a hole. */
static bool put_hole(struct export *export, uint64_t count, const char *path) {
  while (count > 0 && !interrupted()) {
    size_t some = count < HOLE ? (size_t)count : HOLE;
    if (archive_write_data(export->archive, export->zeros, some) < 0)
      return fail_archive(export, path);
    count -= some;
  }
  return !interrupted();
}

static bool put_data(struct export *export, const struct item *item, uint64_t at, uint64_t end) {
  while (at < end) {
    size_t count = end - at < COPY_BUFFER ? (size_t)(end - at) : COPY_BUFFER;
    int64_t got = casefs_read(item->node, export->buffer, count, at);
    if (got <= 0) {
      fail_node(export, item->path, got < 0 ? (int)got : -EIO);
      return false;
    }
    if (archive_write_data(export->archive, export->buffer, (size_t)got) < 0)
      return fail_archive(export, item->path);
    if (interrupted())
      return false;
    at += (uint64_t)got;
    export->bytes += (uint64_t)got;
    progress_update(&export->progress, export->bytes, 0);
  }
  return true;
}

/* What is not written becomes zeros when the entry ends. */
static void put_contents(struct export *export, const struct item *item) {
  struct casefs_extent extent;
  uint64_t at = 0, size = item->attributes->size;
  int result = 0;
  while (at < size && (result = casefs_get_extent(item->node, at, &extent)) > 0) {
    uint64_t end = extent.offset + extent.count < size ? extent.offset + extent.count : size;
    bool good = is_data(extent.kind) ? put_data(export, item, at, end)
                                     : put_hole(export, end - at, item->path);
    if (!good)
      return;
    at = end;
  }
  if (result < 0)
    fail_node(export, item->path, result);
}

/* ------------------------------------------------------------------- nodes */

static bool put_header(struct export *export, const char *path) {
  archive_entry_copy_pathname(export->entry, path);
  if (archive_write_header(export->archive, export->entry) < ARCHIVE_WARN)
    return fail_archive(export, path);
  return true;
}

static bool end_entry(struct export *export, const char *path) {
  if (export->ended || archive_write_finish_entry(export->archive) < ARCHIVE_WARN)
    return fail_archive(export, path);
  return true;
}

/* The streams that did not fit. */
static void put_streams(struct export *export, const struct item *item,
                        const struct metadata *metadata) {
  for (size_t i = 0; i < metadata->stream_count && !export->ended; i++) {
    const struct metadata_stream *stream = &metadata->streams[i];
    struct casefs_attributes attributes = *item->attributes;
    if (!stream->node)
      continue;
    char *path = formatted("%s:%s", item->path, stream->name);
    struct item part = {stream->node, &attributes, path};
    attributes.type = CASEFS_STREAM;
    attributes.mode &= 0666;
    attributes.size = stream->size;
    archive_entry_clear(export->entry);
    set_attributes(export, &attributes);
    add_text(export, TAR_STREAM_OF, item->path);
    int error = add_extents(export, &part);
    if (error < 0)
      fail_node(export, path, error);
    else if (put_header(export, path)) {
      put_contents(export, &part);
      end_entry(export, path);
    }
    free(path);
  }
}

static void put_link(struct export *export, const struct item *item, const char *first) {
  archive_entry_clear(export->entry);
  set_attributes(export, item->attributes);
  archive_entry_set_size(export->entry, 0);
  archive_entry_copy_hardlink(export->entry, first);
  if (put_header(export, item->path))
    end_entry(export, item->path);
}

static void put_node(struct export *export, const struct item *item) {
  struct metadata metadata = {0};
  archive_entry_clear(export->entry);
  set_attributes(export, item->attributes);
  add_attributes(export, item->attributes);
  int error = metadata_read(item->node, item->attributes, &metadata);
  if (error == 0)
    error = add_metadata(export, &metadata);
  if (error == 0 && item->attributes->type == CASEFS_SYMLINK)
    error = add_target(export, item);
  if (error == 0 && item->attributes->type == CASEFS_FILE)
    error = add_extents(export, item);
  if (error < 0) {
    fail_node(export, item->path, error);
  } else if (put_header(export, item->path)) {
    if (item->attributes->type == CASEFS_FILE)
      put_contents(export, item);
    if (end_entry(export, item->path))
      put_streams(export, item, &metadata);
  }
  metadata_clear(&metadata);
}

static void export_node(struct export *export, const struct item *item) {
  const struct casefs_attributes *attributes = item->attributes;
  struct made_link made;
  bool linked = attributes->links > 1 && attributes->type != CASEFS_DIRECTORY;
  if (linked && link_table_find(export->links, 0, attributes->id, &made)) {
    put_link(export, item, made.path);
    return;
  }
  put_node(export, item);
  if (linked)
    link_table_made(export->links, 0, attributes->id, attributes->id, item->path);
}

static void export_below(struct export *export, casefs_node *directory) {
  struct walk *walk = walk_start(directory, ".", 0);
  struct walk_item found;
  int result;
  while (!export->ended && !interrupted() && (result = walk_next(walk, &found)) != 0) {
    casefs_node *node;
    if (result < 0) {
      fail_node(export, walk_failed_path(walk), result);
      continue;
    }
    if (found.after)
      continue;
    int error = casefs_open_id(casefs_node_volume(directory), found.entry->id, &node);
    if (error < 0) {
      fail_node(export, found.path, error);
      continue;
    }
    export_node(export, &(struct item){node, found.attributes, found.path});
    casefs_node_close(node);
  }
  walk_end(walk);
}

/* A directory's entries are named from "./" on, anything else by its last name. */
static void export_target(struct export *export, const struct target *target) {
  struct casefs_attributes attributes;
  int error = casefs_get_attributes(target->node, &attributes);
  if (error < 0) {
    fail_node(export, target->argument, error);
  } else if (attributes.type == CASEFS_DIRECTORY) {
    put_node(export, &(struct item){target->node, &attributes, "./"});
    export_below(export, target->node);
  } else {
    const char *path = target->location.path, *name = path + strlen(path);
    while (name > path && name[-1] != '/' && name[-1] != '\\')
      name--;
    if (attributes.type == CASEFS_STREAM)
      attributes.type = CASEFS_FILE;
    put_node(export, &(struct item){target->node, &attributes, name});
  }
}

/* ----------------------------------------------------------------- archives */

static bool open_archive(struct export *export, const char *file) {
  struct archive *archive = export->archive = archive_write_new();
  bool good =
      archive && archive_write_set_format_pax(archive) == ARCHIVE_OK &&
      archive_write_set_format_option(archive, "pax", "xattrheader", "SCHILY") == ARCHIVE_OK &&
      archive_write_set_bytes_per_block(archive, 1 << 20) == ARCHIVE_OK &&
      archive_write_set_bytes_in_last_block(archive, 10240) == ARCHIVE_OK;
  if (good)
    good = file ? archive_write_open_filename(archive, file) == ARCHIVE_OK
                : archive_write_open_fd(archive, STDOUT_FILENO) == ARCHIVE_OK;
  if (!good)
    complain("cannot write '%s': %s", file ? file : "the standard output",
             archive ? archive_error_string(archive) : "no memory is left");
  return good;
}

static bool close_archive(struct export *export, const char *file) {
  bool good = archive_write_close(export->archive) >= ARCHIVE_WARN;
  if (!good && !export->ended)
    complain("cannot write the end of '%s': %s", file ? file : "the standard output",
             archive_error_string(export->archive));
  archive_write_free(export->archive);
  return good;
}

/* Whether the archive would overwrite the volume it is made of. */
static bool is_device(const struct target *target, const char *file) {
  struct stat one, other;
  return file && stat(file, &one) == 0 && stat(target->location.device, &other) == 0 &&
         one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

static bool export_to(const struct target *target, const char *file) {
  struct export export = {0};
  if (is_device(target, file)) {
    complain("'%s' is the volume itself; give another file to write to", file);
    return false;
  }
  if (!open_archive(&export, file)) {
    archive_write_free(export.archive);
    return false;
  }
  export.entry = archive_entry_new();
  export.links = link_table_new();
  export.buffer = allocate(COPY_BUFFER);
  export.zeros = mmap(NULL, HOLE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (export.zeros == MAP_FAILED) {
    complain("no memory is left");
    exit(EXIT_FAILURE);
  }
  progress_start(&export.progress, "exporting", true);
  export_target(&export, target);
  progress_clear(&export.progress);
  bool good = close_archive(&export, file) && !export.failed && !interrupted();
  archive_entry_free(export.entry);
  link_table_free(export.links);
  free(export.buffer);
  munmap(export.zeros, HOLE);
  return good;
}

static int run_export(int count, char **arguments) {
  static const struct option options[] = {{"output", required_argument, NULL, 'o'}, {0}};
  struct sessions sessions = {0};
  struct target target;
  const char *file = NULL;
  int letter;
  while ((letter = getopt_long(count, arguments, "o:", options, NULL)) >= 0) {
    if (letter != 'o')
      return EXIT_USAGE;
    file = strcmp(optarg, "-") == 0 ? NULL : optarg;
  }
  if (!arguments_or_root(&count, &arguments))
    return EXIT_USAGE;
  if (count != 1)
    return misused("give one thing to export, and --output=FILE for where to");
  if (!file && isatty(STDOUT_FILENO))
    return misused("an archive is not for a terminal; give --output=FILE");
  /* Names in an archive are UTF-8 whatever the user's language; messages do not depend on it. */
  if (!setlocale(LC_CTYPE, "C.UTF-8"))
    setlocale(LC_CTYPE, "en_US.UTF-8");
  bool good = target_open(&sessions, arguments[0], false, CASEFS_NOFOLLOW, &target);
  if (good) {
    good = export_to(&target, file);
    target_close(&target);
  }
  good = sessions_close(&sessions) && good;
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

const struct verb verb_export = {
    .name = "export",
    .usage = "[-o FILE] DEVICE:/PATH",
    .summary = "Write a tar archive of a directory and all in it",
    .help = "The archive is in pax format, with all that casefs import needs to make the same\n"
            "again; other tar programs extract what they know.\n"
            "\n"
            "  -o, --output=FILE  instead of the standard output\n",
    .run = run_export,
};
