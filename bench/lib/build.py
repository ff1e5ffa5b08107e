"""Builds the programs that are measured, one at a time, and says why one could not be built.

One package at a time on purpose: a build of the whole workspace would unify the features of its packages, and compio on
epoll and compio on io_uring would become one.
"""

import os
import shutil
import subprocess

BENCH = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(BENCH)
TARGET = os.path.abspath(os.environ.get("CARGO_TARGET_DIR", os.path.join(BENCH, "target")))

# What is in C: the source, and what else the compiler is told.
IN_C = {
    "loadgen": ["loadgen.c"],
    "raw_echo": ["raw_echo.c"],
    "raw_echo_percon": ["raw_echo.c", "-DPERCONN"],
    "poll_echo": ["poll_echo.c"],
    "uv_echo": ["uv_echo.c", "-luv"],
}

# Programs that are not called as their package is.
PACKAGE = {f"echo-waken-{variant}": "echo-waken" for variant in ("shared", "reset", "timeout", "watch")}

# waken's own examples, as everybody builds them.
EXAMPLES = {"example-echo": "echo", "example-echo-shared": "echo_shared"}


def path(program):
    """Where a program is, once it is built."""
    if program in EXAMPLES:
        return os.path.join(TARGET, "release", "examples", EXAMPLES[program])
    folder = "c" if program in IN_C else "release"
    return os.path.join(TARGET, folder, program)


def build(programs, say=lambda text: None):
    """Builds `programs`, and answers with a reason for each that could not be built."""
    failures = {}
    for number, program in enumerate(programs, 1):
        say(f"building {program} ({number} of {len(programs)})")
        reason = build_c(program) if program in IN_C else build_rust(program)
        if reason:
            failures[program] = reason
            say(f"{program} is left out: {reason}")
    return failures


def build_c(program):
    compiler = os.environ.get("CC", "cc")
    if not shutil.which(compiler):
        return f"there is no {compiler}"
    source, *options = IN_C[program]
    os.makedirs(os.path.join(TARGET, "c"), exist_ok=True)
    command = [compiler, "-O2", "-g", "-Wall", "-Wextra", "-o", path(program), os.path.join(BENCH, "c", source), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    if "uv.h" in done.stderr or "-luv" in done.stderr:
        return "libuv is not installed (on Debian: apt-get install libuv1-dev)"
    return first_error(done.stderr)


def build_rust(program):
    which, root = ["-p", PACKAGE.get(program, program), "--bin", program], BENCH
    if program in EXAMPLES:
        which, root = ["--example", EXAMPLES[program]], ROOT
    command = ["cargo", "build", "--release", "--locked", "--quiet", *which]
    done = subprocess.run(command, cwd=root, env={**os.environ, "CARGO_TARGET_DIR": TARGET}, capture_output=True, text=True)
    return None if done.returncode == 0 else first_error(done.stderr)


def first_error(text):
    errors = [line for line in text.splitlines() if "error" in line.lower()]
    return (errors or text.splitlines() or ["it failed without a word"])[0].strip()[:200]
