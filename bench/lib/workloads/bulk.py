"""Bulk: one connection, as much as goes through, only in and also back."""

from lib.measure import base_of, interleaved, median, ratio
from lib.processes import Server, load
from lib.tables import Table, failed

NAME = "bulk"
TITLE = "As much as goes through one connection"
NEEDS = ("server",)
ABOUT = """The client writes 256 KiB at a time, the server's buffer is 64 KiB. `in`: the server only reads. `back`: it echoes. The
kernel copies for everybody alike, so a difference here is a mistake of somebody's."""

MODES = {"in": "sink", "back": "echo"}


def seconds(session):
    return 2 * (session.seconds + 0.2) * rounds(session) * len(session.servers())


def rounds(session):
    return min(session.repeats, 5)


def measure(session):
    return interleaved(session, NAME, session.servers(), rounds(session), lambda contestant: once(contestant, session.seconds))


def once(contestant, seconds):
    sample = {}
    for way, mode in MODES.items():
        with Server(contestant, mode=mode, buffer=65536) as server:
            before = server.cpu_ns()
            answer = load(server, "bulk", mode=mode, chunk=262144, secs=seconds)
            sample[way] = answer["gbps"]
            sample[f"{way}_cpu"] = (server.cpu_ns() - before) / 1000 / (answer["bytes"] / 1e6)
    return sample


def tables(results):
    base = base_of(results)
    head = ["", "in, GB/s", "CPU µs/MB", f"CPU × {base}", "back, GB/s", "CPU µs/MB", f"CPU × {base}"]
    rows = []
    for name, samples in results.items():
        row = [name]
        for way in MODES:
            row += [median(samples, way), median(samples, f"{way}_cpu"), ratio(results, name, base, f"{way}_cpu")]
        rows.append(failed(name, samples) or row)
    yield Table(TITLE, head, rows)


def charts(results):
    return []
