/* SPDX-License-Identifier: BSD-3-Clause */

#include "tree-batch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void batch_clear(struct tree_batch *batch) {
  batch->error = 0;
  batch->count = batch->used = 0;
}

void batch_free(struct tree_batch *batch) {
  free(batch->edits);
  free(batch->bytes);
  *batch = (struct tree_batch){0};
}

/* Make room for one more edit of that many bytes. */
static bool batch_grow(struct tree_batch *batch, size_t bytes) {
  if (batch->count == batch->capacity) {
    size_t capacity = batch->capacity ? 2 * batch->capacity : 32;
    struct tree_edit *edits = realloc(batch->edits, capacity * sizeof *edits);
    if (!edits)
      return false;
    batch->edits = edits;
    batch->capacity = capacity;
  }
  if (batch->size - batch->used < bytes) {
    size_t size = 2 * batch->size + bytes + 4096;
    uint8_t *grown = realloc(batch->bytes, size);
    if (!grown)
      return false;
    batch->bytes = grown;
    batch->size = size;
  }
  return true;
}

static void supersede(struct tree_batch *batch, const struct key *key) {
  for (size_t i = 0; i < batch->count; i++) {
    struct tree_edit *edit = &batch->edits[i];
    if (edit->key_length == key->length &&
        memcmp(batch->bytes + edit->offset, key->bytes, key->length) == 0)
      edit->superseded = true;
  }
}

static void batch_add(struct tree_batch *batch, const struct key *key, const void *value,
                      size_t length, bool remove) {
  if (batch->error < 0)
    return;
  supersede(batch, key);
  if (!batch_grow(batch, key->length + length)) {
    batch->error = -ENOMEM;
    return;
  }
  batch->edits[batch->count++] =
      (struct tree_edit){batch->used, key->length, (uint32_t)length, remove, false};
  memcpy(batch->bytes + batch->used, key->bytes, key->length);
  if (length > 0)
    memcpy(batch->bytes + batch->used + key->length, value, length);
  batch->used += key->length + length;
}

void batch_put(struct tree_batch *batch, const struct key *key, const void *value, size_t length) {
  batch_add(batch, key, value, length, false);
}

void batch_remove(struct tree_batch *batch, const struct key *key) {
  batch_add(batch, key, NULL, 0, true);
}

void batch_edit_key(const struct tree_batch *batch, const struct tree_edit *edit, struct key *key) {
  key->length = edit->key_length;
  memcpy(key->bytes, batch->bytes + edit->offset, edit->key_length);
}
