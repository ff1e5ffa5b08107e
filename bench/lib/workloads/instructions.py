"""Instructions in user space per echo, by callgrind."""

from lib import charts as draw
from lib import counting
from lib.measure import once_each
from lib.tables import Table, failed

NAME = "instructions"
TITLE = "Instructions per echo"
NEEDS = ("server",)
ABOUT = """User space, counted by callgrind, difference of N and 2 N echoes of 64 bytes: the same on every run to a few per mille. At
64 connections a turn of the loop serves all of them, so that column is the cost of an event; the difference to the
other is the cost of a turn. `own` is without the C library. With `WAKEN_SPIN_US=0`."""

CONNECTIONS = [1, 64]


def seconds(session):
    return 7 * len(session.servers())


def measure(session):
    return once_each(session, NAME, session.servers(), once)


def once(contestant):
    counts = {connections: counting.echo_instructions(contestant, connections) for connections in CONNECTIONS}
    return {str(connections): {"all": each.all, "own": each.own} for connections, each in counts.items()}


def tables(results):
    head = ["", "1 connection", "own", "64 connections", "own"]
    rows = []
    for name, counts in results.items():
        row = [name] + [counts[n][what] for n in ("1", "64") for what in ("all", "own")] if "1" in counts else None
        rows.append(failed(name, counts) or row)
    yield Table(TITLE, head, rows)


def charts(results):
    panels = [
        draw.Panel(title, {name: counts[n]["all"] for name, counts in results.items() if n in counts})
        for n, title in (("64", "64 connections"), ("1", "1 connection"))
    ]
    yield "instructions.svg", draw.bars("Instructions in user space per echo", panels)
