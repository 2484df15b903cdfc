/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What is text: UTF-8, and the control characters in it.
 */

#ifndef SECTORS_UTF8_H
#define SECTORS_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The length of the UTF-8 sequence that text begins with; 0 if it is none
 * (RFC 3629: no overlong forms, no surrogates, nothing past U+10FFFF). */
static inline size_t utf8_length(const unsigned char *text) {
  static const struct {
    unsigned char mask, lead;
    uint32_t smallest;
  } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
  for (size_t length = 1; length <= 4; length++) {
    if ((text[0] & forms[length - 1].mask) != forms[length - 1].lead)
      continue;
    uint32_t point = text[0] & (unsigned char)~forms[length - 1].mask;
    for (size_t i = 1; i < length; i++) {
      if ((text[i] & 0xc0) != 0x80)
        return 0;
      point = point << 6 | (text[i] & 0x3f);
    }
    bool valid = point >= forms[length - 1].smallest && point <= 0x10ffff &&
                 (point < 0xd800 || point > 0xdfff);
    return valid ? length : 0;
  }
  return 0;
}

/* Whether text begins with a control character, U+0080 to U+009F (as which a
 * terminal understands them too) among them. */
static inline bool utf8_is_control(const unsigned char *text) {
  return text[0] < 0x20 || text[0] == 0x7f ||
         (text[0] == 0xc2 && text[1] >= 0x80 && text[1] < 0xa0);
}

#endif
