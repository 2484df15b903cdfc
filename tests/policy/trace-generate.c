/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Generated traces.  The same on each machine and run.
 */

#include "trace-number.h"
#include "trace.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECTORS = 60000, ACCESSES = 1000000 };

static uint64_t random_state;

static uint64_t random_number(void) {
  uint64_t value = random_state += UINT64_C(0x9e3779b97f4a7c15);
  value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
  return value ^ value >> 31;
}

static uint32_t random_below(uint32_t limit) {
  return (uint32_t)((random_number() >> 32) * limit >> 32);
}

/* A Zipf distribution over sectors in no order. */
struct zipf {
  uint32_t count;
  double *sums;
  uint32_t *places;
};

static int zipf_make(struct zipf *zipf, uint32_t count, double exponent) {
  zipf->count = count;
  zipf->sums = malloc(count * sizeof(*zipf->sums));
  zipf->places = malloc(count * sizeof(*zipf->places));
  if (!zipf->sums || !zipf->places)
    return -1;
  double sum = 0;
  for (uint32_t i = 0; i < count; i++) {
    zipf->sums[i] = sum += pow(i + 1, -exponent);
    uint32_t other = random_below(i + 1);
    zipf->places[i] = zipf->places[other];
    zipf->places[other] = i;
  }
  return 0;
}

static void zipf_free(struct zipf *zipf) {
  free(zipf->sums);
  free(zipf->places);
}

static uint32_t zipf_draw(const struct zipf *zipf) {
  double at = (double)(random_number() >> 11) * 0x1p-53 * zipf->sums[zipf->count - 1];
  uint32_t low = 0, high = zipf->count - 1;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (zipf->sums[middle] <= at)
      low = middle + 1;
    else
      high = middle;
  }
  return zipf->places[low];
}

static int fill_zipf(uint32_t *sectors, double exponent) {
  struct zipf zipf;
  if (zipf_make(&zipf, SECTORS, exponent))
    return -1;
  for (size_t i = 0; i < ACCESSES; i++)
    sectors[i] = zipf_draw(&zipf);
  zipf_free(&zipf);
  return 0;
}

/* Zipf accesses to half of the sectors; a fifth of the time, in fifty stretches,
 * a scan reads on in the other half. */
static int fill_scan_zipf(uint32_t *sectors) {
  struct zipf zipf;
  if (zipf_make(&zipf, SECTORS / 2, 0.9))
    return -1;
  uint32_t scanned = 0;
  for (size_t i = 0; i < ACCESSES; i++)
    sectors[i] =
        i / (ACCESSES / 50) % 5 == 4 ? SECTORS / 2 + scanned++ % (SECTORS / 2) : zipf_draw(&zipf);
  zipf_free(&zipf);
  return 0;
}

/* The same, but each access in three is the scan's, over twice as many. */
static int fill_scan_mixed(uint32_t *sectors) {
  struct zipf zipf;
  if (zipf_make(&zipf, SECTORS / 2, 0.9))
    return -1;
  uint32_t scanned = 0;
  for (size_t i = 0; i < ACCESSES; i++)
    sectors[i] = i % 3 ? zipf_draw(&zipf) : SECTORS / 2 + scanned++ % SECTORS;
  zipf_free(&zipf);
  return 0;
}

static int fill_loop(uint32_t *sectors) {
  for (size_t i = 0; i < ACCESSES; i++)
    sectors[i] = (uint32_t)(i % SECTORS);
  return 0;
}

/* Loops of three lengths, one inside the other's pauses. */
static int fill_loops(uint32_t *sectors) {
  static const uint32_t lengths[] = {SECTORS / 30, SECTORS / 6, SECTORS * 4 / 5};
  static const uint32_t begins[] = {0, SECTORS / 30, SECTORS / 5};
  uint32_t at[3] = {0};
  for (size_t i = 0; i < ACCESSES; i++) {
    unsigned which = random_below(3);
    sectors[i] = begins[which] + at[which]++ % lengths[which];
  }
  return 0;
}

/* Nine accesses in ten go to a twelfth of the sectors, which changes eight times. */
static int fill_shifting(uint32_t *sectors) {
  for (size_t i = 0; i < ACCESSES; i++) {
    uint32_t hot = (uint32_t)(i / (ACCESSES / 8)) % 12 * (SECTORS / 12);
    sectors[i] = random_below(10) ? hot + random_below(SECTORS / 12) : random_below(SECTORS);
  }
  return 0;
}

/* A Zipf distribution that moves on by a sector each twenty accesses. */
static int fill_drifting(uint32_t *sectors) {
  struct zipf zipf;
  if (zipf_make(&zipf, SECTORS / 2, 0.9))
    return -1;
  for (size_t i = 0; i < ACCESSES; i++)
    sectors[i] = (zipf_draw(&zipf) + (uint32_t)(i / 20)) % SECTORS;
  zipf_free(&zipf);
  return 0;
}

const char *const trace_names[] = {"zipf-0.7", "zipf-0.8",  "zipf-0.9",   "zipf-1.0", "zipf-1.1",
                                   "zipf-1.2", "scan+zipf", "scan-mixed", "loop",     "loops",
                                   "shifting", "drifting",  NULL};

static int fill(const char *name, uint32_t *sectors) {
  if (!strncmp(name, "zipf-", 5))
    return fill_zipf(sectors, strtod(name + 5, NULL));
  if (!strcmp(name, "scan+zipf"))
    return fill_scan_zipf(sectors);
  if (!strcmp(name, "scan-mixed"))
    return fill_scan_mixed(sectors);
  if (!strcmp(name, "loop"))
    return fill_loop(sectors);
  if (!strcmp(name, "loops"))
    return fill_loops(sectors);
  if (!strcmp(name, "shifting"))
    return fill_shifting(sectors);
  return fill_drifting(sectors);
}

int trace_generate(const char *name, struct trace *trace) {
  random_state = 1;
  *trace = (struct trace){.count = ACCESSES};
  snprintf(trace->name, sizeof(trace->name), "%s", name);
  uint32_t *sectors = malloc(ACCESSES * sizeof(*sectors));
  uint64_t *numbers = malloc(ACCESSES * sizeof(*numbers));
  int result = -1;
  if (sectors && numbers && !fill(name, sectors)) {
    for (size_t i = 0; i < ACCESSES; i++)
      numbers[i] = sectors[i];
    result = trace_number(trace, numbers, ACCESSES);
  }
  if (result)
    fprintf(stderr, "%s: not enough memory.\n", name);
  free(sectors);
  free(numbers);
  return result;
}
