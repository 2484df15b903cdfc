# SPDX-License-Identifier: BSD-3-Clause
"""Images and bases: bad ones are refused with one clear sentence, and good ones are what they
promise: plain raw sparse files at identical offsets, locked, ready at once."""

import json
import os
import pwd
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "protocol"))

import sectors  # noqa: E402
from sectors import GIB, KIB, MIB, TIB  # noqa: E402


def has(program):
    return subprocess.run(["which", program], stdout=subprocess.DEVNULL).returncode == 0


def pattern(seed, count):
    return random.Random(seed).randbytes(count)


def disk_used(path):
    return os.stat(path).st_blocks * 512


class Images(sectors.TestCase):
    def setUp(self):
        super().setUp()
        self.image = os.path.join(self.folder, "image.raw")
        self.base = os.path.join(self.folder, "base.raw")
        self.processes = []  # of self.below

    def make(self, path, size, data=b""):
        with open(path, "wb") as file:
            file.write(data)
            file.truncate(max(size, len(data)))
        return path

    def refused(self, words, *parameters, user=None):
        """The server does not start, and says why in one sentence with these words; returns it."""
        command = ["nbdkit", "-f", "-U", os.path.join(self.folder, "refused.sock"), sectors.PLUGIN, *parameters]
        if user:
            command = ["setpriv", "--reuid=" + user, "--regid=nogroup", "--clear-groups", *command]
            os.chmod(self.folder, 0o777)
        if os.path.exists(os.path.join(self.folder, "refused.sock")):
            os.unlink(os.path.join(self.folder, "refused.sock"))
        done = subprocess.run(["timeout", "-k", "5", "40", *command], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, env=sectors.server_environment())
        said = [line for line in done.stderr.splitlines() if line.strip()]
        self.assertEqual(done.returncode, 1, "status of %s: %s" % (parameters, said))
        self.assertEqual(len(said), 1, "one sentence: %s" % said)
        for word in words:
            self.assertRegex(said[0], "(?i)" + word)
        self.assertGreater(len(said[0]), 40, said[0])
        return said[0]

    # ------------------------------------------------------------------- bad input

    def test_missing_folder(self):
        path = os.path.join(self.folder, "missing", "image.raw")
        self.refused([re.escape(path)], "1G", "image=" + path)
        self.refused([re.escape(path)], "1G", "base=" + path)
        self.refused(["missing"], "1G", "spill=" + os.path.join(self.folder, "missing"))

    def test_missing_base(self):
        self.refused([re.escape(self.base)], "1G", "base=" + self.base)
        self.assertFalse(os.path.exists(self.base))

    def test_spill_is_a_file(self):
        self.make(self.image, 4096)
        self.refused([re.escape(self.image)], "1G", "spill=" + self.image)
        self.refused(["/proc"], "1G", "spill=/proc")

    def test_directory(self):
        self.refused([re.escape(self.folder), "folder|directory"], "1G", "image=" + self.folder)
        self.refused([re.escape(self.folder), "folder|directory"], "1G", "base=" + self.folder)

    def test_fifo_socket_device(self):
        fifo = os.path.join(self.folder, "fifo")
        os.mkfifo(fifo)
        began = time.monotonic()
        self.refused([re.escape(fifo)], "1G", "image=" + fifo)
        self.refused([re.escape(fifo)], "1G", "base=" + fifo)
        with socket.socket(socket.AF_UNIX) as s:
            path = os.path.join(self.folder, "socket")
            s.bind(path)
            self.refused([re.escape(path)], "1G", "image=" + path)
        self.refused(["/dev/null"], "1G", "image=/dev/null")
        self.assertLess(time.monotonic() - began, 30)

    def test_too_small(self):
        self.make(self.image, 64 * MIB)
        said = self.refused([re.escape(self.image)], "1G", "image=" + self.image)
        self.assertRegex(said, "64M|67108864")
        self.assertRegex(said, "1G|1073741824")
        self.assertEqual(os.stat(self.image).st_size, 64 * MIB)

    def test_larger_image(self):
        """The volume is as large as was said, and the rest of the image stays as it is."""
        rest = pattern(1, MIB)
        self.make(self.image, 0, bytes(64 * MIB) + rest)
        self.serve("64M", "image=" + self.image, "memory-limit=8M")
        h = self.connect()
        self.assertEqual(h.get_size(), 64 * MIB)
        h.pwrite(b"x" * 8192, 64 * MIB - 8192)
        h.trim(MIB, 60 * MIB)
        h.flush()
        sectors.disconnect(h)
        self.server.stop()
        with open(self.image, "rb") as file:
            file.seek(64 * MIB - 8192)
            self.assertEqual(file.read(), b"x" * 8192 + rest)

    def test_size_of_the_image(self):
        self.make(self.image, 5 * MIB + 512)
        self.serve("image=" + self.image, "memory-limit=8M")
        self.assertEqual(self.connect().get_size(), 5 * MIB + 512)
        self.refused(["size"], "image=" + os.path.join(self.folder, "new.raw"))
        self.refused(["size"], "image=" + self.make(os.path.join(self.folder, "empty"), 0))

    @unittest.skipIf(os.geteuid() != 0, "only root can become another user")
    def test_of_another_user(self):
        self.make(self.image, 64 * MIB, b"secret")
        os.chmod(self.image, 0o600)
        self.refused([re.escape(self.image), "permission|denied"], "64M", "image=" + self.image, user="nobody")
        self.refused([re.escape(self.image), "permission|denied"], "64M", "base=" + self.image, user="nobody")
        os.chmod(self.image, 0o444)
        self.refused([re.escape(self.image), "permission|denied"], "64M", "image=" + self.image, user="nobody")
        closed = os.path.join(self.folder, "closed")
        os.mkdir(closed, 0o700)
        self.refused([re.escape(closed)], "64M", "spill=" + closed, user="nobody")
        self.refused([re.escape(closed)], "64M", "image=" + os.path.join(closed, "x"), user="nobody")

    def test_in_use_by_a_second_server(self):
        self.serve("64M", "image=" + self.image, "memory-limit=8M")
        said = self.refused([re.escape(self.image)], "64M", "image=" + self.image)
        self.assertRegex(said, "(?i)use|lock")
        self.connect().pwrite(b"still there", 0)

    def test_in_use_twice_in_one_server(self):
        self.make(self.image, 64 * MIB)
        self.refused([re.escape(self.image)], "volume=a:64M", "image=" + self.image,
                     "volume=b:64M", "image=" + self.image)
        link = os.path.join(self.folder, "link")
        os.link(self.image, link)
        self.refused(["image.raw|link"], "volume=a:64M", "image=" + self.image, "volume=b:64M", "image=" + link)
        self.refused(["image.raw"], "64M", "image=" + self.image, "base=" + self.image)

    def test_base_is_shared(self):
        self.make(self.base, 64 * MIB, b"of the base")
        self.serve("64M", "base=" + self.base, "spill=" + self.folder, "memory-limit=8M")
        first = self.connect()
        self.serve("64M", "base=" + self.base, "spill=" + self.folder, "memory-limit=8M")
        second = self.connect()
        first.pwrite(b"OF", 0)
        self.assertEqual(second.pread(11, 0), b"of the base")
        self.assertEqual(first.pread(11, 0), b"OF the base")
        # But nobody has it as an image meanwhile.
        self.refused([re.escape(self.base)], "64M", "image=" + self.base)

    @unittest.skipUnless(has("qemu-nbd") and has("qemu-img"), "qemu is not installed")
    def test_in_use_by_qemu(self):
        self.make(self.image, 64 * MIB)
        path = os.path.join(self.folder, "qemu.sock")
        qemu = subprocess.Popen(["qemu-nbd", "-k", path, "-f", "raw", "-t", self.image])
        try:
            self.assertTrue(sectors.wait_for(lambda: os.path.exists(path)))
            said = self.refused([re.escape(self.image)], "64M", "image=" + self.image)
            self.assertRegex(said, "(?i)use|lock")
        finally:
            qemu.terminate()
            qemu.wait()
        self.serve("64M", "image=" + self.image, "memory-limit=8M")
        done = subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", self.image, self.path("copy")],
                              capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0, "QEMU opens an image that is in use")
        self.assertIn("lock", done.stderr)

    def test_unreachable(self):
        nowhere = os.path.join(self.folder, "nowhere")
        self.refused(["nowhere"], "64M", "image=nbd+unix:///?socket=" + nowhere)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.refused(["127.0.0.1"], "64M", "image=nbd://127.0.0.1:%d/" % s.getsockname()[1])
        for what in ("image", "base"):
            self.refused([r"no\.such\.host\.invalid"], "64M", what + "=nbd://no.such.host.invalid/x")
        self.refused(["http"], "64M", "image=http://127.0.0.1/disk.img")
        self.refused(["nbd"], "64M", "image=nbd+unix:///")

    def test_a_server_that_says_nothing(self):
        path = os.path.join(self.folder, "mute")
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            s.listen(5)
            began = time.monotonic()
            self.refused(["mute"], "64M", "image=nbd+unix:///?socket=" + path)
            self.assertLess(time.monotonic() - began, 35)

    def test_an_export_that_is_not_there_or_read_only(self):
        self.make(self.image, 64 * MIB)
        self.below("disk", "-e", "right", "--filter=exportname", "file", self.image, "exportname=right",
                   "exportname-strict=true")
        self.refused(["wrong"], "64M", "image=nbd+unix:///wrong?socket=" + self.path("disk"))
        self.below("readonly", "-r", "file", self.image)
        said = self.refused(["readonly"], "64M", "image=nbd+unix:///?socket=" + self.path("readonly"))
        self.assertRegex(said, "(?i)read-only|written")
        self.below("small", "file", self.image)
        self.refused(["small"], "1G", "image=nbd+unix:///?socket=" + self.path("small"))

    def path(self, name):
        return os.path.join(self.folder, name)

    def below(self, name, *parameters):
        process = subprocess.Popen(["nbdkit", "-f", "--exit-with-parent", "-U", self.path(name), *parameters],
                                   stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.processes.append(process)
        self.assertTrue(sectors.wait_for(lambda: os.path.exists(self.path(name))))
        return "nbd+unix:///?socket=" + self.path(name)

    def test_limits_and_nonsense(self):
        self.make(self.image, 64 * MIB)
        self.refused(["8M"], "64M", "image=" + self.image, "memory-limit=4M")
        self.refused(["priority"], "64M", "image=" + self.image, "priority=11")
        self.refused(["compress"], "64M", "compress=gzip")
        self.refused(["watermark"], "64M", "spill=" + self.folder, "low-watermark=95%", "high-watermark=90%")
        self.refused(["image"], "64M", "image=")
        self.refused(["image"], "64M", "image=" + self.image, "image=" + self.image)

    # ------------------------------------------------------------------------ bases

    def check_base(self, *parameters):
        """A base of 3 MiB + 1000 bytes below a volume of 8 MiB."""
        data = pattern(7, 3 * MIB + 1000)
        self.make(self.base, len(data), data)
        self.serve("8M", "base=" + self.base, "memory-limit=8M", *parameters)
        h = self.connect()
        self.assertData(h, 0, data + bytes(8 * MIB - len(data)))
        h.pwrite(b"new", 10)
        h.trim(4096, MIB)
        h.trim(1000, MIB + 9000)
        h.zero(8192, 2 * MIB)
        h.pwrite(b"end", 3 * MIB + 2000)
        wanted = bytearray(data + bytes(8 * MIB - len(data)))
        wanted[10:13] = b"new"
        wanted[MIB:MIB + 4096] = bytes(4096)
        wanted[MIB + 9000:MIB + 10000] = bytes(1000)
        wanted[2 * MIB:2 * MIB + 8192] = bytes(8192)
        wanted[3 * MIB + 2000:3 * MIB + 2003] = b"end"
        self.assertData(h, 0, bytes(wanted))
        with open(self.base, "rb") as file:
            self.assertEqual(file.read(), data, "the base was changed")
        return h, bytes(wanted)

    def test_small_base_and_spill(self):
        self.check_base("spill=" + self.folder)

    def test_small_base_alone(self):
        self.check_base()

    def test_small_base_and_image(self):
        h, wanted = self.check_base("image=" + self.image)
        h.flush()
        self.server.kill()
        self.serve("8M", "base=" + self.base, "image=" + self.image, "memory-limit=8M")
        self.assertData(self.connect(), 0, wanted)

    def test_large_base(self):
        data = pattern(8, 2 * MIB)
        self.make(self.base, len(data), data)
        self.serve("1M", "base=" + self.base, "memory-limit=8M")
        h = self.connect()
        self.assertEqual(h.get_size(), MIB)
        self.assertData(h, 0, data[:MIB])

    def test_size_of_the_base(self):
        self.make(self.base, 3 * MIB + 512)
        self.serve("base=" + self.base, "memory-limit=8M")
        self.assertEqual(self.connect().get_size(), 3 * MIB + 512)

    def test_trims_cover_the_base(self):
        """Holes made above the base read as zeros, whoever made them and however often the
        server is started again; and what was never written shows the base."""
        data = pattern(9, 32 * MIB)
        self.make(self.base, len(data), data)
        parameters = ("32M", "base=" + self.base, "image=" + self.image, "memory-limit=8M")
        wanted = bytearray(data)
        dice = random.Random(3)
        for round_ in range(4):
            self.serve(*parameters)
            h = self.connect()
            for _ in range(100):
                count = dice.choice([512, 4096, 10000, 65536, 300000])
                offset = dice.randrange(len(data) - count)
                if dice.randrange(2):
                    offset -= offset % 4096
                what = dice.randrange(4)
                if what == 0:
                    h.trim(count, offset)
                elif what == 1:
                    h.zero(count, offset, 0 if dice.randrange(2) else sectors.NO_HOLE)
                elif what == 2:
                    h.pwrite(bytes(count), offset)
                else:
                    h.pwrite(dice.randbytes(count), offset)
                    wanted[offset:offset + count] = h.pread(count, offset)
                    continue
                wanted[offset:offset + count] = bytes(count)
            self.assertData(h, 0, bytes(wanted))
            h.flush()
            if round_ % 2:
                self.server.kill()
            else:
                sectors.disconnect(h)
                self.server.stop()
        self.serve(*parameters)
        h = self.connect()
        self.assertData(h, 0, bytes(wanted))
        for offset, count, kind in sectors.block_map(h, 0, len(data)):
            if kind & sectors.nbd.STATE_ZERO:
                self.assertEqual(wanted[offset:offset + count], bytes(count), "said to be zeros")

    @unittest.skipUnless(has("qemu-nbd"), "qemu is not installed")
    def test_base_by_qemu(self):
        """A qcow2 that QEMU serves."""
        qcow = os.path.join(self.folder, "golden.qcow2")
        data = pattern(10, 4 * MIB)
        self.make(self.base, 16 * MIB, data)
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", self.base, qcow], check=True)
        path = self.path("golden.sock")
        qemu = subprocess.Popen(["qemu-nbd", "-k", path, "-f", "qcow2", "-r", "-t", "-e", "8", qcow])
        self.addCleanup(qemu.wait)
        self.addCleanup(qemu.kill)
        self.assertTrue(sectors.wait_for(lambda: os.path.exists(path)))
        self.serve("base=nbd+unix:///?socket=" + path, "memory-limit=8M")
        h = self.connect()
        self.assertEqual(h.get_size(), 16 * MIB)
        self.assertData(h, 0, data + bytes(12 * MIB))
        h.pwrite(b"above", 5)
        self.assertEqual(h.pread(12, 0), data[:5] + b"above" + data[10:12])

    # ------------------------------------------------ one base below all made on demand

    def golden(self, count=3 * MIB + 1000):
        """A base; what it holds."""
        data = pattern(20, count)
        return data, self.make(self.base, len(data), data)

    def control(self, *arguments, status=0):
        done = subprocess.run([os.path.join(sectors.BUILD, "tools", "sectorsctl"), self.path("control"), *arguments],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, status, (arguments, done.stdout, done.stderr))
        return done.stdout + done.stderr

    def serve_on_demand(self, size, base, *parameters):
        return self.serve("on-demand=" + size, "base=" + base, "memory-limit=8M", "control=" + self.path("control"),
                          *parameters)

    def volumes(self):
        statistics = json.loads(self.control("stats", "--json"))
        return {volume["name"]: volume for volume in statistics["volumes"]}

    def check_on_demand(self, base, data, *parameters):
        """Each volume shows the base until it is written, and keeps that for itself."""
        size = 8 * MIB
        self.serve_on_demand("8M", base, *parameters)
        volumes = {}
        for number, name in enumerate(("vm1", "vm2", "Größe 3")):
            h = self.connect(name)
            self.assertEqual(h.get_size(), size)
            self.assertData(h, 0, data + bytes(size - len(data)))
            wanted = bytearray(data + bytes(size - len(data)))
            for offset in range(number * 5000, size - 70000, 900000):
                mine = pattern(number * 1000 + offset, 70000)
                h.pwrite(mine, offset)
                wanted[offset:offset + 70000] = mine
            for function, count, offset in ((h.trim, 50000, MIB + number * 4096), (h.zero, 9000, 2 * MIB + number),
                                            (h.trim, MIB, 5 * MIB + number * 100)):
                function(count, offset)
                wanted[offset:offset + count] = bytes(count)
            volumes[name] = (h, bytes(wanted))
        for name, (h, wanted) in volumes.items():
            self.assertData(h, 0, wanted)
            self.assertData(self.connect(name), 0, wanted)
        self.assertData(self.connect("late"), 0, data + bytes(size - len(data)))
        with open(self.base, "rb") as file:
            self.assertEqual(file.read(), data, "the base was changed")
        self.assertEqual(set(self.volumes()), {"vm1", "vm2", "Größe 3", "late"})

    def test_on_demand_over_a_file(self):
        data, base = self.golden()
        self.check_on_demand(base, data, "spill=" + self.folder)

    def test_on_demand_over_a_server(self):
        data, base = self.golden()
        self.check_on_demand(self.below("golden", "-r", "file", base), data, "spill=" + self.folder, "compress=lz4")

    def test_on_demand_over_a_larger_base(self):
        data, base = self.golden()
        self.serve_on_demand("1M", base, "priority=8")
        h = self.connect("vm1")
        self.assertEqual(h.get_size(), MIB)
        self.assertData(h, 0, data[:MIB])
        h.pwrite(b"above", 5)
        self.assertData(self.connect("vm2"), 0, data[:MIB])
        self.assertEqual({volume["priority"] for volume in self.volumes().values()}, {8})
        self.assertEqual({volume["base"] for volume in self.volumes().values()}, {base})

    def test_the_unnamed_export_is_made_too(self):
        data, base = self.golden()
        self.serve_on_demand("8M", base)
        self.connect().pwrite(b"mine", 0)
        self.assertData(self.connect("default"), 0, b"mine" + data[4:5000])
        self.assertData(self.connect("other"), 0, data)

    def test_removal_frees(self):
        data, base = self.golden()
        self.serve_on_demand("8M", base, "spill=" + self.folder)
        sectors.disconnect(self.connect("other"))
        files = self.server.open_files()
        for round_ in range(3):
            h = self.connect("vm1")
            self.assertData(h, 0, data)
            h.pwrite(pattern(round_, 7 * MIB), MIB // 2)
            self.assertIn("connected", self.control("volumes", "remove", "vm1", status=1))
            sectors.disconnect(h)
            self.assertTrue(sectors.wait_for(lambda: self.volumes()["vm1"]["connections"] == 0))
            self.control("volumes", "remove", "vm1")
            self.assertEqual(set(self.volumes()), {"other"})
            total = json.loads(self.control("stats", "--json"))["total"]
            self.assertEqual(total["live"], self.volumes()["other"]["live"])
            self.assertTrue(sectors.wait_for(lambda: self.server.open_files() == files),
                            "%d files, not %d" % (self.server.open_files(), files))

    def test_bases_on_demand_are_not_images(self):
        data, base = self.golden(MIB)
        link = self.path("link")
        os.symlink(base, link)
        for parameters in (("volume=v:1M", "image=" + link, "on-demand=1G", "base=" + base),
                           ("on-demand=1G", "base=" + link, "volume=v:1M", "image=" + base)):
            self.refused(["image of volume 'v'", "on demand"], *parameters)
        self.refused(["sectorsctl volumes create"], "on-demand=1G", "image=" + self.image)
        self.assertFalse(os.path.exists(self.image))
        self.serve_on_demand("1M", base)
        for place in (base, link):
            said = self.control("volumes", "create", "v", "1M", "--image=" + place, status=1)
            self.assertRegex(said, "base of the volumes made on demand")
        self.control("volumes", "create", "v", "1M", "--base=" + link)
        self.control("volumes", "create", "w", "1M", "--base=" + base, "--image=" + self.image)
        for name in ("v", "w", "x"):
            self.assertData(self.connect(name), 0, data)

    def test_bases_on_demand_that_cannot_be_opened(self):
        """The server says so when it starts."""
        self.refused([re.escape(self.base), "on demand"], "on-demand=1G", "base=" + self.base)
        self.assertFalse(os.path.exists(self.base))
        self.refused([re.escape(self.folder), "folder|directory"], "on-demand=1G", "base=" + self.folder)
        nowhere = "nbd+unix:///?socket=" + self.path("nowhere")
        self.refused(["nowhere"], "volume=a:1G", "on-demand=1G", "base=" + nowhere)
        self.refused(["/proc"], "on-demand=1G", "spill=/proc")

    def open_all(self, name, count):
        """Threads that open an export at once, and what they get in the end: a connection, or an error.
        Returns when they wait for it."""
        results = []
        files = self.server.open_files()

        def open_one():
            try:
                results.append(sectors.connect(self.server.path, name))
            except sectors.nbd.Error as error:
                results.append(error)

        threads = [threading.Thread(target=open_one) for _ in range(count)]
        for thread in threads:
            thread.start()
        self.assertTrue(sectors.wait_for(lambda: self.server.open_files() >= files + count))
        time.sleep(0.5)  # for the last one's handshake
        return threads, results

    def can_open(self, name):
        try:
            sectors.disconnect(self.connect(name))
        except sectors.nbd.Error:
            return False
        return True

    def connections_to(self, path):
        """How many a server has, or will have, on its socket."""
        with open("/proc/net/unix") as file:
            return sum(line.endswith(" " + path + "\n") for line in file) - 1

    def serve_over_a_server_that_stops(self):
        data, base = self.golden()
        uri = self.below("golden", "-r", "file", base)
        self.serve_on_demand("8M", uri)
        h = self.connect("early")
        self.assertData(h, 0, data)
        self.assertTrue(sectors.wait_for(lambda: self.connections_to(self.path("golden")) <= 4))
        self.processes[-1].send_signal(signal.SIGSTOP)
        return data, h

    def test_many_clients_and_one_new_name(self):
        """Twenty ask for it while the base's server is slow.  Nobody else waits, and there is one volume."""
        data, early = self.serve_over_a_server_that_stops()
        golden, before = self.processes[-1], self.connections_to(self.path("golden"))
        threads, opened = self.open_all("new", 20)
        began = time.monotonic()
        self.assertData(early, 0, data)
        self.assertData(self.connect("early"), 0, data)
        self.assertEqual(set(self.volumes()), {"early"})
        self.assertLess(time.monotonic() - began, 10)
        self.assertEqual(opened, [])
        golden.send_signal(signal.SIGCONT)
        for thread in threads:
            thread.join()
        self.assertEqual(len(opened), 20)
        for number, h in enumerate(opened):
            self.assertIsInstance(h, sectors.nbd.NBD, h)
            h.pwrite(b"%05d" % number, number * 5)
        for h in opened:
            self.assertData(h, 0, b"".join(b"%05d" % number for number in range(20)) + data[100:])
        self.assertEqual(set(self.volumes()), {"early", "new"})
        self.assertEqual(self.volumes()["new"]["connections"], 20)
        self.assertEqual(self.connections_to(self.path("golden")), before)  # volumes share them
        for h in opened:
            sectors.disconnect(h)
        self.assertEqual(self.server.log(), "")

    def test_a_base_that_is_away_for_a_while(self):
        """All who ask for a new volume are refused, the log says once why, and later it is made."""
        data, early = self.serve_over_a_server_that_stops()
        threads, opened = self.open_all("new", 20)
        self.processes[-1].kill()
        self.processes[-1].wait()
        for thread in threads:
            thread.join()
        self.assertEqual([type(result) for result in opened], [sectors.nbd.Error] * 20)
        said = [line for line in self.server.log().splitlines() if "new" in line]
        self.assertIn(len(said), (1, 2, 3), said)  # more than one if a client came late
        told = len(said)
        self.assertRegex(said[0], r"cannot make volume 'new': .*golden.*\.")
        for name in ("new", "new", "other"):
            with self.assertRaises(sectors.nbd.Error):
                self.connect(name)
        said = [line for line in self.server.log().splitlines() if "cannot make volume 'new'" in line]
        self.assertEqual(len(said), told + 2, "one for each try")
        self.assertEqual(set(self.volumes()), {"early"})
        self.assertData(early, 0, data)
        os.unlink(self.path("golden"))
        self.below("golden", "-r", "file", self.base)
        self.assertTrue(sectors.wait_for(lambda: self.can_open("new")))  # it is tried once a second
        self.assertData(self.connect("new"), 0, data)

    def test_a_base_that_is_removed(self):
        """That has nothing to do with there being no such volume."""
        data, base = self.golden()
        self.serve_on_demand("8M", base)
        self.assertData(self.connect("vm1"), 0, data)
        os.rename(base, base + ".away")
        with self.assertRaises(sectors.nbd.Error):
            self.connect("vm2")
        self.assertRegex(self.server.log(), "(?m)^nbdkit: .*cannot make volume 'vm2': .*%s.*$" % re.escape(base))
        self.assertEqual(len(self.server.log().splitlines()), 1)
        os.rename(base + ".away", base)
        self.assertData(self.connect("vm2"), 0, data)

    # ------------------------------------------------------------ what an image is

    def fill(self, h, size):
        """Some data, some holes; what it is then."""
        dice = random.Random(5)
        for _ in range(60):
            count = dice.choice([512, 4096, 70000, MIB])
            h.pwrite(dice.randbytes(count), dice.randrange(size - count))
        h.trim(3 * MIB, 9 * MIB + 5)
        return h.pread(size // 2, 0) + h.pread(size - size // 2, size // 2)

    def test_image_is_a_plain_file(self):
        size = 40 * MIB + 1536
        self.serve(str(size), "image=" + self.image, "memory-limit=8M", "compress=lz4")
        h = self.connect()
        wanted = self.fill(h, size)
        h.flush()
        with open(self.image, "rb") as file:
            self.assertTrue(file.read() == wanted, "after a flush the file is not the volume")
        if has("qemu-img"):
            copy = self.path("copy.raw")
            subprocess.run(["cp", "--sparse=always", self.image, copy], check=True)
            done = subprocess.run(["qemu-img", "compare", "-f", "raw", "-F", "raw", copy,
                                   self.server.uri], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        sectors.disconnect(h)
        self.server.stop()
        self.assertEqual(os.stat(self.image).st_size, size)
        with open(self.image, "rb") as file:
            self.assertTrue(file.read() == wanted, "the file is not the volume")
        if has("qemu-img"):
            copy = self.path("copy.qcow2")
            subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", self.image, copy], check=True)
            self.serve(str(size), "image=" + self.image, "memory-limit=8M")
            done = subprocess.run(["qemu-img", "compare", "-f", "qcow2", "-F", "raw", copy, self.server.uri],
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_existing_image(self):
        data = pattern(11, 20 * MIB)
        self.make(self.image, 0, data)
        self.serve("image=" + self.image, "memory-limit=8M")
        h = self.connect()
        self.assertData(h, 0, data)
        h.pwrite(b"one byte", 7 * MIB + 3)
        sectors.disconnect(h)
        self.server.stop()
        with open(self.image, "rb") as file:
            self.assertTrue(file.read() == data[:7 * MIB + 3] + b"one byte" + data[7 * MIB + 11:])

    def test_holes_come_back(self):
        """The image takes disk for what the volume holds, and gives it back on trim."""
        self.serve("1G", "image=" + self.image, "memory-limit=16M")
        self.assertLess(disk_used(self.image), MIB)
        h = self.connect()
        for i in range(64):
            h.pwrite(pattern(i, MIB), i * 8 * MIB)
        h.flush()
        self.assertGreaterEqual(disk_used(self.image), 64 * MIB)
        self.assertLess(disk_used(self.image), 66 * MIB)
        for i in range(0, 64, 2):
            h.trim(MIB, i * 8 * MIB)
        h.flush()
        self.assertLess(disk_used(self.image), 34 * MIB)
        self.assertGreaterEqual(disk_used(self.image), 32 * MIB)
        h.zero(512 * MIB, 0)
        h.flush()
        self.assertLess(disk_used(self.image), 2 * MIB)
        h.pwrite(bytes(8 * MIB), 0)
        h.flush()
        self.assertLess(disk_used(self.image), 4 * MIB, "zeros that were written take space")

    def test_spill_gives_space_back(self):
        self.serve("1G", "spill=" + self.folder, "memory-limit=16M")
        h = self.connect()
        before = self.spill_used()
        for i in range(64):
            h.pwrite(pattern(i, MIB), i * MIB)
        self.assertGreater(self.spill_used() - before, 40 * MIB)
        h.trim(1 << 30, 0)
        self.assertTrue(sectors.wait_for(lambda: self.spill_used() - before < 4 * MIB), self.spill_used())
        self.assertZeros(h, 0, 32 * MIB)

    def spill_used(self):
        """What the deleted files take that the server has open."""
        total = 0
        folder = "/proc/%d/fd" % self.server.process.pid
        for name in os.listdir(folder):
            try:
                status = os.stat(os.path.join(folder, name))
            except OSError:
                continue
            if status.st_nlink == 0:
                total += status.st_blocks * 512
        return total

    @unittest.skipUnless(has("strace"), "strace is not installed")
    def test_flush_reaches_the_disk(self):
        """A flush, and a write with FUA, sync the file; without changes there is nothing to do."""
        self.serve("64M", "image=" + self.image, "memory-limit=8M")
        h = self.connect()
        trace = os.path.join(self.folder, "trace")
        strace = subprocess.Popen(["strace", "-f", "-o", trace, "-e", "trace=fsync,fdatasync,sync_file_range,io_uring_enter",
                                   "-p", str(self.server.process.pid)], stderr=subprocess.DEVNULL)
        try:
            if not sectors.wait_for(lambda: strace.poll() is not None or self.is_traced(), 5) or strace.poll() is not None:
                self.skipTest("strace may not attach")
            h.pwrite(b"x" * 5000, 100)
            h.flush()
            h.pwrite(b"y" * 5000, MIB, sectors.nbd.CMD_FLAG_FUA)
        finally:
            strace.send_signal(signal.SIGINT)
            strace.wait()
        with open(trace) as file:
            syncs = [line for line in file if re.search(r"f(data)?sync\(|io_uring_enter", line)]
        self.assertGreaterEqual(len(syncs), 2, "flush and FUA")

    def is_traced(self):
        with open("/proc/%d/status" % self.server.process.pid) as file:
            return not re.search(r"TracerPid:\s*0\n", file.read())

    @unittest.skipIf(sectors.SANITIZED, "a sanitizer's own start takes longer")
    def test_a_large_image_is_ready_at_once(self):
        """1 TiB with data all over it, beside a server without an image, in turns."""
        with open(self.image, "wb") as file:
            file.truncate(TIB)
            for i in range(1000):
                file.seek(i * GIB + i * 4096)
                file.write(b"data" * 1024)
        times = {"plain": [], "image": []}
        for _ in range(7):
            for kind, parameters in (("plain", ("1T",)), ("image", ("1T", "image=" + self.image))):
                began = time.monotonic()
                process = subprocess.Popen(["nbdkit", "-f", "--exit-with-parent", "-U", self.path("ready"),
                                            sectors.PLUGIN, *parameters], stdin=subprocess.DEVNULL)
                try:
                    while True:
                        try:
                            h = sectors.connect(self.path("ready"))
                            break
                        except sectors.nbd.Error:
                            self.assertLess(time.monotonic() - began, 30)
                            time.sleep(0.001)
                    times[kind].append(time.monotonic() - began)
                    if kind == "image":
                        self.assertEqual(h.pread(4, 999 * GIB + 999 * 4096), b"data")
                    sectors.disconnect(h)
                finally:
                    process.terminate()
                    self.assertEqual(process.wait(), 0)
                    if os.path.exists(self.path("ready")):
                        os.unlink(self.path("ready"))
        plain, image = statistics.median(times["plain"]), statistics.median(times["image"])
        print("ready after %.0f ms, without an image after %.0f ms" % (image * 1000, plain * 1000))
        self.assertLess(image - plain, 0.1)


if __name__ == "__main__":
    sectors.main()
