/* SPDX-License-Identifier: BSD-3-Clause */
/* units-bench: what compressed units cost and save, for several sizes of them.
 *
 *   units-bench [--part codecs|units|all] [--most SIZE-IN-MIB] FILE...
 *
 * The part "codecs" compresses each file in pieces of 4 to 128 KiB and counts
 * them in granules of several sizes: from it the unit's size, zstd's level and the
 * granule were chosen.  The part "units" does it through plugin/units.c, with
 * a store's memory behind it, so that all that is wasted counts.
 *
 * Ratio: bytes of data to bytes of memory, incompressible sectors at full size.
 * Sectors of zeros are left out, as the store does not keep them at all. */

#include "store.h"
#include "units.h"

#include <errno.h>
#include <inttypes.h>
#include <lz4.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zstd.h>

enum { SECTOR = 4096, MOST_BYTES = 128 * 1024, HEADER = 32, READS = 20000 };

struct input {
  const char *name;
  unsigned char *data;
  uint64_t sectors;
};

struct codec {
  const char *name;
  enum unit_method method;
  int level;
};

static const struct codec codecs[] = {{"lz4", UNIT_LZ4, 1},
                                      {"zstd -1", UNIT_ZSTD, -1},
                                      {"zstd 1", UNIT_ZSTD, 1},
                                      {"zstd 3", UNIT_ZSTD, 3}};
static const unsigned granules[] = {128, 256, 512, 1024};
enum { CODECS = sizeof codecs / sizeof codecs[0], GRANULES = sizeof granules / sizeof granules[0] };

static void die(const char *what) {
  fprintf(stderr, "units-bench: %s: %s\n", what, strerror(errno));
  exit(1);
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t next_random(uint64_t *state, uint64_t below) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state % below;
}

static bool is_zero(const unsigned char *sector) {
  return sector[0] == 0 && memcmp(sector, sector + 1, SECTOR - 1) == 0;
}

/* Read a file's sectors that are not zeros, up to most bytes. */
static struct input load(const char *path, uint64_t most) {
  struct input input = {.name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path};
  FILE *file = fopen(path, "r");
  input.data = malloc(most);
  if (!file || !input.data)
    die(path);
  while ((input.sectors + 1) * SECTOR <= most &&
         fread(input.data + input.sectors * SECTOR, SECTOR, 1, file) == 1)
    if (!is_zero(input.data + input.sectors * SECTOR))
      input.sectors++;
  fclose(file);
  return input;
}

/* ------------------------------------------------------------------- codecs */

struct survey {
  uint64_t bytes[GRANULES];
  double compressing, reading; /* seconds; of those that went in and that came out */
  uint64_t read;
};

static void *lz4_state;
static ZSTD_CCtx *compressor;
static ZSTD_DCtx *decompressor;

static uint32_t pack(const struct codec *codec, const void *data, uint32_t size, void *packed,
                     uint32_t most) {
  if (codec->method == UNIT_LZ4) {
    int length = LZ4_compress_fast_extState(lz4_state, data, packed, (int)size, (int)most, 1);
    return length > 0 ? (uint32_t)length : 0;
  }
  size_t length = ZSTD_compress2(compressor, packed, most, data, size);
  return ZSTD_isError(length) ? 0 : (uint32_t)length;
}

/* Bring back one sector, as unit_read would. */
static void unpack(const struct codec *codec, const void *packed, uint32_t length, void *data,
                   uint32_t size, uint32_t sector) {
  if (codec->method == UNIT_LZ4)
    LZ4_decompress_safe_partial(packed, data, (int)length, (int)((sector + 1) * SECTOR), (int)size);
  else
    ZSTD_decompressDCtx(decompressor, data, size, packed, length);
}

static struct survey survey(const struct codec *codec, const struct input *input, uint32_t size) {
  static unsigned char packed[MOST_BYTES], plain[MOST_BYTES];
  struct survey result = {0};
  uint64_t state = 1;
  uint32_t most = size / 4 * 3 - HEADER;
  ZSTD_CCtx_setParameter(compressor, ZSTD_c_compressionLevel, codec->level);
  for (uint64_t at = 0; at + size <= input->sectors * SECTOR; at += size) {
    double start = seconds();
    uint32_t length = pack(codec, input->data + at, size, packed, most);
    result.compressing += seconds() - start;
    for (unsigned i = 0; i < GRANULES; i++) {
      uint32_t taken = (length + HEADER + granules[i] - 1) / granules[i] * granules[i];
      result.bytes[i] += length != 0 ? taken : size;
    }
    if (length == 0 || at / size % 8 != 0)
      continue;
    start = seconds();
    unpack(codec, packed, length, plain, size, (uint32_t)next_random(&state, size / SECTOR));
    result.reading += seconds() - start;
    result.read++;
  }
  return result;
}

static void print_codecs(const struct input *input) {
  printf("\n%s, %" PRIu64 " MiB: codecs\n", input->name, input->sectors * SECTOR >> 20);
  printf("%8s %-8s", "unit", "codec");
  for (unsigned i = 0; i < GRANULES; i++)
    printf(" ratio/%-4u", granules[i]);
  printf(" %8s %9s\n", "MB/s", "us/sector");
  for (uint32_t size = SECTOR; size <= MOST_BYTES; size *= 2) {
    for (unsigned i = 0; i < CODECS; i++) {
      struct survey s = survey(&codecs[i], input, size);
      double bytes = (double)(input->sectors * SECTOR / size * size);
      printf("%5u KiB %-8s", size / 1024, codecs[i].name);
      for (unsigned j = 0; j < GRANULES; j++)
        printf(" %10.2f", bytes / (double)s.bytes[j]);
      printf(" %8.0f %9.2f\n", bytes / s.compressing / 1e6,
             s.read ? s.reading / (double)s.read * 1e6 : 0.0);
      fflush(stdout);
    }
  }
}

/* -------------------------------------------------------------------- units */

/* Memory taken for each byte of frames. */
static double overhead(const struct units_statistics *statistics) {
  return statistics->packed ? (double)statistics->bytes / (double)statistics->packed : 0;
}

static void print_units(const struct input *input, enum unit_method method, uint32_t sectors) {
  sectors_store *store;
  struct units *units;
  uint64_t count = input->sectors / sectors, plain = 0, state = 1, reads = 0;
  uint32_t mask = sectors == 32 ? UINT32_MAX : (UINT32_C(1) << sectors) - 1;
  uint32_t *references = calloc(count + 1, sizeof *references);
  static unsigned char data[MOST_BYTES];
  if (sectors_store_create(input->sectors * SECTOR + (64 << 20), SECTOR, &store) != 0 ||
      units_create(store, &units) != 0 || !references)
    die("memory");
  double start = seconds();
  for (uint64_t i = 0; i < count; i++) {
    int error =
        unit_make(units, method, input->data + i * sectors * SECTOR, mask, 0, &references[i]);
    if (error != 0)
      plain += sectors;
  }
  double making = seconds() - start;
  struct units_statistics s;
  units_statistics(units, &s);
  start = seconds();
  for (unsigned i = 0; i < READS; i++) {
    uint32_t reference = references[next_random(&state, count)];
    if (reference == 0)
      continue;
    if (unit_read(units, reference, UINT32_C(1) << next_random(&state, sectors), data) != 0)
      die("reading");
    reads++;
  }
  double reading = seconds() - start;
  start = seconds();
  for (uint64_t i = 0; i < count; i++) {
    if (references[i] != 0 &&
        (unit_read(units, references[i], mask, data) != 0 ||
         memcmp(data, input->data + i * sectors * SECTOR, (size_t)sectors * SECTOR) != 0))
      die("reading all");
  }
  double all = seconds() - start;
  /* Nine in ten go: what is left over takes more than it needs. */
  start = seconds();
  uint64_t dropped = 0;
  for (uint64_t i = 0; i < count; i++) {
    if (references[i] == 0 || next_random(&state, 10) == 0)
      continue;
    unit_drop(units, references[i], mask);
    references[i] = 0;
    dropped++;
  }
  double dropping = seconds() - start;
  struct units_statistics sparse;
  units_statistics(units, &sparse);
  double bytes = (double)(count * sectors * SECTOR);
  printf("%5u KiB %-5s %7.2f %9.3f %9.0f %10.2f %9.0f %9.2f %9.3f\n", sectors * SECTOR / 1024,
         method == UNIT_LZ4 ? "lz4" : "zstd", bytes / (double)(s.bytes + plain * SECTOR),
         overhead(&s), bytes / making / 1e6, reads ? reading / (double)reads * 1e6 : 0.0,
         bytes / all / 1e6, dropped ? dropping / (double)dropped * 1e6 : 0.0, overhead(&sparse));
  fflush(stdout);
  for (uint64_t i = 0; i < count; i++)
    if (references[i] != 0)
      unit_drop(units, references[i], mask);
  units_destroy(units);
  sectors_store_destroy(store);
  free(references);
}

static void print_all_units(const struct input *input) {
  printf("\n%s, %" PRIu64 " MiB: units\n", input->name, input->sectors * SECTOR >> 20);
  printf("%9s %-5s %7s %9s %9s %10s %9s %9s %9s\n", "unit", "", "ratio", "overhead", "make MB/s",
         "us/sector", "read MB/s", "us/drop", "sparse");
  for (unsigned i = 0; i < 2; i++)
    for (uint32_t sectors = 1; sectors <= UNIT_SECTORS; sectors *= 2)
      print_units(input, i == 0 ? UNIT_LZ4 : UNIT_ZSTD, sectors);
}

int main(int argc, char *argv[]) {
  const char *part = "all";
  uint64_t most = UINT64_C(256) << 20;
  int i = 1;
  for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
    if (strcmp(argv[i], "--part") == 0)
      part = argv[i + 1];
    else if (strcmp(argv[i], "--most") == 0)
      most = strtoull(argv[i + 1], NULL, 10) << 20;
  }
  if (i >= argc || most == 0) {
    fprintf(stderr, "usage: units-bench [--part codecs|units|all] [--most MIB] FILE...\n");
    return 2;
  }
  lz4_state = malloc((size_t)LZ4_sizeofState());
  compressor = ZSTD_createCCtx();
  decompressor = ZSTD_createDCtx();
  if (!lz4_state || !compressor || !decompressor)
    die("memory");
  for (; i < argc; i++) {
    struct input input = load(argv[i], most);
    if (strcmp(part, "units") != 0)
      print_codecs(&input);
    if (strcmp(part, "codecs") != 0)
      print_all_units(&input);
    free(input.data);
  }
  free(lz4_state);
  ZSTD_freeCCtx(compressor);
  ZSTD_freeDCtx(decompressor);
  return 0;
}
