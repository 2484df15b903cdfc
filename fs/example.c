/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A volume in memory, on which case does not count:
 *   cc example.c $(pkg-config --cflags --libs casefs) -o example && ./example
 */

#include <casefs.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(const char *what, int64_t result) {
  if (result >= 0)
    return;
  fprintf(stderr, "example: %s: %s\n", what, strerror((int)-result));
  exit(1);
}

int main(void) {
  struct casefs_device *device;
  casefs_volume *volume;
  casefs_node *root, *file, *stream;
  char text[64], *message = NULL;

  if (casefs_device_open("mem:64M", 0, 0, &device, &message) < 0) {
    fprintf(stderr, "example: %s\n", message ? message : "no memory");
    return 1;
  }
  check("format", casefs_format(device, &(struct casefs_format_options){.case_insensitive = true}));
  check("open", casefs_open(device, NULL, &volume));
  check("open the root", casefs_open_root(volume, &root));

  const struct casefs_creation creation = {.type = CASEFS_FILE, .mode = 0644};
  check("create", casefs_create(root, "README.txt", strlen("README.txt"), &creation, &file));
  check("write", casefs_write(file, "Hello, case!\n", 13, 0));
  check("add a stream", casefs_open_stream(file, "author", strlen("author"), O_CREAT, &stream));
  check("write the stream", casefs_write(stream, "nobody", 6, 0));
  casefs_node_close(stream);
  casefs_node_close(file);

  check("find readme.TXT", casefs_open_path(volume, NULL, "/readme.TXT", 0, &file));
  int64_t length = casefs_read(file, text, sizeof text, 0);
  check("read", length);
  printf("readme.TXT holds: %.*s", (int)length, text);

  struct casefs_cursor cursor = {0};
  struct casefs_entry entry;
  struct casefs_attributes attributes;
  int more;
  while ((more = casefs_next_entry(root, &cursor, &entry, &attributes)) > 0)
    printf("it is stored as %s, of %" PRIu64 " bytes\n", entry.name, attributes.size);
  check("list", more);
  cursor = (struct casefs_cursor){0};
  while ((more = casefs_next_stream(file, &cursor, &entry, &attributes)) > 0)
    printf("its stream %s is of %" PRIu64 " bytes\n", entry.name, attributes.size);
  check("list streams", more);

  check("sync", casefs_sync(volume));
  casefs_node_close(file);
  casefs_node_close(root);
  check("close", casefs_close(volume));
  casefs_device_close(device);
  return 0;
}
