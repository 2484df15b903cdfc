# SPDX-License-Identifier: BSD-3-Clause
"""Trimmed, zeroed and reserved ranges; block status; the limits of a request."""

import random
import unittest

import nbd
import sectors
from sectors import KIB, MIB, GIB, TIB, SECTOR, HOLE, RESERVED, DATA, NO_HOLE

ALMOST_4G = (1 << 32) - 1


class Zeros(sectors.TestCase):
    def setUp(self):
        super().setUp()
        self.serve("1T", "memory-limit=256M")
        self.h = self.connect()

    def test_trim(self):
        h = self.h
        h.pwrite(b"\xaa" * MIB, 0)
        h.trim(512 * KIB, 256 * KIB)
        self.assertMap(h, 0, MIB, (256 * KIB, DATA), (512 * KIB, HOLE), (256 * KIB, DATA))
        self.assertZeros(h, 256 * KIB, 512 * KIB)
        self.assertData(h, 0, b"\xaa" * 256 * KIB)
        self.assertData(h, 768 * KIB, b"\xaa" * 256 * KIB)

    def test_parts_of_sectors(self):
        """Bytes of a trimmed or zeroed part read as zeros, those around stay."""
        h = self.h
        for number, free in enumerate((lambda c, o: h.trim(c, o), lambda c, o: h.zero(c, o),
                                       lambda c, o: h.zero(c, o, NO_HOLE))):
            base = number * MIB
            for offset, count in ((1, 1), (100, 3000), (4000, 200), (5000, 9000), (4096, 8191),
                                  (3, 20000)):
                h.pwrite(b"\x55" * 24 * KIB, base)
                free(count, base + offset)
                self.assertData(h, base, b"\x55" * offset + bytes(count) +
                                b"\x55" * (24 * KIB - offset - count))

    def test_sector_freed_in_parts(self):
        """A sector whose last byte is zeroed takes no memory, however that came."""
        h = self.h
        for number, free in enumerate((lambda o: h.trim(SECTOR // 2, o),
                                       lambda o: h.zero(SECTOR // 2, o),
                                       lambda o: h.pwrite(bytes(SECTOR // 2), o))):
            with self.subTest(number=number):
                base = number * MIB
                h.pwrite(b"\x55" * SECTOR, base)
                free(base)
                self.assertMap(h, base, SECTOR, (SECTOR, DATA))
                free(base + SECTOR // 2)
                self.assertZeros(h, base, SECTOR)
                self.assertMap(h, base, SECTOR, (SECTOR, HOLE))

    def test_zero(self):
        h = self.h
        for flags, kind in ((0, HOLE), (nbd.CMD_FLAG_FAST_ZERO, HOLE), (NO_HOLE, RESERVED),
                            (NO_HOLE | nbd.CMD_FLAG_FAST_ZERO, RESERVED)):
            with self.subTest(flags=flags):
                h.trim(MIB, 0)
                h.pwrite(b"\xaa" * 512 * KIB, 256 * KIB)
                h.zero(512 * KIB, 128 * KIB, flags)
                self.assertMap(h, 0, MIB, (128 * KIB, HOLE), (512 * KIB, kind),
                               (128 * KIB, DATA), (256 * KIB, HOLE))
                self.assertZeros(h, 0, 640 * KIB)

    def test_zeros_written(self):
        """Sectors of zeros take no memory, whoever wrote them."""
        h = self.h
        data = bytearray(b"\xaa" * MIB)
        data[256 * KIB:512 * KIB] = bytes(256 * KIB)
        h.pwrite(data, 0)
        self.assertMap(h, 0, MIB, (256 * KIB, DATA), (256 * KIB, HOLE), (512 * KIB, DATA))
        h.pwrite(bytes(MIB), 0)
        self.assertMap(h, 0, MIB, (MIB, HOLE))
        self.assertZeros(h, 0, MIB)
        # Unaligned: only the first and the last sector hold anything.
        h.pwrite(b"\xaa" * 2 * SECTOR, 0)
        h.pwrite(b"\xaa" * SECTOR, 252 * KIB)
        h.pwrite(bytes(252 * KIB), 100)
        self.assertMap(h, 0, MIB, (SECTOR, DATA), (248 * KIB, HOLE), (SECTOR, DATA), (768 * KIB, HOLE))

    @unittest.skipIf(sectors.SANITIZED, "memory is not comparable")
    def test_zeros_cost_nothing(self):
        h = self.h
        h.pwrite(bytes(32 * MIB), GIB)
        h.trim(32 * MIB, GIB)
        idle = self.server.rss()
        for i in range(8):
            h.pwrite(bytes(32 * MIB), i * 32 * MIB)
        self.assertLess(self.server.rss() - idle, 16 * MIB)
        self.assertMap(h, 0, 256 * MIB, (256 * MIB, HOLE))

    @unittest.skipIf(sectors.SANITIZED, "memory is not comparable")
    def test_memory_follows_data(self):
        """Every second sector of 128 MiB trimmed: half of the memory comes back."""
        h = self.h
        data = random.Random(1).randbytes(MIB)
        # The server's own buffer for a request is there from now on.
        h.pwrite(data, GIB)
        h.trim(MIB, GIB)
        idle = self.server.rss()
        for i in range(128):
            h.pwrite(data, i * MIB)
        self.assertGreater(self.server.rss() - idle, 120 * MIB)
        for i in range(0, 128 * MIB, 2 * SECTOR):
            h.aio_trim(SECTOR, i)
            if h.aio_in_flight() >= 64:
                sectors.run_async(h)
        sectors.run_async(h)
        enough = lambda live: lambda: self.server.rss() - idle <= live * 1.05 + 16 * MIB
        self.assertTrue(sectors.wait_for(enough(64 * MIB)), "%d KiB" % ((self.server.rss() - idle) // KIB))
        for i in range(128):
            for j in range(0, MIB, 256 * KIB):
                want = bytearray(data[j:j + 256 * KIB])
                for k in range(0, len(want), 2 * SECTOR):
                    want[k:k + SECTOR] = bytes(SECTOR)
                self.assertData(h, i * MIB + j, bytes(want))
        h.trim(128 * MIB, 0)
        self.assertTrue(sectors.wait_for(enough(0)), "%d KiB" % ((self.server.rss() - idle) // KIB))

    def test_reserved(self):
        """What a reserved range is through its life."""
        h = self.h
        h.zero(MIB, 0, NO_HOLE)
        self.assertMap(h, 0, 2 * MIB, (MIB, RESERVED), (MIB, HOLE))
        h.pwrite(b"\xaa" * SECTOR, 8 * SECTOR)
        self.assertMap(h, 0, MIB, (8 * SECTOR, RESERVED), (SECTOR, DATA), (MIB - 9 * SECTOR, RESERVED))
        self.assertZeros(h, 0, 8 * SECTOR)
        h.zero(SECTOR, 8 * SECTOR, NO_HOLE)
        self.assertMap(h, 0, MIB, (MIB, RESERVED))
        h.zero(16 * SECTOR, 0)
        self.assertMap(h, 0, MIB, (16 * SECTOR, HOLE), (MIB - 16 * SECTOR, RESERVED))
        h.trim(MIB, 0)
        self.assertMap(h, 0, MIB, (MIB, HOLE))

    def test_freed_memory_reads_as_zeros(self):
        """Memory given from one range to another brings nothing along."""
        h = self.h
        for i in range(8):
            h.pwrite(b"\xee" * 8 * MIB, i * 8 * MIB)
            h.trim(8 * MIB, i * 8 * MIB)
            for j in range(256):
                h.pwrite(b"\x11", GIB + j * SECTOR + j)
            for j in range(256):
                self.assertData(h, GIB + j * SECTOR, bytes(j) + b"\x11" + bytes(SECTOR - j - 1))
            h.trim(MIB, GIB)


class Requests(sectors.TestCase):
    def setUp(self):
        super().setUp()
        self.serve("1T", "memory-limit=256M")
        self.h = self.connect()

    def test_extents_of_much(self):
        """4 GiB - 1 of a hole, of data and of both; nothing reported past the request."""
        h = self.h
        self.assertEqual(sectors.extents(h, 0, ALMOST_4G), [[ALMOST_4G, HOLE]])
        self.assertEqual(sectors.extents(h, 12345, ALMOST_4G), [[ALMOST_4G, HOLE]])
        self.assertEqual(sectors.extents(h, TIB - ALMOST_4G, ALMOST_4G), [[ALMOST_4G, HOLE]])
        for offset in (0, 3 * MIB, GIB, (1 << 32) - SECTOR, 5 * GIB):
            h.pwrite(b"x", offset)
        sectors.extents(h, 0, ALMOST_4G)
        self.assertMap(h, 0, 8 * GIB,
                       (SECTOR, DATA), (3 * MIB - SECTOR, HOLE),
                       (SECTOR, DATA), (GIB - 3 * MIB - SECTOR, HOLE),
                       (SECTOR, DATA), (3 * GIB - 2 * SECTOR, HOLE),
                       (SECTOR, DATA), (GIB, HOLE),
                       (SECTOR, DATA), (3 * GIB - SECTOR, HOLE))

    def test_extents_are_clamped(self):
        h = self.h
        h.pwrite(b"x" * MIB, 0)
        for offset, count in ((0, 1), (100, 1), (4095, 2), (5, 100000), (MIB - 1, 1), (MIB - 1, 2),
                              (MIB, 1), (TIB - 1, 1)):
            with self.subTest(offset=offset, count=count):
                found = sectors.extents(h, offset, count)
                self.assertEqual(found[0], [min(count, MIB - offset), DATA] if offset < MIB else
                                 [count, HOLE])

    def test_req_one(self):
        h = self.h
        for i in range(16):
            h.pwrite(b"x", i * 2 * SECTOR)
        for offset, length, kind in ((0, SECTOR, DATA), (SECTOR, SECTOR, HOLE), (10, SECTOR - 10, DATA),
                                     (31 * SECTOR, MIB - 31 * SECTOR, HOLE)):
            self.assertEqual(sectors.extents(h, offset, MIB - offset, nbd.CMD_FLAG_REQ_ONE),
                             [[length, kind]])

    def test_many_extents(self):
        """A map of very many runs comes in parts, each bounded."""
        h = self.h
        runs = 5000
        for i in range(runs):
            h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(b"x")), i * 2 * SECTOR)
            if h.aio_in_flight() >= 128:
                sectors.run_async(h)
        sectors.run_async(h)
        self.assertLessEqual(len(sectors.extents(h, 0, runs * 2 * SECTOR)), runs)
        self.assertMap(h, 0, runs * 2 * SECTOR, *((SECTOR, DATA), (SECTOR, HOLE)) * runs)

    def test_trim_and_zero_of_much(self):
        h = self.h
        for free in (h.trim, h.zero):
            with self.subTest(free=free.__name__):
                for offset in (0, GIB, ALMOST_4G - 1, ALMOST_4G):
                    h.pwrite(b"xy", offset)
                free(ALMOST_4G, 1)
                self.assertData(h, 0, b"x" + bytes(4095))
                self.assertZeros(h, GIB, SECTOR)
                self.assertData(h, ALMOST_4G - 1, bytes(2) + b"y")
        # More than the limit cannot be reserved; asking for it changes nothing.
        h.pwrite(b"here", GIB)
        self.assertFails("ENOSPC", h.zero, ALMOST_4G, 0, NO_HOLE)
        self.assertData(h, GIB, b"here")
        self.assertMap(h, 0, GIB, (SECTOR, DATA), (GIB - SECTOR, HOLE))

    def test_past_the_end(self):
        h = self.h
        h.pwrite(b"\x77" * SECTOR, TIB - SECTOR)
        for name, code, function, arguments in (
                ("pread", "EINVAL", h.pread, (2, TIB - 1)),
                ("pread", "EINVAL", h.pread, (1, TIB)),
                ("pread", "EINVAL", h.pread, (1, (1 << 63) - 1)),
                ("pread", "EINVAL", h.pread, (1, (1 << 64) - 1)),
                ("pwrite", "ENOSPC", h.pwrite, (b"ab", TIB - 1)),
                ("pwrite", "ENOSPC", h.pwrite, (b"ab", (1 << 64) - 1)),
                ("trim", "EINVAL", h.trim, (2, TIB - 1)),
                ("trim", "EINVAL", h.trim, (ALMOST_4G, (1 << 64) - 2)),
                ("zero", "ENOSPC", h.zero, (2, TIB - 1)),
                ("cache", "EINVAL", h.cache, (2, TIB - 1)),
                ("block_status", "EINVAL", sectors.extents, (h, TIB - 1, 2))):
            with self.subTest(name=name, arguments=arguments[-2:]):
                with self.assertRaises(nbd.Error) as caught:
                    function(*arguments)
                # nbdkit, not the plugin, chooses which of these two it is.
                self.assertIn(caught.exception.errno, (code, "EINVAL", "ENOSPC"))
        self.assertData(h, TIB - SECTOR, b"\x77" * SECTOR)

    def test_count_zero(self):
        h = self.h
        for function, arguments in ((h.pread, (0, 0)), (h.pwrite, (b"", 0)), (h.trim, (0, 0)),
                                    (h.zero, (0, 0)), (h.cache, (0, 0)),
                                    (sectors.extents, (h, 0, 0))):
            # What an empty request means is not defined; it must harm nothing.
            try:
                function(*arguments)
            except nbd.Error as error:
                self.assertIn(error.errno, ("EINVAL", "ENOSPC"))
        h.pwrite(b"alive", 0)
        self.assertData(h, 0, b"alive")

    def test_unknown_command(self):
        s = sectors.raw_connect(self.server.path)
        s.sendall(sectors.raw_request(77, 0, 512))
        self.assertEqual(s.recv(4), b"\x67\x44\x66\x98")
        s.close()
        self.assertZeros(self.h, 0, 512)

    def test_large_requests(self):
        h = self.h
        for size in (MIB, 32 * MIB, 64 * MIB):
            with self.subTest(size=size):
                data = random.Random(size).randbytes(size)
                h.pwrite(data, SECTOR - 7)
                self.assertData(h, SECTOR - 7, data)
                self.assertZeros(h, 0, SECTOR - 7)
                h.trim(size, SECTOR - 7)
                self.assertMap(h, 0, size + 2 * SECTOR, (size + 2 * SECTOR, HOLE))

    def test_flush_fua_cache(self):
        h = self.h
        h.pwrite(b"kept", 0, nbd.CMD_FLAG_FUA)
        h.zero(10, 100, nbd.CMD_FLAG_FUA)
        h.trim(10, 200, nbd.CMD_FLAG_FUA)
        h.flush()
        h.cache(ALMOST_4G, 0)
        self.assertData(h, 0, b"kept" + bytes(SECTOR - 4))


if __name__ == "__main__":
    sectors.main()
