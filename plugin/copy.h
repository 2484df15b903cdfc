/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Copies to and from sector memory, and the look for zeros.
 */

#ifndef SECTORS_COPY_H
#define SECTORS_COPY_H

#include <stdbool.h>
#include <stddef.h>

/* Copy out of sector memory, which another thread may be writing: what comes
 * out is to be used only if the sector's word is unchanged afterwards. */
void copy_from_sector(void *buffer, const void *memory, size_t count);

/* Copy into sector memory whose word this thread has locked.  The bytes are
 * visible to others before anything this thread stores next. */
void copy_to_sector(void *memory, const void *buffer, size_t count);

/* Set sector memory whose word this thread has locked to zeros. */
void clear_sector(void *memory, size_t count);

/* Whether all bytes are zero. */
bool is_zero(const void *buffer, size_t count);

#endif
