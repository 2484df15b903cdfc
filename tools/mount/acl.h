/* SPDX-License-Identifier: BSD-3-Clause
 *
 * POSIX access control lists (acl(5)), in the form that Linux has them in extended attributes
 * (<linux/posix_acl_xattr.h>: version 2, entries of tag, permissions, id).  The kernel checks
 * permissions by them; what they do to modes and to what is made in a directory is done here, as
 * the kernel's fs/posix_acl.c documents it for other file systems.
 */

#ifndef CASEFS_MOUNT_ACL_H
#define CASEFS_MOUNT_ACL_H

#include "../../fs/casefs.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

/* Set one of the two, or remove it (size 0, or no entries), which is no error if it is not there.
 * The access list changes the mode, and is not kept if the mode says as much.  keep_setgid false:
 * the caller is no member of the file's group, and has no right to have the setgid bit there.
 * Errors: -EINVAL (malformed, or incomplete), -EACCES (default list of what is no directory),
 * -EOPNOTSUPP (another version; symbolic links; streams). */
int acl_set(casefs_node *node, const char *name, const void *value, size_t size, bool keep_setgid);

/* What a new node, but for symbolic links, gets in that directory.  *mode: as asked for, and then
 * as it becomes: by the directory's default list, else by umask.  *inheritance: the lists to give
 * to it with acl_give, or NULL; to be cleared. Errors: -EUCLEAN (the directory's list is
 * malformed). */
struct acl_inheritance {
  void *access, *inherited;
  size_t access_size, inherited_size;
};
int acl_inherit(casefs_node *directory, bool is_directory, uint32_t umask, uint32_t *mode,
                struct acl_inheritance *inheritance);
int acl_give(casefs_node *node, const struct acl_inheritance *inheritance);
void acl_inheritance_clear(struct acl_inheritance *inheritance);

/* The mode is being changed: change the access list, if there is one, along.  (The mode itself is
 * the caller's to set.) */
int acl_change_mode(casefs_node *node, uint32_t mode);

/* Whether the caller may do that with a node of these attributes, by its access list or its mode,
 * as the kernel finds it: 0, -EACCES, or an error of reading.  Root may everything. */
enum acl_right { ACL_MAY_EXECUTE = 1, ACL_MAY_WRITE = 2, ACL_MAY_READ = 4 };
struct caller;
int acl_permits(casefs_node *node, const struct casefs_attributes *attributes,
                const struct caller *caller, unsigned rights);

#endif
