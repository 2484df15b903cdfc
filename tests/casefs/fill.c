/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Volumes filled to the last block, of many sizes and in many ways: everything
 * can be deleted again, and then the space is back.
 *
 *     fill [SIZE-IN-KIB...]
 */

#include "dice.h"
#include "history.h"
#include "workload.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the log of free space may take more than in a fresh volume: it is written anew only now and
 * then. */
static uint64_t lost_at_most(uint64_t size) {
  return (64 << 10) + size / 256;
}

struct filling {
  casefs_volume *volume;
  casefs_node *root;
  uint64_t made;    /* things, named by number */
  uint64_t bytes;   /* of data */
  const char *what; /* failed */
  int error;
};

static unsigned char buffer[1 << 20];

static bool failed(struct filling *filling, const char *what, int error) {
  filling->what = what;
  filling->error = error;
  return false;
}

/* Whether to go on; -ENOSPC is where a filling ends. */
static bool went(struct filling *filling, const char *what, int64_t result) {
  if (result >= 0)
    return true;
  if (result != -ENOSPC)
    failed(filling, what, (int)result);
  return false;
}

static bool removed(struct filling *filling, const char *what, int result) {
  return result == 0 ? true : failed(filling, what, result);
}

static size_t name_of(uint64_t number, char name[32]) {
  return (size_t)snprintf(name, 32, "thing-%" PRIu64, number);
}

static bool create(struct filling *filling, casefs_node *directory, enum casefs_type type,
                   casefs_node **node) {
  char name[32];
  size_t length = name_of(filling->made, name);
  struct casefs_creation creation = {.type = type, .mode = 0644};
  bool created = went(filling, "creating", casefs_create(directory, name, length, &creation, node));
  filling->made += created;
  return created;
}

/* Write until nothing fits; a write may end early. */
static bool write_out(struct filling *filling, casefs_node *node, size_t count, uint64_t offset) {
  dice_fill(buffer, count, offset + filling->made);
  for (size_t done = 0; done < count;) {
    int64_t result = casefs_write(node, buffer + done, count - done, offset + done);
    if (!went(filling, "writing", result))
      return false;
    if (result == 0)
      return failed(filling, "writing nothing", 0);
    done += (size_t)result;
    filling->bytes += (uint64_t)result;
  }
  return true;
}

static bool write_file(struct filling *filling, casefs_node *directory, size_t count) {
  casefs_node *node;
  if (!create(filling, directory, CASEFS_FILE, &node))
    return false;
  bool written = write_out(filling, node, count, 0);
  casefs_node_close(node);
  return written;
}

/* ---------------------------------------------------------------------- ways */

static bool fill_one_file(struct filling *filling) {
  casefs_node *node;
  if (!create(filling, filling->root, CASEFS_FILE, &node))
    return false;
  uint64_t offset = 0;
  for (size_t count = sizeof buffer; count >= 512; count /= 2) /* the last of it in small steps */
    while (write_out(filling, node, count, offset))
      offset += count;
  casefs_node_close(node);
  return filling->error == 0;
}

static bool fill_small_files(struct filling *filling) {
  for (size_t i = 0; write_file(filling, filling->root, 100 + i * 977 % 9000); i++)
    ;
  return filling->error == 0;
}

static bool fill_empty_files(struct filling *filling) {
  while (create(filling, filling->root, CASEFS_FILE, NULL))
    ;
  return filling->error == 0;
}

static bool fill_directories(struct filling *filling) {
  casefs_node *directory;
  while (create(filling, filling->root, CASEFS_DIRECTORY, &directory)) {
    struct casefs_creation creation = {.type = CASEFS_FILE};
    bool more = went(filling, "creating in a directory",
                     casefs_create(directory, "file", 4, &creation, NULL));
    casefs_node_close(directory);
    if (!more)
      break;
  }
  return filling->error == 0;
}

static bool fill_streams(struct filling *filling) {
  char name[32];
  bool more = true;
  while (more) {
    casefs_node *node, *stream;
    if (!create(filling, filling->root, CASEFS_FILE, &node))
      break;
    for (uint64_t i = 0; i < 5 && more; i++) {
      more = went(filling, "making a stream",
                  casefs_open_stream(node, name, name_of(i, name), O_CREAT, &stream));
      if (!more)
        break;
      more = write_out(filling, stream, 3000, 0);
      casefs_node_close(stream);
    }
    casefs_node_close(node);
  }
  return filling->error == 0;
}

/* As much as one node can have, and different for each. */
static bool fill_metadata(struct filling *filling) {
  casefs_node *node;
  bool more = true;
  while (more && create(filling, filling->root, CASEFS_FILE, &node)) {
    static unsigned char descriptor[CASEFS_MAX_SECURITY], reparse[CASEFS_MAX_REPARSE];
    uint64_t seed = 5 * filling->made + 4;
    dice_fill(buffer, 65000, seed);
    more = went(filling, "setting an attribute", casefs_set_ea(node, "ONE", 3, buffer, 300, 0)) &&
           went(filling, "setting an attribute", casefs_set_ea(node, "TWO", 3, buffer, 65000, 0)) &&
           went(filling, "setting a descriptor",
                casefs_set_security(node, descriptor, make_security(seed, descriptor))) &&
           went(filling, "setting a reparse point",
                casefs_set_reparse(node, reparse, make_reparse(seed, 16000, reparse)));
    casefs_node_close(node);
  }
  /* and what still fits */
  while (filling->error == 0 && create(filling, filling->root, CASEFS_FILE, NULL))
    ;
  return filling->error == 0;
}

/* Every second of many files goes, and one file takes the gaps. */
static bool fill_gaps(struct filling *filling) {
  char name[32];
  while (write_file(filling, filling->root, 5000))
    ;
  uint64_t count = filling->made;
  for (uint64_t i = 0; i < count && filling->error == 0; i += 2)
    removed(filling, "deleting every second", casefs_unlink(filling->root, name, name_of(i, name)));
  for (int i = 0; i < 3 && filling->error == 0; i++)
    removed(filling, "syncing", casefs_sync(filling->volume));
  return filling->error == 0 && fill_one_file(filling);
}

/* A file that was set aside whole is written, which cannot fail. */
static bool fill_allocated(struct filling *filling) {
  casefs_node *node;
  uint64_t size = 0;
  if (!create(filling, filling->root, CASEFS_FILE, &node))
    return false;
  for (uint64_t step = 1 << 20; step >= 4096; step /= 2)
    while (went(filling, "allocating", casefs_allocate(node, size, step, false)))
      size += step;
  for (uint64_t offset = 0; offset < size && filling->error == 0; offset += 65536) {
    size_t count = size - offset < 65536 ? (size_t)(size - offset) : 65536;
    if (!write_out(filling, node, count, offset) && filling->error == 0)
      failed(filling, "writing what was set aside", -ENOSPC);
  }
  casefs_node_close(node);
  return filling->error == 0;
}

/* Overwriting needs space too; what does not fit changes nothing. */
static bool fill_and_overwrite(struct filling *filling) {
  casefs_node *node;
  if (!fill_one_file(filling))
    return false;
  int error = casefs_open_at(filling->root, "thing-0", 7, &node);
  if (error)
    return failed(filling, "opening", error);
  for (uint64_t offset = 0; offset < 100 * 65536; offset += 65536)
    if (!write_out(filling, node, 5000, offset))
      break;
  casefs_node_close(node);
  return filling->error == 0;
}

static const struct {
  const char *name;
  bool (*fill)(struct filling *filling);
} ways[] = {
    {"one file", fill_one_file},
    {"small files", fill_small_files},
    {"empty files", fill_empty_files},
    {"directories", fill_directories},
    {"streams", fill_streams},
    {"attributes", fill_metadata},
    {"gaps", fill_gaps},
    {"set aside", fill_allocated},
    {"overwritten", fill_and_overwrite},
};

/* -------------------------------------------------------------------- deleting */

static bool empty_directory(struct filling *filling, casefs_node *directory) {
  struct casefs_cursor cursor = {0};
  struct casefs_entry entry;
  int result;
  while ((result = casefs_next_entry(directory, &cursor, &entry, NULL)) == 1) {
    if (entry.type != CASEFS_DIRECTORY) {
      if (!removed(filling, "deleting a file",
                   casefs_unlink(directory, entry.name, entry.name_length)))
        return false;
      continue;
    }
    casefs_node *child;
    if (!removed(filling, "opening",
                 casefs_open_at(directory, entry.name, entry.name_length, &child)))
      return false;
    bool emptied = empty_directory(filling, child);
    casefs_node_close(child);
    if (!emptied || !removed(filling, "deleting a directory",
                             casefs_rmdir(directory, entry.name, entry.name_length)))
      return false;
  }
  return removed(filling, "listing", result);
}

static uint64_t free_space(casefs_volume *volume) {
  struct casefs_statistics statistics;
  casefs_volume_statistics(volume, &statistics);
  return statistics.free;
}

/* Delete everything, at once or after the volume was closed and opened; free is as it was. */
static bool empty(struct filling *filling, uint64_t size, uint64_t free) {
  if (!empty_directory(filling, filling->root))
    return false;
  for (int i = 0; i < 4; i++) /* what is freed is free for good two commits later */
    if (!removed(filling, "syncing", casefs_sync(filling->volume)))
      return false;
  uint64_t now = free_space(filling->volume);
  if (now + lost_at_most(size) < free) {
    fprintf(stderr, "fill: %" PRIu64 " bytes free, were %" PRIu64 "\n", now, free);
    return failed(filling, "getting the space back", -ENOSPC);
  }
  return true;
}

/* -------------------------------------------------------------------- the test */

static int open_filling(struct filling *filling, struct emulator *emulator) {
  int error = casefs_open(emulator_device(emulator), NULL, &filling->volume);
  return error ? error : casefs_open_root(filling->volume, &filling->root);
}

static int close_filling(struct filling *filling, struct emulator *emulator) {
  char message[MODEL_MESSAGE];
  casefs_node_close(filling->root);
  int error = casefs_close(filling->volume);
  if (error == 0 && check_volume(emulator_device(emulator), message) != 0) {
    fprintf(stderr, "fill: %s\n", message);
    error = -EUCLEAN;
  }
  return error;
}

static bool run(struct filling *filling, struct emulator *emulator, uint64_t size, size_t way,
                bool reopen) {
  int error = open_filling(filling, emulator);
  if (error)
    return failed(filling, "opening", error);
  uint64_t free = free_space(filling->volume);
  if (!ways[way].fill(filling))
    return false;
  if (filling->made == 0)
    return failed(filling, "making anything", -ENOSPC);
  if (reopen) {
    error = close_filling(filling, emulator);
    if (error == 0)
      error = open_filling(filling, emulator);
    if (error)
      return failed(filling, "closing and opening the full volume", error);
  }
  if (!empty(filling, size, free))
    return false;
  error = close_filling(filling, emulator);
  return error ? failed(filling, "closing", error) : true;
}

static bool fill(uint64_t size, size_t way, bool reopen) {
  struct filling filling = {0};
  struct image *image = image_create(size);
  struct emulator *emulator = emulator_open(image);
  emulator_set_garbage(emulator, size + way);
  image_destroy(image);
  int error = casefs_format(emulator_device(emulator), NULL);
  bool right =
      error ? failed(&filling, "formatting", error) : run(&filling, emulator, size, way, reopen);
  emulator_close(emulator);
  if (right)
    printf("fill: %" PRIu64 " KiB, %s%s: %" PRIu64 " made, %" PRIu64 " KiB of data (%" PRIu64
           "%%)\n",
           size / 1024, ways[way].name, reopen ? ", opened again" : "", filling.made,
           filling.bytes / 1024, filling.bytes * 100 / size);
  else
    fprintf(stderr, "fill %" PRIu64 ": %s%s: %s: %s\n", size / 1024, ways[way].name,
            reopen ? ", opened again" : "", filling.what, strerror(-filling.error));
  return right;
}

int main(int argc, char **argv) {
  static const uint64_t sizes[] = {1024, 1028, 1040, 1100,  1536, 2048,
                                   3072, 5120, 8192, 16384, 33792};
  size_t count = argc > 1 ? (size_t)argc - 1 : sizeof sizes / sizeof *sizes;
  bool right = true;
  for (size_t i = 0; i < count; i++)
    for (size_t way = 0; way < sizeof ways / sizeof *ways; way++)
      for (int reopen = 0; reopen < 2; reopen++)
        right &= fill(1024 * (argc > 1 ? strtoull(argv[i + 1], NULL, 0) : sizes[i]), way, reopen);
  return right ? 0 : 1;
}
