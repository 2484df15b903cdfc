/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the kernel's protocol (<linux/fuse.h>) has and libfuse 3.14 does not know.
 *
 *   FUSE_STATX                 statx(2) with the time of creation
 *   FUSE_HANDLE_KILLPRIV_V2    set-user-ID and set-group-ID bits are cleared here, when they have
 *                              to be; else the kernel asks before each write whether there is
 *                              anything to clear
 *
 * Requests are looked at before libfuse gets them, and the answer to the first, in which both sides
 * agree on what they can, is added to on its way.
 */

#include "mount.h"

#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define STATX 52 /* FUSE_STATX, of protocol 7.39 */

/* -------------------------------------------------------------------- agreement */

static void note_offer(struct mount *mount, const struct fuse_buf *request) {
  struct fuse_init_in offer;
  if (request->size < sizeof(struct fuse_in_header) + sizeof offer)
    return;
  memcpy(&offer, (const char *)request->mem + sizeof(struct fuse_in_header), sizeof offer);
  mount->clears_set_id = offer.flags & FUSE_HANDLE_KILLPRIV_V2;
}

/* The first answer is the one to the offer. */
static ssize_t write_answer(int descriptor, struct iovec *parts, int count, void *data) {
  struct mount *mount = data;
  struct fuse_init_out *answer = count == 2 ? parts[1].iov_base : NULL;
  if (!mount->agreed && answer &&
      parts[1].iov_len >= offsetof(struct fuse_init_out, max_background)) {
    mount->agreed = true;
    if (mount->clears_set_id)
      answer->flags |= FUSE_HANDLE_KILLPRIV_V2;
  }
  return writev(descriptor, parts, count);
}

static ssize_t read_request(int descriptor, void *buffer, size_t size, void *data) {
  (void)data;
  return read(descriptor, buffer, size);
}

int protocol_extend(struct mount *mount) {
  static const struct fuse_custom_io io = {.writev = write_answer, .read = read_request};
  return fuse_session_custom_io(mount->session, &io, fuse_session_fd(mount->session));
}

/* ----------------------------------------------------------------- set-ID bits */

/* A set-group-ID bit of a group that may not execute, which sets nobody's group, is left: who else
 * is in the group is not known here. */
void clear_set_id(struct mount *mount, uint64_t id, uint32_t gid) {
  struct casefs_attributes attributes;
  casefs_node *node;
  if (inode_open(&mount->inodes, id, &node) < 0)
    return;
  if (casefs_get_attributes(node, &attributes) == 0) {
    uint32_t mode = without_set_id(&attributes, gid, true);
    xattr_remove_kept(node, "security.capability");
    if (mode != attributes.mode) {
      attributes.mode = mode;
      casefs_set_attributes(node, CASEFS_MODE, &attributes);
      forget_attributes(mount, id);
    }
  }
  casefs_node_close(node);
}

static bool is_to_clear_set_id(const struct fuse_buf *request) {
  struct fuse_write_in write;
  if (request->size < sizeof(struct fuse_in_header) + sizeof write)
    return false;
  memcpy(&write, (const char *)request->mem + sizeof(struct fuse_in_header), sizeof write);
  return write.write_flags & FUSE_WRITE_KILL_SUIDGID;
}

/* -------------------------------------------------------------------- requests */

void protocol_process(struct mount *mount, const struct fuse_buf *request) {
  struct fuse_in_header header;
  memcpy(&header, request->mem, sizeof header);
  switch (header.opcode) {
  case STATX:
    handle_statx(mount, header.unique, header.nodeid);
    return;
  case FUSE_INIT:
    note_offer(mount, request);
    break;
  case FUSE_WRITE:
    if (is_to_clear_set_id(request))
      clear_set_id(mount, header.nodeid, header.gid);
    break;
  default:
    break;
  }
  fuse_session_process_buf(mount->session, request);
}

/* Whether it may keep its worker busy for longer than others should wait. */
bool protocol_is_long(const struct fuse_buf *request) {
  struct fuse_in_header header;
  memcpy(&header, request->mem, sizeof header);
  switch (header.opcode) {
  case FUSE_FSYNC:
  case FUSE_FSYNCDIR:
  case FUSE_IOCTL:
  case FUSE_FALLOCATE:
  case FUSE_COPY_FILE_RANGE:
  case FUSE_DESTROY:
    return true;
  default:
    return false;
  }
}
