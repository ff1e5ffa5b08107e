"""A crowd: 100 connections are busy among 10,000 that say nothing."""

from lib.measure import Ratio, interleaved, median, values
from lib.tables import Table, failed
from lib.workloads import echo

NAME = "crowd"
TITLE = "100 busy connections among 10,000 idle ones"
NEEDS = ("server",)
ABOUT = """The 100 alone, then the same 100 spread over 10,000. What idle connections cost the busy ones is the ratio of the two
CPU figures, taken round by round; 1 is nothing."""


def seconds(session):
    return (2 * session.seconds + 2.6) * rounds(session) * len(session.servers())


def rounds(session):
    return min(session.repeats, 5)


def measure(session):
    return interleaved(session, NAME, session.servers(), rounds(session), lambda contestant: once(contestant, session.seconds))


def once(contestant, seconds):
    alone = echo.once(contestant, 100, 100, seconds)
    among = echo.once(contestant, 10000, 100, seconds)
    return {
        "alone_rps": alone["rps"],
        "among_rps": among["rps"],
        "alone_cpu": alone["cpu_us"],
        "among_cpu": among["cpu_us"],
        "cpu": among["cpu_us"] / alone["cpu_us"],
        "p99": among["p99"],
    }


def tables(results):
    head = ["", "requests/s alone", "among", "CPU µs/request alone", "among", "CPU among / alone", "p99 µs among"]
    keys = ["alone_rps", "among_rps", "alone_cpu", "among_cpu"]
    rows = []
    for name, samples in results.items():
        ratios = values(samples, "cpu")
        figures = [median(samples, key) for key in keys]
        rows.append(failed(name, samples) or [name, *figures, Ratio(ratios), median(samples, "p99")])
    yield Table(TITLE, head, rows)


def charts(results):
    return []
