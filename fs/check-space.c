/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Blocks: each is in use, or free, or was freed not long ago.
 */

#include <errno.h>

#include "check.h"

/* The log cannot be used, or not as it is. */
static void log_problem(struct check *check, enum problem_number number, uint64_t block) {
  check->log_good = false;
  check->space_wrong = true;
  check->mend_space |= report(check, number, 0, block * BLOCK_SIZE);
}

int check_log(struct check *check) {
  struct space *log = &check->log;
  struct pointer head = check->superblock.log;
  uint64_t first;
  check->log_read = true;
  int r = head.block == 0 ? -EUCLEAN
                          : space_read_log(log, check->device, head, check->superblock.generation);
  if (r == -EUCLEAN) {
    log_problem(check, PROBLEM_LOG, head.block);
    return 0;
  }
  check->log_good = r == 0;
  for (size_t i = 0; check->log_good && i < log->log.count; i++)
    if (marks_overlap(&check->used, log->log.runs[i].block, log->log.runs[i].count, &first))
      log_problem(check, PROBLEM_LOG_SHARED, first);
  for (size_t i = 0; r == 0 && check->log_good && i < log->log.count; i++)
    r = space_add(&check->used, log->log.runs[i].block, log->log.runs[i].count);
  return r;
}

#define MAX_OVERLAPS 1000u /* that are counted */

/* How what is free fits in with what is used. */
struct overlap {
  struct check *check;
  struct space *all; /* what has been seen so far */
  unsigned overlaps;
  uint64_t used, twice, first_used, first_twice;
};

/* How many blocks of a range are in a set, and the first of them. */
static uint64_t count_marked(const struct space *set, uint64_t block, uint64_t count,
                             uint64_t *first) {
  struct block_run run;
  uint64_t end = block + count, total = 0;
  while (block < end && marks_first(set, block, &run) && run.block < end) {
    uint64_t from = run.block > block ? run.block : block;
    block = run.block + run.count < end ? run.block + run.count : end;
    if (total == 0)
      *first = from;
    total += block - from;
  }
  return total;
}

/* Blocks that are said to be free. */
static int add_free(void *context, uint64_t block, uint64_t count) {
  struct overlap *overlap = context;
  struct check *check = overlap->check;
  uint64_t first_used = 0, first_twice = 0, dropped;
  if (!marks_overlap(overlap->all, block, count, &first_twice))
    return space_add(overlap->all, block, count);
  if (overlap->overlaps++ >= MAX_OVERLAPS)
    return 0;
  uint64_t used = count_marked(&check->used, block, count, &first_used);
  uint64_t twice = count_marked(overlap->all, block, count, &first_twice) - used -
                   count_marked(&check->dropped, block, count, &dropped);
  if (overlap->used == 0)
    overlap->first_used = first_used;
  if (overlap->twice == 0)
    overlap->first_twice = first_twice;
  overlap->used += used;
  overlap->twice += twice;
  return marks_fill(overlap->all, block, count);
}

/* What no set has. */
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

static void blocks_problem(struct check *check, enum problem_number number, uint64_t first,
                           uint64_t blocks) {
  if (blocks == 0)
    return;
  check->space_wrong = true;
  check->mend_space |= report(check, number, 0, first * BLOCK_SIZE, blocks);
}

static int add_to(void *context, uint64_t block, uint64_t count) {
  return space_add(context, block, count);
}

struct difference {
  const struct space *without;
  struct space *to;
};

static int add_difference(void *context, uint64_t block, uint64_t count) {
  struct difference *difference = context;
  return marks_visit_missing(difference->without, block, count, add_to, difference->to);
}

/* What extents give up, but others have, stays. */
static int settle_dropped(struct check *check) {
  struct space only;
  space_create(&only, check->superblock.blocks);
  struct difference difference = {&check->used, &only};
  int r = marks_visit(&check->dropped, add_difference, &difference);
  space_destroy(&check->dropped);
  check->dropped = only;
  return r;
}

/* Whether the sets are a partition: the sums agree and nothing overlaps. */
int check_blocks(struct check *check) {
  struct space all;
  int r = settle_dropped(check);
  if (r < 0 || !check->log_good)
    return r;
  space_create(&all, check->superblock.blocks);
  struct overlap overlap = {.check = check, .all = &all};
  r = marks_copy(&all, &check->used);
  if (r == 0)
    r = marks_copy(&all, &check->dropped);
  if (r == 0)
    r = marks_visit(&check->log, add_free, &overlap);
  for (unsigned i = 0; i < DEFERRED_GENERATIONS; i++) {
    const struct run_list *list = &check->log.deferred[i];
    for (size_t j = 0; r == 0 && j < list->count; j++)
      r = add_free(&overlap, list->runs[j].block, list->runs[j].count);
  }
  struct gaps gaps = {0};
  if (r == 0)
    r = marks_visit_gaps(&all, count_gap, &gaps);
  if (r == 0) {
    blocks_problem(check, PROBLEM_USED_FREE, overlap.first_used, overlap.used);
    blocks_problem(check, PROBLEM_FREE_TWICE, overlap.first_twice, overlap.twice);
    blocks_problem(check, PROBLEM_LOST_BLOCKS, gaps.first, gaps.blocks);
  }
  space_destroy(&all);
  return r;
}
