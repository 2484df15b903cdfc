/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Inside the copy engine: what it needs of a side to copy from, and of a side to copy to.  The
 * local file system and a volume can be either.
 *
 *          copy.c: walks, decides, counts
 *            |                      |
 *      struct source          struct destination
 *       |          |            |          |
 *   copy-local  copy-volume  copy-local  copy-volume
 */

#ifndef CASEFS_COPY_SIDES_H
#define CASEFS_COPY_SIDES_H

#include "copy.h"
#include "metadata.h"

enum { COPY_BUFFER = 1 << 20 }; /* each thread's, and a piece of a large file */

/* An open node of either side. */
struct handle {
  casefs_node *node;       /* in a volume */
  int descriptor;          /* on the local file system; -1: none */
  uint64_t device;         /* there; 0: not known */
  enum metadata_form form; /* of that device */
  bool gives_group;        /* a local directory: new entries get its group */
};

#define NO_HANDLE ((struct handle){.descriptor = -1})

/* A node to be copied. */
struct object {
  struct handle handle;
  struct casefs_attributes attributes; /* id: on that device, an inode number on a local one */
  uint64_t device;
  bool sparse;  /* holes are worth looking for */
  char *target; /* of a symbolic link */
  size_t target_length;
};

/* The names of a directory. */
struct listing {
  char *names; /* one after the other, zero-terminated */
  size_t used, capacity;
  struct listing_entry {
    size_t at;
    enum casefs_type type; /* a hint; 0: not known */
  } * entries;
  size_t count, room;
};

void listing_add(struct listing *listing, const char *name, size_t length, enum casefs_type type);
void listing_sort(struct listing *listing); /* nearly as a volume sorts its entries */
void listing_clear(struct listing *listing);

static inline const char *listing_name(const struct listing *listing, size_t i) {
  return listing->names + listing->entries[i].at;
}

enum opening {
  OPEN_ENTRY,     /* the name is one of a listing */
  OPEN_NO_FOLLOW, /* it was given by a user: in a volume it may be that of a stream, "file:stream"
                   */
  OPEN_FOLLOW,
};

/* All functions return 0 or a count, or a negative errno. */
struct source {
  /* Open an entry of a directory, or with an empty name the directory itself.  type: a hint. */
  int (*open)(const struct handle *directory, const char *name, enum casefs_type type,
              enum opening opening, struct object *object);
  void (*close)(struct object *object);
  int (*list)(struct object *directory, void *buffer, struct listing *listing);
  /* The data at or after offset: from *start to *end.  Returns 1, or 0 if there is none. */
  int (*next_data)(struct object *file, uint64_t offset, uint64_t *start, uint64_t *end);
  int64_t (*read)(struct object *file, void *buffer, size_t count, uint64_t offset);
  /* Windows metadata; lost[part] counts what is malformed. */
  int (*metadata)(struct object *object, enum copy_metadata wanted, struct metadata *metadata,
                  unsigned lost[METADATA_PARTS]);
};

/* What stands where a node shall be. */
struct standing {
  enum casefs_type type;
  uint64_t device, id;
  char name[CASEFS_MAX_NAME + 1]; /* as stored; empty: not known */
};

struct destination {
  /* An entry that is a directory, or with an empty name the directory itself. */
  int (*open_directory)(const struct handle *directory, const char *name, struct handle *handle);
  /* Make a node like that, and open it if it is a file or directory.  -EEXIST. */
  int (*make)(const struct handle *directory, const char *name, const struct object *like,
              struct handle *handle);
  int (*look)(const struct handle *directory, const char *name, struct standing *standing);
  /* Open an existing file, the standing one (else -EAGAIN), and empty it. */
  int (*open_file)(const struct handle *directory, const char *name,
                   const struct standing *standing, struct handle *handle);
  /* Remove anything but a directory. */
  int (*remove)(const struct handle *directory, const char *name);
  int64_t (*write)(struct handle *file, const void *buffer, size_t count, uint64_t offset);
  int (*set_size)(struct handle *file, uint64_t size);
  /* Give it metadata; replace: and nothing else of that kind.  lost[part] counts what cannot be
   * kept there, which is no error. */
  int (*metadata)(struct handle *handle, const struct metadata *metadata, bool replace,
                  enum copy_metadata wanted, void *buffer, unsigned lost[METADATA_PARTS]);
  /* Mode, owner and times.  fresh: it was made like that; changed: and then written to. */
  int (*finish)(const struct handle *directory, const char *name, struct handle *handle,
                const struct object *like, bool fresh, bool changed);
  /* Another name for a node that was made: known by its id, or by a path from top. */
  int (*link)(const struct handle *top, const char *path, uint64_t id,
              const struct handle *directory, const char *name);
  void (*close)(struct handle *handle);
};

extern const struct source local_source, volume_source;
extern const struct destination local_destination, volume_destination;

/* ------------------------------------------------------------------ tables */

/* A set of nodes, by identity. */
struct node_set;
struct node_set *node_set_new(void);
void node_set_free(struct node_set *set);
void node_set_add(struct node_set *set, uint64_t device, uint64_t id);
bool node_set_has(struct node_set *set, uint64_t device, uint64_t id);

/* Nodes with several names, by the identity of the source. */
struct link_table;
struct made_link {
  uint64_t id;      /* of the node in the destination */
  const char *path; /* of it from the top of the destination; the table's own */
};
struct link_table *link_table_new(void);
void link_table_free(struct link_table *table);
/* True: it was made, and *made tells where.  False: it is the caller's to make, who must then call
 * link_table_made soon; whoever else asks meanwhile waits. */
bool link_table_find(struct link_table *table, uint64_t device, uint64_t id,
                     struct made_link *made);
/* path NULL: it could not be made. */
void link_table_made(struct link_table *table, uint64_t device, uint64_t id, uint64_t made,
                     const char *path);

#endif
