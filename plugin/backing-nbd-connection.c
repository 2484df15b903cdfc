/* SPDX-License-Identifier: BSD-3-Clause */

#include "backing-nbd-connection.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  SOCKET_BUFFER = 1 << 20, /* of a local socket; the default is less than a usual request */
  FAREWELL = 200,          /* milliseconds for a polite end */
  TOO_OLD = 10,            /* so many times the patience may one request take while others go on */
};

int64_t backing_milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* -------------------------------------------------------------- calling libnbd */

static short events_of(unsigned direction) {
  return (short)((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
                 (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
}

/* Replies first: they make room at the server.  Errors show when reading or writing. */
static int notify(struct nbd_handle *handle, short events) {
  unsigned direction = nbd_aio_get_direction(handle);
  if (events & ~POLLOUT && direction & LIBNBD_AIO_DIRECTION_READ)
    return nbd_aio_notify_read(handle);
  if (events && direction & LIBNBD_AIO_DIRECTION_WRITE)
    return nbd_aio_notify_write(handle);
  return 0;
}

static bool is_over(struct nbd_handle *handle) {
  return nbd_aio_is_dead(handle) != 0 || nbd_aio_is_closed(handle) != 0;
}

/* One step of a handshake or farewell.  0; -1: libnbd says why; -ETIMEDOUT. */
static int step(struct nbd_handle *handle, int64_t until) {
  struct pollfd polled = {.fd = nbd_aio_get_fd(handle),
                          .events = events_of(nbd_aio_get_direction(handle))};
  int64_t left = until - backing_milliseconds();
  if (left <= 0)
    return -ETIMEDOUT;
  if (poll(&polled, 1, (int)left) < 0)
    return 0;
  return notify(handle, polled.revents);
}

/* ------------------------------------------------------------------ connecting */

/* libnbd's last error, without the names of its functions; nor the URI, which may have a password
 * in it. */
static const char *libnbd_text(const char *uri) {
  const char *text = nbd_get_error();
  if (!text)
    return "no reason given";
  if (strstr(text, uri))
    return "it is not a valid URI";
  const char *end = text;
  while (isalnum((unsigned char)*end) || *end == '_')
    end++;
  return strncmp(text, "nbd_", 4) == 0 && strncmp(end, ": ", 2) == 0 ? end + 2 : text;
}

int nbd_connection_explain(const char *uri, const char *name, char problem[BACKING_PROBLEM]) {
  int error = nbd_get_errno();
  return backing_refuse(problem, error > 0 ? -error : -EIO,
                        "The NBD server '%.300s' cannot be used: %s.", name, libnbd_text(uri));
}

static int shake_hands(struct nbd_handle *handle, const char *uri, const char *name,
                       int64_t milliseconds, char problem[BACKING_PROBLEM]) {
  int64_t until = backing_milliseconds() + milliseconds;
  int result = nbd_aio_connect_uri(handle, uri);
  while (result == 0 && nbd_aio_is_connecting(handle) == 1)
    result = step(handle, until);
  if (result == -ETIMEDOUT)
    return backing_refuse(problem, result, "The NBD server '%.300s' does not answer.", name);
  if (result < 0)
    return nbd_connection_explain(uri, name, problem);
  if (nbd_aio_is_ready(handle) != 1)
    return backing_refuse(problem, -EIO, "The NBD server '%.300s' closed the connection.", name);
  return 0;
}

/* Neither failing matters. */
static void tune_socket(int fd) {
  int domain = 0, on = 1, buffer = SOCKET_BUFFER;
  socklen_t length = sizeof domain;
  getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length);
  if (domain == AF_UNIX)
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
  else if (domain == AF_INET || domain == AF_INET6)
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

int nbd_connection_reach(const char *uri, const char *name, int64_t milliseconds,
                         struct nbd_handle **handle, char problem[BACKING_PROBLEM]) {
  struct nbd_handle *made = nbd_create();
  /* Buffers are cleared for reads, as is libnbd's default: a server can answer without sending all
   * of the data, and what is in a buffer from before may be another volume's. */
  if (!made || nbd_set_uri_allow_local_file(made, true) < 0 ||
      nbd_add_meta_context(made, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0) {
    int result = nbd_connection_explain(uri, name, problem);
    nbd_close(made);
    return result;
  }
  int result = shake_hands(made, uri, name, milliseconds, problem);
  if (result < 0) {
    nbd_close(made);
    return result;
  }
  tune_socket(nbd_aio_get_fd(made));
  *handle = made;
  return 0;
}

int nbd_connection_prepare(struct nbd_connection *connection, struct backing *backing,
                           int64_t patience) {
  connection->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (connection->wake < 0)
    return -errno;
  connection->backing = backing;
  connection->patience = patience;
  pthread_mutex_init(&connection->lock, NULL);
  return 0;
}

static void say_farewell(struct nbd_handle *handle) {
  int64_t until = backing_milliseconds() + FAREWELL;
  int result = nbd_aio_disconnect(handle, 0);
  while (result == 0 && !is_over(handle))
    result = step(handle, until);
}

void nbd_connection_destroy(struct nbd_connection *connection) {
  if (connection->handle) {
    say_farewell(connection->handle);
    nbd_close(connection->handle);
  }
  pthread_mutex_destroy(&connection->lock);
  close(connection->wake);
}

void nbd_connection_adopt(struct nbd_connection *connection, struct nbd_handle *handle) {
  pthread_mutex_lock(&connection->lock);
  connection->handle = handle;
  connection->incarnation++;
  connection->doomed = connection->silent = false;
  connection->heard = backing_milliseconds();
  atomic_store(&connection->ready, true);
  pthread_mutex_unlock(&connection->lock);
}

/* ---------------------------------------------------------- pieces under way
 * All with the lock held. */

static void enlist(struct nbd_connection *connection, struct piece_group *group,
                   struct piece *piece) {
  piece->group = group;
  piece->connection = connection;
  piece->issued = backing_milliseconds();
  piece->next = NULL;
  piece->previous = connection->newest;
  if (connection->newest)
    connection->newest->next = piece;
  else {
    connection->oldest = piece;
    connection->heard = piece->issued; /* nothing was to be heard before */
  }
  connection->newest = piece;
  group->in_flight++;
}

static void delist(struct nbd_connection *connection, struct piece *piece) {
  if (piece->previous)
    piece->previous->next = piece->next;
  else
    connection->oldest = piece->next;
  if (piece->next)
    piece->next->previous = piece->previous;
  else
    connection->newest = piece->previous;
}

static void settle(struct piece *piece, struct piece **list) {
  struct piece_group *group = piece->group;
  delist(piece->connection, piece);
  piece->next = *list;
  *list = piece;
  group->in_flight--;
  if (group->in_flight <= group->awaited)
    pthread_cond_signal(&group->changed);
}

static void finish(struct piece *piece, int result) {
  if (*piece->result == 0)
    *piece->result = result;
  settle(piece, &piece->group->finished);
}

/* libnbd makes it ENOTCONN if the connection ended before the answer; a server that stops answers
 * ESHUTDOWN, and is as good as gone.  EINVAL, which libnbd also makes of errors that there are
 * not, would blame the client. */
static int on_completion(void *opaque, int *error) {
  struct piece *piece = opaque;
  if (*error == ESHUTDOWN)
    piece->connection->doomed = true;
  if (*error == ENOTCONN || *error == ESHUTDOWN)
    settle(piece, &piece->group->lost);
  else
    finish(piece, *error == EINVAL ? -EIO : -*error);
  return 1;
}

static void wake_leader(struct nbd_connection *connection) {
  uint64_t one = 1;
  ssize_t written = write(connection->wake, &one, sizeof one);
  (void)written; /* it fails only if the leader is to wake already */
}

void nbd_connection_lose(struct nbd_connection *connection) {
  struct nbd_handle *handle = connection->handle;
  if (!handle)
    return;
  backing_note_loss(connection->backing); /* before anybody can be told so */
  connection->handle = NULL;
  connection->incarnation++;
  atomic_store(&connection->ready, false);
  nbd_close(handle); /* from here on nothing touches the callers' buffers */
  while (connection->oldest)
    settle(connection->oldest, &connection->oldest->group->lost);
  if (connection->leading)
    wake_leader(connection);
}

static int64_t send_piece(struct nbd_handle *handle, struct piece *piece) {
  nbd_completion_callback done = {.callback = on_completion, .user_data = piece};
  switch (piece->kind) {
  case PIECE_READ:
    return nbd_aio_pread(handle, piece->buffer, piece->count, piece->offset, done, 0);
  case PIECE_WRITE:
    return nbd_aio_pwrite(handle, piece->buffer, piece->count, piece->offset, done, 0);
  case PIECE_ZERO:
    return nbd_aio_zero(handle, piece->count, piece->offset, done, 0);
  case PIECE_ALLOCATE:
    return nbd_aio_zero(handle, piece->count, piece->offset, done, LIBNBD_CMD_FLAG_NO_HOLE);
  case PIECE_FLUSH:
    return nbd_aio_flush(handle, done, 0);
  case PIECE_STATUS:
    return nbd_aio_block_status(handle, piece->count, piece->offset, piece->extent, done, 0);
  }
  return -1;
}

void nbd_connection_issue(struct nbd_connection *connection, struct piece_group *group,
                          struct piece *piece) {
  struct nbd_handle *handle = connection->handle;
  enlist(connection, group, piece);
  bool sent = send_piece(handle, piece) >= 0;
  int error = sent ? 0 : nbd_get_errno();
  if (is_over(handle) || connection->doomed)
    nbd_connection_lose(connection);
  else if (!sent)
    finish(piece, error > 0 ? -error : -EIO);
  else if (connection->leading && nbd_aio_get_direction(handle) & ~connection->watched)
    wake_leader(connection);
}

/* --------------------------------------------------------------------- leading */

static void add_sleeper(struct nbd_connection *connection, struct piece_group *group) {
  group->previous = NULL;
  group->next = connection->sleepers;
  if (group->next)
    group->next->previous = group;
  connection->sleepers = group;
}

static void remove_sleeper(struct nbd_connection *connection, struct piece_group *group) {
  if (group->next)
    group->next->previous = group->previous;
  if (group->previous)
    group->previous->next = group->next;
  else
    connection->sleepers = group->next;
}

/* When the server will have been silent for too long, in milliseconds from now. */
static int64_t patience_left(const struct nbd_connection *connection) {
  int64_t until = connection->heard + connection->patience;
  int64_t oldest = connection->oldest->issued + TOO_OLD * connection->patience;
  return (until < oldest ? until : oldest) - backing_milliseconds();
}

/* Poll, without the lock.  The events on the handle's socket. */
static short poll_unlocked(struct nbd_connection *connection, int64_t milliseconds) {
  uint64_t drained;
  struct pollfd polled[] = {{.fd = nbd_aio_get_fd(connection->handle)},
                            {.fd = connection->wake, .events = POLLIN}};
  connection->watched = nbd_aio_get_direction(connection->handle);
  polled[0].events = events_of(connection->watched);
  connection->leading = true;
  pthread_mutex_unlock(&connection->lock);
  int found = poll(polled, 2, (int)milliseconds);
  pthread_mutex_lock(&connection->lock);
  connection->leading = false;
  if (found <= 0)
    return 0;
  ssize_t count = polled[1].revents ? read(connection->wake, &drained, sizeof drained) : 0;
  (void)count; /* nothing there is fine */
  return polled[0].revents;
}

/* Wait for the server once, and take what it sent.  There is something under way. */
static void lead(struct nbd_connection *connection) {
  int64_t left = patience_left(connection);
  if (left <= 0) {
    connection->silent = true;
    nbd_connection_lose(connection);
    return;
  }
  unsigned incarnation = connection->incarnation;
  short events = poll_unlocked(connection, left);
  if (connection->incarnation != incarnation)
    return; /* lost meanwhile */
  if (events) {
    connection->heard = backing_milliseconds();
    notify(connection->handle, events); /* failures show in the state */
  }
  if (is_over(connection->handle) || connection->doomed)
    nbd_connection_lose(connection);
}

void nbd_connection_wait(struct nbd_connection *connection, struct piece_group *group,
                         unsigned awaited) {
  group->awaited = awaited;
  while (group->in_flight > awaited) {
    if (!connection->leading) {
      lead(connection);
      continue;
    }
    add_sleeper(connection, group);
    pthread_cond_wait(&group->changed, &connection->lock);
    remove_sleeper(connection, group);
  }
  if (!connection->leading && connection->sleepers)
    pthread_cond_signal(&connection->sleepers->changed);
}
