/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the control socket answers.  Each function returns a new object, or NULL
 * if there is no memory for it.
 */

#ifndef SECTORS_CONTROL_ANSWER_H
#define SECTORS_CONTROL_ANSWER_H

#include <jansson.h>
#include <stdint.h>

#define CONTROL_PROTOCOL_VERSION 1

json_t *success(void);

/* Success with one member more; takes value. */
json_t *success_with(const char *key, json_t *value);

/* The request was wrong: a sentence. */
json_t *refusal(const char *sentence);
json_t *refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* It was right, and failed with a negative errno. */
json_t *fail(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* How far something has come. */
json_t *progress_json(uint64_t done, uint64_t total);

#endif
