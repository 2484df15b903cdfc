/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Extended attributes of a mount: what Linux programs, ntfs-3g's tools, Samba and Wine ask for by
 * name, and where a node has it.
 *
 *   user.NAME                    the stream NAME (streams=xattr), or the EA NAME (ea=user), or
 *                                an attribute kept as it is
 *   user.DosStream.NAME:$DATA    the stream NAME with a NUL behind it, as Samba has it
 *   user.DOSATTRIB               attributes and creation time, Samba's NDR with Wine's text
 *   security.NTACL               the security descriptor, Samba's NDR
 *   system.ntfs_*                ntfs-3g's: acl, attrib, times, crtime, reparse_data, ea, object_id
 *   system.posix_acl_*           POSIX ACLs (acl.h)
 *   security.*, trusted.*        kept as they are
 *   ntfs.streams.list            names of streams, with a NUL between (streams=colon; only read)
 *
 * Names of streams and EAs are matched without case: user.A and user.a are one attribute then.
 *
 * What is kept as it is is a stream, or, of what is neither a file nor a directory, an EA, whose
 * name begins with XATTR_PREFIX, and which nothing here lists or reaches as such: the prefix, and
 * the attribute's full name, in which capital letters, what EAs cannot have, '%', and all but ASCII
 * is
 * '%' and two digits, so that it is matched exactly.  The stream holds the length in 4 bytes,
 * little-endian, and the value, so that one write replaces it, also over a crash; the EA a zero
 * byte and the value.  Open streams have no attributes themselves: -EOPNOTSUPP.
 *
 * All functions return 0 or a length, or a negative errno with the meaning of xattr(7): -ENODATA,
 * -ERANGE (the buffer is too small; a name too long to be kept), -EEXIST and -ENODATA
 * (XATTR_CREATE, XATTR_REPLACE), -E2BIG (more than 64 KiB: a value is never cut), -EPERM, -EACCES,
 * -EOPNOTSUPP, -EINVAL, -ENOSPC (also: a node's EAs would be more than 64 KiB); or those of the
 * library.
 */

#ifndef CASEFS_MOUNT_XATTRS_H
#define CASEFS_MOUNT_XATTRS_H

#include "../../fs/casefs.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XATTR_PREFIX "linux.xattr."

enum stream_view {
  STREAMS_XATTR, /* user.NAME */
  STREAMS_COLON, /* the path FILE:NAME */
  STREAMS_SAMBA, /* user.DosStream.NAME:$DATA */
  STREAMS_NONE,
};

/* What the mount shows instead of owners and modes as they are stored; all zeros: nothing. */
struct shown {
  bool force_uid, force_gid;
  uint32_t uid, gid;
  uint32_t file_mask, directory_mask; /* bits that modes do not show */
};

struct xattr_view {
  enum stream_view streams;
  bool user_eas;     /* user.NAME is the EA NAME; not with STREAMS_XATTR */
  bool list_system;  /* list also what is made up: system.ntfs_*, user.DOSATTRIB, security.NTACL */
  bool list_trusted; /* list trusted.* too, which Linux shows to root only */
  struct shown shown;
};

/* Who asks.  The kernel has checked the permissions of user.*, trusted.* and security.*; those of
 * system.ntfs_*, which it leaves to file systems, are checked here. */
struct caller {
  uint32_t uid, gid;
  const uint32_t *groups; /* supplementary */
  size_t group_count;
};

/* What a change concerned that the kernel may have in its caches. */
enum xattr_effect {
  XATTR_CHANGED_TIMES = 1,      /* modified, accessed */
  XATTR_CHANGED_ATTRIBUTES = 2, /* mode, owner */
};

/* The value; size 0: only its length. */
int xattr_get(casefs_node *node, const struct xattr_view *view, const struct caller *caller,
              const char *name, void *value, size_t size);
/* flags: XATTR_CREATE, XATTR_REPLACE (<sys/xattr.h>).  *effects: of enum xattr_effect, added. */
int xattr_set(casefs_node *node, const struct xattr_view *view, const struct caller *caller,
              const char *name, const void *value, size_t size, int flags, unsigned *effects);
int xattr_remove(casefs_node *node, const struct xattr_view *view, const struct caller *caller,
                 const char *name, unsigned *effects);
/* All names that are listed, each with a NUL behind it; size 0: only the length. */
int xattr_list(casefs_node *node, const struct xattr_view *view, char *list, size_t size);

/* Whether the caller is in a group. */
bool caller_has_group(const struct caller *caller, uint32_t gid);

/* Whether a stream of that name is one that keeps an attribute, which paths must not reach. */
bool xattr_is_hidden_stream(const char *name, size_t length);

/* An attribute kept as it is, under its full name ("system.posix_acl_access").  Without streams (or
 * EAs) on the node this looks at nothing but the node in memory.  Removing what is not there:
 * -ENODATA. */
int xattr_get_kept(casefs_node *node, const char *name, void *value, size_t size);
int xattr_set_kept(casefs_node *node, const char *name, const void *value, size_t size);
int xattr_remove_kept(casefs_node *node, const char *name);

#endif
