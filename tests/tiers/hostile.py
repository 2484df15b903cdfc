# SPDX-License-Identifier: BSD-3-Clause
"""An NBD server below that answers nonsense, as image or as base.  What it says may be refused; but no
client may wait for ever, get bytes that are nobody's, or lose what was flushed, and the server goes on."""

import itertools
import os
import random
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "protocol"))

import sectors  # noqa: E402
from sectors import HOLE, KIB, MIB  # noqa: E402

SIZE = 8 * MIB
BOUND = 40  # seconds; the plugin's documented bound, and what a busy machine needs
READ, WRITE, DISCONNECT, FLUSH, TRIM, ZERO, STATUS = 0, 1, 2, 3, 4, 6, 7
NONE, DATA, GAP, EXTENTS, ERROR, ERROR_AT = 0, 1, 2, 5, 0x8001, 0x8002
EIO = 5


def chunk(kind, cookie, payload=b"", last=True):
    return struct.pack(">IHHQI", 0x668e33ef, last, kind, cookie, len(payload)) + payload


def data_chunk(cookie, offset, data, last=True):
    return chunk(DATA, cookie, struct.pack(">Q", offset) + data, last)


def status_chunk(cookie, entries, context=1, last=True):
    flat = itertools.chain.from_iterable(entries)
    return chunk(EXTENTS, cookie, struct.pack(">I%dI" % (2 * len(entries)), context, *flat), last)


class Hangup(Exception):
    pass


class Below:
    """A server that is honest but where it was told otherwise: in answers, by kind of request, is a
    function of this server, cookie, offset and count, that returns the bytes of the whole answer."""

    def __init__(self, folder, contents):
        self.path = os.path.join(folder, "below.sock")
        self.uri = "nbd+unix:///?socket=" + self.path
        self.contents = bytearray(contents)
        self.holes = []  # (start, end) in bytes; all else is said to be data
        self.answers = {}
        self.size = len(contents)
        self.flags = 1 | 4 | 32 | 64  # flush, trim, zeros
        self.asked = []
        self.blocks = None  # minimum, preferred, maximum
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(50)
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        self.listener.close()

    def accept(self):
        try:
            while True:
                connection = self.listener.accept()[0]
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()
        except OSError:
            pass

    def serve(self, connection):
        try:
            self.shake_hands(connection)
            while True:
                self.answer(connection)
        except (Hangup, OSError):
            pass
        finally:
            connection.close()

    @staticmethod
    def receive(connection, count):
        data = connection.recv(count, socket.MSG_WAITALL) if count else b""
        if len(data) < count:
            raise Hangup
        return data

    # ---------------------------------------------------------------- the handshake

    def shake_hands(self, connection):
        connection.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
        self.receive(connection, 4)
        while True:
            option, length = struct.unpack(">8xII", self.receive(connection, 16))
            data = self.receive(connection, length)
            if option in (6, 7):  # INFO, GO
                self.reply(connection, option, 3, struct.pack(">HQH", 0, self.size, self.flags))
                if self.blocks:
                    self.reply(connection, option, 3, struct.pack(">HIII", 3, *self.blocks))
                self.reply(connection, option, 1)
                if option == 7:
                    return
            elif option == 8:  # structured replies
                self.reply(connection, option, 1)
            elif option == 10:  # contexts
                assert b"base:allocation" in data
                self.reply(connection, option, 4, struct.pack(">I", 1) + b"base:allocation")
                self.reply(connection, option, 1)
            elif option == 2:
                raise Hangup
            else:
                self.reply(connection, option, 0x80000001)

    @staticmethod
    def reply(connection, option, kind, data=b""):
        connection.sendall(struct.pack(">QIII", 0x3e889045565a9, option, kind, len(data)) + data)

    # ------------------------------------------------------------------- requests

    def answer(self, connection):
        kind, cookie, offset, count = struct.unpack(">4x2xHQQI", self.receive(connection, 28))
        data = self.receive(connection, count) if kind == WRITE else b""
        if kind == DISCONNECT:
            raise Hangup
        self.asked.append((kind, offset, count))
        answer = self.answers.get(kind)
        if answer:
            connection.sendall(answer(self, cookie, offset, count))
        else:
            connection.sendall(self.honestly(kind, cookie, offset, count, data))

    def honestly(self, kind, cookie, offset, count, data):
        if kind == READ:
            return data_chunk(cookie, offset, bytes(self.contents[offset:offset + count]))
        if kind == STATUS:
            return status_chunk(cookie, self.entries(offset, count))
        if kind == WRITE:
            self.contents[offset:offset + count] = data
        elif kind in (TRIM, ZERO):
            self.contents[offset:offset + count] = bytes(count)
        return chunk(NONE, cookie)

    def entries(self, offset, count):
        """What is true of a range, as length and flags."""
        found = []
        end = offset + count
        for start, stop in [*self.holes, (self.size, self.size)]:
            if offset < min(start, end):
                found.append((min(start, end) - offset, 0))
                offset = min(start, end)
            if offset < min(stop, end):
                found.append((min(stop, end) - offset, 3))
                offset = min(stop, end)
        if offset < end:
            found.append((end - offset, 0))
        return found


# Answers to block status.  Of those that give entries, all that are not of length 0 are true.
def longer(below, cookie, offset, count):
    return status_chunk(cookie, below.entries(offset, count)[:-1] + [(0xffffffff, 0)])


def zero_length(below, cookie, offset, count):
    return status_chunk(cookie, [(0, 3), *below.entries(offset, count)])


def all_zero_length(_below, cookie, _offset, _count):
    return status_chunk(cookie, [(0, 0)] * 1000)


def single_bytes(below, cookie, offset, _count):
    """As little as can be: it must not take a request for each byte."""
    return status_chunk(cookie, below.entries(offset, 1))


def few_bytes(below, cookie, offset, count):
    return status_chunk(cookie, below.entries(offset, min(count, 1000)))


def very_many(below, cookie, offset, count):
    pieces = [(min(64, n - at), flags) for n, flags in below.entries(offset, min(count, 128 * KIB))
              for at in range(0, n, 64)]
    return status_chunk(cookie, pieces)


def odd_flags(below, cookie, offset, count):
    return status_chunk(cookie, [(n, flags | 0xfffffff8) for n, flags in below.entries(offset, count)])


def twice(below, cookie, offset, count):
    return (status_chunk(cookie, [(count, 0)], last=False) +
            status_chunk(cookie, below.entries(offset, count)))


def nothing(_below, cookie, _offset, _count):
    return chunk(NONE, cookie)


def no_entries(_below, cookie, _offset, _count):
    return chunk(EXTENTS, cookie, struct.pack(">I", 1))


def half_an_entry(_below, cookie, _offset, count):
    return chunk(EXTENTS, cookie, struct.pack(">III", 1, count, 0)[:-3])


def other_context(_below, cookie, _offset, count):
    return status_chunk(cookie, [(count, 3)], context=77)


def refused(_below, cookie, _offset, _count):
    return chunk(ERROR, cookie, struct.pack(">IH", EIO, 0))


def error_of_zero(_below, cookie, _offset, _count):
    return chunk(ERROR, cookie, struct.pack(">IH", 0, 0))


def error_and_lies(_below, cookie, _offset, _count):
    return chunk(ERROR, cookie, struct.pack(">IH", 0xffffffff, 60000) + b"short")


def garbage(_below, _cookie, _offset, count):
    return b"\xff" * (count + 100)


def other_cookie(_below, cookie, _offset, _count):
    return chunk(NONE, cookie + 12345)


def hang_up(_below, _cookie, _offset, _count):
    raise Hangup


def hang_up_half_way(below, cookie, offset, count):
    raise_after = data_chunk(cookie, offset, bytes(count))[:count // 2]
    below.answers[READ] = hang_up
    return raise_after


# Answers to reads.
def first_half_twice(below, cookie, offset, count):
    half = bytes(below.contents[offset:offset + count // 2])
    return data_chunk(cookie, offset, half, last=False) + data_chunk(cookie, offset, half)


def first_half(below, cookie, offset, count):
    return data_chunk(cookie, offset, bytes(below.contents[offset:offset + count // 2]))


def behind(_below, cookie, offset, count):
    return data_chunk(cookie, offset + count // 2, b"x" * count)


def endless_gap(_below, cookie, offset, _count):
    return chunk(GAP, cookie, struct.pack(">QI", offset, 0xffffffff))


def huge_chunk(_below, cookie, _offset, _count):
    return struct.pack(">IHHQI", 0x668e33ef, 1, DATA, cookie, 0xffffffff)


def simple_reply(_below, cookie, _offset, _count):
    return struct.pack(">IIQ", 0x67446698, 0, cookie)


def error_elsewhere(_below, cookie, offset, count):
    return chunk(ERROR_AT, cookie, struct.pack(">IHQ", EIO, 0, offset + 2 * count))


def entries_for_data(_below, cookie, _offset, count):
    return status_chunk(cookie, [(count, 0)])


class Hostile(sectors.TestCase):
    def setUp(self):
        super().setUp()
        dice = random.Random(1)
        self.truth = bytearray(dice.randbytes(SIZE))
        self.holes = [(1000, 100000), (MIB + 1, MIB + 2), (2 * MIB, 3 * MIB), (3 * MIB + 5, 5 * MIB - 5),
                      (SIZE - 4097, SIZE)]
        for start, end in self.holes:
            self.truth[start:end] = bytes(end - start)
        self.below = Below(self.folder, self.truth)
        self.below.holes = self.holes
        self.addCleanup(self.below.close)

    def tearDown(self):
        # It is still there, and answers.
        if self.server and not self.server.killed:
            self.assertIsNone(self.server.process.poll(), self.server.log())
        super().tearDown()

    def in_time(self, began):
        self.assertLess(time.monotonic() - began, BOUND, "that took too long")

    def over(self, *parameters):
        self.serve(str(SIZE), "base=" + self.below.uri, "memory-limit=8M", *parameters)
        self.h = self.connect()

    def extents_are_true(self):
        """Where we say that there is a hole, there are zeros."""
        began = time.monotonic()
        for start, count, kind in sectors.block_map(self.h, 0, SIZE):
            if kind == HOLE:
                self.assertEqual(self.truth[start:start + count].count(0), count,
                                 "no hole: %d bytes at %d" % (count, start))
        self.in_time(began)

    def answers_about_extents(self):
        return (longer, zero_length, all_zero_length, single_bytes, few_bytes, very_many, odd_flags,
                twice, nothing, other_context, refused, error_of_zero, None)

    # ------------------------------------------------------------------ block status

    def test_extents_of_a_base(self):
        self.over()
        for answer in self.answers_about_extents():
            with self.subTest(answer=answer):
                self.below.answers = {STATUS: answer}
                self.below.asked = []
                self.extents_are_true()
                # A request for each block at most, and some for pieces of the map.
                self.assertLess(len(self.below.asked), 2 * SIZE // 4096 + 100)
        self.assertData(self.h, 0, bytes(self.truth))
        self.extents_are_true()

    def test_true_extents_are_of_use(self):
        """Unaligned ones too: what is a hole in whole sectors is said to be one."""
        self.over()
        holes = [(start, count) for start, count, kind in sectors.block_map(self.h, 0, SIZE)
                 if kind == HOLE]
        self.assertEqual(holes, [(4096, 24 * 4096 - 4096), (2 * MIB, MIB),
                                 (3 * MIB + 4096, 2 * MIB - 8192), (SIZE - 4096, 4096)])

    def test_connections_that_end(self):
        """Nonsense after which nobody knows where the next answer begins."""
        self.over()
        for answer in (half_an_entry, no_entries, garbage, hang_up):
            with self.subTest(answer=answer):
                self.below.answers = {STATUS: answer}
                began = time.monotonic()
                sectors.extents(self.h, 0, 64 * KIB)
                self.in_time(began)
                self.below.answers = {}
                self.assertData(self.h, 0, bytes(self.truth[:64 * KIB]))

    def trimmed_are_hidden(self, image):
        """A trim over a base whose extents are nonsense."""
        offset = 0
        for answer in self.answers_about_extents():
            self.below.answers = {STATUS: answer}
            began = time.monotonic()
            self.h.trim(256 * KIB, offset)
            self.h.zero(64 * KIB, offset + 256 * KIB + 1)
            self.in_time(began)
            self.truth[offset:offset + 256 * KIB] = bytes(256 * KIB)
            self.truth[offset + 256 * KIB + 1:offset + 320 * KIB + 1] = bytes(64 * KIB)
            offset += 512 * KIB
        self.assertData(self.h, 0, bytes(self.truth))
        if image:
            self.h.flush()
            self.server.kill()
            self.over("image=" + image)
            self.assertData(self.h, 0, bytes(self.truth))

    def test_trim_over_a_base(self):
        self.over()
        self.trimmed_are_hidden(None)

    def test_trim_with_an_image_over_a_base(self):
        image = os.path.join(self.folder, "image")
        self.over("image=" + image)
        self.trimmed_are_hidden(image)

    def test_direct_io_survives_odd_extents(self):
        """What a base says must not cost the image its direct input and output."""
        image = os.path.join(self.folder, "image")
        self.over("image=" + image)

        def direct():
            folder = "/proc/%d/fd" % self.server.process.pid
            for fd in os.listdir(folder):
                if os.readlink(os.path.join(folder, fd)) == image:
                    with open("/proc/%d/fdinfo/%s" % (self.server.process.pid, fd)) as file:
                        flags = next(line for line in file if line.startswith("flags:"))
                    if int(flags.split()[1], 8) & os.O_DIRECT:
                        return True
            return False

        if not direct():
            self.skipTest("there is no direct input and output here")
        for answer in self.answers_about_extents():
            self.below.answers = {STATUS: answer}
            self.h.trim(SIZE, 0)
            self.assertTrue(direct(), answer)

    # ------------------------------------------------------------------------- reads

    def test_reads_of_a_base(self):
        self.over()
        # Far from each other and in no order, or the plugin reads ahead.
        places = list(range(5 * MIB, SIZE - 160 * KIB, 192 * KIB))
        random.Random(3).shuffle(places)
        for answer in (first_half_twice, first_half, nothing, error_of_zero, refused, endless_gap,
                       error_elsewhere, behind, huge_chunk, simple_reply, hang_up_half_way):
            with self.subTest(answer=answer):
                place = places.pop()
                # What a buffer may hold from before.
                self.below.answers = {}
                self.assertData(self.h, place, bytes(self.truth[place:place + 32 * KIB]))
                self.below.answers = {READ: answer}
                self.below.asked = []
                self.read_something(place + 64 * KIB)
                self.assertIn((READ, place + 64 * KIB), [asked[:2] for asked in self.below.asked])
                self.below.answers = {}
                self.assertData(self.h, place + 128 * KIB,
                                bytes(self.truth[place + 128 * KIB:place + 160 * KIB]))
        self.assertData(self.h, 0, bytes(self.truth[:5 * MIB]))

    def read_something(self, offset):
        began = time.monotonic()
        try:
            found = self.h.pread(32 * KIB, offset)
        except sectors.nbd.Error as error:
            self.assertEqual(error.errno, "EIO")
        else:
            self.nothing_of_others(found, offset)
        self.in_time(began)

    def nothing_of_others(self, found, offset):
        """Each sector is the truth, or zeros, or what the server sent for it."""
        for at in range(0, len(found), 4096):
            part = found[at:at + 4096]
            true = bytes(self.truth[offset + at:offset + at + 4096])
            self.assertTrue(part in (true, bytes(4096), b"x" * 4096),
                            "bytes of somewhere else at %d" % (offset + at))

    # ------------------------------------------------------------------------ an image

    def serve_image(self):
        self.serve("image=" + self.below.uri, "memory-limit=8M")
        self.h = self.connect()

    def flush(self):
        began = time.monotonic()
        try:
            self.h.flush()
        except sectors.nbd.Error as error:
            return error.errno
        finally:
            self.in_time(began)
        return None

    def test_answers_of_an_image(self):
        """A flush is good only if all that was below said so."""
        self.serve_image()
        dice = random.Random(2)
        for kind, answer in ((WRITE, refused), (WRITE, error_of_zero), (FLUSH, refused),
                             (FLUSH, error_of_zero), (WRITE, other_cookie), (FLUSH, garbage)):
            with self.subTest(kind=kind, answer=answer):
                data, at = dice.randbytes(64 * KIB), dice.randrange(SIZE // KIB - 64) * KIB
                self.h.pwrite(data, at)
                self.truth[at:at + len(data)] = data
                self.below.answers = {kind: answer}
                self.assertEqual(self.flush(), "EIO")
                self.assertData(self.h, at, data)
                self.below.answers = {}
                self.assertTrue(sectors.wait_for(lambda: self.flush() is None), "it does not recover")
                self.assertEqual(self.below.contents, self.truth, "a good flush, and data is missing")
        self.assertData(self.h, 0, bytes(self.truth))

    def test_trims_of_an_image(self):
        self.serve_image()
        for number, answer in enumerate((refused, error_of_zero, entries_for_data)):
            with self.subTest(answer=answer):
                at = number * MIB
                self.below.answers = {ZERO: answer}
                began = time.monotonic()
                self.assertFails("EIO", self.h.trim, 128 * KIB, at)
                self.in_time(began)
                self.below.answers = {}
                self.assertTrue(sectors.wait_for(lambda: self.flush() is None))
                self.assertData(self.h, at, bytes(self.truth[at:at + MIB]))

    def test_extents_of_an_image(self):
        self.serve_image()
        for answer in self.answers_about_extents():
            with self.subTest(answer=answer):
                self.below.answers = {STATUS: answer}
                self.extents_are_true()

    # ------------------------------------------------------------------------- at start

    def test_handshakes(self):
        """What cannot be is refused with a sentence."""
        for size, flags, blocks in ((1 << 63, None, None), ((1 << 64) - 1, None, None), (0, None, None),
                                    (SIZE, 0, None), (SIZE, None, (0, 0, 0)), (SIZE, None, (65536, 65536, 65536)),
                                    (SIZE, None, (1, 1, 1)), (SIZE, None, (3, 5, 7)),
                                    (SIZE, None, (0xffffffff, 0xffffffff, 0xffffffff))):
            with self.subTest(size=size, flags=flags, blocks=blocks):
                self.below.size, self.below.blocks = size, blocks
                self.below.flags = 1 | 4 | 32 | 64 if flags is None else flags
                try:
                    self.serve("image=" + self.below.uri, "memory-limit=8M")
                except AssertionError as error:
                    self.assertRegex(str(error), "The NBD (server|export) '[^']*' [^\n]*[.;]")
                    self.assertNotIn("no reason", str(error))
                else:
                    # It said what can be, so it works.
                    self.below.size = min(self.below.size, SIZE)
                    self.h = self.connect()
                    self.assertEqual(self.h.get_size(), SIZE)
                    self.assertData(self.h, 0, bytes(self.truth[:MIB]))
                    sectors.disconnect(self.h)
                    self.server.stop()
                    self.server = None


if __name__ == "__main__":
    sectors.main()
