# SPDX-License-Identifier: BSD-3-Clause
"""Section profile: where the time of a copy goes, and what the limit is."""

import os
import pathlib
import re
import shutil
import subprocess
import time

from sectorbench import stats
from sectorbench.report import Section, Table

from .programs import RunError, find_system, run
from .rounds import Samples, in_rounds
from .subjects import (EXT4, FUSE2FS, MAKE, OURS, OURS_INSENSITIVE, PASSTHROUGH_CACHED, TUNED_NTFS,
                       Casefs, Daemon, Subjects)
from .tree import Tree

NULL, NULL_LOOKING = "null", "null, looking"
GETATTRS = 10_000
THREADS = (1, 4)
TRACING = pathlib.Path("/sys/kernel/tracing")
EVENT = "events/fuse/fuse_request_send"
TRACE_KIB = 64 * 1024                   # for each processor
KIND = re.compile(r"\(FUSE_(\w+)\)")
LOST = re.compile(r"^overrun: (\d+)", re.MULTILINE)
# Requests that nobody waits for.
UNAWAITED = ("FORGET", "BATCH_FORGET", "RELEASE", "RELEASEDIR", "INTERRUPT")
SYMBOLS = 25


class Null(Daemon):
    """Answers from constants; with libfuse's own loop, or looking for requests without sleeping."""

    def __init__(self, name, folder, programs):
        super().__init__(name, folder, 0)
        self._program, self._flags = programs.null, ["-s"] if name == NULL_LOOKING else []

    def _format(self):
        pass

    def _command(self):
        return [self._program, "-f", *self._flags, self.path]


# ------------------------------------------------------------- the limit: a request

def round_trips(programs, settings, folder, progress):
    """Questions for attributes that the kernel may not answer itself, each second."""
    names = (OURS, PASSTHROUGH_CACHED, TUNED_NTFS, FUSE2FS)
    samples = Samples((NULL_LOOKING, NULL, *names))

    def work(subject):
        subject.fresh()
        file = subject.path / "file"
        if not isinstance(subject, Null):
            file.touch()
        for threads in THREADS:
            done = programs.measure("getattr", file, threads, GETATTRS)
            samples.add(subject.name, threads, done["count"] / done["seconds"])
        subject.unmount()
        subject.discard()

    with Subjects(names, folder, 0, programs) as subjects:
        if programs.null:
            subjects.add(Null(NULL, folder, programs))
            subjects.add(Null(NULL_LOOKING, folder, programs))
        in_rounds(subjects, settings.profile_rounds, progress, "profile", work)
    return samples


def round_trip_table(samples):
    rows = [[f"{threads} thread{'s' if threads > 1 else ''}",
             *(f"{float(samples.text(subject, threads)) / 1000:.1f} "
               f"({1e6 / stats.median(samples.of(subject, threads)):.0f} µs)"
               for subject in samples.subjects())] for threads in THREADS]
    return Table("One request and its answer (GETATTR): thousands each second (time between them)",
                 ["", *samples.subjects()], rows)


# ---------------------------------------------------------- what a copy asks for

class Requests:
    """Counts a mount's requests by kind, in the kernel, from here to the end of the 'with'."""

    def __init__(self, subject):
        device = subject.path.stat().st_dev
        # As the kernel has it in memory.
        self._connection = os.major(device) << 20 | os.minor(device)
        self._instance = TRACING / "instances" / f"mount-bench-{os.getpid()}"
        self.counts = {}

    @staticmethod
    def possible():
        return (TRACING / EVENT).exists()

    def __enter__(self):
        self._instance.mkdir()
        (self._instance / "buffer_size_kb").write_text(str(TRACE_KIB))
        (self._instance / EVENT / "filter").write_text(f"connection == {self._connection}")
        (self._instance / EVENT / "enable").write_text("1")
        return self

    def __exit__(self, *_):
        (self._instance / EVENT / "enable").write_text("0")
        with open(self._instance / "trace", encoding="utf-8") as trace:
            for line in trace:
                if found := KIND.search(line):
                    self.counts[found.group(1)] = self.counts.get(found.group(1), 0) + 1
        lost = sum(int(LOST.search(path.read_text()).group(1))
                   for path in self._instance.glob("per_cpu/cpu*/stats"))
        self._instance.rmdir()
        if lost:
            raise RunError(f"the kernel's trace buffer was too small by {lost} requests")


class Copy:
    """What cp -r of the tree onto one subject took."""

    def __init__(self, subject, tree):
        subject.fresh()
        with Requests(subject) as requests:
            start, used = time.perf_counter(), subject.processor_seconds()
            run("cp", "-r", tree.path, subject.path / "tree")
            self.seconds = time.perf_counter() - start
            self.processor = subject.processor_seconds() - used
        self.requests = requests.counts
        subject.unmount()
        subject.discard()

    def awaited(self):
        return sum(count for kind, count in self.requests.items() if kind not in UNAWAITED)


def seconds_on_ext4(programs, tree, folder, progress):
    """What cp itself takes: to read the tree, and to ask a kernel to write it."""
    progress("profile: cp -r, ext4")
    with Subjects((EXT4,), folder, tree.room, programs) as subjects:
        for subject in subjects:
            subject.fresh()
            seconds = run("cp", "-r", tree.path, subject.path / "tree")[0]
            subject.unmount()
            return seconds
    return 0


def copies_of(programs, tree, folder, progress):
    copies = {}
    with Subjects((OURS, OURS_INSENSITIVE, PASSTHROUGH_CACHED, TUNED_NTFS), folder, tree.room,
                  programs) as subjects:
        for subject in subjects:
            progress(f"profile: requests of cp -r, {subject.name}")
            copies[subject.name] = Copy(subject, tree)
    return copies


def request_table(copies, tree):
    kinds = sorted({kind for copy in copies.values() for kind in copy.requests},
                   key=lambda kind: -max(copy.requests.get(kind, 0) for copy in copies.values()))
    nodes = tree.files + tree.others

    def per_node(count):
        return f"{count / nodes:.2f}" if count >= nodes / 200 else "" if count == 0 else "<0.01"
    rows = [[kind, *(per_node(copy.requests.get(kind, 0)) for copy in copies.values())]
            for kind in kinds]
    rows.append(["all", *(per_node(sum(copy.requests.values())) for copy in copies.values())])
    rows.append(["that cp waits for", *(per_node(copy.awaited()) for copy in copies.values())])
    return Table(f"cp -r: requests per node ({tree})", ["", *copies], rows)


def limit_table(copies, trips, tree, on_ext4):
    """cp is one process: it cannot be faster than its requests, one after the other."""
    best = max((NULL, NULL_LOOKING), key=lambda name: stats.median(trips.of(name, 1)))
    trip = 1 / stats.median(trips.of(best, 1))
    rows = []
    for name, copy in copies.items():
        requests = copy.awaited() * trip
        rows.append([name, f"{copy.seconds:.2f}", f"{copy.processor:.2f}", f"{requests:.2f}",
                     f"{requests + on_ext4:.2f}",
                     f"{copy.seconds / (tree.files + tree.others) * 1e6:.0f}"])
    rows.append([EXT4, f"{on_ext4:.2f}", "", "", "",
                 f"{on_ext4 / (tree.files + tree.others) * 1e6:.0f}"])
    return Table(f"cp -r and its limit: the requests it waits for, at {trip * 1e6:.0f} µs each "
                 f"({best}; 1 thread), and what it takes on ext4",
                 ["", "seconds", "of the daemon's processor time", "the requests alone",
                  "with cp's own", "µs per node"], rows)


# ------------------------------------------------------------------- the daemon

KERNEL, LIBFUSE, LIBC, NBD = "kernel", "libfuse", "libc", "libnbd"


def part_of(dso, symbol):
    """Which part of the daemon a sample falls in."""
    if "kernel" in dso or dso.startswith("[k") or symbol.startswith("[k]"):
        return KERNEL
    for part in (LIBFUSE, LIBC, NBD):
        if part in dso or part == LIBC and ("ld-linux" in dso or "vdso" in dso):
            return part
    return "mount.casefs and libcasefs"


def perf_samples(subject, work, data):
    """(share in percent, dso, symbol) of the daemon's processor time while work() runs."""
    recorder = subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", "1999",
                                 "-o", data, "-p", str(subject.pid)],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    work()
    recorder.terminate()
    recorder.wait()
    printed = run("perf", "report", "-i", data, "--stdio", "-q", "--percent-limit", "0",
                  "-F", "overhead,dso,symbol", "-t", "\t")[1]
    samples = []
    for line in printed.splitlines():
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) == 3 and fields[0].endswith("%"):
            samples.append((float(fields[0][:-1]), fields[1], fields[2]))
    return samples


def profile_tables(samples, what):
    parts = {}
    for share, dso, symbol in samples:
        part = part_of(dso, symbol)
        parts[part] = parts.get(part, 0) + share
    ordered = sorted(parts.items(), key=lambda part: -part[1])
    top = sorted(samples, reverse=True)[:SYMBOLS]
    return [Table(f"{what}: where the daemon's processor time goes", ["", "%"],
                  [[part, f"{share:.1f}"] for part, share in ordered]),
            Table(f"{what}: the {SYMBOLS} largest", ["", "%", ""],
                  [[symbol.removeprefix("[.] ").removeprefix("[k] "), f"{share:.1f}",
                    part_of(dso, symbol)] for share, dso, symbol in top], left=True)]


def daemon_profile(programs, tree, folder, progress):
    tables = []
    with Subjects((), folder, 0, programs) as subjects:
        subject = MAKE[OURS](folder, tree.room, programs)
        subjects.add(subject)
        subject.fresh()
        copy, data = subject.path / "tree", folder / "perf.data"
        for what, command in (("cp -r", ["cp", "-r", tree.path, copy]),
                              ("tar, cold", ["sh", "-c", 'tar cf - -C "$0" . | cat >/dev/null',
                                             copy]),
                              ("rm -rf", ["rm", "-rf", copy])):
            progress(f"profile: perf record, {what}")
            subject.remount()
            tables += profile_tables(perf_samples(subject, lambda line=command: run(*line), data),
                                     what)
        data.unlink(missing_ok=True)
        subject.unmount()
    return tables


def run_section(programs, settings, folder, progress):
    section = Section("profile", "Where the time goes, and the limit")
    trips = round_trips(programs, settings, folder, progress)
    section.tables = [round_trip_table(trips)]
    tree = Tree(folder, settings.profile_files)
    try:
        copies = (copies_of(programs, tree, folder, progress)
                  if Requests.possible() else {})
        if copies:
            section.tables.append(request_table(copies, tree))
        if copies and trips.has(NULL, 1):
            section.tables.append(limit_table(copies, trips, tree, seconds_on_ext4(
                programs, tree, folder, progress)))
        if Casefs.absent(programs) is None and find_system("perf"):
            section.tables += daemon_profile(programs, tree, folder, progress)
    finally:
        shutil.rmtree(tree.path)
    section.notes = [
        "null: a FUSE daemon that answers from constants (mount-null.c), with libfuse's loop; "
        "'looking': one thread that looks for the next request for 50 µs before it sleeps.",
        "Requests are counted in the kernel (tracepoint fuse_request_send). cp waits for all but "
        "FORGET and RELEASE; for WRITE at close(2), where there is a write-back cache.",
        "perf: cpu-clock, 1999 Hz, of all the daemon's threads."]
    section.data = {"getattr": trips.values,
                    "requests": {name: copy.requests for name, copy in copies.items()},
                    "seconds": {name: copy.seconds for name, copy in copies.items()}}
    return section
