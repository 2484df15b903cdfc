/* SPDX-License-Identifier: BSD-3-Clause
 *
 * fsck.casefs: check a casefs volume, and mend it.
 */

#include "casefs/json.h"
#include "casefs/progress.h"
#include "casefs/text.h"
#include "casefs/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* Of fsck(8). */
enum {
  FSCK_CLEAN = 0,
  FSCK_CORRECTED = 1,
  FSCK_UNCORRECTED = 4,
  FSCK_ERROR = 8,
  FSCK_USAGE = 16,
  FSCK_CANCELLED = 32,
};

static const char usage[] =
    "usage: fsck.casefs [OPTION...] DEVICE\n"
    "\n"
    "Checks the casefs volume on DEVICE, which is a file, a block device or an NBD URI,\n"
    "and mends it.  Nobody may have it open meanwhile.\n"
    "\n"
    "  -n             change nothing, only report\n"
    "  -p, -a         mend without asking\n"
    "  -y             the same: yes to all questions\n"
    "  -f             accepted: a check is always a whole one\n"
    "      --data     read all data too, and compare its checksums\n"
    "      --size=SIZE  size of the volume, for when no superblock tells it\n"
    "  -C[FD]         progress: to the descriptor FD for programs, else on the terminal\n"
    "  -v             print more numbers\n"
    "      --json     print the result as JSON; with -n, -p or -y\n"
    "  -h, --help     print this text\n"
    "  -V, --version  print the version\n"
    "\n"
    "Exits with 0: no problems; 1: all mended; 4: some are left; 8: it could not be\n"
    "checked; 16: wrong usage; 32: cancelled.\n";

enum mode { ASK, REPORT, MEND };

struct check {
  enum mode mode;
  bool data, verbose, json;
  uint64_t size;
  int progress_descriptor; /* 0: the terminal */
  const char *device;
  struct progress progress;
  const char *phase; /* the last that was told */
  unsigned phases;
  bool headed;      /* the table's head was printed */
  bool asked;       /* about the problem that is reported next */
  bool mend_others; /* the answer was: this and all others */
  json_t *problems;
};

/* ---------------------------------------------------------------- callbacks */

static json_t *problem_object(const struct casefs_problem *problem) {
  json_t *object = json_object();
  json_object_set_new(object, "number", json_integer(problem->number));
  json_object_set_new(object, "id", json_integer((json_int_t)problem->id));
  json_object_set_new(object, "offset", json_integer((json_int_t)problem->offset));
  json_object_set_new(object, "repaired", json_boolean(problem->repaired));
  json_object_set_new(object, "text", json_name(problem->text, strlen(problem->text)));
  return object;
}

static void print_problem(struct check *check, const struct casefs_problem *problem,
                          const char *outcome) {
  progress_clear(&check->progress);
  if (!check->headed)
    printf("%7s %12s %16s  %-7s %s\n", "problem", "node", "offset", "", "what");
  check->headed = true;
  char *safe = displayable(problem->text, strlen(problem->text));
  printf("%7u %12" PRIu64 " %16" PRIu64 "  %-7s %s\n", problem->number, problem->id,
         problem->offset, outcome, safe);
  free(safe);
}

static void take_problem(void *context, const struct casefs_problem *problem) {
  struct check *check = context;
  bool asked = check->asked;
  check->asked = false;
  if (check->json)
    json_array_append_new(check->problems, problem_object(problem));
  else if (!asked)
    print_problem(check, problem, problem->repaired ? "mended" : "left");
}

/* The first letter of an answer, lower case; 'y' for an empty one, 'n' at the end of input. */
static int read_answer(void) {
  char *line = NULL;
  size_t size = 0;
  ssize_t length = getline(&line, &size, stdin);
  int answer = length <= 0 ? 'n' : *line == '\n' ? 'y' : *line | 0x20;
  free(line);
  return answer;
}

static bool answer_question(void *context, const struct casefs_problem *problem) {
  struct check *check = context;
  if (check->mode != ASK || check->mend_others)
    return true;
  print_problem(check, problem, "");
  check->asked = true;
  for (;;) {
    printf("Mend it? [Yes, no, all] ");
    fflush(stdout);
    int answer = read_answer();
    check->mend_others = answer == 'a';
    if (answer == 'y' || answer == 'a' || answer == 'n')
      return answer != 'n';
  }
}

static void take_progress(void *context, const char *phase, uint64_t done, uint64_t total) {
  struct check *check = context;
  if (!check->phase || strcmp(phase, check->phase) != 0) {
    check->phase = phase;
    check->phases++;
  }
  check->progress.what = phase;
  if (check->progress_descriptor > 0)
    dprintf(check->progress_descriptor, "%u %" PRIu64 " %" PRIu64 " %s\n", check->phases, done,
            total, check->device);
  else
    progress_update(&check->progress, done, total);
}

/* A volume is whole at every moment, so that it may be left as it is. */
static void cancel(int number) {
  static const char message[] = "\nfsck.casefs: cancelled\n";
  (void)number;
  if (write(STDERR_FILENO, message, sizeof message - 1) < 0)
    _exit(FSCK_CANCELLED | FSCK_ERROR);
  _exit(FSCK_CANCELLED);
}

/* ----------------------------------------------------------------- results */

/* What the volume says of itself, if it can be opened now. */
static bool read_statistics(struct casefs_device *device, struct casefs_statistics *statistics) {
  static const struct casefs_open_options read_only = {.read_only = true};
  casefs_volume *volume;
  *statistics = (struct casefs_statistics){0};
  if (casefs_open(device, &read_only, &volume) < 0)
    return false;
  casefs_volume_statistics(volume, statistics);
  casefs_close(volume);
  return true;
}

static void print_verbose(const struct casefs_check_result *result,
                          const struct casefs_statistics *statistics) {
  char uuid[37];
  printf("uuid %s, generation %" PRIu64 ", depth of the tree %" PRIu32 "\n",
         uuid_text(statistics->uuid, uuid), statistics->generation, statistics->tree_depth);
  printf("%12" PRIu64 " files\n%12" PRIu64 " directories\n%12" PRIu64 " others\n%12" PRIu64
         " streams\n",
         result->files, result->directories, result->others, result->streams);
  printf("%12" PRIu64 " blocks of data\n%12" PRIu64 " blocks of the tree\n", result->data_blocks,
         result->tree_blocks);
}

static void print_summary(const struct check *check, const struct casefs_check_result *result,
                          const struct casefs_statistics *statistics) {
  const char *label = *statistics->label ? statistics->label : check->device;
  char *name = displayable(label, strlen(label));
  if (check->headed)
    putchar('\n');
  if (result->problems > 0)
    printf("%s: %" PRIu64 " problems, %" PRIu64 " mended, %" PRIu64 " left\n", name,
           result->problems, result->repaired, result->problems - result->repaired);
  if (check->verbose)
    print_verbose(result, statistics);
  printf("%s: %" PRIu64 " files, %" PRIu64 " directories, %" PRIu64 "/%" PRIu64 " blocks\n", name,
         result->files + result->others, result->directories,
         result->data_blocks + result->tree_blocks, statistics->size / CASEFS_BLOCK_SIZE);
  free(name);
}

static void print_object(const struct check *check, const struct casefs_check_result *result,
                         const struct casefs_statistics *statistics, int status) {
  json_t *object = json_object();
  json_object_set_new(object, "device", json_name(check->device, strlen(check->device)));
  json_object_set_new(object, "label", json_name(statistics->label, strlen(statistics->label)));
  json_object_set(object, "problems", check->problems);
  json_object_set_new(object, "found", json_integer((json_int_t)result->problems));
  json_object_set_new(object, "repaired", json_integer((json_int_t)result->repaired));
  json_object_set_new(object, "files", json_integer((json_int_t)result->files));
  json_object_set_new(object, "directories", json_integer((json_int_t)result->directories));
  json_object_set_new(object, "others", json_integer((json_int_t)result->others));
  json_object_set_new(object, "streams", json_integer((json_int_t)result->streams));
  json_object_set_new(object, "data_blocks", json_integer((json_int_t)result->data_blocks));
  json_object_set_new(object, "tree_blocks", json_integer((json_int_t)result->tree_blocks));
  json_object_set_new(object, "blocks",
                      json_integer((json_int_t)(statistics->size / CASEFS_BLOCK_SIZE)));
  json_object_set_new(object, "status", json_integer(status));
  print_json(object);
}

static void complain_of_check(const char *device, int error) {
  if (error == -ENODATA)
    complain("'%s' does not hold a casefs volume, or nothing of it is left", device);
  else if (error == -EOPNOTSUPP)
    complain("the volume on '%s' has features of a newer version than this one, %s", device,
             CASEFS_VERSION);
  else
    complain("cannot check the volume on '%s': %s", device, reason(error));
}

static int check_device(struct casefs_device *device, struct check *check) {
  struct casefs_check_result result = {0};
  struct casefs_statistics statistics;
  struct casefs_check_options options = {
      .flags = (check->data ? CASEFS_CHECK_DATA : 0u) |
               (check->mode == REPORT ? 0u : CASEFS_CHECK_REPAIR),
      .size = check->size,
      .context = check,
      .problem = take_problem,
      .ask = answer_question,
      .progress = take_progress,
  };
  progress_start(&check->progress, "checking", false);
  int error = casefs_check(device, &options, &result);
  progress_clear(&check->progress);
  if (error < 0) {
    complain_of_check(check->device, error);
    return FSCK_ERROR;
  }
  int status = result.problems == 0                 ? FSCK_CLEAN
               : result.repaired == result.problems ? FSCK_CORRECTED
                                                    : FSCK_UNCORRECTED;
  read_statistics(device, &statistics);
  if (check->json)
    print_object(check, &result, &statistics, status);
  else
    print_summary(check, &result, &statistics);
  return status;
}

static int run(struct check *check) {
  unsigned flags = check->mode == REPORT ? CASEFS_DEVICE_READ_ONLY : 0;
  struct casefs_device *device = device_open(check->device, flags, 0);
  if (!device)
    return FSCK_ERROR;
  check->problems = json_array();
  int status = check_device(device, check);
  json_decref(check->problems);
  casefs_device_close(device);
  return status;
}

/* ----------------------------------------------------------------- options */

enum { DATA = 256, SIZE, JSON };

static int misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int misuse(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  complain_arguments(format, arguments);
  va_end(arguments);
  return FSCK_USAGE;
}

/* FSCK_CLEAN, or the failure to exit with. */
static int take_option(int letter, struct check *check) {
  uint64_t number;
  switch (letter) {
  case 'n':
  case 'p':
  case 'a':
  case 'y':
    if (check->mode != ASK && (check->mode == REPORT) != (letter == 'n'))
      return misuse("-n says to change nothing, and -p, -a and -y to mend: give one of them");
    check->mode = letter == 'n' ? REPORT : MEND;
    return FSCK_CLEAN;
  case 'f':
    return FSCK_CLEAN;
  case 'v':
    check->verbose = true;
    return FSCK_CLEAN;
  case 'C':
    if (optarg && !parse_number(optarg, INT32_MAX, &number))
      return misuse("-C: '%s' is not the number of a descriptor", optarg);
    check->progress_descriptor = optarg ? (int)number : 0;
    return FSCK_CLEAN;
  case DATA:
    check->data = true;
    return FSCK_CLEAN;
  case SIZE:
    return parse_size(optarg, &check->size) ? FSCK_CLEAN
                                            : misuse("--size: '%s' is not a size", optarg);
  case JSON:
    check->json = true;
    return FSCK_CLEAN;
  default:
    return FSCK_USAGE;
  }
}

/* Whether somebody can be asked, if somebody must be. */
static int check_mode(const struct check *check) {
  if (check->mode != ASK)
    return FSCK_CLEAN;
  if (check->json)
    return misuse("--json asks no questions: give -n to change nothing, or -p or -y to mend");
  if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
    return FSCK_CLEAN;
  complain("there is no terminal to ask questions on: give -n to change nothing, or -p or -y to "
           "mend");
  return FSCK_ERROR;
}

static int finish(int status) {
  int end = tool_end(status);
  return end == status ? status : status | FSCK_ERROR;
}

int main(int count, char **arguments) {
  static const struct option long_options[] = {
      {"data", no_argument, NULL, DATA},   {"size", required_argument, NULL, SIZE},
      {"json", no_argument, NULL, JSON},   {"help", no_argument, NULL, 'h'},
      {"version", no_argument, NULL, 'V'}, {0}};
  struct check check = {0};
  int letter, status = FSCK_CLEAN;
  tool_start("fsck.casefs");
  signal(SIGINT, cancel);
  signal(SIGTERM, cancel);
  while ((letter = getopt_long(count, arguments, "npayfvC::hV", long_options, NULL)) >= 0) {
    if (letter == 'h' || letter == 'V') {
      fputs(letter == 'h' ? usage : "fsck.casefs " CASEFS_VERSION "\n", stdout);
      return finish(FSCK_CLEAN);
    }
    status = take_option(letter, &check);
    if (status != FSCK_CLEAN)
      return status;
  }
  if (count - optind != 1)
    return misuse(count == optind ? "give a device, such as a file, /dev/nbd0 or nbd://host"
                                  : "give one device; options stand before it or after it");
  check.device = arguments[optind];
  status = check_mode(&check);
  return status == FSCK_CLEAN ? finish(run(&check)) : status;
}
