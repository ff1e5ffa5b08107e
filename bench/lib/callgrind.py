"""Instructions in user space, counted by valgrind's callgrind.

Two numbers come out of it. `all` is every instruction of the process. `own` leaves out the C library and the loader, whose
code differs from machine to machine (glibc picks its `memcpy` by the CPU), so `own` may be compared with a baseline; how
often our code *calls* the others, `calls`, may be as well. A server runs a start and an end besides what is measured, so
every figure is the difference between N and 2 N.
"""

import os
import re
from dataclasses import dataclass

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


def is_own(name):
    return not os.path.basename(name).startswith(("libc.so", "libc-", "ld-linux", "ld-2", "libpthread", "libm.so", "libm-"))


def read(out):
    """Adds up callgrind's file: costs by the object file they were spent in, and calls from ours to the others."""
    names, here, there = {}, True, None  # whether the object file is our own; `None` where the two are one file
    total = own = calls = 0
    inclusive = False
    for line in open(out):
        first = line[0]
        if first in "+-*0123456789":
            if inclusive:  # the line after `calls=` is what the called function cost, and counted there
                inclusive = False
                continue
            cost = int(line.split()[1])
            total += cost
            own += cost if here else 0
        elif line.startswith(("ob=", "cob=")):
            number, name = re.match(r"c?ob=\((\d+)\)\s*(.*)", line).groups()
            if name:
                names[number] = is_own(name)
            if first == "o":
                here = names[number]
            else:
                there = names[number]
        elif line.startswith("calls="):
            inclusive = True
            if here and there is False:
                calls += int(line[6:].split()[0])
            there = None
    return Counts(total, own, calls)
