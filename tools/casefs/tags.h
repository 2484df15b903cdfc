/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reparse points ([MS-FSCC] 2.1.2): names of tags, and where links lead.
 */

#ifndef CASEFS_TAGS_H
#define CASEFS_TAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TAG_MOUNT_POINT 0xA0000003u
#define TAG_SYMLINK 0xA000000Cu
#define TAG_LX_SYMLINK 0xA000001Du

/* "symlink", "junction", ...; NULL if the tag is not known. */
const char *tag_name(uint32_t tag);
/* Whether the tag is Microsoft's; others are followed by a GUID. */
bool tag_is_microsoft(uint32_t tag);

/* What a well-formed buffer says. */
struct reparse {
  uint32_t tag;
  const uint8_t *guid; /* 16 bytes, or NULL */
  const uint8_t *data;
  size_t length;    /* of data */
  char *substitute; /* links: where to, for the system; WTF-8; freed by reparse_clear */
  char *print;      /* links: where to, for people; may be empty */
  bool relative;    /* symlinks */
};
/* Returns false if the buffer is too short for what it says. */
bool reparse_decode(const uint8_t *buffer, size_t size, struct reparse *reparse);
void reparse_clear(struct reparse *reparse);

/* A buffer of a symlink or junction to that target (WTF-8), the caller's to free; NULL if the
 * target is not WTF-8 or too long.  An absolute target begins with a drive letter, as in "C:\x",
 * or two backslashes. */
uint8_t *reparse_make(uint32_t tag, const char *target, size_t *size);
/* Whether a target is absolute, in that sense. */
bool target_is_absolute(const char *target);

#endif
