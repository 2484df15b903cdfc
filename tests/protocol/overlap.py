# SPDX-License-Identifier: BSD-3-Clause
"""Whom a request that waits for a slow store below makes wait, in each thread model, and what the
plugin chooses by itself for the nbdkit that is there.  The store below is a server that is stopped,
so no time is measured."""

import os
import re
import signal
import subprocess

import nbd
import sectors
from sectors import KIB, MIB, GIB, SECTOR

# nbdkit serves this many requests of a connection at the same time.
THREADS = 16
BELOW_AT = 32 * MIB
APART = 256 * KIB  # more than is fetched at once
RESIDENT = b"r" * SECTOR


def nbdkit(*arguments):
    done = subprocess.run(["nbdkit", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, env=sectors.server_environment())
    if done.returncode != 0:
        raise AssertionError("nbdkit %s: %s" % (arguments, done.stderr))
    return done.stdout


def survives_hangups():
    """nbdkit from 1.34 on."""
    return tuple(map(int, re.search(r"(\d+)\.(\d+)", nbdkit("--version")).groups())) >= (1, 34)


def below_data(number):
    return bytes([number + 1]) * SECTOR


class Overlap(sectors.TestCase):
    def setUp(self):
        super().setUp()
        self.below = None
        self.done = []  # what was answered, in order

    def serve_over_another(self, *parameters):
        """A server whose base is on another server, with one resident sector."""
        path = os.path.join(self.folder, "base")
        with open(path, "wb") as file:
            file.truncate(64 * MIB)
            for number in range(THREADS):
                file.seek(BELOW_AT + number * APART)
                file.write(below_data(number))
        below = os.path.join(self.folder, "below.sock")
        self.below = subprocess.Popen(
            ["nbdkit", "-f", "--exit-with-parent", "-r", "-U", below, "file", path],
            stdin=subprocess.DEVNULL)
        self.addCleanup(self.end_below)
        self.assertTrue(sectors.wait_for(lambda: os.path.exists(below)))
        self.serve("64M", "base=nbd+unix:///?socket=" + below, "memory-limit=16M", *parameters)
        self.connect().pwrite(RESIDENT, 0)

    def end_below(self):
        self.below.kill()
        self.below.wait()

    def read(self, h, name, offset, wanted):
        buffer = nbd.Buffer(SECTOR)

        def answered(error):
            self.done.append((name, error.value, buffer.to_bytearray() == wanted))
            return 1

        h.aio_pread(buffer, offset, answered)

    def assertOverlap(self, wanted, slow=1):
        """So many reads that have to wait, and one that need not, on one connection: whether the one
        is answered while the others wait."""
        h = self.connect()
        self.below.send_signal(signal.SIGSTOP)
        for number in range(slow):
            self.read(h, "slow", BELOW_AT + number * APART, below_data(number))
        self.read(h, "resident", 0, RESIDENT)
        # Another connection never waits.
        self.assertData(self.connect(), 0, RESIDENT)
        sectors.wait_for(lambda: h.poll(50) and self.done, seconds=20 if wanted else 1)
        early = list(self.done)
        self.below.send_signal(signal.SIGCONT)
        sectors.run_async(h)
        self.assertEqual(sorted(self.done), [("resident", 0, True)] + [("slow", 0, True)] * slow)
        self.assertEqual(early, [("resident", 0, True)] if wanted else [])

    def test_serialize_requests(self):
        self.serve_over_another("thread-model=serialize-requests")
        self.assertOverlap(False)

    def test_parallel(self):
        self.serve_over_another("thread-model=parallel")
        self.assertOverlap(True, slow=THREADS - 1)

    def test_auto(self):
        self.serve_over_another()
        self.assertOverlap(survives_hangups())

    def test_auto_is_parallel_for_something_slow(self):
        image = os.path.join(self.folder, "image")
        for parameters, slow in (([], False), (["compress=lz4"], False), (["spill=" + self.folder], True),
                                 (["image=" + image], True), (["base=" + sectors.PLUGIN], True)):
            with self.subTest(parameters=parameters):
                dump = nbdkit("--dump-plugin", sectors.PLUGIN, "64M", *parameters)
                model = "parallel" if slow and survives_hangups() else "serialize_requests"
                self.assertIn("\nthread_model=%s\n" % model, dump)

    def test_extents_of_a_reply(self):
        """Several only where a client that hangs up meanwhile does no harm."""
        self.serve("1G", "memory-limit=64M")
        h = self.connect()
        for number in range(0, 4096, 2):
            h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(b"x")), number * SECTOR)
        sectors.run_async(h)
        self.assertEqual(len(sectors.extents(h, 0, GIB)), 1024 if survives_hangups() else 1)


if __name__ == "__main__":
    sectors.main()
