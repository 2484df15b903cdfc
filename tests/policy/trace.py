#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Makes a trace for policy-simulate from the log of nbdkit's log filter.

usage: trace.py LOG FIRST-LINE TRACE.zst

A trace is the sequence of 4 KiB sectors that the reads and writes touched, each
as its distance from the one after the sector before, zigzag and as a varint of 7 bits a
byte, lowest first; all of it compressed with zstd.
"""

import re
import subprocess
import sys

REQUEST = re.compile(r" (Read|Write) id=\d+ offset=(0x[0-9a-f]+) count=(0x[0-9a-f]+)")
SECTOR = 4096


def sectors(lines):
    for line in lines:
        request = REQUEST.search(line)
        if request:
            offset, count = int(request[2], 16), int(request[3], 16)
            yield from range(offset // SECTOR, (offset + count + SECTOR - 1) // SECTOR)


def varint(number):
    while number >= 128:
        yield number & 127 | 128
        number >>= 7
    yield number


def encode(numbers):
    trace, expected = bytearray(), 0
    for number in numbers:
        distance = number - expected
        trace += bytes(varint(distance << 1 if distance >= 0 else (-distance << 1) - 1))
        expected = number + 1
    return trace


def main():
    log, first, output = sys.argv[1:]
    with open(log, encoding="ascii", errors="replace") as file:
        lines = file.readlines()[int(first):]
    numbers = list(sectors(lines))
    trace = encode(numbers)
    compressed = subprocess.run(["zstd", "-q", "--ultra", "-22", f"--stream-size={len(trace)}", "-c"],
                                input=trace, stdout=subprocess.PIPE, check=True).stdout
    with open(output, "wb") as file:
        file.write(compressed)
    print(f"{output}: {len(numbers)} accesses to {len(set(numbers))} sectors, "
          f"{len(compressed)} bytes")


main()
