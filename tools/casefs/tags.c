/* SPDX-License-Identifier: BSD-3-Clause */

#include "tags.h"
#include "text.h"
#include "tool.h"

#include <ctype.h>
#include <string.h>

enum { HEADER = 8, GUID = 16, LINK_HEADER = 8, SYMLINK_FLAGS = 4 };

const char *tag_name(uint32_t tag) {
  static const struct {
    uint32_t tag;
    const char *name;
  } names[] = {
      {TAG_MOUNT_POINT, "junction"}, {TAG_SYMLINK, "symlink"},       {TAG_LX_SYMLINK, "lx-symlink"},
      {0x80000023u, "af-unix"},      {0x80000024u, "lx-fifo"},       {0x80000025u, "lx-chr"},
      {0x80000026u, "lx-blk"},       {0x80000013u, "dedup"},         {0x80000014u, "nfs"},
      {0x80000017u, "wof"},          {0x80000008u, "wim"},           {0x80000007u, "sis"},
      {0x8000000Au, "dfs"},          {0x80000012u, "dfsr"},          {0x8000001Bu, "appexeclink"},
      {0xC0000004u, "hsm"},          {0x80000006u, "hsm2"},          {0x80000021u, "onedrive"},
      {0x9000001Au, "cloud"},        {0x9000001Cu, "projfs"},        {0xA0000010u, "iis-cache"},
      {0x8000001Eu, "storage-sync"}, {0xA000001Fu, "wci-tombstone"}, {0x80000018u, "wci"},
      {0xA0000019u, "global"},       {0x80000009u, "csv"},
  };
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (names[i].tag == tag)
      return names[i].name;
  return NULL;
}

bool tag_is_microsoft(uint32_t tag) {
  return tag >> 31;
}

static uint32_t load16(const uint8_t *bytes) {
  return bytes[0] | (uint32_t)bytes[1] << 8;
}

static uint32_t load32(const uint8_t *bytes) {
  return load16(bytes) | load16(bytes + 2) << 16;
}

static void store16(uint8_t *bytes, size_t value) {
  bytes[0] = (uint8_t)value;
  bytes[1] = (uint8_t)(value >> 8);
}

static void store32(uint8_t *bytes, uint32_t value) {
  store16(bytes, value & 0xFFFF);
  store16(bytes + 2, value >> 16);
}

/* ---------------------------------------------------------------- decoding */

/* The name whose offset and length stand at fields, in a buffer of names; NULL if outside. */
static char *link_name(const uint8_t *fields, const uint8_t *names, size_t size) {
  uint32_t offset = load16(fields), length = load16(fields + 2);
  if (offset > size || length > size - offset)
    return NULL;
  return wtf8_from_utf16(names + offset, length);
}

static bool decode_link(struct reparse *reparse) {
  size_t header = LINK_HEADER + (reparse->tag == TAG_SYMLINK ? SYMLINK_FLAGS : 0);
  if (reparse->length < header)
    return false;
  const uint8_t *names = reparse->data + header;
  size_t size = reparse->length - header;
  if (reparse->tag == TAG_SYMLINK)
    reparse->relative = load32(reparse->data + LINK_HEADER) & 1;
  reparse->substitute = link_name(reparse->data, names, size);
  reparse->print = link_name(reparse->data + 4, names, size);
  return reparse->substitute && reparse->print;
}

static bool decode_lx_symlink(struct reparse *reparse) {
  if (reparse->length < 4)
    return false;
  reparse->substitute = copied((const char *)reparse->data + 4, reparse->length - 4);
  reparse->print = copied("", 0);
  reparse->relative = reparse->substitute[0] != '/';
  return true;
}

static bool decode_data(struct reparse *reparse) {
  if (reparse->tag == TAG_MOUNT_POINT || reparse->tag == TAG_SYMLINK)
    return decode_link(reparse);
  if (reparse->tag == TAG_LX_SYMLINK)
    return decode_lx_symlink(reparse);
  return true;
}

bool reparse_decode(const uint8_t *buffer, size_t size, struct reparse *reparse) {
  *reparse = (struct reparse){0};
  if (size < HEADER)
    return false;
  reparse->tag = load32(buffer);
  reparse->length = load16(buffer + 4);
  size_t header = HEADER + (tag_is_microsoft(reparse->tag) ? 0 : GUID);
  if (size < header || size - header < reparse->length)
    return false;
  reparse->guid = header > HEADER ? buffer + HEADER : NULL;
  reparse->data = buffer + header;
  if (decode_data(reparse))
    return true;
  reparse_clear(reparse);
  return false;
}

void reparse_clear(struct reparse *reparse) {
  free(reparse->substitute);
  free(reparse->print);
  *reparse = (struct reparse){0};
}

/* ------------------------------------------------------------------ making */

bool target_is_absolute(const char *target) {
  bool drive = isalpha((unsigned char)target[0]) && target[1] == ':' && target[2] == '\\';
  return drive || strncmp(target, "\\\\", 2) == 0;
}

/* The name that Windows' object manager knows an absolute target by. */
static char *object_name(const char *target) {
  if (!target_is_absolute(target))
    return copied(target, strlen(target));
  if (strncmp(target, "\\\\?\\", 4) == 0)
    return formatted("\\??\\%s", target + 4);
  if (strncmp(target, "\\\\", 2) == 0)
    return formatted("\\??\\UNC\\%s", target + 2);
  return formatted("\\??\\%s", target);
}

static uint8_t *make_link(uint32_t tag, bool relative, const uint8_t *substitute,
                          size_t substitute_size, const uint8_t *print, size_t print_size,
                          size_t *size) {
  size_t zero = tag == TAG_MOUNT_POINT ? 2 : 0; /* its names end with one */
  size_t header = LINK_HEADER + (tag == TAG_SYMLINK ? SYMLINK_FLAGS : 0);
  size_t length = header + substitute_size + print_size + 2 * zero;
  if (HEADER + length > CASEFS_MAX_REPARSE)
    return NULL;
  uint8_t *buffer = allocate(HEADER + length), *data = buffer + HEADER, *names = data + header;
  store32(buffer, tag);
  store16(buffer + 4, length);
  store16(data + 2, substitute_size);
  store16(data + 4, substitute_size + zero);
  store16(data + 6, print_size);
  if (tag == TAG_SYMLINK)
    store32(data + LINK_HEADER, relative);
  memcpy(names, substitute, substitute_size);
  memcpy(names + substitute_size + zero, print, print_size);
  *size = HEADER + length;
  return buffer;
}

uint8_t *reparse_make(uint32_t tag, const char *target, size_t *size) {
  char *name = object_name(target);
  size_t substitute_size, print_size;
  uint8_t *substitute = utf16_from_wtf8(name, strlen(name), &substitute_size);
  uint8_t *print = utf16_from_wtf8(target, strlen(target), &print_size);
  uint8_t *buffer = NULL;
  if (substitute && print)
    buffer = make_link(tag, !target_is_absolute(target), substitute, substitute_size, print,
                       print_size, size);
  free(print);
  free(substitute);
  free(name);
  return buffer;
}
