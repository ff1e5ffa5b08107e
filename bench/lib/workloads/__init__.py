"""The workloads, in the order in which they are run and told.

Each is a module with a `NAME`, a `TITLE`, and `ABOUT` (what is done, and which figure to trust); `seconds(session)`, what it
will take about; `measure(session)`, which answers with plain data; and `tables(results)` and `charts(results)`, which make
something to look at of that data, now or later.
"""

import importlib

NAMES = [
    "instructions", "calls", "timeouts", "memory", "cache", "idle", "builds", "operations",
    "echo", "park", "crowd", "churn", "bulk", "growth", "http",
]  # fmt: skip


def named(names):
    unknown = set(names) - set(NAMES)
    if unknown:
        raise SystemExit(f"no such workload: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    return [importlib.import_module(f"lib.workloads.{name}") for name in NAMES if not names or name in names]
