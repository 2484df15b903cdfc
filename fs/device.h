/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Inside casefs: calling a device, and what its kinds share.
 */

#ifndef CASEFS_DEVICE_H
#define CASEFS_DEVICE_H

#include "casefs.h"

#include <errno.h>

/* The contracts are those of struct casefs_device_operations.  To the core a device has but few
 * errors: other numbers have meanings of their own. */
static inline int core_error(int r) {
  return r == 0 || r == -ENOMEM || r == -EROFS ? r : -EIO;
}

static inline int device_read(struct casefs_device *device, void *buffer, size_t count,
                              uint64_t offset) {
  return core_error(device->operations->read(device, buffer, count, offset));
}

static inline int device_write(struct casefs_device *device, const void *buffer, size_t count,
                               uint64_t offset, bool durable) {
  return core_error(device->operations->write(device, buffer, count, offset, durable));
}

static inline int device_flush(struct casefs_device *device) {
  return core_error(device->operations->flush(device));
}

/* 0 also where the device cannot: it is only a hint. */
static inline int device_discard(struct casefs_device *device, uint64_t count, uint64_t offset) {
  return device->operations->discard ? device->operations->discard(device, count, offset) : 0;
}

/* Put a sentence into *error, if error is not NULL; the caller frees it.  It is NULL when there is
 * no memory for it.  Returns code. */
int device_refuse(char **error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A size as people write it: digits, then K, M, G, T, P or E (powers of 1024, either case, also as
 * "KiB") or B or nothing.  0 or -EINVAL; also what is past CASEFS_MAX_SIZE is -EINVAL. */
int device_parse_size(const char *text, uint64_t *size);

/* The part of a size that devices use: whole blocks. */
static inline uint64_t device_whole_blocks(uint64_t size) {
  return size - size % CASEFS_BLOCK_SIZE;
}

#define DEVICE_FLAGS (CASEFS_DEVICE_READ_ONLY | CASEFS_DEVICE_DIRECT | CASEFS_DEVICE_CREATE)

#endif
