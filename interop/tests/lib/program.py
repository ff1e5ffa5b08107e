"""A program of interop, started with a port of its own, and ended with the test."""

import atexit
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time


class Program:
    def __init__(self, folder, name, *arguments, env=None, listener=None):
        command, handed_over = [f"{folder}/{name}", *arguments], ()
        if listener:
            # As systemd hands it over: descriptor 3, and for this process alone.
            handed_over = (listener.fileno(),)
            hand_over = f'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" 3<&{listener.fileno()}'
            command = ["bash", "-c", hand_over, "bash", *command]
        # A file, since nobody reads along: who writes into a full pipe stands still.
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=env, pass_fds=handed_over
        )
        atexit.register(self.process.kill)  # Also when the test ends in the middle of a restart.
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            sys.exit(f"{name} says {line!r}, and then {self.ended()!r}")
        self.host, _, port = line.split()[-1].rpartition(":")
        self.port = int(port)

    def said(self):
        """What it has said so far on its standard error."""
        # Not `seek`: where the file stands is where the program writes.
        return os.pread(self.errors.fileno(), 1 << 24, 0).decode()

    def ended(self):
        """Ends it, and returns what it has said on its standard error."""
        self.process.kill()
        self.process.wait()
        return self.said()

    def descriptors(self):
        """How many it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_mib(self):
        """How much memory it has."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) / 1024

    def asked_to_end(self, within_s=60, by=signal.SIGTERM):
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
        found, expected = (repr(it)[:1000] for it in (found, expected))
        sys.exit(f"FAILED: {what}: {found}, and not {expected}")
    print(f"ok: {what}", flush=True)


def eventually(what, look, expected=True, within_s=60):
    """As `check`, for what comes by itself, in its time."""
    deadline = time.monotonic() + within_s
    while (found := look()) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    check(what, found, expected)


def at_rest(look):
    """What it is when it has not changed for half a second."""
    found, since = look(), time.monotonic()
    while time.monotonic() - since < 0.5:
        time.sleep(0.05)
        if (now := look()) != found:
            found, since = now, time.monotonic()
    return found


def free_port():
    """For programs that take no port 0: free for TCP and UDP, and not one of those that the kernel gives to connections (if there is room below
    them), since it may give it away meanwhile. Another such test may take it first, if seldom."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as given:
        low = int(given.read().split()[0])
    while True:
        port = random.randrange(10_000, low if low > 11_000 else 60_000)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
