/* SPDX-License-Identifier: BSD-3-Clause
 *
 * How much memory this process may use.
 */

#ifndef SECTORS_MEMORY_H
#define SECTORS_MEMORY_H

#include <stdint.h>

/* The smaller of the machine's memory and the limits of the control groups
 * (version 1 or 2) that the process is in, in bytes.  root is "" but in
 * tests, where it is a folder that holds proc/ and sys/. */
uint64_t available_memory(const char *root);

/* The resident memory of this process now, in bytes; 0 if it is not known. */
uint64_t resident_memory(void);

#endif
