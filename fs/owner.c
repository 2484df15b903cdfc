/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The owner's mark, which keeps two writers from one volume where the device has
 * no lock: FORMAT.md, section 3.  A mark cannot be taken atomically over NBD; the time to
 * settle is what makes two who take it at once find out.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "volume.h"

#define SETTLE_MILLISECONDS 50
#define WATCHED_INTERVALS 3
#define MAX_INTERVAL 10000u /* milliseconds: no mark makes us watch for longer steps */
#define STEPS_PER_INTERVAL 10u

static int read_mark(struct casefs_device *device, struct owner_mark *mark) {
  uint8_t bytes[BLOCK_SIZE];
  int r = device_read(device, bytes, BLOCK_SIZE, OWNER_BLOCK * BLOCK_SIZE);
  if (r == 0)
    owner_mark_decode(mark, bytes);
  return r;
}

static int write_mark(casefs_volume *volume, bool durable) {
  uint8_t bytes[BLOCK_SIZE];
  owner_mark_encode(&volume->owner.mark, bytes);
  return device_write(volume->device, bytes, BLOCK_SIZE, OWNER_BLOCK * BLOCK_SIZE, durable);
}

static void sleep_milliseconds(unsigned milliseconds) {
  struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
  while (nanosleep(&time, &time) < 0 && errno == EINTR)
    ;
}

/* The boot id of this kernel, or zeros. */
static void read_boot_id(uint8_t id[16]) {
  char text[40] = "";
  memset(id, 0, 16);
  int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return;
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  unsigned digits = 0;
  for (ssize_t i = 0; i < length && digits < 32; i++) {
    const char *hex = "0123456789abcdef";
    const char *digit = text[i] ? strchr(hex, text[i]) : NULL;
    if (!digit)
      continue;
    id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | (digit - hex));
    digits++;
  }
}

static void describe_self(struct owner_mark *mark) {
  *mark = (struct owner_mark){.open = true,
                              .interval = OWNER_INTERVAL,
                              .process = (uint32_t)getpid(),
                              .time = casefs_now()};
  if (getrandom(mark->owner, sizeof mark->owner, 0) != sizeof mark->owner)
    memcpy(mark->owner, &mark->time, sizeof mark->time);
  read_boot_id(mark->boot_id);
  gethostname(mark->host, sizeof mark->host - 1);
}

/* Whether the owner is a process of this machine that has ended. */
static bool owner_is_dead(const struct owner_mark *mark, const struct owner_mark *self) {
  static const uint8_t none[16];
  return memcmp(mark->boot_id, none, 16) != 0 && memcmp(mark->boot_id, self->boot_id, 16) == 0 &&
         mark->process != self->process && kill((pid_t)mark->process, 0) < 0 && errno == ESRCH;
}

/* Whether an owner shows a sign of life. */
static int watch(struct casefs_device *device, const struct owner_mark *mark) {
  unsigned interval = mark->interval > MAX_INTERVAL ? MAX_INTERVAL : mark->interval;
  for (unsigned i = 0; i < WATCHED_INTERVALS * STEPS_PER_INTERVAL; i++) {
    struct owner_mark now;
    sleep_milliseconds(interval / STEPS_PER_INTERVAL);
    int r = read_mark(device, &now);
    if (r < 0)
      return r;
    if (!now.open)
      return 0;
    if (now.heartbeat != mark->heartbeat || memcmp(now.owner, mark->owner, 16) != 0)
      return -EBUSY;
  }
  return 0;
}

int owner_take(casefs_volume *volume) {
  struct owner_mark found, *self = &volume->owner.mark;
  if (volume->device->exclusive)
    return 0;
  describe_self(self);
  int r = read_mark(volume->device, &found);
  if (r == 0 && found.open && !owner_is_dead(&found, self))
    r = watch(volume->device, &found);
  if (r == 0)
    r = write_mark(volume, true);
  if (r < 0)
    return r;
  sleep_milliseconds(SETTLE_MILLISECONDS);
  volume->owner.taken = true;
  r = owner_check(volume);
  if (r < 0)
    volume->owner.taken = false;
  return r == -ESTALE ? -EBUSY : r;
}

int owner_check(casefs_volume *volume) {
  struct owner_mark found;
  if (!volume->owner.taken)
    return 0;
  int r = read_mark(volume->device, &found);
  if (r < 0)
    return r;
  return found.open && memcmp(found.owner, volume->owner.mark.owner, 16) == 0 ? 0 : -ESTALE;
}

int owner_beat(casefs_volume *volume) {
  int r = owner_check(volume);
  if (r < 0)
    return r;
  volume->owner.mark.heartbeat++;
  volume->owner.mark.time = casefs_now();
  return write_mark(volume, false);
}

void owner_release(casefs_volume *volume) {
  if (!volume->owner.taken || owner_check(volume) < 0)
    return;
  volume->owner.mark.open = false;
  write_mark(volume, true);
  volume->owner.taken = false;
}
