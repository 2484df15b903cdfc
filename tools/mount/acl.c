/* SPDX-License-Identifier: BSD-3-Clause */

#include "acl.h"

#include "../../fs/format.h"
#include "xattr-parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ------------------------------------------------------------------------ form
 *
 *   0  4  version, 2
 *   4     entries: 2 bytes of tag, 2 of permissions, 4 of id (all ones where there is none)
 */
enum { HEADER = 4, ENTRY = 8, VERSION = 2 };
enum tag { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32 };
#define NO_ID UINT32_MAX

struct list {
  uint8_t *bytes; /* owned */
  size_t size;
};

static size_t count_of(const struct list *list) {
  return list->size < HEADER ? 0 : (list->size - HEADER) / ENTRY;
}

static uint8_t *entry(const struct list *list, size_t i) {
  return list->bytes + HEADER + i * ENTRY;
}

static unsigned tag_of(const struct list *list, size_t i) {
  return load16(entry(list, i));
}

static unsigned rights_of(const struct list *list, size_t i) {
  return load16(entry(list, i) + 2);
}

static void set_rights(struct list *list, size_t i, unsigned rights) {
  store16(entry(list, i) + 2, (uint16_t)rights);
}

static uint32_t id_of(const struct list *list, size_t i) {
  return load32(entry(list, i) + 4);
}

/* The entry of that tag, of which there is only one; or the count. */
static size_t find(const struct list *list, enum tag tag) {
  size_t i = 0;
  while (i < count_of(list) && tag_of(list, i) != tag)
    i++;
  return i;
}

/* Which entry bounds the rights of the group class: the mask, or else the owning group. */
static size_t find_group_class(const struct list *list) {
  size_t mask = find(list, MASK);
  return mask < count_of(list) ? mask : find(list, GROUP_OBJ);
}

/* The tags come in ascending order, the middle ones any number of times, the mask if there are
 * such. */
static bool is_complete(const struct list *list) {
  unsigned seen = 0, last = 0;
  for (size_t i = 0; i < count_of(list); i++) {
    unsigned tag = tag_of(list, i);
    bool named = tag == USER || tag == GROUP;
    bool known = named || tag == USER_OBJ || tag == GROUP_OBJ || tag == MASK || tag == OTHER;
    if (!known || tag < last || (tag == last && !named) || rights_of(list, i) > 7 ||
        (named && id_of(list, i) == NO_ID))
      return false;
    last = tag;
    seen |= tag;
  }
  const unsigned needed = USER_OBJ | GROUP_OBJ | OTHER;
  return (seen & needed) == needed && (!(seen & (USER | GROUP)) || seen & MASK);
}

/* A copy of a list that is valid; of one without entries, no bytes. */
static int parse(const void *value, size_t size, struct list *list) {
  *list = (struct list){0};
  if (size == 0)
    return 0;
  if (size < HEADER || (size - HEADER) % ENTRY != 0 || size > XATTR_LARGEST)
    return -EINVAL;
  if (load32(value) != VERSION)
    return -EOPNOTSUPP;
  if (size == HEADER)
    return 0;
  *list = (struct list){malloc(size), size};
  if (!list->bytes)
    return -ENOMEM;
  memcpy(list->bytes, value, size);
  for (size_t i = 0; i < count_of(list); i++)
    if (tag_of(list, i) != USER && tag_of(list, i) != GROUP)
      store32(entry(list, i) + 4, NO_ID);
  if (is_complete(list))
    return 0;
  free(list->bytes);
  *list = (struct list){0};
  return -EINVAL;
}

/* -------------------------------------------------------------------- and mode */

/* Whether a mode says as much as the list: that has the three entries only. */
static bool is_minimal(const struct list *list) {
  return count_of(list) == 3;
}

static uint32_t mode_of(const struct list *list) {
  return rights_of(list, find(list, USER_OBJ)) << 6 | rights_of(list, find_group_class(list)) << 3 |
         rights_of(list, find(list, OTHER));
}

static void set_mode(struct list *list, uint32_t mode) {
  set_rights(list, find(list, USER_OBJ), mode >> 6 & 7);
  set_rights(list, find_group_class(list), mode >> 3 & 7);
  set_rights(list, find(list, OTHER), mode & 7);
}

/* -------------------------------------------------------------------- of a node */

/* A list that is kept, or one without bytes. */
static int load(casefs_node *node, const char *name, struct list *list) {
  *list = (struct list){0};
  int length = xattr_get_kept(node, name, NULL, 0);
  if (length <= 0)
    return length == -ENODATA ? 0 : length;
  uint8_t *bytes = malloc((size_t)length);
  if (!bytes)
    return -ENOMEM;
  int r = xattr_get_kept(node, name, bytes, (size_t)length);
  if (r >= 0) {
    r = parse(bytes, (size_t)r, list);
    if (r == -EINVAL || r == -EOPNOTSUPP)
      r = -EUCLEAN;
  }
  free(bytes);
  return r == -ENODATA ? 0 : r;
}

static int remove_kept(casefs_node *node, const char *name) {
  int r = xattr_remove_kept(node, name);
  return r == -ENODATA ? 0 : r;
}

/* A list without bytes: none. */
static int keep(casefs_node *node, const char *name, const struct list *list) {
  return list->bytes ? xattr_set_kept(node, name, list->bytes, list->size)
                     : remove_kept(node, name);
}

static int set_access(casefs_node *node, const struct casefs_attributes *attributes,
                      const struct list *list, bool keep_setgid) {
  struct casefs_attributes to_set = {.mode = attributes->mode, .changed = casefs_now()};
  bool kept = list->bytes && !is_minimal(list);
  int r = kept ? keep(node, ACL_ACCESS, list) : remove_kept(node, ACL_ACCESS);
  if (list->bytes) {
    to_set.mode = (attributes->mode & ~0777u) | mode_of(list);
    if (!keep_setgid)
      to_set.mode &= ~(uint32_t)S_ISGID;
  }
  return r == 0 ? casefs_set_attributes(node, CASEFS_MODE | CASEFS_CHANGED, &to_set) : r;
}

static int set_default(casefs_node *node, const struct casefs_attributes *attributes,
                       const struct list *list) {
  const struct casefs_attributes to_set = {.changed = casefs_now()};
  if (attributes->type != CASEFS_DIRECTORY)
    return list->bytes ? -EACCES : 0;
  int r = keep(node, ACL_DEFAULT, list);
  return r == 0 ? casefs_set_attributes(node, CASEFS_CHANGED, &to_set) : r;
}

int acl_set(casefs_node *node, const char *name, const void *value, size_t size, bool keep_setgid) {
  struct casefs_attributes attributes;
  struct list list;
  int r = casefs_get_attributes(node, &attributes);
  if (r < 0)
    return r;
  if (attributes.type == CASEFS_SYMLINK || attributes.type == CASEFS_STREAM)
    return -EOPNOTSUPP;
  r = parse(value, size, &list);
  if (r < 0)
    return r;
  r = strcmp(name, ACL_ACCESS) == 0 ? set_access(node, &attributes, &list, keep_setgid)
                                    : set_default(node, &attributes, &list);
  free(list.bytes);
  return r;
}

int acl_change_mode(casefs_node *node, uint32_t mode) {
  struct list list;
  int r = load(node, ACL_ACCESS, &list);
  if (r < 0 || !list.bytes)
    return r;
  set_mode(&list, mode);
  r = keep(node, ACL_ACCESS, &list);
  free(list.bytes);
  return r;
}

/* ------------------------------------------------------------------ inheriting */

/* Take from both, list and mode, what the other does not grant. */
static uint32_t restrict_both(struct list *list, uint32_t mode) {
  uint32_t granted = mode_of(list) & mode & 0777;
  set_mode(list, granted);
  return (mode & ~0777u) | granted;
}

int acl_inherit(casefs_node *directory, bool is_directory, uint32_t umask, uint32_t *mode,
                struct acl_inheritance *inheritance) {
  struct list list;
  *inheritance = (struct acl_inheritance){0};
  int r = load(directory, ACL_DEFAULT, &list);
  if (r < 0)
    return r;
  if (!list.bytes) {
    *mode &= ~(umask & 0777);
    return 0;
  }
  if (is_directory) {
    inheritance->inherited = malloc(list.size);
    inheritance->inherited_size = list.size;
    if (!inheritance->inherited) {
      free(list.bytes);
      return -ENOMEM;
    }
    memcpy(inheritance->inherited, list.bytes, list.size);
  }
  *mode = restrict_both(&list, *mode);
  if (is_minimal(&list)) {
    free(list.bytes);
  } else {
    inheritance->access = list.bytes;
    inheritance->access_size = list.size;
  }
  return 0;
}

int acl_give(casefs_node *node, const struct acl_inheritance *inheritance) {
  const struct list access = {inheritance->access, inheritance->access_size};
  const struct list inherited = {inheritance->inherited, inheritance->inherited_size};
  int r = access.bytes ? keep(node, ACL_ACCESS, &access) : 0;
  return r == 0 && inherited.bytes ? keep(node, ACL_DEFAULT, &inherited) : r;
}

void acl_inheritance_clear(struct acl_inheritance *inheritance) {
  free(inheritance->access);
  free(inheritance->inherited);
  *inheritance = (struct acl_inheritance){0};
}

/* ----------------------------------------------------------------- permissions */

static bool mode_permits(const struct casefs_attributes *attributes, const struct caller *caller,
                         unsigned rights) {
  unsigned shift = caller->uid == attributes->uid              ? 6
                   : caller_has_group(caller, attributes->gid) ? 3
                                                               : 0;
  return (attributes->mode >> shift & rights) == rights;
}

/* Whether an entry is of a group that the caller is in. */
static bool is_of_group(const struct list *list, size_t i,
                        const struct casefs_attributes *attributes, const struct caller *caller) {
  unsigned tag = tag_of(list, i);
  return (tag == GROUP_OBJ && caller_has_group(caller, attributes->gid)) ||
         (tag == GROUP && caller_has_group(caller, id_of(list, i)));
}

/* acl(5), "Access check algorithm" */
static bool list_permits(const struct list *list, const struct casefs_attributes *attributes,
                         const struct caller *caller, unsigned rights) {
  size_t mask = find(list, MASK);
  unsigned bound = mask < count_of(list) ? rights_of(list, mask) : 7;
  bool in_group = false;
  if (caller->uid == attributes->uid)
    return (rights_of(list, find(list, USER_OBJ)) & rights) == rights;
  for (size_t i = 0; i < count_of(list); i++)
    if (tag_of(list, i) == USER && id_of(list, i) == caller->uid)
      return (rights_of(list, i) & bound & rights) == rights;
  for (size_t i = 0; i < count_of(list); i++) {
    if (!is_of_group(list, i, attributes, caller))
      continue;
    in_group = true;
    if ((rights_of(list, i) & rights) == rights)
      return (bound & rights) == rights;
  }
  return !in_group && (rights_of(list, find(list, OTHER)) & rights) == rights;
}

int acl_permits(casefs_node *node, const struct casefs_attributes *attributes,
                const struct caller *caller, unsigned rights) {
  struct list list;
  if (caller->uid == 0)
    return 0;
  int r = load(node, ACL_ACCESS, &list);
  if (r < 0)
    return r;
  bool permitted = list.bytes ? list_permits(&list, attributes, caller, rights)
                              : mode_permits(attributes, caller, rights);
  free(list.bytes);
  return permitted ? 0 : -EACCES;
}
