/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What lsattr(1) and chattr(1) ask for: FS_IOC_GETFLAGS and FS_IOC_SETFLAGS (ioctl_iflags(2)), of
 * which the case flag of directories is the one there is.  Wine looks at it to know whether it has
 * to search directories for other spellings.
 */

#include "mount.h"

#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <unistd.h>

#ifndef FS_CASEFOLD_FL
#define FS_CASEFOLD_FL 0x40000000
#endif

static int get_flags(struct mount *mount, fuse_ino_t id, uint32_t *flags) {
  struct casefs_attributes attributes;
  casefs_node *node;
  int r = inode_open(&mount->inodes, id, &node);
  if (r < 0)
    return r;
  r = casefs_get_attributes(node, &attributes);
  casefs_node_close(node);
  bool folds = attributes.type == CASEFS_DIRECTORY &&
               (attributes.case_insensitive || mount->options.case_view == CASE_INSENSITIVE) &&
               mount->options.case_view != CASE_SENSITIVE;
  *flags = folds ? FS_CASEFOLD_FL : 0;
  return r;
}

/* As with the kernel's file systems, only an empty directory changes: so no name that anyone holds
 * comes to mean another.  The kernel may know of names that are missing, which soon they may not
 * be; that passes. */
static int set_case(struct mount *mount, fuse_ino_t id, bool insensitive) {
  struct casefs_attributes attributes;
  casefs_node *node;
  int r = inode_open(&mount->inodes, id, &node);
  if (r < 0)
    return r;
  r = casefs_get_attributes(node, &attributes);
  if (r == 0 && attributes.type != CASEFS_DIRECTORY)
    r = -ENOTDIR;
  if (r == 0 && attributes.case_insensitive != insensitive) {
    r = attributes.size > 0 ? -ENOTEMPTY : casefs_set_case(node, insensitive, NULL, NULL);
    if (r == 0 && insensitive)
      usleep((useconds_t)(NEGATIVE_TIMEOUT * 1.1e6));
  }
  casefs_node_close(node);
  return r;
}

static int set_flags(struct mount *mount, fuse_ino_t id, uint32_t flags) {
  uint32_t old;
  int r = get_flags(mount, id, &old);
  if (r < 0 || flags == old)
    return r;
  if ((flags ^ old) != FS_CASEFOLD_FL || mount->options.case_view != CASE_VOLUME)
    return -EOPNOTSUPP;
  return set_case(mount, id, flags & FS_CASEFOLD_FL);
}

void handle_ioctl(fuse_req_t request, fuse_ino_t id, unsigned command, void *argument,
                  struct fuse_file_info *file, unsigned ioctl_flags, const void *input,
                  size_t input_size, size_t output_size) {
  (void)argument;
  (void)file;
  (void)ioctl_flags;
  struct mount *mount = mount_of(request);
  uint32_t flags = 0;
  int r = -ENOTTY;
  /* The commands say long, but an int is meant (ioctl_iflags(2)). */
  if (command == (unsigned)FS_IOC_GETFLAGS) {
    uint8_t answer[sizeof(long)] = {0};
    r = output_size < sizeof flags ? -EINVAL : get_flags(mount, id, &flags);
    memcpy(answer, &flags, sizeof flags);
    if (r == 0) {
      fuse_reply_ioctl(request, 0, answer,
                       output_size < sizeof answer ? output_size : sizeof answer);
      return;
    }
  } else if (command == (unsigned)FS_IOC_SETFLAGS) {
    if (input_size >= sizeof flags) {
      memcpy(&flags, input, sizeof flags);
      r = set_flags(mount, id, flags);
    } else {
      r = -EINVAL;
    }
    if (r == 0) {
      fuse_reply_ioctl(request, 0, NULL, 0);
      return;
    }
  } else if (command == (unsigned)FS_IOC_FSGETXATTR && output_size >= sizeof(struct fsxattr)) {
    struct fsxattr none = {0};
    fuse_reply_ioctl(request, 0, &none, sizeof none);
    return;
  }
  reply_error(request, r);
}
