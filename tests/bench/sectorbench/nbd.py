# SPDX-License-Identifier: BSD-3-Clause
"""Section nbd: requests per second over NBD, against the ceiling and the peers."""

import contextlib
import random
from dataclasses import dataclass

from . import machine, stats
from .report import Section, Table, Target
from .servers import Servers, why_absent

NULL = ("null", "null -t 1")
FLAT = "memory malloc -t 1"             # a bare copy from and to one array: what any disk must do
MEMORY = ("memory", "memory -t 1", "memory malloc", FLAT)
SLOW = ("memory zstd",)
SIDES = (Servers.OURS, *MEMORY, *SLOW, *NULL, "file tmpfs", "qemu-nbd tmpfs")
HOLDS_ALL = ("memory malloc", FLAT, "file tmpfs", "qemu-nbd tmpfs")  # as big as what is populated
KEEPS_NOTHING = NULL


@dataclass(frozen=True)
class Case:
    op: str
    block: int                          # KiB
    connections: int
    depth: int

    @property
    def kind(self):
        return f"{self.block} KiB {'random' if self.block == 4 else 'sequential'} {self.op}"

    @property
    def name(self):
        return f"{self.kind}, {self.connections} conn., depth {self.depth}"

    def options(self, settings, seed):
        return {"op": self.op, "block": f"{self.block}K", "connections": self.connections,
                "pattern": "random" if self.block == 4 else "sequential", "depth": self.depth,
                "seconds": settings.seconds, "range": settings.populate, "seed": seed}


def all_cases(depths):
    return [Case(op, block, connections, depth) for depth in depths for connections in (1, 2)
            for block in (4, 256) for op in ("read", "write")]


def for_slow(case):
    """The slow peers are measured only at one setting."""
    return case.connections == 1 and case.depth == 16


def fitting(populate, storing):
    """The amount to populate, halved until all who store it leave half the memory free."""
    while populate > 2**26 and populate * storing > machine.available_memory() / 2:
        populate //= 2
    return populate


def choose_sides(servers, settings, notes):
    sides = []
    for name in SIDES:
        if name == Servers.OURS and not servers.have_ours():
            notes.append("sectors is not built: peers only.")
        elif settings.quick and name in SLOW:
            notes.append(f"{name} is left out of a quick run.")
        elif reason := why_absent(name, settings.populate):
            notes.append(f"{name} is left out: {reason}.")
        else:
            sides.append(name)
    return sides


def measure(sides, cases, load, settings, progress):
    """samples[side][case] = one result per round.  Within a round all sides run a case one
    right after the other, in an order drawn anew each time."""
    samples = {name: {case: [] for case in cases if name not in SLOW or for_slow(case)}
               for name in sides}
    names, draw = list(sides), random.Random(1)
    for turn in range(settings.rounds):
        for number, case in enumerate(cases):
            progress(f"nbd: round {turn + 1}/{settings.rounds}, case {number + 1}/{len(cases)}")
            draw.shuffle(names)
            for name in names:
                if case in samples[name]:
                    result = load(sides[name], **case.options(settings, turn + 1))
                    samples[name][case].append(result)
    return samples


class Results:
    """Medians, the best settings, and ratios of the samples."""

    def __init__(self, samples):
        self.samples = samples

    def values(self, side, case, key="iops"):
        return [result[key] for result in self.samples[side].get(case, [])]

    def median(self, side, case, key="iops"):
        return stats.median(self.values(side, case, key))

    def best(self, sides, case):
        """Of these sides, the one with the highest median."""
        return max((side for side in sides if side in self.samples),
                   key=lambda side: self.median(side, case))

    def ratio(self, side, peer, case):
        return stats.ratio(self.values(side, case), self.values(peer, case))

    def to_null(self, side, case):
        return self.ratio(side, self.best(NULL, case), case)


def table_of(results, sides, cases, title, key, unit):
    def cell(side, case):
        measured = case in results.samples[side]
        return f"{results.median(side, case, key) / unit:.1f}" if measured else ""
    return Table(title, ["case", *sides],
                 [[case.name, *(cell(side, case) for side in sides)] for case in cases])


def ratio_table(results, cases):
    rows = []
    for case in cases:
        peers = (results.best(NULL, case), "memory", results.best(MEMORY, case))
        ratios = [results.ratio(Servers.OURS, peer, case) for peer in peers]
        rows.append([case.name, f"{ratios[0]} {peers[0]}", str(ratios[1]),
                     f"{ratios[2]} {peers[2]}"])
    return Table("sectors as a ratio to (median of the rounds' ratios, quartiles)",
                 ["case", "null at its best", "memory", "memory at its best"], rows)


def targets_of(results, cases):
    targets = []
    for case in cases:
        def add(peer_name, peer, limit, at=case):
            targets.append(Target(f"{at.name}: of {peer_name}",
                                  results.ratio(Servers.OURS, peer, at), ">=", limit))
        null = results.best(NULL, case)
        if case.block == 4:
            add("null at its best", null, 0.95 if case.op == "read" else 0.9)
            if case.op == "write" and case.connections == 2:
                add("memory at its defaults", "memory", 1.5)
        else:
            add("null at its best", null, 0.75)
            add("memory at its best", results.best(MEMORY, case), 1.1)
    return targets


def raw(samples):
    return {side: {case.name: results for case, results in by_case.items()}
            for side, by_case in samples.items()}


def run(servers, load, settings, progress):
    section = Section("nbd", "Requests over NBD")
    settings.populate = fitting(settings.populate, len(SIDES) - len(NULL))
    names = choose_sides(servers, settings, section.notes)
    cases = all_cases((16,) if settings.quick else (16, 1))
    with contextlib.ExitStack() as stack:
        sides = {}
        for name in names:
            progress(f"nbd: starting {name}")
            size = settings.populate if name in HOLDS_ALL else "1T"
            sides[name] = stack.enter_context(servers.start(name, size))
            if name not in KEEPS_NOTHING:
                load.fill(sides[name], settings.populate)
        samples = measure(sides, cases, load, settings, progress)

    results = Results(samples)
    section.tables = [
        table_of(results, names, cases, "Thousand requests per second (medians)", "iops", 1000),
        table_of(results, names, cases, "Server's processor time per request, µs (medians)",
                 "server_us", 1),
        table_of(results, names, cases, "Latency, 99th percentile, µs (medians)", "p99_us", 1),
    ]
    section.notes += [
        f"{settings.rounds} rounds of {settings.seconds:g} s per case and server, interleaved; "
        f"{settings.populate // 2**20} MiB of random data written before.",
        "null stores nothing: it is the ceiling that nbdkit and the client set.",
    ]
    if Servers.OURS in names:
        section.tables.insert(1, ratio_table(results, cases))
        section.targets = targets_of(results, cases)
    section.data = {"populated_bytes": settings.populate, "seconds": settings.seconds,
                    "samples": raw(samples)}
    return section, results
