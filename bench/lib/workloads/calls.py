"""System calls per echo and per connection, by strace."""

from lib import counting
from lib.measure import once_each
from lib.tables import Table, failed

NAME = "calls"
TITLE = "System calls"
NEEDS = ("server",)
ABOUT = """Counted by `strace -c -f`, difference of N and 2 N. An echo is a read and a write; waiting is shared by as many as were
ready. (Who reads until the kernel says `EAGAIN` has one more read, who re-arms its descriptors has `epoll_ctl`.) A
traced server is slow, so its load is always there: with 64 connections a turn finds most of them. With `WAKEN_SPIN_US=0`.
The rows of monoio and smol are not the same on every run: over one connection they had 2.6 to 3.9 in five runs, and 6 to 10 in
four. (A fifth of smol had fewer than an echo needs, and is not shown: the two runs that are subtracted were not alike.)"""

ASKED = {
    "an echo, 1 connection": lambda contestant: counting.echo_calls(contestant, 1),
    "an echo, 64 connections": lambda contestant: counting.echo_calls(contestant, 64),
    "a connection made, used once, and closed": counting.connection_calls,
}


def seconds(session):
    return 5 * len(session.servers())


def measure(session):
    return {what: once_each(session, f"calls of {what}", session.servers(), ask) for what, ask in ASKED.items()}


def tables(results):
    for what, counts in results.items():
        good = [calls for calls in counts.values() if "failed" not in calls]
        most = {name: max(calls.get(name, 0) for calls in good) for calls in good for name in calls}
        names = [name for name in sorted(most, key=most.get, reverse=True) if most[name] >= 0.02]
        rows = []
        for contestant, calls in counts.items():
            row = [contestant, f"{sum(v for v in calls.values() if not isinstance(v, str)):.2f}"]
            row += [f"{calls[name]:.2f}" if calls.get(name, 0) >= 0.005 else "" for name in names]
            rows.append(failed(contestant, calls) or row)
        yield Table(f"System calls of {what}", ["", "all", *names], rows)


def charts(results):
    return []
