"""`http` under curl, wrk, h2load and ab; uploads compared byte by byte; clients of the slow kinds, all at once and while the
others are served; and an end under load that loses no request."""
# programs: http
# needs: curl wrk h2load=nghttp2-client ab=apache2-utils

import hashlib
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

from lib.program import Program, check, soon

LARGE = 120 << 20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def run(*words, **options):
    result = subprocess.run(words, capture_output=True, text=True, timeout=120, **options)
    return result.stdout + result.stderr


def curl(*words, **options):
    return run("curl", "-sS", "--max-time", "60", *words, **options)


def connected(server):
    client = socket.create_connection((server.host, server.port))
    client.settimeout(60)
    return client


def until_closed(client):
    """All that comes, and what ends it. A reset is an end as well."""
    found = b""
    try:
        while data := client.recv(65536):
            found += data
    except ConnectionResetError:
        pass
    return found


class Slow(threading.Thread):
    """A client of a slow kind: how long it is suffered, and what it is told."""

    def __init__(self, server, what, between, first, drip=b"", every_s=1.0, reads=True):
        super().__init__(daemon=True)
        self.what, self.between, self.first, self.drip, self.every_s, self.reads = what, between, first, drip, every_s, reads
        self.begin = time.monotonic()
        self.client = socket.socket()
        if not reads:
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.client.connect((server.host, server.port))
        self.took, self.told = None, b""
        self.start()

    def run(self):
        self.client.sendall(self.first)
        self.client.settimeout(self.every_s)
        while time.monotonic() - self.begin < 60:
            try:
                if self.drip:
                    self.client.sendall(self.drip)
                if not self.reads:
                    # The end is known by what is sent: nothing else comes by, since nothing is taken.
                    time.sleep(self.every_s)
                    continue
                data = self.client.recv(65536)
                self.told += data
                if not data:
                    break
            except TimeoutError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                break
        self.took = time.monotonic() - self.begin
        self.client.close()

    def check(self):
        self.join(90)
        low, high = self.between
        check(f"{self.what}: cut off after {low} to {high} s, after {self.took:.1f}", low <= self.took <= high, True)


def slow_clients(server):
    upload = b"PUT /files/slow HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"
    settings = b"\0\0\0\4\0\0\0\0\0"
    return [
        Slow(server, "silence", (9, 20), b""),
        Slow(server, "a head that drips", (9, 20), b"GET / HTTP/1.1\r\nhost: x\r\nx: ", b"x", 0.5),
        Slow(server, "half a preface of HTTP/2", (9, 20), PREFACE[:8]),
        Slow(server, "a preface, and nothing else", (13, 25), PREFACE),
        Slow(server, "HTTP/2 that answers no ping", (13, 25), PREFACE + settings),
        Slow(server, "a head of HTTP/2 that stops", (13, 25), PREFACE + settings + b"\0\0\x40\1\4\0\0\0\1"),
        Slow(server, "an answered request, then silence", (9, 20), b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        Slow(server, "a body that stops", (9, 20), upload + b"x" * 100),
        Slow(server, "a body that drips", (9, 20), upload, b"x", 0.3),
        Slow(server, "a chunked body that stops", (9, 20), upload.replace(b"content-length: 100000", b"transfer-encoding: chunked") + b"5\r\nhel"),
        Slow(server, "an echo that stops", (9, 20), upload.replace(b"PUT /files/slow", b"POST /echo") + b"x"),
        Slow(server, "an answer that is not taken", (18, 45), b"GET /files/large HTTP/1.1\r\nhost: x\r\n\r\n", b"x", reads=False),
    ]


class Latency(threading.Thread):
    """A request each 20 ms, on one connection."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.stop, self.took, self.failed = server, threading.Event(), [], None
        self.start()

    def run(self):
        try:
            with connected(self.server) as client:
                while not self.stop.wait(0.02):
                    begin = time.monotonic()
                    client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                    answer = client.recv(4096)
                    self.took.append(time.monotonic() - begin)
                    if not answer.endswith(b"\r\n\r\nhello\n"):
                        raise ValueError(answer)
        except Exception as error:
            self.failed = repr(error)


def answers(url, server):
    for version, words in (("1.1", []), ("2", ["--http2-prior-knowledge"]), ("1.1", ["--http2"]), ("1", ["--http1.0"])):
        check(f"curl {' '.join(words)}", curl(*words, "-w", "%{http_code} %{http_version}", url + "/"), f"hello\n200 {version}")
    code = ["-o", "/dev/null", "-w", "%{http_code} %header{allow}"]
    for words, path, expected in (
        ([], "/nothing", "404 "),
        (["-X", "POST"], "/", "405 GET, HEAD"),
        ([], "/echo", "405 POST"),
        (["-X", "DELETE"], "/files/x", "405 GET, HEAD, PUT"),
        (["-I"], "/", "200 "),
        ([], "/files/none", "404 "),
        (["--path-as-is"], "/files/../../etc/passwd", "400 "),
        ([], "/files/%2e%2e%2fetc%2fpasswd", "400 "),
        ([], "/files/.hidden", "400 "),
        ([], "/files/", "400 "),
        ([], "/files/" + "x" * 101, "400 "),
        (["-H", "x: " + "x" * 20000], "/", "431 "),
    ):
        check(f"curl {' '.join(words)[:40]} {path[:40]}", curl(*code, *words, url + path), expected)
    with connected(server) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 49 + b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        found = until_closed(client)
        check("fifty at once on one connection", (found.count(b"HTTP/1.1 200"), found.count(b"hello\n")), (50, 50))
    with connected(server) as client:
        for n in range(len(PREFACE)):
            client.sendall(PREFACE[n : n + 1])
            time.sleep(0.001)
        check("HTTP/2 whose preface comes by bytes", client.recv(9)[3:5], b"\4\0")
    with connected(server) as client:
        for byte in b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n":
            client.sendall(bytes([byte]))
            time.sleep(0.001)
        check("HTTP/1 that comes by bytes", until_closed(client)[-6:], b"hello\n")


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def uploads(url, files, scratch):
    count = 0
    for size in (0, 1, 16384, 65535, 262144, 262145, 3_000_000, LARGE):
        source = scratch / f"source-{size}"
        with open(source, "wb") as file:
            for at in range(0, size, 1 << 20):
                file.write(os.urandom(min(1 << 20, size - at)))
        expected = sha256(source)
        for how in (["-T", source], ["-T", "-"], ["--http2-prior-knowledge", "-T", source], ["--http2-prior-knowledge", "-T", "-"]):
            kind = f"{size} bytes{' of known size' * (source in how)}{', HTTP/2' * (how[0] != '-T')}:"
            (files / "a.bin").unlink(missing_ok=True)
            if size == LARGE:
                (files / "a.bin").write_bytes(b"what was there before")
            with open(source, "rb") as stdin:
                said = curl(*how, "-o", "/dev/null", "-w", "%{http_code}", f"{url}/files/a.bin", stdin=stdin)
            check(f"{kind} up", (said, sha256(files / "a.bin")), ("200" if size == LARGE else "201", expected))
            curl(*how[:-2], "-o", scratch / "back", f"{url}/files/a.bin")
            check(f"{kind} down", sha256(scratch / "back"), expected)
            with open(source, "rb") as stdin:
                curl(*how, "-X", "POST", "-o", scratch / "back", f"{url}/echo", stdin=stdin)
            check(f"{kind} echoed", sha256(scratch / "back"), expected)
            count += 3
        source.unlink()
    (files / "a.bin").unlink()
    (scratch / "back").unlink()
    return count


def bodies(server, files):
    head = "PUT /files/e HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: {}\r\n\r\n"
    with connected(server) as client:
        client.sendall(head.format(5).encode())
        check("100 Continue before the body", client.recv(4096), b"HTTP/1.1 100 Continue\r\n\r\n")
        client.sendall(b"12345")
        check("201 after it", until_closed(client)[:12], b"HTTP/1.1 201")
    with connected(server) as client:
        client.sendall(head.format((1 << 30) + 1).encode())
        check("413 before the body when it is too large", until_closed(client)[:12], b"HTTP/1.1 413")
    with connected(server) as client:
        client.sendall(b"PUT /files/e HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n")
        check("400 for a body that is none", until_closed(client)[:12], b"HTTP/1.1 400")
    for sent in (0, 100, 1 << 20):
        with connected(server) as client:
            client.sendall(b"PUT /files/e HTTP/1.1\r\nhost: x\r\ncontent-length: 2000000\r\n\r\n" + b"x" * sent)
            time.sleep(0.1)
    check("an upload that was given up changes nothing", (files / "e").read_bytes(), b"12345")


def number(pattern, text):
    found = re.search(pattern, text)
    if not found:
        sys.exit(f"FAILED: no {pattern!r} in {text}")
    return float(found.group(1))


def load(url, scratch):
    """Each tool's own count of what went well. The speeds are of a machine that does much else."""
    speeds = []
    post = scratch / "post"
    post.write_bytes(b"x" * 5000)
    for how in (["-n", "5000"], ["-k", "-n", "20000"], ["-k", "-n", "10000", "-p", post]):
        asked = int(how[how.index("-n") + 1])
        said = run("ab", "-q", "-c", "50", *how, url + ("/echo" if post in how else "/"))
        good = number(r"Complete requests: +(\d+)", said) - number(r"Failed requests: +(\d+)", said)
        check(f"ab {' '.join(map(str, how[:3]))}", (good, "Non-2xx" in said), (asked, False))
        speeds.append(f"ab {number(r'Requests per second: +([0-9.]+)', said):.0f}/s")
    said = run("wrk", "-t", "2", "-c", "64", "-d", "3", url + "/")
    check("wrk has no errors", ("Socket errors" in said, "Non-2xx" in said, number(r"(\d+) requests in", said) > 1000), (False, False, True))
    speeds.append(f"wrk {number(r'Requests/sec: +([0-9.]+)', said):.0f}/s")
    for how in (["--h1", "-m", "1"], ["-m", "1"], ["-m", "32"], ["-m", "32", "-d", post]):
        said = run("h2load", "-n", "20000", "-c", "32", *how, url + ("/echo" if post in how else "/"))
        done = re.search(r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
        two = re.search(r"status codes: (\d+) 2xx", said)
        found = done and two and [int(it) for it in (*done.groups(), two.group(1))]
        check(f"h2load {' '.join(map(str, how[:3]))}", found, [20000, 20000, 0, 0, 0, 20000])
        speeds.append(f"h2load {number(r'finished in [^,]*, ([0-9.]+) req/s', said):.0f}/s")
    return speeds


class Asking(threading.Thread):
    """One request after the other, until an answer is the last, or nobody is there any more."""

    def __init__(self, server, keeps):
        super().__init__(daemon=True)
        self.server, self.keeps, self.answered, self.failed = server, keeps, 0, None
        self.start()

    def run(self):
        request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" if self.keeps else b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        try:
            while True:
                try:
                    client = connected(self.server)
                except ConnectionRefusedError:
                    return
                with client:
                    is_last = False
                    while not is_last:
                        client.sendall(request)
                        answer = client.recv(4096)
                        if not answer.endswith(b"\r\n\r\nhello\n"):
                            raise ValueError(answer)
                        self.answered += 1
                        is_last = b"connection: close\r\n" in answer
        except Exception as error:
            self.failed = repr(error)


def end_under_load(folder, files, scratch):
    with Program(folder, "http", "127.0.0.1:0", files) as server:
        url = f"http://{server.host}:{server.port}"
        idle = [connected(server) for _ in range(20)]
        asking = [Asking(server, keeps=n % 2 == 0) for n in range(12)]
        source = scratch / "in-flight"
        source.write_bytes(os.urandom(4 << 20))
        in_flight = [
            subprocess.Popen(["curl", "-sS", "-T", source, "--limit-rate", "2M", *how, f"{url}/files/{name}"], stdout=subprocess.PIPE, text=True)
            for name, how in (("one", []), ("two", ["--http2-prior-knowledge"]))
        ]
        time.sleep(0.7)
        begin = time.monotonic()
        check("asked to end, it ends with 0", server.asked_to_end(), 0)
        took = time.monotonic() - begin
        check("well before its deadline", took < 8, True)
        for one in asking:
            one.join(20)
        check("no request was lost", [one.failed for one in asking if one.failed], [])
        check("each asked until the end", all(one.answered > 20 and not one.is_alive() for one in asking), True)
        check("uploads in flight were kept", [one.communicate()[0] for one in in_flight], ["kept\n", "kept\n"])
        check("and whole", [sha256(files / "one"), sha256(files / "two")], [sha256(source)] * 2)
        for client in idle:
            client.close()
        return sum(one.answered for one in asking), took


def main(folder):
    with tempfile.TemporaryDirectory(prefix="http-") as scratch:
        scratch = pathlib.Path(scratch)
        files = scratch / "files"
        files.mkdir()
        with Program(folder, "http", "127.0.0.1:0", files) as server:
            url = f"http://{server.host}:{server.port}"
            check("an answer", curl(url + "/"), "hello\n")
            base = soon(server.descriptors, 0, within_s=0.5)
            (files / "large").write_bytes(bytes(32 << 20))
            slow, others = slow_clients(server), Latency(server)
            count = uploads(url, files, scratch)
            bodies(server, files)
            answers(url, server)
            speeds = load(url, scratch)
            for one in slow:
                one.check()
            others.stop.set()
            others.join()
            told = {one.what: one.told[:12] for one in slow if b"body" in one.what.encode()}
            check("who is slow in a body is told", set(told.values()), {b"HTTP/1.1 408"})
            slowest = sorted(others.took)[-1 - len(others.took) // 100]
            check("meanwhile, another one is served", (others.failed, len(others.took) > 100), (None, True))
            check(f"at once: 99 % within {slowest * 1e3:.0f} ms", slowest < 0.5, True)
            check("nothing is left open", soon(server.descriptors, base), base)
            check("no upload that was given up has left something", sorted(os.listdir(files)), ["e", "large"])
            check("asked to end while idle, it ends with 0", server.asked_to_end(), 0)
            check("it has not panicked", "panicked" in server.ended(), False)
        requests, took = end_under_load(folder, files, scratch)
    print(
        f"{count} bodies up to {LARGE >> 20} MiB; {len(slow)} slow clients, 99 % of the others' answers within {slowest * 1e3:.1f} ms; "
        f"{', '.join(speeds)}; ended {took:.1f} s after being asked, under {requests} requests"
    )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
