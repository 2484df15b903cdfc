/* SPDX-License-Identifier: BSD-3-Clause */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tree-batch.h"
#include "tree-node.h"

#define SPARSE (PAGE_CAPACITY / 4)     /* a node that uses less looks for one to join */
#define JOINED (PAGE_CAPACITY * 3 / 4) /* and the two together may use this much */

/* ------------------------------------------------------------------- preparing */

/* Nodes to take without fail, and that many arrays of children for inner ones. */
int tree_reserve_spares(struct tree *tree, uint64_t nodes, uint64_t inner) {
  while (tree->spares < nodes) {
    struct tree_node *node = tree_node_allocate();
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
    void *array = (void *)tree_children_allocate();
    if (!array)
      return -ENOMEM;
    tree->spare_arrays[tree->spare_arrays_count++] = array;
  }
  return 0;
}

struct tree_node *tree_take_spare(struct tree *tree, unsigned level) {
  struct tree_node *node = tree->spare;
  tree->spare = node->parent;
  tree->spares--;
  if (level > 0)
    node->children = tree->spare_arrays[--tree->spare_arrays_count];
  page_create(node->page, level, tree->uuid);
  tree_node_reset(node);
  return node;
}

/* Keep a few nodes for the next batch. */
static void give_spare(struct tree *tree, struct tree_node *node) {
  if (tree->spares >= 64) {
    tree_node_free(node);
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
  uint64_t removed;  /* bytes */
  uint64_t puts;     /* records */
};

/* What a batch may need. */
struct batch_needs {
  uint64_t quads;
  uint64_t leaves, inner; /* memory for them */
};

static uint64_t clean_from(const struct tree_node *node) {
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
  /* A record may split the leaf before it and then the end of what is left. */
  *leaves = 2 + needs->inserted / (PAGE_CAPACITY / 4);
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
  bool has_next = tree_next_leaf_key(leaf, &next), has_own = tree_own_leaf_key(leaf, &own);
  struct tree_node *other;
  int r = has_next ? tree_find_leaf(tree, &next, tree_child_of_key, &other) : 0;
  if (r == 0 && has_own)
    r = tree_find_leaf(tree, &own, tree_child_before_key, &other);
  return r;
}

/* Add up what a leaf's edits need; `before` is the leaf before it in the batch, or NULL. */
static int finish_leaf(struct tree *tree, const struct leaf_needs *needs,
                       const struct tree_node *before, struct batch_needs *total) {
  const struct tree_node *leaf = needs->leaf;
  if (!leaf)
    return 0;
  uint64_t leaves, inner;
  bool same_parent = before && before->parent == leaf->parent;
  added_by_splits(needs, &leaves, &inner);
  /* No record can take more than two, whatever the sizes are. */
  total->leaves += leaves > 0 ? leaves + 2 * needs->puts : 0;
  total->inner += inner;
  total->quads += (same_parent ? !leaf->dirty : clean_from(leaf)) + leaves + inner;
  if (needs->removed == 0 || !leaf->parent || page_used(leaf->page) >= SPARSE + needs->removed)
    return 0;
  /* Neighbours that are joined: of the leaf, and on the levels between it and the root. */
  total->quads += 1 + (same_parent ? 0 : tree->level - 1);
  return fetch_neighbours(tree, leaf);
}

/* What removing a key frees. */
static uint32_t record_size(const struct tree_node *leaf, const struct key *key) {
  uint32_t key_length, value_length;
  bool equal;
  unsigned i = tree_node_find(leaf, key, &equal);
  if (!equal)
    return 0;
  page_key(leaf->page, i, &key_length);
  page_value(leaf->page, i, &value_length);
  return page_record_size(key_length, value_length);
}

static int compare_edits(const void *a, const void *b, void *bytes) {
  const struct tree_edit *x = a, *y = b;
  return key_compare((uint8_t *)bytes + x->offset, x->key_length, (uint8_t *)bytes + y->offset,
                     y->key_length);
}

/* By key, so that all edits of a leaf stand together.  Of those of one key all but the last are
 * superseded: their order does not matter.  Most batches are short, and nearly in order. */
static void sort_edits(struct tree_batch *batch) {
  if (batch->count > 16) {
    qsort_r(batch->edits, batch->count, sizeof *batch->edits, compare_edits, batch->bytes);
    return;
  }
  for (size_t i = 1; i < batch->count; i++) {
    struct tree_edit edit = batch->edits[i];
    size_t at = i;
    for (; at > 0 && compare_edits(&batch->edits[at - 1], &edit, batch->bytes) > 0; at--)
      batch->edits[at] = batch->edits[at - 1];
    batch->edits[at] = edit;
  }
}

int tree_prepare(struct tree *tree, struct tree_batch *batch, uint64_t *quads) {
  struct leaf_needs needs = {0};
  struct batch_needs total = {0};
  const struct tree_node *before = NULL;
  int r = batch->error;

  sort_edits(batch);
  pthread_rwlock_rdlock(&tree->lock);
  for (size_t i = 0; r == 0 && i < batch->count; i++) {
    const struct tree_edit *edit = &batch->edits[i];
    struct tree_node *leaf;
    struct key key;
    batch_edit_key(batch, edit, &key);
    r = tree_find_leaf(tree, &key, tree_child_of_key, &leaf);
    if (r < 0)
      break;
    if (leaf != needs.leaf) {
      r = finish_leaf(tree, &needs, before, &total);
      before = needs.leaf;
      needs = (struct leaf_needs){.leaf = leaf};
    }
    if (edit->remove)
      needs.removed += record_size(leaf, &key);
    else
      needs.puts++, needs.inserted += page_record_size(edit->key_length, edit->value_length);
  }
  if (r == 0)
    r = finish_leaf(tree, &needs, before, &total);
  pthread_rwlock_unlock(&tree->lock);
  if (r == 0)
    r = tree_reserve_spares(tree, total.leaves + total.inner, total.inner);
  if (r == 0)
    r = tree_reserve_removed(tree, batch->count * (2 * tree->level + 4));
  *quads = total.quads;
  return r;
}

/* --------------------------------------------------------------------- applying
 * Under lock, alone; all nodes concerned are in memory. */

void tree_mark_dirty(struct tree *tree, struct tree_node *node) {
  for (; node && !node->dirty; node = node->parent) {
    tree_list_remove(tree, node);
    node->dirty = true;
    tree->dirty++;
  }
}

/* NULL: the leaf was not prepared, which is so only for a key that has gone with its leaf. */
static struct tree_node *leaf_in_memory(struct tree *tree, const struct key *key) {
  struct tree_node *node = tree->root;
  while (node && page_level(node->page) > 0)
    node = node->children[tree_child_of_key(node, key)];
  return node;
}

static void insert_child(struct tree_node *parent, unsigned i, const uint8_t *key, uint32_t length,
                         struct tree_node *child) {
  uint8_t none[POINTER_SIZE] = {0};
  unsigned count = page_count(parent->page);

  tree_node_insert(parent, i, key, length, none, sizeof none);
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
  struct tree_node *root = tree_take_spare(tree, tree->level + 1);

  insert_child(root, 0, lowest, sizeof lowest, tree->root);
  tree_add_dirty(tree, root);
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
    unsigned i = tree_index_in_parent(left);
    unsigned cut = i + 1 == page_count(parent->page) ? i : middle_of(parent->page);
    uint32_t cut_length;
    if (cut == 0)
      cut = 1;
    const uint8_t *cut_key = page_key(parent->page, cut, &cut_length);
    split(tree, parent, cut, cut_key, cut_length);
    parent = left->parent;
  }
  insert_child(parent, tree_index_in_parent(left) + 1, key, length, right);
}

/* Move the records from cut on to a new node at the right, which begins with the key `first`. */
static struct tree_node *split(struct tree *tree, struct tree_node *node, unsigned cut,
                               const uint8_t *first, uint32_t first_length) {
  uint8_t separator[MAX_KEY];
  uint32_t last_length, length = first_length;
  struct tree_node *right = tree_take_spare(tree, page_level(node->page));

  if (page_level(node->page) == 0) {
    const uint8_t *last = page_key(node->page, cut - 1, &last_length);
    length = separator_length(last, last_length, first, first_length);
  }
  memcpy(separator, first, length);
  if (page_level(node->page) > 0)
    move_children(node, cut, page_count(node->page) - cut, right, 0);
  tree_node_split(node, cut, right);
  tree_add_dirty(tree, right);
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
  /* Also when they come in order between others: what follows them goes to the right, and the left
   * fills up. */
  unsigned cut = *i > 0 && *i == leaf->after_last ? *i : middle_of(leaf->page);
  uint32_t length;
  if (cut == 0)
    cut = 1;
  const uint8_t *first = page_key(leaf->page, cut, &length);
  struct tree_node *right = split(tree, leaf, cut, first, length);
  if (*i < cut)
    return leaf;
  /* The separator may be shorter than the first key: what is between them belongs to the right. */
  uint32_t separator_size;
  const uint8_t *separator =
      page_key(right->parent->page, tree_index_in_parent(right), &separator_size);
  if (*i == cut && key_compare(key->bytes, key->length, separator, separator_size) < 0)
    return leaf;
  *i -= cut;
  return right;
}

static void put_record(struct tree *tree, const struct key *key, const uint8_t *value,
                       uint32_t length) {
  struct tree_node *leaf = leaf_in_memory(tree, key);
  bool equal;
  unsigned i = tree_node_find(leaf, key, &equal);

  tree_mark_dirty(tree, leaf);
  if (equal) {
    uint32_t old_length;
    uint8_t *old = page_value(leaf->page, i, &old_length);
    if (old_length == length) {
      if (length > 0)
        memcpy(old, value, length);
      return;
    }
    tree_node_remove(leaf, i);
  }
  while (page_free(leaf->page) < page_record_size(key->length, length))
    leaf = make_room(tree, leaf, &i, key);
  tree_node_insert(leaf, i, key->bytes, key->length, value, length);
}

/* A node leaves the tree; nothing points to it any more. */
static void forget_node(struct tree *tree, struct tree_node *node) {
  if (node->dirty)
    tree->dirty--;
  else
    tree_list_remove(tree, node);
  if (node->pointer.block != 0)
    tree->removed[tree->removed_count++] = node->pointer.block;
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
  unsigned i = tree_index_in_parent(child), count = page_count(parent->page);

  tree_mark_dirty(tree, parent);
  tree_node_remove(parent, i);
  for (; i + 1 < count; i++)
    parent->children[i] = parent->children[i + 1];
  parent->resident--;
  forget_node(tree, child);
  join_neighbour(tree, parent);
}

/* Move all of right, the neighbour of left, to left. */
static void join(struct tree *tree, struct tree_node *left, struct tree_node *right) {
  unsigned at = page_count(left->page), count = page_count(right->page);

  tree_mark_dirty(tree, left);
  for (unsigned i = 0; i < count; i++) {
    uint32_t key_length, value_length;
    const uint8_t *key = page_key(right->page, i, &key_length);
    const uint8_t *value = page_value(right->page, i, &value_length);
    if (i == 0 && page_level(right->page) > 0)
      /* The first key of an inner node need not be a bound: the one above it is. */
      key = page_key(right->parent->page, tree_index_in_parent(right), &key_length);
    tree_node_insert(left, at + i, key, key_length, value, value_length);
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
  unsigned i = tree_index_in_parent(node);
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
  unsigned i = leaf ? tree_node_find(leaf, key, &equal) : 0;

  if (!equal)
    return;
  tree_mark_dirty(tree, leaf);
  tree_node_remove(leaf, i);
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
    batch_edit_key(batch, edit, &key);
    put_record(tree, &key, batch->bytes + edit->offset + edit->key_length, edit->value_length);
  }
  for (size_t i = 0; i < batch->count; i++) {
    const struct tree_edit *edit = &batch->edits[i];
    if (!edit->remove || edit->superseded)
      continue;
    batch_edit_key(batch, edit, &key);
    remove_record(tree, &key);
  }
  pthread_rwlock_unlock(&tree->lock);
}
