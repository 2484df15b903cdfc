/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Differences: which are expected, how they are told, and the counts at the end.
 */

#include "posix.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KINDS = 512, KIND = 160 };

/* Unexpected differences that look alike. */
static struct {
  char name[KIND];
  uint64_t count;
} kinds[KINDS];
static size_t kind_count;
static uint64_t expected_count, unexpected_count;

/* ------------------------------------------------------------------- expected ones */

/* Blot out the access times of "times". */
static char *without_access_times(const char *result) {
  char *copy = strdup(result);
  for (char *at = strstr(copy, "[a"); at; at = strstr(at + 2, "[a"))
    at[2] = '?';
  return copy;
}

static bool only_access_times_differ(const struct difference *difference) {
  char *reference = without_access_times(difference->results[REFERENCE]);
  char *subject = without_access_times(difference->results[SUBJECT]);
  bool same = !strcmp(reference, subject);
  free(reference);
  free(subject);
  return same;
}

static bool is_expected_by(const struct expectation *expectation,
                           const struct difference *difference) {
  if (expectation->group ? strcmp(expectation->group, difference->group) != 0
                         : strcmp("random", difference->group) != 0)
    return false;
  return !fnmatch(expectation->line, difference->line, 0) &&
         !fnmatch(expectation->reference, difference->results[REFERENCE], 0) &&
         !fnmatch(expectation->subject, difference->results[SUBJECT], 0) &&
         (!expectation->only_access_time || only_access_times_differ(difference));
}

struct expectation *expectation_of(const struct difference *difference) {
  for (size_t i = 0; i < expectation_count; i++)
    if (is_expected_by(&expectations[i], difference))
      return &expectations[i];
  return NULL;
}

/* ------------------------------------------------------------------------ telling */

static void count_kind(const struct difference *difference) {
  char name[KIND], *at;
  const char *line = difference->line;
  const char *operation = strstr(line, ": ");
  operation = operation ? operation + 2 : line;
  snprintf(name, sizeof name, "%.*s: %.60s / %.60s", (int)strcspn(operation, " "), operation,
           difference->results[REFERENCE], difference->results[SUBJECT]);
  if ((at = strchr(name, '\n')))
    strcpy(name, "the state of the directory");
  for (size_t i = 0; i < kind_count; i++)
    if (!strcmp(kinds[i].name, name)) {
      kinds[i].count++;
      return;
    }
  if (kind_count == KINDS)
    return;
  strcpy(kinds[kind_count].name, name);
  kinds[kind_count++].count = 1;
}

/* The lines of one that are not in the other. */
static void print_lines_of(const char *name, const char *text, const char *other) {
  unsigned printed = 0;
  while (*text && printed < 20) {
    size_t length = strcspn(text, "\n");
    char *line = strndup(text, length), *wrapped;
    if (asprintf(&wrapped, "\n%s\n", line) < 0)
      die("out of memory");
    char *in;
    if (asprintf(&in, "\n%s\n", other) < 0)
      die("out of memory");
    if (!strstr(in, wrapped) && ++printed)
      printf("    %-9s %.600s\n", name, line);
    free(in);
    free(wrapped);
    free(line);
    text += length;
    text += *text == '\n';
  }
}

void report_results(const char *reference, const char *subject) {
  print_lines_of("reference", reference, subject);
  print_lines_of("subject", subject, reference);
}

void report_difference(const struct difference *difference, bool verbose) {
  struct expectation *expectation = expectation_of(difference);
  if (expectation) {
    expectation->seen++;
    expected_count++;
    if (!verbose)
      return;
  } else {
    unexpected_count++;
    count_kind(difference);
  }
  printf("%s: %s: %s\n", difference->group, difference->title, difference->line);
  report_results(difference->results[REFERENCE], difference->results[SUBJECT]);
  if (expectation)
    printf("    expected: %s\n", expectation->name);
}

/* ------------------------------------------------------------------------ summary */

static bool was_run(const struct expectation *expectation, const char *only) {
  return expectation->group && (!only || !strcmp(only, expectation->group));
}

/* Expected differences of groups that ran and did not occur: their number. */
static size_t print_missing(const char *only) {
  size_t missing = 0;
  for (size_t i = 0; i < expectation_count; i++)
    if (was_run(&expectations[i], only) && expectations[i].seen == 0) {
      printf("expected, but did not occur: %s (in %s)\n", expectations[i].name,
             expectations[i].group);
      missing++;
    }
  return missing;
}

static void print_expected(void) {
  if (expected_count > 0)
    printf("\nexpected differences:\n");
  for (size_t i = 0; i < expectation_count; i++)
    if (expectations[i].seen > 0)
      printf("%8" PRIu64 "  %s: %s\n", expectations[i].seen, expectations[i].name,
             expectations[i].reason);
}

static void print_unexpected(void) {
  if (unexpected_count > 0)
    printf("\nunexpected differences (operation: reference / subject):\n");
  for (size_t i = 0; i < kind_count; i++)
    printf("%8" PRIu64 "  %s\n", kinds[i].count, kinds[i].name);
}

bool report_summary(const struct engine *engine, const char *only, bool complete) {
  print_expected();
  print_unexpected();
  size_t missing = complete ? print_missing(only) : 0;
  printf("\n%" PRIu64 " operations in %" PRIu64 " cases, %" PRIu64
         " results compared, differences: %" PRIu64 " expected, %" PRIu64 " unexpected\n",
         engine->operations, engine->cases, engine->compared, expected_count, unexpected_count);
  return unexpected_count == 0 && missing == 0;
}
