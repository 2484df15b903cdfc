/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Why units are of 64 KiB: what tests/bench/units-bench says of a tar file of
 * /usr/include, parts of Linux and this project (224 MiB), at 4 KiB sectors.
 * The ratio is that of data to all memory taken; speeds are of one processor.
 *
 *              ratio     make MB/s   us/sector    read MB/s    sparse
 *    unit    lz4  zstd   lz4  zstd   lz4  zstd    lz4   zstd   lz4  zstd
 *    4 KiB  2.08  2.88   500   195     2     6   2300    670   2.4   3.2
 *    8 KiB  2.33  3.35   530   235     3    10   2200    770   1.7   2.1
 *   16 KiB  2.54  3.78   570   245     5    20   2200    965   1.3   1.5
 *   32 KiB  2.72  4.05   530   275     9    27   2100   1190   1.1   1.2
 *   64 KiB  2.87  4.30   540   280    14    50   2200   1150   1.1   1.1
 *
 * us/sector is the time to bring back one sector, at random; read is all of a unit
 * at once; sparse is memory to frames after nine in ten units went.  An
 * ext4 image of the same files gives 2.91 and 4.37.  nbdkit's memory plugin
 * with allocator=zstd, which has pages of 32 KiB at level 3, reaches 4.11 on
 * the tar file: only 64 KiB are better than that.
 *
 * Granules of 512 bytes would take 7 % more for units of one sector, of 128
 * bytes 4 % less, and nothing that can be seen for large units.
 *
 * Of zstd's levels, in units of 64 KiB: 1 makes them at 350 MB/s, 6 % larger
 * than level 3 does, at 258; level 3 with small tables 1 % larger, at 280.
 */

#include "units.h"

#include "copy.h"
#include "granules.h"
#include "store.h"

#include <errno.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

/* How a unit lies in memory: in one or more fragments, each a run of
 * neighbouring granules, linked in order.  Most have one or two.
 *
 *   reference -> | header, link | frame ...    |    fragment 1
 *                            |
 *                            +-> | link | ... frame |   fragment 2, and so on */

enum {
  PARKED = 16, /* idle contexts that are kept */

  /* What a context keeps of units it has decompressed: those of one group that was written
   * here and there are many, and their sectors are asked for in turn. */
  PLAINS = 8,
  PLAIN_SHARE = 2, /* room for so many units of full size */

  /* Level 3 of zstd, with tables that fit a processor's first cache. */
  ZSTD_LEVEL = 3,
  ZSTD_TABLES_LOG = 13,
};

struct link {
  uint32_t next;     /* first granule of the next fragment, or NO_GRANULE */
  uint16_t granules; /* of this fragment */
  uint8_t method;    /* of the unit, in its first fragment */
};

struct header {
  struct link link;         /* of the first fragment */
  uint32_t length;          /* of the frame, in bytes */
  uint32_t checksum;        /* see checksum() */
  uint32_t framed;          /* the sectors that the frame has */
  _Atomic uint32_t present; /* those of them that were not dropped */
  _Atomic uint32_t stamp;
  uint32_t number; /* which unit of all that were made it is, for plain_of */
};

/* A unit whose sectors a context has, decompressed.  A reference and a checksum
 * may come again, but not with the same number for four thousand million units. */
struct plain {
  uint32_t reference; /* or 0: none */
  uint32_t number;
  uint32_t checksum;
  uint32_t start; /* in the context's plain bytes */
  uint32_t room;  /* from there on, for all of its sectors */
  uint32_t bytes; /* of the first sectors, that are there */
};

/* What compressing and decompressing need besides source and destination. */
struct context {
  unsigned char *gathered; /* a frame */
  unsigned char *plain;    /* sectors of the last units that were read in parts */
  struct plain plains[PLAINS];
  unsigned next_plain; /* the next one to be made */
  uint32_t plain_end;  /* where it begins, unless it does not fit there */
  void *lz4;
  ZSTD_CCtx *compressor; /* made when first needed */
  ZSTD_DCtx *decompressor;
  size_t bytes; /* of all that, as far as it is counted in the pool */
};

struct units {
  struct granules *granules;
  unsigned sector_shift;

  _Atomic(struct context *) parked[PARKED];
  pthread_mutex_t last_lock; /* of last: for when the system has no memory */
  struct context *last;
  _Atomic uint64_t context_bytes;

  _Atomic uint32_t made; /* units, ever */
  _Atomic uint64_t count;
  _Atomic uint64_t sectors;
  _Atomic uint64_t framed; /* sectors, dropped or not */
  _Atomic uint64_t packed;
  _Atomic uint64_t refused;
};

static void add(_Atomic uint64_t *counter, uint64_t number) {
  atomic_fetch_add_explicit(counter, number, memory_order_relaxed);
}

static void subtract(_Atomic uint64_t *counter, uint64_t number) {
  atomic_fetch_sub_explicit(counter, number, memory_order_relaxed);
}

static uint32_t bits_in(uint32_t mask) {
  return (uint32_t)__builtin_popcount(mask);
}

static size_t unit_bytes(const struct units *units) {
  return (size_t)UNIT_SECTORS << units->sector_shift;
}

/* ---------------------------------------------------------------- contexts */

/* Bring the pool's count up to date with what a context takes. */
static void count_context(struct units *units, struct context *context) {
  size_t bytes = sizeof *context + (1 + PLAIN_SHARE) * unit_bytes(units) +
                 (size_t)LZ4_sizeofState() + ZSTD_sizeof_CCtx(context->compressor) +
                 ZSTD_sizeof_DCtx(context->decompressor);
  if (bytes != context->bytes)
    add(&units->context_bytes, bytes - context->bytes);
  context->bytes = bytes;
}

static void free_context(struct units *units, struct context *context) {
  if (!context)
    return;
  subtract(&units->context_bytes, context->bytes);
  ZSTD_freeCCtx(context->compressor);
  ZSTD_freeDCtx(context->decompressor);
  free(context->gathered);
  free(context->plain);
  free(context->lz4);
  free(context);
}

static struct context *new_context(struct units *units) {
  struct context *context = calloc(1, sizeof *context);
  if (!context)
    return NULL;
  context->gathered = malloc(unit_bytes(units));
  context->plain = malloc(PLAIN_SHARE * unit_bytes(units));
  context->lz4 = malloc((size_t)LZ4_sizeofState());
  if (!context->gathered || !context->plain || !context->lz4) {
    free_context(units, context);
    return NULL;
  }
  count_context(units, context);
  return context;
}

static bool prepare_compressor(struct context *context) {
  if (context->compressor)
    return true;
  context->compressor = ZSTD_createCCtx();
  if (!context->compressor)
    return false;
  ZSTD_CCtx_setParameter(context->compressor, ZSTD_c_compressionLevel, ZSTD_LEVEL);
  ZSTD_CCtx_setParameter(context->compressor, ZSTD_c_hashLog, ZSTD_TABLES_LOG);
  ZSTD_CCtx_setParameter(context->compressor, ZSTD_c_chainLog, ZSTD_TABLES_LOG);
  return true;
}

static bool prepare_decompressor(struct context *context) {
  if (!context->decompressor)
    context->decompressor = ZSTD_createDCtx();
  return context->decompressor != NULL;
}

/* A context for this thread, or NULL if the system has no memory. */
static struct context *take_context(struct units *units) {
  unsigned start = thread_number();
  for (unsigned i = 0; i < PARKED; i++) {
    _Atomic(struct context *) *parked = &units->parked[(start + i) % PARKED];
    if (!atomic_load_explicit(parked, memory_order_relaxed))
      continue;
    struct context *context = atomic_exchange(parked, NULL);
    if (context)
      return context;
  }
  return new_context(units);
}

static void park_context(struct units *units, struct context *context) {
  unsigned start = thread_number();
  count_context(units, context);
  for (unsigned i = 0; i < PARKED; i++) {
    struct context *none = NULL;
    if (atomic_compare_exchange_strong(&units->parked[(start + i) % PARKED], &none, context))
      return;
  }
  free_context(units, context);
}

/* A context to compress with, or NULL. */
static struct context *take_writer(struct units *units, enum unit_method method) {
  struct context *context = take_context(units);
  if (!context || method != UNIT_ZSTD || prepare_compressor(context))
    return context;
  park_context(units, context);
  return NULL;
}

/* A context to decompress with.  Reading must not fail for want of memory, so
 * one is kept that threads can share. */
static struct context *take_reader(struct units *units, enum unit_method method) {
  struct context *context = take_context(units);
  if (context && (method != UNIT_ZSTD || prepare_decompressor(context)))
    return context;
  if (context)
    park_context(units, context);
  pthread_mutex_lock(&units->last_lock);
  return units->last;
}

static void park_reader(struct units *units, struct context *context) {
  if (context == units->last)
    pthread_mutex_unlock(&units->last_lock);
  else
    park_context(units, context);
}

/* ---------------------------------------------------------------- fragments */

static struct header *header_of(const struct units *units, uint32_t reference) {
  return granule_address(units->granules, reference - 1);
}

void *unit_address(const struct units *units, uint32_t reference) {
  return header_of(units, reference);
}

/* Free a unit, or the part of it that was made. */
static void free_fragments(struct units *units, uint32_t granule) {
  while (granule != NO_GRANULE) {
    struct link link;
    memcpy(&link, granule_address(units->granules, granule), sizeof link);
    granules_give(units->granules, (struct granule_run){.first = granule, .count = link.granules});
    granule = link.next;
  }
}

/* Store a header and a frame.  A reader that is late may still look at what was a sector here
 * (word.h), hence copy_to_sector.  0 or -ENOSPC. */
static int store_frame(struct units *units, const struct header *header, const void *frame,
                       uint32_t *reference) {
  const unsigned char *source = frame;
  uint32_t left = header->length, before = sizeof *header; /* bytes ahead of the frame's */
  uint32_t first = NO_GRANULE;
  unsigned char *last = NULL; /* fragment */
  struct link link = {.method = header->link.method};
  while (left > 0) {
    struct granule_run run =
        granules_take(units->granules, (left + before + GRANULE - 1) >> GRANULE_SHIFT);
    if (run.count == 0) {
      free_fragments(units, first);
      return -ENOSPC;
    }
    unsigned char *address = granule_address(units->granules, run.first);
    if (!last) {
      copy_to_sector(address, header, sizeof *header);
      first = run.first;
    } else {
      link.next = run.first;
      copy_to_sector(last, &link, sizeof link);
    }
    last = address;
    link.next = NO_GRANULE;
    link.granules = (uint16_t)run.count;
    copy_to_sector(last, &link, sizeof link);
    uint32_t count = (run.count << GRANULE_SHIFT) - before;
    count = count < left ? count : left;
    copy_to_sector(address + before, source, count);
    source += count;
    left -= count;
    before = sizeof link;
  }
  *reference = first + 1;
  return 0;
}

/* The link of a fragment; false if there can be none, so that a fault of memory
 * ends in -EIO and nothing worse. */
static bool read_link(const struct units *units, uint32_t granule, struct link *link) {
  if (!granules_exist(units->granules, (struct granule_run){.first = granule, .count = 1}))
    return false;
  memcpy(link, granule_address(units->granules, granule), sizeof *link);
  return granules_exist(units->granules,
                        (struct granule_run){.first = granule, .count = link->granules});
}

/* The frame of a unit, gathered unless it lies in one piece; or NULL. */
static const unsigned char *find_frame(const struct units *units, uint32_t reference,
                                       uint32_t length, unsigned char *gathered) {
  uint32_t before = sizeof(struct header), filled = 0, granule = reference - 1;
  while (filled < length) {
    struct link link;
    if (!read_link(units, granule, &link))
      return NULL;
    const unsigned char *address = granule_address(units->granules, granule);
    uint32_t count = ((uint32_t)link.granules << GRANULE_SHIFT) - before;
    if (filled == 0 && count >= length)
      return address + before;
    if (count > length - filled)
      count = length - filled;
    memcpy(gathered + filled, address + before, count);
    filled += count;
    before = sizeof link;
    granule = link.next;
  }
  return gathered;
}

/* -------------------------------------------------------------- compression */

/* Of a frame and what tells how to decompress it. */
static uint32_t checksum(const void *frame, uint32_t length, enum unit_method method,
                         uint32_t framed) {
  return (uint32_t)XXH3_64bits_withSeed(frame, length, (uint64_t)method << 32 | framed);
}

/* Compress to gathered.  Returns the length, or 0 if that would be over most.
 * Both libraries hurry over what does not compress: random bytes pass at
 * several GB/s, so nothing is gained by a look at a sample first. */
static uint32_t compress(struct context *context, enum unit_method method, const void *data,
                         uint32_t size, uint32_t most) {
  if (method == UNIT_LZ4) {
    int length = LZ4_compress_fast_extState(context->lz4, data, (char *)context->gathered,
                                            (int)size, (int)most, 1);
    return length > 0 ? (uint32_t)length : 0;
  }
  size_t length = ZSTD_compress2(context->compressor, context->gathered, most, data, size);
  return ZSTD_isError(length) ? 0 : (uint32_t)length;
}

/* Decompress the first wanted of size bytes; lz4 can end there, zstd cannot. */
static bool decompress(struct context *context, enum unit_method method, const void *frame,
                       uint32_t length, void *data, uint32_t wanted, uint32_t size) {
  if (method == UNIT_LZ4)
    return LZ4_decompress_safe_partial(frame, data, (int)length, (int)wanted, (int)wanted) ==
           (int)wanted;
  return ZSTD_decompressDCtx(context->decompressor, data, size, frame, length) == size;
}

int unit_make(struct units *units, enum unit_method method, const void *data, uint32_t mask,
              uint32_t stamp, uint32_t *reference) {
  uint32_t sectors = bits_in(mask), size = sectors << units->sector_shift;
  /* With its header it is to take no more than three quarters, in granules. */
  uint32_t most = size / 4 * 3 / GRANULE * GRANULE - (uint32_t)sizeof(struct header);
  struct context *context = take_writer(units, method);
  if (!context)
    return -ENOSPC;
  uint32_t length = compress(context, method, data, size, most);
  int error = -E2BIG;
  if (length != 0) {
    struct header header = {.link.method = (uint8_t)method,
                            .length = length,
                            .checksum = checksum(context->gathered, length, method, mask),
                            .framed = mask,
                            .present = mask,
                            .stamp = stamp,
                            .number = atomic_fetch_add(&units->made, 1)};
    error = store_frame(units, &header, context->gathered, reference);
  }
  park_context(units, context);
  if (error == -E2BIG)
    add(&units->refused, sectors);
  if (error != 0)
    return error;
  add(&units->count, 1);
  add(&units->sectors, sectors);
  add(&units->framed, sectors);
  add(&units->packed, length);
  return 0;
}

/* What unit_read needs to know of a header, which it does not trust. */
struct frame {
  enum unit_method method;
  uint32_t length, framed, checksum, number;
  uint32_t size; /* bytes, decompressed */
};

static bool look_at(const struct units *units, uint32_t reference, uint32_t mask,
                    struct frame *frame) {
  const struct header *header = header_of(units, reference);
  *frame = (struct frame){.method = header->link.method,
                          .length = header->length,
                          .framed = header->framed,
                          .checksum = header->checksum,
                          .number = header->number,
                          .size = bits_in(header->framed) << units->sector_shift};
  return (frame->method == UNIT_LZ4 || frame->method == UNIT_ZSTD) &&
         frame->size <= unit_bytes(units) && frame->length < frame->size && mask != 0 &&
         (mask & ~frame->framed) == 0;
}

/* Copy the sectors in mask out of those of a frame. */
static void pick(const struct units *units, const unsigned char *plain, uint32_t framed,
                 uint32_t mask, unsigned char *data) {
  size_t size = (size_t)1 << units->sector_shift;
  for (uint32_t left = mask; left != 0; left &= left - 1, data += size) {
    uint32_t below = (left & -left) - 1;
    memcpy(data, plain + bits_in(framed & below) * size, size);
  }
}

/* Find a unit's frame, and decompress its first wanted bytes to data, with lz4;
 * with zstd all of them. */
static bool unpack(const struct units *units, struct context *context, uint32_t reference,
                   const struct frame *frame, uint32_t wanted, unsigned char *data) {
  const unsigned char *bytes = find_frame(units, reference, frame->length, context->gathered);
  return bytes && checksum(bytes, frame->length, frame->method, frame->framed) == frame->checksum &&
         decompress(context, frame->method, bytes, frame->length, data, wanted, frame->size);
}

static struct plain *find_plain(struct context *context, uint32_t reference,
                                const struct frame *frame) {
  for (unsigned i = 0; i < PLAINS; i++) {
    struct plain *plain = &context->plains[i];
    if (plain->reference == reference && plain->number == frame->number &&
        plain->checksum == frame->checksum)
      return plain;
  }
  return NULL;
}

/* Room for another unit, in place of the oldest ones. */
static struct plain *take_plain(const struct units *units, struct context *context, uint32_t room) {
  if (context->plain_end + room > PLAIN_SHARE * unit_bytes(units))
    context->plain_end = 0;
  uint32_t start = context->plain_end, end = start + room;
  for (unsigned i = 0; i < PLAINS; i++) {
    struct plain *plain = &context->plains[i];
    if (plain->start < end && start < plain->start + plain->room)
      *plain = (struct plain){0};
  }
  struct plain *plain = &context->plains[context->next_plain++ % PLAINS];
  *plain = (struct plain){.start = start, .room = room};
  context->plain_end = end;
  return plain;
}

/* Have the first wanted bytes of a unit in the context: where they are, or NULL.  Sectors are
 * often read one by one in order, so what is there already may do; and who comes again for
 * more of an lz4 frame gets all of it. */
static const unsigned char *have_plain(const struct units *units, struct context *context,
                                       uint32_t reference, const struct frame *frame,
                                       uint32_t wanted) {
  struct plain *plain = find_plain(context, reference, frame);
  if (plain && plain->bytes >= wanted)
    return context->plain + plain->start;
  if (plain || frame->method == UNIT_ZSTD)
    wanted = frame->size;
  if (!plain)
    plain = take_plain(units, context, frame->size);
  unsigned char *bytes = context->plain + plain->start;
  plain->reference = 0;
  if (!unpack(units, context, reference, frame, wanted, bytes))
    return NULL;
  plain->reference = reference;
  plain->number = frame->number;
  plain->checksum = frame->checksum;
  plain->bytes = wanted;
  return bytes;
}

int unit_read(struct units *units, uint32_t reference, uint32_t mask, void *data) {
  struct frame frame;
  if (!look_at(units, reference, mask, &frame))
    return -EIO;
  struct context *context = take_reader(units, frame.method);
  bool sound;
  if (mask == frame.framed) {
    sound = unpack(units, context, reference, &frame, frame.size, data);
  } else {
    uint32_t upto = frame.framed & (UINT32_MAX >> __builtin_clz(mask)); /* the last wanted */
    const unsigned char *plain =
        have_plain(units, context, reference, &frame, bits_in(upto) << units->sector_shift);
    sound = plain != NULL;
    if (sound)
      pick(units, plain, frame.framed, mask, data);
  }
  park_reader(units, context);
  return sound ? 0 : -EIO;
}

void unit_drop(struct units *units, uint32_t reference, uint32_t mask) {
  struct header *header = header_of(units, reference);
  uint32_t length = header->length, framed = header->framed;
  uint32_t before = atomic_fetch_and(&header->present, ~mask);
  subtract(&units->sectors, bits_in(before & mask));
  if ((before & mask) == 0 || (before & ~mask) != 0)
    return;
  subtract(&units->count, 1);
  subtract(&units->framed, bits_in(framed));
  subtract(&units->packed, length);
  free_fragments(units, reference - 1);
}

uint32_t unit_mask(struct units *units, uint32_t reference) {
  return atomic_load(&header_of(units, reference)->present);
}

uint32_t unit_stamp(struct units *units, uint32_t reference) {
  return atomic_load_explicit(&header_of(units, reference)->stamp, memory_order_relaxed);
}

void unit_set_stamp(struct units *units, uint32_t reference, uint32_t stamp) {
  atomic_store_explicit(&header_of(units, reference)->stamp, stamp, memory_order_relaxed);
}

uint32_t unit_framed(struct units *units, uint32_t reference) {
  return header_of(units, reference)->framed;
}

/* ---------------------------------------------------------------- the pool */

int units_create(struct sectors_store *store, struct units **result) {
  struct units *units = calloc(1, sizeof *units);
  if (!units)
    return -ENOMEM;
  units->sector_shift = store->sector_shift;
  pthread_mutex_init(&units->last_lock, NULL);
  units->last = new_context(units);
  if (!units->last || !prepare_decompressor(units->last) ||
      granules_create(store, &units->granules) != 0) {
    units_destroy(units);
    return -ENOMEM;
  }
  count_context(units, units->last);
  *result = units;
  return 0;
}

void units_destroy(struct units *units) {
  if (!units)
    return;
  for (int i = 0; i < PARKED; i++)
    free_context(units, atomic_load(&units->parked[i]));
  free_context(units, units->last);
  granules_destroy(units->granules);
  pthread_mutex_destroy(&units->last_lock);
  free(units);
}

uint32_t units_span(const struct units *units) {
  return units->sector_shift < UNIT_SPAN_SHIFT
             ? UINT32_C(1) << (UNIT_SPAN_SHIFT - units->sector_shift)
             : 1;
}

void units_statistics(struct units *units, struct units_statistics *statistics) {
  uint64_t framed = atomic_load(&units->framed), sectors = atomic_load(&units->sectors);
  *statistics = (struct units_statistics){
      .units = atomic_load(&units->count),
      .sectors = sectors,
      .dropped = framed > sectors ? framed - sectors : 0,
      .bytes = granules_bytes(units->granules),
      .packed = atomic_load(&units->packed),
      .refused = atomic_load(&units->refused),
      .working = atomic_load(&units->context_bytes) + granules_table_bytes(units->granules),
  };
}
