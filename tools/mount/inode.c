/* SPDX-License-Identifier: BSD-3-Clause */

#include "inode.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define FIRST_BUCKETS 64u
#define OPEN_PER_SHARD 32u

struct inode {
  uint64_t id;
  uint64_t lookups;   /* at least 1 */
  uint64_t times_set; /* see inode_set_times */
  unsigned pins;      /* while there are any, node stays */
  casefs_node *node;  /* or NULL; in the list of its shard while there are no pins */
  struct inode *next;
  struct inode *newer, *older;
};

static struct inode_shard *shard_of(struct inode_table *table, uint64_t id) {
  return &table->shards[id % INODE_SHARDS];
}

static struct inode **bucket_of(struct inode_shard *shard, uint64_t id) {
  return &shard->buckets[id / INODE_SHARDS & (shard->bucket_count - 1)];
}

static struct inode *find(struct inode_shard *shard, uint64_t id) {
  struct inode *inode = *bucket_of(shard, id);
  while (inode && inode->id != id)
    inode = inode->next;
  return inode;
}

/* ----------------------------------------------------------------- open nodes */

static void unlist(struct inode_shard *shard, struct inode *inode) {
  *(inode->newer ? &inode->newer->older : &shard->newest) = inode->older;
  *(inode->older ? &inode->older->newer : &shard->oldest) = inode->newer;
  shard->open--;
}

static void list_as_newest(struct inode_shard *shard, struct inode *inode) {
  inode->newer = NULL;
  inode->older = shard->newest;
  *(shard->newest ? &shard->newest->newer : &shard->oldest) = inode;
  shard->newest = inode;
  shard->open++;
}

/* Take the node away, to be closed without the lock. */
static casefs_node *take_node(struct inode_shard *shard, struct inode *inode) {
  casefs_node *node = inode->node;
  if (node && inode->pins == 0)
    unlist(shard, inode);
  inode->node = NULL;
  return node;
}

/* Give it an open node, unless it has one.  Returns what is to be closed. */
static casefs_node *give_node(struct inode_shard *shard, struct inode *inode, casefs_node *node) {
  if (!node || inode->node)
    return node;
  inode->node = node;
  list_as_newest(shard, inode);
  return shard->open > OPEN_PER_SHARD ? take_node(shard, shard->oldest) : NULL;
}

int inode_open(struct inode_table *table, uint64_t id, casefs_node **node) {
  struct inode_shard *shard = shard_of(table, id);
  pthread_mutex_lock(&shard->lock);
  struct inode *inode = find(shard, id);
  bool open = inode && inode->node;
  if (open) {
    if (inode->pins == 0 && inode != shard->newest) {
      unlist(shard, inode);
      list_as_newest(shard, inode);
    }
    *node = casefs_node_hold(inode->node);
  }
  pthread_mutex_unlock(&shard->lock);
  if (open)
    return 0;

  int r = casefs_open_id(table->volume, id, node);
  if (r < 0)
    return r;
  casefs_node *spare = casefs_node_hold(*node);
  pthread_mutex_lock(&shard->lock);
  inode = find(shard, id);
  if (inode)
    spare = give_node(shard, inode, spare);
  pthread_mutex_unlock(&shard->lock);
  casefs_node_close(spare);
  return 0;
}

void inode_settle(struct inode_table *table, uint64_t id) {
  struct inode_shard *shard = shard_of(table, id);
  pthread_mutex_lock(&shard->lock);
  struct inode *inode = find(shard, id);
  casefs_node *node = inode && inode->pins == 0 ? take_node(shard, inode) : NULL;
  pthread_mutex_unlock(&shard->lock);
  casefs_node_close(node);
}

void inode_pin(struct inode_table *table, uint64_t id, casefs_node *node) {
  struct inode_shard *shard = shard_of(table, id);
  pthread_mutex_lock(&shard->lock);
  struct inode *inode = find(shard, id);
  if (inode && !inode->node) {
    inode->node = node;
    node = NULL;
  } else if (inode && inode->pins == 0) {
    unlist(shard, inode);
  }
  if (inode)
    inode->pins++;
  pthread_mutex_unlock(&shard->lock);
  casefs_node_close(node);
}

void inode_unpin(struct inode_table *table, uint64_t id) {
  struct inode_shard *shard = shard_of(table, id);
  casefs_node *node = NULL;
  pthread_mutex_lock(&shard->lock);
  struct inode *inode = find(shard, id);
  if (inode && inode->pins > 0 && --inode->pins == 0) {
    list_as_newest(shard, inode);
    node = shard->open > OPEN_PER_SHARD ? take_node(shard, shard->oldest) : NULL;
  }
  pthread_mutex_unlock(&shard->lock);
  casefs_node_close(node);
}

/* --------------------------------------------------------- what the kernel knows */

/* Twice the buckets; without memory they just get fuller. */
static void grow(struct inode_shard *shard) {
  struct inode_shard grown = {.bucket_count = 2 * shard->bucket_count};
  grown.buckets = calloc(grown.bucket_count, sizeof *grown.buckets);
  if (!grown.buckets)
    return;
  for (size_t i = 0; i < shard->bucket_count; i++)
    for (struct inode *inode = shard->buckets[i], *next; inode; inode = next) {
      struct inode **bucket = bucket_of(&grown, inode->id);
      next = inode->next;
      inode->next = *bucket;
      *bucket = inode;
    }
  free(shard->buckets);
  shard->buckets = grown.buckets;
  shard->bucket_count = grown.bucket_count;
}

static struct inode *insert(struct inode_shard *shard, uint64_t id) {
  struct inode *inode = calloc(1, sizeof *inode);
  if (!inode)
    return NULL;
  if (shard->count >= shard->bucket_count)
    grow(shard);
  struct inode **bucket = bucket_of(shard, id);
  inode->id = id;
  inode->next = *bucket;
  *bucket = inode;
  shard->count++;
  return inode;
}

int inode_remember(struct inode_table *table, uint64_t id, casefs_node *node) {
  struct inode_shard *shard = shard_of(table, id);
  pthread_mutex_lock(&shard->lock);
  struct inode *inode = find(shard, id);
  if (!inode)
    inode = insert(shard, id);
  if (inode) {
    inode->lookups++;
    node = give_node(shard, inode, node);
  }
  pthread_mutex_unlock(&shard->lock);
  casefs_node_close(node);
  return inode ? 0 : -ENOMEM;
}

void inode_forget(struct inode_table *table, uint64_t id, uint64_t lookups) {
  struct inode_shard *shard = shard_of(table, id);
  casefs_node *node = NULL;
  pthread_mutex_lock(&shard->lock);
  struct inode *inode = find(shard, id);
  if (inode && inode->lookups > lookups) {
    inode->lookups -= lookups;
  } else if (inode) {
    node = take_node(shard, inode);
    struct inode **place = bucket_of(shard, id);
    while (*place != inode)
      place = &(*place)->next;
    *place = inode->next;
    shard->count--;
    free(inode);
  }
  pthread_mutex_unlock(&shard->lock);
  casefs_node_close(node);
}

pthread_mutex_t *inode_times_lock(struct inode_table *table, uint64_t id) {
  return &table->times_locks[id % INODE_SHARDS];
}

void inode_set_times(struct inode_table *table, uint64_t id, uint64_t when) {
  struct inode_shard *shard = shard_of(table, id);
  pthread_mutex_lock(&shard->lock);
  struct inode *inode = find(shard, id);
  if (inode)
    inode->times_set = when;
  pthread_mutex_unlock(&shard->lock);
}

uint64_t inode_times_set(struct inode_table *table, uint64_t id) {
  struct inode_shard *shard = shard_of(table, id);
  pthread_mutex_lock(&shard->lock);
  struct inode *inode = find(shard, id);
  uint64_t when = inode ? inode->times_set : 0;
  pthread_mutex_unlock(&shard->lock);
  return when;
}

int inodes_create(struct inode_table *table, casefs_volume *volume) {
  *table = (struct inode_table){.volume = volume};
  for (unsigned i = 0; i < INODE_SHARDS; i++) {
    struct inode_shard *shard = &table->shards[i];
    pthread_mutex_init(&shard->lock, NULL);
    pthread_mutex_init(&table->times_locks[i], NULL);
    shard->bucket_count = FIRST_BUCKETS;
    shard->buckets = calloc(FIRST_BUCKETS, sizeof *shard->buckets);
    if (!shard->buckets) {
      inodes_destroy(table);
      return -ENOMEM;
    }
  }
  /* The kernel knows the root without being told. */
  return inode_remember(table, CASEFS_ROOT_ID, NULL);
}

static void empty_bucket(struct inode *inode) {
  while (inode) {
    struct inode *next = inode->next;
    casefs_node_close(inode->node);
    free(inode);
    inode = next;
  }
}

void inodes_destroy(struct inode_table *table) {
  for (unsigned i = 0; i < INODE_SHARDS; i++) {
    struct inode_shard *shard = &table->shards[i];
    for (size_t j = 0; shard->buckets && j < shard->bucket_count; j++)
      empty_bucket(shard->buckets[j]);
    free(shard->buckets);
    if (shard->bucket_count > 0) {
      pthread_mutex_destroy(&shard->lock);
      pthread_mutex_destroy(&table->times_locks[i]);
    }
  }
  *table = (struct inode_table){0};
}
