/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which blocks are free, in memory; and the log that says so on the device.
 *
 * Free blocks are kept in two sets of runs.  `quads` has the whole free quads,
 * which tree nodes need; `pieces` has what is left over of quads that are partly used, one to three
 * blocks each.  Data takes from both.  So that a commit never lacks a quad for a node, what is
 * promised is counted in quads.
 *
 * A block that a commit frees is deferred until two more commits are durable
 * (FORMAT.md, section 6).  All functions are for the writer.
 */

#ifndef CASEFS_SPACE_H
#define CASEFS_SPACE_H

#include "format.h"

struct block_run {
  uint64_t block, count;
};

struct run_list {
  struct block_run *runs;
  size_t count, capacity;
};

struct run_set {
  struct run *root;
  uint64_t total; /* of lengths */
  size_t runs;
};

#define DEFERRED_GENERATIONS 3u

struct space {
  uint64_t blocks;       /* of the volume */
  struct run_set quads;  /* free, in units of quads */
  struct run_set pieces; /* free, in units of blocks */
  struct run *spare;     /* memory for runs */
  size_t spares;
  uint64_t seed; /* of the treaps' priorities */

  struct run_list allocated, freed;               /* by the generation being made */
  struct run_list deferred[DEFERRED_GENERATIONS]; /* freed by generation g: [g % 3] */
  uint64_t deferred_blocks;
  struct run_list late; /* free, but there was no memory to say so in the sets */

  struct run_list log; /* blocks of the log */
  uint64_t log_blocks;
  struct pointer log_head;
};

/* A list of runs.  Adding joins a run to the last one where they meet. */
int run_list_reserve(struct run_list *list, size_t more);
void run_list_add(struct run_list *list, uint64_t block, uint64_t count); /* reserved before */
void run_list_sort(struct run_list *list);                                /* by block, and join */
void run_list_free(struct run_list *list);

/* The parts of a run in a set, for going through all of them. */
void run_fields(const struct run *run, uint64_t *start, uint64_t *length, const struct run **left,
                const struct run **right);

/* A space where nothing is free. */
void space_create(struct space *space, uint64_t blocks);
void space_destroy(struct space *space);

/* Make a range free, or not.  Errors: -ENOMEM, -EUCLEAN (it was free, or not). */
int space_add(struct space *space, uint64_t block, uint64_t count);
int space_remove(struct space *space, uint64_t block, uint64_t count);

uint64_t space_free_blocks(const struct space *space);

/* Take up to `want` blocks in one run, or from pieces only.  It is not yet in `allocated`.
 * Errors: -ENOSPC, -ENOMEM. */
int space_allocate(struct space *space, uint64_t want, bool pieces_only, struct block_run *run);
/* Take that many quads, one after the other in quads[].  -ENOSPC, -ENOMEM: none is taken. */
int space_allocate_quads(struct space *space, size_t count, uint64_t *quads);

/* Blocks that the generation being made allocated or freed; memory is reserved before. */
int space_reserve_notes(struct space *space, size_t allocated, size_t freed);
void space_note_allocated(struct space *space, uint64_t block, uint64_t count);
void space_note_freed(struct space *space, uint64_t block, uint64_t count);

/* Blocks that the log of the generation being made will take, at most, if nodes more are written.
 */
uint64_t space_log_need(const struct space *space, uint64_t nodes);

/* The log of a generation, on its way to the device: block i of `count` is at buffer + i *
 * BLOCK_SIZE, for blocks[i]. */
struct log_write {
  uint8_t *buffer;
  uint64_t *blocks;
  size_t count;
  struct log_entry *entries;
  bool anew; /* from the beginning, replacing the old log */
};

/* Set aside what writing the log takes, if the generation writes that many nodes (and frees as
 * many).  Errors: -ENOSPC, -ENOMEM. */
int space_prepare_log(struct space *space, uint64_t nodes, struct log_write *write);
void space_abandon_log(struct space *space, struct log_write *write);
/* All of the generation has been noted: make its log.  What it frees is deferred. */
void space_write_log(struct space *space, uint64_t generation, struct log_write *write);
void log_write_free(struct log_write *write);

/* Take what may be reused once the generation is durable out of `deferred`; it is then the
 * caller's to give back, after discarding it. */
struct run_list space_mature(struct space *space, uint64_t generation);
/* Make it free, and free the list.  What there is no memory for is kept for the next time. */
void space_give_back(struct space *space, struct run_list *list);

/* Fill an empty space from the log on the device.  Errors: -EIO, -EUCLEAN, -ENOMEM. */
int space_read_log(struct space *space, struct casefs_device *device, struct pointer head,
                   uint64_t generation);

#endif
