/* SPDX-License-Identifier: BSD-3-Clause
 *
 * posix-compare REFERENCE SUBJECT [--seed N] [--operations N] [--only GROUP] [--script FILE]
 *               [--remount COMMAND] [--trace]
 *
 * Runs the scripted groups of cases and then random operations in two directories, and compares
 * what the calls return.  The command given for --remount is to mount one or both anew, at times,
 * after which all must be as before.  Succeeds if all differences are in the table of
 * posix-expected.c and all of that table were seen.
 */

#include "posix.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct settings {
  const char *reference, *subject, *only, *script;
  const char *remount;
  uint64_t seed, operations;
  bool trace;
};

static const char usage[] =
    "usage: posix-compare REFERENCE SUBJECT [--seed N] [--operations N] [--only GROUP|random]\n"
    "                     [--script FILE] [--remount COMMAND] [--trace] [--list]\n"
    "REFERENCE and SUBJECT are directories on the two file systems.\n";

__attribute__((noreturn)) static void list_groups(void) {
  for (size_t i = 0; i < group_count; i++)
    puts(groups[i].name);
  exit(0);
}

static struct settings read_arguments(int argc, char **argv) {
  static const struct option options[] = {
      {"seed", required_argument, NULL, 's'},    {"operations", required_argument, NULL, 'n'},
      {"only", required_argument, NULL, 'o'},    {"script", required_argument, NULL, 'f'},
      {"list", no_argument, NULL, 'l'},          {"trace", no_argument, NULL, 't'},
      {"remount", required_argument, NULL, 'r'}, {NULL, 0, NULL, 0}};
  struct settings settings = {.seed = 1, .operations = 10000};
  for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
    switch (option) {
    case 's':
      settings.seed = strtoull(optarg, NULL, 0);
      break;
    case 'n':
      settings.operations = strtoull(optarg, NULL, 0);
      break;
    case 'o':
      settings.only = optarg;
      break;
    case 'f':
      settings.script = optarg;
      break;
    case 'r':
      settings.remount = optarg;
      break;
    case 't':
      settings.trace = true;
      break;
    case 'l':
      list_groups();
    default:
      fputs(usage, stderr);
      exit(2);
    }
  if (argc - optind != 2) {
    fputs(usage, stderr);
    exit(2);
  }
  settings.reference = argv[optind];
  settings.subject = argv[optind + 1];
  return settings;
}

static void run_groups(struct engine *engine, const char *only) {
  bool found = !only || !strcmp(only, "random");
  for (size_t i = 0; i < group_count; i++)
    if (!only || !strcmp(only, groups[i].name)) {
      script_run(engine, &groups[i]);
      found = true;
    }
  if (!found)
    die("there is no group '%s'", only);
}

static void run_file(struct engine *engine, const char *path) {
  struct text text = {0};
  char buffer[4096];
  FILE *file = fopen(path, "r");
  if (!file)
    die("%s: %m", path);
  for (size_t length; (length = fread(buffer, 1, sizeof buffer, file)) > 0;)
    text_append(&text, buffer, length);
  fclose(file);
  script_run(engine, &(struct case_group){"file", text.bytes});
  text_free(&text);
}

int main(int argc, char **argv) {
  static struct engine engine;
  struct settings settings = read_arguments(argc, argv);
  if (geteuid() != 0)
    die("changing users and making devices needs root");
  setvbuf(stdout, NULL, _IOLBF, 0);
  engine.trace = settings.trace;
  engine.remount = settings.remount;
  engine_start(&engine, settings.reference, settings.subject);
  if (settings.script)
    run_file(&engine, settings.script);
  else
    run_groups(&engine, settings.only);
  bool with_random = !settings.script && (!settings.only || !strcmp(settings.only, "random"));
  if (with_random)
    random_run(&engine, settings.seed, settings.operations);
  engine_stop(&engine);
  return report_summary(&engine, settings.only, !settings.script) ? 0 : 1;
}
