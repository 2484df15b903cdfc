# SPDX-License-Identifier: BSD-3-Clause
"""Section random: 4 KiB at random places of one file, by fio."""

import json

from sectorbench.report import Section, Table

from .programs import MIB, RunError, find_system, run
from .rounds import Samples, in_rounds
from .subjects import (EXT4, FUSE2FS, OURS, PASSTHROUGH, PASSTHROUGH_CACHED, TUNED_NTFS,
                       Subjects)

NAMES = (OURS, TUNED_NTFS, FUSE2FS, PASSTHROUGH, PASSTHROUGH_CACHED, EXT4)
KINDS = ("randread", "randwrite")
JOBS = (1, 4)


def key_of(kind, direct, jobs):
    how = "direct" if direct else "buffered"
    return f"{kind[4:]}, {how}, {jobs} job{'s' if jobs > 1 else ''}"


def cases():
    return [(kind, direct, jobs) for kind in KINDS for direct in (0, 1) for jobs in JOBS]


def fio(subject, settings, kind, direct, jobs):
    """Operations each second, or None where the file system refuses direct access."""
    command = ["fio", "--name=random", f"--filename={subject.path / 'file'}", f"--rw={kind}",
               "--bs=4k", "--ioengine=psync", f"--direct={direct}", f"--numjobs={jobs}",
               f"--size={settings.random_size}", f"--runtime={settings.random_time}ms",
               "--time_based", "--norandommap", "--randrepeat=0", "--group_reporting",
               "--thread", "--output-format=json"]
    try:
        printed = run(*command)[1]
    except RunError:
        if direct:
            return None
        raise
    # Warnings may come before the object.
    job = json.loads(printed[printed.index("{"):])["jobs"][0]
    return job[kind[4:]]["iops"]


def measure(subject, programs, settings, samples):
    subject.fresh()
    programs.measure("write", subject.path / "file", settings.random_size // MIB, 1)
    for case in cases():
        rate = fio(subject, settings, *case)
        if rate:
            samples.add(subject.name, key_of(*case), rate)
    subject.unmount()
    subject.discard()


def table_of(samples):
    keys = [key_of(*case) for case in cases()]
    rows = [[key, *("" if not samples.has(subject, key) else
                    f"{float(samples.text(subject, key)) / 1000:.1f}"
                    for subject in samples.subjects())] for key in keys]
    return Table("Thousands of operations each second (medians)", ["", *samples.subjects()], rows)


def ratio_table(samples):
    peers = [name for name in samples.subjects() if name != OURS]
    keys = [key_of(*case) for case in cases()]
    return Table(f"{OURS}: how many times as fast as", ["", *peers],
                 [[key, *(samples.ratio_text(OURS, peer, key) for peer in peers)]
                  for key in keys])


def run_section(programs, settings, folder, progress):
    section = Section("random", "4 KiB at random places, by fio")
    if not find_system("fio"):
        section.notes = ["Left out: fio is not installed."]
        return section
    samples = Samples(NAMES)
    with Subjects(NAMES, folder, settings.random_size * 4 + 512 * MIB, programs) as subjects:
        in_rounds(subjects, settings.random_rounds, progress, "random",
                  lambda subject: measure(subject, programs, settings, samples))
    section.tables = [table_of(samples)]
    if samples.has(OURS, key_of(*cases()[0])):
        section.tables.append(ratio_table(samples))
    section.notes = [
        f"{settings.random_rounds} rounds of {settings.random_time / 1000:g} s for each case, on a "
        f"file of {settings.random_size // MIB} MiB that is written before; psync. Before each "
        "case fio drops the file's pages, so that buffered reading begins cold; buffered writing "
        "is not made durable, and goes as far as the kernel lets it.", *subjects.notes()]
    section.data = {"rates": samples.values}
    return section
