# SPDX-License-Identifier: BSD-3-Clause
"""The programs that are measured, and how they are run."""

import json
import os
import pathlib
import shutil
import subprocess
import time

from sectorbench.build import Build, BuildError

MIB = 2**20


class RunError(Exception):
    pass


def run(*command):
    """Runs it, and returns the seconds it took and what it printed."""
    command = [str(part) for part in command]
    start = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False)
    taken = time.perf_counter() - start
    if done.returncode != 0:
        raise RunError(f"{' '.join(command)}: status {done.returncode}\n"
                       f"{(done.stderr or done.stdout)[-2000:]}")
    return taken, done.stdout


class Programs(Build):
    """A build folder.  A program that is not there is None; others are looked for in the folders
    of `elsewhere` first."""

    def __init__(self, folder, make, elsewhere=()):
        super().__init__(folder, make)
        self._elsewhere = [pathlib.Path(path) for path in elsewhere]
        self.casefsload = self._find("tests/bench/casefsload")
        self.casefs = self._find_program("casefs", "tools/casefs/casefs", "tools/casefs")
        self.mkfs = self._find_program("mkfs.casefs", "tools/mkfs.casefs",
                                       "tools/casefs/mkfs.casefs")
        if self.casefsload is None:
            raise BuildError(f"casefsload is not in {self.folder}; is liblmdb-dev installed?")

    def _find_program(self, name, *places):
        candidates = [folder / name for folder in self._elsewhere]
        candidates += [self.folder / place for place in places]
        for path in candidates:
            if path.is_file() and os.access(path, os.X_OK):
                return path
        return None

    def load(self, *arguments):
        """One run of casefsload: what it printed."""
        return json.loads(run(self.casefsload, *arguments)[1])


def find_system(name):
    """A program of the system, also where only root usually looks; or None."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
