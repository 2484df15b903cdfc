/* SPDX-License-Identifier: BSD-3-Clause */

#include "crash.h"
#include "stress.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

struct check {
  struct crash_writer *writer;
  bool exact;
  char path[SPELLING]; /* of what is looked at, from the writer's directory */
  unsigned found[CRASH_SLOTS];
  unsigned times[CRASH_OBJECTS];
};

/* The version that a unit holds, 0 for zeros; it must be a whole stamp of this place. */
static uint64_t version_of(const struct check *check, const struct crash_object *object,
                           const unsigned char *bytes, uint64_t unit) {
  static const unsigned char zeros[CRASH_UNIT];
  unsigned char wanted[CRASH_UNIT];
  uint64_t head[3];
  memcpy(head, bytes, sizeof head);
  if (memcmp(bytes, zeros, CRASH_UNIT) == 0)
    return 0;
  if (head[0] != object->token || head[1] != unit)
    fail("%s, unit %" PRIu64 ": holds what was never written there (%" PRIx64 ", unit %" PRIu64
         ", instead of %" PRIx64 ")",
         check->path, unit, head[0], head[1], object->token);
  crash_fill(wanted, object->token, unit, head[2]);
  if (memcmp(wanted, bytes, CRASH_UNIT) != 0)
    fail("%s, unit %" PRIu64 ": version %" PRIu64 " is not whole", check->path, unit, head[2]);
  return head[2];
}

static void check_unit(const struct check *check, const struct crash_object *object,
                       uint64_t number, uint64_t version) {
  const struct crash_unit *unit = &object->units[number];
  bool good = version == unit->durable || (version > unit->floor && version <= object->version) ||
              (version == 0 && unit->zeroed_since);
  if (!good)
    fail("%s, unit %" PRIu64 ": has version %" PRIu64 ", but %" PRIu64
         " was synced, and only versions after %" PRIu64 " and up to %" PRIu64
         "%s may have come since",
         check->path, number, version, unit->durable, unit->floor, object->version,
         unit->zeroed_since ? " or zeros" : "");
  if (check->exact && version != unit->current)
    fail("%s, unit %" PRIu64 ": has version %" PRIu64 ", but %" PRIu64 " was written last",
         check->path, number, version, unit->current);
}

static void check_data(const struct check *check, struct crash_object *object, uint64_t size) {
  static unsigned char bytes[(CRASH_UNITS + 1) * CRASH_UNIT];
  memset(bytes, 0, sizeof bytes);
  if (size % CRASH_UNIT || size < object->least_size * CRASH_UNIT ||
      size > object->largest_size * CRASH_UNIT)
    fail("%s has %" PRIu64 " bytes, not %" PRIu64 " to %" PRIu64, check->path, size,
         object->least_size * CRASH_UNIT, object->largest_size * CRASH_UNIT);
  if (check->exact && size != object->size * CRASH_UNIT)
    fail("%s has %" PRIu64 " bytes, not %" PRIu64, check->path, size, object->size * CRASH_UNIT);
  int fd = open(check->path, O_RDONLY);
  if (fd < 0)
    fail_errno("opening %s", check->path);
  ssize_t got = read(fd, bytes, sizeof bytes);
  close(fd);
  if (got != (ssize_t)size)
    fail("%s has %" PRIu64 " bytes, of which %zd can be read", check->path, size, got);
  for (uint64_t i = 0; i < CRASH_UNITS; i++) {
    uint64_t version = version_of(check, object, bytes + i * CRASH_UNIT, i);
    check_unit(check, object, i, version);
    object->units[i] = (struct crash_unit){version, version, object->version, false};
  }
  object->size = object->least_size = object->largest_size = size / CRASH_UNIT;
}

static void check_attributes(const struct check *check, struct crash_object *object,
                             const struct stat *status) {
  unsigned mode = (status->st_mode & 07777) - 0600;
  uint64_t label = 0;
  if (mode > 63 || !(object->modes >> mode & 1) || (check->exact && mode != object->mode))
    fail("%s has mode %o, which it %s", check->path, status->st_mode & 07777,
         check->exact ? "had not in the end" : "was not given, or not since the last sync");
  if (getxattr(check->path, "user.label", &label, sizeof label) < 0 && errno != ENODATA)
    fail_errno("label of %s", check->path);
  if (label < object->durable_label || label > object->label ||
      (check->exact && label != object->label))
    fail("%s has label %" PRIu64 ", not %" PRIu64 " to %" PRIu64, check->path, label,
         object->durable_label, object->label);
  if (object->modified_known && (status->st_mtim.tv_sec != object->modified.tv_sec ||
                                 status->st_mtim.tv_nsec != object->modified.tv_nsec))
    fail("%s was modified at %ld.%09ld, but had %ld.%09ld when it was synced, and was not written "
         "since",
         check->path, (long)status->st_mtim.tv_sec, status->st_mtim.tv_nsec,
         (long)object->modified.tv_sec, object->modified.tv_nsec);
  object->mode = mode;
  object->modes = UINT64_C(1) << mode;
  object->label = object->durable_label = label;
  object->modified = status->st_mtim;
  object->modified_known = true;
}

/* Which of the name's candidates is there: known by its number, or not yet known at the crash. */
static unsigned identify(const struct check *check, const struct crash_slot *slot, uint64_t id) {
  for (unsigned i = 0; i < slot->count; i++) {
    unsigned index = slot->candidates[i];
    if (index && check->writer->objects[index - 1].id == id)
      return index;
  }
  for (unsigned i = 0; i < slot->count; i++) {
    unsigned index = slot->candidates[i];
    if (index && check->writer->objects[index - 1].id == 0)
      return index;
  }
  return 0;
}

static void check_name(struct check *check, unsigned number, bool there,
                       const struct stat *status) {
  const struct crash_slot *slot = &check->writer->slots[number];
  unsigned index = there ? identify(check, slot, status->st_ino) : 0;
  bool allowed = slot->count == 0 && !there;
  for (unsigned i = 0; i < slot->count; i++)
    allowed |= slot->candidates[i] == index && there == (index != 0);
  if (!allowed)
    fail(there ? "%s leads to node %lu, which it never did, or not since the last sync"
               : "%s is gone, though it was synced and not removed (%lu)",
         check->path, there ? (unsigned long)status->st_ino : 0ul);
  if (check->exact && index != crash_current(slot))
    fail("%s is not what it was in the end", check->path);
  check->found[number] = index;
  if (!index)
    return;
  struct crash_object *object = &check->writer->objects[index - 1];
  check->times[index - 1]++;
  object->id = status->st_ino;
  if (object->directory != S_ISDIR(status->st_mode))
    fail("%s is of the wrong kind", check->path);
  note("%s is file %" PRIx64 ", done to it: %s", check->path, object->token, object->history);
  if (object->directory)
    return;
  check_data(check, object, (uint64_t)status->st_size);
  check_attributes(check, object, status);
}

/* What had a durable name and was only renamed is still somewhere, and once. */
static void check_objects(const struct check *check) {
  for (unsigned i = 0; i < CRASH_OBJECTS; i++) {
    const struct crash_object *object = &check->writer->objects[i];
    bool durable = false;
    for (unsigned slot = 0; slot < CRASH_SLOTS; slot++)
      durable |= crash_durable(&check->writer->slots[slot]) == i + 1;
    if (check->times[i] > 1)
      fail("file %" PRIx64 " is there under %u names", object->token, check->times[i]);
    if (durable && !object->remove_tried && check->times[i] == 0)
      fail("file %" PRIx64 " is lost: it had a synced name, and was at most renamed",
           object->token);
  }
}

static void check_listing(unsigned place, unsigned entries) {
  char path[SPELLING], plain[SPELLING];
  snprintf(path, sizeof path, "place%u", place);
  DIR *stream = opendir(path);
  if (!stream)
    fail_errno("opening %s", path);
  unsigned known = 0;
  for (struct dirent *entry; (entry = readdir(stream));) {
    if (entry->d_name[0] == '.')
      continue;
    bool expected = false;
    for (unsigned slot = place * CRASH_NAMES; slot < (place + 1) * CRASH_NAMES; slot++) {
      crash_path(plain, slot);
      expected |= same_name(strchr(plain, '/') + 1, entry->d_name);
    }
    if (!expected)
      fail("%s/%s was never made", path, entry->d_name);
    known++;
  }
  closedir(stream);
  if (known != entries)
    fail("%s lists %u entries, but %u names are found there", path, known, entries);
}

/* What was found is what the next run starts with. */
static void adopt(struct check *check) {
  for (unsigned i = 0; i < CRASH_SLOTS; i++)
    check->writer->slots[i] = (struct crash_slot){1, {check->found[i]}};
  for (unsigned i = 0; i < CRASH_OBJECTS; i++)
    check->writer->objects[i].remove_tried = false;
}

static void verify_writer(struct crash_writer *writer, bool exact) {
  struct check *check = calloc(1, sizeof *check);
  unsigned entries[CRASH_PLACES] = {0};
  if (!check)
    fail("no memory");
  check->writer = writer;
  check->exact = exact;
  for (unsigned slot = 0; slot < CRASH_SLOTS; slot++) {
    struct stat status;
    crash_path(check->path, slot);
    bool there = lstat(check->path, &status) == 0;
    if (!there && errno != ENOENT)
      fail_errno("status of %s", check->path);
    check_name(check, slot, there, &status);
    entries[slot / CRASH_NAMES] += there;
  }
  for (unsigned place = 0; place < CRASH_PLACES; place++)
    check_listing(place, entries[place]);
  check_objects(check);
  adopt(check);
  free(check);
}

void crash_verify(struct crash_record *record, const char *directory, bool exact) {
  char path[SPELLING];
  if (chdir(directory) != 0)
    fail_errno("entering %s", directory);
  for (unsigned i = 0; record->prepared && i < CRASH_WRITERS; i++) {
    snprintf(path, sizeof path, "writer%u", i);
    if (chdir(path) != 0)
      fail_errno("entering %s", path);
    note("writer %u", i);
    verify_writer(&record->writers[i], exact);
    if (chdir("..") != 0)
      fail_errno("leaving %s", path);
  }
}
