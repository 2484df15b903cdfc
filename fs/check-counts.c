/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What can be judged once all names are right: counts of links, entries and
 * streams, nodes without names, and directories that lead nowhere.
 */

#include <errno.h>
#include <string.h>

#include "check.h"

static bool differs(struct check *check, enum problem_number number, uint64_t id, uint64_t is,
                    uint64_t should) {
  return is != should && report(check, number, id, 0, is, should);
}

static int check_node_counts(struct check *check, const struct miscount *count) {
  struct node_record record;
  bool changed = false, root = count->id == CASEFS_ROOT_ID;
  int r = closer_node(check, count->id, &record);
  if (r < 0)
    return r;
  bool stream = record.type == CASEFS_STREAM;
  uint64_t links = root || stream ? 1 : count->links;
  if (!root && !stream && links == 0 && report(check, PROBLEM_NAMELESS, count->id, 0))
    return plan_rescue(check, count->id);
  if (links > 0 && differs(check, PROBLEM_LINKS, count->id, record.links, links)) {
    record.links = (uint32_t)links;
    changed = true;
  }
  if (record.type == CASEFS_DIRECTORY &&
      differs(check, PROBLEM_ENTRIES, count->id, record.size, count->entries)) {
    record.size = count->entries;
    changed = true;
  }
  if (differs(check, PROBLEM_STREAMS, count->id, record.streams, count->streams)) {
    record.streams = (uint32_t)count->streams;
    changed = true;
  }
  return changed ? plan_node(check, count->id, &record) : 0;
}

static struct directory *find_directory(struct check *check, uint64_t id) {
  size_t low = 0, high = check->directory_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    struct directory *directory = &check->directories[middle];
    if (directory->id == id)
      return directory;
    if (directory->id < id)
      low = middle + 1;
    else
      high = middle;
  }
  return NULL;
}

/* Follow a directory's parents to the root, or to one that is known to lead there. */
static bool reaches_root(struct check *check, size_t from) {
  struct directory *at = &check->directories[from];
  while (at && !at->reached && at->id != CASEFS_ROOT_ID && at->passed != from + 1) {
    at->passed = from + 1;
    at = find_directory(check, at->parent);
  }
  return at && (at->reached || at->id == CASEFS_ROOT_ID);
}

static void mark_reached(struct check *check, struct directory *from) {
  struct directory *at = from;
  while (at && !at->reached) {
    at->reached = true;
    at = at->id == CASEFS_ROOT_ID ? NULL : find_directory(check, at->parent);
  }
}

/* All directories, by their parents.  One of each loop is moved away; the others follow it. */
static int check_reachable(struct check *check) {
  int r = 0;
  for (size_t i = 0; r == 0 && i < check->directory_count; i++) {
    struct directory *directory = &check->directories[i];
    if (!directory->reached && !reaches_root(check, i)) {
      if (report(check, PROBLEM_UNREACHABLE, directory->id, 0))
        r = plan_rescue(check, directory->id);
      directory->parent = CASEFS_ROOT_ID;
    }
    mark_reached(check, directory);
  }
  return r;
}

int check_counts(struct check *check) {
  int r = 0;
  for (size_t i = 0; r == 0 && i < check->miscount_count; i++)
    r = check_node_counts(check, &check->miscounts[i]);
  return r == 0 && plan_empty(check) ? check_reachable(check) : r;
}
