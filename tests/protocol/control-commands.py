# SPDX-License-Identifier: BSD-3-Clause
"""The commands of the control socket: volumes come and go, data moves, figures follow."""

import json
import os
import socket
import subprocess
import threading
import unittest
import xml.etree.ElementTree

import sectors
from sectors import GIB, KIB, MIB

CTL = os.path.join(sectors.BUILD, "tools", "sectorsctl")


class Client:
    """One connection to a control socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(path)
        self.stream = self.socket.makefile("rb")
        self.progress = []

    def send(self, command, **members):
        request = {"command": command, **members}
        self.socket.sendall(json.dumps(request).encode() + b"\n")

    def answer(self):
        while True:
            answer = json.loads(self.stream.readline())
            if "progress" not in answer:
                return answer
            self.progress.append(answer["progress"])

    def ask(self, command, **members):
        self.send(command, **members)
        return self.answer()

    def close(self):
        self.stream.close()
        self.socket.close()


class Commands(sectors.TestCase):
    def start(self, *parameters):
        self.control = os.path.join(self.folder, "control")
        self.server = self.serve(*parameters, "control=" + self.control)
        self.client = Client(self.control)
        self.addCleanup(self.client.close)

    def place(self, name):
        return os.path.join(self.folder, name)

    def do(self, command, **members):
        answer = self.client.ask(command, **members)
        self.assertIs(answer["ok"], True, answer)
        self.assertEqual(answer["version"], 1)
        return answer

    def refused(self, words, command, **members):
        answer = self.client.ask(command, **members)
        self.assertIs(answer["ok"], False, (command, members))
        self.assertIn(words, answer["error"])
        self.assertIn(" ", answer["error"])
        return answer

    def ctl(self, *arguments, status=0, **options):
        done = subprocess.run([CTL, self.control, *arguments], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60, **options)
        self.assertEqual(done.returncode, status, (arguments, done.stderr))
        return done.stdout if status == 0 else done.stderr

    def total(self):
        return self.do("stats")["statistics"]["total"]

    def volume(self, name):
        return next(v for v in self.do("stats")["statistics"]["volumes"] if v["name"] == name)

    def names(self):
        return [v["name"] for v in self.do("volumes")["volumes"]]

    # ------------------------------------------------------------- volumes

    def test_volumes_come_and_go(self):
        self.start("volume=old:1G", "memory-limit=64M")
        self.do("create", name="new", size=8 * MIB, priority=7)
        self.do("create", name="named", size="2G")
        self.assertEqual(self.names(), ["old", "new", "named"])
        self.assertEqual([(v["size"], v["priority"]) for v in self.do("volumes")["volumes"]],
                         [(GIB, 5), (8 * MIB, 7), (2 * GIB, 5)])
        h = self.connect("new")
        self.assertEqual(h.get_size(), 8 * MIB)
        h.pwrite(b"n" * MIB, 4 * MIB)
        self.assertEqual(self.refused("connected", "remove", name="new")["errno"], "EBUSY")
        self.assertEqual(self.refused("connected", "resize", name="new", size=MIB)["errno"], "EBUSY")
        self.assertData(h, 4 * MIB, b"n" * MIB)
        sectors.disconnect(h)
        gone = lambda: self.volume("new")["connections"] == 0
        self.assertTrue(sectors.wait_for(gone))
        self.do("resize", name="new", size=4 * MIB + 1)
        self.do("resize", name="new", size=16 * MIB)
        h = self.connect("new")
        self.assertEqual(h.get_size(), 16 * MIB)
        self.assertData(h, 4 * MIB, b"n" + bytes(MIB - 1))
        sectors.disconnect(h)
        self.assertTrue(sectors.wait_for(gone))
        self.do("remove", name="new")
        self.assertEqual(self.names(), ["old", "named"])
        self.assertEqual(self.total()["live"], 0)
        with self.assertRaises(sectors.nbd.Error):
            self.connect("new")
        self.do("create", name="new", size=MIB)
        self.assertZeros(self.connect("new"), 0, MIB)

    def test_the_default_may_go(self):
        self.start("1G", "volume=other:2G")
        self.do("remove", name="default")
        self.assertEqual(self.connect().get_size(), 2 * GIB)

    def test_volumes_that_are_refused(self):
        self.start("volume=here:1G", "compress=lz4", "memory-limit=64M")
        self.refused("here", "create", name="here", size=MIB)
        for name in ("", "a/b", "a\nb", "x" * 256, "\x1b[31m"):
            self.refused("name", "create", name=name, size=MIB)
        for size in (0, "0", -1, "-1", "1X", 1.5, None, [], {}, True, "8E", "99999999999E"):
            self.refused("size", "create", name="x", size=size)
            self.refused("size", "resize", name="here", size=size)
        self.refused("size", "create", name="x")
        self.refused("name", "create", size=MIB)
        for key in ("image", "base"):
            self.refused("root folder", "create", name="x", size=MIB, **{key: "relative"})
            self.refused("nbd://", "create", name="x", size=MIB, **{key: "http://host/x"})
            self.refused("socket", "create", name="x", size=MIB,
                         **{key: "nbd+unix:///x?socket=relative"})
            self.refused(key, "create", name="x", size=MIB, **{key: 5})
            self.refused("", "create", name="x", size=MIB, **{key: self.place("no/such/file")})
        for priority in (-1, 11, "5", 5.0):
            self.refused("priority", "create", name="x", size=MIB, priority=priority)
        self.refused("nosuch", "remove", name="nosuch")
        self.refused("nosuch", "resize", name="nosuch", size=MIB)
        self.assertEqual(self.names(), ["here"])

    def test_image(self):
        """It outlives its volume, and is nobody else's meanwhile."""
        self.start("volume=here:1G", "compress=lz4", "memory-limit=64M")
        image = self.place("image")
        self.do("create", name="disk", size=8 * MIB, image=image)
        self.assertEqual(os.path.getsize(image), 8 * MIB)
        self.assertEqual(self.volume("disk")["image"], image)
        self.refused("disk", "create", name="again", size=8 * MIB, image=image)
        self.refused("disk", "create", name="again", size=8 * MIB, base=image)
        h = self.connect("disk")
        h.pwrite(b"d" * MIB, MIB)
        self.assertGreater(self.volume("disk")["dirty"], 0)
        # With FUA it is in the image, and so is what was trimmed and zeroed.
        h.pwrite(b"f" * 8192, 4 * MIB, sectors.nbd.CMD_FLAG_FUA)
        h.pwrite(b"t" * 16384, 6 * MIB, sectors.nbd.CMD_FLAG_FUA)
        h.trim(4096, 6 * MIB, sectors.nbd.CMD_FLAG_FUA)
        h.zero(4096, 6 * MIB + 4096, sectors.nbd.CMD_FLAG_FUA | sectors.NO_HOLE)
        with open(image, "rb") as file:
            self.assertEqual(os.pread(file.fileno(), 12288, 4 * MIB), b"f" * 8192 + bytes(4096))
            self.assertEqual(os.pread(file.fileno(), 16384, 6 * MIB), bytes(8192) + b"t" * 8192)
        h.trim(8 * MIB - 2 * MIB, 2 * MIB)
        h.flush()
        self.assertEqual(self.volume("disk")["dirty"], 0)
        self.assertFalse(h.can_fast_zero())
        sectors.disconnect(h)
        self.assertTrue(self.connect("here").can_fast_zero())
        self.assertTrue(sectors.wait_for(lambda: self.volume("disk")["connections"] == 0))
        self.do("remove", name="disk")
        with open(image, "rb") as file:
            self.assertEqual(file.read(), bytes(MIB) + b"d" * MIB + bytes(6 * MIB))
        self.do("create", name="copy", image=image)
        h = self.connect("copy")
        self.assertEqual(h.get_size(), 8 * MIB)
        self.assertData(h, MIB, b"d" * MIB)
        sectors.disconnect(h)
        self.assertTrue(sectors.wait_for(lambda: self.volume("copy")["connections"] == 0))
        self.do("resize", name="copy", size=4 * MIB)
        self.assertEqual(os.path.getsize(image), 4 * MIB)

    def test_memory_only(self):
        """A server that was started without tiers has none, and says so."""
        self.start("1G", "memory-limit=64M")
        self.refused("memory only", "create", name="x", size=MIB, image=self.place("image"))
        self.assertFalse(os.path.exists(self.place("image")))
        self.refused("memory only", "set", compression="lz4")
        self.refused("memory only", "set", high_watermark=50)
        self.connect().pwrite(b"x" * MIB, 0)
        self.refused("nothing below", "drop", volume="default", length=MIB)
        self.refused("no image", "flush", volume="default")
        self.assertEqual(self.do("flush")["flushed"], 0)

    # ----------------------------------------------------- what is where

    def test_moving(self):
        self.start("1G", "memory-limit=64M", "spill=" + self.folder)
        h = self.connect()
        data = os.urandom(MIB)
        for i in range(32):
            h.pwrite(data, i * MIB)
        self.assertLessEqual(self.do("gc", target="16M")["charged"], 16 * MIB)
        self.assertLessEqual(self.total()["charged"], 16 * MIB)
        self.do("drop", volume="default")
        where = lambda **range: {e["tier"] for e in self.do("map", volume="default", **range)["map"]}
        self.assertEqual(where(offset=0, length=32 * MIB), {"spill"})
        self.assertEqual(where(offset=512 * MIB), {"none"})
        self.assertEqual(self.do("preload", volume="default", offset=4 * MIB,
                                 length="4M")["preloaded"], 4 * MIB)
        self.assertEqual(where(offset=4 * MIB, length=4 * MIB), {"memory"})
        self.assertEqual(where(offset=0, length=4 * MIB), {"spill"})
        for i in range(32):
            self.assertData(h, i * MIB, data)
        self.assertGreaterEqual(self.total()["swapped_out"], 31 * MIB)

    def test_map(self):
        self.start("volume=a:1G", "memory-limit=64M")
        h = self.connect("a")
        h.pwrite(b"m" * 3 * MIB, 5 * MIB)
        h.pwrite(b"m" * 4096, GIB - 4096)
        answer = self.do("map", volume="a")
        self.assertEqual((answer["name"], answer["size"]), ("a", GIB))
        at = held = 0
        for entry in answer["map"]:
            self.assertEqual(entry["offset"], at)
            self.assertGreater(entry["length"], 0)
            self.assertIn(entry["tier"], ("none", "memory"))
            self.assertIn(entry["heat"], range(101))
            self.assertIn(entry["priority"], range(11))
            self.assertIs(entry["dirty"], False)
            held += entry["length"] if entry["tier"] == "memory" else 0
            at += entry["length"]
        self.assertEqual((at, held), (GIB, 3 * MIB + 4096))
        self.assertNotIn("next", answer)
        for resolution in (1, 2, 7, 100, 4096, 65536):
            with self.subTest(resolution=resolution):
                answer = self.do("map", volume="a", resolution=resolution, offset=MIB)
                cells = answer["cells"]
                self.assertLessEqual(len(cells), resolution)
                self.assertGreaterEqual(2 * len(cells), min(resolution, (GIB - MIB) // 4096))
                self.assertEqual(cells[0]["offset"], MIB)
                self.assertEqual(sum(c["length"] for c in cells), GIB - MIB)
                self.assertEqual(sum(c.get("memory", 0) for c in cells), 3 * MIB + 4096)

    def test_pieces_of_a_map(self):
        """A long one is cut, and goes on where it was cut."""
        self.start("volume=a:1G", "memory-limit=256M")
        h = self.connect("a")
        for i in range(25000):
            h.pwrite(b"m", i * 8192)
        answer = self.do("map", volume="a")
        self.assertIn("next", answer)
        last = answer["map"][-1]
        self.assertEqual(answer["next"], last["offset"] + last["length"])
        whole = json.loads(self.ctl("map", "a", "--json"))
        self.assertNotIn("next", whole)
        entries = whole["map"]
        self.assertEqual(sum(e["length"] for e in entries), GIB)
        self.assertEqual(sum(e["length"] for e in entries if e["tier"] == "memory"), 25000 * 4096)

    def test_priority(self):
        self.start("1G", "volume=b:1G", "memory-limit=64M", "compress=lz4")
        self.connect("b").pwrite(b"x" * 4 * MIB, 0)
        self.do("priority", volume="b", priority=3)
        self.do("priority", volume="b", offset=MIB, length=2 * MIB, priority=9)
        answer = self.do("priority", volume="b")
        self.assertEqual(answer["priority"], 3)
        self.assertEqual(answer["ranges"], [{"offset": MIB, "length": 2 * MIB, "priority": 9}])
        self.assertEqual(self.do("priority", volume="default")["priority"], 5)
        self.assertEqual(self.volume("b")["priority"], 3)
        for wrong in (-1, 11, "high", 2.5, True, None):
            self.refused("priority", "priority", volume="b", priority=wrong)

    def test_ranges(self):
        self.start("1G", "memory-limit=64M", "compress=lz4")
        for command in ("preload", "drop", "priority", "map"):
            for words, range in (("offset", {"offset": GIB}), ("offset", {"offset": 2 ** 62}),
                                 ("too large", {"offset": 2 ** 63}), ("offset", {"offset": -1}),
                                 ("offset", {"offset": "1X"}), ("offset", {"offset": None}),
                                 ("length", {"length": GIB + 1}), ("length", {"length": 0}),
                                 ("length", {"offset": 1, "length": GIB}),
                                 ("length", {"offset": 1, "length": 2 ** 63 - 1})):
                self.refused(words, command, volume="default", **range)
            self.refused("nosuch", command, volume="nosuch")
            self.refused("volume", command)
        for resolution in (0, 65537, -1, "4"):
            self.refused("resolution", "map", volume="default", resolution=resolution)

    # ------------------------------------------------------------- settings

    def test_set(self):
        self.start("1G", "memory-limit=64M", "compress=lz4", "spill=" + self.folder)
        self.assertEqual(self.do("set", memory_limit="32M", high_watermark=80, low_watermark=60,
                                 compression="zstd"),
                         {"version": 1, "ok": True, "memory_limit": 32 * MIB, "high_watermark": 80,
                          "low_watermark": 60, "compression": "zstd"})
        before = {k: self.total()[k] for k in ("limit", "high_watermark", "low_watermark",
                                               "compression")}
        self.assertEqual(before, {"limit": 32 * MIB, "high_watermark": 80, "low_watermark": 60,
                                  "compression": "zstd"})
        for words, members in (
                ("nothing to set", {}), ("memory_limit", {"memory_limit": 1}),
                ("memory_limit", {"memory_limit": "1E"}), ("memory_limit", {"memory_limit": -1}),
                ("memory_limit", {"memory_limit": "50%"}), ("memory_limit", {"memory_limit": MIB}),
                ("watermark", {"high_watermark": 59}), ("watermark", {"low_watermark": 81}),
                ("watermark", {"low_watermark": 0}), ("watermark", {"high_watermark": 100}),
                ("compression", {"compression": "gzip"}), ("compression", {"compression": 1}),
                ("compression", {"memory_limit": "48M", "compression": "gzip"}),
                ("colour", {"memory_limit": "48M", "colour": "green"})):
            self.refused(words, "set", **members)
            self.assertEqual({k: self.total()[k] for k in before}, before, members)

    def test_log(self):
        self.start("1G")
        answer = self.do("log")
        self.assertEqual([e["sequence"] for e in answer["events"]],
                         list(range(1, answer["last"] + 1)))
        for since in (answer["last"], answer["last"] + 5, 2 ** 62):
            self.assertEqual(self.do("log", since=since)["events"], [])
        self.refused("since", "log", since=-1)

    def test_unknown_members(self):
        self.start("1G")
        for command in ("stats", "volumes", "create", "remove", "resize", "gc", "preload", "drop",
                        "priority", "flush", "map", "set", "log"):
            self.refused("colour", command, colour="green")
        self.refused("target", "stats", target=1)
        self.refused("target", "gc")

    # ------------------------------------------------------------- clients

    def test_who_leaves_and_who_waits(self):
        """A client that goes away in a command, and others that ask meanwhile."""
        self.start("1G", "memory-limit=128M", "spill=" + self.folder)
        h = self.connect()
        for i in range(64):
            h.pwrite(os.urandom(MIB), i * MIB)
        for _ in range(20):
            leaving = Client(self.control)
            leaving.send("drop", volume="default")
            leaving.close()
            self.do("stats")
        busy = Client(self.control)
        busy.send("preload", volume="default")
        self.do("stats")
        self.assertIs(busy.answer()["ok"], True)
        for progress in busy.progress:
            self.assertLessEqual(progress["done"], progress["total"])
        busy.close()
        # None of them holds on to the volume.
        sectors.disconnect(h)
        self.assertTrue(sectors.wait_for(
            lambda: self.client.ask("remove", name="default")["ok"]))

    def test_volumes_by_many(self):
        """Volumes made, changed and removed by many at once, with clients on them."""
        self.start("volume=stays:1G", "memory-limit=64M")
        failures = []

        def work(number):
            client = Client(self.control)
            for i in range(40):
                name = "v%d" % ((number + i) % 3)
                for command, members in (("create", {"size": MIB}), ("resize", {"size": 2 * MIB}),
                                         ("remove", {})):
                    answer = client.ask(command, name=name, **members)
                    if not answer["ok"] and answer.get("errno") not in ("EEXIST", "ENOENT", "EBUSY"):
                        failures.append(answer)
                client.ask("stats")
                try:
                    h = sectors.connect(self.server.path, name)
                    h.pwrite(b"x" * 8192, MIB - 8192)
                    sectors.disconnect(h)
                except sectors.nbd.Error:
                    pass
            client.close()

        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertIn("stays", self.names())

    # ---------------------------------------------------------- a slow image

    def start_over(self, delay_ms):
        """A server whose image is an NBD export that takes its time to write."""
        path = self.place("slow.sock")
        self.below = subprocess.Popen(
            ["nbdkit", "-f", "--exit-with-parent", "-U", path, "--filter=delay", "memory", "1G",
             "wdelay=%dms" % delay_ms], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(self.below.wait)
        self.addCleanup(self.below.kill)
        self.assertTrue(sectors.wait_for(lambda: os.path.exists(path)))
        self.start("volume=data:1G", "image=nbd+unix:///?socket=" + path, "memory-limit=128M")

    def write(self, mebibytes):
        h = self.connect("data")
        for i in range(mebibytes):
            h.pwrite(os.urandom(MIB), i * MIB)
        return h

    def test_progress(self):
        self.start_over(150)
        h = self.write(32)
        busy = Client(self.control)
        busy.send("flush", volume="data")
        self.assertGreater(self.volume("data")["dirty"], 0)  # told while the other waits
        self.assertIs(busy.answer()["ok"], True)
        self.assertGreater(len(busy.progress), 0)
        for progress in busy.progress:
            self.assertLessEqual(progress["done"], progress["total"])
            self.assertEqual(progress["total"], 32 * MIB)
        busy.close()
        self.assertEqual(self.volume("data")["dirty"], 0)
        sectors.disconnect(h)

    @unittest.skipIf(sectors.SANITIZED, "a sanitized server is not waited for")
    def test_end_tells_how_far_it_is(self):
        self.start_over(300)
        sectors.disconnect(self.write(16))
        self.server.stop()
        self.assertRegex(self.server.log(), r"(?m)^nbdkit: sectors: writing back .* of 16\.0M$")
        h = sectors.connect(self.place("slow.sock"))
        self.assertNotEqual(h.pread(16, 15 * MIB), bytes(16))
        sectors.disconnect(h)

    @unittest.skipIf(sectors.SANITIZED, "a sanitized server is not waited for")
    def test_end_tells_what_is_lost(self):
        self.start_over(1)
        h = self.write(8)
        self.below.kill()
        self.below.wait()
        self.refused("data", "flush", volume="data")
        self.refused("data", "flush")
        with self.assertRaises(sectors.nbd.Error) as caught:
            h.flush()
        self.assertEqual(caught.exception.errno, "EIO")
        sectors.disconnect(h)
        self.assertTrue(sectors.wait_for(lambda: self.volume("data")["connections"] == 0))
        self.assertIn("force", self.refused("data", "remove", name="data")["error"])
        self.assertEqual(self.volume("data")["dirty"], 8 * MIB)
        self.assertIsInstance(self.volume("data")["error"], str)
        events = [e for e in self.do("log")["events"] if e["kind"] == "error"]
        self.assertEqual(len(events), 1, events)
        self.assertIn("data", events[0]["sentence"])
        # Said once, however many requests and commands it failed.
        self.assertEqual(len(self.server.log().splitlines()), 1, self.server.log())
        self.assertIn(events[0]["sentence"], self.server.log())
        self.server.stop()
        self.assertRegex(self.server.log(), r"'data': 8388608 bytes .* lost")

    def test_forced_removal(self):
        self.start_over(1)
        sectors.disconnect(self.write(1))
        self.below.kill()
        self.below.wait()
        self.assertTrue(sectors.wait_for(lambda: self.volume("data")["connections"] == 0))
        self.refused("data", "remove", name="data")
        self.refused("force", "remove", name="data", force=1)
        self.do("remove", name="data", force=True)
        self.assertEqual(self.names(), [])
        self.assertEqual(self.total()["live"], 0)

    # ----------------------------------------------------------- sectorsctl

    def test_sectorsctl(self):
        self.start("1G", "memory-limit=64M", "spill=" + self.folder)
        self.connect().pwrite(os.urandom(4 * MIB), 0)
        self.ctl("volumes", "create", "disk", "8M", "--image=image", "--priority=4",
                 cwd=self.folder)
        self.assertEqual(os.path.getsize(self.place("image")), 8 * MIB)
        self.assertRegex(self.ctl("volumes"), r"(?m)^disk +8\.0M +4 +0  image .*/image$")
        self.assertEqual(json.loads(self.ctl("volumes", "--json"))["volumes"][1]["size"], 8 * MIB)
        self.assertIn("16M", self.ctl("volumes", "resize", "disk", "16M"))
        self.assertIn("durable", self.ctl("flush", "disk"))
        self.assertIn("1 volume is", self.ctl("flush"))
        self.assertIn("no image", self.ctl("flush", "default", status=1))
        h = self.connect("disk")
        h.pwrite(b"x" * 4 * MIB, 0)
        h.flush()
        sectors.disconnect(h)
        self.assertIn("priority 9", self.ctl("priority", "disk", "0-1M", "9"))
        self.assertEqual(self.ctl("priority", "disk"), "disk: 4\ndisk 0-1M: 9\n")
        self.ctl("drop", "default", "0-2M")
        self.assertIn("2.0M came", self.ctl("preload", "default", "0+2M"))
        self.ctl("gc", "50%")
        self.assertIn("high-watermark=80%", self.ctl("set", "high-watermark=80%",
                                                     "low-watermark=70%", "compression=lz4"))
        self.assertTrue(sectors.wait_for(lambda: self.volume("disk")["connections"] == 0))
        self.assertIn("removed", self.ctl("volumes", "remove", "disk"))
        self.ctl("log")
        self.ctl("stats")

    def test_pictures(self):
        self.start("1G", "memory-limit=64M")
        self.connect().pwrite(os.urandom(4 * MIB), 0)
        text = self.ctl("map", "default", "0-8M")
        self.assertIn("m" * 16, text)
        self.assertRegex(text, r"memory +4\.0M")
        svg, png = self.place("map.svg"), self.place("map.png")
        self.ctl("map", "default", "-o", svg)
        root = xml.etree.ElementTree.parse(svg).getroot()
        self.assertTrue(root.tag.endswith("svg"))
        self.assertIn("Volume default", [e.text for e in root])
        environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")  # fontconfig keeps its tables
        done = subprocess.run([CTL, self.control, "map", "default", "-o", png], capture_output=True,
                              text=True, timeout=60, env=environment)
        if done.returncode == 0:
            with open(png, "rb") as file:
                self.assertEqual(file.read(8), b"\x89PNG\r\n\x1a\n")
        else:
            self.assertIn("without cairo", done.stderr)
        self.assertIn("no/such", self.ctl("map", "default", "-o", self.place("no/such/map.svg"),
                                          status=1))


if __name__ == "__main__":
    sectors.main()
