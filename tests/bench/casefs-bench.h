/* SPDX-License-Identifier: BSD-3-Clause
 *
 * casefsload: what its parts share.  It is run by tests/bench/casefs, and prints JSON.
 */

#ifndef CASEFS_BENCH_H
#define CASEFS_BENCH_H

#include "casefs.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MIB ((uint64_t)1 << 20)
#define VOLUME_SIZE ((uint64_t)64 << 30) /* of volumes in memory, which is sparse */

/* One part of the program: what follows its name on the command line.  Returns an exit status. */
int nodes_main(int count, char **arguments);
int growth_main(int count, char **arguments);
int memory_main(int count, char **arguments);
int commit_main(int count, char **arguments);
int syncs_main(int count, char **arguments);
int large_main(int count, char **arguments);
int format_main(int count, char **arguments);

/* ------------------------------------------------------------------- tools */

double seconds(void);
uint64_t next_random(uint64_t *state);
/* If it is an error, say what, and exit. */
void check(int64_t result, const char *what);
void *allocate(size_t size);
uint64_t number(const char *text);

struct thread_work {
  void *(*run)(void *);
  void *argument;
};
void run_threads(unsigned count, const struct thread_work *work);

/* --------------------------------------------------------------- file names */

#define NAME_LENGTH 17u
typedef char file_name[NAME_LENGTH + 1];

/* The name of a number; names are in order as their numbers are. */
void make_name(uint32_t index, file_name name);
/* The same in another spelling. */
void respell(file_name name);
/* The numbers 0 to count - 1 in random order. */
uint32_t *shuffled(uint32_t count, uint64_t seed);
void shuffle(uint32_t *numbers, uint32_t count, uint64_t *state);

/* ------------------------------------------------------------------ casefs */

/* What a device was asked to do. */
struct counts {
  atomic_ullong reads, writes, durable, bytes, flushes;
};

/* A device that counts, and takes delay microseconds longer for what must survive.  Closing it
 * closes the other. */
struct casefs_device *counting_device(struct casefs_device *inner, struct counts *counts,
                                      unsigned delay);

/* A directory of a volume. */
struct files {
  struct casefs_device *device;
  struct counts counts;
  casefs_volume *volume;
  casefs_node *directory;
};

/* A new volume, with a directory; sizes of 0: the defaults. */
void files_create(struct files *files, struct casefs_device *device, bool insensitive,
                  uint64_t cache_size, uint64_t dirty_limit, unsigned delay);
/* The same, in memory. */
void files_create_memory(struct files *files, bool insensitive, uint64_t cache_size,
                         uint64_t dirty_limit);
void files_close(struct files *files);
struct casefs_statistics files_statistics(struct files *files);

/* Seconds that it took for all those names. */
double files_make(struct files *files, const file_name *names, uint32_t count);
double files_find(struct files *files, const file_name *names, uint32_t count);
double files_remove(struct files *files, const file_name *names, uint32_t count);
double files_sync(struct files *files);
/* All that are there, which must be so many. */
double files_list(struct files *files, uint64_t count, bool attributes);

/* -------------------------------------------------------------------- LMDB */

/* A database of names with eight bytes each, in a file in a folder that is unlinked at once. */
struct peer;
struct peer *peer_open(const char *folder, bool sync);
void peer_close(struct peer *peer);
void peer_begin(struct peer *peer, bool write);
/* Seconds, as above. */
double peer_put(struct peer *peer, const file_name *names, uint32_t count);
double peer_get(struct peer *peer, const file_name *names, uint32_t count);
double peer_delete(struct peer *peer, const file_name *names, uint32_t count);
double peer_list(struct peer *peer, uint64_t count);
double peer_commit(struct peer *peer);
/* One change in a transaction of its own; for any thread. */
void peer_put_alone(struct peer *peer, const file_name *name, uint64_t value);

#endif
