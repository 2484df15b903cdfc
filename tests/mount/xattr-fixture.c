/* SPDX-License-Identifier: BSD-3-Clause */

#include "xattr-fixture.h"

long allocations_left = -1;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size) {
  if (allocations_left >= 0 && allocations_left-- == 0)
    return NULL;
  return __real_malloc(size);
}

/* ---------------------------------------------------------------------- fixture */

static struct casefs_device *device;
casefs_volume *volume;
casefs_node *root, *file, *directory, *link_node, *fifo;

const struct xattr_view as_xattr = {.streams = STREAMS_XATTR};
const struct xattr_view as_colon = {.streams = STREAMS_COLON};
const struct xattr_view as_samba = {.streams = STREAMS_SAMBA};
const struct xattr_view as_none = {.streams = STREAMS_NONE};
const struct xattr_view as_eas = {.streams = STREAMS_COLON, .user_eas = true};
const struct xattr_view as_all = {
    .streams = STREAMS_XATTR, .list_system = true, .list_trusted = true};

const struct caller by_root = {0, 0, NULL, 0};
const struct caller by_owner = {OWNER, OWNER, NULL, 0};
const struct caller by_friend = {FRIEND, FRIEND, (const uint32_t[]){7, GROUP_OF_FILE}, 2};
const struct caller by_stranger = {STRANGER, STRANGER, NULL, 0};

casefs_node *make(const char *name, enum casefs_type type, uint32_t mode) {
  struct casefs_creation creation = {
      .type = type, .mode = mode, .uid = OWNER, .gid = GROUP_OF_FILE};
  casefs_node *node;
  if (type == CASEFS_SYMLINK) {
    creation.target = "target";
    creation.target_length = 6;
  }
  assert_int_equal(casefs_create(root, name, strlen(name), &creation, &node), 0);
  return node;
}

int set_up(void **state) {
  (void)state;
  assert_int_equal(casefs_device_open_memory(32 << 20, &device), 0);
  assert_int_equal(casefs_format(device, NULL), 0);
  assert_int_equal(casefs_open(device, NULL, &volume), 0);
  assert_int_equal(casefs_open_root(volume, &root), 0);
  file = make("file", CASEFS_FILE, 0640);
  directory = make("directory", CASEFS_DIRECTORY, 0755);
  link_node = make("link", CASEFS_SYMLINK, 0777);
  fifo = make("fifo", CASEFS_FIFO, 0644);
  return 0;
}

int tear_down(void **state) {
  (void)state;
  struct casefs_check_result result;
  const struct casefs_check_options options = {.flags = CASEFS_CHECK_DATA};
  casefs_node_close(file);
  casefs_node_close(directory);
  casefs_node_close(link_node);
  casefs_node_close(fifo);
  casefs_node_close(root);
  assert_int_equal(casefs_close(volume), 0);
  assert_int_equal(casefs_check(device, &options, &result), 0);
  assert_int_equal(result.problems, 0);
  casefs_device_close(device);
  return 0;
}

/* --------------------------------------------------------------------- in words */

unsigned effects;

int set_by(const struct caller *caller, casefs_node *node, const struct xattr_view *view,
           const char *name, const void *value, size_t size, int flags) {
  uint8_t *exact = malloc(size > 0 ? size : 1); /* a sanitizer sees a read past its end */
  memcpy(exact, value, size);
  effects = 0;
  int result = xattr_set(node, view, caller, name, exact, size, flags, &effects);
  free(exact);
  return result;
}

int set(casefs_node *node, const struct xattr_view *view, const char *name, const void *value,
        size_t size) {
  return set_by(&by_root, node, view, name, value, size, 0);
}

int remove_it(casefs_node *node, const struct xattr_view *view, const char *name) {
  return xattr_remove(node, view, &by_root, name, &effects);
}

int length_of(casefs_node *node, const struct xattr_view *view, const char *name) {
  return xattr_get(node, view, &by_root, name, NULL, 0);
}

void expect_at(unsigned line, casefs_node *node, const struct xattr_view *view, const char *name,
               const void *value, size_t size) {
  uint8_t *buffer = malloc(size + 1);
  int length = length_of(node, view, name);
  if (length != (int)size)
    fail_msg("line %u: %s should have %zu bytes: %d", line, name, size, length);
  length = xattr_get(node, view, &by_root, name, buffer, size + 1);
  if (length != (int)size || memcmp(buffer, value, size) != 0)
    fail_msg("line %u: %s has another value: %d", line, name, length);
  if (size > 1)
    assert_int_equal(xattr_get(node, view, &by_root, name, buffer, size - 1), -ERANGE);
  free(buffer);
}

void expect_list_at(unsigned line, casefs_node *node, const struct xattr_view *view,
                    const char *expected) {
  char list[4096];
  int length = xattr_list(node, view, NULL, 0);
  assert_true(length >= 0 && length < (int)sizeof list);
  assert_int_equal(xattr_list(node, view, list, sizeof list), length);
  if (length > 1)
    assert_int_equal(xattr_list(node, view, list, (size_t)length - 1), -ERANGE);
  for (int i = 0; i < length; i++)
    if (list[i] == '\0')
      list[i] = ' ';
  list[length] = '\0';
  if (strcmp(list, expected) != 0)
    fail_msg("line %u: the list should be \"%s\": \"%s\"", line, expected, list);
}

struct casefs_attributes now_of(casefs_node *node) {
  struct casefs_attributes attributes;
  assert_int_equal(casefs_get_attributes(node, &attributes), 0);
  return attributes;
}

void expect_stream(casefs_node *node, const char *name, const void *value, size_t size) {
  char buffer[64];
  casefs_node *stream;
  assert_int_equal(casefs_open_stream(node, name, strlen(name), 0, &stream), 0);
  assert_int_equal(now_of(stream).size, size);
  assert_int_equal(casefs_read(stream, buffer, sizeof buffer, 0), size);
  assert_memory_equal(buffer, value, size);
  casefs_node_close(stream);
}
