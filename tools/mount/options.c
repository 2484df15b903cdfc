/* SPDX-License-Identifier: BSD-3-Clause */

#include "options.h"

#include "../casefs/text.h"
#include "../casefs/tool.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
    "usage: mount.casefs [OPTION...] DEVICE DIRECTORY\n"
    "\n"
    "Mounts the casefs volume on DEVICE, which is a file, a block device or an NBD URI, at\n"
    "DIRECTORY.  mem:SIZE is a new volume in memory, gone when it is unmounted.\n"
    "\n"
    "  -o OPTION[,OPTION...]  as below, or of mount(8)\n"
    "  -r, --read-only        the same as -o ro\n"
    "  -f, --foreground       stay in the foreground, with messages on the standard error\n"
    "  -d, --debug            the same, and print every request\n"
    "  -F, --fake             check all but do not mount\n"
    "  -s                     ignore options that are not known\n"
    "  -n, -v, -w             accepted, as mount(8) gives them\n"
    "  -h, --help             print this text\n"
    "  -V, --version          print the version\n"
    "\n"
    "  ro, rw                 read-only; or read and write (default)\n"
    "  allow_other            other users may use it, as modes and ACLs say\n"
    "  allow_root             root may\n"
    "  default_permissions    modes and ACLs are checked for root alone too\n"
    "  dev, suid              device nodes and setuid programs work\n"
    "  relatime, noatime, strictatime   when reading sets access times (relatime)\n"
    "  uid=UID, gid=GID       show all files as theirs\n"
    "  umask=MODE, fmask=MODE, dmask=MODE   take these bits from all modes, of files, directories\n"
    "  case=volume            names are matched as each directory says (default)\n"
    "  case=insensitive       or by any spelling; of mem:SIZE, the new volume's directories\n"
    "  case=sensitive         or only as they are stored\n"
    "  streams=xattr          named streams are attributes user.NAME (default)\n"
    "  streams=colon          or files FILE:NAME\n"
    "  streams=samba          or attributes user.DosStream.NAME:$DATA\n"
    "  streams=none           or not seen\n"
    "  ea=user                attributes user.NAME are Windows' extended attributes; or ea=none\n"
    "  list_system_xattrs     list system.ntfs_* too\n"
    "  commit=SECONDS         make changes durable at least so often (5; 0: when asked, or full)\n"
    "  cache=SIZE             memory for metadata that is not changed (64M)\n"
    "  threads=N              that serve requests, 1 to 256 (16)\n"
    "  nodiscard              do not discard freed space on the device\n"
    "  nowriteback            hand each write over at once\n";

/* ------------------------------------------------------------- options of -o */

/* Those of mount(8) and systemd that are not for file systems. */
static bool is_generic(const char *option) {
  static const char *const names[] = {"defaults", "auto",      "noauto",     "user",    "nouser",
                                      "users",    "nousers",   "group",      "owner",   "nofail",
                                      "_netdev",  "relatime",  "discard",    "loop",    "silent",
                                      "loud",     "writeback", "nolazytime", "nonempty"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (strcmp(option, names[i]) == 0)
      return true;
  return strncmp(option, "x-", 2) == 0 || strncmp(option, "X-", 2) == 0 ||
         strncmp(option, "comment=", 8) == 0;
}

/* Those that libfuse hands to the kernel. */
static bool is_for_fuse(const char *option) {
  static const char *const names[] = {"allow_other", "allow_root", "dev",     "nodev",
                                      "suid",        "nosuid",     "exec",    "noexec",
                                      "sync",        "async",      "dirsync", "auto_unmount"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (strcmp(option, names[i]) == 0)
      return true;
  return strncmp(option, "context=", 8) == 0;
}

static void pass_on(struct mount_options *options, const char *option) {
  char *joined =
      formatted("%s%s%s", options->fuse ? options->fuse : "", options->fuse ? "," : "", option);
  free(options->fuse);
  options->fuse = joined;
}

/* The value of "NAME=VALUE", or NULL. */
static const char *value_of(const char *option, const char *name) {
  size_t length = strlen(name);
  return strncmp(option, name, length) == 0 && option[length] == '=' ? option + length + 1 : NULL;
}

static bool take_flag(struct mount_options *options, const char *option) {
  static const struct {
    const char *name;
    enum atime atime;
  } atimes[] = {{"relatime", ATIME_RELATIVE},
                {"noatime", ATIME_NEVER},
                {"norelatime", ATIME_ALWAYS},
                {"strictatime", ATIME_ALWAYS}};
  for (size_t i = 0; i < sizeof atimes / sizeof atimes[0]; i++)
    if (strcmp(option, atimes[i].name) == 0) {
      options->atime = atimes[i].atime;
      return true;
    }
  bool read_only = strcmp(option, "ro") == 0;
  if (read_only || strcmp(option, "rw") == 0)
    options->read_only = read_only;
  else if (strcmp(option, "nodiscard") == 0)
    options->no_discard = true;
  else if (strcmp(option, "nowriteback") == 0)
    options->writeback = false;
  else if (strcmp(option, "list_system_xattrs") == 0)
    options->xattrs.list_system = true;
  else if (strcmp(option, "default_permissions") == 0)
    options->permissions = true;
  else
    return false;
  return true;
}

struct choice {
  const char *name;
  int value;
};

/* 1 if the option is NAME=VALUE of one of the choices, 0 if it is another, -1 if it is wrong. */
static int take_choice(const char *option, const char *name, const struct choice *choices,
                       int *value) {
  const char *text = value_of(option, name);
  if (!text)
    return 0;
  char all[64] = "";
  for (; choices->name; choices++) {
    if (strcmp(text, choices->name) == 0) {
      *value = choices->value;
      return 1;
    }
    snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", *all ? ", " : "", choices->name);
  }
  complain("%s=: '%s' is none of %s", name, text, all);
  return -1;
}

static int take_choices(struct mount_options *options, const char *option) {
  static const struct choice streams[] = {{"xattr", STREAMS_XATTR},
                                          {"colon", STREAMS_COLON},
                                          {"samba", STREAMS_SAMBA},
                                          {"none", STREAMS_NONE},
                                          {NULL, 0}};
  static const struct choice cases[] = {{"volume", CASE_VOLUME},
                                        {"sensitive", CASE_SENSITIVE},
                                        {"insensitive", CASE_INSENSITIVE},
                                        {NULL, 0}};
  static const struct choice eas[] = {{"none", 0}, {"user", 1}, {NULL, 0}};
  int value;
  int r = take_choice(option, "streams", streams, &value);
  if (r == 1)
    options->xattrs.streams = (enum stream_view)value;
  if (r == 0 && (r = take_choice(option, "case", cases, &value)) == 1)
    options->case_view = (enum case_view)value;
  if (r == 0 && (r = take_choice(option, "ea", eas, &value)) == 1)
    options->xattrs.user_eas = value;
  return r;
}

static bool parse_octal(const char *text, uint32_t *mask) {
  char *end;
  if (*text < '0' || *text > '7')
    return false;
  unsigned long value = strtoul(text, &end, 8);
  *mask = (uint32_t)value;
  return *end == '\0' && value <= 0777;
}

static int take_masks(struct mount_options *options, const char *option) {
  static const char *const names[] = {"umask", "fmask", "dmask"};
  for (int i = 0; i < 3; i++) {
    const char *text = value_of(option, names[i]);
    uint32_t mask;
    if (!text)
      continue;
    if (!parse_octal(text, &mask)) {
      complain("%s=: '%s' is not an octal number up to 777", names[i], text);
      return -1;
    }
    if (i != 2)
      options->xattrs.shown.file_mask = mask;
    if (i != 1)
      options->xattrs.shown.directory_mask = mask;
    return 1;
  }
  return 0;
}

/* 1, 0 or -1, as take_choice. */
static int take_number(const char *option, const char *name, uint64_t least, uint64_t most,
                       uint64_t *number) {
  const char *text = value_of(option, name);
  if (!text)
    return 0;
  if (parse_number(text, most, number) && *number >= least)
    return 1;
  complain("%s=: '%s' is not a number from %llu to %llu", name, text, (unsigned long long)least,
           (unsigned long long)most);
  return -1;
}

static int take_numbers(struct mount_options *options, const char *option) {
  uint64_t number;
  int r = take_number(option, "uid", 0, UINT32_MAX - 1, &number);
  if (r == 1) {
    options->xattrs.shown.force_uid = true;
    options->xattrs.shown.uid = (uint32_t)number;
  }
  if (r == 0 && (r = take_number(option, "gid", 0, UINT32_MAX - 1, &number)) == 1) {
    options->xattrs.shown.force_gid = true;
    options->xattrs.shown.gid = (uint32_t)number;
  }
  if (r == 0 && (r = take_number(option, "commit", 0, 86400, &number)) == 1)
    options->commit = (unsigned)number;
  if (r == 0 && (r = take_number(option, "threads", 1, MAX_THREADS, &number)) == 1)
    options->threads = (unsigned)number;
  const char *cache = value_of(option, "cache");
  if (r == 0 && cache) {
    r = parse_size(cache, &options->cache_size) && options->cache_size > 0 ? 1 : -1;
    if (r < 0)
      complain("cache=: '%s' is not a size such as 64M", cache);
  }
  return r;
}

static bool take_mount_option(struct mount_options *options, const char *option, bool sloppy) {
  if (*option == '\0' || take_flag(options, option))
    return true;
  int r = take_choices(options, option);
  if (r == 0)
    r = take_masks(options, option);
  if (r == 0)
    r = take_numbers(options, option);
  if (r != 0)
    return r > 0;
  if (strcmp(option, "remount") == 0) {
    complain("a casefs volume cannot be remounted with other options: unmount it, and mount it "
             "again");
    return false;
  }
  if (strcmp(option, "allow_other") == 0)
    options->permissions = true;
  if (is_for_fuse(option))
    pass_on(options, option);
  else if (!is_generic(option) && !sloppy) {
    complain("-o: '%s' is not an option; mount.casefs --help lists them", option);
    return false;
  }
  return true;
}

/* All of them: what is wrong is said of each. */
static bool take_mount_options(struct mount_options *options, const char *text, bool sloppy) {
  char *list = copied(text, strlen(text)), *rest = list, *option;
  bool good = true;
  while ((option = strsep(&rest, ",")))
    good = take_mount_option(options, option, sloppy) && good;
  free(list);
  return good;
}

/* ----------------------------------------------------------------- arguments */

static bool is_uri(const char *device) {
  return strstr(device, "://") != NULL || strncmp(device, "mem:", 4) == 0;
}

static bool take_point(struct mount_options *options, const char *given) {
  struct stat status;
  options->point = realpath(given, NULL);
  if (!options->point) {
    complain("'%s' cannot be the place to mount at: %s", given, strerror(errno));
    return false;
  }
  if (stat(options->point, &status) == 0 && !S_ISDIR(status.st_mode)) {
    complain("'%s' is not a directory to mount at", given);
    return false;
  }
  return true;
}

static bool take_device(struct mount_options *options, const char *given) {
  options->source = given;
  options->device = is_uri(given) ? strdup(given) : realpath(given, NULL);
  if (!options->device)
    complain("'%s' cannot be opened: %s", given, strerror(errno));
  return options->device != NULL;
}

/* What stands in /proc/mounts. */
static void pass_name(struct mount_options *options) {
  char *escaped = allocate(2 * strlen(options->device) + 1), *end = escaped;
  for (const char *text = options->device; *text; text++) {
    if (*text == ',' || *text == '\\')
      *end++ = '\\';
    *end++ = *text;
  }
  char *option = formatted("fsname=%s,subtype=casefs%s%s", escaped,
                           options->permissions ? ",default_permissions" : "",
                           options->read_only ? ",ro" : "");
  pass_on(options, option);
  free(option);
  free(escaped);
}

static int finish(struct mount_options *options, int count, char **arguments) {
  if (count != 2) {
    complain("a DEVICE and a DIRECTORY are needed; mount.casefs --help tells more");
    return EXIT_INVOCATION;
  }
  if (options->xattrs.user_eas && options->xattrs.streams == STREAMS_XATTR) {
    complain("ea=user: attributes user.NAME cannot be streams too; add streams=colon, "
             "streams=samba or streams=none");
    return EXIT_INVOCATION;
  }
  if (!take_point(options, arguments[1]) || !take_device(options, arguments[0]))
    return EXIT_MOUNT;
  /* Root alone has all rights; to check them costs a request for each change in a directory. */
  if (geteuid() != 0)
    options->permissions = true;
  pass_name(options);
  return -1;
}

int options_parse(int count, char **arguments, struct mount_options *options) {
  static const struct option names[] = {
      {"read-only", no_argument, NULL, 'r'},     {"foreground", no_argument, NULL, 'f'},
      {"debug", no_argument, NULL, 'd'},         {"fake", no_argument, NULL, 'F'},
      {"options", required_argument, NULL, 'o'}, {"help", no_argument, NULL, 'h'},
      {"version", no_argument, NULL, 'V'},       {NULL, 0, NULL, 0}};
  *options = (struct mount_options){.writeback = true, .commit = 5, .threads = 16};
  bool sloppy = false, good = true, read_only = false;
  const char *lists[64];
  size_t list_count = 0;
  int letter;
  while ((letter = getopt_long(count, arguments, "o:rwfdFsnvhVt:N:", names, NULL)) != -1)
    switch (letter) {
    case 'o':
      if (list_count == sizeof lists / sizeof lists[0]) {
        complain("-o stands there too often: separate options by commas");
        return EXIT_INVOCATION;
      }
      lists[list_count++] = optarg;
      break;
    case 'r':
      read_only = true;
      break;
    case 'd':
      options->debug = options->foreground = true;
      break;
    case 'f':
      options->foreground = true;
      break;
    case 'F':
      options->fake = true;
      break;
    case 's':
      sloppy = true;
      break;
    case 'w':
    case 'n':
    case 'v':
    case 't':
    case 'N':
      break;
    case 'h':
      fputs(usage, stdout);
      return tool_end(EXIT_SUCCESS);
    case 'V':
      puts("mount.casefs " CASEFS_VERSION);
      return tool_end(EXIT_SUCCESS);
    default:
      return EXIT_INVOCATION;
    }
  for (size_t i = 0; i < list_count; i++)
    good = take_mount_options(options, lists[i], sloppy) && good;
  options->read_only = options->read_only || read_only;
  return good ? finish(options, count - optind, arguments + optind) : EXIT_INVOCATION;
}

void options_clear(struct mount_options *options) {
  free(options->device);
  free(options->point);
  free(options->fuse);
}
