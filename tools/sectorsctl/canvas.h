/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a picture is drawn on: an SVG, or a PNG.  Lengths are pixels, from the
 * top left.
 */

#ifndef SECTORSCTL_CANVAS_H
#define SECTORSCTL_CANVAS_H

#include <stdbool.h>

/* Red, green and blue, each 0 to 1. */
struct paint {
  double red, green, blue;
};

enum anchor { ANCHOR_START, ANCHOR_END };

struct canvas {
  void (*rectangle)(struct canvas *canvas, double x, double y, double width, double height,
                    struct paint paint);

  /* y is the line that letters stand on. */
  void (*text)(struct canvas *canvas, double x, double y, double size, bool bold,
               enum anchor anchor, struct paint paint, const char *text);

  /* Write the file, and free the canvas.  False with the error reported. */
  bool (*finish)(struct canvas *canvas);
};

/* NULL with the error reported. */
struct canvas *canvas_svg(const char *path, double width, double height);
struct canvas *canvas_png(const char *path, double width, double height);

/* Whether this program was built to make PNGs. */
bool canvas_has_png(void);

#endif
