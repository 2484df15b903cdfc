/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The bytes of a tree node: sorted records in NODE_SIZE bytes (FORMAT.md,
 * section 4).  In memory a page may have gaps between its records, which
 * page_compact takes out.
 */

#ifndef CASEFS_PAGE_H
#define CASEFS_PAGE_H

#include "format.h"

#define PAGE_HEADER 32u
#define PAGE_CAPACITY (NODE_SIZE - PAGE_HEADER)

void page_create(uint8_t *page, unsigned level, const uint8_t *uuid);

static inline unsigned page_count(const uint8_t *page) {
  return load16(page + 6);
}

static inline unsigned page_level(const uint8_t *page) {
  return page[4];
}

/* Record i: its bytes, key and value. */
static inline const uint8_t *page_record(const uint8_t *page, unsigned i) {
  return page + load16(page + PAGE_HEADER + 2 * i);
}

static inline const uint8_t *page_key(const uint8_t *page, unsigned i, uint32_t *length) {
  const uint8_t *record = page_record(page, i);
  *length = load16(record);
  return record + 4;
}

static inline uint8_t *page_value(const uint8_t *page, unsigned i, uint32_t *length) {
  const uint8_t *record = page_record(page, i);
  *length = load16(record + 2);
  return (uint8_t *)record + 4 + load16(record);
}

/* What a record takes, with its slot. */
static inline uint32_t page_record_size(uint32_t key_length, uint32_t value_length) {
  return 2 + 4 + key_length + value_length;
}

/* Bytes of records and slots in the page. */
uint32_t page_used(const uint8_t *page);

static inline uint32_t page_free(const uint8_t *page) {
  return PAGE_CAPACITY - page_used(page);
}

int key_compare(const uint8_t *a, uint32_t a_length, const uint8_t *b, uint32_t b_length);

/* Insert a record at i.  The caller has checked that page_free suffices. */
void page_insert(uint8_t *page, unsigned i, const uint8_t *key, uint32_t key_length,
                 const uint8_t *value, uint32_t value_length);
void page_remove(uint8_t *page, unsigned i);

/* Move the records from i on to the (empty) page to. */
void page_split(uint8_t *page, unsigned i, uint8_t *to);

/* Copy the page without gaps. */
void page_compact(const uint8_t *page, uint8_t *to);

/* Whether bytes from the device are a page of that level: 0 or -EUCLEAN. */
int page_check(const uint8_t *page, struct pointer pointer, unsigned level, const uint8_t *uuid,
               uint64_t volume_blocks);

#endif
