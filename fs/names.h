/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Names: WTF-8 of at most 255 UTF-16 units, compared without case by the upcase
 * table of Windows 7 to 10, one UTF-16 unit to one, without normalization.
 */

#ifndef CASEFS_NAMES_H
#define CASEFS_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAME_MAX_FOLDED 765u /* bytes that the fold of a name can take */

#define FOLD_WINDOWS_7 1u /* fold id in the superblock: the table of Windows 7 to 10 */

/* Whether these bytes can name an entry of a directory: 0; -EINVAL (empty, "." or "..", with '/' or
 * NUL), -EILSEQ (not WTF-8), -ENAMETOOLONG (more than 255 UTF-16 units). */
int name_check(const char *name, size_t length);

/* The same for a named stream, where ':' and '\\' are not allowed either. */
int stream_name_check(const char *name, size_t length);

/* The number of UTF-16 units of WTF-8 text, or -EILSEQ. */
int64_t utf16_units(const char *text, size_t length);

/* Fold a name that name_check has passed; folded has room for NAME_MAX_FOLDED bytes.
 * Returns the length of the fold. */
size_t name_fold(const char *name, size_t length, char *folded);

/* One code point of WTF-8, unpaired surrogates included; returns how many bytes it takes, or 0 if
 * they are not WTF-8 (or length is 0).  Two surrogates that make a pair are for the caller to
 * refuse: surrogate_pair. */
size_t wtf8_decode(const char *text, size_t length, uint32_t *code_point);

/* Write a code point (at most U+10FFFF); returns how many bytes it takes. */
size_t wtf8_encode(uint32_t code_point, char bytes[4]);

/* Whether two code points in a row are the halves of one: WTF-8 has that one, never the halves. */
static inline bool surrogate_pair(uint32_t first, uint32_t second) {
  return first >> 10 == 0xd800 >> 10 && second >> 10 == 0xdc00 >> 10;
}

/* The upper case of one UTF-16 unit, by that table. */
uint16_t fold_unit(uint16_t unit);

/* The table as a volume keeps it (FORMAT.md, "Fold table"): runs of mappings.  Returns the length,
 * at most FOLD_TABLE_MAX. */
#define FOLD_TABLE_MAX 2048u
size_t fold_table_encode(uint8_t buffer[FOLD_TABLE_MAX]);

#endif
