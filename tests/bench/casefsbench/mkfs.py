# SPDX-License-Identifier: BSD-3-Clause
"""Section mkfs: making a volume on a disk of a pebibyte that holds nothing."""

import os
import random

from sectorbench import stats
from sectorbench.memory import ask_statistics
from sectorbench.report import Section, Table, Target

from .programs import MIB, find_system, run as run_program

SIZES = {"1 GiB": "1G", "1 TiB": "1T", "1 PiB": "1P"}
FILE_SIZE = 2**40                       # of the files that mkfs.casefs and mke2fs get
MILLISECONDS = 100                      # what "milliseconds" is: less than this
RESIDENT = 1                            # MiB


def on_server(programs, servers, size):
    """Seconds in the library, seconds of the command, and what the disk holds then."""
    with servers.start("sectors control", size) as server:
        sample = programs.load("format", server.uri)
        total = ask_statistics(server.control)["total"]
        sample.update(live=total["live"], resident=total["live"] + total["metadata"])
        if programs.mkfs is not None:
            sample["command"] = run_program(programs.mkfs, "--quiet", "--force", server.uri)[0]
            total = ask_statistics(server.control)["total"]
            sample["command_live"] = total["live"]
    return sample


def on_file(programs, folder):
    """Seconds and bytes on a sparse file, of mkfs.casefs and mke2fs."""
    sides = {"mkfs.casefs": [programs.mkfs, "--quiet"]}
    if find_system("mke2fs") is not None:
        sides["mke2fs"] = [find_system("mke2fs"), "-q", "-F", "-t", "ext4"]
    order = list(sides)
    random.shuffle(order)
    samples = {}
    for side in order:
        image = folder / f"{side}.img"
        with open(image, "wb") as file:
            file.truncate(FILE_SIZE)
        samples[side] = {"seconds": run_program(*sides[side], image)[0],
                         "bytes": os.stat(image).st_blocks * 512}
        image.unlink()
    return samples


def measure(programs, settings, folder, servers, progress):
    disks, files = {size: [] for size in SIZES}, []
    for turn in range(settings.mkfs_rounds):
        order = list(SIZES)
        random.shuffle(order)
        progress(f"mkfs: round {turn + 1}/{settings.mkfs_rounds}")
        for size in order:
            disks[size].append(on_server(programs, servers, SIZES[size]))
        if programs.mkfs is not None:
            files.append(on_file(programs, folder))
    return disks, files


def values(samples, key):
    return [sample[key] for sample in samples]


def disk_table(disks):
    rows = []
    for size, samples in disks.items():
        row = [size]
        for key in ("format", "command"):
            row.append(f"{stats.median(values(samples, key)) * 1000:.2f}" if key in samples[0]
                       else "")
        row += [str(stats.ratio(values(samples, "format"), values(disks["1 GiB"], "format"))),
                *(f"{stats.median(values(samples, key)) / 1024:.0f}"
                  for key in ("live", "resident"))]
        rows.append(row)
    return Table("`nbdkit sectors` over a Unix socket (medians)",
                 ["size", "casefs_format, ms", "mkfs.casefs, ms", "casefs_format over 1 GiB's",
                  "live after it, KiB", "with metadata, KiB"], rows)


def file_table(files):
    rows = []
    for side in sorted(files[0]):
        seconds = [sample[side]["seconds"] for sample in files]
        rows.append([side, f"{stats.median(seconds) * 1000:.1f}",
                     f"{stats.median([sample[side]['bytes'] for sample in files]) / MIB:.2f}",
                     "" if side == "mke2fs" or "mke2fs" not in files[0] else
                     str(stats.ratio([sample["mke2fs"]["seconds"] for sample in files], seconds))])
    return Table("A sparse file of 1 TiB on tmpfs (medians)",
                 ["", "ms", "MiB taken", "times as fast as mke2fs"], rows)


def run(programs, settings, folder, servers, progress):
    section = Section("mkfs", "mkfs on a petabyte that is not there")
    if not servers.have_ours():
        section.notes.append("Left out: nbdkit-sectors-plugin is not built.")
        return section
    disks, files = measure(programs, settings, folder, servers, progress)
    section.tables = [disk_table(disks)] + ([file_table(files)] if files else [])
    largest = disks["1 PiB"]
    section.targets = [
        Target("casefs_format on 1 PiB, milliseconds",
               stats.of_rounds([1000 * value for value in values(largest, "format")]), "<",
               MILLISECONDS),
        Target("memory that a volume of 1 PiB takes, with the store's metadata",
               max(values(largest, "resident")) / MIB, "<", RESIDENT, " MiB"),
        Target("casefs_format, 1 PiB over 1 GiB",
               stats.ratio(values(largest, "format"), values(disks["1 GiB"], "format")), "<=", 2),
    ]
    if files:
        section.targets.insert(1, Target(
            "mkfs.casefs on 1 PiB, whole command, milliseconds",
            stats.of_rounds([1000 * value for value in values(largest, "command")]), "<",
            MILLISECONDS))
    section.notes += [
        f"{settings.mkfs_rounds} rounds, a fresh server for each. casefs_format is timed inside "
        "the process, after connecting; mkfs.casefs is the whole command, which looks for another file "
        "system first, and makes the volume again.",
    ]
    section.data = {"disks": disks, "files": files}
    return section
