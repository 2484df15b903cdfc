/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The parser, and what occurs in several places of a text: numbers, SIDs, names, strings, octets.
 */

#include "sddl-read.h"

#include "names.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --------------------------------------------------------------- the parser */

bool sddl_fail(struct parser *parser, const char *at, const char *format, ...) {
  if (parser->failed)
    return false;
  parser->failed = true;
  size_t number = 1; /* of the character, not the byte */
  for (const char *c = parser->start; c < at; c++)
    number += (*c & 0xc0) != 0x80;
  char *what = NULL;
  va_list arguments;
  va_start(arguments, format);
  if (vasprintf(&what, format, arguments) < 0)
    what = NULL;
  va_end(arguments);
  if (!what || asprintf(&parser->error, "at character %zu: %s", number, what) < 0)
    parser->error = NULL;
  free(what);
  return false;
}

struct excerpt sddl_excerpt(const char *text, size_t length) {
  struct excerpt result = {.text = "nothing"};
  size_t shown = length < 20 ? length : 20, i = 0;
  if (length == 0)
    return result;
  result.text[i++] = '\'';
  for (; i <= shown; i++)
    result.text[i] = text[i - 1] >= ' ' && text[i - 1] < 0x7f ? text[i - 1] : '?';
  strcpy(result.text + i, shown < length ? "...'" : "'");
  return result;
}

struct excerpt sddl_here(const struct parser *parser) {
  return sddl_excerpt(parser->at, strcspn(parser->at, ";() ,}"));
}

void sddl_skip_spaces(struct parser *parser) {
  parser->at += strspn(parser->at, " \t\r\n");
}

bool sddl_next_is(struct parser *parser, const char *text) {
  sddl_skip_spaces(parser);
  return sddl_same_letters(parser->at, text, strlen(text));
}

bool sddl_accept(struct parser *parser, const char *text) {
  if (!sddl_next_is(parser, text))
    return false;
  parser->at += strlen(text);
  return true;
}

bool sddl_expect(struct parser *parser, const char *text, const char *where) {
  if (sddl_accept(parser, text))
    return true;
  if (*parser->at == '\0')
    return sddl_fail(parser, parser->at, "the text ends where '%s' must %s", text, where);
  return sddl_fail(parser, parser->at, "'%s' must %s, not %s", text, where,
                   sddl_excerpt(parser->at, strlen(parser->at)).text);
}

bool sddl_read_field(struct parser *parser, const char **field, size_t *length) {
  sddl_skip_spaces(parser);
  *field = parser->at;
  *length = strcspn(parser->at, ";()");
  parser->at += *length;
  while (*length > 0 && strchr(" \t\r\n", (*field)[*length - 1]))
    --*length;
  return true;
}

/* ------------------------------------------------------------------ numbers */

bool sddl_read_digits(const char **at, unsigned base, uint64_t limit, uint64_t *value) {
  const char *start = *at;
  *value = 0;
  for (; (unsigned)digit_value(**at) < base; ++*at) {
    unsigned digit = (unsigned)digit_value(**at);
    if (digit > limit || *value > (limit - digit) / base)
      return false;
    *value = *value * base + digit;
  }
  return *at > start;
}

unsigned sddl_read_base(const char **at) {
  if ((*at)[0] != '0')
    return 10;
  if ((*at)[1] == 'x' || (*at)[1] == 'X') {
    *at += 2;
    return 16;
  }
  if (!is_digit((*at)[1]))
    return 10;
  ++*at;
  return 8;
}

bool sddl_read_number(struct parser *parser, uint64_t limit, const char *what, uint64_t *value) {
  sddl_skip_spaces(parser);
  const char *start = parser->at, *at = start;
  unsigned base = sddl_read_base(&at);
  if (!sddl_read_digits(&at, base, limit, value) || is_alphanumeric(*at))
    return sddl_fail(parser, start, "%s is not %s", sddl_here(parser).text, what);
  parser->at = at;
  return true;
}

/* --------------------------------------------------------------------- SIDs */

/* Those that are of a machine or domain, which a text does not name. */
static const char domain_constants[][4] = {
    "AP", "CA", "CN", "DA", "DC", "DD", "DG", "DU", "EA",
    "EK", "KA", "LA", "LG", "PA", "RO", "RS", "SA",
};

static void sid_begin(struct sid *sid, uint64_t authority) {
  *sid = (struct sid){.bytes = {1}, .length = SID_HEADER};
  for (unsigned i = 0; i < 6; i++)
    sid->bytes[2 + i] = (uint8_t)(authority >> 8 * (5 - i));
}

static void sid_add(struct sid *sid, uint32_t subauthority) {
  set32(sid->bytes + sid->length, subauthority);
  sid->length += 4;
  sid->bytes[1]++;
}

/* The authority, after "S-1-": decimal, or 0x and at most 12 digits. */
static bool read_authority(struct parser *parser, uint64_t *authority) {
  const char *start = parser->at;
  bool hexadecimal = sddl_same_letters(start, "0x", 2);
  if (!hexadecimal) {
    if (sddl_read_digits(&parser->at, 10, (UINT64_C(1) << 48) - 1, authority))
      return true;
    return sddl_fail(parser, start, "after 'S-1-' there must be an authority, a number below 2^48");
  }
  *authority = 0;
  parser->at += 2;
  /* no more than 12, so that a 'D' of "D:" after them is not taken for one */
  for (int i = 0; i < 12 && digit_value(*parser->at) < 16; i++)
    *authority = *authority << 4 | (unsigned)digit_value(*parser->at++);
  return parser->at > start + 2 || sddl_fail(parser, start, "'0x' must be followed by digits");
}

static bool read_numeric_sid(struct parser *parser, struct sid *sid) {
  const char *start = parser->at;
  uint64_t authority, subauthority;
  parser->at += 2; /* "S-" */
  if (!(parser->at[0] == '1' && parser->at[1] == '-'))
    return sddl_fail(parser, start, "a SID begins with 'S-1-', and this one does not");
  parser->at += 2;
  if (!read_authority(parser, &authority))
    return false;
  sid_begin(sid, authority);
  while (*parser->at == '-') {
    const char *number = ++parser->at;
    if (sid->bytes[1] == SID_MAX_SUBAUTHORITIES)
      return sddl_fail(parser, start, "the SID has more than 15 subauthorities");
    if (!sddl_read_digits(&parser->at, 10, UINT32_MAX, &subauthority))
      return sddl_fail(parser, number, "a subauthority of a SID is a number below 2^32");
    sid_add(sid, (uint32_t)subauthority);
  }
  return true;
}

static bool is_domain_constant(const char *text) {
  for (size_t i = 0; i < LENGTH(domain_constants); i++)
    if (sddl_same_letters(domain_constants[i], text, 2))
      return true;
  return false;
}

bool sddl_read_sid(struct parser *parser, struct sid *sid) {
  sddl_skip_spaces(parser);
  const char *at = parser->at;
  if (sddl_same_letters(at, "S-", 2))
    return read_numeric_sid(parser, sid);
  const struct sid_constant *constant = sddl_constant_of_word(at);
  if (constant) {
    sid_begin(sid, constant->authority);
    for (size_t i = 0; i < constant->count; i++)
      sid_add(sid, constant->subauthorities[i]);
    parser->at += 2;
    return true;
  }
  if (is_domain_constant(at))
    return sddl_fail(parser, at,
                     "'%.2s' stands for an account of a machine or domain, which is not "
                     "known here; write its SID, S-1-5-21-...",
                     at);
  return sddl_fail(parser, at, "%s is not a SID", sddl_here(parser).text);
}

/* ---------------------------------------------------------- text and octets */

size_t sddl_word_length(const struct parser *parser) {
  size_t length = 0;
  for (char c = *parser->at;
       sddl_is_simple_name_character(c) || c == '@' || c == '%' || (c & 0x80);)
    c = parser->at[++length];
  return length;
}

bool sddl_next_is_sid(struct parser *parser) {
  sddl_skip_spaces(parser);
  if (sddl_word_length(parser) != 3 || !sddl_same_letters(parser->at, "SID", 3))
    return false;
  const char *after = parser->at + 3;
  return after[strspn(after, " \t\r\n")] == '(';
}

/* A UTF-16 unit as its four hexadecimal digits, after '%'. */
static bool read_escape(struct parser *parser, struct buffer *out) {
  const char *start = parser->at++;
  unsigned unit = 0;
  for (int i = 0; i < 4; i++, parser->at++) {
    if (digit_value(*parser->at) == 16)
      return sddl_fail(parser, start, "'%%' in a name must be followed by four hexadecimal digits");
    unit = unit << 4 | (unsigned)digit_value(*parser->at);
  }
  sddl_put16(out, (uint16_t)unit);
  return true;
}

/* One character, as UTF-16. */
static bool read_character(struct parser *parser, struct buffer *out) {
  uint32_t c = 0, before;
  size_t size = wtf8_decode(parser->at, strnlen(parser->at, 4), &c);
  bool pair = size == 3 && parser->at - parser->start >= 3 &&
              wtf8_decode(parser->at - 3, 3, &before) == 3 && surrogate_pair(before, c);
  if (size == 0 || pair)
    return sddl_fail(parser, parser->at, "this is not UTF-8");
  parser->at += size;
  if (c >= 0x10000) {
    sddl_put16(out, (uint16_t)(0xd800 + ((c - 0x10000) >> 10)));
    c = 0xdc00 + (c & 0x3ff);
  }
  sddl_put16(out, (uint16_t)c);
  return true;
}

bool sddl_read_name(struct parser *parser, struct buffer *out, bool simple) {
  const char *start = parser->at;
  for (;;) {
    char c = *parser->at;
    bool plain = simple ? sddl_is_simple_name_character(c) || (c == '@' && parser->at > start)
                        : sddl_is_name_character(c);
    if (c == '%') {
      if (!read_escape(parser, out))
        return false;
    } else if (plain || (c & 0x80)) {
      if (!read_character(parser, out))
        return false;
    } else {
      return true;
    }
  }
}

bool sddl_read_quoted(struct parser *parser, struct buffer *out) {
  const char *start = parser->at;
  if (!sddl_expect(parser, "\"", "begin a string"))
    return false;
  while (*parser->at != '"') {
    if (*parser->at == '\0')
      return sddl_fail(parser, start, "the string has no closing quotation mark");
    if (!read_character(parser, out))
      return false;
  }
  parser->at++;
  return true;
}

bool sddl_read_octets(struct parser *parser, struct buffer *out) {
  const char *start = parser->at;
  for (; digit_value(parser->at[0]) < 16; parser->at += 2) {
    if (digit_value(parser->at[1]) == 16)
      return sddl_fail(parser, start, "octets take two hexadecimal digits each");
    sddl_put8(out, (uint8_t)(digit_value(parser->at[0]) << 4 | digit_value(parser->at[1])));
  }
  return true;
}

size_t sddl_begin_counted(struct buffer *out) {
  size_t at = out->length;
  sddl_put32(out, 0);
  return at;
}

void sddl_end_counted(struct buffer *out, size_t at) {
  if (out->error == 0)
    set32(out->bytes + at, (uint32_t)(out->length - at - 4));
}
