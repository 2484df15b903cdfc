/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The operations: each first finds what speaks against it, then, unless this is
 * a rehearsal, does it.
 */

#include "model.h"

#include "windows.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

static bool is_directory(const struct model_node *node) {
  return node->attributes.type == CASEFS_DIRECTORY;
}

/* ------------------------------------------------------------ lives of nodes */

void model_hold(struct model_node *node) {
  node->holders++;
  if (node->attributes.type == CASEFS_STREAM && node->owner)
    node->owner->holders++;
}

static void forget_touched(struct model *model, const struct model_node *node) {
  for (size_t i = 0; i < model->touched_count; i++)
    if (model->touched[i] == node)
      model->touched[i] = model->touched[--model->touched_count];
}

static void forget_all(struct model *model, const struct model_node *node) {
  forget_touched(model, node);
  for (size_t i = 0; i < node->streams.count; i++)
    forget_touched(model, node->streams.items[i].node);
}

/* Streams that are open outlive their node, in name only. */
static void free_unless_used(struct model *model, struct model_node *node) {
  bool stream = node->attributes.type == CASEFS_STREAM;
  if (node->holders || (stream ? node->owner != NULL : node->attributes.links > 0))
    return;
  if (is_directory(node) && node->owner)
    return;
  forget_all(model, node);
  model_node_destroy(node);
}

void model_close(struct model *model, struct model_node *node) {
  struct model_node *owner = node->attributes.type == CASEFS_STREAM ? node->owner : NULL;
  node->holders--;
  if (owner) {
    owner->holders--;
    free_unless_used(model, owner);
  } else {
    free_unless_used(model, node);
  }
}

/* A name less. */
static void drop_name(struct model *model, struct model_node *node) {
  if (is_directory(node))
    node->owner = NULL;
  if (--node->attributes.links == 0)
    model->nodes--;
  model_touch(model, node);
  free_unless_used(model, node);
}

/* ------------------------------------------------------------------- entries */

static int check_entry(const struct model_node *directory, const char *name, size_t length) {
  if (!is_directory(directory))
    return -ENOTDIR;
  return model_check_name(MODEL_ENTRY_NAME, name, length);
}

/* Whether it is a directory that no path leads to any more. */
static bool is_removed(const struct model *model, const struct model_node *directory) {
  return directory != model->root && !directory->owner;
}

static void add_entry(struct model *model, struct model_node *directory, const char *name,
                      size_t length, struct model_node *node) {
  model_insert(&directory->entries, MODEL_ENTRY_NAME, name, length)->node = node;
  directory->attributes.size++;
  if (is_directory(node)) {
    node->owner = directory;
    node->attributes.parent = directory->attributes.id;
  }
  model_touch(model, directory);
  model_touch(model, node);
}

/* The entry only: the node keeps its count of names. */
static struct model_node *take_entry(struct model *model, struct model_node *directory,
                                     struct model_item *item) {
  struct model_node *node = item->node;
  model_erase(&directory->entries, item);
  directory->attributes.size--;
  model_touch(model, directory);
  return node;
}

static int check_creation(const struct casefs_creation *creation) {
  if (creation->type < CASEFS_FILE || creation->type > CASEFS_BLOCK_DEVICE)
    return -EINVAL;
  if (creation->type == CASEFS_SYMLINK && creation->target_length == 0)
    return -EINVAL;
  if (creation->type == CASEFS_SYMLINK && creation->target_length > CASEFS_MAX_SYMLINK)
    return -ENAMETOOLONG;
  if (creation->security_length > CASEFS_MAX_SECURITY)
    return -ENAMETOOLONG;
  if (creation->security_length &&
      casefs_security_check(creation->security, creation->security_length) != 0)
    return -EINVAL;
  return 0;
}

static bool is_device(enum casefs_type type) {
  return type == CASEFS_CHARACTER_DEVICE || type == CASEFS_BLOCK_DEVICE;
}

static bool case_of_new(const struct model_node *directory,
                        const struct casefs_creation *creation) {
  if (creation->type != CASEFS_DIRECTORY)
    return false;
  return creation->insensitive || (directory->attributes.case_insensitive && !creation->sensitive);
}

int model_make(struct model *model, struct model_node *directory, const char *name, size_t length,
               const struct casefs_creation *creation, struct model_node **node) {
  int error = check_entry(directory, name, length);
  if (error == 0)
    error = check_creation(creation);
  if (error)
    return error;
  if (is_removed(model, directory))
    return -ENOENT;
  if (model_lookup(directory, name, length))
    return -EEXIST;
  if (model->rehearsal)
    return 0;
  bool link = creation->type == CASEFS_SYMLINK;
  *node = model_node_create(&(struct casefs_attributes){
      .type = creation->type,
      .mode = creation->mode,
      .uid = creation->uid,
      .gid = creation->gid,
      .rdev = is_device(creation->type) ? creation->rdev : 0,
      .links = 1,
      .dos_attributes = creation->dos_attributes,
      .size = link ? creation->target_length : 0,
      .created = creation->created,
      .modified = creation->modified,
      .accessed = creation->accessed,
      .changed = creation->changed,
      .case_insensitive = case_of_new(directory, creation),
      .has_security = creation->security_length > 0,
  });
  model_set_blob(&(*node)->security, creation->security, creation->security_length);
  if (link)
    model_set_blob(&(*node)->target, creation->target, creation->target_length);
  (*node)->added = true;
  model->nodes++;
  add_entry(model, directory, name, length, *node);
  return 0;
}

int model_link(struct model *model, struct model_node *node, struct model_node *directory,
               const char *name, size_t length) {
  int error = check_entry(directory, name, length);
  if (error)
    return error;
  if (is_directory(node) || node->attributes.type == CASEFS_STREAM)
    return -EPERM;
  if (is_removed(model, directory) || node->attributes.links == 0)
    return -ENOENT;
  if (model_lookup(directory, name, length))
    return -EEXIST;
  if (model->rehearsal)
    return 0;
  node->attributes.links++;
  add_entry(model, directory, name, length, node);
  return 0;
}

static int remove_entry(struct model *model, struct model_node *directory, const char *name,
                        size_t length, bool as_directory) {
  int error = check_entry(directory, name, length);
  struct model_item *item = error ? NULL : model_lookup(directory, name, length);
  if (error)
    return error;
  if (!item)
    return -ENOENT;
  if (is_directory(item->node) != as_directory)
    return as_directory ? -ENOTDIR : -EISDIR;
  if (item->node->entries.count > 0)
    return -ENOTEMPTY;
  if (!model->rehearsal)
    drop_name(model, take_entry(model, directory, item));
  return 0;
}

int model_unlink(struct model *model, struct model_node *directory, const char *name,
                 size_t length) {
  return remove_entry(model, directory, name, length, false);
}

int model_rmdir(struct model *model, struct model_node *directory, const char *name,
                size_t length) {
  return remove_entry(model, directory, name, length, true);
}

/* ----------------------------------------------------------------- renaming */

static bool is_inside(const struct model_node *node, const struct model_node *directory) {
  for (; node; node = node->owner)
    if (node == directory)
      return true;
  return false;
}

static void set_node(struct model *model, struct model_node *directory, struct model_item *item,
                     struct model_node *node) {
  item->node = node;
  if (is_directory(node)) {
    node->owner = directory;
    node->attributes.parent = directory->attributes.id;
  }
  model_touch(model, directory);
  model_touch(model, node);
}

static int exchange(struct model *model, struct model_node *from, struct model_item *source,
                    struct model_node *to, struct model_item *target) {
  struct model_node *one = source->node;
  if (one == target->node)
    return 0;
  if (is_inside(to, one) || is_inside(from, target->node))
    return -EINVAL;
  if (model->rehearsal)
    return 0;
  set_node(model, from, source, target->node);
  set_node(model, to, target, one);
  return 0;
}

static int check_replacement(const struct model_node *source, const struct model_node *target) {
  if (is_directory(source) && !is_directory(target))
    return -ENOTDIR;
  if (!is_directory(source) && is_directory(target))
    return -EISDIR;
  return target->entries.count ? -ENOTEMPTY : 0;
}

/* The same entry under another spelling, or its own. */
static int respell(struct model *model, struct model_node *directory, struct model_item *item,
                   const char *name, size_t length) {
  if (item->name.length == length && memcmp(item->name.bytes, name, length) == 0)
    return 0;
  if (!model->rehearsal)
    add_entry(model, directory, name, length, take_entry(model, directory, item));
  return 0;
}

static void move_entry(struct model *model, struct model_node *from, const char *old_name,
                       size_t old_length, struct model_node *to, const char *new_name,
                       size_t new_length) {
  struct model_item *target = model_lookup(to, new_name, new_length);
  if (target)
    drop_name(model, take_entry(model, to, target));
  struct model_node *node = take_entry(model, from, model_lookup(from, old_name, old_length));
  add_entry(model, to, new_name, new_length, node);
}

int model_rename(struct model *model, struct model_node *from, const char *old_name,
                 size_t old_length, struct model_node *to, const char *new_name, size_t new_length,
                 unsigned flags) {
  const unsigned both = CASEFS_RENAME_NOREPLACE | CASEFS_RENAME_EXCHANGE;
  if ((flags & ~both) || flags == both)
    return -EINVAL;
  int error = check_entry(from, old_name, old_length);
  if (error == 0)
    error = check_entry(to, new_name, new_length);
  if (error)
    return error;
  struct model_item *source = model_lookup(from, old_name, old_length);
  struct model_item *target = model_lookup(to, new_name, new_length);
  if (!source || is_removed(model, to))
    return -ENOENT;
  if (flags & CASEFS_RENAME_EXCHANGE)
    return target ? exchange(model, from, source, to, target) : -ENOENT;
  if (source == target)
    return respell(model, from, source, new_name, new_length);
  if (target && (flags & CASEFS_RENAME_NOREPLACE))
    return -EEXIST;
  if (target && target->node == source->node)
    return 0;
  if (is_inside(to, source->node))
    return -EINVAL;
  if (target && (error = check_replacement(source->node, target->node)) != 0)
    return error;
  if (!model->rehearsal)
    move_entry(model, from, old_name, old_length, to, new_name, new_length);
  return 0;
}

/* ---------------------------------------------------------------- attributes */

int model_set_attributes(struct model *model, struct model_node *node, unsigned mask,
                         const struct casefs_attributes *attributes) {
  struct casefs_attributes *own = &node->attributes;
  if ((mask & CASEFS_DOS_ATTRIBUTES) && (attributes->dos_attributes & ~CASEFS_DOS_SETTABLE))
    return -EINVAL;
  if ((mask & CASEFS_MODE) && (attributes->mode & ~07777u))
    return -EINVAL;
  if (model->rehearsal)
    return 0;
  if (mask & CASEFS_MODE)
    own->mode = attributes->mode;
  if (mask & CASEFS_UID)
    own->uid = attributes->uid;
  if (mask & CASEFS_GID)
    own->gid = attributes->gid;
  if (mask & CASEFS_DOS_ATTRIBUTES)
    own->dos_attributes = attributes->dos_attributes;
  if (mask & CASEFS_CREATED)
    own->created = attributes->created;
  if (mask & CASEFS_MODIFIED)
    own->modified = attributes->modified;
  if (mask & CASEFS_ACCESSED)
    own->accessed = attributes->accessed;
  if (mask & CASEFS_RDEV)
    own->rdev = attributes->rdev;
  if (mask & CASEFS_CHANGED)
    own->changed = attributes->changed;
  else
    model_touch(model, node);
  return 0;
}

int model_set_label(struct model *model, const char *label) {
  int units = model_count_units(label, strlen(label));
  if (units < 0)
    return units;
  if (units > (int)CASEFS_MAX_LABEL_UNITS)
    return -ENAMETOOLONG;
  if (!model->rehearsal)
    strcpy(model->label, label);
  return 0;
}

int model_set_case(struct model *model, struct model_node *directory, bool insensitive) {
  const struct model_dictionary *entries = &directory->entries;
  if (!is_directory(directory))
    return -ENOTDIR;
  for (size_t i = 1; insensitive && i < entries->count; i++)
    if (model_same_blob(&entries->items[i].fold, &entries->items[i - 1].fold))
      return -EEXIST;
  if (model->rehearsal || directory->attributes.case_insensitive == insensitive)
    return 0;
  directory->attributes.case_insensitive = insensitive;
  model_touch(model, directory);
  return 0;
}

/* ---------------------------------------------------------------------- data */

static int check_data(const struct model_node *node) {
  if (is_directory(node))
    return -EISDIR;
  bool data = node->attributes.type == CASEFS_FILE || node->attributes.type == CASEFS_STREAM;
  return data ? 0 : -EINVAL;
}

static int check_range(const struct model_node *node, uint64_t offset, uint64_t count) {
  int error = check_data(node);
  if (error == 0 && (offset > CASEFS_MAX_SIZE || count > CASEFS_MAX_SIZE - offset))
    error = -EFBIG;
  return error;
}

/* Put bytes, or zeros, into one page. */
static void write_part(struct model_content *content, const unsigned char *bytes, size_t count,
                       uint64_t offset) {
  unsigned char buffer[IMAGE_PAGE] = {0};
  struct image_page *old = model_page(content, offset / IMAGE_PAGE);
  if (!old && !bytes)
    return;
  if (old)
    memcpy(buffer, image_page_bytes(old), IMAGE_PAGE);
  if (bytes)
    memcpy(buffer + offset % IMAGE_PAGE, bytes, count);
  else
    memset(buffer + offset % IMAGE_PAGE, 0, count);
  model_put_page(content, offset / IMAGE_PAGE, image_page_create(buffer));
}

static void zero_range(struct model_content *content, uint64_t offset, uint64_t end) {
  uint64_t first = (offset + IMAGE_PAGE - 1) / IMAGE_PAGE, last = end / IMAGE_PAGE;
  if (first > last) {
    write_part(content, NULL, (size_t)(end - offset), offset);
    return;
  }
  if (offset % IMAGE_PAGE)
    write_part(content, NULL, (size_t)(first * IMAGE_PAGE - offset), offset);
  model_clear_pages(content, first, last);
  if (end % IMAGE_PAGE)
    write_part(content, NULL, (size_t)(end % IMAGE_PAGE), last * IMAGE_PAGE);
}

int64_t model_read(struct model_node *node, void *buffer, size_t count, uint64_t offset) {
  int error = check_data(node);
  if (error)
    return error;
  uint64_t size = node->attributes.size;
  if (offset >= size)
    return 0;
  if (count > size - offset)
    count = (size_t)(size - offset);
  for (size_t i = 0, part; i < count; i += part) {
    uint64_t at = offset + i;
    const struct image_page *page = model_page(&node->content, at / IMAGE_PAGE);
    part = IMAGE_PAGE - at % IMAGE_PAGE;
    if (part > count - i)
      part = count - i;
    if (page)
      memcpy((unsigned char *)buffer + i, image_page_bytes(page) + at % IMAGE_PAGE, part);
    else
      memset((unsigned char *)buffer + i, 0, part);
  }
  return (int64_t)count;
}

int64_t model_write(struct model *model, struct model_node *node, const void *buffer, size_t count,
                    uint64_t offset) {
  const unsigned char *bytes = buffer;
  int error = check_range(node, offset, count);
  if (error)
    return error;
  if (model->rehearsal || count == 0)
    return (int64_t)count;
  for (size_t i = 0, part; i < count; i += part) {
    part = IMAGE_PAGE - (offset + i) % IMAGE_PAGE;
    if (part > count - i)
      part = count - i;
    write_part(&node->content, bytes + i, part, offset + i);
  }
  if (offset + count > node->attributes.size)
    node->attributes.size = offset + count;
  model_touch(model, node);
  return (int64_t)count;
}

int model_truncate(struct model *model, struct model_node *node, uint64_t size) {
  int error = check_range(node, size, 0);
  if (error || model->rehearsal)
    return error;
  if (size < node->attributes.size) {
    if (size % IMAGE_PAGE)
      write_part(&node->content, NULL, (size_t)(IMAGE_PAGE - size % IMAGE_PAGE), size);
    model_clear_pages(&node->content, (size + IMAGE_PAGE - 1) / IMAGE_PAGE, UINT64_MAX);
  }
  node->attributes.size = size;
  model_touch(model, node);
  return 0;
}

int model_punch(struct model *model, struct model_node *node, uint64_t offset, uint64_t count) {
  int error = check_range(node, offset, count);
  if (error || model->rehearsal)
    return error;
  uint64_t size = node->attributes.size;
  uint64_t end = offset + count < size ? offset + count : size;
  if (offset < end)
    zero_range(&node->content, offset, end);
  model_touch(model, node);
  return 0;
}

int model_allocate(struct model *model, struct model_node *node, uint64_t offset, uint64_t count,
                   bool keep_size) {
  int error = check_range(node, offset, count);
  if (error || model->rehearsal)
    return error;
  if (!keep_size && offset + count > node->attributes.size)
    node->attributes.size = offset + count;
  model_touch(model, node);
  return 0;
}

/* ------------------------------------------------------------------- streams */

static int check_stream(const struct model_node *node, const char *name, size_t length) {
  if (node->attributes.type != CASEFS_FILE && !is_directory(node))
    return -EINVAL;
  return model_check_name(MODEL_STREAM_NAME, name, length);
}

static struct model_item *find_stream(struct model_node *node, const char *name, size_t length) {
  return model_get(&node->streams, MODEL_STREAM_NAME, true, name, length);
}

int model_open_stream(struct model *model, struct model_node *node, const char *name, size_t length,
                      int flags, struct model_node **stream) {
  int error = check_stream(node, name, length);
  if (error)
    return error;
  struct model_item *item = find_stream(node, name, length);
  if (item && (flags & O_CREAT) && (flags & O_EXCL))
    return -EEXIST;
  if (!item && !(flags & O_CREAT))
    return -ENOENT;
  if (item)
    *stream = item->node;
  if (item || model->rehearsal)
    return 0;
  *stream = model_node_create(&(struct casefs_attributes){
      .type = CASEFS_STREAM, .links = 1, .parent = node->attributes.id});
  (*stream)->owner = node;
  (*stream)->added = true;
  model_insert(&node->streams, MODEL_STREAM_NAME, name, length)->node = *stream;
  node->attributes.streams++;
  model_touch(model, *stream);
  model_touch(model, node);
  return 0;
}

int model_remove_stream(struct model *model, struct model_node *node, const char *name,
                        size_t length) {
  int error = check_stream(node, name, length);
  struct model_item *item = error ? NULL : find_stream(node, name, length);
  if (error || !item)
    return error ? error : -ENOENT;
  if (model->rehearsal)
    return 0;
  struct model_node *stream = item->node;
  model_erase(&node->streams, item);
  node->attributes.streams--;
  node->holders -= stream->holders;
  stream->owner = NULL;
  stream->attributes.links = 0;
  model_touch(model, node);
  free_unless_used(model, stream);
  return 0;
}

int model_rename_stream(struct model *model, struct model_node *node, const char *old_name,
                        size_t old_length, const char *new_name, size_t new_length) {
  int error = check_stream(node, old_name, old_length);
  if (error == 0)
    error = check_stream(node, new_name, new_length);
  if (error)
    return error;
  struct model_item *source = find_stream(node, old_name, old_length);
  struct model_item *target = find_stream(node, new_name, new_length);
  if (!source)
    return -ENOENT;
  if (target && target != source)
    return -EEXIST;
  if (model->rehearsal)
    return 0;
  struct model_node *stream = source->node;
  model_erase(&node->streams, source);
  model_insert(&node->streams, MODEL_STREAM_NAME, new_name, new_length)->node = stream;
  model_touch(model, node);
  model_touch(model, stream);
  return 0;
}

/* ------------------------------------------------------------ other metadata */

int model_set_ea(struct model *model, struct model_node *node, const char *name, size_t length,
                 const void *value, size_t size, uint8_t flags) {
  int error = model_check_name(MODEL_EA_NAME, name, length);
  if (error == 0 && (flags & ~0x80))
    error = -EINVAL;
  if (error == 0 && size > CASEFS_MAX_EA_VALUE)
    error = -ENAMETOOLONG;
  if (error == 0 && node->attributes.type == CASEFS_STREAM)
    error = -EINVAL;
  if (error)
    return error;
  struct model_item *item = model_get(&node->eas, MODEL_EA_NAME, true, name, length);
  size_t freed = item ? 5 + item->name.length + item->value.length : 0;
  size_t packed = node->attributes.ea_size - freed + (size ? 5 + length + size : 0);
  if (size && packed > CASEFS_MAX_EA_PACKED)
    return -EFBIG;
  if (model->rehearsal || (!item && !size))
    return 0;
  if (item)
    model_erase(&node->eas, item);
  if (size) {
    item = model_insert(&node->eas, MODEL_EA_NAME, name, length);
    model_set_blob(&item->value, value, size);
    item->flags = flags;
  }
  node->attributes.ea_size = (uint32_t)packed;
  model_touch(model, node);
  return 0;
}

int model_set_security(struct model *model, struct model_node *node, const void *descriptor,
                       size_t length) {
  if (length > CASEFS_MAX_SECURITY)
    return -ENAMETOOLONG;
  if (length && casefs_security_check(descriptor, length) != 0)
    return -EINVAL;
  if (node->attributes.type == CASEFS_STREAM)
    return -EINVAL;
  if (model->rehearsal)
    return 0;
  model_set_blob(&node->security, descriptor, length);
  node->attributes.has_security = length > 0;
  model_touch(model, node);
  return 0;
}

static uint32_t tag_of(const struct model_blob *reparse) {
  uint32_t tag = 0;
  for (size_t i = 0; i < 4 && reparse->length; i++)
    tag |= (uint32_t)reparse->bytes[i] << 8 * i;
  return tag;
}

static bool same_tag(const struct model_blob *reparse, uint32_t tag, const uint8_t *guid) {
  bool microsoft = tag >> 31;
  return tag_of(reparse) == tag && (microsoft || memcmp(reparse->bytes + 8, guid, 16) == 0);
}

int model_set_reparse(struct model *model, struct model_node *node, const void *data,
                      size_t length) {
  struct model_blob given = {(unsigned char *)(uintptr_t)data, length};
  if (node->attributes.type == CASEFS_STREAM || node->attributes.type == CASEFS_SYMLINK)
    return -EINVAL;
  int error = reparse_check(data, length, is_directory(node));
  if (error)
    return error;
  if (node->entries.count)
    return -ENOTEMPTY;
  if (node->reparse.length && !same_tag(&node->reparse, tag_of(&given), given.bytes + 8))
    return -EEXIST;
  if (model->rehearsal)
    return 0;
  model_set_blob(&node->reparse, data, length);
  node->attributes.reparse_tag = tag_of(&given);
  model_touch(model, node);
  return 0;
}

int model_remove_reparse(struct model *model, struct model_node *node, uint32_t tag,
                         const uint8_t guid[16]) {
  if (!node->reparse.length)
    return -ENODATA;
  if (!same_tag(&node->reparse, tag, guid))
    return -EINVAL;
  if (model->rehearsal)
    return 0;
  model_set_blob(&node->reparse, NULL, 0);
  node->attributes.reparse_tag = 0;
  model_touch(model, node);
  return 0;
}
