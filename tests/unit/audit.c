/* SPDX-License-Identifier: BSD-3-Clause */

#include "audit.h"

#include "store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* What a walk finds. */
struct findings {
  sectors_store *store;
  unsigned char *used; /* for each slot: how often it is used */
  uint64_t live;
  uint64_t reserved;
  uint64_t nodes;
  int problems;
};

static void expect(struct findings *findings, const char *what, uint64_t counted, uint64_t found) {
  if (counted == found)
    return;
  fprintf(stderr, "audit: %s: counted %" PRIu64 ", found %" PRIu64 "\n", what, counted, found);
  findings->problems++;
}

static void use_slot(struct findings *findings, uint32_t slot) {
  expect(findings, "uses of a slot", findings->used[slot], 0);
  findings->used[slot] = 1;
}

static void walk_leaf(struct findings *findings, struct node *leaf) {
  unsigned occupied = 0;
  for (int i = 0; i < NODE_WORDS; i++) {
    uint64_t value = leaf->words[i];
    expect(findings, "flags of a word at rest", value & (WORD_LOCK | WORD_FRESH | WORD_FROZEN), 0);
    occupied += (value & WORD_OCCUPIED) != 0;
    if (value & WORD_RESIDENT) {
      findings->live++;
      use_slot(findings, word_slot(value));
    } else if (value & WORD_RESERVED) {
      findings->reserved++;
    }
  }
  expect(findings, "empty leaves left in the index", occupied == 0, 0);
}

static void walk_node(struct findings *findings, struct node *node, unsigned height) {
  uintptr_t page = (uintptr_t)node & ~(((uintptr_t)1 << findings->store->sector_shift) - 1);
  findings->used[arena_slot(&findings->store->arena, (void *)page)] = 2;
  findings->nodes++;
  if (height == 0) {
    walk_leaf(findings, node);
    return;
  }
  unsigned children = 0;
  for (int i = 0; i < NODE_WORDS; i++) {
    if (node->words[i] != 0) {
      walk_node(findings, (struct node *)(uintptr_t)node->words[i], height - 1);
      children++;
    }
  }
  expect(findings, "empty directories left in the index", children == 0, 0);
}

static void walk_volume(struct findings *findings, sectors_volume *volume) {
  uint64_t live = findings->live, reserved = findings->reserved, nodes = findings->nodes;
  uintptr_t root = volume->index.root;
  if (root != 0)
    walk_node(findings, (struct node *)(root & ~(uintptr_t)511), (unsigned)(root & 511));
  expect(findings, "live sectors of a volume", volume->live, findings->live - live);
  expect(findings, "reserved sectors of a volume", volume->reserved, findings->reserved - reserved);
  expect(findings, "index nodes of a volume", volume->index.nodes, findings->nodes - nodes);
}

static bool bit(const uint64_t *bits, uint32_t i) {
  return bits[i / 64] >> i % 64 & 1;
}

/* Pages with memory behind the slots that the arena holds for cold. */
static uint64_t cold_memory(const struct arena *arena, uint32_t slab) {
  static unsigned char present[(1 << SLAB_SHIFT) / 4096]; /* or fewer, of larger pages */
  uint64_t pages_per_slot = (UINT64_C(1) << arena->sector_shift) / (uint64_t)sysconf(_SC_PAGESIZE);
  uint64_t pages = 0;
  if (mincore(arena_address(arena, slab * arena->slab_slots), 1 << SLAB_SHIFT, present) != 0)
    return 0;
  for (uint32_t i = 0; i < arena->slab_slots; i++)
    if (bit(arena->slabs[slab].free, i) && !bit(arena->slabs[slab].backed, i))
      for (uint64_t page = i * pages_per_slot; page < (i + 1) * pages_per_slot; page++)
        pages += present[page] & 1;
  return pages;
}

static void walk_slabs(struct findings *findings) {
  struct arena *arena = &findings->store->arena;
  uint64_t warm = 0, cold = 0, taken = 0;
  for (uint32_t i = 0; i < arena->opened; i++) {
    const struct slab *slab = &arena->slabs[i];
    uint64_t slab_warm = 0, slab_cold = 0;
    for (uint32_t j = 0; j < arena->slab_slots; j++) {
      bool used = findings->used[i * arena->slab_slots + j] != 0;
      expect(findings, "a slot is free and used, or neither", bit(slab->free, j), !used);
      taken += used;
      if (bit(slab->free, j) && bit(slab->backed, j))
        slab_warm++;
      else if (bit(slab->free, j))
        slab_cold++;
    }
    expect(findings, "warm slots of a slab", slab->warm, slab_warm);
    expect(findings, "cold slots of a slab", slab->cold, slab_cold);
    expect(findings, "pages behind cold slots", 0, cold_memory(arena, i));
    expect(findings, "the bitmap of slabs with warm slots", bit((uint64_t *)arena->with_warm, i),
           slab_warm != 0);
    expect(findings, "the bitmap of slabs with cold slots", bit((uint64_t *)arena->with_cold, i),
           slab_cold != 0);
    warm += slab_warm;
    cold += slab_cold;
  }
  expect(findings, "warm slots", arena->warm, warm);
  expect(findings, "cold slots", arena->cold, cold);
  expect(findings, "taken slots", findings->live + findings->store->nodes.pages, taken);
}

int audit(sectors_store *store) {
  store_stop(store);
  node_pool_settle(store);
  struct findings findings = {.store = store};
  findings.used = calloc((uint64_t)store->arena.slabs_max * store->arena.slab_slots, 1);
  if (!findings.used)
    return -1;
  for (sectors_volume *volume = store->volumes; volume; volume = volume->next)
    walk_volume(&findings, volume);
  walk_slabs(&findings);
  expect(&findings, "charged sectors", store->charged,
         findings.live + findings.reserved + store->nodes.pages);
  expect(&findings, "the limit is kept", store->charged > store->limit, 0);
  free(findings.used);
  return findings.problems == 0 ? 0 : -1;
}
