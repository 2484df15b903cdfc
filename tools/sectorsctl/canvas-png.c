/* SPDX-License-Identifier: BSD-3-Clause */

#include "canvas.h"
#include "text.h"

#include <stdlib.h>

#ifdef HAVE_CAIRO

#include <cairo.h>

enum { SCALE = 2 }; /* dots for each pixel, for sharp letters */

struct png {
  struct canvas canvas; /* first: it is this */
  cairo_surface_t *surface;
  cairo_t *cairo;
  const char *path;
};

static void rectangle(struct canvas *canvas, double x, double y, double width, double height,
                      struct paint paint) {
  cairo_t *cairo = ((struct png *)canvas)->cairo;
  cairo_set_source_rgb(cairo, paint.red, paint.green, paint.blue);
  cairo_rectangle(cairo, x, y, width, height);
  cairo_fill(cairo);
}

static void write_text(struct canvas *canvas, double x, double y, double size, bool bold,
                       enum anchor anchor, struct paint paint, const char *string) {
  cairo_t *cairo = ((struct png *)canvas)->cairo;
  cairo_text_extents_t extents;
  cairo_set_source_rgb(cairo, paint.red, paint.green, paint.blue);
  cairo_select_font_face(cairo, "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL,
                         bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
  cairo_set_font_size(cairo, size);
  cairo_text_extents(cairo, string, &extents);
  cairo_move_to(cairo, anchor == ANCHOR_END ? x - extents.x_advance : x, y);
  cairo_show_text(cairo, string);
}

static bool finish(struct canvas *canvas) {
  struct png *png = (struct png *)canvas;
  cairo_status_t status = cairo_status(png->cairo);
  if (status == CAIRO_STATUS_SUCCESS)
    status = cairo_surface_write_to_png(png->surface, png->path);
  if (status != CAIRO_STATUS_SUCCESS)
    complain("'%s' cannot be written: %s", png->path, cairo_status_to_string(status));
  cairo_destroy(png->cairo);
  cairo_surface_destroy(png->surface);
  free(png);
  return status == CAIRO_STATUS_SUCCESS;
}

struct canvas *canvas_png(const char *path, double width, double height) {
  struct png *png = calloc(1, sizeof *png);
  if (!png) {
    complain("no memory for the picture");
    return NULL;
  }
  *png = (struct png){
      .canvas = {.rectangle = rectangle, .text = write_text, .finish = finish},
      .surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)(width * SCALE),
                                            (int)(height * SCALE)),
      .path = path,
  };
  png->cairo = cairo_create(png->surface); /* failures show in its status */
  cairo_scale(png->cairo, SCALE, SCALE);
  cairo_set_antialias(png->cairo, CAIRO_ANTIALIAS_DEFAULT);
  return &png->canvas;
}

bool canvas_has_png(void) {
  return true;
}

#else

struct canvas *canvas_png(const char *path, double width, double height) {
  (void)width, (void)height;
  complain("'%s' cannot be made: this sectorsctl was built without cairo; give FILE.svg", path);
  return NULL;
}

bool canvas_has_png(void) {
  return false;
}

#endif
