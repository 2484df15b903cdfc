/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Sizes, times, names and attributes as people write and read them.
 */

#ifndef CASEFS_TEXT_H
#define CASEFS_TEXT_H

#include "../../fs/casefs.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

/* ------------------------------------------------------------------- sizes */

enum { SIZE_TEXT = 24 };

/* "4096", "4K", "1.5T", "10GiB": up to CASEFS_MAX_SIZE; K is 1024. */
bool parse_size(const char *text, uint64_t *bytes);
/* "OFFSET:LENGTH", both as above. */
bool parse_range(const char *text, uint64_t *offset, uint64_t *count);
/* At most three digits and a unit, like 1.2G; or, not human, all digits. */
const char *size_text(uint64_t bytes, bool human, char buffer[SIZE_TEXT]);

/* A decimal number up to limit, nothing else. */
bool parse_number(const char *text, uint64_t limit, uint64_t *number);

/* ------------------------------------------------------------------- times */

/* Counts of 100 ns since 1601, as the library has them. */

enum { TIME_TEXT = 64 };

/* "now"; "@SECONDS" since 1970, with a fraction, perhaps negative; or ISO 8601:
 * YYYY-MM-DD[(T or space)HH:MM[:SS[.FRACTION]]][Z or +HH[:MM] or -HH[:MM]], local time without
 * the last part. */
bool parse_time(const char *text, uint64_t *time);
/* ISO 8601 in UTC, exact: 2024-05-01T12:34:56.1234567Z. */
const char *time_iso(uint64_t time, char buffer[TIME_TEXT]);
/* Local time: exact, 2024-05-01 12:34:56.1234567 +0200; or to the minute. */
const char *time_local(uint64_t time, bool exact, char buffer[TIME_TEXT]);
struct timespec time_to_unix(uint64_t time);
uint64_t time_from_unix(struct timespec time); /* clamped to what the unit can say */

/* ------------------------------------------------------------------- names */

/* Decode one character of WTF-8 text: its bytes, at least 1 of length, which is at least 1.  A
 * surrogate is a character of its own.  Where the text is not WTF-8, one byte and NOT_A_CHARACTER.
 */
#define NOT_A_CHARACTER UINT32_MAX
size_t decode_character(const char *text, size_t length, uint32_t *character);

/* A copy, the caller's to free, in which control characters and what is not UTF-8 are escaped:
 * \n, \x1B, \uD800. */
char *displayable(const char *text, size_t length);
/* Columns that displayable text takes on a terminal. */
size_t display_width(const char *text);
/* Print a name: displayable if the stream is a terminal, else as it is. */
void print_name(FILE *stream, const char *name, size_t length);

/* WTF-8 to UTF-16, little-endian bytes, and back; the caller frees.  *size: bytes.
 * wtf8_from_utf16 is never wrong; utf16_from_wtf8 returns NULL where the text is not WTF-8. */
uint8_t *utf16_from_wtf8(const char *text, size_t length, size_t *size);
char *wtf8_from_utf16(const uint8_t *bytes, size_t size);

/* "0A1b" to bytes (spaces allowed between pairs), the caller's to free, or NULL. */
uint8_t *parse_hex(const char *text, size_t *size);
/* Bytes to hexadecimal digits; the caller frees. */
char *hex_text(const void *bytes, size_t size);
/* Rows of 16 bytes: offset, hexadecimal, characters. */
void print_hex_rows(const void *bytes, size_t size);
/* 8-4-4-4-12 as RFC 9562 has it, 37 bytes with the zero. */
const char *uuid_text(const uint8_t uuid[16], char buffer[37]);

/* -------------------------------------------------------------- attributes */

const char *type_name(enum casefs_type type); /* "file", "directory", "character-device"... */
/* Of the S_IFMT bits of a mode; anything unknown is a file. */
enum casefs_type type_of_mode(uint32_t mode);
bool parse_type(const char *text, enum casefs_type *type); /* a name, or a letter of find(1) */

/* "drwxr-xr-x", 11 bytes with the zero. */
const char *mode_text(const struct casefs_attributes *attributes, char buffer[11]);

/* FILE_ATTRIBUTE_* that can be set, one letter each: RHSATOI, those that are set, 8 bytes with the
 * zero; "-" if there are none. */
enum { DOS_TEXT = 8 };
const char *dos_text(uint32_t attributes, char buffer[DOS_TEXT]);
/* The bit of a letter, either case, or 0. */
uint32_t dos_attribute(char letter);
/* Of the i-th letter: its bit and name ("hidden"); NULL at the end. */
const char *dos_attribute_name(unsigned i, uint32_t *bit);

#endif
