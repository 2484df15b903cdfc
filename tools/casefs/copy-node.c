/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One node of the destination: made, or found there, with its metadata and its other names.
 */

#include "copy-engine.h"

#include <errno.h>
#include <string.h>

/* ---------------------------------------------------------------- metadata */

static bool wants_metadata(const struct copy *copy, const struct object *object) {
  const struct casefs_attributes *attributes = &object->attributes;
  enum copy_metadata wanted = copy->options.metadata;
  if (!copy_from_volume(copy))
    return wanted != COPY_METADATA_NONE;
  if (!copy_to_volume(copy) && wanted != COPY_METADATA_AUTO)
    return wanted != COPY_METADATA_NONE;
  return attributes->has_security || attributes->reparse_tag || attributes->ea_size ||
         attributes->streams || attributes->dos_attributes;
}

static void add_lost(struct copy *copy, const unsigned lost[METADATA_PARTS]) {
  for (unsigned part = 0; part < METADATA_PARTS; part++)
    if (lost[part])
      atomic_fetch_add(&copy->lost[part], lost[part]);
}

/* Read it, and let the attributes know what of it they can hold. */
int copy_read_metadata(struct copy *copy, struct object *object, struct metadata *metadata) {
  unsigned lost[METADATA_PARTS] = {0};
  if (!wants_metadata(copy, object))
    return 0;
  int error = copy->source->metadata(object, copy->options.metadata, metadata, lost);
  add_lost(copy, lost);
  if (metadata->has_dos_attributes)
    object->attributes.dos_attributes = metadata->dos_attributes;
  if (metadata->has_times && metadata->created)
    object->attributes.created = metadata->created;
  if (metadata->has_times && metadata->changed)
    object->attributes.changed = metadata->changed;
  return error;
}

/* Returns 1 if something was written, or may have been. */
int copy_write_metadata(struct copy *copy, struct handle *handle, const struct metadata *metadata,
                        bool fresh, void *buffer) {
  unsigned lost[METADATA_PARTS] = {0};
  bool replace = !fresh && copy_from_volume(copy) && copy_to_volume(copy);
  if (!replace && metadata_is_empty(metadata))
    return 0;
  int error =
      copy->destination->metadata(handle, metadata, replace, copy->options.metadata, buffer, lost);
  add_lost(copy, lost);
  return error < 0 ? error : 1;
}

/* ---------------------------------------------------------- what is there */

static bool is_same_node(const struct copy *copy, const struct object *object,
                         const struct standing *standing) {
  return copy_from_volume(copy) == copy_to_volume(copy) && object->device == standing->device &&
         object->attributes.id == standing->id;
}

bool copy_is_image(const struct copy *copy, uint64_t device, uint64_t id) {
  for (size_t i = 0; i < copy->options.image_count; i++)
    if (copy->options.images[i].device == device && copy->options.images[i].inode == id)
      return true;
  return false;
}

static bool is_ours(struct place *place, const struct standing *standing) {
  return place->ours || node_set_has(place->copy->made, standing->device, standing->id);
}

static void report_clash(struct place *place, const char *name, const struct standing *standing) {
  struct copy *copy = place->copy;
  char *path = copy_source_path(place, name), *to = copy_path_in(place->to, standing->name);
  if (standing->name[0] && strcmp(standing->name, name) != 0)
    copy_report(
        copy, true,
        "'%s' was not copied: '%s' was copied already, and without case the two names are one",
        path, to);
  else if (place->fresh)
    copy_report(copy, true,
                "'%s' was not copied: another name that was copied already is the same to the "
                "destination",
                path);
  else
    copy_report(copy, true, "'%s' was not copied: it would overwrite what was copied just before",
                path);
  free(path);
  free(to);
}

/* Nodes made in a directory that was there before are remembered. */
void copy_remember(struct place *place, const char *name) {
  struct standing standing = {0};
  struct copy *copy = place->copy;
  if (!place->ours && copy->destination->look(&place->target, name, &standing) == 0)
    node_set_add(copy->made, standing.device, standing.id);
}

/* Whether what stands there may be replaced by this object, which is no directory; if not, that
 * was said. */
static bool may_replace(struct place *place, const char *name, const struct object *object,
                        const struct standing *standing) {
  struct copy *copy = place->copy;
  char *path = copy_source_path(place, name);
  bool good = false;
  if (is_same_node(copy, object, standing))
    copy_report(copy, true, "'%s' would be copied onto itself", path);
  else if (!copy_to_volume(copy) && copy_is_image(copy, standing->device, standing->id))
    copy_report(copy, true, "'%s' was not copied: it would overwrite the volume it is in", path);
  else if (is_ours(place, standing))
    report_clash(place, name, standing);
  else if (copy->options.no_clobber)
    atomic_fetch_add(&copy->totals.skipped, 1);
  else if (standing->type == CASEFS_DIRECTORY)
    copy_report(copy, true, "'%s' was not copied: there is a directory of that name", path);
  else
    good = true;
  free(path);
  return good;
}

bool copy_is_file(enum casefs_type type) {
  return type == CASEFS_FILE || type == CASEFS_STREAM;
}

/* Open the standing file in place of a new one, or make room for a new node.  1: opened; 0: now
 * make it. */
static int take_place(struct place *place, const char *name, const struct object *object,
                      const struct standing *standing, struct handle *target) {
  struct copy *copy = place->copy;
  if (copy_is_file(object->attributes.type) && standing->type == CASEFS_FILE) {
    int error = copy->destination->open_file(&place->target, name, standing, target);
    if (error >= 0)
      return 1;
    if (!copy->options.force || copy_is_final(copy, error))
      return error;
  }
  return copy->destination->remove(&place->target, name);
}

/* Make a node that is no directory.  Returns whether it is there, as *target if it is a file;
 * *fresh: it was not before.  Else that was said. */
static bool make_node(struct place *place, const char *name, const struct object *object,
                      struct handle *target, bool *fresh) {
  struct copy *copy = place->copy;
  struct standing standing = {0};
  *fresh = true;
  int error = copy->destination->make(&place->target, name, object, target);
  if (error == -EEXIST) {
    error = copy->destination->look(&place->target, name, &standing);
    if (error == 0 && !may_replace(place, name, object, &standing))
      return false;
    if (error == 0)
      error = take_place(place, name, object, &standing, target);
    *fresh = error == 0;
    if (error == 0)
      error = copy->destination->make(&place->target, name, object, target);
  }
  if (error < 0)
    copy_fail_writing(copy, place, name, error);
  else
    copy_remember(place, name);
  return error >= 0;
}

/* What stands where a directory shall be made: whether to copy into it. */
bool copy_may_merge(struct place *parent, const char *name, const struct object *object,
                    const struct standing *standing, bool *ours) {
  struct copy *copy = parent->copy;
  char *path = copy_source_path(parent, name);
  bool good = false;
  *ours = is_ours(parent, standing);
  bool respelled = standing->name[0] && strcmp(standing->name, name) != 0;
  if (standing->type != CASEFS_DIRECTORY)
    copy_report(copy, true, "'%s' was not copied: there is a file of that name", path);
  else if (is_same_node(copy, object, standing))
    copy_report(copy, true, "'%s' would be copied onto itself", path);
  else if (*ours && (parent->fresh || respelled))
    report_clash(parent, name, standing);
  else
    good = true;
  free(path);
  return good;
}

/* ------------------------------------------------------------------- links */

/* Whether what stands there is another name of that node already. */
static bool is_linked(const struct copy *copy, const struct standing *standing,
                      const struct made_link *made) {
  struct standing first = {.device = standing->device, .id = made->id};
  if (made->id == 0 && copy->destination->look(copy->top, made->path, &first) < 0)
    return false;
  return first.id == standing->id && first.device == standing->device;
}

/* Give the node that was made another name. */
static void make_link(struct place *place, const char *name, const struct object *object,
                      const struct made_link *made) {
  struct copy *copy = place->copy;
  struct standing standing = {0};
  const struct destination *destination = copy->destination;
  int error = destination->link(copy->top, made->path, made->id, &place->target, name);
  if (error == -EEXIST) {
    error = destination->look(&place->target, name, &standing);
    bool linked = error == 0 && !place->ours && is_linked(copy, &standing, made);
    if (error == 0 && !linked && !may_replace(place, name, object, &standing))
      return;
    if (error == 0 && !linked)
      error = destination->remove(&place->target, name);
    if (error == 0 && !linked)
      error = destination->link(copy->top, made->path, made->id, &place->target, name);
  }
  if (error < 0) {
    copy_fail_writing(copy, place, name, error);
    return;
  }
  atomic_fetch_add(&copy->totals.links, 1);
  copy_say(copy, place, name);
}

static bool has_other_names(const struct object *object) {
  return object->attributes.links > 1 && object->attributes.type != CASEFS_DIRECTORY;
}

/* make_node, or where the node was made by another name, a link; false then too. */
bool copy_make_node(struct place *place, const char *name, const struct object *object,
                    struct handle *target, bool *fresh) {
  struct copy *copy = place->copy;
  struct made_link made;
  if (!has_other_names(object))
    return make_node(place, name, object, target, fresh);
  if (link_table_find(copy->links, object->device, object->attributes.id, &made)) {
    make_link(place, name, object, &made);
    return false;
  }
  bool good = make_node(place, name, object, target, fresh);
  char *path = good ? copy_path_in(place->to, name) : NULL;
  uint64_t id = target->node ? casefs_node_id(target->node) : 0;
  link_table_made(copy->links, object->device, object->attributes.id, id, path);
  free(path);
  return good;
}
