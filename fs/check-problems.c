/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What can be wrong with a volume: a number, a sentence, and whether it can be
 * mended.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define MAX_TEXT 1200u
#define TRIES 3u /* rounds in which a problem may be mended before we give it up */

#define DATA_PROBLEMS 8                      /* hundreds: these name the file */
#define BEAT (OWNER_INTERVAL * 10000ull / 2) /* in units of casefs_now */

struct problem {
  enum problem_number number;
  bool can_be_mended;
  const char *text;
};

/* NAME is %.*s: a length, then bytes. */
#define NAME "\"%.*s\""

static const struct problem problems[] = {
    {PROBLEM_NO_SUPERBLOCK, true, "no superblock can be read"},
    {PROBLEM_SLOT, true, "a superblock slot is damaged"},
    {PROBLEM_SLOT_LOST, true, "a superblock slot has lost what was written to it"},
    {PROBLEM_SLOT_UUID, true, "a superblock slot belongs to another volume"},
    {PROBLEM_UUID, true, "the newest superblock has another UUID than the tree"},
    {PROBLEM_SHORT_DEVICE, true, "the volume is longer than the device: its end is missing"},
    {PROBLEM_SHRUNK, true, "the newest superblock makes the volume shorter than it was"},
    {PROBLEM_LABEL, true, "the label is not text, or too long"},
    {PROBLEM_NEXT_ID, true, "the next id, %" PRIu64 ", has been used: the highest is %" PRIu64},
    {PROBLEM_NODE_COUNT, true, "the number of nodes is %" PRIu64 ", but there are %" PRIu64},
    {PROBLEM_FOLD_CHECKSUM, true, "the checksum of the fold table is not that of its table"},

    {PROBLEM_TREE_NODE, true, "a node of the tree, level %u, cannot be read"},
    {PROBLEM_TREE_ORDER, true, "a node of the tree, level %u, has keys that belong elsewhere"},
    {PROBLEM_TREE_EMPTY, true, "a leaf of the tree is empty"},
    {PROBLEM_TREE_SHARED, true, "a node of the tree, level %u, takes blocks that are used twice"},

    {PROBLEM_LOG, true, "the space log cannot be read"},
    {PROBLEM_LOG_SHARED, true, "the space log takes blocks that are used twice"},
    {PROBLEM_USED_FREE, true, "%" PRIu64 " blocks are in use, but free in the space log"},
    {PROBLEM_LOST_BLOCKS, true, "%" PRIu64 " blocks are lost: neither in use nor free"},
    {PROBLEM_FREE_TWICE, true, "%" PRIu64 " blocks are free twice in the space log"},

    {PROBLEM_KEY, true, "a record has a malformed key (type %u)"},
    {PROBLEM_ID, true, "a record has an impossible id"},
    {PROBLEM_FOLD_TABLE, true, "the fold table is not that of its id"},
    {PROBLEM_NO_FOLD_TABLE, true, "the fold table is missing"},
    {PROBLEM_ORPHAN, true, "an orphan record is for what is no orphan"},

    {PROBLEM_NO_NODE, true, "a node's records are there, but not the node"},
    {PROBLEM_NODE, true, "a node's record is malformed"},
    {PROBLEM_NO_ROOT, true, "there is no root directory"},
    {PROBLEM_ROOT, true, "the root directory's record is not that of a root"},
    {PROBLEM_MODE, true, "the mode %o has bits that are none of permissions"},
    {PROBLEM_ATTRIBUTES, true, "the DOS attributes %x have bits that cannot be set"},
    {PROBLEM_CASE_FLAG, true, "what is no directory is marked as one without case"},
    {PROBLEM_PARENT, true, "the parent is %" PRIu64 ", but should be %" PRIu64},
    {PROBLEM_SIZE, true, "the size is %" PRIu64 ", but should be %" PRIu64},
    {PROBLEM_STRAY, true, "a record (type %u) is not one that this type of node has"},
    {PROBLEM_TARGET, true, "the target of a symbolic link is malformed"},
    {PROBLEM_NO_TARGET, true, "a symbolic link has no target"},
    {PROBLEM_BLOCKS, true,
     "the data takes %" PRIu64 " blocks by the node, but %" PRIu64 " by its extents"},
    {PROBLEM_EA_SIZE, true,
     "the extended attributes take %" PRIu64 " bytes by the node, but %" PRIu64 " by themselves"},
    {PROBLEM_NO_REPARSE, true, "the reparse point is missing, or not of the tag %x"},
    {PROBLEM_REPARSE_TAG, true, "the reparse tag is %x, but that of the reparse point is %x"},

    {PROBLEM_LINK, true, "a link has a name that cannot be"},
    {PROBLEM_ENTRY, true, "an entry is malformed"},
    {PROBLEM_ENTRY_FOLD, true, "the entry " NAME " stands under the fold of another name"},
    {PROBLEM_ENTRY_TWICE, true, "the entry " NAME " differs only in case from the one before"},
    {PROBLEM_STREAM, true, "a stream's name is malformed"},
    {PROBLEM_STREAM_FOLD, true, "the stream " NAME " stands under the fold of another name"},
    {PROBLEM_STREAM_TWICE, true, "the stream " NAME " differs only in case from the one before"},
    {PROBLEM_ENTRY_NO_NODE, true,
     "the entry " NAME " leads to node %" PRIu64 ", which is not there"},
    {PROBLEM_ENTRY_TYPE, true,
     "the entry " NAME " has type %u, but its node %" PRIu64 " has type %u"},
    {PROBLEM_ENTRY_NO_LINK, true, "the entry " NAME " is not among the links of its node %" PRIu64},
    {PROBLEM_LINK_NO_ENTRY, true, "the name " NAME " is not an entry of directory %" PRIu64},
    {PROBLEM_DIRECTORY_LINKS, true,
     "the directory has another name, " NAME ", in directory %" PRIu64},
    {PROBLEM_STREAM_NO_NODE, true, "the stream " NAME " leads to %" PRIu64 ", which is no stream"},
    {PROBLEM_STREAM_PARENT, true,
     "the stream " NAME " leads to %" PRIu64 ", which belongs to node %" PRIu64},
    {PROBLEM_STREAM_NAMELESS, true, "the stream has no name in its node %" PRIu64},
    {PROBLEM_NAMELESS, true, "the node has no name"},
    {PROBLEM_UNREACHABLE, true, "the directory cannot be reached from the root"},
    {PROBLEM_LINKS, true, "the number of links is %" PRIu64 ", but there are %" PRIu64},
    {PROBLEM_ENTRIES, true, "the number of entries is %" PRIu64 ", but there are %" PRIu64},
    {PROBLEM_STREAMS, true, "the number of streams is %" PRIu64 ", but there are %" PRIu64},

    {PROBLEM_STREAM_AGAIN, true, "the stream " NAME " leads to %" PRIu64 ", which has a name"},

    {PROBLEM_EA, true, "an extended attribute is malformed or not whole"},
    {PROBLEM_EA_NAME, true, "an extended attribute has a name that cannot be"},
    {PROBLEM_EA_PACKED, true, "the extended attribute does not fit in 64 KiB with those before"},
    {PROBLEM_REPARSE, true, "the reparse point is malformed or not whole"},
    {PROBLEM_DESCRIPTOR, true, "a security descriptor is malformed or not whole"},
    {PROBLEM_DESCRIPTOR_SUM, true, "a security descriptor has another hash than it says"},
    {PROBLEM_DESCRIPTOR_USERS, true,
     "a security descriptor counts %" PRIu64 " users, but has %" PRIu64},
    {PROBLEM_DESCRIPTOR_HASH, true, "a security descriptor is not found by its hash"},
    {PROBLEM_NO_DESCRIPTOR, true, "the security descriptor %" PRIu64 " is missing"},

    {PROBLEM_EXTENT, true, "an extent is malformed"},
    {PROBLEM_EXTENT_OVERLAP, true, "an extent overlaps the one before"},
    {PROBLEM_EXTENT_SHARED, true, "an extent's blocks are used twice"},
    {PROBLEM_EXTENT_PAST_END, true, "an extent is past the end"},
    {PROBLEM_DATA, true, "%" PRIu64 " blocks of data cannot be read"},
    {PROBLEM_DATA_PAST_END, true, "the last block of data does not end in zeros"},
};

static const struct problem *problem_of(enum problem_number number) {
  size_t i = 0;
  while (i + 1 < sizeof problems / sizeof *problems && problems[i].number != number)
    i++;
  return &problems[i];
}

/* ------------------------------------------------------------------ memory */

struct told {
  uint64_t hash;  /* 0: nothing here */
  unsigned round; /* the last in which it was reported */
  uint8_t rounds; /* in which it was mended */
  bool left;
};

static struct told *place_of(const struct problem_memory *memory, uint64_t hash) {
  size_t i = hash & (memory->capacity - 1);
  while (memory->told[i].hash != 0 && memory->told[i].hash != hash)
    i = (i + 1) & (memory->capacity - 1);
  return &memory->told[i];
}

static int grow(struct problem_memory *memory) {
  struct problem_memory bigger = {.capacity = memory->capacity ? 2 * memory->capacity : 64};
  bigger.told = calloc(bigger.capacity, sizeof *bigger.told);
  if (!bigger.told)
    return -ENOMEM;
  for (size_t i = 0; i < memory->capacity; i++)
    if (memory->told[i].hash != 0)
      *place_of(&bigger, memory->told[i].hash) = memory->told[i];
  bigger.count = memory->count;
  free(memory->told);
  *memory = bigger;
  return 0;
}

static struct told *remember(struct problem_memory *memory, uint64_t hash) {
  if (2 * memory->count >= memory->capacity && grow(memory) < 0)
    return NULL;
  struct told *told = place_of(memory, hash);
  if (told->hash == 0) {
    told->hash = hash;
    memory->count++;
  }
  return told;
}

static uint64_t problem_hash(const struct casefs_problem *problem) {
  uint64_t words[4] = {problem->number, problem->id, problem->offset,
                       checksum(problem->text, strlen(problem->text))};
  return checksum(words, sizeof words) | 1;
}

/* ------------------------------------------------------------------ reporting */

static bool is_to_be_mended(struct check *check, const struct casefs_problem *problem) {
  return check->plan && problem_of(problem->number)->can_be_mended &&
         (!check->options.ask || check->options.ask(check->options.context, problem));
}

static void tell(struct check *check, const struct casefs_problem *problem) {
  check->result->problems++;
  check->result->repaired += problem->repaired;
  if (check->options.problem)
    check->options.problem(check->options.context, problem);
}

bool report(struct check *check, enum problem_number number, uint64_t id, uint64_t offset, ...) {
  char text[MAX_TEXT];
  va_list arguments;
  if (check->silent || check->error < 0)
    return false;
  va_start(arguments, offset);
  vsnprintf(text, sizeof text, problem_of(number)->text, arguments);
  va_end(arguments);
  if (number / 100 == DATA_PROBLEMS && id != 0) {
    size_t length = strlen(text);
    length += (size_t)snprintf(text + length, sizeof text - length, ", in ");
    describe_node(check, id, text + length, sizeof text - length);
  }
  struct casefs_problem problem = {number, false, id, offset, text};
  if (!(check->options.flags & CASEFS_CHECK_REPAIR)) {
    tell(check, &problem);
    return false;
  }
  /* It may come again in the next round: because it is left, or because mending it failed. */
  struct told *told = remember(&check->memory, problem_hash(&problem));
  if (!told) {
    check->error = -ENOMEM;
    return false;
  }
  /* In one round it can be many things that look alike. */
  bool again = told->round != check->round;
  if (told->left && again)
    return false;
  told->rounds += again;
  told->round = check->round;
  problem.repaired = told->rounds <= TRIES && is_to_be_mended(check, &problem);
  told->left |= !problem.repaired;
  tell(check, &problem);
  return problem.repaired;
}

void progress(struct check *check, const char *phase, uint64_t done, uint64_t total) {
  if (check->volume && check->volume->owner.taken && casefs_now() - check->beat > BEAT) {
    int r = owner_beat(check->volume);
    if (r < 0)
      volume_fail(check->volume, r);
    check->beat = casefs_now();
  }
  if (check->options.progress)
    check->options.progress(check->options.context, phase, done, total);
}
