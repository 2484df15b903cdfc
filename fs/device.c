/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which kind of device a name means.
 */

#include "device.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int device_refuse(char **error, int code, const char *format, ...) {
  va_list arguments;
  if (!error)
    return code;
  va_start(arguments, format);
  if (vasprintf(error, format, arguments) < 0)
    *error = NULL;
  va_end(arguments);
  return code;
}

/* The power of two that a unit stands for, or -1. */
static int unit_shift(const char *unit) {
  static const char prefixes[] = "KMGTPE";
  if (*unit == '\0' || strcasecmp(unit, "B") == 0)
    return 0;
  const char *prefix = strchr(prefixes, toupper((unsigned char)*unit));
  if (!prefix || (unit[1] != '\0' && strcasecmp(unit + 1, "iB") != 0))
    return -1;
  return 10 * (int)(prefix - prefixes + 1);
}

int device_parse_size(const char *text, uint64_t *size) {
  uint64_t number = 0;
  const char *at = text;
  for (; isdigit((unsigned char)*at); at++) {
    uint64_t digit = (uint64_t)(*at - '0');
    if (number > (CASEFS_MAX_SIZE - digit) / 10)
      return -EINVAL;
    number = number * 10 + digit;
  }
  int shift = unit_shift(at);
  if (at == text || shift < 0 || number > CASEFS_MAX_SIZE >> shift)
    return -EINVAL;
  *size = number << shift;
  return 0;
}

static bool is_nbd_uri(const char *name) {
  static const char *const schemes[] = {"nbd://",       "nbds://",      "nbd+unix://",
                                        "nbds+unix://", "nbd+vsock://", "nbds+vsock://"};
  for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
    if (strncasecmp(name, schemes[i], strlen(schemes[i])) == 0)
      return true;
  return false;
}

static int open_memory(const char *name, unsigned flags, struct casefs_device **device,
                       char **error) {
  uint64_t size;
  int result = device_parse_size(name + strlen("mem:"), &size);
  if (result < 0)
    return device_refuse(error, result, "'%s' is not a size in memory, such as mem:64M", name);
  result = casefs_device_open_memory(size, device);
  if (result == -EINVAL)
    return device_refuse(error, result, "'%s' is smaller than a block of %u bytes", name,
                         CASEFS_BLOCK_SIZE);
  if (result < 0)
    return device_refuse(error, result, "cannot set up '%s': %s", name, strerror(-result));
  (*device)->read_only = flags & CASEFS_DEVICE_READ_ONLY;
  return 0;
}

int casefs_device_open(const char *name, unsigned flags, uint64_t create_size,
                       struct casefs_device **device, char **error) {
  if (error)
    *error = NULL;
  if (flags & ~(unsigned)DEVICE_FLAGS)
    return device_refuse(error, -EINVAL, "'%s' is to be opened with unknown flags", name);
  if (is_nbd_uri(name))
    return casefs_device_open_nbd(name, flags, device, error);
  if (strncmp(name, "mem:", strlen("mem:")) == 0)
    return open_memory(name, flags, device, error);
  return casefs_device_open_file(name, flags, create_size, device, error);
}

void casefs_device_close(struct casefs_device *device) {
  if (device)
    device->operations->close(device);
}
