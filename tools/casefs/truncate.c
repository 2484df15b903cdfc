/* SPDX-License-Identifier: BSD-3-Clause */

#include "text.h"
#include "verbs.h"

#include <errno.h>

enum change { NOTHING, SIZE, PUNCH, ALLOCATE };

struct options {
  enum change action;
  char sign; /* of SIZE: '+' or '-', relative; else 0 */
  bool keep, keep_size;
  uint64_t size, offset, count;
};

static int new_size(casefs_node *node, const struct options *options, uint64_t *size) {
  struct casefs_attributes attributes;
  *size = options->size;
  if (!options->sign)
    return 0;
  int error = casefs_get_attributes(node, &attributes);
  if (error < 0)
    return error;
  if (options->sign == '+')
    *size = attributes.size + options->size;
  else
    *size = attributes.size > options->size ? attributes.size - options->size : 0;
  return *size > CASEFS_MAX_SIZE ? -EFBIG : 0;
}

static int apply(casefs_node *node, const struct options *options) {
  uint64_t size;
  if (options->action == PUNCH)
    return casefs_punch(node, options->offset, options->count);
  if (options->action == ALLOCATE)
    return casefs_allocate(node, options->offset, options->count, options->keep_size);
  int error = new_size(node, options, &size);
  return error < 0 ? error : casefs_truncate(node, size);
}

static bool truncate_argument(struct sessions *sessions, const char *argument,
                              const struct options *options) {
  struct target target;
  casefs_node *node = NULL;
  if (!target_open_parent(sessions, argument, true, &target))
    return false;
  int error = target_open_or_make(&target, options->keep, &node);
  if (error == 0)
    error = apply(node, options);
  if (error == -EINVAL)
    complain("'%s' is not a file or a stream, or the range passes the largest size", argument);
  else if (error < 0)
    complain("cannot change '%s': %s", argument, reason(error));
  casefs_node_close(node);
  target_close(&target);
  return error >= 0;
}

static bool take_action(struct options *options, enum change action) {
  if (options->action != NOTHING) {
    complain("give one of --size, --punch and --allocate");
    return false;
  }
  options->action = action;
  return true;
}

static bool take_size(struct options *options) {
  options->sign = *optarg == '+' || *optarg == '-' ? *optarg : '\0';
  if (parse_size(optarg + (options->sign != '\0'), &options->size))
    return take_action(options, SIZE);
  complain("--size: '%s' is not a size such as 4096, 1.5G, +1M or -10K", optarg);
  return false;
}

static bool take_range(struct options *options, enum change action) {
  if (parse_range(optarg, &options->offset, &options->count) && options->count > 0)
    return take_action(options, action);
  complain("'%s' is not a range OFFSET:LENGTH such as 0:64K or 1M:4096", optarg);
  return false;
}

static bool take_options(int count, char **arguments, struct options *options) {
  static const struct option long_options[] = {
      {"no-create", no_argument, NULL, 'c'},   {"size", required_argument, NULL, 's'},
      {"punch", required_argument, NULL, 'p'}, {"allocate", required_argument, NULL, 'a'},
      {"keep-size", no_argument, NULL, 'k'},   {0}};
  bool good = true;
  int letter;
  while (good && (letter = getopt_long(count, arguments, "cs:", long_options, NULL)) >= 0) {
    if (letter == 'c')
      options->keep = true;
    else if (letter == 'k')
      options->keep_size = true;
    else if (letter == 's')
      good = take_size(options);
    else
      good = letter != '?' && take_range(options, letter == 'p' ? PUNCH : ALLOCATE);
  }
  if (good && options->action == NOTHING) {
    complain("give a new size with --size, or a range with --punch or --allocate");
    return false;
  }
  return good;
}

static int run_truncate(int count, char **arguments) {
  struct options options = {0};
  struct sessions sessions = {0};
  bool good = true;
  if (!take_options(count, arguments, &options))
    return EXIT_USAGE;
  if (optind == count)
    return misused("give a file, as DEVICE:/PATH");
  for (int i = optind; i < count && !interrupted(); i++)
    good = truncate_argument(&sessions, arguments[i], &options) && good;
  good = sessions_close(&sessions) && good;
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

const struct verb verb_truncate = {
    .name = "truncate",
    .usage = "-s [+|-]SIZE [-c] DEVICE:/FILE[:STREAM]...\n"
             "--punch=OFFSET:LENGTH [-c] DEVICE:/FILE[:STREAM]...\n"
             "--allocate=OFFSET:LENGTH [--keep-size] [-c] DEVICE:/FILE[:STREAM]...",
    .summary = "Change the size of files, and which of their blocks take space",
    .help = "Sizes may be like 4K, 1.5G.  A file that does not exist is made.\n"
            "\n"
            "  -s, --size=SIZE               the new size; with + or -, more or less than now\n"
            "      --punch=OFFSET:LENGTH     make a range zeros that take no space\n"
            "      --allocate=OFFSET:LENGTH  set space aside for a range\n"
            "      --keep-size               --allocate beyond the end does not extend the file\n"
            "  -c, --no-create               make nothing\n",
    .run = run_truncate,
};
