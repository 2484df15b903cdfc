/* SPDX-License-Identifier: BSD-3-Clause */

#include "json.h"
#include "local.h"
#include "text.h"
#include "verbs.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { NEED_EA = 0x80 };

enum format { GUESS, HEX, RAW };

/* ------------------------------------------------------------------ values */

/* The value of an attribute, the caller's to free; NULL with *error set. */
static uint8_t *read_value(casefs_node *node, const char *name, size_t *size, uint8_t *flags,
                           int *error) {
  uint8_t *value = allocate(CASEFS_MAX_EA_VALUE);
  *error = casefs_get_ea(node, name, strlen(name), value, CASEFS_MAX_EA_VALUE, flags);
  if (*error >= 0) {
    *size = (size_t)*error;
    return value;
  }
  free(value);
  return NULL;
}

/* Whether a value can be shown as text: UTF-8 without control characters. */
static bool is_text(const uint8_t *value, size_t size) {
  char *shown = displayable((const char *)value, size);
  bool same = strlen(shown) == size && memcmp(shown, value, size) == 0;
  free(shown);
  return same;
}

static void print_value(const uint8_t *value, size_t size, enum format format) {
  if (format == RAW || (format == GUESS && is_text(value, size))) {
    fwrite(value, 1, size, stdout);
    fputs(format == RAW ? "" : "\n", stdout);
    return;
  }
  char *hex = hex_text(value, size);
  printf("%s%s\n", format == GUESS ? "0x" : "", hex);
  free(hex);
}

static bool report(const struct target *target, const char *name, const char *what, int error) {
  if (error == -ENODATA)
    complain("'%s' has no extended attribute '%s'", target->argument, name);
  else if (error == -EINVAL)
    complain("'%s' cannot name an extended attribute: it may not be empty, nor have control "
             "characters or any of \"*+,/:;<=>?[\\]| in it",
             name);
  else if (error == -ENAMETOOLONG)
    complain("the extended attribute '%.80s' is too long: a name may have %u bytes and a value %u",
             name, CASEFS_MAX_EA_NAME, CASEFS_MAX_EA_VALUE);
  else if (error == -EFBIG)
    complain("the extended attributes of '%s' would be too large: together they may take %u bytes",
             target->argument, CASEFS_MAX_EA_PACKED);
  else if (error < 0)
    complain("cannot %s the extended attribute '%s' of '%s': %s", what, name, target->argument,
             reason(error));
  return error >= 0;
}

/* ---------------------------------------------------------------------- ls */

struct listing {
  bool json;
  struct json_list list;
};

static void show_json(const char *path, const struct casefs_ea *ea, const uint8_t *value,
                      size_t size, struct json_list *list) {
  json_t *object = json_object();
  json_object_set_new(object, "path", json_name(path, strlen(path)));
  json_object_set_new(object, "name", json_name(ea->name, strlen(ea->name)));
  json_object_set_new(object, "size", json_integer((json_int_t)size));
  json_object_set_new(object, "need", json_boolean(ea->flags & NEED_EA));
  json_object_set_new(object, "value", json_bytes(value, size));
  if (is_text(value, size))
    json_object_set_new(object, "text", json_name((const char *)value, size));
  json_list_add(list, object);
}

static bool show(const struct target *target, const struct casefs_ea *ea, struct listing *listing) {
  size_t size = 0;
  uint8_t flags;
  int error;
  uint8_t *value = read_value(target->node, ea->name, &size, &flags, &error);
  if (!value)
    return report(target, ea->name, "read", error);
  if (listing->json) {
    show_json(target->argument, ea, value, size, &listing->list);
  } else {
    printf("%6zu %s  ", size, ea->flags & NEED_EA ? "need" : "    ");
    print_name(stdout, ea->name, strlen(ea->name));
    putchar('\n');
  }
  free(value);
  return true;
}

static bool list_target(struct target *target, void *context) {
  struct casefs_cursor cursor = {0};
  struct casefs_ea ea;
  bool good = true;
  int result;
  while ((result = casefs_next_ea(target->node, &cursor, &ea)) > 0)
    good = show(target, &ea, context) && good;
  if (result < 0)
    complain("cannot list the extended attributes of '%s': %s", target->argument, reason(result));
  return good && result >= 0;
}

static int run_ls(int count, char **arguments) {
  static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};
  struct listing listing = {0};
  int letter;
  while ((letter = getopt_long(count, arguments, "", options, NULL)) >= 0) {
    if (letter == '?')
      return EXIT_USAGE;
    listing.json = true;
  }
  if (!arguments_or_root(&count, &arguments))
    return EXIT_USAGE;
  int status = for_each_target(count, arguments, false, CASEFS_NOFOLLOW, list_target, &listing);
  if (listing.json)
    json_list_end(&listing.list);
  return status;
}

/* --------------------------------------------------------------------- get */

struct wanted {
  const char *name;
  enum format format;
};

static bool get_value(struct target *target, void *context) {
  const struct wanted *wanted = context;
  size_t size = 0;
  uint8_t flags;
  int error;
  uint8_t *value = read_value(target->node, wanted->name, &size, &flags, &error);
  if (!value)
    return report(target, wanted->name, "read", error);
  print_value(value, size, wanted->format);
  free(value);
  return true;
}

static int run_get(int count, char **arguments) {
  static const struct option options[] = {
      {"hex", no_argument, NULL, HEX}, {"raw", no_argument, NULL, RAW}, {0}};
  struct wanted wanted = {0};
  int letter;
  while ((letter = getopt_long(count, arguments, "", options, NULL)) >= 0) {
    if (letter == '?')
      return EXIT_USAGE;
    wanted.format = (enum format)letter;
  }
  if (count - optind != 2)
    return misused("give a file as DEVICE:/PATH and the name of an attribute");
  wanted.name = arguments[optind + 1];
  return for_each_target(1, arguments + optind, false, CASEFS_NOFOLLOW, get_value, &wanted);
}

/* --------------------------------------------------------------------- set */

struct setting {
  const char *name;
  const uint8_t *value;
  size_t size;
  uint8_t flags;
};

static bool set_value(struct target *target, void *context) {
  const struct setting *setting = context;
  return report(target, setting->name, "set",
                casefs_set_ea(target->node, setting->name, strlen(setting->name), setting->value,
                              setting->size, setting->flags));
}

/* The value, from the one place that was given, the caller's to free. */
static uint8_t *take_value(const char *text, const char *hex, const char *file, size_t *size,
                           int *status) {
  uint8_t *value = NULL;
  *status = EXIT_USAGE;
  if ((text != NULL) + (hex != NULL) + (file != NULL) != 1) {
    complain("give one value: as text, or with --hex or --file");
  } else if (text) {
    *size = strlen(text);
    value = (uint8_t *)copied(text, *size);
  } else if (hex) {
    value = parse_hex(hex, size);
    if (!value)
      complain("--hex: '%.80s' is not pairs of hexadecimal digits", hex);
  } else {
    *status = EXIT_FAILURE;
    value = local_read(file, CASEFS_MAX_EA_VALUE, size);
  }
  return value;
}

static int run_set(int count, char **arguments) {
  static const struct option options[] = {{"hex", required_argument, NULL, 'x'},
                                          {"file", required_argument, NULL, 'f'},
                                          {"need", no_argument, NULL, 'n'},
                                          {0}};
  const char *hex = NULL, *file = NULL;
  struct setting setting = {0};
  int letter, status;
  while ((letter = getopt_long(count, arguments, "", options, NULL)) >= 0) {
    if (letter == '?')
      return EXIT_USAGE;
    if (letter == 'x')
      hex = optarg;
    else if (letter == 'f')
      file = optarg;
    else
      setting.flags = NEED_EA;
  }
  if (count - optind < 2 || count - optind > 3)
    return misused("give a file as DEVICE:/PATH, the name of an attribute and its value");
  const char *text = count - optind == 3 ? arguments[optind + 2] : NULL;
  uint8_t *value = take_value(text, hex, file, &setting.size, &status);
  if (!value)
    return status;
  setting.name = arguments[optind + 1];
  setting.value = value;
  if (setting.size == 0)
    status = misused("an empty value would remove the attribute; casefs ea rm does that");
  else
    status = for_each_target(1, arguments + optind, true, CASEFS_NOFOLLOW, set_value, &setting);
  free(value);
  return status;
}

/* ---------------------------------------------------------------------- rm */

static bool remove_values(struct target *target, void *context) {
  bool good = true;
  for (char **names = context; *names; names++) {
    size_t length = strlen(*names);
    int error = casefs_get_ea(target->node, *names, length, NULL, 0, NULL);
    if (error >= 0)
      error = casefs_set_ea(target->node, *names, length, NULL, 0, 0);
    good = report(target, *names, "remove", error) && good;
  }
  return good;
}

static int run_rm(int count, char **arguments) {
  static const struct option options[] = {{0}};
  if (getopt_long(count, arguments, "", options, NULL) >= 0)
    return EXIT_USAGE;
  if (count - optind < 2)
    return misused("give a file as DEVICE:/PATH and the names of attributes");
  return for_each_target(1, arguments + optind, true, CASEFS_NOFOLLOW, remove_values,
                         arguments + optind + 1);
}

static int run_ea(int count, char **arguments) {
  static const struct action actions[] = {
      {"ls", run_ls}, {"get", run_get}, {"set", run_set}, {"rm", run_rm}, {0}};
  return run_action(actions, count, arguments);
}

const struct verb verb_ea = {
    .name = "ea",
    .usage = "ls [--json] DEVICE:/PATH...\n"
             "get [--hex | --raw] DEVICE:/PATH NAME\n"
             "set [--need] DEVICE:/PATH NAME VALUE\n"
             "set [--need] --hex=DIGITS | --file=LOCAL DEVICE:/PATH NAME\n"
             "rm DEVICE:/PATH NAME...",
    .summary = "List, read, set and remove extended attributes",
    .help = "ls prints the sizes and names; get prints text, or 0x and hexadecimal digits.\n"
            "\n"
            "      --json        ls: as a JSON array\n"
            "      --hex         get: always hexadecimal digits\n"
            "      --raw         get: the bytes as they are\n"
            "      --hex=DIGITS  set: the value in hexadecimal digits\n"
            "      --file=LOCAL  set: the value from a local file, - for the standard input\n"
            "      --need        set: with the flag FILE_NEED_EA\n",
    .run = run_ea,
};
