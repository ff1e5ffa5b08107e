"""Memory of an idle connection and of a pending task."""

from lib import charts as draw
from lib import counting
from lib.measure import once_each
from lib.tables import Table, failed

NAME = "memory"
TITLE = "Memory"
NEEDS = ("server", "micro")
ALSO = ["waken-shared", "waken-echo", "waken-echo-shared"]
ABOUT = """Resident memory of the server's process, before and with 10,000 connections that have echoed once, and before and with a
million tasks that were polled once and wait. A connection's own buffer of 1 KiB is taken off, where it has one. Last come the two
examples, as everybody builds them (`echo` has 4 KiB, taken off as well); the other servers carry their settings along in each connection. The same on every run to a few bytes. What the kernel keeps for a socket is not in it, and is more."""

SHARE = {"raw-c", "mio", "libuv", "waken-shared", "waken-echo-shared", "poll"}  # one buffer for all
BUFFER = 1024


def seconds(session):
    return 4 * len(session.servers()) + 3 * len(session.micros())


def measure(session):
    connections = 2000 if session.quick else 10000
    return {
        "connection": once_each(
            session, "memory of a connection", session.servers() + session.also(*ALSO), lambda c: connection(c, connections)
        ),
        "task": once_each(session, "memory of a task", session.micros(), lambda c: counting.bytes_per_task(c, 1_000_000)),
    }


def connection(contestant, connections):
    return counting.bytes_per_connection(contestant, connections, BUFFER) - own_buffer(contestant)


def own_buffer(contestant):
    if contestant.name in SHARE:
        return 0
    return 4096 if contestant.name == "waken-echo" else BUFFER


def tables(results):
    for what, title in (("connection", "Bytes of an idle connection, beyond its buffer"), ("task", "Bytes of a pending task")):
        rows = [failed(name, size) or [name, size] for name, size in results[what].items()]
        yield Table(title, ["", "bytes"], rows)


def charts(results):
    panels = [
        draw.Panel(title, {name: size for name, size in results[what].items() if isinstance(size, (int, float))})
        for what, title in (("connection", "idle connection"), ("task", "pending task"))
    ]
    yield "memory.svg", draw.bars("Bytes of memory, beyond the buffer", panels)
