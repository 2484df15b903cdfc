#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The control socket of a server that is not there: writes each request to a file and answers
as it is told, also with nonsense.

usage: fake-control.py SOCKET LOG BEHAVIOUR [NAME:SIZE]...

BEHAVIOUR is "good", "short" (maps of two entries at most), "progress" (lines before answers),
"refusing", "closing", "garbage", "endless" (one line without end), or, of maps, "empty", "behind",
"beyond", "nameless", "hot", "list"."""

import json
import os
import socketserver
import sys

PATH, LOG, BEHAVIOUR = sys.argv[1:4]
VOLUMES = [volume.rsplit(":", 1) for volume in sys.argv[4:]]
TIERS = ("memory", "compressed", "spill", "image", "base", "none")
MIB = 2**20


def statistics():
    return {"volumes": [{"name": name, "virtual": int(size)} for name, size in VOLUMES]}


def good_map(request):
    """A tier for each MiB of the device, and what follows from its number."""
    at, end, entries = request["offset"], request["offset"] + request["length"], []
    while at < end:
        number = at // MIB
        stop = min(end, (number + 1) * MIB)
        entries.append({"offset": at, "length": stop - at, "tier": TIERS[number % len(TIERS)],
                        "heat": number % 101, "priority": number % 11, "dirty": number % 2 == 1})
        at = stop
    return entries


def map_of(request):
    entries = good_map(request)
    first = entries[0]
    if BEHAVIOUR == "short":
        return entries[:2]
    if BEHAVIOUR == "behind":
        first["offset"] -= 4096
    elif BEHAVIOUR == "beyond":
        entries[-1]["length"] += 4096
    elif BEHAVIOUR == "nameless":
        first["tier"] = "attic"
    elif BEHAVIOUR == "hot":
        first["heat"] = 101
    return {"empty": [], "list": {"offset": 0}}.get(BEHAVIOUR, entries)


def answer_to(request):
    if request["command"] == "stats":
        return {"statistics": statistics()}
    return {"map": map_of(request)} if request["command"] == "map" else {}


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            with open(LOG, "ab") as log:
                log.write(line)
            request = json.loads(line)
            if BEHAVIOUR == "closing" and request["command"] != "stats":
                return
            self.answer(request)

    def answer(self, request):
        odd = request["command"] != "stats"
        if BEHAVIOUR == "endless" and odd:
            for _ in range(80):
                self.wfile.write(b"x" * MIB)
        elif BEHAVIOUR == "garbage" and odd:
            self.wfile.write(b"[1, 2\0\n")
        elif BEHAVIOUR == "refusing" and odd:
            self.send({"ok": False, "error": "the moon is\x1b[31m in the wrong quarter"})
        else:
            if BEHAVIOUR == "progress":
                self.send({"progress": {"done": 1, "total": 2}})
            self.send({"ok": True, **answer_to(request)})

    def send(self, answer):
        self.wfile.write(json.dumps({"version": 1, **answer}).encode() + b"\n")


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """The client went away, as it may."""


with Server(PATH, Handler) as server:
    print(os.getpid(), flush=True)
    server.serve_forever()
