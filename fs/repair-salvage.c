/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Making the tree whole again from its leaves.
 *
 *   1. All leaves that the damaged tree leads to are taken, wherever they hang.  A node of which
 *      only the checksum is wrong is used too: children have checksums of their own, and of the
 * records of a leaf, which are put in one by one, most must be right.
 *   2. Where something could not be read, a range of keys is missing.  Leaves for it are searched
 *      on the device: first where the space log says that something is, then in free space; new
 *      ones before old ones.  What lies between the keys of a newer leaf is not taken from an
 * older.
 *   3. Leaves that do not overlap stay where they are; new inner nodes are written above them
 *      to blocks that nothing of all this uses.
 *   4. Single records, of leaves that overlap others, are put into that tree.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "page.h"

#define RECORDS_AT_ONCE 16u
#define MAX_PAGE_RECORDS (PAGE_CAPACITY / (2 + 4 + 1) + 1)

/* A copy of a key. */
struct text {
  uint8_t *bytes;
  uint32_t length;
};

/* Keys from first on, up to and including last, or below it; NULL: no bound. */
struct range {
  struct text first, last;
};

struct leaf {
  struct pointer pointer;
  struct range keys;
  bool reachable, rotten, in_free;
};

struct leaves {
  struct leaf *leaves;
  size_t count, capacity;
};

struct rebuild {
  struct check *check;
  struct leaves kept, spilled;
  struct range *missing; /* below last */
  size_t missing_count, missing_capacity;
  struct range *covered; /* up to last, in order, not overlapping */
  size_t covered_count, covered_capacity;
  struct space seen; /* blocks of nodes of the damaged tree, and of leaves that are used */
  uint8_t *pages[MAX_LEVEL + 1];
};

/* ------------------------------------------------------------------------- keys */

static int copy_key(struct text *text, const uint8_t *bytes, uint32_t length) {
  *text = (struct text){0};
  if (!bytes)
    return 0;
  text->bytes = malloc(length);
  if (!text->bytes)
    return -ENOMEM;
  memcpy(text->bytes, bytes, length);
  text->length = length;
  return 0;
}

static int compare(const struct text *a, const struct text *b) {
  return key_compare(a->bytes, a->length, b->bytes, b->length);
}

static void range_free(struct range *range) {
  free(range->first.bytes);
  free(range->last.bytes);
}

/* Room for one more in an array. */
static int reserve(void **array, size_t count, size_t *capacity, size_t size) {
  if (count < *capacity)
    return 0;
  size_t grown = *capacity ? 2 * *capacity : 64;
  void *bigger = realloc(*array, grown * size);
  if (!bigger)
    return -ENOMEM;
  *array = bigger;
  *capacity = grown;
  return 0;
}

static int add_missing(struct rebuild *rebuild, struct text low, struct text high) {
  struct range range,
      *before = rebuild->missing_count > 0 ? &rebuild->missing[rebuild->missing_count - 1] : NULL;
  /* Most often it is the neighbour of the one before. */
  if (before && before->last.bytes && low.bytes && compare(&before->last, &low) == 0) {
    free(before->last.bytes);
    return copy_key(&before->last, high.bytes, high.length);
  }
  void *array = rebuild->missing;
  int r = reserve(&array, rebuild->missing_count, &rebuild->missing_capacity, sizeof range);
  rebuild->missing = array;
  if (r == 0)
    r = copy_key(&range.first, low.bytes, low.length);
  if (r == 0 && (r = copy_key(&range.last, high.bytes, high.length)) < 0)
    free(range.first.bytes);
  if (r == 0)
    rebuild->missing[rebuild->missing_count++] = range;
  return r;
}

static bool is_missing(const struct rebuild *rebuild, const struct text *key) {
  for (size_t i = 0; i < rebuild->missing_count; i++) {
    const struct range *range = &rebuild->missing[i];
    if ((!range->first.bytes || compare(key, &range->first) >= 0) &&
        (!range->last.bytes || compare(key, &range->last) < 0))
      return true;
  }
  return false;
}

/* The first covered range that ends at a key or after it. */
static size_t find_covered(const struct rebuild *rebuild, const struct text *key) {
  size_t low = 0, high = rebuild->covered_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (compare(&rebuild->covered[middle].last, key) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static bool is_covered(const struct rebuild *rebuild, const struct text *first,
                       const struct text *last) {
  size_t at = find_covered(rebuild, first);
  return at < rebuild->covered_count && compare(&rebuild->covered[at].first, last) <= 0;
}

/* Add a range, joined with those that it overlaps. */
static int add_covered(struct rebuild *rebuild, const struct range *keys) {
  size_t at = find_covered(rebuild, &keys->first), end = at;
  struct range range;
  void *array = rebuild->covered;
  int r = reserve(&array, rebuild->covered_count, &rebuild->covered_capacity, sizeof range);
  rebuild->covered = array;
  while (end < rebuild->covered_count && compare(&rebuild->covered[end].first, &keys->last) <= 0)
    end++;
  const struct text *first = &keys->first, *last = &keys->last;
  if (end > at && compare(&rebuild->covered[at].first, first) < 0)
    first = &rebuild->covered[at].first;
  if (end > at && compare(&rebuild->covered[end - 1].last, last) > 0)
    last = &rebuild->covered[end - 1].last;
  if (r == 0)
    r = copy_key(&range.first, first->bytes, first->length);
  if (r == 0 && (r = copy_key(&range.last, last->bytes, last->length)) < 0)
    free(range.first.bytes);
  if (r < 0)
    return r;
  for (size_t i = at; i < end; i++)
    range_free(&rebuild->covered[i]);
  memmove(&rebuild->covered[at + 1], &rebuild->covered[end],
          (rebuild->covered_count - end) * sizeof range);
  rebuild->covered[at] = range;
  rebuild->covered_count += 1 + at - end;
  return 0;
}

/* ----------------------------------------------------------------------- leaves */

static int add_leaf(struct leaves *leaves, const struct leaf *leaf) {
  void *array = leaves->leaves;
  int r = reserve(&array, leaves->count, &leaves->capacity, sizeof *leaf);
  leaves->leaves = array;
  if (r == 0)
    leaves->leaves[leaves->count++] = *leaf;
  return r;
}

static void leaves_free(struct leaves *leaves) {
  for (size_t i = 0; i < leaves->count; i++)
    range_free(&leaves->leaves[i].keys);
  free(leaves->leaves);
}

/* The keys of a page that has records. */
static int page_range(const uint8_t *page, struct range *range) {
  uint32_t length;
  const uint8_t *key = page_key(page, 0, &length);
  int r = copy_key(&range->first, key, length);
  key = page_key(page, page_count(page) - 1, &length);
  if (r == 0 && (r = copy_key(&range->last, key, length)) < 0)
    free(range->first.bytes);
  return r;
}

/* Whether there may be a record at that offset of a page. */
static bool is_record(const uint8_t *page, uint32_t at, unsigned level) {
  if (at < PAGE_HEADER || at + 4 > NODE_SIZE)
    return false;
  uint32_t key = load16(page + at), value = load16(page + at + 2);
  return key > 0 && key <= MAX_KEY && 4 + key + value <= MAX_RECORD &&
         at + 4 + key + value <= NODE_SIZE && (level == 0 || value == POINTER_SIZE);
}

/* The records by their offsets, and those that stand one after the other from heap on. */
static unsigned offsets_by_slots(const uint8_t *page, unsigned level, uint16_t *offsets) {
  unsigned count = page_count(page), found = 0;
  for (unsigned i = 0; i < count && i < MAX_PAGE_RECORDS; i++) {
    uint16_t at = load16(page + PAGE_HEADER + 2 * i);
    if (is_record(page, at, level))
      offsets[found++] = at;
  }
  return found;
}

static unsigned offsets_by_heap(const uint8_t *page, unsigned level, uint16_t *offsets) {
  unsigned found = 0;
  uint32_t at = load16(page + 24);
  while (found < MAX_PAGE_RECORDS && is_record(page, at, level)) {
    offsets[found++] = (uint16_t)at;
    at += 4u + load16(page + at) + load16(page + at + 2);
  }
  return at == NODE_SIZE ? found : 0;
}

static int compare_offsets(const void *a, const void *b, void *context) {
  const uint8_t *x = (const uint8_t *)context + *(const uint16_t *)a;
  const uint8_t *y = (const uint8_t *)context + *(const uint16_t *)b;
  return key_compare(x + 4, load16(x), y + 4, load16(y));
}

/* Enough of a header to take a page for the one that a pointer leads to. */
static bool is_likely(const uint8_t *page, struct pointer pointer, unsigned level,
                      const uint8_t *uuid) {
  return (memcmp(page, "CFTN", 4) == 0) + (load64(page + 8) == pointer.generation) +
             (load64(page + 16) == pointer.block) + (memcmp(page + 28, uuid, 4) == 0) +
             (page_level(page) == level) >=
         3;
}

/* Make a page of what is sound in one that is not. */
static int mend_page(uint8_t *page, struct pointer pointer, unsigned level, const uint8_t *uuid) {
  uint16_t slots[MAX_PAGE_RECORDS], heap[MAX_PAGE_RECORDS], *offsets = slots;
  uint8_t raw[NODE_SIZE];
  memcpy(raw, page, NODE_SIZE);
  unsigned count = offsets_by_slots(raw, level, slots);
  unsigned heap_count = offsets_by_heap(raw, level, heap);
  if (heap_count > count) {
    offsets = heap;
    count = heap_count;
  }
  if (count == 0 || !is_likely(raw, pointer, level, uuid))
    return -EUCLEAN;
  qsort_r(offsets, count, sizeof *offsets, compare_offsets, raw);
  page_create(page, level, uuid);
  store64(page + 8, pointer.generation);
  store64(page + 16, pointer.block);
  for (unsigned i = 0; i < count; i++) {
    const uint8_t *record = raw + offsets[i];
    uint32_t key = load16(record), value = load16(record + 2);
    if (i > 0 && compare_offsets(&offsets[i - 1], &offsets[i], raw) == 0)
      continue;
    if (page_free(page) < page_record_size(key, value))
      break;
    page_insert(page, page_count(page), record + 4, key, record + 4 + key, value);
  }
  return 0;
}

/* Read a node; a rotten one has another checksum than it should, or is malformed. */
static int read_node(struct rebuild *rebuild, struct pointer pointer, unsigned level, bool rotten,
                     uint8_t **page) {
  struct check *check = rebuild->check;
  const uint8_t *uuid = check->superblock.uuid;
  if (!rebuild->pages[level] && !(rebuild->pages[level] = malloc(NODE_SIZE)))
    return -ENOMEM;
  *page = rebuild->pages[level];
  if (pointer.block < FIRST_BLOCK || pointer.block % QUAD_BLOCKS != 0 ||
      pointer.block > check->device_blocks || check->device_blocks - pointer.block < QUAD_BLOCKS)
    return -EUCLEAN;
  if (!rotten)
    return tree_read_page(check->device, pointer, level, uuid, check->found_blocks, *page);
  int r = device_read(check->device, *page, NODE_SIZE, pointer.block * BLOCK_SIZE);
  if (r == 0 && page_check(*page, pointer, level, uuid, check->found_blocks) < 0)
    r = mend_page(*page, pointer, level, uuid);
  return r;
}

static int read_leaf(struct rebuild *rebuild, const struct leaf *leaf, uint8_t **page) {
  return read_node(rebuild, leaf->pointer, 0, leaf->rotten, page);
}

/* ------------------------------------------------------ what the damaged tree leads to */

static int gather_leaf(struct rebuild *rebuild, struct pointer pointer, bool rotten,
                       const uint8_t *page, const struct range *place) {
  struct leaf leaf = {.pointer = pointer, .reachable = true, .rotten = rotten};
  const struct text *low = &place->first, *high = &place->last;
  if (page_count(page) == 0)
    return add_missing(rebuild, *low, *high);
  int r = page_range(page, &leaf.keys);
  if (r < 0)
    return r;
  bool here = (!low->bytes || compare(&leaf.keys.first, low) >= 0) &&
              (!high->bytes || compare(&leaf.keys.last, high) < 0);
  r = add_leaf(rotten ? &rebuild->spilled : &rebuild->kept, &leaf);
  if (r < 0)
    range_free(&leaf.keys);
  /* If it is in another's place, that one's records are missing. */
  return r == 0 && !here ? add_missing(rebuild, *low, *high) : r;
}

static int gather(struct rebuild *rebuild, struct pointer pointer, unsigned level,
                  const struct range *place);

static int gather_children(struct rebuild *rebuild, const uint8_t *page,
                           const struct range *place) {
  unsigned count = page_count(page), level = page_level(page) - 1;
  int r = 0;
  for (unsigned i = 0; r == 0 && i < count; i++) {
    struct range below = *place;
    uint32_t length;
    if (i > 0)
      below.first.bytes = (uint8_t *)page_key(page, i, &below.first.length);
    if (i + 1 < count)
      below.last.bytes = (uint8_t *)page_key(page, i + 1, &below.last.length);
    r = gather(rebuild, load_pointer(page_value(page, i, &length)), level, &below);
  }
  return r;
}

static int gather(struct rebuild *rebuild, struct pointer pointer, unsigned level,
                  const struct range *place) {
  uint64_t first;
  uint8_t *page;
  if (pointer.block < MAX_BLOCKS &&
      marks_overlap(&rebuild->seen, pointer.block, QUAD_BLOCKS, &first))
    return add_missing(rebuild, place->first, place->last);
  int r = read_node(rebuild, pointer, level, false, &page);
  bool rotten = r == -EUCLEAN;
  if (rotten)
    r = read_node(rebuild, pointer, level, true, &page);
  if (r == -EUCLEAN)
    return add_missing(rebuild, place->first, place->last);
  if (r == 0)
    r = space_add(&rebuild->seen, pointer.block, QUAD_BLOCKS);
  if (r < 0)
    return r;
  return level > 0 ? gather_children(rebuild, page, place)
                   : gather_leaf(rebuild, pointer, rotten, page, place);
}

/* The level of a root, which superblock and node may tell differently, by a child of it. */
static int level_of_root(struct rebuild *rebuild, struct pointer root, unsigned *level) {
  uint8_t *page, *child, copy[NODE_SIZE];
  int r = -EUCLEAN;
  for (unsigned i = 0; r == -EUCLEAN && i <= MAX_LEVEL; i++)
    r = read_node(rebuild, root, i, false, &page);
  if (r < 0 || page_level(page) == *level)
    return r == -EUCLEAN ? 0 : r;
  unsigned own = page_level(page), said = *level;
  *level = own;
  memcpy(copy, page, NODE_SIZE);
  for (unsigned i = 0; own > 0 && said > 0 && i < page_count(copy); i++) {
    uint32_t length;
    struct pointer pointer = load_pointer(page_value(copy, i, &length));
    r = read_node(rebuild, pointer, said - 1, false, &child);
    if (r == 0)
      *level = said;
    if (r != -EUCLEAN)
      return r;
  }
  return 0;
}

static int gather_reachable(struct rebuild *rebuild) {
  struct pointer root = rebuild->check->superblock.root;
  unsigned level = rebuild->check->superblock.root_level;
  int r = level_of_root(rebuild, root, &level);
  return r < 0 ? r : gather(rebuild, root, level, &(struct range){0});
}

/* ------------------------------------------------------------- sorting leaves out */

static int compare_leaves(const void *a, const void *b) {
  const struct leaf *x = a, *y = b;
  int order = compare(&x->keys.first, &y->keys.first);
  if (order != 0)
    return order;
  return (x->pointer.generation < y->pointer.generation) -
         (x->pointer.generation > y->pointer.generation);
}

static bool can_stay(const struct check *check, const struct leaf *leaf) {
  return leaf->pointer.block + QUAD_BLOCKS <= check->superblock.blocks - RING_SLOTS;
}

/* Of leaves that overlap the newer stays; the records of the others are put in by themselves. */
static int part_overlapping(struct rebuild *rebuild) {
  struct leaves all = rebuild->kept, kept = {0};
  int r = 0;
  if (all.count > 1)
    qsort(all.leaves, all.count, sizeof *all.leaves, compare_leaves);
  for (size_t i = 0; r == 0 && i < all.count; i++) {
    struct leaf leaf = all.leaves[i];
    bool stays = can_stay(rebuild->check, &leaf);
    while (r == 0 && stays && kept.count > 0 &&
           compare(&kept.leaves[kept.count - 1].keys.last, &leaf.keys.first) >= 0) {
      const struct leaf *before = &kept.leaves[kept.count - 1];
      stays = before->pointer.generation < leaf.pointer.generation;
      if (stays) {
        r = add_leaf(&rebuild->spilled, before);
        kept.count -= r == 0;
      }
    }
    if (r == 0)
      r = add_leaf(stays ? &kept : &rebuild->spilled, &leaf);
    if (r < 0)
      for (; i < all.count; i++)
        range_free(&all.leaves[i].keys);
  }
  free(all.leaves);
  rebuild->kept = kept;
  return r;
}

/* -------------------------------------------------------- leaves that nothing leads to */

/* What is more to be trusted first. */
static int compare_found(const void *a, const void *b) {
  const struct found_node *x = a, *y = b;
  if (x->in_free != y->in_free)
    return x->in_free ? 1 : -1;
  return (x->pointer.generation < y->pointer.generation) -
         (x->pointer.generation > y->pointer.generation);
}

/* Take a leaf that was found, if it has something that is missing. */
static int take_found(struct rebuild *rebuild, const struct found_node *node) {
  struct leaf leaf = {.pointer = node->pointer, .in_free = node->in_free};
  uint64_t first;
  uint8_t *page;
  int r = read_leaf(rebuild, &leaf, &page);
  if (r < 0 || page_count(page) == 0 ||
      marks_overlap(&rebuild->seen, node->pointer.block, QUAD_BLOCKS, &first))
    return r == -EUCLEAN ? 0 : r;
  bool any = false, all = true;
  for (unsigned i = 0; i < page_count(page); i++) {
    struct text key;
    key.bytes = (uint8_t *)page_key(page, i, &key.length);
    bool wanted = is_missing(rebuild, &key) && !is_covered(rebuild, &key, &key);
    any |= wanted;
    all &= wanted;
  }
  if (!any)
    return 0;
  r = page_range(page, &leaf.keys);
  if (r < 0)
    return r;
  all = all && !leaf.in_free && !is_covered(rebuild, &leaf.keys.first, &leaf.keys.last);
  r = add_leaf(all ? &rebuild->kept : &rebuild->spilled, &leaf);
  if (r < 0) {
    range_free(&leaf.keys);
    return r;
  }
  r = space_add(&rebuild->seen, node->pointer.block, QUAD_BLOCKS);
  /* Those that are put in by themselves cover what they have when their turn comes. */
  return r == 0 && all ? add_covered(rebuild, &leaf.keys) : r;
}

/* The blocks of data that the leaves have: no nodes are searched there. */
static int mark_data(struct rebuild *rebuild, const struct leaf *leaf, struct space *to) {
  struct check *check = rebuild->check;
  uint8_t *page;
  int r = read_leaf(rebuild, leaf, &page);
  for (unsigned i = 0; r == 0 && i < page_count(page); i++) {
    struct key key;
    struct extent extent;
    uint32_t length;
    const uint8_t *bytes = page_key(page, i, &key.length);
    if (key.length != KEY_PREFIX + 8 || bytes[8] != RECORD_EXTENT)
      continue;
    memcpy(key.bytes, bytes, key.length);
    const uint8_t *value = page_value(page, i, &length);
    if (extent_decode(&extent, &key, value, length, check->found_blocks) == 0 &&
        extent.kind != EXTENT_INLINE)
      r = marks_fill(to, extent.block, extent.count);
  }
  return r == -EUCLEAN ? 0 : r;
}

static int mark_all_data(struct rebuild *rebuild, const struct leaves *leaves, struct space *to) {
  int r = 0;
  for (size_t i = 0; r == 0 && i < leaves->count; i++) {
    progress(rebuild->check, "leaves", i, leaves->count);
    r = mark_data(rebuild, &leaves->leaves[i], to);
  }
  return r;
}

static int search_missing(struct rebuild *rebuild) {
  struct check *check = rebuild->check;
  struct found_nodes found = {0};
  struct space except;
  int r = 0;
  if (rebuild->missing_count == 0)
    return 0;
  for (size_t i = 0; r == 0 && i < rebuild->kept.count; i++)
    r = add_covered(rebuild, &rebuild->kept.leaves[i].keys);
  space_create(&except, check->found_blocks);
  if (r == 0)
    r = marks_copy(&except, &rebuild->seen);
  if (r == 0)
    r = mark_all_data(rebuild, &rebuild->kept, &except);
  if (r == 0)
    r = scan_nodes(check, &except, check->superblock.uuid, &found);
  space_destroy(&except);
  if (found.count > 1)
    qsort(found.nodes, found.count, sizeof *found.nodes, compare_found);
  for (size_t i = 0; r == 0 && i < found.count; i++)
    if (found.nodes[i].level == 0)
      r = take_found(rebuild, &found.nodes[i]);
  free(found.nodes);
  return r;
}

/* --------------------------------------------------------------- single records */

/* Collect a record that is not in the new tree. */
static int collect_record(struct rebuild *rebuild, casefs_volume *volume, const struct leaf *leaf,
                          const uint8_t *page, unsigned i) {
  struct tree_record found;
  struct key key;
  struct text text;
  uint32_t length;
  text.bytes = (uint8_t *)page_key(page, i, &text.length);
  if (!leaf->reachable && (!is_missing(rebuild, &text) || is_covered(rebuild, &text, &text)))
    return 0;
  key.length = text.length;
  memcpy(key.bytes, text.bytes, text.length);
  int r = tree_get(&volume->tree, &key, &found);
  if (r != -ENOENT)
    return r;
  const uint8_t *value = page_value(page, i, &length);
  if (!leaf->in_free || repair_has_data(rebuild->check, &key, value, length))
    batch_put(&volume->batch, &key, value, length);
  return 0;
}

static int insert_leaf(struct rebuild *rebuild, casefs_volume *volume, const struct leaf *leaf) {
  uint8_t *page;
  int r = read_leaf(rebuild, leaf, &page);
  for (unsigned i = 0; r == 0 && i < page_count(page);) {
    unsigned tries = 0, next;
    do {
      r = change_begin(volume);
      if (r < 0)
        return r;
      for (next = i; r == 0 && next < page_count(page) && next - i < RECORDS_AT_ONCE; next++)
        r = collect_record(rebuild, volume, leaf, page, next);
      if (r == 0)
        r = change_apply(volume, PURPOSE_REMOVE);
      change_end(volume);
    } while (try_again(volume, r, &tries));
    i = next;
  }
  if (r == -EUCLEAN)
    return 0;
  return r == 0 ? add_covered(rebuild, &leaf->keys) : r;
}

/* ------------------------------------------------------------------------ the volume */

static int add_free(void *context, uint64_t block, uint64_t count) {
  return space_add(context, block, count);
}

/* Free is what neither the new tree nor any node that was read uses. */
static int make_space(struct rebuild *rebuild, struct space *space, struct space *used) {
  struct check *check = rebuild->check;
  struct space taken;
  int r = 0;
  for (size_t i = 0; r == 0 && i < rebuild->kept.count; i++)
    r = marks_fill(used, rebuild->kept.leaves[i].pointer.block, QUAD_BLOCKS);
  if (r == 0)
    r = mark_all_data(rebuild, &rebuild->kept, used);
  if (r == 0)
    r = mark_all_data(rebuild, &rebuild->spilled, used);
  space_create(&taken, check->superblock.blocks);
  if (r == 0)
    r = marks_copy(&taken, used);
  if (r == 0)
    r = marks_copy(&taken, &rebuild->seen);
  space_create(space, check->superblock.blocks);
  if (r == 0)
    r = marks_visit_gaps(&taken, add_free, space);
  space_destroy(&taken);
  return r;
}

struct freeing {
  const struct space *used;
  struct space *space;
};

static int note_freed(void *context, uint64_t block, uint64_t count) {
  struct space *space = context;
  uint64_t end = space->blocks - RING_SLOTS;
  if (block >= end)
    return 0;
  if (count > end - block)
    count = end - block;
  int r = space_reserve_notes(space, 0, 1);
  if (r == 0)
    space_note_freed(space, block, count);
  return r;
}

/* The blocks of nodes that are not in the new tree. */
static int free_seen(void *context, uint64_t block, uint64_t count) {
  struct freeing *freeing = context;
  return marks_visit_missing(freeing->used, block, count, note_freed, freeing->space);
}

/* New inner nodes above the leaves that stay. */
static int build_over(struct rebuild *rebuild, casefs_volume *volume) {
  struct child *children = malloc((rebuild->kept.count + 1) * sizeof *children);
  if (!children)
    return -ENOMEM;
  for (size_t i = 0; i < rebuild->kept.count; i++) {
    const struct leaf *leaf = &rebuild->kept.leaves[i];
    children[i] = (struct child){leaf->pointer, leaf->keys.first.bytes, leaf->keys.first.length};
  }
  int r = repair_build(volume, children, rebuild->kept.count);
  free(children);
  return r;
}

static int write_tree(struct rebuild *rebuild, casefs_volume *volume) {
  struct check *check = rebuild->check;
  struct space used;
  space_create(&used, check->superblock.blocks);
  struct freeing freeing = {&used, &volume->space};
  int r = make_space(rebuild, &volume->space, &used);
  if (r == 0)
    r = build_over(rebuild, volume);
  if (r == 0)
    r = tree_open(&volume->tree, check->device, &volume->superblock, 0);
  if (r == 0)
    r = repair_commit(volume);
  for (size_t i = 0; r == 0 && i < rebuild->spilled.count; i++) {
    progress(check, "records", i, rebuild->spilled.count);
    r = insert_leaf(rebuild, volume, &rebuild->spilled.leaves[i]);
  }
  if (r == 0)
    r = marks_visit(&rebuild->seen, free_seen, &freeing);
  if (r == 0)
    r = repair_finish(check, volume);
  space_destroy(&used);
  return r;
}

static void rebuild_free(struct rebuild *rebuild) {
  leaves_free(&rebuild->kept);
  leaves_free(&rebuild->spilled);
  for (size_t i = 0; i < rebuild->missing_count; i++)
    range_free(&rebuild->missing[i]);
  for (size_t i = 0; i < rebuild->covered_count; i++)
    range_free(&rebuild->covered[i]);
  free(rebuild->missing);
  free(rebuild->covered);
  space_destroy(&rebuild->seen);
  for (unsigned i = 0; i <= MAX_LEVEL; i++)
    free(rebuild->pages[i]);
}

int repair_tree(struct check *check) {
  struct rebuild rebuild = {.check = check};
  casefs_volume *volume = NULL;
  space_create(&rebuild.seen, check->found_blocks);
  int r = repair_begin(check, &volume);
  /* Only to tell what is more likely to be of the newest tree. */
  check->silent = true;
  if (r == 0 && !check->log_read)
    r = check_log(check);
  if (r == 0)
    r = gather_reachable(&rebuild);
  if (r == 0)
    r = part_overlapping(&rebuild);
  if (r == 0)
    r = search_missing(&rebuild);
  if (r == 0)
    r = part_overlapping(&rebuild);
  if (r == 0)
    r = write_tree(&rebuild, volume);
  if (volume)
    repair_end(check, volume);
  rebuild_free(&rebuild);
  return r;
}
