/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Extended attributes of one node by many threads at once: whoever reads one sees a value that
 * somebody set, whole.
 */

#include "xattr-fixture.h"

#include <pthread.h>

enum { THREADS = 6, ROUNDS = 15000, LONGEST = 6000 };

static const char *const names[] = {"user.stream", "user.a:b", "trusted.t", "user.DosStream.s",
                                    "security.NTACL"};
static const char *_Atomic failed;

/* All bytes of a value are the same, and tell how many there are. */
static size_t length_by(uint8_t letter) {
  return 1 + (size_t)letter * (LONGEST - 1) / 255;
}

static bool is_whole(const uint8_t *value, int length, bool samba) {
  size_t size = (size_t)length - (samba ? 1 : 0);
  if (length < 1 || size != length_by(value[0]) || (samba && value[size] != '\0'))
    return false;
  for (size_t i = 0; i < size; i++)
    if (value[i] != value[0])
      return false;
  return true;
}

static void set_one(const char *name, unsigned letter) {
  uint8_t value[LONGEST];
  unsigned changed;
  size_t size = length_by((uint8_t)letter);
  memset(value, (int)letter, size);
  if (xattr_set(file, &as_xattr, &by_root, name, value, size, 0, &changed) != 0)
    failed = "an attribute could not be set";
}

static void get_one(const char *name) {
  uint8_t value[LONGEST + 1];
  int length = xattr_get(file, &as_xattr, &by_root, name, value, sizeof value);
  if (length != -ENODATA && !is_whole(value, length, strstr(name, "Dos")))
    failed = name;
}

static void list_all(void) {
  char list[4096];
  int length = xattr_list(file, &as_all, list, sizeof list);
  if (length <= 0 || list[length - 1] != '\0')
    failed = "the list";
}

/* The list and the mode change along; in between one may be ahead of the other, but not malformed.
 */
static void change_acl(unsigned dice) {
  static const uint8_t acl[] = {2,   0,   0,   0,   1,   0,   6,   0,   255, 255, 255, 255,
                                4,   0,   4,   0,   255, 255, 255, 255, 16,  0,   4,   0,
                                255, 255, 255, 255, 32,  0,   0,   0,   255, 255, 255, 255};
  struct casefs_attributes attributes = now_of(file);
  unsigned changed;
  int r = 0;
  if (dice % 3 == 0)
    r = xattr_set(file, &as_xattr, &by_root, ACL_ACCESS, acl, sizeof acl, 0, &changed);
  else if (dice % 3 == 1)
    r = acl_change_mode(file, dice & 0777);
  else
    r = acl_permits(file, &attributes, &by_friend, ACL_MAY_READ);
  if (r != 0 && r != -EACCES)
    failed = "an access control list";
}

static void *work(void *seed) {
  unsigned dice = (unsigned)(uintptr_t)seed;
  for (unsigned i = 0; i < ROUNDS; i++) {
    unsigned what = (unsigned)rand_r(&dice);
    const char *name = names[what / 16 % LENGTH(names)];
    unsigned removed;
    switch (what % 16) {
    case 0:
      xattr_remove(file, &as_xattr, &by_root, name, &removed);
      break;
    case 1:
      list_all();
      break;
    case 2:
      change_acl(what / 16);
      break;
    case 3:
    case 4:
    case 5:
    case 6:
      set_one(name, 1 + what / 256 % 255);
      break;
    default:
      get_one(name);
    }
  }
  return NULL;
}

static void test_threads(void **state) {
  (void)state;
  pthread_t threads[THREADS];
  for (uintptr_t i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)(i + 1)), 0);
  for (unsigned i = 0; i < THREADS; i++)
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  if (failed)
    fail_msg("not whole: %s", failed);
}

int main(void) {
  const struct CMUnitTest tests[] = {TEST(test_threads)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
