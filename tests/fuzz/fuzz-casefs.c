/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libFuzzer target: a valid volume, changed at bytes the input chooses, with the
 * checksums that lie over them made right again; then everything a program would
 * do with it.  Nothing may crash or run on for ever, and what the check has
 * mended is found in order by a second check.
 *
 * The input: two bytes that choose the volume; then the number of changes and
 * the changes (seven bytes each); then operations (five bytes each).
 */

#include "emulator.h"
#include "format.h"
#include "history.h"
#include "workload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VOLUME_SIZE = 2 << 20, TEMPLATES = 3, MAX_DEPTH = 20, MAX_NODES = 2000 };

/* ------------------------------------------------------------------- the input */

struct input {
  const uint8_t *at, *end;
};

static unsigned take_byte(struct input *input) {
  return input->at < input->end ? *input->at++ : 0;
}

static uint64_t take_number(struct input *input, int bytes) {
  uint64_t number = 0;
  while (bytes-- > 0)
    number = number << 8 | take_byte(input);
  return number;
}

/* ------------------------------------------------------------------- templates */

/* Something of everything, an empty volume, and one with deeper trees. */
static struct image *make_template(unsigned number) {
  static char many[1 << 16];
  struct image *image;
  struct model *model = NULL;
  char message[MODEL_MESSAGE];
  many[0] = 0;
  for (unsigned i = 0, length = 0; number == 2 && i < 100; i++)
    length += (unsigned)snprintf(many + length, sizeof many - length,
                                 "create /i/some-longer-name-%u; ea-set /i/some-longer-name-%u E "
                                 "1500 %u 0\n",
                                 i, i, i + 1);
  char *text = malloc(sizeof many + 4096);
  if (!text)
    abort();
  sprintf(text, "%s%s", number > 0 ? starting_tree : "", many);
  if (make_volume(VOLUME_SIZE, number == 2, text, &image, &model, message) != 0) {
    fprintf(stderr, "casefs-fuzz: %s\n", message);
    abort();
  }
  model_destroy(model);
  free(text);
  return image;
}

static const struct image *template_image(unsigned number) {
  static struct image *templates[TEMPLATES];
  if (!templates[number])
    templates[number] = make_template(number);
  return templates[number];
}

/* --------------------------------------------------------------------- mutation */

/* What of a volume is in use, so that changes meet something. */
struct targets {
  uint64_t blocks[MAX_NODES]; /* of nodes, the log, superblocks, the owner's mark */
  size_t count;
};

static struct superblock read_superblock(const struct image *image) {
  uint8_t bytes[BLOCK_SIZE];
  struct superblock newest = {.generation = 0};
  for (unsigned i = 0; i < RING_SLOTS; i++) {
    struct superblock superblock;
    image_read(image, bytes, BLOCK_SIZE, i * BLOCK_SIZE);
    if (superblock_decode(&superblock, bytes) == 0 && superblock.generation >= newest.generation)
      newest = superblock;
  }
  return newest;
}

static void add_target(struct targets *targets, uint64_t block) {
  if (targets->count < MAX_NODES)
    targets->blocks[targets->count++] = block;
}

enum { NODE_HEADER = 32, RECORD_HEADER = 4 };

/* Where the value of a record of a node's page is, its length, or NULL. */
static uint8_t *record_value(uint8_t *page, unsigned index, unsigned *length) {
  unsigned at = load16(page + NODE_HEADER + 2 * index);
  if (at + RECORD_HEADER > NODE_SIZE)
    return NULL;
  unsigned key = load16(page + at);
  *length = load16(page + at + 2);
  return at + RECORD_HEADER + key + *length <= NODE_SIZE ? page + at + RECORD_HEADER + key : NULL;
}

static unsigned record_count(const uint8_t *page) {
  unsigned count = load16(page + 6);
  return count < (NODE_SIZE - NODE_HEADER) / 2 ? count : (NODE_SIZE - NODE_HEADER) / 2;
}

static bool can_be_node(const struct image *image, uint64_t block) {
  return block <= image_size(image) / BLOCK_SIZE - QUAD_BLOCKS;
}

static void find_nodes(const struct image *image, uint64_t block, unsigned level, unsigned depth,
                       struct targets *targets) {
  uint8_t *page = malloc(NODE_SIZE);
  if (!page)
    abort();
  if (can_be_node(image, block) && depth < MAX_DEPTH) {
    image_read(image, page, NODE_SIZE, block * BLOCK_SIZE);
    for (unsigned i = 0; i < QUAD_BLOCKS; i++)
      add_target(targets, block + i);
    for (unsigned i = 0, length; level > 0 && i < record_count(page); i++) {
      const uint8_t *value = record_value(page, i, &length);
      if (value && length == POINTER_SIZE)
        find_nodes(image, load64(value), level - 1, depth + 1, targets);
    }
  }
  free(page);
}

static void find_targets(const struct image *image, struct targets *targets) {
  struct superblock superblock = read_superblock(image);
  targets->count = 0;
  find_nodes(image, superblock.root.block, superblock.root_level, 0, targets);
  for (int i = 0; i < 4; i++) /* often, there are few of them */
    add_target(targets, superblock.log.block);
  for (unsigned copy = 0; copy < 2; copy++)
    add_target(targets, superblock_block(superblock.generation, superblock.blocks, copy));
  add_target(targets, OWNER_BLOCK);
}

static void change_image(struct image *image, const struct targets *targets, struct input *input) {
  uint64_t block = targets->blocks[take_number(input, 2) % targets->count];
  uint64_t offset = take_number(input, 2) % BLOCK_SIZE;
  unsigned kind = take_byte(input), count = 1u << kind % 4;
  uint8_t bytes[8];
  uint64_t value = take_number(input, 2);
  if (offset + count > BLOCK_SIZE)
    offset = BLOCK_SIZE - count;
  image_read(image, bytes, count, block * BLOCK_SIZE + offset);
  for (unsigned i = 0; i < count; i++)
    bytes[i] = kind & 4   ? (uint8_t)(value >> 8 * (i % 2))
               : kind & 8 ? 0xff
                          : (uint8_t)(bytes[i] + (i == 0 ? value : 0));
  image_write(image, bytes, count, block * BLOCK_SIZE + offset);
}

/* ------------------------------------------------------------------ checksums */

static uint64_t mend_log(struct image *image, uint64_t block, unsigned depth) {
  uint8_t bytes[BLOCK_SIZE];
  if (block >= image_size(image) / BLOCK_SIZE)
    return 0;
  image_read(image, bytes, BLOCK_SIZE, block * BLOCK_SIZE);
  struct pointer previous = load_pointer(bytes + 24);
  if (previous.block && depth < MAX_DEPTH) {
    previous.checksum = mend_log(image, previous.block, depth + 1);
    store_pointer(bytes + 24, previous);
    image_write(image, bytes, BLOCK_SIZE, block * BLOCK_SIZE);
  }
  return checksum(bytes, BLOCK_SIZE);
}

/* From the leaves up. */
static uint64_t mend_node(struct image *image, uint64_t block, unsigned level, unsigned depth) {
  if (!can_be_node(image, block))
    return 0;
  uint8_t *page = malloc(NODE_SIZE);
  if (!page)
    abort();
  image_read(image, page, NODE_SIZE, block * BLOCK_SIZE);
  for (unsigned i = 0, length; level > 0 && depth < MAX_DEPTH && i < record_count(page); i++) {
    uint8_t *value = record_value(page, i, &length);
    if (value && length == POINTER_SIZE)
      store64(value + 16, mend_node(image, load64(value), level - 1, depth + 1));
  }
  image_write(image, page, NODE_SIZE, block * BLOCK_SIZE);
  uint64_t sum = checksum(page, NODE_SIZE);
  free(page);
  return sum;
}

/* The volume as a hostile program would write it. */
static void mend_checksums(struct image *image, const struct superblock *before) {
  uint8_t bytes[BLOCK_SIZE];
  for (unsigned copy = 0; copy < 2; copy++) {
    uint64_t at = superblock_block(before->generation, before->blocks, copy) * BLOCK_SIZE;
    image_read(image, bytes, BLOCK_SIZE, at);
    /* Nobody can tell whose nodes they are if the newest superblock has another uuid. */
    memcpy(bytes + 32, before->uuid, sizeof before->uuid);
    struct pointer root = load_pointer(bytes + 88), log = load_pointer(bytes + 120);
    unsigned level = load32(bytes + 112);
    root.checksum = mend_node(image, root.block, level < MAX_DEPTH ? level : 0, 0);
    log.checksum = mend_log(image, log.block, 0);
    store_pointer(bytes + 88, root);
    store_pointer(bytes + 120, log);
    store64(bytes + 8, checksum(bytes + 16, BLOCK_SIZE - 16));
    image_write(image, bytes, BLOCK_SIZE, at);
  }
}

/* ------------------------------------------------------------------ what is done */

/* Look at all there is, as far as it can be read. */
static void walk(casefs_node *directory, unsigned depth, unsigned *budget) {
  static uint8_t bytes[128 << 10];
  struct casefs_cursor cursor = {0}, inner;
  struct casefs_entry entry;
  struct casefs_attributes attributes;
  struct casefs_extent extent;
  struct casefs_ea ea;
  casefs_node *node, *stream;
  while (*budget && casefs_next_entry(directory, &cursor, &entry, &attributes) == 1) {
    --*budget;
    if (casefs_open_at(directory, entry.name, entry.name_length, &node) != 0)
      continue;
    casefs_read(node, bytes, sizeof bytes, 0);
    casefs_readlink(node, (char *)bytes, sizeof bytes);
    casefs_get_security(node, bytes, sizeof bytes);
    casefs_get_reparse(node, bytes, sizeof bytes);
    casefs_path(node, (char *)bytes, sizeof bytes);
    casefs_get_extent(node, 0, &extent);
    memset(&inner, 0, sizeof inner);
    for (int i = 0; i < 50 && casefs_next_ea(node, &inner, &ea) == 1; i++)
      casefs_get_ea(node, ea.name, strlen(ea.name), bytes, sizeof bytes, NULL);
    memset(&inner, 0, sizeof inner);
    for (int i = 0; i < 50 && casefs_next_stream(node, &inner, &entry, &attributes) == 1; i++)
      if (casefs_open_stream(node, entry.name, entry.name_length, 0, &stream) == 0) {
        casefs_read(stream, bytes, sizeof bytes, 0);
        casefs_node_close(stream);
      }
    if (depth < MAX_DEPTH)
      walk(node, depth + 1, budget);
    casefs_node_close(node);
  }
}

/* Some operations by the model's generator, which knows nothing of this volume: whatever they
 * return. */
static void operate(casefs_volume *volume, struct input *input) {
  static struct operation operation;
  char line[OPERATION_TEXT];
  for (int i = 0; i < 20 && input->at < input->end; i++) {
    one_operation((size_t)take_number(input, 2) % one_operation_count(), line);
    const char *text = line;
    while ((text = operation_parse(text, &operation)) && operation.kind != OPERATION_KINDS)
      world_try(volume, &operation);
  }
}

static void use_volume(struct casefs_device *device, struct input *input, bool change) {
  struct casefs_open_options options = {.read_only = !change, .cache_size = 1 << 16};
  casefs_volume *volume;
  casefs_node *root;
  unsigned budget = 60;
  if (casefs_open(device, &options, &volume) != 0)
    return;
  if (casefs_open_root(volume, &root) == 0) {
    walk(root, 0, &budget);
    casefs_node_close(root);
  }
  if (change)
    operate(volume, input);
  casefs_close(volume);
}

static int check_it(struct casefs_device *device, unsigned flags,
                    struct casefs_check_result *result) {
  struct casefs_check_options options = {.flags = flags | CASEFS_CHECK_DATA};
  *result = (struct casefs_check_result){0};
  return casefs_check(device, &options, result);
}

static void expect_mended(struct casefs_device *device) {
  struct casefs_check_result first, second;
  char message[MODEL_MESSAGE];
  if (check_it(device, CASEFS_CHECK_REPAIR, &first) != 0)
    return; /* nothing of a volume is left */
  int error = check_it(device, 0, &second);
  if (error == 0 && second.problems == 0)
    return;
  casefs_volume *volume;
  error = casefs_open(device, NULL, &volume);
  if (error == -EOPNOTSUPP)
    return; /* a feature we do not know: then it must not be written */
  if (error == 0)
    casefs_close(volume);
  check_volume(device, message);
  fprintf(stderr, "casefs-fuzz: after mending %llu of %llu problems there are %llu: %s\n",
          (unsigned long long)first.repaired, (unsigned long long)first.problems,
          (unsigned long long)second.problems, message);
  abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = {data, data + size};
  static struct targets targets;
  struct casefs_check_result result;
  const struct image *template = template_image(take_byte(&input) % TEMPLATES);
  struct superblock before = read_superblock(template);
  struct image *image = image_copy(template);
  unsigned way = take_byte(&input);
  find_targets(image, &targets);
  for (unsigned count = take_byte(&input) % 16; count > 0; count--)
    change_image(image, &targets, &input);
  if (way % 8)
    mend_checksums(image, &before);
  struct emulator *emulator = emulator_open(image);
  struct casefs_device *device = emulator_device(emulator);
  image_destroy(image);
  use_volume(device, &input, false);
  check_it(device, 0, &result);
  if (way & 16)
    use_volume(device, &input, true);
  expect_mended(device);
  use_volume(device, &input, true);
  emulator_close(emulator);
  return 0;
}
