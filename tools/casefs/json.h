/* SPDX-License-Identifier: BSD-3-Clause
 *
 * JSON of jansson, in which names may be WTF-8: an unpaired surrogate is printed as an
 * escape, "\uD800", which jansson itself would refuse.
 */

#ifndef CASEFS_JSON_H
#define CASEFS_JSON_H

#include "../../fs/casefs.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* A string of WTF-8.  Bytes that are not become U+FFFD when printed. */
json_t *json_name(const char *name, size_t length);
/* A time as ISO 8601 in UTC. */
json_t *json_time(uint64_t time);
/* Bytes as hexadecimal digits. */
json_t *json_bytes(const void *bytes, size_t size);
/* The settable DOS attributes by name, as an array. */
json_t *json_dos_attributes(uint32_t attributes);
/* What casefs_get_attributes gives, as an object: the members that the manual page lists. */
json_t *json_attributes(const struct casefs_attributes *attributes);

/* Print a value, with a newline, and release it. */
void print_json(json_t *value);
/* The same to any stream, on one line, without newline and release. */
void print_json_line(FILE *stream, const json_t *value);

/* An array printed while it is made, an element to a line. */
struct json_list {
  bool filled;
};
void json_list_add(struct json_list *list, json_t *element); /* releases the element */
void json_list_end(struct json_list *list);

#endif
