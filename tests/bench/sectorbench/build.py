# SPDX-License-Identifier: BSD-3-Clause
"""Builds and finds the programs that are measured and that measure."""

import os
import pathlib
import re
import subprocess

TOP = pathlib.Path(__file__).resolve().parents[3]


class BuildError(Exception):
    pass


class Build:
    """A build folder.  A program that is not there is None."""

    def __init__(self, folder, make):
        self.folder = pathlib.Path(folder)
        if make:
            self._make()
        self.nbdload = self._find("tests/bench/nbdload")
        self.storebench = self._find("tests/bench/storebench")
        self.plugin = self._find("plugin/nbdkit-sectors-plugin.so")
        if self.nbdload is None:
            raise BuildError(f"nbdload is not in {self.folder}; is libnbd-dev installed?")

    def _find(self, name):
        path = self.folder / name
        return path if path.exists() else None

    def _make(self):
        commands = [["cmake", "--build", self.folder, "-j", str(os.cpu_count())]]
        if not (self.folder / "CMakeCache.txt").exists():
            commands.insert(0, ["cmake", "-S", TOP, "-B", self.folder,
                                "-DCMAKE_BUILD_TYPE=Release"])
        for command in commands:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, check=False)
            if done.returncode != 0:
                raise BuildError(f"{' '.join(map(str, command))}:\n{done.stdout[-4000:]}")

    def _cached(self, name):
        try:
            cache = (self.folder / "CMakeCache.txt").read_text()
        except OSError:
            return ""
        found = re.search(rf"^{name}:\w+=(.*)$", cache, re.MULTILINE)
        return found.group(1) if found else ""

    def _flags(self):
        sanitizers = self._cached("SECTORS_SANITIZE")
        flags = [self._cached("CMAKE_C_FLAGS"), sanitizers and f"-fsanitize={sanitizers}"]
        return " ".join(flag for flag in flags if flag)

    @property
    def description(self):
        kind = self._cached("CMAKE_BUILD_TYPE") or "no build type"
        flags = self._flags()
        compiler = pathlib.Path(self._cached("CMAKE_C_COMPILER")).name
        return " ".join(part for part in (kind, compiler, flags) if part)

    @property
    def suitable(self):
        """Whether figures from this build mean anything."""
        return (self._cached("CMAKE_BUILD_TYPE") in ("Release", "RelWithDebInfo")
                and "-fsanitize" not in self._flags())
