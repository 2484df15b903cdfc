/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An nbdkit plugin for tests: a file behind a cache that loses what was not flushed when the
 * server is killed, as a disk does when the power fails.  What was not flushed may have reached
 * the file all the same, block by block in any order.
 *
 *     nbdkit nbdkit-tiers-volatile-plugin.so FILE [early=PERCENT] [lie=true] [faults=FILE]
 *
 * early: of so many blocks that are written, each reaches the file at once (25).
 * lie: FLUSH and FUA do nothing, to see that tests notice.
 * faults: while there is a file of that name, the requests that it names fail: any of the words
 * read, write, zero (and trim), flush; with ENOSPC if that word is there too, else with EIO.
 */

#define NBDKIT_API_VERSION 2
#include "../casefs/dice.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS

enum { BLOCK = 4096 };

static char *file_name, *faults_name;
static unsigned early = 25;
static int lie;
static int fd = -1;
static uint64_t size, blocks;
static unsigned char *contents; /* as clients see it */
static bool *is_data;           /* of each block; otherwise it is a hole */
static bool *is_dirty;          /* the file does not have it yet */
static struct dice dice;

static void volatile_unload(void) {
  free(file_name);
  free(faults_name);
  free(contents);
  free(is_data);
  free(is_dirty);
  if (fd >= 0)
    close(fd);
}

static int volatile_config(const char *key, const char *value) {
  if (strcmp(key, "file") == 0) {
    free(file_name);
    return (file_name = nbdkit_realpath(value)) ? 0 : -1;
  }
  if (strcmp(key, "faults") == 0)
    return (faults_name = nbdkit_absolute_path(value)) ? 0 : -1;
  if (strcmp(key, "early") == 0)
    return nbdkit_parse_unsigned("early", value, &early);
  if (strcmp(key, "lie") == 0)
    return (lie = nbdkit_parse_bool(value)) == -1 ? -1 : 0;
  nbdkit_error("unknown parameter '%s'", key);
  return -1;
}

static int load_contents(void) {
  off_t data = 0, hole = 0;
  while ((data = lseek(fd, hole, SEEK_DATA)) >= 0 && (hole = lseek(fd, data, SEEK_HOLE)) >= 0) {
    for (off_t at = data; at < hole; at += BLOCK - at % BLOCK)
      is_data[at / BLOCK] = true;
    if (pread(fd, contents + data, (size_t)(hole - data), data) != hole - data)
      return -1;
  }
  return 0;
}

static int volatile_get_ready(void) {
  struct stat status;
  fd = file_name ? open(file_name, O_RDWR | O_CLOEXEC) : -1;
  if (fd < 0 || fstat(fd, &status) != 0) {
    nbdkit_error("cannot open %s: %m", file_name ? file_name : "what has no name; give file=");
    return -1;
  }
  size = (uint64_t)status.st_size;
  blocks = (size + BLOCK - 1) / BLOCK;
  contents = calloc(blocks, BLOCK);
  is_data = calloc(blocks, sizeof *is_data);
  is_dirty = calloc(blocks, sizeof *is_dirty);
  dice = dice_seed((uint64_t)getpid());
  if (!contents || !is_data || !is_dirty || load_contents() != 0) {
    nbdkit_error("cannot load %s: %m", file_name);
    return -1;
  }
  return 0;
}

static void *volatile_open(int readonly) {
  (void)readonly;
  return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t volatile_get_size(void *handle) {
  (void)handle;
  return (int64_t)size;
}

static int yes(void *handle) {
  (void)handle;
  return 1;
}

static int volatile_can_fua(void *handle) {
  (void)handle;
  return NBDKIT_FUA_NATIVE;
}

/* Whether a request of that name is to fail; then errno is set. */
static bool is_faulty(const char *what) {
  char words[100] = "";
  int faults = faults_name ? open(faults_name, O_RDONLY | O_CLOEXEC) : -1;
  if (faults < 0)
    return false;
  ssize_t got = read(faults, words, sizeof words - 1);
  close(faults);
  if (got <= 0 || !strstr(words, what))
    return false;
  errno = strstr(words, "ENOSPC") ? ENOSPC : EIO;
  nbdkit_error("%s: as asked for", what);
  return true;
}

/* Each block as one write, so that a kill leaves none half written. */
static int save_block(uint64_t block) {
  uint64_t offset = block * BLOCK, count = size - offset < BLOCK ? size - offset : BLOCK;
  is_dirty[block] = false;
  if (!is_data[block])
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)count);
  return pwrite(fd, contents + offset, count, (off_t)offset) == (ssize_t)count ? 0 : -1;
}

static int save(uint64_t first, uint64_t end) {
  for (uint64_t block = first; !lie && block < end; block++)
    if (is_dirty[block] && save_block(block) != 0) {
      is_dirty[block] = true;
      nbdkit_error("cannot write %s: %m", file_name);
      return -1;
    }
  return 0;
}

/* The blocks of a range have changed. */
static int changed(uint64_t count, uint64_t offset, uint32_t flags) {
  uint64_t first = offset / BLOCK, end = (offset + count + BLOCK - 1) / BLOCK;
  for (uint64_t block = first; block < end; block++) {
    is_dirty[block] = true;
    if (dice_below(&dice, 100) < early && save_block(block) != 0)
      return -1;
  }
  return flags & NBDKIT_FLAG_FUA ? save(first, end) : 0;
}

static int volatile_pread(void *handle, void *buffer, uint32_t count, uint64_t offset,
                          uint32_t flags) {
  (void)handle, (void)flags;
  if (is_faulty("read"))
    return -1;
  memcpy(buffer, contents + offset, count);
  return 0;
}

static int volatile_pwrite(void *handle, const void *buffer, uint32_t count, uint64_t offset,
                           uint32_t flags) {
  (void)handle;
  if (is_faulty("write") || (flags & NBDKIT_FLAG_FUA && is_faulty("flush")))
    return -1;
  memcpy(contents + offset, buffer, count);
  for (uint64_t block = offset / BLOCK; block * BLOCK < offset + count; block++)
    is_data[block] = true;
  return changed(count, offset, flags);
}

static int make_zeros(uint64_t count, uint64_t offset, uint32_t flags, bool holes) {
  if (is_faulty("zero") || (flags & NBDKIT_FLAG_FUA && is_faulty("flush")))
    return -1;
  memset(contents + offset, 0, count);
  for (uint64_t block = offset / BLOCK; block * BLOCK < offset + count; block++) {
    bool whole = block * BLOCK >= offset && (block + 1) * BLOCK <= offset + count;
    if (whole || !holes)
      is_data[block] = !holes;
  }
  return changed(count, offset, flags);
}

static int volatile_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags) {
  (void)handle;
  return make_zeros(count, offset, flags, true);
}

static int volatile_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags) {
  (void)handle;
  return make_zeros(count, offset, flags, flags & NBDKIT_FLAG_MAY_TRIM);
}

static int volatile_flush(void *handle, uint32_t flags) {
  (void)handle, (void)flags;
  return is_faulty("flush") ? -1 : save(0, blocks);
}

static int volatile_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                            struct nbdkit_extents *extents) {
  (void)handle, (void)flags;
  for (uint64_t block = offset / BLOCK; block * BLOCK < offset + count; block++)
    if (nbdkit_add_extent(extents, block * BLOCK, BLOCK,
                          is_data[block] ? 0 : NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO) == -1)
      return -1;
  return 0;
}

static struct nbdkit_plugin plugin = {
    .name = "tiers-volatile",
    .longname = "a disk that loses what was not flushed",
    .unload = volatile_unload,
    .config = volatile_config,
    .magic_config_key = "file",
    .get_ready = volatile_get_ready,
    .open = volatile_open,
    .get_size = volatile_get_size,
    .can_write = yes,
    .can_flush = yes,
    .can_trim = yes,
    .can_zero = yes,
    .can_extents = yes,
    .can_multi_conn = yes,
    .can_fua = volatile_can_fua,
    .pread = volatile_pread,
    .pwrite = volatile_pwrite,
    .trim = volatile_trim,
    .zero = volatile_zero,
    .flush = volatile_flush,
    .extents = volatile_extents,
    .errno_is_preserved = 1,
};

NBDKIT_REGISTER_PLUGIN(plugin)
