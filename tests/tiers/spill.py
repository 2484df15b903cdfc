# SPDX-License-Identifier: BSD-3-Clause
"""Spill leaves nothing behind, however the server ends, and nobody else can read it."""

import os
import pwd
import random
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "protocol"))

import sectors  # noqa: E402
from sectors import MIB  # noqa: E402

# A file system may need that much more for itself.
TOLERANCE = 256 * 1024


def free(folder):
    status = os.statvfs(folder)
    return status.f_bfree * status.f_frsize


class Spill(sectors.TestCase):
    def setUp(self):
        super().setUp()
        self.spill = os.path.join(self.folder, "spill")
        os.mkdir(self.spill)

    def mount(self, kind, options):
        done = subprocess.run(["mount", "-t", kind, "-o", options, "none", self.spill], stderr=subprocess.DEVNULL)
        if done.returncode != 0:
            self.skipTest("%s cannot be mounted here" % kind)
        self.addCleanup(subprocess.run, ["umount", "-l", self.spill])

    def overflow(self, *parameters):
        """A server with more data than memory."""
        server = self.serve("1G", "spill=" + self.spill, "memory-limit=8M", *parameters)
        h = self.connect()
        for i in range(40):
            h.pwrite(random.Random(i).randbytes(MIB), i * MIB)
        for i in range(40):
            self.assertEqual(h.pread(MIB, i * MIB), random.Random(i).randbytes(MIB))
        self.client = h
        return server

    def end(self, server, how):
        """Kills or stops it; for the latter nbdkit waits for its clients to hang up."""
        if how == "stop":
            sectors.disconnect(self.client)
        getattr(server, how)()

    def spill_fds(self):
        """Descriptors of the server for files that have no name."""
        folder = "/proc/%d/fd" % self.server.process.pid
        found = []
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            status = os.stat(path) if os.path.exists(path) or "deleted" in os.readlink(path) else None
            if status and status.st_nlink == 0 and status.st_blocks * 512 > 20 * MIB:
                found.append(path)
        return found

    def nothing_is_left(self, before):
        self.assertEqual(os.listdir(self.spill), [])
        self.assertTrue(sectors.wait_for(lambda: free(self.spill) >= before - TOLERANCE),
                        "%d bytes are missing on the disk" % (before - free(self.spill)))

    def kill_and_look(self, *parameters):
        before = free(self.spill)
        for end in ("kill", "stop", "kill"):
            server = self.overflow(*parameters)
            self.assertEqual(os.listdir(self.spill), [], "it has a name")
            self.assertLess(free(self.spill), before - 20 * MIB, "nothing was spilled here")
            self.end(server, end)
            self.nothing_is_left(before)

    def test_nothing_is_left_on_tmpfs(self):
        self.mount("tmpfs", "size=200M")
        self.kill_and_look()

    def test_nothing_is_left_in_a_folder(self):
        """The disk is used by others too; so only names, and the server's own descriptors, count."""
        for end in ("kill", "stop"):
            server = self.overflow("compress=lz4")
            self.assertEqual(os.listdir(self.spill), [])
            self.assertEqual(len(self.spill_fds()), 1)
            self.end(server, end)
            self.assertEqual(os.listdir(self.spill), [])

    def test_without_o_tmpfile(self):
        """Some file systems have none: NFS, FAT, hostfs.  Here the C library is told to refuse it."""
        wrapper = os.path.join(self.folder, "without-tmpfile.so")
        source = os.path.join(self.folder, "without-tmpfile.c")
        with open(source, "w") as file:
            file.write(WITHOUT_TMPFILE)
        if subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", wrapper, source, "-ldl"]).returncode != 0:
            self.skipTest("no compiler")
        self.mount("tmpfs", "size=200M")
        old = os.environ.get("SECTORS_PRELOAD")
        if old:
            self.skipTest("not with a sanitizer")
        os.environ["SECTORS_PRELOAD"] = wrapper
        self.addCleanup(os.environ.pop, "SECTORS_PRELOAD")
        self.kill_and_look()

    @unittest.skipIf(os.geteuid() != 0, "only root can become another user")
    def test_nobody_else_reads_it(self):
        os.chmod(self.folder, 0o777)
        os.chmod(self.spill, 0o777)
        self.overflow()
        found = self.spill_fds()
        self.assertEqual(len(found), 1)
        self.assertEqual(os.stat(found[0]).st_mode & 0o077, 0, "others have rights")
        nobody = pwd.getpwnam("nobody")
        for path in found:
            done = subprocess.run(["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "head", "-c", "10", path],
                                  capture_output=True)
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(done.stdout, b"")
        self.assertNotEqual(os.stat(found[0]).st_uid, nobody.pw_uid)

    @unittest.skipIf(os.geteuid() != 0, "only root can become another user")
    def test_a_server_that_gives_root_up(self):
        """With -u the file is not readable by name or by others either."""
        os.chmod(self.folder, 0o777)
        os.chmod(self.spill, 0o777)
        self.overflow("-u", "nobody")
        self.assertEqual(os.listdir(self.spill), [])
        done = subprocess.run(["setpriv", "--reuid=daemon", "--regid=nogroup", "--clear-groups", "head", "-c", "10",
                               self.spill_fds()[0]], capture_output=True)
        self.assertNotEqual(done.returncode, 0)


WITHOUT_TMPFILE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/types.h>
static int refuses(int flags) { return (flags & O_TMPFILE) == O_TMPFILE; }
#define WRAP(NAME)                                                             \
  int NAME(const char *path, int flags, ...) {                                 \
    static int (*real)(const char *, int, ...);                                \
    va_list list; va_start(list, flags); mode_t mode = va_arg(list, mode_t); va_end(list); \
    if (refuses(flags)) { errno = EOPNOTSUPP; return -1; }                     \
    if (!real) real = dlsym(RTLD_NEXT, #NAME);                                 \
    return real(path, flags, mode);                                            \
  }
#define WRAPAT(NAME)                                                           \
  int NAME(int at, const char *path, int flags, ...) {                         \
    static int (*real)(int, const char *, int, ...);                           \
    va_list list; va_start(list, flags); mode_t mode = va_arg(list, mode_t); va_end(list); \
    if (refuses(flags)) { errno = EOPNOTSUPP; return -1; }                     \
    if (!real) real = dlsym(RTLD_NEXT, #NAME);                                 \
    return real(at, path, flags, mode);                                        \
  }
WRAP(open)
WRAP(open64)
WRAPAT(openat)
WRAPAT(openat64)
"""


if __name__ == "__main__":
    sectors.main()
