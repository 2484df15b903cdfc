# SPDX-License-Identifier: BSD-3-Clause
"""Section tree: a real tree copied in, found, read and removed."""

import os
import pathlib
import resource
import shutil
import subprocess
import time
import unicodedata

from sectorbench.report import Section, Table

from .programs import MIB, RunError, run
from .rounds import Samples, in_rounds, times_as_fast
from .subjects import (EXT4, FUSE2FS, LOW_NTFS, NTFS, OURS, OURS_INSENSITIVE, PASSTHROUGH_CACHED,
                       TUNED_NTFS, Subjects, can_raise_open_files)

NAMES = (OURS, OURS_INSENSITIVE, NTFS, TUNED_NTFS, LOW_NTFS, FUSE2FS, PASSTHROUGH_CACHED, EXT4)
SOURCES = ("/usr/share", "/usr/include", "/usr/lib/python3", "/usr/lib")
# Of those that are slow, fewer rounds have to do.
FEWER = {LOW_NTFS: 1, PASSTHROUGH_CACHED: 1, TUNED_NTFS: 2, FUSE2FS: 2}
WANTED = 4
STEPS = ("cp -r", "cp -r, umount", "names, warm", "find -ls, warm", "tar, warm", "names, cold",
         "find -ls, cold", "tar, cold", "rm -rf, warm", "rm -rf, cold")
PROMISED = [step for step in STEPS if step != "cp -r, umount"]


# --------------------------------------------------------------------- the tree

class Tree:
    """Files of this machine, in a folder on tmpfs."""

    def __init__(self, folder, wanted):
        self.path = folder / "tree"
        self.files = self.others = self.size = 0
        self.path.mkdir()
        for part in self._parts():
            if self.files >= wanted:
                break
            self._copy(part)
            self._without_twins()
            self._count()
        if self.files < wanted:
            raise RunError(f"this machine has not {wanted} files in {' '.join(SOURCES)}")

    @staticmethod
    def _parts():
        for source in map(pathlib.Path, SOURCES):
            if source.is_dir():
                yield from sorted(path for path in source.iterdir()
                                  if path.is_dir() and not path.is_symlink())

    def _copy(self, part):
        target = self.path / str(part.parent)[1:].replace("/", "-")
        target.mkdir(exist_ok=True)
        subprocess.run(["cp", "-a", part, target], stderr=subprocess.DEVNULL, check=False)

    def _without_twins(self):
        """Names that are one where case does not count would not all be copied."""
        for folder, folders, names in os.walk(self.path):
            seen = set()
            for name in [*folders, *names]:
                key = unicodedata.normalize("NFD", name.casefold())
                if key in seen:
                    path = os.path.join(folder, name)
                    if name in folders and not os.path.islink(path):
                        folders.remove(name)
                        shutil.rmtree(path)
                    else:
                        os.unlink(path)
                seen.add(key)

    def _count(self):
        self.files = self.others = self.size = 0
        for folder, folders, names in os.walk(self.path):
            self.others += len(folders)
            for name in names:
                path = os.path.join(folder, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    self.files += 1
                    self.size += os.lstat(path).st_size
                else:
                    self.others += 1

    @property
    def room(self):
        """For a file system that holds it."""
        return (self.size * 2 + 1024 * MIB) // MIB * MIB

    def __str__(self):
        return f"{self.files} files, {self.others} other nodes, {self.size / MIB:.0f} MiB"


# -------------------------------------------------------------------- the steps

def shell(command, folder):
    return run("sh", "-ec", f'cd "$1" && {command}', "sh", folder)[0]


def names(path):
    return shell("find . -name 'no such name'", path)


def attributes(path):
    return shell("find . -ls >/dev/null", path)


def tar(path):
    return shell("tar cf - . | cat >/dev/null", path)


def remove(path):
    return run("rm", "-rf", path)[0]


class Steps:
    """All steps of one subject in one round, whose seconds it adds to the samples."""

    def __init__(self, subject, tree, samples):
        self._subject, self._tree, self._samples = subject, tree, samples
        self._copy = subject.path / "tree"

    def _timed(self, step, work, *arguments):
        before = self._subject.processor_seconds()
        seconds = work(*arguments)
        self._samples.add(self._subject.name, step, seconds)
        if before is not None:
            self._samples.add(self._subject.name, f"{step}, daemon",
                              self._subject.processor_seconds() - before)
        return seconds

    def run(self, verify):
        subject = self._subject
        subject.fresh()
        taken = self._timed("cp -r", lambda: run("cp", "-r", self._tree.path, self._copy)[0])
        self._timed("names, warm", names, self._copy)
        self._timed("find -ls, warm", attributes, self._copy)
        self._timed("tar, warm", tar, self._copy)
        self._remount_after_copy(taken)
        if verify:
            run("diff", "-r", "--no-dereference", self._tree.path, self._copy)
            subject.remount()
        self._timed("names, cold", names, self._copy)
        for step, work in (("find -ls, cold", attributes), ("tar, cold", tar)):
            subject.remount()
            self._timed(step, work, self._copy)
        subject.unmount()
        subject.save()
        subject.mount()
        tar(self._copy)
        self._timed("rm -rf, warm", remove, self._copy)
        subject.unmount()
        subject.restore()
        subject.mount()
        self._timed("rm -rf, cold", remove, self._copy)
        subject.discard()

    def _remount_after_copy(self, taken):
        """What the file system had put off while it copied is counted with the copy."""
        start = time.perf_counter()
        self._subject.unmount()
        self._samples.add(self._subject.name, "cp -r, umount",
                          taken + time.perf_counter() - start)
        self._subject.mount()


# ------------------------------------------------------------------ the results

def table_of(samples, tree):
    rows = [[step, *(samples.text(subject, step) for subject in samples.subjects())]
            for step in STEPS]
    return Table(f"Seconds (medians); {tree}", ["", *samples.subjects()], rows)


def ratio_table(samples, ours):
    peers = [name for name in samples.subjects() if name not in (OURS, OURS_INSENSITIVE)]
    rows = [[step, *(samples.ratio_text(peer, ours, step) for peer in peers)] for step in STEPS]
    return Table(f"{ours}: how many times as fast as", ["", *peers], rows)


def daemon_table(samples):
    subjects = [name for name in samples.subjects() if samples.has(name, "cp -r, daemon")]
    rows = [[step, *(samples.text(subject, f"{step}, daemon") for subject in subjects)]
            for step in STEPS if step != "cp -r, umount"]
    return Table("Processor seconds of the daemon (medians)", ["", *subjects], rows)


def tables_of(samples, tree):
    ours = [name for name in (OURS, OURS_INSENSITIVE) if samples.has(name, "cp -r")]
    return [table_of(samples, tree), *(ratio_table(samples, name) for name in ours),
            daemon_table(samples)]


def targets_of(samples):
    peers = {OURS: (NTFS, TUNED_NTFS, FUSE2FS), OURS_INSENSITIVE: (NTFS, FUSE2FS)}
    return [target for ours, theirs in peers.items() for step in PROMISED
            for target in times_as_fast(samples, ours, theirs, step, WANTED, step, True)]


def names_for(tree):
    """Without passthrough_ll, which opens each node, where so many cannot be open."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if (allowed == resource.RLIM_INFINITY or allowed > tree.files + tree.others + 1000
            or can_raise_open_files()):
        return NAMES
    return tuple(name for name in NAMES if name != PASSTHROUGH_CACHED)


def run_section(programs, settings, folder, progress):
    section = Section("tree", "A tree: copied in, found, read, removed")
    tree = Tree(folder, settings.tree_files)
    subject_names = names_for(tree)
    samples = Samples(subject_names)
    verified = set()

    def work(subject):
        Steps(subject, tree, samples).run(subject.name not in verified)
        verified.add(subject.name)

    try:
        with Subjects(subject_names, folder, tree.room, programs) as subjects:
            in_rounds(subjects, settings.tree_rounds, progress, "tree", work,
                      FEWER)
    finally:
        shutil.rmtree(tree.path)
    section.tables, section.targets = tables_of(samples, tree), targets_of(samples)
    section.notes = [
        f"{settings.tree_rounds} rounds (lowntfs-3g and passthrough one, ntfs-3g tuned and "
        "fuse2fs at most two). tuned: -o big_writes,noatime. "
        "Each file system is an image on tmpfs, made anew; the tree is on tmpfs too. Warm: right "
        "after the step before. Cold: unmounted and mounted again, so that kernel and daemon know "
        "nothing; the image stays in memory.",
        "'cp -r, umount' is the copy together with unmounting, after which all of it is in the "
        "image. 'names': find by a name; 'find -ls': attributes of all; 'tar': tar to a pipe.",
        "In the first round what was copied is compared with the tree.",
        "passthrough_ll is left out where it may not hold all nodes open; it searches a list of all the nodes it knows at each look-up, which makes it "
        "slow with many.",
        *subjects.notes()]
    section.data = {"tree": str(tree), "samples": samples.values}
    return section
