# SPDX-License-Identifier: BSD-3-Clause
"""Touches memory that the machine has not used yet.

On a virtual machine the first touch of a page that the host has not provided yet costs far
more than a page fault of the guest.  A process that touches as much memory as is about to be
used, and ends, takes that cost out of what is measured.
"""

import mmap
import subprocess
import sys


def warm(amount):
    subprocess.run([sys.executable, __file__, str(amount)], check=True)


def touch(amount):
    with mmap.mmap(-1, amount, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        for offset in range(0, amount, mmap.PAGESIZE):
            memory[offset] = 1


if __name__ == "__main__":
    touch(int(sys.argv[1]))
