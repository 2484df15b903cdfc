# SPDX-License-Identifier: BSD-3-Clause
"""The memory limit: whole requests fail, nothing else does, and room can be made."""

import os
import random
import unittest

import nbd
import sectors
from sectors import KIB, MIB, GIB, SECTOR, HOLE, RESERVED, DATA, NO_HOLE

# Data the limit leaves room for; the rest is for the index.
LIMIT = 32 * MIB
LEAST = LIMIT * 97 // 100


def pattern(seed, count):
    return random.Random(seed).randbytes(count)


def fill(h, base, size=SECTOR, seed=0):
    """Writes requests of size one after the other until one fails; the number that did not."""
    data = pattern(seed, size)
    number = 0
    while True:
        try:
            h.pwrite(data, base + number * size)
        except nbd.Error as error:
            if error.errno != "ENOSPC":
                raise
            return number
        number += 1


class Limit(sectors.TestCase):
    def setUp(self):
        super().setUp()
        self.serve("volume=v:1T", "volume=other:1T", "memory-limit=%d" % LIMIT)
        self.h, self.other = self.connect("v"), self.connect("other")

    def room(self):
        """Bytes which can still be written, by writing and trimming them, elsewhere."""
        number = fill(self.other, GIB)
        self.other.trim((number + 1) * SECTOR, GIB)
        return number * SECTOR

    def test_capacity(self):
        number = fill(self.h, 0)
        self.assertLessEqual(number * SECTOR, LIMIT)
        self.assertGreaterEqual(number * SECTOR, LEAST)
        data = pattern(0, SECTOR)
        for i in range(number):
            self.assertData(self.h, i * SECTOR, data)
        self.assertZeros(self.h, number * SECTOR, MIB)

    def test_whole_requests(self):
        """A write that does not fit writes nothing, whatever it covers."""
        h, other = self.h, self.other
        old, kept = pattern(1, 30 * MIB), pattern(2, 256 * KIB)
        h.pwrite(old, 0)
        other.pwrite(kept, 0)
        for offset, count in ((40 * MIB, 4 * MIB), (40 * MIB + 1, 4 * MIB), (28 * MIB, 6 * MIB),
                              (28 * MIB + 777, 6 * MIB), (0, 60 * MIB), (30 * MIB - 1, 4 * MIB),
                              (GIB - MIB, 64 * MIB)):
            with self.subTest(offset=offset, count=count):
                self.assertFails("ENOSPC", h.pwrite, b"\xee" * count, offset)
                self.assertData(h, 0, old)
                self.assertZeros(h, 30 * MIB, 30 * MIB)
                self.assertZeros(h, GIB - MIB, 64 * MIB)
                self.assertMap(h, 0, 2 * GIB, (30 * MIB, DATA), (2 * GIB - 30 * MIB, HOLE))
                self.assertData(other, 0, kept)
        # All that goes on working at the limit.
        fill(h, 2 * GIB)
        self.assertFails("ENOSPC", h.pwrite, b"x", 3 * GIB)
        self.assertFails("ENOSPC", other.pwrite, b"x", 3 * GIB)
        new = pattern(3, 30 * MIB)
        h.pwrite(new, 0)
        self.assertData(h, 0, new)
        h.pwrite(b"part", 10 * MIB + 5)
        h.zero(100, 12 * MIB + 5)
        self.assertData(h, 10 * MIB, new[10 * MIB:10 * MIB + 5] + b"part")
        self.assertData(h, 12 * MIB + 4, new[12 * MIB + 4:12 * MIB + 5] + bytes(100))
        h.pwrite(bytes(64 * MIB), GIB)
        h.flush()
        self.assertData(other, 0, kept)

    def test_just_too_large(self):
        """At the edge, where the data would fit but not the index for it."""
        h = self.h
        fill(self.other, 0)
        self.other.trim(4 * MIB, 0)
        room = self.room()
        base, failed = 500 * GIB - MIB, 0
        count = room // SECTOR + 8
        while True:
            data = pattern(count, count * SECTOR)
            try:
                h.pwrite(data, base)
                break
            except nbd.Error as error:
                self.assertEqual(error.errno, "ENOSPC")
            failed += 1
            self.assertZeros(h, base, count * SECTOR)
            self.assertMap(h, base, GIB, (GIB, HOLE))
            # Give or take what the index needs.
            self.assertAlmostEqual(self.room(), room, delta=4 * SECTOR)
            count -= 1
        self.assertGreater(failed, 0)
        self.assertGreater(count, room // SECTOR - 8)
        self.assertData(h, base, data)

    def test_many_small_requests(self):
        """Failed requests leave nothing behind that takes room."""
        room = self.room()
        self.h.pwrite(pattern(4, room - 2 * MIB), 0)
        for i in range(2000):
            self.assertFails("ENOSPC", self.h.pwrite, b"\xee" * (2 * MIB + 64 * KIB), (1 + i % 100) * GIB)
        self.h.trim(room, 0)
        self.assertEqual(self.room(), room)

    def test_room_made_by_trim(self):
        room = self.room()
        for i in range(10):
            number = fill(self.h, 0, 64 * KIB, i)
            self.assertGreaterEqual(number * 64 * KIB, LEAST)
            free = (self.h.trim, self.h.zero)[i % 2]
            free(8 * MIB, 4 * MIB)
            # On the other volume, and as much as was freed.
            self.other.pwrite(pattern(5, 7 * MIB), i * GIB)
            self.other.pwrite(pattern(6, 768 * KIB), i * GIB + 7 * MIB)
            self.assertZeros(self.h, 4 * MIB, 8 * MIB)
            self.assertData(self.h, 12 * MIB, pattern(i, 64 * KIB))
            self.other.trim(8 * MIB, i * GIB)
            self.h.trim(LIMIT, 0)
        self.assertEqual(self.room(), room)

    def test_zeros_make_room(self):
        """Zeros written over data free it, also when there is no room at all."""
        fill(self.h, 0)
        self.h.pwrite(bytes(8 * MIB), 0)
        self.other.pwrite(pattern(7, 7 * MIB), 0)
        self.assertData(self.other, 0, pattern(7, 7 * MIB))

    def test_reserved(self):
        """Writes into a reserved range cannot fail for space."""
        h, other = self.h, self.other
        room = self.room()
        h.zero(8 * MIB, MIB, NO_HOLE)
        self.assertLessEqual(self.room(), room - 8 * MIB)
        number = fill(other, 0)
        self.assertFails("ENOSPC", other.pwrite, b"x", 2 * GIB)
        # In any order, in parts, freed without a hole and written again.
        order = list(range(8 * MIB // SECTOR))
        random.Random(1).shuffle(order)
        for n in order:
            h.pwrite(b"%08d" % n, MIB + n * SECTOR + n % 4000)
            if n % 3 == 0:
                h.zero(SECTOR, MIB + n * SECTOR, NO_HOLE)
            elif n % 3 == 1:
                h.zero(100, MIB + n * SECTOR + n % 4000 - min(n % 4000, 50), NO_HOLE)
        h.zero(8 * MIB, MIB, NO_HOLE)
        self.assertMap(h, 0, 10 * MIB, (MIB, HOLE), (8 * MIB, RESERVED), (MIB, HOLE))
        data = pattern(8, 8 * MIB)
        h.pwrite(data, MIB)
        self.assertData(h, MIB, data)
        h.zero(8 * MIB, MIB, NO_HOLE)
        self.assertZeros(h, MIB, 8 * MIB)
        # A request which needs room beside the reserved one fails whole.
        self.assertFails("ENOSPC", h.pwrite, b"\xee" * 10 * MIB, 0)
        self.assertZeros(h, 0, 10 * MIB)
        self.assertMap(h, 0, 10 * MIB, (MIB, HOLE), (8 * MIB, RESERVED), (MIB, HOLE))
        self.assertFails("ENOSPC", h.zero, 10 * MIB, 0, NO_HOLE)
        self.assertMap(h, 0, 10 * MIB, (MIB, HOLE), (8 * MIB, RESERVED), (MIB, HOLE))
        # Given up, the space is there for others.
        h.trim(8 * MIB, MIB)
        other.pwrite(pattern(9, 7 * MIB), 4 * GIB)
        other.trim(8 * MIB, 4 * GIB)
        other.trim((number + 1) * SECTOR, 0)
        self.assertEqual(self.room(), room)

    def test_reserve_over_data(self):
        """Data zeroed without a hole turns into a reservation, at the limit too."""
        h = self.h
        number = fill(h, 0)
        for i in range(0, number, 2):
            h.zero(SECTOR, i * SECTOR, NO_HOLE)
        self.assertFails("ENOSPC", self.other.pwrite, b"x", 0)
        for i in range(0, number, 2):
            h.pwrite(b"again", i * SECTOR)
        for i in range(number):
            self.assertData(h, i * SECTOR, pattern(0, SECTOR) if i % 2 else b"again" + bytes(SECTOR - 5))

    def test_reserved_zeros_written(self):
        """Zeros written into a reserved range leave it reserved."""
        h = self.h
        h.zero(MIB, 0, NO_HOLE)
        h.pwrite(bytes(MIB), 0)
        self.assertMap(h, 0, MIB, (MIB, RESERVED))
        fill(self.other, 0)
        for seed in (1, 2):
            h.pwrite(pattern(seed, MIB), 0)
            self.assertData(h, 0, pattern(seed, MIB))
            h.pwrite(bytes(MIB), 0)
            self.assertMap(h, 0, MIB, (MIB, RESERVED))


class ManyClients(sectors.TestCase):
    CLIENTS = 8

    def setUp(self):
        super().setUp()
        self.serve("1T", "volume=other:1T", "memory-limit=%d" % LIMIT)

    def fork(self, work):
        """Runs work(number) in as many processes; what they wrote to their pipes."""
        pipes = []
        for number in range(self.CLIENTS):
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    os.close(reading)
                    os.write(writing, str(work(number)).encode())
                    status = 0
                except BaseException as error:
                    os.write(writing, repr(error).encode())
                finally:
                    os._exit(status)
            os.close(writing)
            pipes.append((pid, reading))
        results = []
        for pid, reading in pipes:
            with os.fdopen(reading) as pipe:
                text = pipe.read()
            _, status = os.waitpid(pid, 0)
            results.append((status, text))
        for status, text in results:
            self.assertEqual(status, 0, text)
        return [text for _, text in results]

    def test_fill_together(self):
        """What was acknowledged is there, what was refused is not, and it adds up."""
        size = 256 * KIB
        server = self.server

        def work(number):
            h = sectors.connect(server.path, "other" if number % 2 else "")
            base = number * GIB
            large = fill(h, base, size, number)
            return "%d %d" % (large, fill(h, base + large * size, SECTOR, number))

        results = [tuple(map(int, text.split())) for text in self.fork(work)]
        total = sum(large * size + small * SECTOR for large, small in results)
        self.assertLessEqual(total, LIMIT)
        self.assertGreaterEqual(total, LEAST)
        for number, (large, small) in enumerate(results):
            h = self.connect("other" if number % 2 else "")
            at = number * GIB
            for count, length in ((large, size), (small, SECTOR)):
                data = pattern(number, length)
                for _ in range(count):
                    self.assertData(h, at, data)
                    at += length
            self.assertZeros(h, at, MIB)
            length = at - number * GIB
            self.assertMap(h, number * GIB, GIB, *([(length, DATA)] if length else []),
                           (GIB - length, HOLE))

    def test_churn_at_the_limit(self):
        """Clients which free what they then write again never lack room."""
        server = self.server
        h = self.connect()
        share = 2 * MIB
        for number in range(self.CLIENTS):
            h.pwrite(pattern(number, share), number * share)
        fill(self.connect("other"), 0)

        def work(number):
            h = sectors.connect(server.path)
            r = random.Random(number)
            model = bytearray(pattern(number, share))
            base = number * share
            for _ in range(300):
                count = r.randrange(1, 33) * SECTOR
                offset = r.randrange(0, share - count + 1, SECTOR)
                (h.trim, h.zero)[r.randrange(2)](count, base + offset)
                model[offset:offset + count] = r.randbytes(count)
                h.pwrite(model[offset:offset + count], base + offset)
            if h.pread(share, base) != model:
                raise AssertionError("data differs")

        self.fork(work)

    @unittest.skipIf(sectors.SANITIZED, "memory is not comparable")
    def test_memory_stays_under_the_limit(self):
        idle = self.server.rss()
        handles = [self.connect() for _ in range(4)]
        for i in range(8):
            for number, h in enumerate(handles):
                number += 1
                fill(h, number * GIB, 128 * KIB, i)
            self.assertLess(self.server.rss() - idle, LIMIT * 1.05 + 16 * MIB)
            for number, h in enumerate(handles):
                h.trim(GIB, (number + 1) * GIB)


if __name__ == "__main__":
    sectors.main()
