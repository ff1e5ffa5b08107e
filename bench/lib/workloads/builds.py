"""What it takes to build the smallest echo server."""

import glob
import os
import shutil
import subprocess
import time

from lib import build, scratch
from lib.measure import once_each
from lib.processes import Failed
from lib.tables import Table, failed

NAME = "builds"
TITLE = "Building the echo server"
NEEDS = ("server",)
ABOUT = """A clean release build with the same profile for everybody (fat LTO, one codegen unit), crates already downloaded, the
best of the repeats. Crates and lines are what the compiler read beside the server itself, procedural macros and build
tools too; lines are neither blank nor comment."""


def rust(session):
    """One per package: monoio's two drivers come from one build."""
    chosen = {}
    for contestant in session.servers():
        program = contestant.server.split()[0]
        if program not in build.IN_C:
            chosen.setdefault(program, contestant)
    return list(chosen.values())


def seconds(session):
    return 13 * repeats(session) * len(rust(session))


def repeats(session):
    return 1 if session.quick else 2


def measure(session):
    return once_each(session, NAME, rust(session), lambda contestant: once(contestant, repeats(session)))


def once(contestant, repeats):
    package = contestant.server.split()[0]
    folder = scratch.path("build")
    times = []
    try:
        for _ in range(repeats):
            shutil.rmtree(folder, ignore_errors=True)
            times.append(clean_build(package, folder))
        crates, lines = compiled(package, os.path.join(folder, "release", "deps"))
        binary = os.path.join(folder, "release", package)
        subprocess.run(["strip", binary], check=True)
        size = os.path.getsize(binary)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {"crates": crates, "seconds": min(times), "bytes": size, "lines": lines}


def clean_build(package, folder):
    environment = {**os.environ, "CARGO_TARGET_DIR": folder, "CARGO_PROFILE_RELEASE_DEBUG": "0"}
    command = ["cargo", "build", "--release", "--offline", "--locked", "-q", "-p", package, "--bin", package]
    start = time.monotonic()
    done = subprocess.run(command, cwd=build.BENCH, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise Failed(build.first_error(done.stderr))
    return time.monotonic() - start


def compiled(package, folder):
    """How many crates and lines of Rust the compiler read, by the lists of files that it leaves for cargo."""
    crates, files = set(), set()
    for listing in glob.glob(os.path.join(folder, "*.d")):
        crate = os.path.basename(listing).rsplit("-", 1)[0]
        if crate != package.replace("-", "_"):
            crates.add(crate)
            with open(listing) as listed:
                files.update(word for word in listed.readline().split()[1:] if word.endswith(".rs"))
    return len(crates), sum(map(lines_of_code, files))


def lines_of_code(file):
    with open(os.path.join(build.BENCH, file), errors="replace") as source:
        return sum(1 for line in map(str.strip, source) if line and not line.startswith("//"))


def tables(results):
    head = ["", "crates", "seconds", "KiB, stripped", "lines of Rust"]
    rows = [
        failed(name, each) or [name, each["crates"], each["seconds"], each["bytes"] / 1024, each["lines"]]
        for name, each in results.items()
    ]
    yield Table(TITLE, head, rows)


def charts(results):
    return []
