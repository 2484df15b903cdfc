/* SPDX-License-Identifier: BSD-3-Clause */

#include "emulator.h"

#include "dice.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fault {
  uint64_t at; /* the number of the request that fails; 0: none */
  bool for_ever;
  int error;
};

struct emulator {
  struct casefs_device device; /* first: the operations are given its address */
  pthread_mutex_t lock;
  struct image *image;
  struct fault faults[EMULATOR_REQUESTS];
  uint64_t counts[EMULATOR_REQUESTS], bytes[EMULATOR_REQUESTS];
  uint64_t cut_at; /* number of the write at which the power goes; 0: none */
  bool off, torn, suspended;
  uint64_t garbage;
  struct emulator_marks marks;
  struct recording *recording; /* NULL: not recording */
};

_Thread_local unsigned emulator_inside;

static void *take(size_t count, size_t size) {
  void *memory = calloc(count, size);
  if (!memory) {
    fputs("emulator: no memory\n", stderr);
    abort();
  }
  return memory;
}

/* ---------------------------------------------------------------- recording */

static struct event *new_event(struct emulator *emulator, enum emulator_request kind,
                               uint64_t first, uint64_t count) {
  struct recording *recording = emulator->recording;
  if (recording->count == recording->room) {
    recording->room = recording->room ? 2 * recording->room : 64;
    recording->events = realloc(recording->events, recording->room * sizeof *recording->events);
    if (!recording->events)
      abort();
  }
  struct event *event = &recording->events[recording->count++];
  *event = (struct event){.kind = kind, .first = first, .count = count, .marks = emulator->marks};
  if (count)
    event->pages = take((size_t)count, sizeof *event->pages);
  return event;
}

void emulator_record(struct emulator *emulator) {
  pthread_mutex_lock(&emulator->lock);
  recording_destroy(emulator->recording);
  emulator->recording = take(1, sizeof *emulator->recording);
  emulator->recording->start = image_copy(emulator->image);
  pthread_mutex_unlock(&emulator->lock);
}

void emulator_mark(struct emulator *emulator, struct emulator_marks marks) {
  pthread_mutex_lock(&emulator->lock);
  emulator->marks = marks;
  pthread_mutex_unlock(&emulator->lock);
}

struct recording *emulator_recorded(struct emulator *emulator) {
  pthread_mutex_lock(&emulator->lock);
  struct recording *recording = emulator->recording;
  emulator->recording = NULL;
  if (recording)
    recording->end = emulator->marks;
  pthread_mutex_unlock(&emulator->lock);
  return recording;
}

void recording_destroy(struct recording *recording) {
  if (!recording)
    return;
  for (size_t i = 0; i < recording->count; i++) {
    for (uint64_t page = 0; page < recording->events[i].count; page++)
      image_page_release(recording->events[i].pages[page]);
    free(recording->events[i].pages);
  }
  free(recording->events);
  image_destroy(recording->start);
  free(recording);
}

/* ---------------------------------------------------------------- the device */

/* Count a request; 0, or the error it ends with. */
static int admit(struct emulator *emulator, enum emulator_request kind, size_t bytes) {
  const struct fault *fault = &emulator->faults[kind];
  if (emulator->suspended)
    return emulator->off ? -EIO : 0;
  uint64_t number = ++emulator->counts[kind];
  emulator->bytes[kind] += bytes;
  if (kind == EMULATOR_WRITE && number == emulator->cut_at)
    emulator->off = true;
  if (emulator->off)
    return -EIO;
  if (fault->at && (number == fault->at || (fault->for_ever && number > fault->at)))
    return fault->error;
  return 0;
}

static struct emulator *enter(struct casefs_device *device) {
  struct emulator *emulator = (struct emulator *)device;
  emulator_inside++;
  pthread_mutex_lock(&emulator->lock);
  return emulator;
}

static int leave(struct emulator *emulator, int error) {
  pthread_mutex_unlock(&emulator->lock);
  emulator_inside--;
  return error;
}

static bool range_is_right(const struct emulator *emulator, uint64_t count, uint64_t offset) {
  bool right = count > 0 && count % CASEFS_BLOCK_SIZE == 0 && offset % CASEFS_BLOCK_SIZE == 0 &&
               offset <= emulator->device.size && count <= emulator->device.size - offset;
  if (!right)
    fprintf(stderr, "emulator: a request for %llu bytes at %llu of %llu\n",
            (unsigned long long)count, (unsigned long long)offset,
            (unsigned long long)emulator->device.size);
  return right;
}

static int read_disk(struct casefs_device *device, void *buffer, size_t count, uint64_t offset) {
  struct emulator *emulator = enter(device);
  if (!range_is_right(emulator, count, offset))
    abort();
  int error = admit(emulator, EMULATOR_READ, count);
  if (error == 0)
    image_read(emulator->image, buffer, count, offset);
  else
    memset(buffer, 0xa5, count); /* nobody may use it */
  return leave(emulator, error);
}

static int write_disk(struct casefs_device *device, const void *buffer, size_t count,
                      uint64_t offset, bool durable) {
  struct emulator *emulator = enter(device);
  uint64_t pages = count / IMAGE_PAGE, first = offset / IMAGE_PAGE;
  if (!range_is_right(emulator, count, offset) || device->read_only)
    abort();
  int error = admit(emulator, EMULATOR_WRITE, count);
  if (error && emulator->torn && !emulator->off)
    pages /= 2;
  else if (error)
    return leave(emulator, error);
  struct event *event = NULL;
  if (emulator->recording)
    event = new_event(emulator, EMULATOR_WRITE, first, pages);
  if (event)
    event->durable = durable && error == 0;
  for (uint64_t i = 0; i < pages; i++) {
    struct image_page *page = image_page_create((const unsigned char *)buffer + i * IMAGE_PAGE);
    image_set_page(emulator->image, first + i, page);
    if (event)
      event->pages[i] = image_page_hold(page);
    image_page_release(page);
  }
  return leave(emulator, error);
}

static int flush_disk(struct casefs_device *device) {
  struct emulator *emulator = enter(device);
  int error = admit(emulator, EMULATOR_FLUSH, 0);
  if (error == 0 && emulator->recording)
    new_event(emulator, EMULATOR_FLUSH, 0, 0);
  return leave(emulator, error);
}

static int discard_disk(struct casefs_device *device, uint64_t count, uint64_t offset) {
  struct emulator *emulator = enter(device);
  if (!range_is_right(emulator, count, offset) || device->read_only)
    abort();
  int error = admit(emulator, EMULATOR_DISCARD, count);
  if (error || !emulator->garbage)
    return leave(emulator, error);
  uint64_t pages = count / IMAGE_PAGE, first = offset / IMAGE_PAGE;
  struct image_page *page = image_page_garbage(dice_mix(emulator->garbage + first));
  struct event *event = NULL;
  if (emulator->recording)
    event = new_event(emulator, EMULATOR_DISCARD, first, pages);
  for (uint64_t i = 0; i < pages; i++) {
    image_set_page(emulator->image, first + i, page);
    if (event)
      event->pages[i] = image_page_hold(page);
  }
  image_page_release(page);
  return leave(emulator, 0);
}

static void close_nothing(struct casefs_device *device) {
  (void)device;
}

struct emulator *emulator_open(const struct image *image) {
  static const struct casefs_device_operations operations = {
      .read = read_disk,
      .write = write_disk,
      .flush = flush_disk,
      .discard = discard_disk,
      .close = close_nothing,
  };
  struct emulator *emulator = take(1, sizeof *emulator);
  emulator->device = (struct casefs_device){
      .operations = &operations,
      .size = image_size(image),
      .exclusive = true,
      .parallel = 4,
  };
  pthread_mutex_init(&emulator->lock, NULL);
  emulator->image = image_copy(image);
  return emulator;
}

void emulator_close(struct emulator *emulator) {
  if (!emulator)
    return;
  recording_destroy(emulator->recording);
  image_destroy(emulator->image);
  pthread_mutex_destroy(&emulator->lock);
  free(emulator);
}

struct casefs_device *emulator_device(struct emulator *emulator) {
  return &emulator->device;
}

struct image *emulator_image(struct emulator *emulator) {
  pthread_mutex_lock(&emulator->lock);
  struct image *image = image_copy(emulator->image);
  pthread_mutex_unlock(&emulator->lock);
  return image;
}

void emulator_set_garbage(struct emulator *emulator, uint64_t seed) {
  emulator->garbage = seed;
}

void emulator_set_torn(struct emulator *emulator, bool torn) {
  emulator->torn = torn;
}

void emulator_fail(struct emulator *emulator, enum emulator_request kind, uint64_t nth,
                   bool for_ever, int error) {
  pthread_mutex_lock(&emulator->lock);
  emulator->faults[kind] = (struct fault){nth ? emulator->counts[kind] + nth : 0, for_ever, error};
  pthread_mutex_unlock(&emulator->lock);
}

void emulator_suspend(struct emulator *emulator, bool suspended) {
  pthread_mutex_lock(&emulator->lock);
  emulator->suspended = suspended;
  pthread_mutex_unlock(&emulator->lock);
}

void emulator_cut(struct emulator *emulator, uint64_t nth) {
  pthread_mutex_lock(&emulator->lock);
  emulator->cut_at = emulator->counts[EMULATOR_WRITE] + nth;
  pthread_mutex_unlock(&emulator->lock);
}

uint64_t emulator_count(struct emulator *emulator, enum emulator_request kind) {
  pthread_mutex_lock(&emulator->lock);
  uint64_t count = emulator->counts[kind];
  pthread_mutex_unlock(&emulator->lock);
  return count;
}

uint64_t emulator_bytes(struct emulator *emulator, enum emulator_request kind) {
  pthread_mutex_lock(&emulator->lock);
  uint64_t bytes = emulator->bytes[kind];
  pthread_mutex_unlock(&emulator->lock);
  return bytes;
}

/* ---------------------------------------------------------------- power cuts */

static void apply_whole(struct image *image, const struct event *event) {
  for (uint64_t i = 0; i < event->count; i++)
    image_set_page(image, event->first + i, event->pages[i]);
}

void playback_start(struct playback *playback, const struct recording *recording) {
  *playback = (struct playback){.recording = recording, .stable = image_copy(recording->start)};
}

void playback_end(struct playback *playback) {
  image_destroy(playback->stable);
}

bool playback_next(struct playback *playback) {
  const struct recording *recording = playback->recording;
  if (playback->cut == recording->count)
    return false;
  if (recording->events[playback->cut++].kind == EMULATOR_FLUSH)
    while (playback->flushed < playback->cut)
      apply_whole(playback->stable, &recording->events[playback->flushed++]);
  return true;
}

size_t playback_choices(const struct playback *playback) {
  size_t end = playback->cut < playback->recording->count ? playback->cut + 1 : playback->cut;
  return end - playback->flushed;
}

struct emulator_marks playback_marks(const struct playback *playback) {
  const struct recording *recording = playback->recording;
  return playback->cut < recording->count ? recording->events[playback->cut].marks : recording->end;
}

enum tearing { WHOLE, BEGINNING, END, ANY_SECTORS, TEARINGS };

/* Which sectors of a page of a torn event are there. */
static uint8_t torn_sectors(struct dice *dice, enum tearing tearing, uint64_t at, uint64_t page) {
  uint8_t sectors = 0;
  for (unsigned i = 0; i < 8; i++) {
    uint64_t number = page * 8 + i;
    bool kept = tearing == WHOLE || (tearing == BEGINNING && number < at) ||
                (tearing == END && number >= at) || (tearing == ANY_SECTORS && dice_below(dice, 2));
    sectors |= (uint8_t)(kept << i);
  }
  return sectors;
}

static void apply_torn(struct image *image, const struct event *event, struct dice *dice) {
  enum tearing tearing = 1 + (enum tearing)dice_below(dice, TEARINGS - 1);
  uint64_t at = dice_below(dice, event->count * 8 + 1);
  for (uint64_t i = 0; i < event->count; i++) {
    uint8_t sectors = torn_sectors(dice, tearing, at, i);
    if (sectors == UINT8_MAX)
      image_set_page(image, event->first + i, event->pages[i]);
    else
      image_set_sectors(image, event->first + i, event->pages[i], sectors);
  }
}

struct image *playback_survivor(const struct playback *playback, const unsigned char *keep,
                                uint64_t tear) {
  struct image *image = image_copy(playback->stable);
  struct dice dice = dice_seed(tear);
  for (size_t i = 0; i < playback_choices(playback); i++) {
    const struct event *event = &playback->recording->events[playback->flushed + i];
    bool under_way = playback->flushed + i == playback->cut;
    bool sure = event->durable && !under_way;
    if (event->count == 0 || (!sure && !(keep[i / 8] >> i % 8 & 1)))
      continue;
    if (tear && !sure && (under_way || dice_below(&dice, 4) == 0))
      apply_torn(image, event, &dice);
    else
      apply_whole(image, event);
  }
  return image;
}
