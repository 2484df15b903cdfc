/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Checking a volume, and mending it: what the parts share.
 *
 * A round goes through the volume in phases, from what everything rests on to what rests on it:
 *
 *   superblocks -> structure of the tree -> space log -> records, one by one and by node
 *     -> blocks (used, free, lost) -> what records say of each other -> counts
 *
 * The records come in the order of their keys, so that a node's are together.  What is far apart
 * is compared by sums of hashes: an entry adds what its link takes away.  Only if a sum is
 * not zero does a phase look closer, with lookups.  So a check keeps little in memory: the runs of
 * used blocks, and the directories.
 *
 * Each problem is reported where it is found.  If it is to be mended, its edits go to the plan,
 * which is carried out after the phase (repair.h); then a new round begins.
 */

#ifndef CASEFS_CHECK_H
#define CASEFS_CHECK_H

#include "space.h"
#include "tree.h"
#include "volume.h"

/* ------------------------------------------------------------------ problems
 * Their texts are in check-problems.c, their numbers in fsck.casefs(8). */

enum problem_number {
  PROBLEM_NO_SUPERBLOCK = 101,
  PROBLEM_SLOT = 102,
  PROBLEM_SLOT_LOST = 103,
  PROBLEM_SLOT_UUID = 104,
  PROBLEM_UUID = 105,
  PROBLEM_SHORT_DEVICE = 106,
  PROBLEM_SHRUNK = 107,
  PROBLEM_LABEL = 108,
  PROBLEM_NEXT_ID = 109,
  PROBLEM_NODE_COUNT = 110,
  PROBLEM_FOLD_CHECKSUM = 111,

  PROBLEM_TREE_NODE = 201,
  PROBLEM_TREE_ORDER = 202,
  PROBLEM_TREE_EMPTY = 203,
  PROBLEM_TREE_SHARED = 204,

  PROBLEM_LOG = 301,
  PROBLEM_LOG_SHARED = 302,
  PROBLEM_USED_FREE = 303,
  PROBLEM_LOST_BLOCKS = 304,
  PROBLEM_FREE_TWICE = 305,

  PROBLEM_KEY = 401,
  PROBLEM_ID = 402,
  PROBLEM_FOLD_TABLE = 403,
  PROBLEM_NO_FOLD_TABLE = 404,
  PROBLEM_ORPHAN = 405,

  PROBLEM_NO_NODE = 501,
  PROBLEM_NODE = 502,
  PROBLEM_NO_ROOT = 503,
  PROBLEM_ROOT = 504,
  PROBLEM_MODE = 505,
  PROBLEM_ATTRIBUTES = 506,
  PROBLEM_CASE_FLAG = 507,
  PROBLEM_PARENT = 508,
  PROBLEM_SIZE = 509,
  PROBLEM_STRAY = 510,
  PROBLEM_TARGET = 511,
  PROBLEM_NO_TARGET = 512,
  PROBLEM_BLOCKS = 513,
  PROBLEM_EA_SIZE = 514,
  PROBLEM_NO_REPARSE = 515,
  PROBLEM_REPARSE_TAG = 516,

  PROBLEM_LINK = 601,
  PROBLEM_ENTRY = 602,
  PROBLEM_ENTRY_FOLD = 603,
  PROBLEM_ENTRY_TWICE = 604,
  PROBLEM_STREAM = 605,
  PROBLEM_STREAM_FOLD = 606,
  PROBLEM_STREAM_TWICE = 607,
  PROBLEM_ENTRY_NO_NODE = 608,
  PROBLEM_ENTRY_TYPE = 609,
  PROBLEM_ENTRY_NO_LINK = 610,
  PROBLEM_LINK_NO_ENTRY = 611,
  PROBLEM_DIRECTORY_LINKS = 612,
  PROBLEM_STREAM_NO_NODE = 613,
  PROBLEM_STREAM_PARENT = 614,
  PROBLEM_STREAM_NAMELESS = 615,
  PROBLEM_NAMELESS = 616,
  PROBLEM_UNREACHABLE = 617,
  PROBLEM_LINKS = 618,
  PROBLEM_ENTRIES = 619,
  PROBLEM_STREAMS = 620,
  PROBLEM_STREAM_AGAIN = 621,

  PROBLEM_EA = 701,
  PROBLEM_EA_NAME = 702,
  PROBLEM_EA_PACKED = 703,
  PROBLEM_REPARSE = 704,
  PROBLEM_DESCRIPTOR = 705,
  PROBLEM_DESCRIPTOR_SUM = 706,
  PROBLEM_DESCRIPTOR_USERS = 707,
  PROBLEM_DESCRIPTOR_HASH = 708,
  PROBLEM_NO_DESCRIPTOR = 709,

  PROBLEM_EXTENT = 801,
  PROBLEM_EXTENT_OVERLAP = 802,
  PROBLEM_EXTENT_SHARED = 803,
  PROBLEM_EXTENT_PAST_END = 804,
  PROBLEM_DATA = 805,
  PROBLEM_DATA_PAST_END = 806,
};

#define LIMIT_ID (UINT64_MAX / 2 - 1) /* ids are below */

/* What has been reported and how often, so that nothing is for ever. */
struct problem_memory {
  struct told *told;
  size_t count, capacity;
};

/* A record where it stands in its page. */
struct record {
  const uint8_t *key, *value;
  uint32_t key_length, length;
};

static inline uint64_t record_id(const struct record *record) {
  return load64_big(record->key);
}

static inline uint8_t record_type(const struct record *record) {
  return record->key[8];
}

struct id_list {
  uint64_t *ids;
  size_t count, capacity;
};

int id_list_add(struct id_list *list, uint64_t id);
void id_list_sort(struct id_list *list);
/* In an ascending list: the index of an id, the first of the same, or -1. */
ptrdiff_t id_list_find(const struct id_list *list, uint64_t id);
void id_list_free(struct id_list *list);

/* A directory that has a name. */
struct directory {
  uint64_t id, parent;
  size_t passed; /* by the search that began at this directory, counted from 1 */
  bool reached;
};

/* What a node's records come to, where its own record says something else. */
struct miscount {
  uint64_t id;
  uint64_t links, entries, streams;
};

/* A value in parts, as they come. */
struct parts {
  struct key prefix; /* without the part number */
  bool open;         /* between the first record and the end */
  bool bad;
  uint32_t length;     /* of the value */
  uint32_t next;       /* part */
  uint32_t filled;     /* bytes of the value so far, in check->value */
  struct id_list seen; /* parts */
};

/* A node as its records go by. */
struct group {
  uint64_t id;
  bool any;       /* a group has begun */
  bool sound;     /* there is at least one record worth having a node for */
  bool present;   /* with a node record */
  bool malformed; /* with one that is not sound */
  bool type_lost;
  bool changed;  /* the record is to be stored */
  bool nameless; /* an orphan without links: what is left of it does not matter */
  bool orphan;
  struct node_record record;
  uint64_t links, entries, streams;
  struct key link; /* the first */
  bool parent_link;
  struct key name; /* the last entry or stream, up to the end of its fold */
  uint64_t ea_packed;
  uint32_t tag;
  bool has_reparse, has_target;
  uint32_t target_length;
  uint64_t extent_blocks, extents_end;
  uint64_t data_end; /* bytes up to which extents hold something */
};

struct check {
  struct casefs_device *device;
  struct casefs_check_options options;
  struct casefs_check_result *result;
  struct problem_memory memory;
  unsigned round;        /* from 1 on */
  int error;             /* of a place that cannot return one */
  struct plan *plan;     /* NULL: nothing is to be mended */
  casefs_volume *volume; /* while it is mended; when its owner last showed a sign of life */
  uint64_t beat;
  bool silent; /* the plan is full: no more reports in this round */

  uint64_t device_blocks;
  struct superblock superblock;
  uint64_t found_blocks;   /* in the volume, before a short device has made that fewer */
  bool superblock_changed; /* to be written by the repair */
  bool superblock_made;    /* of nothing */
  bool slots_damaged;      /* all are to be written */

  /* Of this round. */
  bool torn, mend_tree; /* the tree is not whole; and that is to be mended */
  bool log_read, log_good;
  bool space_wrong, mend_space; /* free is what is not, or the other way round; the same */
  struct space used;            /* blocks in use: nodes, log, extents */
  struct space dropped;         /* blocks of extents that the plan takes away from them */
  struct space log;
  uint64_t leaves_done, leaves_total;
  struct group group;
  struct parts parts;
  uint8_t *value; /* a value in parts: CASEFS_MAX_SECURITY bytes, once it is needed */
  uint8_t *data;  /* of an extent, the same */
  uint64_t descriptor_users, descriptor_hash; /* of the one in parts */
  bool descriptors_unused, fold_seen, names_suspect;
  struct user_counts *users; /* while they are counted */
  uint64_t nodes, highest_id;
  uint64_t name_sum, type_sum, stream_sum, security_sum, hash_sum;
  struct id_list orphans, orphans_seen;
  struct id_list named_streams; /* while they are looked at closer */
  struct directory *directories;
  size_t directory_count, directory_capacity;
  struct miscount *miscounts;
  size_t miscount_count, miscount_capacity;

  struct tree tree; /* for looking closer */
  bool tree_open;
};

/* ------------------------------------------------------------------ problems */

/* Report a problem with the arguments of its text; returns whether it is to be mended.  Once an
 * error has been noted in check->error nothing is. */
bool report(struct check *check, enum problem_number number, uint64_t id, uint64_t offset, ...);
/* To be called often, also for the owner's mark. */
void progress(struct check *check, const char *phase, uint64_t done, uint64_t total);
/* A path of a node, or what can be had of it; for people. */
void describe_node(struct check *check, uint64_t id, char *text, size_t size);

/* ---------------------------------------------------------------------- phases
 * They return 0 or a negative errno. */

int check_superblocks(struct check *check);
int check_structure(struct check *check);
int check_log(struct check *check);
int check_records(struct check *check);
int check_blocks(struct check *check);
int check_names(struct check *check);
int check_streams(struct check *check);
int check_descriptors(struct check *check);
int check_counts(struct check *check);

/* --------------------------------------------------------------------- the tree */

typedef int visit_record(struct check *check, const struct record *record);

/* All records in order.  What cannot be read is reported and sets check->torn. */
int walk_records(struct check *check, const char *phase, visit_record *visit);

/* Read a node that may be anywhere.  As tree_read_page. */
int check_read_page(struct check *check, struct pointer pointer, unsigned level, uint8_t *page);

/* check->tree, opened if it is not yet. */
int closer(struct check *check);
int closer_node(struct check *check, uint64_t id, struct node_record *record);

/* ------------------------------------------------------------------ used blocks */

/* The first run of a set that ends after a block. */
bool marks_first(const struct space *set, uint64_t block, struct block_run *found);
/* The first block of a range that is in the set. */
bool marks_overlap(const struct space *set, uint64_t block, uint64_t count, uint64_t *first);
/* Add what of a range is not in the set yet; all of another set. */
int marks_fill(struct space *set, uint64_t block, uint64_t count);
int marks_copy(struct space *to, const struct space *from);

/* Go through the runs of a set in order; through what of a range, or of all that can be allocated,
 * is not in it.  visit returns nonzero to stop. */
typedef int visit_run(void *context, uint64_t block, uint64_t count);
int marks_visit(const struct space *set, visit_run *visit, void *context);
int marks_visit_missing(const struct space *set, uint64_t block, uint64_t count, visit_run *visit,
                        void *context);
int marks_visit_gaps(const struct space *set, visit_run *visit, void *context);

/* ------------------------------------------------------------------ records by kind
 * All are given records of check->group. */

int check_link(struct check *check, const struct record *record);
int check_entry(struct check *check, const struct record *record);
int check_stream(struct check *check, const struct record *record);
int check_ea(struct check *check, const struct record *record);
int check_reparse(struct check *check, const struct record *record);
int check_target(struct check *check, const struct record *record);
int check_extent(struct check *check, const struct record *record);
/* Records of id 0. */
int check_fold_table(struct check *check, const struct record *record);
int check_descriptor(struct check *check, const struct record *record);
int check_descriptor_hash(struct check *check, const struct record *record);
/* A record of another kind or the end has come: judge the value in parts that was under way. */
int parts_finish(struct check *check);

/* Hashes for the sums. */
uint64_t name_hash(uint64_t id, uint64_t directory, const void *name, size_t length);
uint64_t pair_hash(uint64_t a, uint64_t b);

/* ---------------------------------------------------------------------- the plan
 * (repair-plan.c)  Nothing is collected where there is no plan. */

enum step_kind { STEP_PUT, STEP_REMOVE, STEP_RESCUE, STEP_EXTENT, STEP_OWN_EXTENT };

struct step {
  enum step_kind kind;
  size_t offset; /* of key, then value, in the plan's bytes */
  uint32_t key_length, length;
};

struct plan {
  struct step *steps;
  size_t count, capacity;
  uint8_t *bytes;
  size_t used, size;
};

int plan_put(struct check *check, const struct key *key, const void *value, size_t length);
int plan_remove(struct check *check, const struct key *key);
int plan_remove_record(struct check *check, const struct record *record);
int plan_node(struct check *check, uint64_t id, const struct node_record *record);
/* Give the node a name in lost+found. */
int plan_rescue(struct check *check, uint64_t id);
/* Keep of an extent what can be read: in its place if its blocks are its own, else elsewhere. */
int plan_extent(struct check *check, const struct record *record, bool own);
bool plan_empty(const struct check *check);
/* No more is to be planned in this round. */
bool plan_full(const struct check *check);
void plan_clear(struct plan *plan);

/* ------------------------------------------------------------------------ mending */

/* Carry out what a round has found and planned (repair.c). */
int repair_round(struct check *check);
/* The volume to be changed, with neither space nor tree; its first commit; the last, and all that
 * goes with it; its end. */
int repair_begin(struct check *check, casefs_volume **volume);
int repair_commit(casefs_volume *volume);
int repair_finish(struct check *check, casefs_volume *volume);
void repair_end(struct check *check, casefs_volume *volume);

/* A node of a new tree that has no parent yet. */
struct child {
  struct pointer pointer;
  const uint8_t *key; /* its first */
  uint32_t key_length;
};
/* Write inner nodes above `count` leaves in order, and make the result the volume's tree; without
 * any, an empty one.  The array has room for one, and is used up. */
int repair_build(casefs_volume *volume, struct child *children, size_t count);

int repair_extent(struct check *check, casefs_volume *volume, const struct record *record,
                  bool own);
/* Whether some block of a data extent is still what was written; true of other records. */
bool repair_has_data(struct check *check, const struct key *key, const uint8_t *value,
                     uint32_t length);
int repair_rescue(casefs_volume *volume, uint64_t id);

/* Make the tree whole from what can be read of it (repair-salvage.c). */
int repair_tree(struct check *check);

/* What is found by looking at all blocks (repair-scan.c): nodes of the volume with this beginning
 * of a UUID. */
struct found_node {
  struct pointer pointer;
  uint8_t level;
  bool in_free;    /* where the space log says that nothing is */
  uint32_t prefix; /* of the UUID */
};
struct found_nodes {
  struct found_node *nodes;
  size_t count, capacity;
};
/* Look at the blocks that are not in `except`; uuid NULL: of any volume. */
int scan_nodes(struct check *check, const struct space *except, const uint8_t *uuid,
               struct found_nodes *found);
/* Make a superblock where none can be read.  -ENODATA. */
int scan_superblock(struct check *check);

#endif
