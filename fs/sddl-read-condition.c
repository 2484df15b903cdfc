/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The conditions of ACEs ([MS-DTYP] 2.4.4.17) from text.
 */

#include "sddl-read.h"

#include <string.h>

static bool read_expression(struct parser *parser, struct buffer *out, unsigned nesting);

/* An integer: its value in 64 bits, its sign, its base ([MS-DTYP] 2.4.4.17.5). */
static bool read_integer(struct parser *parser, struct buffer *out) {
  enum { PLUS = 1, MINUS = 2, UNSIGNED = 3 };
  const char *start = parser->at, *at = start;
  uint8_t sign = *at == '+' ? PLUS : *at == '-' ? MINUS : UNSIGNED;
  at += sign != UNSIGNED;
  unsigned base = sddl_read_base(&at);
  uint64_t value, limit = (uint64_t)INT64_MAX + (sign == MINUS);
  if (!sddl_read_digits(&at, base, limit, &value) || sddl_is_simple_name_character(*at))
    return sddl_fail(parser, start, "%s is not a number of 64 bits", sddl_here(parser).text);
  parser->at = at;
  sddl_put8(out, TOKEN_INT64);
  sddl_put64(out, sign == MINUS ? 0 - value : value);
  sddl_put8(out, sign);
  sddl_put8(out, base == 8 ? 1 : base == 10 ? 2 : 3);
  return true;
}

static bool read_sid_literal(struct parser *parser, struct buffer *out) {
  struct sid sid;
  if (!sddl_expect(parser, "SID", "stand before a SID") ||
      !sddl_expect(parser, "(", "follow SID") || !sddl_read_sid(parser, &sid) ||
      !sddl_expect(parser, ")", "follow the SID"))
    return false;
  sddl_put8(out, TOKEN_SID);
  sddl_put32(out, (uint32_t)sid.length);
  sddl_put(out, sid.bytes, sid.length);
  return true;
}

/* A single literal, if one is there. */
static bool next_is_literal(struct parser *parser) {
  sddl_skip_spaces(parser);
  char c = *parser->at;
  return is_digit(c) || (c != '\0' && strchr("+-\"#", c)) || sddl_next_is_sid(parser);
}

static bool read_single_literal(struct parser *parser, struct buffer *out) {
  char c = *parser->at;
  size_t counted;
  if (sddl_next_is_sid(parser))
    return read_sid_literal(parser, out);
  if (c != '"' && c != '#')
    return read_integer(parser, out);
  sddl_put8(out, c == '"' ? TOKEN_STRING : TOKEN_OCTETS);
  counted = sddl_begin_counted(out);
  parser->at += c == '#';
  bool result = c == '"' ? sddl_read_quoted(parser, out) : sddl_read_octets(parser, out);
  sddl_end_counted(out, counted);
  return result;
}

static bool read_composite(struct parser *parser, struct buffer *out, bool only_sids) {
  sddl_put8(out, TOKEN_COMPOSITE);
  size_t counted = sddl_begin_counted(out);
  parser->at++; /* '{' */
  if (!sddl_accept(parser, "}")) {
    do {
      if (only_sids ? !sddl_next_is_sid(parser) : !next_is_literal(parser))
        return sddl_fail(parser, parser->at, "%s is not %s", sddl_here(parser).text,
                         only_sids ? "SID(...)" : "a value");
      if (!read_single_literal(parser, out))
        return false;
    } while (sddl_accept(parser, ","));
    if (!sddl_expect(parser, "}", "end the list"))
      return false;
  }
  sddl_end_counted(out, counted);
  return true;
}

/* An attribute, with its scope or without. */
static bool read_attribute(struct parser *parser, struct buffer *out) {
  sddl_skip_spaces(parser);
  const char *start = parser->at;
  uint8_t token = TOKEN_LOCAL;
  for (size_t i = 0; i < LENGTH(sddl_scopes) && token == TOKEN_LOCAL; i++)
    if (sddl_accept(parser, sddl_scopes[i].text))
      token = sddl_scopes[i].token;
  if (*start == '@' && token == TOKEN_LOCAL)
    return sddl_fail(parser, start,
                     "an attribute begins with @User., @Device. or @Resource., not %s",
                     sddl_here(parser).text);
  sddl_put8(out, token);
  size_t counted = sddl_begin_counted(out);
  const char *name = parser->at;
  if (!sddl_read_name(parser, out, token == TOKEN_LOCAL))
    return false;
  if (parser->at == name)
    return sddl_fail(parser, start, "an attribute must stand here, not %s", sddl_here(parser).text);
  sddl_end_counted(out, counted);
  return true;
}

static bool read_operand(struct parser *parser, struct buffer *out) {
  if (sddl_next_is(parser, "{"))
    return read_composite(parser, out, false);
  if (next_is_literal(parser))
    return read_single_literal(parser, out);
  return read_attribute(parser, out);
}

static bool read_members(struct parser *parser, struct buffer *out) {
  if (sddl_next_is(parser, "{"))
    return read_composite(parser, out, true);
  return read_sid_literal(parser, out);
}

/* The operation of a relation at the parser's place, taken, or NULL. */
static const struct operation *accept_relation(struct parser *parser) {
  sddl_skip_spaces(parser);
  size_t length = sddl_word_length(parser);
  const struct operation *word = sddl_operation_of_word(parser->at, length);
  if (word && word->kind == RELATION) {
    parser->at += length;
    return word;
  }
  const struct operation *sign = sddl_operation_of_sign(parser->at);
  if (sign)
    parser->at += strlen(sign->text);
  return sign;
}

/* An attribute by itself, or its relation to another or to a value. */
static bool read_relation(struct parser *parser, struct buffer *out) {
  if (!read_attribute(parser, out))
    return false;
  const struct operation *operation = accept_relation(parser);
  if (!operation)
    return true;
  if (!read_operand(parser, out))
    return false;
  sddl_put8(out, operation->token);
  return true;
}

/* What && and || connect. */
static bool read_term(struct parser *parser, struct buffer *out, unsigned nesting) {
  sddl_skip_spaces(parser);
  if (nesting >= MAX_NESTING)
    return sddl_fail(parser, parser->at, "the condition is nested more than %d deep", MAX_NESTING);
  if (sddl_accept(parser, "!")) {
    bool parenthesis = sddl_accept(parser, "(");
    if (parenthesis ? !read_expression(parser, out, nesting + 1) ||
                          !sddl_expect(parser, ")", "close a parenthesis of the condition")
                    : !read_term(parser, out, nesting + 1))
      return false;
    sddl_put8(out, TOKEN_NOT);
    return true;
  }
  if (sddl_accept(parser, "("))
    return read_expression(parser, out, nesting + 1) &&
           sddl_expect(parser, ")", "close a parenthesis of the condition");
  size_t length = sddl_word_length(parser);
  const struct operation *operation = sddl_operation_of_word(parser->at, length);
  if (!operation || operation->kind == RELATION)
    return read_relation(parser, out);
  parser->at += length;
  if (operation->kind == EXISTENCE ? !read_attribute(parser, out) : !read_members(parser, out))
    return false;
  sddl_put8(out, operation->token);
  return true;
}

/* Terms with && between them, which binds more than ||. */
static bool read_conjunction(struct parser *parser, struct buffer *out, unsigned nesting) {
  if (!read_term(parser, out, nesting))
    return false;
  while (sddl_accept(parser, "&&")) {
    if (!read_term(parser, out, nesting))
      return false;
    sddl_put8(out, TOKEN_AND);
  }
  return true;
}

static bool read_expression(struct parser *parser, struct buffer *out, unsigned nesting) {
  if (!read_conjunction(parser, out, nesting))
    return false;
  while (sddl_accept(parser, "||")) {
    if (!read_conjunction(parser, out, nesting))
      return false;
    sddl_put8(out, TOKEN_OR);
  }
  return true;
}

bool sddl_read_condition(struct parser *parser, struct buffer *out) {
  if (!sddl_expect(parser, "(", "begin the condition"))
    return false;
  sddl_put(out, sddl_condition_signature, sizeof sddl_condition_signature);
  return read_expression(parser, out, 0) && sddl_expect(parser, ")", "end the condition");
}
