/* SPDX-License-Identifier: BSD-3-Clause */
/* nbdload: a load generator for NBD servers.
 *
 * One thread per connection, each with its own libnbd handle and poll loop, keeps a fixed number
 * of requests in flight.  Nothing is allocated per request: a connection owns DEPTH slots, a slot
 * owns a buffer, and a slot whose request has completed is issued again.  Structured replies,
 * libnbd's clearing of read buffers and its argument checks are off, so that as little as
 * possible of what is measured is the client.
 *
 * It ends after a time (--seconds) or after an amount of data (--bytes).  In the first case only
 * requests that complete inside the time window count; in the second the time runs from the
 * start to the last completion.  One line of JSON is printed.
 */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libnbd.h>

#define STAMP_DISTANCE 4096 /* one changing word per this many bytes of payload */
#define MAX_DATA_REQUEST (64u << 20)
#define MAX_CONNECTIONS 256
#define MAX_DEPTH 1024

enum operation { OP_READ, OP_WRITE, OP_ZERO, OP_TRIM };
static const char *const operation_names[] = {"read", "write", "zero", "trim"};

struct options {
  const char *uri;
  enum operation operation;
  bool random;
  bool zero_payload; /* writes carry zeros instead of random bytes */
  uint64_t block;
  uint64_t stride;        /* distance between sequential requests; 0: block */
  uint64_t offset, range; /* the part of the disk that is used; range 0: to its end */
  uint64_t bytes;         /* the amount to transfer; 0: run for `seconds` */
  uint64_t mark;          /* report the time when this much has completed; 0: no */
  uint64_t seed;
  unsigned connections, depth;
  double seconds, warmup;
};

/* Latencies, in nanoseconds, in buckets whose width is 1/32 of their value or less. */
#define SUB_BITS 5
#define SUB_COUNT (1u << SUB_BITS)
#define BUCKETS ((64 - SUB_BITS + 1) * SUB_COUNT)

struct histogram {
  uint64_t count[BUCKETS];
};

struct slot {
  struct connection *connection;
  unsigned char *buffer;
  uint64_t started;
  struct slot *next; /* in the connection's list of idle slots */
};

struct connection {
  const struct options *options;
  struct nbd_handle *nbd;
  struct slot *slots;
  struct slot *idle;
  unsigned in_flight;
  int error; /* the first request that failed, as an errno */
  uint64_t random_state, stamp;
  uint64_t base, blocks; /* sequential: this connection's part, in steps of stride */
  uint64_t next_block;
  uint64_t quota;             /* requests still to issue; UINT64_MAX when bound by time */
  uint64_t issued, completed; /* all requests; those that count */
  uint64_t finished;          /* time of the last completion */
  struct histogram latency;
};

/* Set by main between the two barriers, read by the threads after the second. */
static pthread_barrier_t barrier;
static uint64_t window_start, window_end;

/* For --mark, the only state the connections share while running. */
static uint64_t marked_blocks, mark_blocks;
static uint64_t mark_time;

static uint64_t now(void) {
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
  fprintf(stderr, "nbdload: %s: %s\n", what, nbd_get_error());
  exit(1);
}

/* splitmix64 */
static uint64_t next_random(uint64_t *state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15u);

  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static unsigned bucket_of(uint64_t value) {
  unsigned shift;

  if (value < SUB_COUNT)
    return (unsigned)value;
  shift = 63u - (unsigned)__builtin_clzll(value) - SUB_BITS;
  return (shift << SUB_BITS) + (unsigned)(value >> shift);
}

/* The middle of a bucket. */
static double bucket_value(unsigned bucket) {
  unsigned shift;

  if (bucket < 2 * SUB_COUNT)
    return bucket;
  shift = (bucket >> SUB_BITS) - 1;
  return ((double)(SUB_COUNT + (bucket & (SUB_COUNT - 1))) + 0.5) * (double)(1ull << shift);
}

static double percentile(const struct histogram *h, double fraction) {
  uint64_t total = 0, seen = 0;

  for (unsigned i = 0; i < BUCKETS; i++)
    total += h->count[i];
  for (unsigned i = 0; i < BUCKETS; i++) {
    seen += h->count[i];
    if (seen > 0 && (double)seen >= fraction * (double)total)
      return bucket_value(i);
  }
  return 0;
}

static void count_mark(uint64_t when) {
  if (__atomic_add_fetch(&marked_blocks, 1, __ATOMIC_RELAXED) == mark_blocks)
    __atomic_store_n(&mark_time, when, __ATOMIC_RELAXED);
}

/* Called by libnbd with the handle locked: only takes note, the loop issues the next request. */
static int request_done(void *data, int *error) {
  struct slot *slot = data;
  struct connection *c = slot->connection;
  uint64_t when = now();

  if (*error != 0 && c->error == 0)
    c->error = *error;
  if (when >= window_start && when <= window_end) {
    c->completed++;
    c->latency.count[bucket_of(when - slot->started)]++;
  }
  if (mark_blocks != 0)
    count_mark(when);
  c->finished = when;
  c->in_flight--;
  slot->next = c->idle;
  c->idle = slot;
  return 1;
}

static uint64_t next_offset(struct connection *c) {
  const struct options *o = c->options;

  if (o->random) {
    uint64_t r = next_random(&c->random_state);
    uint64_t block = (uint64_t)(((unsigned __int128)r * (o->range / o->block)) >> 64);

    return o->offset + block * o->block;
  }
  if (c->next_block == c->blocks)
    c->next_block = 0;
  return c->base + c->next_block++ * o->stride;
}

/* Makes the payload differ from every other request's, at the price of a word per sector. */
static void stamp_payload(struct connection *c, unsigned char *buffer) {
  const struct options *o = c->options;

  if (o->zero_payload)
    return;
  for (uint64_t i = 0; i + sizeof c->stamp <= o->block; i += STAMP_DISTANCE) {
    c->stamp += 2; /* starts odd, so is never zero */
    memcpy(buffer + i, &c->stamp, sizeof c->stamp);
  }
}

static void issue(struct connection *c, struct slot *slot) {
  const struct options *o = c->options;
  nbd_completion_callback done = {.callback = request_done, .user_data = slot};
  uint64_t offset = next_offset(c);
  int64_t cookie = -1;

  slot->started = now();
  switch (o->operation) {
  case OP_READ:
    cookie = nbd_aio_pread(c->nbd, slot->buffer, o->block, offset, done, 0);
    break;
  case OP_WRITE:
    stamp_payload(c, slot->buffer);
    cookie = nbd_aio_pwrite(c->nbd, slot->buffer, o->block, offset, done, 0);
    break;
  case OP_ZERO:
    cookie = nbd_aio_zero(c->nbd, o->block, offset, done, 0);
    break;
  case OP_TRIM:
    cookie = nbd_aio_trim(c->nbd, o->block, offset, done, 0);
    break;
  }
  if (cookie == -1)
    die("request");
  c->issued++;
  c->in_flight++;
}

/* Handles at least one event.  Reads first and polls only when nothing was there: with many
 * requests in flight the next reply has usually arrived already.
 */
static void progress(struct connection *c) {
  unsigned before = c->in_flight, direction = nbd_aio_get_direction(c->nbd);
  struct pollfd fd = {.fd = nbd_aio_get_fd(c->nbd)};

  if (direction == LIBNBD_AIO_DIRECTION_READ) {
    if (nbd_aio_notify_read(c->nbd) == -1)
      die("receiving");
    if (c->in_flight != before)
      return;
    direction = nbd_aio_get_direction(c->nbd);
  }
  if (direction & LIBNBD_AIO_DIRECTION_READ)
    fd.events |= POLLIN;
  if (direction & LIBNBD_AIO_DIRECTION_WRITE)
    fd.events |= POLLOUT;
  if (poll(&fd, 1, -1) == -1 && errno != EINTR) {
    perror("nbdload: poll");
    exit(1);
  }
  direction = nbd_aio_get_direction(c->nbd);
  if ((fd.revents & POLLIN) && (direction & LIBNBD_AIO_DIRECTION_READ)) {
    if (nbd_aio_notify_read(c->nbd) == -1)
      die("receiving");
  } else if ((fd.revents & POLLOUT) && (direction & LIBNBD_AIO_DIRECTION_WRITE)) {
    if (nbd_aio_notify_write(c->nbd) == -1)
      die("sending");
  } else if (fd.revents & (POLLERR | POLLHUP | POLLNVAL)) {
    fprintf(stderr, "nbdload: the server closed the connection\n");
    exit(1);
  }
}

static struct nbd_handle *connect_to(const char *uri) {
  struct nbd_handle *nbd = nbd_create();

  if (nbd == NULL || nbd_set_strict_mode(nbd, 0) == -1 ||
      nbd_set_request_structured_replies(nbd, false) == -1 ||
      nbd_set_pread_initialize(nbd, false) == -1 || nbd_connect_uri(nbd, uri) == -1)
    die("connecting");
  return nbd;
}

static void make_slots(struct connection *c) {
  const struct options *o = c->options;
  bool data = o->operation == OP_READ || o->operation == OP_WRITE;

  c->slots = calloc(o->depth, sizeof *c->slots);
  if (c->slots == NULL)
    abort();
  for (unsigned i = 0; i < o->depth; i++) {
    struct slot *slot = &c->slots[i];

    slot->connection = c;
    slot->next = c->idle;
    c->idle = slot;
    if (!data)
      continue;
    slot->buffer = aligned_alloc(4096, (o->block + 4095) & ~(uint64_t)4095);
    if (slot->buffer == NULL)
      abort();
    memset(slot->buffer, 0, o->block);
    if (o->operation != OP_WRITE || o->zero_payload)
      continue;
    for (uint64_t j = 0; j < o->block; j++)
      slot->buffer[j] = (unsigned char)next_random(&c->random_state);
  }
}

static void *run_connection(void *data) {
  struct connection *c = data;

  c->nbd = connect_to(c->options->uri);
  make_slots(c);
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);

  for (;;) {
    bool open = c->quota == UINT64_MAX ? now() < window_end : c->quota > 0;

    while (open && c->idle != NULL && c->quota > 0) {
      struct slot *slot = c->idle;

      c->idle = slot->next;
      issue(c, slot);
      if (c->quota != UINT64_MAX)
        c->quota--;
    }
    if (c->in_flight == 0 && !open)
      break;
    progress(c);
    if (c->error != 0) {
      fprintf(stderr, "nbdload: a %s failed: %s\n", operation_names[c->options->operation],
              strerror(c->error));
      exit(1);
    }
  }
  nbd_close(c->nbd);
  return NULL;
}

static void share_out(const struct options *o, struct connection *connections) {
  uint64_t steps = (o->range - o->block) / o->stride + 1;
  uint64_t part = steps / o->connections, requests = o->bytes / o->block;

  for (unsigned i = 0; i < o->connections; i++) {
    struct connection *c = &connections[i];

    c->options = o;
    c->random_state = o->seed * 1000003u + i;
    c->stamp = next_random(&c->random_state) | 1;
    c->base = o->offset + i * part * o->stride;
    c->blocks = part;
    c->quota = o->bytes == 0 ? UINT64_MAX : requests / o->connections;
  }
}

static void print_result(const struct options *o, const struct connection *connections,
                         double seconds) {
  static struct histogram all;
  uint64_t issued = 0, completed = 0;

  for (unsigned i = 0; i < o->connections; i++) {
    issued += connections[i].issued;
    completed += connections[i].completed;
    for (unsigned j = 0; j < BUCKETS; j++)
      all.count[j] += connections[i].latency.count[j];
  }
  printf("{\"op\": \"%s\", \"pattern\": \"%s\", \"block\": %" PRIu64 ", \"connections\": %u, "
         "\"depth\": %u, \"seconds\": %.6f, \"issued\": %" PRIu64 ", \"ops\": %" PRIu64 ", "
         "\"iops\": %.1f, "
         "\"bytes_per_second\": %.0f, \"p50_us\": %.2f, \"p99_us\": %.2f",
         operation_names[o->operation], o->random ? "random" : "sequential", o->block,
         o->connections, o->depth, seconds, issued, completed, (double)completed / seconds,
         (double)completed * (double)o->block / seconds, percentile(&all, 0.50) / 1000,
         percentile(&all, 0.99) / 1000);
  if (o->mark != 0)
    printf(", \"mark_seconds\": %.6f", (double)(mark_time - window_start) / 1e9);
  printf("}\n");
}

static void run(const struct options *o) {
  struct connection *connections = calloc(o->connections, sizeof *connections);
  pthread_t threads[MAX_CONNECTIONS];
  uint64_t start;
  double seconds = o->seconds;

  if (connections == NULL)
    abort();
  share_out(o, connections);
  mark_blocks = o->mark / o->block;
  pthread_barrier_init(&barrier, NULL, o->connections + 1);
  for (unsigned i = 0; i < o->connections; i++)
    if (pthread_create(&threads[i], NULL, run_connection, &connections[i]) != 0)
      abort();

  pthread_barrier_wait(&barrier);
  start = now();
  window_start = start + (uint64_t)(o->bytes == 0 ? o->warmup * 1e9 : 0);
  window_end = o->bytes == 0 ? window_start + (uint64_t)(o->seconds * 1e9) : UINT64_MAX;
  pthread_barrier_wait(&barrier);

  for (unsigned i = 0; i < o->connections; i++)
    pthread_join(threads[i], NULL);
  if (o->bytes != 0) {
    uint64_t last = start;

    for (unsigned i = 0; i < o->connections; i++)
      if (connections[i].finished > last)
        last = connections[i].finished;
    seconds = (double)(last - start) / 1e9;
  }
  print_result(o, connections, seconds);
}

/* Bytes, with an optional K, M, G, T, P or E (powers of 1024). */
static uint64_t parse_size(const char *text) {
  static const char units[] = "KMGTPE";
  char *end;
  uint64_t value = strtoull(text, &end, 10);
  const char *unit = *end != '\0' ? strchr(units, *end) : NULL;

  if (end == text || (*end != '\0' && (unit == NULL || end[1] != '\0'))) {
    fprintf(stderr, "nbdload: not a size: %s\n", text);
    exit(2);
  }
  return unit != NULL ? value << (10 * (unit - units + 1)) : value;
}

static unsigned parse_count(const char *text, unsigned max) {
  unsigned long value = strtoul(text, NULL, 10);

  if (value < 1 || value > max) {
    fprintf(stderr, "nbdload: not in 1..%u: %s\n", max, text);
    exit(2);
  }
  return (unsigned)value;
}

static enum operation parse_operation(const char *text) {
  for (unsigned i = 0; i < sizeof operation_names / sizeof *operation_names; i++)
    if (strcmp(text, operation_names[i]) == 0)
      return (enum operation)i;
  fprintf(stderr, "nbdload: not an operation: %s\n", text);
  exit(2);
}

static void usage(FILE *out) {
  fputs("usage: nbdload --uri URI [OPTION...]\n"
        "  --op read|write|zero|trim   (read)\n"
        "  --pattern random|sequential (random)\n"
        "  --block SIZE                bytes per request (4K)\n"
        "  --stride SIZE               between sequential requests (the block size)\n"
        "  --offset SIZE --range SIZE  the part of the disk to use (all)\n"
        "  --connections N --depth N   (1, 16)\n"
        "  --seconds S --warmup S      run for a time (1, 0.03)\n"
        "  --bytes SIZE                run until this much is done, instead of for a time\n"
        "  --mark SIZE                 report also when this much was done\n"
        "  --zeros                     write zeros instead of random bytes\n"
        "  --seed N                    (1)\n",
        out);
}

static void parse_options(struct options *o, int argc, char *argv[]) {
  static const struct option options[] = {{"uri", required_argument, NULL, 'u'},
                                          {"op", required_argument, NULL, 'o'},
                                          {"pattern", required_argument, NULL, 'p'},
                                          {"block", required_argument, NULL, 'b'},
                                          {"stride", required_argument, NULL, 'g'},
                                          {"offset", required_argument, NULL, 'f'},
                                          {"range", required_argument, NULL, 'r'},
                                          {"connections", required_argument, NULL, 'c'},
                                          {"depth", required_argument, NULL, 'd'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"warmup", required_argument, NULL, 'w'},
                                          {"bytes", required_argument, NULL, 'n'},
                                          {"mark", required_argument, NULL, 'm'},
                                          {"zeros", no_argument, NULL, 'z'},
                                          {"seed", required_argument, NULL, 'x'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
  int option;

  while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
    switch (option) {
    case 'u':
      o->uri = optarg;
      break;
    case 'o':
      o->operation = parse_operation(optarg);
      break;
    case 'p':
      o->random = strcmp(optarg, "sequential") != 0;
      break;
    case 'b':
      o->block = parse_size(optarg);
      break;
    case 'g':
      o->stride = parse_size(optarg);
      break;
    case 'f':
      o->offset = parse_size(optarg);
      break;
    case 'r':
      o->range = parse_size(optarg);
      break;
    case 'c':
      o->connections = parse_count(optarg, MAX_CONNECTIONS);
      break;
    case 'd':
      o->depth = parse_count(optarg, MAX_DEPTH);
      break;
    case 's':
      o->seconds = strtod(optarg, NULL);
      break;
    case 'w':
      o->warmup = strtod(optarg, NULL);
      break;
    case 'n':
      o->bytes = parse_size(optarg);
      break;
    case 'm':
      o->mark = parse_size(optarg);
      break;
    case 'z':
      o->zero_payload = true;
      break;
    case 'x':
      o->seed = strtoull(optarg, NULL, 10);
      break;
    case 'h':
      usage(stdout);
      exit(0);
    default:
      usage(stderr);
      exit(2);
    }
  }
  if (o->uri == NULL || optind != argc) {
    usage(stderr);
    exit(2);
  }
}

/* Completes the options with the disk's size and refuses what would not fit. */
static void check_options(struct options *o) {
  struct nbd_handle *nbd = connect_to(o->uri);
  int64_t size = nbd_get_size(nbd);
  bool data = o->operation == OP_READ || o->operation == OP_WRITE;

  if (size == -1)
    die("size");
  nbd_close(nbd);
  if (o->stride == 0)
    o->stride = o->block;
  if (o->range == 0 && o->offset < (uint64_t)size)
    o->range = (uint64_t)size - o->offset;
  if (o->block == 0 || o->block > (data ? MAX_DATA_REQUEST : UINT32_MAX) || o->stride == 0 ||
      o->offset > (uint64_t)size || o->range > (uint64_t)size - o->offset ||
      o->range / o->connections < o->block || o->range / o->connections < o->stride ||
      (o->bytes == 0 ? o->seconds <= 0 : o->bytes / o->connections < o->block)) {
    fprintf(stderr,
            "nbdload: the block, range or amount does not fit the disk of %" PRId64 " bytes\n",
            size);
    exit(2);
  }
}

int main(int argc, char *argv[]) {
  struct options options = {
      .block = 4096,
      .random = true,
      .seed = 1,
      .connections = 1,
      .depth = 16,
      .seconds = 1,
      .warmup = 0.03,
  };

  parse_options(&options, argc, argv);
  check_options(&options);
  run(&options);
  return 0;
}
