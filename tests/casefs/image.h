/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The bytes of a disk, held so that a copy of them costs next to nothing:
 *
 *   image -> chunks of 256 pages -> pages of 4 KiB
 *
 * Chunks and pages are shared between images and replaced, never changed, once
 * more than one has them.  A page that is not there is all zeros.
 */

#ifndef CASEFS_TEST_IMAGE_H
#define CASEFS_TEST_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { IMAGE_PAGE = 4096, IMAGE_SECTOR = 512 };

struct image;
struct image_page;

/* Any memory that is refused here ends the program: tests have no use for less. */

struct image *image_create(uint64_t size);
struct image *image_copy(const struct image *image);
void image_destroy(struct image *image); /* NULL is allowed */
uint64_t image_size(const struct image *image);

/* Of any alignment, inside the size. */
void image_read(const struct image *image, void *buffer, size_t count, uint64_t offset);
void image_write(struct image *image, const void *buffer, size_t count, uint64_t offset);
void image_flip_bit(struct image *image, uint64_t offset, unsigned bit);

/* Images of the same bytes have the same hash. */
uint64_t image_hash(const struct image *image);

/* Pages by themselves, for who keeps them beside an image.  NULL: zeros. */
struct image_page *image_page_create(const void *bytes);
struct image_page *image_page_garbage(uint64_t seed);
struct image_page *image_page_hold(struct image_page *page);
void image_page_release(struct image_page *page);
const unsigned char *image_page_bytes(const struct image_page *page); /* not of NULL */
bool image_page_is_zero(const struct image_page *page);
bool image_page_same(const struct image_page *one, const struct image_page *other);
/* Put a page at that number; the image holds it by itself. */
void image_set_page(struct image *image, uint64_t number, struct image_page *page);
/* Only some sectors of it: bit i of sectors stands for the i-th. */
void image_set_sectors(struct image *image, uint64_t number, struct image_page *page,
                       uint8_t sectors);

#endif
