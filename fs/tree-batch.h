/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Inside the tree: what a batch is made of.
 */

#ifndef CASEFS_TREE_BATCH_H
#define CASEFS_TREE_BATCH_H

#include "tree.h"

struct tree_edit {
  size_t offset; /* of key, then value, in the batch's bytes */
  uint32_t key_length, value_length;
  bool remove;
  bool superseded; /* by a later edit of the same key */
};

void batch_edit_key(const struct tree_batch *batch, const struct tree_edit *edit, struct key *key);

#endif
