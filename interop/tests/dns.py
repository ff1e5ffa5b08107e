"""`dns` asks dnsmasq, many names at once and answers too long for UDP, and then servers that are silent, slow, lossy or lie."""
# programs: dns
# needs: dnsmasq=dnsmasq-base

import contextlib
import os
import pathlib
import pwd
import resource
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time

from lib.program import check, free_port

HOSTS = 2000


def long_text(n):
    return [f"{n} {k} ".ljust(200, "x") for k in range(20)]


@contextlib.contextmanager
def dnsmasq(programs):
    port = free_port()
    lines = [
        f"port={port}", "listen-address=127.0.0.1", "bind-interfaces", "no-resolv", "no-hosts", "local=/test/",
        f"user={pwd.getpwuid(os.geteuid()).pw_name}", "pid-file", "max-tcp-connections=300",
        "host-record=six.test,fd00::6", "mx-host=mail.test,host1.test,10", "host-record=two.test,10.9.0.1", "host-record=two.test,10.9.0.2",
        "cname=other.test,host1.test",
        *[f"host-record=host{n}.test,10.0.{n // 256}.{n % 256}" for n in range(HOSTS)],
    ]  # fmt: skip
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        long = [f"--txt-record=long{n}.test,{','.join(long_text(n))}" for n in range(100)]  # Too long for a line of the file.
        server = subprocess.Popen(["dnsmasq", "--keep-in-foreground", f"--conf-file={file.name}", *long])
        try:
            end = time.monotonic() + 60
            while dns(programs, [f"127.0.0.1:{port}"], "host1.test")[0] != 0:
                if server.poll() is not None or time.monotonic() > end:
                    sys.exit("dnsmasq does not come up")
                time.sleep(0.1)
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


class Bad(threading.Thread):
    """A server that answers every question with 10.1.1.1, but in a bad way."""

    def __init__(self, way):
        super().__init__()
        self.way, self.port, self.seen = way, free_port(), set()
        self.udp = socket.socket(type=socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        self.tcp = socket.create_server(("127.0.0.1", self.port))
        self.stop, self.stopped = socket.socketpair()
        self.start()

    def __enter__(self):
        return f"127.0.0.1:{self.port}"

    def __exit__(self, *_):
        self.stop.close()
        self.join()
        for it in (self.udp, self.tcp, self.stopped):
            it.close()

    def run(self):
        streams = {}
        while True:
            readable, _, _ = select.select([self.udp, self.tcp, self.stopped, *streams], [], [])
            if self.stopped in readable:
                for stream in streams:
                    stream.close()
                return
            if self.udp in readable:
                self.datagram(*self.udp.recvfrom(4096))
            if self.tcp in readable:
                stream, _ = self.tcp.accept()
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                streams[stream] = b""
            for stream in set(streams) & set(readable):
                with contextlib.suppress(ConnectionError):  # Who has waited for too long goes away in the middle.
                    if got := stream.recv(4096):
                        streams[stream] = self.questions(stream, streams[stream] + got)
                        continue
                stream.close()
                del streams[stream]

    def questions(self, stream, got):
        """Answers those that are there as a whole, and returns the rest."""
        while len(got) >= 2 and len(got) >= (end := 2 + int.from_bytes(got[:2], "big")):
            answer = self.answer(got[2:end])
            got = got[end:]
            for byte in len(answer).to_bytes(2, "big") + answer:
                if self.way != "no answer over TCP":
                    stream.send(bytes([byte]))  # In a segment of its own.
                    time.sleep(0.0002)
        return got

    def answer(self, question, truncated=False, address=b"\x0a\x01\x01\x01"):
        end = question.index(b"\0", 12) + 5
        header = question[:2] + (b"\x86\x00" if truncated else b"\x84\x00") + b"\0\1" + (b"\0\0" if truncated else b"\0\1") + b"\0\0\0\0"
        record = b"" if truncated else b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + address
        return header + question[12:end] + record

    def datagram(self, question, client):
        name = question[12 : question.index(b"\0", 12)].lower()
        first = name not in self.seen
        self.seen.add(name)
        if self.way == "silent" or self.way == "loses the first" and first:
            return
        if self.way == "lies first":
            other_id = bytes([question[0] ^ 1]) + question[1:]
            self.udp.sendto(self.answer(other_id, address=b"\x06\x06\x06\x06"), client)
            self.udp.sendto(b"\xff" * 7, client)
            with socket.socket(type=socket.SOCK_DGRAM) as stranger:
                stranger.sendto(self.answer(question, address=b"\x06\x06\x06\x06"), client)
        self.udp.sendto(self.answer(question, truncated="TCP" in self.way), client)


def dns(programs, servers, *names, descriptors=700):
    """With few descriptors: however many names there are, the sockets are not as many."""
    begin = time.monotonic()
    said = subprocess.run(
        [f"{programs}/dns", *[word for server in servers for word in ("--server", server)], *names],
        capture_output=True, text=True, timeout=100,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors)),
    )  # fmt: skip
    if said.stderr:
        sys.exit(said.stderr)
    return said.returncode, said.stdout.splitlines(), time.monotonic() - begin


def main(programs):
    with dnsmasq(programs) as server:
        kinds = {
            "host7.test": "A host7.test: 10.0.0.7",
            "two.test": "A two.test: 10.9.0.1 10.9.0.2",
            "other.test": "A other.test: 10.0.0.1 host1.test.",
            "AAAA:six.test": "AAAA six.test: fd00::6",
            "MX:mail.test": "MX mail.test: 10 host1.test.",
            "AAAA:host1.test": "AAAA host1.test: no such records",
            "none.test": "A none.test: no such name",
        }
        for name, expected in kinds.items():
            status, found, _ = dns(programs, [server], name)
            check(expected, (status, found), (int("no such" in expected), [expected]))
        status, found, many_s = dns(programs, [server], *[f"host{n}.test" for n in range(HOSTS)])
        expected = [f"A host{n}.test: 10.0.{n // 256}.{n % 256}" for n in range(HOSTS)]
        check(f"{HOSTS} names", (status, found), (0, expected))
        status, found, long_s = dns(programs, [server], *[f"TXT:long{n}.test" for n in range(100)])
        expected = [f"TXT long{n}.test: {''.join(long_text(n))}" for n in range(100)]
        check("a hundred answers of 4,000 bytes, over TCP", (status, found), (0, expected))

        names = [f"host{n}.test" for n in range(100)]
        with Bad("silent") as silent:
            status, found, silent_s = dns(programs, [silent], *names)
            check("a silent server", (status, found), (1, [f"A {name}: request timed out" for name in names]))
            check("the limit is kept, and for all at once", 1.9 < silent_s < 40, True)
            status, found, _ = dns(programs, [silent, server], *names)
            check("the other one is asked", (status, found), (0, [f"A host{n}.test: 10.0.0.{n}" for n in range(100)]))
    answers = [f"A {name}: 10.1.1.1" for name in names]
    with Bad("loses the first") as lossy:
        check("what is lost is asked again", dns(programs, [lossy], *names)[:2], (0, answers))
    with Bad("lies first") as liar:
        check("another's answer is none", dns(programs, [liar], *names)[:2], (0, answers))
    with Bad("goes over to TCP") as truncating:
        check("truncated, and then over TCP byte by byte", dns(programs, [truncating], *names[:10])[:2], (0, answers[:10]))
    with Bad("no answer over TCP") as stuck:
        status, found, _ = dns(programs, [stuck], *names[:50])
        check("truncated, and then nothing over TCP", (status, set(line.split(": ")[1] for line in found)), (1, {"request timed out"}))
    check("nobody there", dns(programs, [f"127.0.0.1:{free_port()}"], "a.test")[0], 1)
    check("the system's configuration is found", dns(programs, [], "localhost")[:2], (0, ["A localhost: 127.0.0.1"]))
    print(f"{HOSTS} names in {many_s:.2f} s, 100 over TCP in {long_s:.2f} s, given up after {silent_s:.1f} s")


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    main(pathlib.Path(sys.argv[1]))
