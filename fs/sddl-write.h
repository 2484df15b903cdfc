/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Writing descriptors as text: what sddl-write.c and sddl-write-condition.c need of
 * each other.
 */

#ifndef CASEFS_SDDL_WRITE_H
#define CASEFS_SDDL_WRITE_H

#include "sddl-words.h"

void sddl_write_sid(struct buffer *text, const uint8_t *sid);

/* UTF-16 in quotation marks; length is in bytes.  The grammar has no way to write a quotation mark
 * or a zero in it. */
void sddl_write_quoted(struct buffer *text, const uint8_t *units, size_t length);

/* One unit of an attribute's name: itself, or % and four hexadecimal digits. */
void sddl_write_name_unit(struct buffer *text, uint16_t unit, bool simple);

void sddl_write_octets(struct buffer *text, const uint8_t *octets, size_t length);

/* The condition of an ACE, from the bytes after its SID: in sddl-write-condition.c. */
void sddl_write_condition(struct buffer *text, const uint8_t *data, size_t length);

#endif
