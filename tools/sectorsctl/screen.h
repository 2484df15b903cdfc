/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A terminal as a screen that is drawn line by line: with colours where it has them, and
 * nothing past its right edge.
 */

#ifndef SECTORSCTL_SCREEN_H
#define SECTORSCTL_SCREEN_H

#include <stdbool.h>
#include <stdio.h>

enum colour {
  COLOUR_PLAIN,
  COLOUR_BOLD,
  COLOUR_DIM,
  COLOUR_MEMORY,
  COLOUR_COMPRESSED,
  COLOUR_RESERVED,
  COLOUR_METADATA,
  COLOUR_BUFFERS,
  COLOUR_BELOW,
  COLOUR_ALARM,
  COLOURS,
};

struct screen {
  FILE *frame; /* what is being drawn */
  char *text;
  size_t length;
  int columns, lines; /* of the terminal */
  int column, line;   /* where it is drawn next */
  bool unicode;
  bool colours;
};

/* Take the terminal over: its other screen, no cursor, keys as they come; and
 * have it given back if the program is interrupted.  False if there is none. */
bool screen_open(struct screen *screen);
void screen_close(struct screen *screen);

/* Begin a frame, at the size that the terminal has now.  False: no memory. */
bool screen_begin(struct screen *screen);

/* Show it.  False if the terminal is gone. */
bool screen_end(struct screen *screen);

/* Draw text at the end of the line, cut at the edge. */
void put(struct screen *screen, enum colour colour, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Spaces up to a column. */
void put_to(struct screen *screen, int column);

void put_line(struct screen *screen);

/* Wait for a key, so many seconds at most.  The key; 0 if none came or the
 * terminal's size changed; -1 if it is to end. */
int screen_wait(double seconds);

/* Whether the program was interrupted. */
bool screen_is_over(void);

#endif
