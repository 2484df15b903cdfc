/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What Samba and Wine ask for: attributes and the time of creation, and the security descriptor.
 */

#include "xattr-parts.h"

#include "../casefs/samba-blobs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { HIDDEN = 0x2, SYSTEM = 0x4, DIRECTORY = 0x10 };

/* ------------------------------------------------------------------ attributes
 *
 * Samba reads and sets a structure.  Wine reads values that begin with "0x" and a number, which the
 * structure has room for; it sets only that text, for the attributes HIDDEN and SYSTEM (others are
 * added), and removes it when there is neither. */

int dosattrib_get(const struct xattr_request *request, void *value, size_t size) {
  bool directory = request->attributes.type == CASEFS_DIRECTORY;
  const struct samba_attributes attributes = {
      .has_attributes = true,
      .has_created = true,
      .attributes = request->attributes.dos_attributes | (directory ? DIRECTORY : 0u),
      .created = request->attributes.created,
  };
  uint8_t bytes[SAMBA_ATTRIBUTES_ROOM];
  return hand_out(bytes, samba_write_attributes(&attributes, true, bytes), value, size);
}

/* "0x" and digits; perhaps a zero. */
static bool parse_text(const char *value, size_t size, uint32_t *number) {
  char text[16], *end;
  if (size < 3 || size >= sizeof text || memcmp(value, "0x", 2) != 0)
    return false;
  memcpy(text, value, size);
  text[size] = '\0';
  *number = (uint32_t)strtoul(text, &end, 16);
  return end > text + 2 && (size_t)(end - text) >= size - (text[size - 1] == '\0');
}

static int set_attributes(const struct xattr_request *request, uint32_t attributes) {
  const struct casefs_attributes to_set = {.dos_attributes = attributes & CASEFS_DOS_SETTABLE};
  return casefs_set_attributes(request->node, CASEFS_DOS_ATTRIBUTES, &to_set);
}

static int set_structure(const struct xattr_request *request,
                         const struct samba_attributes *attributes) {
  const struct casefs_attributes to_set = {
      .dos_attributes = attributes->attributes & CASEFS_DOS_SETTABLE,
      .created = attributes->created,
  };
  unsigned mask = (attributes->has_attributes ? (unsigned)CASEFS_DOS_ATTRIBUTES : 0) |
                  (attributes->has_created ? (unsigned)CASEFS_CREATED : 0);
  return casefs_set_attributes(request->node, mask, &to_set);
}

int dosattrib_set(const struct xattr_request *request, const void *value, size_t size, int flags) {
  struct samba_attributes attributes;
  uint32_t text, kept = request->attributes.dos_attributes & ~(uint32_t)(HIDDEN | SYSTEM);
  int r = check_flags(true, flags);
  if (r < 0)
    return r;
  if (parse_text(value, size, &text))
    return set_attributes(request, kept | text);
  if (samba_parse_attributes(value, size, &attributes))
    return set_structure(request, &attributes);
  return -EINVAL;
}

int dosattrib_remove(const struct xattr_request *request) {
  return set_attributes(request, request->attributes.dos_attributes & ~(uint32_t)(HIDDEN | SYSTEM));
}

/* -------------------------------------------------------------------- security
 *
 * The value that was set is kept, with Samba's checksums, beside the descriptor, and told as long
 * as the node has that descriptor. */

/* A value in memory that the caller frees; its length, or an error. */
static int get_all(casefs_node *node, int (*get)(casefs_node *, void *, size_t), size_t before,
                   uint8_t **bytes) {
  int length;
  *bytes = NULL;
  do {
    free(*bytes);
    *bytes = NULL;
    length = get(node, NULL, 0);
    if (length < 0)
      return length;
    *bytes = malloc(before + (size_t)length + 1);
    if (!*bytes)
      return -ENOMEM;
    length = get(node, *bytes + before, (size_t)length + 1);
  } while (length == -ERANGE);
  if (length < 0) {
    free(*bytes);
    *bytes = NULL;
  }
  return length;
}

static int get_kept(casefs_node *node, void *value, size_t size) {
  return xattr_get_kept(node, NTACL, value, size);
}

/* 1 if a value has that descriptor, or none at all: then it is nobody's but its own. */
static int fits(const uint8_t *blob, size_t size, const uint8_t *descriptor, size_t length) {
  uint8_t *parsed = malloc(size + 1);
  if (!parsed)
    return -ENOMEM;
  size_t parsed_length = samba_parse_security(blob, size, parsed);
  bool same = parsed_length == length && length > 0 && memcmp(parsed, descriptor, length) == 0;
  free(parsed);
  return parsed_length == 0 || same;
}

/* The value of a node with that descriptor behind SAMBA_SECURITY_HEADER bytes, or without one
 * (length -ENODATA). */
static int choose(const struct xattr_request *request, uint8_t *made_up, int length, void *value,
                  size_t size) {
  size_t known = length > 0 ? (size_t)length : 0;
  const uint8_t *descriptor = made_up ? made_up + SAMBA_SECURITY_HEADER : NULL;
  uint8_t *kept;
  int kept_length = get_all(request->node, get_kept, 0, &kept);
  int r = kept_length >= 0 ? fits(kept, (size_t)kept_length, descriptor, known) : kept_length;
  if (r > 0) {
    r = hand_out(kept, (size_t)kept_length, value, size);
  } else if (r == 0 || r == -ENODATA) {
    r = length < 0 ? -ENODATA : 0;
    if (r == 0) {
      samba_write_security(descriptor, known, made_up);
      r = hand_out(made_up, SAMBA_SECURITY_HEADER + known, value, size);
    }
  }
  free(kept);
  return r;
}

int ntacl_get(const struct xattr_request *request, void *value, size_t size) {
  uint8_t *made_up;
  if (!request->attributes.has_security && !may_keep(&request->attributes))
    return -ENODATA;
  int length = get_all(request->node, casefs_get_security, SAMBA_SECURITY_HEADER, &made_up);
  if (length < 0 && length != -ENODATA)
    return length;
  int r = choose(request, made_up, length, value, size);
  free(made_up);
  return r;
}

/* The descriptor of a value, if it has one. */
static int set_descriptor(const struct xattr_request *request, const void *value, size_t size) {
  uint8_t *descriptor = malloc(size + 1);
  if (!descriptor)
    return -ENOMEM;
  size_t length = samba_parse_security(value, size, descriptor);
  int r = length > 0 ? casefs_set_security(request->node, descriptor, length) : 0;
  free(descriptor);
  return r;
}

int ntacl_set(const struct xattr_request *request, const void *value, size_t size, int flags) {
  if (size > XATTR_LARGEST)
    return -E2BIG;
  if (flags != 0) {
    int there = ntacl_get(request, NULL, 0);
    if (there < 0 && there != -ENODATA)
      return there;
    there = check_flags(there >= 0, flags);
    if (there < 0)
      return there;
  }
  int r = set_descriptor(request, value, size);
  return r == 0 ? xattr_set_kept(request->node, NTACL, value, size) : r;
}

int ntacl_remove(const struct xattr_request *request) {
  int kept = xattr_remove_kept(request->node, NTACL);
  if (kept < 0 && kept != -ENODATA)
    return kept;
  return request->attributes.has_security ? casefs_set_security(request->node, NULL, 0) : kept;
}
