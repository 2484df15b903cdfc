# SPDX-License-Identifier: BSD-3-Clause
"""The limits of the process: how large a file may be (ulimit -f), and how many may be open (ulimit -n).
They fail requests, or a volume that is to be made; they never end the server, nor cost data."""

import os
import random
import resource
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "protocol"))

import sectors  # noqa: E402
from sectors import MIB  # noqa: E402

SECTORSCTL = os.path.join(sectors.BUILD, "tools", "sectorsctl")
SIZE = 64 * MIB
LIMIT = 8 * MIB
UNLIMITED = resource.RLIM_INFINITY


def pattern(seed):
    return random.Random(seed).randbytes(MIB)


class Limits(sectors.TestCase):
    def setUp(self):
        super().setUp()
        self.model = {}

    def set_limit(self, which, soft):
        hard = resource.prlimit(self.server.process.pid, which)[1]
        resource.prlimit(self.server.process.pid, which, (soft, hard))

    def start(self, *parameters):
        self.serve(str(SIZE), "memory-limit=%d" % LIMIT, *parameters)
        self.h = self.connect()

    def refused_at_start(self, which, limit, *parameters):
        """The sentence that is printed."""
        old = resource.getrlimit(which)
        resource.setrlimit(which, (limit, old[1]))
        try:
            with self.assertRaises(AssertionError) as caught:
                self.serve(*parameters)
        finally:
            resource.setrlimit(which, old)
        lines = str(caught.exception).splitlines()
        self.assertEqual(len(lines), 1, lines)
        return lines[0]

    def write(self, number, seed):
        """The error's name, or None."""
        data = pattern(seed)
        try:
            self.h.pwrite(data, number * MIB)
        except sectors.nbd.Error as error:
            self.assertIsNone(self.server.process.poll(), "the server died")
            return error.errno
        self.model[number] = data
        return None

    def flush(self):
        try:
            self.h.flush()
        except sectors.nbd.Error as error:
            self.assertIsNone(self.server.process.poll(), "the server died")
            return error.errno
        return None

    def check(self):
        for number, data in self.model.items():
            self.assertData(self.h, number * MIB, data)

    def complaints(self):
        return [line for line in self.server.log().splitlines() if line.strip()]

    # -------------------------------------------------------------- the size of files

    def test_files_that_may_not_be(self):
        """At the start it is known already."""
        image = os.path.join(self.folder, "image")
        said = self.refused_at_start(resource.RLIMIT_FSIZE, 16 * MIB, str(SIZE), "memory-limit=8M",
                                     "image=" + image)
        self.assertRegex(said, r"The image '%s' cannot be made: .*ulimit -f.*%d bytes" % (image, SIZE))
        self.assertFalse(os.path.exists(image), "something was left behind")
        with open(image, "wb") as file:
            file.truncate(SIZE)
        said = self.refused_at_start(resource.RLIMIT_FSIZE, 16 * MIB, "image=" + image, "memory-limit=8M")
        self.assertRegex(said, r"The image '%s' has %d bytes, more than .*ulimit -f" % (image, SIZE))
        said = self.refused_at_start(resource.RLIMIT_FSIZE, 16 * MIB, str(SIZE), "memory-limit=8M",
                                     "spill=" + self.folder)
        self.assertRegex(said, r"may not write a file of %d bytes \(ulimit -f\).*'%s'" % (SIZE, self.folder))

    def limited_while_it_runs(self, flushes):
        for number in range(4):
            self.assertIsNone(self.write(number, number))
        self.assertEqual(self.flush(), None)
        # In the middle of a MiB, so that a write is cut in two.
        self.set_limit(resource.RLIMIT_FSIZE, 4 * MIB + 12 * 1024)
        errors = []
        for number in range(4, 60):
            errors.append(self.write(number, 100 + number))
            if errors.count("ENOSPC") == 5:
                break
        self.assertIn("ENOSPC", errors)
        self.assertEqual(set(errors), {None, "ENOSPC"})
        if flushes:
            self.assertEqual(self.flush(), "ENOSPC")
            self.assertEqual(self.flush(), "ENOSPC", "the second flush claims success")
            self.h.trim(MIB, 5 * MIB)  # needs no larger file
            self.model[5] = bytes(MIB)
        self.check()
        said = self.complaints()
        self.assertRegex("".join(said), "its (image|spill file in) '[^']*' fails: File too large")
        self.assertLess(len(said), 4, said)
        self.set_limit(resource.RLIMIT_FSIZE, UNLIMITED)
        self.assertTrue(sectors.wait_for(lambda: self.flush() is None), self.server.log())
        for number in range(4, 50):
            self.assertTrue(sectors.wait_for(lambda n=number: self.write(n, 200 + n) is None))
        self.assertIsNone(self.flush())
        self.check()

    def test_image_with_a_limit(self):
        image = os.path.join(self.folder, "image")
        self.start("image=" + image)
        self.limited_while_it_runs(True)
        self.server.kill()
        self.start("image=" + image)
        self.check()

    def test_image_without_direct_io(self):
        """On tmpfs, where another way of writing is taken."""
        folder = os.path.join(self.folder, "tmpfs")
        os.mkdir(folder)
        if subprocess.run(["mount", "-t", "tmpfs", "none", folder], stderr=subprocess.DEVNULL).returncode:
            self.skipTest("tmpfs cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", "-l", folder])
        self.start("image=" + os.path.join(folder, "image"))
        self.limited_while_it_runs(True)

    def test_spill_with_a_limit(self):
        self.start("spill=" + self.folder)
        self.limited_while_it_runs(False)

    def test_resizing(self):
        control = os.path.join(self.folder, "control")
        image = os.path.join(self.folder, "image")
        self.serve("volume=v:%d" % SIZE, "image=" + image, "memory-limit=%d" % LIMIT, "control=" + control)
        self.set_limit(resource.RLIMIT_FSIZE, SIZE)
        done = subprocess.run([SECTORSCTL, control, "volumes", "resize", "v", "128M"],
                              capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("File too large", done.stderr)
        self.assertEqual(self.connect("v").get_size(), SIZE)

    # ------------------------------------------------------------ how many are open

    def create(self, control, name, *options):
        return subprocess.run([SECTORSCTL, control, "volumes", "create", name, "1M", *options],
                              capture_output=True, text=True)

    def leave_descriptors(self, count):
        """So many more can be opened, and no more."""
        fds = {int(fd) for fd in os.listdir("/proc/%d/fd" % self.server.process.pid)}
        limit, free = 0, 0
        while free < count or limit in fds:
            free += limit not in fds
            limit += 1
        self.set_limit(resource.RLIMIT_NOFILE, limit)

    def few_descriptors(self, *parameters, options=()):
        """With none, one, two... left for a volume, until it can be made."""
        control = os.path.join(self.folder, "control")
        self.serve("volume=first:%d" % SIZE, *parameters, "memory-limit=%d" % LIMIT, "control=" + control)
        self.h = self.connect("first")
        self.assertIsNone(self.write(0, 0))
        before = self.server.open_files()
        refused = 0
        for left in range(1, 12):  # the first is for sectorsctl itself
            self.leave_descriptors(left)
            done = self.create(control, "second", *options)
            if done.returncode == 0:
                break
            refused += 1
            self.assertRegex(done.stderr, "Too many open files")
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
            self.assertTrue(sectors.wait_for(lambda: self.server.open_files() == before),
                            "descriptors leak: %d, then %d" % (before, self.server.open_files()))
            self.check()
        self.assertGreater(refused, 0, "that was no limit")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.set_limit(resource.RLIMIT_NOFILE, 1024)
        second = self.connect("second")
        data = pattern(1)
        second.pwrite(data, 0)
        self.assertData(second, 0, data)
        second.flush()
        self.check()

    def test_spill_without_descriptors(self):
        self.few_descriptors("spill=" + self.folder)

    def test_image_without_descriptors(self):
        self.few_descriptors("compress=lz4", options=["--image=" + os.path.join(self.folder, "second.img")])

    def test_odd_image_without_descriptors(self):
        """Its last bytes need a descriptor of their own; if there is none, they go without."""
        image = os.path.join(self.folder, "odd.img")
        with open(image, "wb") as file:
            file.truncate(MIB + 1000)
        self.few_descriptors("compress=lz4", options=["--image=" + image])

    def test_server_without_descriptors(self):
        below = os.path.join(self.folder, "below.sock")
        server = subprocess.Popen(["nbdkit", "-f", "--exit-with-parent", "-U", below, "memory", "1M"])
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        self.assertTrue(sectors.wait_for(lambda: os.path.exists(below)))
        self.few_descriptors("compress=lz4", options=["--image=nbd+unix:///?socket=" + below])

    def test_volumes_on_demand(self):
        """Clients ask for volumes that each have a spill file, until there are no descriptors."""
        self.serve("on-demand=1M", "spill=" + self.folder, "memory-limit=%d" % LIMIT)
        first = self.connect("first")
        first.pwrite(pattern(0), 0)
        self.leave_descriptors(1)
        with self.assertRaises(sectors.nbd.Error):
            self.connect("second")
        self.assertIn("Too many open files", self.server.log())
        self.assertData(first, 0, pattern(0))
        self.set_limit(resource.RLIMIT_NOFILE, 1024)
        second = self.connect("second")
        second.pwrite(pattern(1), 0)
        self.assertData(second, 0, pattern(1))
        self.assertData(first, 0, pattern(0))

    def test_control_without_descriptors(self):
        """Who cannot be let in waits; the server does not spin."""
        control = os.path.join(self.folder, "control")
        self.serve("1M", "control=" + control)
        self.leave_descriptors(0)
        waiting = subprocess.Popen([SECTORSCTL, control, "stats"], stdout=subprocess.DEVNULL)
        self.addCleanup(waiting.wait)
        self.addCleanup(waiting.kill)

        def spent():
            with open("/proc/%d/stat" % self.server.process.pid) as file:
                return sum(map(int, file.read().rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")

        before = spent()
        time.sleep(1)
        self.assertLess(spent() - before, 0.3, "it spins")
        self.assertIsNone(waiting.poll())
        self.set_limit(resource.RLIMIT_NOFILE, 1024)
        self.assertEqual(waiting.wait(10), 0)

    def test_start_without_descriptors(self):
        image = os.path.join(self.folder, "image")
        for limit in range(4, 24):
            done = subprocess.run(
                ["prlimit", "--nofile=%d" % limit, "nbdkit", "-U", "-", sectors.PLUGIN, "1M", "image=" + image,
                 "memory-limit=8M", "control=" + os.path.join(self.folder, "control"), "--run", "true"],
                capture_output=True, text=True, timeout=20, env=sectors.server_environment())
            self.assertGreaterEqual(done.returncode, 0, "nbdkit died of a signal: " + done.stderr)
            if done.returncode == 0:
                break
            self.assertTrue(done.stderr.strip(), "it says nothing with %d descriptors" % limit)
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    sectors.main()
