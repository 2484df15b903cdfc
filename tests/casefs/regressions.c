/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Bugs that the systems we follow have had, each with a test that it is not
 * here: first those of WinFsp-MemFs-Extended ("memefs"), then of rainluoyu/memfs
 * ("memfs"), then of others.
 */

#include "dice.h"
#include "fixture.h"
#include "volume.h"

#include <unistd.h>

static unsigned char bytes[12 << 20];

/* ------------------------------------------------------------------------ memefs */

/* After growth that failed, size and count of sectors stayed too high. */
static void failed_growth_is_rolled_back(void **state) {
  struct fixture *fixture = *state;
  casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
  write_seeded(node, 100000, 0, 1);
  assert_int_equal(casefs_sync(fixture->volume), 0);
  struct casefs_attributes before = attributes_of_node(node);

  assert_int_equal(casefs_allocate(node, 0, 64 << 20, false), -ENOSPC);
  struct casefs_attributes after = attributes_of_node(node);
  assert_int_equal(after.size, before.size);
  assert_int_equal(after.allocated, before.allocated);

  dice_fill(bytes, sizeof bytes, 2);
  int64_t written = casefs_write(node, bytes, sizeof bytes, 100000);
  assert_true(written == -ENOSPC || (written > 0 && written < (int64_t)sizeof bytes));
  size_t kept = written > 0 ? (size_t)written : 0;
  assert_int_equal(attributes_of_node(node).size, 100000 + kept);
  expect_seeded(node, 100000, 0, 1);
  expect_seeded(node, kept, 100000, 2);
  assert_int_equal(casefs_truncate(node, 100000), 0);
  casefs_node_close(node);
  reopen(fixture);
  node = find(fixture->root, "f");
  expect_seeded(node, 100000, 0, 1);
  casefs_node_close(node);
}

/* Sectors were not zeroed: holes and tails that were cut and extended again showed old data. */
static void no_stale_data_in_holes_and_extended_tails(void **state) {
  struct fixture *fixture = *state;
  casefs_node *old = make(fixture->root, "old", CASEFS_FILE);
  write_seeded(old, 4 << 20, 0, 1);
  assert_int_equal(casefs_sync(fixture->volume), 0);
  casefs_node_close(old);
  assert_int_equal(unlink_name(fixture->root, "old"), 0);
  for (int i = 0; i < 4; i++)
    assert_int_equal(casefs_sync(fixture->volume), 0);

  for (int round = 0; round < 3; round++) {
    bool synced = round > 0, opened_again = round > 1;
    casefs_node *node = make(fixture->root, "new", CASEFS_FILE);
    write_seeded(node, 9000, 0, 2);
    assert_int_equal(casefs_truncate(node, 100), 0);
    if (synced)
      assert_int_equal(casefs_sync(fixture->volume), 0);
    assert_int_equal(casefs_truncate(node, 20000), 0);
    write_seeded(node, 100, 50000, 3);
    assert_int_equal(casefs_allocate(node, 100000, 300000, false), 0);
    write_seeded(node, 10, 200005, 4);
    if (opened_again) {
      casefs_node_close(node);
      reopen(fixture);
      node = find(fixture->root, "new");
    }
    expect_seeded(node, 100, 0, 2);
    expect_zeros(node, 49900, 100);
    expect_seeded(node, 100, 50000, 3);
    expect_zeros(node, 200005 - 50100, 50100);
    expect_seeded(node, 10, 200005, 4);
    expect_zeros(node, 400000 - 200015, 200015);
    assert_int_equal(casefs_punch(node, 10, 60000), 0);
    expect_seeded(node, 10, 0, 2);
    expect_zeros(node, 60000, 10);
    casefs_node_close(node);
    assert_int_equal(unlink_name(fixture->root, "new"), 0);
  }
}

static casefs_node *add_stream(casefs_node *node, const char *name, size_t size, uint64_t seed) {
  casefs_node *stream;
  assert_int_equal(casefs_open_stream(node, name, strlen(name), O_CREAT | O_EXCL, &stream), 0);
  write_seeded(stream, size, 0, seed);
  return stream;
}

/* Replacing a file kept references to each of its streams for ever. */
static void overwrite_leaks_no_stream(void **state) {
  struct fixture *fixture = *state;
  casefs_node_close(make(fixture->root, "keep", CASEFS_FILE));
  for (int i = 0; i < 4; i++)
    assert_int_equal(casefs_sync(fixture->volume), 0);
  uint64_t free = statistics_of(fixture).free;
  for (unsigned i = 0; i < 100; i++) { /* more than the volume holds at once */
    casefs_node *node = make(fixture->root, "new", CASEFS_FILE);
    casefs_node_close(add_stream(node, "one", 100000, i));
    casefs_node_close(add_stream(node, "two", 50, i));
    casefs_node_close(node);
    assert_int_equal(rename_name(fixture->root, "new", fixture->root, "keep", 0), 0);
    assert_int_equal(casefs_sync(fixture->volume), 0);
  }
  assert_int_equal(unlink_name(fixture->root, "keep"), 0);
  casefs_node_close(make(fixture->root, "keep", CASEFS_FILE));
  for (int i = 0; i < 4; i++)
    assert_int_equal(casefs_sync(fixture->volume), 0);
  assert_true(statistics_of(fixture).free + 65536 >= free);
  casefs_node *node = find(fixture->root, "keep");
  assert_int_equal(attributes_of_node(node).streams, 0);
  casefs_node_close(node);
}

static void set_ea(casefs_node *node, const char *name, size_t size) {
  assert_int_equal(casefs_set_ea(node, name, strlen(name), bytes, size, 0), 0);
}

/* The packed size lost the new attribute's size where it should have lost the old one's. */
static void ea_size_is_exact_on_replace(void **state) {
  struct fixture *fixture = *state;
  casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
  set_ea(node, "NAME", 100);
  assert_int_equal(attributes_of_node(node).ea_size, 5 + 4 + 100);
  set_ea(node, "OTHER", 7);
  set_ea(node, "name", 5000);
  assert_int_equal(attributes_of_node(node).ea_size, 5 + 4 + 5000 + 5 + 5 + 7);
  set_ea(node, "Name", 1);
  assert_int_equal(attributes_of_node(node).ea_size, 5 + 4 + 1 + 5 + 5 + 7);
  set_ea(node, "nAME", 0);
  set_ea(node, "none", 0);
  assert_int_equal(attributes_of_node(node).ea_size, 5 + 5 + 7);
  set_ea(node, "OTHER", 0);
  assert_int_equal(attributes_of_node(node).ea_size, 0);
  casefs_node_close(node);
}

/* Make many files in a directory. */
static void fill_directory(casefs_node *directory, unsigned count) {
  char name[32];
  for (unsigned i = 0; i < count; i++) {
    snprintf(name, sizeof name, "file-%u", i * 7919 % count);
    assert_int_equal(try_make(directory, name, CASEFS_FILE), 0);
  }
}

/* Keys were whole paths: listing went through all that is below. */
static void listing_does_not_walk_the_subtree(void **state) {
  struct fixture *fixture = *state;
  casefs_node *directory = make(fixture->root, "d", CASEFS_DIRECTORY);
  fill_directory(directory, 10000);
  casefs_node_close(directory);
  casefs_node_close(make(fixture->root, "e", CASEFS_DIRECTORY));
  reopen(fixture);
  uint64_t before = emulator_bytes(fixture->emulator, EMULATOR_READ);
  assert_string_equal(listing(fixture->root), "d e ");
  assert_true(emulator_bytes(fixture->emulator, EMULATOR_READ) - before <= 8 * 16384);
}

/* Renaming a directory gave every descendant a new key. */
static void rename_of_directory_touches_two_entries(void **state) {
  struct fixture *fixture = *state;
  casefs_node *directory = make(fixture->root, "d", CASEFS_DIRECTORY);
  fill_directory(directory, 10000);
  casefs_node *target = make(fixture->root, "t", CASEFS_DIRECTORY);
  assert_int_equal(casefs_sync(fixture->volume), 0);
  uint64_t before = emulator_bytes(fixture->emulator, EMULATOR_WRITE);
  assert_int_equal(rename_name(fixture->root, "d", target, "moved", 0), 0);
  assert_int_equal(casefs_sync(fixture->volume), 0);
  assert_true(emulator_bytes(fixture->emulator, EMULATOR_WRITE) - before <= 12 * 16384);
  assert_int_equal(try_find(directory, "file-77"), 0);
  assert_int_equal(attributes_of_node(directory).parent, casefs_node_id(target));
  casefs_node_close(directory);
  casefs_node_close(target);
}

/* Inserting a name that existed reported success. */
static void create_of_existing_fails(void **state) {
  struct fixture *fixture = *state;
  casefs_node *insensitive = make(fixture->root, "i", CASEFS_DIRECTORY);
  assert_int_equal(casefs_set_case(insensitive, true, NULL, NULL), 0);
  casefs_node *node = make(insensitive, "Name", CASEFS_FILE);
  uint64_t id = casefs_node_id(node);
  for (int type = CASEFS_FILE; type <= CASEFS_BLOCK_DEVICE; type++) {
    assert_int_equal(try_make(insensitive, "Name", (enum casefs_type)type), -EEXIST);
    assert_int_equal(try_make(insensitive, "nAME", (enum casefs_type)type), -EEXIST);
  }
  assert_int_equal(casefs_link(node, insensitive, "NAME", 4), -EEXIST);
  assert_int_equal(attributes_of_node(insensitive).size, 1);
  casefs_node_close(node);
  node = find(insensitive, "name");
  assert_int_equal(casefs_node_id(node), id);
  casefs_node_close(node);
  casefs_node_close(insensitive);
}

/* Space was counted in 32 bits, and in two units. */
static void space_is_counted_exactly(void **state) {
  (void)state;
  const uint64_t tebibyte = UINT64_C(1) << 40;
  struct fixture *fixture = fixture_create(tebibyte, false);
  struct casefs_statistics before = statistics_of(fixture);
  assert_int_equal(before.size, tebibyte);
  assert_true(before.free > tebibyte / 20 * 19 && before.free <= tebibyte);
  casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
  assert_int_equal(casefs_allocate(node, 0, UINT64_C(20) << 30, false), 0);
  assert_int_equal(casefs_sync(fixture->volume), 0);
  assert_int_equal(attributes_of_node(node).allocated, UINT64_C(20) << 30);
  uint64_t taken = before.free - statistics_of(fixture).free;
  assert_true(taken >= UINT64_C(20) << 30 && taken < (UINT64_C(20) << 30) + (1 << 20));
  assert_int_equal(casefs_truncate(node, 0), 0);
  for (int i = 0; i < 4; i++)
    assert_int_equal(casefs_sync(fixture->volume), 0);
  assert_true(statistics_of(fixture).free + 65536 >= before.free);
  casefs_node_close(node);
  fixture_destroy(fixture);
}

/* A range check was off by one. */
static void ranges_end_where_they_end(void **state) {
  struct fixture *fixture = *state;
  casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
  unsigned char byte;
  write_seeded(node, 1, CASEFS_MAX_SIZE - 1, 1);
  assert_int_equal(attributes_of_node(node).size, CASEFS_MAX_SIZE);
  assert_true(casefs_write(node, &byte, 1, CASEFS_MAX_SIZE) < 0);
  assert_true(casefs_write(node, bytes, 2, CASEFS_MAX_SIZE - 1) < 0);
  assert_true(casefs_write(node, &byte, 1, UINT64_MAX) < 0);
  assert_true(casefs_truncate(node, CASEFS_MAX_SIZE + 1) < 0);
  assert_true(casefs_allocate(node, CASEFS_MAX_SIZE, 1, true) < 0);
  assert_true(casefs_allocate(node, 1, UINT64_MAX, true) < 0);
  assert_int_equal(casefs_read(node, &byte, 1, CASEFS_MAX_SIZE - 1), 1);
  assert_int_equal(casefs_read(node, &byte, 1, CASEFS_MAX_SIZE), 0);
  assert_int_equal(casefs_read(node, &byte, 1, UINT64_MAX), 0);
  assert_int_equal(casefs_read(node, bytes, sizeof bytes, CASEFS_MAX_SIZE - 1), 1);
  expect_seeded(node, 1, CASEFS_MAX_SIZE - 1, 1);
  casefs_node_close(node);
}

/* There was one global instance that everything reached through. */
static void volumes_know_nothing_of_each_other(void **state) {
  struct fixture *one = *state;
  struct fixture *other = fixture_create(2 << 20, true);
  casefs_node_close(make(one->root, "a", CASEFS_FILE));
  casefs_node_close(make(other->root, "A", CASEFS_DIRECTORY));
  casefs_node_close(make(other->root, "b", CASEFS_FILE));
  assert_string_equal(listing(one->root), "a ");
  assert_string_equal(listing(other->root), "A b ");
  casefs_node *node = find(other->root, "B"), *foreign = find(one->root, "a");
  assert_true(casefs_link(foreign, other->root, "link", 4) < 0);
  assert_true(rename_name(one->root, "a", other->root, "moved", 0) < 0);
  casefs_node_close(foreign);
  casefs_node_close(node);
  fixture_destroy(other);
  assert_string_equal(listing(one->root), "a ");
}

/* A stream's handle dangled when its file went. */
static void stream_outlives_the_name_of_its_file(void **state) {
  struct fixture *fixture = *state;
  casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
  casefs_node *stream = add_stream(node, "s", 20000, 1);
  casefs_node_close(node);
  assert_int_equal(unlink_name(fixture->root, "f"), 0);
  expect_seeded(stream, 20000, 0, 1);
  write_seeded(stream, 30000, 10000, 2);
  assert_int_equal(casefs_sync(fixture->volume), 0);
  expect_seeded(stream, 30000, 10000, 2);
  uint64_t id = casefs_node_id(stream);
  casefs_node_close(stream);
  assert_int_equal(casefs_open_id(fixture->volume, id, &stream), -ENOENT);
  casefs_node_close(make(fixture->root, "f", CASEFS_FILE));
  node = find(fixture->root, "f");
  assert_int_equal(casefs_open_stream(node, "s", 1, 0, &stream), -ENOENT);
  casefs_node_close(node);
}

/* The same when only the stream is removed. */
static void removed_stream_stays_readable_while_open(void **state) {
  struct fixture *fixture = *state;
  casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
  casefs_node *stream = add_stream(node, "s", 20000, 1);
  assert_int_equal(casefs_remove_stream(node, "S", 1), 0);
  assert_int_equal(attributes_of_node(node).streams, 0);
  casefs_node *again = add_stream(node, "s", 10, 2);
  expect_seeded(stream, 20000, 0, 1);
  expect_seeded(again, 10, 0, 2);
  assert_int_equal(casefs_sync(fixture->volume), 0);
  expect_seeded(stream, 20000, 0, 1);
  casefs_node_close(stream);
  expect_seeded(again, 10, 0, 2);
  casefs_node_close(again);
  casefs_node_close(node);
}

/* ------------------------------------------------------------------------- memfs */

/* Evicted files became unreadable. */
static void files_stay_readable_with_the_smallest_cache(void **state) {
  struct fixture *fixture = *state;
  char name[32];
  for (unsigned i = 0; i < 200; i++) {
    snprintf(name, sizeof name, "f%u", i);
    casefs_node *node = make(fixture->root, name, CASEFS_FILE);
    write_seeded(node, i % 3 == 0 ? 100 : 10000, 0, i);
    casefs_node_close(node);
  }
  casefs_node_close(fixture->root);
  assert_int_equal(casefs_close(fixture->volume), 0);
  struct casefs_open_options options = {.cache_size = 1, .dirty_limit = 1};
  assert_int_equal(casefs_open(emulator_device(fixture->emulator), &options, &fixture->volume), 0);
  assert_int_equal(casefs_open_root(fixture->volume, &fixture->root), 0);
  for (int round = 0; round < 2; round++)
    for (unsigned i = 0; i < 200; i++) {
      snprintf(name, sizeof name, "f%u", i);
      casefs_node *node = find(fixture->root, name);
      expect_seeded(node, i % 3 == 0 ? 100 : 10000, 0, i);
      casefs_node_close(node);
    }
}

/* Reading after overwriting gave the old data back. */
static void overwritten_data_reads_back(void **state) {
  struct fixture *fixture = *state;
  casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
  for (unsigned i = 0; i < 20; i++) {
    size_t size = i % 2 ? 1000 : 100000;
    write_seeded(node, size, 0, i);
    expect_seeded(node, size, 0, i);
    if (i % 3 == 0)
      assert_int_equal(casefs_sync(fixture->volume), 0);
    expect_seeded(node, size, 0, i);
    if (i % 4 == 0) {
      casefs_node_close(node);
      reopen(fixture);
      node = find(fixture->root, "f");
    }
    expect_seeded(node, size, 0, i);
  }
  casefs_node_close(node);
}

/* A write was dropped when the size was the same, or one was under way. */
static void same_size_overwrite_is_written(void **state) {
  struct fixture *fixture = *state;
  casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
  for (unsigned i = 0; i < 5; i++) {
    write_seeded(node, 5000, 0, 10 + i);
    write_seeded(node, 5000, 0, 20 + i);
    assert_int_equal(casefs_sync(fixture->volume), 0);
    write_seeded(node, 5000, 0, 30 + i);
    assert_int_equal(casefs_sync(fixture->volume), 0);
    casefs_node_close(node);
    crash(fixture);
    node = find(fixture->root, "f");
    assert_int_equal(attributes_of_node(node).size, 5000);
    expect_seeded(node, 5000, 0, 30 + i);
  }
  casefs_node_close(node);
}

/* Opening to append truncated. */
static void append_does_not_truncate(void **state) {
  struct fixture *fixture = *state;
  casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
  uint64_t size = 0;
  for (unsigned i = 0; i < 50; i++) {
    write_seeded(node, 700, size, i);
    size += 700;
    casefs_node_close(node);
    node = find(fixture->root, "f");
    assert_int_equal(attributes_of_node(node).size, size);
  }
  for (unsigned i = 0; i < 50; i++)
    expect_seeded(node, 700, 700 * i, i);
  casefs_node_close(node);
}

/* Opening what is not there gave an empty file. */
static void open_missing_is_enoent(void **state) {
  struct fixture *fixture = *state;
  casefs_node *node;
  assert_int_equal(try_find(fixture->root, "f"), -ENOENT);
  assert_int_equal(casefs_open_path(fixture->volume, NULL, "/f", 0, &node), -ENOENT);
  assert_int_equal(casefs_open_path(fixture->volume, NULL, "/f/g", 0, &node), -ENOENT);
  assert_int_equal(casefs_open_path(fixture->volume, NULL, "f:s", 0, &node), -ENOENT);
  assert_int_equal(casefs_open_id(fixture->volume, 12345, &node), -ENOENT);
  assert_int_equal(casefs_open_id(fixture->volume, 0, &node), -ENOENT);
  node = make(fixture->root, "f", CASEFS_FILE);
  casefs_node *stream;
  assert_int_equal(casefs_open_stream(node, "s", 1, 0, &stream), -ENOENT);
  assert_int_equal(casefs_remove_stream(node, "s", 1), -ENOENT);
  assert_int_equal(attributes_of_node(node).streams, 0);
  casefs_node_close(node);
  assert_string_equal(listing(fixture->root), "f ");
}

/* mkdir of /x/y/x/z confused a cache of paths. */
static void repeated_names_in_a_path(void **state) {
  struct fixture *fixture = *state;
  static const char *const names[] = {"x", "y", "x", "z", "x"};
  casefs_node *directory = casefs_node_hold(fixture->root);
  char path[64];
  for (size_t i = 0; i < 5; i++) {
    casefs_node *next = make(directory, names[i], CASEFS_DIRECTORY);
    casefs_node_close(directory);
    directory = next;
  }
  assert_int_equal(casefs_path(directory, path, sizeof path), 10);
  assert_string_equal(path, "/x/y/x/z/x");
  casefs_node *found, *none;
  assert_int_equal(casefs_open_path(fixture->volume, NULL, path, 0, &found), 0);
  assert_int_equal(casefs_node_id(found), casefs_node_id(directory));
  assert_int_equal(casefs_open_path(fixture->volume, NULL, "/x/x", 0, &none), -ENOENT);
  assert_string_equal(listing(fixture->root), "x ");
  casefs_node_close(found);
  casefs_node_close(directory);
}

static void expect_leads_to(struct fixture *fixture, casefs_node *from, const char *path,
                            uint64_t id) {
  casefs_node *node;
  int error = casefs_open_path(fixture->volume, from, path, 0, &node);
  if (error)
    fail_msg("%s: %s", path, strerror(-error));
  if (casefs_node_id(node) != id)
    fail_msg("%s leads to another node", path);
  casefs_node_close(node);
}

static void make_link(casefs_node *directory, const char *name, const char *target) {
  struct casefs_creation creation = {
      .type = CASEFS_SYMLINK, .target = target, .target_length = strlen(target)};
  assert_int_equal(casefs_create(directory, name, strlen(name), &creation, NULL), 0);
}

/* /../../x went out of the root. */
static void dotdot_never_leaves_the_root(void **state) {
  struct fixture *fixture = *state;
  casefs_node *directory = make(fixture->root, "d", CASEFS_DIRECTORY);
  casefs_node *file = make(fixture->root, "etc", CASEFS_FILE);
  uint64_t id = casefs_node_id(file), root = CASEFS_ROOT_ID;
  make_link(directory, "up", "../../../../etc");
  make_link(directory, "absolute", "/../etc");
  make_link(directory, "top", "/");
  expect_leads_to(fixture, NULL, "/../../etc", id);
  expect_leads_to(fixture, NULL, "..", root);
  expect_leads_to(fixture, NULL, "/..", root);
  expect_leads_to(fixture, directory, "../../..", root);
  expect_leads_to(fixture, directory, "../../../d/../etc", id);
  expect_leads_to(fixture, NULL, "..\\..\\etc", id);
  expect_leads_to(fixture, NULL, "\\..\\d\\..\\..\\etc", id);
  expect_leads_to(fixture, NULL, "d/up", id);
  expect_leads_to(fixture, NULL, "d/absolute", id);
  expect_leads_to(fixture, NULL, "d/top/../etc", id);
  casefs_node *parent;
  const char *name;
  size_t length;
  assert_int_equal(
      casefs_open_parent(fixture->volume, directory, "../../../new", &parent, &name, &length), 0);
  assert_int_equal(casefs_node_id(parent), root);
  assert_int_equal(length, 3);
  casefs_node_close(parent);
  casefs_node_close(file);
  casefs_node_close(directory);
}

/* delete returned false, and exists said true right after it. */
static void delete_is_immediately_invisible(void **state) {
  struct fixture *fixture = *state;
  for (int held = 0; held < 2; held++)
    for (int synced = 0; synced < 2; synced++) {
      casefs_node *node = make(fixture->root, "File", CASEFS_FILE), *again;
      uint64_t id = casefs_node_id(node);
      struct casefs_attributes attributes;
      write_seeded(node, 10000, 0, 1);
      if (synced)
        assert_int_equal(casefs_sync(fixture->volume), 0);
      if (!held)
        casefs_node_close(node);
      assert_int_equal(unlink_name(fixture->root, "FILE"), 0);
      assert_int_equal(try_find(fixture->root, "File"), -ENOENT);
      assert_int_equal(try_find(fixture->root, "file"), -ENOENT);
      assert_int_equal(casefs_open_path(fixture->volume, NULL, "/File", 0, &again), -ENOENT);
      assert_int_equal(casefs_lookup(fixture->root, "File", 4, &attributes, NULL), -ENOENT);
      assert_int_equal(unlink_name(fixture->root, "File"), -ENOENT);
      assert_string_equal(listing(fixture->root), "");
      assert_int_equal(attributes_of_node(fixture->root).size, 0);
      if (held) {
        expect_seeded(node, 10000, 0, 1);
        assert_int_equal(attributes_of_node(node).links, 0);
        casefs_node_close(node);
      }
      assert_int_equal(casefs_open_id(fixture->volume, id, &again), -ENOENT);
      assert_int_equal(statistics_of(fixture).nodes, 1);
    }
}

/* ------------------------------------------------------------------------ others */

/* Growing writes copied everything each time (WinFsp's memfs). */
static void appending_costs_what_is_appended(void **state) {
  (void)state;
  struct fixture *fixture = fixture_create(64 << 20, false);
  casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
  uint64_t size = 0;
  for (unsigned i = 0; i < 1000; i++) {
    write_seeded(node, 4096, size, i);
    size += 4096;
    if (i % 10 == 9)
      assert_int_equal(casefs_sync(fixture->volume), 0);
  }
  assert_true(emulator_bytes(fixture->emulator, EMULATOR_WRITE) < 4 * size + 100 * 20 * 4096);
  casefs_node_close(node);
  fixture_destroy(fixture);
}

/* A file's number of nodes and size were fixed (WinFsp's memfs: 1024, 16 MiB). */
static void many_nodes_and_large_files(void **state) {
  (void)state;
  struct fixture *fixture = fixture_create(64 << 20, true);
  fill_directory(fixture->root, 5000);
  casefs_node *node = make(fixture->root, "large", CASEFS_FILE);
  for (unsigned i = 0; i < 5; i++)
    write_seeded(node, 8 << 20, (uint64_t)i << 23, i);
  for (unsigned i = 0; i < 5; i++)
    expect_seeded(node, 8 << 20, (uint64_t)i << 23, i);
  assert_int_equal(statistics_of(fixture).nodes, 5002);
  casefs_node_close(node);
  fixture_destroy(fixture);
}

/* A kernel's cache of negative entries, or a hash of another fold, hid a name of another spelling
 * (ext4, f2fs, ZFS). */
static void new_spelling_is_found_after_a_miss(void **state) {
  struct fixture *fixture = *state;
  assert_int_equal(try_find(fixture->root, "blAH"), -ENOENT);
  casefs_node_close(make(fixture->root, "BLAH", CASEFS_FILE));
  assert_int_equal(try_find(fixture->root, "blAH"), 0);
  assert_int_equal(unlink_name(fixture->root, "Blah"), 0);
  assert_int_equal(try_find(fixture->root, "blAH"), -ENOENT);
  assert_int_equal(try_make(fixture->root, "blah", CASEFS_FILE), 0);
  assert_string_equal(listing(fixture->root), "blah ");
}

/* A rename to another spelling was nothing, or replaced the file by itself (VFS, WinFsp-FUSE). */
static void case_only_rename_respells(void **state) {
  struct fixture *fixture = *state;
  static const char *const spellings[] = {"\xc3\xa9T\xc3\xa9", "\xc3\x89t\xc3\x89",
                                          "\xc3\xa9t\xc3\xa9"};
  casefs_node *node = make(fixture->root, "\xc3\x89T\xc3\x89", CASEFS_FILE);
  write_seeded(node, 5000, 0, 1);
  uint64_t id = casefs_node_id(node);
  for (unsigned i = 0; i < 3; i++) {
    char expected[32];
    unsigned flags = i == 1 ? CASEFS_RENAME_NOREPLACE : 0;
    assert_int_equal(
        rename_name(fixture->root, "\xc3\x89t\xc3\xa9", fixture->root, spellings[i], flags), 0);
    snprintf(expected, sizeof expected, "%s ", spellings[i]);
    assert_string_equal(listing(fixture->root), expected);
    casefs_node *again = find(fixture->root, "\xc3\xa9t\xc3\x89");
    assert_int_equal(casefs_node_id(again), id);
    casefs_node_close(again);
    assert_int_equal(attributes_of_node(node).links, 1);
  }
  expect_seeded(node, 5000, 0, 1);
  casefs_node_close(node);
}

/* Offsets of a listing were lost or repeated when entries came and went (ext3, gfs2, and who hands
 * out positions in an array). */
static void listing_resumes_after_inserts_and_deletes(void **state) {
  struct fixture *fixture = *state;
  struct casefs_cursor cursor = {0};
  struct casefs_entry entry;
  char name[16];
  unsigned char seen[100] = {0};
  for (int i = 0; i < 100; i++) {
    snprintf(name, sizeof name, "e%02d", i);
    casefs_node_close(make(fixture->root, name, CASEFS_FILE));
  }
  for (int i = 0; i < 50; i++) {
    assert_int_equal(casefs_next_entry(fixture->root, &cursor, &entry, NULL), 1);
    seen[atoi(entry.name + 1)]++;
  }
  assert_string_equal(entry.name, "e49");
  for (int i = 45; i < 55; i++) { /* where the cursor is, and around it */
    snprintf(name, sizeof name, "e%02d", i);
    assert_int_equal(unlink_name(fixture->root, name), 0);
  }
  casefs_node_close(make(fixture->root, "E00a", CASEFS_FILE)); /* before and after */
  casefs_node_close(make(fixture->root, "e50", CASEFS_DIRECTORY));
  assert_int_equal(rename_name(fixture->root, "e99", fixture->root, "E99", 0), 0);
  assert_int_equal(casefs_sync(fixture->volume), 0);
  int result;
  while ((result = casefs_next_entry(fixture->root, &cursor, &entry, NULL)) == 1)
    seen[atoi(entry.name + 1)]++;
  assert_int_equal(result, 0);
  assert_int_equal(casefs_next_entry(fixture->root, &cursor, &entry, NULL), 0);
  for (int i = 0; i < 100; i++)
    assert_int_equal(seen[i], i >= 51 && i < 55 ? 0 : 1);
}

/* Blocks that were freed and discarded were still reachable (many). */
static void orphan_is_removed_after_a_crash(void **state) {
  struct fixture *fixture = *state;
  for (int i = 0; i < 4; i++)
    assert_int_equal(casefs_sync(fixture->volume), 0);
  uint64_t free = statistics_of(fixture).free;
  casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
  for (unsigned i = 0; i < 300; i++) /* many extents, so that its removal takes several steps */
    write_seeded(node, 4096, i * 8192, i);
  add_stream(node, "s", 100000, 2);
  set_ea(node, "EA", 20000);
  uint64_t id = casefs_node_id(node);
  assert_int_equal(casefs_sync(fixture->volume), 0);
  assert_int_equal(unlink_name(fixture->root, "f"), 0);
  assert_int_equal(casefs_sync(fixture->volume), 0);
  expect_seeded(node, 4096, 0, 0);
  crash(fixture);
  assert_int_equal(casefs_open_id(fixture->volume, id, &node), -ENOENT);
  assert_int_equal(statistics_of(fixture).nodes, 1);
  for (int i = 0; i < 4; i++)
    assert_int_equal(casefs_sync(fixture->volume), 0);
  reopen(fixture);
  assert_true(statistics_of(fixture).free + 65536 >= free);
}

/* Ids of deleted files came back (and with them, others' handles). */
static void ids_are_never_used_again(void **state) {
  struct fixture *fixture = *state;
  uint64_t last = 0;
  for (int i = 0; i < 20; i++) {
    casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
    assert_true(casefs_node_id(node) > last);
    last = casefs_node_id(node);
    casefs_node_close(node);
    assert_int_equal(unlink_name(fixture->root, "f"), 0);
    if (i % 3 == 0)
      reopen(fixture);
    else if (i % 3 == 1) {
      assert_int_equal(casefs_sync(fixture->volume), 0);
      crash(fixture);
    }
  }
}

/* Paths had a limit, or were walked by recursion. */
static void paths_of_ten_thousand_levels(void **state) {
  (void)state;
  enum { LEVELS = 10000 };
  struct fixture *fixture = fixture_create(64 << 20, false);
  casefs_node *directory = casefs_node_hold(fixture->root), *found;
  for (int i = 0; i < LEVELS; i++) {
    casefs_node *next = make(directory, "d", CASEFS_DIRECTORY);
    casefs_node_close(directory);
    directory = next;
  }
  char *path = malloc(2 * LEVELS + 1);
  assert_non_null(path);
  assert_int_equal(casefs_path(directory, path, 2 * LEVELS), -ERANGE);
  assert_int_equal(casefs_path(directory, path, 2 * LEVELS + 1), 2 * LEVELS);
  assert_int_equal(casefs_open_path(fixture->volume, NULL, path, 0, &found), 0);
  assert_int_equal(casefs_node_id(found), casefs_node_id(directory));
  casefs_node_close(found);
  /* into its own depths */
  assert_int_equal(rename_name(fixture->root, "d", directory, "loop", 0), -EINVAL);
  assert_int_equal(casefs_open_path(fixture->volume, directory, "../../../..", 0, &found), 0);
  casefs_node_close(found);
  casefs_node_close(directory);
  reopen(fixture);
  assert_int_equal(casefs_open_path(fixture->volume, NULL, path, 0, &directory), 0);
  for (int i = LEVELS; i > 0; i--) {
    uint64_t parent = attributes_of_node(directory).parent;
    casefs_node_close(directory);
    assert_int_equal(casefs_open_id(fixture->volume, parent, &directory), 0);
    assert_int_equal(unlink_name(directory, "d"), -EISDIR);
    assert_int_equal(casefs_rmdir(directory, "d", 1), 0);
  }
  assert_int_equal(casefs_node_id(directory), CASEFS_ROOT_ID);
  casefs_node_close(directory);
  free(path);
  fixture_destroy(fixture);
}

/* A healthy volume was written to by its check, or by being looked at. */
static void checking_and_reading_write_nothing(void **state) {
  struct fixture *fixture = *state;
  fill_directory(fixture->root, 100);
  reopen(fixture);
  casefs_node_close(fixture->root);
  assert_int_equal(casefs_close(fixture->volume), 0);
  uint64_t before = emulator_count(fixture->emulator, EMULATOR_WRITE);
  struct casefs_check_options check = {.flags = CASEFS_CHECK_DATA | CASEFS_CHECK_REPAIR};
  struct casefs_check_result result;
  struct casefs_device *device = emulator_device(fixture->emulator);
  assert_int_equal(casefs_check(device, &check, &result), 0);
  assert_int_equal(result.problems, 0);
  assert_int_equal(result.files, 100);
  struct casefs_open_options options = {.read_only = true};
  device->read_only = true; /* the emulator takes no writes then */
  assert_int_equal(casefs_open(device, &options, &fixture->volume), 0);
  assert_int_equal(casefs_open_root(fixture->volume, &fixture->root), 0);
  assert_int_equal(strlen(listing(fixture->root)) > 700, 1);
  assert_int_equal(try_make(fixture->root, "more", CASEFS_FILE), -EROFS);
  assert_int_equal(unlink_name(fixture->root, "file-1"), -EROFS);
  assert_int_equal(casefs_sync(fixture->volume), 0);
  assert_int_equal(emulator_count(fixture->emulator, EMULATOR_WRITE), before);
}

static void sync_without_changes_writes_nothing(void **state) {
  struct fixture *fixture = *state;
  casefs_node_close(make(fixture->root, "f", CASEFS_FILE));
  assert_int_equal(casefs_sync(fixture->volume), 0);
  uint64_t before = emulator_count(fixture->emulator, EMULATOR_WRITE);
  assert_int_equal(try_find(fixture->root, "f"), 0);
  listing(fixture->root);
  assert_int_equal(casefs_sync(fixture->volume), 0);
  assert_int_equal(emulator_count(fixture->emulator, EMULATOR_WRITE), before);
}

/* Freed space was not given back to the device. */
static void freed_space_is_discarded(void **state) {
  struct fixture *fixture = *state;
  casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
  write_seeded(node, 4 << 20, 0, 1);
  casefs_node_close(node);
  assert_int_equal(casefs_sync(fixture->volume), 0);
  assert_int_equal(unlink_name(fixture->root, "f"), 0);
  uint64_t before = emulator_bytes(fixture->emulator, EMULATOR_DISCARD);
  reopen(fixture);
  assert_true(emulator_bytes(fixture->emulator, EMULATOR_DISCARD) - before >= 4 << 20);
}

/* ------------------------------------------------------------------------- our own */

/* A stream that had changes in memory was stored again after its file had been removed. */
static void removed_streams_are_not_stored_again(void **state) {
  struct fixture *fixture = *state;
  for (int i = 0; i < 3; i++) {
    casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
    casefs_node *stream = add_stream(node, "s", 5000, 1);
    if (i > 0)
      assert_int_equal(casefs_sync(fixture->volume), 0);
    assert_int_equal(casefs_truncate(stream, 7808), 0);
    if (i == 2)
      write_seeded(stream, 3, 60000, 1);
    casefs_node_close(stream);
    casefs_node_close(node);
    assert_int_equal(unlink_name(fixture->root, "f"), 0);
    reopen(fixture); /* it is checked there */
  }
}

/* Fill a volume with names until none fits. */
static void use_up(struct fixture *fixture) {
  char name[64];
  int error = 0;
  for (unsigned i = 0; error == 0; i++) {
    snprintf(name, sizeof name, "a-name-that-takes-some-space-%u", i);
    error = try_make(fixture->root, name, CASEFS_FILE);
  }
  assert_int_equal(error, -ENOSPC);
}

/* Take all space for data, but for so many blocks. */
static void use_up_data(struct fixture *fixture, unsigned spare) {
  casefs_node *node = make(fixture->root, "filler", CASEFS_FILE);
  uint64_t size = 0;
  dice_fill(bytes, 4096, 99);
  while (casefs_write(node, bytes, 4096, size) == 4096)
    size += 4096;
  assert_true(size > spare * 4096);
  assert_int_equal(casefs_truncate(node, size - spare * 4096), 0);
  for (int i = 0; i < 4; i++)
    assert_int_equal(casefs_sync(fixture->volume), 0);
  casefs_node_close(node);
}

/* A hole that begins and ends within blocks was made in part when space ran out in between. */
static void failed_punch_changes_nothing(void **state) {
  (void)state;
  enum { SIZE = 300000, STEP = 7000 };
  static unsigned char old[SIZE], new[SIZE];
  for (unsigned spare = 0; spare < 6; spare++) {
    struct fixture *fixture = fixture_create(1 << 20, false);
    casefs_node *node = make(fixture->root, "f", CASEFS_FILE);
    write_seeded(node, SIZE, 0, 1);
    use_up_data(fixture, spare);
    use_up(fixture);
    /* Each hole takes two blocks, of what is kept for such changes, and parts an extent. */
    for (uint64_t offset = 3000; offset + STEP < SIZE; offset += STEP) {
      struct casefs_attributes before = attributes_of_node(node);
      assert_int_equal(casefs_read(node, old, SIZE, 0), SIZE);
      int error = casefs_punch(node, offset, 5000);
      if (error == 0)
        continue;
      struct casefs_attributes after = attributes_of_node(node);
      assert_int_equal(error, -ENOSPC);
      assert_int_equal(casefs_read(node, new, SIZE, 0), SIZE);
      assert_memory_equal(old, new, SIZE);
      assert_true(after.modified == before.modified && after.changed == before.changed);
    }
    casefs_node_close(node);
    fixture_destroy(fixture);
  }
}

/* Removing a node with much metadata took more space than a full volume keeps for it. */
static void full_volume_lets_go_of_the_largest_node(void **state) {
  (void)state;
  struct fixture *fixture = fixture_create(1 << 20, false);
  casefs_node *node = make(fixture->root, "large", CASEFS_FILE);
  dice_fill(bytes, 65000, 1);
  set_ea(node, "SMALL", 100);
  set_ea(node, "LARGE", 65000);
  for (unsigned i = 0; i < 6; i++) {
    char name[] = {(char)('a' + i), 0};
    casefs_node_close(add_stream(node, name, 2000, i));
  }
  casefs_node_close(node);
  assert_int_equal(casefs_sync(fixture->volume), 0);
  use_up(fixture);
  assert_int_equal(unlink_name(fixture->root, "large"), 0);
  fixture_destroy(fixture);
}

/* When that had failed, streams of the file that were open counted as removed. */
static void failed_unlink_leaves_open_streams_alone(void **state) {
  (void)state;
  struct fixture *fixture = fixture_create(1 << 20, false);
  casefs_node *node = make(fixture->root, "large", CASEFS_FILE);
  set_ea(node, "LARGE", 65000);
  casefs_node *stream = add_stream(node, "s", 2000, 1);
  casefs_node_close(node);
  assert_int_equal(casefs_sync(fixture->volume), 0);
  use_up(fixture);
  if (unlink_name(fixture->root, "large") != 0) {
    assert_int_equal(attributes_of_node(stream).links, 1);
    casefs_node_close(stream);
    node = find(fixture->root, "large");
    assert_int_equal(casefs_open_stream(node, "s", 1, 0, &stream), 0);
    expect_seeded(stream, 2000, 0, 1);
    casefs_node_close(node);
  }
  casefs_node_close(stream);
  fixture_destroy(fixture);
}

#define usual(test) cmocka_unit_test_setup_teardown(test, setup_volume, teardown_volume)
#define insensitive(test) cmocka_unit_test_setup_teardown(test, setup_insensitive, teardown_volume)

static int teardown_read_only(void **state) {
  struct fixture *fixture = *state;
  casefs_node_close(fixture->root);
  assert_int_equal(casefs_close(fixture->volume), 0);
  emulator_close(fixture->emulator);
  free(fixture);
  return 0;
}

/* Put extents of two ids into the tree in turns, each in a leaf of its own. */
static void put_in_turns(casefs_volume *volume, unsigned count) {
  static const uint8_t value[1500];
  struct key key;
  assert_int_equal(change_begin(volume), 0);
  for (unsigned i = 0; i < count; i++) {
    key_extent(&key, i % 2 ? 1000 : 2000, 100 + i);
    batch_put(&volume->batch, &key, value, sizeof value);
  }
  assert_int_equal(change_apply(volume, PURPOSE_NORMAL), 0);
  change_end(volume);
}

/* What a batch needs was judged visit by visit to a leaf, not by all that it puts there. */
static void batch_goes_to_and_fro_between_leaves(void **state) {
  (void)state;
  for (unsigned before = 2; before < 24; before++) {
    struct fixture *fixture = fixture_create(8 << 20, false);
    put_in_turns(fixture->volume, before);
    /* Open it anew, without nodes to spare.  No files have these extents: a check would say so. */
    casefs_node_close(fixture->root);
    assert_int_equal(casefs_close(fixture->volume), 0);
    assert_int_equal(casefs_open(emulator_device(fixture->emulator), NULL, &fixture->volume), 0);
    put_in_turns(fixture->volume, 40);
    assert_int_equal(casefs_close(fixture->volume), 0);
    emulator_close(fixture->emulator);
    free(fixture);
  }
}

/* No node has the id 0, which a damaged record may name: that is no removal to wait for. */
static void id_zero_is_not_waited_for(void **state) {
  struct fixture *fixture = *state;
  struct casefs_creation creation = {.type = CASEFS_DIRECTORY};
  casefs_node *directory, *node = NULL;
  assert_int_equal(casefs_create(fixture->root, "d", 1, &creation, &directory), 0);
  struct node_record record = node_record_of(directory), damaged = record;
  damaged.parent = 0;
  node_set_record(directory, &damaged);
  alarm(20);
  assert_int_equal(casefs_open_path(fixture->volume, directory, "..", 0, &node), -ENOENT);
  alarm(0);
  node_set_record(directory, &record);
  casefs_node_close(directory);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      usual(failed_growth_is_rolled_back),
      usual(no_stale_data_in_holes_and_extended_tails),
      usual(overwrite_leaks_no_stream),
      usual(ea_size_is_exact_on_replace),
      usual(listing_does_not_walk_the_subtree),
      usual(rename_of_directory_touches_two_entries),
      usual(create_of_existing_fails),
      cmocka_unit_test(batch_goes_to_and_fro_between_leaves),
      cmocka_unit_test(space_is_counted_exactly),
      usual(ranges_end_where_they_end),
      usual(volumes_know_nothing_of_each_other),
      usual(stream_outlives_the_name_of_its_file),
      usual(removed_stream_stays_readable_while_open),
      usual(files_stay_readable_with_the_smallest_cache),
      usual(overwritten_data_reads_back),
      usual(same_size_overwrite_is_written),
      usual(append_does_not_truncate),
      usual(open_missing_is_enoent),
      usual(id_zero_is_not_waited_for),
      usual(repeated_names_in_a_path),
      usual(dotdot_never_leaves_the_root),
      insensitive(delete_is_immediately_invisible),
      cmocka_unit_test(appending_costs_what_is_appended),
      cmocka_unit_test(many_nodes_and_large_files),
      insensitive(new_spelling_is_found_after_a_miss),
      insensitive(case_only_rename_respells),
      insensitive(listing_resumes_after_inserts_and_deletes),
      usual(orphan_is_removed_after_a_crash),
      usual(ids_are_never_used_again),
      cmocka_unit_test(paths_of_ten_thousand_levels),
      cmocka_unit_test_setup_teardown(checking_and_reading_write_nothing, setup_volume,
                                      teardown_read_only),
      usual(sync_without_changes_writes_nothing),
      usual(freed_space_is_discarded),
      usual(removed_streams_are_not_stored_again),
      cmocka_unit_test(failed_punch_changes_nothing),
      cmocka_unit_test(full_volume_lets_go_of_the_largest_node),
      cmocka_unit_test(failed_unlink_leaves_open_streams_alone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
