"""A program of interop, started with a port of its own, and ended with the test."""

import signal
import subprocess
import sys
import tempfile


class Program:
    def __init__(self, folder, name, *arguments, env=None):
        # A file, since nobody reads along: who writes into a full pipe stands still.
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [f"{folder}/{name}", *arguments], stdout=subprocess.PIPE, stderr=self.errors, text=True, env=env
        )
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            sys.exit(f"{name} says {line!r}, and then {self.ended()!r}")
        self.host, _, port = line.split()[-1].rpartition(":")
        self.port = int(port)

    def ended(self):
        """Ends it, and returns what it has said on its standard error."""
        self.process.kill()
        self.process.wait()
        self.errors.seek(0)
        return self.errors.read()

    def asked_to_end(self, within_s=30, by=signal.SIGTERM):
        """Asks it to end, and returns its exit code."""
        self.process.send_signal(by)
        return self.process.wait(within_s)

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
