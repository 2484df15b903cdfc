/* SPDX-License-Identifier: BSD-3-Clause
 *
 * All that a node has beyond what POSIX knows: security descriptor, extended attributes, named
 * streams, reparse point; in memory, between a volume and anything else that can hold it.
 */

#ifndef CASEFS_METADATA_H
#define CASEFS_METADATA_H

#include "../../fs/casefs.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct metadata_ea {
  char *name;
  size_t name_length;
  uint8_t flags;
  void *value;
  size_t length;
};

/* A stream is in memory, or, of a volume, an open node. */
struct metadata_stream {
  char *name;
  size_t name_length;
  casefs_node *node;
  void *data;
  uint64_t size;
};

struct metadata {
  bool has_dos_attributes, has_times;
  uint32_t dos_attributes;
  uint64_t created, modified, accessed, changed; /* 0: not known */
  void *security, *reparse;
  size_t security_length, reparse_length; /* 0: none */
  struct metadata_ea *eas;
  size_t ea_count;
  struct metadata_stream *streams;
  size_t stream_count;
};

/* The parts of it, to say which could not be copied. */
enum metadata_part {
  METADATA_SECURITY,
  METADATA_EA,
  METADATA_STREAM,
  METADATA_REPARSE,
  METADATA_ATTRIBUTES, /* and times */
  METADATA_PARTS,
};
extern const char *const metadata_part_names[METADATA_PARTS][2]; /* one, several */

void metadata_clear(struct metadata *metadata);
bool metadata_is_empty(const struct metadata *metadata);

/* These take the memory over; the name is copied. */
void metadata_add_ea(struct metadata *metadata, const char *name, size_t name_length, uint8_t flags,
                     void *value, size_t length);
void metadata_add_stream(struct metadata *metadata, const char *name, size_t name_length,
                         casefs_node *node, void *data, uint64_t size);

/* Add the attributes of a FILE_FULL_EA_INFORMATION list ([MS-FSCC] 2.4.15): 0 or -EINVAL. */
int metadata_parse_eas(struct metadata *metadata, const void *list, size_t size);
/* Such a list of all attributes; the caller frees.  NULL if there are none.  closed: the last has
 * the list's end for the next one's place, which NTFS-3G insists on. */
void *metadata_list_eas(const struct metadata *metadata, bool closed, size_t *size);

/* Of a node with these attributes, but for what the attributes tell.  Returns 0 or an errno. */
int metadata_read(casefs_node *node, const struct casefs_attributes *attributes,
                  struct metadata *metadata);

/* Give it to a node, which with replace loses what it has of that kind.  lost[part] counts what is
 * not allowed there, and is left out.  Returns 0 or an errno.
 * buffer: scratch memory for contents of streams. */
int metadata_write(casefs_node *node, const struct metadata *metadata, bool replace, void *buffer,
                   size_t size, unsigned lost[METADATA_PARTS]);

/* Copy contents from node to node, holes left out. */
int copy_contents(casefs_node *from, casefs_node *to, uint64_t size, void *buffer, size_t capacity);

/* ------------------------------------------------- on the local file system */

enum metadata_form {
  METADATA_FORM_NONE,
  METADATA_FORM_NTFS,
  METADATA_FORM_NTFS3,
  METADATA_FORM_SAMBA
};

/* How the file system of an open directory shows Windows metadata itself: NTFS_3G's names, those
 * of the kernel's ntfs3, or not at all. */
enum metadata_form metadata_form_of(int descriptor);

/* Read what extended attributes tell of an open file or directory; lost[part] counts what is
 * malformed, and left out.  Returns 0 or an errno. */
int metadata_read_local(int descriptor, enum metadata_form form, struct metadata *metadata,
                        unsigned lost[METADATA_PARTS]);

/* The same for one attribute of Samba's, or any other of "user."; takes the value (of at least one
 * byte) over. */
void metadata_take_samba(struct metadata *metadata, const char *name, void *value, size_t size,
                         unsigned lost[METADATA_PARTS]);

/* Write them; lost[part] counts what could not be written. */
void metadata_write_local(int descriptor, enum metadata_form form, const struct metadata *metadata,
                          unsigned lost[METADATA_PARTS]);

#endif
