"""A program of interop, started with a port of its own, and ended with the test."""

import subprocess
import sys


class Program:
    def __init__(self, folder, name, *arguments):
        self.process = subprocess.Popen(
            [f"{folder}/{name}", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            sys.exit(f"{name} says {line!r}, and then {self.ended()!r}")
        self.host, _, port = line.split()[-1].rpartition(":")
        self.port = int(port)

    def ended(self):
        """Ends it, and returns what it has said on its standard error."""
        self.process.kill()
        return self.process.communicate()[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def check(what, found, expected):
    """One line for each thing that was looked at; the first that is otherwise ends the test."""
    if found != expected:
        sys.exit(f"FAILED: {what}: {found!r}, and not {expected!r}")
    print(f"ok: {what}", flush=True)
