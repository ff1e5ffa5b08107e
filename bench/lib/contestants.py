"""Who is measured: a line for each, and what makes it comparable.

A server is called as `PROGRAM [VARIANT] PORT echo|sink BUFFER`, a `micro` as `PROGRAM VARIANT OPERATION N [LIVE]`, a web server as
`PROGRAM PORT http1|http2`.
"""

import os
import re
from dataclasses import dataclass

from lib import build


@dataclass(frozen=True)
class Contestant:
    name: str
    kind: str  # "waken", "C", "epoll" or "io_uring": the last is a column for reference, another interface to the kernel
    what: str
    server: str = ""  # the program and its variant
    micro: str = ""
    web: str = ""
    crate: str = ""  # whose version is told
    env: tuple = ()
    main: bool = True  # measured when nobody says which

    def programs(self):
        return {command.split()[0] for command in (self.server, self.micro, self.web) if command}

    def argv(self, command):
        program, *variant = command.split()
        return [build.path(program), *variant]


ALL = [
    Contestant("waken", "waken", "a task and a buffer per connection", "echo-waken", "micro-waken -", "http-waken"),
    Contestant("raw-c", "C", "hand-written edge-triggered epoll, one buffer for all connections", "raw_echo", "micro-raw -"),
    Contestant("mio", "epoll", "an epoll loop in Rust, one buffer for all", "echo-mio", crate="mio"),
    Contestant("libuv", "epoll", "callbacks, one buffer for all", "uv_echo"),
    Contestant("tokio", "epoll", "its current_thread runtime, `tokio::spawn`", "echo-tokio", "micro-tokio -", "http-tokio", "tokio"),
    Contestant("smol", "epoll", "LocalExecutor, async-net, async-io", "echo-smol", "micro-smol -", "http-smol", "async-io"),
    Contestant("monoio", "epoll", "its legacy driver", "echo-monoio legacy", "micro-monoio legacy", crate="monoio"),
    Contestant("compio", "epoll", "its polling driver", "echo-compio-epoll", "micro-compio-epoll -", crate="compio"),
    Contestant("monoio-uring", "io_uring", "its io_uring driver", "echo-monoio uring", "micro-monoio uring", crate="monoio"),
    Contestant("compio-uring", "io_uring", "its io_uring driver", "echo-compio-uring", "micro-compio-uring -", crate="compio"),
    Contestant("glommio", "io_uring", "three rings", "echo-glommio", "micro-glommio -", crate="glommio"),
    # Only when they are named, or where a workload wants them.
    Contestant("waken-shared", "waken", "waits by `readable`, reads into one buffer for all", "echo-waken-shared", main=False),
    Contestant("waken-echo", "waken", "the example `echo`, with its 4 KiB for each connection", "example-echo", main=False),
    Contestant("waken-echo-shared", "waken", "the example `echo_shared`", "example-echo-shared", main=False),
    Contestant("waken-reset", "waken", "an idle timeout per connection: one `Sleep`, reset", "echo-waken-reset", main=False),
    Contestant("waken-timeout", "waken", "an idle timeout per connection: `timeout(read)`", "echo-waken-timeout", main=False),
    Contestant("waken-watch", "waken", "an idle timeout per connection: a second task looks once a minute", "echo-waken-watch", main=False),
    Contestant("waken-nospin", "waken", "waken that sleeps at once", "echo-waken", "micro-waken -", "http-waken",
               env=(("WAKEN_SPIN_US", "0"),), main=False),
    Contestant("waken-hooks", "waken", "with the feature `trace`, and nobody records", micro="micro-waken-trace -", main=False),
    Contestant("waken-recorded", "waken", "with the feature `trace`, recorded and not told", micro="micro-waken-trace -", env=(("RECORD", "1"),), main=False),
    Contestant("raw-c-percon", "C", "raw-c with a buffer per connection, as tasks have", "raw_echo_percon", main=False),
    Contestant("poll", "C", "the poll(2) loop of the textbooks", "poll_echo", main=False),
]  # fmt: skip


def named(names):
    """Those contestants, in the order of the table."""
    unknown = set(names) - {contestant.name for contestant in ALL}
    if unknown:
        raise SystemExit(f"no such contestant: {', '.join(sorted(unknown))}; there are {', '.join(c.name for c in ALL)}")
    return [contestant for contestant in ALL if contestant.name in names]


def one(name):
    return named([name])[0]


def versions():
    """The version of every crate that is measured, from the lock file."""
    with open(os.path.join(build.BENCH, "Cargo.lock")) as lock:
        locked = dict(re.findall(r'name = "([^"]+)"\nversion = "([^"]+)"', lock.read()))
    return {contestant.crate: locked[contestant.crate] for contestant in ALL if contestant.crate in locked}
