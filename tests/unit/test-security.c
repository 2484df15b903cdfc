/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Windows' own structures: descriptors and their text, names of extended
 * attributes, reparse points.
 *
 * Linked with --wrap=calloc and --wrap=realloc, so that memory can run out.
 */

#include "casefs.h"
#include "windows.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])
#define TEXT(literal) literal, sizeof(literal) - 1
#define GUID_1 "bf967aba-0de6-11d0-a285-00aa003049e2"
#define GUID_2 "00299570-246d-11d0-a768-00aa006e0529"

static int allocations_left = -1; /* negative: as many as there are */

void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);

static bool memory_runs_out(void) {
  return allocations_left >= 0 && allocations_left-- == 0;
}

void *__wrap_calloc(size_t count, size_t size) {
  return memory_runs_out() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size) {
  return memory_runs_out() ? NULL : __real_realloc(block, size);
}

struct bytes {
  uint8_t *data;
  size_t length;
};

/* A copy with nothing after it, so that a sanitizer sees a read past its end. */
static uint8_t *exact(const void *data, size_t length) {
  uint8_t *copy = malloc(length ? length : 1);
  assert_non_null(copy);
  memcpy(copy, data, length);
  return copy;
}

static int check(const uint8_t *data, size_t length) {
  uint8_t *copy = exact(data, length);
  int result = casefs_security_check(copy, length);
  free(copy);
  return result;
}

static int to_sddl(const uint8_t *data, size_t length, char **sddl) {
  uint8_t *copy = exact(data, length);
  int result = casefs_security_to_sddl(copy, length, sddl);
  assert_true((result == 0) == (*sddl != NULL));
  free(copy);
  return result;
}

/* The descriptor of a text that is right. */
static struct bytes from_sddl(const char *sddl) {
  struct bytes result;
  void *descriptor;
  char *error;
  char *copy = (char *)exact(sddl, strlen(sddl) + 1);
  if (casefs_security_from_sddl(copy, &descriptor, &result.length, &error) != 0)
    fail_msg("%s: %s", sddl, error);
  assert_null(error);
  free(copy);
  result.data = exact(descriptor, result.length);
  free(descriptor);
  assert_int_equal(check(result.data, result.length), 0);
  return result;
}

static void set_field(uint8_t *at, size_t size, uint32_t value) {
  for (size_t i = 0; i < size; i++)
    at[i] = (uint8_t)(value >> 8 * i);
}

/* What must hold of any bytes: if they are a descriptor that has a text, the text says the same:
 * it gives a descriptor that has that text. */
static void assert_consistent(const uint8_t *data, size_t length) {
  char *sddl, *again;
  int valid = check(data, length), result = to_sddl(data, length, &sddl);
  if (valid != 0) {
    assert_int_equal(valid, -EINVAL);
    assert_int_equal(result, -EINVAL);
    return;
  }
  if (result != 0) {
    assert_int_equal(result, -EOPNOTSUPP);
    return;
  }
  struct bytes read = from_sddl(sddl);
  assert_int_equal(to_sddl(read.data, read.length, &again), 0);
  assert_string_equal(sddl, again);
  free(read.data);
  free(sddl);
  free(again);
}

/* What must hold of any text: if it is right, it has a descriptor, and the text of that gives the
 * same bytes.  Returns whether it is right. */
static bool assert_text_consistent(const char *text) {
  void *descriptor, *again;
  size_t length, length_again;
  char *error, *sddl;
  int result = casefs_security_from_sddl(text, &descriptor, &length, &error);
  if (result != 0) {
    assert_int_equal(result, -EINVAL);
    assert_null(descriptor);
    assert_int_equal(strncmp(error, "at character ", 13), 0);
    free(error);
    return false;
  }
  assert_null(error);
  assert_int_equal(check(descriptor, length), 0);
  if (to_sddl(descriptor, length, &sddl) != 0)
    fail_msg("%s has no text", text);
  assert_int_equal(casefs_security_from_sddl(sddl, &again, &length_again, NULL), 0);
  if (length != length_again || memcmp(descriptor, again, length) != 0)
    fail_msg("%s and %s have different bytes", text, sddl);
  free(descriptor);
  free(again);
  free(sddl);
  return true;
}

/* ------------------------------------------------------------- descriptors */

/* Where its parts are: SACL 20, with one ACE at 28; DACL 48, with ACEs at 56 and 76; owner 132;
 * group 148. */
static const char base_a[] =
    "O:BAG:BUD:(A;OICI;FA;;;SY)(OA;;FA;" GUID_1 ";" GUID_2 ";WD)S:(AU;SA;FA;;;WD)";
/* SACL 20; ACE 28; SID 36; attribute 48, of 40 bytes: name at 24 of it, values at 32 and 36. */
static const char base_b[] = "S:(RA;;;;;WD;(\"ab\",TS,0x0,\"x\",\"y\"))";
/* The same: name at 20 of it, value at 28 (a length and 12 bytes). */
static const char base_c[] = "S:(RA;;;;;WD;(\"abc\",TD,0x0,WD))";
static const char base_d[] = "S:(RA;;;;;WD;(\"abc\",TX,0x0,010203040506))";
static const char base_e[] = "S:(RA;;;;;WD;(\"abc\",TI,0x0,7))";

static void malformed_fields(void **state) {
  (void)state;
  static const struct {
    const char *base;
    size_t offset, size;
    uint32_t value;
    int expected;
  } rows[] = {
      {base_a, 0, 1, 0, -EINVAL}, /* Revision */
      {base_a, 0, 1, 2, -EINVAL},
      {base_a, 1, 1, 0xff, 0},         /* Sbz1: the resource manager's */
      {base_a, 2, 2, 0x0014, -EINVAL}, /* Control: not self-relative */
      {base_a, 2, 2, 0x8010, -EINVAL}, /* an offset of a DACL, but none is present */
      {base_a, 2, 2, 0x8004, -EINVAL}, /* the same of the SACL */
      {base_a, 2, 2, 0xffff, 0},
      {base_a, 4, 4, 0, 0},       /* OffsetOwner */
      {base_a, 4, 4, 4, -EINVAL}, /* in the header */
      {base_a, 4, 4, 16, -EINVAL},
      {base_a, 4, 4, 133, -EINVAL}, /* not aligned */
      {base_a, 4, 4, 134, -EINVAL},
      {base_a, 4, 4, 20, -EINVAL}, /* not a SID */
      {base_a, 4, 4, 148, 0},      /* the group's */
      {base_a, 4, 4, 160, -EINVAL},
      {base_a, 4, 4, 164, -EINVAL},
      {base_a, 4, 4, 0xfffffffc, -EINVAL},
      {base_a, 4, 4, 0x80000084, -EINVAL},
      {base_a, 8, 4, 0, 0}, /* OffsetGroup */
      {base_a, 8, 4, 12, -EINVAL},
      {base_a, 8, 4, 149, -EINVAL},
      {base_a, 8, 4, 164, -EINVAL},
      {base_a, 8, 4, 0xfffffffc, -EINVAL},
      {base_a, 12, 4, 0, 0}, /* OffsetSacl: a null ACL */
      {base_a, 12, 4, 16, -EINVAL},
      {base_a, 12, 4, 22, -EINVAL},
      {base_a, 12, 4, 48, 0}, /* the DACL */
      {base_a, 12, 4, 132, -EINVAL},
      {base_a, 12, 4, 160, -EINVAL},
      {base_a, 12, 4, 0xfffffffc, -EINVAL},
      {base_a, 16, 4, 0, 0}, /* OffsetDacl */
      {base_a, 16, 4, 8, -EINVAL},
      {base_a, 16, 4, 49, -EINVAL},
      {base_a, 16, 4, 164, -EINVAL},
      {base_a, 16, 4, 0xfffffff8, -EINVAL},
      {base_a, 48, 1, 0, -EINVAL}, /* AclRevision */
      {base_a, 48, 1, 1, -EINVAL},
      {base_a, 48, 1, 2, 0},
      {base_a, 48, 1, 3, -EINVAL},
      {base_a, 48, 1, 5, -EINVAL},
      {base_a, 49, 1, 0xff, 0},    /* Sbz1 */
      {base_a, 50, 2, 0, -EINVAL}, /* AclSize */
      {base_a, 50, 2, 7, -EINVAL},
      {base_a, 50, 2, 80, -EINVAL}, /* cuts the last ACE */
      {base_a, 50, 2, 88, 0},       /* slack */
      {base_a, 50, 2, 116, 0},      /* to the end */
      {base_a, 50, 2, 117, -EINVAL},
      {base_a, 50, 2, 0xffff, -EINVAL},
      {base_a, 52, 2, 0, 0}, /* AceCount */
      {base_a, 52, 2, 1, 0},
      {base_a, 52, 2, 3, -EINVAL},
      {base_a, 52, 2, 0xffff, -EINVAL},
      {base_a, 54, 2, 0xffff, 0},     /* Sbz2 */
      {base_a, 56, 1, 0x04, 0},       /* AceType: compound, of unknown form */
      {base_a, 56, 1, 0x05, -EINVAL}, /* too short for an object ACE */
      {base_a, 56, 1, 0x09, 0},
      {base_a, 56, 1, 0x0b, -EINVAL},
      {base_a, 56, 1, 0x10, -EINVAL},
      {base_a, 56, 1, 0x11, 0},
      {base_a, 56, 1, 0x12, -EINVAL}, /* no attribute */
      {base_a, 56, 1, 0x13, 0},
      {base_a, 56, 1, 0x15, 0},
      {base_a, 56, 1, 0x16, 0},
      {base_a, 56, 1, 0xff, 0},
      {base_a, 57, 1, 0xff, 0},    /* AceFlags */
      {base_a, 58, 2, 0, -EINVAL}, /* AceSize */
      {base_a, 58, 2, 3, -EINVAL},
      {base_a, 58, 2, 4, -EINVAL},
      {base_a, 58, 2, 8, -EINVAL},
      {base_a, 58, 2, 16, -EINVAL}, /* cuts the SID */
      {base_a, 58, 2, 18, -EINVAL}, /* not a multiple of 4 */
      {base_a, 58, 2, 22, -EINVAL},
      {base_a, 58, 2, 76, -EINVAL}, /* takes the other ACE too */
      {base_a, 58, 2, 80, -EINVAL},
      {base_a, 58, 2, 0xfffc, -EINVAL},
      {base_a, 60, 4, 0xffffffff, 0}, /* Mask */
      {base_a, 64, 1, 0, -EINVAL},    /* SID.Revision */
      {base_a, 64, 1, 2, -EINVAL},
      {base_a, 65, 1, 0, 0}, /* SID.SubAuthorityCount */
      {base_a, 65, 1, 2, -EINVAL},
      {base_a, 65, 1, 15, -EINVAL},
      {base_a, 65, 1, 16, -EINVAL},
      {base_a, 65, 1, 255, -EINVAL},
      {base_a, 66, 4, 0xffffffff, 0}, /* IdentifierAuthority */
      {base_a, 72, 4, 0xffffffff, 0}, /* SubAuthority */
      {base_a, 78, 2, 8, -EINVAL},    /* AceSize of the object ACE */
      {base_a, 78, 2, 12, -EINVAL},
      {base_a, 78, 2, 28, -EINVAL},
      {base_a, 78, 2, 44, -EINVAL},
      {base_a, 78, 2, 52, -EINVAL},
      {base_a, 84, 4, 0, -EINVAL}, /* Flags: a GUID is not a SID */
      {base_a, 84, 4, 1, -EINVAL},
      {base_a, 84, 4, 2, -EINVAL},
      {base_a, 84, 4, 4, -EINVAL},
      {base_a, 84, 4, 7, -EINVAL},
      {base_a, 84, 4, 0x80000003, -EINVAL},
      {base_a, 88, 4, 0xffffffff, 0},  /* ObjectType */
      {base_a, 104, 4, 0xffffffff, 0}, /* InheritedObjectType */
      {base_a, 120, 1, 2, -EINVAL},    /* its SID */
      {base_a, 121, 1, 2, -EINVAL},
      {base_a, 132, 1, 0, -EINVAL}, /* the owner's SID */
      {base_a, 132, 1, 2, -EINVAL},
      {base_a, 133, 1, 1, 0},
      {base_a, 133, 1, 6, 0}, /* takes the group's, to the end */
      {base_a, 133, 1, 7, -EINVAL},
      {base_a, 133, 1, 16, -EINVAL},
      {base_a, 148, 1, 0, -EINVAL}, /* the group's SID */
      {base_a, 149, 1, 3, -EINVAL},
      {base_b, 48, 4, 0, 0}, /* Name: strange, but a string */
      {base_b, 48, 4, 40, -EINVAL},
      {base_b, 48, 4, 41, -EINVAL},
      {base_b, 48, 4, 0xffffffff, -EINVAL},
      {base_b, 52, 2, 0, -EINVAL}, /* ValueType */
      {base_b, 52, 2, 1, -EINVAL}, /* numbers of 8 bytes do not fit */
      {base_b, 52, 2, 4, -EINVAL},
      {base_b, 52, 2, 5, -EINVAL},
      {base_b, 52, 2, 7, -EINVAL},
      {base_b, 52, 2, 0x10, -EINVAL},
      {base_b, 52, 2, 0x11, -EINVAL},
      {base_b, 54, 2, 0xffff, 0},     /* Reserved */
      {base_b, 56, 4, 0xffffffff, 0}, /* Flags */
      {base_b, 60, 4, 0, 0},          /* ValueCount */
      {base_b, 60, 4, 1, 0},
      {base_b, 60, 4, 7, -EINVAL},
      {base_b, 60, 4, 0x40000000, -EINVAL},
      {base_b, 60, 4, 0xffffffff, -EINVAL},
      {base_b, 64, 4, 40, -EINVAL}, /* offset of a value */
      {base_b, 64, 4, 39, -EINVAL},
      {base_b, 64, 4, 0xfffffffe, -EINVAL},
      {base_b, 68, 4, 41, -EINVAL},
      {base_b, 86, 2, 'z', -EINVAL}, /* no end of the last string */
      {base_c, 64, 4, 40, -EINVAL},
      {base_c, 76, 4, 11, -EINVAL}, /* length of the SID */
      {base_c, 76, 4, 13, -EINVAL},
      {base_c, 76, 4, 8, -EINVAL},
      {base_c, 76, 4, 0, -EINVAL},
      {base_c, 76, 4, 0xffffffff, -EINVAL},
      {base_c, 80, 1, 2, -EINVAL},
      {base_c, 81, 1, 2, -EINVAL},
      {base_d, 76, 4, 0, 0}, /* length of the octets */
      {base_d, 76, 4, 8, 0}, /* with the padding */
      {base_d, 76, 4, 9, -EINVAL},
      {base_d, 76, 4, 0xffffffff, -EINVAL},
      {base_e, 64, 4, 29, -EINVAL}, /* offset of the number */
      {base_e, 64, 4, 24, 0},
  };
  for (size_t i = 0; i < LENGTH(rows); i++) {
    struct bytes base = from_sddl(rows[i].base);
    assert_true(rows[i].offset + rows[i].size <= base.length);
    set_field(base.data + rows[i].offset, rows[i].size, rows[i].value);
    if (check(base.data, base.length) != rows[i].expected)
      fail_msg("row %zu: %s, %u at %zu: not %d", i, rows[i].base, rows[i].value, rows[i].offset,
               rows[i].expected);
    assert_consistent(base.data, base.length);
    free(base.data);
  }
}

static void sizes_of_descriptors(void **state) {
  (void)state;
  uint8_t *large = calloc(1, CASEFS_MAX_SECURITY + 1);
  static const uint8_t header[] = {1, 0, 0, 0x80};
  assert_non_null(large);
  memcpy(large, header, sizeof header);
  for (size_t length = 0; length < 20; length++)
    assert_int_equal(check(large, length), -EINVAL);
  assert_int_equal(check(large, 20), 0);
  assert_int_equal(check(large, CASEFS_MAX_SECURITY), 0);
  assert_int_equal(check(large, CASEFS_MAX_SECURITY + 1), -EINVAL);
  free(large);
}

/* Many values that are all the same large one: small, and yet a text without end. */
static void overlapping_values(void **state) {
  (void)state;
  enum { CLAIM = 48, COUNT = 4000, STRING = CLAIM + 16 + 4 * COUNT, UNITS = 8000 };
  size_t length = STRING + 2 * UNITS + 4;
  struct bytes small = from_sddl(base_b);
  uint8_t *data = calloc(1, length);
  assert_non_null(data);
  memcpy(data, small.data, CLAIM);
  set_field(data + 20 + 2, 2, (uint32_t)length - 20);
  set_field(data + 28 + 2, 2, (uint32_t)length - 28);
  set_field(data + CLAIM, 4, STRING - CLAIM);
  set_field(data + CLAIM + 4, 2, CLAIM_STRING);
  set_field(data + CLAIM + 12, 4, COUNT);
  for (size_t i = 0; i < COUNT; i++)
    set_field(data + CLAIM + 16 + 4 * i, 4, STRING - CLAIM);
  for (size_t i = 0; i < UNITS; i++)
    data[STRING + 2 * i] = 'x';
  assert_int_equal(check(data, length), -EINVAL);
  set_field(data + CLAIM + 12, 4, 1);
  assert_int_equal(check(data, length), 0);
  free(data);
  free(small.data);
}

/* ---------------------------------------------------------------- to text */

/* As Windows writes them, or as this library does; each is its own text. */
static const char *const stable[] = {
    "",
    "O:BAG:BAD:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;WD)",
    /* a system drive */
    "O:S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"
    "G:S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"
    "D:PAI(A;OICIIO;DTLOCRSDRCWDWO;;;AU)(A;;LC;;;AU)(A;OICIIO;GXGR;;;BU)(A;;0x1200a9;;;BU)"
    "(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)S:AI(ML;OINPIO;NWNRNX;;;HI)",
    /* Program Files */
    "O:S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"
    "G:S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"
    "D:PAI(A;;FA;;;S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464)"
    "(A;CIIO;GA;;;S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464)"
    "(A;;0x1301bf;;;SY)(A;OICIIO;GA;;;SY)(A;;0x1301bf;;;BA)(A;OICIIO;GA;;;BA)(A;;0x1200a9;;;BU)"
    "(A;OICIIO;GXGR;;;BU)(A;OICIIO;GA;;;CO)(A;;0x1200a9;;;AC)(A;OICIIO;GXGR;;;AC)"
    "(A;;0x1200a9;;;S-1-15-2-2)(A;OICIIO;GXGR;;;S-1-15-2-2)",
    /* a profile, a share, inherited entries */
    "O:S-1-5-21-3623811015-3361044348-30300820-1013G:S-1-5-21-3623811015-3361044348-30300820-513"
    "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;S-1-5-21-3623811015-3361044348-30300820-1013)",
    "D:AI(D;OICI;FA;;;BG)(A;;FA;;;BA)(A;OICIID;FA;;;BA)(A;OICIID;FA;;;SY)(A;OICIIOID;GA;;;CO)"
    "(A;OICIID;0x1200a9;;;BU)(A;CIID;LC;;;BU)(A;CIID;DC;;;BU)",
    /* a service */
    "D:(A;;CCLCSWRPWPDTLOCRRC;;;SY)(A;;CCDCLCSWRPWPDTLOCRSDRCWDWO;;;BA)(A;;CCLCSWLOCRRC;;;IU)"
    "(A;;CCLCSWLOCRRC;;;SU)S:(AU;FA;CCDCLCSWRPWPDTLOCRSDRCWDWO;;;WD)",
    /* a registry key */
    "O:BAG:SYD:PARAI(A;CI;KA;;;BA)(A;CI;KR;;;BU)(A;CI;KW;;;PU)(A;CIIO;KA;;;CO)",
    /* objects of Active Directory */
    "D:(OA;;RPWP;" GUID_1 ";;AU)(OA;CIIO;CR;;" GUID_2 ";PS)(OD;CI;WP;" GUID_1 ";" GUID_2 ";ED)"
    "(OA;;FA;;;WD)S:(OU;CIIOSA;CR;" GUID_1 ";" GUID_2 ";WD)(OL;FA;CC;;;WD)(AL;SAFA;FA;;;SY)",
    /* labels, policies, trust, filters */
    "S:(ML;;NW;;;LW)(ML;OICI;NWNRNX;;;SI)(SP;;;;;S-1-17-1442530252-1178042555)"
    "(TL;;0x120019;;;S-1-19-512-4096)",
    "S:PARAI(ML;;CR;;;ME)(ML;;0x200;;;ME)",
    "D:NO_ACCESS_CONTROL",
    "O:SYD:PARAINO_ACCESS_CONTROLS:AINO_ACCESS_CONTROL",
    "D:",
    "D:PS:",
    "G:SU",
    "D:(A;;0x0;;;WD)(A;OICINPIOIDCRSAFA;GAGXGWGR;;;AN)(A;;0xffffffff;;;S-1-0-0)",
    "O:S-1-0xFFFFFFFFFFFFG:S-1-0x123456789ABCD:AR",
    "O:S-1-4294967295-4294967295G:S-1-5",
    "O:S-1-5-1-2-3-4-5-6-7-8-9-10-11-12-13-14-15",
    /* conditions */
    "D:(XA;;FX;;;WD;(@User.Title == \"PM\" && (@User.Division == \"Finance\" || "
    "@User.Division == \"Sales\")))",
    "D:AI(XA;OICI;FA;;;WD;(OctetStringType == #01020300))",
    "D:(XA;;FX;;;WD;(Member_of {SID(SY), SID(BA)} && Member_of_Any SID(S-1-5-21-1-2-3-512)))",
    "D:(XD;;FA;;;WD;(!(Exists a) && Not_Exists @Device.b || Not_Member_of {SID(WD)}))",
    "D:(XA;;FA;;;WD;(Device_Member_of {SID(BA)} || Device_Member_of_Any SID(BA) || "
    "Not_Device_Member_of SID(BA) || Not_Member_of_Any {} || Not_Device_Member_of_Any SID(BA)))",
    "S:(XU;SAFA;FA;;;WD;(@Resource.Project Any_of @User.Project))",
    "D:(ZA;;RP;" GUID_1 ";;WD;(@User.a != 1))(ZA;;RP;;;WD;(a))",
    "D:(XA;;FA;;;WD;(a < 1 && b <= -2 && c > +3 && d >= 0x4 && e != 010 && f == 00 && g == -0))",
    "D:(XA;;FA;;;WD;(a == -9223372036854775808 || a == 9223372036854775807 || a == -0x7f))",
    "D:(XA;;FA;;;WD;(a Contains {1, \"two\", #03, SID(BA), 0x5} && b Not_Contains 6 && "
    "c Not_Any_of {7}))",
    "D:(XA;;FA;;;WD;(a && b && c || d || (e || f) && g && (h && i)))",
    "D:(XA;;FA;;;WD;(!(!(!(a)))))",
    "D:(XA;;FA;;;WD;(@User.a%0020b-c#$'*+;?@[\\]^`{}~ == \"é💾\xed\xa0\x80 \\ (;)\"))",
    "D:(XA;;FA;;;WD;(%0031a == 1 && %0045xists && Exists %0053ID && a.b:c/d_e%0040f%00e9%d800))",
    "D:(XA;;FA;;;WD;(a == b && c == @Device.d && e == \"\" && f == #))",
    "S:(FL;;FA;;;WD;(@User.a == 1))",
    /* resource attributes */
    "S:(RA;;;;;WD;(\"Project\",TS,0x0,\"Windows\",\"SQL\"))",
    "S:(RA;OICI;;;;WD;(\"Secrecy\",TU,0x0,3,18446744073709551615))"
    "(RA;;;;;WD;(\"i\",TI,0x10001,-9223372036854775808,9223372036854775807,0))"
    "(RA;;;;;WD;(\"b\",TB,0xffffffff,0,1))(RA;;;;;WD;(\"s\",TD,0x2,BA,S-1-5-21-1-2-3-4))"
    "(RA;;;;;WD;(\"x\",TX,0x0,00ff,,01))(RA;;;;;WD;(\"%0025%0022%0020%00e9\",TS,0x0,\"é\",\"\"))"
    "(RA;;FA;;;SY;(\"\",TU,0x0))",
};

static void texts_are_stable(void **state) {
  (void)state;
  for (size_t i = 0; i < LENGTH(stable); i++) {
    struct bytes read = from_sddl(stable[i]);
    char *sddl;
    assert_int_equal(to_sddl(read.data, read.length, &sddl), 0);
    assert_string_equal(sddl, stable[i]);
    free(sddl);
    free(read.data);
    assert_true(assert_text_consistent(stable[i]));
  }
}

/* Other ways to write what is written above. */
static void other_spellings(void **state) {
  (void)state;
  static const char *const rows[][2] = {
      {"d:pai(a;oici;fa;;;wd)", "D:PAI(A;OICI;FA;;;WD)"},
      {"S:D:G:BAO:SY", "O:SYG:BAD:S:"},
      {" O:BA  G:S-1-5-18 D: P (A ; OI CI ; FA ; ; ; BA ) (D;;FA;;;WD) ", NULL},
      {" O:BA  G:S-1-5-18 D: P (A ; OICI ; FA ; ; ; BA ) (D;;FA;;;WD) ",
       "O:BAG:SYD:P(A;OICI;FA;;;BA)(D;;FA;;;WD)"},
      {"D:AIARP", "D:PARAI"},
      {"D:(A;;GRGX;;;WD)", "D:(A;;GXGR;;;WD)"},
      {"D:(A;;2032127;;;WD)(A;;0X1f01FF;;;WD)(A;;07600777;;;WD)",
       "D:(A;;FA;;;WD)(A;;FA;;;WD)(A;;FA;;;WD)"},
      {"D:(A;;FRFW;;;WD)(A;;FRFX;;;WD)(A;;KX;;;WD)(A;;NWNR;;;WD)(A;;;;;WD)",
       "D:(A;;0x12019f;;;WD)(A;;0x1200a9;;;WD)(A;;KR;;;WD)(A;;CCDC;;;WD)(A;;0x0;;;WD)"},
      {"S:(ML;;0x3;;;S-1-16-4096)(FL;TP;0x1;;;WD;(a))", "S:(ML;;NWNR;;;LW)(FL;SA;CC;;;WD;(a))"},
      {"O:S-1-0x000000000005-32-544", "O:BA"},
      {"O:s-1-5-32-544", "O:BA"},
      {"D:(OA;;FA;{" GUID_1 "};;WD)", NULL},
      {"D:(XA; ;FX;;;S-1-1-0; (@User.Title==\"PM\" && (@User.Division==\"Finance\" || "
       "@User.Division ==\"Sales\")))",
       "D:(XA;;FX;;;WD;(@User.Title == \"PM\" && (@User.Division == \"Finance\" || "
       "@User.Division == \"Sales\")))"},
      {"D:(XA;;FA;;;WD;(MEMBER_OF{sid(ba)}&&@USER.a any_of{1,2}))",
       "D:(XA;;FA;;;WD;(Member_of {SID(BA)} && @User.a Any_of {1, 2}))"},
      {"D:(XA;;FA;;;WD;(((a)) && ((b == 1))))", "D:(XA;;FA;;;WD;(a && b == 1))"},
      {"D:(XA;;FA;;;WD;((a && b) || c))", "D:(XA;;FA;;;WD;(a && b || c))"},
      {"D:(XA;;FA;;;WD;(! a == 1 && !!b))", "D:(XA;;FA;;;WD;(!(a == 1) && !(!(b))))"},
      {"D:(XA;;FA;;;WD;(Member_of.x && é == 1))", "D:(XA;;FA;;;WD;(Member_of.x && %00e9 == 1))"},
      {"S:(RA;;;;;WD;( \"a\" , TX , 0 , #00FF ))(RA;;;;;S-1-1-0;(\"s\",TD,0x0,SID(BA)))",
       "S:(RA;;;;;WD;(\"a\",TX,0x0,00ff))(RA;;;;;WD;(\"s\",TD,0x0,BA))"},
      {"S:(RA;;;;;WD;(\"a\",TI,0x0,+5,-0x10,010))", "S:(RA;;;;;WD;(\"a\",TI,0x0,5,-16,8))"},
  };
  for (size_t i = 0; i < LENGTH(rows); i++) {
    if (!rows[i][1]) {
      assert_false(assert_text_consistent(rows[i][0]));
      continue;
    }
    struct bytes read = from_sddl(rows[i][0]);
    char *sddl;
    assert_int_equal(to_sddl(read.data, read.length, &sddl), 0);
    assert_string_equal(sddl, rows[i][1]);
    free(sddl);
    free(read.data);
  }
}

/* Every constant there is, with its SID: [MS-DTYP] 2.4.2.4. */
static void sid_constants(void **state) {
  (void)state;
  static const char *const rows[][2] = {
      {"AA", "S-1-5-32-579"},
      {"AC", "S-1-15-2-1"},
      {"AN", "S-1-5-7"},
      {"AO", "S-1-5-32-548"},
      {"AS", "S-1-18-1"},
      {"AU", "S-1-5-11"},
      {"BA", "S-1-5-32-544"},
      {"BG", "S-1-5-32-546"},
      {"BO", "S-1-5-32-551"},
      {"BU", "S-1-5-32-545"},
      {"CD", "S-1-5-32-574"},
      {"CG", "S-1-3-1"},
      {"CO", "S-1-3-0"},
      {"CY", "S-1-5-32-569"},
      {"ED", "S-1-5-9"},
      {"ER", "S-1-5-32-573"},
      {"ES", "S-1-5-32-576"},
      {"HA", "S-1-5-32-578"},
      {"HI", "S-1-16-12288"},
      {"IS", "S-1-5-32-568"},
      {"IU", "S-1-5-4"},
      {"LS", "S-1-5-19"},
      {"LU", "S-1-5-32-559"},
      {"LW", "S-1-16-4096"},
      {"ME", "S-1-16-8192"},
      {"MP", "S-1-16-8448"},
      {"MS", "S-1-5-32-577"},
      {"MU", "S-1-5-32-558"},
      {"NO", "S-1-5-32-556"},
      {"NS", "S-1-5-20"},
      {"NU", "S-1-5-2"},
      {"OW", "S-1-3-4"},
      {"PO", "S-1-5-32-550"},
      {"PS", "S-1-5-10"},
      {"PU", "S-1-5-32-547"},
      {"RA", "S-1-5-32-575"},
      {"RC", "S-1-5-12"},
      {"RD", "S-1-5-32-555"},
      {"RE", "S-1-5-32-552"},
      {"RM", "S-1-5-32-580"},
      {"RU", "S-1-5-32-554"},
      {"SI", "S-1-16-16384"},
      {"SO", "S-1-5-32-549"},
      {"SS", "S-1-18-2"},
      {"SU", "S-1-5-6"},
      {"SY", "S-1-5-18"},
      {"UD", "S-1-5-84-0-0-0-0-0"},
      {"WD", "S-1-1-0"},
      {"WR", "S-1-5-33"},
  };
  for (size_t i = 0; i < LENGTH(rows); i++) {
    char constant[8], number[64], *sddl;
    snprintf(constant, sizeof constant, "O:%s", rows[i][0]);
    snprintf(number, sizeof number, "O:%s", rows[i][1]);
    struct bytes read = from_sddl(number);
    assert_int_equal(to_sddl(read.data, read.length, &sddl), 0);
    assert_string_equal(sddl, constant);
    free(read.data);
    free(sddl);
    assert_true(assert_text_consistent(constant));
  }
}

/* The bytes themselves, put together by hand from the specification. */
static void known_bytes(void **state) {
  (void)state;
  static const uint8_t plain[] = {
      1, 0, 0x04, 0x80, 48,   0, 0,    0, 60, 0, 0, 0, 0,    0, 0, 0, 20, 0, 0, 0, /* header */
      2, 0, 28,   0,    1,    0, 0,    0,                                          /* DACL */
      0, 3, 20,   0,    0xff, 1, 0x1f, 0,                                          /* ACE */
      1, 1, 0,    0,    0,    0, 0,    5, 18, 0, 0, 0,                             /* SY */
      1, 1, 0,    0,    0,    0, 0,    5, 18, 0, 0, 0,                             /* owner */
      1, 2, 0,    0,    0,    0, 0,    5, 32, 0, 0, 0, 0x20, 2, 0, 0,              /* group */
  };
  static const uint8_t conditional[] = {
      1,    0,    0x04, 0x80, 0,    0,    0,    0,    0,    0,
      0,    0,    0,    0,    0,    0,    20,   0,    0,    0, /* header */
      2,    0,    72,   0,    1,    0,    0,    0,             /* DACL */
      9,    0,    64,   0,    0xa0, 0,    0x12, 0,    1,    1,
      0,    0,    0,    0,    0,    1,    0,    0,    0,    0, /* ACE */
      'a',  'r',  't',  'x',                                   /* condition */
      0xf9, 2,    0,    0,    0,    'T',  0,    0x10, 4,    0,
      0,    0,    'V',  0,    'P',  0,    0x80, /* @User.T == "VP" */
      0xf8, 2,    0,    0,    0,    'n',  0,    0x04, 0xfe, 0xff,
      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,    3,    0x83, 0xa0, /* n <= -0x2, && */
      0,    0,    0};                                             /* padding */
  static const uint8_t objects[] = {
      1,    0,    0x04, 0x80, 0,    0,    0,    0,    0,    0,    0,  0,    0, 0,
      0,    0,    20,   0,    0,    0,                                   /* header */
      4,    0,    48,   0,    1,    0,    0,    0,                       /* DACL */
      5,    0,    40,   0,    0x30, 0,    0,    0,    1,    0,    0,  0, /* ACE */
      0xba, 0x7a, 0x96, 0xbf, 0xe6, 0x0d, 0xd0, 0x11, 0xa2, 0x85, 0,  0xaa, 0, 0x30,
      0x49, 0xe2, 1,    1,    0,    0,    0,    0,    0,    5,    11, 0,    0, 0};
  struct bytes read = from_sddl("O:SYG:BAD:(A;OICI;FA;;;SY)");
  assert_int_equal(read.length, sizeof plain);
  assert_memory_equal(read.data, plain, sizeof plain);
  free(read.data);
  read = from_sddl("D:(OA;;RPWP;" GUID_1 ";;AU)");
  assert_int_equal(read.length, sizeof objects);
  assert_memory_equal(read.data, objects, sizeof objects);
  free(read.data);
  read = from_sddl("D:(XA;;FX;;;WD;(@User.T == \"VP\" && n <= -0x2))");
  assert_int_equal(read.length, sizeof conditional);
  assert_memory_equal(read.data, conditional, sizeof conditional);
  free(read.data);
}

/* A descriptor with one ACE of that type and that data after its SID. */
static struct bytes with_ace(uint8_t type, const char *data, size_t length) {
  size_t padded = (length + 3) / 4 * 4;
  struct bytes result = {.length = 48 + padded};
  struct bytes plain = from_sddl("D:(A;;FA;;;WD)");
  result.data = calloc(1, result.length);
  assert_non_null(result.data);
  memcpy(result.data, plain.data, 48);
  memcpy(result.data + 48, data, length);
  set_field(result.data + 22, 2, (uint32_t)(28 + padded));
  set_field(result.data + 30, 2, (uint32_t)(20 + padded));
  result.data[28] = type;
  free(plain.data);
  return result;
}

static void assert_unsayable(uint8_t type, const char *data, size_t length) {
  struct bytes bytes = with_ace(type, data, length);
  char *sddl;
  assert_int_equal(check(bytes.data, bytes.length), 0);
  assert_int_equal(to_sddl(bytes.data, bytes.length, &sddl), -EOPNOTSUPP);
  free(bytes.data);
}

#define ATTRIBUTE "\xf8\x02\0\0\0a\0"
#define NUMBER "\x04\x01\0\0\0\0\0\0\0\x03\x02"
#define SID_TOKEN "\x51\x0c\0\0\0\x01\x01\0\0\0\0\0\x05\x12\0\0\0"

static void what_has_no_text(void **state) {
  (void)state;
  static const uint8_t types[] = {0x04, 0x0e, 0x16, 0x7f, 0xff};
  static const struct {
    const char *bytes;
    size_t length;
  } conditions[] = {
      {TEXT("")},
      {TEXT("art")},
      {TEXT("xtra" ATTRIBUTE)},
      {TEXT("artx")},                     /* nothing */
      {TEXT("artx" NUMBER)},              /* a value is not true or false */
      {TEXT("artx" ATTRIBUTE ATTRIBUTE)}, /* two results */
      {TEXT("artx\x80")},                 /* no operands */
      {TEXT("artx" ATTRIBUTE "\x80")},
      {TEXT("artx\xa2")},
      {TEXT("artx" NUMBER ATTRIBUTE "\x80")}, /* the wrong way round */
      {TEXT("artx" ATTRIBUTE NUMBER "\xa0")},
      {TEXT("artx" NUMBER "\xa2")},
      {TEXT("artx" NUMBER "\x87")},
      {TEXT("artx" ATTRIBUTE "\x89")},
      {TEXT("artx" ATTRIBUTE ATTRIBUTE NUMBER "\x80\x80")},
      {TEXT("artx" ATTRIBUTE "\0\0\0\x01")}, /* more after the padding */
      {TEXT("artx" ATTRIBUTE "\x77")},       /* no such token */
      {TEXT("artx\xf8\0\0\0\0")},            /* an attribute without name */
      {TEXT("artx\xf8\x01\0\0\0a")},
      {TEXT("artx\xf8\xff\xff\xff\xff"
            "a\0")},
      {TEXT("artx\xf8\x40\0\0\0a\0")},
      {TEXT("artx\xf8\x02")},
      {TEXT("artx" ATTRIBUTE "\x04\x01\0\0\0\0\0\0\0\0\x02\x80")}, /* sign */
      {TEXT("artx" ATTRIBUTE "\x04\x01\0\0\0\0\0\0\0\x04\x02\x80")},
      {TEXT("artx" ATTRIBUTE "\x04\x01\0\0\0\0\0\0\0\x03\0\x80")}, /* base */
      {TEXT("artx" ATTRIBUTE "\x04\x01\0\0\0\0\0\0\0\x03\x04\x80")},
      {TEXT("artx" ATTRIBUTE "\x04\x01\0\0")},
      {TEXT("artx" ATTRIBUTE "\x10\x02\0\0\0\"\0\x80")}, /* a quotation mark, a zero */
      {TEXT("artx" ATTRIBUTE "\x10\x02\0\0\0\0\0\x80")},
      {TEXT("artx" ATTRIBUTE "\x10\x01\0\0\0z\x80")},                    /* half a unit */
      {TEXT("artx" ATTRIBUTE "\x51\x08\0\0\0\x02\0\0\0\0\0\0\x05\x80")}, /* SIDs */
      {TEXT("artx" ATTRIBUTE "\x51\0\0\0\0\x80")},
      {TEXT("artx" ATTRIBUTE "\x51\x0c\0\0\0\x01\0\0\0\0\0\0\x05\0\0\0\0\x80")},
      {TEXT("artx" ATTRIBUTE "\x50\x05\0\0\0\x50\0\0\0\0\x80")}, /* a composite in one */
      {TEXT("artx" ATTRIBUTE "\x50\x07\0\0\0" ATTRIBUTE "\x80")},
      {TEXT("artx" ATTRIBUTE "\x50\x02\0\0\0\x04\x01\x80")},
      {TEXT("artx\x50\x0b\0\0\0" NUMBER "\x89")}, /* members that are not SIDs */
  };
  for (size_t i = 0; i < LENGTH(types); i++)
    assert_unsayable(types[i], "", 0);
  for (size_t i = 0; i < LENGTH(conditions); i++)
    assert_unsayable(ACE_ALLOWED_CALLBACK, conditions[i].bytes, conditions[i].length);
}

static void other_bytes_with_text(void **state) {
  (void)state;
  static const struct {
    uint8_t type;
    const char *bytes;
    size_t length;
    const char *sddl;
  } rows[] = {
      {ACE_ALLOWED, TEXT("slack"), "D:(A;;FA;;;WD)"},
      {ACE_ALLOWED_CALLBACK, TEXT("artx" ATTRIBUTE), "D:(XA;;FA;;;WD;(a))"},
      {ACE_ALLOWED_CALLBACK, TEXT("artx" ATTRIBUTE "\0\0\0\0\0\0\0\0\0"), "D:(XA;;FA;;;WD;(a))"},
      {ACE_ALLOWED_CALLBACK, TEXT("artx" ATTRIBUTE "\x01\x05\0\0\0\0\0\0\0\x03\x02\x80"),
       "D:(XA;;FA;;;WD;(a == 5))"}, /* a number of 8 bits */
      {ACE_ALLOWED_CALLBACK,
       TEXT("artx" ATTRIBUTE "\x02\xff\xff\xff\xff\xff\xff\xff\xff\x03\x02\x80"),
       "D:(XA;;FA;;;WD;(a == -1))"}, /* negative, but not marked so */
      {ACE_DENIED_CALLBACK, TEXT("artx" SID_TOKEN "\x89\xa2"),
       "D:(XD;;FA;;;WD;(!(Member_of SID(SY))))"},
      {ACE_ALLOWED_CALLBACK, TEXT("artx" ATTRIBUTE ATTRIBUTE ATTRIBUTE "\xa0\xa0"),
       "D:(XA;;FA;;;WD;(a && (a && a)))"},
      {ACE_ALLOWED_CALLBACK, TEXT("artx" ATTRIBUTE ATTRIBUTE ATTRIBUTE "\xa1\xa0"),
       "D:(XA;;FA;;;WD;(a && (a || a)))"},
      {ACE_ALLOWED_CALLBACK, TEXT("artx" ATTRIBUTE ATTRIBUTE ATTRIBUTE "\xa0\xa1"),
       "D:(XA;;FA;;;WD;(a || a && a))"},
  };
  for (size_t i = 0; i < LENGTH(rows); i++) {
    struct bytes bytes = with_ace(rows[i].type, rows[i].bytes, rows[i].length);
    char *sddl;
    assert_int_equal(to_sddl(bytes.data, bytes.length, &sddl), 0);
    assert_string_equal(sddl, rows[i].sddl);
    free(sddl);
    assert_consistent(bytes.data, bytes.length);
    free(bytes.data);
  }
}

/* -------------------------------------------------------------- from text */

static void wrong_texts(void **state) {
  (void)state;
  static const char *const rows[][2] = {
      {"X", "at character 1: O:, G:, D: or S: must begin here, not 'X'"},
      {"O", "at character 1: O:, G:, D: or S: must begin here, not 'O'"},
      {"O:", "at character 3: nothing is not a SID"},
      {"O:QQ", "at character 3: 'QQ' is not a SID"},
      {"O:B", "at character 3: 'B' is not a SID"},
      {"O:BAX", "at character 5: O:, G:, D: or S: must begin here, not 'X'"},
      {"O:BAO:BA", "at character 5: there is a second owner, O:"},
      {"G:BAG:BA", "at character 5: there is a second group, G:"},
      {"D:D:", "at character 3: there is a second DACL, D:"},
      {"S:S:", "at character 3: there is a second SACL, S:"},
      {"O:LA", "at character 3: 'LA' stands for an account of a machine or domain, which is not "
               "known here; write its SID, S-1-5-21-..."},
      {"G:da", "at character 3: 'da' stands for an account of a machine or domain, which is not "
               "known here; write its SID, S-1-5-21-..."},
      {"O:S-2-5-18", "at character 3: a SID begins with 'S-1-', and this one does not"},
      {"O:S-1", "at character 3: a SID begins with 'S-1-', and this one does not"},
      {"O:S-1-", "at character 7: after 'S-1-' there must be an authority, a number below 2^48"},
      {"O:S-1-281474976710656",
       "at character 7: after 'S-1-' there must be an authority, a number below 2^48"},
      {"O:S-1-0x", "at character 7: '0x' must be followed by digits"},
      {"O:S-1-5-", "at character 9: a subauthority of a SID is a number below 2^32"},
      {"O:S-1-5-4294967296", "at character 9: a subauthority of a SID is a number below 2^32"},
      {"O:S-1-5-x", "at character 9: a subauthority of a SID is a number below 2^32"},
      {"O:S-1-5-1-2-3-4-5-6-7-8-9-10-11-12-13-14-15-16",
       "at character 3: the SID has more than 15 subauthorities"},
      {"D:X", "at character 3: 'X' is not a flag of an ACL: P, AR, AI or NO_ACCESS_CONTROL"},
      {"D:PX(A;;FA;;;WD)",
       "at character 4: 'X' is not a flag of an ACL: P, AR, AI or NO_ACCESS_CONTROL"},
      {"D:NO_ACCESS_CONTROL(A;;FA;;;WD)", "at character 20: NO_ACCESS_CONTROL cannot have ACEs"},
      {"D:A;;FA;;;WD)",
       "at character 3: 'A' is not a flag of an ACL: P, AR, AI or NO_ACCESS_CONTROL"},
      {"D:(", "at character 4: nothing is not a type of ACE"},
      {"D:()", "at character 4: nothing is not a type of ACE"},
      {"D:(QQ;;FA;;;WD)", "at character 4: 'QQ' is not a type of ACE"},
      {"D:(A", "at character 5: the text ends where ';' must follow the type of an ACE"},
      {"D:(A;QQ;FA;;;WD)", "at character 6: 'QQ' is not a flag of an ACE"},
      {"D:(A;OIC;FA;;;WD)", "at character 8: 'C' is not a flag of an ACE"},
      {"D:(A;OI)", "at character 8: ';' must follow the flags of an ACE, not ')'"},
      {"O:BAD:(A;;ZZ;;;WD)", "at character 11: 'ZZ' is not a right; rights are pairs of letters "
                             "such as FA, GR, RC, or a number"},
      {"D:(A;;FAF;;;WD)", "at character 9: 'F' is not a right; rights are pairs of letters such "
                          "as FA, GR, RC, or a number"},
      {"D:(A;;0x;;;WD)", "at character 7: '0x' is not a number of 32 bits"},
      {"D:(A;;0x100000000;;;WD)", "at character 7: '0x100000000' is not a number of 32 bits"},
      {"D:(A;;4294967296;;;WD)", "at character 7: '4294967296' is not a number of 32 bits"},
      {"D:(A;;09;;;WD)", "at character 7: '09' is not a number of 32 bits"},
      {"D:(A;;1FA;;;WD)", "at character 7: '1FA' is not a number of 32 bits"},
      {"D:(A;;FA)", "at character 9: ';' must follow the rights of an ACE, not ')'"},
      {"D:(A;;FA;" GUID_1 ";;WD)",
       "at character 10: an ACE of this type cannot have GUIDs of objects"},
      {"D:(A;;FA;;" GUID_1 ";WD)",
       "at character 10: an ACE of this type cannot have GUIDs of objects"},
      {"D:(OA;;FA;abc;;WD)", "at character 11: 'abc' is not a GUID"},
      {"D:(OA;;FA;;bf967aba-0de6-11d0-a285-00aa003049eg;WD)",
       "at character 12: 'bf967aba-0de6-11d0-a...' is not a GUID"},
      {"D:(OA;;FA;;bf967aba00de6-11d0-a285-00aa003049e2;WD)",
       "at character 12: 'bf967aba00de6-11d0-a...' is not a GUID"},
      {"D:(A;;FA;)", "at character 10: ';' must follow the object's GUID, not ')'"},
      {"D:(A;;FA;;)", "at character 11: ';' must follow the inherited object's GUID, not ')'"},
      {"D:(A;;FA;;;)", "at character 12: nothing is not a SID"},
      {"D:(A;;FA;;;WD", "at character 14: the text ends where ')' must end the ACE"},
      {"D:(A;;FA;;;WD;)", "at character 14: ')' must end the ACE, not ';)'"},
      {"D:(A;;FA;;;WD))", "at character 15: O:, G:, D: or S: must begin here, not ')'"},
      {"D:(XA;;FA;;;WD)", "at character 15: ';' must come before the condition, not ')'"},
      {"D:(XA;;FA;;;WD;)", "at character 16: '(' must begin the condition, not ')'"},
      {"D:(XA;;FA;;;WD;())", "at character 17: an attribute must stand here, not nothing"},
      {"D:(XA;;FA;;;WD;(a)", "at character 19: the text ends where ')' must end the ACE"},
      {"D:(XA;;FA;;;WD;(a", "at character 18: the text ends where ')' must end the condition"},
      {"D:(XA;;FA;;;WD;((a)", "at character 20: the text ends where ')' must end the condition"},
      {"D:(XA;;FA;;;WD;(a &&))", "at character 21: an attribute must stand here, not nothing"},
      {"D:(XA;;FA;;;WD;(a & b))", "at character 19: ')' must end the condition, not '& b))'"},
      {"D:(XA;;FA;;;WD;(a = 1))", "at character 19: ')' must end the condition, not '= 1))'"},
      {"D:(XA;;FA;;;WD;(a == ))", "at character 22: an attribute must stand here, not nothing"},
      {"D:(XA;;FA;;;WD;(@Group.x))",
       "at character 17: an attribute begins with @User., @Device. or @Resource., not '@Group.x'"},
      {"D:(XA;;FA;;;WD;(@User.))", "at character 17: an attribute must stand here, not nothing"},
      {"D:(XA;;FA;;;WD;(a%00g0))",
       "at character 18: '%' in a name must be followed by four hexadecimal digits"},
      {"D:(XA;;FA;;;WD;(a == 9223372036854775808))",
       "at character 22: '9223372036854775808' is not a number of 64 bits"},
      {"D:(XA;;FA;;;WD;(a == -9223372036854775809))",
       "at character 22: '-9223372036854775809' is not a number of 64 bits"},
      {"D:(XA;;FA;;;WD;(a == 12ab))", "at character 22: '12ab' is not a number of 64 bits"},
      {"D:(XA;;FA;;;WD;(a == \"x))", "at character 22: the string has no closing quotation mark"},
      {"D:(XA;;FA;;;WD;(é == \"\xff\"))", "at character 23: this is not UTF-8"},
      {"D:(XA;;FA;;;WD;(a == \"\xed\xa0\x80\xed\xb0\x80\"))", "at character 24: this is not UTF-8"},
      {"D:(XA;;FA;;;WD;(a == #123))", "at character 23: octets take two hexadecimal digits each"},
      {"D:(XA;;FA;;;WD;(a == {1, b}))", "at character 26: 'b' is not a value"},
      {"D:(XA;;FA;;;WD;(a == {1, {2}}))", "at character 26: '{2' is not a value"},
      {"D:(XA;;FA;;;WD;(a == {1 2}))", "at character 25: '}' must end the list, not '2}))'"},
      {"D:(XA;;FA;;;WD;(a == SID(QQ)))", "at character 26: 'QQ' is not a SID"},
      {"D:(XA;;FA;;;WD;(a == SID(BA))",
       "at character 30: the text ends where ')' must end the ACE"},
      {"D:(XA;;FA;;;WD;(Member_of BA))", "at character 27: 'SID' must stand before a SID, not "
                                         "'BA))'"},
      {"D:(XA;;FA;;;WD;(Member_of {SID(BA), 1}))", "at character 37: '1' is not SID(...)"},
      {"D:(XA;;FA;;;WD;(Exists 1=1))", "at character 25: ')' must end the condition, not '=1))'"},
      {"D:(XA;;FA;;;WD;(Exists))", "at character 23: an attribute must stand here, not nothing"},
      {"D:(A;;FA;;;WD;(a))", "at character 14: ')' must end the ACE, not ';(a))'"},
      {"S:(RA;;;;;WD)", "at character 13: ';' must come before the resource attribute, not ')'"},
      {"S:(RA;;;;;WD;())", "at character 15: '\"' must begin the attribute's name, not '))'"},
      {"S:(RA;;;;;WD;(\"a b\",TS,0))",
       "at character 18: '\"' must end the attribute's name, not 'b\",TS,0))'"},
      {"S:(RA;;;;;WD;(\"a%0000\",TU,0))",
       "at character 16: the name of a resource attribute cannot have a zero in it"},
      {"S:(RA;;;;;WD;(\"a\"))", "at character 18: ',' must follow the attribute's name, not '))'"},
      {"S:(RA;;;;;WD;(\"a\",TQ,0))",
       "at character 19: 'TQ' is not a type of attributes: TI, TU, TS, TD, TB or TX"},
      {"S:(RA;;;;;WD;(\"a\",TS))", "at character 21: ',' must follow the attribute's type, not "
                                   "'))'"},
      {"S:(RA;;;;;WD;(\"a\",TS,x))", "at character 22: 'x' is not a number of 32 bits"},
      {"S:(RA;;;;;WD;(\"a\",TS,0,b))", "at character 24: '\"' must begin a string, not 'b))'"},
      {"S:(RA;;;;;WD;(\"a\",TI,0,9223372036854775808))",
       "at character 24: '9223372036854775808' is not a number of 64 bits"},
      {"S:(RA;;;;;WD;(\"a\",TU,0,-1))",
       "at character 24: '-1' is not a number of 64 bits without sign"},
      {"S:(RA;;;;;WD;(\"a\",TU,0,18446744073709551616))",
       "at character 24: '18446744073709551616' is not a number of 64 bits without sign"},
      {"S:(RA;;;;;WD;(\"a\",TB,0,2))", "at character 24: '2' is not 0 or 1"},
      {"S:(RA;;;;;WD;(\"a\",TD,0,QQ))", "at character 24: 'QQ' is not a SID"},
      {"S:(RA;;;;;WD;(\"a\",TX,0,1))", "at character 24: octets take two hexadecimal digits each"},
      {"S:(RA;;;;;WD;(\"a\",TS,0,\"b\")",
       "at character 28: the text ends where ')' must end the ACE"},
      {"D:(A;;\x01\x7f\xff;;;WD)", "at character 7: '?\?' is not a right; rights are pairs of "
                                   "letters such as FA, GR, RC, or a number"},
  };
  for (size_t i = 0; i < LENGTH(rows); i++) {
    void *descriptor;
    size_t length;
    char *error;
    char *copy = (char *)exact(rows[i][0], strlen(rows[i][0]) + 1);
    if (casefs_security_from_sddl(copy, &descriptor, &length, &error) != -EINVAL)
      fail_msg("%s should be wrong", rows[i][0]);
    if (strcmp(error, rows[i][1]) != 0)
      fail_msg("%s: \"%s\", not \"%s\"", rows[i][0], error, rows[i][1]);
    assert_null(descriptor);
    free(error);
    assert_int_equal(casefs_security_from_sddl(copy, &descriptor, &length, NULL), -EINVAL);
    free(copy);
  }
}

static const char *const domain_constants[] = {"AP", "CA", "CN", "DA", "DC", "DD", "DG", "DU", "EA",
                                               "EK", "KA", "LA", "LG", "PA", "RO", "RS", "SA"};

static void constants_of_domains(void **state) {
  (void)state;
  for (size_t i = 0; i < LENGTH(domain_constants); i++) {
    char text[32];
    snprintf(text, sizeof text, "D:(A;;FA;;;%s)", domain_constants[i]);
    assert_false(assert_text_consistent(text));
  }
}

/* A text of a piece many times between two others; returns what from_sddl does. */
static int from_repeated(const char *before, const char *piece, size_t count, const char *after) {
  size_t size = strlen(piece), length = strlen(before), descriptor_length;
  char *text = malloc(length + size * count + strlen(after) + 1), *error;
  void *descriptor;
  assert_non_null(text);
  strcpy(text, before);
  for (; count > 0; count--, length += size)
    memcpy(text + length, piece, size);
  strcpy(text + length, after);
  int result = casefs_security_from_sddl(text, &descriptor, &descriptor_length, &error);
  if (result == 0)
    assert_true(assert_text_consistent(text));
  free(descriptor);
  free(error);
  free(text);
  return result;
}

static void limits_of_texts(void **state) {
  (void)state;
  assert_int_equal(from_repeated("D:", "(A;;FA;;;WD)", 3275, ""), 0); /* 65528 bytes */
  assert_int_equal(from_repeated("D:", "(A;;FA;;;WD)", 3276, ""), -EINVAL);
  assert_int_equal(from_repeated("D:", "(A;;FA;;;WD)", 3277, ""), -EINVAL);     /* AclSize */
  assert_int_equal(from_repeated("O:BAD:", "(A;;FA;;;WD)", 3275, ""), -EINVAL); /* all over 65536 */
  assert_int_equal(from_repeated("D:", "(A;;FA;;;WD)", 100000, ""), -EINVAL);
  assert_int_equal(from_repeated("D:(XA;;FA;;;WD;(a", " && b", 7000, "))"), 0);
  assert_int_equal(from_repeated("D:(XA;;FA;;;WD;(a", " && b", 9000, "))"), -EINVAL);
  assert_int_equal(from_repeated("D:(XA;;FA;;;WD;(a == {1", ", 1", 5000, "}))"), 0);
  assert_int_equal(from_repeated("D:(XA;;FA;;;WD;(a == {1", ", 1", 7000, "}))"), -EINVAL);
  assert_int_equal(from_repeated("D:(XA;;FA;;;WD;(", "!", 255, "a))"), 0);
  assert_int_equal(from_repeated("D:(XA;;FA;;;WD;(", "!", 256, "a))"), -EINVAL);
  assert_int_equal(from_repeated("D:(XA;;FA;;;WD;(", "!", 1000000, "a))"), -EINVAL);
  assert_int_equal(from_repeated("D:(XA;;FA;;;WD;(", "(", 1000000, "a))"), -EINVAL);
  assert_int_equal(from_repeated("D:(XA;;FA;;;WD;(a == \"", "é", 32000, "\"))"), 0);
  assert_int_equal(from_repeated("D:(XA;;FA;;;WD;(a == \"", "é", 33000, "\"))"), -EINVAL);
  assert_int_equal(from_repeated("S:(RA;;;;;WD;(\"a\",TU,0x0", ",1", 5000, "))"), 0);
  assert_int_equal(from_repeated("S:(RA;;;;;WD;(\"a\",TU,0x0", ",1", 6000, "))"), -EINVAL);
  assert_int_equal(from_repeated("S:(RA;;;;;WD;(\"", "a", 30000, "\",TU,0x0))"), 0);
  assert_int_equal(from_repeated("S:(RA;;;;;WD;(\"", "a", 40000, "\",TU,0x0))"), -EINVAL);
  assert_int_equal(from_repeated("", " ", 1000000, ""), 0);
}

/* Parentheses that only bytes can nest so deep, and that the text could not be read back from. */
static void deep_conditions(void **state) {
  (void)state;
  for (size_t depth = 250; depth < 260; depth++) {
    char data[4 + 7 + 300] = "artx" ATTRIBUTE, *sddl;
    memset(data + 4 + 7, 0xa2, depth);
    struct bytes bytes = with_ace(ACE_ALLOWED_CALLBACK, data, 4 + 7 + depth);
    assert_int_equal(to_sddl(bytes.data, bytes.length, &sddl), depth < 256 ? 0 : -EOPNOTSUPP);
    free(sddl);
    assert_consistent(bytes.data, bytes.length);
    free(bytes.data);
  }
}

/* -------------------------------------------------------------- mutations */

/* Which is every single bit too; and every beginning. */
static void every_bit_and_byte(void **state) {
  (void)state;
  for (size_t i = 0; i < LENGTH(stable); i++) {
    struct bytes base = from_sddl(stable[i]);
    for (size_t cut = 0; cut < base.length; cut++)
      assert_consistent(base.data, cut);
    for (size_t at = 0; at < base.length; at++) {
      uint8_t before = base.data[at];
      for (unsigned byte = 0; byte < 0x100; byte++) {
        base.data[at] = (uint8_t)byte;
        assert_consistent(base.data, base.length);
      }
      base.data[at] = before;
    }
    free(base.data);
  }
}

static uint32_t random_state = 1;

static uint32_t next_random(uint32_t below) {
  random_state = random_state * 1664525 + 1013904223;
  return (uint32_t)((uint64_t)(random_state >> 8) * below >> 24);
}

static void several_bytes(void **state) {
  (void)state;
  static const uint8_t values[] = {0,    1,    2,    4,    8,    0x0c, 0x10,
                                   0x12, 0x14, 0x50, 0x51, 0x80, 0xf8, 0xff};
  for (size_t round = 0; round < 100000; round++) {
    struct bytes base = from_sddl(stable[next_random(LENGTH(stable))]);
    for (uint32_t i = 0, count = 2 + next_random(6); i < count; i++)
      base.data[next_random((uint32_t)base.length)] =
          next_random(2) ? values[next_random(LENGTH(values))] : (uint8_t)next_random(0x100);
    assert_consistent(base.data, base.length);
    free(base.data);
  }
}

/* Every character left out, doubled, replaced; and every beginning. */
static void every_character(void **state) {
  (void)state;
  static const char others[] = " ();:\"#%&|!=<>{},@-+0179AaDEFOPSWXxZz_.\x01\x7f\x80\xc3\xff";
  for (size_t i = 0; i < LENGTH(stable); i++) {
    size_t length = strlen(stable[i]);
    char *text = malloc(length + 2);
    assert_non_null(text);
    for (size_t at = 0; at < length; at++) {
      memcpy(text, stable[i], at);
      text[at] = '\0';
      assert_text_consistent(text);
      strcpy(text + at, stable[i] + at + 1);
      assert_text_consistent(text);
      text[at] = stable[i][at];
      strcpy(text + at + 1, stable[i] + at);
      assert_text_consistent(text);
      strcpy(text, stable[i]);
      for (const char *other = others; *other; other++) {
        text[at] = *other;
        assert_text_consistent(text);
      }
    }
    free(text);
  }
}

static void no_memory(void **state) {
  (void)state;
  for (size_t i = 0; i < LENGTH(stable); i++) {
    struct bytes read = from_sddl(stable[i]);
    int result = -ENOMEM;
    for (int allocations = 0; result != 0; allocations++) {
      void *descriptor;
      size_t length;
      char *error;
      allocations_left = allocations;
      result = casefs_security_from_sddl(stable[i], &descriptor, &length, &error);
      allocations_left = -1;
      assert_true(result == 0 || result == -ENOMEM);
      assert_null(error);
      free(descriptor);
    }
    result = -ENOMEM;
    for (int allocations = 0; result != 0; allocations++) {
      char *sddl;
      allocations_left = allocations;
      result = casefs_security_to_sddl(read.data, read.length, &sddl);
      allocations_left = -1;
      assert_true(result == 0 || result == -ENOMEM);
      free(sddl);
    }
    free(read.data);
  }
}

/* ----------------------------------------------------- extended attributes */

static void names_of_attributes(void **state) {
  (void)state;
  char name[300], folded[300];
  for (unsigned byte = 0; byte < 0x100; byte++) {
    bool forbidden = byte < 0x20 || strchr("\\/:*?\"<>|,+=[];", (int)byte);
    for (size_t place = 0; place < 3; place++) {
      memcpy(name, "xyz", 3);
      name[place] = (char)byte;
      assert_int_equal(ea_name_check(name, 3), forbidden ? -EINVAL : 0);
    }
  }
  memset(name, 'n', sizeof name);
  assert_int_equal(ea_name_check(name, 0), -EINVAL);
  assert_int_equal(ea_name_check(name, 1), 0);
  assert_int_equal(ea_name_check(name, 255), 0);
  assert_int_equal(ea_name_check(name, 256), -ENAMETOOLONG);
  assert_int_equal(ea_name_check(TEXT("$LXUID")), 0);
  assert_int_equal(ea_name_check(TEXT("user.a")), 0);
  ea_name_fold(TEXT("azAZ09@[`{\xe9\xff"), folded);
  assert_memory_equal(folded, "AZAZ09@[`{\xe9\xff", 12);
}

/* ---------------------------------------------------------- reparse points */

static int check_reparse(const char *data, size_t length, bool directory) {
  uint8_t *copy = exact(data, length);
  int result = reparse_check(copy, length, directory);
  free(copy);
  return result;
}

#define GUID_BYTES "0123456789abcdef"
#define JUNCTION "\x03\0\0\xa0"
#define SYMLINK "\x0c\0\0\xa0"
#define LX_SYMLINK "\x1d\0\0\xa0"

static void reparse_buffers(void **state) {
  (void)state;
  enum { FILE_ONLY = 1, DIRECTORY = 2, BOTH = 3, NEITHER = 0 };
  static const struct {
    const char *data;
    size_t length;
    int valid; /* of what */
  } rows[] = {
      {TEXT(""), NEITHER},
      {TEXT("\x17\0\0\x80\0\0\0"), NEITHER}, /* half a header */
      {TEXT("\x17\0\0\x80\0\0\0\0"), BOTH},  /* WOF: any data */
      {TEXT("\x17\0\0\x80\x03\0\0\0abc"), BOTH},
      {TEXT("\x17\0\0\x80\x03\0\xff\xff"
            "abc"),
       BOTH},                                       /* Reserved */
      {TEXT("\x17\0\0\x80\x02\0\0\0abc"), NEITHER}, /* ReparseDataLength */
      {TEXT("\x17\0\0\x80\x04\0\0\0abc"), NEITHER},
      {TEXT("\x17\0\0\x80\xff\xff\0\0abc"), NEITHER},
      {TEXT("\0\0\0\0\0\0\0\0"), NEITHER}, /* reserved tags */
      {TEXT("\0\0\0\0\0\0\0\0" GUID_BYTES), NEITHER},
      {TEXT("\x01\0\0\0\0\0\0\0" GUID_BYTES), NEITHER},
      {TEXT("\x02\0\0\0\0\0\0\0" GUID_BYTES), NEITHER},
      {TEXT("\x17\0\x01\x80\0\0\0\0"), NEITHER}, /* reserved bits */
      {TEXT("\x17\0\0\x88\0\0\0\0"), NEITHER},
      {TEXT("\x17\0\0\x81\0\0\0\0"), NEITHER},
      {TEXT("\x1a\x10\0\x90\0\0\0\0"), BOTH},        /* cloud files, directory bit */
      {TEXT("\x03\0\0\0\0\0\0\0" GUID_BYTES), BOTH}, /* not Microsoft's */
      {TEXT("\x03\0\0\0\x02\0\0\0" GUID_BYTES "xy"), BOTH},
      {TEXT("\x03\0\0\0\0\0\0\0"), NEITHER}, /* without GUID */
      {TEXT("\x03\0\0\0\0\0\0\0"
            "0123456789abcde"),
       NEITHER},
      {TEXT("\x03\0\0\0\x10\0\0\0" GUID_BYTES), NEITHER},
      {TEXT("\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), NEITHER}, /* a null GUID */
      {TEXT("\x17\0\0\x80\0\0\0\0" GUID_BYTES), NEITHER}, /* Microsoft's, with GUID */
      {TEXT(JUNCTION "\x10\0\0\0\0\0\x04\0\x06\0\0\0a\0b\0\0\0\0\0"), DIRECTORY},
      {TEXT(JUNCTION "\x10\0\0\0\0\0\x04\0\x04\0\x04\0a\0b\0\0\0\0\0"), DIRECTORY},
      {TEXT(JUNCTION "\x10\0\0\0\0\0\0\0\x04\0\x04\0a\0b\0\0\0\0\0"), NEITHER},     /* to nowhere */
      {TEXT(JUNCTION "\x10\0\0\0\x01\0\x04\0\x04\0\x04\0a\0b\0\0\0\0\0"), NEITHER}, /* odd */
      {TEXT(JUNCTION "\x10\0\0\0\0\0\x03\0\x04\0\x04\0a\0b\0\0\0\0\0"), NEITHER},
      {TEXT(JUNCTION "\x10\0\0\0\0\0\x04\0\x03\0\x04\0a\0b\0\0\0\0\0"), NEITHER},
      {TEXT(JUNCTION "\x10\0\0\0\0\0\x04\0\x04\0\x03\0a\0b\0\0\0\0\0"), NEITHER},
      {TEXT(JUNCTION "\x10\0\0\0\0\0\x0a\0\0\0\0\0a\0b\0\0\0\0\0"), NEITHER}, /* past the end */
      {TEXT(JUNCTION "\x10\0\0\0\x0a\0\x02\0\0\0\0\0a\0b\0\0\0\0\0"), NEITHER},
      {TEXT(JUNCTION "\x10\0\0\0\xfe\xff\x02\0\0\0\0\0a\0b\0\0\0\0\0"), NEITHER},
      {TEXT(JUNCTION "\x10\0\0\0\x02\0\xfe\xff\0\0\0\0a\0b\0\0\0\0\0"), NEITHER},
      {TEXT(JUNCTION "\x10\0\0\0\0\0\x04\0\x06\0\x04\0a\0b\0\0\0\0\0"), NEITHER},
      {TEXT(JUNCTION "\x10\0\0\0\0\0\x04\0\x0a\0\0\0a\0b\0\0\0\0\0"), NEITHER},
      {TEXT(JUNCTION "\x07\0\0\0\0\0\x02\0\0\0\0"), NEITHER}, /* half its header */
      {TEXT(JUNCTION "\0\0\0\0"), NEITHER},
      {TEXT(SYMLINK "\x10\0\0\0\0\0\x02\0\x02\0\x02\0\x01\0\0\0a\0b\0"), BOTH},
      {TEXT(SYMLINK "\x10\0\0\0\0\0\x04\0\x04\0\0\0\0\0\0\0a\0b\0"), BOTH},
      {TEXT(SYMLINK "\x10\0\0\0\0\0\x04\0\x04\0\0\0\xff\xff\xff\xff"
                    "a\0b\0"),
       BOTH}, /* Flags */
      {TEXT(SYMLINK "\x10\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0a\0b\0"), NEITHER},
      {TEXT(SYMLINK "\x10\0\0\0\x01\0\x02\0\x02\0\x02\0\x01\0\0\0a\0b\0"), NEITHER},
      {TEXT(SYMLINK "\x10\0\0\0\0\0\x06\0\x02\0\x02\0\x01\0\0\0a\0b\0"), NEITHER},
      {TEXT(SYMLINK "\x10\0\0\0\0\0\x02\0\x04\0\x02\0\x01\0\0\0a\0b\0"), NEITHER},
      {TEXT(SYMLINK "\x10\0\0\0\0\0\x02\0\x02\0\x01\0\x01\0\0\0a\0b\0"), NEITHER},
      {TEXT(SYMLINK "\x0b\0\0\0\0\0\x02\0\x02\0\x02\0\x01\0\0"), NEITHER},
      {TEXT(LX_SYMLINK "\x07\0\0\0\x02\0\0\0a/b"), BOTH},
      {TEXT(LX_SYMLINK "\x04\0\0\0\x02\0\0\0"), NEITHER}, /* no target */
      {TEXT(LX_SYMLINK "\x03\0\0\0\x02\0\0"), NEITHER},
      {TEXT(LX_SYMLINK "\x07\0\0\0\x01\0\0\0a/b"), NEITHER}, /* version */
      {TEXT(LX_SYMLINK "\x07\0\0\0\x02\0\0\x01"
                       "a/b"),
       NEITHER},
      {TEXT(LX_SYMLINK "\x07\0\0\0\x02\0\0\0a\0b"), NEITHER}, /* a zero in it */
      {TEXT("\x23\0\0\x80\0\0\0\0"), BOTH},                   /* AF_UNIX, FIFO, CHR, BLK */
      {TEXT("\x23\0\0\x80\x01\0\0\0a"), NEITHER},
      {TEXT("\x24\0\0\x80\0\0\0\0"), BOTH},
      {TEXT("\x24\0\0\x80\x01\0\0\0a"), NEITHER},
      {TEXT("\x25\0\0\x80\0\0\0\0"), BOTH},
      {TEXT("\x25\0\0\x80\x01\0\0\0a"), NEITHER},
      {TEXT("\x26\0\0\x80\0\0\0\0"), BOTH},
      {TEXT("\x26\0\0\x80\x01\0\0\0a"), NEITHER},
  };
  for (size_t i = 0; i < LENGTH(rows); i++) {
    int of_file = check_reparse(rows[i].data, rows[i].length, false);
    int of_directory = check_reparse(rows[i].data, rows[i].length, true);
    if (of_file != (rows[i].valid & FILE_ONLY ? 0 : -EINVAL) ||
        of_directory != (rows[i].valid & DIRECTORY ? 0 : -EINVAL))
      fail_msg("row %zu: %d, %d", i, of_file, of_directory);
    for (size_t cut = 0; rows[i].valid && cut < rows[i].length; cut++) /* ReparseDataLength tells */
      assert_int_equal(check_reparse(rows[i].data, cut, true), -EINVAL);
  }
}

static void sizes_of_reparse_points(void **state) {
  (void)state;
  char *data = calloc(1, CASEFS_MAX_REPARSE + 1);
  assert_non_null(data);
  memcpy(data, "\x17\0\0\x80", 4);
  set_field((uint8_t *)data + 4, 2, CASEFS_MAX_REPARSE - 8);
  assert_int_equal(check_reparse(data, CASEFS_MAX_REPARSE, false), 0);
  set_field((uint8_t *)data + 4, 2, CASEFS_MAX_REPARSE - 7);
  assert_int_equal(check_reparse(data, CASEFS_MAX_REPARSE + 1, false), -ENAMETOOLONG);
  free(data);
}

static void every_byte_of_reparse_points(void **state) {
  (void)state;
  static const struct {
    const char *data;
    size_t length;
  } rows[] = {
      {TEXT(JUNCTION "\x10\0\0\0\0\0\x04\0\x06\0\0\0a\0b\0\0\0\0\0")},
      {TEXT(SYMLINK "\x10\0\0\0\0\0\x02\0\x02\0\x02\0\x01\0\0\0a\0b\0")},
      {TEXT(LX_SYMLINK "\x07\0\0\0\x02\0\0\0a/b")},
      {TEXT("\x03\0\0\0\x02\0\0\0" GUID_BYTES "xy")},
  };
  for (size_t i = 0; i < LENGTH(rows); i++) {
    char copy[64];
    for (size_t at = 0; at < rows[i].length; at++)
      for (unsigned byte = 0; byte < 0x100; byte++) {
        memcpy(copy, rows[i].data, rows[i].length);
        copy[at] = (char)byte;
        int of_file = check_reparse(copy, rows[i].length, false);
        int of_directory = check_reparse(copy, rows[i].length, true);
        assert_true(of_file == 0 || of_file == -EINVAL);
        assert_true(of_directory == 0 || of_file != 0); /* directories may have more */
      }
  }
}

static void same_reparse_point(void **state) {
  (void)state;
  static const uint8_t guid[17] = GUID_BYTES, other[17] = "0123456789abcdeF";
  static const char microsoft[] = SYMLINK "\0\0\0\0", foreign[] = "\x03\0\0\0\0\0\0\0" GUID_BYTES;
  assert_int_equal(reparse_tag(microsoft), 0xa000000c);
  assert_int_equal(reparse_tag(foreign), 3);
  assert_true(reparse_same(microsoft, 0xa000000c, NULL));
  assert_true(reparse_same(microsoft, 0xa000000c, other));
  assert_false(reparse_same(microsoft, 0xa0000003, NULL));
  assert_true(reparse_same(foreign, 3, guid));
  assert_false(reparse_same(foreign, 3, other));
  assert_false(reparse_same(foreign, 3, NULL));
  assert_false(reparse_same(foreign, 4, guid));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(malformed_fields),
      cmocka_unit_test(sizes_of_descriptors),
      cmocka_unit_test(overlapping_values),
      cmocka_unit_test(texts_are_stable),
      cmocka_unit_test(other_spellings),
      cmocka_unit_test(sid_constants),
      cmocka_unit_test(known_bytes),
      cmocka_unit_test(what_has_no_text),
      cmocka_unit_test(other_bytes_with_text),
      cmocka_unit_test(wrong_texts),
      cmocka_unit_test(constants_of_domains),
      cmocka_unit_test(limits_of_texts),
      cmocka_unit_test(deep_conditions),
      cmocka_unit_test(every_bit_and_byte),
      cmocka_unit_test(several_bytes),
      cmocka_unit_test(every_character),
      cmocka_unit_test(no_memory),
      cmocka_unit_test(names_of_attributes),
      cmocka_unit_test(reparse_buffers),
      cmocka_unit_test(sizes_of_reparse_points),
      cmocka_unit_test(every_byte_of_reparse_points),
      cmocka_unit_test(same_reparse_point),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
