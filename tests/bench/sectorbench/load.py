# SPDX-License-Identifier: BSD-3-Clause
"""Runs nbdload and reads what it prints."""

import json
import subprocess


class LoadError(Exception):
    pass


class Load:
    def __init__(self, program):
        self._program = program

    def __call__(self, server, **options):
        """Loads a server; options are nbdload's, True for one without a value.
        Returns what nbdload printed, and the server's processor time per request."""
        command = [self._program, "--uri", server.uri]
        for name, value in options.items():
            command.append(f"--{name}")
            if value is not True:
                command.append(str(value))
        used = server.processor_seconds()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LoadError(f"{server.name}: {' '.join(map(str, command[3:]))}: "
                            f"{done.stderr.strip()}\n{server.log()}")
        result = json.loads(done.stdout)
        used = server.processor_seconds() - used
        return {**result, "server_us": round(used / result["issued"] * 1e6, 3)}

    def fill(self, server, amount, **options):
        """Writes the first bytes of the disk once, in order."""
        return self(server, op="write", pattern="sequential", block="256K", depth=16,
                    range=amount, bytes=amount, **options)

    def trim(self, server, amount):
        """Trims the first bytes of the disk, in requests of up to 1 GiB."""
        block = min(amount, 2**30)
        return self(server, op="trim", pattern="sequential", block=block, depth=1,
                    range=amount, bytes=amount)
