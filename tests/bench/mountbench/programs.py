# SPDX-License-Identifier: BSD-3-Clause
"""The programs that are measured, those that measure, and how they are run."""

import json
import pathlib
import subprocess

from casefsbench.programs import MIB, RunError, find_system, run
from sectorbench.build import Build

__all__ = ["GIB", "MIB", "Programs", "RunError", "find_system", "run"]

GIB = 2**30
BENCH = pathlib.Path(__file__).resolve().parents[1]
# Where distributions put the examples of libfuse3.
EXAMPLES = ("/usr/share/doc/libfuse3-dev/examples", "/usr/share/doc/fuse3-devel/example",
            "/usr/share/doc/fuse3/example")


class Programs(Build):
    """A build folder, and small programs compiled for this run.  One that is not there is None."""

    def __init__(self, folder, make, program_folder, mount=None):
        super().__init__(folder, make)
        self.mount = pathlib.Path(mount) if mount else self._find("tools/mount/mount.casefs")
        self.mkfs = self._find("tools/mkfs.casefs")
        self.fsck = self._find("tools/fsck.casefs")
        self._compiled = pathlib.Path(program_folder)
        self._compiled.mkdir(parents=True, exist_ok=True)
        self.files = self._compile(BENCH / "mount-files.c", fuse=False)
        self.null = self._compile(BENCH / "mount-null.c")
        example = next((pathlib.Path(path) / "passthrough_ll.c" for path in EXAMPLES
                        if (pathlib.Path(path) / "passthrough_ll.c").exists()), None)
        self.passthrough = example and self._compile(example)

    def _compile(self, source, fuse=True):
        """Optimized as the build is; None where libfuse3 is absent."""
        flags = []
        if fuse:
            found = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"],
                                   capture_output=True, text=True, check=False)
            if found.returncode != 0:
                return None
            flags = found.stdout.split()
        program = self._compiled / source.stem
        run("cc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-o", program, source, *flags, "-pthread")
        return program

    def measure(self, *arguments):
        """One run of mount-files: what it printed."""
        return json.loads(run(self.files, *arguments)[1])
