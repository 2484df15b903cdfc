/* SPDX-License-Identifier: BSD-3-Clause */

#include "json.h"
#include "text.h"
#include "verbs.h"
#include "walk.h"

#include <string.h>

struct options {
  bool recursive, json;
  uint32_t set, clear;
  struct json_list list;
};

static void show(const char *path, uint32_t attributes, struct options *options) {
  char text[DOS_TEXT];
  if (options->json) {
    json_t *object = json_object();
    json_object_set_new(object, "path", json_name(path, strlen(path)));
    json_object_set_new(object, "dos_attributes", json_dos_attributes(attributes));
    json_list_add(&options->list, object);
    return;
  }
  printf("%-7s  ", dos_text(attributes, text));
  print_name(stdout, path, strlen(path));
  putchar('\n');
}

static int handle(void *context, casefs_node *node, const char *path) {
  struct options *options = context;
  struct casefs_attributes attributes;
  bool setting = options->set | options->clear;
  int error = casefs_get_attributes(node, &attributes);
  if (error >= 0 && setting) {
    attributes.dos_attributes = (attributes.dos_attributes & ~options->clear) | options->set;
    error = casefs_set_attributes(node, CASEFS_DOS_ATTRIBUTES, &attributes);
  } else if (error >= 0) {
    show(path, attributes.dos_attributes, options);
  }
  if (error < 0)
    complain("cannot %s the attributes of '%s': %s", setting ? "set" : "read", path, reason(error));
  return error;
}

static bool handle_target(struct target *target, void *context) {
  const struct options *options = context;
  struct casefs_attributes attributes;
  bool good = handle(context, target->node, target->argument) >= 0;
  if (good && options->recursive && casefs_get_attributes(target->node, &attributes) >= 0 &&
      attributes.type == CASEFS_DIRECTORY)
    good = walk_nodes(target->node, target->argument, NULL, handle, context);
  return good;
}

/* "+RH" or "-A". */
static bool take_change(const char *text, struct options *options) {
  uint32_t *bits = *text == '+' ? &options->set : &options->clear, bit;
  for (text++; *text; text++) {
    if (!(bit = dos_attribute(*text)))
      return false;
    *bits |= bit;
  }
  return true;
}

/* Changes look like options, so that getopt is of no use here.  Leaves the other arguments. */
static bool take_arguments(int *count, char **arguments, struct options *options) {
  bool over = false;
  int kept = 1;
  for (int i = 1; i < *count; i++) {
    char *argument = arguments[i];
    bool change = strlen(argument) > 1 && (*argument == '+' || *argument == '-');
    if (over || !change) {
      arguments[kept++] = argument;
    } else if (strcmp(argument, "--") == 0) {
      over = true;
    } else if (strcmp(argument, "--json") == 0) {
      options->json = true;
    } else if (strcmp(argument, "--recursive") == 0) {
      options->recursive = true;
    } else if (!take_change(argument, options)) {
      complain("'%s' is neither an option nor a change such as +RH or -A, of the letters R, H, S, "
               "A, T, O and I",
               argument);
      return false;
    }
  }
  *count = kept;
  return true;
}

static int run_attrib(int count, char **arguments) {
  struct options options = {0};
  if (!take_arguments(&count, arguments, &options))
    return EXIT_USAGE;
  bool setting = options.set | options.clear;
  if (options.set & options.clear)
    return misused("an attribute cannot be both set and cleared");
  if (setting && options.json)
    return misused("--json is for showing, not for setting");
  if (setting && count == 1)
    return misused("give what to change, as DEVICE:/PATH");
  if (!arguments_or_root(&count, &arguments))
    return EXIT_USAGE;
  int status = for_each_target(count, arguments, setting, CASEFS_NOFOLLOW, handle_target, &options);
  if (options.json)
    json_list_end(&options.list);
  return status;
}

const struct verb verb_attrib = {
    .name = "attrib",
    .usage = "[--recursive] [--json] [DEVICE:/PATH...]\n"
             "[--recursive] [+LETTERS] [-LETTERS] DEVICE:/PATH...",
    .summary = "Show or set the attributes that Windows has",
    .help = "LETTERS are R (read-only), H (hidden), S (system), A (archive), T (temporary),\n"
            "O (offline) and I (not indexed), in either case: +RH sets two, -A clears one.\n"
            "\n"
            "      --recursive  also all that is in directories\n"
            "      --json       as a JSON array\n",
    .run = run_attrib,
};
