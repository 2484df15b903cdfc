# SPDX-License-Identifier: BSD-3-Clause
"""Section nbd: the tree and the fsyncs over a sector volume on a Unix socket."""

import shutil

from sectorbench.report import Section, Table
from sectorbench.servers import Server

from . import fsync, tree
from .programs import MIB, find_system
from .rounds import Samples, in_rounds
from .subjects import EXT4, OURS, Casefs, Subjects

SECTORS = f"{OURS} on sectors"
STEPS = tree.STEPS
RATES = [fsync.key_of(kind, threads) for kind in fsync.KINDS for threads in fsync.THREADS]


def sectors(programs):
    """Starts a server for a subject."""
    def serve(subject):
        return Server("sectors", ["nbdkit", "--exit-with-parent", "-U", "{socket}",
                                  programs.plugin, subject.size], subject.folder)
    return serve


class Steps(tree.Steps):
    """The tree's, of which removing is done once, cold: what a server holds cannot be put aside."""

    def run(self, verify):
        subject = self._subject
        subject.fresh()
        taken = self._timed("cp -r", lambda: tree.run("cp", "-r", self._tree.path, self._copy)[0])
        for step, work in (("names, warm", tree.names), ("find -ls, warm", tree.attributes),
                           ("tar, warm", tree.tar)):
            self._timed(step, work, self._copy)
        self._remount_after_copy(taken)
        for step, work in (("names, cold", tree.names), ("find -ls, cold", tree.attributes),
                           ("tar, cold", tree.tar), ("rm -rf, cold", tree.remove)):
            self._timed(step, work, self._copy)
            subject.remount()
        subject.unmount()
        subject.discard()


def table_of(samples):
    rows = [[step, *(samples.text(subject, step) for subject in samples.subjects()),
             samples.ratio_text(EXT4, SECTORS, step)]
            for step in STEPS if any(samples.has(name, step) for name in samples.subjects())]
    return Table("Seconds (medians)", ["", *samples.subjects(), f"{EXT4} over {SECTORS}"], rows)


def rate_table(samples):
    rows = [[key, *(samples.text(subject, key, "{:,.0f}") for subject in samples.subjects())]
            for key in RATES]
    return Table("fsyncs each second (medians)", ["", *samples.subjects()], rows)


def run_section(programs, settings, folder, progress):
    section = Section("nbd", "A sector volume on a Unix socket")
    if programs.plugin is None or not find_system("nbdkit") or Casefs.absent(programs):
        section.notes = ["Left out: mount.casefs, nbdkit or its sectors plugin is not there."]
        return section
    samples = Samples((SECTORS, OURS, EXT4))
    files = tree.Tree(folder, settings.nbd_files)

    def work(subject):
        Steps(subject, files, samples).run(False)
        fsync.measure(subject, programs, settings.fsync_time, samples)

    try:
        with Subjects((OURS, EXT4), folder, files.room, programs) as subjects:
            subjects.add(Casefs(SECTORS, folder, files.room, programs,
                                serve=sectors(programs)))
            in_rounds(subjects, settings.nbd_rounds, progress, "nbd", work)
    finally:
        shutil.rmtree(files.path)
    section.tables = [table_of(samples), rate_table(samples)]
    section.notes = [
        f"{settings.nbd_rounds} rounds; the tree: {files}. casefs on a file and ext4 on a loop "
        "device, both on tmpfs, stand beside it. ext4 on /dev/nbd0 needs a kernel with nbd: "
        "tests/bench/mount-in-guest compares the two in user-mode Linux.",
        f"The server holds what is written in memory ({files.size / MIB:.0f} MiB and more).",
        *subjects.notes()]
    section.data = {"samples": samples.values, "tree": str(files)}
    return section
