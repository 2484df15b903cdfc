/* SPDX-License-Identifier: BSD-3-Clause */

#include "json.h"
#include "text.h"
#include "verbs.h"

#include <inttypes.h>
#include <string.h>

struct options {
  bool json, human, printed;
  struct json_list list;
};

static unsigned percent(uint64_t part, uint64_t whole) {
  return whole > 0 ? (unsigned)((double)part * 100 / (double)whole + 0.999) : 0;
}

static void print_row(const char *device, const struct casefs_statistics *statistics,
                      struct options *options) {
  char size[SIZE_TEXT], used[SIZE_TEXT], left[SIZE_TEXT];
  int width = options->human ? 8 : 20;
  uint64_t in_use = statistics->size - statistics->free - statistics->reserved;
  if (!options->printed)
    printf("%*s %*s %*s %5s %12s  %s\n", width, "Size", width, "Used", width, "Free", "Use%",
           "Files", "Device");
  options->printed = true;
  printf("%*s %*s %*s %4u%% %12" PRIu64 "  ", width,
         size_text(statistics->size, options->human, size), width,
         size_text(in_use, options->human, used), width,
         size_text(statistics->free, options->human, left), percent(in_use, statistics->size),
         statistics->nodes);
  print_name(stdout, device, strlen(device));
  if (*statistics->label) {
    fputs("  ", stdout);
    print_name(stdout, statistics->label, strlen(statistics->label));
  }
  putchar('\n');
}

static json_t *row_object(const char *device, const struct casefs_statistics *statistics) {
  json_t *object = json_object();
  uint64_t used = statistics->size - statistics->free - statistics->reserved;
  json_object_set_new(object, "device", json_name(device, strlen(device)));
  json_object_set_new(object, "label", json_name(statistics->label, strlen(statistics->label)));
  json_object_set_new(object, "size", json_integer((json_int_t)statistics->size));
  json_object_set_new(object, "used", json_integer((json_int_t)used));
  json_object_set_new(object, "free", json_integer((json_int_t)statistics->free));
  json_object_set_new(object, "reserved", json_integer((json_int_t)statistics->reserved));
  json_object_set_new(object, "nodes", json_integer((json_int_t)statistics->nodes));
  return object;
}

static bool show_space(struct target *target, void *context) {
  struct options *options = context;
  struct casefs_statistics statistics;
  casefs_volume_statistics(target->session->volume, &statistics);
  if (options->json)
    json_list_add(&options->list, row_object(target->location.device, &statistics));
  else
    print_row(target->location.device, &statistics, options);
  return true;
}

static int run_df(int count, char **arguments) {
  static const struct option long_options[] = {
      {"human", no_argument, NULL, 'h'}, {"json", no_argument, NULL, 'j'}, {0}};
  struct options options = {0};
  int letter;
  while ((letter = getopt_long(count, arguments, "h", long_options, NULL)) >= 0) {
    if (letter == '?')
      return EXIT_USAGE;
    options.human = options.human || letter == 'h';
    options.json = options.json || letter == 'j';
  }
  if (!arguments_or_root(&count, &arguments))
    return EXIT_USAGE;
  int status = for_each_target(count, arguments, false, 0, show_space, &options);
  if (options.json)
    json_list_end(&options.list);
  return status;
}

const struct verb verb_df = {
    .name = "df",
    .usage = "[-h] [--json] [DEVICE...]",
    .summary = "Show how much space volumes have left",
    .help = "  -h, --human  sizes like 1.2G instead of bytes\n"
            "      --json   as a JSON array\n",
    .run = run_df,
};
