# SPDX-License-Identifier: BSD-3-Clause
"""Section growth: the cost of memory that was never used, and of memory used again."""

from . import machine, stats
from .report import Section, Table, Target
from .servers import Servers
from .warm import warm

SIDES = (Servers.OURS, "memory", "memory -t 1")
MIB = 2**20


def grow(servers, load, name, small, large):
    """Seconds until a fresh server has the first bytes, and until it has all."""
    with servers.start(name) as server:
        result = load.fill(server, large, mark=small)
    return {"small": result["mark_seconds"], "large": result["seconds"]}


def reuse(servers, load, name, amount):
    """Seconds to write a fresh server, to trim all of that, and to write it again at once."""
    with servers.start(name) as server:
        return {"fresh": load.fill(server, amount)["seconds"],
                "trim": load.trim(server, amount)["seconds"],
                "again": load.fill(server, amount, seed=2)["seconds"]}


def measure(servers, load, sides, settings, progress):
    samples = {name: {"grow": [], "reuse": []} for name in sides}
    for turn in range(settings.growth_rounds):
        for name in sides[turn % len(sides):] + sides[:turn % len(sides)]:
            progress(f"growth: round {turn + 1}/{settings.growth_rounds}, {name}")
            warm(settings.grow_large + 256 * MIB)
            samples[name]["grow"].append(
                grow(servers, load, name, settings.grow_small, settings.grow_large))
            samples[name]["reuse"].append(reuse(servers, load, name, settings.reuse))
    return samples


class Results:
    def __init__(self, samples):
        self.samples = samples

    def values(self, side, part, key):
        return [sample[key] for sample in self.samples[side][part]]

    def median(self, side, part, key):
        return stats.median(self.values(side, part, key))

    def inner(self, side, part, over, under):
        """A ratio of two times of the same side."""
        return stats.ratio(self.values(side, part, over), self.values(side, part, under))


def table_of(results, settings):
    small, large, again = (amount // MIB for amount in
                           (settings.grow_small, settings.grow_large, settings.reuse))
    columns = ["server", f"first {small} MiB, s", f"first {large} MiB, s", "ratio",
               "first touch, MiB/s", f"{again} MiB fresh, s", "trimmed, s", "written again, s",
               "fresh / again"]
    rows = []
    for side in results.samples:
        rows.append([
            side,
            f"{results.median(side, 'grow', 'small'):.3f}",
            f"{results.median(side, 'grow', 'large'):.3f}",
            str(results.inner(side, "grow", "large", "small")),
            f"{large / results.median(side, 'grow', 'large'):.0f}",
            f"{results.median(side, 'reuse', 'fresh'):.3f}",
            f"{results.median(side, 'reuse', 'trim'):.3f}",
            f"{results.median(side, 'reuse', 'again'):.3f}",
            str(results.inner(side, "reuse", "fresh", "again"))])
    return Table("Sequential writes of 256 KiB, depth 16 (medians)", columns, rows)


def targets_of(results, settings):
    ours = Servers.OURS
    small, large = settings.grow_small // MIB, settings.grow_large // MIB
    targets = [Target(f"time for {large} MiB over time for {small} MiB",
                      results.inner(ours, "grow", "large", "small"), "<=",
                      1.0625 * large / small)]
    for peer in SIDES[1:]:
        value = stats.ratio(results.values(peer, "grow", "large"),
                            results.values(ours, "grow", "large"))
        targets.append(Target(f"first touch, speed over {peer}", value, ">=", 1))
    targets.append(Target("writing trimmed space again, speed over first touch",
                          results.inner(ours, "reuse", "fresh", "again"), ">=", 3))
    return targets


def run(servers, load, settings, progress):
    section = Section("growth", "Growth: first touch and use again")
    if machine.available_memory() < 2 * settings.grow_large:
        section.notes.append("Left out: too little memory is available.")
        return section
    sides = [side for side in SIDES if side != Servers.OURS or servers.have_ours()]
    results = Results(measure(servers, load, sides, settings, progress))
    section.tables = [table_of(results, settings)]
    if servers.have_ours():
        section.targets = targets_of(results, settings)
    section.notes += [
        f"{settings.growth_rounds} rounds, a fresh server for each figure's start.",
        "Before each, a throwaway process touches as much memory, so that what is measured is "
        "this machine's page faults and not its host's.",
        "Both sides include the transport; section store measures the same without it.",
    ]
    section.data = results.samples
    return section
