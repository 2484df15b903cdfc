/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A backing store on an NBD server, over libnbd.
 *
 * Over several connections if the server allows it (NBD_FLAG_CAN_MULTI_CONN: then a flush on one
 * covers what was answered on all).  Each call takes the connection with the fewest users, and
 * has its requests under way there together, in pieces of bounded size and number.
 *
 * A connection that ends takes no call with it: what was not answered is issued again on another,
 * or on a new one.  If the server cannot be reached, the calls that found that out go on trying
 * for RECONNECT milliseconds; after that calls fail with -EIO at once, but for one in each
 * second that tries once more (for as long as a handshake may take, at most RECONNECT).  A server
 * that is silent for ANSWER milliseconds while a request is under way is taken for dead, all its
 * connections with it; so a call takes a bit more than both together at most.  (Looking up a host's
 * name is not bounded.)  A server that takes connections and ends them, again and again, is given up
 * by a call after MOST_LOSSES of them.
 *
 * Each lost and each new connection counts as a loss of what was not flushed (backing_losses): the
 * server behind may have been started anew, and of what it had answered before only what was
 * flushed is safe.
 *
 * What the protocol cannot give: a server that goes on after a connection to it was lost may
 * still carry out what was on its way there, after what was issued again, and after newer
 * writes.  A server that was killed does not.
 */

#include "backing-nbd-connection.h"
#include "backing-signal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
  CONNECTIONS = 4,
  WINDOW = 64,                /* pieces of one call under way */
  MOST_PIECE = 1 << 20,       /* bytes of a read or write */
  MOST_ZERO = 256 << 20,      /* of a zero: servers may have to write them */
  MOST_STATUS = 1 << 30,      /* of a block status */
  DEFAULT_MAXIMUM = 32 << 20, /* of a request, where the server does not say */
  ENTRIES = 512,              /* extents taken from one block status */
  ANSWER = 30000,             /* milliseconds, these and below */
  RECONNECT = 5000,
  MOST_LOSSES = 64, /* of connections in one call; a server that ends costs all four */
  CONNECT = 30000,  /* at the start */
  ANOTHER = 1000,   /* for a further connection, which is not needed */
  LEAST_DELAY = 20,
  MOST_DELAY = 1000,
};

struct traits {
  uint64_t size;
  bool read_only, can_flush, can_zero, several, knows_status;
};

struct nbd_backing {
  struct backing backing;
  char *uri;
  struct traits traits;
  uint64_t piece; /* bytes of the largest read or write */
  bool encrypted; /* libnbd sends with MSG_NOSIGNAL, but the TLS library under it may not */
  struct nbd_connection connections[CONNECTIONS];
  unsigned count;

  pthread_mutex_t lock; /* for all below */
  pthread_cond_t tried; /* CLOCK_MONOTONIC */
  bool trying;          /* somebody connects */
  int64_t outage;       /* since when there is no connection, in milliseconds; 0 if there is */
  int64_t next_try;
  int64_t delay;
  int64_t reconnect; /* milliseconds */
};

static struct nbd_backing *of(struct backing *backing) {
  return (struct nbd_backing *)backing;
}

/* ----------------------------------------------------------- connecting anew */

static void read_traits(struct nbd_handle *handle, struct traits *traits) {
  int64_t size = nbd_get_size(handle);
  traits->size = size < 0 ? 0 : (uint64_t)size;
  traits->read_only = nbd_is_read_only(handle) != 0;
  traits->can_flush = nbd_can_flush(handle) == 1;
  traits->can_zero = nbd_can_zero(handle) == 1;
  traits->several = nbd_can_multi_conn(handle) == 1;
  traits->knows_status = nbd_can_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
}

/* Whether what a handle reached can be what was there at the start. */
static bool is_alike(const struct nbd_backing *nbd, struct nbd_handle *handle) {
  const struct traits *first = &nbd->traits;
  struct traits now;
  read_traits(handle, &now);
  return now.size >= first->size && (first->read_only || !now.read_only) &&
         now.can_flush >= first->can_flush && now.can_zero >= first->can_zero &&
         now.knows_status >= first->knows_status && now.several >= first->several;
}

/* Connect a connection that is lost. */
static int connect_again(struct nbd_backing *nbd, struct nbd_connection *connection,
                         int64_t milliseconds) {
  char problem[BACKING_PROBLEM];
  struct nbd_handle *handle;
  int result = nbd_connection_reach(nbd->uri, nbd->backing.name, milliseconds, &handle, problem);
  if (result < 0)
    return result;
  if (!is_alike(nbd, handle)) {
    nbd_close(handle);
    return -EIO;
  }
  backing_note_loss(&nbd->backing);
  nbd_connection_adopt(connection, handle);
  return 0;
}

static struct nbd_connection *find_ready(struct nbd_backing *nbd, bool ready) {
  for (unsigned i = 0; i < nbd->count; i++)
    if (atomic_load(&nbd->connections[i].ready) == ready)
      return &nbd->connections[i];
  return NULL;
}

/* With the lock held. */
static void wait_for_try(struct nbd_backing *nbd, int64_t until) {
  struct timespec at = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
  pthread_cond_timedwait(&nbd->tried, &nbd->lock, &at);
}

/* With the lock held, which is given up meanwhile. */
static int try_once(struct nbd_backing *nbd, struct nbd_connection *connection,
                    int64_t milliseconds) {
  nbd->trying = true;
  pthread_mutex_unlock(&nbd->lock);
  int result = connect_again(nbd, connection, milliseconds);
  pthread_mutex_lock(&nbd->lock);
  nbd->trying = false;
  pthread_cond_broadcast(&nbd->tried);
  return result;
}

/* With the lock held, and no connection.  0: look again; or a negative errno. */
static int try_to_reach(struct nbd_backing *nbd) {
  int64_t now = backing_milliseconds();
  if (nbd->outage == 0) {
    nbd->outage = now;
    nbd->next_try = now;
    nbd->delay = LEAST_DELAY;
  }
  int64_t left = nbd->outage + nbd->reconnect - now;
  if (left <= 0 && (nbd->trying || now < nbd->next_try))
    return -EIO;
  if (nbd->trying || now < nbd->next_try) {
    int64_t end = now + left;
    wait_for_try(nbd, nbd->trying || nbd->next_try > end ? end : nbd->next_try);
    return 0;
  }
  int result = try_once(nbd, &nbd->connections[0], left > 0 ? left : nbd->reconnect);
  if (result == 0) {
    nbd->outage = 0;
    nbd->next_try = 0; /* the others at once */
    return 0;
  }
  nbd->next_try = backing_milliseconds() + (left > 0 ? nbd->delay : MOST_DELAY);
  nbd->delay = nbd->delay < MOST_DELAY / 2 ? nbd->delay * 2 : MOST_DELAY;
  return left > 0 ? 0 : -EIO;
}

/* Have at least one connection.  0 or a negative errno. */
static int reach_server(struct nbd_backing *nbd) {
  int result = 0;
  pthread_mutex_lock(&nbd->lock);
  while (result == 0 && !find_ready(nbd, true))
    result = try_to_reach(nbd);
  pthread_mutex_unlock(&nbd->lock);
  return result;
}

/* While there are some connections, but not all: try now and then to have the others too. */
static void reach_others(struct nbd_backing *nbd) {
  struct nbd_connection *lost;
  pthread_mutex_lock(&nbd->lock);
  int result = nbd->trying || backing_milliseconds() < nbd->next_try ? -EAGAIN : 0;
  while (result == 0 && find_ready(nbd, true) && (lost = find_ready(nbd, false))) {
    result = try_once(nbd, lost, ANOTHER);
    nbd->next_try = result < 0 ? backing_milliseconds() + MOST_DELAY : nbd->next_try;
  }
  pthread_mutex_unlock(&nbd->lock);
}

/* The least used connection, or NULL.  The caller takes itself off its users. */
static struct nbd_connection *choose(struct nbd_backing *nbd) {
  struct nbd_connection *best = NULL;
  unsigned least = UINT32_MAX;
  for (unsigned i = 0; i < nbd->count; i++) {
    struct nbd_connection *connection = &nbd->connections[i];
    unsigned users = atomic_load(&connection->users);
    if (atomic_load(&connection->ready) && users < least) {
      best = connection;
      least = users;
    }
  }
  if (best)
    atomic_fetch_add(&best->users, 1);
  return best;
}

/* One connection was silent for too long.  Those that were as silent are so because nobody
 * asked, or for the same reason: they would cost the next caller as much time. */
static void lose_silent(struct nbd_backing *nbd) {
  for (unsigned i = 0; i < nbd->count; i++) {
    struct nbd_connection *connection = &nbd->connections[i];
    pthread_mutex_lock(&connection->lock);
    if (backing_milliseconds() - connection->heard >= connection->patience / 2)
      nbd_connection_lose(connection);
    pthread_mutex_unlock(&connection->lock);
  }
}

/* ------------------------------------------------------------------ submissions */

/* What one call has to do: requests, cut into pieces; and pieces made before. */
struct submission {
  struct nbd_backing *nbd;
  struct backing_request *requests;
  unsigned count;
  unsigned index;       /* of the request to cut next */
  uint64_t done;        /* bytes of it already cut */
  enum piece_kind zero; /* how to make zeros */
  struct piece *unused;
  struct piece *again; /* to be issued before any others */
  int64_t give_up;     /* milliseconds; 0 while nothing was lost */
  unsigned losses;     /* of connections */
  struct piece_group group;
  struct piece pieces[WINDOW];
};

static void begin(struct submission *submission, struct nbd_backing *nbd,
                  struct backing_request *requests, unsigned count) {
  submission->nbd = nbd;
  submission->requests = requests;
  submission->count = count;
  submission->index = 0;
  submission->done = 0;
  submission->zero = PIECE_ZERO;
  submission->unused = submission->again = NULL;
  submission->give_up = 0;
  submission->losses = 0;
  submission->group = (struct piece_group){.changed = PTHREAD_COND_INITIALIZER};
  for (unsigned i = 0; i < WINDOW; i++) {
    submission->pieces[i].next = submission->unused;
    submission->unused = &submission->pieces[i];
  }
}

/* The request to cut next, or NULL.  What failed is not gone on with. */
static struct backing_request *current_request(struct submission *submission) {
  for (; submission->index < submission->count; submission->index++, submission->done = 0) {
    struct backing_request *request = &submission->requests[submission->index];
    if (request->result == 0 &&
        submission->done < backing_inside(&submission->nbd->backing, request))
      return request;
  }
  return NULL;
}

static uint64_t most_of(const struct submission *submission, enum piece_kind kind, bool zeros) {
  if (kind == PIECE_ZERO || kind == PIECE_ALLOCATE)
    return MOST_ZERO;
  uint64_t piece = submission->nbd->piece;
  return zeros && piece > BACKING_ZEROS ? BACKING_ZEROS : piece;
}

static void cut(struct submission *submission, struct backing_request *request,
                struct piece *piece) {
  static const enum piece_kind kinds[] = {
      [BACKING_READ] = PIECE_READ, [BACKING_WRITE] = PIECE_WRITE};
  bool zeros = request->operation == BACKING_ZERO;
  piece->kind = zeros ? submission->zero : kinds[request->operation];
  uint64_t left = backing_inside(&submission->nbd->backing, request) - submission->done;
  uint64_t most = most_of(submission, piece->kind, zeros);
  piece->count = left < most ? left : most;
  piece->offset = request->offset + submission->done;
  piece->buffer = zeros ? (void *)backing_zeros : (char *)request->buffer + submission->done;
  piece->result = &request->result;
  submission->done += piece->count;
}

/* The next piece to issue, or NULL. */
static struct piece *next_piece(struct submission *submission) {
  struct piece *piece = submission->again;
  if (piece) {
    submission->again = piece->next;
    return piece;
  }
  piece = submission->unused;
  struct backing_request *request = piece ? current_request(submission) : NULL;
  if (!request)
    return NULL;
  submission->unused = piece->next;
  cut(submission, request, piece);
  return piece;
}

static bool has_more(struct submission *submission) {
  return submission->again || current_request(submission);
}

/* With the connection's lock held. */
static void collect(struct submission *submission) {
  struct piece_group *group = &submission->group;
  struct piece *piece;
  while ((piece = group->finished)) {
    group->finished = piece->next;
    piece->next = submission->unused;
    submission->unused = piece;
  }
  while ((piece = group->lost)) {
    group->lost = piece->next;
    piece->next = submission->again;
    submission->again = piece;
  }
}

/* Until all is done, or the connection is lost; then nothing is under way.  Returns whether the
 * connection was lost for its silence. */
static bool run_on(struct submission *submission, struct nbd_connection *connection) {
  struct piece_group *group = &submission->group;
  struct piece *piece;
  pthread_mutex_lock(&connection->lock);
  do {
    while (connection->handle && (piece = next_piece(submission)))
      nbd_connection_issue(connection, group, piece);
    bool more = connection->handle && has_more(submission);
    nbd_connection_wait(connection, group, more ? WINDOW / 2 : 0);
    collect(submission);
  } while (group->in_flight > 0 || (connection->handle && has_more(submission)));
  bool silent = !connection->handle && connection->silent;
  pthread_mutex_unlock(&connection->lock);
  return silent;
}

static void fail_rest(struct submission *submission, int error) {
  for (struct piece *piece = submission->again; piece; piece = piece->next)
    if (*piece->result == 0)
      *piece->result = error;
  struct backing_request *request;
  while ((request = current_request(submission)))
    request->result = error;
}

/* Whether to go on after a connection was lost: a server may end, or hang up, each time that it
 * sees a request. */
static bool may_go_on(struct submission *submission) {
  int64_t now = backing_milliseconds();
  if (submission->give_up == 0)
    submission->give_up = now + submission->nbd->reconnect;
  return now < submission->give_up && ++submission->losses < MOST_LOSSES;
}

static int run_once(struct submission *submission) {
  struct nbd_backing *nbd = submission->nbd;
  struct nbd_connection *connection = choose(nbd);
  if (!connection) {
    int result = reach_server(nbd);
    reach_others(nbd); /* now, so that it is one loss */
    return result;
  }
  bool silent = run_on(submission, connection);
  atomic_fetch_sub(&connection->users, 1);
  if (silent)
    lose_silent(nbd);
  return !has_more(submission) || may_go_on(submission) ? 0 : -EIO;
}

static void run(struct submission *submission) {
  struct nbd_backing *nbd = submission->nbd;
  struct signal_guard guard;
  int result = 0;
  guard_signal(&guard, SIGPIPE, nbd->encrypted);
  while (result == 0 && has_more(submission))
    result = run_once(submission);
  if (result < 0)
    fail_rest(submission, result);
  else if (find_ready(nbd, false))
    reach_others(nbd);
  unguard_signal(&guard, SIGPIPE);
  pthread_cond_destroy(&submission->group.changed);
}

/* A piece that stands alone, of no request.  Its result. */
static int run_single(struct nbd_backing *nbd, struct piece *piece) {
  struct submission submission;
  int result = 0;
  begin(&submission, nbd, NULL, 0);
  piece->result = &result;
  piece->next = NULL;
  submission.again = piece;
  run(&submission);
  return result;
}

/* ------------------------------------------------------------------- operations */

/* A server that has no way to make zeros gets them written.  Trim will not do: what was trimmed
 * may read as anything. */
static void run_requests(struct nbd_backing *nbd, struct backing_request *requests, unsigned count,
                         enum piece_kind zero) {
  struct submission submission;
  begin(&submission, nbd, requests, count);
  submission.zero = nbd->traits.can_zero ? zero : PIECE_WRITE;
  run(&submission);
}

static void nbd_backing_submit(struct backing *backing, struct backing_request *requests,
                               unsigned count) {
  run_requests(of(backing), requests, count, PIECE_ZERO);
}

static int nbd_backing_allocate(struct backing *backing, uint64_t count, uint64_t offset) {
  struct backing_request request = {.operation = BACKING_ZERO, .count = count, .offset = offset};
  run_requests(of(backing), &request, 1, PIECE_ALLOCATE);
  return request.result;
}

static int nbd_backing_flush(struct backing *backing) {
  struct piece piece = {.kind = PIECE_FLUSH};
  return run_single(of(backing), &piece);
}

/* What one block status said, as far as there is room. */
struct status {
  uint64_t wanted; /* bytes */
  uint64_t covered;
  unsigned count;
  bool bad;
  struct {
    uint64_t count;
    bool is_hole;
  } entries[ENTRIES];
};

/* All of it is the server's word: there may be anything. */
static int take_extents(void *opaque, const char *context, uint64_t offset, uint32_t *entries,
                        size_t length, int *error) {
  static const uint32_t both = LIBNBD_STATE_HOLE | LIBNBD_STATE_ZERO;
  struct status *status = opaque;
  (void)offset;
  (void)error;
  if (strcmp(context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
    return 0;
  status->covered = status->count = 0; /* asked again, or answered twice */
  for (size_t i = 0; i + 1 < length && status->count < ENTRIES; i += 2) {
    uint64_t left = status->wanted - status->covered;
    uint64_t count = entries[i] < left ? entries[i] : left;
    status->bad |= entries[i] == 0;
    status->entries[status->count].count = count;
    status->entries[status->count++].is_hole = (entries[i + 1] & both) == both;
    status->covered += count;
  }
  return 0;
}

static int ask_status(struct nbd_backing *nbd, struct status *status, uint64_t count,
                      uint64_t offset) {
  status->wanted = count;
  status->covered = status->count = 0;
  status->bad = false;
  struct piece piece = {
      .kind = PIECE_STATUS,
      .count = count,
      .offset = offset,
      .extent = {.callback = take_extents, .user_data = status},
  };
  int result = run_single(nbd, &piece);
  if (result == 0 && (status->bad || status->covered == 0))
    return -EIO;
  return result;
}

/* Pass on what one block status said, up to a block's end.  A block that is not in one entry counts
 * as data, since the callers' memory and files know no parts of blocks; so there are two requests
 * for each block at most, however little a server tells at a time.  Returns where to go on. */
static uint64_t pass_on(const struct status *status, uint64_t offset, uint64_t end,
                        struct extent_sink *sink, int *result) {
  const uint64_t mask = BACKING_ALIGNMENT - 1;
  uint64_t at = offset, known = offset;
  for (unsigned i = 0; i < status->count && *result == 0; i++) {
    known += status->entries[i].count;
    uint64_t whole = known < end ? known & ~mask : end;
    if (whole <= at)
      continue; /* it is not the whole of the block at that place */
    uint64_t start = known - status->entries[i].count;
    uint64_t next = start > at ? (start | mask) + 1 : at;
    next = next < whole ? next : whole;
    *result = extent_sink_add(sink, next - at, false);
    if (*result == 0)
      *result = extent_sink_add(sink, whole - next, status->entries[i].is_hole);
    at = whole;
  }
  if (at > offset || *result)
    return at;
  at = end - offset > BACKING_ALIGNMENT ? (offset | mask) + 1 : end;
  *result = extent_sink_add(sink, at - offset, false);
  return at;
}

static int nbd_backing_extents(struct backing *backing, uint64_t count, uint64_t offset,
                               struct extent_sink *sink) {
  struct nbd_backing *nbd = of(backing);
  struct status status;
  uint64_t end = offset + count;
  if (!nbd->traits.knows_status)
    return extent_sink_add(sink, count, false);
  int result = 0;
  while (offset < end && result == 0) {
    uint64_t most = end - offset < MOST_STATUS ? end - offset : MOST_STATUS;
    result = ask_status(nbd, &status, most, offset);
    if (result == 0)
      offset = pass_on(&status, offset, end, sink, &result);
  }
  return result;
}

static int nbd_backing_resize(struct backing *backing, uint64_t size) {
  (void)backing;
  (void)size;
  return -ENOTSUP;
}

static uint64_t nbd_backing_used(struct backing *backing) {
  (void)backing;
  return UINT64_MAX;
}

/* The protocol lets a server call zeros a hole and a hole zeros, in any units. */
static bool nbd_backing_knows_holes(struct backing *backing, uint32_t granularity) {
  (void)backing;
  (void)granularity;
  return false;
}

static void nbd_backing_close(struct backing *backing) {
  struct nbd_backing *nbd = of(backing);
  struct signal_guard guard;
  guard_signal(&guard, SIGPIPE, nbd->encrypted);
  for (unsigned i = 0; i < nbd->count; i++)
    nbd_connection_destroy(&nbd->connections[i]);
  unguard_signal(&guard, SIGPIPE);
  pthread_cond_destroy(&nbd->tried);
  pthread_mutex_destroy(&nbd->lock);
  free(nbd->uri);
  backing_destroy(backing);
}

static const struct backing_operations nbd_operations = {
    .submit = nbd_backing_submit,
    .allocate = nbd_backing_allocate,
    .flush = nbd_backing_flush,
    .extents = nbd_backing_extents,
    .resize = nbd_backing_resize,
    .used = nbd_backing_used,
    .knows_holes = nbd_backing_knows_holes,
    .close = nbd_backing_close,
};

void backing_set_patience(struct backing *backing, unsigned answer_milliseconds,
                          unsigned reconnect_milliseconds) {
  struct nbd_backing *nbd = of(backing);
  if (backing->operations != &nbd_operations)
    return;
  nbd->reconnect = reconnect_milliseconds;
  for (unsigned i = 0; i < CONNECTIONS; i++)
    nbd->connections[i].patience = answer_milliseconds;
}

/* ---------------------------------------------------------------------- opening */

bool backing_is_uri(const char *place) {
  static const char *const schemes[] = {"nbd://",       "nbds://",      "nbd+unix://",
                                        "nbds+unix://", "nbd+vsock://", "nbds+vsock://"};
  for (unsigned i = 0; i < sizeof schemes / sizeof *schemes; i++)
    if (strncasecmp(place, schemes[i], strlen(schemes[i])) == 0)
      return true;
  return false;
}

/* The URI without the password: user:password@host.  NULL: no memory. */
static char *name_of(const char *uri) {
  char *name = strdup(uri);
  if (!name)
    return NULL;
  char *authority = strstr(name, "://") + 3;
  char *end = authority + strcspn(authority, "/?#");
  char *at = memrchr(authority, '@', (size_t)(end - authority));
  char *colon = at ? memchr(authority, ':', (size_t)(at - authority)) : NULL;
  if (colon)
    memmove(colon, at, strlen(at) + 1);
  return name;
}

static uint64_t power_below(uint64_t value) {
  uint64_t power = 1;
  while (power <= value / 2)
    power *= 2;
  return power;
}

static int choose_piece(struct nbd_backing *nbd, struct nbd_handle *handle,
                        char problem[BACKING_PROBLEM]) {
  int64_t minimum = nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM);
  int64_t maximum = nbd_get_block_size(handle, LIBNBD_SIZE_MAXIMUM);
  maximum = maximum > 0 ? maximum : DEFAULT_MAXIMUM;
  if (minimum > BACKING_ALIGNMENT || maximum < BACKING_ALIGNMENT)
    return backing_refuse(problem, -EOPNOTSUPP,
                          "The NBD server '%.300s' takes requests of %lld to %lld bytes; requests "
                          "of %u bytes are needed.",
                          nbd->backing.name, (long long)minimum, (long long)maximum,
                          BACKING_ALIGNMENT);
  nbd->piece = power_below((uint64_t)(maximum < MOST_PIECE ? maximum : MOST_PIECE));
  return 0;
}

static int check_server(struct nbd_backing *nbd, struct nbd_handle *handle, uint64_t size,
                        char problem[BACKING_PROBLEM]) {
  const char *name = nbd->backing.name;
  bool base = nbd->backing.read_only;
  struct traits *traits = &nbd->traits;
  if (nbd_get_size(handle) < 0) /* libnbd need not have a text for that */
    return backing_refuse(problem, -EOVERFLOW,
                          "The NBD export '%.300s' is said to have more than 2^63-1 bytes; that "
                          "cannot be.",
                          name);
  read_traits(handle, traits);
  if (!base && traits->read_only)
    return backing_refuse(problem, -EROFS,
                          "The NBD export '%.300s' is read-only; an image must be writable.", name);
  if (!base && !traits->can_flush)
    return backing_refuse(problem, -EOPNOTSUPP,
                          "The NBD server '%.300s' has no flush, so nothing there would ever be "
                          "known to be safe; an image needs a server that has it.",
                          name);
  if (size == 0 && traits->size == 0)
    return backing_refuse(problem, -EINVAL,
                          "The NBD export '%.300s' is empty, and no size is given; a volume needs "
                          "one.",
                          name);
  if (!base && traits->size < size)
    return backing_refuse(problem, -ENOSPC,
                          "The NBD export '%.300s' has %llu bytes, and the volume %llu; an image "
                          "must be at least as large.",
                          name, (unsigned long long)traits->size, (unsigned long long)size);
  return choose_piece(nbd, handle, problem);
}

/* Give the store one connection more, which is prepared; it takes the handle, or closes it. */
static int add_connection(struct nbd_backing *nbd, struct nbd_handle *handle) {
  struct nbd_connection *connection = &nbd->connections[nbd->count];
  int result = nbd_connection_prepare(connection, &nbd->backing, ANSWER);
  if (result < 0) {
    nbd_close(handle);
    return result;
  }
  nbd->count++;
  nbd_connection_adopt(connection, handle);
  return 0;
}

/* Further connections, as many as the server gives. */
static void add_connections(struct nbd_backing *nbd) {
  char problem[BACKING_PROBLEM];
  struct nbd_handle *handle;
  while (nbd->count < CONNECTIONS &&
         nbd_connection_reach(nbd->uri, nbd->backing.name, ANOTHER, &handle, problem) == 0) {
    if (!is_alike(nbd, handle)) {
      nbd_close(handle);
      return;
    }
    if (add_connection(nbd, handle) < 0)
      return;
  }
}

static int connect_first(struct nbd_backing *nbd, uint64_t size, char problem[BACKING_PROBLEM]) {
  struct nbd_handle *handle;
  int result = nbd_connection_reach(nbd->uri, nbd->backing.name, CONNECT, &handle, problem);
  if (result < 0)
    return result;
  result = check_server(nbd, handle, size, problem);
  if (result < 0) {
    nbd_close(handle);
    return result;
  }
  nbd->encrypted = nbd_get_tls_negotiated(handle) != 0;
  atomic_store(&nbd->backing.size, nbd->traits.size);
  result = add_connection(nbd, handle);
  if (result < 0)
    return backing_refuse(problem, result, "The NBD server '%.300s' cannot be used: %s.",
                          nbd->backing.name, strerror(-result));
  if (nbd->traits.several)
    add_connections(nbd);
  return 0;
}

static void prepare_lock(struct nbd_backing *nbd) {
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&nbd->tried, &monotonic);
  pthread_condattr_destroy(&monotonic);
  pthread_mutex_init(&nbd->lock, NULL);
}

static struct nbd_backing *make_nbd_backing(const char *uri, bool read_only) {
  struct nbd_backing *nbd = calloc(1, sizeof *nbd);
  char *name = name_of(uri);
  if (!nbd || !name || !(nbd->uri = strdup(uri)) ||
      backing_prepare(&nbd->backing, &nbd_operations, name, read_only) < 0) {
    if (nbd)
      free(nbd->uri);
    free(nbd);
    nbd = NULL;
  }
  free(name);
  return nbd;
}

int backing_open_nbd(const char *uri, bool read_only, uint64_t size, struct backing **backing,
                     char problem[BACKING_PROBLEM]) {
  struct signal_guard guard;
  struct nbd_backing *nbd = make_nbd_backing(uri, read_only);
  if (!nbd)
    return backing_refuse(problem, -ENOMEM, "There is no memory to use an NBD server.");
  nbd->reconnect = RECONNECT;
  prepare_lock(nbd);
  guard_signal(&guard, SIGPIPE, true);
  int result = connect_first(nbd, size, problem);
  unguard_signal(&guard, SIGPIPE);
  if (result < 0)
    nbd_backing_close(&nbd->backing);
  else
    *backing = &nbd->backing;
  return result;
}
