/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Names of extended attributes, and reparse points.
 */

#include "windows.h"

#include "casefs.h"

#include <errno.h>
#include <string.h>

/* --------------------------------------------------- extended attributes */

static bool may_be_in_ea_name(uint8_t byte) { /* [MS-FSCC] 2.4.15, EaName */
  return byte >= 0x20 && !strchr("\\/:*?\"<>|,+=[];", byte);
}

int ea_name_check(const char *name, size_t length) {
  if (length == 0)
    return -EINVAL;
  if (length > CASEFS_MAX_EA_NAME)
    return -ENAMETOOLONG;
  for (size_t i = 0; i < length; i++)
    if (!may_be_in_ea_name((uint8_t)name[i]))
      return -EINVAL;
  return 0;
}

void ea_name_fold(const char *name, size_t length, char *folded) {
  for (size_t i = 0; i < length; i++)
    folded[i] = (char)(name[i] >= 'a' && name[i] <= 'z' ? name[i] - 'a' + 'A' : name[i]);
}

/* -------------------------------------------------------- reparse points */

/* [MS-FSCC] 2.1.2.1 */
enum reparse_tags {
  TAG_RESERVED_LAST = 2,
  TAG_RESERVED_BITS = 0x0fff0000,
};
#define TAG_MICROSOFT UINT32_C(0x80000000)
#define TAG_MOUNT_POINT UINT32_C(0xa0000003)
#define TAG_SYMLINK UINT32_C(0xa000000c)
#define TAG_LX_SYMLINK UINT32_C(0xa000001d)
#define TAG_AF_UNIX UINT32_C(0x80000023)
#define TAG_LX_FIFO UINT32_C(0x80000024)
#define TAG_LX_CHR UINT32_C(0x80000025)
#define TAG_LX_BLK UINT32_C(0x80000026)

enum reparse_sizes {
  REPARSE_HEADER = 8,
  REPARSE_GUID = 16,      /* after the header, of tags that are not Microsoft's */
  MOUNT_POINT_HEADER = 8, /* of the data: two offsets and two lengths */
  SYMLINK_HEADER = 12,    /* the same, and flags */
  LX_SYMLINK_HEADER = 4,  /* a version */
  LX_SYMLINK_VERSION = 2,
};

static bool tag_is_microsoft(uint32_t tag) {
  return (tag & TAG_MICROSOFT) != 0;
}

static bool tag_is_valid(uint32_t tag) {
  return tag > TAG_RESERVED_LAST && (tag & TAG_RESERVED_BITS) == 0;
}

/* A name inside the path buffer, of whole UTF-16 units. */
static bool path_name_fits(const uint8_t *offset_and_length, size_t path_size) {
  uint16_t offset = field16(offset_and_length), length = field16(offset_and_length + 2);
  return offset % 2 == 0 && length % 2 == 0 && (size_t)offset + length <= path_size;
}

/* The data of a symbolic link or mount point ([MS-FSCC] 2.1.2.4, 2.1.2.5): SubstituteName, which
 * leads somewhere, and PrintName, which may be empty. */
static bool path_is_valid(const uint8_t *data, size_t length, size_t header) {
  return length >= header && field16(data + 2) != 0 && path_name_fits(data, length - header) &&
         path_name_fits(data + 4, length - header);
}

static bool lx_symlink_is_valid(const uint8_t *data, size_t length) { /* [MS-FSCC] 2.1.2.7 */
  return length > LX_SYMLINK_HEADER && field32(data) == LX_SYMLINK_VERSION &&
         !memchr(data + LX_SYMLINK_HEADER, 0, length - LX_SYMLINK_HEADER);
}

static bool reparse_data_is_valid(uint32_t tag, const uint8_t *data, size_t length) {
  switch (tag) {
  case TAG_MOUNT_POINT:
    return path_is_valid(data, length, MOUNT_POINT_HEADER);
  case TAG_SYMLINK:
    return path_is_valid(data, length, SYMLINK_HEADER);
  case TAG_LX_SYMLINK:
    return lx_symlink_is_valid(data, length);
  case TAG_AF_UNIX:
  case TAG_LX_FIFO:
  case TAG_LX_CHR:
  case TAG_LX_BLK:
    return length == 0;
  default:
    return true;
  }
}

static bool guid_is_null(const uint8_t *guid) {
  static const uint8_t null_guid[REPARSE_GUID];
  return memcmp(guid, null_guid, REPARSE_GUID) == 0;
}

int reparse_check(const void *data, size_t length, bool directory) {
  const uint8_t *bytes = data;
  if (length > CASEFS_MAX_REPARSE)
    return -ENAMETOOLONG;
  if (length < REPARSE_HEADER)
    return -EINVAL;
  uint32_t tag = field32(bytes);
  size_t header = REPARSE_HEADER + (tag_is_microsoft(tag) ? 0 : REPARSE_GUID);
  if (!tag_is_valid(tag) || length != header + field16(bytes + 4))
    return -EINVAL;
  if (!tag_is_microsoft(tag) && guid_is_null(bytes + REPARSE_HEADER))
    return -EINVAL;
  if (tag == TAG_MOUNT_POINT && !directory)
    return -EINVAL;
  return reparse_data_is_valid(tag, bytes + header, length - header) ? 0 : -EINVAL;
}

uint32_t reparse_tag(const void *data) {
  return field32(data);
}

bool reparse_same(const void *stored, uint32_t tag, const uint8_t guid[16]) {
  const uint8_t *bytes = stored;
  if (field32(bytes) != tag)
    return false;
  return tag_is_microsoft(tag) || (guid && memcmp(bytes + REPARSE_HEADER, guid, REPARSE_GUID) == 0);
}
