/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Local files, "-" being the standard input or output, and bytes between them and nodes.
 */

#ifndef CASEFS_LOCAL_H
#define CASEFS_LOCAL_H

#include "../../fs/casefs.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* All of a file of at most limit bytes, the caller's to free; NULL with the failure reported. */
uint8_t *local_read(const char *path, size_t limit, size_t *size);
bool local_write(const char *path, const void *bytes, size_t size);

/* Open for reading; NULL with the failure reported. */
FILE *local_open(const char *path);

/* Write what a file or stream holds to the standard output; name is for messages. */
bool print_contents(casefs_node *node, const char *name);
/* Replace what a file or stream holds by what is left of a local file. */
bool store_contents(casefs_node *node, const char *name, FILE *source, const char *source_name);

#endif
