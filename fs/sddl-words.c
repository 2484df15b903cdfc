/* SPDX-License-Identifier: BSD-3-Clause */

#include "sddl-words.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------- buffers */

static bool reserve(struct buffer *buffer, size_t more) {
  if (buffer->error != 0)
    return false;
  if (more > buffer->limit - buffer->length) {
    buffer->error = -EOPNOTSUPP;
    return false;
  }
  if (buffer->length + more <= buffer->room)
    return true;
  size_t room = 2 * (buffer->length + more) + 64;
  uint8_t *bytes = realloc(buffer->bytes, room);
  if (!bytes) {
    buffer->error = -ENOMEM;
    return false;
  }
  buffer->bytes = bytes;
  buffer->room = room;
  return true;
}

void sddl_put(struct buffer *buffer, const void *bytes, size_t length) {
  if (length == 0 || !reserve(buffer, length))
    return;
  memcpy(buffer->bytes + buffer->length, bytes, length);
  buffer->length += length;
}

void sddl_put_string(struct buffer *buffer, const char *string) {
  sddl_put(buffer, string, strlen(string));
}

void sddl_put_format(struct buffer *buffer, const char *format, ...) {
  char text[64];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  sddl_put(buffer, text, (size_t)length);
}

void sddl_put8(struct buffer *buffer, uint8_t value) {
  sddl_put(buffer, &value, 1);
}

void sddl_put16(struct buffer *buffer, uint16_t value) {
  uint8_t bytes[2];
  set16(bytes, value);
  sddl_put(buffer, bytes, sizeof bytes);
}

void sddl_put32(struct buffer *buffer, uint32_t value) {
  uint8_t bytes[4];
  set32(bytes, value);
  sddl_put(buffer, bytes, sizeof bytes);
}

void sddl_put64(struct buffer *buffer, uint64_t value) {
  sddl_put32(buffer, (uint32_t)value);
  sddl_put32(buffer, (uint32_t)(value >> 32));
}

void sddl_put_zeros_to_multiple_of_4(struct buffer *buffer) {
  while (buffer->length % 4 != 0 && buffer->error == 0)
    sddl_put8(buffer, 0);
}

void sddl_unsayable(struct buffer *text) {
  if (text->error == 0)
    text->error = -EOPNOTSUPP;
}

/* -------------------------------------------------------------- characters */

static char lower(char c) {
  return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

bool sddl_same_letters(const char *one, const char *other, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if (lower(one[i]) != lower(other[i]))
      return false;
    if (one[i] == '\0')
      break;
  }
  return true;
}

bool sddl_is_simple_name_character(char c) {
  return is_alphanumeric(c) || (c != '\0' && strchr(":./_", c));
}

bool sddl_is_name_character(char c) {
  return sddl_is_simple_name_character(c) || (c != '\0' && strchr("#$'*+-;?@[\\]^`{}~", c));
}

/* ------------------------------------------------------------------- words */

static const struct word ace_types[] = {
    {"A", ACE_ALLOWED},
    {"D", ACE_DENIED},
    {"AU", ACE_AUDIT},
    {"AL", ACE_ALARM},
    {"OA", ACE_ALLOWED_OBJECT},
    {"OD", ACE_DENIED_OBJECT},
    {"OU", ACE_AUDIT_OBJECT},
    {"OL", ACE_ALARM_OBJECT},
    {"XA", ACE_ALLOWED_CALLBACK},
    {"XD", ACE_DENIED_CALLBACK},
    {"XU", ACE_AUDIT_CALLBACK},
    {"ZA", ACE_ALLOWED_CALLBACK_OBJECT},
    {"ML", ACE_MANDATORY_LABEL},
    {"RA", ACE_RESOURCE_ATTRIBUTE},
    {"SP", ACE_SCOPED_POLICY},
    {"TL", ACE_PROCESS_TRUST_LABEL},
    {"FL", ACE_ACCESS_FILTER},
};

static const struct word ace_flags[] = {
    {"OI", 0x01}, {"CI", 0x02}, {"NP", 0x04}, {"IO", 0x08}, {"ID", 0x10},
    {"CR", 0x20}, {"SA", 0x40}, {"FA", 0x80}, {"TP", 0x40},
};

static const struct word rights[] = {
    {"CC", 0x00000001}, {"DC", 0x00000002}, {"LC", 0x00000004}, {"SW", 0x00000008},
    {"RP", 0x00000010}, {"WP", 0x00000020}, {"DT", 0x00000040}, {"LO", 0x00000080},
    {"CR", 0x00000100}, {"SD", 0x00010000}, {"RC", 0x00020000}, {"WD", 0x00040000},
    {"WO", 0x00080000}, {"GA", 0x10000000}, {"GX", 0x20000000}, {"GW", 0x40000000},
    {"GR", 0x80000000}, {"FA", 0x001f01ff}, {"FR", 0x00120089}, {"FW", 0x00120116},
    {"FX", 0x001200a0}, {"KA", 0x000f003f}, {"KR", 0x00020019}, {"KW", 0x00020006},
    {"KX", 0x00020019}, {"NW", 0x00000001}, {"NR", 0x00000002}, {"NX", 0x00000004},
};

static const struct word claim_types[] = {
    {"TI", CLAIM_INT64}, {"TU", CLAIM_UINT64},  {"TS", CLAIM_STRING},
    {"TD", CLAIM_SID},   {"TB", CLAIM_BOOLEAN}, {"TX", CLAIM_OCTETS},
};

const struct word_list sddl_ace_types = {ace_types, LENGTH(ace_types)};
const struct word_list sddl_ace_flags = {ace_flags, LENGTH(ace_flags)};
const struct word_list sddl_rights = {rights, LENGTH(rights)};
const struct word_list sddl_claim_types = {claim_types, LENGTH(claim_types)};

const struct word *sddl_find_word(const struct word_list *list, const char *text, size_t length) {
  for (size_t i = 0; i < list->count; i++)
    if (strlen(list->words[i].text) == length &&
        sddl_same_letters(list->words[i].text, text, length))
      return &list->words[i];
  return NULL;
}

const struct word *sddl_word_of_value(const struct word_list *list, uint32_t value) {
  for (size_t i = 0; i < list->count; i++)
    if (list->words[i].value == value)
      return &list->words[i];
  return NULL;
}

static const struct sid_constant sid_constants[] = {
    {"WD", 1, 1, {0}},
    {"CO", 3, 1, {0}},
    {"CG", 3, 1, {1}},
    {"OW", 3, 1, {4}},
    {"NU", 5, 1, {2}},
    {"IU", 5, 1, {4}},
    {"SU", 5, 1, {6}},
    {"AN", 5, 1, {7}},
    {"ED", 5, 1, {9}},
    {"PS", 5, 1, {10}},
    {"AU", 5, 1, {11}},
    {"RC", 5, 1, {12}},
    {"SY", 5, 1, {18}},
    {"LS", 5, 1, {19}},
    {"NS", 5, 1, {20}},
    {"WR", 5, 1, {33}},
    {"BA", 5, 2, {32, 544}},
    {"BU", 5, 2, {32, 545}},
    {"BG", 5, 2, {32, 546}},
    {"PU", 5, 2, {32, 547}},
    {"AO", 5, 2, {32, 548}},
    {"SO", 5, 2, {32, 549}},
    {"PO", 5, 2, {32, 550}},
    {"BO", 5, 2, {32, 551}},
    {"RE", 5, 2, {32, 552}},
    {"RU", 5, 2, {32, 554}},
    {"RD", 5, 2, {32, 555}},
    {"NO", 5, 2, {32, 556}},
    {"MU", 5, 2, {32, 558}},
    {"LU", 5, 2, {32, 559}},
    {"IS", 5, 2, {32, 568}},
    {"CY", 5, 2, {32, 569}},
    {"ER", 5, 2, {32, 573}},
    {"CD", 5, 2, {32, 574}},
    {"RA", 5, 2, {32, 575}},
    {"ES", 5, 2, {32, 576}},
    {"MS", 5, 2, {32, 577}},
    {"HA", 5, 2, {32, 578}},
    {"AA", 5, 2, {32, 579}},
    {"RM", 5, 2, {32, 580}},
    {"UD", 5, 6, {84, 0, 0, 0, 0, 0}},
    {"AC", 15, 2, {2, 1}},
    {"LW", 16, 1, {4096}},
    {"ME", 16, 1, {8192}},
    {"MP", 16, 1, {8448}},
    {"HI", 16, 1, {12288}},
    {"SI", 16, 1, {16384}},
    {"AS", 18, 1, {1}},
    {"SS", 18, 1, {2}},
};

static bool sid_is(const uint8_t *sid, const struct sid_constant *constant) {
  static const uint8_t no_high_bytes[5];
  if (sid[1] != constant->count || sid[7] != constant->authority ||
      memcmp(sid + 2, no_high_bytes, sizeof no_high_bytes) != 0)
    return false;
  for (size_t i = 0; i < constant->count; i++)
    if (field32(sid + SID_HEADER + 4 * i) != constant->subauthorities[i])
      return false;
  return true;
}

const struct sid_constant *sddl_constant_of_sid(const uint8_t *sid) {
  for (size_t i = 0; i < LENGTH(sid_constants); i++)
    if (sid_is(sid, &sid_constants[i]))
      return &sid_constants[i];
  return NULL;
}

const struct sid_constant *sddl_constant_of_word(const char *text) {
  for (size_t i = 0; i < LENGTH(sid_constants); i++)
    if (sddl_same_letters(sid_constants[i].text, text, 2))
      return &sid_constants[i];
  return NULL;
}

const struct acl_bits sddl_dacl_bits = {CONTROL_DACL_PRESENT, CONTROL_DACL_PROTECTED,
                                        CONTROL_DACL_AUTO_INHERIT_REQUIRED,
                                        CONTROL_DACL_AUTO_INHERITED};
const struct acl_bits sddl_sacl_bits = {CONTROL_SACL_PRESENT, CONTROL_SACL_PROTECTED,
                                        CONTROL_SACL_AUTO_INHERIT_REQUIRED,
                                        CONTROL_SACL_AUTO_INHERITED};

bool sddl_ace_has_condition(uint8_t type) {
  return type == ACE_ALLOWED_CALLBACK || type == ACE_DENIED_CALLBACK ||
         type == ACE_AUDIT_CALLBACK || type == ACE_ALLOWED_CALLBACK_OBJECT ||
         type == ACE_ACCESS_FILTER;
}

/* -------------------------------------------------------------- conditions */

static const struct operation operators[] = {
    /* Of signs, one that begins another comes after it. */
    {"==", 0x80, RELATION},
    {"!=", 0x81, RELATION},
    {"<=", 0x83, RELATION},
    {"<", 0x82, RELATION},
    {">=", 0x85, RELATION},
    {">", 0x84, RELATION},
    {"Contains", TOKEN_CONTAINS, RELATION},
    {"Any_of", 0x88, RELATION},
    {"Not_Contains", 0x8e, RELATION},
    {"Not_Any_of", 0x8f, RELATION},
    {"Exists", TOKEN_EXISTS, EXISTENCE},
    {"Not_Exists", TOKEN_NOT_EXISTS, EXISTENCE},
    {"Member_of", 0x89, MEMBERSHIP},
    {"Device_Member_of", 0x8a, MEMBERSHIP},
    {"Member_of_Any", 0x8b, MEMBERSHIP},
    {"Device_Member_of_Any", 0x8c, MEMBERSHIP},
    {"Not_Member_of", 0x90, MEMBERSHIP},
    {"Not_Device_Member_of", 0x91, MEMBERSHIP},
    {"Not_Member_of_Any", 0x92, MEMBERSHIP},
    {"Not_Device_Member_of_Any", 0x93, MEMBERSHIP},
    {"&&", TOKEN_AND, LOGIC},
    {"||", TOKEN_OR, LOGIC},
    {"!", TOKEN_NOT, LOGIC},
};

const struct operation *sddl_operation_of_token(uint8_t token) {
  for (size_t i = 0; i < LENGTH(operators); i++)
    if (operators[i].token == token)
      return &operators[i];
  return NULL;
}

const struct operation *sddl_operation_of_word(const char *word, size_t length) {
  for (size_t i = 0; i < LENGTH(operators); i++)
    if (strlen(operators[i].text) == length && sddl_same_letters(operators[i].text, word, length))
      return &operators[i];
  return NULL;
}

const struct operation *sddl_operation_of_sign(const char *text) {
  for (size_t i = 0; i < LENGTH(operators); i++) {
    const struct operation *operation = &operators[i];
    if (operation->kind == RELATION && !is_alphanumeric(operation->text[0]) &&
        sddl_same_letters(operation->text, text, strlen(operation->text)))
      return operation;
  }
  return NULL;
}

const struct scope sddl_scopes[SCOPES] = {
    {"@User.", TOKEN_USER},
    {"@Device.", TOKEN_DEVICE},
    {"@Resource.", TOKEN_RESOURCE},
};

const uint8_t sddl_condition_signature[4] = {'a', 'r', 't', 'x'};
