/* SPDX-License-Identifier: BSD-3-Clause */

#include "json.h"
#include "text.h"
#include "verbs.h"
#include "walk.h"

#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum layout { LINES, COLUMNS, LONG, JSON };

struct options {
  enum layout layout;
  bool all, self, recursive, human, ids;
  bool headings;         /* a directory's name stands above its entries */
  bool printed;          /* something, so that a heading needs an empty line before it */
  struct json_list list; /* of JSON */
};

/* An entry to show. */
struct row {
  char *name; /* as it is stored, zero-terminated */
  char *shown;
  char *target; /* of a symbolic link, or NULL */
  struct casefs_attributes attributes;
};

struct rows {
  struct row *rows;
  size_t count, room;
};

/* -------------------------------------------------------------------- rows */

static struct row *add_row(struct rows *rows, const char *name,
                           const struct casefs_attributes *attributes) {
  if (rows->count == rows->room) {
    rows->room = rows->room > 0 ? 2 * rows->room : 64;
    rows->rows = resized(rows->rows, rows->room * sizeof *rows->rows);
  }
  struct row *row = &rows->rows[rows->count++];
  *row = (struct row){.name = copied(name, strlen(name)), .attributes = *attributes};
  row->shown = isatty(STDOUT_FILENO) ? displayable(name, strlen(name)) : copied(name, strlen(name));
  return row;
}

static void free_rows(struct rows *rows) {
  for (size_t i = 0; i < rows->count; i++) {
    free(rows->rows[i].name);
    free(rows->rows[i].shown);
    free(rows->rows[i].target);
  }
  free(rows->rows);
  *rows = (struct rows){0};
}

/* ----------------------------------------------------------------- columns */

static size_t terminal_width(void) {
  struct winsize size;
  uint64_t columns;
  const char *wanted = getenv("COLUMNS");
  if (wanted && parse_number(wanted, 10000, &columns) && columns > 0)
    return (size_t)columns;
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* The text of a row in columns or lines, in memory of the caller's. */
static char *short_text(const struct row *row, const struct options *options, int id_width) {
  if (options->ids)
    return formatted("%*" PRIu64 " %s", id_width, row->attributes.id, row->shown);
  return copied(row->shown, strlen(row->shown));
}

static int id_width(const struct rows *rows) {
  uint64_t largest = 0;
  for (size_t i = 0; i < rows->count; i++)
    if (rows->rows[i].attributes.id > largest)
      largest = rows->rows[i].attributes.id;
  return snprintf(NULL, 0, "%" PRIu64, largest);
}

static void print_lines(const struct rows *rows, const struct options *options) {
  int width = id_width(rows);
  for (size_t i = 0; i < rows->count; i++) {
    if (options->ids)
      printf("%*" PRIu64 " ", width, rows->rows[i].attributes.id);
    puts(rows->rows[i].shown);
  }
}

/* The least number of lines in which the columns, each as wide as its widest text, fit. */
static size_t lines_needed(const size_t *widths, size_t count, size_t total) {
  for (size_t lines = 1; lines < count; lines++) {
    size_t sum = 0;
    for (size_t first = 0; first < count && sum <= total + 2; first += lines) {
      size_t widest = 0;
      for (size_t i = first; i < count && i < first + lines; i++)
        widest = widths[i] > widest ? widths[i] : widest;
      sum += widest + 2;
    }
    if (sum <= total + 2)
      return lines;
  }
  return count;
}

static size_t column_width(const size_t *widths, size_t count, size_t first, size_t lines) {
  size_t widest = 0;
  for (size_t i = first; i < count && i < first + lines; i++)
    widest = widths[i] > widest ? widths[i] : widest;
  return widest;
}

static void print_columns(const struct rows *rows, const struct options *options) {
  char **texts = allocate(rows->count * sizeof *texts);
  size_t *widths = allocate(rows->count * sizeof *widths);
  int width = id_width(rows);
  for (size_t i = 0; i < rows->count; i++) {
    texts[i] = short_text(&rows->rows[i], options, width);
    widths[i] = display_width(texts[i]);
  }
  size_t lines = lines_needed(widths, rows->count, terminal_width());
  for (size_t line = 0; line < lines && line < rows->count; line++) {
    for (size_t i = line; i < rows->count; i += lines) {
      size_t wide = column_width(widths, rows->count, i - line, lines);
      fputs(texts[i], stdout);
      if (i + lines < rows->count)
        printf("%*s", (int)(wide - widths[i] + 2), "");
    }
    putchar('\n');
  }
  for (size_t i = 0; i < rows->count; i++)
    free(texts[i]);
  free(texts);
  free(widths);
}

/* -------------------------------------------------------------- long lines */

enum { ID, MODE, LINKS, UID, GID, SIZE, MODIFIED, DOS, FIELDS };

static void fill_size(const struct casefs_attributes *attributes, bool human, char *text) {
  if (attributes->type == CASEFS_CHARACTER_DEVICE || attributes->type == CASEFS_BLOCK_DEVICE)
    snprintf(text, TIME_TEXT, "%" PRIu64 ", %" PRIu64, attributes->rdev >> 32,
             attributes->rdev & UINT32_MAX);
  else
    size_text(attributes->size, human, text);
}

static void fill_fields(const struct row *row, bool human, char fields[FIELDS][TIME_TEXT]) {
  const struct casefs_attributes *attributes = &row->attributes;
  snprintf(fields[ID], TIME_TEXT, "%" PRIu64, attributes->id);
  mode_text(attributes, fields[MODE]);
  snprintf(fields[LINKS], TIME_TEXT, "%" PRIu32, attributes->links);
  snprintf(fields[UID], TIME_TEXT, "%" PRIu32, attributes->uid);
  snprintf(fields[GID], TIME_TEXT, "%" PRIu32, attributes->gid);
  fill_size(attributes, human, fields[SIZE]);
  time_local(attributes->modified, false, fields[MODIFIED]);
  dos_text(attributes->dos_attributes, fields[DOS]);
}

static void print_target(const char *target) {
  fputs(" -> ", stdout);
  print_name(stdout, target, strlen(target));
}

static void print_long(const struct rows *rows, const struct options *options) {
  char fields[FIELDS][TIME_TEXT];
  int widths[FIELDS] = {0};
  for (size_t i = 0; i < rows->count; i++) {
    fill_fields(&rows->rows[i], options->human, fields);
    for (int j = 0; j < FIELDS; j++)
      if ((int)strlen(fields[j]) > widths[j])
        widths[j] = (int)strlen(fields[j]);
  }
  for (size_t i = 0; i < rows->count; i++) {
    const struct row *row = &rows->rows[i];
    fill_fields(row, options->human, fields);
    for (int j = options->ids ? ID : MODE; j < FIELDS; j++)
      printf("%*s ", j == DOS ? -widths[j] : widths[j], fields[j]);
    fputs(row->shown, stdout);
    if (row->target)
      print_target(row->target);
    putchar('\n');
  }
}

/* -------------------------------------------------------------------- JSON */

static void print_objects(const struct rows *rows, const char *directory, struct options *options) {
  for (size_t i = 0; i < rows->count; i++) {
    const struct row *row = &rows->rows[i];
    char *path = directory ? path_join(directory, row->name) : copied(row->name, strlen(row->name));
    json_t *object = json_object();
    json_object_set_new(object, "path", json_name(path, strlen(path)));
    if (directory)
      json_object_set_new(object, "name", json_name(row->name, strlen(row->name)));
    json_t *attributes = json_attributes(&row->attributes);
    json_object_update(object, attributes);
    json_decref(attributes);
    if (row->target)
      json_object_set_new(object, "target", json_name(row->target, strlen(row->target)));
    json_list_add(&options->list, object);
    free(path);
  }
}

/* ----------------------------------------------------------------- listing */

/* Print rows; directory, if not NULL, is where they are. */
static void print_rows(const struct rows *rows, const char *directory, struct options *options) {
  if (options->layout == JSON) {
    print_objects(rows, directory, options);
    return;
  }
  if (directory && options->headings) {
    fputs(options->printed ? "\n" : "", stdout);
    print_name(stdout, directory, strlen(directory));
    puts(":");
  }
  if (options->layout == LONG)
    print_long(rows, options);
  else if (options->layout == COLUMNS)
    print_columns(rows, options);
  else
    print_lines(rows, options);
  options->printed = true;
}

static bool needs_target(const struct casefs_attributes *attributes,
                         const struct options *options) {
  return attributes->type == CASEFS_SYMLINK && (options->layout == LONG || options->layout == JSON);
}

static bool read_rows(casefs_node *directory, const char *path, const struct options *options,
                      struct rows *rows) {
  struct casefs_cursor cursor = {0};
  struct casefs_entry entry;
  struct casefs_attributes attributes;
  int result = 0;
  while (!interrupted() &&
         (result = casefs_next_entry(directory, &cursor, &entry, &attributes)) > 0) {
    if (entry.name[0] == '.' && !options->all)
      continue;
    struct row *row = add_row(rows, entry.name, &attributes);
    if (needs_target(&attributes, options))
      row->target = link_target_of(casefs_node_volume(directory), entry.id);
  }
  if (result < 0)
    complain("cannot read all of directory '%s': %s", path, reason(result));
  return result >= 0;
}

/* Directories yet to be listed, the next one last. */
struct pending {
  struct {
    uint64_t id;
    char *path;
  } * directories;
  size_t count, room;
};

static void add_pending(struct pending *pending, uint64_t id, char *path) {
  if (pending->count == pending->room) {
    pending->room = pending->room > 0 ? 2 * pending->room : 64;
    pending->directories =
        resized(pending->directories, pending->room * sizeof *pending->directories);
  }
  pending->directories[pending->count].id = id;
  pending->directories[pending->count++].path = path;
}

/* List one directory, and put those in it aside to be listed. */
static bool list_directory(casefs_node *directory, const char *path, struct options *options,
                           struct pending *pending) {
  struct rows rows = {0};
  bool good = read_rows(directory, path, options, &rows);
  print_rows(&rows, path, options);
  for (size_t i = rows.count; options->recursive && i-- > 0;)
    if (rows.rows[i].attributes.type == CASEFS_DIRECTORY)
      add_pending(pending, rows.rows[i].attributes.id, path_join(path, rows.rows[i].name));
  free_rows(&rows);
  return good;
}

static bool list_pending(casefs_volume *volume, struct options *options, struct pending *pending) {
  bool good = true;
  while (pending->count > 0) {
    uint64_t id = pending->directories[--pending->count].id;
    char *path = pending->directories[pending->count].path;
    casefs_node *directory = NULL;
    int error = interrupted() ? 0 : casefs_open_id(volume, id, &directory);
    if (error < 0)
      complain("cannot open directory '%s': %s", path, reason(error));
    if (directory)
      good = list_directory(directory, path, options, pending) && good;
    good = good && error >= 0;
    casefs_node_close(directory);
    free(path);
  }
  free(pending->directories);
  return good;
}

static bool list_one(const struct target *target, const struct casefs_attributes *attributes,
                     struct options *options) {
  struct rows rows = {0};
  struct row *row = add_row(&rows, target->argument, attributes);
  if (needs_target(attributes, options))
    row->target = link_target(target->node);
  print_rows(&rows, NULL, options);
  free_rows(&rows);
  return true;
}

static bool list_target(struct target *target, void *context) {
  struct options *options = context;
  struct casefs_attributes attributes;
  struct pending pending = {0};
  int error = casefs_get_attributes(target->node, &attributes);
  if (error < 0) {
    complain("cannot read '%s': %s", target->argument, reason(error));
    return false;
  }
  if (attributes.type != CASEFS_DIRECTORY || options->self)
    return list_one(target, &attributes, options);
  bool good = list_directory(target->node, target->argument, options, &pending);
  return list_pending(target->session->volume, options, &pending) && good;
}

/* -------------------------------------------------------------------- verb */

static bool take_option(int letter, struct options *options) {
  switch (letter) {
  case 'l':
    options->layout = LONG;
    break;
  case 'C':
    options->layout = COLUMNS;
    break;
  case '1':
    options->layout = LINES;
    break;
  case 'j':
    options->layout = JSON;
    break;
  case 'a':
    options->all = true;
    break;
  case 'd':
    options->self = true;
    break;
  case 'R':
    options->recursive = true;
    break;
  case 'h':
    options->human = true;
    break;
  case 'i':
    options->ids = true;
    break;
  default:
    return false;
  }
  return true;
}

static int run_ls(int count, char **arguments) {
  static const struct option long_options[] = {{"all", no_argument, NULL, 'a'},
                                               {"directory", no_argument, NULL, 'd'},
                                               {"human", no_argument, NULL, 'h'},
                                               {"ids", no_argument, NULL, 'i'},
                                               {"json", no_argument, NULL, 'j'},
                                               {"recursive", no_argument, NULL, 'R'},
                                               {0}};
  struct options options = {.layout = isatty(STDOUT_FILENO) ? COLUMNS : LINES};
  int letter;
  while ((letter = getopt_long(count, arguments, "l1CadRhi", long_options, NULL)) >= 0)
    if (!take_option(letter, &options))
      return EXIT_USAGE;
  if (!arguments_or_root(&count, &arguments))
    return EXIT_USAGE;
  options.headings = options.recursive || count > 1;
  unsigned flags = options.layout == LONG || options.self ? CASEFS_NOFOLLOW : 0;
  int status = for_each_target(count, arguments, false, flags, list_target, &options);
  if (options.layout == JSON)
    json_list_end(&options.list);
  return status;
}

const struct verb verb_ls = {
    .name = "ls",
    .usage = "[-l | -1 | -C | --json] [-adhiR] [DEVICE:/PATH...]",
    .summary = "List directories, sorted by name",
    .help = "  -l               one to a line, with its attributes\n"
            "  -1               one name to a line, as when the output is not a terminal\n"
            "  -C               names in columns, as on a terminal\n"
            "      --json       as a JSON array\n"
            "  -a, --all        also names that begin with a dot\n"
            "  -d, --directory  a directory itself, not what is in it\n"
            "  -h, --human      sizes like 1.2G\n"
            "  -i, --ids        with the ids of the nodes\n"
            "  -R, --recursive  also what is in the directories listed\n",
    .run = run_ls,
};
