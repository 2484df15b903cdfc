/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Many threads on one volume, in directories of their own and in a shared one:
 * creating, renaming, writing, reading, listing, syncing.  What each thread did
 * in its own directory is there afterwards exactly; the shared one is consistent.
 * Meant for ThreadSanitizer.
 *
 *     threads [--rounds N] [--threads N]
 */

#include "dice.h"
#include "history.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_THREADS = 32, OWN_FILES = 16, LARGEST = 40000, PIECE = 64 };

/* A file of a thread's own: what it must hold. */
struct own_file {
  bool exists;
  uint64_t seed;
  size_t size;
};

struct worker {
  pthread_t thread;
  unsigned number;
  casefs_volume *volume;
  casefs_node *own, *shared;
  struct dice dice;
  struct own_file files[OWN_FILES];
  unsigned char bytes[LARGEST];
  unsigned rounds, shared_names;
  uint64_t operations;
};

static atomic_bool wrong;

static void complain(const struct worker *worker, const char *what, int64_t result) {
  fprintf(stderr, "threads: thread %u: %s: %s\n", worker->number, what,
          result < 0 ? strerror((int)-result) : "wrong");
  wrong = true;
}

/* An operation on what belongs to one thread cannot fail, but for space. */
static bool done(const struct worker *worker, const char *what, int64_t result) {
  if (result < 0 && result != -ENOSPC)
    complain(worker, what, result);
  return result >= 0;
}

/* One on what is shared may find things otherwise than it thought. */
static bool done_shared(const struct worker *worker, const char *what, int64_t result) {
  bool raced = result == -ENOENT || result == -EEXIST || result == -ENOTEMPTY ||
               result == -EISDIR || result == -ENOTDIR || result == -EINVAL;
  return raced ? false : done(worker, what, result);
}

static size_t own_name(unsigned file, char name[16]) {
  return (size_t)snprintf(name, 16, "own-%u", file);
}

/* ---------------------------------------------------------------- a thread's own */

static void write_own(struct worker *worker, unsigned number) {
  struct own_file *file = &worker->files[number];
  struct casefs_creation creation = {.type = CASEFS_FILE};
  char name[16];
  size_t length = own_name(number, name);
  casefs_node *node;
  int error = file->exists ? casefs_open_at(worker->own, name, length, &node)
                           : casefs_create(worker->own, name, length, &creation, &node);
  if (!done(worker, "opening its own", error))
    return;
  uint64_t seed = dice_roll(&worker->dice);
  size_t size = (size_t)dice_below(&worker->dice, LARGEST);
  dice_fill(worker->bytes, size, seed);
  if (!file->exists)
    *file = (struct own_file){.exists = true};
  if (done(worker, "truncating its own", casefs_truncate(node, 0))) {
    int64_t written = casefs_write(node, worker->bytes, size, 0);
    done(worker, "writing its own", written);
    *file = (struct own_file){true, seed, written > 0 ? (size_t)written : 0};
  }
  casefs_node_close(node);
}

static void check_own(struct worker *worker, unsigned number) {
  const struct own_file *file = &worker->files[number];
  static _Thread_local unsigned char expected[LARGEST];
  char name[16];
  casefs_node *node;
  int error = casefs_open_at(worker->own, name, own_name(number, name), &node);
  if (!file->exists) {
    if (error != -ENOENT)
      complain(worker, "a file that was removed", error);
    return;
  }
  if (!done(worker, "opening its own again", error))
    return;
  int64_t got = casefs_read(node, worker->bytes, LARGEST, 0);
  dice_fill(expected, file->size, file->seed);
  if (got != (int64_t)file->size || memcmp(worker->bytes, expected, file->size) != 0)
    complain(worker, "what its own file holds", got < 0 ? got : 0);
  casefs_node_close(node);
}

static void move_own(struct worker *worker, unsigned from, unsigned to) {
  char old_name[16], new_name[16];
  if (!worker->files[from].exists || from == to)
    return;
  size_t old_length = own_name(from, old_name), new_length = own_name(to, new_name);
  if (!done(worker, "renaming its own",
            casefs_rename(worker->own, old_name, old_length, worker->own, new_name, new_length, 0)))
    return;
  worker->files[to] = worker->files[from];
  worker->files[from].exists = false;
}

static void remove_own(struct worker *worker, unsigned number) {
  char name[16];
  if (!worker->files[number].exists)
    return;
  if (done(worker, "removing its own", casefs_unlink(worker->own, name, own_name(number, name))))
    worker->files[number].exists = false;
}

/* ------------------------------------------------------------------------- shared */

static size_t shared_name(struct worker *worker, char name[16]) {
  return (size_t)snprintf(name, 16, "%s-%u", dice_below(&worker->dice, 2) ? "shared" : "SHARED",
                          (unsigned)dice_below(&worker->dice, worker->shared_names));
}

/* Pieces are of one byte each, written whole: a piece that is not is a mixture. */
static void use_shared_data(struct worker *worker, casefs_node *node) {
  unsigned char piece[PIECE];
  uint64_t offset = dice_below(&worker->dice, 1000) * PIECE;
  if (dice_below(&worker->dice, 2)) {
    memset(piece, (int)dice_roll(&worker->dice), PIECE);
    done_shared(worker, "writing", casefs_write(node, piece, PIECE, offset));
    return;
  }
  int64_t got = casefs_read(node, piece, PIECE, offset);
  if (!done_shared(worker, "reading", got))
    return;
  for (int64_t i = 1; i < got; i++)
    if (piece[i] != piece[0])
      return complain(worker, "a piece that is a mixture of two", 0);
}

static void use_shared_metadata(struct worker *worker, casefs_node *node) {
  struct casefs_attributes attributes = {.mode = 0600 | (worker->number & 7)};
  struct casefs_cursor cursor = {0};
  struct casefs_ea ea;
  casefs_node *stream;
  char name[16];
  done_shared(worker, "setting attributes", casefs_set_attributes(node, CASEFS_MODE, &attributes));
  done_shared(worker, "setting an attribute",
              casefs_set_ea(node, name, shared_name(worker, name), name, 5, 0));
  casefs_next_ea(node, &cursor, &ea);
  int error = casefs_open_stream(node, name, shared_name(worker, name), O_CREAT, &stream);
  if (!done_shared(worker, "opening a stream", error))
    return;
  done_shared(worker, "writing a stream", casefs_write(stream, name, sizeof name, 0));
  casefs_node_close(stream);
  done_shared(worker, "removing a stream",
              casefs_remove_stream(node, name, shared_name(worker, name)));
}

static void list_shared(struct worker *worker) {
  struct casefs_cursor cursor = {0};
  struct casefs_entry entry;
  struct casefs_attributes attributes;
  int result, seen = 0;
  while ((result = casefs_next_entry(worker->shared, &cursor, &entry, &attributes)) == 1)
    seen++;
  done_shared(worker, "listing", result);
  if (seen > (int)worker->shared_names + MAX_THREADS) /* one may move as it is listed */
    complain(worker, "a listing that is too long", 0);
}

static void use_shared(struct worker *worker) {
  char name[16], other[16];
  size_t length = shared_name(worker, name), other_length = shared_name(worker, other);
  struct casefs_creation creation = {.type = dice_below(&worker->dice, 4) ? CASEFS_FILE
                                                                          : CASEFS_DIRECTORY};
  casefs_node *node = NULL;
  unsigned flags = (unsigned)dice_below(&worker->dice, 3);
  bool opened = false;
  switch (dice_below(&worker->dice, 8)) {
  case 0:
    opened = done_shared(worker, "creating",
                         casefs_create(worker->shared, name, length, &creation, &node));
    break;
  case 1:
    done_shared(worker, "unlinking", casefs_unlink(worker->shared, name, length));
    break;
  case 2:
    done_shared(worker, "removing a directory", casefs_rmdir(worker->shared, name, length));
    break;
  case 3:
    done_shared(
        worker, "renaming",
        casefs_rename(worker->shared, name, length, worker->shared, other, other_length, flags));
    break;
  case 4:
    list_shared(worker);
    break;
  default:
    opened = done_shared(worker, "opening", casefs_open_at(worker->shared, name, length, &node));
  }
  if (!opened)
    return;
  if (dice_below(&worker->dice, 4))
    use_shared_data(worker, node);
  else
    use_shared_metadata(worker, node);
  if (dice_below(&worker->dice, 8) == 0) {
    int error = casefs_link(node, worker->shared, other, other_length);
    if (error != -EPERM)
      done_shared(worker, "linking", error);
  }
  casefs_node_close(node);
}

/* ------------------------------------------------------------------------ threads */

static void *work(void *argument) {
  struct worker *worker = argument;
  struct casefs_statistics statistics;
  for (unsigned i = 0; i < worker->rounds && !wrong; i++) {
    unsigned number = (unsigned)dice_below(&worker->dice, OWN_FILES);
    switch (dice_below(&worker->dice, 10)) {
    case 0:
    case 1:
      write_own(worker, number);
      break;
    case 2:
      check_own(worker, number);
      break;
    case 3:
      move_own(worker, number, (unsigned)dice_below(&worker->dice, OWN_FILES));
      break;
    case 4:
      remove_own(worker, number);
      break;
    case 5:
      casefs_volume_statistics(worker->volume, &statistics);
      if (dice_below(&worker->dice, 8) == 0)
        done(worker, "syncing", casefs_sync(worker->volume));
      break;
    default:
      use_shared(worker);
    }
    worker->operations++;
  }
  return NULL;
}

static int prepare(struct worker *worker, casefs_node *root) {
  struct casefs_creation creation = {.type = CASEFS_DIRECTORY};
  char name[16];
  size_t length = (size_t)snprintf(name, sizeof name, "thread-%u", worker->number);
  worker->dice = dice_seed(worker->number);
  return casefs_create(root, name, length, &creation, &worker->own);
}

static void check_all(struct worker *worker) {
  for (unsigned i = 0; i < OWN_FILES; i++)
    check_own(worker, i);
}

/* All of them at once, then what they left; then the same after closing and opening. */
static int run(struct emulator *emulator, struct worker *workers, unsigned threads,
               const struct casefs_open_options *options) {
  struct casefs_creation creation = {.type = CASEFS_DIRECTORY, .insensitive = true};
  casefs_node *root, *shared;
  casefs_volume *volume;
  struct model *model;
  char message[MODEL_MESSAGE];
  int error = casefs_open(emulator_device(emulator), options, &volume);
  if (error == 0)
    error = casefs_open_root(volume, &root);
  if (error == 0)
    error = casefs_create(root, "shared", 6, &creation, &shared);
  for (unsigned i = 0; i < threads && error == 0; i++) {
    workers[i].number = i;
    workers[i].volume = volume;
    workers[i].shared = shared;
    error = prepare(&workers[i], root);
  }
  if (error)
    return error;
  for (unsigned i = 0; i < threads; i++)
    if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
      abort();
  for (unsigned i = 0; i < threads; i++)
    pthread_join(workers[i].thread, NULL);
  for (unsigned i = 0; i < threads; i++)
    check_all(&workers[i]);
  for (int round = 0; round < 2; round++) {
    if (model_scan(volume, &model, message) != 0) {
      fprintf(stderr, "threads: %s\n", message);
      return -EUCLEAN;
    }
    model_destroy(model);
    for (unsigned i = 0; i < threads; i++)
      casefs_node_close(workers[i].own);
    casefs_node_close(shared);
    casefs_node_close(root);
    error = casefs_close(volume);
    if (error == 0 && check_volume(emulator_device(emulator), message) != 0) {
      fprintf(stderr, "threads: %s\n", message);
      return -EUCLEAN;
    }
    if (error || round == 1)
      return error;
    error = casefs_open(emulator_device(emulator), NULL, &volume);
    if (error == 0)
      error = casefs_open_root(volume, &root);
    if (error == 0)
      error = casefs_open_at(root, "shared", 6, &shared);
    for (unsigned i = 0; i < threads && error == 0; i++) {
      char name[16];
      size_t length = (size_t)snprintf(name, sizeof name, "thread-%u", i);
      error = casefs_open_at(root, name, length, &workers[i].own);
      if (error == 0)
        check_all(&workers[i]);
    }
    if (error)
      return error;
  }
  return 0;
}

static int run_on(uint64_t size, unsigned threads, unsigned rounds, unsigned shared_names,
                  const struct casefs_open_options *options) {
  struct worker *workers = calloc(threads, sizeof *workers);
  struct image *image = image_create(size);
  struct emulator *emulator = emulator_open(image);
  uint64_t operations = 0;
  image_destroy(image);
  if (!workers)
    abort();
  emulator_set_garbage(emulator, 1);
  for (unsigned i = 0; i < threads; i++) {
    workers[i].rounds = rounds;
    workers[i].shared_names = shared_names;
  }
  int error = casefs_format(emulator_device(emulator), NULL);
  if (error == 0)
    error = run(emulator, workers, threads, options);
  for (unsigned i = 0; i < threads; i++)
    operations += workers[i].operations;
  if (error)
    fprintf(stderr, "threads: %s\n", strerror(-error));
  if (error == 0 && !wrong)
    printf("threads: %u on a volume of %" PRIu64 " MiB, %" PRIu64 " operations\n", threads,
           size >> 20, operations);
  emulator_close(emulator);
  free(workers);
  return error || wrong ? 1 : 0;
}

int main(int argc, char **argv) {
  static const struct option long_options[] = {
      {"rounds", required_argument, NULL, 'r'}, {"threads", required_argument, NULL, 't'}, {0}};
  unsigned rounds = 2000, threads = 8;
  for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;)
    if (option == 'r')
      rounds = (unsigned)strtoul(optarg, NULL, 0);
    else if (option == 't')
      threads = (unsigned)strtoul(optarg, NULL, 0);
    else
      return 2;
  if (threads == 0 || threads > MAX_THREADS)
    return 2;
  const struct casefs_open_options usual = {.commit_interval = 20};
  const struct casefs_open_options small = {
      .dirty_limit = 64 << 10, .cache_size = 64 << 10, .commit_interval = 1};
  /* With one name, that is made, opened and removed by all of them at once, too. */
  return run_on(256 << 20, threads, rounds, 8, &usual) ||
         run_on(64 << 20, threads, rounds, 8, &small) ||
         run_on(16 << 20, threads, rounds, 1, &small) ||
         run_on(3 << 20, threads, rounds, 8, &small);
}
