/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Directories read.
 *
 * The library's place in a directory is a name, the kernel's a number.  The numbers that an open
 * directory has given out stand for the names at which they were given: 1 is ".", 2 is "..", and
 * the entry k is names[k - 3], so that telldir and seekdir are exact whatever is made and removed
 * meanwhile: what is found at another place when it is read again gets a new number.  The names are
 * forgotten when it is closed.
 */

#include "mount.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ENTRY 3
#define MOST_NAMES 1000000u /* kept when it begins anew */

struct listing {
  struct listing *next, *previous; /* of all that are open: mount->listings_lock */
  pthread_mutex_t lock;
  casefs_node *node;
  struct casefs_cursor cursor;
  uint64_t position; /* of the last entry given out; names are known up to it at least */
  char *names;       /* zero-terminated, one after the other */
  size_t names_size, names_capacity;
  size_t *starts; /* of each in names */
  size_t count, starts_capacity;
};

static struct listing *listing_of(struct fuse_file_info *file) {
  return (struct listing *)(uintptr_t)file->fh;
}

static void enlist(struct mount *mount, struct listing *listing) {
  pthread_mutex_lock(&mount->listings_lock);
  listing->next = mount->listings;
  if (listing->next)
    listing->next->previous = listing;
  mount->listings = listing;
  pthread_mutex_unlock(&mount->listings_lock);
}

static void close_listing(struct mount *mount, struct listing *listing) {
  pthread_mutex_lock(&mount->listings_lock);
  *(listing->previous ? &listing->previous->next : &mount->listings) = listing->next;
  if (listing->next)
    listing->next->previous = listing->previous;
  pthread_mutex_unlock(&mount->listings_lock);
  casefs_node_close(listing->node);
  pthread_mutex_destroy(&listing->lock);
  free(listing->names);
  free(listing->starts);
  free(listing);
}

void listings_close(struct mount *mount) {
  while (mount->listings)
    close_listing(mount, mount->listings);
}

void handle_opendir(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *file) {
  struct mount *mount = mount_of(request);
  struct listing *listing = calloc(1, sizeof *listing);
  int r = listing ? inode_open(&mount->inodes, id, &listing->node) : -ENOMEM;
  if (r < 0) {
    free(listing);
    reply_error(request, r);
    return;
  }
  pthread_mutex_init(&listing->lock, NULL);
  enlist(mount, listing);
  file->fh = (uintptr_t)listing;
  if (fuse_reply_open(request, file) == -ENOENT) /* nobody took it */
    close_listing(mount, listing);
}

void handle_releasedir(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *file) {
  (void)id;
  close_listing(mount_of(request), listing_of(file));
  fuse_reply_err(request, 0);
}

/* ------------------------------------------------------------- names given out */

static bool reserve(void **memory, size_t *capacity, size_t needed, size_t unit) {
  if (needed <= *capacity)
    return true;
  size_t grown = needed < 2 * *capacity ? 2 * *capacity : needed + 64;
  void *larger = realloc(*memory, grown * unit);
  if (!larger)
    return false;
  *memory = larger;
  *capacity = grown;
  return true;
}

static int note_name(struct listing *listing, const struct casefs_entry *entry) {
  size_t size = entry->name_length + 1;
  void *names = listing->names, *starts = listing->starts;
  bool reserved =
      reserve(&names, &listing->names_capacity, listing->names_size + size, 1) &&
      reserve(&starts, &listing->starts_capacity, listing->count + 1, sizeof *listing->starts);
  listing->names = names;
  listing->starts = starts;
  if (!reserved)
    return -ENOMEM;
  memcpy(listing->names + listing->names_size, entry->name, size);
  listing->starts[listing->count++] = listing->names_size;
  listing->names_size += size;
  return 0;
}

/* Go to just behind the entry of that number. */
static int seek_to(struct listing *listing, uint64_t position) {
  if (position == listing->position)
    return 0;
  if (position < FIRST_ENTRY) {
    listing->cursor = (struct casefs_cursor){0};
    if (listing->count > MOST_NAMES)
      listing->names_size = listing->count = 0;
  } else if (position - FIRST_ENTRY < listing->count) {
    const char *name = listing->names + listing->starts[position - FIRST_ENTRY];
    int r = casefs_seek_entry(listing->node, name, strlen(name), &listing->cursor);
    if (r < 0)
      return r;
  } else {
    /* A number that another opening gave out (a server of file handles does that): count. */
    struct casefs_entry entry;
    listing->cursor = (struct casefs_cursor){0};
    listing->names_size = listing->count = 0;
    while (listing->count + FIRST_ENTRY <= position) {
      int r = casefs_next_entry(listing->node, &listing->cursor, &entry, NULL);
      if (r > 0)
        r = note_name(listing, &entry);
      else if (r == 0)
        break;
      if (r < 0)
        return r;
    }
  }
  listing->position = position;
  return 0;
}

/* --------------------------------------------------------------------- listing */

/* What a request for a part of a directory collects. */
struct part {
  fuse_req_t request;
  struct mount *mount;
  struct casefs_attributes directory;
  bool plus; /* with attributes, which count as looked up */
  char *buffer;
  size_t size, used;
};

/* Add an entry.  Returns false if there is no room. */
static bool add(struct part *part, const char *name, const struct fuse_entry_param *entry,
                uint64_t position) {
  char *place = part->buffer + part->used;
  size_t room = part->size - part->used;
  size_t needed =
      part->plus
          ? fuse_add_direntry_plus(part->request, place, room, name, entry, (off_t)position)
          : fuse_add_direntry(part->request, place, room, name, &entry->attr, (off_t)position);
  if (needed > room)
    return false;
  part->used += needed;
  return true;
}

static bool add_dots(struct part *part, struct listing *listing) {
  static const char *const names[] = {".", ".."};
  while (listing->position < 2) {
    bool up = listing->position == 1 && part->directory.parent != 0;
    struct fuse_entry_param entry = {0};
    entry.attr.st_ino = up ? part->directory.parent : part->directory.id;
    entry.attr.st_mode = S_IFDIR;
    if (!add(part, names[listing->position], &entry, listing->position + 1))
      return false;
    listing->position++;
  }
  return true;
}

static int fill_entry(struct part *part, const struct casefs_entry *entry,
                      const struct casefs_attributes *attributes, struct fuse_entry_param *filled) {
  *filled = (struct fuse_entry_param){
      .ino = entry->id,
      .attr_timeout = FOREVER,
      .entry_timeout = entry_timeout(part->mount, &part->directory, entry->type),
  };
  return stat_of(part->mount, attributes, &filled->attr);
}

/* The number of the entry after the last: what it was the last time, if it was there, or a new one.
 */
static int number_entry(struct listing *listing, const struct casefs_entry *entry,
                        uint64_t *position) {
  size_t next = listing->position < FIRST_ENTRY ? 0 : listing->position - FIRST_ENTRY + 1;
  if (next < listing->count && strcmp(listing->names + listing->starts[next], entry->name) == 0) {
    *position = next + FIRST_ENTRY;
    return 0;
  }
  *position = listing->count + FIRST_ENTRY;
  return note_name(listing, entry);
}

/* The next entry: 1, 0 at the end or without room, or an error. */
static int add_next(struct part *part, struct listing *listing) {
  struct casefs_cursor before = listing->cursor;
  struct casefs_attributes attributes;
  struct casefs_entry entry;
  struct fuse_entry_param filled;
  int r = casefs_next_entry(listing->node, &listing->cursor, &entry, &attributes);
  if (r <= 0)
    return r;
  uint64_t position;
  r = fill_entry(part, &entry, &attributes, &filled);
  if (r == 0)
    r = number_entry(listing, &entry, &position);
  if (r == 0 && part->plus)
    r = inode_remember(&part->mount->inodes, entry.id, NULL);
  if (r == 0 && add(part, entry.name, &filled, position)) {
    listing->position = position;
    return 1;
  }
  if (r == 0 && part->plus)
    inode_forget(&part->mount->inodes, entry.id, 1);
  listing->cursor = before;
  return r;
}

static int collect(struct part *part, struct listing *listing, uint64_t position) {
  int r = casefs_get_attributes(listing->node, &part->directory);
  if (r == 0)
    r = seek_to(listing, position);
  if (r < 0 || !add_dots(part, listing))
    return r;
  do
    r = add_next(part, listing);
  while (r > 0);
  /* What came before an error is told first; the error comes again. */
  return part->used > 0 ? 0 : r;
}

static void list(fuse_req_t request, size_t size, off_t offset, struct fuse_file_info *file,
                 bool plus) {
  struct listing *listing = listing_of(file);
  struct part part = {.request = request,
                      .mount = mount_of(request),
                      .plus = plus,
                      .buffer = thread_buffer(size),
                      .size = size};
  if (!part.buffer) {
    reply_error(request, -ENOMEM);
    return;
  }
  pthread_mutex_lock(&listing->lock);
  int r = collect(&part, listing, (uint64_t)offset);
  if (offset == 0)
    touch_accessed(part.mount, listing->node);
  pthread_mutex_unlock(&listing->lock);
  if (r < 0)
    reply_error(request, r);
  else
    fuse_reply_buf(request, part.buffer, part.used);
}

void handle_readdir(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset,
                    struct fuse_file_info *file) {
  (void)id;
  list(request, size, offset, file, false);
}

void handle_readdirplus(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset,
                        struct fuse_file_info *file) {
  (void)id;
  list(request, size, offset, file, true);
}
