"""Cache misses in user space, simulated by valgrind's cachegrind.

The caches are always the same, whatever the machine has: 32 KiB for data and for instructions, and 1 MiB behind them, as one
core of a server has to itself. Figures are differences between N and 2 N, as with callgrind.
"""

import os
import re

from lib.processes import Failed

CACHES = ["--I1=32768,8,64", "--D1=32768,8,64", "--LL=1048576,16,64"]


def tool(out):
    return ["valgrind", "--tool=cachegrind", "-q", "--cache-sim=yes", *CACHES, f"--cachegrind-out-file={out}"]


def read(out):
    """Misses of the first cache (instructions and data), and of the one behind it."""
    if not os.path.exists(out):
        raise Failed("cachegrind has written nothing")
    with open(out) as file:
        text = file.read()
    events = re.search(r"^events: (.*)$", text, re.M)[1].split()
    counts = dict(zip(events, map(int, re.search(r"^summary: ?(.*)$", text, re.M)[1].split())))
    return {
        "first": counts["I1mr"] + counts["D1mr"] + counts["D1mw"],
        "second": counts["ILmr"] + counts["DLmr"] + counts["DLmw"],
    }
