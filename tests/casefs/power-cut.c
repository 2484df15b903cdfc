/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Power cuts at every moment of many workloads: whatever part of what was not
 * flushed is left, the volume opens, checks clean, and holds exactly one of the
 * states between the last that was synced and the last that was asked for.
 *
 *     power-cut [--states N] [--seconds N] [--seed N] [--all]
 *     power-cut --replay 'SPEC'      as a failure has printed it
 *
 * A workload runs once, on a disk that remembers what it was asked for; each
 * cut is made from that afterwards.  A state is one distinct image that a cut
 * can leave; equal ones are checked once.
 */

#include "emulator.h"
#include "history.h"
#include "workload.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
  VOLUME_SIZE = 4 << 20,
  SMALL_LIMIT = 16 << 10, /* of what is changed in memory, so that commits come by themselves */
  MAX_STEPS = 1000,
  MAX_CHOICES = 4096,
  MAX_TEXT = 1 << 17,
  SAMPLES = 4,      /* random survivors of each cut, besides those that are always tried */
  EXHAUSTIVE = 3,   /* choices up to which all subsets are tried */
  NESTED_EVERY = 61 /* survivors of which the recovery is cut as well */
};

/* ---------------------------------------------------------------- what is tried */

/* One way to run a workload. */
struct experiment {
  bool insensitive; /* the root */
  bool small_limit; /* commits by themselves */
  bool close;       /* and cut that too */
  uint64_t garbage; /* seed of what discarded ranges hold; 0: what was there */
  uint64_t random;  /* operations to be made up; 0: the text's */
  uint64_t seed;
  char text[MAX_TEXT];
};

/* One survivor of it. */
struct cut {
  size_t at;
  uint64_t tear;
  unsigned char keep[MAX_CHOICES / 8];
};

/* What is run on a survivor when its recovery is cut too. */
static const char nested_text[] = "create /after; write /after 0 9000 1; sync; unlink /after";

struct totals {
  uint64_t states, cuts, workloads, nested;
  uint64_t limit;  /* of states */
  double deadline; /* seconds of the monotonic clock */
};

static struct totals totals;

static double seconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool enough(void) {
  return totals.states >= totals.limit || seconds_now() > totals.deadline;
}

/* ------------------------------------------------------------------- failures */

/* What is tried at the moment, for the line that replays it. */
struct trial {
  const struct experiment *experiment;
  const struct playback *playback;
  const struct cut *cut;
  const struct trial *outer; /* the survivor that this one's recovery began with */
};

static void print_cut(const struct trial *trial, const char *suffix) {
  size_t bytes = (playback_choices(trial->playback) + 7) / 8;
  printf("cut%s=%zu tear%s=%" PRIu64 " keep%s=", suffix, trial->cut->at, suffix, trial->cut->tear,
         suffix);
  for (size_t i = 0; i < bytes; i++)
    printf("%02x", trial->cut->keep[i]);
  printf(" ");
}

static void print_replay(const struct trial *trial) {
  const struct trial *first = trial->outer ? trial->outer : trial;
  const struct experiment *experiment = first->experiment;
  printf("power-cut --replay 'root=%d limit=%d close=%d garbage=%" PRIu64 " ",
         experiment->insensitive, experiment->small_limit, experiment->close, experiment->garbage);
  if (first->cut)
    print_cut(first, "");
  if (trial->outer)
    printf("garbage2=%" PRIu64 " ", trial->experiment->garbage);
  if (trial->outer && trial->cut)
    print_cut(trial, "2");
  printf("workload=%s'\n", experiment->text);
  fflush(stdout);
}

static int fail(const struct trial *trial, const char *what, const char *message) {
  fprintf(stderr, "power-cut: %s: %s\n", what, message);
  print_replay(trial);
  return -1;
}

static int fail_with(const struct trial *trial, const char *what, int error) {
  return fail(trial, what, strerror(-error));
}

/* ------------------------------------------------------------------- recording */

/* A workload that has run: what the disk was asked for, and the states it went through. */
struct run {
  struct recording *recording;
  struct history history;
};

static void run_destroy(struct run *run) {
  recording_destroy(run->recording);
  history_destroy(&run->history);
}

/* Where an experiment begins. */
struct base {
  struct image *image;
  struct model *model;
};

static struct casefs_open_options open_options(const struct experiment *experiment) {
  return (struct casefs_open_options){
      .dirty_limit = experiment->small_limit ? SMALL_LIMIT : 0,
      .no_discard = false,
  };
}

/* The next operation: of the text, or made up and added to it. */
static const char *next_operation(struct experiment *experiment, const char *text,
                                  struct dice *dice, struct model *model,
                                  struct operation *operation) {
  static const struct random_profile profile = {
      .names = 12, .largest = 200000, .depth = 3, .long_names = true, .hold = true};
  char line[OPERATION_TEXT];
  if (!*text && experiment->random) {
    size_t length = strlen(experiment->text);
    experiment->random--;
    random_operation(model, dice, &profile, line);
    if (length + strlen(line) + 2 < MAX_TEXT) {
      strcat(experiment->text, length ? "; " : "");
      strcat(experiment->text, line);
      text = experiment->text + length;
    }
  }
  return operation_parse(text, operation);
}

/* Run the operations, and note the state after each. */
static int run_operations(struct experiment *experiment, struct world *world,
                          struct emulator *emulator, struct history *history) {
  struct operation operation;
  struct dice dice = dice_seed(experiment->seed);
  struct emulator_marks marks = {0};
  const char *text = experiment->text;
  for (;;) {
    text = next_operation(experiment, text, &dice, world->model, &operation);
    if (!text || operation.kind == OPERATION_KINDS || history->count > MAX_STEPS)
      break;
    marks.issued = (unsigned)history->count;
    emulator_mark(emulator, marks);
    enum world_outcome outcome = world_step(world, &operation);
    if (outcome == WORLD_WRONG)
      return -1;
    history_note(history, world->model);
    if (operation.kind == OPERATION_SYNC && outcome == WORLD_DONE)
      marks.durable = marks.issued;
    emulator_mark(emulator, marks);
  }
  if (text)
    return 0;
  snprintf(world->message, MODEL_MESSAGE, "not an operation: %.500s", operation.text);
  return -1;
}

static int record(struct experiment *experiment, const struct base *base, const struct trial *outer,
                  struct run *run) {
  struct trial trial = {.experiment = experiment, .outer = outer};
  struct emulator *emulator = emulator_open(base->image);
  struct casefs_open_options options = open_options(experiment);
  struct model *model = model_clone(base->model);
  casefs_volume *volume;
  struct world world;
  *run = (struct run){0};
  history_note(&run->history, model);
  emulator_set_garbage(emulator, experiment->garbage);
  emulator_record(emulator);
  int error = casefs_open(emulator_device(emulator), &options, &volume);
  if (error)
    return fail_with(&trial, "opening", error);
  world_start(&world, volume, model);
  world.tolerated = experiment->random ? TOLERATE_NO_SPACE : 0;
  if (run_operations(experiment, &world, emulator, &run->history) != 0)
    return fail(&trial, "running", world.message);
  world_end(&world);
  if (!experiment->close)
    run->recording = emulator_recorded(emulator);
  error = casefs_close(volume);
  if (error)
    return fail_with(&trial, "closing", error);
  unsigned last = (unsigned)run->history.count - 1;
  emulator_mark(emulator, (struct emulator_marks){last, last});
  if (experiment->close)
    run->recording = emulator_recorded(emulator);
  emulator_close(emulator);
  model_destroy(model);
  return 0;
}

/* -------------------------------------------------------------------- checking */

static int check(const struct trial *trial, struct emulator *emulator, const char *when) {
  char message[MODEL_MESSAGE];
  if (check_volume(emulator_device(emulator), message) == 0)
    return 0;
  return fail(trial, when, message);
}

/* Recover from a cut: the number of the state, or -1. */
static int recover(const struct trial *trial, const struct history *history,
                   struct emulator_marks marks, const struct image *image, bool check_twice) {
  struct emulator *emulator = emulator_open(image);
  struct casefs_open_options options = open_options(trial->experiment);
  char message[MODEL_MESSAGE];
  casefs_volume *volume;
  int state = check(trial, emulator, "checking after the cut");
  if (state == 0) {
    int error = casefs_open(emulator_device(emulator), &options, &volume);
    if (error)
      return fail_with(trial, "opening after the cut", error);
    state = history_find(history, marks, volume, message);
    if (state < 0)
      return fail(trial, "reading after the cut", message);
    error = casefs_close(volume);
    if (error)
      return fail_with(trial, "closing after the cut", error);
  }
  if (state >= 0 && check_twice && check(trial, emulator, "checking after the recovery") != 0)
    state = -1;
  emulator_close(emulator);
  return state;
}

/* --------------------------------------------------------------- images known */

/* Images that were checked, and the states they hold. */
struct known {
  struct known_image {
    uint64_t hash;
    unsigned state;
  } * images;
  size_t count, room;
};

static struct known_image *find_known(const struct known *known, uint64_t hash) {
  size_t at = hash % known->room;
  while (known->images[at].hash && known->images[at].hash != hash)
    at = (at + 1) % known->room;
  return &known->images[at];
}

static void grow_known(struct known *known) {
  struct known old = *known;
  known->room = old.room ? 4 * old.room : 256;
  known->images = model_take(known->room, sizeof *known->images);
  for (size_t i = 0; i < old.room; i++)
    if (old.images[i].hash)
      *find_known(known, old.images[i].hash) = old.images[i];
  free(old.images);
}

/* ------------------------------------------------------------------- exploring */

static int explore(struct experiment *experiment, const struct base *base,
                   const struct trial *outer);

/* Cut the recovery of a survivor as well. */
static int explore_nested(const struct trial *trial, const struct history *history,
                          const struct image *image, unsigned state) {
  static struct experiment nested;
  struct base base = {image_copy(image), history->states[state]};
  nested = (struct experiment){.close = true, .garbage = totals.states};
  strcpy(nested.text, nested_text);
  totals.nested++;
  int result = explore(&nested, &base, trial);
  image_destroy(base.image);
  return result;
}

static int try_survivor(struct trial *trial, const struct history *history, struct known *known,
                        const struct cut *cut) {
  struct emulator_marks marks = playback_marks(trial->playback);
  struct image *image = playback_survivor(trial->playback, cut->keep, cut->tear);
  trial->cut = cut;
  totals.cuts++;
  if (2 * known->count >= known->room)
    grow_known(known);
  uint64_t hash = image_hash(image) | 1;
  struct known_image *place = find_known(known, hash);
  bool is_known = place->hash && place->state >= marks.durable && place->state <= marks.issued;
  int result = 0;
  if (!is_known) {
    int state = recover(trial, history, marks, image, totals.states % 8 == 0);
    known->count += !place->hash;
    *place = (struct known_image){hash, (unsigned)state};
    totals.states++;
    if (state >= 0 && !trial->outer && totals.states % NESTED_EVERY == 0)
      result = explore_nested(trial, history, image, (unsigned)state);
    if (state < 0)
      result = -1;
  }
  image_destroy(image);
  return result;
}

static void keep_random(struct cut *cut, size_t choices, struct dice *dice) {
  uint64_t density = 1 + dice_below(dice, 3);
  memset(cut->keep, 0, sizeof cut->keep);
  for (size_t i = 0; i < choices; i++)
    if (dice_below(dice, 4) < density)
      cut->keep[i / 8] |= (unsigned char)(1u << i % 8);
}

/* All subsets of few choices; else none, all, all but what was under way, and random ones. */
static bool next_cut(struct cut *cut, size_t choices, size_t number, struct dice *dice) {
  bool all_subsets = choices <= EXHAUSTIVE;
  size_t sure = all_subsets ? (size_t)1 << choices : 3;
  cut->tear = 0;
  if (number >= sure) {
    keep_random(cut, choices, dice);
    cut->tear = dice_below(dice, 4) ? 1 + dice_below(dice, 1 << 20) : 0;
    if (cut->tear && choices) /* what is torn is there */
      cut->keep[(choices - 1) / 8] |= (unsigned char)(1u << (choices - 1) % 8);
    return number < sure + SAMPLES;
  }
  memset(cut->keep, all_subsets || number == 0 ? 0 : 0xff, sizeof cut->keep);
  if (all_subsets)
    cut->keep[0] = (unsigned char)number;
  else if (number == 2)
    cut->keep[(choices - 1) / 8] &= (unsigned char)~(1u << (choices - 1) % 8);
  return true;
}

static int explore_cut(struct trial *trial, const struct history *history, struct known *known,
                       struct dice *dice) {
  static struct cut cuts[2]; /* of the survivor, and of its recovery */
  struct cut *cut = &cuts[trial->outer != NULL];
  size_t choices = playback_choices(trial->playback);
  cut->at = trial->playback->cut;
  if (choices > MAX_CHOICES)
    return 0;
  for (size_t number = 0; next_cut(cut, choices, number, dice); number++)
    if (try_survivor(trial, history, known, cut) != 0)
      return -1;
  return 0;
}

static int explore(struct experiment *experiment, const struct base *base,
                   const struct trial *outer) {
  struct run run;
  struct playback playback;
  struct known known = {0};
  struct trial trial = {.experiment = experiment, .playback = &playback, .outer = outer};
  struct dice dice = dice_seed(experiment->seed + 1);
  if (record(experiment, base, outer, &run) != 0)
    return -1;
  playback_start(&playback, run.recording);
  int result = 0;
  do
    result = explore_cut(&trial, &run.history, &known, &dice);
  while (result == 0 && playback_next(&playback) && (!enough() || outer));
  playback_end(&playback);
  run_destroy(&run);
  free(known.images);
  return result;
}

/* -------------------------------------------------------------------- the base */

static int make_base(struct base *base, bool insensitive) {
  char message[MODEL_MESSAGE];
  int result =
      make_volume(VOLUME_SIZE, insensitive, starting_tree, &base->image, &base->model, message);
  if (result != 0)
    fprintf(stderr, "power-cut: %s\n", message);
  return result;
}

/* ------------------------------------------------------------------- workloads */

static void add_operation(struct experiment *experiment, size_t index, bool sync) {
  char line[OPERATION_TEXT];
  one_operation(index, line);
  if (experiment->text[0])
    strcat(experiment->text, "; ");
  strcat(experiment->text, line);
  if (sync)
    strcat(experiment->text, "; sync");
}

static void vary(struct experiment *experiment, uint64_t seed) {
  struct dice dice = dice_seed(seed);
  memset(experiment, 0, offsetof(struct experiment, text));
  experiment->text[0] = 0;
  experiment->insensitive = dice_below(&dice, 4) == 0;
  experiment->small_limit = dice_below(&dice, 4) == 0;
  experiment->close = dice_below(&dice, 2);
  experiment->garbage = dice_below(&dice, 4) ? 1 + dice_below(&dice, 1000) : 0;
  experiment->seed = seed;
}

/* Several operations, or a longer random run. */
static void make_sample(struct experiment *experiment, uint64_t seed) {
  struct dice dice = dice_seed(~seed);
  vary(experiment, seed);
  if (dice_below(&dice, 12) == 0) {
    experiment->random = 10 + dice_below(&dice, 60);
    return;
  }
  for (uint64_t count = 2 + dice_below(&dice, 2); count > 0; count--)
    add_operation(experiment, (size_t)dice_below(&dice, one_operation_count()),
                  dice_below(&dice, 3) == 0);
}

static int try_experiment(struct experiment *experiment, const struct base bases[2]) {
  totals.workloads++;
  return explore(experiment, &bases[experiment->insensitive], NULL);
}

/* All of one operation, with and without a sync after it, with and without small commits, closed
 * and not. */
static int run_all(struct experiment *experiment, const struct base bases[2], uint64_t seed) {
  for (size_t index = 0; index < one_operation_count(); index++)
    for (unsigned way = 0; way < 8; way++) {
      vary(experiment, seed + index * 8 + way);
      add_operation(experiment, index, way & 1);
      experiment->small_limit = way & 2;
      experiment->close = way & 4;
      if (enough())
        return 0;
      if (try_experiment(experiment, bases) != 0)
        return -1;
    }
  return 0;
}

/* By turns one of one operation, in an order that follows from the seed, and a sample of more. */
static int run_mixed(struct experiment *experiment, const struct base bases[2], uint64_t seed) {
  size_t count = one_operation_count(), step = 7919 % count;
  for (uint64_t round = 0; !enough(); round++) {
    uint64_t own = dice_mix(seed) + round;
    if (round % 2 == 0) {
      vary(experiment, own);
      add_operation(experiment, (size_t)(seed + round / 2 * step) % count, own & 1);
    } else {
      make_sample(experiment, own);
    }
    if (try_experiment(experiment, bases) != 0)
      return -1;
  }
  return 0;
}

/* ---------------------------------------------------------------------- replay */

static bool parse_keep(const char *text, struct cut *cut) {
  size_t i = 0;
  unsigned byte;
  for (; i < sizeof cut->keep && sscanf(text + 2 * i, "%2x", &byte) == 1 && text[2 * i] != ' '; i++)
    cut->keep[i] = (unsigned char)byte;
  return i > 0;
}

static bool parse_cut(const char *spec, const char *suffix, struct cut *cut) {
  char name[16];
  *cut = (struct cut){0};
  snprintf(name, sizeof name, "cut%s=", suffix);
  const char *at = strstr(spec, name);
  snprintf(name, sizeof name, "tear%s=", suffix);
  const char *tear = strstr(spec, name);
  snprintf(name, sizeof name, "keep%s=", suffix);
  const char *keep = strstr(spec, name);
  if (!at || !tear || !keep)
    return false;
  cut->at = strtoull(strchr(at, '=') + 1, NULL, 0);
  cut->tear = strtoull(strchr(tear, '=') + 1, NULL, 0);
  return parse_keep(strchr(keep, '=') + 1, cut);
}

static uint64_t parse_field(const char *spec, const char *name) {
  const char *found = strstr(spec, name);
  return found ? strtoull(found + strlen(name), NULL, 0) : 0;
}

/* Run it, and try the one survivor; with a second cut, that of its recovery. */
static int replay_cuts(struct experiment *experiment, const struct base *base,
                       const struct trial *outer, const struct cut *cuts, int count,
                       uint64_t garbage2) {
  struct run run;
  struct playback playback;
  struct known known = {0};
  struct trial trial = {experiment, &playback, NULL, outer};
  if (record(experiment, base, outer, &run) != 0)
    return -1;
  playback_start(&playback, run.recording);
  while (playback.cut < cuts->at && playback_next(&playback))
    ;
  int result = 0;
  if (playback.cut != cuts->at) {
    fprintf(stderr, "power-cut: the recording has only %zu events\n", run.recording->count);
  } else if (count == 1) {
    result = try_survivor(&trial, &run.history, &known, cuts);
  } else {
    static struct experiment nested;
    struct image *image = playback_survivor(&playback, cuts->keep, cuts->tear);
    trial.cut = cuts;
    int state = recover(&trial, &run.history, playback_marks(&playback), image, true);
    nested = (struct experiment){.close = true, .garbage = garbage2};
    strcpy(nested.text, nested_text);
    struct base next = {image, state < 0 ? NULL : run.history.states[state]};
    result = state < 0 ? -1 : replay_cuts(&nested, &next, &trial, cuts + 1, 1, 0);
    image_destroy(image);
  }
  playback_end(&playback);
  run_destroy(&run);
  free(known.images);
  return result;
}

static int replay(struct experiment *experiment, const struct base bases[2], const char *spec) {
  struct cut cuts[2];
  const char *text = strstr(spec, "workload=");
  if (!text || strlen(text) >= MAX_TEXT) {
    fputs("power-cut: no workload= in what is to be replayed\n", stderr);
    return -1;
  }
  *experiment = (struct experiment){
      .insensitive = parse_field(spec, "root=") != 0,
      .small_limit = parse_field(spec, "limit=") != 0,
      .close = parse_field(spec, "close=") != 0,
      .garbage = parse_field(spec, "garbage="),
  };
  strcpy(experiment->text, text + strlen("workload="));
  const struct base *base = &bases[experiment->insensitive];
  totals.limit = UINT64_MAX;
  if (!parse_cut(spec, "", &cuts[0]))
    return explore(experiment, base, NULL);
  int count = parse_cut(spec, "2", &cuts[1]) ? 2 : 1;
  /* commits by themselves do not come at the same moments each time */
  int attempts = experiment->small_limit ? 200 : 1;
  for (int i = 0; i < attempts; i++)
    if (replay_cuts(experiment, base, NULL, cuts, count, parse_field(spec, "garbage2=")) != 0)
      return -1;
  return 0;
}

/* ------------------------------------------------------------------------ main */

static int usage(void) {
  fputs("usage: power-cut [--states N] [--seconds N] [--seed N] [--all] [--replay SPEC]\n", stderr);
  return 2;
}

int main(int argc, char **argv) {
  static const struct option long_options[] = {
      {"states", required_argument, NULL, 'n'}, {"seconds", required_argument, NULL, 't'},
      {"seed", required_argument, NULL, 's'},   {"all", no_argument, NULL, 'a'},
      {"replay", required_argument, NULL, 'r'}, {0},
  };
  static struct experiment experiment;
  struct base bases[2];
  const char *spec = NULL;
  uint64_t seed = 1;
  bool all = false;
  double start = seconds_now();
  totals = (struct totals){.limit = UINT64_MAX, .deadline = start + 1e9};
  for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;)
    switch (option) {
    case 'n':
      totals.limit = strtoull(optarg, NULL, 0);
      break;
    case 't':
      totals.deadline = start + strtod(optarg, NULL);
      break;
    case 's':
      seed = strtoull(optarg, NULL, 0);
      break;
    case 'a':
      all = true;
      break;
    case 'r':
      spec = optarg;
      break;
    default:
      return usage();
    }
  if (argc != optind)
    return usage();
  if (totals.limit == UINT64_MAX && totals.deadline > start + 1e8 && !all)
    totals.limit = 5000;
  if (make_base(&bases[0], false) != 0 || make_base(&bases[1], true) != 0)
    return 1;
  int result = spec  ? replay(&experiment, bases, spec)
               : all ? run_all(&experiment, bases, seed)
                     : 0;
  if (result == 0 && !spec && (!all || totals.limit != UINT64_MAX))
    result = run_mixed(&experiment, bases, seed);
  if (result != 0)
    _exit(1); /* nothing was freed */
  for (int i = 0; i < 2; i++) {
    image_destroy(bases[i].image);
    model_destroy(bases[i].model);
  }
  printf("power-cut: %" PRIu64 " states of %" PRIu64 " workloads checked, no violation (%" PRIu64
         " cuts and survivors, %" PRIu64 " recoveries cut too, seed %" PRIu64 ", %.1f s)\n",
         totals.states, totals.workloads, totals.cuts, totals.nested, seed, seconds_now() - start);
  return 0;
}
