/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A server under load, round after round, each of which ends in one of several ways; then all that
 * the volumes hold is checked against what was written.
 *
 *     tiers-stress --server COMMAND --socket PATH [OPTION...]
 *
 * The ways that rounds can end, of which --end lists some:
 *     quiet    the load stops; a flush; the contents are exact
 *     restart  the server is asked to end and started again; the contents are exact
 *     kill     the server dies in the middle of the load and is started again: all that was
 *              flushed is there, anything else is as it was at some moment since
 *     both     the server and the one below it die together, then as above
 *     below    the server below dies, and comes back a while later.  Meanwhile requests may fail.
 *              Afterwards a flush succeeds and the contents are exact, also when the server is then
 *              killed
 *     fault    the same with the commands --fault and --heal instead
 */

#include "../mount/stress.h"
#include "../casefs/dice.h"
#include "cells.h"
#include "load.h"
#include "watch.h"

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum ending { END_QUIET, END_RESTART, END_KILL, END_BOTH, END_BELOW, END_FAULT, ENDINGS };
static const char *const ending_names[ENDINGS] = {"quiet", "restart", "kill",
                                                  "both",  "below",   "fault"};
enum { MIB = 1 << 20, VERIFY_BYTES = 1 << 20, MOST_VERBS = 32 };

struct stress {
  struct server server, below;
  struct journal journal;
  struct load load;
  struct dice dice;
  uint64_t size, seed, rounds, limit, slack;
  unsigned threads, volumes;
  double seconds, outage, grace, patience;
  bool has_base, no_space;
  unsigned endings[ENDINGS], ending_count;
  const char *raw; /* the image of the first volume */
  const char *fault, *heal;
  const char *verbs[MOST_VERBS];
  unsigned verb_count;
  bool refused[MOST_VERBS];

  _Atomic bool over; /* for the threads that watch and control */
  _Atomic pid_t watched;
  _Atomic uint64_t memory, peak, samples;
  _Atomic uint64_t verbs_done, verbs_refused;
  struct journal_counts alive, crashed, raw_counts;
  uint64_t ended[ENDINGS];
  double start_time, stop_time; /* the longest */
  double recovery;
};

/* -------------------------------------------------------------------- watching */

static void note_memory(struct stress *stress, uint64_t peak) {
  if (peak > stress->peak)
    stress->peak = peak;
  if (stress->limit && peak > stress->limit + stress->slack)
    fail("the server took %" PRIu64 " MiB, which is more than its limit of %" PRIu64
         " MiB and %" PRIu64 " MiB",
         peak / MIB, stress->limit / MIB, stress->slack / MIB);
}

static void check_patience(const struct stress *stress) {
  uint64_t now = microseconds_now();
  for (unsigned i = 0; i < stress->threads; i++) {
    uint64_t since = atomic_load(&stress->load.since[i]);
    if (since != 0 && now > since && (double)(now - since) / 1e6 > stress->patience)
      fail("a request of thread %u has taken %.0f s", i, (double)(now - since) / 1e6);
  }
}

static void *watch(void *opaque) {
  struct stress *stress = opaque;
  while (!atomic_load(&stress->over)) {
    pid_t pid = atomic_load(&stress->watched);
    if (pid) {
      uint64_t now = memory_now(pid);
      if (now > stress->memory)
        stress->memory = now;
      stress->samples++;
      note_memory(stress, memory_peak(pid));
    }
    check_patience(stress);
    usleep(100000);
  }
  return NULL;
}

/* The verbs of the control socket, one after the other in random order.  Those that the server
 * does not know are not its fault. */
static void *control(void *opaque) {
  struct stress *stress = opaque;
  struct dice dice = dice_seed(stress->seed + 99);
  while (stress->verb_count && !atomic_load(&stress->over)) {
    usleep(50000 + (useconds_t)dice_below(&dice, 300000));
    if (atomic_load(&stress->watched) == 0)
      continue;
    unsigned verb = (unsigned)dice_below(&dice, stress->verb_count);
    if (run_command(stress->verbs[verb], "/dev/null") == 0) {
      stress->verbs_done++;
    } else {
      stress->verbs_refused++;
      stress->refused[verb] = true;
    }
  }
  return NULL;
}

/* --------------------------------------------------------------------- servers */

static void start(struct stress *stress, struct server *server) {
  double seconds;
  server_start(server, &seconds);
  if (server != &stress->server)
    return;
  if (seconds > stress->start_time)
    stress->start_time = seconds;
  atomic_store(&stress->watched, server->pid);
}

static void end(struct stress *stress, struct server *server, int signal_number) {
  double seconds;
  if (server == &stress->server) {
    note_memory(stress, memory_peak(server->pid));
    atomic_store(&stress->watched, 0);
  }
  server_end(server, signal_number, &seconds);
  if (server == &stress->server && signal_number == SIGTERM && seconds > stress->stop_time)
    stress->stop_time = seconds;
}

static void pause_for(double seconds) {
  if (seconds > 0)
    usleep((useconds_t)(seconds * 1e6));
}

/* Early moments are as likely as late ones. */
static double choose_moment(struct stress *stress) {
  double part = (double)dice_below(&stress->dice, 1000000) / 1e6;
  return dice_below(&stress->dice, 2) ? part * stress->seconds
                                      : part * part * part * stress->seconds;
}

/* ------------------------------------------------------------------- verifying */

static void verify_volume(struct stress *stress, unsigned volume, enum journal_rule rule,
                          struct journal_counts *counts) {
  static unsigned char buffer[VERIFY_BYTES];
  uint64_t cells = stress->journal.layout.volume_cells;
  struct nbd_handle *nbd = load_connect(&stress->load, volume);
  if (!nbd)
    fail("connecting to check: %s", nbd_get_error());
  for (uint64_t cell = 0; cell < cells; cell += VERIFY_BYTES / CELL) {
    uint64_t count = cells - cell < VERIFY_BYTES / CELL ? cells - cell : VERIFY_BYTES / CELL;
    if (nbd_pread(nbd, buffer, count * CELL, cell * CELL, 0) == -1)
      fail("reading to check: %s", nbd_get_error());
    journal_settle(&stress->journal, volume, cell, count, buffer, rule, counts);
  }
  nbd_shutdown(nbd, 0);
  nbd_close(nbd);
}

static void verify(struct stress *stress, enum journal_rule rule) {
  for (unsigned volume = 0; volume < stress->volumes; volume++)
    verify_volume(stress, volume, rule, rule == RULE_ALIVE ? &stress->alive : &stress->crashed);
  journal_new_round(&stress->journal);
}

/* The image itself, with no server on it.  What it holds is what the server must show. */
static void verify_raw(struct stress *stress, enum journal_rule rule) {
  static unsigned char buffer[VERIFY_BYTES];
  uint64_t cells = stress->journal.layout.volume_cells;
  int fd = open(stress->raw, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    fail_errno("opening %s", stress->raw);
  for (uint64_t cell = 0; cell < cells; cell += VERIFY_BYTES / CELL) {
    uint64_t count = cells - cell < VERIFY_BYTES / CELL ? cells - cell : VERIFY_BYTES / CELL;
    ssize_t got = pread(fd, buffer, count * CELL, (off_t)(cell * CELL));
    if (got != (ssize_t)(count * CELL))
      fail_errno("reading %s at %" PRIu64, stress->raw, cell * CELL);
    journal_settle(&stress->journal, 0, cell, count, buffer, rule, &stress->raw_counts);
  }
  close(fd);
  if (stress->volumes == 1)
    journal_new_round(&stress->journal);
}

/* After an outage it may take a while. */
static void flush_all(struct stress *stress) {
  double began = seconds_now();
  for (unsigned volume = 0; volume < stress->volumes; volume++) {
    struct nbd_handle *nbd = load_connect(&stress->load, volume);
    if (!nbd)
      fail("connecting to flush: %s", nbd_get_error());
    while (nbd_flush(nbd, 0) == -1) {
      if (seconds_now() - began > stress->grace)
        fail("a flush fails %.1f s after all went well again: %s", seconds_now() - began,
             nbd_get_error());
      usleep(20000);
    }
    nbd_shutdown(nbd, 0);
    nbd_close(nbd);
  }
  if (seconds_now() - began > stress->recovery)
    stress->recovery = seconds_now() - began;
}

/* --------------------------------------------------------------------- rounds */

static void kill_and_check(struct stress *stress) {
  end(stress, &stress->server, SIGKILL);
  if (stress->below.pid)
    server_wait_for_clients(&stress->below);
  if (stress->raw && dice_below(&stress->dice, 2))
    verify_raw(stress, RULE_CRASHED);
  start(stress, &stress->server);
  verify(stress, RULE_CRASHED);
}

static void end_quietly(struct stress *stress) {
  pause_for(stress->seconds);
  atomic_store(&stress->load.stop, true);
  load_join(&stress->load);
  flush_all(stress);
  verify(stress, RULE_ALIVE);
}

static void end_with_restart(struct stress *stress) {
  pause_for(stress->seconds);
  atomic_store(&stress->load.stop, true);
  load_join(&stress->load);
  end(stress, &stress->server, SIGTERM);
  if (stress->raw && dice_below(&stress->dice, 2))
    verify_raw(stress, RULE_ALIVE);
  start(stress, &stress->server);
  verify(stress, RULE_ALIVE);
}

static void end_with_kill(struct stress *stress, bool both) {
  pause_for(choose_moment(stress));
  atomic_fetch_or(&stress->load.allowed, ALLOW_DEATH | (both ? ALLOW_ERRORS : 0));
  atomic_store(&stress->watched, 0);
  /* Which dies first makes a difference. */
  bool below_first = both && dice_below(&stress->dice, 2);
  if (below_first)
    end(stress, &stress->below, SIGKILL);
  end(stress, &stress->server, SIGKILL);
  if (both && !below_first)
    end(stress, &stress->below, SIGKILL);
  load_join(&stress->load);
  if (both)
    start(stress, &stress->below);
  else if (stress->below.pid)
    server_wait_for_clients(&stress->below);
  if (stress->raw && dice_below(&stress->dice, 2))
    verify_raw(stress, RULE_CRASHED);
  start(stress, &stress->server);
  verify(stress, RULE_CRASHED);
}

static void break_it(struct stress *stress, enum ending ending) {
  atomic_fetch_or(&stress->load.allowed, ALLOW_ERRORS);
  if (ending == END_BELOW)
    end(stress, &stress->below, SIGKILL);
  else if (run_command(stress->fault, NULL) != 0)
    fail("this failed: %s", stress->fault);
}

static void mend_it(struct stress *stress, enum ending ending) {
  if (ending == END_BELOW)
    start(stress, &stress->below);
  else if (run_command(stress->heal, NULL) != 0)
    fail("this failed: %s", stress->heal);
}

static void end_with_outage(struct stress *stress, enum ending ending) {
  pause_for(choose_moment(stress));
  break_it(stress, ending);
  pause_for((double)dice_below(&stress->dice, 1000) / 1000 * stress->outage);
  bool still = dice_below(&stress->dice, 2);
  if (still)
    atomic_store(&stress->load.stop, true); /* nobody asks for anything when it comes back */
  mend_it(stress, ending);
  if (!still)
    pause_for(choose_moment(stress));
  atomic_store(&stress->load.stop, true);
  load_join(&stress->load);
  flush_all(stress);
  if (dice_below(&stress->dice, 2))
    verify(stress, RULE_ALIVE);
  /* Flushed is flushed: in both cases nothing may be missing after a crash. */
  kill_and_check(stress);
}

static void run_round(struct stress *stress, uint64_t round) {
  enum ending ending = stress->endings[dice_below(&stress->dice, stress->ending_count)];
  stress->load.seed = dice_mix(stress->seed) + round;
  stress->load.split = ending == END_QUIET || ending == END_RESTART;
  atomic_store(&stress->load.allowed, stress->no_space ? ALLOW_NO_SPACE : 0);
  stress->ended[ending]++;
  load_start(&stress->load);
  switch (ending) {
  case END_QUIET:
    end_quietly(stress);
    break;
  case END_RESTART:
    end_with_restart(stress);
    break;
  case END_KILL:
  case END_BOTH:
    end_with_kill(stress, ending == END_BOTH);
    break;
  default:
    end_with_outage(stress, ending);
  }
  server_check(&stress->server);
}

/* --------------------------------------------------------------------- results */

static void print_counts(const char *what, const struct journal_counts *counts) {
  if (counts->cells)
    printf("  %s: %" PRIu64 " MiB looked at, %" PRIu64 " cells changed, %" PRIu64
           " of them as they were before\n",
           what, counts->cells * CELL / MIB, counts->survivors, counts->lost);
}

static void print_result(const struct stress *stress) {
  const struct load *load = &stress->load;
  printf("stress: %" PRIu64 " rounds, no violation:", stress->rounds);
  for (unsigned i = 0; i < ENDINGS; i++)
    if (stress->ended[i])
      printf(" %" PRIu64 " %s", stress->ended[i], ending_names[i]);
  printf("\n  requests:");
  for (unsigned i = 0; i < LOAD_KINDS; i++)
    printf(" %" PRIu64 " %s (%" PRIu64 " MiB, %" PRIu64 " failed)%s", load->requests[i],
           load_names[i], load->bytes[i] / MIB, load->failed[i], i + 1 < LOAD_KINDS ? "," : "\n");
  print_counts("alive", &stress->alive);
  print_counts("after crashes", &stress->crashed);
  print_counts("the image by itself", &stress->raw_counts);
  printf("  memory: at most %" PRIu64 " MiB in %" PRIu64 " samples, peak %" PRIu64 " MiB",
         stress->memory / MIB, stress->samples, stress->peak / MIB);
  if (stress->limit)
    printf(", %+.1f MiB beyond the limit of %" PRIu64 " MiB",
           ((double)stress->peak - (double)stress->limit) / MIB, stress->limit / MIB);
  printf("\n  slowest request %.0f ms, start %.0f ms, end %.1f s, flush after an outage %.1f s\n",
         (double)load->slowest / 1000, stress->start_time * 1000, stress->stop_time,
         stress->recovery);
  if (stress->verb_count)
    printf("  control: %" PRIu64 " verbs done, %" PRIu64 " refused\n", stress->verbs_done,
           stress->verbs_refused);
  for (unsigned i = 0; i < stress->verb_count; i++)
    if (stress->refused[i])
      printf("    now and then refused: %s\n", stress->verbs[i]);
}

/* --------------------------------------------------------------------- options */

static _Noreturn void usage(void) {
  fputs("usage: tiers-stress --server COMMAND --socket PATH [OPTION...]\n"
        "       tiers-stress --make-base FILE --size MIB [--seed N]\n"
        "  --below COMMAND --below-socket PATH  the server that this one uses\n"
        "  --export NAME     a volume (several: several volumes; without: the default one)\n"
        "  --size MIB        of each volume (64)\n"
        "  --threads N       (6)\n"
        "  --rounds N --seconds S  (1, 5: the longest that the load of a round runs)\n"
        "  --seed N          (1)\n"
        "  --end LIST        how rounds end, of quiet,restart,kill,both,below,fault (quiet)\n"
        "  --fault COMMAND --heal COMMAND\n"
        "  --outage S        the longest that a fault lasts (1)\n"
        "  --grace S         how long a flush may fail after a fault (10)\n"
        "  --patience S      how long a request may take (30)\n"
        "  --base            the volume begins with what --make-base made\n"
        "  --no-space        requests may fail with ENOSPC\n"
        "  --raw FILE        the image of the first volume\n"
        "  --limit MIB --slack MIB  what the server's memory may be, and what beyond (64)\n"
        "  --verb COMMAND    run at random moments (several)\n",
        stderr);
  exit(2);
}

static void parse_endings(struct stress *stress, char *list) {
  stress->ending_count = 0;
  for (char *rest, *name = strtok_r(list, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
    unsigned i = 0;
    while (i < ENDINGS && strcmp(name, ending_names[i]) != 0)
      i++;
    if (i == ENDINGS || stress->ending_count == ENDINGS)
      usage();
    stress->endings[stress->ending_count++] = i;
  }
}

static void make_base(const char *path, uint64_t size) {
  unsigned char bytes[CELL];
  FILE *file = fopen(path, "we");
  if (!file)
    fail_errno("making %s", path);
  for (uint64_t cell = 0; cell < size / CELL; cell++) {
    cell_fill(bytes, cell_place(0, cell), base_value(cell));
    if (base_value(cell) == 0 ? fseeko(file, CELL, SEEK_CUR) != 0
                              : fwrite(bytes, CELL, 1, file) != 1)
      fail_errno("writing %s", path);
  }
  if (fflush(file) != 0 || ftruncate(fileno(file), (off_t)size) != 0 || fclose(file) != 0)
    fail_errno("writing %s", path);
}

enum {
  OPTION_SERVER = 256,
  OPTION_SOCKET,
  OPTION_BELOW,
  OPTION_BELOW_SOCKET,
  OPTION_EXPORT,
  OPTION_SIZE,
  OPTION_THREADS,
  OPTION_ROUNDS,
  OPTION_SECONDS,
  OPTION_SEED,
  OPTION_END,
  OPTION_FAULT,
  OPTION_HEAL,
  OPTION_OUTAGE,
  OPTION_GRACE,
  OPTION_PATIENCE,
  OPTION_BASE,
  OPTION_NO_SPACE,
  OPTION_RAW,
  OPTION_LIMIT,
  OPTION_SLACK,
  OPTION_VERB,
  OPTION_MAKE_BASE
};

static const struct option option_names[] = {
    {"server", required_argument, NULL, OPTION_SERVER},
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"below", required_argument, NULL, OPTION_BELOW},
    {"below-socket", required_argument, NULL, OPTION_BELOW_SOCKET},
    {"export", required_argument, NULL, OPTION_EXPORT},
    {"size", required_argument, NULL, OPTION_SIZE},
    {"threads", required_argument, NULL, OPTION_THREADS},
    {"rounds", required_argument, NULL, OPTION_ROUNDS},
    {"seconds", required_argument, NULL, OPTION_SECONDS},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"end", required_argument, NULL, OPTION_END},
    {"fault", required_argument, NULL, OPTION_FAULT},
    {"heal", required_argument, NULL, OPTION_HEAL},
    {"outage", required_argument, NULL, OPTION_OUTAGE},
    {"grace", required_argument, NULL, OPTION_GRACE},
    {"patience", required_argument, NULL, OPTION_PATIENCE},
    {"base", no_argument, NULL, OPTION_BASE},
    {"no-space", no_argument, NULL, OPTION_NO_SPACE},
    {"raw", required_argument, NULL, OPTION_RAW},
    {"limit", required_argument, NULL, OPTION_LIMIT},
    {"slack", required_argument, NULL, OPTION_SLACK},
    {"verb", required_argument, NULL, OPTION_VERB},
    {"make-base", required_argument, NULL, OPTION_MAKE_BASE},
    {0},
};

static void add_export(struct stress *stress, const char *name) {
  if (stress->volumes == MAX_VOLUMES)
    usage();
  stress->load.exports[stress->volumes++] = name;
}

static void add_verb(struct stress *stress, const char *command) {
  if (stress->verb_count == MOST_VERBS)
    usage();
  stress->verbs[stress->verb_count++] = command;
}

static void take_option(struct stress *stress, int option, char *value, const char **base) {
  switch (option) {
  case OPTION_SERVER:
    stress->server.command = value;
    break;
  case OPTION_SOCKET:
    stress->server.socket = value;
    break;
  case OPTION_BELOW:
    stress->below.command = value;
    break;
  case OPTION_BELOW_SOCKET:
    stress->below.socket = value;
    break;
  case OPTION_EXPORT:
    add_export(stress, value);
    break;
  case OPTION_SIZE:
    stress->size = number_argument(value) * MIB;
    break;
  case OPTION_THREADS:
    stress->threads = (unsigned)number_argument(value);
    break;
  case OPTION_ROUNDS:
    stress->rounds = number_argument(value);
    break;
  case OPTION_SECONDS:
    stress->seconds = strtod(value, NULL);
    break;
  case OPTION_SEED:
    stress->seed = number_argument(value);
    break;
  case OPTION_END:
    parse_endings(stress, value);
    break;
  case OPTION_FAULT:
    stress->fault = value;
    break;
  case OPTION_HEAL:
    stress->heal = value;
    break;
  case OPTION_OUTAGE:
    stress->outage = strtod(value, NULL);
    break;
  case OPTION_GRACE:
    stress->grace = strtod(value, NULL);
    break;
  case OPTION_PATIENCE:
    stress->patience = strtod(value, NULL);
    break;
  case OPTION_BASE:
    stress->has_base = true;
    break;
  case OPTION_NO_SPACE:
    stress->no_space = true;
    break;
  case OPTION_RAW:
    stress->raw = value;
    break;
  case OPTION_LIMIT:
    stress->limit = number_argument(value) * MIB;
    break;
  case OPTION_SLACK:
    stress->slack = number_argument(value) * MIB;
    break;
  case OPTION_VERB:
    add_verb(stress, value);
    break;
  case OPTION_MAKE_BASE:
    *base = value;
    break;
  default:
    usage();
  }
}

static void parse_options(struct stress *stress, int argc, char **argv, const char **base) {
  for (int option; (option = getopt_long(argc, argv, "", option_names, NULL)) != -1;)
    take_option(stress, option, optarg, base);
  if (argc != optind || stress->threads == 0 || stress->threads > MAX_THREADS ||
      (!*base && (!stress->server.command || !stress->server.socket)))
    usage();
  if (stress->volumes == 0)
    add_export(stress, "");
}

static void run(struct stress *stress) {
  pthread_t watcher, controller;
  struct layout layout;
  layout_make(&layout, stress->seed, stress->threads, stress->volumes, stress->size);
  journal_init(&stress->journal, &layout, stress->has_base);
  stress->load.journal = &stress->journal;
  stress->load.socket = stress->server.socket;
  stress->load.most_steps = 1 << 22;
  if (stress->below.command)
    start(stress, &stress->below);
  start(stress, &stress->server);
  if (pthread_create(&watcher, NULL, watch, stress) != 0 ||
      pthread_create(&controller, NULL, control, stress) != 0)
    fail("no thread");
  for (uint64_t round = 0; round < stress->rounds; round++) {
    set_repeat("seed %" PRIu64 ", round %" PRIu64 " of %" PRIu64, stress->seed, round + 1,
               stress->rounds);
    run_round(stress, round);
  }
  atomic_store(&stress->over, true);
  pthread_join(controller, NULL);
  end(stress, &stress->server, SIGTERM);
  if (stress->below.command)
    end(stress, &stress->below, SIGTERM);
  pthread_join(watcher, NULL);
}

int main(int argc, char **argv) {
  static struct stress stress = {.size = 64 * MIB,
                                 .seed = 1,
                                 .rounds = 1,
                                 .slack = 64 * MIB,
                                 .threads = 6,
                                 .seconds = 5,
                                 .outage = 1,
                                 .grace = 10,
                                 .patience = 30,
                                 .endings = {END_QUIET},
                                 .ending_count = 1};
  const char *base = NULL;
  parse_options(&stress, argc, argv, &base);
  stress.dice = dice_seed(stress.seed);
  cells_set_seed(stress.seed);
  if (base) {
    make_base(base, stress.size);
    return 0;
  }
  run(&stress);
  print_result(&stress);
  return 0;
}
