# SPDX-License-Identifier: BSD-3-Clause
"""Section nodes: files by the million in one directory, in process, against LMDB."""

import random

from sectorbench import stats
from sectorbench.report import Section, Table, Target
from sectorbench.warm import warm

CASES = ("insensitive", "sensitive")
ORDERS = ("random", "sequential")
# Sizes of cache and dirty limit in MiB; 0: the default.
OPTIONS = {"default": (0, 0), "in memory": (4096, 4096)}
OPERATIONS = ("create", "lookup", "unlink")
PEER = {"create": "put", "lookup": "get", "unlink": "del"}
WANTED = 0.3


def variants():
    return [(options, case, order) for options in OPTIONS for case in CASES for order in ORDERS]


def measure(programs, settings, folder, progress):
    samples = {variant: [] for variant in variants()}
    for turn in range(settings.rounds):
        order = variants()
        random.shuffle(order)
        for variant in order:
            progress(f"nodes: round {turn + 1}/{settings.rounds}, {', '.join(variant)}")
            options, case, names = variant
            warm(settings.nodes * 1024)
            samples[variant].append(programs.load("nodes", settings.nodes, case, names,
                                                  *OPTIONS[options], folder))
    return samples


class Results:
    def __init__(self, samples, count):
        self.samples, self.count = samples, count

    def rate(self, variant, operation, side):
        """Median, in thousands each second."""
        return stats.median([self.count / sample[operation][side] / 1000
                             for sample in self.samples[variant]])

    def ratio(self, variant, operation):
        """Speed of casefs over LMDB's."""
        return stats.ratio([sample[operation]["lmdb"] for sample in self.samples[variant]],
                           [sample[operation]["casefs"] for sample in self.samples[variant]])

    def median(self, variant, key):
        return stats.median([sample[key] for sample in self.samples[variant]])


def table_of(results, options):
    rows = []
    for variant in results.samples:
        if variant[0] != options:
            continue
        for operation in OPERATIONS:
            rows.append([f"{operation}, {variant[1]}, {variant[2]}",
                         *(f"{results.rate(variant, operation, side):.0f}"
                           for side in ("casefs", "lmdb")),
                         str(results.ratio(variant, operation)), PEER[operation]])
        for key, text in (("list", "list names"), ("list_attributes", "list with attributes")):
            rows.append([f"{text}, {variant[1]}, {variant[2]}",
                         *(f"{results.rate(variant, key, side):.0f}"
                           for side in ("casefs", "lmdb")),
                         str(results.ratio(variant, key)), "cursor"])
    cache, dirty = OPTIONS[options]
    title = (f"cache_size {cache} MiB, dirty_limit {dirty} MiB: everything stays in memory" if cache
             else "default options: cache_size 64 MiB, dirty_limit 64 MiB")
    return Table(f"{results.count:,} files in one directory, {title}; thousands each second "
                 "(medians)", ["", "casefs", "LMDB", "casefs over LMDB", "its call"], rows)


def size_table(results):
    rows = [[", ".join(variant), f"{results.median(variant, 'commits'):.0f}",
             f"{results.median(variant, 'written') / results.count:.0f}",
             f"{results.median(variant, 'volume') / results.count:.0f}",
             f"{results.median(variant, 'depth'):.0f}"] for variant in results.samples]
    return Table("After creating them", ["", "commits", "bytes written per file",
                                         "bytes of the volume per file", "depth of the tree"], rows)


def targets_of(results):
    return [Target(f"{operation}, {variant[1]}, {variant[2]}, {variant[0]}: over LMDB's "
                   f"{PEER[operation]}", results.ratio(variant, operation), ">=", WANTED)
            for variant in results.samples for operation in ("create", "lookup")]


def run(programs, settings, folder, progress):
    section = Section("nodes", "Nodes: files by the million, in process")
    results = Results(measure(programs, settings, folder, progress), settings.nodes)
    section.tables = [*(table_of(results, options) for options in OPTIONS), size_table(results)]
    section.targets = targets_of(results)
    section.notes += [
        f"{settings.rounds} rounds, each a fresh process, in which both sides take turns in 50 "
        "slices, with the same names of 17 bytes in the same order; one thread.",
        "casefs works on a device in memory; every file is made with casefs_create (an entry, a "
        "node and a link back), looked up with casefs_lookup (its attributes, so two searches) "
        "by another spelling in insensitive directories, and removed with casefs_unlink. "
        "casefs_sync at the end is included.",
        "LMDB has 8 bytes under each name, in one write transaction whose commit is included "
        f"(MDB_NOSYNC, in {folder.parent}); its whole file is mapped, so that it compares with "
        "'in memory'. With the default options the volume is larger than the cache: nodes are "
        "written by commits, dropped, read again and checked.",
    ]
    section.data = {", ".join(variant): samples for variant, samples in results.samples.items()}
    return section
