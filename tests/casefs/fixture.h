/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A volume on an emulated disk for each test, and short words for what tests do
 * with it.  What cannot go wrong in a test fails it.
 */

#ifndef CASEFS_TEST_FIXTURE_H
#define CASEFS_TEST_FIXTURE_H

#include "casefs.h"
#include "emulator.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
  struct emulator *emulator;
  casefs_volume *volume;
  casefs_node *root;
};

/* Of a test: an empty volume of 8 MiB, opened; whatever was done is checked and thrown away. */
int setup_volume(void **state);
int setup_insensitive(void **state);
int teardown_volume(void **state);

/* The same by hand; size in bytes. */
struct fixture *fixture_create(uint64_t size, bool insensitive);
void fixture_destroy(struct fixture *fixture);
/* Close, check, open again. */
void reopen(struct fixture *fixture);
/* As a crash would: what was synced is all that is left. */
void crash(struct fixture *fixture);

/* A node by name in a directory, made or found. */
casefs_node *make(casefs_node *directory, const char *name, enum casefs_type type);
casefs_node *find(casefs_node *directory, const char *name);
int try_make(casefs_node *directory, const char *name, enum casefs_type type);
int try_find(casefs_node *directory, const char *name);
int unlink_name(casefs_node *directory, const char *name);
int rename_name(casefs_node *from, const char *old_name, casefs_node *to, const char *new_name,
                unsigned flags);

struct casefs_attributes attributes_of_node(casefs_node *node);
struct casefs_statistics statistics_of(struct fixture *fixture);

/* Bytes that follow from a seed. */
void write_seeded(casefs_node *node, size_t count, uint64_t offset, uint64_t seed);
void expect_seeded(casefs_node *node, size_t count, uint64_t offset, uint64_t seed);
void expect_zeros(casefs_node *node, size_t count, uint64_t offset);

/* The names of a directory, each followed by a space. */
const char *listing(casefs_node *directory);

#endif
