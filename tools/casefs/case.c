/* SPDX-License-Identifier: BSD-3-Clause */

#include "json.h"
#include "text.h"
#include "verbs.h"
#include "walk.h"

#include <errno.h>
#include <string.h>

enum wish { SHOW, SENSITIVE, INSENSITIVE };

struct options {
  enum wish wish;
  bool recursive, json;
  bool several; /* so that paths stand before what is shown */
  struct json_list list;
};

static const char *case_name(bool insensitive) {
  return insensitive ? "insensitive" : "sensitive";
}

static void show(const char *path, bool insensitive, struct options *options) {
  if (options->json) {
    json_t *object = json_object();
    json_object_set_new(object, "path", json_name(path, strlen(path)));
    json_object_set_new(object, "case", json_string(case_name(insensitive)));
    json_list_add(&options->list, object);
  } else if (options->several) {
    printf("%-11s  ", case_name(insensitive));
    print_name(stdout, path, strlen(path));
    putchar('\n');
  } else {
    puts(case_name(insensitive));
  }
}

static int set(casefs_node *directory, const char *path, bool insensitive) {
  char first[CASEFS_MAX_NAME + 1], second[CASEFS_MAX_NAME + 1];
  int error = casefs_set_case(directory, insensitive, first, second);
  if (error == -EEXIST)
    complain("'%s' cannot become insensitive: '%s' and '%s' in it would have the same name", path,
             first, second);
  else if (error < 0)
    complain("cannot make '%s' %s: %s", path, case_name(insensitive), reason(error));
  return error;
}

static int handle(void *context, casefs_node *directory, const char *path) {
  struct options *options = context;
  struct casefs_attributes attributes;
  int error = casefs_get_attributes(directory, &attributes);
  if (error >= 0 && attributes.type != CASEFS_DIRECTORY)
    error = -ENOTDIR;
  if (error < 0)
    complain("'%s' has no case: %s", path,
             error == -ENOTDIR ? "it is not a directory" : reason(error));
  else if (options->wish != SHOW)
    error = set(directory, path, options->wish == INSENSITIVE);
  else
    show(path, attributes.case_insensitive, options);
  return error;
}

static bool is_directory(void *context, const struct casefs_entry *entry) {
  (void)context;
  return entry->type == CASEFS_DIRECTORY;
}

static bool handle_target(struct target *target, void *context) {
  const struct options *options = context;
  int error = handle(context, target->node, target->argument);
  if (options->recursive && error != -ENOTDIR && !is_fatal(error))
    return walk_nodes(target->node, target->argument, is_directory, handle, context) && error >= 0;
  return error >= 0;
}

/* Take the wish off the end of the arguments, if it is there. */
static enum wish take_wish(int *count, char **arguments) {
  enum wish wish = SHOW;
  if (*count > optind && strcmp(arguments[*count - 1], "sensitive") == 0)
    wish = SENSITIVE;
  else if (*count > optind && strcmp(arguments[*count - 1], "insensitive") == 0)
    wish = INSENSITIVE;
  *count -= wish != SHOW;
  return wish;
}

static int run_case(int count, char **arguments) {
  static const struct option long_options[] = {
      {"recursive", no_argument, NULL, 'R'}, {"json", no_argument, NULL, 'j'}, {0}};
  struct options options = {0};
  int letter;
  while ((letter = getopt_long(count, arguments, "R", long_options, NULL)) >= 0) {
    if (letter == '?')
      return EXIT_USAGE;
    options.recursive = options.recursive || letter == 'R';
    options.json = options.json || letter == 'j';
  }
  options.wish = take_wish(&count, arguments);
  if (options.json && options.wish != SHOW)
    return misused("--json is for showing, not for setting");
  if (!arguments_or_root(&count, &arguments))
    return EXIT_USAGE;
  options.several = options.recursive || count > 1;
  int status = for_each_target(count, arguments, options.wish != SHOW, 0, handle_target, &options);
  if (options.json)
    json_list_end(&options.list);
  return status;
}

const struct verb verb_case = {
    .name = "case",
    .usage = "[-R] [--json] [DEVICE:/DIRECTORY...]\n"
             "[-R] DEVICE:/DIRECTORY... sensitive|insensitive",
    .summary = "Show or set whether case counts in directories",
    .help = "A directory can become insensitive if no two of its entries would have the same\n"
            "name then; if two would, they are named, and it stays as it is.\n"
            "\n"
            "  -R, --recursive  also all directories below\n"
            "      --json       as a JSON array\n",
    .run = run_case,
};
