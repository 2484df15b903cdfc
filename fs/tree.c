/* SPDX-License-Identifier: BSD-3-Clause */

#include "tree.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "page.h"

#define MAX_CHILDREN (PAGE_CAPACITY / (2 + 4 + 1 + POINTER_SIZE) + 1)
#define SPARSE (PAGE_CAPACITY / 4)     /* a node that uses less looks for one to join */
#define JOINED (PAGE_CAPACITY * 3 / 4) /* and the two together may use this much */

struct tree_node {
  struct tree_node *parent;
  struct tree_node *_Atomic *children; /* of an inner node, by record; NULL: not in memory */
  struct pointer pointer;              /* where it was last written; block 0: nowhere */
  struct tree_node *newer, *older;
  unsigned resident; /* children in memory */
  bool dirty;
  atomic_bool used; /* since the trimming hand last came by */
  _Alignas(64) uint8_t page[NODE_SIZE];
};

/* --------------------------------------------------------------------- nodes */

static struct tree_node *_Atomic *children_allocate(void) {
  return malloc(MAX_CHILDREN * sizeof(struct tree_node * _Atomic));
}

/* Its page is not set, nor its children. */
static struct tree_node *node_allocate(void) {
  struct tree_node *node = aligned_alloc(64, sizeof *node);
  if (node)
    node->children = NULL;
  return node;
}

/* Reset what is not in the page. */
static void node_reset(struct tree_node *node) {
  struct tree_node *_Atomic *children = node->children;
  node->parent = node->newer = node->older = NULL;
  node->children = children;
  node->pointer = (struct pointer){0};
  node->resident = 0;
  node->dirty = false;
  atomic_init(&node->used, true);
  if (page_level(node->page) > 0)
    for (unsigned i = 0; i < page_count(node->page); i++)
      atomic_init(&children[i], NULL);
}

static void node_free(struct tree_node *node) {
  free((void *)node->children);
  free(node);
}

static void list_add(struct tree *tree, struct tree_node *node) {
  node->newer = NULL;
  node->older = tree->newest;
  if (tree->newest)
    tree->newest->newer = node;
  else
    tree->oldest = node;
  tree->newest = node;
}

static void list_remove(struct tree *tree, struct tree_node *node) {
  *(node->newer ? &node->newer->older : &tree->newest) = node->older;
  *(node->older ? &node->older->newer : &tree->oldest) = node->newer;
}

static void account_added(struct tree *tree, struct tree_node *node) {
  list_add(tree, node);
  tree->nodes++;
}

int tree_read_page(struct casefs_device *device, struct pointer pointer, unsigned level,
                   const uint8_t *uuid, uint64_t blocks, uint8_t *page) {
  int r = device_read(device, page, NODE_SIZE, pointer.block * BLOCK_SIZE);
  if (r < 0)
    return r;
  if (checksum(page, NODE_SIZE) != pointer.checksum)
    return -EUCLEAN;
  return page_check(page, pointer, level, uuid, blocks);
}

static int fetch(struct tree *tree, struct pointer pointer, unsigned level,
                 struct tree_node **fetched) {
  struct tree_node *node = node_allocate();
  if (!node)
    return -ENOMEM;
  int r = tree_read_page(tree->device, pointer, level, tree->uuid, tree->blocks, node->page);
  if (r == 0 && level > 0 && !(node->children = children_allocate()))
    r = -ENOMEM;
  if (r < 0) {
    node_free(node);
    return r;
  }
  node_reset(node);
  node->pointer = pointer;
  *fetched = node;
  return 0;
}

/* The index of a node in its parent. */
static unsigned index_in_parent(const struct tree_node *node) {
  const struct tree_node *parent = node->parent;
  if (page_count(node->page) > 0) {
    uint32_t length;
    const uint8_t *first = page_key(node->page, 0, &length);
    unsigned i = page_find_child(parent->page, first, length);
    if (parent->children[i] == node)
      return i;
  }
  /* Emptied just now; or a damaged volume, whose keys are not where they belong. */
  unsigned i = 0;
  while (parent->children[i] != node)
    i++;
  return i;
}

/* ----------------------------------------------------------- finding the leaf */

/* Which way to go in an inner page. */
typedef unsigned choose_child(const uint8_t *page, const struct key *key);

static unsigned child_of_key(const uint8_t *page, const struct key *key) {
  return page_find_child(page, key->bytes, key->length);
}

/* Towards the last record that is less than key. */
static unsigned child_before_key(const uint8_t *page, const struct key *key) {
  bool equal;
  unsigned i = page_find(page, key->bytes, key->length, &equal);
  return i > 0 ? i - 1 : 0;
}

static bool same_pointer(struct pointer a, struct pointer b) {
  return a.block == b.block && a.generation == b.generation && a.checksum == b.checksum;
}

/* Make a fetched node part of the tree, unless another thread was first.  Returns the node that
 * is the child now; *fetched is NULL if it was taken. */
static struct tree_node *attach(struct tree *tree, struct tree_node *parent, unsigned i,
                                struct tree_node **fetched) {
  pthread_mutex_lock(&tree->list_lock);
  struct tree_node *child = parent->children[i];
  if (!child) {
    child = *fetched;
    *fetched = NULL;
    child->parent = parent;
    parent->resident++;
    account_added(tree, child);
    parent->children[i] = child;
  }
  pthread_mutex_unlock(&tree->list_lock);
  return child;
}

/* Go down from the root, under lock.  Where a child is not in memory: it is *fetched, or NULL is
 * returned with *missing and *level telling what to fetch. */
static struct tree_node *descend(struct tree *tree, const struct key *key, choose_child *choose,
                                 struct tree_node **fetched, struct pointer *missing,
                                 unsigned *level) {
  struct tree_node *node = tree->root;

  while (page_level(node->page) > 0) {
    unsigned i = choose(node->page, key);
    struct tree_node *child = node->children[i];
    if (!child) {
      uint32_t length;
      struct pointer pointer = load_pointer(page_value(node->page, i, &length));
      if (!*fetched || !same_pointer((*fetched)->pointer, pointer)) {
        *missing = pointer;
        *level = page_level(node->page) - 1;
        return NULL;
      }
      child = attach(tree, node, i, fetched);
    }
    if (!atomic_load_explicit(&child->used, memory_order_relaxed))
      atomic_store_explicit(&child->used, true, memory_order_relaxed);
    node = child;
  }
  return node;
}

/* Enter: lock held for reading.  Leave: the same; it was let go while nodes were fetched.  A node
 * that cannot be read may have been freed meanwhile: only if the tree still wants it is it an
 * error. */
static int find_leaf(struct tree *tree, const struct key *key, choose_child *choose,
                     struct tree_node **leaf) {
  struct tree_node *fetched = NULL;
  struct pointer missing = {0}, failed = {0};
  unsigned level = 0;
  int r = 0;

  while (!(*leaf = descend(tree, key, choose, &fetched, &missing, &level))) {
    if (r < 0 && same_pointer(missing, failed))
      return r;
    pthread_rwlock_unlock(&tree->lock);
    if (fetched)
      node_free(fetched);
    fetched = NULL;
    r = fetch(tree, missing, level, &fetched);
    failed = missing;
    pthread_rwlock_rdlock(&tree->lock);
  }
  if (fetched)
    node_free(fetched);
  return 0;
}

/* -------------------------------------------------------------------- reading */

static void copy_out(const uint8_t *page, unsigned i, struct tree_record *record) {
  uint32_t length;
  const uint8_t *bytes = page_key(page, i, &length);
  record->key.length = length;
  memcpy(record->key.bytes, bytes, length);
  bytes = page_value(page, i, &record->length);
  memcpy(record->value, bytes, record->length);
}

int tree_get(struct tree *tree, const struct key *key, struct tree_record *record) {
  struct tree_node *leaf;
  bool equal = false;

  pthread_rwlock_rdlock(&tree->lock);
  int r = find_leaf(tree, key, child_of_key, &leaf);
  if (r == 0) {
    unsigned i = page_find(leaf->page, key->bytes, key->length, &equal);
    if (equal)
      copy_out(leaf->page, i, record);
    else
      r = -ENOENT;
  }
  pthread_rwlock_unlock(&tree->lock);
  return r;
}

static void copy_key(struct key *key, const uint8_t *page, unsigned i) {
  uint32_t length;
  const uint8_t *bytes = page_key(page, i, &length);
  key->length = length;
  memcpy(key->bytes, bytes, length);
}

/* The key where the next leaf begins; false for the last. */
static bool next_leaf_key(const struct tree_node *node, struct key *key) {
  for (; node->parent; node = node->parent) {
    unsigned i = index_in_parent(node) + 1;
    if (i < page_count(node->parent->page)) {
      copy_key(key, node->parent->page, i);
      return true;
    }
  }
  return false;
}

/* The key where a leaf begins; false for the first. */
static bool own_leaf_key(const struct tree_node *node, struct key *key) {
  for (; node->parent; node = node->parent) {
    unsigned i = index_in_parent(node);
    if (i > 0) {
      copy_key(key, node->parent->page, i);
      return true;
    }
  }
  return false;
}

int tree_seek(struct tree *tree, const struct key *key, struct tree_record *record) {
  struct key from;
  const struct key *at = key;
  int r;

  pthread_rwlock_rdlock(&tree->lock);
  for (;;) {
    struct tree_node *leaf;
    r = find_leaf(tree, at, child_of_key, &leaf);
    if (r < 0)
      break;
    bool equal;
    unsigned i = page_find(leaf->page, at->bytes, at->length, &equal);
    if (i < page_count(leaf->page)) {
      copy_out(leaf->page, i, record);
      break;
    }
    struct key next;
    if (!next_leaf_key(leaf, &next) ||
        key_compare(next.bytes, next.length, at->bytes, at->length) <= 0) {
      r = -ENOENT;
      break;
    }
    from = next;
    at = &from;
  }
  pthread_rwlock_unlock(&tree->lock);
  return r;
}

int tree_seek_back(struct tree *tree, const struct key *key, struct tree_record *record) {
  struct key before = *key;
  int r;

  key_after(&before);
  pthread_rwlock_rdlock(&tree->lock);
  for (;;) {
    struct tree_node *leaf;
    r = find_leaf(tree, &before, child_before_key, &leaf);
    if (r < 0)
      break;
    bool equal;
    unsigned i = page_find(leaf->page, before.bytes, before.length, &equal);
    if (i > 0) {
      copy_out(leaf->page, i - 1, record);
      break;
    }
    struct key own;
    if (!own_leaf_key(leaf, &own) ||
        key_compare(own.bytes, own.length, before.bytes, before.length) >= 0) {
      r = -ENOENT;
      break;
    }
    before = own;
  }
  pthread_rwlock_unlock(&tree->lock);
  return r;
}

int tree_seek_prefix(struct tree *tree, const struct key *key, uint32_t prefix,
                     struct tree_record *record) {
  int r = tree_seek(tree, key, record);
  if (r < 0)
    return r;
  return record->key.length >= prefix && memcmp(record->key.bytes, key->bytes, prefix) == 0
             ? 0
             : -ENOENT;
}

void key_after(struct key *key) {
  if (key->length < MAX_KEY) {
    key->bytes[key->length++] = 0;
    return;
  }
  while (key->length > 0 && ++key->bytes[key->length - 1] == 0)
    key->length--;
}

/* ----------------------------------------------------------------------- batch */

struct tree_edit {
  size_t offset; /* of key, then value, in the batch's bytes */
  uint32_t key_length, value_length;
  bool remove;
  bool superseded; /* by a later edit of the same key */
};

void batch_clear(struct tree_batch *batch) {
  batch->error = 0;
  batch->count = batch->used = 0;
}

void batch_free(struct tree_batch *batch) {
  free(batch->edits);
  free(batch->bytes);
  *batch = (struct tree_batch){0};
}

/* Make room for one more edit of that many bytes. */
static bool batch_grow(struct tree_batch *batch, size_t bytes) {
  if (batch->count == batch->capacity) {
    size_t capacity = batch->capacity ? 2 * batch->capacity : 32;
    struct tree_edit *edits = realloc(batch->edits, capacity * sizeof *edits);
    if (!edits)
      return false;
    batch->edits = edits;
    batch->capacity = capacity;
  }
  if (batch->size - batch->used < bytes) {
    size_t size = 2 * batch->size + bytes + 4096;
    uint8_t *grown = realloc(batch->bytes, size);
    if (!grown)
      return false;
    batch->bytes = grown;
    batch->size = size;
  }
  return true;
}

static void supersede(struct tree_batch *batch, const struct key *key) {
  for (size_t i = 0; i < batch->count; i++) {
    struct tree_edit *edit = &batch->edits[i];
    if (edit->key_length == key->length &&
        memcmp(batch->bytes + edit->offset, key->bytes, key->length) == 0)
      edit->superseded = true;
  }
}

static void batch_add(struct tree_batch *batch, const struct key *key, const void *value,
                      size_t length, bool remove) {
  if (batch->error < 0)
    return;
  supersede(batch, key);
  if (!batch_grow(batch, key->length + length)) {
    batch->error = -ENOMEM;
    return;
  }
  batch->edits[batch->count++] =
      (struct tree_edit){batch->used, key->length, (uint32_t)length, remove, false};
  memcpy(batch->bytes + batch->used, key->bytes, key->length);
  if (length > 0)
    memcpy(batch->bytes + batch->used + key->length, value, length);
  batch->used += key->length + length;
}

void batch_put(struct tree_batch *batch, const struct key *key, const void *value, size_t length) {
  batch_add(batch, key, value, length, false);
}

void batch_remove(struct tree_batch *batch, const struct key *key) {
  batch_add(batch, key, NULL, 0, true);
}

static void edit_key(const struct tree_batch *batch, const struct tree_edit *edit,
                     struct key *key) {
  key->length = edit->key_length;
  memcpy(key->bytes, batch->bytes + edit->offset, edit->key_length);
}

/* ------------------------------------------------------------------- preparing */

/* Nodes to take without fail, and that many arrays of children for inner ones. */
static int reserve_spares(struct tree *tree, uint64_t nodes, uint64_t inner) {
  while (tree->spares < nodes) {
    struct tree_node *node = node_allocate();
    if (!node)
      return -ENOMEM;
    node->parent = tree->spare;
    tree->spare = node;
    tree->spares++;
  }
  if (tree->spare_arrays_capacity < inner) {
    void *arrays = realloc(tree->spare_arrays, inner * sizeof *tree->spare_arrays);
    if (!arrays)
      return -ENOMEM;
    tree->spare_arrays = arrays;
    tree->spare_arrays_capacity = inner;
  }
  while (tree->spare_arrays_count < inner) {
    void *array = (void *)children_allocate();
    if (!array)
      return -ENOMEM;
    tree->spare_arrays[tree->spare_arrays_count++] = array;
  }
  return 0;
}

static struct tree_node *take_spare(struct tree *tree, unsigned level) {
  struct tree_node *node = tree->spare;
  tree->spare = node->parent;
  tree->spares--;
  if (level > 0)
    node->children = tree->spare_arrays[--tree->spare_arrays_count];
  page_create(node->page, level, tree->uuid);
  node_reset(node);
  return node;
}

/* Keep a few nodes for the next batch. */
static void give_spare(struct tree *tree, struct tree_node *node) {
  if (tree->spares >= 64) {
    node_free(node);
    return;
  }
  free((void *)node->children);
  node->children = NULL;
  node->parent = tree->spare;
  tree->spare = node;
  tree->spares++;
}

int tree_reserve_removed(struct tree *tree, size_t count) {
  if (tree->removed_capacity - tree->removed_count >= count)
    return 0;
  size_t capacity = 2 * tree->removed_capacity + count;
  uint64_t *removed = realloc(tree->removed, capacity * sizeof *removed);
  if (!removed)
    return -ENOMEM;
  tree->removed = removed;
  tree->removed_capacity = capacity;
  return 0;
}

/* What the edits of one leaf may need. */
struct leaf_needs {
  const struct tree_node *leaf;
  uint64_t inserted; /* bytes, at most */
  uint64_t removed;  /* records, at most */
};

/* What a batch may need. */
struct batch_needs {
  uint64_t quads, leaves, inner;
};

static uint64_t clean_above(const struct tree_node *node) {
  uint64_t clean = 0;
  for (; node && !node->dirty; node = node->parent)
    clean++;
  return clean;
}

/* At most how many nodes splitting a leaf for these bytes can add, leaves and inner ones. */
static void added_by_splits(const struct leaf_needs *needs, uint64_t *leaves, uint64_t *inner) {
  *leaves = *inner = 0;
  if (needs->inserted <= page_free(needs->leaf->page))
    return;
  *leaves = 1 + needs->inserted / (PAGE_CAPACITY / 4);
  uint64_t added = *leaves;
  const struct tree_node *node = needs->leaf->parent;
  for (; node; node = node->parent) {
    if (page_free(node->page) >= added * page_record_size(MAX_KEY, POINTER_SIZE))
      return;
    added = 1 + added / 4;
    *inner += added;
  }
  *inner += 1; /* a new root */
}

/* Have the neighbours of a leaf that may get sparse in memory, so that it can join one. */
static int fetch_neighbours(struct tree *tree, const struct tree_node *leaf) {
  if (!leaf->parent)
    return 0;
  struct key next, own;
  bool has_next = next_leaf_key(leaf, &next), has_own = own_leaf_key(leaf, &own);
  struct tree_node *other;
  int r = has_next ? find_leaf(tree, &next, child_of_key, &other) : 0;
  if (r == 0 && has_own)
    r = find_leaf(tree, &own, child_before_key, &other);
  return r;
}

static int finish_leaf(struct tree *tree, const struct leaf_needs *needs,
                       struct batch_needs *total) {
  if (!needs->leaf)
    return 0;
  uint64_t leaves, inner;
  added_by_splits(needs, &leaves, &inner);
  total->leaves += leaves;
  total->inner += inner;
  total->quads += clean_above(needs->leaf) + leaves + inner;
  if (needs->removed == 0 || !needs->leaf->parent ||
      (page_used(needs->leaf->page) >= 2 * SPARSE &&
       needs->removed < page_count(needs->leaf->page) / 2))
    return 0;
  total->quads += 1 + tree->level; /* neighbours that are joined, on each level */
  return fetch_neighbours(tree, needs->leaf);
}

int tree_prepare(struct tree *tree, const struct tree_batch *batch, uint64_t *quads) {
  struct leaf_needs needs = {0};
  struct batch_needs total = {0};
  int r = batch->error;

  pthread_rwlock_rdlock(&tree->lock);
  for (size_t i = 0; r == 0 && i < batch->count; i++) {
    const struct tree_edit *edit = &batch->edits[i];
    struct tree_node *leaf;
    struct key key;
    edit_key(batch, edit, &key);
    r = find_leaf(tree, &key, child_of_key, &leaf);
    if (r < 0)
      break;
    if (leaf != needs.leaf) {
      r = finish_leaf(tree, &needs, &total);
      needs = (struct leaf_needs){.leaf = leaf};
    }
    if (edit->remove)
      needs.removed++;
    else
      needs.inserted += page_record_size(edit->key_length, edit->value_length);
  }
  if (r == 0)
    r = finish_leaf(tree, &needs, &total);
  pthread_rwlock_unlock(&tree->lock);
  if (r == 0)
    r = reserve_spares(tree, total.leaves + total.inner, total.inner);
  if (r == 0)
    r = tree_reserve_removed(tree, batch->count * (2 * tree->level + 4));
  *quads = total.quads;
  return r;
}

/* --------------------------------------------------------------------- applying
 * Under lock, alone; all nodes concerned are in memory. */

static void mark_dirty(struct tree *tree, struct tree_node *node) {
  for (; node && !node->dirty; node = node->parent) {
    node->dirty = true;
    tree->dirty++;
  }
}

/* NULL: the leaf was not prepared, which is so only for a key that has gone with its leaf. */
static struct tree_node *leaf_in_memory(struct tree *tree, const struct key *key) {
  struct tree_node *node = tree->root;
  while (node && page_level(node->page) > 0)
    node = node->children[child_of_key(node->page, key)];
  return node;
}

static void insert_child(struct tree_node *parent, unsigned i, const uint8_t *key, uint32_t length,
                         struct tree_node *child) {
  uint8_t none[POINTER_SIZE] = {0};
  unsigned count = page_count(parent->page);

  page_insert(parent->page, i, key, length, none, sizeof none);
  for (unsigned j = count; j > i; j--)
    parent->children[j] = parent->children[j - 1];
  parent->children[i] = child;
  parent->resident++;
  child->parent = parent;
}

/* Where to cut a page so that both sides are as alike as can be. */
static unsigned middle_of(const uint8_t *page) {
  uint32_t half = page_used(page) / 2, sum = 0;
  unsigned count = page_count(page), i = 0;

  while (i < count) {
    uint32_t key_length, value_length;
    page_key(page, i, &key_length);
    page_value(page, i, &value_length);
    uint32_t size = page_record_size(key_length, value_length);
    if (sum + size > half && sum + size - half > half - sum && i > 0)
      break;
    sum += size;
    i++;
    if (sum >= half)
      break;
  }
  return i < count ? i : count - 1;
}

static void move_children(struct tree_node *from, unsigned first, unsigned count,
                          struct tree_node *to, unsigned at) {
  for (unsigned i = 0; i < count; i++) {
    struct tree_node *child = from->children[first + i];
    to->children[at + i] = child;
    if (child) {
      child->parent = to;
      from->resident--;
      to->resident++;
    }
  }
}

/* The shortest key that is greater than left and not greater than right. */
static uint32_t separator_length(const uint8_t *left, uint32_t left_length, const uint8_t *right,
                                 uint32_t right_length) {
  uint32_t i = 0;
  while (i < left_length && i < right_length && left[i] == right[i])
    i++;
  return i < right_length ? i + 1 : right_length;
}

static void grow_root(struct tree *tree) {
  static const uint8_t lowest[1] = {0};
  struct tree_node *root = take_spare(tree, tree->level + 1);

  insert_child(root, 0, lowest, sizeof lowest, tree->root);
  root->dirty = true;
  tree->dirty++;
  account_added(tree, root);
  tree->root = root;
  tree->level++;
}

static struct tree_node *split(struct tree *tree, struct tree_node *node, unsigned cut,
                               const uint8_t *first, uint32_t first_length);

/* Put a new node beside its left neighbour. */
static void insert_beside(struct tree *tree, struct tree_node *left, struct tree_node *right,
                          const uint8_t *key, uint32_t length) {
  if (!left->parent)
    grow_root(tree);
  struct tree_node *parent = left->parent;
  if (page_free(parent->page) < page_record_size(length, POINTER_SIZE)) {
    unsigned i = index_in_parent(left);
    unsigned cut = i + 1 == page_count(parent->page) ? i : middle_of(parent->page);
    uint32_t cut_length;
    if (cut == 0)
      cut = 1;
    const uint8_t *cut_key = page_key(parent->page, cut, &cut_length);
    split(tree, parent, cut, cut_key, cut_length);
    parent = left->parent;
  }
  insert_child(parent, index_in_parent(left) + 1, key, length, right);
}

/* Move the records from cut on to a new node at the right, which begins with the key `first`. */
static struct tree_node *split(struct tree *tree, struct tree_node *node, unsigned cut,
                               const uint8_t *first, uint32_t first_length) {
  uint8_t separator[MAX_KEY];
  uint32_t last_length, length = first_length;
  struct tree_node *right = take_spare(tree, page_level(node->page));

  if (page_level(node->page) == 0) {
    const uint8_t *last = page_key(node->page, cut - 1, &last_length);
    length = separator_length(last, last_length, first, first_length);
  }
  memcpy(separator, first, length);
  if (page_level(node->page) > 0)
    move_children(node, cut, page_count(node->page) - cut, right, 0);
  page_split(node->page, cut, right->page);
  right->dirty = true;
  tree->dirty++;
  account_added(tree, right);
  insert_beside(tree, node, right, separator, length);
  return right;
}

/* Make room at i of a leaf for a record; returns the leaf that it goes to, with *i corrected. */
static struct tree_node *make_room(struct tree *tree, struct tree_node *leaf, unsigned *i,
                                   const struct key *key) {
  unsigned count = page_count(leaf->page);

  /* Keys mostly come in order: then the old leaf stays full. */
  if (*i == count) {
    *i = 0;
    return split(tree, leaf, count, key->bytes, key->length);
  }
  unsigned cut = middle_of(leaf->page);
  uint32_t length;
  if (cut == 0)
    cut = 1;
  const uint8_t *first = page_key(leaf->page, cut, &length);
  struct tree_node *right = split(tree, leaf, cut, first, length);
  if (*i < cut)
    return leaf;
  /* The separator may be shorter than the first key: what is between them belongs to the right. */
  uint32_t separator_size;
  const uint8_t *separator = page_key(right->parent->page, index_in_parent(right), &separator_size);
  if (*i == cut && key_compare(key->bytes, key->length, separator, separator_size) < 0)
    return leaf;
  *i -= cut;
  return right;
}

static void put_record(struct tree *tree, const struct key *key, const uint8_t *value,
                       uint32_t length) {
  struct tree_node *leaf = leaf_in_memory(tree, key);
  bool equal;
  unsigned i = page_find(leaf->page, key->bytes, key->length, &equal);

  mark_dirty(tree, leaf);
  if (equal) {
    uint32_t old_length;
    uint8_t *old = page_value(leaf->page, i, &old_length);
    if (old_length == length) {
      if (length > 0)
        memcpy(old, value, length);
      return;
    }
    page_remove(leaf->page, i);
  }
  if (page_free(leaf->page) < page_record_size(key->length, length))
    leaf = make_room(tree, leaf, &i, key);
  page_insert(leaf->page, i, key->bytes, key->length, value, length);
}

/* A node leaves the tree; nothing points to it any more. */
static void forget_node(struct tree *tree, struct tree_node *node) {
  if (node->dirty)
    tree->dirty--;
  if (node->pointer.block != 0)
    tree->removed[tree->removed_count++] = node->pointer.block;
  list_remove(tree, node);
  tree->nodes--;
  give_spare(tree, node);
}

/* While the root has but one child, that is the root; if it has none, the tree is empty. */
static void shrink_root(struct tree *tree) {
  if (page_count(tree->root->page) == 0) {
    page_create(tree->root->page, 0, tree->uuid);
    tree->level = 0;
    return;
  }
  while (page_level(tree->root->page) > 0 && page_count(tree->root->page) == 1 &&
         tree->root->children[0]) {
    struct tree_node *root = tree->root;
    tree->root = root->children[0];
    tree->root->parent = NULL;
    tree->level--;
    forget_node(tree, root);
  }
}

static void join_neighbour(struct tree *tree, struct tree_node *node);

/* Take a child out of its parent, which may get empty or sparse itself. */
static void remove_child(struct tree *tree, struct tree_node *child) {
  struct tree_node *parent = child->parent;
  unsigned i = index_in_parent(child), count = page_count(parent->page);

  mark_dirty(tree, parent);
  page_remove(parent->page, i);
  for (; i + 1 < count; i++)
    parent->children[i] = parent->children[i + 1];
  parent->resident--;
  forget_node(tree, child);
  join_neighbour(tree, parent);
}

/* Move all of right, the neighbour of left, to left. */
static void join(struct tree *tree, struct tree_node *left, struct tree_node *right) {
  unsigned at = page_count(left->page), count = page_count(right->page);

  mark_dirty(tree, left);
  for (unsigned i = 0; i < count; i++) {
    uint32_t key_length, value_length;
    const uint8_t *key = page_key(right->page, i, &key_length);
    const uint8_t *value = page_value(right->page, i, &value_length);
    if (i == 0 && page_level(right->page) > 0)
      /* The first key of an inner node need not be a bound: the one above it is. */
      key = page_key(right->parent->page, index_in_parent(right), &key_length);
    page_insert(left->page, at + i, key, key_length, value, value_length);
  }
  if (page_level(right->page) > 0)
    move_children(right, 0, count, left, at);
  remove_child(tree, right);
}

static bool can_join(const struct tree_node *left, const struct tree_node *right) {
  return left && right && page_used(left->page) + page_used(right->page) + 2 * MAX_KEY <= JOINED;
}

/* A node that has become sparse joins a neighbour that is in memory; an empty one just goes. */
static void join_neighbour(struct tree *tree, struct tree_node *node) {
  struct tree_node *parent = node->parent;

  if (!parent) {
    shrink_root(tree);
    return;
  }
  if (page_count(node->page) == 0) {
    remove_child(tree, node);
    return;
  }
  if (page_used(node->page) >= SPARSE)
    return;
  unsigned i = index_in_parent(node);
  struct tree_node *left = i > 0 ? parent->children[i - 1] : NULL;
  struct tree_node *right = i + 1 < page_count(parent->page) ? parent->children[i + 1] : NULL;
  if (can_join(left, node))
    join(tree, left, node);
  else if (can_join(node, right))
    join(tree, node, right);
}

static void remove_record(struct tree *tree, const struct key *key) {
  struct tree_node *leaf = leaf_in_memory(tree, key);
  bool equal = false;
  unsigned i = leaf ? page_find(leaf->page, key->bytes, key->length, &equal) : 0;

  if (!equal)
    return;
  mark_dirty(tree, leaf);
  page_remove(leaf->page, i);
  join_neighbour(tree, leaf);
}

/* All that is put comes first: it goes to the leaves that were prepared, which removing may take
 * away. */
void tree_apply(struct tree *tree, const struct tree_batch *batch) {
  struct key key;

  pthread_rwlock_wrlock(&tree->lock);
  for (size_t i = 0; i < batch->count; i++) {
    const struct tree_edit *edit = &batch->edits[i];
    if (edit->remove || edit->superseded)
      continue;
    edit_key(batch, edit, &key);
    put_record(tree, &key, batch->bytes + edit->offset + edit->key_length, edit->value_length);
  }
  for (size_t i = 0; i < batch->count; i++) {
    const struct tree_edit *edit = &batch->edits[i];
    if (!edit->remove || edit->superseded)
      continue;
    edit_key(batch, edit, &key);
    remove_record(tree, &key);
  }
  pthread_rwlock_unlock(&tree->lock);
}

/* --------------------------------------------------------------------- writing out */

struct write_out {
  struct tree *tree;
  uint64_t generation;
  const uint64_t *quads;
  uint8_t *buffer;
  size_t next;
};

static void write_out_node(struct write_out *out, struct tree_node *node) {
  struct tree *tree = out->tree;

  if (page_level(node->page) > 0)
    for (unsigned i = 0; i < page_count(node->page); i++) {
      struct tree_node *child = node->children[i];
      uint32_t length;
      if (child && child->dirty) {
        write_out_node(out, child);
        store_pointer(page_value(node->page, i, &length), child->pointer);
      }
    }
  uint64_t block = out->quads[out->next] * QUAD_BLOCKS;
  uint8_t *copy = out->buffer + out->next * NODE_SIZE;
  out->next++;
  store64(node->page + 8, out->generation);
  store64(node->page + 16, block);
  page_compact(node->page, copy);
  node->pointer = (struct pointer){block, out->generation, checksum(copy, NODE_SIZE)};
  node->dirty = false;
  tree->dirty--;
}

static void collect_replaced(struct tree *tree, struct tree_node *node) {
  if (page_level(node->page) > 0)
    for (unsigned i = 0; i < page_count(node->page); i++)
      if (node->children[i] && node->children[i]->dirty)
        collect_replaced(tree, node->children[i]);
  if (node->pointer.block != 0)
    tree->removed[tree->removed_count++] = node->pointer.block;
}

void tree_collect_replaced(struct tree *tree) {
  if (tree->root->dirty)
    collect_replaced(tree, tree->root);
}

struct pointer tree_write_out(struct tree *tree, uint64_t generation, const uint64_t *quads,
                              uint8_t *buffer) {
  struct write_out out = {tree, generation, quads, buffer, 0};

  pthread_rwlock_wrlock(&tree->lock);
  if (tree->root->dirty)
    write_out_node(&out, tree->root);
  struct pointer root = tree->root->pointer;
  pthread_rwlock_unlock(&tree->lock);
  return root;
}

void tree_set_written(struct tree *tree, uint64_t generation) {
  pthread_rwlock_wrlock(&tree->lock);
  tree->written = generation;
  pthread_rwlock_unlock(&tree->lock);
}

/* ------------------------------------------------------------------------ trimming */

bool tree_over_limit(const struct tree *tree) {
  return tree->nodes * sizeof(struct tree_node) > tree->cache_limit;
}

static bool can_drop(const struct tree *tree, const struct tree_node *node) {
  return node->parent && !node->dirty && node->resident == 0 &&
         node->pointer.generation <= tree->written;
}

void tree_trim(struct tree *tree) {
  pthread_rwlock_wrlock(&tree->lock);
  uint64_t looks = tree->nodes < 256 ? tree->nodes : 256;
  while (looks-- > 0 && tree_over_limit(tree)) {
    struct tree_node *node = tree->oldest;
    list_remove(tree, node);
    if (can_drop(tree, node) && !atomic_exchange(&node->used, false)) {
      node->parent->children[index_in_parent(node)] = NULL;
      node->parent->resident--;
      tree->nodes--;
      node_free(node);
    } else {
      list_add(tree, node);
    }
  }
  pthread_rwlock_unlock(&tree->lock);
}

/* ----------------------------------------------------------------- opening, closing */

static int initialize(struct tree *tree, struct casefs_device *device, const uint8_t uuid[16],
                      uint64_t blocks, uint64_t cache_limit) {
  *tree = (struct tree){
      .device = device, .blocks = blocks, .cache_limit = cache_limit ? cache_limit : 64u << 20};
  memcpy(tree->uuid, uuid, 16);
  if (pthread_rwlock_init(&tree->lock, NULL) != 0)
    return -ENOMEM;
  pthread_mutex_init(&tree->list_lock, NULL);
  return 0;
}

int tree_create(struct tree *tree, struct casefs_device *device, const uint8_t uuid[16],
                uint64_t blocks, uint64_t cache_limit) {
  int r = initialize(tree, device, uuid, blocks, cache_limit);
  if (r == 0)
    r = reserve_spares(tree, 1, 0);
  if (r < 0)
    return r;
  tree->root = take_spare(tree, 0);
  account_added(tree, tree->root);
  mark_dirty(tree, tree->root);
  return 0;
}

int tree_open(struct tree *tree, struct casefs_device *device, const struct superblock *superblock,
              uint64_t cache_limit) {
  int r = initialize(tree, device, superblock->uuid, superblock->blocks, cache_limit);
  if (r < 0)
    return r;
  tree->level = superblock->root_level;
  tree->written = superblock->generation;
  r = fetch(tree, superblock->root, tree->level, &tree->root);
  if (r == 0)
    account_added(tree, tree->root);
  return r;
}

void tree_close(struct tree *tree) {
  while (tree->newest) {
    struct tree_node *node = tree->newest;
    list_remove(tree, node);
    node_free(node);
  }
  while (tree->spare) {
    struct tree_node *node = tree->spare;
    tree->spare = node->parent;
    node_free(node);
  }
  while (tree->spare_arrays_count > 0)
    free(tree->spare_arrays[--tree->spare_arrays_count]);
  free(tree->spare_arrays);
  free(tree->removed);
  pthread_rwlock_destroy(&tree->lock);
  pthread_mutex_destroy(&tree->list_lock);
}
