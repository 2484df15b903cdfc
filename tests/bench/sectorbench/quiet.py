# SPDX-License-Identifier: BSD-3-Clause
"""Waits until nothing else runs, so that others' bursts of work stay out of the figures."""

import time

from .machine import used_seconds

WINDOW = 0.06                           # seconds of looking
BUSY = 0.25                             # processors in use, above which it is not quiet


class Quiet:
    """Called when this run itself is idle.  Waits in all no longer than it was allowed."""

    def __init__(self, allowed):
        self._allowed = allowed
        self.waited = 0.0

    def __call__(self):
        while self.waited < self._allowed and self._busy():
            time.sleep(0.3)
            self.waited += 0.3 + WINDOW

    @staticmethod
    def _busy():
        start, used = time.monotonic(), used_seconds()
        time.sleep(WINDOW)
        return (used_seconds() - used) / (time.monotonic() - start) > BUSY
