# SPDX-License-Identifier: BSD-3-Clause
"""Section memory: how the server's memory follows the data it holds."""

import json
import socket
import time

from . import stats
from .report import Section, Table, Target
from .servers import Servers

SIDES = (Servers.OURS, "memory")
MIB = 2**20
SCATTERED = 20000
SCATTERED_SIZE = 2**60
SETTLE = 1.0                            # seconds after which memory must have followed


class Growth:
    """Resident memory over what the idle server had."""

    def __init__(self, server, load):
        self._server = server
        load(server, op="read", block="4K", bytes="4K", depth=1)
        self.idle = server.rss()

    def now(self):
        return self._server.rss() - self.idle

    def settled(self):
        time.sleep(SETTLE)
        return self.now()


def fill_and_trim(servers, load, side, amount):
    with servers.start(side) as server:
        growth = Growth(server, load)
        figures = {"idle": growth.idle}
        load.fill(server, amount)
        figures["full"] = growth.settled()
        load(server, op="trim", pattern="sequential", block="4K", stride="8K", range=amount,
             bytes=amount // 2)
        figures["half"] = growth.settled()
        load.trim(server, amount)
        figures["empty"] = growth.settled()
    return figures


def scattered(servers, load, side):
    """Bytes of memory per byte that single sectors far from each other hold."""
    with servers.start(side, SCATTERED_SIZE) as server:
        growth = Growth(server, load)
        load(server, op="write", pattern="random", block="4K", bytes=SCATTERED * 4096)
        return growth.settled() / (SCATTERED * 4096)


def zeros(servers, load, side, amount):
    with servers.start(side) as server:
        growth = Growth(server, load)
        load.fill(server, amount, zeros=True)
        return growth.settled()


def ask_statistics(path):
    """The server's own statistics, over its control socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b'{"command": "stats"}\n')
        return json.loads(connection.makefile().readline())["statistics"]


def metadata(servers, load, amount):
    """Bytes of data and of metadata that the server says it has after it was filled densely."""
    with servers.start("sectors control") as server:
        load.fill(server, amount)
        total = ask_statistics(server.control)["total"]
    return {"live": total["live"], "metadata": total["metadata"]}


def measure(servers, load, sides, settings, progress):
    samples = {side: [] for side in sides}
    for turn in range(settings.memory_rounds):
        for side in sides:
            progress(f"memory: round {turn + 1}/{settings.memory_rounds}, {side}")
            figures = fill_and_trim(servers, load, side, settings.memory_amount)
            figures["scattered"] = scattered(servers, load, side)
            figures["zeros"] = zeros(servers, load, side, settings.memory_amount)
            samples[side].append(figures)
    return samples


def medians(samples):
    return {key: stats.median([sample[key] for sample in samples]) for key in samples[0]}


def table_of(figures, amount):
    size = f"{amount // MIB} MiB"
    rows = [("idle server, MiB", "idle", MIB), (f"+ after {size} were written, MiB", "full", MIB),
            ("+ after every second 4 KiB was trimmed, MiB", "half", MIB),
            ("+ after all was trimmed, MiB", "empty", MIB),
            (f"+ after {size} of zeros were written, MiB", "zeros", MIB),
            (f"bytes per byte in {SCATTERED} single sectors on 2^60 bytes", "scattered", 1)]
    return Table(f"Resident memory, {SETTLE:g} s after the last request (medians)",
                 ["", *figures],
                 [[text, *(f"{figures[side][key] / unit:.1f}" for side in figures)]
                  for text, key, unit in rows])


def targets_of(figures, amount):
    def follows(key, live):
        return (figures[key] - 1.05 * live) / MIB
    return [
        Target("memory over 1.05 × live, all written", follows("full", amount), "<=", 16, " MiB"),
        Target("memory over 1.05 × live, every second 4 KiB trimmed",
               follows("half", amount / 2), "<=", 16, " MiB"),
        Target("memory over 1.05 × live, all trimmed", follows("empty", 0), "<=", 16, " MiB"),
        Target("memory per byte in single scattered sectors", figures["scattered"], "<=", 3),
        Target("memory taken by zeros", figures["zeros"] / MIB, "<", 8, " MiB"),
    ]


def run(servers, load, settings, progress):
    section = Section("memory", "Memory follows the data")
    sides = [side for side in SIDES if side != Servers.OURS or servers.have_ours()]
    samples = measure(servers, load, sides, settings, progress)
    figures = {side: medians(samples[side]) for side in sides}
    section.tables = [table_of(figures, settings.memory_amount)]
    section.data = {"samples": samples}
    section.notes.append(f"{settings.memory_rounds} rounds, fresh servers; '+' is over the idle "
                         "server, the peer at its defaults.")
    if servers.have_ours():
        section.targets = targets_of(figures[Servers.OURS], settings.memory_amount)
        dense = metadata(servers, load, settings.memory_amount)
        section.data["dense"] = dense
        section.notes.append(f"After {dense['live'] // MIB} MiB were written in order, metadata "
                             f"takes {100 * dense['metadata'] / dense['live']:.2f} % of the data, "
                             "by the server's statistics.")
    return section
