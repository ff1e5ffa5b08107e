"""The adaptive park: one connection, where to fall asleep and be woken costs more than everything else."""

import contextlib
import subprocess

from lib import machine
from lib.measure import base_of, interleaved, median, ratio
from lib.processes import Load, Server
from lib.tables import Table, failed

NAME = "park"
TITLE = "To sleep, or to look again"
NEEDS = ("server",)
ALSO = ["raw-c", "waken", "waken-nospin"]
ABOUT = """One connection, 64 bytes, closed loop: waken as it is, waken that always sleeps (`WAKEN_SPIN_US=0`), and C, which always
sleeps. First client and server on a core each; then the client on the server's core, where it cannot answer while the
server looks for its answer; then a thread that computes on the server's core. To look is worth it in the first, and must
cost nothing in the others."""

PLACES = {
    "a core each": (machine.LOAD_CPU, False),
    "the client on the server's core": (machine.SERVER_CPU, False),
    "a thread that computes on the server's core": (machine.LOAD_CPU, True),
}


def seconds(session):
    return (session.seconds + 0.5) * session.repeats * len(PLACES) * len(session.also(*ALSO))


def measure(session):
    return {
        place: interleaved(
            session, f"park, {place}", session.also(*ALSO), session.repeats,
            lambda contestant, cpu=cpu, busy=busy: once(contestant, cpu, busy, session.seconds),
        )
        for place, (cpu, busy) in PLACES.items()
    }  # fmt: skip


def once(contestant, cpu, busy, seconds):
    with Server(contestant) as server, computing() if busy else contextlib.nullcontext():
        load = Load(server, cpu=cpu, conns=1, active=1, size=64, secs=seconds, warm=2000)
        before = server.cpu_ns()
        sample = load.run()
        sample["cpu_us"] = (server.cpu_ns() - before) / 1000 / sample["total"]
        load.end()
        return sample


@contextlib.contextmanager
def computing():
    """A thread that never sleeps, on the server's core."""
    command = [*machine.pinned(machine.SERVER_CPU), "sh", "-c", "while :; do :; done"]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def tables(results):
    for place, samples in results.items():
        base = base_of(samples)
        head = ["", "requests/s", f"× {base}", "p50 µs", "p99 µs", "server CPU µs/request", f"× {base}"]
        rows = []
        for name, rounds in samples.items():
            figure = [median(rounds, key) for key in ("rps", "p50", "p99", "cpu_us")]
            rate, cpu = (ratio(samples, name, base, key) for key in ("rps", "cpu_us"))
            rows.append(failed(name, rounds) or [name, figure[0], rate, *figure[1:], cpu])
        yield Table(f"One connection, {place}", head, rows)


def charts(results):
    return []
