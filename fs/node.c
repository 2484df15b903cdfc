/* SPDX-License-Identifier: BSD-3-Clause */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "volume.h"

#define FIRST_BUCKETS 64u
#define REMOVED_AT_ONCE 64u /* records of a node that one change removes */

/* ---------------------------------------------------------------- table of open nodes */

int nodes_create(casefs_volume *volume) {
  volume->buckets = calloc(FIRST_BUCKETS, sizeof *volume->buckets);
  volume->bucket_count = FIRST_BUCKETS;
  return volume->buckets ? 0 : -ENOMEM;
}

static struct casefs_node **bucket_of(casefs_volume *volume, uint64_t id) {
  return &volume->buckets[(id * 0x9E3779B97F4A7C15u >> 20) & (volume->bucket_count - 1)];
}

static casefs_node *find_open(casefs_volume *volume, uint64_t id) {
  casefs_node *node = *bucket_of(volume, id);
  while (node && node->id != id)
    node = node->next;
  return node;
}

/* Twice the buckets; without memory they just get fuller. */
static void grow_buckets(casefs_volume *volume) {
  size_t old_count = volume->bucket_count;
  struct casefs_node **old = volume->buckets;
  struct casefs_node **grown = calloc(2 * old_count, sizeof *grown);
  if (!grown)
    return;
  volume->buckets = grown;
  volume->bucket_count = 2 * old_count;
  for (size_t i = 0; i < old_count; i++)
    while (old[i]) {
      casefs_node *node = old[i];
      old[i] = node->next;
      casefs_node **bucket = bucket_of(volume, node->id);
      node->next = *bucket;
      *bucket = node;
    }
  free(old);
}

static void node_free(casefs_node *node) {
  free(node->buffer);
  pthread_mutex_destroy(&node->lock);
  free(node);
}

/* Take a node that nobody has any more out of the table; nodes_lock is held. */
static void drop(casefs_node *node) {
  casefs_volume *volume = node->volume;
  casefs_node **place = bucket_of(volume, node->id);
  while (*place != node)
    place = &(*place)->next;
  *place = node->next;
  volume->open_nodes--;
  node_free(node);
}

void nodes_destroy(casefs_volume *volume) {
  for (size_t i = 0; i < volume->bucket_count; i++)
    while (volume->buckets[i]) {
      casefs_node *node = volume->buckets[i];
      volume->buckets[i] = node->next;
      node_free(node);
    }
  free(volume->buckets);
}

/* -------------------------------------------------------------------- their records */

struct node_record node_record_of(casefs_node *node) {
  pthread_mutex_lock(&node->lock);
  struct node_record record = node->record;
  pthread_mutex_unlock(&node->lock);
  return record;
}

void node_set_record(casefs_node *node, const struct node_record *record) {
  pthread_mutex_lock(&node->lock);
  node->record = *record;
  pthread_mutex_unlock(&node->lock);
}

static int node_load(casefs_volume *volume, uint64_t id, struct node_record *record) {
  struct tree_record found;
  struct key key;
  key_node(&key, id);
  int r = tree_get(&volume->tree, &key, &found);
  return r < 0 ? r : node_record_decode(record, found.value, found.length);
}

int node_fetch(casefs_volume *volume, uint64_t id, struct node_record *record) {
  pthread_mutex_lock(&volume->nodes_lock);
  casefs_node *node = find_open(volume, id);
  if (node)
    *record = node_record_of(node);
  pthread_mutex_unlock(&volume->nodes_lock);
  return node ? 0 : node_load(volume, id, record);
}

void node_store(casefs_volume *volume, uint64_t id, const struct node_record *record) {
  uint8_t bytes[NODE_RECORD_SIZE];
  struct key key;
  key_node(&key, id);
  node_record_encode(record, bytes);
  batch_put(&volume->batch, &key, bytes, sizeof bytes);
}

void node_publish(casefs_volume *volume, uint64_t id, const struct node_record *record) {
  pthread_mutex_lock(&volume->nodes_lock);
  casefs_node *node = find_open(volume, id);
  if (node)
    node_set_record(node, record);
  pthread_mutex_unlock(&volume->nodes_lock);
}

bool node_is_open(casefs_volume *volume, uint64_t id) {
  pthread_mutex_lock(&volume->nodes_lock);
  casefs_node *node = find_open(volume, id);
  bool open = node && node->references > 0;
  pthread_mutex_unlock(&volume->nodes_lock);
  return open;
}

/* Unless somebody has the node open, nobody can open it until the end of the change. */
static bool begin_removal(casefs_volume *volume, uint64_t id) {
  pthread_mutex_lock(&volume->nodes_lock);
  casefs_node *node = find_open(volume, id);
  bool open = node && node->references > 0;
  if (!open)
    volume->removing = id;
  pthread_mutex_unlock(&volume->nodes_lock);
  return !open;
}

void nodes_end_removal(casefs_volume *volume) {
  if (volume->removing == 0) /* only who has `writer` sets it */
    return;
  pthread_mutex_lock(&volume->nodes_lock);
  volume->removing = 0;
  pthread_cond_broadcast(&volume->removal_ended);
  pthread_mutex_unlock(&volume->nodes_lock);
}

/* ---------------------------------------------------------------- opening, closing */

static casefs_node *node_allocate(casefs_volume *volume, uint64_t id,
                                  const struct node_record *record) {
  casefs_node *node = calloc(1, sizeof *node);
  if (!node)
    return NULL;
  node->volume = volume;
  node->id = id;
  node->record = *record;
  pthread_mutex_init(&node->lock, NULL);
  return node;
}

static void insert_open(casefs_volume *volume, casefs_node *node) {
  if (volume->open_nodes >= volume->bucket_count)
    grow_buckets(volume);
  casefs_node **bucket = bucket_of(volume, node->id);
  node->next = *bucket;
  *bucket = node;
  volume->open_nodes++;
}

/* Writers publish records under nodes_lock, so what is loaded with it misses none of their changes.
 * It is read once without it first, so that its leaf is in memory then. */
int node_open(casefs_volume *volume, uint64_t id, casefs_node **opened) {
  struct node_record record;
  casefs_node *fresh = NULL;

  for (;;) {
    pthread_mutex_lock(&volume->nodes_lock);
    while (id != 0 && volume->removing == id) /* a damaged record may name a parent 0 */
      pthread_cond_wait(&volume->removal_ended, &volume->nodes_lock);
    casefs_node *node = find_open(volume, id);
    if (!node && fresh) {
      /* `fresh` has been in nobody's hands; its record is loaded while writers publish under
       * nodes_lock, so that none is missed. */
      int r = node_load(volume, id, &fresh->record);
      if (r == 0) {
        insert_open(volume, fresh);
        node = fresh;
        fresh = NULL;
      } else {
        pthread_mutex_unlock(&volume->nodes_lock);
        node_free(fresh);
        return r;
      }
    }
    if (node) {
      bool gone = node_record_of(node).links == 0;
      if (!gone)
        node->references++;
      pthread_mutex_unlock(&volume->nodes_lock);
      if (fresh)
        node_free(fresh);
      if (!gone)
        *opened = node;
      return gone ? -ENOENT : 0;
    }
    pthread_mutex_unlock(&volume->nodes_lock);
    /* Read it once without the lock, so that its leaf is in memory when it is read with it. */
    int r = node_load(volume, id, &record);
    if (r < 0)
      return r;
    fresh = node_allocate(volume, id, &record);
    if (!fresh)
      return -ENOMEM;
  }
}

casefs_node *node_prepare(casefs_volume *volume) {
  static const struct node_record none;
  return node_allocate(volume, 0, &none);
}

void node_discard(casefs_node *node) {
  if (node)
    node_free(node);
}

casefs_node *node_open_prepared(casefs_node *prepared, uint64_t id,
                                const struct node_record *record) {
  casefs_volume *volume = prepared->volume;
  pthread_mutex_lock(&volume->nodes_lock);
  casefs_node *node = find_open(volume, id);
  if (!node) {
    node = prepared;
    node->id = id;
    node->record = *record;
    insert_open(volume, node);
  }
  node->references++;
  pthread_mutex_unlock(&volume->nodes_lock);
  if (node != prepared)
    node_discard(prepared);
  return node;
}

casefs_node *casefs_node_hold(casefs_node *node) {
  pthread_mutex_lock(&node->volume->nodes_lock);
  node->references++;
  pthread_mutex_unlock(&node->volume->nodes_lock);
  return node;
}

/* Let go of a reference unless it is the last of a node that has something left to do: to be
 * removed, or to bring its data to the tree. */
static bool close_simply(casefs_node *node) {
  casefs_volume *volume = node->volume;
  pthread_mutex_lock(&volume->nodes_lock);
  bool last = node->references == 1;
  pthread_mutex_lock(&node->lock);
  bool simple = !last || (node->record.links > 0 && node->buffer_capacity == 0);
  pthread_mutex_unlock(&node->lock);
  if (simple) {
    node->references--;
    if (last && !node->unsettled)
      drop(node);
  }
  pthread_mutex_unlock(&volume->nodes_lock);
  return simple;
}

void casefs_node_close(casefs_node *node) {
  if (!node || close_simply(node))
    return;
  /* A file's data goes to the tree while its node is the newest there: leaves get full then.
   * What has no name is removed by the last one out; if that cannot be done now, the next
   * opening does it. */
  casefs_volume *volume = node->volume;
  uint64_t id = node->id;
  bool writable = change_begin(volume) == 0;
  bool nameless = node_record_of(node).links == 0;
  if (writable && nameless)
    node_forget_changes(node);
  else if (writable && node->unsettled)
    node_settle(node);
  pthread_mutex_lock(&volume->nodes_lock);
  bool last = --node->references == 0;
  if (last && !node->unsettled)
    drop(node);
  pthread_mutex_unlock(&volume->nodes_lock);
  if (writable && nameless && last)
    node_reap(volume, id);
  if (writable)
    change_end(volume);
}

int casefs_open_id(casefs_volume *volume, uint64_t id, casefs_node **node) {
  return id == 0 ? -ENOENT : volume_result(volume, node_open(volume, id, node));
}

int casefs_open_root(casefs_volume *volume, casefs_node **node) {
  return casefs_open_id(volume, CASEFS_ROOT_ID, node);
}

casefs_volume *casefs_node_volume(const casefs_node *node) {
  return node->volume;
}

uint64_t casefs_node_id(const casefs_node *node) {
  return node->id;
}

/* ----------------------------------------------------------------- settling changes */

static void list_unsettled(casefs_node *node) {
  casefs_volume *volume = node->volume;
  node->next_unsettled = volume->unsettled;
  node->previous_unsettled = NULL;
  if (volume->unsettled)
    volume->unsettled->previous_unsettled = node;
  volume->unsettled = node;
}

static void unlist_unsettled(casefs_node *node) {
  if (node->previous_unsettled)
    node->previous_unsettled->next_unsettled = node->next_unsettled;
  else
    node->volume->unsettled = node->next_unsettled;
  if (node->next_unsettled)
    node->next_unsettled->previous_unsettled = node->previous_unsettled;
}

static void set_unsettled(casefs_node *node, bool unsettled) {
  pthread_mutex_lock(&node->volume->nodes_lock);
  node->unsettled = unsettled;
  pthread_mutex_unlock(&node->volume->nodes_lock);
}

int node_touch(casefs_node *node, enum purpose purpose) {
  casefs_volume *volume = node->volume;
  if (node->unsettled)
    return 0;
  /* Storing its record again makes the nodes on the way to it dirty. */
  int r = promise_space(volume, &node->promise, volume->tree.level + 2, 0, purpose);
  if (r < 0)
    return r;
  set_unsettled(node, true);
  list_unsettled(node);
  return 0;
}

void node_forget_changes(casefs_node *node) {
  if (!node->unsettled)
    return;
  data_drop_buffer(node);
  release_promise(node->volume, &node->promise);
  unlist_unsettled(node);
  set_unsettled(node, false);
}

/* It is settled: nothing keeps it in memory but those who have it open. */
static void finish_settling(casefs_node *node) {
  casefs_volume *volume = node->volume;
  unlist_unsettled(node);
  pthread_mutex_lock(&volume->nodes_lock);
  node->unsettled = false;
  if (node->references == 0)
    drop(node);
  pthread_mutex_unlock(&volume->nodes_lock);
}

int node_settle(casefs_node *node) {
  casefs_volume *volume = node->volume;
  struct node_record record = node_record_of(node);

  struct promise kept = node->promise;
  release_promise(volume, &node->promise);
  int r = data_settle(node, &record, kept.pieces > 0);
  if (r == 0) {
    node_store(volume, node->id, &record);
    r = change_apply(volume, PURPOSE_SETTLE);
  } else {
    change_abandon(volume);
  }
  if (r < 0) {
    /* It stays unsettled, with its promise. */
    node->promise = kept;
    volume->promised.quads += kept.quads;
    volume->promised.pieces += kept.pieces;
    return r;
  }
  node_set_record(node, &record);
  data_drop_buffer(node);
  finish_settling(node);
  return 0;
}

/* ---------------------------------------------------------------------- removing */

/* Collect the removal of records of one type, at most *limit; stops short at it. */
static int remove_records(casefs_volume *volume, uint64_t id, enum record_type type,
                          unsigned *limit) {
  struct tree_record record;
  struct key key;
  key_start(&key, id, type);
  while (*limit > 0) {
    int r = tree_seek_prefix(&volume->tree, &key, KEY_PREFIX, &record);
    if (r < 0)
      return r == -ENOENT ? 0 : r;
    batch_remove(&volume->batch, &record.key);
    (*limit)--;
    key.length = record.key.length;
    memcpy(key.bytes, record.key.bytes, record.key.length);
    key_after(&key);
  }
  return 0;
}

void put_orphan(casefs_volume *volume, uint64_t id, bool orphan) {
  struct key key;
  key_start(&key, 0, RECORD_ORPHAN);
  key_append64(&key, id);
  if (orphan)
    batch_put(&volume->batch, &key, NULL, 0);
  else
    batch_remove(&volume->batch, &key);
}

/* Streams that a change makes orphans. */
struct lost_streams {
  uint64_t ids[REMOVED_AT_ONCE];
  unsigned count;
};

/* A node's streams become nodes without a name: each is removed by itself. */
static int orphan_streams(casefs_volume *volume, uint64_t id, unsigned *limit,
                          struct lost_streams *lost) {
  struct tree_record record;
  struct key key;
  key_start(&key, id, RECORD_STREAM);
  while (*limit > 0) {
    int r = tree_seek_prefix(&volume->tree, &key, KEY_PREFIX, &record);
    if (r < 0)
      return r == -ENOENT ? 0 : r;
    uint64_t stream;
    uint8_t type;
    struct node_record stream_record;
    r = entry_record_decode(&stream, &type, record.value, record.length);
    if (r == 0)
      r = node_fetch(volume, stream, &stream_record);
    if (r == 0 && stream_record.type == CASEFS_STREAM && stream_record.parent == id) {
      stream_record.links = 0;
      node_store(volume, stream, &stream_record);
      put_orphan(volume, stream, true);
      lost->ids[lost->count++] = stream;
    } else if (r < 0 && r != -ENOENT) {
      return r;
    }
    batch_remove(&volume->batch, &record.key);
    *limit = *limit > 3 ? *limit - 3 : 0;
    key.length = record.key.length;
    memcpy(key.bytes, record.key.bytes, record.key.length);
    key_after(&key);
  }
  return 0;
}

/* That change has been made. */
static void publish_lost_streams(casefs_volume *volume, const struct lost_streams *lost) {
  for (unsigned i = 0; i < lost->count; i++) {
    pthread_mutex_lock(&volume->nodes_lock);
    casefs_node *node = find_open(volume, lost->ids[i]);
    if (node) {
      pthread_mutex_lock(&node->lock);
      node->record.links = 0;
      pthread_mutex_unlock(&node->lock);
    }
    pthread_mutex_unlock(&volume->nodes_lock);
  }
}

/* Collect the removal of a node's records, at most so many; *more: there are others. */
static int remove_some(casefs_volume *volume, uint64_t id, struct node_record *record,
                       unsigned limit, struct lost_streams *lost, bool *more) {
  unsigned left = limit;
  int r = 0;

  *more = false;
  if (record->size > 0 || record->blocks > 0)
    r = data_remove_extents(volume, id, 0, left, record, more);
  if (r < 0 || *more)
    return r;
  if (record->streams > 0)
    r = orphan_streams(volume, id, &left, lost);
  if (r == 0 && record->ea_size > 0)
    r = remove_records(volume, id, RECORD_EA, &left);
  if (r == 0 && record->reparse_tag != 0)
    r = remove_records(volume, id, RECORD_REPARSE, &left);
  if (r == 0 && record->type == CASEFS_SYMLINK)
    r = remove_records(volume, id, RECORD_TARGET, &left);
  *more = left == 0;
  return r;
}

int node_remove(casefs_volume *volume, uint64_t id, struct node_record *record, bool frugal,
                bool *rest) {
  bool simple = !frugal && record->streams == 0 &&
                record->blocks <= (uint64_t)REMOVED_AT_ONCE / 2 * MAX_EXTENT_BLOCKS &&
                begin_removal(volume, id);
  int r;

  *rest = true;
  if (simple) {
    struct lost_streams none = {.count = 0};
    r = remove_some(volume, id, record, REMOVED_AT_ONCE, &none, rest);
    if (r < 0)
      return r;
  }
  if (*rest) {
    /* What has been collected of its removal is as good as any beginning. */
    put_orphan(volume, id, true);
    node_store(volume, id, record);
    return 0;
  }
  struct key key;
  r = descriptor_store(volume, record, NULL, 0);
  key_node(&key, id);
  batch_remove(&volume->batch, &key);
  return r;
}

/* A node that nobody has open, but that is in memory for its changes, which are moot. */
static void forget_unused(casefs_volume *volume, uint64_t id) {
  pthread_mutex_lock(&volume->nodes_lock);
  casefs_node *node = find_open(volume, id);
  bool unused = node && node->references == 0;
  pthread_mutex_unlock(&volume->nodes_lock);
  if (!unused)
    return;
  node_forget_changes(node);
  pthread_mutex_lock(&volume->nodes_lock);
  drop(node);
  pthread_mutex_unlock(&volume->nodes_lock);
}

/* One step of removing a node without a name.  *done: it is gone. */
static int reap_step(casefs_volume *volume, uint64_t id, unsigned limit, bool *done) {
  struct node_record record;
  struct lost_streams lost = {.count = 0};
  bool more = false;
  int r = node_load(volume, id, &record);

  *done = true;
  if (r == -ENOENT) {
    put_orphan(volume, id, false);
    return change_apply(volume, PURPOSE_REMOVE);
  }
  if (r < 0)
    return r;
  if (record.links > 0) {
    /* A truncation that was cut short. */
    r = data_remove_extents(volume, id, (record.size + BLOCK_SIZE - 1) / BLOCK_SIZE, limit, &record,
                            &more);
    if (r == 0)
      node_store(volume, id, &record);
  } else {
    forget_unused(volume, id);
    r = remove_some(volume, id, &record, limit, &lost, &more);
    if (r == 0 && more) {
      node_store(volume, id, &record);
    } else if (r == 0) {
      struct key key;
      r = descriptor_store(volume, &record, NULL, 0);
      key_node(&key, id);
      batch_remove(&volume->batch, &key);
    }
  }
  if (r == 0 && !more)
    put_orphan(volume, id, false);
  *done = !more;
  if (r < 0) {
    change_abandon(volume);
    return r;
  }
  r = change_apply(volume, PURPOSE_REMOVE);
  if (r == 0)
    publish_lost_streams(volume, &lost);
  if (r == 0 && record.links > 0)
    node_publish(volume, id, &record);
  if (r == 0 && !more && record.links == 0 && record.type != CASEFS_STREAM)
    volume->superblock.nodes--;
  return r;
}

void node_lost_name(casefs_volume *volume, uint64_t id, const struct node_record *record,
                    bool rest) {
  node_publish(volume, id, record);
  if (record->links > 0)
    return;
  forget_unused(volume, id);
  if (!rest)
    volume->superblock.nodes -= record->type != CASEFS_STREAM;
  else if (!node_is_open(volume, id))
    node_reap(volume, id);
}

/* All steps; smaller ones where there is no space for larger ones. */
static int reap_steps(casefs_volume *volume, uint64_t id) {
  unsigned limit = REMOVED_AT_ONCE;
  bool done = false;
  int r = 0;
  while (r == 0 && !done) {
    r = reap_step(volume, id, limit, &done);
    if (r == -ENOSPC && limit > 4) {
      limit /= 4;
      r = 0;
      done = false;
    }
  }
  return r;
}

/* The next orphan after *id. */
static int next_orphan(casefs_volume *volume, uint64_t *id) {
  struct tree_record record;
  struct key key;
  key_start(&key, 0, RECORD_ORPHAN);
  key_append64(&key, *id + 1);
  int r = tree_seek_prefix(&volume->tree, &key, KEY_PREFIX, &record);
  if (r < 0)
    return r;
  if (record.key.length != KEY_PREFIX + 8)
    return -EUCLEAN;
  *id = load64_big(record.key.bytes + KEY_PREFIX);
  return 0;
}

int node_reap(casefs_volume *volume, uint64_t id) {
  struct node_record record;
  bool streams = node_load(volume, id, &record) == 0 && record.streams > 0;
  int r = reap_steps(volume, id);
  /* Its streams are orphans now, with higher ids or lower ones. */
  uint64_t orphan = 0;
  while (r == 0 && streams && (r = next_orphan(volume, &orphan)) == 0)
    if (!node_is_open(volume, orphan))
      r = reap_steps(volume, orphan);
  if (r < 0 && r != -ENOENT)
    volume->orphans_left = true;
  return r == -ENOENT ? 0 : r;
}

int nodes_reap_orphans(casefs_volume *volume) {
  uint64_t id = 0;
  int r = 0;
  volume->orphans_left = false;
  while (r == 0 && (r = next_orphan(volume, &id)) == 0)
    if (!node_is_open(volume, id))
      r = node_reap(volume, id);
  /* A full volume can be used all the same; the orphans wait for the next commit. */
  return r == -ENOENT || r == -ENOSPC ? 0 : r;
}

/* ------------------------------------------------------------------- attributes */

void attributes_of(uint64_t id, const struct node_record *record,
                   struct casefs_attributes *attributes) {
  *attributes = (struct casefs_attributes){
      .id = id,
      .type = record->type,
      .mode = record->mode,
      .uid = record->uid,
      .gid = record->gid,
      .rdev = record->rdev,
      .links = record->links,
      .dos_attributes = record->dos_attributes,
      .size = record->size,
      .allocated = record->blocks * BLOCK_SIZE,
      .created = record->created,
      .modified = record->modified,
      .accessed = record->accessed,
      .changed = record->changed,
      .parent = record->parent,
      .reparse_tag = record->reparse_tag,
      .ea_size = record->ea_size,
      .streams = record->streams,
      .case_insensitive = record->insensitive,
      .has_security = record->security != 0,
  };
}

int casefs_get_attributes(casefs_node *node, struct casefs_attributes *attributes) {
  struct node_record record = node_record_of(node);
  attributes_of(node->id, &record, attributes);
  return 0;
}

#define ALL_ATTRIBUTES 1023u

int casefs_set_attributes(casefs_node *node, unsigned mask,
                          const struct casefs_attributes *attributes) {
  if (mask & ~ALL_ATTRIBUTES || (mask & CASEFS_MODE && attributes->mode > 07777) ||
      (mask & CASEFS_DOS_ATTRIBUTES && attributes->dos_attributes & ~CASEFS_DOS_SETTABLE))
    return -EINVAL;
  uint8_t type = node_record_of(node).type;
  if (mask & CASEFS_RDEV && type != CASEFS_CHARACTER_DEVICE && type != CASEFS_BLOCK_DEVICE)
    return -EINVAL;
  if (mask == 0)
    return 0;
  casefs_volume *volume = node->volume;
  unsigned tries = 0;
  int r;
  do {
    r = change_begin(volume);
    if (r < 0)
      return r;
    r = node_touch(node, PURPOSE_NORMAL);
    if (r == 0) {
      struct node_record record = node_record_of(node);
      if (mask & CASEFS_CHANGED)
        record.changed = attributes->changed;
      else if (!(mask & CASEFS_KEEP_CHANGED))
        record.changed = casefs_now();
      if (mask & CASEFS_MODE)
        record.mode = (uint16_t)attributes->mode;
      if (mask & CASEFS_UID)
        record.uid = attributes->uid;
      if (mask & CASEFS_GID)
        record.gid = attributes->gid;
      if (mask & CASEFS_DOS_ATTRIBUTES)
        record.dos_attributes = attributes->dos_attributes;
      if (mask & CASEFS_CREATED)
        record.created = attributes->created;
      if (mask & CASEFS_MODIFIED)
        record.modified = attributes->modified;
      if (mask & CASEFS_ACCESSED)
        record.accessed = attributes->accessed;
      if (mask & CASEFS_RDEV)
        record.rdev = attributes->rdev;
      node_set_record(node, &record);
      volume->changes++;
    }
    change_end(volume);
  } while (try_again(volume, r, &tries));
  return r;
}
