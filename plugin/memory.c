/* SPDX-License-Identifier: BSD-3-Clause */

#include "memory.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The number that is all of a file; UINT64_MAX if it is not one ("max"). */
static uint64_t read_number(const char *path) {
  uint64_t number = UINT64_MAX;
  FILE *file = fopen(path, "re");
  if (!file)
    return number;
  if (fscanf(file, "%" SCNu64, &number) != 1)
    number = UINT64_MAX;
  fclose(file);
  return number;
}

/* The smallest limit of a control group and those it is in: the file of that
 * name in mount/group, and in each folder above up to mount. */
static uint64_t group_limit(const char *mount, const char *group, const char *name) {
  uint64_t smallest = UINT64_MAX;
  char *folder = NULL, *path = NULL;
  if (asprintf(&folder, "%s%s", mount, group) < 0)
    return smallest;
  for (;;) {
    if (asprintf(&path, "%s/%s", folder, name) < 0)
      break;
    uint64_t limit = read_number(path);
    free(path);
    if (limit < smallest)
      smallest = limit;
    char *slash = strrchr(folder, '/');
    if (!slash || strlen(folder) <= strlen(mount))
      break;
    *slash = '\0';
  }
  free(folder);
  return smallest;
}

/* Whether a comma-separated list of controllers names memory. */
static bool has_memory(char *controllers) {
  char *rest = NULL;
  for (char *word = strtok_r(controllers, ",", &rest); word; word = strtok_r(NULL, ",", &rest))
    if (strcmp(word, "memory") == 0)
      return true;
  return false;
}

/* Lines of /proc/self/cgroup are "number:controllers:group"; version 2 has no
 * controllers (cgroups(7)). */
static uint64_t groups_limit(const char *root) {
  uint64_t smallest = UINT64_MAX;
  char *path = NULL, *mount = NULL, *mount_v1 = NULL, *line = NULL;
  size_t size = 0;
  FILE *file = NULL;
  if (asprintf(&path, "%s/proc/self/cgroup", root) < 0)
    path = NULL;
  if (asprintf(&mount, "%s/sys/fs/cgroup", root) < 0)
    mount = NULL;
  if (asprintf(&mount_v1, "%s/sys/fs/cgroup/memory", root) < 0)
    mount_v1 = NULL;
  if (path && mount && mount_v1)
    file = fopen(path, "re");
  while (file && getline(&line, &size, file) > 0) {
    uint64_t limit = UINT64_MAX;
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group)
      continue;
    *group++ = '\0';
    controllers++;
    if (*controllers == '\0')
      limit = group_limit(mount, group, "memory.max");
    else if (has_memory(controllers))
      limit = group_limit(mount_v1, group, "memory.limit_in_bytes");
    if (limit < smallest)
      smallest = limit;
  }
  if (file)
    fclose(file);
  free(line);
  free(path);
  free(mount);
  free(mount_v1);
  return smallest;
}

uint64_t available_memory(const char *root) {
  uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
  uint64_t groups = groups_limit(root);
  return groups < machine ? groups : machine;
}

uint64_t resident_memory(void) {
  uint64_t size, resident = 0;
  FILE *file = fopen("/proc/self/statm", "re");
  if (!file)
    return 0;
  if (fscanf(file, "%" SCNu64 " %" SCNu64, &size, &resident) != 2)
    resident = 0;
  fclose(file);
  return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
