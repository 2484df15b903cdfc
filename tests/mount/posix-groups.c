/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The scripted groups, in the order in which they run.
 */

#include "posix.h"

extern const char open_cases[], create_cases[], link_cases[], remove_cases[], symlink_cases[],
    name_cases[], rename_cases[], rename_right_cases[];
extern const char mode_cases[], owner_cases[], truncate_cases[], time_cases[], access_cases[],
    sticky_cases[], change_time_cases[];
extern const char data_cases[], hole_cases[], allocate_cases[], copy_cases[], unlinked_cases[],
    map_cases[], flag_cases[];
extern const char directory_cases[], cwd_cases[], lock_cases[], special_cases[], statfs_cases[],
    exec_cases[];
extern const char xattr_cases[], acl_cases[];

const struct case_group groups[] = {
    {"open", open_cases},
    {"flags", flag_cases},
    {"create", create_cases},
    {"link", link_cases},
    {"remove", remove_cases},
    {"symlink", symlink_cases},
    {"names", name_cases},
    {"rename", rename_cases},
    {"rename-rights", rename_right_cases},
    {"mode", mode_cases},
    {"owner", owner_cases},
    {"truncate", truncate_cases},
    {"times", time_cases},
    {"changes", change_time_cases},
    {"access", access_cases},
    {"sticky", sticky_cases},
    {"data", data_cases},
    {"holes", hole_cases},
    {"allocate", allocate_cases},
    {"copy", copy_cases},
    {"unlinked", unlinked_cases},
    {"map", map_cases},
    {"directories", directory_cases},
    {"cwd", cwd_cases},
    {"locks", lock_cases},
    {"special", special_cases},
    {"statfs", statfs_cases},
    {"exec", exec_cases},
    {"xattr", xattr_cases},
    {"acl", acl_cases},
};
const size_t group_count = sizeof groups / sizeof *groups;
