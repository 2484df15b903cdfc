/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What Samba keeps in extended attributes, as its marshalling lays it out; integers are
 * little-endian.  Takes no memory, so that servers can use it too.
 */

#ifndef CASEFS_SAMBA_BLOBS_H
#define CASEFS_SAMBA_BLOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* user.DOSATTRIB */
struct samba_attributes {
  bool has_attributes, has_created;
  uint32_t attributes; /* FILE_ATTRIBUTE_* */
  uint64_t created;    /* 100 ns since 1601 */
};

enum { SAMBA_ATTRIBUTES_ROOM = 32 };

/* Versions 3 to 5; false if it is malformed or of another. */
bool samba_parse_attributes(const void *value, size_t size, struct samba_attributes *attributes);
/* Version 5; returns the size.  with_text: the attributes stand before it as text too, "0x22",
 * which is all that Wine reads. */
size_t samba_write_attributes(const struct samba_attributes *attributes, bool with_text,
                              uint8_t value[SAMBA_ATTRIBUTES_ROOM]);

/* security.NTACL: a security descriptor whose offsets count from the beginning of the attribute,
 * behind a header, which from version 2 on has checksums of what else was there. */
enum { SAMBA_SECURITY_HEADER = 8 }; /* bytes of version 1 */

/* The descriptor in one of version 1 to 4, self-relative, to a buffer of size bytes (size: of the
 * value).  Returns its length, or 0 if the value is malformed. */
size_t samba_parse_security(const void *value, size_t size, void *descriptor);
/* Version 1, of a descriptor that casefs_security_check has passed: SAMBA_SECURITY_HEADER + length
 * bytes. */
void samba_write_security(const void *descriptor, size_t length, void *value);

#endif
