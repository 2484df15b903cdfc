# SPDX-License-Identifier: BSD-3-Clause
"""What a section hands back, and how that is printed: text, Markdown, JSON."""

import json
import operator
from dataclasses import dataclass, field

RELATIONS = {">=": operator.ge, "<=": operator.le, "<": operator.lt}


@dataclass
class Table:
    title: str
    columns: list
    rows: list                      # of lists of strings
    left: bool = False              # whether text stands on the left of every column


@dataclass
class Target:
    """A promise, with the figure that keeps or breaks it."""
    what: str
    value: object                   # a number, or a stats.Ratio
    relation: str
    limit: float
    unit: str = ""

    @property
    def figure(self):
        return getattr(self.value, "median", self.value)

    @property
    def met(self):
        return RELATIONS[self.relation](self.figure, self.limit)

    @property
    def verdict(self):
        return "met" if self.met else "NOT MET"

    def row(self):
        figure = f"{self.value:.2f}" if isinstance(self.value, (int, float)) else str(self.value)
        return [self.what, figure + self.unit, f"{self.relation} {self.limit:g}{self.unit}",
                self.verdict]

    def as_data(self):
        data = {"what": self.what, "value": self.figure, "relation": self.relation,
                "limit": self.limit, "unit": self.unit, "met": self.met}
        if self.figure is not self.value:
            data["quartiles"] = [self.value.low, self.value.high]
        return data


@dataclass
class Section:
    name: str
    title: str
    tables: list = field(default_factory=list)
    targets: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    data: dict = field(default_factory=dict)    # every sample, for the JSON file

    def target_table(self):
        return Table("Targets", ["target", "measured", "wanted", ""],
                     [target.row() for target in self.targets])

    def all_tables(self):
        return self.tables + ([self.target_table()] if self.targets else [])


def text_table(table):
    rows = ([table.columns] if any(table.columns) else []) + table.rows
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.ljust(width) if table.left else cell.rjust(width)
                  for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    head = [lines.pop(0), rule] if any(table.columns) else []
    return "\n".join([table.title, rule, *head, *lines, ""])


def markdown_table(table):
    lines = [f"**{table.title}**", "", "| " + " | ".join(table.columns) + " |",
             "|---" + ("|---" if table.left else "|--:") * (len(table.columns) - 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    return "\n".join(lines) + "\n"


def as_text(section):
    parts = [f"=== {section.title}", ""]
    parts += [text_table(table) for table in section.all_tables()]
    parts += [f"* {note}" for note in section.notes]
    return "\n".join(parts)


def machine_table(machine):
    return Table("Machine and run", ["", ""], [[key, str(value)] for key, value in machine.items()],
                 left=True)


def as_markdown(machine, sections, plots):
    parts = ["# Benchmark results", "", markdown_table(machine_table(machine))]
    for section in sections:
        parts += [f"## {section.title}", ""]
        parts += [f"![{section.title}]({plot})\n" for plot in plots.get(section.name, [])]
        parts += [markdown_table(table) for table in section.all_tables()]
        parts += [f"- {note}" for note in section.notes] + [""]
    return "\n".join(parts)


def as_json(machine, sections):
    return json.dumps({
        "machine": machine,
        "sections": {section.name: {
            "title": section.title,
            "targets": [target.as_data() for target in section.targets],
            "notes": section.notes,
            "data": section.data,
        } for section in sections},
    }, indent=1) + "\n"
