"""What an idle timeout for every connection costs, moved at every request."""

from lib import counting
from lib.measure import once_each
from lib.tables import Table, failed

NAME = "timeouts"
TITLE = "An idle timeout per connection"
NEEDS = ("server",)
ALSO = ["waken", "waken-reset", "waken-timeout", "waken-watch"]
ABOUT = """Instructions per echo of waken's server, and of the same server that closes a connection after a minute of silence. `reset`
moves one `Sleep` at every request; `timeout` puts a new one around every read, which most people write; in `watch` a connection
writes down when it was read from, and a second task looks once a minute. Part of it is reading the clock (in the C library
here, because valgrind hides the vDSO): `own` is without. With one connection each turn has a timer to ask about; 64 share that."""


def seconds(session):
    return 7 * len(session.also(*ALSO))


def measure(session):
    return once_each(session, NAME, session.also(*ALSO), once)


def once(contestant):
    counts = {connections: counting.echo_instructions(contestant, connections) for connections in (1, 64)}
    return {str(connections): {"all": each.all, "own": each.own} for connections, each in counts.items()}


def tables(results):
    plain = results.get("waken", {})
    head = ["", "1 connection", "more than without, own", "64 connections", "more than without, own"]
    rows = []
    for name, counts in results.items():
        row = [name]
        for n in ("1", "64"):
            row += [counts.get(n, {}).get("all"), counts[n]["own"] - plain[n]["own"] if n in counts and n in plain else None]
        rows.append(failed(name, counts) or row)
    yield Table(TITLE, head, rows)


def charts(results):
    return []
