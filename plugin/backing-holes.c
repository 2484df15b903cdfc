/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Whether a file system tells what was written, zeros too, from what was not.
 *
 * That is tried out, on an anonymous file in the same folder.  Space that was
 * allocated and never written counts as a hole, but ext4 may turn what is next to
 * a write there into data, to save itself a split: so such space is given
 * back first.
 */

#include "backing-kind.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

enum { PROBE_UNITS = 8, MAPPED = 64 };

static int give_back_unwritten(int fd, const struct fiemap_extent *extent) {
  if (!(extent->fe_flags & FIEMAP_EXTENT_UNWRITTEN))
    return 0;
  int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  int result;
  do
    result = fallocate(fd, mode, (off_t)extent->fe_logical, (off_t)extent->fe_length);
  while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : 0;
}

/* Returns where to go on, or UINT64_MAX at the end; a file system without such a map has no
 * such habit either. */
static uint64_t give_back_from(int fd, uint64_t offset, int *error) {
  union {
    struct fiemap map;
    unsigned char room[sizeof(struct fiemap) + MAPPED * sizeof(struct fiemap_extent)];
  } asked = {.map = {.fm_start = offset,
                     .fm_length = FIEMAP_MAX_OFFSET - offset,
                     .fm_flags = FIEMAP_FLAG_SYNC,
                     .fm_extent_count = MAPPED}};
  const struct fiemap_extent *extents = asked.map.fm_extents;
  if (ioctl(fd, FS_IOC_FIEMAP, &asked.map) < 0 || asked.map.fm_mapped_extents == 0)
    return UINT64_MAX;
  unsigned count = asked.map.fm_mapped_extents < MAPPED ? asked.map.fm_mapped_extents : MAPPED;
  for (unsigned i = 0; i < count && *error == 0; i++)
    *error = give_back_unwritten(fd, &extents[i]);
  const struct fiemap_extent *last = &extents[count - 1];
  bool is_end = last->fe_flags & FIEMAP_EXTENT_LAST || last->fe_length == 0;
  return is_end ? UINT64_MAX : last->fe_logical + last->fe_length;
}

struct probed {
  uint64_t granularity;
  unsigned data; /* a bit for each unit that is not a hole */
};

static int note_unit(void *opaque, uint64_t offset, uint64_t count, bool is_hole) {
  struct probed *found = opaque;
  if (offset % found->granularity != 0 || count % found->granularity != 0)
    return -EIO;
  for (uint64_t unit = offset; unit < offset + count && !is_hole; unit += found->granularity)
    found->data |= 1u << unit / found->granularity;
  return 0;
}

/* Units: 1 is written, 3 is written with zeros, 5 is written and made a hole. */
static bool probe_tells_holes(struct backing *probe, uint32_t granularity) {
  struct probed found = {granularity, 0};
  unsigned char *bytes = aligned_alloc(BACKING_ALIGNMENT, granularity);
  if (!bytes)
    return false;
  memset(bytes, 0x5a, granularity);
  int result = backing_write(probe, bytes, granularity, granularity);
  result = result ? result : backing_write(probe, backing_zeros, granularity, 3ull * granularity);
  result = result ? result : backing_write(probe, bytes, granularity, 5ull * granularity);
  result = result ? result : backing_zero(probe, granularity, 5ull * granularity);
  result = result < 0 || backing_file_sync(probe) < 0
               ? -EIO
               : backing_extents(probe, (uint64_t)PROBE_UNITS * granularity, 0, note_unit, &found);
  free(bytes);
  return result == 0 && found.data == (1u << 1 | 1u << 3);
}

static bool folder_tells_holes(const char *path, uint32_t granularity) {
  char problem[BACKING_PROBLEM];
  struct backing *probe;
  char *copy = realpath(path, NULL);
  if (!copy)
    return false;
  int result =
      backing_open_spill(dirname(copy), (uint64_t)PROBE_UNITS * granularity, &probe, problem);
  free(copy);
  if (result < 0)
    return false;
  bool tells = probe_tells_holes(probe, granularity);
  backing_close(probe);
  return tells;
}

bool backing_tells_holes(const char *path, int fd, bool writable, uint32_t granularity) {
  int error = 0;
  if (granularity == 0 || granularity % BACKING_ALIGNMENT != 0 || granularity > BACKING_ZEROS)
    return false;
  if (!folder_tells_holes(path, granularity))
    return false;
  for (uint64_t at = 0; at != UINT64_MAX && error == 0 && writable;)
    at = give_back_from(fd, at, &error);
  return error == 0;
}
