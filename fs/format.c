/* SPDX-License-Identifier: BSD-3-Clause */

#include "format.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

static const uint8_t superblock_magic[8] = {'c', 'a', 's', 'e', 'f', 's', 0x1A, 0x0A};
static const uint8_t log_magic[4] = {'C', 'F', 'S', 'L'};
static const uint8_t owner_magic[4] = {'C', 'F', 'S', 'O'};

uint64_t checksum(const void *bytes, size_t count) {
  return XXH3_64bits(bytes, count);
}

/* The checksum that a block carries in its own bytes 8 to 15. */
static uint64_t own_checksum(const uint8_t bytes[BLOCK_SIZE]) {
  return checksum(bytes + 16, BLOCK_SIZE - 16);
}

struct pointer load_pointer(const void *bytes) {
  const uint8_t *b = bytes;
  return (struct pointer){load64(b), load64(b + 8), load64(b + 16)};
}

void store_pointer(void *bytes, struct pointer pointer) {
  uint8_t *b = bytes;
  store64(b, pointer.block);
  store64(b + 8, pointer.generation);
  store64(b + 16, pointer.checksum);
}

void superblock_encode(const struct superblock *superblock, uint8_t bytes[BLOCK_SIZE]) {
  memset(bytes, 0, BLOCK_SIZE);
  memcpy(bytes, superblock_magic, sizeof superblock_magic);
  store32(bytes + 16, superblock->version);
  store32(bytes + 20, BLOCK_SIZE);
  store32(bytes + 24, NODE_SIZE);
  store32(bytes + 28, superblock->fold_id);
  memcpy(bytes + 32, superblock->uuid, 16);
  store64(bytes + 48, superblock->generation);
  store64(bytes + 56, superblock->blocks);
  store64(bytes + 64, superblock->compatible);
  store64(bytes + 72, superblock->read_only_compatible);
  store64(bytes + 80, superblock->incompatible);
  store_pointer(bytes + 88, superblock->root);
  store32(bytes + 112, superblock->root_level);
  store_pointer(bytes + 120, superblock->log);
  store64(bytes + 144, superblock->next_id);
  store64(bytes + 152, superblock->nodes);
  store64(bytes + 160, superblock->commit_time);
  store64(bytes + 168, superblock->format_time);
  store64(bytes + 176, superblock->fold_checksum);
  store32(bytes + 184, superblock->label_length);
  memcpy(bytes + 188, superblock->label, superblock->label_length);
  store64(bytes + 8, own_checksum(bytes));
}

/* Whether a pointer's blocks are ones that can be allocated. */
static bool pointer_in_range(struct pointer pointer, uint64_t blocks, unsigned count) {
  return pointer.block >= FIRST_BLOCK && pointer.block + count <= blocks - RING_SLOTS;
}

int superblock_decode(struct superblock *superblock, const uint8_t bytes[BLOCK_SIZE]) {
  if (memcmp(bytes, superblock_magic, sizeof superblock_magic) != 0)
    return -ENODATA;
  if (load64(bytes + 8) != own_checksum(bytes))
    return -EUCLEAN;
  *superblock = (struct superblock){
      .version = load32(bytes + 16),
      .fold_id = load32(bytes + 28),
      .generation = load64(bytes + 48),
      .blocks = load64(bytes + 56),
      .compatible = load64(bytes + 64),
      .read_only_compatible = load64(bytes + 72),
      .incompatible = load64(bytes + 80),
      .root = load_pointer(bytes + 88),
      .root_level = load32(bytes + 112),
      .log = load_pointer(bytes + 120),
      .next_id = load64(bytes + 144),
      .nodes = load64(bytes + 152),
      .commit_time = load64(bytes + 160),
      .format_time = load64(bytes + 168),
      .fold_checksum = load64(bytes + 176),
      .label_length = load32(bytes + 184),
  };
  if (superblock->version != 1 || load32(bytes + 20) != BLOCK_SIZE ||
      load32(bytes + 24) != NODE_SIZE)
    return -EOPNOTSUPP;
  if (superblock->label_length > CASEFS_MAX_LABEL || superblock->blocks < MIN_BLOCKS ||
      superblock->blocks > MAX_BLOCKS || superblock->blocks % QUAD_BLOCKS != 0 ||
      superblock->root_level > MAX_LEVEL || superblock->generation == 0 ||
      superblock->generation >= UINT64_MAX / 2 || superblock->next_id == 0 ||
      superblock->next_id >= UINT64_MAX / 2 ||
      superblock->root.generation > superblock->generation ||
      superblock->root.block % QUAD_BLOCKS != 0 ||
      !pointer_in_range(superblock->root, superblock->blocks, QUAD_BLOCKS) ||
      superblock->log.generation > superblock->generation ||
      !pointer_in_range(superblock->log, superblock->blocks, 1))
    return -EUCLEAN;
  memcpy(superblock->uuid, bytes + 32, 16);
  memcpy(superblock->label, bytes + 188, superblock->label_length);
  return 0;
}

uint64_t superblock_block(uint64_t generation, uint64_t blocks, unsigned copy) {
  return generation % RING_SLOTS + (copy ? blocks - RING_SLOTS : 0);
}

void key_start(struct key *key, uint64_t id, enum record_type type) {
  store64_big(key->bytes, id);
  key->bytes[8] = (uint8_t)type;
  key->length = KEY_PREFIX;
}

void key_append(struct key *key, const void *bytes, size_t count) {
  memcpy(key->bytes + key->length, bytes, count);
  key->length += (uint32_t)count;
}

void key_append64(struct key *key, uint64_t value) {
  store64_big(key->bytes + key->length, value);
  key->length += 8;
}

void key_append16(struct key *key, uint16_t value) {
  store16_big(key->bytes + key->length, value);
  key->length += 2;
}

void key_node(struct key *key, uint64_t id) {
  key_start(key, id, RECORD_NODE);
}

void key_link(struct key *key, uint64_t id, uint64_t directory, const char *name, size_t length) {
  key_start(key, id, RECORD_LINK);
  key_append64(key, directory);
  key_append(key, name, length);
}

void key_name(struct key *key, uint64_t id, enum record_type type, const char *name, size_t length,
              uint32_t *folded) {
  key_start(key, id, type);
  key->length += (uint32_t)name_fold(name, length, (char *)key->bytes + key->length);
  key->bytes[key->length++] = 0;
  *folded = key->length;
  key_append(key, name, length);
}

void key_extent(struct key *key, uint64_t id, uint64_t block) {
  key_start(key, id, RECORD_EXTENT);
  key_append64(key, block);
}

void key_part(struct key *key, const struct key *prefix, uint16_t part) {
  memcpy(key->bytes, prefix->bytes, prefix->length);
  key->length = prefix->length;
  key_append16(key, part);
}

uint32_t key_name_offset(const uint8_t *bytes, uint32_t length) {
  const uint8_t *zero =
      length > KEY_PREFIX ? memchr(bytes + KEY_PREFIX, 0, length - KEY_PREFIX) : NULL;
  return zero ? (uint32_t)(zero - bytes) + 1 : 0;
}

void node_record_encode(const struct node_record *record, uint8_t bytes[NODE_RECORD_SIZE]) {
  bytes[0] = record->type;
  bytes[1] = record->insensitive;
  store16(bytes + 2, record->mode);
  store32(bytes + 4, record->uid);
  store32(bytes + 8, record->gid);
  store32(bytes + 12, record->links);
  store64(bytes + 16, record->size);
  store64(bytes + 24, record->blocks);
  store64(bytes + 32, record->created);
  store64(bytes + 40, record->modified);
  store64(bytes + 48, record->accessed);
  store64(bytes + 56, record->changed);
  store64(bytes + 64, record->parent);
  store64(bytes + 72, record->rdev);
  store64(bytes + 80, record->security);
  store32(bytes + 88, record->dos_attributes);
  store32(bytes + 92, record->reparse_tag);
  store32(bytes + 96, record->ea_size);
  store32(bytes + 100, record->streams);
}

int node_record_decode(struct node_record *record, const uint8_t *bytes, size_t length) {
  if (length != NODE_RECORD_SIZE || bytes[0] < CASEFS_FILE || bytes[0] > CASEFS_STREAM ||
      bytes[1] > 1)
    return -EUCLEAN;
  *record = (struct node_record){
      .type = bytes[0],
      .insensitive = bytes[1],
      .mode = load16(bytes + 2),
      .uid = load32(bytes + 4),
      .gid = load32(bytes + 8),
      .links = load32(bytes + 12),
      .size = load64(bytes + 16),
      .blocks = load64(bytes + 24),
      .created = load64(bytes + 32),
      .modified = load64(bytes + 40),
      .accessed = load64(bytes + 48),
      .changed = load64(bytes + 56),
      .parent = load64(bytes + 64),
      .rdev = load64(bytes + 72),
      .security = load64(bytes + 80),
      .dos_attributes = load32(bytes + 88),
      .reparse_tag = load32(bytes + 92),
      .ea_size = load32(bytes + 96),
      .streams = load32(bytes + 100),
  };
  return record->size <= CASEFS_MAX_SIZE && record->blocks <= MAX_BLOCKS ? 0 : -EUCLEAN;
}

void entry_record_encode(uint64_t id, uint8_t type, uint8_t bytes[ENTRY_RECORD_SIZE]) {
  store64(bytes, id);
  bytes[8] = type;
}

int entry_record_decode(uint64_t *id, uint8_t *type, const uint8_t *bytes, size_t length) {
  if (length != ENTRY_RECORD_SIZE || bytes[8] < CASEFS_FILE || bytes[8] > CASEFS_STREAM)
    return -EUCLEAN;
  *id = load64(bytes);
  *type = bytes[8];
  return *id ? 0 : -EUCLEAN;
}

/* The length that an extent's record must have. */
static size_t extent_record_length(const struct extent *extent) {
  switch (extent->kind) {
  case EXTENT_DATA:
    return EXTENT_HEADER + (size_t)4 * extent->count;
  case EXTENT_UNWRITTEN:
    return EXTENT_HEADER;
  default:
    return EXTENT_INLINE_HEADER + extent->count;
  }
}

static uint32_t extent_count_limit(uint32_t kind) {
  switch (kind) {
  case EXTENT_DATA:
    return MAX_EXTENT_BLOCKS;
  case EXTENT_UNWRITTEN:
    return MAX_UNWRITTEN_BLOCKS;
  default:
    return MAX_INLINE;
  }
}

int extent_decode(struct extent *extent, const struct key *key, const uint8_t *value, size_t length,
                  uint64_t volume_blocks) {
  if (key->length != KEY_PREFIX + 8 || length < EXTENT_INLINE_HEADER || value[0] < EXTENT_DATA ||
      value[0] > EXTENT_INLINE)
    return -EUCLEAN;
  bool blocks = value[0] != EXTENT_INLINE;
  *extent = (struct extent){
      .first = load64_big(key->bytes + KEY_PREFIX),
      .kind = value[0],
      .count = load32(value + 4),
      .block = blocks && length >= EXTENT_HEADER ? load64(value + 8) : 0,
      .detail = value + (blocks ? EXTENT_HEADER : EXTENT_INLINE_HEADER),
  };
  if (extent->count == 0 || extent->count > extent_count_limit(extent->kind) ||
      length != extent_record_length(extent) || extent->first > CASEFS_MAX_SIZE / BLOCK_SIZE)
    return -EUCLEAN;
  if (blocks &&
      !pointer_in_range((struct pointer){.block = extent->block}, volume_blocks, extent->count))
    return -EUCLEAN;
  return 0;
}

uint32_t extent_header_encode(const struct extent *extent, uint8_t *value) {
  memset(value, 0, EXTENT_HEADER);
  value[0] = (uint8_t)extent->kind;
  store32(value + 4, extent->count);
  if (extent->kind == EXTENT_INLINE)
    return EXTENT_INLINE_HEADER;
  store64(value + 8, extent->block);
  return EXTENT_HEADER;
}

void log_block_encode(uint8_t bytes[BLOCK_SIZE], uint64_t generation, uint64_t block,
                      struct pointer previous, const struct log_entry *entries, uint32_t count) {
  memset(bytes, 0, BLOCK_SIZE);
  memcpy(bytes, log_magic, sizeof log_magic);
  store32(bytes + 4, count);
  store64(bytes + 8, generation);
  store64(bytes + 16, block);
  store_pointer(bytes + 24, previous);
  for (uint32_t i = 0; i < count; i++) {
    store64(bytes + 64 + 16 * i, entries[i].block);
    store64(bytes + 64 + 16 * i + 8, entries[i].count << 8 | entries[i].kind);
  }
}

int log_block_decode(const uint8_t bytes[BLOCK_SIZE], struct pointer self, uint64_t volume_blocks,
                     struct pointer *previous, struct log_entry *entries, uint32_t *count) {
  if (memcmp(bytes, log_magic, sizeof log_magic) != 0 || load64(bytes + 8) != self.generation ||
      load64(bytes + 16) != self.block || load32(bytes + 4) > LOG_ENTRIES)
    return -EUCLEAN;
  *count = load32(bytes + 4);
  *previous = load_pointer(bytes + 24);
  if (previous->block != 0 &&
      (!pointer_in_range(*previous, volume_blocks, 1) || previous->generation > self.generation))
    return -EUCLEAN;
  for (uint32_t i = 0; i < *count; i++) {
    uint64_t word = load64(bytes + 64 + 16 * i + 8);
    entries[i] = (struct log_entry){load64(bytes + 64 + 16 * i), word >> 8, word & 0xFF};
    if (entries[i].kind < LOG_ALLOCATED || entries[i].kind > LOG_FREE || entries[i].count == 0 ||
        entries[i].count > volume_blocks || entries[i].block < FIRST_BLOCK ||
        entries[i].block > volume_blocks - RING_SLOTS - entries[i].count)
      return -EUCLEAN;
  }
  return 0;
}

void owner_mark_encode(const struct owner_mark *mark, uint8_t bytes[BLOCK_SIZE]) {
  memset(bytes, 0, BLOCK_SIZE);
  memcpy(bytes, owner_magic, sizeof owner_magic);
  store32(bytes + 4, mark->open);
  memcpy(bytes + 16, mark->owner, 16);
  store64(bytes + 32, mark->heartbeat);
  store64(bytes + 40, mark->time);
  store32(bytes + 48, mark->interval);
  store32(bytes + 52, mark->process);
  memcpy(bytes + 56, mark->boot_id, 16);
  memcpy(bytes + 72, mark->host, strnlen(mark->host, sizeof mark->host - 1));
  store64(bytes + 8, own_checksum(bytes));
}

void owner_mark_decode(struct owner_mark *mark, const uint8_t bytes[BLOCK_SIZE]) {
  *mark = (struct owner_mark){0};
  if (memcmp(bytes, owner_magic, sizeof owner_magic) != 0 ||
      load64(bytes + 8) != own_checksum(bytes))
    return;
  mark->open = load32(bytes + 4) == 1;
  memcpy(mark->owner, bytes + 16, 16);
  mark->heartbeat = load64(bytes + 32);
  mark->time = load64(bytes + 40);
  mark->interval = load32(bytes + 48);
  mark->process = load32(bytes + 52);
  memcpy(mark->boot_id, bytes + 56, 16);
  memcpy(mark->host, bytes + 72, sizeof mark->host - 1);
}
