/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Mending: what a round of the check has found is changed as any change of a volume is, so
 * that a crash in the middle of it leaves the volume as it was before.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "page.h"

#define EDITS_AT_ONCE 32u

/* ------------------------------------------------------------------------ space */

static int add_free(void *context, uint64_t block, uint64_t count) {
  return space_add(context, block, count);
}

/* Where deferred runs go that are still to be deferred. */
struct deferring {
  struct space *taken, *space;
  unsigned generation;
};

static int defer(void *context, uint64_t block, uint64_t count) {
  struct deferring *deferring = context;
  struct run_list *list = &deferring->space->deferred[deferring->generation];
  int r = run_list_reserve(list, 1);
  if (r < 0)
    return r;
  run_list_add(list, block, count);
  deferring->space->deferred_blocks += count;
  return space_add(deferring->taken, block, count);
}

/* Free is what nobody uses, and was not freed a moment ago; with a new log. */
static int make_space(struct check *check, struct space *space) {
  struct space taken;
  space_create(space, check->superblock.blocks);
  space_create(&taken, check->superblock.blocks);
  int r = marks_copy(&taken, &check->used);
  if (r == 0)
    r = marks_copy(&taken, &check->dropped);
  for (unsigned i = 0; check->log_good && i < DEFERRED_GENERATIONS; i++) {
    const struct run_list *list = &check->log.deferred[i];
    struct deferring deferring = {&taken, space, i};
    for (size_t j = 0; r == 0 && j < list->count; j++)
      r = marks_visit_missing(&taken, list->runs[j].block, list->runs[j].count, defer, &deferring);
  }
  if (r == 0)
    r = marks_visit_gaps(&taken, add_free, space);
  if (check->log_good) {
    space->log = check->log.log;
    space->log_blocks = check->log.log_blocks;
    check->log.log = (struct run_list){0};
  }
  space_destroy(&taken);
  return r;
}

/* The log's own account, if it is right. */
static int take_space(struct check *check, struct space *space) {
  if (!check->log_good || check->space_wrong || space_free_blocks(&check->dropped) > 0)
    return make_space(check, space);
  *space = check->log;
  check->log = (struct space){0};
  return 0;
}

/* Whether a log from the beginning finds room: without one the volume could not be opened. */
static int check_room(const casefs_volume *volume) {
  const struct space *space = &volume->space;
  uint64_t nodes = volume->tree.dirty + volume->tree.removed_count;
  uint64_t entries =
      space->quads.runs + space->pieces.runs + space->log.count + space->freed.count + 2 * nodes;
  for (unsigned i = 0; i < DEFERRED_GENERATIONS; i++)
    entries += space->deferred[i].count;
  uint64_t blocks = 4 + entries / (LOG_ENTRIES - 2) + volume->tree.dirty * QUAD_BLOCKS;
  return space->log_head.block != 0 || space_free_blocks(space) >= blocks ? 0 : -ENOSPC;
}

/* ----------------------------------------------------------------------- volume */

/* Nobody else writes, and nobody has since we looked. */
static int take_volume(struct check *check, casefs_volume *volume) {
  struct superblock now;
  bool whole;
  if (check->device->exclusive)
    return 0;
  int r = owner_take(volume);
  if (r < 0 || check->superblock_made)
    return r;
  r = superblock_read(check->device, &now, &whole);
  return r == 0 && now.generation != check->superblock.generation ? -EBUSY : r;
}

int repair_begin(struct check *check, casefs_volume **begun) {
  casefs_volume *volume = volume_allocate(check->device, NULL);
  if (!volume)
    return -ENOMEM;
  volume->superblock = check->superblock;
  volume->slop = slop_for(volume->superblock.blocks);
  *begun = check->volume = volume;
  return take_volume(check, volume);
}

int repair_commit(casefs_volume *volume) {
  int r = check_room(volume);
  return r < 0 ? r : volume_commit(volume, true);
}

void repair_end(struct check *check, casefs_volume *volume) {
  check->volume = NULL;
  owner_release(volume);
  volume_free(volume);
}

/* ------------------------------------------------------------------ a tree over leaves */

struct builder {
  casefs_volume *volume;
  uint64_t generation;
  unsigned level;
  uint8_t *page;
  uint64_t block;         /* of the page */
  struct child first;     /* the page itself, with its first key */
  struct child *children; /* the nodes of this level so far */
  size_t count;
};

static int begin_node(struct builder *builder) {
  uint64_t quad;
  int r = space_allocate_quads(&builder->volume->space, 1, &quad);
  if (r < 0)
    return r;
  builder->block = quad * QUAD_BLOCKS;
  builder->first = (struct child){0};
  page_create(builder->page, builder->level, builder->volume->superblock.uuid);
  store64(builder->page + 8, builder->generation);
  store64(builder->page + 16, builder->block);
  memset(builder->page + PAGE_HEADER, 0, NODE_SIZE - PAGE_HEADER);
  return 0;
}

static int end_node(struct builder *builder) {
  builder->first.pointer =
      (struct pointer){builder->block, builder->generation, checksum(builder->page, NODE_SIZE)};
  builder->children[builder->count++] = builder->first;
  return device_write(builder->volume->device, builder->page, NODE_SIZE,
                      builder->block * BLOCK_SIZE, false);
}

/* The level above these nodes, in place of them in the same array. */
static int build_level(struct builder *builder, size_t count) {
  int r = begin_node(builder);
  builder->count = 0;
  for (size_t i = 0; r == 0 && i < count; i++) {
    struct child child = builder->children[i];
    uint8_t value[POINTER_SIZE];
    if (page_free(builder->page) < page_record_size(child.key_length, POINTER_SIZE)) {
      r = end_node(builder);
      if (r == 0)
        r = begin_node(builder);
      if (r < 0)
        break;
    }
    if (!builder->first.key)
      builder->first = child;
    store_pointer(value, child.pointer);
    page_insert(builder->page, page_count(builder->page), child.key, child.key_length, value,
                sizeof value);
  }
  return r == 0 ? end_node(builder) : r;
}

int repair_build(casefs_volume *volume, struct child *children, size_t count) {
  struct superblock *superblock = &volume->superblock;
  struct builder builder = {.volume = volume,
                            .generation = superblock->generation + 1,
                            .page = malloc(NODE_SIZE),
                            .children = children,
                            .count = count};
  int r = builder.page ? 0 : -ENOMEM;
  if (r == 0 && count == 0) {
    r = begin_node(&builder);
    if (r == 0)
      r = end_node(&builder);
  }
  while (r == 0 && builder.count > 1) {
    builder.level++;
    r = build_level(&builder, builder.count);
  }
  if (r == 0) {
    superblock->root = children[0].pointer;
    superblock->root_level = builder.level;
  }
  free(builder.page);
  return r;
}

/* ------------------------------------------------------------------------ steps */

static struct record step_record(const struct plan *plan, const struct step *step) {
  const uint8_t *key = plan->bytes + step->offset;
  return (struct record){key, key + step->key_length, step->key_length, step->length};
}

/* Collect an edit.  A node that is open has its record in memory too. */
static void collect_edit(casefs_volume *volume, const struct record *record, bool remove) {
  struct node_record node;
  struct key key = {.length = record->key_length};
  memcpy(key.bytes, record->key, record->key_length);
  if (remove) {
    batch_remove(&volume->batch, &key);
    return;
  }
  batch_put(&volume->batch, &key, record->value, record->length);
  if (key.length == KEY_PREFIX && key_type(&key) == RECORD_NODE &&
      node_record_decode(&node, record->value, record->length) == 0)
    node_publish(volume, key_id(&key), &node);
}

/* Edits from step *at on, some of them at once. */
static int apply_edits(casefs_volume *volume, const struct plan *plan, size_t *at) {
  unsigned tries = 0;
  size_t next;
  int r;
  do {
    r = change_begin(volume);
    if (r < 0)
      return r;
    for (next = *at;
         next < plan->count && next - *at < EDITS_AT_ONCE && plan->steps[next].kind <= STEP_REMOVE;
         next++) {
      struct record record = step_record(plan, &plan->steps[next]);
      collect_edit(volume, &record, plan->steps[next].kind == STEP_REMOVE);
    }
    r = change_apply(volume, PURPOSE_REMOVE);
    change_end(volume);
  } while (try_again(volume, r, &tries));
  *at = next;
  return r;
}

/* By key, and of one key by when it was planned. */
static int compare_steps(const void *a, const void *b, void *context) {
  const struct plan *plan = context;
  struct record x = step_record(plan, a), y = step_record(plan, b);
  int order = key_compare(x.key, x.key_length, y.key, y.key_length);
  return order ? order : (x.key > y.key) - (x.key < y.key);
}

/* Edits in the order of their keys: those of one leaf together. */
static void sort_edits(struct plan *plan) {
  for (size_t i = 0, end; i < plan->count; i = end + 1) {
    for (end = i; end < plan->count && plan->steps[end].kind <= STEP_REMOVE;)
      end++;
    if (end > i)
      qsort_r(plan->steps + i, end - i, sizeof *plan->steps, compare_steps, plan);
  }
}

static int apply_steps(struct check *check, casefs_volume *volume) {
  struct plan *plan = check->plan;
  int r = 0;
  sort_edits(plan);
  for (size_t i = 0; r == 0 && i < plan->count;) {
    progress(check, "mending", i, plan->count);
    const struct step *step = &plan->steps[i];
    struct record record = step_record(plan, step);
    switch (step->kind) {
    case STEP_RESCUE:
      r = repair_rescue(volume, record_id(&record));
      i++;
      break;
    case STEP_EXTENT:
    case STEP_OWN_EXTENT:
      r = repair_extent(check, volume, &record, step->kind == STEP_OWN_EXTENT);
      i++;
      break;
    default:
      r = apply_edits(volume, plan, &i);
    }
  }
  return r;
}

static int note_freed(void *context, uint64_t block, uint64_t count) {
  struct space *space = context;
  int r = space_reserve_notes(space, 0, 1);
  if (r == 0)
    space_note_freed(space, block, count);
  return r;
}

/* The last commit; if slots are damaged, as many as it takes to write all of both rings. */
int repair_finish(struct check *check, casefs_volume *volume) {
  int r = volume_commit(volume, true);
  for (unsigned i = 0; r == 0 && check->slots_damaged && i < RING_SLOTS; i++)
    r = volume_commit(volume, true);
  return r == 0 ? device_flush(check->device) : r;
}

int repair_round(struct check *check) {
  casefs_volume *volume = NULL;
  if (check->mend_tree)
    return repair_tree(check);
  int r = repair_begin(check, &volume);
  if (r == 0)
    r = take_space(check, &volume->space);
  if (r == 0)
    r = tree_open(&volume->tree, check->device, &volume->superblock, 0);
  /* So that a log is there whatever comes. */
  if (r == 0 && volume->space.log_head.block == 0)
    r = repair_commit(volume);
  if (r == 0)
    r = apply_steps(check, volume);
  if (r == 0)
    r = marks_visit(&check->dropped, note_freed, &volume->space);
  if (r == 0)
    r = repair_finish(check, volume);
  if (volume)
    repair_end(check, volume);
  return r;
}
