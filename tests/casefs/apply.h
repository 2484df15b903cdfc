/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One operation of a workload, done to a model or to a volume.
 */

#ifndef CASEFS_TEST_APPLY_H
#define CASEFS_TEST_APPLY_H

#include "workload.h"

/* What was read last: from the volume, and from the model. */
extern unsigned char apply_data[OPERATION_DATA], apply_model_data[OPERATION_DATA];

/* Bytes that an operation names: their number is bounded; valid until the next call. */
size_t apply_bounded(uint64_t count);
const void *apply_content(uint64_t seed, size_t count);

/* All return what the library's function does (or should). */

/* count: how many bytes a write is to write. */
int64_t apply_to_model(struct model *model, const struct operation *operation, size_t count);

/* What an operation on a volume has left open; *id is that of what it has made. */
struct apply_handles {
  casefs_node *directory, *node, *second;
};
int64_t apply_to_volume(casefs_volume *volume, casefs_node *root, const struct operation *operation,
                        struct apply_handles *handles, uint64_t *id);
void apply_close(struct apply_handles *handles);

/* Open the directory that the last part of a path is in, and find that part in the path; open
 * what a path leads to. */
int apply_walk(casefs_node *root, const char *path, casefs_node **directory, const char **name,
               size_t *length);
int apply_open(casefs_node *root, const char *path, casefs_node **node);

#endif
