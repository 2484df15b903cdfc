# SPDX-License-Identifier: BSD-3-Clause
"""The servers that are compared: how each is started, and its memory."""

import os
import pathlib
import shutil
import subprocess
import time

SHM = pathlib.Path("/dev/shm")
START_SECONDS = 20
CPUCLOCK_SCHED = 2                      # in the clock that clock_getcpuclockid(3) gives


class ServerError(Exception):
    pass


class Server:
    """A running NBD server on a Unix socket, stopped at the end of its 'with'."""

    def __init__(self, name, command, folder, remove=()):
        self.name = name
        base = folder / name.replace(" ", "_")
        self.socket = pathlib.Path(f"{base}.sock")
        self.control = pathlib.Path(f"{base}.ctl")
        self.uri = f"nbd+unix:///?socket={self.socket}"
        self._log = pathlib.Path(f"{base}.log")
        self._remove = [self.socket, self.control, *remove]
        self.socket.unlink(missing_ok=True)
        command = [str(part).format(socket=self.socket, control=self.control) for part in command]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log,
                                             stdin=subprocess.DEVNULL)
        self._wait()

    def _wait(self):
        deadline = time.monotonic() + START_SECONDS
        while not self.socket.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServerError(f"{self.name} did not start:\n{self.log()}")
            time.sleep(0.005)
        time.sleep(0.02)                # bound; listening comes right after

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self._process.kill()
        self._process.wait()
        for path in self._remove:
            path.unlink(missing_ok=True)

    def log(self):
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-10:])

    def processor_seconds(self):
        """Processor time of all the server's threads, also of those that have ended."""
        return time.clock_gettime(~self._process.pid << 3 | CPUCLOCK_SCHED)

    def rss(self):
        """Resident memory in bytes."""
        with open(f"/proc/{self._process.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise ServerError(f"{self.name} has gone:\n{self.log()}")


class Servers:
    """Starts servers by the names the tables use."""

    OURS = "sectors"

    def __init__(self, build, folder):
        self._build = build
        self._folder = folder

    def have_ours(self):
        return self._build.plugin is not None

    def start(self, name, size="1T"):
        """A fresh server.  Size applies to those that do not hold all of it from the start."""
        make = {
            "sectors": lambda: self._nbdkit([self._build.plugin, size]),
            "sectors control": lambda: self._nbdkit([self._build.plugin, size,
                                                     "control={control}"]),
            "memory": lambda: self._nbdkit(["memory", size]),
            "memory -t 1": lambda: self._nbdkit(["-t", "1", "memory", size]),
            "memory zstd": lambda: self._nbdkit(["memory", size, "allocator=zstd"]),
            "memory malloc": lambda: self._nbdkit(["memory", size, "allocator=malloc"]),
            "memory malloc -t 1": lambda: self._nbdkit(["-t", "1", "memory", size,
                                                        "allocator=malloc"]),
            "null": lambda: self._nbdkit(["null", size]),
            "null -t 1": lambda: self._nbdkit(["-t", "1", "null", size]),
            "file tmpfs": lambda: self._on_tmpfs(name, size, self._nbdkit_file),
            "qemu-nbd tmpfs": lambda: self._on_tmpfs(name, size, self._qemu_nbd),
        }[name]
        made = make()
        command, remove = made if isinstance(made, tuple) else (made, ())
        return Server(name, command, self._folder, remove)

    @staticmethod
    def _nbdkit(arguments):
        return ["nbdkit", "--exit-with-parent", "-U", "{socket}", *arguments]

    def _nbdkit_file(self, image):
        return self._nbdkit(["file", image])

    @staticmethod
    def _qemu_nbd(image):
        return ["qemu-nbd", "-t", "-k", "{socket}", "-f", "raw", "-e", "8", "--cache=writeback",
                "--aio=threads", "--discard=unmap", image]

    @staticmethod
    def _on_tmpfs(name, size, command):
        image = SHM / f"sectors-bench-{os.getpid()}-{name.split()[0]}.raw"
        with open(image, "wb") as file:
            file.truncate(size)
        return command(image), (image,)


def why_absent(name, amount):
    """Why a server cannot be part of a run that writes this many bytes, or None."""
    if name.endswith("tmpfs") and shutil.disk_usage(SHM).free < 3 * amount:
        return f"{SHM} is too small"
    if name.startswith("qemu") and shutil.which("qemu-nbd") is None:
        return "qemu-nbd is not installed"
    return None
