# SPDX-License-Identifier: BSD-3-Clause
"""A virtual machine with its disk on the server: memory comes and goes with the
guest's files, and at the limit the guest waits until there is room."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "protocol"))

import sectors
from sectors import MIB, DATA

QEMU = "qemu-system-x86_64"


class Guest:
    """QEMU, with its serial console and its monitor.  See guest/init for the guest."""

    def __init__(self, folder, server, export, files):
        monitor = os.path.join(folder, "monitor")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(monitor)
        listener.listen()
        self.process = subprocess.Popen(
            [QEMU, "-accel", "tcg", "-cpu", "max", "-m", "256", "-nodefaults", "-display", "none",
             "-no-reboot", "-kernel", os.path.join(folder, "vmlinuz"),
             "-initrd", os.path.join(folder, "initramfs"),
             "-append", "console=ttyS0 quiet files=%d" % files,
             "-serial", "stdio", "-qmp", "unix:" + monitor,
             "-blockdev", "driver=nbd,node-name=disk,server.type=unix,server.path=%s,export=%s,"
             "discard=unmap" % (server.path, export),
             "-device", "virtio-blk-pci,drive=disk,werror=enospc,rerror=report"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, errors="replace")
        connection, _ = listener.accept()
        listener.close()
        self.monitor = connection.makefile("rw")
        connection.close()
        self.events = []
        self.receive()
        self.command("qmp_capabilities")

    def receive(self):
        line = self.monitor.readline()
        if not line:
            raise AssertionError("QEMU is gone")
        return json.loads(line)

    def command(self, name):
        self.monitor.write(json.dumps({"execute": name}))
        self.monitor.flush()
        while True:
            message = self.receive()
            if "event" in message:
                self.events.append(message)
            else:
                return message["return"]

    def event(self, name):
        """Waits for that event; returns what comes with it."""
        while True:
            message = self.events.pop(0) if self.events else self.receive()
            if message.get("event") == name:
                return message.get("data")

    def reaches(self, step):
        """Waits until the guest has completed the step."""
        said = []
        for line in self.process.stdout:
            said.append(line)
            if "GUEST FAILED" in line:
                break
            if "GUEST " + step in line:
                return
        raise AssertionError("the guest did not get to %s:\n%s" % (step, "".join(said)))

    def proceed(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self):
        self.process.kill()
        self.process.communicate()
        self.monitor.close()


class GuestTest(sectors.TestCase):
    def setUp(self):
        super().setUp()
        if not shutil.which(QEMU):
            self.skip("%s is not installed" % QEMU)
        built = subprocess.run([os.path.join(HERE, "guest", "build"), self.folder])
        if built.returncode == 77:
            self.skip("the parts of the guest cannot be had")
        self.assertEqual(built.returncode, 0, "the guest could not be built")
        # Whatever waits longer than that waits in vain.
        signal.signal(signal.SIGALRM, self.late)
        signal.alarm(110)
        self.addCleanup(signal.alarm, 0)

    def skip(self, reason):
        """Ends the whole program as ctest knows a skipped test."""
        print("SKIP: " + reason, file=sys.stderr)
        self.doCleanups()
        os._exit(77)

    def late(self, *_):
        self.fail("the guest takes too long")

    def start(self, export, files):
        guest = Guest(self.folder, self.server, export, files)
        self.addCleanup(guest.end)
        return guest

    def data(self, h):
        """The bytes of data on the disk."""
        return sum(length for _, length, kind in sectors.block_map(h, 0, h.get_size()) if kind == DATA)

    def test_fill(self):
        files = 32
        size = files * 4 * MIB
        self.serve("volume=disk:100G", "memory-limit=1G")
        h = self.connect("disk")
        guest = self.start("disk", files)
        guest.reaches("FORMATTED")
        formatted, rss = self.data(h), self.server.rss()
        self.assertLess(formatted, 64 * MIB)
        guest.proceed()
        guest.reaches("FILLED")
        filled = self.data(h)
        self.assertGreaterEqual(filled, formatted + size)
        self.assertLess(filled, formatted + size + 16 * MIB)
        self.assertGreaterEqual(self.server.rss(), rss + size)
        guest.proceed()
        guest.reaches("TRIMMED")
        self.assertLess(self.data(h), formatted + 8 * MIB)
        if not sectors.SANITIZED:
            self.assertTrue(sectors.wait_for(lambda: self.server.rss() < rss + 24 * MIB),
                            "the server keeps %d MiB" % ((self.server.rss() - rss) // MIB))
        print("data: formatted %d KiB, filled %d KiB, trimmed %d KiB" %
              (formatted >> 10, filled >> 10, self.data(h) >> 10))
        guest.proceed()
        guest.reaches("DONE")
        self.assertEqual(guest.process.wait(), 0)

    def test_enospc(self):
        """The limit is hit: QEMU stops the guest, which after room was made goes on."""
        files = 32
        self.serve("volume=disk:8G", "volume=ballast:1G", "memory-limit=256M")
        ballast, h = self.connect("ballast"), self.connect("disk")
        content = os.urandom(MIB) * 128
        ballast.pwrite(content[:64 * MIB], 0)
        ballast.pwrite(content[64 * MIB:], 64 * MIB)
        guest = self.start("disk", files)
        guest.reaches("FORMATTED")
        guest.proceed()
        error = guest.event("BLOCK_IO_ERROR")
        self.assertTrue(error["nospace"], error)
        self.assertEqual(error["operation"], "write")
        self.assertEqual(error["action"], "stop")
        guest.event("STOP")
        self.assertEqual(guest.command("query-status")["status"], "io-error")
        self.assertLess(self.data(h), files * 4 * MIB)
        for offset in (0, 64 * MIB):
            self.assertData(ballast, offset, content[offset:offset + 64 * MIB])

        # Going on without room only leads to the same again.
        guest.command("cont")
        self.assertTrue(guest.event("BLOCK_IO_ERROR")["nospace"])
        guest.event("STOP")

        ballast.trim(128 * MIB, 0)
        guest.command("cont")
        guest.event("RESUME")
        guest.reaches("FILLED")
        self.assertEqual(guest.command("query-status")["status"], "running")
        self.assertGreaterEqual(self.data(h), files * 4 * MIB)
        guest.proceed()
        guest.reaches("TRIMMED")
        guest.proceed()
        guest.reaches("DONE")
        self.assertEqual(guest.process.wait(), 0)


if __name__ == "__main__":
    sectors.main()
