/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Spellings of a name: ASCII letters and the two-byte ones of Latin-1, such as "ä", in upper and
 * lower case.
 */

#ifndef MOUNT_SPELLINGS_H
#define MOUNT_SPELLINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SPELLING = 64 };

/* The place of the byte in which the two cases of the letter at text differ (by 0x20), or -1. */
static inline int letter_place(const char *text) {
  unsigned char first = (unsigned char)text[0], second = first ? (unsigned char)text[1] : 0;
  if ((first >= 'a' && first <= 'z') || (first >= 'A' && first <= 'Z'))
    return 0;
  /* U+00C0 to U+00DE and U+00E0 to U+00FE, but for the signs of multiplication and division. */
  unsigned char low = second & 0x9f;
  return first == 0xc3 && low >= 0x80 && low <= 0x9e && low != 0x97 ? 1 : -1;
}

/* The name with those letters in upper case whose bit (modulo 64) is set, the others in lower. */
static inline void spell(char out[SPELLING], const char *name, uint64_t upper) {
  size_t i = 0, letter = 0;
  while (name[i] && i + 1 < SPELLING) {
    int place = letter_place(name + i);
    out[i] = name[i];
    if (place >= 0 && i + (size_t)place + 1 < SPELLING) {
      size_t at = i + (size_t)place;
      char byte = (char)(name[at] | 0x20);
      if (upper >> (letter++ % 64) & 1)
        byte = (char)(byte & ~0x20);
      out[at] = byte;
      i = at;
    }
    i++;
  }
  out[i] = 0;
}

/* Whether two names are spellings of the same one. */
static inline bool same_name(const char *left, const char *right) {
  size_t i = 0;
  while (left[i] && right[i]) {
    int place = letter_place(left + i), other = letter_place(right + i);
    if (place != other)
      return false;
    if (place == 1)
      i++;
    if (place >= 0 ? (left[i] | 0x20) != (right[i] | 0x20) : left[i] != right[i])
      return false;
    i++;
  }
  return left[i] == right[i];
}

#endif
