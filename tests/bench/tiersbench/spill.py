# SPDX-License-Identifier: BSD-3-Clause
"""Section spill: more data than memory, against the disk it goes to."""

from sectorbench import stats
from sectorbench.report import Section, Table, Target

from .tools import MIB, Material, dd_direct, fio_direct, grown, mib_s, statistics

TIMES = 4                               # as much data as memory
OF_DISK = 0.8
PARALLEL, CONNECTIONS = "parallel, 1 connection, depth 16", "default, 16 connections, depth 1"
NULL = "nbdkit null, "                  # stores nothing: what nbdkit and the client cost by themselves
READERS = {PARALLEL: {"connections": 1, "depth": 16}, CONNECTIONS: {"connections": 16, "depth": 1}}


def serve(place, settings, *parameters):
    return place.serve("spill", "1T", f"memory-limit={settings.limit}", f"spill={place.disk}",
                       *parameters)


def write(place, load, settings):
    """Bytes per second, of all and of what comes after memory was full once."""
    amount = TIMES * settings.limit
    place.settle()
    with serve(place, settings) as server:
        result = load(server, op="write", pattern="sequential", block="256K", depth=16,
                      range=amount, bytes=amount, mark=settings.limit)
        rss = server.rss()
    rest = (amount - settings.limit) / (result["seconds"] - result["mark_seconds"])
    return {"all": amount / result["seconds"], "rest": rest, "rss": rss}


def measure_writes(place, load, settings, progress):
    samples = {"dd": [], "ours": []}
    with Material(min(TIMES * settings.limit, 512 * MIB)) as material:
        for turn in range(settings.spill_rounds):
            progress(f"spill: writing, round {turn + 1}/{settings.spill_rounds}")
            for side in ("dd", "ours") if turn % 2 == 0 else ("ours", "dd"):
                if side == "ours":
                    samples[side].append(write(place, load, settings))
                    continue
                place.settle()
                samples[side].append(dd_direct(place.file("dd"), TIMES * settings.limit, material))
                place.remove("dd")
    return samples


def read(server, load, settings, seed, reader):
    """Requests per second at random places, and what part of them memory had."""
    before = statistics(server)
    result = load(server, op="read", pattern="random", block="4K", seconds=settings.read_seconds,
                  range=TIMES * settings.limit, seed=seed, **READERS[reader])
    moved = grown(statistics(server), before, "hits", "misses")
    looked = moved["hits"] + moved["misses"]
    return {"iops": result["iops"], "hits": moved["hits"] / looked if looked else 0,
            "p99_us": result["p99_us"]}


def measure_reads(place, load, settings, progress):
    """Both servers and the file stay for all rounds; their data is of the same size."""
    amount = TIMES * settings.limit
    samples = {"fio": [], **{reader: [] for reader in READERS},
               **{NULL + reader: [] for reader in READERS}}
    progress("spill: filling")
    with Material(min(amount, 512 * MIB)) as material:
        dd_direct(place.file("fio"), amount, material)
    parallel = place.serve("spill parallel", "1T", f"memory-limit={settings.limit}",
                           f"spill={place.disk}", "thread-model=parallel")
    with parallel, serve(place, settings) as default, place.serve_null(amount) as null:
        servers = {PARALLEL: parallel, CONNECTIONS: default}
        for server in servers.values():
            load.fill(server, amount)
        place.settle()
        for turn in range(settings.spill_rounds):
            progress(f"spill: reading, round {turn + 1}/{settings.spill_rounds}")
            samples["fio"].append(fio_direct(place.file("fio"), amount, "randread",
                                             settings.read_seconds))
            for reader, server in servers.items():
                samples[reader].append(read(server, load, settings, turn + 1, reader))
                samples[NULL + reader].append(
                    load(null, op="read", pattern="random", block="4K", range=amount,
                         seconds=settings.read_seconds, **READERS[reader])["iops"])
    place.remove("fio")
    return samples


def write_table(samples):
    def of(key):
        return [sample[key] for sample in samples["ours"]]
    rows = [["dd oflag=direct bs=1M", mib_s(stats.median(samples["dd"])), ""],
            ["sectors, all of it", mib_s(stats.median(of("all"))),
             str(stats.ratio(of("all"), samples["dd"]))],
            ["sectors, after memory was full once", mib_s(stats.median(of("rest"))),
             str(stats.ratio(of("rest"), samples["dd"]))]]
    return Table("Sequential write of 4 times the memory limit, MiB/s (medians)",
                 ["", "MiB/s", "of dd"], rows)


def read_table(samples):
    rows = [["fio --direct=1 --iodepth=16", f"{stats.median(samples['fio']) / 1000:.1f}", "", "", "",
             ""]]
    for reader in READERS:
        def of(key, its=reader):
            return [sample[key] for sample in samples[its]]
        misses = [sample["iops"] * (1 - sample["hits"]) for sample in samples[reader]]
        rows.append([reader, f"{stats.median(of('iops')) / 1000:.1f}",
                     str(stats.ratio(of("iops"), samples["fio"])), f"{stats.median(of('hits')):.0%}",
                     str(stats.ratio(misses, samples["fio"])), f"{stats.median(of('p99_us')):.0f}"])
    for reader in READERS:
        rates = samples[NULL + reader]
        rows.append([NULL + reader, f"{stats.median(rates) / 1000:.1f}",
                     str(stats.ratio(rates, samples["fio"])), "", "", ""])
    return Table("Random reads of 4 KiB over 4 times the memory limit (medians)",
                 ["", "thousand/s", "of fio", "were in memory", "the others, of fio", "p99, µs"],
                 rows)


def run(place, load, settings, progress):
    section = Section("spill", "More data than memory: spill")
    writes = measure_writes(place, load, settings, progress)
    reads = measure_reads(place, load, settings, progress)
    section.tables = [write_table(writes), read_table(reads)]
    section.targets = [Target("sequential write: of dd",
                              stats.ratio([sample["all"] for sample in writes["ours"]],
                                          writes["dd"]), ">=", OF_DISK)]
    for reader in READERS:
        section.targets.append(
            Target(f"random read, {reader}: of fio",
                   stats.ratio([sample["iops"] for sample in reads[reader]], reads["fio"]), ">=",
                   OF_DISK))
    section.notes += [
        f"memory-limit={settings.limit // MIB}M, {settings.spill_rounds} rounds; dd and fio use files "
        f"of the same size in the same folder ({place.disk}).",
        f"Most memory the server had while {TIMES} times its limit were written: "
        f"{max(sample['rss'] for sample in writes['ours']) / MIB:.0f} MiB.",
    ]
    section.data = {"writes": writes, "reads": reads}
    return section
