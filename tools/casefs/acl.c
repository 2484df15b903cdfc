/* SPDX-License-Identifier: BSD-3-Clause */

#include "json.h"
#include "local.h"
#include "text.h"
#include "verbs.h"

#include <errno.h>
#include <string.h>

/* --------------------------------------------------------------------- get */

struct output {
  const char *file;
  bool json, several;
  struct json_list list;
};

static bool report(const char *path, const char *what, int error) {
  if (error == -ENODATA)
    complain("'%s' has no security descriptor", path);
  else if (error < 0)
    complain("cannot %s the security descriptor of '%s': %s", what, path, reason(error));
  return error >= 0;
}

static bool print_sddl(const char *path, const void *descriptor, size_t size,
                       struct output *output) {
  char *sddl;
  int error = casefs_security_to_sddl(descriptor, size, &sddl);
  if (error < 0)
    return report(path, "print", error);
  if (output->json) {
    json_t *object = json_object();
    json_object_set_new(object, "path", json_name(path, strlen(path)));
    json_object_set_new(object, "sddl", json_string(sddl));
    json_object_set_new(object, "size", json_integer((json_int_t)size));
    json_list_add(&output->list, object);
  } else if (output->several) {
    print_name(stdout, path, strlen(path));
    printf(": %s\n", sddl);
  } else {
    puts(sddl);
  }
  free(sddl);
  return true;
}

static bool get_descriptor(struct target *target, void *context) {
  struct output *output = context;
  uint8_t *descriptor = allocate(CASEFS_MAX_SECURITY);
  int size = casefs_get_security(target->node, descriptor, CASEFS_MAX_SECURITY);
  bool good = report(target->argument, "read", size);
  if (good && output->file)
    good = local_write(output->file, descriptor, (size_t)size);
  else if (good)
    good = print_sddl(target->argument, descriptor, (size_t)size, output);
  free(descriptor);
  return good;
}

static int run_get(int count, char **arguments) {
  static const struct option options[] = {
      {"file", required_argument, NULL, 'f'}, {"json", no_argument, NULL, 'j'}, {0}};
  struct output output = {0};
  int letter;
  while ((letter = getopt_long(count, arguments, "", options, NULL)) >= 0) {
    if (letter == '?')
      return EXIT_USAGE;
    if (letter == 'f')
      output.file = optarg;
    else
      output.json = true;
  }
  if (!arguments_or_root(&count, &arguments))
    return EXIT_USAGE;
  if (output.file && (count != 1 || output.json))
    return misused("--file takes the descriptor of one node, and no --json");
  output.several = count > 1;
  int status = for_each_target(count, arguments, false, CASEFS_NOFOLLOW, get_descriptor, &output);
  if (output.json)
    json_list_end(&output.list);
  return status;
}

/* --------------------------------------------------------------------- set */

struct descriptor {
  void *bytes;
  size_t size;
};

static bool set_descriptor(struct target *target, void *context) {
  const struct descriptor *descriptor = context;
  return report(target->argument, "set",
                casefs_set_security(target->node, descriptor->bytes, descriptor->size));
}

static bool parse_sddl(const char *sddl, struct descriptor *descriptor) {
  char *sentence = NULL;
  int error = casefs_security_from_sddl(sddl, &descriptor->bytes, &descriptor->size, &sentence);
  if (error < 0)
    complain("'%s' is not a security descriptor: %s", sddl, sentence ? sentence : reason(error));
  free(sentence);
  return error >= 0;
}

static bool read_descriptor(const char *file, struct descriptor *descriptor) {
  descriptor->bytes = local_read(file, CASEFS_MAX_SECURITY, &descriptor->size);
  if (!descriptor->bytes)
    return false;
  if (casefs_security_check(descriptor->bytes, descriptor->size) >= 0)
    return true;
  complain("'%s' does not hold a well-formed self-relative security descriptor", file);
  free(descriptor->bytes);
  return false;
}

static int run_set(int count, char **arguments) {
  static const struct option options[] = {{"file", required_argument, NULL, 'f'}, {0}};
  struct descriptor descriptor = {0};
  const char *file = NULL;
  int letter;
  while ((letter = getopt_long(count, arguments, "", options, NULL)) >= 0) {
    if (letter == '?')
      return EXIT_USAGE;
    file = optarg;
  }
  count -= optind;
  arguments += optind;
  if (count < (file ? 1 : 2))
    return misused("give what to change as DEVICE:/PATH, and a descriptor as SDDL or with --file");
  if (!(file ? read_descriptor(file, &descriptor) : parse_sddl(arguments[--count], &descriptor)))
    return EXIT_FAILURE;
  int status =
      for_each_target(count, arguments, true, CASEFS_NOFOLLOW, set_descriptor, &descriptor);
  free(descriptor.bytes);
  return status;
}

/* ---------------------------------------------------------------------- rm */

static bool remove_descriptor(struct target *target, void *context) {
  (void)context;
  int error = casefs_get_security(target->node, NULL, 0);
  if (error >= 0)
    error = casefs_set_security(target->node, NULL, 0);
  return report(target->argument, "remove", error);
}

static int run_rm(int count, char **arguments) {
  static const struct option options[] = {{0}};
  if (getopt_long(count, arguments, "", options, NULL) >= 0)
    return EXIT_USAGE;
  if (optind == count)
    return misused("give what to change, as DEVICE:/PATH");
  return for_each_target(count - optind, arguments + optind, true, CASEFS_NOFOLLOW,
                         remove_descriptor, NULL);
}

static int run_acl(int count, char **arguments) {
  static const struct action actions[] = {{"get", run_get}, {"set", run_set}, {"rm", run_rm}, {0}};
  return run_action(actions, count, arguments);
}

const struct verb verb_acl = {
    .name = "acl",
    .usage = "get [--json] DEVICE:/PATH...\n"
             "get --file=LOCAL DEVICE:/PATH\n"
             "set DEVICE:/PATH... SDDL\n"
             "set --file=LOCAL DEVICE:/PATH...\n"
             "rm DEVICE:/PATH...",
    .summary = "Show, set and remove security descriptors, as SDDL",
    .help = "SDDL is the text form of Windows, such as 'O:BAG:BAD:P(A;;FA;;;SY)(A;;FA;;;BA)'.\n"
            "\n"
            "      --file=LOCAL  the descriptor itself, self-relative, to or from a local file;\n"
            "                    - for the standard output or input\n"
            "      --json        get: as a JSON array\n",
    .run = run_acl,
};
