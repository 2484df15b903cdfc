/* SPDX-License-Identifier: BSD-3-Clause */

#include "text.h"
#include "tool.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

/* ------------------------------------------------------------------- sizes */

/* The shift of a unit, with *text moved behind it: K, KB, KiB; -1 if it is none. */
static int parse_unit(const char **text) {
  static const char units[] = "BKMGTPE";
  const char *unit = strchr(units, toupper((unsigned char)**text));
  if (**text == '\0')
    return 0;
  if (!unit)
    return -1;
  ++*text;
  if (unit > units && **text == 'i' && (*text)[1] == 'B')
    *text += 2;
  else if (unit > units && (**text == 'B' || **text == 'b'))
    ++*text;
  return (int)(unit - units) * 10;
}

bool parse_size(const char *text, uint64_t *bytes) {
  uint64_t whole = 0;
  long double fraction = 0, weight = 1;
  if (!isdigit((unsigned char)*text))
    return false;
  for (; isdigit((unsigned char)*text); text++)
    if (__builtin_mul_overflow(whole, (uint64_t)10, &whole) ||
        __builtin_add_overflow(whole, (uint64_t)(*text - '0'), &whole))
      return false;
  bool has_fraction = *text == '.' && isdigit((unsigned char)text[1]);
  if (has_fraction)
    for (text++; isdigit((unsigned char)*text); text++)
      fraction += (weight /= 10) * (*text - '0');
  int shift = parse_unit(&text);
  if (shift < 0 || *text != '\0' || (has_fraction && shift == 0) ||
      whole > CASEFS_MAX_SIZE >> shift)
    return false;
  uint64_t rest = (uint64_t)(fraction * (long double)((uint64_t)1 << shift) + 0.5L);
  *bytes = (whole << shift) + rest;
  return *bytes <= CASEFS_MAX_SIZE;
}

bool parse_range(const char *text, uint64_t *offset, uint64_t *count) {
  const char *colon = strchr(text, ':');
  if (!colon)
    return false;
  char *first = copied(text, (size_t)(colon - text));
  bool good = parse_size(first, offset) && parse_size(colon + 1, count);
  free(first);
  return good;
}

const char *size_text(uint64_t bytes, bool human, char buffer[SIZE_TEXT]) {
  static const char units[] = "BKMGTPE";
  double value = (double)bytes;
  unsigned unit = 0;
  while (human && value >= 1000 && unit < sizeof units - 2) {
    value /= 1024;
    unit++;
  }
  if (unit == 0)
    snprintf(buffer, SIZE_TEXT, "%" PRIu64, bytes);
  else
    snprintf(buffer, SIZE_TEXT, value < 9.95 ? "%.1f%c" : "%.0f%c", value, units[unit]);
  return buffer;
}

bool parse_number(const char *text, uint64_t limit, uint64_t *number) {
  uint64_t value = 0;
  if (*text == '\0')
    return false;
  for (; *text; text++)
    if (!isdigit((unsigned char)*text) || __builtin_mul_overflow(value, (uint64_t)10, &value) ||
        __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
      return false;
  *number = value;
  return value <= limit;
}

/* ------------------------------------------------------------------- times */

#define TICKS_PER_SECOND INT64_C(10000000)
#define SECONDS_TO_1970 INT64_C(11644473600)

struct timespec time_to_unix(uint64_t time) {
  return (struct timespec){.tv_sec = (time_t)(time / (uint64_t)TICKS_PER_SECOND) - SECONDS_TO_1970,
                           .tv_nsec = (long)(time % (uint64_t)TICKS_PER_SECOND) * 100};
}

uint64_t time_from_unix(struct timespec time) {
  const int64_t last = (int64_t)(UINT64_MAX / (uint64_t)TICKS_PER_SECOND) - 1 - SECONDS_TO_1970;
  if (time.tv_sec < -SECONDS_TO_1970)
    return 0;
  if (time.tv_sec > last)
    return UINT64_MAX;
  return (uint64_t)(time.tv_sec + SECONDS_TO_1970) * (uint64_t)TICKS_PER_SECOND +
         (uint64_t)time.tv_nsec / 100;
}

/* ".1234567" to ticks, with *text moved behind it; further digits are dropped.  No dot: 0. */
static bool parse_fraction(const char **text, uint64_t *ticks) {
  uint64_t weight = (uint64_t)TICKS_PER_SECOND;
  *ticks = 0;
  if (**text != '.' && **text != ',')
    return true;
  for (++*text; isdigit((unsigned char)**text); ++*text) {
    weight /= 10;
    *ticks += weight * (uint64_t)(**text - '0');
  }
  return isdigit((unsigned char)(*text)[-1]);
}

static bool combine(int64_t seconds, uint64_t ticks, uint64_t *time) {
  const int64_t last = INT64_MAX / TICKS_PER_SECOND - 1;
  if (seconds < -SECONDS_TO_1970 || seconds > last - SECONDS_TO_1970)
    return false;
  *time = (uint64_t)(seconds + SECONDS_TO_1970) * (uint64_t)TICKS_PER_SECOND + ticks;
  return true;
}

/* What follows the "@". */
static bool parse_seconds(const char *text, uint64_t *time) {
  bool negative = *text == '-';
  int64_t seconds = 0;
  uint64_t ticks;
  text += negative;
  if (!isdigit((unsigned char)*text))
    return false;
  for (; isdigit((unsigned char)*text); text++)
    if (__builtin_mul_overflow(seconds, (int64_t)10, &seconds) ||
        __builtin_add_overflow(seconds, (int64_t)(*text - '0'), &seconds))
      return false;
  if (!parse_fraction(&text, &ticks) || *text != '\0')
    return false;
  if (negative && ticks > 0) {
    seconds++;
    ticks = (uint64_t)TICKS_PER_SECOND - ticks;
  }
  return combine(negative ? -seconds : seconds, ticks, time);
}

/* Exactly that many digits, of a number from low to high, with *text moved behind them. */
static bool parse_digits(const char **text, int digits, int low, int high, int *number) {
  *number = 0;
  for (int i = 0; i < digits; i++, ++*text) {
    if (!isdigit((unsigned char)**text))
      return false;
    *number = *number * 10 + (**text - '0');
  }
  return *number >= low && *number <= high;
}

static bool skip(const char **text, char character) {
  bool there = **text == character;
  *text += there;
  return there;
}

/* "Z", "+02:00", "-0330", "+02" at the end: the seconds to take off. */
static bool parse_zone(const char *text, int64_t *offset) {
  int hours, minutes = 0, sign = *text == '-' ? -1 : 1;
  *offset = 0;
  if (skip(&text, 'Z'))
    return *text == '\0';
  if (!skip(&text, '+') && !skip(&text, '-'))
    return false;
  if (!parse_digits(&text, 2, 0, 23, &hours))
    return false;
  if (skip(&text, ':') || *text != '\0')
    if (!parse_digits(&text, 2, 0, 59, &minutes))
      return false;
  *offset = sign * (hours * 3600 + minutes * 60);
  return *text == '\0';
}

static bool parse_clock(const char **text, struct tm *parts, uint64_t *ticks) {
  if (!parse_digits(text, 2, 0, 23, &parts->tm_hour) || !skip(text, ':') ||
      !parse_digits(text, 2, 0, 59, &parts->tm_min))
    return false;
  if (!skip(text, ':'))
    return true;
  return parse_digits(text, 2, 0, 60, &parts->tm_sec) && parse_fraction(text, ticks);
}

static bool parse_date(const char **text, struct tm *parts) {
  if (!parse_digits(text, 4, 1601, 9999, &parts->tm_year) || !skip(text, '-') ||
      !parse_digits(text, 2, 1, 12, &parts->tm_mon) || !skip(text, '-') ||
      !parse_digits(text, 2, 1, 31, &parts->tm_mday))
    return false;
  parts->tm_year -= 1900;
  parts->tm_mon--;
  struct tm same = *parts;
  timegm(&same); /* the 31st of a shorter month becomes another day */
  return same.tm_mday == parts->tm_mday;
}

bool parse_time(const char *text, uint64_t *time) {
  struct tm parts = {.tm_isdst = -1};
  uint64_t ticks = 0;
  int64_t zone = 0;
  if (strcmp(text, "now") == 0) {
    *time = casefs_now();
    return true;
  }
  if (*text == '@')
    return parse_seconds(text + 1, time);
  if (!parse_date(&text, &parts))
    return false;
  if ((skip(&text, 'T') || skip(&text, ' ')) && !parse_clock(&text, &parts, &ticks))
    return false;
  skip(&text, ' ');
  if (*text == '\0')
    return combine(mktime(&parts), ticks, time);
  if (!parse_zone(text, &zone))
    return false;
  return combine((int64_t)timegm(&parts) - zone, ticks, time);
}

const char *time_iso(uint64_t time, char buffer[TIME_TEXT]) {
  struct timespec unix_time = time_to_unix(time);
  struct tm parts;
  char date[32];
  gmtime_r(&unix_time.tv_sec, &parts);
  strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
  snprintf(buffer, TIME_TEXT, "%s.%07ldZ", date, unix_time.tv_nsec / 100);
  return buffer;
}

const char *time_local(uint64_t time, bool exact, char buffer[TIME_TEXT]) {
  struct timespec unix_time = time_to_unix(time);
  struct tm parts;
  char date[32], zone[8];
  localtime_r(&unix_time.tv_sec, &parts);
  strftime(date, sizeof date, exact ? "%Y-%m-%d %H:%M:%S" : "%Y-%m-%d %H:%M", &parts);
  strftime(zone, sizeof zone, "%z", &parts);
  if (exact)
    snprintf(buffer, TIME_TEXT, "%s.%07ld %s", date, unix_time.tv_nsec / 100, zone);
  else
    snprintf(buffer, TIME_TEXT, "%s", date);
  return buffer;
}

/* ------------------------------------------------------------------- names */

size_t decode_character(const char *text, size_t length, uint32_t *character) {
  static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  uint8_t first = (uint8_t)*text;
  size_t bytes = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  *character = NOT_A_CHARACTER;
  if (bytes == 0 || first > 0xF4 || bytes > length)
    return 1;
  uint32_t value = bytes == 1 ? first : first & (0x7Fu >> bytes);
  for (size_t i = 1; i < bytes; i++) {
    if (((uint8_t)text[i] & 0xC0) != 0x80)
      return 1;
    value = value << 6 | ((uint8_t)text[i] & 0x3F);
  }
  if (value < smallest[bytes] || value > 0x10FFFF)
    return 1;
  *character = value;
  return bytes;
}

static bool is_surrogate(uint32_t character) {
  return character >= 0xD800 && character <= 0xDFFF;
}

/* Whether a terminal would do something other than show it: controls, changes of direction. */
static bool is_control(uint32_t character) {
  return character < 0x20 || (character >= 0x7F && character < 0xA0) ||
         (character >= 0x202A && character <= 0x202E) ||
         (character >= 0x2066 && character <= 0x2069) || character == 0x2028 || character == 0x2029;
}

static void escape(FILE *stream, uint32_t character) {
  if (character == '\n')
    fputs("\\n", stream);
  else if (character == '\t')
    fputs("\\t", stream);
  else
    fprintf(stream, character < 0x80 ? "\\x%02X" : "\\u%04X", character);
}

char *displayable(const char *text, size_t length) {
  char *result = NULL;
  size_t size, used;
  FILE *stream = open_memstream(&result, &size);
  for (; stream && length > 0; text += used, length -= used) {
    uint32_t character;
    used = decode_character(text, length, &character);
    if (character == NOT_A_CHARACTER)
      fprintf(stream, "\\x%02X", (uint8_t)*text);
    else if (is_control(character) || is_surrogate(character))
      escape(stream, character);
    else
      fwrite(text, 1, used, stream);
  }
  if (!stream || fclose(stream) != 0) {
    free(result);
    return copied("?", 1);
  }
  return result;
}

size_t display_width(const char *text) {
  size_t length = strlen(text), width = 0, used;
  for (; length > 0; text += used, length -= used) {
    uint32_t character;
    used = decode_character(text, length, &character);
    int columns = character == NOT_A_CHARACTER ? 1 : wcwidth((wchar_t)character);
    width += columns > 0 ? (size_t)columns : 0;
  }
  return width;
}

void print_name(FILE *stream, const char *name, size_t length) {
  if (!isatty(fileno(stream))) {
    fwrite(name, 1, length, stream);
    return;
  }
  char *safe = displayable(name, length);
  fputs(safe, stream);
  free(safe);
}

static uint8_t *put_unit(uint8_t *end, uint32_t unit) {
  *end++ = (uint8_t)unit;
  *end++ = (uint8_t)(unit >> 8);
  return end;
}

uint8_t *utf16_from_wtf8(const char *text, size_t length, size_t *size) {
  uint8_t *bytes = allocate(2 * length), *end = bytes;
  size_t used;
  for (; length > 0; text += used, length -= used) {
    uint32_t character;
    used = decode_character(text, length, &character);
    if (character == NOT_A_CHARACTER) {
      free(bytes);
      return NULL;
    }
    if (character >= 0x10000) {
      end = put_unit(end, 0xD800 + ((character - 0x10000) >> 10));
      character = 0xDC00 + ((character - 0x10000) & 0x3FF);
    }
    end = put_unit(end, character);
  }
  *size = (size_t)(end - bytes);
  return bytes;
}

static char *put_character(char *end, uint32_t character) {
  if (character < 0x80) {
    *end++ = (char)character;
  } else if (character < 0x800) {
    *end++ = (char)(0xC0 | character >> 6);
    *end++ = (char)(0x80 | (character & 0x3F));
  } else if (character < 0x10000) {
    *end++ = (char)(0xE0 | character >> 12);
    *end++ = (char)(0x80 | (character >> 6 & 0x3F));
    *end++ = (char)(0x80 | (character & 0x3F));
  } else {
    *end++ = (char)(0xF0 | character >> 18);
    *end++ = (char)(0x80 | (character >> 12 & 0x3F));
    *end++ = (char)(0x80 | (character >> 6 & 0x3F));
    *end++ = (char)(0x80 | (character & 0x3F));
  }
  return end;
}

char *wtf8_from_utf16(const uint8_t *bytes, size_t size) {
  char *text = allocate(size / 2 * 3 + 1), *end = text;
  for (size_t i = 0; i + 1 < size; i += 2) {
    uint32_t unit = bytes[i] | (uint32_t)bytes[i + 1] << 8;
    uint32_t next = i + 3 < size ? bytes[i + 2] | (uint32_t)bytes[i + 3] << 8 : 0;
    if (unit >= 0xD800 && unit < 0xDC00 && next >= 0xDC00 && next < 0xE000) {
      unit = 0x10000 + ((unit - 0xD800) << 10 | (next - 0xDC00));
      i += 2;
    }
    end = put_character(end, unit);
  }
  *end = '\0';
  return text;
}

static int digit_value(char digit) {
  static const char digits[] = "0123456789abcdef";
  const char *found = digit ? strchr(digits, tolower((unsigned char)digit)) : NULL;
  return found ? (int)(found - digits) : -1;
}

uint8_t *parse_hex(const char *text, size_t *size) {
  uint8_t *bytes = allocate(strlen(text) / 2);
  *size = 0;
  for (; *text; text++) {
    if (isspace((unsigned char)*text))
      continue;
    int high = digit_value(text[0]), low = high < 0 ? -1 : digit_value(text[1]);
    if (low < 0) {
      free(bytes);
      return NULL;
    }
    bytes[(*size)++] = (uint8_t)(high << 4 | low);
    text++;
  }
  return bytes;
}

char *hex_text(const void *bytes, size_t size) {
  char *text = allocate(2 * size + 1);
  for (size_t i = 0; i < size; i++)
    snprintf(text + 2 * i, 3, "%02x", ((const uint8_t *)bytes)[i]);
  return text;
}

static void print_hex_row(const uint8_t *bytes, size_t count, size_t offset) {
  printf("%08zx ", offset);
  for (size_t i = 0; i < 16; i++) {
    if (i < count)
      printf(i == 8 ? "  %02x" : " %02x", bytes[i]);
    else
      fputs(i == 8 ? "    " : "   ", stdout);
  }
  fputs("  |", stdout);
  for (size_t i = 0; i < count; i++)
    putchar(bytes[i] >= 0x20 && bytes[i] < 0x7F ? bytes[i] : '.');
  puts("|");
}

void print_hex_rows(const void *bytes, size_t size) {
  for (size_t offset = 0; offset < size; offset += 16)
    print_hex_row((const uint8_t *)bytes + offset, size - offset < 16 ? size - offset : 16, offset);
}

const char *uuid_text(const uint8_t uuid[16], char buffer[37]) {
  char *end = buffer;
  for (int i = 0; i < 16; i++) {
    bool dash = i == 4 || i == 6 || i == 8 || i == 10;
    end += sprintf(end, dash ? "-%02x" : "%02x", uuid[i]);
  }
  return buffer;
}

/* -------------------------------------------------------------- attributes */

static const struct {
  const char *name;
  char letter;      /* in a mode, as of ls */
  char find_letter; /* in find -type */
} types[] = {
    [CASEFS_FILE] = {"file", '-', 'f'},
    [CASEFS_DIRECTORY] = {"directory", 'd', 'd'},
    [CASEFS_SYMLINK] = {"symlink", 'l', 'l'},
    [CASEFS_FIFO] = {"fifo", 'p', 'p'},
    [CASEFS_SOCKET] = {"socket", 's', 's'},
    [CASEFS_CHARACTER_DEVICE] = {"character-device", 'c', 'c'},
    [CASEFS_BLOCK_DEVICE] = {"block-device", 'b', 'b'},
    [CASEFS_STREAM] = {"stream", '-', '\0'},
};

enum { TYPES = sizeof types / sizeof types[0] };

const char *type_name(enum casefs_type type) {
  return (unsigned)type < TYPES && types[type].name ? types[type].name : "unknown";
}

enum casefs_type type_of_mode(uint32_t mode) {
  switch (mode & S_IFMT) {
  case S_IFDIR:
    return CASEFS_DIRECTORY;
  case S_IFLNK:
    return CASEFS_SYMLINK;
  case S_IFIFO:
    return CASEFS_FIFO;
  case S_IFSOCK:
    return CASEFS_SOCKET;
  case S_IFCHR:
    return CASEFS_CHARACTER_DEVICE;
  case S_IFBLK:
    return CASEFS_BLOCK_DEVICE;
  default:
    return CASEFS_FILE;
  }
}

bool parse_type(const char *text, enum casefs_type *type) {
  for (unsigned i = CASEFS_FILE; i < CASEFS_STREAM; i++) {
    if (strcmp(text, types[i].name) == 0 || (text[0] == types[i].find_letter && text[1] == '\0')) {
      *type = (enum casefs_type)i;
      return true;
    }
  }
  return false;
}

const char *mode_text(const struct casefs_attributes *attributes, char buffer[11]) {
  static const char letters[] = "rwxrwxrwx";
  uint32_t mode = attributes->mode;
  buffer[0] = (unsigned)attributes->type < TYPES && types[attributes->type].letter
                  ? types[attributes->type].letter
                  : '?';
  for (int i = 0; i < 9; i++)
    buffer[1 + i] = mode & (0400u >> i) ? letters[i] : '-';
  if (mode & 04000)
    buffer[3] = mode & 0100 ? 's' : 'S';
  if (mode & 02000)
    buffer[6] = mode & 010 ? 's' : 'S';
  if (mode & 01000)
    buffer[9] = mode & 01 ? 't' : 'T';
  buffer[10] = '\0';
  return buffer;
}

static const struct {
  uint32_t bit;
  char letter;
  const char *name;
} dos_attributes[] = {
    {0x0001, 'R', "read-only"},   {0x0002, 'H', "hidden"},    {0x0004, 'S', "system"},
    {0x0020, 'A', "archive"},     {0x0100, 'T', "temporary"}, {0x1000, 'O', "offline"},
    {0x2000, 'I', "not-indexed"},
};

enum { DOS_ATTRIBUTES = sizeof dos_attributes / sizeof dos_attributes[0] };

const char *dos_text(uint32_t attributes, char buffer[DOS_TEXT]) {
  char *end = buffer;
  for (unsigned i = 0; i < DOS_ATTRIBUTES; i++)
    if (attributes & dos_attributes[i].bit)
      *end++ = dos_attributes[i].letter;
  if (end == buffer)
    *end++ = '-';
  *end = '\0';
  return buffer;
}

uint32_t dos_attribute(char letter) {
  for (unsigned i = 0; i < DOS_ATTRIBUTES; i++)
    if (toupper((unsigned char)letter) == dos_attributes[i].letter)
      return dos_attributes[i].bit;
  return 0;
}

const char *dos_attribute_name(unsigned i, uint32_t *bit) {
  if (i >= DOS_ATTRIBUTES)
    return NULL;
  *bit = dos_attributes[i].bit;
  return dos_attributes[i].name;
}
