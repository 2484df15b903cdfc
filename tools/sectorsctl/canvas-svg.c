/* SPDX-License-Identifier: BSD-3-Clause */

#include "canvas.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct svg {
  struct canvas canvas; /* first: it is this */
  FILE *file;
  const char *path;
};

static int channel(double value) {
  return (int)(value * 255 + 0.5);
}

static void print_paint(FILE *file, struct paint paint) {
  fprintf(file, " fill=\"#%02x%02x%02x\"", channel(paint.red), channel(paint.green),
          channel(paint.blue));
}

static void rectangle(struct canvas *canvas, double x, double y, double width, double height,
                      struct paint paint) {
  FILE *file = ((struct svg *)canvas)->file;
  fprintf(file, "<rect x=\"%g\" y=\"%g\" width=\"%g\" height=\"%g\"", x, y, width, height);
  print_paint(file, paint);
  fputs("/>\n", file);
}

static void write_text(struct canvas *canvas, double x, double y, double size, bool bold,
                       enum anchor anchor, struct paint paint, const char *string) {
  FILE *file = ((struct svg *)canvas)->file;
  fprintf(file, "<text x=\"%g\" y=\"%g\" font-size=\"%g\"%s%s", x, y, size,
          bold ? " font-weight=\"bold\"" : "", anchor == ANCHOR_END ? " text-anchor=\"end\"" : "");
  print_paint(file, paint);
  fputc('>', file);
  for (; *string; string++) {
    if (*string == '&')
      fputs("&amp;", file);
    else if (*string == '<')
      fputs("&lt;", file);
    else if (*string == '>')
      fputs("&gt;", file);
    else
      fputc(*string, file);
  }
  fputs("</text>\n", file);
}

static bool finish(struct canvas *canvas) {
  struct svg *svg = (struct svg *)canvas;
  fputs("</svg>\n", svg->file);
  bool failed = ferror(svg->file) != 0;
  failed |= fclose(svg->file) != 0;
  if (failed)
    complain("'%s' cannot be written: %s", svg->path, strerror(errno));
  free(svg);
  return !failed;
}

struct canvas *canvas_svg(const char *path, double width, double height) {
  struct svg *svg = calloc(1, sizeof *svg);
  FILE *file = svg ? fopen(path, "we") : NULL;
  if (!file) {
    complain("'%s' cannot be written: %s", path, strerror(errno));
    free(svg);
    return NULL;
  }
  *svg = (struct svg){
      .canvas = {.rectangle = rectangle, .text = write_text, .finish = finish},
      .file = file,
      .path = path,
  };
  fprintf(file,
          "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%g\" height=\"%g\" "
          "viewBox=\"0 0 %g %g\" font-family=\"DejaVu Sans, Verdana, sans-serif\" "
          "shape-rendering=\"crispEdges\">\n",
          width, height, width, height);
  return &svg->canvas;
}
