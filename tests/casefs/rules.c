/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The rules that casefs.h states, each at its edges: names, case, links,
 * renames, Windows' metadata, paths, sparse files, times.
 */

#include "dice.h"
#include "fixture.h"
#include "workload.h"

static unsigned char bytes[128 << 10], other_bytes[128 << 10];

/* ------------------------------------------------------------------------- names */

/* A name of count times that text. */
static const char *repeat(const char *text, unsigned count) {
  static char name[4096];
  name[0] = 0;
  for (unsigned i = 0; i < count; i++)
    strcat(name, text);
  return name;
}

static void expect_every_use(struct fixture *fixture, const char *name, size_t length, int result) {
  struct casefs_creation creation = {.type = CASEFS_FILE};
  casefs_node *root = fixture->root, *node, *stream = NULL;
  struct casefs_attributes attributes;
  int missing = result ? result : -ENOENT;
  assert_int_equal(casefs_open_at(root, name, length, &node), missing);
  assert_int_equal(casefs_lookup(root, name, length, &attributes, NULL), missing);
  assert_int_equal(casefs_unlink(root, name, length), missing);
  assert_int_equal(casefs_rmdir(root, name, length), missing);
  assert_int_equal(casefs_rename(root, name, length, root, "to", 2, 0), missing);
  node = make(root, "from", CASEFS_FILE);
  assert_int_equal(casefs_link(node, root, name, length), result);
  if (result == 0)
    assert_int_equal(casefs_unlink(root, name, length), 0);
  assert_int_equal(casefs_rename(root, "from", 4, root, name, length, 0), result);
  assert_int_equal(casefs_open_stream(node, name, length, O_CREAT, &stream), result);
  casefs_node_close(stream);
  casefs_node_close(node);
  if (result)
    assert_int_equal(unlink_name(root, "from"), 0);
  else
    assert_int_equal(casefs_unlink(root, name, length), 0);
  assert_int_equal(casefs_create(root, name, length, &creation, NULL), result);
  if (result == 0) {
    char stored[CASEFS_MAX_NAME + 1];
    assert_int_equal(casefs_lookup(root, name, length, &attributes, stored), 0);
    assert_int_equal(strlen(stored), length);
    assert_memory_equal(stored, name, length);
    assert_int_equal(casefs_unlink(root, name, length), 0);
  }
  assert_string_equal(listing(root), "");
}

static void expect_name(struct fixture *fixture, const char *name, int result) {
  expect_every_use(fixture, name, strlen(name), result);
}

static void names_of_255_units(void **state) {
  struct fixture *fixture = *state;
  expect_name(fixture, repeat("a", 255), 0);
  expect_name(fixture, repeat("a", 256), -ENAMETOOLONG);
  expect_name(fixture, repeat("\xe2\x82\xac", 255), 0);
  expect_name(fixture, repeat("\xe2\x82\xac", 256), -ENAMETOOLONG);
  expect_name(fixture, repeat("\xf0\x9f\x98\x80", 127), 0);
  expect_name(fixture, repeat("\xf0\x9f\x98\x80", 128), -ENAMETOOLONG);
  char odd[600];
  snprintf(odd, sizeof odd, "x%s", repeat("\xf0\x9f\x98\x80", 127));
  expect_name(fixture, odd, 0);
  /* folds that are longer than the name: U+0250 (2 bytes) to U+2C6F (3 bytes) */
  expect_name(fixture, repeat("\xc9\x90", 255), 0);
}

static void names_that_cannot_be(void **state) {
  struct fixture *fixture = *state;
  expect_name(fixture, "", -EINVAL);
  expect_name(fixture, ".", -EINVAL);
  expect_name(fixture, "..", -EINVAL);
  expect_name(fixture, "a/b", -EINVAL);
  expect_every_use(fixture, "a\0b", 3, -EINVAL);
  static const char *const malformed[] = {
      "\xff",
      "\x80",
      "a\xc3",
      "\xc0\xaf",
      "\xe0\x80\xaf",
      "\xe2\x82",
      "\xf0\x9f\x98",
      "\xf4\x90\x80\x80",
      "\xf8\x88\x80\x80\x80",
      "\xed\xa0\x80\xed\xb0\x80", /* a pair that should be one character */
  };
  for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++)
    expect_name(fixture, malformed[i], -EILSEQ);
}

static void names_that_can_be(void **state) {
  struct fixture *fixture = *state;
  static const char *const names[] = {
      "...",
      " ",
      "a ",
      "a.",
      "\xed\xa0\x80",
      "\xed\xb0\x80",
      "\xed\xb0\x80\xed\xa0\x80",
      "\x01",
      "\x7f",
      "*?\"<>|",
      "CON",
      "\xef\xbf\xbf",
      "\xf4\x8f\xbf\xbf",
      "\xc2\x80",
  };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    expect_name(fixture, names[i], 0);
  /* of files only */
  assert_int_equal(try_make(fixture->root, "a:b", CASEFS_FILE), 0);
  assert_int_equal(try_make(fixture->root, "a\\b", CASEFS_FILE), 0);
  casefs_node *node = find(fixture->root, "a:b"), *stream;
  assert_int_equal(casefs_open_stream(node, "a:b", 3, O_CREAT, &stream), -EINVAL);
  assert_int_equal(casefs_open_stream(node, "a\\b", 3, O_CREAT, &stream), -EINVAL);
  casefs_node_close(node);
}

/* -------------------------------------------------------------------------- case */

static void fold_is_that_of_windows(void **state) {
  struct fixture *fixture = *state;
  static const struct {
    const char *one, *other;
    bool same;
  } pairs[] = {
      {"a", "A", true},
      {"\xc3\xa9", "\xc3\x89", true},                  /* e acute */
      {"\xcf\x83", "\xce\xa3", true},                  /* sigma */
      {"\xcf\x82", "\xce\xa3", false},                 /* final sigma */
      {"k", "\xe2\x84\xaa", false},                    /* Kelvin sign */
      {"\xc3\x9f", "\xe1\xba\x9e", false},             /* sharp s */
      {"i", "\xc4\xb0", false},                        /* dotted I */
      {"\xc4\xb1", "I", false},                        /* dotless i */
      {"\xc5\xbf", "S", false},                        /* long s */
      {"\xc2\xb5", "\xce\x9c", false},                 /* micro sign */
      {"\xc3\xa9", "e\xcc\x81", false},                /* not normalized */
      {"\xf0\x90\x90\xa8", "\xf0\x90\x90\x80", false}, /* Deseret: outside the BMP */
      {"\xd7\x90", "\xd7\x91", false},                 /* Hebrew has no case */
      {"\xef\xbd\x81", "\xef\xbc\xa1", true},          /* full width */
      {"\xc7\x86", "\xc7\x84", true},                  /* dz with caron, small and capital */
      {"\xc7\x85", "\xc7\x84", false},                 /* title case: its lower case is another */
      {"[", "{", false},
      {"@", "`", false},
  };
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    assert_int_equal(try_make(fixture->root, pairs[i].one, CASEFS_FILE), 0);
    int found = try_find(fixture->root, pairs[i].other);
    if ((found == 0) != pairs[i].same)
      fail_msg("%s and %s: %d", pairs[i].one, pairs[i].other, found);
    assert_int_equal(unlink_name(fixture->root, pairs[i].one), 0);
  }
}

static void case_flag_is_inherited(void **state) {
  struct fixture *fixture = *state;
  casefs_node *directory = make(fixture->root, "d", CASEFS_DIRECTORY);
  assert_true(attributes_of_node(directory).case_insensitive);
  struct casefs_creation creation = {.type = CASEFS_DIRECTORY, .sensitive = true};
  assert_int_equal(casefs_create(directory, "s", 1, &creation, NULL), 0);
  casefs_node *sensitive = find(directory, "S");
  assert_false(attributes_of_node(sensitive).case_insensitive);
  casefs_node *below = make(sensitive, "b", CASEFS_DIRECTORY);
  assert_false(attributes_of_node(below).case_insensitive);
  assert_int_equal(try_make(sensitive, "B", CASEFS_DIRECTORY), 0);
  /* what is moved keeps its own */
  assert_int_equal(rename_name(sensitive, "b", directory, "b", 0), 0);
  assert_false(attributes_of_node(below).case_insensitive);
  casefs_node_close(below);
  casefs_node_close(sensitive);
  casefs_node_close(directory);
}

static void case_flag_flips_unless_names_collide(void **state) {
  struct fixture *fixture = *state;
  char first[CASEFS_MAX_NAME + 1], second[CASEFS_MAX_NAME + 1];
  casefs_node *root = fixture->root;
  casefs_node_close(make(root, "x", CASEFS_FILE));
  casefs_node_close(make(root, "Foo", CASEFS_FILE));
  casefs_node_close(make(root, "foo", CASEFS_DIRECTORY));
  assert_int_equal(casefs_set_case(root, true, first, second), -EEXIST);
  assert_true((strcmp(first, "Foo") == 0 && strcmp(second, "foo") == 0) ||
              (strcmp(first, "foo") == 0 && strcmp(second, "Foo") == 0));
  assert_int_equal(casefs_set_case(root, true, NULL, NULL), -EEXIST);
  assert_false(attributes_of_node(root).case_insensitive);
  assert_int_equal(rename_name(root, "Foo", root, "Foo2", 0), 0);
  assert_int_equal(casefs_set_case(root, true, first, second), 0);
  assert_true(attributes_of_node(root).case_insensitive);
  assert_int_equal(try_find(root, "FOO2"), 0);
  assert_int_equal(try_find(root, "FOO"), 0);
  assert_int_equal(try_make(root, "X", CASEFS_FILE), -EEXIST);
  assert_string_equal(listing(root), "foo Foo2 x ");
  reopen(fixture);
  root = fixture->root;
  assert_int_equal(try_find(root, "fOO"), 0);
  assert_true(statistics_of(fixture).case_insensitive);
  assert_int_equal(casefs_set_case(root, false, NULL, NULL), 0);
  assert_int_equal(try_find(root, "fOO"), -ENOENT);
  assert_int_equal(try_make(root, "X", CASEFS_FILE), 0);
  casefs_node *file = find(root, "x");
  assert_int_equal(casefs_set_case(file, true, NULL, NULL), -ENOTDIR);
  casefs_node_close(file);
}

/* ------------------------------------------------------------------------- links */

static void hard_links_are_equal_names(void **state) {
  struct fixture *fixture = *state;
  casefs_node *root = fixture->root;
  casefs_node *directory = make(root, "d", CASEFS_DIRECTORY);
  casefs_node *node = make(root, "one", CASEFS_FILE);
  write_seeded(node, 5000, 0, 1);
  assert_int_equal(casefs_link(node, directory, "two", 3), 0);
  assert_int_equal(casefs_link(node, root, "three", 5), 0);
  assert_int_equal(attributes_of_node(node).links, 3);
  casefs_node *other = find(directory, "two");
  assert_int_equal(casefs_node_id(other), casefs_node_id(node));
  write_seeded(other, 5000, 5000, 2);
  expect_seeded(node, 5000, 5000, 2);
  casefs_node_close(other);
  /* renaming one name to another of the same node does nothing */
  assert_int_equal(rename_name(root, "one", directory, "two", 0), 0);
  assert_int_equal(rename_name(root, "one", root, "three", CASEFS_RENAME_EXCHANGE), 0);
  assert_int_equal(attributes_of_node(node).links, 3);
  assert_int_equal(unlink_name(root, "one"), 0);
  assert_int_equal(unlink_name(root, "three"), 0);
  assert_int_equal(attributes_of_node(node).links, 1);
  casefs_node_close(node);
  reopen(fixture);
  directory = find(fixture->root, "d");
  node = find(directory, "two");
  expect_seeded(node, 5000, 5000, 2);
  assert_int_equal(casefs_link(directory, fixture->root, "no", 2), -EPERM);
  assert_int_equal(casefs_link(node, node, "no", 2), -ENOTDIR);
  assert_int_equal(unlink_name(directory, "two"), 0);
  assert_int_equal(attributes_of_node(node).links, 0);
  assert_true(casefs_link(node, fixture->root, "back", 4) < 0);
  casefs_node_close(node);
  casefs_node_close(directory);
  assert_string_equal(listing(fixture->root), "d ");
}

static void removal_is_of_the_right_kind(void **state) {
  struct fixture *fixture = *state;
  casefs_node *root = fixture->root;
  casefs_node *directory = make(root, "d", CASEFS_DIRECTORY);
  casefs_node *file = make(directory, "f", CASEFS_FILE);
  assert_int_equal(unlink_name(root, "d"), -EISDIR);
  assert_int_equal(casefs_rmdir(root, "d", 1), -ENOTEMPTY);
  assert_int_equal(casefs_rmdir(directory, "f", 1), -ENOTDIR);
  assert_int_equal(unlink_name(file, "x"), -ENOTDIR);
  assert_int_equal(try_make(file, "x", CASEFS_FILE), -ENOTDIR);
  assert_int_equal(try_find(file, "x"), -ENOTDIR);
  assert_int_equal(unlink_name(directory, "f"), 0);
  assert_int_equal(casefs_rmdir(root, "d", 1), 0);
  /* a removed directory that is open takes nothing more */
  assert_int_equal(try_make(directory, "x", CASEFS_FILE), -ENOENT);
  assert_int_equal(try_find(directory, "x"), -ENOENT);
  assert_string_equal(listing(directory), "");
  casefs_node *keep = make(root, "keep", CASEFS_FILE);
  assert_int_equal(casefs_link(keep, directory, "x", 1), -ENOENT);
  assert_int_equal(rename_name(root, "keep", directory, "x", 0), -ENOENT);
  char path[64];
  assert_int_equal(casefs_path(directory, path, sizeof path), -ENOENT);
  assert_int_equal(casefs_path(file, path, sizeof path), -ENOENT);
  casefs_node_close(keep);
  casefs_node_close(file);
  casefs_node_close(directory);
}

static void renames_replace_only_what_they_may(void **state) {
  struct fixture *fixture = *state;
  casefs_node *root = fixture->root;
  casefs_node *full = make(root, "full", CASEFS_DIRECTORY);
  casefs_node_close(make(full, "x", CASEFS_DIRECTORY));
  casefs_node_close(make(root, "empty", CASEFS_DIRECTORY));
  casefs_node_close(make(root, "file", CASEFS_FILE));
  casefs_node_close(make(root, "other", CASEFS_FILE));
  assert_int_equal(rename_name(root, "none", root, "new", 0), -ENOENT);
  assert_int_equal(rename_name(root, "file", root, "empty", 0), -EISDIR);
  assert_int_equal(rename_name(root, "empty", root, "file", 0), -ENOTDIR);
  assert_int_equal(rename_name(root, "empty", root, "full", 0), -ENOTEMPTY);
  assert_int_equal(rename_name(root, "full", full, "x", 0), -EINVAL);
  assert_int_equal(rename_name(root, "full", full, "y", 0), -EINVAL);
  assert_int_equal(rename_name(root, "full", full, "x", CASEFS_RENAME_EXCHANGE), -EINVAL);
  assert_int_equal(rename_name(full, "x", root, "full", CASEFS_RENAME_EXCHANGE), -EINVAL);
  assert_int_equal(rename_name(root, "file", root, "other", CASEFS_RENAME_NOREPLACE), -EEXIST);
  assert_int_equal(rename_name(root, "file", root, "none", CASEFS_RENAME_EXCHANGE), -ENOENT);
  assert_int_equal(rename_name(root, "file", root, "new", 3), -EINVAL);
  assert_int_equal(rename_name(root, "file", root, "new", 4), -EINVAL);
  assert_string_equal(listing(root), "empty file full other ");
  assert_int_equal(rename_name(root, "file", root, "full", CASEFS_RENAME_EXCHANGE), 0);
  assert_int_equal(try_find(full, "x"), 0);
  casefs_node *moved = find(root, "file");
  assert_int_equal(casefs_node_id(moved), casefs_node_id(full));
  casefs_node_close(moved);
  assert_int_equal(rename_name(root, "file", root, "empty", 0), 0);
  assert_int_equal(rename_name(root, "full", root, "other", 0), 0);
  assert_string_equal(listing(root), "empty other ");
  assert_int_equal(statistics_of(fixture).nodes, 4);
  casefs_node_close(full);
}

/* ------------------------------------------------------------------------- paths */

static int open_path(struct fixture *fixture, const char *path, unsigned flags, uint64_t *id) {
  casefs_node *node;
  int error = casefs_open_path(fixture->volume, NULL, path, flags, &node);
  if (error == 0) {
    *id = casefs_node_id(node);
    casefs_node_close(node);
  }
  return error;
}

static void make_link(casefs_node *directory, const char *name, const char *target) {
  struct casefs_creation creation = {
      .type = CASEFS_SYMLINK, .target = target, .target_length = strlen(target)};
  assert_int_equal(casefs_create(directory, name, strlen(name), &creation, NULL), 0);
}

static void symbolic_links_are_followed(void **state) {
  struct fixture *fixture = *state;
  casefs_node *root = fixture->root;
  casefs_node *directory = make(root, "d", CASEFS_DIRECTORY);
  casefs_node *file = make(directory, "f", CASEFS_FILE);
  uint64_t id, link;
  char name[16], target[CASEFS_MAX_SYMLINK + 1];
  make_link(root, "loop", "loop");
  make_link(root, "nowhere", "none/x");
  make_link(root, "l0", "d/f");
  for (int i = 1; i <= 40; i++) {
    snprintf(name, sizeof name, "l%d", i);
    snprintf(target, sizeof target, "l%d", i - 1);
    make_link(root, name, target);
  }
  make_link(root, "dir", "/d/");
  assert_int_equal(open_path(fixture, "loop", 0, &id), -ELOOP);
  assert_int_equal(open_path(fixture, "loop", CASEFS_NOFOLLOW, &id), 0);
  assert_int_equal(open_path(fixture, "loop/x", CASEFS_NOFOLLOW, &id), -ELOOP);
  assert_int_equal(open_path(fixture, "nowhere", 0, &id), -ENOENT);
  assert_int_equal(open_path(fixture, "l39", 0, &id), 0);
  assert_int_equal(id, casefs_node_id(file));
  assert_int_equal(open_path(fixture, "l40", 0, &id), -ELOOP);
  assert_int_equal(open_path(fixture, "l0", CASEFS_NOFOLLOW, &link), 0);
  assert_int_not_equal(link, id);
  assert_int_equal(open_path(fixture, "/dir/f", CASEFS_NOFOLLOW, &id), 0);
  assert_int_equal(open_path(fixture, "//d/./f", 0, &id), 0);
  assert_int_equal(open_path(fixture, "l0/x", 0, &id), -ENOTDIR);
  casefs_node *node = find(root, "l0");
  assert_int_equal(casefs_readlink(node, target, sizeof target), 3);
  assert_memory_equal(target, "d/f", 3);
  assert_int_equal(casefs_readlink(node, target, 2), -ERANGE);
  assert_int_equal(casefs_readlink(file, target, sizeof target), -EINVAL);
  assert_int_equal(attributes_of_node(node).size, 3);
  assert_int_equal(casefs_read(node, target, 1, 0), -EINVAL);
  assert_int_equal(casefs_truncate(node, 0), -EINVAL);
  casefs_node_close(node);
  memset(target, 'x', sizeof target);
  struct casefs_creation creation = {
      .type = CASEFS_SYMLINK, .target = target, .target_length = CASEFS_MAX_SYMLINK};
  assert_int_equal(casefs_create(root, "long", 4, &creation, NULL), 0);
  creation.target_length++;
  assert_int_equal(casefs_create(root, "longer", 6, &creation, NULL), -ENAMETOOLONG);
  creation.target_length = 0;
  assert_int_equal(casefs_create(root, "none", 4, &creation, NULL), -EINVAL);
  casefs_node_close(file);
  casefs_node_close(directory);
}

static void windows_paths_work(void **state) {
  struct fixture *fixture = *state;
  casefs_node *directory = make(fixture->root, "Dir", CASEFS_DIRECTORY);
  casefs_node *file = make(directory, "File", CASEFS_FILE), *stream;
  assert_int_equal(casefs_open_stream(file, "Zone", 4, O_CREAT, &stream), 0);
  uint64_t id, stream_id = casefs_node_id(stream);
  static const char *const paths[] = {"C:\\dir\\FILE", "\\Dir\\File", "dir\\file", "c:\\dir/file",
                                      "/DIR/FILE"};
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
    assert_int_equal(open_path(fixture, paths[i], 0, &id), 0);
    assert_int_equal(id, casefs_node_id(file));
  }
  assert_int_equal(open_path(fixture, "C:\\dir\\file:zone", 0, &id), 0);
  assert_int_equal(id, stream_id);
  assert_int_equal(open_path(fixture, "/Dir/File:ZONE", 0, &id), 0);
  assert_int_equal(id, stream_id);
  assert_int_equal(open_path(fixture, "/Dir/File:none", 0, &id), -ENOENT);
  /* names that really have these characters come first */
  casefs_node *odd = make(fixture->root, "dir\\file", CASEFS_FILE);
  assert_int_equal(open_path(fixture, "Dir\\File", 0, &id), 0);
  assert_int_equal(id, casefs_node_id(odd));
  casefs_node_close(odd);
  casefs_node_close(stream);
  casefs_node_close(file);
  casefs_node_close(directory);
}

/* -------------------------------------------------------------------------- data */

static void sparse_files_take_what_they_hold(void **state) {
  struct fixture *fixture = *state;
  const uint64_t far = UINT64_C(1) << 60;
  casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
  assert_int_equal(casefs_truncate(node, UINT64_C(1) << 62), 0);
  assert_int_equal(attributes_of_node(node).allocated, 0);
  write_seeded(node, 100, far + 4096 * 3 + 50, 1);
  assert_int_equal(casefs_sync(fixture->volume), 0);
  assert_true(attributes_of_node(node).allocated <= 4096);
  expect_zeros(node, 4096, far + 4096 * 2);
  expect_zeros(node, 50, far + 4096 * 3);
  expect_seeded(node, 100, far + 4096 * 3 + 50, 1);
  struct casefs_extent extent;
  assert_int_equal(casefs_get_extent(node, 0, &extent), 1);
  assert_int_equal(extent.kind, CASEFS_EXTENT_HOLE);
  assert_int_equal(extent.offset + extent.count, far + 4096 * 3);
  assert_int_equal(casefs_get_extent(node, far + 4096 * 3 + 5, &extent), 1);
  assert_int_equal(extent.kind, CASEFS_EXTENT_DATA);
  assert_int_equal(casefs_get_extent(node, UINT64_C(1) << 62, &extent), 0);
  assert_int_equal(casefs_punch(node, 0, UINT64_C(1) << 62), 0);
  assert_int_equal(casefs_sync(fixture->volume), 0);
  assert_int_equal(attributes_of_node(node).allocated, 0);
  assert_int_equal(attributes_of_node(node).size, UINT64_C(1) << 62);
  casefs_node_close(node);
}

static void allocated_space_is_kept_for_the_file(void **state) {
  struct fixture *fixture = *state;
  casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
  write_seeded(node, 100, 0, 1);
  assert_int_equal(casefs_allocate(node, 0, 1 << 20, true), 0);
  assert_int_equal(attributes_of_node(node).size, 100);
  assert_int_equal(casefs_allocate(node, 0, 1 << 20, false), 0);
  assert_int_equal(attributes_of_node(node).size, 1 << 20);
  assert_int_equal(casefs_sync(fixture->volume), 0);
  assert_true(attributes_of_node(node).allocated >= (1 << 20) - 4096); /* its start is inline */
  expect_seeded(node, 100, 0, 1);
  expect_zeros(node, (1 << 20) - 100, 100);
  struct casefs_extent extent;
  assert_int_equal(casefs_get_extent(node, 500000, &extent), 1);
  assert_int_equal(extent.kind, CASEFS_EXTENT_UNWRITTEN);
  casefs_node *filler = make(fixture->root, "filler", CASEFS_FILE);
  uint64_t size = 0;
  dice_fill(bytes, 4096, 2); /* zeros would take no space */
  while (casefs_write(filler, bytes, 4096, size) == 4096)
    size += 4096;
  for (unsigned i = 0; i < 16; i++)
    write_seeded(node, 65536, i * 65536, i);
  assert_int_equal(casefs_sync(fixture->volume), 0);
  for (unsigned i = 0; i < 16; i++)
    expect_seeded(node, 65536, i * 65536, i);
  casefs_node_close(filler);
  casefs_node_close(node);
}

/* ---------------------------------------------------------------- attributes, times */

static void every_attribute_is_kept(void **state) {
  struct fixture *fixture = *state;
  casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
  const struct casefs_attributes extremes[] = {
      {.mode = 07777,
       .uid = UINT32_MAX,
       .gid = UINT32_MAX,
       .dos_attributes = CASEFS_DOS_SETTABLE,
       .created = UINT64_MAX,
       .modified = INT64_MAX,
       .accessed = 1,
       .changed = UINT64_MAX},
      {.mode = 0, .created = 0, .modified = 0, .accessed = 0, .changed = 0},
  };
  for (size_t i = 0; i < 2; i++) {
    assert_int_equal(casefs_set_attributes(node, 0xff, &extremes[i]), 0);
    casefs_node_close(node);
    reopen(fixture);
    node = find(fixture->root, "f");
    struct casefs_attributes is = attributes_of_node(node);
    assert_int_equal(is.mode, extremes[i].mode);
    assert_int_equal(is.uid, extremes[i].uid);
    assert_int_equal(is.gid, extremes[i].gid);
    assert_int_equal(is.dos_attributes, extremes[i].dos_attributes);
    assert_true(is.created == extremes[i].created && is.modified == extremes[i].modified);
    assert_true(is.accessed == extremes[i].accessed && is.changed == extremes[i].changed);
  }
  struct casefs_attributes wrong = {.dos_attributes = 0x10, .mode = 010000};
  assert_int_equal(casefs_set_attributes(node, CASEFS_DOS_ATTRIBUTES, &wrong), -EINVAL);
  assert_int_equal(casefs_set_attributes(node, CASEFS_MODE, &wrong), -EINVAL);
  assert_int_equal(casefs_set_attributes(node, 0x10000, &wrong), -EINVAL);
  casefs_node_close(node);
}

/* Set all times of a node long ago. */
static void age(casefs_node *node) {
  struct casefs_attributes old = {.created = 1, .modified = 2, .accessed = 3, .changed = 4};
  unsigned mask = CASEFS_CREATED | CASEFS_MODIFIED | CASEFS_ACCESSED | CASEFS_CHANGED;
  assert_int_equal(casefs_set_attributes(node, mask, &old), 0);
}

static void expect_times(casefs_node *node, bool modified, bool changed) {
  struct casefs_attributes is = attributes_of_node(node);
  assert_int_equal(is.created, 1);
  assert_int_equal(is.accessed, 3);
  assert_int_equal(is.modified > 2, modified);
  assert_int_equal(is.changed > 4, changed);
  age(node);
}

static void times_change_with_what_they_are_of(void **state) {
  struct fixture *fixture = *state;
  casefs_node *directory = make(fixture->root, "d", CASEFS_DIRECTORY);
  casefs_node *node = make(directory, "f", CASEFS_FILE);
  age(directory);
  age(node);
  assert_int_equal(casefs_read(node, bytes, 10, 0), 0);
  expect_times(node, false, false);
  write_seeded(node, 10, 0, 1);
  expect_times(node, true, true);
  assert_int_equal(casefs_truncate(node, 5), 0);
  expect_times(node, true, true);
  assert_int_equal(
      casefs_set_attributes(node, CASEFS_MODE, &(struct casefs_attributes){.mode = 0600}), 0);
  expect_times(node, false, true);
  assert_int_equal(casefs_set_ea(node, "A", 1, "x", 1, 0), 0);
  expect_times(node, false, true);
  expect_times(directory, false, false);
  casefs_node_close(make(directory, "g", CASEFS_FILE));
  expect_times(directory, true, true);
  assert_int_equal(casefs_link(node, fixture->root, "h", 1), 0);
  expect_times(node, false, true);
  assert_int_equal(unlink_name(directory, "f"), 0);
  expect_times(directory, true, true);
  expect_times(node, false, true);
  assert_int_equal(rename_name(fixture->root, "h", directory, "h", 0), 0);
  expect_times(directory, true, true);
  casefs_node_close(node);
  casefs_node_close(directory);
}

/* --------------------------------------------------------------------- attributes */

static int try_ea(casefs_node *node, const char *name, size_t size, uint8_t flags) {
  return casefs_set_ea(node, name, strlen(name), bytes, size, flags);
}

static void extended_attributes_have_their_limits(void **state) {
  struct fixture *fixture = *state;
  casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
  char name[300];
  memset(name, 'N', sizeof name);
  dice_fill(bytes, sizeof bytes, 1);
  assert_int_equal(casefs_set_ea(node, name, 255, bytes, 1, 0), 0);
  assert_int_equal(casefs_set_ea(node, name, 256, bytes, 1, 0), -ENAMETOOLONG);
  assert_int_equal(casefs_set_ea(node, name, 0, bytes, 1, 0), -EINVAL);
  assert_int_equal(casefs_set_ea(node, name, 255, bytes, 0, 0), 0);
  assert_int_equal(casefs_set_ea(node, "A\0B", 3, bytes, 1, 0), -EINVAL);
  for (const char *bad = "\\/:*?\"<>|,+=[];\x01\x1f"; *bad; bad++)
    assert_int_equal(casefs_set_ea(node, bad, 1, bytes, 1, 0), -EINVAL);
  assert_int_equal(try_ea(node, "FLAGS", 1, 1), -EINVAL);
  assert_int_equal(try_ea(node, "FLAGS", 1, 0x80), 0);
  assert_int_equal(try_ea(node, "FLAGS", 0, 0), 0);
  assert_int_equal(try_ea(node, "LONG", CASEFS_MAX_EA_VALUE + 1, 0), -ENAMETOOLONG);
  assert_int_equal(attributes_of_node(node).ea_size, 0);
  assert_int_equal(try_ea(node, "A", 65530, 0), 0); /* 5 + 1 + 65530 = 65536 */
  assert_int_equal(attributes_of_node(node).ea_size, CASEFS_MAX_EA_PACKED);
  assert_int_equal(try_ea(node, "A", 65531, 0), -EFBIG);
  assert_int_equal(try_ea(node, "B", 1, 0), -EFBIG);
  assert_int_equal(try_ea(node, "B", 0, 0), 0);
  uint8_t flags = 1;
  assert_int_equal(casefs_get_ea(node, "a", 1, other_bytes, sizeof other_bytes, &flags), 65530);
  assert_memory_equal(other_bytes, bytes, 65530);
  assert_int_equal(flags, 0);
  assert_int_equal(casefs_get_ea(node, "a", 1, NULL, 0, NULL), 65530);
  assert_int_equal(casefs_get_ea(node, "a", 1, other_bytes, 65529, NULL), -ERANGE);
  assert_int_equal(casefs_get_ea(node, "b", 1, NULL, 0, NULL), -ENODATA);
  assert_int_equal(try_ea(node, "a", 100, 0), 0);
  struct casefs_cursor cursor = {0};
  struct casefs_ea ea;
  assert_int_equal(casefs_next_ea(node, &cursor, &ea), 1);
  assert_string_equal(ea.name, "a");
  assert_int_equal(ea.length, 100);
  assert_int_equal(casefs_next_ea(node, &cursor, &ea), 0);
  casefs_node_close(node);
}

/* ---------------------------------------------------------------- reparse points */

static void reparse_points_follow_their_rules(void **state) {
  struct fixture *fixture = *state;
  casefs_node *directory = make(fixture->root, "d", CASEFS_DIRECTORY);
  casefs_node *file = make(fixture->root, "f", CASEFS_FILE);
  size_t length = make_reparse(1, 100, bytes); /* not Microsoft's: with a GUID */
  const uint32_t tag = 0x1001;
  assert_int_equal(casefs_get_reparse(file, bytes, 0), -ENODATA);
  assert_int_equal(casefs_remove_reparse(file, tag, bytes + 8), -ENODATA);
  assert_int_equal(casefs_set_reparse(file, bytes, length - 1), -EINVAL);
  assert_int_equal(casefs_set_reparse(file, bytes, 7), -EINVAL);
  assert_int_equal(casefs_set_reparse(file, bytes, 0), -EINVAL);
  assert_int_equal(casefs_set_reparse(file, bytes, length), 0);
  assert_int_equal(attributes_of_node(file).reparse_tag, tag);
  assert_int_equal(casefs_get_reparse(file, NULL, 0), length);
  assert_int_equal(casefs_get_reparse(file, other_bytes, length - 1), -ERANGE);
  assert_int_equal(casefs_get_reparse(file, other_bytes, sizeof other_bytes), length);
  assert_memory_equal(other_bytes, bytes, length);
  bytes[8] ^= 1; /* another GUID */
  assert_int_equal(casefs_set_reparse(file, bytes, length), -EEXIST);
  assert_int_equal(casefs_remove_reparse(file, tag, bytes + 8), -EINVAL);
  bytes[8] ^= 1;
  length = make_reparse(1, CASEFS_MAX_REPARSE - 24, bytes);
  assert_int_equal(length, CASEFS_MAX_REPARSE);
  assert_int_equal(casefs_set_reparse(file, bytes, length), 0);
  assert_int_equal(casefs_set_reparse(file, bytes, length + 1), -ENAMETOOLONG);
  assert_int_equal(casefs_remove_reparse(file, tag + 1, bytes + 8), -EINVAL);
  assert_int_equal(casefs_remove_reparse(file, tag, bytes + 8), 0);
  assert_int_equal(attributes_of_node(file).reparse_tag, 0);
  casefs_node_close(make(directory, "x", CASEFS_FILE));
  assert_int_equal(casefs_set_reparse(directory, bytes, length), -ENOTEMPTY);
  assert_int_equal(unlink_name(directory, "x"), 0);
  assert_int_equal(casefs_set_reparse(directory, bytes, length), 0);
  casefs_node_close(directory);
  casefs_node_close(file);
}

static void microsoft_tags_are_checked(void **state) {
  struct fixture *fixture = *state;
  casefs_node *directory = make(fixture->root, "d", CASEFS_DIRECTORY);
  casefs_node *file = make(fixture->root, "f", CASEFS_FILE);
  /* a mount point: substitute name "a", print name "a" */
  const unsigned char mount[] = {3, 0, 0, 0xa0, 12, 0, 0,   0, 0,   0,
                                 2, 0, 2, 0,    2,  0, 'a', 0, 'a', 0};
  unsigned char broken[sizeof mount];
  assert_int_equal(casefs_set_reparse(file, mount, sizeof mount), -EINVAL);
  assert_int_equal(casefs_set_reparse(directory, mount, sizeof mount), 0);
  assert_int_equal(casefs_remove_reparse(directory, 0xa0000003, NULL), 0);
  static const struct {
    unsigned char at, value;
  } breaks[] = {{10, 6}, {8, 4}, {12, 1}, {10, 0}, {14, 3}, {4, 11}, {2, 1}, {0, 0}};
  for (size_t i = 0; i < sizeof breaks / sizeof *breaks; i++) {
    memcpy(broken, mount, sizeof mount);
    broken[breaks[i].at] = breaks[i].value;
    if (breaks[i].at == 0) /* a reserved tag */
      memset(broken, 0, 4);
    assert_int_equal(casefs_set_reparse(directory, broken, sizeof broken), -EINVAL);
  }
  casefs_node_close(directory);
  casefs_node_close(file);
}

/* -------------------------------------------------------------------- descriptors */

static void descriptors_are_checked_and_shared(void **state) {
  struct fixture *fixture = *state;
  casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
  size_t length = make_security(4, bytes); /* 54 KB */
  assert_true(length > 50000);
  assert_int_equal(casefs_get_security(node, NULL, 0), -ENODATA);
  assert_int_equal(casefs_set_security(node, bytes, 10), -EINVAL);
  assert_int_equal(casefs_set_security(node, bytes, length - 1), -EINVAL);
  assert_int_equal(casefs_set_security(node, bytes, CASEFS_MAX_SECURITY + 1), -ENAMETOOLONG);
  assert_false(attributes_of_node(node).has_security);
  assert_int_equal(casefs_set_security(node, bytes, length), 0);
  assert_int_equal(casefs_get_security(node, NULL, 0), length);
  assert_int_equal(casefs_get_security(node, other_bytes, length - 1), -ERANGE);
  assert_int_equal(casefs_get_security(node, other_bytes, sizeof other_bytes), length);
  assert_memory_equal(other_bytes, bytes, length);
  casefs_node_close(node);
  /* once per content: 500 of them would take 27 MB */
  for (unsigned i = 0; i < 500; i++) {
    char name[16];
    struct casefs_creation creation = {
        .type = CASEFS_FILE, .security = bytes, .security_length = length};
    int size = snprintf(name, sizeof name, "f%u", i);
    assert_int_equal(casefs_create(fixture->root, name, (size_t)size, &creation, NULL), 0);
  }
  assert_int_equal(casefs_sync(fixture->volume), 0);
  for (unsigned i = 0; i < 500; i++) {
    char name[16];
    snprintf(name, sizeof name, "f%u", i);
    if (i % 2)
      assert_int_equal(unlink_name(fixture->root, name), 0);
  }
  reopen(fixture);
  node = find(fixture->root, "f2");
  assert_int_equal(casefs_get_security(node, other_bytes, sizeof other_bytes), length);
  assert_memory_equal(other_bytes, bytes, length);
  assert_int_equal(casefs_set_security(node, NULL, 0), 0);
  assert_int_equal(casefs_get_security(node, other_bytes, sizeof other_bytes), -ENODATA);
  casefs_node_close(node);
}

/* ------------------------------------------------------------------------ volumes */

static void volumes_grow_while_open(void **state) {
  (void)state;
  struct image *image = image_create(16 << 20);
  struct emulator *emulator = emulator_open(image);
  struct casefs_device *device = emulator_device(emulator);
  struct casefs_format_options options = {.size = 2 << 20, .label = "grows"};
  struct fixture fixture = {.emulator = emulator};
  image_destroy(image);
  assert_int_equal(casefs_format(device, &options), 0);
  assert_int_equal(casefs_open(device, NULL, &fixture.volume), 0);
  assert_int_equal(casefs_open_root(fixture.volume, &fixture.root), 0);
  assert_int_equal(statistics_of(&fixture).size, 2 << 20);
  casefs_node *node = make(fixture.root, "f", CASEFS_FILE);
  write_seeded(node, 1 << 20, 0, 1);
  assert_int_equal(casefs_grow(fixture.volume, 1 << 20), -EINVAL);
  assert_int_equal(casefs_grow(fixture.volume, 32 << 20), -EINVAL);
  assert_int_equal(casefs_grow(fixture.volume, 8 << 20), 0);
  assert_int_equal(statistics_of(&fixture).size, 8 << 20);
  write_seeded(node, 4 << 20, 1 << 20, 2);
  assert_int_equal(casefs_grow(fixture.volume, 0), 0);
  assert_int_equal(statistics_of(&fixture).size, 16 << 20);
  casefs_node_close(node);
  reopen(&fixture);
  node = find(fixture.root, "f");
  expect_seeded(node, 1 << 20, 0, 1);
  expect_seeded(node, 4 << 20, 1 << 20, 2);
  assert_string_equal(statistics_of(&fixture).label, "grows");
  casefs_node_close(node);
  reopen(&fixture);
  casefs_node_close(fixture.root);
  assert_int_equal(casefs_close(fixture.volume), 0);
  emulator_close(emulator);
}

static void labels_have_their_limits(void **state) {
  struct fixture *fixture = *state;
  assert_int_equal(casefs_set_label(fixture->volume, repeat("\xe2\x82\xac", 32)), 0);
  assert_int_equal(casefs_set_label(fixture->volume, repeat("a", 33)), -ENAMETOOLONG);
  assert_int_equal(casefs_set_label(fixture->volume, "\xff"), -EILSEQ);
  reopen(fixture);
  assert_string_equal(statistics_of(fixture).label, repeat("\xe2\x82\xac", 32));
  assert_int_equal(casefs_set_label(fixture->volume, ""), 0);
  assert_string_equal(statistics_of(fixture).label, "");
}

static void lookups_without_case_find_the_first_spelling(void **state) {
  struct fixture *fixture = *state;
  struct casefs_attributes attributes;
  char stored[CASEFS_MAX_NAME + 1];
  casefs_node_close(make(fixture->root, "read", CASEFS_FILE));
  casefs_node *first = make(fixture->root, "READ", CASEFS_FILE);
  assert_int_equal(casefs_lookup(fixture->root, "Read", 4, &attributes, stored), -ENOENT);
  assert_int_equal(casefs_lookup_folded(fixture->root, "Read", 4, &attributes, stored), 0);
  assert_string_equal(stored, "READ");
  assert_int_equal(attributes.id, casefs_node_id(first));
  assert_int_equal(casefs_lookup_folded(fixture->root, "write", 5, &attributes, NULL), -ENOENT);
  assert_int_equal(casefs_lookup_folded(first, "Read", 4, &attributes, NULL), -ENOTDIR);
  casefs_node_close(first);
}

static void all_links_are_told(void **state) {
  struct fixture *fixture = *state;
  struct casefs_cursor cursor = {0};
  char name[CASEFS_MAX_NAME + 1];
  uint64_t directory;
  casefs_node *below = make(fixture->root, "below", CASEFS_DIRECTORY);
  casefs_node *file = make(fixture->root, "one", CASEFS_FILE);
  assert_int_equal(casefs_link(file, below, "two", 3), 0);
  assert_int_equal(casefs_next_link(file, &cursor, &directory, name), 1);
  assert_int_equal(directory, CASEFS_ROOT_ID);
  assert_string_equal(name, "one");
  assert_int_equal(casefs_next_link(file, &cursor, &directory, name), 1);
  assert_int_equal(directory, casefs_node_id(below));
  assert_string_equal(name, "two");
  assert_int_equal(casefs_next_link(file, &cursor, &directory, name), 0);
  cursor = (struct casefs_cursor){0};
  assert_int_equal(casefs_next_link(fixture->root, &cursor, &directory, name), 0);
  casefs_node_close(file);
  casefs_node_close(below);
}

/* What a cache writes back, and what reading sets, leave the other times alone. */
static void times_stay_where_asked(void **state) {
  struct fixture *fixture = *state;
  struct casefs_attributes then = {.modified = 10, .accessed = 20, .changed = 30}, now;
  static unsigned char data[600000];
  casefs_node *file = make(fixture->root, "file", CASEFS_FILE);
  unsigned all = CASEFS_MODIFIED | CASEFS_ACCESSED | CASEFS_CHANGED;
  assert_int_equal(casefs_set_attributes(file, all, &then), 0);
  for (size_t size = 100; size <= sizeof data; size *= 6000) {
    assert_int_equal(casefs_write_back(file, data, size, 0), size);
    now = attributes_of_node(file);
    assert_int_equal(now.size, size);
    assert_int_equal(now.modified, 10);
    assert_int_equal(now.changed, 30);
  }
  then.accessed = 40;
  assert_int_equal(casefs_set_attributes(file, CASEFS_ACCESSED | CASEFS_KEEP_CHANGED, &then), 0);
  now = attributes_of_node(file);
  assert_int_equal(now.accessed, 40);
  assert_int_equal(now.changed, 30);
  assert_int_equal(casefs_write(file, data, 1, 0), 1);
  assert_true(attributes_of_node(file).modified > 1000);
  casefs_node_close(file);
}

static void devices_that_cannot_be_formatted_or_opened(void **state) {
  (void)state;
  struct casefs_format_options too_long = {.label = repeat("x", 33)};
  struct casefs_format_options too_large = {.size = 4 << 20};
  casefs_volume *volume;
  struct image *image = image_create((1 << 20) - 4096);
  struct emulator *emulator = emulator_open(image);
  assert_int_equal(casefs_format(emulator_device(emulator), NULL), -EINVAL);
  assert_int_equal(casefs_open(emulator_device(emulator), NULL, &volume), -ENODATA);
  emulator_close(emulator);
  image_destroy(image);
  image = image_create(2 << 20);
  emulator = emulator_open(image);
  assert_int_equal(casefs_open(emulator_device(emulator), NULL, &volume), -ENODATA);
  assert_int_equal(casefs_format(emulator_device(emulator), &too_long), -ENAMETOOLONG);
  assert_int_equal(casefs_format(emulator_device(emulator), &too_large), -EINVAL);
  assert_int_equal(casefs_format(emulator_device(emulator), NULL), 0);
  emulator_device(emulator)->size = (2 << 20) - 65536; /* cut short */
  assert_int_equal(casefs_open(emulator_device(emulator), NULL, &volume), -EFBIG);
  emulator_close(emulator);
  image_destroy(image);
}

#define usual(test) cmocka_unit_test_setup_teardown(test, setup_volume, teardown_volume)
#define insensitive(test) cmocka_unit_test_setup_teardown(test, setup_insensitive, teardown_volume)

int main(void) {
  const struct CMUnitTest tests[] = {
      usual(names_of_255_units),
      insensitive(names_of_255_units),
      usual(names_that_cannot_be),
      usual(names_that_can_be),
      insensitive(fold_is_that_of_windows),
      insensitive(case_flag_is_inherited),
      usual(case_flag_flips_unless_names_collide),
      usual(hard_links_are_equal_names),
      usual(removal_is_of_the_right_kind),
      usual(renames_replace_only_what_they_may),
      usual(symbolic_links_are_followed),
      insensitive(windows_paths_work),
      usual(sparse_files_take_what_they_hold),
      usual(allocated_space_is_kept_for_the_file),
      usual(every_attribute_is_kept),
      usual(times_change_with_what_they_are_of),
      usual(extended_attributes_have_their_limits),
      usual(reparse_points_follow_their_rules),
      usual(microsoft_tags_are_checked),
      usual(descriptors_are_checked_and_shared),
      cmocka_unit_test(volumes_grow_while_open),
      usual(labels_have_their_limits),
      usual(lookups_without_case_find_the_first_spelling),
      usual(all_links_are_told),
      usual(times_stay_where_asked),
      cmocka_unit_test(devices_that_cannot_be_formatted_or_opened),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
