/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The two rings of superblocks, and what the newest says of the volume.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

struct slot {
  int state; /* as superblock_decode */
  bool zeros;
  struct superblock superblock;
};

struct rings {
  uint8_t bytes[RING_SLOTS * BLOCK_SIZE];
  struct slot slots[2][RING_SLOTS];
  bool has_mirror;
};

static bool is_zeros(const uint8_t *bytes, size_t count) {
  return bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0;
}

static int read_ring(struct check *check, struct rings *rings, unsigned copy) {
  uint64_t first = superblock_block(0, check->superblock.blocks, copy);
  int r = device_read(check->device, rings->bytes, sizeof rings->bytes, first * BLOCK_SIZE);
  for (unsigned i = 0; r == 0 && i < RING_SLOTS; i++) {
    struct slot *slot = &rings->slots[copy][i];
    const uint8_t *bytes = rings->bytes + (size_t)i * BLOCK_SIZE;
    slot->state = superblock_decode(&slot->superblock, bytes);
    if (slot->state == 0 && slot->superblock.generation % RING_SLOTS != i)
      slot->state = -EUCLEAN;
    slot->zeros = slot->state < 0 && is_zeros(bytes, BLOCK_SIZE);
  }
  return r;
}

/* The generation that was last written to a slot; 0: none was. */
static uint64_t expected_generation(const struct check *check, unsigned i) {
  uint64_t newest = check->superblock.generation, age = (newest - i) % RING_SLOTS;
  return newest > age ? newest - age : 0;
}

/* Whether a slot that is not valid need not be: it was never written, or not durably. */
static bool may_be_empty(const struct check *check, const struct rings *rings, unsigned copy,
                         unsigned i) {
  const struct slot *slot = &rings->slots[copy][i], *front = &rings->slots[0][i];
  uint64_t newest = check->superblock.generation, expected = expected_generation(check, i);
  if (copy == 0)
    return slot->zeros && (expected == 0 || (expected == newest && newest <= RING_SLOTS));
  /* Where the mirror is now there was none before the volume grew. */
  if (expected == 0 || (front->state == 0 && front->superblock.blocks != check->superblock.blocks))
    return true;
  return slot->zeros && expected == newest && newest <= RING_SLOTS;
}

static void check_slot(struct check *check, const struct rings *rings, unsigned copy, unsigned i) {
  const struct slot *slot = &rings->slots[copy][i];
  uint64_t newest = check->superblock.generation;
  enum problem_number number = 0;
  /* The next commit may have been cut short. */
  if ((newest + 1) % RING_SLOTS == i)
    return;
  if (slot->state < 0)
    number = may_be_empty(check, rings, copy, i) ? 0
             : slot->zeros                       ? PROBLEM_SLOT_LOST
                                                 : PROBLEM_SLOT;
  else if (memcmp(slot->superblock.uuid, check->superblock.uuid, 16) != 0)
    number = PROBLEM_SLOT_UUID;
  else if (slot->superblock.generation > newest)
    number = PROBLEM_SLOT;
  if (number != 0 &&
      report(check, number, 0, superblock_block(i, check->superblock.blocks, copy) * BLOCK_SIZE))
    check->slots_damaged = true;
}

/* The first four bytes of the UUID that the root node has. */
static bool root_has_uuid(struct check *check, const uint8_t *uuid) {
  uint8_t bytes[BLOCK_SIZE];
  uint64_t block = check->superblock.root.block;
  return block < check->device_blocks &&
         device_read(check->device, bytes, BLOCK_SIZE, block * BLOCK_SIZE) == 0 &&
         memcmp(bytes + 28, uuid, 4) == 0;
}

/* Older slots and the tree agree on another UUID. */
static void check_uuid(struct check *check, const struct rings *rings) {
  struct superblock *superblock = &check->superblock;
  for (unsigned i = 0; i < 2 * RING_SLOTS; i++) {
    const struct slot *slot = &rings->slots[i / RING_SLOTS][i % RING_SLOTS];
    if (slot->state < 0 || memcmp(slot->superblock.uuid, superblock->uuid, 16) == 0 ||
        slot->superblock.generation == superblock->generation)
      continue;
    if (!root_has_uuid(check, slot->superblock.uuid) || root_has_uuid(check, superblock->uuid))
      continue;
    if (report(check, PROBLEM_UUID, 0, 0))
      check->superblock_changed = check->slots_damaged = true;
    memcpy(superblock->uuid, slot->superblock.uuid, 16);
    return;
  }
}

/* A volume only grows. */
static uint64_t largest_blocks(const struct check *check, const struct rings *rings) {
  uint64_t blocks = check->superblock.blocks;
  for (unsigned i = 0; i < RING_SLOTS; i++) {
    const struct slot *slot = &rings->slots[0][i];
    if (slot->state == 0 && slot->superblock.blocks > blocks &&
        slot->superblock.blocks <= check->device_blocks &&
        memcmp(slot->superblock.uuid, check->superblock.uuid, 16) == 0)
      blocks = slot->superblock.blocks;
  }
  return blocks;
}

static void check_size(struct check *check, struct rings *rings) {
  struct superblock *superblock = &check->superblock;
  uint64_t blocks = largest_blocks(check, rings);
  if (superblock->blocks > check->device_blocks) {
    check->mend_tree |= report(check, PROBLEM_SHORT_DEVICE, 0, check->device_blocks * BLOCK_SIZE);
    check->slots_damaged = check->torn = true;
    check->found_blocks = superblock->blocks;
    superblock->blocks = check->device_blocks;
    rings->has_mirror = false;
  } else if (blocks > superblock->blocks) {
    if (report(check, PROBLEM_SHRUNK, 0, superblock->blocks * BLOCK_SIZE))
      check->superblock_changed = check->slots_damaged = true;
    superblock->blocks = blocks;
  }
}

static void check_label(struct check *check) {
  struct superblock *superblock = &check->superblock;
  if (strlen(superblock->label) == superblock->label_length && label_check(superblock->label) == 0)
    return;
  if (!report(check, PROBLEM_LABEL, 0, 0))
    return;
  size_t length = strlen(superblock->label);
  while (label_check(superblock->label) < 0)
    superblock->label[--length] = '\0';
  superblock->label_length = (uint32_t)length;
  memset(superblock->label + length, 0, sizeof superblock->label - length);
  check->superblock_changed = true;
}

int check_superblocks(struct check *check) {
  struct rings *rings = calloc(1, sizeof *rings);
  if (!rings)
    return -ENOMEM;
  rings->has_mirror = true;
  int r = read_ring(check, rings, 0);
  if (r == 0) {
    check_size(check, rings);
    if (rings->has_mirror)
      r = read_ring(check, rings, 1);
  }
  if (r == 0) {
    check_uuid(check, rings);
    for (unsigned i = 0; i < (rings->has_mirror ? 2 : 1) * RING_SLOTS; i++)
      check_slot(check, rings, i / RING_SLOTS, i % RING_SLOTS);
    check_label(check);
  }
  free(rings);
  return r < 0 ? r : check->error;
}
