/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What export and import agree on: extended attributes of pax archives (SCHILY.xattr.NAME) for
 * what tar does not know.
 *
 *   casefs.attributes  DOS attributes, hexadecimal digits
 *   casefs.times       created, modified, accessed, changed: decimal counts of 100 ns since 1601
 *   casefs.security    the security descriptor, self-relative
 *   casefs.ea          all extended attributes, as FILE_FULL_EA_INFORMATION
 *   casefs.reparse     the reparse buffer
 *   casefs.case        of a directory: "sensitive" or "insensitive"
 *   casefs.type        "socket": an empty file stands for one
 *   casefs.stream.N    a named stream: its name, a zero byte, its contents; N counts from 0
 *   casefs.stream-of   this entry is a stream that is too long for that; the path of its node.
 *                      Its name is what follows the last ':' of the entry's path.
 */

#ifndef CASEFS_TAR_H
#define CASEFS_TAR_H

#define TAR_ATTRIBUTES "casefs.attributes"
#define TAR_TIMES "casefs.times"
#define TAR_SECURITY "casefs.security"
#define TAR_EA "casefs.ea"
#define TAR_REPARSE "casefs.reparse"
#define TAR_CASE "casefs.case"
#define TAR_TYPE "casefs.type"
#define TAR_STREAM "casefs.stream."
#define TAR_STREAM_OF "casefs.stream-of"

enum {
  TAR_STREAM_LIMIT = 64 << 10,  /* of one stream in a header */
  TAR_HEADER_LIMIT = 512 << 10, /* of all streams there; readers allow 1 MiB in all */
};

#endif
