/* SPDX-License-Identifier: BSD-3-Clause */

#include "walk.h"
#include "tool.h"

#include <errno.h>
#include <string.h>

/* An entry with what is known of it. */
struct found {
  struct casefs_entry entry;
  struct casefs_attributes attributes;
};

/* A directory that the walk stands in. */
struct place {
  casefs_node *node;
  bool insensitive;
  bool more;          /* next is filled */
  int error;          /* that ends this directory once next is used up */
  uint64_t mark;      /* of this directory */
  size_t path_length; /* of its path, in walk.path */
  struct casefs_cursor cursor;
  struct found *current, *next; /* swapped, not copied */
};

struct walk {
  struct place **places; /* [0]: where it began */
  size_t depth, room;    /* places in use and allocated */
  uint64_t mark;         /* of the item given last */
  bool begun;            /* the first place has been read */
  bool descend;          /* into the item given last */
  char *path;
  size_t path_room;
  bool (*wanted)(void *context, const struct casefs_entry *entry);
  void *context;
};

char *path_join(const char *path, const char *name) {
  size_t length = strlen(path);
  bool joined = length == 0 || path[length - 1] == '/' || path[length - 1] == '\\';
  return formatted(joined ? "%s%s" : "%s/%s", path, name);
}

/* --------------------------------------------------------------- the path */

static void path_reserve(struct walk *walk, size_t length) {
  if (length < walk->path_room)
    return;
  walk->path_room = 2 * length + 256;
  walk->path = resized(walk->path, walk->path_room);
}

/* Make the path that of a name in a place.  Returns its length. */
static size_t path_set(struct walk *walk, const struct place *place, const char *name,
                       size_t length) {
  size_t start = place->path_length;
  path_reserve(walk, start + 1 + length);
  if (start > 0 && walk->path[start - 1] != '/' && walk->path[start - 1] != '\\')
    walk->path[start++] = '/';
  memcpy(walk->path + start, name, length);
  walk->path[start + length] = '\0';
  return start + length;
}

/* --------------------------------------------------------------- the places */

static void read_ahead(const struct walk *walk, struct place *place) {
  struct found *used = place->current;
  int result;
  place->current = place->next;
  place->next = used;
  do
    result = casefs_next_entry(place->node, &place->cursor, &used->entry, &used->attributes);
  while (result > 0 && walk->wanted && !walk->wanted(walk->context, &used->entry));
  place->more = result > 0;
  place->error = result < 0 ? result : 0;
}

static bool is_insensitive(casefs_node *node) {
  struct casefs_attributes attributes;
  return casefs_get_attributes(node, &attributes) >= 0 && attributes.case_insensitive;
}

static void place_push(struct walk *walk, casefs_node *node, uint64_t mark, size_t path_length) {
  struct place *place = allocate(sizeof *place);
  place->node = node;
  place->mark = mark;
  place->path_length = path_length;
  place->insensitive = is_insensitive(node);
  place->current = allocate(sizeof *place->current);
  place->next = allocate(sizeof *place->next);
  if (walk->depth == walk->room) {
    walk->room = walk->room > 0 ? 2 * walk->room : 16;
    walk->places = resized(walk->places, walk->room * sizeof *walk->places);
  }
  walk->places[walk->depth++] = place;
}

static void place_pop(struct walk *walk) {
  struct place *place = walk->places[--walk->depth];
  if (walk->depth > 0) /* the first node is the caller's */
    casefs_node_close(place->node);
  free(place->current);
  free(place->next);
  free(place);
}

/* ----------------------------------------------------------------- the walk */

struct walk *walk_start(casefs_node *directory, const char *path, uint64_t mark) {
  struct walk *walk = allocate(sizeof *walk);
  path_reserve(walk, strlen(path));
  strcpy(walk->path, path);
  place_push(walk, directory, mark, strlen(path));
  return walk;
}

static struct place *last_place(const struct walk *walk) {
  return walk->places[walk->depth - 1];
}

static void fill_item(struct walk *walk, struct walk_item *item, bool after) {
  struct place *place = last_place(walk);
  const struct casefs_entry *entry = &place->current->entry;
  *item = (struct walk_item){
      .after = after,
      .last = !place->more && place->error == 0,
      .insensitive = place->insensitive,
      .directory = place->node,
      .entry = entry,
      .attributes = &place->current->attributes,
      .path_length = path_set(walk, place, entry->name, entry->name_length),
      .depth = walk->depth - 1,
      .mark = &walk->mark,
      .outer = place->mark,
  };
  item->path = walk->path;
}

/* Go into the directory given last. */
static int descend(struct walk *walk) {
  const struct place *place = last_place(walk);
  const struct casefs_entry *entry = &place->current->entry;
  casefs_node *node;
  size_t length = path_set(walk, place, entry->name, entry->name_length);
  int error = casefs_open_id(casefs_node_volume(place->node), entry->id, &node);
  if (error < 0)
    return error;
  place_push(walk, node, walk->mark, length);
  read_ahead(walk, last_place(walk));
  return 0;
}

/* Leave the last place, whose directory then comes again. */
static void ascend(struct walk *walk, struct walk_item *item) {
  uint64_t mark = last_place(walk)->mark;
  place_pop(walk);
  walk->mark = mark;
  fill_item(walk, item, true);
}

int walk_next(struct walk *walk, struct walk_item *item) {
  bool enter = walk->descend;
  int error = 0;
  walk->descend = false;
  if (enter && (error = descend(walk)) < 0)
    return error;
  struct place *place = last_place(walk);
  if (!walk->begun)
    read_ahead(walk, place);
  walk->begun = true;
  if (place->error < 0) {
    error = place->error;
    place->error = 0;
    walk->path[place->path_length] = '\0';
    return error;
  }
  if (!place->more && walk->depth == 1)
    return 0;
  if (!place->more) {
    ascend(walk, item);
    return 1;
  }
  read_ahead(walk, place);
  walk->mark = 0;
  fill_item(walk, item, false);
  walk->descend = item->entry->type == CASEFS_DIRECTORY;
  return 1;
}

const char *walk_failed_path(const struct walk *walk) {
  return walk->path;
}

void walk_filter(struct walk *walk, bool (*wanted)(void *context, const struct casefs_entry *entry),
                 void *context) {
  walk->wanted = wanted;
  walk->context = context;
}

void walk_skip(struct walk *walk) {
  walk->descend = false;
}

void walk_end(struct walk *walk) {
  while (walk->depth > 0)
    place_pop(walk);
  free(walk->places);
  free(walk->path);
  free(walk);
}

/* ---------------------------------------------------------------- all nodes */

static int call_with_node(const struct walk_item *item,
                          int (*function)(void *context, casefs_node *node, const char *path),
                          void *context) {
  casefs_node *node;
  if (item->after)
    return 0;
  int error = casefs_open_id(casefs_node_volume(item->directory), item->entry->id, &node);
  if (error < 0) {
    complain("cannot open '%s': %s", item->path, reason(error));
    return error;
  }
  error = function(context, node, item->path);
  casefs_node_close(node);
  return error;
}

bool walk_nodes(casefs_node *directory, const char *path,
                bool (*wanted)(void *context, const struct casefs_entry *entry),
                int (*function)(void *context, casefs_node *node, const char *path),
                void *context) {
  struct walk *walk = walk_start(directory, path, 0);
  struct walk_item item;
  bool good = true;
  int result, error = 0;
  walk_filter(walk, wanted, context);
  while (!interrupted() && !is_fatal(error) && (result = walk_next(walk, &item)) != 0) {
    error = result < 0 ? result : call_with_node(&item, function, context);
    if (result < 0)
      complain("cannot read directory '%s': %s", walk_failed_path(walk), reason(result));
    good = good && error >= 0;
  }
  walk_end(walk);
  return good;
}
