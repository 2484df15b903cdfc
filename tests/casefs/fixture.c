/* SPDX-License-Identifier: BSD-3-Clause */

#include "fixture.h"

#include "dice.h"
#include "history.h"

enum { USUAL_SIZE = 8 << 20, LARGEST_ACCESS = 8 << 20 };

static unsigned char given[LARGEST_ACCESS], got[LARGEST_ACCESS];

static void open_fixture(struct fixture *fixture) {
  assert_int_equal(casefs_open(emulator_device(fixture->emulator), NULL, &fixture->volume), 0);
  assert_int_equal(casefs_open_root(fixture->volume, &fixture->root), 0);
}

static void close_fixture(struct fixture *fixture) {
  char message[MODEL_MESSAGE];
  casefs_node_close(fixture->root);
  assert_int_equal(casefs_close(fixture->volume), 0);
  if (check_volume(emulator_device(fixture->emulator), message) != 0)
    fail_msg("%s", message);
}

struct fixture *fixture_create(uint64_t size, bool insensitive) {
  struct fixture *fixture = calloc(1, sizeof *fixture);
  struct image *image = image_create(size);
  struct casefs_format_options options = {.case_insensitive = insensitive};
  assert_non_null(fixture);
  fixture->emulator = emulator_open(image);
  image_destroy(image);
  emulator_set_garbage(fixture->emulator, 1);
  assert_int_equal(casefs_format(emulator_device(fixture->emulator), &options), 0);
  open_fixture(fixture);
  return fixture;
}

void fixture_destroy(struct fixture *fixture) {
  close_fixture(fixture);
  emulator_close(fixture->emulator);
  free(fixture);
}

int setup_volume(void **state) {
  *state = fixture_create(USUAL_SIZE, false);
  return 0;
}

int setup_insensitive(void **state) {
  *state = fixture_create(USUAL_SIZE, true);
  return 0;
}

int teardown_volume(void **state) {
  fixture_destroy(*state);
  return 0;
}

void reopen(struct fixture *fixture) {
  close_fixture(fixture);
  open_fixture(fixture);
}

void crash(struct fixture *fixture) {
  struct image *image = emulator_image(fixture->emulator);
  casefs_node_close(fixture->root);
  casefs_close(fixture->volume);
  emulator_close(fixture->emulator);
  fixture->emulator = emulator_open(image);
  image_destroy(image);
  open_fixture(fixture);
}

int try_make(casefs_node *directory, const char *name, enum casefs_type type) {
  struct casefs_creation creation = {.type = type, .mode = 0644};
  if (type == CASEFS_SYMLINK) {
    creation.target = "target";
    creation.target_length = 6;
  }
  return casefs_create(directory, name, strlen(name), &creation, NULL);
}

casefs_node *make(casefs_node *directory, const char *name, enum casefs_type type) {
  assert_int_equal(try_make(directory, name, type), 0);
  return find(directory, name);
}

int try_find(casefs_node *directory, const char *name) {
  casefs_node *node = NULL;
  int error = casefs_open_at(directory, name, strlen(name), &node);
  casefs_node_close(node);
  return error;
}

casefs_node *find(casefs_node *directory, const char *name) {
  casefs_node *node;
  assert_int_equal(casefs_open_at(directory, name, strlen(name), &node), 0);
  return node;
}

int unlink_name(casefs_node *directory, const char *name) {
  return casefs_unlink(directory, name, strlen(name));
}

int rename_name(casefs_node *from, const char *old_name, casefs_node *to, const char *new_name,
                unsigned flags) {
  return casefs_rename(from, old_name, strlen(old_name), to, new_name, strlen(new_name), flags);
}

struct casefs_attributes attributes_of_node(casefs_node *node) {
  struct casefs_attributes attributes;
  assert_int_equal(casefs_get_attributes(node, &attributes), 0);
  return attributes;
}

struct casefs_statistics statistics_of(struct fixture *fixture) {
  struct casefs_statistics statistics;
  casefs_volume_statistics(fixture->volume, &statistics);
  return statistics;
}

void write_seeded(casefs_node *node, size_t count, uint64_t offset, uint64_t seed) {
  assert_true(count <= LARGEST_ACCESS);
  dice_fill(given, count, seed);
  assert_int_equal(casefs_write(node, given, count, offset), count);
}

static void expect_given(casefs_node *node, size_t count, uint64_t offset) {
  assert_true(count <= LARGEST_ACCESS);
  memset(got, 0x5a, count);
  assert_int_equal(casefs_read(node, got, count, offset), count);
  assert_memory_equal(got, given, count);
}

void expect_seeded(casefs_node *node, size_t count, uint64_t offset, uint64_t seed) {
  dice_fill(given, count, seed);
  expect_given(node, count, offset);
}

void expect_zeros(casefs_node *node, size_t count, uint64_t offset) {
  memset(given, 0, count);
  expect_given(node, count, offset);
}

const char *listing(casefs_node *directory) {
  static char text[4096];
  struct casefs_cursor cursor = {0};
  struct casefs_entry entry;
  size_t length = 0;
  int result;
  text[0] = 0;
  while ((result = casefs_next_entry(directory, &cursor, &entry, NULL)) == 1) {
    assert_true(length + entry.name_length + 2 < sizeof text);
    assert_int_equal(strlen(entry.name), entry.name_length);
    length += (size_t)sprintf(text + length, "%s ", entry.name);
  }
  assert_int_equal(result, 0);
  return text;
}
