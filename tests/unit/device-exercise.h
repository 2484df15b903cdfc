/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the tests of devices share.
 */

#ifndef DEVICE_EXERCISE_H
#define DEVICE_EXERCISE_H

#include "device.h"

/* Open, which must work. */
struct casefs_device *must_open(const char *name, unsigned flags, uint64_t create_size);

/* Open, which must fail with that errno and a sentence that has that in it. */
void must_refuse(const char *name, unsigned flags, uint64_t create_size, int error,
                 const char *sentence);

/* Bytes that tell where they belong, and which of several writes wrote them. */
void fill(void *buffer, size_t count, uint64_t offset, uint64_t version);
void must_hold(struct casefs_device *device, size_t count, uint64_t offset, uint64_t version);
void must_write(struct casefs_device *device, size_t count, uint64_t offset, uint64_t version,
                bool durable);

/* Write, read back, overwrite, flush and discard, in requests of many sizes, on a device of at
 * least 16 MiB. */
void exercise(struct casefs_device *device);

uint64_t next_random(uint64_t *state, uint64_t below);

/* A folder for the test's files, and its end, for cmocka_run_group_tests. */
extern char folder[64];
int make_folder(void **state);
int remove_folder(void **state);

/* The path of a file in it.  Good until the eighth next call. */
const char *in_folder(const char *name);

#endif
