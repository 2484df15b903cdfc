/* SPDX-License-Identifier: BSD-3-Clause
 *
 * ACEs from text, and the resource attributes in them.
 */

#include "sddl-read.h"

#include <stdlib.h>

/* ------------------------------------------------------ resource attributes */

static bool read_signed(struct parser *parser, uint64_t *value) {
  sddl_skip_spaces(parser);
  const char *start = parser->at, *at = start;
  bool minus = *at == '-';
  at += minus || *at == '+';
  unsigned base = sddl_read_base(&at);
  if (!sddl_read_digits(&at, base, (uint64_t)INT64_MAX + minus, value) || is_alphanumeric(*at))
    return sddl_fail(parser, start, "%s is not a number of 64 bits", sddl_here(parser).text);
  parser->at = at;
  *value = minus ? 0 - *value : *value;
  return true;
}

/* A SID, by itself as the grammar has it, or as in a condition. */
static bool read_claim_sid(struct parser *parser, struct sid *sid) {
  bool literal = sddl_next_is_sid(parser);
  return !literal ? sddl_read_sid(parser, sid)
                  : sddl_expect(parser, "SID", "stand before a SID") &&
                        sddl_expect(parser, "(", "follow SID") && sddl_read_sid(parser, sid) &&
                        sddl_expect(parser, ")", "follow the SID");
}

static bool read_claim_value(struct parser *parser, struct buffer *out, uint32_t type) {
  uint64_t number;
  struct sid sid;
  size_t counted;
  switch (type) {
  case CLAIM_INT64:
    if (!read_signed(parser, &number))
      return false;
    sddl_put64(out, number);
    return true;
  case CLAIM_UINT64:
    if (!sddl_read_number(parser, UINT64_MAX, "a number of 64 bits without sign", &number))
      return false;
    sddl_put64(out, number);
    return true;
  case CLAIM_BOOLEAN:
    if (!sddl_read_number(parser, 1, "0 or 1", &number))
      return false;
    sddl_put64(out, number);
    return true;
  case CLAIM_STRING:
    if (!sddl_read_quoted(parser, out))
      return false;
    sddl_put16(out, 0);
    return true;
  case CLAIM_SID:
    if (!read_claim_sid(parser, &sid))
      return false;
    sddl_put32(out, (uint32_t)sid.length);
    sddl_put(out, sid.bytes, sid.length);
    return true;
  default:
    sddl_skip_spaces(parser);
    counted = sddl_begin_counted(out);
    parser->at += *parser->at == '#';
    if (!sddl_read_octets(parser, out))
      return false;
    sddl_end_counted(out, counted);
    return true;
  }
}

static bool has_zero_unit(const struct buffer *units) {
  for (size_t i = 0; i + 2 <= units->length; i += 2)
    if (field16(units->bytes + i) == 0)
      return true;
  return false;
}

/* The name, which ends with a zero and so cannot have one in it, unlike those in conditions. */
static bool read_claim_name(struct parser *parser, struct buffer *out) {
  if (!sddl_expect(parser, "\"", "begin the attribute's name"))
    return false;
  const char *start = parser->at;
  if (!sddl_read_name(parser, out, false) || !sddl_expect(parser, "\"", "end the attribute's name"))
    return false;
  if (has_zero_unit(out))
    return sddl_fail(parser, start, "the name of a resource attribute cannot have a zero in it");
  sddl_put16(out, 0);
  return true;
}

static bool read_claim_type(struct parser *parser, uint32_t *type) {
  sddl_skip_spaces(parser);
  const struct word *word = sddl_find_word(&sddl_claim_types, parser->at, sddl_word_length(parser));
  if (!word)
    return sddl_fail(parser, parser->at, "%s is not a type of attributes: TI, TU, TS, TD, TB or TX",
                     sddl_here(parser).text);
  parser->at += 2;
  *type = word->value;
  return true;
}

/* The values: their offsets, from the start of the first, and what they are. */
static bool read_claim_values(struct parser *parser, uint32_t type, struct buffer *offsets,
                              struct buffer *values) {
  while (sddl_accept(parser, ",")) {
    sddl_put_zeros_to_multiple_of_4(values);
    sddl_put32(offsets, (uint32_t)values->length);
    if (!read_claim_value(parser, values, type))
      return false;
  }
  return true;
}

/* CLAIM_SECURITY_ATTRIBUTE_RELATIVE_V1 ([MS-DTYP] 2.4.10.1): header, offsets, name, values. */
static void put_claim(struct buffer *out, uint32_t type, uint32_t flags, struct buffer *name,
                      struct buffer *offsets, const struct buffer *values) {
  sddl_put_zeros_to_multiple_of_4(name);
  uint32_t name_at = CLAIM_HEADER + (uint32_t)offsets->length;
  sddl_put32(out, name_at);
  sddl_put16(out, (uint16_t)type);
  sddl_put16(out, 0);
  sddl_put32(out, flags);
  sddl_put32(out, (uint32_t)(offsets->length / 4));
  for (size_t i = 0; i < offsets->length; i += 4)
    sddl_put32(out, name_at + (uint32_t)name->length + field32(offsets->bytes + i));
  sddl_put(out, name->bytes, name->length);
  sddl_put(out, values->bytes, values->length);
  int error = name->error ? name->error : offsets->error ? offsets->error : values->error;
  if (out->error == 0)
    out->error = error;
}

static bool read_claim(struct parser *parser, struct buffer *out) {
  struct buffer name = {.limit = MAX_ACL}, offsets = {.limit = MAX_ACL},
                values = {.limit = MAX_ACL};
  uint32_t type = 0;
  uint64_t flags = 0;
  bool result =
      sddl_expect(parser, "(", "begin the resource attribute") && read_claim_name(parser, &name) &&
      sddl_expect(parser, ",", "follow the attribute's name") && read_claim_type(parser, &type) &&
      sddl_expect(parser, ",", "follow the attribute's type") &&
      sddl_read_number(parser, UINT32_MAX, "a number of 32 bits", &flags) &&
      read_claim_values(parser, type, &offsets, &values) &&
      sddl_expect(parser, ")", "end the resource attribute");
  if (result)
    put_claim(out, type, (uint32_t)flags, &name, &offsets, &values);
  free(name.bytes);
  free(offsets.bytes);
  free(values.bytes);
  return result;
}

/* --------------------------------------------------------------------- ACEs */

static bool read_ace_type(struct parser *parser, uint8_t *type) {
  const char *field;
  size_t length;
  sddl_read_field(parser, &field, &length);
  const struct word *word = sddl_find_word(&sddl_ace_types, field, length);
  if (!word)
    return sddl_fail(parser, field, "%s is not a type of ACE", sddl_excerpt(field, length).text);
  *type = (uint8_t)word->value;
  return true;
}

/* Words of two letters each, or-ed together. */
static bool read_words(struct parser *parser, const struct word_list *list, const char *field,
                       size_t length, const char *what, uint32_t *value) {
  *value = 0;
  for (size_t i = 0; i < length; i += 2) {
    const struct word *word = length - i < 2 ? NULL : sddl_find_word(list, field + i, 2);
    if (!word)
      return sddl_fail(parser, field + i, "%s is not %s",
                       sddl_excerpt(field + i, length - i < 2 ? 1 : 2).text, what);
    *value |= word->value;
  }
  return true;
}

static bool read_ace_flags(struct parser *parser, uint8_t *flags) {
  const char *field;
  size_t length;
  uint32_t value;
  sddl_read_field(parser, &field, &length);
  if (!read_words(parser, &sddl_ace_flags, field, length, "a flag of an ACE", &value))
    return false;
  *flags = (uint8_t)value;
  return true;
}

static bool read_rights(struct parser *parser, uint32_t *mask) {
  const char *field;
  size_t length;
  uint64_t value;
  sddl_skip_spaces(parser);
  if (is_digit(*parser->at)) {
    if (!sddl_read_number(parser, UINT32_MAX, "a number of 32 bits", &value))
      return false;
    *mask = (uint32_t)value;
    return true;
  }
  sddl_read_field(parser, &field, &length);
  return read_words(parser, &sddl_rights, field, length,
                    "a right; rights are pairs of letters such as FA, GR, RC, or a number", mask);
}

/* The bytes of a GUID in the order they are written in, "-" left out. */
static const uint8_t guid_order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

/* A GUID, or nothing. */
static bool read_guid(struct parser *parser, uint8_t guid[16], bool *present) {
  const char *field;
  size_t length;
  sddl_read_field(parser, &field, &length);
  *present = length != 0;
  if (length == 0)
    return true;
  const char *at = field;
  bool valid = length == 36;
  for (size_t i = 0; i < 16 && valid; i++, at += 2) {
    if (i == 4 || i == 6 || i == 8 || i == 10)
      valid = *at++ == '-';
    valid = valid && digit_value(at[0]) < 16 && digit_value(at[1]) < 16;
    if (valid)
      guid[guid_order[i]] = (uint8_t)(digit_value(at[0]) << 4 | digit_value(at[1]));
  }
  return valid || sddl_fail(parser, field, "%s is not a GUID", sddl_excerpt(field, length).text);
}

struct object_types {
  uint8_t object[16], inherited[16];
  bool has_object, has_inherited;
};

static bool read_object_types(struct parser *parser, uint8_t type, struct object_types *types) {
  sddl_skip_spaces(parser);
  const char *start = parser->at;
  if (!read_guid(parser, types->object, &types->has_object) ||
      !sddl_expect(parser, ";", "follow the object's GUID") ||
      !read_guid(parser, types->inherited, &types->has_inherited))
    return false;
  if ((types->has_object || types->has_inherited) && !ace_type_has_objects(type))
    return sddl_fail(parser, start, "an ACE of this type cannot have GUIDs of objects");
  return true;
}

static void put_object_types(struct buffer *out, const struct object_types *types) {
  sddl_put32(out, (types->has_object ? ACE_OBJECT_TYPE_PRESENT : 0) |
                      (types->has_inherited ? ACE_INHERITED_OBJECT_TYPE_PRESENT : 0));
  if (types->has_object)
    sddl_put(out, types->object, 16);
  if (types->has_inherited)
    sddl_put(out, types->inherited, 16);
}

/* What follows the SID in the ACEs that have more. */
static bool read_ace_data(struct parser *parser, uint8_t type, struct buffer *out) {
  if (sddl_ace_has_condition(type))
    return sddl_expect(parser, ";", "come before the condition") &&
           sddl_read_condition(parser, out);
  if (type == ACE_RESOURCE_ATTRIBUTE)
    return sddl_expect(parser, ";", "come before the resource attribute") &&
           read_claim(parser, out);
  return true;
}

bool sddl_read_ace(struct parser *parser, struct buffer *out, bool *has_objects) {
  uint8_t type = 0, flags = 0;
  uint32_t mask = 0;
  struct object_types types;
  struct sid sid;
  size_t start = out->length;
  if (!read_ace_type(parser, &type) || !sddl_expect(parser, ";", "follow the type of an ACE") ||
      !read_ace_flags(parser, &flags) || !sddl_expect(parser, ";", "follow the flags of an ACE") ||
      !read_rights(parser, &mask) || !sddl_expect(parser, ";", "follow the rights of an ACE") ||
      !read_object_types(parser, type, &types) ||
      !sddl_expect(parser, ";", "follow the inherited object's GUID") ||
      !sddl_read_sid(parser, &sid))
    return false;
  sddl_put8(out, type);
  sddl_put8(out, flags);
  sddl_put16(out, 0); /* the size, known at the end */
  sddl_put32(out, mask);
  if (ace_type_has_objects(type)) {
    put_object_types(out, &types);
    *has_objects = true;
  }
  sddl_put(out, sid.bytes, sid.length);
  if (!read_ace_data(parser, type, out) || !sddl_expect(parser, ")", "end the ACE"))
    return false;
  sddl_put_zeros_to_multiple_of_4(out);
  if (out->error == 0)
    set16(out->bytes + start + 2, (uint16_t)(out->length - start));
  return true;
}
