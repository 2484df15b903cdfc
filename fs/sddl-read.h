/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Reading descriptors from text: the parser, and what its files need of each other.
 *
 * Functions that read take what they are for from the text and append the bytes to
 * a buffer; they are false after sddl_fail.
 */

#ifndef CASEFS_SDDL_READ_H
#define CASEFS_SDDL_READ_H

#include "sddl-words.h"

enum { MAX_ACL = 65535 }; /* AclSize has 16 bits */

/* ----------------------------------------- the parser, in sddl-read-parts.c */

struct parser {
  const char *start, *at;
  char *error; /* what was wrong first; NULL for want of memory */
  bool failed;
};

/* Note what is wrong at a place; always false. */
__attribute__((format(printf, 3, 4))) bool sddl_fail(struct parser *parser, const char *at,
                                                     const char *format, ...);

/* A short beginning of a text, fit for a message. */
struct excerpt {
  char text[28];
};

struct excerpt sddl_excerpt(const char *text, size_t length);

/* What stands at the parser's place, up to where a field ends. */
struct excerpt sddl_here(const struct parser *parser);

void sddl_skip_spaces(struct parser *parser);

/* Whether this text comes next, after spaces, in any case of letters; accept and expect take it.
 * Expect says what it is there for: "'%s' must %s". */
bool sddl_next_is(struct parser *parser, const char *text);
bool sddl_accept(struct parser *parser, const char *text);
bool sddl_expect(struct parser *parser, const char *text, const char *where);

/* A field up to the next ';', without the spaces around it. */
bool sddl_read_field(struct parser *parser, const char **field, size_t *length);

/* --------------------------------- parts of all kinds, in sddl-read-parts.c */

/* Digits of a base; false if there are none or the number is over the limit. */
bool sddl_read_digits(const char **at, unsigned base, uint64_t limit, uint64_t *value);

/* Which base a number is written in, as in C; *at is moved behind what tells it. */
unsigned sddl_read_base(const char **at);

/* A number without sign, in any base. */
bool sddl_read_number(struct parser *parser, uint64_t limit, const char *what, uint64_t *value);

struct sid {
  uint8_t bytes[SID_MAX];
  size_t length; /* 0: none */
};

bool sddl_read_sid(struct parser *parser, struct sid *sid);

/* The length of the word at the parser's place, as far as it could be an attribute's name. */
size_t sddl_word_length(const struct parser *parser);

/* Whether "SID(" comes next. */
bool sddl_next_is_sid(struct parser *parser);

/* A name up to a character that cannot be in one. */
bool sddl_read_name(struct parser *parser, struct buffer *out, bool simple);

/* A string in quotation marks, without them. */
bool sddl_read_quoted(struct parser *parser, struct buffer *out);

/* Two hexadecimal digits each, as many as there are. */
bool sddl_read_octets(struct parser *parser, struct buffer *out);

/* A length of 32 bits whose value is known later: of what comes between the two calls. */
size_t sddl_begin_counted(struct buffer *out);
void sddl_end_counted(struct buffer *out, size_t at);

/* ---------------------------------------------------- in files of their own */

/* A condition in its parentheses: in sddl-read-condition.c. */
bool sddl_read_condition(struct parser *parser, struct buffer *out);

/* An ACE after its opening parenthesis; has_objects is set if it is an object ACE: in
 * sddl-read-ace.c. */
bool sddl_read_ace(struct parser *parser, struct buffer *out, bool *has_objects);

#endif
