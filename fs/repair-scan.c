/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Finding what nothing leads to any more: by looking at all blocks.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "check.h"
#include "page.h"

#define CHUNK_QUADS 64u
#define BARREN_QUADS (((uint64_t)64 << 30) / NODE_SIZE) /* without a node: nothing more comes */
#define MAX_TRIALS 64u                                  /* of roots */

/* ------------------------------------------------------------------------ nodes */

static int add_node(struct found_nodes *found, const uint8_t *page, bool in_free) {
  if (found->count == found->capacity) {
    size_t capacity = found->capacity ? 2 * found->capacity : 64;
    struct found_node *nodes = realloc(found->nodes, capacity * sizeof *nodes);
    if (!nodes)
      return -ENOMEM;
    found->nodes = nodes;
    found->capacity = capacity;
  }
  struct pointer pointer = {load64(page + 16), load64(page + 8), checksum(page, NODE_SIZE)};
  found->nodes[found->count++] =
      (struct found_node){pointer, (uint8_t)page_level(page), in_free, load32(page + 28)};
  return 0;
}

static bool is_node(struct check *check, const uint8_t *page, uint64_t block, const uint8_t *uuid) {
  struct pointer pointer = {.block = block, .generation = load64(page + 8)};
  return load64(page + 16) == block && page_level(page) <= MAX_LEVEL && pointer.generation > 0 &&
         pointer.generation <= check->superblock.generation &&
         page_check(page, pointer, page_level(page), uuid ? uuid : page + 28,
                    check->found_blocks) == 0;
}

/* Where the space log says that nothing is. */
static int collect_free(struct check *check, struct space *free_blocks) {
  space_create(free_blocks, check->found_blocks);
  if (!check->log_good)
    return 0;
  int r = marks_copy(free_blocks, &check->log);
  for (unsigned i = 0; i < DEFERRED_GENERATIONS; i++) {
    const struct run_list *list = &check->log.deferred[i];
    for (size_t j = 0; r == 0 && j < list->count; j++)
      r = marks_fill(free_blocks, list->runs[j].block, list->runs[j].count);
  }
  return r;
}

struct scan {
  struct check *check;
  const uint8_t *uuid;
  struct found_nodes *found;
  struct space free_blocks;
  uint8_t *pages;
  uint64_t barren;
};

/* Whole quads, at most CHUNK_QUADS; those that cannot be read are passed over. */
static int scan_chunk(struct scan *scan, uint64_t quad, uint64_t count) {
  struct check *check = scan->check;
  bool whole = device_read(check->device, scan->pages, count * NODE_SIZE, quad * NODE_SIZE) == 0;
  int r = 0;
  for (uint64_t i = 0; r == 0 && i < count; i++) {
    uint8_t *page = scan->pages + i * NODE_SIZE;
    uint64_t block = (quad + i) * QUAD_BLOCKS, first;
    scan->barren++;
    if (!whole && device_read(check->device, page, NODE_SIZE, block * BLOCK_SIZE) < 0)
      continue;
    if (!is_node(check, page, block, scan->uuid))
      continue;
    scan->barren = 0;
    r = add_node(scan->found, page, marks_overlap(&scan->free_blocks, block, QUAD_BLOCKS, &first));
  }
  return r;
}

/* A range of blocks: all quads that lie in it. */
static int scan_range(void *context, uint64_t block, uint64_t count) {
  struct scan *scan = context;
  uint64_t quad = (block + QUAD_BLOCKS - 1) / QUAD_BLOCKS, end = (block + count) / QUAD_BLOCKS;
  int r = 0;
  while (r == 0 && quad < end && scan->barren < BARREN_QUADS) {
    uint64_t here = end - quad < CHUNK_QUADS ? end - quad : CHUNK_QUADS;
    progress(scan->check, "search", quad, scan->check->device_blocks / QUAD_BLOCKS);
    r = scan_chunk(scan, quad, here);
    quad += here;
  }
  return r;
}

int scan_nodes(struct check *check, const struct space *except, const uint8_t *uuid,
               struct found_nodes *found) {
  struct scan scan = {.check = check, .uuid = uuid, .found = found};
  uint64_t end = check->device_blocks;
  scan.pages = malloc((size_t)CHUNK_QUADS * NODE_SIZE);
  if (!scan.pages)
    return -ENOMEM;
  int r = collect_free(check, &scan.free_blocks);
  if (r == 0)
    r = except ? marks_visit_missing(except, FIRST_BLOCK, end - FIRST_BLOCK, scan_range, &scan)
               : scan_range(&scan, FIRST_BLOCK, end - FIRST_BLOCK);
  space_destroy(&scan.free_blocks);
  free(scan.pages);
  return r;
}

/* ------------------------------------------------------------- damaged superblocks */

static bool is_sane_blocks(const struct check *check, uint64_t blocks) {
  return blocks >= MIN_BLOCKS && blocks <= check->device_blocks && blocks % QUAD_BLOCKS == 0;
}

/* A damaged slot whose pointer leads to a root all the same: as it would be if it were whole. */
static bool read_damaged(struct check *check, const uint8_t *bytes, uint8_t *page,
                         struct superblock *superblock) {
  struct pointer root = load_pointer(bytes + 88);
  uint32_t level = load32(bytes + 112);
  uint64_t generation = load64(bytes + 48);
  if (root.block < FIRST_BLOCK || root.block % QUAD_BLOCKS != 0 ||
      root.block + QUAD_BLOCKS > check->device_blocks || level > MAX_LEVEL)
    return false;
  if (device_read(check->device, page, NODE_SIZE, root.block * BLOCK_SIZE) < 0 ||
      tree_read_page(check->device, root, level, page + 28, check->device_blocks, page) < 0)
    return false;
  *superblock = (struct superblock){
      .generation = generation >= root.generation && generation < UINT64_MAX / 4 ? generation
                                                                                 : root.generation,
      .blocks = load64(bytes + 56),
      .root = root,
      .root_level = level,
      .log = load_pointer(bytes + 120),
      .next_id = load64(bytes + 144),
      .nodes = load64(bytes + 152),
      .commit_time = load64(bytes + 160),
      .format_time = load64(bytes + 168),
      .label_length = load32(bytes + 184),
  };
  memcpy(superblock->uuid, bytes + 32, 16);
  memcpy(superblock->uuid, page + 28, 4);
  if (superblock->label_length > CASEFS_MAX_LABEL)
    superblock->label_length = 0;
  memcpy(superblock->label, bytes + 188, superblock->label_length);
  return true;
}

/* The newest of the damaged slots of a ring. */
static int read_damaged_ring(struct check *check, uint64_t first, uint8_t *page,
                             struct superblock *newest, bool *found) {
  uint8_t bytes[BLOCK_SIZE];
  struct superblock superblock;
  for (unsigned i = 0; i < RING_SLOTS; i++) {
    if (device_read(check->device, bytes, BLOCK_SIZE, (first + i) * BLOCK_SIZE) < 0 ||
        !read_damaged(check, bytes, page, &superblock) ||
        (*found && superblock.root.generation <= newest->root.generation))
      continue;
    *newest = superblock;
    *found = true;
  }
  return 0;
}

/* ------------------------------------------------------------------ looking for a root */

/* The volume that most nodes are of. */
static uint32_t usual_prefix(const struct found_nodes *found) {
  uint32_t usual = 0;
  size_t balance = 0;
  for (size_t i = 0; i < found->count; i++) {
    if (balance == 0)
      usual = found->nodes[i].prefix;
    balance += found->nodes[i].prefix == usual ? 1 : (size_t)-1;
  }
  return usual;
}

/* The newest first; of one commit the highest. */
static int compare_nodes(const void *a, const void *b) {
  const struct found_node *x = a, *y = b;
  if (x->pointer.generation != y->pointer.generation)
    return x->pointer.generation < y->pointer.generation ? 1 : -1;
  return (x->level < y->level) - (x->level > y->level);
}

/* Whether all of a subtree can be read: 1 or 0. */
static int is_whole(struct check *check, struct pointer pointer, unsigned level,
                    const uint8_t *uuid) {
  uint8_t *page = malloc(NODE_SIZE);
  if (!page)
    return -ENOMEM;
  int r = -EUCLEAN;
  if (pointer.block + QUAD_BLOCKS <= check->device_blocks)
    r = tree_read_page(check->device, pointer, level, uuid, check->found_blocks, page);
  if (r < 0 && r != -EUCLEAN) /* once more, not to give a good root up for nothing */
    r = tree_read_page(check->device, pointer, level, uuid, check->found_blocks, page);
  r = r == 0;
  for (unsigned i = 0; r == 1 && level > 0 && i < page_count(page); i++) {
    uint32_t length;
    r = is_whole(check, load_pointer(page_value(page, i, &length)), level - 1, uuid);
  }
  free(page);
  return r;
}

static int choose_root(struct check *check, struct found_nodes *found,
                       struct superblock *superblock) {
  uint32_t prefix = usual_prefix(found);
  uint8_t uuid[16];
  size_t kept = 0;
  for (size_t i = 0; i < found->count; i++)
    if (found->nodes[i].prefix == prefix)
      found->nodes[kept++] = found->nodes[i];
  found->count = kept;
  if (kept == 0)
    return -ENODATA;
  if (getrandom(uuid, sizeof uuid, 0) != sizeof uuid)
    memset(uuid, 0, sizeof uuid);
  store32(uuid, prefix);
  qsort(found->nodes, found->count, sizeof *found->nodes, compare_nodes);
  const struct found_node *root = &found->nodes[0];
  int whole = 0;
  for (size_t i = 0; whole == 0 && i < found->count && i < MAX_TRIALS; i++) {
    whole = is_whole(check, found->nodes[i].pointer, found->nodes[i].level, uuid);
    if (whole == 1)
      root = &found->nodes[i];
  }
  if (whole < 0)
    return whole;
  *superblock = (struct superblock){.generation = found->nodes[0].pointer.generation,
                                    .root = root->pointer,
                                    .root_level = root->level,
                                    .format_time = casefs_now()};
  memcpy(superblock->uuid, uuid, sizeof uuid);
  return 0;
}

static int search_root(struct check *check, struct superblock *superblock) {
  struct found_nodes found = {0};
  int r = scan_nodes(check, NULL, NULL, &found);
  if (r == 0)
    r = choose_root(check, &found, superblock);
  free(found.nodes);
  return r;
}

int scan_superblock(struct check *check) {
  uint64_t size = check->options.size / NODE_SIZE * QUAD_BLOCKS;
  uint64_t blocks = is_sane_blocks(check, size) ? size : check->device_blocks;
  uint8_t *page = malloc(NODE_SIZE);
  struct superblock made;
  bool found = false;
  int r = page ? 0 : -ENOMEM;
  check->found_blocks = blocks;
  check->superblock.generation = UINT64_MAX / 4;
  if (r == 0)
    r = read_damaged_ring(check, 0, page, &made, &found);
  if (r == 0)
    r = read_damaged_ring(check, blocks - RING_SLOTS, page, &made, &found);
  if (r == 0 && !found)
    r = search_root(check, &made);
  free(page);
  if (r < 0)
    return r;
  if (size != 0 || !is_sane_blocks(check, made.blocks))
    made.blocks = blocks;
  if (made.log.block < FIRST_BLOCK || made.log.block >= made.blocks - RING_SLOTS)
    made.log = (struct pointer){0};
  if (made.next_id == 0 || made.next_id >= LIMIT_ID)
    made.next_id = 1;
  made.version = 1;
  made.fold_id = FOLD_WINDOWS_7;
  check->superblock = made;
  check->superblock_made = check->superblock_changed = check->slots_damaged = true;
  return 0;
}
