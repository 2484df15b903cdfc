/* SPDX-License-Identifier: BSD-3-Clause */

#include "check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ROUNDS 10000u

static void round_begin(struct check *check) {
  struct casefs_check_result *result = check->result;
  uint64_t problems = result->problems, repaired = result->repaired;
  *result = (struct casefs_check_result){.problems = problems, .repaired = repaired};
  check->round++;
  check->torn = check->mend_tree = false;
  check->log_read = check->log_good = check->space_wrong = check->mend_space = false;
  check->superblock_changed = check->superblock_made = check->slots_damaged = false;
  check->descriptors_unused = check->fold_seen = check->names_suspect = false;
  check->silent = false;
  check->nodes = check->highest_id = 0;
  check->name_sum = check->type_sum = check->stream_sum = 0;
  check->security_sum = check->hash_sum = 0;
  check->orphans.count = check->orphans_seen.count = 0;
  check->directory_count = check->miscount_count = 0;
  check->group = (struct group){0};
  check->parts.open = false;
}

static void spaces_create(struct check *check) {
  space_create(&check->used, check->superblock.blocks);
  space_create(&check->dropped, check->superblock.blocks);
  space_create(&check->log, check->superblock.blocks);
}

static void round_end(struct check *check) {
  space_destroy(&check->used);
  space_destroy(&check->dropped);
  space_destroy(&check->log);
  check->used = check->dropped = check->log = (struct space){0};
  if (check->tree_open)
    tree_close(&check->tree);
  check->tree_open = false;
  if (check->plan)
    plan_clear(check->plan);
}

typedef int phase(struct check *check);

/* All phases, until one has something to be mended, or the tree is not whole.  Where blocks are is
 * known before anything is changed. */
static int run_phases(struct check *check) {
  static phase *const phases[] = {check_structure, check_log,         check_records, check_blocks,
                                  check_names,     check_descriptors, check_streams, check_counts};
  int r = check->error;
  for (size_t i = 0; r == 0 && i < sizeof phases / sizeof *phases; i++) {
    if (check->torn || (!plan_empty(check) && phases[i] != check_blocks))
      break;
    r = phases[i](check);
    if (r == 0)
      r = check->error;
  }
  return r;
}

static int check_features(struct check *check) {
  const struct superblock *superblock = &check->superblock;
  if (superblock->incompatible != 0 || superblock->fold_id != FOLD_WINDOWS_7)
    return -EOPNOTSUPP;
  if (superblock->read_only_compatible != 0)
    check->plan = NULL;
  return 0;
}

/* None can be read: -ENODATA, or what a search of the device has found. */
static int find_superblock(struct check *check, int error) {
  if (error == -ENODATA && !check->plan)
    return error;
  int r = check->plan ? scan_superblock(check) : 0;
  if (r < 0)
    return r;
  if (!report(check, PROBLEM_NO_SUPERBLOCK, 0, 0))
    check->torn = true;
  return 0;
}

static int run_round(struct check *check) {
  bool whole;
  int r = check->device_blocks < MIN_BLOCKS
              ? -ENODATA
              : superblock_read(check->device, &check->superblock, &whole);
  if (r == -EUCLEAN || (r == -ENODATA && check->device_blocks >= MIN_BLOCKS)) {
    r = find_superblock(check, r);
    if (r < 0 || check->torn)
      return r;
    spaces_create(check);
    return run_phases(check);
  }
  if (r == 0)
    r = check_features(check);
  if (r < 0)
    return r;
  check->found_blocks = check->superblock.blocks;
  r = check_superblocks(check);
  spaces_create(check);
  if (check->found_blocks < check->superblock.blocks)
    check->found_blocks = check->superblock.blocks;
  return r == 0 ? run_phases(check) : r;
}

/* Whether this round has something to be mended, and that can be. */
static bool has_to_mend(const struct check *check) {
  if (!check->plan || check->torn)
    return check->plan && check->mend_tree;
  return (!plan_empty(check) || check->superblock_changed || check->slots_damaged ||
          check->mend_space) &&
         (check->log_good || check->mend_space);
}

/* Whether somebody has written to the volume while we looked: what was seen means nothing. */
static int check_undisturbed(struct check *check) {
  struct superblock now;
  bool whole;
  if (check->result->problems == 0 || check->device->exclusive ||
      superblock_read(check->device, &now, &whole) < 0)
    return 0;
  return now.generation > check->superblock.generation ? -EBUSY : 0;
}

static int run_rounds(struct check *check) {
  int r = 0;
  for (unsigned i = 0; r == 0 && i < MAX_ROUNDS; i++) {
    round_begin(check);
    r = run_round(check);
    if (r == 0)
      r = check_undisturbed(check);
    bool mend = r == 0 && has_to_mend(check);
    if (mend)
      r = repair_round(check);
    round_end(check);
    if (!mend)
      break;
  }
  return r;
}

static void check_free(struct check *check) {
  id_list_free(&check->orphans);
  id_list_free(&check->orphans_seen);
  id_list_free(&check->named_streams);
  id_list_free(&check->parts.seen);
  free(check->directories);
  free(check->miscounts);
  free(check->value);
  free(check->data);
  free(check->memory.told);
  free(check);
}

int casefs_check(struct casefs_device *device, const struct casefs_check_options *options,
                 struct casefs_check_result *result) {
  struct casefs_check_result own;
  struct plan plan = {0};
  struct check *check = calloc(1, sizeof *check);
  if (!check)
    return -ENOMEM;
  check->device = device;
  check->device_blocks = device->size / NODE_SIZE * QUAD_BLOCKS;
  if (options)
    check->options = *options;
  if (check->options.flags & CASEFS_CHECK_REPAIR && !device->read_only)
    check->plan = &plan;
  check->result = result ? result : &own;
  *check->result = (struct casefs_check_result){0};
  int r = run_rounds(check);
  check_free(check);
  return r;
}
