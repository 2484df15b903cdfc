# SPDX-License-Identifier: BSD-3-Clause
"""Names the machine, and watches what else it is doing."""

import datetime
import os
import pathlib
import platform
import shlex
import subprocess
import sys


def _read(path, default="unknown"):
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError:
        return default


def first_line(*command):
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return output.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "absent"


def _fields(path):
    """The 'name: value' lines of a /proc file; of equal names the first."""
    fields = {}
    for line in _read(path, "").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields


def available_memory():
    """Bytes that can be used without swapping."""
    return int(_fields("/proc/meminfo")["MemAvailable"].split()[0]) * 1024


def total_memory():
    return int(_fields("/proc/meminfo")["MemTotal"].split()[0]) * 1024


def _cpu():
    fields = _fields("/proc/cpuinfo")
    model = fields.get("model name", platform.machine())
    guest = " (virtual machine)" if "hypervisor" in fields.get("flags", "").split() else ""
    return model + guest


def describe(build):
    """The facts a reader needs to judge or repeat the figures."""
    return {
        "CPU": _cpu(),
        "cores": os.cpu_count(),
        "RAM": f"{total_memory() / 2**30:.1f} GiB",
        "kernel": platform.release(),
        "transparent huge pages": _read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "nbdkit": first_line("nbdkit", "--version"),
        "libnbd": first_line("pkg-config", "--modversion", "libnbd"),
        "qemu-nbd": first_line("qemu-nbd", "--version"),
        "commit": first_line("git", "-C", os.path.dirname(__file__), "rev-parse", "--short",
                              "HEAD"),
        "build": build.description,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "load before": _read("/proc/loadavg").split()[0],
        "command": shlex.join(sys.argv),
    }


def _processor_seconds():
    """Of all processors since the start: in all, used, stolen."""
    ticks = [int(tick) for tick in _read("/proc/stat").splitlines()[0].split()[1:9]]
    second = os.sysconf("SC_CLK_TCK")
    user, nice, system, _, _, irq, softirq, stolen = (tick / second for tick in ticks)
    return sum(ticks) / second, user + nice + system + irq + softirq, stolen


def used_seconds():
    """Processor time used by all since the start."""
    return _processor_seconds()[1]


class CpuWatch:
    """What else the machine did during the run."""

    def __init__(self):
        self._start = self._now()

    @staticmethod
    def _now():
        """The last is this run's own: its processes that have ended and were waited for."""
        return (*_processor_seconds(), sum(os.times()[:4]))

    def report(self):
        total, used, stolen, own = (after - before for before, after
                                    in zip(self._start, self._now()))
        return {"processor time of others": f"{100 * max(used - own, 0) / total:.1f} %",
                "stolen by the hypervisor": f"{100 * stolen / total:.1f} %"}
