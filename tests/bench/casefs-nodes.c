/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Files by the million: casefs in memory and LMDB take turns with the same names in the same order.
 */

#include "casefs-bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool one_of(const char *text, const char *yes, const char *no) {
  bool is = strcmp(text, yes) == 0;
  if (!is && strcmp(text, no) != 0) {
    fprintf(stderr, "casefsload: %s: not %s or %s\n", text, yes, no);
    exit(2);
  }
  return is;
}

/* ------------------------------------------------------------------------ nodes */

#define SLICES 50u

struct both {
  struct files files;
  struct peer *peer;
  uint32_t count;
  file_name *names; /* of a slice */
};

struct pair {
  double casefs, lmdb;
};

typedef double files_operation(struct files *files, const file_name *names, uint32_t count);
typedef double peer_operation(struct peer *peer, const file_name *names, uint32_t count);

/* Each side's time for all names, in slices by turns.  order: NULL for that of the names; other: a
 * side that is found by another spelling. */
static struct pair in_turns(struct both *both, files_operation *ours, peer_operation *theirs,
                            const uint32_t *order, bool other) {
  struct pair times = {0};
  uint32_t slice = both->count / SLICES;

  for (uint32_t turn = 0, done = 0; done < both->count; turn++, done += slice) {
    uint32_t count = both->count - done < slice ? both->count - done : slice;
    for (uint32_t i = 0; i < count; i++)
      make_name(order ? order[done + i] : done + i, both->names[i]);
    if (turn % 2)
      times.lmdb += theirs(both->peer, both->names, count);
    for (uint32_t i = 0; other && i < count; i++)
      respell(both->names[i]);
    times.casefs += ours(&both->files, both->names, count);
    for (uint32_t i = 0; other && i < count; i++)
      respell(both->names[i]);
    if (turn % 2 == 0)
      times.lmdb += theirs(both->peer, both->names, count);
  }
  return times;
}

static void print_pair(const char *name, struct pair times) {
  printf("\"%s\": {\"casefs\": %.6f, \"lmdb\": %.6f}, ", name, times.casefs, times.lmdb);
}

/* Changes, with making them visible to others: sync and commit. */
static void print_changes(struct both *both, const char *name, files_operation *ours,
                          peer_operation *theirs, const uint32_t *order) {
  char end_name[32];
  struct pair end;

  peer_begin(both->peer, true);
  struct pair times = in_turns(both, ours, theirs, order, false);
  end.casefs = files_sync(&both->files);
  end.lmdb = peer_commit(both->peer);
  times.casefs += end.casefs;
  times.lmdb += end.lmdb;
  print_pair(name, times);
  snprintf(end_name, sizeof end_name, "%s_end", name);
  print_pair(end_name, end);
}

static void print_reading(struct both *both, const uint32_t *order, bool insensitive) {
  peer_begin(both->peer, false);
  print_pair("lookup", in_turns(both, files_find, peer_get, order, insensitive));
  struct pair names = {files_list(&both->files, both->count, false),
                       peer_list(both->peer, both->count)};
  struct pair attributes = {files_list(&both->files, both->count, true),
                            peer_list(both->peer, both->count)};
  print_pair("list", names);
  print_pair("list_attributes", attributes);
  peer_commit(both->peer);
}

int nodes_main(int argument_count, char **arguments) {
  struct both both = {.count = (uint32_t)number(arguments[0])};
  bool insensitive = one_of(arguments[1], "insensitive", "sensitive");
  bool random = one_of(arguments[2], "random", "sequential");
  uint32_t *orders[3] = {0};

  (void)argument_count;
  if (both.count < SLICES || both.count > 10000000) {
    fprintf(stderr, "casefsload: COUNT is %u to 10,000,000\n", SLICES);
    return 2;
  }
  for (unsigned i = 0; random && i < 3; i++)
    orders[i] = shuffled(both.count, i + 1);
  both.names = allocate(both.count / SLICES * sizeof *both.names);
  files_create_memory(&both.files, insensitive, number(arguments[3]) * MIB,
                      number(arguments[4]) * MIB);
  both.peer = peer_open(arguments[5], false);
  uint64_t free_before = files_statistics(&both.files).free;

  printf("{");
  print_changes(&both, "create", files_make, peer_put, orders[0]);
  struct casefs_statistics statistics = files_statistics(&both.files);
  print_reading(&both, orders[1], insensitive);
  print_changes(&both, "unlink", files_remove, peer_delete, orders[2]);
  printf("\"commits\": %llu, \"written\": %llu, \"volume\": %llu, \"depth\": %u}\n",
         (unsigned long long)statistics.commits, (unsigned long long)statistics.written,
         (unsigned long long)(free_before - statistics.free), statistics.tree_depth);
  peer_close(both.peer);
  files_close(&both.files);
  for (unsigned i = 0; i < 3; i++)
    free(orders[i]);
  free(both.names);
  return 0;
}

/* ----------------------------------------------------------------------- growth */

#define SAMPLE 20000u     /* operations that are timed at each size */
#define FILL_SLICE 50000u /* names of one go */

/* Existing files have even numbers; those of a sample are odd, and go again. */
struct sample {
  struct both *both;
  uint32_t *numbers;
  file_name *names;
  uint32_t chunk; /* operations before the next kind's turn */
  uint64_t state;
  struct pair make, find, remove;
  unsigned long long reads; /* of the device, by lookups */
  uint64_t operations;
};

static void fill(struct both *both, uint32_t from, uint32_t to, struct pair *times) {
  peer_begin(both->peer, true);
  while (from < to) {
    uint32_t count = to - from < FILL_SLICE ? to - from : FILL_SLICE;
    for (uint32_t i = 0; i < count; i++)
      make_name(2 * (from + i), both->names[i]);
    times->casefs += files_make(&both->files, both->names, count);
    times->lmdb += peer_put(both->peer, both->names, count);
    from += count;
  }
  times->casefs += files_sync(&both->files);
  times->lmdb += peer_commit(both->peer);
}

static void sample_names(struct sample *sample) {
  for (uint32_t i = 0; i < sample->chunk; i++)
    make_name(sample->numbers[i], sample->names[i]);
}

/* One chunk of each operation, at places all over the directory of that size. */
static void sample_once(struct sample *sample, uint32_t size) {
  struct both *both = sample->both;
  uint32_t chunk = sample->chunk, apart = size / chunk;

  for (uint32_t i = 0; i < chunk; i++)
    sample->numbers[i] = 2 * (i * apart + (uint32_t)(next_random(&sample->state) % apart)) + 1;
  shuffle(sample->numbers, chunk, &sample->state);
  sample_names(sample);
  peer_begin(both->peer, true);
  sample->make.casefs += files_make(&both->files, sample->names, chunk);
  sample->make.lmdb += peer_put(both->peer, sample->names, chunk);
  sample->make.lmdb += peer_commit(both->peer);
  shuffle(sample->numbers, chunk, &sample->state);
  sample_names(sample);
  peer_begin(both->peer, true);
  sample->remove.casefs += files_remove(&both->files, sample->names, chunk);
  sample->remove.lmdb += peer_delete(both->peer, sample->names, chunk);
  sample->remove.lmdb += peer_commit(both->peer);

  for (uint32_t i = 0; i < chunk; i++)
    make_name(2 * (uint32_t)(next_random(&sample->state) % size), sample->names[i]);
  peer_begin(both->peer, false);
  sample->find.lmdb += peer_get(both->peer, sample->names, chunk);
  peer_commit(both->peer);
  for (uint32_t i = 0; i < chunk; i++)
    respell(sample->names[i]);
  unsigned long long reads = both->files.counts.reads;
  sample->find.casefs += files_find(&both->files, sample->names, chunk);
  sample->reads += both->files.counts.reads - reads;
  sample->operations += chunk;
}

static void print_size(struct both *both, uint32_t size, struct pair filled,
                       const struct sample *sample) {
  struct casefs_statistics statistics = files_statistics(&both->files);
  printf("{\"size\": %u, \"operations\": %llu, ", size, (unsigned long long)sample->operations);
  print_pair("fill", filled);
  print_pair("create", sample->make);
  print_pair("lookup", sample->find);
  print_pair("unlink", sample->remove);
  printf("\"reads\": %llu, \"cached\": %llu, \"dirty\": %llu, \"depth\": %u}", sample->reads,
         (unsigned long long)statistics.cached, (unsigned long long)statistics.dirty,
         statistics.tree_depth);
  fflush(stdout);
}

int growth_main(int argument_count, char **arguments) {
  struct both both = {0};
  uint64_t largest = number(arguments[0]);

  (void)argument_count;
  if (largest < 1000 || largest > 10000000) {
    fprintf(stderr, "casefsload: LARGEST is 1,000 to 10,000,000\n");
    return 2;
  }
  both.names = allocate(FILL_SLICE * sizeof *both.names);
  files_create_memory(&both.files, true, number(arguments[1]) * MIB, number(arguments[2]) * MIB);
  both.peer = peer_open(arguments[3], false);
  struct sample sample = {.both = &both,
                          .numbers = allocate(SAMPLE * sizeof *sample.numbers),
                          .names = allocate(SAMPLE * sizeof *sample.names)};
  printf("{\"sizes\": [");
  for (uint32_t size = 1000, before = 0; size <= largest; before = size, size *= 10) {
    struct pair filled = {0};
    fill(&both, before, size, &filled);
    sample = (struct sample){.both = &both,
                             .numbers = sample.numbers,
                             .names = sample.names,
                             .chunk = size / 10 < SAMPLE ? size / 10 : SAMPLE,
                             .state = size};
    while (sample.operations < SAMPLE)
      sample_once(&sample, size);
    if (before > 0)
      printf(", ");
    print_size(&both, size, filled, &sample);
  }
  printf("]}\n");
  peer_close(both.peer);
  files_close(&both.files);
  free(sample.numbers);
  free(sample.names);
  free(both.names);
  return 0;
}

/* ----------------------------------------------------------------------- memory
 * The volume is in a file, whose pages are not this process's memory. */

#define LOOK 5000u /* operations between looks at the statistics */

/* A line of /proc/self/status, in bytes. */
static uint64_t status_bytes(const char *name) {
  FILE *file = fopen("/proc/self/status", "r");
  char line[256];
  uint64_t value = 0;
  while (file && fgets(line, sizeof line, file))
    if (strncmp(line, name, strlen(name)) == 0)
      value = strtoull(line + strlen(name), NULL, 10) * 1024;
  if (file)
    fclose(file);
  return value;
}

struct memory {
  struct files files;
  uint32_t count;
  uint32_t *order;
  file_name names[LOOK];
  uint64_t cached, dirty; /* the most that was seen */
};

static void look(struct memory *memory) {
  struct casefs_statistics statistics = files_statistics(&memory->files);
  if (statistics.cached > memory->cached)
    memory->cached = statistics.cached;
  if (statistics.dirty > memory->dirty)
    memory->dirty = statistics.dirty;
}

static void memory_names(struct memory *memory, files_operation *operation) {
  for (uint32_t done = 0; done < memory->count; done += LOOK) {
    uint32_t count = memory->count - done < LOOK ? memory->count - done : LOOK;
    for (uint32_t i = 0; i < count; i++)
      make_name(memory->order[done + i], memory->names[i]);
    operation(&memory->files, memory->names, count);
    look(memory);
  }
}

static void memory_open(struct memory *memory, const char *image, bool create,
                        const struct casefs_open_options *options) {
  struct casefs_device *device;
  struct files *files = &memory->files;
  unsigned flags = create ? CASEFS_DEVICE_CREATE : 0;

  check(casefs_device_open_file(image, flags, create ? VOLUME_SIZE : 0, &device, NULL), image);
  if (create) {
    files_create(files, device, true, options->cache_size, options->dirty_limit, 0);
    return;
  }
  files->device = counting_device(device, &files->counts, 0);
  check(casefs_open(files->device, options, &files->volume), "open");
  check(casefs_open_path(files->volume, NULL, "files", 0, &files->directory), "files");
}

int memory_main(int argument_count, char **arguments) {
  const char *what = arguments[0];
  struct casefs_open_options options = {.cache_size = number(arguments[3]) * MIB,
                                        .dirty_limit = number(arguments[4]) * MIB};
  struct memory *memory = allocate(sizeof *memory);

  (void)argument_count;
  memset(memory, 0, sizeof *memory);
  memory->count = (uint32_t)number(arguments[2]);
  memory->order = shuffled(memory->count, 7);
  memory_open(memory, arguments[1], strcmp(what, "create") == 0, &options);
  look(memory);
  uint64_t base = status_bytes("VmRSS:");
  if (strcmp(what, "create") == 0)
    memory_names(memory, files_make);
  else if (strcmp(what, "list") == 0)
    files_list(&memory->files, memory->count, true);
  else
    memory_names(memory, files_find);
  look(memory);
  printf("{\"base\": %llu, \"peak\": %llu, \"cached\": %llu, \"dirty\": %llu}\n",
         (unsigned long long)base, (unsigned long long)status_bytes("VmHWM:"),
         (unsigned long long)memory->cached, (unsigned long long)memory->dirty);
  files_close(&memory->files);
  free(memory->order);
  free(memory);
  return 0;
}
