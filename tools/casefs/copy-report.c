/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the copy engine says.
 */

#include "copy-engine.h"
#include "text.h"

#include <errno.h>
#include <string.h>

void copy_report(struct copy *copy, bool error, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  pthread_mutex_lock(&copy->output);
  progress_clear(&copy->progress);
  complain_arguments(format, arguments);
  pthread_mutex_unlock(&copy->output);
  va_end(arguments);
  if (error)
    atomic_fetch_add(&copy->totals.errors, 1);
}

void copy_show_progress(struct copy *copy) {
  if (!copy->progress.terminal || pthread_mutex_trylock(&copy->output) != 0)
    return;
  progress_update(&copy->progress, atomic_load(&copy->totals.bytes), copy->options.expected);
  pthread_mutex_unlock(&copy->output);
}

char *copy_path_in(const char *directory, const char *name) {
  size_t length = strlen(directory);
  if (*name == '\0')
    return copied(directory, length);
  const char *between = length == 0 || directory[length - 1] == '/' ? "" : "/";
  return formatted("%s%s%s", directory, between, name);
}

/* The path of an entry in the source; the caller frees. */
char *copy_source_path(const struct place *place, const char *name) {
  if (place->only)
    return copied(place->only, strlen(place->only));
  return copy_path_in(place->from, name);
}

bool copy_to_volume(const struct copy *copy) {
  return copy->destination == &volume_destination;
}

bool copy_from_volume(const struct copy *copy) {
  return copy->source == &volume_source;
}

static const char *local_reason(int error) {
  return error == -EAGAIN ? "it was replaced meanwhile" : strerror(-error);
}

void copy_fail_reading(struct copy *copy, const struct place *place, const char *name, int error) {
  char *path = copy_source_path(place, name);
  copy_report(copy, true, "cannot read '%s': %s", path,
              copy_from_volume(copy) ? reason(error) : local_reason(error));
  free(path);
}

/* Whether an error of the destination will come with every other node as well. */
bool copy_is_final(const struct copy *copy, int error) {
  switch (-error) {
  case ENOSPC:
  case EDQUOT:
  case EROFS:
    return true;
  case EIO:
  case ESTALE:
  case ENOMEM:
    return copy_to_volume(copy);
  default:
    return false;
  }
}

void copy_fail_writing(struct copy *copy, const struct place *place, const char *name, int error) {
  bool final = copy_is_final(copy, error);
  if (final && atomic_exchange(&copy->stopped, true))
    return; /* one message is enough */
  char *path = copy_source_path(place, name);
  const char *why = copy_to_volume(copy) && error != -EAGAIN ? reason(error) : local_reason(error);
  if (final)
    copy_report(copy, true, "the copy ends at '%s': %s", path, why);
  else
    copy_report(copy, true, "cannot copy '%s': %s", path, why);
  free(path);
}

bool copy_is_stopped(struct copy *copy) {
  if (interrupted())
    atomic_store(&copy->stopped, true);
  return atomic_load_explicit(&copy->stopped, memory_order_relaxed);
}

void copy_say(struct copy *copy, const struct place *place, const char *name) {
  if (!copy->options.verbose)
    return;
  char *from = copy_source_path(place, name);
  pthread_mutex_lock(&copy->output);
  progress_clear(&copy->progress);
  print_name(stdout, from, strlen(from));
  putchar('\n');
  pthread_mutex_unlock(&copy->output);
  free(from);
}

void copy_report_lost(struct copy *copy) {
  char *list = copied("", 0);
  const char *between = "";
  bool asked = copy->options.metadata != COPY_METADATA_AUTO;
  for (unsigned part = 0; part < METADATA_PARTS; part++) {
    unsigned count = atomic_load(&copy->lost[part]);
    if (count == 0)
      continue;
    char *longer =
        formatted("%s%s%u %s", list, between, count, metadata_part_names[part][count > 1]);
    free(list);
    list = longer;
    between = ", ";
  }
  if (*list)
    copy_report(copy, asked, "not all Windows metadata could be kept; left out: %s", list);
  free(list);
}
