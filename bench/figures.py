#!/usr/bin/env python3
"""The figures of the README that a machine can count, measured on the release echo server.

    cargo build --release --examples && python3 bench/figures.py

Needs strace and valgrind. Prints system calls and user-space instructions per echo of 64 bytes (with 1 and with 64
connections; instructions are the difference between N and 2N echoes, so that the start does not count), the memory
of an idle connection, with a buffer of its own and with one that all share (`echo_shared`), and what 1,000 idle
connections cost in ten seconds.
"""

import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ECHO = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release/examples/echo")
MESSAGE = bytes(range(64))
SCRATCH = tempfile.mkdtemp()


class Server:
    def __init__(self, *prefix, program=ECHO):
        command = [*prefix, program, "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])
        children = open(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read().split()
        self.pid = int(children[0]) if children else self.process.pid

    def stop(self):
        os.kill(self.pid, signal.SIGTERM)
        return self.process.communicate(timeout=60)[1]

    def connect(self):
        client = socket.create_connection(("127.0.0.1", self.port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client


def receive(client):
    answer = b""
    while len(answer) < len(MESSAGE):
        answer += client.recv(len(MESSAGE) - len(answer))
    assert answer == MESSAGE, "the echo is not what was sent"


def echo(server, connections, count):
    """`count` echoes, all connections at once, one message under way on each."""
    clients = [server.connect() for _ in range(connections)]
    for _ in range(count // connections):
        for client in clients:
            client.sendall(MESSAGE)
        for client in clients:
            receive(client)
    for client in clients:
        client.close()


def system_calls(connections, count=12800):
    path = os.path.join(SCRATCH, "strace")
    server = Server("strace", "-c", "-f", "-o", path)
    echo(server, connections, count)
    server.stop()
    rows = [line.split() for line in open(path)]
    calls = {row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[0][0].isdigit()}
    return calls.pop("total") / count


def instructions(connections, count):
    totals = []
    for n in (count, 2 * count):
        server = Server("valgrind", "--tool=callgrind", f"--callgrind-out-file={SCRATCH}/callgrind")
        server.pid = server.process.pid
        echo(server, connections, n)
        totals.append(int(re.search(r"Collected : (\d+)", server.stop()).group(1)))
    return (totals[1] - totals[0]) / count


def memory(connections=5000, buffer=4096, program=ECHO):
    server = Server(program=program)
    rss = lambda: int(re.search(r"Rss:\s+(\d+)", open(f"/proc/{server.pid}/smaps_rollup").read()).group(1)) * 1024
    before = rss()
    clients = [server.connect() for _ in range(connections)]
    for client in clients:
        client.sendall(MESSAGE)
    for client in clients:
        receive(client)
    after = rss()
    server.stop()
    return (after - before) / connections - buffer


def idle(connections=1000, seconds=10):
    server = Server()
    clients = [server.connect() for _ in range(connections)]
    time.sleep(0.5)
    status = lambda: re.findall(r"ctxt_switches:\s+(\d+)", open(f"/proc/{server.pid}/status").read())
    ran = lambda: int(open(f"/proc/{server.pid}/schedstat").read().split()[0])
    before = (status(), ran())
    assert not select.select(clients, [], [], seconds)[0]
    after = (status(), ran())
    server.stop()
    switches = sum(map(int, after[0])) - sum(map(int, before[0]))
    return switches, after[1] - before[1]


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if not os.path.exists(ECHO):
        sys.exit("first: cargo build --release --examples")
    for connections, count in ((1, 2000), (64, 12800)):
        print(f"system calls per echo, {connections:2} connections: {system_calls(connections):.3f}")
        print(f"instructions per echo, {connections:2} connections: {instructions(connections, count):.0f}")
    print(f"bytes per idle connection, beyond its buffer: {memory():.0f}")
    print(f"bytes per idle connection, with a shared buffer: {memory(buffer=0, program=ECHO + '_shared'):.0f}")
    switches, ns = idle()
    print(f"1,000 idle connections for 10 s: {switches} context switches, {ns} ns of CPU")
