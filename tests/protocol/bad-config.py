# SPDX-License-Identifier: BSD-3-Clause
"""Every wrong parameter ends the start with one sentence that names it."""

import os
import re
import subprocess

import sectors

LONG = "x" * 5000


def nbdkit(*arguments):
    """Runs it to its end."""
    return subprocess.run(["nbdkit", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, errors="replace", timeout=60,
                          env=sectors.server_environment())


class BadConfig(sectors.TestCase):
    def start(self, *parameters, verbose=False):
        """Starts a server which, if it can start, ends at once and well."""
        path = os.path.join(self.folder, "start.sock")
        if os.path.exists(path):
            os.unlink(path)
        return nbdkit(*(["-v"] if verbose else []), "-U", path, sectors.PLUGIN, *parameters,
                      "--run", "true")

    # (parameters, what the message must contain: a regular expression)
    TABLE = (
        # Sizes.
        (["size=0"], "0"),
        (["0"], "0"),
        (["size=-1"], "-1"),
        (["1X"], "1X"),
        (["1Gi"], "1Gi"),
        (["1.5G"], r"1\.5G"),
        (["size="], "size"),
        (["12 34"], "12 34"),
        (["9223372036854775808"], "9223372036854775808"),
        (["18446744073709551616"], "18446744073709551616"),
        (["8E"], "8E"),
        (["99999999E"], "99999999E"),
        (["1G", "2G"], "size|2G"),
        # Volumes.
        (["volume=a"], "a"),
        (["volume="], "volume"),
        (["volume=:1G"], ":1G|name"),
        (["volume=a:"], "a"),
        (["volume=a:0"], "0"),
        (["volume=a:-5"], "-5"),
        (["volume=a:1X"], "1X"),
        (["volume=a:9223372036854775808"], "9223372036854775808"),
        (["volume=a/b:1G"], "a/b"),
        (["volume=/:1G"], "/"),
        (["volume=a\nb:1G"], r"a.*b"),
        (["volume=a\x7f:1G"], "a"),
        (["volume=bell\x07:1G"], "bell"),
        (["volume=%s:1G" % LONG], "xxxx"),
        (["volume=%s:1G" % ("n" * 256)], "nnnn"),
        (["volume=twin:1G", "volume=twin:1G"], "twin"),
        (["volume=twin:1G", "volume=b:1G", "volume=twin:2G"], "twin"),
        # Volumes on demand.
        (["on-demand=0"], "0"),
        (["on-demand=1X"], "1X"),
        (["on-demand=-1G"], "-1G"),
        (["on-demand=9223372036854775808"], "9223372036854775808"),
        (["on-demand=1G", "on-demand=2G"], "on-demand.*2G.*once"),
        (["on-demand=1G", "max-volumes=0"], "0"),
        (["on-demand=1G", "max-volumes=-1"], "-1"),
        (["on-demand=1G", "max-volumes=many"], "many"),
        (["on-demand=1G", "max-volumes=99999999999"], "99999999999"),
        (["volume=a:1G", "volume=b:1G", "volume=c:1G", "on-demand=1G", "max-volumes=2"], "2"),
        # The limit.
        (["1G", "memory-limit=0"], "0"),
        (["1G", "memory-limit=1"], "1"),
        (["1G", "memory-limit=4095"], "4095"),
        (["1G", "memory-limit=1X"], "1X"),
        (["1G", "memory-limit=-1"], "-1"),
        (["1G", "memory-limit=0%"], "0%"),
        (["1G", "memory-limit=101%"], "101%"),
        (["1G", "memory-limit=-5%"], "-5%"),
        (["1G", "memory-limit=%"], "%"),
        (["1G", "memory-limit=50%%"], "50%%"),
        (["1G", "memory-limit=50% "], "50% "),
        (["1G", "memory-limit=1E"], "1E"),
        (["1G", "memory-limit=8E"], "8E"),
        (["1G", "memory-limit="], "memory-limit"),
        # The sector size.
        (["1G", "sector-size=0"], "0"),
        (["1G", "sector-size=512"], "512"),
        (["1G", "sector-size=3000"], "3000"),
        (["1G", "sector-size=6K"], "6K|6144"),
        (["1G", "sector-size=1M"], "1M|1048576"),
        (["1G", "sector-size=128K"], "128K|131072"),
        (["1G", "sector-size=-4096"], "-4096"),
        (["1G", "sector-size=big"], "big"),
        # The thread model.
        (["1G", "thread-model=nonsense"], "nonsense"),
        (["1G", "thread-model="], "thread-model"),
        (["1G", "thread-model=PARALLEL "], "PARALLEL "),
        # The control socket.
        (["1G", "control={file}"], "{file}"),
        (["1G", "control={folder}"], "{folder}"),
        (["1G", "control={folder}/nosuch/socket"], "{folder}/nosuch/socket"),
        (["1G", "control={folder}/%s" % ("s" * 108)], "ssss"),
        (["1G", "control="], "control"),
        # Below memory.
        (["1G", "spill="], "spill"),
        (["1G", "spill={folder}/nosuch"], "spill.*{folder}/nosuch"),
        (["1G", "spill={file}"], "spill.*{file}"),
        (["1G", "compress=gzip"], "compress.*gzip"),
        (["1G", "compress="], "compress"),
        (["1G", "compress=lz4", "high-watermark=90"], "high-watermark.*90"),
        (["1G", "compress=lz4", "high-watermark=100%"], "high-watermark.*100%"),
        (["1G", "compress=lz4", "low-watermark=0%"], "low-watermark.*0%"),
        (["1G", "compress=lz4", "low-watermark=-5%"], "low-watermark.*-5%"),
        (["1G", "compress=lz4", "high-watermark=50%", "low-watermark=51%"], "51%.*50%"),
        (["1G", "compress=lz4", "low-watermark=91%"], "91%.*90%"),
        (["1G", "high-watermark=50%"], "high-watermark.*spill"),
        (["1G", "low-watermark=50%", "compress=none"], "low-watermark.*spill"),
        (["1G", "compress=lz4", "memory-limit=4M"], "memory-limit.*4M.*8M"),
        (["1G", "spill={folder}", "memory-limit=8388607"], "memory-limit.*8M"),
        (["1G", "image={folder}/i", "memory-limit=4M"], "memory-limit.*8M"),
        (["1G", "compress=lz4", "memory-limit=127M", "sector-size=64K"], "memory-limit.*127M.*128M"),
        # Images, bases, priorities.
        (["1G", "image="], "image"),
        (["1G", "base="], "base"),
        (["1G", "image={folder}/i", "image={folder}/j"], "image.*{folder}/j.*default.*{folder}/i"),
        (["1G", "base={folder}/i", "base={folder}/j"], "base.*{folder}/j.*default.*{folder}/i"),
        (["1G", "image=http://host/disk"], "image.*http://host/disk.*nbd://"),
        (["1G", "base=NBD://host/disk"], "base.*NBD://host/disk.*nbd://"),
        (["1G", "image=nbd+unix:///x?socket=here.sock"], "image.*here.sock"),
        (["1G", "image=nbd+unix:///x?tls=no&socket=here.sock"], "image.*here.sock"),
        (["volume=a:1G", "image={folder}/i", "volume=b:1G", "image={folder}/i"],
         "image.*{folder}/i.*'a'.*'b'"),
        (["volume=a:1G", "image={file}", "volume=b:1G", "image={folder}/link"], "image.*'a'.*'b'"),
        (["volume=a:1G", "image={folder}/i", "volume=b:1G", "base={folder}/i"],
         "base.*{folder}/i.*'a'.*'b'"),
        (["volume=a:1G", "image={file}", "base={file}"], "base.*'a'.*'a'"),
        (["volume=a:1G", "image=nbd://h/x", "volume=b:1G", "image=nbd://h/x"], "nbd://h/x.*'a'.*'b'"),
        (["on-demand=1G", "image={folder}/i"], "image.*{folder}/i.*on demand.*volumes create"),
        (["image={folder}/i", "on-demand=1G"], "image.*{folder}/i.*on demand.*volume="),
        (["base={file}", "on-demand=1G"], "base.*{file}.*after on-demand="),
        (["priority=3", "on-demand=1G"], "priority.*3.*after on-demand="),
        (["on-demand=1G", "priority=11"], "priority.*11"),
        (["on-demand=1G", "base={file}", "base={folder}/j"], "base.*{folder}/j.*on demand.*{file}"),
        (["on-demand=1G", "base={folder}/nosuch"], "on demand.*{folder}/nosuch"),
        (["on-demand=1G", "base=http://host/disk"], "base.*http://host/disk.*nbd://"),
        (["on-demand=1G", "base={file}", "memory-limit=4M"], "memory-limit.*4M.*8M"),
        (["on-demand=1G", "base={file}", "volume=a:5", "image={folder}/link"],
         "base.*{folder}/link.*'a'.*on demand"),
        (["priority=3"], "size"),
        (["1G", "priority=11"], "priority.*11"),
        (["1G", "priority=-1"], "priority.*-1"),
        (["1G", "priority=high"], "priority.*high"),
        (["1G", "priority="], "priority"),
        (["1G", "image={folder}"], "{folder}"),
        (["1G", "image={folder}/nosuch/image"], "{folder}/nosuch/image"),
        (["1G", "base={folder}/nosuch"], "{folder}/nosuch"),
        (["image={folder}/nosuch"], "{folder}/nosuch"),
        # Others.
        ([], "size"),
        (["memory-limit=1G"], "size"),
        (["1G", "colour=green"], "colour"),
        (["1G", "Size=1G"], "Size"),
        (["1G", "sectorsize=4096"], "sectorsize"),
    )

    def test_refused(self):
        # Not so short that it fits into a socket's address beside the folder.
        path = os.path.join(self.folder, "regular")
        with open(path, "w") as file:
            file.write("not a socket")
        os.symlink(path, os.path.join(self.folder, "link"))
        place = lambda text: text.replace("{file}", path).replace("{folder}", self.folder)
        for parameters, pattern in self.TABLE:
            parameters = [place(parameter) for parameter in parameters]
            pattern = place(pattern)
            with self.subTest(parameters=[p[:60] for p in parameters]):
                done = self.start(*parameters)
                self.assertGreater(done.returncode, 0, "it was accepted, or crashed")
                lines = done.stderr.splitlines()
                self.assertEqual(len(lines), 1, "one line: " + done.stderr[:2000])
                self.assertLess(len(lines[0]), 600)
                self.assertNotRegex(lines[0], r"[\x00-\x08\x0b-\x1f\x7f]")
                # Something must be said beyond the value itself.
                self.assertRegex(lines[0], r"^nbdkit: .*[a-z]{2,} .*[a-z]{2,}")
                self.assertRegex(lines[0], pattern)
        with open(path) as file:
            self.assertEqual(file.read(), "not a socket")

    def test_accepted(self):
        """What lies just inside the bounds."""
        for parameters in (["1"], ["size=1"], [str(sectors.LARGEST)], ["volume=a:1"],
                           ["volume=%s:1G" % ("n" * 255)], ["volume=a b-ü.1:1G"],
                           ["volume=with:colon:1G"],
                           ["1G", "volume=a:1G"], ["on-demand=1G"],
                           ["on-demand=1G", "max-volumes=1"],
                           ["1G", "memory-limit=1M"], ["1G", "memory-limit=1%"],
                           ["1G", "memory-limit=100%"],
                           ["1G", "sector-size=4K"], ["1G", "sector-size=64K"],
                           ["1G", "thread-model=auto"], ["1G", "thread-model=serialize-requests"],
                           ["1G", "thread-model=parallel"],
                           ["1G", "control=" + os.path.join(self.folder, "control")],
                           ["1G", "compress=lz4"], ["1G", "compress=zstd"], ["1G", "compress=none"],
                           ["1G", "compress=lz4", "memory-limit=8M"],
                           ["1G", "compress=lz4", "high-watermark=99%", "low-watermark=1%"],
                           ["1G", "compress=lz4", "high-watermark=50%"],
                           ["1G", "spill=" + self.folder, "low-watermark=90%"],
                           ["1G", "priority=0"], ["priority=10", "1G"],
                           ["1G", "image=" + os.path.join(self.folder, "one")],
                           ["image=" + os.path.join(self.folder, "one")],
                           ["image=" + os.path.join(self.folder, "two"), "size=1G", "priority=3",
                            "volume=a:1G", "base=" + os.path.join(self.folder, "one"),
                            "volume=b:1G", "base=" + os.path.join(self.folder, "one")],
                           ["base=" + os.path.join(self.folder, "one")],
                           ["on-demand=1G", "priority=3"],
                           ["on-demand=1G", "base=" + os.path.join(self.folder, "one"), "priority=0", "1G"],
                           ["base=" + os.path.join(self.folder, "one"), "on-demand=1G", "size=1M"]):
            with self.subTest(parameters=parameters):
                done = self.start(*parameters)
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_paths_are_of_the_folder_where_it_starts(self):
        """Though the server leaves that folder."""
        path = os.path.join(self.folder, "start.sock")
        done = subprocess.run(["nbdkit", "-U", path, sectors.PLUGIN, "16M", "image=image",
                               "spill=.", "--run", "nbdinfo --size $uri"], cwd=self.folder,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                              env=sectors.server_environment())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(os.path.getsize(os.path.join(self.folder, "image")), 16 << 20)

    def test_control_socket_is_removed(self):
        """Also one left by a server that was killed does not stand in the way."""
        path = os.path.join(self.folder, "control")
        server = self.serve("1G", "control=" + path)
        self.assertTrue(sectors.wait_for(lambda: os.path.exists(path)))
        server.kill()
        self.assertTrue(os.path.exists(path))
        again = self.serve("1G", "control=" + path)
        self.assertTrue(sectors.wait_for(lambda: os.path.exists(path)))
        again.stop()
        self.assertFalse(os.path.exists(path))

    def test_control_socket_of_another_server(self):
        """A socket on which another server listens is left to it."""
        path = os.path.join(self.folder, "control")
        self.serve("1G", "control=" + path)
        done = self.start("1G", "control=" + path)
        self.assertGreater(done.returncode, 0)
        self.assertIn(path, done.stderr)
        self.assertTrue(os.path.exists(path))

    def test_dump_plugin(self):
        done = nbdkit("--dump-plugin", sectors.PLUGIN)
        self.assertEqual(done.returncode, 0, done.stderr)
        values = dict(line.split("=", 1) for line in done.stdout.splitlines())
        self.assertEqual(values["name"], "sectors")
        self.assertTrue(values["version"])
        self.assertEqual(values["max_thread_model"], "parallel")
        self.assertIn(values["thread_model"], ("parallel", "serialize_requests"))
        self.assertEqual(values["magic_config_key"], "size")
        self.assertEqual(values["errno_is_preserved"], "1")
        for callback in ("thread_model", "list_exports", "default_export", "block_size", "zero",
                         "trim", "flush", "extents", "can_multi_conn", "can_fast_zero", "can_fua"):
            self.assertEqual(values["has_" + callback], "1")

    def test_thread_model(self):
        """Parallel requests gain nothing in memory, and before 1.34 nbdkit's are not safe."""
        version = re.search(r"(\d+)\.(\d+)", nbdkit("--version").stdout)
        old = tuple(map(int, version.groups())) < (1, 34)
        for parameter, wanted in ((None, "serialize_requests"),
                                  ("auto", "serialize_requests"),
                                  ("serialize-requests", "serialize_requests"),
                                  ("parallel", "parallel")):
            with self.subTest(parameter=parameter):
                parameters = ["thread-model=" + parameter] if parameter else []
                done = self.start("1G", *parameters, verbose=True)
                model = re.search(r"using thread model: (\w+)", done.stderr)
                self.assertTrue(model, done.stderr)
                self.assertEqual(model.group(1), wanted)
        for slow in (["1G", "spill=" + self.folder], ["on-demand=1G", "base=" + os.path.abspath(__file__)]):
            done = self.start(*slow, verbose=True)
            model = re.search(r"using thread model: (\w+)", done.stderr)
            self.assertEqual(model.group(1), "serialize_requests" if old else "parallel")

    def test_help(self):
        done = nbdkit("--help", sectors.PLUGIN)
        self.assertEqual(done.returncode, 0, done.stderr)
        for parameter in ("size", "volume", "on-demand", "max-volumes", "memory-limit",
                          "sector-size", "thread-model", "control", "spill", "compress",
                          "high-watermark", "low-watermark", "image", "base", "priority"):
            self.assertRegex(done.stdout, r"(?m)^\[?%s=" % parameter)


if __name__ == "__main__":
    sectors.main()
