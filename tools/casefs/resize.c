/* SPDX-License-Identifier: BSD-3-Clause */

#include "text.h"
#include "verbs.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Make an image file long enough for a volume that may be opened; what is no file is as it is. */
static bool extend_file(const char *path, uint64_t size) {
  struct stat file;
  if (stat(path, &file) != 0 || !S_ISREG(file.st_mode) || (uint64_t)file.st_size >= size)
    return true;
  if (truncate(path, (off_t)size) == 0)
    return true;
  complain("cannot extend '%s': %s", path, strerror(errno));
  return false;
}

/* Whether a volume is there; what is to be extended is looked at first. */
static bool is_volume(const char *device) {
  struct sessions sessions = {0};
  bool good = session_open(&sessions, device, false) != NULL;
  return sessions_close(&sessions) && good;
}

static bool grow(const char *device, uint64_t size) {
  struct casefs_statistics before, after;
  struct sessions sessions = {0};
  char old_text[SIZE_TEXT], new_text[SIZE_TEXT];
  const struct session *session = session_open(&sessions, device, true);
  if (!session)
    return false;
  casefs_volume_statistics(session->volume, &before);
  int error = casefs_grow(session->volume, size);
  casefs_volume_statistics(session->volume, &after);
  if (error == -EINVAL && size < before.size)
    complain("the volume on '%s' has %s and cannot become smaller", device,
             size_text(before.size, true, old_text));
  else if (error == -EINVAL)
    complain("'%s' is smaller than that: it has %s", device,
             size_text(session->device->size, true, old_text));
  else if (error < 0)
    complain("cannot grow the volume on '%s': %s", device, reason(error));
  else
    printf("%s: %s, was %s\n", device, size_text(after.size, true, new_text),
           size_text(before.size, true, old_text));
  return sessions_close(&sessions) && error >= 0;
}

static int run_resize(int count, char **arguments) {
  static const struct option options[] = {{0}};
  struct location location;
  uint64_t size = 0;
  if (getopt_long(count, arguments, "", options, NULL) >= 0)
    return EXIT_USAGE;
  if (count - optind > 2)
    return misused("give a device, and perhaps a size");
  if (count - optind == 2 && (!parse_size(arguments[--count], &size) || size == 0))
    return misused("'%s' is not a size such as 4G or 1073741824", arguments[count]);
  if (!arguments_or_root(&count, &arguments))
    return EXIT_USAGE;
  if (!location_parse_node(*arguments, &location))
    return EXIT_USAGE;
  bool good = is_volume(location.device) && extend_file(location.device, size) &&
              grow(location.device, size);
  location_clear(&location);
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

const struct verb verb_resize = {
    .name = "resize",
    .usage = "[DEVICE [SIZE]]",
    .summary = "Let a volume use more of its device",
    .help = "Without SIZE, all of it.  A file that is shorter than SIZE is made longer.  A volume\n"
            "never becomes smaller.\n",
    .run = run_resize,
};
