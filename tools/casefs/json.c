/* SPDX-License-Identifier: BSD-3-Clause */

#include "json.h"
#include "text.h"
#include "tool.h"

#include <inttypes.h>
#include <string.h>

json_t *json_name(const char *name, size_t length) {
  return json_stringn_nocheck(name, length);
}

json_t *json_time(uint64_t time) {
  char buffer[TIME_TEXT];
  return json_string(time_iso(time, buffer));
}

json_t *json_bytes(const void *bytes, size_t size) {
  char *text = hex_text(bytes, size);
  json_t *value = json_string(text);
  free(text);
  return value;
}

json_t *json_dos_attributes(uint32_t attributes) {
  json_t *names = json_array();
  const char *name;
  uint32_t bit;
  for (unsigned i = 0; (name = dos_attribute_name(i, &bit)); i++)
    if (attributes & bit)
      json_array_append_new(names, json_string(name));
  return names;
}

static json_t *json_number(uint64_t number) {
  return json_integer((json_int_t)number);
}

static json_t *json_mode(uint32_t mode) {
  char text[8];
  snprintf(text, sizeof text, "%04o", mode & 07777);
  return json_string(text);
}

json_t *json_attributes(const struct casefs_attributes *attributes) {
  json_t *object = json_object();
  bool special =
      attributes->type == CASEFS_CHARACTER_DEVICE || attributes->type == CASEFS_BLOCK_DEVICE;
  json_object_set_new(object, "id", json_number(attributes->id));
  json_object_set_new(object, "type", json_string(type_name(attributes->type)));
  json_object_set_new(object, "size", json_number(attributes->size));
  json_object_set_new(object, "allocated", json_number(attributes->allocated));
  json_object_set_new(object, "mode", json_mode(attributes->mode));
  json_object_set_new(object, "uid", json_number(attributes->uid));
  json_object_set_new(object, "gid", json_number(attributes->gid));
  json_object_set_new(object, "links", json_number(attributes->links));
  json_object_set_new(object, "dos_attributes", json_dos_attributes(attributes->dos_attributes));
  json_object_set_new(object, "created", json_time(attributes->created));
  json_object_set_new(object, "modified", json_time(attributes->modified));
  json_object_set_new(object, "accessed", json_time(attributes->accessed));
  json_object_set_new(object, "changed", json_time(attributes->changed));
  json_object_set_new(object, "streams", json_number(attributes->streams));
  json_object_set_new(object, "ea_size", json_number(attributes->ea_size));
  json_object_set_new(object, "security", json_boolean(attributes->has_security));
  json_object_set_new(object, "reparse_tag", json_number(attributes->reparse_tag));
  if (attributes->type == CASEFS_DIRECTORY)
    json_object_set_new(object, "case",
                        json_string(attributes->case_insensitive ? "insensitive" : "sensitive"));
  if (special) {
    json_object_set_new(object, "major", json_number(attributes->rdev >> 32));
    json_object_set_new(object, "minor", json_number(attributes->rdev & UINT32_MAX));
  }
  return object;
}

/* ---------------------------------------------------------------- printing */

static void print_character(FILE *stream, const char *bytes, size_t count, uint32_t character) {
  if (character == NOT_A_CHARACTER)
    fputs("\\uFFFD", stream);
  else if (character == '"' || character == '\\')
    fprintf(stream, "\\%c", (char)character);
  else if (character == '\n')
    fputs("\\n", stream);
  else if (character < 0x20 || character == 0x7F || (character >= 0xD800 && character <= 0xDFFF))
    fprintf(stream, "\\u%04X", character);
  else
    fwrite(bytes, 1, count, stream);
}

static void print_string(FILE *stream, const char *text, size_t length) {
  size_t used;
  fputc('"', stream);
  for (; length > 0; text += used, length -= used) {
    uint32_t character;
    used = decode_character(text, length, &character);
    print_character(stream, text, used, character);
  }
  fputc('"', stream);
}

enum { ONE_LINE = -1 };

static void print_break(FILE *stream, int depth) {
  if (depth >= 0)
    fprintf(stream, "\n%*s", 2 * depth, "");
}

/* A value at that depth of indentation, or ONE_LINE. */
static void print_value(FILE *stream, const json_t *value, int depth);

static void print_members(FILE *stream, const json_t *object, int depth) {
  int inner = depth < 0 ? depth : depth + 1;
  json_t *unqualified = (json_t *)(uintptr_t)object; /* iterating changes nothing */
  const char *separator = "";
  const char *key;
  const json_t *member;
  fputc('{', stream);
  json_object_foreach(unqualified, key, member) {
    fputs(separator, stream);
    print_break(stream, inner);
    print_string(stream, key, strlen(key));
    fputs(": ", stream);
    print_value(stream, member, inner);
    separator = depth < 0 ? ", " : ",";
  }
  if (json_object_size(object) > 0)
    print_break(stream, depth);
  fputc('}', stream);
}

static void print_elements(FILE *stream, const json_t *array, int depth) {
  int inner = depth < 0 ? depth : depth + 1;
  const json_t *element;
  size_t i;
  fputc('[', stream);
  json_array_foreach(array, i, element) {
    if (i > 0)
      fputs(depth < 0 ? ", " : ",", stream);
    print_break(stream, inner);
    print_value(stream, element, inner);
  }
  if (json_array_size(array) > 0)
    print_break(stream, depth);
  fputc(']', stream);
}

static void print_value(FILE *stream, const json_t *value, int depth) {
  if (json_is_object(value))
    print_members(stream, value, depth);
  else if (json_is_array(value))
    print_elements(stream, value, depth);
  else if (json_is_string(value))
    print_string(stream, json_string_value(value), json_string_length(value));
  else if (json_is_integer(value))
    fprintf(stream, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
  else if (json_is_real(value))
    fprintf(stream, "%.6f", json_real_value(value));
  else
    fputs(json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null", stream);
}

void print_json(json_t *value) {
  print_value(stdout, value, 0);
  putchar('\n');
  json_decref(value);
}

void print_json_line(FILE *stream, const json_t *value) {
  print_value(stream, value, ONE_LINE);
}

void json_list_add(struct json_list *list, json_t *element) {
  fputs(list->filled ? ",\n  " : "[\n  ", stdout);
  print_json_line(stdout, element);
  json_decref(element);
  list->filled = true;
}

void json_list_end(struct json_list *list) {
  puts(list->filled ? "\n]" : "[]");
  *list = (struct json_list){0};
}
