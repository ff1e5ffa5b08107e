"""`postgres_client` against a private cluster, over TCP with a password and over a Unix socket; psql says what is in the table."""
# programs: postgres_client
# needs: psql=postgresql-client pg_lsclusters=postgresql

import contextlib
import os
import pathlib
import pwd
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from lib.program import check, eventually, free_port

NOTICE = 'NOTICE: table "waken_tour" does not exist, skipping\n'
EXPECTED = """pipelined: 1000 answers, the sum is 499500
transactions: 1 row is kept, 1 is not
copied in: 100000 rows
copied out: 1577788 bytes
refused: 23505 (duplicate key value violates unique constraint "waken_tour_pkey")
notified: by the other connection, of 'hello'
cancelled: 57014
too slow: the connection goes on
ended by the server: 57P01
closed: true, connection closed
"""


@contextlib.contextmanager
def cluster():
    """A server of its own in a folder of its own; the system's, if there is one, is left alone."""
    programs = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parts[-2]))
    # It refuses to run as root.
    by = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "password").write_text("a secret\n")
        if by:
            for path in (folder, folder / "password"):
                os.chown(path, pwd.getpwnam("postgres").pw_uid, -1)
        made = subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-U", "tour", "--no-sync", "--auth-local=trust", "--auth-host=scram-sha-256",
             "--pwfile", folder / "password", "--encoding=UTF8", "--locale=C"],
            capture_output=True, text=True, cwd=folder, **by,
        )  # fmt: skip
        if made.returncode:
            sys.exit(made.stderr)
        port = free_port()
        with open(folder / "log", "w+") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", folder / "data", "-k", folder, "-h", "127.0.0.1", "-p", str(port), "-c", "fsync=off"],
                stdout=log, stderr=log, cwd=folder, **by,
            )
            try:
                end = time.monotonic() + 60
                while psql(folder, port, "SELECT 1", quietly=True) != "1\n":
                    if server.poll() is not None or time.monotonic() > end:
                        sys.exit(f"the server does not come up: {(folder / 'log').read_text()}")
                    time.sleep(0.1)
                yield folder, port
            finally:
                server.send_signal(signal.SIGINT)  # Without waiting for whoever is connected.
                try:
                    server.wait(30)
                except subprocess.TimeoutExpired:
                    server.kill()
                    server.wait()


def psql(host, port, command, quietly=False):
    said = subprocess.run(
        ["psql", "-h", host, "-p", str(port), "-U", "tour", "-d", "postgres", "-XAtq", "-c", command],
        capture_output=True, text=True, timeout=60,
    )
    if said.returncode and not quietly:
        sys.exit(said.stderr)
    return said.stdout


@contextlib.contextmanager
def far_away(port, delay_s):
    """The same server, with a long way there and back: who asks one thing after the other feels it each time."""
    ends = []

    def one_way(source, to):
        on_the_way = queue.SimpleQueue()

        def arrive():
            while item := on_the_way.get():
                when, data = item
                time.sleep(max(0, when - time.monotonic()))
                try:
                    to.sendall(data) if data else to.shutdown(socket.SHUT_WR)
                except OSError:
                    pass

        ends.append(threading.Thread(target=arrive))
        ends[-1].start()
        data = b"-"
        while data:
            try:
                data = source.recv(1 << 16)
            except OSError:
                data = b""
            on_the_way.put((time.monotonic() + delay_s, data))
        on_the_way.put(None)

    def accept():
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", port))
            for way in ((near, far), (far, near)):
                ends.append(threading.Thread(target=one_way, args=way))
                ends[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in ends:
                thread.join()


def tour(programs, config):
    begin = time.monotonic()
    said = subprocess.run([f"{programs}/postgres_client", config], capture_output=True, text=True, timeout=120)
    return said.returncode, said.stdout, said.stderr, time.monotonic() - begin


def main(programs):
    took = []
    rows = "".join(f"{n}\trow {n}\n" for n in range(100_000))
    with cluster() as (folder, port):
        ways = {
            "TCP, with a password": f"host=localhost port={port} user=tour dbname=postgres password='a secret'",
            "a Unix socket": f"host={folder} port={port} user=tour dbname=postgres",
        }
        for name, config in ways.items():
            status, found, errors, seconds = tour(programs, config)
            table = psql(folder, port, "COPY waken_tour TO STDOUT")
            check(f"{name}: only a notice on standard error", errors, NOTICE if name == next(iter(ways)) else "")
            check(f"{name}: what it says", found, EXPECTED)
            check(f"{name}: a success", status, 0)
            check(f"{name}: what psql finds in the table", table, "-1\tkept\n" + rows)
            took.append(f"{name} {seconds:.1f} s")
        with far_away(port, 0.02) as far:
            status, found, errors, seconds = tour(programs, f"host=127.0.0.1 port={far} user=tour dbname=postgres password='a secret'")
        check("from far away", (status, found, errors), (0, EXPECTED, ""))
        check("a thousand queries do not wait for a thousand answers, of 0.04 s each", seconds < 1000 * 0.04, True)
        took.append(f"from far away {seconds:.1f} s")
        queries = "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        eventually("no query runs on, no connection is left", lambda: psql(folder, port, queries), "0\n")
        status, found, errors, _ = tour(programs, f"host=localhost port={port} user=tour dbname=postgres password=wrong")
        check("a wrong password", (status, found, "password authentication failed" in errors), (1, "", True))
        status, found, errors, _ = tour(programs, f"host=localhost port={port} user=tour dbname=none password='a secret'")
        check("a database that there is not", (status, found, "does not exist" in errors), (1, "", True))
    status, found, errors, _ = tour(programs, ways["TCP, with a password"])
    check("no server", (status, found, "refused" in errors), (1, "", True))
    print(f"1,000 queries, 100,000 rows in and out: {', '.join(took)}")


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    main(pathlib.Path(sys.argv[1]))
