/* SPDX-License-Identifier: BSD-3-Clause */

#ifndef CASEFS_MODES_H
#define CASEFS_MODES_H

#include <stdbool.h>
#include <stdint.h>

/* Apply a change such as 755, u+rwx or go=u-w,a+X to permission bits.  directory: it has X always,
 * and setuid and setgid survive a short octal mode.  Returns false if the change is none. */
bool mode_apply(const char *change, uint32_t mode, bool directory, uint32_t *result);

#endif
