/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the stress programs share: failing with a sentence, numbers of the command line, processes,
 * memory that they have in common, and a log of the last things each of them did.
 */

#ifndef MOUNT_STRESS_H
#define MOUNT_STRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What was expected and what came; the caller's last steps if it keeps a log; then the process ends
 * with status 1. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same where errno tells why. */
_Noreturn void fail_errno(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A line of the calling thread's log, of which fail prints the last ones. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The command to repeat a failure with; fail prints it. */
void set_repeat(const char *format, ...) __attribute__((format(printf, 1, 2)));

double seconds_now(void);

uint64_t number_argument(const char *text);

/* Memory that processes forked later share, zeroed; fails if there is none. */
void *shared_memory(size_t size);

/* Run work in processes of their own, numbered from 0, and wait for all of them; the number of
 * those that failed. */
unsigned run_processes(unsigned count, void (*work)(unsigned number, void *context), void *context);

/* Write a digit to /proc/sys/vm/drop_caches; false where that is not allowed. */
bool drop_caches(char what);

/* Remove a directory and all in it, if it is there. */
void remove_tree(const char *path);

#endif
