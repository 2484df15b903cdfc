/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Names: which bytes are one, and what they fold to.
 */

#include "casefs.h"
#include "names.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])
#define TEXT(literal) literal, sizeof(literal) - 1

enum { BMP = 0x10000, CODE_POINTS = 0x110000 };

/* A copy with nothing after it, so that a sanitizer sees a read past its end. */
static char *exact(const char *text, size_t length) {
  char *copy = malloc(length ? length : 1);
  assert_non_null(copy);
  memcpy(copy, text, length);
  return copy;
}

static int check(const char *text, size_t length) {
  char *copy = exact(text, length);
  int result = name_check(copy, length);
  free(copy);
  return result;
}

static int check_stream(const char *text, size_t length) {
  char *copy = exact(text, length);
  int result = stream_name_check(copy, length);
  free(copy);
  return result;
}

static int64_t units_of(const char *text, size_t length) {
  char *copy = exact(text, length);
  int64_t result = utf16_units(copy, length);
  free(copy);
  return result;
}

/* Fold a name into folded; returns the length. */
static size_t fold(const char *text, size_t length, char folded[NAME_MAX_FOLDED]) {
  char *copy = exact(text, length), *out = malloc(NAME_MAX_FOLDED);
  assert_non_null(out);
  size_t result = name_fold(copy, length, out);
  assert_true(result <= NAME_MAX_FOLDED);
  memcpy(folded, out, result);
  free(out);
  free(copy);
  return result;
}

static bool same_fold(const char *one, const char *other) {
  char folded[2][NAME_MAX_FOLDED];
  size_t length = fold(one, strlen(one), folded[0]);
  return fold(other, strlen(other), folded[1]) == length &&
         memcmp(folded[0], folded[1], length) == 0;
}

/* What name_fold should do, slowly. */
static size_t plain_fold(const char *text, size_t length, char *folded) {
  size_t written = 0;
  for (size_t i = 0; i < length;) {
    uint32_t c;
    size_t size = wtf8_decode(text + i, length - i, &c);
    assert_true(size > 0);
    i += size;
    written += wtf8_encode(c < BMP ? fold_unit((uint16_t)c) : c, folded + written);
  }
  return written;
}

static void assert_folds_right(const char *text, size_t length) {
  char expected[4 * CASEFS_MAX_NAME], folded[NAME_MAX_FOLDED], again[NAME_MAX_FOLDED];
  size_t expected_length = plain_fold(text, length, expected);
  size_t folded_length = fold(text, length, folded);
  assert_int_equal(folded_length, expected_length);
  assert_memory_equal(folded, expected, expected_length);
  assert_int_equal(units_of(folded, folded_length), units_of(text, length));
  assert_int_equal(fold(folded, folded_length, again), folded_length);
  assert_memory_equal(again, folded, folded_length);
}

/* ------------------------------------------------------------------ table */

/* FNV-1a of the 128 KiB of little-endian units; fold-table.sh checks their MD5. */
static void table_is_that_of_windows(void **state) {
  (void)state;
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  unsigned mapped = 0;
  for (uint32_t unit = 0; unit < BMP; unit++) {
    uint16_t upper = fold_unit((uint16_t)unit);
    mapped += upper != unit;
    hash = (hash ^ (upper & 0xff)) * UINT64_C(0x100000001b3);
    hash = (hash ^ upper >> 8) * UINT64_C(0x100000001b3);
  }
  assert_int_equal(mapped, 973);
  assert_int_equal(hash, UINT64_C(0x48ed4531e9399927));
}

static uint16_t field(const uint8_t *at) {
  return (uint16_t)(at[0] | at[1] << 8);
}

static void encoded_runs_are_the_table(void **state) {
  (void)state;
  static uint16_t table[BMP];
  uint8_t buffer[FOLD_TABLE_MAX];
  size_t length = fold_table_encode(buffer), runs = field(buffer);
  assert_int_equal(length, 2 + 8 * runs);
  assert_int_equal(runs, 134);
  for (uint32_t unit = 0; unit < BMP; unit++)
    table[unit] = (uint16_t)unit;
  for (size_t i = 0; i < runs; i++) {
    const uint8_t *run = buffer + 2 + 8 * i;
    assert_in_range(field(run + 4), 1, 2);
    assert_true(field(run + 2) > 0 && field(run + 6) != 0);
    for (uint32_t j = 0; j < field(run + 2); j++) {
      uint32_t unit = field(run) + j * field(run + 4);
      assert_true(unit < BMP && table[unit] == unit); /* no unit twice */
      table[unit] = (uint16_t)(unit + field(run + 6));
    }
  }
  for (uint32_t unit = 0; unit < BMP; unit++)
    assert_int_equal(table[unit], fold_unit((uint16_t)unit));
}

static void table_is_idempotent(void **state) {
  (void)state;
  for (uint32_t unit = 0; unit < BMP; unit++) {
    uint16_t upper = fold_unit((uint16_t)unit);
    assert_int_equal(fold_unit(upper), upper);
    if (unit >= 0xd800 && unit <= 0xdfff)
      assert_int_equal(upper, unit);
    else
      assert_false(upper >= 0xd800 && upper <= 0xdfff);
  }
}

static void known_facts_of_windows(void **state) {
  (void)state;
  static const char *const equal[][2] = {
      {"straße", "STRAßE"}, {"Éclair", "éCLAIR"}, {"ψυχή", "ΨΥΧΉ"}, {"привет", "ПРИВЕТ"},
      {"ÿ", "Ÿ"},           {"ǆ", "Ǆ"},           {"ɐ", "Ɐ"}, /* U+2C6F: new in 5.1, and grows from
                                                                 two bytes to three */
      {"ⅷ", "Ⅷ"},                                             /* Roman numerals */
      {"ⓐ", "Ⓐ"},                                             /* circled letters */
      {"ａ", "Ａ"},                                           /* fullwidth */
      {"ա", "Ա"},                                             /* Armenian */
      {"ⴀ", "Ⴀ"},                                             /* Georgian Nuskhuri */
      {"ᵽ", "Ᵽ"},
  };
  static const char *const distinct[][2] = {
      {"\xe2\x84\xaa", "k"},        /* Kelvin sign */
      {"\xe2\x84\xab", "\xc3\xa5"}, /* Angstrom sign */
      {"\xe2\x84\xa6", "\xcf\x89"}, /* Ohm sign */
      {"ſ", "s"},                   /* long s */
      {"ς", "Σ"},                   /* final sigma */
      {"ς", "σ"},
      {"ı", "I"}, /* dotless i */
      {"İ", "i"}, /* dotted I */
      {"ß", "ẞ"}, /* eszett: neither its capital nor two letters */
      {"ß", "SS"},
      {"µ", "Μ"},         /* micro sign */
      {"é", "e\xcc\x81"}, /* no normalization */
      {"ﬁ", "FI"},
      {"ǅ", "Ǆ"},   /* title case */
      {"ა", "Ა"}, /* Georgian capitals came with Unicode 11 */
      {"ɥ", "Ɥ"},   /* U+A78D came with Unicode 6 */
      {"𐐨", "𐐀"},   /* outside the BMP */
      {"ᏸ", "Ᏸ"}, /* Cherokee small letters came with Unicode 8 */
  };
  for (size_t i = 0; i < LENGTH(equal); i++)
    if (!same_fold(equal[i][0], equal[i][1]))
      fail_msg("%s and %s should be the same", equal[i][0], equal[i][1]);
  for (size_t i = 0; i < LENGTH(distinct); i++)
    if (same_fold(distinct[i][0], distinct[i][1]))
      fail_msg("%s and %s should be distinct", distinct[i][0], distinct[i][1]);
}

/* ------------------------------------------------------------------ WTF-8 */

static void every_code_point(void **state) {
  (void)state;
  for (uint32_t c = 1; c < CODE_POINTS; c++) {
    char bytes[4];
    uint32_t decoded;
    size_t size = wtf8_encode(c, bytes);
    assert_int_equal(wtf8_decode(bytes, size, &decoded), size);
    assert_int_equal(decoded, c);
    for (size_t cut = 0; cut < size; cut++)
      assert_int_equal(wtf8_decode(bytes, cut, &decoded), 0);
    if (c == '.' || c == '/')
      continue;
    assert_int_equal(name_check(bytes, size), 0);
    assert_int_equal(utf16_units(bytes, size), c < BMP ? 1 : 2);
    assert_folds_right(bytes, size);
  }
}

/* Every sequence of two and of three bytes, and those of four that matter. */
static void every_sequence(void **state) {
  (void)state;
  static const uint8_t edges[] = {0x00, 0x7f, 0x80, 0xbf, 0xc0, 0xff};
  unsigned of_two = 0, of_three = 0, of_four = 0;
  uint32_t c;
  for (unsigned lead = 0x80; lead < 0x100; lead++)
    for (unsigned second = 0; second < 0x100; second++) {
      char bytes[4] = {(char)lead, (char)second};
      of_two += wtf8_decode(bytes, 2, &c) == 2;
      for (unsigned third = 0; third < 0x100; third++) {
        bytes[2] = (char)third;
        of_three += wtf8_decode(bytes, 3, &c) == 3;
      }
      for (size_t i = 0; i < LENGTH(edges) * LENGTH(edges); i++) {
        bytes[2] = (char)edges[i / LENGTH(edges)];
        bytes[3] = (char)edges[i % LENGTH(edges)];
        of_four += wtf8_decode(bytes, 4, &c) == 4;
      }
    }
  assert_int_equal(of_two, 0x800 - 0x80);
  assert_int_equal(of_three, BMP - 0x800);
  assert_int_equal(of_four, (CODE_POINTS - BMP) / 0x1000 * 4);
}

static void not_wtf_8(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t length;
  } rows[] = {
      {TEXT("\xff")},
      {TEXT("\xfe")},
      {TEXT("a\xff")},
      {TEXT("\x80")}, /* a continuation alone */
      {TEXT("a\x80z")},
      {TEXT("\xbf\xbf")},
      {TEXT("\xc0\xaf")}, /* overlong '/' */
      {TEXT("\xc0\x80")}, /* overlong NUL, "modified UTF-8" */
      {TEXT("\xc1\xbf")},
      {TEXT("\xe0\x80\xaf")},
      {TEXT("\xe0\x9f\xbf")},
      {TEXT("\xf0\x80\x80\xaf")},
      {TEXT("\xf0\x8f\xbf\xbf")},
      {TEXT("\xf4\x90\x80\x80")}, /* U+110000 */
      {TEXT("\xf5\x80\x80\x80")},
      {TEXT("\xf8\x88\x80\x80\x80")},
      {TEXT("\xfc\x84\x80\x80\x80\x80")},
      {TEXT("\xc3")}, /* truncated */
      {TEXT("\xe2\x82")},
      {TEXT("\xf0\x9f\x92")},
      {TEXT("abcdefgh\xc3")},
      {TEXT("abcdefg\xe2\x82")},
      {TEXT("\xc3(")},
      {TEXT("\xe2(\xa1")},
      {TEXT("\xf0\x28\x8c\xbc")},
      {TEXT("\xed\xa0\xbd\xed\xb2\xa9")}, /* a pair as two */
      {TEXT("x\xed\xa0\x80\xed\xb0\x80y")},
      {TEXT("\xed\xaf\xbf\xed\xbf\xbf")},
      {TEXT("\xed\xb0\x80\xed\xa0\x80\xed\xb0\x80")},
  };
  for (size_t i = 0; i < LENGTH(rows); i++) {
    assert_int_equal(check(rows[i].bytes, rows[i].length), -EILSEQ);
    assert_int_equal(check_stream(rows[i].bytes, rows[i].length), -EILSEQ);
    assert_int_equal(units_of(rows[i].bytes, rows[i].length), -EILSEQ);
  }
}

static void unpaired_surrogates(void **state) {
  (void)state;
  static const char *const rows[] = {
      "\xed\xa0\x80",             /* high */
      "\xed\xb0\x80",             /* low */
      "\xed\xa0\x80\xed\xa0\x80", /* high, high */
      "\xed\xb0\x80\xed\xa0\x80", /* low, high */
      "\xed\xb0\x80\xed\xb0\x80", /* low, low */
      "\xed\xa0\x80x\xed\xb0\x80",
      "\xed\xa0\x80\xf0\x9f\x92\xbe\xed\xb0\x80",
      "abcdefgh\xed\xbf\xbf",
  };
  for (size_t i = 0; i < LENGTH(rows); i++) {
    assert_int_equal(check(rows[i], strlen(rows[i])), 0);
    assert_folds_right(rows[i], strlen(rows[i]));
  }
}

/* ------------------------------------------------------------------ names */

static void not_names(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t length;
  } rows[] = {
      {TEXT("")},          {TEXT(".")},         {TEXT("..")},
      {TEXT("/")},         {TEXT("a/b")},       {TEXT("\0")},
      {TEXT("a\0")},       {TEXT("\0a")},       {TEXT("é/")},
      {TEXT("é\0")},       {TEXT("/\xff")},     {TEXT("12345678/")},
      {TEXT("/12345678")}, {TEXT("1234567\0")}, {TEXT("123456789012345/")},
  };
  for (size_t i = 0; i < LENGTH(rows); i++) {
    assert_int_equal(check(rows[i].bytes, rows[i].length), -EINVAL);
    assert_int_equal(check_stream(rows[i].bytes, rows[i].length), -EINVAL);
  }
}

static void unusual_names(void **state) {
  (void)state;
  static const char *const rows[] = {
      "...",  ". ",   " ",  ".a",    "a.",   "..a",      "a:b",          "a\\b",         "CON",
      "\x01", "\x7f", "*?", "\"<>|", "a\nb", "\xc2\x80", "\xef\xbf\xbf", "\xef\xbb\xbf",
  };
  for (size_t i = 0; i < LENGTH(rows); i++)
    assert_int_equal(check(rows[i], strlen(rows[i])), 0);
  assert_int_equal(check_stream(TEXT("a:b")), -EINVAL);
  assert_int_equal(check_stream(TEXT(":")), -EINVAL);
  assert_int_equal(check_stream(TEXT("a\\")), -EINVAL);
  assert_int_equal(check_stream(TEXT("Zone.Identifier")), 0);
  assert_int_equal(check_stream(TEXT("é")), 0);
}

/* A name of count times the same piece, and then a rest. */
static int check_repeated(const char *piece, size_t count, const char *rest) {
  size_t size = strlen(piece), length = 0;
  char *name = malloc(size * count + strlen(rest) + 1);
  assert_non_null(name);
  for (; count > 0; count--, length += size)
    memcpy(name + length, piece, size);
  memcpy(name + length, rest, strlen(rest) + 1);
  length += strlen(rest);
  int result = check(name, length);
  if (result == 0)
    assert_folds_right(name, length);
  free(name);
  return result;
}

static void lengths(void **state) {
  (void)state;
  assert_int_equal(check_repeated("a", 255, ""), 0);
  assert_int_equal(check_repeated("a", 256, ""), -ENAMETOOLONG);
  assert_int_equal(check_repeated("é", 255, ""), 0);
  assert_int_equal(check_repeated("é", 256, ""), -ENAMETOOLONG);
  assert_int_equal(check_repeated("ぁ", 255, ""), 0); /* U+3041, 765 bytes */
  assert_int_equal(check_repeated("ぁ", 256, ""), -ENAMETOOLONG);
  assert_int_equal(check_repeated("ぁ", 254, "ab"), -ENAMETOOLONG);
  assert_int_equal(check_repeated("💾", 127, ""), 0);
  assert_int_equal(check_repeated("💾", 127, "a"), 0);
  assert_int_equal(check_repeated("💾", 127, "ab"), -ENAMETOOLONG);
  assert_int_equal(check_repeated("💾", 128, ""), -ENAMETOOLONG);
  assert_int_equal(check_repeated("\xed\xa0\x80", 255, ""), 0);
  assert_int_equal(check_repeated("\xed\xa0\x80", 256, ""), -ENAMETOOLONG);
  assert_int_equal(check_repeated("ɐ", 255, ""), 0); /* 510 bytes that fold to 765 */
  assert_int_equal(check_repeated("a", 765, ""), -ENAMETOOLONG);
  assert_int_equal(check_repeated("a", 766, ""), -ENAMETOOLONG);
  assert_int_equal(check_repeated("a", 1 << 20, ""), -ENAMETOOLONG);
  assert_int_equal(check_repeated("a", 255, "\xff"), -EILSEQ);
  assert_int_equal(units_of(TEXT("")), 0);
  assert_int_equal(units_of(TEXT("/\0.")), 3);
}

/* A byte that matters, at every place of ASCII names of every length that the words of eight
 * bytes could get wrong. */
static void every_place(void **state) {
  (void)state;
  enum { LONGEST = 40 };
  for (size_t length = 1; length <= LONGEST; length++)
    for (size_t place = 0; place < length; place++)
      for (unsigned byte = 0; byte < 0x100; byte++) {
        char name[LONGEST];
        memset(name, 'x', length);
        name[place] = (char)byte;
        int expected = byte == '\0' || byte == '/' || (byte == '.' && length == 1) ? -EINVAL
                       : byte >= 0x80                                              ? -EILSEQ
                                                                                   : 0;
        assert_int_equal(check(name, length), expected);
        if (expected == 0)
          assert_folds_right(name, length);
      }
}

static uint32_t random_state = 1;

static uint32_t next_random(uint32_t below) {
  random_state = random_state * 1664525 + 1013904223;
  return (uint32_t)((uint64_t)(random_state >> 8) * below >> 24);
}

static uint32_t random_code_point(void) {
  static const uint32_t below[] = {0x80, 0x80, 0x80, 0x250, 0x600, 0x3000, BMP, CODE_POINTS};
  uint32_t c = next_random(below[next_random(LENGTH(below))]);
  return c == '\0' || c == '/' || c == '.' ? 'q' : c;
}

static void random_names(void **state) {
  (void)state;
  for (int i = 0; i < 100000; i++) {
    char name[4 * CASEFS_MAX_NAME];
    size_t length = 0;
    uint32_t units = 0, before = 0, wanted = 1 + next_random(next_random(2) ? 20 : 260);
    bool pair = false;
    while (units < wanted) {
      uint32_t c = random_code_point();
      pair = pair || surrogate_pair(before, c);
      length += wtf8_encode(c, name + length);
      units += c < BMP ? 1 : 2;
      before = c;
    }
    int expected = length > CASEFS_MAX_NAME ? -ENAMETOOLONG
                   : pair                   ? -EILSEQ
                   : units > 255            ? -ENAMETOOLONG
                                            : 0;
    assert_int_equal(check(name, length), expected);
    if (expected == 0)
      assert_folds_right(name, length);
  }
}

static void random_bytes(void **state) {
  (void)state;
  for (int i = 0; i < 200000; i++) {
    char bytes[32];
    size_t length = 1 + next_random(sizeof bytes - 1);
    for (size_t j = 0; j < length; j++)
      bytes[j] = (char)(next_random(3) ? 0x80 + next_random(0x80) : next_random(0x100));
    if (check(bytes, length) == 0)
      assert_folds_right(bytes, length);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(table_is_that_of_windows),
      cmocka_unit_test(encoded_runs_are_the_table),
      cmocka_unit_test(table_is_idempotent),
      cmocka_unit_test(known_facts_of_windows),
      cmocka_unit_test(every_code_point),
      cmocka_unit_test(every_sequence),
      cmocka_unit_test(not_wtf_8),
      cmocka_unit_test(unpaired_surrogates),
      cmocka_unit_test(not_names),
      cmocka_unit_test(unusual_names),
      cmocka_unit_test(lengths),
      cmocka_unit_test(every_place),
      cmocka_unit_test(random_names),
      cmocka_unit_test(random_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
