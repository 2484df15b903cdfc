/* SPDX-License-Identifier: BSD-3-Clause
 *
 * libcasefs: a case-aware file system with complete Windows metadata, reached
 * from user space on any device: a file, an NBD server, process memory.
 *
 * Conventions
 *   - Functions return 0 or a count, or a negative errno.  Each errno has one
 *     meaning everywhere:
 *       -EINVAL   an argument that is never right (an unknown flag, a malformed
 *                 buffer, a node of a kind that cannot have it)
 *       -EILSEQ   a name that is not WTF-8
 *       -ENAMETOOLONG  a name of more than 255 UTF-16 units, or a value
 *                 longer than its kind may be
 *       -ENOENT   no such name, node or device      -EEXIST   the name is taken
 *       -ENOTDIR  a directory is needed             -EISDIR   not on a directory
 *       -ENOTEMPTY  the directory has entries
 *       -ENODATA  no such extended attribute, descriptor or reparse point
 *       -ERANGE   the caller's buffer is too small
 *       -ENOSPC   the volume is full                -EFBIG    past the largest size
 *       -EMLINK   too many links                    -EPERM    not for this kind of node
 *       -ELOOP    too many symbolic links           -EOPNOTSUPP  of a newer version
 *       -EROFS    the volume or device is read-only
 *       -EIO      the device failed; or an earlier write failed, and the volume
 *                 has turned read-only
 *       -EUCLEAN  what the device holds is damaged (fsck.casefs mends it)
 *       -EBUSY    another owner has the volume open for writing
 *       -ESTALE   a read-only volume was changed underneath by its writer, or
 *                 another writer has taken the volume over
 *       -ENOMEM   no memory; nothing was changed
 *   - Every function may be called from any thread at any time, except where it
 *     says otherwise.  Nothing here prints, exits or keeps global state.
 *   - An operation that changes something is atomic: it happens whole or not at
 *     all, also over a crash.  (A write of more than 1 MiB, casefs_punch and casefs_allocate of
 * large ranges may stop half-way at an error, but not at a crash.)  It is durable after the next
 *     casefs_sync.
 *   - Any change can fail with -EROFS, -ENOSPC, -EIO, -ESTALE, -EUCLEAN and -ENOMEM, any look with
 *     -EIO, -EUCLEAN, -ESTALE and -ENOMEM.
 *   - Modes, owners, descriptors and the READONLY attribute are kept, not enforced.  Reading does
 *     not change times.
 *   - Names and paths are WTF-8: UTF-8, in which an unpaired UTF-16 surrogate
 *     may stand too, as three bytes.  Names are given with a length and need no
 *     terminating zero; paths and labels end with one.  A name is 1 to 255 UTF-16 units without
 *     '/' and NUL, not "." or ".."; a stream's also without ':' and '\\'.
 *   - Times are counts of 100 ns since 1601-01-01 UTC, as in Windows.
 *   - Sizes and offsets are bytes, 0 to CASEFS_MAX_SIZE.
 */

#ifndef CASEFS_H
#define CASEFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CASEFS_BLOCK_SIZE 4096u
#define CASEFS_MIN_DEVICE_SIZE ((uint64_t)1 << 20)
#define CASEFS_MAX_SIZE ((uint64_t)INT64_MAX)
#define CASEFS_MAX_NAME_UNITS 255u  /* UTF-16 units in a name */
#define CASEFS_MAX_NAME 765u        /* bytes that 255 units can take */
#define CASEFS_MAX_LABEL_UNITS 32u  /* UTF-16 units in a label */
#define CASEFS_MAX_LABEL 96u        /* bytes */
#define CASEFS_MAX_SYMLINK 4095u    /* bytes of a symbolic link's target */
#define CASEFS_MAX_EA_NAME 255u     /* bytes (FILE_FULL_EA_INFORMATION.EaNameLength) */
#define CASEFS_MAX_EA_VALUE 65535u  /* bytes (EaValueLength); 65530 is what fits, see PACKED */
#define CASEFS_MAX_EA_PACKED 65536u /* sum of 5 + name + value over a node's attributes */
#define CASEFS_MAX_REPARSE 16384u   /* MAXIMUM_REPARSE_DATA_BUFFER_SIZE */
#define CASEFS_MAX_SECURITY 65536u  /* bytes of a security descriptor */
#define CASEFS_MAX_LINKS UINT32_MAX

/* ----------------------------------------------------------------- devices */

/* Where a device keeps bytes, if it has more than one place for them. */
enum casefs_tier {
  CASEFS_TIER_NONE,       /* nowhere: they read as zeros */
  CASEFS_TIER_MEMORY,     /* plain in memory */
  CASEFS_TIER_COMPRESSED, /* compressed in memory */
  CASEFS_TIER_SPILL,      /* in a file that ends with the device */
  CASEFS_TIER_IMAGE,      /* in the device's durable home */
  CASEFS_TIER_BASE,       /* in what is below it, which is only read */
};

struct casefs_place {
  uint64_t offset, count; /* bytes of the device */
  enum casefs_tier tier;
  unsigned heat;     /* 0 cold to 100 hot */
  unsigned priority; /* 0 to 10 */
  bool dirty;        /* the durable home does not have it yet */
};

/* Takes one place after the other, in order; returns 0 to go on, else the walk ends there. */
typedef int (*casefs_place_function)(void *context, const struct casefs_place *place);

/* A device holds a volume's bytes.  Devices can be stacked: the operations of
 * one may call another's.  read, write and discard are called from many
 * threads at once, also beside flush; flush and close are not called while another flush is.
 *
 * All operations return 0 or a negative errno (-ENOMEM; any other counts as -EIO), and are always
 * given ranges inside size, of at least one byte, in multiples of CASEFS_BLOCK_SIZE.  A device that
 * is stacked on another takes over its size, read_only, exclusive and parallel, and closes it. */
struct casefs_device;

struct casefs_device_operations {
  /* Fill the buffer.  Sees every write that has returned. */
  int (*read)(struct casefs_device *device, void *buffer, size_t count, uint64_t offset);
  /* May return before the bytes are at the medium; then a failure is reported
   * by a later write or flush, and stays.  With durable, return only when these
   * bytes (not earlier ones) survive a power cut.  The buffer is the caller's
   * again on return. */
  int (*write)(struct casefs_device *device, const void *buffer, size_t count, uint64_t offset,
               bool durable);
  /* Return when everything written before survives a power cut. */
  int (*flush)(struct casefs_device *device);
  /* The range's contents no longer matter; it may read as anything.  A hint:
   * NULL where the device cannot, and a failure loses nothing. */
  int (*discard)(struct casefs_device *device, uint64_t count, uint64_t offset);
  /* Release everything, also the structure itself. */
  void (*close)(struct casefs_device *device);

  /* Of devices that keep some bytes in memory and others below; NULL of others.  The library itself
   * never calls these: who wants to, calls them with the extents of files (casefs_get_extent).
   *
   * From now on a range is kept in memory before those of a smaller priority: 0 goes first, 8
   * last, 9 and 10 never. */
  int (*prioritize)(struct casefs_device *device, uint64_t count, uint64_t offset,
                    unsigned priority);
  /* Bring a range into memory, as far as there is room. */
  int (*preload)(struct casefs_device *device, uint64_t count, uint64_t offset);
  /* Report where the bytes of a range are, from its first to its last, without gaps.  Returns 0, or
   * what the function returned to end the walk; the function must not call into the device. */
  int (*map)(struct casefs_device *device, uint64_t count, uint64_t offset,
             casefs_place_function function, void *context);
};

struct casefs_device {
  const struct casefs_device_operations *operations;
  uint64_t size;     /* bytes */
  bool read_only;    /* write, discard: never called */
  bool exclusive;    /* the device itself keeps a second writer away (a lock, process memory) */
  unsigned parallel; /* requests worth having under way at once, at least 1 */
  bool in_use;       /* a volume on it is open for writing: the library's own, false at first */
};

enum casefs_device_flags {
  CASEFS_DEVICE_READ_ONLY = 1, /* open for reading; takes no lock */
  CASEFS_DEVICE_DIRECT = 2,    /* files: O_DIRECT */
  CASEFS_DEVICE_CREATE = 4,    /* files: create, with create_size bytes */
};

/* Open the device of that name, by its form:
 *   nbd://..., nbds://..., nbd+unix://..., nbds+unix://..., nbd+vsock://...
 *            an NBD server (the NBD URI specification)
 *   mem:SIZE process memory of that size (4K, 1G as in human sizes)
 *   FILE     a regular file or a block device
 * On failure, and if error is not NULL, *error is a sentence that says what was
 * wrong with what; the caller frees it.
 *
 * Errors: what opening and locking gave; -EBUSY (another process has a file
 * open for writing), -EINVAL (the form). */
int casefs_device_open(const char *name, unsigned flags, uint64_t create_size,
                       struct casefs_device **device, char **error);

/* The three kinds, by themselves. */
int casefs_device_open_file(const char *path, unsigned flags, uint64_t create_size,
                            struct casefs_device **device, char **error);
int casefs_device_open_nbd(const char *uri, unsigned flags, struct casefs_device **device,
                           char **error);
int casefs_device_open_memory(uint64_t size, struct casefs_device **device);

/* Close and free.  NULL is allowed. */
void casefs_device_close(struct casefs_device *device);

/* ----------------------------------------------------------------- volumes */

typedef struct casefs_volume casefs_volume;

struct casefs_format_options {
  const char *label;     /* WTF-8, zero-terminated; NULL: none */
  uint8_t uuid[16];      /* all zeros: a random one */
  bool case_insensitive; /* of the root directory, and so of what is made in it */
  const void *security;  /* self-relative descriptor of the root; NULL: none */
  size_t security_length;
  uint32_t mode, uid, gid; /* of the root directory; mode 0: 0755 */
  uint64_t size;           /* bytes of the device to use; 0: all of it */
  bool no_discard;         /* do not discard the device (its first TiB) first */
};

/* Make an empty volume on the device, durably.  Whatever was there is lost:
 * looking for it first is the caller's (mkfs.casefs does).  NULL options: defaults.
 *
 * Errors: -EINVAL (device too small, options), -EILSEQ (label), -ENAMETOOLONG (label, descriptor),
 * -EBUSY (a volume on it is open), -EROFS, -EIO, -ENOMEM. */
int casefs_format(struct casefs_device *device, const struct casefs_format_options *options);

struct casefs_open_options {
  bool read_only;
  uint64_t cache_size;      /* bytes of clean metadata kept in memory; 0: 64 MiB */
  uint64_t dirty_limit;     /* bytes changed in memory that start a commit; 0: 64 MiB */
  unsigned commit_interval; /* milliseconds; 0: no commits by time */
  bool no_discard;          /* keep the contents of freed space */
};

/* Open the volume on a device.  The volume uses the device until it is closed,
 * and does not close it.  A volume opened for writing is marked as owned; over a
 * device without a lock of its own the mark is watched for a while when the last
 * owner did not close it, and taken over if it does not move (FORMAT.md, "Owner").
 * Nodes that were unlinked but open at a crash are removed.  NULL options: defaults.
 *
 * Errors: -EUCLEAN (no readable superblock), -ENODATA (not a casefs volume),
 * -EOPNOTSUPP (features of a newer version), -EFBIG (the device is smaller than
 * the volume), -EBUSY, -EROFS (device), -EIO, -ENOMEM. */
int casefs_open(struct casefs_device *device, const struct casefs_open_options *options,
                casefs_volume **volume);

/* Make everything done before durable.  Callers at the same time share a commit. */
int casefs_sync(casefs_volume *volume);

/* Sync, give back what is freed, clear the owner's mark, and free the volume, also when an
 * error is returned: then what came after the last good sync is lost.  No
 * other call may be under way; nodes still open are closed.  NULL is allowed. */
int casefs_close(casefs_volume *volume);

struct casefs_statistics {
  uint8_t uuid[16];
  char label[CASEFS_MAX_LABEL + 1];
  uint64_t size;       /* bytes of the volume */
  uint64_t free;       /* bytes available to new data, now or after the next commits */
  uint64_t reserved;   /* bytes that only removing may use */
  uint64_t nodes;      /* files, directories and others; streams not counted */
  uint64_t generation; /* of the last commit */
  uint64_t next_id;    /* the id the next node will have */
  uint64_t cached;     /* bytes of metadata in memory */
  uint64_t dirty;      /* bytes changed in memory */
  uint64_t commits;    /* since open */
  uint64_t written;    /* bytes given to the device since open */
  uint64_t deferred;   /* bytes freed that wait for two more commits */
  uint32_t tree_depth;
  bool read_only;
  bool case_insensitive; /* the root directory */
  int failure;           /* the negative errno that turned the volume read-only, or 0 */
};

void casefs_volume_statistics(casefs_volume *volume, struct casefs_statistics *statistics);

/* Errors: -EILSEQ, -ENAMETOOLONG, and those of any change. */
int casefs_set_label(casefs_volume *volume, const char *label);

/* Let the volume use more of its device, up to size bytes (0: all of it), durably.
 * Errors: -EINVAL (smaller than now, or than the device). */
int casefs_grow(casefs_volume *volume, uint64_t size);

/* ------------------------------------------------------------------- nodes */

/* An open node: a file, directory, symbolic link, special file or stream.
 * It stays readable and writable after its last name is gone, until closed. */
typedef struct casefs_node casefs_node;

enum casefs_type {
  CASEFS_FILE = 1,
  CASEFS_DIRECTORY = 2,
  CASEFS_SYMLINK = 3,
  CASEFS_FIFO = 4,
  CASEFS_SOCKET = 5,
  CASEFS_CHARACTER_DEVICE = 6,
  CASEFS_BLOCK_DEVICE = 7,
  CASEFS_STREAM = 8,
};

#define CASEFS_ROOT_ID 1u

/* DOS attributes that can be set (FILE_ATTRIBUTE_*, [MS-FSCC] 2.6).  DIRECTORY, REPARSE_POINT,
 * SPARSE_FILE and NORMAL follow from the node and are not stored. */
#define CASEFS_DOS_SETTABLE                                                                        \
  0x00003127u /* READONLY, HIDDEN, SYSTEM, ARCHIVE, TEMPORARY, OFFLINE, NOT_CONTENT_INDEXED */

struct casefs_attributes {
  uint64_t id;
  enum casefs_type type;
  uint32_t mode; /* permission bits, 07777 */
  uint32_t uid, gid;
  uint64_t rdev; /* of device nodes: major << 32 | minor */
  uint32_t links;
  uint32_t dos_attributes; /* FILE_ATTRIBUTE_*, those that can be set */
  uint64_t size;           /* of a directory: the number of its entries */
  uint64_t allocated;      /* bytes of blocks that hold its data */
  uint64_t created, modified, accessed, changed;
  uint64_t parent;       /* directory: the one it is in; stream: its node; else 0 */
  uint32_t reparse_tag;  /* 0: no reparse point */
  uint32_t ea_size;      /* packed size of the extended attributes */
  uint32_t streams;      /* named streams */
  bool case_insensitive; /* directories */
  bool has_security;     /* a security descriptor is stored */
};

enum casefs_attribute_mask {
  CASEFS_MODE = 1,
  CASEFS_UID = 2,
  CASEFS_GID = 4,
  CASEFS_DOS_ATTRIBUTES = 8,
  CASEFS_CREATED = 16,
  CASEFS_MODIFIED = 32,
  CASEFS_ACCESSED = 64,
  CASEFS_CHANGED = 128, /* otherwise set to now by a change of any other */
  CASEFS_RDEV = 256,
  CASEFS_KEEP_CHANGED = 512, /* instead of CASEFS_CHANGED: it stays what it is */
};

/* The time now, in the unit of this library, as exact as the kernel's times of files (some
 * milliseconds). */
uint64_t casefs_now(void);

/* Open the root directory; a node by its id (-ENOENT); an entry of a directory
 * by its name, as the directory's case flag says (-ENOENT, -ENOTDIR, -EILSEQ,
 * -ENAMETOOLONG).  "." and ".." are not names: -EINVAL. */
int casefs_open_root(casefs_volume *volume, casefs_node **node);
int casefs_open_id(casefs_volume *volume, uint64_t id, casefs_node **node);
int casefs_open_at(casefs_node *directory, const char *name, size_t length, casefs_node **node);

/* Another reference to the same open node: each is closed by itself. */
casefs_node *casefs_node_hold(casefs_node *node);
void casefs_node_close(casefs_node *node); /* NULL is allowed */
casefs_volume *casefs_node_volume(const casefs_node *node);
uint64_t casefs_node_id(const casefs_node *node);

/* The entry of that name without opening it.  stored, if not NULL, receives the
 * name as it was given when made, zero-terminated, CASEFS_MAX_NAME + 1 bytes. */
int casefs_lookup(casefs_node *directory, const char *name, size_t length,
                  struct casefs_attributes *attributes, char *stored);
/* The same without case, whatever the directory's flag: of several spellings, the first in order.
 */
int casefs_lookup_folded(casefs_node *directory, const char *name, size_t length,
                         struct casefs_attributes *attributes, char *stored);

enum casefs_path_flags { CASEFS_NOFOLLOW = 1 /* a last symbolic link is itself the result */ };

/* Open by path from a directory (NULL: the root).  '/' separates; empty parts
 * and "." are skipped, ".." of the root is the root, symbolic links are followed,
 * at most 40 (-ELOOP), never out of the volume.  A part that is not found and has
 * a '\' in it is taken as several parts, so that Windows paths work; a leading
 * drive letter is skipped then ("C:\x" is "\x").  A last part that is not found
 * and has a ':' in it opens a stream, "file:stream". */
int casefs_open_path(casefs_volume *volume, casefs_node *from, const char *path, unsigned flags,
                     casefs_node **node);

/* Open the directory that path's last part is in, which need not exist; *name points into path
 * at that part, *length long; 0 for the root itself. */
int casefs_open_parent(casefs_volume *volume, casefs_node *from, const char *path,
                       casefs_node **directory, const char **name, size_t *length);

/* The path from the root to a node by one of its names, zero-terminated, with '/'; returns the
 * length without the zero.  Errors: -ENOENT (it has no name left), -ERANGE. */
int casefs_path(casefs_node *node, char *buffer, size_t size);

int casefs_get_attributes(casefs_node *node, struct casefs_attributes *attributes);
/* Change those of mask (enum casefs_attribute_mask). */
int casefs_set_attributes(casefs_node *node, unsigned mask,
                          const struct casefs_attributes *attributes);

/* ---------------------------------------------------------- directory changes */

struct casefs_creation {
  enum casefs_type type;
  uint32_t mode, uid, gid;
  uint64_t rdev;
  uint32_t dos_attributes;
  uint64_t created, modified, accessed, changed; /* 0: now */
  const char *target;                            /* symbolic links: where to */
  size_t target_length;
  const void *security; /* self-relative descriptor; NULL: none */
  size_t security_length;
  bool sensitive, insensitive; /* directories: not as inherited from their parent */
};

/* Make a node.  *node, if node is not NULL, is it, open.
 * Errors: -EEXIST, -EINVAL (also a bad descriptor, a target with NUL, a device number of what is no
 * device), -EILSEQ, -ENAMETOOLONG, -ENOENT (the directory was removed).  If the node cannot be
 * opened for lack of memory, -ENOMEM, it has been made. */
int casefs_create(casefs_node *directory, const char *name, size_t length,
                  const struct casefs_creation *creation, casefs_node **node);

/* Give a node another name.  Errors: -EPERM (directories and streams), -EEXIST, -EMLINK, -ENOENT
 * (node or directory was removed), -EINVAL (of different volumes). */
int casefs_link(casefs_node *node, casefs_node *directory, const char *name, size_t length);

/* Remove a name, and with the last one the node, once nobody has it open.
 * unlink: anything but a directory (-EISDIR); rmdir: an empty directory
 * (-ENOTDIR, -ENOTEMPTY). */
int casefs_unlink(casefs_node *directory, const char *name, size_t length);
int casefs_rmdir(casefs_node *directory, const char *name, size_t length);

enum casefs_rename_flags { CASEFS_RENAME_NOREPLACE = 1, CASEFS_RENAME_EXCHANGE = 2 };

/* Rename.  A target that exists is replaced: a directory must be empty, and
 * both or neither be directories.  A name that differs only in case from the
 * old one is a new spelling, never a collision.  With NOREPLACE: -EEXIST.
 * With EXCHANGE both must exist and swap places.  Two names of one node: nothing
 * is done.
 * Errors: -EINVAL (a directory into itself; both flags), -ENOTEMPTY, -EISDIR,
 * -ENOTDIR and those of create. */
int casefs_rename(casefs_node *from, const char *old_name, size_t old_length, casefs_node *to,
                  const char *new_name, size_t new_length, unsigned flags);

/* Where a listing stands: after an entry, which need not exist any more.  All zeros: the start. */
struct casefs_cursor {
  uint32_t length; /* of key; opaque */
  uint8_t key[2 * CASEFS_MAX_NAME + 8];
};

struct casefs_entry {
  uint64_t id;
  enum casefs_type type;
  uint32_t name_length;
  char name[CASEFS_MAX_NAME + 1]; /* zero-terminated */
};

/* The next entry after the cursor, in order of folded names: returns 1, or 0 at
 * the end.  Every entry that is there all the time is returned once.  attributes may be NULL. */
int casefs_next_entry(casefs_node *directory, struct casefs_cursor *cursor,
                      struct casefs_entry *entry, struct casefs_attributes *attributes);
/* Place a cursor after that name, whether or not it exists; in an insensitive directory, after all
 * its spellings. */
int casefs_seek_entry(casefs_node *directory, const char *name, size_t length,
                      struct casefs_cursor *cursor);

/* The next of a node's names after the cursor (all zeros: the first): returns 1, or 0 at the end.
 * *directory: the id of the one it stands in; name: CASEFS_MAX_NAME + 1 bytes, zero-terminated. */
int casefs_next_link(casefs_node *node, struct casefs_cursor *cursor, uint64_t *directory,
                     char *name);

/* Make a directory insensitive or sensitive.  To insensitive: -EEXIST if two entries would have
 * the same name; they are copied to first and second (CASEFS_MAX_NAME + 1 bytes each, or NULL). */
int casefs_set_case(casefs_node *directory, bool insensitive, char *first, char *second);

/* Errors: -EINVAL (not a symbolic link), -ERANGE.  Returns the length; no zero is added.  (The
 * length alone is the size that casefs_get_attributes tells.) */
int casefs_readlink(casefs_node *node, char *buffer, size_t size);

/* -------------------------------------------------------------------- data */

/* Of files and streams (-EISDIR, -EINVAL of others).
 * read returns what there is before the end, 0 at it.  write extends; it writes all or, on an
 * error, perhaps a beginning: then the count of that is returned. */
int64_t casefs_read(casefs_node *node, void *buffer, size_t count, uint64_t offset);
int64_t casefs_write(casefs_node *node, const void *buffer, size_t count, uint64_t offset);
/* The same for what was written before, to a cache in front of this library: times stay. */
int64_t casefs_write_back(casefs_node *node, const void *buffer, size_t count, uint64_t offset);
int casefs_truncate(casefs_node *node, uint64_t size);
/* Make a range read as zeros and free its blocks; the size stays, and the range ends with it. */
int casefs_punch(casefs_node *node, uint64_t offset, uint64_t count);
/* Set blocks aside for the holes of a range, so that the first write to whole blocks there finds
 * its space; it reads as before.  What is there already is written anew to other blocks, always.
 * keep_size: do not extend. */
int casefs_allocate(casefs_node *node, uint64_t offset, uint64_t count, bool keep_size);

enum casefs_extent_kind {
  CASEFS_EXTENT_HOLE,
  CASEFS_EXTENT_DATA,
  CASEFS_EXTENT_UNWRITTEN, /* allocated, reads as zeros */
  CASEFS_EXTENT_INLINE,    /* in the metadata */
  CASEFS_EXTENT_MEMORY,    /* not yet given to the device */
};
struct casefs_extent {
  enum casefs_extent_kind kind;
  uint64_t offset, count; /* in the file */
  uint64_t device_offset; /* of DATA and UNWRITTEN */
};
/* The extent at offset: returns 1, or 0 from the end on. */
int casefs_get_extent(casefs_node *node, uint64_t offset, struct casefs_extent *extent);

/* ----------------------------------------------------------- Windows metadata */

/* Named streams of a file or directory, matched without case.  An open stream is a node of type
 * CASEFS_STREAM; it has data and times, but no metadata of its own.  flags: O_CREAT and, with it,
 * O_EXCL (<fcntl.h>).
 * Errors: -ENOENT, -EEXIST, -EINVAL. */
int casefs_open_stream(casefs_node *node, const char *name, size_t length, int flags,
                       casefs_node **stream);
int casefs_remove_stream(casefs_node *node, const char *name, size_t length);
/* -EEXIST if the new name is another stream's. */
int casefs_rename_stream(casefs_node *node, const char *old_name, size_t old_length,
                         const char *new_name, size_t new_length);
int casefs_next_stream(casefs_node *node, struct casefs_cursor *cursor, struct casefs_entry *entry,
                       struct casefs_attributes *attributes);

/* Extended attributes as FILE_FULL_EA_INFORMATION has them ([MS-FSCC] 2.4.15): names without
 * case, kept as given, 1 to 255 bytes without NUL and the characters Windows forbids; flags 0 or
 * FILE_NEED_EA (0x80).  An empty value removes; removing what is not there is no error.
 * get returns the length of the value (-ERANGE; size 0: only the length).
 * Errors of set: -EINVAL (name, flags), -ENAMETOOLONG (name, value), -ENOSPC. -EFBIG (packed size).
 */
struct casefs_ea {
  char name[CASEFS_MAX_EA_NAME + 1];
  uint8_t flags;
  uint32_t length; /* of the value */
};
int casefs_get_ea(casefs_node *node, const char *name, size_t length, void *value, size_t size,
                  uint8_t *flags);
int casefs_set_ea(casefs_node *node, const char *name, size_t length, const void *value,
                  size_t size, uint8_t flags);
int casefs_next_ea(casefs_node *node, struct casefs_cursor *cursor, struct casefs_ea *ea);

/* A security descriptor, self-relative ([MS-DTYP] 2.4.6), validated when set, stored as given,
 * once per content, not enforced.  get returns the length (-ENODATA, -ERANGE; size 0: only the
 * length).  set with length 0 removes.  Errors of set: -EINVAL, -ENAMETOOLONG. */
int casefs_get_security(casefs_node *node, void *buffer, size_t size);
int casefs_set_security(casefs_node *node, const void *descriptor, size_t length);

/* A reparse point: a whole REPARSE_DATA_BUFFER or REPARSE_GUID_DATA_BUFFER ([MS-FSCC] 2.1.2).
 * set replaces only one of the same tag (and GUID): else -EEXIST.  remove: tag and, for tags
 * that are not Microsoft's, GUID must be the stored ones: -EINVAL.
 * Errors of set: -EINVAL (malformed; a symbolic link or stream), -ENAMETOOLONG, -ENOTEMPTY (a
 * directory with entries); of remove: -ENODATA. */
int casefs_get_reparse(casefs_node *node, void *buffer, size_t size);
int casefs_set_reparse(casefs_node *node, const void *data, size_t length);
int casefs_remove_reparse(casefs_node *node, uint32_t tag, const uint8_t guid[16]);

/* ----------------------------------------------- descriptors as text (SDDL) */

/* Whether these bytes are a well-formed self-relative descriptor: 0 or -EINVAL. */
int casefs_security_check(const void *descriptor, size_t length);
/* To and from SDDL ([MS-DTYP] 2.5.1).  -EOPNOTSUPP: SDDL has no words for an entry of it.  The
 * result is the caller's to free.  On -EINVAL, and if error is not NULL, *error is a sentence that
 * names the place; the caller frees it. */
int casefs_security_to_sddl(const void *descriptor, size_t length, char **sddl);
int casefs_security_from_sddl(const char *sddl, void **descriptor, size_t *length, char **error);

/* --------------------------------------------------------------- checking */

enum casefs_check_flags {
  CASEFS_CHECK_DATA = 1,   /* read all file data and compare its checksums */
  CASEFS_CHECK_REPAIR = 2, /* mend what is found */
};

struct casefs_problem {
  unsigned number; /* as in fsck.casefs(8) */
  bool repaired;
  uint64_t id;      /* the node concerned, or 0 */
  uint64_t offset;  /* on the device, or in the file */
  const char *text; /* a sentence; valid during the call */
};

struct casefs_check_options {
  unsigned flags;
  uint64_t size; /* of the volume, if no superblock tells; 0: the device's */
  void *context; /* handed to the callbacks, which may be NULL */
  void (*problem)(void *context, const struct casefs_problem *problem);
  /* Asked before a repair, if not NULL: false leaves it. */
  bool (*ask)(void *context, const struct casefs_problem *problem);
  void (*progress)(void *context, const char *phase, uint64_t done, uint64_t total);
};

struct casefs_check_result {
  uint64_t problems, repaired;
  uint64_t directories, files, others, streams; /* nodes seen */
  uint64_t data_blocks, tree_blocks;
};

/* Check a volume that nobody has open for writing; options and result may be NULL.
 * Errors: -ENODATA (nothing of a volume is left), -EIO, -ENOMEM, -EBUSY, -EOPNOTSUPP; of a repair
 * also -ENOSPC.
 * Problems are not errors: see result. */
int casefs_check(struct casefs_device *device, const struct casefs_check_options *options,
                 struct casefs_check_result *result);

#ifdef __cplusplus
}
#endif

#endif
