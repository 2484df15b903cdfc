/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Names of a directory, sets of nodes, and nodes with several names.
 */

#include "copy-sides.h"

#include <pthread.h>
#include <string.h>

/* ---------------------------------------------------------------- listings */

void listing_add(struct listing *listing, const char *name, size_t length, enum casefs_type type) {
  if (listing->count == listing->room) {
    listing->room = listing->room ? 2 * listing->room : 32;
    listing->entries = resized(listing->entries, listing->room * sizeof *listing->entries);
  }
  if (listing->capacity - listing->used < length + 1) {
    listing->capacity = 2 * listing->capacity + length + 1024;
    listing->names = resized(listing->names, listing->capacity);
  }
  listing->entries[listing->count++] = (struct listing_entry){listing->used, type};
  memcpy(listing->names + listing->used, name, length);
  listing->used += length;
  listing->names[listing->used++] = '\0';
}

static unsigned char upper(char byte) {
  return byte >= 'a' && byte <= 'z' ? (unsigned char)(byte - 'a' + 'A') : (unsigned char)byte;
}

static int compare_entries(const void *first, const void *second, void *names) {
  const char *a = (const char *)names + ((const struct listing_entry *)first)->at;
  const char *b = (const char *)names + ((const struct listing_entry *)second)->at;
  const char *x = a, *y = b;
  while (*x && upper(*x) == upper(*y)) {
    x++;
    y++;
  }
  int order = upper(*x) - upper(*y);
  return order ? order : strcmp(a, b);
}

void listing_sort(struct listing *listing) {
  if (listing->count > 1)
    qsort_r(listing->entries, listing->count, sizeof *listing->entries, compare_entries,
            listing->names);
}

void listing_clear(struct listing *listing) {
  free(listing->names);
  free(listing->entries);
  *listing = (struct listing){0};
}

/* -------------------------------------------------------------------- sets */

struct node_set {
  pthread_mutex_t lock;
  size_t count, room; /* room: a power of two, or 0 */
  struct identity {
    uint64_t device, id; /* id 0: free */
  } * slots;
};

static size_t hash_of(uint64_t device, uint64_t id) {
  uint64_t hash = (id ^ device << 32 ^ device >> 32) * UINT64_C(0x9E3779B97F4A7C15);
  return (size_t)(hash ^ hash >> 32);
}

struct node_set *node_set_new(void) {
  struct node_set *set = allocate(sizeof *set);
  pthread_mutex_init(&set->lock, NULL);
  return set;
}

void node_set_free(struct node_set *set) {
  pthread_mutex_destroy(&set->lock);
  free(set->slots);
  free(set);
}

/* Its slot, or the free one where it belongs.  There is room. */
static struct identity *find_slot(struct node_set *set, uint64_t device, uint64_t id) {
  size_t at = hash_of(device, id) & (set->room - 1);
  while (set->slots[at].id && (set->slots[at].id != id || set->slots[at].device != device))
    at = (at + 1) & (set->room - 1);
  return &set->slots[at];
}

static void grow_set(struct node_set *set) {
  struct identity *before = set->slots;
  size_t room = set->room;
  set->room = room ? 2 * room : 64;
  set->slots = allocate(set->room * sizeof *set->slots);
  for (size_t i = 0; i < room; i++)
    if (before[i].id)
      *find_slot(set, before[i].device, before[i].id) = before[i];
  free(before);
}

void node_set_add(struct node_set *set, uint64_t device, uint64_t id) {
  pthread_mutex_lock(&set->lock);
  if (2 * set->count >= set->room)
    grow_set(set);
  struct identity *slot = find_slot(set, device, id);
  set->count += slot->id == 0;
  *slot = (struct identity){device, id};
  pthread_mutex_unlock(&set->lock);
}

bool node_set_has(struct node_set *set, uint64_t device, uint64_t id) {
  pthread_mutex_lock(&set->lock);
  bool there = set->room > 0 && find_slot(set, device, id)->id != 0;
  pthread_mutex_unlock(&set->lock);
  return there;
}

/* ------------------------------------------------------------------- links */

struct link_entry {
  struct link_entry *next;
  uint64_t device, id;
  bool made; /* else somebody is about to make it */
  uint64_t made_id;
  char *path;
};

struct link_table {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  size_t count, room; /* room: a power of two */
  struct link_entry **chains;
};

struct link_table *link_table_new(void) {
  struct link_table *table = allocate(sizeof *table);
  table->room = 256;
  table->chains = allocate(table->room * sizeof *table->chains);
  pthread_mutex_init(&table->lock, NULL);
  pthread_cond_init(&table->changed, NULL);
  return table;
}

void link_table_free(struct link_table *table) {
  for (size_t i = 0; i < table->room; i++)
    while (table->chains[i]) {
      struct link_entry *entry = table->chains[i];
      table->chains[i] = entry->next;
      free(entry->path);
      free(entry);
    }
  pthread_mutex_destroy(&table->lock);
  pthread_cond_destroy(&table->changed);
  free(table->chains);
  free(table);
}

/* Where the entry hangs, or NULL would. */
static struct link_entry **find_link(struct link_table *table, uint64_t device, uint64_t id) {
  struct link_entry **entry = &table->chains[hash_of(device, id) & (table->room - 1)];
  while (*entry && ((*entry)->id != id || (*entry)->device != device))
    entry = &(*entry)->next;
  return entry;
}

static void grow_links(struct link_table *table) {
  struct link_entry **before = table->chains;
  size_t room = table->room;
  table->room = 2 * room;
  table->chains = allocate(table->room * sizeof *table->chains);
  for (size_t i = 0; i < room; i++)
    while (before[i]) {
      struct link_entry *entry = before[i];
      before[i] = entry->next;
      entry->next = NULL;
      *find_link(table, entry->device, entry->id) = entry;
    }
  free(before);
}

static void add_link(struct link_table *table, uint64_t device, uint64_t id) {
  if (table->count++ == table->room)
    grow_links(table);
  struct link_entry *entry = allocate(sizeof *entry);
  entry->device = device;
  entry->id = id;
  *find_link(table, device, id) = entry;
}

bool link_table_find(struct link_table *table, uint64_t device, uint64_t id,
                     struct made_link *made) {
  struct link_entry *entry;
  pthread_mutex_lock(&table->lock);
  while ((entry = *find_link(table, device, id)) && !entry->made)
    pthread_cond_wait(&table->changed, &table->lock);
  if (entry)
    *made = (struct made_link){entry->made_id, entry->path};
  else
    add_link(table, device, id);
  pthread_mutex_unlock(&table->lock);
  return entry != NULL;
}

void link_table_made(struct link_table *table, uint64_t device, uint64_t id, uint64_t made,
                     const char *path) {
  pthread_mutex_lock(&table->lock);
  struct link_entry **place = find_link(table, device, id), *entry = *place;
  if (path) {
    entry->made = true;
    entry->made_id = made;
    entry->path = copied(path, strlen(path));
  } else {
    *place = entry->next;
    free(entry);
    table->count--;
  }
  pthread_cond_broadcast(&table->changed);
  pthread_mutex_unlock(&table->lock);
}
