/* SPDX-License-Identifier: BSD-3-Clause */

#include "pattern.h"
#include "../../fs/names.h"
#include "text.h"

#include <stdint.h>
#include <string.h>

/* A rest of text. */
struct rest {
  const char *text;
  size_t length;
};

static uint32_t take(struct rest *rest) {
  uint32_t character;
  size_t used = decode_character(rest->text, rest->length, &character);
  if (character == NOT_A_CHARACTER)
    character = 0x110000 + (uint8_t)*rest->text; /* matches only the same byte */
  rest->text += used;
  rest->length -= used;
  return character;
}

static uint32_t fold(uint32_t character, bool insensitive) {
  return insensitive && character < 0x10000 ? fold_unit((uint16_t)character) : character;
}

static bool in_range(uint32_t character, uint32_t low, uint32_t high, bool insensitive) {
  if (character >= low && character <= high)
    return true;
  uint32_t folded = fold(character, insensitive);
  return insensitive && folded >= fold(low, true) && folded <= fold(high, true);
}

/* Match a character with the set whose '[' has been taken, and take the set.  A set without end
 * is none: returns false, and *is_set is false. */
static bool match_set(struct rest *pattern, uint32_t character, bool insensitive, bool *is_set) {
  struct rest rest = *pattern;
  bool negated = rest.length > 0 && (*rest.text == '!' || *rest.text == '^');
  bool found = false, first = true;
  if (negated)
    take(&rest);
  for (*is_set = false; rest.length > 0; first = false) {
    uint32_t low = take(&rest), high = low;
    if (low == ']' && !first) {
      *is_set = true;
      *pattern = rest;
      return found != negated;
    }
    if (rest.length > 1 && rest.text[0] == '-' && rest.text[1] != ']') {
      take(&rest);
      high = take(&rest);
    }
    found = in_range(character, low, high, insensitive) || found;
  }
  return false;
}

/* Match one character of the name with what the pattern, not '*', begins with. */
static bool match_one(struct rest *pattern, uint32_t character, bool insensitive) {
  uint32_t wanted = take(pattern);
  bool is_set;
  if (wanted == '?')
    return true;
  if (wanted == '[') {
    bool matches = match_set(pattern, character, insensitive, &is_set);
    if (is_set)
      return matches;
  }
  return fold(wanted, insensitive) == fold(character, insensitive);
}

bool pattern_match(const char *pattern, size_t pattern_length, const char *name, size_t name_length,
                   bool insensitive) {
  struct rest patterns = {pattern, pattern_length}, names = {name, name_length};
  /* After the last star: what follows it, and where in the name to try that next. */
  struct rest after_star = {NULL, 0}, retry = {NULL, 0};
  while (names.length > 0) {
    if (patterns.length > 0 && *patterns.text == '*') {
      take(&patterns);
      after_star = patterns;
      retry = names;
      continue;
    }
    uint32_t character = take(&names);
    if (patterns.length > 0 && match_one(&patterns, character, insensitive))
      continue;
    if (!after_star.text)
      return false;
    take(&retry);
    names = retry;
    patterns = after_star;
  }
  while (patterns.length > 0 && *patterns.text == '*')
    take(&patterns);
  return patterns.length == 0;
}

bool pattern_is_wild(const char *pattern, size_t length) {
  for (size_t i = 0; i < length; i++)
    if (strchr("*?[", pattern[i]) && pattern[i] != '\0')
      return true;
  return false;
}
