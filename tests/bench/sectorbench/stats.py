# SPDX-License-Identifier: BSD-3-Clause
"""Medians, and ratios of measurements taken side by side."""

import statistics
from dataclasses import dataclass

median = statistics.median


@dataclass(frozen=True)
class Ratio:
    """The median of the rounds' ratios, with the quartiles around it."""
    median: float
    low: float
    high: float

    def __str__(self):
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def spread(values):
    """The quartiles (lower, upper) of the values."""
    if len(values) < 2:
        return values[0], values[0]
    quartiles = statistics.quantiles(values, n=4, method="inclusive")
    return quartiles[0], quartiles[2]


def of_rounds(values):
    """A Ratio of values that are one per round already."""
    return Ratio(median(values), *spread(values))


def ratio(ours, theirs):
    """Ours over theirs, round by round: what disturbs a round disturbs both."""
    return of_rounds([a / b for a, b in zip(ours, theirs, strict=True)])
