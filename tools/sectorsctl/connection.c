/* SPDX-License-Identifier: BSD-3-Clause */

#include "connection.h"

#include "text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

FILE *connect_to(const char *path) {
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

/* ------------------------------------------------------------------ progress */

enum { BAR = 30 };

static bool bar_is_shown;

static void show_progress(const json_t *progress) {
  uint64_t done = number(progress, "done"), total = number(progress, "total");
  if (!isatty(STDERR_FILENO))
    return;
  double share = total > 0 ? (double)done / (double)total : 0;
  int filled = (int)(share * BAR);
  fprintf(stderr, "\r[");
  for (int i = 0; i < BAR; i++)
    fputc(i < filled ? '#' : '.', stderr);
  fprintf(stderr, "] %3.0f%%  %s of %s\033[K", 100 * share, SIZE(done), SIZE(total));
  fflush(stderr);
  bar_is_shown = true;
}

static void clear_progress(void) {
  if (bar_is_shown)
    fputs("\r\033[K", stderr);
  bar_is_shown = false;
}

/* -------------------------------------------------------------------- asking */

static bool send_request(FILE *server, json_t *request) {
  json_object_set_new(request, "version", json_integer(1));
  char *line = json_dumps(request, JSON_COMPACT);
  json_decref(request);
  bool sent = line && dprintf(fileno(server), "%s\n", line) >= 0;
  free(line);
  return sent;
}

/* The answer, of which lines of progress are no part; NULL if there is none. */
static json_t *receive(FILE *server) {
  char *line = NULL;
  size_t size = 0;
  json_t *answer = NULL;
  while (!answer && getline(&line, &size, server) >= 0) {
    answer = json_loads(line, 0, NULL);
    if (!answer)
      answer = json_object();
    const json_t *progress = member(answer, "progress");
    if (progress) {
      show_progress(progress);
      json_decref(answer);
      answer = NULL;
    }
  }
  clear_progress();
  free(line);
  return answer;
}

json_t *exchange(FILE *server, json_t *request) {
  return request && send_request(server, request) ? receive(server) : NULL;
}

json_t *ask(FILE *server, json_t *request) {
  if (!request) {
    complain("an argument is not valid UTF-8, which the server's protocol is");
    return NULL;
  }
  json_t *answer = exchange(server, request);
  if (!answer) {
    complain("the server went away");
    return NULL;
  }
  if (json_is_true(member(answer, "ok")))
    return answer;
  const char *error = text(answer, "error");
  complain("%s", *error ? error : "the server's answer is not understood");
  json_decref(answer);
  return NULL;
}

json_t *ask_for(FILE *server, const char *command) {
  return ask(server, json_pack("{s:s}", "command", command));
}
