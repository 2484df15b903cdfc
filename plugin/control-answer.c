/* SPDX-License-Identifier: BSD-3-Clause */

#include "control-answer.h"

#include "control-statistics.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { SENTENCE = 1024 };

json_t *progress_json(uint64_t done, uint64_t total) {
  return json_pack("{s:i, s:{s:I, s:I}}", "version", CONTROL_PROTOCOL_VERSION, "progress", "done",
                   (json_int_t)done, "total", (json_int_t)total);
}

json_t *refusal(const char *sentence) {
  return json_pack("{s:i, s:b, s:o}", "version", CONTROL_PROTOCOL_VERSION, "ok", 0, "error",
                   text_json(sentence));
}

json_t *refuse(const char *format, ...) {
  char sentence[SENTENCE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(sentence, sizeof sentence, format, arguments);
  va_end(arguments);
  return refusal(sentence);
}

json_t *fail(int error, const char *format, ...) {
  char sentence[SENTENCE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(sentence, sizeof sentence, format, arguments);
  va_end(arguments);
  json_t *answer = refusal(sentence);
  const char *name = strerrorname_np(-error);
  if (name)
    json_object_set_new(answer, "errno", json_string(name));
  return answer;
}

json_t *success(void) {
  return json_pack("{s:i, s:b}", "version", CONTROL_PROTOCOL_VERSION, "ok", 1);
}

json_t *success_with(const char *key, json_t *value) {
  json_t *answer = success();
  json_object_set_new(answer, key, value);
  return answer;
}
