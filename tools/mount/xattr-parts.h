/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Between the parts of extended attributes: xattrs.c finds the part a name belongs to, and locks.
 *
 *   xattr-kept.c      attributes kept as they are
 *   xattr-streams.c   streams as attributes
 *   xattr-ea.c        Windows' extended attributes
 *   xattr-ntfs.c      system.ntfs_*
 *   xattr-samba.c     user.DOSATTRIB, security.NTACL
 *
 * Getters return the length (size 0: only that), the others 0, or all a negative errno.
 */

#ifndef CASEFS_MOUNT_XATTR_PARTS_H
#define CASEFS_MOUNT_XATTR_PARTS_H

#include "xattrs.h"

enum { XATTR_LARGEST = 65536 }; /* XATTR_SIZE_MAX, also XATTR_LIST_MAX */

struct xattr_request {
  casefs_node *node;
  const struct xattr_view *view;
  const struct caller *caller;
  struct casefs_attributes attributes; /* of the node, before */
};

/* A value that was made up, handed out. */
int hand_out(const void *bytes, size_t length, void *value, size_t size);
/* XATTR_CREATE and XATTR_REPLACE: whether the attribute may be set, by whether it is there. */
int check_flags(bool exists, int flags);
/* Files and directories. */
bool may_have_streams(const struct casefs_attributes *attributes);

/* ------------------------------------------------------------------- xattr-kept.c */

enum { KEPT_NAME_ROOM = 3 * 255 + sizeof XATTR_PREFIX, NAME_ROOM = 256 };

/* The attribute that a stream or EA keeps, zero-terminated; false if it is none. */
bool kept_name_of(const char *place, size_t length, char name[NAME_ROOM]);
/* Whether an EA of that name is one that keeps an attribute: of what has no streams. */
bool is_kept_ea(const struct casefs_attributes *attributes, const char *name);
/* Whether the node may have some: nothing but the node in memory is looked at. */
bool may_keep(const struct casefs_attributes *attributes);

/* ---------------------------------------------------------------- xattr-streams.c
 *
 * samba: the value has a zero behind it which is not the stream's. */

int stream_get(const struct xattr_request *request, const char *name, size_t length, bool samba,
               void *value, size_t size);
int stream_set(const struct xattr_request *request, const char *name, size_t length, bool samba,
               const void *value, size_t size, int flags);
int stream_remove(const struct xattr_request *request, const char *name, size_t length);
/* The names of all streams but hidden ones, with zeros between. */
int stream_names(const struct xattr_request *request, void *value, size_t size);

/* --------------------------------------------------------------------- xattr-ea.c
 *
 * What WSL has in EAs ($LXUID, $LXGID, $LXMOD, $LXDEV) is told as the node has it, and applied to
 * the node when it is set. */

/* One of them.  There are no empty EAs: 'full' is an attribute kept as it is then. */
int ea_get(const struct xattr_request *request, const char *full, const char *name, size_t length,
           void *value, size_t size);
int ea_set(const struct xattr_request *request, const char *full, const char *name, size_t length,
           const void *value, size_t size, int flags, unsigned *effects);
int ea_remove(const struct xattr_request *request, const char *full, const char *name,
              size_t length);

/* All of them, as NTFS has them. */
int ea_list_get(const struct xattr_request *request, void *value, size_t size);
int ea_list_set(const struct xattr_request *request, const void *value, size_t size, int flags,
                unsigned *effects);
int ea_list_remove(const struct xattr_request *request);

/* ------------------------------------------------------------------- xattr-ntfs.c */

#define NTFS_PREFIX "system.ntfs_"

/* name: behind the prefix */
int ntfs_get(const struct xattr_request *request, const char *name, void *value, size_t size);
int ntfs_set(const struct xattr_request *request, const char *name, const void *value, size_t size,
             int flags, unsigned *effects);
int ntfs_remove(const struct xattr_request *request, const char *name);
/* The name number i, behind the prefix, if the node has that; *end: there are no more. */
const char *ntfs_name(const struct casefs_attributes *attributes, unsigned i, bool *end);

/* ------------------------------------------------------------------ xattr-samba.c */

#define DOSATTRIB "user.DOSATTRIB"
#define NTACL "security.NTACL"

int dosattrib_get(const struct xattr_request *request, void *value, size_t size);
int dosattrib_set(const struct xattr_request *request, const void *value, size_t size, int flags);
int dosattrib_remove(const struct xattr_request *request);

int ntacl_get(const struct xattr_request *request, void *value, size_t size);
int ntacl_set(const struct xattr_request *request, const void *value, size_t size, int flags);
int ntacl_remove(const struct xattr_request *request);

#endif
