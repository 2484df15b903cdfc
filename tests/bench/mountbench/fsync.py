# SPDX-License-Identifier: BSD-3-Clause
"""Section fsync: small files made durable one by one."""

import pathlib
import re

from sectorbench import stats
from sectorbench.report import Section, Table, Target
from sectorbench.servers import Server

from .programs import GIB, find_system
from .rounds import Samples, in_rounds
from .subjects import (EXT4, FUSE2FS, OURS, TUNED_NTFS, Casefs, Ext4, Subjects)

NAMES = (OURS, TUNED_NTFS, FUSE2FS, EXT4)
KINDS = ("create", "overwrite")
THREADS = (1, 8)
SIZE = GIB
ON_DISK = {OURS: f"{OURS}, disk", EXT4: f"{EXT4}, disk"}
SECTOR = 512
COUNTED = {"bytes": "{:,.0f}", "writes": "{:.2f}", "durable": "{:.2f}", "flushes": "{:.2f}"}
NEAR_EXT4 = 0.5                         # of its rate: below that an intent log is due


def key_of(kind, threads):
    return f"{kind}, {threads} thread{'s' if threads > 1 else ''}"


def measure(subject, programs, time, samples):
    subject.fresh()
    for kind in KINDS:
        for threads in THREADS:
            done = programs.measure("fsync", subject.path, kind, threads, time)
            samples.add(subject.name, key_of(kind, threads), done["count"] / done["seconds"])
    subject.unmount()
    subject.discard()


# ------------------------------------------------------- what the device is given

class LoopCounter:
    """Of a file system of the kernel, by its loop device."""

    FIELDS = {"writes": 4, "bytes": 6, "flushes": 15}

    def __init__(self, subject):
        device = pathlib.Path(subject.mount_source()).name
        self._path = pathlib.Path(f"/sys/block/{device}/stat")

    def __call__(self):
        fields = [int(field) for field in self._path.read_text().split()]
        counts = {name: fields[i] for name, i in self.FIELDS.items()}
        counts["bytes"] *= SECTOR
        return counts


class LogCounter:
    """Of a file system on an NBD server, by the server's log."""

    WRITE = re.compile(r" Write id=\d+ .*count=(0x[0-9a-f]+)")
    FLUSH = re.compile(r" Flush id=\d+ ")
    DURABLE = re.compile(r" Write id=\d+ .*fua=1")

    def __init__(self, log):
        self._log = log

    def __call__(self):
        lines = [line for line in self._log.read_text().splitlines() if " return=" not in line]
        writes = [int(found.group(1), 16) for line in lines if (found := self.WRITE.search(line))]
        return {"writes": len(writes), "bytes": sum(writes),
                "flushes": sum(bool(self.FLUSH.search(line)) for line in lines),
                "durable": sum(bool(self.DURABLE.search(line)) for line in lines)}


def logged(subject):
    """A server that keeps the image in a file, and writes a line for each request."""
    with open(subject.image, "wb") as file:
        file.truncate(subject.size)
    log = subject.folder / "requests.log"
    return Server("logged", ["nbdkit", "--exit-with-parent", "-U", "{socket}", "--filter=log",
                             "file", subject.image, f"logfile={log}"], subject.folder,
                  (log, subject.image))


def count(subject, counter, programs, time, samples):
    """What one fsync gives the device, on the average."""
    subject.fresh()
    take = counter(subject)
    for kind in KINDS:
        for threads in THREADS:
            before = take()
            done = programs.measure("fsync", subject.path, kind, threads, time)
            for what, value in take().items():
                samples.add(subject.name, f"{key_of(kind, threads)}: {what}",
                            (value - before[what]) / done["count"])
    subject.unmount()
    subject.discard()


def count_table(samples):
    rows = []
    for subject in samples.subjects():
        for kind in KINDS:
            for threads in THREADS:
                key = key_of(kind, threads)
                rows.append([f"{subject}: {key}", *(
                    samples.text(subject, f"{key}: {what}", form)
                    for what, form in COUNTED.items())])
    return Table("Given to the device for each fsync (means)",
                 ["", "bytes", "writes", "of them durable (FUA)", "flushes"], rows)


# ------------------------------------------------------------------- the results

def rate_table(samples):
    keys = [key_of(kind, threads) for kind in KINDS for threads in THREADS]
    rows = [[key, *(samples.text(subject, key, "{:,.0f}") for subject in samples.subjects())]
            for key in keys]
    return Table("fsyncs each second (medians)", ["", *samples.subjects()], rows)


def scaling_table(samples):
    one, many = THREADS
    rows = [[kind, *(str(stats.ratio(samples.of(subject, key_of(kind, many)),
                                     samples.of(subject, key_of(kind, one))))
                     for subject in samples.subjects())] for kind in KINDS]
    return Table(f"{many} threads over {one}", ["", *samples.subjects()], rows)


def targets_of(samples):
    targets = []
    for ours, peer in ((OURS, EXT4), (ON_DISK[OURS], ON_DISK[EXT4])):
        for kind in KINDS:
            for threads in THREADS:
                key = key_of(kind, threads)
                if samples.has(ours, key) and samples.has(peer, key):
                    targets.append(Target(f"{key}: {ours} over {peer}",
                                          samples.ratio(ours, peer, key), ">=", NEAR_EXT4))
    return targets


def add_on_disk(subjects, programs, folder):
    """The same two, with their image where a flush takes its time."""
    if Casefs.absent(programs) is None:
        subjects.add(Casefs(ON_DISK[OURS], folder, SIZE, programs))
    subjects.add(Ext4(ON_DISK[EXT4], folder, SIZE))


def measure_counts(programs, settings, folder, progress):
    samples = Samples()
    with Subjects((EXT4,), folder, SIZE, programs) as subjects:
        progress("fsync: what ext4 gives the device")
        for subject in subjects:
            count(subject, LoopCounter, programs, settings.fsync_time, samples)
    with Subjects((), folder, SIZE, programs) as subjects:
        if Casefs.absent(programs) is None and find_system("nbdkit"):
            progress("fsync: what casefs gives the device")
            subject = Casefs(OURS, folder, SIZE, programs, serve=logged)
            subjects.add(subject)
            count(subject, lambda made: LogCounter(made.folder / "requests.log"), programs,
                  settings.fsync_time, samples)
    return samples


def run_section(programs, settings, folder, progress):
    section = Section("fsync", "fsync of a small file")
    samples = Samples((*NAMES, *ON_DISK.values()))
    with Subjects(NAMES, folder, SIZE, programs) as subjects:
        add_on_disk(subjects, programs, settings.disk_folder)
        in_rounds(subjects, settings.fsync_rounds, progress, "fsync",
                  lambda subject: measure(subject, programs, settings.fsync_time, samples))
    counts = measure_counts(programs, settings, folder, progress)
    section.tables = [rate_table(samples), scaling_table(samples), count_table(counts)]
    section.targets = targets_of(samples)
    section.notes = [
        f"{settings.fsync_rounds} rounds of {settings.fsync_time / 1000:g} s for each case. "
        "create: a new file, 4 KiB, fsync, close. overwrite: a file of the thread's own opened, "
        "its 4 KiB written again, fsync, close.",
        f"The image is on tmpfs, where a flush costs nothing; with 'disk' in "
        f"{settings.disk_folder}.",
        "Given to the device: ext4 by /sys/block/loopN/stat, casefs by nbdkit's log filter over "
        "the same kind of file; what background work wrote meanwhile is in it.",
        "Half of ext4's rate is what we call near.",
        *subjects.notes()]
    section.data = {"rates": samples.values, "device": counts.values}
    return section
