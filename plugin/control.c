/* SPDX-License-Identifier: BSD-3-Clause */

#include "control.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <errno.h>
#include <fcntl.h>
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
  SEND_SECONDS = 10,       /* a client that takes nothing of its answer so long is let go */
  ACCEPT_PAUSE_MS = 200,   /* before trying again when the server is out of file descriptors */
  STACK_SIZE = 512 * 1024, /* of a client's thread; address space, taken as it is needed */
};

#define PROGRESS_NS UINT64_C(200000000) /* between two lines of progress */

/* A place for a client, and its thread. */
struct client {
  enum client_state { PLACE_FREE, PLACE_TAKEN, PLACE_LEFT } state; /* under the lock */
  struct control *control;
  pthread_t thread; /* to be joined unless the place is free */
  int socket;
  uint64_t progress_ns; /* when it was last told how far a command has come */
  size_t length;
  char line[MAX_LINE];
};

struct control {
  char *path;
  dev_t device; /* of the socket there, to know it again */
  ino_t inode;
  uid_t owner;
  struct exports *exports;
  struct event_log *events;
  uint64_t started_ns;
  int listener;
  int stop[2]; /* a pipe: a byte in it, never read, stops all threads */
  bool running;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t left; /* a client left, or all is to stop */
  bool stopping;
  struct client clients[MAX_CLIENTS];
};

/* ----------------------------------------------------------------- answering */

static bool send_all(int socket, const char *bytes, size_t count) {
  while (count > 0) {
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

/* Takes the object. */
static bool send_line(int socket, json_t *object) {
  char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
  json_decref(object);
  bool sent = text && send_all(socket, text, strlen(text)) && send_all(socket, "\n", 1);
  free(text);
  return sent;
}

/* Whether the server stops, or the client has gone for good: one that only has
 * no more to say still wants its answer. */
static bool is_over(const struct client *client) {
  struct pollfd polled[2] = {{.fd = client->control->stop[0], .events = POLLIN},
                             {.fd = client->socket}};
  return poll(polled, 2, 0) > 0 &&
         (polled[0].revents != 0 || (polled[1].revents & (POLLHUP | POLLERR)) != 0);
}

static int tell_progress(void *opaque, uint64_t done, uint64_t total) {
  struct client *client = opaque;
  uint64_t now = clock_ns();
  if (is_over(client))
    return -1;
  if (now - client->progress_ns < PROGRESS_NS)
    return 0;
  client->progress_ns = now;
  return send_line(client->socket, progress_json(done, total)) ? 0 : -1;
}

static json_t *answer(struct client *client, const char *line, size_t length) {
  struct session session = {
      .exports = client->control->exports,
      .events = client->control->events,
      .started_ns = client->control->started_ns,
      .progress = tell_progress,
      .opaque = client,
  };
  client->progress_ns = clock_ns();
  return answer_to(&session, line, length);
}

/* Read what a client sent, and answer each line.  False if it is to be let
 * go. */
static bool serve(struct client *client) {
  ssize_t got =
      recv(client->socket, client->line + client->length, MAX_LINE - 1 - client->length, 0);
  if (got < 0 && (errno == EINTR || errno == EAGAIN))
    return true;
  if (got <= 0)
    return false;
  client->length += (size_t)got;
  char *end;
  while ((end = memchr(client->line, '\n', client->length))) {
    if (!send_line(client->socket, answer(client, client->line, (size_t)(end - client->line))))
      return false;
    end++;
    client->length -= (size_t)(end - client->line);
    memmove(client->line, end, client->length);
  }
  if (client->length < MAX_LINE - 1)
    return true;
  send_line(client->socket, refusal("the request is too long; a line may have 4095 bytes"));
  /* Closing on unread bytes would take the answer away from the client. */
  for (int i = 0; i < 16; i++)
    if (recv(client->socket, client->line, sizeof client->line, MSG_DONTWAIT) <= 0)
      break;
  return false;
}

static void *client_thread(void *argument) {
  struct client *client = argument;
  struct control *control = client->control;
  for (;;) {
    struct pollfd polled[2] = {{.fd = control->stop[0], .events = POLLIN},
                               {.fd = client->socket, .events = POLLIN}};
    if (poll(polled, 2, -1) < 0)
      continue;
    if (polled[0].revents || !serve(client))
      break;
  }
  pthread_mutex_lock(&control->lock);
  close(client->socket);
  client->state = PLACE_LEFT;
  pthread_cond_signal(&control->left);
  pthread_mutex_unlock(&control->lock);
  return NULL;
}

/* ------------------------------------------------------------------ accepting */

/* Wait until there is a place that nobody has; NULL if all is to stop. */
static struct client *find_place(struct control *control) {
  struct client *place = NULL;
  pthread_mutex_lock(&control->lock);
  while (!place && !control->stopping) {
    for (unsigned i = 0; i < MAX_CLIENTS && !place; i++)
      if (control->clients[i].state != PLACE_TAKEN)
        place = &control->clients[i];
    if (!place)
      pthread_cond_wait(&control->left, &control->lock);
  }
  if (control->stopping)
    place = NULL;
  if (place && place->state == PLACE_LEFT) {
    pthread_join(place->thread, NULL); /* it needs the lock no more */
    place->state = PLACE_FREE;
  }
  pthread_mutex_unlock(&control->lock);
  return place;
}

/* 0, or an errno. */
static int start_client(struct control *control, struct client *place, int socket) {
  struct timeval timeout = {.tv_sec = SEND_SECONDS};
  pthread_attr_t attributes;
  setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  place->control = control;
  place->socket = socket;
  place->length = 0;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, STACK_SIZE);
  pthread_mutex_lock(&control->lock);
  int error = pthread_create(&place->thread, &attributes, client_thread, place);
  if (error == 0)
    place->state = PLACE_TAKEN;
  pthread_mutex_unlock(&control->lock);
  pthread_attr_destroy(&attributes);
  return error;
}

static void accept_client(struct control *control, struct client *place) {
  int socket = accept4(control->listener, NULL, NULL, SOCK_CLOEXEC);
  if (socket >= 0 && start_client(control, place, socket) == 0)
    return;
  if (socket >= 0)
    close(socket);
  /* Others wait on: look again in a while, not at once. */
  poll(&(struct pollfd){.fd = control->stop[0], .events = POLLIN}, 1, ACCEPT_PAUSE_MS);
}

static void *control_thread(void *argument) {
  struct control *control = argument;
  struct client *place;
  while ((place = find_place(control))) {
    struct pollfd polled[2] = {{.fd = control->stop[0], .events = POLLIN},
                               {.fd = control->listener, .events = POLLIN}};
    if (poll(polled, 2, -1) < 0)
      continue;
    if (polled[0].revents)
      break;
    accept_client(control, place);
  }
  return NULL;
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

struct control *control_create(const char *path, struct exports *exports,
                               struct event_log *events) {
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
  pthread_mutex_init(&control->lock, NULL);
  pthread_cond_init(&control->left, NULL);
  control->exports = exports;
  control->events = events;
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

/* No thread is left after that. */
static void stop_threads(struct control *control) {
  while (write(control->stop[1], "", 1) < 0 && errno == EINTR)
    ;
  pthread_mutex_lock(&control->lock);
  control->stopping = true;
  pthread_cond_signal(&control->left);
  for (unsigned i = 0; i < MAX_CLIENTS; i++) /* who waits for a client to read waits no more */
    if (control->clients[i].state == PLACE_TAKEN)
      shutdown(control->clients[i].socket, SHUT_RDWR);
  pthread_mutex_unlock(&control->lock);
  pthread_join(control->thread, NULL);
  for (unsigned i = 0; i < MAX_CLIENTS; i++) {
    pthread_mutex_lock(&control->lock);
    bool was_used = control->clients[i].state != PLACE_FREE;
    pthread_mutex_unlock(&control->lock);
    if (was_used)
      pthread_join(control->clients[i].thread, NULL);
  }
}

void control_destroy(struct control *control) {
  if (!control)
    return;
  if (control->running)
    stop_threads(control);
  close(control->stop[1]);
  close(control->stop[0]);
  remove_socket(control);
  if (control->listener >= 0)
    close(control->listener);
  pthread_cond_destroy(&control->left);
  pthread_mutex_destroy(&control->lock);
  free(control->path);
  free(control);
}
