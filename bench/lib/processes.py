"""The programs at work: a server, the load on it, an operation of a `micro` program."""

import json
import os
import re
import signal
import socket
import subprocess

from lib import build, machine

BUFFER = 2048  # of a server, unless a workload is about something else

_port = 20000 + os.getpid() % 5000


class Failed(Exception):
    """A contestant did not do what it was asked. It is reported, and the others go on."""


def next_port():
    global _port
    _port = _port + 1 if _port < 29000 else 20000
    return str(_port)


class Server:
    """An echo server of a contestant, in its own process, on the server's CPU. `under` is a tool that runs it. Or another
    `program` of the contestant, with its own `arguments`."""

    def __init__(self, contestant, mode="echo", buffer=BUFFER, under=(), env=None, program=None, arguments=None):
        self.port = next_port()
        program, arguments = program or contestant.server, arguments or [mode, str(buffer)]
        called = [f"127.0.0.1:{self.port}"] if program in build.EXAMPLES else [self.port, *arguments]
        command = [*machine.pinned(machine.SERVER_CPU), *under, *contestant.argv(program), *called]
        environment = {**os.environ, **dict(contestant.env), **(env or {})}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        if not re.match("READY|listening on", self.process.stdout.readline()):
            self.process.kill()
            raise Failed(f"it did not start: {self.process.communicate()[1].strip()[-200:]}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()

    def cpu_ns(self):
        """CPU time of all its threads, to the nanosecond."""
        total = 0
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{thread}/schedstat") as file:
                total += int(file.read().split()[0])
        return total

    def resident(self):
        with open(f"/proc/{self.pid}/smaps_rollup") as rollup:
            return int(re.search(r"Rss:\s+(\d+)", rollup.read())[1]) * 1024

    def context_switches(self):
        total = 0
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{thread}/status") as status:
                total += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", status.read())))
        return total

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def stop(self, how=signal.SIGTERM):
        """Ends it, and what it has started; answers with what it said on standard error."""
        with open(f"/proc/{self.pid}/task/{self.pid}/children") as children:
            traced = [int(pid) for pid in children.read().split()]
        for pid in traced or [self.pid]:
            os.kill(pid, how)
        try:
            return self.process.communicate(timeout=1)[1]
        except subprocess.TimeoutExpired:
            pass
        # valgrind delivers no signal inside of a blocking io_uring_enter: make it return.
        try:
            socket.create_connection(("127.0.0.1", int(self.port)), 1).close()
            return self.process.communicate(timeout=20)[1]
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            return self.process.communicate()[1]


def load(server, what, timeout=180, **options):
    """Runs the load generator to its end."""
    command = [*machine.pinned(machine.LOAD_CPU), build.path("loadgen"), what, server.port]
    command += [f"{key}={value}" for key, value in options.items()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        raise Failed(done.stderr.strip() or "the load generator failed")
    return json.loads(done.stdout.splitlines()[-1])


class Load:
    """Echo load whose connections are all open before `run`, so that what comes before does not count."""

    def __init__(self, server, cpu=machine.LOAD_CPU, **options):
        command = [*machine.pinned(cpu), build.path("loadgen"), "echo", server.port, "gate=1"]
        command += [f"{key}={value}" for key, value in options.items()]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        if "GO" not in self.process.stdout.readline():
            raise Failed(self.process.communicate()[1].strip() or "the load generator failed")

    def run(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Failed(self.process.communicate()[1].strip() or "the load generator failed")
        return json.loads(line)

    def end(self):
        self.process.communicate(timeout=60)


class Idle:
    """Connections that have echoed once and then say nothing, until `end`."""

    def __init__(self, server, connections):
        command = [*machine.pinned(machine.LOAD_CPU), build.path("loadgen"), "hold", server.port, f"conns={connections}"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        if "READY" not in self.process.stdout.readline():
            raise Failed(self.process.communicate()[1].strip() or "the load generator failed")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.communicate(timeout=60)


def operate(contestant, operation, n, live=None, under=(), env=None):
    """One operation of a `micro` program, `n` times; what it prints."""
    # Two threads need two CPUs, and see to that themselves.
    where = machine.FIRST if operation == "cross_thread" else machine.pinned(machine.LOAD_CPU)
    command = [*where, *under, *contestant.argv(contestant.micro), operation, str(n)]
    if live is not None:
        command.append(str(live))
    environment = {**os.environ, **dict(contestant.env), **(env or {})}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise Failed(done.stderr.strip()[-200:] or f"{operation} ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])
