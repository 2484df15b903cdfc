/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Locking: libnbd calls on_completion with the handle's lock held, and that takes the pipeline's
 * lock.  So no libnbd function is called with the pipeline's lock held.  Callers issue requests
 * themselves; that moves libnbd's state machine only when the connection is idle, everything else
 * is left to the connection's thread, which is woken if there is something to send.
 */

#include "nbd-pipeline.h"

#include "nbd-connect.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#ifndef NBD_IN_FLIGHT
#define NBD_IN_FLIGHT (32 << 20)
#endif

enum {
  IN_FLIGHT = NBD_IN_FLIGHT, /* bytes of writes under way */
  REQUESTS = 1024,           /* requests under way */
  BUCKETS = 1024,            /* of the table of changes in flight */
  DISCARDS = 16,             /* discards under way: servers may be slow at them */
  MOST_DISCARD = 1 << 30,    /* bytes of one discard */
  REQUEST_LOAD = 16 << 10,   /* what a request costs, in bytes, besides its bytes */
  ALIGNMENT = 4096,          /* of copies */
};

enum kind { READ, PRELOAD, WRITE, DISCARD, FLUSH };

/* Requests that somebody waits for.  On the waiter's stack. */
struct group {
  unsigned pending;
  int error; /* the first, or 0 */
  pthread_cond_t done;
};

struct request {
  struct pipeline *pipeline;
  struct connection *connection;
  enum kind kind;
  uint32_t flags; /* LIBNBD_CMD_FLAG_* */
  uint64_t offset, count;
  void *buffer;         /* the caller's, or copy */
  void *copy;           /* owned, or NULL */
  struct group *group;  /* who waits for it, or NULL */
  unsigned epoch;       /* of a write: which of pipeline->writes counts it */
  bool awaited;         /* somebody waits on pipeline->overlap for its end */
  struct request *next; /* in a bucket, among the wide, or among the free */
};

struct connection {
  struct pipeline *pipeline;
  struct nbd_handle *handle;
  int socket;
  int wake; /* eventfd: look at the handle again */
  bool encrypted;
  bool started;
  pthread_t thread;
  atomic_uint watched; /* the directions that the thread polls for; all of them while it does not */
  uint64_t load;       /* bytes and requests in flight here; under the pipeline's lock */
};

struct pipeline {
  struct connection connections[PIPELINE_CONNECTIONS];
  unsigned connection_count;
  uint64_t cell;        /* bytes; a power of two; no piece crosses a border of cells */
  atomic_bool stopping; /* the threads are to end */

  pthread_mutex_t lock; /* for all below, and for groups */
  int failure;          /* of a write or flush; stays */
  bool dead;            /* a connection has ended; stays */
  bool no_discard;      /* the server said that it cannot */
  struct request requests[REQUESTS];
  struct request *free;
  unsigned in_flight; /* requests not free */
  uint64_t bytes;     /* of writes among them */
  unsigned discards;  /* among them */
  /* Changes in flight, none of which overlap: writes and discards inside one cell, by cell; and
   * discards that are wider. */
  struct request *buckets[BUCKETS];
  struct request *wide;
  unsigned epoch;           /* 0 or 1: the one that new writes join */
  unsigned writes[2];       /* in flight, of each epoch */
  unsigned crowded;         /* who waits for room */
  pthread_cond_t room;      /* there is room again, or all failed */
  pthread_cond_t overlap;   /* an awaited request ended, or all failed */
  pthread_cond_t discarded; /* a discard ended, or all failed */
  pthread_cond_t drained;   /* an epoch, or everything, ended */
  void *spare;              /* buffers of a cell each, linked through their first bytes */
};

/* ------------------------------------------------- the requests in flight
 * All with the lock held. */

static struct request **bucket_of(struct pipeline *pipeline, uint64_t offset) {
  return &pipeline->buckets[offset / pipeline->cell % BUCKETS];
}

static bool in_one_cell(struct pipeline *pipeline, uint64_t offset, uint64_t count) {
  return offset / pipeline->cell == (offset + count - 1) / pipeline->cell;
}

static struct request *find_in(struct request *list, uint64_t offset, uint64_t count) {
  for (; list; list = list->next)
    if (list->offset < offset + count && offset < list->offset + list->count)
      return list;
  return NULL;
}

/* A change in flight that overlaps the range, or NULL. */
static struct request *find_overlap(struct pipeline *pipeline, uint64_t offset, uint64_t count) {
  struct request *found = find_in(pipeline->wide, offset, count);
  if (in_one_cell(pipeline, offset, count))
    return found ? found : find_in(*bucket_of(pipeline, offset), offset, count);
  for (unsigned i = 0; i < BUCKETS && !found; i++)
    found = find_in(pipeline->buckets[i], offset, count);
  return found;
}

static struct request **list_of(struct request *request) {
  struct pipeline *pipeline = request->pipeline;
  if (in_one_cell(pipeline, request->offset, request->count))
    return bucket_of(pipeline, request->offset);
  return &pipeline->wide;
}

static bool is_change(const struct request *request) {
  return request->kind == WRITE || request->kind == DISCARD;
}

/* Whether it only looks: it goes on when changes have failed. */
static bool is_look(enum kind kind) {
  return kind == READ || kind == PRELOAD;
}

static void enlist(struct request *request) {
  struct request **list = list_of(request);
  request->next = *list;
  *list = request;
}

static void delist(struct request *request) {
  struct request **at = list_of(request);
  while (*at != request)
    at = &(*at)->next;
  *at = request->next;
}

/* Bytes that count against IN_FLIGHT: those that are kept here. */
static uint64_t bytes_of(const struct request *request) {
  return request->kind == WRITE ? request->count : 0;
}

static bool is_full(struct pipeline *pipeline, enum kind kind, uint64_t count) {
  if (!pipeline->free)
    return true;
  return kind == WRITE && pipeline->bytes + count > IN_FLIGHT;
}

/* Who waits for room goes on when it is half empty: waking them for every request that ends would
 * cost more than the request. */
static bool is_half_empty(struct pipeline *pipeline) {
  return pipeline->bytes <= IN_FLIGHT / 2 && pipeline->in_flight <= REQUESTS / 2;
}

/* Who waits already goes first; but reads do not wait for writes to drain. */
static bool must_queue(struct pipeline *pipeline, enum kind kind) {
  return !is_look(kind) && pipeline->crowded > 0 && !is_half_empty(pipeline);
}

static void await_room(struct pipeline *pipeline) {
  pipeline->crowded++;
  pthread_cond_wait(&pipeline->room, &pipeline->lock);
  pipeline->crowded--;
}

/* Why a request of that kind cannot be: a negative errno, or 0. */
static int refusal(struct pipeline *pipeline, enum kind kind) {
  if (pipeline->dead)
    return -EIO;
  return is_look(kind) ? 0 : pipeline->failure;
}

/* Wait until a request may start; 0 or a negative errno. */
static int await_turn(struct pipeline *pipeline, enum kind kind, uint64_t offset, uint64_t count) {
  bool queued = false;
  for (;;) {
    int result = refusal(pipeline, kind);
    if (result < 0)
      return result;
    struct request *other = kind == FLUSH ? NULL : find_overlap(pipeline, offset, count);
    if (other) {
      other->awaited = true;
      pthread_cond_wait(&pipeline->overlap, &pipeline->lock);
    } else if (kind == DISCARD && pipeline->discards >= DISCARDS) {
      pthread_cond_wait(&pipeline->discarded, &pipeline->lock);
    } else if (is_full(pipeline, kind, count) || (!queued && must_queue(pipeline, kind))) {
      await_room(pipeline);
      queued = true;
    } else {
      return 0;
    }
  }
}

static struct connection *least_loaded(struct pipeline *pipeline) {
  struct connection *best = &pipeline->connections[0];
  for (unsigned i = 1; i < pipeline->connection_count; i++)
    if (pipeline->connections[i].load < best->load)
      best = &pipeline->connections[i];
  return best;
}

/* What a request adds to its connection's load: a small one is not free. */
static uint64_t load_of(const struct request *request) {
  return (request->kind == DISCARD ? 0 : request->count) + REQUEST_LOAD;
}

static void count_in(struct request *request) {
  struct pipeline *pipeline = request->pipeline;
  pipeline->in_flight++;
  pipeline->bytes += bytes_of(request);
  pipeline->discards += request->kind == DISCARD;
  if (request->kind == WRITE)
    pipeline->writes[request->epoch]++;
  if (request->group)
    request->group->pending++;
  request->connection->load += load_of(request);
}

static void count_out(struct request *request) {
  struct pipeline *pipeline = request->pipeline;
  pipeline->in_flight--;
  pipeline->bytes -= bytes_of(request);
  pipeline->discards -= request->kind == DISCARD;
  if (request->kind == WRITE)
    pipeline->writes[request->epoch]--;
  request->connection->load -= load_of(request);
}

/* Wait for the turn and take a request.  On an error *result says why it is NULL. */
static struct request *take_request(struct pipeline *pipeline, enum kind kind, uint64_t offset,
                                    uint64_t count, struct group *group, int *result) {
  *result = await_turn(pipeline, kind, offset, count);
  if (*result < 0)
    return NULL;
  struct request *request = pipeline->free;
  pipeline->free = request->next;
  *request = (struct request){
      .pipeline = pipeline,
      .connection = least_loaded(pipeline),
      .kind = kind,
      .offset = offset,
      .count = count,
      .group = group,
      .epoch = pipeline->epoch,
  };
  count_in(request);
  if (is_change(request))
    enlist(request);
  return request;
}

/* --------------------------------------------------------- copies of writes
 * Buffers of a cell are kept, the last used first, which is the one still in the processor's cache;
 * smaller ones are malloc's. */

static bool is_spared(const struct pipeline *pipeline, uint64_t count) {
  return count > pipeline->cell / 2;
}

/* With the lock held. */
static void *take_spare(struct pipeline *pipeline) {
  void *buffer = pipeline->spare;
  if (buffer)
    memcpy(&pipeline->spare, buffer, sizeof pipeline->spare);
  return buffer;
}

/* Give a request's copy up, with the lock held. */
static void release_copy(struct request *request) {
  struct pipeline *pipeline = request->pipeline;
  if (request->copy && is_spared(pipeline, request->count)) {
    memcpy(request->copy, &pipeline->spare, sizeof pipeline->spare);
    pipeline->spare = request->copy;
  } else {
    free(request->copy);
  }
}

/* Without the lock; spare is take_spare's.  NULL: no memory. */
static void *copy_bytes(struct pipeline *pipeline, void *spare, const void *bytes, uint64_t count) {
  void *copy = spare;
  if (!copy)
    copy = is_spared(pipeline, count) ? aligned_alloc(ALIGNMENT, pipeline->cell) : malloc(count);
  if (copy)
    memcpy(copy, bytes, count);
  return copy;
}

/* --------------------------------------------------------------- completion */

/* Wake whoever waits for what this request held.  With the lock held. */
static void wake_waiters(struct request *request) {
  struct pipeline *pipeline = request->pipeline;
  if (request->awaited)
    pthread_cond_broadcast(&pipeline->overlap);
  if (pipeline->crowded > 0 && is_half_empty(pipeline))
    pthread_cond_broadcast(&pipeline->room);
  if (request->kind == DISCARD)
    pthread_cond_broadcast(&pipeline->discarded);
  if (pipeline->in_flight == 0 || (request->kind == WRITE && pipeline->writes[request->epoch] == 0))
    pthread_cond_broadcast(&pipeline->drained);
  if (request->group && --request->group->pending == 0)
    pthread_cond_signal(&request->group->done);
}

/* With the lock held. */
static void fail_all(struct pipeline *pipeline) {
  pipeline->failure = -EIO;
  pthread_cond_broadcast(&pipeline->overlap);
  pthread_cond_broadcast(&pipeline->room);
  pthread_cond_broadcast(&pipeline->discarded);
  pthread_cond_broadcast(&pipeline->drained);
}

/* nbdkit says EINVAL where its plugin says that it cannot. */
static bool means_cannot(int error) {
  return error == -EOPNOTSUPP || error == -EINVAL;
}

/* error: a negative errno, or 0.  With the lock held. */
static void note_outcome(struct request *request, int error) {
  struct pipeline *pipeline = request->pipeline;
  if (error == 0)
    return;
  if (request->kind == DISCARD)
    pipeline->no_discard = pipeline->no_discard || means_cannot(error);
  else if (!is_look(request->kind))
    fail_all(pipeline);
  if (request->group && request->group->error == 0)
    request->group->error = -EIO;
}

static void complete(struct request *request, int error) {
  struct pipeline *pipeline = request->pipeline;
  pthread_mutex_lock(&pipeline->lock);
  count_out(request);
  if (is_change(request))
    delist(request);
  release_copy(request);
  note_outcome(request, error);
  wake_waiters(request);
  request->next = pipeline->free;
  pipeline->free = request;
  pthread_mutex_unlock(&pipeline->lock);
}

/* Called by libnbd with the handle's lock held.  1: forget the command. */
static int on_completion(void *user_data, int *error) {
  complete(user_data, -*error);
  return 1;
}

/* A connection has ended: nothing can be issued any more. */
static void declare_dead(struct pipeline *pipeline) {
  pthread_mutex_lock(&pipeline->lock);
  pipeline->dead = true;
  fail_all(pipeline);
  pthread_mutex_unlock(&pipeline->lock);
}

/* ------------------------------------------------------- threads and issuing */

static void wake_thread(struct connection *connection) {
  uint64_t one = 1;
  while (write(connection->wake, &one, sizeof one) < 0 && errno == EINTR)
    ;
}

static void clear_wake(struct connection *connection) {
  uint64_t count;
  while (read(connection->wake, &count, sizeof count) < 0 && errno == EINTR)
    ;
}

static bool has_ended(struct nbd_handle *handle) {
  return nbd_aio_is_dead(handle) != 0 || nbd_aio_is_closed(handle) != 0;
}

/* Wait for the socket or a wake-up, and move libnbd on.
 *
 * Both this and wake_if_needed do an atomic exchange on watched between the change that the other
 * has to see and the look at the other's: whichever is second sees the first. */
static void poll_connection(struct connection *connection) {
  unsigned direction = nbd_aio_get_direction(connection->handle);
  struct pollfd polled[2] = {
      {.fd = connection->socket, .events = events_of(direction)},
      {.fd = connection->wake, .events = POLLIN},
  };
  atomic_exchange(&connection->watched, direction);
  bool changed = nbd_aio_get_direction(connection->handle) != direction;
  int found = changed ? 0 : poll(polled, 2, -1);
  atomic_store(&connection->watched, LIBNBD_AIO_DIRECTION_BOTH);
  if (found <= 0)
    return;
  if (polled[1].revents)
    clear_wake(connection);
  notify_libnbd(connection->handle, direction, polled[0].revents);
}

/* After a request was issued.  The thread polls for replies; it has to know if there is more to
 * send than the socket took, and if the connection has ended: then its socket is closed, which poll
 * does not see. */
static void wake_if_needed(struct connection *connection) {
  unsigned watched = atomic_fetch_or(&connection->watched, 0);
  unsigned direction = nbd_aio_get_direction(connection->handle);
  if (direction == 0 || direction & ~watched & LIBNBD_AIO_DIRECTION_WRITE)
    wake_thread(connection);
}

/* The thread of a connection: whatever does not happen in the caller's thread. */
static void *serve_connection(void *argument) {
  struct connection *connection = argument;
  struct pipeline *pipeline = connection->pipeline;
  while (!atomic_load(&pipeline->stopping) && !has_ended(connection->handle))
    poll_connection(connection);
  if (!atomic_load(&pipeline->stopping))
    declare_dead(pipeline);
  return NULL;
}

static int64_t hand_to_libnbd(struct nbd_handle *handle, struct request *request) {
  nbd_completion_callback done = {.callback = on_completion, .user_data = request};
  switch (request->kind) {
  case READ:
    return nbd_aio_pread(handle, request->buffer, request->count, request->offset, done, 0);
  case PRELOAD:
    return nbd_aio_cache(handle, request->count, request->offset, done, 0);
  case WRITE:
    return nbd_aio_pwrite(handle, request->buffer, request->count, request->offset, done,
                          request->flags);
  case DISCARD:
    return nbd_aio_trim(handle, request->count, request->offset, done, 0);
  default:
    return nbd_aio_flush(handle, done, 0);
  }
}

/* Start a request, without the lock.  It is not ours afterwards. */
static void issue(struct request *request) {
  struct connection *connection = request->connection;
  struct signal_guard guard = guard_signal(connection->encrypted);
  if (hand_to_libnbd(connection->handle, request) < 0)
    complete(request, -EIO);
  unguard_signal(&guard);
  wake_if_needed(connection);
}

/* --------------------------------------------------------------- operations */

static void start_group(struct group *group) {
  *group = (struct group){0};
  pthread_cond_init(&group->done, NULL);
}

/* With the lock held, which is given up.  result: an error from before.  Returns that, or the
 * group's. */
static int finish_group(struct pipeline *pipeline, struct group *group, int result) {
  while (group->pending > 0)
    pthread_cond_wait(&group->done, &pipeline->lock);
  pthread_mutex_unlock(&pipeline->lock);
  pthread_cond_destroy(&group->done);
  return result < 0 ? result : group->error;
}

/* The bytes from offset to the end of its cell, at most count. */
static uint64_t piece_at(struct pipeline *pipeline, uint64_t offset, uint64_t count) {
  uint64_t piece = pipeline->cell - offset % pipeline->cell;
  return piece < count ? piece : count;
}

/* Read; or, without a buffer, preload. */
static int look(struct pipeline *pipeline, void *buffer, uint64_t count, uint64_t offset) {
  unsigned char *at = buffer;
  enum kind kind = at ? READ : PRELOAD;
  struct group group;
  int result = 0;
  start_group(&group);
  pthread_mutex_lock(&pipeline->lock);
  while (count > 0) {
    uint64_t piece = piece_at(pipeline, offset, count);
    struct request *request = take_request(pipeline, kind, offset, piece, &group, &result);
    if (!request)
      break;
    pthread_mutex_unlock(&pipeline->lock);
    request->buffer = at;
    issue(request);
    pthread_mutex_lock(&pipeline->lock);
    at = at ? at + piece : NULL;
    offset += piece;
    count -= piece;
  }
  return finish_group(pipeline, &group, result);
}

int pipeline_read(struct pipeline *pipeline, void *buffer, size_t count, uint64_t offset) {
  return look(pipeline, buffer, count, offset);
}

int pipeline_preload(struct pipeline *pipeline, uint64_t count, uint64_t offset) {
  return look(pipeline, NULL, count, offset);
}

/* Issue a write of a copy; without memory for one the caller waits for it.  Called with the lock
 * held, which is given up meanwhile. */
static void issue_copied(struct request *request, const void *bytes, struct group *group) {
  struct pipeline *pipeline = request->pipeline;
  void *spare = is_spared(pipeline, request->count) ? take_spare(pipeline) : NULL;
  pthread_mutex_unlock(&pipeline->lock);
  request->copy = copy_bytes(pipeline, spare, bytes, request->count);
  request->buffer = request->copy;
  if (!request->copy) {
    request->buffer = (void *)(uintptr_t)bytes; /* only read */
    pthread_mutex_lock(&pipeline->lock);
    request->group = group;
    group->pending++;
    pthread_mutex_unlock(&pipeline->lock);
  }
  issue(request);
  pthread_mutex_lock(&pipeline->lock);
}

/* Issue a write of the caller's own bytes, who waits for it.  The lock as above. */
static void issue_uncopied(struct request *request, const void *bytes) {
  struct pipeline *pipeline = request->pipeline;
  pthread_mutex_unlock(&pipeline->lock);
  request->buffer = (void *)(uintptr_t)bytes; /* only read */
  issue(request);
  pthread_mutex_lock(&pipeline->lock);
}

static int write_pieces(struct pipeline *pipeline, const void *buffer, size_t count,
                        uint64_t offset, bool waited, uint32_t flags) {
  const unsigned char *at = buffer;
  struct group group;
  int result = 0;
  start_group(&group);
  pthread_mutex_lock(&pipeline->lock);
  while (count > 0) {
    uint64_t piece = piece_at(pipeline, offset, count);
    struct request *request =
        take_request(pipeline, WRITE, offset, piece, waited ? &group : NULL, &result);
    if (!request)
      break;
    request->flags = flags;
    if (waited)
      issue_uncopied(request, at);
    else
      issue_copied(request, at, &group);
    at += piece;
    offset += piece;
    count -= piece;
  }
  return finish_group(pipeline, &group, result);
}

int pipeline_write(struct pipeline *pipeline, const void *buffer, size_t count, uint64_t offset) {
  return write_pieces(pipeline, buffer, count, offset, false, 0);
}

int pipeline_write_and_wait(struct pipeline *pipeline, const void *buffer, size_t count,
                            uint64_t offset, uint32_t flags) {
  return write_pieces(pipeline, buffer, count, offset, true, flags);
}

int pipeline_discard(struct pipeline *pipeline, uint64_t count, uint64_t offset) {
  int result = 0;
  pthread_mutex_lock(&pipeline->lock);
  while (count > 0 && result == 0) {
    uint64_t piece = count < MOST_DISCARD ? count : MOST_DISCARD;
    struct request *request = NULL;
    if (pipeline->no_discard)
      result = -EOPNOTSUPP;
    else
      request = take_request(pipeline, DISCARD, offset, piece, NULL, &result);
    if (!request)
      break;
    pthread_mutex_unlock(&pipeline->lock);
    issue(request);
    pthread_mutex_lock(&pipeline->lock);
    offset += piece;
    count -= piece;
  }
  pthread_mutex_unlock(&pipeline->lock);
  return result;
}

/* Writes that go on meanwhile join the other epoch, which is empty: the last call waited for that,
 * and no other is under way. */
int pipeline_await_writes(struct pipeline *pipeline) {
  pthread_mutex_lock(&pipeline->lock);
  unsigned epoch = pipeline->epoch;
  pipeline->epoch = !epoch;
  while (pipeline->writes[epoch] > 0)
    pthread_cond_wait(&pipeline->drained, &pipeline->lock);
  int result = pipeline->failure;
  pthread_mutex_unlock(&pipeline->lock);
  return result;
}

int pipeline_flush_server(struct pipeline *pipeline) {
  struct group group;
  int result;
  start_group(&group);
  pthread_mutex_lock(&pipeline->lock);
  struct request *request = take_request(pipeline, FLUSH, 0, 0, &group, &result);
  if (request) {
    pthread_mutex_unlock(&pipeline->lock);
    issue(request);
    pthread_mutex_lock(&pipeline->lock);
  }
  return finish_group(pipeline, &group, result);
}

/* ------------------------------------------------- setting up and taking down */

struct pipeline *pipeline_create(uint64_t cell) {
  struct pipeline *pipeline = calloc(1, sizeof *pipeline);
  if (!pipeline)
    return NULL;
  pipeline->cell = cell;
  pthread_mutex_init(&pipeline->lock, NULL);
  pthread_cond_init(&pipeline->room, NULL);
  pthread_cond_init(&pipeline->overlap, NULL);
  pthread_cond_init(&pipeline->discarded, NULL);
  pthread_cond_init(&pipeline->drained, NULL);
  for (unsigned i = 0; i < REQUESTS; i++) {
    pipeline->requests[i].next = pipeline->free;
    pipeline->free = &pipeline->requests[i];
  }
  return pipeline;
}

/* The thread takes no signals: they are the program's. */
static int start_thread(struct connection *connection) {
  sigset_t all, before;
  connection->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (connection->wake < 0)
    return -errno;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&connection->thread, NULL, serve_connection, connection);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  connection->started = error == 0;
  return -error;
}

static void close_connection(struct connection *connection) {
  if (connection->started) {
    wake_thread(connection);
    pthread_join(connection->thread, NULL);
  }
  if (nbd_aio_is_ready(connection->handle) == 1)
    nbd_aio_disconnect(connection->handle, 0); /* politeness: its answer is not waited for */
  nbd_close(connection->handle);
  if (connection->wake >= 0)
    close(connection->wake);
}

int pipeline_add(struct pipeline *pipeline, struct nbd_handle *handle) {
  struct connection *connection = &pipeline->connections[pipeline->connection_count];
  *connection = (struct connection){
      .pipeline = pipeline,
      .handle = handle,
      .socket = nbd_aio_get_fd(handle),
      .wake = -1,
      .watched = LIBNBD_AIO_DIRECTION_BOTH,
      .encrypted = nbd_get_tls_negotiated(handle) != 0,
  };
  int result = start_thread(connection);
  if (result < 0)
    close_connection(connection);
  else
    pipeline->connection_count++;
  return result;
}

static void await_everything(struct pipeline *pipeline) {
  pthread_mutex_lock(&pipeline->lock);
  while (pipeline->in_flight > 0)
    pthread_cond_wait(&pipeline->drained, &pipeline->lock);
  pthread_mutex_unlock(&pipeline->lock);
}

static void free_pipeline(struct pipeline *pipeline) {
  void *spare;
  while ((spare = take_spare(pipeline)))
    free(spare);
  pthread_cond_destroy(&pipeline->room);
  pthread_cond_destroy(&pipeline->overlap);
  pthread_cond_destroy(&pipeline->discarded);
  pthread_cond_destroy(&pipeline->drained);
  pthread_mutex_destroy(&pipeline->lock);
  free(pipeline);
}

void pipeline_destroy(struct pipeline *pipeline) {
  await_everything(pipeline);
  atomic_store(&pipeline->stopping, true);
  struct signal_guard guard = guard_signal(true);
  for (unsigned i = 0; i < pipeline->connection_count; i++)
    close_connection(&pipeline->connections[i]);
  unguard_signal(&guard);
  free_pipeline(pipeline);
}
