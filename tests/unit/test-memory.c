/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How much memory there is, with control groups of both versions.
 */

#include "memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/sectors-test-memory.XXXXXX";

/* Write a file below root, making its folders. */
static void put(const char *name, const char *content) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", root, name);
  for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
    *slash = '\0';
    mkdir(path, 0700);
    *slash = '/';
  }
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(content, file);
  fclose(file);
}

static uint64_t machine(void) {
  return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void no_groups(void **state) {
  (void)state;
  assert_int_equal(available_memory("/nonexistent"), machine());
}

static void version_2(void **state) {
  (void)state;
  put("proc/self/cgroup", "0::/user.slice/build\n");
  put("sys/fs/cgroup/user.slice/build/memory.max", "max\n");
  assert_int_equal(available_memory(root), machine());
  put("sys/fs/cgroup/user.slice/memory.max", "104857600\n");
  assert_int_equal(available_memory(root), 104857600);
  put("sys/fs/cgroup/user.slice/build/memory.max", "4194304\n");
  assert_int_equal(available_memory(root), 4194304);
}

static void version_1(void **state) {
  (void)state;
  put("proc/self/cgroup", "9:name=systemd:/\n8:cpu,memory:/jobs/one\n0::/\n");
  put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  assert_int_equal(available_memory(root), machine());
  put("sys/fs/cgroup/memory/jobs/memory.limit_in_bytes", "8388608\n");
  assert_int_equal(available_memory(root), 8388608);
}

static void nonsense(void **state) {
  (void)state;
  put("proc/self/cgroup", "nonsense\n:\n::\n1:memory\n\n");
  assert_int_equal(available_memory(root), machine());
}

static void resident(void **state) {
  (void)state;
  assert_in_range(resident_memory(), 100000, machine());
}

static int make_root(void **state) {
  (void)state;
  return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state) {
  (void)state;
  char command[sizeof root + 16];
  snprintf(command, sizeof command, "rm -rf '%s'", root);
  return system(command);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(no_groups), cmocka_unit_test(version_2), cmocka_unit_test(version_1),
      cmocka_unit_test(nonsense),  cmocka_unit_test(resident),
  };
  return cmocka_run_group_tests(tests, make_root, remove_root);
}
