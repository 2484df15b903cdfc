/* SPDX-License-Identifier: BSD-3-Clause */

#include "json.h"
#include "text.h"
#include "verbs.h"
#include "walk.h"

#include <inttypes.h>
#include <langinfo.h>
#include <string.h>

/* What stands before a name: for each directory above, then for the name itself. */
struct branches {
  const char *passing, *empty, *fork, *end;
};

struct options {
  bool all, directories, json;
  uint64_t depth; /* levels shown */
  struct branches branches;
  bool *last; /* for each level, whether its name is the last one there */
  size_t room;
  uint64_t counts[2]; /* directories, others */
};

static struct branches branches_of_locale(void) {
  if (strcmp(nl_langinfo(CODESET), "UTF-8") == 0)
    return (struct branches){"│   ", "    ", "├── ", "└── "};
  return (struct branches){"|   ", "    ", "|-- ", "`-- "};
}

static bool is_shown(void *context, const struct casefs_entry *entry) {
  const struct options *options = context;
  return (options->all || entry->name[0] != '.') &&
         (!options->directories || entry->type == CASEFS_DIRECTORY);
}

static void print_link(const struct walk_item *item) {
  if (item->entry->type != CASEFS_SYMLINK)
    return;
  char *target = link_target_of(casefs_node_volume(item->directory), item->entry->id);
  fputs(" -> ", stdout);
  print_name(stdout, target ? target : "?", target ? strlen(target) : 1);
  free(target);
}

static void print_item(const struct walk_item *item, struct options *options) {
  if (item->depth >= options->room) {
    options->room = 2 * item->depth + 16;
    options->last = resized(options->last, options->room);
  }
  options->last[item->depth] = item->last;
  for (size_t i = 0; i < item->depth; i++)
    fputs(options->last[i] ? options->branches.empty : options->branches.passing, stdout);
  fputs(item->last ? options->branches.end : options->branches.fork, stdout);
  print_name(stdout, item->entry->name, item->entry->name_length);
  print_link(item);
  putchar('\n');
}

/* The object of an item, without its end: what is in it may follow. */
static void begin_object(const char *name, size_t length,
                         const struct casefs_attributes *attributes, size_t indent) {
  json_t *text = json_name(name, length);
  printf("%*s{\"name\": ", (int)indent, "");
  print_json_line(stdout, text);
  json_decref(text);
  printf(", \"type\": \"%s\", \"size\": %" PRIu64, type_name(attributes->type), attributes->size);
  if (attributes->type == CASEFS_DIRECTORY)
    printf(", \"case\": \"%s\", \"entries\": [",
           attributes->case_insensitive ? "insensitive" : "sensitive");
}

static void print_item_json(const struct walk_item *item, bool first) {
  puts(first ? "" : ",");
  begin_object(item->entry->name, item->entry->name_length, item->attributes, item->depth % 32 + 1);
  if (item->entry->type != CASEFS_DIRECTORY)
    putchar('}');
}

/* Show one item.  first: nothing has been printed yet of the directory it is in. */
static void show(struct walk *walk, const struct walk_item *item, struct options *options,
                 bool *first) {
  bool directory = item->entry->type == CASEFS_DIRECTORY;
  if (item->after) {
    fputs(options->json ? "]}" : "", stdout);
    *first = false;
    return;
  }
  options->counts[directory ? 0 : 1]++;
  if (options->json)
    print_item_json(item, *first);
  else
    print_item(item, options);
  *first = directory;
  if (directory && item->depth + 1 >= options->depth) {
    walk_skip(walk);
    fputs(options->json ? "]}" : "", stdout);
    *first = false;
  }
}

static bool show_all(const struct target *target, struct options *options) {
  struct walk *walk = walk_start(target->node, target->argument, 0);
  struct walk_item item;
  bool good = true, first = true;
  int result;
  walk_filter(walk, is_shown, options);
  while (!interrupted() && (result = walk_next(walk, &item)) != 0) {
    if (result < 0) {
      complain("cannot read directory '%s': %s", walk_failed_path(walk), reason(result));
      good = false;
      continue;
    }
    show(walk, &item, options, &first);
  }
  walk_end(walk);
  return good;
}

static bool tree_target(struct target *target, void *context) {
  struct options *options = context;
  struct casefs_attributes attributes;
  int error = casefs_get_attributes(target->node, &attributes);
  if (error < 0 || attributes.type != CASEFS_DIRECTORY) {
    complain("cannot show '%s' as a tree: %s", target->argument,
             error < 0 ? reason(error) : "it is not a directory");
    return false;
  }
  if (options->json) {
    begin_object(target->argument, strlen(target->argument), &attributes, 0);
    bool good = show_all(target, options);
    puts("]}");
    return good;
  }
  print_name(stdout, target->argument, strlen(target->argument));
  putchar('\n');
  return show_all(target, options);
}

static int run_tree(int count, char **arguments) {
  static const struct option long_options[] = {{"all", no_argument, NULL, 'a'},
                                               {"directories", no_argument, NULL, 'd'},
                                               {"depth", required_argument, NULL, 'L'},
                                               {"json", no_argument, NULL, 'j'},
                                               {0}};
  struct options options = {.depth = UINT64_MAX, .branches = branches_of_locale()};
  int letter;
  while ((letter = getopt_long(count, arguments, "adL:", long_options, NULL)) >= 0) {
    if (letter == 'a')
      options.all = true;
    else if (letter == 'd')
      options.directories = true;
    else if (letter == 'j')
      options.json = true;
    else if (letter != 'L')
      return EXIT_USAGE;
    else if (!parse_number(optarg, UINT32_MAX, &options.depth) || options.depth == 0)
      return misused("--depth: '%s' is not a number of levels, 1 or more", optarg);
  }
  if (!arguments_or_root(&count, &arguments))
    return EXIT_USAGE;
  if (options.json && count > 1)
    return misused("--json shows one tree, and %d were given", count);
  int status = for_each_target(count, arguments, false, 0, tree_target, &options);
  if (!options.json)
    printf("\n%" PRIu64 " directories, %" PRIu64 " files\n", options.counts[0], options.counts[1]);
  free(options.last);
  return status;
}

const struct verb verb_tree = {
    .name = "tree",
    .usage = "[-ad] [--depth=LEVELS] [--json] [DEVICE:/PATH...]",
    .summary = "Show directories as a tree",
    .help = "  -a, --all           also names that begin with a dot\n"
            "  -d, --directories   only directories\n"
            "  -L, --depth=LEVELS  not deeper than that\n"
            "      --json          as one JSON object\n",
    .run = run_tree,
};
