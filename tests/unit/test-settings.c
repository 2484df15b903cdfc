/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Parameters, where no server is needed to see what becomes of them.
 */

#include "settings.h"
#include "utf8.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(quoting),
      cmocka_unit_test(quoting_long_values),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
