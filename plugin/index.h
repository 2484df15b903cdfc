/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The index of a volume: from sector number to sector word.
 *
 * A tree of nodes of 64 words, 512 bytes each.  The words of a leaf are
 * sector words; a directory's words point to the nodes below, or are 0.  A
 * leaf covers 64 sectors (256 KiB of 4 KiB sectors).  The tree is as high as
 * the highest sector written needs, so an empty volume of any size costs
 * nothing, a dense one 1/64 + 1/64^2 ... more words than it has sectors
 * (0.2 % of its bytes), and a lone sector far out a chain of at most nine
 * nodes.
 *
 *      root --> [ | | |*| ... ]              height 1: 64 leaves
 *                      |
 *                      +--> [w|w|w|w| ... ]  height 0: 64 sector words
 *
 * Nobody locks the tree.  A missing node is made and hung in with one
 * compare-and-exchange.  A node that became empty is unlinked in three steps:
 * freeze each of its words (which fails if one is in use), clear the word
 * above, and retire the node: it is freed after a grace period (epoch.h).
 * Who meets a frozen word looks again from the root.
 *
 * Nodes live in slots of the arena, 7 to a slot of 4 KiB: what the index takes
 * is in the budget, and comes back like sectors do.
 */

#ifndef SECTORS_INDEX_H
#define SECTORS_INDEX_H

#include "word.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
  NODE_SHIFT = 6,
  NODE_WORDS = 1 << NODE_SHIFT,
};

struct node {
  sector_word words[NODE_WORDS];
};

/* The sectors of a leaf, by one of them. */
static inline uint64_t leaf_start(uint64_t sector) {
  return sector & ~(uint64_t)(NODE_WORDS - 1);
}

static inline uint64_t leaf_last(uint64_t sector) {
  return sector | (NODE_WORDS - 1);
}

static inline unsigned place_in_leaf(uint64_t sector) {
  return (unsigned)(sector % NODE_WORDS);
}

/* Where nodes come from; one for each store. */
struct node_page;
struct node_pool {
  pthread_mutex_t lock;
  struct node_page *partial; /* pages with free nodes, doubly linked */
  _Atomic uint64_t pages;    /* slots in use, for the statistics */
  pthread_mutex_t settling;  /* held while retired nodes are freed */
  _Atomic uintptr_t retired; /* nodes to free after a grace period, linked by words[0] */
  _Atomic uint64_t settled;  /* nodes freed so, ever */
};

struct index {
  _Atomic uintptr_t root; /* a node's address | its height; 0: no node */
  _Atomic uint64_t nodes; /* in the tree */

  /* A leaf goes when no word of it has one of these flags (0: WORD_OCCUPIED), or one of
   * WORD_OCCUPIED while *keep_all is not 0. */
  uint64_t in_use;
  const _Atomic unsigned *keep_all; /* may be NULL */
};

struct sectors_store;

void node_pool_init(struct node_pool *pool);
void node_pool_destroy(struct node_pool *pool);

/* Free the retired nodes, after a grace period; or wait until who is doing so
 * has done it.  Not to be called from inside a request.  Returns whether any
 * were freed meanwhile. */
bool node_pool_settle(struct sectors_store *store);

/* The functions below run inside a request (epoch.h); nodes they return are
 * valid until it ends. */

/* The leaf of a sector, or NULL. */
struct node *index_find(const struct index *index, uint64_t sector);

/* The first leaf that covers a sector from *sector to last, or NULL; *sector
 * becomes the first sector from *sector on that the leaf covers. */
struct node *index_next(const struct index *index, uint64_t *sector, uint64_t last);

/* The leaf of a sector, made if need be: 0 or -ENOSPC. */
int index_make(struct sectors_store *store, struct index *index, uint64_t sector,
               struct node **leaf);

/* Unlink the leaf of a sector if it is empty, and the directories above that
 * are. */
void index_prune(struct sectors_store *store, struct index *index, uint64_t sector);

#endif
