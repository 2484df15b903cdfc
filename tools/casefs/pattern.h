/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Patterns of names: '*' any characters, '?' one, [abc], [a-z], [!abc] one of these or none of
 * them.  There is no character that takes these away their meaning: [*] is a star.
 */

#ifndef CASEFS_PATTERN_H
#define CASEFS_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

bool pattern_match(const char *pattern, size_t pattern_length, const char *name, size_t name_length,
                   bool insensitive);

/* Whether the pattern can match more than itself. */
bool pattern_is_wild(const char *pattern, size_t length);

#endif
