"""A web server: hyper on each runtime, with the same answers."""

import re
import shutil
import subprocess
import time
from dataclasses import dataclass

from lib import callgrind, machine, scratch
from lib.measure import interleaved, median, once_each, ratio
from lib.processes import Failed, Server
from lib.tables import Table, failed

NAME = "http"
TITLE = "hyper on top"
NEEDS = ("web",)
ALSO = ("waken-nospin",)
ABOUT = """The same hyper, with the same answers and a timer for its timeouts, on each runtime: on tokio by hyper-util, on smol by
smol-hyper. `h2load` asks, over 64 connections where nothing else is said; each answer has to be a 200. Trust the **CPU per request**, which
is nearly all hyper's and the kernel's, and the instructions: those are counted by callgrind, as a difference of N and 2 N, with
`WAKEN_SPIN_US=0`."""


@dataclass(frozen=True)
class Kind:
    """What is asked for, and how often."""

    title: str
    protocol: str
    how: tuple  # options of h2load, and the path
    requests: int
    counted: int = 0  # under callgrind, if at all: how much of a large body comes at once is the kernel's affair


KINDS = [
    Kind("HTTP/1.1, 13 bytes", "http1", ("-c64", "/"), 40_000, 4_000),
    Kind("HTTP/1.1, 16 requests in a pipeline", "http1", ("-c64", "-m16", "/"), 100_000, 8_000),
    Kind("HTTP/2, 10 streams a connection", "http2", ("-c64", "-m10", "/"), 60_000, 8_000),
    Kind("HTTP/1.1, 64 KiB down", "http1", ("-c64", "/large"), 10_000),
    Kind("HTTP/1.1, 1 MiB up, 8 connections", "http1", ("-c8", "-d", "UPLOAD", "/upload"), 400),
]


def contestants(session):
    return session.webs() + session.also(*ALSO)


def seconds(session):
    return (4 * session.repeats + 20) * len(contestants(session))


def measure(session):
    upload = scratch.path("upload")
    with open(upload, "wb") as file:
        file.write(bytes(range(256)) * 4096)
    return {
        "instructions": once_each(session, NAME, session.webs(), instructions),
        "rounds": interleaved(session, NAME, contestants(session), session.repeats, lambda one: once(one, session.quick, upload)),
    }


def once(contestant, quick, upload):
    sample = {}
    for kind in KINDS:
        with serve(contestant, kind) as server:
            requests = kind.requests // (4 if quick else 1)
            ask(server, kind, requests // 10, upload)
            before = server.cpu_ns()
            rate = ask(server, kind, requests, upload)
            sample[kind.title] = {"rate": rate, "cpu_us": (server.cpu_ns() - before) / 1000 / requests}
    return sample


def serve(contestant, kind, **tool):
    return Server(contestant, program=contestant.web, arguments=[kind.protocol], **tool)


def ask(server, kind, requests, upload):
    """Requests a second, when every one of them has been answered with a 200."""
    if not shutil.which("h2load"):
        raise Failed("h2load is not installed (on Debian: apt-get install nghttp2-client)")
    *options, path = (upload if word == "UPLOAD" else word for word in kind.how)
    options += ["--h1"] if kind.protocol == "http1" else []
    command = [*machine.pinned(machine.LOAD_CPU), "h2load", "-n", str(requests), *options, f"http://127.0.0.1:{server.port}{path}"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    if f"{requests} succeeded, 0 failed, 0 errored" not in said or f"status codes: {requests} 2xx" not in said:
        raise Failed(f"h2load: {said.strip()[-300:]}")
    return float(re.search(r"finished in .*?, ([0-9.]+) req/s", said)[1])


def instructions(contestant):
    """A request, of each kind that is counted."""
    return {
        kind.title: counted(contestant, kind, 2 * kind.counted).each(counted(contestant, kind, kind.counted), kind.counted).all
        for kind in KINDS
        if kind.counted
    }


def counted(contestant, kind, requests):
    out = scratch.path("callgrind")
    with serve(contestant, kind, under=callgrind.tool(out), env=callgrind.QUIET) as server:
        ask(server, kind, requests, None)
        time.sleep(0.2)
        server.stop()
    return callgrind.read(out)


def tables(results):
    rounds = results["rounds"]
    base = next(iter(rounds))
    head = ["", "requests/s", f"× {base}", "server CPU µs/request", f"× {base}", "instructions/request"]
    for kind in KINDS:
        of_kind = {name: each if isinstance(each, dict) else [it and it[kind.title] for it in each] for name, each in rounds.items()}
        rows = []
        for name, samples in of_kind.items():
            row = [name]
            for key in ("rate", "cpu_us"):
                row += [median(samples, key), ratio(of_kind, name, base, key)]
            rows.append(failed(name, samples) or [*row, results["instructions"].get(name, {}).get(kind.title)])
        yield Table(kind.title, head, rows)


def charts(results):
    return []
