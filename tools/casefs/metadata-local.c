/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Windows metadata as extended attributes of Linux: those of ntfs-3g, of the kernel's ntfs3, and
 * of Samba.  Integers of ntfs-3g are those of the processor.
 */

#include "metadata.h"
#include "samba-blobs.h"
#include "tool.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

enum {
  LARGEST_VALUE = 65536, /* XATTR_SIZE_MAX */
  LARGEST_NAME = 255,    /* XATTR_NAME_MAX */
};

/* The value, the caller's to free, or NULL if there is none. */
static uint8_t *get_value(int descriptor, const char *name, size_t *size) {
  ssize_t length;
  uint8_t *value = NULL;
  while ((length = fgetxattr(descriptor, name, NULL, 0)) > 0) {
    value = resized(value, (size_t)length);
    length = fgetxattr(descriptor, name, value, (size_t)length);
    if (length > 0) {
      *size = (size_t)length;
      return value;
    }
    if (length == 0 || errno != ERANGE)
      break;
  }
  free(value);
  return NULL;
}

/* The names, each with a zero, the caller's to free, or NULL if there are none. */
static char *get_names(int descriptor, size_t *size) {
  char first[1024], *names = NULL;
  ssize_t length = flistxattr(descriptor, first, sizeof first);
  if (length > 0)
    names = copied(first, (size_t)length);
  while (length < 0 && errno == ERANGE && (length = flistxattr(descriptor, NULL, 0)) > 0) {
    names = resized(names, (size_t)length);
    length = flistxattr(descriptor, names, (size_t)length);
  }
  if (length > 0) {
    *size = (size_t)length;
    return names;
  }
  free(names);
  return NULL;
}

static bool starts_with(const char *text, const char *start, const char **rest) {
  size_t length = strlen(start);
  *rest = text + length;
  return strncmp(text, start, length) == 0;
}

static void take_security(struct metadata *metadata, const uint8_t *value, size_t size,
                          unsigned lost[METADATA_PARTS]) {
  if (metadata->security_length > 0)
    return;
  if (casefs_security_check(value, size) < 0) {
    lost[METADATA_SECURITY]++;
    return;
  }
  metadata->security = copied((const char *)value, size);
  metadata->security_length = size;
}

enum metadata_form metadata_form_of(int descriptor) {
  uint32_t attributes;
  size_t size;
  if (fgetxattr(descriptor, "system.ntfs_attrib", &attributes, sizeof attributes) !=
      sizeof attributes)
    return METADATA_FORM_NONE;
  uint8_t *security = get_value(descriptor, "system.ntfs_security", &size);
  free(security);
  return security ? METADATA_FORM_NTFS3 : METADATA_FORM_NTFS;
}

/* ----------------------------------------------------------- NTFS: reading */

static void read_ntfs_attributes(int descriptor, struct metadata *metadata) {
  uint32_t attributes;
  uint64_t times[4] = {0};
  if (fgetxattr(descriptor, "system.ntfs_attrib", &attributes, sizeof attributes) ==
      sizeof attributes) {
    metadata->has_dos_attributes = true;
    metadata->dos_attributes = attributes & CASEFS_DOS_SETTABLE;
  }
  if (fgetxattr(descriptor, "system.ntfs_times", times, sizeof times) == sizeof times) {
    metadata->has_times = true;
    metadata->created = times[0];
    metadata->modified = times[1];
    metadata->accessed = times[2];
    metadata->changed = times[3];
  }
}

static void read_ntfs_security(int descriptor, const char *name, struct metadata *metadata,
                               unsigned lost[METADATA_PARTS]) {
  size_t size;
  uint8_t *value = get_value(descriptor, name, &size);
  if (value)
    take_security(metadata, value, size, lost);
  free(value);
}

static void read_ntfs_3g(int descriptor, struct metadata *metadata, unsigned lost[METADATA_PARTS]) {
  size_t size;
  metadata->reparse = get_value(descriptor, "system.ntfs_reparse_data", &size);
  metadata->reparse_length = metadata->reparse ? size : 0;
  uint8_t *eas = get_value(descriptor, "system.ntfs_ea", &size);
  if (eas && metadata_parse_eas(metadata, eas, size) < 0)
    lost[METADATA_EA]++;
  free(eas);
}

/* ntfs-3g: "user." and a stream's name.  ntfs3: an extended attribute's name as it is. */
static void read_ntfs_names(int descriptor, bool ntfs3, struct metadata *metadata) {
  size_t size = 0, length;
  char *names = get_names(descriptor, &size);
  const char *rest;
  for (const char *name = names; name < names + size; name += strlen(name) + 1) {
    if (starts_with(name, "system.", &rest) || (!starts_with(name, "user.", &rest) && !ntfs3))
      continue;
    uint8_t *value = get_value(descriptor, name, &length);
    if (ntfs3 && value)
      metadata_add_ea(metadata, name, strlen(name), 0, value, length);
    else if (!ntfs3)
      metadata_add_stream(metadata, rest, strlen(rest), NULL, value, value ? length : 0);
  }
  free(names);
}

static void read_ntfs(int descriptor, bool ntfs3, struct metadata *metadata,
                      unsigned lost[METADATA_PARTS]) {
  read_ntfs_attributes(descriptor, metadata);
  read_ntfs_security(descriptor, ntfs3 ? "system.ntfs_security" : "system.ntfs_acl", metadata,
                     lost);
  if (!ntfs3)
    read_ntfs_3g(descriptor, metadata, lost);
  read_ntfs_names(descriptor, ntfs3, metadata);
}

/* ---------------------------------------------------------- Samba: reading */

static bool take_samba_attributes(struct metadata *metadata, const void *value, size_t size) {
  struct samba_attributes attributes;
  if (!samba_parse_attributes(value, size, &attributes))
    return false;
  metadata->has_dos_attributes = attributes.has_attributes;
  metadata->dos_attributes = attributes.attributes & CASEFS_DOS_SETTABLE;
  if (attributes.has_created)
    metadata->created = attributes.created;
  metadata->has_times = attributes.has_created;
  return true;
}

static void take_samba_security(struct metadata *metadata, const void *value, size_t size,
                                unsigned lost[METADATA_PARTS]) {
  uint8_t *descriptor = allocate(size);
  size_t length = samba_parse_security(value, size, descriptor);
  if (length > 0)
    take_security(metadata, descriptor, length, lost);
  else
    lost[METADATA_SECURITY]++;
  free(descriptor);
}

/* Names that Samba keeps for itself. */
static bool is_private(const char *name) {
  static const char *const names[] = {"user.DOSATTRIB",  "user.DosAttrib",    "user.DosEAs",
                                      "user.DosStream",  "user.NTACL",        "user.SAMBA_PAI",
                                      "user.SmbReparse", "user.org.netatalk."};
  const char *rest;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (starts_with(name, names[i], &rest))
      return true;
  return false;
}

/* "NAME:$DATA"; Samba adds a zero, for an empty stream's sake.  Takes the value over. */
static void take_samba_stream(struct metadata *metadata, const char *name, uint8_t *value,
                              size_t size) {
  static const char suffix[] = ":$DATA";
  size_t length = strlen(name), tail = sizeof suffix - 1;
  if (length > tail && strcmp(name + length - tail, suffix) == 0)
    length -= tail;
  metadata_add_stream(metadata, name, length, NULL, value, size - 1);
}

void metadata_take_samba(struct metadata *metadata, const char *name, void *value, size_t size,
                         unsigned lost[METADATA_PARTS]) {
  const char *rest;
  if (strcmp(name, "user.DOSATTRIB") == 0) {
    if (!take_samba_attributes(metadata, value, size))
      lost[METADATA_ATTRIBUTES]++;
  } else if (strcmp(name, "security.NTACL") == 0 || strcmp(name, "user.NTACL") == 0) {
    take_samba_security(metadata, value, size, lost);
  } else if (strcmp(name, "user.SmbReparse") == 0) {
    metadata->reparse = value;
    metadata->reparse_length = size;
    return;
  } else if (starts_with(name, "user.DosStream.", &rest)) {
    take_samba_stream(metadata, rest, value, size);
    return;
  } else if (starts_with(name, "user.", &rest) && !is_private(name)) {
    metadata_add_ea(metadata, rest, strlen(rest), 0, value, size);
    return;
  }
  free(value);
}

static void read_samba(int descriptor, struct metadata *metadata, unsigned lost[METADATA_PARTS]) {
  size_t size = 0, length;
  char *names = get_names(descriptor, &size);
  const char *rest;
  for (const char *name = names; name < names + size; name += strlen(name) + 1) {
    if (!starts_with(name, "user.", &rest) && strcmp(name, "security.NTACL") != 0)
      continue;
    uint8_t *value = get_value(descriptor, name, &length);
    if (value)
      metadata_take_samba(metadata, name, value, length, lost);
  }
  free(names);
}

int metadata_read_local(int descriptor, enum metadata_form form, struct metadata *metadata,
                        unsigned lost[METADATA_PARTS]) {
  if (form == METADATA_FORM_SAMBA)
    read_samba(descriptor, metadata, lost);
  else if (form != METADATA_FORM_NONE)
    read_ntfs(descriptor, form == METADATA_FORM_NTFS3, metadata, lost);
  return 0;
}

/* ----------------------------------------------------------------- writing */

static void put(int descriptor, const char *name, const void *value, size_t size,
                enum metadata_part part, unsigned lost[METADATA_PARTS]) {
  if (strlen(name) > LARGEST_NAME || size > LARGEST_VALUE ||
      fsetxattr(descriptor, name, value, size, 0) < 0)
    lost[part]++;
}

/* The contents with extra zero bytes, the caller's to free; NULL if an attribute cannot hold it. */
static char *stream_contents(const struct metadata_stream *stream, size_t extra) {
  if (stream->size + extra > LARGEST_VALUE)
    return NULL;
  char *contents = allocate((size_t)stream->size + extra);
  if (stream->node &&
      casefs_read(stream->node, contents, (size_t)stream->size, 0) != (int64_t)stream->size) {
    free(contents);
    return NULL;
  }
  if (!stream->node && stream->size > 0)
    memcpy(contents, stream->data, (size_t)stream->size);
  return contents;
}

static void write_streams(int descriptor, const struct metadata *metadata, bool samba,
                          unsigned lost[METADATA_PARTS]) {
  for (size_t i = 0; i < metadata->stream_count; i++) {
    const struct metadata_stream *stream = &metadata->streams[i];
    char *contents = stream_contents(stream, samba);
    char *name = formatted(samba ? "user.DosStream.%s:$DATA" : "user.%s", stream->name);
    if (contents)
      put(descriptor, name, contents, (size_t)stream->size + samba, METADATA_STREAM, lost);
    else
      lost[METADATA_STREAM]++;
    free(name);
    free(contents);
  }
}

static void write_ntfs(int descriptor, bool ntfs3, const struct metadata *metadata,
                       unsigned lost[METADATA_PARTS]) {
  uint64_t times[3] = {metadata->created, metadata->modified, metadata->accessed};
  size_t size;
  void *eas = metadata_list_eas(metadata, true, &size);
  if (metadata->security_length)
    put(descriptor, ntfs3 ? "system.ntfs_security" : "system.ntfs_acl", metadata->security,
        metadata->security_length, METADATA_SECURITY, lost);
  if (eas)
    put(descriptor, "system.ntfs_ea", eas, size, METADATA_EA, lost);
  free(eas);
  write_streams(descriptor, metadata, false, lost);
  if (metadata->reparse_length)
    put(descriptor, "system.ntfs_reparse_data", metadata->reparse, metadata->reparse_length,
        METADATA_REPARSE, lost);
  if (metadata->has_dos_attributes)
    put(descriptor, "system.ntfs_attrib", &metadata->dos_attributes,
        sizeof metadata->dos_attributes, METADATA_ATTRIBUTES, lost);
  if (metadata->has_times)
    put(descriptor, "system.ntfs_times", times, sizeof times, METADATA_ATTRIBUTES, lost);
}

static void write_samba_security(int descriptor, const struct metadata *metadata,
                                 unsigned lost[METADATA_PARTS]) {
  size_t size = SAMBA_SECURITY_HEADER + metadata->security_length;
  void *value = allocate(size);
  samba_write_security(metadata->security, metadata->security_length, value);
  put(descriptor, "security.NTACL", value, size, METADATA_SECURITY, lost);
  free(value);
}

static void write_samba_attributes(int descriptor, const struct metadata *metadata,
                                   unsigned lost[METADATA_PARTS]) {
  const struct samba_attributes attributes = {true, true, metadata->dos_attributes,
                                              metadata->created};
  uint8_t value[SAMBA_ATTRIBUTES_ROOM];
  size_t size = samba_write_attributes(&attributes, false, value);
  put(descriptor, "user.DOSATTRIB", value, size, METADATA_ATTRIBUTES, lost);
}

static void write_samba(int descriptor, const struct metadata *metadata,
                        unsigned lost[METADATA_PARTS]) {
  if (metadata->security_length)
    write_samba_security(descriptor, metadata, lost);
  for (size_t i = 0; i < metadata->ea_count; i++) {
    char *name = formatted("user.%s", metadata->eas[i].name);
    if (is_private(name))
      lost[METADATA_EA]++;
    else
      put(descriptor, name, metadata->eas[i].value, metadata->eas[i].length, METADATA_EA, lost);
    free(name);
  }
  write_streams(descriptor, metadata, true, lost);
  if (metadata->reparse_length)
    put(descriptor, "user.SmbReparse", metadata->reparse, metadata->reparse_length,
        METADATA_REPARSE, lost);
  if (metadata->has_dos_attributes || metadata->has_times)
    write_samba_attributes(descriptor, metadata, lost);
}

void metadata_write_local(int descriptor, enum metadata_form form, const struct metadata *metadata,
                          unsigned lost[METADATA_PARTS]) {
  if (form == METADATA_FORM_SAMBA)
    write_samba(descriptor, metadata, lost);
  else if (form != METADATA_FORM_NONE)
    write_ntfs(descriptor, form == METADATA_FORM_NTFS3, metadata, lost);
}
