# SPDX-License-Identifier: BSD-3-Clause
"""Section growth: cost and memory as a directory grows."""

from sectorbench import machine, stats
from sectorbench.report import Section, Table, Target
from sectorbench.warm import warm

from .programs import MIB

# Sizes of cache and dirty limit in MiB; the default dirty limit is 64.
OPTIONS = {"in memory": (16384, 16384), "cache 32 MiB": (32, 64)}
OPERATIONS = ("create", "lookup", "unlink")
BYTES_PER_FILE = 900                    # of memory, device included, generously
PHASES = ("create", "list", "lookup")
CACHE, DIRTY = 32, 8                    # MiB, of the memory measurement
# What the process may take over the cache: code and tables, a list of what is free.
CONSTANT = 16                           # MiB


def largest_for(settings, options):
    """As many files as memory has room for."""
    largest = settings.growth_largest
    copies = 2 if options == "in memory" else 1
    while largest > 1000 and machine.available_memory() < copies * BYTES_PER_FILE * largest:
        largest //= 10
    return largest


def measure(programs, settings, folder, progress):
    samples = {options: [] for options in OPTIONS}
    for turn in range(settings.growth_rounds):
        for options in OPTIONS:
            progress(f"growth: round {turn + 1}/{settings.growth_rounds}, {options}")
            largest = largest_for(settings, options)
            warm(min(BYTES_PER_FILE * largest, machine.available_memory() // 2))
            samples[options].append(programs.load("growth", largest, *OPTIONS[options],
                                                  folder)["sizes"])
    return samples


class Results:
    def __init__(self, samples):
        self.samples = samples
        self.sizes = {options: [size["size"] for size in min(rounds, key=len)]
                      for options, rounds in samples.items()}

    def cost(self, options, i, operation, side):
        """Microseconds of each round at the i-th size."""
        return [sizes[i][operation][side] / sizes[i]["operations"] * 1e6
                for sizes in self.samples[options]]

    def growth(self, options, operation, side, first=0):
        """How many times the cost at a size is that at the largest, by round."""
        last = len(self.sizes[options]) - 1
        return [b / a for a, b in zip(self.cost(options, first, operation, side),
                                      self.cost(options, last, operation, side))]

    def median(self, options, i, key):
        return stats.median([sizes[i][key] for sizes in self.samples[options]])


def cost_table(results, options):
    rows = []
    for i, size in enumerate(results.sizes[options]):
        row = [f"{size:,}", f"{results.median(options, i, 'depth'):.0f}"]
        for operation in OPERATIONS:
            row += [f"{stats.median(results.cost(options, i, operation, side)):.2f}"
                    for side in ("casefs", "lmdb")]
        operations = results.median(options, i, "operations")
        row += [f"{results.median(options, i, 'reads') / operations:.2f}",
                f"{results.median(options, i, 'cached') / MIB:.0f}"]
        rows.append(row)
    columns = ["files", "depth"]
    for operation in OPERATIONS:
        columns += [f"{operation}, µs", "LMDB"]
    cache, dirty = OPTIONS[options]
    return Table(f"{options}: cache_size {cache} MiB, dirty_limit {dirty} MiB (medians)",
                 [*columns, "nodes read per lookup", "cached, MiB"], rows)


def growth_table(results):
    rows = []
    for options, sizes in results.sizes.items():
        for operation in OPERATIONS:
            rows.append([f"{operation}, {options}, {sizes[0]:,} to {sizes[-1]:,}",
                         *(f"{stats.of_rounds(results.growth(options, operation, side))}"
                           for side in ("casefs", "lmdb"))])
    return Table("Cost at the largest size over that at the smallest",
                 ["", "casefs", "LMDB"], rows)


def targets_of(results):
    """Linear growth would be 10 per tenfold size, growth as the logarithm less than 1.34; caches of
    the processor that get too small come on top, for LMDB too."""
    options = "in memory"
    sizes = results.sizes[options]
    return [Target(f"{operation}, in memory: growth from {sizes[0]:,} to {sizes[-1]:,} files over "
                   "LMDB's",
                   stats.ratio(results.growth(options, operation, "casefs"),
                               results.growth(options, operation, "lmdb")), "<=", 1.5)
            for operation in OPERATIONS]


# ----------------------------------------------------------------------- memory

def measure_memory(programs, settings, folder, progress):
    samples = {}
    image = folder / "memory.img"
    for phase in PHASES:
        progress(f"growth: memory, {phase}")
        samples[phase] = programs.load("memory", phase, image, settings.memory_files, CACHE, DIRTY)
    image.unlink()
    return samples


def memory_table(samples, count):
    rows = [[phase, *(f"{sample[key] / MIB:.1f}" for key in ("base", "peak")),
             f"{(sample['peak'] - sample['base']) / MIB:.1f}",
             *(f"{sample[key] / MIB:.1f}" for key in ("cached", "dirty"))]
            for phase, sample in samples.items()]
    return Table(f"Memory of the process with cache_size {CACHE} MiB and dirty_limit {DIRTY} MiB, "
                 f"{count:,} files in random order on a file in tmpfs, MiB",
                 ["", "resident when opened", "at its peak", "more", "statistics: cached, at most",
                  "dirty, at most"], rows)


def memory_targets(samples):
    targets = []
    for phase, sample in samples.items():
        # While it changes: the dirty nodes are copied to be written, and go on being changed.
        dirty = 3 * DIRTY if phase == "create" else 0
        text = f"cache_size + 3 × dirty_limit + {CONSTANT}" if dirty else f"cache_size + {CONSTANT}"
        targets.append(Target(f"memory over {text} MiB, {phase}",
                              (sample["peak"] - sample["base"]) / MIB - CACHE - dirty - CONSTANT,
                              "<=", 0, " MiB"))
    return targets


def run(programs, settings, folder, progress):
    section = Section("growth", "Growth: a directory from a thousand files on")
    results = Results(measure(programs, settings, folder, progress))
    memory = measure_memory(programs, settings, folder, progress)
    section.tables = [*(cost_table(results, options) for options in OPTIONS),
                      growth_table(results), memory_table(memory, settings.memory_files)]
    section.targets = targets_of(results) + memory_targets(memory)
    section.notes += [
        f"{settings.growth_rounds} rounds. At each size both sides, by turns, make and remove "
        "20,000 files at random places of an insensitive directory in memory, and look up 20,000 "
        "of those that stay, by another spelling: a tenth of the size at a time, at most.",
        "LMDB: a write transaction for each turn, with MDB_NOSYNC.",
        "Memory: three processes, one after the other; the volume's own bytes are not theirs.",
    ]
    section.data = {"cost": results.samples, "memory": memory}
    return section
