/* SPDX-License-Identifier: BSD-3-Clause */

#include "copy.h"

#include "word.h"

#include <stdint.h>
#include <string.h>

#ifdef THREAD_SANITIZER

/* Readers race with writers by design (see word.h); say so to the sanitizer,
 * so that it goes on finding the races that are not. */

static size_t step_of(const void *address, size_t count) {
  return (uintptr_t)address % 8 == 0 && count >= 8 ? 8 : 1;
}

void copy_from_sector(void *buffer, const void *memory, size_t count) {
  unsigned char *to = buffer;
  const unsigned char *from = memory;
  for (size_t step; count > 0; to += step, from += step, count -= step) {
    step = step_of(from, count);
    uint64_t word = step == 8 ? __atomic_load_n((const uint64_t *)from, __ATOMIC_RELAXED)
                              : __atomic_load_n(from, __ATOMIC_RELAXED);
    memcpy(to, &word, step);
  }
}

void copy_to_sector(void *memory, const void *buffer, size_t count) {
  unsigned char *to = memory;
  const unsigned char *from = buffer;
  for (size_t step; count > 0; to += step, from += step, count -= step) {
    uint64_t word = 0;
    step = step_of(to, count);
    memcpy(&word, from, step);
    if (step == 8)
      __atomic_store_n((uint64_t *)to, word, __ATOMIC_RELAXED);
    else
      __atomic_store_n(to, (unsigned char)word, __ATOMIC_RELAXED);
  }
}

void clear_sector(void *memory, size_t count) {
  static const unsigned char zeros[64];
  unsigned char *to = memory;
  for (size_t step; count > 0; to += step, count -= step) {
    step = count < sizeof zeros ? count : sizeof zeros;
    copy_to_sector(to, zeros, step);
  }
}

#else

#ifdef __SSE2__
#include <emmintrin.h>

/* Stores that go around the cache: a sector just written is seldom the next
 * to be read, and reading its old bytes from memory only to replace them
 * costs more than half of a plain copy (tests/bench, section "store"). */
static void stream(void *memory, const void *buffer, size_t count) {
  __m128i *to = memory;
  const __m128i *from = buffer;
  for (size_t i = 0; i < count / sizeof *to; i += 4) {
    __m128i a = _mm_loadu_si128(from + i);
    __m128i b = _mm_loadu_si128(from + i + 1);
    __m128i c = _mm_loadu_si128(from + i + 2);
    __m128i d = _mm_loadu_si128(from + i + 3);
    _mm_stream_si128(to + i, a);
    _mm_stream_si128(to + i + 1, b);
    _mm_stream_si128(to + i + 2, c);
    _mm_stream_si128(to + i + 3, d);
  }
  _mm_sfence();
}
#else
static void stream(void *memory, const void *buffer, size_t count) {
  memcpy(memory, buffer, count);
}
#endif

void copy_from_sector(void *buffer, const void *memory, size_t count) {
  memcpy(buffer, memory, count);
}

void copy_to_sector(void *memory, const void *buffer, size_t count) {
  if (((uintptr_t)memory | count) % 64 == 0)
    stream(memory, buffer, count);
  else
    memcpy(memory, buffer, count);
}

void clear_sector(void *memory, size_t count) {
  memset(memory, 0, count);
}

#endif

bool is_zero(const void *buffer, size_t count) {
  const unsigned char *bytes = buffer;
  for (size_t i = 0; i < 16 && i < count; i++)
    if (bytes[i] != 0)
      return false;
  /* The first 16 bytes are zero, so all are if each equals the one 16 before. */
  return count <= 16 || memcmp(bytes, bytes + 16, count - 16) == 0;
}
