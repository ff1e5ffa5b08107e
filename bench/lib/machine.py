"""What it is measured on, and how the programs are kept apart: server on one CPU, load on the other."""

import contextlib
import ctypes
import datetime
import os
import re
import resource
import shutil
import subprocess
import time

CPUS = sorted(os.sched_getaffinity(0))
SERVER_CPU, LOAD_CPU = str(CPUS[0]), str(CPUS[min(1, len(CPUS) - 1)])

# Root may put the measured programs before whatever else runs on the machine.
FIRST = ["nice", "-n", "-15"] if os.geteuid() == 0 else []


def pinned(cpu):
    return [*FIRST, "taskset", "-c", cpu]


def raise_descriptor_limit():
    """As many descriptors as we may have, for us and those we start; and how many that is."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def first_line(*command):
    if not shutil.which(command[0]):
        return "not installed"
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout or done.stderr).strip().splitlines()[0] if done.returncode == 0 else "not installed"


def facts():
    with open("/proc/cpuinfo") as cpuinfo:
        model = re.search(r"model name\s*:\s*(.*)", cpuinfo.read())
    with open("/proc/meminfo") as meminfo:
        memory = int(re.search(r"MemTotal:\s*(\d+)", meminfo.read())[1])
    return {
        "date": datetime.date.today().isoformat(),
        "kernel": f"{os.uname().sysname} {os.uname().release.split('-')[0]} {os.uname().machine}",
        "cpu": model[1] if model else "unknown",
        "cpus": len(CPUS),
        "memory_gib": round(memory / 2**20),
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "rustc": " ".join(first_line("rustc", "--version").split()[:2]),
        "cc": first_line(os.environ.get("CC", "cc"), "--version"),
        "libc": os.confstr("CS_GNU_LIBC_VERSION"),
        "libuv": first_line("pkg-config", "--modversion", "libuv"),
    }


@contextlib.contextmanager
def small_pages():
    """What is started in here gets no transparent huge pages, which some machines hand out by the 2 MiB: memory is counted."""
    set_thp_disable, prctl = 41, ctypes.CDLL(None).prctl
    prctl(set_thp_disable, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(set_thp_disable, 0, 0, 0, 0)


@contextlib.contextmanager
def kept_awake():
    """Both CPUs run a loop of the idle class, which gives way to anything else at once. It keeps them out of the idle
    state, from which a virtual CPU needs tens of microseconds to come back."""
    loop = ["sh", "-c", "while :; do :; done"]
    idly = ["timeout", "600", "chrt", "-i", "0", "taskset", "-c"]
    loops = [subprocess.Popen([*idly, cpu, *loop]) for cpu in (SERVER_CPU, LOAD_CPU)]
    time.sleep(0.2)
    try:
        yield
    finally:
        for process in loops:
            process.terminate()
            process.wait()
