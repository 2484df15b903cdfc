# SPDX-License-Identifier: BSD-3-Clause
"""The file systems that are compared: how each is made, mounted and unmounted.

Each has a folder on tmpfs with its image and its mount point.  ntfs-3g is there as it comes, and
tuned: with the options that make it fastest.
"""

import os
import pathlib
import resource
import shutil
import signal
import subprocess
import time

from sectorbench.servers import CPUCLOCK_SCHED

from .programs import GIB, RunError, find_system, run

START_SECONDS = 30
END_SECONDS = 300
# passthrough_ll holds a file open for each node that the kernel knows.
OPEN_FILES = 500_000
# ntfs-3g takes requests of more than 4 KiB (big_writes) only on volumes of 4 GiB and more, and is
# ten times as slow without; images are sparse.
LEAST_SIZE = 8 * GIB
INODES = 200_000


def more_open_files():
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    except (OSError, ValueError):
        pass


def can_raise_open_files():
    """Whether more_open_files does something: a limit can only be lifted with CAP_SYS_RESOURCE."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits[0], limits[1] + 1))
    except (OSError, ValueError):
        return False
    return True


class Subject:
    """A file system.  make() makes it anew; between mount() and unmount() it is at .path."""

    def __init__(self, name, folder, size):
        self.name, self.size = name, max(size, LEAST_SIZE)
        self.folder = pathlib.Path(folder) / name.replace(" ", "-").replace(",", "")
        self.image, self.path = self.folder / "image", self.folder / "mount"
        self.path.mkdir(parents=True, exist_ok=True)
        self.mounted = False

    # What each kind does in its own way.

    def _format(self):
        raise NotImplementedError

    def _mount(self):
        raise NotImplementedError

    def _unmounted(self):
        """Returns when nothing is under way any more."""

    def processor_seconds(self):
        """Of the daemon since it was mounted; None where it is the kernel."""
        return None

    # What is the same for all.

    def make(self):
        self.image.unlink(missing_ok=True)
        self._format()

    def mount(self):
        self._mount()
        self.mounted = True

    def unmount(self):
        """Returns the seconds until all was on the device."""
        start = time.perf_counter()
        if self.mounted:
            run("umount", self.path)
            self.mounted = False
            self._unmounted()
        return time.perf_counter() - start

    def remount(self):
        self.unmount()
        self.mount()

    def fresh(self):
        """Made anew and mounted."""
        self.discard()
        self.make()
        self.mount()

    def save(self):
        """Keeps what the image holds (it is not mounted)."""
        run("cp", "--sparse=always", self.image, self.folder / "saved")

    def restore(self):
        (self.folder / "saved").rename(self.image)

    def discard(self):
        """Back to nothing, whatever state it is in."""
        if self.mounted:
            subprocess.run(["umount", "-l", self.path], stderr=subprocess.DEVNULL, check=False)
            self.mounted = False
            self._abandon()
        for name in ("image", "saved"):
            (self.folder / name).unlink(missing_ok=True)

    def _abandon(self):
        """What is left of a mount that went wrong."""

    def _empty_image(self):
        self.image.touch()
        os.truncate(self.image, self.size)

    def mount_source(self):
        """What /proc/mounts has it from."""
        for line in pathlib.Path("/proc/mounts").read_text().splitlines():
            source, target = line.split()[:2]
            if target == str(self.path):
                return source
        raise RunError(f"{self.name} is not mounted")


class Ext4(Subject):
    """The kernel's, on a loop device."""

    def _format(self):
        self._empty_image()
        run(find_system("mkfs.ext4"), "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0",
            "-N", INODES, self.image)

    def _mount(self):
        run("mount", "-o", "loop", self.image, self.path)

    @staticmethod
    def absent(_programs):
        return None if find_system("mkfs.ext4") else "mkfs.ext4 is not installed"


class Daemon(Subject):
    """One that a process serves, which stays in the foreground."""

    _process = None

    def _command(self):
        raise NotImplementedError

    def _mount(self):
        outside = os.stat(self.path).st_dev
        with open(self.folder / "log", "wb") as log:
            self._process = subprocess.Popen([str(part) for part in self._command()], stdout=log,
                                             stderr=log, stdin=subprocess.DEVNULL,
                                             preexec_fn=more_open_files)
        deadline = time.monotonic() + START_SECONDS
        while os.stat(self.path).st_dev == outside:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._abandon()
                log = (self.folder / "log").read_text(errors="replace")[-2000:]
                raise RunError(f"{self.name} was not mounted:\n{log}")
            time.sleep(0.005)

    def _unmounted(self):
        try:
            status = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._abandon()
            raise RunError(f"{self.name} did not end after it was unmounted") from None
        if status not in (0, -signal.SIGTERM):
            raise RunError(f"{self.name} ended with status {status}:\n"
                           f"{(self.folder / 'log').read_text(errors='replace')[-2000:]}")

    def _abandon(self):
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self):
        return self._process.pid

    def processor_seconds(self):
        return time.clock_gettime(~self._process.pid << 3 | CPUCLOCK_SCHED)


class Ntfs(Daemon):
    program = "ntfs-3g"
    options = "no_detach"

    def _format(self):
        self._empty_image()
        run(find_system("mkfs.ntfs"), "-q", "-f", "-F", self.image)

    def _command(self):
        return [find_system(self.program), "-o", self.options, self.image, self.path]

    @classmethod
    def absent(cls, _programs):
        return None if find_system(cls.program) else f"{cls.program} is not installed"


class TunedNtfs(Ntfs):
    options = "no_detach,big_writes,noatime"


class LowNtfs(TunedNtfs):
    program = "lowntfs-3g"


class Fuse2fs(Daemon):
    """ext4 as libext2fs has it: without its journal."""

    def _format(self):
        self._empty_image()
        run(find_system("mkfs.ext4"), "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0",
            "-N", INODES, self.image)

    def _command(self):
        return [find_system("fuse2fs"), "-f", "-o", "big_writes", self.image, self.path]

    @staticmethod
    def absent(_programs):
        return None if find_system("fuse2fs") else "fuse2fs is not installed"


class Passthrough(Daemon):
    """libfuse's example: a folder on tmpfs, handed through."""

    def __init__(self, name, folder, size, programs, options):
        super().__init__(name, folder, size)
        self._program, self._options = programs.passthrough, options
        self._source = self.folder / "source"

    def _format(self):
        self._source.mkdir()

    def _command(self):
        return [self._program, "-f", "-o", ",".join([f"source={self._source}", *self._options]),
                self.path]

    def save(self):
        run("cp", "-a", self._source, self.folder / "saved")

    def restore(self):
        shutil.rmtree(self._source, ignore_errors=True)
        (self.folder / "saved").rename(self._source)

    def discard(self):
        if self.mounted:
            super().discard()
        for name in ("source", "saved"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    @staticmethod
    def absent(programs):
        return None if programs.passthrough else "passthrough_ll.c (libfuse3-dev) is not there"


class Casefs(Daemon):
    """mount.casefs on a file; or on a server that `serve` starts, which holds the image."""

    def __init__(self, name, folder, size, programs, insensitive=False, options=(), serve=None):
        super().__init__(name, folder, size)
        self._programs, self._insensitive = programs, insensitive
        self._options, self._serve = options, serve
        self._server = None

    @property
    def device(self):
        return self._server.uri if self._server else self.image

    def _format(self):
        if self._serve:
            self._server = self._serve(self)
        else:
            self._empty_image()
        run(self._programs.mkfs, "-q",
            f"--case={'insensitive' if self._insensitive else 'sensitive'}", self.device)

    def _command(self):
        options = ["-o", ",".join(self._options)] if self._options else []
        return [self._programs.mount, "-f", *options, self.device, self.path]

    def discard(self):
        super().discard()
        if self._server:
            self._server.stop()
            self._server = None

    @staticmethod
    def absent(programs):
        if programs.mount is None or programs.mkfs is None:
            return "mount.casefs is not built"
        return None


OURS, OURS_INSENSITIVE = "casefs", "casefs insensitive"
PASSTHROUGH, PASSTHROUGH_CACHED = "passthrough", "passthrough writeback"
NTFS, TUNED_NTFS, LOW_NTFS = "ntfs-3g", "ntfs-3g tuned", "lowntfs-3g tuned"
FUSE2FS, EXT4 = "fuse2fs", "ext4 loop"
CACHED = ("writeback", "cache=always")

MAKE = {
    OURS: lambda folder, size, programs: Casefs(OURS, folder, size, programs),
    OURS_INSENSITIVE: lambda folder, size, programs:
        Casefs(OURS_INSENSITIVE, folder, size, programs, insensitive=True),
    NTFS: lambda folder, size, _: Ntfs(NTFS, folder, size),
    TUNED_NTFS: lambda folder, size, _: TunedNtfs(TUNED_NTFS, folder, size),
    LOW_NTFS: lambda folder, size, _: LowNtfs(LOW_NTFS, folder, size),
    FUSE2FS: lambda folder, size, _: Fuse2fs(FUSE2FS, folder, size),
    PASSTHROUGH: lambda folder, size, programs:
        Passthrough(PASSTHROUGH, folder, size, programs, ()),
    PASSTHROUGH_CACHED: lambda folder, size, programs:
        Passthrough(PASSTHROUGH_CACHED, folder, size, programs, CACHED),
    EXT4: lambda folder, size, _: Ext4(EXT4, folder, size),
}
CLASSES = {OURS: Casefs, OURS_INSENSITIVE: Casefs, NTFS: Ntfs, TUNED_NTFS: TunedNtfs,
           LOW_NTFS: LowNtfs, FUSE2FS: Fuse2fs, PASSTHROUGH: Passthrough,
           PASSTHROUGH_CACHED: Passthrough, EXT4: Ext4}


class Subjects:
    """The subjects of a section, of which those that cannot be are left out; removed at the end."""

    def __init__(self, names, folder, size, programs):
        self.left_out = {name: reason for name in names
                         if (reason := CLASSES[name].absent(programs))}
        self._all = {name: MAKE[name](folder, size, programs) for name in names
                     if name not in self.left_out}

    def add(self, subject):
        self._all[subject.name] = subject

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for subject in self._all.values():
            subject.discard()
            shutil.rmtree(subject.folder, ignore_errors=True)

    def __iter__(self):
        return iter(self._all.values())

    def __len__(self):
        return len(self._all)

    def notes(self):
        return [f"Left out: {name} ({reason})." for name, reason in self.left_out.items()]
