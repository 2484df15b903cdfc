/* SPDX-License-Identifier: BSD-3-Clause */

#include "tree-node.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"

/* ------------------------------------------------------------------------ hints */

/* The first record that counts: an inner node's first key means nothing. */
static unsigned first_counted(const struct tree_node *node) {
  return tree_node_level(node) > 0;
}

/* Four bytes of a key from offset on, as a number that sorts as they do. */
static uint32_t hint_of(const uint8_t *key, uint32_t length, uint32_t offset) {
  uint8_t bytes[4] = {0};
  uint32_t have = length - offset;
  memcpy(bytes, key + offset, have < 4 ? have : 4);
  return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static uint32_t common_length(const uint8_t *a, uint32_t a_length, const uint8_t *b,
                              uint32_t b_length) {
  uint32_t most = a_length < b_length ? a_length : b_length, i = 0;
  if (most > MAX_PREFIX)
    most = MAX_PREFIX;
  while (i < most && a[i] == b[i])
    i++;
  return i;
}

/* Make all hints anew. */
static void make_hints(struct tree_node *node) {
  unsigned count = tree_node_count(node), first = first_counted(node);
  node->hinted = count > first && count <= MAX_HINTS;
  if (!node->hinted)
    return;
  uint32_t a_length, b_length;
  const uint8_t *a = page_key(node->page, first, &a_length);
  const uint8_t *b = page_key(node->page, count - 1, &b_length);
  node->prefix_length = (uint8_t)common_length(a, a_length, b, b_length);
  memcpy(node->prefix, a, node->prefix_length);
  for (unsigned i = first; i < count; i++) {
    uint32_t length;
    const uint8_t *key = page_key(node->page, i, &length);
    node->hints[i] = hint_of(key, length, node->prefix_length);
  }
}

/* As memcmp: how the key compares to all keys of the node, by their prefix; 0: look further. */
static int compare_prefix(const struct tree_node *node, const struct key *key) {
  uint32_t length = node->prefix_length;
  if (key->length >= length)
    return memcmp(key->bytes, node->prefix, length);
  int order = memcmp(key->bytes, node->prefix, key->length);
  return order ? order : -1;
}

unsigned tree_node_find(const struct tree_node *node, const struct key *key, bool *equal) {
  unsigned low = first_counted(node), high = tree_node_count(node);

  *equal = false;
  if (node->hinted) {
    int order = compare_prefix(node, key);
    if (order != 0)
      return order < 0 ? low : high;
  }
  uint32_t hint = node->hinted ? hint_of(key->bytes, key->length, node->prefix_length) : 0;
  while (low < high) {
    unsigned middle = (low + high) / 2;
    if (node->hinted && node->hints[middle] != hint) {
      if (node->hints[middle] < hint)
        low = middle + 1;
      else
        high = middle;
      continue;
    }
    uint32_t other_length;
    const uint8_t *other = page_key(node->page, middle, &other_length);
    int order = key_compare(other, other_length, key->bytes, key->length);
    if (order < 0)
      low = middle + 1;
    else
      high = middle;
    if (order == 0)
      *equal = true;
  }
  return low;
}

void tree_node_insert(struct tree_node *node, unsigned i, const uint8_t *key, uint32_t key_length,
                      const uint8_t *value, uint32_t value_length) {
  unsigned count = tree_node_count(node), length = node->prefix_length;
  bool fits = node->hinted && count < MAX_HINTS && i >= first_counted(node) &&
              key_length >= length && memcmp(key, node->prefix, length) == 0;

  page_insert(node->page, i, key, key_length, value, value_length);
  if (i < count)
    node->after_last = i + 1;
  if (!fits) {
    make_hints(node);
    return;
  }
  memmove(node->hints + i + 1, node->hints + i, (count - i) * sizeof *node->hints);
  node->hints[i] = hint_of(key, key_length, length);
}

void tree_node_remove(struct tree_node *node, unsigned i) {
  unsigned count = tree_node_count(node);
  page_remove(node->page, i);
  node->after_last = 0;
  if (node->hinted)
    memmove(node->hints + i, node->hints + i + 1, (count - i - 1) * sizeof *node->hints);
  else
    make_hints(node);
}

void tree_node_split(struct tree_node *node, unsigned i, struct tree_node *to) {
  page_split(node->page, i, to->page);
  node->after_last = to->after_last = 0;
  make_hints(node);
  make_hints(to);
}

/* ------------------------------------------------------------------------ nodes */

struct tree_node *_Atomic *tree_children_allocate(void) {
  return malloc(MAX_CHILDREN * sizeof(struct tree_node * _Atomic));
}

/* Its page is not set, nor its children. */
struct tree_node *tree_node_allocate(void) {
  struct tree_node *node = aligned_alloc(64, sizeof *node);
  if (node)
    node->children = NULL;
  return node;
}

/* Reset what is not in the page. */
void tree_node_reset(struct tree_node *node) {
  struct tree_node *_Atomic *children = node->children;
  node->parent = node->newer = node->older = NULL;
  node->children = children;
  node->pointer = (struct pointer){0};
  node->resident = 0;
  node->dirty = false;
  node->after_last = 0;
  atomic_init(&node->used, true);
  make_hints(node);
  if (page_level(node->page) > 0)
    for (unsigned i = 0; i < page_count(node->page); i++)
      atomic_init(&children[i], NULL);
}

void tree_node_free(struct tree_node *node) {
  free((void *)node->children);
  free(node);
}

void tree_list_add(struct tree *tree, struct tree_node *node) {
  node->newer = NULL;
  node->older = tree->newest;
  if (tree->newest)
    tree->newest->newer = node;
  else
    tree->oldest = node;
  tree->newest = node;
}

void tree_list_remove(struct tree *tree, struct tree_node *node) {
  *(node->newer ? &node->newer->older : &tree->newest) = node->older;
  *(node->older ? &node->older->newer : &tree->oldest) = node->newer;
}

void tree_add_clean(struct tree *tree, struct tree_node *node) {
  tree_list_add(tree, node);
  tree->nodes++;
}

void tree_add_dirty(struct tree *tree, struct tree_node *node) {
  node->dirty = true;
  tree->dirty++;
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

int tree_fetch(struct tree *tree, struct pointer pointer, unsigned level,
               struct tree_node **fetched) {
  struct tree_node *node = tree_node_allocate();
  if (!node)
    return -ENOMEM;
  int r = tree_read_page(tree->device, pointer, level, tree->uuid, tree->blocks, node->page);
  if (r == 0 && level > 0 && !(node->children = tree_children_allocate()))
    r = -ENOMEM;
  if (r < 0) {
    tree_node_free(node);
    return r;
  }
  tree_node_reset(node);
  node->pointer = pointer;
  *fetched = node;
  return 0;
}

unsigned tree_index_in_parent(const struct tree_node *node) {
  const struct tree_node *parent = node->parent;
  if (tree_node_count(node) > 0) {
    struct key first;
    const uint8_t *bytes = page_key(node->page, 0, &first.length);
    memcpy(first.bytes, bytes, first.length);
    unsigned i = tree_child_of_key(parent, &first);
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

unsigned tree_child_of_key(const struct tree_node *node, const struct key *key) {
  bool equal;
  unsigned i = tree_node_find(node, key, &equal);
  return equal || i == 0 ? i : i - 1;
}

unsigned tree_child_before_key(const struct tree_node *node, const struct key *key) {
  bool equal;
  unsigned i = tree_node_find(node, key, &equal);
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
    tree_add_clean(tree, child);
    parent->children[i] = child;
  }
  pthread_mutex_unlock(&tree->list_lock);
  return child;
}

/* Go down from the root, under lock.  Where a child is not in memory: it is *fetched, or NULL is
 * returned with *missing and *level telling what to fetch. */
static struct tree_node *descend(struct tree *tree, const struct key *key,
                                 tree_choose_child *choose, struct tree_node **fetched,
                                 struct pointer *missing, unsigned *level) {
  struct tree_node *node = tree->root;

  while (page_level(node->page) > 0) {
    unsigned i = choose(node, key);
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
int tree_find_leaf(struct tree *tree, const struct key *key, tree_choose_child *choose,
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
      tree_node_free(fetched);
    fetched = NULL;
    r = tree_fetch(tree, missing, level, &fetched);
    failed = missing;
    pthread_rwlock_rdlock(&tree->lock);
  }
  if (fetched)
    tree_node_free(fetched);
  return 0;
}
