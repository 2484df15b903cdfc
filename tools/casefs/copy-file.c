/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Contents of files, and the nodes that have none.  A transfer copies pieces of one large file,
 * together with other threads.
 */

#include "copy-engine.h"

#include <errno.h>
#include <string.h>

struct transfer {
  struct copy *copy;
  struct place *place;
  char *name;
  struct object source;
  struct handle target;
  struct metadata metadata;
  bool fresh;
  atomic_uint references;
  atomic_ullong next; /* offset of the first piece that nobody has taken */
  atomic_ullong end;  /* of the file, which may turn out to be shorter than it was */
  atomic_int error;   /* the first */
  bool read_failed;
};

struct transfer_task {
  struct task task;
  struct transfer *transfer;
};

static void note_error(struct transfer *transfer, int error, bool reading) {
  int none = 0;
  if (atomic_compare_exchange_strong(&transfer->error, &none, error))
    transfer->read_failed = reading;
}

static void end_at(struct transfer *transfer, uint64_t end) {
  unsigned long long before = atomic_load(&transfer->end);
  while (end < before && !atomic_compare_exchange_weak(&transfer->end, &before, end))
    ;
}

/* Copy what is from start to end, all of it data.  False: no more of the file. */
static bool copy_data(struct transfer *transfer, uint64_t start, uint64_t end, void *buffer) {
  struct copy *copy = transfer->copy;
  while (start < end) {
    size_t count = end - start < COPY_BUFFER ? (size_t)(end - start) : COPY_BUFFER;
    int64_t got = copy->source->read(&transfer->source, buffer, count, start);
    if (got <= 0) {
      if (got < 0)
        note_error(transfer, (int)got, true);
      end_at(transfer, start);
      return false;
    }
    int64_t put = copy->destination->write(&transfer->target, buffer, (size_t)got, start);
    if (put < 0) {
      note_error(transfer, (int)put, false);
      return false;
    }
    start += (uint64_t)got;
    atomic_fetch_add(&copy->totals.bytes, (unsigned long long)got);
  }
  return true;
}

/* Nobody needs to take the pieces that end before this offset: they are in a hole. */
static void skip_to(struct transfer *transfer, uint64_t offset) {
  unsigned long long next = atomic_load(&transfer->next), piece = offset - offset % COPY_BUFFER;
  while (next < piece && !atomic_compare_exchange_weak(&transfer->next, &next, piece))
    ;
}

static bool copy_sparse(struct transfer *transfer, uint64_t start, uint64_t end, void *buffer) {
  uint64_t data, hole;
  while (start < end) {
    int result = transfer->copy->source->next_data(&transfer->source, start, &data, &hole);
    if (result < 0) {
      note_error(transfer, result, true);
      return false;
    }
    if (result == 0)
      data = transfer->source.attributes.size;
    if (data >= end) {
      skip_to(transfer, data);
      break;
    }
    start = hole < end ? hole : end;
    if (!copy_data(transfer, data, start, buffer))
      return false;
  }
  return true;
}

/* Take pieces and copy them until there are no more. */
static void copy_pieces(struct transfer *transfer, void *buffer) {
  uint64_t size = transfer->source.attributes.size;
  bool good = true;
  while (good && atomic_load(&transfer->error) == 0 && !copy_is_stopped(transfer->copy)) {
    uint64_t start = atomic_fetch_add(&transfer->next, COPY_BUFFER);
    if (start >= size)
      break;
    uint64_t end = size - start < COPY_BUFFER ? size : start + COPY_BUFFER;
    good = transfer->source.sparse ? copy_sparse(transfer, start, end, buffer)
                                   : copy_data(transfer, start, end, buffer);
    copy_show_progress(transfer->copy);
  }
}

/* What comes after the contents. */
static void finish_file(struct transfer *transfer, void *buffer) {
  struct copy *copy = transfer->copy;
  uint64_t size = transfer->source.attributes.size, end = atomic_load(&transfer->end);
  bool changed = size > 0;
  int error = atomic_load(&transfer->error);
  if (error == 0 && copy_is_stopped(copy))
    return; /* perhaps not whole */
  if (error == 0 && (transfer->source.sparse || end < size))
    error = copy->destination->set_size(&transfer->target, end);
  if (error == 0) {
    error =
        copy_write_metadata(copy, &transfer->target, &transfer->metadata, transfer->fresh, buffer);
    changed = changed || error > 0;
  }
  if (error >= 0)
    error = copy->destination->finish(&transfer->place->target, transfer->name, &transfer->target,
                                      &transfer->source, transfer->fresh, changed);
  if (error < 0 && transfer->read_failed)
    copy_fail_reading(copy, transfer->place, transfer->name, error);
  else if (error < 0)
    copy_fail_writing(copy, transfer->place, transfer->name, error);
  else {
    atomic_fetch_add(&copy->totals.files, 1);
    copy_say(copy, transfer->place, transfer->name);
  }
}

static void release_transfer(struct transfer *transfer, void *buffer) {
  struct copy *copy = transfer->copy;
  if (atomic_fetch_sub(&transfer->references, 1) > 1)
    return;
  finish_file(transfer, buffer);
  copy->destination->close(&transfer->target);
  copy->source->close(&transfer->source);
  metadata_clear(&transfer->metadata);
  copy_release_place(transfer->place);
  free(transfer->name);
  free(transfer);
}

static void run_transfer(struct task *task, void *scratch) {
  struct transfer *transfer = ((struct transfer_task *)task)->transfer;
  free(task);
  copy_pieces(transfer, scratch);
  release_transfer(transfer, scratch);
}

/* Let the other threads help with this file. */
static void share_transfer(struct transfer *transfer) {
  struct copy *copy = transfer->copy;
  uint64_t pieces = transfer->source.attributes.size / COPY_BUFFER;
  for (unsigned i = 1; i < copy->options.jobs && i < pieces; i++) {
    struct transfer_task *task = allocate(sizeof *task);
    task->task.run = run_transfer;
    task->transfer = transfer;
    atomic_fetch_add(&transfer->references, 1);
    pool_add(copy->pool, &task->task);
  }
}

/* These take over what they are given: object, metadata and target. */
static void copy_large_file(struct place *place, const char *name, struct object *object,
                            struct metadata *metadata, struct handle target, bool fresh,
                            void *buffer) {
  struct transfer *transfer = allocate(sizeof *transfer);
  *transfer = (struct transfer){.copy = place->copy,
                                .place = place,
                                .name = copied(name, strlen(name)),
                                .source = *object,
                                .target = target,
                                .metadata = *metadata,
                                .fresh = fresh,
                                .references = 1,
                                .end = object->attributes.size};
  copy_hold_place(place);
  if (place->copy->options.parallel > 1)
    share_transfer(transfer);
  copy_pieces(transfer, buffer);
  release_transfer(transfer, buffer);
}

/* A file of which the length is known to fit the buffer, which holds that of it. */
static void copy_small_file(struct place *place, const char *name, struct object *object,
                            const struct metadata *metadata, struct handle *target, bool fresh,
                            void *buffer, size_t length) {
  struct copy *copy = place->copy;
  bool changed = length > 0;
  int64_t result = 0;
  if (length > 0)
    result = copy->destination->write(target, buffer, length, 0);
  if (result >= 0) {
    result = copy_write_metadata(copy, target, metadata, fresh, buffer);
    changed = changed || result > 0;
  }
  if (result >= 0)
    result = copy->destination->finish(&place->target, name, target, object, fresh, changed);
  if (result < 0) {
    copy_fail_writing(copy, place, name, (int)result);
    return;
  }
  atomic_fetch_add(&copy->totals.bytes, length);
  atomic_fetch_add(&copy->totals.files, 1);
  copy_say(copy, place, name);
}

/* Read the whole of a file that seems to fit: returns its length, which may be that of the
 * buffer. */
static int64_t read_whole(struct copy *copy, struct object *object, void *buffer) {
  uint64_t size = object->attributes.size;
  size_t length = 0, wanted = size > 0 ? (size_t)size : COPY_BUFFER; /* 0: as files of /proc say */
  while (length < wanted) {
    int64_t got = copy->source->read(object, (char *)buffer + length, wanted - length, length);
    if (got < 0)
      return got;
    if (got == 0)
      break;
    length += (size_t)got;
  }
  return (int64_t)length;
}

static bool is_small(const struct object *object) {
  return object->attributes.size <= COPY_BUFFER && !object->sparse;
}

void copy_file(struct place *place, const char *name, struct object *object, void *buffer) {
  struct copy *copy = place->copy;
  struct metadata metadata = {0};
  struct handle target = NO_HANDLE;
  bool fresh, small = is_small(object);
  int64_t length = small ? read_whole(copy, object, buffer) : 0;
  if (object->attributes.size == 0 && length == COPY_BUFFER) {
    object->attributes.size = CASEFS_MAX_SIZE; /* there is more, nobody says how much */
    small = false;
  }
  int error = length < 0 ? (int)length : copy_read_metadata(copy, object, &metadata);
  if (error < 0) {
    copy_fail_reading(copy, place, name, error);
  } else if (copy_make_node(place, name, object, &target, &fresh)) {
    if (!small) {
      copy_large_file(place, name, object, &metadata, target, fresh, buffer);
      return;
    }
    copy_small_file(place, name, object, &metadata, &target, fresh, buffer, (size_t)length);
    copy->destination->close(&target);
  }
  metadata_clear(&metadata);
  copy->source->close(object);
}

/* Symbolic links and special files. */
void copy_other(struct place *place, const char *name, struct object *object, void *buffer) {
  struct copy *copy = place->copy;
  struct metadata metadata = {0};
  struct handle target = NO_HANDLE;
  bool fresh;
  int error = copy_read_metadata(copy, object, &metadata);
  if (error < 0) {
    copy_fail_reading(copy, place, name, error);
  } else if (copy_make_node(place, name, object, &target, &fresh)) {
    bool opened = target.node || target.descriptor >= 0;
    error = opened ? copy_write_metadata(copy, &target, &metadata, fresh, buffer) : 0;
    if (error >= 0)
      error = copy->destination->finish(&place->target, name, &target, object, fresh, error > 0);
    copy->destination->close(&target);
    if (error < 0)
      copy_fail_writing(copy, place, name, error);
    else {
      atomic_fetch_add(&copy->totals.others, 1);
      copy_say(copy, place, name);
    }
  }
  metadata_clear(&metadata);
  copy->source->close(object);
}
