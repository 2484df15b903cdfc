/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Numbers and names as people read and write them, and complaints.
 */

#ifndef SECTORSCTL_TEXT_H
#define SECTORSCTL_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { FIELD = 24 }; /* bytes of each of these */

/* A number of bytes in at most three digits and a unit, like 1.2G. */
const char *size_text(uint64_t bytes, char *buffer);
#define SIZE(bytes) size_text((bytes), (char[FIELD]){0})

/* Exact, like 1536K; what parse_size reads. */
const char *exact_size_text(uint64_t bytes, char *buffer);
#define EXACT(bytes) exact_size_text((bytes), (char[FIELD]){0})

/* A count like 12.3k. */
const char *count_text(double count, char *buffer);
#define COUNT(count) count_text((count), (char[FIELD]){0})

const char *duration_text(uint64_t nanoseconds, char *buffer);
#define DURATION(nanoseconds) duration_text((nanoseconds), (char[FIELD]){0})

const char *uptime_text(uint64_t nanoseconds, char *buffer);
#define UPTIME(nanoseconds) uptime_text((nanoseconds), (char[FIELD]){0})

/* A size like 10G: digits, then nothing, b, s (512 bytes), or K to E. */
bool parse_size(const char *text, uint64_t *size);

/* A part of a volume: OFFSET-END, OFFSET+LENGTH, or OFFSET- to the end of it
 * (then *length is UINT64_MAX). */
bool parse_range(const char *text, uint64_t *offset, uint64_t *length);

/* How many columns of a terminal a text takes. */
int columns_of(const char *text);

/* Print text, and spaces behind it up to so many columns. */
void print_padded(const char *text, int columns);

/* A sentence on the standard error, after the name of the program. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Members of objects; 0, "" or NULL where they are missing. */
const json_t *member(const json_t *object, const char *key);
uint64_t number(const json_t *object, const char *key);
double fraction(const json_t *object, const char *key);
const char *text(const json_t *object, const char *key);

#endif
