/* SPDX-License-Identifier: BSD-3-Clause */

#include "control.h"
#include "tool.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PROTOCOL_VERSION = 1, MOST_ANSWER = 64 << 20 };

struct control {
  char *path;
  int socket;
  char *bytes; /* received: line after line, the last perhaps not whole */
  size_t length, room;
  size_t used; /* of them, by lines that were taken */
};

/* ---------------------------------------------------------------- connecting */

static int connect_to(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  if (server >= 0 && connect(server, (struct sockaddr *)&address, sizeof address) == 0)
    return server;
  complain("cannot reach a server at '%s': %s; is it running, with control=%s?", path,
           strerror(errno), path);
  if (server >= 0)
    close(server);
  return -1;
}

struct control *control_open(const char *path) {
  size_t most = sizeof((struct sockaddr_un *)NULL)->sun_path - 1;
  if (*path == '\0' || strlen(path) > most) {
    complain("'%.80s' cannot name a control socket: it may have 1 to %zu bytes", path, most);
    return NULL;
  }
  int server = connect_to(path);
  if (server < 0)
    return NULL;
  struct control *control = allocate(sizeof *control);
  control->path = copied(path, strlen(path));
  control->socket = server;
  return control;
}

void control_close(struct control *control) {
  if (!control)
    return;
  close(control->socket);
  free(control->bytes);
  free(control->path);
  free(control);
}

/* ------------------------------------------------------------------- talking */

static bool send_all(struct control *control, const char *bytes, size_t count) {
  while (count > 0) {
    ssize_t sent = send(control->socket, bytes, count, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR && !interrupted())
      continue;
    if (sent <= 0)
      return false;
    bytes += sent;
    count -= (size_t)sent;
  }
  return true;
}

/* More bytes from the server behind those that are there; false at the end of them. */
static bool receive(struct control *control) {
  if (control->length == control->room) {
    if (control->room >= MOST_ANSWER)
      return false;
    control->room = control->room > 0 ? 2 * control->room : 4096;
    control->bytes = resized(control->bytes, control->room);
  }
  ssize_t got;
  do
    got =
        recv(control->socket, control->bytes + control->length, control->room - control->length, 0);
  while (got < 0 && errno == EINTR && !interrupted());
  if (got <= 0)
    return false;
  control->length += (size_t)got;
  return true;
}

/* The next line without its newline, valid until the next call; NULL if there is none. */
static const char *next_line(struct control *control) {
  size_t looked = 0;
  char *end = NULL;
  if (control->used > 0) {
    control->length -= control->used;
    memmove(control->bytes, control->bytes + control->used, control->length);
    control->used = 0;
  }
  while (control->length == looked ||
         !(end = memchr(control->bytes + looked, '\n', control->length - looked))) {
    looked = control->length;
    if (!receive(control))
      return NULL;
  }
  *end = '\0';
  control->used = (size_t)(end - control->bytes) + 1;
  return control->bytes;
}

/* The answer to what was asked: lines that only tell how far it is come before. */
static json_t *next_answer(struct control *control) {
  for (;;) {
    const char *line = next_line(control);
    if (!line) {
      if (!interrupted())
        complain("the server at '%s' went away", control->path);
      return NULL;
    }
    json_t *answer = json_loads(line, JSON_ALLOW_NUL, NULL);
    if (!json_is_object(answer)) {
      complain("what the server at '%s' answers is not understood", control->path);
      json_decref(answer);
      return NULL;
    }
    if (json_object_get(answer, "ok"))
      return answer;
    json_decref(answer);
  }
}

static bool send_request(struct control *control, json_t *request) {
  json_object_set_new(request, "version", json_integer(PROTOCOL_VERSION));
  char *text = json_dumps(request, JSON_COMPACT);
  json_decref(request);
  if (!text) {
    complain("the server at '%s' cannot be asked: no memory is left, or a name is not UTF-8",
             control->path);
    return false;
  }
  bool sent = send_all(control, text, strlen(text)) && send_all(control, "\n", 1);
  free(text);
  if (!sent && !interrupted())
    complain("the server at '%s' went away", control->path);
  return sent;
}

json_t *control_ask(struct control *control, json_t *request) {
  json_t *answer = send_request(control, request) ? next_answer(control) : NULL;
  if (!answer || json_is_true(json_object_get(answer, "ok")))
    return answer;
  const char *error = json_string_value(json_object_get(answer, "error"));
  complain("the server at '%s' refuses: %s", control->path, error ? error : "it does not say why");
  json_decref(answer);
  return NULL;
}
