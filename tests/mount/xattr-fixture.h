/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the tests of extended attributes and of access control lists share: a volume in memory with
 * a node of each kind, and words to say what attributes it has.
 *
 * Linked with --wrap=malloc, so that memory can run out.
 */

#ifndef XATTR_FIXTURE_H
#define XATTR_FIXTURE_H

#include "../../tools/mount/acl.h"
#include "../../tools/mount/xattrs.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include <cmocka.h>

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])
#define TEXT(literal) literal, sizeof(literal) - 1
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

extern long allocations_left; /* that succeed; negative: as many as there are */

extern casefs_volume *volume;
extern casefs_node *root, *file, *directory, *link_node, *fifo; /* of OWNER and GROUP_OF_FILE */

extern const struct xattr_view as_xattr, as_colon, as_samba, as_none, as_eas;
extern const struct xattr_view as_all; /* as_xattr, and everything listed */

enum { OWNER = 1000, GROUP_OF_FILE = 2000, FRIEND = 1001, STRANGER = 1002 };
/* The owner is not in the file's group; the friend is, and in group 7. */
extern const struct caller by_root, by_owner, by_friend, by_stranger;

int set_up(void **state);
/* What was done must be a sound volume too. */
int tear_down(void **state);

casefs_node *make(const char *name, enum casefs_type type, uint32_t mode);
struct casefs_attributes now_of(casefs_node *node);

extern unsigned effects; /* of the last change */
int set_by(const struct caller *caller, casefs_node *node, const struct xattr_view *view,
           const char *name, const void *value, size_t size, int flags);
/* These as root. */
int set(casefs_node *node, const struct xattr_view *view, const char *name, const void *value,
        size_t size);
int remove_it(casefs_node *node, const struct xattr_view *view, const char *name);
int length_of(casefs_node *node, const struct xattr_view *view, const char *name);

/* The attribute has exactly that value, in a buffer that is just large enough, and not in a smaller
 * one. */
void expect_at(unsigned line, casefs_node *node, const struct xattr_view *view, const char *name,
               const void *value, size_t size);
#define EXPECT(node, view, name, ...) expect_at(__LINE__, node, view, name, __VA_ARGS__)

/* All names, with a blank behind each. */
void expect_list_at(unsigned line, casefs_node *node, const struct xattr_view *view,
                    const char *expected);
#define EXPECT_LIST(node, view, expected) expect_list_at(__LINE__, node, view, expected)

/* The stream has that content, of at most 64 bytes. */
void expect_stream(casefs_node *node, const char *name, const void *value, size_t size);

#endif
