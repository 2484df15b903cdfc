/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The B+tree of records, in memory and on the device.
 *
 *     root ──┬── inner ──┬── leaf  leaf  leaf      children[] lead to the nodes that are
 *            │           └── ...                   in memory; the records in the page hold
 *            └── inner ── ...                      the pointers to the device
 *
 * Nodes are changed in place, in memory only.  A node that differs from the
 * device is dirty, and so are all nodes above it, so that a commit finds them
 * from the root.  tree_write_out gives each dirty node a new place: what is on the
 * device is never overwritten.
 *
 * One writer at a time (the volume's writer lock) collects its changes in a
 * batch, lets tree_prepare fetch what they touch and set memory aside, and applies
 * them with tree_apply, which cannot fail.  Readers run at any time; they share
 * `lock`, which the writer takes alone only while it applies.  No lock is held
 * while a node is read from the device.
 */

#ifndef CASEFS_TREE_H
#define CASEFS_TREE_H

#include <pthread.h>

#include "format.h"

struct tree_node;

struct tree {
  struct casefs_device *device;
  uint8_t uuid[16];
  _Atomic uint64_t blocks; /* of the volume, to bound pointers */
  uint64_t cache_limit;    /* bytes of nodes to keep */
  uint64_t written;        /* generation up to which nodes are on the device: under lock */

  pthread_rwlock_t lock;     /* of everything below, except: */
  pthread_mutex_t list_lock; /* of the list, and attaching a node that was fetched */
  struct tree_node *root;
  unsigned level; /* of the root */
  struct tree_node *newest, *oldest;
  _Atomic uint64_t nodes; /* in memory */
  _Atomic uint64_t dirty; /* of them; these are not in the list */

  /* The writer's own. */
  struct tree_node *spare;
  uint64_t spares;
  void **spare_arrays; /* of children, for inner nodes */
  size_t spare_arrays_count, spare_arrays_capacity;
  uint64_t *removed; /* blocks of nodes that the tree no longer has */
  size_t removed_count, removed_capacity;
};

/* A record, copied out. */
struct tree_record {
  struct key key;
  uint32_t length; /* of value */
  uint8_t value[MAX_RECORD];
};

/* Changes to make together; the last change of a key counts. */
struct tree_batch {
  int error; /* of collecting: -ENOMEM, or 0 */
  struct tree_edit *edits;
  size_t count, capacity;
  uint8_t *bytes;
  size_t used, size;
};

/* An empty tree, dirty; or that of a superblock.  Errors: -ENOMEM, -EIO, -EUCLEAN. */
int tree_create(struct tree *tree, struct casefs_device *device, const uint8_t uuid[16],
                uint64_t blocks, uint64_t cache_limit);
int tree_open(struct tree *tree, struct casefs_device *device, const struct superblock *superblock,
              uint64_t cache_limit);
void tree_close(struct tree *tree);

/* Read one node of the device, checked, into NODE_SIZE bytes.  Errors: -EIO, -EUCLEAN. */
int tree_read_page(struct casefs_device *device, struct pointer pointer, unsigned level,
                   const uint8_t *uuid, uint64_t blocks, uint8_t *page);

/* ------------------------------------------------------------------- reading
 * Errors of all: -ENOENT (no such record), -EIO, -EUCLEAN, -ENOMEM. */

int tree_get(struct tree *tree, const struct key *key, struct tree_record *record);
/* The first record whose key is not less. */
int tree_seek(struct tree *tree, const struct key *key, struct tree_record *record);
/* The last record whose key is not greater. */
int tree_seek_back(struct tree *tree, const struct key *key, struct tree_record *record);
/* As tree_seek, if that record's key begins with the first prefix bytes of key; else -ENOENT. */
int tree_seek_prefix(struct tree *tree, const struct key *key, uint32_t prefix,
                     struct tree_record *record);
/* Make key the smallest that is greater. */
void key_after(struct key *key);

/* ------------------------------------------------------------------- writing */

void batch_clear(struct tree_batch *batch);
void batch_free(struct tree_batch *batch);
void batch_put(struct tree_batch *batch, const struct key *key, const void *value, size_t length);
/* Removing what is not there is nothing. */
void batch_remove(struct tree_batch *batch, const struct key *key);

/* Get ready to apply, and put the batch in order: *quads is at most how many nodes more will be
 * dirty after it. Errors: batch->error, -ENOMEM, -EIO, -EUCLEAN. */
int tree_prepare(struct tree *tree, struct tree_batch *batch, uint64_t *quads);
/* Make the changes of a prepared batch. */
void tree_apply(struct tree *tree, const struct tree_batch *batch);

/* Add the places of dirty nodes, which they will leave, to `removed`; tree_reserve_removed has set
 * memory aside. */
int tree_reserve_removed(struct tree *tree, size_t count);
void tree_collect_replaced(struct tree *tree);
/* Give all dirty nodes their new places, quads[0..tree->dirty), and copy them to buffer, in that
 * order, as they are to be written; they are clean then. */
struct pointer tree_write_out(struct tree *tree, uint64_t generation, const uint64_t *quads,
                              uint8_t *buffer);

/* What was written is on the device, up to that generation. */
void tree_set_written(struct tree *tree, uint64_t generation);

/* Drop nodes over the limit that are clean and on the device.  For the writer. */
uint64_t tree_bytes(const struct tree *tree); /* of memory, with dirty nodes */
bool tree_over_limit(const struct tree *tree);
void tree_trim(struct tree *tree);

#endif
