/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Inside the copy engine: what its parts share.
 *
 *   copy.c         the walk: places, directories, batches of entries; where it begins and ends
 *   copy-file.c    contents
 *   copy-node.c    making nodes, what stands there already, links, metadata
 *   copy-report.c  messages
 *
 * A place is a directory that is being copied, open on both sides.  Each task of its entries
 * refers to it; with the last of them it gets its times, and is closed.
 */

#ifndef CASEFS_COPY_ENGINE_H
#define CASEFS_COPY_ENGINE_H

#include "copy-pool.h"
#include "copy-sides.h"

#include <pthread.h>

struct copy {
  struct copy_options options;
  struct copy_totals totals;
  const struct source *source;
  const struct destination *destination;
  struct pool *pool;
  struct link_table *links;
  struct node_set *made;    /* by this copy, in directories that were there before */
  const struct handle *top; /* of the destination, for paths of links */
  atomic_bool stopped;      /* nothing further can be copied */
  atomic_uint lost[METADATA_PARTS];
  pthread_mutex_t output;
  struct progress progress;
};

struct place {
  struct copy *copy;
  atomic_uint references;
  struct object source;
  struct handle target;
  bool fresh;       /* this place was made by this copy, for this source */
  bool ours;        /* what is in it was made by this copy */
  char *from;       /* its path, for messages */
  const char *only; /* not NULL: the path of the one entry of it that is copied */
  char *to;         /* its path from the top of the destination; empty: the top itself */
  struct listing listing;
};

/* ---------------------------------------------------------------- places */

void copy_hold_place(struct place *place);
void copy_release_place(struct place *place);

/* ---------------------------------------------------------------- messages */

bool copy_to_volume(const struct copy *copy);
bool copy_from_volume(const struct copy *copy);

/* A sentence; an error is counted. */
void copy_report(struct copy *copy, bool error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* An entry of the place, or with an empty name the place itself, could not be read, or written. */
void copy_fail_reading(struct copy *copy, const struct place *place, const char *name, int error);
void copy_fail_writing(struct copy *copy, const struct place *place, const char *name, int error);
/* Whether an error of the destination will come with every other node as well. */
bool copy_is_final(const struct copy *copy, int error);
/* It was copied: for --verbose. */
void copy_say(struct copy *copy, const struct place *place, const char *name);
void copy_show_progress(struct copy *copy);
void copy_report_lost(struct copy *copy);

/* Whether to do nothing further. */
bool copy_is_stopped(struct copy *copy);

/* Paths, the caller's to free: of an entry of a directory, and of an entry in the source. */
char *copy_path_in(const char *directory, const char *name);
char *copy_source_path(const struct place *place, const char *name);

/* ------------------------------------------------------------------ nodes */

/* Read metadata, and let the object's attributes know what of it they can hold. */
int copy_read_metadata(struct copy *copy, struct object *object, struct metadata *metadata);
/* Returns 1 if something was written, or may have been. */
int copy_write_metadata(struct copy *copy, struct handle *handle, const struct metadata *metadata,
                        bool fresh, void *buffer);

bool copy_is_file(enum casefs_type type);
bool copy_is_image(const struct copy *copy, uint64_t device, uint64_t id);

/* Make a node that is no directory, in place of what may be replaced; or, if it was made by
 * another name, that link.  Returns whether there is a new node to be filled, *target if it is a
 * file; *fresh: it was not there before.  What went wrong was said. */
bool copy_make_node(struct place *place, const char *name, const struct object *object,
                    struct handle *target, bool *fresh);

/* Nodes made in a directory that was there before are remembered. */
void copy_remember(struct place *place, const char *name);

/* What stands where a directory shall be made: whether to copy into it; else that was said.
 * *ours: it was made by this copy. */
bool copy_may_merge(struct place *parent, const char *name, const struct object *object,
                    const struct standing *standing, bool *ours);

/* ------------------------------------------------------------------ files */

/* Copy an entry to the place, and close the object. */
void copy_file(struct place *place, const char *name, struct object *object, void *buffer);
/* Symbolic links and special files. */
void copy_other(struct place *place, const char *name, struct object *object, void *buffer);

#endif
