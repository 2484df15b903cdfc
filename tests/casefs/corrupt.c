/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Volumes that are damaged in one place each.  Every damage is reported by a check, or refused at
 * opening; a repair mends it, and loses nothing but what was hit; then the check is clean.
 *
 *     corrupt [NAME...]   only those whose name contains one of these
 *
 * There are two kinds: bytes on the device are changed ("raw": rot, or with all checksums made
 * right again), or records are changed through the library ("edit").
 */

#include "fixture.h"

#include "dice.h"
#include "page.h"
#include "volume.h"

enum { SIZE = 16 << 20, MANY = 300, STEM = 3 * 249 };

/* ------------------------------------------------------------- the healthy volume */

static struct image *healthy;
static struct superblock newest;

/* What is in it: files by path, with seeded contents. */
struct witness {
  const char *path;
  uint64_t size;
  uint64_t id;
};

static struct witness witnesses[] = {
    {"/inline", 700, 0},        {"/file", 40000, 0},
    {"/big", 1300000, 0},       {"/d/one", 5000, 0},
    {"/d/two", 60, 0},          {"/d/sub/deep", 9000, 0},
    {"/insensitive/Aa", 80, 0}, {"/insensitive/Bb", 5000, 0},
    {"/linked", 4097, 0},       {"/file:stream", 3000, 0},
    {"/d:side", 12000, 0},      {"/ea", 10, 0},
    {"/secured", 10, 0},        {"/secured2", 10, 0},
    {"/point", 0, 0},           {"/victim", 20000, 0},
};
enum { WITNESSES = sizeof witnesses / sizeof *witnesses };
enum {
  INLINE,
  FILE_,
  BIG,
  ONE,
  TWO,
  DEEP,
  AA,
  BB,
  LINKED,
  STREAM,
  SIDE,
  EA,
  SECURED,
  SECURED2,
  POINT,
  VICTIM
};

static uint64_t dir_id, sub_id, insensitive_id, symlink_id, fifo_id, empty_id, many_id;

static const char *many_name(unsigned i) {
  static char name[STEM + 16];
  for (unsigned at = 0; at < STEM; at += 3)
    memcpy(name + at, "\xe8\xaa\x9e", 3);
  sprintf(name + STEM, "-%05u", i);
  return name;
}

static casefs_node *walk_to(casefs_volume *volume, const char *path) {
  casefs_node *node = NULL;
  return casefs_open_path(volume, NULL, path, 0, &node) == 0 ? node : NULL;
}

static void make_path(casefs_volume *volume, const char *path, enum casefs_type type) {
  struct casefs_creation creation = {.type = type, .mode = 0644, .target = "inline"};
  casefs_node *directory;
  const char *name;
  size_t length;
  creation.target_length = type == CASEFS_SYMLINK ? 6 : 0;
  creation.insensitive = strcmp(path, "/insensitive") == 0;
  assert_int_equal(casefs_open_parent(volume, NULL, path, &directory, &name, &length), 0);
  assert_int_equal(casefs_create(directory, name, length, &creation, NULL), 0);
  casefs_node_close(directory);
}

static uint64_t id_of(casefs_volume *volume, const char *path) {
  casefs_node *node = NULL;
  assert_int_equal(casefs_open_path(volume, NULL, path, CASEFS_NOFOLLOW, &node), 0);
  uint64_t id = casefs_node_id(node);
  casefs_node_close(node);
  return id;
}

static void make_witness(casefs_volume *volume, struct witness *witness) {
  const char *colon = strchr(witness->path, ':');
  casefs_node *node;
  if (colon) {
    char path[64];
    casefs_node *owner;
    sprintf(path, "%.*s", (int)(colon - witness->path), witness->path);
    owner = walk_to(volume, path);
    assert_int_equal(casefs_open_stream(owner, colon + 1, strlen(colon + 1), O_CREAT, &node), 0);
    casefs_node_close(owner);
  } else {
    make_path(volume, witness->path, CASEFS_FILE);
    node = walk_to(volume, witness->path);
  }
  witness->id = casefs_node_id(node);
  write_seeded(node, witness->size, 0, witness->id);
  casefs_node_close(node);
}

static void set_security(casefs_volume *volume, const char *path, const char *sddl) {
  void *descriptor;
  size_t length;
  casefs_node *node = walk_to(volume, path);
  assert_int_equal(casefs_security_from_sddl(sddl, &descriptor, &length, NULL), 0);
  assert_int_equal(casefs_set_security(node, descriptor, length), 0);
  free(descriptor);
  casefs_node_close(node);
}

static const uint8_t app_link[] = {0x1b, 0, 0, 0x80, 4, 0, 0, 0, 'a', 'b', 'c', 'd'};

static void make_metadata(casefs_volume *volume) {
  static uint8_t value[10000];
  casefs_node *node = walk_to(volume, "/ea"), *root;
  dice_fill(value, sizeof value, 1);
  assert_int_equal(casefs_set_ea(node, "Long", 4, value, sizeof value, 0), 0);
  assert_int_equal(casefs_set_ea(node, "short", 5, value, 5, 0x80), 0);
  casefs_node_close(node);
  set_security(volume, "/secured", "O:BAG:SYD:(A;;FA;;;WD)");
  set_security(volume, "/secured2", "O:BAG:SYD:(A;;FA;;;WD)");
  set_security(volume, "/d/one", "O:SYG:SYD:(A;;FR;;;WD)");
  node = walk_to(volume, "/point");
  assert_int_equal(casefs_set_reparse(node, app_link, sizeof app_link), 0);
  casefs_node_close(node);
  node = walk_to(volume, "/linked");
  assert_int_equal(casefs_open_root(volume, &root), 0);
  assert_int_equal(casefs_link(node, root, "other-name", 10), 0);
  casefs_node_close(root);
  casefs_node_close(node);
  node = walk_to(volume, "/victim");
  assert_int_equal(casefs_allocate(node, 40000, 50000, true), 0);
  casefs_node_close(node);
}

static void make_many(casefs_volume *volume) {
  casefs_node *many = walk_to(volume, "/many");
  for (unsigned i = 0; i < MANY; i++) {
    casefs_node *node = make(many, many_name(i), CASEFS_FILE);
    write_seeded(node, 100, 0, i);
    casefs_node_close(node);
  }
  casefs_node_close(many);
}

static void fill(casefs_volume *volume) {
  make_path(volume, "/d", CASEFS_DIRECTORY);
  make_path(volume, "/d/sub", CASEFS_DIRECTORY);
  make_path(volume, "/insensitive", CASEFS_DIRECTORY);
  make_path(volume, "/empty", CASEFS_DIRECTORY);
  make_path(volume, "/many", CASEFS_DIRECTORY);
  make_path(volume, "/symlink", CASEFS_SYMLINK);
  make_path(volume, "/fifo", CASEFS_FIFO);
  for (unsigned i = 0; i < WITNESSES; i++)
    make_witness(volume, &witnesses[i]);
  make_metadata(volume);
  make_many(volume);
  dir_id = id_of(volume, "/d");
  sub_id = id_of(volume, "/d/sub");
  insensitive_id = id_of(volume, "/insensitive");
  symlink_id = id_of(volume, "/symlink");
  fifo_id = id_of(volume, "/fifo");
  empty_id = id_of(volume, "/empty");
  many_id = id_of(volume, "/many");
}

static int make_healthy(void **state) {
  (void)state;
  struct image *empty = image_create(SIZE);
  struct emulator *emulator = emulator_open(empty);
  struct casefs_device *device = emulator_device(emulator);
  struct casefs_format_options options = {.label = "healthy"};
  casefs_volume *volume;
  image_destroy(empty);
  assert_int_equal(casefs_format(device, &options), 0);
  assert_int_equal(casefs_open(device, NULL, &volume), 0);
  fill(volume);
  assert_int_equal(casefs_close(volume), 0);
  /* All slots of the ring in use, and the log more than one block long. */
  struct pointer before = {0};
  bool whole;
  for (unsigned i = 0; i < 10 || before.block == 0; i++) {
    uint8_t block[BLOCK_SIZE];
    assert_true(i < 100);
    assert_int_equal(casefs_open(device, NULL, &volume), 0);
    casefs_node *root;
    assert_int_equal(casefs_open_root(volume, &root), 0);
    assert_int_equal(casefs_set_attributes(root, CASEFS_UID, &(struct casefs_attributes){0}), 0);
    casefs_node_close(root);
    assert_int_equal(casefs_close(volume), 0);
    assert_int_equal(superblock_read(device, &newest, &whole), 0);
    assert_int_equal(device_read(device, block, BLOCK_SIZE, newest.log.block * BLOCK_SIZE), 0);
    before = load_pointer(block + 24);
  }
  healthy = emulator_image(emulator);
  assert_true(whole && newest.root_level >= 2);
  emulator_close(emulator);
  return 0;
}

/* ----------------------------------------------------------------- looking at a volume */

static bool reads_back(casefs_volume *volume, const char *path, uint64_t size, uint64_t seed) {
  static uint8_t got[1300000], want[1300000 + 8];
  casefs_node *node = walk_to(volume, path);
  if (!node)
    return false;
  dice_fill(want, size, seed);
  bool same = attributes_of_node(node).size == size &&
              casefs_read(node, got, size, 0) == (int64_t)size && memcmp(got, want, size) == 0;
  casefs_node_close(node);
  return same;
}

/* Everything that was not to be hit: how much is lost. */
static unsigned count_lost(casefs_volume *volume, const char *spoils, const char **first) {
  char path[STEM + 64];
  unsigned lost = 0;
  for (unsigned i = 0; i < WITNESSES; i++) {
    sprintf(path, " %s ", witnesses[i].path);
    if (strstr(spoils, path) ||
        reads_back(volume, witnesses[i].path, witnesses[i].size, witnesses[i].id))
      continue;
    *first = witnesses[i].path;
    lost++;
  }
  for (unsigned i = 0; i < MANY; i++) {
    sprintf(path, "/many/%s", many_name(i));
    if (strstr(spoils, " /many ") || reads_back(volume, path, 100, i))
      continue;
    *first = "/many";
    lost++;
  }
  return lost;
}

/* ------------------------------------------------------------------------- raw damage */

struct damage;
typedef void raw_damage(struct image *image, const struct damage *damage);
typedef void edit_damage(casefs_volume *volume, const struct damage *damage);

struct damage {
  const char *name;
  raw_damage *raw;
  edit_damage *edit;
  uint64_t a, b, c;
  const char *spoils; /* paths, each with a space before and after it */
  unsigned may_lose;  /* other witnesses, where what is hit has many */
  int open_error;     /* of opening the damaged volume; 1: any or none */
  bool silent;        /* a check need not notice */
};

static void get_superblock(const struct image *image, unsigned age, unsigned copy, uint8_t *bytes) {
  image_read(image, bytes, BLOCK_SIZE,
             superblock_block(newest.generation - age, newest.blocks, copy) * BLOCK_SIZE);
}

static void put_superblock(struct image *image, unsigned age, unsigned copy, uint8_t *bytes) {
  store64(bytes + 8, checksum(bytes + 16, BLOCK_SIZE - 16));
  image_write(image, bytes, BLOCK_SIZE,
              superblock_block(newest.generation - age, newest.blocks, copy) * BLOCK_SIZE);
}

static void store(uint8_t *bytes, uint64_t size, uint64_t value) {
  for (uint64_t i = 0; i < size; i++)
    bytes[i] = (uint8_t)(value >> 8 * i);
}

/* Slot of age a, copy b: a bit at byte c. */
static void slot_rot(struct image *image, const struct damage *damage) {
  image_flip_bit(
      image,
      superblock_block(newest.generation - damage->a, newest.blocks, (unsigned)damage->b) *
              BLOCK_SIZE +
          damage->c,
      3);
}

static void slot_zeros(struct image *image, const struct damage *damage) {
  uint8_t zeros[BLOCK_SIZE] = {0};
  image_write(image, zeros, BLOCK_SIZE,
              superblock_block(newest.generation - damage->a, newest.blocks, (unsigned)damage->b) *
                  BLOCK_SIZE);
}

/* All 16 slots: a bit at byte a each; or zeros. */
static void all_slots_rot(struct image *image, const struct damage *damage) {
  for (unsigned i = 0; i < 2 * RING_SLOTS; i++)
    image_flip_bit(image, superblock_block(i % 8, newest.blocks, i / 8) * BLOCK_SIZE + damage->a,
                   0);
}

static void all_slots_zeros(struct image *image, const struct damage *damage) {
  struct damage slot = *damage;
  for (unsigned i = 0; i < 2 * RING_SLOTS; i++) {
    slot.a = i % 8;
    slot.b = i / 8;
    slot_zeros(image, &slot);
  }
}

/* The field at a, of b bytes, becomes c in the newest superblock, with its checksum. */
static void superblock_field(struct image *image, const struct damage *damage) {
  for (unsigned copy = 0; copy < 2; copy++) {
    uint8_t bytes[BLOCK_SIZE];
    get_superblock(image, 0, copy, bytes);
    store(bytes + damage->a, damage->b, damage->c);
    put_superblock(image, 0, copy, bytes);
  }
}

/* The same in all slots. */
static void superblocks_field(struct image *image, const struct damage *damage) {
  for (unsigned age = 0; age < RING_SLOTS; age++)
    for (unsigned copy = 0; copy < 2; copy++) {
      uint8_t bytes[BLOCK_SIZE];
      get_superblock(image, age, copy, bytes);
      store(bytes + damage->a, damage->b, damage->c);
      put_superblock(image, age, copy, bytes);
    }
}

/* One whole copy of the ring is gone. */
static void ring_gone(struct image *image, const struct damage *damage) {
  struct damage slot = {.b = damage->a};
  for (slot.a = 0; slot.a < RING_SLOTS; slot.a++)
    slot_zeros(image, &slot);
}

/* ------------------------------------------------------------------- raw damage: tree */

/* A node of the tree and all above it. */
struct spot {
  struct pointer pointer[MAX_LEVEL + 1];
  unsigned index[MAX_LEVEL + 1]; /* in the node above */
  uint8_t page[MAX_LEVEL + 1][NODE_SIZE];
  unsigned depth; /* of the node: 0 the root */
};

/* Go down `depth` levels, by child `child` of each (counted from the end if negative). */
static void find_spot(const struct image *image, struct spot *spot, unsigned depth, int child) {
  spot->depth = depth;
  spot->pointer[0] = newest.root;
  for (unsigned i = 0;; i++) {
    uint32_t length;
    image_read(image, spot->page[i], NODE_SIZE, spot->pointer[i].block * BLOCK_SIZE);
    if (i == depth)
      return;
    int count = (int)page_count(spot->page[i]), at = child < 0 ? count + child : child;
    spot->index[i + 1] = (unsigned)(at < count ? at : count - 1);
    spot->pointer[i + 1] = load_pointer(page_value(spot->page[i], spot->index[i + 1], &length));
  }
}

/* Write the node, and right checksums all the way up. */
static void put_spot(struct image *image, struct spot *spot) {
  for (unsigned i = spot->depth + 1; i-- > 0;) {
    struct pointer *pointer = &spot->pointer[i];
    uint32_t length;
    pointer->checksum = checksum(spot->page[i], NODE_SIZE);
    image_write(image, spot->page[i], NODE_SIZE, pointer->block * BLOCK_SIZE);
    if (i > 0)
      store_pointer(page_value(spot->page[i - 1], spot->index[i], &length), *pointer);
  }
  for (unsigned copy = 0; copy < 2; copy++) {
    uint8_t bytes[BLOCK_SIZE];
    get_superblock(image, 0, copy, bytes);
    store_pointer(bytes + 88, spot->pointer[0]);
    put_superblock(image, 0, copy, bytes);
  }
}

static unsigned leaf_depth(void) {
  return newest.root_level;
}

static unsigned depth_of(const struct damage *damage) {
  return damage->a > leaf_depth() ? leaf_depth() : (unsigned)damage->a;
}

static struct spot spot;

/* Node at depth a (many: a leaf), child b: a bit at byte c. */
static void node_rot(struct image *image, const struct damage *damage) {
  find_spot(image, &spot, depth_of(damage), (int)damage->b);
  image_flip_bit(image, spot.pointer[spot.depth].block * BLOCK_SIZE + damage->c, 5);
}

static void node_zeros(struct image *image, const struct damage *damage) {
  find_spot(image, &spot, depth_of(damage), (int)damage->b);
  memset(spot.page[spot.depth], 0, NODE_SIZE);
  image_write(image, spot.page[spot.depth], NODE_SIZE, spot.pointer[spot.depth].block * BLOCK_SIZE);
}

/* Node at depth a, third child: two bytes at b become c. */
static void node_field(struct image *image, const struct damage *damage) {
  find_spot(image, &spot, depth_of(damage), 2);
  store16(spot.page[spot.depth] + damage->b, (uint16_t)damage->c);
  put_spot(image, &spot);
}

/* Its header says another block, generation, UUID: the field at b is one more. */
static void node_field_plus(struct image *image, const struct damage *damage) {
  find_spot(image, &spot, depth_of(damage), 2);
  spot.page[spot.depth][damage->b]++;
  put_spot(image, &spot);
}

static void children_swapped(struct image *image, const struct damage *damage) {
  uint8_t bytes[POINTER_SIZE];
  uint32_t length;
  find_spot(image, &spot, depth_of(damage), 1);
  uint8_t *page = spot.page[spot.depth];
  uint8_t *one = page_value(page, 0, &length), *other = page_value(page, 1, &length);
  memcpy(bytes, one, POINTER_SIZE);
  memcpy(one, other, POINTER_SIZE);
  memcpy(other, bytes, POINTER_SIZE);
  put_spot(image, &spot);
}

/* Two pointers to one child: the other one is led to by nothing. */
static void child_shared(struct image *image, const struct damage *damage) {
  uint32_t length;
  find_spot(image, &spot, depth_of(damage), 1);
  uint8_t *page = spot.page[spot.depth];
  memcpy(page_value(page, 1, &length), page_value(page, 0, &length), POINTER_SIZE);
  put_spot(image, &spot);
}

/* A pointer of the node at depth a: its field at b becomes c. */
static void child_field(struct image *image, const struct damage *damage) {
  uint32_t length;
  find_spot(image, &spot, depth_of(damage), 1);
  store64(page_value(spot.page[spot.depth], 1, &length) + damage->b, damage->c);
  put_spot(image, &spot);
}

static void child_is_root(struct image *image, const struct damage *damage) {
  uint32_t length;
  find_spot(image, &spot, depth_of(damage), 1);
  store_pointer(page_value(spot.page[spot.depth], 1, &length), newest.root);
  put_spot(image, &spot);
}

static void child_removed(struct image *image, const struct damage *damage) {
  uint8_t copy[NODE_SIZE];
  find_spot(image, &spot, depth_of(damage), 1);
  page_remove(spot.page[spot.depth], 1);
  page_compact(spot.page[spot.depth], copy);
  memcpy(spot.page[spot.depth], copy, NODE_SIZE);
  put_spot(image, &spot);
}

/* A separator that is greater than keys below it. */
static void separator_wrong(struct image *image, const struct damage *damage) {
  uint32_t length;
  find_spot(image, &spot, depth_of(damage), 1);
  uint8_t *key = (uint8_t *)page_key(spot.page[spot.depth], 1, &length);
  key[length - 1]++;
  put_spot(image, &spot);
}

/* Two records of a leaf out of order, or the same twice. */
static void records_disorder(struct image *image, const struct damage *damage) {
  find_spot(image, &spot, leaf_depth(), 2);
  uint8_t *slots = spot.page[spot.depth] + PAGE_HEADER;
  uint16_t first = load16(slots);
  if (damage->b == 0)
    store16(slots, load16(slots + 2));
  store16(slots + 2, first);
  put_spot(image, &spot);
}

static void leaf_emptied(struct image *image, const struct damage *damage) {
  (void)damage;
  find_spot(image, &spot, leaf_depth(), 2);
  uint8_t *page = spot.page[spot.depth];
  store16(page + 6, 0);
  store16(page + 24, NODE_SIZE);
  put_spot(image, &spot);
}

/* ------------------------------------------------------------------ raw damage: space log */

static void log_rot(struct image *image, const struct damage *damage) {
  image_flip_bit(image, newest.log.block * BLOCK_SIZE + damage->a, 1);
}

/* The field at a, of b bytes, becomes c in the newest block of the log, with all checksums. */
static void log_field(struct image *image, const struct damage *damage) {
  uint8_t block[BLOCK_SIZE];
  struct pointer log = newest.log;
  image_read(image, block, BLOCK_SIZE, log.block * BLOCK_SIZE);
  store(block + damage->a, damage->b, damage->c);
  image_write(image, block, BLOCK_SIZE, log.block * BLOCK_SIZE);
  log.checksum = checksum(block, BLOCK_SIZE);
  for (unsigned copy = 0; copy < 2; copy++) {
    uint8_t bytes[BLOCK_SIZE];
    get_superblock(image, 0, copy, bytes);
    store_pointer(bytes + 120, log);
    put_superblock(image, 0, copy, bytes);
  }
}

/* Block number a of the chain, from the newest. */
static void old_log_rot(struct image *image, const struct damage *damage) {
  struct pointer log = newest.log;
  uint8_t block[BLOCK_SIZE];
  for (uint64_t i = 0; i < damage->a; i++) {
    image_read(image, block, BLOCK_SIZE, log.block * BLOCK_SIZE);
    struct pointer before = load_pointer(block + 24);
    if (before.block == 0)
      break;
    log = before;
  }
  image_flip_bit(image, log.block * BLOCK_SIZE + 70, 1);
}

/* -------------------------------------------------------------------- raw damage: data */

/* Where a witness's first data block is. */
static uint64_t data_offset(const struct image *image, unsigned witness, uint64_t offset) {
  struct emulator *emulator = emulator_open(image);
  struct casefs_open_options options = {.read_only = true};
  struct casefs_extent extent;
  casefs_volume *volume;
  assert_int_equal(casefs_open(emulator_device(emulator), &options, &volume), 0);
  casefs_node *node = walk_to(volume, witnesses[witness].path);
  assert_int_equal(casefs_get_extent(node, offset, &extent), 1);
  assert_int_equal(extent.kind, CASEFS_EXTENT_DATA);
  casefs_node_close(node);
  casefs_close(volume);
  emulator_close(emulator);
  return extent.device_offset;
}

static void data_rot(struct image *image, const struct damage *damage) {
  image_flip_bit(image, data_offset(image, (unsigned)damage->a, damage->b) + 17, 0);
}

static void data_gone(struct image *image, const struct damage *damage) {
  uint8_t zeros[2 * BLOCK_SIZE] = {0};
  image_write(image, zeros, sizeof zeros, data_offset(image, (unsigned)damage->a, damage->b));
}

/* ------------------------------------------------------------------------ record edits */

static uint64_t node_of(uint64_t a) {
  const uint64_t others[] = {CASEFS_ROOT_ID, dir_id,  sub_id,   insensitive_id,
                             symlink_id,     fifo_id, empty_id, many_id};
  return a < WITNESSES ? witnesses[a].id : others[a - WITNESSES];
}

enum { ROOT = WITNESSES, DIR, SUB, INSENSITIVE, SYMLINK, FIFO, EMPTY, MANY_DIR };

static void put(casefs_volume *volume, const struct key *key, const void *value, size_t length) {
  batch_put(&volume->batch, key, value, length);
}

static void drop(casefs_volume *volume, const struct key *key) {
  batch_remove(&volume->batch, key);
}

/* Node a: the field at b & 255, of b >> 8 bytes, becomes c. */
static void node_record(casefs_volume *volume, const struct damage *damage) {
  struct tree_record found;
  struct key key;
  key_node(&key, node_of(damage->a));
  assert_int_equal(tree_get(&volume->tree, &key, &found), 0);
  store(found.value + (damage->b & 255), damage->b >> 8, damage->c);
  put(volume, &key, found.value, found.length);
}

#define FIELD(offset, size) ((uint64_t)(size) << 8 | (offset))

static void node_short(casefs_volume *volume, const struct damage *damage) {
  struct tree_record found;
  struct key key;
  key_node(&key, node_of(damage->a));
  assert_int_equal(tree_get(&volume->tree, &key, &found), 0);
  put(volume, &key, found.value, damage->b);
}

/* The first record of node a of type b, skipping c others. */
static void find_record(casefs_volume *volume, const struct damage *damage,
                        struct tree_record *found) {
  struct key key;
  key_start(&key, damage->a == UINT64_MAX ? 0 : node_of(damage->a), (enum record_type)damage->b);
  for (uint64_t i = 0;; i++) {
    assert_int_equal(tree_seek_prefix(&volume->tree, &key, KEY_PREFIX, found), 0);
    if (i >= damage->c >> 32)
      return;
    key = found->key;
    key_after(&key);
  }
}

static void record_removed(casefs_volume *volume, const struct damage *damage) {
  struct tree_record found;
  find_record(volume, damage, &found);
  drop(volume, &found.key);
}

/* A byte of its value becomes something else. */
static void record_value(casefs_volume *volume, const struct damage *damage) {
  struct tree_record found;
  find_record(volume, damage, &found);
  found.value[damage->c & 0xffff] ^= (uint8_t)(damage->c >> 16);
  put(volume, &found.key, found.value, found.length);
}
#define BYTE(at, with) ((uint64_t)(with) << 16 | (at))
#define NTH(n) ((uint64_t)(n) << 32)

/* Its value loses its last byte, or gets one more. */
static void record_shorter(casefs_volume *volume, const struct damage *damage) {
  struct tree_record found;
  find_record(volume, damage, &found);
  put(volume, &found.key, found.value, found.length - 1);
}

static void record_longer(casefs_volume *volume, const struct damage *damage) {
  struct tree_record found;
  find_record(volume, damage, &found);
  found.value[found.length] = 7;
  put(volume, &found.key, found.value, found.length + 1);
}

/* Its key loses its last byte, gets one more, or has a byte changed. */
static void record_key(casefs_volume *volume, const struct damage *damage) {
  struct tree_record found;
  find_record(volume, damage, &found);
  drop(volume, &found.key);
  uint64_t how = damage->c & 0xffff;
  if (how == 0)
    found.key.length--;
  else if (how == 1)
    found.key.bytes[found.key.length++] = 'x';
  else
    found.key.bytes[found.key.length - 1] ^= 1;
  put(volume, &found.key, found.value, found.length);
}

/* A record of a kind that the node cannot have. */
static void record_stray(casefs_volume *volume, const struct damage *damage) {
  struct key key;
  uint8_t value[ENTRY_RECORD_SIZE];
  key_start(&key, damage->a == UINT64_MAX ? 0 : node_of(damage->a), (enum record_type)damage->b);
  if (damage->b == RECORD_ENTRY || damage->b == RECORD_STREAM)
    key_append(&key, "A\0a", 3);
  else if (damage->b == RECORD_EXTENT || damage->b == RECORD_ORPHAN)
    key_append64(&key, damage->c);
  else if (damage->b == RECORD_REPARSE)
    key_append16(&key, 0);
  entry_record_encode(witnesses[VICTIM].id, CASEFS_FILE, value);
  put(volume, &key, value, damage->b == RECORD_ORPHAN ? 0 : sizeof value);
}

static void short_key(casefs_volume *volume, const struct damage *damage) {
  struct key key = {.length = 4, .bytes = {0, 0, 0, (uint8_t)damage->a}};
  put(volume, &key, "x", 1);
}

static void high_id(casefs_volume *volume, const struct damage *damage) {
  struct node_record record = {.type = CASEFS_FILE, .links = 1};
  (void)damage;
  node_store(volume, UINT64_MAX - 5, &record);
}

static void add_entry(casefs_volume *volume, uint64_t directory, const char *name, uint64_t id,
                      uint8_t type, enum record_type kind) {
  uint8_t value[ENTRY_RECORD_SIZE];
  struct key key;
  uint32_t folded;
  key_name(&key, directory, kind, name, strlen(name), &folded);
  entry_record_encode(id, type, value);
  put(volume, &key, value, sizeof value);
}

static void add_link(casefs_volume *volume, uint64_t id, uint64_t directory, const char *name) {
  struct key key;
  key_link(&key, id, directory, name, strlen(name));
  put(volume, &key, NULL, 0);
}

static void entry_to_nothing(casefs_volume *volume, const struct damage *damage) {
  add_entry(volume, node_of(damage->a), "ghost", 999999, (uint8_t)damage->b, RECORD_ENTRY);
}

/* Another entry for node a, in directory b, with a link if c. */
static void entry_more(casefs_volume *volume, const struct damage *damage) {
  struct node_record record;
  assert_int_equal(node_fetch(volume, node_of(damage->a), &record), 0);
  add_entry(volume, node_of(damage->b), "more", node_of(damage->a), record.type, RECORD_ENTRY);
  if (damage->c)
    add_link(volume, node_of(damage->a), node_of(damage->b), "more");
}

static void link_more(casefs_volume *volume, const struct damage *damage) {
  add_link(volume, node_of(damage->a), node_of(damage->b), "more");
}

static void link_to_nothing(casefs_volume *volume, const struct damage *damage) {
  add_link(volume, node_of(damage->a), 999999, "more");
}

/* An entry with a name that cannot be: of which kind, b says. */
static void entry_bad_name(casefs_volume *volume, const struct damage *damage) {
  static const char *const names[] = {".", "..", "a/b", "\xff\xfe", "\xed\xa0\x80\xed\xb0\x80"};
  add_entry(volume, node_of(damage->a), names[damage->b], witnesses[VICTIM].id, CASEFS_FILE,
            RECORD_ENTRY);
}

static void entry_twin(casefs_volume *volume, const struct damage *damage) {
  (void)damage;
  add_entry(volume, insensitive_id, "aA", witnesses[VICTIM].id, CASEFS_FILE, RECORD_ENTRY);
  add_link(volume, witnesses[VICTIM].id, insensitive_id, "aA");
}

static void stream_twin(casefs_volume *volume, const struct damage *damage) {
  (void)damage;
  add_entry(volume, witnesses[FILE_].id, "STREAM", witnesses[SIDE].id, CASEFS_STREAM,
            RECORD_STREAM);
}

static void stream_more(casefs_volume *volume, const struct damage *damage) {
  add_entry(volume, node_of(damage->a), "another", witnesses[damage->b].id,
            damage->c ? CASEFS_FILE : CASEFS_STREAM, RECORD_STREAM);
}

static void stream_to_nothing(casefs_volume *volume, const struct damage *damage) {
  add_entry(volume, node_of(damage->a), "ghost", 999999, CASEFS_STREAM, RECORD_STREAM);
}

/* An entry under a fold that is not its name's. */
static void entry_fold(casefs_volume *volume, const struct damage *damage) {
  struct tree_record found;
  struct key key;
  uint32_t folded;
  const char *name = strrchr(witnesses[damage->a].path, '/') + 1;
  uint64_t directory = damage->b ? node_of(damage->b) : CASEFS_ROOT_ID;
  key_name(&key, directory, RECORD_ENTRY, name, strlen(name), &folded);
  assert_int_equal(tree_get(&volume->tree, &key, &found), 0);
  drop(volume, &key);
  key.bytes[KEY_PREFIX] ^= 0x20;
  put(volume, &key, found.value, found.length);
}

/* Two directories, each in the other. */
static void directory_loop(casefs_volume *volume, const struct damage *damage) {
  struct node_record record;
  struct key key;
  uint32_t folded;
  (void)damage;
  assert_int_equal(node_fetch(volume, dir_id, &record), 0);
  record.parent = sub_id;
  node_store(volume, dir_id, &record);
  key_name(&key, CASEFS_ROOT_ID, RECORD_ENTRY, "d", 1, &folded);
  drop(volume, &key);
  key_link(&key, dir_id, CASEFS_ROOT_ID, "d", 1);
  drop(volume, &key);
  add_entry(volume, sub_id, "d", dir_id, CASEFS_DIRECTORY, RECORD_ENTRY);
  add_link(volume, dir_id, sub_id, "d");
}

/* Neither entry nor link: node a has no name. */
static void name_removed(casefs_volume *volume, const struct damage *damage) {
  struct tree_record found;
  struct key key;
  uint32_t folded;
  key_start(&key, node_of(damage->a), RECORD_LINK);
  assert_int_equal(tree_seek_prefix(&volume->tree, &key, KEY_PREFIX, &found), 0);
  drop(volume, &found.key);
  key_name(&key, load64_big(found.key.bytes + KEY_PREFIX), RECORD_ENTRY,
           (const char *)found.key.bytes + KEY_PREFIX + 8, found.key.length - KEY_PREFIX - 8,
           &folded);
  drop(volume, &key);
}

/* --------------------------------------------------------------------- extent edits */

static void add_extent(casefs_volume *volume, uint64_t id, uint64_t first, uint32_t kind,
                       uint32_t count, uint64_t block, uint32_t length) {
  uint8_t value[EXTENT_HEADER + 4 * MAX_EXTENT_BLOCKS] = {(uint8_t)kind};
  struct key key;
  store32(value + 4, count);
  if (kind != EXTENT_INLINE)
    store64(value + 8, block);
  key_extent(&key, id, first);
  put(volume, &key, value, length);
}

/* The extent of node a at block b, with everything as it is, for another node or place. */
static void copy_extent(casefs_volume *volume, uint64_t from, uint64_t to, uint64_t place) {
  struct tree_record found;
  struct key key;
  key_start(&key, from, RECORD_EXTENT);
  assert_int_equal(tree_seek_prefix(&volume->tree, &key, KEY_PREFIX, &found), 0);
  key_extent(&key, to, place);
  put(volume, &key, found.value, found.length);
}

static void extent_shared(casefs_volume *volume, const struct damage *damage) {
  copy_extent(volume, node_of(damage->a), node_of(damage->b), damage->c);
}

/* An extent of the victim where it has none: of kind a, count b, at block c. */
static void extent_wild(casefs_volume *volume, const struct damage *damage) {
  uint32_t length =
      damage->a == EXTENT_DATA ? EXTENT_HEADER + 4 * (uint32_t)(damage->b & 255) : EXTENT_HEADER;
  add_extent(volume, witnesses[VICTIM].id, 1000, (uint32_t)damage->a, (uint32_t)damage->b,
             damage->c, length);
}

static void extent_on_node(casefs_volume *volume, const struct damage *damage) {
  (void)damage;
  add_extent(volume, witnesses[VICTIM].id, 30, EXTENT_UNWRITTEN, 1, newest.root.block,
             EXTENT_HEADER);
}

/* Data far past the end. */
static void extent_past_end(casefs_volume *volume, const struct damage *damage) {
  struct block_run run;
  assert_int_equal(allocate_blocks(volume, 1, false, &run), 0);
  uint8_t value[EXTENT_HEADER + 4] = {EXTENT_DATA}, block[BLOCK_SIZE] = {1};
  struct key key;
  store32(value + 4, 1);
  store64(value + 8, run.block);
  store32(value + 16, (uint32_t)checksum(block, BLOCK_SIZE));
  assert_int_equal(device_write(volume->device, block, BLOCK_SIZE, run.block * BLOCK_SIZE, false),
                   0);
  key_extent(&key, witnesses[VICTIM].id, damage->a);
  put(volume, &key, value, sizeof value);
}

static void inline_past_end(casefs_volume *volume, const struct damage *damage) {
  (void)damage;
  add_extent(volume, witnesses[VICTIM].id, 9, EXTENT_INLINE, 50, 0, EXTENT_INLINE_HEADER + 50);
}

/* ---------------------------------------------------------------------- space edits */

static void blocks_lost(casefs_volume *volume, const struct damage *damage) {
  struct block_run run;
  assert_int_equal(allocate_blocks(volume, damage->a, false, &run), 0);
}

static void used_freed(casefs_volume *volume, const struct damage *damage) {
  struct tree_record found;
  struct key key;
  (void)damage;
  key_start(&key, witnesses[BIG].id, RECORD_EXTENT);
  assert_int_equal(tree_seek_prefix(&volume->tree, &key, KEY_PREFIX, &found), 0);
  assert_int_equal(free_blocks(volume, load64(found.value + 8), 3), 0);
}

static void node_freed(casefs_volume *volume, const struct damage *damage) {
  (void)damage;
  /* One that this commit does not write anew. */
  struct spot *last = &spot;
  find_spot(healthy, last, leaf_depth(), (int)(page_count(last->page[0]) / 2));
  assert_int_equal(free_blocks(volume, last->pointer[last->depth].block, QUAD_BLOCKS), 0);
}

static void freed_twice(casefs_volume *volume, const struct damage *damage) {
  struct block_run run;
  (void)damage;
  assert_int_equal(allocate_blocks(volume, 2, false, &run), 0);
  assert_int_equal(free_blocks(volume, run.block, 2), 0);
  assert_int_equal(free_blocks(volume, run.block + 1, 1), 0);
}

/* ----------------------------------------------------------------- superblock by the library */

static void counter(casefs_volume *volume, const struct damage *damage) {
  if (damage->a == 0)
    volume->superblock.nodes = damage->b;
  else if (damage->a == 1)
    volume->superblock.next_id = damage->b;
  else
    volume->superblock.fold_checksum = damage->b;
  volume->superblock_changed = true;
}

static void fold_table(casefs_volume *volume, const struct damage *damage) {
  struct key key;
  key_start(&key, 0, RECORD_FOLD_TABLE);
  if (damage->a == 0)
    drop(volume, &key);
  else
    put(volume, &key, "\1\0ABCDEFGH", 10);
}

/* A descriptor that no node has. */
static void descriptor_unused(casefs_volume *volume, const struct damage *damage) {
  struct tree_record found;
  struct key key;
  (void)damage;
  key_start(&key, 0, RECORD_SECURITY);
  assert_int_equal(tree_seek_prefix(&volume->tree, &key, KEY_PREFIX, &found), 0);
  uint64_t id = new_id(volume);
  store64_big(found.key.bytes + KEY_PREFIX, id);
  store64(found.value + 8, 0);
  put(volume, &found.key, found.value, found.length);
  key_start(&key, 0, RECORD_SECURITY_HASH);
  key_append64(&key, load64(found.value + 16));
  key_append64(&key, id);
  put(volume, &key, NULL, 0);
}

static void hash_more(casefs_volume *volume, const struct damage *damage) {
  struct key key;
  key_start(&key, 0, RECORD_SECURITY_HASH);
  key_append64(&key, 12345);
  key_append64(&key, damage->a);
  put(volume, &key, NULL, 0);
}

/* ------------------------------------------------------------------------- the table */

#define ANY UINT64_MAX
#define LEAF 99u
#define V " /victim "
#define RAW(text, function, one, two, three, ...)                                                  \
  {                                                                                                \
    .name = (text), .raw = (function), .a = (uint64_t)(one), .b = (uint64_t)(two), .c = (three),   \
    __VA_ARGS__                                                                                    \
  }
#define EDIT(text, function, one, two, three, ...)                                                 \
  {                                                                                                \
    .name = (text), .edit = (function), .a = (uint64_t)(one), .b = (uint64_t)(two), .c = (three),  \
    __VA_ARGS__                                                                                    \
  }

static const struct damage damages[] = {
    /* slots of the ring: age, copy, byte */
    RAW("front slot, newest: magic", slot_rot, 0, 0, 0),
    RAW("front slot, newest: checksum", slot_rot, 0, 0, 8),
    RAW("front slot, newest: version", slot_rot, 0, 0, 16),
    RAW("front slot, newest: root", slot_rot, 0, 0, 90),
    RAW("front slot, newest: unused byte", slot_rot, 0, 0, 4000),
    RAW("mirror slot, newest: magic", slot_rot, 0, 1, 0),
    RAW("mirror slot, newest: generation", slot_rot, 0, 1, 48),
    RAW("front slot, age 1", slot_rot, 1, 0, 60),
    RAW("front slot, age 2", slot_rot, 2, 0, 100),
    RAW("front slot, age 3", slot_rot, 3, 0, 188),
    RAW("front slot, age 6", slot_rot, 6, 0, 16),
    RAW("front slot that is next", slot_rot, 7, 0, 16, .silent = true),
    RAW("mirror slot that is next", slot_zeros, 7, 1, 0, .silent = true),
    RAW("mirror slot, age 1", slot_rot, 1, 1, 60),
    RAW("mirror slot, age 4", slot_rot, 4, 1, 60),
    RAW("mirror slot, age 6", slot_rot, 6, 1, 60),
    RAW("front slot zeroed, newest", slot_zeros, 0, 0, 0),
    RAW("front slot zeroed, age 2", slot_zeros, 2, 0, 0),
    RAW("mirror slot zeroed, newest", slot_zeros, 0, 1, 0),
    RAW("mirror slot zeroed, age 5", slot_zeros, 5, 1, 0),
    RAW("front ring gone", ring_gone, 0, 0, 0),
    RAW("mirror ring gone", ring_gone, 1, 0, 0),
    RAW("all slots: checksum", all_slots_rot, 8, 0, 0, .open_error = -EUCLEAN),
    RAW("all slots: UUID", all_slots_rot, 33, 0, 0, .open_error = -EUCLEAN),
    RAW("all slots: size", all_slots_rot, 61, 0, 0, .open_error = -EUCLEAN),
    RAW("all slots: log", all_slots_rot, 121, 0, 0, .open_error = -EUCLEAN),
    RAW("all slots: generation", all_slots_rot, 49, 0, 0, .open_error = -EUCLEAN),
    RAW("all slots: next id", all_slots_rot, 150, 0, 0, .open_error = -EUCLEAN),
    RAW("all slots: label", all_slots_rot, 190, 0, 0, .open_error = -EUCLEAN),
    RAW("all slots: magic", all_slots_rot, 3, 0, 0, .open_error = -ENODATA),
    RAW("all slots: root pointer", all_slots_rot, 89, 0, 0, .open_error = -EUCLEAN),
    RAW("all slots: root level", all_slots_rot, 112, 0, 0, .open_error = -EUCLEAN),
    RAW("all slots zeroed", all_slots_zeros, 0, 0, 0, .open_error = -ENODATA),

    /* fields of the newest superblock: offset, size, value */
    RAW("superblock: UUID", superblock_field, 32, 4, 0x12345678, .open_error = 1),
    RAW("superblock: end of UUID", superblock_field, 40, 4, 0x12345678),
    RAW("superblock: generation of another slot", superblock_field, 48, 8, 77, .silent = true),
    RAW("superblock: fewer blocks", superblock_field, 56, 8, 2048, .open_error = 1),
    RAW("superblock: more blocks", superblock_field, 56, 8, 5000, .open_error = 1),
    RAW("superblock: odd blocks", superblock_field, 56, 8, 4095, .silent = true),
    RAW("superblock: root block", superblock_field, 88, 8, 16, .open_error = 1),
    RAW("superblock: root past the end", superblock_field, 88, 8, 1u << 20, .silent = true),
    RAW("superblock: root generation", superblock_field, 96, 8, 1, .open_error = 1),
    RAW("superblock: root checksum", superblock_field, 104, 8, 1, .open_error = 1),
    RAW("superblock: root level more", superblock_field, 112, 4, 5, .open_error = 1),
    RAW("superblock: root level 0", superblock_field, 112, 4, 0, .open_error = 1),
    RAW("superblock: root level too high", superblock_field, 112, 4, 16, .silent = true),
    RAW("superblock: log block", superblock_field, 120, 8, 40, .open_error = -EUCLEAN),
    RAW("superblock: log generation", superblock_field, 128, 8, 1, .open_error = -EUCLEAN),
    RAW("superblock: log checksum", superblock_field, 136, 8, 99, .open_error = -EUCLEAN),
    RAW("superblock: next id too low", superblock_field, 144, 8, 5),
    RAW("superblock: next id 0", superblock_field, 144, 8, 0, .silent = true),
    RAW("superblock: nodes", superblock_field, 152, 8, 3),
    RAW("superblock: fold checksum", superblock_field, 176, 8, 3),
    RAW("superblock: label's length", superblock_field, 184, 4, 80),
    RAW("superblock: label too long", superblock_field, 184, 4, 97, .silent = true),
    RAW("superblock: label no text", superblock_field, 188, 2, 0xfeff),
    RAW("superblocks: version", superblocks_field, 16, 4, 2, .open_error = -EOPNOTSUPP),
    RAW("superblocks: block size", superblocks_field, 20, 4, 512, .open_error = -EOPNOTSUPP),
    RAW("superblocks: node size", superblocks_field, 24, 4, 512, .open_error = -EOPNOTSUPP),
    RAW("superblocks: fold id", superblocks_field, 28, 4, 7, .open_error = -EOPNOTSUPP),
    RAW("superblocks: feature", superblocks_field, 80, 8, 1, .open_error = -EOPNOTSUPP),
    RAW("superblocks: magic", superblocks_field, 0, 4, 1, .open_error = -ENODATA),
    EDIT("count of nodes", counter, 0, 12345, 0),
    EDIT("next id", counter, 1, 2, 0),
    EDIT("checksum of the fold table", counter, 2, 2, 0),

    /* nodes of the tree: depth, child, byte */
    RAW("root: rot", node_rot, 0, 0, 5000, .open_error = -EUCLEAN),
    RAW("root: magic", node_rot, 0, 0, 0, .open_error = -EUCLEAN),
    RAW("root: zeroed", node_zeros, 0, 0, 0, .open_error = -EUCLEAN),
    RAW("inner node: rot", node_rot, 1, 0, 16000, .may_lose = 14),
    RAW("inner node: last", node_rot, 1, -1, 16000, .may_lose = 14),
    RAW("inner node: zeroed", node_zeros, 1, 1, 0, .may_lose = 14),
    RAW("first leaf: rot", node_rot, LEAF, 0, 9000, .may_lose = WITNESSES + MANY),
    RAW("first leaf: zeroed", node_zeros, LEAF, 0, 0, .may_lose = WITNESSES + MANY),
    RAW("a leaf: rot", node_rot, LEAF, 3, 16380, .may_lose = WITNESSES + 40),
    RAW("another leaf: rot", node_rot, LEAF, 5, 100, .may_lose = WITNESSES + 40),
    RAW("last leaf: rot", node_rot, LEAF, -1, 16380, .may_lose = 60),
    RAW("last leaf: zeroed", node_zeros, LEAF, -1, 0, .may_lose = 60),
    RAW("root: magic, checksums right", node_field, 0, 0, 0, .open_error = -EUCLEAN),
    RAW("root: level", node_field, 0, 4, 3, .open_error = -EUCLEAN),
    RAW("root: count 0", node_field, 0, 6, 0, .open_error = -EUCLEAN),
    RAW("root: count too high", node_field, 0, 6, 60000, .open_error = -EUCLEAN),
    RAW("root: heap", node_field, 0, 24, 100, .open_error = -EUCLEAN),
    RAW("root: heap past the end", node_field, 0, 24, 16385, .open_error = -EUCLEAN),
    RAW("root: gaps", node_field, 0, 26, 4, .open_error = -EUCLEAN),
    RAW("root: offset of a record", node_field, 0, 32, 5, .open_error = -EUCLEAN),
    RAW("root: generation", node_field_plus, 0, 8, 0, .open_error = -EUCLEAN),
    RAW("root: block", node_field_plus, 0, 16, 0, .open_error = -EUCLEAN),
    RAW("root: UUID", node_field_plus, 0, 28, 0, .open_error = -EUCLEAN),
    RAW("leaf: magic, checksums right", node_field, LEAF, 0, 0, .may_lose = WITNESSES + 40),
    RAW("leaf: level", node_field, LEAF, 4, 1, .may_lose = WITNESSES + 40),
    RAW("leaf: count fewer", node_field, LEAF, 6, 1, .may_lose = WITNESSES + 40),
    RAW("leaf: count more", node_field, LEAF, 6, 900, .may_lose = WITNESSES + 40),
    RAW("leaf: heap", node_field, LEAF, 24, 16000, .may_lose = WITNESSES + 40),
    RAW("leaf: gaps", node_field, LEAF, 26, 1, .may_lose = WITNESSES + 40),
    RAW("leaf: offset of a record", node_field, LEAF, 34, 16383, .may_lose = WITNESSES + 40),
    RAW("leaf: generation", node_field_plus, LEAF, 8, 0, .may_lose = WITNESSES + 40),
    RAW("leaf: block", node_field_plus, LEAF, 16, 0, .may_lose = WITNESSES + 40),
    RAW("leaf: UUID", node_field_plus, LEAF, 28, 0, .may_lose = WITNESSES + 40),
    RAW("leaf: emptied", leaf_emptied, 0, 0, 0, .may_lose = WITNESSES + 40),
    RAW("leaf: records out of order", records_disorder, 0, 0, 0, .may_lose = WITNESSES + 40),
    RAW("leaf: a record twice", records_disorder, 0, 1, 0, .may_lose = WITNESSES + 40),
    RAW("children of the root swapped", children_swapped, 0, 0, 0),
    RAW("children of an inner node swapped", children_swapped, 1, 0, 0),
    RAW("child of the root led to twice", child_shared, 0, 0, 0),
    RAW("leaf led to twice", child_shared, 1, 0, 0),
    RAW("child of the root: block", child_field, 0, 0, 400),
    RAW("child of the root: odd block", child_field, 0, 0, 401, .open_error = -EUCLEAN),
    RAW("child of the root: superblock", child_field, 0, 0, 0, .open_error = -EUCLEAN),
    RAW("child of the root: past the end", child_field, 0, 0, 1u << 30, .open_error = -EUCLEAN),
    RAW("child of the root: generation", child_field, 0, 8, 1u << 30, .open_error = -EUCLEAN),
    RAW("child of the root: checksum", child_field, 0, 16, 1),
    RAW("leaf pointer: block", child_field, 1, 0, 400),
    RAW("leaf pointer: generation", child_field, 1, 8, 0),
    RAW("leaf pointer: checksum", child_field, 1, 16, 1),
    RAW("root in itself", child_is_root, 0, 0, 0),
    RAW("root below itself", child_is_root, 1, 0, 0),
    RAW("child of the root removed", child_removed, 0, 0, 0, .may_lose = WITNESSES + MANY),
    RAW("leaf removed", child_removed, 1, 0, 0, .may_lose = WITNESSES + 40),
    RAW("separator wrong", separator_wrong, 0, 0, 0),
    RAW("separator of leaves wrong", separator_wrong, 1, 0, 0),

    /* space log */
    RAW("log: rot in its magic", log_rot, 0, 0, 0, .open_error = -EUCLEAN),
    RAW("log: rot in an entry", log_rot, 70, 0, 0, .open_error = -EUCLEAN),
    RAW("log: rot in unused bytes", log_rot, 4090, 0, 0, .open_error = -EUCLEAN),
    RAW("old log: rot", old_log_rot, 1, 0, 0, .open_error = -EUCLEAN),
    RAW("oldest log: rot", old_log_rot, 1000, 0, 0, .open_error = -EUCLEAN),
    RAW("log: magic", log_field, 0, 4, 0, .open_error = -EUCLEAN),
    RAW("log: count fewer", log_field, 4, 4, 0),
    RAW("log: count more", log_field, 4, 4, 252, .open_error = -EUCLEAN),
    RAW("log: count too many", log_field, 4, 4, 300, .open_error = -EUCLEAN),
    RAW("log: generation", log_field, 8, 8, 3, .open_error = -EUCLEAN),
    RAW("log: block", log_field, 16, 8, 3, .open_error = -EUCLEAN),
    RAW("log: previous block", log_field, 24, 8, 300, .open_error = -EUCLEAN),
    RAW("log: previous generation", log_field, 32, 8, 1u << 30, .open_error = -EUCLEAN),
    RAW("log: previous checksum", log_field, 40, 8, 1, .open_error = -EUCLEAN),
    RAW("log: no previous block", log_field, 24, 8, 0, .open_error = 1),
    RAW("log: entry's block", log_field, 64, 8, 5, .open_error = -EUCLEAN),
    RAW("log: entry's block past the end", log_field, 64, 8, 1u << 30, .open_error = -EUCLEAN),
    RAW("log: entry's kind", log_field, 72, 1, 9, .open_error = -EUCLEAN),
    RAW("log: entry is freed", log_field, 72, 1, 2),
    RAW("log: entry's count 0", log_field, 73, 2, 0, .open_error = -EUCLEAN),
    RAW("log: entry's count huge", log_field, 79, 1, 1, .open_error = -EUCLEAN),
    EDIT("blocks lost", blocks_lost, 7, 0, 0),
    EDIT("many blocks lost", blocks_lost, 1000, 0, 0),
    EDIT("data free in the log", used_freed, 0, 0, 0, .spoils = " /big "),
    EDIT("node free in the log", node_freed, 0, 0, 0),
    EDIT("blocks freed twice", freed_twice, 0, 0, 0, .open_error = -EUCLEAN),

    /* data: witness, offset */
    RAW("data: rot", data_rot, BIG, 8192, 0, .spoils = " /big "),
    RAW("data: rot in the last block", data_rot, FILE_, 36864, 0, .spoils = " /file "),
    RAW("data: blocks gone", data_gone, VICTIM, 4096, 0, .spoils = V),
    RAW("data: rot in a stream", data_rot, SIDE, 0, 0, .spoils = " /d:side "),

    /* node records: node, field, value */
    EDIT("node: type of a file is directory", node_record, VICTIM, FIELD(0, 1), 2, .spoils = V),
    EDIT("node: type of a file is symlink", node_record, VICTIM, FIELD(0, 1), 3, .spoils = V),
    EDIT("node: type of a file is stream", node_record, VICTIM, FIELD(0, 1), 8, .spoils = V),
    EDIT("node: type of a file is FIFO", node_record, VICTIM, FIELD(0, 1), 4, .spoils = V),
    EDIT("node: no type", node_record, VICTIM, FIELD(0, 1), 0),
    EDIT("node: type 9", node_record, VICTIM, FIELD(0, 1), 9),
    EDIT("node: type of a directory is 9", node_record, DIR, FIELD(0, 1), 9),
    EDIT("node: type of the root is file", node_record, ROOT, FIELD(0, 1), 1),
    EDIT("node: type of a stream is file", node_record, SIDE, FIELD(0, 1), 1,
         .spoils = " /d:side "),
    EDIT("node: type of a symlink is file", node_record, SYMLINK, FIELD(0, 1), 1),
    EDIT("node: flags", node_record, VICTIM, FIELD(1, 1), 2),
    EDIT("node: case flag of a file", node_record, VICTIM, FIELD(1, 1), 1),
    EDIT("node: mode", node_record, VICTIM, FIELD(2, 2), 0xffff),
    EDIT("node: links 0", node_record, VICTIM, FIELD(12, 4), 0),
    EDIT("node: links 2", node_record, VICTIM, FIELD(12, 4), 2),
    EDIT("node: links of a directory", node_record, DIR, FIELD(12, 4), 5),
    EDIT("node: links of the root", node_record, ROOT, FIELD(12, 4), 0),
    EDIT("node: links of a stream", node_record, SIDE, FIELD(12, 4), 0),
    EDIT("node: links of two", node_record, LINKED, FIELD(12, 4), 1),
    EDIT("node: size smaller", node_record, VICTIM, FIELD(16, 8), 5, .spoils = V),
    EDIT("node: size too large", node_record, VICTIM, FIELD(16, 8), 1ull << 63, .spoils = V),
    EDIT("node: size of a directory", node_record, DIR, FIELD(16, 8), 50),
    EDIT("node: size of a symlink", node_record, SYMLINK, FIELD(16, 8), 50),
    EDIT("node: size of a FIFO", node_record, FIFO, FIELD(16, 8), 50),
    EDIT("node: blocks", node_record, BIG, FIELD(24, 8), 1),
    EDIT("node: blocks too many", node_record, BIG, FIELD(24, 8), UINT64_MAX),
    EDIT("node: blocks of a directory", node_record, DIR, FIELD(24, 8), 1),
    EDIT("node: parent of a file", node_record, VICTIM, FIELD(64, 8), 1),
    EDIT("node: parent of a directory", node_record, SUB, FIELD(64, 8), 1),
    EDIT("node: parent of a directory is itself", node_record, SUB, FIELD(64, 8), 3),
    EDIT("node: parent of the root", node_record, ROOT, FIELD(64, 8), 2),
    EDIT("node: parent of a stream", node_record, SIDE, FIELD(64, 8), 1),
    EDIT("node: parent of a stream is nothing", node_record, SIDE, FIELD(64, 8), 4242),
    EDIT("node: descriptor missing", node_record, VICTIM, FIELD(80, 8), 99999),
    EDIT("node: descriptor lost", node_record, SECURED, FIELD(80, 8), 0),
    EDIT("node: attributes", node_record, VICTIM, FIELD(88, 4), 0xffffffff),
    EDIT("node: reparse tag without a point", node_record, VICTIM, FIELD(92, 4), 0x8000001b),
    EDIT("node: reparse tag of another", node_record, POINT, FIELD(92, 4), 0x80000023),
    EDIT("node: no reparse tag", node_record, POINT, FIELD(92, 4), 0),
    EDIT("node: size of attributes", node_record, EA, FIELD(96, 4), 7),
    EDIT("node: size of attributes without any", node_record, VICTIM, FIELD(96, 4), 7),
    EDIT("node: streams", node_record, FILE_, FIELD(100, 4), 9),
    EDIT("node: streams of a stream", node_record, SIDE, FIELD(100, 4), 1),
    EDIT("node: record short", node_short, VICTIM, 103, 0),
    EDIT("node: record very short", node_short, VICTIM, 20, 0, .spoils = V),
    EDIT("node: record empty", node_short, VICTIM, 0, 0, .spoils = V),
    EDIT("node removed: file", record_removed, VICTIM, RECORD_NODE, 0, .spoils = V),
    EDIT("node removed: directory", record_removed, DIR, RECORD_NODE, 0),
    EDIT("node removed: empty directory", record_removed, EMPTY, RECORD_NODE, 0),
    EDIT("node removed: root", record_removed, ROOT, RECORD_NODE, 0),
    EDIT("node removed: stream", record_removed, SIDE, RECORD_NODE, 0, .spoils = " /d:side "),
    EDIT("node removed: symlink", record_removed, SYMLINK, RECORD_NODE, 0),
    EDIT("node removed: FIFO", record_removed, FIFO, RECORD_NODE, 0),
    EDIT("node: key longer", record_key, VICTIM, RECORD_NODE, 1, .spoils = V),
    EDIT("node of an impossible id", high_id, 0, 0, 0),

    /* keys and kinds */
    EDIT("short key", short_key, 1, 0, 0),
    EDIT("another short key", short_key, 200, 0, 0),
    EDIT("stray type of the volume", record_stray, ANY, 0x42, 0),
    EDIT("stray type of a node", record_stray, VICTIM, 0x42, 0),
    EDIT("stray orphan", record_stray, ANY, RECORD_ORPHAN, 424242),
    EDIT("stray entry of a file", record_stray, VICTIM, RECORD_ENTRY, 0),
    EDIT("stray stream of a symlink", record_stray, SYMLINK, RECORD_STREAM, 0),
    EDIT("stray stream of a stream", record_stray, SIDE, RECORD_STREAM, 0),
    EDIT("stray reparse point of a symlink", record_stray, SYMLINK, RECORD_REPARSE, 0),
    EDIT("stray target of a file", record_stray, VICTIM, RECORD_TARGET, 0),
    EDIT("stray extent of a directory", record_stray, DIR, RECORD_EXTENT, 0),
    EDIT("stray link of a stream", link_more, SIDE, ROOT, 0),
    EDIT("stray link of the root", link_more, ROOT, DIR, 0),

    /* names */
    EDIT("link removed: file", record_removed, VICTIM, RECORD_LINK, 0),
    EDIT("link removed: directory", record_removed, SUB, RECORD_LINK, 0),
    EDIT("link removed: one of two", record_removed, LINKED, RECORD_LINK, 0),
    EDIT("link with a value", record_longer, VICTIM, RECORD_LINK, 0),
    EDIT("link: key changed", record_key, VICTIM, RECORD_LINK, 2),
    EDIT("link more", link_more, VICTIM, DIR, 0),
    EDIT("link more of a directory", link_more, SUB, ROOT, 0),
    EDIT("link in what is no directory", link_more, VICTIM, FILE_, 0),
    EDIT("link in nothing", link_to_nothing, VICTIM, 0, 0),
    EDIT("entry removed: file", record_removed, SUB, RECORD_ENTRY, 0),
    EDIT("entry removed: directory", record_removed, DIR, RECORD_ENTRY, NTH(1)),
    EDIT("entry removed: without case", record_removed, INSENSITIVE, RECORD_ENTRY, 0),
    EDIT("entry short", record_shorter, SUB, RECORD_ENTRY, 0),
    EDIT("entry long", record_longer, SUB, RECORD_ENTRY, 0),
    EDIT("entry: type", record_value, SUB, RECORD_ENTRY, BYTE(8, 3)),
    EDIT("entry: impossible type", record_value, SUB, RECORD_ENTRY, BYTE(8, 64)),
    EDIT("entry: type of a stream", record_value, SUB, RECORD_ENTRY, BYTE(8, 9)),
    EDIT("entry: id", record_value, SUB, RECORD_ENTRY, BYTE(5, 1)),
    EDIT("entry: id 0", entry_to_nothing, DIR, 0, 0),
    EDIT("entry: key changed", record_key, SUB, RECORD_ENTRY, 2),
    EDIT("entry: key shorter", record_key, SUB, RECORD_ENTRY, 0),
    EDIT("entry of nothing", entry_to_nothing, DIR, CASEFS_FILE, 0),
    EDIT("entry of nothing, a directory", entry_to_nothing, ROOT, CASEFS_DIRECTORY, 0),
    EDIT("entry more", entry_more, VICTIM, DIR, 0),
    EDIT("entry and link more", entry_more, VICTIM, DIR, 1),
    EDIT("entry more of a directory", entry_more, SUB, ROOT, 0),
    EDIT("entry and link more of a directory", entry_more, SUB, ROOT, 1),
    EDIT("entry of the root", entry_more, ROOT, DIR, 0),
    EDIT("entry and link of the root", entry_more, ROOT, DIR, 1),
    EDIT("entry of a stream", entry_more, SIDE, DIR, 0),
    EDIT("entry \".\"", entry_bad_name, DIR, 0, 0),
    EDIT("entry \"..\"", entry_bad_name, DIR, 1, 0),
    EDIT("entry with a slash", entry_bad_name, DIR, 2, 0),
    EDIT("entry no WTF-8", entry_bad_name, DIR, 3, 0),
    EDIT("entry with a pair of surrogates", entry_bad_name, DIR, 4, 0),
    EDIT("entry under another fold", entry_fold, VICTIM, 0, 0),
    EDIT("entry under another fold, without case", entry_fold, AA, INSENSITIVE, 0),
    EDIT("entry twice but for case", entry_twin, 0, 0, 0),
    EDIT("directories in each other", directory_loop, 0, 0, 0,
         .spoils = " /d/one  /d/two  /d/sub/deep  /d:side "),
    EDIT("name removed: file", name_removed, VICTIM, 0, 0, .spoils = V),
    EDIT("name removed: directory", name_removed, DIR, 0, 0,
         .spoils = " /d/one  /d/two  /d/sub/deep  /d:side "),
    EDIT("name removed: FIFO", name_removed, FIFO, 0, 0),
    EDIT("stream removed", record_removed, FILE_, RECORD_STREAM, 0, .spoils = " /file:stream "),
    EDIT("stream short", record_shorter, FILE_, RECORD_STREAM, 0, .spoils = " /file:stream "),
    EDIT("stream: id", record_value, FILE_, RECORD_STREAM, BYTE(4, 1), .spoils = " /file:stream "),
    EDIT("stream: type", record_value, FILE_, RECORD_STREAM, BYTE(8, 9),
         .spoils = " /file:stream "),
    EDIT("stream: key changed", record_key, FILE_, RECORD_STREAM, 2, .spoils = " /file:stream "),
    EDIT("stream of nothing", stream_to_nothing, FILE_, 0, 0),
    EDIT("stream twice but for case", stream_twin, 0, 0, 0, .spoils = " /file:stream "),
    EDIT("stream of two nodes", stream_more, VICTIM, SIDE, 0),
    EDIT("stream of one node twice", stream_more, FILE_, STREAM, 0, .spoils = " /file:stream "),
    EDIT("stream is a file", stream_more, FILE_, VICTIM, 1),
    EDIT("stream leads to a file", stream_more, FILE_, VICTIM, 0),

    /* values */
    EDIT("attribute: first part removed", record_removed, EA, RECORD_EA, 0),
    EDIT("attribute: second part removed", record_removed, EA, RECORD_EA, NTH(1)),
    EDIT("attribute: last part removed", record_removed, EA, RECORD_EA, NTH(2)),
    EDIT("attribute: short", record_shorter, EA, RECORD_EA, NTH(2)),
    EDIT("attribute: long", record_longer, EA, RECORD_EA, NTH(3)),
    EDIT("attribute: length", record_value, EA, RECORD_EA, BYTE(0, 1)),
    EDIT("attribute: length huge", record_value, EA, RECORD_EA, BYTE(3, 1)),
    EDIT("attribute: flags", record_value, EA, RECORD_EA, BYTE(4, 1)),
    EDIT("attribute: length of its name", record_value, EA, RECORD_EA, BYTE(5, 1)),
    EDIT("attribute: name", record_value, EA, RECORD_EA, BYTE(6, 1)),
    EDIT("attribute: key", record_key, EA, RECORD_EA, 0),
    EDIT("reparse point: removed", record_removed, POINT, RECORD_REPARSE, 0),
    EDIT("reparse point: short", record_shorter, POINT, RECORD_REPARSE, 0),
    EDIT("reparse point: tag", record_value, POINT, RECORD_REPARSE, BYTE(4, 1)),
    EDIT("reparse point: length", record_value, POINT, RECORD_REPARSE, BYTE(8, 1)),
    EDIT("reparse point: key", record_key, POINT, RECORD_REPARSE, 2),
    EDIT("target removed", record_removed, SYMLINK, RECORD_TARGET, 0),
    EDIT("target short", record_shorter, SYMLINK, RECORD_TARGET, 0),
    EDIT("target: key", record_key, SYMLINK, RECORD_TARGET, 1),
    EDIT("descriptor removed", record_removed, ANY, RECORD_SECURITY, 0),
    EDIT("descriptor short", record_shorter, ANY, RECORD_SECURITY, 0),
    EDIT("descriptor malformed", record_value, ANY, RECORD_SECURITY, BYTE(24, 1)),
    EDIT("descriptor: users", record_value, ANY, RECORD_SECURITY, BYTE(8, 4)),
    EDIT("descriptor: no users", record_value, ANY, RECORD_SECURITY, BYTE(8, 2)),
    EDIT("descriptor: hash", record_value, ANY, RECORD_SECURITY, BYTE(17, 4)),
    EDIT("descriptor: length", record_value, ANY, RECORD_SECURITY, BYTE(1, 4)),
    EDIT("descriptor: key", record_key, ANY, RECORD_SECURITY, 2),
    EDIT("descriptor: key shorter", record_key, ANY, RECORD_SECURITY, 0),
    EDIT("descriptor without users", descriptor_unused, 0, 0, 0),
    EDIT("descriptor's hash removed", record_removed, ANY, RECORD_SECURITY_HASH, 0),
    EDIT("descriptor's hash: key", record_key, ANY, RECORD_SECURITY_HASH, 2),
    EDIT("descriptor's hash with a value", record_longer, ANY, RECORD_SECURITY_HASH, 0),
    EDIT("hash of no descriptor", hash_more, 77777, 0, 0),
    EDIT("fold table removed", fold_table, 0, 0, 0),
    EDIT("fold table of another fold", fold_table, 1, 0, 0),
    EDIT("fold table: key", record_key, ANY, RECORD_FOLD_TABLE, 1),

    /* extents */
    EDIT("extent removed", record_removed, VICTIM, RECORD_EXTENT, 0, .spoils = V),
    EDIT("extent short", record_shorter, VICTIM, RECORD_EXTENT, 0, .spoils = V),
    EDIT("extent: kind", record_value, VICTIM, RECORD_EXTENT, BYTE(0, 8)),
    EDIT("extent: other kind", record_value, VICTIM, RECORD_EXTENT, BYTE(0, 3), .spoils = V),
    EDIT("extent: count", record_value, VICTIM, RECORD_EXTENT, BYTE(4, 1)),
    EDIT("extent: count huge", record_value, VICTIM, RECORD_EXTENT, BYTE(7, 1)),
    EDIT("extent: block", record_value, VICTIM, RECORD_EXTENT, BYTE(8, 1), .spoils = V),
    EDIT("extent: block past the end", record_value, VICTIM, RECORD_EXTENT, BYTE(12, 1),
         .spoils = V),
    EDIT("extent: checksum", record_value, VICTIM, RECORD_EXTENT, BYTE(16, 1), .spoils = V),
    EDIT("extent: key", record_key, VICTIM, RECORD_EXTENT, 0, .spoils = V),
    EDIT("extent: place", record_key, VICTIM, RECORD_EXTENT, 2, .spoils = V),
    EDIT("inline extent: count", record_value, INLINE, RECORD_EXTENT, BYTE(4, 1)),
    EDIT("inline extent: short", record_shorter, INLINE, RECORD_EXTENT, 0, .spoils = " /inline "),
    EDIT("extents overlap", extent_shared, VICTIM, VICTIM, 2, .spoils = V),
    EDIT("extent of another file", extent_shared, BIG, VICTIM, 100, .spoils = V),
    EDIT("extent of a later file", extent_shared, VICTIM, INLINE, 100, .spoils = " /inline "),
    EDIT("extent of a stream", extent_shared, SIDE, VICTIM, 100, .spoils = V),
    EDIT("extent wild: superblock", extent_wild, EXTENT_DATA, 1, 3, .spoils = V),
    EDIT("extent wild: mirror", extent_wild, EXTENT_DATA, 1, SIZE / BLOCK_SIZE - 1, .spoils = V),
    EDIT("extent wild: far away", extent_wild, EXTENT_DATA, 4, 1ull << 60, .spoils = V),
    EDIT("extent wild: free space", extent_wild, EXTENT_DATA, 4, 3000, .spoils = V),
    EDIT("extent wild: no blocks", extent_wild, EXTENT_UNWRITTEN, 0, 3000),
    EDIT("extent wild: too many blocks", extent_wild, EXTENT_UNWRITTEN, 1u << 30, 3000),
    EDIT("extent wild: unwritten over all", extent_wild, EXTENT_UNWRITTEN, 4000, 20),
    EDIT("extent of nodes", extent_on_node, 0, 0, 0),
    EDIT("data past the end", extent_past_end, 50, 0, 0, .spoils = V),
    EDIT("data far past the end", extent_past_end, 1ull << 40, 0, 0, .spoils = V),
    EDIT("data past the largest size", extent_past_end, 1ull << 52, 0, 0),
    EDIT("inline data past the end", inline_past_end, 0, 0, 0, .spoils = V),
};

/* ------------------------------------------------------------------------- running */

struct report {
  uint64_t problems;
  char first[512];
  bool loud;
};

static void note(void *context, const struct casefs_problem *problem) {
  struct report *report = context;
  if (report->problems++ == 0)
    snprintf(report->first, sizeof report->first, "%u: node %llu: %s", problem->number,
             (unsigned long long)problem->id, problem->text);
  if (report->loud)
    printf("    %u%s node %llu at %llu: %s\n", problem->number, problem->repaired ? " mended," : "",
           (unsigned long long)problem->id, (unsigned long long)problem->offset, problem->text);
}

static int check(struct emulator *emulator, unsigned flags, struct report *report) {
  struct casefs_check_options options = {.flags = flags, .context = report, .problem = note};
  struct casefs_check_result result;
  report->problems = 0;
  report->first[0] = 0;
  return casefs_check(emulator_device(emulator), &options, &result);
}

static void apply(struct emulator *emulator, const struct damage *damage) {
  casefs_volume *volume;
  assert_int_equal(casefs_open(emulator_device(emulator), NULL, &volume), 0);
  assert_int_equal(change_begin(volume), 0);
  damage->edit(volume, damage);
  assert_int_equal(change_apply(volume, PURPOSE_NORMAL), 0);
  change_end(volume);
  assert_int_equal(casefs_close(volume), 0);
}

static bool loud;

#define expect(condition, ...)                                                                     \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      printf("  FAILED %s: ", damage->name);                                                       \
      printf(__VA_ARGS__);                                                                         \
      printf("\n");                                                                                \
      return false;                                                                                \
    }                                                                                              \
  } while (0)

/* It opens, holds what it held, and can be written. */
static bool is_usable(struct emulator *emulator, const struct damage *damage) {
  struct casefs_device *device = emulator_device(emulator);
  const char *first = "";
  casefs_volume *volume;
  casefs_node *root;
  int error = casefs_open(device, NULL, &volume);
  expect(error == 0, "opening after the repair: %s", strerror(-error));
  unsigned lost = count_lost(volume, damage->spoils ? damage->spoils : "", &first);
  error = casefs_open_root(volume, &root);
  if (error == 0)
    error = try_make(root, "new", CASEFS_FILE);
  if (error == 0)
    error = unlink_name(root, "new");
  casefs_node_close(error == 0 ? root : NULL);
  int closed = casefs_close(volume);
  expect(error == 0 && closed == 0, "using it after the repair: %s", strerror(-error));
  expect(lost <= damage->may_lose, "%u witnesses lost, such as %s", lost, first);
  return true;
}

static bool run_on(struct emulator *emulator, const struct damage *damage) {
  struct report report = {.loud = loud};
  casefs_volume *volume = NULL;
  struct casefs_open_options read_only = {.read_only = true};
  int error = casefs_open(emulator_device(emulator), &read_only, &volume);
  if (error == 0)
    casefs_close(volume);
  expect(damage->open_error == 1 || error == 0 || error == damage->open_error,
         "opening: %s, not %s", strerror(-error), strerror(-damage->open_error));
  int opening = error;
  uint64_t writes = emulator_count(emulator, EMULATOR_WRITE);
  error = check(emulator, CASEFS_CHECK_DATA, &report);
  expect(error == 0 || error == opening, "checking: %s", strerror(-error));
  expect(damage->silent || error < 0 || report.problems > 0, "the check sees nothing");
  expect(emulator_count(emulator, EMULATOR_WRITE) == writes, "the check writes");
  error = check(emulator, CASEFS_CHECK_DATA | CASEFS_CHECK_REPAIR, &report);
  if (damage->open_error == -EOPNOTSUPP)
    return true;
  expect(error == 0, "repairing: %s", strerror(-error));
  expect(damage->silent || report.problems > 0, "the repair sees nothing");
  writes = emulator_count(emulator, EMULATOR_WRITE);
  error = check(emulator, CASEFS_CHECK_DATA | CASEFS_CHECK_REPAIR, &report);
  expect(error == 0 && report.problems == 0, "the second check: %s %s", strerror(-error),
         report.first);
  expect(emulator_count(emulator, EMULATOR_WRITE) == writes, "the second check writes");
  if (!is_usable(emulator, damage))
    return false;
  error = check(emulator, CASEFS_CHECK_DATA, &report);
  expect(error == 0 && report.problems == 0, "after use: %s %s", strerror(-error), report.first);
  return true;
}

static bool run_damage(const struct damage *damage) {
  struct image *image = image_copy(healthy);
  if (loud)
    printf("  %s\n", damage->name);
  if (damage->raw)
    damage->raw(image, damage);
  struct emulator *emulator = emulator_open(image);
  emulator_set_garbage(emulator, 1);
  image_destroy(image);
  if (damage->edit)
    apply(emulator, damage);
  bool right = run_on(emulator, damage);
  emulator_close(emulator);
  return right;
}

static char **wanted;

static bool is_wanted(const char *name) {
  bool any = !*wanted;
  for (char **word = wanted; *word; word++)
    any |= strstr(name, *word) != NULL;
  return any;
}

static void damages_are_mended(void **state) {
  unsigned run = 0, failed = 0;
  (void)state;
  for (size_t i = 0; i < sizeof damages / sizeof *damages; i++)
    if (is_wanted(damages[i].name)) {
      run++;
      failed += !run_damage(&damages[i]);
    }
  printf("%u corruptions, %u failed\n", run, failed);
  assert_int_equal(failed, 0);
}

/* A device that is shorter than the volume. */
static void short_device_is_mended(void **state) {
  static const struct damage damage = {
      .name = "short device", .may_lose = WITNESSES + MANY, .open_error = -EFBIG};
  (void)state;
  for (uint64_t size = SIZE - NODE_SIZE; size >= SIZE / 4; size -= 37 * NODE_SIZE) {
    static uint8_t bytes[SIZE];
    struct image *image = image_create(size);
    image_read(healthy, bytes, size, 0);
    image_write(image, bytes, size, 0);
    struct emulator *emulator = emulator_open(image);
    image_destroy(image);
    assert_true(run_on(emulator, &damage));
    emulator_close(emulator);
  }
}

static void healthy_volume_is_left_alone(void **state) {
  struct emulator *emulator = emulator_open(healthy);
  struct report report = {.loud = true};
  (void)state;
  assert_int_equal(check(emulator, CASEFS_CHECK_DATA | CASEFS_CHECK_REPAIR, &report), 0);
  assert_int_equal(report.problems, 0);
  assert_int_equal(emulator_count(emulator, EMULATOR_WRITE), 0);
  assert_int_equal(emulator_count(emulator, EMULATOR_DISCARD), 0);
  emulator_close(emulator);
}

/* What is not a volume is left alone as well. */
static void no_volume_is_left_alone(void **state) {
  static uint8_t bytes[1 << 20];
  struct image *image = image_create(2 << 20);
  struct report report = {0};
  (void)state;
  dice_fill(bytes, sizeof bytes, 7);
  image_write(image, bytes, sizeof bytes, 0);
  struct emulator *emulator = emulator_open(image);
  assert_int_equal(check(emulator, 0, &report), -ENODATA);
  assert_int_equal(check(emulator, CASEFS_CHECK_REPAIR, &report), -ENODATA);
  assert_int_equal(emulator_count(emulator, EMULATOR_WRITE), 0);
  emulator_close(emulator);
  image_destroy(image);
}

static bool refuse(void *context, const struct casefs_problem *problem) {
  (void)context, (void)problem;
  return false;
}

/* Who answers no to everything changes nothing. */
static void refused_repairs_write_nothing(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof damages / sizeof *damages; i += 7) {
    struct image *image = image_copy(healthy);
    if (damages[i].raw)
      damages[i].raw(image, &damages[i]);
    struct emulator *emulator = emulator_open(image);
    if (damages[i].edit)
      apply(emulator, &damages[i]);
    struct casefs_check_options options = {.flags = CASEFS_CHECK_REPAIR, .ask = refuse};
    struct casefs_check_result result;
    uint64_t writes = emulator_count(emulator, EMULATOR_WRITE);
    casefs_check(emulator_device(emulator), &options, &result);
    assert_int_equal(emulator_count(emulator, EMULATOR_WRITE), writes);
    assert_int_equal(result.repaired, 0);
    emulator_close(emulator);
    image_destroy(image);
  }
}

int main(int count, char **arguments) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(healthy_volume_is_left_alone),  cmocka_unit_test(damages_are_mended),
      cmocka_unit_test(short_device_is_mended),        cmocka_unit_test(no_volume_is_left_alone),
      cmocka_unit_test(refused_repairs_write_nothing),
  };
  wanted = arguments + 1;
  loud = count > 1;
  return cmocka_run_group_tests(tests, make_healthy, NULL);
}
