/* SPDX-License-Identifier: BSD-3-Clause */

#include "text.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

static const char units[] = "KMGTPE";

const char *size_text(uint64_t bytes, char *buffer) {
  double value = (double)bytes;
  unsigned unit = 0;
  while (value >= 999.5 && unit < strlen(units)) {
    value /= 1024;
    unit++;
  }
  if (unit == 0)
    snprintf(buffer, FIELD, "%" PRIu64, bytes);
  else
    snprintf(buffer, FIELD, value < 9.95 ? "%.1f%c" : "%.0f%c", value, units[unit - 1]);
  return buffer;
}

const char *exact_size_text(uint64_t bytes, char *buffer) {
  unsigned unit = 0;
  while (unit < strlen(units) && bytes != 0 && bytes % 1024 == 0) {
    bytes /= 1024;
    unit++;
  }
  char suffix[2] = {unit > 0 ? units[unit - 1] : '\0', '\0'};
  snprintf(buffer, FIELD, "%" PRIu64 "%s", bytes, suffix);
  return buffer;
}

const char *count_text(double count, char *buffer) {
  static const char powers[] = " kMGT";
  unsigned power = 0;
  while (count >= 999.5 && power < strlen(powers) - 1) {
    count /= 1000;
    power++;
  }
  if (power == 0)
    snprintf(buffer, FIELD, "%.0f", count);
  else
    snprintf(buffer, FIELD, count < 9.95 ? "%.1f%c" : "%.0f%c", count, powers[power]);
  return buffer;
}

const char *duration_text(uint64_t nanoseconds, char *buffer) {
  static const char *const names[] = {"ns", "us", "ms", "s"};
  double value = (double)nanoseconds;
  unsigned unit = 0;
  while (value >= 999.5 && unit < 3) {
    value /= 1000;
    unit++;
  }
  snprintf(buffer, FIELD, value < 9.95 && unit > 0 ? "%.1f%s" : "%.0f%s", value, names[unit]);
  return buffer;
}

const char *uptime_text(uint64_t nanoseconds, char *buffer) {
  uint64_t seconds = nanoseconds / 1000000000;
  uint64_t days = seconds / 86400, hours = seconds / 3600 % 24, minutes = seconds / 60 % 60;
  if (days > 0)
    snprintf(buffer, FIELD, "%" PRIu64 "d %" PRIu64 "h", days, hours);
  else if (hours > 0)
    snprintf(buffer, FIELD, "%" PRIu64 "h %" PRIu64 "m", hours, minutes);
  else
    snprintf(buffer, FIELD, "%" PRIu64 "m %" PRIu64 "s", minutes, seconds % 60);
  return buffer;
}

/* A size at the begin of text; NULL, or what is behind it. */
static const char *take_size(const char *text, uint64_t *size) {
  char *after;
  uint64_t unit = 1;
  if (!isdigit((unsigned char)*text))
    return NULL;
  uint64_t value = strtoull(text, &after, 10);
  const char *power = *after ? strchr(units, toupper((unsigned char)*after)) : NULL;
  if (power)
    unit = UINT64_C(1) << 10 * (power - units + 1);
  else if (*after == 's')
    unit = 512;
  if (power || *after == 's' || *after == 'b')
    after++;
  if (value > INT64_MAX / unit)
    return NULL;
  *size = value * unit;
  return after;
}

bool parse_size(const char *text, uint64_t *size) {
  const char *after = take_size(text, size);
  return after && *after == '\0';
}

bool parse_range(const char *text, uint64_t *offset, uint64_t *length) {
  const char *after = take_size(text, offset);
  if (!after || (*after != '-' && *after != '+'))
    return false;
  if (strcmp(after, "-") == 0) {
    *length = UINT64_MAX;
    return true;
  }
  if (!parse_size(after + 1, length))
    return false;
  if (*after == '+')
    return *length > 0;
  if (*length <= *offset)
    return false;
  *length -= *offset;
  return true;
}

int columns_of(const char *string) {
  int columns = 0;
  mbstate_t state = {0};
  while (*string) {
    wchar_t character;
    size_t bytes = mbrtowc(&character, string, MB_CUR_MAX, &state);
    if (bytes == (size_t)-1 || bytes == (size_t)-2) { /* not of this locale: one for each byte */
      state = (mbstate_t){0};
      bytes = 1;
      columns++;
    } else {
      int width = wcwidth(character);
      columns += width > 0 ? width : 0;
    }
    string += bytes;
  }
  return columns;
}

void print_padded(const char *string, int columns) {
  int width = columns_of(string);
  printf("%s%*s", string, columns > width ? columns - width : 0, "");
}

void complain(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fflush(stdout);
  fputs("sectorsctl: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
}

const json_t *member(const json_t *object, const char *key) {
  return json_object_get(object, key);
}

uint64_t number(const json_t *object, const char *key) {
  return (uint64_t)json_integer_value(member(object, key));
}

double fraction(const json_t *object, const char *key) {
  return json_number_value(member(object, key));
}

const char *text(const json_t *object, const char *key) {
  const char *value = json_string_value(member(object, key));
  return value ? value : "";
}
