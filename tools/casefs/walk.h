/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A walk through a directory and all below it, as deep as it may be: the places it
 * stands at are kept in memory of its own, not on the stack.
 */

#ifndef CASEFS_WALK_H
#define CASEFS_WALK_H

#include "../../fs/casefs.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct walk;

struct walk_item {
  bool after;             /* a directory a second time, after all in it */
  bool last;              /* of its directory */
  bool insensitive;       /* the directory it is in */
  casefs_node *directory; /* it is in; the walk's own */
  const struct casefs_entry *entry;
  const struct casefs_attributes *attributes;
  const char *path; /* from where the walk began, which is as walk_start was told */
  size_t path_length;
  size_t depth;   /* 0: directly in the directory where the walk began */
  uint64_t *mark; /* of this item: for directories it is kept until the item comes again */
  uint64_t outer; /* the mark of the directory it is in; at depth 0: that given to walk_start */
};

/* Begin in a directory, which stays the caller's and must stay open.  path stands before the
 * paths of all items; mark: see walk_item.outer. */
struct walk *walk_start(casefs_node *directory, const char *path, uint64_t mark);

/* Leave entries out for which wanted returns false, as if they were not there.  Before the first
 * walk_next. */
void walk_filter(struct walk *walk, bool (*wanted)(void *context, const struct casefs_entry *entry),
                 void *context);

/* The next item: returns 1; 0 at the end; or a negative errno, after which the walk goes on
 * behind the directory that could not be read, whose path is walk_failed_path.
 * The item's own name may be removed; it is valid until the next call. */
int walk_next(struct walk *walk, struct walk_item *item);
const char *walk_failed_path(const struct walk *walk);

/* Do not go into the directory that walk_next gave last; it does not come again either. */
void walk_skip(struct walk *walk);
void walk_end(struct walk *walk);

/* Walk, and call the function with each node once, open, the directory before what is in it.  It
 * returns 0, or a negative errno that it has reported.  Goes on after errors, but for those that
 * concern the whole volume, until interrupted.  wanted: as of walk_filter, or NULL.  Returns
 * whether there was no error. */
bool walk_nodes(casefs_node *directory, const char *path,
                bool (*wanted)(void *context, const struct casefs_entry *entry),
                int (*function)(void *context, casefs_node *node, const char *path), void *context);

/* path with '/' between, unless it ends with one (or is empty) already; the caller frees. */
char *path_join(const char *path, const char *name);

#endif
