# SPDX-License-Identifier: BSD-3-Clause
"""Section large: one large file written and read in requests of 1 MiB."""

from sectorbench.report import Section, Table

from .programs import MIB
from .rounds import Samples, in_rounds, times_as_fast
from .subjects import (EXT4, FUSE2FS, NTFS, OURS, PASSTHROUGH, PASSTHROUGH_CACHED, TUNED_NTFS,
                       Subjects)

NAMES = (OURS, NTFS, TUNED_NTFS, FUSE2FS, PASSTHROUGH, PASSTHROUGH_CACHED, EXT4)
# At 4 KiB a request it takes a while.
FEWER = {NTFS: 2}
STEPS = ("write", "write, fsync", "read, cold")
WANTED_NTFS, WANTED_PASSTHROUGH = 2, 0.8


def measure(subject, programs, amount, samples):
    """Rates in MiB/s."""
    mib = amount // MIB
    file = subject.path / "large"
    subject.fresh()
    for step, sync in (("write", 0), ("write, fsync", 1)):
        samples.add(subject.name, step,
                    mib / programs.measure("write", file, mib, sync)["seconds"])
        if step == "write":
            file.unlink()
            subject.remount()           # nothing of the first is under way any more
    samples.add(subject.name, "read, cold", mib / programs.measure("read", file)["seconds"])
    subject.unmount()
    subject.discard()


def table_of(samples, amount):
    rows = [[step, *(samples.text(subject, step, "{:,.0f}") for subject in samples.subjects())]
            for step in STEPS]
    return Table(f"{amount // MIB} MiB: MiB/s (medians)", ["", *samples.subjects()], rows)


def ratio_table(samples):
    peers = [name for name in samples.subjects() if name != OURS]
    return Table(f"{OURS}: how many times as fast as", ["", *peers],
                 [[step, *(samples.ratio_text(OURS, peer, step) for peer in peers)]
                  for step in STEPS])


def targets_of(samples):
    return [target for step in STEPS for target in (
        *times_as_fast(samples, OURS, (NTFS, TUNED_NTFS), step, WANTED_NTFS, step, False),
        *times_as_fast(samples, OURS, (PASSTHROUGH, PASSTHROUGH_CACHED), step, WANTED_PASSTHROUGH,
                       step, False))]


def run_section(programs, settings, folder, progress):
    section = Section("large", "A large file")
    samples = Samples(NAMES)
    with Subjects(NAMES, folder, settings.large * 5 // 2 + 512 * MIB, programs) as subjects:
        in_rounds(subjects, settings.large_rounds, progress, "large",
                  lambda subject: measure(subject, programs, settings.large, samples), FEWER)
    section.tables = [table_of(samples, settings.large)]
    if samples.has(OURS, "write"):
        section.tables.append(ratio_table(samples))
    section.targets = targets_of(samples)
    section.notes = [
        f"{settings.large_rounds} rounds, each on a file system made anew; write(2) of 1 MiB. "
        "'write' ends with close(2), 'write, fsync' with fsync(2). Before the cold read the "
        "file's pages were dropped.",
        "passthrough: libfuse's passthrough_ll over tmpfs; 'writeback' with -o "
        "writeback,cache=always. ntfs-3g tuned: -o big_writes,noatime; without, it takes 4 KiB in "
        "a request, and has two rounds.", *subjects.notes()]
    section.data = {"rates": samples.values}
    return section
