/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The walk.  What is to be done is a stack of tasks:
 *
 *   directory   make it, list it, and add a task for each directory in it and for each batch of
 *               other entries, so that these are worked off first, in sorted order
 *   batch       copy some entries of a directory, one after the other
 *   transfer    copy pieces of one large file, together with others (copy-file.c)
 */

#include "copy-engine.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

enum {
  JOBS = 4,
  MOST_JOBS = 64,
  BATCH = 32, /* entries */
};

struct directory_task {
  struct task task;
  struct place *parent;
  const char *name; /* the parent's listing's */
};

struct batch_task {
  struct task task;
  struct place *place;
  size_t first, count;
};

/* ------------------------------------------------------------------ places */

void copy_release_place(struct place *place) {
  struct copy *copy = place->copy;
  if (atomic_fetch_sub(&place->references, 1) > 1)
    return;
  if (place->fresh || copy->options.archive) {
    int error = copy->destination->finish(&place->target, ".", &place->target, &place->source,
                                          place->fresh, true);
    if (error < 0)
      copy_fail_writing(copy, place, "", error);
  }
  copy->destination->close(&place->target);
  copy->source->close(&place->source);
  listing_clear(&place->listing);
  free(place->from);
  free(place->to);
  free(place);
}

void copy_hold_place(struct place *place) {
  atomic_fetch_add(&place->references, 1);
}

/* ------------------------------------------------------------- directories */

static void run_directory(struct task *task, void *scratch);
static void run_batch(struct task *task, void *scratch);

static void add_directory(struct place *parent, const char *name) {
  struct directory_task *task = allocate(sizeof *task);
  task->task.run = run_directory;
  task->parent = parent;
  task->name = name;
  copy_hold_place(parent);
  pool_add(parent->copy->pool, &task->task);
}

static void add_batch(struct place *place, size_t first, size_t count) {
  struct batch_task *task = allocate(sizeof *task);
  task->task.run = run_batch;
  task->place = place;
  task->first = first;
  task->count = count;
  copy_hold_place(place);
  pool_add(place->copy->pool, &task->task);
}

/* The last that is added is the first to be done. */
static void add_entries(struct place *place) {
  const struct listing *listing = &place->listing;
  for (size_t i = listing->count; i-- > 0;)
    if (listing->entries[i].type == CASEFS_DIRECTORY)
      add_directory(place, listing_name(listing, i));
  for (size_t end = listing->count; end > 0;) {
    size_t first = (end - 1) / BATCH * BATCH;
    add_batch(place, first, end - first);
    end = first;
  }
}

static void list_place(struct place *place, void *buffer) {
  struct copy *copy = place->copy;
  int error = copy->source->list(&place->source, buffer, &place->listing);
  if (error < 0)
    copy_fail_reading(copy, place, "", error);
  if (!copy_from_volume(copy))
    listing_sort(&place->listing);
  add_entries(place);
}

/* Make the directory, or open what is there. */
static bool make_place(struct place *parent, const char *name, struct place *place) {
  struct copy *copy = parent->copy;
  const struct destination *destination = copy->destination;
  struct standing standing = {0};
  int error = destination->make(&parent->target, name, &place->source, &place->target);
  place->fresh = place->ours = error == 0;
  if (error == -EEXIST) {
    error = destination->look(&parent->target, name, &standing);
    if (error == 0 && !copy_may_merge(parent, name, &place->source, &standing, &place->ours))
      return false;
    if (error == 0)
      error = destination->open_directory(&parent->target, name, &place->target);
  } else if (error == 0) {
    copy_remember(parent, name);
  }
  if (error < 0)
    copy_fail_writing(copy, parent, name, error);
  return error == 0;
}

static void close_place(struct place *place) {
  place->copy->source->close(&place->source);
  free(place->from);
  free(place->to);
  free(place);
}

static struct place *new_place(struct copy *copy, const struct object *source, char *from,
                               char *to) {
  struct place *place = allocate(sizeof *place);
  *place = (struct place){.copy = copy,
                          .references = 1,
                          .source = *source,
                          .target = NO_HANDLE,
                          .from = from,
                          .to = to};
  return place;
}

/* Give a directory its metadata, and then its entries. */
static void fill_place(struct place *place, const struct metadata *metadata, void *buffer) {
  struct copy *copy = place->copy;
  int error = 0;
  if (place->fresh || copy->options.archive)
    error = copy_write_metadata(copy, &place->target, metadata, place->fresh, buffer);
  if (error < 0)
    copy_fail_writing(copy, place, "", error);
  if (place->fresh)
    atomic_fetch_add(&copy->totals.directories, 1);
  copy_say(copy, place, "");
  list_place(place, buffer);
  copy_release_place(place);
}

/* Copy a directory that is open, and taken over. */
static void copy_directory(struct place *parent, const char *name, struct object *object,
                           void *buffer) {
  struct copy *copy = parent->copy;
  struct metadata metadata = {0};
  int error = copy_read_metadata(copy, object, &metadata);
  if (error < 0)
    copy_fail_reading(copy, parent, name, error);
  struct place *place =
      new_place(copy, object, copy_source_path(parent, name), copy_path_in(parent->to, name));
  if (make_place(parent, name, place))
    fill_place(place, &metadata, buffer);
  else
    close_place(place);
  metadata_clear(&metadata);
}

static void run_directory(struct task *task, void *scratch) {
  struct directory_task *directory = (struct directory_task *)task;
  struct place *parent = directory->parent;
  struct copy *copy = parent->copy;
  struct object object;
  if (!copy_is_stopped(copy)) {
    int error = copy->source->open(&parent->source.handle, directory->name, CASEFS_DIRECTORY,
                                   OPEN_ENTRY, &object);
    if (error < 0)
      copy_fail_reading(copy, parent, directory->name, error);
    else if (object.attributes.type != CASEFS_DIRECTORY) {
      copy_fail_reading(copy, parent, directory->name, -EAGAIN);
      copy->source->close(&object);
    } else
      copy_directory(parent, directory->name, &object, scratch);
  }
  copy_release_place(parent);
  free(task);
}

/* An entry that a directory task does not take care of. */
static void copy_object(struct place *place, const char *name, struct object *object,
                        void *buffer) {
  struct copy *copy = place->copy;
  if (!copy_from_volume(copy) && copy_is_image(copy, object->device, object->attributes.id)) {
    char *path = copy_source_path(place, name);
    copy_report(copy, true, "'%s' was not copied: it is the volume itself", path);
    free(path);
    copy->source->close(object);
  } else if (copy_is_file(object->attributes.type)) {
    copy_file(place, name, object, buffer);
  } else {
    copy_other(place, name, object, buffer);
  }
}

static void copy_entry(struct place *place, const struct listing_entry *entry, void *buffer) {
  struct copy *copy = place->copy;
  struct object object;
  const char *name = place->listing.names + entry->at;
  int error = copy->source->open(&place->source.handle, name, entry->type, OPEN_ENTRY, &object);
  if (error < 0) {
    copy_fail_reading(copy, place, name, error);
  } else if (object.attributes.type == CASEFS_DIRECTORY) { /* the listing did not tell */
    copy->source->close(&object);
    add_directory(place, name);
  } else {
    copy_object(place, name, &object, buffer);
  }
}

static void run_batch(struct task *task, void *scratch) {
  struct batch_task *batch = (struct batch_task *)task;
  struct place *place = batch->place;
  const struct listing_entry *entries = place->listing.entries + batch->first;
  for (size_t i = 0; i < batch->count && !copy_is_stopped(place->copy); i++)
    if (entries[i].type != CASEFS_DIRECTORY)
      copy_entry(place, &entries[i], scratch);
  copy_show_progress(place->copy);
  copy_release_place(place);
  free(task);
}

/* -------------------------------------------------------------- beginnings */

/* Each directory on the way down may need a descriptor. */
static void allow_descriptors(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

struct copy *copy_new(const struct copy_options *options) {
  struct copy *copy = allocate(sizeof *copy);
  copy->options = *options;
  if (copy->options.jobs == 0)
    copy->options.jobs = JOBS;
  if (copy->options.jobs > MOST_JOBS)
    copy->options.jobs = MOST_JOBS;
  copy->pool = pool_new(copy->options.jobs, COPY_BUFFER);
  if (!copy->pool) {
    complain("no memory is left");
    exit(EXIT_FAILURE);
  }
  copy->links = link_table_new();
  copy->made = node_set_new();
  pthread_mutex_init(&copy->output, NULL);
  progress_start(&copy->progress, "copying", true);
  allow_descriptors();
  return copy;
}

static struct handle handle_of(const struct copy_side *side) {
  struct handle handle = NO_HANDLE;
  handle.node = side->directory;
  if (!side->directory)
    handle.descriptor = side->descriptor;
  return handle;
}

/* Whether the volume's directory is the given one, or somewhere below it. */
static bool is_below(casefs_node *directory, const struct object *object) {
  struct casefs_attributes attributes;
  casefs_node *node = casefs_node_hold(directory);
  bool below = false;
  while (node && !below && casefs_get_attributes(node, &attributes) == 0) {
    below = attributes.id == object->attributes.id;
    casefs_node *parent = NULL;
    if (!below && attributes.parent != attributes.id)
      casefs_open_id(casefs_node_volume(node), attributes.parent, &parent);
    casefs_node_close(node);
    node = parent;
  }
  casefs_node_close(node);
  return below;
}

/* The directory itself, without its name: into one that is there. */
static void copy_into(struct copy *copy, struct object *object, const struct copy_side *from,
                      const struct handle *target, void *buffer) {
  struct metadata metadata = {0};
  int error = copy_read_metadata(copy, object, &metadata);
  struct place *place =
      new_place(copy, object, copied(from->path, strlen(from->path)), copied("", 0));
  if (error < 0)
    copy_fail_reading(copy, place, "", error);
  error = copy->destination->open_directory(target, "", &place->target);
  if (error == 0) {
    fill_place(place, &metadata, buffer);
  } else {
    copy_fail_writing(copy, place, "", error);
    close_place(place);
  }
  metadata_clear(&metadata);
}

/* Where the walk begins: the directories of both sides, which are not the copy's own. */
struct beginning {
  struct task task;
  struct copy *copy;
  struct place *place;
  struct object object;
  const struct copy_side *from, *to;
};

static void begin(struct task *task, void *scratch) {
  struct beginning *beginning = (struct beginning *)task;
  struct object *object = &beginning->object;
  struct place *place = beginning->place;
  bool directory = object->attributes.type == CASEFS_DIRECTORY;
  if (directory && *beginning->to->name == '\0')
    copy_into(beginning->copy, object, beginning->from, &place->target, scratch);
  else if (directory)
    copy_directory(place, beginning->to->name, object, scratch);
  else
    copy_object(place, beginning->to->name, object, scratch);
}

/* Whether this object may be copied there at all. */
static bool check_beginning(struct copy *copy, const struct object *object,
                            const struct copy_side *from, const struct copy_side *to) {
  if (object->attributes.type != CASEFS_DIRECTORY && *to->name == '\0') {
    copy_report(copy, true, "'%s' cannot be copied onto the directory '%s'", from->path, to->path);
    return false;
  }
  if (object->attributes.type != CASEFS_DIRECTORY)
    return true;
  if (!copy->options.recursive) {
    copy_report(copy, true, "'%s' is a directory, which is copied only with -r", from->path);
    return false;
  }
  if (from->directory && to->directory &&
      casefs_node_volume(from->directory) == casefs_node_volume(to->directory) &&
      is_below(to->directory, object)) {
    copy_report(copy, true, "'%s' cannot be copied into itself, to '%s'", from->path, to->path);
    return false;
  }
  return true;
}

/* The place of the entry is the caller's directories; it is never finished or closed. */
static void run_from(struct copy *copy, struct object *object, const struct copy_side *from,
                     const struct copy_side *to) {
  struct handle top = handle_of(to);
  struct place place = {.copy = copy,
                        .references = 2,
                        .target = NO_HANDLE,
                        .from = copied("", 0),
                        .only = from->path,
                        .to = copied("", 0)};
  if (!to->directory) {
    int error = copy->destination->open_directory(&top, "", &place.target);
    if (error < 0) {
      copy_report(copy, true, "cannot open the directory of '%s': %s", to->path, strerror(-error));
      copy->source->close(object);
    }
  } else {
    place.target = top;
  }
  struct beginning beginning = {
      .task.run = begin, .copy = copy, .place = &place, .object = *object, .from = from, .to = to};
  copy->top = &place.target;
  if (to->directory || place.target.descriptor >= 0) {
    pool_add(copy->pool, &beginning.task);
    pool_run(copy->pool);
  }
  if (!to->directory)
    copy->destination->close(&place.target);
  free(place.from);
  free(place.to);
}

bool copy_node(struct copy *copy, const struct copy_side *from, const struct copy_side *to) {
  struct handle directory = handle_of(from);
  struct object object;
  copy->source = from->directory ? &volume_source : &local_source;
  copy->destination = to->directory ? &volume_destination : &local_destination;
  enum opening opening = copy->options.recursive ? OPEN_NO_FOLLOW : OPEN_FOLLOW;
  int error = copy->source->open(&directory, from->name, 0, opening, &object);
  if (error < 0)
    copy_report(copy, true, "cannot read '%s': %s", from->path,
                from->directory ? reason(error) : strerror(-error));
  else if (check_beginning(copy, &object, from, to))
    run_from(copy, &object, from, to);
  else
    copy->source->close(&object);
  return !copy_is_stopped(copy);
}

const struct copy_totals *copy_totals(const struct copy *copy) {
  return &copy->totals;
}

/* ----------------------------------------------------------------- endings */

bool copy_end(struct copy *copy) {
  copy_report_lost(copy);
  bool good = atomic_load(&copy->totals.errors) == 0 && !atomic_load(&copy->stopped);
  progress_clear(&copy->progress);
  pool_free(copy->pool);
  link_table_free(copy->links);
  node_set_free(copy->made);
  pthread_mutex_destroy(&copy->output);
  free(copy);
  return good;
}

bool parse_copy_metadata(const char *text, enum copy_metadata *metadata) {
  static const char *const names[] = {[COPY_METADATA_AUTO] = "auto",
                                      [COPY_METADATA_NONE] = "none",
                                      [COPY_METADATA_NTFS_3G] = "ntfs-3g",
                                      [COPY_METADATA_SAMBA] = "samba"};
  for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
    if (strcmp(text, names[i]) == 0) {
      *metadata = (enum copy_metadata)i;
      return true;
    }
  return false;
}
