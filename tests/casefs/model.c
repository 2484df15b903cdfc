/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Nodes, names and contents.  The operations are in model-operations.c.
 */

#include "model.h"

#include "names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *model_take(size_t count, size_t size) {
  void *memory = calloc(count ? count : 1, size);
  if (!memory) {
    fputs("model: no memory\n", stderr);
    abort();
  }
  return memory;
}

void model_set_blob(struct model_blob *blob, const void *bytes, size_t length) {
  free(blob->bytes);
  *blob = (struct model_blob){NULL, length};
  if (length == 0)
    return;
  blob->bytes = model_take(length, 1);
  memcpy(blob->bytes, bytes, length);
}

bool model_same_blob(const struct model_blob *one, const struct model_blob *other) {
  return one->length == other->length &&
         (one->length == 0 || memcmp(one->bytes, other->bytes, one->length) == 0);
}

static int compare_blobs(const struct model_blob *one, const struct model_blob *other) {
  size_t shorter = one->length < other->length ? one->length : other->length;
  int order = shorter ? memcmp(one->bytes, other->bytes, shorter) : 0;
  return order ? order : (one->length > other->length) - (one->length < other->length);
}

/* --------------------------------------------------------------------- names */

/* One code point or surrogate of WTF-8; 0: malformed. */
static size_t decode(const unsigned char *bytes, size_t length, uint32_t *value) {
  static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  unsigned char lead = bytes[0];
  size_t size = lead < 0x80 ? 1 : lead < 0xc0 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (size == 0 || lead > 0xf4 || size > length)
    return 0;
  *value = size == 1 ? lead : lead & (0x7fu >> size);
  for (size_t i = 1; i < size; i++) {
    if (bytes[i] >> 6 != 2)
      return 0;
    *value = *value << 6 | (bytes[i] & 0x3f);
  }
  return *value < smallest[size] || *value > 0x10ffff ? 0 : size;
}

static size_t encode(uint32_t value, char *bytes) {
  if (value < 0x80) {
    bytes[0] = (char)value;
    return 1;
  }
  if (value < 0x800) {
    bytes[0] = (char)(0xc0 | value >> 6);
    bytes[1] = (char)(0x80 | (value & 0x3f));
    return 2;
  }
  if (value < 0x10000) {
    bytes[0] = (char)(0xe0 | value >> 12);
    bytes[1] = (char)(0x80 | (value >> 6 & 0x3f));
    bytes[2] = (char)(0x80 | (value & 0x3f));
    return 3;
  }
  bytes[0] = (char)(0xf0 | value >> 18);
  bytes[1] = (char)(0x80 | (value >> 12 & 0x3f));
  bytes[2] = (char)(0x80 | (value >> 6 & 0x3f));
  bytes[3] = (char)(0x80 | (value & 0x3f));
  return 4;
}

int model_count_units(const char *name, size_t length) {
  uint32_t value = 0, before;
  int units = 0;
  for (size_t i = 0, size; i < length; i += size) {
    before = value;
    size = decode((const unsigned char *)name + i, length - i, &value);
    if (size == 0 || (before >> 10 == 0xd800 >> 10 && value >> 10 == 0xdc00 >> 10))
      return -EILSEQ;
    units += value >= 0x10000 ? 2 : 1;
  }
  return units;
}

static int check_ea_name(const char *name, size_t length) {
  if (length == 0)
    return -EINVAL;
  if (length > CASEFS_MAX_EA_NAME)
    return -ENAMETOOLONG;
  for (size_t i = 0; i < length; i++)
    if ((unsigned char)name[i] < 0x20 || strchr("\\/:*?\"<>|,+=[];", name[i]))
      return -EINVAL;
  return 0;
}

int model_check_name(enum model_naming naming, const char *name, size_t length) {
  if (naming == MODEL_EA_NAME)
    return check_ea_name(name, length);
  if (length == 0 || (length == 1 && name[0] == '.') || (length == 2 && memcmp(name, "..", 2) == 0))
    return -EINVAL;
  if (length > CASEFS_MAX_NAME)
    return -ENAMETOOLONG;
  if (memchr(name, '/', length) || memchr(name, 0, length))
    return -EINVAL;
  int units = model_count_units(name, length);
  if (units < 0)
    return units;
  if (units > (int)CASEFS_MAX_NAME_UNITS)
    return -ENAMETOOLONG;
  if (naming == MODEL_STREAM_NAME && (memchr(name, ':', length) || memchr(name, '\\', length)))
    return -EINVAL;
  return 0;
}

size_t model_fold(enum model_naming naming, const char *name, size_t length,
                  char folded[CASEFS_MAX_NAME + 1]) {
  size_t written = 0;
  for (size_t i = 0, size; i < length; i += size) {
    uint32_t value = (unsigned char)name[i];
    size =
        naming == MODEL_EA_NAME ? 1 : decode((const unsigned char *)name + i, length - i, &value);
    if (size == 0)
      break;
    if (naming == MODEL_EA_NAME)
      folded[written++] = (char)(value >= 'a' && value <= 'z' ? value - 32 : value);
    else
      written += encode(value < 0x10000 ? fold_unit((uint16_t)value) : value, folded + written);
  }
  return written;
}

/* -------------------------------------------------------------- dictionaries */

static void free_item(struct model_item *item) {
  free(item->name.bytes);
  free(item->fold.bytes);
  free(item->value.bytes);
}

int model_item_compare(const struct model_item *one, const struct model_item *other) {
  int order = compare_blobs(&one->fold, &other->fold);
  return order ? order : compare_blobs(&one->name, &other->name);
}

/* The first item that is not before the key. */
static size_t position(const struct model_dictionary *dictionary, const struct model_item *key) {
  size_t low = 0, high = dictionary->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (model_item_compare(&dictionary->items[middle], key) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

struct model_item *model_get(struct model_dictionary *dictionary, enum model_naming naming,
                             bool insensitive, const char *name, size_t length) {
  char folded[CASEFS_MAX_NAME + 1];
  size_t fold_length = model_fold(naming, name, length, folded);
  struct model_item key = {.fold = {(unsigned char *)folded, fold_length}};
  if (!insensitive)
    key.name = (struct model_blob){(unsigned char *)(uintptr_t)name, length};
  size_t at = position(dictionary, &key);
  if (at == dictionary->count)
    return NULL;
  struct model_item *item = &dictionary->items[at];
  const struct model_blob *wanted = insensitive ? &key.fold : &key.name;
  return model_same_blob(insensitive ? &item->fold : &item->name, wanted) ? item : NULL;
}

struct model_item *model_insert(struct model_dictionary *dictionary, enum model_naming naming,
                                const char *name, size_t length) {
  char folded[CASEFS_MAX_NAME + 1];
  struct model_item item = {0};
  model_set_blob(&item.name, name, length);
  model_set_blob(&item.fold, folded, model_fold(naming, name, length, folded));
  if (dictionary->count == dictionary->room) {
    dictionary->room = dictionary->room ? 2 * dictionary->room : 4;
    dictionary->items = realloc(dictionary->items, dictionary->room * sizeof *dictionary->items);
    if (!dictionary->items)
      abort();
  }
  size_t at = position(dictionary, &item);
  struct model_item *place = &dictionary->items[at];
  memmove(place + 1, place, (dictionary->count - at) * sizeof *place);
  dictionary->count++;
  *place = item;
  return place;
}

void model_erase(struct model_dictionary *dictionary, struct model_item *item) {
  size_t at = (size_t)(item - dictionary->items);
  free_item(item);
  dictionary->count--;
  memmove(item, item + 1, (dictionary->count - at) * sizeof *item);
}

static void clear_dictionary(struct model_dictionary *dictionary) {
  for (size_t i = 0; i < dictionary->count; i++)
    free_item(&dictionary->items[i]);
  free(dictionary->items);
  *dictionary = (struct model_dictionary){0};
}

/* ------------------------------------------------------------------ contents */

static size_t page_position(const struct model_content *content, uint64_t number) {
  size_t low = 0, high = content->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (content->pages[middle].number < number)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

struct image_page *model_page(const struct model_content *content, uint64_t number) {
  size_t at = page_position(content, number);
  return at < content->count && content->pages[at].number == number ? content->pages[at].page
                                                                    : NULL;
}

/* Takes the reference over. */
void model_put_page(struct model_content *content, uint64_t number, struct image_page *page) {
  if (image_page_is_zero(page)) {
    image_page_release(page);
    model_clear_pages(content, number, number + 1);
    return;
  }
  size_t at = page_position(content, number);
  if (at < content->count && content->pages[at].number == number) {
    image_page_release(content->pages[at].page);
    content->pages[at].page = page;
    return;
  }
  if (content->count == content->room) {
    content->room = content->room ? 2 * content->room : 4;
    content->pages = realloc(content->pages, content->room * sizeof *content->pages);
    if (!content->pages)
      abort();
  }
  memmove(content->pages + at + 1, content->pages + at,
          (content->count - at) * sizeof *content->pages);
  content->pages[at] = (struct model_page){number, page};
  content->count++;
}

void model_clear_pages(struct model_content *content, uint64_t first, uint64_t end) {
  size_t from = page_position(content, first), to = page_position(content, end);
  for (size_t i = from; i < to; i++)
    image_page_release(content->pages[i].page);
  if (to > from)
    memmove(content->pages + from, content->pages + to,
            (content->count - to) * sizeof *content->pages);
  content->count -= to - from;
}

/* --------------------------------------------------------------------- nodes */

struct model_node *model_node_create(const struct casefs_attributes *attributes) {
  struct model_node *node = model_take(1, sizeof *node);
  node->attributes = *attributes;
  return node;
}

void model_node_destroy(struct model_node *node) {
  for (size_t i = 0; i < node->streams.count; i++)
    model_node_destroy(node->streams.items[i].node);
  clear_dictionary(&node->entries);
  clear_dictionary(&node->streams);
  clear_dictionary(&node->eas);
  model_clear_pages(&node->content, 0, UINT64_MAX);
  free(node->content.pages);
  free(node->target.bytes);
  free(node->security.bytes);
  free(node->reparse.bytes);
  free(node);
}

void model_touch(struct model *model, struct model_node *node) {
  if (node->touched)
    return;
  if (model->touched_count == MODEL_TOUCHED)
    abort();
  node->touched = true;
  model->touched[model->touched_count++] = node;
}

void model_settle(struct model *model) {
  for (size_t i = 0; i < model->touched_count; i++)
    model->touched[i]->touched = model->touched[i]->added = false;
  model->touched_count = 0;
}

struct model *model_create_empty(bool case_insensitive) {
  struct model *model = model_take(1, sizeof *model);
  model->root = model_node_create(&(struct casefs_attributes){
      .id = CASEFS_ROOT_ID,
      .type = CASEFS_DIRECTORY,
      .mode = 0755,
      .parent = CASEFS_ROOT_ID,
      .case_insensitive = case_insensitive,
  });
  model->nodes = 1;
  return model;
}

static void count_names(struct model_node *directory) {
  for (size_t i = 0; i < directory->entries.count; i++) {
    struct model_node *node = directory->entries.items[i].node;
    if (node && node->names++ == 0)
      count_names(node);
  }
}

/* Free a tree: each node with the last of its names. */
static void destroy_tree(struct model_node *directory) {
  for (size_t i = 0; i < directory->entries.count; i++) {
    struct model_node *node = directory->entries.items[i].node;
    if (node && --node->names == 0)
      destroy_tree(node);
  }
  model_node_destroy(directory);
}

void model_destroy(struct model *model) {
  if (!model)
    return;
  count_names(model->root);
  destroy_tree(model->root);
  free(model);
}

/* ------------------------------------------------------------------- cloning */

/* Nodes with several names that were cloned already. */
struct clones {
  struct clone {
    const struct model_node *from;
    struct model_node *to;
  } * items;
  size_t count, room;
};

static struct model_node *known_clone(const struct clones *clones, const struct model_node *from) {
  for (size_t i = 0; i < clones->count; i++)
    if (clones->items[i].from == from)
      return clones->items[i].to;
  return NULL;
}

static void remember_clone(struct clones *clones, const struct model_node *from,
                           struct model_node *to) {
  if (clones->count == clones->room) {
    clones->room = clones->room ? 2 * clones->room : 16;
    clones->items = realloc(clones->items, clones->room * sizeof *clones->items);
    if (!clones->items)
      abort();
  }
  clones->items[clones->count++] = (struct clone){from, to};
}

static struct model_dictionary clone_dictionary(const struct model_dictionary *from) {
  struct model_dictionary to = {NULL, from->count, from->count};
  to.items = model_take(from->count, sizeof *to.items);
  for (size_t i = 0; i < from->count; i++) {
    model_set_blob(&to.items[i].name, from->items[i].name.bytes, from->items[i].name.length);
    model_set_blob(&to.items[i].fold, from->items[i].fold.bytes, from->items[i].fold.length);
    model_set_blob(&to.items[i].value, from->items[i].value.bytes, from->items[i].value.length);
    to.items[i].flags = from->items[i].flags;
  }
  return to;
}

static struct model_content clone_content(const struct model_content *from) {
  struct model_content to = {NULL, from->count, from->count};
  to.pages = model_take(from->count, sizeof *to.pages);
  for (size_t i = 0; i < from->count; i++)
    to.pages[i] = (struct model_page){from->pages[i].number, image_page_hold(from->pages[i].page)};
  return to;
}

/* The node without its entries. */
static struct model_node *clone_node(const struct model_node *from) {
  struct model_node *to = model_node_create(&from->attributes);
  to->eas = clone_dictionary(&from->eas);
  to->streams = clone_dictionary(&from->streams);
  to->content = clone_content(&from->content);
  model_set_blob(&to->target, from->target.bytes, from->target.length);
  model_set_blob(&to->security, from->security.bytes, from->security.length);
  model_set_blob(&to->reparse, from->reparse.bytes, from->reparse.length);
  for (size_t i = 0; i < to->streams.count; i++) {
    to->streams.items[i].node = clone_node(from->streams.items[i].node);
    to->streams.items[i].node->owner = to;
  }
  return to;
}

static struct model_node *clone_tree(const struct model_node *from, struct clones *clones) {
  struct model_node *to = clone_node(from);
  to->entries = clone_dictionary(&from->entries);
  for (size_t i = 0; i < from->entries.count; i++) {
    const struct model_node *child = from->entries.items[i].node;
    struct model_node *clone = NULL;
    if (child->attributes.type == CASEFS_DIRECTORY) {
      clone = clone_tree(child, clones);
      clone->owner = to;
    } else if (child->attributes.links == 1) {
      clone = clone_node(child);
    } else if (!(clone = known_clone(clones, child))) {
      clone = clone_node(child);
      remember_clone(clones, child, clone);
    }
    to->entries.items[i].node = clone;
  }
  return to;
}

struct model *model_clone(const struct model *model) {
  struct model *clone = model_take(1, sizeof *clone);
  struct clones clones = {0};
  clone->root = clone_tree(model->root, &clones);
  clone->nodes = model->nodes;
  memcpy(clone->label, model->label, sizeof clone->label);
  free(clones.items);
  return clone;
}

/* --------------------------------------------------------------------- paths */

struct model_item *model_lookup(struct model_node *directory, const char *name, size_t length) {
  return model_get(&directory->entries, MODEL_ENTRY_NAME, directory->attributes.case_insensitive,
                   name, length);
}

int model_find(struct model *model, const char *path, struct model_place *place) {
  *place = (struct model_place){.node = model->root};
  while (*path) {
    path += strspn(path, "/");
    size_t length = strcspn(path, "/");
    if (length == 0)
      break;
    if (!place->node)
      return -ENOENT;
    if (place->name && place->node->attributes.type != CASEFS_DIRECTORY)
      if (path[length] == '/')
        return -ENOTDIR;
    *place = (struct model_place){place->node, path, length, NULL};
    if (place->directory->attributes.type == CASEFS_DIRECTORY &&
        model_check_name(MODEL_ENTRY_NAME, path, length) == 0) {
      struct model_item *item = model_lookup(place->directory, path, length);
      place->node = item ? item->node : NULL;
    }
    path += length;
  }
  return 0;
}
