/* SPDX-License-Identifier: BSD-3-Clause */

#include <errno.h>
#include <string.h>

#include "tree-node.h"

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
  int r = tree_find_leaf(tree, key, tree_child_of_key, &leaf);
  if (r == 0) {
    unsigned i = tree_node_find(leaf, key, &equal);
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
bool tree_next_leaf_key(const struct tree_node *node, struct key *key) {
  for (; node->parent; node = node->parent) {
    unsigned i = tree_index_in_parent(node) + 1;
    if (i < page_count(node->parent->page)) {
      copy_key(key, node->parent->page, i);
      return true;
    }
  }
  return false;
}

/* The key where a leaf begins; false for the first. */
bool tree_own_leaf_key(const struct tree_node *node, struct key *key) {
  for (; node->parent; node = node->parent) {
    unsigned i = tree_index_in_parent(node);
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
    r = tree_find_leaf(tree, at, tree_child_of_key, &leaf);
    if (r < 0)
      break;
    bool equal;
    unsigned i = tree_node_find(leaf, at, &equal);
    if (i < page_count(leaf->page)) {
      copy_out(leaf->page, i, record);
      break;
    }
    struct key next;
    if (!tree_next_leaf_key(leaf, &next) ||
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
    r = tree_find_leaf(tree, &before, tree_child_before_key, &leaf);
    if (r < 0)
      break;
    bool equal;
    unsigned i = tree_node_find(leaf, &before, &equal);
    if (i > 0) {
      copy_out(leaf->page, i - 1, record);
      break;
    }
    struct key own;
    if (!tree_own_leaf_key(leaf, &own) ||
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
