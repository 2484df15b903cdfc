/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What mount.casefs is asked to do: its command line, as mount(8) gives it to a helper.
 */

#ifndef CASEFS_MOUNT_OPTIONS_H
#define CASEFS_MOUNT_OPTIONS_H

#include "xattrs.h"

#include <stdbool.h>
#include <stdint.h>

/* Exit codes of mount(8). */
enum { EXIT_INVOCATION = 1, EXIT_SYSTEM = 2, EXIT_MOUNT = 32 };

#define MAX_THREADS 256u

enum case_view {
  CASE_VOLUME,      /* as each directory says */
  CASE_SENSITIVE,   /* a name is found only as it is stored */
  CASE_INSENSITIVE, /* a name is found by any spelling, an exact one first */
};

enum atime { ATIME_RELATIVE, ATIME_NEVER, ATIME_ALWAYS };

struct mount_options {
  const char *source; /* as given */
  char *device;       /* what to open: absolute, if it is a file; owned */
  char *point;        /* absolute; owned */
  bool foreground, debug, fake;
  bool read_only, no_discard, writeback;
  bool permissions; /* the kernel checks modes and ACLs */
  struct xattr_view xattrs;
  enum case_view case_view;
  enum atime atime;
  unsigned commit;     /* seconds; 0: never by time */
  uint64_t cache_size; /* 0: the library's default */
  unsigned threads;
  char *fuse; /* options for the kernel and libfuse, comma-separated; owned */
};

/* Returns -1 if there is something to mount, else the status to exit with; what was wrong has been
 * said. */
int options_parse(int count, char **arguments, struct mount_options *options);
void options_clear(struct mount_options *options);

#endif
