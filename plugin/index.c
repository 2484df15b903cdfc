/* SPDX-License-Identifier: BSD-3-Clause */

#include "index.h"

#include "store.h"

#include <errno.h>
#include <stddef.h>

/* ------------------------------------------------------------ pages of nodes */

/* The first node's place in each page of nodes.  The members are atomic only
 * because a late reader may still look at the memory as a sector (word.h). */
struct node_page {
  _Atomic uint64_t free[2]; /* bit set: the node is free; node 0 is this header */
  _Atomic(struct node_page *) previous;
  _Atomic(struct node_page *) next;
};

_Static_assert(sizeof(struct node) == 512, "nodes are 512 bytes");
_Static_assert(sizeof(struct node_page) <= sizeof(struct node), "the header fits a node");
_Static_assert(SECTORS_MAX_SECTOR_SIZE / sizeof(struct node) <= 128, "the bits of node_page.free");

#define FLAGS_MASK ((uintptr_t)(sizeof(struct node) - 1)) /* low bits of a node's address */

void node_pool_init(struct node_pool *pool) {
  pthread_mutex_init(&pool->lock, NULL);
  pthread_mutex_init(&pool->settling, NULL);
  pool->partial = NULL;
  atomic_init(&pool->pages, 0);
  atomic_init(&pool->retired, 0);
  atomic_init(&pool->settled, 0);
}

void node_pool_destroy(struct node_pool *pool) {
  pthread_mutex_destroy(&pool->lock);
  pthread_mutex_destroy(&pool->settling);
}

static void link_page(struct node_pool *pool, struct node_page *page) {
  atomic_store(&page->previous, NULL);
  atomic_store(&page->next, pool->partial);
  if (pool->partial)
    atomic_store(&pool->partial->previous, page);
  pool->partial = page;
}

static void unlink_page(struct node_pool *pool, struct node_page *page) {
  struct node_page *previous = page->previous, *next = page->next;
  if (previous)
    atomic_store(&previous->next, next);
  else
    pool->partial = next;
  if (next)
    atomic_store(&next->previous, previous);
}

static bool page_is_full(const struct node_page *page) {
  return (page->free[0] | page->free[1]) == 0;
}

/* A page of which every node but the header is free, or NULL. */
static struct node_page *new_page(sectors_store *store) {
  uint32_t slot;
  if (store_reserve(store, 1) != 0)
    return NULL;
  if (store_take(store, 1, &slot) < 0) {
    store_unreserve(store, 1);
    return NULL;
  }
  struct node_page *page = arena_address(&store->arena, slot);
  unsigned nodes = (1u << store->sector_shift) / sizeof(struct node);
  for (unsigned half = 0; half < 2; half++) {
    uint64_t bits = 0;
    for (unsigned i = half * 64; i < nodes && i < half * 64 + 64; i++)
      bits |= UINT64_C(1) << i % 64;
    atomic_store(&page->free[half], half == 0 ? bits & ~UINT64_C(1) : bits);
  }
  atomic_fetch_add(&store->nodes.pages, 1);
  return page;
}

static void free_page(sectors_store *store, struct node_page *page) {
  atomic_fetch_sub(&store->nodes.pages, 1);
  store_give(store, arena_slot(&store->arena, page), 1);
}

static bool page_is_unused(const sectors_store *store, const struct node_page *page) {
  unsigned nodes = (1u << store->sector_shift) / sizeof(struct node);
  return (unsigned)__builtin_popcountll(page->free[0]) +
             (unsigned)__builtin_popcountll(page->free[1]) ==
         nodes - 1;
}

/* A node of empty words, or NULL: the limit is reached. */
static struct node *new_node(sectors_store *store) {
  struct node_pool *pool = &store->nodes;
  pthread_mutex_lock(&pool->lock);
  while (!pool->partial) {
    pthread_mutex_unlock(&pool->lock); /* nobody is to wait for a page fault */
    struct node_page *fresh = new_page(store);
    pthread_mutex_lock(&pool->lock);
    if (fresh) {
      link_page(pool, fresh);
    } else if (!pool->partial) { /* else another thread took the last page, or freed nodes */
      pthread_mutex_unlock(&pool->lock);
      return NULL;
    }
  }
  struct node_page *page = pool->partial;
  unsigned half = page->free[0] == 0;
  unsigned i = half * 64 + (unsigned)__builtin_ctzll(page->free[half]);
  atomic_fetch_and(&page->free[half], ~(UINT64_C(1) << i % 64));
  if (page_is_full(page))
    unlink_page(pool, page);
  pthread_mutex_unlock(&pool->lock);

  struct node *node = (struct node *)page + i;
  for (i = 0; i < NODE_WORDS; i++)
    atomic_store_explicit(&node->words[i], 0, memory_order_relaxed);
  return node;
}

static void free_node(sectors_store *store, struct node *node) {
  struct node_pool *pool = &store->nodes;
  uintptr_t page_mask = ((uintptr_t)1 << store->sector_shift) - 1;
  struct node_page *page = (struct node_page *)((uintptr_t)node & ~page_mask);
  unsigned i = (unsigned)(node - (struct node *)page);
  pthread_mutex_lock(&pool->lock);
  if (page_is_full(page))
    link_page(pool, page);
  atomic_fetch_or(&page->free[i / 64], UINT64_C(1) << i % 64);
  bool unused = page_is_unused(store, page);
  if (unused)
    unlink_page(pool, page);
  pthread_mutex_unlock(&pool->lock);
  if (unused)
    free_page(store, page);
}

/* Hand a frozen, unlinked node over to node_pool_settle.  Requests may still
 * read it: its first word stays frozen, with the link in its upper bits. */
static void retire_node(sectors_store *store, struct node *node) {
  _Atomic uintptr_t *retired = &store->nodes.retired;
  uintptr_t head = atomic_load(retired);
  do
    atomic_store(&node->words[0], head | WORD_FROZEN);
  while (!atomic_compare_exchange_weak(retired, &head, (uintptr_t)node));
  store_freed(store);
}

bool node_pool_settle(sectors_store *store) {
  struct node_pool *pool = &store->nodes;
  uint64_t before = atomic_load(&pool->settled);
  pthread_mutex_lock(&pool->settling);
  uintptr_t next = atomic_exchange(&pool->retired, 0);
  if (next != 0)
    epoch_wait(&store->epoch);
  while (next != 0) {
    struct node *node = (struct node *)next;
    next = (uintptr_t)atomic_load(&node->words[0]) & ~FLAGS_MASK;
    free_node(store, node);
    atomic_fetch_add(&pool->settled, 1);
  }
  pthread_mutex_unlock(&pool->settling);
  return atomic_load(&pool->settled) != before;
}

/* ---------------------------------------------------------------- the tree */

static struct node *root_node(uintptr_t root) {
  return (struct node *)(root & ~FLAGS_MASK);
}

static unsigned root_height(uintptr_t root) {
  return (unsigned)(root & FLAGS_MASK);
}

/* Whether a tree of that height has a place for the sector.  Heights end at 8,
 * which is enough for 2^63 bytes of the smallest sectors. */
static bool covers(unsigned height, uint64_t sector) {
  return sector >> NODE_SHIFT * (height + 1) == 0;
}

static unsigned place(uint64_t sector, unsigned height) {
  return (unsigned)(sector >> NODE_SHIFT * height) & (NODE_WORDS - 1);
}

/* What a directory's word points to, or NULL. */
static struct node *child(const struct node *node, unsigned i) {
  uint64_t word = atomic_load_explicit(&node->words[i], memory_order_acquire);
  return word & WORD_FROZEN ? NULL : (struct node *)(uintptr_t)word;
}

struct node *index_find(const struct index *index, uint64_t sector) {
  uintptr_t root = atomic_load_explicit(&index->root, memory_order_acquire);
  struct node *node = root_node(root);
  unsigned height = root_height(root);
  if (!covers(height, sector))
    return NULL;
  for (; node && height > 0; height--)
    node = child(node, place(sector, height));
  return node;
}

struct node *index_next(const struct index *index, uint64_t *sector, uint64_t last) {
  uintptr_t root = atomic_load_explicit(&index->root, memory_order_acquire);
restart:
  if (*sector > last || !root_node(root) || !covers(root_height(root), *sector))
    return NULL;
  struct node *node = root_node(root);
  for (unsigned height = root_height(root); height > 0; height--) {
    struct node *below = NULL;
    unsigned i = place(*sector, height);
    uint64_t step = UINT64_C(1) << NODE_SHIFT * height;
    for (; i < NODE_WORDS && !(below = child(node, i)); i++) {
      *sector = (*sector / step + 1) * step;
      if (*sector > last)
        return NULL;
    }
    if (!below)
      goto restart; /* *sector is now past this node */
    node = below;
  }
  return node;
}

/* Raise the tree by one level, or plant it.  0 or -ENOSPC; someone else may
 * have done it, so look again. */
static int grow(sectors_store *store, struct index *index, uintptr_t root, uint64_t sector) {
  struct node *node = new_node(store);
  if (!node)
    return -ENOSPC;
  unsigned height = 0;
  if (root == 0) {
    while (!covers(height, sector))
      height++;
  } else {
    height = root_height(root) + 1;
    atomic_store_explicit(&node->words[0], (uintptr_t)root_node(root), memory_order_relaxed);
  }
  if (atomic_compare_exchange_strong(&index->root, &root, (uintptr_t)node | height))
    atomic_fetch_add(&index->nodes, 1);
  else
    free_node(store, node);
  return 0;
}

/* Hang a new node into an empty word.  0 or -ENOSPC; look again. */
static int sprout(sectors_store *store, struct index *index, sector_word *word) {
  struct node *node = new_node(store);
  uint64_t empty = 0;
  if (!node)
    return -ENOSPC;
  if (atomic_compare_exchange_strong(word, &empty, (uintptr_t)node))
    atomic_fetch_add(&index->nodes, 1);
  else
    free_node(store, node);
  return 0;
}

int index_make(sectors_store *store, struct index *index, uint64_t sector, struct node **leaf) {
  unsigned rounds = 0;
  for (;;) {
    uintptr_t root = atomic_load(&index->root);
    struct node *node = root_node(root);
    unsigned height = root_height(root);
    int error = 0;
    if (!node || !covers(height, sector)) {
      error = grow(store, index, root, sector);
      if (error != 0)
        return error;
      continue;
    }
    while (height > 0) {
      sector_word *word = &node->words[place(sector, height)];
      uint64_t value = atomic_load(word);
      if (value & WORD_FROZEN)
        break;
      if (value == 0) {
        error = sprout(store, index, word);
        if (error != 0)
          return error;
        continue;
      }
      node = (struct node *)(uintptr_t)value;
      height--;
    }
    if (height == 0) {
      *leaf = node;
      return 0;
    }
    backoff(&rounds); /* until who froze the directory has unlinked it */
  }
}

/* --------------------------------------------------------------- unlinking */

/* The node of a height above a sector, or NULL. */
static struct node *node_at(const struct index *index, uint64_t sector, unsigned height) {
  uintptr_t root = atomic_load(&index->root);
  struct node *node = root_node(root);
  if (!node || !covers(root_height(root), sector) || root_height(root) < height)
    return NULL;
  for (unsigned h = root_height(root); node && h > height; h--)
    node = child(node, place(sector, h));
  return node;
}

/* Whether any word of a node has one of these flags. */
static bool any_word(const struct node *node, uint64_t flags) {
  for (unsigned i = 0; i < NODE_WORDS; i++)
    if (atomic_load_explicit(&node->words[i], memory_order_relaxed) & flags)
      return true;
  return false;
}

/* Freeze all words of a node, if none is in use.
 *
 * Of several that emptied words of it at the same time, one must succeed.  So
 * all pass through one atomic counter between emptying and looking, and the
 * last to pass sees what the others did.  Who meets another's freezing leaves
 * the node to that one, who looks again if it then fails. */
static bool freeze(struct index *index, struct node *node, uint64_t in_use) {
  for (;;) {
    unsigned i = 0;
    atomic_fetch_add(&index->nodes, 0);
    if (any_word(node, in_use))
      return false;
    for (; i < NODE_WORDS; i++) {
      uint64_t value = atomic_load(&node->words[i]);
      if (value & WORD_FROZEN)
        return false; /* only at i = 0: all begin there */
      if (value & in_use ||
          !atomic_compare_exchange_strong(&node->words[i], &value, value | WORD_FROZEN))
        break;
    }
    if (i == NODE_WORDS)
      return true;
    while (i-- > 0)
      atomic_fetch_and(&node->words[i], ~WORD_FROZEN);
  }
}

/* Clear the link to a frozen node.  The tree may grow at its top meanwhile,
 * but the node above stays, since it is not empty. */
static void unlink_node(struct index *index, uint64_t sector, unsigned height, struct node *node) {
  for (;;) {
    uintptr_t link = (uintptr_t)node | height;
    if (atomic_compare_exchange_strong(&index->root, &link, 0))
      return;
    struct node *above = node_at(index, sector, height + 1);
    if (above) {
      atomic_store(&above->words[place(sector, height + 1)], 0);
      return;
    }
  }
}

/* The flags that keep a leaf. */
static uint64_t leaf_in_use(const struct index *index) {
  if (index->in_use == 0 || (index->keep_all && atomic_load(index->keep_all) != 0))
    return WORD_OCCUPIED;
  return index->in_use;
}

void index_prune(sectors_store *store, struct index *index, uint64_t sector) {
  for (unsigned height = 0; height <= root_height(atomic_load(&index->root)); height++) {
    struct node *node = node_at(index, sector, height);
    if (!node)
      continue; /* who was to make it had no room; the directories may be empty */
    if (!freeze(index, node, height == 0 ? leaf_in_use(index) : ~WORD_FROZEN))
      return;
    unlink_node(index, sector, height, node);
    atomic_fetch_sub(&index->nodes, 1);
    retire_node(store, node);
  }
}
