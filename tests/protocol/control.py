# SPDX-License-Identifier: BSD-3-Clause
"""The control socket and sectorsctl: figures that add up, and clients that misbehave."""

import fcntl
import json
import os
import pty
import pwd
import re
import select
import socket
import stat
import subprocess
import termios
import time
import unittest

import sectors
from sectors import GIB, KIB, MIB, NO_HOLE, TIB

CTL = os.path.join(sectors.BUILD, "tools", "sectorsctl")


def sectorsctl(*arguments, timeout=20):
    return subprocess.run([CTL, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=timeout)


class Control(sectors.TestCase):
    def setUp(self):
        super().setUp()
        self.control = os.path.join(self.folder, "control")
        self.server = self.serve("volume=one:1T", "volume=two \"2\":1G", "on-demand=1G",
                                 "memory-limit=256M", "control=" + self.control)

    def stats(self):
        return json.loads(sectorsctl(self.control, "stats", "--json").stdout)

    def raw(self, data, shut=True):
        """Sends bytes to the socket and returns all that comes back."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(self.control)
            s.sendall(data)
            if shut:
                s.shutdown(socket.SHUT_WR)
            answer = b""
            while True:
                piece = s.recv(65536)
                if not piece:
                    return answer
                answer += piece

    def test_figures(self):
        one = self.connect("one")
        two = self.connect("two \"2\"")
        idle = self.server.rss()
        one.pwrite(b"\x11" * 32 * MIB, 0)
        two.pwrite(b"\x22" * 16 * MIB, GIB // 2)
        two.pwrite(bytes(4 * MIB), 0)
        one.zero(8 * MIB, TIB // 2, NO_HOLE)
        one.trim(2 * MIB, 0)
        one.pread(1000, 5)
        stats = self.stats()
        total, volumes = stats["total"], stats["volumes"]
        by_name = {v["name"]: v for v in volumes}
        self.assertEqual(stats["pid"], self.server.process.pid)
        self.assertEqual(by_name["one"]["live"], 30 * MIB)
        self.assertEqual(by_name["one"]["reserved"], 8 * MIB)
        self.assertEqual(by_name["one"]["trimmed"], 2 * MIB)
        self.assertEqual(by_name["one"]["virtual"], TIB)
        self.assertEqual(by_name["two \"2\""]["live"], 16 * MIB)
        self.assertEqual(by_name["two \"2\""]["zero_detected"], 4 * MIB)
        for key in ("virtual", "live", "reserved", "zero_detected", "trimmed"):
            self.assertEqual(total[key], sum(v[key] for v in volumes), key)
        for operation, what in total["requests"].items():
            for key in ("count", "errors", "bytes"):
                self.assertEqual(what[key],
                                 sum(v["requests"][operation][key] for v in volumes), key)
        self.assertEqual(by_name["one"]["requests"]["read"]["bytes"], 1000)
        self.assertEqual(total["requests"]["write"]["count"], 3)
        self.assertEqual(total["resident"],
                         total["live"] + total["metadata"] + total["free_reserve"] +
                         total["compressed_memory"] + total["buffers"])
        self.assertEqual(total["high_watermark"], 0)
        for key in ("compressed", "dirty", "below", "misses", "swapped_in", "swapped_out",
                    "out_requests", "decompressed", "evicted", "preloaded", "read_ahead"):
            self.assertEqual(total[key], 0, key)
        for key in ("error", "below_used", "spill"):
            self.assertIsNone(total[key], key)
        for volume in volumes:
            self.assertEqual((volume["image"], volume["base"], volume["priority"]), (None, None, 5))
        self.assertLessEqual(total["charged"], total["limit"])
        self.assertGreaterEqual(total["charged"], total["live"] + total["reserved"])
        self.assertGreaterEqual(total["metadata"], sum(v["metadata"] for v in volumes))
        latency = total["requests"]["write"]["latency_ns"]
        self.assertLessEqual(latency["p50"], latency["p99"])
        self.assertLessEqual(latency["p99"], latency["max"])
        self.assertGreater(latency["total"], 0)
        if not sectors.SANITIZED:
            # What the store says it added is what the process has more; nbdkit's own
            # buffers for these large requests, up to 32 MiB each, come on top.
            grown = self.server.rss() - idle
            self.assertGreaterEqual(grown, total["resident"] * 0.97)
            self.assertLessEqual(grown, total["resident"] + 68 * MIB)
        self.assertEqual(by_name["one"]["connections"], 1)
        sectors.disconnect(one)
        self.assertTrue(sectors.wait_for(lambda: self.stats()["volumes"][0]["connections"] == 0))
        self.assertEqual(self.stats()["volumes"][0]["requests"]["read"]["bytes"], 1000)

    def test_errors_are_counted(self):
        one = self.connect("one")
        with self.assertRaises(sectors.nbd.Error):
            for i in range(16):
                one.pwrite(b"x" * 32 * MIB, i * 32 * MIB)
        write = self.stats()["total"]["requests"]["write"]
        self.assertEqual(write["errors"], 1)
        self.assertEqual(write["bytes"], (write["count"] - 1) * 32 * MIB)

    def test_volumes_on_demand_show(self):
        self.connect("new").pwrite(b"x", 0)
        self.assertEqual([v["name"] for v in self.stats()["volumes"]], ["one", "two \"2\"", "new"])

    def test_text(self):
        done = sectorsctl(self.control, "stats")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"(?m)^one +1\.0T ")
        self.assertRegex(done.stdout, r"(?m)^limit: .* of 256M used")

    def test_prometheus(self):
        self.connect("one").pwrite(b"x" * 5000, 0)
        done = sectorsctl(self.control, "stats", "--prometheus")
        self.assertEqual(done.returncode, 0)
        typed, seen = {}, set()
        for line in done.stdout.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                self.assertNotIn(name, typed)
                typed[name] = kind
            elif not line.startswith("# HELP "):
                match = re.fullmatch(
                    r'([a-z_]+)(\{(?:[a-z]+="(?:[^"\\\n]|\\.)*",?)*\})? ([0-9.]+)', line)
                self.assertIsNotNone(match, line)
                self.assertIn(re.sub("_(sum|count)$", "", match[1]), typed)
                self.assertNotIn(match[1] + str(match[2]), seen, "twice")
                seen.add(match[1] + str(match[2]))
        self.assertIn('sectors_volume_live_bytes{volume="one"} 8192', done.stdout)
        self.assertIn('sectors_volume_live_bytes{volume="two \\"2\\""} 0', done.stdout)
        self.assertIn('sectors_requests_total{volume="one",operation="write"} 1', done.stdout)

    def test_watch(self):
        """Goes on until the server ends, and then says so."""
        watch = subprocess.Popen([CTL, self.control, "stats", "--watch=0.1"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        time.sleep(1)
        self.server.kill()
        out, err = watch.communicate(timeout=20)
        self.assertGreaterEqual(out.count("volume "), 3)
        self.assertRegex(err, "server went away")
        self.assertEqual(watch.returncode, 1)

    def screen(self, columns, lines):
        """The live screen on a terminal of its own: (process, master, slave), with
        some frames shown, and what they were."""
        master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (lines, columns))
        watch = subprocess.Popen(
            [CTL, self.control, "stats", "--watch=0.1"], stdin=slave, stdout=slave,
            stderr=subprocess.PIPE, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env=dict(os.environ, LC_ALL="C.UTF-8", TERM="xterm-256color"))
        self.addCleanup(watch.communicate)
        self.addCleanup(watch.kill)
        shown = b""
        while shown.count(b"\x1b[H") < 6:
            self.assertTrue(select.select([master], [], [], 20)[0], "it shows nothing more")
            shown += os.read(master, 65536)
        return watch, master, slave, shown

    def test_screen(self):
        """It follows the terminal's size, ends with q and ^C, and leaves the terminal
        as it was."""
        for columns, lines, ending in ((100, 30, b"q"), (40, 8, b"q"), (20, 3, b"\x03")):
            with self.subTest(columns=columns, ending=ending):
                watch, master, slave, shown = self.screen(columns, lines)
                self.assertFalse(termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ECHO))
                os.write(master, ending)
                _, error = watch.communicate(timeout=20)
                self.assertEqual((watch.returncode, error), (0, b""))
                self.assertTrue(termios.tcgetattr(slave)[3] & termios.ICANON)
                self.assertTrue(termios.tcgetattr(slave)[3] & termios.ECHO)
                while select.select([master], [], [], 0.2)[0]:
                    shown += os.read(master, 65536)
                self.assertTrue(shown.startswith(b"\x1b[?1049h\x1b[?25l"))
                self.assertTrue(shown.endswith(b"\x1b[?25h\x1b[?1049l"))
                for frame in shown.split(b"\x1b[H")[2:]:
                    rows = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame.decode()).split("\r\n")
                    self.assertLessEqual(len(rows), lines)
                    self.assertLessEqual(max(map(len, rows)), columns)
                self.assertIn(b"memory", shown)
                os.close(master)
                os.close(slave)

    def test_screen_that_nobody_sees(self):
        """It ends when its terminal, or the server, is gone."""
        watch, master, slave, _ = self.screen(80, 24)
        os.close(slave)
        os.close(master)
        watch.communicate(timeout=20)
        watch, master, slave, _ = self.screen(80, 24)
        self.server.kill()
        # Somebody reads on: else it could wait for room in the terminal.
        while watch.poll() is None:
            if select.select([master], [], [], 0.1)[0]:
                os.read(master, 65536)
        _, error = watch.communicate(timeout=20)
        self.assertEqual((watch.returncode, error.count(b"server went away")), (1, 1))
        os.close(slave)
        os.close(master)

    def test_wrong_usage(self):
        for arguments, status, words in (
                ((), 2, "give a socket"), ((self.control,), 2, "give a socket"),
                ((self.control, "frob"), 2, "frob"), ((self.control, "stats", "--frob"), 2, "frob"),
                ((self.control, "stats", "--watch=0"), 2, "watch"),
                ((self.control, "stats", "extra"), 2, "stats"),
                ((self.control, "stats", "--force"), 2, "--force"),
                ((self.control, "gc"), 2, "TARGET"), ((self.control, "gc", "much"), 2, "much"),
                ((self.control, "gc", "101%"), 2, "101%"),
                ((self.control, "preload", "one", "5-1"), 2, "5-1"),
                ((self.control, "drop", "one", "1G"), 2, "1G"),
                ((self.control, "priority", "one", "11"), 2, "11"),
                ((self.control, "map", "one", "-o", "map.gif"), 2, "map.gif"),
                ((self.control, "set", "colour=green"), 2, "colour=green"),
                ((self.control, "set", "high-watermark=100%"), 2, "100%"),
                ((self.control, "volumes", "create", "x"), 2, "SIZE"),
                ((self.control, "volumes", "create", "x", "0"), 2, "0"),
                ((self.control, "volumes", "frob", "x"), 2, "volumes takes"),
                ((self.control, "volumes", "remove", "one", "--image=x"), 2, "--image"),
                ((self.control, "preload", "nosuch"), 1, "nosuch"),
                (("/nonexistent/x", "stats"), 3, "/nonexistent/x"),
                (("x" * 200, "stats"), 3, "xxx")):
            done = sectorsctl(*arguments)
            self.assertEqual(done.returncode, status, arguments)
            self.assertIn(words, done.stderr)
            self.assertEqual(done.stdout, "")
        self.assertEqual(sectorsctl("--help").returncode, 0)

    def test_socket_is_private(self):
        self.assertEqual(stat.S_IMODE(os.stat(self.control).st_mode), 0o600)
        self.server.stop()
        self.assertFalse(os.path.exists(self.control))

    def test_dead_socket_is_replaced(self):
        self.server.kill()
        self.assertTrue(os.path.exists(self.control))
        self.serve("1G", "control=" + self.control)
        self.assertEqual(self.stats()["volumes"][0]["name"], "default")

    def test_socket_of_a_newer_server_stays(self):
        older = self.server
        os.unlink(self.control)
        newer = self.serve("3G", "control=" + self.control)
        older.stop()
        self.assertEqual(self.stats()["total"]["virtual"], 3 * GIB)
        newer.stop()
        self.assertFalse(os.path.exists(self.control))

    @unittest.skipIf(os.geteuid() != 0, "only root can become another user")
    def test_another_user(self):
        """With -u the socket is that user's, if the folder allows it; else root's."""
        nobody = pwd.getpwnam("nobody").pw_uid
        os.chmod(self.folder, 0o755)
        os.chown(self.folder, nobody, -1)  # where the server writes its process id
        for owner in (nobody, 0):
            with self.subTest(owner=owner):
                folder = os.path.join(self.folder, "of-%d" % owner)
                os.mkdir(folder)
                os.chown(folder, owner, -1)
                control = os.path.join(folder, "control")
                server = self.serve("5G", "control=" + control, "-u", "nobody")
                sectors.disconnect(self.connect())  # served only after the change
                status = os.stat(control)
                self.assertEqual((status.st_uid, stat.S_IMODE(status.st_mode)), (owner, 0o600))
                answer = json.loads(sectorsctl(control, "stats", "--json").stdout)
                self.assertEqual(answer["total"]["virtual"], 5 * GIB)
                server.stop()
                self.assertEqual(os.path.exists(control), owner == 0)

    def test_bad_requests(self):
        for request in (b"nonsense\n", b"{}\n", b"[]\n", b"{\"command\": 1}\n", b"\n", b"\0\n",
                        b"{\"command\": \"frob\"}\n", b"{\"command\": \"stats\", \"version\": 2}\n",
                        b"{\"command\": \"stats\", \"version\": \"1\"}\n",
                        b"{\"command\": \"stats\", \"command\": \"stats\"}\n",
                        b"{\"command\": \"stats\\u0000\"}\n",
                        b"{\"command\": \"gc\", \"target\": 1e999}\n",
                        b"{\"command\": \"gc\", \"target\": 99999999999999999999999}\n",
                        b"{\"a\":" * 600 + b"\n",
                        b"\xff\xfe\n", b"[" * 3000 + b"\n"):
            answer = json.loads(self.raw(request))
            self.assertIs(answer["ok"], False)
            self.assertEqual(answer["version"], 1)
            self.assertIn(" ", answer["error"])
        deep = json.loads(self.raw(b"{\"command\":" + b"[" * 20 + b"\n"))
        self.assertIn("nested too deeply", deep["error"])
        answers = self.raw(b"{}\n{\"command\": \"stats\"}\n{}\n").splitlines()
        self.assertEqual([json.loads(a)["ok"] for a in answers], [False, True, False])
        self.assertIn("too long", json.loads(self.raw(b"x" * 5000, shut=False))["error"])
        self.assertEqual(self.raw(b"{\"command\": "), b"")

    def test_many_and_slow_clients(self):
        """More clients than are served at once, and one that never reads."""
        silent = [socket.socket(socket.AF_UNIX) for _ in range(40)]
        for s in silent:
            s.connect(self.control)
        for s in silent[:31]:
            s.close()
        slow = silent[31]
        slow.settimeout(1)
        try:
            slow.sendall(b"{\"command\": \"stats\"}\n" * 2000)
        except OSError:
            pass
        self.assertEqual(sectorsctl(self.control, "stats", timeout=60).returncode, 0)
        for s in silent[31:]:
            s.close()
        self.assertEqual(self.connect("one").pread(4 * KIB, 0), bytes(4 * KIB))


if __name__ == "__main__":
    sectors.main()
