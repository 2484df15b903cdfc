# SPDX-License-Identifier: BSD-3-Clause
"""The store below fails, fills or goes away: what must go on, what may fail and how, what must come
back, and what the log says of it."""

import os
import random
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "protocol"))

import sectors  # noqa: E402
from sectors import KIB, MIB  # noqa: E402

VOLATILE = os.path.join(sectors.BUILD, "tests", "tiers", "nbdkit-tiers-volatile-plugin.so")

SIZE = 64 * MIB
LIMIT = 8 * MIB
# No request takes longer than this, whatever happens below: the plugin's documented bound, and what a busy
# machine needs.
BOUND = 40
# And then all goes on after that time.
GRACE = 15


def pattern(seed, count):
    return random.Random(seed).randbytes(count)


class Below:
    """An NBD server to be an image: nbdkit with these parameters."""

    def __init__(self, folder, *parameters):
        self.path = os.path.join(folder, "below.sock")
        self.uri = "nbd+unix:///?socket=" + self.path
        self.parameters = parameters
        self.log_path = os.path.join(folder, "below.log")
        self.start()

    def start(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(
                ["nbdkit", "-f", "--exit-with-parent", "-U", self.path, *self.parameters],
                stdin=subprocess.DEVNULL, stderr=log)
        if not sectors.wait_for(lambda: os.path.exists(self.path)):
            raise AssertionError("the server below did not start")

    def kill(self):
        self.process.kill()
        self.process.wait()


class Faults(sectors.TestCase):
    def setUp(self):
        super().setUp()
        self.image = os.path.join(self.folder, "image")
        self.faults = os.path.join(self.folder, "faults")
        self.model = {}  # offset: bytes of 1 MiB, as acknowledged
        self.maybe = {}  # offset: what a failed write may have left
        self.below = None

    def make_image(self):
        with open(self.image, "wb") as file:
            file.truncate(SIZE)

    def serve_below(self, *parameters):
        self.below = Below(self.folder, *parameters)
        self.addCleanup(self.below.kill)
        return self.below

    def serve_volatile(self):
        self.make_image()
        self.serve_below(VOLATILE, self.image, "faults=" + self.faults)

    def serve_tiers(self, *parameters):
        server = self.serve(str(SIZE), "memory-limit=%d" % LIMIT, *parameters)
        self.h = self.connect()
        return server

    def stop(self):
        """nbdkit itself waits for its clients to hang up."""
        sectors.disconnect(self.h)
        self.server.stop()

    def break_it(self, words):
        with open(self.faults + ".new", "w") as file:
            file.write(words)
        os.rename(self.faults + ".new", self.faults)

    def mend_it(self):
        os.unlink(self.faults)

    def timed(self, function, *arguments):
        """The error's name, or None; nothing takes for ever."""
        began = time.monotonic()
        try:
            function(*arguments)
            result = None
        except sectors.nbd.Error as error:
            result = error.errno
        self.assertLess(time.monotonic() - began, BOUND, "a request took too long")
        return result

    def write(self, number, seed):
        """Writes the MiB of that number."""
        data = pattern(seed, MIB)
        error = self.timed(self.h.pwrite, data, number * MIB)
        if error is None:
            self.model[number] = data
            self.maybe.pop(number, None)
        else:
            self.maybe.setdefault(number, []).append(data)
        return error

    def flush(self):
        return self.timed(self.h.flush)

    def flush_soon(self):
        self.assertTrue(sectors.wait_for(lambda: self.flush() is None, GRACE),
                        "flush still fails long after all is well again:\n" + self.server.log())

    def check(self, h=None):
        """All that was acknowledged is there; a failed write may have left its sectors."""
        h = h or self.h
        for number in range(SIZE // MIB):
            found = h.pread(MIB, number * MIB)
            wanted = self.model.get(number, bytes(MIB))
            if found == wanted:
                continue
            choices = [wanted, *self.maybe.get(number, [])]
            for at in range(0, MIB, 4096):
                if not any(found[at:at + 4096] == choice[at:at + 4096] for choice in choices):
                    self.fail("sector %d of MiB %d is neither what was acknowledged nor what was "
                              "tried" % (at // 4096, number))

    def check_after_crash(self, *parameters):
        """All was flushed; so it is all there after a kill."""
        self.server.kill()
        self.serve_tiers(*parameters)
        self.check()

    def complaints(self):
        """The lines of the log that the server wrote."""
        return [line for line in self.server.log().splitlines() if line.strip()]

    def write_until_refused(self, wanted, seed):
        """Fills the memory; then a write is refused, in time.  Returns how many were not."""
        for number in range(4, SIZE // MIB):
            error = self.write(number, seed + number)
            if error is not None:
                self.assertIn(error, wanted)
                return number - 4
        self.fail("everything was taken, though the store below takes nothing")

    # ------------------------------------------------------------ errors of an image

    def image_fails(self, words, wanted, parameters):
        for number in range(4):
            self.assertIsNone(self.write(number, number))
        self.assertIsNone(self.flush())
        self.break_it(words)
        self.assertIsNone(self.write(1, 101), "a resident sector cannot be overwritten")
        self.assertIn(self.flush(), wanted)
        self.assertIn(self.flush(), wanted, "the second flush claims success")
        self.write_until_refused(wanted, 200)
        for number in (2, 3, 5):
            self.write(number, 300 + number)
        self.assertIn(self.flush(), wanted)
        said = len(self.complaints())
        for i in range(50):
            self.timed(self.h.pwrite, bytes([i + 1]) * 4096, 50 * MIB)
        self.maybe.setdefault(50, []).extend(bytes([i + 1]) * MIB for i in range(50))
        self.model.setdefault(50, bytes(MIB))
        said = len(self.complaints()) - said
        self.assertLess(said, 10, "a line for each request:\n" + self.server.log()[-2000:])
        self.assertGreater(len(self.complaints()), 0, "nothing was said")
        self.mend_it()
        self.flush_soon()
        self.check()
        self.assertIsNone(self.write(60, 60))
        self.assertIsNone(self.flush())
        self.check_after_crash(*parameters)

    def test_writes_fail(self):
        self.serve_volatile()
        self.serve_tiers("image=" + self.below.uri)
        self.image_fails("write", ("EIO",), ["image=" + self.below.uri])

    def test_writes_find_no_space(self):
        self.serve_volatile()
        self.serve_tiers("image=" + self.below.uri)
        self.image_fails("ENOSPC write", ("ENOSPC",), ["image=" + self.below.uri])

    def test_flushes_fail(self):
        self.serve_volatile()
        self.serve_tiers("image=" + self.below.uri)
        self.image_fails("flush", ("EIO",), ["image=" + self.below.uri])

    def test_all_changes_fail(self):
        self.serve_volatile()
        self.serve_tiers("image=" + self.below.uri, "compress=lz4")
        self.image_fails("write zero flush", ("EIO",), ["image=" + self.below.uri])

    def test_trims_fail(self):
        """A trim that cannot be done below is refused, or holds all the same."""
        self.serve_volatile()
        self.serve_tiers("image=" + self.below.uri)
        for number in range(20):
            self.assertIsNone(self.write(number, number))
        self.assertIsNone(self.flush())
        self.break_it("zero")
        for number in range(0, 20, 2):
            if self.timed(self.h.trim, MIB, number * MIB) is None:
                del self.model[number]
            else:
                self.maybe.setdefault(number, []).append(bytes(MIB))
        self.check()
        self.mend_it()
        self.flush_soon()
        self.check()
        self.check_after_crash("image=" + self.below.uri)

    def test_reads_fail(self):
        """What is in memory is read as ever; what is not comes back with the store."""
        self.serve_volatile()
        self.serve_tiers("image=" + self.below.uri)
        for number in range(30):
            self.assertIsNone(self.write(number, number))
        self.assertIsNone(self.flush())
        hot = self.model[29][-64 * KIB:]
        for i in range(3):
            self.assertEqual(self.h.pread(64 * KIB, 30 * MIB - 64 * KIB), hot)
        self.break_it("read")
        failures = sum(self.timed(self.h.pread, 64 * KIB, i * MIB) == "EIO" for i in range(20))
        self.assertGreater(failures, 0)
        for i in range(10):
            self.assertEqual(self.h.pread(64 * KIB, 30 * MIB - 64 * KIB), hot)
        # A sector that is overwritten as a whole need not be read.
        self.assertIsNone(self.write(0, 400))
        # Part of one that is not there cannot be written.
        for i in range(2, 10):
            if self.timed(self.h.pwrite, b"x" * 100, i * MIB + 10) is None:
                self.model[i] = self.model[i][:10] + b"x" * 100 + self.model[i][110:]
        self.mend_it()
        self.check()
        self.assertIsNone(self.flush())
        self.check_after_crash("image=" + self.below.uri)

    def test_error_filter(self):
        """nbdkit's own: now and then a request fails; for whoever tries again all is well."""
        self.make_image()
        with open(self.faults, "w"):
            pass
        self.serve_below("--filter=error", "file", self.image, "error=EIO", "error-rate=20%",
                         "error-file=" + self.faults)
        self.serve_tiers("image=" + self.below.uri)
        for round_ in range(3):
            for number in range(0, 40, 1 + round_):
                for _ in range(100):
                    if self.write(number, round_ * 1000 + number) is None:
                        break
                else:
                    self.fail("MiB %d is never taken" % number)
        self.mend_it()
        self.flush_soon()
        self.check()
        self.check_after_crash("image=" + self.below.uri)

    # --------------------------------------------------------------- a server that goes

    def test_server_dies_and_comes_back(self):
        self.make_image()
        self.serve_below("file", self.image)
        self.serve_tiers("image=" + self.below.uri)
        for number in range(4):
            self.assertIsNone(self.write(number, number))
        self.assertIsNone(self.flush())
        self.below.kill()
        self.assertEqual(self.h.pread(MIB, 3 * MIB), self.model[3], "resident data")
        self.assertIsNone(self.write(2, 77), "resident data")
        self.assertIsNotNone(self.flush())
        self.assertIsNotNone(self.flush())
        said = len(self.complaints())
        self.assertGreater(said, 0, "nothing was said")
        for _ in range(3):
            self.flush()
        self.assertLess(len(self.complaints()) - said, 8, self.server.log())
        self.below.start()
        self.flush_soon()
        self.check()
        self.check_after_crash("image=" + self.below.uri)

    def test_server_stops_answering(self):
        """It does not hang up, it says nothing.  Resident data is served meanwhile, if the server
        allows several requests at once."""
        self.make_image()
        self.serve_below("file", self.image)
        self.serve_tiers("image=" + self.below.uri, "thread-model=parallel")
        for number in range(30):
            self.assertIsNone(self.write(number, number))
        self.assertIsNone(self.flush())
        hot = self.model[29][-4 * KIB:]
        other = self.connect()
        self.assertEqual(other.pread(4 * KIB, 30 * MIB - 4 * KIB), hot)
        self.below.process.send_signal(signal.SIGSTOP)
        cookie = self.h.aio_pread(sectors.nbd.Buffer(4096), 0)
        began = time.monotonic()
        while time.monotonic() < began + 1:
            self.assertEqual(other.pread(4 * KIB, 30 * MIB - 4 * KIB), hot)
            self.h.poll(0)
        self.assertGreater(time.monotonic(), began)
        self.below.process.send_signal(signal.SIGCONT)
        while not self.h.aio_command_completed(cookie):
            self.h.poll(1000)
            self.assertLess(time.monotonic() - began, BOUND)
        self.flush_soon()
        self.check()

    # ----------------------------------------------------------------- full file systems

    def mount(self, size):
        folder = os.path.join(self.folder, "small")
        os.mkdir(folder)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d" % size, "none", folder],
                              stderr=subprocess.DEVNULL)
        if done.returncode != 0:
            self.skipTest("tmpfs cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", "-l", folder])
        return folder

    def test_image_on_a_full_file_system(self):
        folder = self.mount(16 * MIB)
        image = os.path.join(folder, "image")
        self.serve_tiers("image=" + image)
        for number in range(10):
            self.assertIsNone(self.write(number, number))
        self.assertIsNone(self.flush())
        errors = [self.write(number, 100 + number) for number in range(10, 50)]
        self.assertIn("ENOSPC", errors)
        self.assertEqual(self.flush(), "ENOSPC")
        self.assertEqual(self.flush(), "ENOSPC")
        self.check()
        # Nothing is lost, and there is a way on: what is trimmed makes room.
        for number in list(self.model)[:6]:
            self.assertIsNone(self.timed(self.h.trim, MIB, number * MIB))
            self.model.pop(number)
        subprocess.run(["mount", "-o", "remount,size=%d" % (80 * MIB), folder], check=True)
        self.flush_soon()
        self.check()
        for number in range(20, 40):
            self.assertIsNone(self.write(number, 500 + number))
        self.assertIsNone(self.flush())
        self.check_after_crash("image=" + image)
        self.stop()

    def test_spill_on_a_full_file_system(self):
        folder = self.mount(8 * MIB)
        self.serve_tiers("spill=" + folder)
        errors = [self.write(number, number) for number in range(40)]
        self.assertIn("ENOSPC", errors)
        taken = errors.index("ENOSPC")
        self.assertGreaterEqual(taken, 12, "memory and the disk together take more than that")
        self.check()
        said = len(self.complaints())
        for _ in range(50):
            self.write(45, 45)
        self.assertLess(len(self.complaints()) - said, 10, self.server.log()[-2000:])
        for number in range(4):
            self.assertIsNone(self.timed(self.h.trim, MIB, number * MIB))
            self.model.pop(number, None)
            self.maybe.pop(number, None)
        self.assertTrue(sectors.wait_for(lambda: self.write(0, 600) is None, GRACE),
                        "no room after trims")
        self.check()
        subprocess.run(["mount", "-o", "remount,size=%d" % (80 * MIB), folder], check=True)
        for number in range(40):
            self.assertTrue(sectors.wait_for(lambda n=number: self.write(n, 700 + n) is None, GRACE))
        self.check()
        self.stop()


if __name__ == "__main__":
    sectors.main()
