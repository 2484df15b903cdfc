# SPDX-License-Identifier: BSD-3-Clause
"""Section commit: what it costs to make one small change durable."""

from sectorbench import stats
from sectorbench.report import Section, Table, Target

KINDS = ("chmod", "create", "append", "rename")
TEXT = {"append": "append 100 bytes"}
THREADS = 8


def bytes_table(sizes):
    rows = []
    for count, sample in sizes.items():
        for kind in KINDS:
            def median(key, changes=sample[kind]):
                return stats.median([change[key] for change in changes])
            rows.append([f"{TEXT.get(kind, kind)}, {count:,} files", f"{median('bytes'):,.0f}",
                         f"{median('written'):,.0f}", f"{median('writes'):.0f}",
                         f"{median('durable'):.0f}", f"{median('flushes'):.0f}",
                         f"{sample['depth']}"])
        rows.append([f"LMDB put, {count:,} keys", f"{stats.median(sample['lmdb']):,.0f}", "", "",
                     "", "", ""])
    return Table("One change and a sync: given to the device (medians)",
                 ["", "bytes", "by statistics", "writes", "of them durable", "flushes",
                  "depth of the tree"], rows)


class Syncs:
    """Rates by turn."""

    def __init__(self, samples):
        self._turns = [turn for sample in samples for turn in sample["turns"]]

    def values(self, key):
        return [turn[key] for turn in self._turns]

    def ratio(self, over, under):
        return stats.ratio(self.values(over), self.values(under))

    def row(self, text, one, many):
        def commits(key):
            return (f"{stats.median(self.values(f'{key}_commits')):.2f}"
                    if f"{key}_commits" in self._turns[0] else "")
        return [text, f"{stats.median(self.values(one)):,.0f}",
                f"{stats.median(self.values(many)):,.0f}", str(self.ratio(many, one)),
                commits(one), commits(many)]


def syncs_table(syncs):
    return Table(f"Changes made durable each second, by 1 and by {THREADS} threads (medians)",
                 ["", "1 thread", f"{THREADS} threads", "ratio", "commits per sync, 1 thread",
                  f"{THREADS} threads"],
                 [syncs.row("casefs, a file on tmpfs", "one", "many"),
                  syncs.row("LMDB, a file on tmpfs", "lmdb_one", "lmdb_many"),
                  syncs.row("casefs, a flush takes 1 ms more", "slow_one", "slow_many")])


def run(programs, settings, folder, progress):
    section = Section("commit", "Commit: one small change made durable")
    sizes, syncs = {}, []
    for count in settings.commit_sizes:
        progress(f"commit: {count:,} files")
        sizes[count] = programs.load("commit", count, folder)
    for turn in range(settings.commit_rounds):
        progress(f"commit: syncs, round {turn + 1}/{settings.commit_rounds}")
        syncs.append(programs.load("syncs", folder / "syncs.img", folder, settings.sync_time,
                                   THREADS))
    rates = Syncs(syncs)
    section.tables = [bytes_table(sizes), syncs_table(rates)]
    section.targets = [
        # A commit waits twice, for the flush and for the superblock: the others share the next.
        Target(f"{THREADS} threads over 1, where a flush takes 1 ms more",
               rates.ratio("slow_many", "slow_one"), ">=", THREADS / 4)]
    section.notes += [
        "Bytes: 15 changes of each kind, each of another file, and a casefs_sync after each; a "
        "device in memory, around which another counts. Bytes by casefs_statistics leave out the "
        "superblock and its copy. LMDB: one put in its own transaction, by /proc/self/io.",
        f"Rates: {settings.commit_rounds} rounds of 4 turns; every thread changes the mode of a "
        "file of its own and syncs (LMDB: puts one key and commits). fdatasync costs nothing on "
        "tmpfs, so that threads gain little there; a slower medium is imitated by a device that "
        "waits 1 ms in every flush and durable write.",
    ]
    section.data = {"bytes": {str(count): sample for count, sample in sizes.items()},
                    "syncs": syncs}
    return section
