/* SPDX-License-Identifier: BSD-3-Clause
 *
 * casefs: work with the files of a casefs volume, without mounting it.
 */

#include "verbs.h"

#include <string.h>

static const struct verb *const verbs[] = {
    &verb_ls,       &verb_tree,    &verb_find,     &verb_glob,   &verb_stat,   &verb_cat,
    &verb_cp,       &verb_mv,      &verb_rm,       &verb_mkdir,  &verb_ln,     &verb_touch,
    &verb_chmod,    &verb_chown,   &verb_truncate, &verb_case,   &verb_attrib, &verb_stream,
    &verb_ea,       &verb_acl,     &verb_reparse,  &verb_label,  &verb_df,     &verb_info,
    &verb_priority, &verb_preload, &verb_check,    &verb_resize, &verb_export, &verb_import,
};

enum { VERBS = sizeof verbs / sizeof verbs[0] };

static const char introduction[] =
    "usage: casefs VERB [OPTION...] [ARGUMENT...]\n"
    "       casefs help VERB\n"
    "\n"
    "Works with the files of a casefs volume.  They are named DEVICE:/PATH, where\n"
    "DEVICE is a file, a block device or an NBD URI.  DEVICE may be left out where the\n"
    "environment variable CASEFS names one.\n"
    "\n";

static const char conclusion[] = "\n"
                                 "  -h, --help     print this text\n"
                                 "  -V, --version  print the version\n";

static void print_verbs(FILE *stream) {
  fputs(introduction, stream);
  for (unsigned i = 0; i < VERBS; i++)
    fprintf(stream, "  %-9s  %s\n", verbs[i]->name, verbs[i]->summary);
  fputs(conclusion, stream);
}

static const struct verb *find_verb(const char *name) {
  for (unsigned i = 0; i < VERBS; i++)
    if (strcmp(verbs[i]->name, name) == 0)
      return verbs[i];
  return NULL;
}

static void print_help(const struct verb *verb) {
  const char *line = verb->usage, *lead = "usage:";
  while (*line) {
    size_t length = strcspn(line, "\n");
    printf("%-6s casefs %s %.*s\n", lead, verb->name, (int)length, line);
    line += length + (line[length] == '\n');
    lead = "";
  }
  printf("\n%s.\n%s%s", verb->summary, *verb->help ? "\n" : "", verb->help);
}

/* Whether an option stands among arguments, before a "--". */
static bool has_option(int count, char **arguments, const char *option) {
  for (int i = 1; i < count && strcmp(arguments[i], "--") != 0; i++)
    if (strcmp(arguments[i], option) == 0)
      return true;
  return false;
}

static int print_version(void) {
  puts("casefs " CASEFS_VERSION);
  return EXIT_SUCCESS;
}

static int run_help(int count, char **arguments) {
  const struct verb *verb = count > 1 ? find_verb(arguments[1]) : NULL;
  if (count > 1 && !verb)
    return misused("'%s' is not a verb; casefs --help lists them", arguments[1]);
  if (verb)
    print_help(verb);
  else
    print_verbs(stdout);
  return EXIT_SUCCESS;
}

static int run_verb(const struct verb *verb, int count, char **arguments) {
  if (has_option(count, arguments, "--help")) {
    print_help(verb);
    return EXIT_SUCCESS;
  }
  if (has_option(count, arguments, "--version"))
    return print_version();
  char *name = formatted("casefs %s", verb->name);
  arguments[0] = name;
  tool_rename(name);
  int status = tool_end(verb->run(count, arguments));
  tool_rename("casefs");
  free(name);
  return status;
}

int main(int count, char **arguments) {
  tool_start("casefs");
  if (count < 2) {
    print_verbs(stderr);
    return EXIT_USAGE;
  }
  const char *first = arguments[1];
  const struct verb *verb = find_verb(first);
  if (verb)
    return run_verb(verb, count - 1, arguments + 1);
  if (strcmp(first, "--version") == 0 || strcmp(first, "-V") == 0)
    return tool_end(print_version());
  if (strcmp(first, "help") == 0 || strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0)
    return tool_end(run_help(count - 1, arguments + 1));
  return misused("'%s' is not a verb; casefs --help lists them", first);
}
