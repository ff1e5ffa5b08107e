"""What it takes to build the smallest echo server."""

import json
import os
import shutil
import subprocess
import tempfile
import time

from lib import build
from lib.measure import once_each
from lib.processes import Failed
from lib.tables import Table, failed

NAME = "builds"
TITLE = "Building the echo server"
NEEDS = ("server",)
ABOUT = """A clean release build with the same profile for everybody (fat LTO, one codegen unit), crates already downloaded, the
best of the repeats. Crates and lines are those that are compiled in, of all dependencies, without blank lines and comments;
a crate that only runs at build time counts in the seconds."""


def rust(session):
    """One per package: monoio's two drivers come from one build."""
    chosen = {}
    for contestant in session.servers():
        program = contestant.server.split()[0]
        if program not in build.IN_C:
            chosen.setdefault(program, contestant)
    return list(chosen.values())


def seconds(session):
    return 17 * repeats(session) * len(rust(session))


def repeats(session):
    return 1 if session.quick else 2


def measure(session):
    return once_each(session, NAME, rust(session), lambda contestant: once(contestant, repeats(session)))


def once(contestant, repeats):
    package = contestant.server.split()[0]
    crates = dependencies(package)
    folder = tempfile.mkdtemp(prefix="waken-bench-")
    times = []
    try:
        for _ in range(repeats):
            shutil.rmtree(folder)
            times.append(clean_build(package, folder))
        binary = os.path.join(folder, "release", package)
        subprocess.run(["strip", binary], check=True)
        size = os.path.getsize(binary)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {"crates": len(crates), "seconds": min(times), "bytes": size, "lines": sum(map(lines_of_rust, crates))}


def clean_build(package, folder):
    environment = {**os.environ, "CARGO_TARGET_DIR": folder, "CARGO_PROFILE_RELEASE_DEBUG": "0"}
    command = ["cargo", "build", "--release", "--offline", "--locked", "-q", "-p", package, "--bin", package]
    start = time.monotonic()
    done = subprocess.run(command, cwd=build.BENCH, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise Failed(build.first_error(done.stderr))
    return time.monotonic() - start


def dependencies(package):
    """The folders of all crates that are compiled into `package`."""
    tree = ["cargo", "tree", "-q", "--offline", "--locked", "-p", package, "-e", "normal", "--prefix", "none", "-f", "{p}"]
    listed = subprocess.run(tree, cwd=build.BENCH, capture_output=True, text=True).stdout
    wanted = {" ".join(line.split()[:2]) for line in listed.splitlines() if line.strip()}
    metadata = ["cargo", "metadata", "--format-version", "1", "--offline", "--locked"]
    packages = json.loads(subprocess.run(metadata, cwd=build.BENCH, capture_output=True, text=True).stdout)["packages"]
    folders = {f"{each['name']} v{each['version']}": os.path.dirname(each["manifest_path"]) for each in packages}
    return [folders[crate] for crate in wanted if not crate.startswith(package + " ")]


def lines_of_rust(folder):
    """Of its library: neither blank nor comment."""
    count = 0
    for name in ("src", "runtime"):
        for place, _, files in os.walk(os.path.join(folder, name)):
            for file in files:
                if file.endswith(".rs"):
                    with open(os.path.join(place, file), errors="replace") as source:
                        lines = map(str.strip, source)
                        count += sum(1 for line in lines if line and not line.startswith("//"))
    return count


def tables(results):
    head = ["", "crates", "seconds", "KiB, stripped", "lines of Rust"]
    rows = [
        failed(name, each) or [name, each["crates"], each["seconds"], each["bytes"] / 1024, each["lines"]]
        for name, each in results.items()
    ]
    yield Table(TITLE, head, rows)


def charts(results):
    return []
