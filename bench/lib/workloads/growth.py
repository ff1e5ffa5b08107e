"""How cost grows: with idle connections, with tasks, with timers."""

from lib import charts as draw
from lib import contestants, counting, machine
from lib.measure import interleaved, median, once_each
from lib.tables import Table
from lib.workloads import echo

NAME = "growth"
TITLE = "How cost grows"
NEEDS = ("server", "micro")
ALSO = ["waken", "raw-c", "tokio", "poll"]
ABOUT = """Three times the same question: does the work for one depend on how many there are? Requests/s and CPU are of 100 busy
connections among idle ones, beside the `poll(2)` loop of the textbooks, which hands all of them to the kernel at every
turn. Instructions of a wake (with the poll it leads to) are of ping-pong with one of the tasks, chosen at random;
of a timer, of making and dropping one while the others go on."""

BUSY = 100
MICROS = ["waken", "tokio"]


def idle_connections(session):
    most = machine.facts()["descriptors"] - 1000
    wanted = [0, 1000, 9000] if session.quick else [0, 100, 1000, 3000, 9000, 19000]
    return [n for n in wanted if n + BUSY <= most]


def sizes(session):
    return [10, 1000, 100_000] if session.quick else [10, 100, 1000, 10_000, 100_000, 1_000_000]


def rounds(session):
    return min(session.repeats, 3)


def seconds(session):
    each = sum(session.seconds + 0.4 + n * 4e-4 for n in idle_connections(session))
    counts = sum(3 + n * 2e-5 for n in sizes(session))
    return each * rounds(session) * len(session.also(*ALSO)) + 2 * counts * len(micros(session))


def micros(session):
    chosen = [c for c in contestants.named(MICROS) if not session.only or c.name in session.only]
    return [c for c in chosen if not session.why_absent(c.micro)]


def measure(session):
    found = {"connections": {}, "tasks": {}, "timers": {}}
    for n in idle_connections(session):
        found["connections"][str(n)] = interleaved(
            session,
            f"{BUSY} busy among {n} idle connections",
            session.also(*ALSO),
            rounds(session),
            lambda contestant, n=n: echo.once(contestant, n + BUSY, BUSY, session.seconds),
        )
    for what, operation, often in (("tasks", "wake", 40_000), ("timers", "timeout", 20_000)):
        for n in sizes(session):
            found[what][str(n)] = once_each(
                session,
                f"{operation} beside {n} {what}",
                micros(session),
                lambda c, o=operation, often=often, n=n: counting.operation_instructions(c, o, often, n).all,
            )
    return found


def tables(results):
    connections = results["connections"]
    names = list(next(iter(connections.values())))
    head = ["idle connections"] + [f"{name}, {unit}" for name in names for unit in ("requests/s", "CPU µs")]
    rows = []
    for n, samples in connections.items():
        row = [f"{int(n):,}"]
        for name in names:
            row += [median(samples[name], "rps"), median(samples[name], "cpu_us")]
        rows.append(row)
    yield Table(f"{BUSY} busy connections among idle ones", head, rows)
    for what, title in (("tasks", "Instructions of a wake"), ("timers", "Instructions of a timer made and dropped")):
        names = list(next(iter(results[what].values())))
        rows = [[f"{int(n):,}", *(figure(counts.get(name)) for name in names)] for n, counts in results[what].items()]
        yield Table(title, [what, *names], rows)


def figure(count):
    return "failed" if isinstance(count, dict) else count


def charts(results):
    cpu, rate = {}, {}
    for n, samples in results["connections"].items():
        for name, rounds in samples.items():
            cpu.setdefault(name, []).append((int(n), median(rounds, "cpu_us")))
            rate.setdefault(name, []).append((int(n), median(rounds, "rps")))
    beside = "idle connections beside them"
    yield "growth-connections.svg", draw.lines(f"Requests per second of {BUSY} busy connections", beside, rate)
    yield "growth-connections-cpu.svg", draw.lines(f"Server CPU µs per request of {BUSY} busy connections", beside, cpu)
    for what, title in (("tasks", "Instructions of a wake"), ("timers", "Instructions of a timer made and dropped")):
        series = {}
        for n, counts in results[what].items():
            for name, count in counts.items():
                if not isinstance(count, dict):
                    series.setdefault(name, []).append((int(n), count))
        yield f"growth-{what}.svg", draw.lines(title, f"{what} alive", series)
