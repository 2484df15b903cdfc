/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Windows' extended attributes: each as one of Linux, and all as a list.
 */

#include "xattr-parts.h"

#include "../../fs/format.h"
#include "../../fs/windows.h"
#include "../casefs/ea-list.h"
#include "acl.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* ---------------------------------------------------- what WSL knows of a node */

enum linux_ea { LINUX_UID, LINUX_GID, LINUX_MODE, LINUX_DEVICE, LINUX_NONE };

/* Those of the right length; others are EAs like any. */
static enum linux_ea linux_ea_of(const char *name, size_t name_length, size_t length) {
  static const char *const names[] = {"$LXUID", "$LXGID", "$LXMOD", "$LXDEV"};
  for (unsigned i = 0; i < LINUX_NONE; i++)
    if (strlen(names[i]) == name_length && strncasecmp(name, names[i], name_length) == 0)
      return length == (i == LINUX_DEVICE ? 8 : 4) ? (enum linux_ea)i : LINUX_NONE;
  return LINUX_NONE;
}

static bool is_device(const struct casefs_attributes *attributes) {
  return attributes->type == CASEFS_CHARACTER_DEVICE || attributes->type == CASEFS_BLOCK_DEVICE;
}

/* A value as the node is now.  Type bits are what was set: they are of the file that WSL sees. */
static void refresh(const struct casefs_attributes *attributes, enum linux_ea kind,
                    uint8_t *value) {
  switch (kind) {
  case LINUX_UID:
    store32(value, attributes->uid);
    break;
  case LINUX_GID:
    store32(value, attributes->gid);
    break;
  case LINUX_MODE:
    store32(value, (load32(value) & ~07777u) | attributes->mode);
    break;
  case LINUX_DEVICE:
    if (is_device(attributes)) {
      store32(value, (uint32_t)(attributes->rdev >> 32));
      store32(value + 4, (uint32_t)attributes->rdev);
    }
    break;
  case LINUX_NONE:
    break;
  }
}

struct owner_change {
  unsigned mask; /* enum casefs_attribute_mask */
  struct casefs_attributes to_set;
};

/* Note what an EA makes of the node. */
static void collect(struct owner_change *change, const char *name, size_t name_length,
                    const void *value, size_t length) {
  switch (linux_ea_of(name, name_length, length)) {
  case LINUX_UID:
    change->mask |= CASEFS_UID;
    change->to_set.uid = load32(value);
    break;
  case LINUX_GID:
    change->mask |= CASEFS_GID;
    change->to_set.gid = load32(value);
    break;
  case LINUX_MODE:
    change->mask |= CASEFS_MODE;
    change->to_set.mode = load32(value) & 07777;
    break;
  default:
    break;
  }
}

/* As chown(2): set-id bits do not go to another owner. */
static uint32_t without_set_id(const struct casefs_attributes *attributes) {
  bool group = attributes->mode & S_IXGRP;
  if (attributes->type == CASEFS_DIRECTORY)
    return attributes->mode;
  return attributes->mode & ~(uint32_t)(S_ISUID | (group ? S_ISGID : 0));
}

/* Leave in a change what is one, and what follows from it.  -EPERM: the caller may not do that;
 * -EINVAL: nobody can be the owner. */
static int check_change(const struct xattr_request *request, struct owner_change *change) {
  const struct casefs_attributes *old = &request->attributes;
  const struct caller *caller = request->caller;
  struct casefs_attributes *new = &change->to_set;
  if (new->uid == old->uid)
    change->mask &= ~(unsigned)CASEFS_UID;
  if (new->gid == old->gid)
    change->mask &= ~(unsigned)CASEFS_GID;
  if (new->mode == old->mode)
    change->mask &= ~(unsigned)CASEFS_MODE;
  bool owner_changes = change->mask & (CASEFS_UID | CASEFS_GID);
  if ((change->mask & CASEFS_UID && new->uid == UINT32_MAX) ||
      (change->mask & CASEFS_GID && new->gid == UINT32_MAX))
    return -EINVAL;
  if (caller->uid != 0 &&
      (owner_changes || (change->mask & CASEFS_MODE && caller->uid != old->uid)))
    return -EPERM;
  if (caller->uid != 0 && !caller_has_group(caller, old->gid))
    new->mode &= ~(uint32_t)S_ISGID;
  if (owner_changes && !(change->mask & CASEFS_MODE)) {
    new->mode = without_set_id(old);
    change->mask |= CASEFS_MODE;
  }
  return 0;
}

static int apply_change(const struct xattr_request *request, const struct owner_change *change,
                        unsigned *effects) {
  int r = 0;
  if (change->mask == 0)
    return 0;
  *effects |= XATTR_CHANGED_ATTRIBUTES;
  if (change->mask & (CASEFS_UID | CASEFS_GID))
    r = xattr_remove_kept(request->node, "security.capability");
  if (r == -ENODATA)
    r = 0;
  if (r == 0 && change->mask & CASEFS_MODE)
    r = acl_change_mode(request->node, change->to_set.mode);
  return r == 0 ? casefs_set_attributes(request->node, change->mask, &change->to_set) : r;
}

/* --------------------------------------------------------------------- one EA */

/* What the library tells of a name or value that cannot be. */
static int ea_result(int r) {
  return r == -EFBIG || r == -ENAMETOOLONG ? -ENOSPC : r;
}

int ea_get(const struct xattr_request *request, const char *full, const char *name, size_t length,
           void *value, size_t size) {
  int r = request->attributes.ea_size > 0
              ? casefs_get_ea(request->node, name, length, value, size, NULL)
              : -ENODATA;
  if (r == -ENODATA)
    return xattr_get_kept(request->node, full, value, size);
  if (r >= 0 && size > 0)
    refresh(&request->attributes, linux_ea_of(name, length, (size_t)r), value);
  return r;
}

/* The kept one that stands for an empty EA goes when there is one that is not, and the other way
 * round. */
static int set_either(const struct xattr_request *request, const char *full, const char *name,
                      size_t length, const void *value, size_t size) {
  uint8_t flags = 0;
  int r = casefs_get_ea(request->node, name, length, NULL, 0, &flags);
  if (r >= 0 || r == -ENODATA) {
    if (size == 0)
      r = xattr_set_kept(request->node, full, value, size);
    if (r >= 0 || r == -ENODATA)
      r = casefs_set_ea(request->node, name, length, value, size, size > 0 ? flags : 0);
    if (r == 0 && size > 0)
      r = xattr_remove_kept(request->node, full);
  }
  return r == -ENODATA ? 0 : ea_result(r);
}

int ea_set(const struct xattr_request *request, const char *full, const char *name, size_t length,
           const void *value, size_t size, int flags, unsigned *effects) {
  struct owner_change change = {.to_set = request->attributes};
  int r = ea_get(request, full, name, length, NULL, 0);
  if (r < 0 && r != -ENODATA)
    return r;
  r = check_flags(r >= 0, flags);
  collect(&change, name, length, value, size);
  if (r == 0)
    r = check_change(request, &change);
  if (r == 0)
    r = set_either(request, full, name, length, value, size);
  return r == 0 ? apply_change(request, &change, effects) : r;
}

int ea_remove(const struct xattr_request *request, const char *full, const char *name,
              size_t length) {
  int r = casefs_get_ea(request->node, name, length, NULL, 0, NULL);
  if (r == -ENODATA)
    return xattr_remove_kept(request->node, full);
  return r < 0 ? r : casefs_set_ea(request->node, name, length, NULL, 0, 0);
}

/* ----------------------------------------------------------------------- list */

int ea_list_get(const struct xattr_request *request, void *value, size_t size) {
  struct casefs_cursor cursor = {0};
  struct casefs_ea ea;
  size_t used = 0;
  int r;
  if (request->attributes.ea_size == 0)
    return -ENODATA;
  while ((r = casefs_next_ea(request->node, &cursor, &ea)) > 0) {
    size_t name_length = strlen(ea.name), room = ea_item_room(name_length, ea.length);
    if (is_kept_ea(&request->attributes, ea.name))
      continue;
    if (used + room > XATTR_LARGEST)
      return -E2BIG;
    used += room;
    if (size == 0)
      continue;
    if (used > size)
      return -ERANGE;
    uint8_t *place = ea_item_write((uint8_t *)value + used - room, ea.name, name_length, ea.flags,
                                   ea.length, room);
    r = ea.length > 0 ? casefs_get_ea(request->node, ea.name, name_length, place, ea.length, NULL)
                      : 0;
    if (r != (int)ea.length)
      return r < 0 ? r : -EUCLEAN;
    refresh(&request->attributes, linux_ea_of(ea.name, name_length, ea.length), place);
  }
  if (r == 0 && used == 0)
    r = -ENODATA;
  return r < 0 ? r : (int)used;
}

/* Whether all of a list can be; and what it makes of the node.  Nobody makes up what is kept. */
static int check_list(const struct xattr_request *request, const void *list, size_t size,
                      struct owner_change *change) {
  struct ea_item item;
  size_t at = 0;
  int r = size > 0 ? 0 : -EINVAL;
  while (r == 0 && (r = ea_list_next(list, size, &at, &item)) > 0) {
    r = ea_name_check(item.name, item.name_length);
    if (r == 0 && item.flags & ~0x80u)
      r = -EINVAL;
    if (r == 0 && is_kept_ea(&request->attributes, item.name))
      r = -EPERM;
    collect(change, item.name, item.name_length, item.value, item.length);
  }
  return r;
}

static bool is_in_list(const char *name, const void *list, size_t size) {
  size_t at = 0, length = strlen(name);
  struct ea_item item;
  while (ea_list_next(list, size, &at, &item) > 0)
    if (item.name_length == length && strncasecmp(item.name, name, length) == 0)
      return true;
  return false;
}

static int remove_others(const struct xattr_request *request, const void *list, size_t size) {
  casefs_node *node = request->node;
  struct casefs_cursor cursor = {0};
  struct casefs_ea ea;
  int r;
  while ((r = casefs_next_ea(node, &cursor, &ea)) > 0) {
    if (is_kept_ea(&request->attributes, ea.name) || is_in_list(ea.name, list, size))
      continue;
    r = casefs_set_ea(node, ea.name, strlen(ea.name), NULL, 0, 0);
    if (r < 0)
      return r;
  }
  return r;
}

/* Those that grow come last, so that there is never more than there will be. */
static int set_items(casefs_node *node, const void *list, size_t size, bool growing) {
  struct ea_item item;
  size_t at = 0;
  while (ea_list_next(list, size, &at, &item) > 0) {
    int old = casefs_get_ea(node, item.name, item.name_length, NULL, 0, NULL);
    if (old < 0 && old != -ENODATA)
      return old;
    if (growing ? old >= 0 && item.length <= (size_t)old : old < 0 || item.length > (size_t)old)
      continue;
    int r = casefs_set_ea(node, item.name, item.name_length, item.value, item.length, item.flags);
    if (r < 0)
      return ea_result(r);
  }
  return 0;
}

int ea_list_set(const struct xattr_request *request, const void *value, size_t size, int flags,
                unsigned *effects) {
  struct owner_change change = {.to_set = request->attributes};
  int r = check_list(request, value, size, &change);
  if (r == 0)
    r = check_flags(ea_list_get(request, NULL, 0) != -ENODATA, flags);
  if (r == 0)
    r = check_change(request, &change);
  if (r == 0)
    r = remove_others(request, value, size);
  if (r == 0)
    r = set_items(request->node, value, size, false);
  if (r == 0)
    r = set_items(request->node, value, size, true);
  return r == 0 ? apply_change(request, &change, effects) : r;
}

int ea_list_remove(const struct xattr_request *request) {
  int r = ea_list_get(request, NULL, 0);
  return r == -ENODATA ? r : remove_others(request, NULL, 0);
}
