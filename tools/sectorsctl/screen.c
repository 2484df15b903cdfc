/* SPDX-License-Identifier: BSD-3-Clause */

#include "screen.h"

#include <errno.h>
#include <langinfo.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

static const char *const colours[COLOURS] = {
    [COLOUR_PLAIN] = "",
    [COLOUR_BOLD] = "\033[1m",
    [COLOUR_DIM] = "\033[2m",
    [COLOUR_MEMORY] = "\033[32m",
    [COLOUR_COMPRESSED] = "\033[36m",
    [COLOUR_RESERVED] = "\033[33m",
    [COLOUR_METADATA] = "\033[35m",
    [COLOUR_BUFFERS] = "\033[34m",
    [COLOUR_BELOW] = "\033[38;5;208m",
    [COLOUR_ALARM] = "\033[1;31m",
};

static const char enter[] = "\033[?1049h\033[?25l\033[H\033[2J";
static const char leave[] = "\033[?25h\033[?1049l";

static volatile sig_atomic_t ended;
static struct termios usual;
static bool has_keys;

static void end(int signal) {
  ended = signal;
}

/* It only ends a wait. */
static void resized(int signal) {
  (void)signal;
}

static bool send_text(const char *text, size_t length) {
  while (length > 0) {
    ssize_t sent = write(STDOUT_FILENO, text, length);
    if (sent < 0 && errno == EINTR && !ended)
      continue;
    if (sent <= 0)
      return false;
    text += sent;
    length -= (size_t)sent;
  }
  return true;
}

bool screen_open(struct screen *screen) {
  static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
  struct sigaction action = {.sa_handler = end};
  const char *type = getenv("TERM");
  *screen = (struct screen){
      .unicode = strcmp(nl_langinfo(CODESET), "UTF-8") == 0,
      .colours = !getenv("NO_COLOR") && type && strcmp(type, "dumb") != 0,
  };
  if (!isatty(STDOUT_FILENO))
    return false;
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
    sigaction(signals[i], &action, NULL);
  action = (struct sigaction){.sa_handler = resized, .sa_flags = SA_RESTART};
  sigaction(SIGWINCH, &action, NULL);
  has_keys = tcgetattr(STDIN_FILENO, &usual) == 0;
  if (has_keys) {
    struct termios keys = usual;
    keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    keys.c_cc[VMIN] = 0;
    keys.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &keys);
  }
  return send_text(enter, sizeof enter - 1);
}

void screen_close(struct screen *screen) {
  (void)screen;
  send_text(leave, sizeof leave - 1);
  if (has_keys)
    tcsetattr(STDIN_FILENO, TCSANOW, &usual);
}

bool screen_begin(struct screen *screen) {
  struct winsize size = {0};
  screen->columns = 80;
  screen->lines = 24;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
    screen->columns = size.ws_col;
    screen->lines = size.ws_row;
  }
  screen->column = screen->line = 0;
  screen->frame = open_memstream(&screen->text, &screen->length);
  if (screen->frame)
    fputs("\033[H", screen->frame);
  return screen->frame != NULL;
}

bool screen_end(struct screen *screen) {
  fputs("\033[J", screen->frame);
  bool made = fclose(screen->frame) == 0;
  bool shown = made && send_text(screen->text, screen->length);
  free(screen->text);
  return shown;
}

void put(struct screen *screen, enum colour colour, const char *format, ...) {
  char text[1024];
  va_list arguments;
  mbstate_t state = {0};
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (screen->line >= screen->lines)
    return;
  if (screen->colours)
    fputs(colours[colour], screen->frame);
  for (const char *at = text; *at;) {
    wchar_t character;
    size_t bytes = mbrtowc(&character, at, MB_CUR_MAX, &state);
    bool strange = bytes == (size_t)-1 || bytes == (size_t)-2;
    int width = strange ? 1 : wcwidth(character);
    if (width < 0 || screen->column + width > screen->columns)
      break;
    if (strange) {
      state = (mbstate_t){0};
      fputc('?', screen->frame);
      bytes = 1;
    } else {
      fwrite(at, 1, bytes, screen->frame);
    }
    screen->column += width;
    at += bytes;
  }
  if (screen->colours)
    fputs("\033[0m", screen->frame);
}

void put_to(struct screen *screen, int column) {
  int end = column < screen->columns ? column : screen->columns;
  if (screen->column < end)
    put(screen, COLOUR_PLAIN, "%*s", end - screen->column, "");
}

/* The last line of the screen has no end: the screen would move up. */
void put_line(struct screen *screen) {
  if (screen->line < screen->lines)
    fputs("\033[K", screen->frame);
  if (screen->line + 1 < screen->lines)
    fputc('\n', screen->frame);
  screen->line++;
  screen->column = 0;
}

bool screen_is_over(void) {
  return ended != 0;
}

int screen_wait(double seconds) {
  struct timespec limit = {.tv_sec = (time_t)seconds};
  struct pollfd polled = {.fd = has_keys ? STDIN_FILENO : -1, .events = POLLIN};
  char key = 0;
  limit.tv_nsec = (long)((seconds - (double)limit.tv_sec) * 1e9);
  int ready = ended ? 0 : ppoll(&polled, 1, &limit, NULL);
  if (ended)
    return -1;
  if (ready <= 0 || !(polled.revents & POLLIN))
    return ready > 0 ? -1 : 0;
  return read(STDIN_FILENO, &key, 1) == 1 ? key : -1;
}
