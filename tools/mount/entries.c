/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Names.
 *
 * The kernel keeps names by their exact spelling.  That is right in directories where case
 * matters; where it does not, a name it keeps could outlive the file that was removed or renamed by
 * another spelling, and one it knows to be missing could come to be by another.  So there the
 * kernel is told to ask each time, except for directories, of which it never keeps two names: what
 * it is told at the second moves the first.
 */

#include "mount.h"

#include "../casefs/text.h"
#include "acl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/sysmacros.h>

/* ------------------------------------------------------------------- finding */

static bool ignores_case(struct mount *mount, const struct casefs_attributes *directory) {
  return directory->case_insensitive || mount->options.case_view == CASE_INSENSITIVE;
}

double entry_timeout(struct mount *mount, const struct casefs_attributes *directory,
                     enum casefs_type type) {
  bool lasting =
      type == CASEFS_DIRECTORY || (type != CASEFS_STREAM && !ignores_case(mount, directory));
  return lasting ? FOREVER : 0;
}

/* "FILE:STREAM", where streams are shown so: open FILE, and find where STREAM stands. */
static int open_stream_owner(struct mount *mount, casefs_node *directory, const char *name,
                             casefs_node **owner, const char **stream) {
  const char *colon = mount->options.xattrs.streams == STREAMS_COLON ? strrchr(name, ':') : NULL;
  if (!colon || colon == name || colon[1] == '\0' ||
      xattr_is_hidden_stream(colon + 1, strlen(colon + 1)))
    return -ENOENT;
  *stream = colon + 1;
  return casefs_open_at(directory, name, (size_t)(colon - name), owner);
}

static int find_stream(struct mount *mount, casefs_node *directory, const char *name,
                       struct casefs_attributes *attributes) {
  casefs_node *owner, *node;
  const char *stream;
  int r = open_stream_owner(mount, directory, name, &owner, &stream);
  if (r < 0)
    return r;
  r = casefs_open_stream(owner, stream, strlen(stream), 0, &node);
  casefs_node_close(owner);
  if (r < 0)
    return r == -EINVAL ? -ENOENT : r;
  r = casefs_get_attributes(node, attributes);
  casefs_node_close(node);
  return r;
}

int find_entry(struct mount *mount, casefs_node *directory, const char *name,
               struct casefs_attributes *attributes, char *stored) {
  char buffer[CASEFS_MAX_NAME + 1];
  size_t length = strlen(name);
  stored = stored ? stored : buffer;
  int r = casefs_lookup(directory, name, length, attributes, stored);
  if (r == 0 && mount->options.case_view == CASE_SENSITIVE && strcmp(name, stored) != 0)
    return -ENOENT;
  if (r == -ENOENT && mount->options.case_view == CASE_INSENSITIVE)
    r = casefs_lookup_folded(directory, name, length, attributes, stored);
  if (r == -ENOENT && mount->options.xattrs.streams == STREAMS_COLON) {
    memcpy(stored, name, length + 1);
    r = find_stream(mount, directory, name, attributes);
  }
  /* What can be no name, nothing has. */
  return r == -EILSEQ ? -ENOENT : r;
}

/* ------------------------------------------------------------------- replying */

/* Tell the kernel of a node, which is taken over if it is not NULL. */
static int make_entry(struct mount *mount, const struct casefs_attributes *directory,
                      const struct casefs_attributes *attributes, casefs_node *node,
                      struct fuse_entry_param *entry) {
  *entry = (struct fuse_entry_param){
      .ino = attributes->id,
      .attr_timeout = attributes->type == CASEFS_STREAM ? 0 : FOREVER,
      .entry_timeout = entry_timeout(mount, directory, attributes->type),
  };
  int r = stat_of(mount, attributes, &entry->attr);
  if (r < 0) {
    casefs_node_close(node);
    return r;
  }
  return inode_remember(&mount->inodes, attributes->id, node);
}

static void reply_entry(fuse_req_t request, struct mount *mount,
                        const struct casefs_attributes *directory,
                        const struct casefs_attributes *attributes, casefs_node *node) {
  struct fuse_entry_param entry;
  int r = make_entry(mount, directory, attributes, node, &entry);
  if (r < 0)
    reply_error(request, r);
  else if (fuse_reply_entry(request, &entry) == -ENOENT) /* nobody took it */
    inode_forget(&mount->inodes, attributes->id, 1);
}

/* There is no such name, which the kernel may keep where case matters. */
static void reply_missing(fuse_req_t request, struct mount *mount,
                          const struct casefs_attributes *directory) {
  if (ignores_case(mount, directory) || mount->options.xattrs.streams == STREAMS_COLON) {
    fuse_reply_err(request, ENOENT);
    return;
  }
  struct fuse_entry_param missing = {.entry_timeout = NEGATIVE_TIMEOUT};
  fuse_reply_entry(request, &missing);
}

/* -------------------------------------------------------------------- looking up */

/* The directory and its attributes. */
static int open_directory(struct mount *mount, fuse_ino_t id, casefs_node **node,
                          struct casefs_attributes *attributes) {
  int r = inode_open(&mount->inodes, id, node);
  if (r < 0)
    return r;
  r = casefs_get_attributes(*node, attributes);
  if (r < 0)
    casefs_node_close(*node);
  return r;
}

/* "." and "..", which only servers of file handles ask for. */
static int find_dots(struct mount *mount, const struct casefs_attributes *directory,
                     const char *name, struct casefs_attributes *attributes) {
  casefs_node *node;
  bool up = name[1] == '.' && directory->parent != 0;
  int r = inode_open(&mount->inodes, up ? directory->parent : directory->id, &node);
  if (r == 0) {
    r = casefs_get_attributes(node, attributes);
    casefs_node_close(node);
  }
  return r;
}

void handle_lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
  struct mount *mount = mount_of(request);
  struct casefs_attributes directory, attributes;
  casefs_node *node;
  int r = open_directory(mount, parent, &node, &directory);
  if (r < 0) {
    reply_error(request, r);
    return;
  }
  if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
    r = find_dots(mount, &directory, name, &attributes);
  else
    r = find_entry(mount, node, name, &attributes, NULL);
  casefs_node_close(node);
  if (r == -ENOENT)
    reply_missing(request, mount, &directory);
  else if (r < 0)
    reply_error(request, r);
  else
    reply_entry(request, mount, &directory, &attributes, NULL);
}

void handle_forget(fuse_req_t request, fuse_ino_t id, uint64_t lookups) {
  inode_forget(&mount_of(request)->inodes, id, lookups);
  fuse_reply_none(request);
}

void handle_forget_multi(fuse_req_t request, size_t count, struct fuse_forget_data *forgets) {
  for (size_t i = 0; i < count; i++)
    inode_forget(&mount_of(request)->inodes, forgets[i].ino, forgets[i].nlookup);
  fuse_reply_none(request);
}

void handle_readlink(fuse_req_t request, fuse_ino_t id) {
  char target[CASEFS_MAX_SYMLINK + 1];
  casefs_node *node;
  int r = inode_open(&mount_of(request)->inodes, id, &node);
  if (r == 0) {
    r = casefs_readlink(node, target, CASEFS_MAX_SYMLINK);
    casefs_node_close(node);
  }
  if (r < 0) {
    reply_error(request, r);
    return;
  }
  target[r] = '\0';
  fuse_reply_readlink(request, target);
}

/* ----------------------------------------------------------------------- making */

/* In a directory with the setgid bit, what is made gets its group, and a directory the bit; nobody
 * gets an executable file with the right of a group he is not in (inode(7)). */
static void inherit_group(fuse_req_t request, const struct casefs_attributes *directory,
                          struct casefs_creation *creation) {
  if (!(directory->mode & S_ISGID))
    return;
  creation->gid = directory->gid;
  if (creation->type == CASEFS_DIRECTORY)
    creation->mode |= S_ISGID;
  else if ((creation->mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) &&
           fuse_req_ctx(request)->uid != 0 && !caller_in_group(request, directory->gid))
    creation->mode &= ~(uint32_t)S_ISGID;
}

/* Make it, with what it inherits; or, if it cannot have that, not. */
static int create_node(struct mount *mount, casefs_node *directory, const char *name,
                       const struct casefs_creation *creation,
                       const struct acl_inheritance *inheritance, casefs_node **node) {
  casefs_node *owner;
  const char *stream;
  size_t length = strlen(name);
  int r = creation->type == CASEFS_FILE ? open_stream_owner(mount, directory, name, &owner, &stream)
                                        : -ENOENT;
  if (r == 0) {
    r = casefs_open_stream(owner, stream, strlen(stream), O_CREAT | O_EXCL, node);
    casefs_node_close(owner);
    return r;
  }
  if (r != -ENOENT)
    return r;
  r = casefs_create(directory, name, length, creation, node);
  if (r < 0)
    return r;
  r = acl_give(*node, inheritance);
  if (r < 0) {
    if (creation->type == CASEFS_DIRECTORY)
      casefs_rmdir(directory, name, length);
    else
      casefs_unlink(directory, name, length);
    casefs_node_close(*node);
  }
  return r;
}

/* Make a node as the caller; directory and attributes receive the attributes of both. */
static int make_node(fuse_req_t request, fuse_ino_t parent, const char *name,
                     struct casefs_creation *creation, struct casefs_attributes *directory,
                     struct casefs_attributes *attributes, casefs_node **node) {
  struct mount *mount = mount_of(request);
  const struct fuse_ctx *context = fuse_req_ctx(request);
  struct acl_inheritance inheritance = {0};
  casefs_node *in;
  int r = open_directory(mount, parent, &in, directory);
  if (r < 0)
    return r;
  creation->uid = context->uid;
  creation->gid = context->gid;
  if (creation->type != CASEFS_SYMLINK)
    r = acl_inherit(in, creation->type == CASEFS_DIRECTORY, context->umask, &creation->mode,
                    &inheritance);
  inherit_group(request, directory, creation);
  if (r == 0)
    r = create_node(mount, in, name, creation, &inheritance, node);
  acl_inheritance_clear(&inheritance);
  casefs_node_close(in);
  if (r == 0) {
    r = casefs_get_attributes(*node, attributes);
    if (r < 0)
      casefs_node_close(*node);
  }
  return r;
}

static void make_and_reply(fuse_req_t request, fuse_ino_t parent, const char *name,
                           struct casefs_creation *creation) {
  struct casefs_attributes directory, attributes;
  casefs_node *node;
  int r = make_node(request, parent, name, creation, &directory, &attributes, &node);
  if (r < 0)
    reply_error(request, r);
  else
    reply_entry(request, mount_of(request), &directory, &attributes, node);
}

void handle_mknod(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
                  dev_t rdev) {
  struct casefs_creation creation = {.type = type_of_mode(mode), .mode = mode & 07777};
  if (creation.type == CASEFS_CHARACTER_DEVICE || creation.type == CASEFS_BLOCK_DEVICE)
    creation.rdev = (uint64_t)major(rdev) << 32 | minor(rdev);
  make_and_reply(request, parent, name, &creation);
}

void handle_mkdir(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode) {
  struct casefs_creation creation = {.type = CASEFS_DIRECTORY, .mode = mode & 07777};
  make_and_reply(request, parent, name, &creation);
}

void handle_symlink(fuse_req_t request, const char *target, fuse_ino_t parent, const char *name) {
  struct casefs_creation creation = {
      .type = CASEFS_SYMLINK, .mode = 0777, .target = target, .target_length = strlen(target)};
  make_and_reply(request, parent, name, &creation);
}

void handle_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
                   struct fuse_file_info *file) {
  struct mount *mount = mount_of(request);
  struct casefs_creation creation = {.type = CASEFS_FILE, .mode = mode & 07777};
  struct casefs_attributes directory, attributes;
  struct fuse_entry_param entry;
  casefs_node *node;
  int r = make_node(request, parent, name, &creation, &directory, &attributes, &node);
  if (r == 0)
    r = make_entry(mount, &directory, &attributes, node, &entry);
  if (r < 0) {
    reply_error(request, r);
    return;
  }
  file->keep_cache = 1;
  if (fuse_reply_create(request, &entry, file) == -ENOENT) /* nobody took it */
    inode_forget(&mount->inodes, attributes.id, 1);
}

void handle_link(fuse_req_t request, fuse_ino_t id, fuse_ino_t parent, const char *name) {
  struct mount *mount = mount_of(request);
  struct casefs_attributes directory, attributes;
  casefs_node *node, *in;
  int r = inode_open(&mount->inodes, id, &node);
  if (r < 0) {
    reply_error(request, r);
    return;
  }
  r = open_directory(mount, parent, &in, &directory);
  if (r == 0) {
    r = casefs_link(node, in, name, strlen(name));
    casefs_node_close(in);
  }
  if (r == 0)
    r = casefs_get_attributes(node, &attributes);
  if (r == 0) {
    reply_entry(request, mount, &directory, &attributes, node);
    return;
  }
  casefs_node_close(node);
  reply_error(request, r);
}

/* ---------------------------------------------------------------------- removing */

/* Keep the node of a name open while the name may be its last.  Returns its id, or 0. */
static uint64_t pin_entry(struct mount *mount, const struct casefs_attributes *attributes) {
  casefs_node *node;
  if (casefs_open_id(mount->volume, attributes->id, &node) < 0)
    return 0;
  inode_pin(&mount->inodes, attributes->id, node);
  return attributes->id;
}

/* After the change: let go, unless it has no name left. */
static void unpin_entry(struct mount *mount, uint64_t id) {
  struct casefs_attributes attributes;
  casefs_node *node;
  if (id == 0 || inode_open(&mount->inodes, id, &node) < 0)
    return;
  bool named = casefs_get_attributes(node, &attributes) < 0 || attributes.links > 0;
  casefs_node_close(node);
  if (named)
    inode_unpin(&mount->inodes, id);
}

static int remove_stream(struct mount *mount, casefs_node *directory, const char *name) {
  casefs_node *owner;
  const char *stream;
  int r = open_stream_owner(mount, directory, name, &owner, &stream);
  if (r < 0)
    return r;
  r = casefs_remove_stream(owner, stream, strlen(stream));
  casefs_node_close(owner);
  return r;
}

static int remove_name(struct mount *mount, casefs_node *directory, const char *name,
                       bool is_directory) {
  struct casefs_attributes attributes;
  char stored[CASEFS_MAX_NAME + 1];
  int r = find_entry(mount, directory, name, &attributes, stored);
  if (r < 0)
    return r;
  uint64_t pinned = pin_entry(mount, &attributes);
  if (attributes.type == CASEFS_STREAM)
    r = is_directory ? -ENOTDIR : remove_stream(mount, directory, name);
  else if (is_directory)
    r = casefs_rmdir(directory, stored, strlen(stored));
  else
    r = casefs_unlink(directory, stored, strlen(stored));
  unpin_entry(mount, pinned);
  return r;
}

static void remove_and_reply(fuse_req_t request, fuse_ino_t parent, const char *name,
                             bool is_directory) {
  struct mount *mount = mount_of(request);
  casefs_node *directory;
  int r = inode_open(&mount->inodes, parent, &directory);
  if (r == 0) {
    r = remove_name(mount, directory, name, is_directory);
    casefs_node_close(directory);
  }
  reply_result(request, r);
}

void handle_unlink(fuse_req_t request, fuse_ino_t parent, const char *name) {
  remove_and_reply(request, parent, name, false);
}

void handle_rmdir(fuse_req_t request, fuse_ino_t parent, const char *name) {
  remove_and_reply(request, parent, name, true);
}

/* ---------------------------------------------------------------------- renaming */

/* One stream of a file to another name, also without naming the file again (":NEW"). */
static int rename_stream(struct mount *mount, casefs_node *from, const char *old_name,
                         casefs_node *to, const char *new_name, unsigned flags) {
  casefs_node *owner, *new_owner;
  const char *stream, *new_stream;
  if (flags & CASEFS_RENAME_EXCHANGE)
    return -EINVAL;
  int r = open_stream_owner(mount, from, old_name, &owner, &stream);
  if (r < 0)
    return r;
  r = open_stream_owner(mount, to, new_name, &new_owner, &new_stream);
  if (r == 0) {
    r = casefs_node_id(owner) != casefs_node_id(new_owner) ? -EXDEV : 0;
    if (r == 0 && !(flags & CASEFS_RENAME_NOREPLACE) && strcasecmp(stream, new_stream) != 0)
      casefs_remove_stream(owner, new_stream, strlen(new_stream));
    if (r == 0)
      r = casefs_rename_stream(owner, stream, strlen(stream), new_stream, strlen(new_stream));
    casefs_node_close(new_owner);
  }
  casefs_node_close(owner);
  return r;
}

static int rename_entry(struct mount *mount, casefs_node *from, const char *old_name,
                        casefs_node *to, const char *new_name, unsigned flags) {
  struct casefs_attributes attributes, replaced;
  char stored[CASEFS_MAX_NAME + 1], target[CASEFS_MAX_NAME + 1];
  int r = find_entry(mount, from, old_name, &attributes, stored);
  if (r < 0)
    return r;
  if (attributes.type == CASEFS_STREAM)
    return rename_stream(mount, from, old_name, to, new_name, flags);
  uint64_t pinned = 0;
  r = find_entry(mount, to, new_name, &replaced, target);
  if (r == 0 && replaced.type == CASEFS_STREAM)
    return -EINVAL;
  if (r == 0 && !(flags & CASEFS_RENAME_EXCHANGE) && replaced.id != attributes.id)
    pinned = pin_entry(mount, &replaced);
  /* Where only the mount ignores case, another spelling is still the one to replace. */
  if (r == 0 && mount->options.case_view == CASE_INSENSITIVE)
    new_name = target;
  r = casefs_rename(from, stored, strlen(stored), to, new_name, strlen(new_name), flags);
  unpin_entry(mount, pinned);
  return r;
}

void handle_rename(fuse_req_t request, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                   const char *new_name, unsigned flags) {
  struct mount *mount = mount_of(request);
  casefs_node *from, *to;
  unsigned casefs_flags = (flags & RENAME_NOREPLACE ? (unsigned)CASEFS_RENAME_NOREPLACE : 0) |
                          (flags & RENAME_EXCHANGE ? (unsigned)CASEFS_RENAME_EXCHANGE : 0);
  if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) {
    reply_error(request, -EINVAL);
    return;
  }
  int r = inode_open(&mount->inodes, parent, &from);
  if (r == 0) {
    r = inode_open(&mount->inodes, new_parent, &to);
    if (r == 0) {
      r = rename_entry(mount, from, name, to, new_name, casefs_flags);
      casefs_node_close(to);
    }
    casefs_node_close(from);
  }
  reply_result(request, r);
}
