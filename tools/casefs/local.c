/* SPDX-License-Identifier: BSD-3-Clause */

#include "local.h"
#include "tool.h"

#include <errno.h>
#include <string.h>

enum { PIECE = 1 << 20 };

FILE *local_open(const char *path) {
  FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rbe");
  if (!file)
    complain("cannot read '%s': %s", path, strerror(errno));
  return file;
}

static void local_close(FILE *file) {
  if (file != stdin)
    fclose(file);
}

uint8_t *local_read(const char *path, size_t limit, size_t *size) {
  FILE *file = local_open(path);
  if (!file)
    return NULL;
  uint8_t *bytes = allocate(limit + 1);
  *size = fread(bytes, 1, limit + 1, file);
  bool failed = ferror(file);
  if (failed)
    complain("cannot read '%s': %s", path, strerror(errno));
  else if (*size > limit)
    complain("'%s' is too long: it may have %zu bytes", path, limit);
  local_close(file);
  if (!failed && *size <= limit)
    return bytes;
  free(bytes);
  return NULL;
}

bool local_write(const char *path, const void *bytes, size_t size) {
  bool standard = strcmp(path, "-") == 0;
  FILE *file = standard ? stdout : fopen(path, "wbe");
  bool good = file && fwrite(bytes, 1, size, file) == size;
  if (file && !standard)
    good = fclose(file) == 0 && good;
  if (!good)
    complain("cannot write '%s': %s", path, strerror(errno));
  return good;
}

bool print_contents(casefs_node *node, const char *name) {
  char *buffer = allocate(PIECE);
  uint64_t offset = 0;
  int64_t count = 0;
  while (!interrupted() && (count = casefs_read(node, buffer, PIECE, offset)) > 0) {
    fwrite(buffer, 1, (size_t)count, stdout);
    offset += (uint64_t)count;
  }
  if (count == -EISDIR)
    complain("'%s' is a directory, and has no contents to print", name);
  else if (count == -EINVAL)
    complain("'%s' is neither a file nor a stream, and has no contents to print", name);
  else if (count < 0)
    complain("cannot read '%s': %s", name, reason((int)count));
  free(buffer);
  return count >= 0;
}

/* write may stop before its end when it meets an error; the next one tells which. */
static int write_all(casefs_node *node, const char *buffer, size_t count, uint64_t offset) {
  while (count > 0) {
    int64_t written = casefs_write(node, buffer, count, offset);
    if (written <= 0)
      return written < 0 ? (int)written : -EIO;
    buffer += written;
    offset += (uint64_t)written;
    count -= (size_t)written;
  }
  return 0;
}

bool store_contents(casefs_node *node, const char *name, FILE *source, const char *source_name) {
  char *buffer = allocate(PIECE);
  uint64_t offset = 0;
  size_t count = 0;
  int error = casefs_truncate(node, 0);
  while (error >= 0 && !interrupted() && (count = fread(buffer, 1, PIECE, source)) > 0) {
    error = write_all(node, buffer, count, offset);
    offset += count;
  }
  if (error < 0)
    complain("cannot write '%s': %s", name, reason(error));
  else if (ferror(source) && !interrupted())
    complain("cannot read '%s': %s", source_name, strerror(errno));
  free(buffer);
  return error >= 0 && !ferror(source) && !interrupted();
}
