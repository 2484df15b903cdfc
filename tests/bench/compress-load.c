/* SPDX-License-Identifier: BSD-3-Clause */
/* compress-load: load whose bytes come from a file, for servers that compress.
 *
 *   compress-load URI FILE write           all of FILE, in order, to the same offsets
 *   compress-load URI FILE rewrite SECONDS 4 KiB to random offsets, from random places of FILE
 *   compress-load URI FILE read            as much as FILE has, in order
 *   compress-load URI FILE random SECONDS  reads of 4 KiB at random offsets
 *   compress-load URI FILE check           read, and compare with FILE
 *
 * One connection, sixteen requests in flight; in order means 256 KiB each.  Sectors of zeros are
 * never the payload of a rewrite, because servers do not keep them.  The payload goes out from
 * where the file is mapped, so that little of what is measured is the client.  Prints seconds and
 * requests. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <libnbd.h>

enum { DEPTH = 16, SECTOR = 4096, LARGE = 256 * 1024 };

struct slot {
  struct load *load;
  unsigned char *buffer;
  uint64_t offset, count;
  bool busy;
};

struct load {
  struct nbd_handle *nbd;
  const unsigned char *file;
  uint64_t size; /* bytes, in whole sectors */
  bool writes, random, compares;
  double seconds; /* of random requests */
  uint64_t next, done, state;
  unsigned in_flight;
  int error;
  struct slot slots[DEPTH];
};

static void die(const char *what) {
  fprintf(stderr, "compress-load: %s: %s\n", what, nbd_get_error() ? nbd_get_error() : "failed");
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static uint64_t next_random(uint64_t *state, uint64_t below) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state % below;
}

static int request_done(void *opaque, int *error) {
  struct slot *slot = opaque;
  struct load *load = slot->load;
  if (*error != 0)
    load->error = *error;
  else if (load->compares && memcmp(slot->buffer, load->file + slot->offset, slot->count) != 0)
    load->error = EILSEQ;
  slot->busy = false;
  load->in_flight--;
  load->done++;
  return 1;
}

/* Sectors that are not zeros are frequent, so this ends. */
static const unsigned char *random_payload(struct load *load) {
  for (;;) {
    const unsigned char *sector =
        load->file + next_random(&load->state, load->size / SECTOR) * SECTOR;
    if (sector[0] != 0 || memcmp(sector, sector + 1, SECTOR - 1) != 0)
      return sector;
  }
}

static void issue(struct load *load, struct slot *slot) {
  nbd_completion_callback done = {.callback = request_done, .user_data = slot};
  const unsigned char *payload;
  if (load->random) {
    slot->offset = next_random(&load->state, load->size / SECTOR) * SECTOR;
    slot->count = SECTOR;
    payload = load->writes ? random_payload(load) : NULL;
  } else {
    slot->offset = load->next;
    slot->count = load->size - load->next < LARGE ? load->size - load->next : LARGE;
    load->next += slot->count;
    payload = load->file + slot->offset;
  }
  slot->busy = true;
  load->in_flight++;
  int64_t cookie = load->writes
                       ? nbd_aio_pwrite(load->nbd, payload, slot->count, slot->offset, done, 0)
                       : nbd_aio_pread(load->nbd, slot->buffer, slot->count, slot->offset, done, 0);
  if (cookie == -1)
    die("request");
}

static void run(struct load *load) {
  double start = now();
  for (;;) {
    bool open = load->random ? now() - start < load->seconds : load->next < load->size;
    for (int i = 0; i < DEPTH && open; i++) {
      if (!load->slots[i].busy)
        issue(load, &load->slots[i]);
      open = load->random || load->next < load->size;
    }
    if (load->in_flight == 0)
      break;
    if (nbd_poll(load->nbd, -1) == -1)
      die("waiting");
    if (load->error != 0) {
      fprintf(stderr, "compress-load: %s\n",
              load->error == EILSEQ ? "the disk has other bytes than the file"
                                    : strerror(load->error));
      exit(1);
    }
  }
  printf("%.3f %" PRIu64 "\n", now() - start, load->done);
}

static void open_file(struct load *load, const char *path) {
  struct stat status;
  int file = open(path, O_RDONLY);
  if (file < 0 || fstat(file, &status) != 0 || status.st_size < SECTOR) {
    fprintf(stderr, "compress-load: %s cannot be read, or is shorter than 4 KiB\n", path);
    exit(1);
  }
  load->size = (uint64_t)status.st_size / SECTOR * SECTOR;
  void *mapping = mmap(NULL, load->size, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
  if (mapping == MAP_FAILED) {
    perror("compress-load: mmap");
    exit(1);
  }
  load->file = mapping;
  close(file);
}

static void connect_to(struct load *load, const char *uri) {
  load->nbd = nbd_create();
  if (!load->nbd || nbd_set_strict_mode(load->nbd, 0) == -1 ||
      nbd_set_request_structured_replies(load->nbd, false) == -1 ||
      nbd_set_pread_initialize(load->nbd, false) == -1 || nbd_connect_uri(load->nbd, uri) == -1)
    die("connecting");
}

int main(int argc, char *argv[]) {
  static struct load load = {.state = 88172645463325252u};
  const char *operation = argc > 3 ? argv[3] : "";
  load.writes = strcmp(operation, "write") == 0 || strcmp(operation, "rewrite") == 0;
  load.random = strcmp(operation, "random") == 0 || strcmp(operation, "rewrite") == 0;
  load.compares = strcmp(operation, "check") == 0;
  load.seconds = argc > 4 ? strtod(argv[4], NULL) : 0;
  if (!(load.writes || load.random || load.compares || strcmp(operation, "read") == 0) ||
      argc != (load.random ? 5 : 4)) {
    fprintf(stderr, "usage: compress-load URI FILE write|read|check|(rewrite|random SECONDS)\n");
    return 2;
  }
  open_file(&load, argv[2]);
  connect_to(&load, argv[1]);
  for (int i = 0; i < DEPTH; i++) {
    load.slots[i] = (struct slot){.load = &load, .buffer = malloc(LARGE)};
    if (!load.slots[i].buffer)
      abort();
  }
  run(&load);
  nbd_close(load.nbd);
  return 0;
}
