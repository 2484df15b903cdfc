/* SPDX-License-Identifier: BSD-3-Clause */

#include "json.h"
#include "progress.h"
#include "text.h"
#include "verbs.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

struct report {
  bool json, printed;
  json_t *problems; /* of JSON */
  struct progress progress;
};

static json_t *problem_object(const struct casefs_problem *problem) {
  json_t *object = json_object();
  json_object_set_new(object, "number", json_integer(problem->number));
  json_object_set_new(object, "id", json_integer((json_int_t)problem->id));
  json_object_set_new(object, "offset", json_integer((json_int_t)problem->offset));
  json_object_set_new(object, "text", json_name(problem->text, strlen(problem->text)));
  return object;
}

static void take_problem(void *context, const struct casefs_problem *problem) {
  struct report *report = context;
  progress_clear(&report->progress);
  if (report->json) {
    json_array_append_new(report->problems, problem_object(problem));
    return;
  }
  if (!report->printed)
    printf("%7s %12s %20s  %s\n", "problem", "node", "offset", "what");
  report->printed = true;
  char *safe = displayable(problem->text, strlen(problem->text));
  printf("%7u %12" PRIu64 " %20" PRIu64 "  %s\n", problem->number, problem->id, problem->offset,
         safe);
  free(safe);
}

static void take_progress(void *context, const char *phase, uint64_t done, uint64_t total) {
  struct report *report = context;
  report->progress.what = phase;
  progress_update(&report->progress, done, total);
}

static void print_result(const struct casefs_check_result *result, struct report *report) {
  if (!report->json) {
    printf("%s%" PRIu64 " directories, %" PRIu64 " files, %" PRIu64 " others, %" PRIu64
           " streams; %" PRIu64 " data blocks, %" PRIu64 " tree blocks; ",
           report->printed ? "\n" : "", result->directories, result->files, result->others,
           result->streams, result->data_blocks, result->tree_blocks);
    if (result->problems > 0)
      printf("%" PRIu64 " problems, which fsck.casefs mends\n", result->problems);
    else
      puts("no problems");
    return;
  }
  json_t *object = json_object();
  json_object_set(object, "problems", report->problems);
  json_object_set_new(object, "directories", json_integer((json_int_t)result->directories));
  json_object_set_new(object, "files", json_integer((json_int_t)result->files));
  json_object_set_new(object, "others", json_integer((json_int_t)result->others));
  json_object_set_new(object, "streams", json_integer((json_int_t)result->streams));
  json_object_set_new(object, "data_blocks", json_integer((json_int_t)result->data_blocks));
  json_object_set_new(object, "tree_blocks", json_integer((json_int_t)result->tree_blocks));
  print_json(object);
}

static bool check(const char *name, bool data, struct report *report) {
  struct casefs_check_result result = {0};
  struct casefs_check_options options = {.flags = data ? CASEFS_CHECK_DATA : 0,
                                         .context = report,
                                         .problem = take_problem,
                                         .progress = take_progress};
  struct casefs_device *device = device_open(name, CASEFS_DEVICE_READ_ONLY, 0);
  if (!device)
    return false;
  progress_start(&report->progress, "checking", false);
  int error = casefs_check(device, &options, &result);
  progress_clear(&report->progress);
  casefs_device_close(device);
  if (error == -ENODATA)
    complain("'%s' does not hold a casefs volume", name);
  else if (error < 0)
    complain("cannot check the volume on '%s': %s", name, reason(error));
  else
    print_result(&result, report);
  return error >= 0 && result.problems == 0;
}

static int run_check(int count, char **arguments) {
  static const struct option options[] = {
      {"data", no_argument, NULL, 'd'}, {"json", no_argument, NULL, 'j'}, {0}};
  struct report report = {0};
  struct location location;
  bool data = false;
  int letter;
  while ((letter = getopt_long(count, arguments, "", options, NULL)) >= 0) {
    if (letter == '?')
      return EXIT_USAGE;
    data = data || letter == 'd';
    report.json = report.json || letter == 'j';
  }
  if (!arguments_or_root(&count, &arguments))
    return EXIT_USAGE;
  if (count != 1)
    return misused("give one device to check");
  if (!location_parse_node(*arguments, &location))
    return EXIT_USAGE;
  report.problems = json_array();
  bool good = check(location.device, data, &report);
  json_decref(report.problems);
  location_clear(&location);
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

const struct verb verb_check = {
    .name = "check",
    .usage = "[--data] [--json] [DEVICE]",
    .summary = "Look for damage in a volume, changing nothing",
    .help = "Fails if there are problems, which fsck.casefs mends.\n"
            "\n"
            "      --data  read all data too, and compare its checksums\n"
            "      --json  as a JSON object\n",
    .run = run_check,
};
