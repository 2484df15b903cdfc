/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which bytes are a well-formed self-relative security descriptor ([MS-DTYP]
 * 2.4.6).  Form only: neither who may do what, nor whether it makes sense.
 * What the specification has readers ignore is not looked at: reserved bytes,
 * slack at the end of ACLs and ACEs, control bits without a part they are of.
 */

#include "casefs.h"
#include "windows.h"

#include <errno.h>

size_t sid_size(const uint8_t *sid, size_t length) { /* [MS-DTYP] 2.4.2.2 */
  if (length < SID_HEADER || sid[0] != 1 || sid[1] > SID_MAX_SUBAUTHORITIES)
    return 0;
  size_t size = SID_HEADER + 4 * (size_t)sid[1];
  return size <= length ? size : 0;
}

/* -------------------------------------------- resource attributes (claims) */

/* Where the zero that ends a UTF-16 string is, in bytes from its start; -1 if it is missing. */
static int64_t string_length(const uint8_t *string, size_t room) {
  for (size_t i = 0; i + 2 <= room; i += 2)
    if (field16(string + i) == 0)
      return (int64_t)i;
  return -1;
}

/* A value with its length before it: OCTET_STRING_RELATIVE, [MS-DTYP] 2.4.10.2. */
static bool counted_value(const uint8_t *at, size_t room, const uint8_t **value, size_t *length) {
  if (room < 4 || field32(at) > room - 4)
    return false;
  *value = at + 4;
  *length = field32(at);
  return true;
}

bool claim_value(const struct claim *claim, uint32_t index, const uint8_t **value, size_t *length) {
  uint32_t offset = field32(claim->data + CLAIM_HEADER + 4 * (size_t)index);
  if (offset > claim->length)
    return false;
  const uint8_t *at = claim->data + offset;
  size_t room = claim->length - offset;
  int64_t string;
  switch (claim->type) {
  case CLAIM_INT64:
  case CLAIM_UINT64:
  case CLAIM_BOOLEAN:
    *value = at;
    *length = 8;
    return room >= 8;
  case CLAIM_STRING:
    string = string_length(at, room);
    *value = at;
    *length = (size_t)string;
    return string >= 0;
  case CLAIM_SID:
    return counted_value(at, room, value, length) && sid_size(*value, *length) == *length &&
           *length != 0;
  case CLAIM_OCTETS:
    return counted_value(at, room, value, length);
  default:
    return false;
  }
}

/* All values are there.  Overlapping ones are refused, which nobody writes, since a small claim
 * could otherwise stand for a very large one. */
static bool claim_values_are_valid(const struct claim *claim) {
  size_t total = 0;
  for (uint32_t i = 0; i < claim->count; i++) {
    const uint8_t *value;
    size_t length;
    if (!claim_value(claim, i, &value, &length))
      return false;
    total += length;
    if (total > claim->length)
      return false;
  }
  return true;
}

bool claim_read(const uint8_t *data, size_t length, struct claim *claim) {
  if (length < CLAIM_HEADER)
    return false;
  *claim = (struct claim){.data = data,
                          .length = length,
                          .type = field16(data + 4),
                          .flags = field32(data + 8),
                          .count = field32(data + 12)};
  uint32_t name = field32(data);
  if (claim->count > (length - CLAIM_HEADER) / 4 || name > length)
    return false;
  int64_t name_length = string_length(data + name, length - name);
  if (name_length < 0)
    return false;
  claim->name = data + name;
  claim->name_length = (size_t)name_length;
  switch (claim->type) {
  case CLAIM_INT64:
  case CLAIM_UINT64:
  case CLAIM_STRING:
  case CLAIM_SID:
  case CLAIM_BOOLEAN:
  case CLAIM_OCTETS:
    return claim_values_are_valid(claim);
  default:
    return false;
  }
}

/* ------------------------------------------------------------------ ACEs */

bool ace_type_has_objects(uint8_t type) {
  switch (type) {
  case ACE_ALLOWED_OBJECT:
  case ACE_DENIED_OBJECT:
  case ACE_AUDIT_OBJECT:
  case ACE_ALARM_OBJECT:
  case ACE_ALLOWED_CALLBACK_OBJECT:
  case ACE_DENIED_CALLBACK_OBJECT:
  case ACE_AUDIT_CALLBACK_OBJECT:
  case ACE_ALARM_CALLBACK_OBJECT:
    return true;
  default:
    return false;
  }
}

static bool ace_type_is_known(uint8_t type) {
  return type <= ACE_ACCESS_FILTER && type != 4; /* 4: compound, of other systems than Windows */
}

/* The GUID at *at, if it is announced; false if it does not fit. */
static bool read_guid(const uint8_t *bytes, size_t length, size_t *at, bool announced,
                      const uint8_t **guid) {
  if (!announced)
    return true;
  if (length - *at < 16)
    return false;
  *guid = bytes + *at;
  *at += 16;
  return true;
}

/* The flags of an object ACE and the GUIDs they announce ([MS-DTYP] 2.4.4.3), at *at. */
static bool read_object_types(const uint8_t *bytes, size_t length, size_t *at, struct ace *ace) {
  if (length - *at < 4)
    return false;
  uint32_t flags = field32(bytes + *at);
  *at += 4;
  return (flags & ~(ACE_OBJECT_TYPE_PRESENT | ACE_INHERITED_OBJECT_TYPE_PRESENT)) == 0 &&
         read_guid(bytes, length, at, flags & ACE_OBJECT_TYPE_PRESENT, &ace->object_type) &&
         read_guid(bytes, length, at, flags & ACE_INHERITED_OBJECT_TYPE_PRESENT,
                   &ace->inherited_type);
}

bool ace_read(const uint8_t *bytes, size_t length, struct ace *ace) {
  if (length < 4 || length % 4 != 0 || field16(bytes + 2) != length)
    return false;
  *ace = (struct ace){.type = bytes[0], .flags = bytes[1], .known = ace_type_is_known(bytes[0])};
  if (!ace->known)
    return true;
  size_t at = 8;
  if (length < at)
    return false;
  ace->mask = field32(bytes + 4);
  if (ace_type_has_objects(ace->type) && !read_object_types(bytes, length, &at, ace))
    return false;
  size_t size = sid_size(bytes + at, length - at);
  if (size == 0)
    return false;
  ace->sid = bytes + at;
  ace->data = bytes + at + size;
  ace->data_length = length - at - size;
  struct claim claim;
  return ace->type != ACE_RESOURCE_ATTRIBUTE || claim_read(ace->data, ace->data_length, &claim);
}

static bool acl_is_valid(const uint8_t *acl, size_t room) { /* [MS-DTYP] 2.4.5 */
  if (room < ACL_HEADER || (acl[0] != ACL_REVISION && acl[0] != ACL_REVISION_OBJECTS))
    return false;
  size_t size = field16(acl + 2), at = ACL_HEADER;
  if (size < ACL_HEADER || size > room)
    return false;
  for (uint16_t count = field16(acl + 4); count > 0; count--) {
    struct ace ace;
    if (size - at < 4)
      return false;
    size_t length = field16(acl + at + 2);
    if (length > size - at || !ace_read(acl + at, length, &ace))
      return false;
    at += length;
  }
  return true;
}

/* ----------------------------------------------------------- descriptors */

/* Where a part may be: after the header, aligned. */
static bool offset_is_valid(uint32_t offset, size_t length) {
  return offset >= SECURITY_HEADER && offset % 4 == 0 && offset < length;
}

/* A SID that need not be there. */
static bool optional_sid_is_valid(const uint8_t *descriptor, size_t length, uint32_t offset) {
  return offset == 0 ||
         (offset_is_valid(offset, length) && sid_size(descriptor + offset, length - offset) != 0);
}

/* An ACL: without its control bit there must be none; with it, no offset means no restriction. */
static bool optional_acl_is_valid(const uint8_t *descriptor, size_t length, uint32_t offset,
                                  bool present) {
  return offset == 0 || (present && offset_is_valid(offset, length) &&
                         acl_is_valid(descriptor + offset, length - offset));
}

int casefs_security_check(const void *descriptor, size_t length) {
  const uint8_t *bytes = descriptor;
  if (length < SECURITY_HEADER || length > CASEFS_MAX_SECURITY || bytes[0] != 1)
    return -EINVAL;
  uint16_t control = field16(bytes + 2);
  bool valid =
      (control & CONTROL_SELF_RELATIVE) != 0 &&
      optional_sid_is_valid(bytes, length, field32(bytes + 4)) &&
      optional_sid_is_valid(bytes, length, field32(bytes + 8)) &&
      optional_acl_is_valid(bytes, length, field32(bytes + 12), control & CONTROL_SACL_PRESENT) &&
      optional_acl_is_valid(bytes, length, field32(bytes + 16), control & CONTROL_DACL_PRESENT);
  return valid ? 0 : -EINVAL;
}
