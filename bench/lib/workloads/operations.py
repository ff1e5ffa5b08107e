"""Operations of the executor and of timers, in nanoseconds and in instructions."""

from lib import charts as draw
from lib import contestants, counting
from lib.machine import kept_awake
from lib.measure import interleaved, median, once_each
from lib.processes import operate
from lib.tables import Table

NAME = "operations"
TITLE = "What an executor does"
NEEDS = ("micro",)
ABOUT = """One thread, the same code for every runtime. Instructions are exact, but hide what atomics and cache misses cost;
nanoseconds show that, and depend on the machine: compare within a row. A wake from another thread is measured with both CPUs
kept out of their idle state; C is an eventfd and a parked thread, nothing else. Sleeps: 100,000 tasks, each for a random time
below a second; none may be early. (monoio polls a task that woke itself before all others, so its yield of 1,000 tasks is
one after another.)"""

# The operation, how often in time, how often in instructions, beside how many, and its name.
OPERATIONS = [
    ("spawn", 300_000, 20_000, None, "spawn and await"),
    ("batch", 100_000, 20_000, None, "spawn 100,000, then run them"),
    ("yield", 1_000_000, 40_000, 1, "yield, 1 task"),
    ("yield", 1_000_000, 40_000, 1000, "yield, 1,000 tasks"),
    ("ping_pong", 300_000, 20_000, None, "ping-pong of two tasks"),
    ("timeout", 300_000, 20_000, 0, "timeout, given up"),
    ("timeout", 300_000, 20_000, 10_000, "timeout, given up, beside 10,000"),
    ("block_on", 300_000, 20_000, None, "`block_on` what is ready"),
]
SLEEPS = 5000  # of which instructions are counted: it is work that depends on the time it takes


def seconds(session):
    each = len(OPERATIONS) * (0.12 * session.repeats + 1.5) + 1.5 * session.repeats
    return each * len(session.micros())


def measure(session):
    who, repeats = session.micros(), session.repeats
    ns, instructions = {}, {}
    for operation, n, counted, live, name in OPERATIONS:
        few = n // 10 if session.quick else n
        ns[name] = interleaved(session, name, who, repeats, lambda c, o=operation, n=few, live=live: operate(c, o, n, live))
        instructions[name] = once_each(
            session, f"{name} (instructions)", who, lambda c, o=operation, n=counted, live=live: count(c, o, n, live)
        )
    instructions["one of 5,000 sleeps"] = once_each(session, "sleeps (instructions)", who, lambda c: count(c, "sleeps", SLEEPS, None))
    sleeps = 10_000 if session.quick else 100_000
    late = interleaved(session, "sleeps", who, min(repeats, 3), lambda c: operate(c, "sleeps", sleeps))
    with kept_awake():
        floor = [c for c in contestants.named(["raw-c"]) if c in session.contestants and not session.why_absent(c.micro)]
        woken = interleaved(session, "wake from another thread", floor + who, repeats, lambda c: operate(c, "cross_thread", 10_000))
    return {"ns": ns, "instructions": instructions, "sleepers": sleeps, "sleeps": late, "cross_thread": woken}


def count(contestant, operation, n, live):
    return counting.operation_instructions(contestant, operation, n, live).all


def tables(results):
    names = list(next(iter(results["instructions"].values())))
    ns = [[what, *(median(samples.get(name, []), "ns") for name in names)] for what, samples in results["ns"].items()]
    woken = [median(results["cross_thread"].get(name, []), "ns") for name in names]
    floor = median(results["cross_thread"].get("raw-c", []), "ns")
    note = f"A wake from another thread, and back, costs C {floor:,.0f} ns." if floor else ""
    yield Table("Nanoseconds", ["", *names], [*ns, ["wake from another thread, and back", *woken]], note)
    counted = [[what, *map(counts.get, names)] for what, counts in results["instructions"].items()]
    yield Table("Instructions", ["", *names], [[number(figure) for figure in row] for row in counted])
    heap = [[what, *(median(samples.get(name, []), "allocations") for name in names)] for what, samples in results["ns"].items()]
    yield Table("Allocations", ["", *names], heap)
    keys = ["late_p50_us", "late_p99_us", "late_max_us", "cpu_ns", "wall_ms"]
    head = ["", "late, p50 µs", "p99 µs", "most µs", "CPU ns a timer", "ms in all"]
    rows = [[name, *(median(results["sleeps"][name], key) for key in keys)] for name in names]
    yield Table(f"{results['sleepers']:,} sleeps at once", head, rows)


def number(figure):
    return "failed" if isinstance(figure, dict) else figure


def charts(results):
    shown = {
        "spawn and await": "spawn",
        "yield, 1 task": "yield",
        "ping-pong of two tasks": "ping-pong",
        "timeout, given up": "timeout",
    }
    panels = [
        draw.Panel(short, {name: median(rounds, "ns") for name, rounds in results["ns"][what].items()})
        for what, short in shown.items()
    ]
    yield "operations.svg", draw.bars("Nanoseconds per operation", panels)
