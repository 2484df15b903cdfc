/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The statistics again and again, until the server goes away, the output does,
 * or the user has seen enough.
 */

#ifndef SECTORSCTL_WATCH_H
#define SECTORSCTL_WATCH_H

#include <stdbool.h>
#include <stdio.h>

/* One text after the other, for a file or a pipe. */
bool watch_text(FILE *server, double seconds);

/* A screen of the terminal, until q or ^C. */
bool watch_screen(FILE *server, double seconds);

#endif
