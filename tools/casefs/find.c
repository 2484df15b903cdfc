/* SPDX-License-Identifier: BSD-3-Clause
 *
 * find and glob: walk, keeping for each directory the set of places in the
 * pattern at which it may stand.  Bit i of a set: parts before i have matched.
 */

#include "json.h"
#include "pattern.h"
#include "text.h"
#include "verbs.h"
#include "walk.h"

#include <string.h>

enum { MAX_PARTS = 63 };

enum comparison { ANY, EXACTLY, MORE, LESS };

struct part {
  const char *text;
  size_t length;
  bool deep; /* "**": any number of directories */
};

struct search {
  struct part parts[MAX_PARTS];
  unsigned count; /* of parts */
  const char *name;
  bool ignore_case;      /* of name, whatever the directory says */
  enum casefs_type type; /* 0: any */
  enum comparison comparison;
  uint64_t size;
  uint64_t depth; /* of directories gone into, below the first */
  bool json;
  char separator; /* after each path */
  struct json_list list;
};

/* ------------------------------------------------------------------ filters */

static bool size_matches(const struct search *search, const struct casefs_attributes *attributes) {
  if (search->comparison == ANY)
    return true;
  if (attributes->type != CASEFS_FILE)
    return false;
  return search->comparison == MORE   ? attributes->size > search->size
         : search->comparison == LESS ? attributes->size < search->size
                                      : attributes->size == search->size;
}

static bool passes(const struct search *search, const char *name, size_t length, bool insensitive,
                   const struct casefs_attributes *attributes) {
  return (!search->type || attributes->type == search->type) && size_matches(search, attributes) &&
         (!search->name || pattern_match(search->name, strlen(search->name), name, length,
                                         insensitive || search->ignore_case));
}

static void print_found(struct search *search, const char *path, const char *name, size_t length,
                        const struct casefs_attributes *attributes) {
  if (!search->json) {
    if (search->separator)
      print_name(stdout, path, strlen(path));
    else
      fputs(path, stdout);
    putchar(search->separator);
    return;
  }
  json_t *object = json_object(), *others = json_attributes(attributes);
  json_object_set_new(object, "path", json_name(path, strlen(path)));
  json_object_set_new(object, "name", json_name(name, length));
  json_object_update(object, others);
  json_decref(others);
  json_list_add(&search->list, object);
}

/* ------------------------------------------------------------------ the walk */

/* Where "**" stands next, it may also match no directory at all. */
static uint64_t with_empty_matches(const struct search *search, uint64_t set) {
  for (unsigned i = 0; i < search->count; i++)
    if (set >> i & 1 && search->parts[i].deep)
      set |= UINT64_C(1) << (i + 1);
  return set;
}

/* The set of an entry in a directory of that set. */
static uint64_t advance(const struct search *search, uint64_t set, const struct walk_item *item) {
  uint64_t next = 0;
  for (unsigned i = 0; i < search->count; i++) {
    const struct part *part = &search->parts[i];
    if (!(set >> i & 1))
      continue;
    if (part->deep)
      next |= UINT64_C(1) << i;
    else if (pattern_match(part->text, part->length, item->entry->name, item->entry->name_length,
                           item->insensitive))
      next |= UINT64_C(1) << (i + 1);
  }
  return with_empty_matches(search, next);
}

static void consider(struct search *search, struct walk *walk, const struct walk_item *item) {
  uint64_t whole = UINT64_C(1) << search->count;
  uint64_t set = advance(search, item->outer, item);
  if (set & whole && passes(search, item->entry->name, item->entry->name_length, item->insensitive,
                            item->attributes))
    print_found(search, item->path, item->entry->name, item->entry->name_length, item->attributes);
  *item->mark = set & ~whole;
  if (*item->mark == 0 || item->depth + 1 >= search->depth)
    walk_skip(walk);
}

/* Search a directory that is called path. */
static bool search_in(struct search *search, casefs_node *directory, const char *path) {
  struct walk *walk = walk_start(directory, path, with_empty_matches(search, 1));
  struct walk_item item;
  bool good = true;
  int result;
  while (!interrupted() && (result = walk_next(walk, &item)) != 0) {
    if (result < 0) {
      complain("cannot read directory '%s': %s", walk_failed_path(walk), reason(result));
      good = false;
    } else if (!item.after) {
      consider(search, walk, &item);
    }
  }
  walk_end(walk);
  return good;
}

/* -------------------------------------------------------------------- find */

/* The last part of a path. */
static const char *last_name(const char *path, size_t *length) {
  size_t end = strlen(path);
  while (end > 0 && (path[end - 1] == '/' || path[end - 1] == '\\'))
    end--;
  size_t begin = end;
  while (begin > 0 && path[begin - 1] != '/' && path[begin - 1] != '\\')
    begin--;
  *length = end - begin;
  return path + begin;
}

/* Whether the directory that the target is in is insensitive. */
static bool is_in_insensitive(const struct target *target) {
  struct casefs_attributes attributes = {0};
  casefs_node *directory;
  const char *name;
  size_t length;
  if (casefs_open_parent(target->session->volume, NULL, target->location.path, &directory, &name,
                         &length) < 0)
    return false;
  casefs_get_attributes(directory, &attributes);
  casefs_node_close(directory);
  return attributes.case_insensitive;
}

static bool find_target(struct target *target, void *context) {
  struct search *search = context;
  struct casefs_attributes attributes;
  size_t length;
  const char *name = last_name(target->location.path, &length);
  int error = casefs_get_attributes(target->node, &attributes);
  if (error < 0) {
    complain("cannot read '%s': %s", target->argument, reason(error));
    return false;
  }
  if (passes(search, name, length, is_in_insensitive(target), &attributes))
    print_found(search, target->argument, name, length, &attributes);
  if (attributes.type != CASEFS_DIRECTORY || search->depth == 0)
    return true;
  return search_in(search, target->node, target->argument);
}

/* -------------------------------------------------------------------- glob */

static size_t separators(const char *text) {
  return strspn(text, "/\\");
}

/* The length of the part of a path that no pattern is in. */
static size_t plain_length(const char *path) {
  size_t plain = separators(path), length;
  for (const char *part = path + plain; *part; part += length + separators(part + length)) {
    length = strcspn(part, "/\\");
    if (pattern_is_wild(part, length))
      break;
    plain = (size_t)(part - path) + length;
  }
  return plain;
}

/* Split what follows; texts of parts point into it. */
static bool split_parts(struct search *search, const char *pattern) {
  search->count = 0;
  for (pattern += separators(pattern); *pattern; pattern += separators(pattern)) {
    size_t length = strcspn(pattern, "/\\");
    if (search->count == MAX_PARTS)
      return false;
    search->parts[search->count++] =
        (struct part){pattern, length, length == 2 && strncmp(pattern, "**", 2) == 0};
    pattern += length;
  }
  return true;
}

static bool glob_plain(struct search *search, const struct session *session,
                       const struct location *location) {
  struct casefs_attributes attributes;
  casefs_node *node;
  size_t length;
  const char *name = last_name(location->path, &length);
  int error = casefs_open_path(session->volume, NULL, location->path, CASEFS_NOFOLLOW, &node);
  if (error >= 0) {
    error = casefs_get_attributes(node, &attributes);
    casefs_node_close(node);
  }
  if (error >= 0 && passes(search, name, length, false, &attributes))
    print_found(search, location->text, name, length, &attributes);
  if (error < 0)
    complain("cannot open '%s': %s", location->text, reason(error));
  return error >= 0;
}

static bool glob_wild(struct search *search, const struct session *session,
                      const struct location *location, size_t plain) {
  char *start = copied(location->path, plain);
  size_t device = strlen(location->text) - strlen(location->path);
  char *shown = copied(location->text, device + plain);
  struct casefs_attributes attributes = {0};
  casefs_node *node;
  int error = casefs_open_path(session->volume, NULL, start, 0, &node);
  if (error >= 0) {
    error = casefs_get_attributes(node, &attributes);
    bool directory = error >= 0 && attributes.type == CASEFS_DIRECTORY;
    if (directory && !search_in(search, node, shown))
      error = 1;
    casefs_node_close(node);
  }
  if (error < 0)
    complain("cannot open '%s': %s", shown, reason(error));
  free(shown);
  free(start);
  return error == 0;
}

static bool glob_argument(struct search *search, struct sessions *sessions, const char *argument) {
  struct location location;
  bool good = false;
  if (!location_parse_node(argument, &location))
    return false;
  size_t plain = plain_length(location.path);
  const struct session *session = session_open(sessions, location.device, false);
  if (!session)
    good = false;
  else if (location.path[plain + separators(location.path + plain)] == '\0')
    good = glob_plain(search, session, &location);
  else if (split_parts(search, location.path + plain))
    good = glob_wild(search, session, &location, plain);
  else
    complain("'%s' has more than %d parts behind the first pattern", argument, MAX_PARTS);
  location_clear(&location);
  return good;
}

/* ------------------------------------------------------------------- verbs */

static bool parse_comparison(const char *text, struct search *search) {
  search->comparison = *text == '+' ? MORE : *text == '-' ? LESS : EXACTLY;
  return parse_size(text + (search->comparison != EXACTLY), &search->size);
}

/* find(1) spells it with one dash. */
static void allow_print0(int count, char **arguments) {
  static char print0[] = "--print0";
  for (int i = 1; i < count && strcmp(arguments[i], "--") != 0; i++)
    if (strcmp(arguments[i], "-print0") == 0)
      arguments[i] = print0;
}

static int take_option(int letter, struct search *search) {
  switch (letter) {
  case 'N':
    search->ignore_case = true;
    search->name = optarg;
    return EXIT_SUCCESS;
  case 'n':
    search->name = optarg;
    return EXIT_SUCCESS;
  case 't':
    if (parse_type(optarg, &search->type))
      return EXIT_SUCCESS;
    return misused("--type: '%s' is not a type; there are file, directory, symlink, fifo, socket, "
                   "character-device and block-device, or f, d, l, p, s, c and b",
                   optarg);
  case 's':
    if (parse_comparison(optarg, search))
      return EXIT_SUCCESS;
    return misused("--size: '%s' is not a size such as 4096, +1M (more) or -10K (less)", optarg);
  case 'd':
    if (parse_number(optarg, UINT32_MAX, &search->depth))
      return EXIT_SUCCESS;
    return misused("--max-depth: '%s' is not a number of levels", optarg);
  case 'j':
    search->json = true;
    return EXIT_SUCCESS;
  case '0':
    search->separator = '\0';
    return EXIT_SUCCESS;
  default:
    return EXIT_USAGE;
  }
}

static bool take_options(int count, char **arguments, struct search *search) {
  static const struct option options[] = {
      {"name", required_argument, NULL, 'n'},      {"iname", required_argument, NULL, 'N'},
      {"type", required_argument, NULL, 't'},      {"size", required_argument, NULL, 's'},
      {"max-depth", required_argument, NULL, 'd'}, {"json", no_argument, NULL, 'j'},
      {"print0", no_argument, NULL, '0'},          {0}};
  int letter;
  *search = (struct search){.depth = UINT64_MAX, .separator = '\n'};
  allow_print0(count, arguments);
  while ((letter = getopt_long(count, arguments, "0", options, NULL)) >= 0)
    if (take_option(letter, search) != EXIT_SUCCESS)
      return false;
  return true;
}

static int run_find(int count, char **arguments) {
  struct search search;
  if (!take_options(count, arguments, &search))
    return EXIT_USAGE;
  if (!arguments_or_root(&count, &arguments))
    return EXIT_USAGE;
  split_parts(&search, "**");
  int status = for_each_target(count, arguments, false, CASEFS_NOFOLLOW, find_target, &search);
  if (search.json)
    json_list_end(&search.list);
  return status;
}

static int run_glob(int count, char **arguments) {
  struct sessions sessions = {0};
  struct search search;
  bool good = true;
  if (!take_options(count, arguments, &search))
    return EXIT_USAGE;
  if (optind == count)
    return misused("give a pattern, such as 'DEVICE:/**/*.dll'");
  for (int i = optind; i < count && !interrupted(); i++)
    good = glob_argument(&search, &sessions, arguments[i]) && good;
  good = sessions_close(&sessions) && good;
  if (search.json)
    json_list_end(&search.list);
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

#define FILTERS                                                                                    \
  "      --name=PATTERN    only names that match: * ? [abc] [a-z] [!a]; with or without\n"         \
  "                        case as the directory they are in\n"                                    \
  "      --iname=PATTERN   the same, always without case\n"                                        \
  "      --type=TYPE       only of that type: file, directory, symlink, or f, d, l...\n"           \
  "      --size=[+|-]SIZE  only files of that size, or larger (+), or smaller (-)\n"               \
  "      --max-depth=N     not more than N levels down\n"                                          \
  "      --json            as a JSON array\n"                                                      \
  "  -0, --print0          a zero byte behind each path, for xargs -0\n"

const struct verb verb_find = {
    .name = "find",
    .usage = "[OPTION...] [DEVICE:/PATH...]",
    .summary = "List all that is in directories and below",
    .help = FILTERS,
    .run = run_find,
};

const struct verb verb_glob = {
    .name = "glob",
    .usage = "[OPTION...] DEVICE:/PATTERN...",
    .summary = "List the paths that match patterns",
    .help = "In a path, * ? [abc] [a-z] [!a] match within a name, and a part ** any number of\n"
            "directories.  Each directory decides whether case counts in it.\n\n" FILTERS,
    .run = run_glob,
};
