/* SPDX-License-Identifier: BSD-3-Clause */

#include "space.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ lists of runs */

int run_list_reserve(struct run_list *list, size_t more) {
  if (list->capacity - list->count >= more)
    return 0;
  size_t capacity = list->capacity + list->capacity / 2 + more + 16;
  struct block_run *runs = realloc(list->runs, capacity * sizeof *runs);
  if (!runs)
    return -ENOMEM;
  list->runs = runs;
  list->capacity = capacity;
  return 0;
}

void run_list_add(struct run_list *list, uint64_t block, uint64_t count) {
  struct block_run *last = list->count > 0 ? &list->runs[list->count - 1] : NULL;
  if (last && last->block + last->count == block)
    last->count += count;
  else
    list->runs[list->count++] = (struct block_run){block, count};
}

static int compare_runs(const void *a, const void *b) {
  const struct block_run *x = a, *y = b;
  return (x->block > y->block) - (x->block < y->block);
}

void run_list_sort(struct run_list *list) {
  size_t count = list->count;
  if (count == 0)
    return;
  qsort(list->runs, count, sizeof *list->runs, compare_runs);
  list->count = 0;
  for (size_t i = 0; i < count; i++)
    run_list_add(list, list->runs[i].block, list->runs[i].count);
}

void run_list_free(struct run_list *list) {
  free(list->runs);
  *list = (struct run_list){0};
}

/* ------------------------------------------------------------------- sets of runs
 * A treap: a tree ordered by start and, as a heap, by random priority. */

struct run {
  uint64_t start, length;
  uint64_t longest; /* length in this subtree */
  uint64_t priority;
  struct run *left, *right;
};

void run_fields(const struct run *run, uint64_t *start, uint64_t *length, const struct run **left,
                const struct run **right) {
  *start = run->start;
  *length = run->length;
  *left = run->left;
  *right = run->right;
}

static int reserve_runs(struct space *space, size_t count) {
  while (space->spares < count) {
    struct run *run = malloc(sizeof *run);
    if (!run)
      return -ENOMEM;
    run->left = space->spare;
    space->spare = run;
    space->spares++;
  }
  return 0;
}

static struct run *take_run(struct space *space, uint64_t start, uint64_t length) {
  struct run *run = space->spare;
  space->spare = run->left;
  space->spares--;
  /* xorshift64 */
  space->seed ^= space->seed << 13;
  space->seed ^= space->seed >> 7;
  space->seed ^= space->seed << 17;
  *run = (struct run){start, length, length, space->seed, NULL, NULL};
  return run;
}

static void give_run(struct space *space, struct run *run) {
  if (space->spares >= 64) {
    free(run);
    return;
  }
  run->left = space->spare;
  space->spare = run;
  space->spares++;
}

static void update(struct run *run) {
  run->longest = run->length;
  if (run->left && run->left->longest > run->longest)
    run->longest = run->left->longest;
  if (run->right && run->right->longest > run->longest)
    run->longest = run->right->longest;
}

static struct run *rotate_right(struct run *run) {
  struct run *left = run->left;
  run->left = left->right;
  left->right = run;
  update(run);
  update(left);
  return left;
}

static struct run *rotate_left(struct run *run) {
  struct run *right = run->right;
  run->right = right->left;
  right->left = run;
  update(run);
  update(right);
  return right;
}

static struct run *insert(struct run *tree, struct run *run) {
  if (!tree)
    return run;
  if (run->start < tree->start) {
    tree->left = insert(tree->left, run);
    if (tree->left->priority > tree->priority)
      return rotate_right(tree);
  } else {
    tree->right = insert(tree->right, run);
    if (tree->right->priority > tree->priority)
      return rotate_left(tree);
  }
  update(tree);
  return tree;
}

/* Two trees, all of left before all of right, as one. */
static struct run *join(struct run *left, struct run *right) {
  if (!left || !right)
    return left ? left : right;
  if (left->priority > right->priority) {
    left->right = join(left->right, right);
    update(left);
    return left;
  }
  right->left = join(left, right->left);
  update(right);
  return right;
}

static struct run *erase(struct run *tree, uint64_t start, struct run **erased) {
  if (tree->start == start) {
    *erased = tree;
    return join(tree->left, tree->right);
  }
  if (start < tree->start)
    tree->left = erase(tree->left, start, erased);
  else
    tree->right = erase(tree->right, start, erased);
  update(tree);
  return tree;
}

static void set_insert(struct space *space, struct run_set *set, uint64_t start, uint64_t length) {
  set->root = insert(set->root, take_run(space, start, length));
  set->total += length;
  set->runs++;
}

static void set_erase(struct space *space, struct run_set *set, const struct run *run) {
  struct run *erased;
  set->root = erase(set->root, run->start, &erased);
  set->total -= erased->length;
  set->runs--;
  give_run(space, erased);
}

/* The last run that starts at or before. */
static const struct run *set_before(const struct run_set *set, uint64_t start) {
  const struct run *found = NULL;
  for (const struct run *run = set->root; run;) {
    if (run->start <= start) {
      found = run;
      run = run->right;
    } else {
      run = run->left;
    }
  }
  return found;
}

/* The first run that starts after. */
static const struct run *set_after(const struct run_set *set, uint64_t start) {
  const struct run *found = NULL;
  for (const struct run *run = set->root; run;) {
    if (run->start > start) {
      found = run;
      run = run->left;
    } else {
      run = run->right;
    }
  }
  return found;
}

/* The first run of at least that length, or else the longest, or NULL. */
static const struct run *set_fit(const struct run_set *set, uint64_t length) {
  const struct run *run = set->root;
  if (run && run->longest < length)
    length = run->longest;
  while (run) {
    if (run->left && run->left->longest >= length)
      run = run->left;
    else if (run->length >= length)
      return run;
    else
      run = run->right;
  }
  return NULL;
}

static void runs_free(struct run *run) {
  if (!run)
    return;
  runs_free(run->left);
  runs_free(run->right);
  free(run);
}

/* ------------------------------------------------------------ quads and pieces */

#define WHOLE 15u             /* mask of a quad with all blocks */
#define RUNS_FOR_ONE_RANGE 3u /* that adding or removing a range takes, at most */

static int add_quads(struct space *space, uint64_t start, uint64_t count) {
  const struct run *before = set_before(&space->quads, start);
  const struct run *after = set_after(&space->quads, start);
  if ((before && before->start + before->length > start) || (after && after->start < start + count))
    return -EUCLEAN;
  uint64_t end = start + count;
  if (after && after->start == end) {
    end += after->length;
    set_erase(space, &space->quads, after);
    before = set_before(&space->quads, start);
  }
  if (before && before->start + before->length == start) {
    start = before->start;
    set_erase(space, &space->quads, before);
  }
  set_insert(space, &space->quads, start, end - start);
  return 0;
}

static int remove_quads(struct space *space, uint64_t start, uint64_t count) {
  const struct run *run = set_before(&space->quads, start);
  if (!run || run->start + run->length < start + count)
    return -EUCLEAN;
  uint64_t first = run->start, end = run->start + run->length;
  set_erase(space, &space->quads, run);
  if (first < start)
    set_insert(space, &space->quads, first, start - first);
  if (start + count < end)
    set_insert(space, &space->quads, start + count, end - start - count);
  return 0;
}

/* The free blocks of a quad, as a mask, which are taken out of both sets. */
static unsigned take_quad(struct space *space, uint64_t quad) {
  const struct run *run = set_before(&space->quads, quad);
  if (run && run->start + run->length > quad) {
    remove_quads(space, quad, 1);
    return WHOLE;
  }
  unsigned mask = 0;
  for (unsigned i = 0; i < 2; i++) {
    run = set_before(&space->pieces, quad * QUAD_BLOCKS + QUAD_BLOCKS - 1);
    if (!run || run->start < quad * QUAD_BLOCKS)
      break;
    mask |= ((1u << run->length) - 1) << (run->start - quad * QUAD_BLOCKS);
    set_erase(space, &space->pieces, run);
  }
  return mask;
}

/* Put the free blocks of a quad, of which none is in a set, in the right one. */
static void put_quad(struct space *space, uint64_t quad, unsigned mask) {
  if (mask == WHOLE) {
    add_quads(space, quad, 1);
    return;
  }
  for (unsigned i = 0; i < QUAD_BLOCKS; i++) {
    if (!(mask & 1u << i))
      continue;
    unsigned end = i;
    while (end < QUAD_BLOCKS && mask & 1u << end)
      end++;
    set_insert(space, &space->pieces, quad * QUAD_BLOCKS + i, end - i);
    i = end;
  }
}

/* Some blocks of one quad become free, or not. */
static int change_in_quad(struct space *space, uint64_t block, uint64_t count, bool make_free) {
  uint64_t quad = block / QUAD_BLOCKS;
  unsigned changed = ((1u << count) - 1) << block % QUAD_BLOCKS;
  unsigned mask = take_quad(space, quad);
  if (make_free ? (mask & changed) != 0 : (mask & changed) != changed) {
    put_quad(space, quad, mask);
    return -EUCLEAN;
  }
  put_quad(space, quad, mask ^ changed);
  return 0;
}

/* Part the range into whole quads and what is before and after them. */
static int change_range(struct space *space, uint64_t block, uint64_t count, bool make_free) {
  /* Who removes can add again without fail. */
  int r = reserve_runs(space, make_free ? RUNS_FOR_ONE_RANGE : 2 * RUNS_FOR_ONE_RANGE);
  if (r < 0)
    return r;
  uint64_t end = block + count;
  if (block % QUAD_BLOCKS != 0 && count > 0) {
    uint64_t here = QUAD_BLOCKS - block % QUAD_BLOCKS;
    if (here > count)
      here = count;
    r = change_in_quad(space, block, here, make_free);
    block += here;
  }
  uint64_t whole = (end - block) / QUAD_BLOCKS;
  if (r == 0 && whole > 0) {
    r = (make_free ? add_quads : remove_quads)(space, block / QUAD_BLOCKS, whole);
    block += whole * QUAD_BLOCKS;
  }
  if (r == 0 && block < end)
    r = change_in_quad(space, block, end - block, make_free);
  return r;
}

int space_add(struct space *space, uint64_t block, uint64_t count) {
  return change_range(space, block, count, true);
}

int space_remove(struct space *space, uint64_t block, uint64_t count) {
  return change_range(space, block, count, false);
}

uint64_t space_free_blocks(const struct space *space) {
  return space->quads.total * QUAD_BLOCKS + space->pieces.total;
}

void space_create(struct space *space, uint64_t blocks) {
  *space = (struct space){.blocks = blocks, .seed = 0x9E3779B97F4A7C15u};
}

void space_destroy(struct space *space) {
  runs_free(space->quads.root);
  runs_free(space->pieces.root);
  while (space->spare) {
    struct run *run = space->spare;
    space->spare = run->left;
    free(run);
  }
  run_list_free(&space->allocated);
  run_list_free(&space->freed);
  for (unsigned i = 0; i < DEFERRED_GENERATIONS; i++)
    run_list_free(&space->deferred[i]);
  run_list_free(&space->log);
  run_list_free(&space->late);
}

/* ----------------------------------------------------------------- allocating */

int space_allocate(struct space *space, uint64_t want, bool pieces_only, struct block_run *run) {
  const struct run *piece = set_fit(&space->pieces, want);
  uint64_t quads = (want + QUAD_BLOCKS - 1) / QUAD_BLOCKS;
  const struct run *whole = pieces_only ? NULL : set_fit(&space->quads, quads);

  if (piece && (!whole || piece->length >= want)) {
    *run = (struct block_run){piece->start, piece->length < want ? piece->length : want};
  } else if (whole) {
    uint64_t most = whole->length < quads ? whole->length * QUAD_BLOCKS : want;
    *run = (struct block_run){whole->start * QUAD_BLOCKS, most};
  } else {
    return -ENOSPC;
  }
  return space_remove(space, run->block, run->count);
}

int space_allocate_quads(struct space *space, size_t count, uint64_t *quads) {
  size_t taken = 0;
  int r = space->quads.total < count ? -ENOSPC : 0;

  while (r == 0 && taken < count) {
    const struct run *run = set_fit(&space->quads, count - taken);
    uint64_t start = run->start;
    uint64_t here = run->length < count - taken ? run->length : count - taken;
    r = space_remove(space, start * QUAD_BLOCKS, here * QUAD_BLOCKS);
    for (uint64_t i = 0; r == 0 && i < here; i++)
      quads[taken++] = start + i;
  }
  if (r < 0)
    for (size_t i = 0; i < taken; i++)
      space_add(space, quads[i] * QUAD_BLOCKS, QUAD_BLOCKS);
  return r;
}

int space_reserve_notes(struct space *space, size_t allocated, size_t freed) {
  int r = run_list_reserve(&space->allocated, allocated);
  return r < 0 ? r : run_list_reserve(&space->freed, freed);
}

void space_note_allocated(struct space *space, uint64_t block, uint64_t count) {
  run_list_add(&space->allocated, block, count);
}

void space_note_freed(struct space *space, uint64_t block, uint64_t count) {
  run_list_add(&space->freed, block, count);
}

struct run_list space_mature(struct space *space, uint64_t generation) {
  struct run_list *list = &space->deferred[(generation + 1) % DEFERRED_GENERATIONS];
  struct run_list mature = *list;
  *list = (struct run_list){0};
  for (size_t i = 0; i < mature.count; i++)
    space->deferred_blocks -= mature.runs[i].count;
  return mature;
}

/* Add the runs of a list, from its end on, until one fails. */
static void add_runs(struct space *space, struct run_list *list) {
  while (list->count > 0) {
    const struct block_run *run = &list->runs[list->count - 1];
    if (space_add(space, run->block, run->count) == -ENOMEM)
      return;
    list->count--;
  }
}

void space_give_back(struct space *space, struct run_list *list) {
  add_runs(space, &space->late);
  add_runs(space, list);
  if (list->count > 0 && space->late.count == 0) {
    run_list_free(&space->late);
    space->late = *list;
    *list = (struct run_list){0};
  }
  if (list->count > 0 && run_list_reserve(&space->late, list->count) == 0)
    for (size_t i = 0; i < list->count; i++)
      run_list_add(&space->late, list->runs[i].block, list->runs[i].count);
  run_list_free(list);
}
