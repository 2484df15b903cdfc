/* SPDX-License-Identifier: BSD-3-Clause */

#include "image.h"

#include "dice.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { CHUNK_PAGES = 256 };

struct image_page {
  atomic_uint holders;
  uint64_t hash; /* of the bytes; 0: all zeros */
  unsigned char bytes[IMAGE_PAGE];
};

struct chunk {
  atomic_uint holders;
  struct image_page *pages[CHUNK_PAGES];
};

struct image {
  uint64_t size;
  uint64_t hash; /* sum of what each page that is not all zeros adds */
  size_t count;
  struct chunk **chunks; /* NULL: all zeros */
};

static void *take(size_t count, size_t size) {
  void *memory = calloc(count, size);
  if (!memory) {
    fputs("image: no memory\n", stderr);
    abort();
  }
  return memory;
}

/* --------------------------------------------------------------------- pages */

static uint64_t hash_of_zeros(void) {
  static const unsigned char zeros[IMAGE_PAGE];
  static _Atomic uint64_t hash;
  if (hash == 0)
    hash = XXH3_64bits(zeros, IMAGE_PAGE);
  return hash;
}

static void rehash(struct image_page *page) {
  page->hash = XXH3_64bits(page->bytes, IMAGE_PAGE);
  if (page->hash == hash_of_zeros())
    page->hash = 0;
}

struct image_page *image_page_create(const void *bytes) {
  struct image_page *page = take(1, sizeof *page);
  page->holders = 1;
  memcpy(page->bytes, bytes, IMAGE_PAGE);
  rehash(page);
  return page;
}

struct image_page *image_page_garbage(uint64_t seed) {
  unsigned char bytes[IMAGE_PAGE];
  dice_fill(bytes, IMAGE_PAGE, seed);
  return image_page_create(bytes);
}

struct image_page *image_page_hold(struct image_page *page) {
  if (page)
    page->holders++;
  return page;
}

void image_page_release(struct image_page *page) {
  if (page && --page->holders == 0)
    free(page);
}

const unsigned char *image_page_bytes(const struct image_page *page) {
  return page->bytes;
}

bool image_page_is_zero(const struct image_page *page) {
  return !page || page->hash == 0;
}

bool image_page_same(const struct image_page *one, const struct image_page *other) {
  return one == other || (one ? one->hash : 0) == (other ? other->hash : 0);
}

/* -------------------------------------------------------------------- chunks */

static void chunk_release(struct chunk *chunk) {
  if (!chunk || --chunk->holders != 0)
    return;
  for (int i = 0; i < CHUNK_PAGES; i++)
    image_page_release(chunk->pages[i]);
  free(chunk);
}

/* The chunk, which nobody else has now. */
static struct chunk *own_chunk(struct image *image, size_t index) {
  struct chunk *chunk = image->chunks[index];
  if (chunk && chunk->holders == 1)
    return chunk;
  struct chunk *own = take(1, sizeof *own);
  own->holders = 1;
  for (int i = 0; chunk && i < CHUNK_PAGES; i++)
    own->pages[i] = image_page_hold(chunk->pages[i]);
  chunk_release(chunk);
  return image->chunks[index] = own;
}

/* -------------------------------------------------------------------- images */

struct image *image_create(uint64_t size) {
  struct image *image = take(1, sizeof *image);
  uint64_t chunk = (uint64_t)CHUNK_PAGES * IMAGE_PAGE;
  image->size = size;
  image->count = (size_t)((size + chunk - 1) / chunk);
  image->chunks = take(image->count + 1, sizeof *image->chunks);
  return image;
}

struct image *image_copy(const struct image *image) {
  struct image *copy = image_create(image->size);
  copy->hash = image->hash;
  for (size_t i = 0; i < image->count; i++) {
    copy->chunks[i] = image->chunks[i];
    if (copy->chunks[i])
      copy->chunks[i]->holders++;
  }
  return copy;
}

void image_destroy(struct image *image) {
  if (!image)
    return;
  for (size_t i = 0; i < image->count; i++)
    chunk_release(image->chunks[i]);
  free(image->chunks);
  free(image);
}

uint64_t image_size(const struct image *image) {
  return image->size;
}

uint64_t image_hash(const struct image *image) {
  return image->hash;
}

static struct image_page *page_at(const struct image *image, uint64_t number) {
  const struct chunk *chunk = image->chunks[number / CHUNK_PAGES];
  return chunk ? chunk->pages[number % CHUNK_PAGES] : NULL;
}

static uint64_t share_of_hash(const struct image_page *page, uint64_t number) {
  return page && page->hash ? dice_mix(page->hash ^ dice_mix(number + 1)) : 0;
}

/* Takes the reference over. */
static void put_page(struct image *image, uint64_t number, struct image_page *page) {
  struct image_page **place = &own_chunk(image, number / CHUNK_PAGES)->pages[number % CHUNK_PAGES];
  image->hash += share_of_hash(page, number) - share_of_hash(*place, number);
  image_page_release(*place);
  *place = page;
}

void image_set_page(struct image *image, uint64_t number, struct image_page *page) {
  put_page(image, number, image_page_hold(page));
}

void image_set_sectors(struct image *image, uint64_t number, struct image_page *page,
                       uint8_t sectors) {
  unsigned char bytes[IMAGE_PAGE];
  if (sectors == 0)
    return;
  image_read(image, bytes, IMAGE_PAGE, number * IMAGE_PAGE);
  for (size_t i = 0; i < IMAGE_PAGE / IMAGE_SECTOR; i++) {
    unsigned char *sector = bytes + i * IMAGE_SECTOR;
    if (!(sectors >> i & 1))
      continue;
    if (page)
      memcpy(sector, page->bytes + i * IMAGE_SECTOR, IMAGE_SECTOR);
    else
      memset(sector, 0, IMAGE_SECTOR);
  }
  put_page(image, number, image_page_create(bytes));
}

static size_t part_in_page(size_t count, uint64_t offset) {
  size_t rest = IMAGE_PAGE - offset % IMAGE_PAGE;
  return count < rest ? count : rest;
}

void image_read(const struct image *image, void *buffer, size_t count, uint64_t offset) {
  unsigned char *to = buffer;
  while (count > 0) {
    size_t part = part_in_page(count, offset);
    const struct image_page *page = page_at(image, offset / IMAGE_PAGE);
    if (page)
      memcpy(to, page->bytes + offset % IMAGE_PAGE, part);
    else
      memset(to, 0, part);
    to += part;
    offset += part;
    count -= part;
  }
}

void image_write(struct image *image, const void *buffer, size_t count, uint64_t offset) {
  const unsigned char *from = buffer;
  while (count > 0) {
    unsigned char bytes[IMAGE_PAGE];
    size_t part = part_in_page(count, offset);
    uint64_t number = offset / IMAGE_PAGE;
    if (part < IMAGE_PAGE)
      image_read(image, bytes, IMAGE_PAGE, number * IMAGE_PAGE);
    memcpy(bytes + offset % IMAGE_PAGE, from, part);
    put_page(image, number, image_page_create(bytes));
    from += part;
    offset += part;
    count -= part;
  }
}

void image_flip_bit(struct image *image, uint64_t offset, unsigned bit) {
  unsigned char byte;
  image_read(image, &byte, 1, offset);
  byte ^= (unsigned char)(1u << bit);
  image_write(image, &byte, 1, offset);
}
