/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Inside file data: what its parts share.  data-read.c has the extents and what they
 * hold, data-write.c the way of new data to the device, data-size.c what makes holes and ends.
 */

#ifndef CASEFS_DATA_H
#define CASEFS_DATA_H

#include "volume.h"

#define NO_LIMIT UINT64_MAX
#define EXTENTS_AT_ONCE 256u /* that one change removes */

static inline uint64_t blocks_for(uint64_t bytes) {
  return bytes / BLOCK_SIZE + (bytes % BLOCK_SIZE != 0);
}

/* Whether a node has data: 0, -EISDIR or -EINVAL. */
int data_check_node(casefs_node *node);

/* An extent with the record that it points into. */
struct data_mapping {
  struct extent extent;
  struct tree_record record;
};

/* The extent that covers a block of a file, or else the first after it.  -ENOENT. */
int data_find_extent(casefs_volume *volume, uint64_t id, uint64_t block,
                     struct data_mapping *mapping);
/* Collect an extent: header, then detail. */
void data_put_extent(casefs_volume *volume, uint64_t id, const struct extent *extent);
/* Collect the removal of what maps count blocks from first on: at most `limit` extents, *more tells
 * whether there are others.  With unwritten not NULL, blocks of unwritten extents are not freed but
 * put there, by block from first on. */
int data_unmap(casefs_volume *volume, uint64_t id, uint64_t first, uint64_t count, unsigned limit,
               struct node_record *record, uint64_t *unwritten, bool *more);
/* Read what the tree and the device hold, past the node's buffer. */
int data_read_mapped(casefs_volume *volume, uint64_t id, uint8_t *buffer, size_t count,
                     uint64_t offset);

/* Blocks of one file to be written, in order. */
struct settling {
  casefs_volume *volume;
  uint64_t id;
  struct node_record *record;
  const uint8_t *data;
  uint64_t first, count;
  uint64_t unwritten[MAX_EXTENT_BLOCKS]; /* block to write to that is the file's already, or 0 */
  bool pieces_only;
};

/* Give blocks that nothing maps any more their places. */
int data_place_blocks(struct settling *settling);
/* The tree's part of settling a range: its way down, and a split, for node and extent. */
uint64_t data_quads(const casefs_volume *volume);
/* Begin a buffer at a block, with the bytes before offset that are there already. */
int data_start_buffer(casefs_node *node, uint64_t offset);
/* Nothing that an unfinished truncation has left may show when a file grows. */
int data_finish_truncation(casefs_node *node);

#endif
