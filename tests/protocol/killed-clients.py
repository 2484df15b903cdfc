# SPDX-License-Identifier: BSD-3-Clause
"""Clients die in every phase of a connection; the server and what it holds do not.

ROUNDS=n sets how often, SEED=n repeats a choice of phases and delays."""

import os
import random
import signal
import struct
import time

import nbd
import sectors
from sectors import KIB, MIB, GIB, SECTOR

ROUNDS = int(os.environ.get("ROUNDS") or 20)
SEED = int(os.environ.get("SEED") or random.randrange(1 << 32))
CLIENTS = 5

# Of the volume "shared", the victims write the first part, the verifier another.
VICTIMS = 4096
STEADY_AT, STEADY = VICTIMS * SECTOR + 12345, 2 * MIB
NEVER = 1 << 62


def stamp(generation, sector):
    """What the given generation of writers puts into a sector."""
    return struct.pack("<QQ", generation, sector) * (SECTOR // 16)


# The phases.  Each does its work until it is killed.

def before_handshake(server, generation):
    s = sectors.raw_connect(server.path, greet=False)
    signal.pause()


def in_handshake(server, generation):
    s = sectors.raw_connect(server.path, greet=False)
    whole = (struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">III", 7, 4 + 6 + 2, 6) +
             b"shared" + struct.pack(">H", 0))
    s.sendall(whole[:random.randrange(len(whole))])
    signal.pause()


def reads(server, generation):
    """Many reads, and nobody to take the answers."""
    h = sectors.connect(server.path, "shared")
    for _ in range(64):
        h.aio_pread(nbd.Buffer(256 * KIB), random.randrange(0, 24 * MIB))
    signal.pause()


def reads_answered(server, generation):
    """The same with answers being taken, so that death comes anywhere."""
    h = sectors.connect(server.path, "shared")
    while True:
        while h.aio_in_flight() < 32:
            h.aio_pread(nbd.Buffer(64 * KIB), random.randrange(0, 24 * MIB), lambda error: 1)
        h.poll(-1)


def maps(server, generation):
    """Long maps, and nobody to take them: nbdkit sends each extent by itself."""
    h = sectors.connect(server.path, "fragmented")
    for _ in range(256):
        h.aio_block_status(GIB, 0, lambda *_: 0)
    signal.pause()


def writes(server, generation):
    h = sectors.connect(server.path, "shared")
    while True:
        while h.aio_in_flight() < 32:
            number = random.choice((1, 16, 64, 512))
            first = random.randrange(VICTIMS - number + 1)
            data = b"".join(stamp(generation, n) for n in range(first, first + number))
            h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)), first * SECTOR, lambda error: 1)
        h.poll(-1)


def half_a_write(server, generation):
    """The payload never arrives whole, so none of it may be written."""
    s = sectors.raw_connect(server.path, b"shared")
    first = random.randrange(VICTIMS - 256)
    data = b"".join(stamp(NEVER, n) for n in range(first, first + 256))
    s.sendall(sectors.raw_request(1, first * SECTOR, len(data)))
    s.sendall(data[:random.randrange(len(data))])
    signal.pause()


def half_a_request(server, generation):
    s = sectors.raw_connect(server.path, b"shared")
    s.sendall(sectors.raw_request(1, 0, SECTOR)[:random.randrange(28)])
    signal.pause()


def mixture(server, generation):
    h = sectors.connect(server.path, "scratch")
    data = nbd.Buffer.from_bytearray(bytearray(random.randbytes(128 * KIB)))
    ignore = lambda *_: 0
    while True:
        while h.aio_in_flight() < 32:
            offset, count = random.randrange(96 * MIB), random.randrange(1, 4 * MIB)
            random.choice((
                lambda: h.aio_pwrite(data, offset, lambda error: 1),
                lambda: h.aio_trim(count, offset, lambda error: 1),
                lambda: h.aio_zero(count, offset, lambda error: 1),
                lambda: h.aio_zero(count, offset, lambda error: 1, sectors.NO_HOLE),
                lambda: h.aio_cache(count, offset, lambda error: 1),
                lambda: h.aio_flush(lambda error: 1),
                lambda: h.aio_block_status(count, offset, ignore, lambda error: 1)))()
        h.poll(-1)


PHASES = (before_handshake, in_handshake, reads, reads_answered, maps, writes,
          half_a_write, half_a_request, mixture)


def verifier(server, pipe):
    """The load that must not notice: writes and verifies until told to stop, then
    says how often it did."""
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    ranges = [(sectors.connect(server.path, "steady"), 0, 4 * MIB),
              (sectors.connect(server.path, "shared"), STEADY_AT, STEADY)]
    os.write(pipe, b"r")
    rounds = 0
    contents = [bytes(count) for _, _, count in ranges]
    while not stop:
        for i, (h, offset, count) in enumerate(ranges):
            if h.pread(count, offset) != contents[i]:
                raise AssertionError("round %d: data at %d differs" % (rounds, offset))
            if rounds % 4 == 3:
                h.trim(count, offset)
                contents[i] = bytes(count)
            else:
                contents[i] = random.randbytes(64 * KIB) * (count // (64 * KIB))
                h.pwrite(contents[i], offset)
        rounds += 1
    os.write(pipe, b"%d" % rounds)


def fork(work, *arguments):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            random.seed()
            work(*arguments)
            status = 0
        except BaseException as error:
            print("%s: %r" % (work.__name__, error), flush=True)
        finally:
            os._exit(status)
    return pid


class KilledClients(sectors.TestCase):
    def check_victims(self, h, allowed):
        """Every sector is whole and one of those allowed; returns the generations found."""
        found = []
        data = h.pread(VICTIMS * SECTOR, 0)
        for n in range(VICTIMS):
            part = data[n * SECTOR:(n + 1) * SECTOR]
            generation = struct.unpack_from("<Q", part)[0]
            wanted = stamp(generation, n)
            self.assertTrue(part == wanted, "sector %d is a mixture (SEED=%d)" % (n, SEED))
            self.assertIn(generation, allowed[n], "sector %d (SEED=%d)" % (n, SEED))
            found.append(generation)
        return found

    def test_killed_clients(self):
        self.kill_clients("memory-limit=256M")

    def test_killed_clients_with_a_spill(self):
        """nbdkit from 1.34 on serves several requests of a connection at the same time then."""
        self.kill_clients("memory-limit=32M", "compress=lz4", "spill=" + self.folder)

    def kill_clients(self, *parameters):
        server = self.serve("volume=shared:1G", "volume=steady:1G", "volume=scratch:100M",
                            "volume=fragmented:1G", *parameters)
        chance = random.Random(SEED)
        check = self.connect("shared")
        for first in range(0, VICTIMS, 1024):
            check.pwrite(b"".join(stamp(0, n) for n in range(first, first + 1024)), first * SECTOR)
        generations = [0] * VICTIMS
        waiting = []
        fragmented = self.connect("fragmented")
        for n in range(0, 4096, 2):
            fragmented.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(b"x")), n * SECTOR)
        sectors.run_async(fragmented)
        reading, writing = os.pipe()
        steady = fork(verifier, server, writing)
        os.close(writing)
        self.assertEqual(os.read(reading, 1), b"r")
        quiet = server.open_files()

        for round_number in range(1, ROUNDS + 1):
            victims = []
            generation = round_number
            for _ in range(CLIENTS):
                # Every phase comes once before any comes again.
                if not waiting:
                    waiting = list(PHASES)
                    chance.shuffle(waiting)
                victims.append(fork(waiting.pop(), server, generation))
            statuses = set()
            for pid in victims:
                time.sleep(chance.choice((0, 0.002, 0.01, 0.03)))
                os.kill(pid, signal.SIGKILL)
                statuses.add(os.waitpid(pid, 0)[1])
            self.assertTrue(sectors.wait_for(lambda: server.process.poll() is not None or
                                             server.open_files() <= quiet),
                            "the server keeps the connections of dead clients")
            self.assertIsNone(server.process.poll(), "the server died in round %d (SEED=%d): %s" %
                              (round_number, SEED, server.log()[-1000:]))
            self.assertEqual(statuses, {signal.SIGKILL},
                             "a client ended by itself in round %d" % round_number)
            generations = self.check_victims(check, [{old, generation} for old in generations])

        os.kill(steady, signal.SIGTERM)
        rest = os.read(reading, 100)
        _, status = os.waitpid(steady, 0)
        self.assertEqual(status, 0, "the verifier failed")
        print("%d rounds of %d clients, %d steady rounds verified, %d sectors written by victims" %
              (ROUNDS, CLIENTS, int(rest), sum(1 for g in generations if g)))
        self.assertGreater(int(rest), 0)
        self.assertGreater(sum(1 for g in generations if g), 0)
        # The server still does everything.
        h = self.connect("scratch")
        h.trim(100 * MIB, 0)
        h.pwrite(b"alive", 0)
        self.assertData(h, 0, b"alive" + bytes(SECTOR))


if __name__ == "__main__":
    sectors.main()
