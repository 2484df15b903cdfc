/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Going through the tree: first its inner nodes, which tell where all nodes are;
 * then its leaves, whose records are handed out in order.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "page.h"

/* A key in a page that is in memory; NULL: no bound. */
struct bound {
  const uint8_t *bytes;
  uint32_t length;
};

struct walk {
  struct check *check;
  const char *phase;
  visit_record *visit; /* NULL: inner nodes only, and mark all */
  uint8_t *pages[MAX_LEVEL + 1];
};

static bool below(const uint8_t *key, uint32_t length, struct bound bound) {
  return key_compare(key, length, bound.bytes, bound.length) < 0;
}

int check_read_page(struct check *check, struct pointer pointer, unsigned level, uint8_t *page) {
  if (pointer.block > check->device_blocks || check->device_blocks - pointer.block < QUAD_BLOCKS)
    return -EUCLEAN;
  return tree_read_page(check->device, pointer, level, check->superblock.uuid,
                        check->superblock.blocks, page);
}

/* The keys of a page lie in its bounds: those of inner nodes, but the first, strictly. */
static bool in_bounds(const uint8_t *page, struct bound low, struct bound high) {
  unsigned first = page_level(page) > 0 ? 1 : 0, count = page_count(page);
  uint32_t length;
  if (first >= count)
    return true;
  const uint8_t *key = page_key(page, first, &length);
  if (low.bytes && (below(key, length, low) ||
                    (first > 0 && key_compare(key, length, low.bytes, low.length) == 0)))
    return false;
  key = page_key(page, count - 1, &length);
  return !high.bytes || below(key, length, high);
}

/* A problem of the structure: the rest is walked all the same.  The second time, those of inner
 * nodes are known. */
static void structure_problem(struct walk *walk, enum problem_number number, struct pointer pointer,
                              unsigned level) {
  walk->check->torn = true;
  if (!walk->visit || level == 0)
    walk->check->mend_tree |= report(walk->check, number, 0, pointer.block * BLOCK_SIZE, level);
}

/* Mark a node's blocks. */
static int mark_node(struct walk *walk, struct pointer pointer, unsigned level) {
  struct space *used = &walk->check->used;
  uint64_t first;
  if (marks_overlap(used, pointer.block, QUAD_BLOCKS, &first)) {
    structure_problem(walk, PROBLEM_TREE_SHARED, pointer, level);
    return -EUCLEAN;
  }
  walk->check->result->tree_blocks += QUAD_BLOCKS;
  walk->check->leaves_total += level == 0;
  return space_add(used, pointer.block, QUAD_BLOCKS);
}

static int visit_leaf(struct walk *walk, const uint8_t *page) {
  struct check *check = walk->check;
  int r = 0;
  for (unsigned i = 0; r == 0 && i < page_count(page) && !check->torn; i++) {
    struct record record;
    record.key = page_key(page, i, &record.key_length);
    record.value = page_value(page, i, &record.length);
    r = walk->visit(check, &record);
    if (r == 0)
      r = check->error;
    /* The rest is looked at all the same, for the blocks that it uses. */
    check->silent |= plan_full(check);
  }
  if (check->leaves_done++ % 64 == 0)
    progress(check, walk->phase, check->leaves_done, check->leaves_total);
  return r;
}

static int walk_node(struct walk *walk, struct pointer pointer, unsigned level, struct bound low,
                     struct bound high);

static int walk_children(struct walk *walk, const uint8_t *page, struct bound low,
                         struct bound high) {
  unsigned count = page_count(page), level = page_level(page) - 1;
  int r = 0;
  for (unsigned i = 0; r == 0 && i < count; i++) {
    struct bound from = low, to = high;
    uint32_t length;
    if (i > 0)
      from.bytes = page_key(page, i, &from.length);
    if (i + 1 < count)
      to.bytes = page_key(page, i + 1, &to.length);
    r = walk_node(walk, load_pointer(page_value(page, i, &length)), level, from, to);
  }
  return r;
}

static int walk_node(struct walk *walk, struct pointer pointer, unsigned level, struct bound low,
                     struct bound high) {
  bool marking = !walk->visit, root = !low.bytes && !high.bytes;
  int r = marking ? mark_node(walk, pointer, level) : 0;
  if (r == -EUCLEAN || (marking && level == 0))
    return r == -EUCLEAN ? 0 : r;
  if (!walk->pages[level] && !(walk->pages[level] = malloc(NODE_SIZE)))
    return -ENOMEM;
  uint8_t *page = walk->pages[level];
  if (r == 0)
    r = check_read_page(walk->check, pointer, level, page);
  if (r == -EUCLEAN) {
    structure_problem(walk, PROBLEM_TREE_NODE, pointer, level);
    return 0;
  }
  if (r < 0)
    return r;
  if (!in_bounds(page, low, high))
    structure_problem(walk, PROBLEM_TREE_ORDER, pointer, level);
  else if (level == 0 && page_count(page) == 0 && !root)
    structure_problem(walk, PROBLEM_TREE_EMPTY, pointer, level);
  return level > 0 ? walk_children(walk, page, low, high) : visit_leaf(walk, page);
}

static int walk_tree(struct check *check, const char *phase, visit_record *visit) {
  struct walk walk = {.check = check, .phase = phase, .visit = visit};
  int r = walk_node(&walk, check->superblock.root, check->superblock.root_level, (struct bound){0},
                    (struct bound){0});
  for (unsigned i = 0; i <= MAX_LEVEL; i++)
    free(walk.pages[i]);
  return r;
}

int check_structure(struct check *check) {
  check->leaves_total = 0;
  return walk_tree(check, "tree", NULL);
}

int walk_records(struct check *check, const char *phase, visit_record *visit) {
  check->leaves_done = 0;
  int r = walk_tree(check, phase, visit);
  if (r == 0)
    progress(check, phase, check->leaves_total, check->leaves_total);
  return r;
}

int closer(struct check *check) {
  if (check->tree_open) {
    if (tree_over_limit(&check->tree))
      tree_trim(&check->tree);
    return 0;
  }
  check->tree_open = true;
  return tree_open(&check->tree, check->device, &check->superblock, 0);
}

int closer_node(struct check *check, uint64_t id, struct node_record *record) {
  struct tree_record found;
  struct key key;
  int r = closer(check);
  key_node(&key, id);
  if (r == 0)
    r = tree_get(&check->tree, &key, &found);
  return r < 0 ? r : node_record_decode(record, found.value, found.length);
}
