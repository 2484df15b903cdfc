/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The rules of Windows' own structures: which bytes are well-formed.
 */

#ifndef CASEFS_WINDOWS_H
#define CASEFS_WINDOWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether a name may name an extended attribute ([MS-FSCC] 2.4.15): 1 to 255 bytes, none of the
 * characters that Windows forbids there: 0, -EINVAL or -ENAMETOOLONG. */
int ea_name_check(const char *name, size_t length);

/* Fold an attribute's name as Windows does (A-Z only), for comparing.  Same length. */
void ea_name_fold(const char *name, size_t length, char *folded);

/* Whether these bytes are a well-formed REPARSE_DATA_BUFFER or, for tags that are not
 * Microsoft's, REPARSE_GUID_DATA_BUFFER ([MS-FSCC] 2.1.2) that a node may carry: 0, -EINVAL (a
 * malformed field; a mount point on anything but a directory), -ENAMETOOLONG (over 16 KiB). */
int reparse_check(const void *data, size_t length, bool directory);

/* Of a buffer that reparse_check has passed. */
uint32_t reparse_tag(const void *data);

/* Whether a reparse point may be replaced or removed by one who gives this tag and GUID. */
bool reparse_same(const void *stored, uint32_t tag, const uint8_t guid[16]);

/* ---------------------------------------- parts of descriptors, for sddl-*.c */

/* SECURITY_DESCRIPTOR.Control, [MS-DTYP] 2.4.6 */
enum control {
  CONTROL_DACL_PRESENT = 0x0004,
  CONTROL_SACL_PRESENT = 0x0010,
  CONTROL_DACL_AUTO_INHERIT_REQUIRED = 0x0100,
  CONTROL_SACL_AUTO_INHERIT_REQUIRED = 0x0200,
  CONTROL_DACL_AUTO_INHERITED = 0x0400,
  CONTROL_SACL_AUTO_INHERITED = 0x0800,
  CONTROL_DACL_PROTECTED = 0x1000,
  CONTROL_SACL_PROTECTED = 0x2000,
  CONTROL_SELF_RELATIVE = 0x8000,
};

/* [MS-DTYP] 2.4.4.1, and winnt.h for the last two */
enum ace_type {
  ACE_ALLOWED = 0x00,
  ACE_DENIED = 0x01,
  ACE_AUDIT = 0x02,
  ACE_ALARM = 0x03,
  ACE_ALLOWED_OBJECT = 0x05,
  ACE_DENIED_OBJECT = 0x06,
  ACE_AUDIT_OBJECT = 0x07,
  ACE_ALARM_OBJECT = 0x08,
  ACE_ALLOWED_CALLBACK = 0x09,
  ACE_DENIED_CALLBACK = 0x0a,
  ACE_ALLOWED_CALLBACK_OBJECT = 0x0b,
  ACE_DENIED_CALLBACK_OBJECT = 0x0c,
  ACE_AUDIT_CALLBACK = 0x0d,
  ACE_ALARM_CALLBACK = 0x0e,
  ACE_AUDIT_CALLBACK_OBJECT = 0x0f,
  ACE_ALARM_CALLBACK_OBJECT = 0x10,
  ACE_MANDATORY_LABEL = 0x11,
  ACE_RESOURCE_ATTRIBUTE = 0x12,
  ACE_SCOPED_POLICY = 0x13,
  ACE_PROCESS_TRUST_LABEL = 0x14,
  ACE_ACCESS_FILTER = 0x15,
};

/* CLAIM_SECURITY_ATTRIBUTE_RELATIVE_V1.ValueType, [MS-DTYP] 2.4.10.1 */
enum claim_type {
  CLAIM_INT64 = 0x01,
  CLAIM_UINT64 = 0x02,
  CLAIM_STRING = 0x03,
  CLAIM_SID = 0x05,
  CLAIM_BOOLEAN = 0x06,
  CLAIM_OCTETS = 0x10,
};

#define SECURITY_HEADER 20u /* bytes of a descriptor before its parts */
#define ACL_HEADER 8u
#define ACL_REVISION 2u
#define ACL_REVISION_OBJECTS 4u /* with object ACEs */
#define ACE_OBJECT_TYPE_PRESENT 1u
#define ACE_INHERITED_OBJECT_TYPE_PRESENT 2u
#define SID_HEADER 8u
#define SID_MAX_SUBAUTHORITIES 15u
#define SID_MAX (SID_HEADER + 4 * SID_MAX_SUBAUTHORITIES)
#define CLAIM_HEADER 16u

struct ace {
  uint8_t type, flags;
  bool known; /* else only the two above are set */
  uint32_t mask;
  const uint8_t *object_type, *inherited_type; /* GUIDs, or NULL */
  const uint8_t *sid;
  const uint8_t *data; /* what follows the SID */
  size_t data_length;
};

struct claim {
  const uint8_t *data;
  size_t length;
  uint16_t type; /* enum claim_type */
  uint32_t flags, count;
  const uint8_t *name; /* UTF-16, little-endian */
  size_t name_length;  /* bytes, without the terminating zero */
};

/* The size of the SID at the start of these bytes, or 0 if none is there. */
size_t sid_size(const uint8_t *sid, size_t length);

/* Read an ACE that takes exactly these bytes; false if it is malformed. */
bool ace_read(const uint8_t *bytes, size_t length, struct ace *ace);

bool ace_type_has_objects(uint8_t type);

/* Read a resource attribute; false if it is malformed. */
bool claim_read(const uint8_t *data, size_t length, struct claim *claim);

/* A value of a claim that has been read: numbers are 8 bytes; strings come without their zero,
 * SIDs and octets without their length. */
bool claim_value(const struct claim *claim, uint32_t index, const uint8_t **value, size_t *length);

/* Little-endian fields at any address. */
static inline uint16_t field16(const uint8_t *field) {
  return (uint16_t)(field[0] | field[1] << 8);
}

static inline uint32_t field32(const uint8_t *field) {
  return field16(field) | (uint32_t)field16(field + 2) << 16;
}

static inline uint64_t field64(const uint8_t *field) {
  return field32(field) | (uint64_t)field32(field + 4) << 32;
}

#endif
