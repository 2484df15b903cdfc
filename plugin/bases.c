/* SPDX-License-Identifier: BSD-3-Clause */

#include "bases.h"

#include "backing-kind.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct shared_base {
  struct shared_base *next;
  char *place;
  struct backing *backing;
  unsigned users;
};

void bases_init(struct bases *bases) {
  pthread_mutex_init(&bases->lock, NULL);
  bases->first = NULL;
}

void bases_destroy(struct bases *bases) {
  pthread_mutex_destroy(&bases->lock);
}

/* With the lock held: use one that is open, or NULL. */
static struct backing *use_open(struct bases *bases, const char *place) {
  for (struct shared_base *base = bases->first; base; base = base->next) {
    if (strcmp(base->place, place) == 0) {
      base->users++;
      return base->backing;
    }
  }
  return NULL;
}

static struct backing *find_open(struct bases *bases, const char *place) {
  pthread_mutex_lock(&bases->lock);
  struct backing *found = use_open(bases, place);
  pthread_mutex_unlock(&bases->lock);
  return found;
}

/* Have others find what was opened.  If somebody was quicker, theirs is used. */
static int share(struct bases *bases, const char *place, struct backing **opened) {
  struct shared_base *base = calloc(1, sizeof *base);
  char *copy = strdup(place);
  if (!base || !copy) {
    free(base);
    free(copy);
    return -ENOMEM;
  }
  *base = (struct shared_base){.place = copy, .backing = *opened, .users = 1};
  pthread_mutex_lock(&bases->lock);
  struct backing *theirs = use_open(bases, place);
  if (!theirs) {
    base->next = bases->first;
    bases->first = base;
  }
  pthread_mutex_unlock(&bases->lock);
  if (theirs) {
    backing_close(*opened);
    *opened = theirs;
    free(copy);
    free(base);
  }
  return 0;
}

static int try_reading(struct backing *base, char problem[BACKING_PROBLEM]) {
  void *bytes = aligned_alloc(BACKING_ALIGNMENT, BACKING_ALIGNMENT);
  int error = bytes ? backing_read(base, bytes, BACKING_ALIGNMENT, 0) : -ENOMEM;
  free(bytes);
  return error == 0 ? 0
                    : backing_refuse(problem, error, "The base '%.300s' cannot be read: %s.",
                                     backing_name(base), strerror(-error));
}

int bases_open(struct bases *bases, const char *place, struct backing **base,
               char problem[BACKING_PROBLEM]) {
  if (!backing_is_uri(place))
    return backing_open(place, true, 0, base, problem);
  int error;
  struct backing *opened = find_open(bases, place);
  if (opened) {
    error = try_reading(opened, problem);
  } else {
    error = backing_open(place, true, 0, &opened, problem);
    if (error != 0)
      return error;
    error = share(bases, place, &opened);
  }
  if (error == 0)
    *base = opened;
  else
    bases_close(bases, opened);
  return error;
}

/* Take a user off.  Returns whether the base is to be closed: it was the last one, or it is
 * not shared. */
static bool leave(struct bases *bases, const struct backing *base) {
  bool last = true;
  pthread_mutex_lock(&bases->lock);
  struct shared_base **link = &bases->first, *found;
  while (*link && (*link)->backing != base)
    link = &(*link)->next;
  found = *link;
  if (found) {
    last = --found->users == 0;
    if (last) {
      *link = found->next;
      free(found->place);
      free(found);
    }
  }
  pthread_mutex_unlock(&bases->lock);
  return last;
}

void bases_close(struct bases *bases, struct backing *base) {
  if (leave(bases, base))
    backing_close(base);
}
