/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The nodes that the kernel knows.
 *
 *      id -> shard -> bucket -> inode { lookups, node or NULL }
 *                                          |
 *                     newest <- ... <- open nodes -> ... -> oldest
 *
 * The kernel's number of a node is its id in the volume, whatever the spelling it was found by.
 * What the kernel has looked up stays in the table until it forgets it, but only as a number: a
 * node is opened when a request needs it, and a bounded number of them stays open.  One without a
 * name left is pinned, that is, kept open until it is forgotten, as it cannot be found again.
 *
 * All functions may be called from any thread; shards are locked one at a time, and no lock is held
 * while a node is opened or closed.
 */

#ifndef CASEFS_MOUNT_INODE_H
#define CASEFS_MOUNT_INODE_H

#include "../../fs/casefs.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define INODE_SHARDS 64u

struct inode;

struct inode_shard {
  pthread_mutex_t lock;
  struct inode **buckets; /* a power of two of them */
  size_t bucket_count, count;
  struct inode *newest, *oldest; /* of those with an open node and no pins */
  unsigned open;
};

struct inode_table {
  casefs_volume *volume;
  struct inode_shard shards[INODE_SHARDS];
  pthread_mutex_t times_locks[INODE_SHARDS];
};

int inodes_create(struct inode_table *table, casefs_volume *volume);
/* Close all nodes and free all. */
void inodes_destroy(struct inode_table *table);

/* The open node of that id, the caller's to close.  Errors: those of casefs_open_id. */
int inode_open(struct inode_table *table, uint64_t id, casefs_node **node);

/* The kernel is told of a node.  node: it, open, taken over; or NULL.  -ENOMEM. */
int inode_remember(struct inode_table *table, uint64_t id, casefs_node *node);
/* The kernel forgets that many times of having been told. */
void inode_forget(struct inode_table *table, uint64_t id, uint64_t lookups);

/* The kernel has handed over all it had of a file: let the volume bring it to the tree, while what
 * was made beside it is near. */
void inode_settle(struct inode_table *table, uint64_t id);

/* Keep the node, open and taken over, open as long as the kernel knows it: it may be about to lose
 * its last name.  Once it is sure that it has not, unpin. */
void inode_pin(struct inode_table *table, uint64_t id, casefs_node *node);
void inode_unpin(struct inode_table *table, uint64_t id);

/* A lock for who sets the times of a node, shared with other nodes; taken before any other. */
pthread_mutex_t *inode_times_lock(struct inode_table *table, uint64_t id);
/* Note when a node's times were set without the kernel's knowing, 0 for never; and what was noted.
 */
void inode_set_times(struct inode_table *table, uint64_t id, uint64_t when);
uint64_t inode_times_set(struct inode_table *table, uint64_t id);

#endif
