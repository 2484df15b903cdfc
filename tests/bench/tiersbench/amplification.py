# SPDX-License-Identifier: BSD-3-Clause
"""Section amplification: what reaches the image of what clients write."""

import json
import os
import shutil
import subprocess

from sectorbench.build import TOP
from sectorbench.report import Section, Table

from .tools import MIB, ToolError, fio, flush, grown, statistics

COUNTERS = ("swapped_out", "out_requests", "swapped_in")
# Name, fio's distribution, size of what is written to in parts of the memory limit, and whether
# the client flushes every 1024 writes.
WORKLOADS = (("uniform, half of memory", "random", 0.5, False),
             ("uniform, half of memory, flushes", "random", 0.5, True),
             ("uniform, 4 times memory", "random", 4, False),
             ("zipf 1.1, half of memory", "zipf:1.1", 0.5, False),
             ("zipf 1.1, 4 times memory", "zipf:1.1", 4, False),
             ("zipf 1.1, 4 times memory, flushes", "zipf:1.1", 4, True))
IN_GUEST = TOP / "tests/bench/tiersbench/ext4-in-guest"


def rewrite(place, load, settings, workload):
    """fio rewrites an image that is full already, and flushes at the end."""
    _, distribution, part, flushes = workload
    size = int(settings.limit * part)
    place.remove("image")
    with place.serve("image", 4 * settings.limit, f"memory-limit={settings.limit}",
                     f"image={place.file('image')}") as server:
        load.fill(server, size)
        flush(server)
        before = statistics(server)
        job = fio("--ioengine=nbd", f"--uri={server.uri}", "--rw=randwrite", "--bs=4k",
                  "--iodepth=16", f"--size={size}", f"--io_size={settings.rewrites}",
                  f"--random_distribution={distribution}", "--end_fsync=1",
                  *(["--fsync=1024"] if flushes else []))
        flush(server)
        moved = grown(statistics(server), before, *COUNTERS)
    place.remove("image")
    return {"written": job["write"]["io_bytes"], "iops": job["write"]["iops"], **moved}


def ext4(settings, build):
    """ext4 over an image in user-mode Linux: copying, syncing, deleting; or None without it."""
    if shutil.which("linux.uml") is None:
        return None
    done = subprocess.run(
        [TOP / "tests/kernel/in-guest", IN_GUEST, str(settings.guest_limit // MIB)],
        capture_output=True, text=True, check=False,
        env={**os.environ, "GUEST_DISK": "20G", "GUEST_TIMEOUT": "600",
             "SECTORS_BUILD_DIR": str(build)})
    if done.returncode != 0:
        raise ToolError(f"ext4 in user-mode Linux: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def table_of(samples):
    rows = []
    for name, sample in samples.items():
        out, requests = sample["swapped_out"], sample["out_requests"]
        rate = sample.get("iops")
        rows.append([name, f"{sample['written'] / MIB:.0f}", f"{out / MIB:.0f}",
                     f"{out / sample['written']:.2f}", f"{requests}",
                     f"{out / requests / 1024:.0f}" if requests else "",
                     f"{rate / 1000:.1f}" if rate else ""])
    return Table("Writes that reach the image", ["", "written by the client, MiB",
                                                 "to the image, MiB", "ratio", "requests",
                                                 "KiB each", "client's thousand/s"], rows)


def run(place, load, settings, progress):
    section = Section("amplification", "Write-back: what reaches the image")
    samples = {}
    for workload in WORKLOADS:
        progress(f"amplification: {workload[0]}")
        samples[workload[0]] = rewrite(place, load, settings, workload)
    progress("amplification: ext4 in user-mode Linux")
    guest = ext4(settings, settings.build)
    if guest is None:
        section.notes.append("ext4 is left out: user-mode Linux is not installed.")
    else:
        samples["ext4: copy, sync, change, delete"] = guest
    section.tables = [table_of(samples)]
    section.notes += [
        f"memory-limit={settings.limit // MIB}M; {settings.rewrites // MIB} MiB of random 4 KiB "
        "writes by fio, depth 16, over an image whose sectors all hold data, until all of it is "
        "in the image.  Flushes: every 1024 writes.",
        "What was written twice before it was written back reaches the image once: then the ratio "
        "is below 1.  Writing back around a dirty sector what is clean would make it more than 1.",
        f"ext4: memory-limit={settings.guest_limit // MIB}M, a real tree of some hundred megabytes "
        "in user-mode Linux.",
    ]
    section.data = samples
    return section
