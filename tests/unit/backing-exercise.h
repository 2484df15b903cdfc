/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the tests of backing stores share.
 */

#ifndef BACKING_EXERCISE_H
#define BACKING_EXERCISE_H

#include "backing-kind.h"

enum { BLOCK = BACKING_ALIGNMENT, MIB = 1 << 20 };

/* Open, which must work; or must fail with that errno and a sentence that has that in it. */
struct backing *must_open(const char *place, bool read_only, uint64_t size);
struct backing *must_open_spill(const char *place, uint64_t size);
void must_refuse(const char *place, bool read_only, uint64_t size, int error, const char *sentence);
void must_refuse_spill(const char *place, uint64_t size, int error, const char *sentence);

/* An aligned buffer, full of bytes that tell which of several writes wrote them. */
unsigned char *make_bytes(size_t count, unsigned version);
void must_write(struct backing *backing, size_t count, uint64_t offset, unsigned version);
/* Version 0: zeros. */
void must_hold(struct backing *backing, size_t count, uint64_t offset, unsigned version);
bool holds(struct backing *backing, size_t count, uint64_t offset, unsigned version);

/* The extents of a range as text: "h4096 d8192 ". */
const char *extents_of(struct backing *backing, uint64_t count, uint64_t offset);

/* Every operation, on a store of at least 32 MiB that may be changed. */
void exercise(struct backing *backing);

/* Random operations of several threads on ranges of their own, against arrays in memory: the
 * number of differences and of errors. */
struct outcome {
  unsigned differences, errors;
};
struct outcome compare_with_model(struct backing *backing, unsigned rounds);

/* A folder for the test's files, and its end, for cmocka_run_group_tests. */
extern char folder[64];
int make_folder(void **state);
int remove_folder(void **state);

/* The path of a file in it.  Good until the eighth next call. */
const char *in_folder(const char *name);
void make_file(const char *path, uint64_t size);

#endif
