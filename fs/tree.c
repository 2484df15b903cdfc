/* SPDX-License-Identifier: BSD-3-Clause */

#include "tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tree-node.h"

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
  tree_list_add(tree, node);
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

uint64_t tree_bytes(const struct tree *tree) {
  return tree->nodes * sizeof(struct tree_node);
}

bool tree_over_limit(const struct tree *tree) {
  uint64_t nodes = tree->nodes, dirty = tree->dirty;
  return nodes > dirty && (nodes - dirty) * sizeof(struct tree_node) > tree->cache_limit;
}

static bool can_drop(const struct tree *tree, const struct tree_node *node) {
  return node->parent && !node->dirty && node->resident == 0 &&
         node->pointer.generation <= tree->written;
}

void tree_trim(struct tree *tree) {
  pthread_rwlock_wrlock(&tree->lock);
  for (unsigned looks = 256; looks > 0 && tree->oldest && tree_over_limit(tree); looks--) {
    struct tree_node *node = tree->oldest;
    tree_list_remove(tree, node);
    if (can_drop(tree, node) && !atomic_exchange(&node->used, false)) {
      node->parent->children[tree_index_in_parent(node)] = NULL;
      node->parent->resident--;
      tree->nodes--;
      tree_node_free(node);
    } else {
      tree_list_add(tree, node);
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
    r = tree_reserve_spares(tree, 1, 0);
  if (r < 0)
    return r;
  tree->root = tree_take_spare(tree, 0);
  tree_add_dirty(tree, tree->root);
  return 0;
}

int tree_open(struct tree *tree, struct casefs_device *device, const struct superblock *superblock,
              uint64_t cache_limit) {
  int r = initialize(tree, device, superblock->uuid, superblock->blocks, cache_limit);
  if (r < 0)
    return r;
  tree->level = superblock->root_level;
  tree->written = superblock->generation;
  r = tree_fetch(tree, superblock->root, tree->level, &tree->root);
  if (r == 0)
    tree_add_clean(tree, tree->root);
  return r;
}

static void free_subtree(struct tree_node *node) {
  if (page_level(node->page) > 0)
    for (unsigned i = 0; i < page_count(node->page); i++)
      if (node->children[i])
        free_subtree(node->children[i]);
  tree_node_free(node);
}

void tree_close(struct tree *tree) {
  if (tree->root)
    free_subtree(tree->root);
  while (tree->spare) {
    struct tree_node *node = tree->spare;
    tree->spare = node->parent;
    tree_node_free(node);
  }
  while (tree->spare_arrays_count > 0)
    free(tree->spare_arrays[--tree->spare_arrays_count]);
  free(tree->spare_arrays);
  free(tree->removed);
  pthread_rwlock_destroy(&tree->lock);
  pthread_mutex_destroy(&tree->list_lock);
}
