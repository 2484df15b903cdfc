/* SPDX-License-Identifier: BSD-3-Clause */

#include "control-request.h"

#include "control-answer.h"
#include "settings.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 8 }; /* of brackets in a request; the parser uses the stack for each */

/* What a value may be. */
enum kind {
  KIND_TEXT,
  KIND_NUMBER, /* an integer up to most */
  KIND_BYTES,  /* the same, or a string such as "10G" */
  KIND_SHARE,  /* the same, or a string such as "50%" */
  KIND_TRUTH,
};

static const struct {
  const char *key;
  enum kind kind;
  uint64_t most;
} declarations[ARGUMENTS] = {
    [ARGUMENT_BASE] = {"base", KIND_TEXT, 0},
    [ARGUMENT_COMPRESSION] = {"compression", KIND_TEXT, 0},
    [ARGUMENT_FORCE] = {"force", KIND_TRUTH, 0},
    [ARGUMENT_HIGH_WATERMARK] = {"high_watermark", KIND_NUMBER, 99},
    [ARGUMENT_IMAGE] = {"image", KIND_TEXT, 0},
    [ARGUMENT_LENGTH] = {"length", KIND_BYTES, INT64_MAX},
    [ARGUMENT_LOW_WATERMARK] = {"low_watermark", KIND_NUMBER, 99},
    [ARGUMENT_MEMORY_LIMIT] = {"memory_limit", KIND_BYTES, INT64_MAX},
    [ARGUMENT_NAME] = {"name", KIND_TEXT, 0},
    [ARGUMENT_OFFSET] = {"offset", KIND_BYTES, INT64_MAX},
    [ARGUMENT_PRIORITY] = {"priority", KIND_NUMBER, 10},
    [ARGUMENT_RESOLUTION] = {"resolution", KIND_NUMBER, MOST_PARTS_OF_A_MAP},
    [ARGUMENT_SINCE] = {"since", KIND_NUMBER, INT64_MAX},
    [ARGUMENT_SIZE] = {"size", KIND_BYTES, INT64_MAX},
    [ARGUMENT_TARGET] = {"target", KIND_SHARE, INT64_MAX},
    [ARGUMENT_VOLUME] = {"volume", KIND_TEXT, 0},
};

const char *argument_name(enum argument argument) {
  return declarations[argument].key;
}

/* ----------------------------------------------------------------- the bytes */

/* How deep brackets are nested at most, whether they match or not. */
static unsigned depth_of(const char *line, size_t length) {
  unsigned depth = 0, deepest = 0;
  bool quoted = false;
  for (size_t i = 0; i < length; i++) {
    if (quoted && line[i] == '\\')
      i++;
    else if (line[i] == '"')
      quoted = !quoted;
    else if (!quoted && (line[i] == '[' || line[i] == '{'))
      depth++;
    else if (!quoted && (line[i] == ']' || line[i] == '}') && depth > 0)
      depth--;
    deepest = depth > deepest ? depth : deepest;
  }
  return deepest;
}

json_t *read_object(const char *line, size_t length, json_t **answer) {
  json_error_t error;
  *answer = NULL;
  if (depth_of(line, length) > MAX_DEPTH) {
    *answer = refuse("the request is nested too deeply; send one flat object on a line");
    return NULL;
  }
  json_t *object = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);
  if (json_is_object(object))
    return object;
  if (!object && json_error_code(&error) == json_error_numeric_overflow)
    *answer = refuse("a number in the request is too large; give less than 2^63");
  else if (!object && json_error_code(&error) == json_error_duplicate_key)
    *answer = refuse("the request has a member twice; send each once");
  else
    *answer = refuse("the request is not a JSON object; send one object on a line");
  json_decref(object);
  return NULL;
}

/* --------------------------------------------------------------- the members */

/* What values of each kind may be. */
static const char *const kinds[] = {
    [KIND_TEXT] = "a string",
    [KIND_NUMBER] = "a whole number",
    [KIND_BYTES] = "a whole number of bytes, or a string such as \"10G\"",
    [KIND_SHARE] = "a whole number of bytes, or a string such as \"10G\" or \"50%\"",
    [KIND_TRUTH] = "true or false",
};

/* A string such as "50%". */
static bool parse_percent(const char *text, uint64_t *percent) {
  char *after;
  if (*text < '0' || *text > '9')
    return false;
  *percent = strtoul(text, &after, 10);
  return *percent <= 100 && strcmp(after, "%") == 0;
}

static bool understand_text(struct request *request, enum argument argument, const char *text) {
  enum kind kind = declarations[argument].kind;
  request->text[argument] = text;
  if (kind == KIND_TEXT)
    return true;
  if (kind == KIND_SHARE && parse_percent(text, &request->number[argument])) {
    request->percent = true;
    return true;
  }
  return (kind == KIND_BYTES || kind == KIND_SHARE) && parse_size(text, &request->number[argument]);
}

static bool understand_value(struct request *request, enum argument argument, const json_t *value) {
  enum kind kind = declarations[argument].kind;
  request->given[argument] = true;
  if (json_is_string(value))
    return understand_text(request, argument, json_string_value(value));
  if (json_is_boolean(value) && kind == KIND_TRUTH) {
    request->number[argument] = json_is_true(value);
    return true;
  }
  json_int_t number = json_integer_value(value);
  request->number[argument] = (uint64_t)number;
  return json_is_integer(value) && kind != KIND_TEXT && kind != KIND_TRUTH && number >= 0 &&
         (uint64_t)number <= declarations[argument].most;
}

static json_t *not_understood(const char *key, const char *command) {
  for (unsigned i = 0; i < ARGUMENTS; i++)
    if (strcmp(declarations[i].key, key) == 0 && declarations[i].kind == KIND_NUMBER &&
        declarations[i].most < INT64_MAX)
      return refuse("%s: give a whole number from 0 to %" PRIu64, key, declarations[i].most);
  for (unsigned i = 0; i < ARGUMENTS; i++)
    if (strcmp(declarations[i].key, key) == 0)
      return refuse("%s: give %s, not negative and below 2^63", key, kinds[declarations[i].kind]);
  return refuse("'%s' is nothing that the command %s knows", QUOTE(key), command);
}

/* NULL, or what is wrong. */
static json_t *understand_member(struct request *request, const char *command, unsigned allowed,
                                 const char *key, const json_t *value) {
  for (unsigned i = 0; i < ARGUMENTS; i++) {
    if (strcmp(declarations[i].key, key) != 0)
      continue;
    if ((allowed & (1u << i)) == 0)
      break;
    if (understand_value(request, (enum argument)i, value))
      return NULL;
    return not_understood(key, command);
  }
  if (strcmp(key, "command") == 0 || strcmp(key, "version") == 0)
    return NULL;
  return refuse("'%s' is nothing that the command %s knows", QUOTE(key), command);
}

json_t *understand(json_t *object, const char *command, unsigned required, unsigned optional,
                   struct request *request) {
  const char *key;
  json_t *value;
  *request = (struct request){0};
  json_object_foreach(object, key, value) {
    json_t *answer = understand_member(request, command, required | optional, key, value);
    if (answer)
      return answer;
  }
  for (unsigned i = 0; i < ARGUMENTS; i++)
    if ((required & (1u << i)) && !request->given[i])
      return refuse("the command %s needs %s: %s", command, declarations[i].key,
                    kinds[declarations[i].kind]);
  return NULL;
}
