/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Text: results as they grow, and the words of a line.
 */

#include "posix.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("posix-compare: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(2);
}

/* ----------------------------------------------------------------------- text */

void text_clear(struct text *text) {
  text->length = 0;
  if (text->bytes)
    text->bytes[0] = 0;
}

void text_free(struct text *text) {
  free(text->bytes);
  *text = (struct text){0};
}

static void make_room(struct text *text, size_t more) {
  if (text->length + more + 1 <= text->size)
    return;
  text->size = 2 * (text->length + more + 1);
  text->bytes = realloc(text->bytes, text->size);
  if (!text->bytes)
    die("out of memory");
}

void text_append(struct text *text, const char *bytes, size_t length) {
  make_room(text, length);
  memcpy(text->bytes + text->length, bytes, length);
  text->length += length;
  text->bytes[text->length] = 0;
}

void text_add(struct text *text, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(NULL, 0, format, arguments);
  va_end(arguments);
  make_room(text, (size_t)length);
  va_start(arguments, format);
  vsnprintf(text->bytes + text->length, (size_t)length + 1, format, arguments);
  va_end(arguments);
  text->length += (size_t)length;
}

void text_add_result(struct text *text, long value) {
  const char *name = value < 0 ? strerrorname_np(errno) : NULL;
  if (name)
    text_add(text, "%s", name);
  else if (value < 0)
    text_add(text, "errno %d", errno);
  else
    text_add(text, "%ld", value);
}

/* A run of one character, if it is long: how long. */
static size_t run_length(const char *name) {
  size_t length = 1;
  while (name[length] == name[0])
    length++;
  return length;
}

void text_add_name(struct text *text, const char *name) {
  if (!*name)
    text_add(text, "''");
  while (*name) {
    size_t run = run_length(name);
    if (run > 8) {
      text_add(text, "{%c*%zu}", name[0], run);
      name += run;
      continue;
    }
    if (*name > ' ' && *name < 127 && !strchr("\\{}", *name))
      text_append(text, name, 1);
    else
      text_add(text, "\\x%02x", (unsigned char)*name);
    name++;
  }
}

uint64_t text_hash(const void *bytes, size_t length) {
  uint64_t hash = length;
  const unsigned char *at = bytes;
  while (length >= 8) {
    uint64_t value;
    memcpy(&value, at, 8);
    hash = dice_mix(hash ^ value);
    at += 8;
    length -= 8;
  }
  while (length-- > 0)
    hash = dice_mix(hash ^ *at++);
  return hash;
}

void text_add_time(struct text *text, const struct timespec *instant) {
  time_t distance = instant->tv_sec - time(NULL);
  if (distance > -86400 && distance < 86400)
    text_add(text, "now");
  else
    text_add(text, "%lld.%09ld", (long long)instant->tv_sec, instant->tv_nsec);
}

/* ---------------------------------------------------------------------- words */

/* {ab*3}: returns what follows it. */
static const char *add_repeated(struct text *storage, const char *at) {
  const char *star = strchr(at, '*'), *end = strchr(at, '}');
  if (!star || !end || star > end)
    die("'%s' is no {WORD*COUNT}", at);
  struct text piece = {0};
  for (const char *byte = at + 1; byte < star; byte++)
    if (byte[0] == '\\' && byte[1] == 'x') {
      char digits[3] = {byte[2], byte[3], 0};
      char value = (char)strtol(digits, NULL, 16);
      text_append(&piece, &value, 1);
      byte += 3;
    } else
      text_append(&piece, byte, 1);
  for (long i = strtol(star + 1, NULL, 10); i > 0; i--)
    text_append(storage, piece.bytes, piece.length);
  text_free(&piece);
  return end + 1;
}

static void add_word(struct text *storage, const char *word) {
  if (!strcmp(word, "''"))
    return;
  while (*word) {
    if (*word == '{') {
      word = add_repeated(storage, word);
    } else if (word[0] == '\\' && word[1] == 'x') {
      char digits[3] = {word[2], word[3], 0};
      char value = (char)strtol(digits, NULL, 16);
      text_append(storage, &value, 1);
      word += 4;
    } else
      text_append(storage, word++, 1);
  }
}

int words_split(char *line, char *words[WORDS], struct text *storage) {
  int count = 0;
  size_t starts[WORDS];
  text_clear(storage);
  for (char *save, *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
    if (count == WORDS)
      die("a line of more than %d words", WORDS);
    starts[count++] = storage->length;
    add_word(storage, word);
    text_append(storage, "", 1);
  }
  for (int i = 0; i < count; i++)
    words[i] = storage->bytes + starts[i];
  return count;
}

long words_flags(const struct word *table, const char *names) {
  long sum = 0;
  while (*names) {
    size_t length = strcspn(names, ",");
    const struct word *word = table;
    while (word->name && (strlen(word->name) != length || strncmp(word->name, names, length)))
      word++;
    if (!word->name)
      die("what is '%s'?", names);
    sum |= word->value;
    names += length;
    names += *names == ',';
  }
  return sum;
}

long words_size(const char *word) {
  char *end;
  long value = (long)strtoull(word, &end, 0);
  const char *units = "KMGTPE";
  const char *unit = *end ? strchr(units, *end) : NULL;
  if (unit) {
    value = (long)((unsigned long)value << 10 * (unit - units + 1));
    end++;
  }
  if (*end == '+' || *end == '-')
    return (long)((unsigned long)value + (unsigned long)words_size(end + (*end == '+')));
  if (*end || end == word)
    die("'%s' is no size", word);
  return value;
}

mode_t words_mode(const char *word) {
  char *end;
  unsigned long value = strtoul(word, &end, 8);
  if (*end || end == word)
    die("'%s' is no mode", word);
  return (mode_t)value;
}
