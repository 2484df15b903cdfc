/* SPDX-License-Identifier: BSD-3-Clause
 *
 * FILE_FULL_EA_INFORMATION lists ([MS-FSCC] 2.4.15), read and written in place.
 */

#ifndef CASEFS_EA_LIST_H
#define CASEFS_EA_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ea_item {
  const char *name; /* a zero follows it */
  size_t name_length;
  uint8_t flags;
  const void *value;
  size_t length;
};

/* The item at *at of a list, which *at then is behind: 1, 0 at the end, or -EINVAL.  The last may
 * have no offset of a next, as in Windows, or the list's end as that, as NTFS has it on the disk.
 */
int ea_list_next(const void *list, size_t size, size_t *at, struct ea_item *item);

/* What an item takes in a list, before and after the bytes that align the next one. */
size_t ea_item_size(size_t name_length, size_t length);
size_t ea_item_room(size_t name_length, size_t length);
/* Write one, with that offset of the next (0: none), but for the value, whose place is returned;
 * also zeros up to the next. */
void *ea_item_write(void *place, const char *name, size_t name_length, uint8_t flags, size_t length,
                    size_t next);

#endif
