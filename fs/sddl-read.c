/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Text to descriptors: the ACLs and what is around them.
 */

#include "sddl-read.h"

#include "casefs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
    sddl_skip_spaces(parser);
    const char *start = parser->at;
    if (sddl_accept(parser, "NO_ACCESS_CONTROL"))
      *null = true;
    else if (sddl_accept(parser, "AR"))
      *control |= bits->inherit_required;
    else if (sddl_accept(parser, "AI"))
      *control |= bits->inherited;
    else if (sddl_accept(parser, "P"))
      *control |= bits->protected_;
    else if (is_alphanumeric(*start) && start[1] != ':')
      return sddl_fail(parser, start, "%s is not a flag of an ACL: P, AR, AI or NO_ACCESS_CONTROL",
                       sddl_here(parser).text);
    else
      return true;
  }
}

/* ACEs as long as there are any, and room. */
static bool read_aces(struct parser *parser, struct buffer *acl, uint16_t *count,
                      bool *has_objects) {
  const char *start = parser->at;
  while (acl->error == 0 && sddl_accept(parser, "(")) {
    if (!sddl_read_ace(parser, acl, has_objects))
      return false;
    ++*count;
  }
  if (acl->error == -EOPNOTSUPP)
    return sddl_fail(parser, start, "this ACL takes more than %d bytes", MAX_ACL);
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
    return !sddl_next_is(parser, "(") ||
           sddl_fail(parser, parser->at, "NO_ACCESS_CONTROL cannot have ACEs");
  sddl_put(acl, header, sizeof header);
  if (!read_aces(parser, acl, &count, &has_objects))
    return false;
  acl->bytes[0] = has_objects ? ACL_REVISION_OBJECTS : ACL_REVISION; /* [MS-DTYP] 2.4.5 */
  set16(acl->bytes + 2, (uint16_t)acl->length);
  set16(acl->bytes + 4, count);
  return true;
}

static bool read_sid_part(struct parser *parser, struct sid *sid, bool *present) {
  *present = true;
  return sddl_read_sid(parser, sid);
}

static bool only_once(struct parser *parser, bool before, const char *what) {
  return !before || sddl_fail(parser, parser->at, "there is a second %s", what);
}

static bool read_part(struct parser *parser, struct description *description) {
  struct description *d = description;
  if (sddl_next_is(parser, "O:"))
    return only_once(parser, d->has_owner, "owner, O:") && sddl_accept(parser, "O:") &&
           read_sid_part(parser, &d->owner, &d->has_owner);
  if (sddl_next_is(parser, "G:"))
    return only_once(parser, d->has_group, "group, G:") && sddl_accept(parser, "G:") &&
           read_sid_part(parser, &d->group, &d->has_group);
  if (sddl_next_is(parser, "D:"))
    return only_once(parser, d->control & CONTROL_DACL_PRESENT, "DACL, D:") &&
           sddl_accept(parser, "D:") && read_acl(parser, &sddl_dacl_bits, &d->control, &d->dacl);
  if (sddl_next_is(parser, "S:"))
    return only_once(parser, d->control & CONTROL_SACL_PRESENT, "SACL, S:") &&
           sddl_accept(parser, "S:") && read_acl(parser, &sddl_sacl_bits, &d->control, &d->sacl);
  return sddl_fail(parser, parser->at, "O:, G:, D: or S: must begin here, not %s",
                   sddl_excerpt(parser->at, strlen(parser->at)).text);
}

static bool read_parts(struct parser *parser, struct description *description) {
  sddl_skip_spaces(parser);
  while (*parser->at != '\0') {
    if (!read_part(parser, description))
      return false;
    sddl_skip_spaces(parser);
  }
  return true;
}

/* Append a part, if it is there, and note its offset in the header. */
static void put_part(struct buffer *out, size_t field, const uint8_t *bytes, size_t length) {
  uint32_t offset = (uint32_t)out->length;
  if (length == 0)
    return;
  sddl_put(out, bytes, length);
  if (out->error == 0)
    set32(out->bytes + field, offset);
}

/* In the order in which Windows lays them out. */
static void put_descriptor(struct buffer *out, const struct description *description) {
  static const uint8_t header[SECURITY_HEADER] = {1};
  sddl_put(out, header, sizeof header);
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
      sddl_fail(parser, parser->start, "this descriptor takes more than %u bytes",
                CASEFS_MAX_SECURITY);
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
