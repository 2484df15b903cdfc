/* SPDX-License-Identifier: BSD-3-Clause */

#include "json.h"
#include "tags.h"
#include "text.h"
#include "verbs.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

struct options {
  bool json, nofollow;
  bool printed;
  struct json_list list;
};

/* What the attributes do not tell; the caller's to free. */
struct details {
  char *path; /* from the root, as stored; NULL if it has no name left */
  char *target;
  json_t *streams, *eas; /* arrays of objects */
  uint64_t extents;
  int security; /* bytes of the descriptor */
};

/* ----------------------------------------------------------------- reading */

static char *stored_path(casefs_node *node) {
  for (size_t size = 4096; size < SIZE_MAX / 2; size *= 2) {
    char *path = allocate(size);
    int length = casefs_path(node, path, size);
    if (length >= 0)
      return path;
    free(path);
    if (length != -ERANGE)
      return NULL;
  }
  return NULL;
}

static int read_streams(casefs_node *node, json_t *streams) {
  struct casefs_cursor cursor = {0};
  struct casefs_entry entry;
  struct casefs_attributes attributes;
  int result;
  while ((result = casefs_next_stream(node, &cursor, &entry, &attributes)) > 0) {
    json_t *stream = json_object();
    json_object_set_new(stream, "name", json_name(entry.name, entry.name_length));
    json_object_set_new(stream, "size", json_integer((json_int_t)attributes.size));
    json_array_append_new(streams, stream);
  }
  return result;
}

static int read_eas(casefs_node *node, json_t *eas) {
  struct casefs_cursor cursor = {0};
  struct casefs_ea ea;
  int result;
  while ((result = casefs_next_ea(node, &cursor, &ea)) > 0) {
    json_t *object = json_object();
    json_object_set_new(object, "name", json_name(ea.name, strlen(ea.name)));
    json_object_set_new(object, "size", json_integer(ea.length));
    json_array_append_new(eas, object);
  }
  return result;
}

static int count_extents(casefs_node *node, uint64_t *count) {
  struct casefs_extent extent = {0};
  int result;
  while ((result = casefs_get_extent(node, extent.offset + extent.count, &extent)) > 0)
    *count += extent.kind != CASEFS_EXTENT_HOLE;
  return result;
}

static int read_details(casefs_node *node, const struct casefs_attributes *attributes,
                        struct details *details) {
  bool data = attributes->type == CASEFS_FILE || attributes->type == CASEFS_STREAM;
  int error = 0;
  *details = (struct details){.streams = json_array(), .eas = json_array()};
  details->path = attributes->type == CASEFS_STREAM ? NULL : stored_path(node);
  details->target = attributes->type == CASEFS_SYMLINK ? link_target(node) : NULL;
  if (attributes->streams > 0)
    error = read_streams(node, details->streams);
  if (error >= 0 && attributes->ea_size > 0)
    error = read_eas(node, details->eas);
  if (error >= 0 && data)
    error = count_extents(node, &details->extents);
  if (error >= 0 && attributes->has_security)
    error = details->security = casefs_get_security(node, NULL, 0);
  return error;
}

static void free_details(struct details *details) {
  free(details->path);
  free(details->target);
  json_decref(details->streams);
  json_decref(details->eas);
}

/* ---------------------------------------------------------------- printing */

static void print_line(const char *key, const char *value) {
  char *safe = displayable(value, strlen(value));
  printf("%-11s %s\n", key, safe);
  free(safe);
}

static void print_size(const char *key, uint64_t bytes) {
  char text[SIZE_TEXT];
  if (bytes < 1000)
    printf("%-11s %" PRIu64 "\n", key, bytes);
  else
    printf("%-11s %" PRIu64 " (%s)\n", key, bytes, size_text(bytes, true, text));
}

static void print_time(const char *key, uint64_t time) {
  char text[TIME_TEXT];
  print_line(key, time_local(time, true, text));
}

static void print_dos(uint32_t attributes) {
  const char *name, *separator = "";
  uint32_t bit;
  printf("%-11s ", "attributes:");
  for (unsigned i = 0; (name = dos_attribute_name(i, &bit)); i++) {
    if (!(attributes & bit))
      continue;
    printf("%s%s", separator, name);
    separator = ", ";
  }
  puts(*separator ? "" : "none");
}

static void print_members(const char *key, const json_t *members) {
  const json_t *member;
  size_t i;
  json_array_foreach(members, i, member) {
    const json_t *name = json_object_get(member, "name");
    char *safe = displayable(json_string_value(name), json_string_length(name));
    printf("%-11s %s (%" JSON_INTEGER_FORMAT " bytes)\n", i == 0 ? key : "", safe,
           json_integer_value(json_object_get(member, "size")));
    free(safe);
  }
}

static void print_reparse(uint32_t tag) {
  const char *name = tag_name(tag);
  printf("%-11s 0x%08" PRIX32 "%s%s\n", "reparse:", tag, name ? " " : "", name ? name : "");
}

static void print_kind(const struct casefs_attributes *attributes, const struct details *details) {
  if (attributes->type == CASEFS_DIRECTORY) {
    printf("%-11s %" PRIu64 "\n", "entries:", attributes->size);
    print_line("case:", attributes->case_insensitive ? "insensitive" : "sensitive");
    return;
  }
  print_size("size:", attributes->size);
  if (attributes->type == CASEFS_FILE || attributes->type == CASEFS_STREAM)
    printf("%-11s %" PRIu64 "\n", "extents:", details->extents);
  if (attributes->type == CASEFS_CHARACTER_DEVICE || attributes->type == CASEFS_BLOCK_DEVICE)
    printf("%-11s %" PRIu64 ":%" PRIu64 "\n", "device:", attributes->rdev >> 32,
           attributes->rdev & UINT32_MAX);
  if (details->target)
    print_line("target:", details->target);
}

static void print_times(const struct casefs_attributes *attributes) {
  print_time("created:", attributes->created);
  print_time("modified:", attributes->modified);
  print_time("accessed:", attributes->accessed);
  print_time("changed:", attributes->changed);
}

static void print_windows(const struct casefs_attributes *attributes,
                          const struct details *details) {
  print_dos(attributes->dos_attributes);
  if (attributes->has_security)
    printf("%-11s %d bytes\n", "security:", details->security);
  if (attributes->reparse_tag)
    print_reparse(attributes->reparse_tag);
  print_members("streams:", details->streams);
  print_members("eas:", details->eas);
}

static void print_text(const char *argument, const struct casefs_attributes *attributes,
                       const struct details *details) {
  char mode[11];
  print_line("path:", details->path ? details->path : argument);
  print_line("type:", type_name(attributes->type));
  printf("%-11s %" PRIu64 "\n", "id:", attributes->id);
  print_kind(attributes, details);
  print_size("allocated:", attributes->allocated);
  printf("%-11s %" PRIu32 "\n", "links:", attributes->links);
  printf("%-11s %s (%04o)\n", "mode:", mode_text(attributes, mode), attributes->mode & 07777);
  printf("%-11s %" PRIu32 ":%" PRIu32 "\n", "owner:", attributes->uid, attributes->gid);
  print_times(attributes);
  print_windows(attributes, details);
}

static json_t *stat_object(const char *argument, const struct casefs_attributes *attributes,
                           const struct details *details) {
  json_t *object = json_object(), *others = json_attributes(attributes);
  const char *path = details->path ? details->path : argument;
  const char *name = tag_name(attributes->reparse_tag);
  json_object_set_new(object, "path", json_name(path, strlen(path)));
  json_object_update(object, others);
  json_decref(others);
  json_object_set_new(object, "extents", json_integer((json_int_t)details->extents));
  json_object_set(object, "streams", details->streams);
  json_object_set(object, "eas", details->eas);
  if (attributes->has_security)
    json_object_set_new(object, "security_size", json_integer(details->security));
  if (name)
    json_object_set_new(object, "reparse", json_string(name));
  if (details->target)
    json_object_set_new(object, "target", json_name(details->target, strlen(details->target)));
  return object;
}

static bool stat_target(struct target *target, void *context) {
  struct options *options = context;
  struct casefs_attributes attributes;
  struct details details = {0};
  int error = casefs_get_attributes(target->node, &attributes);
  if (error >= 0)
    error = read_details(target->node, &attributes, &details);
  if (error < 0)
    complain("cannot read all of '%s': %s", target->argument, reason(error));
  else if (options->json)
    json_list_add(&options->list, stat_object(target->argument, &attributes, &details));
  else {
    fputs(options->printed ? "\n" : "", stdout);
    print_text(target->argument, &attributes, &details);
    options->printed = true;
  }
  free_details(&details);
  return error >= 0;
}

static int run_stat(int count, char **arguments) {
  static const struct option long_options[] = {
      {"json", no_argument, NULL, 'j'}, {"follow", no_argument, NULL, 'L'}, {0}};
  struct options options = {.nofollow = true};
  int letter;
  while ((letter = getopt_long(count, arguments, "L", long_options, NULL)) >= 0) {
    if (letter == 'j')
      options.json = true;
    else if (letter == 'L')
      options.nofollow = false;
    else
      return EXIT_USAGE;
  }
  if (!arguments_or_root(&count, &arguments))
    return EXIT_USAGE;
  int status = for_each_target(count, arguments, false, options.nofollow ? CASEFS_NOFOLLOW : 0,
                               stat_target, &options);
  if (options.json)
    json_list_end(&options.list);
  return status;
}

const struct verb verb_stat = {
    .name = "stat",
    .usage = "[-L] [--json] [DEVICE:/PATH[:STREAM]...]",
    .summary = "Show all there is to know of files",
    .help = "  -L, --follow  of what a symbolic link leads to, not of itself\n"
            "      --json    as a JSON array\n",
    .run = run_stat,
};
