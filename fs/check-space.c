/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Blocks: each is in use, or free, or was freed not long ago.
 */

#include <errno.h>

#include "check.h"

int check_log(struct check *check) {
  struct space *log = &check->log;
  int r = space_read_log(log, check->device, check->superblock.log, check->superblock.generation);
  if (r == -EUCLEAN) {
    check->space_wrong |= report(check, PROBLEM_LOG, 0, check->superblock.log.block * BLOCK_SIZE);
    return 0;
  }
  if (r < 0)
    return r;
  check->log_good = true;
  for (size_t i = 0; r == 0 && i < log->log.count; i++) {
    const struct block_run *run = &log->log.runs[i];
    uint64_t first;
    if (!marks_overlap(&check->used, run->block, run->count, &first)) {
      r = space_add(&check->used, run->block, run->count);
      continue;
    }
    check->log_good = false;
    check->space_wrong |= report(check, PROBLEM_LOG_SHARED, 0, first * BLOCK_SIZE);
  }
  return r;
}

/* What of a set of runs is in another. */
struct overlap {
  struct check *check;
  struct space *all; /* what has been seen so far */
  uint64_t used, twice, first_used, first_twice;
};

/* Blocks that are said to be free. */
static int add_free(void *context, uint64_t block, uint64_t count) {
  struct overlap *overlap = context;
  uint64_t first, end = block + count;
  if (!marks_overlap(overlap->all, block, count, &first))
    return space_add(overlap->all, block, count);
  for (; block < end; block++) {
    if (!marks_overlap(overlap->all, block, 1, &first)) {
      int r = space_add(overlap->all, block, 1);
      if (r < 0)
        return r;
    } else if (marks_overlap(&overlap->check->used, block, 1, &first)) {
      overlap->first_used = overlap->used++ == 0 ? block : overlap->first_used;
    } else if (!marks_overlap(&overlap->check->dropped, block, 1, &first)) {
      overlap->first_twice = overlap->twice++ == 0 ? block : overlap->first_twice;
    }
  }
  return 0;
}

static int copy_run(void *context, uint64_t block, uint64_t count) {
  return marks_fill(context, block, count);
}

struct gaps {
  uint64_t blocks, first;
};

static int count_gap(void *context, uint64_t block, uint64_t count) {
  struct gaps *gaps = context;
  if (gaps->blocks == 0)
    gaps->first = block;
  gaps->blocks += count;
  return 0;
}

static int report_blocks(struct check *check, const struct overlap *overlap) {
  struct gaps gaps = {0};
  marks_visit_gaps(overlap->all, count_gap, &gaps);
  if (overlap->used > 0)
    check->space_wrong |=
        report(check, PROBLEM_USED_FREE, 0, overlap->first_used * BLOCK_SIZE, overlap->used);
  if (overlap->twice > 0)
    check->space_wrong |=
        report(check, PROBLEM_FREE_TWICE, 0, overlap->first_twice * BLOCK_SIZE, overlap->twice);
  if (gaps.blocks > 0)
    check->space_wrong |=
        report(check, PROBLEM_LOST_BLOCKS, 0, gaps.first * BLOCK_SIZE, gaps.blocks);
  return 0;
}

/* Whether the sets are a partition: the sums agree and nothing overlaps. */
int check_blocks(struct check *check) {
  struct space all;
  if (!check->log_good)
    return 0;
  space_create(&all, check->superblock.blocks);
  struct overlap overlap = {.check = check, .all = &all};
  int r = marks_visit(&check->used, copy_run, &all);
  if (r == 0)
    r = marks_visit(&check->dropped, copy_run, &all);
  if (r == 0)
    r = marks_visit(&check->log, add_free, &overlap);
  for (unsigned i = 0; i < DEFERRED_GENERATIONS; i++) {
    const struct run_list *list = &check->log.deferred[i];
    for (size_t j = 0; r == 0 && j < list->count; j++)
      r = add_free(&overlap, list->runs[j].block, list->runs[j].count);
  }
  if (r == 0)
    r = report_blocks(check, &overlap);
  space_destroy(&all);
  return r;
}
