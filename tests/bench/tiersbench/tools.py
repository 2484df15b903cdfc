# SPDX-License-Identifier: BSD-3-Clause
"""Servers with tiers, and what is compared with them: fio and dd on plain files."""

import json
import os
import pathlib
import socket
import subprocess

from sectorbench.build import TOP, Build, BuildError
from sectorbench.memory import ask_statistics
from sectorbench.servers import SHM, Server

MIB = 2**20
BEFORE = "4c12afe"                      # the last commit without tiers


class ToolError(Exception):
    pass


def run(*command):
    """What a command printed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        raise ToolError(f"{' '.join(map(str, command))}:\n{done.stderr[-2000:]}{done.stdout[-2000:]}")
    return done.stdout


def build_of_commit(commit, folder):
    """A Release build of the plugin as it was at that commit; made once."""
    source, build = folder / f"source-{commit}", folder / f"build-{commit}"
    if not (build / "plugin/nbdkit-sectors-plugin.so").exists():
        if not source.exists():
            run("git", "clone", "--quiet", "--no-checkout", TOP, source)
        run("git", "-C", source, "checkout", "--quiet", commit)
        run("cmake", "-S", source, "-B", build, "-DCMAKE_BUILD_TYPE=Release")
        run("cmake", "--build", build, "--target", "nbdkit-sectors-plugin", "-j", os.cpu_count())
    found = Build.__new__(Build)
    found.folder = build
    found.plugin = build / "plugin/nbdkit-sectors-plugin.so"
    if not found.suitable:
        raise BuildError(f"{build} is not an optimized build")
    return found.plugin


class Place:
    """A folder of this run on a disk, for what is below memory; and one for sockets."""

    def __init__(self, disk, sockets, plugin):
        self.disk = pathlib.Path(disk)
        self._sockets = pathlib.Path(sockets)
        self._plugin = plugin

    def serve(self, name, *parameters, plugin=None):
        command = ["nbdkit", "--exit-with-parent", "-U", "{socket}", plugin or self._plugin,
                   *parameters, "control={control}"]
        return Server(name, command, self._sockets)

    def serve_null(self, size):
        return Server("null", ["nbdkit", "--exit-with-parent", "-U", "{socket}", "null", size],
                      self._sockets)

    def file(self, name):
        return self.disk / name

    def remove(self, *names):
        for name in names:
            self.file(name).unlink(missing_ok=True)

    def settle(self):
        """Nothing is left to be written to the disk."""
        subprocess.run(["sync", "-f", self.disk], check=True)


def statistics(server):
    """What the server tells of its default volume."""
    answer = ask_statistics(server.control)
    return {**answer["volumes"][0], "throttle_ns": answer["total"].get("throttle_ns", 0)}


def flush(server):
    """Have the server write to images what they do not have yet."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(server.control))
        connection.sendall(b'{"version": 1, "command": "flush"}\n')
        for line in connection.makefile():
            answer = json.loads(line)
            if "ok" in answer:          # else it tells how far it is
                break
    if not answer["ok"]:
        raise ToolError(f"{server.name}: {answer['error']}")


def grown(after, before, *keys):
    """How much counters have grown."""
    return {key: after[key] - before[key] for key in keys}


class Material:
    """Random bytes in memory, for dd to read."""

    def __init__(self, size):
        self.path = SHM / f"sectors-bench-{os.getpid()}-material"
        self.size = size
        with open(self.path, "wb") as file:
            for _ in range(size // MIB):
                file.write(os.urandom(MIB))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.path.unlink(missing_ok=True)


def dd_direct(path, amount, material):
    """Bytes per second of dd oflag=direct bs=1M into a new file.  What it reads is in memory and
    shorter than the amount, so dd is run several times."""
    seconds, done = 0.0, 0
    while done < amount:
        part = min(material.size, amount - done)
        printed = subprocess.run(
            ["dd", f"if={material.path}", f"of={path}", "bs=1M", "oflag=direct", "conv=notrunc",
             f"count={part // MIB}", f"seek={done // MIB}"],
            capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
        if printed.returncode != 0:
            raise ToolError(f"dd to {path}: {printed.stderr}")
        # "1048576 bytes (1.0 MB, 1.0 MiB) copied, 0.00123 s, 850 MB/s"
        seconds += float(printed.stderr.splitlines()[-1].split(" copied, ")[1].split()[0])
        done += part
    return amount / seconds


def fio(*options):
    """The one job of a run of fio."""
    printed = run("fio", "--name=job", "--randrepeat=0", "--norandommap", "--thread",
                  "--output-format=json", *options)
    # Warnings may come before the object.
    return json.loads(printed[printed.index("{"):])["jobs"][0]


def fio_direct(path, size, kind, seconds, depth=16):
    """4 KiB requests each second at random places of a file, past the page cache."""
    job = fio(f"--filename={path}", f"--rw={kind}", "--bs=4k", "--ioengine=libaio", "--direct=1",
              f"--iodepth={depth}", f"--size={size}", f"--runtime={seconds}", "--time_based")
    return job[kind[4:]]["iops"]


def mib_s(rate):
    return f"{rate / MIB:.0f}"
