/* SPDX-License-Identifier: BSD-3-Clause */

#include "names.h"

#include "casefs.h"
#include "fold-table.h"

#include <errno.h>
#include <string.h>

/* -------------------------------------------------- eight ASCII bytes at once */

#define EACH UINT64_C(0x0101010101010101) /* times a byte: that byte eight times */
#define HIGH (EACH * 0x80)

static uint64_t load8(const char *bytes) {
  uint64_t word;
  memcpy(&word, bytes, 8);
  return word;
}

static uint32_t load4(const char *bytes) {
  uint32_t word;
  memcpy(&word, bytes, 4);
  return word;
}

/* One to seven bytes, some of them twice, in a word. */
static uint64_t load_few(const char *bytes, size_t length) {
  if (length >= 4)
    return load4(bytes) | (uint64_t)load4(bytes + length - 4) << 32;
  uint64_t first = (uint8_t)bytes[0];
  uint64_t middle = (uint8_t)bytes[length / 2], last = (uint8_t)bytes[length - 1];
  return first * (EACH << 16) | middle << 8 | last;
}

/* Nonzero if a byte of the word is zero. */
static uint64_t zero_byte(uint64_t word) {
  return (word - EACH) & ~word & HIGH;
}

/* Nonzero if a byte of the word is not ASCII, or cannot be in a name. */
static uint64_t unusual_byte(uint64_t word) {
  return (word & HIGH) | zero_byte(word) | zero_byte(word ^ EACH * '/');
}

/* The upper case of eight ASCII bytes.  No byte overflows into the next: they are all below 128. */
static uint64_t upper8(uint64_t word) {
  uint64_t from_a = word + EACH * (0x80 - 'a');
  uint64_t after_z = word + EACH * (0x80 - 'z' - 1);
  return word ^ (from_a & ~after_z & HIGH) >> 2;
}

static bool usual_name(const char *name, size_t length) {
  if (length < 8)
    return unusual_byte(load_few(name, length)) == 0;
  uint64_t unusual = unusual_byte(load8(name + length - 8));
  for (size_t i = 0; i + 8 < length; i += 8)
    unusual |= unusual_byte(load8(name + i));
  return unusual == 0;
}

/* ----------------------------------------------------------------- WTF-8 */

static bool continues(uint8_t byte) {
  return (byte & 0xc0) == 0x80;
}

/* The Unicode Standard, table 3-7, but with the surrogates. */
size_t wtf8_decode(const char *text, size_t length, uint32_t *code_point) {
  const uint8_t *bytes = (const uint8_t *)text;
  if (length == 0)
    return 0;
  uint8_t lead = bytes[0];
  if (lead < 0x80) {
    *code_point = lead;
    return 1;
  }
  size_t size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (lead < 0xc2 || lead > 0xf4 || length < size)
    return 0;
  uint32_t c = lead & (0xffu >> (size + 1));
  for (size_t i = 1; i < size; i++) {
    if (!continues(bytes[i]))
      return 0;
    c = c << 6 | (bytes[i] & 0x3f);
  }
  if ((size == 3 && c < 0x800) || (size == 4 && (c < 0x10000 || c > 0x10ffff)))
    return 0;
  *code_point = c;
  return size;
}

size_t wtf8_encode(uint32_t code_point, char bytes[4]) {
  if (code_point < 0x80) {
    bytes[0] = (char)code_point;
    return 1;
  }
  size_t size = code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
  for (size_t i = size - 1; i > 0; i--) {
    bytes[i] = (char)(0x80 | (code_point & 0x3f));
    code_point >>= 6;
  }
  bytes[0] = (char)((0xf00u >> size & 0xf0u) | code_point);
  return size;
}

int64_t utf16_units(const char *text, size_t length) {
  int64_t units = 0;
  uint32_t c = 0, before = 0;
  for (size_t i = 0, size; i < length; i += size, before = c) {
    size = wtf8_decode(text + i, length - i, &c);
    if (size == 0 || surrogate_pair(before, c))
      return -EILSEQ;
    units += c < 0x10000 ? 1 : 2;
  }
  return units;
}

/* ----------------------------------------------------------------- names */

static bool is_dots(const char *name, size_t length) {
  return length <= 2 && name[0] == '.' && name[length - 1] == '.';
}

int name_check(const char *name, size_t length) {
  if (length == 0 || is_dots(name, length))
    return -EINVAL;
  if (length > CASEFS_MAX_NAME) /* whatever the bytes are */
    return -ENAMETOOLONG;
  int64_t units = (int64_t)length;
  if (!usual_name(name, length)) {
    if (memchr(name, '/', length) || memchr(name, '\0', length))
      return -EINVAL;
    units = utf16_units(name, length);
    if (units < 0)
      return (int)units;
  }
  return units <= CASEFS_MAX_NAME_UNITS ? 0 : -ENAMETOOLONG;
}

int stream_name_check(const char *name, size_t length) {
  int result = name_check(name, length);
  if (result == 0 && (memchr(name, ':', length) || memchr(name, '\\', length)))
    return -EINVAL;
  return result;
}

/* ----------------------------------------------------------------- fold */

uint16_t fold_unit(uint16_t unit) {
  return (uint16_t)(unit + fold_pages[fold_index[unit / FOLD_PAGE]][unit % FOLD_PAGE]);
}

/* Code point by code point.  Those outside the BMP are two surrogates each, which the table leaves
 * as they are. */
static size_t fold_any(const char *name, size_t length, char *folded) {
  size_t written = 0;
  for (size_t i = 0, size; i < length; i += size) {
    uint32_t c = 0;
    size = wtf8_decode(name + i, length - i, &c);
    if (size == 0) /* only if name_check was not asked */
      return written;
    written += wtf8_encode(c < 0x10000 ? fold_unit((uint16_t)c) : c, folded + written);
  }
  return written;
}

static size_t fold_few(const char *name, size_t length, char *folded) {
  size_t i = 0;
  for (; i < length && (uint8_t)name[i] < 0x80; i++)
    folded[i] = (char)(name[i] >= 'a' && name[i] <= 'z' ? name[i] - 'a' + 'A' : name[i]);
  return i + fold_any(name + i, length - i, folded + i);
}

size_t name_fold(const char *name, size_t length, char *folded) {
  if (length < 8)
    return fold_few(name, length, folded);
  for (size_t i = 0;;) {
    uint64_t word = load8(name + i);
    if (word & HIGH)
      return i + fold_any(name + i, length - i, folded + i);
    word = upper8(word);
    memcpy(folded + i, &word, 8);
    if (i + 8 == length)
      return length;
    i = i + 16 <= length ? i + 8 : length - 8; /* the last eight may overlap the ones before */
  }
}

static uint8_t *put16(uint8_t *at, uint16_t value) {
  at[0] = (uint8_t)value;
  at[1] = (uint8_t)(value >> 8);
  return at + 2;
}

_Static_assert(2 + 8 * FOLD_RUNS <= FOLD_TABLE_MAX, "the encoded table has room");

size_t fold_table_encode(uint8_t buffer[FOLD_TABLE_MAX]) {
  uint8_t *at = put16(buffer, FOLD_RUNS);
  for (size_t i = 0; i < FOLD_RUNS; i++) {
    at = put16(at, fold_runs[i].first);
    at = put16(at, fold_runs[i].count);
    at = put16(at, fold_runs[i].step);
    at = put16(at, fold_runs[i].delta);
  }
  return (size_t)(at - buffer);
}
