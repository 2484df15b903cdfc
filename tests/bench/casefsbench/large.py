# SPDX-License-Identifier: BSD-3-Clause
"""Section large: one large file into a volume on an NBD server and out of it, against nbdcopy."""

import os
import pathlib
import random

from sectorbench import stats
from sectorbench.report import Section, Table, Target
from sectorbench.servers import Servers
from sectorbench.warm import warm

from .programs import MIB, RunError, find_system, run as run_program

WANTED = 0.8
LIBRARY_THREADS = 4


class Copies:
    """What each side does, in a folder on tmpfs; each returns its seconds."""

    def __init__(self, programs, servers, folder, amount):
        self._programs, self._servers, self._amount = programs, servers, amount
        self._source, self._result = folder / "large.source", folder / "large.result"
        self._nbdcopy = find_system("nbdcopy")
        with open(self._source, "wb") as file:
            for _ in range(amount // MIB):
                file.write(os.urandom(MIB))

    def close(self):
        self._source.unlink(missing_ok=True)
        self._result.unlink(missing_ok=True)

    def sides(self):
        sides = {"nbdcopy": self._nbdcopy_copy, "casefs library": self._library_copy}
        if self._programs.casefs is not None:
            sides["casefs cp"] = self._cp_copy
        return sides

    def round(self, side):
        """Up and down with a fresh server."""
        self._result.unlink(missing_ok=True)
        copy = self.sides()[side]
        # nbdcopy copies the whole disk; a volume needs room beside the file.
        size = self._amount if side == "nbdcopy" else 2 * self._amount
        with self._servers.start(Servers.OURS, size) as server:
            if side != "nbdcopy":
                self._programs.load("format", server.uri)
            times = {"up": copy(server.uri, True), "down": copy(server.uri, False)}
        return times

    def verify(self, side):
        self._compare(self._source, self._result, side)

    @staticmethod
    def _compare(one: pathlib.Path, other: pathlib.Path, side):
        with open(one, "rb") as left, open(other, "rb") as right:
            while True:
                part = left.read(MIB)
                if part != right.read(MIB):
                    raise RunError(f"{side}: what came back is not what went in")
                if not part:
                    return

    def _nbdcopy_copy(self, uri, up):
        if up:
            return run_program(self._nbdcopy, "--flush", self._source, uri)[0]
        return run_program(self._nbdcopy, uri, self._result)[0]

    def _cp_copy(self, uri, up):
        if up:
            return run_program(self._programs.casefs, "cp", self._source, f"{uri}:/large")[0]
        return run_program(self._programs.casefs, "cp", f"{uri}:/large", self._result)[0]

    def _library_copy(self, uri, up):
        file = self._source if up else self._result
        return run_program(self._programs.casefsload, "large", "up" if up else "down", uri, file,
                           LIBRARY_THREADS)[0]


def measure(copies, settings, progress):
    samples = {side: [] for side in copies.sides()}
    for turn in range(settings.large_rounds):
        order = list(samples)
        random.shuffle(order)
        for side in order:
            progress(f"large: round {turn + 1}/{settings.large_rounds}, {side}")
            warm(3 * settings.large)
            samples[side].append(copies.round(side))
            if turn == 0:
                copies.verify(side)
    return samples


def ratio(samples, side, way):
    """Speed over nbdcopy's."""
    return stats.ratio([sample[way] for sample in samples["nbdcopy"]],
                       [sample[way] for sample in samples[side]])


def table_of(samples, amount):
    rows = []
    for side, rounds in samples.items():
        row = [side]
        for way in ("up", "down"):
            rate = stats.median([amount / MIB / sample[way] for sample in rounds])
            row += [f"{rate:.0f}", "" if side == "nbdcopy" else str(ratio(samples, side, way))]
        rows.append(row)
    return Table(f"{amount // MIB} MiB between a file on tmpfs and `nbdkit sectors`, over a Unix "
                 "socket (medians)", ["", "in, MiB/s", "over nbdcopy", "out, MiB/s",
                                      "over nbdcopy"], rows)


def run(programs, settings, folder, servers, progress):
    section = Section("large", "One large file, over NBD")
    if not servers.have_ours() or find_system("nbdcopy") is None:
        section.notes.append("Left out: nbdkit-sectors-plugin is not built, or nbdcopy "
                             "(libnbd-bin) is not installed.")
        return section
    copies = Copies(programs, servers, folder, settings.large)
    try:
        samples = measure(copies, settings, progress)
    finally:
        copies.close()
    section.tables = [table_of(samples, settings.large)]
    side = "casefs cp" if "casefs cp" in samples else "casefs library"
    section.targets = [Target(f"{side}, {text}: rate over nbdcopy's", ratio(samples, side, way),
                              ">=", WANTED) for way, text in (("up", "in"), ("down", "out"))]
    section.notes += [
        f"{settings.large_rounds} rounds, a fresh server for each side; random bytes; whole "
        "commands, with starting, opening and closing. What came back is compared once.",
        "nbdcopy writes the bytes to the disk itself (--flush); casefs writes a volume, with a "
        "checksum for every block, and syncs. The volume is made before.",
        f"casefs library: {LIBRARY_THREADS} threads that each take the next MiB.",
    ]
    section.data = samples
    return section
