/* SPDX-License-Identifier: BSD-3-Clause
 *
 * sectorsctl: talk to a running nbdkit sectors server over its control socket.
 */

#include "connection.h"
#include "text.h"
#include "verbs.h"

#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 2, EXIT_UNREACHABLE = 3 };

static const char usage[] =
    "usage: sectorsctl SOCKET VERB [ARGUMENT...] [OPTION...]\n"
    "\n"
    "Looks after a server started with nbdkit sectors ... control=SOCKET.\n"
    "\n"
    "stats                       what there is, and what was done\n"
    "volumes                     list the volumes\n"
    "volumes create NAME [SIZE]  make one; size and contents may come from --image or --base\n"
    "volumes remove NAME         remove one; its image stays\n"
    "volumes resize NAME SIZE    change its size\n"
    "gc TARGET                   move the coldest data out of memory, down to a size or N%\n"
    "preload VOLUME [RANGE]      bring data into memory\n"
    "drop VOLUME [RANGE]         move it out of memory\n"
    "priority VOLUME [RANGE] [N] show or set the priority: 0 goes first, 9 and 10 stay\n"
    "flush [VOLUME]              make what was written durable\n"
    "map VOLUME [RANGE]          draw which tier holds what, and how hot it is\n"
    "set KEY=VALUE...            memory-limit, high-watermark, low-watermark, compression\n"
    "log                         notable events\n"
    "\n"
    "A RANGE is OFFSET-END, OFFSET- or OFFSET+LENGTH, such as 0-1G.\n"
    "\n"
    "  -j, --json             as JSON\n"
    "  -p, --prometheus       stats: as metrics for Prometheus\n"
    "  -w, --watch[=SECONDS]  stats: again and again, every second unless told otherwise\n"
    "  -i, --image=PATH|URI   volumes create: its durable home\n"
    "  -b, --base=PATH|URI    volumes create: what it shows where nothing was written\n"
    "  -P, --priority=N       volumes create: its priority, 0 to 10\n"
    "  -F, --force            volumes remove: also if its image cannot be written\n"
    "  -o, --output=FILE      map: a picture, FILE.svg or FILE.png\n"
    "  -f, --follow           log: wait for more\n"
    "  -h, --help             print this text\n"
    "  -V, --version          print the version\n";

static const char short_options[] = "jpw::i:b:P:Fo:fhV";

static const struct option long_options[] = {
    {"json", no_argument, NULL, 'j'},        {"prometheus", no_argument, NULL, 'p'},
    {"watch", optional_argument, NULL, 'w'}, {"image", required_argument, NULL, 'i'},
    {"base", required_argument, NULL, 'b'},  {"priority", required_argument, NULL, 'P'},
    {"force", no_argument, NULL, 'F'},       {"output", required_argument, NULL, 'o'},
    {"follow", no_argument, NULL, 'f'},      {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},     {0},
};

static const struct verb {
  const char *name;
  bool (*run)(FILE *server, const struct options *options);
  bool (*check)(struct options *options); /* or NULL */
  int least, most;                        /* words behind it */
  const char *options;                    /* the short ones that it takes */
  const char *words;                      /* for complaints */
} verbs[] = {
    {"stats", show_statistics, NULL, 0, 0, "jpw", ""},
    {"volumes", manage_volumes, check_volumes, 0, 3, "jibPF",
     "[list | create NAME [SIZE] | remove NAME | resize NAME SIZE]"},
    {"gc", collect, check_target, 1, 1, "j", "TARGET, such as 2G or 50%"},
    {"preload", preload, check_range, 1, 2, "j", "VOLUME [RANGE]"},
    {"drop", drop, check_range, 1, 2, "j", "VOLUME [RANGE]"},
    {"priority", prioritize, check_priority, 1, 3, "j", "VOLUME [RANGE] [N]"},
    {"flush", flush, NULL, 0, 1, "j", "[VOLUME]"},
    {"map", show_map, check_map, 1, 2, "jo", "VOLUME [RANGE]"},
    {"set", set, check_settings, 1, 4, "j",
     "memory-limit=SIZE, high-watermark=N%, low-watermark=N%, compression=none|lz4|zstd"},
    {"log", show_log, NULL, 0, 0, "jf", ""},
};

enum { VERBS = sizeof verbs / sizeof verbs[0] };

static bool parse_seconds(const char *value, double *seconds) {
  char *after;
  *seconds = strtod(value, &after);
  return after != value && *after == '\0' && *seconds >= 0.1 && *seconds <= 86400;
}

/* Take an option that has a value or is a switch.  False with the error reported. */
static bool take_option(int option, struct options *options) {
  switch (option) {
  case 'j':
    options->json = true;
    options->prometheus = options->watch = false;
    return true;
  case 'p':
    options->prometheus = true;
    options->json = options->watch = false;
    return true;
  case 'w':
    options->watch = true;
    options->json = options->prometheus = false;
    if (!optarg || parse_seconds(optarg, &options->seconds))
      return true;
    complain("--watch: '%s' is not a number of seconds from 0.1 to 86400", optarg);
    return false;
  case 'i':
    options->image = optarg;
    return true;
  case 'b':
    options->base = optarg;
    return true;
  case 'P':
    options->priority = optarg;
    return true;
  case 'F':
    options->force = true;
    return true;
  case 'o':
    options->output = optarg;
    return true;
  default:
    options->follow = true;
    return true;
  }
}

static const struct verb *find_verb(const char *name) {
  for (int i = 0; i < VERBS; i++)
    if (strcmp(verbs[i].name, name) == 0)
      return &verbs[i];
  complain("'%s' is not a verb; there are stats, volumes, gc, preload, drop, priority, flush, "
           "map, set and log",
           name);
  return NULL;
}

static bool takes_options(const struct verb *verb, const char *given) {
  for (; *given; given++) {
    if (strchr(verb->options, *given))
      continue;
    for (const struct option *option = long_options; option->name; option++)
      if (option->val == *given)
        complain("--%s does not go with %s", option->name, verb->name);
    return false;
  }
  return true;
}

/* Whether the command line is right, apart from the socket. */
static bool check(const struct verb *verb, struct options *options, const char *given) {
  if (!takes_options(verb, given))
    return false;
  if (options->count < verb->least || options->count > verb->most) {
    complain("%s takes %s", verb->name, *verb->words ? verb->words : "no arguments");
    return false;
  }
  return !verb->check || verb->check(options);
}

int main(int count, char **arguments) {
  struct options options = {.seconds = 1, .level = -1};
  char given[64] = "";
  int option;
  setlocale(LC_CTYPE, "");
  signal(SIGPIPE, SIG_IGN); /* a server that went away is reported, not died of */
  while ((option = getopt_long(count, arguments, short_options, long_options, NULL)) >= 0) {
    if (option == 'h') {
      fputs(usage, stdout);
      return EXIT_SUCCESS;
    }
    if (option == 'V') {
      puts("sectorsctl " SECTORS_VERSION);
      return EXIT_SUCCESS;
    }
    if (option == '?' || !take_option(option, &options))
      return EXIT_USAGE;
    if (!strchr(given, option))
      given[strlen(given)] = (char)option;
  }
  if (count - optind < 2) {
    complain("give a socket and a verb, such as: sectorsctl /run/sectors.ctl stats");
    return EXIT_USAGE;
  }
  const char *socket = arguments[optind];
  const struct verb *verb = find_verb(arguments[optind + 1]);
  options.words = arguments + optind + 2;
  options.count = count - optind - 2;
  if (!verb || !check(verb, &options, given))
    return EXIT_USAGE;
  FILE *server = connect_to(socket);
  if (!server)
    return EXIT_UNREACHABLE;
  bool done = verb->run(server, &options);
  fclose(server);
  if (fflush(stdout) != 0 || ferror(stdout)) {
    complain("the output could not be written");
    done = false;
  }
  return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
