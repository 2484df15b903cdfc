/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The conditions of ACEs ([MS-DTYP] 2.4.4.17) to text.
 */

#include "sddl-write.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------- reading the tokens */

/* One token of a condition.  The bytes are a list in postfix order; as it is read, operators get
 * their operands, which makes a tree. */
struct node {
  uint8_t token;
  const uint8_t *data; /* of literals and attributes */
  size_t length;
  size_t left, right; /* operands: indices; of one, left */
  unsigned nesting;   /* parentheses and ! that its text will have inside one another */
};

struct condition {
  struct node *nodes;
  size_t *stack; /* nodes that are no operands yet */
  size_t count, height;
};

/* The literal or attribute at *at: its bytes, and *at after it. */
static bool read_literal(const uint8_t **at, const uint8_t *end, struct node *node) {
  node->token = *(*at)++;
  if (token_is_integer(node->token)) {
    node->length = 10;
  } else {
    if (end - *at < 4)
      return false;
    node->length = field32(*at);
    *at += 4;
  }
  if (node->length > (size_t)(end - *at))
    return false;
  node->data = *at;
  *at += node->length;
  return true;
}

/* Whether a literal or attribute is well-formed, but for what is in a composite. */
static bool literal_is_valid(const struct node *node) {
  switch (node->token) {
  case TOKEN_STRING:
    return node->length % 2 == 0;
  case TOKEN_SID:
    return node->length != 0 && sid_size(node->data, node->length) == node->length;
  case TOKEN_OCTETS:
  case TOKEN_COMPOSITE:
    return true;
  default:
    if (token_is_attribute(node->token))
      return node->length != 0 && node->length % 2 == 0;
    /* an integer: sign and base follow its value */
    return node->data[8] >= 1 && node->data[8] <= 3 && node->data[9] >= 1 && node->data[9] <= 3;
  }
}

/* The elements of a composite are literals, and not composites. */
static bool composite_is_valid(const struct node *composite, bool only_sids) {
  const uint8_t *at = composite->data, *end = at + composite->length;
  while (at < end) {
    struct node element;
    if (!token_is_literal(*at) || *at == TOKEN_COMPOSITE || (only_sids && *at != TOKEN_SID) ||
        !read_literal(&at, end, &element) || !literal_is_valid(&element))
      return false;
  }
  return true;
}

static const struct node *operand(const struct condition *condition, size_t index) {
  return &condition->nodes[index];
}

static bool is_operand_of_relation(const struct node *node) {
  return token_is_attribute(node->token) || token_is_literal(node->token);
}

static bool is_sids(const struct node *node) {
  return node->token == TOKEN_SID ||
         (node->token == TOKEN_COMPOSITE && composite_is_valid(node, true));
}

static bool is_truth_value(const struct node *node) {
  return token_is_attribute(node->token) || !token_is_literal(node->token);
}

/* Whether an operand of && or || needs parentheses: an || in an &&; and the right one, if it is of
 * the same operation, since these are read from the left. */
static bool needs_parentheses(const struct condition *condition, const struct node *node,
                              size_t index) {
  uint8_t token = operand(condition, index)->token;
  return (node->token == TOKEN_AND && token == TOKEN_OR) ||
         (node->token == token && index == node->right);
}

static unsigned nesting_of(const struct condition *condition, const struct node *node,
                           size_t index) {
  return operand(condition, index)->nesting + needs_parentheses(condition, node, index);
}

/* Take an operation's operands from the stack. */
static bool take_operands(struct condition *condition, struct node *node, size_t count) {
  if (condition->height < count)
    return false;
  condition->height -= count;
  node->left = condition->stack[condition->height];
  node->right = condition->stack[condition->height + count - 1];
  return true;
}

static bool read_operator(struct condition *condition, struct node *node) {
  const struct operation *operation = sddl_operation_of_token(node->token);
  if (!operation)
    return false;
  bool binary =
      operation->kind == RELATION || (operation->kind == LOGIC && node->token != TOKEN_NOT);
  if (!take_operands(condition, node, binary ? 2 : 1))
    return false;
  const struct node *left = operand(condition, node->left);
  const struct node *right = operand(condition, node->right);
  switch (operation->kind) {
  case MEMBERSHIP:
    return is_sids(left);
  case EXISTENCE:
    return token_is_attribute(left->token);
  case RELATION:
    return token_is_attribute(left->token) && is_operand_of_relation(right);
  default:
    break;
  }
  if (node->token == TOKEN_NOT) {
    node->nesting = left->nesting + 1;
  } else {
    unsigned of_left = nesting_of(condition, node, node->left);
    unsigned of_right = nesting_of(condition, node, node->right);
    node->nesting = of_left > of_right ? of_left : of_right;
  }
  return is_truth_value(left) && is_truth_value(right) && node->nesting < MAX_NESTING;
}

static bool only_padding(const uint8_t *at, const uint8_t *end) {
  while (at < end && *at == TOKEN_PADDING)
    at++;
  return at == end;
}

static bool read_node(struct condition *condition, const uint8_t **at, const uint8_t *end) {
  struct node *node = &condition->nodes[condition->count];
  *node = (struct node){.token = **at};
  if (token_is_literal(node->token) || token_is_attribute(node->token)) {
    if (!read_literal(at, end, node) || !literal_is_valid(node) ||
        (node->token == TOKEN_COMPOSITE && !composite_is_valid(node, false)))
      return false;
  } else {
    ++*at;
    if (!read_operator(condition, node))
      return false;
  }
  condition->stack[condition->height++] = condition->count++;
  return true;
}

/* Read the tokens; at the end one truth value is left. */
static bool read_tokens(struct condition *condition, const uint8_t *at, const uint8_t *end) {
  while (at < end && *at != TOKEN_PADDING)
    if (!read_node(condition, &at, end))
      return false;
  return only_padding(at, end) && condition->height == 1 &&
         is_truth_value(operand(condition, condition->stack[0]));
}

/* ------------------------------------------------------------------ writing */

/* Eight bytes of value, then a sign and a base: 1 octal, 2 decimal, 3 hexadecimal. */
static void write_integer(struct buffer *text, const uint8_t *data) {
  enum { PLUS = 1, MINUS = 2 };
  uint64_t value = field64(data);
  if ((int64_t)value < 0 || (value == 0 && data[8] == MINUS)) {
    value = 0 - value;
    sddl_put8(text, '-');
  } else if (data[8] == PLUS) {
    sddl_put8(text, '+');
  }
  if (data[9] == 1)
    sddl_put_format(text, "0%" PRIo64, value);
  else if (data[9] == 2)
    sddl_put_format(text, "%" PRIu64, value);
  else
    sddl_put_format(text, "0x%" PRIx64, value);
}

/* Whether the name of an attribute without scope could be taken for something else. */
static bool looks_like_a_word(const uint8_t *name, size_t length) {
  char word[32];
  size_t count = length / 2;
  if (count >= sizeof word)
    return false;
  for (size_t i = 0; i < count; i++) {
    uint16_t unit = field16(name + 2 * i);
    if (unit >= 0x80)
      return false;
    word[i] = (char)unit;
  }
  return sddl_operation_of_word(word, count) || (count == 3 && sddl_same_letters(word, "SID", 3));
}

static void write_attribute(struct buffer *text, const struct node *node) {
  bool simple = node->token == TOKEN_LOCAL;
  size_t at = 0;
  for (size_t i = 0; i < LENGTH(sddl_scopes); i++)
    if (sddl_scopes[i].token == node->token)
      sddl_put_string(text, sddl_scopes[i].text);
  uint16_t first = field16(node->data);
  if (simple &&
      (looks_like_a_word(node->data, node->length) || (first < 0x80 && is_digit((char)first)))) {
    sddl_put_format(text, "%%%04x", first);
    at = 2;
  }
  for (; at < node->length; at += 2)
    sddl_write_name_unit(text, field16(node->data + at), simple);
}

static void write_literal(struct buffer *text, const struct node *node) {
  const uint8_t *at = node->data, *end = at + node->length;
  switch (node->token) {
  case TOKEN_STRING:
    sddl_write_quoted(text, node->data, node->length);
    return;
  case TOKEN_OCTETS:
    sddl_put8(text, '#');
    sddl_write_octets(text, node->data, node->length);
    return;
  case TOKEN_SID:
    sddl_put_string(text, "SID(");
    sddl_write_sid(text, node->data);
    sddl_put8(text, ')');
    return;
  case TOKEN_COMPOSITE:
    sddl_put8(text, '{');
    for (struct node element; at < end && read_literal(&at, end, &element);) {
      write_literal(text, &element); /* once: these are no composites */
      sddl_put_string(text, at < end ? ", " : "");
    }
    sddl_put8(text, '}');
    return;
  default:
    write_integer(text, node->data);
  }
}

/* What is still to be written, last first: a node, or a fixed text. */
struct work {
  const char *text;
  size_t node;
};

static void push_text(struct work *work, size_t *height, const char *text) {
  work[(*height)++] = (struct work){.text = text};
}

static void push_node(struct work *work, size_t *height, size_t node, bool parentheses) {
  if (parentheses)
    push_text(work, height, ")");
  work[(*height)++] = (struct work){.node = node};
  if (parentheses)
    push_text(work, height, "(");
}

/* At most this many are pushed for one node. */
enum { WORK_PER_NODE = 9 };

static void push_operation(const struct condition *condition, const struct node *node,
                           struct work *work, size_t *height) {
  const struct operation *operation = sddl_operation_of_token(node->token);
  bool prefix = operation->kind == MEMBERSHIP || operation->kind == EXISTENCE;
  if (node->token == TOKEN_NOT) {
    push_node(work, height, node->left, true);
    push_text(work, height, operation->text);
  } else if (prefix) {
    push_node(work, height, node->left, false);
    push_text(work, height, " ");
    push_text(work, height, operation->text);
  } else {
    push_node(work, height, node->right, needs_parentheses(condition, node, node->right));
    push_text(work, height, " ");
    push_text(work, height, operation->text);
    push_text(work, height, " ");
    push_node(work, height, node->left, needs_parentheses(condition, node, node->left));
  }
}

/* Without recursion: a chain of && can be as long as an ACE. */
static void write_tree(struct buffer *text, const struct condition *condition, struct work *work) {
  size_t height = 0;
  push_node(work, &height, condition->stack[0], false);
  while (height > 0 && text->error == 0) {
    struct work next = work[--height];
    const struct node *node = operand(condition, next.node);
    if (next.text)
      sddl_put_string(text, next.text);
    else if (token_is_attribute(node->token))
      write_attribute(text, node);
    else if (token_is_literal(node->token))
      write_literal(text, node);
    else
      push_operation(condition, node, work, &height);
  }
}

void sddl_write_condition(struct buffer *text, const uint8_t *data, size_t length) {
  const size_t signature = sizeof sddl_condition_signature;
  if (length < signature || memcmp(data, sddl_condition_signature, signature) != 0) {
    sddl_unsayable(text);
    return;
  }
  struct condition condition = {.nodes = calloc(length, sizeof *condition.nodes),
                                .stack = calloc(length, sizeof *condition.stack)};
  struct work *work = NULL;
  if (!condition.nodes || !condition.stack) {
    text->error = -ENOMEM;
  } else if (!read_tokens(&condition, data + signature, data + length)) {
    sddl_unsayable(text);
  } else if (!(work = calloc(condition.count, WORK_PER_NODE * sizeof *work))) {
    text->error = -ENOMEM;
  } else {
    sddl_put8(text, '(');
    write_tree(text, &condition, work);
    sddl_put8(text, ')');
  }
  free(work);
  free(condition.nodes);
  free(condition.stack);
}
