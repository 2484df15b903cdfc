/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Workloads: all of one operation on a small tree, and random operations.
 */

#include "workload.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ----------------------------------------------------------- of one operation */

const char starting_tree[] =
    "create /a; write /a 0 100 1\n"   /* inline */
    "create /b; write /b 0 13000 2\n" /* four blocks */
    "mkdir-sensitive /d; create /d/c; write /d/c 0 5000 3; mkdir /d/e; create /d/e/x\n"
    "mkdir-insensitive /i; create /i/File; write /i/File 0 300 4; mkdir /i/Sub\n"
    "create /i/%c3%a9; link /a /d/h; symlink /s d/c; mkdir /empty; special /p 4 0\n"
    "stream-create /b s 1; stream-write /b s 0 6000 5; stream-create /b t 1\n"
    "stream-create /d u 1; stream-write /d u 0 10 6\n"
    "ea-set /b EA 100 7 0; ea-set /b BIG 9000 8 128\n"
    "security-set /b 2; security-set /d 2; create /r; reparse-set /r 2 100\n";

#define FILES "{/a|/b|/d/c|/i/file}"
#define NEW "{/new|/d/new|/i/new|/i/FILE|/empty/n|/D|/a}"
#define ANY "{/a|/b|/d|/d/c|/i|/i/FILE|/i/sub|/empty|/s|/r|/none}"
#define TARGET "{/new|/A|/a|/b|/d/new|/d/h|/d/e|/empty|/i/fILE|/i/new|/i/Sub|/d/e/n}"
#define DIRECTORIES "{/|/d|/i|/empty}"
#define MANY "{/a|/b|/d|/i}"

/* Each {x|y|z} stands for any of x, y and z. */
static const char *const templates[] = {
    "create " NEW,
    "create-full " NEW " {3|4}",
    "{mkdir|mkdir-sensitive|mkdir-insensitive} " NEW,
    "symlink " NEW " some/where",
    "special {/new|/i/new} {4 0|5 0|6 0x100000002|7 5}",
    "link {/a|/b|/s|/d} " NEW,
    "unlink " ANY,
    "rmdir " ANY,
    "rename " ANY " " TARGET,
    "rename-noreplace {/a|/d|/i/file} " TARGET,
    "exchange {/a|/d|/i/file|/empty} " TARGET,
    "write " FILES " {0 100|50 2000|0 4096|4096 4096|8191 3|100000 5000|0 20000|2 70000} 9",
    "append " FILES " {10|2000|9000} 10",
    "truncate " FILES " {0|50|4096|6000|100000|0x4000000000}",
    "punch " FILES " {0 4096|100 8000|0 100000|4096 4096}",
    "allocate " FILES " {0 40960|8192 4096|20000 8192} {0|1}",
    "ea-set " MANY " {NEW 10 1 0|ea 200 2 0|Ea 5 3 128|BIG 20000 4 0|BIG 3 4 0}",
    "ea-remove {/a|/b} {EA|big|none}",
    "stream-create " MANY " {new 0|new 1|S 0|s 1}",
    "stream-write {/b s|/b T|/d u} {0 100|5000 5000|0 30000} 11",
    "stream-truncate {/b s|/d u} {0|5|50000}",
    "stream-remove {/b s|/b T|/d u|/a s}",
    "stream-rename /b s {S|new|T|s}",
    "security-set " MANY " {1|2|3|4}",
    "security-remove " MANY,
    "reparse-set {/a 2|/r 2|/r 3|/empty 3|/d 2} {0|50|9000}",
    "reparse-remove /r {2|3}",
    "set-case " DIRECTORIES " {0|1}",
    "set-attributes " ANY " {0x0|0x1|0x6|0x8|0x10|0xf0|0xff} 12",
    "label {one|}",
    "create /I; set-case / 1",
    "hold {/a|/b|/d/c} 0; unlink {/a|/b|/d/c}; held-write 0 0 {100|9000} 13; sync",
    "hold /b 0; unlink /b; held-truncate 0 {0|50000}; sync; release 0",
    "hold {/b 0; rename /a /b|/empty 0; rmdir /empty}; sync",
    "hold-stream /b s 0; {unlink /b|stream-remove /b s}; held-write 0 3 9000 14; sync",
    "unlink /a; unlink /d/h",
    "stream-write /b s 0 9000 1; {unlink /b|stream-remove /b s|rename /a /b|truncate /b 0}",
    "append {/a|/b} 9000 1; {unlink /b|rename /a /b|exchange /a /b|punch /b 0 20000}",
    "truncate /b 100; truncate /b 9000",
    "write /b 0 200000 15; unlink /b; create /b; write /b 0 150000 16",
    "write /a 0 300000 17; punch /a 4096 200000; write /a 8192 100000 18",
    "ea-set /a N1 30000 1 0; ea-set /a N2 30000 2 0; ea-remove /a N1; sync; ea-set /a N3 30000 3 0",
};

enum { TEMPLATES = sizeof templates / sizeof *templates };

/* The alternative of that number of the group that begins after '{', and where the group ends. */
static const char *find_alternative(const char *group, size_t number, size_t *length) {
  for (; number > 0; number--)
    group += strcspn(group, "|}") + 1;
  *length = strcspn(group, "|}");
  return group;
}

static size_t count_alternatives(const char *group) {
  size_t count = 1;
  for (; *group != '}'; group++)
    count += *group == '|';
  return count;
}

static size_t count_expansions(const char *template) {
  size_t count = 1;
  for (; *template; template ++)
    if (*template == '{')
      count *= count_alternatives(template + 1);
  return count;
}

static void expand(const char *template, size_t number, char *line) {
  while (*template) {
    if (*template != '{') {
      *line++ = *template ++;
      continue;
    }
    size_t count = count_alternatives(++template), length;
    const char *chosen = find_alternative(template, number % count, &length);
    memcpy(line, chosen, length);
    line += length;
    number /= count;
    template = strchr(template, '}') + 1;
  }
  *line = 0;
}

bool one_operation(size_t index, char line[OPERATION_TEXT]) {
  for (int i = 0; i < TEMPLATES; i++) {
    size_t count = count_expansions(templates[i]);
    if (index < count) {
      expand(templates[i], index, line);
      return true;
    }
    index -= count;
  }
  return false;
}

size_t one_operation_count(void) {
  size_t count = 0;
  for (int i = 0; i < TEMPLATES; i++)
    count += count_expansions(templates[i]);
  return count;
}

/* ------------------------------------------------------------------- at random */

struct writer {
  struct model *model;
  struct dice *dice;
  const struct random_profile *profile;
  char *line;
};

static bool one_in(struct writer *writer, unsigned count) {
  return dice_below(writer->dice, count) == 0;
}

static void add_text(struct writer *writer, const char *text) {
  if (strlen(writer->line) + strlen(text) < OPERATION_TEXT)
    strcat(writer->line, text);
}

static void add_number(struct writer *writer, uint64_t number) {
  char text[32];
  snprintf(text, sizeof text, " %" PRIu64, number);
  add_text(writer, text);
}

static size_t make_long_name(struct dice *dice, char name[CASEFS_MAX_NAME + 1]) {
  static const char *const fillers[] = {"a", "B", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
  const char *filler = fillers[dice_below(dice, 5)];
  size_t units = strlen(filler) == 4 ? 2 : 1, length = 0;
  size_t count = (CASEFS_MAX_NAME_UNITS - dice_below(dice, 4)) / units;
  for (size_t i = 0; i < count; i++)
    length += (size_t)sprintf(name + length, "%s", filler);
  return length;
}

/* A name from the pool, in some spelling. */
static size_t make_name(struct writer *writer, char name[CASEFS_MAX_NAME + 1]) {
  static const char *const odd[] = {
      "\xc3\xa9",
      "\xc3\x89",
      "\xc3\x9f",
      "\xe1\xba\x9e",
      "\xc4\xb1",
      "I",
      "i",
      "\xe2\x84\xaa",
      "k",
      "K",
      "\xcf\x82",
      "\xce\xa3",
      "\xcf\x83",
      "\xed\xa0\x80",
      "\xed\xb0\x80",
      "\xf0\x9f\x98\x80",
      "a b",
      "x:y",
      "back\\slash",
      "con",
      "trailing. ",
      "\xf0\x90\x90\xa8",
      "\xf0\x90\x90\x80",
  };
  struct dice *dice = writer->dice;
  if (writer->profile->long_names && one_in(writer, 12))
    return make_long_name(dice, name);
  if (one_in(writer, 6))
    return (size_t)sprintf(name, "%s", odd[dice_below(dice, sizeof odd / sizeof *odd)]);
  size_t length = (size_t)sprintf(name, "n%" PRIu64, dice_below(dice, writer->profile->names));
  if (one_in(writer, 3))
    name[0] = 'N';
  return length;
}

static void add_name(struct writer *writer) {
  char name[CASEFS_MAX_NAME + 1];
  size_t length = make_name(writer, name);
  operation_escape(writer->line, name, length);
}

static bool is_type(const struct model_node *node, enum casefs_type type) {
  return type == 0 || node->attributes.type == type;
}

/* A node found by going down at random, preferably of that type (0: any); its path is added. */
static struct model_node *add_existing(struct writer *writer, enum casefs_type type) {
  struct model_node *node = writer->model->root;
  add_text(writer, " /");
  char *end = writer->line + strlen(writer->line);
  for (unsigned depth = 0; depth <= writer->profile->depth; depth++) {
    const struct model_dictionary *entries = &node->entries;
    if (entries->count == 0 || (depth && is_type(node, type) && one_in(writer, 2)))
      break;
    const struct model_item *item = NULL;
    for (int attempt = 0; attempt < 4; attempt++) {
      item = &entries->items[dice_below(writer->dice, entries->count)];
      if (item->node->attributes.type == CASEFS_DIRECTORY || is_type(item->node, type))
        break;
    }
    if (type == CASEFS_DIRECTORY && item->node->attributes.type != CASEFS_DIRECTORY)
      break;
    if (end[-1] != '/' || end[0])
      add_text(writer, "/");
    operation_escape(writer->line, (const char *)item->name.bytes, item->name.length);
    end = writer->line + strlen(writer->line);
    node = item->node;
  }
  return node;
}

static void add_new(struct writer *writer) {
  add_existing(writer, CASEFS_DIRECTORY);
  if (writer->line[strlen(writer->line) - 1] != '/')
    add_text(writer, "/");
  add_name(writer);
}

/* Either, so that both success and failure are common. */
static void add_any(struct writer *writer) {
  if (one_in(writer, 3))
    add_new(writer);
  else
    add_existing(writer, 0);
}

static uint64_t some_offset(struct writer *writer, uint64_t size) {
  uint64_t largest = writer->profile->largest;
  switch (dice_below(writer->dice, 8)) {
  case 0:
    return size < largest ? size : largest;
  case 1:
    return dice_below(writer->dice, largest / IMAGE_PAGE + 1) * IMAGE_PAGE;
  case 2:
    return dice_below(writer->dice, 3000);
  case 3:
    if (writer->profile->sparse)
      return dice_roll(writer->dice) >> (2 + dice_below(writer->dice, 40));
    return 0;
  default:
    return dice_below(writer->dice, (size < largest ? size : largest) + 1);
  }
}

static uint64_t some_count(struct writer *writer) {
  struct dice *dice = writer->dice;
  switch (dice_below(dice, 6)) {
  case 0:
    return 1 + dice_below(dice, 2 * IMAGE_PAGE);
  case 1:
    return IMAGE_PAGE * (1 + dice_below(dice, 8));
  case 2:
    return 1 + dice_below(dice, writer->profile->largest / 2);
  default:
    return 1 + dice_below(dice, 600);
  }
}

static uint64_t some_seed(struct writer *writer) {
  return one_in(writer, 8) ? 0 : 1 + dice_below(writer->dice, 1 << 20);
}

/* A stream of the node, or a new name. */
static void add_stream(struct writer *writer, const struct model_node *node) {
  static const char *const names[] = {"s", "S", "Zone.Identifier", "t", "\xc3\xa4", "\xc3\x84"};
  add_text(writer, " ");
  if (node->streams.count && !one_in(writer, 4)) {
    size_t i = (size_t)dice_below(writer->dice, node->streams.count);
    const struct model_blob *name = &node->streams.items[i].name;
    operation_escape(writer->line, (const char *)name->bytes, name->length);
  } else {
    const char *name = names[dice_below(writer->dice, 6)];
    operation_escape(writer->line, name, strlen(name));
  }
}

static void add_ea(struct writer *writer) {
  static const char *const names[] = {" A", " a", " LONGER.NAME", " b", " B", " C"};
  add_text(writer, names[dice_below(writer->dice, 6)]);
}

static struct model_node *add_file(struct writer *writer) {
  return add_existing(writer, CASEFS_FILE);
}

static void make_data_operation(struct writer *writer, unsigned which) {
  static const char *const names[] = {"write", "append", "truncate", "punch", "allocate", "read"};
  add_text(writer, names[which]);
  uint64_t size = add_file(writer)->attributes.size;
  if (which != 1)
    add_number(writer, some_offset(writer, size));
  if (which != 2)
    add_number(writer, some_count(writer));
  if (which <= 1)
    add_number(writer, some_seed(writer));
  if (which == 4)
    add_number(writer, dice_below(writer->dice, 2));
}

static void make_stream_operation(struct writer *writer, unsigned which) {
  static const char *const names[] = {"stream-create", "stream-write", "stream-truncate",
                                      "stream-remove", "stream-rename"};
  add_text(writer, names[which]);
  const struct model_node *node =
      add_existing(writer, one_in(writer, 3) ? CASEFS_DIRECTORY : CASEFS_FILE);
  add_stream(writer, node);
  if (which == 0)
    add_number(writer, dice_below(writer->dice, 2));
  if (which == 1 || which == 2)
    add_number(writer, dice_below(writer->dice, 9000));
  if (which == 1) {
    add_number(writer, some_count(writer));
    add_number(writer, some_seed(writer));
  }
  if (which == 4)
    add_stream(writer, node);
}

static void make_ea_operation(struct writer *writer, unsigned which) {
  add_text(writer, which == 0 ? "ea-set" : "ea-remove");
  add_existing(writer, 0);
  add_ea(writer);
  if (which == 0) {
    add_number(writer, dice_below(writer->dice, one_in(writer, 8) ? 40000 : 300));
    add_number(writer, 1 + dice_below(writer->dice, 1000));
    add_number(writer, dice_below(writer->dice, 2) * 128);
  }
}

static void make_metadata_operation(struct writer *writer, unsigned which) {
  static const char *const names[] = {"security-set",   "security-remove", "reparse-set",
                                      "reparse-remove", "set-case",        "set-attributes"};
  static const enum casefs_type types[] = {0, 0, CASEFS_FILE, CASEFS_FILE, CASEFS_DIRECTORY, 0};
  add_text(writer, names[which]);
  add_existing(writer, types[which]);
  if (which == 0)
    add_number(writer, dice_below(writer->dice, 20));
  if (which == 2 || which == 3)
    add_number(writer, dice_below(writer->dice, 4));
  if (which == 2)
    add_number(writer, dice_below(writer->dice, one_in(writer, 6) ? CASEFS_MAX_REPARSE : 100));
  if (which == 4)
    add_number(writer, dice_below(writer->dice, 2));
  if (which == 5) {
    add_number(writer, dice_below(writer->dice, 256));
    add_number(writer, dice_below(writer->dice, 1 << 20));
  }
}

static void make_some_creation(struct writer *writer, unsigned which) {
  static const char *const names[] = {
      "create ",  "mkdir ",       "mkdir-sensitive ", "mkdir-insensitive ",
      "symlink ", "create-full ", "special "};
  add_text(writer, names[which]);
  add_new(writer);
  if (which == 4)
    add_text(writer, one_in(writer, 2) ? " short" : " a/longer/target/with/many/parts");
  if (which == 5)
    add_number(writer, dice_below(writer->dice, 1000));
  if (which == 6) {
    uint64_t type = 4 + dice_below(writer->dice, 4);
    add_number(writer, type);
    add_number(writer, type >= CASEFS_CHARACTER_DEVICE ? dice_below(writer->dice, 1 << 20) : 0);
  }
}

static void make_two_paths(struct writer *writer, const char *name) {
  add_text(writer, name);
  add_existing(writer, strcmp(name, "link") == 0 ? CASEFS_FILE : 0);
  add_any(writer);
}

static void make_held_operation(struct writer *writer, unsigned which) {
  static const char *const names[] = {"hold",       "hold-stream",   "release",
                                      "held-write", "held-truncate", "held-read"};
  add_text(writer, names[which]);
  if (which <= 1) {
    const struct model_node *node = add_existing(writer, CASEFS_FILE);
    if (which == 1)
      add_stream(writer, node);
  }
  add_number(writer, dice_below(writer->dice, WORLD_HELD));
  if (which >= 3)
    add_number(writer, dice_below(writer->dice, 20000));
  if (which == 3 || which == 5)
    add_number(writer, some_count(writer));
  if (which == 3)
    add_number(writer, some_seed(writer));
}

static void make_query(struct writer *writer, unsigned which) {
  add_text(writer, which == 0 ? "look" : "list");
  add_existing(writer, which == 0 ? 0 : CASEFS_DIRECTORY);
}

void random_operation(struct model *model, struct dice *dice, const struct random_profile *profile,
                      char line[OPERATION_TEXT]) {
  struct writer writer = {model, dice, profile, line};
  static const unsigned char creations[] = {0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6};
  static const unsigned char data[] = {0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 5};
  uint64_t which = dice_below(dice, 100);
  line[0] = 0;
  if (which < 20)
    make_some_creation(&writer, creations[dice_below(dice, sizeof creations)]);
  else if (which < 45)
    make_data_operation(&writer, data[dice_below(dice, sizeof data)]);
  else if (which < 51)
    make_stream_operation(&writer, (unsigned)dice_below(dice, 5));
  else if (which < 56)
    make_ea_operation(&writer, (unsigned)dice_below(dice, 2));
  else if (which < 63)
    make_metadata_operation(&writer, (unsigned)dice_below(dice, 6));
  else if (which < 67)
    make_two_paths(&writer, "link");
  else if (which < 75)
    make_two_paths(&writer, "rename");
  else if (which < 77)
    make_two_paths(&writer, "rename-noreplace");
  else if (which < 79)
    make_two_paths(&writer, "exchange");
  else if (which < 90) {
    bool directory = one_in(&writer, 4);
    add_text(&writer, directory ? "rmdir" : "unlink");
    add_existing(&writer, directory ? CASEFS_DIRECTORY : CASEFS_FILE);
  } else if (which < 93 && profile->hold)
    make_held_operation(&writer, (unsigned)dice_below(dice, 6));
  else if (which == 93)
    add_text(&writer, one_in(&writer, 2) ? "label L%c3%a4bel" : "label ");
  else if (which == 94)
    add_text(&writer, "sync");
  else
    make_query(&writer, (unsigned)dice_below(dice, 2));
}
