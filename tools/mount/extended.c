/* SPDX-License-Identifier: BSD-3-Clause */

#include "mount.h"

#include "acl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

/* The spelling of a name: read as it is stored, and set to another one of the same letters, which
 * rename(2) cannot, as the kernel finds that both are the same file and does nothing. */
#define SPELLING "system.casefs_name"

/* By what Samba's module glusterfs_fuse asks a directory for the spelling of a name, so that it
 * need not list it. */
#define REAL_NAME "glusterfs.get_real_filename:"

#define MAX_GROUPS 1024

/* ------------------------------------------------------------------------ callers */

/* The groups are read from /proc: only where they matter. */
static struct caller caller_of(fuse_req_t request, bool with_groups, gid_t groups[MAX_GROUPS]) {
  const struct fuse_ctx *context = fuse_req_ctx(request);
  struct caller caller = {.uid = context->uid, .gid = context->gid};
  int count = with_groups ? fuse_req_getgroups(request, MAX_GROUPS, groups) : 0;
  caller.groups = groups;
  caller.group_count = count < 0 ? 0 : (size_t)(count < MAX_GROUPS ? count : MAX_GROUPS);
  return caller;
}

bool caller_in_group(fuse_req_t request, uint32_t gid) {
  gid_t groups[MAX_GROUPS];
  struct caller caller = caller_of(request, true, groups);
  return caller_has_group(&caller, gid);
}

static bool needs_groups(const char *name) {
  return strncmp(name, "system.", 7) == 0 && strcmp(name, ACL_DEFAULT) != 0;
}

/* ----------------------------------------------------------------------- spelling */

/* Whether looking that up in a directory would find the node by this name of it. */
static bool is_spelling(casefs_node *directory, const char *spelling, size_t length, uint64_t id,
                        const char *name) {
  struct casefs_attributes attributes;
  char stored[CASEFS_MAX_NAME + 1];
  return casefs_lookup(directory, spelling, length, &attributes, stored) == 0 &&
         attributes.id == id && strcmp(stored, name) == 0;
}

/* Where a node is: the first of its names, or, with a spelling that is not NULL, the first of which
 * that is one.  directory receives the directory, open. */
static int find_name(struct mount *mount, casefs_node *node, const char *spelling, size_t length,
                     casefs_node **directory, char name[CASEFS_MAX_NAME + 1]) {
  struct casefs_cursor cursor = {0};
  uint64_t parent;
  int r;
  while ((r = casefs_next_link(node, &cursor, &parent, name)) == 1) {
    r = inode_open(&mount->inodes, parent, directory);
    if (r < 0)
      return r;
    if (!spelling || is_spelling(*directory, spelling, length, casefs_node_id(node), name))
      return 0;
    casefs_node_close(*directory);
  }
  return r < 0 ? r : spelling ? -EINVAL : -ENODATA;
}

/* Whether the caller may rename what is in a directory (inode(7)). */
static int check_rename_right(const struct caller *caller, casefs_node *directory,
                              casefs_node *node) {
  struct casefs_attributes in, attributes;
  int r = casefs_get_attributes(directory, &in);
  if (r == 0)
    r = casefs_get_attributes(node, &attributes);
  if (r == 0)
    r = acl_permits(directory, &in, caller, ACL_MAY_WRITE | ACL_MAY_EXECUTE);
  if (r < 0 || caller->uid == 0)
    return r;
  bool sticky = in.mode & S_ISVTX;
  return sticky && in.uid != caller->uid && attributes.uid != caller->uid ? -EPERM : 0;
}

static int get_spelling(struct mount *mount, casefs_node *node, void *value, size_t size) {
  char name[CASEFS_MAX_NAME + 1];
  casefs_node *directory;
  int r = find_name(mount, node, NULL, 0, &directory, name);
  if (r < 0)
    return r;
  casefs_node_close(directory);
  size_t length = strlen(name);
  if (size > 0 && size < length)
    return -ERANGE;
  if (size > 0)
    memcpy(value, name, length);
  return (int)length;
}

/* old receives the spelling that the kernel may know. */
static int set_spelling(struct mount *mount, casefs_node *node, const struct caller *caller,
                        const char *value, size_t size, uint64_t *parent,
                        char old[CASEFS_MAX_NAME + 1]) {
  casefs_node *directory;
  int r = find_name(mount, node, value, size, &directory, old);
  if (r < 0)
    return r;
  *parent = casefs_node_id(directory);
  r = check_rename_right(caller, directory, node);
  if (r == 0)
    r = casefs_rename(directory, old, strlen(old), directory, value, size, 0);
  casefs_node_close(directory);
  return r;
}

static void handle_set_spelling(fuse_req_t request, struct mount *mount, casefs_node *node,
                                const char *value, size_t size) {
  char old[CASEFS_MAX_NAME + 1];
  gid_t groups[MAX_GROUPS];
  struct caller caller = caller_of(request, true, groups);
  uint64_t parent;
  int r = set_spelling(mount, node, &caller, value, size, &parent, old);
  reply_result(request, r);
  if (r == 0)
    forget_entry(mount, parent, old);
}

static int get_real_name(struct mount *mount, casefs_node *directory, const char *name, void *value,
                         size_t size) {
  struct casefs_attributes attributes;
  char stored[CASEFS_MAX_NAME + 1];
  int r = casefs_get_attributes(directory, &attributes);
  if (r < 0)
    return r;
  if (attributes.type != CASEFS_DIRECTORY ||
      entry_timeout(mount, &attributes, CASEFS_FILE) > 0) /* case matters */
    return -EOPNOTSUPP;
  r = find_entry(mount, directory, name, &attributes, stored);
  if (r < 0)
    return r;
  size_t length = strlen(stored) + 1;
  if (size > 0 && size < length)
    return -ERANGE;
  if (size > 0)
    memcpy(value, stored, length);
  return (int)length;
}

/* ------------------------------------------------------------------------ requests */

static void reply_value(fuse_req_t request, int r, const void *value, size_t size) {
  if (r < 0)
    reply_error(request, r);
  else if (size == 0)
    fuse_reply_xattr(request, (size_t)r);
  else
    fuse_reply_buf(request, value, (size_t)r);
}

void handle_getxattr(fuse_req_t request, fuse_ino_t id, const char *name, size_t size) {
  struct mount *mount = mount_of(request);
  gid_t groups[MAX_GROUPS];
  casefs_node *node;
  void *value = thread_buffer(size);
  int r = value ? inode_open(&mount->inodes, id, &node) : -ENOMEM;
  if (r == 0) {
    bool ntfs = strncmp(name, "system.ntfs", 11) == 0;
    struct caller caller = caller_of(request, ntfs, groups);
    if (strcmp(name, SPELLING) == 0)
      r = get_spelling(mount, node, value, size);
    else if (strncmp(name, REAL_NAME, strlen(REAL_NAME)) == 0)
      r = get_real_name(mount, node, name + strlen(REAL_NAME), value, size);
    else
      r = xattr_get(node, &mount->options.xattrs, &caller, name, value, size);
    casefs_node_close(node);
  }
  reply_value(request, r, value, size);
}

void handle_listxattr(fuse_req_t request, fuse_ino_t id, size_t size) {
  struct mount *mount = mount_of(request);
  casefs_node *node;
  void *list = thread_buffer(size);
  int r = list ? inode_open(&mount->inodes, id, &node) : -ENOMEM;
  if (r == 0) {
    struct xattr_view view = mount->options.xattrs;
    view.list_trusted = fuse_req_ctx(request)->uid == 0;
    r = xattr_list(node, &view, list, size);
    casefs_node_close(node);
  }
  reply_value(request, r, list, size);
}

/* What the kernel has in its caches and is not so any more.  With the writeback cache it believes
 * its own times of files, and forgets them only with the file. */
static void forget_changed(struct mount *mount, casefs_node *node, uint64_t id, unsigned effects) {
  char name[CASEFS_MAX_NAME + 1];
  casefs_node *directory;
  if (effects != 0)
    forget_attributes(mount, id);
  if (effects & XATTR_CHANGED_TIMES)
    inode_set_times(&mount->inodes, id, casefs_now());
  if (effects & XATTR_CHANGED_TIMES && find_name(mount, node, NULL, 0, &directory, name) == 0) {
    forget_entry(mount, casefs_node_id(directory), name);
    casefs_node_close(directory);
  }
}

void handle_setxattr(fuse_req_t request, fuse_ino_t id, const char *name, const char *value,
                     size_t size, int flags) {
  struct mount *mount = mount_of(request);
  gid_t groups[MAX_GROUPS];
  casefs_node *node;
  unsigned effects = 0;
  int r = inode_open(&mount->inodes, id, &node);
  if (r < 0) {
    reply_error(request, r);
    return;
  }
  if (strcmp(name, SPELLING) == 0) {
    handle_set_spelling(request, mount, node, value, size);
    casefs_node_close(node);
    return;
  }
  struct caller caller = caller_of(request, needs_groups(name), groups);
  r = xattr_set(node, &mount->options.xattrs, &caller, name, value, size, flags, &effects);
  if (r == 0)
    forget_changed(mount, node, id, effects);
  reply_result(request, r);
  casefs_node_close(node);
}

void handle_removexattr(fuse_req_t request, fuse_ino_t id, const char *name) {
  struct mount *mount = mount_of(request);
  gid_t groups[MAX_GROUPS];
  casefs_node *node;
  unsigned effects = 0;
  int r = inode_open(&mount->inodes, id, &node);
  if (r < 0) {
    reply_error(request, r);
    return;
  }
  struct caller caller = caller_of(request, needs_groups(name), groups);
  r = strcmp(name, SPELLING) == 0
          ? -EPERM
          : xattr_remove(node, &mount->options.xattrs, &caller, name, &effects);
  if (r == 0)
    forget_changed(mount, node, id, effects);
  reply_result(request, r);
  casefs_node_close(node);
}
