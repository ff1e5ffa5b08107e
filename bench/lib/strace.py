"""System calls, counted by `strace -c -f`."""

import os

from lib.processes import Failed


def tool(out):
    return ["strace", "-c", "-f", "-o", out]


def read(out):
    """How often each system call was made."""
    if not os.path.exists(out):
        raise Failed("strace has counted nothing: is ptrace allowed here?")
    calls = {}
    for line in open(out):
        words = line.split()
        if len(words) >= 5 and words[0][0].isdigit() and words[-1] != "total":
            calls[words[-1]] = int(words[3])
    if not calls:
        raise Failed("strace has counted nothing: is ptrace allowed here?")
    return calls


def each(more, fewer, n):
    """System calls for each of `n`, when `fewer` is without them."""
    names = sorted(set(more) | set(fewer))
    return {name: (more.get(name, 0) - fewer.get(name, 0)) / n for name in names}
