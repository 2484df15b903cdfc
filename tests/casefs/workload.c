/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The language, and what the numbers in it stand for.
 */

#include "workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ language */

static const struct {
  const char *name;
  unsigned words, numbers;
} kinds[OPERATION_KINDS] = {
    [OPERATION_CREATE] = {"create", 1, 0},
    [OPERATION_CREATE_FULL] = {"create-full", 1, 1},
    [OPERATION_MKDIR] = {"mkdir", 1, 0},
    [OPERATION_MKDIR_SENSITIVE] = {"mkdir-sensitive", 1, 0},
    [OPERATION_MKDIR_INSENSITIVE] = {"mkdir-insensitive", 1, 0},
    [OPERATION_SYMLINK] = {"symlink", 2, 0},
    [OPERATION_SPECIAL] = {"special", 1, 2},
    [OPERATION_LINK] = {"link", 2, 0},
    [OPERATION_UNLINK] = {"unlink", 1, 0},
    [OPERATION_RMDIR] = {"rmdir", 1, 0},
    [OPERATION_RENAME] = {"rename", 2, 0},
    [OPERATION_RENAME_NOREPLACE] = {"rename-noreplace", 2, 0},
    [OPERATION_EXCHANGE] = {"exchange", 2, 0},
    [OPERATION_WRITE] = {"write", 1, 3},
    [OPERATION_APPEND] = {"append", 1, 2},
    [OPERATION_TRUNCATE] = {"truncate", 1, 1},
    [OPERATION_PUNCH] = {"punch", 1, 2},
    [OPERATION_ALLOCATE] = {"allocate", 1, 3},
    [OPERATION_READ] = {"read", 1, 2},
    [OPERATION_LOOK] = {"look", 1, 0},
    [OPERATION_LIST] = {"list", 1, 0},
    [OPERATION_EA_SET] = {"ea-set", 2, 3},
    [OPERATION_EA_REMOVE] = {"ea-remove", 2, 0},
    [OPERATION_STREAM_CREATE] = {"stream-create", 2, 1},
    [OPERATION_STREAM_WRITE] = {"stream-write", 2, 3},
    [OPERATION_STREAM_TRUNCATE] = {"stream-truncate", 2, 1},
    [OPERATION_STREAM_REMOVE] = {"stream-remove", 2, 0},
    [OPERATION_STREAM_RENAME] = {"stream-rename", 3, 0},
    [OPERATION_SECURITY_SET] = {"security-set", 1, 1},
    [OPERATION_SECURITY_REMOVE] = {"security-remove", 1, 0},
    [OPERATION_REPARSE_SET] = {"reparse-set", 1, 2},
    [OPERATION_REPARSE_REMOVE] = {"reparse-remove", 1, 1},
    [OPERATION_SET_CASE] = {"set-case", 1, 1},
    [OPERATION_SET_ATTRIBUTES] = {"set-attributes", 1, 2},
    [OPERATION_LABEL] = {"label", 1, 0},
    [OPERATION_HOLD] = {"hold", 1, 1},
    [OPERATION_HOLD_STREAM] = {"hold-stream", 2, 1},
    [OPERATION_RELEASE] = {"release", 0, 1},
    [OPERATION_HELD_WRITE] = {"held-write", 0, 4},
    [OPERATION_HELD_TRUNCATE] = {"held-truncate", 0, 2},
    [OPERATION_HELD_READ] = {"held-read", 0, 3},
    [OPERATION_SYNC] = {"sync", 0, 0},
};

static const char separators[] = ";\n";

/* Copy a word unescaped; where the rest of the line begins. */
static const char *parse_word(const char *text, char **to) {
  text += strspn(text, " ");
  while (*text && !strchr(" ;\n", *text)) {
    unsigned byte;
    if (*text == '%' && sscanf(text, "%%%2x", &byte) == 1) {
      *(*to)++ = (char)byte;
      text += 3;
    } else {
      *(*to)++ = *text++;
    }
  }
  *(*to)++ = 0;
  return text;
}

static const char *parse_number(const char *text, uint64_t *number) {
  char *end;
  text += strspn(text, " ");
  *number = strtoull(text, &end, 0);
  return end == text ? NULL : end;
}

static enum operation_kind find_kind(const char *text, size_t length) {
  int kind = 0;
  while (kind < OPERATION_KINDS &&
         (strncmp(kinds[kind].name, text, length) != 0 || kinds[kind].name[length]))
    kind++;
  return (enum operation_kind)kind;
}

const char *operation_parse(const char *text, struct operation *operation) {
  text += strspn(text, " ;\n");
  operation->kind = OPERATION_KINDS;
  operation->text[0] = 0;
  if (!*text)
    return text;
  size_t line = strcspn(text, separators), length = strcspn(text, " ;\n");
  if (line >= OPERATION_TEXT)
    return NULL;
  memcpy(operation->text, text, line);
  operation->text[line] = 0;
  operation->kind = find_kind(text, length);
  if (operation->kind == OPERATION_KINDS)
    return NULL;
  char *to = operation->words;
  text += length;
  for (unsigned i = 0; i < kinds[operation->kind].words; i++) {
    operation->word[i] = to;
    text = parse_word(text, &to);
  }
  for (unsigned i = 0; text && i < kinds[operation->kind].numbers; i++)
    text = parse_number(text, &operation->number[i]);
  if (!text)
    return NULL;
  text += strspn(text, " ");
  return *text && !strchr(separators, *text) ? NULL : text;
}

void operation_escape(char *line, const char *name, size_t length) {
  char *to = line + strlen(line);
  for (size_t i = 0; i < length && to + 4 < line + OPERATION_TEXT; i++) {
    unsigned char byte = (unsigned char)name[i];
    if (byte <= ' ' || byte >= 0x7f || strchr("%;", byte))
      to += sprintf(to, "%%%02x", byte);
    else
      *to++ = (char)byte;
  }
  *to = 0;
}

/* ------------------------------------------------------- what follows from seeds */

static unsigned char *put32(unsigned char *to, uint32_t value) {
  for (int i = 0; i < 4; i++)
    to[i] = (unsigned char)(value >> 8 * i);
  return to + 4;
}

static unsigned char *put16(unsigned char *to, unsigned value) {
  to[0] = (unsigned char)value;
  to[1] = (unsigned char)(value >> 8);
  return to + 2;
}

enum { SID_SIZE = 28, ACE_SIZE = 8 + SID_SIZE };

/* S-1-5-21-1-2-3-account */
static unsigned char *put_sid(unsigned char *to, uint32_t account) {
  static const unsigned char beginning[8] = {1, 5, 0, 0, 0, 0, 0, 5};
  memcpy(to, beginning, sizeof beginning);
  to = put32(to + sizeof beginning, 21);
  for (uint32_t i = 1; i <= 3; i++)
    to = put32(to, i);
  return put32(to, account);
}

size_t make_security(uint64_t seed, unsigned char buffer[CASEFS_MAX_SECURITY]) {
  static const unsigned sizes[] = {0, 1, 3, 200, 1500};
  unsigned aces = sizes[seed % 5];
  unsigned char *to = put16(buffer, 1);
  to = put16(to, 0x8004); /* SE_SELF_RELATIVE, SE_DACL_PRESENT */
  to = put32(to, 20);
  to = put32(to, 20 + SID_SIZE);
  to = put32(to, 0);
  to = put32(to, 20 + 2 * SID_SIZE);
  to = put_sid(to, 1000 + (uint32_t)seed);
  to = put_sid(to, 513);
  to = put16(to, 2);
  to = put16(to, 8 + aces * ACE_SIZE);
  to = put16(to, aces);
  to = put16(to, 0);
  for (unsigned i = 0; i < aces; i++) {
    to = put16(to, 0); /* ACCESS_ALLOWED_ACE_TYPE */
    to = put16(to, ACE_SIZE);
    to = put32(to, 0x1f01ff);
    to = put_sid(to, 1000 + i);
  }
  return (size_t)(to - buffer);
}

size_t make_reparse(uint64_t seed, size_t data, unsigned char buffer[CASEFS_MAX_REPARSE]) {
  bool microsoft = seed % 2 == 0;
  size_t header = microsoft ? 8 : 24;
  if (data > CASEFS_MAX_REPARSE - header)
    data = CASEFS_MAX_REPARSE - header;
  put32(buffer, microsoft ? 0x8000001b : 0x1000 + (uint32_t)(seed % 256));
  put16(buffer + 4, (unsigned)data);
  put16(buffer + 6, 0);
  if (!microsoft)
    memset(buffer + 8, (int)(1 + seed % 200), 16);
  dice_fill(buffer + header, data, seed + data);
  return header + data;
}

static uint64_t make_time(struct dice *dice) {
  return UINT64_C(0x01d000000000000) + dice_below(dice, UINT64_C(1) << 48);
}

struct casefs_attributes make_attributes(uint64_t seed) {
  struct dice dice = dice_seed(seed);
  return (struct casefs_attributes){
      .mode = (uint32_t)dice_below(&dice, 010000),
      .uid = (uint32_t)dice_roll(&dice),
      .gid = (uint32_t)dice_roll(&dice),
      .dos_attributes = (uint32_t)dice_roll(&dice) & CASEFS_DOS_SETTABLE,
      .created = make_time(&dice),
      .modified = make_time(&dice),
      .accessed = make_time(&dice),
      .changed = make_time(&dice),
      .rdev = dice_roll(&dice),
  };
}

struct casefs_creation make_creation(uint64_t seed, unsigned char security[CASEFS_MAX_SECURITY]) {
  struct casefs_attributes attributes = make_attributes(seed);
  return (struct casefs_creation){
      .type = CASEFS_FILE,
      .mode = attributes.mode,
      .uid = attributes.uid,
      .gid = attributes.gid,
      .dos_attributes = attributes.dos_attributes,
      .created = attributes.created,
      .modified = attributes.modified,
      .accessed = attributes.accessed,
      .changed = attributes.changed,
      .security = security,
      .security_length = make_security(seed, security),
  };
}
