/* SPDX-License-Identifier: BSD-3-Clause */

#include "json.h"
#include "local.h"
#include "tags.h"
#include "text.h"
#include "verbs.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static bool report(const char *path, const char *what, int error) {
  if (error == -ENODATA)
    complain("'%s' has no reparse point", path);
  else if (error == -EEXIST)
    complain("'%s' has a reparse point of another tag; remove that first", path);
  else if (error == -ENOTEMPTY)
    complain("'%s' is a directory with entries, which cannot have a reparse point", path);
  else if (error == -EINVAL)
    complain("cannot %s the reparse point of '%s': the buffer is malformed, or not one for such a "
             "node (a junction is for directories)",
             what, path);
  else if (error < 0)
    complain("cannot %s the reparse point of '%s': %s", what, path, reason(error));
  return error >= 0;
}

/* The buffer of a node, the caller's to free; NULL with the failure reported. */
static uint8_t *read_buffer(const struct target *target, size_t *size) {
  uint8_t *buffer = allocate(CASEFS_MAX_REPARSE);
  int length = casefs_get_reparse(target->node, buffer, CASEFS_MAX_REPARSE);
  if (report(target->argument, "read", length)) {
    *size = (size_t)length;
    return buffer;
  }
  free(buffer);
  return NULL;
}

/* -------------------------------------------------------------------- show */

struct output {
  const char *file;
  bool json;
  struct json_list list;
};

/* A GUID as Windows writes it: the first three parts are little-endian. */
static const char *guid_text(const uint8_t guid[16], char buffer[37]) {
  static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
  uint8_t swapped[16];
  for (int i = 0; i < 16; i++)
    swapped[i] = guid[order[i]];
  return uuid_text(swapped, buffer);
}

static void print_line(const char *key, const char *value) {
  char *safe = displayable(value, strlen(value));
  printf("%-12s %s\n", key, safe);
  free(safe);
}

static void print_text(const struct reparse *reparse) {
  const char *name = tag_name(reparse->tag);
  char guid[37];
  printf("%-12s 0x%08" PRIX32 "%s%s\n", "tag:", reparse->tag, name ? " " : "", name ? name : "");
  if (reparse->guid)
    print_line("guid:", guid_text(reparse->guid, guid));
  if (reparse->substitute) {
    print_line("target:", reparse->substitute);
    if (*reparse->print)
      print_line("shown as:", reparse->print);
    if (reparse->tag == TAG_SYMLINK)
      print_line("relative:", reparse->relative ? "yes" : "no");
  }
  printf("%-12s %zu bytes\n", "data:", reparse->length);
  print_hex_rows(reparse->data, reparse->length);
}

static json_t *reparse_object(const char *path, const struct reparse *reparse) {
  json_t *object = json_object();
  const char *name = tag_name(reparse->tag);
  char guid[37];
  json_object_set_new(object, "path", json_name(path, strlen(path)));
  json_object_set_new(object, "tag", json_integer(reparse->tag));
  json_object_set_new(object, "name", name ? json_string(name) : json_null());
  if (reparse->guid)
    json_object_set_new(object, "guid", json_string(guid_text(reparse->guid, guid)));
  if (reparse->substitute) {
    json_object_set_new(object, "target",
                        json_name(reparse->substitute, strlen(reparse->substitute)));
    json_object_set_new(object, "shown_as", json_name(reparse->print, strlen(reparse->print)));
    json_object_set_new(object, "relative", json_boolean(reparse->relative));
  }
  json_object_set_new(object, "data", json_bytes(reparse->data, reparse->length));
  return object;
}

static bool show_target(struct target *target, void *context) {
  struct output *output = context;
  struct reparse reparse;
  size_t size;
  bool good = true;
  uint8_t *buffer = read_buffer(target, &size);
  if (!buffer)
    return false;
  if (output->file)
    good = local_write(output->file, buffer, size);
  else if (!reparse_decode(buffer, size, &reparse))
    good = report(target->argument, "read", -EUCLEAN);
  else {
    if (output->json)
      json_list_add(&output->list, reparse_object(target->argument, &reparse));
    else
      print_text(&reparse);
    reparse_clear(&reparse);
  }
  free(buffer);
  return good;
}

static int run_show(int count, char **arguments) {
  static const struct option options[] = {
      {"file", required_argument, NULL, 'f'}, {"json", no_argument, NULL, 'j'}, {0}};
  struct output output = {0};
  int letter;
  while ((letter = getopt_long(count, arguments, "", options, NULL)) >= 0) {
    if (letter == '?')
      return EXIT_USAGE;
    if (letter == 'f')
      output.file = optarg;
    else
      output.json = true;
  }
  if (!arguments_or_root(&count, &arguments))
    return EXIT_USAGE;
  if (output.file && (count != 1 || output.json))
    return misused("--file takes the reparse point of one node, and no --json");
  int status = for_each_target(count, arguments, false, CASEFS_NOFOLLOW, show_target, &output);
  if (output.json)
    json_list_end(&output.list);
  return status;
}

/* --------------------------------------------------------------------- set */

struct buffer {
  uint8_t *bytes;
  size_t size;
};

static bool set_target(struct target *target, void *context) {
  const struct buffer *buffer = context;
  return report(target->argument, "set",
                casefs_set_reparse(target->node, buffer->bytes, buffer->size));
}

static bool make_buffer(uint32_t tag, const char *target, struct buffer *buffer) {
  if (*target == '\0' || (tag == TAG_MOUNT_POINT && !target_is_absolute(target))) {
    complain("'%s' cannot be the target: %s", target,
             *target ? "that of a junction begins with a drive, as in C:\\dir" : "it is empty");
    return false;
  }
  buffer->bytes = reparse_make(tag, target, &buffer->size);
  if (!buffer->bytes)
    complain("'%.80s' cannot be the target: it is too long, or not valid UTF-8", target);
  return buffer->bytes != NULL;
}

static int run_set(int count, char **arguments) {
  static const struct option options[] = {{"file", required_argument, NULL, 'f'},
                                          {"symlink", required_argument, NULL, 's'},
                                          {"junction", required_argument, NULL, 'j'},
                                          {0}};
  const char *value = NULL;
  struct buffer buffer = {0};
  int letter, kind = 0;
  while ((letter = getopt_long(count, arguments, "", options, NULL)) >= 0) {
    if (letter == '?')
      return EXIT_USAGE;
    if (kind)
      return misused("give one of --file, --symlink and --junction");
    kind = letter;
    value = optarg;
  }
  if (!kind)
    return misused("give one of --file, --symlink and --junction");
  if (optind == count)
    return misused("give what to change, as DEVICE:/PATH");
  bool good = true;
  if (kind == 'f')
    buffer.bytes = local_read(value, CASEFS_MAX_REPARSE, &buffer.size);
  else
    good = make_buffer(kind == 's' ? TAG_SYMLINK : TAG_MOUNT_POINT, value, &buffer);
  if (!good || !buffer.bytes)
    return EXIT_FAILURE;
  int status = for_each_target(count - optind, arguments + optind, true, CASEFS_NOFOLLOW,
                               set_target, &buffer);
  free(buffer.bytes);
  return status;
}

/* ---------------------------------------------------------------------- rm */

static bool remove_target(struct target *target, void *context) {
  static const uint8_t no_guid[16];
  struct reparse reparse;
  size_t size;
  (void)context;
  uint8_t *buffer = read_buffer(target, &size);
  if (!buffer)
    return false;
  int error = -EUCLEAN;
  if (reparse_decode(buffer, size, &reparse)) {
    error = casefs_remove_reparse(target->node, reparse.tag, reparse.guid ? reparse.guid : no_guid);
    reparse_clear(&reparse);
  }
  free(buffer);
  return report(target->argument, "remove", error);
}

static int run_rm(int count, char **arguments) {
  static const struct option options[] = {{0}};
  if (getopt_long(count, arguments, "", options, NULL) >= 0)
    return EXIT_USAGE;
  if (optind == count)
    return misused("give what to change, as DEVICE:/PATH");
  return for_each_target(count - optind, arguments + optind, true, CASEFS_NOFOLLOW, remove_target,
                         NULL);
}

static int run_reparse(int count, char **arguments) {
  static const struct action actions[] = {
      {"show", run_show}, {"set", run_set}, {"rm", run_rm}, {0}};
  return run_action(actions, count, arguments);
}

const struct verb verb_reparse = {
    .name = "reparse",
    .usage = "show [--json] DEVICE:/PATH...\n"
             "show --file=LOCAL DEVICE:/PATH\n"
             "set --symlink=TARGET | --junction=TARGET | --file=LOCAL DEVICE:/PATH...\n"
             "rm DEVICE:/PATH...",
    .summary = "Show, set and remove reparse points",
    .help =
        "      --symlink=TARGET   a symbolic link of Windows, such as ..\\other or C:\\dir\\file\n"
        "      --junction=TARGET  a junction of a directory, such as C:\\dir\n"
        "      --file=LOCAL       the REPARSE_DATA_BUFFER itself, to or from a local file;\n"
        "                         - for the standard output or input\n"
        "      --json             show: as a JSON array\n",
    .run = run_reparse,
};
