/* SPDX-License-Identifier: BSD-3-Clause
 *
 * sectorsctl: talk to a running nbdkit sectors server over its control socket.
 */

#include "statistics.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_USAGE = 2 };

static const char usage[] =
    "usage: sectorsctl SOCKET stats [--json | --prometheus | --watch[=SECONDS]]\n"
    "\n"
    "Shows the statistics of a server started with nbdkit sectors ... control=SOCKET.\n"
    "\n"
    "  -j, --json             as one JSON object\n"
    "  -p, --prometheus       as metrics for Prometheus\n"
    "  -w, --watch[=SECONDS]  again and again, every second unless told otherwise\n"
    "  -h, --help             print this text\n"
    "  -V, --version          print the version\n";

static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void complain(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fflush(stdout);
  fputs("sectorsctl: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
}

/* --------------------------------------------------------------- the server */

/* A stream from the server, or NULL with the error reported. */
static FILE *connect_to(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (*path == '\0' || strlen(path) >= sizeof address.sun_path) {
    complain("'%.80s' cannot name a Unix socket: it may have 1 to %zu bytes", path,
             sizeof address.sun_path - 1);
    return NULL;
  }
  strcpy(address.sun_path, path);
  int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (server < 0 || connect(server, (struct sockaddr *)&address, sizeof address) != 0) {
    complain("cannot reach a server at '%s': %s; is it running, with control=%s?", path,
             strerror(errno), path);
    if (server >= 0)
      close(server);
    return NULL;
  }
  return fdopen(server, "r");
}

/* Send a command and return the answer, or NULL with the error reported. */
static json_t *ask(FILE *server, const char *command) {
  char *line = NULL;
  size_t size = 0;
  if (dprintf(fileno(server), "{\"version\": 1, \"command\": \"%s\"}\n", command) < 0 ||
      getline(&line, &size, server) < 0) {
    complain("the server went away");
    free(line);
    return NULL;
  }
  json_t *answer = json_loads(line, 0, NULL);
  free(line);
  if (!json_is_true(json_object_get(answer, "ok"))) {
    const char *error = json_string_value(json_object_get(answer, "error"));
    complain("%s", error ? error : "the server's answer is not understood");
    json_decref(answer);
    return NULL;
  }
  return answer;
}

/* -------------------------------------------------------------------- stats */

enum format { TEXT, JSON, PROMETHEUS, WATCH };

static bool print_once(FILE *server, enum format format) {
  json_t *answer = ask(server, "stats");
  const json_t *statistics = json_object_get(answer, "statistics");
  if (!answer)
    return false;
  if (format == JSON) {
    json_dumpf(statistics, stdout, JSON_INDENT(2));
    putchar('\n');
  } else if (format == PROMETHEUS) {
    print_prometheus(statistics);
  } else {
    print_text(statistics, NULL);
  }
  json_decref(answer);
  return fflush(stdout) == 0;
}

/* Show the statistics until the server goes away or the output does. */
static bool watch(FILE *server, double seconds) {
  static const char clear_screen[] = "\033[H\033[2J";
  struct timespec pause = {.tv_sec = (time_t)seconds};
  pause.tv_nsec = (long)((seconds - (double)pause.tv_sec) * 1e9);
  json_t *before = NULL, *answer;
  bool screen = isatty(STDOUT_FILENO);
  while ((answer = ask(server, "stats"))) {
    if (screen)
      fputs(clear_screen, stdout);
    print_text(json_object_get(answer, "statistics"), json_object_get(before, "statistics"));
    if (!screen)
      putchar('\n');
    if (fflush(stdout) != 0)
      break;
    json_decref(before);
    before = answer;
    nanosleep(&pause, NULL);
  }
  json_decref(before);
  return answer != NULL;
}

static bool parse_seconds(const char *text, double *seconds) {
  char *after;
  *seconds = strtod(text, &after);
  return after != text && *after == '\0' && *seconds >= 0.1 && *seconds <= 86400;
}

int main(int count, char **arguments) {
  static const struct option options[] = {
      {"json", no_argument, NULL, 'j'},        {"prometheus", no_argument, NULL, 'p'},
      {"watch", optional_argument, NULL, 'w'}, {"help", no_argument, NULL, 'h'},
      {"version", no_argument, NULL, 'V'},     {0},
  };
  enum format format = TEXT;
  double seconds = 1;
  int option;
  signal(SIGPIPE, SIG_IGN); /* a server that went away is reported, not died of */
  while ((option = getopt_long(count, arguments, "jpw::hV", options, NULL)) >= 0) {
    switch (option) {
    case 'j':
      format = JSON;
      break;
    case 'p':
      format = PROMETHEUS;
      break;
    case 'w':
      format = WATCH;
      if (optarg && !parse_seconds(optarg, &seconds)) {
        complain("--watch: '%s' is not a number of seconds from 0.1 to 86400", optarg);
        return EXIT_USAGE;
      }
      break;
    case 'h':
      fputs(usage, stdout);
      return EXIT_SUCCESS;
    case 'V':
      puts("sectorsctl " SECTORS_VERSION);
      return EXIT_SUCCESS;
    default:
      return EXIT_USAGE;
    }
  }
  if (count - optind != 2) {
    complain("give a socket and a command, such as: sectorsctl /run/sectors.ctl stats");
    return EXIT_USAGE;
  }
  if (strcmp(arguments[optind + 1], "stats") != 0) {
    complain("'%s' is not a command; there is: stats", arguments[optind + 1]);
    return EXIT_USAGE;
  }
  FILE *server = connect_to(arguments[optind]);
  if (!server)
    return EXIT_FAILURE;
  bool done = format == WATCH ? watch(server, seconds) : print_once(server, format);
  fclose(server);
  return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
