/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Inside the tree: its nodes in memory, and the way down to them.
 */

#ifndef CASEFS_TREE_NODE_H
#define CASEFS_TREE_NODE_H

#include <stdatomic.h>

#include "page.h"
#include "tree.h"

#define MAX_CHILDREN (PAGE_CAPACITY / (2 + 4 + 1 + POINTER_SIZE) + 1)
#define MAX_HINTS 512u
#define MAX_PREFIX 64u

struct tree_node {
  struct tree_node *parent;
  struct tree_node *_Atomic *children; /* of an inner node, by record; NULL: not in memory */
  struct pointer pointer;              /* where it was last written; block 0: nowhere */
  struct tree_node *newer, *older;
  unsigned resident; /* children in memory */
  bool dirty;
  atomic_bool used; /* since the trimming hand last came by */

  unsigned after_last; /* where a record would go that follows the last one put between others */

  /* What speeds finding up: the bytes that all keys begin with, and for each key the four that
   * follow, so that most of a search stays in a few cache lines.  An inner node's first key, which
   * means nothing, is left out. */
  bool hinted;
  uint8_t prefix_length;
  uint8_t prefix[MAX_PREFIX];
  uint32_t hints[MAX_HINTS];

  _Alignas(64) uint8_t page[NODE_SIZE];
};

static inline unsigned tree_node_level(const struct tree_node *node) {
  return page_level(node->page);
}

static inline unsigned tree_node_count(const struct tree_node *node) {
  return page_count(node->page);
}

/* Memory, of which page and children are not set; an array for children. */
struct tree_node *tree_node_allocate(void);
struct tree_node *_Atomic *tree_children_allocate(void);
void tree_node_free(struct tree_node *node);
/* Set all but the page from the page. */
void tree_node_reset(struct tree_node *node);

/* The first record whose key is not less; *equal tells whether it is the key. */
unsigned tree_node_find(const struct tree_node *node, const struct key *key, bool *equal);
/* As page_insert, page_remove and page_split, with the hints. */
void tree_node_insert(struct tree_node *node, unsigned i, const uint8_t *key, uint32_t key_length,
                      const uint8_t *value, uint32_t value_length);
void tree_node_remove(struct tree_node *node, unsigned i);
void tree_node_split(struct tree_node *node, unsigned i, struct tree_node *to);

/* The list of clean nodes, by when the trimming hand came by. */
void tree_list_add(struct tree *tree, struct tree_node *node);
void tree_list_remove(struct tree *tree, struct tree_node *node);
/* A node is in memory now: a clean one, or a dirty one. */
void tree_add_clean(struct tree *tree, struct tree_node *node);
void tree_add_dirty(struct tree *tree, struct tree_node *node);

/* Read a node of the device.  -EIO, -EUCLEAN, -ENOMEM. */
int tree_fetch(struct tree *tree, struct pointer pointer, unsigned level,
               struct tree_node **fetched);

/* The index of a node in its parent. */
unsigned tree_index_in_parent(const struct tree_node *node);

/* Which way to go in an inner node: to where a key is, or to the last record before it. */
typedef unsigned tree_choose_child(const struct tree_node *node, const struct key *key);
unsigned tree_child_of_key(const struct tree_node *node, const struct key *key);
unsigned tree_child_before_key(const struct tree_node *node, const struct key *key);

/* Enter: lock held for reading.  Leave: the same; it was let go while nodes were fetched.  A node
 * that cannot be read may have been freed meanwhile: only if the tree still wants it is it an
 * error. */
int tree_find_leaf(struct tree *tree, const struct key *key, tree_choose_child *choose,
                   struct tree_node **leaf);

/* The key where the next leaf begins, or this one; false for the last, or the first. */
bool tree_next_leaf_key(const struct tree_node *node, struct key *key);
bool tree_own_leaf_key(const struct tree_node *node, struct key *key);

/* A node, and all above it, differ from the device. */
void tree_mark_dirty(struct tree *tree, struct tree_node *node);

/* Nodes to take without fail, and that many arrays of children for inner ones. */
int tree_reserve_spares(struct tree *tree, uint64_t nodes, uint64_t inner);
struct tree_node *tree_take_spare(struct tree *tree, unsigned level);

#endif
