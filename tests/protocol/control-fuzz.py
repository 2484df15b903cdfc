# SPDX-License-Identifier: BSD-3-Clause
"""Thousands of lines that are nearly requests, from many clients at once: the
server answers each, and goes on."""

import json
import os
import random
import socket
import threading
import unittest

import sectors
from sectors import MIB

# Without images and bases: what a mutation makes of a path would be a file of this machine.
SEEDS = [
    {"version": 1, "command": "stats"},
    {"command": "volumes"},
    {"command": "create", "name": "x", "size": 1048576, "priority": 5},
    {"command": "create", "name": "y", "size": "1M"},
    {"command": "remove", "name": "x", "force": True},
    {"command": "resize", "name": "x", "size": 2097152},
    {"command": "gc", "target": "50%"},
    {"command": "gc", "target": 1048576},
    {"command": "preload", "volume": "default", "offset": 0, "length": 1048576},
    {"command": "drop", "volume": "default", "offset": 4096, "length": "64K"},
    {"command": "priority", "volume": "default", "offset": 0, "length": 65536, "priority": 9},
    {"command": "priority", "volume": "default", "priority": 5},
    {"command": "flush", "volume": "default"},
    {"command": "flush"},
    {"command": "map", "volume": "default", "resolution": 64},
    {"command": "map", "volume": "default", "offset": 0, "length": 1048576},
    {"command": "set", "memory_limit": "64M", "high_watermark": 90, "low_watermark": 85},
    {"command": "set", "compression": "lz4"},
    {"command": "log", "since": 0},
]
KEYS = sorted({key for seed in SEEDS for key in seed} | {"colour", "", "\0", "\u20ac"})
VALUES = [0, -1, 1, 2 ** 31, 2 ** 32, 2 ** 63 - 1, -2 ** 63, 2 ** 63, 2 ** 64, 10 ** 40, 0.5, 1e308,
          True, False, None, "", "0", "-1", "100%", "101%", "8E", "1M", "x", "default", "\0", "\x1b[2J",
          "\u20ac" * 100, "\ud83d\udcbe", "a/b", "%s%n%x", [], {}, [[[[]]]], {"a": {"b": 1}}, "x" * 3000]
BYTES = b'{}[]",:\\0123456789-+eE.tfn\x00\xff\xc3\x80\x1b \t\r'


def mutated(dice):
    """One line, without its newline."""
    request = dict(dice.choice(SEEDS))
    for _ in range(dice.choice((0, 0, 1, 1, 2, 3))):
        kind = dice.randrange(3)
        if kind == 0 and request:
            request.pop(dice.choice(list(request)))
        elif kind == 1:
            request[dice.choice(KEYS)] = dice.choice(VALUES)
        elif request:
            request[dice.choice(list(request))] = dice.choice(VALUES)
    line = bytearray(json.dumps(request, ensure_ascii=dice.random() < 0.5).encode(errors="replace"))
    for _ in range(dice.choice((0, 0, 0, 1, 1, 2, 8))):
        at = dice.randrange(len(line) + 1)
        kind = dice.randrange(4)
        if kind == 0:
            line[at:at] = bytes([dice.choice(BYTES)])
        elif kind == 1:
            del line[at:at + dice.randrange(1, 5)]
        elif kind == 2:
            line[at:at + 1] = bytes([dice.randrange(256)])
        else:
            line[at:at] = bytes([dice.choice(BYTES)]) * dice.randrange(1, 900)
    return bytes(line).replace(b"\n", b" ")[:4000]


class Fuzz(sectors.TestCase):
    CLIENTS = 8
    ROUNDS = 20
    LINES = 100

    def fuzz(self, control, seed, problems):
        dice = random.Random(seed)
        try:
            for _ in range(self.ROUNDS):
                lines = [mutated(dice) for _ in range(self.LINES)]
                with socket.socket(socket.AF_UNIX) as s:
                    s.settimeout(60)
                    s.connect(control)
                    self.one_client(dice, s, lines, problems)
        except (OSError, ValueError, AssertionError) as error:
            problems.append((seed, error))

    def one_client(self, dice, s, lines, problems):
        kind = dice.randrange(4)
        if kind == 0:  # all at once, and gone without reading
            s.sendall(b"\n".join(lines)[:dice.randrange(40000)])
            return
        answers = s.makefile("rb")
        for line in lines:
            if kind == 1:  # in pieces
                middle = dice.randrange(len(line) + 1)
                s.sendall(line[:middle])
                s.sendall(line[middle:] + b"\n")
            else:
                s.sendall(line + b"\n")
            answer = {"progress": {}}
            while "progress" in answer:
                answer = json.loads(answers.readline())
            if not isinstance(answer["ok"], bool) or answer["version"] != 1:
                problems.append((line, answer))
            if not answer["ok"] and len(answer["error"]) < 10:
                problems.append((line, answer))

    def run_against(self, *parameters):
        control = os.path.join(self.folder, "control")
        server = self.serve("1G", "control=" + control, *parameters)
        h = self.connect()
        data = os.urandom(MIB)
        h.pwrite(data, 64 * MIB)
        problems = []
        first = random.randrange(2 ** 32)
        threads = [threading.Thread(target=self.fuzz, args=(control, first + i, problems))
                   for i in range(self.CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [], "seeds from %d" % first)
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(60)
            s.connect(control)
            s.sendall(b'{"command": "stats"}\n')
            answer = json.loads(s.makefile("rb").readline())
        self.assertIs(answer["ok"], True)
        self.assertIsNone(server.process.poll())
        self.assertData(h, 64 * MIB, data)
        # All clients have left, and nothing of them.
        self.assertTrue(sectors.wait_for(lambda: server.open_files() < 40))

    def test_memory_only(self):
        self.run_against("memory-limit=64M")

    def test_tiers(self):
        self.run_against("memory-limit=64M", "compress=lz4", "spill=" + self.folder)


if __name__ == "__main__":
    sectors.main()
