/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The verbs of the program casefs, one to a file, or a few close ones.
 */

#ifndef CASEFS_VERBS_H
#define CASEFS_VERBS_H

#include "tool.h"

extern const struct verb verb_ls, verb_tree, verb_find, verb_glob, verb_stat, verb_cat, verb_cp,
    verb_mv, verb_rm, verb_mkdir, verb_ln, verb_touch, verb_chmod, verb_chown, verb_truncate,
    verb_label, verb_df, verb_case, verb_attrib, verb_stream, verb_ea, verb_acl, verb_reparse,
    verb_info, verb_priority, verb_preload, verb_check, verb_resize, verb_export, verb_import;

#endif
