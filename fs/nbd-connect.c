/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Connecting to an NBD server, and calling libnbd.
 */

#include "nbd-connect.h"

#include "device.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
  SILENT_SECONDS = 60,     /* a peer on a network that acknowledges nothing is dead */
  SOCKET_BUFFER = 1 << 20, /* of a local socket; the default is less than a usual request */
};

/* -------------------------------------------------------------- calling libnbd */

short events_of(unsigned direction) {
  return (short)((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
                 (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
}

/* Replies first: they make room at the server.  Errors show when reading or writing. */
int notify_libnbd(struct nbd_handle *handle, unsigned direction, short events) {
  if (events & ~POLLOUT && direction & LIBNBD_AIO_DIRECTION_READ)
    return nbd_aio_notify_read(handle);
  if (events && direction & LIBNBD_AIO_DIRECTION_WRITE)
    return nbd_aio_notify_write(handle);
  return 0;
}

static void pipe_signal(sigset_t *set) {
  sigemptyset(set);
  sigaddset(set, SIGPIPE);
}

/* Leave it alone if one is pending already: then it is blocked, and not ours. */
struct signal_guard guard_signal(bool needed) {
  struct signal_guard guard = {0};
  sigset_t pending, pipe_only;
  if (!needed || sigpending(&pending) < 0 || sigismember(&pending, SIGPIPE))
    return guard;
  pipe_signal(&pipe_only);
  guard.used = pthread_sigmask(SIG_BLOCK, &pipe_only, &guard.mask) == 0;
  return guard;
}

void unguard_signal(const struct signal_guard *guard) {
  static const struct timespec at_once = {0, 0};
  sigset_t pipe_only;
  if (!guard->used)
    return;
  pipe_signal(&pipe_only);
  while (sigtimedwait(&pipe_only, NULL, &at_once) < 0 && errno == EINTR)
    ;
  pthread_sigmask(SIG_SETMASK, &guard->mask, NULL);
}

/* ---------------------------------------------------------------- connecting */

/* libnbd's last error in this thread, without the names of its functions. */
static const char *libnbd_text(void) {
  const char *text = nbd_get_error();
  if (!text)
    return "no reason given";
  const char *end = text;
  while (isalnum((unsigned char)*end) || *end == '_')
    end++;
  return strncmp(text, "nbd_", 4) == 0 && strncmp(end, ": ", 2) == 0 ? end + 2 : text;
}

static int libnbd_error(void) {
  int error = nbd_get_errno();
  return error > 0 ? -error : -EIO;
}

int refuse_server(char **error, const char *uri, int code, const char *text) {
  return device_refuse(error, code, "cannot use the NBD server '%s': %s", uri, text);
}

int refuse_by_libnbd(char **error, const char *uri) {
  return refuse_server(error, uri, libnbd_error(), libnbd_text());
}

static int64_t milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* One step of the handshake: 0; -1 (libnbd says why); -ETIMEDOUT. */
static int step_handshake(struct nbd_handle *handle, int64_t until) {
  unsigned direction = nbd_aio_get_direction(handle);
  struct pollfd polled = {.fd = nbd_aio_get_fd(handle), .events = events_of(direction)};
  int64_t left = until - milliseconds();
  if (left <= 0)
    return -ETIMEDOUT;
  if (poll(&polled, 1, (int)left) < 0)
    return 0;
  return notify_libnbd(handle, direction, polled.revents);
}

/* nbd_connect_uri, with an end. */
static int shake_hands(struct nbd_handle *handle, const char *uri, int seconds, char **error) {
  int64_t until = milliseconds() + (int64_t)seconds * 1000;
  int result = nbd_aio_connect_uri(handle, uri);
  while (result == 0 && nbd_aio_is_connecting(handle) == 1)
    result = step_handshake(handle, until);
  if (result == -ETIMEDOUT)
    return refuse_server(error, uri, result, "it does not answer");
  if (result < 0)
    return refuse_by_libnbd(error, uri);
  if (nbd_aio_is_ready(handle) != 1)
    return refuse_server(error, uri, -EIO, "it closed the connection");
  return 0;
}

/* TCP: notice a peer that is gone without a word.  Local: room for whole pieces.  Neither failing
 * matters. */
static void tune_socket(int fd) {
  int domain = 0, on = 1, idle = SILENT_SECONDS / 3, silent = SILENT_SECONDS * 1000;
  int buffer = SOCKET_BUFFER;
  socklen_t length = sizeof domain;
  getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length);
  if (domain == AF_UNIX) {
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
  } else if (domain == AF_INET || domain == AF_INET6) {
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silent, sizeof silent);
  }
}

/* Structured replies would only bring a server's view of holes, and cost it a call each. */
int connect_nbd_server(const char *uri, int seconds, struct nbd_handle **handle, char **error) {
  struct nbd_handle *made = nbd_create();
  if (!made || nbd_set_uri_allow_local_file(made, true) < 0 ||
      nbd_set_request_structured_replies(made, false) < 0 ||
      nbd_set_pread_initialize(made, false) < 0) {
    int result = refuse_by_libnbd(error, uri);
    nbd_close(made);
    return result;
  }
  int result = shake_hands(made, uri, seconds, error);
  if (result < 0) {
    nbd_close(made);
    return result;
  }
  tune_socket(nbd_aio_get_fd(made));
  *handle = made;
  return 0;
}
