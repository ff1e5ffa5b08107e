"""Echo: every connection sends 64 bytes, waits for them to come back, and sends again."""

from lib import charts as draw
from lib.measure import base_of, interleaved, median, ratio
from lib.processes import Load, Server
from lib.tables import Table, failed

NAME = "echo"
TITLE = "Echo"
NEEDS = ("server",)
ABOUT = """Closed loop, 64 bytes, one message under way per connection, 2 KiB buffers. The figure to trust is **server CPU per
request** against C. Requests/s of 64 and more connections say the same less sharply, because the load generator has a part
in them; at one connection they say how quickly both sides wake up, which in a virtual machine is mostly the
machine. Latencies are those of a saturated server: they are the queue."""

CONNECTIONS = [1, 64, 1000, 10000]


def seconds(session):
    each = sum(session.seconds + 0.3 + connections * 2e-4 for connections in CONNECTIONS)
    return each * session.repeats * len(session.servers())


def measure(session):
    return {
        str(connections): interleaved(
            session,
            f"echo over {connections}",
            session.servers(),
            session.repeats,
            lambda contestant, n=connections: once(contestant, n, n, session.seconds),
        )
        for connections in CONNECTIONS
    }


def once(contestant, connections, active, seconds):
    """Requests/s, latencies, and CPU per request, of `active` among `connections`."""
    with Server(contestant) as server:
        load = Load(server, conns=connections, active=active, size=64, secs=seconds, warm=min(2000, 20 * active))
        before = server.cpu_ns()
        sample = load.run()
        sample["cpu_us"] = (server.cpu_ns() - before) / 1000 / sample["total"]
        load.end()
        return sample


def tables(results):
    for connections, samples in results.items():
        base = base_of(samples)
        head = ["", "requests/s", f"× {base}", "p50 µs", "p99 µs", "p99.9 µs", "server CPU µs/request", f"× {base}"]
        rows = []
        for name, rounds in samples.items():
            figure = [median(rounds, key) for key in ("rps", "p50", "p99", "p999", "cpu_us")]
            rate, cpu = (ratio(samples, name, base, key) for key in ("rps", "cpu_us"))
            rows.append(failed(name, rounds) or [name, figure[0], rate, *figure[1:], cpu])
        plural = "s" if connections != "1" else ""
        yield Table(f"Echo, {int(connections):,} connection{plural}", head, rows)


def charts(results):
    panels = []
    for connections in ("64", "1000", "10000"):
        samples = results.get(connections, {})
        ratios = {name: ratio(samples, name, base_of(samples), "cpu_us") for name in samples}
        bars = {name: None if r.noisy else r.median for name, r in ratios.items() if r}
        panels.append(draw.Panel(f"{int(connections):,}", bars))
    yield "echo-cpu.svg", draw.bars("Server CPU per request, by connections (C is 1)", panels)
    rates = {name: median(rounds, "rps") for name, rounds in results.get("1", {}).items()}
    yield "echo-one.svg", draw.bars("Requests per second of one connection", [draw.Panel("", rates)])
