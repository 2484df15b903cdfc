# SPDX-License-Identifier: BSD-3-Clause
"""Section populate: a real tree, by ../casefs-populate."""

import json
import pathlib

from sectorbench import stats
from sectorbench.report import Section, Table, Target

from .programs import run as run_program

PROGRAM = pathlib.Path(__file__).resolve().parents[1] / "casefs-populate"
PEERS = {"in": "mke2fs -d", "out": "debugfs rdump"}


def target_of(data):
    value = data["value"]
    if "quartiles" in data:
        value = stats.Ratio(value, *data["quartiles"])
    return Target(data["what"], value, data["relation"], data["limit"], data["unit"])


def table_of(direction, seconds, used):
    peer = PEERS[direction]

    def over_peer(samples, name):
        return "" if name == peer else str(stats.ratio(samples[peer], samples[name]))
    rows = [[name, f"{stats.median(seconds[name]):.2f}", over_peer(seconds, name),
             f"{stats.median(used[name]):.2f}", over_peer(used, name)] for name in seconds]
    return Table(f"{direction.capitalize()} (medians)",
                 ["", "seconds", f"times as fast as {peer}", "processor seconds",
                  f"{peer}'s over them"], rows)


def run(programs, settings, folder, progress):
    section = Section("populate", "A tree into a volume and out of it")
    if programs.casefs is None or programs.mkfs is None:
        section.notes.append("Left out: casefs and mkfs.casefs are not built.")
        return section
    progress("populate")
    results = folder / "populate.json"
    # The two may be in one folder or in two.
    folders = {str(program.parent): None for program in (programs.casefs, programs.mkfs)}
    run_program(PROGRAM, "--files", settings.populate_files, "--rounds", settings.populate_rounds,
                "--work", folder, "--wait", settings.wait // 4, "--json", results,
                *(f"--programs={path}" for path in folders))
    measured = json.loads(results.read_text())
    data = measured["sections"]["populate"]
    times = [data["data"][key] for key in ("seconds", "processor seconds")]
    section.tables = [table_of(direction, *(time[direction] for time in times))
                      for direction in PEERS]
    section.targets = [target_of(target) for target in data["targets"]]
    section.notes += [f"{settings.populate_rounds} rounds of tests/bench/casefs-populate; the "
                      f"tree: {measured['machine']['tree']}.", *data["notes"]]
    section.data = data["data"]
    return section
