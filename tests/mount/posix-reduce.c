/* SPDX-License-Identifier: BSD-3-Clause
 *
 * From the lines that led to a difference to the few that are needed for it.
 */

#include "posix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 600 };

/* Whether the last of these lines differs unexpectedly, and none before it. */
static bool still_differs(struct engine *engine, char *const *lines, size_t count) {
  uint64_t operations = engine->operations, compared = engine->compared, cases = engine->cases;
  bool differs = false;
  size_t i = 0;
  engine_begin(engine);
  for (; i < count && !differs; i++)
    if (!engine_perform(engine, lines[i]))
      differs = !expectation_of(&(struct difference){
          "random",
          "reduced",
          lines[i],
          {engine->sides[REFERENCE].result.bytes, engine->sides[SUBJECT].result.bytes}});
  differs = differs && i == count;
  struct text results[SIDES] = {0};
  for (int side = 0; side < SIDES; side++)
    text_append(&results[side], engine->sides[side].result.bytes,
                engine->sides[side].result.length);
  engine_end(engine);
  for (int side = 0; side < SIDES; side++) {
    text_clear(&engine->sides[side].result);
    text_append(&engine->sides[side].result, results[side].bytes, results[side].length);
    text_free(&results[side]);
  }
  engine->operations = operations;
  engine->compared = compared;
  engine->cases = cases;
  return differs;
}

/* Without lines from .. from + length - 1, if it still differs then. */
static void drop(struct engine *engine, char **lines, size_t *count, size_t from, size_t length) {
  char **fewer = malloc(*count * sizeof *fewer);
  if (!fewer)
    die("out of memory");
  memcpy(fewer, lines, from * sizeof *fewer);
  memcpy(fewer + from, lines + from + length, (*count - from - length) * sizeof *fewer);
  if (still_differs(engine, fewer, *count - length)) {
    *count -= length;
    memcpy(lines, fewer, *count * sizeof *lines);
  }
  free(fewer);
}

void reduce(struct engine *engine, char *const *all, size_t count) {
  char **lines = malloc(count * sizeof *lines);
  unsigned tries = 0;
  if (!lines)
    die("out of memory");
  memcpy(lines, all, count * sizeof *lines);
  if (!still_differs(engine, lines, count)) {
    printf("    does not happen again when the same lines are run anew\n");
    free(lines);
    return;
  }
  for (size_t length = count / 2; length > 0; length /= 2)
    for (size_t end = count - 1; end >= length && tries < TRIES; end -= length, tries++)
      drop(engine, lines, &count, end - length, length);
  still_differs(engine, lines, count);
  printf("    reduced to:\n");
  for (size_t i = 0; i < count; i++)
    printf("      %s\n", lines[i]);
  report_results(engine->sides[REFERENCE].result.bytes, engine->sides[SUBJECT].result.bytes);
  free(lines);
}
