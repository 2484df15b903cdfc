/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A disk of 1 TiB in 64 MiB of memory:
 *   cc example.c $(pkg-config --cflags --libs sectors) -o example && ./example
 */

#include <inttypes.h>
#include <sectors.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  sectors_store *store;
  sectors_volume *volume;
  struct sectors_store_statistics statistics;
  char text[] = "written far out", back[sizeof text];
  uint64_t offset = UINT64_C(1) << 39;

  int error = sectors_store_create(64 << 20, 0, &store);
  if (error == 0)
    error = sectors_volume_create(store, "scratch", UINT64_C(1) << 40, &volume);
  if (error == 0)
    error = sectors_write(volume, text, sizeof text, offset);
  if (error == 0)
    error = sectors_read(volume, back, sizeof back, offset);
  if (error != 0) {
    fprintf(stderr, "example: %s\n", strerror(-error));
    return 1;
  }
  sectors_store_statistics(store, &statistics);
  printf("'%s' takes %" PRIu64 " bytes\n", back, statistics.live);
  sectors_store_destroy(store);
  return 0;
}
