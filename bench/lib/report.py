"""`docs/performance.md` and its charts, from the stored figures."""

import os

from lib import build, contestants
from lib.workloads import NAMES, named

DOCS = os.path.join(build.ROOT, "docs")
CHARTS = os.path.join(DOCS, "charts")

INTRODUCTION = """# Performance

waken beside its peers, on the same work, in one run. All of this file, and the charts, are written by

```sh
{command}
```

What each row is, which figures to trust and when a difference is one, is told in [`bench/README.md`](../bench/README.md). In
short: instructions, system calls and bytes are exact; server CPU per request is good to a few per cent, and where the
rounds disagreed by more than what they show, the table says *too noisy*; requests/s and latencies are of this machine.
Ratios are medians of the rounds' ratios; what has no unit is a median. io_uring is another interface to the kernel,
and stands here for reference.
"""


def write(store, say):
    """Writes the document and the charts from whatever has been measured."""
    records = [record for record in map(store.load, NAMES) if record]
    if not records:
        raise SystemExit("nothing has been measured yet: `bench/run`")
    os.makedirs(CHARTS, exist_ok=True)
    command = "\n".join(dict.fromkeys(record["command"] for record in records))
    parts = [INTRODUCTION.format(command=command), measured_on(records), who(records)]
    for record in records:
        parts.append(chapter(record))
    path = os.path.join(DOCS, "performance.md")
    with open(path, "w") as file:
        file.write("\n".join(parts))
    say(f"written: {os.path.relpath(path)}, and the charts in {os.path.relpath(CHARTS)}")


def measured_on(records):
    facts = records[-1]["machine"]
    dates = sorted({record["machine"]["date"] for record in records})
    lines = [
        f"Measured on {' and '.join(dates)}, {facts['kernel']}, {facts['cpus']} CPUs ({facts['cpu']}), {facts['memory_gib']} GiB, "
        f"loopback. {facts['rustc']}, {facts['cc']}, {facts['libc']}. The server has one CPU, the load generator the other."
    ]
    quick = [record["workload"] for record in records if record["quick"]]
    if quick:
        lines.append(f"\n**From a quick run, with few and short repeats:** {', '.join(quick)}. Do not quote its times.")
    missing = [name for name in NAMES if name not in {record["workload"] for record in records}]
    if missing:
        lines.append(f"\nNot measured: {', '.join(missing)}.")
    return "\n".join(lines) + "\n"


def who(records):
    """The contestants that took part, with their versions."""
    facts, versions = records[-1]["machine"], records[-1]["versions"]
    taken = {name for record in records for name in record["contestants"]}
    lines = ["| | version | what it is |", "|---|---|---|"]
    for contestant in contestants.ALL:
        if contestant.name in taken:
            version = versions.get(contestant.crate, "")
            if contestant.name == "libuv":
                version = facts["libuv"]
            elif contestant.kind == "waken":
                version = "this commit"
            crate = "" if contestant.crate in ("", contestant.name) else f"{contestant.crate} "
            lines.append(f"| {contestant.name} | {crate}{version} | {contestant.what} |")
    return "\n".join(lines) + "\n"


def chapter(record):
    """One workload: what it is, its charts, its tables."""
    (module,) = named([record["workload"]])
    parts = [f"## {module.TITLE}", "", module.ABOUT, ""]
    for file, svg in module.charts(record["results"]):
        with open(os.path.join(CHARTS, file), "w") as picture:
            picture.write(svg)
        parts += [f"![{title_of(svg)}](charts/{file})", ""]
    for table in tables(module, record):
        parts.append(table.markdown())
    return "\n".join(parts)


def tables(module, record):
    """Its tables; the last one tells who is not in them."""
    found = list(module.tables(record["results"]))
    found[-1].absent = record["absent"]
    return found


def title_of(svg):
    return svg.split('aria-label="', 1)[1].split('"', 1)[0]
