/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libFuzzer target: the input taken as a descriptor, as the text of one, as a
 * reparse point, as the names of a file and of an extended attribute.  The
 * first byte chooses which.
 */

#include "casefs.h"
#include "names.h"
#include "windows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition) {
  if (!condition)
    abort();
}

/* A text that is right has a descriptor, and the text of that gives the same bytes. */
static void fuzz_text(const char *text) {
  void *descriptor, *again;
  size_t length, length_again;
  char *error, *sddl;
  int result = casefs_security_from_sddl(text, &descriptor, &length, &error);
  if (result != 0) {
    must(result == -EINVAL && error && strncmp(error, "at character ", 13) == 0);
    free(error);
    return;
  }
  must(casefs_security_check(descriptor, length) == 0);
  must(casefs_security_to_sddl(descriptor, length, &sddl) == 0);
  must(casefs_security_from_sddl(sddl, &again, &length_again, NULL) == 0);
  must(length == length_again && memcmp(descriptor, again, length) == 0);
  free(descriptor);
  free(again);
  free(sddl);
}

/* What has a text is a descriptor, and its text is right and stays what it is. */
static void fuzz_descriptor(const uint8_t *data, size_t size) {
  char *sddl, *again;
  void *descriptor;
  size_t length;
  int valid = casefs_security_check(data, size),
      result = casefs_security_to_sddl(data, size, &sddl);
  must(valid == 0 ? result == 0 || result == -EOPNOTSUPP : valid == -EINVAL && result == -EINVAL);
  if (result != 0)
    return;
  must(casefs_security_from_sddl(sddl, &descriptor, &length, NULL) == 0);
  must(casefs_security_to_sddl(descriptor, length, &again) == 0);
  must(strcmp(sddl, again) == 0);
  free(descriptor);
  free(sddl);
  free(again);
}

static void fuzz_reparse(const uint8_t *data, size_t size) {
  static const uint8_t no_guid[16];
  int of_file = reparse_check(data, size, false), of_directory = reparse_check(data, size, true);
  must(of_directory == 0 || of_file != 0);
  if (of_directory != 0)
    return;
  uint32_t tag = reparse_tag(data);
  bool microsoft = tag >> 31;
  must(reparse_same(data, tag, microsoft ? NULL : data + 8));
  must(reparse_same(data, tag, no_guid) == microsoft);
}

static void fuzz_name(const char *name, size_t size) {
  char folded[NAME_MAX_FOLDED], again[NAME_MAX_FOLDED];
  uint8_t upper[256];
  int result = name_check(name, size);
  must(stream_name_check(name, size) == result || result == 0);
  if (ea_name_check(name, size) == 0) {
    ea_name_fold(name, size, (char *)upper);
    must(ea_name_check((const char *)upper, size) == 0);
  }
  if (result != 0)
    return;
  int64_t units = utf16_units(name, size);
  size_t length = name_fold(name, size, folded);
  must(units >= 1 && units <= CASEFS_MAX_NAME_UNITS && length <= sizeof folded);
  must(utf16_units(folded, length) == units && name_check(folded, length) == 0);
  must(name_fold(folded, length, again) == length && memcmp(folded, again, length) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return 0;
  size_t rest = size - 1;
  char *copy = malloc(rest + 1); /* aligned, and with a zero only for the text */
  if (!copy)
    return 0;
  memcpy(copy, data + 1, rest);
  copy[rest] = '\0';
  switch (data[0] % 4) {
  case 0:
    fuzz_descriptor((const uint8_t *)copy, rest);
    break;
  case 1:
    fuzz_text(copy);
    break;
  case 2:
    fuzz_reparse((const uint8_t *)copy, rest);
    break;
  default:
    fuzz_name(copy, rest);
  }
  free(copy);
  return 0;
}
