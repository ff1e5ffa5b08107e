"""Instructions in user space, counted by valgrind's callgrind.

Two numbers come out of it. `all` is every instruction of the process. `own` leaves out the C library and the loader, whose
code differs from machine to machine (glibc picks its `memcpy` by the CPU), so `own` may be compared with a baseline; how
often our code *calls* the others, `calls`, may be as well. A server runs a start and an end besides what is measured, so
every figure is the difference between N and 2 N.
"""

import os
import re
import tempfile
from dataclasses import dataclass

from lib import build

QUIET = {"WARM": "0", "WAKEN_SPIN_US": "0"}  # no warm-up, and to look again before sleeping is not work


@dataclass
class Counts:
    all: float
    own: float
    calls: float

    def each(self, other, n):
        """What each of `n` costs, when `other` is without them."""
        return Counts((self.all - other.all) / n, (self.own - other.own) / n, (self.calls - other.calls) / n)


def tool(out):
    return ["valgrind", "--tool=callgrind", "-q", f"--callgrind-out-file={out}"]


def scratch():
    return os.path.join(tempfile.mkdtemp(prefix="waken-bench-"), "callgrind")


def read(out, program):
    """Adds up callgrind's file: costs by the object file they were spent in, and calls that leave `program`."""
    names, here, there = {}, "", ""
    total = own = calls = 0
    ours = build.path(program)
    inclusive = False
    for line in open(out):
        first = line[0]
        if first in "+-*0123456789":
            if inclusive:  # the line after `calls=` is what the called function cost, and counted there
                inclusive = False
                continue
            cost = int(line.split()[1])
            total += cost
            own += cost if here == ours else 0
        elif line.startswith(("ob=", "cob=")):
            number, name = re.match(r"c?ob=\((\d+)\)\s*(.*)", line).groups()
            name = names.setdefault(number, name)
            if first == "o":
                here = name
            else:
                there = name
        elif line.startswith("calls="):
            inclusive = True
            if here == ours and there not in ("", ours):
                calls += int(line[6:].split()[0])
            there = ""
    return Counts(total, own, calls)
