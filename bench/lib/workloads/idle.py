"""What a server costs while nothing happens."""

import contextlib
import time

from lib.processes import Failed, Idle, Server
from lib.tables import Table, failed

NAME = "idle"
TITLE = "While nothing happens"
NEEDS = ("server",)
ABOUT = """1,000 idle connections each, all servers at once. Anything but nothing keeps a laptop awake."""

CONNECTIONS = 1000


def seconds(session):
    return duration(session) + 3 + 0.3 * len(session.servers())


def duration(session):
    return 2 if session.quick else 10


def measure(session):
    with contextlib.ExitStack() as stack:
        servers, found = {}, {}
        for contestant in session.servers():
            session.step(f"idle: {contestant.name}")
            try:
                servers[contestant.name] = stack.enter_context(Server(contestant))
                stack.enter_context(Idle(servers[contestant.name], CONNECTIONS))
            except Failed as failure:
                servers.pop(contestant.name, None)
                found[contestant.name] = {"failed": str(failure)}
        time.sleep(2)
        before = {name: (server.context_switches(), server.cpu_ns()) for name, server in servers.items()}
        time.sleep(duration(session))
        for name, server in servers.items():
            switches, cpu = before[name]
            found[name] = {
                "switches": (server.context_switches() - switches) / duration(session),
                "cpu_us": (server.cpu_ns() - cpu) / 1000 / duration(session),
                "threads": server.threads(),
            }
        return found


def tables(results):
    head = ["", "context switches per second", "CPU µs per second", "threads"]
    rows = [failed(name, each) or [name, each["switches"], each["cpu_us"], each["threads"]] for name, each in results.items()]
    yield Table(f"{TITLE}: {CONNECTIONS:,} idle connections", head, rows)


def charts(results):
    return []
