"""`http` under curl, wrk, h2load and ab; uploads compared byte by byte; clients of the slow kinds, all at once and while the
others are served; and an end under load that loses no request."""
# programs: http
# needs: curl wrk h2load=nghttp2-client ab=apache2-utils
# pip: h2==4.4.1 hpack==4.2.0 hyperframe==6.1.0

import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

import h2.connection
import h2.events

from lib.program import Program, at_rest, check, eventually
from lib.web import Asking, Slow, connected, curl, number, run, until_closed, wrk

LARGE = 120 << 20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def slow_clients(server):
    upload = b"PUT /files/slow HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"
    chunked = upload.replace(b"content-length: 100000", b"transfer-encoding: chunked")
    settings = b"\0\0\0\4\0\0\0\0\0"
    return [
        Slow(server, "silence", (9, 20), b""),
        Slow(server, "a head that drips", (9, 20), b"GET / HTTP/1.1\r\nhost: x\r\nx: ", b"x", 0.5),
        Slow(server, "half a preface of HTTP/2", (9, 20), PREFACE[:8]),
        Slow(server, "a preface, and nothing else", (23, 40), PREFACE),
        Slow(server, "HTTP/2 that answers no ping", (23, 40), PREFACE + settings),
        Slow(server, "a head of HTTP/2 that stops", (23, 40), PREFACE + settings + b"\0\0\x40\1\4\0\0\0\1"),
        Slow(server, "an answered request, then silence", (9, 20), b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        Slow(server, "a body that stops", (9, 20), upload + b"x" * 100),
        Slow(server, "a body that drips", (9, 20), upload, b"x", 0.3),
        Slow(server, "a chunked body that stops", (9, 20), chunked + b"5\r\nhel"),
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


def unhurried(url, files, scratch):
    """Clients that take their time, but get on: each with what it gives in the end."""
    source = scratch / "unhurried"
    source.write_bytes(os.urandom(400_000))
    common = ["curl", "-sS", "--max-time", "100", "--limit-rate"]
    clients = []
    for name, how in (("u1", []), ("u2", ["--http2-prior-knowledge"])):
        clients.append((files / name, source, [*common, "20k", *how, "-T", source, f"{url}/files/{name}"]))
        clients.append((scratch / name, files / "large", [*common, "1M", *how, "-o", scratch / name, f"{url}/files/large"]))
    return [(found, expected, subprocess.Popen(words, stdout=subprocess.DEVNULL)) for found, expected, words in clients]


class Two:
    """A connection by HTTP/2: the answers that have come, by stream."""

    def __init__(self, server):
        self.client, self.http = connected(server), h2.connection.H2Connection()
        self.http.initiate_connection()
        self.host, self.status, self.body, self.ended = f"{server.host}:{server.port}", {}, {}, set()
        self.unread, self.last = b"", None

    def ask(self, method, path, body=b"", is_all=True):
        stream = self.http.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "http"), (":authority", self.host), (":path", path)]
        self.http.send_headers(stream, head, end_stream=is_all and not body)
        if body:
            self.http.send_data(stream, body, end_stream=is_all)
        self.client.sendall(self.http.data_to_send())
        return stream

    def but_goaway(self):
        """The whole frames that are there. This library takes a GOAWAY for the end of everything, but the streams until then go on."""
        frames = b""
        while len(self.unread) >= 9 and len(self.unread) >= (size := 9 + int.from_bytes(self.unread[:3], "big")):
            frame, self.unread = self.unread[:size], self.unread[size:]
            if frame[3] == 7:
                self.last = int.from_bytes(frame[9:13], "big")
            else:
                frames += frame
        return frames

    def take(self):
        """What comes next. Pings are answered by the way."""
        data = self.client.recv(65536)
        self.unread += data
        for event in self.http.receive_data(self.but_goaway()):
            if isinstance(event, h2.events.ResponseReceived):
                self.status[event.stream_id] = dict(event.headers)[b":status"]
            elif isinstance(event, h2.events.DataReceived):
                self.body[event.stream_id] = self.body.get(event.stream_id, b"") + event.data
                self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(event.stream_id)
        # Some of it may be an answer to what the server has closed for, which is as good as not sent.
        try:
            self.client.sendall(self.http.data_to_send())
        except ConnectionError:
            pass
        return bool(data)


class StalledStream(threading.Thread):
    """A body that stops, by HTTP/2: it ends its stream alone."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.begin, self.took, self.two = time.monotonic(), None, Two(server)
        self.stalled, self.others, self.failed = self.two.ask("PUT", "/files/stalled", b"the beginning", is_all=False), [], None
        self.start()

    def run(self):
        try:
            while self.took is None or self.others[-1] not in self.two.ended:
                if self.took is None and self.stalled in self.two.ended:
                    self.took = time.monotonic() - self.begin
                    self.others.append(self.two.ask("GET", "/"))
                elif not self.others or self.others[-1] in self.two.ended:
                    time.sleep(0.2)
                    self.others.append(self.two.ask("GET", "/"))
                if not self.two.take():
                    raise EOFError
        except Exception as error:
            self.failed = repr(error)
        self.two.client.close()

    def check(self):
        self.join(60)
        check("a stream that stops", self.failed, None)
        check("is told", (self.two.status[self.stalled], 9 < self.took < 20), (b"408", True))
        check("the others beside it are not cut", {self.two.body.get(it) for it in self.others}, {b"hello\n"})


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
        sized, from_input, two = ["-T", source], ["-T", "-"], ["--http2-prior-knowledge"]
        for how in (sized, from_input, two + sized) + ((two + from_input,) if size < LARGE else ()):
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


def bodies(server, files, scratch):
    head = "PUT /files/e HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: {}\r\n\r\n"
    with connected(server) as client:
        client.sendall(head.format(5).encode())
        check("100 Continue before the body", client.recv(4096), b"HTTP/1.1 100 Continue\r\n\r\n")
        client.sendall(b"12345")
        check("201 after it", until_closed(client)[:12], b"HTTP/1.1 201")
    with connected(server) as client:
        client.sendall(head.format(5).replace("PUT /files/e", "POST /echo").encode())
        check("100 Continue before an echo", client.recv(4096), b"HTTP/1.1 100 Continue\r\n\r\n")
        client.sendall(b"12345")
        check("and the echo after it", until_closed(client)[-5:], b"12345")
    with connected(server) as client:
        client.sendall(head.format((256 << 20) + 1).encode())
        check("413 before the body when it is too large", until_closed(client)[:12], b"HTTP/1.1 413")
    # It sends without asking, and is told all the same: who is closed with its bytes unread sees a reset, and no answer.
    sparse = scratch / "sparse"
    with open(sparse, "wb") as file:
        file.truncate((256 << 20) + 1)
    for words in (["-T", sparse], ["-H", "Transfer-Encoding: chunked", "-T", sparse]):
        said = curl("-H", "Expect:", *words, "-o", "/dev/null", "-w", "%{http_code}", f"http://{server.host}:{server.port}/files/e")
        check(f"413 while it is sent {words[1][:17] if len(words) > 2 else ''}", said, "413")
    with connected(server) as client:
        client.sendall(head.format((256 << 20) + 1).replace("expect: 100-continue\r\n", "").encode() + bytes(4 << 20))
        found, ended = b"", None
        try:
            while data := client.recv(65536):
                found += data
        except ConnectionResetError as reset:
            ended = reset
        check("and without a reset", (found[:12], ended), (b"HTTP/1.1 413", None))
    with connected(server) as client:
        client.sendall(b"PUT /files/e HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n")
        check("400 for a body that is none", until_closed(client)[:12], b"HTTP/1.1 400")
    for sent in (0, 100, 1 << 20):
        with connected(server) as client:
            client.sendall(b"PUT /files/e HTTP/1.1\r\nhost: x\r\ncontent-length: 2000000\r\n\r\n" + b"x" * sent)
            time.sleep(0.1)
    check("an upload that was given up changes nothing", (files / "e").read_bytes(), b"12345")


def places(server):
    """The server has 500."""
    silent = [connected(server) for _ in range(500)]
    with connected(server) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        client.settimeout(0.5)
        try:
            found = client.recv(4096)
        except TimeoutError:
            found = None
        check("when all places are taken, one waits", found, None)
        silent.pop().close()
        client.settimeout(5)
        check("until one is free", until_closed(client)[-6:], b"hello\n")
    for client in silent:
        client.close()


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
    said = wrk(url + "/")
    check("wrk has no errors", ("Socket errors" in said, "Non-2xx" in said), (False, False))
    check("and many answers", number(r"(\d+) requests in", said) > 1000, True)
    speeds.append(f"wrk {number(r'Requests/sec: +([0-9.]+)', said):.0f}/s")
    for how in (["--h1", "-m", "1"], ["-m", "1"], ["-m", "32"], ["-m", "32", "-d", post]):
        said = run("h2load", "-n", "20000", "-c", "32", *how, url + ("/echo" if post in how else "/"))
        counts = r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout"
        done = re.search(counts, said)
        two = re.search(r"status codes: (\d+) 2xx", said)
        found = done and two and [int(it) for it in (*done.groups(), two.group(1))]
        check(f"h2load {' '.join(map(str, how[:3]))}", found, [20000, 20000, 0, 0, 0, 20000])
        speeds.append(f"h2load {number(r'finished in [^,]*, ([0-9.]+) req/s', said):.0f}/s")
    return speeds


class AskingTwo(threading.Thread):
    """Eight requests at a time on one connection by HTTP/2, until it is told that there will be no more."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.two, self.asked, self.failed, self.answered = Two(server), set(), None, 0
        self.start()

    def run(self):
        try:
            while self.two.last is None:
                while len(self.asked - self.two.ended) < 8:
                    self.asked.add(self.two.ask("GET", "/"))
                if not self.two.take():
                    raise EOFError("not told of an end")
                self.answered = len(self.two.ended)
            while self.two.take():
                pass
            # What it has not begun, it says so: only that may be asked elsewhere.
            begun = {stream for stream in self.asked if stream <= self.two.last}
            self.failed = {stream for stream in begun if self.two.body.get(stream) != b"hello\n"} or None
        except Exception as error:
            self.failed = repr(error)
        self.two.client.close()


def end_under_load(folder, files, scratch):
    with Program(folder, "http", "127.0.0.1:0", files) as server:
        url = f"http://{server.host}:{server.port}"
        idle = [connected(server) for _ in range(20)]
        asking = [Asking(server, "/", keeps=n % 2 == 0) for n in range(12)] + [AskingTwo(server) for _ in range(4)]
        source = scratch / "in-flight"
        source.write_bytes(os.urandom(4 << 20))
        uploading = ["curl", "-sS", "-T", source, "--limit-rate", "2M"]
        in_flight = [
            subprocess.Popen([*uploading, *how, f"{url}/files/{name}"], stdout=subprocess.PIPE, text=True)
            for name, how in (("one", []), ("two", ["--http2-prior-knowledge"]))
        ]
        eventually("two uploads have begun", lambda: len(list(files.glob(".*.part"))), 2)
        eventually("everybody asks", lambda: all(one.answered > 20 or one.failed for one in asking))
        begin = time.monotonic()
        for one in asking:
            one.since = begin
        check("asked to end, it ends with 0", server.asked_to_end(), 0)
        took = time.monotonic() - begin
        check("before its deadline", took < 10, True)
        for one in asking:
            one.join(60)
        check("no request was lost", [one.failed for one in asking if one.failed], [])
        check("each asked until the end", any(one.is_alive() for one in asking), False)
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
            base = at_rest(server.descriptors)
            places(server)
            (files / "large").write_bytes(os.urandom(18 << 20))
            slowly = unhurried(url, files, scratch)
            slow, others = slow_clients(server), Latency(server)
            stalled = StalledStream(server)
            count = uploads(url, files, scratch)
            bodies(server, files, scratch)
            answers(url, server)
            speeds = load(url, scratch)
            for one in slow:
                one.check()
            stalled.check()
            for found, expected, curled in slowly:
                check("who is slow but gets on has all of it", (curled.wait(100), sha256(found)), (0, sha256(expected)))
                found.unlink() if found.parent == files else None
            others.stop.set()
            others.join()
            told = {one.what: one.told[:12] for one in slow if b"body" in one.what.encode()}
            check("who is slow in a body is told", set(told.values()), {b"HTTP/1.1 408"})
            took = sorted(others.took)
            slowest, usual = took[-1 - len(took) // 100], took[len(took) // 2]
            check("meanwhile, another one is served", (others.failed, len(others.took) > 100), (None, True))
            check(f"at once: 99 % within {slowest * 1e3:.0f} ms", slowest < max(0.5, 20 * usual), True)  # A busy machine is slow with all of them.
            eventually("nothing is left open", server.descriptors, base)
            check("no upload that was given up has left something", sorted(os.listdir(files)), ["e", "large"])
            check("asked to end while idle, it ends with 0", server.asked_to_end(), 0)
            check("it has not panicked", "panicked" in server.ended(), False)
        requests, took = end_under_load(folder, files, scratch)
    print(
        f"{count} bodies up to {LARGE >> 20} MiB; {len(slow)} slow clients, "
        f"99 % of the others' answers within {slowest * 1e3:.1f} ms; "
        f"{', '.join(speeds)}; ended {took:.1f} s after being asked, under {requests} requests"
    )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
