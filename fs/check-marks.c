/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Sets of blocks for checking: struct space, where a block that is "free" is one
 * that has been marked.
 */

#include "check.h"

/* The first run of a set that ends after a block, in blocks. */
static bool set_first(const struct run_set *set, uint64_t unit, uint64_t block,
                      struct block_run *found) {
  const struct run *run = set->root;
  bool any = false;

  while (run) {
    uint64_t start, length;
    const struct run *left, *right;
    run_fields(run, &start, &length, &left, &right);
    if ((start + length) * unit > block) {
      *found = (struct block_run){start * unit, length * unit};
      any = true;
      run = left;
    } else {
      run = right;
    }
  }
  return any;
}

bool marks_first(const struct space *set, uint64_t block, struct block_run *found) {
  struct block_run pieces;
  bool any = set_first(&set->quads, QUAD_BLOCKS, block, found);
  if (!set_first(&set->pieces, 1, block, &pieces))
    return any;
  if (!any || pieces.block < found->block)
    *found = pieces;
  return true;
}

bool marks_overlap(const struct space *set, uint64_t block, uint64_t count, uint64_t *first) {
  struct block_run run;
  if (!marks_first(set, block, &run) || run.block >= block + count)
    return false;
  *first = run.block > block ? run.block : block;
  return true;
}

int marks_visit_missing(const struct space *set, uint64_t block, uint64_t count, visit_run *visit,
                        void *context) {
  uint64_t end = block + count;
  int r = 0;
  while (r == 0 && block < end) {
    struct block_run run;
    if (!marks_first(set, block, &run) || run.block > end)
      run = (struct block_run){end, 0};
    if (run.block > block)
      r = visit(context, block, run.block - block);
    block = run.block + run.count;
  }
  return r;
}

static int add_run(void *context, uint64_t block, uint64_t count) {
  return space_add(context, block, count);
}

int marks_fill(struct space *set, uint64_t block, uint64_t count) {
  return marks_visit_missing(set, block, count, add_run, set);
}

static int fill_run(void *context, uint64_t block, uint64_t count) {
  return marks_fill(context, block, count);
}

int marks_copy(struct space *to, const struct space *from) {
  return marks_visit(from, fill_run, to);
}

int marks_visit(const struct space *set, visit_run *visit, void *context) {
  struct block_run run, next;
  uint64_t block = 0;
  int r = 0;
  while (r == 0 && marks_first(set, block, &run)) {
    block = run.block + run.count;
    while (marks_first(set, block, &next) && next.block == block)
      block = next.block + next.count;
    r = visit(context, run.block, block - run.block);
  }
  return r;
}

int marks_visit_gaps(const struct space *set, visit_run *visit, void *context) {
  return marks_visit_missing(set, FIRST_BLOCK, set->blocks - RING_SLOTS - FIRST_BLOCK, visit,
                             context);
}
