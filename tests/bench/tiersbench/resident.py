# SPDX-License-Identifier: BSD-3-Clause
"""Section resident: whether data in memory is as fast as it was before there were tiers."""

import contextlib
import random

from sectorbench import stats
from sectorbench.nbd import Case
from sectorbench.report import Section, Table, Target

from .tools import build_of_commit

BEFORE, NOW, SPILL = "before tiers", "now", "now, spill="
SIDES = (BEFORE, NOW, SPILL)
CASES = [Case(op, block, 1, 16) for block in (4, 256) for op in ("read", "write")]
AS_FAST = 0.97


def start(place, side, plugin, settings):
    """All data fits, also below the watermarks."""
    if side == SPILL:
        return place.serve(side, "1T", f"memory-limit={2 * settings.populate}",
                           f"spill={place.disk}")
    return place.serve(side, "1T", plugin=plugin if side == BEFORE else None)


def measure(servers, load, settings, progress):
    """samples[side][case] = one result per round, taken one right after the other."""
    samples = {side: {case: [] for case in CASES} for side in SIDES}
    names, draw = list(SIDES), random.Random(1)
    for turn in range(settings.resident_rounds):
        for case in CASES:
            progress(f"resident: round {turn + 1}/{settings.resident_rounds}, {case.kind}")
            draw.shuffle(names)
            for name in names:
                samples[name][case].append(load(servers[name], **case.options(settings, turn + 1)))
    return samples


def values(samples, side, case, key="iops"):
    return [result[key] for result in samples[side][case]]


def ratio(samples, side, case):
    return stats.ratio(values(samples, side, case), values(samples, BEFORE, case))


def table_of(samples):
    rows = []
    for case in CASES:
        rows.append([case.kind,
                     *(f"{stats.median(values(samples, side, case)) / 1000:.1f}" for side in SIDES),
                     *(str(ratio(samples, side, case)) for side in SIDES[1:]),
                     *(f"{stats.median(values(samples, side, case, 'server_us')):.2f}"
                       for side in SIDES)])
    return Table("Thousand requests per second, one connection, depth 16 (medians; ratios to before; "
                 "server's processor time per request, µs)",
                 ["", *SIDES, NOW, SPILL, *(f"µs {side}" for side in SIDES)], rows)


def run(place, load, settings, progress):
    section = Section("resident", "Data in memory, before and after tiers")
    progress(f"resident: building {settings.before}")
    plugin = build_of_commit(settings.before, settings.cache)
    with contextlib.ExitStack() as stack:
        servers = {side: stack.enter_context(start(place, side, plugin, settings))
                   for side in SIDES}
        for server in servers.values():
            load.fill(server, settings.populate)
        samples = measure(servers, load, settings, progress)
    section.tables = [table_of(samples)]
    for case in CASES:
        for side in SIDES[1:]:
            section.targets.append(Target(f"{case.kind}, {side}: of {BEFORE}",
                                          ratio(samples, side, case), ">=", AS_FAST))
    section.notes += [
        f"{settings.resident_rounds} rounds of {settings.seconds:g} s, interleaved, on "
        f"{settings.populate // 2**20} MiB of random data in each server.",
        f"{BEFORE}: commit {settings.before}, a Release build made by this run.",
    ]
    section.data = {side: {case.kind: results for case, results in by_case.items()}
                    for side, by_case in samples.items()}
    return section
