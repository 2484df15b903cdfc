/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Extended attributes of mount.casefs, on a volume in memory, without a mount.
 */

#include "xattr-fixture.h"

#include "../../fs/names.h"

/* ---------------------------------------------------------------------- streams */

static void test_streams_as_attributes(void **state) {
  (void)state;
  assert_int_equal(set(file, &as_xattr, "user.Zone", TEXT("internet")), 0);
  expect_stream(file, "zone", TEXT("internet"));
  EXPECT(file, &as_xattr, "user.Zone", TEXT("internet"));
  EXPECT(file, &as_xattr, "user.zONE", TEXT("internet"));
  assert_int_equal(set(file, &as_xattr, "user.zone", TEXT("far")), 0);
  EXPECT(file, &as_xattr, "user.Zone", TEXT("far"));
  assert_int_equal(set(file, &as_xattr, "user.empty", TEXT("")), 0);
  EXPECT(file, &as_xattr, "user.empty", TEXT(""));
  EXPECT_LIST(file, &as_xattr, "user.empty user.Zone ");
  assert_int_equal(remove_it(file, &as_xattr, "user.ZONE"), 0);
  assert_int_equal(remove_it(file, &as_xattr, "user.Zone"), -ENODATA);
  assert_int_equal(length_of(file, &as_xattr, "user.Zone"), -ENODATA);
  EXPECT_LIST(file, &as_xattr, "user.empty ");
}

static void test_flags(void **state) {
  (void)state;
  static const char *const names[] = {"user.a",         "user.x:y",
                                      "trusted.t",      "user.DosStream.s:$DATA",
                                      "security.NTACL", "system.ntfs_ea"};
  /* A list of one EA, which is as good a value as any for the others. */
  static const char value[] = "\x10\0\0\0\0\x03\x03\0FOO\0bar\0";
  for (size_t i = 0; i < LENGTH(names); i++) {
    const char *name = names[i];
    assert_int_equal(set_by(&by_root, file, &as_xattr, name, value, 16, XATTR_REPLACE), -ENODATA);
    assert_int_equal(length_of(file, &as_xattr, name), -ENODATA);
    assert_int_equal(set_by(&by_root, file, &as_xattr, name, value, 16, XATTR_CREATE), 0);
    assert_int_equal(set_by(&by_root, file, &as_xattr, name, value, 16, XATTR_CREATE), -EEXIST);
    assert_int_equal(set_by(&by_root, file, &as_xattr, name, value, 16, XATTR_REPLACE), 0);
    assert_int_equal(remove_it(file, &as_xattr, name), 0);
    assert_int_equal(remove_it(file, &as_xattr, name), -ENODATA);
  }
}

static void test_long_values(void **state) {
  (void)state;
  static char value[65536];
  casefs_node *stream;
  memset(value, 'x', sizeof value);
  assert_int_equal(set(file, &as_xattr, "user.long", value, sizeof value), 0);
  EXPECT(file, &as_xattr, "user.long", value, sizeof value);
  assert_int_equal(set(file, &as_xattr, "trusted.long", value, sizeof value), 0);
  EXPECT(file, &as_xattr, "trusted.long", value, sizeof value);
  assert_int_equal(set(file, &as_xattr, "trusted.long", TEXT("short")), 0);
  EXPECT(file, &as_xattr, "trusted.long", TEXT("short"));
  /* Longer than an attribute can be: never cut. */
  assert_int_equal(length_of(file, &as_samba, "user.DosStream.long:$DATA"), -E2BIG);
  assert_int_equal(casefs_open_stream(file, "long", 4, 0, &stream), 0);
  assert_int_equal(casefs_write(stream, "x", 1, sizeof value), 1);
  casefs_node_close(stream);
  assert_int_equal(length_of(file, &as_xattr, "user.long"), -E2BIG);
  assert_int_equal(xattr_get(file, &as_xattr, &by_root, "user.long", value, sizeof value), -E2BIG);
  EXPECT_LIST(file, &as_xattr, "user.long ");
}

static void test_samba_streams(void **state) {
  (void)state;
  assert_int_equal(set(file, &as_samba, "user.DosStream.One:$DATA", "abc", 4), 0);
  assert_int_equal(set(file, &as_samba, "user.DosStream.two", "", 1), 0);
  expect_stream(file, "one", TEXT("abc"));
  expect_stream(file, "two", TEXT(""));
  EXPECT(file, &as_samba, "user.DosStream.one:$DATA", "abc", 4);
  EXPECT(file, &as_xattr, "user.DosStream.ONE", "abc", 4);
  EXPECT(file, &as_colon, "user.DosStream.two:$DATA", "", 1);
  assert_int_equal(length_of(file, &as_none, "user.DosStream.two:$DATA"), -ENODATA);
  EXPECT_LIST(file, &as_samba, "user.DosStream.One:$DATA user.DosStream.two:$DATA ");
  EXPECT_LIST(file, &as_xattr, "user.One user.two ");
  EXPECT_LIST(file, &as_colon, "");
  EXPECT(file, &as_colon, "ntfs.streams.list", "One\0two", 7);
  assert_int_equal(set(file, &as_colon, "ntfs.streams.list", TEXT("x")), -EPERM);
  assert_int_equal(length_of(file, &as_xattr, "ntfs.streams.list"), -EOPNOTSUPP);
  /* In this view other names are no streams. */
  assert_int_equal(set(file, &as_samba, "user.two", TEXT("kept")), 0);
  expect_stream(file, "two", TEXT(""));
  EXPECT(file, &as_samba, "user.two", TEXT("kept"));
  assert_int_equal(length_of(file, &as_samba, "user.Two"), -ENODATA);
  EXPECT_LIST(file, &as_samba, "user.two user.DosStream.One:$DATA user.DosStream.two:$DATA ");
  EXPECT_LIST(file, &as_xattr, "user.One user.two ");
}

/* ------------------------------------------------------------------------- kept */

/* Names that no stream can have, and those of other namespaces, are matched exactly. */
static void test_kept(void **state) {
  (void)state;
  static const char *const names[] = {"user.a:b",
                                      "user.A:b",
                                      "user.a\\b",
                                      "user.a/b",
                                      "user.\xff",
                                      "user.linux.xattr.user.a",
                                      "user.LINUX.xattr.trusted.a",
                                      "trusted.A",
                                      "trusted.a",
                                      "security.x",
                                      "trusted.%41",
                                      "trusted.\xc3\xa9",
                                      "trusted.\xc3\x89",
                                      "user.DosStream.a:b:$DATA",
                                      "trusted.overlay.opaque",
                                      "user.DosStream.linux.xattr.trusted.a"};
  for (size_t i = 0; i < LENGTH(names); i++)
    assert_int_equal(set(directory, &as_all, names[i], &i, sizeof i), 0);
  for (size_t i = 0; i < LENGTH(names); i++)
    EXPECT(directory, &as_all, names[i], &i, sizeof i);
  assert_int_equal(now_of(directory).streams, LENGTH(names));
  EXPECT(directory, &as_colon, "ntfs.streams.list", "", 0);
  char list[4096];
  int length = xattr_list(directory, &as_xattr, list, sizeof list), found = 0, all = 0;
  for (const char *name = list; name < list + length; name += strlen(name) + 1, all++)
    for (size_t i = 0; i < LENGTH(names); i++)
      found += strcmp(name, names[i]) == 0;
  assert_int_equal(found, all);
  assert_int_equal(found, 10); /* not trusted.* */
  for (size_t i = 0; i < LENGTH(names); i++) {
    assert_int_equal(remove_it(directory, &as_xattr, names[i]), 0);
    assert_int_equal(length_of(directory, &as_xattr, names[i]), -ENODATA);
  }
  assert_int_equal(now_of(directory).streams, 0);
}

static void test_kept_values(void **state) {
  (void)state;
  static const char long_name[] =
      "trusted.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
      "AAAAAAAAAA";
  casefs_node *stream;
  assert_int_equal(set(file, &as_xattr, "security.e", TEXT("")), 0);
  EXPECT(file, &as_xattr, "security.e", TEXT(""));
  assert_int_equal(set(file, &as_xattr, "security.e", TEXT("now more")), 0);
  EXPECT(file, &as_xattr, "security.e", TEXT("now more"));
  assert_int_equal(set(file, &as_xattr, "security.e", TEXT("less")), 0);
  EXPECT(file, &as_xattr, "security.e", TEXT("less"));
  expect_stream(file, "linux.xattr.security.e", TEXT("\4\0\0\0less"));
  assert_int_equal(set(file, &as_xattr, long_name, TEXT("x")), -ERANGE);
  assert_int_equal(length_of(file, &as_xattr, long_name), -ENODATA);
  /* Half made at a crash, and damaged. */
  assert_int_equal(casefs_open_stream(file, TEXT("linux.xattr.trusted.half"), O_CREAT, &stream), 0);
  assert_int_equal(length_of(file, &as_xattr, "trusted.half"), -ENODATA);
  EXPECT_LIST(file, &as_all,
              "security.e system.ntfs_attrib system.ntfs_attrib_be system.ntfs_times "
              "system.ntfs_times_be system.ntfs_crtime system.ntfs_crtime_be system.ntfs_object_id "
              "user.DOSATTRIB ");
  assert_int_equal(casefs_write(stream, "\xff\xff\0\0x", 5, 0), 5);
  char value[128];
  assert_int_equal(xattr_get(file, &as_xattr, &by_root, "trusted.half", value, 10), -EUCLEAN);
  assert_int_equal(casefs_write(stream, "\xff\xff\xff\xff", 4, 0), 4);
  assert_int_equal(length_of(file, &as_xattr, "trusted.half"), -EUCLEAN);
  casefs_node_close(stream);
}

/* Streams that hide are found by any spelling; nothing else folds to the prefix. */
static void test_hidden(void **state) {
  (void)state;
  assert_true(xattr_is_hidden_stream(TEXT("linux.xattr.trusted.x")));
  assert_true(xattr_is_hidden_stream(TEXT("LINUX.Xattr.")));
  assert_false(xattr_is_hidden_stream(TEXT("linux.xattr")));
  assert_false(xattr_is_hidden_stream(TEXT("linux-xattr.x")));
  for (unsigned unit = 0x80; unit < 0x10000; unit++)
    if (fold_unit((uint16_t)unit) < 0x80)
      fail_msg("U+%04X folds to ASCII", unit);
}

static void test_names(void **state) {
  (void)state;
  static const struct {
    const char *name;
    int set, get;
  } names[] = {
      {"user.", -EINVAL, -EINVAL},
      {"trusted.", -EINVAL, -EINVAL},
      {"security.", -EINVAL, -EINVAL},
      {"", -EOPNOTSUPP, -EOPNOTSUPP},
      {"plain", -EOPNOTSUPP, -EOPNOTSUPP},
      {"system.nfs4_acl", -EOPNOTSUPP, -EOPNOTSUPP},
      {"system.ntfs_nothing", -EOPNOTSUPP, -ENODATA},
      {"USER.x", -EOPNOTSUPP, -EOPNOTSUPP},
  };
  for (size_t i = 0; i < LENGTH(names); i++) {
    assert_int_equal(set(file, &as_xattr, names[i].name, TEXT("x")), names[i].set);
    assert_int_equal(length_of(file, &as_xattr, names[i].name), names[i].get);
    assert_int_equal(remove_it(file, &as_xattr, names[i].name), names[i].get);
  }
}

/* What has no streams keeps attributes in EAs, which nobody sees or makes up as such. */
static void test_other_kinds(void **state) {
  (void)state;
  static const char forged[] = "\x24\0\0\0\0\x18\x02\0linux.xattr.security.abc\0\0x\0";
  static const char plain[] = "\x10\0\0\0\0\x03\x03\0FOO\0bar\0";
  static char value[65536];
  casefs_node *nodes[] = {link_node, fifo};
  for (size_t i = 0; i < LENGTH(nodes); i++) {
    assert_int_equal(set(nodes[i], &as_xattr, "user.x", TEXT("x")), -EOPNOTSUPP);
    assert_int_equal(length_of(nodes[i], &as_xattr, "security.capability"), -ENODATA);
    assert_int_equal(remove_it(nodes[i], &as_xattr, "trusted.X"), -ENODATA);
    assert_int_equal(set(nodes[i], &as_xattr, "trusted.X", TEXT("value")), 0);
    assert_int_equal(set(nodes[i], &as_xattr, "security.a=b", TEXT("")), 0);
    EXPECT(nodes[i], &as_xattr, "trusted.X", TEXT("value"));
    EXPECT(nodes[i], &as_eas, "security.a=b", TEXT(""));
    assert_int_equal(length_of(nodes[i], &as_xattr, "trusted.x"), -ENODATA);
    EXPECT_LIST(nodes[i], &as_eas, "security.a=b ");
    assert_int_equal(length_of(nodes[i], &as_xattr, "system.ntfs_ea"), -ENODATA);
    assert_int_equal(remove_it(nodes[i], &as_xattr, "system.ntfs_ea"), -ENODATA);
    assert_int_equal(set(nodes[i], &as_xattr, "system.ntfs_ea", TEXT(forged)), -EPERM);
    assert_int_equal(
        set_by(&by_root, nodes[i], &as_xattr, "system.ntfs_ea", TEXT(plain), XATTR_CREATE), 0);
    EXPECT(nodes[i], &as_xattr, "system.ntfs_ea", TEXT(plain));
    assert_int_equal(remove_it(nodes[i], &as_xattr, "system.ntfs_ea"), 0);
    EXPECT_LIST(nodes[i], &as_all,
                "security.a=b trusted.X system.ntfs_attrib system.ntfs_attrib_be system.ntfs_times "
                "system.ntfs_times_be system.ntfs_crtime system.ntfs_crtime_be "
                "system.ntfs_object_id ");
    assert_int_equal(set(nodes[i], &as_xattr, "trusted.X", value, sizeof value), -ENOSPC);
    assert_int_equal(remove_it(nodes[i], &as_xattr, "trusted.X"), 0);
    assert_int_equal(remove_it(nodes[i], &as_xattr, "security.a=b"), 0);
    assert_int_equal(now_of(nodes[i]).ea_size, 0);
  }
  uint32_t hidden = 2;
  assert_int_equal(set(fifo, &as_xattr, "system.ntfs_attrib", &hidden, 4), 0);
  EXPECT(fifo, &as_xattr, "system.ntfs_attrib", &hidden, 4);
}

/* Streams themselves have no attributes. */
static void test_streams_have_none(void **state) {
  (void)state;
  static const char *const names[] = {"user.x", "trusted.x", "system.ntfs_attrib", "user.DOSATTRIB",
                                      ACL_ACCESS};
  casefs_node *stream;
  assert_int_equal(casefs_open_stream(file, TEXT("s"), O_CREAT, &stream), 0);
  for (size_t i = 0; i < LENGTH(names); i++) {
    assert_int_equal(set(stream, &as_xattr, names[i], TEXT("\2\0\0\0")), -EOPNOTSUPP);
    assert_int_equal(length_of(stream, &as_xattr, names[i]), -ENODATA);
    assert_int_equal(remove_it(stream, &as_xattr, names[i]), -ENODATA);
  }
  EXPECT_LIST(stream, &as_all, "");
  assert_int_equal(xattr_set_kept(stream, "trusted.x", TEXT("x")), -EOPNOTSUPP);
  casefs_node_close(stream);
}

/* -------------------------------------------------------------------------- EAs */

static void test_eas(void **state) {
  (void)state;
  static char value[65536];
  char name[256];
  assert_int_equal(set(file, &as_eas, "user.Fruit", TEXT("apple")), 0);
  EXPECT(file, &as_eas, "user.FRUIT", TEXT("apple"));
  assert_int_equal(casefs_get_ea(file, TEXT("fruit"), name, sizeof name, NULL), 5);
  assert_int_equal(now_of(file).streams, 0);
  /* What no EA can have is kept: a name, and no value. */
  assert_int_equal(set(file, &as_eas, "user.a+b", TEXT("plus")), 0);
  assert_int_equal(set(file, &as_eas, "user.none", TEXT("")), 0);
  EXPECT(file, &as_eas, "user.a+b", TEXT("plus"));
  EXPECT(file, &as_eas, "user.none", TEXT(""));
  EXPECT_LIST(file, &as_eas, "user.a+b user.none user.Fruit ");
  assert_int_equal(set_by(&by_root, file, &as_eas, "user.none", "x", 1, XATTR_CREATE), -EEXIST);
  assert_int_equal(set(file, &as_eas, "user.none", TEXT("some")), 0);
  EXPECT(file, &as_eas, "user.none", TEXT("some"));
  EXPECT_LIST(file, &as_eas, "user.a+b user.Fruit user.none ");
  assert_int_equal(set(file, &as_eas, "user.Fruit", TEXT("")), 0);
  EXPECT(file, &as_eas, "user.Fruit", TEXT(""));
  EXPECT_LIST(file, &as_eas, "user.Fruit user.a+b user.none ");
  assert_int_equal(remove_it(file, &as_eas, "user.Fruit"), 0);
  assert_int_equal(remove_it(file, &as_eas, "user.Fruit"), -ENODATA);
  assert_int_equal(remove_it(file, &as_eas, "user.none"), 0);
  assert_int_equal(now_of(file).ea_size, 0);
  assert_int_equal(set(file, &as_eas, "user.much", value, sizeof value), -ENOSPC);
  assert_int_equal(set(file, &as_eas, "user.much", value, 40000), 0);
  assert_int_equal(set(file, &as_eas, "user.more", value, 40000), -ENOSPC);
  EXPECT_LIST(file, &as_eas, "user.a+b user.much ");
}

static void test_ea_list(void **state) {
  (void)state;
  /* As NTFS has it, and as Windows has it; sorted. */
  static const char list[] = "\x14\0\0\0\x80\x03\x06\0Bax\0value!\0\0"
                             "\x10\0\0\0\0\x03\x03\0FOO\0bar\0";
  static const char open_list[] = "\x14\0\0\0\x80\x03\x06\0Bax\0value!\0\0"
                                  "\0\0\0\0\0\x03\x03\0FOO\0bar\0";
  static const char other[] = "\x10\0\0\0\0\x03\x03\0foo\0new\0";
  static const struct {
    const char *list;
    size_t size;
  } bad[] = {
      {TEXT("")},
      {TEXT("\x10\0\0\0\0\x03\x03")},
      {TEXT("\x10\0\0\0\0\x03\x05\0FOO\0bar\0")},
      {TEXT("\x10\0\0\0\0\x03\x03\0FOObbar\0")},
      {TEXT("\x0f\0\0\0\0\x03\x03\0FOO\0bar\0")},
      {TEXT("\x14\0\0\0\0\x03\x03\0FOO\0bar\0")},
      {TEXT("\x0c\0\0\0\0\x03\x03\0FOO\0bar\0")},
      {TEXT("\x10\0\0\0\x01\x03\x03\0FOO\0bar\0")},
      {TEXT("\x10\0\0\0\0\x03\x03\0F*O\0bar\0")},
      {TEXT("\x10\0\0\0\0\0\x03\0\0bar\0\0\0")},
  };
  assert_int_equal(length_of(file, &as_xattr, "system.ntfs_ea"), -ENODATA);
  assert_int_equal(set(file, &as_xattr, "system.ntfs_ea", TEXT(open_list)), 0);
  EXPECT(file, &as_xattr, "system.ntfs_ea", TEXT(list));
  for (size_t i = 0; i < LENGTH(bad); i++)
    assert_int_equal(set(file, &as_xattr, "system.ntfs_ea", bad[i].list, bad[i].size), -EINVAL);
  EXPECT(file, &as_xattr, "system.ntfs_ea", TEXT(list));
  assert_int_equal(set(file, &as_xattr, "system.ntfs_ea", TEXT(other)), 0);
  EXPECT(file, &as_xattr, "system.ntfs_ea", TEXT(other));
  assert_int_equal(remove_it(file, &as_xattr, "system.ntfs_ea"), 0);
  assert_int_equal(length_of(file, &as_xattr, "system.ntfs_ea"), -ENODATA);
}

/* Two EAs that exchange lengths never need more than there will be. */
static void test_ea_list_full(void **state) {
  (void)state;
  static uint8_t list[65528];
  static char read[65536];
  for (unsigned turn = 0; turn < 2; turn++) {
    size_t first = turn ? 100 : 65372,
           second = turn ? 65372 : 100; /* 16 + 56 bytes are not values */
    memset(list, 0, sizeof list);
    size_t next = (8 + 2 + first + 3) & ~(size_t)3, last = (8 + 2 + second + 3) & ~(size_t)3;
    memcpy(list,
           (const uint8_t[]){(uint8_t)next, (uint8_t)(next >> 8), 0, 0, 0, 1, (uint8_t)first,
                             (uint8_t)(first >> 8), 'B'},
           9);
    memcpy(list + next,
           (const uint8_t[]){(uint8_t)last, (uint8_t)(last >> 8), 0, 0, 0, 1, (uint8_t)second,
                             (uint8_t)(second >> 8), 'A'},
           9);
    memset(list + 10, 'x', first);
    memset(list + next + 10, 'y', second);
    assert_int_equal(set(file, &as_xattr, "system.ntfs_ea", list, next + last), 0);
    assert_int_equal(xattr_get(file, &as_xattr, &by_root, "system.ntfs_ea", read, sizeof read),
                     next + last);
  }
  /* Very many small ones are a list that no attribute holds. */
  assert_int_equal(remove_it(file, &as_xattr, "system.ntfs_ea"), 0);
  for (unsigned i = 0; i < 6000; i++) {
    char name[8];
    snprintf(name, sizeof name, "%x", i);
    assert_int_equal(casefs_set_ea(file, name, strlen(name), "x", 1, 0), 0);
  }
  assert_int_equal(length_of(file, &as_xattr, "system.ntfs_ea"), -E2BIG);
}

/* An item of an EA list, for one list of WSL's. */
static size_t put_ea(uint8_t *list, const char *name, const void *value, size_t size) {
  size_t next = (8 + strlen(name) + 1 + size + 3) & ~(size_t)3;
  memset(list, 0, next);
  list[0] = (uint8_t)next;
  list[5] = (uint8_t)strlen(name);
  list[6] = (uint8_t)size;
  memcpy(list + 8, name, strlen(name) + 1);
  memcpy(list + 8 + strlen(name) + 1, value, size);
  return next;
}

static void test_linux_eas(void **state) {
  (void)state;
  const uint8_t uid[4] = {0xd2, 4}, gid[4] = {0xd3, 4}, mode[4] = {0xed, 0x89}; /* 04755 */
  const uint8_t nobody[4] = {0xff, 0xff, 0xff, 0xff}, same[4] = {0xa0, 0x81};   /* 0640 */
  uint8_t list[256];
  size_t size = put_ea(list, "$LXMOD", mode, 4);
  size += put_ea(list + size, "$LXUID", uid, 4);
  size += put_ea(list + size, "$LXGID", gid, 4);
  /* Who is not the owner cannot; the owner cannot give it away. */
  assert_int_equal(set_by(&by_friend, file, &as_xattr, "system.ntfs_ea", list, size, 0), -EPERM);
  assert_int_equal(set_by(&by_owner, file, &as_xattr, "system.ntfs_ea", list, size, 0), -EPERM);
  assert_int_equal(now_of(file).ea_size, 0);
  assert_int_equal(set_by(&by_root, file, &as_xattr, "system.ntfs_ea", list, size, 0), 0);
  assert_int_equal(effects, XATTR_CHANGED_ATTRIBUTES);
  struct casefs_attributes attributes = now_of(file);
  assert_int_equal(attributes.uid, 1234);
  assert_int_equal(attributes.gid, 1235);
  assert_int_equal(attributes.mode, 04755);
  /* Told as the node is. */
  attributes.uid = OWNER;
  attributes.mode = 0640;
  attributes.gid = GROUP_OF_FILE;
  assert_int_equal(casefs_set_attributes(file, CASEFS_UID | CASEFS_GID | CASEFS_MODE, &attributes),
                   0);
  const uint8_t owner[4] = {0xe8, 3}, group[4] = {0xd0, 7};
  size = put_ea(list, "$LXGID", group, 4);
  size += put_ea(list + size, "$LXMOD", same, 4);
  size += put_ea(list + size, "$LXUID", owner, 4);
  EXPECT(file, &as_xattr, "system.ntfs_ea", list, size);
  EXPECT(file, &as_eas, "user.$lxmod", same, 4);
  /* What changes nothing, and modes, the owner may set; with the setgid bit only in the group. */
  assert_int_equal(set_by(&by_owner, file, &as_xattr, "system.ntfs_ea", list, size, 0), 0);
  assert_int_equal(effects, 0);
  const uint8_t setgid[4] = {0xed, 0x85}; /* 02755 */
  size = put_ea(list, "$LXMOD", setgid, 4);
  assert_int_equal(set_by(&by_owner, file, &as_xattr, "system.ntfs_ea", list, size, 0), 0);
  assert_int_equal(now_of(file).mode, 0755);
  assert_int_equal(set_by(&by_friend, file, &as_eas, "user.$LXMOD", setgid, 4, 0), -EPERM);
  /* A new owner does not get set-id bits. */
  assert_int_equal(set(file, &as_eas, "user.$LXMOD", setgid, 4), 0);
  assert_int_equal(now_of(file).mode, 02755);
  assert_int_equal(set(file, &as_xattr, "security.capability", TEXT("cap")), 0);
  assert_int_equal(set(file, &as_eas, "user.$LXUID", uid, 4), 0);
  assert_int_equal(now_of(file).mode, 0755);
  assert_int_equal(length_of(file, &as_xattr, "security.capability"), -ENODATA);
  assert_int_equal(set(file, &as_eas, "user.$LXUID", nobody, 4), -EINVAL);
  /* Of another length they are EAs like any. */
  assert_int_equal(set(file, &as_eas, "user.$LXUID", TEXT("text!")), 0);
  EXPECT(file, &as_eas, "user.$LXUID", TEXT("text!"));
  assert_int_equal(now_of(file).uid, 1234);
}

/* ------------------------------------------------------------------ system.ntfs_ */

static void test_ntfs_attributes(void **state) {
  (void)state;
  const uint32_t none = 0x80, all = UINT32_MAX, settable = 0x3127;
  const uint32_t of_directory = 0x3137, big = 0x27310000;
  EXPECT(file, &as_xattr, "system.ntfs_attrib", &none, 4);
  assert_int_equal(set(file, &as_xattr, "system.ntfs_attrib", &all, 4), 0);
  EXPECT(file, &as_xattr, "system.ntfs_attrib", &settable, 4);
  EXPECT(file, &as_xattr, "system.ntfs_attrib_be", &big, 4);
  assert_int_equal(set(directory, &as_xattr, "system.ntfs_attrib_be", &all, 4), 0);
  EXPECT(directory, &as_xattr, "system.ntfs_attrib", &of_directory, 4);
  assert_int_equal(set(file, &as_xattr, "system.ntfs_attrib", "\x02\0\0\0more", 8), 0);
  EXPECT(file, &as_xattr, "system.ntfs_attrib", "\x02\0\0\0", 4);
  assert_int_equal(set(file, &as_xattr, "system.ntfs_attrib", "\x01\0\0", 3), -EINVAL);
  assert_int_equal(set_by(&by_root, file, &as_xattr, "system.ntfs_attrib", &all, 4, XATTR_CREATE),
                   -EEXIST);
  assert_int_equal(remove_it(file, &as_xattr, "system.ntfs_attrib"), -EPERM);
}

static void test_ntfs_times(void **state) {
  (void)state;
  const uint64_t times[4] = {11, 22, 33, 44}, big = (uint64_t)5 << 56;
  uint64_t read[4] = {0};
  assert_int_equal(set(file, &as_xattr, "system.ntfs_times", times, 7), -ERANGE);
  assert_int_equal(set(file, &as_xattr, "system.ntfs_times", times, 32), 0);
  assert_int_equal(effects, XATTR_CHANGED_TIMES);
  assert_int_equal(length_of(file, &as_xattr, "system.ntfs_times"), 32);
  assert_int_equal(xattr_get(file, &as_xattr, &by_root, "system.ntfs_times", read, 32), 32);
  assert_memory_equal(read, times, 24);
  assert_true(read[3] > 44);
  assert_int_equal(read[3], now_of(file).changed);
  assert_int_equal(xattr_get(file, &as_xattr, &by_root, "system.ntfs_times", read, 20), 16);
  assert_int_equal(xattr_get(file, &as_xattr, &by_root, "system.ntfs_times", read, 7), -ERANGE);
  EXPECT(file, &as_xattr, "system.ntfs_crtime", times, 8);
  assert_int_equal(set(file, &as_xattr, "system.ntfs_crtime", times + 1, 16), 0);
  assert_int_equal(effects, 0);
  assert_int_equal(now_of(file).created, 22);
  assert_int_equal(now_of(file).modified, 22);
  assert_int_equal(now_of(file).accessed, 33);
  assert_int_equal(set(file, &as_xattr, "system.ntfs_crtime_be", &big, 8), 0);
  assert_int_equal(now_of(file).created, 5);
  EXPECT(file, &as_xattr, "system.ntfs_crtime_be", &big, 8);
  assert_int_equal(remove_it(file, &as_xattr, "system.ntfs_times"), -EPERM);
}

static void test_ntfs_reparse(void **state) {
  (void)state;
  static const char first[] = "\x99\0\0\x80\x04\0\0\0abcd";
  static const char second[] = "\x34\x12\0\0\x03\0\0\0" /* of another's */
                               "0123456789abcdef"
                               "xyz";
  const uint32_t attributes = 0x400;
  assert_int_equal(length_of(file, &as_xattr, "system.ntfs_reparse_data"), -ENODATA);
  assert_int_equal(set(file, &as_xattr, "system.ntfs_reparse_data", TEXT(first)), 0);
  EXPECT(file, &as_xattr, "system.ntfs_reparse_data", TEXT(first));
  EXPECT(file, &as_xattr, "system.ntfs_attrib", &attributes, 4);
  assert_int_equal(set(file, &as_xattr, "system.ntfs_reparse_data", TEXT(second)), 0);
  EXPECT(file, &as_xattr, "system.ntfs_reparse_data", TEXT(second));
  assert_int_equal(
      set_by(&by_root, file, &as_xattr, "system.ntfs_reparse_data", TEXT(first), XATTR_REPLACE), 0);
  EXPECT(file, &as_xattr, "system.ntfs_reparse_data", TEXT(first));
  assert_int_equal(
      set_by(&by_root, file, &as_xattr, "system.ntfs_reparse_data", TEXT(second), XATTR_CREATE),
      -EEXIST);
  assert_int_equal(set(file, &as_xattr, "system.ntfs_reparse_data", TEXT(second)), 0);
  assert_int_equal(set(file, &as_xattr, "system.ntfs_reparse_data", first, 11), -EINVAL);
  EXPECT(file, &as_xattr, "system.ntfs_reparse_data", TEXT(second));
  assert_int_equal(remove_it(file, &as_xattr, "system.ntfs_reparse_data"), 0);
  assert_int_equal(remove_it(file, &as_xattr, "system.ntfs_reparse_data"), -ENODATA);
  assert_int_equal(set(link_node, &as_xattr, "system.ntfs_reparse_data", TEXT(first)), -EOPNOTSUPP);
}

static void test_ntfs_object_id(void **state) {
  (void)state;
  struct casefs_statistics statistics;
  uint8_t id[16] = {(uint8_t)casefs_node_id(file)};
  casefs_volume_statistics(volume, &statistics);
  memcpy(id + 8, statistics.uuid + 8, 8);
  EXPECT(file, &as_xattr, "system.ntfs_object_id", id, 16);
  assert_int_equal(set(file, &as_xattr, "system.ntfs_object_id", id, 16), -EPERM);
  assert_int_equal(remove_it(file, &as_xattr, "system.ntfs_object_id"), -EPERM);
}

/* The kernel leaves these to the file system. */
static void test_ntfs_permissions(void **state) {
  (void)state;
  const struct xattr_view shown = {
      .shown = {.force_uid = true, .uid = STRANGER, .file_mask = 0400}};
  const uint32_t hidden = 2;
  char value[64];
  const char *name = "system.ntfs_attrib";
  assert_int_equal(xattr_get(file, &as_xattr, &by_owner, name, value, 64), 4);
  assert_int_equal(xattr_get(file, &as_xattr, &by_friend, name, value, 64), 4);
  assert_int_equal(xattr_get(file, &as_xattr, &by_stranger, name, value, 64), -EACCES);
  assert_int_equal(set_by(&by_owner, file, &as_xattr, name, &hidden, 4, 0), 0);
  assert_int_equal(set_by(&by_friend, file, &as_xattr, name, &hidden, 4, 0), -EPERM);
  assert_int_equal(xattr_remove(file, &as_xattr, &by_friend, "system.ntfs_ea", &effects), -EPERM);
  assert_int_equal(set_by(&by_stranger, file, &shown, name, &hidden, 4, 0), 0);
  assert_int_equal(set_by(&by_owner, file, &shown, name, &hidden, 4, 0), -EPERM);
  assert_int_equal(xattr_get(file, &shown, &by_stranger, name, value, 64), -EACCES);
  /* user::r-- user:STRANGER:r-- group::--- mask::r-- other::--- */
  static const uint8_t list[] = {2,
                                 0,
                                 0,
                                 0,
                                 1,
                                 0,
                                 4,
                                 0,
                                 255,
                                 255,
                                 255,
                                 255,
                                 2,
                                 0,
                                 4,
                                 0,
                                 STRANGER & 255,
                                 STRANGER >> 8,
                                 0,
                                 0,
                                 4,
                                 0,
                                 0,
                                 0,
                                 255,
                                 255,
                                 255,
                                 255,
                                 16,
                                 0,
                                 4,
                                 0,
                                 255,
                                 255,
                                 255,
                                 255,
                                 32,
                                 0,
                                 0,
                                 0,
                                 255,
                                 255,
                                 255,
                                 255};
  assert_int_equal(set(file, &as_xattr, ACL_ACCESS, list, sizeof list), 0);
  assert_int_equal(now_of(file).mode, 0440);
  assert_int_equal(xattr_get(file, &as_xattr, &by_stranger, name, value, 64), 4);
  assert_int_equal(xattr_get(file, &as_xattr, &by_friend, name, value, 64), -EACCES);
}

/* ------------------------------------------------------------------------ Samba */

/* Values of Samba 4.17, and of Wine 8.0. */
static void test_dosattrib(void **state) {
  (void)state;
  static const char version_5[] =
      "\0\0\x05\0\x05\0\0\0\x11\0\0\0\x22\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01";
  static const char with_text[] =
      "0x22\0\0\x05\0\x05\0\0\0\x11\0\0\0\x22\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01";
  static const char version_3[] = "0x22\0\0\x03\0\x03\0\0\0\x11\0\0\0\x22\0\0\0\0\0\0\0"
                                  "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01"
                                  "\0\0\0\0\0\0\0\0";
  static const char version_4[] =
      "\0\0\x04\0\x04\0\0\0\x11\0\0\0\x21\0\0\0"
      "\x18\x17\x16\x15\x14\x13\x12\x11\x09\x07\x06\x05\x04\x03\x02\x01";
  assert_int_equal(set(file, &as_samba, "user.DOSATTRIB", TEXT(version_5)), 0);
  assert_int_equal(effects, 0);
  assert_int_equal(now_of(file).dos_attributes, 0x22);
  assert_int_equal(now_of(file).created, 0x0102030405060708);
  EXPECT(file, &as_samba, "user.DOSATTRIB", TEXT(with_text));
  assert_int_equal(set(file, &as_samba, "user.DOSATTRIB", TEXT(version_4)), 0);
  assert_int_equal(now_of(file).dos_attributes, 0x21);
  assert_int_equal(now_of(file).created, 0x0102030405060709);
  assert_int_equal(set(file, &as_samba, "user.DOSATTRIB", TEXT(version_3)), 0);
  EXPECT(file, &as_samba, "user.DOSATTRIB", TEXT(with_text));
  assert_int_equal(set(file, &as_samba, "user.DOSATTRIB", TEXT(with_text)), 0);
  EXPECT(file, &as_samba, "user.DOSATTRIB", TEXT(with_text));
  assert_int_equal(set(file, &as_samba, "user.DOSATTRIB", TEXT("0x4")), 0);
  assert_int_equal(now_of(file).dos_attributes, 0x24);
  assert_int_equal(set(file, &as_samba, "user.DOSATTRIB", "0x2", 4), 0);
  assert_int_equal(now_of(file).dos_attributes, 0x22);
  assert_int_equal(remove_it(file, &as_samba, "user.DOSATTRIB"), 0);
  assert_int_equal(now_of(file).dos_attributes, 0x20);
  assert_int_equal(set_by(&by_root, file, &as_samba, "user.DOSATTRIB", "0x2", 3, XATTR_CREATE),
                   -EEXIST);
  static const char *const bad[] = {"0x", "0xz", "12", "0x2g", "", "0x11111111111111111"};
  for (size_t i = 0; i < LENGTH(bad); i++)
    assert_int_equal(set(file, &as_samba, "user.DOSATTRIB", bad[i], strlen(bad[i])), -EINVAL);
  for (size_t size = 0; size < sizeof version_5 - 1; size++)
    assert_int_equal(set(file, &as_samba, "user.DOSATTRIB", version_5, size), -EINVAL);
  EXPECT_LIST(file, &as_samba, "");
}

/* O:BAG:BAD:(A;;FA;;;WD), as Windows has it, and in Samba's attribute of version 1, where offsets
 * count from the attribute's beginning. */
static const char descriptor[] =
    "\x01\0\x04\x80\x14\0\0\0\x24\0\0\0\0\0\0\0\x34\0\0\0"
    "\x01\x02\0\0\0\0\0\x05\x20\0\0\0\x20\x02\0\0"
    "\x01\x02\0\0\0\0\0\x05\x20\0\0\0\x20\x02\0\0"
    "\x02\0\x1c\0\x01\0\0\0\0\0\x14\0\xff\x01\x1f\0\x01\x01\0\0\0\0\0\x01\0\0\0\0";
static const char ntacl_1[] =
    "\x01\0\x01\0\0\0\x02\0"
    "\x01\0\x04\x80\x1c\0\0\0\x2c\0\0\0\0\0\0\0\x3c\0\0\0"
    "\x01\x02\0\0\0\0\0\x05\x20\0\0\0\x20\x02\0\0"
    "\x01\x02\0\0\0\0\0\x05\x20\0\0\0\x20\x02\0\0"
    "\x02\0\x1c\0\x01\0\0\0\0\0\x14\0\xff\x01\x1f\0\x01\x01\0\0\0\0\0\x01\0\0\0\0";

/* The same attribute of a later version: what is before the descriptor. */
static size_t ntacl_of(unsigned version, const char *text, uint8_t *value) {
  size_t at = 12; /* version twice, two references */
  memset(value, 0, 512);
  value[0] = value[2] = (uint8_t)version;
  value[6] = 2;
  value[8] = 4;
  value[10] = 2;
  memset(value + at, 0x77, version == 2 ? 16 : 66);
  at += version == 2 ? 16 : 66;
  if (version == 4) {
    memcpy(value + at, text, strlen(text) + 1);
    at = (at + strlen(text) + 1 + 3) & ~(size_t)3;
    memset(value + at, 0x66, 72);
    at += 72;
  }
  at = (at + 3) & ~(size_t)3;
  memcpy(value + at, descriptor, sizeof descriptor - 1);
  for (size_t i = 4; i < 20; i += 4)
    if (value[at + i] != 0) {
      size_t offset = value[at + i] + at;
      value[at + i] = (uint8_t)offset;
      value[at + i + 1] = (uint8_t)(offset >> 8);
    }
  return at + sizeof descriptor - 1;
}

static void test_ntacl(void **state) {
  (void)state;
  static const char other[] = "\x01\0\x04\x80\0\0\0\0\0\0\0\0\0\0\0\0\x14\0\0\0"
                              "\x02\0\x08\0\0\0\0\0";
  uint8_t value[512];
  assert_int_equal(length_of(file, &as_xattr, "security.NTACL"), -ENODATA);
  assert_int_equal(casefs_set_security(file, TEXT(descriptor)), 0);
  EXPECT(file, &as_xattr, "security.NTACL", TEXT(ntacl_1));
  EXPECT_LIST(file, &as_xattr, "");
  for (unsigned version = 2; version <= 4; version++) {
    static const char *const texts[] = {"posix_acl", "", "abc"};
    size_t size = ntacl_of(version, texts[version - 2], value);
    assert_int_equal(casefs_set_security(file, NULL, 0), 0);
    assert_int_equal(set(file, &as_xattr, "security.NTACL", value, size), 0);
    EXPECT(file, &as_xattr, "system.ntfs_acl", TEXT(descriptor));
    EXPECT(file, &as_xattr, "security.NTACL", value, size);
    EXPECT_LIST(file, &as_xattr, "security.NTACL ");
  }
  /* The descriptor is another one now. */
  assert_int_equal(casefs_set_security(file, TEXT(other)), 0);
  assert_int_equal(length_of(file, &as_xattr, "security.NTACL"), 8 + sizeof other - 1);
  assert_int_equal(casefs_set_security(file, TEXT(descriptor)), 0);
  assert_int_equal(xattr_get(file, &as_xattr, &by_root, "security.NTACL", value, 512) > 160, true);
  assert_int_equal(set(file, &as_xattr, "system.ntfs_acl", TEXT(descriptor)), 0);
  EXPECT(file, &as_xattr, "security.NTACL", TEXT(ntacl_1));
  EXPECT_LIST(file, &as_xattr, "");
  assert_int_equal(remove_it(file, &as_xattr, "security.NTACL"), 0);
  assert_int_equal(length_of(file, &as_xattr, "system.ntfs_acl"), -ENODATA);
  /* Of what has no streams. */
  assert_int_equal(set(link_node, &as_xattr, "security.NTACL", TEXT(ntacl_1)), 0);
  EXPECT(link_node, &as_xattr, "system.ntfs_acl", TEXT(descriptor));
  EXPECT_LIST(link_node, &as_xattr, "security.NTACL ");
  assert_int_equal(set(file, &as_xattr, "system.ntfs_acl", TEXT("")), -EINVAL);
  assert_int_equal(set(file, &as_xattr, "system.ntfs_acl", TEXT("junk")), -EINVAL);
}

/* Every beginning of a value, and every value with one byte wrong: no crash, and what was set is
 * read. */
static void test_malformed_ntacl(void **state) {
  (void)state;
  uint8_t value[512], read[512];
  for (unsigned version = 1; version <= 5; version++) {
    size_t size = version == 1 ? sizeof ntacl_1 - 1 : ntacl_of(version, "x", value);
    if (version == 1)
      memcpy(value, ntacl_1, size);
    for (size_t cut = 0; cut < 2 * size; cut++) {
      size_t length = cut < size ? cut : size;
      uint8_t before = value[cut % size];
      if (cut >= size)
        value[cut % size] ^= 0xff;
      assert_int_equal(set(file, &as_xattr, "security.NTACL", value, length), 0);
      assert_int_equal(xattr_get(file, &as_xattr, &by_root, "security.NTACL", read, sizeof read),
                       length);
      assert_memory_equal(read, value, length);
      value[cut % size] = before;
    }
  }
}

/* ----------------------------------------------------------------------- memory */

/* Every allocation fails once: -ENOMEM, and the old value, or the new one. */
static void test_memory(void **state) {
  (void)state;
  static const char *const names[] = {"user.a",         "user.x:y",       "trusted.t",
                                      "security.NTACL", "system.ntfs_ea", ACL_ACCESS};
  static const char list[] = "\x10\0\0\0\0\x03\x03\0FOO\0bar\0";
  static const uint8_t acl[] = {2,   0,   0,   0,   1,   0,   6,   0,   255, 255, 255, 255,
                                4,   0,   4,   0,   255, 255, 255, 255, 16,  0,   4,   0,
                                255, 255, 255, 255, 32,  0,   0,   0,   255, 255, 255, 255};
  uint8_t ntacl[512];
  size_t ntacl_size = ntacl_of(4, "x", ntacl);
  for (size_t i = 0; i < LENGTH(names); i++) {
    const void *value = i == 3   ? (const void *)ntacl
                        : i == 4 ? (const void *)list
                                 : (const void *)acl;
    size_t size = i == 3 ? ntacl_size : i == 4 ? sizeof list - 1 : sizeof acl;
    long needed = 0;
    for (int result = -ENOMEM; result != 0; needed++) {
      assert_true(needed < 1000);
      allocations_left = needed;
      unsigned none;
      result = xattr_set(file, &as_xattr, &by_root, names[i], value, size, 0, &none);
      allocations_left = -1;
      if (result != 0 && result != -ENOMEM)
        fail_msg("%s: %d", names[i], result);
      if (result != 0 && i < 3)
        assert_int_equal(length_of(file, &as_xattr, names[i]), -ENODATA);
      if (result != 0 && i < 3)
        assert_int_equal(now_of(file).streams, i);
    }
    EXPECT(file, &as_xattr, names[i], value, size);
    needed = 0;
    for (int result = -ENOMEM; result < 0; needed++) {
      uint8_t read[512];
      assert_true(needed < 1000);
      allocations_left = needed;
      result = xattr_get(file, &as_xattr, &by_root, names[i], read, sizeof read);
      allocations_left = -1;
      if (result != (int)size && result != -ENOMEM)
        fail_msg("%s: %d", names[i], result);
    }
  }
}

/* ------------------------------------------------------------------------- main */

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_streams_as_attributes),
      TEST(test_flags),
      TEST(test_long_values),
      TEST(test_samba_streams),
      TEST(test_kept),
      TEST(test_kept_values),
      TEST(test_hidden),
      TEST(test_names),
      TEST(test_other_kinds),
      TEST(test_streams_have_none),
      TEST(test_eas),
      TEST(test_ea_list),
      TEST(test_ea_list_full),
      TEST(test_linux_eas),
      TEST(test_ntfs_attributes),
      TEST(test_ntfs_times),
      TEST(test_ntfs_reparse),
      TEST(test_ntfs_object_id),
      TEST(test_ntfs_permissions),
      TEST(test_dosattrib),
      TEST(test_ntacl),
      TEST(test_malformed_ntacl),
      TEST(test_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
