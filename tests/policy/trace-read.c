/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Traces from files.
 */

#include "trace-number.h"
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

static int compare(const void *a, const void *b) {
  uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
  return left < right ? -1 : left > right;
}

static uint32_t place_of(const uint64_t *sorted, uint32_t count, uint64_t sector) {
  uint32_t low = 0, high = count - 1;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (sorted[middle] < sector)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

int trace_number(struct trace *trace, const uint64_t *sectors, size_t count) {
  uint64_t *sorted = malloc(count * sizeof(*sorted) + 1);
  trace->sectors = malloc(count * sizeof(*trace->sectors) + 1);
  if (!sorted || !trace->sectors) {
    free(sorted);
    return -1;
  }
  memcpy(sorted, sectors, count * sizeof(*sorted));
  qsort(sorted, count, sizeof(*sorted), compare);
  trace->count = count;
  trace->distinct = 0;
  for (size_t i = 0; i < count; i++)
    if (!i || sorted[i] != sorted[i - 1])
      sorted[trace->distinct++] = sorted[i];
  for (size_t i = 0; i < count; i++)
    trace->sectors[i] = place_of(sorted, trace->distinct, sectors[i]);
  free(sorted);
  return 0;
}

static unsigned char *read_all(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (!file)
    return NULL;
  unsigned char *bytes = NULL;
  if (!fseek(file, 0, SEEK_END)) {
    long end = ftell(file);
    rewind(file);
    bytes = end < 0 ? NULL : malloc((size_t)end + 1);
    *size = bytes ? fread(bytes, 1, (size_t)end, file) : 0;
  }
  fclose(file);
  return bytes;
}

/* The sectors of a trace of varints, in a new array. */
static uint64_t *decode(const unsigned char *bytes, size_t size, size_t *count) {
  uint64_t *sectors = malloc(size * sizeof(*sectors) + 1);
  uint64_t sector = 0, number = 0;
  unsigned shift = 0;
  *count = 0;
  for (size_t i = 0; sectors && i < size; i++) {
    number |= (uint64_t)(bytes[i] & 127) << (shift & 63);
    shift += 7;
    if (bytes[i] & 128)
      continue;
    sector += number >> 1 ^ -(number & 1);
    sectors[(*count)++] = sector++;
    number = shift = 0;
  }
  return sectors;
}

static uint64_t *decompress(const unsigned char *bytes, size_t size, size_t *count) {
  unsigned long long full = ZSTD_getFrameContentSize(bytes, size);
  if (full == ZSTD_CONTENTSIZE_ERROR || full == ZSTD_CONTENTSIZE_UNKNOWN || full > 1u << 30)
    return NULL;
  unsigned char *text = malloc((size_t)full + 1);
  uint64_t *sectors = NULL;
  if (text && ZSTD_decompress(text, (size_t)full, bytes, size) == full)
    sectors = decode(text, (size_t)full, count);
  free(text);
  return sectors;
}

static uint64_t *sectors_of(const char *path, unsigned char *bytes, size_t size, size_t *count) {
  size_t length = strlen(path);
  if (length > 4 && !strcmp(path + length - 4, ".zst"))
    return decompress(bytes, size, count);
  *count = size / sizeof(uint64_t);
  uint64_t *sectors = malloc(size + 1);
  if (sectors)
    memcpy(sectors, bytes, *count * sizeof(uint64_t));
  return sectors;
}

static void name_trace(struct trace *trace, const char *path) {
  const char *name = strrchr(path, '/');
  name = name ? name + 1 : path;
  snprintf(trace->name, sizeof(trace->name), "%.*s", (int)strcspn(name, "."), name);
}

int trace_read(const char *path, struct trace *trace) {
  *trace = (struct trace){0};
  size_t size = 0, count = 0;
  unsigned char *bytes = read_all(path, &size);
  uint64_t *sectors = bytes ? sectors_of(path, bytes, size, &count) : NULL;
  int result = sectors && count ? trace_number(trace, sectors, count) : -1;
  if (result)
    fprintf(stderr, "%s: cannot be read as a trace.\n", path);
  name_trace(trace, path);
  free(bytes);
  free(sectors);
  return result;
}

void trace_free(struct trace *trace) {
  free(trace->sectors);
  trace->sectors = NULL;
}
