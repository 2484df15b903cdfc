/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the casefs programs share: messages, where an argument points, and open
 * volumes.  Beside it stand text.h (sizes, times, names), json.h, progress.h and
 * walk.h.  Sources to link: tool.c text.c json.c progress.c walk.c.
 *
 * Functions that return bool have reported the failure when they return false.
 */

#ifndef CASEFS_TOOL_H
#define CASEFS_TOOL_H

#include "../../fs/casefs.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { EXIT_USAGE = 2 };

/* A verb of the program casefs.  run is called as a main of its own, with
 * arguments[0] the name for messages ("casefs ls"), optind 1, and returns the exit
 * status.  --help and --version were seen to before. */
struct verb {
  const char *name;
  const char *usage;   /* what follows "casefs NAME"; several ways apart by newlines */
  const char *summary; /* one line without a full stop */
  const char *help;    /* what "casefs help NAME" says below the usage, with its last newline */
  int (*run)(int count, char **arguments);
};

/* One of several things that a verb does: "ls" in "casefs stream ls". */
struct action {
  const char *name;
  int (*run)(int count, char **arguments); /* as of a verb */
};

/* Run the action that arguments[1] names; the last of actions has no name. */
int run_action(const struct action *actions, int count, char **arguments);

/* ---------------------------------------------------------------- messages */

/* Call first: name stands before each message ("mkfs.casefs").  Sets the locale; makes a closed
 * output an error instead of a signal; and has the first SIGINT and SIGTERM only set
 * interrupted(), so that a volume is closed well. */
void tool_start(const char *name);
/* Stand that before messages from now on. */
void tool_rename(const char *name);

/* Whether to come to an end early: a signal arrived, or nobody reads the output. */
bool interrupted(void);

/* One sentence on the standard error, control characters escaped, without newline in format. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
void complain_arguments(const char *format, va_list arguments)
    __attribute__((format(printf, 1, 0)));
/* complain, and return EXIT_USAGE. */
int misused(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What a negative errno of the library means, to stand after a colon. */
const char *reason(int error);
/* Whether it concerns the whole volume, so that to go on with other files is of no use. */
bool is_fatal(int error);

/* Flush the standard output.  The status to exit with: status; or, if the output could not be
 * written (reported) or a signal arrived, a failure. */
int tool_end(int status);

/* Memory: these never return NULL; without memory the program ends. */
void *allocate(size_t size); /* zeroed */
void *resized(void *memory, size_t size);
char *copied(const char *text, size_t length); /* zero-terminated */
char *formatted(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* --------------------------------------------------------------- locations */

/* Where an argument points.  DEVICE:/PATH and DEVICE:\PATH are split at the first ":/" or ":\"
 * (of a URI, after its "://"); DEVICE: is its root; ":/PATH" is on the device named by the
 * environment's CASEFS. */
struct location {
  char *device; /* NULL: path is a local one */
  char *path;   /* on a device: begins with '/' or '\', or with a drive letter, "C:\" */
  char *text;   /* the argument; a bare device with its ":/" */
};

/* Without ":/", the argument is a local path, unless it is a URI: then its root is meant. */
bool location_parse(const char *argument, struct location *location);
/* Without ":/", the argument is a device, and its root is meant. */
bool location_parse_node(const char *argument, struct location *location);
void location_clear(struct location *location);

/* ---------------------------------------------------------------- sessions */

/* A volume opened by name; what is opened again is shared. */
struct session {
  struct session *next;
  char *name;
  struct casefs_device *device;
  casefs_volume *volume;
  bool writing;
};

struct sessions {
  struct session *first; /* all zeros at the start */
};

/* The volume on that device, or NULL.  A device to be read and written must be asked for writing
 * first: one that is open for reading is not opened again. */
struct session *session_open(struct sessions *sessions, const char *device, bool writing);

/* Close all volumes, which syncs those open for writing. */
bool sessions_close(struct sessions *sessions);

/* Open a volume on a device that is open, with a sentence on failure, which calls it name. */
bool volume_open(struct casefs_device *device, const char *name,
                 const struct casefs_open_options *options, casefs_volume **volume);

/* Open a device: casefs_device_open, with its failure reported. */
struct casefs_device *device_open(const char *name, unsigned flags, uint64_t create_size);

/* ----------------------------------------------------------------- targets */

/* An argument, opened: the node itself, or (target_open_parent) where it is or will be. */
struct target {
  const char *argument; /* location.text, for messages and to put names behind */
  struct location location;
  struct session *session;
  casefs_node *node;
  casefs_node *directory; /* of target_open_parent: with name, the last part of the path */
  const char *name;       /* points into location.path, not zero-terminated */
  size_t name_length;
  bool entered; /* by target_open_destination: name is the one it was given */
};

/* Open the node an argument names.  flags: enum casefs_path_flags. */
bool target_open(struct sessions *sessions, const char *argument, bool writing, unsigned flags,
                 struct target *target);
/* Open the directory of the argument's last part, which need not exist, but must be a name: not
 * the root, "." or "..". */
bool target_open_parent(struct sessions *sessions, const char *argument, bool writing,
                        struct target *target);
/* For something new or moved, for writing: as target_open_parent; but if the argument is a
 * directory that exists, and not the node except, then name (borrowed) in that directory.  name
 * NULL: never that. */
bool target_open_destination(struct sessions *sessions, const char *argument, const char *name,
                             size_t length, uint64_t except, struct target *target);
/* The file or stream that a target of target_open_parent names, through symbolic links; made,
 * unless keep, if it is missing.  Returns 0, 1 if it is missing and to be kept so, or an error. */
int target_open_or_make(const struct target *target, bool keep, casefs_node **node);
void target_close(struct target *target);

/* Open each argument in turn and call the function, also after failures, until interrupted; then
 * close the volumes.  Returns the exit status. */
int for_each_target(int count, char **arguments, bool writing, unsigned flags,
                    bool (*function)(struct target *target, void *context), void *context);

/* The target of a symbolic link, the caller's to free, or NULL if it is none. */
char *link_target(casefs_node *node);
char *link_target_of(casefs_volume *volume, uint64_t id);

/* Take what is left after options; where nothing is and CASEFS names a device, its root. */
bool arguments_or_root(int *count, char ***arguments);

/* The bits that the process' umask leaves. */
uint32_t permitted(uint32_t mode);

/* A creation of that type with these permission bits, for this user. */
struct casefs_creation creation_of(enum casefs_type type, uint32_t mode);

#endif
