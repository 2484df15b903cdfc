/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Inside the NBD backing store: one connection, on which many threads have
 * requests under way.
 *
 * There is no thread of our own.  Who waits for replies while nobody else does leads: it
 * polls, and takes the replies of all; the others sleep until theirs came, or
 * until the leader has its own and one of them must go on.  So a connection
 * survives a fork, and a single caller waits for nobody but the server.
 *
 * All libnbd calls of a connection are made with its lock held, and so are the
 * callbacks that libnbd makes from them.  A poll is made without it; who issues
 * a request meanwhile wakes the leader if there is something else to poll for.
 */

#ifndef SECTORS_BACKING_NBD_CONNECTION_H
#define SECTORS_BACKING_NBD_CONNECTION_H

#include "backing-kind.h"

#include <libnbd.h>

enum piece_kind { PIECE_READ, PIECE_WRITE, PIECE_ZERO, PIECE_ALLOCATE, PIECE_FLUSH, PIECE_STATUS };

/* A request as it goes over the wire. */
struct piece {
  enum piece_kind kind;
  void *buffer;
  uint64_t count, offset;
  int *result;                /* where the request keeps its first error */
  nbd_extent_callback extent; /* of PIECE_STATUS */
  struct piece_group *group;
  struct nbd_connection *connection;
  int64_t issued;                /* milliseconds */
  struct piece *next, *previous; /* in the connection's list; next also in the group's */
};

/* The pieces that one caller has under way.  Under the lock of the connection that it uses. */
struct piece_group {
  unsigned in_flight;
  unsigned awaited;       /* the caller sleeps until in_flight is at most that */
  struct piece *finished; /* answered */
  struct piece *lost;     /* not answered: to be issued again */
  pthread_cond_t changed;
  struct piece_group *next, *previous; /* among the sleepers of the connection */
};

struct nbd_connection {
  struct backing *backing;
  pthread_mutex_t lock;
  struct nbd_handle *handle;     /* NULL: lost */
  unsigned incarnation;          /* of the handle */
  int wake;                      /* eventfd: look at the handle again */
  bool leading;                  /* somebody polls */
  unsigned watched;              /* the directions polled for */
  bool doomed;                   /* the server said that it goes */
  bool silent;                   /* lost because no answer came */
  int64_t heard;                 /* milliseconds: the last sign of life, or of there being a need */
  int64_t patience;              /* milliseconds without one that are too many */
  struct piece *oldest, *newest; /* under way */
  struct piece_group *sleepers;
  atomic_bool ready; /* handle is not NULL */
  atomic_uint users; /* callers that use it */
};

int64_t backing_milliseconds(void);

/* Connect and shake hands, in at most that many milliseconds (name resolution not counted).  The
 * caller closes the handle.  0, or a negative errno with *problem filled, which calls it name. */
int nbd_connection_reach(const char *uri, const char *name, int64_t milliseconds,
                         struct nbd_handle **handle, char problem[BACKING_PROBLEM]);

/* A sentence with libnbd's last error in this thread.  Returns its errno. */
int nbd_connection_explain(const char *uri, const char *name, char problem[BACKING_PROBLEM]);

/* Without a handle yet.  0 or a negative errno. */
int nbd_connection_prepare(struct nbd_connection *connection, struct backing *backing,
                           int64_t patience);
void nbd_connection_destroy(struct nbd_connection *connection);

/* Give a connection that is lost, or new, its handle. */
void nbd_connection_adopt(struct nbd_connection *connection, struct nbd_handle *handle);

/* With the lock held.  Close the handle; what was under way is lost. */
void nbd_connection_lose(struct nbd_connection *connection);

/* With the lock held, and a handle.  Send a piece.  If that fails, the connection is lost and so
 * is the piece; or the piece is finished, with an error. */
void nbd_connection_issue(struct nbd_connection *connection, struct piece_group *group,
                          struct piece *piece);

/* With the lock held.  Sleep, or lead, until at most so many of the group's pieces are under way.
 */
void nbd_connection_wait(struct nbd_connection *connection, struct piece_group *group,
                         unsigned awaited);

#endif
