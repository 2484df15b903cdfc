/* SPDX-License-Identifier: BSD-3-Clause */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "volume.h"

/* NBD takes a request for each gigabyte or so: a petabyte would take seconds. */
#define MAX_DISCARD (((uint64_t)1 << 40) / BLOCK_SIZE)

static int check_options(const struct casefs_device *device,
                         const struct casefs_format_options *options) {
  if (device->read_only)
    return -EROFS;
  if (__atomic_load_n(&device->in_use, __ATOMIC_ACQUIRE))
    return -EBUSY;
  if (device->size < CASEFS_MIN_DEVICE_SIZE || options->size > device->size ||
      (options->size != 0 && options->size < CASEFS_MIN_DEVICE_SIZE) || options->mode > 07777)
    return -EINVAL;
  if (options->security_length > CASEFS_MAX_SECURITY)
    return -ENAMETOOLONG;
  if (options->security_length > 0 &&
      casefs_security_check(options->security, options->security_length) < 0)
    return -EINVAL;
  return options->label ? label_check(options->label) : 0;
}

/* Nothing of an older volume may be found: clear both rings, and what lies between them and the
 * first block.  The rings of a bigger or smaller volume are gone with the discard, or are no match
 * for the new generation's place. */
static int clear_fixed_blocks(struct casefs_device *device, uint64_t blocks) {
  uint8_t *zeros = calloc(FIRST_BLOCK, BLOCK_SIZE);
  if (!zeros)
    return -ENOMEM;
  uint64_t end = device->size / NODE_SIZE * QUAD_BLOCKS;
  int r = device_write(device, zeros, FIRST_BLOCK * BLOCK_SIZE, 0, false);
  if (r == 0)
    r = device_write(device, zeros, RING_SLOTS * BLOCK_SIZE, (blocks - RING_SLOTS) * BLOCK_SIZE,
                     false);
  if (r == 0 && end != blocks)
    r = device_write(device, zeros, RING_SLOTS * BLOCK_SIZE, (end - RING_SLOTS) * BLOCK_SIZE,
                     false);
  if (r == 0)
    r = device_flush(device);
  free(zeros);
  return r;
}

static bool all_zeros(const uint8_t uuid[16]) {
  static const uint8_t zeros[16];
  return memcmp(uuid, zeros, 16) == 0;
}

/* A random UUID (RFC 4122, version 4). */
static int make_uuid(uint8_t uuid[16]) {
  if (getrandom(uuid, 16, 0) != 16)
    return -EIO;
  uuid[6] = (uint8_t)(0x40 | (uuid[6] & 0x0F));
  uuid[8] = (uint8_t)(0x80 | (uuid[8] & 0x3F));
  return 0;
}

static int make_superblock(struct superblock *superblock,
                           const struct casefs_format_options *options, uint64_t blocks) {
  const char *label = options->label ? options->label : "";
  *superblock = (struct superblock){
      .version = 1,
      .fold_id = FOLD_WINDOWS_7,
      .blocks = blocks,
      .next_id = CASEFS_ROOT_ID + 1,
      .nodes = 1,
      .format_time = casefs_now(),
      .label_length = (uint32_t)strlen(label),
  };
  memcpy(superblock->label, label, superblock->label_length);
  memcpy(superblock->uuid, options->uuid, 16);
  return all_zeros(options->uuid) ? make_uuid(superblock->uuid) : 0;
}

/* The fold table and the root directory. */
static int make_first_records(casefs_volume *volume, const struct casefs_format_options *options) {
  uint8_t table[FOLD_TABLE_MAX];
  size_t length = fold_table_encode(table);
  struct key key;
  uint64_t now = volume->superblock.format_time;
  struct node_record root = {
      .type = CASEFS_DIRECTORY,
      .insensitive = options->case_insensitive,
      .mode = (uint16_t)(options->mode ? options->mode : 0755),
      .uid = options->uid,
      .gid = options->gid,
      .links = 1,
      .parent = CASEFS_ROOT_ID,
      .created = now,
      .modified = now,
      .accessed = now,
      .changed = now,
  };
  int r = descriptor_store(volume, &root, options->security, options->security_length);
  if (r < 0)
    return r;
  key_start(&key, 0, RECORD_FOLD_TABLE);
  batch_put(&volume->batch, &key, table, length);
  volume->superblock.fold_checksum = checksum(table, length);
  node_store(volume, CASEFS_ROOT_ID, &root);
  return change_apply(volume, PURPOSE_NORMAL);
}

int casefs_format(struct casefs_device *device, const struct casefs_format_options *given) {
  struct casefs_format_options options = given ? *given : (struct casefs_format_options){0};
  int r = check_options(device, &options);
  if (r < 0)
    return r;
  uint64_t size = options.size ? options.size : device->size;
  uint64_t blocks = size / NODE_SIZE * QUAD_BLOCKS;
  casefs_volume *volume = volume_allocate(device, NULL);
  if (!volume)
    return -ENOMEM;
  if (!options.no_discard)
    device_discard(device, blocks < MAX_DISCARD ? blocks * BLOCK_SIZE : MAX_DISCARD * BLOCK_SIZE,
                   0);
  r = clear_fixed_blocks(device, blocks);
  if (r == 0)
    r = make_superblock(&volume->superblock, &options, blocks);
  space_create(&volume->space, blocks);
  if (r == 0)
    r = space_add(&volume->space, FIRST_BLOCK, blocks - RING_SLOTS - FIRST_BLOCK);
  if (r == 0)
    r = tree_create(&volume->tree, device, volume->superblock.uuid, blocks, 0);
  if (r == 0)
    r = make_first_records(volume, &options);
  if (r == 0)
    r = volume_commit(volume, true);
  if (r == 0)
    r = device_flush(device);
  volume_free(volume);
  return r;
}
