/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A little language for what is done to a volume, one operation a line (or
 * parted by ';'), such as
 *
 *     mkdir /d; create /d/f; write /d/f 0 5000 7; rename /d/f /g; sync
 *
 * Bytes that would confuse it are written %XX.  Contents, descriptors and the
 * like are named by a number they follow from.  A world is a volume and its
 * model; each step is done to both, and what they answer compared.
 */

#ifndef CASEFS_TEST_WORKLOAD_H
#define CASEFS_TEST_WORKLOAD_H

#include "casefs.h"
#include "dice.h"
#include "model.h"

#include <stdbool.h>

enum operation_kind {
  OPERATION_CREATE,            /* path */
  OPERATION_CREATE_FULL,       /* path seed: with everything a creation can have */
  OPERATION_MKDIR,             /* path */
  OPERATION_MKDIR_SENSITIVE,   /* path */
  OPERATION_MKDIR_INSENSITIVE, /* path */
  OPERATION_SYMLINK,           /* path target */
  OPERATION_SPECIAL,           /* path type rdev */
  OPERATION_LINK,              /* path new-path */
  OPERATION_UNLINK,            /* path */
  OPERATION_RMDIR,             /* path */
  OPERATION_RENAME,            /* path new-path */
  OPERATION_RENAME_NOREPLACE,  /* path new-path */
  OPERATION_EXCHANGE,          /* path path */
  OPERATION_WRITE,             /* path offset count seed */
  OPERATION_APPEND,            /* path count seed */
  OPERATION_TRUNCATE,          /* path size */
  OPERATION_PUNCH,             /* path offset count */
  OPERATION_ALLOCATE,          /* path offset count keep-size */
  OPERATION_READ,              /* path offset count */
  OPERATION_LOOK,              /* path */
  OPERATION_LIST,              /* path */
  OPERATION_EA_SET,            /* path name length seed flags */
  OPERATION_EA_REMOVE,         /* path name */
  OPERATION_STREAM_CREATE,     /* path name exclusive */
  OPERATION_STREAM_WRITE,      /* path name offset count seed */
  OPERATION_STREAM_TRUNCATE,   /* path name size */
  OPERATION_STREAM_REMOVE,     /* path name */
  OPERATION_STREAM_RENAME,     /* path name new-name */
  OPERATION_SECURITY_SET,      /* path seed */
  OPERATION_SECURITY_REMOVE,   /* path */
  OPERATION_REPARSE_SET,       /* path seed length */
  OPERATION_REPARSE_REMOVE,    /* path seed */
  OPERATION_SET_CASE,          /* path insensitive */
  OPERATION_SET_ATTRIBUTES,    /* path mask seed */
  OPERATION_LABEL,             /* label */
  OPERATION_HOLD,              /* path slot: open it, and keep it open */
  OPERATION_HOLD_STREAM,       /* path name slot */
  OPERATION_RELEASE,           /* slot */
  OPERATION_HELD_WRITE,        /* slot offset count seed */
  OPERATION_HELD_TRUNCATE,     /* slot size */
  OPERATION_HELD_READ,         /* slot offset count */
  OPERATION_SYNC,
  OPERATION_KINDS
};

enum {
  OPERATION_TEXT = 32768,   /* bytes of a line */
  OPERATION_DATA = 4 << 20, /* bytes that one operation may read or write */
  OPERATION_NUMBERS = 4,
  OPERATION_WORDS = 3,
  WORLD_HELD = 4, /* slots */
};

struct operation {
  enum operation_kind kind;
  char text[OPERATION_TEXT];                    /* as written */
  char words[OPERATION_TEXT + OPERATION_WORDS]; /* unescaped */
  const char *word[OPERATION_WORDS];
  uint64_t number[OPERATION_NUMBERS];
};

/* Read the operation that a text begins with: where the next begins, or NULL if it is no
 * operation.  Empty ones are skipped; at the end of the text the kind is OPERATION_KINDS. */
const char *operation_parse(const char *text, struct operation *operation);
/* Append a name to a line, escaped. */
void operation_escape(char *line, const char *name, size_t length);

struct world {
  struct model *model;
  casefs_volume *volume;
  casefs_node *root;
  struct {
    casefs_node *node;
    struct model_node *model;
  } held[WORLD_HELD];
  /* Failures that may happen to any operation, and change nothing: a set of these. */
  unsigned tolerated;
  /* Told before and after each group of calls into the library that does one operation. */
  void (*watch)(bool begins);
  uint64_t last_id; /* the largest that was given out */
  char message[MODEL_MESSAGE];
};

enum world_tolerance {
  TOLERATE_NO_SPACE = 1,
  TOLERATE_NO_MEMORY = 2,
  TOLERATE_IO = 4,
};

/* What an error number is, of those that can be tolerated; else 0. */
unsigned world_tolerance(int64_t error);

/* A world of an open volume and a model of what it holds; both stay the caller's. */
int world_start(struct world *world, casefs_volume *volume, struct model *model);
/* Close what is open. */
void world_end(struct world *world);

enum world_outcome {
  WORLD_DONE,    /* as the model says, be it a success or an error */
  WORLD_REFUSED, /* a tolerated failure */
  WORLD_WRONG,   /* see message */
};

enum world_outcome world_step(struct world *world, const struct operation *operation);

/* All operations of a text; the first that is WRONG ends it. */
enum world_outcome world_run(struct world *world, const char *text);

/* Do it to a volume that has no model, whatever comes of it. */
void world_try(casefs_volume *volume, const struct operation *operation);

/* Scan the volume and compare: 0, or -1 with message. */
int world_compare(struct world *world);

/* ------------------------------------------------------------ descriptors etc. */

/* Well-formed ones, each following from the seed; return their length. */
size_t make_security(uint64_t seed, unsigned char buffer[CASEFS_MAX_SECURITY]);
size_t make_reparse(uint64_t seed, size_t data, unsigned char buffer[CASEFS_MAX_REPARSE]);
struct casefs_attributes make_attributes(uint64_t seed);
/* Of a file.  Its descriptor is in security. */
struct casefs_creation make_creation(uint64_t seed, unsigned char security[CASEFS_MAX_SECURITY]);

/* ---------------------------------------------------------------- generators */

/* The tree that scripted workloads begin with: text that makes it on an empty volume. */
extern const char starting_tree[];

/* Workload number index of those of one operation on the starting tree; false: there are not as
 * many. */
bool one_operation(size_t index, char line[OPERATION_TEXT]);
size_t one_operation_count(void);

/* An operation on what the model holds, mostly one that can succeed. */
struct random_profile {
  unsigned names;   /* how many different ones in a directory, about */
  uint64_t largest; /* of files, bytes */
  unsigned depth;
  bool long_names, hold, sparse;
};
void random_operation(struct model *model, struct dice *dice, const struct random_profile *profile,
                      char line[OPERATION_TEXT]);

#endif
