# SPDX-License-Identifier: BSD-3-Clause
"""Section small: small files made, read, looked at, unlinked; by one process and by four."""

from sectorbench.report import Section, Table

from .programs import GIB
from .rounds import Samples, in_rounds, times_as_fast
from .subjects import (EXT4, FUSE2FS, OURS, OURS_INSENSITIVE, PASSTHROUGH,
                       PASSTHROUGH_CACHED, TUNED_NTFS, Subjects)

NAMES = (OURS, OURS_INSENSITIVE, PASSTHROUGH, PASSTHROUGH_CACHED, TUNED_NTFS, FUSE2FS, EXT4)
STEPS = ("create", "read", "stat", "unlink")
SIZES = (100, 4096)
PROCESSES = (1, 4)
FILES = 500                             # in a batch
WANTED = 0.7


def key_of(step, size, processes):
    return f"{step}, {size} bytes, {processes} process{'es' if processes > 1 else ''}"


def cases():
    return [(step, size, processes) for processes in PROCESSES for size in SIZES
            for step in STEPS]


def measure(subject, programs, batches, samples):
    subject.fresh()
    for processes in PROCESSES:
        for size in SIZES:
            rates = programs.measure("small", subject.path, processes,
                                     max(batches // processes, 1), FILES, size)
            for step in STEPS:
                samples.add(subject.name, key_of(step, size, processes), rates[step])
    subject.unmount()
    subject.discard()


def table_of(samples):
    keys = [key_of(*case) for case in cases()]
    return Table("Files per second, thousands (medians)", ["", *samples.subjects()],
                 [[key, *("" if not samples.has(subject, key) else
                          f"{float(samples.text(subject, key)) / 1000:.1f}"
                          for subject in samples.subjects())] for key in keys])


def ratio_table(samples, ours):
    peers = [name for name in samples.subjects() if name not in (OURS, OURS_INSENSITIVE)]
    keys = [key_of(*case) for case in cases()]
    return Table(f"{ours}: how many times as fast as", ["", *peers],
                 [[key, *(samples.ratio_text(ours, peer, key) for peer in peers)]
                  for key in keys])


def targets_of(samples):
    targets = []
    for processes in PROCESSES:
        for size in SIZES:
            key = key_of("create", size, processes)
            for ours in (OURS, OURS_INSENSITIVE):
                targets += times_as_fast(samples, ours, (PASSTHROUGH, PASSTHROUGH_CACHED), key,
                                         WANTED, key.replace("create", "create+write+close"),
                                         False)
    return targets


def run_section(programs, settings, folder, progress):
    section = Section("small", "Small files")
    samples = Samples(NAMES)
    with Subjects(NAMES, folder, GIB, programs) as subjects:
        in_rounds(subjects, settings.small_rounds, progress, "small",
                  lambda subject: measure(subject, programs, settings.small_batches, samples))
    section.tables = [table_of(samples), *(ratio_table(samples, ours)
                                           for ours in (OURS, OURS_INSENSITIVE)
                                           if samples.has(ours, key_of(*cases()[0])))]
    section.targets = targets_of(samples)
    section.notes = [
        f"{settings.small_rounds} rounds of {settings.small_batches} batches of {FILES} files "
        "(shared out among the processes, each in a folder of its own): all made (open, write, "
        "close), then all opened and read, then stat, then all unlinked. 'read' and 'stat' come "
        "right after: what the kernel keeps, it need not ask for.",
        "passthrough: libfuse's passthrough_ll over tmpfs; 'writeback' with -o "
        "writeback,cache=always.", *subjects.notes()]
    section.data = {"rates": samples.values}
    return section
