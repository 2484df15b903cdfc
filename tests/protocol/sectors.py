# SPDX-License-Identifier: BSD-3-Clause
"""What the Python tests share: a server, connections, extents, raw requests."""

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

try:
    import nbd
except ImportError:
    print("SKIP: Python's nbd module (python3-libnbd) is not installed", file=sys.stderr)
    sys.exit(77)

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("SECTORS_BUILD_DIR") or os.path.join(TOP, "build")
PLUGIN = os.path.join(BUILD, "plugin", "nbdkit-sectors-plugin.so")

# Under a sanitizer, resident memory says nothing.
SANITIZED = os.path.exists(PLUGIN) and re.search(b"__[at]san_init", open(PLUGIN, "rb").read())

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
SECTOR = 4096
LARGEST = (1 << 63) - 1

DATA = 0
HOLE = nbd.STATE_HOLE | nbd.STATE_ZERO
RESERVED = nbd.STATE_ZERO
NO_HOLE = nbd.CMD_FLAG_NO_HOLE


def wait_for(condition, seconds=20):
    """Waits until condition() is true; says whether it became so."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def server_environment():
    """A sanitized plugin needs the sanitizer's runtime in nbdkit from the start.
    nbdkit itself leaks the connections that are open when it ends."""
    environment = dict(os.environ)
    if "SECTORS_PRELOAD" in environment:
        environment["LD_PRELOAD"] = environment["SECTORS_PRELOAD"]
        environment["ASAN_OPTIONS"] = "detect_leaks=0"
    return environment


class Server:
    """nbdkit with the plugin, on a Unix socket in folder."""

    def __init__(self, folder, name, *parameters):
        self.path = os.path.join(folder, name + ".sock")
        self.uri = "nbd+unix:///?socket=" + self.path
        self.killed = False
        self.log_path = os.path.join(folder, name + ".log")
        pid_file = os.path.join(folder, name + ".pid")
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen(
                ["nbdkit", "-f", "--exit-with-parent", "-P", pid_file,
                 "-U", self.path, PLUGIN, *parameters],
                stdin=subprocess.DEVNULL, stderr=log, env=server_environment())
        ready = lambda: (self.process.poll() is not None or
                         (os.path.exists(pid_file) and os.path.getsize(pid_file) > 0))
        if not wait_for(ready) or self.process.poll() is not None:
            self.process.kill()
            self.process.wait()
            raise AssertionError("nbdkit %s did not start: %s" % (parameters, self.log()))

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def rss(self):
        """Its resident memory in bytes."""
        with open("/proc/%d/status" % self.process.pid) as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * KIB

    def open_files(self):
        return len(os.listdir("/proc/%d/fd" % self.process.pid))

    def kill(self):
        """Ends it as a lost machine would."""
        self.process.kill()
        self.process.wait()
        self.killed = True

    def stop(self):
        """A server which served well to the end also ends well."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(5 if SANITIZED else 30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            # With a preloaded runtime, nbdkit's exit can hang with any plugin.
            if not SANITIZED:
                raise AssertionError("the server did not end in 30 s")
            status = 0
        if "Sanitizer" in self.log() or "runtime error" in self.log():
            raise AssertionError("a sanitizer complained:\n%s" % self.log())
        if status != 0 and not self.killed:
            raise AssertionError("the server ended with %d:\n%s" % (status, self.log()[-1000:]))


def connect(path, export=""):
    h = nbd.NBD()
    h.add_meta_context("base:allocation")
    h.set_export_name(export)
    # What libnbd would refuse must reach the server.
    h.set_strict_mode(0)
    h.connect_unix(path)
    return h


def disconnect(h):
    """Says goodbye, if there is still anybody to say it to."""
    try:
        h.shutdown()
    except nbd.Error:
        pass


def extents(h, offset, count, flags=0):
    """One BLOCK_STATUS: a list of [length, type].  It need not cover all that was
    asked for, but must cover something, and nothing behind it."""
    found = []

    def each(_context, _offset, entries, _error):
        found.extend([entries[i], entries[i + 1]] for i in range(0, len(entries), 2))

    h.block_status(count, offset, each, flags)
    if not found or min(length for length, _ in found) == 0 or sum(length for length, _ in found) > count:
        raise AssertionError("extents of %d bytes at %d: %s" % (count, offset, found[:20]))
    return found


def block_map(h, offset, count):
    """The whole range's extents as [offset, length, type], equal neighbours merged."""
    merged = []
    end = offset + count
    while offset < end:
        for length, kind in extents(h, offset, min(end - offset, GIB)):
            if merged and merged[-1][2] == kind:
                merged[-1][1] += length
            else:
                merged.append([offset, length, kind])
            offset += length
    return merged


def run_async(h):
    """Until every command in flight has been answered."""
    while h.aio_in_flight() > 0:
        h.poll(-1)


def raw_connect(path, export=b"", greet=True):
    """A socket on which the handshake was made by hand (none of it if not greet)."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(path)
    if greet:
        s.recv(18, socket.MSG_WAITALL)
        s.sendall(struct.pack(">I", 3))
        s.sendall(b"IHAVEOPT" + struct.pack(">II", 1, len(export)) + export)
        s.recv(10, socket.MSG_WAITALL)
    return s


def raw_request(kind, offset, count, flags=0, cookie=1):
    return struct.pack(">IHHQQI", 0x25609513, flags, kind, cookie, offset, count)


class TestCase(unittest.TestCase):
    def setUp(self):
        if not os.path.exists(PLUGIN):
            self.fail(PLUGIN + " has not been built")
        self.folder = tempfile.mkdtemp(prefix="sectors-test.")
        self.addCleanup(shutil.rmtree, self.folder)
        self.server = None
        self.servers = 0

    def serve(self, *parameters):
        self.servers += 1
        self.server = Server(self.folder, "server%d" % self.servers, *parameters)
        self.addCleanup(self.server.stop)
        return self.server

    def connect(self, export="", server=None):
        h = connect((server or self.server).path, export)
        self.addCleanup(disconnect, h)
        return h

    def assertFails(self, name, function, *arguments, **named):
        """function fails with the errno of that name."""
        with self.assertRaises(nbd.Error) as caught:
            function(*arguments, **named)
        self.assertEqual(caught.exception.errno, name, caught.exception.string)

    def assertData(self, h, offset, data):
        """Compares without printing megabytes."""
        read = h.pread(len(data), offset)
        if read != data:
            at = next(i for i in range(len(data)) if read[i] != data[i])
            self.fail("byte %d is 0x%02x, not 0x%02x" % (offset + at, read[at], data[at]))

    def assertZeros(self, h, offset, count):
        self.assertData(h, offset, bytes(count))

    def assertMap(self, h, offset, count, *runs):
        """The map is made of these (length, type), in order."""
        wanted = []
        for length, kind in runs:
            if wanted and wanted[-1][2] == kind:
                wanted[-1][1] += length
            else:
                wanted.append([sum(wanted[-1][:2]) if wanted else offset, length, kind])
        found = block_map(h, offset, count)
        for a, b in zip(found, wanted):
            self.assertEqual(a, b, "extent as [offset, length, type]")
        self.assertEqual(len(found), len(wanted), "number of extents")


def main():
    unittest.main(verbosity=2, failfast=False)
