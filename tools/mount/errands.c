/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What has to wait for the kernel.
 *
 * To make it drop an entry, the kernel takes the directory's lock, which the caller of a request at
 * hand may hold; to make it write back a file's pages, it sends requests, which need a worker.  So
 * no worker does either: two threads do, each one errand after the other.  They are two because a
 * request that waits for the second may be what the first one waits for.
 */

#include "mount.h"

#include <stdlib.h>
#include <string.h>

struct errand {
  struct errand *next;
  void (*run)(struct mount *mount, struct errand *errand);
  fuse_req_t request; /* PAGES: to be answered */
  uint64_t id;
  off_t offset;
  int whence;
  char name[]; /* ENTRIES */
};

static void *run_errands(void *data) {
  struct errand_queue *queue = data;
  pthread_mutex_lock(&queue->lock);
  for (;;) {
    struct errand *errand = queue->first;
    if (!errand && queue->ending)
      break;
    if (!errand) {
      pthread_cond_wait(&queue->filled, &queue->lock);
      continue;
    }
    queue->first = errand->next;
    if (!queue->first)
      queue->last = NULL;
    pthread_mutex_unlock(&queue->lock);
    errand->run(queue->mount, errand);
    free(errand);
    pthread_mutex_lock(&queue->lock);
  }
  pthread_mutex_unlock(&queue->lock);
  return NULL;
}

static void add_errand(struct errand_queue *queue, struct errand *errand) {
  pthread_mutex_lock(&queue->lock);
  *(queue->last ? &queue->last->next : &queue->first) = errand;
  queue->last = errand;
  pthread_cond_signal(&queue->filled);
  pthread_mutex_unlock(&queue->lock);
}

static struct errand *new_errand(void (*run)(struct mount *, struct errand *), const char *name) {
  struct errand *errand = calloc(1, sizeof *errand + strlen(name) + 1);
  if (errand) {
    errand->run = run;
    strcpy(errand->name, name);
  }
  return errand;
}

/* ------------------------------------------------------------------------- entries */

static void drop_entry(struct mount *mount, struct errand *errand) {
  fuse_lowlevel_notify_inval_entry(mount->session, errand->id, errand->name, strlen(errand->name));
}

void forget_entry(struct mount *mount, uint64_t directory, const char *name) {
  struct errand *errand = new_errand(drop_entry, name);
  if (!errand) /* then the kernel goes on with what it had, which is old, but not wrong */
    return;
  errand->id = directory;
  add_errand(&mount->entry_errands, errand);
}

/* --------------------------------------------------------------------------- pages */

static void write_back_and_seek(struct mount *mount, struct errand *errand) {
  fuse_lowlevel_notify_inval_inode(mount->session, errand->id, errand->offset, 0);
  seek_and_reply(errand->request, errand->id, errand->offset, errand->whence);
}

bool seek_after_writing_back(fuse_req_t request, uint64_t id, off_t offset, int whence) {
  struct errand *errand = new_errand(write_back_and_seek, "");
  if (!errand)
    return false;
  errand->request = request;
  errand->id = id;
  errand->offset = offset;
  errand->whence = whence;
  add_errand(&mount_of(request)->page_errands, errand);
  return true;
}

/* ------------------------------------------------------------------------ lifetime */

static bool start_queue(struct mount *mount, struct errand_queue *queue) {
  queue->mount = mount;
  pthread_mutex_init(&queue->lock, NULL);
  pthread_cond_init(&queue->filled, NULL);
  queue->started = pthread_create(&queue->thread, NULL, run_errands, queue) == 0;
  return queue->started;
}

static void stop_queue(struct errand_queue *queue) {
  pthread_mutex_lock(&queue->lock);
  queue->ending = true;
  pthread_cond_signal(&queue->filled);
  pthread_mutex_unlock(&queue->lock);
  if (queue->started)
    pthread_join(queue->thread, NULL);
  pthread_cond_destroy(&queue->filled);
  pthread_mutex_destroy(&queue->lock);
}

bool errands_start(struct mount *mount) {
  bool entries = start_queue(mount, &mount->entry_errands);
  bool pages = start_queue(mount, &mount->page_errands);
  return entries && pages;
}

void errands_stop(struct mount *mount) {
  stop_queue(&mount->entry_errands);
  stop_queue(&mount->page_errands);
}
