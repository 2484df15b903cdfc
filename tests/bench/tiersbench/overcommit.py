# SPDX-License-Identifier: BSD-3-Clause
"""Section overcommit: random writes over ten times the memory, as time goes on."""

from sectorbench import stats
from sectorbench.report import Section, Table, Target

from .tools import MIB, fio_direct, grown, statistics

TIMES = 10                              # as much disk as memory
TENTHS = 10
NO_COLLAPSE = 0.5


def write_tenths(place, load, settings, progress, turn):
    """One server; each tenth writes half of what memory holds, at other random places."""
    tenths = []
    place.settle()
    with place.serve("overcommit", TIMES * settings.limit, f"memory-limit={settings.limit}",
                     f"spill={place.disk}") as server:
        for tenth in range(TENTHS):
            progress(f"overcommit: round {turn + 1}/{settings.overcommit_rounds}, "
                     f"tenth {tenth + 1}/{TENTHS}")
            before = statistics(server)
            result = load(server, op="write", pattern="random", block="4K", depth=16,
                          bytes=settings.overcommit_amount // TENTHS, seed=TENTHS * turn + tenth + 1)
            moved = grown(statistics(server), before, "throttle_ns", "swapped_out", "out_requests")
            tenths.append({"iops": result["iops"], "p99_us": result["p99_us"], **moved})
        rss = server.rss()
    return {"tenths": tenths, "rss": rss}


def store_alone(place, settings):
    """What the file system below does with such writes, into a file that is not there yet."""
    path = place.file("fio")
    with open(path, "wb") as file:
        file.truncate(TIMES * settings.limit)
    place.settle()
    rate = fio_direct(path, TIMES * settings.limit, "randwrite", settings.overcommit_seconds)
    place.remove("fio")
    return rate


def table_of(rounds, alone):
    rows = []
    for tenth in range(TENTHS):
        def of(key, its=tenth):
            return [samples["tenths"][its][key] for samples in rounds]
        written = stats.median(of("swapped_out"))
        requests = stats.median(of("out_requests"))
        rows.append([f"{tenth + 1}", f"{stats.median(of('iops')) / 1000:.1f}",
                     str(stats.ratio(of("iops"), alone)), f"{stats.median(of('p99_us')) / 1000:.1f}",
                     f"{stats.median(of('throttle_ns')) / 1e9:.2f}", f"{written / MIB:.0f}",
                     f"{written / requests / 1024:.0f}" if requests else ""])
    return Table("Random writes of 4 KiB over 10 times the memory limit, tenth by tenth (medians)",
                 ["tenth", "thousand/s", "of the store alone", "p99, ms", "waited, s",
                  "spilled, MiB", "KiB each"], rows)


def run(place, load, settings, progress):
    section = Section("overcommit", "Ten times as much data as memory")
    rounds, alone = [], []
    for turn in range(settings.overcommit_rounds):
        alone.append(store_alone(place, settings))
        rounds.append(write_tenths(place, load, settings, progress, turn))
    section.tables = [table_of(rounds, alone)]
    worst = [min(tenth["iops"] for tenth in samples["tenths"]) for samples in rounds]
    section.targets = [Target("the slowest tenth: of the store alone", stats.ratio(worst, alone),
                              ">=", NO_COLLAPSE)]
    section.notes += [
        f"memory-limit={settings.limit // MIB}M, {settings.overcommit_rounds} rounds, "
        f"{settings.overcommit_amount // MIB} MiB written in each; one connection, depth 16.",
        "The store alone: fio --direct=1 --iodepth=16 into a sparse file of that size, "
        f"{stats.median(alone) / 1000:.1f} thousand writes per second.",
        f"Most memory of a server: {max(samples['rss'] for samples in rounds) / MIB:.0f} MiB.",
    ]
    section.data = {"rounds": rounds, "alone": alone}
    return section
