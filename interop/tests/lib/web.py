"""Clients of web servers: the usual ones, and those of the slow kinds."""

import re
import socket
import subprocess
import sys
import threading
import time

from lib.program import check


def run(*words, **options):
    result = subprocess.run(words, capture_output=True, text=True, timeout=120, **options)
    return result.stdout + result.stderr


def curl(*words, **options):
    return run("curl", "-sS", "--max-time", "60", *words, **options)


def connected(server):
    client = socket.create_connection((server.host, server.port))
    client.settimeout(60)
    return client


def until_closed(client, at_a_reset=b""):
    """All that comes until the end. A reset is one as well, and may have a mark."""
    found = bytearray()
    try:
        while data := client.recv(65536):
            found += data
    except ConnectionResetError:
        found += at_a_reset
    return bytes(found)


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


def number(pattern, text):
    found = re.search(pattern, text)
    if not found:
        sys.exit(f"FAILED: no {pattern!r} in {text}")
    return float(found.group(1))


def wrk(url, *arguments):
    """Three seconds of it. Who is answered late has been answered."""
    return run("wrk", "-t", "2", "-c", "64", "-d", "3", "--timeout", "60", *arguments, url)


class Asking(threading.Thread):
    """One request after the other, until an answer is the last, or nobody is there any more.

    Whom the kernel lets in between the server's last look and the close of its listener is reset, whatever the server does: that
    is as good as refused, but only to a new connection, and only when the server has been asked to end: `since`."""

    def __init__(self, server, path, keeps):
        super().__init__(daemon=True)
        self.server, self.path, self.keeps, self.answered, self.failed, self.since = server, path, keeps, 0, None, None
        self.start()

    def run(self):
        last = "" if self.keeps else "connection: close\r\n"
        request = f"GET {self.path} HTTP/1.1\r\nhost: x\r\n{last}\r\n".encode()
        try:
            while True:
                try:
                    client = connected(self.server)
                except ConnectionRefusedError:
                    return
                with client:
                    is_new, is_last = True, False
                    while not is_last:
                        try:
                            client.sendall(request)
                            answer = client.recv(4096)
                        except ConnectionError:
                            if is_new and self.since and time.monotonic() > self.since:
                                return
                            raise
                        is_new = False
                        if not answer.startswith(b"HTTP/1.1 200 ") or b"\r\n\r\n" not in answer:
                            raise ValueError(answer)
                        self.answered += 1
                        is_last = b"connection: close\r\n" in answer
        except Exception as error:
            self.failed = repr(error)
