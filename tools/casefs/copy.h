/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The copy engine: trees from the local file system into a volume, out of one, and from volume to
 * volume, by a pool of threads, in one pass.
 *
 * An error with one node is reported and counted, and the others are copied all the same.  What
 * concerns all of them (no space, a failed device) ends the copy with one message.
 * Sources to link: copy.c copy-file.c copy-node.c copy-report.c copy-pool.c copy-tables.c
 * copy-local.c copy-volume.c metadata.c metadata-local.c, and those of tool.h.
 */

#ifndef CASEFS_COPY_H
#define CASEFS_COPY_H

#include "progress.h"
#include "tool.h"

#include <stdatomic.h>
#include <sys/types.h>

/* One side of a copy: an entry of a directory, or with an empty name the directory itself. */
struct copy_side {
  casefs_node *directory; /* in a volume; NULL: on the local file system */
  int descriptor;         /* there: the open directory */
  const char *name;
  const char *path; /* what messages call it */
};

/* How Windows metadata appears on the local file system: see casefs(1), "WINDOWS METADATA". */
enum copy_metadata {
  COPY_METADATA_AUTO, /* as found there; written as suits the place */
  COPY_METADATA_NONE,
  COPY_METADATA_NTFS_3G,
  COPY_METADATA_SAMBA,
};

/* A local file that is a volume of this copy: it is neither read nor written as a file. */
struct copy_image {
  dev_t device;
  ino_t inode;
};

struct copy_options {
  unsigned jobs;     /* threads; 0: 4 */
  unsigned parallel; /* requests that the devices like to have under way at once */
  bool recursive;    /* directories too; symbolic links are copied as such */
  bool archive;      /* also the attributes of directories that are there already */
  bool no_clobber;   /* leave files that are there already */
  bool force;        /* remove a file that cannot be opened for writing, and try again */
  bool verbose;      /* print what is copied */
  enum copy_metadata metadata;
  const struct copy_image *images; /* stay the caller's */
  size_t image_count;
  uint64_t expected; /* bytes of contents, for the progress; 0: not known */
};

/* Counters that grow while a copy runs. */
struct copy_totals {
  atomic_ullong files, directories, others, links; /* made */
  atomic_ullong bytes;                             /* of contents, without holes */
  atomic_ullong skipped;                           /* there already, with no_clobber */
  atomic_ullong errors;
};

struct copy *copy_new(const struct copy_options *options);

/* Copy one node, and with recursive what is below it.  May be called again, for other sources: what
 * one has made, another does not overwrite.  Returns false when nothing further can be copied. */
bool copy_node(struct copy *copy, const struct copy_side *from, const struct copy_side *to);

const struct copy_totals *copy_totals(const struct copy *copy);

/* Report what concerns the whole (metadata that was lost), and free.  Returns whether there was no
 * error. */
bool copy_end(struct copy *copy);

/* "auto", "none", "ntfs-3g", "samba". */
bool parse_copy_metadata(const char *text, enum copy_metadata *metadata);

#endif
