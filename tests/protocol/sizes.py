# SPDX-License-Identifier: BSD-3-Clause
"""What a client is told in the handshake: sizes, flags, exports, volumes on demand."""

import unittest

import nbd
import sectors
from sectors import KIB, MIB, GIB, TIB, LARGEST


class Sizes(sectors.TestCase):
    def test_sizes(self):
        for text, size in (("1", 1), ("511", 511), ("512", 512), ("4097", 4097), ("1G", GIB),
                           ("1T", TIB), ("4E", 1 << 62), (str(LARGEST), LARGEST)):
            with self.subTest(size=text):
                self.serve(text)
                h = self.connect()
                self.assertEqual(h.get_size(), size)
                count = min(size, 5000)
                tail = (bytes(range(1, 256)) * 20)[:count]
                self.assertZeros(h, size - count, count)
                h.pwrite(tail, size - count)
                self.assertData(h, size - count, tail)
                h.pwrite(b"!", 0)
                self.assertData(h, 0, b"!")
                self.assertFails("EINVAL", h.pread, 1, size)
                # The last, short sector can be freed too.
                h.trim(count, size - count)
                self.assertZeros(h, size - count, count)
                self.assertEqual(sectors.extents(h, size - 1, 1), [[1, sectors.HOLE]])

    @unittest.skipIf(sectors.SANITIZED, "memory is not comparable")
    def test_largest_costs_nothing(self):
        self.serve(str(LARGEST))
        h = self.connect()
        idle = self.server.rss()
        for i in range(63):
            h.pwrite(b"x", (1 << i) - 1)
        for i in range(63):
            self.assertData(h, (1 << i) - 1, b"x")
        # 63 sectors and the way to each of them.
        self.assertLess(self.server.rss() - idle, 32 * MIB)

    def test_flags(self):
        self.serve("1G")
        h = self.connect()
        for can in ("can_trim", "can_zero", "can_fast_zero", "can_flush", "can_fua",
                    "can_cache", "can_multi_conn", "can_df"):
            self.assertTrue(getattr(h, can)(), can)
        self.assertTrue(h.can_meta_context("base:allocation"))
        self.assertFalse(h.is_read_only())
        self.assertFalse(h.is_rotational())
        self.assertEqual(h.get_block_size(nbd.SIZE_MINIMUM), 1)
        self.assertEqual(h.get_block_size(nbd.SIZE_PREFERRED), 4 * KIB)
        self.assertGreaterEqual(h.get_block_size(nbd.SIZE_MAXIMUM), MIB)
        self.assertLessEqual(h.get_block_size(nbd.SIZE_MAXIMUM), 64 * MIB)

    def test_sector_size(self):
        for size in (4 * KIB, 8 * KIB, 16 * KIB, 32 * KIB, 64 * KIB):
            with self.subTest(size=size):
                self.serve("1G", "sector-size=%d" % size)
                h = self.connect()
                self.assertEqual(h.get_block_size(nbd.SIZE_PREFERRED), size)
                h.pwrite(b"x", size + 1)
                self.assertMap(h, 0, 3 * size, (size, sectors.HOLE), (size, sectors.DATA),
                               (size, sectors.HOLE))


class Exports(sectors.TestCase):
    def listed(self):
        """The exports offered to a client: {name: description}."""
        h = nbd.NBD()
        h.set_opt_mode(True)
        h.connect_unix(self.server.path)
        found = {}
        h.opt_list(lambda name, description: found.update({name: description}))
        h.opt_abort()
        return found

    def refused(self, name, code=None):
        """The server refuses the export and says so."""
        with self.assertRaises(nbd.Error) as caught:
            self.connect(name)
        if code:
            self.assertEqual(caught.exception.errno, code)
        self.assertIsNone(self.server.process.poll())

    def test_list(self):
        self.serve("volume=one:1G", "volume=two:2M", "volume=Größe x:4097")
        listed = self.listed()
        for name in ("one", "two", "Größe x"):
            self.assertIn(name, listed)
            self.assertTrue(listed[name], "no description of " + name)

    def test_selection(self):
        self.serve("volume=one:1G", "volume=two:2M", "volume=Größe x:4097")
        for number, (name, size) in enumerate((("one", GIB), ("two", 2 * MIB), ("Größe x", 4097))):
            h = self.connect(name)
            self.assertEqual(h.get_size(), size)
            h.pwrite(b"%d" % number, 0)
        for number, name in enumerate(("one", "two", "Größe x")):
            self.assertData(self.connect(name), 0, b"%d" % number)
        # The first is also the default.
        self.assertData(self.connect(), 0, b"0")

    def test_unnamed_is_the_default(self):
        self.serve("3M", "volume=one:1G")
        self.assertEqual(self.connect().get_size(), 3 * MIB)
        self.assertEqual(self.connect("one").get_size(), GIB)

    def test_unknown(self):
        self.serve("volume=one:1G")
        for name in ("nosuch", "On", "ONE", "one ", "one:1G", "../one"):
            with self.subTest(name=name):
                self.refused(name)
        self.assertIn("nosuch", self.server.log())
        self.assertEqual(self.connect("one").get_size(), GIB)

    def test_info_then_go(self):
        """INFO opens and closes; what was written stays."""
        self.serve("on-demand=1M")
        self.connect("a").pwrite(b"kept", 0)
        h = nbd.NBD()
        h.set_opt_mode(True)
        h.set_export_name("a")
        h.connect_unix(self.server.path)
        for _ in range(3):
            h.opt_info()
            self.assertEqual(h.get_size(), MIB)
        h.opt_go()
        self.assertData(h, 0, b"kept")

    def test_on_demand(self):
        self.serve("volume=fixed:1G", "on-demand=3M", "max-volumes=4")
        made = []
        for name in ("a", "b", "c", "d", "e", "f"):
            try:
                h = self.connect(name)
            except nbd.Error:
                break
            self.assertEqual(h.get_size(), 3 * MIB)
            h.pwrite(name.encode(), 0)
            sectors.disconnect(h)
            made.append(name)
        # Whether the declared volume counts too or not.
        self.assertIn(len(made), (3, 4))
        refused = "abcdef"[len(made)]
        self.refused(refused)
        self.assertIn(refused, self.server.log())
        # The same name is the same disk, for all who ask for it.
        for name in made:
            one, other = self.connect(name), self.connect(name)
            self.assertData(one, 0, name.encode())
            one.pwrite(b"seen", 100)
            self.assertData(other, 100, b"seen")
        self.assertEqual(self.connect("fixed").get_size(), GIB)
        for name in made:
            self.assertIn(name, self.listed())

    def test_bad_names(self):
        self.serve("on-demand=3M", "max-volumes=4")
        for name in ("a/b", "/", "/etc/passwd", "..\n", "a\nb", "tab\t", "bell\x07", "del\x7f",
                     "x" * 4096, "é" * 2048):
            with self.subTest(name=name[:20]):
                self.refused(name)
        # Longer than the protocol allows, with a NUL, not UTF-8, control characters of eight
        # bits in both forms: no answer, or none to a read.
        for name in (b"x" * 5000, b"a\x00b", b"red\x9b31m", b"\xff\xfe", b"cut\xe2\x82",
                     b"red\xc2\x9b31m"):
            with self.subTest(name=name[:20]):
                with sectors.raw_connect(self.server.path, name) as s:
                    try:
                        s.sendall(sectors.raw_request(0, 0, 512))
                        answer = s.recv(1)
                    except OSError:
                        answer = b""
                self.assertEqual(answer, b"")
        # The messages of the server are lines, whatever a client called itself.
        with open(self.server.log_path, "rb") as log:
            self.assertNotRegex(log.read().decode(), r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
        # None of them used up a place.
        for name in ("a", "b", "c"):
            self.connect(name).pwrite(b"x", 0)


if __name__ == "__main__":
    sectors.main()
