/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Descriptors to text: SIDs, rights, resource attributes, ACEs, ACLs.
 */

#include "sddl-write.h"

#include "casefs.h"
#include "names.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

enum { MAX_TEXT = 1 << 20 }; /* of a descriptor that a person or program wrote, some 300 KiB */

/* ------------------------------------------------------------------- parts */

static const struct word label_rights[] = {{"NW", 1}, {"NR", 2}, {"NX", 4}};

void sddl_write_sid(struct buffer *text, const uint8_t *sid) {
  const struct sid_constant *constant = sddl_constant_of_sid(sid);
  if (constant) {
    sddl_put_string(text, constant->text);
    return;
  }
  uint64_t authority = 0; /* big-endian, unlike all else */
  for (size_t i = 2; i < SID_HEADER; i++)
    authority = authority << 8 | sid[i];
  if (authority >> 32) /* [MS-DTYP] 2.4.2.1 */
    sddl_put_format(text, "S-1-0x%012" PRIX64, authority);
  else
    sddl_put_format(text, "S-1-%" PRIu64, authority);
  for (size_t i = 0; i < sid[1]; i++)
    sddl_put_format(text, "-%" PRIu32, field32(sid + SID_HEADER + 4 * i));
}

static void write_bits(struct buffer *text, const struct word *words, size_t count, uint32_t bits) {
  for (size_t i = 0; i < count; i++)
    if (bits & words[i].value)
      sddl_put_string(text, words[i].text);
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
    sddl_put_string(text, often_none ? "" : "0x0");
    return;
  }
  if (ace->type == ACE_MANDATORY_LABEL &&
      (ace->mask & ~all_bits(label_rights, LENGTH(label_rights))) == 0) {
    write_bits(text, label_rights, LENGTH(label_rights), ace->mask);
    return;
  }
  for (size_t i = RIGHTS_OF_ONE_BIT; i < RIGHTS_OF_FILES_AND_KEYS; i++)
    if (ace->mask == sddl_rights.words[i].value) {
      sddl_put_string(text, sddl_rights.words[i].text);
      return;
    }
  if (ace->mask & ~all_bits(sddl_rights.words, RIGHTS_OF_ONE_BIT))
    sddl_put_format(text, "0x%" PRIx32, ace->mask);
  else
    write_bits(text, sddl_rights.words, RIGHTS_OF_ONE_BIT, ace->mask);
}

static void write_guid(struct buffer *text, const uint8_t *guid) {
  if (!guid)
    return;
  sddl_put_format(text, "%08" PRIx32 "-%04x-%04x-%02x%02x-", field32(guid), field16(guid + 4),
                  field16(guid + 6), guid[8], guid[9]);
  for (size_t i = 10; i < 16; i++)
    sddl_put_format(text, "%02x", guid[i]);
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

void sddl_write_quoted(struct buffer *text, const uint8_t *units, size_t length) {
  const uint8_t *end = units + length;
  sddl_put8(text, '"');
  while (units < end) {
    uint32_t c = next_code_point(&units, end);
    char bytes[4];
    if (c == 0 || c == '"')
      sddl_unsayable(text);
    sddl_put(text, bytes, wtf8_encode(c, bytes));
  }
  sddl_put8(text, '"');
}

void sddl_write_name_unit(struct buffer *text, uint16_t unit, bool simple) {
  bool as_it_is = unit < 0x80 && (simple ? sddl_is_simple_name_character((char)unit)
                                         : sddl_is_name_character((char)unit));
  if (as_it_is)
    sddl_put8(text, (uint8_t)unit);
  else
    sddl_put_format(text, "%%%04x", unit);
}

void sddl_write_octets(struct buffer *text, const uint8_t *octets, size_t length) {
  for (size_t i = 0; i < length; i++)
    sddl_put_format(text, "%02x", octets[i]);
}

/* ----------------------------------------------------- resource attributes */

static void write_claim_value(struct buffer *text, uint16_t type, const uint8_t *value,
                              size_t length) {
  switch (type) {
  case CLAIM_INT64:
    sddl_put_format(text, "%" PRId64, (int64_t)field64(value));
    return;
  case CLAIM_BOOLEAN:
    if (field64(value) > 1)
      sddl_unsayable(text);
    sddl_put_format(text, "%" PRIu64, field64(value));
    return;
  case CLAIM_UINT64:
    sddl_put_format(text, "%" PRIu64, field64(value));
    return;
  case CLAIM_STRING:
    sddl_write_quoted(text, value, length);
    return;
  case CLAIM_SID:
    sddl_write_sid(text, value);
    return;
  default:
    sddl_write_octets(text, value, length);
  }
}

static void write_claim(struct buffer *text, const uint8_t *data, size_t data_length) {
  struct claim claim;
  if (!claim_read(data, data_length, &claim)) {
    sddl_unsayable(text);
    return;
  }
  sddl_put_string(text, "(\"");
  for (size_t i = 0; i < claim.name_length; i += 2)
    sddl_write_name_unit(text, field16(claim.name + i), false);
  sddl_put_string(text, "\",");
  const struct word *type = sddl_word_of_value(&sddl_claim_types, claim.type);
  sddl_put_string(text, type ? type->text : "");
  sddl_put_format(text, ",0x%" PRIx32, claim.flags);
  for (uint32_t i = 0; i < claim.count; i++) {
    const uint8_t *value;
    size_t length;
    if (!claim_value(&claim, i, &value, &length)) {
      sddl_unsayable(text);
      return;
    }
    sddl_put8(text, ',');
    write_claim_value(text, claim.type, value, length);
  }
  sddl_put8(text, ')');
}

/* ------------------------------------------------------------- descriptors */

static void write_ace(struct buffer *text, const struct ace *ace) {
  const struct word *type = sddl_word_of_value(&sddl_ace_types, ace->type);
  if (!type) {
    sddl_unsayable(text);
    return;
  }
  sddl_put8(text, '(');
  sddl_put_string(text, type->text);
  sddl_put8(text, ';');
  write_bits(text, sddl_ace_flags.words, 8, ace->flags);
  sddl_put8(text, ';');
  write_rights(text, ace);
  sddl_put8(text, ';');
  write_guid(text, ace->object_type);
  sddl_put8(text, ';');
  write_guid(text, ace->inherited_type);
  sddl_put8(text, ';');
  sddl_write_sid(text, ace->sid);
  if (sddl_ace_has_condition(ace->type)) {
    sddl_put8(text, ';');
    sddl_write_condition(text, ace->data, ace->data_length);
  } else if (ace->type == ACE_RESOURCE_ATTRIBUTE) {
    sddl_put8(text, ';');
    write_claim(text, ace->data, ace->data_length);
  }
  sddl_put8(text, ')');
}

/* Of a descriptor that is valid; acl is NULL if no offset is given. */
static void write_acl(struct buffer *text, const char *name, const struct acl_bits *bits,
                      uint16_t control, const uint8_t *acl) {
  if (!(control & bits->present))
    return;
  sddl_put_string(text, name);
  sddl_put_string(text, control & bits->protected_ ? "P" : "");
  sddl_put_string(text, control & bits->inherit_required ? "AR" : "");
  sddl_put_string(text, control & bits->inherited ? "AI" : "");
  if (!acl) {
    sddl_put_string(text, "NO_ACCESS_CONTROL");
    return;
  }
  const uint8_t *at = acl + ACL_HEADER;
  for (uint16_t count = field16(acl + 4); count > 0 && text->error == 0; count--) {
    struct ace ace;
    if (!ace_read(at, field16(at + 2), &ace))
      sddl_unsayable(text);
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
  sddl_put_string(text, name);
  sddl_write_sid(text, sid);
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
  write_acl(&text, "D:", &sddl_dacl_bits, control, part(bytes, 16));
  write_acl(&text, "S:", &sddl_sacl_bits, control, part(bytes, 12));
  sddl_put8(&text, '\0');
  if (text.error != 0) {
    free(text.bytes);
    return text.error;
  }
  *sddl = (char *)text.bytes;
  return 0;
}
