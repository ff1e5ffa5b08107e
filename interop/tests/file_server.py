"""`file_server`: ranges, resumed downloads and validators; what is outside; files that change meanwhile; clients that do not read."""
# programs: file_server
# needs: curl wrk

import contextlib
import hashlib
import http.client
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

from lib.program import Program, check, eventually

SECRET = b"nobody is to see this"
MIB = 1 << 20
SLOW = 50
PATIENCE_S = 4


def main(folder):
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        root = place / "root"
        files = make(place, root)
        with Program(folder, "file_server", str(root), "127.0.0.1:0", str(PATIENCE_S)) as server:
            base = server.descriptors()
            slow = SlowClients(server)
            what_is_there(server, files)
            ranges(server, files["some.txt"])
            validators(server, root / "some.txt", files["some.txt"])
            what_is_outside(server)
            took = downloads(server, files, place)
            changes(server, root, place)
            rate = with_wrk(server)
            slow.end()
            eventually("its descriptors are those it began with", server.descriptors, base)
            complaints = server.ended()
            check("it has not panicked", "panicked" in complaints, False)
    print(f"200 MiB in {took:.2f} s; {rate:,.0f} small files/s with wrk; {SLOW} clients that read nothing")


def make(place, root):
    rng = random.Random(6)
    (root / "sub").mkdir(parents=True)
    files = {
        "large.bin": rng.randbytes(200 * MIB),
        "ten.bin": rng.randbytes(10 * MIB),
        "some.txt": rng.randbytes(100_000),
        "piece.bin": rng.randbytes(112 << 10),  # as long as a piece, and one more
        "piece1.bin": rng.randbytes((112 << 10) + 1),
        "empty.css": b"",
        "index.html": b"<p>index",
        "sub/index.html": b"<p>sub",
        "sub/..x": b"two dots in a name",
        "a b%25?#&+;=é": b"odd",
        "%2e%2e": b"odd as well",
        "\udcff\n\udc80": b"no UTF-8",
    }
    for name, content in files.items():
        (root / name).write_bytes(content)
    (place / "secret").write_bytes(SECRET)
    (place / "outside").mkdir()
    (place / "outside" / "secret").write_bytes(SECRET)
    (root / "up").symlink_to("../secret")
    (root / "away").symlink_to(place / "secret")
    (root / "out").symlink_to("../outside")
    (root / "sub" / "around").symlink_to("../../root/some.txt")
    (root / "loop").symlink_to("loop")
    (root / "magic").symlink_to("/proc/self/root")
    (root / "sub" / "inside").symlink_to("../some.txt")
    os.mkfifo(root / "pipe")
    return files


def url(server, name=""):
    return f"http://{server.host}:{server.port}/{name}"


def quoted(name):
    return "/" + urllib.parse.quote(name.encode(errors="surrogateescape"))


def curl(*arguments):
    return subprocess.run(["curl", "-sS", "--max-time", "60", *map(str, arguments)], capture_output=True)


def ask(server, path, headers=None, method="GET"):
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()


def equal(what, found, expected):
    """As `check`, for what is many, or long."""
    if found != expected:
        sys.exit(f"FAILED: {what}: {str(found)[:300]}, and not {str(expected)[:300]}")


# ---- one request each


def what_is_there(server, files):
    for name, content in files.items():
        if name != "large.bin":
            status, headers, body = ask(server, quoted(name))
            equal(name, (status, body == content, headers["content-length"]), (200, True, str(len(content))))
            status, headers, body = ask(server, quoted(name), method="HEAD")
            equal(f"HEAD {name}", (status, body, headers["content-length"]), (200, b"", str(len(content))))
    print(f"ok: {len(files) - 1} files, some with odd names", flush=True)
    check("the root is its index.html", curl(url(server)).stdout, files["index.html"])
    check("and so is a directory", curl(url(server, "sub/")).stdout, files["sub/index.html"])
    check("a link to what is inside", ask(server, "/sub/inside")[2] == files["some.txt"], True)
    check("and a way that stays inside", ask(server, "/sub/../some.txt")[2] == files["some.txt"], True)
    types = [ask(server, path)[1]["content-type"] for path in ("/", "/some.txt", "/empty.css", "/large.bin?x.html")[:3]]
    check("types", types, ["text/html; charset=utf-8", "text/plain; charset=utf-8", "text/css; charset=utf-8"])
    for path in ("/none", "/sub", "/sub/none", "/some.txt/", "/some.txt/x", "/pipe", "/loop", "/" + "x" * 300, "/sub//../../root/none"):
        equal(path, ask(server, path)[0], 404)
    print("ok: what is not there is not found: a pipe and a directory neither", flush=True)
    posted = ask(server, "/some.txt", method="POST")
    check("nothing can be posted", (posted[0], posted[1]["allow"]), (405, "GET, HEAD"))
    check("two on one connection", curl(url(server, "index.html"), url(server, "sub/")).stdout, b"<p>index<p>sub")


def ranges(server, content):
    length = len(content)
    whole = (200, None, content)
    outside = (416, f"bytes */{length}", b"")

    def part(first, last):
        return (206, f"bytes {first}-{last}/{length}", content[first : last + 1])

    table = {
        "bytes=0-0": part(0, 0),
        "bytes=5-": part(5, length - 1),
        "bytes=-5": part(length - 5, length - 1),
        "bytes=100-199": part(100, 199),
        "BYTES=1-2": part(1, 2),
        "bytes= 1-2": part(1, 2),
        f"bytes={length - 1}-": part(length - 1, length - 1),
        "bytes=5-99999999999": part(5, length - 1),
        "bytes=0-99999999999999999999999999": part(0, length - 1),
        "bytes=-999999999": part(0, length - 1),
        f"bytes={length}-": outside,
        "bytes=99999999999999999999999999-": outside,
        "bytes=-0": outside,
        "bytes=5-2": whole,
        "bytes=-": whole,
        "bytes=": whole,
        "bytes=x-5": whole,
        "bytes=5-x": whole,
        "bytes=+5-6": whole,
        "bytes=0-1,5-6": whole,
        "lines=0-5": whole,
        "0-5": whole,
    }
    for header, expected in table.items():
        status, headers, body = ask(server, "/some.txt", {"range": header})
        equal(header, (status, headers["content-range"], body), expected)
        equal(f"length of {header}", headers["content-length"], str(len(body)))
    print(f"ok: {len(table)} ranges", flush=True)
    equal("a range of nothing", ask(server, "/empty.css", {"range": "bytes=0-"})[0], 416)
    equal("a range is for GET", ask(server, "/some.txt", {"range": "bytes=0-0"}, "HEAD")[0], 200)
    check("curl -r", curl("-r", "99-", url(server, "some.txt")).stdout == content[99:], True)


def validators(server, path, content):
    _, headers, _ = ask(server, "/some.txt")
    tag, date = headers["etag"], headers["last-modified"]
    earlier, later = "Sat, 01 Jan 2000 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
    table = [
        ({"if-none-match": tag}, 304),
        ({"if-none-match": "W/" + tag}, 304),
        ({"if-none-match": f'"x", {tag}'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"x"'}, 200),
        ({"if-none-match": '"x"', "if-modified-since": later}, 200),  # the tag is the better witness
        ({"if-modified-since": date}, 304),
        ({"if-modified-since": later}, 304),
        ({"if-modified-since": earlier}, 200),
        ({"if-modified-since": "yesterday"}, 200),
        ({"if-match": tag}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": '"x"'}, 412),
        ({"if-match": "W/" + tag}, 412),
        ({"if-match": tag, "if-unmodified-since": earlier}, 200),
        ({"if-unmodified-since": date}, 200),
        ({"if-unmodified-since": earlier}, 412),
        ({"range": "bytes=0-9", "if-range": tag}, 206),
        ({"range": "bytes=0-9", "if-range": date}, 206),
        ({"range": "bytes=0-9", "if-range": '"x"'}, 200),
        ({"range": "bytes=0-9", "if-range": "W/" + tag}, 200),
        ({"range": "bytes=0-9", "if-range": later}, 200),
        ({"range": "bytes=0-9", "if-none-match": tag}, 304),
        ({"range": "bytes=0-9", "if-match": '"x"'}, 412),
    ]
    for asked, expected in table:
        status, headers, body = ask(server, "/some.txt", asked)
        equal(asked, (status, len(body), headers["etag"]), (status, {200: len(content), 206: 10}.get(status, 0), tag))
        equal(asked, status, expected)
    print(f"ok: {len(table)} conditions", flush=True)
    path.write_bytes(content)
    check("a file that is written again has another tag", ask(server, "/some.txt")[1]["etag"] == tag, False)
    check("the old one gets all of it", ask(server, "/some.txt", {"range": "bytes=0-9", "if-range": tag})[0], 200)


def what_is_outside(server):
    ways = ["../secret", "%2e%2e/secret", "..%2fsecret", "sub/../../secret", "sub/%2e%2e/%2e%2e/secret", "up", "away", "out/secret", "out/"]
    ways += ["/etc/passwd", "%2fetc%2fpasswd", "//etc/passwd", "magic/etc/passwd", "out/../root/some.txt", "sub/around", "up%00", "%00", "..", "../"]
    ways += ["....//secret", "..\\secret", ".%2e/secret", "%252e%252e/secret", "./../secret", "sub/../../root/../secret", "proc/self/fd/0"]
    for way in ways:
        with socket.create_connection((server.host, server.port), timeout=30) as stream:
            stream.sendall(b"GET /" + way.encode() + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            answer = b""
            while part := stream.recv(1 << 16):
                answer += part
        status = answer.split(b" ", 2)[1]
        equal(way, (status in (b"404", b"400"), SECRET in answer, b"root:" in answer), (True, False, False))
    print(f"ok: {len(ways)} ways out are none", flush=True)


# ---- larger files, and time


def downloads(server, files, place):
    expected = hashlib.sha256(files["large.bin"]).hexdigest()
    got = place / "got"

    def sha256():
        with got.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    begin = time.monotonic()
    curl("-o", got, url(server, "large.bin"))
    took = time.monotonic() - begin
    check("200 MiB arrive as they are", sha256(), expected)

    got.unlink()
    interrupted = subprocess.Popen(["curl", "-sS", "--limit-rate", "30M", "-o", got, url(server, "large.bin")])
    eventually("a download has begun", lambda: got.exists() and got.stat().st_size > 10 * MIB)
    interrupted.send_signal(signal.SIGKILL)
    interrupted.wait()
    cut_at = got.stat().st_size
    check("a download is cut", 0 < cut_at < 200 * MIB, True)
    resumed = curl("-C", "-", "-o", got, "-w", "%{http_code} %{size_download}", url(server, "large.bin"))
    check("and resumed where it was", resumed.stdout.decode(), f"206 {200 * MIB - cut_at}")
    check("the whole is right", sha256(), expected)

    # Each with a reader of its own: who had to wait for this program would be one who takes nothing.
    read = ["bash", "-c", 'curl -sS --max-time 60 "$1" | sha256sum', "bash", url(server, "ten.bin")]
    many = [subprocess.Popen(read, stdout=subprocess.PIPE, text=True) for _ in range(50)]
    expected = hashlib.sha256(files["ten.bin"]).hexdigest()
    check("fifty at once", [it.communicate()[0].split()[0] for it in many], [expected] * 50)
    return took


def begin_download(server, name):
    """One that has begun, and goes on when it is asked to: the rest of it."""
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    stream.settimeout(30)
    stream.connect((server.host, server.port))
    stream.sendall(f"GET /{name} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    begun = stream.recv(1000)

    def rest():
        with stream, contextlib.suppress(ConnectionResetError):
            answer = bytearray(begun)
            while part := stream.recv(1 << 20):
                answer += part
        return bytes(answer).partition(b"\r\n\r\n")[2]

    return rest


def changes(server, root, place):
    content = random.Random(7).randbytes(30 * MIB)

    def fresh():
        (root / "changing").unlink(missing_ok=True)
        (root / "changing").write_bytes(content)
        return begin_download(server, "changing")

    rest = fresh()
    (root / "changing").unlink()
    check("a file that vanishes is sent to its end", rest() == content, True)
    rest = fresh()
    (place / "new").write_bytes(b"new")
    (place / "new").rename(root / "changing")
    check("and one that is replaced", rest() == content, True)
    check("the new one is there", ask(server, "/changing")[2], b"new")
    rest = fresh()
    with (root / "changing").open("ab") as file:
        file.write(b"more")
    check("of one that grows what was there is sent", rest() == content, True)
    rest = fresh()
    os.truncate(root / "changing", 10 * MIB)
    found = rest()
    check("of one that shrinks what there is, and the client can tell", content.startswith(found) and len(found) < 30 * MIB, True)
    rest = fresh()
    (root / "changing").write_bytes(b"")
    check("or that is emptied", len(rest()) < 30 * MIB, True)
    check("and the server is there", ask(server, "/index.html")[0], 200)


def with_wrk(server):
    said = subprocess.run(["wrk", "-t1", "-c32", "-d2s", "--timeout", "60", url(server, "index.html")], capture_output=True, text=True, timeout=120).stdout
    check("wrk has no errors", [line for line in said.splitlines() if "errors" in line or "Non-2xx" in line], [])
    return float(re.search(r"Requests/sec: +([\d.]+)", said)[1])


class SlowClients:
    """Clients that ask for the large file and read nothing, one that reads a little, and one that never ends its request: all while
    everything else is tested."""

    def __init__(self, server):
        before = server.resident_mib()
        self.headless, *self.silent = [socket.socket() for _ in range(SLOW + 1)]
        for stream in (self.headless, *self.silent):
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
            stream.settimeout(30)
            stream.connect((server.host, server.port))
            stream.sendall(b"GET /large.bin HTTP/1.1\r\nhost: x\r\n" + (b"" if stream is self.headless else b"\r\n"))
        eventually("something has arrived at each", lambda: all(unsent(stream) for stream in self.silent))
        cost = server.resident_mib() - before
        # A piece each, and what the allocator makes of it. 200 MiB each would be 10 GiB.
        check("clients that read nothing cost a piece each", cost < SLOW * 0.3 + 10, True)
        print(f"    {cost:.1f} MiB for {SLOW}")
        self.little = 0
        self.reader = threading.Thread(target=self.read_a_little, args=(server,), daemon=True)
        self.reader.start()

    def read_a_little(self, server):
        """First fast, so that the kernel makes the server's buffer large: of what is read slowly then, it does not tell for long. 200 KB/s
        are enough for a window of 2 MiB to open in time; TCP tells of a sixteenth, no less."""
        with socket.socket() as stream:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            stream.settimeout(30)
            stream.connect((server.host, server.port))
            stream.sendall(b"GET /large.bin HTTP/1.1\r\nhost: x\r\n\r\n")
            length = some(stream, 50 * MIB)
            begin = time.monotonic()
            while time.monotonic() - begin < 4 * PATIENCE_S:
                length += len(stream.recv(20_000))
                time.sleep(0.1)
            self.little = length + some(stream, 100 * MIB - length)

    def end(self):
        self.reader.join(60)
        check("who takes a little is served for as long as that takes", self.little, 100 * MIB)
        check("who takes nothing is cut off", [until_the_end(stream, 20 * MIB) for stream in self.silent], [True] * SLOW)
        check("and so is a head that does not end", until_the_end(self.headless, 1), True)


def unsent(stream):
    """Whether something has arrived that was not read: from here on it waits."""
    with contextlib.suppress(BlockingIOError):
        return bool(stream.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))


def some(stream, wanted):
    """How much of that comes."""
    length = 0
    while length < wanted and (part := stream.recv(min(1 << 20, wanted - length))):
        length += len(part)
    return length


def until_the_end(stream, most):
    """Whether it was closed before it had sent `most`."""
    with stream, contextlib.suppress(ConnectionResetError):
        return some(stream, most) < most
    return True


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    main(pathlib.Path(sys.argv[1]))
