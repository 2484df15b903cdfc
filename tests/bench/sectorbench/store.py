# SPDX-License-Identifier: BSD-3-Clause
"""Section store: the store in process, against plain memory."""

import json
import subprocess

from . import stats
from .report import Section, Table, Target
from .warm import warm

MIB = 2**20
OPERATIONS = ("read", "write")
THREADS = ("1", "2", "16")


class StoreError(Exception):
    pass


def run_once(program, amount):
    done = subprocess.run([program, str(amount // MIB)], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        raise StoreError(f"storebench: {done.stderr.strip()} (status {done.returncode})")
    return json.loads(done.stdout)


def measure(program, settings, progress):
    samples = []
    for turn in range(settings.store_rounds):
        progress(f"store: round {turn + 1}/{settings.store_rounds}")
        warm(4 * settings.store_amount)
        samples.append(run_once(program, settings.store_amount))
    return samples


class Results:
    """The rounds' figures; a path such as 'read/store' names one."""

    def __init__(self, samples):
        self.samples = samples

    def values(self, path):
        def find(sample):
            for key in path.split("/"):
                sample = sample[key]
            return sample
        return [find(sample) for sample in self.samples]

    def median(self, path):
        return stats.median(self.values(path))

    def ratio(self, over, under):
        return stats.ratio(self.values(over), self.values(under))


def random_table(results):
    rows = []
    for operation in OPERATIONS:
        rates = [results.median(f"{operation}/{side}") for side in ("store", "plain", "plain_huge")]
        rows.append([f"4 KiB random {operation}", *(f"{1e6 / rate:.3f}" for rate in rates),
                     str(results.ratio(f"{operation}/store", f"{operation}/plain")),
                     str(results.ratio(f"{operation}/store", f"{operation}/plain_huge"))])
    return Table("Resident sectors, one thread, µs per operation (medians)",
                 ["", "store", "memcpy", "memcpy, huge pages", "speed over memcpy",
                  "over memcpy, huge pages"], rows)


def threads_table(results):
    rows = []
    for operation in OPERATIONS:
        for side in ("store", "plain"):
            rates = [f"{operation}_threads/{count}/{side}" for count in THREADS]
            rows.append([f"4 KiB random {operation}, {side}",
                         *(f"{results.median(rate) / 1e6:.2f}" for rate in rates),
                         str(results.ratio(rates[1], rates[0])),
                         str(results.ratio(rates[2], rates[1]))])
    return Table("Threads on one volume, million operations per second (medians)",
                 ["", *(f"{count} thread{'s' if count != '1' else ''}" for count in THREADS),
                  "2 over 1", "16 over 2"], rows)


def fill_table(results, amount):
    def seconds(path):
        return f"{results.median(path):.3f}"
    rows = [["first touch, s", seconds("fill/fresh"), seconds("fill/plain_fresh")],
            ["trimmed, s", seconds("trim_data"), ""],
            ["written again at once, s", seconds("fill/again"), seconds("fill/plain_again")],
            ["1 TiB of holes trimmed, µs", f"{results.median('trim_holes') * 1e6:.1f}", ""]]
    return Table(f"{amount // MIB} MiB in sequential 256 KiB (medians)",
                 ["", "store", "memcpy"], rows)


def targets_of(results):
    targets = []
    for operation in OPERATIONS:
        threads = f"{operation}_threads"
        targets += [
            Target(f"4 KiB random {operation}, speed over memcpy",
                   results.ratio(f"{operation}/store", f"{operation}/plain"), ">=", 0.8),
            Target(f"4 KiB random {operation}, 2 threads over 1",
                   results.ratio(f"{threads}/2/store", f"{threads}/1/store"), ">=", 1.7),
            Target(f"4 KiB random {operation}, 16 threads over 2",
                   results.ratio(f"{threads}/16/store", f"{threads}/2/store"), ">=", 0.8),
        ]
    targets.append(Target("writing trimmed memory again, speed over first touch",
                          results.ratio("fill/fresh", "fill/again"), ">=", 3))
    return targets


def run(build, settings, progress):
    section = Section("store", "The store in process")
    if build.storebench is None:
        section.notes.append("Left out: storebench is not built.")
        return section
    samples = measure(build.storebench, settings, progress)
    results = Results(samples)
    section.tables = [random_table(results), threads_table(results),
                      fill_table(results, settings.store_amount)]
    section.targets = targets_of(results)
    section.notes += [
        f"{settings.store_rounds} rounds, each a fresh process; store and plain memory take turns "
        "and touch the same sectors in the same order.",
        "Plain memory is a mapping of as many bytes with 4 KiB pages; the column beside it has "
        "huge pages. Where plain memory itself does not gain from a second thread, the machine was "
        "busy.",
    ]
    section.data = {"samples": samples}
    return section
