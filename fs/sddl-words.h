/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Security descriptors as text: the Security Descriptor Definition Language,
 * [MS-DTYP] 2.5.1.
 *
 * What the text says, it says without loss: reading what was written gives a
 * descriptor of the same meaning, and writing that again the same text.  What
 * the language has no words for is an error (-EOPNOTSUPP), never left out: ACE
 * types without a name, conditions that are not well-formed or not of the
 * grammar (a quotation mark inside a string).  Left out is only what has no
 * effect: how the parts are laid out, slack in ACLs and ACEs, the control bits
 * that tell how a part came about (defaulted, trusted) or are of an ACL that is
 * not there, the resource manager's byte, the width of a number in a condition.
 *
 * Beyond the grammar: letters may be of either case everywhere ([RFC 5234] 2.3
 * makes its literals so), spaces may stand between the parts, and a null ACL is
 * NO_ACCESS_CONTROL, as Windows writes it.
 *
 * This has what writing (sddl-write.h) and reading (sddl-read.h) share: a buffer
 * that grows, and the words of the language.
 */

#ifndef CASEFS_SDDL_WORDS_H
#define CASEFS_SDDL_WORDS_H

#include "windows.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_NESTING = 256 }; /* parentheses and ! in a condition */

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

/* ----------------------------------------------------------------- buffers */

/* Bytes that grow.  The first failure stays, so that callers need to look only at the end. */
struct buffer {
  uint8_t *bytes;
  size_t length, room, limit;
  int error; /* -ENOMEM, -EOPNOTSUPP (over the limit, or what cannot be said) */
};

void sddl_put(struct buffer *buffer, const void *bytes, size_t length);
void sddl_put_string(struct buffer *buffer, const char *string);

/* For at most 63 characters. */
__attribute__((format(printf, 2, 3))) void sddl_put_format(struct buffer *buffer,
                                                           const char *format, ...);

void sddl_put8(struct buffer *buffer, uint8_t value);
void sddl_put16(struct buffer *buffer, uint16_t value);
void sddl_put32(struct buffer *buffer, uint32_t value);
void sddl_put64(struct buffer *buffer, uint64_t value);
void sddl_put_zeros_to_multiple_of_4(struct buffer *buffer);

/* Note that the text cannot say this. */
void sddl_unsayable(struct buffer *text);

static inline void set16(uint8_t *at, uint16_t value) {
  at[0] = (uint8_t)value;
  at[1] = (uint8_t)(value >> 8);
}

static inline void set32(uint8_t *at, uint32_t value) {
  set16(at, (uint16_t)value);
  set16(at + 2, (uint16_t)(value >> 16));
}

/* ------------------------------------------------------------------- words */

struct word {
  char text[4];
  uint32_t value;
};

struct word_list {
  const struct word *words;
  size_t count;
};

extern const struct word_list sddl_ace_types, sddl_claim_types;

/* Each of the eight bits once, then other names of bits. */
extern const struct word_list sddl_ace_flags;

/* Each bit once, in the order of writing; then names that are only read. */
extern const struct word_list sddl_rights;
enum { RIGHTS_OF_ONE_BIT = 17, RIGHTS_OF_FILES_AND_KEYS = 24 /* KX is KR */ };

/* A word of a list, by its text in any case or by its value; or NULL. */
const struct word *sddl_find_word(const struct word_list *list, const char *text, size_t length);
const struct word *sddl_word_of_value(const struct word_list *list, uint32_t value);

/* The constants for SIDs that are the same everywhere ([MS-DTYP] 2.4.2.4, 2.5.1.1). */
struct sid_constant {
  char text[4];
  uint8_t authority, count;
  uint32_t subauthorities[6];
};

/* The constant for a SID, and that which a text begins with; or NULL. */
const struct sid_constant *sddl_constant_of_sid(const uint8_t *sid);
const struct sid_constant *sddl_constant_of_word(const char *text);

/* The bits of control that belong to one of the ACLs. */
struct acl_bits {
  uint16_t present, protected_, inherit_required, inherited;
};

extern const struct acl_bits sddl_dacl_bits, sddl_sacl_bits;

/* Whether a condition follows the SID. */
bool sddl_ace_has_condition(uint8_t type);

/* -------------------------------------------------------------- conditions */

/* Tokens of conditions, [MS-DTYP] 2.4.4.17.4 to 2.4.4.17.8. */
enum token {
  TOKEN_PADDING = 0x00,
  TOKEN_INT8 = 0x01,
  TOKEN_INT64 = 0x04, /* all four kinds of integers take 10 bytes */
  TOKEN_STRING = 0x10,
  TOKEN_OCTETS = 0x18,
  TOKEN_COMPOSITE = 0x50,
  TOKEN_SID = 0x51,
  TOKEN_CONTAINS = 0x86,
  TOKEN_EXISTS = 0x87,
  TOKEN_NOT_EXISTS = 0x8d,
  TOKEN_AND = 0xa0,
  TOKEN_OR = 0xa1,
  TOKEN_NOT = 0xa2,
  TOKEN_LOCAL = 0xf8,
  TOKEN_USER = 0xf9,
  TOKEN_RESOURCE = 0xfa,
  TOKEN_DEVICE = 0xfb,
};

static inline bool token_is_integer(uint8_t token) {
  return token >= TOKEN_INT8 && token <= TOKEN_INT64;
}

static inline bool token_is_attribute(uint8_t token) {
  return token >= TOKEN_LOCAL && token <= TOKEN_DEVICE;
}

static inline bool token_is_literal(uint8_t token) {
  return token_is_integer(token) || token == TOKEN_STRING || token == TOKEN_OCTETS ||
         token == TOKEN_COMPOSITE || token == TOKEN_SID;
}

enum operation_kind { MEMBERSHIP, EXISTENCE, RELATION, LOGIC };

struct operation {
  char text[28];
  uint8_t token;
  enum operation_kind kind;
};

/* The operation with a token; that which is a word; the relation whose sign a text begins with.
 * Or NULL. */
const struct operation *sddl_operation_of_token(uint8_t token);
const struct operation *sddl_operation_of_word(const char *word, size_t length);
const struct operation *sddl_operation_of_sign(const char *text);

struct scope {
  char text[12];
  uint8_t token;
};

enum { SCOPES = 3 };
extern const struct scope sddl_scopes[SCOPES];

extern const uint8_t sddl_condition_signature[4];

/* -------------------------------------------------------------- characters */

/* Whether two texts begin with the same characters but for case, in any locale. */
bool sddl_same_letters(const char *one, const char *other, size_t length);

static inline bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static inline bool is_alphanumeric(char c) {
  return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* Of a hexadecimal digit; 16 if it is none. */
static inline int digit_value(char c) {
  if (is_digit(c))
    return c - '0';
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
}

/* attr-char1, of attributes without a scope. */
bool sddl_is_simple_name_character(char c);

/* attr-char2, of all others. */
bool sddl_is_name_character(char c);

#endif
