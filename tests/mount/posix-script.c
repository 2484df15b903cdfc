/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Scripted cases.  A script is lines of text:
 *
 *   = TITLE            a case begins, in an empty directory
 *   @ x=WORD,WORD      it is done for each; %x in the lines that follow stands for the word
 *   OPERATION; OPERATION
 *
 * The state of the directory is compared at the end of each case; not of one that begins with =~.
 */

#include "posix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINES = 200, VARIABLES = 4, CHOICES = 32 };

struct variable {
  char name;
  char *choices[CHOICES];
  size_t count, chosen;
};

struct script_case {
  const struct case_group *group;
  const char *title;
  bool without_tree;
  struct variable variables[VARIABLES];
  size_t variable_count;
  char *lines[LINES];
  size_t line_count;
};

/* Words that stand for lists. */
static const char *const lists[][2] = {
    {"TYPES", "regular,directory,fifo,socket,char,block,symlink"},
    {"MORETYPES", "regular,directory,full,fifo,symlink,absent"},
    {"FILES", "regular,fifo,socket,char,block,symlink"},
    {"USERS", "0:0,1001:1001,1002:1001,1002:1002,1002:1002:1001"},
};

static void add_variable(struct script_case *one, char *text) {
  if (one->variable_count == VARIABLES || text[0] == 0 || text[1] != '=')
    die("'%s' is no variable", text);
  struct variable *variable = &one->variables[one->variable_count++];
  *variable = (struct variable){.name = text[0]};
  const char *words = text + 2;
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
    if (!strcmp(words, lists[i][0]))
      words = lists[i][1];
  char *copy = strdup(words), *save;
  for (char *word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
    if (variable->count == CHOICES)
      die("too many words for %%%c", variable->name);
    variable->choices[variable->count++] = strdup(word);
  }
  free(copy);
}

static void clear_case(struct script_case *one) {
  for (size_t i = 0; i < one->variable_count; i++)
    for (size_t j = 0; j < one->variables[i].count; j++)
      free(one->variables[i].choices[j]);
  one->variable_count = one->line_count = 0;
  one->title = NULL;
}

/* The line with all %x replaced. */
static char *expand(const struct script_case *one, const char *line) {
  struct text text = {0};
  text_append(&text, "", 0);
  for (; *line; line++) {
    const struct variable *variable = NULL;
    for (size_t i = 0; *line == '%' && i < one->variable_count; i++)
      if (one->variables[i].name == line[1])
        variable = &one->variables[i];
    if (variable) {
      const char *word = variable->choices[variable->chosen];
      text_append(&text, word, strlen(word));
      line++;
    } else
      text_append(&text, line, 1);
  }
  return text.bytes;
}

static void perform(struct engine *engine, const struct script_case *one, const char *title,
                    const char *line) {
  if (engine_perform(engine, line))
    return;
  report_difference(&(struct difference){one->group->name,
                                         title,
                                         line,
                                         {engine->sides[REFERENCE].result.bytes,
                                          engine->sides[SUBJECT].result.bytes}},
                    getenv("POSIX_VERBOSE") != NULL);
}

static void run_once(struct engine *engine, const struct script_case *one) {
  char *title = expand(one, one->title);
  engine_begin(engine);
  for (size_t i = 0; i < one->line_count; i++) {
    char *line = expand(one, one->lines[i]);
    perform(engine, one, title, line);
    free(line);
  }
  if (!one->without_tree) {
    perform(engine, one, title, "as 0:0");
    perform(engine, one, title, "tree");
  }
  engine_end(engine);
  free(title);
}

/* The next choice of words: false after the last. */
static bool next_choice(struct script_case *one) {
  for (size_t i = one->variable_count; i-- > 0;) {
    struct variable *variable = &one->variables[i];
    if (++variable->chosen < variable->count)
      return true;
    variable->chosen = 0;
  }
  return false;
}

static void run_case(struct engine *engine, struct script_case *one) {
  if (!one->title)
    return;
  do
    run_once(engine, one);
  while (next_choice(one));
  clear_case(one);
}

static void add_lines(struct script_case *one, char *line) {
  for (char *next; line; line = next) {
    next = strstr(line, "; ");
    if (next) {
      *next = 0;
      next += 2;
    }
    if (one->line_count == LINES)
      die("a case of more than %d lines", LINES);
    one->lines[one->line_count++] = line;
  }
}

void script_run(struct engine *engine, const struct case_group *group) {
  static struct script_case one;
  char *script = strdup(group->script), *save;
  one.group = group;
  for (char *line = strtok_r(script, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
    if (line[0] == '=') {
      run_case(engine, &one);
      one.without_tree = line[1] == '~';
      one.title = line + 2 + one.without_tree;
    } else if (line[0] == '@')
      add_variable(&one, line + 2);
    else if (line[0] != '#')
      add_lines(&one, line);
  run_case(engine, &one);
  free(script);
}
