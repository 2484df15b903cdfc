# SPDX-License-Identifier: BSD-3-Clause
"""Samples of rounds in which every subject does its part, and what is made of them."""

import random

from sectorbench import stats
from sectorbench.report import Target


class Samples:
    """Values by subject and key, one per round; subjects in the order of the names, then others."""

    def __init__(self, names=()):
        self.values = {}
        self._names = list(names)

    def add(self, subject, key, value):
        self.values.setdefault(subject, {}).setdefault(key, []).append(value)

    def subjects(self):
        return sorted(self.values, key=lambda name: (
            self._names.index(name) if name in self._names else len(self._names)))

    def has(self, subject, key):
        return bool(self.values.get(subject, {}).get(key))

    def of(self, subject, key):
        return self.values[subject][key]

    def text(self, subject, key, form="{:.2f}"):
        return form.format(stats.median(self.of(subject, key))) if self.has(subject, key) else ""

    def ratio(self, over, under, key):
        """Of the rounds in which both took part: the slow ones do not in the last."""
        pairs = list(zip(self.of(over, key), self.of(under, key)))
        return stats.of_rounds([a / b for a, b in pairs])

    def ratio_text(self, over, under, key):
        if over == under or not (self.has(over, key) and self.has(under, key)):
            return ""
        return str(self.ratio(over, under, key))


def in_rounds(subjects, rounds, progress, section, work, fewer=None):
    """Calls work(subject) for each in each round, in an order drawn anew.  `fewer`: by name, how
    many rounds are enough."""
    for turn in range(rounds):
        order = [subject for subject in subjects if turn < (fewer or {}).get(subject.name, rounds)]
        random.shuffle(order)
        for subject in order:
            progress(f"{section}: round {turn + 1}/{rounds}, {subject.name}")
            work(subject)


def times_as_fast(samples, ours, peers, key, wanted, what, seconds):
    """Targets: ours against each peer that was measured, by seconds or by rates."""
    targets = []
    for peer in peers:
        if samples.has(ours, key) and samples.has(peer, key):
            over, under = (peer, ours) if seconds else (ours, peer)
            targets.append(Target(f"{what}: {ours} over {peer}", samples.ratio(over, under, key),
                                  ">=", wanted))
    return targets
