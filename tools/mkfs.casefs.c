/* SPDX-License-Identifier: BSD-3-Clause
 *
 * mkfs.casefs: make a casefs volume on a file, a block device or an NBD server, and fill it.
 */

#include "casefs/copy.h"
#include "casefs/json.h"
#include "casefs/text.h"
#include "casefs/tool.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
    "usage: mkfs.casefs [OPTION...] DEVICE\n"
    "\n"
    "Makes a casefs volume on DEVICE, which is a file, a block device or an NBD URI.\n"
    "\n"
    "  -L, --label=LABEL            its name, up to 32 characters\n"
    "  -U, --uuid=UUID              its identity, instead of a random one\n"
    "      --case=sensitive         the root directory, and what is made in it, minds case\n"
    "      --case=insensitive       or ignores it\n"
    "      --size=SIZE              make or extend a file to SIZE (4G); use so much of a device\n"
    "      --security=SDDL          security descriptor of the root directory\n"
    "  -d, --directory=DIRECTORY    copy all that is in DIRECTORY into the volume\n"
    "      --metadata=FORM          Windows metadata there: auto, ntfs-3g, samba or none\n"
    "  -j, --jobs=JOBS              threads that copy, 1 to 64 (4)\n"
    "  -f, --force                  overwrite what is on DEVICE\n"
    "  -K, --no-discard             do not discard the device first\n"
    "  -n, --dry-run                only check and tell what would be done\n"
    "  -q, --quiet                  print nothing but errors\n"
    "  -v, --verbose                print also what is copied\n"
    "      --json                   print what was made as JSON\n"
    "  -h, --help                   print this text\n"
    "  -V, --version                print the version\n";

struct options {
  const char *device;
  const char *label, *source, *sddl;
  struct casefs_format_options format;
  struct copy_options copy;
  bool force, dry_run, quiet, json;
};

/* What is known of DEVICE before it is opened. */
struct place {
  bool exists, is_file, is_block;
  struct stat status;
};

/* ----------------------------------------------------------------- options */

static int digit_of(char digit) {
  static const char digits[] = "0123456789abcdef";
  const char *found = digit ? strchr(digits, digit | 0x20) : NULL;
  return found ? (int)(found - digits) : -1;
}

/* 8-4-4-4-12, not all zeros. */
static bool parse_uuid(const char *text, uint8_t uuid[16]) {
  static const uint8_t nil[16];
  for (int i = 0; i < 16; i++) {
    if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-')
      return false;
    int high = digit_of(text[0]), low = high < 0 ? -1 : digit_of(text[1]);
    if (low < 0)
      return false;
    uuid[i] = (uint8_t)(high << 4 | low);
    text += 2;
  }
  return *text == '\0' && memcmp(uuid, nil, sizeof nil) != 0;
}

static bool parse_case(const char *text, bool *insensitive) {
  *insensitive = strcmp(text, "insensitive") == 0;
  return *insensitive || strcmp(text, "sensitive") == 0;
}

enum { CASE = 256, SIZE, SECURITY, METADATA, JSON };

static bool take_format_option(int letter, struct options *options) {
  switch (letter) {
  case 'L':
    options->label = optarg;
    return true;
  case 'U':
    if (strcmp(optarg, "random") == 0 || parse_uuid(optarg, options->format.uuid))
      return true;
    complain("--uuid: '%s' is not a UUID such as 123e4567-e89b-42d3-a456-426614174000", optarg);
    return false;
  case CASE:
    if (parse_case(optarg, &options->format.case_insensitive))
      return true;
    complain("--case: '%s' is neither sensitive nor insensitive", optarg);
    return false;
  case SIZE:
    if (parse_size(optarg, &options->format.size) && options->format.size > 0)
      return true;
    complain("--size: '%s' is not a size such as 4G or 4294967296", optarg);
    return false;
  case SECURITY:
    options->sddl = optarg;
    return true;
  case 'K':
    options->format.no_discard = true;
    return true;
  default:
    return false;
  }
}

static bool take_option(int letter, struct options *options) {
  uint64_t jobs;
  switch (letter) {
  case 'd':
    options->source = optarg;
    return true;
  case METADATA:
    if (parse_copy_metadata(optarg, &options->copy.metadata))
      return true;
    complain("--metadata: '%s' is none of auto, none, ntfs-3g and samba", optarg);
    return false;
  case 'j':
    if (parse_number(optarg, 64, &jobs) && jobs > 0) {
      options->copy.jobs = (unsigned)jobs;
      return true;
    }
    complain("--jobs: '%s' is not a number from 1 to 64", optarg);
    return false;
  case 'f':
    options->force = true;
    return true;
  case 'n':
    options->dry_run = true;
    return true;
  case 'q':
    options->quiet = true;
    return true;
  case 'v':
    options->copy.verbose = true;
    return true;
  case JSON:
    options->json = true;
    return true;
  default:
    return take_format_option(letter, options);
  }
}

/* ---------------------------------------------------- what is on the device */

enum { SAMPLE = 1 << 20 }; /* of the beginning and the end, where signatures are */

static int copy_sample(struct casefs_device *device, int file, uint64_t offset, size_t count,
                       void *buffer) {
  int error = device->operations->read(device, buffer, count, offset);
  if (error < 0)
    return error;
  return pwrite(file, buffer, count, (off_t)offset) == (ssize_t)count ? 0 : -errno;
}

/* A sparse file in memory that looks like the device where it matters, or a negative errno. */
static int make_likeness(struct casefs_device *device) {
  uint64_t size = device->size;
  size_t count = size < SAMPLE ? (size_t)size : SAMPLE;
  void *buffer = allocate(SAMPLE);
  int file = memfd_create("device", MFD_CLOEXEC);
  int error = file < 0 || ftruncate(file, (off_t)size) < 0 ? -errno : 0;
  if (error == 0 && count > 0)
    error = copy_sample(device, file, 0, count, buffer);
  if (error == 0 && size > count)
    error = copy_sample(device, file, size - count, count, buffer);
  free(buffer);
  if (error < 0 && file >= 0)
    close(file);
  return error < 0 ? error : file;
}

static const char *probed(blkid_probe probe, const char *name) {
  const char *value;
  return blkid_probe_lookup_value(probe, name, &value, NULL) == 0 ? value : NULL;
}

/* What libblkid knows there, in words, the caller's to free; NULL: nothing. */
static char *describe_probe(blkid_probe probe) {
  blkid_probe_enable_superblocks(probe, 1);
  blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL);
  blkid_probe_enable_partitions(probe, 1);
  int result = blkid_do_safeprobe(probe);
  const char *type = probed(probe, "TYPE"), *table = probed(probe, "PTTYPE");
  const char *label = probed(probe, "LABEL");
  if (result == -2)
    return formatted("signatures of several file systems");
  if (result != 0)
    return NULL;
  if (type && label)
    return formatted("%s, labelled '%s'", type, label);
  if (type)
    return formatted("%s", type);
  return table ? formatted("a partition table (%s)", table) : NULL;
}

static bool describe_foreign(struct casefs_device *device, const char *name, char **what) {
  int file = make_likeness(device);
  *what = NULL;
  if (file < 0) {
    complain("cannot read '%s' to see what is on it: %s", name, strerror(-file));
    return false;
  }
  blkid_probe probe = blkid_new_probe();
  if (probe && blkid_probe_set_device(probe, file, 0, 0) == 0)
    *what = describe_probe(probe);
  blkid_free_probe(probe);
  close(file);
  return true;
}

/* A volume of ours, in words, or NULL. */
static char *describe_own(struct casefs_device *device) {
  static const struct casefs_open_options read_only = {.read_only = true};
  struct casefs_statistics statistics;
  casefs_volume *volume;
  int error = casefs_open(device, &read_only, &volume);
  if (error == 0) {
    casefs_volume_statistics(volume, &statistics);
    casefs_close(volume);
    return *statistics.label ? formatted("a casefs volume, labelled '%s'", statistics.label)
                             : formatted("a casefs volume");
  }
  if (error == -EUCLEAN)
    return formatted("a damaged casefs volume");
  if (error == -EOPNOTSUPP || error == -EFBIG || error == -EBUSY)
    return formatted("a casefs volume");
  return NULL;
}

/* Whether another program works with the volume on a device that has no lock of its own. */
static bool is_in_use(struct casefs_device *device) {
  casefs_volume *volume;
  if (device->exclusive || device->read_only)
    return false;
  int error = casefs_open(device, NULL, &volume);
  if (error == 0)
    casefs_close(volume);
  return error == -EBUSY;
}

/* Whether the device may be overwritten; else that was said. */
static bool check_contents(struct casefs_device *device, const struct options *options) {
  char *what = describe_own(device);
  if (what && is_in_use(device)) {
    complain("'%s' is in use: another program has the volume on it open for writing",
             options->device);
    free(what);
    return false;
  }
  if (options->force) {
    free(what);
    return true;
  }
  bool good = what || describe_foreign(device, options->device, &what);
  if (what)
    complain("'%s' holds %s, which would be lost; with --force it is overwritten", options->device,
             what);
  good = good && !what;
  free(what);
  return good;
}

/* ------------------------------------------------------------------ opening */

static struct place find_place(const char *device) {
  struct place place = {0};
  place.exists = stat(device, &place.status) == 0;
  place.is_file = place.exists && S_ISREG(place.status.st_mode);
  place.is_block = place.exists && S_ISBLK(place.status.st_mode);
  return place;
}

/* Whether the name can be that of a local file. */
static bool is_local_name(const char *device) {
  return !strstr(device, "://") && strncmp(device, "mem:", 4) != 0;
}

static bool check_size(const char *device, uint64_t size) {
  if (size >= CASEFS_MIN_DEVICE_SIZE)
    return true;
  complain("'%s' would have %" PRIu64 " bytes, and a volume needs at least %" PRIu64 " (1 MiB)",
           device, size, CASEFS_MIN_DEVICE_SIZE);
  return false;
}

/* What is wrong with the options and the place, as far as it shows without opening. */
static bool check_place(const struct options *options, const struct place *place) {
  uint64_t size = options->format.size;
  if (!place->exists && is_local_name(options->device) && size == 0) {
    complain("'%s' does not exist; with --size=SIZE a file is made", options->device);
    return false;
  }
  if (size > 0 && !check_size(options->device, size))
    return false;
  if (place->is_block && options->dry_run) {
    int file = open(options->device, O_RDONLY | O_EXCL | O_CLOEXEC);
    if (file < 0) {
      complain("cannot use '%s': %s", options->device,
               errno == EBUSY ? "it is mounted, or open elsewhere" : strerror(errno));
      return false;
    }
    close(file);
  }
  return true;
}

/* Look at a device that is there. */
static bool check_device(struct casefs_device *device, const struct options *options,
                         const struct place *place) {
  uint64_t wanted = options->format.size;
  bool can_grow = place->is_file;
  if (!options->dry_run && device->read_only) {
    complain("'%s' is read-only", options->device);
    return false;
  }
  if (wanted > device->size && !can_grow) {
    complain("'%s' has %" PRIu64 " bytes, less than the %" PRIu64 " asked for", options->device,
             device->size, wanted);
    return false;
  }
  if (wanted == 0 && !check_size(options->device, device->size))
    return false;
  return check_contents(device, options);
}

/* Open the device, checked, and of the size that was asked for. */
static struct casefs_device *open_device(const struct options *options, const struct place *place) {
  uint64_t size = options->format.size;
  if (!place->exists && is_local_name(options->device))
    return device_open(options->device, CASEFS_DEVICE_CREATE, size);
  struct casefs_device *device = device_open(options->device, 0, 0);
  if (!device)
    return NULL;
  if (!check_device(device, options, place)) {
    casefs_device_close(device);
    return NULL;
  }
  if (size <= device->size)
    return device;
  casefs_device_close(device);
  return device_open(options->device, CASEFS_DEVICE_CREATE, size);
}

/* ---------------------------------------------------------------- the result */

static void print_text(const struct options *options, const struct casefs_statistics *statistics,
                       const struct copy_totals *totals) {
  char uuid[37], size[SIZE_TEXT];
  printf("volume  %s\n", options->device);
  if (*statistics->label)
    printf("label   %s\n", statistics->label);
  printf("uuid    %s\n", uuid_text(statistics->uuid, uuid));
  printf("size    %s, %" PRIu64 " blocks of %u\n", size_text(statistics->size, true, size),
         statistics->size / CASEFS_BLOCK_SIZE, CASEFS_BLOCK_SIZE);
  printf("case    %s\n", statistics->case_insensitive ? "insensitive" : "sensitive");
  if (totals)
    printf("copied  %llu files, %llu directories, %llu others, %s\n",
           (unsigned long long)totals->files, (unsigned long long)totals->directories,
           (unsigned long long)(totals->others + totals->links),
           size_text(totals->bytes, true, size));
}

static void print_object(const struct options *options, const struct casefs_statistics *statistics,
                         const struct copy_totals *totals) {
  char uuid[37];
  json_t *object = json_object();
  json_object_set_new(object, "device", json_name(options->device, strlen(options->device)));
  json_object_set_new(object, "label", json_name(statistics->label, strlen(statistics->label)));
  json_object_set_new(object, "uuid", json_string(uuid_text(statistics->uuid, uuid)));
  json_object_set_new(object, "size", json_integer((json_int_t)statistics->size));
  json_object_set_new(object, "blocks",
                      json_integer((json_int_t)(statistics->size / CASEFS_BLOCK_SIZE)));
  json_object_set_new(object, "case",
                      json_string(statistics->case_insensitive ? "insensitive" : "sensitive"));
  json_object_set_new(object, "dry_run", json_boolean(options->dry_run));
  if (totals) {
    json_object_set_new(object, "files", json_integer((json_int_t)totals->files));
    json_object_set_new(object, "directories", json_integer((json_int_t)totals->directories));
    json_object_set_new(object, "others", json_integer((json_int_t)totals->others));
    json_object_set_new(object, "links", json_integer((json_int_t)totals->links));
    json_object_set_new(object, "bytes", json_integer((json_int_t)totals->bytes));
    json_object_set_new(object, "errors", json_integer((json_int_t)totals->errors));
  }
  print_json(object);
}

static void print_result(const struct options *options, const struct casefs_statistics *statistics,
                         const struct copy_totals *totals) {
  if (options->json)
    print_object(options, statistics, totals);
  else if (!options->quiet)
    print_text(options, statistics, totals);
}

/* --------------------------------------------------------------- the volume */

static const char *format_reason(int error) {
  switch (error) {
  case -EILSEQ:
    return "the label is not valid UTF-8";
  case -ENAMETOOLONG:
    return "the label has more than 32 UTF-16 units";
  case -EROFS:
    return "it is read-only";
  default:
    return reason(error);
  }
}

static bool fill(casefs_volume *volume, const struct casefs_device *device, int source,
                 struct options *options, struct copy_totals *totals) {
  struct stat status;
  struct copy_image image;
  struct copy_side from = {.descriptor = source, .name = "", .path = options->source};
  struct copy_side to = {.descriptor = -1, .name = "", .path = options->device};
  int error = casefs_open_root(volume, &to.directory);
  if (error < 0) {
    complain("cannot open the root directory of the new volume: %s", reason(error));
    return false;
  }
  if (stat(options->device, &status) == 0) {
    image = (struct copy_image){status.st_dev, status.st_ino};
    options->copy.images = &image;
    options->copy.image_count = 1;
  }
  options->copy.recursive = options->copy.archive = true;
  options->copy.parallel = device->parallel;
  struct copy *copy = copy_new(&options->copy);
  copy_node(copy, &from, &to);
  *totals = *copy_totals(copy);
  casefs_node_close(to.directory);
  return copy_end(copy);
}

/* Open the new volume, fill it from the source (-1: nothing), and tell about it. */
static bool finish(struct casefs_device *device, int source, struct options *options) {
  struct casefs_open_options open_options = {.read_only = source < 0,
                                             .no_discard = options->format.no_discard};
  struct casefs_statistics statistics;
  struct copy_totals totals = {0};
  casefs_volume *volume;
  if (!volume_open(device, options->device, &open_options, &volume))
    return false;
  bool good = source < 0 || fill(volume, device, source, options, &totals);
  casefs_volume_statistics(volume, &statistics);
  int error = casefs_close(volume);
  if (error < 0)
    complain("the new volume on '%s' is not whole: %s", options->device, reason(error));
  good = good && error >= 0;
  if (good || options->json)
    print_result(options, &statistics, source >= 0 ? &totals : NULL);
  return good;
}

static bool make(int source, struct options *options) {
  struct place place = find_place(options->device);
  if (!check_place(options, &place))
    return false;
  struct casefs_device *device = open_device(options, &place);
  if (!device)
    return false;
  if (options->format.size >= device->size)
    options->format.size = 0; /* all of it */
  int error = casefs_format(device, &options->format);
  bool good = error >= 0 && finish(device, source, options);
  casefs_device_close(device);
  if (error < 0) {
    complain("cannot make a volume on '%s': %s", options->device, format_reason(error));
    if (!place.exists && is_local_name(options->device))
      unlink(options->device);
  }
  return good;
}

/* All checks, and a result as it would be. */
static bool rehearse(struct options *options) {
  struct place place = find_place(options->device);
  struct casefs_statistics statistics = {.size = options->format.size,
                                         .case_insensitive = options->format.case_insensitive};
  if (!check_place(options, &place))
    return false;
  if (place.exists || !is_local_name(options->device)) {
    struct casefs_device *device = device_open(options->device, CASEFS_DEVICE_READ_ONLY, 0);
    if (!device)
      return false;
    bool good = check_device(device, options, &place);
    if (statistics.size == 0)
      statistics.size = device->size;
    casefs_device_close(device);
    if (!good)
      return false;
    if (place.exists && access(options->device, W_OK) < 0) {
      complain("'%s' cannot be written: %s", options->device, strerror(errno));
      return false;
    }
  }
  memcpy(statistics.uuid, options->format.uuid, sizeof statistics.uuid);
  if (options->label)
    snprintf(statistics.label, sizeof statistics.label, "%s", options->label);
  statistics.size -= statistics.size % (4 * CASEFS_BLOCK_SIZE);
  print_result(options, &statistics, NULL);
  return true;
}

static bool prepare_security(struct options *options, void **descriptor) {
  char *error = NULL;
  *descriptor = NULL;
  if (!options->sddl)
    return true;
  if (casefs_security_from_sddl(options->sddl, descriptor, &options->format.security_length,
                                &error) < 0) {
    complain("--security: %s", error ? error : "that is not a security descriptor in SDDL");
    free(error);
    return false;
  }
  options->format.security = *descriptor;
  return true;
}

/* The random UUID is chosen here, so that a dry run can tell one as well. */
static void prepare_uuid(uint8_t uuid[16]) {
  static const uint8_t none[16];
  if (memcmp(uuid, none, sizeof none) != 0)
    return;
  if (getrandom(uuid, 16, 0) == 16) {
    uuid[6] = (uint8_t)((uuid[6] & 0x0F) | 0x40); /* version 4 */
    uuid[8] = (uint8_t)((uuid[8] & 0x3F) | 0x80);
  }
}

static int run(struct options *options) {
  int source = -1;
  void *security;
  if (!prepare_security(options, &security))
    return EXIT_USAGE;
  prepare_uuid(options->format.uuid);
  options->format.label = options->label;
  options->format.uid = geteuid();
  options->format.gid = getegid();
  bool good = true;
  if (options->source) {
    source = open(options->source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    good = source >= 0;
    if (!good)
      complain("cannot open the directory '%s': %s", options->source, strerror(errno));
  }
  good = good && (options->dry_run ? rehearse(options) : make(source, options));
  if (source >= 0)
    close(source);
  free(security);
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int count, char **arguments) {
  static const struct option long_options[] = {{"label", required_argument, NULL, 'L'},
                                               {"uuid", required_argument, NULL, 'U'},
                                               {"case", required_argument, NULL, CASE},
                                               {"size", required_argument, NULL, SIZE},
                                               {"security", required_argument, NULL, SECURITY},
                                               {"directory", required_argument, NULL, 'd'},
                                               {"metadata", required_argument, NULL, METADATA},
                                               {"jobs", required_argument, NULL, 'j'},
                                               {"force", no_argument, NULL, 'f'},
                                               {"no-discard", no_argument, NULL, 'K'},
                                               {"dry-run", no_argument, NULL, 'n'},
                                               {"quiet", no_argument, NULL, 'q'},
                                               {"verbose", no_argument, NULL, 'v'},
                                               {"json", no_argument, NULL, JSON},
                                               {"help", no_argument, NULL, 'h'},
                                               {"version", no_argument, NULL, 'V'},
                                               {0}};
  struct options options = {0};
  int letter;
  tool_start("mkfs.casefs");
  while ((letter = getopt_long(count, arguments, "L:U:d:j:fKnqvhV", long_options, NULL)) >= 0) {
    if (letter == 'h' || letter == 'V') {
      fputs(letter == 'h' ? usage : "mkfs.casefs " CASEFS_VERSION "\n", stdout);
      return tool_end(EXIT_SUCCESS);
    }
    if (!take_option(letter, &options))
      return EXIT_USAGE;
  }
  if (count - optind != 1)
    return misused(count == optind ? "give a device, such as a file, /dev/nbd0 or nbd://host"
                                   : "give one device; options stand before it or after it");
  options.device = arguments[optind];
  return tool_end(run(&options));
}
