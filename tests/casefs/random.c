/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Random operations on a volume and its model, in all case modes, on volumes so
 * small that they fill up now and then: what is refused then changes nothing.
 *
 *     random [--operations N] [--seed N] [--only ROUND] [--verbose]
 *
 * A failure prints the line that repeats its round.
 */

#include "history.h"
#include "workload.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { ROUND = 5000 /* operations on one volume */ };

/* How a round goes; all follows from the seed and the number of the round. */
struct plan {
  uint64_t size; /* of the volume */
  bool insensitive;
  struct casefs_open_options options;
  struct random_profile profile;
};

static struct plan make_plan(struct dice *dice) {
  static const uint64_t sizes[] = {1 << 20, (1 << 20) + 4096, 2 << 20, 3 << 20, 8 << 20, 64 << 20};
  struct plan plan = {
      .size = sizes[dice_below(dice, 6)],
      .insensitive = dice_below(dice, 2),
      .profile = {.names = 4 + (unsigned)dice_below(dice, 40),
                  .depth = 1 + (unsigned)dice_below(dice, 5),
                  .long_names = dice_below(dice, 2),
                  .hold = dice_below(dice, 2),
                  .sparse = dice_below(dice, 2)},
  };
  plan.profile.largest = UINT64_C(1) << (12 + dice_below(dice, 9));
  if (dice_below(dice, 8) == 0)
    plan.profile.names = 2000;
  if (dice_below(dice, 2))
    plan.options.dirty_limit = 64 << dice_below(dice, 12);
  if (dice_below(dice, 2))
    plan.options.cache_size = 16384 << dice_below(dice, 6);
  plan.options.no_discard = dice_below(dice, 4) == 0;
  return plan;
}

static bool verbose;

struct totals {
  uint64_t operations, refused, reopened, kinds[OPERATION_KINDS];
};

static int say(const char *what, const char *message) {
  fprintf(stderr, "random: %s: %s\n", what, message);
  return -1;
}

/* How things stand, for a failure. */
static void describe(const struct world *world, const struct plan *plan) {
  struct casefs_statistics statistics;
  casefs_volume_statistics(world->volume, &statistics);
  fprintf(stderr,
          "random: %" PRIu64 " bytes, %s, limit %" PRIu64 ", cache %" PRIu64 ", free %" PRIu64
          ", deferred %" PRIu64 ", dirty %" PRIu64 ", nodes %" PRIu64 ", failure %d\n",
          plan->size, plan->insensitive ? "insensitive" : "sensitive", plan->options.dirty_limit,
          plan->options.cache_size, statistics.free, statistics.deferred, statistics.dirty,
          statistics.nodes, statistics.failure);
}

/* Close, check, and open again. */
static int reopen(struct world *world, struct emulator *emulator, const struct plan *plan) {
  struct model *model = world->model;
  casefs_volume *volume;
  char message[MODEL_MESSAGE];
  world_end(world);
  int error = casefs_close(world->volume);
  if (error)
    return say("closing", strerror(-error));
  if (check_volume(emulator_device(emulator), message) != 0)
    return say("checking", message);
  error = casefs_open(emulator_device(emulator), &plan->options, &volume);
  if (error)
    return say("opening again", strerror(-error));
  error = world_start(world, volume, model);
  world->tolerated = TOLERATE_NO_SPACE;
  return error ? say("opening the root", strerror(-error)) : 0;
}

static int do_operations(struct world *world, struct emulator *emulator, const struct plan *plan,
                         struct dice *dice, struct totals *totals, uint64_t count) {
  static struct operation operation;
  char line[OPERATION_TEXT];
  for (uint64_t i = 0; i < count; i++) {
    random_operation(world->model, dice, &plan->profile, line);
    if (!operation_parse(line, &operation))
      return say("not an operation", line);
    enum world_outcome outcome = world_step(world, &operation);
    if (verbose)
      fprintf(stderr, "%" PRIu64 "%s %s\n", i, outcome == WORLD_REFUSED ? " refused" : "", line);
    if (outcome == WORLD_WRONG) {
      describe(world, plan);
      fprintf(stderr, "random: operation %" PRIu64 ": ", i);
      return say("wrong", world->message);
    }
    totals->operations++;
    totals->refused += outcome == WORLD_REFUSED;
    totals->kinds[operation.kind] += outcome == WORLD_DONE;
    if ((i % 500 == 499 || (verbose && outcome == WORLD_REFUSED)) && world_compare(world) != 0) {
      fprintf(stderr, "random: before operation %" PRIu64 ": ", i + 1);
      return say("the volume differs", world->message);
    }
    if (dice_below(dice, 900) == 0) {
      totals->reopened++;
      if (reopen(world, emulator, plan) != 0)
        return -1;
    }
  }
  return world_compare(world) == 0 ? 0 : say("at the end", world->message);
}

static int run_round(uint64_t seed, uint64_t round, uint64_t count, struct totals *totals) {
  struct dice dice = dice_seed(dice_mix(seed) + round);
  struct plan plan = make_plan(&dice);
  struct image *image;
  struct model *model = NULL;
  casefs_volume *volume;
  struct world world;
  char message[MODEL_MESSAGE];
  if (make_volume(plan.size, plan.insensitive, NULL, &image, &model, message) != 0)
    return say("a fresh volume", message);
  struct emulator *emulator = emulator_open(image);
  emulator_set_garbage(emulator, seed + round);
  image_destroy(image);
  int error = casefs_open(emulator_device(emulator), &plan.options, &volume);
  if (error)
    return say("opening", strerror(-error));
  world_start(&world, volume, model);
  world.tolerated = TOLERATE_NO_SPACE;
  int result = do_operations(&world, emulator, &plan, &dice, totals, count);
  if (result == 0)
    result = reopen(&world, emulator, &plan);
  if (result != 0)
    return result;
  world_end(&world);
  error = casefs_close(world.volume);
  emulator_close(emulator);
  model_destroy(model);
  return error ? say("closing", strerror(-error)) : 0;
}

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  static const struct option options[] = {
      {"operations", required_argument, NULL, 'n'},
      {"seed", required_argument, NULL, 's'},
      {"only", required_argument, NULL, 'o'},
      {"verbose", no_argument, NULL, 'v'},
      {0},
  };
  uint64_t operations = 100000, seed = 1, round = 0;
  bool only = false;
  static struct totals totals;
  for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
    switch (option) {
    case 'n':
      operations = strtoull(optarg, NULL, 0);
      break;
    case 's':
      seed = strtoull(optarg, NULL, 0);
      break;
    case 'o':
      round = strtoull(optarg, NULL, 0);
      only = true;
      break;
    case 'v':
      verbose = true;
      break;
    default:
      fputs("usage: random [--operations N] [--seed N] [--only ROUND] [--verbose]\n", stderr);
      return 2;
    }
  double start = seconds_now();
  do {
    uint64_t count =
        operations - totals.operations < ROUND ? operations - totals.operations : ROUND;
    if (run_round(seed, round, only ? ROUND : count, &totals) != 0) {
      printf("random --seed %" PRIu64 " --only %" PRIu64 "\n", seed, round);
      fflush(stdout);
      _exit(1); /* nothing was freed */
    }
    round++;
  } while (!only && totals.operations < operations);
  double seconds = seconds_now() - start;
  printf("random: %" PRIu64 " operations on %" PRIu64 " volumes, %" PRIu64
         " refused for space, opened again %" PRIu64
         " times, no difference (%.0f a second, seed %" PRIu64 ")\n",
         totals.operations, round, totals.refused, totals.reopened,
         (double)totals.operations / seconds, seed);
  return 0;
}
