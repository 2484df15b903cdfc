/* SPDX-License-Identifier: BSD-3-Clause */

#include "device-exercise.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCK = CASEFS_BLOCK_SIZE };

char folder[64];

struct casefs_device *must_open(const char *name, unsigned flags, uint64_t create_size) {
  struct casefs_device *device = NULL;
  char *error = NULL;
  int result = casefs_device_open(name, flags, create_size, &device, &error);
  if (result < 0)
    fail_msg("%s: %d: %s", name, result, error ? error : "no sentence");
  assert_null(error);
  assert_non_null(device);
  assert_int_equal(device->size % BLOCK, 0);
  assert_true(device->parallel >= 1);
  return device;
}

void must_refuse(const char *name, unsigned flags, uint64_t create_size, int error,
                 const char *sentence) {
  struct casefs_device *device = NULL;
  char *text = NULL;
  int result = casefs_device_open(name, flags, create_size, &device, &text);
  if (result != error || !text || !strstr(text, sentence) || strstr(text, "nbd_"))
    fail_msg("'%s': %d, not %d: %s", name, result, error, text ? text : "no sentence");
  free(text);
  assert_int_equal(casefs_device_open(name, flags, create_size, &device, NULL), error);
  assert_null(device);
}

void fill(void *buffer, size_t count, uint64_t offset, uint64_t version) {
  unsigned char *bytes = buffer;
  for (size_t at = 0; at < count; at += 16) {
    uint64_t stamp[2] = {offset + at, version * 0x9e3779b97f4a7c15u};
    memcpy(bytes + at, stamp, sizeof stamp);
  }
}

void must_hold(struct casefs_device *device, size_t count, uint64_t offset, uint64_t version) {
  unsigned char *expected = malloc(count), *found = malloc(count);
  assert_true(expected && found);
  fill(expected, count, offset, version);
  assert_int_equal(device_read(device, found, count, offset), 0);
  for (size_t at = 0; at < count; at += BLOCK)
    if (memcmp(expected + at, found + at, BLOCK) != 0)
      fail_msg("block %zu of %zu at %llu does not hold version %llu", at / BLOCK, count / BLOCK,
               (unsigned long long)offset, (unsigned long long)version);
  free(expected);
  free(found);
}

void must_write(struct casefs_device *device, size_t count, uint64_t offset, uint64_t version,
                bool durable) {
  void *buffer = malloc(count);
  assert_non_null(buffer);
  fill(buffer, count, offset, version);
  assert_int_equal(device_write(device, buffer, count, offset, durable), 0);
  memset(buffer, 0xEE, count); /* it is ours again */
  free(buffer);
}

void exercise(struct casefs_device *device) {
  static const size_t counts[] = {BLOCK, 3 * BLOCK, 16 * BLOCK, 1 << 20, (5 << 20) + 3 * BLOCK};
  assert_true(device->size >= 16 << 20);
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
    size_t count = counts[i];
    uint64_t offset = (i * 7 + 1) * BLOCK, last = device->size - count;
    must_write(device, count, offset, i, i % 2);
    must_hold(device, count, offset, i);
    must_write(device, count, last, i + 100, false);
    must_write(device, BLOCK, last, i + 200, true);
    must_hold(device, BLOCK, last, i + 200);
    assert_int_equal(device_flush(device), 0);
    if (count > BLOCK)
      must_hold(device, count - BLOCK, last + BLOCK, i + 100);
    device_discard(device, count, last);
    must_write(device, count, last, i + 300, false);
    must_hold(device, count, last, i + 300);
    must_hold(device, BLOCK, offset, i);
  }
  assert_int_equal(device_flush(device), 0);
  assert_int_equal(device_flush(device), 0);
}

uint64_t next_random(uint64_t *state, uint64_t below) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state % below;
}

int make_folder(void **state) {
  (void)state;
  const char *parent = getenv("TMPDIR");
  snprintf(folder, sizeof folder, "%s/casefs-device.XXXXXX",
           parent && strlen(parent) < 32 ? parent : "/tmp");
  return mkdtemp(folder) ? 0 : -1;
}

int remove_folder(void **state) {
  (void)state;
  char command[sizeof folder + 16];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  return system(command);
}

const char *in_folder(const char *name) {
  static char paths[8][128];
  static unsigned next;
  char *path = paths[next++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", folder, name);
  return path;
}
