"""Churn: connect, one echo, close, 16 at a time."""

from lib.measure import base_of, interleaved, median, ratio
from lib.processes import Server, load
from lib.tables import Table, failed

NAME = "churn"
TITLE = "Connections made, used once, and closed"
NEEDS = ("server",)
ABOUT = """16 at a time, 64 bytes each. Nearly all of it is the kernel's work; trust the **CPU per connection**. Connections/s also
depend on who falls asleep how often."""


def seconds(session):
    return (session.seconds + 0.4) * session.repeats * len(session.servers())


def measure(session):
    return interleaved(session, NAME, session.servers(), session.repeats, lambda contestant: once(contestant, session.seconds))


def once(contestant, seconds):
    with Server(contestant) as server:
        load(server, "churn", conns=16, reqs=500)
        before = server.cpu_ns()
        sample = load(server, "churn", conns=16, secs=seconds)
        sample["cpu_us"] = (server.cpu_ns() - before) / 1000 / sample["total"]
        return sample


def tables(results):
    base = base_of(results)
    head = ["", "connections/s", f"× {base}", "p50 µs", "p99 µs", "server CPU µs/connection", f"× {base}"]
    rows = []
    for name, rounds in results.items():
        rate, cpu = (ratio(results, name, base, key) for key in ("rps", "cpu_us"))
        p50, p99, cpu_us = (median(rounds, key) for key in ("p50", "p99", "cpu_us"))
        rows.append(failed(name, rounds) or [name, median(rounds, "rps"), rate, p50, p99, cpu_us, cpu])
    yield Table(TITLE, head, rows)


def charts(results):
    return []
