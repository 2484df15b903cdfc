/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Parameters, where no server is needed to see what becomes of them.
 */

#include "sectors.h"
#include "settings.h"
#include "utf8.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* In nbdkit's place. */
static char reported[1000];

void nbdkit_error(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(reported, sizeof reported, format, arguments);
  va_end(arguments);
}

char *nbdkit_absolute_path(const char *path) {
  return strdup(path);
}

/* The machine, which the linker puts here (--wrap, see CMakeLists.txt). */
static long page_size = 4096;
static uint64_t memory = UINT64_C(1) << 34;

long __real_sysconf(int name);
long __wrap_sysconf(int name);
uint64_t __wrap_available_memory(const char *root);

long __wrap_sysconf(int name) {
  return name == _SC_PAGESIZE ? page_size : __real_sysconf(name);
}

uint64_t __wrap_available_memory(const char *root) {
  (void)root;
  return memory;
}

static struct settings initial;

/* A server with these parameters, ended by NULL, after those that were taken so far.
 * Returns whether it may start. */
static bool goes_on(const char *const *parameters) {
  int error = 0;
  for (; *parameters && error == 0; parameters += 2)
    error = settings_set(parameters[0], parameters[1]);
  if (error == 0)
    error = settings_complete();
  assert_int_equal(*reported != '\0', error != 0);
  return error == 0;
}

static void begin(void) {
  settings_free();
  settings = initial;
  *reported = '\0';
}

/* A server of one disk. */
static bool starts(const char *const *parameters) {
  begin();
  assert_int_equal(settings_set("size", "1G"), 0);
  return goes_on(parameters);
}
#define STARTS(...) starts((const char *const[]){__VA_ARGS__})

/* What a client calls itself neither makes a line in a log nor controls a
 * terminal. */
static void quoting(void **state) {
  (void)state;
  static const struct {
    const char *value, *quoted;
  } table[] = {
      {"", ""},
      {"plain 'text'", "plain 'text'"},
      {"two\nlines\r\t\x7f\x1b[31m", "two\\x0alines\\x0d\\x09\\x7f\\x1b[31m"},
      {"Gr\xc3\xb6\xc3\x9f"
       "e \xe2\x82\xac \xf0\x9f\x92\xbe \xc2\xa0",
       "Gr\xc3\xb6\xc3\x9f"
       "e \xe2\x82\xac \xf0\x9f\x92\xbe \xc2\xa0"},
      {"\xc2\x80 \xc2\x9b \xc2\x9f", "\\xc2\\x80 \\xc2\\x9b \\xc2\\x9f"},
      {"\x9b\xff\x80", "\\x9b\\xff\\x80"},
      {"\xe2\x82", "\\xe2\\x82"},                            /* cut short */
      {"\xc0\x9b\xe0\x82\x9b", "\\xc0\\x9b\\xe0\\x82\\x9b"}, /* overlong */
      {"\xed\xa0\x80", "\\xed\\xa0\\x80"},                   /* a surrogate */
      {"\xe2\x82\xac\xe2x", "\xe2\x82\xac\\xe2x"},
  };
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
    assert_string_equal(QUOTE(table[i].value), table[i].quoted);
}

/* Whatever a long value is made of, and wherever it is cut. */
static void quoting_long_values(void **state) {
  (void)state;
  static const char *const pieces[] = {"x", "\n", "\xff", "\xc2\x9b", "\xf0\x9f\x92\xbe"};
  for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
    for (size_t before = 0; before < 8; before++) {
      char value[1000] = "", buffer[QUOTE_TEXT + 1];
      buffer[QUOTE_TEXT] = '!';
      memset(value, 'b', before);
      while (strlen(value) < 500)
        strcat(value, pieces[i]);
      quote_text(value, buffer);
      assert_int_equal(buffer[QUOTE_TEXT], '!');
      size_t length = strlen(buffer);
      assert_in_range(length, QUOTE_TEXT - 12, QUOTE_TEXT - 1);
      assert_string_equal(buffer + length - 3, "...");
      for (const unsigned char *at = (unsigned char *)buffer; *at; at += utf8_length(at))
        assert_true(utf8_length(at) != 0 && !utf8_is_control(at));
    }
  }
}

static void limits(void **state) {
  (void)state;
  const uint64_t gibibyte = 1 << 30, tebibyte = gibibyte << 10;
  memory = 16 * gibibyte;
  assert_true(STARTS(NULL));
  assert_int_equal(settings.memory_limit, memory / 100 * 80);
  assert_true(STARTS("memory-limit", "16G", NULL));
  assert_false(STARTS("memory-limit", "17G", NULL));
  assert_non_null(strstr(reported, "17G"));
  memory = 16 * tebibyte; /* more than a store can account for */
  assert_true(STARTS(NULL));
  assert_int_equal(settings.memory_limit, 8 * tebibyte);
  assert_true(STARTS("memory-limit", "100%", NULL));
  assert_int_equal(settings.memory_limit, 8 * tebibyte);
  assert_true(STARTS("memory-limit", "10%", NULL));
  assert_int_equal(settings.memory_limit, memory / 100 * 10);
  assert_true(STARTS("memory-limit", "8T", NULL));
  assert_false(STARTS("memory-limit", "9T", NULL));
  assert_non_null(strstr(reported, "9T"));
  assert_true(STARTS("memory-limit", "9T", "sector-size", "64K", NULL));
  assert_true(STARTS("sector-size", "8K", NULL));
  assert_int_equal(settings.memory_limit, memory / 100 * 80);
  memory = 16 * gibibyte;
}

/* image=, base= and priority= belong to the volume before them. */
static void volumes_have_places(void **state) {
  (void)state;
  assert_true(
      STARTS("image", "/i", "volume", "a:2G", "base", "nbd://host/x", "priority", "9", NULL));
  const struct declared_volume *volume = settings.volumes;
  assert_string_equal(volume->name, "default");
  assert_string_equal(volume->image, "/i");
  assert_null(volume->base);
  assert_int_equal(volume->priority, -1);
  volume = volume->next;
  assert_string_equal(volume->name, "a");
  assert_null(volume->image);
  assert_string_equal(volume->base, "nbd://host/x");
  assert_int_equal(volume->priority, 9);
  assert_null(volume->next);
  assert_true(settings_have_tiers());
  assert_true(settings_have_slow_tier());
}

/* Before the first one, to the default volume, which may be given its size later. */
static void the_volume_implied(void **state) {
  (void)state;
  settings_free();
  settings = initial;
  assert_int_equal(settings_set("image", "/i"), 0);
  assert_int_equal(settings_set("priority", "0"), 0);
  assert_int_equal(settings_complete(), 0);
  assert_string_equal(settings.volumes->name, "default");
  assert_int_equal(settings.volumes->size, 0);
  assert_int_equal(settings.volumes->priority, 0);
  assert_int_equal(settings_set("volume", "a:1G"), 0);
  assert_int_equal(settings_set("size", "3G"), 0);
  assert_int_equal(settings_set("base", "/b"), 0); /* of the volume just given its size */
  assert_int_equal(settings.volumes->size, UINT64_C(3) << 30);
  assert_string_equal(settings.volumes->base, "/b");
  assert_null(settings.volumes->next->base);
  assert_int_equal(settings_complete(), 0);
  assert_int_not_equal(settings_set("size", "3G"), 0);
}

/* A server without that disk. */
static bool starts_on_demand(const char *const *parameters) {
  begin();
  return goes_on(parameters);
}
#define STARTS_ON_DEMAND(...) starts_on_demand((const char *const[]){__VA_ARGS__})

/* After on-demand=, base= and priority= are of all that is made on demand. */
static void volumes_on_demand(void **state) {
  (void)state;
  assert_true(STARTS_ON_DEMAND("on-demand", "2G", NULL));
  assert_int_equal(settings.on_demand.size, UINT64_C(2) << 30);
  assert_null(settings.on_demand.base);
  assert_int_equal(settings.on_demand.priority, -1);
  assert_false(settings_have_tiers());
  assert_false(is_base_on_demand("/b"));
  assert_true(STARTS_ON_DEMAND("volume", "a:1G", "base", "/a", "on-demand", "2G", "base", "/b",
                               "priority", "9", "size", "1G", "priority", "1", NULL));
  assert_string_equal(settings.on_demand.base, "/b");
  assert_int_equal(settings.on_demand.priority, 9);
  assert_string_equal(settings.volumes->base, "/a");
  assert_int_equal(settings.volumes->priority, -1);
  assert_string_equal(settings.volumes->next->name, "default");
  assert_null(settings.volumes->next->base);
  assert_int_equal(settings.volumes->next->priority, 1);
  assert_true(is_base_on_demand("/b"));
  assert_false(is_base_on_demand("/a"));
  /* Before it, to the volume 'default', if that is declared at last. */
  assert_true(STARTS_ON_DEMAND("base", "/a", "on-demand", "2G", "size", "1G", NULL));
  assert_null(settings.on_demand.base);
  assert_string_equal(settings.volumes->base, "/a");
  assert_true(STARTS_ON_DEMAND("on-demand", "1G", "base", "/b", NULL));
  assert_true(settings_have_tiers());
  assert_true(settings_have_slow_tier());
}

static void refused_on_demand(void **state) {
  (void)state;
  static const struct {
    const char *parameters[9];
    const char *words[2]; /* that the sentence has */
  } table[] = {
      {{"base", "/b", "on-demand", "1G"}, {"base: '/b'", "after on-demand="}},
      {{"priority", "0", "on-demand", "1G"}, {"priority: 0", "after on-demand="}},
      {{"image", "/i", "on-demand", "1G"}, {"image: '/i'", "size= or volume="}},
      {{"on-demand", "1G", "image", "/i"}, {"image: '/i'", "sectorsctl volumes create"}},
      {{"on-demand", "1G", "base", "/b", "base", "/c"}, {"base: '/c'", "'/b'"}},
      {{"on-demand", "1G", "on-demand", "2G"}, {"on-demand: '2G'", "once"}},
      {{"on-demand", "1G", "base", "/b", "volume", "v:1G", "image", "/b"}, {"'v'", "on demand"}},
      {{"volume", "v:1G", "image", "/b", "on-demand", "1G", "base", "/b"}, {"'v'", "on demand"}},
      {{"on-demand", "1G", "base", "/b", "memory-limit", "4M"}, {"4M", "8M"}},
      {{"on-demand", "1G", "priority", "11"}, {"priority", "11"}},
      {{"on-demand", "1G", "base", ""}, {"base", "empty"}},
  };
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    assert_false(starts_on_demand(table[i].parameters));
    assert_non_null(strstr(reported, table[i].words[0]));
    assert_non_null(strstr(reported, table[i].words[1]));
  }
}

static void watermarks(void **state) {
  (void)state;
  static const struct {
    const char *high, *low;
    unsigned is_high, is_low; /* 0: refused */
  } table[] = {
      {NULL, NULL, 90, 85},  {"99%", NULL, 99, 85}, {"50%", NULL, 50, 45},  {"3%", NULL, 3, 1},
      {NULL, "90%", 90, 90}, {NULL, "91%", 0, 0},   {"60%", "20%", 60, 20}, {"20%", "60%", 0, 0},
      {"0%", NULL, 0, 0},    {"100%", NULL, 0, 0},  {NULL, "x", 0, 0},      {NULL, "5", 0, 0},
  };
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    const char *parameters[7] = {"compress", "zstd"};
    size_t count = 2;
    if (table[i].high) {
      parameters[count++] = "high-watermark";
      parameters[count++] = table[i].high;
    }
    if (table[i].low) {
      parameters[count++] = "low-watermark";
      parameters[count++] = table[i].low;
    }
    assert_int_equal(starts(parameters), table[i].is_high != 0);
    if (table[i].is_high == 0)
      continue;
    assert_int_equal(settings.high_watermark, table[i].is_high);
    assert_int_equal(settings.low_watermark, table[i].is_low);
    assert_int_equal(settings.compress, SECTORS_COMPRESS_ZSTD);
    assert_true(settings_have_tiers());
    assert_false(settings_have_slow_tier());
  }
}

static void sizes(void **state) {
  (void)state;
  static const struct {
    const char *text;
    uint64_t size;
    bool valid;
  } table[] = {
      {"0", 0, true},
      {"1", 1, true},
      {"5b", 5, true},
      {"3s", 1536, true},
      {"1k", 1024, true},
      {"7E", UINT64_C(7) << 60, true},
      {"8E", 0, false},
      {"", 0, false},
      {"-1", 0, false},
      {" 1", 0, false},
      {"1 ", 0, false},
      {"1KB", 0, false},
      {"0x10", 0, false},
      {"1.5G", 0, false},
      {"G", 0, false},
      {"9223372036854775807", INT64_MAX, true},
      {"9223372036854775808", 0, false},
      {"99999999999999999999999", 0, false},
  };
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    uint64_t size = 0;
    assert_int_equal(parse_size(table[i].text, &size), table[i].valid);
    if (table[i].valid)
      assert_int_equal(size, table[i].size);
  }
}

static void large_pages(void **state) {
  (void)state;
  static const struct {
    long page_size;
    unsigned least;
  } table[] = {{4096, 4096}, {16384, 16384}, {65536, 65536}};
  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
    struct sectors_store_statistics statistics;
    sectors_store *store;
    page_size = table[i].page_size;
    assert_true(STARTS(NULL));
    assert_int_equal(settings.sector_size, table[i].least);
    assert_int_equal(STARTS("sector-size", "4K", NULL), table[i].least == 4096);
    assert_int_equal(STARTS("sector-size", "16K", NULL), table[i].least <= 16384);
    assert_true(STARTS("sector-size", "64K", NULL));
    assert_int_equal(sectors_store_create(16 << 20, 0, &store), 0);
    sectors_store_statistics(store, &statistics);
    assert_int_equal(statistics.sector_size, table[i].least);
    sectors_store_destroy(store);
    if (table[i].least > 4096)
      assert_int_equal(sectors_store_create(16 << 20, 4096, &store), -EINVAL);
  }
  page_size = 4096;
}

int main(void) {
  initial = settings;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(quoting),
      cmocka_unit_test(quoting_long_values),
      cmocka_unit_test(limits),
      cmocka_unit_test(volumes_have_places),
      cmocka_unit_test(the_volume_implied),
      cmocka_unit_test(volumes_on_demand),
      cmocka_unit_test(refused_on_demand),
      cmocka_unit_test(watermarks),
      cmocka_unit_test(sizes),
      cmocka_unit_test(large_pages),
  };
  int failures = cmocka_run_group_tests(tests, NULL, NULL);
  settings_free();
  return failures;
}
