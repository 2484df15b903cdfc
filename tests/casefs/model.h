/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a volume should hold and answer: a tree of plain nodes in memory, with
 * the rules that casefs.h states, in the plainest way they can be written.
 *
 * The functions bear the names and take the arguments of the library's, and
 * return what it should return.  During a rehearsal they change nothing.
 */

#ifndef CASEFS_TEST_MODEL_H
#define CASEFS_TEST_MODEL_H

#include "casefs.h"
#include "image.h"

#include <stdbool.h>

struct model_node;

struct model_blob {
  unsigned char *bytes;
  size_t length;
};

/* Something under a name: an entry, a stream or an extended attribute. */
struct model_item {
  struct model_blob name, fold;
  struct model_node *node; /* entries and streams */
  struct model_blob value; /* attributes */
  uint8_t flags;
};

/* Sorted by fold, then name. */
struct model_dictionary {
  struct model_item *items;
  size_t count, room;
};

/* The pages of a file that are not all zeros, in order. */
struct model_content {
  struct model_page {
    uint64_t number;
    struct image_page *page;
  } * pages;
  size_t count, room;
};

struct model_node {
  struct casefs_attributes attributes; /* allocated: not modelled */
  struct model_dictionary entries, streams, eas;
  struct model_content content;
  struct model_blob target, security, reparse;
  struct model_node *owner; /* of a stream that is still there: its node; of a directory: parent */
  unsigned holders;         /* open handles */
  bool touched;             /* its times may have become now */
  bool added;               /* its id and times are not known yet */
  unsigned visit;           /* a mark of the walk that was here last */
  unsigned names;           /* while a tree is destroyed: those that are left */
};

enum { MODEL_TOUCHED = 16 };

struct model {
  struct model_node *root;
  size_t nodes; /* streams not counted */
  char label[CASEFS_MAX_LABEL + 1];
  bool rehearsal;
  struct model_node *touched[MODEL_TOUCHED];
  size_t touched_count;
};

/* A model of a fresh volume; its root's attributes are to be set. */
struct model *model_create_empty(bool case_insensitive);
/* Of the tree only: without open handles and what only they keep. */
struct model *model_clone(const struct model *model);
/* Close what is held first. */
void model_destroy(struct model *model); /* NULL is allowed */

/* Forget which nodes were touched. */
void model_settle(struct model *model);

enum { MODEL_MESSAGE = 1024 };

/* Compare two trees: 0, or -1 with the first difference in message. */
int model_compare(struct model *is, struct model *should, char message[MODEL_MESSAGE]);

/* Read a whole volume by the library's functions: 0, or -1 with what is wrong in message. */
int model_scan(casefs_volume *volume, struct model **model, char message[MODEL_MESSAGE]);

/* --------------------------------------------------------------------- paths */

/* Where a path leads: all but its last part must exist. */
struct model_place {
  struct model_node *directory; /* holds the last part; perhaps no directory; of "/": NULL */
  const char *name;             /* the last part, inside the path */
  size_t length;
  struct model_node *node; /* NULL: no such entry */
};

int model_find(struct model *model, const char *path, struct model_place *place);
struct model_item *model_lookup(struct model_node *directory, const char *name, size_t length);

/* Keep a node over the loss of its names.  Release with model_close. */
void model_hold(struct model_node *node);
void model_close(struct model *model, struct model_node *node);

/* ---------------------------------------------------------------- operations */

int model_make(struct model *model, struct model_node *directory, const char *name, size_t length,
               const struct casefs_creation *creation, struct model_node **node);
int model_link(struct model *model, struct model_node *node, struct model_node *directory,
               const char *name, size_t length);
int model_unlink(struct model *model, struct model_node *directory, const char *name,
                 size_t length);
int model_rmdir(struct model *model, struct model_node *directory, const char *name, size_t length);
int model_rename(struct model *model, struct model_node *from, const char *old_name,
                 size_t old_length, struct model_node *to, const char *new_name, size_t new_length,
                 unsigned flags);
int model_set_attributes(struct model *model, struct model_node *node, unsigned mask,
                         const struct casefs_attributes *attributes);
int model_set_label(struct model *model, const char *label);
int model_set_case(struct model *model, struct model_node *directory, bool insensitive);

int64_t model_read(struct model_node *node, void *buffer, size_t count, uint64_t offset);
int64_t model_write(struct model *model, struct model_node *node, const void *buffer, size_t count,
                    uint64_t offset);
int model_truncate(struct model *model, struct model_node *node, uint64_t size);
int model_punch(struct model *model, struct model_node *node, uint64_t offset, uint64_t count);
int model_allocate(struct model *model, struct model_node *node, uint64_t offset, uint64_t count,
                   bool keep_size);

int model_open_stream(struct model *model, struct model_node *node, const char *name, size_t length,
                      int flags, struct model_node **stream);
int model_remove_stream(struct model *model, struct model_node *node, const char *name,
                        size_t length);
int model_rename_stream(struct model *model, struct model_node *node, const char *old_name,
                        size_t old_length, const char *new_name, size_t new_length);
int model_set_ea(struct model *model, struct model_node *node, const char *name, size_t length,
                 const void *value, size_t size, uint8_t flags);
int model_set_security(struct model *model, struct model_node *node, const void *descriptor,
                       size_t length);
int model_set_reparse(struct model *model, struct model_node *node, const void *data,
                      size_t length);
int model_remove_reparse(struct model *model, struct model_node *node, uint32_t tag,
                         const uint8_t guid[16]);

/* ------------------------------------------------- for the model's own files */

void *model_take(size_t count, size_t size);
void model_set_blob(struct model_blob *blob, const void *bytes, size_t length);
bool model_same_blob(const struct model_blob *one, const struct model_blob *other);

struct model_node *model_node_create(const struct casefs_attributes *attributes);
void model_node_destroy(struct model_node *node);
void model_touch(struct model *model, struct model_node *node);

/* Names as model_fold folds them; eas of ASCII only. */
enum model_naming { MODEL_ENTRY_NAME, MODEL_STREAM_NAME, MODEL_EA_NAME };
int model_check_name(enum model_naming naming, const char *name, size_t length);
/* UTF-16 units, or -EILSEQ. */
int model_count_units(const char *name, size_t length);
size_t model_fold(enum model_naming naming, const char *name, size_t length,
                  char folded[CASEFS_MAX_NAME + 1]);

struct model_item *model_get(struct model_dictionary *dictionary, enum model_naming naming,
                             bool insensitive, const char *name, size_t length);
struct model_item *model_insert(struct model_dictionary *dictionary, enum model_naming naming,
                                const char *name, size_t length);
/* Also frees its names and value; the node stays. */
void model_erase(struct model_dictionary *dictionary, struct model_item *item);
int model_item_compare(const struct model_item *one, const struct model_item *other);

struct image_page *model_page(const struct model_content *content, uint64_t number);
void model_put_page(struct model_content *content, uint64_t number, struct image_page *page);
void model_clear_pages(struct model_content *content, uint64_t first, uint64_t end);

#endif
