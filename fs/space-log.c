/* SPDX-License-Identifier: BSD-3-Clause */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "space.h"

#define SHORT_LOG 16u /* blocks that the log may always have */

/* ------------------------------------------------------------------------ writing */

struct entry_list {
  struct log_entry *entries;
  size_t count;
};

static void add_entry(struct entry_list *list, uint64_t block, uint64_t count, enum log_kind kind) {
  list->entries[list->count++] = (struct log_entry){block, count, kind};
}

static void add_list(struct entry_list *list, const struct run_list *runs, enum log_kind kind) {
  for (size_t i = 0; i < runs->count; i++)
    add_entry(list, runs->runs[i].block, runs->runs[i].count, kind);
}

static uint64_t blocks_for(uint64_t entries) {
  return entries / LOG_ENTRIES + 1;
}

/* Blocks for that many entries, and one more for each of these blocks. */
static uint64_t blocks_with_own(uint64_t entries) {
  uint64_t blocks = blocks_for(entries);
  while (blocks_for(entries + blocks) > blocks)
    blocks++;
  return blocks;
}

uint64_t space_log_need(const struct space *space, uint64_t nodes) {
  return blocks_with_own(space->allocated.count + space->freed.count + 2 * nodes + 2);
}

/* Entries that a log from the beginning would have, without its own blocks. */
static uint64_t snapshot_entries(const struct space *space) {
  uint64_t entries = space->quads.runs + space->pieces.runs + space->freed.count +
                     space->log.count + space->late.count;
  for (unsigned i = 0; i < DEFERRED_GENERATIONS; i++)
    entries += space->deferred[i].count;
  /* What allocating the log's own blocks may add by parting runs. */
  return entries + 8;
}

/* Whether it is time to begin anew: most of the log is history. */
static bool log_is_long(const struct space *space) {
  return space->log_blocks > SHORT_LOG &&
         space->log_blocks > 2 * blocks_with_own(snapshot_entries(space));
}

/* One block after the other, each pointing to the one before. */
static struct pointer chain(const struct entry_list *list, uint64_t generation,
                            struct pointer previous, struct log_write *write) {
  for (size_t i = 0; i < write->count; i++) {
    size_t first = i * LOG_ENTRIES;
    size_t left = first < list->count ? list->count - first : 0;
    uint8_t *bytes = write->buffer + i * BLOCK_SIZE;
    log_block_encode(bytes, generation, write->blocks[i], previous, list->entries + first,
                     (uint32_t)(left < LOG_ENTRIES ? left : LOG_ENTRIES));
    previous = (struct pointer){write->blocks[i], generation, checksum(bytes, BLOCK_SIZE)};
  }
  return previous;
}

/* Blocks for the log itself, from anywhere, and memory. */
static int allocate_log(struct space *space, struct log_write *write, uint64_t entries) {
  size_t count = blocks_with_own(entries);
  write->buffer = malloc(count * BLOCK_SIZE);
  write->blocks = malloc(count * sizeof *write->blocks);
  write->entries = malloc((count + 1) * LOG_ENTRIES * sizeof *write->entries);
  int r = write->buffer && write->blocks && write->entries ? 0 : -ENOMEM;
  while (r == 0 && write->count < count) {
    struct block_run run;
    r = space_allocate(space, count - write->count, false, &run);
    for (uint64_t i = 0; r == 0 && i < run.count; i++)
      write->blocks[write->count++] = run.block + i;
  }
  if (r < 0)
    space_abandon_log(space, write);
  return r;
}

void space_abandon_log(struct space *space, struct log_write *write) {
  for (size_t i = 0; i < write->count; i++)
    space_add(space, write->blocks[i], 1);
  log_write_free(write);
}

void log_write_free(struct log_write *write) {
  free(write->buffer);
  free(write->blocks);
  free(write->entries);
  *write = (struct log_write){0};
}

/* A set of runs in order, as runs of blocks. */
static void add_set(struct entry_list *list, const struct run *run, uint64_t unit) {
  uint64_t start, length;
  const struct run *left, *right;
  if (!run)
    return;
  run_fields(run, &start, &length, &left, &right);
  add_set(list, left, unit);
  add_entry(list, start * unit, length * unit, LOG_FREE);
  add_set(list, right, unit);
}

/* The state as one list: what is free now, and what is deferred. */
static void collect_snapshot(const struct space *space, uint64_t generation,
                             struct entry_list *list) {
  add_set(list, space->quads.root, QUAD_BLOCKS);
  add_set(list, space->pieces.root, 1);
  add_list(list, &space->late, LOG_FREE);
  /* Freed two generations before: free for the next one. */
  add_list(list, &space->deferred[(generation + 1) % DEFERRED_GENERATIONS], LOG_FREE);
  add_list(list, &space->deferred[(generation + 2) % DEFERRED_GENERATIONS], LOG_FREED_BEFORE);
  add_list(list, &space->freed, LOG_FREED);
}

/* Forget the old log; its blocks are freed with this generation. */
static void free_old_log(struct space *space) {
  for (size_t i = 0; i < space->log.count; i++)
    run_list_add(&space->freed, space->log.runs[i].block, space->log.runs[i].count);
  space->log.count = 0;
  space->log_blocks = 0;
}

/* What was freed becomes deferred. */
static void defer_freed(struct space *space, uint64_t generation) {
  struct run_list *list = &space->deferred[generation % DEFERRED_GENERATIONS];
  run_list_free(list);
  *list = space->freed;
  space->freed = (struct run_list){0};
  for (size_t i = 0; i < list->count; i++)
    space->deferred_blocks += list->runs[i].count;
  space->allocated.count = 0;
}

int space_prepare_log(struct space *space, uint64_t nodes, struct log_write *write) {
  uint64_t changes = space->allocated.count + space->freed.count + 2 * nodes;
  int r = -ENOSPC;

  *write = (struct log_write){0};
  write->anew = log_is_long(space) || space->log_head.block == 0;
  if (changes == 0 && !write->anew)
    return 0;
  if (write->anew)
    r = allocate_log(space, write, snapshot_entries(space) + 2 * nodes);
  if (r == -ENOSPC && space->log_head.block != 0) {
    write->anew = false;
    r = allocate_log(space, write, changes);
  }
  if (r == 0)
    r = run_list_reserve(&space->allocated, write->count + nodes);
  if (r == 0)
    r = run_list_reserve(&space->freed, space->log.count + nodes);
  if (r == 0)
    r = run_list_reserve(&space->log, write->count);
  if (r < 0)
    space_abandon_log(space, write);
  return r;
}

void space_write_log(struct space *space, uint64_t generation, struct log_write *write) {
  struct entry_list list = {.entries = write->entries};

  if (write->count > 0) {
    if (write->anew) {
      free_old_log(space);
      run_list_sort(&space->freed);
      collect_snapshot(space, generation, &list);
    } else {
      for (size_t i = 0; i < write->count; i++)
        run_list_add(&space->allocated, write->blocks[i], 1);
      run_list_sort(&space->allocated);
      run_list_sort(&space->freed);
      add_list(&list, &space->allocated, LOG_ALLOCATED);
      add_list(&list, &space->freed, LOG_FREED);
    }
    struct pointer previous = write->anew ? (struct pointer){0} : space->log_head;
    space->log_head = chain(&list, generation, previous, write);
    for (size_t i = 0; i < write->count; i++)
      run_list_add(&space->log, write->blocks[i], 1);
    space->log_blocks += write->count;
  }
  defer_freed(space, generation);
}

/* ------------------------------------------------------------------------ reading */

/* One block of the log that was read. */
struct log_block {
  uint64_t generation;
  uint32_t count;
  struct log_entry entries[LOG_ENTRIES];
};

/* Follow the chain from the newest block; blocks[] has the newest first. */
static int read_chain(struct space *space, struct casefs_device *device, struct pointer head,
                      struct log_block ***blocks, size_t *count) {
  uint8_t bytes[BLOCK_SIZE];
  size_t capacity = 0;

  while (head.block != 0) {
    if (*count == capacity) {
      capacity = capacity ? 2 * capacity : 64;
      void *grown = realloc(*blocks, capacity * sizeof **blocks);
      if (!grown)
        return -ENOMEM;
      *blocks = grown;
    }
    /* A chain longer than the volume goes in a circle. */
    if (*count > space->blocks)
      return -EUCLEAN;
    int r = device_read(device, bytes, BLOCK_SIZE, head.block * BLOCK_SIZE);
    if (r < 0)
      return r;
    if (checksum(bytes, BLOCK_SIZE) != head.checksum)
      return -EUCLEAN;
    struct log_block *block = malloc(sizeof *block);
    if (!block)
      return -ENOMEM;
    (*blocks)[(*count)++] = block;
    block->generation = head.generation;
    struct pointer self = head;
    r = log_block_decode(bytes, self, space->blocks, &head, block->entries, &block->count);
    if (r == 0)
      r = run_list_reserve(&space->log, 1);
    if (r < 0)
      return r;
    run_list_add(&space->log, self.block, 1);
    space->log_blocks++;
  }
  return 0;
}

static int defer(struct space *space, uint64_t generation, const struct log_entry *entry) {
  struct run_list *list = &space->deferred[generation % DEFERRED_GENERATIONS];
  int r = run_list_reserve(list, 1);
  if (r < 0)
    return r;
  run_list_add(list, entry->block, entry->count);
  space->deferred_blocks += entry->count;
  return 0;
}

static int apply_entry(struct space *space, uint64_t generation, const struct log_entry *entry) {
  switch (entry->kind) {
  case LOG_ALLOCATED:
    return space_remove(space, entry->block, entry->count);
  case LOG_FREE:
    return space_add(space, entry->block, entry->count);
  case LOG_FREED_BEFORE:
    return generation > 0 ? defer(space, generation - 1, entry) : -EUCLEAN;
  default:
    return defer(space, generation, entry);
  }
}

/* Make free what was freed up to generation - 2. */
static int mature_until(struct space *space, uint64_t *done, uint64_t generation) {
  /* Only the last generations before can have deferred anything. */
  if (*done + DEFERRED_GENERATIONS < generation)
    *done = generation - DEFERRED_GENERATIONS;
  while (*done < generation) {
    struct run_list list = space_mature(space, ++*done);
    int r = 0;
    for (size_t i = 0; r == 0 && i < list.count; i++)
      r = space_add(space, list.runs[i].block, list.runs[i].count);
    run_list_free(&list);
    if (r < 0)
      return r;
  }
  return 0;
}

static int replay(struct space *space, const struct log_block *block, uint64_t *done) {
  /* Before generation h, generation h-1 was durable. */
  int r = mature_until(space, done, block->generation - 1);
  for (uint32_t i = 0; r == 0 && i < block->count; i++)
    r = apply_entry(space, block->generation, &block->entries[i]);
  return r;
}

int space_read_log(struct space *space, struct casefs_device *device, struct pointer head,
                   uint64_t generation) {
  struct log_block **blocks = NULL;
  size_t count = 0;
  uint64_t done = 0;

  int r = read_chain(space, device, head, &blocks, &count);
  space->log_head = head;
  for (size_t i = count; r == 0 && i > 0; i--)
    r = blocks[i - 1]->generation > 0 && blocks[i - 1]->generation <= generation
            ? replay(space, blocks[i - 1], &done)
            : -EUCLEAN;
  if (r == 0)
    r = mature_until(space, &done, generation);
  for (size_t i = 0; i < count; i++)
    free(blocks[i]);
  free(blocks);
  return r;
}
