/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The local file system as a side of a copy.
 */

#include "copy-sides.h"
#include "text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int result_of(int result) {
  return result < 0 ? -errno : result;
}

static void close_descriptor(struct handle *handle) {
  if (handle->descriptor >= 0)
    close(handle->descriptor);
  *handle = NO_HANDLE;
}

/* ----------------------------------------------------------------- reading */

static uint64_t time_of(const struct statx_timestamp *time) {
  return time_from_unix((struct timespec){.tv_sec = time->tv_sec, .tv_nsec = time->tv_nsec});
}

static void take_status(const struct statx *status, struct object *object) {
  object->device = makedev(status->stx_dev_major, status->stx_dev_minor);
  object->sparse = S_ISREG(status->stx_mode) && status->stx_blocks * 512 < status->stx_size;
  object->attributes = (struct casefs_attributes){
      .id = status->stx_ino,
      .type = type_of_mode(status->stx_mode),
      .mode = status->stx_mode & 07777,
      .uid = status->stx_uid,
      .gid = status->stx_gid,
      .rdev = (uint64_t)status->stx_rdev_major << 32 | status->stx_rdev_minor,
      .links = status->stx_nlink,
      .size = status->stx_size,
      .modified = time_of(&status->stx_mtime),
      .accessed = time_of(&status->stx_atime),
      .changed = time_of(&status->stx_ctime),
  };
  object->attributes.created =
      status->stx_mask & STATX_BTIME ? time_of(&status->stx_btime) : object->attributes.modified;
}

static int take_status_at(int directory, const char *name, int flags, struct object *object) {
  struct statx status;
  if (statx(directory, name, flags | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME, &status) < 0)
    return -errno;
  take_status(&status, object);
  return 0;
}

/* Open to read, if that is allowed without leaving a time of access. */
static int open_quietly(int directory, const char *name, int flags) {
  static atomic_bool refused; /* of files of others, to anybody but root */
  flags |= O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  if (!atomic_load_explicit(&refused, memory_order_relaxed)) {
    int descriptor = openat(directory, name, flags | O_NOATIME);
    if (descriptor >= 0 || errno != EPERM)
      return result_of(descriptor);
    atomic_store_explicit(&refused, true, memory_order_relaxed);
  }
  return result_of(openat(directory, name, flags));
}

static void find_form(const struct handle *directory, struct object *object) {
  object->handle.device = object->device;
  object->handle.form = directory->device == object->device
                            ? directory->form
                            : metadata_form_of(object->handle.descriptor);
}

static int open_readable(const struct handle *directory, const char *name, int flags,
                         struct object *object) {
  int descriptor = open_quietly(directory->descriptor, name, flags);
  if (descriptor < 0)
    return descriptor;
  object->handle.descriptor = descriptor;
  int error = take_status_at(descriptor, "", AT_EMPTY_PATH, object);
  if (error == 0 && object->attributes.type != CASEFS_FILE &&
      object->attributes.type != CASEFS_DIRECTORY)
    error = -EAGAIN; /* replaced meanwhile */
  if (error < 0)
    close_descriptor(&object->handle);
  else
    find_form(directory, object);
  return error;
}

static int read_link(int directory, const char *name, struct object *object) {
  size_t size = CASEFS_MAX_SYMLINK + 2;
  char *target = allocate(size);
  ssize_t length = readlinkat(directory, name, target, size - 1);
  if (length < 0) {
    int error = -errno;
    free(target);
    return error;
  }
  object->target = target;
  object->target_length = (size_t)length;
  object->attributes.size = (uint64_t)length;
  return 0;
}

static int local_open(const struct handle *directory, const char *name, enum casefs_type type,
                      enum opening opening, struct object *object) {
  bool follow = opening == OPEN_FOLLOW;
  *object = (struct object){.handle = NO_HANDLE};
  if (*name == '\0')
    return open_readable(directory, ".", O_DIRECTORY, object);
  if (type != CASEFS_FILE && type != CASEFS_DIRECTORY) {
    int error =
        take_status_at(directory->descriptor, name, follow ? 0 : AT_SYMLINK_NOFOLLOW, object);
    if (error < 0)
      return error;
    if (object->attributes.type == CASEFS_SYMLINK)
      return read_link(directory->descriptor, name, object);
    if (object->attributes.type != CASEFS_FILE && object->attributes.type != CASEFS_DIRECTORY)
      return 0;
  }
  return open_readable(directory, name, follow ? 0 : O_NOFOLLOW, object);
}

static void local_close(struct object *object) {
  close_descriptor(&object->handle);
  free(object->target);
  object->target = NULL;
}

static enum casefs_type entry_type(unsigned char type) {
  return type == DT_UNKNOWN ? 0 : type_of_mode((mode_t)DTTOIF(type));
}

static int local_list(struct object *directory, void *buffer, struct listing *listing) {
  ssize_t length;
  while ((length = getdents64(directory->handle.descriptor, buffer, COPY_BUFFER)) > 0) {
    const char *at = buffer, *end = at + length;
    while (at < end) {
      const struct dirent64 *entry = (const void *)at;
      const char *name = entry->d_name;
      bool dots = name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
      if (!dots)
        listing_add(listing, name, strlen(name), entry_type(entry->d_type));
      at += entry->d_reclen;
    }
  }
  return result_of((int)length);
}

static int local_next_data(struct object *file, uint64_t offset, uint64_t *start, uint64_t *end) {
  off_t data = lseek(file->handle.descriptor, (off_t)offset, SEEK_DATA);
  if (data < 0 && errno == ENXIO)
    return 0;
  off_t hole = data < 0 ? -1 : lseek(file->handle.descriptor, data, SEEK_HOLE);
  *start = data < 0 ? offset : (uint64_t)data;
  *end = hole < 0 ? file->attributes.size : (uint64_t)hole;
  return *start < file->attributes.size && *start < *end;
}

static int64_t local_read(struct object *file, void *buffer, size_t count, uint64_t offset) {
  ssize_t done;
  do
    done = pread(file->handle.descriptor, buffer, count, (off_t)offset);
  while (done < 0 && errno == EINTR);
  return done < 0 ? -errno : done;
}

static int local_metadata(struct object *object, enum copy_metadata wanted,
                          struct metadata *metadata, unsigned lost[METADATA_PARTS]) {
  enum metadata_form form = object->handle.form;
  if (object->handle.descriptor < 0 || wanted == COPY_METADATA_NONE)
    return 0;
  if (wanted == COPY_METADATA_SAMBA || form == METADATA_FORM_NONE)
    form = METADATA_FORM_SAMBA;
  if (wanted == COPY_METADATA_NTFS_3G && form == METADATA_FORM_SAMBA)
    form = METADATA_FORM_NTFS;
  return metadata_read_local(object->handle.descriptor, form, metadata, lost);
}

const struct source local_source = {
    .open = local_open,
    .close = local_close,
    .list = local_list,
    .next_data = local_next_data,
    .read = local_read,
    .metadata = local_metadata,
};

/* ----------------------------------------------------------------- writing */

/* What does not change while the program runs. */
static struct {
  uid_t uid;
  gid_t gid;
  uint32_t permitted; /* permission bits that the umask leaves */
} process;

static void look_at_process(void) {
  process.uid = geteuid();
  process.gid = getegid();
  process.permitted = permitted(0777);
}

static void know_process(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, look_at_process);
}

/* What a new node gets of these permission bits. */
static mode_t masked(uint32_t mode) {
  know_process();
  return mode & process.permitted;
}

static int open_local_directory(const struct handle *directory, const char *name,
                                struct handle *handle) {
  struct stat status;
  int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (*name ? O_NOFOLLOW : 0);
  *handle = NO_HANDLE;
  handle->descriptor = openat(directory->descriptor, *name ? name : ".", flags);
  if (handle->descriptor < 0 || fstat(handle->descriptor, &status) < 0) {
    int error = -errno;
    close_descriptor(handle);
    return error;
  }
  handle->device = status.st_dev;
  handle->gives_group = status.st_mode & S_ISGID;
  handle->form =
      directory->device == handle->device ? directory->form : metadata_form_of(handle->descriptor);
  return 0;
}

static int make_directory(const struct handle *directory, const char *name, struct handle *handle) {
  /* Ours alone until it is finished. */
  if (mkdirat(directory->descriptor, name, 0700) < 0)
    return -errno;
  return open_local_directory(directory, name, handle);
}

static int make_file(const struct handle *directory, const char *name, const struct object *like,
                     struct handle *handle) {
  *handle = *directory;
  handle->descriptor =
      openat(directory->descriptor, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY,
             masked(like->attributes.mode) | S_IWUSR);
  return result_of(handle->descriptor) < 0 ? -errno : 0;
}

static int make_special(const struct handle *directory, const char *name,
                        const struct object *like) {
  static const mode_t kinds[] = {[CASEFS_FIFO] = S_IFIFO,
                                 [CASEFS_SOCKET] = S_IFSOCK,
                                 [CASEFS_CHARACTER_DEVICE] = S_IFCHR,
                                 [CASEFS_BLOCK_DEVICE] = S_IFBLK};
  uint64_t rdev = like->attributes.rdev;
  mode_t mode = kinds[like->attributes.type] | masked(like->attributes.mode);
  return result_of(
      mknodat(directory->descriptor, name, mode, makedev((unsigned)(rdev >> 32), (unsigned)rdev)));
}

static int local_make(const struct handle *directory, const char *name, const struct object *like,
                      struct handle *handle) {
  *handle = NO_HANDLE;
  switch (like->attributes.type) {
  case CASEFS_FILE:
  case CASEFS_STREAM:
    return make_file(directory, name, like, handle);
  case CASEFS_DIRECTORY:
    return make_directory(directory, name, handle);
  case CASEFS_SYMLINK:
    return result_of(symlinkat(like->target, directory->descriptor, name));
  default:
    return make_special(directory, name, like);
  }
}

static int local_look(const struct handle *directory, const char *name, struct standing *standing) {
  struct stat status;
  if (fstatat(directory->descriptor, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
    return -errno;
  *standing = (struct standing){
      .type = type_of_mode(status.st_mode), .device = status.st_dev, .id = status.st_ino};
  return 0;
}

static int local_open_file(const struct handle *directory, const char *name,
                           const struct standing *standing, struct handle *handle) {
  struct stat status;
  *handle = *directory;
  handle->descriptor = openat(directory->descriptor, name,
                              O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK);
  int error = handle->descriptor < 0 || fstat(handle->descriptor, &status) < 0 ? -errno : 0;
  if (error == 0 && (status.st_dev != standing->device || status.st_ino != standing->id))
    error = -EAGAIN;
  if (error == 0 && ftruncate(handle->descriptor, 0) < 0)
    error = -errno;
  if (error < 0)
    close_descriptor(handle);
  return error;
}

static int local_remove(const struct handle *directory, const char *name) {
  return result_of(unlinkat(directory->descriptor, name, 0));
}

static int64_t local_write(struct handle *file, const void *buffer, size_t count, uint64_t offset) {
  const char *bytes = buffer;
  size_t done = 0;
  while (done < count) {
    ssize_t some = pwrite(file->descriptor, bytes + done, count - done, (off_t)(offset + done));
    if (some < 0 && errno == EINTR)
      continue;
    if (some < 0)
      return -errno;
    done += (size_t)some;
  }
  return (int64_t)done;
}

static int local_set_size(struct handle *file, uint64_t size) {
  return result_of(ftruncate(file->descriptor, (off_t)size));
}

static int local_set_metadata(struct handle *handle, const struct metadata *metadata, bool replace,
                              enum copy_metadata wanted, void *buffer,
                              unsigned lost[METADATA_PARTS]) {
  enum metadata_form form = handle->form;
  (void)replace, (void)buffer;
  if (wanted == COPY_METADATA_NTFS_3G)
    form = METADATA_FORM_NTFS;
  else if (wanted == COPY_METADATA_SAMBA || form == METADATA_FORM_NONE)
    form = METADATA_FORM_SAMBA;
  metadata_write_local(handle->descriptor, form, metadata, lost);
  return 0;
}

/* The bits that may be given to a node that did not get the owner it should have. */
static uint32_t harmless(uint32_t mode) {
  return mode & ~(uint32_t)(S_ISUID | S_ISGID);
}

static int finish_owner(const struct handle *directory, const char *name,
                        const struct handle *handle, const struct object *like, uint32_t *mode) {
  uid_t uid = like->attributes.uid;
  gid_t gid = like->attributes.gid;
  know_process();
  bool owned = uid == process.uid && gid == process.gid;
  if (owned && !directory->gives_group)
    return 0;
  if (process.uid != 0) {
    *mode = owned ? *mode : harmless(*mode);
    return 0;
  }
  if (handle->descriptor >= 0)
    return result_of(fchown(handle->descriptor, uid, gid));
  return result_of(fchownat(directory->descriptor, name, uid, gid, AT_SYMLINK_NOFOLLOW));
}

static int finish_mode(const struct handle *directory, const char *name,
                       const struct handle *handle, enum casefs_type type, uint32_t mode) {
  if (type == CASEFS_SYMLINK)
    return 0;
  if (handle->descriptor < 0)
    return result_of(fchmodat(directory->descriptor, name, mode, 0));
  return result_of(fchmod(handle->descriptor, mode));
}

static int finish_times(const struct handle *directory, const char *name,
                        const struct handle *handle, const struct object *like) {
  struct timespec times[2] = {time_to_unix(like->attributes.accessed),
                              time_to_unix(like->attributes.modified)};
  if (handle->descriptor >= 0)
    return result_of(futimens(handle->descriptor, times));
  return result_of(utimensat(directory->descriptor, name, times, AT_SYMLINK_NOFOLLOW));
}

static int local_finish(const struct handle *directory, const char *name, struct handle *handle,
                        const struct object *like, bool fresh, bool changed) {
  enum casefs_type type = like->attributes.type;
  uint32_t mode = like->attributes.mode;
  bool has_mode = fresh && type != CASEFS_DIRECTORY && masked(mode) == mode && mode & S_IWUSR;
  (void)changed;
  int error = finish_owner(directory, name, handle, like, &mode);
  if (error == 0 && !has_mode)
    error = finish_mode(directory, name, handle, type, mode);
  return error < 0 ? error : finish_times(directory, name, handle, like);
}

static int local_link(const struct handle *top, const char *path, uint64_t id,
                      const struct handle *directory, const char *name) {
  (void)id;
  return result_of(linkat(top->descriptor, path, directory->descriptor, name, 0));
}

const struct destination local_destination = {
    .open_directory = open_local_directory,
    .make = local_make,
    .look = local_look,
    .open_file = local_open_file,
    .remove = local_remove,
    .write = local_write,
    .set_size = local_set_size,
    .metadata = local_set_metadata,
    .finish = local_finish,
    .link = local_link,
    .close = close_descriptor,
};
