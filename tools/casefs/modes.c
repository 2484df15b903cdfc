/* SPDX-License-Identifier: BSD-3-Clause */

#include "modes.h"
#include "tool.h"

#include <string.h>

/* The classes of a clause as a mask of permission bits; none named: all, without the umask's. */
static uint32_t parse_classes(const char **text, bool *named) {
  uint32_t mask = 0;
  for (*named = false; **text && strchr("ugoa", **text); ++*text) {
    mask |= **text == 'u' ? 04700u : **text == 'g' ? 02070u : **text == 'o' ? 01007u : 07777u;
    *named = true;
  }
  return *named ? mask : 07777u;
}

/* The bits that one letter stands for, in all classes. */
static bool letter_bits(char letter, uint32_t mode, bool directory, uint32_t *bits) {
  switch (letter) {
  case 'r':
    *bits |= 0444;
    return true;
  case 'w':
    *bits |= 0222;
    return true;
  case 'x':
    *bits |= 0111;
    return true;
  case 'X':
    *bits |= directory || mode & 0111 ? 0111 : 0;
    return true;
  case 's':
    *bits |= 06000;
    return true;
  case 't':
    *bits |= 01000;
    return true;
  default:
    return false;
  }
}

/* What stands behind an operator: letters, or a class whose bits are taken. */
static uint32_t parse_permissions(const char **text, uint32_t mode, bool directory) {
  uint32_t bits = 0;
  if (**text && strchr("ugo", **text)) {
    bits = **text == 'u' ? mode >> 6 & 7 : **text == 'g' ? mode >> 3 & 7 : mode & 7;
    ++*text;
    return bits * 0111;
  }
  while (letter_bits(**text, mode, directory, &bits))
    ++*text;
  return bits;
}

/* One clause, such as "go+rX-w", with *text moved behind it. */
static bool apply_clause(const char **text, bool directory, uint32_t *mode) {
  bool named;
  uint32_t mask = parse_classes(text, &named);
  if (!**text || !strchr("+-=", **text))
    return false;
  while (**text && strchr("+-=", **text)) {
    char operation = *(*text)++;
    uint32_t bits = parse_permissions(text, *mode, directory) & mask;
    if (!named)
      bits = permitted(bits);
    uint32_t kept = directory ? 06000 : 0; /* "=" leaves these of directories, unless named */
    if (operation == '=')
      *mode = (*mode & (~mask | kept)) | bits;
    else
      *mode = operation == '+' ? *mode | bits : *mode & ~bits;
  }
  return true;
}

static bool apply_octal(const char *text, bool directory, uint32_t *mode) {
  uint32_t value = 0;
  size_t digits = strspn(text, "01234567");
  if (digits == 0 || text[digits] != '\0' || digits > 5)
    return false;
  for (size_t i = 0; i < digits; i++)
    value = value * 8 + (uint32_t)(text[i] - '0');
  if (value > 07777)
    return false;
  *mode = value | (directory && digits < 5 && value < 01000 ? *mode & 06000 : 0);
  return true;
}

bool mode_apply(const char *change, uint32_t mode, bool directory, uint32_t *result) {
  *result = mode;
  if (apply_octal(change, directory, result))
    return true;
  for (;; change++) {
    if (!apply_clause(&change, directory, result))
      return false;
    if (*change != ',')
      return *change == '\0';
  }
}
