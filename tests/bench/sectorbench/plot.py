# SPDX-License-Identifier: BSD-3-Clause
"""Draws section nbd: each server's speed as a part of the ceiling that null sets."""

import shutil
import subprocess

from .nbd import MEMORY, Results
from .servers import Servers

SIDES = (Servers.OURS, *MEMORY, "file tmpfs", "qemu-nbd tmpfs")
COLORS = {"sectors": "#17529c", "memory": "#e08214", "memory -t 1": "#f2ad58",
          "memory malloc": "#f9d9ae", "memory malloc -t 1": "#e0b070", "file tmpfs": "#8c8c8c", "qemu-nbd tmpfs": "#c9c9c9"}
TEXT = {"sectors": "#ffffff", "memory": "#ffffff", "file tmpfs": "#ffffff"}
GAP = 1.6                               # between groups, in bars
WIDTH, HEIGHT = 1240, 380               # of one panel
TOP = 1.15                              # what is higher is cut off


def _label(case):
    connections = "1 connection" if case.connections == 1 else "2 connections"
    return f"{case.block} KiB {case.op}\\n{connections}"


def _ordered(cases):
    return sorted(cases, key=lambda case: (case.block, case.op, case.connections))


def _bars(results, side, cases, place, step):
    """Lines 'x median low high' of one server's bars."""
    lines = []
    for group, case in enumerate(cases):
        ratio = results.to_null(side, case)
        lines.append(f"{group * step + place} {ratio.median:.4f} {ratio.low:.4f} {ratio.high:.4f}")
    return lines


def _panel(results, sides, cases, depth, first):
    step = len(sides) + GAP
    middle = (len(sides) - 1) / 2
    ticks = ", ".join(f'"{_label(case)}" {group * step + middle:.3f}'
                      for group, case in enumerate(cases))
    lines, plots = [], []
    for place, side in enumerate(sides):
        block = f"$d{depth}_{place}"
        lines += [f"{block} << END", *_bars(results, side, cases, place, step), "END"]
        plots.append(f'{block} using 1:2 with boxes lc rgb "{COLORS[side]}" title "{side}"')
        plots.append(f'{block} using 1:3:(0):($4-$3) with vectors nohead lw 1.2 '
                     'lc rgb "#505050" notitle')
        plots.append(f'{block} using ($1 + 0.05):(0.03):(sprintf("%.2f", $2)) with labels left '
                     f'rotate by 90 font ",10" tc rgb "{TEXT.get(side, "#303030")}" notitle')
    plots.append('1 with lines lw 1.5 dt 2 lc rgb "#303030" title "null at its best"')
    key = ("set key at screen 0.99,0.985 right top horizontal maxrows 1 Left reverse samplen 1.2"
           if first else "unset key")
    return [*lines, key, "unset label",
            f'set label "{depth} request{"s" if depth > 1 else ""} in flight per connection" '
            'at graph 0,1.07 left font ",12"',
            f"set xtics ({ticks}) scale 0",
            f"set xrange [-1.2:{len(cases) * step - GAP + 0.2}]",
            "plot " + ", ".join(plots)]


def script(results, path):
    """The gnuplot commands that draw the results into an SVG file."""
    assert isinstance(results, Results)
    sides = [side for side in SIDES if side in results.samples]
    cases = list(results.samples[sides[0]])
    depths = sorted({case.depth for case in cases}, reverse=True)
    lines = [
        f'set terminal svg size {WIDTH},{HEIGHT * len(depths)} font "DejaVu Sans,11" '
        'background "white"',
        f"set output '{path}'",
        f"set multiplot layout {len(depths)},1",
        "set style fill solid border rgb '#ffffff'", "set boxwidth 0.92",
        "set border 3 lc rgb '#808080'", "set grid ytics lc rgb '#e4e4e4'",
        f"set yrange [0:{TOP + 0.1}]", "set ytics 0.25 nomirror", "set xtics nomirror",
        "set lmargin 9", "set rmargin 3", "set tmargin 4", "set bmargin 3.5",
        'set ylabel "requests per second, null = 1"',
    ]
    for depth in depths:
        panel = _ordered(case for case in cases if case.depth == depth)
        lines += _panel(results, sides, panel, depth, depth == depths[0])
    return "\n".join([*lines, "unset multiplot", ""])


def draw(results, path):
    """Draws; false if there is no gnuplot."""
    if shutil.which("gnuplot") is None:
        return False
    subprocess.run(["gnuplot"], input=script(results, path), text=True, check=True)
    return True
