"""Cache misses per echo over many connections, by cachegrind."""

from lib import cachegrind, callgrind, scratch
from lib.measure import once_each
from lib.processes import Server, load
from lib.tables import Table, failed

NAME = "cache"
TITLE = "Cache misses per echo"
NEEDS = ("server",)
ALSO = ["waken-shared"]
ABOUT = """From 1,000 connections on, what an echo costs is decided by how much memory it touches. Misses in user space, simulated with
32 KiB for data and for instructions and 1 MiB behind them; all connections send, then all wait, in rounds; 1 KiB buffers,
which are in it. A miss of the second goes to memory, or to a cache that is shared. Good to about one miss: it depends
on how many are ready at once. (io_uring is left out: valgrind cannot end those servers before they write their counts.)"""

BUFFER = 1024


def contestants(session):
    return [c for c in session.servers() + session.also(*ALSO) if c.kind != "io_uring"]


def connections(session):
    return [1000] if session.quick else [1000, 10_000]


def seconds(session):
    return sum(4 + n * 6e-4 for n in connections(session)) * len(contestants(session))


def measure(session):
    return {
        str(n): once_each(session, f"cache misses over {n}", contestants(session), lambda c, n=n: once(c, n))
        for n in connections(session)
    }


def once(contestant, n):
    """Six echoes on each of `n` connections, less two: by then everything has been touched before."""
    more, fewer = (counted(contestant, n, rounds) for rounds in (6, 2))
    return {cache: (more[cache] - fewer[cache]) / (4 * n) for cache in more}


def counted(contestant, n, rounds):
    out = scratch.path("cachegrind")
    with Server(contestant, buffer=BUFFER, under=cachegrind.tool(out), env=callgrind.QUIET) as server:
        load(server, "rounds", conns=n, rounds=rounds)
        server.stop()
    return cachegrind.read(out)


def tables(results):
    for n, misses in results.items():
        rows = [failed(name, each) or [name, each["first"], each["second"]] for name, each in misses.items()]
        yield Table(f"Cache misses per echo, {int(n):,} connections", ["", "32 KiB", "1 MiB"], rows)


def charts(results):
    return []
