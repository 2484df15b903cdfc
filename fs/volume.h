/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A volume that is open, and what its parts share.
 *
 * Locks, in the order in which they are taken:
 *   committing    one commit at a time, also during its I/O: a flag under commit_lock, which
 *                 itself is held only to look at it
 *   writer        one change at a time: batch, space, superblock, the writer's side of the tree.
 *                 Held while a change reads what it needs and writes file data, never while a
 *                 commit writes.  Readers do not take it.
 *   nodes_lock    the table of open nodes and their reference counts
 *   node->lock    a node's record and buffer: changed by who has `writer` as well
 *   tree.lock     see tree.h
 *
 * A change is:   change_begin, collecting records in volume->batch, change_apply (which makes all
 * of it or nothing), changing the nodes in memory, change_end.
 */

#ifndef CASEFS_VOLUME_H
#define CASEFS_VOLUME_H

#include <pthread.h>
#include <stdatomic.h>

#include "casefs.h"
#include "device.h"
#include "format.h"
#include "space.h"
#include "tree.h"

/* Space set aside for changes that are not in the tree yet. */
struct promise {
  uint64_t quads;
  uint64_t pieces; /* blocks */
};

struct owner {
  struct owner_mark mark; /* as last written */
  bool taken;
};

struct casefs_volume {
  struct casefs_device *device;
  struct casefs_open_options options;
  bool read_only;
  bool holds_device;  /* device->in_use is ours */
  atomic_int failure; /* the errno that ended writing, or 0 */

  pthread_mutex_t commit_lock;
  pthread_cond_t commit_ended;
  bool committing;
  uint64_t durable_changes; /* how many changes the last commit has */

  pthread_mutex_t writer;
  struct superblock superblock; /* of the last commit, with what is new since */
  bool superblock_changed;
  struct tree tree;
  struct space space;
  struct promise promised;
  uint64_t slop; /* quads that only removing may use */
  struct tree_batch batch;
  struct run_list allocated, freed; /* by the change being made */
  struct casefs_node *unsettled;    /* nodes that differ from the tree */
  uint64_t changes;                 /* ever made */
  size_t buffered;                  /* bytes in the buffers of unsettled nodes */
  bool orphans_left;                /* some could not be removed: the next commit tries again */
  bool truncations_left;            /* some truncation could not be finished for lack of space */

  pthread_mutex_t nodes_lock;
  struct casefs_node **buckets;
  size_t bucket_count, open_nodes;
  uint64_t removing;            /* node the change being made removes whole, 0: none; not opened */
  pthread_cond_t removal_ended; /* with nodes_lock: `removing` is 0 again */

  struct owner owner; /* of who is committing */

  pthread_t thread;
  bool thread_runs, stop;
  pthread_mutex_t thread_lock;
  pthread_cond_t thread_wake;

  _Atomic uint64_t commits, written; /* for statistics */
};

struct casefs_node {
  casefs_volume *volume;
  uint64_t id;

  unsigned references;      /* nodes_lock */
  bool unsettled;           /* nodes_lock, and `writer` to change it */
  struct casefs_node *next; /* in its bucket */
  struct casefs_node *next_unsettled, *previous_unsettled;

  pthread_mutex_t lock;
  struct node_record record;
  /* Data not yet given to the device: buffer[0..length) at start, a multiple of the block size. */
  uint8_t *buffer;
  uint64_t buffer_start;
  size_t buffer_length, buffer_capacity;
  struct promise promise; /* for settling it */
};

/* --------------------------------------------------------------------- changes */

enum purpose {
  PURPOSE_NORMAL,
  PURPOSE_SHRINK, /* mostly frees space, but may take some: may use half of what is kept for
                     removing */
  PURPOSE_REMOVE, /* only frees space: may use all of it */
  PURPOSE_SETTLE, /* has been promised its space */
};

/* Errors: -EROFS, -EIO (the volume has failed), -ESTALE.  On an error nothing is to be ended. */
int change_begin(casefs_volume *volume);
/* Make the changes in the batch, with blocks allocated and freed; or nothing.
 * Errors: -ENOSPC, -ENOMEM, -EIO, -EUCLEAN.  The batch is empty again. */
int change_apply(casefs_volume *volume, enum purpose purpose);
/* Give up what has been collected. */
void change_abandon(casefs_volume *volume);
void change_end(casefs_volume *volume);

/* Whether an operation that gave r is worth another try, as a commit has freed space. */
bool try_again(casefs_volume *volume, int64_t r, unsigned *tries);

/* A new id, for the change being made. */
uint64_t new_id(casefs_volume *volume);

/* Set space aside; add to what a promise has.  -ENOSPC. */
int promise_space(casefs_volume *volume, struct promise *promise, uint64_t quads, uint64_t blocks,
                  enum purpose purpose);
void release_promise(casefs_volume *volume, struct promise *promise);

/* Blocks for data: volume->allocated notes them.  Errors: -ENOSPC, -ENOMEM. */
int allocate_blocks(casefs_volume *volume, uint64_t want, bool pieces_only, struct block_run *run);
int free_blocks(casefs_volume *volume, uint64_t block, uint64_t count);

/* A write failed, or another took the volume over: no more changes.  Returns what that is to
 * callers, -EIO or -ESTALE, as volume_failure does; 0: all is well. */
int volume_fail(casefs_volume *volume, int r);
int volume_failure(casefs_volume *volume);

/* Drop metadata over the limit, if no writer is at work (who does it at its end). */
void volume_trim(casefs_volume *volume);

/* What a reader returns for r: damage in a volume that is read only may be its writer's doing.
 * It also trims. */
int volume_result(casefs_volume *volume, int r);

/* A volume with nothing in it but its locks; NULL: no memory. */
casefs_volume *volume_allocate(struct casefs_device *device,
                               const struct casefs_open_options *options);
void volume_free(casefs_volume *volume);

/* Quads that are kept for removing in a volume of so many blocks. */
uint64_t slop_for(uint64_t blocks);

/* The newest superblock of a device; *whole tells whether both its copies are there.  -ENODATA
 * (there is none), -EUCLEAN (none that is whole), -EOPNOTSUPP, -EIO, -ENOMEM. */
int superblock_read(struct casefs_device *device, struct superblock *superblock, bool *whole);

/* -EILSEQ, -ENAMETOOLONG. */
int label_check(const char *label);

/* Make everything durable; with force also if nothing was changed. */
int volume_commit(casefs_volume *volume, bool force);

/* ---------------------------------------------------------------- owner's mark (owner.c) */

#define OWNER_INTERVAL 1000u /* milliseconds between heartbeats */

int owner_take(casefs_volume *volume);
/* -ESTALE: another has taken over. */
int owner_check(casefs_volume *volume);
int owner_beat(casefs_volume *volume);
void owner_release(casefs_volume *volume);

/* ------------------------------------------------------------------- nodes (node.c) */

int nodes_create(casefs_volume *volume);
void nodes_destroy(casefs_volume *volume);

/* The record of a node, open or not.  -ENOENT, and those of reading. */
int node_fetch(casefs_volume *volume, uint64_t id, struct node_record *record);
/* Put a node's record in the batch. */
void node_store(casefs_volume *volume, uint64_t id, const struct node_record *record);
/* After the change: the same for the node in memory, if it is open. */
void node_publish(casefs_volume *volume, uint64_t id, const struct node_record *record);
/* Nothing is being removed any more: who waited to open it may look. */
void nodes_end_removal(casefs_volume *volume);
/* Whether somebody has it open. */
bool node_is_open(casefs_volume *volume, uint64_t id);
/* A reference to a node, open or to be opened; by the writer too. */
int node_open(casefs_volume *volume, uint64_t id, casefs_node **node);
/* For a node that is about to be made: memory for having it open (NULL: there is none), and then
 * either a reference to it (its name can be seen by now: others may have opened it), or nothing. */
casefs_node *node_prepare(casefs_volume *volume);
casefs_node *node_open_prepared(casefs_node *prepared, uint64_t id,
                                const struct node_record *record);
void node_discard(casefs_node *node); /* NULL is allowed */

/* The node's record will be stored at the next commit; for the writer.
 * Errors: -ENOSPC. */
int node_touch(casefs_node *node, enum purpose purpose);
void node_set_record(casefs_node *node, const struct node_record *record);
struct node_record node_record_of(casefs_node *node);
/* Bring what a node has in memory to the tree; ends its promise. */
int node_settle(casefs_node *node);
/* The same for all nodes. */
int settle_all(casefs_volume *volume);
/* A removed node has nothing to settle. */
void node_forget_changes(casefs_node *node);

void attributes_of(uint64_t id, const struct node_record *record,
                   struct casefs_attributes *attributes);

/* Remove what belongs to a node that has no name: as part of the change being made if it is
 * little and need not be frugal, else (*rest) with node_reap once that has been applied.
 * Who would open it meanwhile waits for change_end. */
int node_remove(casefs_volume *volume, uint64_t id, struct node_record *record, bool frugal,
                bool *rest);
/* The change that took one of a node's names, and collected node_remove if it was the last, has
 * been made.  What cannot be removed now waits for the next commit. */
void node_lost_name(casefs_volume *volume, uint64_t id, const struct node_record *record,
                    bool rest);
/* Remove a node that has no name, in as many changes as it takes; the writer holds the lock. */
int node_reap(casefs_volume *volume, uint64_t id);
/* Collect that a node has something to be reaped, or not any more. */
void put_orphan(casefs_volume *volume, uint64_t id, bool orphan);
/* Remove all that has no name and is not open: what a crash has left, or a lack of space. */
int nodes_reap_orphans(casefs_volume *volume);

/* ------------------------------------------------------------------- data (data.c) */

/* Give the buffer to the device and the tree; for the writer, inside a change. */
int data_settle(casefs_node *node, struct node_record *record, bool pieces_only);
void data_drop_buffer(casefs_node *node);
/* Collect the removal of extents from block `first` on, at most limit of them; *more tells whether
 * there are others.  record's blocks is brought up to date. */
int data_remove_extents(casefs_volume *volume, uint64_t id, uint64_t first, unsigned limit,
                        struct node_record *record, bool *more);

/* ---------------------------------------------------------- values in parts (parts.c) */

/* Read a value; returns its length.  -ENODATA, -ERANGE, -EUCLEAN.  size 0: only the length.  The
 * header, header_length bytes of part 0 after the length, is copied if not NULL. */
int parts_get(casefs_volume *volume, const struct key *prefix, void *header, size_t header_length,
              void *value, size_t size);
/* Put a value in the batch; `old` is the length of the one that is there, or -1. */
void parts_put(casefs_volume *volume, const struct key *prefix, const void *header,
               size_t header_length, const void *value, size_t length, int64_t old);
void parts_remove(casefs_volume *volume, const struct key *prefix, int64_t old);

/* ------------------------------------------------------- descriptors (descriptor.c) */

/* Collect a node's new descriptor (length 0: none), and the old one's loss. */
int descriptor_store(casefs_volume *volume, struct node_record *record, const void *descriptor,
                     size_t length);

/* ------------------------------------------------------------------ directories */

/* The entry of that name: its id, type and exact key.  -ENOENT. */
struct found_entry {
  uint64_t id;
  uint8_t type;
  struct key key;
};
int entry_find(casefs_volume *volume, uint64_t directory, bool insensitive, const char *name,
               size_t length, struct found_entry *found);

#endif
