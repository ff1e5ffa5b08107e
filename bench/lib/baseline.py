"""The figures that `bench/counts` asserts: which they are, how each is got, and what is too much."""

import json
import os

from lib import build, contestants, counting
from lib.processes import operate

FILE = os.path.join(build.BENCH, "baseline.json")

# Units, and by how much a figure may differ before somebody is told: relative, or absolute if that is more.
TOLERANCE = {
    "instructions": (0.02, 1),
    "library calls": (0.02, 0.02),
    "system calls": (0.02, 0.01),
    "allocations": (0, 0.01),
    "bytes": (0.05, 2),
}

# What is done, how often, beside how many, and its name.
OPERATIONS = [
    ("spawn", 20000, None, "spawn and await"),
    ("batch", 20000, None, "spawn 20,000, then run them"),
    ("yield", 40000, 1, "yield, 1 task"),
    ("yield", 40000, 1000, "yield, 1,000 tasks"),
    ("ping_pong", 20000, None, "ping-pong of two tasks"),
    ("wake", 40000, 10000, "wake one of 10,000 tasks"),
    ("timeout", 20000, 0, "timeout, given up"),
    ("timeout", 20000, 10000, "timeout, given up, beside 10,000"),
    ("block_on", 20000, None, "block_on what is ready"),
]

# What happens when a task gives way, for the trace: the end of its poll, the next one, its wake, its place in the queue.
EVENTS_PER_YIELD = 4

# Of the trace: who is compared, with whom, and the name of the difference.
EVENTS = [
    ("waken-hooks", "waken", "an event that nobody records"),
    ("waken-recorded", "waken-hooks", "an event, recorded"),
]

SERVERS = [
    ("waken", "echo"),
    ("waken-shared", "echo, shared buffer"),
    ("waken-reset", "echo, idle timeout reset"),
    ("waken-timeout", "echo, timeout per read"),
    ("waken-watch", "echo, idle timeout looked after"),
]


def groups():
    """A name, and a call that measures what belongs together: `{unit: figure}`."""
    for server, name in SERVERS:
        for connections in (1, 64):
            subject = f"{name}, {connections} connection{'s' if connections > 1 else ''}"
            yield subject, lambda s=server, c=connections: echo(contestants.one(s), c)
    waken, shared = contestants.one("waken"), contestants.one("waken-shared")
    yield "connect, echo, close", lambda: {"system calls": sum(counting.connection_calls(waken).values())}
    for operation, n, live, name in OPERATIONS:
        yield name, lambda o=operation, n=n, live=live: operated(waken, o, n, live)
    for program, other, name in EVENTS:
        yield name, lambda p=program, o=other: per_event(contestants.one(p), contestants.one(o))
    yield "pending task", lambda: {"bytes": counting.bytes_per_task(waken, 1_000_000)}
    yield "idle connection, beyond its buffer", lambda: {"bytes": counting.bytes_per_connection(waken, 10000, 1024) - 1024}
    yield "idle connection, shared buffer", lambda: {"bytes": counting.bytes_per_connection(shared, 10000, 1024)}
    example, example_shared = contestants.one("waken-echo"), contestants.one("waken-echo-shared")
    yield "idle connection of the example `echo`", lambda: {"bytes": counting.bytes_per_connection(example, 10000, 4096) - 4096}
    yield "idle connection of `echo_shared`", lambda: {"bytes": counting.bytes_per_connection(example_shared, 10000, 1024)}


def echo(server, connections):
    counts = counting.echo_instructions(server, connections)
    calls = counting.echo_calls(server, connections)
    return {"instructions": counts.own, "library calls": counts.calls, "system calls": sum(calls.values())}


def operated(contestant, operation, n, live):
    counts = counting.operation_instructions(contestant, operation, n, live)
    spent = operate(contestant, operation, n, live)
    return {"instructions": counts.own, "library calls": counts.calls, "allocations": spent["allocations"]}


def per_event(contestant, other):
    """What the one has spent more than the other, for each event."""
    with_it, without = (operated(it, "yield", 40000, 1) for it in (contestant, other))
    return {unit: (with_it[unit] - without[unit]) / EVENTS_PER_YIELD for unit in with_it}


def margin(unit, old):
    relative, absolute = TOLERANCE[unit]
    return max(relative * old, absolute)


def load():
    """The committed figures: `{"rustc": …, "figures": {subject: {unit: figure}}}`."""
    with open(FILE) as file:
        return json.load(file)


def save(rustc, figures):
    with open(FILE, "w") as file:
        json.dump({"rustc": rustc, "figures": figures}, file, indent=2)
        file.write("\n")
