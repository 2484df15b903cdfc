/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Extended attributes: whose a name is.
 */

#include "xattrs.h"

#include "../../fs/names.h"
#include "../../fs/windows.h"
#include "acl.h"
#include "xattr-parts.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/xattr.h>

#define STREAM_LIST "ntfs.streams.list"
#define STREAM_SUFFIX ":$DATA"
#define SAMBA_STREAM "DosStream."

/* ---------------------------------------------------------------------- shared */

int hand_out(const void *bytes, size_t length, void *value, size_t size) {
  if (length > XATTR_LARGEST)
    return -E2BIG;
  if (size > 0 && size < length)
    return -ERANGE;
  if (size > 0 && length > 0)
    memcpy(value, bytes, length);
  return (int)length;
}

int check_flags(bool exists, int flags) {
  if (exists && flags & XATTR_CREATE)
    return -EEXIST;
  return !exists && flags & XATTR_REPLACE ? -ENODATA : 0;
}

bool may_have_streams(const struct casefs_attributes *attributes) {
  return attributes->type == CASEFS_FILE || attributes->type == CASEFS_DIRECTORY;
}

bool caller_has_group(const struct caller *caller, uint32_t gid) {
  for (size_t i = 0; i < caller->group_count; i++)
    if (caller->groups[i] == gid)
      return true;
  return caller->gid == gid;
}

/* ----------------------------------------------------------------------- names */

enum kind { STREAM, SAMBA, EA, KEPT, ACL, ATTRIBUTES, SECURITY, NTFS, NAMES };

struct meaning {
  enum kind kind;
  const char *name; /* of a stream or EA, or behind NTFS_PREFIX */
  size_t length;
};

static bool begins(const char *name, const char *prefix, const char **rest) {
  size_t length = strlen(prefix);
  *rest = name + length;
  return strncmp(name, prefix, length) == 0;
}

static bool is_stream_name(const char *name, size_t length) {
  return stream_name_check(name, length) == 0 && !xattr_is_hidden_stream(name, length);
}

/* Behind "user.DosStream.": with and without the suffix. */
static void find_samba_stream(const char *name, struct meaning *meaning) {
  const size_t suffix = sizeof STREAM_SUFFIX - 1;
  size_t length = strlen(name);
  if (length >= suffix && strcmp(name + length - suffix, STREAM_SUFFIX) == 0)
    length -= suffix;
  if (is_stream_name(name, length))
    *meaning = (struct meaning){SAMBA, name, length};
}

/* Behind "user.". */
static void find_user(const struct xattr_view *view, const char *name, struct meaning *meaning) {
  size_t length = strlen(name);
  const char *rest;
  *meaning = (struct meaning){KEPT, name, length};
  if (view->streams != STREAMS_NONE && begins(name, SAMBA_STREAM, &rest)) {
    find_samba_stream(rest, meaning);
    return;
  }
  if (strcmp(name, &DOSATTRIB[sizeof "user." - 1]) == 0)
    meaning->kind = ATTRIBUTES;
  else if (view->streams == STREAMS_XATTR && is_stream_name(name, length))
    meaning->kind = STREAM;
  else if (view->streams != STREAMS_XATTR && view->user_eas && ea_name_check(name, length) == 0)
    meaning->kind = EA;
}

/* -EOPNOTSUPP: of no namespace; -EINVAL: a namespace and no name. */
static int find_meaning(const struct xattr_view *view, const char *name, struct meaning *meaning) {
  const char *rest;
  *meaning = (struct meaning){.kind = KEPT};
  if (begins(name, "user.", &rest)) {
    find_user(view, rest, meaning);
    return *rest ? 0 : -EINVAL;
  }
  if (begins(name, "security.", &rest) || begins(name, "trusted.", &rest)) {
    if (strcmp(name, NTACL) == 0)
      meaning->kind = SECURITY;
    return *rest ? 0 : -EINVAL;
  }
  if (begins(name, NTFS_PREFIX, &rest))
    *meaning = (struct meaning){NTFS, rest, strlen(rest)};
  else if (strcmp(name, ACL_ACCESS) == 0 || strcmp(name, ACL_DEFAULT) == 0)
    meaning->kind = ACL;
  else if (strcmp(name, STREAM_LIST) == 0 && view->streams == STREAMS_COLON)
    meaning->kind = NAMES;
  else
    return -EOPNOTSUPP;
  return 0;
}

/* ------------------------------------------------------------------------ locks
 *
 * One attribute is more than one step here and there; so it is read and changed under a lock, which
 * nodes share by their ids. */

enum { LOCKS = 64 };
#define EIGHT(x) x, x, x, x, x, x, x, x
static pthread_rwlock_t locks[LOCKS] = {EIGHT(EIGHT(PTHREAD_RWLOCK_INITIALIZER))};

static pthread_rwlock_t *lock_of(casefs_node *node) {
  return &locks[casefs_node_id(node) % LOCKS];
}

/* What all of them begin with. */
static int begin(struct xattr_request *request, const char *name, struct meaning *meaning) {
  int r = find_meaning(request->view, name, meaning);
  return r < 0 ? r : casefs_get_attributes(request->node, &request->attributes);
}

/* ------------------------------------------------------------------------- get */

/* The kernel asks for some of them very often: nothing but the node in memory tells. */
static bool surely_missing(const struct xattr_request *request, enum kind kind) {
  if (kind == STREAM || kind == SAMBA)
    return request->attributes.streams == 0;
  return request->attributes.type == CASEFS_STREAM ||
         ((kind == KEPT || kind == ACL) && !may_keep(&request->attributes));
}

static int get(const struct xattr_request *request, const char *name, const struct meaning *meaning,
               void *value, size_t size) {
  switch (meaning->kind) {
  case STREAM:
  case SAMBA:
    return stream_get(request, meaning->name, meaning->length, meaning->kind == SAMBA, value, size);
  case EA:
    return ea_get(request, name, meaning->name, meaning->length, value, size);
  case KEPT:
  case ACL:
    return xattr_get_kept(request->node, name, value, size);
  case ATTRIBUTES:
    return dosattrib_get(request, value, size);
  case SECURITY:
    return ntacl_get(request, value, size);
  case NTFS:
    return ntfs_get(request, meaning->name, value, size);
  case NAMES:
    return stream_names(request, value, size);
  }
  return -EOPNOTSUPP;
}

int xattr_get(casefs_node *node, const struct xattr_view *view, const struct caller *caller,
              const char *name, void *value, size_t size) {
  struct xattr_request request = {.node = node, .view = view, .caller = caller};
  struct meaning meaning;
  int r = begin(&request, name, &meaning);
  if (r < 0)
    return r;
  if (surely_missing(&request, meaning.kind))
    return -ENODATA;
  pthread_rwlock_rdlock(lock_of(node));
  r = casefs_get_attributes(node, &request.attributes);
  if (r == 0)
    r = get(&request, name, &meaning, value, size);
  pthread_rwlock_unlock(lock_of(node));
  return r;
}

/* --------------------------------------------------------------------- changing */

/* The node has changed, which writing to a stream does not say. */
static int touch(const struct xattr_request *request) {
  const struct casefs_attributes to_set = {.changed = casefs_now()};
  return casefs_set_attributes(request->node, CASEFS_CHANGED, &to_set);
}

static int set_kept(const struct xattr_request *request, const char *name, const void *value,
                    size_t size, int flags) {
  int there = flags != 0 ? xattr_get_kept(request->node, name, NULL, 0) : 0;
  int r = there < 0 && there != -ENODATA ? there : flags != 0 ? check_flags(there >= 0, flags) : 0;
  return r == 0 ? xattr_set_kept(request->node, name, value, size) : r;
}

/* Who is in the file's group, or root, may leave the setgid bit there. */
static int set_acl(const struct xattr_request *request, const char *name, const void *value,
                   size_t size, unsigned *effects) {
  const struct caller *caller = request->caller;
  bool keeps = caller->uid == 0 || caller_has_group(caller, request->attributes.gid);
  *effects |= XATTR_CHANGED_ATTRIBUTES;
  return acl_set(request->node, name, value, size, keeps);
}

static int set(const struct xattr_request *request, const char *name, const struct meaning *meaning,
               const void *value, size_t size, int flags, unsigned *effects) {
  int r;
  switch (meaning->kind) {
  case STREAM:
  case SAMBA:
    r = stream_set(request, meaning->name, meaning->length, meaning->kind == SAMBA, value, size,
                   flags);
    return r == 0 ? touch(request) : r;
  case KEPT:
    r = set_kept(request, name, value, size, flags);
    return r == 0 ? touch(request) : r;
  case EA:
    return ea_set(request, name, meaning->name, meaning->length, value, size, flags, effects);
  case ACL:
    return set_acl(request, name, value, size, effects);
  case ATTRIBUTES:
    return dosattrib_set(request, value, size, flags);
  case SECURITY:
    return ntacl_set(request, value, size, flags);
  case NTFS:
    return ntfs_set(request, meaning->name, value, size, flags, effects);
  case NAMES:
    return -EPERM;
  }
  return -EOPNOTSUPP;
}

int xattr_set(casefs_node *node, const struct xattr_view *view, const struct caller *caller,
              const char *name, const void *value, size_t size, int flags, unsigned *effects) {
  struct xattr_request request = {.node = node, .view = view, .caller = caller};
  struct meaning meaning;
  int r = begin(&request, name, &meaning);
  if (r < 0)
    return r;
  if (request.attributes.type == CASEFS_STREAM)
    return -EOPNOTSUPP;
  pthread_rwlock_wrlock(lock_of(node));
  r = casefs_get_attributes(node, &request.attributes);
  if (r == 0)
    r = set(&request, name, &meaning, value, size, flags, effects);
  pthread_rwlock_unlock(lock_of(node));
  return r;
}

static int remove_one(const struct xattr_request *request, const char *name,
                      const struct meaning *meaning, unsigned *effects) {
  switch (meaning->kind) {
  case STREAM:
  case SAMBA:
    return stream_remove(request, meaning->name, meaning->length);
  case KEPT:
    return xattr_remove_kept(request->node, name);
  case EA:
    return ea_remove(request, name, meaning->name, meaning->length);
  case ACL:
    return set_acl(request, name, NULL, 0, effects);
  case ATTRIBUTES:
    return dosattrib_remove(request);
  case SECURITY:
    return ntacl_remove(request);
  case NTFS:
    return ntfs_remove(request, meaning->name);
  case NAMES:
    return -EPERM;
  }
  return -EOPNOTSUPP;
}

int xattr_remove(casefs_node *node, const struct xattr_view *view, const struct caller *caller,
                 const char *name, unsigned *effects) {
  struct xattr_request request = {.node = node, .view = view, .caller = caller};
  struct meaning meaning;
  int r = begin(&request, name, &meaning);
  if (r < 0)
    return r;
  if (request.attributes.type == CASEFS_STREAM)
    return -ENODATA;
  pthread_rwlock_wrlock(lock_of(node));
  r = casefs_get_attributes(node, &request.attributes);
  if (r == 0)
    r = remove_one(&request, name, &meaning, effects);
  pthread_rwlock_unlock(lock_of(node));
  return r;
}

/* ------------------------------------------------------------------------- list */

struct names {
  char *list;
  size_t size, used;
};

/* Add a name of up to three pieces; one that Linux cannot name is left out. */
static void add(struct names *names, const char *prefix, const char *name, size_t length,
                const char *suffix) {
  size_t before = strlen(prefix), behind = strlen(suffix);
  size_t all = before + length + behind;
  if (all >= NAME_ROOM)
    return;
  if (names->used + all + 1 <= names->size) {
    char *at = names->list + names->used;
    memcpy(at, prefix, before);
    memcpy(at + before, name, length);
    memcpy(at + before + length, suffix, behind + 1);
  }
  names->used += all + 1;
}

/* Whether "user." and a name are what the view has for that name. */
static bool is_reached(const struct xattr_view *view, const char *name, size_t length,
                       enum kind kind) {
  char copy[NAME_ROOM];
  struct meaning meaning;
  if (length >= sizeof copy)
    return false;
  memcpy(copy, name, length);
  copy[length] = '\0';
  find_user(view, copy, &meaning);
  return meaning.kind == kind;
}

static bool is_listed_kept(const struct xattr_request *request, const char *name) {
  const struct xattr_view *view = request->view;
  const char *rest;
  struct meaning meaning;
  if (find_meaning(view, name, &meaning) < 0)
    return false;
  if (begins(name, "trusted.", &rest))
    return view->list_trusted;
  if (meaning.kind == EA)
    return casefs_get_ea(request->node, meaning.name, meaning.length, NULL, 0, NULL) == -ENODATA;
  return meaning.kind == KEPT || meaning.kind == ACL || meaning.kind == SECURITY;
}

/* What a stream or EA keeps. */
static void add_kept(const struct xattr_request *request, const char *place, size_t length,
                     bool *has_ntacl, struct names *names) {
  char name[NAME_ROOM];
  if (!kept_name_of(place, length, name) || !is_listed_kept(request, name))
    return;
  *has_ntacl |= strcmp(name, NTACL) == 0;
  add(names, name, "", 0, "");
}

static void add_stream(const struct xattr_request *request, const struct casefs_entry *stream,
                       struct names *names) {
  const struct xattr_view *view = request->view;
  if (view->streams == STREAMS_SAMBA)
    add(names, "user." SAMBA_STREAM, stream->name, stream->name_length, STREAM_SUFFIX);
  else if (is_reached(view, stream->name, stream->name_length, STREAM))
    add(names, "user.", stream->name, stream->name_length, "");
}

static int add_streams(const struct xattr_request *request, bool *has_ntacl, struct names *names) {
  struct casefs_attributes attributes;
  struct casefs_cursor cursor = {0};
  struct casefs_entry stream;
  int r = 0;
  while (request->attributes.streams > 0 &&
         (r = casefs_next_stream(request->node, &cursor, &stream, &attributes)) > 0)
    if (!xattr_is_hidden_stream(stream.name, stream.name_length))
      add_stream(request, &stream, names);
    else if (attributes.size > 0)
      add_kept(request, stream.name, stream.name_length, has_ntacl, names);
  return r;
}

static int add_eas(const struct xattr_request *request, bool *has_ntacl, struct names *names) {
  const struct casefs_attributes *attributes = &request->attributes;
  bool looked_at = request->view->user_eas || !may_have_streams(attributes);
  struct casefs_cursor cursor = {0};
  struct casefs_ea ea;
  int r = 0;
  while (attributes->ea_size > 0 && looked_at &&
         (r = casefs_next_ea(request->node, &cursor, &ea)) > 0)
    if (is_kept_ea(attributes, ea.name))
      add_kept(request, ea.name, strlen(ea.name), has_ntacl, names);
    else if (is_reached(request->view, ea.name, strlen(ea.name), EA))
      add(names, "user.", ea.name, strlen(ea.name), "");
  return r;
}

static void add_system(struct xattr_request *request, bool has_ntacl, struct names *names) {
  struct casefs_attributes *attributes = &request->attributes;
  bool end = false;
  if (ea_list_get(request, NULL, 0) == -ENODATA) /* none, or only such as keep something */
    attributes->ea_size = 0;
  for (unsigned i = 0; !end; i++) {
    const char *name = ntfs_name(attributes, i, &end);
    if (name)
      add(names, NTFS_PREFIX, name, strlen(name), "");
  }
  if (may_have_streams(attributes))
    add(names, DOSATTRIB, "", 0, "");
  if (attributes->has_security && !has_ntacl)
    add(names, NTACL, "", 0, "");
}

int xattr_list(casefs_node *node, const struct xattr_view *view, char *list, size_t size) {
  struct xattr_request request = {.node = node, .view = view};
  struct names names = {list, size, 0};
  bool has_ntacl = false;
  int r = casefs_get_attributes(node, &request.attributes);
  if (r < 0 || request.attributes.type == CASEFS_STREAM)
    return r;
  pthread_rwlock_rdlock(lock_of(node));
  r = add_streams(&request, &has_ntacl, &names);
  if (r == 0)
    r = add_eas(&request, &has_ntacl, &names);
  if (r == 0 && view->list_system)
    add_system(&request, has_ntacl, &names);
  pthread_rwlock_unlock(lock_of(node));
  if (r < 0)
    return r;
  if (names.used > XATTR_LARGEST)
    return -E2BIG;
  return size > 0 && names.used > size ? -ERANGE : (int)names.used;
}
