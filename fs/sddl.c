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
 */

#include "casefs.h"
#include "names.h"
#include "windows.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum limits {
  MAX_TEXT = 1 << 20, /* of a descriptor that a person or program wrote, some 300 KiB */
  MAX_ACL = 65535,    /* AclSize has 16 bits */
  MAX_NESTING = 256,  /* parentheses and ! in a condition */
};

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

/* ----------------------------------------------------------------- buffers */

/* Bytes that grow.  The first failure stays, so that callers need to look only at the end. */
struct buffer {
  uint8_t *bytes;
  size_t length, room, limit;
  int error; /* -ENOMEM, -EOPNOTSUPP (over the limit, or what cannot be said) */
};

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

static void put(struct buffer *buffer, const void *bytes, size_t length) {
  if (length == 0 || !reserve(buffer, length))
    return;
  memcpy(buffer->bytes + buffer->length, bytes, length);
  buffer->length += length;
}

static void put_string(struct buffer *buffer, const char *string) {
  put(buffer, string, strlen(string));
}

/* For at most 63 characters. */
__attribute__((format(printf, 2, 3))) static void put_format(struct buffer *buffer,
                                                             const char *format, ...) {
  char text[64];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  put(buffer, text, (size_t)length);
}

static void put8(struct buffer *buffer, uint8_t value) {
  put(buffer, &value, 1);
}

static void set16(uint8_t *at, uint16_t value) {
  at[0] = (uint8_t)value;
  at[1] = (uint8_t)(value >> 8);
}

static void set32(uint8_t *at, uint32_t value) {
  set16(at, (uint16_t)value);
  set16(at + 2, (uint16_t)(value >> 16));
}

static void put16(struct buffer *buffer, uint16_t value) {
  uint8_t bytes[2];
  set16(bytes, value);
  put(buffer, bytes, sizeof bytes);
}

static void put32(struct buffer *buffer, uint32_t value) {
  uint8_t bytes[4];
  set32(bytes, value);
  put(buffer, bytes, sizeof bytes);
}

static void put64(struct buffer *buffer, uint64_t value) {
  put32(buffer, (uint32_t)value);
  put32(buffer, (uint32_t)(value >> 32));
}

static void put_zeros_to_multiple_of_4(struct buffer *buffer) {
  while (buffer->length % 4 != 0 && buffer->error == 0)
    put8(buffer, 0);
}

static void unsayable(struct buffer *text) {
  if (text->error == 0)
    text->error = -EOPNOTSUPP;
}

/* ------------------------------------------------------------------ tables */

struct word {
  char text[4];
  uint32_t value;
};

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

/* Each bit once, then other names of bits. */
static const struct word ace_flags[] = {
    {"OI", 0x01}, {"CI", 0x02}, {"NP", 0x04}, {"IO", 0x08}, {"ID", 0x10},
    {"CR", 0x20}, {"SA", 0x40}, {"FA", 0x80}, {"TP", 0x40},
};

/* Each bit once, in the order of writing; then names that are only read. */
static const struct word rights[] = {
    {"CC", 0x00000001}, {"DC", 0x00000002}, {"LC", 0x00000004}, {"SW", 0x00000008},
    {"RP", 0x00000010}, {"WP", 0x00000020}, {"DT", 0x00000040}, {"LO", 0x00000080},
    {"CR", 0x00000100}, {"SD", 0x00010000}, {"RC", 0x00020000}, {"WD", 0x00040000},
    {"WO", 0x00080000}, {"GA", 0x10000000}, {"GX", 0x20000000}, {"GW", 0x40000000},
    {"GR", 0x80000000}, {"FA", 0x001f01ff}, {"FR", 0x00120089}, {"FW", 0x00120116},
    {"FX", 0x001200a0}, {"KA", 0x000f003f}, {"KR", 0x00020019}, {"KW", 0x00020006},
    {"KX", 0x00020019}, {"NW", 0x00000001}, {"NR", 0x00000002}, {"NX", 0x00000004},
};
enum { RIGHTS_OF_ONE_BIT = 17, RIGHTS_OF_FILES_AND_KEYS = 24 /* KX is KR */ };

static const struct word label_rights[] = {{"NW", 1}, {"NR", 2}, {"NX", 4}};

/* The constants for SIDs that are the same everywhere ([MS-DTYP] 2.4.2.4, 2.5.1.1). */
static const struct sid_constant {
  char text[4];
  uint8_t authority, count;
  uint32_t subauthorities[6];
} sid_constants[] = {
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

/* Those that are of a machine or domain, which a text does not name. */
static const char domain_constants[][4] = {
    "AP", "CA", "CN", "DA", "DC", "DD", "DG", "DU", "EA",
    "EK", "KA", "LA", "LG", "PA", "RO", "RS", "SA",
};

static const struct word claim_types[] = {
    {"TI", CLAIM_INT64}, {"TU", CLAIM_UINT64},  {"TS", CLAIM_STRING},
    {"TD", CLAIM_SID},   {"TB", CLAIM_BOOLEAN}, {"TX", CLAIM_OCTETS},
};

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

enum operation_kind { MEMBERSHIP, EXISTENCE, RELATION, LOGIC };

static const struct operation {
  char text[28];
  uint8_t token;
  enum operation_kind kind;
} operators[] = {
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

static const struct scope {
  char text[12];
  uint8_t token;
} scopes[] = {
    {"@User.", TOKEN_USER},
    {"@Device.", TOKEN_DEVICE},
    {"@Resource.", TOKEN_RESOURCE},
};

static const uint8_t condition_signature[4] = {'a', 'r', 't', 'x'};

static char lower(char c) {
  return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

/* Whether two texts begin with the same characters but for case, in any locale. */
static bool same_letters(const char *one, const char *other, size_t length) {
  for (size_t i = 0; i < length; i++) {
    if (lower(one[i]) != lower(other[i]))
      return false;
    if (one[i] == '\0')
      break;
  }
  return true;
}

static const struct operation *operation_of_token(uint8_t token) {
  for (size_t i = 0; i < LENGTH(operators); i++)
    if (operators[i].token == token)
      return &operators[i];
  return NULL;
}

/* An operation that is a word, or NULL. */
static const struct operation *operation_of_word(const char *word, size_t length) {
  for (size_t i = 0; i < LENGTH(operators); i++)
    if (strlen(operators[i].text) == length && same_letters(operators[i].text, word, length))
      return &operators[i];
  return NULL;
}

static bool token_is_integer(uint8_t token) {
  return token >= TOKEN_INT8 && token <= TOKEN_INT64;
}

static bool token_is_attribute(uint8_t token) {
  return token >= TOKEN_LOCAL && token <= TOKEN_DEVICE;
}

static bool token_is_literal(uint8_t token) {
  return token_is_integer(token) || token == TOKEN_STRING || token == TOKEN_OCTETS ||
         token == TOKEN_COMPOSITE || token == TOKEN_SID;
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static bool is_alphanumeric(char c) {
  return is_digit(c) || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static int digit_value(char c) {
  if (is_digit(c))
    return c - '0';
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
}

/* attr-char1, of attributes without a scope. */
static bool is_simple_name_character(char c) {
  return is_alphanumeric(c) || (c != '\0' && strchr(":./_", c));
}

/* attr-char2, of all others. */
static bool is_name_character(char c) {
  return is_simple_name_character(c) || (c != '\0' && strchr("#$'*+-;?@[\\]^`{}~", c));
}

/* ----------------------------------------------------------- writing: parts */

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

static void write_sid(struct buffer *text, const uint8_t *sid) {
  for (size_t i = 0; i < LENGTH(sid_constants); i++)
    if (sid_is(sid, &sid_constants[i])) {
      put_string(text, sid_constants[i].text);
      return;
    }
  uint64_t authority = 0; /* big-endian, unlike all else */
  for (size_t i = 2; i < SID_HEADER; i++)
    authority = authority << 8 | sid[i];
  if (authority >> 32) /* [MS-DTYP] 2.4.2.1 */
    put_format(text, "S-1-0x%012" PRIX64, authority);
  else
    put_format(text, "S-1-%" PRIu64, authority);
  for (size_t i = 0; i < sid[1]; i++)
    put_format(text, "-%" PRIu32, field32(sid + SID_HEADER + 4 * i));
}

static void write_bits(struct buffer *text, const struct word *words, size_t count, uint32_t bits) {
  for (size_t i = 0; i < count; i++)
    if (bits & words[i].value)
      put_string(text, words[i].text);
}

static uint32_t all_bits(const struct word *words, size_t count) {
  uint32_t bits = 0;
  for (size_t i = 0; i < count; i++)
    bits |= words[i].value;
  return bits;
}

static void write_rights(struct buffer *text, const struct ace *ace) {
  bool often_none = ace->type == ACE_RESOURCE_ATTRIBUTE || ace->type == ACE_SCOPED_POLICY;
  if (ace->mask == 0) {
    put_string(text, often_none ? "" : "0x0");
    return;
  }
  if (ace->type == ACE_MANDATORY_LABEL &&
      (ace->mask & ~all_bits(label_rights, LENGTH(label_rights))) == 0) {
    write_bits(text, label_rights, LENGTH(label_rights), ace->mask);
    return;
  }
  for (size_t i = RIGHTS_OF_ONE_BIT; i < RIGHTS_OF_FILES_AND_KEYS; i++)
    if (ace->mask == rights[i].value) {
      put_string(text, rights[i].text);
      return;
    }
  if (ace->mask & ~all_bits(rights, RIGHTS_OF_ONE_BIT))
    put_format(text, "0x%" PRIx32, ace->mask);
  else
    write_bits(text, rights, RIGHTS_OF_ONE_BIT, ace->mask);
}

static void write_guid(struct buffer *text, const uint8_t *guid) {
  if (!guid)
    return;
  put_format(text, "%08" PRIx32 "-%04x-%04x-%02x%02x-", field32(guid), field16(guid + 4),
             field16(guid + 6), guid[8], guid[9]);
  for (size_t i = 10; i < 16; i++)
    put_format(text, "%02x", guid[i]);
}

/* A code point of UTF-16, or a surrogate that has no other half; units of 2 bytes are left. */
static uint32_t next_code_point(const uint8_t **units, const uint8_t *end) {
  uint32_t c = field16(*units);
  *units += 2;
  if (*units < end && surrogate_pair(c, field16(*units))) {
    c = 0x10000 + ((c - 0xd800) << 10) + (field16(*units) - 0xdc00u);
    *units += 2;
  }
  return c;
}

/* The grammar has no way to write a quotation mark or a zero in a string. */
static void write_quoted(struct buffer *text, const uint8_t *units, size_t length) {
  const uint8_t *end = units + length;
  put8(text, '"');
  while (units < end) {
    uint32_t c = next_code_point(&units, end);
    char bytes[4];
    if (c == 0 || c == '"')
      unsayable(text);
    put(text, bytes, wtf8_encode(c, bytes));
  }
  put8(text, '"');
}

/* One unit of an attribute's name: itself, or %XXXX. */
static void write_name_unit(struct buffer *text, uint16_t unit, bool simple) {
  bool as_it_is = unit < 0x80 &&
                  (simple ? is_simple_name_character((char)unit) : is_name_character((char)unit));
  if (as_it_is)
    put8(text, (uint8_t)unit);
  else
    put_format(text, "%%%04x", unit);
}

static void write_octets(struct buffer *text, const uint8_t *octets, size_t length) {
  for (size_t i = 0; i < length; i++)
    put_format(text, "%02x", octets[i]);
}

static void write_claim_value(struct buffer *text, uint16_t type, const uint8_t *value,
                              size_t length) {
  switch (type) {
  case CLAIM_INT64:
    put_format(text, "%" PRId64, (int64_t)field64(value));
    return;
  case CLAIM_BOOLEAN:
    if (field64(value) > 1)
      unsayable(text);
    put_format(text, "%" PRIu64, field64(value));
    return;
  case CLAIM_UINT64:
    put_format(text, "%" PRIu64, field64(value));
    return;
  case CLAIM_STRING:
    write_quoted(text, value, length);
    return;
  case CLAIM_SID:
    write_sid(text, value);
    return;
  default:
    write_octets(text, value, length);
  }
}

static void write_claim(struct buffer *text, const uint8_t *data, size_t data_length) {
  struct claim claim;
  if (!claim_read(data, data_length, &claim)) {
    unsayable(text);
    return;
  }
  put_string(text, "(\"");
  for (size_t i = 0; i < claim.name_length; i += 2)
    write_name_unit(text, field16(claim.name + i), false);
  put_string(text, "\",");
  for (size_t i = 0; i < LENGTH(claim_types); i++)
    if (claim_types[i].value == claim.type)
      put_string(text, claim_types[i].text);
  put_format(text, ",0x%" PRIx32, claim.flags);
  for (uint32_t i = 0; i < claim.count; i++) {
    const uint8_t *value;
    size_t length;
    if (!claim_value(&claim, i, &value, &length)) {
      unsayable(text);
      return;
    }
    put8(text, ',');
    write_claim_value(text, claim.type, value, length);
  }
  put8(text, ')');
}

/* ------------------------------------------------------ writing: conditions */

/* One token of a condition.  The bytes are a list in postfix order; as it is read, operators get
 * their operands, which makes a tree. */
struct node {
  uint8_t token;
  const uint8_t *data; /* of literals and attributes */
  size_t length;
  size_t left, right; /* operands: indices; of one, left */
  unsigned nesting;   /* parentheses and ! that its text will have inside one another */
};

struct condition {
  struct node *nodes;
  size_t *stack; /* nodes that are no operands yet */
  size_t count, height;
};

/* The literal or attribute at *at: its bytes, and *at after it. */
static bool read_literal(const uint8_t **at, const uint8_t *end, struct node *node) {
  node->token = *(*at)++;
  if (token_is_integer(node->token)) {
    node->length = 10;
  } else {
    if (end - *at < 4)
      return false;
    node->length = field32(*at);
    *at += 4;
  }
  if (node->length > (size_t)(end - *at))
    return false;
  node->data = *at;
  *at += node->length;
  return true;
}

/* Whether a literal or attribute is well-formed, but for what is in a composite. */
static bool literal_is_valid(const struct node *node) {
  switch (node->token) {
  case TOKEN_STRING:
    return node->length % 2 == 0;
  case TOKEN_SID:
    return node->length != 0 && sid_size(node->data, node->length) == node->length;
  case TOKEN_OCTETS:
  case TOKEN_COMPOSITE:
    return true;
  default:
    if (token_is_attribute(node->token))
      return node->length != 0 && node->length % 2 == 0;
    /* an integer: sign and base follow its value */
    return node->data[8] >= 1 && node->data[8] <= 3 && node->data[9] >= 1 && node->data[9] <= 3;
  }
}

/* The elements of a composite are literals, and not composites. */
static bool composite_is_valid(const struct node *composite, bool only_sids) {
  const uint8_t *at = composite->data, *end = at + composite->length;
  while (at < end) {
    struct node element;
    if (!token_is_literal(*at) || *at == TOKEN_COMPOSITE || (only_sids && *at != TOKEN_SID) ||
        !read_literal(&at, end, &element) || !literal_is_valid(&element))
      return false;
  }
  return true;
}

static const struct node *operand(const struct condition *condition, size_t index) {
  return &condition->nodes[index];
}

static bool is_operand_of_relation(const struct node *node) {
  return token_is_attribute(node->token) || token_is_literal(node->token);
}

static bool is_sids(const struct node *node) {
  return node->token == TOKEN_SID ||
         (node->token == TOKEN_COMPOSITE && composite_is_valid(node, true));
}

static bool is_truth_value(const struct node *node) {
  return token_is_attribute(node->token) || !token_is_literal(node->token);
}

/* Whether an operand of && or || needs parentheses: an || in an &&; and the right one, if it is of
 * the same operation, since these are read from the left. */
static bool needs_parentheses(const struct condition *condition, const struct node *node,
                              size_t index) {
  uint8_t token = operand(condition, index)->token;
  return (node->token == TOKEN_AND && token == TOKEN_OR) ||
         (node->token == token && index == node->right);
}

static unsigned nesting_of(const struct condition *condition, const struct node *node,
                           size_t index) {
  return operand(condition, index)->nesting + needs_parentheses(condition, node, index);
}

/* Take an operation's operands from the stack. */
static bool take_operands(struct condition *condition, struct node *node, size_t count) {
  if (condition->height < count)
    return false;
  condition->height -= count;
  node->left = condition->stack[condition->height];
  node->right = condition->stack[condition->height + count - 1];
  return true;
}

static bool read_operator(struct condition *condition, struct node *node) {
  const struct operation *operation = operation_of_token(node->token);
  if (!operation)
    return false;
  bool binary =
      operation->kind == RELATION || (operation->kind == LOGIC && node->token != TOKEN_NOT);
  if (!take_operands(condition, node, binary ? 2 : 1))
    return false;
  const struct node *left = operand(condition, node->left);
  const struct node *right = operand(condition, node->right);
  switch (operation->kind) {
  case MEMBERSHIP:
    return is_sids(left);
  case EXISTENCE:
    return token_is_attribute(left->token);
  case RELATION:
    return token_is_attribute(left->token) && is_operand_of_relation(right);
  default:
    break;
  }
  if (node->token == TOKEN_NOT) {
    node->nesting = left->nesting + 1;
  } else {
    unsigned of_left = nesting_of(condition, node, node->left);
    unsigned of_right = nesting_of(condition, node, node->right);
    node->nesting = of_left > of_right ? of_left : of_right;
  }
  return is_truth_value(left) && is_truth_value(right) && node->nesting < MAX_NESTING;
}

static bool only_padding(const uint8_t *at, const uint8_t *end) {
  while (at < end && *at == TOKEN_PADDING)
    at++;
  return at == end;
}

static bool read_node(struct condition *condition, const uint8_t **at, const uint8_t *end) {
  struct node *node = &condition->nodes[condition->count];
  *node = (struct node){.token = **at};
  if (token_is_literal(node->token) || token_is_attribute(node->token)) {
    if (!read_literal(at, end, node) || !literal_is_valid(node) ||
        (node->token == TOKEN_COMPOSITE && !composite_is_valid(node, false)))
      return false;
  } else {
    ++*at;
    if (!read_operator(condition, node))
      return false;
  }
  condition->stack[condition->height++] = condition->count++;
  return true;
}

/* Read the tokens; at the end one truth value is left. */
static bool read_tokens(struct condition *condition, const uint8_t *at, const uint8_t *end) {
  while (at < end && *at != TOKEN_PADDING)
    if (!read_node(condition, &at, end))
      return false;
  return only_padding(at, end) && condition->height == 1 &&
         is_truth_value(operand(condition, condition->stack[0]));
}

/* Eight bytes of value, then a sign and a base: 1 octal, 2 decimal, 3 hexadecimal. */
static void write_integer(struct buffer *text, const uint8_t *data) {
  enum { PLUS = 1, MINUS = 2 };
  uint64_t value = field64(data);
  if ((int64_t)value < 0 || (value == 0 && data[8] == MINUS)) {
    value = 0 - value;
    put8(text, '-');
  } else if (data[8] == PLUS) {
    put8(text, '+');
  }
  if (data[9] == 1)
    put_format(text, "0%" PRIo64, value);
  else if (data[9] == 2)
    put_format(text, "%" PRIu64, value);
  else
    put_format(text, "0x%" PRIx64, value);
}

/* Whether the name of an attribute without scope could be taken for something else. */
static bool looks_like_a_word(const uint8_t *name, size_t length) {
  char word[32];
  size_t count = length / 2;
  if (count >= sizeof word)
    return false;
  for (size_t i = 0; i < count; i++) {
    uint16_t unit = field16(name + 2 * i);
    if (unit >= 0x80)
      return false;
    word[i] = (char)unit;
  }
  return operation_of_word(word, count) || (count == 3 && same_letters(word, "SID", 3));
}

static void write_attribute(struct buffer *text, const struct node *node) {
  bool simple = node->token == TOKEN_LOCAL;
  size_t at = 0;
  for (size_t i = 0; i < LENGTH(scopes); i++)
    if (scopes[i].token == node->token)
      put_string(text, scopes[i].text);
  uint16_t first = field16(node->data);
  if (simple &&
      (looks_like_a_word(node->data, node->length) || (first < 0x80 && is_digit((char)first)))) {
    put_format(text, "%%%04x", first);
    at = 2;
  }
  for (; at < node->length; at += 2)
    write_name_unit(text, field16(node->data + at), simple);
}

static void write_literal(struct buffer *text, const struct node *node) {
  const uint8_t *at = node->data, *end = at + node->length;
  switch (node->token) {
  case TOKEN_STRING:
    write_quoted(text, node->data, node->length);
    return;
  case TOKEN_OCTETS:
    put8(text, '#');
    write_octets(text, node->data, node->length);
    return;
  case TOKEN_SID:
    put_string(text, "SID(");
    write_sid(text, node->data);
    put8(text, ')');
    return;
  case TOKEN_COMPOSITE:
    put8(text, '{');
    for (struct node element; at < end && read_literal(&at, end, &element);) {
      write_literal(text, &element); /* once: these are no composites */
      put_string(text, at < end ? ", " : "");
    }
    put8(text, '}');
    return;
  default:
    write_integer(text, node->data);
  }
}

/* What is still to be written, last first: a node, or a fixed text. */
struct work {
  const char *text;
  size_t node;
};

static void push_text(struct work *work, size_t *height, const char *text) {
  work[(*height)++] = (struct work){.text = text};
}

static void push_node(struct work *work, size_t *height, size_t node, bool parentheses) {
  if (parentheses)
    push_text(work, height, ")");
  work[(*height)++] = (struct work){.node = node};
  if (parentheses)
    push_text(work, height, "(");
}

/* At most this many are pushed for one node. */
enum { WORK_PER_NODE = 9 };

static void push_operation(const struct condition *condition, const struct node *node,
                           struct work *work, size_t *height) {
  const struct operation *operation = operation_of_token(node->token);
  bool prefix = operation->kind == MEMBERSHIP || operation->kind == EXISTENCE;
  if (node->token == TOKEN_NOT) {
    push_node(work, height, node->left, true);
    push_text(work, height, operation->text);
  } else if (prefix) {
    push_node(work, height, node->left, false);
    push_text(work, height, " ");
    push_text(work, height, operation->text);
  } else {
    push_node(work, height, node->right, needs_parentheses(condition, node, node->right));
    push_text(work, height, " ");
    push_text(work, height, operation->text);
    push_text(work, height, " ");
    push_node(work, height, node->left, needs_parentheses(condition, node, node->left));
  }
}

/* Without recursion: a chain of && can be as long as an ACE. */
static void write_tree(struct buffer *text, const struct condition *condition, struct work *work) {
  size_t height = 0;
  push_node(work, &height, condition->stack[0], false);
  while (height > 0 && text->error == 0) {
    struct work next = work[--height];
    const struct node *node = operand(condition, next.node);
    if (next.text)
      put_string(text, next.text);
    else if (token_is_attribute(node->token))
      write_attribute(text, node);
    else if (token_is_literal(node->token))
      write_literal(text, node);
    else
      push_operation(condition, node, work, &height);
  }
}

static void write_condition(struct buffer *text, const uint8_t *data, size_t length) {
  const size_t signature = sizeof condition_signature;
  if (length < signature || memcmp(data, condition_signature, signature) != 0) {
    unsayable(text);
    return;
  }
  struct condition condition = {.nodes = calloc(length, sizeof *condition.nodes),
                                .stack = calloc(length, sizeof *condition.stack)};
  struct work *work = NULL;
  if (!condition.nodes || !condition.stack) {
    text->error = -ENOMEM;
  } else if (!read_tokens(&condition, data + signature, data + length)) {
    unsayable(text);
  } else if (!(work = calloc(condition.count, WORK_PER_NODE * sizeof *work))) {
    text->error = -ENOMEM;
  } else {
    put8(text, '(');
    write_tree(text, &condition, work);
    put8(text, ')');
  }
  free(work);
  free(condition.nodes);
  free(condition.stack);
}

/* ------------------------------------------------------ writing: descriptors */

static bool ace_has_condition(uint8_t type) {
  return type == ACE_ALLOWED_CALLBACK || type == ACE_DENIED_CALLBACK ||
         type == ACE_AUDIT_CALLBACK || type == ACE_ALLOWED_CALLBACK_OBJECT ||
         type == ACE_ACCESS_FILTER;
}

static const char *ace_type_text(uint8_t type) {
  for (size_t i = 0; i < LENGTH(ace_types); i++)
    if (ace_types[i].value == type)
      return ace_types[i].text;
  return NULL;
}

static void write_ace(struct buffer *text, const struct ace *ace) {
  const char *type = ace_type_text(ace->type);
  if (!type) {
    unsayable(text);
    return;
  }
  put8(text, '(');
  put_string(text, type);
  put8(text, ';');
  write_bits(text, ace_flags, 8, ace->flags);
  put8(text, ';');
  write_rights(text, ace);
  put8(text, ';');
  write_guid(text, ace->object_type);
  put8(text, ';');
  write_guid(text, ace->inherited_type);
  put8(text, ';');
  write_sid(text, ace->sid);
  if (ace_has_condition(ace->type)) {
    put8(text, ';');
    write_condition(text, ace->data, ace->data_length);
  } else if (ace->type == ACE_RESOURCE_ATTRIBUTE) {
    put8(text, ';');
    write_claim(text, ace->data, ace->data_length);
  }
  put8(text, ')');
}

/* The bits of control that belong to one of the ACLs. */
struct acl_bits {
  uint16_t present, protected_, inherit_required, inherited;
};

static const struct acl_bits dacl_bits = {CONTROL_DACL_PRESENT, CONTROL_DACL_PROTECTED,
                                          CONTROL_DACL_AUTO_INHERIT_REQUIRED,
                                          CONTROL_DACL_AUTO_INHERITED};
static const struct acl_bits sacl_bits = {CONTROL_SACL_PRESENT, CONTROL_SACL_PROTECTED,
                                          CONTROL_SACL_AUTO_INHERIT_REQUIRED,
                                          CONTROL_SACL_AUTO_INHERITED};

/* Of a descriptor that is valid; acl is NULL if no offset is given. */
static void write_acl(struct buffer *text, const char *name, const struct acl_bits *bits,
                      uint16_t control, const uint8_t *acl) {
  if (!(control & bits->present))
    return;
  put_string(text, name);
  put_string(text, control & bits->protected_ ? "P" : "");
  put_string(text, control & bits->inherit_required ? "AR" : "");
  put_string(text, control & bits->inherited ? "AI" : "");
  if (!acl) {
    put_string(text, "NO_ACCESS_CONTROL");
    return;
  }
  const uint8_t *at = acl + ACL_HEADER;
  for (uint16_t count = field16(acl + 4); count > 0 && text->error == 0; count--) {
    struct ace ace;
    if (!ace_read(at, field16(at + 2), &ace))
      unsayable(text);
    else
      write_ace(text, &ace);
    at += field16(at + 2);
  }
}

static const uint8_t *part(const uint8_t *descriptor, size_t field) {
  uint32_t offset = field32(descriptor + field);
  return offset ? descriptor + offset : NULL;
}

static void write_sid_part(struct buffer *text, const char *name, const uint8_t *sid) {
  if (!sid)
    return;
  put_string(text, name);
  write_sid(text, sid);
}

int casefs_security_to_sddl(const void *descriptor, size_t length, char **sddl) {
  const uint8_t *bytes = descriptor;
  struct buffer text = {.limit = MAX_TEXT};
  *sddl = NULL;
  if (casefs_security_check(descriptor, length) != 0)
    return -EINVAL;
  uint16_t control = field16(bytes + 2);
  write_sid_part(&text, "O:", part(bytes, 4));
  write_sid_part(&text, "G:", part(bytes, 8));
  write_acl(&text, "D:", &dacl_bits, control, part(bytes, 16));
  write_acl(&text, "S:", &sacl_bits, control, part(bytes, 12));
  put8(&text, '\0');
  if (text.error != 0) {
    free(text.bytes);
    return text.error;
  }
  *sddl = (char *)text.bytes;
  return 0;
}

/* --------------------------------------------------------- reading: the basics */

struct parser {
  const char *start, *at;
  char *error; /* what was wrong first; NULL for want of memory */
  bool failed;
};

/* Note what is wrong at a place; always false. */
__attribute__((format(printf, 3, 4))) static bool fail(struct parser *parser, const char *at,
                                                       const char *format, ...) {
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

/* A short beginning of a text, fit for a message. */
struct excerpt {
  char text[28];
};

static struct excerpt excerpt(const char *text, size_t length) {
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

/* What stands at the parser's place, up to where a field ends. */
static struct excerpt here(const struct parser *parser) {
  return excerpt(parser->at, strcspn(parser->at, ";() ,}"));
}

static void skip_spaces(struct parser *parser) {
  parser->at += strspn(parser->at, " \t\r\n");
}

static bool next_is(struct parser *parser, const char *text) {
  skip_spaces(parser);
  return same_letters(parser->at, text, strlen(text));
}

static bool accept(struct parser *parser, const char *text) {
  if (!next_is(parser, text))
    return false;
  parser->at += strlen(text);
  return true;
}

static bool expect(struct parser *parser, const char *text, const char *where) {
  if (accept(parser, text))
    return true;
  if (*parser->at == '\0')
    return fail(parser, parser->at, "the text ends where '%s' must %s", text, where);
  return fail(parser, parser->at, "'%s' must %s, not %s", text, where,
              excerpt(parser->at, strlen(parser->at)).text);
}

/* A field up to the next ';', without the spaces around it. */
static bool read_field(struct parser *parser, const char **field, size_t *length) {
  skip_spaces(parser);
  *field = parser->at;
  *length = strcspn(parser->at, ";()");
  parser->at += *length;
  while (*length > 0 && strchr(" \t\r\n", (*field)[*length - 1]))
    --*length;
  return true;
}

static const struct word *find_word(const struct word *words, size_t count, const char *text,
                                    size_t length) {
  for (size_t i = 0; i < count; i++)
    if (strlen(words[i].text) == length && same_letters(words[i].text, text, length))
      return &words[i];
  return NULL;
}

/* Digits of a base; false if there are none or the number is over the limit. */
static bool read_digits(const char **at, unsigned base, uint64_t limit, uint64_t *value) {
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

/* Which base a number is written in, as in C; *at is moved behind what tells it. */
static unsigned read_base(const char **at) {
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

/* A number without sign, in any base. */
static bool read_number(struct parser *parser, uint64_t limit, const char *what, uint64_t *value) {
  skip_spaces(parser);
  const char *start = parser->at, *at = start;
  unsigned base = read_base(&at);
  if (!read_digits(&at, base, limit, value) || is_alphanumeric(*at))
    return fail(parser, start, "%s is not %s", here(parser).text, what);
  parser->at = at;
  return true;
}

/* -------------------------------------------------------------- reading: SIDs */

struct sid {
  uint8_t bytes[SID_MAX];
  size_t length; /* 0: none */
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
  bool hexadecimal = same_letters(start, "0x", 2);
  if (!hexadecimal) {
    if (read_digits(&parser->at, 10, (UINT64_C(1) << 48) - 1, authority))
      return true;
    return fail(parser, start, "after 'S-1-' there must be an authority, a number below 2^48");
  }
  *authority = 0;
  parser->at += 2;
  /* no more than 12, so that a 'D' of "D:" after them is not taken for one */
  for (int i = 0; i < 12 && digit_value(*parser->at) < 16; i++)
    *authority = *authority << 4 | (unsigned)digit_value(*parser->at++);
  return parser->at > start + 2 || fail(parser, start, "'0x' must be followed by digits");
}

static bool read_numeric_sid(struct parser *parser, struct sid *sid) {
  const char *start = parser->at;
  uint64_t authority, subauthority;
  parser->at += 2; /* "S-" */
  if (!(parser->at[0] == '1' && parser->at[1] == '-'))
    return fail(parser, start, "a SID begins with 'S-1-', and this one does not");
  parser->at += 2;
  if (!read_authority(parser, &authority))
    return false;
  sid_begin(sid, authority);
  while (*parser->at == '-') {
    const char *number = ++parser->at;
    if (sid->bytes[1] == SID_MAX_SUBAUTHORITIES)
      return fail(parser, start, "the SID has more than 15 subauthorities");
    if (!read_digits(&parser->at, 10, UINT32_MAX, &subauthority))
      return fail(parser, number, "a subauthority of a SID is a number below 2^32");
    sid_add(sid, (uint32_t)subauthority);
  }
  return true;
}

static bool is_domain_constant(const char *text) {
  for (size_t i = 0; i < LENGTH(domain_constants); i++)
    if (same_letters(domain_constants[i], text, 2))
      return true;
  return false;
}

static bool read_sid(struct parser *parser, struct sid *sid) {
  skip_spaces(parser);
  const char *at = parser->at;
  if (same_letters(at, "S-", 2))
    return read_numeric_sid(parser, sid);
  for (size_t i = 0; i < LENGTH(sid_constants); i++) {
    const struct sid_constant *constant = &sid_constants[i];
    if (same_letters(constant->text, at, 2)) {
      sid_begin(sid, constant->authority);
      for (size_t j = 0; j < constant->count; j++)
        sid_add(sid, constant->subauthorities[j]);
      parser->at += 2;
      return true;
    }
  }
  if (is_domain_constant(at))
    return fail(parser, at,
                "'%.2s' stands for an account of a machine or domain, which is not "
                "known here; write its SID, S-1-5-21-...",
                at);
  return fail(parser, at, "%s is not a SID", here(parser).text);
}

/* ---------------------------------------------------- reading: text and octets */

/* A UTF-16 unit as its four hexadecimal digits, after '%'. */
static bool read_escape(struct parser *parser, struct buffer *out) {
  const char *start = parser->at++;
  unsigned unit = 0;
  for (int i = 0; i < 4; i++, parser->at++) {
    if (digit_value(*parser->at) == 16)
      return fail(parser, start, "'%%' in a name must be followed by four hexadecimal digits");
    unit = unit << 4 | (unsigned)digit_value(*parser->at);
  }
  put16(out, (uint16_t)unit);
  return true;
}

/* One character, as UTF-16. */
static bool read_character(struct parser *parser, struct buffer *out) {
  uint32_t c = 0, before;
  size_t size = wtf8_decode(parser->at, strnlen(parser->at, 4), &c);
  bool pair = size == 3 && parser->at - parser->start >= 3 &&
              wtf8_decode(parser->at - 3, 3, &before) == 3 && surrogate_pair(before, c);
  if (size == 0 || pair)
    return fail(parser, parser->at, "this is not UTF-8");
  parser->at += size;
  if (c >= 0x10000) {
    put16(out, (uint16_t)(0xd800 + ((c - 0x10000) >> 10)));
    c = 0xdc00 + (c & 0x3ff);
  }
  put16(out, (uint16_t)c);
  return true;
}

/* A name up to a character that cannot be in one. */
static bool read_name(struct parser *parser, struct buffer *out, bool simple) {
  const char *start = parser->at;
  for (;;) {
    char c = *parser->at;
    bool plain = simple ? is_simple_name_character(c) || (c == '@' && parser->at > start)
                        : is_name_character(c);
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

/* A string in quotation marks, without them. */
static bool read_quoted(struct parser *parser, struct buffer *out) {
  const char *start = parser->at;
  if (!expect(parser, "\"", "begin a string"))
    return false;
  while (*parser->at != '"') {
    if (*parser->at == '\0')
      return fail(parser, start, "the string has no closing quotation mark");
    if (!read_character(parser, out))
      return false;
  }
  parser->at++;
  return true;
}

static bool read_octets(struct parser *parser, struct buffer *out) {
  const char *start = parser->at;
  for (; digit_value(parser->at[0]) < 16; parser->at += 2) {
    if (digit_value(parser->at[1]) == 16)
      return fail(parser, start, "octets take two hexadecimal digits each");
    put8(out, (uint8_t)(digit_value(parser->at[0]) << 4 | digit_value(parser->at[1])));
  }
  return true;
}

/* A place in the output whose value is known later. */
static size_t begin_counted(struct buffer *out) {
  size_t at = out->length;
  put32(out, 0);
  return at;
}

static void end_counted(struct buffer *out, size_t at) {
  if (out->error == 0)
    set32(out->bytes + at, (uint32_t)(out->length - at - 4));
}

/* -------------------------------------------------------- reading: conditions */

static bool read_expression(struct parser *parser, struct buffer *out, unsigned nesting);

/* An integer: its value in 64 bits, its sign, its base ([MS-DTYP] 2.4.4.17.5). */
static bool read_integer(struct parser *parser, struct buffer *out) {
  enum { PLUS = 1, MINUS = 2, UNSIGNED = 3 };
  const char *start = parser->at, *at = start;
  uint8_t sign = *at == '+' ? PLUS : *at == '-' ? MINUS : UNSIGNED;
  at += sign != UNSIGNED;
  unsigned base = read_base(&at);
  uint64_t value, limit = (uint64_t)INT64_MAX + (sign == MINUS);
  if (!read_digits(&at, base, limit, &value) || is_simple_name_character(*at))
    return fail(parser, start, "%s is not a number of 64 bits", here(parser).text);
  parser->at = at;
  put8(out, TOKEN_INT64);
  put64(out, sign == MINUS ? 0 - value : value);
  put8(out, sign);
  put8(out, base == 8 ? 1 : base == 10 ? 2 : 3);
  return true;
}

static bool read_sid_literal(struct parser *parser, struct buffer *out) {
  struct sid sid;
  if (!expect(parser, "SID", "stand before a SID") || !expect(parser, "(", "follow SID") ||
      !read_sid(parser, &sid) || !expect(parser, ")", "follow the SID"))
    return false;
  put8(out, TOKEN_SID);
  put32(out, (uint32_t)sid.length);
  put(out, sid.bytes, sid.length);
  return true;
}

/* The length of the word at the parser's place, as far as it could be an attribute's name. */
static size_t word_length(const struct parser *parser) {
  size_t length = 0;
  for (char c = *parser->at; is_simple_name_character(c) || c == '@' || c == '%' || (c & 0x80);)
    c = parser->at[++length];
  return length;
}

static bool next_is_sid(struct parser *parser) {
  skip_spaces(parser);
  if (word_length(parser) != 3 || !same_letters(parser->at, "SID", 3))
    return false;
  const char *after = parser->at + 3;
  return after[strspn(after, " \t\r\n")] == '(';
}

/* A single literal, if one is there. */
static bool next_is_literal(struct parser *parser) {
  skip_spaces(parser);
  char c = *parser->at;
  return is_digit(c) || (c != '\0' && strchr("+-\"#", c)) || next_is_sid(parser);
}

static bool read_single_literal(struct parser *parser, struct buffer *out) {
  char c = *parser->at;
  size_t counted;
  if (next_is_sid(parser))
    return read_sid_literal(parser, out);
  if (c != '"' && c != '#')
    return read_integer(parser, out);
  put8(out, c == '"' ? TOKEN_STRING : TOKEN_OCTETS);
  counted = begin_counted(out);
  parser->at += c == '#';
  bool result = c == '"' ? read_quoted(parser, out) : read_octets(parser, out);
  end_counted(out, counted);
  return result;
}

static bool read_composite(struct parser *parser, struct buffer *out, bool only_sids) {
  put8(out, TOKEN_COMPOSITE);
  size_t counted = begin_counted(out);
  parser->at++; /* '{' */
  if (!accept(parser, "}")) {
    do {
      if (only_sids ? !next_is_sid(parser) : !next_is_literal(parser))
        return fail(parser, parser->at, "%s is not %s", here(parser).text,
                    only_sids ? "SID(...)" : "a value");
      if (!read_single_literal(parser, out))
        return false;
    } while (accept(parser, ","));
    if (!expect(parser, "}", "end the list"))
      return false;
  }
  end_counted(out, counted);
  return true;
}

/* An attribute, with its scope or without. */
static bool read_attribute(struct parser *parser, struct buffer *out) {
  skip_spaces(parser);
  const char *start = parser->at;
  uint8_t token = TOKEN_LOCAL;
  for (size_t i = 0; i < LENGTH(scopes) && token == TOKEN_LOCAL; i++)
    if (accept(parser, scopes[i].text))
      token = scopes[i].token;
  if (*start == '@' && token == TOKEN_LOCAL)
    return fail(parser, start, "an attribute begins with @User., @Device. or @Resource., not %s",
                here(parser).text);
  put8(out, token);
  size_t counted = begin_counted(out);
  const char *name = parser->at;
  if (!read_name(parser, out, token == TOKEN_LOCAL))
    return false;
  if (parser->at == name)
    return fail(parser, start, "an attribute must stand here, not %s", here(parser).text);
  end_counted(out, counted);
  return true;
}

static bool read_operand(struct parser *parser, struct buffer *out) {
  if (next_is(parser, "{"))
    return read_composite(parser, out, false);
  if (next_is_literal(parser))
    return read_single_literal(parser, out);
  return read_attribute(parser, out);
}

static bool read_members(struct parser *parser, struct buffer *out) {
  if (next_is(parser, "{"))
    return read_composite(parser, out, true);
  return read_sid_literal(parser, out);
}

/* The operation of a relation at the parser's place, taken, or NULL. */
static const struct operation *accept_relation(struct parser *parser) {
  skip_spaces(parser);
  size_t length = word_length(parser);
  const struct operation *word = operation_of_word(parser->at, length);
  if (word && word->kind == RELATION) {
    parser->at += length;
    return word;
  }
  for (size_t i = 0; i < LENGTH(operators); i++)
    if (operators[i].kind == RELATION && !is_alphanumeric(operators[i].text[0]) &&
        accept(parser, operators[i].text))
      return &operators[i];
  return NULL;
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
  put8(out, operation->token);
  return true;
}

/* What && and || connect. */
static bool read_term(struct parser *parser, struct buffer *out, unsigned nesting) {
  skip_spaces(parser);
  if (nesting >= MAX_NESTING)
    return fail(parser, parser->at, "the condition is nested more than %d deep", MAX_NESTING);
  if (accept(parser, "!")) {
    bool parenthesis = accept(parser, "(");
    if (parenthesis ? !read_expression(parser, out, nesting + 1) ||
                          !expect(parser, ")", "close a parenthesis of the condition")
                    : !read_term(parser, out, nesting + 1))
      return false;
    put8(out, TOKEN_NOT);
    return true;
  }
  if (accept(parser, "("))
    return read_expression(parser, out, nesting + 1) &&
           expect(parser, ")", "close a parenthesis of the condition");
  size_t length = word_length(parser);
  const struct operation *operation = operation_of_word(parser->at, length);
  if (!operation || operation->kind == RELATION)
    return read_relation(parser, out);
  parser->at += length;
  if (operation->kind == EXISTENCE ? !read_attribute(parser, out) : !read_members(parser, out))
    return false;
  put8(out, operation->token);
  return true;
}

/* Terms with && between them, which binds more than ||. */
static bool read_conjunction(struct parser *parser, struct buffer *out, unsigned nesting) {
  if (!read_term(parser, out, nesting))
    return false;
  while (accept(parser, "&&")) {
    if (!read_term(parser, out, nesting))
      return false;
    put8(out, TOKEN_AND);
  }
  return true;
}

static bool read_expression(struct parser *parser, struct buffer *out, unsigned nesting) {
  if (!read_conjunction(parser, out, nesting))
    return false;
  while (accept(parser, "||")) {
    if (!read_conjunction(parser, out, nesting))
      return false;
    put8(out, TOKEN_OR);
  }
  return true;
}

static bool read_condition(struct parser *parser, struct buffer *out) {
  if (!expect(parser, "(", "begin the condition"))
    return false;
  put(out, condition_signature, sizeof condition_signature);
  return read_expression(parser, out, 0) && expect(parser, ")", "end the condition");
}

/* ------------------------------------------------ reading: resource attributes */

static bool read_signed(struct parser *parser, uint64_t *value) {
  skip_spaces(parser);
  const char *start = parser->at, *at = start;
  bool minus = *at == '-';
  at += minus || *at == '+';
  unsigned base = read_base(&at);
  if (!read_digits(&at, base, (uint64_t)INT64_MAX + minus, value) || is_alphanumeric(*at))
    return fail(parser, start, "%s is not a number of 64 bits", here(parser).text);
  parser->at = at;
  *value = minus ? 0 - *value : *value;
  return true;
}

/* A SID, by itself as the grammar has it, or as in a condition. */
static bool read_claim_sid(struct parser *parser, struct sid *sid) {
  bool literal = next_is_sid(parser);
  return !literal
             ? read_sid(parser, sid)
             : expect(parser, "SID", "stand before a SID") && expect(parser, "(", "follow SID") &&
                   read_sid(parser, sid) && expect(parser, ")", "follow the SID");
}

static bool read_claim_value(struct parser *parser, struct buffer *out, uint32_t type) {
  uint64_t number;
  struct sid sid;
  size_t counted;
  switch (type) {
  case CLAIM_INT64:
    if (!read_signed(parser, &number))
      return false;
    put64(out, number);
    return true;
  case CLAIM_UINT64:
    if (!read_number(parser, UINT64_MAX, "a number of 64 bits without sign", &number))
      return false;
    put64(out, number);
    return true;
  case CLAIM_BOOLEAN:
    if (!read_number(parser, 1, "0 or 1", &number))
      return false;
    put64(out, number);
    return true;
  case CLAIM_STRING:
    if (!read_quoted(parser, out))
      return false;
    put16(out, 0);
    return true;
  case CLAIM_SID:
    if (!read_claim_sid(parser, &sid))
      return false;
    put32(out, (uint32_t)sid.length);
    put(out, sid.bytes, sid.length);
    return true;
  default:
    skip_spaces(parser);
    counted = begin_counted(out);
    parser->at += *parser->at == '#';
    if (!read_octets(parser, out))
      return false;
    end_counted(out, counted);
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
  if (!expect(parser, "\"", "begin the attribute's name"))
    return false;
  const char *start = parser->at;
  if (!read_name(parser, out, false) || !expect(parser, "\"", "end the attribute's name"))
    return false;
  if (has_zero_unit(out))
    return fail(parser, start, "the name of a resource attribute cannot have a zero in it");
  put16(out, 0);
  return true;
}

static bool read_claim_type(struct parser *parser, uint32_t *type) {
  skip_spaces(parser);
  const struct word *word =
      find_word(claim_types, LENGTH(claim_types), parser->at, word_length(parser));
  if (!word)
    return fail(parser, parser->at, "%s is not a type of attributes: TI, TU, TS, TD, TB or TX",
                here(parser).text);
  parser->at += 2;
  *type = word->value;
  return true;
}

/* The values: their offsets, from the start of the first, and what they are. */
static bool read_claim_values(struct parser *parser, uint32_t type, struct buffer *offsets,
                              struct buffer *values) {
  while (accept(parser, ",")) {
    put_zeros_to_multiple_of_4(values);
    put32(offsets, (uint32_t)values->length);
    if (!read_claim_value(parser, values, type))
      return false;
  }
  return true;
}

/* CLAIM_SECURITY_ATTRIBUTE_RELATIVE_V1 ([MS-DTYP] 2.4.10.1): header, offsets, name, values. */
static void put_claim(struct buffer *out, uint32_t type, uint32_t flags, struct buffer *name,
                      struct buffer *offsets, const struct buffer *values) {
  put_zeros_to_multiple_of_4(name);
  uint32_t name_at = CLAIM_HEADER + (uint32_t)offsets->length;
  put32(out, name_at);
  put16(out, (uint16_t)type);
  put16(out, 0);
  put32(out, flags);
  put32(out, (uint32_t)(offsets->length / 4));
  for (size_t i = 0; i < offsets->length; i += 4)
    put32(out, name_at + (uint32_t)name->length + field32(offsets->bytes + i));
  put(out, name->bytes, name->length);
  put(out, values->bytes, values->length);
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
      expect(parser, "(", "begin the resource attribute") && read_claim_name(parser, &name) &&
      expect(parser, ",", "follow the attribute's name") && read_claim_type(parser, &type) &&
      expect(parser, ",", "follow the attribute's type") &&
      read_number(parser, UINT32_MAX, "a number of 32 bits", &flags) &&
      read_claim_values(parser, type, &offsets, &values) &&
      expect(parser, ")", "end the resource attribute");
  if (result)
    put_claim(out, type, (uint32_t)flags, &name, &offsets, &values);
  free(name.bytes);
  free(offsets.bytes);
  free(values.bytes);
  return result;
}

/* -------------------------------------------------------------- reading: ACEs */

static bool read_ace_type(struct parser *parser, uint8_t *type) {
  const char *field;
  size_t length;
  read_field(parser, &field, &length);
  const struct word *word = find_word(ace_types, LENGTH(ace_types), field, length);
  if (!word)
    return fail(parser, field, "%s is not a type of ACE", excerpt(field, length).text);
  *type = (uint8_t)word->value;
  return true;
}

/* Words of two letters each, or-ed together. */
static bool read_words(struct parser *parser, const struct word *words, size_t count,
                       const char *field, size_t length, const char *what, uint32_t *value) {
  *value = 0;
  for (size_t i = 0; i < length; i += 2) {
    const struct word *word = length - i < 2 ? NULL : find_word(words, count, field + i, 2);
    if (!word)
      return fail(parser, field + i, "%s is not %s",
                  excerpt(field + i, length - i < 2 ? 1 : 2).text, what);
    *value |= word->value;
  }
  return true;
}

static bool read_ace_flags(struct parser *parser, uint8_t *flags) {
  const char *field;
  size_t length;
  uint32_t value;
  read_field(parser, &field, &length);
  if (!read_words(parser, ace_flags, LENGTH(ace_flags), field, length, "a flag of an ACE", &value))
    return false;
  *flags = (uint8_t)value;
  return true;
}

static bool read_rights(struct parser *parser, uint32_t *mask) {
  const char *field;
  size_t length;
  uint64_t value;
  skip_spaces(parser);
  if (is_digit(*parser->at)) {
    if (!read_number(parser, UINT32_MAX, "a number of 32 bits", &value))
      return false;
    *mask = (uint32_t)value;
    return true;
  }
  read_field(parser, &field, &length);
  return read_words(parser, rights, LENGTH(rights), field, length,
                    "a right; rights are pairs of letters such as FA, GR, RC, or a number", mask);
}

/* The bytes of a GUID in the order they are written in, "-" left out. */
static const uint8_t guid_order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

/* A GUID, or nothing. */
static bool read_guid(struct parser *parser, uint8_t guid[16], bool *present) {
  const char *field;
  size_t length;
  read_field(parser, &field, &length);
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
  return valid || fail(parser, field, "%s is not a GUID", excerpt(field, length).text);
}

struct object_types {
  uint8_t object[16], inherited[16];
  bool has_object, has_inherited;
};

static bool read_object_types(struct parser *parser, uint8_t type, struct object_types *types) {
  skip_spaces(parser);
  const char *start = parser->at;
  if (!read_guid(parser, types->object, &types->has_object) ||
      !expect(parser, ";", "follow the object's GUID") ||
      !read_guid(parser, types->inherited, &types->has_inherited))
    return false;
  if ((types->has_object || types->has_inherited) && !ace_type_has_objects(type))
    return fail(parser, start, "an ACE of this type cannot have GUIDs of objects");
  return true;
}

static void put_object_types(struct buffer *out, const struct object_types *types) {
  put32(out, (types->has_object ? ACE_OBJECT_TYPE_PRESENT : 0) |
                 (types->has_inherited ? ACE_INHERITED_OBJECT_TYPE_PRESENT : 0));
  if (types->has_object)
    put(out, types->object, 16);
  if (types->has_inherited)
    put(out, types->inherited, 16);
}

/* What follows the SID in the ACEs that have more. */
static bool read_ace_data(struct parser *parser, uint8_t type, struct buffer *out) {
  if (ace_has_condition(type))
    return expect(parser, ";", "come before the condition") && read_condition(parser, out);
  if (type == ACE_RESOURCE_ATTRIBUTE)
    return expect(parser, ";", "come before the resource attribute") && read_claim(parser, out);
  return true;
}

static bool read_ace(struct parser *parser, struct buffer *out, bool *has_objects) {
  uint8_t type = 0, flags = 0;
  uint32_t mask = 0;
  struct object_types types;
  struct sid sid;
  size_t start = out->length;
  if (!read_ace_type(parser, &type) || !expect(parser, ";", "follow the type of an ACE") ||
      !read_ace_flags(parser, &flags) || !expect(parser, ";", "follow the flags of an ACE") ||
      !read_rights(parser, &mask) || !expect(parser, ";", "follow the rights of an ACE") ||
      !read_object_types(parser, type, &types) ||
      !expect(parser, ";", "follow the inherited object's GUID") || !read_sid(parser, &sid))
    return false;
  put8(out, type);
  put8(out, flags);
  put16(out, 0); /* the size, known at the end */
  put32(out, mask);
  if (ace_type_has_objects(type)) {
    put_object_types(out, &types);
    *has_objects = true;
  }
  put(out, sid.bytes, sid.length);
  if (!read_ace_data(parser, type, out) || !expect(parser, ")", "end the ACE"))
    return false;
  put_zeros_to_multiple_of_4(out);
  if (out->error == 0)
    set16(out->bytes + start + 2, (uint16_t)(out->length - start));
  return true;
}

/* ------------------------------------------------------- reading: descriptors */

struct description {
  uint16_t control;
  struct sid owner, group;
  bool has_owner, has_group;
  struct buffer dacl, sacl;
};

/* P, AR, AI and NO_ACCESS_CONTROL, in any order. */
static bool read_acl_flags(struct parser *parser, const struct acl_bits *bits, uint16_t *control,
                           bool *null) {
  for (;;) {
    skip_spaces(parser);
    const char *start = parser->at;
    if (accept(parser, "NO_ACCESS_CONTROL"))
      *null = true;
    else if (accept(parser, "AR"))
      *control |= bits->inherit_required;
    else if (accept(parser, "AI"))
      *control |= bits->inherited;
    else if (accept(parser, "P"))
      *control |= bits->protected_;
    else if (is_alphanumeric(*start) && start[1] != ':')
      return fail(parser, start, "%s is not a flag of an ACL: P, AR, AI or NO_ACCESS_CONTROL",
                  here(parser).text);
    else
      return true;
  }
}

/* ACEs as long as there are any, and room. */
static bool read_aces(struct parser *parser, struct buffer *acl, uint16_t *count,
                      bool *has_objects) {
  const char *start = parser->at;
  while (acl->error == 0 && accept(parser, "(")) {
    if (!read_ace(parser, acl, has_objects))
      return false;
    ++*count;
  }
  if (acl->error == -EOPNOTSUPP)
    return fail(parser, start, "this ACL takes more than %d bytes", MAX_ACL);
  return acl->error == 0;
}

static bool read_acl(struct parser *parser, const struct acl_bits *bits, uint16_t *control,
                     struct buffer *acl) {
  static const uint8_t header[ACL_HEADER];
  bool null = false, has_objects = false;
  uint16_t count = 0;
  *control |= bits->present;
  if (!read_acl_flags(parser, bits, control, &null))
    return false;
  if (null)
    return !next_is(parser, "(") || fail(parser, parser->at, "NO_ACCESS_CONTROL cannot have ACEs");
  put(acl, header, sizeof header);
  if (!read_aces(parser, acl, &count, &has_objects))
    return false;
  acl->bytes[0] = has_objects ? ACL_REVISION_OBJECTS : ACL_REVISION; /* [MS-DTYP] 2.4.5 */
  set16(acl->bytes + 2, (uint16_t)acl->length);
  set16(acl->bytes + 4, count);
  return true;
}

static bool read_sid_part(struct parser *parser, struct sid *sid, bool *present) {
  *present = true;
  return read_sid(parser, sid);
}

static bool only_once(struct parser *parser, bool before, const char *what) {
  return !before || fail(parser, parser->at, "there is a second %s", what);
}

static bool read_part(struct parser *parser, struct description *description) {
  struct description *d = description;
  if (next_is(parser, "O:"))
    return only_once(parser, d->has_owner, "owner, O:") && accept(parser, "O:") &&
           read_sid_part(parser, &d->owner, &d->has_owner);
  if (next_is(parser, "G:"))
    return only_once(parser, d->has_group, "group, G:") && accept(parser, "G:") &&
           read_sid_part(parser, &d->group, &d->has_group);
  if (next_is(parser, "D:"))
    return only_once(parser, d->control & CONTROL_DACL_PRESENT, "DACL, D:") &&
           accept(parser, "D:") && read_acl(parser, &dacl_bits, &d->control, &d->dacl);
  if (next_is(parser, "S:"))
    return only_once(parser, d->control & CONTROL_SACL_PRESENT, "SACL, S:") &&
           accept(parser, "S:") && read_acl(parser, &sacl_bits, &d->control, &d->sacl);
  return fail(parser, parser->at, "O:, G:, D: or S: must begin here, not %s",
              excerpt(parser->at, strlen(parser->at)).text);
}

static bool read_parts(struct parser *parser, struct description *description) {
  skip_spaces(parser);
  while (*parser->at != '\0') {
    if (!read_part(parser, description))
      return false;
    skip_spaces(parser);
  }
  return true;
}

/* Append a part, if it is there, and note its offset in the header. */
static void put_part(struct buffer *out, size_t field, const uint8_t *bytes, size_t length) {
  uint32_t offset = (uint32_t)out->length;
  if (length == 0)
    return;
  put(out, bytes, length);
  if (out->error == 0)
    set32(out->bytes + field, offset);
}

/* In the order in which Windows lays them out. */
static void put_descriptor(struct buffer *out, const struct description *description) {
  static const uint8_t header[SECURITY_HEADER] = {1};
  put(out, header, sizeof header);
  if (out->error == 0)
    set16(out->bytes + 2, description->control | CONTROL_SELF_RELATIVE);
  put_part(out, 12, description->sacl.bytes, description->sacl.length);
  put_part(out, 16, description->dacl.bytes, description->dacl.length);
  put_part(out, 4, description->owner.bytes, description->owner.length);
  put_part(out, 8, description->group.bytes, description->group.length);
}

static bool parse(struct parser *parser, struct buffer *out) {
  struct description description = {.dacl.limit = MAX_ACL, .sacl.limit = MAX_ACL};
  bool result = read_parts(parser, &description);
  if (result) {
    put_descriptor(out, &description);
    result = out->error == 0;
    if (out->error == -EOPNOTSUPP)
      fail(parser, parser->start, "this descriptor takes more than %u bytes", CASEFS_MAX_SECURITY);
  }
  free(description.dacl.bytes);
  free(description.sacl.bytes);
  return result;
}

int casefs_security_from_sddl(const char *sddl, void **descriptor, size_t *length, char **error) {
  struct parser parser = {.start = sddl, .at = sddl};
  struct buffer out = {.limit = CASEFS_MAX_SECURITY};
  *descriptor = NULL;
  *length = 0;
  if (error)
    *error = NULL;
  if (parse(&parser, &out)) {
    *descriptor = out.bytes;
    *length = out.length;
    return 0;
  }
  free(out.bytes);
  int result = parser.failed && parser.error ? -EINVAL : -ENOMEM;
  if (error)
    *error = parser.error;
  else
    free(parser.error);
  return result;
}
