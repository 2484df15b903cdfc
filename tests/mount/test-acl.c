/* SPDX-License-Identifier: BSD-3-Clause
 *
 * POSIX access control lists of mount.casefs, on a volume in memory, without a mount.
 */

#include "xattr-fixture.h"

/* ------------------------------------------------------------------------- ACLs */

struct entry {
  unsigned tag, rights;
  uint32_t id;
};
enum { U = 1, NU = 2, G = 4, NG = 8, M = 16, O = 32 };
#define NONE UINT32_MAX

static size_t acl_of(const struct entry *entries, size_t count, uint8_t *value) {
  memcpy(value, "\x02\0\0\0", 4);
  for (size_t i = 0; i < count; i++) {
    uint8_t *at = value + 4 + 8 * i;
    memcpy(at, (const uint8_t[]){(uint8_t)entries[i].tag, 0, (uint8_t)entries[i].rights, 0}, 4);
    for (unsigned j = 0; j < 4; j++)
      at[4 + j] = (uint8_t)(entries[i].id >> 8 * j);
  }
  return 4 + 8 * count;
}
#define ACL_OF(value, ...)                                                                         \
  acl_of((const struct entry[]){__VA_ARGS__},                                                      \
         sizeof((const struct entry[]){__VA_ARGS__}) / sizeof(struct entry), value)

static const struct entry bad_lists[][6] = {
    {{U, 7, NONE}, {G, 7, NONE}},
    {{U, 7, NONE}, {O, 7, NONE}},
    {{G, 7, NONE}, {O, 7, NONE}},
    {{G, 7, NONE}, {U, 7, NONE}, {O, 7, NONE}},
    {{U, 7, NONE}, {U, 7, NONE}, {G, 7, NONE}, {O, 7, NONE}},
    {{U, 7, NONE}, {NU, 7, 5}, {G, 7, NONE}, {O, 7, NONE}},
    {{U, 7, NONE}, {G, 7, NONE}, {NG, 7, 5}, {O, 7, NONE}},
    {{U, 7, NONE}, {NU, 7, NONE}, {G, 7, NONE}, {M, 7, NONE}, {O, 7, NONE}},
    {{U, 7, NONE}, {G, 7, NONE}, {M, 7, NONE}, {M, 7, NONE}, {O, 7, NONE}},
    {{U, 8, NONE}, {G, 7, NONE}, {O, 7, NONE}},
    {{U, 7, NONE}, {G, 7, NONE}, {O, 7, NONE}, {64, 7, NONE}},
    {{U, 7, NONE}, {3, 7, NONE}, {G, 7, NONE}, {O, 7, NONE}},
    {{U, 7, NONE}, {G, 7, NONE}, {O, 7, NONE}, {M, 7, NONE}},
};

static void test_acl_form(void **state) {
  (void)state;
  uint8_t value[64];
  for (size_t i = 0; i < LENGTH(bad_lists); i++) {
    size_t count = 0;
    while (count < 6 && bad_lists[i][count].tag)
      count++;
    size_t size = acl_of(bad_lists[i], count, value);
    if (set(directory, &as_xattr, ACL_ACCESS, value, size) != -EINVAL ||
        set(directory, &as_xattr, ACL_DEFAULT, value, size) != -EINVAL)
      fail_msg("list %zu is not refused", i);
  }
  size_t size = ACL_OF(value, {U, 6, NONE}, {G, 4, NONE}, {O, 0, NONE});
  assert_int_equal(set(file, &as_xattr, ACL_ACCESS, value, size - 1), -EINVAL);
  assert_int_equal(set(file, &as_xattr, ACL_ACCESS, value, 3), -EINVAL);
  value[0] = 1;
  assert_int_equal(set(file, &as_xattr, ACL_ACCESS, value, size), -EOPNOTSUPP);
  assert_int_equal(now_of(file).mode, 0640);
}

static void test_acl_and_mode(void **state) {
  (void)state;
  uint8_t value[64], expected[64];
  size_t size = ACL_OF(value, {U, 7, 1}, {G, 5, 2}, {O, 1, 3});
  /* A list that says no more than a mode is one. */
  assert_int_equal(set(file, &as_xattr, ACL_ACCESS, value, size), 0);
  assert_int_equal(effects, XATTR_CHANGED_ATTRIBUTES);
  assert_int_equal(now_of(file).mode, 0751);
  assert_int_equal(now_of(file).streams, 0);
  assert_int_equal(length_of(file, &as_xattr, ACL_ACCESS), -ENODATA);
  size = ACL_OF(value, {U, 6, 9}, {NU, 7, 5}, {G, 4, 9}, {NG, 2, 5}, {M, 6, 9}, {O, 0, 9});
  assert_int_equal(set(file, &as_xattr, ACL_ACCESS, value, size), 0);
  assert_int_equal(now_of(file).mode, 0660);
  size = ACL_OF(expected, {U, 6, NONE}, {NU, 7, 5}, {G, 4, NONE}, {NG, 2, 5}, {M, 6, NONE},
                {O, 0, NONE});
  EXPECT(file, &as_xattr, ACL_ACCESS, expected, size);
  EXPECT_LIST(file, &as_xattr, "system.posix_acl_access ");
  assert_int_equal(acl_change_mode(file, 0751), 0);
  size = ACL_OF(expected, {U, 7, NONE}, {NU, 7, 5}, {G, 4, NONE}, {NG, 2, 5}, {M, 5, NONE},
                {O, 1, NONE});
  EXPECT(file, &as_xattr, ACL_ACCESS, expected, size);
  assert_int_equal(remove_it(file, &as_xattr, ACL_ACCESS), 0);
  assert_int_equal(remove_it(file, &as_xattr, ACL_ACCESS), 0);
  assert_int_equal(length_of(file, &as_xattr, ACL_ACCESS), -ENODATA);
  assert_int_equal(now_of(file).mode, 0660);
}

static void test_acl_setgid(void **state) {
  (void)state;
  const struct casefs_attributes setgid = {.mode = 02755};
  uint8_t value[64];
  size_t size = ACL_OF(value, {U, 7, NONE}, {G, 5, NONE}, {O, 5, NONE});
  const struct {
    const struct caller *caller;
    uint32_t mode;
  } rows[] = {{&by_root, 02755}, {&by_friend, 02755}, {&by_owner, 0755}};
  for (size_t i = 0; i < LENGTH(rows); i++) {
    assert_int_equal(casefs_set_attributes(file, CASEFS_MODE, &setgid), 0);
    assert_int_equal(set_by(rows[i].caller, file, &as_xattr, ACL_ACCESS, value, size, 0), 0);
    assert_int_equal(now_of(file).mode, rows[i].mode);
  }
}

static void test_acl_kinds(void **state) {
  (void)state;
  uint8_t minimal[64], more[64];
  size_t size = ACL_OF(minimal, {U, 7, NONE}, {G, 5, NONE}, {O, 5, NONE});
  size_t more_size = ACL_OF(more, {U, 7, NONE}, {G, 5, NONE}, {M, 1, NONE}, {O, 5, NONE});
  assert_int_equal(set(link_node, &as_xattr, ACL_ACCESS, minimal, size), -EOPNOTSUPP);
  assert_int_equal(set(fifo, &as_xattr, ACL_ACCESS, minimal, size), 0);
  assert_int_equal(now_of(fifo).mode, 0755);
  assert_int_equal(set(fifo, &as_xattr, ACL_ACCESS, more, more_size), 0);
  EXPECT(fifo, &as_xattr, ACL_ACCESS, more, more_size);
  assert_int_equal(now_of(fifo).mode, 0715);
  assert_int_equal(set(fifo, &as_xattr, ACL_DEFAULT, minimal, size), -EACCES);
  assert_int_equal(set(file, &as_xattr, ACL_DEFAULT, minimal, size), -EACCES);
  assert_int_equal(set(file, &as_xattr, ACL_DEFAULT, minimal, 4), 0);
  assert_int_equal(set(directory, &as_xattr, ACL_DEFAULT, minimal, size), 0);
  EXPECT(directory, &as_xattr, ACL_DEFAULT, minimal, size);
  assert_int_equal(set(directory, &as_xattr, ACL_ACCESS, more, more_size), 0);
  assert_int_equal(now_of(directory).mode, 0715);
  assert_int_equal(set(directory, &as_xattr, ACL_DEFAULT, minimal, 4), 0);
  assert_int_equal(length_of(directory, &as_xattr, ACL_DEFAULT), -ENODATA);
}

static void test_acl_inheritance(void **state) {
  (void)state;
  struct acl_inheritance inheritance;
  uint8_t value[64], expected[64];
  uint32_t mode = 02666;
  assert_int_equal(acl_inherit(directory, false, 022, &mode, &inheritance), 0);
  assert_int_equal(mode, 02644);
  assert_null(inheritance.access);
  assert_null(inheritance.inherited);
  size_t size = ACL_OF(value, {U, 7, NONE}, {G, 5, NONE}, {O, 5, NONE});
  assert_int_equal(set(directory, &as_xattr, ACL_DEFAULT, value, size), 0);
  mode = 0666;
  assert_int_equal(acl_inherit(directory, false, 077, &mode, &inheritance), 0);
  assert_int_equal(mode, 0644);
  assert_null(inheritance.access);
  size = ACL_OF(value, {U, 7, NONE}, {NU, 6, 5}, {G, 5, NONE}, {M, 7, NONE}, {O, 4, NONE});
  assert_int_equal(set(directory, &as_xattr, ACL_DEFAULT, value, size), 0);
  mode = 0662;
  assert_int_equal(acl_inherit(directory, true, 077, &mode, &inheritance), 0);
  assert_int_equal(mode, 0660);
  casefs_node *child = make("child", CASEFS_DIRECTORY, mode);
  casefs_node *pipe = make("pipe", CASEFS_FIFO, mode);
  assert_int_equal(acl_give(child, &inheritance), 0);
  size_t expected_size =
      ACL_OF(expected, {U, 6, NONE}, {NU, 6, 5}, {G, 5, NONE}, {M, 6, NONE}, {O, 0, NONE});
  EXPECT(child, &as_xattr, ACL_ACCESS, expected, expected_size);
  EXPECT(child, &as_xattr, ACL_DEFAULT, value, size);
  acl_inheritance_clear(&inheritance);
  assert_null(inheritance.access);
  mode = 0660;
  assert_int_equal(acl_inherit(directory, false, 077, &mode, &inheritance), 0);
  assert_int_equal(acl_give(pipe, &inheritance), 0);
  EXPECT(pipe, &as_xattr, ACL_ACCESS, expected, expected_size);
  acl_inheritance_clear(&inheritance);
  /* One that somebody else has damaged. */
  assert_int_equal(xattr_set_kept(directory, ACL_DEFAULT, "junk", 4), 0);
  assert_int_equal(acl_inherit(directory, false, 077, &mode, &inheritance), -EUCLEAN);
  casefs_node_close(child);
  casefs_node_close(pipe);
}

static void test_acl_permissions(void **state) {
  (void)state;
  struct casefs_attributes attributes = now_of(file); /* 0640 */
  const struct {
    const struct caller *caller;
    unsigned rights;
    int by_mode, by_list;
  } rows[] = {
      {&by_root, ACL_MAY_READ | ACL_MAY_WRITE | ACL_MAY_EXECUTE, 0, 0},
      {&by_owner, ACL_MAY_READ | ACL_MAY_WRITE, 0, 0},
      {&by_owner, ACL_MAY_EXECUTE, -EACCES, -EACCES},
      {&by_friend, ACL_MAY_READ, 0, 0},
      {&by_friend, ACL_MAY_WRITE, -EACCES, -EACCES}, /* the list would, the mask does not */
      {&by_stranger, ACL_MAY_READ, -EACCES, 0},
      {&by_stranger, ACL_MAY_EXECUTE, -EACCES, -EACCES},
      {&(const struct caller){9, 9, NULL, 0}, ACL_MAY_EXECUTE, -EACCES, 0},
  };
  for (size_t i = 0; i < LENGTH(rows); i++)
    assert_int_equal(acl_permits(file, &attributes, rows[i].caller, rows[i].rights),
                     rows[i].by_mode);
  uint8_t value[64];
  size_t size = ACL_OF(value, {U, 6, NONE}, {NU, 4, STRANGER}, {G, 0, NONE}, {NG, 6, 7},
                       {M, 4, NONE}, {O, 1, NONE});
  assert_int_equal(set(file, &as_xattr, ACL_ACCESS, value, size), 0);
  attributes = now_of(file);
  for (size_t i = 0; i < LENGTH(rows); i++)
    assert_int_equal(acl_permits(file, &attributes, rows[i].caller, rows[i].rights),
                     rows[i].by_list);
}

static void test_acl_memory(void **state) {
  (void)state;
  uint8_t value[64];
  size_t size = ACL_OF(value, {U, 7, NONE}, {G, 4, NONE}, {M, 4, NONE}, {O, 0, NONE});
  for (long needed = 0;; needed++) {
    struct acl_inheritance inheritance;
    uint32_t mode = 0777;
    assert_int_equal(xattr_set_kept(directory, ACL_DEFAULT, value, size), 0);
    allocations_left = needed;
    int result = acl_inherit(directory, true, 0, &mode, &inheritance);
    allocations_left = -1;
    acl_inheritance_clear(&inheritance);
    if (result == 0)
      break;
    assert_int_equal(result, -ENOMEM);
  }
}

/* ------------------------------------------------------------------------- main */

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_acl_form),   TEST(test_acl_and_mode),    TEST(test_acl_setgid),
      TEST(test_acl_kinds),  TEST(test_acl_inheritance), TEST(test_acl_permissions),
      TEST(test_acl_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
