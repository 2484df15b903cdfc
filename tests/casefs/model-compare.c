/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reading a volume into a model, and comparing models.
 */

#include "model.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------- comparing */

struct comparison {
  char *message;
  char path[1024]; /* of what is compared now, for messages; cut when long */
  size_t length;
  unsigned visit;
};

__attribute__((format(printf, 2, 3))) static int differ(struct comparison *comparison,
                                                        const char *format, ...) {
  va_list arguments;
  int length = snprintf(comparison->message, MODEL_MESSAGE,
                        "%.300s: ", comparison->length ? comparison->path : "/");
  va_start(arguments, format);
  vsnprintf(comparison->message + length, MODEL_MESSAGE - (size_t)length, format, arguments);
  va_end(arguments);
  return -1;
}

static size_t go_down(struct comparison *comparison, char separator,
                      const struct model_blob *name) {
  size_t before = comparison->length;
  int added = snprintf(comparison->path + before, sizeof comparison->path - before, "%c%.*s",
                       separator, (int)name->length, (const char *)name->bytes);
  if (before + (size_t)added < sizeof comparison->path)
    comparison->length += (size_t)added;
  return before;
}

static void go_up(struct comparison *comparison, size_t length) {
  comparison->length = length;
  comparison->path[length] = 0;
}

static int compare_attributes(struct comparison *comparison, const struct casefs_attributes *is,
                              const struct casefs_attributes *should) {
  const struct {
    const char *name;
    uint64_t is, should;
  } fields[] = {
      {"type", is->type, should->type},
      {"id", is->id, should->id},
      {"size", is->size, should->size},
      {"links", is->links, should->links},
      {"mode", is->mode, should->mode},
      {"uid", is->uid, should->uid},
      {"gid", is->gid, should->gid},
      {"device number", is->rdev, should->rdev},
      {"DOS attributes", is->dos_attributes, should->dos_attributes},
      {"time of creation", is->created, should->created},
      {"time of modification", is->modified, should->modified},
      {"time of access", is->accessed, should->accessed},
      {"time of change", is->changed, should->changed},
      {"parent", is->parent, should->parent},
      {"reparse tag", is->reparse_tag, should->reparse_tag},
      {"size of attributes", is->ea_size, should->ea_size},
      {"number of streams", is->streams, should->streams},
      {"case flag", is->case_insensitive, should->case_insensitive},
      {"mark of a descriptor", is->has_security, should->has_security},
  };
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
    if (fields[i].is != fields[i].should)
      return differ(comparison, "%s is %" PRIu64 ", should be %" PRIu64, fields[i].name,
                    fields[i].is, fields[i].should);
  return 0;
}

static int compare_pages(struct comparison *comparison, const struct model_page *is,
                         const struct model_page *should) {
  static const unsigned char zeros[IMAGE_PAGE];
  uint64_t number = !is || (should && should->number < is->number) ? should->number : is->number;
  const unsigned char *is_bytes = is && is->number == number ? image_page_bytes(is->page) : zeros;
  const unsigned char *should_bytes =
      should && should->number == number ? image_page_bytes(should->page) : zeros;
  for (unsigned i = 0; i < IMAGE_PAGE; i++)
    if (is_bytes[i] != should_bytes[i])
      return differ(comparison, "byte %" PRIu64 " is %02x, should be %02x", number * IMAGE_PAGE + i,
                    is_bytes[i], should_bytes[i]);
  return 0;
}

static int compare_contents(struct comparison *comparison, const struct model_content *is,
                            const struct model_content *should) {
  for (size_t i = 0; i < is->count || i < should->count; i++) {
    const struct model_page *one = i < is->count ? &is->pages[i] : NULL;
    const struct model_page *other = i < should->count ? &should->pages[i] : NULL;
    bool same =
        one && other && one->number == other->number && image_page_same(one->page, other->page);
    if (!same && compare_pages(comparison, one, other) != 0)
      return -1;
  }
  return 0;
}

static int compare_blobs(struct comparison *comparison, const char *what,
                         const struct model_blob *is, const struct model_blob *should) {
  if (model_same_blob(is, should))
    return 0;
  return differ(comparison, "%s differs (%zu bytes, should be %zu)", what, is->length,
                should->length);
}

static int compare_nodes(struct comparison *comparison, struct model_node *is,
                         struct model_node *should);

static int compare_items(struct comparison *comparison, const struct model_item *is,
                         const struct model_item *should) {
  if (is->flags != should->flags)
    return differ(comparison, "flags are %u, should be %u", is->flags, should->flags);
  if (compare_blobs(comparison, "value", &is->value, &should->value) != 0)
    return -1;
  return is->node ? compare_nodes(comparison, is->node, should->node) : 0;
}

static int compare_dictionaries(struct comparison *comparison, const char *what, char separator,
                                const struct model_dictionary *is,
                                const struct model_dictionary *should) {
  for (size_t i = 0; i < is->count || i < should->count; i++) {
    const struct model_item *one = i < is->count ? &is->items[i] : NULL;
    const struct model_item *other = i < should->count ? &should->items[i] : NULL;
    int order = !one ? 1 : !other ? -1 : model_item_compare(one, other);
    if (order != 0) {
      const struct model_blob *name = order < 0 ? &one->name : &other->name;
      return differ(comparison, "%s \"%.*s\" is %s", what, (int)name->length,
                    (const char *)name->bytes, order < 0 ? "too many" : "missing");
    }
    size_t length = go_down(comparison, separator, &one->name);
    if (compare_items(comparison, one, other) != 0)
      return -1;
    go_up(comparison, length);
  }
  return 0;
}

static int compare_nodes(struct comparison *comparison, struct model_node *is,
                         struct model_node *should) {
  if (is->visit == comparison->visit && is->attributes.id == should->attributes.id)
    return 0; /* by another of its names */
  is->visit = comparison->visit;
  if (compare_dictionaries(comparison, "entry", '/', &is->entries, &should->entries) != 0 ||
      compare_dictionaries(comparison, "stream", ':', &is->streams, &should->streams) != 0 ||
      compare_dictionaries(comparison, "attribute", '$', &is->eas, &should->eas) != 0)
    return -1;
  if (compare_attributes(comparison, &is->attributes, &should->attributes) != 0 ||
      compare_contents(comparison, &is->content, &should->content) != 0)
    return -1;
  if (compare_blobs(comparison, "target", &is->target, &should->target) != 0 ||
      compare_blobs(comparison, "descriptor", &is->security, &should->security) != 0)
    return -1;
  return compare_blobs(comparison, "reparse point", &is->reparse, &should->reparse);
}

int model_compare(struct model *is, struct model *should, char message[MODEL_MESSAGE]) {
  static unsigned visit;
  struct comparison comparison = {.message = message, .visit = ++visit};
  if (strcmp(is->label, should->label) != 0)
    return differ(&comparison, "label is %s, should be %s", is->label, should->label);
  return compare_nodes(&comparison, is->root, should->root);
}

/* ------------------------------------------------------------------ scanning */

struct scan {
  casefs_volume *volume;
  struct model *model;
  struct comparison at;       /* where we are, for messages */
  struct model_node **shared; /* nodes with several names, seen */
  size_t shared_count, shared_room;
};

static int scan_failed(struct scan *scan, const char *what, int64_t error) {
  return differ(&scan->at, "%s: %s", what, error < 0 ? strerror((int)-error) : "wrong");
}

static int scan_range(struct scan *scan, casefs_node *from, struct model_node *node,
                      uint64_t offset, uint64_t end) {
  static unsigned char buffer[64 * IMAGE_PAGE];
  offset -= offset % IMAGE_PAGE;
  while (offset < end) {
    uint64_t wanted = end - offset < sizeof buffer ? end - offset : sizeof buffer;
    int64_t got = casefs_read(from, buffer, (size_t)wanted, offset);
    if (got != (int64_t)wanted)
      return scan_failed(scan, "reading", got);
    if (wanted % IMAGE_PAGE)
      memset(buffer + wanted, 0, (size_t)(IMAGE_PAGE - wanted % IMAGE_PAGE));
    for (uint64_t i = 0; i < wanted; i += IMAGE_PAGE)
      model_put_page(&node->content, (offset + i) / IMAGE_PAGE, image_page_create(buffer + i));
    offset += wanted;
  }
  return 0;
}

/* What is no hole of a large file. */
static int scan_sparse(struct scan *scan, casefs_node *from, struct model_node *node) {
  uint64_t offset = 0, size = node->attributes.size;
  struct casefs_extent extent;
  while (offset < size) {
    int result = casefs_get_extent(from, offset, &extent);
    if (result != 1 || extent.offset > offset || extent.offset + extent.count <= offset)
      return scan_failed(scan, "getting an extent", result);
    uint64_t end = extent.offset + extent.count < size ? extent.offset + extent.count : size;
    bool zeros = extent.kind == CASEFS_EXTENT_HOLE || extent.kind == CASEFS_EXTENT_UNWRITTEN;
    if (!zeros && scan_range(scan, from, node, offset, end) != 0)
      return -1;
    offset = end;
  }
  return casefs_get_extent(from, size, &extent) == 0 ? 0 : scan_failed(scan, "the end", 0);
}

static int scan_content(struct scan *scan, casefs_node *from, struct model_node *node) {
  if (node->attributes.size > 1 << 18)
    return scan_sparse(scan, from, node);
  return scan_range(scan, from, node, 0, node->attributes.size);
}

static int scan_blob(struct scan *scan, casefs_node *from, const char *what,
                     int (*get)(casefs_node *node, void *buffer, size_t size),
                     struct model_blob *blob) {
  static unsigned char buffer[CASEFS_MAX_SECURITY];
  int length = get(from, buffer, sizeof buffer);
  if (length < 0)
    return scan_failed(scan, what, length);
  model_set_blob(blob, buffer, (size_t)length);
  return 0;
}

static int scan_target(struct scan *scan, casefs_node *from, struct model_node *node) {
  char buffer[CASEFS_MAX_SYMLINK + 1];
  int length = casefs_readlink(from, buffer, sizeof buffer);
  if (length < 0)
    return scan_failed(scan, "reading the link", length);
  model_set_blob(&node->target, buffer, (size_t)length);
  return 0;
}

static int scan_eas(struct scan *scan, casefs_node *from, struct model_node *node) {
  static unsigned char value[CASEFS_MAX_EA_VALUE + 1];
  struct casefs_cursor cursor = {0};
  struct casefs_ea ea;
  uint64_t packed = 0;
  for (int result; (result = casefs_next_ea(from, &cursor, &ea)) != 0;) {
    if (result < 0)
      return scan_failed(scan, "listing attributes", result);
    size_t length = strlen(ea.name);
    uint8_t flags = 0;
    result = casefs_get_ea(from, ea.name, length, value, sizeof value, &flags);
    if (result != (int)ea.length || flags != ea.flags)
      return scan_failed(scan, "getting an attribute", result);
    struct model_item *item = model_insert(&node->eas, MODEL_EA_NAME, ea.name, length);
    model_set_blob(&item->value, value, (size_t)result);
    item->flags = flags;
    packed += 5 + length + ea.length;
  }
  return packed == node->attributes.ea_size ? 0 : scan_failed(scan, "packed size", 0);
}

static int scan_streams(struct scan *scan, casefs_node *from, struct model_node *node) {
  struct casefs_cursor cursor = {0};
  struct casefs_entry entry;
  struct casefs_attributes attributes, again;
  for (int result; (result = casefs_next_stream(from, &cursor, &entry, &attributes)) != 0;) {
    casefs_node *stream;
    if (result < 0)
      return scan_failed(scan, "listing streams", result);
    result = casefs_open_stream(from, entry.name, entry.name_length, 0, &stream);
    if (result < 0)
      return scan_failed(scan, "opening a stream", result);
    struct model_item *item =
        model_insert(&node->streams, MODEL_STREAM_NAME, entry.name, entry.name_length);
    item->node = model_node_create(&attributes);
    item->node->owner = node;
    result = casefs_get_attributes(stream, &again);
    if (result == 0)
      result = compare_attributes(&scan->at, &again, &attributes);
    if (result == 0)
      result = scan_content(scan, stream, item->node);
    casefs_node_close(stream);
    if (result != 0)
      return -1;
  }
  return 0;
}

static int scan_entries(struct scan *scan, casefs_node *from, struct model_node *node);

static int scan_node(struct scan *scan, casefs_node *from, struct model_node *node) {
  const struct casefs_attributes *attributes = &node->attributes;
  int result = 0;
  bool bytes = attributes->type == CASEFS_FILE || attributes->type == CASEFS_STREAM;
  if (bytes && attributes->size)
    result = scan_content(scan, from, node);
  if (result == 0 && attributes->type == CASEFS_DIRECTORY)
    result = scan_entries(scan, from, node);
  if (result == 0 && attributes->type == CASEFS_SYMLINK)
    result = scan_target(scan, from, node);
  if (result == 0 && attributes->has_security)
    result = scan_blob(scan, from, "descriptor", casefs_get_security, &node->security);
  if (result == 0 && attributes->reparse_tag)
    result = scan_blob(scan, from, "reparse point", casefs_get_reparse, &node->reparse);
  if (result == 0)
    result = scan_eas(scan, from, node);
  return result == 0 ? scan_streams(scan, from, node) : result;
}

static struct model_node *shared_node(const struct scan *scan, uint64_t id) {
  for (size_t i = 0; i < scan->shared_count; i++)
    if (scan->shared[i]->attributes.id == id)
      return scan->shared[i];
  return NULL;
}

static void share_node(struct scan *scan, struct model_node *node) {
  if (scan->shared_count == scan->shared_room) {
    scan->shared_room = scan->shared_room ? 2 * scan->shared_room : 16;
    scan->shared = realloc(scan->shared, scan->shared_room * sizeof *scan->shared);
    if (!scan->shared)
      abort();
  }
  scan->shared[scan->shared_count++] = node;
}

/* The node of an entry: new, or one that has another name. */
static int scan_child(struct scan *scan, casefs_node *directory, const struct casefs_entry *entry,
                      const struct casefs_attributes *attributes, struct model_node **child) {
  casefs_node *from;
  struct casefs_attributes again;
  if (attributes->links > 1 && (*child = shared_node(scan, entry->id)))
    return compare_attributes(&scan->at, attributes, &(*child)->attributes);
  *child = model_node_create(attributes);
  scan->model->nodes++;
  int result = casefs_open_at(directory, entry->name, entry->name_length, &from);
  if (result < 0)
    return scan_failed(scan, "opening an entry", result);
  result = casefs_get_attributes(from, &again);
  if (result < 0)
    scan_failed(scan, "getting attributes", result);
  else if (again.id != entry->id || attributes->type != entry->type)
    result = differ(&scan->at, "the entry is of another node than what its name opens");
  else
    result = compare_attributes(&scan->at, &again, attributes);
  if (result == 0 && attributes->links > 1)
    share_node(scan, *child);
  if (result == 0)
    result = scan_node(scan, from, *child);
  casefs_node_close(from);
  return result;
}

static int scan_entries(struct scan *scan, casefs_node *from, struct model_node *node) {
  struct casefs_cursor cursor = {0};
  struct casefs_entry entry;
  struct casefs_attributes attributes;
  for (int result; (result = casefs_next_entry(from, &cursor, &entry, &attributes)) != 0;) {
    if (result < 0)
      return scan_failed(scan, "listing", result);
    struct model_item *item =
        model_insert(&node->entries, MODEL_ENTRY_NAME, entry.name, entry.name_length);
    if (item != &node->entries.items[node->entries.count - 1])
      return differ(&scan->at, "\"%s\" is listed out of order", entry.name);
    size_t length = go_down(&scan->at, '/', &item->name);
    struct model_node *child = NULL;
    result = scan_child(scan, from, &entry, &attributes, &child);
    node->entries.items[node->entries.count - 1].node = child;
    if (child && child->attributes.type == CASEFS_DIRECTORY)
      child->owner = node;
    if (result != 0)
      return -1;
    go_up(&scan->at, length);
  }
  return 0;
}

int model_scan(casefs_volume *volume, struct model **model, char message[MODEL_MESSAGE]) {
  struct scan scan = {.volume = volume, .at = {.message = message}};
  casefs_node *root;
  *model = NULL;
  int result = casefs_open_root(volume, &root);
  if (result < 0)
    return scan_failed(&scan, "opening the root", result);
  struct casefs_statistics statistics;
  casefs_volume_statistics(volume, &statistics);
  scan.model = model_create_empty(false);
  memcpy(scan.model->label, statistics.label, sizeof statistics.label);
  result = casefs_get_attributes(root, &scan.model->root->attributes);
  if (result < 0)
    scan_failed(&scan, "getting attributes", result);
  else
    result = scan_node(&scan, root, scan.model->root);
  casefs_node_close(root);
  free(scan.shared);
  if (result == 0)
    *model = scan.model;
  else
    model_destroy(scan.model);
  return result == 0 ? 0 : -1;
}
