"""One run: who takes part, how long it takes, what came out of it, and how far it is."""

import json
import os
import sys
import time

from lib import build, contestants, machine


class Session:
    def __init__(self, only=None, quick=False, repeats=None):
        self.quick = quick
        self.only = only
        self.contestants = contestants.named(only) if only else [c for c in contestants.ALL if c.main]
        self.absent = {}  # program: why it could not be built
        self.repeats = repeats or (3 if quick else 7)
        self.seconds = 0.2 if quick else 0.5
        self.facts = machine.facts()
        self.begin(0)
        self.said = 0.0

    # ---- who takes part

    def servers(self):
        return [c for c in self.contestants if c.server and not self.why_absent(c.server)]

    def webs(self):
        return [c for c in self.contestants if c.web and not self.why_absent(c.web)]

    def micros(self):
        """Who has the operations of an executor. (C has only the wake from another thread.)"""
        return [c for c in self.contestants if c.micro and c.kind != "C" and not self.why_absent(c.micro)]

    def also(self, *names):
        """Contestants that a workload wants beside those of the run."""
        chosen = [c for c in contestants.named(names) if not self.only or c.name in self.only]
        return [c for c in chosen if not self.why_absent(c.server)]

    def why_absent(self, command):
        return self.absent.get(command.split()[0])

    def missing(self):
        """Who does not take part, and why."""
        reasons = {c.name: self.why_absent(c.server or c.micro) for c in self.contestants}
        return {name: reason for name, reason in reasons.items() if reason}

    # ---- how far it is

    def begin(self, seconds):
        """A workload begins; with those behind it, it will take about so long."""
        self.until = time.monotonic() + seconds

    def step(self, what):
        now = time.monotonic()
        terminal = sys.stderr.isatty()
        if terminal or now - self.said > 5:
            self.said = now
            end = "" if terminal else "\n"
            start = "\r\033[K" if terminal else ""
            print(f"{start}[{self.time_left()} left] {what}", end=end, file=sys.stderr, flush=True)

    def time_left(self):
        minutes = (self.until - time.monotonic()) / 60
        return f"about {minutes:.0f} min" if minutes >= 1.5 else "a minute"

    def say(self, text):
        print(f"\r\033[K{text}" if sys.stderr.isatty() else text, file=sys.stderr, flush=True)


# ---- what came out


class Store:
    """The raw figures, a file for each workload, so that one can be measured again without the others."""

    def __init__(self, quick=False):
        self.folder = os.path.join(build.TARGET, "results-quick" if quick else "results")

    def save(self, record):
        os.makedirs(self.folder, exist_ok=True)
        with open(os.path.join(self.folder, record["workload"] + ".json"), "w") as file:
            json.dump(record, file, indent=1)

    def load(self, workload):
        try:
            with open(os.path.join(self.folder, workload + ".json")) as file:
                return json.load(file)
        except FileNotFoundError:
            return None
