/* SPDX-License-Identifier: BSD-3-Clause */

#include "verbs.h"

#include "connection.h"
#include "statistics.h"
#include "text.h"
#include "watch.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Print what an answer says, without what any answer has.  Takes it. */
static bool print_json(json_t *answer) {
  json_object_del(answer, "version");
  json_object_del(answer, "ok");
  json_dumpf(answer, stdout, JSON_INDENT(2));
  putchar('\n');
  json_decref(answer);
  return true;
}

/* Print a sentence, or JSON instead.  Takes the answer, which may be NULL. */
static bool report(const struct options *options, json_t *answer, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool report(const struct options *options, json_t *answer, const char *format, ...) {
  va_list arguments;
  if (!answer)
    return false;
  if (options->json)
    return print_json(answer);
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  putchar('\n');
  json_decref(answer);
  return true;
}

/* -------------------------------------------------------------------- stats */

static bool print_once(FILE *server, const struct options *options) {
  json_t *answer = ask_for(server, "stats");
  const json_t *statistics = member(answer, "statistics");
  if (!answer)
    return false;
  if (options->json) {
    json_dumpf(statistics, stdout, JSON_INDENT(2));
    putchar('\n');
  } else if (options->prometheus) {
    print_prometheus(statistics);
  } else {
    print_text(statistics, NULL);
  }
  json_decref(answer);
  return true;
}

bool show_statistics(FILE *server, const struct options *options) {
  if (!options->watch)
    return print_once(server, options);
  return isatty(STDOUT_FILENO) ? watch_screen(server, options->seconds)
                               : watch_text(server, options->seconds);
}

/* ------------------------------------------------------------------ volumes */

static bool parse_level(const char *word, int *level) {
  char *after;
  unsigned long value = *word >= '0' && *word <= '9' ? strtoul(word, &after, 10) : 11;
  if (value <= 10 && *after == '\0') {
    *level = (int)value;
    return true;
  }
  complain("'%s' is not a priority; give 0 (leaves memory first) to 10 (pinned)", word);
  return false;
}

static bool check_size(const char *word) {
  uint64_t size;
  if (parse_size(word, &size) && size > 0)
    return true;
  complain("'%s' is not the size of a disk; give a number, or one with K, M, G, T, P or E", word);
  return false;
}

/* Options that only create, and only remove take. */
static bool check_volume_options(const struct options *options, const char *verb) {
  bool create = strcmp(verb, "create") == 0, remove = strcmp(verb, "remove") == 0;
  if (!create && (options->image || options->base || options->priority)) {
    complain("--%s goes with volumes create only", options->image  ? "image"
                                                   : options->base ? "base"
                                                                   : "priority");
    return false;
  }
  if (!remove && options->force) {
    complain("--force goes with volumes remove only");
    return false;
  }
  return true;
}

bool check_volumes(struct options *options) {
  const char *verb = options->count > 0 ? options->words[0] : "list";
  const char *size = options->count > 2 ? options->words[2] : NULL;
  if (!check_volume_options(options, verb))
    return false;
  if (strcmp(verb, "list") == 0 && options->count < 2)
    return true;
  if (strcmp(verb, "remove") == 0 && options->count == 2)
    return true;
  if (strcmp(verb, "resize") == 0 && options->count == 3)
    return check_size(size);
  if (strcmp(verb, "create") == 0 &&
      (size || (options->count == 2 && (options->image || options->base))))
    return (!size || check_size(size)) &&
           (!options->priority || parse_level(options->priority, &options->level));
  complain("volumes takes: list, or create NAME SIZE (without SIZE only with --image or --base), "
           "or remove NAME, or resize NAME SIZE");
  return false;
}

static bool list_volumes(FILE *server, const struct options *options) {
  json_t *answer = ask_for(server, "volumes");
  const json_t *volume;
  size_t i;
  if (!answer || options->json)
    return answer && print_json(answer);
  printf("%-20s %10s %8s %11s  %s\n", "volume", "size", "priority", "connections", "below");
  json_array_foreach(member(answer, "volumes"), i, volume) {
    const char *image = text(volume, "image"), *base = text(volume, "base");
    print_padded(text(volume, "name"), 20);
    printf(" %10s %8" PRIu64 " %11" PRIu64 "  ", SIZE(number(volume, "size")),
           number(volume, "priority"), number(volume, "connections"));
    printf("%s%s%s%s%s\n", *image ? "image " : "", image, *image && *base ? ", " : "",
           *base ? "base " : "", base);
  }
  json_decref(answer);
  return true;
}

/* A path as the server understands it, which is in another folder. */
static json_t *place_json(const char *place) {
  char folder[PATH_MAX];
  if (strstr(place, "://") || *place == '/' || !getcwd(folder, sizeof folder))
    return json_string(place);
  return json_sprintf("%s/%s", folder, place);
}

static bool create_volume(FILE *server, const struct options *options) {
  uint64_t size = 0;
  json_t *request = json_pack("{s:s, s:s}", "command", "create", "name", options->words[1]);
  if (options->count > 2 && parse_size(options->words[2], &size))
    json_object_set_new(request, "size", json_integer((json_int_t)size));
  if (options->image)
    json_object_set_new(request, "image", place_json(options->image));
  if (options->base)
    json_object_set_new(request, "base", place_json(options->base));
  if (options->level >= 0)
    json_object_set_new(request, "priority", json_integer(options->level));
  return report(options, ask(server, request), "volume '%s' is made", options->words[1]);
}

bool manage_volumes(FILE *server, const struct options *options) {
  const char *verb = options->count > 0 ? options->words[0] : "list";
  uint64_t size = 0;
  if (strcmp(verb, "list") == 0)
    return list_volumes(server, options);
  if (strcmp(verb, "create") == 0)
    return create_volume(server, options);
  json_t *request = json_pack("{s:s, s:s}", "command", verb, "name", options->words[1]);
  if (strcmp(verb, "remove") == 0) {
    if (options->force)
      json_object_set_new(request, "force", json_true());
    return report(options, ask(server, request), "volume '%s' is removed", options->words[1]);
  }
  parse_size(options->words[2], &size);
  json_object_set_new(request, "size", json_integer((json_int_t)size));
  return report(options, ask(server, request), "volume '%s' has %s now", options->words[1],
                EXACT(size));
}

/* ----------------------------------------------------- where the data is */

bool check_target(struct options *options) {
  const char *word = options->words[0];
  char *after;
  uint64_t bytes;
  if (parse_size(word, &bytes))
    return true;
  if (*word >= '0' && *word <= '9' && strtoul(word, &after, 10) <= 100 && strcmp(after, "%") == 0)
    return true;
  complain("'%s' is not an amount of memory; give a size such as 2G, or 0%% to 100%% of the limit",
           word);
  return false;
}

bool collect(FILE *server, const struct options *options) {
  json_t *answer =
      ask(server, json_pack("{s:s, s:s}", "command", "gc", "target", options->words[0]));
  uint64_t charged = number(answer, "charged");
  return report(options, answer, "memory is at %s", SIZE(charged));
}

static bool take_range(struct options *options, const char *word) {
  options->has_range = true;
  if (parse_range(word, &options->offset, &options->length))
    return true;
  complain("'%s' is not a range; give OFFSET-END, OFFSET- or OFFSET+LENGTH, such as 0-1G or 4G+64M",
           word);
  return false;
}

bool check_range(struct options *options) {
  options->volume = options->words[0];
  return options->count < 2 || take_range(options, options->words[1]);
}

/* A request about a volume or a range of it. */
static json_t *range_request(const char *command, const struct options *options) {
  json_t *request = json_pack("{s:s, s:s}", "command", command, "volume", options->volume);
  if (options->has_range)
    json_object_set_new(request, "offset", json_integer((json_int_t)options->offset));
  if (options->has_range && options->length != UINT64_MAX)
    json_object_set_new(request, "length", json_integer((json_int_t)options->length));
  return request;
}

bool preload(FILE *server, const struct options *options) {
  json_t *answer = ask(server, range_request("preload", options));
  uint64_t bytes = number(answer, "preloaded");
  return report(options, answer, "volume '%s': %s came into memory", options->volume, SIZE(bytes));
}

bool drop(FILE *server, const struct options *options) {
  return report(options, ask(server, range_request("drop", options)),
                "volume '%s': %s%s is out of memory", options->volume,
                options->has_range ? "the range " : "all of it",
                options->has_range ? options->words[1] : "");
}

bool check_priority(struct options *options) {
  const char *last = options->words[options->count - 1];
  options->volume = options->words[0];
  if (options->count == 1)
    return true;
  if (options->count == 3)
    return take_range(options, options->words[1]) && parse_level(last, &options->level);
  return strpbrk(last, "-+") ? take_range(options, last) : parse_level(last, &options->level);
}

static bool show_priority(const struct options *options, json_t *answer) {
  const json_t *range;
  size_t i;
  if (!answer || options->json)
    return answer && print_json(answer);
  printf("%s: %" PRIu64 "\n", options->volume, number(answer, "priority"));
  json_array_foreach(member(answer, "ranges"), i, range) {
    uint64_t offset = number(range, "offset");
    printf("%s %s-%s: %" PRIu64 "\n", options->volume, EXACT(offset),
           EXACT(offset + number(range, "length")), number(range, "priority"));
  }
  json_decref(answer);
  return true;
}

bool prioritize(FILE *server, const struct options *options) {
  json_t *request = range_request("priority", options);
  if (options->level < 0)
    return show_priority(options, ask(server, request));
  json_object_set_new(request, "priority", json_integer(options->level));
  return report(options, ask(server, request), "volume '%s'%s%s has priority %d", options->volume,
                options->has_range ? ", range " : "", options->has_range ? options->words[1] : "",
                options->level);
}

bool flush(FILE *server, const struct options *options) {
  json_t *request = json_pack("{s:s}", "command", "flush");
  if (options->count == 1)
    json_object_set_new(request, "volume", json_string(options->words[0]));
  json_t *answer = ask(server, request);
  uint64_t flushed = number(answer, "flushed");
  if (options->count == 1)
    return report(options, answer, "volume '%s' is durable", options->words[0]);
  return report(options, answer, "%" PRIu64 " volume%s durable", flushed,
                flushed == 1 ? " is" : "s are");
}

/* ----------------------------------------------------------------- settings */

static const char *const setting_names[] = {"memory-limit", "high-watermark", "low-watermark",
                                            "compression"};

enum { SETTINGS = sizeof setting_names / sizeof setting_names[0], WATERMARKS = 2 };

/* The setting that a word KEY=VALUE is about, and the value; -1 if none. */
static int find_setting(const char *word, const char **value) {
  const char *equals = strchr(word, '=');
  for (int i = 0; equals && i < SETTINGS; i++) {
    size_t length = strlen(setting_names[i]);
    if (length == (size_t)(equals - word) && strncmp(word, setting_names[i], length) == 0) {
      *value = equals + 1;
      return i;
    }
  }
  return -1;
}

/* The number of N or N%; -1 if it is neither. */
static int parse_percent(const char *word) {
  char *after;
  long value = *word >= '0' && *word <= '9' ? strtol(word, &after, 10) : -1;
  return value >= 1 && value <= 99 && (*after == '\0' || strcmp(after, "%") == 0) ? (int)value : -1;
}

bool check_settings(struct options *options) {
  for (int i = 0; i < options->count; i++) {
    const char *value = "";
    uint64_t size;
    int setting = find_setting(options->words[i], &value);
    if (setting < 0) {
      complain("'%s' cannot be set; give memory-limit=SIZE, high-watermark=N%%, low-watermark=N%% "
               "or compression=none|lz4|zstd",
               options->words[i]);
      return false;
    }
    if (setting == 0 && !parse_size(value, &size)) {
      complain("memory-limit: '%s' is not an amount of memory; give a size such as 8G", value);
      return false;
    }
    if ((setting == 1 || setting == WATERMARKS) && parse_percent(value) < 0) {
      complain("%s: '%s' is not a share of the limit; give 1%% to 99%%", setting_names[setting],
               value);
      return false;
    }
  }
  return true;
}

bool set(FILE *server, const struct options *options) {
  json_t *request = json_pack("{s:s}", "command", "set");
  for (int i = 0; i < options->count; i++) {
    const char *value = "";
    uint64_t size = 0;
    switch (find_setting(options->words[i], &value)) {
    case 0:
      parse_size(value, &size);
      json_object_set_new(request, "memory_limit", json_integer((json_int_t)size));
      break;
    case 1:
      json_object_set_new(request, "high_watermark", json_integer(parse_percent(value)));
      break;
    case WATERMARKS:
      json_object_set_new(request, "low_watermark", json_integer(parse_percent(value)));
      break;
    default:
      json_object_set_new(request, "compression", json_string(value));
    }
  }
  json_t *answer = ask(server, request);
  if (!answer || options->json)
    return answer && print_json(answer);
  printf("memory-limit=%s", EXACT(number(answer, "memory_limit")));
  if (number(answer, "high_watermark") > 0)
    printf(" high-watermark=%" PRIu64 "%% low-watermark=%" PRIu64 "%% compression=%s",
           number(answer, "high_watermark"), number(answer, "low_watermark"),
           text(answer, "compression"));
  putchar('\n');
  json_decref(answer);
  return true;
}

/* ---------------------------------------------------------------------- log */

static void print_event(const json_t *event, bool json) {
  if (json) { /* one on a line, so that they can be followed */
    json_dumpf(event, stdout, JSON_COMPACT);
    putchar('\n');
    return;
  }
  printf("%s %-7s %s\n", text(event, "time"), text(event, "kind"), text(event, "sentence"));
}

bool show_log(FILE *server, const struct options *options) {
  const struct timespec pause = {.tv_nsec = 500000000};
  uint64_t last = 0;
  do {
    const json_t *event;
    size_t i;
    json_t *answer =
        ask(server, json_pack("{s:s, s:I}", "command", "log", "since", (json_int_t)last));
    if (!answer)
      return false;
    json_array_foreach(member(answer, "events"), i, event) print_event(event, options->json);
    last = number(answer, "last");
    json_decref(answer);
    if (fflush(stdout) != 0)
      return false;
  } while (options->follow && nanosleep(&pause, NULL) == 0);
  return true;
}
