"""What a machine can count: the same on a busy machine as on a quiet one.

Instructions and system calls are differences between N and 2 N of the same work, so starting and ending do not count.
"""

import os
import signal
import subprocess
import time

from lib import callgrind, scratch, strace
from lib.machine import small_pages
from lib.processes import Failed, Idle, Server, load, operate

ECHOES = {1: 2000, 64: 12800}  # per number of connections


def echo_instructions(contestant, connections, n=None):
    n = n or ECHOES[connections]
    return counted(contestant, connections, 2 * n).each(counted(contestant, connections, n), n)


def counted(contestant, connections, n):
    """One server under callgrind, that has echoed `n` times."""
    out = scratch.path("callgrind")
    with Server(contestant, under=callgrind.tool(out), env=callgrind.QUIET) as server:
        load(server, "echo", conns=connections, reqs=n)
        time.sleep(0.1)
        if contestant.kind == "io_uring":
            dump_through_the_debugger(server, out)
        said = server.stop() if server.process.poll() is None else ""
    if not os.path.exists(out) or not os.path.getsize(out):
        raise Failed(f"callgrind has written nothing: {said.strip()[-200:]}")
    return callgrind.read(out)


def dump_through_the_debugger(server, out):
    """For who sleeps in io_uring_enter, which no signal interrupts under valgrind."""
    subprocess.run(["vgdb", f"--pid={server.pid}", "dump"], capture_output=True, timeout=60)
    if os.path.exists(out + ".1"):
        server.stop(signal.SIGKILL)
        os.rename(out + ".1", out)


def echo_calls(contestant, connections, n=None):
    n = n or ECHOES[connections]
    more, fewer = (traced(contestant, "echo", conns=connections, reqs=count) for count in (2 * n, n))
    return strace.each(more, fewer, n)


def connection_calls(contestant, n=1000):
    """System calls of a connection that is made, echoes once and is closed, 16 at a time."""
    more, fewer = (traced(contestant, "churn", conns=16, reqs=count) for count in (2 * n, n))
    return strace.each(more, fewer, n)


def traced(contestant, what, **options):
    out = scratch.path("strace")
    with Server(contestant, under=strace.tool(out), env=callgrind.QUIET) as server:
        load(server, what, **options)
        time.sleep(0.1)
        server.stop()
    return strace.read(out)


def operation_instructions(contestant, operation, n, live=None):
    def run(count):
        out = scratch.path("callgrind")
        operate(contestant, operation, count, live, under=callgrind.tool(out), env=callgrind.QUIET)
        return callgrind.read(out)

    return run(2 * n).each(run(n), n)


def bytes_per_connection(contestant, connections, buffer):
    """Resident memory of the server for each connection that has echoed once and is idle."""
    with small_pages(), Server(contestant, buffer=buffer) as server:
        before = server.resident()
        with Idle(server, connections):
            time.sleep(0.3)
            return (server.resident() - before) / connections


def bytes_per_task(contestant, tasks):
    with small_pages():
        return operate(contestant, "task_memory", tasks)["resident"]
