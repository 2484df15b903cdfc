/* SPDX-License-Identifier: BSD-3-Clause */

#include "volume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define WRITE_SIZE (1u << 20) /* bytes that one device write takes at most */
#define MIN_SLOP 24u          /* quads */
#define MAX_SLOP ((uint64_t)(1u << 30) / NODE_SIZE)
#define TRIES_FOR_SPACE 3u /* commits, after which nothing is deferred any more */

/* The clock by which Linux stamps files: a mount takes times from the kernel and from here, and
 * what was written later must not look older. */
uint64_t casefs_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return ((uint64_t)now.tv_sec + 11644473600u) * 10000000u + (uint64_t)now.tv_nsec / 100;
}

/* ------------------------------------------------------------------------- space */

/* Quads that are not spoken for. */
static uint64_t available_quads(const casefs_volume *volume, enum purpose purpose) {
  uint64_t log = space_log_need(&volume->space, volume->tree.dirty) / QUAD_BLOCKS + 1;
  uint64_t taken = volume->tree.dirty + volume->promised.quads + log;
  if (purpose == PURPOSE_NORMAL)
    taken += volume->slop;
  else if (purpose == PURPOSE_SHRINK)
    taken += volume->slop / 2;
  return volume->space.quads.total > taken ? volume->space.quads.total - taken : 0;
}

int promise_space(casefs_volume *volume, struct promise *promise, uint64_t quads, uint64_t blocks,
                  enum purpose purpose) {
  uint64_t available = available_quads(volume, purpose);
  uint64_t data = (blocks + QUAD_BLOCKS - 1) / QUAD_BLOCKS;
  if (quads > available)
    return -ENOSPC;
  if (quads + data <= available) {
    promise->quads += quads + data;
    volume->promised.quads += quads + data;
    return 0;
  }
  if (volume->space.pieces.total < volume->promised.pieces + blocks)
    return -ENOSPC;
  promise->quads += quads;
  promise->pieces += blocks;
  volume->promised.quads += quads;
  volume->promised.pieces += blocks;
  return 0;
}

void release_promise(casefs_volume *volume, struct promise *promise) {
  volume->promised.quads -= promise->quads;
  volume->promised.pieces -= promise->pieces;
  *promise = (struct promise){0};
}

int allocate_blocks(casefs_volume *volume, uint64_t want, bool pieces_only, struct block_run *run) {
  int r = run_list_reserve(&volume->allocated, 1);
  if (r == 0)
    r = space_allocate(&volume->space, want, pieces_only, run);
  if (r == -ENOSPC && pieces_only)
    r = space_allocate(&volume->space, want, false, run);
  if (r == 0)
    run_list_add(&volume->allocated, run->block, run->count);
  return r;
}

int free_blocks(casefs_volume *volume, uint64_t block, uint64_t count) {
  int r = run_list_reserve(&volume->freed, 1);
  if (r == 0)
    run_list_add(&volume->freed, block, count);
  return r;
}

/* ----------------------------------------------------------------------- changes */

int change_begin(casefs_volume *volume) {
  if (volume->read_only)
    return -EROFS;
  pthread_mutex_lock(&volume->writer);
  int r = volume_failure(volume);
  if (r < 0)
    pthread_mutex_unlock(&volume->writer);
  return r;
}

void change_abandon(casefs_volume *volume) {
  for (size_t i = 0; i < volume->allocated.count; i++)
    space_add(&volume->space, volume->allocated.runs[i].block, volume->allocated.runs[i].count);
  volume->allocated.count = volume->freed.count = 0;
  batch_clear(&volume->batch);
}

int change_apply(casefs_volume *volume, enum purpose purpose) {
  uint64_t quads;
  int r = tree_prepare(&volume->tree, &volume->batch, &quads);
  if (r == 0 && quads > available_quads(volume, purpose))
    r = -ENOSPC;
  if (r == 0)
    r = space_reserve_notes(&volume->space, volume->allocated.count, volume->freed.count);
  if (r < 0) {
    change_abandon(volume);
    return r;
  }
  tree_apply(&volume->tree, &volume->batch);
  for (size_t i = 0; i < volume->allocated.count; i++)
    space_note_allocated(&volume->space, volume->allocated.runs[i].block,
                         volume->allocated.runs[i].count);
  for (size_t i = 0; i < volume->freed.count; i++)
    space_note_freed(&volume->space, volume->freed.runs[i].block, volume->freed.runs[i].count);
  volume->allocated.count = volume->freed.count = 0;
  batch_clear(&volume->batch);
  volume->changes++;
  return 0;
}

/* Bytes that a commit would write now, without data that is buffered. */
static uint64_t dirty_bytes(const casefs_volume *volume) {
  return volume->tree.dirty * NODE_SIZE;
}

/* Become the one who commits, as soon as nobody else is. */
static void begin_committing(casefs_volume *volume) {
  pthread_mutex_lock(&volume->commit_lock);
  while (volume->committing)
    pthread_cond_wait(&volume->commit_ended, &volume->commit_lock);
  volume->committing = true;
  pthread_mutex_unlock(&volume->commit_lock);
}

static bool try_committing(casefs_volume *volume) {
  pthread_mutex_lock(&volume->commit_lock);
  bool free = !volume->committing;
  volume->committing = true;
  pthread_mutex_unlock(&volume->commit_lock);
  return free;
}

/* The same, unless the changes become durable, or are, by another's commit. */
static bool begin_committing_changes(casefs_volume *volume, uint64_t changes) {
  pthread_mutex_lock(&volume->commit_lock);
  while (volume->committing && volume->durable_changes < changes)
    pthread_cond_wait(&volume->commit_ended, &volume->commit_lock);
  bool needed = volume->durable_changes < changes;
  if (needed)
    volume->committing = true;
  pthread_mutex_unlock(&volume->commit_lock);
  return needed;
}

static void end_committing(casefs_volume *volume) {
  pthread_mutex_lock(&volume->commit_lock);
  volume->committing = false;
  pthread_cond_broadcast(&volume->commit_ended);
  pthread_mutex_unlock(&volume->commit_lock);
}

static int commit_now(casefs_volume *volume, bool force);

void change_end(casefs_volume *volume) {
  uint64_t dirty = dirty_bytes(volume);

  change_abandon(volume);
  nodes_end_removal(volume);
  if (tree_over_limit(&volume->tree))
    tree_trim(&volume->tree);
  pthread_mutex_unlock(&volume->writer);
  if (dirty < volume->options.dirty_limit)
    return;
  /* The one who passes the limit commits; the others go on, up to twice the limit.  An error is
   * the volume's: the next change and the next sync report it. */
  if (dirty >= 2 * volume->options.dirty_limit)
    begin_committing(volume);
  else if (!try_committing(volume))
    return;
  commit_now(volume, false);
  end_committing(volume);
}

bool try_again(casefs_volume *volume, int64_t r, unsigned *tries) {
  return r == -ENOSPC && (*tries)++ < TRIES_FOR_SPACE && volume_commit(volume, true) == 0;
}

uint64_t new_id(casefs_volume *volume) {
  return volume->superblock.next_id++;
}

int volume_failure(casefs_volume *volume) {
  int failure = volume->failure;
  return failure == 0 || failure == -ESTALE ? failure : -EIO;
}

int volume_fail(casefs_volume *volume, int r) {
  int none = 0;
  atomic_compare_exchange_strong(&volume->failure, &none, r);
  return volume_failure(volume);
}

/* --------------------------------------------------------------------- superblocks */

/* The valid superblock of the highest generation, from one ring. */
static int read_ring(struct casefs_device *device, uint64_t first, struct superblock *newest,
                     bool *found) {
  uint8_t *bytes = malloc(RING_SLOTS * BLOCK_SIZE);
  if (!bytes)
    return -ENOMEM;
  int r = device_read(device, bytes, RING_SLOTS * BLOCK_SIZE, first * BLOCK_SIZE);
  int worst = -ENODATA;
  for (unsigned i = 0; r == 0 && i < RING_SLOTS; i++) {
    struct superblock superblock;
    int s = superblock_decode(&superblock, bytes + i * BLOCK_SIZE);
    if (s == 0 && superblock.generation % RING_SLOTS != i)
      s = -EUCLEAN;
    if (s == 0 && (!*found || superblock.generation > newest->generation)) {
      *newest = superblock;
      *found = true;
    }
    if (s == -EOPNOTSUPP || (s == -EUCLEAN && worst != -EOPNOTSUPP))
      worst = s;
  }
  free(bytes);
  return r < 0 ? r : *found ? 0 : worst;
}

int superblock_read(struct casefs_device *device, struct superblock *superblock, bool *whole) {
  bool found = false;
  *whole = false;
  if (device->size < CASEFS_MIN_DEVICE_SIZE)
    return -ENODATA;
  uint64_t blocks = device->size / NODE_SIZE * QUAD_BLOCKS;
  int r = read_ring(device, 0, superblock, &found);
  if (r == -ENOMEM)
    return r;
  /* The mirror is where the volume ends, which only a superblock tells; else where the device does.
   */
  if (found && superblock->blocks <= blocks)
    blocks = superblock->blocks;
  else if (found)
    return 0;
  struct superblock mirror;
  bool found_mirror = false;
  int s = read_ring(device, blocks - RING_SLOTS, &mirror, &found_mirror);
  found_mirror = found_mirror && mirror.blocks == blocks;
  *whole = found && found_mirror && mirror.generation == superblock->generation;
  if (found_mirror && (!found || mirror.generation > superblock->generation)) {
    *superblock = mirror;
    found = true;
  }
  return found ? 0 : r == -ENODATA ? s : r;
}

/* Write a superblock and its mirror, so that it survives. */
static int superblock_write(struct casefs_device *device, const struct superblock *superblock) {
  uint8_t bytes[BLOCK_SIZE];
  superblock_encode(superblock, bytes);
  int r = device_write(device, bytes, BLOCK_SIZE,
                       superblock_block(superblock->generation, superblock->blocks, 1) * BLOCK_SIZE,
                       false);
  if (r == 0)
    r = device_write(device, bytes, BLOCK_SIZE,
                     superblock_block(superblock->generation, superblock->blocks, 0) * BLOCK_SIZE,
                     true);
  return r;
}

void volume_trim(casefs_volume *volume) {
  if (!tree_over_limit(&volume->tree) || pthread_mutex_trylock(&volume->writer) != 0)
    return;
  tree_trim(&volume->tree);
  pthread_mutex_unlock(&volume->writer);
}

int volume_result(casefs_volume *volume, int r) {
  volume_trim(volume);
  struct superblock now;
  bool whole;
  if (r == -EUCLEAN && volume->read_only && superblock_read(volume->device, &now, &whole) == 0 &&
      now.generation > volume->superblock.generation)
    return -ESTALE;
  return r;
}

/* ------------------------------------------------------------------------- commit */

/* A commit between its collection, under the writer's lock, and its end. */
struct commit {
  struct superblock superblock;
  size_t nodes;
  uint64_t *quads;
  uint8_t *buffer;
  struct log_write log;
  uint64_t changes;
};

static void commit_free(struct commit *commit) {
  free(commit->quads);
  free(commit->buffer);
  log_write_free(&commit->log);
}

int settle_all(casefs_volume *volume) {
  int r = 0;
  while (r == 0 && volume->unsettled)
    r = node_settle(volume->unsettled);
  return r;
}

/* Set aside all that the commit takes. */
static int commit_prepare(casefs_volume *volume, struct commit *commit) {
  struct tree *tree = &volume->tree;
  size_t nodes = commit->nodes = tree->dirty;

  commit->quads = malloc((nodes + 1) * sizeof *commit->quads);
  commit->buffer = malloc(nodes * NODE_SIZE + 1);
  int r = commit->quads && commit->buffer ? 0 : -ENOMEM;
  if (r == 0)
    r = tree_reserve_removed(tree, nodes);
  if (r == 0)
    r = space_reserve_notes(&volume->space, nodes, nodes + tree->removed_count);
  if (r == 0)
    r = space_allocate_quads(&volume->space, nodes, commit->quads);
  if (r < 0)
    return r;
  r = space_prepare_log(&volume->space, nodes + tree->removed_count, &commit->log);
  if (r < 0)
    for (size_t i = 0; i < nodes; i++)
      space_add(&volume->space, commit->quads[i] * QUAD_BLOCKS, QUAD_BLOCKS);
  return r;
}

/* Turn what is in memory into what is to be written.  Nothing can fail here. */
static void commit_collect(casefs_volume *volume, struct commit *commit) {
  struct tree *tree = &volume->tree;
  struct superblock *superblock = &volume->superblock;

  superblock->generation++;
  superblock->commit_time = casefs_now();
  tree_collect_replaced(tree);
  for (size_t i = 0; i < tree->removed_count; i++)
    space_note_freed(&volume->space, tree->removed[i], QUAD_BLOCKS);
  tree->removed_count = 0;
  for (size_t i = 0; i < commit->nodes; i++)
    space_note_allocated(&volume->space, commit->quads[i] * QUAD_BLOCKS, QUAD_BLOCKS);
  superblock->root = tree_write_out(tree, superblock->generation, commit->quads, commit->buffer);
  superblock->root_level = tree->level;
  space_write_log(&volume->space, superblock->generation, &commit->log);
  superblock->log = volume->space.log_head;
  volume->superblock_changed = false;
  commit->superblock = *superblock;
  commit->changes = volume->changes;
}

static int write_blocks(casefs_volume *volume, const uint8_t *buffer, size_t count,
                        uint64_t block) {
  volume->written += count;
  return device_write(volume->device, buffer, count, block * BLOCK_SIZE, false);
}

/* Write the nodes, as many at once as stand together. */
static int write_nodes(casefs_volume *volume, const struct commit *commit) {
  int r = 0;
  for (size_t i = 0, end; r == 0 && i < commit->nodes; i = end) {
    for (end = i + 1; end < commit->nodes && (end - i) * NODE_SIZE < WRITE_SIZE &&
                      commit->quads[end] == commit->quads[end - 1] + 1;)
      end++;
    r = write_blocks(volume, commit->buffer + i * NODE_SIZE, (end - i) * NODE_SIZE,
                     commit->quads[i] * QUAD_BLOCKS);
  }
  for (size_t i = 0; r == 0 && i < commit->log.count; i++)
    r = write_blocks(volume, commit->log.buffer + i * BLOCK_SIZE, BLOCK_SIZE,
                     commit->log.blocks[i]);
  return r;
}

static int commit_write(casefs_volume *volume, const struct commit *commit) {
  int r = write_nodes(volume, commit);
  if (r == 0)
    r = device_flush(volume->device);
  if (r == 0)
    r = owner_check(volume);
  if (r == 0)
    r = superblock_write(volume->device, &commit->superblock);
  return r;
}

/* Give what may be reused now back: to the device, then to who allocates. */
static void reuse_matured(casefs_volume *volume, uint64_t generation) {
  pthread_mutex_lock(&volume->writer);
  struct run_list list = space_mature(&volume->space, generation);
  pthread_mutex_unlock(&volume->writer);
  run_list_sort(&list);
  if (!volume->options.no_discard)
    for (size_t i = 0; i < list.count; i++)
      device_discard(volume->device, list.runs[i].count * BLOCK_SIZE,
                     list.runs[i].block * BLOCK_SIZE);
  pthread_mutex_lock(&volume->writer);
  space_give_back(&volume->space, &list);
  pthread_mutex_unlock(&volume->writer);
}

static bool nothing_to_commit(const casefs_volume *volume) {
  return volume->tree.dirty == 0 && volume->tree.removed_count == 0 &&
         volume->space.allocated.count == 0 && volume->space.freed.count == 0 &&
         !volume->superblock_changed;
}

static int commit_now(casefs_volume *volume, bool force) {
  struct commit commit = {0};

  pthread_mutex_lock(&volume->writer);
  int r = volume_failure(volume);
  if (r == 0 && volume->orphans_left)
    r = nodes_reap_orphans(volume);
  if (r == 0)
    r = settle_all(volume);
  bool nothing = r == 0 && !force && nothing_to_commit(volume);
  if (r == 0 && !nothing)
    r = commit_prepare(volume, &commit);
  if (r == 0 && !nothing)
    commit_collect(volume, &commit);
  pthread_mutex_unlock(&volume->writer);
  if (r == 0 && !nothing) {
    r = commit_write(volume, &commit);
    if (r < 0) {
      r = volume_fail(volume, r);
    } else {
      tree_set_written(&volume->tree, commit.superblock.generation);
      pthread_mutex_lock(&volume->commit_lock);
      volume->durable_changes = commit.changes;
      pthread_cond_broadcast(&volume->commit_ended);
      pthread_mutex_unlock(&volume->commit_lock);
      volume->commits++;
      reuse_matured(volume, commit.superblock.generation);
    }
  }
  commit_free(&commit);
  return r;
}

int volume_commit(casefs_volume *volume, bool force) {
  begin_committing(volume);
  int r = commit_now(volume, force);
  end_committing(volume);
  return r;
}

int casefs_sync(casefs_volume *volume) {
  if (volume->read_only)
    return 0;
  pthread_mutex_lock(&volume->writer);
  int r = volume_failure(volume);
  /* What could not be removed makes work even without a change. */
  uint64_t changes = volume->orphans_left ? UINT64_MAX : volume->changes;
  pthread_mutex_unlock(&volume->writer);

  /* Who waited while another committed may find its changes in that commit. */
  if (r < 0 || !begin_committing_changes(volume, changes))
    return r < 0 ? r : volume_failure(volume);
  r = commit_now(volume, false);
  end_committing(volume);
  return r;
}

/* ------------------------------------------------------------------ background thread */

static void deadline_after(struct timespec *deadline, unsigned milliseconds) {
  clock_gettime(CLOCK_MONOTONIC, deadline);
  deadline->tv_sec += milliseconds / 1000;
  deadline->tv_nsec += milliseconds % 1000 * 1000000L;
  if (deadline->tv_nsec >= 1000000000L) {
    deadline->tv_nsec -= 1000000000L;
    deadline->tv_sec++;
  }
}

/* Commits by time, and keeps the owner's mark alive. */
static void *run_thread(void *argument) {
  casefs_volume *volume = argument;
  unsigned commit = volume->options.commit_interval;
  unsigned step =
      volume->owner.taken && (commit == 0 || commit > OWNER_INTERVAL) ? OWNER_INTERVAL : commit;
  unsigned since = 0;

  pthread_mutex_lock(&volume->thread_lock);
  while (!volume->stop) {
    struct timespec deadline;
    deadline_after(&deadline, step);
    if (pthread_cond_timedwait(&volume->thread_wake, &volume->thread_lock, &deadline) == 0)
      continue;
    pthread_mutex_unlock(&volume->thread_lock);
    since += step;
    begin_committing(volume);
    int r = volume->owner.taken ? owner_beat(volume) : 0;
    if (r < 0 && r != -ENOMEM) /* then the next beat may do */
      volume_fail(volume, r);
    if (commit != 0 && since >= commit) {
      commit_now(volume, false);
      since = 0;
    }
    end_committing(volume);
    pthread_mutex_lock(&volume->thread_lock);
  }
  pthread_mutex_unlock(&volume->thread_lock);
  return NULL;
}

static int start_thread(casefs_volume *volume) {
  if (!volume->owner.taken && volume->options.commit_interval == 0)
    return 0;
  int r = -pthread_create(&volume->thread, NULL, run_thread, volume);
  volume->thread_runs = r == 0;
  return r == -EAGAIN ? -ENOMEM : r;
}

static void stop_thread(casefs_volume *volume) {
  if (!volume->thread_runs)
    return;
  pthread_mutex_lock(&volume->thread_lock);
  volume->stop = true;
  pthread_cond_signal(&volume->thread_wake);
  pthread_mutex_unlock(&volume->thread_lock);
  pthread_join(volume->thread, NULL);
}

/* ------------------------------------------------------------------ opening, closing */

uint64_t slop_for(uint64_t blocks) {
  uint64_t slop = blocks / QUAD_BLOCKS / 32;
  return slop < MIN_SLOP ? MIN_SLOP : slop > MAX_SLOP ? MAX_SLOP : slop;
}

casefs_volume *volume_allocate(struct casefs_device *device,
                               const struct casefs_open_options *options) {
  casefs_volume *volume = calloc(1, sizeof *volume);
  if (!volume)
    return NULL;
  volume->device = device;
  if (options)
    volume->options = *options;
  if (volume->options.dirty_limit == 0)
    volume->options.dirty_limit = 64u << 20;
  volume->read_only = volume->options.read_only;
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&volume->thread_wake, &attributes);
  pthread_condattr_destroy(&attributes);
  pthread_mutex_init(&volume->commit_lock, NULL);
  pthread_cond_init(&volume->commit_ended, NULL);
  pthread_mutex_init(&volume->writer, NULL);
  pthread_mutex_init(&volume->nodes_lock, NULL);
  pthread_cond_init(&volume->removal_ended, NULL);
  pthread_mutex_init(&volume->thread_lock, NULL);
  if (nodes_create(volume) < 0) {
    free(volume);
    return NULL;
  }
  return volume;
}

void volume_free(casefs_volume *volume) {
  if (volume->holds_device)
    __atomic_store_n(&volume->device->in_use, false, __ATOMIC_RELEASE);
  nodes_destroy(volume);
  tree_close(&volume->tree);
  space_destroy(&volume->space);
  batch_free(&volume->batch);
  run_list_free(&volume->allocated);
  run_list_free(&volume->freed);
  pthread_cond_destroy(&volume->thread_wake);
  pthread_mutex_destroy(&volume->commit_lock);
  pthread_cond_destroy(&volume->commit_ended);
  pthread_mutex_destroy(&volume->writer);
  pthread_mutex_destroy(&volume->nodes_lock);
  pthread_cond_destroy(&volume->removal_ended);
  pthread_mutex_destroy(&volume->thread_lock);
  free(volume);
}

static int check_features(const struct superblock *superblock, bool read_only) {
  if (superblock->incompatible != 0 || superblock->fold_id != FOLD_WINDOWS_7)
    return -EOPNOTSUPP;
  return superblock->read_only_compatible != 0 && !read_only ? -EOPNOTSUPP : 0;
}

/* A crash may have kept one copy of the newest superblock from the device: write both again. */
static int open_for_writing(casefs_volume *volume) {
  bool whole;
  if (volume->device->read_only)
    return -EROFS;
  if (__atomic_exchange_n(&volume->device->in_use, true, __ATOMIC_ACQ_REL))
    return -EBUSY;
  volume->holds_device = true;
  int r = owner_take(volume);
  /* Once more: the last owner may have committed until it was given up. */
  if (r == 0)
    r = superblock_read(volume->device, &volume->superblock, &whole);
  if (r == 0 && !whole)
    r = superblock_write(volume->device, &volume->superblock);
  if (r == 0)
    r = space_read_log(&volume->space, volume->device, volume->superblock.log,
                       volume->superblock.generation);
  return r;
}

int casefs_open(struct casefs_device *device, const struct casefs_open_options *options,
                casefs_volume **opened) {
  casefs_volume *volume = volume_allocate(device, options);
  if (!volume)
    return -ENOMEM;
  struct superblock *superblock = &volume->superblock;
  bool whole;
  int r = superblock_read(device, superblock, &whole);
  if (r == 0)
    r = check_features(superblock, volume->read_only);
  if (r == 0 && superblock->blocks > device->size / BLOCK_SIZE)
    r = -EFBIG;
  space_create(&volume->space, superblock->blocks);
  volume->slop = slop_for(superblock->blocks);
  if (r == 0 && !volume->read_only)
    r = open_for_writing(volume);
  if (r == 0 && volume->read_only)
    /* Only for statistics: a reader needs no space. */
    space_read_log(&volume->space, device, superblock->log, superblock->generation);
  if (r == 0)
    r = tree_open(&volume->tree, device, superblock, volume->options.cache_size);
  if (r == 0 && !volume->read_only)
    r = nodes_reap_orphans(volume);
  if (r == 0 && !volume->read_only)
    r = start_thread(volume);
  if (r < 0) {
    owner_release(volume);
    r = volume_result(volume, r);
    volume_free(volume);
    return r;
  }
  *opened = volume;
  return 0;
}

int casefs_close(casefs_volume *volume) {
  if (!volume)
    return 0;
  stop_thread(volume);
  int r = casefs_sync(volume);
  /* So that what was freed goes back to the device now. */
  for (unsigned i = 0; i < DEFERRED_GENERATIONS && r == 0 && !volume->read_only &&
                       volume->space.deferred_blocks > 0;
       i++)
    r = volume_commit(volume, true);
  if (r == 0 && !volume->read_only && device_flush(volume->device) < 0)
    r = -EIO;
  owner_release(volume);
  volume_free(volume);
  return r;
}

/* -------------------------------------------------------------------------- the rest */

void casefs_volume_statistics(casefs_volume *volume, struct casefs_statistics *statistics) {
  pthread_mutex_lock(&volume->writer);
  const struct superblock *superblock = &volume->superblock;
  *statistics = (struct casefs_statistics){
      .size = superblock->blocks * BLOCK_SIZE,
      .reserved = volume->slop * NODE_SIZE,
      .nodes = superblock->nodes,
      .generation = superblock->generation,
      .next_id = superblock->next_id,
      .cached = tree_bytes(&volume->tree),
      .dirty = dirty_bytes(volume),
      .commits = volume->commits,
      .written = volume->written,
      .deferred = volume->space.deferred_blocks * BLOCK_SIZE,
      .tree_depth = volume->tree.level + 1,
      .read_only = volume->read_only || volume->failure,
      .failure = volume->failure,
  };
  uint64_t pieces = volume->space.pieces.total > volume->promised.pieces
                        ? volume->space.pieces.total - volume->promised.pieces
                        : 0;
  uint64_t free = available_quads(volume, PURPOSE_NORMAL) * QUAD_BLOCKS + pieces;
  statistics->free = free * BLOCK_SIZE + statistics->deferred;
  memcpy(statistics->uuid, superblock->uuid, 16);
  memcpy(statistics->label, superblock->label, sizeof statistics->label);
  pthread_mutex_unlock(&volume->writer);
  struct node_record root;
  if (node_fetch(volume, CASEFS_ROOT_ID, &root) == 0)
    statistics->case_insensitive = root.insensitive;
}

int label_check(const char *label) {
  size_t length = strlen(label);
  int64_t units = utf16_units(label, length);
  if (units < 0)
    return (int)units;
  return units > CASEFS_MAX_LABEL_UNITS || length > CASEFS_MAX_LABEL ? -ENAMETOOLONG : 0;
}

int casefs_set_label(casefs_volume *volume, const char *label) {
  int r = label_check(label);
  if (r == 0)
    r = change_begin(volume);
  if (r < 0)
    return r;
  volume->superblock.label_length = (uint32_t)strlen(label);
  memset(volume->superblock.label, 0, sizeof volume->superblock.label);
  memcpy(volume->superblock.label, label, volume->superblock.label_length);
  volume->superblock_changed = true;
  volume->changes++;
  change_end(volume);
  return 0;
}

int casefs_grow(casefs_volume *volume, uint64_t size) {
  uint64_t blocks = (size ? size : volume->device->size) / NODE_SIZE * QUAD_BLOCKS;
  if (blocks > MAX_BLOCKS)
    blocks = MAX_BLOCKS;
  int r = change_begin(volume);
  if (r < 0)
    return r;
  uint64_t old = volume->superblock.blocks;
  if (blocks < old || blocks > volume->device->size / BLOCK_SIZE)
    r = -EINVAL;
  if (r == 0 && blocks > old) {
    /* The old mirror is freed like any block: older superblocks still need it for a while. */
    r = space_reserve_notes(&volume->space, 1, 1);
    if (r == 0) {
      volume->superblock.blocks = blocks;
      volume->space.blocks = blocks;
      volume->tree.blocks = blocks;
      volume->slop = slop_for(blocks);
      space_note_freed(&volume->space, old - RING_SLOTS, blocks - old);
      volume->superblock_changed = true;
      volume->changes++;
    }
  }
  change_end(volume);
  for (unsigned i = 0; r == 0 && i < DEFERRED_GENERATIONS; i++)
    r = volume_commit(volume, true);
  return r;
}
