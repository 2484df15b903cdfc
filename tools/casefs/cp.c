/* SPDX-License-Identifier: BSD-3-Clause */

#include "copy.h"
#include "json.h"
#include "local.h"
#include "text.h"
#include "verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct options {
  struct copy_options copy;
  bool exactly; /* the destination is a name, even if it is a directory */
  bool json;
};

/* An argument, opened. */
struct side {
  const char *argument;
  struct location location;
  struct session *session; /* NULL: local */
  struct copy_side at;
  char *name;     /* at.name */
  char *last;     /* the last part of the path; empty where it is no name of its own: ".", "/" */
  bool directory; /* a destination that exists, and at is itself */
  bool slash;     /* the argument ends with one */
};

/* ------------------------------------------------------------------- sides */

static void close_side(struct side *side) {
  casefs_node_close(side->at.directory);
  if (!side->session && side->at.descriptor >= 0)
    close(side->at.descriptor);
  location_clear(&side->location);
  free(side->name);
  free(side->last);
}

static bool is_dots(const char *name) {
  return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Split a local path before its last part, without slashes at its end.  Both are the caller's. */
static void split_path(const char *path, char **directory, char **last) {
  size_t end = strlen(path);
  while (end > 0 && path[end - 1] == '/')
    end--;
  size_t start = end;
  while (start > 0 && path[start - 1] != '/')
    start--;
  *last = copied(path + start, end - start);
  *directory = start > 0 ? copied(path, start) : copied(*path == '/' ? "/" : ".", 1);
}

/* Let the side be an entry of a local directory, or with an empty name that directory. */
static bool open_local_at(struct side *side, const char *directory, const char *name) {
  side->name = copied(name, strlen(name));
  side->at = (struct copy_side){.name = side->name, .path = side->argument};
  side->at.descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (side->at.descriptor < 0)
    complain("cannot open '%s': %s", directory, strerror(errno));
  return side->at.descriptor >= 0;
}

static bool open_volume_at(struct side *side, bool writing, struct sessions *sessions) {
  const char *name;
  size_t length;
  const char *path = side->location.path;
  side->session = session_open(sessions, side->location.device, writing);
  if (!side->session)
    return false;
  casefs_volume *volume = side->session->volume;
  int error = casefs_open_parent(volume, NULL, path, &side->at.directory, &name, &length);
  if (error == 0) {
    side->name = copied(name, length);
    if (is_dots(side->name)) {
      *side->name = '\0';
      casefs_node_close(side->at.directory);
      side->at.directory = NULL;
      error = casefs_open_path(volume, NULL, path, 0, &side->at.directory);
    }
  }
  if (error < 0) {
    complain("cannot open the directory of '%s': %s", side->argument, reason(error));
    return false;
  }
  side->last = copied(side->name, strlen(side->name));
  side->at.name = side->name;
  side->at.path = side->argument;
  return true;
}

static bool start_side(struct side *side, const char *argument) {
  size_t length = strlen(argument);
  *side = (struct side){.argument = argument, .at.descriptor = -1};
  side->slash = length > 0 && (argument[length - 1] == '/' || argument[length - 1] == '\\');
  return location_parse(argument, &side->location);
}

static bool open_local_source(struct side *side) {
  char *directory;
  const char *path = side->location.path;
  split_path(path, &directory, &side->last);
  bool whole = side->slash || *side->last == '\0' || is_dots(side->last);
  bool good = whole ? open_local_at(side, path, "") : open_local_at(side, directory, side->last);
  if (is_dots(side->last))
    *side->last = '\0';
  free(directory);
  return good;
}

static bool open_source(struct side *side, struct sessions *sessions) {
  return side->location.device ? open_volume_at(side, false, sessions) : open_local_source(side);
}

/* What a local destination that is a symbolic link leads to is written, not the link. */
static char *resolved(const char *path) {
  struct stat status;
  char *real = NULL;
  if (lstat(path, &status) == 0 && S_ISLNK(status.st_mode))
    real = realpath(path, NULL);
  return real ? real : copied(path, strlen(path));
}

static bool open_local_destination(struct side *side, bool exactly) {
  struct stat status;
  char *path = resolved(side->location.path), *directory;
  split_path(path, &directory, &side->last);
  side->directory = stat(path, &status) == 0 && S_ISDIR(status.st_mode);
  bool whole = (side->directory && !exactly) || *side->last == '\0' || is_dots(side->last);
  bool good = whole ? open_local_at(side, path, "") : open_local_at(side, directory, side->last);
  side->directory = side->directory && whole;
  free(directory);
  free(path);
  return good;
}

static bool open_volume_destination(struct side *side, bool exactly, struct sessions *sessions) {
  casefs_node *node;
  struct casefs_attributes attributes;
  if (!open_volume_at(side, true, sessions))
    return false;
  side->directory = *side->name == '\0';
  if (side->directory || exactly)
    return true;
  if (casefs_open_path(side->session->volume, NULL, side->location.path, 0, &node) < 0)
    return true;
  int error = casefs_get_attributes(node, &attributes);
  side->directory = error == 0 && attributes.type == CASEFS_DIRECTORY;
  if (!side->directory) {
    casefs_node_close(node);
    return true;
  }
  casefs_node_close(side->at.directory);
  side->at.directory = node;
  *side->name = '\0';
  return true;
}

static bool open_destination(struct side *side, bool exactly, struct sessions *sessions) {
  return side->location.device ? open_volume_destination(side, exactly, sessions)
                               : open_local_destination(side, exactly);
}

/* ------------------------------------------------------------------- nodes */

/* The local files that are volumes. */
static size_t find_images(const struct sessions *sessions, struct copy_image **images) {
  struct stat status;
  size_t count = 0;
  *images = NULL;
  for (const struct session *session = sessions->first; session; session = session->next)
    if (stat(session->name, &status) == 0 && S_ISREG(status.st_mode)) {
      *images = resized(*images, (count + 1) * sizeof **images);
      (*images)[count++] = (struct copy_image){status.st_dev, status.st_ino};
    }
  return count;
}

static unsigned largest_parallel(const struct sessions *sessions) {
  unsigned parallel = 1;
  for (const struct session *session = sessions->first; session; session = session->next)
    if (session->device->parallel > parallel)
      parallel = session->device->parallel;
  return parallel;
}

/* Of a source that is one file; else 0. */
static uint64_t size_of(const struct side *side) {
  struct stat status;
  struct casefs_attributes attributes;
  if (*side->name == '\0')
    return 0;
  if (!side->session)
    return fstatat(side->at.descriptor, side->name, &status, 0) == 0 && S_ISREG(status.st_mode)
               ? (uint64_t)status.st_size
               : 0;
  int error = casefs_lookup(side->at.directory, side->name, strlen(side->name), &attributes, NULL);
  return error == 0 && attributes.type == CASEFS_FILE ? attributes.size : 0;
}

/* Whether it may go where it shall: of what is not there yet, a slash at its end wants a
 * directory. */
static bool fits(const struct side *from, const struct side *to, const struct copy_options *copy) {
  if (!to->slash || to->directory || copy->recursive)
    return true;
  complain("'%s' was not copied: '%s' is not a directory that exists", from->argument,
           to->argument);
  return false;
}

static bool copy_one(struct copy *copy, const struct side *from, const struct side *to) {
  struct copy_side destination = to->at;
  if (to->directory)
    destination.name = from->last;
  return copy_node(copy, &from->at, &destination);
}

static void print_totals(const struct copy_totals *totals) {
  json_t *object = json_object();
  json_object_set_new(object, "files", json_integer((json_int_t)totals->files));
  json_object_set_new(object, "directories", json_integer((json_int_t)totals->directories));
  json_object_set_new(object, "others", json_integer((json_int_t)totals->others));
  json_object_set_new(object, "links", json_integer((json_int_t)totals->links));
  json_object_set_new(object, "bytes", json_integer((json_int_t)totals->bytes));
  json_object_set_new(object, "skipped", json_integer((json_int_t)totals->skipped));
  json_object_set_new(object, "errors", json_integer((json_int_t)totals->errors));
  print_json(object);
}

static bool copy_all(const struct side *from, size_t count, const struct side *to,
                     const struct sessions *sessions, struct options *options) {
  struct copy_image *images;
  bool good = true;
  options->copy.image_count = find_images(sessions, &images);
  options->copy.images = images;
  options->copy.parallel = largest_parallel(sessions);
  options->copy.expected = count == 1 ? size_of(from) : 0;
  struct copy *copy = copy_new(&options->copy);
  bool more = true;
  for (size_t i = 0; i < count && more; i++) {
    bool fit = fits(&from[i], to, &options->copy);
    good = good && fit;
    more = !fit || copy_one(copy, &from[i], to);
  }
  struct copy_totals totals = *copy_totals(copy);
  good = copy_end(copy) && good;
  if (options->json)
    print_totals(&totals);
  free(images);
  return good;
}

/* ----------------------------------------------------- the standard streams */

static bool copy_from_input(const char *destination) {
  struct sessions sessions = {0};
  struct target target;
  casefs_node *node;
  if (!target_open_destination(&sessions, destination, NULL, 0, 0, &target)) {
    sessions_close(&sessions);
    return false;
  }
  int error = target_open_or_make(&target, false, &node);
  bool good = error >= 0 && store_contents(node, destination, stdin, "the standard input");
  if (error < 0)
    complain("cannot make '%s': %s", destination, reason(error));
  else
    casefs_node_close(node);
  target_close(&target);
  return sessions_close(&sessions) && good;
}

static bool print_target_contents(struct target *target, void *context) {
  (void)context;
  return print_contents(target->node, target->argument);
}

static bool names_volume(const char *argument) {
  struct location location;
  bool good = location_parse(argument, &location) && location.device;
  location_clear(&location);
  return good;
}

static int copy_streams(int count, char **arguments) {
  const char *last = arguments[count - 1];
  bool to_output = strcmp(last, "-") == 0;
  for (int i = 0; i < count; i++) {
    bool stream = strcmp(arguments[i], "-") == 0;
    if (stream == (to_output ? i < count - 1 : i > 0) || (!to_output && count > 2))
      return misused("'-' stands for the standard input as the only thing to copy, or for the "
                     "standard output to copy to");
    if (!stream && !names_volume(arguments[i]))
      return misused("'%s' is not on a volume, and the other side is '-'; give DEVICE:/PATH",
                     arguments[i]);
  }
  if (to_output)
    return for_each_target(count - 1, arguments, false, 0, print_target_contents, NULL);
  return copy_from_input(last) ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* -------------------------------------------------------------------- verb */

/* Whether the arguments make sense together; else that was said. */
static bool check_sides(const struct side *sides, size_t count) {
  const struct side *to = &sides[count - 1];
  for (size_t i = 0; i + 1 < count; i++)
    if (!sides[i].location.device && !to->location.device) {
      complain("neither '%s' nor '%s' is on a volume: write DEVICE:/PATH, or use cp(1)",
               sides[i].argument, to->argument);
      return false;
    }
  return true;
}

/* The destination is opened first: its volume must be open for writing. */
static bool open_sides(struct side *sides, size_t count, struct sessions *sessions, bool exactly) {
  struct side *to = &sides[count - 1];
  if (!open_destination(to, exactly, sessions))
    return false;
  if (count > 2 && !to->directory) {
    complain("'%s' is not a directory that exists, and several things are to be copied there",
             to->argument);
    return false;
  }
  for (size_t i = 0; i + 1 < count; i++)
    if (!open_source(&sides[i], sessions))
      return false;
  return true;
}

static int copy_arguments(size_t count, char **arguments, struct options *options) {
  struct sessions sessions = {0};
  struct side *sides = allocate(count * sizeof *sides);
  int status = EXIT_FAILURE;
  bool good = true;
  for (size_t i = 0; i < count; i++)
    good = start_side(&sides[i], arguments[i]) && good;
  if (!good || !check_sides(sides, count))
    status = EXIT_USAGE;
  else if (open_sides(sides, count, &sessions, options->exactly) &&
           copy_all(sides, count - 1, &sides[count - 1], &sessions, options))
    status = EXIT_SUCCESS;
  for (size_t i = 0; i < count; i++)
    close_side(&sides[i]);
  if (!sessions_close(&sessions) && status == EXIT_SUCCESS)
    status = EXIT_FAILURE;
  free(sides);
  return status;
}

enum { METADATA = 256, JSON };

static bool take_option(int letter, struct options *options) {
  uint64_t jobs;
  switch (letter) {
  case 'a':
    options->copy.archive = true;
    options->copy.recursive = true;
    return true;
  case 'r':
  case 'R':
    options->copy.recursive = true;
    return true;
  case 'n':
    options->copy.no_clobber = true;
    return true;
  case 'f':
    options->copy.force = true;
    return true;
  case 'v':
    options->copy.verbose = true;
    return true;
  case 'T':
    options->exactly = true;
    return true;
  case JSON:
    options->json = true;
    return true;
  case 'j':
    if (parse_number(optarg, 64, &jobs) && jobs > 0) {
      options->copy.jobs = (unsigned)jobs;
      return true;
    }
    complain("--jobs: '%s' is not a number from 1 to 64", optarg);
    return false;
  case METADATA:
    if (parse_copy_metadata(optarg, &options->copy.metadata))
      return true;
    complain("--metadata: '%s' is none of auto, none, ntfs-3g and samba", optarg);
    return false;
  default:
    return false;
  }
}

static bool uses_streams(int count, char **arguments) {
  for (int i = 0; i < count; i++)
    if (strcmp(arguments[i], "-") == 0)
      return true;
  return false;
}

static int run_cp(int count, char **arguments) {
  static const struct option long_options[] = {
      {"archive", no_argument, NULL, 'a'},    {"recursive", no_argument, NULL, 'r'},
      {"no-clobber", no_argument, NULL, 'n'}, {"force", no_argument, NULL, 'f'},
      {"verbose", no_argument, NULL, 'v'},    {"no-target-directory", no_argument, NULL, 'T'},
      {"jobs", required_argument, NULL, 'j'}, {"metadata", required_argument, NULL, METADATA},
      {"json", no_argument, NULL, JSON},      {0}};
  struct options options = {0};
  int letter;
  while ((letter = getopt_long(count, arguments, "arRnfvTj:", long_options, NULL)) >= 0)
    if (!take_option(letter, &options))
      return EXIT_USAGE;
  count -= optind;
  arguments += optind;
  if (count < 2)
    return misused("give what to copy and where to, such as DIRECTORY DEVICE:/");
  if (options.exactly && count != 2)
    return misused("--no-target-directory takes two names, and %d were given", count);
  if (uses_streams(count, arguments))
    return copy_streams(count, arguments);
  return copy_arguments((size_t)count, arguments, &options);
}

const struct verb verb_cp = {
    .name = "cp",
    .usage = "[-afnrTv] [-j JOBS] SOURCE... DESTINATION",
    .summary = "Copy into a volume, out of one, within one, or from one to another",
    .help = "SOURCE and DESTINATION are DEVICE:/PATH or local paths, of one side at least the\n"
            "former, or - for the standard input or output.  Modes, owners, times, links, holes\n"
            "and Windows metadata are kept.\n"
            "\n"
            "  -r, -R, --recursive        directories with all in them; links are not followed\n"
            "  -a, --archive              the same, also attributes of directories that exist\n"
            "  -n, --no-clobber           leave files that exist as they are\n"
            "  -f, --force                remove a file that cannot be opened, and try again\n"
            "  -T, --no-target-directory  DESTINATION is a name, not a directory to copy into\n"
            "  -j, --jobs=JOBS            threads, 1 to 64 (4)\n"
            "      --metadata=FORM        Windows metadata in local files: auto, ntfs-3g, samba\n"
            "                             or none\n"
            "  -v, --verbose              print what is copied\n"
            "      --json                 print the totals at the end\n",
    .run = run_cp,
};
