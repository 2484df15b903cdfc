/* SPDX-License-Identifier: BSD-3-Clause */

#include "tool.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *tool_name = "casefs";
static volatile sig_atomic_t caught_signal;

/* ---------------------------------------------------------------- messages */

static void catch_signal(int number) {
  caught_signal = number;
}

void tool_start(const char *name) {
  struct sigaction action = {.sa_handler = catch_signal, .sa_flags = (int)SA_RESETHAND};
  tool_name = name;
  setlocale(LC_ALL, "");
  setlocale(LC_NUMERIC, "C");
  signal(SIGPIPE, SIG_IGN);
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
}

void tool_rename(const char *name) {
  tool_name = name;
}

bool interrupted(void) {
  return caught_signal != 0 || ferror(stdout);
}

void complain_arguments(const char *format, va_list arguments) {
  char *sentence = NULL;
  fflush(stdout);
  int length = vasprintf(&sentence, format, arguments);
  if (length < 0) {
    fprintf(stderr, "%s: no memory is left\n", tool_name);
    return;
  }
  char *safe = displayable(sentence, (size_t)length);
  fprintf(stderr, "%s: %s\n", tool_name, safe);
  free(safe);
  free(sentence);
}

void complain(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  complain_arguments(format, arguments);
  va_end(arguments);
}

int misused(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  complain_arguments(format, arguments);
  va_end(arguments);
  return EXIT_USAGE;
}

const char *reason(int error) {
  static const struct {
    int number;
    const char *text;
  } reasons[] = {
      {EINVAL, "that is not a valid request"},
      {EILSEQ, "it is not valid UTF-8 (only unpaired surrogates may stand in a name besides)"},
      {ENAMETOOLONG, "a name has more than 255 UTF-16 units, or a value is too long for its kind"},
      {ENOENT, "there is no such file or directory"},
      {EEXIST, "the name is taken"},
      {ENOTDIR, "a directory is needed there"},
      {EISDIR, "it is a directory"},
      {ENOTEMPTY, "the directory is not empty"},
      {ENODATA, "there is none"},
      {ERANGE, "it is longer than was expected"},
      {ENOSPC, "the volume is full"},
      {EFBIG, "that is larger than it can be"},
      {EMLINK, "it has too many links"},
      {EROFS, "the volume is read-only"},
      {EIO, "the device failed, or an earlier write to it did"},
      {EUCLEAN, "what the volume holds there is damaged; fsck.casefs mends it"},
      {EBUSY, "another program has the volume open for writing"},
      {ESTALE, "another program changed the volume meanwhile; try again"},
      {ENOMEM, "no memory is left"},
      {ELOOP, "it leads through too many symbolic links"},
      {EPERM, "that is not possible with a directory or a stream"},
      {EOPNOTSUPP, "a newer version of casefs is needed"},
  };
  for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
    if (reasons[i].number == -error)
      return reasons[i].text;
  return strerror(-error);
}

bool is_fatal(int error) {
  return error == -EIO || error == -ENOSPC || error == -EROFS || error == -ENOMEM ||
         error == -ESTALE;
}

/* Whether the output is a pipe that nobody reads any more: then there is nobody to tell, either. */
static bool is_reader_gone(void) {
  struct pollfd output = {.fd = STDOUT_FILENO, .events = POLLOUT};
  return poll(&output, 1, 0) == 1 && (output.revents & POLLERR);
}

int tool_end(int status) {
  if (fflush(stdout) != 0 || ferror(stdout)) {
    if (!is_reader_gone())
      complain("the output could not be written");
    return status == EXIT_SUCCESS ? EXIT_FAILURE : status;
  }
  return caught_signal ? 128 + caught_signal : status;
}

static void *needed(void *memory) {
  if (!memory) {
    fprintf(stderr, "%s: no memory is left\n", tool_name);
    exit(EXIT_FAILURE);
  }
  return memory;
}

void *allocate(size_t size) {
  return needed(calloc(1, size > 0 ? size : 1));
}

void *resized(void *memory, size_t size) {
  return needed(realloc(memory, size > 0 ? size : 1));
}

char *copied(const char *text, size_t length) {
  char *copy = allocate(length + 1);
  memcpy(copy, text, length);
  return copy;
}

char *formatted(const char *format, ...) {
  va_list arguments;
  char *text = NULL;
  va_start(arguments, format);
  if (vasprintf(&text, format, arguments) < 0)
    text = NULL;
  va_end(arguments);
  return needed(text);
}

/* --------------------------------------------------------------- locations */

/* What follows the "://" of a URI, or NULL: a scheme has no colon or slash before its own. */
static const char *after_scheme(const char *argument) {
  size_t scheme = strcspn(argument, ":/\\");
  return scheme > 0 && strncmp(argument + scheme, "://", 3) == 0 ? argument + scheme + 3 : NULL;
}

/* The colon that ends the device in an argument, or NULL. */
static const char *split_point(const char *argument) {
  const char *rest = after_scheme(argument);
  argument = rest ? rest : argument;
  for (const char *colon = argument; (colon = strchr(colon, ':')); colon++) {
    if (colon[1] == '/' || colon[1] == '\0')
      return colon;
    if (colon[1] != '\\')
      continue;
    /* DEVICE:C:\PATH keeps its drive letter, which the library skips. */
    if (colon - argument >= 2 && colon[-2] == ':' && ((colon[-1] | 0x20) >= 'a') &&
        ((colon[-1] | 0x20) <= 'z'))
      return colon - 2;
    return colon;
  }
  return NULL;
}

static bool parse_split(const char *argument, const char *colon, struct location *location) {
  location->path = colon[1] ? copied(colon + 1, strlen(colon + 1)) : copied("/", 1);
  location->device = copied(argument, (size_t)(colon - argument));
  if (*location->device != '\0')
    return true;
  const char *standard = getenv("CASEFS");
  free(location->device);
  location->device = standard && *standard ? copied(standard, strlen(standard)) : NULL;
  if (location->device)
    return true;
  complain("'%s' names no device: put one before the colon, or in the environment variable CASEFS",
           argument);
  location_clear(location);
  return false;
}

/* Take a bare argument as a device. */
static void mean_root(struct location *location) {
  free(location->text);
  location->text = formatted("%s:/", location->path);
  location->device = location->path;
  location->path = copied("/", 1);
}

bool location_parse(const char *argument, struct location *location) {
  const char *colon = split_point(argument);
  *location = (struct location){.text = formatted(colon && !colon[1] ? "%s/" : "%s", argument)};
  if (colon)
    return parse_split(argument, colon, location);
  if (*argument == '\0') {
    complain("an empty argument names no file; give a path, or DEVICE:/PATH");
    location_clear(location);
    return false;
  }
  location->path = copied(argument, strlen(argument));
  if (after_scheme(argument))
    mean_root(location);
  return true;
}

bool location_parse_node(const char *argument, struct location *location) {
  if (!location_parse(argument, location))
    return false;
  if (!location->device)
    mean_root(location);
  return true;
}

void location_clear(struct location *location) {
  free(location->device);
  free(location->path);
  free(location->text);
  *location = (struct location){0};
}

/* ---------------------------------------------------------------- sessions */

struct casefs_device *device_open(const char *name, unsigned flags, uint64_t create_size) {
  struct casefs_device *device = NULL;
  char *error = NULL;
  int result = casefs_device_open(name, flags, create_size, &device, &error);
  if (result < 0) {
    if (error)
      complain("%s", error);
    else
      complain("cannot open '%s': %s", name, strerror(-result));
    free(error);
    return NULL;
  }
  return device;
}

static void complain_of_open(const char *name, int error) {
  switch (-error) {
  case EUCLEAN:
    complain("the volume on '%s' is damaged; fsck.casefs mends it", name);
    break;
  case ENODATA:
    complain("'%s' does not hold a casefs volume; mkfs.casefs makes one", name);
    break;
  case EOPNOTSUPP:
    complain("the volume on '%s' has features of a newer version than this one, %s", name,
             CASEFS_VERSION);
    break;
  case EFBIG:
    complain("'%s' is cut short: the device is smaller than the volume on it", name);
    break;
  case EBUSY:
    complain("the volume on '%s' is busy: another program has it open for writing", name);
    break;
  case EROFS:
    complain("the volume on '%s' cannot be changed: the device is read-only", name);
    break;
  default:
    complain("cannot open the volume on '%s': %s", name, reason(error));
  }
}

bool volume_open(struct casefs_device *device, const char *name,
                 const struct casefs_open_options *options, casefs_volume **volume) {
  int error = casefs_open(device, options, volume);
  if (error < 0)
    complain_of_open(name, error);
  return error >= 0;
}

static struct session *find_session(struct sessions *sessions, const char *device) {
  struct session *session = sessions->first;
  while (session && strcmp(session->name, device) != 0)
    session = session->next;
  return session;
}

struct session *session_open(struct sessions *sessions, const char *device, bool writing) {
  struct casefs_open_options options = {.read_only = !writing};
  struct session *session = find_session(sessions, device);
  if (session && (session->writing || !writing))
    return session;
  if (session) {
    complain("'%s' is open for reading only already", device);
    return NULL;
  }
  session = allocate(sizeof *session);
  session->device = device_open(device, writing ? 0 : CASEFS_DEVICE_READ_ONLY, 0);
  if (!session->device || !volume_open(session->device, device, &options, &session->volume)) {
    casefs_device_close(session->device);
    free(session);
    return NULL;
  }
  session->name = copied(device, strlen(device));
  session->writing = writing;
  session->next = sessions->first;
  sessions->first = session;
  return session;
}

static bool session_close(struct session *session) {
  int error = casefs_close(session->volume);
  bool good = error >= 0 || !session->writing;
  if (!good)
    complain("the last changes to '%s' may be lost: %s", session->name, reason(error));
  casefs_device_close(session->device);
  free(session->name);
  free(session);
  return good;
}

bool sessions_close(struct sessions *sessions) {
  bool good = true;
  while (sessions->first) {
    struct session *session = sessions->first;
    sessions->first = session->next;
    good = session_close(session) && good;
  }
  return good;
}

/* ----------------------------------------------------------------- targets */

/* Parse the argument and open its volume. */
static bool target_start(struct sessions *sessions, const char *argument, bool writing,
                         struct target *target) {
  *target = (struct target){0};
  if (!location_parse_node(argument, &target->location))
    return false;
  target->argument = target->location.text;
  target->session = session_open(sessions, target->location.device, writing);
  if (!target->session)
    location_clear(&target->location);
  return target->session != NULL;
}

bool target_open(struct sessions *sessions, const char *argument, bool writing, unsigned flags,
                 struct target *target) {
  if (!target_start(sessions, argument, writing, target))
    return false;
  int error =
      casefs_open_path(target->session->volume, NULL, target->location.path, flags, &target->node);
  if (error < 0) {
    complain("cannot open '%s': %s", argument, reason(error));
    target_close(target);
  }
  return error >= 0;
}

static bool is_name(const char *name, size_t length) {
  return !(length == 0 || (length == 1 && *name == '.') ||
           (length == 2 && name[0] == '.' && name[1] == '.'));
}

bool target_open_parent(struct sessions *sessions, const char *argument, bool writing,
                        struct target *target) {
  if (!target_start(sessions, argument, writing, target))
    return false;
  int error = casefs_open_parent(target->session->volume, NULL, target->location.path,
                                 &target->directory, &target->name, &target->name_length);
  if (error < 0)
    complain("cannot open the directory of '%s': %s", argument, reason(error));
  else if (target->name_length == 0)
    complain("'%s' is the root directory, and this needs a name in a directory", argument);
  else if (!is_name(target->name, target->name_length))
    complain("'%s' ends with '%.*s', and this needs a name in a directory", argument,
             (int)target->name_length, target->name);
  else
    return true;
  target_close(target);
  return false;
}

/* Open the destination itself if it is a directory to put something into. */
static bool open_if_directory(struct target *target, uint64_t except) {
  struct casefs_attributes attributes;
  casefs_node *node;
  if (casefs_open_path(target->session->volume, NULL, target->location.path, 0, &node) < 0)
    return false;
  if (casefs_get_attributes(node, &attributes) < 0 || attributes.type != CASEFS_DIRECTORY ||
      attributes.id == except) {
    casefs_node_close(node);
    return false;
  }
  target->directory = node;
  return true;
}

bool target_open_destination(struct sessions *sessions, const char *argument, const char *name,
                             size_t length, uint64_t except, struct target *target) {
  if (!target_start(sessions, argument, true, target))
    return false;
  if (name && open_if_directory(target, except)) {
    target->name = name;
    target->name_length = length;
    target->entered = true;
    return true;
  }
  target_close(target);
  return target_open_parent(sessions, argument, true, target);
}

/* Make what is missing: "file:stream" is a stream of a file that exists, or else a name. */
static int make_missing(const struct target *target, casefs_node **node) {
  struct casefs_creation creation = creation_of(CASEFS_FILE, 0666);
  const char *colon = memchr(target->name, ':', target->name_length);
  size_t length = colon ? (size_t)(colon - target->name) : 0;
  casefs_node *file;
  if (length > 0 && casefs_open_at(target->directory, target->name, length, &file) >= 0) {
    int error =
        casefs_open_stream(file, colon + 1, target->name_length - length - 1, O_CREAT, node);
    casefs_node_close(file);
    return error;
  }
  return casefs_create(target->directory, target->name, target->name_length, &creation, node);
}

int target_open_or_make(const struct target *target, bool keep, casefs_node **node) {
  int error = casefs_open_path(target->session->volume, NULL, target->location.path, 0, node);
  if (error != -ENOENT)
    return error;
  return keep ? 1 : make_missing(target, node);
}

void target_close(struct target *target) {
  casefs_node_close(target->node);
  casefs_node_close(target->directory);
  location_clear(&target->location);
  *target = (struct target){0};
}

int for_each_target(int count, char **arguments, bool writing, unsigned flags,
                    bool (*function)(struct target *target, void *context), void *context) {
  struct sessions sessions = {0};
  struct target target;
  bool good = true;
  for (int i = 0; i < count && !interrupted(); i++) {
    if (!target_open(&sessions, arguments[i], writing, flags, &target)) {
      good = false;
      continue;
    }
    good = function(&target, context) && good;
    target_close(&target);
  }
  good = sessions_close(&sessions) && good;
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

bool arguments_or_root(int *count, char ***arguments) {
  static char root[] = ":/";
  static char *only_root[] = {root, NULL};
  const char *standard = getenv("CASEFS");
  *count -= optind;
  *arguments += optind;
  if (*count > 0)
    return true;
  if (standard && *standard) {
    *count = 1;
    *arguments = only_root;
    return true;
  }
  complain("give a DEVICE or DEVICE:/PATH, or name a device in the environment variable CASEFS");
  return false;
}

uint32_t permitted(uint32_t mode) {
  mode_t mask = umask(0);
  umask(mask);
  return mode & ~(uint32_t)mask;
}

struct casefs_creation creation_of(enum casefs_type type, uint32_t mode) {
  return (struct casefs_creation){
      .type = type, .mode = permitted(mode), .uid = geteuid(), .gid = getegid()};
}

char *link_target(casefs_node *node) {
  char *target = allocate(CASEFS_MAX_SYMLINK + 1);
  int length = casefs_readlink(node, target, CASEFS_MAX_SYMLINK);
  if (length >= 0)
    return target;
  free(target);
  return NULL;
}

char *link_target_of(casefs_volume *volume, uint64_t id) {
  casefs_node *node;
  if (casefs_open_id(volume, id, &node) < 0)
    return NULL;
  char *target = link_target(node);
  casefs_node_close(node);
  return target;
}

static int misused_action(const struct action *actions, const char *given) {
  char *names = copied(actions->name, strlen(actions->name));
  for (actions++; actions->name; actions++) {
    char *longer = formatted(actions[1].name ? "%s, %s" : "%s or %s", names, actions->name);
    free(names);
    names = longer;
  }
  int status = given ? misused("'%s' is none of its actions: give %s", given, names)
                     : misused("give what to do: %s", names);
  free(names);
  return status;
}

int run_action(const struct action *actions, int count, char **arguments) {
  const struct action *action = actions;
  const char *given = count > 1 ? arguments[1] : NULL;
  while (given && action->name && strcmp(action->name, given) != 0)
    action++;
  if (!given || !action->name)
    return misused_action(actions, given);
  char *name = formatted("%s %s", arguments[0], given);
  arguments[1] = name;
  tool_rename(name);
  int status = action->run(count - 1, arguments + 1);
  tool_rename(arguments[0]);
  free(name);
  return status;
}
