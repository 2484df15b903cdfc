/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What making one small change durable costs: in bytes and requests, and in time when many threads
 * do it at once.
 */

#include "casefs-bench.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ----------------------------------------------------------------------- commit */

#define REPEATS 15u
#define FILL_SLICE 1000u

struct kind {
  const char *name;
  void (*change)(struct files *files, uint32_t existing, uint32_t fresh);
};

static casefs_node *open_file(struct files *files, uint32_t index) {
  file_name name;
  casefs_node *node;
  make_name(index, name);
  check(casefs_open_at(files->directory, name, NAME_LENGTH, &node), "open");
  return node;
}

static void change_mode(struct files *files, uint32_t existing, uint32_t fresh) {
  casefs_node *node = open_file(files, existing);
  struct casefs_attributes attributes = {.mode = fresh % 512};
  check(casefs_set_attributes(node, CASEFS_MODE, &attributes), "chmod");
  casefs_node_close(node);
}

static void create_file(struct files *files, uint32_t existing, uint32_t fresh) {
  file_name name;
  (void)existing;
  make_name(fresh, name);
  files_make(files, &name, 1);
}

static void append(struct files *files, uint32_t existing, uint32_t fresh) {
  static const char text[100] = "a line of a log";
  casefs_node *node = open_file(files, existing);
  struct casefs_attributes attributes;
  (void)fresh;
  check(casefs_get_attributes(node, &attributes), "stat");
  check(casefs_write(node, text, sizeof text, attributes.size), "write");
  casefs_node_close(node);
}

static void rename_file(struct files *files, uint32_t existing, uint32_t fresh) {
  file_name from, to;
  make_name(existing, from);
  make_name(fresh, to);
  check(casefs_rename(files->directory, from, NAME_LENGTH, files->directory, to, NAME_LENGTH, 0),
        "rename");
  /* And back, with the next change. */
  files_sync(files);
  check(casefs_rename(files->directory, to, NAME_LENGTH, files->directory, from, NAME_LENGTH, 0),
        "rename");
}

static const struct kind kinds[] = {
    {"chmod", change_mode},
    {"create", create_file},
    {"append", append},
    {"rename", rename_file},
};

struct cost {
  unsigned long long written, bytes, writes, durable, flushes;
};

static struct cost cost_now(struct files *files) {
  const struct counts *counts = &files->counts;
  return (struct cost){files_statistics(files).written, counts->bytes, counts->writes,
                       counts->durable, counts->flushes};
}

/* Everything settled: what a commit frees is no cost of the next change. */
static void print_kind(struct files *files, const struct kind *kind, uint32_t count) {
  uint64_t state = count;
  printf("\"%s\": [", kind->name);
  for (unsigned i = 0; i < REPEATS; i++) {
    uint32_t existing = (uint32_t)(next_random(&state) % count);
    uint32_t fresh = (uint32_t)(kind - kinds + 1) * 10000000 + i;
    files_sync(files);
    struct cost before = cost_now(files);
    kind->change(files, existing, fresh);
    files_sync(files);
    struct cost after = cost_now(files);
    unsigned commits = kind->change == rename_file ? 2 : 1;
    printf("%s{\"written\": %llu, \"bytes\": %llu, \"writes\": %llu, \"durable\": %llu, "
           "\"flushes\": %llu}",
           i ? ", " : "", (after.written - before.written) / commits,
           (after.bytes - before.bytes) / commits, (after.writes - before.writes) / commits,
           (after.durable - before.durable) / commits, (after.flushes - before.flushes) / commits);
  }
  printf("], ");
}

/* Bytes that this process has given to write(2) and its kin. */
static unsigned long long bytes_written(void) {
  FILE *file = fopen("/proc/self/io", "r");
  unsigned long long bytes = 0;
  char line[128];
  while (file && fgets(line, sizeof line, file))
    if (sscanf(line, "wchar: %llu", &bytes) == 1)
      break;
  if (file)
    fclose(file);
  return bytes;
}

static void print_peer(struct peer *peer, uint32_t count) {
  uint64_t state = count;
  printf("\"lmdb\": [");
  for (unsigned i = 0; i < REPEATS; i++) {
    file_name name;
    fflush(stdout); /* which is written to as well */
    make_name((uint32_t)(next_random(&state) % count), name);
    unsigned long long before = bytes_written();
    peer_put_alone(peer, &name, i + 100);
    printf("%s%llu", i ? ", " : "", bytes_written() - before);
  }
  printf("]}\n");
}

int commit_main(int argument_count, char **arguments) {
  uint32_t count = (uint32_t)number(arguments[0]);
  struct files files;
  struct peer *peer = peer_open(arguments[1], false);
  file_name *names = allocate(FILL_SLICE * sizeof *names);

  (void)argument_count;
  files_create_memory(&files, true, 0, 0);
  peer_begin(peer, true);
  for (uint32_t done = 0; done < count; done += FILL_SLICE) {
    uint32_t slice = count - done < FILL_SLICE ? count - done : FILL_SLICE;
    for (uint32_t i = 0; i < slice; i++)
      make_name(done + i, names[i]);
    files_make(&files, names, slice);
    peer_put(peer, names, slice);
  }
  peer_commit(peer);
  printf("{\"depth\": %u, ", files_statistics(&files).tree_depth);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    print_kind(&files, &kinds[i], count);
  print_peer(peer, count);
  files_close(&files);
  peer_close(peer);
  free(names);
  return 0;
}

/* ------------------------------------------------------------------------ syncs
 * Each thread changes the mode of a file of its own, or a key, and makes that durable. */

#define MOST_THREADS 64u
#define TURNS 4u
#define SLOW_FLUSH 1000u /* microseconds */

struct syncer {
  struct files *files; /* or */
  struct peer *peer;
  uint32_t index;
  double until;
  uint64_t done;
};

static void *sync_repeatedly(void *argument) {
  struct syncer *syncer = argument;
  casefs_node *node = syncer->files ? open_file(syncer->files, syncer->index) : NULL;
  file_name name;

  make_name(syncer->index, name);
  while (seconds() < syncer->until) {
    if (node) {
      struct casefs_attributes attributes = {.mode = (uint32_t)(syncer->done % 512)};
      check(casefs_set_attributes(node, CASEFS_MODE, &attributes), "chmod");
      files_sync(syncer->files);
    } else {
      peer_put_alone(syncer->peer, &name, syncer->done);
    }
    syncer->done++;
  }
  casefs_node_close(node);
  return NULL;
}

/* The rate of all threads together. */
static double sync_rate(struct files *files, struct peer *peer, unsigned threads, double time) {
  struct syncer syncers[MOST_THREADS];
  struct thread_work work[MOST_THREADS];
  double start = seconds();
  uint64_t done = 0;

  for (unsigned i = 0; i < threads; i++) {
    syncers[i] = (struct syncer){files, peer, i, start + time, 0};
    work[i] = (struct thread_work){sync_repeatedly, &syncers[i]};
  }
  run_threads(threads, work);
  double elapsed = seconds() - start;
  for (unsigned i = 0; i < threads; i++)
    done += syncers[i].done;
  return (double)done / elapsed;
}

/* The same, and the commits for each sync. */
static void print_casefs_rate(const char *name, struct files *files, unsigned threads,
                              double time) {
  uint64_t commits = files_statistics(files).commits;
  double rate = sync_rate(files, NULL, threads, time);
  commits = files_statistics(files).commits - commits;
  printf("\"%s\": %.1f, \"%s_commits\": %.4f, ", name, rate, name, (double)commits / (rate * time));
}

static void make_files(struct files *files, const char *image, unsigned threads, unsigned delay) {
  struct casefs_device *device;
  check(casefs_device_open_file(image, CASEFS_DEVICE_CREATE, 64 * MIB, &device, NULL), image);
  files_create(files, device, false, 0, 0, delay);
  for (unsigned i = 0; i < threads; i++)
    create_file(files, 0, i);
  files_sync(files);
}

int syncs_main(int argument_count, char **arguments) {
  struct files fast, slow;
  struct peer *peer = peer_open(arguments[1], true);
  double time = (double)number(arguments[2]) / 1000;
  unsigned threads = (unsigned)number(arguments[3]);
  char slow_image[4096];

  (void)argument_count;
  if (threads == 0 || threads > MOST_THREADS)
    check(-22, "THREADS");
  snprintf(slow_image, sizeof slow_image, "%s.slow", arguments[0]);
  make_files(&fast, arguments[0], threads, 0);
  make_files(&slow, slow_image, threads, SLOW_FLUSH);
  printf("{\"turns\": [");
  for (unsigned turn = 0; turn < TURNS; turn++) {
    printf("%s{", turn ? ", " : "");
    print_casefs_rate("one", &fast, 1, time);
    printf("\"lmdb_one\": %.1f, ", sync_rate(NULL, peer, 1, time));
    print_casefs_rate("many", &fast, threads, time);
    printf("\"lmdb_many\": %.1f, ", sync_rate(NULL, peer, threads, time));
    print_casefs_rate("slow_one", &slow, 1, time);
    print_casefs_rate("slow_many", &slow, threads, time);
    printf("\"turn\": %u}", turn);
  }
  printf("]}\n");
  files_close(&fast);
  files_close(&slow);
  peer_close(peer);
  unlink(arguments[0]);
  unlink(slow_image);
  return 0;
}
