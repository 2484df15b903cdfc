/* SPDX-License-Identifier: BSD-3-Clause */

#include "control.h"

#include "memory.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
  MAX_CLIENTS = 32,
  MAX_LINE = 4096,
  ANSWER_SECONDS = 2,    /* a client that does not read its answers is let go */
  ACCEPT_PAUSE_MS = 200, /* before trying again when the server is out of file descriptors */
};

struct client {
  int socket;
  size_t length;
  char line[MAX_LINE];
};

struct control {
  char *path;
  dev_t device; /* of the socket there, to know it again */
  ino_t inode;
  uid_t owner;
  struct exports *exports;
  uint64_t started_ns;
  int listener;
  int stop[2]; /* a pipe: a byte in it stops the thread */
  bool running;
  pthread_t thread;
  struct client clients[MAX_CLIENTS];
  unsigned client_count;
};

/* -------------------------------------------------------------- statistics */

static void set(json_t *object, const char *key, uint64_t number) {
  json_object_set_new(object, key, json_integer((json_int_t)number));
}

static json_t *operation_json(const struct operation_counters *counters) {
  uint64_t count = atomic_load(&counters->count);
  json_t *operation = json_object(), *latency = json_object();
  set(operation, "count", count);
  set(operation, "errors", atomic_load(&counters->errors));
  set(operation, "bytes", atomic_load(&counters->bytes));
  set(latency, "total", atomic_load(&counters->nanoseconds));
  set(latency, "p50", latency_percentile(counters, 0.5));
  set(latency, "p90", latency_percentile(counters, 0.9));
  set(latency, "p99", latency_percentile(counters, 0.99));
  set(latency, "max", latency_percentile(counters, 1));
  json_object_set_new(operation, "latency_ns", latency);
  return operation;
}

static json_t *requests_json(const struct request_counters *requests) {
  json_t *object = json_object();
  for (int i = 0; i < OPERATIONS; i++)
    json_object_set_new(object, operation_names[i], operation_json(&requests->operations[i]));
  return object;
}

/* What volumes have, each and in total. */
static void set_volume_statistics(json_t *object,
                                  const struct sectors_volume_statistics *statistics) {
  set(object, "virtual", statistics->size);
  set(object, "live", statistics->live);
  set(object, "reserved", statistics->reserved);
  set(object, "zero_detected", statistics->zero_detected);
  set(object, "trimmed", statistics->trimmed);
}

/* Add a volume to total and requests, and return what there is to say of it. */
static json_t *volume_json(const struct export *export, struct sectors_volume_statistics *total,
                           struct request_counters *requests) {
  struct sectors_volume_statistics statistics;
  json_t *object = json_object();
  struct request_counters *own = calloc(1, sizeof *own);
  sectors_volume_statistics(export->volume, &statistics);
  json_object_set_new(object, "name", json_string(sectors_volume_name(export->volume)));
  set_volume_statistics(object, &statistics);
  set(object, "metadata", statistics.metadata);
  if (own) {
    set(object, "connections", export_requests(export, own));
    json_object_set_new(object, "requests", requests_json(own));
    add_requests(requests, own);
    free(own);
  }
  total->size += statistics.size;
  total->live += statistics.live;
  total->reserved += statistics.reserved;
  total->zero_detected += statistics.zero_detected;
  total->trimmed += statistics.trimmed;
  return object;
}

static json_t *statistics_json(struct control *control) {
  struct sectors_store_statistics store;
  struct sectors_volume_statistics sum = {0};
  struct request_counters *requests = calloc(1, sizeof *requests);
  json_t *statistics = json_object(), *total = json_object(), *volumes = json_array();
  if (!requests) {
    json_decref(statistics);
    json_decref(total);
    json_decref(volumes);
    return NULL;
  }
  pthread_mutex_lock(&control->exports->lock);
  for (struct export *export = control->exports->first; export; export = export->next)
    json_array_append_new(volumes, volume_json(export, &sum, requests));
  pthread_mutex_unlock(&control->exports->lock);
  sectors_store_statistics(control->exports->store, &store);
  sum.live = store.live;
  sum.reserved = store.reserved;
  set_volume_statistics(total, &sum);
  set(total, "metadata", store.metadata);
  set(total, "free_reserve", store.free_reserve);
  set(total, "resident", store.resident);
  set(total, "charged", store.charged);
  set(total, "limit", store.limit);
  set(total, "sector_size", store.sector_size);
  set(total, "process_rss", resident_memory());
  set(total, "uptime_ns", clock_ns() - control->started_ns);
  json_object_set_new(total, "requests", requests_json(requests));
  free(requests);
  json_object_set_new(statistics, "server_version", json_string(SECTORS_VERSION));
  set(statistics, "pid", (uint64_t)getpid());
  json_object_set_new(statistics, "total", total);
  json_object_set_new(statistics, "volumes", volumes);
  return statistics;
}

/* ----------------------------------------------------------------- answering */

static json_t *error_answer(const char *sentence) {
  return json_pack("{s:i, s:b, s:s}", "version", CONTROL_PROTOCOL_VERSION, "ok", 0, "error",
                   sentence);
}

static json_t *answer_to(struct control *control, const char *line) {
  const char *command = NULL;
  int version = CONTROL_PROTOCOL_VERSION;
  json_t *answer;
  json_t *request = json_loads(line, 0, NULL);
  if (!request)
    return error_answer("the request is not JSON; send one object on a line");
  if (json_unpack(request, "{s:s, s?i}", "command", &command, "version", &version) != 0) {
    answer = error_answer("the request has no command; send {\"command\": \"stats\"}");
  } else if (version != CONTROL_PROTOCOL_VERSION) {
    answer = error_answer("this server speaks version 1 of the protocol only");
  } else if (strcmp(command, "stats") != 0) {
    answer = error_answer("the command is not known; this server knows: stats");
  } else {
    json_t *statistics = statistics_json(control);
    answer = statistics ? json_pack("{s:i, s:b, s:o}", "version", CONTROL_PROTOCOL_VERSION, "ok", 1,
                                    "statistics", statistics)
                        : error_answer("the server has no memory to answer");
  }
  json_decref(request);
  return answer;
}

/* False if it is not done by the deadline (clock_ns). */
static bool send_all(int socket, const char *bytes, size_t count, uint64_t deadline) {
  while (count > 0) {
    if (clock_ns() > deadline)
      return false;
    ssize_t sent = send(socket, bytes, count, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR)
      continue;
    if (sent <= 0)
      return false;
    bytes += sent;
    count -= (size_t)sent;
  }
  return true;
}

static bool send_answer(int socket, json_t *answer, uint64_t deadline) {
  char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
  json_decref(answer);
  bool sent =
      text && send_all(socket, text, strlen(text), deadline) && send_all(socket, "\n", 1, deadline);
  free(text);
  return sent;
}

/* Read what a client sent, and answer each line.  False if it is to be let
 * go. */
static bool serve(struct control *control, struct client *client) {
  ssize_t got = recv(client->socket, client->line + client->length,
                     sizeof client->line - 1 - client->length, 0);
  if (got < 0 && (errno == EINTR || errno == EAGAIN))
    return true;
  if (got <= 0)
    return false;
  client->length += (size_t)got;
  uint64_t deadline = clock_ns() + ANSWER_SECONDS * UINT64_C(1000000000);
  char *end;
  while ((end = memchr(client->line, '\n', client->length))) {
    *end++ = '\0';
    if (!send_answer(client->socket, answer_to(control, client->line), deadline))
      return false;
    client->length -= (size_t)(end - client->line);
    memmove(client->line, end, client->length);
  }
  if (client->length < sizeof client->line - 1)
    return true;
  send_answer(client->socket, error_answer("the request is too long"), deadline);
  /* Closing on unread bytes would take the answer away from the client. */
  for (int i = 0; i < 16; i++)
    if (recv(client->socket, client->line, sizeof client->line, MSG_DONTWAIT) <= 0)
      break;
  return false;
}

static void accept_client(struct control *control) {
  int socket = accept4(control->listener, NULL, NULL, SOCK_CLOEXEC);
  if (socket < 0) { /* the client waits on: look again in a while, not at once */
    poll(&(struct pollfd){.fd = control->stop[0], .events = POLLIN}, 1, ACCEPT_PAUSE_MS);
    return;
  }
  struct timeval timeout = {.tv_sec = ANSWER_SECONDS};
  setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  struct client *client = &control->clients[control->client_count++];
  client->socket = socket;
  client->length = 0;
}

static void drop_client(struct control *control, unsigned i) {
  close(control->clients[i].socket);
  control->clients[i] = control->clients[--control->client_count];
}

static void *control_thread(void *argument) {
  struct control *control = argument;
  for (;;) {
    struct pollfd polled[2 + MAX_CLIENTS];
    unsigned clients = control->client_count;
    bool full = clients == MAX_CLIENTS;
    polled[0] = (struct pollfd){.fd = control->stop[0], .events = POLLIN};
    polled[1] = (struct pollfd){.fd = full ? -1 : control->listener, .events = POLLIN};
    for (unsigned i = 0; i < clients; i++)
      polled[2 + i] = (struct pollfd){.fd = control->clients[i].socket, .events = POLLIN};
    if (poll(polled, 2 + clients, -1) < 0)
      continue;
    if (polled[0].revents)
      return NULL;
    for (unsigned i = clients; i-- > 0;)
      if (polled[2 + i].revents && !serve(control, &control->clients[i]))
        drop_client(control, i);
    if (polled[1].revents)
      accept_client(control);
  }
}

/* ------------------------------------------------------------ start and end */

/* Whether the path is a socket that nobody listens on. */
static bool is_dead_socket(const struct sockaddr_un *address) {
  struct stat status;
  if (lstat(address->sun_path, &status) != 0 || !S_ISSOCK(status.st_mode))
    return false;
  int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool dead = probe >= 0 &&
              connect(probe, (const struct sockaddr *)address, sizeof *address) != 0 &&
              errno == ECONNREFUSED;
  if (probe >= 0)
    close(probe);
  return dead;
}

/* A listening socket at the path, or -1 with errno set. */
static int listen_at(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0)
    return -1;
  if (is_dead_socket(&address))
    unlink(path);
  mode_t mask = umask(0177);
  int result = bind(listener, (struct sockaddr *)&address, sizeof address);
  int error = errno;
  umask(mask);
  if (result == 0 && listen(listener, MAX_CLIENTS) == 0)
    return listener;
  if (result == 0)
    error = errno;
  close(listener);
  errno = error;
  return -1;
}

/* Listen at the path.  0, or -1 with errno set. */
static int open_listener(struct control *control) {
  struct stat status = {0};
  control->listener = listen_at(control->path);
  if (control->listener < 0)
    return -1;
  if (lstat(control->path, &status) == 0) {
    control->device = status.st_dev;
    control->inode = status.st_ino;
  }
  control->owner = geteuid();
  return 0;
}

/* Remove the socket, if it is still this server's: someone may have removed it
 * and started another server in its place.  (As long as the listener is open,
 * no other file can have its number.) */
static bool remove_socket(const struct control *control) {
  struct stat status;
  return lstat(control->path, &status) == 0 && status.st_dev == control->device &&
         status.st_ino == control->inode && unlink(control->path) == 0;
}

struct control *control_create(const char *path, struct exports *exports) {
  struct control *control = calloc(1, sizeof *control);
  char *copy = strdup(path);
  if (!control || !copy) {
    nbdkit_error("control: no memory for the socket '%s'", path);
    goto failed;
  }
  if (pipe2(control->stop, O_CLOEXEC) != 0) {
    nbdkit_error("control: cannot make a pipe: %m");
    goto failed;
  }
  control->path = copy;
  if (open_listener(control) != 0) {
    if (errno == EADDRINUSE)
      nbdkit_error("control: '%s' exists already; remove it, or name another socket", path);
    else
      nbdkit_error("control: cannot make the socket '%s': %m", path);
    close(control->stop[0]);
    close(control->stop[1]);
    goto failed;
  }
  control->exports = exports;
  control->started_ns = clock_ns();
  return control;

failed:
  free(copy);
  free(control);
  return NULL;
}

/* Under nbdkit -u the server is another user by now, who could neither connect
 * to the socket nor remove it: make it again, where that user may. */
static int change_owner(struct control *control) {
  int old = control->listener;
  if (geteuid() == control->owner || !remove_socket(control))
    return 0;
  int result = open_listener(control);
  close(old);
  return result;
}

int control_start(struct control *control) {
  if (change_owner(control) != 0) {
    nbdkit_error("control: cannot make the socket '%s' again: %m", control->path);
    return -1;
  }
  int error = pthread_create(&control->thread, NULL, control_thread, control);
  if (error != 0) {
    errno = error;
    nbdkit_error("control: cannot start a thread: %m");
    return -1;
  }
  control->running = true;
  return 0;
}

void control_destroy(struct control *control) {
  if (!control)
    return;
  if (control->running) {
    while (write(control->stop[1], "", 1) < 0 && errno == EINTR)
      ;
    pthread_join(control->thread, NULL);
  }
  close(control->stop[1]);
  while (control->client_count > 0)
    drop_client(control, 0);
  close(control->stop[0]);
  remove_socket(control);
  if (control->listener >= 0)
    close(control->listener);
  free(control->path);
  free(control);
}
