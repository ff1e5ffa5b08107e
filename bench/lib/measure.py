"""Repeats, and what may be concluded from them.

The repeats of all contestants are interleaved (A B C … B C A …), so that a disturbance hits everybody, and a figure is
compared with the base's figure of the *same* round: a ratio is the median of the rounds' ratios. Its interval holds the true
median in six runs of seven: with seven rounds it goes from the second lowest to the second highest of them, with 41 from the
16th to the 26th. (Half of all ratios are below the true median, so how many of n are is a matter of coins.) More rounds
make it narrower. Then:

- an interval that contains 1 and is wider than ±3 % is **too noisy** to conclude anything from;
- one that contains 1 and is narrower says: the same;
- one that does not contain 1 says: different. Wider than ±3 % of the ratio, it is written beside it.
"""

import math
import statistics
import subprocess

from lib.processes import Failed

FAILURES = (Failed, OSError, ValueError, KeyError, subprocess.SubprocessError)

WIDE = 0.03


def interleaved(session, label, contestants, repeats, one):
    """Samples of `one(contestant)`, a list for each contestant. Who fails twice is left out, with the reason."""
    samples = {contestant.name: [] for contestant in contestants}
    failures = {}
    for repeat in range(repeats):
        turn = repeat % max(1, len(contestants))
        for contestant in contestants[turn:] + contestants[:turn]:
            session.step(f"{label}: {contestant.name}, {repeat + 1} of {repeats}")
            sample = None
            if len(failures.get(contestant.name, [])) < 2:
                try:
                    sample = one(contestant)
                except FAILURES as error:
                    failures.setdefault(contestant.name, []).append(str(error) or type(error).__name__)
            samples[contestant.name].append(sample)
    return {
        name: rounds if any(rounds) else {"failed": failures[name][0]} for name, rounds in samples.items()
    }


def values(rounds, key):
    """The figure in each round that has it."""
    if isinstance(rounds, dict):
        return []
    return [sample[key] for sample in rounds if sample and sample.get(key) is not None]


def median(rounds, key):
    found = values(rounds, key)
    return statistics.median(found) if found else None


def outside(rounds):
    """How many of so many ratios are left out at each end, for the interval to hold the median in six runs of seven."""
    cut, missed = 0, 2 * 0.5**rounds
    while cut < rounds // 2:
        missed += 2 * math.comb(rounds, cut + 1) * 0.5**rounds
        if missed > 1 / 7:
            break
        cut += 1
    return cut


class Ratio:
    """How a figure stands to the base's, round by round."""

    def __init__(self, ratios):
        ratios = sorted(ratios)
        cut = outside(len(ratios))
        self.median, self.low, self.high = statistics.median(ratios), ratios[cut], ratios[-1 - cut]

    @property
    def wide(self):
        return (self.high - self.low) / 2 > WIDE * self.median

    @property
    def noisy(self):
        return self.wide and self.low <= 1 <= self.high

    def __str__(self):
        interval = f"{self.low:.2f}–{self.high:.2f}"
        if self.noisy:
            return f"too noisy ({interval})"
        return f"{self.median:.2f} ({interval})" if self.wide else f"{self.median:.2f}"


def ratio(results, name, base, key):
    """A `Ratio`, or `None` where one of the two has no figure."""
    mine, theirs = results.get(name), results.get(base)
    if not isinstance(mine, list) or not isinstance(theirs, list):
        return None
    ratios = [a[key] / b[key] for a, b in zip(mine, theirs) if a and b and a.get(key) and b.get(key)]
    return Ratio(ratios) if ratios else None


def base_of(results):
    """Who the others are compared with: C, if it is there."""
    return "raw-c" if "raw-c" in results else next(iter(results))


def once_each(session, label, contestants, ask):
    """One figure for each contestant, for what is the same every time; or why there is none."""
    found = {}
    for contestant in contestants:
        session.step(f"{label}: {contestant.name}")
        try:
            found[contestant.name] = ask(contestant)
        except FAILURES as error:
            found[contestant.name] = {"failed": str(error) or type(error).__name__}
    return found
