/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ntfs-3g's system.ntfs_*, in its bytes: integers are the processor's, or big-endian in those whose
 * names end in _be.  Reading needs the right to read the node, changing to be its owner or root.
 *
 *   acl           the security descriptor
 *   attrib        u32: attributes; DIRECTORY and REPARSE_POINT as they are, NORMAL if none is set
 *   times         u64 each: created, modified, accessed, changed; 8, 16, 24 or all 32 bytes are
 *                 told, and set but for the last
 *   crtime        the first of them
 *   reparse_data  the whole reparse point
 *   ea            all extended attributes: FILE_FULL_EA_INFORMATION, in which the last one's offset
 *                 of a next is the list's end; set also as Windows has it, with 0 there
 *   object_id     the node's id in 8 bytes, little-endian, and 8 of the volume's UUID; only read
 */

#include "xattr-parts.h"

#include "../../fs/format.h"
#include "../../fs/windows.h"
#include "acl.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

enum {
  ATTRIBUTE_DIRECTORY = 0x10,
  ATTRIBUTE_NORMAL = 0x80,
  ATTRIBUTE_REPARSE_POINT = 0x400,
};

/* ----------------------------------------------------------------- permissions */

/* The node's attributes, with owner and mode as the mount shows them. */
static struct casefs_attributes shown(const struct xattr_request *request) {
  const struct shown *shown = &request->view->shown;
  struct casefs_attributes attributes = request->attributes;
  bool directory = attributes.type == CASEFS_DIRECTORY;
  if (shown->force_uid)
    attributes.uid = shown->uid;
  if (shown->force_gid)
    attributes.gid = shown->gid;
  attributes.mode &= ~(directory ? shown->directory_mask : shown->file_mask);
  return attributes;
}

static int check_owner(const struct xattr_request *request) {
  struct casefs_attributes attributes = shown(request);
  return request->caller->uid == 0 || request->caller->uid == attributes.uid ? 0 : -EPERM;
}

static int check_reader(const struct xattr_request *request) {
  struct casefs_attributes attributes = shown(request);
  return acl_permits(request->node, &attributes, request->caller, ACL_MAY_READ);
}

/* ------------------------------------------------------------------ descriptor */

static int get_security(const struct xattr_request *request, void *value, size_t size) {
  return casefs_get_security(request->node, value, size);
}

/* What Samba has set is not of this descriptor any more. */
static int set_security(const struct xattr_request *request, const void *value, size_t size,
                        int flags, unsigned *effects) {
  (void)effects;
  int r = size > 0 ? check_flags(request->attributes.has_security, flags) : -EINVAL;
  if (r == 0)
    r = casefs_set_security(request->node, value, size);
  if (r == 0)
    r = xattr_remove_kept(request->node, NTACL);
  return r == -ENODATA ? 0 : r;
}

static int remove_security(const struct xattr_request *request) {
  if (!request->attributes.has_security)
    return -ENODATA;
  int r = casefs_set_security(request->node, NULL, 0);
  if (r == 0)
    r = xattr_remove_kept(request->node, NTACL);
  return r == -ENODATA ? 0 : r;
}

/* ------------------------------------------------------------------ attributes */

static uint32_t dos_attributes(const struct casefs_attributes *attributes) {
  uint32_t result = attributes->dos_attributes;
  if (attributes->type == CASEFS_DIRECTORY)
    result |= ATTRIBUTE_DIRECTORY;
  if (attributes->reparse_tag != 0)
    result |= ATTRIBUTE_REPARSE_POINT;
  return result ? result : ATTRIBUTE_NORMAL;
}

static int get_attributes(const struct xattr_request *request, void *value, size_t size) {
  uint32_t attributes = dos_attributes(&request->attributes);
  return hand_out(&attributes, sizeof attributes, value, size);
}

static int get_attributes_big(const struct xattr_request *request, void *value, size_t size) {
  uint32_t attributes = htobe32(dos_attributes(&request->attributes));
  return hand_out(&attributes, sizeof attributes, value, size);
}

static int set_to(const struct xattr_request *request, uint32_t attributes, int flags) {
  const struct casefs_attributes to_set = {.dos_attributes = attributes & CASEFS_DOS_SETTABLE};
  int r = check_flags(true, flags);
  return r == 0 ? casefs_set_attributes(request->node, CASEFS_DOS_ATTRIBUTES, &to_set) : r;
}

static int set_attributes(const struct xattr_request *request, const void *value, size_t size,
                          int flags, unsigned *effects) {
  uint32_t attributes;
  (void)effects;
  if (size < sizeof attributes)
    return -EINVAL;
  memcpy(&attributes, value, sizeof attributes);
  return set_to(request, attributes, flags);
}

static int set_attributes_big(const struct xattr_request *request, const void *value, size_t size,
                              int flags, unsigned *effects) {
  uint32_t attributes;
  (void)effects;
  if (size < sizeof attributes)
    return -EINVAL;
  memcpy(&attributes, value, sizeof attributes);
  return set_to(request, be32toh(attributes), flags);
}

/* ----------------------------------------------------------------------- times */

enum { TIMES = 4 };

/* As many whole times as there is room for. */
static int hand_out_times(const uint64_t *times, unsigned count, void *value, size_t size) {
  if (size > 0 && size < sizeof *times)
    return -ERANGE;
  size_t length = count * sizeof *times;
  if (size > 0 && size < length)
    length = size / sizeof *times * sizeof *times;
  return hand_out(times, length, value, size);
}

static void list_times(const struct casefs_attributes *attributes, bool big,
                       uint64_t times[TIMES]) {
  times[0] = attributes->created;
  times[1] = attributes->modified;
  times[2] = attributes->accessed;
  times[3] = attributes->changed;
  for (unsigned i = 0; big && i < TIMES; i++)
    times[i] = htobe64(times[i]);
}

static int get_times(const struct xattr_request *request, void *value, size_t size) {
  uint64_t times[TIMES];
  list_times(&request->attributes, false, times);
  return hand_out_times(times, TIMES, value, size);
}

static int get_times_big(const struct xattr_request *request, void *value, size_t size) {
  uint64_t times[TIMES];
  list_times(&request->attributes, true, times);
  return hand_out_times(times, TIMES, value, size);
}

static int get_created(const struct xattr_request *request, void *value, size_t size) {
  uint64_t times[TIMES];
  list_times(&request->attributes, false, times);
  return hand_out_times(times, 1, value, size);
}

static int get_created_big(const struct xattr_request *request, void *value, size_t size) {
  uint64_t times[TIMES];
  list_times(&request->attributes, true, times);
  return hand_out_times(times, 1, value, size);
}

/* Set the first times, at most `most`; the time of change is now. */
static int set_first_times(const struct xattr_request *request, const void *value, size_t size,
                           unsigned most, bool big, int flags, unsigned *effects) {
  uint64_t times[TIMES - 1] = {0};
  size_t count = size / sizeof *times;
  int r = check_flags(true, flags);
  if (r < 0)
    return r;
  if (count == 0)
    return -ERANGE;
  if (count > most)
    count = most;
  memcpy(times, value, count * sizeof *times);
  for (unsigned i = 0; big && i < count; i++)
    times[i] = be64toh(times[i]);
  const struct casefs_attributes to_set = {
      .created = times[0], .modified = times[1], .accessed = times[2]};
  if (count > 1)
    *effects |= XATTR_CHANGED_TIMES;
  return casefs_set_attributes(request->node,
                               CASEFS_CREATED | (count > 1 ? (unsigned)CASEFS_MODIFIED : 0) |
                                   (count > 2 ? (unsigned)CASEFS_ACCESSED : 0),
                               &to_set);
}

static int set_times(const struct xattr_request *request, const void *value, size_t size, int flags,
                     unsigned *effects) {
  return set_first_times(request, value, size, TIMES - 1, false, flags, effects);
}

static int set_times_big(const struct xattr_request *request, const void *value, size_t size,
                         int flags, unsigned *effects) {
  return set_first_times(request, value, size, TIMES - 1, true, flags, effects);
}

static int set_created(const struct xattr_request *request, const void *value, size_t size,
                       int flags, unsigned *effects) {
  return set_first_times(request, value, size, 1, false, flags, effects);
}

static int set_created_big(const struct xattr_request *request, const void *value, size_t size,
                           int flags, unsigned *effects) {
  return set_first_times(request, value, size, 1, true, flags, effects);
}

/* --------------------------------------------------------------- reparse point */

static int get_reparse(const struct xattr_request *request, void *value, size_t size) {
  return casefs_get_reparse(request->node, value, size);
}

static int remove_point(casefs_node *node, const uint8_t *point, size_t length) {
  static const uint8_t none[16];
  return casefs_remove_reparse(node, reparse_tag(point), length >= 24 ? point + 8 : none);
}

/* The library replaces only one of the same kind, as Windows does; ntfs-3g any. */
static int replace_point(casefs_node *node, const void *value, size_t size) {
  uint8_t old[CASEFS_MAX_REPARSE];
  int length = casefs_get_reparse(node, old, sizeof old);
  int r = length < 0 ? length : remove_point(node, old, (size_t)length);
  if (r < 0)
    return r;
  r = casefs_set_reparse(node, value, size);
  if (r < 0)
    casefs_set_reparse(node, old, (size_t)length);
  return r;
}

static int set_reparse(const struct xattr_request *request, const void *value, size_t size,
                       int flags, unsigned *effects) {
  (void)effects;
  if (request->attributes.type == CASEFS_SYMLINK)
    return -EOPNOTSUPP;
  int r = reparse_check(value, size, request->attributes.type == CASEFS_DIRECTORY);
  if (r < 0)
    return r == -ENAMETOOLONG ? -ERANGE : r;
  r = check_flags(request->attributes.reparse_tag != 0, flags);
  if (r < 0)
    return r;
  r = casefs_set_reparse(request->node, value, size);
  return r == -EEXIST ? replace_point(request->node, value, size) : r;
}

static int remove_reparse(const struct xattr_request *request) {
  uint8_t point[CASEFS_MAX_REPARSE];
  int length = casefs_get_reparse(request->node, point, sizeof point);
  return length < 0 ? length : remove_point(request->node, point, (size_t)length);
}

/* ------------------------------------------------------------------- object id */

static int get_object_id(const struct xattr_request *request, void *value, size_t size) {
  struct casefs_statistics statistics;
  uint8_t id[16];
  casefs_volume_statistics(casefs_node_volume(request->node), &statistics);
  store64(id, request->attributes.id);
  memcpy(id + 8, statistics.uuid + 8, 8);
  return hand_out(id, sizeof id, value, size);
}

/* ----------------------------------------------------------------------- names */

struct part {
  const char *name;
  int (*get)(const struct xattr_request *request, void *value, size_t size);
  /* NULL: -EPERM */
  int (*set)(const struct xattr_request *request, const void *value, size_t size, int flags,
             unsigned *effects);
  int (*remove)(const struct xattr_request *request);
};

enum { PART_ACL, PART_REPARSE = 7, PART_EA };

static const struct part parts[] = {
    [PART_ACL] = {"acl", get_security, set_security, remove_security},
    {"attrib", get_attributes, set_attributes, NULL},
    {"attrib_be", get_attributes_big, set_attributes_big, NULL},
    {"times", get_times, set_times, NULL},
    {"times_be", get_times_big, set_times_big, NULL},
    {"crtime", get_created, set_created, NULL},
    {"crtime_be", get_created_big, set_created_big, NULL},
    [PART_REPARSE] = {"reparse_data", get_reparse, set_reparse, remove_reparse},
    [PART_EA] = {"ea", ea_list_get, ea_list_set, ea_list_remove},
    {"object_id", get_object_id, NULL, NULL},
};

static const struct part *find_part(const char *name) {
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
    if (strcmp(parts[i].name, name) == 0)
      return &parts[i];
  return NULL;
}

int ntfs_get(const struct xattr_request *request, const char *name, void *value, size_t size) {
  const struct part *part = find_part(name);
  if (!part)
    return -ENODATA;
  int r = check_reader(request);
  return r < 0 ? r : part->get(request, value, size);
}

int ntfs_set(const struct xattr_request *request, const char *name, const void *value, size_t size,
             int flags, unsigned *effects) {
  const struct part *part = find_part(name);
  int r = check_owner(request);
  if (!part)
    return -EOPNOTSUPP;
  if (r == 0 && !part->set)
    r = -EPERM;
  return r < 0 ? r : part->set(request, value, size, flags, effects);
}

int ntfs_remove(const struct xattr_request *request, const char *name) {
  const struct part *part = find_part(name);
  int r = check_owner(request);
  if (!part)
    return -ENODATA;
  if (r == 0 && !part->remove)
    r = -EPERM;
  return r < 0 ? r : part->remove(request);
}

const char *ntfs_name(const struct casefs_attributes *attributes, unsigned i, bool *end) {
  *end = i >= sizeof parts / sizeof parts[0];
  if (*end || (i == PART_ACL && !attributes->has_security) ||
      (i == PART_REPARSE && attributes->reparse_tag == 0) ||
      (i == PART_EA && attributes->ea_size == 0))
    return NULL;
  return parts[i].name;
}
