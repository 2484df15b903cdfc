/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a volume's bytes mean: FORMAT.md as constants and conversions.  Nothing
 * else in the library knows the offset of a field.
 */

#ifndef CASEFS_FORMAT_H
#define CASEFS_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "casefs.h"
#include "names.h"

#define BLOCK_SIZE CASEFS_BLOCK_SIZE
#define QUAD_BLOCKS 4u /* blocks of a tree node */
#define NODE_SIZE (QUAD_BLOCKS * BLOCK_SIZE)
#define MIN_BLOCKS (CASEFS_MIN_DEVICE_SIZE / BLOCK_SIZE)
#define MAX_BLOCKS (CASEFS_MAX_SIZE / BLOCK_SIZE / QUAD_BLOCKS * QUAD_BLOCKS)

#define RING_SLOTS 8u
#define OWNER_BLOCK 8u
#define FIRST_BLOCK 12u /* of those that can be allocated */

#define MAX_KEY 1556u
#define MAX_RECORD 4800u /* key and value and their lengths */
#define MAX_LEVEL 15u
#define PART_SIZE 4096u /* of a value in parts */
#define MAX_EXTENT_BLOCKS 256u
#define MAX_UNWRITTEN_BLOCKS 16777216u
#define MAX_INLINE 2048u
#define LOG_ENTRIES 252u /* in a block of the space log */

/* ------------------------------------------------------------------ integers */

static inline uint16_t load16(const void *bytes) {
  const uint8_t *b = bytes;
  return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t load32(const void *bytes) {
  const uint8_t *b = bytes;
  return load16(b) | (uint32_t)load16(b + 2) << 16;
}

static inline uint64_t load64(const void *bytes) {
  const uint8_t *b = bytes;
  return load32(b) | (uint64_t)load32(b + 4) << 32;
}

static inline void store16(void *bytes, uint16_t value) {
  uint8_t *b = bytes;
  b[0] = (uint8_t)value;
  b[1] = (uint8_t)(value >> 8);
}

static inline void store32(void *bytes, uint32_t value) {
  store16(bytes, (uint16_t)value);
  store16((uint8_t *)bytes + 2, (uint16_t)(value >> 16));
}

static inline void store64(void *bytes, uint64_t value) {
  store32(bytes, (uint32_t)value);
  store32((uint8_t *)bytes + 4, (uint32_t)(value >> 32));
}

static inline uint64_t load64_big(const void *bytes) {
  return __builtin_bswap64(load64(bytes));
}

static inline void store64_big(void *bytes, uint64_t value) {
  store64(bytes, __builtin_bswap64(value));
}

static inline uint16_t load16_big(const void *bytes) {
  return __builtin_bswap16(load16(bytes));
}

static inline void store16_big(void *bytes, uint16_t value) {
  store16(bytes, __builtin_bswap16(value));
}

/* XXH3, 64 bits, seed 0. */
uint64_t checksum(const void *bytes, size_t count);

/* ------------------------------------------------------------------ pointers */

#define POINTER_SIZE 24u

struct pointer {
  uint64_t block; /* 0: none */
  uint64_t generation;
  uint64_t checksum;
};

struct pointer load_pointer(const void *bytes);
void store_pointer(void *bytes, struct pointer pointer);

/* ---------------------------------------------------------------- superblock */

struct superblock {
  uint32_t version, fold_id;
  uint8_t uuid[16];
  uint64_t generation;
  uint64_t blocks;
  uint64_t compatible, read_only_compatible, incompatible;
  struct pointer root;
  uint32_t root_level;
  struct pointer log;
  uint64_t next_id;
  uint64_t nodes;
  uint64_t commit_time, format_time;
  uint64_t fold_checksum;
  uint32_t label_length;
  char label[CASEFS_MAX_LABEL + 1]; /* zero-terminated here */
};

void superblock_encode(const struct superblock *superblock, uint8_t bytes[BLOCK_SIZE]);

/* 0; -ENODATA (no magic), -EUCLEAN (a wrong checksum or a field out of range), -EOPNOTSUPP (a
 * version or block size or node size that is not ours). */
int superblock_decode(struct superblock *superblock, const uint8_t bytes[BLOCK_SIZE]);

/* The two blocks that generation's superblock is written to: slot 0 and its mirror 1. */
uint64_t superblock_block(uint64_t generation, uint64_t blocks, unsigned copy);

/* -------------------------------------------------------------------- records */

enum record_type {
  RECORD_NODE = 0x01,
  RECORD_LINK = 0x02,
  RECORD_ENTRY = 0x03,
  RECORD_STREAM = 0x04,
  RECORD_EA = 0x05,
  RECORD_REPARSE = 0x06,
  RECORD_TARGET = 0x07,
  RECORD_EXTENT = 0x08,
  RECORD_FOLD_TABLE = 0x10,
  RECORD_SECURITY = 0x11,
  RECORD_SECURITY_HASH = 0x12,
  RECORD_ORPHAN = 0x13,
};

struct key {
  uint32_t length;
  uint8_t bytes[MAX_KEY];
};

/* Start a key with id and type; then append. */
void key_start(struct key *key, uint64_t id, enum record_type type);
void key_append(struct key *key, const void *bytes, size_t count);
void key_append64(struct key *key, uint64_t value);
void key_append16(struct key *key, uint16_t value);

static inline uint64_t key_id(const struct key *key) {
  return load64_big(key->bytes);
}

static inline uint8_t key_type(const struct key *key) {
  return key->bytes[8];
}

#define KEY_PREFIX 9u /* id and type */

/* The keys of the table in FORMAT.md, section 5.  Names have passed their check. */
void key_node(struct key *key, uint64_t id);
void key_link(struct key *key, uint64_t id, uint64_t directory, const char *name, size_t length);
/* An entry (or stream) by its exact name; the part of it that all names of the same fold share
 * ends at *folded. */
void key_name(struct key *key, uint64_t id, enum record_type type, const char *name, size_t length,
              uint32_t *folded);
void key_extent(struct key *key, uint64_t id, uint64_t block);
void key_part(struct key *key, const struct key *prefix, uint16_t part);

/* Where the name begins in an entry's or stream's key: past the first zero byte.  0: there is none.
 */
uint32_t key_name_offset(const uint8_t *bytes, uint32_t length);

#define NODE_RECORD_SIZE 104u

struct node_record {
  uint8_t type; /* enum casefs_type */
  bool insensitive;
  uint16_t mode;
  uint32_t uid, gid, links;
  uint64_t size, blocks;
  uint64_t created, modified, accessed, changed;
  uint64_t parent, rdev, security;
  uint32_t dos_attributes, reparse_tag, ea_size, streams;
};

void node_record_encode(const struct node_record *record, uint8_t bytes[NODE_RECORD_SIZE]);
/* 0 or -EUCLEAN. */
int node_record_decode(struct node_record *record, const uint8_t *bytes, size_t length);

#define ENTRY_RECORD_SIZE 9u
void entry_record_encode(uint64_t id, uint8_t type, uint8_t bytes[ENTRY_RECORD_SIZE]);
int entry_record_decode(uint64_t *id, uint8_t *type, const uint8_t *bytes, size_t length);

enum extent_kind { EXTENT_DATA = 1, EXTENT_UNWRITTEN = 2, EXTENT_INLINE = 3 };

#define EXTENT_HEADER 16u       /* before the checksums of a data extent */
#define EXTENT_INLINE_HEADER 8u /* before the bytes of an inline extent */
#define MAX_EXTENT_RECORD (EXTENT_INLINE_HEADER + MAX_INLINE)

/* An extent record, decoded; what follows the header stays where it was. */
struct extent {
  uint64_t first;        /* block in the file */
  uint32_t kind;         /* enum extent_kind */
  uint32_t count;        /* blocks; inline: bytes */
  uint64_t block;        /* on the device; inline: 0 */
  const uint8_t *detail; /* checksums (4 bytes each) or inline bytes */
};

/* The blocks in the file that an extent covers. */
static inline uint64_t extent_blocks(const struct extent *extent) {
  return extent->kind == EXTENT_INLINE ? 1 : extent->count;
}

/* 0 or -EUCLEAN.  volume_blocks bounds the blocks. */
int extent_decode(struct extent *extent, const struct key *key, const uint8_t *value, size_t length,
                  uint64_t volume_blocks);
/* Write the header of an extent record; returns its length. */
uint32_t extent_header_encode(const struct extent *extent, uint8_t *value);

/* ------------------------------------------------------------------ space log */

enum log_kind { LOG_ALLOCATED = 1, LOG_FREED = 2, LOG_FREED_BEFORE = 3, LOG_FREE = 4 };

struct log_entry {
  uint64_t block, count;
  enum log_kind kind;
};

void log_block_encode(uint8_t bytes[BLOCK_SIZE], uint64_t generation, uint64_t block,
                      struct pointer previous, const struct log_entry *entries, uint32_t count);
/* 0 or -EUCLEAN. entries has room for LOG_ENTRIES. */
int log_block_decode(const uint8_t bytes[BLOCK_SIZE], struct pointer self, uint64_t volume_blocks,
                     struct pointer *previous, struct log_entry *entries, uint32_t *count);

/* --------------------------------------------------------------- owner's mark */

struct owner_mark {
  bool open;
  uint8_t owner[16];
  uint64_t heartbeat, time;
  uint32_t interval, process;
  uint8_t boot_id[16];
  char host[64];
};

void owner_mark_encode(const struct owner_mark *mark, uint8_t bytes[BLOCK_SIZE]);
/* A damaged mark decodes as a closed one. */
void owner_mark_decode(struct owner_mark *mark, const uint8_t bytes[BLOCK_SIZE]);

#endif
